//! Planted defects: what proves that the simulator finds such defects.
//!
//! A defect is an input, like time and randomness: each rule that may be broken on purpose asks the [`Sabotage`] that it
//! was given. Without the feature `sabotage` there are no defects to name and [`planted!`](crate::planted) is `false`.

/// Which rule is broken on purpose: none, unless the feature `sabotage` is built in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sabotage {
    #[cfg(feature = "sabotage")]
    defect: Option<Defect>,
}

impl Sabotage {
    /// Every rule holds.
    pub const NONE: Self = Self {
        #[cfg(feature = "sabotage")]
        defect: None,
    };
}

/// A rule that is broken.
#[cfg(feature = "sabotage")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// The node lets its outputs leave before the batch is on disk.
    AcknowledgeBeforeFsync,
    /// The node appends a message as often as it is submitted.
    NoSubmitDedupe,
    /// The device shows a message as often as it arrives.
    NoDeviceDedupe,
    /// The node takes a conversation's head without checking who signed it.
    HeadUnsigned,
    /// The node forgets at a restart what other homes lack.
    NodeOutboxNotLoaded,
    /// The device forgets at a restart what it has not sent.
    DeviceOutboxNotLoaded,
    /// A holder lets an older record replace a newer one.
    OlderRecord,
    /// The node holds entries of an epoch that it does not know.
    EpochUnchecked,
    /// The node gives custody for more than it holds.
    CustodyForMore,
    /// The device acknowledges its inbox before its own commit.
    CursorBeforeFsync,
    /// The node believes custody that an earlier life of a store gave.
    EarlierLifeBelieved,
    /// The device drops a message when its home has accepted it.
    ForgottenAtAccepted,
    /// Node and device wait for a time that a clock set back will show again only much later.
    ClockBelieved,
    /// The hub says yes to a second commit of an epoch.
    SecondCommit,
    /// The writer takes a custody for one of everything that its feed holds by now.
    CustodyOfHead,
    /// The node goes on delivering to an account that was removed.
    RemovedServed,
    /// The device merges its commit before the entry has come.
    MergedEarly,
    /// The node counts as held what lies before an entry that it hears by gossip.
    CursorMovedByGossip,
    /// The home lets a device sign in that its account's log has ended.
    RevokedAdmitted,
}

#[cfg(feature = "sabotage")]
impl Defect {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::AcknowledgeBeforeFsync,
        Self::NoSubmitDedupe,
        Self::NoDeviceDedupe,
        Self::HeadUnsigned,
        Self::NodeOutboxNotLoaded,
        Self::DeviceOutboxNotLoaded,
        Self::OlderRecord,
        Self::EpochUnchecked,
        Self::CustodyForMore,
        Self::CursorBeforeFsync,
        Self::EarlierLifeBelieved,
        Self::ForgottenAtAccepted,
        Self::ClockBelieved,
        Self::SecondCommit,
        Self::CustodyOfHead,
        Self::RemovedServed,
        Self::MergedEarly,
        Self::CursorMovedByGossip,
        Self::RevokedAdmitted,
    ];
}

#[cfg(feature = "sabotage")]
impl Sabotage {
    /// One rule is broken.
    pub const fn of(defect: Defect) -> Self {
        Self { defect: Some(defect) }
    }

    /// Whether it is this one.
    pub fn is(self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

/// Whether a rule is broken on purpose; `false` in every build without the feature `sabotage`.
#[cfg(feature = "sabotage")]
#[macro_export]
macro_rules! planted {
    ($sabotage:expr, $defect:ident) => {
        $sabotage.is($crate::sabotage::Defect::$defect)
    };
}

/// Whether a rule is broken on purpose; `false` in every build without the feature `sabotage`.
#[cfg(not(feature = "sabotage"))]
#[macro_export]
macro_rules! planted {
    ($sabotage:expr, $defect:ident) => {{
        let _: $crate::sabotage::Sabotage = $sabotage;
        false
    }};
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_defect_is_planted_by_default() {
        assert!(!planted!(super::Sabotage::NONE, NoDeviceDedupe), "every rule holds");
    }
}
