//! What a node must never hold or let out: a known text, key, recovery code and invite are searched in every node's store, log,
//! metrics and in every byte that its sockets carried. Each search is shown to find what *is* there.

mod capture;

use crate::push::service::PushService;
use crate::push::subscriber::Subscriber;
use crate::roost::{Node, Person};
use aho_corasick::AhoCorasick;
use capture::Capture;
use roost_client::core::AccountRow;
use roost_crypto::recovery::RecoveryCode;
use roost_node::store::{Read as _, SledStore};
use roost_protocol::feed::Entry;
use roost_protocol::{codec, limits};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Texts each way: enough that some are pushed at once and some wait.
const TEXTS: usize = 20;

/// What is searched, and what it is called when it is found.
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

impl Needle {
    /// A secret in the spellings in which it could slip out.
    fn spellings(what: &str, secret: &[u8]) -> Vec<Self> {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let json = serde_json::to_value(roost_protocol::Bytes(secret.to_vec())).unwrap();
        // Within a longer text in base64 the first and last letters differ.
        let base64 = json.as_str().unwrap();
        let spellings =
            [("", secret.to_vec()), (" in hex", hex.into_bytes()), (" in base64", base64[4..base64.len() - 4].into())];
        spellings.into_iter().map(|(how, bytes)| Self { what: format!("{what}{how}"), bytes }).collect()
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

#[test]
fn no_text_key_code_or_invite_is_in_any_nodes_store_log_metrics_or_frames() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing: `make setup` installs it");
        eprintln!("SKIPPED: strace is not installed; nothing was captured");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.fix_ports();
    let mut birch = Node::start(root.path(), "birch", &[&acme]);
    birch.fix_ports();
    for node in [&mut acme, &mut birch] {
        node.terminate();
        let trace = node.dir.with_extension("trace").display().to_string();
        // Every byte that the process reads from or writes to a socket; the most talkative log.
        let calls = "trace=read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg";
        node.serve_under(&[
            "env",
            "ROOST_LOG=trace",
            "strace",
            "-f",
            "-xx",
            "-s",
            "1048576",
            "-e",
            calls,
            "-o",
            &trace,
        ]);
    }
    let people = [acme.person("alice"), birch.person("bob")];
    let (service, keys) = (PushService::start(), Subscriber::new(7));
    for (number, person) in people.iter().enumerate() {
        let [p256dh, auth] = keys.keys();
        person.chat(&["push", "subscribe", &service.endpoint(&format!("/{number}")), &p256dh, &auth]).ok();
    }

    let mut needles = Vec::new();
    for (number, (from, to)) in [(0, 1), (1, 0)].into_iter().enumerate() {
        let texts: Vec<String> =
            (0..TEXTS).map(|text| format!("canary {number} {text} {:016x}", rand(&people[from].dir, text))).collect();
        let sent = people[from]
            .chat_with_input(&["send", &people[to].handle, "--lines", "--wait", "custody"], &texts.join("\n"));
        assert_eq!(sent.lines.len(), TEXTS, "all are sent: {}", sent.errors);
        let shown = people[to].receive(TEXTS, "30s");
        assert_eq!(shown, texts, "and shown to the one they are for");
        needles.extend(texts.iter().flat_map(|text| Needle::spellings("a text", text.as_bytes())));
    }
    needles.extend(a_file(root.path(), &people));
    for person in &people {
        let code = RecoveryCode::parse(&person.recovery_code).unwrap();
        needles.extend(Needle::spellings("a recovery code", person.recovery_code.as_bytes()));
        needles.extend(Needle::spellings("a root key", &code.account_key().seed()[..]));
        needles.extend(Needle::spellings("an archive key", &code.archive_key()[..]));
        let rows = roost_client::store::Store::open(&person.dir, None).unwrap().load().unwrap();
        let account: AccountRow = codec::decode(&rows[&b"a"[..]], 1 << 20).unwrap();
        needles.extend(Needle::spellings("a device key", account.device_seed.as_slice()));
    }
    for node in [&acme, &birch] {
        let vapid = std::fs::read_to_string(node.dir.join("keys/vapid.key")).unwrap();
        let digits = |at: usize| u8::from_str_radix(&vapid.trim()[at..at + 2], 16).unwrap();
        let vapid: Vec<u8> = (0..64).step_by(2).map(digits).collect();
        needles.extend(Needle::spellings("a VAPID key", &vapid));
        needles.extend(Needle::spellings("an invite", node.invite.as_bytes()));
    }

    let search = AhoCorasick::new(needles.iter().map(|needle| &needle.bytes)).unwrap();

    // Both were away while the other wrote: each was woken, and what a push says, sealed or opened, holds none of it.
    let mut woken = std::collections::BTreeSet::new();
    while woken.len() < people.len() {
        let posted = service.next(Duration::from_secs(20)).expect("both were woken");
        let opened = keys.open(&posted.body).expect("a push opens for its subscription");
        for bytes in [posted.head.as_bytes(), &posted.body, &opened] {
            let found = search.find(bytes).map(|found| &needles[found.pattern()].what);
            assert_eq!(found, None, "in a push to {}", posted.path);
        }
        for known in people.iter().map(|person| person.handle.split('@').next().unwrap()) {
            assert!(!contains(&opened, known.as_bytes()), "a push names nobody");
        }
        woken.insert(posted.path);
    }

    for node in [&mut acme, &mut birch] {
        node.terminate();
        let log = std::fs::read(node.dir.with_extension("log")).unwrap();
        assert!(log.len() > 1_000, "the log says something, or its silence would show nothing");
        let capture = Capture::read(&node.dir.with_extension("trace"));
        assert!(capture.lost.is_empty(), "every byte that the sockets carried is searched: {:?}", capture.lost);
        let mut places = vec![("the log".to_owned(), log)];
        places.extend(files(&node.dir.join("store")));
        let blobs = files(&node.dir.join("blobs"));
        assert_eq!(blobs.len(), 2, "both nodes hold both files, sealed");
        let carried = |bytes: &[u8]| capture.streams.values().any(|stream| contains(stream, bytes));
        for (name, sealed) in &blobs {
            // Between nodes Noise hides it; to or from a device it goes as it lies here.
            assert!(carried(&sealed[1_000..1_032]), "the capture shows what a device put or read: {name}");
        }
        places.extend(blobs);
        places.extend(capture.streams.iter().map(|(name, bytes)| (name.clone(), bytes.clone())));

        let store = SledStore::open(&node.dir.join("store"), Duration::from_secs(5)).unwrap();
        let rows = store.scan(&[0], &[0xff], usize::MAX).unwrap();
        let entries: Vec<Entry> =
            rows.iter().filter_map(|(_, value)| codec::decode(value, limits::NODE_MESSAGE_BYTES_MAX).ok()).collect();
        assert!(entries.len() >= 2 * TEXTS, "the store holds the messages, sealed: {}", entries.len());
        places.extend(rows.into_iter().map(|(key, value)| ("a row".to_owned(), [key, value].concat())));

        let to_push_service = |(name, stream): (&String, &Vec<u8>)| {
            name.starts_with("bytes written to socket") && contains(stream, b"urgency: high")
        };
        assert!(capture.streams.iter().any(to_push_service), "the capture shows what went to the push service");

        // The search finds what is there: each sealed payload passed this node's sockets.
        let from_devices = |payload: &[u8]| capture.unmasked.iter().any(|frame| contains(frame, payload));
        let sent = |name: &str| name.starts_with("bytes written to socket");
        let to_devices =
            |payload: &[u8]| capture.streams.iter().any(|(name, stream)| sent(name) && contains(stream, payload));
        let payloads: Vec<&[u8]> =
            entries.iter().map(|entry| entry.payload.as_slice()).filter(|payload| payload.len() < 4096).collect();
        let submitted = payloads.iter().filter(|payload| from_devices(payload)).count();
        let pushed = payloads.iter().filter(|payload| to_devices(payload)).count();
        assert!(submitted >= TEXTS, "the capture shows what the device submitted: {submitted}");
        assert!(pushed >= TEXTS, "and what was pushed to it: {pushed}");
        // What a device here has sealed leaves for the other node only: by Noise, so that no one of its bytes stands there as it is.
        let own = payloads.iter().filter(|payload| from_devices(payload));
        let bare = own.filter(|payload| to_devices(payload)).count();
        assert_eq!(bare, 0, "what goes to the other node cannot be read on the way");
        places.extend(capture.unmasked.iter().map(|frame| ("a frame of a device".to_owned(), frame.clone())));

        for (place, bytes) in &places {
            // A node reads its own key from its file when it starts, and writes it nowhere.
            let is_read = |what: &str| place.starts_with("bytes read from file") && what.starts_with("a VAPID key");
            let mut found = search.find_iter(bytes).map(|found| needles[found.pattern()].what.as_str());
            assert_eq!(found.find(|what| !is_read(what)), None, "in {place} of {}", node.name);
        }
    }
}

/// A text and a picture from the first to the second: content, names and thumbnail are in no node's hands. The second saves both.
fn a_file(root: &Path, people: &[Person]) -> Vec<Needle> {
    let (alice, bob) = (&people[0], &people[1]);
    let word = format!("canary of a file {:016x}", rand(&alice.dir, 77));
    let name = format!("canary-{:016x}.txt", rand(&alice.dir, 78));
    let text = word.repeat(3_000);
    let image = format!("canary-{:016x}.png", rand(&alice.dir, 79));
    std::fs::write(root.join(&name), &text).unwrap();
    std::fs::write(root.join(&image), PICTURE).unwrap();
    let mut needles = Vec::new();
    for name in [&name, &image] {
        let path = root.join(name).display().to_string();
        alice.chat(&["send", &bob.handle, "--file", &path, "--wait", "custody"]).ok();
        needles.extend(Needle::spellings("a file's name", name.as_bytes()));
    }
    let shown = bob.chat(&["recv", "--count", "2", "--wait", "30s"]);
    assert_eq!(shown.lines.len(), 2, "both are told: {}", shown.errors);
    for line in &shown.lines {
        let saved = root.join(format!("saved-{}", line["file"]["name"].as_str().unwrap()));
        bob.chat(&["save", line["id"].as_str().unwrap(), "--to", &saved.display().to_string()]).ok();
        let saved = std::fs::read(saved).unwrap();
        if line["file"]["name"] == name.as_str() {
            assert_eq!(saved, text.as_bytes(), "the text came as it was");
        } else {
            needles.extend(Needle::spellings("a picture", &saved[8..72]));
        }
    }
    needles.extend(Needle::spellings("a file", word.as_bytes()));
    let thumbnails = thumbnails(&bob.dir);
    assert_eq!(thumbnails.len(), 1, "the picture came with a small one");
    needles.extend(thumbnails.iter().flat_map(|bytes| Needle::spellings("a thumbnail", &bytes[8..72])));
    needles
}

/// The thumbnails that a device holds.
fn thumbnails(dir: &Path) -> Vec<Vec<u8>> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let session = roost_client::Session::open(dir, None).await.unwrap();
        let page = session.history(None, None, 100).await.unwrap();
        session.close().await.unwrap();
        let files = page.items.into_iter().filter_map(|item| item.file);
        files.filter_map(|file| file.thumbnail).map(|thumbnail| thumbnail.0).collect()
    })
}

/// Eight by eight points of noise, as PNG.
const PICTURE: &[u8] = &[
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 8, 0, 0, 0, 8, 8, 2, 0, 0, 0, 75, 109, 41,
    220, 0, 0, 0, 211, 73, 68, 65, 84, 120, 156, 1, 200, 0, 55, 255, 0, 165, 77, 202, 24, 37, 48, 187, 29, 109, 19, 44,
    222, 214, 35, 123, 46, 217, 30, 63, 114, 31, 203, 25, 113, 0, 23, 68, 148, 214, 73, 60, 157, 92, 52, 96, 190, 49,
    32, 30, 105, 254, 218, 160, 238, 232, 185, 153, 127, 92, 0, 124, 41, 153, 253, 175, 229, 147, 37, 60, 214, 84, 175,
    77, 250, 215, 20, 39, 160, 174, 179, 254, 233, 35, 47, 0, 138, 242, 33, 31, 158, 228, 145, 197, 177, 11, 236, 181,
    86, 59, 252, 30, 111, 147, 66, 126, 203, 200, 254, 41, 0, 85, 229, 205, 142, 70, 220, 142, 212, 183, 194, 118, 77,
    42, 90, 77, 118, 119, 6, 248, 93, 134, 144, 2, 74, 0, 214, 189, 163, 64, 27, 233, 200, 203, 204, 201, 53, 246, 205,
    31, 97, 34, 106, 225, 83, 56, 174, 26, 52, 0, 0, 77, 51, 186, 13, 36, 106, 192, 76, 129, 177, 186, 242, 62, 59,
    249, 238, 245, 247, 159, 43, 73, 52, 175, 135, 0, 245, 82, 11, 105, 185, 75, 13, 152, 46, 133, 187, 85, 182, 114,
    168, 114, 99, 122, 205, 116, 102, 252, 182, 14, 159, 217, 95, 140, 49, 222, 96, 14, 0, 0, 0, 0, 73, 69, 78, 68,
    174, 66, 96, 130,
];

/// Numbers that nobody else writes by chance.
fn rand(dir: &Path, salt: usize) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one((dir, salt))
}
