//! What a screen shows of a session at one moment, and how it is asked for.

use roost_client::core::history::{ConversationView, HistoryItem};
use roost_client::core::message::{State, Status};
use roost_client::core::people::{Request, Whom};
use roost_client::core::{ConversationReport, ParticipantReport, PresenceReport, Recipient};
use roost_client::runner::Gap;
use roost_client::{Error, Session};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::{AccountId, DeviceId};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Reasons and quotes that are looked up for one page: each is a question of its own.
const LOOKED_UP_MAX: usize = 64;

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub status: Status,
    /// Newest first.
    pub conversations: Vec<Conversation>,
    /// In the order of their first messages.
    pub requests: Vec<Request>,
    /// Entries that cannot be shown and belong to no conversation that is known.
    pub lost: usize,
    /// The conversation that was asked for.
    pub talk: Option<(ConversationId, Talk)>,
}

/// A conversation of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    pub id: ConversationId,
    pub who: Who,
    /// What the other wants to be called; proves nothing.
    pub name: Option<String>,
    pub unread: usize,
    /// Those of them that mention us.
    pub mentioned: usize,
    pub newest: Option<MessageId>,
    /// Seconds after which what is said there goes.
    pub expires_after_s: Option<u64>,
    /// Whether the other is there; shown only where it is known.
    pub presence: Option<PresenceReport>,
    /// Who is writing right now; shown only where it is known.
    pub typing: Option<String>,
    /// Devices of the other; shown only where it is known.
    pub devices: Option<usize>,
}

/// Who takes part in it beside us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// One, by handle.
    Handle {
        handle: Handle,
        account: AccountId,
        /// The safety number was compared.
        verified: bool,
        /// Another account was found behind the handle, and the person has not decided.
        key_changed: bool,
    },
    /// One whose handle nobody vouches for.
    Account(AccountId),
    /// Many.
    Many {
        participants: Vec<ParticipantReport>,
        /// What it is called and is for; empty for nothing.
        title: String,
        description: String,
        hub: String,
        /// The hub has let it stand.
        standing: bool,
        /// We take no part any more.
        over: bool,
    },
}

/// A device of the account, as the list numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MyDevice {
    pub number: usize,
    pub id: DeviceId,
    pub name: String,
    pub current: bool,
}

/// What was said in a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Talk {
    /// Oldest first.
    pub items: Vec<HistoryItem>,
    /// Whether there are older ones.
    pub older: bool,
    /// What cannot be shown, oldest first.
    pub gaps: Vec<Gap>,
    /// What is wrong with the conversation, in words.
    pub warnings: Vec<String>,
    /// Why messages of ours wait or are refused.
    pub reasons: BTreeMap<MessageId, String>,
    /// Author and text of messages that are answered and not among the items.
    pub quotes: BTreeMap<MessageId, (String, String)>,
}

/// What is wanted of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub id: ConversationId,
    pub place: Recipient,
    /// Messages from the newest on.
    pub max: usize,
}

impl Conversation {
    /// Where its words are found.
    pub fn place(&self) -> Recipient {
        match &self.who {
            Who::Handle { account, .. } | Who::Account(account) => (*account).into(),
            Who::Many { .. } => self.id.into(),
        }
    }

    /// Where words of ours go.
    pub fn recipient(&self) -> Recipient {
        match &self.who {
            Who::Handle { handle, .. } => handle.clone().into(),
            _ => self.place(),
        }
    }

    /// The other, where there is only one.
    pub fn whom(&self) -> Option<Whom> {
        match &self.who {
            Who::Handle { handle, .. } => Some(Whom::Handle(handle.clone())),
            Who::Account(account) => Some(Whom::Account(*account)),
            Who::Many { .. } => None,
        }
    }

    /// Whether nothing is sent until the person has decided about a key.
    pub fn key_changed(&self) -> bool {
        matches!(self.who, Who::Handle { key_changed: true, .. })
    }

    /// Who takes part, in one line, but for `me`; one of many is marked, also where it is of two.
    pub fn title(&self, me: &str) -> String {
        match &self.who {
            Who::Handle { handle, .. } => handle.to_string(),
            Who::Account(account) => account.to_string(),
            Who::Many { title, .. } if !title.is_empty() => format!("# {title}"),
            Who::Many { participants, .. } => {
                let names: Vec<&str> =
                    participants.iter().map(|one| one.name.as_str()).filter(|name| *name != me).collect();
                if names.is_empty() { "# only you".to_owned() } else { format!("# {}", names.join(", ")) }
            }
        }
    }
}

/// Asks the session.
///
/// # Errors
/// [`Error::Closed`] and [`Error::Device`].
pub async fn load(session: &Session, wanted: Option<Wanted>) -> Result<Snapshot, Error> {
    let gaps = session.gaps().await?;
    let lost = gaps.iter().filter(|gap| gap.conversation.is_none()).count();
    let mut conversations = conversations(session).await?;
    let talk = match wanted {
        Some(wanted) => {
            if let Some(open) = conversations.iter_mut().find(|one| one.id == wanted.id)
                && !matches!(open.who, Who::Many { .. })
            {
                open.presence = session.presence(&wanted.place).await.ok();
            }
            Some((wanted.id, talk(session, &wanted, gaps).await?))
        }
        None => None,
    };
    Ok(Snapshot { lost, status: session.status().await?, conversations, requests: session.requests().await?, talk })
}

async fn conversations(session: &Session) -> Result<Vec<Conversation>, Error> {
    let changed: Vec<Handle> = session.key_changes().await?.into_iter().map(|change| change.handle).collect();
    let mut reports: BTreeMap<ConversationId, ConversationReport> =
        session.conversations().await?.into_iter().map(|report| (report.conversation, report)).collect();
    let mut conversations = Vec::new();
    let views = session.conversation_views().await?;
    let accounts: Vec<AccountId> = views.iter().filter_map(|view| view.account).collect();
    let verified = session.verified(accounts.clone()).await?;
    let devices = session.known_devices(accounts).await?;
    let typists = session.typists_everywhere().await?;
    for view in views {
        let ConversationView {
            conversation: id, account, with, name, unread, mentioned, newest, expires_after_s, ..
        } = view;
        let who = match (account, with.parse::<Handle>(), reports.remove(&id)) {
            (Some(account), Ok(handle), _) => {
                let verified = verified.contains(&account);
                let key_changed = changed.contains(&handle);
                Who::Handle { handle, account, verified, key_changed }
            }
            (Some(account), Err(_), _) => Who::Account(account),
            (None, _, Some(report)) => many(report),
            (None, _, None) => continue,
        };
        let devices = account.and_then(|account| devices.get(&account).copied());
        let names: Vec<&str> =
            typists.iter().filter(|(place, _)| *place == id).map(|(_, name)| name.as_str()).collect();
        let typing = typing(&names, account.is_some());
        let known = Conversation { name, unread, mentioned, newest, expires_after_s, ..empty(id, who) };
        conversations.push(Conversation { devices, typing, ..known });
    }
    // Of many, and nothing was said yet.
    conversations.extend(reports.into_values().filter(|report| !report.over).map(|one| {
        let expires_after_s = one.expires_after_s;
        Conversation { expires_after_s, ..empty(one.conversation, many(one)) }
    }));
    conversations.sort_by_key(|one| (one.newest.is_some(), Reverse(one.newest), one.id));
    Ok(conversations)
}

/// Who is writing, in a few words.
fn typing(names: &[&str], alone: bool) -> Option<String> {
    match names {
        [] => None,
        [_] if alone => Some("writing …".to_owned()),
        [name] => Some(format!("{name} is writing …")),
        names => Some(format!("{} are writing …", names.join(", "))),
    }
}

fn many(report: ConversationReport) -> Who {
    let ConversationReport { participants, title, description, hub, standing, over, .. } = report;
    Who::Many { participants, title, description, hub, standing, over }
}

/// A conversation in which nothing was said.
pub fn empty(id: ConversationId, who: Who) -> Conversation {
    Conversation {
        id,
        who,
        name: None,
        unread: 0,
        mentioned: 0,
        newest: None,
        expires_after_s: None,
        presence: None,
        typing: None,
        devices: None,
    }
}

async fn talk(session: &Session, wanted: &Wanted, mut gaps: Vec<Gap>) -> Result<Talk, Error> {
    let page = match session.history(Some(wanted.place.clone()), None, wanted.max).await {
        // Begun and not known to the device yet.
        Err(Error::UnknownConversation | Error::UnknownPerson) => return Ok(Talk::default()),
        page => page?,
    };
    let items: Vec<HistoryItem> = page.items.into_iter().rev().collect();
    gaps.retain(|gap| gap.conversation == Some(wanted.id));
    let warnings = session.warnings(Some(wanted.place.clone())).await?;
    let warnings = warnings.iter().map(|one| one.cause.text()).collect();
    let reasons = reasons(session, &items).await?;
    let quotes = quotes(session, wanted, &items).await?;
    Ok(Talk { items, older: page.before.is_some(), gaps, warnings, reasons, quotes })
}

async fn reasons(session: &Session, items: &[HistoryItem]) -> Result<BTreeMap<MessageId, String>, Error> {
    let mut reasons = BTreeMap::new();
    let stuck = items.iter().rev().filter(|item| matches!(item.state, Some(State::Queued | State::Refused)));
    for item in stuck.take(LOOKED_UP_MAX) {
        if let Ok(report) = session.report(item.id).await
            && let Some(refusal) = report.error
        {
            reasons.insert(item.id, refusal.message);
        }
    }
    Ok(reasons)
}

async fn quotes(
    session: &Session,
    wanted: &Wanted,
    items: &[HistoryItem],
) -> Result<BTreeMap<MessageId, (String, String)>, Error> {
    let mut quotes = BTreeMap::new();
    let answered = items.iter().rev().filter_map(|item| item.reply);
    let missing = answered.filter(|id| items.iter().all(|item| item.id != *id));
    for id in missing.take(LOOKED_UP_MAX) {
        let page = session.history(Some(wanted.place.clone()), Some(after(id)), 1).await?;
        if let Some(item) = page.items.into_iter().find(|item| item.id == id) {
            quotes.insert(id, (item.from, item.text));
        }
    }
    Ok(quotes)
}

/// The next id: a page that ends before it begins with this one.
fn after(id: MessageId) -> MessageId {
    MessageId(u128::from_be_bytes(id.0).saturating_add(1).to_be_bytes())
}
