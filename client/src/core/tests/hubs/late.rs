//! Messages that come late: carol's home does not hear bob's, and the group goes on meanwhile.

use super::*;
use crate::core::rows;
use roost_crypto::labels;
use roost_crypto::sealing::{BoxSecretKey, SealedBox};
use roost_protocol::content::{Again, Body, Content, Resealed};

/// Bob writes in each of so many epochs; carol, whose home hears the hub all along, gets it all at the end.
fn everything_is_read_after(kind: Kind, commits: usize) {
    let (mut town, conversation) = Town::with_group_of(kind);
    town.people[CAROL].deaf.insert(1);
    let bob = town.people[BOB].account;
    let mut written = Vec::new();
    for number in 0..commits {
        let text = format!("bob in epoch {number}");
        town.write(BOB, conversation, &text);
        written.push(text);
        town.flow();
        let role = if number % 2 == 0 { Role::Member } else { Role::Admin };
        town.change(ALICE, conversation, GroupChange::Role(bob, role));
        town.flow();
    }
    town.settle();
    let epochs = [ALICE, BOB, CAROL].map(|person| town.at(person, conversation).2);
    assert_eq!(epochs, [commits as u64 + 2; 3], "all three follow the hub");
    assert_eq!(town.people[ALICE].shown, written, "alice reads bob as he writes");
    assert!(town.people[CAROL].shown.is_empty(), "carol hears nothing of him");

    town.people[CAROL].deaf.clear();
    for _ in 0..2 {
        for entry in town.feeds[&1].clone() {
            town.people[CAROL].arrived.push_back(ServerFrame::Entry { inbox: Some(1), entry });
        }
        town.settle();
        assert_eq!(town.people[CAROL].shown, written, "then she reads all of it, in order, and each once");
    }
    assert!(town.people.iter().all(|one| one.gaps.is_empty()), "nothing is missed: {:?}", town.people[CAROL].gaps);
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}

#[test]
fn who_was_cut_off_for_20_commits_reads_everything() {
    everything_is_read_after(Kind::Twin, 20);
}

#[test]
fn who_was_cut_off_for_1000_commits_reads_everything() {
    everything_is_read_after(Kind::Twin, 1_000);
}

#[test]
fn who_was_cut_off_for_20_commits_of_real_mls_reads_everything() {
    everything_is_read_after(Kind::Mls, 20);
}

#[test]
fn who_was_cut_off_for_more_commits_of_real_mls_than_a_page_of_copies_reads_everything() {
    everything_is_read_after(Kind::Mls, 100);
}

/// Carol misses what bob says to her and alice; dave comes after it; a week passes, so that carol has no copy of that epoch.
fn missed_for_a_week(kind: Kind) -> (Town, ConversationId) {
    let (mut town, conversation) = Town::with_group_of(kind);
    town.people[CAROL].deaf.insert(1);
    town.say(BOB, conversation, "before dave came");
    let dave = "dave@acme".parse().unwrap();
    town.change(ALICE, conversation, GroupChange::Add(vec![dave]));
    town.settle();
    town.now_ms += group::PAST_EPOCH_MS + 1_000;
    let carol = town.people[CAROL].account;
    for role in [Role::Admin, Role::Member] {
        town.change(ALICE, conversation, GroupChange::Role(carol, role));
        town.settle();
    }
    assert_eq!(town.names(CAROL, conversation).len(), 4, "carol has followed the hub");
    (town, conversation)
}

/// Carol's home hears bob's again.
fn hears_again(town: &mut Town) {
    town.people[CAROL].deaf.clear();
    for entry in town.feeds[&1].clone() {
        town.people[CAROL].arrived.push_back(ServerFrame::Entry { inbox: Some(1), entry });
    }
    town.settle();
}

fn said_again(kind: Kind) {
    let (mut town, conversation) = missed_for_a_week(kind);
    hears_again(&mut town);
    let told = &town.people[CAROL].gaps;
    assert!(
        !told.is_empty() && told.iter().all(|gap| gap.contains("asked")),
        "she is told that words are missing: {told:?}"
    );
    assert_eq!(town.people[CAROL].shown, ["before dave came"], "then bob's device gives her his words");
    assert_eq!(town.people[CAROL].device.missing(), 0, "and says that nothing else is missing");
    let history = town.people[CAROL].device.history(Some(&conversation.into()), None, 10).unwrap();
    assert_eq!(history.items.len(), 1, "they stand in the history");
    assert!(town.people[DAVE].shown.is_empty(), "dave, who came later, does not read them");
    assert!(town.people[DAVE].gaps.is_empty(), "and is not told of anything");
    assert_eq!(town.people[ALICE].shown, ["before dave came"], "alice is not shown them again");
    hears_again(&mut town);
    assert_eq!(town.people[CAROL].shown.len(), 1, "should they come once more, nothing happens");
    town.talks(conversation, &[ALICE, BOB, CAROL, DAVE]);
}

#[test]
fn what_no_copy_opens_is_sealed_again_for_who_asks_and_nobody_else() {
    said_again(Kind::Twin);
}

#[test]
fn what_no_copy_of_real_mls_opens_is_sealed_again_for_who_asks_and_nobody_else() {
    said_again(Kind::Mls);
}

#[test]
fn what_its_author_has_deleted_is_not_said_again() {
    let (mut town, conversation) = missed_for_a_week(Kind::Twin);
    let id = town.people[BOB].device.history(Some(&conversation.into()), None, 10).unwrap().items[0].id;
    {
        let mut random = draw(&mut town.draws);
        town.people[BOB].device.delete(&conversation.into(), id, &mut random, town.now_ms).unwrap();
    }
    town.settle();
    hears_again(&mut town);
    assert!(town.people[CAROL].shown.is_empty(), "carol does not read it");
    assert_eq!(town.people[CAROL].device.missing(), 1, "the gap stays");
    let before = town.feeds[&2].len();
    town.now_ms += 3 * 24 * 3_600_000;
    town.settle();
    assert_eq!(town.feeds[&2].len(), before, "and it is not asked for again");
}

#[test]
fn who_came_later_is_given_nothing_of_what_was_said_before() {
    let (mut town, _) = missed_for_a_week(Kind::Twin);
    // His home gives dave what was never for him, so that his device asks for it.
    for entry in town.feeds[&1].clone() {
        town.people[DAVE].arrived.push_back(ServerFrame::Entry { inbox: Some(1), entry });
    }
    let before = town.feeds[&1].len();
    town.settle();
    assert!(town.feeds[&1].len() > before, "bob's device answers");
    assert_eq!(town.people[DAVE].device.missing(), 1, "that it has nothing for dave");
    assert!(town.people[DAVE].shown.is_empty(), "who reads nothing");
}

/// What a device keeps of a message of its own, as far as this is concerned.
#[derive(serde::Deserialize)]
struct Kept {
    content: Bytes,
}

/// Somebody's device answers carol's question, whatever it has.
fn answers(town: &mut Town, by: usize, conversation: ConversationId, given: &[(MessageId, Again)]) {
    let seed: Bytes = town.people[CAROL].device.table.get(&rows::reseal_key()).unwrap().expect("carol asks");
    let key = BoxSecretKey::from_seed(seed.as_slice().try_into().unwrap()).public_key();
    let group = town.people[CAROL].head.clone().unwrap().group;
    let (author, to) = (town.people[by].device_id, town.people[CAROL].device_id);
    let context = [labels::RESEALED.as_bytes(), group.as_bytes(), author.as_bytes(), to.as_bytes()].concat();
    let plain = codec::encode(&given);
    let sealed = SealedBox::seal(&key, &context, &plain, Zeroizing::new([by as u8 + 40; 32])).unwrap();
    let body = Body::Resealed(Resealed { to, sealed: Bytes(codec::encode(&sealed)) });
    {
        let mut random = draw(&mut town.draws);
        let target = rows::Target::Conversation(conversation);
        town.people[by].device.write(target, None, body, &mut random, town.now_ms).unwrap();
    }
    town.settle();
}

#[test]
fn nobody_is_believed_but_the_device_that_said_what_is_missing() {
    let (mut town, conversation) = missed_for_a_week(Kind::Twin);
    let id = town.people[BOB].device.history(Some(&conversation.into()), None, 10).unwrap().items[0].id;
    let Kept { content } = town.people[BOB].device.table.get(&rows::sent(&id)).unwrap().expect("bob keeps it");
    // Bob does not hear carol's question.
    town.people[BOB].deaf.insert(2);
    hears_again(&mut town);
    assert_eq!(town.people[CAROL].device.missing(), 1, "carol misses what bob said");

    answers(&mut town, ALICE, conversation, &[(id, Again::Content(content.clone()))]);
    assert_eq!(town.people[CAROL].device.missing(), 1, "alice has read it, but carol does not take her word for it");
    let other = Content { body: Body::Text("never said".into()), ..Content::decode(content.as_slice()).unwrap() };
    let other = Bytes(other.encode());
    answers(&mut town, BOB, conversation, &[(id, Again::Content(other.clone()))]);
    assert!(town.people[CAROL].shown.is_empty(), "nor bob's for something else");
    let unasked = MessageId::of(town.now_ms, other.as_slice());
    answers(&mut town, BOB, conversation, &[(unasked, Again::Content(other))]);
    assert!(town.people[CAROL].shown.is_empty(), "nor for what she did not ask for");
    answers(&mut town, BOB, conversation, &[(id, Again::Content(content))]);
    assert_eq!(town.people[CAROL].shown, ["before dave came"], "what he said she reads");
}
