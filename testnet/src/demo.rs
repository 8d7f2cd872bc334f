//! The demo: three organisations, a user each, a sealed message between every two of them both ways.
//!
//! Its summary is counted from what the devices showed, never from what was meant to happen.

use crate::up::{UpConfig, up};
use crate::{Manifest, TestnetError, User, process};
use roost_client::Session;
use roost_client::core::message::State;
use roost_protocol::handle::Handle;
use roost_protocol::socket::LookupSource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For one message's whole way on a busy machine.
const MESSAGE_WAIT: Duration = Duration::from_secs(30);
/// For a message that must not come a second time.
const REPEAT_WAIT: Duration = Duration::from_millis(1500);
/// The organisations and their user.
const CAST: [(&str, &str); 3] = [("acme", "alice"), ("birch", "bob"), ("cedar", "carol")];

/// What the demo tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DemoEvent {
    /// The organisations run.
    Ready {
        /// Which.
        orgs: Vec<crate::Org>,
    },
    /// A message went its way; times in milliseconds since it was written.
    Path {
        /// Who wrote it.
        from: String,
        /// For whom.
        to: String,
        /// How the sender's node found the recipient.
        lookup: Option<DemoLookup>,
        /// On disk at the sender's node.
        accepted_ms: Option<u64>,
        /// On disk at the recipient's node.
        custody_ms: Option<u64>,
        /// On disk at the recipient's device, as its receipt says.
        delivered_ms: Option<u64>,
        /// Whether the recipient's device showed it.
        shown: bool,
    },
    /// What was seen in all.
    Summary {
        /// All was shown once, and the safety numbers agree.
        ok: bool,
        /// Ordered pairs of users.
        pairs: usize,
        /// Messages queued.
        sent: usize,
        /// Messages shown, each counted once.
        shown: usize,
        /// Messages that were not shown.
        lost: usize,
        /// Times that a message was shown again, or one that nobody sent.
        duplicates: usize,
        /// Both sides of each pair computed the same digits.
        safety_numbers_equal: bool,
    },
}

/// How an account was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemoLookup {
    /// Where the answer came from.
    pub source: LookupSource,
    /// Rounds of the longest query.
    pub hops: u32,
    /// Requests sent.
    pub messages: u32,
    /// How long it took.
    pub ms: u64,
}

/// Runs it in a new directory and leaves the organisations up. True when the summary is ok.
///
/// # Errors
/// [`TestnetError`] when it cannot be carried through; a lost message is no error but a summary that is not ok.
pub async fn demo(binary: PathBuf, dir: PathBuf, mut tell: impl FnMut(&DemoEvent)) -> Result<bool, TestnetError> {
    let config = UpConfig {
        binary: binary.clone(),
        dir,
        orgs: CAST.iter().map(|(org, _)| (*org).to_owned()).collect(),
        users: CAST.iter().map(|(_, user)| vec![(*user).to_owned()]).collect(),
    };
    let manifest = up(&config).await?;
    tell(&DemoEvent::Ready { orgs: manifest.orgs.clone() });
    let mut people = Vec::new();
    for org in &manifest.orgs {
        for user in &org.users {
            people.push(Person::open(user, &org.dir).await?);
        }
    }
    let mut sent = BTreeMap::new();
    let mut seen = BTreeMap::new();
    let mut pairs = 0;
    for (from, sender) in people.iter().enumerate() {
        for (to, recipient) in people.iter().enumerate() {
            if from == to {
                continue;
            }
            pairs += 1;
            tell(&talk(&binary, sender, recipient, &mut sent, &mut seen).await?);
        }
    }
    let safety_numbers_equal = safety_numbers_equal(&people).await?;
    for person in people {
        person.session.close().await?;
    }
    look_again(&manifest, &mut seen).await?;
    let shown = sent.keys().filter(|id| seen.contains_key(*id)).count();
    let lost = sent.len() - shown;
    let duplicates = seen.iter().map(|(id, times)| if sent.contains_key(id) { times - 1 } else { *times }).sum();
    let ok = lost == 0 && duplicates == 0 && sent.len() == pairs && safety_numbers_equal;
    tell(&DemoEvent::Summary { ok, pairs, sent: sent.len(), shown, lost, duplicates, safety_numbers_equal });
    Ok(ok)
}

/// A user at their device.
struct Person {
    handle: Handle,
    session: Session,
    org_dir: PathBuf,
}

/// A message as the one who reads it knows it: reader, author, text. The texts are all different.
type Seen = (String, String, String);

impl Person {
    async fn open(user: &User, org_dir: &Path) -> Result<Self, TestnetError> {
        let handle = user.handle.parse().map_err(roost_client::Error::from)?;
        Ok(Self { handle, session: Session::open(&user.dir, None).await?, org_dir: org_dir.to_owned() })
    }
}

async fn talk(
    binary: &Path,
    sender: &Person,
    recipient: &Person,
    sent: &mut BTreeMap<Seen, ()>,
    seen: &mut BTreeMap<Seen, usize>,
) -> Result<DemoEvent, TestnetError> {
    let (from, to) = (sender.handle.to_string(), recipient.handle.to_string());
    let org_dir = sender.org_dir.to_string_lossy();
    // The node may not have met the other one yet; then the message finds the way itself, or counts as lost.
    let lookup = process::run(binary, &["lookup", &to, "--dir", &org_dir]).await.ok();
    let text = format!("hello {to}, this is {from}");
    let id = sender.session.send(&to, &text).await?;
    let expected = (to.clone(), from.clone(), text);
    sent.insert(expected.clone(), ());
    match sender.session.wait(id, State::Delivered, MESSAGE_WAIT).await {
        Ok(_) | Err(roost_client::Error::TimedOut | roost_client::Error::Refused(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let report = sender.session.report(id).await?;
    while !seen.contains_key(&expected) {
        let Ok(message) = tokio::time::timeout(MESSAGE_WAIT, recipient.session.recv()).await else { break };
        let message = message?;
        *seen.entry((to.clone(), message.from, message.text)).or_default() += 1;
        recipient.session.mark_shown(message.id).await?;
    }
    let since = |at: Option<u64>| at.map(|at| at.saturating_sub(report.submitted_at));
    Ok(DemoEvent::Path {
        lookup,
        accepted_ms: since(report.accepted_at),
        custody_ms: since(report.custody_at),
        delivered_ms: since(report.delivered_at),
        shown: seen.contains_key(&expected),
        from,
        to,
    })
}

/// Each side of each pair computes for itself.
async fn safety_numbers_equal(people: &[Person]) -> Result<bool, TestnetError> {
    let mut equal = true;
    for (index, one) in people.iter().enumerate() {
        for other in people.iter().skip(index + 1) {
            let here = one.session.safety_number(&other.handle.to_string(), MESSAGE_WAIT).await?;
            let there = other.session.safety_number(&one.handle.to_string(), MESSAGE_WAIT).await?;
            equal &= here == there;
        }
    }
    Ok(equal)
}

/// Opens every device anew and looks whether anything is shown a second time.
async fn look_again(manifest: &Manifest, seen: &mut BTreeMap<Seen, usize>) -> Result<(), TestnetError> {
    for user in manifest.orgs.iter().flat_map(|org| &org.users) {
        let session = Session::open(&user.dir, None).await?;
        while let Ok(message) = tokio::time::timeout(REPEAT_WAIT, session.recv()).await {
            let message = message?;
            *seen.entry((user.handle.clone(), message.from, message.text)).or_default() += 1;
            session.mark_shown(message.id).await?;
        }
        session.close().await?;
    }
    Ok(())
}

impl fmt::Display for DemoEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ms: &Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        match self {
            Self::Ready { orgs } => {
                for org in orgs {
                    writeln!(formatter, "{:8} runs as process {}, users at {}", org.name, org.pid, org.web)?;
                }
                Ok(())
            }
            Self::Path { from, to, lookup, accepted_ms, custody_ms, delivered_ms, shown } => {
                let found = lookup.as_ref().map_or_else(
                    || "not found at first".to_owned(),
                    |lookup| format!("found in {} ms by {} messages", lookup.ms, lookup.messages),
                );
                write!(
                    formatter,
                    "{from:12} -> {to:12} {found:28} own node {:8} their node {:8} their device {:8} {}",
                    ms(accepted_ms),
                    ms(custody_ms),
                    ms(delivered_ms),
                    if *shown { "shown" } else { "LOST" }
                )
            }
            Self::Summary { ok, pairs, sent, shown, lost, duplicates, safety_numbers_equal } => write!(
                formatter,
                "\n{}: {pairs} pairs, {sent} sent, {shown} shown, {lost} lost, {duplicates} twice, safety numbers {}",
                if *ok { "ok" } else { "NOT OK" },
                if *safety_numbers_equal { "equal" } else { "DIFFER" }
            ),
        }
    }
}
