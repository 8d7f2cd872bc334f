//! The connection to the home: hello, sign-in, bringing the account back to an emptied home, key packages, resuming.

use super::key_packages::{KEY_PACKAGES_FULL, KEY_PACKAGES_LOW};
use super::push::PushTestReport;
use super::rows::{self, CursorRow, GroupRow};
use super::{Device, DeviceError, Output, Random, whispers};
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::signed::Signed;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{BlobId, GroupId, Incarnation, MessageId, OperationId};
use roost_protocol::records::{HandleRecord, SignedOrgRecord};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, ServerFrame, sign_in_signature};
use std::collections::BTreeMap;

/// Shortest pause before a conversation that the home refused for now is shown to it again, milliseconds.
const INTRODUCE_PAUSE_MS: u64 = 5_000;

/// What an answer is for.
pub(super) enum Pending {
    SignIn,
    Restore,
    /// With when the one of last resort was made that is among them.
    KeyPackages(Option<u64>),
    /// With the position that is true once the home has answered.
    Resume(CursorRow),
    /// Something is missing: the home is asked for it again.
    AskAgain,
    Resolve(Handle),
    FetchKeyPackages(AccountId),
    Create(AccountId, GroupId),
    Introduce(AccountId),
    IntroduceGroup,
    FetchForIntent(u64, AccountId),
    CreateGroup(u64, GroupId),
    Commit(u64, GroupId, OperationId),
    FetchTree(GroupId, u64),
    FetchParticipants(GroupId),
    FetchCommits(GroupId),
    Accuse,
    Submit(MessageId),
    PutBlob(BlobId),
    FetchBlob(MessageId),
    /// With the log that was sent.
    AppendLog(Box<VerifiedLog>),
    FollowLogs(GroupId),
    LinkAnswer,
    FetchArchive,
    ArchivePut,
    TrimArchive,
    PushKey,
    /// With the change that it tells of.
    PushSubscribe(u64),
    PushTest,
}

/// What the home said first.
struct Hello {
    node: NodeId,
    challenge: Vec<u8>,
    incarnation: Incarnation,
    /// It passes on what is said in passing.
    hears_whispers: bool,
    /// It wakes devices that are away.
    pushes: bool,
}

/// The state of the connection; nothing of it outlives one.
#[derive(Default)]
pub(super) struct Link {
    hello: Option<Hello>,
    restored: bool,
    ready: bool,
    next_id: u64,
    pending: BTreeMap<u64, Pending>,
    /// Groups entered on this connection: each used up a key package.
    pub joined: u32,
    /// The home did not take a key package of last resort: not before then it is asked again, milliseconds since 1970.
    pub last_resort_not_before_ms: u64,
    /// Conversations that the home refused for now, and when they are shown to it again, milliseconds since 1970.
    untaken: BTreeMap<AccountId, u64>,
}

impl Link {
    /// Whether the home knows us on this connection.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the home knows us and passes on what is said in passing.
    pub fn hears_whispers(&self) -> bool {
        self.ready && self.hello.as_ref().is_some_and(|hello| hello.hears_whispers)
    }

    /// Whether the home wakes devices that are away.
    pub fn offers_push(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.pushes)
    }

    /// The life of the home's store.
    pub fn life(&self) -> Option<Incarnation> {
        self.hello.as_ref().map(|hello| hello.incarnation)
    }

    /// Whether the home is in this life of its store.
    pub fn is_of(&self, life: &Incarnation) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.incarnation == *life)
    }

    /// Whether a key package of last resort is on its way.
    pub fn is_putting_last_resort(&self) -> bool {
        self.pending.values().any(|pending| matches!(pending, Pending::KeyPackages(Some(_))))
    }

    /// Whether the home also holds the key packages that it lacked: others can begin a conversation with us.
    pub fn is_reachable(&self) -> bool {
        self.ready && !self.pending.values().any(|pending| matches!(pending, Pending::KeyPackages(_)))
    }
}

impl Device {
    pub(super) fn connected(&mut self) {
        self.link = Link { next_id: 1, ..Link::default() };
        self.inbox.disconnected();
    }

    pub(super) fn closed(&mut self) {
        self.link = Link::default();
        self.outbox.disconnected();
        self.files.disconnected();
        self.archive.disconnected();
        self.devices.disconnected();
        self.link_disconnected();
        self.leaves.disconnected();
        self.inbox.disconnected();
        self.intents.disconnected();
        self.lost.disconnected();
        self.whispers.disconnected();
        self.push.disconnected();
        self.withheld.disconnected();
        self.cross_check.disconnected();
    }

    pub(super) fn frame(&mut self, frame: ServerFrame, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        match frame {
            ServerFrame::Hello { versions, features, node, challenge, incarnation, .. } => {
                if !versions.contains(&roost_protocol::VERSION) {
                    self.disconnect("the home speaks no protocol version of ours");
                } else if !self.me.log.homes().contains(&node) {
                    self.disconnect("the node is none of the account's homes");
                } else {
                    let hears_whispers = features.iter().any(|feature| feature == whispers::FEATURE);
                    let pushes = features.iter().any(|feature| feature == roost_protocol::push::FEATURE);
                    self.link.hello = Some(Hello { node, challenge: challenge.0, incarnation, hears_whispers, pushes });
                    self.sign_in();
                }
            }
            ServerFrame::SignedUp { id, handle_record, org } => {
                if let Some(Pending::Restore) = self.answered(id) {
                    self.restored(handle_record, org, now_ms);
                }
            }
            ServerFrame::SignedIn { id, key_packages, last_resort, .. } => {
                if let Some(Pending::SignIn) = self.answered(id) {
                    self.signed_in(key_packages, last_resort)?;
                }
            }
            ServerFrame::Done { id } => match self.answered(id) {
                Some(Pending::Introduce(account)) => self.outbox.free(&account),
                // A conversation that was not taken is shown again on the next connection, which the old cursor tells.
                Some(Pending::Resume(cursor)) if self.link.untaken.is_empty() => {
                    // Where the home has moved it forward meanwhile, it stays.
                    let known: Option<CursorRow> = self.table.get(&rows::cursor())?;
                    let further = known.filter(|known| known.incarnation == cursor.incarnation);
                    if further.is_none_or(|known| known.after < cursor.after) {
                        self.table.put(rows::cursor(), &cursor);
                    }
                }
                Some(Pending::LinkAnswer) => self.link_answered(Ok(()), now_ms),
                Some(Pending::AppendLog(log)) => self.log_appended(&log)?,
                Some(Pending::PushSubscribe(change)) => self.push_told(change)?,
                Some(Pending::KeyPackages(made_at)) => {
                    self.key_packages_held(made_at);
                    self.staged.push(Output::KeyPackagesHeld);
                }
                _ => {}
            },
            ServerFrame::Resolved { id, handle_record, log, .. } => {
                if let Some(Pending::Resolve(handle)) = self.answered(id) {
                    self.resolved(&handle, &handle_record, &log, random, now_ms)?;
                }
            }
            ServerFrame::KeyPackages { id, log, packages } => match self.answered(id) {
                Some(Pending::FetchKeyPackages(account)) => {
                    self.key_packages_fetched(account, &log, &packages, random, now_ms)?;
                }
                Some(Pending::FetchForIntent(number, account)) => {
                    self.packages_for_intent(number, account, &log, packages, random, now_ms)?;
                }
                _ => {}
            },
            ServerFrame::Created { id, head, creation } => match self.answered(id) {
                Some(Pending::Create(account, group)) => {
                    self.created(account, group, &head, creation, random, now_ms)?;
                }
                Some(Pending::CreateGroup(number, group)) => {
                    self.group_created(number, group, &head, &creation, random, now_ms)?;
                }
                _ => {}
            },
            ServerFrame::Committed { id, head } => {
                if let Some(Pending::Commit(_, group, _)) = self.answered(id) {
                    self.committed(group, &head)?;
                }
            }
            ServerFrame::Tree { id, total, part } => {
                if let Some(Pending::FetchTree(group, epoch)) = self.answered(id) {
                    self.tree_part(group, epoch, total, part.as_slice())?;
                }
            }
            ServerFrame::Commits { id, entries } => {
                if let Some(Pending::FetchCommits(group)) = self.answered(id) {
                    self.commits_told(group, &entries, now_ms)?;
                }
            }
            ServerFrame::Trimmed { inbox } => {
                self.trimmed(inbox)?;
                self.inbox_trimmed()?;
            }
            ServerFrame::Participants { id, logs } => match self.answered(id) {
                Some(Pending::FetchParticipants(group)) => self.participants_told(group, &logs, now_ms)?,
                Some(Pending::FollowLogs(group)) => self.logs_told(group, &logs)?,
                _ => {}
            },
            ServerFrame::Accepted { id, feed, seq } => {
                if let Some(Pending::Submit(message)) = self.answered(id) {
                    self.reach_own(feed, seq, now_ms)?;
                    self.accepted(&message, now_ms)?;
                }
            }
            ServerFrame::Refused { id, error } => match id.and_then(|id| self.answered(id)) {
                Some(pending) => self.refused(pending, error, random, now_ms)?,
                // A whisper has no id. It was lost, and that harms nothing.
                None if id.is_none() && is_of_whisper(error.code) => {}
                None if id.is_none() && error.code == Code::Revoked => self.end_device(),
                None => self.disconnect(&error.message),
            },
            ServerFrame::PushKey { id, key } => {
                if let Some(Pending::PushKey) = self.answered(id) {
                    self.push_key_told(Ok(key));
                }
            }
            ServerFrame::PushTested { id, leg, status, message } => {
                if let Some(Pending::PushTest) = self.answered(id) {
                    self.push_test_told(Ok(PushTestReport { leg, status, message }));
                }
            }
            ServerFrame::PushEnded { endpoint } => self.push_ended(&endpoint)?,
            ServerFrame::Blob { id, have, ticket } => {
                let pending = self.answered(id);
                self.blob_told(pending, have, ticket, now_ms)?;
            }
            ServerFrame::Archived { id, seq, bytes } => {
                if let Some(Pending::ArchivePut) = self.answered(id) {
                    self.archived(seq, bytes)?;
                }
            }
            ServerFrame::Archive { id, chunks, removed, last } => {
                if let Some(Pending::FetchArchive) = self.answered(id) {
                    self.archive_page(&chunks, removed, last, now_ms)?;
                }
            }
            ServerFrame::ArchiveTrimmed { id, removed } => {
                if let Some(Pending::TrimArchive) = self.answered(id) {
                    self.archive_trimmed(removed);
                }
            }
            ServerFrame::ArchiveGrew { last } => self.archive_grew(last),
            ServerFrame::Entry { inbox, entry } => self.entry(inbox, entry, now_ms)?,
            ServerFrame::Placed { feed, seq, inbox, count } => self.placed(feed, seq, inbox, count)?,
            ServerFrame::Whisper { group, epoch, account, payload } => {
                self.whispered(group, epoch, account, &payload, random, now_ms)?;
            }
            ServerFrame::Equivocation { proof } => {
                self.accused(&proof)?;
            }
            ServerFrame::Custody { account, group, messages } => self.custody(&account, &group, &messages, now_ms)?,
            ServerFrame::LogChanged { log } => {
                if let Ok(log) = VerifiedLog::verify(&log) {
                    self.learn_own_log(&log)?;
                }
            }
            ServerFrame::LinkRequested { session, sealed } => self.link_requested(session, &sealed),
            // For who signs nobody in.
            ServerFrame::Account { .. } | ServerFrame::LinkAnswered { .. } => {}
        }
        Ok(())
    }

    /// Sends a request and remembers what its answer is for.
    pub(super) fn request(&mut self, pending: Pending, frame: impl FnOnce(u64) -> ClientFrame) {
        let id = self.link.next_id;
        self.link.next_id += 1;
        self.link.pending.insert(id, pending);
        self.staged.push(Output::Send(Box::new(frame(id))));
    }

    /// Shows conversations again that the home refused for now: until it takes them it refuses what others write in them.
    pub(super) fn introduce_again(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        let due: Vec<AccountId> =
            self.link.untaken.iter().filter(|(_, at)| **at <= now_ms).map(|(account, _)| *account).collect();
        for account in due {
            self.link.untaken.remove(&account);
            if let Some(group) = self.standing_group(&account) {
                self.introduce(account, &group)?;
            }
        }
        Ok(())
    }

    pub(super) fn link_wake_at(&self) -> Option<u64> {
        self.link.untaken.values().min().copied()
    }

    pub(super) fn introduce(&mut self, account: AccountId, group: &GroupId) -> Result<bool, DeviceError> {
        let Some(GroupRow { head: Some(head), .. }) = self.table.get(&rows::group(group))? else { return Ok(false) };
        let Some(creation) = self.table.get(&rows::creation(group))? else { return Ok(false) };
        self.request(Pending::Introduce(account), |id| ClientFrame::Introduce {
            id,
            head,
            creation,
            lineage: Vec::new(),
        });
        Ok(true)
    }

    fn answered(&mut self, id: u64) -> Option<Pending> {
        self.link.pending.remove(&id)
    }

    pub(super) fn disconnect(&mut self, reason: &str) {
        self.staged.push(Output::Disconnect(reason.to_owned()));
    }

    fn sign_in(&mut self) {
        let Some(hello) = &self.link.hello else { return };
        let (account, device) = (self.me.account, self.me.device);
        let signature = sign_in_signature(&self.me.key, &hello.node, &hello.challenge, &account, &device);
        self.request(Pending::SignIn, |id| ClientFrame::SignIn { id, account, device, signature });
    }

    fn restored(&mut self, handle_record: Signed, org: SignedOrgRecord, now_ms: u64) {
        let fits = HandleRecord::verify(&handle_record, now_ms / 1000)
            .is_ok_and(|record| record.account == self.me.account && record.handle == self.me.row.handle);
        if fits && org.verify(now_ms / 1000).is_ok() {
            self.me.row.handle_record = handle_record;
            self.me.row.org = org;
            self.table.put(rows::account(), &self.me.row);
        }
        self.link.restored = true;
        self.sign_in();
    }

    fn signed_in(&mut self, key_packages: u32, last_resort: bool) -> Result<(), DeviceError> {
        let Some(incarnation) = self.link.hello.as_ref().map(|hello| hello.incarnation) else { return Ok(()) };
        self.link.ready = true;
        self.forget_key_packages(self.last_now_ms)?;
        self.leaves.look();
        self.staged.push(Output::SignedIn);
        let known: Option<CursorRow> = self.table.get(&rows::cursor())?;
        let cursor = match known {
            Some(cursor) if cursor.incarnation == incarnation => cursor,
            _ => CursorRow { incarnation, after: 0 },
        };
        let missing = if key_packages < KEY_PACKAGES_LOW { KEY_PACKAGES_FULL - key_packages } else { 0 };
        if missing > 0 || !last_resort {
            self.put_key_packages(missing, !last_resort)?;
        }
        // A home in a new life knows no conversation: each is shown to it before anything else is asked of it.
        if self.link.restored || known.is_some_and(|known| known.incarnation != incarnation) {
            let standing: Vec<(AccountId, GroupId)> = self
                .groups
                .iter()
                .flat_map(|(account, groups)| groups.iter().map(move |(group, standing)| (*account, *group, *standing)))
                .filter_map(|(account, group, standing)| standing.then_some((account, group)))
                .collect();
            for (account, group) in standing {
                self.introduce(account, &group)?;
            }
            self.introduce_conversations()?;
        }
        let CursorRow { incarnation, after } = cursor;
        // The cursor is written with the answer: every `Introduce` went before it, so a device that dies in between
        // introduces its conversations again.
        self.request(Pending::Resume(cursor), |id| ClientFrame::Resume { id, incarnation, after });
        self.outbox.requeue_all();
        Ok(())
    }

    fn refused(
        &mut self,
        pending: Pending,
        error: Refusal,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let introduced = matches!(pending, Pending::Introduce(_));
        let fetched = matches!(pending, Pending::FetchKeyPackages(_));
        match pending {
            Pending::SignIn if error.code == Code::NotHome && !self.link.restored => {
                let handle_record = self.me.row.handle_record.clone();
                let log = self.me.log.log().clone();
                self.request(Pending::Restore, |id| ClientFrame::Restore { id, handle_record, log });
            }
            Pending::SignIn if error.code == Code::Revoked => self.end_device(),
            Pending::AppendLog(log) => self.append_refused(&log, error),
            Pending::FollowLogs(_) => self.logs_refused(),
            Pending::LinkAnswer => self.link_answered(Err(error), now_ms),
            Pending::SignIn | Pending::Restore | Pending::Resume(_) => self.disconnect(&error.message),
            Pending::KeyPackages(_) => self.key_packages_refused(&error, now_ms),
            Pending::AskAgain => {}
            Pending::Resolve(handle) => self.resolve_refused(&handle, error, random, now_ms)?,
            Pending::FetchKeyPackages(account) | Pending::Create(account, _) | Pending::Introduce(account) => {
                self.outbox.free(&account);
                if introduced && error.later {
                    let pause = error.retry_after_ms.unwrap_or(0).max(INTRODUCE_PAUSE_MS);
                    self.link.untaken.insert(account, now_ms.saturating_add(pause));
                }
                // The home does not know where the account lives, or not where it lives now; a lookup of its handle tells it.
                let resolve = fetched && matches!(error.code, Code::NotFound | Code::NotHome);
                self.route_refused(&account, error, random, now_ms)?;
                if resolve {
                    self.ask_for_handle_of(&account)?;
                }
            }
            Pending::IntroduceGroup | Pending::Accuse => {}
            Pending::FetchForIntent(number, account) if error.code == Code::Busy => {
                self.fetch_postponed(number, account, error, random, now_ms)?;
            }
            Pending::FetchForIntent(number, account) => {
                let resolve = matches!(error.code, Code::NotFound | Code::NotHome);
                self.intent_failed(number, error, random, now_ms);
                if resolve {
                    self.ask_for_handle_of_intent(number, &account)?;
                }
            }
            Pending::CreateGroup(number, group) => self.creation_refused(number, group, error, random, now_ms),
            Pending::Commit(number, group, operation) => {
                self.commit_refused(number, group, operation, error, random, now_ms)?;
            }
            Pending::FetchTree(group, _) | Pending::FetchParticipants(group) => {
                self.joining_refused(group, &error, now_ms)?
            }
            Pending::FetchCommits(group) => self.commits_refused(group, &error, now_ms),
            Pending::FetchArchive | Pending::ArchivePut | Pending::TrimArchive => self.archive_refused(&error, now_ms),
            Pending::PushKey => self.push_key_told(Err(error)),
            Pending::PushSubscribe(_) => self.push_refused(error, now_ms)?,
            Pending::PushTest => self.push_test_told(Err(error)),
            Pending::PutBlob(blob) => self.put_blob_refused(blob, error, now_ms)?,
            Pending::FetchBlob(message) => self.fetch_blob_refused(message, error, now_ms),
            Pending::Submit(message) => self.submit_refused(&message, error, random, now_ms)?,
        }
        Ok(())
    }
}

/// Whether a home refuses a whisper so: the conversation is none that it would pass it on in, any more or yet.
fn is_of_whisper(code: Code) -> bool {
    matches!(code, Code::UnknownConversation | Code::NotMember | Code::TooLarge)
}
