//! What lies over everything else: pages to read, and questions that a key answers.

use super::{Effect, Focus, Model, Notice, Overlay};
use crate::interactive::keys::Key;
use crate::interactive::snapshot::MyDevice;
use crate::interactive::text::{clean_line, wrap};
use crate::interactive::view::{HELP_WIDTH, PAGE_WIDTH};
use roost_client::core::linking::LinkReport;

impl Model {
    pub(super) fn key_over(&mut self, overlay: Overlay, key: Key) {
        match (overlay, key) {
            (Overlay::Help(from), key) => self.key_over_help(from, key),
            (Overlay::Page { title, lines, from }, key) => {
                let to = match key {
                    Key::Down => from + 1,
                    Key::PageDown => from + 10,
                    Key::Up => from.saturating_sub(1),
                    Key::PageUp => from.saturating_sub(10),
                    _ => return,
                };
                let from = self.page_from(&lines, to);
                self.overlay = Some(Overlay::Page { title, lines, from });
            }
            (Overlay::SafetyNumber { with, number, .. }, Key::Char('y')) => {
                self.effects.push_back(Effect::Verify(with, number.digits().to_owned()));
            }
            (Overlay::SafetyNumber { .. }, Key::Escape) => {}
            (Overlay::Revoke(device), Key::Char('y')) => {
                self.notice = Some(Notice::done("It is being ended …"));
                self.effects.push_back(Effect::Revoke(device.id));
            }
            (Overlay::Revoke(_), Key::Escape) => self.notice = Some(Notice::done("Nothing was ended.")),
            (Overlay::LinkAsked(_), Key::Char('y')) => {
                self.notice = Some(Notice::done("It is being linked …"));
                self.effects.push_back(Effect::AcceptLink);
            }
            (Overlay::Link(_) | Overlay::LinkAsked(_), Key::Escape) => {
                self.notice = Some(Notice::done("Nothing was linked."));
                self.effects.push_back(Effect::EndLink);
            }
            // Nothing else closes these: a word that is being typed must not.
            (overlay, _) => self.overlay = Some(overlay),
        }
    }

    fn key_over_help(&mut self, from: usize, key: Key) {
        match key {
            Key::Down => self.overlay = Some(Overlay::Help(self.help_from(from + 1))),
            Key::PageDown => self.overlay = Some(Overlay::Help(self.help_from(from + 10))),
            Key::Up => self.overlay = Some(Overlay::Help(from.saturating_sub(1))),
            Key::PageUp => self.overlay = Some(Overlay::Help(from.saturating_sub(10))),
            // Whoever wants to write it needs a way.
            Key::Char('?') if self.focus == Focus::Talk => self.write("?"),
            _ => {}
        }
    }

    /// The devices of the account came.
    pub(super) fn show_devices(&mut self, devices: &[MyDevice]) {
        let mut lines = Vec::new();
        for device in devices {
            let name = if device.name.is_empty() { "no name" } else { device.name.as_str() };
            let current = if device.current { "  (this one)" } else { "" };
            lines.push(format!("{}  {}{current}", device.number, clean_line(name)));
            lines.push(format!("   {}", device.id));
        }
        lines.extend(["".to_owned(), "/device-name NAME calls this one otherwise, /revoke NUMBER ends".to_owned()]);
        lines.push("another one, /link shows a code for a new one.".to_owned());
        self.overlay = Some(Overlay::Page { title: "Your devices".to_owned(), lines, from: 0 });
    }

    /// A code is there for another device.
    pub(super) fn show_link(&mut self, code: String) {
        self.notice = None;
        self.overlay = Some(Overlay::Link(code));
        self.effects.push_back(Effect::AwaitLink);
    }

    /// A device asks with the code, or none did in time.
    pub(super) fn link_asked(&mut self, asked: Option<LinkReport>) {
        if !matches!(self.overlay, Some(Overlay::Link(_))) {
            return;
        }
        match asked {
            Some(report) => self.overlay = Some(Overlay::LinkAsked(report)),
            None => {
                self.overlay = None;
                self.notice = Some(Notice::failed("Nobody asked with the code in time. /link shows another one."));
                self.effects.push_back(Effect::EndLink);
            }
        }
    }

    /// The help is never scrolled beyond its end.
    fn help_from(&self, from: usize) -> usize {
        let (width, height) = self.size;
        let inside = |size: u16, frame: u16| usize::from(size.saturating_sub(frame));
        from.min(
            crate::interactive::help::rows(inside(width.min(HELP_WIDTH), 4)).len().saturating_sub(inside(height, 2)),
        )
    }

    /// Nor is a page.
    fn page_from(&self, lines: &[String], from: usize) -> usize {
        let (width, height) = self.size;
        let width = usize::from(width.min(PAGE_WIDTH).saturating_sub(4));
        let rows: usize = lines.iter().map(|line| wrap(line, width).len().max(1)).sum();
        from.min(rows.saturating_sub(usize::from(height.saturating_sub(2))))
    }
}
