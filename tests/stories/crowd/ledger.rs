//! What was said, wished and seen in a conversation, and what must hold of it in the end.
//!
//! A message belongs to those who take part in the epoch in which it was accepted. A device does not tell that epoch, but it lies
//! between the one in which the message was written and the one in which the device hears that it was accepted: whoever takes
//! part in all of them must have it, whoever takes part in none must not.

use crate::device::Device;
use roost_client::core::ConversationReport;
use roost_client::core::message::{MessageReport, State};
use roost_protocol::AccountId;
use roost_protocol::conversation::Role;
use roost_protocol::ids::{ConversationId, MessageId};
use std::collections::{BTreeMap, BTreeSet};

/// Who takes part in an epoch, as what, with how many devices.
type Membership = BTreeMap<AccountId, (Role, usize)>;

/// A message that somebody wrote.
pub struct Said {
    pub id: MessageId,
    pub text: String,
    pub account: AccountId,
    pub device: usize,
    /// The epoch in which it was written.
    pub from: u64,
    /// The epoch of its device when it heard that it was accepted.
    pub to: Option<u64>,
    pub refused: Option<String>,
}

#[derive(Default)]
pub struct Ledger {
    pub said: Vec<Said>,
    pub epochs: BTreeMap<u64, Membership>,
    /// Who wished to leave, and in which epoch.
    pub leaving: Vec<(AccountId, u64)>,
    /// What may never be, whatever comes later.
    pub faults: Vec<String>,
}

impl Ledger {
    /// A device says who takes part in an epoch; all that say it must say the same.
    pub fn saw(&mut self, by: &str, report: &ConversationReport) {
        if !report.standing || report.over {
            return;
        }
        let seen: Membership = report.participants.iter().map(|one| (one.account, (one.role, one.devices))).collect();
        let known = self.epochs.entry(report.epoch).or_insert_with(|| seen.clone());
        if *known != seen {
            self.faults.push(format!("in epoch {} {by} sees other people than somebody before", report.epoch));
        }
    }

    pub fn last_epoch(&self) -> u64 {
        self.epochs.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }

    /// Epochs that no device was seen in: they passed too fast.
    pub fn unseen(&self) -> Vec<u64> {
        (2..=self.last_epoch()).filter(|epoch| !self.epochs.contains_key(epoch)).collect()
    }

    /// The epochs in which a message may have been accepted.
    fn span(&self, said: &Said) -> std::ops::RangeInclusive<u64> {
        said.from..=said.to.unwrap_or(self.last_epoch())
    }

    /// Whether somebody surely takes part in all of a span, with at least so many devices.
    fn is_in_all(&self, said: &Said, account: &AccountId, devices: usize) -> bool {
        let there = |members: &Membership| members.get(account).is_some_and(|(_, count)| *count >= devices);
        self.span(said).all(|epoch| self.epochs.get(&epoch).is_some_and(there))
    }

    /// Whether somebody may take part in one of a span.
    fn is_in_any(&self, said: &Said, account: &AccountId) -> bool {
        self.span(said).any(|epoch| self.epochs.get(&epoch).is_none_or(|members| members.contains_key(account)))
    }

    /// What of this does not hold (yet), for all devices of all accounts.
    pub fn complaints(&self, devices: &[Held]) -> Vec<String> {
        let mut found = self.faults.clone();
        let mut of_account: BTreeMap<AccountId, usize> = BTreeMap::new();
        for held in devices {
            *of_account.entry(held.account).or_default() += 1;
        }
        for (number, held) in devices.iter().enumerate() {
            let all = of_account.get(&held.account).copied().unwrap_or_default();
            found.extend(self.complaints_of(number, all, held));
        }
        for (account, epoch) in &self.leaving {
            let mut later = self.epochs.range(epoch + 1..);
            if self.unseen().is_empty() && later.all(|(_, members)| members.contains_key(account)) {
                found.push(format!("{account} wished to leave in epoch {epoch} and never does"));
            }
        }
        found
    }

    fn complaints_of(&self, number: usize, devices: usize, held: &Held) -> Vec<String> {
        let Held { name, account, .. } = held;
        let mut found: Vec<String> = held.again.iter().map(|text| format!("{name} shows {text:?} again")).collect();
        let known: BTreeSet<MessageId> = self.said.iter().map(|said| said.id).collect();
        let strange = held.texts.iter().filter(|(id, _)| !known.contains(id));
        found.extend(strange.map(|(_, text)| format!("{name} holds {text:?}, said by nobody")));
        for said in &self.said {
            let here = held.texts.get(&said.id);
            let own = said.account == *account;
            let (from, to) = (said.from, said.to);
            if let Some(text) = here
                && *text != said.text
            {
                found.push(format!("{name} reads {text:?} where {:?} was written", said.text));
            }
            match &said.refused {
                Some(why) if here.is_some() && !own => {
                    found.push(format!("{name} holds {:?}, which was refused: {why}", said.text));
                }
                Some(_) => {}
                None if here.is_some() && !own && !self.is_in_any(said, account) => {
                    let of = format!("of epochs {from} to {to:?}, in which it takes no part");
                    found.push(format!("{name} holds {:?} {of}", said.text));
                }
                None if here.is_none() && (said.device == number || self.is_in_all(said, account, 1)) => {
                    let gap = held.gaps.iter().find(|gap| gap.contains(&said.id.to_string()));
                    found.push(format!("{name} lacks {:?} of epochs {from} to {to:?}: {gap:?}", said.text));
                }
                // What a device with a leaf reads, its person is shown; what it has from the archive is history.
                None if !own && self.is_in_all(said, account, devices) && !held.marked.contains(&said.id) => {
                    found.push(format!("{name} never shows {:?}", said.text));
                }
                None => {}
            }
            if said.device == number && said.refused.is_none() {
                match held.sent.get(&said.id) {
                    Some(report) if report.state.reached(State::Custody) => {}
                    other => found.push(format!("{name}: of {:?} its device knows {other:?}", said.text)),
                }
            }
        }
        found
    }
}

/// What a device holds, when it was looked at.
pub struct Held {
    pub name: String,
    pub account: AccountId,
    texts: BTreeMap<MessageId, String>,
    marked: BTreeSet<MessageId>,
    again: Vec<String>,
    gaps: BTreeSet<String>,
    sent: BTreeMap<MessageId, MessageReport>,
}

impl Held {
    /// Looks at a device; `own` are the messages that it has sent.
    pub fn of(
        number: usize,
        account: AccountId,
        device: &Device,
        conversation: ConversationId,
        own: &[MessageId],
    ) -> Self {
        device.keep_gaps();
        let texts = device.history(conversation).into_iter().map(|(id, _, text)| (id, text)).collect();
        let mut sent = BTreeMap::new();
        for id in own {
            if let Ok(report) = device.ask(async |session| session.report(*id).await) {
                sent.insert(*id, report);
            }
        }
        let screen = device.screen.lock().unwrap();
        let (marked, again, gaps) = (screen.marked.clone(), screen.again.clone(), screen.gaps.clone());
        Self { name: format!("device {number} of {}", device.handle), account, texts, marked, again, gaps, sent }
    }
}
