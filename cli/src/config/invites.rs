//! Invites that wait on disk until the node takes them over.

use super::files::{make_private_dir, sync_dir, write_private};
use crate::output::{Failure, random};
use roost_crypto::keys::PublicKey;
use roost_protocol::invite::invite_key;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An invite: whoever has the token may sign up. The token is shown once and kept nowhere.
pub struct Invite {
    /// The secret that a user types.
    pub token: String,
    /// What the node learns of it.
    pub waiting: WaitingInvite,
}

/// An invite on its way to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingInvite {
    /// The public half of the token's key.
    pub key: PublicKey,
    /// How often it can be used.
    pub uses: u32,
    /// Until when, milliseconds since 1970.
    pub expires_ms: u64,
}

impl Invite {
    /// Draws one.
    ///
    /// # Errors
    /// [`Failure`] without randomness.
    pub fn draw(uses: u32, expires_ms: u64) -> Result<Self, Failure> {
        let token = hex::encode(random::<16>()?);
        let key = invite_key(&token);
        Ok(Self { token, waiting: WaitingInvite { key, uses, expires_ms } })
    }

    /// Lays it down for the node, which imports it once. Durable when this returns.
    ///
    /// # Errors
    /// [`Failure`], exit 1.
    pub fn lay_down(&self, dir: &Path) -> Result<(), Failure> {
        let invites = dir.join("invites");
        make_private_dir(&invites)?;
        let name = hex::encode(self.waiting.key.as_bytes());
        let bytes = serde_json::to_vec(&self.waiting).map_err(|error| Failure::failed("json", error, ""))?;
        // Under its final name only when whole: the node may look at any time.
        let (half, whole) = (invites.join(format!("{name}.half")), invites.join(format!("{name}.json")));
        write_private(&half, &bytes)?;
        fs::rename(&half, &whole).map_err(Failure::io("naming the invite"))?;
        sync_dir(&invites)
    }

    /// The invites that wait for the node, each with its file.
    ///
    /// # Errors
    /// [`Failure`] when one does not read.
    pub fn waiting(dir: &Path) -> Result<Vec<(PathBuf, WaitingInvite)>, Failure> {
        let entries = match fs::read_dir(dir.join("invites")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(Failure::io("reading the invites"))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(Failure::io("reading the invites"))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = fs::read(&path).map_err(Failure::io("reading an invite"))?;
                let invite = serde_json::from_slice(&bytes).map_err(|error| {
                    Failure::failed(
                        "invite",
                        format_args!("an invite file does not read: {error}"),
                        "remove it and make a new one",
                    )
                })?;
                found.push((path, invite));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_invite_waits_on_disk_until_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let invite = Invite::draw(10, 5).unwrap();
        invite.lay_down(dir.path()).unwrap();
        let waiting = Invite::waiting(dir.path()).unwrap();
        assert_eq!(waiting.len(), 1, "one file");
        assert_eq!(waiting.first().unwrap().1, invite.waiting, "the same invite");
    }
}
