//! Conversations of many: what this device knows of them, and what it wants of them.
//!
//! A wish of the person is an [`intents::IntentRow`], planned anew until it is true; a commit is made from it, ordered by the
//! hub, and merged only when its entry comes. Nothing here decides by a clock.

mod about;
mod broken;
mod commits;
mod intents;
mod invitations;
mod joining;
mod lost;
mod picture;
mod planning;
mod succession;

pub(super) use about::AboutRow;
pub use commits::MembershipReport;
pub(super) use intents::Intents;
pub use intents::{GroupChange, IntentReport};
pub(super) use lost::Lost;
pub(super) use picture::AboutPictureRow;
pub use succession::EquivocationReport;

use super::rows::{self, CONVERSATION, INTENT, JOINING, PARKED, PENDING};
use super::{Device, DeviceError, Warning};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{ConversationState, Role};
use roost_protocol::epoch;
use roost_protocol::ids::{ConversationId, GroupId};
use serde::{Deserialize, Serialize};

/// A conversation of many.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ConversationRow {
    pub group: GroupId,
    pub state: ConversationState,
    /// With its term: see [`epoch`].
    pub epoch: u64,
    /// Signed by the hub; absent while our own creation has no verdict.
    pub head: Option<Signed>,
    /// We were removed, or left: what was received stays.
    pub over: bool,
    /// We wish to leave: said again in each epoch in which we are still there, for those who heard it may have gone themselves.
    #[serde(default)]
    pub leaving: bool,
}

/// A participant, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParticipantReport {
    /// The verified handle, else the account id.
    pub name: String,
    /// The account.
    pub account: AccountId,
    /// What it may do.
    pub role: Role,
    /// Its devices in the group.
    pub devices: usize,
}

/// A conversation of many, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConversationReport {
    /// The conversation.
    pub conversation: ConversationId,
    /// What it is called; empty for nothing.
    pub title: String,
    /// What it is for; empty for nothing.
    pub description: String,
    /// What it is shown as.
    pub picture: Option<Bytes>,
    /// Seconds after which what is said there goes.
    pub expires_after_s: Option<u64>,
    /// The MLS epoch.
    pub epoch: u64,
    /// How many successors have followed a hub that was lost.
    pub term: u32,
    /// PeerId of the hub.
    pub hub: String,
    /// PeerIds of the nodes that may follow it.
    pub successors: Vec<String>,
    /// Whether the hub has let it stand.
    pub standing: bool,
    /// Whether we take no part any more.
    pub over: bool,
    /// Who takes part.
    pub participants: Vec<ParticipantReport>,
    /// What is wrong with it.
    pub warnings: Vec<Warning>,
}

impl Device {
    pub(super) fn conversation(&self, id: &ConversationId) -> Result<Option<ConversationRow>, DeviceError> {
        self.table.look(&rows::conversation(id))
    }

    /// The group that takes new messages of a conversation of many.
    pub(super) fn group_of(&self, id: &ConversationId) -> Result<Option<ConversationRow>, DeviceError> {
        Ok(self.conversation(id)?.filter(|row| row.head.is_some() && !row.over))
    }

    pub(super) fn intents_wake_at(&self) -> Option<u64> {
        if self.link.is_ready() { self.intents.wake_at() } else { None }
    }

    /// The conversations of many that this device knows.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn conversations(&self) -> Result<Vec<ConversationReport>, DeviceError> {
        let mut reports = Vec::new();
        for (_, row) in self.table.scan::<ConversationRow>(&[CONVERSATION])? {
            reports.push(self.conversation_report(&row)?);
        }
        Ok(reports)
    }

    /// What of conversations of many is under way: intents, commits and joins that have not ended, and entries that wait for
    /// them. None is left where nothing happens any more. Leaves that a hub without its state gives no verdict on are not among
    /// them: no person waits for those, and a conversation of two stays as it is then.
    pub fn unsettled(&self) -> usize {
        let sealed: Vec<_> = self.intents.sealed().collect();
        let waiting = sealed.iter().filter(|group| self.table.count(&rows::pending(group)) > 0).count();
        let all: usize = [INTENT, PENDING, JOINING, PARKED].iter().map(|kind| self.table.count(&[*kind])).sum();
        all.saturating_sub(sealed.len() + waiting)
    }

    /// The epoch authenticator of a conversation of many (RFC 9420 section 8.7): equal on devices that are in the same state.
    /// `None` where this device takes no part, or not yet.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn authenticator(&self, conversation: &ConversationId) -> Result<Option<Bytes>, DeviceError> {
        let Some(row) = self.group_of(conversation)? else { return Ok(None) };
        Ok(Some(self.engine.groups.authenticator(&self.table, row.group.as_bytes())?))
    }

    fn conversation_report(&self, row: &ConversationRow) -> Result<ConversationReport, DeviceError> {
        let members = self.engine.groups.members(&self.table, row.group.as_bytes()).unwrap_or_default();
        let mut participants = Vec::new();
        for participant in &row.state.participants {
            let devices = members.iter().filter(|member| member.credential.account == participant.account).count();
            participants.push(ParticipantReport {
                name: self.name_of(&participant.account)?,
                account: participant.account,
                role: participant.role,
                devices,
            });
        }
        let about = self.about(&row.state.conversation)?;
        let (title, description) = about.map(|about| (about.title, about.description)).unwrap_or_default();
        Ok(ConversationReport {
            conversation: row.state.conversation,
            title,
            description,
            picture: self.about_picture(&row.state.conversation)?,
            expires_after_s: self.timer_in(&row.state.conversation)?,
            epoch: epoch::mls(row.epoch),
            term: row.state.term,
            hub: row.state.hub.to_string(),
            successors: row.state.successors.iter().map(NodeId::to_string).collect(),
            standing: row.head.is_some(),
            over: row.over,
            participants,
            warnings: self.warnings_of(&row.state.conversation)?,
        })
    }
}
