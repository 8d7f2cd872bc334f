//! A code as a QR code of characters: two modules one above the other in each, with the margin that cameras want.

use qrcode::{Color, EcLevel, QrCode};
use std::io::IsTerminal;

/// Modules of margin on each side.
const MARGIN: usize = 4;

/// The rows of a QR code, black where a character is blank: a terminal's own black, with white around it. `None` for more than
/// a QR code holds.
pub fn rows(text: &str) -> Option<Vec<String>> {
    // A screen has no scratches: the lowest correction gives the smallest code.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, colors) = (code.width(), code.to_colors());
    let full = width + 2 * MARGIN;
    let is_white = |x: usize, y: usize| {
        let module = x.checked_sub(MARGIN).zip(y.checked_sub(MARGIN)).filter(|(x, y)| *x < width && *y < width);
        module.and_then(|(x, y)| colors.get(y * width + x)).is_none_or(|color| *color == Color::Light)
    };
    let row = |y: usize| {
        let letter = |x| match (is_white(x, y), y + 1 >= full || is_white(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        (0..full).map(letter).collect()
    };
    Some((0..full).step_by(2).map(row).collect())
}

/// As it is printed: in colours of its own where there is a terminal, so that it is black on white on every background.
pub fn printed(text: &str, to: &impl IsTerminal) -> String {
    let Some(rows) = rows(text) else { return String::new() };
    let (begin, end) = if to.is_terminal() { ("\u{1b}[97;40m", "\u{1b}[0m") } else { ("", "") };
    rows.iter().map(|row| format!("{begin}{row}{end}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_link_fits_a_terminal_of_24_rows_and_has_its_margin() {
        let rows = rows(&"A1".repeat(70)).unwrap();
        assert_eq!((rows.len(), rows[0].chars().count()), (23, 45), "37 modules and a margin of 4 on each side");
        assert!(rows[..2].iter().all(|row| row.chars().all(|letter| letter == '█')), "white above");
        assert!(rows.iter().all(|row| row.starts_with("████") && row.ends_with("████")), "and on both sides");
        // The corner's frame: seven dark modules, then a light one.
        assert!(rows[2].starts_with("████ ▄▄▄▄▄ █"), "{}", rows[2]);
    }

    #[test]
    fn more_than_a_code_holds_is_none() {
        assert_eq!(rows(&"x".repeat(10_000)), None, "nothing is drawn of it");
    }
}
