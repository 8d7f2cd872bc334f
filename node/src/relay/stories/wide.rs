//! Wide conversations: gossip spares deliveries, and moves nothing that a delivery would not.

use super::*;
use crate::relay::Hearsay;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, payload_hash};
use roost_protocol::limits::{GOSSIP_CUSTODY_MS, WIDE_CONVERSATIONS_MAX};
use roost_protocol::peer::{Custody, Deliver, Held};
use roost_protocol::wide::{Entries, Topic};

const GROUP: GroupId = GroupId([5; 32]);
const LIFE: Incarnation = Incarnation([9; 16]);

/// Alice lives here; bob at node 2, carol at node 3: two other homes, which make a conversation wide here.
struct Wide {
    world: World,
    alice: AccountId,
    bob: VerifiedLog,
    carol: VerifiedLog,
}

fn wide() -> Wide {
    let limits = Limits { wide_homes_min: 2, ..Limits::PRODUCTION };
    let store = MemoryStore::new([1; 16]);
    let identity = Identity { limits, ..World::identity() };
    let relay = Relay::open(identity, &mut Overlay::new(&store)).unwrap();
    let mut world = World { store, relay, now_ms: NOW_MS };
    let alice = world.alice();
    world.relay.present.entry(alice).or_default().insert(1);
    let (bob, carol) = (log_of(30, node(2)), log_of(50, node(3)));
    world.write(|rows| {
        for log in [&bob, &carol] {
            rows::put(rows, rows::peer_log(&log.account()), log.log());
        }
        for peer in [node(2), node(3)] {
            rows::put(rows, rows::peer_life(&peer), &LIFE);
        }
    });
    let mut story = Wide { world, alice, bob, carol };
    let all = [alice, story.bob.account(), story.carol.account()];
    story.epoch(GROUP, 1, &all);
    story
}

fn made_by(epoch: u64) -> Hash {
    Hash([epoch as u8; 32])
}

impl Wide {
    /// The hub's word: who takes part in an epoch.
    fn epoch(&mut self, group: GroupId, epoch: u64, accounts: &[AccountId]) {
        let (_, creation) = conversation(group, &self.bob);
        let mut accounts = accounts.to_vec();
        accounts.sort();
        let participants: Vec<_> =
            accounts.into_iter().map(|account| Participant { account, role: Role::Member }).collect();
        let state = ConversationState { participants: participants.clone(), ..creation.state };
        let head = ConversationHead { group, state, epoch, made_by: made_by(epoch), ordered_by: None };
        self.world.write(|rows| {
            rows::put(rows, rows::group(&group), &head);
            rows::put(rows, rows::participants(&group, epoch), &participants);
        });
    }

    fn feed(&self, writer: u8) -> FeedId {
        let incarnation = if writer == 1 { Incarnation([1; 16]) } else { LIFE };
        FeedId { group: GROUP, node: node(writer), incarnation }
    }

    /// Alice's first message, which goes out by deliveries, with their custody: from then on the conversation is gossiped.
    fn begun() -> Self {
        let mut story = wide();
        let outputs = story.says(1);
        assert!(told(&outputs).is_empty(), "what this node has not looked at yet is delivered");
        assert_eq!(delivered(&outputs).len(), 2, "to both homes");
        let topic = Topic::of(&GROUP, &made_by(1));
        let nodes = BTreeSet::from([1, 2, 3].map(node));
        assert_eq!(joined(&outputs), [(topic, nodes)], "and the node takes part in the conversation's topic");
        story.give_custody(&outputs, 1);
        story
    }

    fn says(&mut self, number: u8) -> Vec<Output> {
        let frame = ClientFrame::Submit {
            id: u64::from(number),
            group: GROUP,
            epoch: 1,
            message: MessageId([number; 16]),
            attempt: 0,
            payload: Bytes(vec![number; 100]),
            silent: false,
            blobs: Vec::new(),
        };
        self.world.batch(vec![Input::Frame { connection: 1, frame }]).0
    }

    /// Both homes answer what is delivered to them.
    fn give_custody(&mut self, outputs: &[Output], seq: u64) {
        let feed = self.feed(1);
        for (token, _, deliver) in delivered(outputs) {
            let custody = deliver.accounts.iter().map(|account| Custody { account: *account, feed, seq }).collect();
            self.world.batch(vec![Input::Answered { token, response: Some(NodeResponse::Custody(custody)) }]);
        }
    }

    /// A home says that it holds what was gossiped.
    fn holds(&mut self, peer: u8, account: AccountId, seq: u64, life: Incarnation) -> (Vec<Output>, NodeResponse) {
        let held = Held { feed: self.feed(1), seq, accounts: vec![account], incarnation: life };
        let request = NodeRequest::Held(held);
        let (mut outputs, _) = self.world.batch(vec![Input::Asked { token: 7, peer: node(peer), request }]);
        let at = outputs.iter().position(|output| matches!(output, Output::Answer(7, _))).expect("it is answered");
        let Output::Answer(_, response) = outputs.remove(at) else { panic!("just found") };
        (outputs, response)
    }

    fn custody(&self, account: &AccountId) -> u64 {
        self.world.row(&rows::outbox(&self.feed(1), account)).unwrap_or(0)
    }

    fn elapse(&mut self, ms: u64) -> Vec<Output> {
        self.world.now_ms += ms;
        self.world.batch(vec![Input::Tick]).0
    }

    /// Bob's messages in the feed of his home.
    fn of_bob(&self, count: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for seq in 1..=count {
            let payload = Bytes(vec![seq as u8; 50]);
            let header = EntryHeader {
                feed: self.feed(2),
                seq,
                prev: entries.last().map_or(Hash([0; 32]), |entry| entry.header.hash()),
                kind: EntryKind::Message,
                epoch: 1,
                account: self.bob.account(),
                device: device_of(30),
                message: MessageId([seq as u8; 16]),
                attempt: 0,
                payload_hash: payload_hash(payload.as_slice()),
            };
            entries.push(Entry { header, payload, silent: false });
        }
        entries
    }

    fn hears(&mut self, source: u8, topic: &Topic, entries: &[Entry]) -> (Vec<Output>, Hearsay, usize) {
        let entries = Entries::new(entries.to_vec()).unwrap();
        let input = Input::Gossiped { token: 3, source: node(source), topic: topic.clone(), entries };
        let (outputs, written) = self.world.batch(vec![input]);
        let judged = outputs.iter().find_map(|output| match output {
            Output::Judged(3, hearsay) => Some(*hearsay),
            _ => None,
        });
        (outputs, judged.expect("what is heard is judged"), written)
    }

    /// How far alice's inbox holds bob's feed.
    fn held(&self) -> u64 {
        self.world.row(&rows::held(&self.alice, &self.feed(2))).unwrap_or(0)
    }
}

fn told(outputs: &[Output]) -> Vec<(Topic, Vec<u64>)> {
    let seqs = |entries: &Entries| entries.entries().iter().map(|entry| entry.header.seq).collect();
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Gossip(topic, entries) => Some((topic.clone(), seqs(entries))),
            _ => None,
        })
        .collect()
}

fn joined(outputs: &[Output]) -> Vec<(Topic, BTreeSet<NodeId>)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Join { topic, nodes } => Some((topic.clone(), nodes.clone())),
            _ => None,
        })
        .collect()
}

fn left(outputs: &[Output]) -> Vec<Topic> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Leave(topic) => Some(topic.clone()),
            _ => None,
        })
        .collect()
}

fn delivered(outputs: &[Output]) -> Vec<(RequestToken, NodeId, Deliver)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Ask(token, node, NodeRequest::Deliver(deliver)) => Some((*token, *node, deliver.clone())),
            _ => None,
        })
        .collect()
}

fn said_held(outputs: &[Output]) -> Vec<(NodeId, u64)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Ask(_, node, NodeRequest::Held(held)) => Some((*node, held.seq)),
            _ => None,
        })
        .collect()
}

#[test]
fn who_gave_no_custody_of_what_was_gossiped_is_delivered_to_and_nobody_else() {
    let mut story = Wide::begun();
    let outputs = story.says(2);
    assert_eq!(told(&outputs), [(Topic::of(&GROUP, &made_by(1)), vec![2])], "the message is gossiped once");
    assert!(delivered(&outputs).is_empty(), "and delivered to nobody yet");
    let (bob, carol) = (story.bob.account(), story.carol.account());
    let (outputs, response) = story.holds(2, bob, 2, LIFE);
    assert_eq!(response, NodeResponse::Done, "bob's home says that it holds it");
    assert_eq!((story.custody(&bob), story.custody(&carol)), (2, 1), "which counts for bob alone");
    let custody = outputs
        .iter()
        .any(|output| matches!(output, Output::Early(1, ServerFrame::Custody { account, .. }) if *account == bob));
    assert!(custody, "and alice's device is told");
    assert!(delivered(&story.elapse(GOSSIP_CUSTODY_MS - 1)).is_empty(), "carol's home has its time");
    let outputs = story.elapse(1);
    let to: Vec<_> = delivered(&outputs).into_iter().map(|(_, node, deliver)| (node, deliver.entries.len())).collect();
    assert_eq!(to, [(node(3), 1)], "then it is delivered to, and bob's is not");
    story.give_custody(&outputs, 2);
    assert_eq!(story.custody(&carol), 2, "with its custody all is well");
    assert!(delivered(&story.elapse(60_000)).is_empty(), "and nothing is left to be delivered");
}

#[test]
fn each_message_of_a_stream_has_its_own_time() {
    let mut story = Wide::begun();
    story.says(2);
    story.elapse(GOSSIP_CUSTODY_MS - 10);
    story.says(3);
    let (bob, carol) = (story.bob.account(), story.carol.account());
    story.holds(2, bob, 2, LIFE);
    story.holds(3, carol, 2, LIFE);
    let outputs = story.elapse(20);
    assert!(delivered(&outputs).is_empty(), "the first is held, the second was gossiped a moment ago");
    story.holds(2, bob, 3, LIFE);
    let outputs = story.elapse(GOSSIP_CUSTODY_MS);
    let to: Vec<_> = delivered(&outputs).into_iter().map(|(_, node, deliver)| (node, deliver.entries.len())).collect();
    assert_eq!(to, [(node(3), 1)], "only the second is delivered, and only where it is not held");
}

#[test]
fn a_custody_for_what_was_not_gossiped_or_of_another_life_or_for_others_is_none() {
    let mut story = Wide::begun();
    let (bob, carol) = (story.bob.account(), story.carol.account());
    let refused = |response: &NodeResponse| match response {
        NodeResponse::Refused(refusal) => refusal.code,
        other => panic!("expected a refusal, got {other:?}"),
    };
    let (_, response) = story.holds(2, bob, 2, LIFE);
    assert_eq!(refused(&response), Code::OutOfOrder, "nothing was gossiped yet");
    story.says(2);
    let (_, response) = story.holds(2, bob, 2, Incarnation([8; 16]));
    assert_eq!(refused(&response), Code::OutOfOrder, "a life that is not the known one holds nothing");
    let (_, response) = story.holds(2, carol, 2, LIFE);
    assert_eq!(refused(&response), Code::NotHome, "bob's home does not speak for carol");
    let (_, response) = story.holds(9, bob, 2, LIFE);
    assert_eq!(refused(&response), Code::NotMember, "and a stranger for nobody");
    assert_eq!((story.custody(&bob), story.custody(&carol)), (1, 1), "none of it counts");
    story.holds(2, bob, 1_000, LIFE);
    assert_eq!(story.custody(&bob), 2, "what was gossiped is all that one can hold of it");
}

#[test]
fn what_reached_nobody_is_delivered_at_once() {
    let mut story = Wide::begun();
    story.says(2);
    let topic = Topic::of(&GROUP, &made_by(1));
    let (outputs, _) = story.world.batch(vec![Input::Untold(topic)]);
    assert_eq!(delivered(&outputs).len(), 2, "nobody waits for what nobody heard");
}

#[test]
fn a_home_that_never_hears_gossip_need_not_wait_for_it() {
    let mut story = Wide::begun();
    let bob = story.bob.account();
    for number in 2..=5 {
        story.says(number);
        story.holds(2, bob, u64::from(number), LIFE);
        let outputs = story.elapse(GOSSIP_CUSTODY_MS);
        story.give_custody(&outputs, u64::from(number));
    }
    let to = |outputs: &[Output]| delivered(outputs).iter().map(|(_, node, _)| *node).collect::<Vec<_>>();
    let outputs = story.says(6);
    assert_eq!(to(&outputs), [node(3)], "carol's home missed four: it is delivered to at once");
    assert_eq!(told(&outputs).len(), 1, "while bob's hears it by gossip");
    story.give_custody(&outputs, 6);
    story.elapse(60_000);
    let outputs = story.says(7);
    assert!(to(&outputs).is_empty(), "after a minute it is tried again");
}

#[test]
fn what_is_heard_is_held_where_a_delivery_would_be_and_custody_is_said_of_it() {
    let mut story = Wide::begun();
    let (topic, entries) = (Topic::of(&GROUP, &made_by(1)), story.of_bob(4));
    let (outputs, hearsay, _) = story.hears(2, &topic, &entries[..1]);
    assert_eq!(hearsay, Hearsay::PassOn, "it goes on to others");
    assert_eq!(story.held(), 1, "alice's inbox has it");
    assert_eq!(said_held(&outputs), [(node(2), 1)], "and its writer is told in a request");
    let (outputs, _, written) = story.hears(2, &topic, &entries[..1]);
    assert_eq!((said_held(&outputs), written), (vec![], 0), "once");

    let (outputs, hearsay, written) = story.hears(2, &topic, &entries[2..3]);
    assert_eq!((hearsay, written), (Hearsay::PassOn, 0), "behind a gap nothing is held, though others may hold it");
    assert_eq!((said_held(&outputs), story.held()), (vec![], 1), "and the position stays");
    let (outputs, ..) = story.hears(2, &topic, &entries[1..4]);
    assert_eq!((said_held(&outputs), story.held()), (vec![(node(2), 4)], 4), "until what lies before has come");
}

#[test]
fn a_beginning_comes_by_delivery_alone() {
    let mut story = Wide::begun();
    let (topic, entries) = (Topic::of(&GROUP, &made_by(1)), story.of_bob(3));
    let (_, hearsay, written) = story.hears(2, &topic, &entries[1..]);
    assert_eq!((hearsay, written, story.held()), (Hearsay::PassOn, 0, 0), "gossip does not say where a part begins");
}

#[test]
fn nobody_puts_by_gossip_what_a_delivery_could_not() {
    let mut story = Wide::begun();
    let (topic, entries) = (Topic::of(&GROUP, &made_by(1)), story.of_bob(1));
    for (source, topic, what) in [
        (3, &topic, "a feed that another node writes"),
        (9, &topic, "a node where nobody of the conversation lives"),
        (2, &Topic::of(&GROUP, &made_by(2)), "a topic that this node takes no part in"),
    ] {
        let (_, hearsay, written) = story.hears(source, topic, &entries);
        assert_eq!((hearsay, written), (Hearsay::Drop, 0), "{what}");
    }
    let mut other = entries.clone();
    other[0].header.account = story.carol.account();
    let (_, _, written) = story.hears(2, &topic, &other);
    assert_eq!(written, 0, "an author who lives at another node");
    other[0].header.account = AccountId([77; 32]);
    let (_, hearsay, written) = story.hears(2, &topic, &other);
    assert_eq!((hearsay, written), (Hearsay::Drop, 0), "an author who takes no part");
    let mut other = entries.clone();
    other[0].header.epoch = 7;
    let (_, hearsay, written) = story.hears(2, &topic, &other);
    assert_eq!((hearsay, written), (Hearsay::PassOn, 0), "an epoch that is not known here yet");
    story.world.batch(vec![Input::LowSpace(true)]);
    let (_, hearsay, written) = story.hears(2, &topic, &entries);
    assert_eq!(
        (hearsay, written),
        (Hearsay::PassOn, 0),
        "while the disk is nearly full nothing is taken, and all passed on"
    );
    story.world.batch(vec![Input::LowSpace(false)]);
    story.hears(2, &topic, &entries);
    let mut fork = entries.clone();
    fork[0].header.message = MessageId([99; 16]);
    let (_, hearsay, written) = story.hears(2, &topic, &fork);
    assert_eq!((hearsay, written, story.held()), (Hearsay::Drop, 0, 1), "another entry at a held position");
}

#[test]
fn a_conversation_changes_its_topic_with_its_epoch_and_leaves_it_when_it_is_wide_no_more() {
    let mut story = Wide::begun();
    let all = [story.alice, story.bob.account(), story.carol.account()];
    story.epoch(GROUP, 2, &all);
    let entries = story.of_bob(1);
    let outputs = story.hears(2, &Topic::of(&GROUP, &made_by(1)), &entries).0;
    assert_eq!(left(&outputs), [Topic::of(&GROUP, &made_by(1))], "the topic of the epoch before is left");
    assert_eq!(joined(&outputs).len(), 1, "for the next one's");
    story.epoch(GROUP, 3, &all[..2]);
    let outputs = story.hears(2, &Topic::of(&GROUP, &made_by(2)), &entries).0;
    assert_eq!(left(&outputs), [Topic::of(&GROUP, &made_by(2))], "one other home is no wide conversation");
    assert!(joined(&outputs).is_empty(), "and nothing is gossiped in it any more");
}

#[test]
fn of_too_many_wide_conversations_the_one_that_was_quiet_longest_is_only_delivered() {
    let mut story = Wide::begun();
    let all = [story.alice, story.bob.account(), story.carol.account()];
    for number in 0..WIDE_CONVERSATIONS_MAX as u8 {
        let group = GroupId([100 + number; 32]);
        story.epoch(group, 1, &all);
        story.world.submit(group, 100 + number).unwrap();
    }
    assert!(story.world.relay.wide.topics() <= WIDE_CONVERSATIONS_MAX, "their number is bounded");
    let outputs = story.says(2);
    assert!(told(&outputs).is_empty(), "the first was quiet longest: it is delivered again");
}
