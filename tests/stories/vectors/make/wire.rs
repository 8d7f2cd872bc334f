//! Encoding, labels, keys, signed values, identity logs, recovery codes, sealing, handles, entries, content.

use super::Maker;
use crate::vectors::cast::{ACME, ALICE, BIRCH, BOB, CHALLENGE, EVIL, GROUP, LIFE, NOW_S, Person, cbor, hex, unhex};
use crate::vectors::live;
use ciborium::Value as Cbor;
use roost_crypto::files::{FileKey, FileSealer};
use roost_crypto::identity_log::{LogEntry, LogHash, Operation, Signer};
use roost_crypto::ids::DeviceId;
use roost_crypto::labels;
use roost_protocol::content::{AboutPicture, Body, Content, Timer};
use roost_protocol::conversation::ConversationHead;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, FeedHead, payload_hash};
use roost_protocol::ids::{FeedId, GroupId, Hash, MessageId};
use roost_protocol::limits;
use roost_protocol::peer::NodeRequest;
use roost_protocol::records::HandleRecord;
use roost_protocol::socket::{ClientFrame, sign_in_signature};
use roost_protocol::wide::Topic;
use roost_protocol::{Bytes, IdentityLog, NodeId, SecretKey, Signature, Signed, VerifiedLog, codec};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn make(maker: &mut Maker) {
    encoding(maker);
    frames(maker);
    exchanges(maker);
    ids(maker);
    signed(maker);
    identity_logs(maker);
    two_logs(maker);
    recovery(maker);
    sealing(maker);
    files(maker);
    handles(maker);
    heads(maker);
    entries(maker);
    wide(maker);
    contents(maker);
    sign_in(maker);
}

/// The bytes of a value after a change to its CBOR tree, written as our encoder writes.
pub fn edited(bytes: &[u8], edit: impl FnOnce(&mut Vec<(Cbor, Cbor)>)) -> Vec<u8> {
    let mut value: Cbor = ciborium::from_reader(bytes).unwrap();
    let Cbor::Map(fields) = &mut value else { panic!("a struct is a map") };
    edit(fields);
    let mut edited = Vec::new();
    ciborium::into_writer(&value, &mut edited).unwrap();
    edited
}

fn with_byte(bytes: &[u8], last: u8) -> Vec<u8> {
    [bytes, &[last]].concat()
}

pub fn handle_record() -> HandleRecord {
    HandleRecord {
        root: ACME.root_key().public_key(),
        handle: "alice@acme.example".parse().unwrap(),
        account: ALICE.account(),
        seq: NOW_S,
        expires: NOW_S + limits::RECORD_LIFE_S_MAX,
    }
}

fn encoding(maker: &mut Maker) {
    let example = SecretKey::from_seed(&[1; 32]);
    let signed = Signed { bytes: Bytes(b"abc".to_vec()), signature: example.sign("roost/1/example", b"abc") };
    let bytes = codec::encode(&signed);
    let given = json!({ "type": "Signed", "bytes": hex(&bytes), "max": 4096 });
    let what = "a struct is a definite map, its fields in the order of the specification";
    maker.valid("codec-signed", "Encoding", what, "canonical", given);
    let mut fault = |name: &str, what: &str, bytes: Vec<u8>, cause: &str| {
        maker.fault(&format!("codec/{name}"), what, "codec-signed", ("bytes", hex(&bytes)), cause);
    };
    fault("trailing-bytes", "one byte behind the value", with_byte(&bytes, 0), "trailing");
    fault("no-bytes", "nothing", vec![], "malformed");
    fault("cut", "the last byte is missing", bytes[..bytes.len() - 1].to_vec(), "malformed");
    fault(
        "fields-in-another-order",
        "signature before bytes",
        edited(&bytes, |fields| fields.reverse()),
        "not_canonical",
    );
    let more = edited(&bytes, |fields| fields.push((Cbor::from("more"), Cbor::from(1))));
    fault("unknown-field", "a third field", more, "not_canonical");
    fault("field-missing", "no signature", edited(&bytes, |fields| drop(fields.pop())), "malformed");
    let twice = edited(&bytes, |fields| fields.push(fields[0].clone()));
    fault("field-twice", "bytes stands twice", twice, "malformed");
    let indefinite = [&[0xbf], &bytes[1..], &[0xff]].concat();
    fault("indefinite-length", "a map that does not say its length", indefinite, "not_canonical");
    // a2 65 "bytes" 43 616263: the length of the byte string in two bytes instead of one.
    let at = 1 + 6;
    let long = [&bytes[..at], &[0x58, 3], &bytes[at + 1..]].concat();
    fault("length-not-shortest", "a length of 3 written in two bytes", long, "not_canonical");
    let list = edited(&bytes, |fields| fields[0].1 = Cbor::Array(vec![Cbor::from(0x61), Cbor::from(0x62)]));
    fault("bytes-as-array", "a byte string written as an array of numbers", list, "malformed");
    let spelled = edited(&bytes, |fields| fields[0].1 = Cbor::from("YWJj"));
    fault("bytes-as-text", "a byte string in its JSON spelling", spelled, "not_canonical");
    let deep = [&[0x81; 40][..], &[0]].concat();
    let nested = edited(&bytes, |fields| fields.push((Cbor::from("more"), ciborium::from_reader(&deep[..]).unwrap())));
    fault("nested-too-deep", "over 32 levels", nested, "malformed");
    maker.fault(
        "codec/over-the-bound",
        "more bytes than the reader allows",
        "codec-signed",
        ("max", json!(16)),
        "too_long",
    );

    let record = codec::encode(&handle_record());
    let given = json!({ "type": "HandleRecord", "bytes": hex(&record), "max": 4096 });
    maker.valid("codec-handle-record", "Encoding", "integers take the fewest bytes", "canonical", given);
    let seq = codec::encode(&NOW_S);
    let position = record.windows(seq.len()).position(|window| window == seq).unwrap();
    let wide = [&record[..position], &[0x1b], &NOW_S.to_be_bytes()[..], &record[position + seq.len()..]].concat();
    let mut fault = |name: &str, what: &str, bytes: Vec<u8>, cause: &str| {
        maker.fault(&format!("codec/{name}"), what, "codec-handle-record", ("bytes", hex(&bytes)), cause);
    };
    fault("integer-not-shortest", "a number of 32 bits written in eight bytes", wide, "not_canonical");
    let float = edited(&record, |fields| fields[3].1 = Cbor::from(1.5));
    fault("float-for-an-integer", "a fraction where a number counts", float, "malformed");
    let negative = edited(&record, |fields| fields[3].1 = Cbor::from(-1));
    fault("negative-integer", "below zero where a number counts", negative, "malformed");

    let parts = json!(["61", "6263"]);
    let given = json!({ "label": "roost/1/example", "parts": parts });
    maker.valid("label-hash", "Labels", "hash(label, [a, bc]) and what is signed of a", "hash", given);
    let given = json!({ "label": "roost/1/example", "parts": ["6162", "63"] });
    maker.valid("label-hash-other-parts", "Labels", "the same bytes in other parts give another hash", "hash", given);
}

fn frames(maker: &mut Maker) {
    let ack = codec::encode(&ClientFrame::Ack { inbox: 7 });
    let cbor_frame = |bytes: &[u8]| json!({ "sub_protocol": "roost.v1.cbor", "message": hex(bytes) });
    let json_frame = |text: &str| json!({ "sub_protocol": "roost.v1.json", "message": text });
    maker.valid("frame-cbor", "Encoding", "ack in CBOR", "frame", cbor_frame(&ack));
    let later = edited(&ack, |fields| fields.push((Cbor::from("more"), Cbor::from(1))));
    maker.valid(
        "frame-unknown-field",
        "Encoding",
        "plain reading skips what it does not know",
        "frame",
        cbor_frame(&later),
    );
    let turned = edited(&ack, |fields| fields.reverse());
    maker.valid("frame-other-order", "Encoding", "plain reading takes any order", "frame", cbor_frame(&turned));
    maker.valid("frame-json", "Encoding", "ack in JSON", "frame", json_frame(r#"{"type":"ack","inbox":7}"#));
    let mut fault = |name: &str, what: &str, message: Value, cause: &str| {
        maker.fault(&format!("frame/{name}"), what, "frame-cbor", ("message", message), cause);
    };
    fault("trailing-bytes", "one byte behind the frame", hex(&with_byte(&ack, 0)), "trailing");
    fault("over-128-kib", "longer than a message may be", hex(&[0; 131_073]), "too_long");
    let unknown = edited(&ack, |fields| fields[0].1 = Cbor::from("dance"));
    fault("unknown-type", "a frame that nobody knows", hex(&unknown), "malformed");
    fault("field-missing", "ack of nothing", hex(&edited(&ack, |fields| drop(fields.pop()))), "malformed");
    fault("nested-too-deep", "nothing but open arrays", hex(&[0x9f; 1000]), "malformed");
    maker.fault(
        "frame/json-trailing-text",
        "a word behind the frame",
        "frame-json",
        ("message", json!(r#"{"type":"ack","inbox":7} x"#)),
        "malformed",
    );

    let key = SecretKey::from_seed(&[2; 32]);
    let signature = sign_in_signature(&key, &ACME.node(), &CHALLENGE, &ALICE.account(), &ALICE.device());
    let frame = ClientFrame::SignIn { id: 1, account: ALICE.account(), device: ALICE.device(), signature };
    let text = serde_json::to_string(&frame).unwrap();
    maker.valid("frame-json-ids", "Encoding", "ids and signatures are lower-case hex", "frame", json_frame(&text));
    let mut fault = |name: &str, what: &str, message: String| {
        maker.fault(&format!("frame/{name}"), what, "frame-json-ids", ("message", json!(message)), "malformed");
    };
    let account = ALICE.account().to_string();
    fault("hex-upper-case", "an id in upper case", text.replace(&account, &account.to_uppercase()));
    fault("hex-too-short", "an id of 31 bytes", text.replace(&account, &account[2..]));
    fault("hex-odd", "half a byte", text.replace(&account, &account[1..]));

    let submit = ClientFrame::PutKeyPackages { id: 1, packages: vec![Bytes(vec![0xfb, 0xff])], last_resort: None };
    let text = serde_json::to_string(&submit).unwrap();
    let what = "bytes are base64url without padding";
    maker.valid("frame-json-bytes", "Encoding", what, "frame", json_frame(&text));
    let mut fault = |name: &str, what: &str, message: String| {
        maker.fault(&format!("frame/{name}"), what, "frame-json-bytes", ("message", json!(message)), "malformed");
    };
    fault("base64-padding", "with padding", text.replace("-_8", "-_8="));
    fault("base64-other-alphabet", "plus and slash", text.replace("-_8", "+/8"));
}

fn exchanges(maker: &mut Maker) {
    let body = codec::encode(&NodeRequest::Log { account: ALICE.account() });
    let framed = |length: u32, body: &[u8]| [&length.to_be_bytes()[..], body].concat();
    let length = u32::try_from(body.len()).unwrap();
    let given = json!({ "bytes": hex(&framed(length, &body)) });
    maker.valid("exchange", "Between nodes", "a request for a log behind its length", "exchange", given);
    let mut fault = |name: &str, what: &str, bytes: Vec<u8>, cause: &str| {
        maker.fault(&format!("exchange/{name}"), what, "exchange", ("bytes", hex(&bytes)), cause);
    };
    fault("length-over-1-mib", "refused by its length alone", framed(1_048_577, &body), "too_long");
    fault("short-body", "fewer bytes than announced", framed(length + 1, &body), "short");
    fault(
        "trailing-bytes",
        "a byte behind the request, inside the length",
        framed(length + 1, &with_byte(&body, 0)),
        "trailing",
    );
    fault("length-only", "no body", framed(0, &[]), "malformed");
    let unknown = edited(&body, |fields| fields[0].0 = Cbor::from("dance"));
    fault(
        "unknown-request",
        "a request that nobody knows",
        framed(u32::try_from(unknown.len()).unwrap(), &unknown),
        "malformed",
    );
}

fn ids(maker: &mut Maker) {
    let given = json!({
        "key": ALICE.root().public_key(),
        "other_account": BOB.account(),
        "at_ms": 1_795_000_000_123_u64,
        "content": "68656c6c6f",
        "handle": "alice@acme.example",
        "name": "acme.example",
    });
    maker.valid("ids", "Keys and ids", "every id that is computed, of one key", "ids", given);
    let given = json!({ "text": ACME.node().to_string() });
    maker.valid("peer-id", "Keys and ids", "a PeerId of an Ed25519 key", "peer-id", given);
    let mut fault = |name: &str, what: &str, text: &str| {
        maker.fault(&format!("peer-id/{name}"), what, "peer-id", ("text", json!(text)), "peer_id");
    };
    fault("rsa", "of an RSA key", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N");
    fault("secp256k1", "of a secp256k1 key", "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY");
    let text = ACME.node().to_string();
    fault("cut", "the last character is missing", &text[..text.len() - 1]);
    fault("not-base58", "a zero is no character of it", &text.replacen('o', "0", 1));
    fault("hex", "the JSON spelling of a NodeId", &ACME.node().public_key().to_string());

    let given = json!({ "one": ALICE.root().public_key(), "other": BOB.root().public_key() });
    maker.valid("safety-number", "Safety number", "alice and bob", "safety-number", given);
    let given = json!({ "one": BOB.root().public_key(), "other": ALICE.root().public_key() });
    maker.valid("safety-number-turned", "Safety number", "bob and alice read the same", "safety-number", given);
}

fn signed(maker: &mut Maker) {
    let key = SecretKey::from_seed(&[1; 32]);
    let label = "roost/1/example";
    let text = codec::encode(&"abc");
    let sign = |label: &str, bytes: &[u8], key: &SecretKey| Signed {
        bytes: Bytes(bytes.to_vec()),
        signature: key.sign(label, bytes),
    };
    let honest = sign(label, &text, &key);
    let by = |key: &[u8], signed: &Signed| json!({ "key": hex(key), "value": cbor(signed) });
    let public = key.public_key();
    let given = json!({ "label": label, "signed": by(public.as_bytes(), &honest), "max": 4096 });
    maker.valid("signed", "Signed values", "a text, signed", "signed", given);
    let mut fault = |name: &str, what: &str, signed: Signed, cause: &str| {
        maker.fault(&format!("signed/{name}"), what, "signed", ("signed", by(public.as_bytes(), &signed)), cause);
    };
    fault("wrong-label", "signed for another purpose", sign("roost/1/other", &text, &key), "signature");
    fault(
        "other-bytes",
        "the signature of other bytes",
        Signed { bytes: Bytes(codec::encode(&"abd")), ..honest.clone() },
        "signature",
    );
    fault(
        "by-another-key",
        "somebody else's signature",
        sign(label, &text, &SecretKey::from_seed(&[9; 32])),
        "signature",
    );
    let mut changed = honest.clone();
    changed.signature.0[5] ^= 1;
    fault("changed", "one bit of the signature", changed, "signature");
    fault("malleable", "the same signature with S + L for S", malleable(&honest), "signature");
    fault(
        "second-spelling",
        "signed bytes that are not canonical",
        sign(label, &[&[0x78, 3][..], b"abc"].concat(), &key),
        "not_canonical",
    );
    fault(
        "trailing-bytes",
        "signed bytes with one behind the value",
        sign(label, &with_byte(&text, 0), &key),
        "trailing",
    );
    fault("of-another-type", "signed bytes of another type", sign(label, &codec::encode(&7), &key), "malformed");
    maker.fault("signed/over-the-bound", "more bytes than the type may have", "signed", ("max", json!(3)), "too_long");
    let mut fault = |name: &str, what: &str, key: &[u8], signature: [u8; 64]| {
        let signed = Signed { signature: Signature(signature), ..honest.clone() };
        maker.fault(&format!("signed/{name}"), what, "signed", ("signed", by(key, &signed)), "signature");
    };
    // The neutral element: as key and R, with S = 0, it satisfies the equation of every message.
    let neutral = [&[1][..], &[0; 31]].concat();
    let universal: [u8; 64] = [&neutral[..], &[0; 32]].concat().try_into().unwrap();
    fault("small-order-key", "a key under which one signature fits every message", &neutral, universal);
    fault("key-off-the-curve", "a key that is no point", &[&[2][..], &[0; 31]].concat(), honest.signature.0);
    // R = the neutral element and S = k times the secret scalar, which the owner of the key can compute: RFC 8032 computes another R.
    let small: [u8; 64] = unhex(&json!(concat!(
        "0100000000000000000000000000000000000000000000000000000000000000",
        "d253cf5efcf190016e70d73150da659ece9d88842d3babdedaaa4e7d259edb02"
    )))
    .try_into()
    .unwrap();
    fault("small-order-r", "a signature whose R has small order", public.as_bytes(), small);
}

/// Adds the order of the group to the scalar of a signature: it fits the same equation.
fn malleable(signed: &Signed) -> Signed {
    let order: [u8; 32] =
        unhex(&json!("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")).try_into().unwrap();
    let mut signature = signed.signature.0;
    let mut carry = 0_u16;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    Signed { signature: Signature(signature), ..signed.clone() }
}

fn log_entry(seq: u64, prev: LogHash, signer: Signer, op: Operation, key: &SecretKey) -> Signed {
    Signed::new(labels::SIGN_LOG_ENTRY, &LogEntry { seq, prev, signer, op }, key)
}

fn identity_logs(maker: &mut Maker) {
    let log = ALICE.log();
    let given = json!({ "log": hex(&log.encoded()) });
    maker.valid("identity-log", "Identity log", "alice's genesis and her handle", "identity-log", given);
    let given = json!({ "log": hex(&ALICE.founded().encoded()) });
    maker.valid("identity-log-genesis", "Identity log", "an account that was just founded", "identity-log", given);
    let moved = log.append(Operation::SetHomes { homes: vec![BIRCH.node()] }, Signer::Root, &ALICE.root()).unwrap();
    let given = json!({ "log": hex(&moved.encoded()) });
    maker.valid("identity-log-moved", "Identity log", "alice moves by her root key", "identity-log", given);

    let mut fault = |name: &str, what: &str, bytes: Vec<u8>, cause: &str| {
        maker.fault(&format!("identity-log/{name}"), what, "identity-log", ("log", hex(&bytes)), cause);
    };
    let bytes = log.encoded();
    fault("trailing-bytes", "one byte behind the log", with_byte(&bytes, 0), "trailing");
    fault(
        "second-spelling",
        "an array that does not say its length",
        [&[0x9f], &bytes[1..], &[0xff]].concat(),
        "not_canonical",
    );
    fault("empty", "no entry", vec![0x80], "empty");
    fault(
        "over-4096-bytes",
        "longer than a directory value",
        [&[0x9a, 0, 0, 0, 0][..], &[0; 4092]].concat(),
        "too_long",
    );

    let (root, device) = (ALICE.root(), ALICE.device_key());
    let by_device = Signer::Device(ALICE.device());
    let [genesis, second] = log.log().0.as_slice() else { panic!("two entries") };
    let head = LogHash::of(genesis);
    let handle = |handle: &str| Operation::SetHandle { handle: handle.into(), org: ACME.id() };
    let claim = || handle("alice@acme.example");
    let logged =
        |entries: &[&Signed]| codec::encode(&IdentityLog(entries.iter().map(|entry| (*entry).clone()).collect()));
    let after = |entry: Signed| logged(&[genesis, &entry]);
    let found = |root_named: &SecretKey, device: &SecretKey, homes: Vec<NodeId>| Operation::Genesis {
        root: root_named.public_key(),
        device: device.public_key(),
        homes,
    };
    let home = || vec![ACME.node()];
    let alone = |seq, prev, signer, op, key: &SecretKey| logged(&[&log_entry(seq, prev, signer, op, key)]);
    let zero = LogHash::ZERO;
    fault("genesis-missing", "begins with a handle", alone(0, zero, Signer::Root, claim(), &root), "genesis_missing");
    fault(
        "genesis-signed-by-a-device",
        "founded by the device",
        alone(0, zero, by_device, found(&root, &device, home()), &device),
        "genesis_signer",
    );
    fault(
        "genesis-of-another-root",
        "names a root key that did not sign",
        alone(0, zero, Signer::Root, found(&root, &device, home()), &EVIL.root_key()),
        "signature",
    );
    fault(
        "genesis-repeated",
        "a second genesis",
        after(log_entry(1, head, Signer::Root, found(&root, &device, home()), &root)),
        "genesis_repeated",
    );
    fault(
        "device-is-the-root",
        "the root key as first device",
        alone(0, zero, Signer::Root, found(&root, &root, home()), &root),
        "device_is_root",
    );
    fault(
        "genesis-with-seq-1",
        "the first entry has number 1",
        alone(1, zero, Signer::Root, found(&root, &device, home()), &root),
        "seq",
    );
    fault(
        "genesis-with-prev",
        "the first entry follows something",
        alone(0, head, Signer::Root, found(&root, &device, home()), &root),
        "prev",
    );
    fault("seq-gap", "number 2 behind number 0", after(log_entry(2, head, by_device, claim(), &device)), "seq");
    fault("seq-repeated", "number 0 behind number 0", after(log_entry(0, head, by_device, claim(), &device)), "seq");
    fault(
        "prev-differs",
        "does not follow from the entry before",
        after(log_entry(1, LogHash([7; 32]), by_device, claim(), &device)),
        "prev",
    );
    fault(
        "signer-not-active",
        "signed by a device that the log does not hold",
        after(log_entry(1, head, Signer::Device(BOB.device()), claim(), &BOB.device_key())),
        "signer_not_active",
    );
    fault(
        "signed-by-another-key",
        "signed by another key than the signer's",
        after(log_entry(1, head, by_device, claim(), &BOB.device_key())),
        "signature",
    );
    let entry = LogEntry { seq: 1, prev: head, signer: by_device, op: claim() };
    fault(
        "wrong-label",
        "signed as a handle record",
        after(Signed::new(labels::SIGN_HANDLE_RECORD, &entry, &device)),
        "signature",
    );
    let spelled = edited(second.bytes.as_slice(), |fields| fields.reverse());
    let spelled = Signed { signature: root.sign(labels::SIGN_LOG_ENTRY, &spelled), bytes: Bytes(spelled) };
    fault(
        "entry-second-spelling",
        "an entry whose fields stand in another order",
        after(spelled),
        "entry_not_canonical",
    );
    fault(
        "entry-is-no-entry",
        "signed bytes that are a text",
        after(Signed::new(labels::SIGN_LOG_ENTRY, &"hello", &device)),
        "entry_malformed",
    );
    for (name, what, homes, cause) in [
        ("no-homes", "no home at all", vec![], "homes_count"),
        ("three-homes", "more than the wire has room for", vec![ACME.node(), BIRCH.node(), EVIL.node()], "homes_count"),
        ("home-twice", "one home listed twice", vec![ACME.node(), ACME.node()], "homes_repeated"),
        ("two-homes", "more than this version serves", vec![ACME.node(), BIRCH.node()], "homes_unsupported"),
    ] {
        fault(name, what, alone(0, zero, Signer::Root, found(&root, &device, homes), &root), cause);
    }
    let by_alice = |op| after(log_entry(1, head, by_device, op, &device));
    fault("handle-upper-case", "a handle outside the alphabet", by_alice(handle("Alice@acme.example")), "character");
    fault("handle-without-at", "a handle of no organisation", by_alice(handle("alice")), "no_at");
    fault("handle-edge", "a half that ends with a dot", by_alice(handle("alice.@acme.example")), "edge");
    devices(maker);
    resets(maker);
}

/// A device of alice's beyond the first, by number.
fn further_device(number: u8) -> SecretKey {
    SecretKey::from_seed(&[0x70 + number; 32])
}

fn devices(maker: &mut Maker) {
    let (root, device, second) = (ALICE.root(), ALICE.device_key(), further_device(1));
    let (by_device, by_second) = (Signer::Device(ALICE.device()), Signer::Device(DeviceId::of(&second.public_key())));
    let add = |key: &SecretKey| Operation::AddDevice { device: key.public_key() };
    let revoke = |key: &SecretKey| Operation::RevokeDevice { device: DeviceId::of(&key.public_key()) };
    let linked = ALICE.log().append(add(&second), by_device, &device).unwrap();
    let given = json!({ "log": hex(&linked.encoded()) });
    maker.valid("identity-log-linked", "Identity log", "a second device, added by the first", "identity-log", given);
    let lost = linked.append(revoke(&device), by_second, &second).unwrap();
    let given = json!({ "log": hex(&lost.encoded()) });
    maker.valid("identity-log-revoked", "Identity log", "the first device, ended by the second", "identity-log", given);
    let alone = ALICE.log().append(revoke(&device), Signer::Root, &root).unwrap();
    let given = json!({ "log": hex(&alone.encoded()) });
    maker.valid("identity-log-no-device", "Identity log", "the root key ends the last device", "identity-log", given);

    let mut fault =
        |name: &str, what: &str, behind: &VerifiedLog, (op, signer, key): (_, _, &SecretKey), cause: &str| {
            let head = behind.head();
            let mut log = behind.log().clone();
            log.0.push(log_entry(head.seq + 1, head.hash, signer, op, key));
            maker.fault(&format!("identity-log/{name}"), what, "identity-log", ("log", hex(&log.encoded())), cause);
        };
    fault(
        "device-active-twice",
        "an active device is added",
        &linked,
        (add(&second), by_device, &device),
        "device_repeated",
    );
    fault(
        "device-back",
        "a revoked device is added again",
        &lost,
        (add(&device), Signer::Root, &root),
        "device_repeated",
    );
    fault(
        "added-device-is-the-root",
        "the root key as device",
        &linked,
        (add(&root), by_device, &device),
        "device_is_root",
    );
    let five = (2..5)
        .fold(linked.clone(), |log, number| log.append(add(&further_device(number)), by_device, &device).unwrap());
    let sixth = further_device(5);
    fault("six-devices", "one device too many", &five, (add(&sixth), Signer::Root, &root), "device_count");
    let stranger = BOB.device_key();
    fault(
        "revoked-nobody",
        "ends a device of another",
        &linked,
        (revoke(&stranger), by_device, &device),
        "device_not_active",
    );
    fault("revoked-twice", "ends a device again", &lost, (revoke(&device), by_second, &second), "device_not_active");
    fault(
        "last-device",
        "the last device ends itself",
        &ALICE.log(),
        (revoke(&device), by_device, &device),
        "last_device",
    );
    let handle = Operation::SetHandle { handle: "alice@acme.example".into(), org: ACME.id() };
    fault("signer-revoked", "signed by a revoked device", &lost, (handle, by_device, &device), "signer_not_active");
}

fn resets(maker: &mut Maker) {
    let (root, device) = (ALICE.root(), ALICE.device_key());
    let reset = ALICE.log().reset(&root, vec![device.public_key()], vec![ACME.node()]).unwrap();
    let given = json!({ "log": hex(&reset.encoded()) });
    maker.valid("identity-log-reset", "Identity log", "a log that begins by a reset", "identity-log", given);
    let add = Operation::AddDevice { device: further_device(1).public_key() };
    let longer = reset.append(add, Signer::Device(ALICE.device()), &device).unwrap();
    let given = json!({ "log": hex(&longer.encoded()) });
    maker.valid("identity-log-reset-linked", "Identity log", "a device behind a reset", "identity-log", given);

    let op = |count: u64, devices: Vec<SecretKey>| Operation::Reset {
        root: root.public_key(),
        count,
        devices: devices.iter().map(SecretKey::public_key).collect(),
        homes: vec![ACME.node()],
        handle: None,
    };
    let alone = |seq, prev, signer, op, key: &SecretKey| {
        hex(&codec::encode(&IdentityLog(vec![log_entry(seq, prev, signer, op, key)])))
    };
    let mut fault = |name: &str, what: &str, log: Value, cause: &str| {
        maker.fault(&format!("identity-log/{name}"), what, "identity-log", ("log", log), cause);
    };
    let (zero, one) = (LogHash::ZERO, || vec![ALICE.device_key()]);
    let by_device = Signer::Device(ALICE.device());
    fault("reset-by-a-device", "reset by the device", alone(2, zero, by_device, op(1, one()), &device), "reset_signer");
    let by_eve = alone(2, zero, Signer::Root, op(1, one()), &EVIL.root_key());
    fault("reset-of-another-root", "names a root key that did not sign", by_eve, "signature");
    let child = alone(2, ALICE.log().head().hash, Signer::Root, op(1, one()), &root);
    fault("reset-with-prev", "a reset that follows something", child, "prev");
    fault("reset-count-0", "no reset by its count", alone(2, zero, Signer::Root, op(0, one()), &root), "reset_number");
    fault("reset-seq-0", "a reset with number 0", alone(0, zero, Signer::Root, op(1, one()), &root), "reset_number");
    let many = alone(2, zero, Signer::Root, op(1 << 32, one()), &root);
    fault("reset-count-over-32-bits", "a count over 32 bits", many, "reset_number");
    let late = alone(1 << 32, zero, Signer::Root, op(1, one()), &root);
    fault("reset-seq-over-32-bits", "a number over 32 bits", late, "reset_number");
    let twice = alone(2, zero, Signer::Root, op(1, vec![ALICE.device_key(), ALICE.device_key()]), &root);
    fault("reset-device-twice", "one device listed twice", twice, "device_repeated");
    let six = alone(2, zero, Signer::Root, op(1, (0..6).map(further_device).collect()), &root);
    fault("reset-six-devices", "six devices", six, "device_count");
    let rooted = alone(2, zero, Signer::Root, op(1, vec![ALICE.root()]), &root);
    fault("reset-device-is-the-root", "the root key as device", rooted, "device_is_root");
    let head = ALICE.log().head();
    let mut behind = ALICE.log().log().clone();
    behind.0.push(log_entry(head.seq + 1, head.hash, Signer::Root, op(1, one()), &root));
    fault("reset-behind", "a reset that does not begin the log", hex(&behind.encoded()), "reset_repeated");
}

fn two_logs(maker: &mut Maker) {
    let (short, long) = (hex(&ALICE.founded().encoded()), hex(&ALICE.log().encoded()));
    let mut pair = |name: &str, what: &str, held: &Value, offered: &Value| {
        maker.valid(name, "Identity log", what, "two-logs", json!({ "held": held, "offered": offered }));
    };
    pair("two-logs-extended", "an extension replaces what it extends", &short, &long);
    pair("two-logs-behind", "a prefix replaces nothing", &long, &short);
    pair("two-logs-same", "the same log", &long, &long);
    let to = |seed: u8, log: &VerifiedLog| {
        log.reset(&ALICE.root(), vec![SecretKey::from_seed(&[seed; 32]).public_key()], vec![ACME.node()]).unwrap()
    };
    let (reset, other) = (to(0x71, &ALICE.log()), to(0x72, &ALICE.log()));
    let (once, twice) = (hex(&reset.encoded()), hex(&to(0x71, &reset).encoded()));
    pair("two-logs-reset", "a reset ends the longer log", &long, &once);
    pair("two-logs-reset-again", "the higher count stands", &once, &twice);
    pair("two-logs-reset-behind", "what was reset never comes back", &once, &long);
    let mut fault = |name: &str, what: &str, offered: Value, cause: &str| {
        maker.fault(&format!("identity-log/{name}"), what, "two-logs-same", ("offered", offered), cause);
    };
    fault("branched", "another second entry", hex(&ALICE.log_as("alina").encoded()), "branched");
    fault("of-another-account", "bob's log for alice's", hex(&BOB.log().encoded()), "other_account");
    let what = "another reset of the same count";
    maker.fault(
        "identity-log/reset-branched",
        what,
        "two-logs-reset-again",
        ("offered", hex(&other.encoded())),
        "branched",
    );
}

fn recovery(maker: &mut Maker) {
    let code = "C5P6-JRV5-4XSJ-0C9P-41H7-JX35-EEFZ-2CN7";
    let valid = |maker: &mut Maker, name: &str, what: &str, text: &str| {
        maker.valid(name, "Recovery code", what, "recovery-code", json!({ "text": text }));
    };
    valid(maker, "recovery-code", "alice's code", code);
    valid(
        maker,
        "recovery-code-as-typed",
        "lower case, spaces, o for 0, l for 1",
        " c5p6 jrv5 4xsj oc9p 4lh7 jx35 eefz 2cn7 ",
    );
    let mut fault = |name: &str, what: &str, text: &str, cause: &str| {
        maker.fault(&format!("recovery-code/{name}"), what, "recovery-code", ("text", json!(text)), cause);
    };
    fault("one-character-changed", "D for C at the beginning", &code.replacen('C', "D", 1), "checksum");
    fault("two-swapped", "5C for C5", &code.replacen("C5", "5C", 1), "checksum");
    fault("one-missing", "31 characters", &code[..code.len() - 1], "length");
    fault("one-too-many", "33 characters", &format!("{code}0"), "length");
    fault("u-is-no-character", "U stands in no code", &code.replacen('C', "U", 1), "character");
}

/// Byte `i` of a file of the vectors.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8).collect()
}

fn files(maker: &mut Maker) {
    let key = FileKey::from_bytes(&[3; 32]);
    let what = "two chunks; byte i of the file is 31 i mod 251";
    maker.valid("file-seal", "Files", what, "file-seal", json!({ "key": hex(&[3; 32]), "size": 70_000 }));
    let what = "a file of no bytes is 4096 zeros";
    maker.valid("file-seal-empty", "Files", what, "file-seal", json!({ "key": hex(&[3; 32]), "size": 0 }));
    let (mut sealer, mut sealed) = (FileSealer::new(&key, 11), Vec::new());
    sealer.write(b"hello files", &mut sealed).unwrap();
    let blob = sealer.finish(&mut sealed).unwrap();
    let given = json!({ "key": hex(&[3; 32]), "size": 11, "blob": blob, "sealed": hex(&sealed) });
    maker.valid("file", "Files", "hello files, in one chunk", "file", given);
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("file/{name}"), what, "file", part, cause);
    };
    let mut changed = sealed.clone();
    changed[2_000] ^= 1;
    fault("changed", "one bit of it", ("sealed", hex(&changed)), "chunk");
    fault("other-key", "another key", ("key", hex(&[4; 32])), "chunk");
    fault("cut", "a byte is missing", ("sealed", hex(&sealed[..sealed.len() - 1])), "length");
    fault("longer", "a byte too many", ("sealed", hex(&[&sealed[..], &[0]].concat())), "length");
    fault("other-name", "the right bytes under another name", ("blob", hex(&[9; 32])), "name");
    fault("padding-that-is-not-zero", "the file is longer than its size says", ("size", json!(5)), "padding");
}

fn sealing(maker: &mut Maker) {
    let sealed =
        unhex(&json!("01070707070707070707070707070707070707070707070707a2c88d5dcd1196c685f3e4ab8733d0cf3b205057b7"));
    let given = json!({ "key": hex(&[3; 32]), "context": hex(b"messages/1"), "sealed": hex(&sealed) });
    maker.valid("sealed-value", "Sealing", "hello in its place", "sealed-value", given);
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("sealing/{name}"), what, "sealed-value", part, cause);
    };
    fault("too-short", "fewer bytes than an empty value", ("sealed", hex(&sealed[..40])), "too_short");
    fault("no-bytes", "nothing", ("sealed", hex(&[])), "too_short");
    fault("other-version", "sealed by a later version", ("sealed", hex(&[&[2], &sealed[1..]].concat())), "version");
    fault("moved", "a value in another place", ("context", hex(b"messages/2")), "tag");
    fault("other-key", "another key", ("key", hex(&[4; 32])), "tag");
    let mut changed = sealed.clone();
    changed[30] ^= 1;
    fault("changed", "one bit of it", ("sealed", hex(&changed)), "tag");

    let boxed = unhex(&json!(concat!(
        "a269657068656d6572616c582050a61409b1ddd0325e9b16b700e719e9772c07000b1bd7786e907c653d20495d6a63697068657274657874",
        "5819ad58235d6cefa16bcd21bfdf997ed0f1ca03e9f270643fc30d"
    )));
    let given = json!({ "seed": hex(&[2; 32]), "context": hex(b"invite"), "box": hex(&boxed) });
    maker.valid("sealed-box", "Sealing", "hello bob, by nobody", "sealed-box", given);
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("sealing/{name}"), what, "sealed-box", part, cause);
    };
    let short = edited(&boxed, |fields| fields[1].1 = Cbor::Bytes(vec![0; 15]));
    fault("box-too-short", "no room for a tag", ("box", hex(&short)), "too_short");
    let weak = edited(&boxed, |fields| fields[0].1 = Cbor::Bytes(vec![0; 32]));
    fault("box-small-order", "an ephemeral key of small order", ("box", hex(&weak)), "small_order");
    fault("box-moved", "a box in another context", ("context", hex(b"other")), "tag");
    fault("box-for-another", "another recipient's key", ("seed", hex(&[0x42; 32])), "tag");
}

fn handles(maker: &mut Maker) {
    let given = json!({ "text": "alice@acme.example" });
    maker.valid("handle", "Handles", "alice at acme.example", "handle", given);
    let longest = format!("{}@{}", "a".repeat(32), "b".repeat(64));
    maker.valid("handle-longest", "Handles", "32 and 64 bytes", "handle", json!({ "text": longest }));
    let mut fault = |name: &str, what: &str, text: &str, cause: &str| {
        maker.fault(&format!("handle/{name}"), what, "handle", ("text", json!(text)), cause);
    };
    fault("upper-case", "one spelling only", "Alice@acme.example", "character");
    fault("no-at", "no organisation", "alice", "no_at");
    fault("two-ats", "two organisations", "alice@acme@example", "character");
    fault("no-local-part", "nobody", "@acme.example", "local_length");
    fault("no-name", "nowhere", "alice@", "org_name_length");
    fault("local-part-33-bytes", "too long before the @", &format!("{}@acme.example", "a".repeat(33)), "local_length");
    fault("name-65-bytes", "too long behind the @", &format!("alice@{}", "b".repeat(65)), "org_name_length");
    fault("edge-dot", "ends with a dot", "alice.@acme.example", "edge");
    fault("edge-dash", "the name begins with a dash", "alice@-acme.example", "edge");
    fault("look-alike", "a Cyrillic a", "\u{430}lice@acme.example", "character");
    fault("space", "a space before it", " alice@acme.example", "character");
}

fn heads(maker: &mut Maker) {
    let head = ConversationHead {
        group: GROUP,
        state: live::state(&ALICE, &BOB, ACME.node()),
        epoch: 1,
        made_by: Hash([0x66; 32]),
        ordered_by: None,
    };
    let sign = |label: &str, key: &SecretKey| cbor(&Signed::new(label, &head, key));
    let given = json!({ "head": sign(labels::SIGN_CONVERSATION_HEAD, &ACME.node_key()) });
    maker.valid("head", "Conversations", "what a hub says of a conversation", "head", given);
    let by_other = sign(labels::SIGN_CONVERSATION_HEAD, &BIRCH.node_key());
    maker.fault(
        "head/signed-by-another",
        "signed by a node that is not the hub it names",
        "head",
        ("head", by_other),
        "signature",
    );
    let other_label = sign(labels::SIGN_FEED_HEAD, &ACME.node_key());
    maker.fault("head/wrong-label", "signed as the head of a feed", "head", ("head", other_label), "signature");
    let bytes = with_byte(&codec::encode(&head), 0);
    let signature = ACME.node_key().sign(labels::SIGN_CONVERSATION_HEAD, &bytes);
    let trailing = cbor(&Signed { bytes: Bytes(bytes), signature });
    maker.fault("head/trailing-bytes", "a byte behind the signed head", "head", ("head", trailing), "trailing");
}

/// Bob's first entry for alice, and whatever else is said in this feed.
pub fn entry(seq: u64, prev: Hash, author: &Person, payload: &[u8]) -> Entry {
    let header = EntryHeader {
        feed: FeedId { group: GROUP, node: author.home.node(), incarnation: LIFE },
        seq,
        prev,
        kind: EntryKind::Message,
        epoch: 1,
        account: author.account(),
        device: author.device(),
        message: MessageId::of(1_795_000_000_123, b"hello"),
        attempt: 0,
        payload_hash: payload_hash(payload),
    };
    Entry { header, payload: Bytes(payload.to_vec()), silent: false }
}

fn entries(maker: &mut Maker) {
    let honest = entry(1, Hash([0; 32]), &ALICE, b"sealed");
    let given = json!({ "entry": cbor(&honest) });
    maker.valid("entry", "Feeds and entries", "the first entry of a feed", "entry", given);
    let given = json!({ "entry": cbor(&entry(2, honest.header.hash(), &ALICE, b"sealed too")) });
    maker.valid(
        "entry-second",
        "Feeds and entries",
        "the second names the first by the hash of its header",
        "entry",
        given,
    );
    let mut fault = |name: &str, what: &str, entry: &Entry, cause: &str| {
        maker.fault(&format!("feed/{name}"), what, "entry", ("entry", cbor(entry)), cause);
    };
    let other = Entry { payload: Bytes(b"sealeD".to_vec()), ..honest.clone() };
    fault("payload-hash-differs", "another payload than the header's", &other, "payload_hash");
    fault("seq-zero", "positions start at 1", &entry(0, Hash([0; 32]), &ALICE, b"sealed"), "seq_zero");
    let large = entry(1, Hash([0; 32]), &ALICE, &[0; limits::PAYLOAD_BYTES_MAX + 1]);
    fault("message-over-24-kib", "a message that is too long", &large, "too_large");
    let mut creation = entry(1, Hash([0; 32]), &ALICE, &[0; limits::COMMIT_BYTES_MAX + 1]);
    creation.header.kind = EntryKind::Creation;
    fault("creation-over-96-kib", "a first contact that is too long", &creation, "too_large");
}

/// The data of a gossip message with these entries, whatever they are.
fn gossiped(entries: &[Entry]) -> Value {
    json!(hex(&codec::encode(&BTreeMap::from([("entries", entries)]))))
}

fn wide(maker: &mut Maker) {
    let first = entry(1, Hash([0; 32]), &ALICE, b"sealed");
    let second = entry(2, first.header.hash(), &ALICE, b"sealed too");
    let (group, made_by) = (first.header.feed.group, Hash([0x77; 32]));
    let topic = Topic::of(&group, &made_by).to_string();
    let given = json!({
        "topic": topic, "made_by": made_by, "source": first.header.feed.node.public_key(),
        "data": gossiped(&[first.clone(), second.clone()]),
    });
    maker.valid("entries", "Gossip of entries", "two messages of one feed", "entries", given);
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("entries/{name}"), what, "entries", part, cause);
    };
    let mut data = |name: &str, what: &str, entries: &[Entry], cause: &str| {
        fault(name, what, ("data", gossiped(entries)), cause);
    };
    data("none", "no entry", &[], "count");
    data("65-entries", "more than fit a delivery", &vec![first.clone(); 65], "count");
    data("gap", "the first and the third", &[first.clone(), entry(3, second.header.hash(), &ALICE, b"x")], "apart");
    data(
        "prev-differs",
        "the second does not name the first",
        &[first.clone(), entry(2, made_by, &ALICE, b"x")],
        "apart",
    );
    let mut other = second.clone();
    other.header.feed.group = GroupId([0x12; 32]);
    data("two-feeds", "the second is of another group", &[first.clone(), other], "apart");
    let mut commit = first.clone();
    commit.header.kind = EntryKind::Commit;
    data("commit", "a commit is delivered", &[commit], "kind");
    let altered = Entry { payload: Bytes(b"sealeD".to_vec()), ..first.clone() };
    data("payload-hash-differs", "another payload than the header's", &[altered], "payload_hash");
    let large = entry(1, Hash([0; 32]), &ALICE, &[0; limits::GOSSIP_ENTRIES_BYTES_MAX]);
    data("over-28-kib", "data that is too long", &[large], "too_long");
    let fault_of = |part: &'static str, value: Value| (part, value);
    let stranger = fault_of("source", json!(roost_protocol::SecretKey::from_seed(&[0x0e; 32]).public_key()));
    fault("foreign-feed", "published by another node than the feed's writer", stranger, "foreign");
    fault("other-topic", "a topic of the directory", fault_of("topic", json!("/roost/directory/orgs/1")), "topic");
    let upper = fault_of("topic", json!(topic.replace("/roost/entries/1/", "/ROOST/entries/1/")));
    fault("topic-second-spelling", "another spelling of the topic", upper, "topic");
}

fn contents(maker: &mut Maker) {
    let content = |body: Body| Content { salt: Bytes(vec![0x44; 16]), body, seen: vec![], log: ALICE.log().head() };
    let at_ms = 1_795_000_000_123;
    let given = |bytes: &[u8]| json!({ "content": hex(bytes), "message": MessageId::of(at_ms, bytes) });
    let text = content(Body::Text("hello".into())).encode();
    maker.valid("content-text", "Content", "alice says hello", "content", given(&text));
    let delivered = content(Body::Delivered(vec![MessageId::of(at_ms, &text)])).encode();
    maker.valid("content-delivered", "Content", "bob's device has it", "content", given(&delivered));
    let unknown = content(Body::Unknown { kind: "dance".into(), value: Bytes(codec::encode(&"waltz")) }).encode();
    maker.valid("content-unknown-kind", "Content", "a kind of a later version is kept", "content", given(&unknown));
    let mut seen = content(Body::Text("hello".into()));
    let first = entry(1, Hash([0; 32]), &BOB, b"sealed").header;
    seen.seen = vec![FeedHead { feed: first.feed, seq: 1, hash: first.hash() }];
    maker.valid("content-seen", "Content", "alice had seen bob's first entry", "content", given(&seen.encode()));

    let picture = |bytes: Vec<u8>| {
        content(Body::AboutPicture(AboutPicture { picture: Some(Bytes(bytes)), changed_at: at_ms })).encode()
    };
    let png = |length: usize| [&b"\x89PNG\r\n\x1a\n"[..], &vec![0; length - 8]].concat();
    let honest = picture(png(40));
    maker.valid("content-picture", "Content", "a picture of a conversation", "content", given(&honest));
    let timer =
        |seconds: u64| content(Body::Timer(Timer { expires_after_s: Some(seconds), changed_at: at_ms })).encode();
    maker.valid("content-timer", "Content", "what is said goes after a year", "content", given(&timer(31_536_000)));
    for (name, what, honest, bytes, cause) in [
        ("picture-over-16-kib", "a byte too many", "content-picture", picture(png(16_385)), "too_long"),
        ("picture-that-is-none", "a GIF", "content-picture", picture(b"GIF89a".to_vec()), "malformed"),
        ("timer-of-no-time", "a timer of 0 seconds", "content-timer", timer(0), "malformed"),
        ("timer-over-a-year", "a second more than a year", "content-timer", timer(31_536_001), "malformed"),
    ] {
        maker.fault(&format!("content/{name}"), what, honest, ("content", hex(&bytes)), cause);
    }

    let mut fault = |name: &str, what: &str, bytes: Vec<u8>, cause: &str| {
        maker.fault(&format!("content/{name}"), what, "content-text", ("content", hex(&bytes)), cause);
    };
    fault("second-spelling", "fields in another order", edited(&text, |fields| fields.reverse()), "not_canonical");
    fault(
        "unknown-field",
        "a fifth field",
        edited(&text, |fields| fields.push((Cbor::from("more"), Cbor::from(1)))),
        "not_canonical",
    );
    fault("trailing-bytes", "a byte behind the content", with_byte(&text, 0), "trailing");
    fault(
        "text-over-16-kib",
        "a text that is too long",
        content(Body::Text("a".repeat(limits::TEXT_BYTES_MAX + 1))).encode(),
        "too_long",
    );
    let numbers = content(Body::Unknown { kind: "text".into(), value: Bytes(codec::encode(&7)) }).encode();
    fault("text-that-is-none", "a text whose value is a number", numbers, "malformed");
    fault("changed", "other words under the same id", content(Body::Text("hallo".into())).encode(), "message_id");
    let other = json!(MessageId::of(at_ms, b"another content"));
    maker.fault(
        "content/message-id-differs",
        "the id of another content",
        "content-text",
        ("message", other),
        "message_id",
    );
}

fn sign_in(maker: &mut Maker) {
    let sign = |node: &NodeId, challenge: &[u8]| {
        json!(sign_in_signature(&ALICE.device_key(), node, challenge, &ALICE.account(), &ALICE.device()))
    };
    let given = json!({
        "node": ACME.node().public_key(),
        "challenge": hex(&CHALLENGE),
        "account": ALICE.account(),
        "device": ALICE.device(),
        "device_key": ALICE.device_key().public_key(),
        "signature": sign(&ACME.node(), &CHALLENGE),
    });
    maker.valid("sign-in", "Between device and home", "alice answers the challenge", "sign-in", given);
    let mut fault = |name: &str, what: &str, part: (&str, Value)| {
        maker.fault(&format!("sign-in/{name}"), what, "sign-in", part, "bad_sign_in");
    };
    fault("other-challenge", "an answer to another connection's challenge", ("challenge", hex(&[0x56; 32])));
    fault("relayed", "an answer that was meant for another node", ("signature", sign(&EVIL.node(), &CHALLENGE)));
    fault("other-account", "for another account", ("account", json!(BOB.account())));
    fault("other-device", "for another device", ("device", json!(BOB.device())));
    fault("other-key", "by another key", ("device_key", json!(BOB.device_key().public_key())));
    let bytes = roost_protocol::socket::sign_in_bytes(&ACME.node(), &CHALLENGE, &ALICE.account(), &ALICE.device());
    let signature = ALICE.device_key().sign(labels::SIGN_LOG_ENTRY, &bytes);
    fault("wrong-label", "signed as an entry of a log", ("signature", json!(signature)));
}
