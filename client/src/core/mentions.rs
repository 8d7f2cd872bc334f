//! Whom a text names: `@bob@birch`, as people write it.

use super::recipient::Recipient;
use super::{Device, DeviceError};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_protocol::handle::Handle;
use roost_protocol::limits;
use std::collections::BTreeSet;

impl Device {
    /// The accounts that a text for a conversation names and that take part in it, ourselves too; other names are words.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn mentioned(&self, to: &Recipient, text: &str) -> Result<Vec<AccountId>, DeviceError> {
        let mut mentioned = BTreeSet::new();
        for handle in handles_in(text) {
            let account = if handle == self.me.row.handle { Some(self.me.account) } else { self.account_of(&handle)? };
            if let Some(account) = account
                && self.takes_part(to, &account)?
            {
                mentioned.insert(account);
            }
        }
        Ok(mentioned.into_iter().take(limits::MENTIONS_MAX).collect())
    }

    fn takes_part(&self, to: &Recipient, account: &AccountId) -> Result<bool, DeviceError> {
        let place = match self.place_of(to) {
            Ok(place) => place,
            Err(Error::Device(error)) => return Err(error),
            Err(_) => return Ok(false),
        };
        Ok(match place.peer {
            Some(peer) => *account == peer || *account == self.me.account,
            None => self.conversation(&place.conversation)?.is_some_and(|row| row.state.has(account)),
        })
    }
}

/// Every handle behind an `@` that begins a word. What follows it as punctuation belongs to the sentence.
pub fn handles_in(text: &str) -> Vec<Handle> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-' | '@');
    let mut handles = Vec::new();
    let mut before = None;
    for (at, letter) in text.char_indices() {
        let begins = letter == '@' && before.is_none_or(|before: char| !is_part(before));
        before = Some(letter);
        let Some(rest) = text.get(at + 1..).filter(|_| begins) else { continue };
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default().trim_end_matches(['.', '_', '-', '@']);
        handles.extend(word.parse::<Handle>());
    }
    handles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_found_wherever_people_put_it() {
        let found = |text: &str| handles_in(text).iter().map(Handle::to_string).collect::<Vec<_>>();
        assert_eq!(found("@bob@birch, are you there?"), ["bob@birch"], "at the beginning, with a comma");
        assert_eq!(found("ask (@bob@birch.example) or @eve@acme."), ["bob@birch.example", "eve@acme"], "two of them");
        assert_eq!(found("write to bob@birch"), Vec::<String>::new(), "a handle alone mentions nobody");
        assert_eq!(found("x@bob@birch"), Vec::<String>::new(), "nor does one inside of a word");
        assert_eq!(found("@bob @ @@bob@birch @bob@"), Vec::<String>::new(), "nor what is none");
    }
}
