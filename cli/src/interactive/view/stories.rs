//! What is on the screen, at sizes that people have.

use crate::interactive::desk::{BOB, Desk, GROUP, id, marked, reacted, request, said};
use crate::interactive::keys::Key;
use crate::interactive::model::{Effect, Input, Notice, Overlay};
use crate::interactive::snapshot::{MyDevice, Talk, Who};
use crate::interactive::text::columns;
use roost_client::core::linking::LinkReport;
use roost_client::core::message::State;
use roost_client::core::{PresenceReport, Seen};
use roost_client::runner::Gap;
use roost_protocol::{AccountId, DeviceId};

fn talk() -> Vec<roost_client::core::history::HistoryItem> {
    let mut hello = said(1, "alice@acme", "hello bob");
    hello.state = Some(State::Delivered);
    hello.read = marked("bob@birch");
    let mut answer = said(2, "bob@birch", "hello alice");
    answer.reply = Some(id(1));
    answer.edited = true;
    answer.reactions = reacted("alice@acme", "👍");
    let mut last = said(3, "alice@acme", "see you at six");
    last.state = Some(State::Queued);
    vec![hello, answer, last]
}

fn seen(state: Seen) -> PresenceReport {
    // A minute past one in the afternoon of the stories' day.
    let at = id(1).at_ms();
    PresenceReport { account: AccountId([1; 32]), state, last_active_at: Some(at), heard_at: Some(at) }
}

/// The row that holds a text.
fn row<'a>(rows: &'a [String], text: &str) -> &'a str {
    rows.iter().find(|row| row.contains(text)).unwrap_or_else(|| panic!("{text:?} is not in\n{}", rows.join("\n")))
}

#[test]
fn a_wide_screen_has_the_list_the_talk_the_input_and_how_it_stands() {
    let mut desk = Desk::new(80, 24);
    desk.snapshot.requests = vec![request(5, "eve@evil", "hi")];
    desk.snapshot.conversations[1].unread = 3;
    desk.snapshot.status.outbox = 1;
    desk.show();
    desk.press(&[Key::Down, Key::Down, Key::Enter]);
    desk.press(&[Key::AltUp]);
    desk.say(talk());
    let rows = desk.rows();
    assert!(rows[0].starts_with(" Conversations") && rows[0].contains("│ bob@birch  not verified"), "{}", rows[0]);
    assert!(rows[1].contains("Requests") && rows[1].contains("(1)"), "strangers on top: {}", rows[1]);
    assert!(rows[2].starts_with("▸ bob@birch") && rows[2].contains("13:02 │"), "the open one: {}", rows[2]);
    assert!(rows[3].contains("# bob@birch") && rows[3].contains("(3) 13:01"), "many, with what is unread: {}", rows[3]);
    assert!(row(&rows, "hello bob").ends_with("13:01 hello bob  read"), "ours, with its time and state");
    assert!(row(&rows, "↳").contains("13:02 ↳ you: hello bob"), "what is answered stands above the answer");
    assert!(row(&rows, "hello alice").ends_with("hello alice  edited"), "a correction is told");
    assert!(row(&rows, "👍").ends_with("👍 you"), "a reaction, with its author");
    assert!(row(&rows, "see you").ends_with("queued"), "what waits says so");
    assert!(row(&rows, "Today").contains("─ Today ─"), "under its day");
    assert!(rows[22].contains("Write to bob@birch"), "the input says what it is for: {}", rows[22]);
    assert!(rows[23].starts_with("alice@acme  1 in the outbox  F1 help"), "how it stands: {}", rows[23]);
    assert!(rows[23].ends_with("● connected"), "and the connection: {}", rows[23]);
}

#[test]
fn a_narrow_screen_has_one_of_them_at_a_time() {
    let mut desk = Desk::new(40, 12);
    desk.snapshot.conversations[1].unread = 3;
    desk.show();
    let rows = desk.rows();
    assert!(rows[1].contains("bob@birch") && rows[1].ends_with("13:02"), "the list alone: {}", rows[1]);
    assert!(!desk.screen().contains('│'), "with nothing beside it");
    desk.open_bob(talk());
    let rows = desk.rows();
    assert!(rows[0].starts_with("bob@birch  not verified"), "then the conversation alone: {}", rows[0]);
    assert!(row(&rows, "see you at six").ends_with("queued"), "with its newest message");
    assert!(rows[10].starts_with("Write to bob@birch"), "and the input: {}", rows[10]);
    assert!(rows[11].contains("3 unread"), "what is new elsewhere is told: {}", rows[11]);
    desk.press(&[Key::Tab]);
    assert!(desk.rows()[0].contains("Conversations"), "Tab goes back");
    for keys in [vec![Key::F1], vec![Key::PageDown; 20]] {
        desk.press(&keys);
        assert!(desk.rows().iter().all(|row| columns(row) <= 40), "the help fits: {}", desk.screen());
    }
    assert!(desk.screen().contains("Ctrl-C"), "down to its end: {}", desk.screen());
}

#[test]
fn wide_characters_keep_every_column_where_it_belongs() {
    for (width, height) in [(80, 24), (40, 12)] {
        let mut desk = Desk::new(width, height);
        desk.open_bob(vec![said(1, "bob@birch", &"日本語のとても長い文章です。".repeat(6))]);
        desk.press(&[Key::Paste("書いている文".repeat(8))]);
        let rows = desk.rows();
        assert!(rows.iter().all(|row| columns(row) <= usize::from(width)), "no row is too long: {}", rows.join("\n"));
        if width == 80 {
            let border = |row: &String| {
                row.chars()
                    .scan(0, |at, letter| {
                        let here = *at;
                        *at += columns(letter.encode_utf8(&mut [0; 4]));
                        Some((here, letter))
                    })
                    .find(|(_, letter)| *letter == '│')
                    .map(|(at, _)| at)
            };
            assert!(rows[..23].iter().all(|row| border(row) == Some(26)), "the border stands: {}", rows.join("\n"));
        }
        let text: String = rows.concat();
        assert!(text.contains("日本語"), "and the text is there");
    }
}

#[test]
fn a_hostile_text_cannot_leave_its_place() {
    let mut desk = Desk::new(80, 24);
    desk.snapshot.conversations[0].name = Some("\u{1b}[2Jadmin\u{202e}".into());
    desk.snapshot.requests = vec![request(5, "eve@evil", "\u{1b}]0;owned\u{7}\u{9b}2J")];
    let mut hostile = said(2, "bob@birch", "a\u{1b}[31mb\u{202e}c\nd\re");
    hostile.reactions = reacted("bob@birch", "\u{1b}c");
    hostile.kind = "text".into();
    let mut unknown = said(3, "bob@birch", "");
    unknown.kind = "\u{1b}[5m".into();
    desk.press(&[Key::Down, Key::Enter]);
    desk.say(vec![hostile, unknown]);
    for _ in 0..2 {
        let screen = desk.screen();
        let steers = |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{202e}');
        assert!(!screen.contains(steers), "nothing steers: {screen:?}");
        desk.press(&[Key::AltUp]);
    }
    assert!(desk.screen().contains("owned"), "the request was on the screen: {}", desk.screen());
    desk.input(Input::Notice(Notice::failed("a node says \u{1b}[2J")));
    assert!(!desk.screen().contains('\u{1b}'), "nor does what a node says");
}

#[test]
fn what_became_of_messages_is_told() {
    let mut desk = Desk::new(80, 24);
    let own = |minute, text: &str, state| {
        let mut item = said(minute, "alice@acme", text);
        item.state = Some(state);
        item
    };
    let mut gone = said(6, "bob@birch", "");
    gone.deleted = true;
    let mut expired = said(7, "bob@birch", "");
    expired.expired = true;
    let mut timed = said(8, "bob@birch", "not for long");
    timed.expires_at = Some(id(70).at_ms());
    let items = vec![
        own(1, "one", State::Queued),
        own(2, "two", State::Accepted),
        own(3, "three", State::Custody),
        own(4, "four", State::Delivered),
        own(5, "five", State::Refused),
        gone,
        expired,
        timed,
    ];
    desk.open_bob(Vec::new());
    let gaps = vec![Gap { conversation: Some(BOB), message: id(9), reason: "the message cannot be opened" }];
    let reasons = [(id(5), "bob has no room".to_owned())].into();
    desk.snapshot.talk = Some((BOB, Talk { items, gaps, reasons, ..Talk::default() }));
    desk.show();
    let rows = desk.rows();
    for (text, end) in [
        ("13:01", "one  queued"),
        ("13:02", "two  accepted"),
        ("13:03", "three  custody"),
        ("13:04", "four  delivered"),
        ("13:05", "five  refused: bob has no room"),
        ("13:06", "taken back"),
        ("13:07", "disappeared"),
        ("13:08", "not for long  disappears 14:10"),
        ("13:09", "A message cannot be shown: the"),
    ] {
        let row = rows.iter().find(|row| row.split('│').nth(1).is_some_and(|talk| talk.contains(text))).unwrap();
        assert!(row.contains(end), "{end:?}: {row}");
    }
}

#[test]
fn what_is_wrong_with_a_conversation_stands_below_what_was_said() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(Vec::new());
    let warnings = vec!["Messages are being withheld or late: 2 are missing.".to_owned()];
    let items = vec![said(1, "bob@acme", "hello")];
    desk.snapshot.talk = Some((BOB, Talk { items, warnings, ..Talk::default() }));
    desk.show();
    let rows = desk.rows();
    let at = |text: &str| rows.iter().position(|row| row.split('│').nth(1).is_some_and(|talk| talk.contains(text)));
    assert!(at("Messages are being withheld") > at("hello"), "below the words: {rows:?}");
    assert!(at("hello").is_some(), "which stay");
}

#[test]
fn marks_of_many_are_counted() {
    let mut desk = Desk::new(80, 24);
    desk.press(&[Key::Down, Key::Enter]);
    let mut item = said(1, "alice@acme", "all of you");
    item.read = marked("bob@birch");
    desk.snapshot.talk = Some((GROUP, Talk { items: vec![item], ..Talk::default() }));
    desk.show();
    let screen = desk.screen();
    assert!(screen.contains("all of you  read by 1"), "{screen}");
    assert!(screen.contains("3 people"), "with their number: {screen}");
    if let Who::Many { over, .. } = &mut desk.snapshot.conversations[1].who {
        *over = true;
    }
    desk.show();
    assert!(desk.screen().contains("You take no part in it any more"), "who was removed is told");
}

#[test]
fn who_is_there_or_writing_is_shown_only_where_it_is_known() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    assert!(desk.rows()[0].ends_with("not verified"), "nothing is made up: {}", desk.rows()[0]);
    desk.snapshot.conversations[0].presence = Some(seen(Seen::Online));
    desk.snapshot.conversations[0].devices = Some(2);
    desk.show();
    assert!(desk.rows()[0].ends_with("not verified · online · 2 devices"), "{}", desk.rows()[0]);
    desk.snapshot.conversations[0].typing = Some("writing …".into());
    desk.show();
    assert!(desk.rows()[0].contains("writing …"), "writing says more than being there: {}", desk.rows()[0]);
}

#[test]
fn a_terminal_that_is_too_small_says_so() {
    for (width, height) in [(20, 5), (1, 1), (0, 0), (24, 8), (63, 9), (200, 60)] {
        let mut desk = Desk::new(width, height);
        desk.open_bob(talk());
        desk.press(&[Key::Up, Key::PageUp, Key::F1, Key::PageDown]);
        let screen = desk.screen();
        assert_eq!(screen.contains("Make this"), width == 20, "{width} x {height}: {screen}");
    }
}

#[test]
fn offline_is_said_in_words() {
    let mut desk = Desk::new(80, 24);
    desk.snapshot.status.connected = false;
    desk.show();
    let rows = desk.rows();
    assert!(rows[23].contains("messages wait here and are sent when you are back"), "{}", rows[23]);
    assert!(rows[23].ends_with("○ offline"), "{}", rows[23]);
    desk.snapshot.status.connected = true;
    desk.snapshot.lost = 2;
    desk.show();
    assert!(desk.rows()[23].contains("2 messages cannot be shown"), "nothing is lost in silence: {}", desk.rows()[23]);
}

#[test]
fn who_is_not_there_was_last_seen_and_what_disappears_is_said() {
    let mut desk = Desk::new(120, 40);
    desk.open_bob(talk());
    desk.snapshot.conversations[0].presence = Some(seen(Seen::Unknown));
    desk.snapshot.conversations[0].expires_after_s = Some(86_400);
    desk.show();
    let head = desk.rows()[0].clone();
    assert!(head.ends_with("not verified · last seen 13:01 · disappears after 1 day"), "{head}");
    desk.snapshot.conversations[0].presence = Some(seen(Seen::Away));
    desk.show();
    assert!(desk.rows()[0].contains("away since 13:01"), "{}", desk.rows()[0]);
    let mut timer = said(4, "bob@birch", "");
    (timer.kind, timer.timer_s) = ("timer".into(), Some(86_400));
    desk.say(vec![timer]);
    assert!(desk.screen().contains("what is said from now on disappears after 1 day"), "{}", desk.screen());
    desk.snapshot.conversations[1].unread = 3;
    desk.snapshot.conversations[1].mentioned = 1;
    desk.show();
    assert!(row(&desk.rows(), "# bob").contains("@ (3)"), "one of three is about alice: {}", desk.screen());
}

#[test]
fn a_code_to_link_is_drawn_where_there_is_room_and_always_there_to_be_copied() {
    let code = format!("ROOST-LINK-{}", "0123456789ABCDEFGHJKMNPQRSTVWXYZ".repeat(4));
    for (width, height, drawn) in [(80, 24, true), (120, 40, true), (60, 24, false), (80, 20, false)] {
        let mut desk = Desk::new(width, height);
        let wanted = desk.enter("/link");
        assert!(wanted.contains(&Effect::Link), "a code is wanted: {wanted:?}");
        assert_eq!(desk.input(Input::Linking(code.clone())), [Effect::AwaitLink], "then a device is waited for");
        let rows = desk.rows();
        assert_eq!(rows.iter().any(|row| row.contains("██████")), drawn, "{width} x {height}:\n{}", rows.join("\n"));
        let words: String = rows.iter().flat_map(|row| row.chars()).filter(char::is_ascii_alphanumeric).collect();
        let copied: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        assert!(words.contains(&copied), "{width} x {height}: the code is whole:\n{}", rows.join("\n"));
    }
}

#[test]
fn a_new_device_is_linked_once_its_digits_were_compared() {
    let mut desk = Desk::new(80, 24);
    let report = LinkReport { device: DeviceId([4; 32]), name: "phone\u{1b}[2J".into(), digits: "123456".into() };
    assert_eq!(desk.input(Input::LinkAsked(Some(report.clone()))), [], "nobody is asked without a code");
    assert_eq!(desk.model.overlay(), None, "and nothing is shown");
    desk.input(Input::Linking("ROOST-LINK-0".into()));
    desk.input(Input::LinkAsked(Some(report.clone())));
    assert!(desk.screen().contains("123 456") && !desk.screen().contains('\u{1b}'), "{}", desk.screen());
    assert_eq!(desk.press(&[Key::Char('x'), Key::Enter]), [], "no other key says yes");
    assert_eq!(desk.press(&[Key::Char('y')]), [Effect::AcceptLink], "this one does");
    desk.input(Input::Linking("ROOST-LINK-0".into()));
    desk.input(Input::LinkAsked(Some(report)));
    assert_eq!(desk.press(&[Key::Escape]), [Effect::EndLink], "other digits link nothing");
    desk.input(Input::Linking("ROOST-LINK-0".into()));
    assert_eq!(desk.input(Input::LinkAsked(None)), [Effect::EndLink], "nor does a code that nobody used");
    assert!(desk.notice().contains("/link"), "{}", desk.notice());
}

#[test]
fn devices_are_listed_and_one_is_ended_after_a_second_word() {
    let mut desk = Desk::new(80, 24);
    let one = |number, name: &str| MyDevice {
        number,
        id: DeviceId([u8::try_from(number).unwrap(); 32]),
        name: name.into(),
        current: number == 1,
    };
    let wanted = desk.enter("/devices");
    assert!(wanted.contains(&Effect::Devices), "{wanted:?}");
    desk.input(Input::Devices(vec![one(1, "laptop"), one(2, "lost phone")]));
    let screen = desk.screen();
    assert!(screen.contains("1  laptop  (this one)") && screen.contains("2  lost phone"), "{screen}");
    desk.press(&[Key::Escape]);
    let asked = desk.enter("/revoke 2");
    assert!(asked.contains(&Effect::AskToRevoke("2".into())), "{asked:?}");
    desk.input(Input::RevokeAsked(one(2, "lost phone")));
    assert!(matches!(desk.model.overlay(), Some(Overlay::Revoke(_))), "it asks once more");
    assert_eq!(desk.press(&[Key::Char('n')]), [], "another key says nothing");
    assert_eq!(desk.press(&[Key::Char('y')]), [Effect::Revoke(DeviceId([2; 32]))], "this one does");
}
