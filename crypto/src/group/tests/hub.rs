//! What a hub sees, and what it refuses.

use super::membership::three;
use super::*;
use tls_codec::{DeserializeBytes as _, Serialize as _, VLBytes};

/// A die that repeats.
pub(super) struct Die(pub u64);

impl Die {
    /// A number below `sides` (splitmix64).
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }
}

fn a_hub_follows_twenty_commits(kind: Kind) {
    let mut die = Die(20);
    let mut devices: Vec<Device> = (1..=8).map(|seed| Device::new(kind, seed)).collect();
    let mut inside = vec![0, 1];
    let package = devices[1].key_package(false);
    let created = devices[0].create(b"group", &[package]);
    devices[1].join(&created);
    let mut hub = Hub::new(kind, &created);
    for round in 0..20_u8 {
        let author = inside[die.roll(inside.len())];
        let (mut joiner, before) = (None, inside.clone());
        let committed = match die.roll(4) {
            0 if inside.len() > 2 => {
                let gone = inside[(inside.iter().position(|at| *at == author).unwrap() + 1) % inside.len()];
                inside.retain(|at| *at != gone);
                let device = devices[gone].id();
                devices[author].commit(&removing(&[device]))
            }
            1 => {
                let tree = hub.tree();
                devices[author].rejoin(&hub.group_info, &tree).unwrap()
            }
            2 => devices[author].commit(&Change { conv_state: Some(Bytes(vec![round])), ..Change::default() }),
            _ => match (0..devices.len()).find(|at| !inside.contains(at)) {
                Some(new) => {
                    joiner = Some(new);
                    let package = devices[new].key_package(false);
                    devices[author].commit(&adding(&[package]))
                }
                None => devices[author].commit(&Change::default()),
            },
        };
        let view = hub.take(&committed).unwrap();
        for at in &before {
            assert_eq!(devices[*at].inspect(&committed.commit).as_ref(), Ok(&view), "round {round}: one reading");
            devices[*at].merge(&committed.commit).unwrap();
        }
        if let Some(new) = joiner {
            devices[new].enter(committed.welcome.as_ref().unwrap(), &hub.tree()).unwrap();
            inside.push(new);
        }
        let tree = hub.tree();
        let public = kind.inspect_creation(committed.group_info.as_slice(), tree.as_slice()).unwrap();
        assert_eq!((public.epoch, &public.members), (view.epoch, &view.members), "round {round}: the tree fits");
        for at in &inside {
            assert_eq!(devices[*at].epoch(), Ok(view.epoch), "round {round}: members and hub are in one epoch");
            assert_eq!(devices[*at].members().as_ref(), Ok(&view.members), "round {round}: with one list");
        }
    }
}

fn a_hub_refuses_what_does_not_belong_together(kind: Kind) {
    let (mut alice, mut bob, mut carol, mut hub) = three(kind);
    let before = hub.group_info.clone();
    let package = Device::new(kind, 4).key_package(false);
    let adds = alice.commit(&adding(&[package]));
    let renews = bob.commit(&Change::default());
    let other = carol.commit(&adding(&[Device::new(kind, 5).key_package(false)]));
    let refused = |committed: &Committed| hub.judge(committed).err();

    let bare = Committed { welcome: None, ..adds.clone() };
    assert_eq!(refused(&bare), Some(GroupError::WelcomeMissing), "whoever adds brings a Welcome");
    let extra = Committed { welcome: adds.welcome.clone(), ..renews.clone() };
    assert_eq!(refused(&extra), Some(GroupError::WelcomeSuperfluous), "whoever does not, does not");
    let swapped = Committed { welcome: other.welcome.clone(), ..adds.clone() };
    assert_eq!(refused(&swapped), Some(GroupError::InvalidWelcome), "a Welcome is for those who are added");
    for group_info in [&before, &adds.group_info, &other.group_info] {
        let mixed = Committed { group_info: group_info.clone(), ..renews.clone() };
        assert_eq!(
            refused(&mixed),
            Some(GroupError::InvalidGroupInfo),
            "a GroupInfo is of its commit's epoch and tree"
        );
    }
    let mut longer = renews.clone();
    longer.commit.0.push(0);
    assert_eq!(refused(&longer), Some(GroupError::Malformed(Part::Commit)), "nothing follows a commit");
    let mut longer = renews.clone();
    longer.group_info.0.push(0);
    assert_eq!(refused(&longer), Some(GroupError::Malformed(Part::GroupInfo)), "nor a GroupInfo");
    let mut longer = adds.clone();
    longer.welcome.as_mut().unwrap().0.push(0);
    assert_eq!(refused(&longer), Some(GroupError::Malformed(Part::Welcome)), "nor a Welcome");
    let long = |part, max| Some(GroupError::TooLong { part, max, got: max + 1 });
    let huge = Committed { commit: Bytes(vec![0; COMMIT_MAX_BYTES + 1]), ..renews.clone() };
    assert_eq!(refused(&huge), long(Part::Commit, COMMIT_MAX_BYTES), "length comes first");
    let huge = Committed { group_info: Bytes(vec![0; GROUP_INFO_MAX_BYTES + 1]), ..renews.clone() };
    assert_eq!(refused(&huge), long(Part::GroupInfo, GROUP_INFO_MAX_BYTES), "of each part");
    let huge = Committed { welcome: Some(Bytes(vec![0; WELCOME_MAX_BYTES + 1])), ..adds.clone() };
    assert_eq!(refused(&huge), long(Part::Welcome, WELCOME_MAX_BYTES), "of the Welcome, too");
    let state = kind.judge(&Bytes(b"no state".to_vec()), renews.commit.as_slice(), None, before.as_slice());
    assert_eq!(state.map(|(view, _)| view), Err(GroupError::Malformed(Part::State)), "a damaged row is told");
    hub.take(&renews).unwrap();
    let again = hub.judge(&renews).err();
    assert_eq!(again, Some(GroupError::WrongEpoch { expected: 3, got: 2 }), "a commit stands once");
}

fn a_hub_refuses_strangers_and_forgers(kind: Kind) {
    let (mut alice, mut bob, created, _) = pair(kind, b"group");
    let hub = Hub::new(kind, &created);
    let mut eve = Device::new(kind, 9);
    let mut friend = Device::new(kind, 8);
    let foreign = eve.create(b"group", &[friend.key_package(false)]);
    friend.join(&foreign);
    for stranger in [&mut eve, &mut friend] {
        let committed = stranger.commit(&Change::default());
        assert_eq!(hub.judge(&committed).err(), Some(GroupError::InvalidCommit), "only members commit");
        assert_eq!(bob.merge(&committed.commit), Err(GroupError::InvalidCommit), "members see it, too");
    }
    let mut elsewhere = Device::new(kind, 1);
    elsewhere.create(b"other", &[Device::new(kind, 7).key_package(false)]);
    let (committed, _) = elsewhere.engine.commit(&elsewhere.rows, b"other", &Change::default()).unwrap();
    assert_eq!(hub.judge(&committed).err(), Some(GroupError::WrongGroup), "a commit is of one group");

    let committed = alice.commit(&Change::default());
    // A member's PublicMessage ends in its membership tag, which only members can check.
    let checked = match kind {
        Kind::OpenMls => committed.commit.len() - 33,
        Kind::Symbolic => committed.commit.len(),
    };
    for at in (0..checked).step_by(7) {
        let mut forged = committed.clone();
        forged.commit.0[at] ^= 1;
        assert!(hub.judge(&forged).is_err(), "byte {at} of a commit is bound by its signature or its GroupInfo");
    }
    for copy in damaged(&committed.group_info) {
        let forged = Committed { group_info: Bytes(copy), ..committed.clone() };
        assert!(hub.judge(&forged).is_err(), "and each of the GroupInfo");
    }
    hub.judge(&committed).expect("the honest one stands");
}

on_both! {
    a_hub_follows_twenty_commits
    a_hub_refuses_what_does_not_belong_together
    a_hub_refuses_strangers_and_forgers
}

/// A GroupInfo, taken apart.
struct Parts {
    context: Vec<u8>,
    extensions: Vec<u8>,
    tag: Vec<u8>,
    signer: u32,
}

impl Parts {
    fn of(group_info: &Bytes) -> Self {
        let rest = &group_info.0[4..];
        let (context, rest) = openmls::prelude::GroupContext::tls_deserialize_bytes(rest).unwrap();
        let (extensions, rest) = VLBytes::tls_deserialize_bytes(rest).unwrap();
        let (tag, rest) = VLBytes::tls_deserialize_bytes(rest).unwrap();
        let (signer, _) = u32::tls_deserialize_bytes(rest).unwrap();
        Self {
            context: context.tls_serialize_detached().unwrap(),
            extensions: extensions.as_slice().to_vec(),
            tag: tag.as_slice().to_vec(),
            signer,
        }
    }

    /// Signs it again, as a member that lies would.
    fn signed(&self, seed: u8) -> Bytes {
        let vector = |bytes: &[u8]| VLBytes::new(bytes.to_vec()).tls_serialize_detached().unwrap();
        let signer = self.signer.to_be_bytes();
        let content = [self.context.as_slice(), &vector(&self.extensions), &vector(&self.tag), &signer].concat();
        let signed = [vector(b"MLS 1.0 GroupInfoTBS"), vector(&content)].concat();
        let signature = SecretKey::from_seed(&[seed; 32]).sign_raw(&signed);
        // Version 1, wire format mls_group_info.
        Bytes([[0, 1, 0, 4].as_slice(), &content, &vector(&signature.0)].concat())
    }
}

#[test]
fn a_member_that_lies_about_the_new_epoch_is_refused() {
    let (mut alice, _, _, hub) = three(Kind::OpenMls);
    let committed = alice.commit(&Change::default());
    let with = |parts: Parts, seed| Committed { group_info: parts.signed(seed), ..committed.clone() };
    let honest = || Parts::of(&committed.group_info);
    hub.judge(&with(honest(), 1)).expect("taken apart and put together it is the same");
    let invalid = Some(GroupError::InvalidGroupInfo);
    let tag = Parts { tag: vec![7; 32], ..honest() };
    assert_eq!(hub.judge(&with(tag, 1)).err(), invalid, "the confirmation tag is the commit's");
    let closed = Parts { extensions: Vec::new(), ..honest() };
    assert_eq!(hub.judge(&with(closed, 1)).err(), invalid, "without external_pub nobody could come back");
    assert_eq!(hub.judge(&with(honest(), 2)).err(), invalid, "bob does not sign for alice");
    let bobs = Parts { signer: 1, ..honest() };
    assert_eq!(hub.judge(&with(bobs, 2)).err(), invalid, "nor in his own name: the author signs");
    let mut context = honest();
    let at = context.context.len() - 1;
    context.context[at] ^= 1;
    assert_eq!(hub.judge(&with(context, 1)).err(), invalid, "the context is the commit's");
}

#[test]
fn a_membership_tag_is_for_members() {
    let (mut alice, mut bob, _, hub) = three(Kind::OpenMls);
    let mut committed = alice.commit(&Change::default());
    *committed.commit.0.last_mut().unwrap() ^= 1;
    hub.judge(&committed).expect("a hub has no key to check it with");
    assert_eq!(bob.merge(&committed.commit), Err(GroupError::RejoinNeeded), "members do, and cannot follow");
}
