//! Nodes and members that lie in a conversation of many: what a device refuses, where it stays, and what it tells people.

use super::*;
use crate::core::cross_check;
use crate::core::withheld;
use roost_crypto::group::Change;
use roost_crypto::identity_log::{LogHash, LogHead, Operation, Signer};
use roost_protocol::feed::FeedHead;
use roost_protocol::ids::OperationId;

impl Town {
    fn group(&self, conversation: ConversationId) -> GroupId {
        self.people[ALICE].device.conversation(&conversation).unwrap().unwrap().group
    }

    /// A commit that MLS allows and that no honest device makes.
    fn forge(&mut self, by: usize, conversation: ConversationId, change: &dyn Fn(&mut ConversationState)) -> Commit {
        let device = &mut self.people[by].device;
        let row = device.conversation(&conversation).unwrap().unwrap();
        let mut state = row.state.clone();
        change(&mut state);
        let change = Change { conv_state: Some(Bytes(codec::encode(&state))), ..Change::default() };
        let (made, _) = device.engine.groups.commit(&device.table, row.group.as_bytes(), &change).unwrap();
        Commit {
            operation: OperationId([99; 16]),
            group: row.group,
            epoch: epoch::of(state.term, made.epoch),
            commit: made.commit,
            welcome: made.welcome,
            group_info: made.group_info,
            logs: Vec::new(),
            leaves: Vec::new(),
        }
    }

    /// What the hub shows in place of an honest entry, and what bob's device makes of it: gaps, and warnings.
    fn shown_to_bob(&self, entry: &Entry) -> (Vec<&'static str>, Vec<Cause>, u64) {
        let mut device = open(Kind::Twin, &self.people[BOB].disk);
        let mut draws = 10_000;
        let frame = ServerFrame::Entry { inbox: Some(1), entry: entry.clone() };
        device.handle(Input::Frame(Box::new(frame)), &mut draw(&mut draws), self.now_ms).unwrap();
        device.finish(&mut draw(&mut draws), self.now_ms).unwrap();
        let mut gaps = Vec::new();
        while let Some(output) = device.poll_output() {
            if let Output::Gap { reason, .. } = output {
                gaps.push(reason);
            }
        }
        let causes = device.warnings().unwrap().into_iter().map(|warning| warning.cause).collect();
        let epoch = device.conversations().unwrap().remove(0).epoch;
        (gaps, causes, epoch)
    }

    /// An entry of the hub with whatever it likes to sign.
    fn signed_by_hub(&mut self, head: &ConversationHead, commit: Commit, by: usize) -> Entry {
        let signed = head.sign(&self.nodes[0]);
        let author = (self.people[by].account, self.people[by].device_id, MessageId([8; 16]), 0);
        let payload = Bytes(codec::encode(&NextEpoch { head: signed, commit, from: None }));
        let before = self.feeds.clone();
        let entry = self.append(0, head.group, EntryKind::Commit, head.epoch, author, payload);
        self.feeds = before;
        entry
    }
}

#[test]
fn a_hub_that_colludes_with_a_member_is_not_followed_people_are_told_and_an_admin_ends_it() {
    let (mut town, conversation) = Town::with_group();
    let carol = town.people[CAROL].account;
    let reign = town.forge(CAROL, conversation, &|state| {
        state.participants.iter_mut().filter(|one| one.account == carol).for_each(|one| one.role = Role::Admin);
    });
    let base = town.people[CAROL].head.clone().unwrap().epoch;
    town.order(CAROL, 0, base, reign, None);
    town.settle();
    for person in [ALICE, BOB] {
        assert_eq!(town.at(person, conversation).2, 2, "{person} stays where the rules were kept");
        let role = |town: &Town| {
            let report = town.people[person].device.conversations().unwrap().remove(0);
            report.participants.into_iter().find(|one| one.account == carol).unwrap().role
        };
        assert_eq!(role(&town), Role::Member, "and carol is no admin there");
        let causes = town.warnings(person);
        let [Cause::RuleBroken { hub, epoch: 2, by, reason }] = causes.as_slice() else {
            panic!("{person} is told of the broken rule, got {causes:?}")
        };
        assert_eq!((hub, by.as_str()), (&town.node(0).to_string(), "carol@acme"), "by whom, and who let it pass");
        assert!(reason.contains("only an admin"), "and which rule it was: {reason}");
        let words = causes[0].text();
        assert!(words.contains("cannot be read here") && words.contains("--hub-is-lost"), "and what to do: {words}");
        let report = town.people[person].device.conversations().unwrap().remove(0);
        assert_eq!(report.warnings.len(), 1, "it stands beside the conversation");
    }
    town.say(ALICE, conversation, "waits");
    assert!(!town.people[BOB].shown.contains(&"waits".to_owned()), "what alice writes waits: the homes follow the hub");

    // The device of a person that starts again says the same.
    town.people[BOB].device = open(Kind::Twin, &town.people[BOB].disk);
    assert_eq!(town.warnings(BOB).len(), 1, "it is kept");
    let hello = ServerFrame::Hello {
        versions: vec![1],
        features: vec![],
        node: town.node(1),
        org: OrgId::of(&town.org.public_key()),
        name: "acme".into(),
        challenge: Bytes(vec![7; 32]),
        incarnation: Incarnation([1; 16]),
    };
    town.input(BOB, Input::Connected);
    town.people[BOB].arrived.push_back(hello);
    town.settle();

    town.succeed(ALICE, conversation, Some(1));
    town.settle();
    for person in [ALICE, BOB] {
        assert_eq!(town.at(person, conversation).1, 1, "{person} follows another node from there on");
        assert_eq!(town.warnings(person), NOTHING, "and is warned no more");
    }
    assert!(town.people[BOB].shown.contains(&"waits".to_owned()), "what waited arrives");
    town.talks(conversation, &[ALICE, BOB]);
}

#[test]
fn whatever_a_hub_signs_alone_moves_no_device_and_is_told() {
    let (mut town, conversation) = Town::with_group();
    let head = town.people[BOB].head.clone().unwrap();
    let held = town.feeds[&0].iter().rev().find(|entry| entry.header.kind == EntryKind::Commit).unwrap().clone();
    let honest = held.next_epoch().unwrap();
    let next = |commit: &Commit, change: &dyn Fn(&mut ConversationHead)| {
        let mut next = ConversationHead { epoch: head.epoch + 1, made_by: commit.hash(), ..head.clone() };
        change(&mut next);
        next
    };
    let rename = town.forge(ALICE, conversation, &|state| state.successors.truncate(1));
    let mut by_nobody = rename.clone();
    by_nobody.commit = Bytes(vec![7; 100]);
    let mut replayed = honest.commit.clone();
    replayed.epoch = head.epoch + 1;
    let dave = town.people[DAVE].account;
    let stranger = town.people[DAVE].log.clone();
    let mut with_log = rename.clone();
    with_log.logs = vec![stranger];
    let invented = |next: &mut ConversationHead| {
        next.state.participants.push(roost_protocol::conversation::Participant { account: dave, role: Role::Member });
        next.state.participants.sort_by_key(|one| one.account);
    };
    let cases = [
        ("a change that no member made", next(&by_nobody, &|_| ()), by_nobody),
        ("an old commit as a new one", next(&replayed, &|_| ()), replayed),
        ("a member whom no commit adds", next(&rename, &invented), rename.clone()),
        ("a log of somebody who takes no part", next(&with_log, &|_| ()), with_log),
        ("an epoch that nothing leads to", next(&rename, &|next| next.epoch += 1), rename),
    ];
    for (what, head, commit) in cases {
        let entry = town.signed_by_hub(&head, commit, ALICE);
        let (gaps, causes, epoch) = town.shown_to_bob(&entry);
        assert_eq!((gaps.len(), epoch), (1, 2), "{what}: a gap, and bob stays, got {gaps:?}");
        assert!(matches!(causes.as_slice(), [Cause::RuleBroken { .. }]), "{what}: bob is told, got {causes:?}");
    }
    let (gaps, causes, epoch) = town.shown_to_bob(&held);
    assert_eq!((gaps, causes, epoch), (vec![], vec![], 2), "an old commit replayed as it is changes nothing");
    let other = next(&honest.commit, &|next| next.made_by = Hash([1; 32]));
    let entry = town.signed_by_hub(&other, honest.commit.clone(), ALICE);
    let (gaps, _, epoch) = town.shown_to_bob(&entry);
    assert_eq!((gaps, epoch), (vec!["the commit is not what its hub has signed"], 2), "another commit than was signed");
    let mut of_birch = held.clone();
    of_birch.header.feed.node = town.node(1);
    let (gaps, _, epoch) = town.shown_to_bob(&of_birch);
    let unsigned = "the commit is not what its hub has signed";
    assert_eq!((gaps, epoch), (vec![unsigned], 2), "another node's feed is no place for it");
}

#[test]
fn a_home_that_withholds_a_members_messages_is_asked_for_what_others_have_seen() {
    let (mut town, conversation) = Town::with_group();
    town.talks(conversation, &[ALICE, BOB, CAROL]);
    town.people[BOB].deaf.insert(2);
    town.say(CAROL, conversation, "not for bob");
    assert_eq!(town.warnings(BOB), NOTHING, "bob cannot know it yet");
    let asked = town.people[BOB].resumed;
    town.say(ALICE, conversation, "did you hear carol?");
    town.settle();
    assert!(town.people[BOB].resumed > asked, "his home is asked for what alice has seen");
    assert_eq!(town.warnings(ALICE), NOTHING, "nothing is wrong elsewhere");

    town.people[BOB].deaf.clear();
    for entry in town.feeds[&2].clone() {
        town.people[BOB].arrived.push_back(ServerFrame::Entry { inbox: Some(1), entry });
    }
    town.settle();
    assert!(town.people[BOB].shown.contains(&"not for bob".to_owned()), "it comes after all");
    assert_eq!(town.warnings(BOB), NOTHING, "and nothing is wrong any more");
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}

#[test]
fn an_entry_that_a_home_leaves_out_shows_by_the_next_one_and_is_asked_for() {
    let (mut town, conversation) = Town::with_group();
    town.talks(conversation, &[ALICE, BOB, CAROL]);
    town.people[BOB].deaf.insert(2);
    town.say(CAROL, conversation, "left out");
    town.people[BOB].deaf.clear();
    town.say(CAROL, conversation, "the next one");
    assert!(town.people[BOB].shown.contains(&"the next one".to_owned()), "what comes is shown, nothing is held back");
    let asked = town.people[BOB].resumed;
    town.now_ms += withheld::LATE_MS;
    town.settle();
    assert!(
        town.people[BOB].resumed > asked,
        "what lies before it is asked for: the feed itself shows that it is missing"
    );
    assert_eq!(town.warnings(BOB), NOTHING, "and nobody is alarmed, for nobody has said that there was something");
    for entry in town.feeds[&2].clone() {
        town.people[BOB].arrived.push_back(ServerFrame::Entry { inbox: Some(1), entry });
    }
    town.settle();
    assert!(town.people[BOB].shown.contains(&"left out".to_owned()), "until it comes");
}

#[test]
fn a_member_that_invents_positions_alarms_nobody_and_hides_nothing_that_is_missing() {
    let (mut town, conversation) = Town::with_group();
    town.talks(conversation, &[ALICE, BOB, CAROL]);
    let (group, carol) = (town.group(conversation), town.people[CAROL].account);
    let feed = |town: &Town, node: usize| FeedId { group, node: town.node(node), incarnation: Incarnation([1; 16]) };
    let mut heads = vec![FeedHead { feed: feed(&town, 0), seq: u64::MAX, hash: Hash([1; 32]) }];
    heads.push(FeedHead { feed: FeedId { group: GroupId([3; 32]), ..feed(&town, 0) }, seq: 9, hash: Hash([1; 32]) });
    for number in 0..2_000_u32 {
        let mut incarnation = [7; 16];
        incarnation[..4].copy_from_slice(&number.to_be_bytes());
        let feed = FeedId { incarnation: Incarnation(incarnation), ..feed(&town, 0) };
        heads.push(FeedHead { feed, seq: 1, hash: Hash([2; 32]) });
    }
    let now_ms = town.now_ms;
    for heads in heads.chunks(16) {
        town.people[BOB].device.heads_seen(&group, carol, heads, now_ms).unwrap();
    }
    let rows = town.people[BOB].device.table.count(&[crate::core::rows::FOLLOWED]);
    assert!(rows <= 1_100, "what one member can make a device keep is bounded: {rows} rows");
    town.now_ms += withheld::LATE_MS;
    town.settle();
    assert_eq!(town.warnings(BOB), NOTHING, "one member's word alarms nobody");

    town.people[BOB].deaf.insert(0);
    town.say(ALICE, conversation, "left out");
    town.people[BOB].deaf.clear();
    town.say(ALICE, conversation, "the next one");
    assert!(town.people[BOB].shown.contains(&"the next one".to_owned()), "the talk goes on");
    let asked = town.people[BOB].resumed;
    town.now_ms += withheld::LATE_MS;
    town.settle();
    assert!(town.people[BOB].resumed > asked, "what is really missing is asked for all the same");

    town.change(ALICE, conversation, GroupChange::Remove(vec![carol]));
    town.settle();
    assert_eq!(town.warnings(BOB), NOTHING, "nor when carol takes no part any more");
}

#[test]
fn a_node_that_tells_two_members_two_stories_of_its_feed_is_shown() {
    let (mut town, conversation) = Town::with_group();
    town.talks(conversation, &[ALICE, BOB, CAROL]);
    let (group, alice) = (town.group(conversation), town.people[ALICE].account);
    let feed = FeedId { group, node: town.node(2), incarnation: Incarnation([1; 16]) };
    let seq = town.feeds[&2].last().unwrap().header.seq;
    let (other, now_ms) = (FeedHead { feed, seq, hash: Hash([66; 32]) }, town.now_ms);
    town.people[BOB].device.heads_seen(&group, alice, &[other], now_ms).unwrap();
    town.now_ms += withheld::LATE_MS;
    town.settle();
    let causes = town.warnings(BOB);
    let [Cause::ToldOtherwise { node, said_by }] = causes.as_slice() else { panic!("bob is told, got {causes:?}") };
    assert_eq!((node, said_by.as_str()), (&town.node(2).to_string(), "alice@acme"), "whose feed it is, and by whom");
}

#[test]
fn a_home_that_serves_an_old_log_is_found_out_by_the_messages_of_its_owner() {
    let (mut town, conversation) = Town::with_group();
    town.talks(conversation, &[ALICE, BOB, CAROL]);
    let old = town.people[ALICE].log.clone();
    let newer = {
        let me = &mut town.people[ALICE].device.me;
        let (handle, org) = ("alice@acme".to_owned(), OrgId::of(&SecretKey::from_seed(&[9; 32]).public_key()));
        let op = Operation::SetHandle { handle, org };
        let newer = me.log.append(op, Signer::Device(me.device), &me.key).unwrap();
        me.log = newer.clone();
        newer
    };
    town.say(ALICE, conversation, "my log has grown");
    assert_eq!(town.warnings(BOB), NOTHING, "his home may not have heard of it yet");
    town.now_ms += cross_check::LATE_MS;
    town.settle();
    assert_eq!(town.people[ALICE].log, old, "the town serves the old log all the time");
    assert_eq!(town.warnings(BOB), [Cause::OldLog { of: "alice@acme".into() }], "bob is told");
    let kept = open(Kind::Twin, &town.people[BOB].disk).table.count(&[crate::core::rows::OLD_LOG]);
    assert_eq!(kept, 1, "and would be after a restart");
    town.people[ALICE].log = newer.log().clone();
    town.now_ms += 11 * 60 * 1_000;
    town.settle();
    assert_eq!(town.warnings(BOB), NOTHING, "once his home shows it, all is well");
    let known = town.people[BOB].device.peer_log(&town.people[ALICE].account).unwrap().unwrap();
    assert_eq!(known.head(), newer.head(), "and he knows the newer one");
}

#[test]
fn another_branch_of_a_log_than_its_owner_goes_by_is_told_at_once() {
    let (mut town, conversation) = Town::with_group();
    town.talks(conversation, &[ALICE, BOB, CAROL]);
    let (group, alice) = (town.group(conversation), town.people[ALICE].account);
    let known = town.people[BOB].device.peer_log(&alice).unwrap().unwrap().head();
    let other = LogHead { seq: known.seq, hash: LogHash([66; 32]) };
    let now_ms = town.now_ms;
    town.people[BOB].device.log_head_seen(group, alice, other, now_ms).unwrap();
    town.settle();
    assert_eq!(town.warnings(BOB), [Cause::BranchedLog { of: "alice@acme".into() }], "one of the two is forged");
    let still = town.people[BOB].device.peer_log(&alice).unwrap().unwrap().head();
    assert_eq!(still, known, "and nothing is replaced");
}

#[test]
fn a_removed_admin_cannot_come_back_by_a_successor() {
    let (mut town, conversation) = Town::with_group();
    // Bob's home hears neither the hub nor what it did to him.
    town.people[BOB].deaf.insert(0);
    let bob = town.people[BOB].account;
    town.change(ALICE, conversation, GroupChange::Remove(vec![bob]));
    town.settle();
    assert_eq!(town.names(CAROL, conversation).len(), 2, "bob is out, as all but he know");
    let before = [ALICE, CAROL].map(|person| town.at(person, conversation));
    let heads = [ALICE, CAROL].map(|person| town.people[person].head.clone());
    // Where he still is an admin he lets another node follow, and it does as he says.
    town.succeed(BOB, conversation, Some(1));
    town.settle();
    assert_eq!(town.at(BOB, conversation).1, 1, "he is alone with it");
    assert_eq!([ALICE, CAROL].map(|person| town.at(person, conversation)), before, "nobody follows him");
    for (person, head) in [ALICE, CAROL].into_iter().zip(heads) {
        town.people[person].head = head;
    }
    town.say(ALICE, conversation, "without him");
    assert!(town.people[CAROL].shown.contains(&"without him".to_owned()), "the others talk on");
    assert!(!town.people[BOB].shown.contains(&"without him".to_owned()), "and he reads none of it");
    assert_eq!((town.warnings(ALICE), town.warnings(CAROL)), (vec![], vec![]), "there is nothing to warn of");
}

#[test]
fn of_many_feeds_each_message_names_the_next_ones() {
    let (mut town, conversation) = Town::with_group();
    let group = town.group(conversation);
    let feeds: BTreeSet<FeedId> = (0..40_u8)
        .map(|number| FeedId { group, node: town.node(1), incarnation: Incarnation([100 + number; 16]) })
        .collect();
    for feed in &feeds {
        let head = FeedHead { feed: *feed, seq: 1, hash: Hash([1; 32]) };
        town.people[ALICE].device.table.put(crate::core::rows::feed(feed), &head);
    }
    let mut named = BTreeSet::new();
    for number in 0..4 {
        let heads = town.people[ALICE].device.seen_in(&group).unwrap();
        assert_eq!(heads.len(), 16, "a message names so many");
        named.extend(heads.into_iter().map(|head| head.feed));
        let text = format!("message {number}");
        let mut random = draw(&mut town.draws);
        town.people[ALICE]
            .device
            .send_with(&conversation.into(), &text, Extras::default(), &mut random, NOW_MS)
            .expect("written");
    }
    assert!(named.is_superset(&feeds), "four messages name all of forty and some: {}", named.len());
}
