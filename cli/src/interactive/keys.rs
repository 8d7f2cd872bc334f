//! What the person presses, apart from how a terminal says it.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A key, or what was pasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Char(char),
    /// A letter together with Ctrl.
    Ctrl(char),
    Paste(String),
    Enter,
    /// A line break within a text.
    Break,
    Tab,
    Up,
    Down,
    AltUp,
    AltDown,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    PageUp,
    PageDown,
    Backspace,
    Delete,
    Escape,
    F1,
}

/// The key that a terminal's event means, if any.
pub fn key(event: Event) -> Option<Key> {
    match event {
        Event::Key(event) if event.kind != KeyEventKind::Release => pressed(event),
        Event::Paste(text) => Some(Key::Paste(text)),
        _ => None,
    }
}

fn pressed(event: KeyEvent) -> Option<Key> {
    let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
    let alt = event.modifiers.contains(KeyModifiers::ALT);
    Some(match event.code {
        // Terminals that cannot say Alt-Enter still have Ctrl-J.
        KeyCode::Enter if alt || ctrl => Key::Break,
        KeyCode::Char('j') if ctrl => Key::Break,
        KeyCode::Enter => Key::Enter,
        KeyCode::Char('h') if ctrl => Key::Backspace,
        KeyCode::Char('a') if ctrl => Key::Home,
        KeyCode::Backspace if alt || ctrl => Key::Ctrl('w'),
        // AltGr arrives as both.
        KeyCode::Char(letter) if ctrl && !alt => Key::Ctrl(letter.to_ascii_lowercase()),
        KeyCode::Char('b') if alt && !ctrl => Key::WordLeft,
        KeyCode::Char('f') if alt && !ctrl => Key::WordRight,
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Up if alt => Key::AltUp,
        KeyCode::Down if alt => Key::AltDown,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left if ctrl || alt => Key::WordLeft,
        KeyCode::Right if ctrl || alt => Key::WordRight,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Esc => Key::Escape,
        KeyCode::F(1) => Key::F1,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        key(Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn a_terminal_may_say_the_same_in_two_ways() {
        let (none, ctrl, alt) = (KeyModifiers::NONE, KeyModifiers::CONTROL, KeyModifiers::ALT);
        assert_eq!(press(KeyCode::Enter, alt), Some(Key::Break), "Alt-Enter breaks a line");
        assert_eq!(press(KeyCode::Char('j'), ctrl), Some(Key::Break), "so does Ctrl-J");
        assert_eq!(press(KeyCode::Enter, none), Some(Key::Enter), "Enter alone does not");
        assert_eq!(press(KeyCode::Char('Q'), ctrl), Some(Key::Ctrl('q')), "with or without Shift");
        let at = press(KeyCode::Char('@'), ctrl | alt);
        assert_eq!(at, Some(Key::Char('@')), "AltGr writes");
        let mut released = KeyEvent::new(KeyCode::Char('a'), none);
        released.kind = KeyEventKind::Release;
        assert_eq!(key(Event::Key(released)), None, "letting go is no key");
    }
}
