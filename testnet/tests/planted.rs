//! The simulator finds what is broken on purpose: each planted defect within 500 seeds.
#![cfg(feature = "sabotage")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use roost_testnet::sim::{Defect, Options, run};

/// Faults that make a defect matter, where those that a seed draws seldom do: nodes that meet anew forget that they wait, so a clock
/// that is set back is felt only where no connection breaks.
fn scenario_of(defect: Defect) -> Option<(String, String)> {
    const LATER: &str = "device_changes = 0\nhub_changes = 0\ndrains = 0\n";
    const CLOCKS: &str =
        "device_changes = 0\nhub_changes = 0\ndrains = 0\n[faults]\ndrop = 300\nnode_clocks = 8\ndevice_clocks = 8\n";
    // Four seeds of ten have groups; all of these do, and much happens in them.
    const GROUPS: &str =
        "accounts = 6\ngroups = 2\ngroup_messages = 12\nchanges = 16\ndevice_changes = 0\nhub_changes = 0\n";
    // What matters between two people shows soonest, and cheapest, where nobody is in a group.
    const NO_GROUPS: &str =
        "groups = 0\ngroup_messages = 0\nchanges = 0\nhub_changes = 0\ndevice_changes = 0\ndrains = 0\n";
    const DEVICES: &str =
        "accounts = 3\ngroups = 0\ngroup_messages = 0\nchanges = 0\nhub_changes = 0\ndevice_changes = 10\n";
    // Gossip among three homes and more, of which some is lost.
    const WIDE: &str = "nodes = 4\naccounts = 6\ngroups = 2\ngroup_messages = 16\nchanges = 4\ndevice_changes = 0\nhub_changes = 0\ndrains = 0\nwide_homes = 1\n\
                        [faults]\ndrop = 150\nreorder = 200\n";
    let (text, name) = match defect {
        Defect::CustodyOfHead => (LATER, "without_later_parts.toml"),
        Defect::ClockBelieved => (CLOCKS, "clocks.toml"),
        Defect::CursorMovedByGossip => (WIDE, "wide.toml"),
        Defect::RevokedAdmitted => (DEVICES, "devices.toml"),
        Defect::SecondCommit | Defect::RemovedServed | Defect::MergedEarly => (GROUPS, "groups.toml"),
        _ => (NO_GROUPS, "no_groups.toml"),
    };
    Some((text.to_owned(), name.to_owned()))
}

fn is_found(defect: Defect) {
    let scenario = scenario_of(defect);
    let options = Options { defect: Some(defect), scenario: scenario.clone(), ..Options::default() };
    for seed in 0..500 {
        let report = run(seed, &options).expect("it runs");
        if let Some(violation) = report.violations.first() {
            println!("{defect:?} is found after {} seeds: {} {}", seed + 1, violation.invariant, violation.detail);
            let sound = run(seed, &Options { scenario: scenario.clone(), ..Options::default() }).expect("it runs");
            assert!(sound.ok, "without the defect the same seed is sound: {:?}", sound.violations);
            return;
        }
    }
    panic!("{defect:?} is not found within 500 seeds");
}

macro_rules! found {
    ($($name:ident: $defect:ident;)+) => {
        $(#[test]
        fn $name() {
            is_found(Defect::$defect);
        })+

        #[test]
        fn each_defect_has_its_test() {
            let mut tested = vec![$(Defect::$defect),+];
            tested.sort();
            let mut all = Defect::ALL.to_vec();
            all.sort();
            assert_eq!(tested, all, "a defect without a test proves nothing");
        }
    };
}

found! {
    acknowledging_before_fsync_is_found: AcknowledgeBeforeFsync;
    no_dedupe_at_submission_is_found: NoSubmitDedupe;
    no_dedupe_at_the_device_is_found: NoDeviceDedupe;
    an_unsigned_head_is_found: HeadUnsigned;
    a_nodes_forgotten_outbox_is_found: NodeOutboxNotLoaded;
    a_devices_forgotten_outbox_is_found: DeviceOutboxNotLoaded;
    an_older_record_is_found: OlderRecord;
    an_unchecked_epoch_is_found: EpochUnchecked;
    custody_for_more_is_found: CustodyForMore;
    a_cursor_before_fsync_is_found: CursorBeforeFsync;
    custody_of_an_earlier_life_is_found: EarlierLifeBelieved;
    forgetting_at_accepted_is_found: ForgottenAtAccepted;
    waiting_by_a_clock_that_was_set_back_is_found: ClockBelieved;
    a_second_commit_of_an_epoch_is_found: SecondCommit;
    custody_of_a_feeds_head_is_found: CustodyOfHead;
    serving_whoever_was_removed_is_found: RemovedServed;
    merging_before_the_entry_is_found: MergedEarly;
    a_cursor_moved_by_gossip_is_found: CursorMovedByGossip;
    admitting_a_revoked_device_is_found: RevokedAdmitted;
}
