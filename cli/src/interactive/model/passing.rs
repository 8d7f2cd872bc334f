//! What is said in passing while the person reads and writes: that somebody types, that somebody is there, and whom to ask for.

use super::{Effect, Mode, Model};
use crate::interactive::snapshot::Who;
use roost_client::core::Recipient;

/// Between two words that the person still types, milliseconds; the session says it seldom enough by itself.
const TYPING_PAUSE_MS: u64 = 2_000;
/// Between two words that the person is here, milliseconds.
const ACTIVE_PAUSE_MS: u64 = 30_000;

/// What was said in passing, and when.
#[derive(Default)]
pub struct Passing {
    typed_at: Option<u64>,
    active_at: u64,
}

impl Model {
    /// A key was pressed: the person is here.
    pub(super) fn is_active(&mut self) {
        let now_ms = self.clock.now_ms;
        if self.passing.active_at.saturating_add(ACTIVE_PAUSE_MS) <= now_ms {
            self.passing.active_at = now_ms;
            self.effects.push_back(Effect::Active);
        }
    }

    /// The input is another than before: whoever reads along may hear that.
    pub(super) fn is_typing(&mut self) {
        let words = matches!(self.mode, Mode::Write | Mode::Reply(_));
        // A command is no word to anybody.
        let to_them = words && !self.editor.is_empty() && !self.editor.text().starts_with('/');
        let now_ms = self.clock.now_ms;
        if !to_them {
            self.stops_typing();
        } else if self.passing.typed_at.is_none_or(|at| at.saturating_add(TYPING_PAUSE_MS) <= now_ms)
            && let Some(place) = self.conversation().map(|one| one.place())
        {
            self.passing.typed_at = Some(now_ms);
            self.effects.push_back(Effect::Typing(place, true));
        }
    }

    /// Nothing is being written any more; whoever gets the message knows by that.
    pub(super) fn has_written(&mut self) {
        self.passing.typed_at = None;
    }

    pub(super) fn stops_typing(&mut self) {
        if self.passing.typed_at.take().is_some()
            && let Some(place) = self.conversation().map(|one| one.place())
        {
            self.effects.push_back(Effect::Typing(place, false));
        }
    }

    /// The open conversation is shown: whether the other is there is asked for.
    pub(super) fn watch(&mut self) {
        let watched = self.watchable().map(Effect::Watch);
        self.effects.extend(watched);
    }

    pub(super) fn unwatch(&mut self) {
        let watched = self.watchable().map(Effect::Unwatch);
        self.effects.extend(watched);
    }

    fn watchable(&self) -> Option<Recipient> {
        let one = self.conversation()?;
        if matches!(one.who, Who::Many { .. }) { None } else { Some(one.place()) }
    }
}
