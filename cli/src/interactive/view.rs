//! Draws the model. It decides nothing, and lets nothing of others on the screen that was not cleaned.

use super::help;
use super::model::{EMOJI, Focus, Mode, Model, Overlay, Place};
use super::snapshot::{Conversation, MyDevice, Who};
use super::stamp::Clock;
use super::style;
use super::text::{clean, clean_line, columns, shorten, wrap};
use crate::commands::chat::timer::short;
use crate::qr;
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use roost_client::core::linking::LinkReport;
use roost_client::core::people::Request;
use roost_client::core::{PresenceReport, Seen};
use roost_protocol::ids::MessageId;

/// Less than this shows nothing that helps.
const WIDTH_MIN: u16 = 24;
const HEIGHT_MIN: u16 = 8;
/// Columns of the help with its frame.
pub const HELP_WIDTH: u16 = 76;
/// Columns of a page with its frame: an id of 64 digits is one line.
pub const PAGE_WIDTH: u16 = 72;
/// Columns beside a QR code that its words need.
const BESIDE_CODE: usize = 24;

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        frame.render_widget(Paragraph::new(format!("Make this at least\n{WIDTH_MIN} x {HEIGHT_MIN}.")), area);
        return;
    }
    // It has just changed, and the model hears of it next.
    if model.size() != (area.width, area.height) {
        return;
    }
    let panes = model.panes();
    list(frame, model, panes.list_head, panes.list);
    for y in panes.border.top()..panes.border.bottom() {
        frame.render_widget(Span::styled("│", style::dim()), Rect::new(panes.border.x, y, 1, 1));
    }
    if panes.talk_is_shown() {
        head(frame, model, panes.head);
        match model.open() {
            Some(Place::Requests) => requests(frame, model, panes.body),
            Some(Place::Conversation(_)) => talk(frame, model, panes.body),
            None => welcome(frame, model, panes.body),
        }
        rule(frame, model, panes.rule);
        input(frame, model, panes.input);
    }
    status(frame, model, panes.status);
    match model.overlay() {
        Some(Overlay::Help(from)) => keys_and_commands(frame, *from),
        Some(Overlay::SafetyNumber { with, number, code }) => {
            safety_number(frame, &with.to_string(), (&number.to_string(), code), model.key_changed(with));
        }
        Some(Overlay::Page { title, lines, from }) => page(frame, title, lines, *from),
        Some(Overlay::Revoke(device)) => revoke(frame, device),
        Some(Overlay::Link(code)) => link(frame, code),
        Some(Overlay::LinkAsked(report)) => link_asked(frame, report),
        None => {}
    }
}

fn list(frame: &mut Frame<'_>, model: &Model, head: Rect, area: Rect) {
    frame.render_widget(Line::styled(" Conversations", style::name()), head);
    let places = model.places();
    let at = places.iter().position(|place| Some(*place) == model.cursor()).unwrap_or(0);
    let height = usize::from(area.height);
    let from = (at + 1).saturating_sub(height);
    for (y, place) in (area.top()..area.bottom()).zip(places.iter().skip(from)) {
        let line = Rect::new(area.x, y, area.width, 1);
        let (title, detail, fresh) = entry(model, place);
        let detail_width = columns(&detail);
        let room = usize::from(area.width).saturating_sub(detail_width + 4);
        let title = shorten(&title, room);
        let gap = usize::from(area.width).saturating_sub(columns(&title) + detail_width + 3);
        let is_open = model.open() == Some(*place);
        let marker = if is_open { "▸ " } else { "  " };
        let look = if fresh { style::name() } else { Style::default() };
        let detail_look = if fresh { style::accent() } else { style::dim() };
        let spans = vec![
            Span::raw(marker),
            Span::styled(title, look),
            Span::raw(" ".repeat(gap)),
            Span::styled(detail, detail_look),
            Span::raw(" "),
        ];
        let is_cursor = model.focus() == Focus::List && (model.cursor() == Some(*place));
        let look = if is_cursor { style::cursor() } else { Style::default() };
        frame.render_widget(Line::from(spans).style(look), line);
    }
}

/// Title, what stands at its right, and whether it is news.
fn entry(model: &Model, place: &Place) -> (String, String, bool) {
    match place {
        Place::Requests => ("Requests".to_owned(), format!("({})", model.requests().len()), true),
        Place::Conversation(id) => {
            let Some(one) = model.conversations().iter().find(|one| one.id == *id) else {
                return Default::default();
            };
            let warning = if one.key_changed() { "! " } else { "" };
            let named = if one.mentioned > 0 { "@ " } else { "" };
            let unread = if one.unread > 0 { format!("{named}({}) ", one.unread) } else { String::new() };
            let newest = one.newest.map(|newest| model.clock().short(newest.at_ms())).unwrap_or_default();
            let title = format!("{warning}{}", clean_line(&one.title(model.me())));
            (title, format!("{unread}{newest}").trim_end().to_owned(), one.unread > 0)
        }
    }
}

fn head(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let (title, details) = match (model.open(), model.conversation()) {
        (Some(Place::Requests), _) => ("Requests of strangers".to_owned(), Vec::new()),
        (_, Some(one)) => (clean_line(&one.title(model.me())), details(one, model.clock())),
        _ => ("Roost".to_owned(), Vec::new()),
    };
    let details = clean_line(&details.join(" · "));
    let width = usize::from(area.width);
    let title = shorten(&title, width.saturating_sub((columns(&details) + 2).min(width / 2)));
    let details = shorten(&details, width.saturating_sub(columns(&title) + 2));
    let look =
        if model.conversation().is_some_and(Conversation::key_changed) { style::warning() } else { style::dim() };
    let line = Line::from(vec![Span::styled(title, style::name()), Span::raw("  "), Span::styled(details, look)]);
    frame.render_widget(line, area);
}

fn details(one: &Conversation, clock: &Clock) -> Vec<String> {
    let mut details = Vec::new();
    match &one.who {
        Who::Handle { key_changed: true, .. } => details.push("key changed".to_owned()),
        Who::Handle { verified, .. } => {
            details.push(if *verified { "verified" } else { "not verified" }.to_owned());
        }
        Who::Account(_) => details.push("no handle".to_owned()),
        Who::Many { over: true, .. } => details.push("you take no part any more".to_owned()),
        Who::Many { participants, standing, .. } => {
            details.push(format!("{} people", participants.len()));
            details.extend((!standing).then(|| "not told to the others yet".to_owned()));
        }
    }
    details.extend(one.name.clone());
    details.extend(one.typing.clone().or_else(|| presence(one.presence.as_ref(), clock)));
    details.extend(one.devices.filter(|devices| *devices > 1).map(|devices| format!("{devices} devices")));
    details.extend(one.expires_after_s.map(|seconds| format!("disappears after {}", short(seconds))));
    details
}

/// Whether somebody is there, or was last; nothing where nothing is known.
fn presence(report: Option<&PresenceReport>, clock: &Clock) -> Option<String> {
    let report = report?;
    match (report.state, report.last_active_at.map(|at| clock.full(at))) {
        (Seen::Online, _) => Some("online".to_owned()),
        (Seen::Away, Some(at)) => Some(format!("away since {at}")),
        (Seen::Away, None) => Some("away".to_owned()),
        (Seen::Unknown, at) => at.map(|at| format!("last seen {at}")),
    }
}

fn welcome(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let words = if model.conversations().is_empty() && model.requests().is_empty() {
        "Nobody has written yet. Type /to NAME and press Enter to begin, like /to bob@birch."
    } else {
        "Choose a conversation with the arrows and press Enter."
    };
    paragraph(frame, area, words, style::dim());
}

fn requests(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let width = usize::from(area.width);
    let blocks: Vec<Vec<Line<'static>>> = model.requests().iter().map(|one| request(model, one, width)).collect();
    // The selected one is always on the screen, with what is before it as far as there is room.
    let at = model.requests().iter().position(|one| Some(one) == model.request()).unwrap_or(0);
    let height = usize::from(area.height);
    let mut from = at;
    let mut used = blocks.get(at).map_or(0, Vec::len);
    while let Some(before) = from.checked_sub(1)
        && let Some(block) = blocks.get(before)
        && used + block.len() <= height
    {
        used += block.len();
        from = before;
    }
    if blocks.is_empty() {
        paragraph(frame, area, "Nobody waits any more.", style::dim());
        return;
    }
    let lines: Vec<Line<'static>> = blocks.into_iter().skip(from).flatten().take(height).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn request(model: &Model, one: &Request, width: usize) -> Vec<Line<'static>> {
    let selected = Some(one) == model.request();
    let marker = if selected { "▌ " } else { "  " };
    let name = one.name.as_ref().map(|name| format!(" · {}", clean_line(name))).unwrap_or_default();
    let messages = if one.messages == 1 { "1 message".to_owned() } else { format!("{} messages", one.messages) };
    let title = shorten(&format!("{}{name}", clean_line(&one.from)), width.saturating_sub(2));
    let mut lines = vec![Line::from(vec![Span::raw(marker), Span::styled(title, style::name())])];
    let detail = format!("{marker}{messages} since {}", model.clock().full(one.received_at));
    lines.push(Line::styled(shorten(&detail, width), style::dim()));
    lines.extend(
        wrap(&clean(&one.text), width.saturating_sub(2)).into_iter().map(|text| Line::raw(format!("{marker}{text}"))),
    );
    if selected {
        let words = format!("{marker}/accept lets them write, /block shows nothing of them any more");
        lines.push(Line::styled(shorten(&words, width), style::accent()));
    }
    lines.push(Line::raw(""));
    lines
}

fn talk(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let rows = model.rows();
    if rows.is_empty() {
        paragraph(frame, area, "Nothing was said yet.", style::dim());
        return;
    }
    let height = usize::from(area.height);
    let end = rows.len().saturating_sub(model.scroll());
    let start = end.saturating_sub(height);
    // Few messages stand at the bottom, next to the input.
    let top = area.bottom().saturating_sub(u16::try_from(end - start).unwrap_or(area.height));
    for (y, row) in (top..area.bottom()).zip(rows.into_iter().skip(start)) {
        let line = Rect::new(area.x, y, area.width, 1);
        frame.render_widget(row.line, line);
        if row.message.is_some() && row.message == model.selected() {
            frame.render_widget(Span::styled("▌", style::accent()), Rect { width: 1, ..line });
        }
    }
}

fn rule(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let width = usize::from(area.width);
    let warned = model.conversation().filter(|one| one.key_changed());
    let (words, look) = match (model.mode(), warned) {
        (_, Some(one)) => (
            format!(
                "{}'s key changed. Compare the safety number before you write: /verify, or /accept-key",
                clean_line(&one.title(model.me()))
            ),
            style::warning(),
        ),
        (Mode::Write, None) if model.scroll() > 0 => ("PgDn goes on to the newest".to_owned(), style::dim()),
        (Mode::Write, None) => (String::new(), style::dim()),
        (Mode::Reply(id), None) => (format!("Answer to {} (Esc: no)", about(model, *id)), style::accent()),
        (Mode::Edit(..), None) => {
            ("Another text for your message (Esc: keep it as it was)".to_owned(), style::accent())
        }
        (Mode::React(..), None) => {
            let choices: Vec<String> =
                EMOJI.iter().enumerate().map(|(at, emoji)| format!("{} {emoji}", at + 1)).collect();
            (format!("React: {}  or another (Esc: no)", choices.join("  ")), style::accent())
        }
        (Mode::Delete(id), None) => {
            (format!("Take back {}? Ctrl-D again does, Esc keeps it", about(model, *id)), style::danger())
        }
    };
    let words = shorten(&words, width);
    let blank = if words.is_empty() { "" } else { " " };
    let line = "─".repeat(width.saturating_sub(columns(&words) + blank.len()));
    let spans = vec![Span::styled(words, look), Span::raw(blank), Span::styled(line, style::dim())];
    frame.render_widget(Line::from(spans), area);
}

fn about(model: &Model, id: MessageId) -> String {
    let item = model.talk().items.iter().find(|item| item.id == id);
    item.map_or_else(String::new, |item| {
        let from = if item.own { "you" } else { item.from.as_str() };
        shorten(&clean_line(&format!("{from}: {}", item.text)), 30)
    })
}

fn input(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let editor = model.editor();
    let shown = editor.shown(usize::from(area.width));
    let (column, line) = shown.cursor;
    let height = usize::from(area.height);
    let from = (line + 1).saturating_sub(height);
    if editor.is_empty() && *model.mode() == Mode::Write {
        let words = model.conversation().map_or_else(
            || "/to NAME begins a conversation, F1 helps".to_owned(),
            |one| clean_line(&one.invitation(model.me())),
        );
        frame.render_widget(Line::styled(shorten(&words, usize::from(area.width)), style::dim()), area);
    } else {
        let lines: Vec<Line<'static>> = shown.lines.into_iter().skip(from).take(height).map(Line::raw).collect();
        frame.render_widget(Paragraph::new(lines), area);
    }
    if model.focus() == Focus::Talk && model.overlay().is_none() {
        let right = u16::try_from(column).unwrap_or(u16::MAX).min(area.width.saturating_sub(1));
        let below = u16::try_from(line.saturating_sub(from)).unwrap_or(0).min(area.height.saturating_sub(1));
        frame.set_cursor_position(Position::new(area.x + right, area.y + below));
    }
}

fn status(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let width = usize::from(area.width);
    let connected = model.status().is_some_and(|status| status.connected);
    let state = match (model.status().is_some(), connected) {
        (_, true) => "● connected",
        (true, false) => "○ offline",
        (false, false) => "",
    };
    let (left, look) = match model.notice() {
        Some(notice) if notice.failed => (notice.text.clone(), style::danger()),
        Some(notice) => (notice.text.clone(), style::accent()),
        None => (standing(model), style::dim()),
    };
    let left = shorten(&clean_line(&left), width.saturating_sub(columns(state) + 2));
    let gap = width.saturating_sub(columns(&left) + columns(state));
    let look_of_state = if connected { style::dim() } else { style::warning() };
    let spans =
        vec![Span::styled(left, look), Span::raw(" ".repeat(gap)), Span::styled(state.to_owned(), look_of_state)];
    frame.render_widget(Line::from(spans), area);
}

/// How it stands, where nothing else is to be told.
fn standing(model: &Model) -> String {
    let Some(status) = model.status() else { return "Opening …".to_owned() };
    let mut words = vec![status.handle.clone()];
    if status.outbox > 0 {
        words.push(format!("{} in the outbox", status.outbox));
    }
    if !status.connected {
        words.push("messages wait here and are sent when you are back".to_owned());
    }
    if model.lost() > 0 {
        words.push(format!("{} messages cannot be shown", model.lost()));
    }
    // Where the list is shown it tells the same.
    if model.unread_elsewhere() > 0 && model.panes().list.width == 0 {
        words.push(format!("{} unread", model.unread_elsewhere()));
    }
    words.push("F1 help".to_owned());
    words.join("  ")
}

fn keys_and_commands(frame: &mut Frame<'_>, from: usize) {
    let area = help_area(frame.area());
    let rows = help::rows(usize::from(area.width.saturating_sub(4)));
    let line = |(key, does): (&'static str, String)| match does.is_empty() {
        true => Line::styled(key, style::name()),
        false => Line::from(vec![
            Span::styled(key, style::accent()),
            Span::raw(" ".repeat((help::KEYS + 1).saturating_sub(columns(key)))),
            Span::raw(does),
        ]),
    };
    over(frame, area, " Help: arrows scroll, Esc closes ", rows.into_iter().skip(from).map(line).collect());
}

/// Where the help lies.
fn help_area(area: Rect) -> Rect {
    centred(area, HELP_WIDTH, area.height)
}

/// Lines to read; what is over the frame is scrolled to.
fn page(frame: &mut Frame<'_>, title: &str, lines: &[String], from: usize) {
    let width = usize::from(frame.area().width.min(PAGE_WIDTH).saturating_sub(4));
    let rows: Vec<Line<'static>> = lines.iter().flat_map(|line| wrap(line, width)).map(Line::raw).collect();
    let height = u16::try_from(rows.len() + 2).unwrap_or(u16::MAX);
    let area = centred(frame.area(), PAGE_WIDTH, height);
    let title = format!(" {} ", shorten(title, width.saturating_sub(2)));
    over(frame, area, &title, rows.into_iter().skip(from).collect());
}

fn revoke(frame: &mut Frame<'_>, device: &MyDevice) {
    let width = usize::from(frame.area().width.min(60).saturating_sub(4));
    let name = if device.name.is_empty() { "without a name".to_owned() } else { clean_line(&device.name) };
    let mut lines = wrap(&format!("{}: {name}", device.number), width);
    lines.extend(wrap(
        "It reads and sends nothing of yours any more, and cannot come back but by being linked anew.",
        width,
    ));
    lines.extend(["".to_owned(), "y: end it. Esc: keep it.".to_owned()]);
    question(frame, " End a device ", lines);
}

fn link_asked(frame: &mut Frame<'_>, report: &LinkReport) {
    let width = usize::from(frame.area().width.min(60).saturating_sub(4));
    let (first, second) = report.digits.split_at_checked(3).unwrap_or((report.digits.as_str(), ""));
    let mut lines = wrap(&format!("{} asks to be linked. It must show these digits:", clean_line(&report.name)), width);
    lines.extend(["".to_owned(), format!("    {first} {second}"), "".to_owned()]);
    lines.extend(wrap("y: they are the same. Esc: they are not, and nothing is linked.", width));
    question(frame, " A new device ", lines);
}

fn question(frame: &mut Frame<'_>, title: &str, lines: Vec<String>) {
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let area = centred(frame.area(), 60, height);
    over(frame, area, title, lines.into_iter().map(Line::raw).collect());
}

/// The code for another device: for its camera where there is room, and to be copied.
fn link(frame: &mut Frame<'_>, code: &str) {
    let area = frame.area();
    let drawn = qr::rows(code).filter(|rows| fits(rows, area)).unwrap_or_default();
    let used = drawn.first().map_or(0, |row| columns(row) + 2);
    let width = usize::from(area.width).saturating_sub(used + 1);
    let mut lines = vec!["On the new device:".to_owned(), String::new(), "roost account link --dir DIR \\".to_owned()];
    lines.extend(broken(code, width));
    lines.push(String::new());
    lines.extend(wrap("Nobody else may see this. It asks, and both show six digits to be compared.", width));
    lines.extend(["".to_owned(), "Esc: no.".to_owned()]);
    code_and_words(frame, &drawn, lines, used);
}

fn code_and_words(frame: &mut Frame<'_>, drawn: &[String], words: Vec<String>, used: usize) {
    let area = frame.area();
    frame.render_widget(Clear, area);
    for (y, row) in (area.top()..area.bottom()).zip(drawn) {
        frame.render_widget(Line::styled(row.clone(), style::code()), Rect::new(area.x, y, area.width, 1));
    }
    let left = u16::try_from(used).unwrap_or(area.width).min(area.width);
    let beside = Rect::new(area.x + left, area.y, area.width - left, area.height);
    frame.render_widget(Paragraph::new(words.into_iter().map(Line::raw).collect::<Vec<_>>()), beside);
}

fn fits(rows: &[String], area: Rect) -> bool {
    let wide = rows.first().map_or(0, |row| columns(row));
    rows.len() <= usize::from(area.height) && wide + 2 + BESIDE_CODE <= usize::from(area.width)
}

/// A word that is longer than a line, in lines.
fn broken(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(width.max(1)).map(|line| line.iter().collect()).collect()
}

fn safety_number(frame: &mut Frame<'_>, with: &str, (number, code): (&str, &str), key_changed: bool) {
    let drawn = qr::rows(code).filter(|rows| !code.is_empty() && fits(rows, frame.area()));
    if let Some(drawn) = drawn {
        let used = drawn.first().map_or(0, |row| columns(row) + 2);
        let width = usize::from(frame.area().width).saturating_sub(used + 1);
        let mut lines = wrap(&format!("Safety number with {with}"), width);
        if key_changed {
            lines.extend(wrap("The key changed. This is the new one's number.", width));
        }
        lines.push(String::new());
        let groups: Vec<&str> = number.split(' ').collect();
        lines.extend(groups.chunks(3).map(|groups| groups.join(" ")));
        lines.push(String::new());
        lines.extend(wrap("Read it to each other by another way, or let the other's device read the code.", width));
        lines.push(String::new());
        lines.extend(wrap("y: they are the same. Esc: not compared.", width));
        return code_and_words(frame, &drawn, lines, used);
    }
    let area = centred(frame.area(), 52, 13);
    let width = usize::from(area.width.saturating_sub(4));
    let mut lines = Vec::new();
    if key_changed {
        lines.extend(wrap("The key changed. This is the new one's number.", width));
    }
    lines.extend(wrap("Read this to each other by another way, a call or side by side.", width));
    lines.push(String::new());
    let groups: Vec<&str> = number.split(' ').collect();
    let row = if width >= 23 { 4 } else { 3 };
    lines.extend(groups.chunks(row).map(|groups| groups.join(" ")));
    lines.push(String::new());
    lines.extend(wrap("y: they are the same. Esc: not compared.", width));
    let lines = lines.into_iter().map(Line::raw).collect();
    over(frame, area, &format!(" Safety number with {} ", shorten(with, width.saturating_sub(22))), lines);
}

fn over(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'static>>) {
    let inner = Rect::new(area.x + 2, area.y + 1, area.width.saturating_sub(4), area.height.saturating_sub(2));
    frame.render_widget(Clear, area);
    frame.render_widget(Block::bordered().title(title.to_owned()), area);
    frame.render_widget(Paragraph::new(lines), inner);
}

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height)
}

fn paragraph(frame: &mut Frame<'_>, area: Rect, words: &str, look: Style) {
    let lines = wrap(words, usize::from(area.width)).into_iter().map(|line| Line::styled(line, look));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

#[cfg(test)]
mod stories;
