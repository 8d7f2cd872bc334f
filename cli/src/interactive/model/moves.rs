//! Moving: in the list, in what was said, and from one conversation to another.

use super::{Effect, Focus, LOADED_MAX, Mode, Model, Notice, Overlay, PAGE, Place};
use crate::interactive::editor::Editor;
use crate::interactive::keys::Key;
use crate::interactive::snapshot::Talk;
use roost_client::core::history::HistoryItem;
use roost_protocol::ids::MessageId;

impl Model {
    pub(super) fn key_in_list(&mut self, key: Key) {
        match key {
            Key::Up => self.move_cursor(|at| at.saturating_sub(1)),
            Key::Down => self.move_cursor(|at| at + 1),
            Key::PageUp => self.move_cursor(|at| at.saturating_sub(10)),
            Key::PageDown => self.move_cursor(|at| at + 10),
            Key::Home => self.move_cursor(|_| 0),
            Key::End => self.move_cursor(|_| usize::MAX),
            Key::AltUp => self.open_beside(|at| at.saturating_sub(1)),
            Key::AltDown => self.open_beside(|at| at + 1),
            Key::Char('?') => self.overlay = Some(Overlay::Help(0)),
            Key::Enter | Key::Right => match self.cursor() {
                Some(place) => self.open_place(place),
                None => self.focus = Focus::Talk,
            },
            Key::Tab | Key::Escape => self.look_at_talk(),
            Key::Char(_) | Key::Paste(_) => {
                self.look_at_talk();
                self.key_in_talk(key);
            }
            _ => {}
        }
    }

    /// Everything that the list shows, in its order.
    pub fn places(&self) -> Vec<Place> {
        let requests = (!self.requests.is_empty()).then_some(Place::Requests);
        requests.into_iter().chain(self.conversations.iter().map(|one| Place::Conversation(one.id))).collect()
    }

    pub(super) fn open_place(&mut self, place: Place) {
        if self.open != Some(place) {
            self.leave();
            self.open = Some(place);
            if let Place::Conversation(id) = place {
                match self.drafts.get(&id) {
                    Some(draft) => self.editor = Editor::with(draft),
                    None => self.effects.push_back(Effect::LoadDraft(id)),
                }
            }
            self.watch();
            self.refresh();
        }
        self.cursor = Some(place);
        self.look_at_talk();
    }

    /// Nothing is open any more.
    pub(super) fn close(&mut self) {
        self.leave();
        self.open = None;
        self.focus = Focus::List;
    }

    /// The conversation beside the open one.
    pub(super) fn open_beside(&mut self, to: impl FnOnce(usize) -> usize) {
        if let Some(place) = self.beside(self.open, to) {
            self.open_place(place);
        }
    }

    /// From what was said, one message up; the oldest loads older ones.
    pub(super) fn select_older(&mut self) {
        let ids: Vec<MessageId> = self.talk.items.iter().map(|item| item.id).collect();
        let older = match self.selected {
            Some(selected) => ids.iter().rev().find(|id| **id < selected),
            None => ids.last(),
        };
        match older {
            Some(id) => {
                self.selected = Some(*id);
                self.show_selected();
            }
            None => self.load_older(),
        }
    }

    /// One message down; below the newest none is selected.
    pub(super) fn select_newer(&mut self) {
        let Some(selected) = self.selected else {
            self.scroll_to(self.scroll.saturating_sub(1));
            return;
        };
        self.selected = self.talk.items.iter().map(|item| item.id).find(|id| *id > selected);
        match self.selected {
            Some(_) => self.show_selected(),
            None => self.scroll_to(0),
        }
    }

    /// Selects the newest loaded message with these words that is older than the selected one.
    pub(super) fn find_words(&mut self, words: &str) -> Result<(), String> {
        let words = words.to_lowercase();
        let older = |item: &&HistoryItem| self.selected.is_none_or(|selected| item.id < selected);
        let found = self.talk.items.iter().rev().filter(older).find(|item| item.text.to_lowercase().contains(&words));
        match found.map(|item| item.id) {
            Some(id) => {
                self.selected = Some(id);
                self.show_selected();
                Ok(())
            }
            None if self.talk.older => Err("Not in what is loaded. PgUp at the top loads more.".to_owned()),
            None => Err("Nobody said that here, or not above.".to_owned()),
        }
    }

    pub(super) fn select_request(&mut self, to: impl FnOnce(usize) -> usize) {
        self.request = to(self.request).min(self.requests.len().saturating_sub(1));
    }

    pub(super) fn page_up(&mut self) {
        let (top, page) = (self.scroll_max(), self.page());
        if self.scroll >= top {
            self.load_older();
        }
        self.scroll_to((self.scroll + page).min(top));
    }

    pub(super) fn page_down(&mut self) {
        self.scroll_to(self.scroll.saturating_sub(self.page()));
    }

    pub(super) fn clamp_scroll(&mut self) {
        self.scroll = self.scroll.min(self.scroll_max());
    }

    /// The selected message, else the newest that fits.
    pub(super) fn chosen(&self, fits: impl Fn(&HistoryItem) -> bool) -> Option<&HistoryItem> {
        let mut items = self.talk.items.iter().rev();
        match self.selected {
            Some(selected) => items.find(|item| item.id == selected).filter(|item| fits(item)),
            None => items.find(|item| fits(item)),
        }
    }

    fn leave(&mut self) {
        self.stops_typing();
        self.unwatch();
        self.save_draft();
        self.talk = Talk::default();
        self.wanted = PAGE;
        self.scroll = 0;
        self.selected = None;
        self.request = 0;
        self.mode = Mode::Write;
        self.editor = Editor::default();
    }

    fn look_at_talk(&mut self) {
        self.focus = Focus::Talk;
        if self.conversation().is_some_and(|one| one.unread > 0) {
            self.mark_read();
        }
    }

    fn move_cursor(&mut self, to: impl FnOnce(usize) -> usize) {
        self.cursor = self.beside(self.cursor(), to);
    }

    fn beside(&self, place: Option<Place>, to: impl FnOnce(usize) -> usize) -> Option<Place> {
        let places = self.places();
        let at = place.and_then(|place| places.iter().position(|one| *one == place));
        let next = at.map_or(0, to).min(places.len().saturating_sub(1));
        places.get(next).copied()
    }

    fn load_older(&mut self) {
        if !self.talk.older {
            return;
        }
        if self.wanted >= LOADED_MAX {
            self.notice = Some(Notice::failed("Older messages: `roost chat history`."));
            return;
        }
        self.wanted += PAGE;
        self.refresh();
    }

    fn scroll_to(&mut self, scroll: usize) {
        self.scroll = scroll;
        if scroll == 0 && self.conversation().is_some_and(|one| one.unread > 0) {
            self.mark_read();
        }
        // Far above the end nobody looks at these any more.
        if scroll == 0 && self.selected.is_none() && self.wanted > PAGE {
            self.wanted = PAGE;
            self.refresh();
        }
    }

    /// Scrolls as little as is needed.
    fn show_selected(&mut self) {
        let rows = self.rows();
        let Some(first) = rows.iter().position(|row| row.message == self.selected) else { return };
        let last = rows.iter().rposition(|row| row.message == self.selected).unwrap_or(first);
        let height = self.page() + 1;
        let below = rows.len() - 1 - last;
        let above = (rows.len() - first).saturating_sub(height);
        if self.scroll < above {
            self.scroll_to(above);
        } else if self.scroll > below {
            self.scroll_to(below);
        }
    }

    /// A page leaves one row to hold on to.
    fn page(&self) -> usize {
        usize::from(self.panes().body.height).saturating_sub(1).max(1)
    }

    fn scroll_max(&self) -> usize {
        self.rows().len().saturating_sub(usize::from(self.panes().body.height))
    }
}
