//! What a home may tell its own people about others, and what their devices make of it: the real client behind a home that lies.

use super::PATIENCE;
use super::liar::{Liar, with_next};
use crate::roost::{Node, Person, roost};
use roost_client::Session;
use roost_client::core::message::State;
use roost_client::core::{Cause, ConversationReport, GroupChange, Warning};
use roost_crypto::group::{Credential, GroupEngine as _, OpenMlsEngine};
use roost_crypto::identity_log::{LogEntry, LogHash, Operation, Signer, VerifiedLog};
use roost_crypto::labels;
use roost_protocol::conversation::{ConversationHead, Participant, Role};
use roost_protocol::feed::{EntryKind, NextEpoch};
use roost_protocol::ids::{ConversationId, OperationId};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{AccountId, Bytes, DeviceId, IdentityLog, SecretKey, Signed};
use std::collections::BTreeMap;
use std::time::Duration;

type Packages = Vec<(DeviceId, Bytes)>;
/// What a home makes of the answer to who has which devices, and how they are added.
type Lie = fn(IdentityLog, Packages) -> (IdentityLog, Packages);

fn eve() -> SecretKey {
    SecretKey::from_seed(&[66; 32])
}

/// A key package of eve's device, in the name of `account`.
fn package_of_eve(account: AccountId, device: DeviceId) -> Bytes {
    let mut engine = OpenMlsEngine::new(eve(), Credential { account, device, log_seq: 0 });
    engine.key_packages(&BTreeMap::new(), 1, false).unwrap().0.remove(0)
}

/// A log with a device of eve's, which eve has signed herself.
fn with_device_of_eve(log: &IdentityLog) -> IdentityLog {
    let verified = VerifiedLog::verify(log).unwrap();
    let device = *verified.device_keys().keys().next().unwrap();
    let op = Operation::AddDevice { device: eve().public_key() };
    let entry = LogEntry {
        seq: verified.head().seq + 1,
        prev: LogHash::of(log.0.last().unwrap()),
        signer: Signer::Device(device),
        op,
    };
    let mut forged = log.clone();
    forged.0.push(Signed::new(labels::SIGN_LOG_ENTRY, &entry, &eve()));
    forged
}

/// Somebody whose home is the liar.
fn person_behind(liar: &Liar, node: &Node, name: &str) -> Person {
    let dir = node.dir.with_file_name(format!("{name}-behind"));
    let arguments = ["account", "create", "--server", &liar.url, "--handle", name, "--invite", &node.invite, "--dir"];
    let dir_text = dir.display().to_string();
    let made = roost(&[&arguments[..], &[dir_text.as_str(), "--accept-strangers"][..]].concat()).ok();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    Person { dir, handle: text("handle"), recovery_code: text("recovery_code") }
}

async fn opened(person: &Person) -> Session {
    let session = Session::open(&person.dir, None).await.unwrap();
    session.connected(PATIENCE).await.expect("connected");
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_swaps_key_packages_or_invents_a_device_gets_no_word_for_it() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let liar = Liar::before(&acme.url()).await;
    let (alice, bob) = (person_behind(&liar, &acme, "alice"), acme.person("bob"));
    opened(&bob).await.close().await.unwrap();
    let alices = opened(&alice).await;
    let lies: [(&str, Lie); 4] = [
        ("8 eve's key package as bob's device", |log, packages| {
            let account = VerifiedLog::verify(&log).unwrap().account();
            let device = packages[0].0;
            (log, vec![(device, package_of_eve(account, DeviceId::of(&eve().public_key())))])
        }),
        ("8 eve's key under the id of bob's device", |log, packages| {
            let account = VerifiedLog::verify(&log).unwrap().account();
            let device = packages[0].0;
            (log, vec![(device, package_of_eve(account, device))])
        }),
        ("7 a device of eve's beside bob's", |log, mut packages| {
            let account = VerifiedLog::verify(&log).unwrap().account();
            let device = DeviceId::of(&eve().public_key());
            packages.push((device, package_of_eve(account, device)));
            (log, packages)
        }),
        ("7 a log that admits it, signed by eve", |log, mut packages| {
            let account = VerifiedLog::verify(&log).unwrap().account();
            let device = DeviceId::of(&eve().public_key());
            packages.push((device, package_of_eve(account, device)));
            (with_device_of_eve(&log), packages)
        }),
    ];
    let mut sent = None;
    for (what, lie) in lies {
        let asked = liar.heard(|frame| matches!(frame, ClientFrame::FetchKeyPackages { .. }));
        liar.makes(move |frame| match frame {
            ServerFrame::KeyPackages { id, log, packages } => {
                let (log, packages) = lie(log, packages);
                vec![ServerFrame::KeyPackages { id, log, packages }]
            }
            frame => vec![frame],
        });
        let id = match sent {
            Some(id) => id,
            None => alices.send(&bob.handle, "for bob alone").await.unwrap(),
        };
        sent = Some(id);
        let start = tokio::time::Instant::now();
        while liar.heard(|frame| matches!(frame, ClientFrame::FetchKeyPackages { .. })) == asked {
            assert!(start.elapsed() < PATIENCE, "{what}: alice's device asks again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let report = alices.report(id).await.unwrap();
        assert_eq!(report.state, State::Queued, "{what}: the message waits");
        assert!(report.error.is_some(), "{what}: and alice is told why");
        let sealed = liar.heard(|frame| matches!(frame, ClientFrame::Create { .. } | ClientFrame::Submit { .. }));
        assert_eq!(sealed, 0, "{what}: nothing was made or sealed for eve");
    }
    liar.is_honest();
    alices.wait(sent.unwrap(), State::Custody, PATIENCE).await.expect("an honest answer lets it go");
    assert_eq!(bob.receive(1, "20s"), ["for bob alone"], "to bob, who reads it");
    alices.close().await.unwrap();
}

struct Trio {
    _root: tempfile::TempDir,
    acme: Node,
    liar: Liar,
    alice: Session,
    bob: Session,
    carol: Session,
    bobs_account: AccountId,
    conversation: ConversationId,
}

impl Trio {
    /// Alice's conversation with bob, whose home lies to him alone, and carol.
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let acme = Node::start(root.path(), "acme", &[]);
        let liar = Liar::before(&acme.url()).await;
        let (alice, bob) = (acme.person("alice"), person_behind(&liar, &acme, "bob"));
        let carol = acme.person("carol");
        let (alices, bobs, carols) = (opened(&alice).await, opened(&bob).await, opened(&carol).await);
        let (intent, conversation) = alices.create_group(&[&bob.handle, &carol.handle]).await.unwrap();
        alices.intent(intent, PATIENCE).await.expect("the conversation stands");
        let bobs_account = bobs.account().await.unwrap();
        let trio =
            Self { _root: root, acme, liar, alice: alices, bob: bobs, carol: carols, bobs_account, conversation };
        trio.talk("hello").await;
        trio
    }

    /// Alice says something that bob and carol read.
    async fn talk(&self, text: &str) {
        self.alice.send_to(self.conversation, text).await.unwrap();
        for (name, reader) in [("bob", &self.bob), ("carol", &self.carol)] {
            let read = async {
                loop {
                    let message = reader.recv().await.unwrap();
                    reader.mark_shown(message.id).await.unwrap();
                    if message.text == text {
                        return;
                    }
                }
            };
            tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{name} reads {text:?}"));
        }
    }

    async fn bobs_report(&self) -> ConversationReport {
        self.bob.conversations().await.unwrap().into_iter().find(|one| one.conversation == self.conversation).unwrap()
    }

    /// Waits until bob is warned of something.
    async fn bob_is_warned(&self, what: &str, within: Duration) -> Vec<Warning> {
        let start = tokio::time::Instant::now();
        loop {
            let warnings = self.bob.warnings(Some(self.conversation.into())).await.unwrap();
            if !warnings.is_empty() {
                return warnings;
            }
            assert!(start.elapsed() < within, "{what}: bob is told");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn hub_key(&self) -> SecretKey {
        let text = std::fs::read_to_string(self.acme.dir.join("keys/node.key")).unwrap();
        let digits = text.trim().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let seed: Vec<u8> = digits.chunks(2).map(byte).collect();
        SecretKey::from_seed(&seed.try_into().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_replays_adds_a_member_and_equivocates_moves_no_device_and_is_shown() {
    let trio = Trio::new().await;
    let carol = trio.carol.account().await.unwrap();
    let intent = trio.alice.change_group(trio.conversation, GroupChange::Role(carol, Role::Admin)).await.unwrap();
    trio.alice.intent(intent, PATIENCE).await.expect("carol is an admin");
    trio.talk("carol is an admin now").await;
    let before = trio.bobs_report().await;
    assert_eq!((before.epoch, before.participants.len()), (2, 3), "three, in the second epoch");
    let entry = trio.liar.entries().into_iter().find(|entry| entry.header.kind == EntryKind::Commit).unwrap();
    let honest = entry.next_epoch().unwrap();
    let head = ConversationHead::verify(&honest.head).unwrap();
    let signed = |head: &ConversationHead, commit: &roost_protocol::conversation::Commit| {
        let next = NextEpoch { head: head.sign(&trio.hub_key()), commit: commit.clone(), from: None };
        ServerFrame::Entry { inbox: None, entry: with_next(&entry, &next, head.epoch) }
    };

    // 5: an old commit, as it is.
    trio.liar.says(ServerFrame::Entry { inbox: None, entry: entry.clone() });
    trio.talk("after the replay").await;
    assert_eq!(trio.bobs_report().await, before, "5 a commit that is replayed changes nothing");

    // 4: another commit of the same epoch.
    let mut other = honest.commit.clone();
    other.operation = OperationId([77; 16]);
    trio.liar.says(signed(&ConversationHead { made_by: other.hash(), ..head.clone() }, &other));
    let start = tokio::time::Instant::now();
    let accused = |frame: &ClientFrame| match frame {
        ClientFrame::Accuse { proof, .. } => proof.verify().is_ok_and(|proof| proof.hub == head.state.hub),
        _ => false,
    };
    while trio.liar.heard(accused) == 0 {
        assert!(start.elapsed() < PATIENCE, "4 bob's device proves that the hub has told two stories");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(trio.bobs_report().await.epoch, 2, "4 and stays with what it was told first");

    // 5 and 14: the old commit as a new one, with a member whom nobody added.
    let mut again = honest.commit.clone();
    again.epoch += 1;
    let mut crowded = ConversationHead { epoch: head.epoch + 1, made_by: again.hash(), ..head.clone() };
    crowded.state.participants.push(Participant { account: AccountId([0xee; 32]), role: Role::Admin });
    crowded.state.participants.sort_by_key(|one| one.account);
    trio.liar.says(signed(&crowded, &again));
    let warnings = trio.bob_is_warned("a member whom no commit adds", PATIENCE).await;
    assert!(
        matches!(warnings[0].cause, Cause::RuleBroken { epoch: 2, .. }),
        "14 which rule, and where he stays: {warnings:?}"
    );
    let report = trio.bobs_report().await;
    assert_eq!((report.epoch, report.participants.len()), (2, 3), "14 nobody was added for bob");
    trio.talk("and still the three of us").await;
    let lines = trio.bob.history(Some(trio.conversation.into()), None, 100).await.unwrap();
    assert!(!lines.items.is_empty(), "the history is as it was");
    let Trio { alice, bob, carol, .. } = trio;
    for session in [alice, bob, carol] {
        session.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_withholds_one_members_messages_is_asked_for_them() {
    let trio = Trio::new().await;
    let carol = trio.carol.account().await.unwrap();
    let withheld = move |entry: &roost_protocol::feed::Entry| {
        entry.header.kind == EntryKind::Message && entry.header.account == carol
    };
    trio.liar.makes(move |frame| match frame {
        ServerFrame::Entry { entry, .. } if withheld(&entry) => vec![],
        frame => vec![frame],
    });
    trio.carol.send_to(trio.conversation, "not for bob").await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, trio.alice.recv()).await.expect("alice reads carol").unwrap();
    assert_eq!(heard.text, "not for bob", "carol's words reach alice");
    trio.alice.mark_shown(heard.id).await.unwrap();
    trio.talk("what do you say, bob?").await;
    let start = tokio::time::Instant::now();
    let asked = || trio.liar.heard(|frame| matches!(frame, ClientFrame::Resume { .. }));
    while asked() < 2 {
        assert!(start.elapsed() < Duration::from_secs(30), "2 bob's device asks for what is missing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(trio.bobs_account, trio.bob.account().await.unwrap(), "and he goes on as himself");
    let Trio { alice, bob, carol, .. } = trio;
    for session in [alice, bob, carol] {
        session.close().await.unwrap();
    }
}
