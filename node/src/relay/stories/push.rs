//! Stories of who is woken: where nobody is connected, for what wants attention, and where a connection ended before its device
//! had said that it holds what came.

use super::inboxes::Writer;
use super::*;
use crate::push::{Policy, Tested};
use roost_protocol::ids::PushTag;
use roost_protocol::push::PushLeg;

const ENDPOINT: &str = "https://push.example.com/alice";

/// A point of the curve: the generator.
fn point() -> Bytes {
    let (x, y) = (
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    );
    let digits = format!("04{x}{y}");
    Bytes((0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect())
}

fn pushing() -> World {
    let store = MemoryStore::new([1; 16]);
    let offer = PushOffer { key: point(), policy: Policy::PRODUCTION };
    let identity = Identity { push: Some(offer), ..World::identity() };
    let relay = Relay::open(identity, &mut Overlay::new(&store)).unwrap();
    World { store, relay, now_ms: NOW_MS }
}

fn subscribe(endpoint: &str, muted: Vec<ConversationId>) -> ClientFrame {
    ClientFrame::PushSubscribe { id: 9, endpoint: endpoint.into(), p256dh: point(), auth: Bytes(vec![9; 16]), muted }
}

/// What alice's device is told and what leaves to wake it.
fn says(world: &mut World, frame: ClientFrame) -> Vec<Output> {
    world.batch(vec![Input::Frame { connection: 1, frame }]).0
}

fn refusal(outputs: &[Output]) -> Option<Code> {
    outputs.iter().find_map(|output| match output {
        Output::Send(1, ServerFrame::Refused { error, .. }) => Some(error.code),
        _ => None,
    })
}

fn woken(outputs: &[Output]) -> Vec<PushTag> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Push(_, tag) => Some(*tag),
            _ => None,
        })
        .collect()
}

/// Alice is subscribed, and bob writes from another node; with the tag of their conversation.
fn alice_and_bob() -> (World, Writer, PushTag) {
    let mut world = pushing();
    let writer = Writer::with_alice(&mut world);
    assert_eq!(refusal(&says(&mut world, subscribe(ENDPOINT, vec![]))), None, "alice is subscribed");
    let tag = PushTag::of(&[9; 16], &writer.creation.state.conversation);
    (world, writer, tag)
}

#[test]
fn a_device_that_is_away_is_woken_and_one_that_is_here_is_when_its_connection_ends() {
    let (mut world, mut writer, tag) = alice_and_bob();
    let outputs = writer.delivers(&mut world, 2, false);
    assert_eq!(woken(&outputs), [], "alice is here");
    let (outputs, _) = world.batch(vec![Input::Closed { connection: 1 }]);
    assert_eq!(woken(&outputs), [tag], "nobody knows whether it arrived: she is woken, once a conversation");
    let outputs = writer.delivers(&mut world, 1, false);
    assert_eq!(woken(&outputs), [tag], "and for what comes while she is away");
    let outputs = writer.delivers(&mut world, 3, true);
    assert_eq!(woken(&outputs), [], "not for what is silent");
}

#[test]
fn what_a_device_has_acknowledged_wakes_nobody_when_it_goes() {
    let (mut world, mut writer, _) = alice_and_bob();
    writer.delivers(&mut world, 2, false);
    says(&mut world, ClientFrame::Ack { inbox: 2 });
    let (outputs, _) = world.batch(vec![Input::Closed { connection: 1 }]);
    assert_eq!(woken(&outputs), [], "she holds both");
}

#[test]
fn subscriptions_outlive_the_process_and_end_with_the_person_the_push_service_or_the_device() {
    let (mut world, mut writer, tag) = alice_and_bob();
    let offer = PushOffer { key: point(), policy: Policy::PRODUCTION };
    let identity = Identity { push: Some(offer), ..World::identity() };
    world.relay = Relay::open(identity, &mut Overlay::new(&world.store)).unwrap();
    assert_eq!(woken(&writer.delivers(&mut world, 1, false)), [tag], "a new process knows it");

    let alice = log_of(10, node(1)).account();
    let gone = |endpoint: &str| Input::PushGone { account: alice, device: device_of(10), endpoint: endpoint.into() };
    world.batch(vec![gone("https://push.example.com/earlier")]);
    assert_eq!(woken(&writer.delivers(&mut world, 1, false)), [tag], "an earlier one is another");
    world.batch(vec![gone(ENDPOINT)]);
    assert_eq!(woken(&writer.delivers(&mut world, 1, false)), [], "what is gone wakes nobody");

    world.batch(vec![Input::Connected { connection: 1, challenge: [7; 32] }]);
    let state = world.relay.connections.get_mut(&1).unwrap();
    state.device = Some((alice, device_of(10)));
    world.relay.present.entry(alice).or_default().insert(1);
    let mut rows = Overlay::new(&world.store);
    let memo = Mutex::default();
    let mut step = Step { rows: &mut rows, now_ms: NOW_MS, memo: &memo };
    world.relay.is_here(&mut step, 1, (alice, device_of(10)), crate::relay::push::Unseen::new()).unwrap();
    let told = std::mem::take(&mut world.relay.outputs);
    let ended = |output: &Output| matches!(output, Output::Send(1, ServerFrame::PushEnded { endpoint }) if endpoint == ENDPOINT);
    assert!(told.iter().any(ended), "her device is told when it comes: {told:?}");

    says(&mut world, subscribe(ENDPOINT, vec![writer.creation.state.conversation]));
    world.batch(vec![Input::Closed { connection: 1 }]);
    assert_eq!(woken(&writer.delivers(&mut world, 1, false)), [], "a muted conversation wakes nobody");
}

#[test]
fn subscriptions_that_cannot_work_are_refused() {
    let mut world = pushing();
    Writer::with_alice(&mut world);
    for (frame, code) in [
        (subscribe("https://10.0.0.1/a", vec![]), Code::Malformed),
        (subscribe("http://push.example.com/a", vec![]), Code::Malformed),
        (subscribe(&format!("https://push.example.com/{}", "a".repeat(2048)), vec![]), Code::TooLarge),
        (subscribe(ENDPOINT, vec![ConversationId([1; 32]); 1025]), Code::TooLarge),
    ] {
        assert_eq!(refusal(&says(&mut world, frame)), Some(code));
    }
    for (p256dh, auth) in [(Bytes(vec![4; 65]), vec![9; 16]), (Bytes(vec![]), vec![9; 16]), (point(), vec![9; 15])] {
        let frame =
            ClientFrame::PushSubscribe { id: 9, endpoint: ENDPOINT.into(), p256dh, auth: Bytes(auth), muted: vec![] };
        assert_eq!(refusal(&says(&mut world, frame)), Some(Code::Malformed), "no keys");
    }
    assert_eq!(refusal(&says(&mut world, ClientFrame::PushTest { id: 3 })), Some(Code::NotFound), "nothing to test");
}

#[test]
fn a_home_that_does_not_push_says_so() {
    let mut world = World::new();
    Writer::with_alice(&mut world);
    let test = ClientFrame::PushTest { id: 3 };
    for frame in [subscribe(ENDPOINT, vec![]), ClientFrame::PushKey { id: 3 }, test] {
        assert_eq!(refusal(&says(&mut world, frame)), Some(Code::Unsupported));
    }
    let offers = |world: &mut World| {
        let (outputs, _) = world.batch(vec![Input::Connected { connection: 8, challenge: [7; 32] }]);
        outputs.iter().any(|output| {
            matches!(output, Output::Send(8, ServerFrame::Hello { features, .. }) if features.iter().any(|name| name == "push"))
        })
    };
    assert!(!offers(&mut world), "and its hello does not name it");
    assert!(offers(&mut pushing()), "one that does names it");
}

#[test]
fn a_flood_of_tests_is_told_to_wait() {
    let (mut world, _, _) = alice_and_bob();
    let mut tests = 0;
    let over = (0..20).find_map(|_| {
        let outputs = says(&mut world, ClientFrame::PushTest { id: 3 });
        tests += outputs.iter().filter(|output| matches!(output, Output::PushTest(1, 3, _))).count();
        refusal(&outputs)
    });
    assert_eq!((over, tests), (Some(Code::Busy), 5), "five at once");
    let report = Tested { leg: PushLeg::Tls, status: None, message: "no certificate".into() };
    let (outputs, _) = world.batch(vec![Input::PushTested { connection: 1, id: 3, report: Some(report) }]);
    let told =
        |output: &Output| matches!(output, Output::Send(1, ServerFrame::PushTested { id: 3, leg: PushLeg::Tls, .. }));
    assert!(outputs.iter().any(told), "what became of one is told: {outputs:?}");
    let (outputs, _) = world.batch(vec![Input::PushTested { connection: 1, id: 3, report: None }]);
    assert_eq!(refusal(&outputs), Some(Code::Busy), "and that too many were under way");
}

#[test]
fn no_log_holds_a_subscription() {
    let (mut world, mut writer, _) = alice_and_bob();
    world.batch(vec![Input::Closed { connection: 1 }]);
    let shown = format!("{:?}", writer.delivers(&mut world, 1, false));
    assert!(shown.contains("Subscription(..)") && !shown.contains("push.example.com"), "{shown}");
}
