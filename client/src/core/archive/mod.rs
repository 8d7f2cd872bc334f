//! The archive: what this device knows goes, sealed, to the account's home, and comes from there to its other devices.
//!
//! It is a list of rows, not of events: a row that changed is put again, and whoever reads two versions of one joins them
//! (`join.rs`), in whichever order they come. Ratchets and keys are never among them. Nothing here decides by a clock alone.
//!
//! Implements `docs/protocol.md`, section "Archive".

mod chunk;
mod join;

use self::chunk::{ArchivedRow, Chunk};
use super::link::Pending;
use super::rows::{self, DIRTY};
use super::{Device, DeviceError, Output, Random};
use roost_crypto::bytes::Bytes;
use roost_crypto::labels;
use roost_crypto::sealing::{NONCE_BYTES, StoreKey};
use roost_protocol::ids::OperationId;
use roost_protocol::limits;
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::{ArchiveChunk, ClientFrame};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// How long changes are collected, milliseconds: another device may put the same ones first, and a talk is one chunk.
const COLLECT_MS: u64 = 3_000;
/// Pause after a refusal, milliseconds.
const PAUSE_MS: u64 = 30_000;
/// Bytes of rows in one chunk; sealing and padding add less than the rest.
const ROWS_BYTES_MAX: usize = limits::ARCHIVE_CHUNK_BYTES_MAX - 4 * 1024;
/// An archive is put anew once it holds so many times what this device would put, and this many bytes more.
const WASTE_FACTOR: u64 = 3;
const WASTE_BYTES: u64 = 1024 * 1024;
/// How soon after something was deleted or expired the archive is put anew, milliseconds: not for each one.
const FORGET_MS: u64 = 60 * 60 * 1_000;

/// How this device stands to the archive.
#[derive(Clone, Default, Serialize, Deserialize)]
struct ArchiveRow {
    /// The last chunk that was read.
    after: u64,
    /// A chunk on its way: put again byte by byte until its position is known.
    put: Option<PutRow>,
    /// All is put anew; then everything up to this position goes.
    renew: Option<u64>,
    /// When something went whose words may still be in a chunk, milliseconds since 1970.
    forgotten_at: Option<u64>,
}

#[derive(Clone, Serialize, Deserialize)]
struct PutRow {
    name: OperationId,
    chunk: Bytes,
    /// The rows in it, and hashes of their values.
    rows: Vec<(Bytes, Bytes)>,
}

/// What is known on this connection, and what is to be put; rebuilt from rows.
#[derive(Default)]
pub(super) struct Archive {
    row: ArchiveRow,
    dirty: BTreeSet<Vec<u8>>,
    /// When changes began to be collected.
    since_ms: Option<u64>,
    /// The last position that the home told of.
    last: u64,
    /// Asked, and not answered yet.
    asked: bool,
    /// Whether the home was asked on this connection.
    caught_up: bool,
    not_before_ms: u64,
}

impl Archive {
    /// Nothing that was asked on the connection is answered any more.
    pub fn disconnected(&mut self) {
        (self.asked, self.caught_up, self.not_before_ms) = (false, false, 0);
    }
}

impl Device {
    /// Whether everything that this device knows is in the archive, or none is kept.
    pub fn is_archived(&self) -> bool {
        let row = &self.archive.row;
        self.archive_key().is_none() || (self.archive.dirty.is_empty() && row.put.is_none() && row.renew.is_none())
    }

    /// Whether what the account's other devices put was read on this connection.
    pub fn has_caught_up(&self) -> bool {
        self.archive.caught_up
    }

    pub(super) fn load_archive(&mut self) -> Result<(), DeviceError> {
        let known: Option<ArchiveRow> = self.table.get(&rows::archive())?;
        if known.is_none() {
            self.all_is_dirty()?;
        }
        self.archive.row = known.unwrap_or_default();
        for (key, ()) in self.table.scan(&[DIRTY])? {
            self.archive.dirty.insert(key.get(1..).unwrap_or_default().to_vec());
        }
        Ok(())
    }

    /// Notes which rows have changed since the last call.
    pub(super) fn note_changes(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        let changed = self.table.take_changed();
        if self.archive_key().is_none() {
            return Ok(());
        }
        for key in changed {
            if self.is_archivable(&key) && self.archive.dirty.insert(key.clone()) {
                self.table.put(rows::dirty(&key), &());
            }
        }
        if !self.archive.dirty.is_empty() {
            self.archive.since_ms.get_or_insert(now_ms);
        }
        Ok(())
    }

    /// Reads what is new, then puts what has changed.
    pub(super) fn pump_archive(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        self.note_changes(now_ms)?;
        let due = self.link.is_ready() && self.archive_key().is_some() && self.archive.not_before_ms <= now_ms;
        if !due || self.archive.asked {
            return Ok(());
        }
        let after = self.archive.row.after;
        if !self.archive.caught_up || self.archive.last > after {
            self.archive.asked = true;
            self.request(Pending::FetchArchive, |id| ClientFrame::FetchArchive { id, after });
            return Ok(());
        }
        if self.archive.row.put.is_none() {
            self.forget_soon(now_ms)?;
            let collected = self.archive.since_ms.is_some_and(|since| since + COLLECT_MS <= now_ms);
            if collected || self.outbox.is_hurried() {
                self.make_chunk(random)?;
            }
        }
        match (&self.archive.row.put, self.archive.row.renew) {
            (Some(PutRow { name, chunk, .. }), _) => {
                let (name, chunk) = (*name, chunk.clone());
                self.archive.asked = true;
                self.request(Pending::ArchivePut, |id| ClientFrame::ArchivePut { id, name, chunk });
            }
            (None, Some(up_to)) if self.archive.dirty.is_empty() => {
                self.archive.asked = true;
                self.request(Pending::TrimArchive, |id| ClientFrame::TrimArchive { id, up_to });
            }
            (None, _) => {}
        }
        Ok(())
    }

    pub(super) fn archive_wake_at(&self) -> Option<u64> {
        if !self.link.is_ready() || self.archive_key().is_none() || self.archive.asked {
            return None;
        }
        let collected = self.archive.since_ms.map(|since| since + COLLECT_MS);
        let forgotten = self.archive.row.forgotten_at.map(|at| at + FORGET_MS);
        let busy = self.archive.row.put.is_some() || self.archive.row.renew.is_some();
        let pause = Some(self.archive.not_before_ms).filter(|at| *at > 0 && busy);
        let at = [collected, forgotten, pause].into_iter().flatten().min();
        at.map(|at| at.max(self.archive.not_before_ms))
    }

    /// The home tells how far the archive goes.
    pub(super) fn archive_grew(&mut self, last: u64) {
        self.archive.last = self.archive.last.max(last);
    }

    /// A page of the archive came.
    pub(super) fn archive_page(
        &mut self,
        chunks: &[ArchiveChunk],
        removed: u64,
        last: u64,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.archive.asked = false;
        self.archive.last = last;
        // An emptied home begins anew: all that is here is put again.
        if self.archive.row.after > last {
            self.archive.row.after = removed;
            self.all_is_dirty()?;
        }
        for ArchiveChunk { seq, chunk } in chunks {
            if let Some(chunk) = self.open_chunk(chunk) {
                for row in chunk.rows {
                    self.join_row(&row, now_ms)?;
                }
            } else {
                self.staged.push(Output::BadArchive { seq: *seq });
            }
            self.archive.row.after = self.archive.row.after.max(*seq);
        }
        if chunks.is_empty() {
            self.archive.row.after = self.archive.row.after.max(last);
        }
        self.archive.caught_up = self.archive.row.after >= last;
        self.put_archive_row();
        Ok(())
    }

    /// Our chunk has its place.
    pub(super) fn archived(&mut self, seq: u64, held_bytes: u64) -> Result<(), DeviceError> {
        self.archive.asked = false;
        let Some(put) = self.archive.row.put.take() else { return Ok(()) };
        for (key, hash) in put.rows {
            let now = self.table.raw(key.as_slice()).map(hash_of);
            if now.as_ref().map(Bytes::as_slice) == Some(hash.as_slice()) {
                self.clean(key.as_slice());
            }
        }
        // What others put before it is still to be read.
        if self.archive.row.after + 1 == seq {
            self.archive.row.after = seq;
        }
        self.archive.last = self.archive.last.max(seq);
        if self.archive.row.renew.is_none() && self.is_wasteful(held_bytes) {
            self.renew_archive()?;
        }
        self.put_archive_row();
        Ok(())
    }

    pub(super) fn archive_trimmed(&mut self, removed: u64) {
        self.archive.asked = false;
        if self.archive.row.renew.is_some_and(|up_to| up_to <= removed) {
            self.archive.row.renew = None;
            self.put_archive_row();
        }
    }

    pub(super) fn archive_refused(&mut self, error: &Refusal, now_ms: u64) {
        self.archive.asked = false;
        self.archive.not_before_ms = now_ms + error.retry_after_ms.unwrap_or(PAUSE_MS).min(10 * PAUSE_MS);
    }

    /// Words went: their archived copies are to follow.
    pub(super) fn something_went(&mut self, now_ms: u64) {
        if self.archive_key().is_some() && self.archive.row.forgotten_at.is_none() {
            self.archive.row.forgotten_at = Some(now_ms);
            self.put_archive_row();
        }
    }

    fn forget_soon(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        if self.archive.row.forgotten_at.is_some_and(|at| at + FORGET_MS <= now_ms) {
            self.archive.row.forgotten_at = None;
            self.renew_archive()?;
        }
        Ok(())
    }

    /// Everything is put again, and what was before goes.
    pub(super) fn renew_archive(&mut self) -> Result<(), DeviceError> {
        self.all_is_dirty()?;
        self.archive.row.renew = Some(self.archive.last.max(self.archive.row.after));
        self.put_archive_row();
        Ok(())
    }

    fn all_is_dirty(&mut self) -> Result<(), DeviceError> {
        for key in self.table.keys_of(rows::ARCHIVED) {
            if self.is_archivable(&key) && self.archive.dirty.insert(key.clone()) {
                self.table.put(rows::dirty(&key), &());
            }
        }
        self.archive.since_ms.get_or_insert(self.last_now_ms);
        Ok(())
    }

    /// Whether much of the archive is older versions of rows.
    fn is_wasteful(&self, held_bytes: u64) -> bool {
        if held_bytes < WASTE_BYTES {
            return false;
        }
        let live = self.table.keys_of(rows::ARCHIVED).into_iter().filter(|key| self.is_archivable(key));
        let live: u64 = live.map(|key| (key.len() + self.table.raw(&key).map_or(0, <[u8]>::len)) as u64).sum();
        held_bytes > live * WASTE_FACTOR + WASTE_BYTES
    }

    fn make_chunk(&mut self, random: Random<'_>) -> Result<(), DeviceError> {
        let Some(key) = self.archive_key() else { return Ok(()) };
        let (mut chunk, mut hashes, mut bytes) = (Vec::new(), Vec::new(), 0);
        for key in self.archive.dirty.clone() {
            let Some(value) = self.table.raw(&key).filter(|_| self.is_archivable(&key)).map(<[u8]>::to_vec) else {
                self.clean(&key);
                continue;
            };
            bytes += key.len() + value.len() + 16;
            if bytes > ROWS_BYTES_MAX && !chunk.is_empty() {
                break;
            }
            hashes.push((Bytes(key.clone()), hash_of(&value)));
            chunk.push(ArchivedRow { key: Bytes(key), value: Bytes(value) });
        }
        if chunk.is_empty() {
            self.archive.since_ms = None;
            return Ok(());
        }
        let (mut nonce, mut name) = ([0; NONCE_BYTES], [0; 16]);
        random(&mut nonce);
        random(&mut name);
        let chunk = Chunk { device: self.me.device, rows: chunk };
        let sealed = StoreKey::from_bytes(&key).seal(&self.archive_context(), &chunk.encode(), nonce);
        self.archive.row.put = Some(PutRow { name: OperationId(name), chunk: Bytes(sealed), rows: hashes });
        self.put_archive_row();
        Ok(())
    }

    fn open_chunk(&self, sealed: &Bytes) -> Option<Chunk> {
        let key = self.archive_key()?;
        let opened = StoreKey::from_bytes(&key).open(&self.archive_context(), sealed.as_slice()).ok()?;
        Chunk::decode(&opened)
    }

    fn clean(&mut self, key: &[u8]) {
        self.archive.dirty.remove(key);
        self.table.delete(rows::dirty(key));
        if self.archive.dirty.is_empty() {
            self.archive.since_ms = None;
        }
    }

    /// What is sealed is this account's.
    fn archive_context(&self) -> Vec<u8> {
        [labels::ARCHIVE.as_bytes(), self.me.account.as_bytes()].concat()
    }

    fn archive_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        let key = self.me.row.archive_key.as_ref()?.as_slice();
        key.try_into().ok().map(Zeroizing::new)
    }

    fn put_archive_row(&mut self) {
        self.table.put(rows::archive(), &self.archive.row);
    }
}

fn hash_of(value: &[u8]) -> Bytes {
    Bytes(labels::hash(labels::ARCHIVE_ROW, &[value]).to_vec())
}
