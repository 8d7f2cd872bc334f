//! A device whose store was restored from an old copy: it notices, replays the log of commits, and comes back.

use super::*;

/// Carol's device is opened from an old copy of its store, and connects; its home knows that it had acknowledged more.
fn restored(town: &mut Town, copy: &Disk) {
    let carol = &mut town.people[CAROL];
    carol.disk = copy.clone();
    carol.device = open(town.kind, copy);
    carol.arrived.clear();
    carol.shown.clear();
    carol.gaps.clear();
    town.restored.insert(CAROL);
    town.greet(CAROL);
}

fn comes_back(kind: Kind) {
    let (mut town, conversation) = Town::with_group_of(kind);
    town.talks(conversation, &[ALICE, BOB, CAROL]);
    let copy = town.people[CAROL].disk.clone();
    let bob = town.people[BOB].account;
    for role in [Role::Member, Role::Admin, Role::Member] {
        town.say(CAROL, conversation, "after the copy was made");
        town.say(BOB, conversation, &format!("bob, before he is {role:?}"));
        town.change(ALICE, conversation, GroupChange::Role(bob, role));
        town.settle();
    }
    let before = town.at(ALICE, conversation).2;
    restored(&mut town, &copy);
    town.write(CAROL, conversation, "written before she is back");
    town.flow();
    // What lay in her inbox when the old store was lost.
    let unread: Vec<Entry> = town.feeds[&1].iter().rev().take(2).cloned().collect();
    for entry in unread.into_iter().rev() {
        town.people[CAROL].arrived.push_back(ServerFrame::Entry { inbox: Some(2_000), entry });
    }
    town.settle();
    assert_eq!(town.people[CAROL].lost, 1, "her device notices");
    let epochs = [ALICE, BOB, CAROL].map(|person| town.at(person, conversation).2);
    assert_eq!(epochs, [before + 1; 3], "one external commit brings her back");
    let authenticators = [ALICE, BOB, CAROL].map(|one| town.people[one].device.authenticator(&conversation).unwrap());
    assert!(authenticators[0].is_some() && authenticators.iter().all(|one| *one == authenticators[0]), "to one state");
    for reader in [ALICE, BOB] {
        let texts = town.people[reader].shown.iter().filter(|text| *text == "written before she is back").count();
        assert_eq!(texts, 1, "what she wrote waited, and is read by {reader}");
    }
    assert_eq!(town.people[CAROL].device.missing(), 0, "what she could not open was given again");
    assert!(town.people[CAROL].shown.iter().any(|text| text.starts_with("bob, before")), "and is read");
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}

#[test]
fn a_device_with_an_old_copy_of_its_store_comes_back() {
    comes_back(Kind::Twin);
}

#[test]
fn a_device_with_an_old_copy_of_its_store_comes_back_with_real_mls() {
    comes_back(Kind::Mls);
}

#[test]
fn a_device_tries_to_come_back_three_times_a_day() {
    let (mut town, conversation) = Town::with_group();
    let group = town.people[CAROL].head.clone().unwrap().group;
    let copy = town.people[CAROL].disk.clone();
    let bob = town.people[BOB].account;
    town.change(ALICE, conversation, GroupChange::Role(bob, Role::Member));
    town.settle();
    restored(&mut town, &copy);
    town.dead.insert(0);
    town.flow();
    // Whatever it tried today.
    let now = town.now_ms + 25 * 3_600_000;
    let device = &mut town.people[CAROL].device;
    assert!(device.is_lost(&group), "while the hub is silent she is not back");
    for try_ in 0..3 {
        assert_eq!(device.may_come_back(&group, now + try_).unwrap(), Ok(()), "try {try_}");
    }
    assert_eq!(device.may_come_back(&group, now + 9).unwrap(), Err(now + 24 * 3_600_000), "the fourth waits for a day");
    assert_eq!(device.may_come_back(&group, now + 24 * 3_600_000).unwrap(), Ok(()), "then it may");
}

#[test]
fn a_log_that_does_not_lead_on_is_not_believed() {
    let (mut town, conversation) = Town::with_group();
    let copy = town.people[CAROL].disk.clone();
    let bob = town.people[BOB].account;
    for role in [Role::Member, Role::Admin, Role::Member] {
        town.change(ALICE, conversation, GroupChange::Role(bob, role));
        town.settle();
    }
    // The home leaves one commit out: the newest GroupInfo is the hub's all the same.
    town.withheld = Some(4);
    restored(&mut town, &copy);
    town.settle();
    assert_eq!(town.at(CAROL, conversation).2, 2, "carol does not go where the log does not lead");
    assert!(town.people[CAROL].gaps.contains(&"the log of commits does not lead on"), "and is told");
    town.withheld = None;
    town.greet(CAROL);
    town.settle();
    assert_eq!(town.at(CAROL, conversation).2, 6, "from a whole log she comes back");
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}
