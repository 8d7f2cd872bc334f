//! Conversations of many that a stranger took us into: they wait as requests until the person accepts.
//!
//! Who took us in is the hub's word; it must be an admin. Nobody there hears of us meanwhile.

use super::super::people::Request;
use super::super::rows::{self, INVITATION};
use super::super::{Device, DeviceError};
use roost_crypto::ids::AccountId;
use roost_protocol::conversation::{ConversationHead, Role};
use roost_protocol::ids::ConversationId;
use serde::{Deserialize, Serialize};

/// A stranger's invitation.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct InvitationRow {
    pub by: AccountId,
    pub at_ms: u64,
}

impl Device {
    /// An account takes us into a conversation: a request, unless the person knows that account.
    pub(in super::super) fn invited(
        &mut self,
        head: &ConversationHead,
        by: AccountId,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let known = by == self.me.account
            || (head.state.role(&by) == Some(Role::Admin) && self.may_hear_of_us(&by)?)
            || self.people.settings().accept_strangers;
        if !known {
            self.table.put(rows::invitation(&head.state.conversation), &InvitationRow { by, at_ms: now_ms });
        }
        Ok(())
    }

    /// Whether a conversation waits to be accepted.
    pub(in super::super) fn is_invitation(&self, conversation: &ConversationId) -> bool {
        self.table.has(&rows::invitation(conversation))
    }

    /// Takes part in a conversation that a stranger took us into; `false` if none is known under that id.
    ///
    /// # Errors
    /// [`DeviceError`]: drop the device.
    pub fn accept_conversation(&mut self, conversation: &ConversationId) -> Result<bool, DeviceError> {
        self.table.delete(rows::invitation(conversation));
        Ok(self.conversation(conversation)?.is_some())
    }

    /// The invitations that wait.
    pub(in super::super) fn invitations(&self) -> Result<Vec<Request>, DeviceError> {
        let mut requests = Vec::new();
        for (key, row) in self.table.scan::<InvitationRow>(&[INVITATION])? {
            let Some(conversation) = key.get(1..).and_then(ConversationId::from_slice) else { continue };
            if self.group_of(&conversation)?.is_none() || self.person(&row.by)?.blocked {
                continue;
            }
            requests.push(Request {
                account: row.by,
                conversation: Some(conversation),
                from: self.name_of(&row.by)?,
                name: self.profile_of(&row.by)?,
                text: self.about(&conversation)?.map(|about| about.title).unwrap_or_default(),
                messages: self.inbox.waiting_in(&conversation),
                received_at: row.at_ms,
            });
        }
        Ok(requests)
    }
}
