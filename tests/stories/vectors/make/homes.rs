//! What a home answers its devices and other nodes.

use super::Maker;
use super::wire::{entry, handle_record};
use crate::vectors::cast::{
    ACME, ALICE, BIRCH, BOB, CAROL, CHALLENGE, EVIL, GROUP, LIFE, NOW_S, OPERATION, Org, Person, cbor, hex,
};
use roost_protocol::feed::Entry;
use roost_protocol::ids::{ConversationId, GroupId, Hash, MessageId};
use roost_protocol::invite::{InviteProof, invite_key};
use roost_protocol::limits;
use roost_protocol::peer::{Deliver, NodeRequest};
use roost_protocol::records::HandleRecord;
use roost_protocol::socket::{ClientFrame, sign_in_signature};
use roost_protocol::{AccountId, Bytes, IdentityLog, NodeId, Signed};
use serde_json::{Value, json};

const DEVICE: &str = "Between device and home";
const NODE: &str = "Between nodes";

pub fn make(maker: &mut Maker) {
    sign_up(maker);
    restore(maker);
    sign_in(maker);
    submit(maker);
    key_packages(maker);
    deliver(maker);
    questions(maker);
    creations(maker);
}

pub(super) fn home(org: &Org, open: bool) -> Value {
    json!({
        "org_seed": hex(&[org.root; 32]),
        "node_seed": hex(&[org.node; 32]),
        "name": org.name,
        "open": open,
        "incarnation": LIFE,
    })
}

pub(super) fn given(home: Value, before: &[Value], asked: Value) -> Value {
    json!({ "home": home, "now_ms": NOW_S * 1000, "before": before, "asked": asked })
}

pub(super) fn connect(connection: u64) -> Value {
    json!({ "connect": { "connection": connection, "challenge": hex(&CHALLENGE) } })
}

pub(super) fn frame(connection: u64, frame: &ClientFrame) -> Value {
    json!({ "frame": { "connection": connection, "frame": cbor(frame) } })
}

fn request(peer: NodeId, request: &NodeRequest) -> Value {
    json!({ "request": { "peer": peer.public_key(), "request": cbor(request) } })
}

fn conversation() -> Value {
    json!({ "conversation": { "of": ["alice", "bob"], "group": GROUP, "operation": OPERATION } })
}

fn signing_up(connection: u64, handle: &str, invite: Option<InviteProof>, log: &IdentityLog) -> Value {
    let sign_up = ClientFrame::SignUp { id: 1, handle: handle.into(), invite, log: log.clone() };
    frame(connection, &sign_up)
}

pub(super) fn signed_up(connection: u64, person: &Person) -> Value {
    signing_up(connection, person.name, None, person.log().log())
}

pub(super) fn signing_in(connection: u64, person: &Person) -> Value {
    let (account, device) = (person.account(), person.device());
    let signature = sign_in_signature(&person.device_key(), &person.home.node(), &CHALLENGE, &account, &device);
    frame(connection, &ClientFrame::SignIn { id: 2, account, device, signature })
}

/// Carol and alice live here; one of them is signed in on connection 1.
pub(super) fn at_home(who: &Person) -> Vec<Value> {
    vec![connect(1), signed_up(1, &CAROL), signed_up(1, &ALICE), signing_in(1, who)]
}

pub(super) fn at_home_in_conversation(who: &Person) -> Vec<Value> {
    [at_home(who), vec![conversation()]].concat()
}

fn sign_up(maker: &mut Maker) {
    let alice = ALICE.log();
    let honest = given(home(&ACME, true), &[connect(1)], signed_up(1, &ALICE));
    maker.valid("home-sign-up", DEVICE, "alice signs up where registration is open", "home", honest);
    let mut fault = |name: &str, what: &str, part: (&str, Value), refusal: (&str, bool)| {
        maker.refusal(&format!("sign-up/{name}"), what, "home-sign-up", part, refusal);
    };
    let mut forged = alice.log().clone();
    forged.0[1].signature.0[0] ^= 1;
    fault(
        "log-forged",
        "a log that does not verify",
        ("asked", signing_up(1, "alice", None, &forged)),
        ("bad_log", false),
    );
    let elsewhere = signing_up(1, "bob", None, BOB.log().log());
    fault("other-home", "a log that names another home", ("asked", elsewhere), ("not_home", false));
    let upper = signing_up(1, "Alice", None, alice.log());
    fault("handle-upper-case", "a handle outside the alphabet", ("asked", upper), ("malformed", false));
    let taken = [connect(1), signing_up(1, "alice", None, CAROL.log().log())];
    fault("handle-taken", "carol is called alice already", ("before", json!(taken)), ("handle_taken", false));
    fault("without-invite", "registration is by invite", ("home", home(&ACME, false)), ("bad_invite", false));

    let invite = |uses: u32, expires_ms: u64| json!({ "invite": { "key": invite_key("letter"), "uses": uses, "expires_ms": expires_ms } });
    let proof = |token: &str, node: &NodeId, challenge: &[u8], account: &AccountId| {
        signing_up(1, "alice", Some(InviteProof::new(token, node, challenge, account)), alice.log())
    };
    let (here, account) = (ACME.node(), alice.account());
    let later = NOW_S * 1000 + 1;
    let asked = proof("letter", &here, &CHALLENGE, &account);
    let honest = given(home(&ACME, false), &[connect(1), invite(1, later)], asked);
    maker.valid("home-sign-up-by-invite", DEVICE, "alice has an invite", "home", honest);
    let mut fault = |name: &str, what: &str, part: (&str, Value)| {
        maker.refusal(&format!("sign-up/{name}"), what, "home-sign-up-by-invite", part, ("bad_invite", false));
    };
    fault("invite-unknown", "another token", ("asked", proof("lettre", &here, &CHALLENGE, &account)));
    fault("invite-used-up", "no use is left", ("before", json!([connect(1), invite(0, later)])));
    fault("invite-expired", "the invite is past its end", ("before", json!([connect(1), invite(1, NOW_S * 1000 - 1)])));
    let at = |name: &str| format!("the proof was made for another {name}");
    fault("invite-relayed", &at("node"), ("asked", proof("letter", &EVIL.node(), &CHALLENGE, &account)));
    fault("invite-replayed", &at("connection"), ("asked", proof("letter", &here, &[0x56; 32], &account)));
    fault("invite-of-another", &at("account"), ("asked", proof("letter", &here, &CHALLENGE, &CAROL.account())));
}

fn restore(maker: &mut Maker) {
    let restoring = |handle_record: Signed, log: &IdentityLog| {
        frame(1, &ClientFrame::Restore { id: 1, handle_record, log: log.clone() })
    };
    let alice = ALICE.log();
    let record = handle_record();
    let honest = given(home(&ACME, false), &[connect(1)], restoring(record.sign(&ACME.root_key()), alice.log()));
    maker.valid("home-restore", DEVICE, "an emptied home takes alice back without an invite", "home", honest);
    let old = HandleRecord { seq: 1, expires: 2, ..record.clone() };
    let honest = given(home(&ACME, false), &[connect(1)], restoring(old.sign(&ACME.root_key()), alice.log()));
    maker.valid("home-restore-expired", DEVICE, "the record may be past its end", "home", honest);
    let mut fault = |name: &str, what: &str, part: (&str, Value), refusal: (&str, bool)| {
        maker.refusal(&format!("restore/{name}"), what, "home-restore", part, refusal);
    };
    let evil = HandleRecord { root: EVIL.root_key().public_key(), ..record.clone() }.sign(&EVIL.root_key());
    fault(
        "record-of-another-organisation",
        "another organisation's word",
        ("asked", restoring(evil, alice.log())),
        ("bad_invite", false),
    );
    let forged = record.sign(&EVIL.root_key());
    fault(
        "record-forged",
        "names this organisation, which did not sign",
        ("asked", restoring(forged, alice.log())),
        ("bad_invite", false),
    );
    let carols = HandleRecord { account: CAROL.account(), ..record.clone() }.sign(&ACME.root_key());
    fault(
        "record-of-another-account",
        "carol's record with alice's log",
        ("asked", restoring(carols, alice.log())),
        ("bad_invite", false),
    );
    let mut log = alice.log().clone();
    log.0[1].signature.0[0] ^= 1;
    fault(
        "log-forged",
        "a log that does not verify",
        ("asked", restoring(record.sign(&ACME.root_key()), &log)),
        ("bad_log", false),
    );
    let moved = restoring(record.sign(&ACME.root_key()), BOB.log().log());
    fault("other-home", "a log that names another home", ("asked", moved), ("not_home", false));
    let carol =
        restoring(HandleRecord { account: CAROL.account(), ..record }.sign(&ACME.root_key()), CAROL.log().log());
    fault(
        "handle-taken",
        "carol came first with this name",
        ("before", json!([connect(1), carol])),
        ("handle_taken", false),
    );
}

fn sign_in(maker: &mut Maker) {
    let before = [connect(1), signed_up(1, &CAROL), signed_up(1, &ALICE)];
    let honest = given(home(&ACME, true), &before, signing_in(1, &ALICE));
    maker.valid("home-sign-in", DEVICE, "alice signs in at her home", "home", honest);
    let mut fault = |name: &str, what: &str, part: (&str, Value), refusal: (&str, bool)| {
        maker.refusal(&format!("sign-in/{name}"), what, "home-sign-in", part, refusal);
    };
    let mut replayed = before.clone();
    replayed[0] = json!({ "connect": { "connection": 1, "challenge": hex(&[0x56; 32]) } });
    fault("replayed", "the answer of an earlier connection", ("before", json!(replayed)), ("bad_sign_in", false));
    fault("unknown-account", "an account that has no home here", ("before", json!(before[..2])), ("not_home", false));
    let signature = sign_in_signature(&BOB.device_key(), &ACME.node(), &CHALLENGE, &ALICE.account(), &BOB.device());
    let foreign = frame(1, &ClientFrame::SignIn { id: 2, account: ALICE.account(), device: BOB.device(), signature });
    fault("device-not-in-the-log", "bob's device for alice's account", ("asked", foreign), ("bad_sign_in", false));
    let second = [before.to_vec(), vec![signing_in(1, &CAROL)]].concat();
    fault(
        "second-device-on-one-connection",
        "carol is signed in on it",
        ("before", json!(second)),
        ("bad_sign_in", false),
    );
}

fn submitting(group: GroupId, epoch: u64, payload: Vec<u8>) -> Value {
    let message = MessageId::of(1_795_000_000_123, b"hello");
    frame(
        1,
        &ClientFrame::Submit {
            id: 3,
            group,
            epoch,
            message,
            attempt: 0,
            payload: Bytes(payload),
            silent: false,
            blobs: Vec::new(),
        },
    )
}

fn submit(maker: &mut Maker) {
    let asked = || submitting(GROUP, 1, b"sealed".to_vec());
    let before = at_home_in_conversation(&ALICE);
    maker.valid(
        "home-submit",
        DEVICE,
        "alice submits behind the first contact",
        "home",
        given(home(&ACME, true), &before, asked()),
    );
    let again = [before.clone(), vec![asked()]].concat();
    let what = "the same bytes again are answered as before";
    maker.valid("home-submit-again", DEVICE, what, "home", given(home(&ACME, true), &again, asked()));
    let mut fault = |name: &str, what: &str, part: (&str, Value), refusal: (&str, bool)| {
        maker.refusal(&format!("submit/{name}"), what, "home-submit", part, refusal);
    };
    let not_yet = [&before[..3], &[conversation()]].concat();
    fault("not-signed-in", "before sign-in", ("before", json!(not_yet)), ("not_signed_in", false));
    fault(
        "unknown-conversation",
        "a group that the home does not know",
        ("before", json!(at_home(&ALICE))),
        ("unknown_conversation", true),
    );
    fault(
        "not-member",
        "carol takes no part",
        ("before", json!(at_home_in_conversation(&CAROL))),
        ("not_member", false),
    );
    fault(
        "epoch-behind",
        "sealed before the first commit",
        ("asked", submitting(GROUP, 0, b"sealed".to_vec())),
        ("wrong_epoch", false),
    );
    fault(
        "epoch-ahead",
        "sealed in an epoch that is not known",
        ("asked", submitting(GROUP, 2, b"sealed".to_vec())),
        ("wrong_epoch", false),
    );
    let large = submitting(GROUP, 1, vec![0; limits::PAYLOAD_BYTES_MAX + 1]);
    fault("over-24-kib", "a payload that is too long", ("asked", large), ("too_large", false));
}

fn key_packages(maker: &mut Maker) {
    let honest = json!({
        "home": home(&ACME, true), "now_ms": NOW_S * 1000, "before": at_home(&ALICE), "fault": "none",
    });
    maker.valid("key-package", DEVICE, "a key package of alice's device", "key-package", honest);
    let mut fault = |name: &str, what: &str, fault: &str, code: &str| {
        maker.refusal(&format!("key-package/{name}"), what, "key-package", ("fault", json!(fault)), (code, false));
    };
    fault("of-another-device", "bob's, uploaded by alice", "of_another_device", "malformed");
    fault("cut", "the last byte is missing", "cut", "malformed");
    fault("trailing-bytes", "a byte behind it", "trailing", "malformed");
    fault("changed", "one bit in the middle", "changed", "malformed");
    fault("over-100", "more than the pool holds", "over_100", "too_large");
}

fn delivering(entries: Vec<Entry>, accounts: Vec<AccountId>) -> Deliver {
    let conversation = ConversationId::direct(&ALICE.account(), &BOB.account());
    Deliver { conversation, entries, accounts, begins: false, log: None, blobs: Vec::new() }
}

fn by_birch(deliver: Deliver) -> Value {
    request(BIRCH.node(), &NodeRequest::Deliver(deliver))
}

fn deliver(maker: &mut Maker) {
    let zero = Hash([0; 32]);
    let first = || entry(1, zero, &BOB, b"sealed");
    let second = || entry(2, first().header.hash(), &BOB, b"sealed too");
    let alice = || vec![ALICE.account()];
    let before = at_home_in_conversation(&ALICE);
    let asked = || by_birch(delivering(vec![first()], alice()));
    maker.valid(
        "home-deliver",
        NODE,
        "birch brings bob's first entry for alice",
        "home",
        given(home(&ACME, true), &before, asked()),
    );
    let held = [before.clone(), vec![asked()]].concat();
    let what = "what is held already gets the same custody";
    maker.valid("home-deliver-again", NODE, what, "home", given(home(&ACME, true), &held, asked()));
    let both = by_birch(delivering(vec![first(), second()], alice()));
    maker.valid("home-deliver-two", NODE, "two entries in a request", "home", given(home(&ACME, true), &before, both));

    let mut fault = |name: &str, what: &str, deliver: Deliver, refusal: (&str, bool)| {
        maker.refusal(name, what, "home-deliver", ("asked", by_birch(deliver)), refusal);
    };
    let one = |change: &dyn Fn(&mut Entry)| {
        let mut entry = first();
        change(&mut entry);
        delivering(vec![entry], alice())
    };
    let malformed = ("malformed", false);
    fault("deliver/no-entries", "nothing", delivering(vec![], alice()), malformed);
    fault("deliver/no-accounts", "for nobody", delivering(vec![first()], vec![]), malformed);
    fault(
        "deliver/65-entries",
        "more than a request holds",
        delivering(vec![first(); 65], alice()),
        ("too_large", false),
    );
    fault(
        "deliver/65-accounts",
        "for more than a request names",
        delivering(vec![first()], vec![ALICE.account(); 65]),
        ("too_large", false),
    );
    fault(
        "deliver/another-nodes-feed",
        "a feed that the sender does not write",
        one(&|entry| entry.header.feed.node = EVIL.node()),
        malformed,
    );
    let mut other = second();
    other.header.feed.group = GroupId([0x14; 32]);
    fault("deliver/two-feeds", "entries of two feeds", delivering(vec![first(), other], alice()), malformed);
    fault(
        "deliver/account-without-home-here",
        "for bob, who lives elsewhere",
        delivering(vec![first()], vec![BOB.account()]),
        ("not_home", false),
    );
    fault(
        "deliver/account-not-member",
        "for carol, who takes no part",
        delivering(vec![first()], vec![CAROL.account()]),
        ("not_member", false),
    );
    fault(
        "deliver/author-not-member",
        "written by carol, who takes no part",
        one(&|entry| entry.header.account = CAROL.account()),
        ("not_member", false),
    );
    fault(
        "deliver/author-lives-elsewhere",
        "written by alice, whose home is not the sender",
        one(&|entry| entry.header.account = ALICE.account()),
        ("not_home", true),
    );
    fault(
        "deliver/unknown-conversation",
        "a group that nobody introduced",
        one(&|entry| entry.header.feed.group = GroupId([0x14; 32])),
        ("unknown_conversation", true),
    );
    let mut elsewhere = delivering(vec![first()], alice());
    elsewhere.conversation = ConversationId([7; 32]);
    fault(
        "deliver/other-conversation",
        "a known group under another conversation's name",
        elsewhere,
        ("not_member", false),
    );
    fault(
        "deliver/epoch-ahead",
        "an epoch that is not known yet",
        one(&|entry| entry.header.epoch = 2),
        ("wrong_epoch", true),
    );
    let with_log = |log: IdentityLog| Deliver { log: Some(log), ..delivering(vec![first()], alice()) };
    let mut forged = BOB.log().log().clone();
    forged.0[1].signature.0[0] ^= 1;
    fault("deliver/log-forged", "a log that does not verify rides along", with_log(forged), ("bad_log", false));
    fault(
        "deliver/log-branched",
        "a branch of bob's log rides along",
        with_log(BOB.log_as("robert").log().clone()),
        ("bad_log", false),
    );
    fault(
        "feed/held-payload-hash-differs",
        "another payload than the header's",
        one(&|entry| entry.payload = Bytes(b"sealeD".to_vec())),
        malformed,
    );
    fault(
        "feed/first-with-prev",
        "the first entry follows something",
        delivering(vec![entry(1, Hash([7; 32]), &BOB, b"sealed")], alice()),
        ("out_of_order", false),
    );
    fault("feed/seq-gap", "position 2 behind nothing", delivering(vec![second()], alice()), ("out_of_order", true));
    let broken = entry(2, Hash([7; 32]), &BOB, b"sealed too");
    fault(
        "feed/prev-differs",
        "the second does not follow from the first",
        delivering(vec![first(), broken], alice()),
        ("out_of_order", false),
    );
    fault(
        "feed/descending",
        "the second before the first",
        delivering(vec![second(), first()], alice()),
        ("out_of_order", true),
    );
}

fn questions(maker: &mut Maker) {
    let before = at_home_in_conversation(&ALICE);
    let mut of = entry(1, Hash([0; 32]), &ALICE, b"").header.feed;
    let fetch = |peer: NodeId, feed| request(peer, &NodeRequest::Fetch { feed, from: 1, limit: 10 });
    let honest = given(home(&ACME, true), &before, fetch(BIRCH.node(), of));
    maker.valid("home-fetch", NODE, "bob's home asks for the hub's feed", "home", honest);
    maker.refusal(
        "fetch/no-home-of-a-member",
        "asked by a node that serves no member",
        "home-fetch",
        ("asked", fetch(EVIL.node(), of)),
        ("not_member", false),
    );
    of.group = GroupId([0x14; 32]);
    maker.refusal(
        "fetch/unknown-conversation",
        "a group that nobody introduced",
        "home-fetch",
        ("asked", fetch(BIRCH.node(), of)),
        ("unknown_conversation", true),
    );

    let log = |account| request(BIRCH.node(), &NodeRequest::Log { account });
    maker.valid(
        "home-log",
        NODE,
        "the log of alice, who lives here",
        "home",
        given(home(&ACME, true), &before, log(ALICE.account())),
    );
    maker.refusal(
        "log/of-nobody-here",
        "bob lives elsewhere",
        "home-log",
        ("asked", log(BOB.account())),
        ("not_home", false),
    );

    let packages = |account| request(BIRCH.node(), &NodeRequest::KeyPackages { account, requester: BOB.account() });
    let stocked = [at_home(&ALICE), vec![json!({ "key_packages": { "of": "alice", "count": 1 } })]].concat();
    maker.valid(
        "home-key-packages",
        NODE,
        "one package of alice's device",
        "home",
        given(home(&ACME, true), &stocked, packages(ALICE.account())),
    );
    let emptied = [stocked.clone(), vec![packages(ALICE.account())]].concat();
    maker.refusal(
        "key-packages/handed-out",
        "the last one is never handed out twice",
        "home-key-packages",
        ("before", json!(emptied)),
        ("no_key_package", true),
    );
    maker.refusal(
        "key-packages/none",
        "alice's device put none",
        "home-key-packages",
        ("before", json!(at_home(&ALICE))),
        ("no_key_package", true),
    );
    maker.refusal(
        "key-packages/of-nobody-here",
        "bob lives elsewhere",
        "home-key-packages",
        ("asked", packages(BOB.account())),
        ("not_home", false),
    );
}

fn creations(maker: &mut Maker) {
    let section = "Conversations";
    let given = |home: Value, before: Vec<Value>, way: &str| json!({ "home": home, "now_ms": NOW_S * 1000, "before": before, "way": way, "fault": "none" });
    let never = |code: &'static str| (code, false);
    let acme = || home(&ACME, true);
    let of = |fault: &str| ("fault", json!(fault));
    maker.valid("creation", section, "birch asks the hub to create", "creation", given(acme(), vec![], "create"));
    let mut fault = |name: &str, what: &str, fault: &str, code: &'static str| {
        maker.refusal(&format!("creation/{name}"), what, "creation", of(fault), never(code));
    };
    fault("one-participant", "alice alone", "one_participant", "malformed");
    fault("participants-unsorted", "bob before alice", "participants_unsorted", "malformed");
    fault("participant-twice", "alice and alice", "participant_twice", "malformed");
    fault("generation", "generation 1", "generation", "malformed");
    fault("term", "term 1", "term", "malformed");
    fault("policy", "the policy of a later version", "policy", "malformed");
    fault("other-conversation", "another id than the derived one", "conversation", "malformed");
    fault("hub-is-not-the-first-home", "bob's home as hub, though alice's id is smaller", "hub", "not_hub");
    fault("group-id-differs", "another group id than the GroupInfo's", "group", "malformed");
    fault("state-differs", "another state than the group's context", "roles", "malformed");
    fault("group-info-cut", "its last byte is missing", "group_info_cut", "malformed");
    fault("group-info-trailing-bytes", "a byte behind it", "group_info_trailing", "malformed");
    fault("group-info-of-another-group", "does not fit the tree", "group_info_of_another_group", "malformed");
    fault("tree-of-another-group", "does not fit the GroupInfo", "tree_of_another_group", "malformed");
    fault("tree-trailing-bytes", "a byte behind it", "tree_trailing", "malformed");
    fault("log-missing", "no log admits bob's leaf", "log_missing", "malformed");
    fault("log-of-another-person", "carol's log in the place of bob's", "log_of_another_person", "malformed");
    fault("log-forged", "a log that does not verify", "log_forged", "bad_log");
    fault("leaf-of-no-participant", "carol's device in the place of bob's", "leaf_of_no_participant", "malformed");
    fault("over-92-kib", "no room for the hub's head in an entry", "too_large", "too_large");
    let elsewhere = home(&BIRCH, true);
    maker.refusal(
        "creation/at-another-node",
        "asked of a node that is not the hub",
        "creation",
        ("home", elsewhere),
        never("not_hub"),
    );

    let known = at_home_in_conversation(&ALICE);
    maker.valid("creation-again", section, "what stands is answered again", "creation", given(acme(), known, "create"));
    maker.refusal(
        "creation/log-branched",
        "a branch of the log that is known",
        "creation-again",
        of("log_branched"),
        never("bad_log"),
    );
    maker.refusal(
        "creation/operation-of-another-conversation",
        "an operation id that made another conversation",
        "creation-again",
        of("operation_of_another_conversation"),
        never("malformed"),
    );

    maker.valid(
        "creation-by-device",
        section,
        "alice creates at her home",
        "creation",
        given(acme(), at_home(&ALICE), "frame"),
    );
    maker.refusal(
        "creation/not-member",
        "alice creates a conversation of others",
        "creation-by-device",
        of("not_mine"),
        never("not_member"),
    );

    maker.valid(
        "introduction",
        section,
        "alice shows a conversation to her emptied home",
        "creation",
        given(acme(), at_home(&ALICE), "introduce"),
    );
    maker.refusal(
        "introduction/head-forged",
        "signed by a node that is not the hub",
        "introduction",
        of("head_forged"),
        never("malformed"),
    );
    maker.refusal(
        "introduction/head-of-another-creation",
        "a head about something else",
        "introduction",
        of("head_of_another_creation"),
        never("malformed"),
    );
    maker.refusal(
        "introduction/not-member",
        "shown by carol, who takes no part",
        "introduction",
        ("before", json!(at_home(&CAROL))),
        never("not_member"),
    );

    maker.valid(
        "introduction-by-node",
        section,
        "bob's home shows a conversation to alice's emptied one",
        "creation",
        given(acme(), at_home(&ALICE), "introduce_by_node"),
    );
    maker.refusal(
        "introduction/from-another-node",
        "shown by a node that is no home of a participant",
        "introduction-by-node",
        of("from_another_node"),
        never("not_member"),
    );

    let birch = vec![connect(1), signed_up(1, &BOB)];
    maker.valid(
        "first-contact",
        section,
        "the hub brings bob's home the first contact",
        "creation",
        given(home(&BIRCH, true), birch, "deliver"),
    );
    let mut fault = |name: &str, what: &str, fault: &str, code: &'static str| {
        maker.refusal(&format!("first-contact/{name}"), what, "first-contact", of(fault), never(code));
    };
    fault("head-forged", "signed by a node that is not the hub", "head_forged", "malformed");
    fault("head-of-another-creation", "a head about something else", "head_of_another_creation", "malformed");
    fault("from-another-node", "in the feed of a node that is not the hub", "from_another_node", "not_hub");
    fault("in-another-groups-feed", "in the feed of another group", "feed_of_another_group", "not_hub");
    let other = "delivered_as_another_conversation";
    fault("in-another-conversations-delivery", "delivered under another conversation's id", other, "malformed");
    fault("trailing-bytes", "a byte behind it", "first_contact_trailing", "malformed");
    fault("log-forged", "a log that does not verify", "log_forged", "bad_log");
    fault("leaf-of-no-participant", "carol's device in the place of bob's", "leaf_of_no_participant", "malformed");
}
