//! The archive of an account: sealed chunks that its devices leave for each other, in the order in which they came.
//!
//! The node cannot read them and knows nothing of what they are but sizes and times. Implements `docs/protocol.md`, section "Archive".

use super::{ConnectionId, Failure, Relay, Step, rows};
use crate::store::StoreError;
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::ids::OperationId;
use roost_protocol::limits;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ArchiveChunk, ServerFrame};
use serde::{Deserialize, Serialize};

/// Chunks that one request removes: a batch stays small, the device asks again.
const TRIM_MAX: u64 = 1_024;

/// How far an archive goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// The last position that was removed.
    removed: u64,
    /// The last position that was given.
    last: u64,
    /// Bytes of the chunks that are held.
    bytes: u64,
}

/// A chunk as it is held.
#[derive(Serialize, Deserialize)]
struct ChunkRow {
    name: OperationId,
    chunk: Bytes,
}

impl Relay {
    /// Keeps a chunk, once for each name.
    pub(super) fn archive_put(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        (account, device): (AccountId, DeviceId),
        (id, name, chunk): (u64, OperationId, Bytes),
    ) -> Result<(), Failure> {
        let len = chunk.len();
        if len == 0 || len > limits::ARCHIVE_CHUNK_BYTES_MAX {
            let message = format!("expected a chunk of 1 to {} bytes, got {len}", limits::ARCHIVE_CHUNK_BYTES_MAX);
            return Err(Refusal::never(Code::TooLarge, message, "put it in parts").into());
        }
        let mut head = head_of(step, &account)?;
        if let Some(seq) = rows::get::<u64>(step.rows, &rows::archive_name(&account, &name))? {
            self.send(connection, ServerFrame::Archived { id, seq, bytes: head.bytes });
            return Ok(());
        }
        let full = head.last - head.removed >= limits::ARCHIVE_CHUNKS_MAX
            || head.bytes + len as u64 > limits::ARCHIVE_BYTES_MAX;
        if full {
            let hint = "put what still counts anew and trim what was before";
            return Err(Refusal::later(Code::Busy, "the archive of the account is full", hint).into());
        }
        head.last += 1;
        head.bytes += len as u64;
        rows::put(step.rows, rows::archive(&account, head.last), &ChunkRow { name, chunk });
        rows::put(step.rows, rows::archive_name(&account, &name), &head.last);
        rows::put(step.rows, rows::archive_head(&account), &head);
        self.send(connection, ServerFrame::Archived { id, seq: head.last, bytes: head.bytes });
        let others = self.present.get(&account).into_iter().flatten().copied().filter(|other| *other != connection);
        for other in others.collect::<Vec<_>>() {
            let same = self.connections.get(&other).and_then(|state| state.device) == Some((account, device));
            if !same {
                self.send(other, ServerFrame::ArchiveGrew { last: head.last });
            }
        }
        Ok(())
    }

    /// Gives a page of chunks behind a position.
    pub(super) fn archive_page(
        &mut self,
        step: &Step<'_, '_>,
        connection: ConnectionId,
        account: AccountId,
        (id, after): (u64, u64),
    ) -> Result<(), Failure> {
        let head = head_of(step, &account)?;
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for seq in after.max(head.removed).saturating_add(1)..=head.last {
            let Some(row) = rows::get::<ChunkRow>(step.rows, &rows::archive(&account, seq))? else { continue };
            bytes += row.chunk.len();
            if !chunks.is_empty() && bytes > limits::ARCHIVE_PAGE_BYTES_MAX {
                break;
            }
            chunks.push(ArchiveChunk { seq, chunk: row.chunk });
        }
        self.send(connection, ServerFrame::Archive { id, chunks, removed: head.removed, last: head.last });
        Ok(())
    }

    /// Removes chunks from the beginning, some at a time.
    pub(super) fn archive_trim(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        account: AccountId,
        (id, up_to): (u64, u64),
    ) -> Result<(), Failure> {
        let mut head = head_of(step, &account)?;
        let until = up_to.min(head.last).min(head.removed + TRIM_MAX);
        while head.removed < until {
            head.removed += 1;
            let key = rows::archive(&account, head.removed);
            if let Some(row) = rows::get::<ChunkRow>(step.rows, &key)? {
                head.bytes = head.bytes.saturating_sub(row.chunk.len() as u64);
                step.rows.delete(rows::archive_name(&account, &row.name));
                step.rows.delete(key);
            }
        }
        rows::put(step.rows, rows::archive_head(&account), &head);
        self.send(connection, ServerFrame::ArchiveTrimmed { id, removed: head.removed });
        Ok(())
    }
}

fn head_of(step: &Step<'_, '_>, account: &AccountId) -> Result<Head, StoreError> {
    Ok(rows::get(step.rows, &rows::archive_head(account))?.unwrap_or_default())
}
