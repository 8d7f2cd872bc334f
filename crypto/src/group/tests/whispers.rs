//! What is said in passing.

use super::membership::three;
use super::*;

const NONCE: [u8; WHISPER_NONCE_BYTES] = [7; WHISPER_NONCE_BYTES];

fn whisper(device: &Device, text: &[u8]) -> Sealed {
    device.engine.seal_whisper(&device.rows, b"group", NONCE, text).unwrap()
}

fn hears(device: &Device, sealed: &Sealed) -> Result<Whisper, GroupError> {
    device.engine.open_whisper(&device.rows, b"group", sealed.epoch, sealed.ciphertext.as_slice())
}

fn all_members_hear_a_whisper_and_it_moves_nothing(kind: Kind) {
    let (mut alice, mut bob, ..) = pair(kind, b"group");
    let before = (alice.rows.clone(), bob.rows.clone());
    let sealed = whisper(&alice, b"typing");
    assert_eq!((sealed.epoch, sealed.ciphertext.len()), (1, WHISPER_BYTES), "of the group's epoch, of the one length");
    for _ in 0..3 {
        let heard = hears(&bob, &sealed).unwrap();
        assert_eq!(
            (heard.plaintext.as_slice(), &heard.sender),
            (&b"typing"[..], &alice.member.credential),
            "bob hears"
        );
    }
    assert!(before == (alice.rows.clone(), bob.rows.clone()), "no ratchet moves");
    assert_eq!(hears(&alice, &sealed), Err(GroupError::OwnMessage), "nobody hears itself");
    for copy in damaged(&sealed.ciphertext) {
        let copy = Sealed { ciphertext: Bytes(copy), ..sealed.clone() };
        assert!(hears(&bob, &copy).is_err(), "a damaged whisper is refused");
    }
    let message = alice.seal(b"group", b"hello");
    assert_eq!(bob.open(b"group", &message).unwrap().plaintext, b"hello", "messages are as they were");
}

fn a_whisper_belongs_to_one_epoch_and_to_its_members(kind: Kind) {
    let (mut alice, mut bob, carol, mut hub) = three(kind);
    let early = whisper(&alice, b"early");
    assert!(hears(&carol, &early).is_ok(), "carol is a member");
    let eve = Device::new(kind, 9);
    assert_eq!(hears(&eve, &early), Err(GroupError::UnknownGroup), "eve is none");
    let committed = alice.commit(&removing(&[carol.id()]));
    hub.take(&committed).unwrap();
    let mut carol = carol;
    for device in [&mut alice, &mut bob, &mut carol] {
        device.merge(&committed.commit).unwrap();
    }
    let now = whisper(&alice, b"now");
    let refused = hears(&bob, &early);
    let wrong = GroupError::WrongEpoch { expected: now.epoch, got: early.epoch };
    assert_eq!(refused, Err(wrong), "what is late is lost: it was said in passing");
    let lied = Sealed { epoch: now.epoch, ..early };
    assert_eq!(hears(&bob, &lied), Err(GroupError::Undecryptable), "each epoch has its key");
    assert!(hears(&bob, &now).is_ok(), "those who stay hear each other");
    assert_eq!(hears(&carol, &now), Err(GroupError::Removed), "who was removed does not");
    let refused = carol.engine.seal_whisper(&carol.rows, b"group", NONCE, b"hi").err();
    assert_eq!(refused, Some(GroupError::Removed), "and is not heard");
}

on_both! {
    all_members_hear_a_whisper_and_it_moves_nothing
    a_whisper_belongs_to_one_epoch_and_to_its_members
}
