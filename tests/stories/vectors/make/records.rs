//! Directory records, which of two stands, and the `Hello` between nodes.

use super::Maker;
use super::wire::{edited, handle_record};
use crate::vectors::cast::{ACME, ALICE, BIRCH, BOB, EVIL, LIFE, NOW_S, Org, cbor, hex, unhex};
use ciborium::Value as Cbor;
use roost_crypto::labels;
use roost_protocol::peer::NodeHello;
use roost_protocol::records::{HandleRecord, NameClaim, NameClaims, OrgRecord, RecordKey, SignedOrgRecord};
use roost_protocol::{Bytes, SecretKey, Signed, VERSION, codec, limits};
use serde_json::{Value, json};

const SKEW_S: u64 = limits::CLOCK_SKEW_MS_MAX / 1000;
const SECTION: &str = "Directory records";

pub fn make(maker: &mut Maker) {
    keys_and_accounts(maker);
    handles(maker);
    orgs(maker);
    names(maker);
    selection(maker);
    hello(maker);
}

fn key(key: &RecordKey) -> Value {
    hex(&key.to_bytes())
}

fn given(of: &RecordKey, value: &Value) -> Value {
    json!({ "key": key(of), "value": value, "now_s": NOW_S })
}

fn keys_and_accounts(maker: &mut Maker) {
    let alice = RecordKey::Account(ALICE.account());
    let value = hex(&ALICE.log().encoded());
    maker.valid("record-account", SECTION, "alice's log under her account id", "record", given(&alice, &value));
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("record/{name}"), what, "record-account", part, cause);
    };
    let bytes = alice.to_bytes();
    fault("key-of-31-bytes", "an id that is too short", ("key", hex(&bytes[..bytes.len() - 1])), "key");
    fault("key-of-33-bytes", "an id that is too long", ("key", hex(&[&bytes[..], &[0]].concat())), "key");
    fault("key-without-namespace", "an id alone", ("key", hex(ALICE.account().as_bytes())), "key");
    let other = [b"/roost-dance/", &ALICE.account().as_bytes()[..]].concat();
    fault("key-of-another-namespace", "a namespace that nobody knows", ("key", hex(&other)), "key");
    fault(
        "account-under-another-key",
        "alice's log under bob's id",
        ("key", key(&RecordKey::Account(BOB.account()))),
        "other_key",
    );
    fault(
        "over-4096-bytes",
        "a value that is too long",
        ("value", hex(&[0; limits::DHT_VALUE_BYTES_MAX + 1])),
        "too_long",
    );
    fault(
        "account-trailing-bytes",
        "a byte behind the log",
        ("value", hex(&[&ALICE.log().encoded()[..], &[0]].concat())),
        "trailing",
    );
    let mut forged = ALICE.log().log().clone();
    forged.0[1].signature.0[0] ^= 1;
    fault("account-forged", "an entry whose signature was changed", ("value", cbor(&forged)), "signature");
}

fn handles(maker: &mut Maker) {
    let record = handle_record();
    let of = RecordKey::Handle(record.handle.key(&ACME.id()));
    let root = ACME.root_key();
    let signed = record.sign(&root);
    maker.valid("record-handle", SECTION, "alice's handle", "record", given(&of, &cbor(&signed)));
    let mut late = given(&of, &cbor(&signed));
    late["now_s"] = json!(record.expires + SKEW_S);
    maker.valid("record-handle-within-skew", SECTION, "five minutes past its end it still counts", "record", late);
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("record/{name}"), what, "record-handle", part, cause);
    };
    let changed = |change: &dyn Fn(&mut HandleRecord)| {
        let mut record = handle_record();
        change(&mut record);
        cbor(&record.sign(&root))
    };
    fault(
        "handle-expired",
        "more than five minutes past its end",
        ("now_s", json!(record.expires + SKEW_S + 1)),
        "expired",
    );
    fault(
        "handle-lives-too-long",
        "over 30 days and five minutes ahead",
        ("value", changed(&|record| record.expires += SKEW_S + 1)),
        "lives_too_long",
    );
    fault("handle-seq-zero", "0 stands for nothing known", ("value", changed(&|record| record.seq = 0)), "seq_zero");
    let other = changed(&|record| record.handle = "bob@acme.example".parse().unwrap());
    fault("handle-under-another-key", "bob's record under alice's key", ("value", other), "other_key");
    fault(
        "handle-of-another-organisation",
        "another organisation signs for this name",
        ("value", cbor(&HandleRecord { root: EVIL.root_key().public_key(), ..record.clone() }.sign(&EVIL.root_key()))),
        "other_key",
    );
    fault(
        "handle-forged",
        "names a root key that did not sign",
        ("value", cbor(&record.sign(&EVIL.root_key()))),
        "signature",
    );
    let label = Signed::new(labels::SIGN_NAME_CLAIM, &record, &root);
    fault("handle-wrong-label", "signed as a claim to a name", ("value", cbor(&label)), "signature");
    let bytes = edited(signed.bytes.as_slice(), |fields| fields[1].1 = Cbor::from("Alice@acme.example"));
    let upper = Signed { signature: root.sign(labels::SIGN_HANDLE_RECORD, &bytes), bytes: Bytes(bytes) };
    fault("handle-upper-case", "a handle outside the alphabet", ("value", cbor(&upper)), "malformed");
    let turned = edited(&codec::encode(&signed), |fields| fields.reverse());
    fault("handle-second-spelling", "signature before bytes", ("value", hex(&turned)), "not_canonical");
}

fn orgs(maker: &mut Maker) {
    let of = RecordKey::Org(ACME.id());
    let record = ACME.record();
    let signed = ACME.signed(&record);
    maker.valid("record-org", SECTION, "acme.example and its node", "record", given(&of, &cbor(&signed)));
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("record/{name}"), what, "record-org", part, cause);
    };
    let changed = |change: &dyn Fn(&mut OrgRecord)| {
        let mut record = ACME.record();
        change(&mut record);
        cbor(&ACME.signed(&record))
    };
    fault(
        "org-expired",
        "more than five minutes past its end",
        ("now_s", json!(record.expires + SKEW_S + 1)),
        "expired",
    );
    fault(
        "org-lives-too-long",
        "over 30 days and five minutes ahead",
        ("value", changed(&|record| record.expires = NOW_S + limits::RECORD_LIFE_S_MAX + SKEW_S + 1)),
        "lives_too_long",
    );
    fault("org-seq-zero", "0 stands for nothing known", ("value", changed(&|record| record.seq = 0)), "seq_zero");
    fault("org-without-nodes", "nobody serves it", ("value", changed(&|record| record.nodes.clear())), "count");
    fault(
        "org-nine-nodes",
        "more than eight nodes",
        ("value", changed(&|record| record.nodes = vec![ACME.address(); 9])),
        "count",
    );
    fault(
        "org-nine-addresses",
        "more than eight addresses of a node",
        (
            "value",
            changed(&|record| {
                let address = record.nodes[0].addrs[0].clone();
                record.nodes[0].addrs = vec![address; 9];
            }),
        ),
        "count",
    );
    fault(
        "org-name-upper-case",
        "a name outside the alphabet",
        ("value", changed(&|record| record.name = "Acme.example".into())),
        "name",
    );
    let alone = SignedOrgRecord { countersignatures: vec![], ..signed.clone() };
    fault("org-countersignature-missing", "the node did not sign", ("value", cbor(&alone)), "count");
    let root = ACME.root_key();
    let by_other = SignedOrgRecord::sign(&record, &root, &[&BIRCH.node_key()]);
    fault("org-countersignature-forged", "another node signed for it", ("value", cbor(&by_other)), "signature");
    let forged = SignedOrgRecord::sign(&record, &EVIL.root_key(), &[&ACME.node_key()]);
    fault("org-forged", "names a root key that did not sign", ("value", cbor(&forged)), "signature");
    fault(
        "org-under-another-key",
        "acme's record under birch's id",
        ("key", key(&RecordKey::Org(BIRCH.id()))),
        "other_key",
    );
}

fn claim(org: &Org, seq: u64, expires: u64) -> Signed {
    claim_to("acme.example", &org.root_key(), seq, expires)
}

fn claim_to(name: &str, root: &SecretKey, seq: u64, expires: u64) -> Signed {
    NameClaim { root: root.public_key(), name: name.into(), seq, expires }.sign(root)
}

/// Claims in the order of their organisations' ids.
fn sorted(mut claims: Vec<Signed>) -> NameClaims {
    claims.sort_by_key(|claim| {
        let claim: NameClaim = claim.peek(limits::DHT_VALUE_BYTES_MAX).unwrap();
        roost_protocol::OrgId::of(&claim.root)
    });
    NameClaims(claims)
}

fn five() -> Vec<Signed> {
    (0x21..=0x25)
        .map(|seed| claim_to("acme.example", &SecretKey::from_seed(&[seed; 32]), NOW_S, NOW_S + 1000))
        .collect()
}

fn names(maker: &mut Maker) {
    let of = RecordKey::of_name("acme.example");
    let end = NOW_S + 1000;
    let (acme, evil) = (claim(&ACME, NOW_S, end), claim(&EVIL, NOW_S, end));
    let one = sorted(vec![acme.clone()]);
    maker.valid("record-name", SECTION, "one claim to acme.example", "record", given(&of, &cbor(&one)));
    let two = sorted(vec![acme.clone(), evil.clone()]);
    maker.valid(
        "record-name-conflict",
        SECTION,
        "two claims to one name stand side by side",
        "record",
        given(&of, &cbor(&two)),
    );
    let half = sorted(vec![acme.clone(), claim(&EVIL, NOW_S, NOW_S - SKEW_S - 1)]);
    maker.valid("record-name-one-expired", SECTION, "an expired claim is left out", "record", given(&of, &cbor(&half)));
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("record/{name}"), what, "record-name", part, cause);
    };
    fault("name-without-claims", "an empty array", ("value", cbor(&NameClaims(vec![]))), "count");
    fault("name-five-claims", "more than four claims", ("value", cbor(&sorted(five()))), "count");
    let twice = NameClaims(vec![acme.clone(), claim(&ACME, NOW_S + 1, end)]);
    fault("name-claimed-twice", "two claims of one organisation", ("value", cbor(&twice)), "count");
    let mut forged = evil.clone();
    forged.signature.0[0] ^= 1;
    fault(
        "name-one-forged",
        "one forged claim refuses the whole value",
        ("value", cbor(&sorted(vec![acme, forged]))),
        "signature",
    );
    fault("name-expired", "all claims are expired", ("now_s", json!(end + SKEW_S + 1)), "expired");
    fault(
        "name-lives-too-long",
        "over 30 days and five minutes ahead",
        ("value", cbor(&sorted(vec![claim(&ACME, NOW_S, NOW_S + limits::RECORD_LIFE_S_MAX + SKEW_S + 1)]))),
        "lives_too_long",
    );
    fault(
        "name-seq-zero",
        "0 stands for nothing known",
        ("value", cbor(&sorted(vec![claim(&ACME, 0, end)]))),
        "seq_zero",
    );
    fault(
        "name-upper-case",
        "a name outside the alphabet",
        ("value", cbor(&sorted(vec![claim_to("Acme.example", &ACME.root_key(), NOW_S, end)]))),
        "name",
    );
    fault(
        "name-under-another-key",
        "a claim to birch.example",
        ("value", cbor(&sorted(vec![claim_to("birch.example", &ACME.root_key(), NOW_S, end)]))),
        "other_key",
    );
}

fn selection(maker: &mut Maker) {
    let pair = |of: &RecordKey, held: Value, offered: Value| json!({ "key": key(of), "held": held, "offered": offered, "now_s": NOW_S });
    let account = RecordKey::Account(ALICE.account());
    let (short, long) = (hex(&ALICE.founded().encoded()), hex(&ALICE.log().encoded()));
    maker.valid(
        "select-log-extended",
        SECTION,
        "the longer log stands",
        "select",
        pair(&account, short.clone(), long.clone()),
    );
    maker.valid(
        "select-equal",
        SECTION,
        "the same bytes refresh",
        "select",
        pair(&account, long.clone(), long.clone()),
    );
    maker.fault("select/log-behind", "a prefix of the held log", "select-equal", ("offered", short), "older");
    let branch = hex(&ALICE.log_as("alina").encoded());
    let reset = ALICE.log().reset(&ALICE.root(), vec![ALICE.device_key().public_key()], vec![ACME.node()]).unwrap();
    let reset = hex(&reset.encoded());
    maker.valid("select-log-reset", SECTION, "a reset stands", "select", pair(&account, long.clone(), reset.clone()));
    let same = pair(&account, reset.clone(), reset);
    maker.valid("select-log-reset-equal", SECTION, "the same reset refreshes", "select", same);
    maker.fault(
        "select/log-before-its-reset",
        "what was reset",
        "select-log-reset-equal",
        ("offered", long.clone()),
        "older",
    );
    maker.fault("select/log-branched", "a branch of the held log", "select-equal", ("offered", branch), "branched");

    let handle = RecordKey::Handle(handle_record().handle.key(&ACME.id()));
    let at = |seq: u64, less: u64| {
        let record = handle_record();
        cbor(&HandleRecord { seq, expires: record.expires - less, ..record }.sign(&ACME.root_key()))
    };
    maker.valid("select-handle-newer", SECTION, "the higher seq stands", "select", pair(&handle, at(5, 0), at(6, 100)));
    maker.fault(
        "select/handle-older",
        "a lower seq, though it ends later",
        "select-handle-newer",
        ("offered", at(4, 0)),
        "older",
    );
    maker.valid(
        "select-handle-later-end",
        SECTION,
        "of one seq, the later end stands",
        "select",
        pair(&handle, at(5, 100), at(5, 0)),
    );
    maker.fault(
        "select/handle-earlier-end",
        "of one seq, the earlier end",
        "select-handle-later-end",
        ("offered", at(5, 200)),
        "older",
    );
    let bob = HandleRecord { account: BOB.account(), ..handle_record() }.sign(&ACME.root_key());
    let (low, high) = {
        let (one, other) = (cbor(&bob), cbor(&handle_record().sign(&ACME.root_key())));
        if unhex(&one) < unhex(&other) { (one, other) } else { (other, one) }
    };
    let what = "of one seq and end, the smaller bytes stand";
    maker.valid("select-smaller-bytes", SECTION, what, "select", pair(&handle, high.clone(), low.clone()));
    maker.valid(
        "select-smaller-bytes-again",
        SECTION,
        "and the same bytes refresh",
        "select",
        pair(&handle, low.clone(), low),
    );
    maker.fault(
        "select/larger-bytes",
        "of one seq and end, the larger bytes",
        "select-smaller-bytes-again",
        ("offered", high),
        "older",
    );

    let org = RecordKey::Org(ACME.id());
    let at = |seq: u64| cbor(&ACME.signed(&OrgRecord { seq, ..ACME.record() }));
    maker.valid("select-org-newer", SECTION, "the higher seq stands", "select", pair(&org, at(5), at(6)));
    maker.fault("select/org-older", "a lower seq", "select-org-newer", ("offered", at(4)), "older");

    let name = RecordKey::of_name("acme.example");
    let end = NOW_S + 1000;
    let claims = |claims: Vec<Signed>| cbor(&sorted(claims));
    let acme = || claim(&ACME, 5, end);
    maker.valid(
        "select-names-merged",
        SECTION,
        "both claims stand",
        "select",
        pair(&name, claims(vec![acme()]), claims(vec![claim(&EVIL, 5, end)])),
    );
    let four = || five()[..4].to_vec();
    let mut newer = four();
    newer[0] = claim_to("acme.example", &SecretKey::from_seed(&[0x21; 32]), NOW_S + 1, end);
    maker.valid(
        "select-name-newer-claim",
        SECTION,
        "an organisation's newer claim replaces its own",
        "select",
        pair(&name, claims(four()), claims(newer)),
    );
    maker.fault(
        "select/fifth-claim",
        "an unexpired claim is not evicted for another's",
        "select-name-newer-claim",
        ("offered", claims(five()[4..].to_vec())),
        "older",
    );
}

fn hello(maker: &mut Maker) {
    let hello = |versions: Vec<u32>, org: SignedOrgRecord| {
        cbor(&NodeHello { versions, features: vec!["direct".into()], org, incarnation: LIFE })
    };
    let honest = || ACME.signed(&ACME.record());
    let given = json!({ "peer": ACME.node().public_key(), "now_s": NOW_S, "hello": hello(vec![VERSION], honest()) });
    maker.valid("hello", "Between nodes", "acme's node greets", "hello", given);
    let given = json!({ "peer": ACME.node().public_key(), "now_s": NOW_S, "hello": hello(vec![1, 2], honest()) });
    maker.valid("hello-newer-peer", "Between nodes", "a peer that also speaks version 2", "hello", given);
    let mut fault = |name: &str, what: &str, part: (&str, Value), refusal: (&str, bool)| {
        maker.refusal(&format!("hello/{name}"), what, "hello", part, refusal);
    };
    fault("no-common-version", "a peer of another major", ("hello", hello(vec![2], honest())), ("version", false));
    fault("no-version", "a peer that names none", ("hello", hello(vec![], honest())), ("version", false));
    fault(
        "not-listed",
        "an organisation record without the peer",
        ("peer", json!(BIRCH.node().public_key())),
        ("malformed", true),
    );
    fault("expired", "an organisation record past its end", ("now_s", json!(NOW_S + 2_000_000)), ("malformed", true));
    let forged = SignedOrgRecord::sign(&ACME.record(), &ACME.root_key(), &[&EVIL.node_key()]);
    fault(
        "countersignature-forged",
        "the node did not sign the record",
        ("hello", hello(vec![VERSION], forged)),
        ("malformed", true),
    );
}
