//! What people must be told of a conversation, because a node or a member may lie: that a change broke its rules, that messages are
//! missing, that an account's log is another one than its owner goes by.
//!
//! A warning stands as long as its cause does. Here is what it says; the causes are found in `withheld`, `cross_check` and
//! `many::broken`. Implements `docs/protocol.md`, section "Withholding", and what "Commits" says of a broken rule.

use super::{Device, DeviceError, Output, Recipient};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_protocol::ids::ConversationId;
use serde::Serialize;

/// Something about a conversation that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Where.
    pub conversation: ConversationId,
    /// Since when, milliseconds since 1970.
    pub since: u64,
    /// What.
    #[serde(flatten)]
    pub cause: Cause,
}

/// What a [`Warning`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "warning", rename_all = "snake_case")]
pub enum Cause {
    /// The hub put a change in order that this device does not follow: it stays at its epoch.
    RuleBroken {
        /// PeerId of the hub.
        hub: String,
        /// The MLS epoch at which this device stays.
        epoch: u64,
        /// Who made the change, by the hub's word: the verified handle, else the account id.
        by: String,
        /// Which rule.
        reason: String,
    },
    /// A node's feed is another one for a member than it is here.
    ToldOtherwise {
        /// PeerId of the node that wrote it.
        node: String,
        /// The member: the verified handle, else the account id.
        said_by: String,
    },
    /// A member goes by a newer identity log of its own than our home has shown.
    OldLog {
        /// Whose: the verified handle, else the account id.
        of: String,
    },
    /// A member goes by another branch of its own identity log than the one that is known here.
    BranchedLog {
        /// Whose: the verified handle, else the account id.
        of: String,
    },
}

impl Cause {
    /// What is the matter and what to do, for people.
    pub fn text(&self) -> String {
        match self {
            Self::RuleBroken { hub, epoch, by, reason } => format!(
                "A change by {by} broke a rule of this conversation ({reason}), and its hub {hub} put it in order all the same. \
                 This device stays before it, at epoch {epoch}: what is written behind it cannot be read here, and what you write \
                 waits. Ask an admin in another way. An admin who sees this too lets another node follow: `roost chat group move \
                 --hub-is-lost`."
            ),
            Self::ToldOtherwise { node, said_by } => format!(
                "The node {node} told {said_by} something else than it told you, or {said_by} says so. Compare with others in \
                 another way what was said."
            ),
            Self::OldLog { of } => format!(
                "Your home shows an old list of the devices of {of}: a device that they have ended may still be taken for theirs. \
                 It is asked again; if it stays so, your home withholds the newer one."
            ),
            Self::BranchedLog { of } => format!(
                "{of} goes by another list of their devices than the one that is known here. One of the two is forged, or two of \
                 their devices disagree: compare safety numbers in another way, and let them reset their account if they did not \
                 do it."
            ),
        }
    }
}

impl Device {
    /// Everything that is wrong now, conversation by conversation.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn warnings(&self) -> Result<Vec<Warning>, DeviceError> {
        let mut warnings = self.broken_rules()?;
        warnings.extend(self.withheld()?);
        warnings.extend(self.old_logs()?);
        warnings.sort_by_key(|warning| (warning.conversation, warning.since));
        Ok(warnings)
    }

    /// What is wrong with one conversation now.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn warnings_of(&self, conversation: &ConversationId) -> Result<Vec<Warning>, DeviceError> {
        Ok(self.warnings()?.into_iter().filter(|warning| warning.conversation == *conversation).collect())
    }

    /// What is wrong with a recipient's conversation, or with all, now.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Device`].
    pub fn warnings_for(&self, of: Option<&Recipient>) -> Result<Vec<Warning>, Error> {
        match of {
            Some(of) => Ok(self.warnings_of(&self.place_of(of)?.conversation)?),
            None => Ok(self.warnings()?),
        }
    }

    /// People look again at what is wrong with a conversation.
    pub(super) fn warned(&mut self, conversation: ConversationId) {
        let known = |output: &Output| matches!(output, Output::Warned(told) if *told == conversation);
        if !self.staged.iter().any(known) {
            self.staged.push(Output::Warned(conversation));
        }
    }

    /// A member's name, if it takes part in what a warning is about.
    pub(super) fn name_of_member(
        &self,
        group: &roost_protocol::ids::GroupId,
        account: &AccountId,
    ) -> Result<Option<(ConversationId, String)>, DeviceError> {
        match self.followed(group)?.filter(|row| !row.over && row.state.has(account)) {
            Some(row) => Ok(Some((row.state.conversation, self.name_of(account)?))),
            None => Ok(None),
        }
    }
}
