//! A person's device as people have it, core and store and all, and the many who write to it.
//!
//! Unlike the measuring device it opens, keeps and answers what comes. Whoever writes to it is played by hand.

use super::BenchError;
use super::device::{Device, Door, Submission};
use super::machine;
use super::measure::{ms, round};
use super::throughput::Side;
use super::wire::{Kind, within};
use roost_client::core::people::Settings;
use roost_client::{Session, create_account};
use roost_protocol::ids::{GroupId, MessageId};
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;

/// Messages that fill the first page of an application.
const FIRST: usize = 50;
/// How long signing in, and a message on its way, may take.
const WAIT: Duration = Duration::from_secs(60);

/// What a person waits for whose device comes back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PersonResumed {
    /// From opening the directory to the fiftieth message that can be shown, or the last where there are fewer.
    pub first_50_ms: f64,
    /// To the last message.
    pub last_ms: f64,
    /// Milliseconds a message, opening and signing in among them.
    pub per_message_ms: f64,
    /// Processor time of the device a message, milliseconds; absent where the system does not tell it.
    pub cpu_ms: Option<f64>,
}

/// A person.
pub(super) struct Person {
    /// The client's directory.
    pub(super) dir: PathBuf,
    handle: String,
}

/// Who writes to the person, in a conversation of their own.
pub(super) struct Writer {
    device: Device,
    group: GroupId,
    written: u64,
}

impl Person {
    /// Signs up and lets strangers write.
    pub(super) async fn sign_up(local: &str, door: &Door, under: &Path) -> Result<Self, BenchError> {
        let dir = under.join(local);
        let settings = Settings { accept_strangers: true, ..Settings::default() };
        let created = create_account(&door.web, local, &door.invite, &dir, None, settings).await;
        let handle = created.map_err(BenchError::wire)?.handle.to_string();
        Ok(Self { dir, handle })
    }

    /// Opens the directory.
    pub(super) async fn open(&self) -> Result<Session, BenchError> {
        Session::open(&self.dir, None).await.map_err(BenchError::wire)
    }

    /// So many meet the person, one after the other; each says something that the person sees.
    pub(super) async fn meet(&self, first: u32, count: usize, door: &Door) -> Result<Vec<Writer>, BenchError> {
        // All of them first: by the time that one writes, its handle can be found.
        let mut devices = Vec::new();
        for number in (first..).take(count) {
            devices.push(Device::sign_up(number, &format!("writer{number}"), door).await?);
        }
        let session = self.open().await?;
        session.connected(WAIT).await.map_err(BenchError::wire)?;
        let mut writers = Vec::new();
        for mut device in devices {
            device.come_back().await?;
            let group = device.create(&self.handle).await?;
            let mut writer = Writer { device, group, written: 0 };
            let greeting = writer.write(1)?;
            let id = greeting.first().map(|submission| submission.message);
            writer.send(greeting).await?;
            let shown = within(WAIT, "waiting for a greeting", next(&session)).await?;
            if Some(shown) != id {
                return Err(BenchError::wire("the person was shown another message than was sent"));
            }
            session.mark_shown(shown).await.map_err(BenchError::wire)?;
            writers.push(writer);
        }
        session.settled(WAIT).await.map_err(BenchError::wire)?;
        session.close().await.map_err(BenchError::wire)?;
        Ok(writers)
    }

    /// Comes back to what waits.
    pub(super) async fn resume(&self, mut missing: HashSet<MessageId>) -> Result<PersonResumed, BenchError> {
        let count = missing.len();
        let first_page = count - FIRST.min(count);
        let used_before = machine::processor_time(std::process::id());
        let start = machine::instant();
        let session = self.open().await?;
        let mut first = None;
        while !missing.is_empty() {
            missing.remove(&within(WAIT, "resuming", next(&session)).await?);
            if missing.len() <= first_page {
                first.get_or_insert_with(|| start.elapsed());
            }
        }
        let last = start.elapsed();
        let used = machine::processor_time(std::process::id()).zip(used_before);
        session.close().await.map_err(BenchError::wire)?;
        let each =
            |all: Duration| round(all.as_secs_f64() * 1_000.0 / f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        Ok(PersonResumed {
            first_50_ms: ms(first.unwrap_or(last)),
            last_ms: ms(last),
            per_message_ms: each(last),
            cpu_ms: used.map(|(after, before)| each(after.saturating_sub(before))),
        })
    }
}

impl Writer {
    /// Seals so many messages.
    pub(super) fn write(&mut self, count: usize) -> Result<Vec<Submission>, BenchError> {
        let Self { device, group, written } = self;
        let next = |_| {
            *written += 1;
            device.seal_content(*group, *written, &format!("message {written}"))
        };
        (0..count).map(next).collect()
    }

    /// Sends them, and waits until all are in custody.
    async fn send(&mut self, submissions: Vec<Submission>) -> Result<(), BenchError> {
        for submission in submissions {
            self.device.socket.write(submission.frame).await?;
            let mut custody = false;
            while !custody {
                let glance = within(WAIT, "sending a greeting", self.device.socket.glance()).await?;
                custody = glance.kind == Kind::Custody && glance.messages.contains(&submission.message);
                if let Some(inbox) = glance.held() {
                    self.device.acknowledge(inbox).await?;
                }
            }
        }
        Ok(())
    }
}

/// Each writes its share of so many messages, all at once; returns which, once all are in custody.
pub(super) async fn write_all(writers: Vec<Writer>, messages: usize) -> Result<HashSet<MessageId>, BenchError> {
    let count = writers.len().max(1);
    let mut ids = HashSet::new();
    let mut sending = JoinSet::new();
    for (number, mut writer) in writers.into_iter().enumerate() {
        let share = messages / count + usize::from(number < messages % count);
        let sealed = tokio::task::block_in_place(|| writer.write(share))?;
        ids.extend(sealed.iter().map(|submission| submission.message));
        // Sealing may take longer than a node waits for a sign of life.
        writer.device.come_back().await?;
        sending.spawn(Side::send(writer.device.socket, sealed));
    }
    for side in sending.join_all().await {
        side.all_done()?;
    }
    Ok(ids)
}

async fn next(session: &Session) -> Result<MessageId, BenchError> {
    session.recv().await.map(|message| message.id).map_err(BenchError::wire)
}
