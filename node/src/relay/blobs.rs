//! Blobs: which this node keeps, for whom, how long, and what it fetches from other nodes.
//!
//! It decides and counts; the bytes never come here, the driver moves them as [`BlobOrder`] says. Implements `docs/protocol.md`, section
//! "Files".

use super::quotas::busy;
use super::{ConnectionId, Failure, InboundToken, Note, Output, Relay, Step, rows};
use crate::store::{Overlay, Read as _, RowKey, StoreError};
use roost_crypto::ids::{AccountId, NodeId};
use roost_protocol::content::BlobRef;
use roost_protocol::ids::{BlobId, FeedId};
use roost_protocol::limits;
use roost_protocol::peer::{Deliver, EntryBlobs, NodeResponse};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long an upload that does not go on keeps its place, milliseconds: a day.
const COMING_MS: u64 = 24 * 3600 * 1000;
/// Between two looks for what may go, milliseconds: an hour.
const SWEEP_MS: u64 = 3600 * 1000;
/// Between two of them where the last one had too much to do, milliseconds.
const SWEEP_AGAIN_MS: u64 = 1_000;
/// Blobs that one look removes: a batch stays small.
const SWEEP_MAX: usize = 128;
/// Accounts that are remembered with one blob: all of the largest group.
const HOLDERS_MAX: usize = limits::PARTICIPANTS_MAX;
/// Blobs that are fetched at the same time, and from one node.
const FETCHES_MAX: usize = 8;
const FETCHES_OF_NODE_MAX: usize = 2;
/// Blobs that wait to be fetched: beyond them one is fetched when a device asks.
const WANTED_MAX: usize = 4_096;
/// The first pause after a fetch that failed, milliseconds; doubled up to five minutes.
const FETCH_AGAIN_MS: u64 = 1_000;
const FETCH_AGAIN_MS_MAX: u64 = 5 * 60 * 1_000;
/// A device that asks lets the next try come so soon, milliseconds.
const FETCH_ASKED_MS: u64 = 2_000;

/// What the driver does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOrder {
    /// Tells a device how much of a blob is here, with a ticket for the next part.
    Upload {
        /// To whom.
        connection: ConnectionId,
        /// To be echoed.
        id: u64,
        /// Which.
        of: BlobRef,
    },
    /// Gives a device a ticket to read a blob that is here.
    Download {
        /// To whom.
        connection: ConnectionId,
        /// To be echoed.
        id: u64,
        /// Which.
        of: BlobRef,
    },
    /// Tells a device how much of a blob is here by now.
    Progress {
        /// To whom.
        connection: ConnectionId,
        /// To be echoed.
        id: u64,
        /// Which.
        of: BlobRef,
    },
    /// Answers a node with a part of a blob that is here.
    Give {
        /// To answer under.
        token: InboundToken,
        /// Which.
        of: BlobRef,
        /// From where on.
        offset: u64,
    },
    /// Fetches a blob from another node.
    Fetch {
        /// Which.
        of: BlobRef,
        /// From whom.
        node: NodeId,
    },
    /// Removes what is here of a blob.
    Delete(BlobId),
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// All of it is here, durably, and is what its name says.
    Whole,
    /// It is tried again.
    NotNow,
    /// The node does not have it, or has other bytes.
    Never,
}

/// For whom a blob is kept, and on whose account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Share {
    /// Its device put it here.
    Own,
    /// Somebody else's, that was said to it.
    Kept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    /// A device puts it here.
    Coming,
    /// It is fetched from a node.
    Wanted(NodeId),
    Whole,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct BlobRow {
    bytes: u64,
    standing: Standing,
    /// When it goes, milliseconds since 1970.
    until_ms: u64,
    holders: BTreeMap<AccountId, Share>,
}

/// What is kept on account of somebody, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct UsageRow {
    own: u64,
    kept: u64,
}

/// What an account has of a blob.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct HoldingRow {
    bytes: u64,
    share: Share,
    since_ms: u64,
}

/// A blob that is to be fetched.
struct Wanted {
    of: BlobRef,
    node: NodeId,
    failures: u32,
    not_before_ms: u64,
    under_way: bool,
}

/// What is to be fetched, and when is looked for what may go; rebuilt from rows.
#[derive(Default)]
pub(super) struct Blobs {
    wanted: BTreeMap<BlobId, Wanted>,
    /// When is looked for what may go; nothing is kept without it.
    sweep_at_ms: Option<u64>,
}

impl Blobs {
    pub fn wake_at(&self) -> Option<u64> {
        let fetches = self.wanted.values().filter(|wanted| !wanted.under_way).map(|wanted| wanted.not_before_ms);
        fetches.filter(|at| *at > 0).chain(self.sweep_at_ms).min()
    }

    /// Every pause is over: the clock was set back.
    pub fn due_at_once(&mut self) {
        self.wanted.values_mut().for_each(|wanted| wanted.not_before_ms = 0);
        self.sweep_at_ms = self.sweep_at_ms.map(|_| 0);
    }
}

impl Relay {
    pub(super) fn load_blobs(&mut self, rows: &Overlay<'_>) -> Result<(), StoreError> {
        let prefix = [rows::BLOB];
        let (mut blobs, mut bytes) = (0, 0);
        for (key, value) in rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            self.blobs.sweep_at_ms = Some(0);
            let row: BlobRow = rows::decode(&key, &value)?;
            if row.standing == Standing::Whole {
                (blobs, bytes) = (blobs + 1, bytes + row.bytes);
            }
        }
        self.notes.push(Note::BlobsFound { blobs, bytes });
        let prefix = [rows::BLOB_WANTED];
        for (key, value) in rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            let corrupt = || StoreError::Corrupt { key: Some(RowKey(key.clone())) };
            let blob = key.get(1..).and_then(BlobId::from_slice).ok_or_else(corrupt)?;
            let (node, bytes): (NodeId, u64) = rows::decode(&key, &value)?;
            let of = BlobRef { blob, bytes };
            let wanted = Wanted { of, node, failures: 0, not_before_ms: 0, under_way: false };
            self.blobs.wanted.insert(blob, wanted);
        }
        Ok(())
    }

    /// A device wants to leave a blob here.
    pub(super) fn put_blob(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        account: AccountId,
        (id, of): (u64, BlobRef),
    ) -> Result<(), Failure> {
        check(&of)?;
        self.may_move_blobs(step, &account)?;
        let mut row = match row_of(step, &of.blob)? {
            Some(row) if row.bytes != of.bytes => return Err(another_length(&row, &of)),
            Some(row) => row,
            None => {
                let until_ms = step.now_ms.saturating_add(COMING_MS);
                BlobRow { bytes: of.bytes, standing: Standing::Coming, until_ms, holders: BTreeMap::new() }
            }
        };
        if row.standing != Standing::Whole {
            self.check_space()?;
        }
        self.hold(step, &of.blob, &mut row, account, Share::Own)?;
        if row.standing == Standing::Whole {
            put_row(step, &of.blob, &row);
            self.send(connection, ServerFrame::Blob { id, have: of.bytes, ticket: None });
            return Ok(());
        }
        // What goes on keeps its place; its row is not written with every part.
        let until_ms = step.now_ms.saturating_add(COMING_MS);
        if row.until_ms.saturating_add(SWEEP_MS) < until_ms {
            move_end(step, &of.blob, &mut row, until_ms);
        }
        put_row(step, &of.blob, &row);
        self.blobs.sweep_at_ms.get_or_insert(step.now_ms.saturating_add(SWEEP_MS));
        self.outputs.push(Output::Blob(BlobOrder::Upload { connection, id, of }));
        Ok(())
    }

    /// A device wants a blob.
    pub(super) fn fetch_blob(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        account: AccountId,
        (id, of, node): (u64, BlobRef, NodeId),
    ) -> Result<(), Failure> {
        check(&of)?;
        self.may_move_blobs(step, &account)?;
        match row_of(step, &of.blob)? {
            Some(row) if row.bytes != of.bytes => return Err(another_length(&row, &of)),
            Some(BlobRow { standing: Standing::Whole, .. }) => {
                self.outputs.push(Output::Blob(BlobOrder::Download { connection, id, of }));
                return Ok(());
            }
            Some(BlobRow { standing: Standing::Coming, .. }) => {}
            None if node == self.node => return Err(gone()),
            Some(BlobRow { standing: Standing::Wanted(_), .. }) | None => {
                self.check_space()?;
                if !self.want(step, of, node, &[account])? {
                    return Err(busy("too many files wait to be fetched", FETCH_AGAIN_MS_MAX));
                }
                if let Some(wanted) = self.blobs.wanted.get_mut(&of.blob) {
                    wanted.not_before_ms = wanted.not_before_ms.min(step.now_ms.saturating_add(FETCH_ASKED_MS));
                }
            }
        }
        self.outputs.push(Output::Blob(BlobOrder::Progress { connection, id, of }));
        Ok(())
    }

    /// Another node wants a part of a blob: who knows the name was told it.
    pub(super) fn give_blob(
        &mut self,
        step: &Step<'_, '_>,
        token: InboundToken,
        blob: BlobId,
        offset: u64,
    ) -> Result<(), StoreError> {
        let answer = match row_of(step, &blob)? {
            Some(row) if row.standing == Standing::Whole && offset < row.bytes => {
                let of = BlobRef { blob, bytes: row.bytes };
                Output::Blob(BlobOrder::Give { token, of, offset })
            }
            Some(row) if row.standing != Standing::Whole => {
                let refusal = Refusal::later(Code::NotFound, "the blob is not whole here yet", "ask again later");
                Output::Answer(token, NodeResponse::Refused(refusal))
            }
            Some(_) | None => {
                let refusal = Refusal::never(Code::NotFound, "the blob is not kept here", "ask nobody for it again");
                Output::Answer(token, NodeResponse::Refused(refusal))
            }
        };
        self.outputs.push(answer);
        Ok(())
    }

    /// The blobs that a message is about must be here: its author's device has put them.
    pub(super) fn check_blobs(
        &self,
        step: &Step<'_, '_>,
        account: &AccountId,
        blobs: &[BlobRef],
    ) -> Result<(), Failure> {
        if blobs.len() > limits::BLOBS_OF_MESSAGE_MAX {
            let message = format!("a message is about at most {} blobs", limits::BLOBS_OF_MESSAGE_MAX);
            return Err(Refusal::never(Code::TooLarge, message, "send several messages").into());
        }
        for of in blobs {
            check(of)?;
            let here = row_of(step, &of.blob)?.is_some_and(|row| {
                row.standing == Standing::Whole && row.bytes == of.bytes && row.holders.contains_key(account)
            });
            if !here {
                return Err(Refusal::never(Code::NotFound, "a blob of the message is not here", "put it first").into());
            }
        }
        Ok(())
    }

    /// What other homes are told with the entry.
    pub(super) fn note_blobs(&self, step: &mut Step<'_, '_>, feed: &FeedId, seq: u64, blobs: &[BlobRef]) {
        if !blobs.is_empty() {
            rows::put(step.rows, rows::entry_blobs(feed, seq), &blobs.to_vec());
        }
    }

    /// The blobs of entries of our feed.
    pub(super) fn blobs_of(
        &self,
        step: &Step<'_, '_>,
        feed: &FeedId,
        entries: impl Iterator<Item = u64>,
    ) -> Result<Vec<EntryBlobs>, StoreError> {
        let mut found = Vec::new();
        for seq in entries {
            if let Some(blobs) = rows::get::<Vec<BlobRef>>(step.rows, &rows::entry_blobs(feed, seq))? {
                found.push(EntryBlobs { seq, blobs });
            }
        }
        Ok(found)
    }

    /// Whether a delivery names blobs as it may.
    pub(super) fn check_delivered_blobs(deliver: &Deliver) -> Result<(), Failure> {
        let fits = deliver.blobs.len() <= deliver.entries.len()
            && deliver.blobs.iter().all(|one| {
                one.blobs.len() <= limits::BLOBS_OF_MESSAGE_MAX && one.blobs.iter().all(BlobRef::is_possible)
            });
        if fits {
            return Ok(());
        }
        let hint = "name at most 4 blobs of 1 to 104,883,200 bytes with an entry of the delivery";
        Err(Refusal::never(Code::Malformed, "the delivery names blobs as none may", hint).into())
    }

    /// Blobs that were named with entries which are held now are fetched, for whom the entries are, unless there is no room.
    pub(super) fn want_delivered(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        accounts: &[AccountId],
        blobs: Vec<BlobRef>,
    ) -> Result<(), StoreError> {
        for of in blobs {
            if self.space_is_low {
                continue;
            }
            match self.want(step, of, peer, accounts) {
                Ok(_) | Err(Failure::Refused(_)) => {}
                Err(Failure::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// All of a blob is here.
    pub(super) fn blob_held(&mut self, step: &mut Step<'_, '_>, blob: BlobId) -> Result<(), StoreError> {
        self.unwant(step, &blob);
        let Some(mut row) = row_of(step, &blob)? else {
            // Its place was given up meanwhile.
            self.outputs.push(Output::Blob(BlobOrder::Delete(blob)));
            return Ok(());
        };
        if row.standing != Standing::Whole {
            row.standing = Standing::Whole;
            move_end(step, &blob, &mut row, step.now_ms.saturating_add(self.identity.limits.blobs_keep_ms));
            put_row(step, &blob, &row);
            self.notes.push(Note::BlobHeld { bytes: row.bytes });
        }
        Ok(())
    }

    /// A fetch has ended.
    pub(super) fn blob_fetched(
        &mut self,
        step: &mut Step<'_, '_>,
        blob: BlobId,
        fetched: Fetched,
    ) -> Result<(), StoreError> {
        match fetched {
            Fetched::Whole => self.blob_held(step, blob),
            Fetched::Never => self.forget_blob(step, &blob),
            Fetched::NotNow => {
                if let Some(wanted) = self.blobs.wanted.get_mut(&blob) {
                    wanted.under_way = false;
                    let pause = (FETCH_AGAIN_MS << wanted.failures.min(16)).min(FETCH_AGAIN_MS_MAX);
                    wanted.failures = wanted.failures.saturating_add(1);
                    wanted.not_before_ms = step.now_ms.saturating_add(pause);
                }
                Ok(())
            }
        }
    }

    /// Nothing of a blob is here any more, or never will be: nobody is charged for it.
    pub(super) fn forget_blob(&mut self, step: &mut Step<'_, '_>, blob: &BlobId) -> Result<(), StoreError> {
        self.unwant(step, blob);
        let Some(row) = row_of(step, blob)? else { return Ok(()) };
        for (account, share) in &row.holders {
            release(step, blob, account, *share, row.bytes)?;
        }
        step.rows.delete(rows::blob_until(row.until_ms, blob));
        step.rows.delete(rows::blob(blob));
        self.notes.push(Note::BlobGone { bytes: if row.standing == Standing::Whole { row.bytes } else { 0 } });
        self.outputs.push(Output::Blob(BlobOrder::Delete(*blob)));
        Ok(())
    }

    /// Fetches what is due, and removes what has been kept for long enough.
    pub(super) fn pump_blobs(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let mut of_node = BTreeMap::<NodeId, usize>::new();
        for wanted in self.blobs.wanted.values().filter(|wanted| wanted.under_way) {
            *of_node.entry(wanted.node).or_default() += 1;
        }
        let mut under_way: usize = of_node.values().sum();
        for wanted in self.blobs.wanted.values_mut() {
            let of_node = of_node.entry(wanted.node).or_default();
            let due = !wanted.under_way && wanted.not_before_ms <= step.now_ms;
            if due && under_way < FETCHES_MAX && *of_node < FETCHES_OF_NODE_MAX {
                wanted.under_way = true;
                // A pause that is over must not wake the node again.
                wanted.not_before_ms = 0;
                under_way += 1;
                *of_node += 1;
                self.outputs.push(Output::Blob(BlobOrder::Fetch { of: wanted.of, node: wanted.node }));
            }
        }
        if self.blobs.sweep_at_ms.is_some_and(|at| at <= step.now_ms) {
            self.sweep_blobs(step)?;
        }
        Ok(())
    }

    fn sweep_blobs(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let end = rows::blob_until(step.now_ms.saturating_add(1), &BlobId([0; 32]));
        let over = step.rows.scan(&[rows::BLOB_UNTIL], &end, SWEEP_MAX)?;
        let pause = if over.len() == SWEEP_MAX { SWEEP_AGAIN_MS } else { SWEEP_MS };
        for (key, _) in over {
            match key.get(9..).and_then(BlobId::from_slice) {
                Some(blob) if row_of(step, &blob)?.is_some() => self.forget_blob(step, &blob)?,
                _ => step.rows.delete(key),
            }
        }
        let prefix = [rows::BLOB_UNTIL];
        let any = !step.rows.scan(&prefix, &rows::end_of(&prefix), 1)?.is_empty();
        self.blobs.sweep_at_ms = any.then(|| step.now_ms.saturating_add(pause));
        Ok(())
    }

    /// Whether a blob is, or will be, fetched for these accounts. Where one has no room, what was kept for it longest goes.
    fn want(
        &mut self,
        step: &mut Step<'_, '_>,
        of: BlobRef,
        node: NodeId,
        accounts: &[AccountId],
    ) -> Result<bool, Failure> {
        let mut row = match row_of(step, &of.blob)? {
            Some(row) if row.bytes != of.bytes => return Err(another_length(&row, &of)),
            Some(row) => row,
            None if self.blobs.wanted.len() >= WANTED_MAX => return Ok(false),
            None => {
                let until_ms = step.now_ms.saturating_add(self.identity.limits.blobs_keep_ms);
                BlobRow { bytes: of.bytes, standing: Standing::Wanted(node), until_ms, holders: BTreeMap::new() }
            }
        };
        for account in accounts {
            self.hold(step, &of.blob, &mut row, *account, Share::Kept)?;
        }
        if let Standing::Wanted(known) = &mut row.standing {
            *known = node;
            rows::put(step.rows, rows::blob_wanted(&of.blob), &(node, of.bytes));
            let wanted = self.blobs.wanted.entry(of.blob).or_insert(Wanted {
                of,
                node,
                failures: 0,
                not_before_ms: step.now_ms,
                under_way: false,
            });
            wanted.node = node;
        }
        put_row(step, &of.blob, &row);
        self.blobs.sweep_at_ms.get_or_insert(step.now_ms.saturating_add(SWEEP_MS));
        Ok(true)
    }

    fn unwant(&mut self, step: &mut Step<'_, '_>, blob: &BlobId) {
        if self.blobs.wanted.remove(blob).is_some() {
            step.rows.delete(rows::blob_wanted(blob));
        }
    }

    /// A blob is kept on account of somebody, who must have room for it.
    fn hold(
        &mut self,
        step: &mut Step<'_, '_>,
        blob: &BlobId,
        row: &mut BlobRow,
        account: AccountId,
        share: Share,
    ) -> Result<(), Failure> {
        match row.holders.get(&account) {
            Some(Share::Own) => return Ok(()),
            Some(known) if *known == share => return Ok(()),
            None if row.holders.len() >= HOLDERS_MAX && share == Share::Kept => return Ok(()),
            _ => {}
        }
        let of_node = self.identity.limits;
        let mut usage: UsageRow = rows::get(step.rows, &rows::blob_usage(&account))?.unwrap_or_default();
        match share {
            Share::Own if usage.own.saturating_add(row.bytes) > of_node.blobs_own_bytes => {
                let message = format!(
                    "your files fill {} of the {} bytes that this node keeps of an account; this one has {}",
                    usage.own, of_node.blobs_own_bytes, row.bytes
                );
                let hint = "old ones go by themselves; ask the node's operator for more room, or send a smaller file";
                return Err(Refusal::never(Code::Quota, message, hint).into());
            }
            Share::Kept if row.bytes > of_node.blobs_kept_bytes => {
                let message = format!("this node keeps {} bytes for an account", of_node.blobs_kept_bytes);
                return Err(Refusal::never(Code::Quota, message, "ask the node's operator for more room").into());
            }
            Share::Kept if usage.kept.saturating_add(row.bytes) > of_node.blobs_kept_bytes => {
                self.make_room(step, blob, &account, row.bytes)?;
                usage = rows::get(step.rows, &rows::blob_usage(&account))?.unwrap_or_default();
            }
            Share::Own | Share::Kept => {}
        }
        if row.holders.insert(account, share) == Some(Share::Kept) {
            usage.kept = usage.kept.saturating_sub(row.bytes);
        }
        match share {
            Share::Own => usage.own += row.bytes,
            Share::Kept => usage.kept += row.bytes,
        }
        rows::put(step.rows, rows::blob_usage(&account), &usage);
        let holding = HoldingRow { bytes: row.bytes, share, since_ms: step.now_ms };
        rows::put(step.rows, rows::blob_of(&account, blob), &holding);
        Ok(())
    }

    /// What was kept for an account longest goes, until there is room for so many bytes: it can be fetched again.
    fn make_room(
        &mut self,
        step: &mut Step<'_, '_>,
        besides: &BlobId,
        account: &AccountId,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let prefix = rows::blobs_of(account);
        let mut kept = Vec::new();
        let mut filled = 0_u64;
        for (key, value) in step.rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            let holding: HoldingRow = rows::decode(&key, &value)?;
            if let (Share::Kept, Some(blob)) = (holding.share, key.get(33..).and_then(BlobId::from_slice))
                && blob != *besides
            {
                filled = filled.saturating_add(holding.bytes);
                kept.push((holding.since_ms, blob, holding.bytes));
            }
        }
        kept.sort_unstable();
        for (_, blob, of) in kept {
            if filled.saturating_add(bytes) <= self.identity.limits.blobs_kept_bytes {
                break;
            }
            filled = filled.saturating_sub(of);
            let Some(mut row) = row_of(step, &blob)? else { continue };
            if row.holders.len() <= 1 {
                self.forget_blob(step, &blob)?;
            } else {
                row.holders.remove(account);
                put_row(step, &blob, &row);
                release(step, &blob, account, Share::Kept, of)?;
            }
        }
        Ok(())
    }
}

/// An account is charged no longer.
fn release(
    step: &mut Step<'_, '_>,
    blob: &BlobId,
    account: &AccountId,
    share: Share,
    bytes: u64,
) -> Result<(), StoreError> {
    let key = rows::blob_usage(account);
    let mut usage: UsageRow = rows::get(step.rows, &key)?.unwrap_or_default();
    match share {
        Share::Own => usage.own = usage.own.saturating_sub(bytes),
        Share::Kept => usage.kept = usage.kept.saturating_sub(bytes),
    }
    rows::put(step.rows, key, &usage);
    step.rows.delete(rows::blob_of(account, blob));
    Ok(())
}

fn row_of(step: &Step<'_, '_>, blob: &BlobId) -> Result<Option<BlobRow>, StoreError> {
    rows::get(step.rows, &rows::blob(blob))
}

fn put_row(step: &mut Step<'_, '_>, blob: &BlobId, row: &BlobRow) {
    rows::put(step.rows, rows::blob_until(row.until_ms, blob), &());
    rows::put(step.rows, rows::blob(blob), row);
}

fn move_end(step: &mut Step<'_, '_>, blob: &BlobId, row: &mut BlobRow, until_ms: u64) {
    step.rows.delete(rows::blob_until(row.until_ms, blob));
    row.until_ms = until_ms;
}

fn check(of: &BlobRef) -> Result<(), Failure> {
    if of.is_possible() {
        return Ok(());
    }
    let message = format!("expected a blob of 1 to {} bytes, got {}", limits::BLOB_BYTES_MAX, of.bytes);
    Err(Refusal::never(Code::TooLarge, message, "send a smaller file, or another way").into())
}

fn another_length(row: &BlobRow, of: &BlobRef) -> Failure {
    let message = format!("this blob has {} bytes, not {}", row.bytes, of.bytes);
    Refusal::never(Code::Malformed, message, "a blob's name is the hash of its length and its bytes").into()
}

fn gone() -> Failure {
    Refusal::never(Code::NotFound, "the file is not kept any more", "ask who sent it to send it again").into()
}
