//! What a session offers of files, and what carries their parts between this machine and the home.

use super::Session;
use super::staging::{Source, Staged, Staging};
use crate::core::{Carried, Extras, FileDraft, FileRow, Input, Recipient, Transfer};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_protocol::content::{BlobRef, Dimensions};
use roost_protocol::ids::{BlobId, BlobTicket, MessageId};
use roost_protocol::limits::BLOB_PART_BYTES_MAX;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// A part is carried within this, or tried again: as long as the door is patient.
const PART_WITHIN: Duration = Duration::from_secs(30);

/// A file to be said, as it is on this machine.
pub struct OutgoingFile {
    /// Its bytes.
    pub source: Source,
    /// What it is to be called: one part of a path.
    pub name: String,
    /// What kind of file it is, like `image/jpeg`.
    pub media_type: String,
    /// A small picture of it.
    pub thumbnail: Option<Bytes>,
    /// Of a picture or a film.
    pub dimensions: Option<Dimensions>,
    /// Of something to be heard or watched, milliseconds.
    pub duration_ms: Option<u64>,
    /// What is said about it; empty for nothing.
    pub caption: String,
}

impl Session {
    /// Seals a file and writes its message into the outbox; returns once both are on disk. Its bytes go to the home before the
    /// message does.
    ///
    /// # Errors
    /// Those of [`crate::core::Device::send_file`], [`Error::File`], [`Error::FileTooLong`], [`Error::Closed`].
    pub async fn send_file(&self, to: &Recipient, file: OutgoingFile, extras: Extras) -> Result<MessageId, Error> {
        let OutgoingFile { source, name, media_type, thumbnail, dimensions, duration_ms, caption } = file;
        let staging = self.staging.clone();
        let sealed = tokio::task::spawn_blocking(move || staging.seal(source)).await;
        let Staged { blob, key, size } = sealed.map_err(|error| Error::File(error.to_string()))??;
        let to = to.clone();
        let draft = FileDraft { name, media_type, size, blob, key, thumbnail, dimensions, duration_ms, caption };
        let written = self.with(move |device, random, now_ms| device.send_file(&to, draft, extras, random, now_ms));
        let written = written.await;
        if written.is_err() {
            self.staging.remove(&blob);
        }
        written
    }

    /// Takes back a file that was not sent yet.
    ///
    /// # Errors
    /// Those of [`crate::core::Device::cancel_file`], and [`Error::Closed`].
    pub async fn cancel_file(&self, message: MessageId) -> Result<(), Error> {
        self.with(move |device, _, _| device.cancel_file(&message)).await
    }

    /// What is known of the file of a message.
    ///
    /// # Errors
    /// Those of [`crate::core::Device::file_of`], and [`Error::Closed`].
    pub async fn file_of(&self, message: MessageId) -> Result<FileRow, Error> {
        self.with(move |device, _, _| device.file_of(&message)).await
    }

    /// What is on its way.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn transfers(&self) -> Result<Vec<Transfer>, Error> {
        self.with(|device, _, _| Ok(device.transfers())).await
    }

    /// Fetches the file of a message, compares it with what its author sealed, and writes it to a path where nothing is yet. What
    /// came of it stays on this machine for another try.
    ///
    /// # Errors
    /// Those of [`Self::file_of`], [`Error::FileExists`], [`Error::BadFile`], [`Error::Refused`] if it is kept nowhere any more,
    /// [`Error::TimedOut`], [`Error::Closed`].
    pub async fn save_file(&self, message: MessageId, to: &Path, timeout: Duration) -> Result<FileRow, Error> {
        if to.symlink_metadata().is_ok() {
            return Err(Error::FileExists(to.display().to_string()));
        }
        let row = self.file_of(message).await?;
        let of = row.file.blob_ref();
        let have = self.staging.have(&of).map_err(|error| Error::File(error.to_string()))?;
        if have < of.bytes {
            let fetched = tokio::time::timeout(timeout, self.fetch(message, have)).await;
            if fetched.is_err() {
                self.with(move |device, _, _| {
                    device.stop_fetching(&message);
                    Ok(())
                })
                .await?;
            }
            fetched.unwrap_or(Err(Error::TimedOut))?;
        }
        let (staging, file, to) = (self.staging.clone(), row.file.clone(), to.to_owned());
        let opened = tokio::task::spawn_blocking(move || staging.open_into(&file, &to)).await;
        opened.map_err(|error| Error::File(error.to_string()))??;
        Ok(row)
    }

    async fn fetch(&self, message: MessageId, have: u64) -> Result<(), Error> {
        let mut changes = self.changes.clone();
        self.ask(|reply| {
            super::Command::With(Box::new(move |driver| {
                driver.fetched.remove(&message);
                driver.act(reply, |device, _, _| device.fetch_file(message, have).map(drop))
            }))
        })
        .await?;
        loop {
            changes.borrow_and_update();
            let ended = self.ask(|reply| {
                super::Command::With(Box::new(move |driver| {
                    let ended = driver.fetched.remove(&message);
                    driver.act(reply, move |_, _, _| Ok(ended))
                }))
            });
            match ended.await? {
                Some(Ok(())) => return Ok(()),
                Some(Err(refusal)) => return Err(Error::Refused(refusal)),
                None => changes.changed().await.map_err(|_| Error::Closed)?,
            }
        }
    }
}

/// Carries parts; what came of each goes to the driver.
#[derive(Clone)]
pub(super) struct Carrier {
    server: String,
    client: reqwest::Client,
    staging: Staging,
    inputs: mpsc::Sender<Input>,
}

/// What a door says of a part that it took.
#[derive(Deserialize)]
struct Have {
    have: u64,
}

impl Carrier {
    pub fn new(server: &str, staging: Staging, inputs: mpsc::Sender<Input>) -> Result<Self, Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(PART_WITHIN).build();
        let client = client.map_err(|error| Error::Unreachable(error.to_string()))?;
        Ok(Self { server: server.trim_end_matches('/').to_owned(), client, staging, inputs })
    }

    pub fn upload(&self, of: BlobRef, offset: u64, ticket: BlobTicket) {
        let carrier = self.clone();
        tokio::spawn(async move {
            let carried = carrier.put(of, offset, ticket).await;
            let _ = carrier.inputs.send(Input::Uploaded(of.blob, carried)).await;
        });
    }

    pub fn download(&self, message: MessageId, of: BlobRef, offset: u64, ticket: BlobTicket) {
        let carrier = self.clone();
        tokio::spawn(async move {
            let carried = carrier.get(of, offset, ticket).await;
            let _ = carrier.inputs.send(Input::Downloaded(message, carried)).await;
        });
    }

    /// At once: a session that ends forgets what it had only begun.
    pub fn unstage(&self, of: &BlobId) {
        self.staging.remove(of);
    }

    async fn put(&self, of: BlobRef, offset: u64, ticket: BlobTicket) -> Carried {
        let part = self.with_staging(move |staging| staging.part(&of, offset)).await;
        let part = match part {
            Some(Some(part)) => part,
            Some(None) => return Carried::Missing,
            None => return Carried::NotNow,
        };
        let request = self.client.put(self.url(&of)).header("authorization", show(&ticket)).body(part);
        match request.send().await {
            Ok(response) if response.status().is_success() => match response.json::<Have>().await {
                Ok(Have { have }) => Carried::Have(have),
                Err(error) => not_carried(&error),
            },
            Ok(response) if response.status() == reqwest::StatusCode::BAD_REQUEST => {
                // All bytes came, and are not those of the blob: here or on their way they have changed.
                match self.with_staging(move |staging| staging.is_whole(&of)).await {
                    Some(false) => Carried::Missing,
                    _ => Carried::NotNow,
                }
            }
            Ok(response) => {
                tracing::debug!(status = %response.status(), "a part of a file was not taken");
                Carried::NotNow
            }
            Err(error) => not_carried(&error),
        }
    }

    async fn get(&self, of: BlobRef, offset: u64, ticket: BlobTicket) -> Carried {
        let request = self.client.get(self.url(&of)).header("authorization", show(&ticket));
        let response = match request.header("range", format!("bytes={offset}-")).send().await {
            Ok(response) if response.status() == reqwest::StatusCode::PARTIAL_CONTENT => response,
            Ok(response) => {
                tracing::debug!(status = %response.status(), "a part of a file was not given");
                return Carried::NotNow;
            }
            Err(error) => return not_carried(&error),
        };
        // The door is not believed in how much it sends.
        if response.content_length().is_none_or(|length| length > BLOB_PART_BYTES_MAX as u64) {
            return Carried::NotNow;
        }
        match response.bytes().await {
            Ok(part) => {
                let appended = self.with_staging(move |staging| staging.append(&of, offset, &part)).await;
                appended.map_or(Carried::NotNow, Carried::Have)
            }
            Err(error) => not_carried(&error),
        }
    }

    fn url(&self, of: &BlobRef) -> String {
        format!("{}/v1/blobs/{}", self.server, of.blob)
    }

    async fn with_staging<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Staging) -> std::io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let staging = self.staging.clone();
        match tokio::task::spawn_blocking(move || act(&staging)).await.map_err(std::io::Error::other) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(%error, "the directory of files failed");
                None
            }
        }
    }
}

fn show(ticket: &BlobTicket) -> String {
    format!("Roost-Ticket {ticket}")
}

fn not_carried(error: &reqwest::Error) -> Carried {
    // The address of a request names a blob: it stays out of the log.
    tracing::debug!(timed_out = error.is_timeout(), connect = error.is_connect(), "a part of a file was not carried");
    Carried::NotNow
}
