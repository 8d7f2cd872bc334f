//! The harness of the stories: alice at a screen, a session that is played, and what is drawn.

use super::keys::Key;
use super::model::{Effect, Input, Model};
use super::snapshot::{Conversation, Snapshot, Talk, Who, empty};
use super::view;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use roost_client::core::ParticipantReport;
use roost_client::core::history::{HistoryItem, Mark, Reacted};
use roost_client::core::message::{State, Status};
use roost_client::core::people::Request;
use roost_protocol::AccountId;
use roost_protocol::conversation::Role;
use roost_protocol::ids::{ConversationId, MessageId};

/// 2026-11-24 14:00 in Greenwich.
pub const NOW_MS: u64 = 1_795_528_800_000;
pub const BOB: ConversationId = ConversationId([1; 32]);
pub const GROUP: ConversationId = ConversationId([2; 32]);

/// Alice's screen.
pub struct Desk {
    pub model: Model,
    pub snapshot: Snapshot,
    /// What was said in passing, which most stories are not about.
    pub passing: Vec<Effect>,
    size: (u16, u16),
}

impl Desk {
    /// She has a conversation with bob and one with bob and carol, and nothing was said.
    pub fn new(width: u16, height: u16) -> Self {
        let mut model = Model::new((width, height), TimeZone::UTC, NOW_MS);
        assert_eq!(model.poll_effect(), Some(Effect::Refresh(None)), "a client begins by looking");
        let status = Status {
            handle: "alice@acme".into(),
            account: AccountId([9; 32]).to_string(),
            device: String::new(),
            connected: true,
            homes: Vec::new(),
            outbox: 0,
            conversations: 2,
        };
        let conversations = vec![with_bob(), group()];
        let snapshot = Snapshot { status, conversations, requests: Vec::new(), lost: 0, talk: None };
        let mut desk = Self { model, snapshot, passing: Vec::new(), size: (width, height) };
        desk.show();
        desk
    }

    /// The session answers with what it holds now; gives what is wanted after that.
    pub fn show(&mut self) -> Vec<Effect> {
        self.input(Input::Snapshot(Box::new(self.snapshot.clone())))
    }

    /// She opens the conversation with bob, in which this was said.
    pub fn open_bob(&mut self, items: Vec<HistoryItem>) -> Vec<Effect> {
        self.press(&[Key::Home, Key::Enter]);
        self.say(items)
    }

    /// The open conversation consists of this now.
    pub fn say(&mut self, items: Vec<HistoryItem>) -> Vec<Effect> {
        let older = self.snapshot.talk.as_ref().is_some_and(|(_, talk)| talk.older);
        self.snapshot.talk = Some((BOB, Talk { items, older, ..Talk::default() }));
        self.show()
    }

    pub fn input(&mut self, input: Input) -> Vec<Effect> {
        self.model.handle(input, NOW_MS);
        let effects = std::iter::from_fn(|| self.model.poll_effect());
        let in_passing = |effect: &Effect| {
            matches!(effect, Effect::Active | Effect::Typing(..) | Effect::Watch(_) | Effect::Unwatch(_))
        };
        let (passing, effects): (Vec<_>, Vec<_>) = effects.partition(in_passing);
        self.passing.extend(passing);
        effects
    }

    pub fn press(&mut self, keys: &[Key]) -> Vec<Effect> {
        keys.iter().flat_map(|key| self.input(Input::Key(key.clone()))).collect()
    }

    pub fn write(&mut self, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|letter| self.press(&[Key::Char(letter)])).collect()
    }

    /// Writes a line and presses Enter.
    pub fn enter(&mut self, text: &str) -> Vec<Effect> {
        self.write(text);
        self.press(&[Key::Enter])
    }

    pub fn notice(&self) -> &str {
        self.model.notice().map_or("", |notice| notice.text.as_str())
    }

    /// Each row of the screen; a wide character is followed by nothing.
    pub fn rows(&self) -> Vec<String> {
        let (width, height) = self.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view::draw(frame, &self.model)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let row = |y: u16| -> String {
            let mut row = String::new();
            let mut hidden = 0;
            for x in 0..width {
                let symbol = buffer[(x, y)].symbol();
                if hidden > 0 {
                    hidden -= 1;
                    continue;
                }
                row.push_str(symbol);
                hidden = super::text::columns(symbol).saturating_sub(1);
            }
            row.trim_end().to_owned()
        };
        (0..height).map(row).collect()
    }

    pub fn screen(&self) -> String {
        self.rows().join("\n")
    }
}

pub fn with_bob() -> Conversation {
    let who = Who::Handle {
        handle: "bob@birch".parse().unwrap(),
        account: AccountId([1; 32]),
        verified: false,
        key_changed: false,
    };
    Conversation { newest: Some(id(2)), ..empty(BOB, who) }
}

pub fn group() -> Conversation {
    let one = |name: &str, account: u8| ParticipantReport {
        name: name.into(),
        account: AccountId([account; 32]),
        role: Role::Member,
        devices: 1,
    };
    let participants = vec![one("alice@acme", 9), one("bob@birch", 1), one("carol@cedar", 2)];
    let (title, description, hub) = (String::new(), String::new(), "12D3KooW".to_owned());
    let who = Who::Many { participants, title, description, hub, standing: true, over: false };
    Conversation { newest: Some(id(1)), ..empty(GROUP, who) }
}

/// A message of a minute: the first is of 13:01.
pub fn id(minute: u64) -> MessageId {
    let at_ms = NOW_MS - 60 * 60_000 + minute * 60_000;
    MessageId(((u128::from(at_ms) << 80) | u128::from(minute)).to_be_bytes())
}

/// What somebody wrote in that minute.
pub fn said(minute: u64, from: &str, text: &str) -> HistoryItem {
    let own = from == "alice@acme";
    HistoryItem {
        id: id(minute),
        conversation: BOB,
        with: "bob@birch".into(),
        from: from.into(),
        own,
        kind: "text".into(),
        text: text.into(),
        reply: None,
        mentions: Vec::new(),
        edited: false,
        deleted: false,
        expired: false,
        expires_at: None,
        timer_s: None,
        file: None,
        reactions: Vec::new(),
        unread: false,
        sent_at: id(minute).at_ms(),
        received_at: id(minute).at_ms(),
        state: own.then_some(State::Accepted),
        delivered: Vec::new(),
        read: Vec::new(),
        payload_hash: None,
    }
}

pub fn marked(by: &str) -> Vec<Mark> {
    vec![Mark { by: by.into(), at: NOW_MS }]
}

pub fn reacted(from: &str, emoji: &str) -> Vec<Reacted> {
    vec![Reacted { from: from.into(), emoji: emoji.into() }]
}

pub fn request(account: u8, from: &str, text: &str) -> Request {
    Request {
        conversation: None,
        account: AccountId([account; 32]),
        from: from.into(),
        name: None,
        text: text.into(),
        messages: 1,
        received_at: NOW_MS,
    }
}
