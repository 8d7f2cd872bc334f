//! What was said, as rows of a screen: days, authors, texts, what became of them. Pure; a row knows its message.

use super::snapshot::Talk;
use super::stamp::Clock;
use super::style;
use super::text::{clean, clean_line, columns, shorten, wrap};
use crate::commands::chat::timer;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use roost_client::core::history::{HistoryItem, Mark};
use roost_client::core::message::State;
use roost_client::runner::Gap;
use roost_protocol::ids::MessageId;

/// The longest line that reads well.
const TEXT_COLUMNS_MAX: usize = 68;
/// Marker, time, blanks.
const MARGIN: usize = 8;
/// After this long an author is named again, milliseconds.
const SILENCE_MS: u64 = 10 * 60 * 1_000;

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The message that it belongs to.
    pub message: Option<MessageId>,
    pub line: Line<'static>,
}

#[derive(Clone, Copy)]
enum Said<'a> {
    Item(&'a HistoryItem),
    Gap(&'a Gap),
}

impl Said<'_> {
    fn id(&self) -> MessageId {
        match self {
            Self::Item(item) => item.id,
            Self::Gap(gap) => gap.message,
        }
    }
}

/// A conversation that is to be written down as rows.
pub struct Transcript<'a> {
    pub talk: &'a Talk,
    /// Our handle.
    pub me: &'a str,
    /// Whether it is one of many.
    pub many: bool,
    /// Columns.
    pub width: u16,
    pub clock: &'a Clock,
}

impl Transcript<'_> {
    /// All rows, oldest first.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if self.talk.older {
            rows.push(unowned(Line::styled("PgUp loads older messages", style::dim())));
        }
        let mut before: Option<(String, u64)> = None;
        for said in self.said() {
            let at = said.id().at_ms();
            if before.as_ref().is_none_or(|(_, last)| self.clock.date(*last) != self.clock.date(at)) {
                rows.push(unowned(self.day(at)));
                before = None;
            }
            let author = match said {
                Said::Item(item) if item.own => "you".to_owned(),
                Said::Item(item) => clean_line(&item.from),
                Said::Gap(_) => String::new(),
            };
            let named = before.as_ref().is_some_and(|(last, then)| *last == author && at < then + SILENCE_MS);
            match said {
                Said::Item(item) => {
                    rows.extend((!named).then(|| self.author(item, &author)));
                    self.message(item, &mut rows);
                }
                Said::Gap(gap) => {
                    let text = format!("A message cannot be shown: {}.", gap.reason);
                    self.body(gap.message, &self.clock.time(at), &text, style::warning(), &mut rows);
                }
            }
            before = Some((author, at));
        }
        // What is wrong now stands below all that was said.
        for warning in &self.talk.warnings {
            let lines = wrap(&clean_line(warning), self.room());
            rows.extend(lines.into_iter().map(|line| unowned(Line::styled(format!("  {line}"), style::warning()))));
        }
        rows
    }

    /// Messages and gaps in the order of their times.
    fn said(&self) -> Vec<Said<'_>> {
        // A gap older than what is loaded would stand at a wrong place.
        let oldest = self.talk.items.first().map(|item| item.id).filter(|_| self.talk.older);
        let gaps = self.talk.gaps.iter().filter(|gap| oldest.is_none_or(|oldest| gap.message > oldest));
        let mut said: Vec<Said<'_>> = self.talk.items.iter().map(Said::Item).chain(gaps.map(Said::Gap)).collect();
        said.sort_by_key(Said::id);
        said
    }

    fn day(&self, at_ms: u64) -> Line<'static> {
        let name = self.clock.day(at_ms);
        let rest = usize::from(self.width).saturating_sub(columns(&name) + 4);
        Line::styled(format!("─ {name} {}", "─".repeat(rest)), style::dim())
    }

    fn author(&self, item: &HistoryItem, name: &str) -> Row {
        let look = if item.own { style::own() } else { style::name() };
        let name = shorten(name, usize::from(self.width).saturating_sub(2));
        Row { message: Some(item.id), line: Line::styled(format!("  {name}"), look) }
    }

    fn message(&self, item: &HistoryItem, rows: &mut Vec<Row>) {
        let time = self.clock.time(item.sent_at);
        let mut beginning = time.as_str();
        if let Some(reply) = item.reply {
            let quote = shorten(&self.quote(&reply), self.room().saturating_sub(2));
            rows.push(row(item.id, beginning, Span::styled(format!("↳ {quote}"), style::dim())));
            beginning = "";
        }
        let (text, look) = words(item);
        self.body(item.id, beginning, &text, look, rows);
        self.append(item.id, &self.aftermath(item), rows);
        let name = |from: &str| if from == self.me { "you".to_owned() } else { from.to_owned() };
        let reactions: Vec<String> =
            item.reactions.iter().map(|one| format!("{} {}", one.emoji, name(&one.from))).collect();
        if !reactions.is_empty() {
            self.body(item.id, "", &clean_line(&reactions.join("  ")), style::dim(), rows);
        }
    }

    fn quote(&self, id: &MessageId) -> String {
        let items = &self.talk.items;
        let shown = items.iter().find(|item| item.id == *id).map(|item| (item.from.as_str(), item.text.as_str()));
        let known = shown.or_else(|| self.talk.quotes.get(id).map(|(from, text)| (from.as_str(), text.as_str())));
        match known {
            Some((from, text)) => {
                let from = if from == self.me { "you" } else { from };
                let text = if text.is_empty() { "gone" } else { text };
                clean_line(&format!("{from}: {text}"))
            }
            None => "a message that is not here".to_owned(),
        }
    }

    /// What became of a message, in a few words behind it.
    fn aftermath(&self, item: &HistoryItem) -> String {
        let stands = !item.deleted && !item.expired;
        let mut words = Vec::new();
        if item.edited && stands {
            words.push("edited".to_owned());
        }
        if let Some(at) = item.expires_at.filter(|_| stands) {
            words.push(format!("disappears {}", self.clock.full(at)));
        }
        words.extend(self.state(item));
        words.join(" · ")
    }

    /// How far one of ours came.
    fn state(&self, item: &HistoryItem) -> Option<String> {
        let others = |marks: &[Mark]| marks.iter().filter(|mark| mark.by != self.me).count();
        let (read, delivered) = (others(&item.read), others(&item.delivered));
        let because = |word: &str| match self.talk.reasons.get(&item.id) {
            Some(reason) => format!("{word}: {}", clean_line(reason)),
            None => word.to_owned(),
        };
        match item.state {
            _ if !item.own => None,
            Some(State::Queued) => Some(because("queued")),
            Some(State::Refused) => Some(because("refused")),
            _ if read > 0 && self.many => Some(format!("read by {read}")),
            _ if read > 0 => Some("read".to_owned()),
            Some(State::Delivered) => Some("delivered".to_owned()),
            _ if delivered > 0 && self.many => Some(format!("delivered to {delivered}")),
            _ if delivered > 0 => Some("delivered".to_owned()),
            Some(State::Custody) => Some("custody".to_owned()),
            Some(State::Accepted) => Some("accepted".to_owned()),
            None => None,
        }
    }

    /// The text with its margin; the time stands at the first row.
    fn body(&self, id: MessageId, beginning: &str, text: &str, look: Style, rows: &mut Vec<Row>) {
        for (at, line) in wrap(text, self.room()).into_iter().enumerate() {
            rows.push(row(id, if at == 0 { beginning } else { "" }, Span::styled(line, look)));
        }
    }

    /// Behind the last row where there is room, else below.
    fn append(&self, id: MessageId, words: &str, rows: &mut Vec<Row>) {
        if words.is_empty() {
            return;
        }
        let last = rows.last_mut().filter(|row| row.message == Some(id));
        if let Some(last) = last
            && last.line.width() + columns(words) + 2 <= self.room() + MARGIN
        {
            last.line.push_span(Span::styled(format!("  {words}"), style::dim()));
        } else {
            self.body(id, "", words, style::dim(), rows);
        }
    }

    fn room(&self) -> usize {
        usize::from(self.width).saturating_sub(MARGIN).clamp(2, TEXT_COLUMNS_MAX)
    }
}

fn unowned(line: Line<'static>) -> Row {
    Row { message: None, line }
}

fn row(id: MessageId, beginning: &str, text: Span<'static>) -> Row {
    let margin = Span::styled(format!("  {beginning:<6}"), style::dim());
    Row { message: Some(id), line: Line::from(vec![margin, text]) }
}

/// What a message says, as far as it still does.
fn words(item: &HistoryItem) -> (String, Style) {
    if item.deleted {
        ("taken back".to_owned(), style::dim())
    } else if item.expired {
        ("disappeared".to_owned(), style::dim())
    } else if let Some(seconds) = item.timer_s {
        (timer::words(seconds), style::dim())
    } else if let Some(file) = &item.file {
        let caption = if item.text.is_empty() { String::new() } else { format!("\n{}", clean(&item.text)) };
        let name = clean_line(&file.name);
        (format!("{name}, {} bytes (roost chat save {}){caption}", file.size, item.id), Style::default())
    } else if matches!(item.kind.as_str(), "text" | "rich_text") {
        (clean(&item.text), Style::default())
    } else {
        (format!("A message that this version does not show ({}).", clean_line(&item.kind)), style::warning())
    }
}
