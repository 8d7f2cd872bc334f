//! Every example in hex of `docs/protocol.md`, computed anew.

use super::{quoted, specification};
use crate::vectors::cast::{ACME, ALICE, BOB, CHALLENGE, GROUP, LIFE, NOW_S};
use roost_crypto::blobs::{BlobId, padded_bytes};
use roost_crypto::files::{FileKey, FileSealer};
use roost_crypto::identity_log::LogHash;
use roost_crypto::labels;
use roost_crypto::recovery::RecoveryCode;
use roost_crypto::safety_number::{SafetyCode, SafetyNumber};
use roost_crypto::sealing::{BoxSecretKey, StoreKey};
use roost_protocol::content::{Body, Content};
use roost_protocol::conversation::{ConversationState, Participant, Policy, Role};
use roost_protocol::feed::{EntryHeader, EntryKind, payload_hash};
use roost_protocol::gossip::{DirectoryChange, ORGS_TOPIC, message_id};
use roost_protocol::ids::{ConversationId, FeedId, Hash, MessageId, PushTag};
use roost_protocol::limits;
use roost_protocol::peer::{Custody, NodeRequest, NodeResponse};
use roost_protocol::records::{HandleRecord, NameClaim, RecordKey};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, sign_in_bytes, sign_in_signature};
use roost_protocol::{Bytes, SecretKey, codec};
use std::fmt::Write as _;

const AT_MS: u64 = 1_795_000_000_123;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn content() -> Vec<u8> {
    let body = Body::Text("hello".into());
    Content { salt: Bytes(vec![0x44; 16]), body, seen: vec![], log: ALICE.log().head() }.encode()
}

fn header() -> EntryHeader {
    EntryHeader {
        feed: FeedId { group: GROUP, node: ACME.node(), incarnation: LIFE },
        seq: 1,
        prev: Hash([0; 32]),
        kind: EntryKind::Message,
        epoch: 1,
        account: ALICE.account(),
        device: ALICE.device(),
        message: MessageId::of(AT_MS, &content()),
        attempt: 0,
        payload_hash: payload_hash(b"sealed"),
    }
}

fn handle_record() -> HandleRecord {
    HandleRecord {
        root: ACME.root_key().public_key(),
        handle: "alice@acme.example".parse().unwrap(),
        account: ALICE.account(),
        seq: NOW_S,
        expires: NOW_S + limits::RECORD_LIFE_S_MAX,
    }
}

fn state() -> ConversationState {
    ConversationState {
        conversation: ConversationId::direct(&ALICE.account(), &BOB.account()),
        generation: 0,
        term: 0,
        hub: ACME.node(),
        successors: vec![],
        participants: [ALICE, BOB].map(|person| Participant { account: person.account(), role: Role::Member }).to_vec(),
        policy: Policy::Direct,
    }
}

fn change() -> DirectoryChange {
    let (root, name) = (ACME.root_key().public_key(), "acme.example".to_owned());
    let claim = NameClaim { root, name, seq: NOW_S, expires: NOW_S + 1000 };
    DirectoryChange::Org { record: None, claim: Some(claim.sign(&ACME.root_key())) }
}

/// The blob of the example of a sealed file.
fn blob() -> (BlobId, Vec<u8>) {
    let file = crate::vectors::pattern(70_000);
    let (mut sealer, mut sealed) = (FileSealer::new(&FileKey::from_bytes(&[3; 32]), 70_000), Vec::new());
    sealer.write(&file, &mut sealed).unwrap();
    (sealer.finish(&mut sealed).unwrap(), sealed)
}

/// What each example of the specification is, and its bytes.
fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let example = SecretKey::from_seed(&[1; 32]);
    let code = RecoveryCode::from_entropy(*b"alice's 16 bytes");
    let log = ALICE.log();
    let record = handle_record();
    let handle_key = record.handle.key(&ACME.id());
    let bob = BoxSecretKey::from_seed(&[2; 32]);
    let sealed = StoreKey::from_bytes(&[3; 32]).seal(b"messages/1", b"hello", [7; 24]);
    let for_bob =
        roost_crypto::sealing::SealedBox::seal(&bob.public_key(), b"invite", b"hello bob", [5; 32].into()).unwrap();
    let (account, device) = (ALICE.account(), ALICE.device());
    let signature = sign_in_signature(&ALICE.device_key(), &ACME.node(), &[0x55; 32], &account, &device);
    vec![
        ("ack", codec::encode(&ClientFrame::Ack { inbox: 7 })),
        ("hash", labels::hash("roost/1/example", &[b"a", b"bc"]).to_vec()),
        ("signed text", labels::labelled("roost/1/example", b"abc")),
        ("R", ALICE.root().public_key().0.to_vec()),
        ("AccountId", account.0.to_vec()),
        ("device", ALICE.device_key().public_key().0.to_vec()),
        ("DeviceId", device.0.to_vec()),
        ("NodeId", ACME.node().public_key().0.to_vec()),
        ("OrgId", ACME.id().0.to_vec()),
        ("key of the signed example", example.public_key().0.to_vec()),
        ("signature of the signed example", example.sign("roost/1/example", b"abc").0.to_vec()),
        ("genesis", log.log().0[0].bytes.0.clone()),
        ("prev", LogHash::of(&log.log().0[0]).0.to_vec()),
        ("head", log.head().hash.0.to_vec()),
        ("seed of R", code.account_key().seed().to_vec()),
        ("archive key", code.archive_key().to_vec()),
        ("sealed value", sealed),
        ("sealed box", codec::encode(&for_bob)),
        ("handle key", handle_key.to_vec()),
        ("key of the handle record", RecordKey::Handle(handle_key).to_bytes()),
        ("handle record", codec::encode(&record.sign(&ACME.root_key()))),
        ("conversation", state().conversation.0.to_vec()),
        ("bob", BOB.account().0.to_vec()),
        ("group", GROUP.0.to_vec()),
        ("incarnation", LIFE.0.to_vec()),
        ("payload hash", header().payload_hash.0.to_vec()),
        ("header hash", header().hash().0.to_vec()),
        ("content", content()),
        ("message id", MessageId::of(AT_MS, &content()).0.to_vec()),
        ("request for a log", codec::encode(&NodeRequest::Log { account })),
        ("signed sign-in", sign_in_bytes(&ACME.node(), &CHALLENGE, &account, &device)),
        ("sign-in signature", signature.0.to_vec()),
        ("a told change", change().encoded()),
        ("its message id", message_id(ORGS_TOPIC, &change().encoded()).to_vec()),
        ("tag of a push", PushTag::of(&[9; 16], &ConversationId([0x22; 32])).0.to_vec()),
        ("the blob of a file", blob().0.0.to_vec()),
        ("the tag of its first chunk", blob().1[65_536..65_552].to_vec()),
        ("the key of an invite", roost_protocol::invite::invite_key("token").0.to_vec()),
    ]
}

fn blocks(text: &str) -> Vec<&str> {
    text.split("```").skip(1).step_by(2).collect()
}

#[test]
fn every_example_in_hex_is_what_the_code_computes() {
    let text = specification();
    let blocks = blocks(&text);
    let examples: Vec<(&str, String)> = examples().into_iter().map(|(what, bytes)| (what, hex(&bytes))).collect();
    let told: String = blocks.iter().flat_map(|block| block.chars()).filter(|letter| !letter.is_whitespace()).collect();
    for (what, expected) in &examples {
        assert!(told.contains(expected.as_str()), "the example of {what} is not in docs/protocol.md: {expected}");
    }
    let mut checked = 0;
    for line in blocks.iter().flat_map(|block| block.lines()) {
        let quoted_hex = quoted(line).into_iter().map(str::to_owned);
        let bytes = line.split("h'").skip(1).filter_map(|rest| rest.split('\'').next()).map(str::to_owned);
        let plain = line
            .split("  ")
            .map(|piece| piece.split(' ').filter(|token| token.bytes().all(|byte| byte.is_ascii_hexdigit())).collect());
        // Decimal digits only: the safety number, which another test compares.
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() == 60;
        for digits in quoted_hex.chain(bytes).chain(plain).filter(|digits: &String| !is_number(digits)) {
            if digits.len() >= 32 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
                let known = examples.iter().any(|(_, example)| example.contains(&digits));
                assert!(known, "docs/protocol.md shows hex that no test computes: {digits}");
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "the examples were not read: {checked}");
}

#[test]
fn every_length_and_text_of_an_example_is_right() {
    let text = specification();
    let told = |what: &str| assert!(text.contains(what), "docs/protocol.md does not say {what:?}");
    let bytes = |value: usize, what: &str| told(&what.replace("{}", &value.to_string()));
    bytes(codec::encode(&ClientFrame::Ack { inbox: 7 }).len(), "`ClientFrame::Ack {inbox: 7}`, {} bytes");
    bytes(ALICE.log().log().0[0].bytes.len(), "alice's genesis, {} bytes that are signed");
    bytes(ALICE.log().encoded().len(), "The whole log of both is {} bytes");
    bytes(codec::encode(&handle_record().sign(&ACME.root_key())).len(), "the value ({} bytes)");
    bytes(codec::encode(&state()).len(), "(roles `member` here), {} bytes");
    bytes(codec::encode(&header()).len(), "an `EntryHeader` ({} bytes)");
    bytes(content().len(), "`hello` of alice, {} bytes");
    bytes(codec::encode(&NodeRequest::Log { account: ALICE.account() }).len(), "`NodeRequest::Log` of alice, {} bytes");
    assert_eq!((padded_bytes(70_000), blob().1.len()), (71_680, 71_712), "the lengths of the example of a file");
    told("`padded` 71,680, a blob of 71,712 bytes in two chunks");
    told(&ACME.node().to_string());
    told(&SafetyNumber::of(&ALICE.root().public_key(), &BOB.root().public_key()).to_string());
    told(&SafetyCode::of(&ALICE.root().public_key(), &BOB.root().public_key()).to_string());
    told(RecoveryCode::from_entropy(*b"alice's 16 bytes").text().as_str());
    let custody = Custody { account: BOB.account(), feed: header().feed, seq: 1 };
    let answer = serde_json::to_value(NodeResponse::Custody(vec![custody])).unwrap();
    let names: Vec<_> = answer["custody"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["account", "feed", "seq"], "the example of custody has these fields");
    let busy = Refusal {
        retry_after_ms: Some(500),
        ..Refusal::later(Code::Busy, "too many requests wait here", "send it again later")
    };
    let busy = serde_json::to_string(&NodeResponse::Refused(busy)).unwrap();
    let squeezed: String = text.chars().filter(|letter| *letter != ' ').collect();
    assert!(squeezed.contains(&busy.replace(' ', "")), "the example of a refusal is {busy}");
}
