//! The interactive client as data: what it shows, and what keys and news of the session make of it.
//!
//! Pure: time and answers are inputs, what is to be done is an effect. Contract: after every [`Model::handle`] drain
//! [`Model::poll_effect`]. It never touches a terminal or a session.

mod commands;
mod composer;
mod inputs;
mod moves;
mod overlays;
mod passing;
#[cfg(test)]
mod stories;

pub use composer::{EMOJI, Mode};
pub use inputs::{Effect, Focus, Input, Notice, Overlay, Place};

use super::editor::Editor;
use super::keys::Key;
use super::layout::Panes;
use super::snapshot::{Conversation, Snapshot, Talk, Wanted, Who, empty};
use super::stamp::Clock;
use super::transcript::{Row, Transcript};
use jiff::tz::TimeZone;
use passing::Passing;
use roost_client::core::message::Status;
use roost_client::core::people::Request;
use roost_crypto::safety_number::SafetyNumber;
use roost_protocol::AccountId;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use std::collections::{BTreeMap, VecDeque};

/// Messages that are loaded at once.
pub const PAGE: usize = 50;
/// Messages of a conversation kept in memory: whoever wants more reads `roost chat history`.
pub const LOADED_MAX: usize = 5_000;
/// Rows of the input that are shown.
const INPUT_ROWS_MAX: usize = 5;

/// Everything that is shown.
pub struct Model {
    clock: Clock,
    size: (u16, u16),
    status: Option<Status>,
    conversations: Vec<Conversation>,
    requests: Vec<Request>,
    lost: usize,
    /// Begun here, unknown to the session until something is said.
    begun: BTreeMap<ConversationId, Conversation>,
    /// Comes to be opened as soon as it is in the list.
    awaited: Option<ConversationId>,
    focus: Focus,
    cursor: Option<Place>,
    open: Option<Place>,
    talk: Talk,
    /// Messages of the open conversation that are wanted.
    wanted: usize,
    /// Rows below those that are shown.
    scroll: usize,
    selected: Option<MessageId>,
    /// Which request is selected.
    request: usize,
    editor: Editor,
    mode: Mode,
    drafts: BTreeMap<ConversationId, String>,
    /// The draft is another than the one that is kept.
    unsaved: bool,
    overlay: Option<Overlay>,
    notice: Option<Notice>,
    passing: Passing,
    effects: VecDeque<Effect>,
    over: bool,
}

impl Model {
    pub fn new(size: (u16, u16), zone: TimeZone, now_ms: u64) -> Self {
        Self {
            clock: Clock { now_ms, zone },
            size,
            status: None,
            conversations: Vec::new(),
            requests: Vec::new(),
            lost: 0,
            begun: BTreeMap::new(),
            awaited: None,
            focus: Focus::List,
            cursor: None,
            open: None,
            talk: Talk::default(),
            wanted: PAGE,
            scroll: 0,
            selected: None,
            request: 0,
            editor: Editor::default(),
            mode: Mode::Write,
            drafts: BTreeMap::new(),
            unsaved: false,
            overlay: None,
            notice: None,
            passing: Passing::default(),
            effects: VecDeque::from([Effect::Refresh(None)]),
            over: false,
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now_ms: u64) {
        self.clock.now_ms = now_ms;
        match input {
            Input::Key(key) => self.key(key),
            Input::Size(width, height) => {
                self.size = (width, height);
                self.clamp_scroll();
            }
            Input::Altered => self.refresh(),
            Input::Received(conversation) if self.is_reading(&conversation) => self.mark_read(),
            Input::Received(_) => {}
            Input::Snapshot(snapshot) => self.show(*snapshot),
            Input::Draft(conversation, text) => self.draft(conversation, &text),
            Input::Found(handle, account, conversation) => self.found(handle, account, conversation),
            Input::Begun(conversation) => self.begun(conversation),
            Input::SafetyNumber { with, number, code } => self.compare(with, number, code),
            Input::Devices(devices) => self.show_devices(&devices),
            Input::RevokeAsked(device) => self.overlay = Some(Overlay::Revoke(device)),
            Input::Linking(code) => self.show_link(code),
            Input::LinkAsked(asked) => self.link_asked(asked),
            Input::NotWritten { conversation, text, why } => self.not_written(conversation, &text, why),
            Input::Notice(notice) => self.notice = Some(notice),
            Input::Pause => self.save_draft(),
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The person wants to go.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Columns and rows of the terminal.
    pub fn size(&self) -> (u16, u16) {
        self.size
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Our handle, once it is known.
    pub fn me(&self) -> &str {
        self.status.as_ref().map_or("", |status| status.handle.as_str())
    }

    pub fn conversations(&self) -> &[Conversation] {
        &self.conversations
    }

    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Entries that cannot be shown and belong to no conversation that is known.
    pub fn lost(&self) -> usize {
        self.lost
    }

    pub fn focus(&self) -> Focus {
        self.focus
    }

    /// Where the cursor of the list is: at its top until it is moved.
    pub fn cursor(&self) -> Option<Place> {
        self.cursor.or_else(|| self.places().first().copied())
    }

    /// What is open.
    pub fn open(&self) -> Option<Place> {
        self.open
    }

    /// The open conversation.
    pub fn conversation(&self) -> Option<&Conversation> {
        match self.open {
            Some(Place::Conversation(id)) => self.find(&id),
            _ => None,
        }
    }

    pub fn talk(&self) -> &Talk {
        &self.talk
    }

    /// Rows below those that are shown.
    pub fn scroll(&self) -> usize {
        self.scroll
    }

    pub fn selected(&self) -> Option<MessageId> {
        self.selected
    }

    /// The request that is selected.
    pub fn request(&self) -> Option<&Request> {
        self.requests.get(self.request)
    }

    pub fn editor(&self) -> &Editor {
        match &self.mode {
            Mode::Edit(_, editor) | Mode::React(_, editor) => editor,
            _ => &self.editor,
        }
    }

    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    pub fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    pub fn notice(&self) -> Option<&Notice> {
        self.notice.as_ref()
    }

    /// Unread messages outside of what is open.
    pub fn unread_elsewhere(&self) -> usize {
        let elsewhere = self.conversations.iter().filter(|one| self.open != Some(Place::Conversation(one.id)));
        elsewhere.map(|one| one.unread).sum()
    }

    /// Which part of the terminal is whose.
    pub fn panes(&self) -> Panes {
        let (width, height) = self.size;
        let input = Panes::of(width, height, 1, self.focus).input.width;
        let lines = self.editor().shown(usize::from(input)).lines.len().clamp(1, INPUT_ROWS_MAX);
        Panes::of(width, height, u16::try_from(lines).unwrap_or(1), self.focus)
    }

    /// Whether another account was found behind a handle, and the person has not decided.
    pub fn key_changed(&self, of: &Handle) -> bool {
        let is_of = |one: &&Conversation| matches!(&one.who, Who::Handle { handle, .. } if handle == of);
        self.conversations.iter().find(is_of).is_some_and(Conversation::key_changed)
    }

    /// The rows of the open conversation.
    pub fn rows(&self) -> Vec<Row> {
        let many = matches!(self.conversation().map(|one| &one.who), Some(Who::Many { .. }));
        let width = self.panes().body.width;
        Transcript { talk: &self.talk, me: self.me(), many, width, clock: &self.clock }.rows()
    }

    fn find(&self, id: &ConversationId) -> Option<&Conversation> {
        self.conversations.iter().find(|one| one.id == *id)
    }

    fn is_reading(&self, conversation: &ConversationId) -> bool {
        self.open == Some(Place::Conversation(*conversation)) && self.panes().talk_is_shown() && self.scroll == 0
    }

    /// Asks for everything that is shown.
    fn refresh(&mut self) {
        let wanted =
            self.conversation().map(|one| Wanted { id: one.id, place: one.place(), max: self.wanted.min(LOADED_MAX) });
        // One that waits would ask for the same.
        self.effects.retain(|effect| !matches!(effect, Effect::Refresh(_)));
        self.effects.push_back(Effect::Refresh(wanted));
    }

    fn mark_read(&mut self) {
        let read = self.conversation().map(|one| Effect::MarkRead(one.id, one.place()));
        self.effects.extend(read);
    }

    fn show(&mut self, snapshot: Snapshot) {
        let Snapshot { status, conversations, requests, lost, talk } = snapshot;
        self.status = Some(status);
        self.lost = lost;
        self.requests = requests;
        self.request = self.request.min(self.requests.len().saturating_sub(1));
        self.begun.retain(|id, _| conversations.iter().all(|one| one.id != *id));
        self.conversations = self.begun.values().cloned().chain(conversations).collect();
        if let Some((id, talk)) = talk.filter(|(id, _)| self.open == Some(Place::Conversation(*id))) {
            self.show_talk(talk);
            if self.find(&id).is_some_and(|one| one.unread > 0) && self.is_reading(&id) {
                self.mark_read();
            }
        }
        let known = |place: &Place| match place {
            Place::Requests => true,
            Place::Conversation(id) => self.conversations.iter().any(|one| one.id == *id),
        };
        self.cursor = self.cursor.filter(known);
        if !self.open.as_ref().is_none_or(known) {
            self.close();
        }
        if let Some(id) = self.awaited.filter(|id| self.find(id).is_some()) {
            self.awaited = None;
            self.open_place(Place::Conversation(id));
        }
        self.tell_key_change();
    }

    fn show_talk(&mut self, talk: Talk) {
        let before = self.talk.items.last().map(|item| item.id);
        self.talk = talk;
        // What the person looks at stays where it is.
        if self.scroll > 0
            && let Some(before) = before
        {
            let rows = self.rows();
            let last = rows.iter().rposition(|row| row.message.is_some_and(|id| id <= before));
            self.scroll += last.map_or(0, |last| rows.len() - 1 - last);
        }
        let items = &self.talk.items;
        self.selected = self.selected.filter(|id| items.iter().any(|item| item.id == *id));
        let gone = |id: &MessageId| items.iter().all(|item| item.id != *id || item.deleted || item.expired);
        if self.mode.message().is_some_and(|id| gone(&id)) {
            self.mode = Mode::Write;
            self.notice = Some(Notice::failed("The message is gone."));
        }
        self.clamp_scroll();
    }

    /// The warning stands on the screen now; sending stays blocked until the person decides.
    fn tell_key_change(&mut self) {
        if let Some(Conversation { who: Who::Handle { handle, key_changed: true, .. }, .. }) = self.conversation() {
            let shown = Effect::KeyChangeShown(handle.clone());
            self.effects.push_back(shown);
        }
    }

    fn found(&mut self, handle: Handle, account: AccountId, conversation: ConversationId) {
        self.notice = None;
        if self.find(&conversation).is_none() {
            let who = Who::Handle { handle, account, verified: false, key_changed: false };
            self.begun.insert(conversation, empty(conversation, who.clone()));
            self.conversations.insert(0, empty(conversation, who));
        }
        self.open_place(Place::Conversation(conversation));
    }

    fn begun(&mut self, conversation: ConversationId) {
        self.awaited = Some(conversation);
        self.refresh();
    }

    fn compare(&mut self, with: Handle, number: SafetyNumber, code: String) {
        self.notice = None;
        self.overlay = Some(Overlay::SafetyNumber { with, number, code });
    }

    fn key(&mut self, key: Key) {
        if matches!(key, Key::Ctrl('c' | 'q')) {
            self.save_draft();
            self.over = true;
            return;
        }
        self.notice = None;
        self.is_active();
        match (self.overlay.take(), self.focus) {
            (Some(overlay), _) => self.key_over(overlay, key),
            (None, _) if key == Key::F1 => self.overlay = Some(Overlay::Help(0)),
            (None, Focus::List) => self.key_in_list(key),
            (None, Focus::Talk) => self.key_in_talk(key),
        }
    }
}
