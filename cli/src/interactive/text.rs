//! Text of others, made harmless for a terminal, and measured in its columns.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// The longest emoji of several people has 35 bytes; what piles up more marks than this is no character.
const GRAPHEME_BYTES_MAX: usize = 64;
const TAB: &str = "    ";

/// Replaces what steers a terminal or turns the reading direction; line breaks stay.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for grapheme in text.graphemes(true) {
        match grapheme {
            "\n" | "\r\n" | "\u{2028}" | "\u{2029}" => cleaned.push('\n'),
            "\t" => cleaned.push_str(TAB),
            long if long.len() > GRAPHEME_BYTES_MAX => cleaned.push('\u{fffd}'),
            _ => cleaned.extend(grapheme.chars().map(harmless)),
        }
    }
    cleaned
}

/// The same in one line.
pub fn clean_line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

fn harmless(character: char) -> char {
    // Overrides and isolates: with them a text could look as if another had written it.
    let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || turns { '\u{fffd}' } else { character }
}

/// Columns that a text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The text in at most so many columns; what is cut ends in an ellipsis.
pub fn shorten(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let (mut short, mut used) = (String::new(), 0);
    for grapheme in text.graphemes(true) {
        used += columns(grapheme);
        if used >= width {
            break;
        }
        short.push_str(grapheme);
    }
    if width > 0 {
        short.push('…');
    }
    short
}

/// Lines of at most so many columns, broken between words where that is possible.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for word in paragraph.split_word_bounds() {
            let blank = word.trim().is_empty();
            if used + columns(word) > width && used > 0 {
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
                used = 0;
                if blank {
                    continue;
                }
            }
            for grapheme in word.graphemes(true) {
                if used + columns(grapheme) > width {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push_str(grapheme);
                used += columns(grapheme);
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_steer_the_terminal_or_turn_its_direction() {
        let hostile = "a\u{1b}[2J\u{9b}31m\u{7}b\u{202e}c\u{2066}d\r\ne\rf\tg";
        assert_eq!(
            clean(hostile),
            "a\u{fffd}[2J\u{fffd}31m\u{fffd}b\u{fffd}c\u{fffd}d\ne\u{fffd}f    g",
            "controls of both sets and directions go, line breaks stay"
        );
        assert_eq!(clean_line("a\nb\u{2028}c"), "a b c", "one line stays one line");
        let piled = format!("e{}", "\u{301}".repeat(100));
        assert_eq!(clean(&piled), "\u{fffd}", "marks do not pile up over other lines");
        assert_eq!(clean("👩🏽‍❤️‍💋‍👨🏿"), "👩🏽‍❤️‍💋‍👨🏿", "an emoji of two people is one character");
    }

    #[test]
    fn wide_characters_take_two_columns_when_lines_break() {
        assert_eq!(wrap("日本語です", 6), ["日本語", "です"], "three of two columns in six");
        assert_eq!(wrap("日本語です", 5), ["日本", "語で", "す"], "none is cut in half");
        assert_eq!(shorten("日本語です", 6), "日本…", "and one column is kept for the ellipsis");
    }

    #[test]
    fn lines_break_between_words_and_long_words_anywhere() {
        assert_eq!(wrap("hello there bob", 11), ["hello there", "bob"], "the blank at the break goes");
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"], "a long word is broken");
        assert_eq!(wrap("a\n\nb", 10), ["a", "", "b"], "empty lines stay");
        assert_eq!(wrap("", 10), [""], "nothing is one empty line");
    }
}
