//! Stories of several devices, and of the reset that ends a conflict.

use super::*;

fn laptop() -> SecretKey {
    key(3)
}

fn id_of(key: &SecretKey) -> DeviceId {
    DeviceId::of(&key.public_key())
}

fn by(key: &SecretKey) -> Signer {
    Signer::Device(id_of(key))
}

fn add(key: &SecretKey) -> Operation {
    Operation::AddDevice { device: key.public_key() }
}

fn revoke(key: &SecretKey) -> Operation {
    Operation::RevokeDevice { device: id_of(key) }
}

fn active(log: &VerifiedLog) -> Vec<DeviceId> {
    log.device_keys().keys().copied().collect()
}

/// The phone has linked the laptop: entry 1.
fn linked() -> VerifiedLog {
    founded().append(add(&laptop()), by_phone(), &phone()).expect("the phone links the laptop")
}

fn sorted(keys: &[&SecretKey]) -> Vec<DeviceId> {
    let mut ids: Vec<_> = keys.iter().map(|key| id_of(key)).collect();
    ids.sort();
    ids
}

fn reset(root: &SecretKey, count: u64, devices: &[&SecretKey]) -> Operation {
    let devices = devices.iter().map(|key| key.public_key()).collect();
    Operation::Reset { root: root.public_key(), count, devices, homes: vec![node(10)], handle: None }
}

fn first(seq: u64, op: Operation) -> LogEntry {
    LogEntry { seq, prev: LogHash::ZERO, signer: Signer::Root, op }
}

#[test]
fn alice_links_a_laptop_that_speaks_for_her_and_ends_the_lost_phone() {
    let log = linked();
    assert_eq!(active(&log), sorted(&[&phone(), &laptop()]), "both are active");
    assert_eq!(log.device_keys()[&id_of(&laptop())], (laptop().public_key(), 1), "entry 1 admitted the laptop");

    let log = log.append(revoke(&phone()), by(&laptop()), &laptop()).expect("the laptop ends the phone");
    assert_eq!(active(&log), sorted(&[&laptop()]), "the laptop is left");
    assert_eq!(
        log.append(set_homes(11), by_phone(), &phone()),
        Err(LogError::SignerNotActive { seq: 3 }),
        "whoever found the phone has no say any more"
    );
    let read = VerifiedLog::decode(&log.encoded()).expect("bob verifies what alice's devices wrote");
    assert_eq!(read, log, "bob sees what alice sees");
}

#[test]
fn a_leaf_is_judged_by_the_entry_that_admitted_its_device() {
    let (phones, laptops) = (phone().public_key(), laptop().public_key());
    let log = linked();
    assert!(log.admits(&id_of(&phone()), &phones, 0), "the genesis admitted the phone");
    assert!(log.admits(&id_of(&laptop()), &laptops, 1), "entry 1 admitted the laptop");
    assert!(!log.admits(&id_of(&laptop()), &laptops, 0), "and no other entry did");
    assert!(!log.admits(&id_of(&laptop()), &phones, 1), "a device is its key");
    assert!(!log.has_revoked(&id_of(&phone()), 0), "nobody has been revoked yet");

    let log = log.append(revoke(&phone()), by(&laptop()), &laptop()).expect("the laptop ends the phone");
    assert!(!log.admits(&id_of(&phone()), &phones, 0), "the phone is admitted no more");
    assert!(log.has_admitted(&id_of(&phone()), &phones, 0), "but once was: what it did then stands");
    assert!(log.has_revoked(&id_of(&phone()), 0), "its leaves may go");
    assert!(!log.has_revoked(&id_of(&eve()), 7), "of a device that a later entry may admit nothing is said");
}

#[test]
fn the_last_device_goes_by_the_root_key_alone_and_the_root_key_adds_the_next() {
    assert_eq!(
        founded().append(revoke(&phone()), by_phone(), &phone()),
        Err(LogError::LastDevice { seq: 1 }),
        "a device does not end the account"
    );
    let log = linked().append(revoke(&laptop()), by(&laptop()), &laptop()).expect("a device may end itself");
    assert_eq!(active(&log), sorted(&[&phone()]), "while another one stays");
    let log = log.append(revoke(&phone()), Signer::Root, &root()).expect("the root key ends any");
    assert_eq!(active(&log), [], "nobody speaks for alice now");
    let log = log.append(add(&key(4)), Signer::Root, &root()).expect("the recovery code brings a new phone");
    assert_eq!(active(&log), sorted(&[&key(4)]), "and that one does");
}

#[test]
fn refused_device_that_the_log_held_before() {
    for op in [add(&phone()), add(&laptop())] {
        let refused = linked().append(op, by_phone(), &phone());
        assert_eq!(refused, Err(LogError::DeviceRepeated { seq: 2 }), "an active device is not added again");
    }
    let log = linked().append(revoke(&laptop()), by_phone(), &phone()).expect("the laptop is ended");
    for (signer, key) in [(by_phone(), phone()), (Signer::Root, root())] {
        let refused = log.append(add(&laptop()), signer, &key);
        assert_eq!(refused, Err(LogError::DeviceRepeated { seq: 3 }), "a key that was ended never comes back");
    }
}

#[test]
fn refused_device_that_is_the_root() {
    let refused = founded().append(add(&root()), by_phone(), &phone());
    assert_eq!(refused, Err(LogError::DeviceIsRoot), "the root key stays offline");
    let refused = founded().reset(&root(), vec![root().public_key()], vec![node(10)]);
    assert_eq!(refused, Err(LogError::DeviceIsRoot), "after a reset, too");
}

#[test]
fn refused_sixth_device() {
    let five = (3..7).fold(founded(), |log, seed| {
        log.append(add(&key(seed)), by_phone(), &phone()).expect("there is room for five")
    });
    let refused = five.append(add(&key(7)), Signer::Root, &root());
    assert_eq!(refused, Err(LogError::DeviceCount { max: DEVICES_MAX, got: 6 }), "not for six, whoever signs");
    let freed = five.append(revoke(&key(3)), by_phone(), &phone()).expect("one goes");
    assert!(freed.append(add(&key(7)), by_phone(), &phone()).is_ok(), "who was ended takes no room");
    let six = (2..8).map(|seed| key(seed).public_key()).collect();
    let refused = founded().reset(&root(), six, vec![node(10)]);
    assert_eq!(refused, Err(LogError::DeviceCount { max: DEVICES_MAX, got: 6 }), "a reset lists five at most");
}

#[test]
fn refused_revocation_of_a_device_that_is_not_active() {
    let refused = linked().append(revoke(&eve()), by_phone(), &phone());
    assert_eq!(refused, Err(LogError::DeviceNotActive { seq: 2 }), "there is nothing to end");
    let log = linked().append(revoke(&laptop()), by_phone(), &phone()).expect("the laptop is ended");
    let refused = log.append(revoke(&laptop()), Signer::Root, &root());
    assert_eq!(refused, Err(LogError::DeviceNotActive { seq: 3 }), "a device is ended once");
}

#[test]
fn a_reset_ends_a_branch_and_begins_with_what_the_root_key_says() {
    let honest = linked().append(set_handle("alice@acme.example"), by_phone(), &phone()).expect("alice goes on");
    let thief = linked().append(revoke(&phone()), by(&laptop()), &laptop()).expect("the laptop is stolen");
    assert_eq!(honest.relation(&thief), Relation::Branched, "two branches, and nobody believes either");

    let reset = honest.reset(&root(), vec![phone().public_key()], vec![node(11)]).expect("the recovery code decides");
    for branch in [&honest, &thief] {
        assert_eq!(branch.relation(&reset), Relation::Reset, "the reset stands above both");
        assert_eq!(branch.supersede(&reset), Ok(reset.clone()), "and takes their place");
        assert_eq!(reset.relation(branch), Relation::Behind, "they are what was");
        assert_eq!(reset.supersede(branch), Ok(reset.clone()), "and never come back");
    }
    let read = VerifiedLog::decode(&reset.encoded()).expect("the log begins by a reset");
    assert_eq!(read, reset, "whoever never saw the old log reads the same");
    assert_eq!((read.account(), read.count()), (honest.account(), 1), "the account is the same");
    assert_eq!((read.homes(), read.handle()), (&[node(11)][..], honest.handle()), "homes are new, the claim stays");
    assert_eq!(read.head().seq, honest.head().seq + 1, "numbers go on");
    assert_eq!(read.hash_at(read.head().seq), Some(read.head().hash), "and lead to the entries");
    assert_eq!(read.hash_at(0), None, "what came before is not there");

    let (phones, laptops) = (phone().public_key(), laptop().public_key());
    assert!(read.admits(&id_of(&phone()), &phones, 0), "the phone's leaves are the ones it had");
    assert!(read.admits(&id_of(&phone()), &phones, read.head().seq), "and those that it makes now");
    assert!(read.has_revoked(&id_of(&laptop()), 1), "the stolen laptop's leaves may go");
    assert!(!read.admits(&id_of(&laptop()), &laptops, 1), "it is admitted nowhere");
    let longer = read.append(add(&key(5)), by_phone(), &phone()).expect("life goes on");
    assert_eq!(reset.relation(&longer), Relation::Extended, "a log that begins by a reset is extended");
    assert_eq!(longer.device_keys()[&id_of(&key(5))].1, read.head().seq + 1, "the new device has its entry");
    assert!(
        !read.has_revoked(&id_of(&key(5)), read.head().seq + 1),
        "a holder of the shorter log knows that it is short"
    );
}

#[test]
fn two_resets_of_one_count_are_a_branch_and_the_next_ends_it() {
    let once = founded().reset(&root(), vec![key(4).public_key()], vec![node(10)]).expect("alice resets");
    let again = founded().reset(&root(), vec![key(5).public_key()], vec![node(10)]).expect("and forgets that she did");
    assert_eq!(once.relation(&again), Relation::Branched, "neither replaces the other");
    assert_eq!(once.supersede(&again), Err(LogError::Branched { seq: 1 }), "from the reset on");
    let twice = again.reset(&root(), vec![key(5).public_key()], vec![node(10)]).expect("the second counts two");
    assert_eq!(once.relation(&twice), Relation::Reset, "and stands above both");
    let empty = once.reset(&root(), vec![], vec![node(10)]).expect("a reset may end all devices");
    assert_eq!(active(&empty), [], "until the root key adds one");
}

#[test]
fn refused_reset_of_another_or_by_a_device() {
    let op = reset(&root(), 1, &[&phone()]);
    let by_device = LogEntry { signer: by_phone(), ..first(1, op.clone()) };
    assert_eq!(refusal(vec![sign(&by_device, &phone())]), LogError::ResetSigner, "a device resets nothing");
    assert_eq!(refusal(vec![sign(&first(1, op), &eve())]), LogError::Signature { seq: 1 }, "nor does eve");
    assert_eq!(
        founded().reset(&eve(), vec![eve().public_key()], vec![node(10)]),
        Err(LogError::OtherAccount),
        "her root key is another account's"
    );
}

#[test]
fn refused_reset_behind_the_first_entry() {
    let op = reset(&root(), 1, &[&phone()]);
    let appended = founded().append(op, Signer::Root, &root());
    assert_eq!(appended, Err(LogError::ResetRepeated { seq: 1 }), "a reset begins a log, it continues none");
    let begun = founded().reset(&root(), vec![phone().public_key()], vec![node(10)]).expect("alice resets");
    let genesis_behind = begun.append(genesis().op, Signer::Root, &root());
    assert_eq!(genesis_behind, Err(LogError::GenesisRepeated { seq: 2 }), "and nobody founds an account behind it");
}

#[test]
fn refused_reset_with_a_wrong_number_place_or_device() {
    for (seq, count, got) in [(1, 0, 0), (0, 1, 0), (1, 1 << 32, 1 << 32), (1 << 32, 1, 1 << 32)] {
        let error = refusal(vec![sign(&first(seq, reset(&root(), count, &[])), &root())]);
        assert_eq!(error, LogError::ResetNumber { got }, "count {count}, number {seq}");
    }
    let child = LogEntry { prev: LogHash([1; 32]), ..first(1, reset(&root(), 1, &[])) };
    assert_eq!(refusal(vec![sign(&child, &root())]), LogError::Prev { seq: 1 }, "nothing comes before it");
    let twice = first(1, reset(&root(), 1, &[&phone(), &phone()]));
    assert_eq!(refusal(vec![sign(&twice, &root())]), LogError::DeviceRepeated { seq: 1 }, "a device is listed once");
}

/// What somebody may do next: a seed of a key, and how.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Add(u8),
    Revoke(u8),
    Move(u8),
    Reset(u8),
}

fn deeds() -> impl Strategy<Value = Vec<(Deed, u8)>> {
    let deed = prop_oneof![
        (2_u8..9).prop_map(Deed::Add),
        (2_u8..9).prop_map(Deed::Revoke),
        (10_u8..14).prop_map(Deed::Move),
        (2_u8..9).prop_map(Deed::Reset),
    ];
    proptest::collection::vec((deed, 1_u8..9), 0..24)
}

/// Does what is allowed and gives all logs on the way.
fn life(deeds: &[(Deed, u8)]) -> Vec<VerifiedLog> {
    let mut lives = vec![founded()];
    for (deed, signer) in deeds {
        let Some(log) = lives.last() else { continue };
        let speaks = key(*signer);
        let signer = if *signer == 1 { Signer::Root } else { by(&speaks) };
        let next = match deed {
            Deed::Add(seed) => log.append(add(&key(*seed)), signer, &speaks),
            Deed::Revoke(seed) => log.append(revoke(&key(*seed)), signer, &speaks),
            Deed::Move(seed) => log.append(set_homes(*seed), signer, &speaks),
            Deed::Reset(seed) => log.reset(&speaks, vec![key(*seed).public_key()], vec![node(10)]),
        };
        lives.extend(next.ok());
    }
    lives
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_a_life_brings_its_logs_are_read_the_same_and_the_newest_stands(deeds in deeds()) {
        let lives = life(&deeds);
        for log in &lives {
            prop_assert_eq!(VerifiedLog::decode(&log.encoded()), Ok(log.clone()), "a stranger reads what was written");
            prop_assert!(log.device_keys().len() <= DEVICES_MAX, "never more than five");
            prop_assert!(log.encoded().len() <= LOG_BYTES_MAX, "never longer than the directory holds");
        }
        for (at, older) in lives.iter().enumerate() {
            for newer in &lives[at + 1..] {
                prop_assert!(older.relation(newer).replaces(), "what comes later takes the place");
                prop_assert_eq!(newer.relation(older), Relation::Behind, "and never the other way round");
                prop_assert!(newer.head().seq > older.head().seq, "numbers grow, over resets too");
                let known = |device: &DeviceId| {
                    let (key, admitted) = older.device_keys()[device];
                    newer.admits(device, &key, admitted) != newer.has_revoked(device, admitted)
                };
                prop_assert!(active(older).iter().all(known), "each device of before goes on or is known to have ended");
            }
        }
    }

    #[test]
    fn two_lives_of_one_account_stand_to_each_other_the_same_from_both_sides(one in deeds(), two in deeds()) {
        let (one, two) = (life(&one), life(&two));
        if let (Some(one), Some(two)) = (one.last(), two.last()) {
            let mirrored = match one.relation(two) {
                Relation::Same => Relation::Same,
                Relation::Branched => Relation::Branched,
                Relation::Extended | Relation::Reset => Relation::Behind,
                Relation::Behind if two.count() < one.count() => Relation::Reset,
                Relation::Behind => Relation::Extended,
                Relation::OtherAccount => Relation::OtherAccount,
            };
            prop_assert_eq!(two.relation(one), mirrored);
        }
    }
}
