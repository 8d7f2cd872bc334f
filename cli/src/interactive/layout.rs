//! Which part of the terminal is whose. Pure, so that keys know what a page is.

use super::model::Focus;
use ratatui::layout::Rect;

/// From here on the list and the conversation stand side by side.
const WIDE: u16 = 64;
/// Columns of the list then.
const LIST_MIN: u16 = 22;
const LIST_MAX: u16 = 34;
/// A column beside what is read.
const GUTTER: u16 = 1;

/// The parts; one that is not shown is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Panes {
    /// The list's heading, and the list.
    pub list_head: Rect,
    pub list: Rect,
    /// The line between list and conversation.
    pub border: Rect,
    /// Who it is with.
    pub head: Rect,
    /// What was said.
    pub body: Rect,
    /// What the input is for.
    pub rule: Rect,
    pub input: Rect,
    pub status: Rect,
}

impl Panes {
    /// Of a terminal of so many columns and rows, with so many rows to write in.
    pub fn of(width: u16, height: u16, input_rows: u16, focus: Focus) -> Self {
        let wide = width >= WIDE;
        let list_width = match (wide, focus) {
            (true, _) => (width / 3).clamp(LIST_MIN, LIST_MAX),
            (false, Focus::List) => width,
            (false, Focus::Talk) => 0,
        };
        let height_above = height.saturating_sub(1);
        let mut panes = Self { status: Rect::new(0, height_above, width, height.min(1)), ..Self::default() };
        if list_width > 0 {
            panes.list_head = Rect::new(0, 0, list_width, height_above.min(1));
            panes.list = Rect::new(0, 1.min(height_above), list_width, height_above.saturating_sub(1));
        }
        if wide {
            panes.border = Rect::new(list_width, 0, 1, height_above);
        }
        let left = if wide { list_width + 1 + GUTTER } else { 0 };
        if wide || focus == Focus::Talk {
            let inner = width.saturating_sub(left);
            let input_rows = input_rows.min(height_above.saturating_sub(3)).max(1);
            let rule = height_above.saturating_sub(input_rows + 1);
            panes.head = Rect::new(left, 0, inner, rule.min(1));
            panes.body = Rect::new(left, 1, inner, rule.saturating_sub(1));
            panes.rule = Rect::new(left, rule, inner, 1);
            panes.input = Rect::new(left, rule + 1, inner, input_rows);
        }
        panes
    }

    /// Whether what was said is on the screen.
    pub fn talk_is_shown(&self) -> bool {
        self.body.height > 0 && self.body.width > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_terminal_has_both_and_a_narrow_one_a_pane_at_a_time() {
        let both = Panes::of(80, 24, 1, Focus::List);
        assert_eq!((both.list.width, both.body.x, both.body.width), (26, 28, 52), "side by side");
        assert_eq!((both.body.y, both.body.height), (1, 20), "between heading and input");
        assert_eq!((both.rule.y, both.input.y, both.status.y), (21, 22, 23), "one below the other");
        let list = Panes::of(40, 12, 1, Focus::List);
        assert_eq!((list.list.width, list.talk_is_shown()), (40, false), "the list alone");
        let talk = Panes::of(40, 12, 3, Focus::Talk);
        assert_eq!((talk.list.width, talk.body.width, talk.input.height), (0, 40, 3), "or the conversation");
    }

    #[test]
    fn no_part_ever_leaves_the_terminal() {
        for (width, height) in (0..90).flat_map(|width| (0..30).map(move |height| (width, height))) {
            for (focus, rows) in [(Focus::List, 1), (Focus::Talk, 5)] {
                let Panes { list_head, list, border, head, body, rule, input, status } =
                    Panes::of(width, height, rows, focus);
                if height < 6 {
                    continue;
                }
                for part in [list_head, list, border, head, body, rule, input, status] {
                    assert!(part.right() <= width, "{part:?} in {width} columns");
                    assert!(part.bottom() <= height, "{part:?} in {height} rows");
                }
            }
        }
    }
}
