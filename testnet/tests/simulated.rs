//! Whole networks by seed: everything accepted is shown once, in order, whatever fails; and equal seeds give equal traces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use roost_testnet::sim::{Engine, Options, run, run_range};

/// Seeds of one test: ten of them run side by side.
const SEEDS: u64 = 50;

fn hold(range: std::ops::Range<u64>, options: &Options) {
    let summary = run_range(range, options, 1, |report| {
        assert!(report.ok, "a promise was broken:\n{}", serde_json::to_string_pretty(&report.violations).unwrap());
    })
    .expect("every world can be set up");
    assert!(summary.shown > 0 && summary.accepted > 0, "messages came through: {summary:?}");
}

macro_rules! fifty_networks {
    ($($name:ident: $part:literal;)+) => {
        $(#[test]
        fn $name() {
            hold($part * SEEDS..($part + 1) * SEEDS, &Options::default());
        })+
    };
}

fifty_networks! {
    fifty_networks_keep_their_promises_0: 0;
    fifty_networks_keep_their_promises_1: 1;
    fifty_networks_keep_their_promises_2: 2;
    fifty_networks_keep_their_promises_3: 3;
    fifty_networks_keep_their_promises_4: 4;
    fifty_networks_keep_their_promises_5: 5;
    fifty_networks_keep_their_promises_6: 6;
    fifty_networks_keep_their_promises_7: 7;
    fifty_networks_keep_their_promises_8: 8;
    fifty_networks_keep_their_promises_9: 9;
}

macro_rules! ten_networks_with_mls {
    ($($name:ident: $part:literal;)+) => {
        $(#[test]
        fn $name() {
            // A real commit costs a hundred times the twin's: groups have a test of their own.
            let text = "groups = 0\ngroup_messages = 0\nchanges = 0\nhub_changes = 0\ndevice_changes = 0\n";
            let scenario = Some((text.into(), "no_groups.toml".into()));
            hold($part * 10..($part + 1) * 10, &Options { engine: Engine::Mls, scenario, ..Options::default() });
        })+
    };
}

ten_networks_with_mls! {
    ten_networks_with_real_mls_keep_their_promises_0: 0;
    ten_networks_with_real_mls_keep_their_promises_1: 1;
    ten_networks_with_real_mls_keep_their_promises_2: 2;
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1_000..1_020 {
        let (one, other) = (run(seed, &Options::default()), run(seed, &Options::default()));
        let (one, other) = (one.expect("it runs"), other.expect("it runs"));
        assert_eq!(one.trace_hash, other.trace_hash, "two runs of seed {seed} differ");
        assert_eq!(one.operations, other.operations, "and take as many steps");
        assert_ne!(one.trace_hash, run(seed + 100, &Options::default()).expect("it runs").trace_hash, "others differ");
    }
}

#[test]
fn a_hundred_seeds_see_every_fault_and_state() {
    let summary = run_range(2_000..2_120, &Options::default(), 1, |_| {}).expect("every world can be set up");
    assert_eq!(summary.never, Vec::<&str>::new(), "every fault fired and every state was reached");
    assert!(summary.ok, "and every promise was kept: {:?}", summary.violated);
}

/// What the seeds were made of when these defects were found: one device each, hubs that stay, no drained key packages.
fn without_later_parts() -> Options {
    let text = "device_changes = 0\nhub_changes = 0\ndrains = 0\n";
    Options { scenario: Some((text.into(), "without_later_parts.toml".into())), ..Options::default() }
}

/// A scenario in which only clocks and processes fail.
fn clocks_and_kills() -> Options {
    let text = r#"{"nodes": 3, "accounts": 4, "messages": 16, "faults": {"node_clocks": 8, "device_clocks": 4, "kills": 8,
        "drop": 0, "duplicate": 0, "reorder": 0, "delay": 0, "partitions": 0, "one_way": 0, "start_kills": 0, "pauses": 0,
        "full_disks": 0, "slow_disks": 0, "lost_stores": 0, "device_kills": 0, "offline": 0, "hangups": 0, "lie": null},
        "device_changes": 0, "hub_changes": 0, "drains": 0}"#;
    Options { scenario: Some((text.into(), "clocks-and-kills.json".into())), ..Options::default() }
}

#[test]
fn a_node_that_started_while_its_clock_was_ahead_is_heard_when_the_clock_is_right() {
    hold(0..25, &clocks_and_kills());
}

#[test]
fn a_hub_that_lost_its_store_before_the_first_contact_was_fetched_gets_it_back() {
    // In 1050 the other's device has begun another group there meanwhile; both are read.
    for seed in [1050, 1741, 10_633, 16_342, 17_150] {
        hold(seed..seed + 1, &without_later_parts());
    }
}

#[test]
fn a_home_that_lost_its_store_and_is_written_to_by_nobody_gets_back_what_was_not_read() {
    for seed in [3022, 3430, 6941, 11_881] {
        hold(seed..seed + 1, &without_later_parts());
    }
}

#[test]
fn two_whose_hub_has_lost_its_store_go_on_in_another_group() {
    for seed in [1_000_073, 1_000_075] {
        hold(seed..seed + 1, &Options::default());
    }
}

#[test]
fn a_home_that_lost_its_store_learns_what_was_before_it_was_shown_a_conversation() {
    for seed in [1_000_044, 1_000_049, 1_000_090] {
        hold(seed..seed + 1, &Options::default());
    }
}

/// Every seed has groups here, and much happens in them.
fn groups() -> Options {
    let text = "accounts = 7\ngroups = 2\ngroup_messages = 12\nchanges = 16\ndevice_changes = 0\nhub_changes = 0\ndrains = 0\n";
    Options { scenario: Some((text.into(), "groups.toml".into())), ..Options::default() }
}

#[test]
fn ten_networks_with_much_happening_in_groups_keep_their_promises() {
    hold(0..10, &groups());
}

#[test]
fn ten_more_networks_with_much_happening_in_groups_keep_their_promises() {
    hold(40..50, &groups());
}

#[test]
fn a_late_no_of_the_hub_drops_no_later_commit() {
    for seed in [7, 36, 89, 99] {
        hold(seed..seed + 1, &without_later_parts());
    }
}

#[test]
fn who_joins_learns_of_those_who_were_removed_meanwhile() {
    for seed in [60, 128] {
        hold(seed..seed + 1, &without_later_parts());
    }
}

#[test]
fn custody_that_one_home_says_again_is_not_that_of_the_others() {
    hold(86..87, &without_later_parts());
}

#[test]
fn two_networks_with_a_small_group_and_real_mls_keep_their_promises() {
    // A real commit costs a hundred times the twin's.
    let text = "accounts = 4\ngroups = 1\ngroup_messages = 6\nchanges = 5\ndevice_changes = 0\nhub_changes = 0\n";
    let scenario = Some((text.into(), "small_group.toml".into()));
    hold(0..2, &Options { engine: Engine::Mls, scenario, ..Options::default() });
}

#[test]
fn a_home_in_a_new_life_learns_who_wrote_and_has_left_since() {
    hold(115..116, &without_later_parts());
}

#[test]
fn a_home_that_forgot_where_a_contact_lives_is_asked_to_look_it_up_again() {
    for seed in [1366, 3398, 6249, 14_131, 15_071] {
        hold(seed..seed + 1, &without_later_parts());
    }
}

/// Three people, to whose devices much happens.
fn devices() -> Options {
    let text = "accounts = 3\ngroups = 0\ngroup_messages = 0\nchanges = 0\nhub_changes = 0\ndevice_changes = 10\n";
    Options { scenario: Some((text.into(), "devices.toml".into())), ..Options::default() }
}

#[test]
fn seven_networks_in_which_devices_come_and_go_keep_their_promises() {
    hold(0..7, &devices());
}

#[test]
fn two_people_who_have_lost_all_their_devices_talk_again() {
    hold(3..4, &devices());
}

#[test]
fn who_is_added_asks_for_newer_logs_before_it_gives_up() {
    hold(7..8, &devices());
}

/// Two conversations of many, whose hubs move, are lost and followed.
fn hubs() -> Options {
    let text = "accounts = 6\ngroups = 2\ngroup_messages = 12\nchanges = 10\nhub_changes = 4\ndevice_changes = 0\ndrains = 0\n";
    Options { scenario: Some((text.into(), "hubs.toml".into())), ..Options::default() }
}

#[test]
fn networks_whose_hubs_are_lost_keep_their_promises() {
    for seed in [9, 10, 11] {
        hold(seed..seed + 1, &hubs());
    }
}

#[test]
fn a_hub_that_began_a_term_may_move() {
    hold(0..1, &hubs());
}

#[test]
fn a_commit_that_was_given_up_for_a_successor_and_stands_all_the_same_leads_its_author_on() {
    hold(3..4, &hubs());
}
