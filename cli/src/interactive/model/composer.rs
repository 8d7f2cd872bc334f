//! Writing: what keys do in a conversation, and what Enter makes of it.

use super::{Effect, Focus, Model, Notice, Overlay, Place};
use crate::interactive::editor::Editor;
use crate::interactive::keys::Key;
use crate::interactive::snapshot::{Conversation, Who};
use crate::interactive::text::clean;
use roost_client::core::Recipient;
use roost_client::core::history::HistoryItem;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::limits;

/// What digits stand for while an emoji is chosen.
pub const EMOJI: [&str; 6] = ["👍", "❤️", "😂", "😮", "😢", "🎉"];

/// What the input is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// A new message.
    Write,
    /// One that answers another.
    Reply(MessageId),
    /// Another text for one of ours; the draft stays as it is.
    Edit(MessageId, Editor),
    /// An emoji.
    React(MessageId, Editor),
    /// Asks once more.
    Delete(MessageId),
}

impl Mode {
    /// The message that it is about.
    pub fn message(&self) -> Option<MessageId> {
        match self {
            Self::Write => None,
            Self::Reply(id) | Self::Edit(id, _) | Self::React(id, _) | Self::Delete(id) => Some(*id),
        }
    }
}

impl Model {
    pub(super) fn key_in_talk(&mut self, key: Key) {
        match key {
            Key::Tab => self.focus = Focus::List,
            Key::Escape => self.step_back(),
            Key::AltUp => self.open_beside(|at| at.saturating_sub(1)),
            Key::AltDown => self.open_beside(|at| at + 1),
            Key::PageUp => self.page_up(),
            Key::PageDown => self.page_down(),
            Key::Up if self.open == Some(Place::Requests) => self.select_request(|at| at.saturating_sub(1)),
            Key::Down if self.open == Some(Place::Requests) => self.select_request(|at| at + 1),
            Key::Up if !self.active().up() => self.select_older(),
            Key::Down if !self.active().down() => self.select_newer(),
            Key::Ctrl('d') | Key::Enter if matches!(self.mode, Mode::Delete(_)) => self.delete(),
            Key::Ctrl('r') => self.begin_reply(),
            Key::Ctrl('e') => self.begin_edit(),
            Key::Ctrl('d') => self.begin_delete(),
            Key::Ctrl('k') => self.begin_reaction(),
            Key::Enter => self.enter(),
            Key::Char('?') if self.editor().is_empty() && self.mode == Mode::Write => {
                self.overlay = Some(Overlay::Help(0));
            }
            Key::Char(digit) if self.pick(digit) => {}
            Key::Char(letter) => self.write(letter.encode_utf8(&mut [0; 4])),
            Key::Break => self.write("\n"),
            Key::Paste(text) => self.write(&clean(&text)),
            other => self.edit_text(&other),
        }
    }

    /// Writes at the cursor.
    pub(super) fn write(&mut self, text: &str) {
        if !self.active().insert(text, limits::TEXT_BYTES_MAX) {
            self.notice = Some(Notice::failed(format!("A message has {} bytes at most.", limits::TEXT_BYTES_MAX)));
        }
        self.touched();
    }

    /// A draft came back from the session: what was written meanwhile wins.
    pub(super) fn draft(&mut self, conversation: ConversationId, text: &str) {
        let text = clean(text);
        if self.open == Some(Place::Conversation(conversation)) && self.editor.is_empty() && !self.unsaved {
            self.editor = Editor::with(&text);
        }
        self.drafts.entry(conversation).or_insert(text);
    }

    /// Keeps what is written in the open conversation.
    pub(super) fn save_draft(&mut self) {
        if !std::mem::take(&mut self.unsaved) {
            return;
        }
        if let Some(Place::Conversation(id)) = self.open {
            let text = self.editor.text().to_owned();
            self.drafts.insert(id, text.clone());
            self.effects.push_back(Effect::SaveDraft(id, text));
        }
    }

    /// The text of a message that was not written comes back, unless there is another one by now.
    pub(super) fn not_written(&mut self, conversation: ConversationId, text: &str, why: String) {
        self.notice = Some(Notice::failed(why));
        let is_open = self.open == Some(Place::Conversation(conversation));
        if is_open && self.editor.is_empty() {
            self.editor = Editor::with(&clean(text));
            self.unsaved = true;
        } else if !is_open && self.drafts.get(&conversation).is_none_or(String::is_empty) {
            self.drafts.insert(conversation, clean(text));
            self.effects.push_back(Effect::SaveDraft(conversation, text.to_owned()));
        }
    }

    /// Empties the input.
    pub(super) fn written(&mut self) -> String {
        self.mode = Mode::Write;
        self.unsaved = true;
        let text = self.editor.take();
        self.save_draft();
        text
    }

    fn active(&mut self) -> &mut Editor {
        match &mut self.mode {
            Mode::Edit(_, editor) | Mode::React(_, editor) => editor,
            _ => &mut self.editor,
        }
    }

    fn edit_text(&mut self, key: &Key) {
        let editor = self.active();
        match key {
            Key::Left => editor.left(),
            Key::Right => editor.right(),
            Key::WordLeft => editor.word_left(),
            Key::WordRight => editor.word_right(),
            Key::Home => editor.home(),
            Key::End => editor.end(),
            Key::Backspace => editor.backspace(),
            Key::Delete => editor.delete(),
            Key::Ctrl('w') => editor.delete_word(),
            Key::Ctrl('u') => editor.delete_to_start(),
            _ => return,
        }
        self.touched();
    }

    fn touched(&mut self) {
        self.is_typing();
        self.unsaved |= matches!(self.mode, Mode::Write | Mode::Reply(_) | Mode::Delete(_));
    }

    /// One step out of what is going on.
    fn step_back(&mut self) {
        if self.mode != Mode::Write {
            self.mode = Mode::Write;
        } else if self.selected.is_some() || self.scroll > 0 {
            self.selected = None;
            self.page_to_newest();
        } else {
            self.focus = Focus::List;
        }
    }

    fn page_to_newest(&mut self) {
        while self.scroll > 0 {
            self.page_down();
        }
    }

    fn enter(&mut self) {
        let text = self.editor().text().to_owned();
        match self.mode.clone() {
            Mode::Edit(id, _) => self.edit(id, &text),
            Mode::React(id, _) => self.react(id, text.trim()),
            _ if text.trim().is_empty() => {}
            _ => match text.strip_prefix('/') {
                // Twice is once: a text may begin with it.
                Some(rest) if !rest.starts_with('/') => self.command(rest),
                Some(rest) => self.send(rest.to_owned()),
                None => self.send(text),
            },
        }
    }

    fn send(&mut self, text: String) {
        let reply = if let Mode::Reply(id) = self.mode { Some(id) } else { None };
        match self.writable() {
            Ok((conversation, to)) => {
                self.has_written();
                self.written();
                self.selected = None;
                self.page_to_newest();
                self.effects.push_back(Effect::Send { conversation, to, text, reply });
                // Whoever is written to is no stranger any more, and may be asked for.
                self.watch();
            }
            Err(why) => self.notice = Some(Notice::failed(why)),
        }
    }

    fn edit(&mut self, message: MessageId, text: &str) {
        if text.trim().is_empty() {
            self.notice = Some(Notice::failed("Nothing is left of it. Ctrl-D takes a message back."));
            return;
        }
        let text = text.to_owned();
        self.change(|to| Effect::Edit { to, message, text });
    }

    fn delete(&mut self) {
        if let Mode::Delete(message) = self.mode {
            self.change(|to| Effect::Delete { to, message });
            self.selected = None;
        }
    }

    fn react(&mut self, message: MessageId, emoji: &str) {
        let emoji = if emoji.is_empty() { EMOJI[0] } else { emoji };
        let me = self.me();
        let item = self.talk.items.iter().find(|item| item.id == message);
        let remove = item.is_some_and(|item| item.reactions.iter().any(|one| one.from == me && one.emoji == emoji));
        let emoji = emoji.to_owned();
        self.change(|to| Effect::React { to, message, emoji, remove });
    }

    /// Lets a change of a message go, where the person may write.
    fn change(&mut self, effect: impl FnOnce(Recipient) -> Effect) {
        match self.writable() {
            Ok((_, to)) => {
                self.mode = Mode::Write;
                self.effects.push_back(effect(to));
            }
            Err(why) => self.notice = Some(Notice::failed(why)),
        }
    }

    /// Where words of ours go, or why they go nowhere.
    fn writable(&self) -> Result<(ConversationId, Recipient), String> {
        let Some(conversation) = self.conversation() else {
            return Err("No conversation is open. /to NAME begins one.".to_owned());
        };
        match &conversation.who {
            Who::Handle { handle, key_changed: true, .. } => {
                Err(format!("{handle}'s key changed: /verify or /accept-key before you write."))
            }
            Who::Many { over: true, .. } => Err("You take no part in it any more.".to_owned()),
            _ => Ok((conversation.id, conversation.recipient())),
        }
    }

    fn begin_reply(&mut self) {
        let chosen = self.answerable();
        self.begin(chosen.map(Mode::Reply), "There is no message to answer.");
    }

    fn begin_edit(&mut self) {
        let chosen = self.chosen(|item| item.own && !item.deleted && !item.expired);
        let edit = chosen.map(|item| Mode::Edit(item.id, Editor::with(&clean(&item.text))));
        self.begin(edit, "Only your own messages can be changed.");
    }

    fn begin_delete(&mut self) {
        let chosen = self.chosen(|item| item.own && !item.deleted && !item.expired).map(|item| item.id);
        self.begin(chosen.map(Mode::Delete), "Only your own messages can be taken back.");
    }

    fn begin_reaction(&mut self) {
        let chosen = self.answerable();
        self.begin(chosen.map(|id| Mode::React(id, Editor::default())), "There is no message to react to.");
    }

    /// The selected message, else the newest of another, else the newest.
    fn answerable(&self) -> Option<MessageId> {
        let stands = |item: &HistoryItem| !item.deleted && !item.expired;
        let theirs = self.chosen(|item| stands(item) && !item.own);
        theirs.or_else(|| self.chosen(stands)).map(|item| item.id)
    }

    fn begin(&mut self, mode: Option<Mode>, otherwise: &str) {
        match mode {
            Some(mode) => self.mode = mode,
            None => self.notice = Some(Notice::failed(otherwise)),
        }
    }

    /// A digit chooses an emoji, as long as nothing else is written.
    fn pick(&mut self, digit: char) -> bool {
        let Mode::React(id, editor) = &self.mode else { return false };
        let (id, at) = (*id, digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()));
        let emoji = at.and_then(|at| EMOJI.get(at.checked_sub(1)?)).filter(|_| editor.is_empty());
        let Some(emoji) = emoji else { return false };
        self.react(id, emoji);
        true
    }
}

impl Conversation {
    /// What the input says while it is empty.
    pub fn invitation(&self, me: &str) -> String {
        match &self.who {
            Who::Many { over: true, .. } => "You take no part in it any more".to_owned(),
            Who::Many { .. } => "Write to all of them".to_owned(),
            _ => format!("Write to {}", self.title(me)),
        }
    }
}
