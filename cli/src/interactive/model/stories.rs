//! What keys and news make of the client.

use super::{Effect, Focus, Input, Mode, Overlay, PAGE, Place};
use crate::interactive::desk::{BOB, Desk, GROUP, id, reacted, request, said, with_bob};
use crate::interactive::keys::Key;
use crate::interactive::snapshot::{Wanted, Who};
use roost_client::core::people::Whom;
use roost_client::core::{GroupChange, Recipient};
use roost_crypto::keys::SecretKey;
use roost_crypto::safety_number::{SafetyCode, SafetyNumber};
use roost_protocol::AccountId;
use roost_protocol::conversation::Role;

fn bob() -> Recipient {
    "bob@birch".parse().unwrap()
}

fn place_of_bob() -> Recipient {
    AccountId([1; 32]).into()
}

fn talk() -> Vec<roost_client::core::history::HistoryItem> {
    vec![said(1, "alice@acme", "hello bob"), said(2, "bob@birch", "hello alice")]
}

#[test]
fn opening_a_conversation_loads_and_reads_it() {
    let mut desk = Desk::new(80, 24);
    desk.snapshot.conversations[0].unread = 2;
    desk.show();
    assert_eq!(desk.model.unread_elsewhere(), 2, "two are new");
    let wanted = Wanted { id: BOB, place: place_of_bob(), max: PAGE };
    let opened = desk.press(&[Key::Enter]);
    assert_eq!(
        opened,
        [Effect::LoadDraft(BOB), Effect::Refresh(Some(wanted)), Effect::MarkRead(BOB, place_of_bob())],
        "its draft, its messages, and that they are read"
    );
    assert_eq!(desk.model.focus(), Focus::Talk, "and the keys go there");
    desk.snapshot.conversations[0].unread = 0;
    assert_eq!(desk.say(talk()), [], "nothing more is wanted");
    assert_eq!(
        desk.input(Input::Received(BOB)),
        [Effect::MarkRead(BOB, place_of_bob())],
        "what comes meanwhile is read as it comes"
    );
    assert_eq!(desk.input(Input::Received(GROUP)), [], "what comes elsewhere is not");
}

#[test]
fn a_text_is_sent_and_comes_back_when_it_was_not_written() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    let sent = desk.enter("how are you");
    let send = Effect::Send { conversation: BOB, to: bob(), text: "how are you".into(), reply: None };
    assert_eq!(sent, [Effect::SaveDraft(BOB, String::new()), send], "the draft goes with it");
    assert!(desk.model.editor().is_empty(), "there is room for the next");
    let why = "bob@birch is blocked here".to_owned();
    desk.input(Input::NotWritten { conversation: BOB, text: "how are you".into(), why });
    assert_eq!(desk.model.editor().text(), "how are you", "nothing is lost");
    assert!(desk.notice().contains("blocked"), "and it says why: {}", desk.notice());
    desk.press(&[Key::Ctrl('u')]);
    assert_eq!(desk.enter("   "), [], "nothing is nothing");
    desk.press(&[Key::Ctrl('u')]);
    let slash = desk.enter("//etc");
    let text = slash.iter().find_map(|effect| if let Effect::Send { text, .. } = effect { Some(text) } else { None });
    assert_eq!(text.map(String::as_str), Some("/etc"), "a text may begin with a slash");
}

#[test]
fn each_conversation_keeps_its_draft() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    desk.input(Input::Draft(BOB, "from last week".into()));
    assert_eq!(desk.model.editor().text(), "from last week", "what was kept is there again");
    desk.write("!");
    assert_eq!(desk.input(Input::Pause), [Effect::SaveDraft(BOB, "from last week!".into())], "a pause keeps it");
    assert_eq!(desk.input(Input::Pause), [], "once");
    desk.write("?");
    let moved = desk.press(&[Key::AltDown]);
    assert_eq!(moved[0], Effect::SaveDraft(BOB, "from last week!?".into()), "so does leaving");
    assert!(desk.model.editor().is_empty(), "the other one has none");
    desk.write("to all");
    desk.input(Input::Draft(GROUP, "late".into()));
    assert_eq!(desk.model.editor().text(), "to all", "what is written wins over what comes late");
    desk.press(&[Key::AltUp]);
    assert_eq!(desk.model.editor().text(), "from last week!?", "and back");
    let ended = desk.press(&[Key::Char('.'), Key::Ctrl('q')]);
    assert_eq!(ended, [Effect::SaveDraft(BOB, "from last week!?.".into())], "the end keeps it too");
    assert!(desk.model.is_over(), "and it is the end");
}

#[test]
fn a_message_is_answered_changed_taken_back_and_reacted_to() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    desk.press(&[Key::Ctrl('r')]);
    let answer = desk.enter("fine");
    assert!(
        matches!(&answer[1], Effect::Send { reply: Some(reply), .. } if *reply == id(2)),
        "without a selection the newest is answered: {answer:?}"
    );
    desk.write("a draft");
    desk.press(&[Key::Ctrl('e')]);
    assert_eq!(desk.model.editor().text(), "hello bob", "our newest is there to be changed");
    let changed = desk.enter("!");
    assert_eq!(changed, [Effect::Edit { to: bob(), message: id(1), text: "hello bob!".into() }], "under its id");
    assert_eq!(desk.model.editor().text(), "a draft", "and the draft was not touched");

    desk.press(&[Key::Up]);
    assert_eq!(desk.model.selected(), Some(id(2)), "up selects the newest");
    assert_eq!(desk.press(&[Key::Ctrl('d')]), [], "another's is not taken back");
    assert_eq!(desk.notice(), "Only your own messages can be taken back.", "and it says so");
    desk.press(&[Key::Up, Key::Ctrl('d')]);
    assert_eq!(*desk.model.mode(), Mode::Delete(id(1)), "ours is asked about");
    desk.press(&[Key::Escape]);
    assert_eq!(*desk.model.mode(), Mode::Write, "Esc keeps it");
    let gone = desk.press(&[Key::Ctrl('d'), Key::Ctrl('d')]);
    assert_eq!(gone, [Effect::Delete { to: bob(), message: id(1) }], "twice takes it back");

    desk.press(&[Key::Ctrl('k')]);
    let thumb = desk.press(&[Key::Char('1')]);
    let react = |emoji: &str, remove| Effect::React { to: bob(), message: id(2), emoji: emoji.into(), remove };
    assert_eq!(thumb, [react("👍", false)], "a digit chooses");
    let mut items = talk();
    items[1].reactions = reacted("alice@acme", "👍");
    desk.say(items);
    desk.press(&[Key::Ctrl('k'), Key::Char('1')]);
    desk.press(&[Key::Ctrl('k')]);
    assert_eq!(desk.enter("🦉"), [react("🦉", false)], "any other is typed");
    desk.press(&[Key::Ctrl('k')]);
    assert_eq!(desk.press(&[Key::Enter]), [react("👍", true)], "the same again takes it back");
}

#[test]
fn what_vanishes_while_it_is_changed_is_told() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    desk.press(&[Key::Ctrl('e')]);
    let mut items = talk();
    items[0].expired = true;
    desk.say(items);
    assert_eq!(*desk.model.mode(), Mode::Write, "there is nothing to change");
    assert_eq!(desk.notice(), "The message is gone.", "and it says so");
}

#[test]
fn a_changed_key_is_shown_and_nothing_is_sent_before_the_person_decides() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    let key_changed = |desk: &mut Desk, changed: bool| {
        let mut conversation = with_bob();
        if let Who::Handle { key_changed, .. } = &mut conversation.who {
            *key_changed = changed;
        }
        desk.snapshot.conversations[0] = conversation;
        desk.show()
    };
    let handle = "bob@birch".parse().unwrap();
    assert_eq!(key_changed(&mut desk, true), [Effect::KeyChangeShown(handle)], "the warning stands on the screen");
    assert!(desk.screen().contains("bob@birch's key changed"), "{}", desk.screen());
    assert_eq!(desk.enter("hi"), [], "nothing is sent");
    assert!(desk.notice().contains("/verify"), "it says what to do: {}", desk.notice());
    assert_eq!(desk.model.editor().text(), "hi", "the text stays");
    desk.press(&[Key::Ctrl('u')]);

    let asked = desk.enter("/verify");
    assert!(asked.contains(&Effect::SafetyNumber("bob@birch".parse().unwrap())), "the number is computed: {asked:?}");
    let root = |seed| SecretKey::from_seed(&[seed; 32]).public_key();
    let number = SafetyNumber::of(&root(1), &root(2));
    let digits = number.digits().to_owned();
    let code = SafetyCode::of(&root(1), &root(2)).to_string();
    desk.input(Input::SafetyNumber { with: "bob@birch".parse().unwrap(), number, code });
    assert!(desk.screen().contains(&digits[..5]), "it is shown: {}", desk.screen());
    assert!(desk.screen().contains("This is the new"), "and whose it is: {}", desk.screen());
    assert_eq!(desk.press(&[Key::Char('n'), Key::Enter]), [], "no other key says that they are the same");
    assert!(matches!(desk.model.overlay(), Some(Overlay::SafetyNumber { .. })), "it waits");
    let verified = desk.press(&[Key::Char('y')]);
    assert_eq!(verified, [Effect::Verify("bob@birch".parse().unwrap(), digits)], "exactly what was shown is verified");
    let taken = desk.enter("/accept-key");
    assert!(taken.contains(&Effect::AcceptKey("bob@birch".parse().unwrap())), "or taken over: {taken:?}");
    key_changed(&mut desk, false);
    assert!(matches!(desk.enter("hi").last(), Some(Effect::Send { .. })), "decided, words go again");
}

#[test]
fn strangers_stand_on_top_and_are_accepted_or_blocked_there() {
    let mut desk = Desk::new(80, 24);
    desk.snapshot.requests = vec![request(5, "eve@evil", "hi"), request(6, "dave@birch", "it is me")];
    desk.show();
    assert_eq!(desk.model.places()[0], Place::Requests, "their entry is the first");
    desk.press(&[Key::Enter, Key::Down]);
    let accepted = desk.enter("/accept");
    assert_eq!(accepted, [Effect::Accept(Whom::Account(AccountId([6; 32])))], "the selected one is accepted");
    desk.snapshot.requests.pop();
    desk.show();
    assert_eq!(
        desk.enter("/block"),
        [Effect::Block(Whom::Account(AccountId([5; 32])), true)],
        "and one is left to block"
    );
    assert_eq!(desk.enter("hello"), [], "nothing is said to them from here");
    assert!(!desk.notice().is_empty(), "which is told");
}

#[test]
fn commands_begin_and_change_conversations() {
    let mut desk = Desk::new(80, 24);
    desk.press(&[Key::Tab]);
    assert_eq!(desk.enter("/to dave@birch"), [Effect::LookUp("dave@birch".parse().unwrap())], "somebody is looked for");
    let conversation = roost_protocol::ids::ConversationId([7; 32]);
    let found = Input::Found("dave@birch".parse().unwrap(), AccountId([4; 32]), conversation);
    desk.input(found);
    assert_eq!(desk.model.open(), Some(Place::Conversation(conversation)), "and found, written to");
    desk.show();
    assert!(desk.model.conversation().is_some(), "also while the session knows of no conversation yet");
    assert!(matches!(desk.enter("hi").last(), Some(Effect::Send { to: Recipient::Handle(_), .. })), "by handle");

    let created = desk.enter("/group bob@birch carol@cedar");
    let members = vec!["bob@birch".parse().unwrap(), "carol@cedar".parse().unwrap()];
    assert!(created.contains(&Effect::Group(members)), "a conversation of many: {created:?}");
    desk.input(Input::Begun(GROUP));
    desk.show();
    assert_eq!(desk.model.open(), Some(Place::Conversation(GROUP)), "it opens once it is there");
    let add = desk.enter("/add dave@birch");
    assert!(add.contains(&Effect::Change(GROUP, GroupChange::Add(vec!["dave@birch".parse().unwrap()]))), "{add:?}");
    let remove = desk.enter("/remove carol@cedar");
    assert!(remove.contains(&Effect::Change(GROUP, GroupChange::Remove(vec![AccountId([2; 32])]))), "{remove:?}");
    assert!(desk.enter("/leave").contains(&Effect::Leave(GROUP)), "and it is left");

    for (line, told) in
        [("/remove zoe@birch", "takes no part"), ("/verify", "Name one"), ("/frobnicate", "There is no")]
    {
        assert_eq!(desk.enter(line), [], "{line} asks nothing of the session");
        assert!(desk.notice().contains(told), "{line}: {}", desk.notice());
        assert_eq!(desk.model.editor().text(), line, "and stays to be mended");
        desk.press(&[Key::Ctrl('u')]);
    }
    desk.press(&[Key::Ctrl('u')]);
    desk.enter("/to bob@birch");
    assert_eq!(desk.model.open(), Some(Place::Conversation(BOB)), "a known one opens at once");
}

#[test]
fn a_draft_survives_a_command_that_opens_another_conversation() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    desk.input(Input::Draft(BOB, "not yet".into()));
    desk.press(&[Key::AltDown]);
    desk.enter("/to bob@birch");
    assert_eq!(desk.model.editor().text(), "not yet", "the command was no draft of bob's");
}

#[test]
fn pages_load_older_messages_and_stay_where_one_reads() {
    let mut desk = Desk::new(80, 24);
    let many: Vec<_> = (0..50).map(|minute| said(minute, "bob@birch", &format!("line {minute}"))).collect();
    desk.snapshot.talk = Some((BOB, crate::interactive::snapshot::Talk { older: true, ..Default::default() }));
    desk.open_bob(many.clone());
    assert!(desk.screen().contains("line 49"), "the newest are shown");
    desk.press(&[Key::PageUp]);
    let before = desk.rows();
    let mut grown = many.clone();
    grown.push(said(55, "bob@birch", "new"));
    desk.say(grown);
    assert_eq!(before[1..20], desk.rows()[1..20], "what is read does not move when something comes");
    assert_eq!(desk.input(Input::Received(BOB)), [], "nor is that read before it is seen");
    let wanted = |max| Effect::Refresh(Some(Wanted { id: BOB, place: place_of_bob(), max }));
    let up = desk.press(&[Key::PageUp, Key::PageUp, Key::PageUp, Key::PageUp]);
    assert!(up.contains(&wanted(2 * PAGE)), "at the top older ones are asked for: {up:?}");
    desk.snapshot.conversations[0].unread = 1;
    desk.show();
    let down = desk.press(&[Key::Escape]);
    assert!(down.contains(&Effect::MarkRead(BOB, place_of_bob())), "back at the end it is read: {down:?}");
    assert!(down.contains(&wanted(PAGE)), "and the old ones are let go");
}

#[test]
fn selecting_scrolls_as_far_as_is_needed() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob((0..40).map(|minute| said(minute, "bob@birch", &format!("line {minute}"))).collect());
    desk.press(&vec![Key::Up; 30]);
    assert_eq!(desk.model.selected(), Some(id(10)), "thirty up");
    assert!(desk.rows().iter().any(|row| row.contains("line 10") && row.contains('▌')), "{}", desk.screen());
    desk.press(&vec![Key::Down; 30]);
    assert_eq!((desk.model.selected(), desk.model.scroll()), (None, 0), "thirty down is the input again");
}

#[test]
fn help_opens_anywhere_and_a_question_mark_can_still_be_written() {
    let mut desk = Desk::new(80, 24);
    desk.press(&[Key::Char('?')]);
    assert!(desk.screen().contains("Ctrl-R"), "in the list: {}", desk.screen());
    desk.press(&[Key::Escape]);
    desk.open_bob(talk());
    desk.press(&[Key::Char('?')]);
    assert!(matches!(desk.model.overlay(), Some(Overlay::Help(0))), "where nothing is written");
    desk.press(&[Key::Char('?')]);
    assert_eq!((desk.model.overlay(), desk.model.editor().text()), (None, "?"), "again writes one");
    desk.press(&[Key::Char('?')]);
    assert_eq!(desk.model.editor().text(), "??", "and behind something it is a letter");
    desk.press(&[Key::F1]);
    assert!(desk.model.overlay().is_some(), "F1 is always help");
}

#[test]
fn a_text_over_the_limit_is_not_taken() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    desk.press(&[Key::Paste("x".repeat(16 * 1024))]);
    desk.write("y");
    assert_eq!(desk.model.editor().text().len(), 16 * 1024, "the limit of a message");
    assert!(desk.notice().contains("16384 bytes"), "is told: {}", desk.notice());
}

#[test]
fn of_one_of_many_its_title_its_roles_and_its_timer_are_changed_by_a_line() {
    let mut desk = Desk::new(80, 24);
    desk.press(&[Key::Down, Key::Enter]);
    let title = desk.enter("/title Friends of the house");
    assert!(title.contains(&Effect::Title(GROUP, "Friends of the house".into())), "{title:?}");
    let role = desk.enter("/role carol@cedar admin");
    let change = GroupChange::Role(AccountId([2; 32]), Role::Admin);
    assert!(role.contains(&Effect::Change(GROUP, change)), "{role:?}");
    let timer = desk.enter("/timer 1d");
    assert!(timer.contains(&Effect::Timer(GROUP.into(), Some(86_400))), "{timer:?}");
    let off = desk.enter("/timer off");
    assert!(off.contains(&Effect::Timer(GROUP.into(), None)), "{off:?}");
    for line in ["/role carol@cedar king", "/role eve@acme admin", "/timer soon", "/title"] {
        assert_eq!(desk.enter(line), [], "{line} asks nothing of the session");
        assert!(desk.model.notice().is_some_and(|notice| notice.failed), "{line} says why");
        desk.press(&[Key::Ctrl('u')]);
    }
    desk.enter("/info");
    let screen = desk.screen();
    assert!(screen.contains("carol@cedar  member, 1 device") && screen.contains("hub 12D3KooW"), "{screen}");
}

#[test]
fn words_are_found_one_after_the_other_upwards() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(vec![
        said(1, "bob@birch", "Tea at four"),
        said(2, "alice@acme", "yes"),
        said(3, "bob@birch", "tea!"),
    ]);
    desk.enter("/find tea");
    assert_eq!(desk.model.selected(), Some(id(3)), "the newest first");
    desk.enter("/find tea");
    assert_eq!(desk.model.selected(), Some(id(1)), "then the one before, in either case");
    desk.enter("/find tea");
    assert!(desk.notice().contains("Nobody said that"), "and then none: {}", desk.notice());
}

#[test]
fn who_types_and_who_looks_is_said_in_passing_and_no_command_is() {
    let mut desk = Desk::new(80, 24);
    desk.open_bob(talk());
    assert_eq!(desk.passing, [Effect::Active, Effect::Watch(place_of_bob())], "she is here and looks at bob");
    desk.passing.clear();
    desk.write("hi");
    assert_eq!(desk.passing, [Effect::Typing(place_of_bob(), true)], "she types, said once");
    desk.press(&[Key::Ctrl('u')]);
    assert_eq!(desk.passing.last(), Some(&Effect::Typing(place_of_bob(), false)), "and stopped");
    desk.passing.clear();
    desk.write("/timer");
    assert_eq!(desk.passing, [], "a command is no word to bob");
    desk.press(&[Key::Ctrl('u')]);
    desk.write("x");
    desk.passing.clear();
    desk.press(&[Key::AltDown]);
    let left = [Effect::Typing(place_of_bob(), false), Effect::Unwatch(place_of_bob())];
    assert_eq!(desk.passing, left, "who leaves types there no more and does not ask for bob");
}
