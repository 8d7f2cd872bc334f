//! What a home answers about the devices of an account, their archive and what they whisper.

use super::Maker;
use super::homes::{at_home, at_home_in_conversation, connect, frame, given, home, signed_up, signing_in};
use crate::vectors::cast::{ACME, ALICE, BIRCH, CAROL, GROUP};
use roost_crypto::identity_log::{Operation, Signer, VerifiedLog};
use roost_protocol::ids::{GroupId, LinkSession, OperationId};
use roost_protocol::socket::ClientFrame;
use roost_protocol::{Bytes, SecretKey, limits};
use serde_json::{Value, json};

const SECTION: &str = "Devices of an account";

pub fn make(maker: &mut Maker) {
    logs(maker);
    links(maker);
    archives(maker);
    whispers(maker);
}

fn spare() -> SecretKey {
    SecretKey::from_seed(&[0x31; 32])
}

/// Alice's log with a second device.
fn with_spare(log: &VerifiedLog) -> VerifiedLog {
    let op = Operation::AddDevice { device: spare().public_key() };
    log.append(op, Signer::Device(ALICE.device()), &ALICE.device_key()).unwrap()
}

fn logs(maker: &mut Maker) {
    let append = |log: &VerifiedLog| frame(1, &ClientFrame::AppendLog { id: 9, log: log.log().clone() });
    let longer = with_spare(&ALICE.log());
    let honest = given(home(&ACME, true), &at_home(&ALICE), append(&longer));
    maker.valid("home-append-log", SECTION, "alice admits a second device", "home", honest);
    let mut fault = |name: &str, what: &str, part: (&str, Value), code: &'static str| {
        maker.refusal(&format!("append-log/{name}"), what, "home-append-log", part, (code, false));
    };
    let mut forged = longer.log().clone();
    forged.0[2].signature.0[0] ^= 1;
    let forged = frame(1, &ClientFrame::AppendLog { id: 9, log: forged });
    fault("forged", "an entry that no device has signed", ("asked", forged), "bad_log");
    fault(
        "branched",
        "a log that branches from the one that stands",
        ("asked", append(&ALICE.log_as("alicia"))),
        "bad_log",
    );
    fault("behind", "a log that is behind the one that stands", ("asked", append(&ALICE.founded())), "bad_log");
    fault("of-another-account", "carol's log", ("asked", append(&CAROL.log())), "bad_log");
    let homes = Operation::SetHomes { homes: vec![BIRCH.node()] };
    let moved = ALICE.log().append(homes, Signer::Device(ALICE.device()), &ALICE.device_key()).unwrap();
    fault("other-home", "a log that names another home", ("asked", append(&moved)), "not_home");
    let ended = longer.append(Operation::RevokeDevice { device: ALICE.device() }, Signer::Root, &ALICE.root()).unwrap();
    let gone =
        [vec![connect(1), signed_up(1, &ALICE), signing_in(1, &ALICE), append(&ended)], vec![connect(2)]].concat();
    let before = vec![connect(1), signed_up(1, &ALICE), signing_in(1, &ALICE), append(&longer), connect(2)];
    let honest = given(home(&ACME, true), &before, signing_in(2, &ALICE));
    maker.valid("home-sign-in-again", SECTION, "alice's device comes back", "home", honest);
    maker.refusal(
        "sign-in/revoked",
        "the log has ended the device",
        "home-sign-in-again",
        ("before", json!(gone)),
        ("revoked", false),
    );
}

fn links(maker: &mut Maker) {
    let asking = |connection: u64, session: u8, bytes: usize| {
        let (account, sealed) = (ALICE.account(), Bytes(vec![0x5e; bytes]));
        frame(connection, &ClientFrame::LinkRequest { id: 9, account, session: LinkSession([session; 16]), sealed })
    };
    let before = [at_home(&ALICE), vec![connect(2)]].concat();
    let honest = given(home(&ACME, true), &before, asking(2, 1, 200));
    maker.valid("home-link-request", SECTION, "a new device asks alice's to link it", "home", honest);
    let mut fault = |name: &str, what: &str, part: (&str, Value), refusal: (&'static str, bool)| {
        maker.refusal(&format!("link/{name}"), what, "home-link-request", part, refusal);
    };
    let large = asking(2, 1, limits::LINK_REQUEST_BYTES_MAX + 1);
    fault("over-2-kib", "more than a request may have", ("asked", large), ("too_large", false));
    fault("signed-in", "asked on a connection that has a device", ("asked", asking(1, 1, 200)), ("malformed", false));
    let away = vec![connect(1), signed_up(1, &ALICE), connect(2)];
    fault("nobody-there", "no device of the account is connected", ("before", json!(away)), ("unreachable", true));
    let twice = [before.clone(), vec![asking(2, 2, 200)]].concat();
    fault("twice-on-a-connection", "a second request of one connection", ("before", json!(twice)), ("busy", true));
    let taken = [before.clone(), vec![connect(3), asking(3, 1, 200)]].concat();
    fault("session-in-use", "the session of another connection", ("before", json!(taken)), ("malformed", false));
    let five = (3..7).flat_map(|number: u64| vec![connect(number), asking(number, u8::try_from(number).unwrap(), 200)]);
    let crowd = [before.clone(), five.collect()].concat();
    fault("fifth-of-an-account", "four wait for the account", ("before", json!(crowd)), ("busy", true));
    let unknown = vec![connect(1), signed_up(1, &CAROL), signing_in(1, &CAROL), connect(2)];
    fault("of-nobody-here", "the account does not live here", ("before", json!(unknown)), ("not_home", false));

    let answering = |session: u8, bytes: usize| {
        let sealed = Bytes(vec![0x5e; bytes]);
        frame(1, &ClientFrame::LinkAnswer { id: 9, session: LinkSession([session; 16]), sealed })
    };
    let asked = [before, vec![asking(2, 1, 200)]].concat();
    let honest = given(home(&ACME, true), &asked, answering(1, 300));
    maker.valid("home-link-answer", SECTION, "alice's device answers", "home", honest);
    let mut fault = |name: &str, what: &str, part: (&str, Value), refusal: (&'static str, bool)| {
        maker.refusal(&format!("link/{name}"), what, "home-link-answer", part, refusal);
    };
    let large = answering(1, limits::LINK_ANSWER_BYTES_MAX + 1);
    fault("answer-over-64-kib", "more than an answer may have", ("asked", large), ("too_large", false));
    fault("answer-to-nobody", "a session that nobody waits for", ("asked", answering(2, 300)), ("not_found", false));
    let again = [asked.clone(), vec![answering(1, 300)]].concat();
    fault("answered-twice", "a second answer", ("before", json!(again)), ("not_found", false));
}

fn archives(maker: &mut Maker) {
    let put = |bytes: usize| {
        frame(1, &ClientFrame::ArchivePut { id: 9, name: OperationId([3; 16]), chunk: Bytes(vec![0x5e; bytes]) })
    };
    let honest = given(home(&ACME, true), &at_home(&ALICE), put(1000));
    maker.valid("home-archive-put", "Archive", "a chunk of alice's archive", "home", honest);
    let mut fault = |name: &str, what: &str, bytes: usize| {
        maker.refusal(
            &format!("archive/{name}"),
            what,
            "home-archive-put",
            ("asked", put(bytes)),
            ("too_large", false),
        );
    };
    fault("empty-chunk", "a chunk of nothing", 0);
    fault("over-48-kib", "a chunk too long", limits::ARCHIVE_CHUNK_BYTES_MAX + 1);
}

fn whispers(maker: &mut Maker) {
    let whisper = |group: GroupId, bytes: usize| {
        frame(1, &ClientFrame::Whisper { group, epoch: 1, payload: Bytes(vec![0x5e; bytes]) })
    };
    let before = at_home_in_conversation(&ALICE);
    let honest = given(home(&ACME, true), &before, whisper(GROUP, limits::WHISPER_BYTES_MAX));
    maker.valid("home-whisper", "Whispers", "alice whispers, and nothing is answered", "home", honest);
    let mut fault = |name: &str, what: &str, part: (&str, Value), refusal: (&'static str, bool)| {
        maker.refusal(&format!("whisper/{name}"), what, "home-whisper", part, refusal);
    };
    let long = whisper(GROUP, limits::WHISPER_BYTES_MAX + 1);
    fault("over-256-bytes", "more than a whisper has", ("asked", long), ("too_large", false));
    let elsewhere = whisper(GroupId([0x14; 32]), limits::WHISPER_BYTES_MAX);
    fault(
        "unknown-conversation",
        "a group that nobody introduced",
        ("asked", elsewhere),
        ("unknown_conversation", true),
    );
    let carols = at_home_in_conversation(&CAROL);
    fault("not-member", "by carol, who takes no part", ("before", json!(carols)), ("not_member", false));
}
