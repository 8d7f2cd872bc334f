//! What is sealed beyond a plain text: the kinds with their bounds, whispers, chunks of an archive.

use super::Maker;
use crate::vectors::cast::{ALICE, BOB, CAROL, GROUP, hex};
use roost_crypto::labels;
use roost_crypto::sealing::StoreKey;
use roost_protocol::content::{
    About, Body, Content, Delete, Dimensions, Edit, File, Presence, PresenceState, Profile, Reaction, Read, RichText,
    Typing, Watch, Whisper, WhisperBody,
};
use roost_protocol::conversation::Leave;
use roost_protocol::ids::{BlobId, ConversationId, MessageId};
use roost_protocol::{AccountId, Bytes, codec, limits};
use serde::Serialize;
use serde_json::{Value, json};

const AT_MS: u64 = 1_795_000_000_123;

pub fn make(maker: &mut Maker) {
    texts(maker);
    changes(maker);
    marks(maker);
    names(maker);
    files(maker);
    leaves(maker);
    whispers(maker);
    archives(maker);
}

fn encoded(body: Body) -> Vec<u8> {
    Content { salt: Bytes(vec![0x44; 16]), body, seen: vec![], log: ALICE.log().head() }.encode()
}

/// A value under a kind's name that need not keep its bounds.
fn loose<T: Serialize>(kind: &str, value: &T) -> Vec<u8> {
    encoded(Body::Unknown { kind: kind.into(), value: Bytes(codec::encode(value)) })
}

fn given(bytes: &[u8]) -> Value {
    json!({ "content": hex(bytes), "message": MessageId::of(AT_MS, bytes) })
}

fn hello() -> MessageId {
    MessageId::of(AT_MS, &encoded(Body::Text("hello".into())))
}

/// Says that the valid content of a kind is refused with these values.
fn faults<T: Serialize>(maker: &mut Maker, honest: &str, kind: &str, cases: &[(&str, &str, T, &str)]) {
    for (name, what, value, cause) in cases {
        let content = ("content", hex(&loose(kind, value)));
        maker.fault(&format!("content/{name}"), what, honest, content, cause);
    }
}

fn texts(maker: &mut Maker) {
    let mut mentions = [ALICE.account(), BOB.account()];
    mentions.sort();
    let honest = RichText {
        text: "hello alice".into(),
        reply: Some(hello()),
        mentions: mentions.to_vec(),
        expires_after_s: Some(3600),
    };
    let bytes = encoded(Body::RichText(honest.clone()));
    maker.valid("content-rich-text", "Content", "an answer that mentions two and disappears", "content", given(&bytes));
    let with = |change: &dyn Fn(&mut RichText)| {
        let mut changed = honest.clone();
        change(&mut changed);
        changed
    };
    let plain = |text: &mut RichText| (text.reply, text.mentions, text.expires_after_s) = (None, vec![], None);
    let crowd = |count: u32| -> Vec<AccountId> {
        (0..count)
            .map(|number| {
                let mut id = [0; 32];
                id[..4].copy_from_slice(&number.to_be_bytes());
                AccountId(id)
            })
            .collect()
    };
    let over = u32::try_from(limits::MENTIONS_MAX).unwrap() + 1;
    faults(
        maker,
        "content-rich-text",
        "rich_text",
        &[
            (
                "rich-text-over-16-kib",
                "its text is too long",
                with(&|text| text.text = "a".repeat(limits::TEXT_BYTES_MAX + 1)),
                "too_long",
            ),
            ("rich-text-that-is-plain", "neither reply, mention nor timer", with(&plain), "malformed"),
            ("mentions-over-100", "a mention too many", with(&|text| text.mentions = crowd(over)), "malformed"),
            ("mentions-unsorted", "mentions out of order", with(&|text| text.mentions.reverse()), "malformed"),
            ("mention-twice", "one account twice", with(&|text| text.mentions[1] = text.mentions[0]), "malformed"),
            ("text-timer-zero", "gone at once", with(&|text| text.expires_after_s = Some(0)), "malformed"),
            (
                "text-timer-over-a-year",
                "a second too long",
                with(&|text| text.expires_after_s = Some(limits::EXPIRES_AFTER_S_MAX + 1)),
                "malformed",
            ),
        ],
    );
}

fn files(maker: &mut Maker) {
    let honest = File {
        name: "plans.pdf".into(),
        media_type: "application/pdf".into(),
        size: 200_000,
        blob: BlobId([0x77; 32]),
        key: Bytes(vec![0x03; 32]),
        thumbnail: Some(Bytes([&b"\x89PNG\r\n\x1a\n"[..], &[0; 8]].concat())),
        dimensions: Some(Dimensions { width: 640, height: 480 }),
        duration_ms: None,
        caption: "the plans".into(),
        reply: None,
        mentions: vec![],
        expires_after_s: None,
    };
    let bytes = encoded(Body::File(Box::new(honest.clone())));
    maker.valid("content-file", "Content", "a file with a picture of it", "content", given(&bytes));
    let with = |change: &dyn Fn(&mut File)| {
        let mut changed = honest.clone();
        change(&mut changed);
        changed
    };
    let png = |length: usize| {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.resize(length, 0);
        Some(Bytes(bytes))
    };
    faults(
        maker,
        "content-file",
        "file",
        &[
            ("file-name-that-is-a-path", "two parts", with(&|file| file.name = "../plans.pdf".into()), "malformed"),
            (
                "file-name-with-a-control-character",
                "a line break",
                with(&|file| file.name = "a\nb".into()),
                "malformed",
            ),
            ("file-name-empty", "no name", with(&|file| file.name = String::new()), "malformed"),
            ("file-name-over-255-bytes", "a byte too long", with(&|file| file.name = "a".repeat(256)), "too_long"),
            (
                "file-media-type-that-is-none",
                "with parameters",
                with(&|file| file.media_type = "text/plain; charset=utf-8".into()),
                "malformed",
            ),
            ("file-over-100-mib", "a byte too long", with(&|file| file.size = limits::FILE_BYTES_MAX + 1), "malformed"),
            ("file-key-of-31-bytes", "a key cut short", with(&|file| file.key = Bytes(vec![3; 31])), "malformed"),
            (
                "file-of-no-width",
                "nothing to be seen",
                with(&|file| file.dimensions = Some(Dimensions { width: 0, height: 480 })),
                "malformed",
            ),
            (
                "file-thumbnail-over-8-kib",
                "a byte too long",
                with(&|file| file.thumbnail = png(limits::THUMBNAIL_BYTES_MAX + 1)),
                "too_long",
            ),
            (
                "file-thumbnail-that-is-none",
                "an SVG",
                with(&|file| file.thumbnail = Some(Bytes(b"<svg onload=evil()>".to_vec()))),
                "malformed",
            ),
            (
                "file-caption-over-4-kib",
                "a byte too long",
                with(&|file| file.caption = "a".repeat(limits::CAPTION_BYTES_MAX + 1)),
                "too_long",
            ),
        ],
    );
}

fn changes(maker: &mut Maker) {
    let reaction = |emoji: &str| Reaction { message: hello(), emoji: emoji.into(), remove: false };
    let bytes = encoded(Body::Reaction(reaction("👍")));
    maker.valid("content-reaction", "Content", "a thumb", "content", given(&bytes));
    let family = encoded(Body::Reaction(reaction("👩🏽‍👩🏽‍👧🏽‍👦🏽")));
    maker.valid("content-reaction-family", "Content", "one cluster of many code points", "content", given(&family));
    faults(
        maker,
        "content-reaction",
        "reaction",
        &[
            ("reaction-of-two", "two clusters", reaction("👍👍"), "malformed"),
            ("reaction-of-none", "no cluster", reaction(""), "malformed"),
            ("reaction-unseen", "a space", reaction(" "), "malformed"),
            ("reaction-control", "a control character", reaction("\u{7}"), "malformed"),
            (
                "reaction-over-64-bytes",
                "one letter with too many accents",
                reaction(&format!("e{}", "\u{301}".repeat(40))),
                "too_long",
            ),
        ],
    );
    let edit = |text: String| Edit { message: hello(), text };
    let bytes = encoded(Body::Edit(edit("hello, bob".into())));
    maker.valid("content-edit", "Content", "alice says it better", "content", given(&bytes));
    let long = edit("a".repeat(limits::TEXT_BYTES_MAX + 1));
    faults(maker, "content-edit", "edit", &[("edit-over-16-kib", "its text is too long", long, "too_long")]);
    let bytes = encoded(Body::Delete(Delete { message: hello() }));
    maker.valid("content-delete", "Content", "alice takes it back", "content", given(&bytes));
    let more = json!({ "message": [1, 2, 3], "why": "a mistake" });
    faults(maker, "content-delete", "delete", &[("delete-of-no-message", "what it names is no id", more, "malformed")]);
}

fn marks(maker: &mut Maker) {
    let read = |count: usize| Read { messages: vec![hello(); count] };
    let bytes = encoded(Body::Read(read(2)));
    maker.valid("content-read", "Content", "two messages were read", "content", given(&bytes));
    faults(
        maker,
        "content-read",
        "read",
        &[
            ("read-of-nothing", "no message", read(0), "malformed"),
            ("read-over-256", "a message too many", read(limits::RECEIPT_MESSAGES_MAX + 1), "malformed"),
        ],
    );
}

fn names(maker: &mut Maker) {
    let profile = |name: String| Profile { name };
    let bytes = encoded(Body::Profile(profile("Alice".into())));
    maker.valid("content-profile", "Content", "what alice wants to be called", "content", given(&bytes));
    faults(
        maker,
        "content-profile",
        "profile",
        &[
            (
                "profile-over-128-bytes",
                "a name too long",
                profile("a".repeat(limits::PROFILE_NAME_BYTES_MAX + 1)),
                "too_long",
            ),
            ("profile-with-a-control-character", "a name with a bell", profile("Al\u{7}ice".into()), "malformed"),
        ],
    );
    let about = |title: String, description: String| About { title, description, changed_at: AT_MS };
    let bytes = encoded(Body::About(about("Hikes".into(), "Where we go next".into())));
    maker.valid("content-about", "Content", "what a conversation is called", "content", given(&bytes));
    let (title, description) = ("a".repeat(limits::TITLE_BYTES_MAX + 1), "a".repeat(limits::DESCRIPTION_BYTES_MAX + 1));
    faults(
        maker,
        "content-about",
        "about",
        &[
            ("title-over-128-bytes", "a title too long", about(title, String::new()), "too_long"),
            (
                "title-with-a-control-character",
                "a title of two lines",
                about("a\nb".into(), String::new()),
                "malformed",
            ),
            ("description-over-2048-bytes", "a description too long", about(String::new(), description), "too_long"),
        ],
    );
}

fn leaves(maker: &mut Maker) {
    let leave = Leave {
        conversation: ConversationId::of_group(&GROUP),
        generation: 0,
        account: ALICE.account(),
        epoch: 1,
        device: ALICE.device(),
    };
    let bytes = encoded(Body::Leave(leave.sign(&ALICE.device_key())));
    maker.valid("content-leave", "Content", "alice wishes to leave", "content", given(&bytes));
    let unsigned = loose("leave", &leave);
    maker.fault(
        "content/leave-unsigned",
        "a wish without a signature",
        "content-leave",
        ("content", hex(&unsigned)),
        "malformed",
    );
}

fn whispers(maker: &mut Maker) {
    let whisper = |body: WhisperBody| Whisper { sent_at: AT_MS, body }.encode();
    let typing = whisper(WhisperBody::Typing(Typing { on: true }));
    let given = |bytes: &[u8]| json!({ "content": hex(bytes) });
    let section = "Whispers";
    maker.valid("whisper-typing", section, "alice types", "whisper", given(&typing));
    maker.valid("whisper-watch", section, "alice looks", "whisper", given(&whisper(WhisperBody::Watch(Watch {}))));
    let presence = Presence { state: PresenceState::Away, valid_s: 90, last_active_at_s: 1_794_999_960 };
    maker.valid(
        "whisper-presence",
        section,
        "bob is away",
        "whisper",
        given(&whisper(WhisperBody::Presence(presence))),
    );
    #[derive(Serialize)]
    struct Wire {
        sent_at: u64,
        kind: String,
        value: Bytes,
    }
    let of =
        |kind: &str, value: Vec<u8>| codec::encode(&Wire { sent_at: AT_MS, kind: kind.into(), value: Bytes(value) });
    maker.valid("whisper-unknown-kind", section, "a kind of a later version", "whisper", given(&of("dance", vec![1])));
    let mut fault = |name: &str, what: &str, bytes: Vec<u8>, cause: &str| {
        maker.fault(&format!("whisper-content/{name}"), what, "whisper-typing", ("content", hex(&bytes)), cause);
    };
    let mut trailing = typing.clone();
    trailing.push(0);
    fault("trailing-bytes", "a byte behind it", trailing, "trailing");
    fault("over-256-bytes", "more than a whisper has", vec![0; limits::WHISPER_BYTES_MAX + 1], "too_long");
    fault(
        "value-of-another-kind",
        "what a watch says, of a typing",
        of("typing", codec::encode(&Watch {})),
        "malformed",
    );
    fault(
        "value-with-more",
        "a watch that says something",
        of("watch", codec::encode(&Typing { on: true })),
        "not_canonical",
    );
    fault("no-value", "a typing without a value", of("typing", vec![]), "malformed");
    #[derive(Serialize)]
    struct Turned {
        kind: String,
        sent_at: u64,
        value: Bytes,
    }
    let turned = Turned { kind: "typing".into(), sent_at: AT_MS, value: Bytes(codec::encode(&Typing { on: true })) };
    fault("second-spelling", "fields in another order", codec::encode(&turned), "not_canonical");
}

fn archives(maker: &mut Maker) {
    #[derive(Serialize)]
    struct Row {
        key: Bytes,
        value: Bytes,
    }
    #[derive(Serialize)]
    struct Chunk {
        device: roost_protocol::DeviceId,
        rows: Vec<Row>,
    }
    #[derive(Serialize)]
    struct Padded {
        chunk: Chunk,
        padding: Bytes,
    }
    let row = Row { key: Bytes(vec![b'h', 1]), value: Bytes(vec![2; 40]) };
    let chunk = Padded { chunk: Chunk { device: ALICE.device(), rows: vec![row] }, padding: Bytes(vec![0; 600]) };
    let context = |account: AccountId| [labels::ARCHIVE.as_bytes(), account.as_bytes()].concat();
    let key = StoreKey::from_bytes(&[0x21; 32]);
    let sealed = key.seal(&context(ALICE.account()), &codec::encode(&chunk), [7; 24]);
    let given = json!({ "key": hex(&[0x21; 32]), "context": hex(&context(ALICE.account())), "sealed": hex(&sealed) });
    maker.valid("archive-chunk", "Archive", "a chunk under alice's archive key", "sealed-value", given);
    let mut fault = |name: &str, what: &str, part: (&str, Value)| {
        maker.fault(&format!("archive/{name}"), what, "archive-chunk", part, "tag");
    };
    fault("of-another-account", "sealed for another account", ("context", hex(&context(CAROL.account()))));
    fault("under-another-key", "sealed under another key", ("key", hex(&[0x22; 32])));
    let mut changed = sealed.clone();
    changed[40] ^= 1;
    fault("changed", "a byte of it is another one", ("sealed", hex(&changed)));
}
