#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Every kind survives the wire, and every bound is refused one over it.

use super::*;
use roost_crypto::identity_log::LogHash;
use roost_crypto::ids::{AccountId, DeviceId};

const ID: MessageId = MessageId([7; 16]);

fn content(body: Body) -> Content {
    let log = LogHead { seq: 0, hash: LogHash([2; 32]) };
    Content { salt: Bytes(vec![3; 16]), body, seen: vec![], log }
}

fn decoded(body: Body) -> Result<Body, ContentError> {
    Content::decode(&content(body).encode()).map(|content| content.body)
}

fn rich() -> RichText {
    RichText { text: "hi".into(), reply: Some(ID), mentions: vec![AccountId([1; 32])], expires_after_s: Some(60) }
}

fn reaction(emoji: &str) -> Body {
    Body::Reaction(Reaction { message: ID, emoji: emoji.into(), remove: false })
}

fn reseal(messages: usize, key: usize) -> Body {
    Body::Reseal(Reseal { device: DeviceId([1; 32]), messages: vec![ID; messages], key: Bytes(vec![9; key]) })
}

#[test]
fn a_question_for_missing_messages_keeps_its_bounds() {
    assert!(decoded(reseal(256, 32)).is_ok(), "256 messages at once");
    for got in [0, 257] {
        let over = KindError::TooMany { what: "messages", max: 256, got };
        assert_eq!(decoded(reseal(got, 32)), Err(over.into()), "{got} messages");
    }
    for got in [0, 31, 33] {
        assert_eq!(decoded(reseal(1, got)), Err(KindError::Key { got }.into()), "a key of {got} bytes");
    }
}

/// Begins as a PNG does.
fn png(length: usize) -> Bytes {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.resize(length, 0);
    Bytes(bytes)
}

#[test]
fn every_kind_survives_the_wire() {
    let kinds = [
        Body::Text("hi".into()),
        Body::Delivered(vec![ID]),
        Body::RichText(rich()),
        reaction("👍🏽"),
        Body::Reaction(Reaction { message: ID, emoji: "👩‍👩‍👧‍👦".into(), remove: true }),
        Body::Edit(Edit { message: ID, text: "ho".into() }),
        Body::Delete(Delete { message: ID }),
        Body::Read(Read { messages: vec![ID] }),
        Body::Profile(Profile { name: "Alice Ξ".into() }),
        reseal(1, 32),
        Body::Resealed(Resealed { to: DeviceId([1; 32]), sealed: Bytes(vec![2; 48]) }),
        Body::ProfilePicture(ProfilePicture { picture: Some(png(40)) }),
        Body::ProfilePicture(ProfilePicture { picture: None }),
        Body::AboutPicture(AboutPicture { picture: Some(png(40)), changed_at: 7 }),
        Body::Timer(Timer { expires_after_s: Some(3_600), changed_at: 7 }),
        Body::Timer(Timer { expires_after_s: None, changed_at: 8 }),
        Body::Unknown { kind: "dance".into(), value: Bytes(codec::encode(&"waltz")) },
    ];
    for body in kinds {
        assert_eq!(decoded(body.clone()), Ok(body.clone()), "{} comes back as it was", body.kind());
    }
}

#[test]
fn a_plain_text_has_the_bytes_that_it_always_had() {
    let encoded = content(Body::Text("hi".into())).encode();
    let body = b"\xa2dkinddtextevalueCbhi";
    assert!(encoded.windows(body.len()).any(|window| window == body), "kind text, value a text: {encoded:02x?}");
}

#[test]
fn a_reaction_that_is_not_one_visible_cluster_is_refused() {
    for bad in ["", "👍👍", "ab", " ", "\u{7}", "\n"] {
        assert_eq!(decoded(reaction(bad)), Err(KindError::NoEmoji.into()), "{bad:?} is no emoji");
    }
    let long = format!("e{}", "\u{301}".repeat(32));
    let over = KindError::TooLong { what: "emoji", max: 64, got: 65 };
    assert_eq!(decoded(reaction(&long)), Err(over.into()), "one cluster of 65 bytes is over the limit");
}

#[test]
fn a_rich_text_over_a_bound_or_without_more_than_words_is_refused() {
    let refused = |change: &dyn Fn(&mut RichText)| {
        let mut value = rich();
        change(&mut value);
        decoded(Body::RichText(value)).expect_err("refused")
    };
    let plain = refused(&|value| (value.reply, value.mentions, value.expires_after_s) = (None, vec![], None));
    assert_eq!(plain, KindError::PlainText.into(), "a plain text has one spelling");
    for timer in [0, limits::EXPIRES_AFTER_S_MAX + 1] {
        let got = refused(&|value| value.expires_after_s = Some(timer));
        assert_eq!(
            got,
            KindError::Timer { max: limits::EXPIRES_AFTER_S_MAX, got: timer }.into(),
            "a timer of {timer} s"
        );
    }
    let twice = refused(&|value| value.mentions = vec![AccountId([1; 32]); 2]);
    assert_eq!(twice, KindError::Mentions.into(), "nobody is mentioned twice");
    let crowd = (0..=limits::MENTIONS_MAX as u8).map(|number| AccountId([number; 32])).collect::<Vec<_>>();
    let crowd = refused(&|value| value.mentions.clone_from(&crowd));
    assert_eq!(crowd, KindError::TooMany { what: "mentions", max: 100, got: 101 }.into(), "101 mentions");
    let long = refused(&|value| value.text = "a".repeat(limits::TEXT_BYTES_MAX + 1));
    assert_eq!(long, KindError::TooLong { what: "text", max: 16_384, got: 16_385 }.into(), "a text over the limit");
}

#[test]
fn an_edit_a_read_mark_and_a_profile_over_their_bounds_are_refused() {
    let edit = decoded(Body::Edit(Edit { message: ID, text: "a".repeat(limits::TEXT_BYTES_MAX + 1) }));
    assert_eq!(edit, Err(KindError::TooLong { what: "text", max: 16_384, got: 16_385 }.into()), "a long edit");
    for got in [0, limits::RECEIPT_MESSAGES_MAX + 1] {
        let read = decoded(Body::Read(Read { messages: vec![ID; got] }));
        assert_eq!(read, Err(KindError::TooMany { what: "messages", max: 256, got }.into()), "{got} messages read");
    }
    let name = decoded(Body::Profile(Profile { name: "a".repeat(129) }));
    assert_eq!(name, Err(KindError::TooLong { what: "name", max: 128, got: 129 }.into()), "a long name");
    let name = decoded(Body::Profile(Profile { name: "a\u{1b}[2J".into() }));
    assert_eq!(name, Err(KindError::Name.into()), "a name that steers a terminal");
}

#[test]
fn an_about_over_its_bounds_is_refused() {
    let about = |title: &str, description: String| {
        decoded(Body::About(About { title: title.to_owned(), description, changed_at: 1 }))
    };
    assert!(about("Friends", "of the house".into()).is_ok(), "an ordinary one");
    let long = about(&"a".repeat(129), String::new());
    assert_eq!(long, Err(KindError::TooLong { what: "title", max: 128, got: 129 }.into()), "a long title");
    let long = about("Friends", "a".repeat(2049));
    assert_eq!(
        long,
        Err(KindError::TooLong { what: "description", max: 2048, got: 2049 }.into()),
        "a long description"
    );
    assert_eq!(about("two\nlines", String::new()), Err(KindError::Name.into()), "a title that is no line");
}

#[test]
fn a_picture_that_is_none_or_over_16_kib_is_refused() {
    let of_both = |picture: Bytes| {
        let profile = decoded(Body::ProfilePicture(ProfilePicture { picture: Some(picture.clone()) }));
        let about = decoded(Body::AboutPicture(AboutPicture { picture: Some(picture), changed_at: 1 }));
        [profile.map(drop), about.map(drop)]
    };
    assert!(of_both(png(limits::PICTURE_BYTES_MAX)).iter().all(Result::is_ok), "16 KiB are just right");
    let over = KindError::TooLong { what: "picture", max: 16_384, got: 16_385 };
    for refused in of_both(png(limits::PICTURE_BYTES_MAX + 1)) {
        assert_eq!(refused, Err(over.clone().into()), "a byte more is too long");
    }
    for bad in [&b""[..], b"GIF89a", b"<svg onload=alert(1)>", b"RIFF\0\0\0\0WAVE"] {
        for refused in of_both(Bytes(bad.to_vec())) {
            assert_eq!(refused, Err(KindError::NoPicture.into()), "{bad:?} is no picture");
        }
    }
    let jpeg = of_both(Bytes(vec![0xff, 0xd8, 0xff, 0xe0]));
    let webp = of_both(Bytes(b"RIFF\0\0\0\0WEBPVP8 ".to_vec()));
    assert!(jpeg.iter().chain(&webp).all(Result::is_ok), "JPEG and WebP are pictures");
}

#[test]
fn the_largest_picture_fits_a_message() {
    let body = Body::AboutPicture(AboutPicture { picture: Some(png(limits::PICTURE_BYTES_MAX)), changed_at: u64::MAX });
    let bytes = content(body).encode().len();
    assert!(bytes + 2_048 < limits::PAYLOAD_BYTES_MAX, "{bytes} bytes leave room for feed heads and framing");
}

#[test]
fn a_timer_of_no_time_or_of_over_a_year_is_refused() {
    for got in [0, limits::EXPIRES_AFTER_S_MAX + 1] {
        let timer = decoded(Body::Timer(Timer { expires_after_s: Some(got), changed_at: 1 }));
        assert_eq!(timer, Err(KindError::Timer { max: limits::EXPIRES_AFTER_S_MAX, got }.into()), "{got} seconds");
    }
}
