//! The few looks there are. Colours are those of the terminal's theme; no state is told by a colour alone.

use ratatui::style::{Color, Modifier, Style};

/// What is read second.
pub fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// A name, a heading.
pub fn name() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// What is ours.
pub fn own() -> Style {
    Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD)
}

/// What one should read now.
pub fn accent() -> Style {
    Style::new().fg(Color::Cyan)
}

/// What may harm.
pub fn warning() -> Style {
    Style::new().fg(Color::Yellow)
}

/// What did not work.
pub fn danger() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

/// Where the cursor of a list is, with the keys going there.
pub fn cursor() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

/// A QR code: black on white, whatever the theme is.
pub fn code() -> Style {
    Style::new().fg(Color::Indexed(231)).bg(Color::Indexed(16))
}
