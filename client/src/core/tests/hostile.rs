//! A home that changes what it brings: bob's device shows a gap, and never a word of it.

use super::*;

/// What a fresh copy of bob's device makes of entries: texts shown, and reasons of gaps.
fn told(world: &World, entries: &[Entry]) -> (Vec<String>, Vec<&'static str>) {
    let mut device = Device::open(world.sides[BOB].disk.clone()).expect("opens");
    let mut draws = 1_000;
    let (mut shown, mut gaps) = (Vec::new(), Vec::new());
    for entry in entries {
        let frame = ServerFrame::Entry { inbox: None, entry: entry.clone() };
        device.handle(Input::Frame(Box::new(frame)), &mut draw(&mut draws), NOW_MS).expect("handled");
    }
    device.finish(&mut draw(&mut draws), NOW_MS).expect("finished");
    while let Some(output) = device.poll_output() {
        match output {
            Output::Message(message) => shown.push(message.text),
            Output::Gap { reason, .. } => gaps.push(reason),
            _ => {}
        }
    }
    (shown, gaps)
}

/// Alice's first contact and her message, which wait for bob.
fn waiting() -> (World, Entry, Entry) {
    let mut world = both_online();
    world.sides[BOB].online = false;
    world.send(ALICE, "bob@acme", "hello bob").expect("written");
    world.settle();
    let entries = world.home.inboxes[&world.sides[BOB].account].clone();
    let [contact, message] = entries.as_slice() else { panic!("two entries, got {}", entries.len()) };
    (world, contact.clone(), message.clone())
}

fn with_payload(entry: &Entry, payload: Vec<u8>) -> Entry {
    let header = EntryHeader { payload_hash: payload_hash(&payload), ..entry.header.clone() };
    Entry { header, payload: Bytes(payload), silent: false }
}

#[test]
fn a_message_that_is_not_what_its_header_says_is_a_gap_at_bob() {
    let (world, contact, message) = waiting();
    let (shown, gaps) = told(&world, &[contact.clone(), message.clone()]);
    assert_eq!((shown, gaps), (vec!["hello bob".to_owned()], vec![]), "the honest entries are shown");

    let changed = |change: &dyn Fn(&mut EntryHeader)| {
        let mut entry = message.clone();
        change(&mut entry.header);
        entry
    };
    let mut bytes = message.payload.0.clone();
    *bytes.last_mut().expect("a payload") ^= 1;
    let not_as_told = "the message is not what its header says";
    for (what, entry, reason) in [
        ("in bob's own name", changed(&|header| header.account = world.sides[BOB].account), not_as_told),
        ("in a stranger's name", changed(&|header| header.account = AccountId([9; 32])), not_as_told),
        ("of another device", changed(&|header| header.device = DeviceId([9; 32])), not_as_told),
        ("under another id", changed(&|header| header.message = MessageId::of(NOW_MS, b"x")), not_as_told),
        ("with a changed payload", with_payload(&message, bytes.clone()), "the message cannot be opened"),
        ("with no payload", with_payload(&message, vec![]), "the message cannot be opened"),
        ("with another payload", Entry { payload: Bytes(bytes), ..message.clone() }, "the entry contradicts itself"),
        ("of another group", changed(&|header| header.feed.group = GroupId([9; 32])), "the conversation is not known"),
    ] {
        let (shown, gaps) = told(&world, &[contact.clone(), entry]);
        assert_eq!(shown, Vec::<String>::new(), "{what}: nothing of it is shown");
        assert!(gaps.contains(&reason), "{what}: the gap says why, got {gaps:?}");
    }
    let (shown, gaps) = told(&world, &[contact, message.clone(), message]);
    assert_eq!((shown.len(), gaps.len()), (1, 0), "a repetition is dropped silently");
}

#[test]
fn a_first_contact_that_the_logs_do_not_admit_is_not_entered() {
    let (world, contact, message) = waiting();
    let FirstContact { head, creation } = contact.first_contact().expect("a first contact");
    let eve = SecretKey::from_seed(&[66; 32]);
    let eves = NewAccount::found(
        [66; 16],
        Zeroizing::new([67; 32]),
        NodeId::of(world.home.node.public_key()),
        OrgId::of(&world.home.org.public_key()),
        "eve@acme".parse().expect("a handle"),
    )
    .expect("an account");
    let showing =
        |head: Signed, creation: Creation| with_payload(&contact, codec::encode(&FirstContact { head, creation }));
    // The home is the hub here, so it can sign whatever it likes.
    let by_hub = |change: &dyn Fn(&mut Creation)| {
        let mut creation = creation.clone();
        change(&mut creation);
        showing(world.home.head(&creation), creation)
    };
    let forged = ConversationHead {
        group: creation.group,
        state: creation.state.clone(),
        epoch: 1,
        made_by: creation.hash(),
        ordered_by: None,
    };
    let mut other = creation.clone();
    other.operation.0[0] ^= 1;
    let mut trailing = contact.payload.0.clone();
    trailing.push(0);
    for (what, entry) in [
        ("a head of another key", showing(forged.sign(&eve), creation.clone())),
        ("a head about another creation", showing(head, other)),
        (
            "no log of alice",
            by_hub(&|creation| creation.logs.retain(|log| log != &world.home.accounts[&world.sides[ALICE].account].0)),
        ),
        (
            "eve's log for alice's",
            by_hub(&|creation| creation.logs.iter_mut().for_each(|log| *log = eves.log.log().clone())),
        ),
        ("a forged log", by_hub(&|creation| creation.logs[0].0[0].signature.0[0] ^= 1)),
        ("another state than the group's", by_hub(&|creation| creation.state.successors.push(creation.state.hub))),
        ("another hub", by_hub(&|creation| creation.state.hub = NodeId::of(eve.public_key()))),
        ("another group", by_hub(&|creation| creation.group = GroupId([9; 32]))),
        ("eve among the participants", by_hub(&|creation| creation.state.participants[0].account = eves.account())),
        ("a damaged Welcome", by_hub(&|creation| creation.welcome.0[60] ^= 1)),
        ("bytes behind it", with_payload(&contact, trailing)),
    ] {
        let (shown, gaps) = told(&world, &[entry, message.clone()]);
        assert_eq!(shown, Vec::<String>::new(), "{what}: nothing is shown");
        assert!(gaps.contains(&"the conversation cannot be entered"), "{what}: it is told, got {gaps:?}");
    }
}
