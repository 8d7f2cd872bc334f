//! What the person writes: a text and a cursor between its characters, as people count them.

use super::text::columns;
use unicode_segmentation::UnicodeSegmentation as _;

/// A text that is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Editor {
    text: String,
    /// Byte, between two graphemes.
    cursor: usize,
}

/// The text as it is shown: broken anywhere, so that the cursor is where it seems to be.
pub struct Shown {
    /// Lines.
    pub lines: Vec<String>,
    /// Column and line of the cursor.
    pub cursor: (usize, usize),
}

impl Editor {
    /// The cursor is at the end.
    pub fn with(text: &str) -> Self {
        Self { text: text.to_owned(), cursor: text.len() }
    }

    /// Writes at the cursor; `false`, and nothing, if the text would be longer than `max` bytes.
    pub fn insert(&mut self, text: &str, max: usize) -> bool {
        if self.text.len().saturating_add(text.len()) > max {
            return false;
        }
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
        self.settle();
        true
    }

    /// Removes the character before the cursor.
    pub fn backspace(&mut self) {
        let from = self.before();
        self.remove(from);
    }

    /// Removes the character after the cursor.
    pub fn delete(&mut self) {
        let end = self.cursor;
        self.cursor = self.after();
        self.remove(end);
    }

    /// Removes the word before the cursor.
    pub fn delete_word(&mut self) {
        let from = self.word_before();
        self.remove(from);
    }

    /// Removes everything before the cursor.
    pub fn delete_to_start(&mut self) {
        self.remove(0);
    }

    /// Takes the text away.
    pub fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    pub fn left(&mut self) {
        self.cursor = self.before();
    }

    pub fn right(&mut self) {
        self.cursor = self.after();
    }

    pub fn word_left(&mut self) {
        self.cursor = self.word_before();
    }

    pub fn word_right(&mut self) {
        let tail = self.text.get(self.cursor..).unwrap_or_default();
        let words = tail.split_word_bound_indices().find(|(_, word)| !word.trim().is_empty());
        self.cursor = words.map_or(self.text.len(), |(at, word)| self.cursor + at + word.len());
    }

    /// To the beginning of the line.
    pub fn home(&mut self) {
        self.cursor = self.head().rfind('\n').map_or(0, |at| at + 1);
    }

    /// To the end of the line.
    pub fn end(&mut self) {
        let tail = self.text.get(self.cursor..).unwrap_or_default();
        self.cursor += tail.find('\n').unwrap_or(tail.len());
    }

    /// To the line above; `false` in the first.
    pub fn up(&mut self) -> bool {
        let Some(end) = self.head().rfind('\n') else { return false };
        let column = self.head().get(end + 1..).unwrap_or_default().graphemes(true).count();
        self.cursor = end;
        self.home();
        self.forward(column);
        true
    }

    /// To the line below; `false` in the last.
    pub fn down(&mut self) -> bool {
        let start = self.head().rfind('\n').map_or(0, |at| at + 1);
        let column = self.text.get(start..self.cursor).unwrap_or_default().graphemes(true).count();
        let Some(end) = self.text.get(self.cursor..).and_then(|tail| tail.find('\n')) else { return false };
        self.cursor += end + 1;
        self.forward(column);
        true
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// As it is shown in so many columns.
    pub fn shown(&self, width: usize) -> Shown {
        let width = width.max(2);
        let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
        let mut cursor = (0, 0);
        for (at, grapheme) in self.text.grapheme_indices(true) {
            let breaks = matches!(grapheme, "\n" | "\r\n");
            let wide = if breaks { 0 } else { columns(grapheme) };
            // The cursor needs a column of its own behind the last character.
            if used + wide >= width && !breaks {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if at == self.cursor {
                cursor = (used, lines.len());
            }
            if breaks {
                lines.push(std::mem::take(&mut line));
                used = 0;
            } else {
                line.push_str(grapheme);
                used += wide;
            }
        }
        if self.cursor >= self.text.len() {
            cursor = (used, lines.len());
        }
        lines.push(line);
        Shown { lines, cursor }
    }

    fn head(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or_default()
    }

    fn before(&self) -> usize {
        self.head().grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        let tail = self.text.get(self.cursor..).unwrap_or_default();
        self.cursor + tail.graphemes(true).next().map_or(0, str::len)
    }

    fn word_before(&self) -> usize {
        let words = self.head().split_word_bound_indices().rev().find(|(_, word)| !word.trim().is_empty());
        words.map_or(0, |(at, _)| at)
    }

    fn forward(&mut self, graphemes: usize) {
        let tail = self.text.get(self.cursor..).unwrap_or_default();
        let line = tail.split('\n').next().unwrap_or_default();
        self.cursor += line.graphemes(true).take(graphemes).map(str::len).sum::<usize>();
    }

    /// Removes from there to the cursor.
    fn remove(&mut self, from: usize) {
        self.text.replace_range(from..self.cursor, "");
        self.cursor = from;
        self.settle();
    }

    /// What was joined may be one character now: the cursor goes behind it.
    fn settle(&mut self) {
        let ends = self.text.grapheme_indices(true).map(|(at, grapheme)| at + grapheme.len());
        let bounds = std::iter::once(0).chain(ends);
        self.cursor = bounds.into_iter().find(|at| *at >= self.cursor).unwrap_or(self.text.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(editor: &mut Editor, text: &str) {
        assert!(editor.insert(text, 1_000), "there is room");
    }

    #[test]
    fn a_character_is_what_people_count() {
        let mut editor = Editor::default();
        write(&mut editor, "a👩‍👩‍👧e\u{301}");
        editor.backspace();
        assert_eq!(editor.text(), "a👩‍👩‍👧", "a letter goes with its accent");
        editor.backspace();
        assert_eq!(editor.text(), "a", "a family goes as one");
        editor.left();
        write(&mut editor, "日");
        editor.delete();
        assert_eq!(editor.text(), "日", "delete takes what is behind the cursor");
    }

    #[test]
    fn words_lines_and_ends_are_reached() {
        let mut editor = Editor::with("hello there\nyou two");
        editor.delete_word();
        assert_eq!(editor.text(), "hello there\nyou ", "the last word goes");
        assert!(editor.up(), "there is a line above");
        write(&mut editor, "X");
        assert_eq!(editor.text(), "hellXo there\nyou ", "in the same column");
        assert!(!editor.up(), "and none above that");
        editor.home();
        write(&mut editor, ">");
        editor.word_right();
        write(&mut editor, "!");
        assert!(editor.down(), "down again");
        assert!(!editor.down(), "the last line");
        editor.end();
        write(&mut editor, "2");
        assert_eq!(editor.text(), ">hellXo! there\nyou 2", "home, a word on, down, end");
        editor.delete_to_start();
        assert!(editor.is_empty(), "all before the cursor");
    }

    #[test]
    fn a_text_has_a_bound() {
        let mut editor = Editor::with("abc");
        assert!(!editor.insert("de", 4), "five do not fit");
        assert_eq!(editor.text(), "abc", "and nothing of them is written");
    }

    #[test]
    fn the_cursor_is_shown_where_it_is() {
        let shown = Editor::with("日本語").shown(6);
        assert_eq!((shown.lines, shown.cursor), (vec!["日本".to_owned(), "語".to_owned()], (2, 1)), "behind the last");
        let mut editor = Editor::with("ab\ncd");
        editor.home();
        assert_eq!(editor.shown(10).cursor, (0, 1), "at the beginning of the second line");
        editor.left();
        assert_eq!(editor.shown(10).cursor, (2, 0), "at the end of the first");
    }
}
