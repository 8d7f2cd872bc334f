//! Files: what is said about them goes through the outbox like a text, once their sealed bytes are at the home; and what others said
//! is fetched when the person wants it.
//!
//! The bytes never come here. Whoever drives the device keeps them under the name of their blob, carries each part that
//! [`Output::Upload`] and [`Output::Download`] ask for, and tells what came of it. Implements `docs/protocol.md`, section "Files".

use super::changes::Extras;
use super::history::row::FileRow;
use super::link::Pending;
use super::message::State;
use super::recipient::Recipient;
use super::rows::{self, OutboxRow};
use super::{Device, DeviceError, Input, Output, Random};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_protocol::content::{BlobRef, Body, Dimensions, File};
use roost_protocol::ids::{BlobId, BlobTicket, ConversationId, MessageId};
use roost_protocol::limits;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;
use serde::Serialize;
use std::collections::BTreeMap;

/// Uploads whose parts are on their way at the same time: what is small need not wait for what is large.
const UPLOADS_MAX: usize = 3;
/// Pause after a part that was not carried, milliseconds; doubled up to the outbox's.
const AGAIN_MS: u64 = 500;
/// Longest such pause, milliseconds: a person waits.
const AGAIN_MS_MAX: u64 = 10_000;
/// How often the home is asked whether it has fetched what it lacks, milliseconds.
const LOOK_MS: u64 = 500;

/// A file that was sealed, as it is to be said.
#[derive(Clone)]
pub struct FileDraft {
    /// What it is called: one part of a path.
    pub name: String,
    /// What kind of file it is, like `image/jpeg`.
    pub media_type: String,
    /// Its length, bytes.
    pub size: u64,
    /// The blob that it was sealed into.
    pub blob: BlobId,
    /// What it was sealed under: 32 bytes.
    pub key: Bytes,
    /// A small picture of it.
    pub thumbnail: Option<Bytes>,
    /// Of a picture or a film.
    pub dimensions: Option<Dimensions>,
    /// Of something to be heard or watched, milliseconds.
    pub duration_ms: Option<u64>,
    /// What is said about it; empty for nothing.
    pub caption: String,
}

/// What people see of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileView {
    /// What its author calls it: never a path.
    pub name: String,
    /// What its author says that it is.
    pub media_type: String,
    /// Its length, bytes.
    pub size: u64,
    /// The blob that it is sealed in.
    pub blob: BlobId,
    /// Of a picture or a film.
    pub width: Option<u32>,
    /// Likewise.
    pub height: Option<u32>,
    /// Of something to be heard or watched, milliseconds.
    pub duration_ms: Option<u64>,
    /// A small picture of it.
    pub thumbnail: Option<Bytes>,
}

/// How far the bytes of a file have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// The message that it is about.
    pub message: MessageId,
    /// Its sealed bytes.
    pub blob: BlobId,
    /// Whether they come here; else they go.
    pub incoming: bool,
    /// Bytes that are carried, or that the home has fetched for us.
    pub done: u64,
    /// All of them.
    pub total: u64,
}

/// What came of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// So many bytes are there now.
    Have(u64),
    /// It was not carried; it is tried again.
    NotNow,
    /// The bytes are not on this machine any more, or are not what they were.
    Missing,
}

/// Bytes that are on their way to the home.
struct Upload {
    message: MessageId,
    of: BlobRef,
    busy: bool,
    have: u64,
    failures: u32,
    not_before_ms: u64,
}

/// Bytes that are wanted from the home.
struct Fetch {
    file: FileRow,
    busy: bool,
    have: u64,
    /// What the home had when it was asked last, as long as it lacks some.
    at_home: Option<u64>,
    failures: u32,
    not_before_ms: u64,
}

/// What is on its way; uploads are rebuilt from rows, who wants something asks again.
#[derive(Default)]
pub(super) struct Files {
    uploads: BTreeMap<BlobId, Upload>,
    fetches: BTreeMap<MessageId, Fetch>,
}

impl Files {
    pub fn is_uploading(&self) -> bool {
        !self.uploads.is_empty()
    }

    pub fn disconnected(&mut self) {
        self.uploads.values_mut().for_each(|upload| upload.busy = false);
        self.fetches.values_mut().for_each(|fetch| fetch.busy = false);
    }

    pub fn due_at_once(&mut self) {
        self.uploads.values_mut().for_each(|upload| upload.not_before_ms = 0);
        self.fetches.values_mut().for_each(|fetch| fetch.not_before_ms = 0);
    }

    /// A message waits until the home has its bytes.
    pub fn park(&mut self, message: MessageId, of: BlobRef) {
        let upload = Upload { message, of, busy: false, have: 0, failures: 0, not_before_ms: 0 };
        self.uploads.insert(of.blob, upload);
    }

    /// A message does not wait any more.
    pub fn unpark(&mut self, of: &BlobRef) {
        self.uploads.remove(&of.blob);
    }
}

impl FileView {
    pub(super) fn of(file: &File) -> Self {
        Self {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            size: file.size,
            blob: file.blob,
            width: file.dimensions.map(|of| of.width),
            height: file.dimensions.map(|of| of.height),
            duration_ms: file.duration_ms,
            thumbnail: file.thumbnail.clone(),
        }
    }
}

impl Device {
    /// Writes a file into the outbox whose sealed bytes the caller keeps until [`Output::Unstage`]; they go to the home first.
    ///
    /// # Errors
    /// Those of [`Self::send_with`].
    pub fn send_file(
        &mut self,
        to: &Recipient,
        draft: FileDraft,
        extras: Extras,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        let address = self.address(to)?;
        let Extras { reply, mut mentions, expires_after_s } = self.with_timer(extras, address.place.as_ref())?;
        mentions.sort_unstable();
        mentions.dedup();
        let FileDraft { name, media_type, size, blob, key, thumbnail, dimensions, duration_ms, caption } = draft;
        let body = Body::File(Box::new(File {
            name,
            media_type,
            size,
            blob,
            key,
            thumbnail,
            dimensions,
            duration_ms,
            caption,
            reply,
            mentions,
            expires_after_s,
        }));
        self.write_said(address, body, random, now_ms)
    }

    /// Takes back a file that was not sent yet.
    ///
    /// # Errors
    /// [`Error::UnknownMessage`], [`Error::NotPossible`] once it is on its way to others, [`Error::Device`].
    pub fn cancel_file(&mut self, message: &MessageId) -> Result<(), Error> {
        let row: Option<OutboxRow> = self.table.get(&rows::outbox(message))?;
        let row = row.ok_or(Error::UnknownMessage)?;
        if row.blobs.is_empty() || row.sealed.is_some() || row.state != State::Queued {
            return Err(Error::NotPossible("it is on its way, or is no file".into()));
        }
        let refusal = Refusal::never(Code::Unsupported, "you have taken the file back", "send it again");
        self.refuse_message(message, row, refusal);
        Ok(())
    }

    /// The file that a message is about, with its key and the node where it was put first.
    ///
    /// # Errors
    /// [`Error::NoSuchMessage`], [`Error::MessageGone`], [`Error::NotPossible`] for a message without a file, [`Error::Device`].
    pub fn file_of(&self, message: &MessageId) -> Result<FileRow, Error> {
        let (_, row) = self.find_message(message)?;
        if row.gone.is_some() {
            return Err(Error::MessageGone);
        }
        row.file.ok_or_else(|| Error::NotPossible("there is no file in this message".into()))
    }

    /// The conversation of a message.
    ///
    /// # Errors
    /// [`Error::NoSuchMessage`], [`Error::Device`].
    pub fn conversation_of_message(&self, message: &MessageId) -> Result<ConversationId, Error> {
        Ok(self.find_message(message)?.0)
    }

    /// Wants the sealed bytes of the file of a message, of which the caller has `have` already: [`Output::Download`] says what to
    /// read. What was wanted before goes on.
    ///
    /// # Errors
    /// Those of [`Self::file_of`].
    pub fn fetch_file(&mut self, message: MessageId, have: u64) -> Result<BlobRef, Error> {
        let file = self.file_of(&message)?;
        let of = file.file.blob_ref();
        let fetch = Fetch { file, busy: false, have, at_home: None, failures: 0, not_before_ms: 0 };
        self.files.fetches.entry(message).or_insert(fetch);
        Ok(of)
    }

    /// The file is not wanted any more.
    pub fn stop_fetching(&mut self, message: &MessageId) {
        self.files.fetches.remove(message);
    }

    /// What is on its way.
    pub fn transfers(&self) -> Vec<Transfer> {
        let going = self.files.uploads.iter().map(|(blob, upload)| Transfer {
            message: upload.message,
            blob: *blob,
            incoming: false,
            done: upload.have,
            total: upload.of.bytes,
        });
        let coming = self.files.fetches.iter().map(|(message, fetch)| Transfer {
            message: *message,
            blob: fetch.file.file.blob,
            incoming: true,
            done: fetch.have,
            total: fetch.file.file.blob_ref().bytes,
        });
        going.chain(coming).collect()
    }

    /// The blobs whose sealed bytes must stay on this machine: their messages may have to be sent again.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn staged_blobs(&self) -> Result<Vec<BlobId>, DeviceError> {
        let open = |row: &OutboxRow| matches!(row.state, State::Queued | State::Accepted);
        let rows = self.table.scan::<OutboxRow>(&[rows::OUTBOX])?;
        Ok(rows.into_iter().filter(|(_, row)| open(row)).flat_map(|(_, row)| row.blobs).map(|of| of.blob).collect())
    }

    /// What came of a part that was to be carried.
    pub(super) fn carried(&mut self, input: Input, now_ms: u64) -> Result<(), DeviceError> {
        match input {
            Input::Uploaded(blob, Carried::Missing) => {
                if let Some(upload) = self.files.uploads.get(&blob) {
                    let message = "the file's sealed bytes are not on this machine any more";
                    let refusal = Refusal::never(Code::NotFound, message, "send it again");
                    let id = upload.message;
                    if let Some(row) = self.table.get::<OutboxRow>(&rows::outbox(&id))? {
                        self.refuse_message(&id, row, refusal);
                    }
                }
            }
            Input::Uploaded(blob, carried) => {
                if let Some(upload) = self.files.uploads.get_mut(&blob) {
                    upload.busy = false;
                    match carried {
                        Carried::Have(have) => (upload.have, upload.failures) = (have, 0),
                        _ => again(&mut upload.failures, &mut upload.not_before_ms, now_ms),
                    }
                    self.staged.push(Output::Transferred(upload.message));
                }
            }
            Input::Downloaded(message, Carried::Missing) => drop(self.files.fetches.remove(&message)),
            Input::Downloaded(message, carried) => {
                if let Some(fetch) = self.files.fetches.get_mut(&message) {
                    fetch.busy = false;
                    let total = fetch.file.file.blob_ref().bytes;
                    match carried {
                        Carried::Have(have) => (fetch.have, fetch.failures) = (have, 0),
                        _ => again(&mut fetch.failures, &mut fetch.not_before_ms, now_ms),
                    }
                    if fetch.have >= total {
                        self.files.fetches.remove(&message);
                        self.staged.push(Output::Fetched(message, Ok(())));
                    } else {
                        self.staged.push(Output::Transferred(message));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn pump_files(&mut self, now_ms: u64) {
        if !self.link.is_ready() {
            return;
        }
        let busy = self.files.uploads.values().filter(|upload| upload.busy).count();
        let due = self.files.uploads.values_mut().filter(|upload| !upload.busy && upload.not_before_ms <= now_ms);
        let due: Vec<BlobRef> = due
            .take(UPLOADS_MAX.saturating_sub(busy))
            .map(|upload| {
                // A pause that is over must not wake the device again.
                (upload.busy, upload.not_before_ms) = (true, 0);
                upload.of
            })
            .collect();
        for BlobRef { blob, bytes } in due {
            self.request(Pending::PutBlob(blob), |id| ClientFrame::PutBlob { id, blob, bytes });
        }
        let due = self.files.fetches.iter_mut().filter(|(_, fetch)| !fetch.busy && fetch.not_before_ms <= now_ms);
        let due: Vec<(MessageId, FileRow)> = due
            .map(|(message, fetch)| {
                (fetch.busy, fetch.not_before_ms) = (true, 0);
                (*message, fetch.file.clone())
            })
            .collect();
        for (message, FileRow { file, node }) in due {
            let BlobRef { blob, bytes } = file.blob_ref();
            self.request(Pending::FetchBlob(message), |id| ClientFrame::FetchBlob { id, blob, bytes, node });
        }
    }

    pub(super) fn files_wake_at(&self) -> Option<u64> {
        if !self.link.is_ready() {
            return None;
        }
        let uploads = self.files.uploads.values().filter(|upload| !upload.busy).map(|upload| upload.not_before_ms);
        let fetches = self.files.fetches.values().filter(|fetch| !fetch.busy).map(|fetch| fetch.not_before_ms);
        uploads.chain(fetches).filter(|at| *at > 0).min()
    }

    /// The home says how much of a blob it has, and lets a part of it be carried.
    pub(super) fn blob_told(
        &mut self,
        pending: Option<Pending>,
        have: u64,
        ticket: Option<BlobTicket>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        match pending {
            Some(Pending::PutBlob(blob)) => {
                let Some(upload) = self.files.uploads.get_mut(&blob) else { return Ok(()) };
                let message = upload.message;
                upload.have = have;
                match ticket {
                    Some(ticket) if have < upload.of.bytes => {
                        let of = upload.of;
                        self.staged.push(Output::Upload { of, offset: have, ticket });
                    }
                    Some(_) => self.disconnect("the home wants more of a blob than there is"),
                    None => self.blob_is_home(&message)?,
                }
                self.staged.push(Output::Transferred(message));
            }
            Some(Pending::FetchBlob(message)) => {
                let Some(fetch) = self.files.fetches.get_mut(&message) else { return Ok(()) };
                match ticket {
                    Some(ticket) => {
                        let of = fetch.file.file.blob_ref();
                        fetch.at_home = None;
                        self.staged.push(Output::Download { message, of, offset: fetch.have, ticket });
                    }
                    None => {
                        fetch.busy = false;
                        fetch.at_home = Some(have);
                        fetch.not_before_ms = now_ms.saturating_add(LOOK_MS);
                        self.staged.push(Output::Transferred(message));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn put_blob_refused(&mut self, blob: BlobId, error: Refusal, now_ms: u64) -> Result<(), DeviceError> {
        let Some(upload) = self.files.uploads.get_mut(&blob) else { return Ok(()) };
        upload.busy = false;
        // What was damaged on its way is put anew from the beginning.
        if error.later || matches!(error.code, Code::Internal | Code::NotSignedIn | Code::Malformed) {
            again(&mut upload.failures, &mut upload.not_before_ms, now_ms);
            let asked = error.retry_after_ms.unwrap_or(0).min(limits::RETRY_DELAY_MS_MAX);
            upload.not_before_ms = upload.not_before_ms.max(now_ms.saturating_add(asked));
            return Ok(());
        }
        let id = upload.message;
        if let Some(row) = self.table.get::<OutboxRow>(&rows::outbox(&id))? {
            self.refuse_message(&id, row, error);
        }
        Ok(())
    }

    pub(super) fn fetch_blob_refused(&mut self, message: MessageId, error: Refusal, now_ms: u64) {
        let Some(fetch) = self.files.fetches.get_mut(&message) else { return };
        fetch.busy = false;
        if error.later {
            again(&mut fetch.failures, &mut fetch.not_before_ms, now_ms);
            return;
        }
        self.files.fetches.remove(&message);
        self.staged.push(Output::Fetched(message, Err(error)));
    }
}

fn again(failures: &mut u32, not_before_ms: &mut u64, now_ms: u64) {
    let pause = (AGAIN_MS << (*failures).min(10)).min(AGAIN_MS_MAX);
    *failures = failures.saturating_add(1);
    *not_before_ms = now_ms.saturating_add(pause);
}
