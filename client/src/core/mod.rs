//! The device core: every rule of a member's device, pure. Frames, time and randomness are inputs.
//!
//! Contract: call [`Device::handle`], [`Device::send`] and [`Device::mark_shown`] any number of times, then
//! [`Device::finish`]; commit the set that it returns in one durable transaction, and only then drain
//! [`Device::poll_output`]. After any error, or a commit that failed, drop the device and open it again from the store.
//!
//! Keeps all rows of the device in memory. Never reads a clock, never touches a socket or a file; builds for wasm32.
//! Implements `docs/protocol.md`, sections "Between device and home", "Conversations" and "Content".

pub mod account;
mod archive;
mod changes;
mod contacts;
mod cross_check;
pub mod devices;
pub mod files;
mod groups;
pub mod history;
mod inbox;
mod key_packages;
mod leaves;
mod link;
pub mod linking;
mod many;
pub mod mentions;
pub mod message;
mod outbox;
pub mod people;
mod pictures;
pub mod push;
mod recipient;
mod renewal;
mod reseal;
pub mod restore;
mod rows;
mod search;
#[cfg(test)]
mod tests;
mod timer;
mod verification;
mod warnings;
mod whispers;
mod withheld;

pub use changes::Extras;
pub use files::{Carried, FileDraft, FileView, Transfer};
pub use history::row::FileRow;
pub use leaves::LeavesReport;
pub use many::{
    ConversationReport, EquivocationReport, GroupChange, IntentReport, MembershipReport, ParticipantReport,
};
pub use recipient::Recipient;
pub use rows::AccountRow;
pub use search::Found;
pub use verification::KeyChange;
pub use warnings::{Cause, Warning};
pub use whispers::{PresenceReport, Seen};

use self::message::{MessageReport, ReceivedMessage, Status};
use self::rows::Table;
use roost_crypto::codec::CodecError;
use roost_crypto::group::{
    Credential, GroupEngine, GroupError, KeyPackageInfo, OpenMlsEngine, WriteSet, inspect_key_package,
};
use roost_crypto::identity_log::{LogError, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::keys::{PublicKey, SecretKey};
use roost_crypto::sabotage::Sabotage;
use roost_protocol::content::BlobRef;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{BlobId, BlobTicket, ConversationId, GroupId, MessageId};
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use zeroize::Zeroizing;

/// Fills bytes with randomness of the system.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// What happens to a device.
#[derive(Debug)]
pub enum Input {
    /// A connection to the home stands; its `Hello` comes next.
    Connected,
    /// The connection is gone.
    Closed,
    /// A frame of the home.
    Frame(Box<ServerFrame>),
    /// Somebody's account is wanted, without a message.
    Lookup(Handle),
    /// What came of an [`Output::Upload`].
    Uploaded(BlobId, Carried),
    /// What came of an [`Output::Download`].
    Downloaded(MessageId, Carried),
    /// Time passed.
    Tick,
}

/// What a device does, once its rows are durable.
#[expect(clippy::large_enum_variant, reason = "most outputs are messages, and few wait at once")]
#[derive(Debug)]
pub enum Output {
    /// To the home.
    Send(Box<ClientFrame>),
    /// The connection is to be ended, for this reason.
    Disconnect(String),
    /// A message to be shown; call [`Device::mark_shown`] once it was.
    Message(ReceivedMessage),
    /// How far a sent message came has changed.
    Report(MessageReport),
    /// To [`Input::Lookup`].
    LookedUp(Handle, Result<AccountId, Refusal>),
    /// A part of a file that was sealed here goes to the home over HTTP, with this ticket; then [`Input::Uploaded`].
    Upload {
        /// Its sealed bytes.
        of: BlobRef,
        /// From where on: at most [`roost_protocol::limits::BLOB_PART_BYTES_MAX`] bytes.
        offset: u64,
        /// What lets it in.
        ticket: BlobTicket,
    },
    /// A part of a file comes from the home over HTTP, with this ticket; then [`Input::Downloaded`].
    Download {
        /// The message that it is about.
        message: MessageId,
        /// Its sealed bytes.
        of: BlobRef,
        /// From where on.
        offset: u64,
        /// What lets it out.
        ticket: BlobTicket,
    },
    /// How far a file came has changed: [`Device::transfers`] tells.
    Transferred(MessageId),
    /// All sealed bytes of a file that was wanted are here, or never will be.
    Fetched(MessageId, Result<(), Refusal>),
    /// The sealed bytes of a file that was sent need not be kept any more.
    Unstage(BlobId),
    /// An entry that cannot be shown.
    Gap {
        /// Where, if that is known.
        conversation: Option<ConversationId>,
        /// Which message.
        message: MessageId,
        /// Why.
        reason: &'static str,
    },
    /// What was told as a gap is none any more: it was shown after all, or there was nothing to show.
    GapClosed {
        /// Which message.
        message: MessageId,
    },
    /// This device was restored from an old copy, or was away for too long: it comes back to the conversation by itself, and what
    /// was said meanwhile is asked for, as far as it is known of.
    StateLost(ConversationId),
    /// An intent of [`Device::create_group`] or [`Device::change_group`] is true, or never will be.
    Intent(IntentReport),
    /// The people of a conversation have changed.
    Membership(MembershipReport),
    /// A conversation of many is called otherwise.
    Named(ConversationId),
    /// Another account was found behind a handle: nothing is sent to it until the person decides.
    KeyChanged {
        /// Which handle.
        handle: Handle,
        /// The account that it means now.
        account: AccountId,
    },
    /// The devices of the account are others than before, or a change of them failed.
    DevicesChanged,
    /// The account has ended this device: nothing more is possible with its directory but reading.
    Revoked,
    /// A new device asks to be linked: [`Device::link_asked`] tells which.
    LinkRequested,
    /// A chunk of the archive does not open: another program put it, or the home lies.
    BadArchive {
        /// Its position.
        seq: u64,
    },
    /// Somebody types in a conversation, or stopped.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        account: AccountId,
        /// Whether it goes on.
        on: bool,
    },
    /// What is known of somebody who is watched has changed.
    Presence(PresenceReport),
    /// The hub of a conversation was proven to lie: nobody can be added or removed until a successor follows it.
    Equivocation(EquivocationReport),
    /// What is wrong with a conversation has changed: [`Device::warnings_of`] tells.
    Warned(ConversationId),
    /// Something about being woken has changed: [`Device::push_report`] tells, or an answer is there.
    PushChanged,
    /// The home knows us on this connection.
    SignedIn,
    /// The home holds the key packages that it lacked.
    KeyPackagesHeld,
}

/// Why a device cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A row that cannot be read: a damaged store or another version's.
    #[error("a row cannot be read: {0}")]
    Row(CodecError),
    /// There is no account row.
    #[error("the store has no account")]
    NoAccount,
    /// The account's own log breaks a rule.
    #[error("own identity log: {0}")]
    Log(#[from] LogError),
    /// The device's key is not the seed's.
    #[error("the device's key does not fit its identity log")]
    Key,
    /// The engine failed where it must not.
    #[error("group engine: {0}")]
    Group(#[from] GroupError),
}

/// Who this device is.
struct Me {
    row: AccountRow,
    account: AccountId,
    device: DeviceId,
    key: SecretKey,
    log: VerifiedLog,
}

/// What the engine is made for.
pub struct Identity {
    /// Names the device.
    pub credential: Credential,
    /// Its key.
    pub key: PublicKey,
}

/// The MLS engine and the inspection of key packages that belongs to it.
pub struct Engine {
    /// Groups.
    pub groups: Box<dyn GroupEngine + Send>,
    /// Validates a key package.
    pub inspect: fn(&[u8]) -> Result<KeyPackageInfo, GroupError>,
    /// A rule of the device that is broken on purpose.
    pub sabotage: Sabotage,
}

/// A member's device.
pub struct Device {
    me: Me,
    engine: Engine,
    table: Table,
    link: link::Link,
    devices: devices::Devices,
    leaves: leaves::Leaves,
    offer: Option<linking::Offer>,
    outbox: outbox::Outbox,
    inbox: inbox::Inbox,
    history: history::History,
    archive: archive::Archive,
    people: people::People,
    pictures: pictures::Pictures,
    push: push::Push,
    search: search::Search,
    whispers: whispers::Whispers,
    reseals: reseal::Reseals,
    files: files::Files,
    withheld: withheld::Withheld,
    cross_check: cross_check::CrossCheck,
    /// Groups with each account, and whether the hub's verdict for them is known.
    groups: BTreeMap<AccountId, BTreeMap<GroupId, bool>>,
    /// Those of them whose hub has lost its state.
    sealed_groups: BTreeSet<GroupId>,
    intents: many::Intents,
    lost: many::Lost,
    /// Handles that are wanted for their own sake.
    wanted: BTreeSet<Handle>,
    /// What the clock showed last.
    last_now_ms: u64,
    staged: Vec<Output>,
    ready: VecDeque<Output>,
}

impl Device {
    /// Opens a device from its rows, with OpenMLS as its engine.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open(rows: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Self, DeviceError> {
        Self::open_with(rows, |key, identity| Engine {
            groups: Box::new(OpenMlsEngine::new(key, identity.credential)),
            inspect: inspect_key_package,
            sabotage: Sabotage::NONE,
        })
    }

    /// Opens a device from its rows, with an engine of the caller's choice.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open_with(
        rows: BTreeMap<Vec<u8>, Vec<u8>>,
        engine: impl FnOnce(SecretKey, Identity) -> Engine,
    ) -> Result<Self, DeviceError> {
        let table = Table::new(rows);
        let row: AccountRow = table.get(&rows::account())?.ok_or(DeviceError::NoAccount)?;
        let seed = Zeroizing::new(<[u8; 32]>::try_from(row.device_seed.as_slice()).map_err(|_| DeviceError::Key)?);
        let key = SecretKey::from_seed(&seed);
        let log = VerifiedLog::verify(&row.log)?;
        let (account, device) = (log.account(), DeviceId::of(&key.public_key()));
        let (_, log_seq) = *log.device_keys().get(&device).ok_or(DeviceError::Key)?;
        let identity = Identity { credential: Credential { account, device, log_seq }, key: key.public_key() };
        let engine = engine(SecretKey::from_seed(&seed), identity);
        let mut opened = Self {
            me: Me { row, account, device, key, log },
            engine,
            table,
            link: link::Link::default(),
            devices: devices::Devices::default(),
            leaves: leaves::Leaves::default(),
            offer: None,
            outbox: outbox::Outbox::default(),
            inbox: inbox::Inbox::default(),
            history: history::History::default(),
            archive: archive::Archive::default(),
            people: people::People::default(),
            pictures: pictures::Pictures::default(),
            push: push::Push::default(),
            search: search::Search::default(),
            whispers: whispers::Whispers::default(),
            reseals: reseal::Reseals::default(),
            files: files::Files::default(),
            withheld: withheld::Withheld::default(),
            cross_check: cross_check::CrossCheck::default(),
            groups: BTreeMap::new(),
            sealed_groups: BTreeSet::new(),
            intents: many::Intents::default(),
            lost: many::Lost::default(),
            wanted: BTreeSet::new(),
            last_now_ms: 0,
            staged: Vec::new(),
            ready: VecDeque::new(),
        };
        opened.load_groups()?;
        opened.load_intents()?;
        opened.load_about()?;
        if !roost_crypto::planted!(opened.engine.sabotage, DeviceOutboxNotLoaded) {
            opened.load_outbox()?;
        }
        opened.load_inbox()?;
        opened.load_history()?;
        opened.load_people()?;
        opened.load_pictures()?;
        opened.load_archive()?;
        opened.load_reseals()?;
        opened.load_withheld()?;
        opened.load_cross_check()?;
        Ok(opened)
    }

    /// Takes one input.
    ///
    /// # Errors
    /// [`DeviceError`]: drop the device.
    pub fn handle(&mut self, input: Input, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        self.watch_clock(now_ms);
        match input {
            Input::Connected => self.connected(),
            Input::Closed => self.closed(),
            Input::Frame(frame) => self.frame(*frame, random, now_ms)?,
            Input::Lookup(handle) => self.lookup(handle)?,
            Input::Uploaded(..) | Input::Downloaded(..) => self.carried(input, now_ms)?,
            Input::Tick => {}
        }
        Ok(())
    }

    /// Ends a batch: makes the receipts, seals and submits what may go, and returns everything to be committed. A device that
    /// its account has ended only forgets what expires.
    ///
    /// # Errors
    /// [`DeviceError`]: drop the device.
    pub fn finish(&mut self, random: Random<'_>, now_ms: u64) -> Result<WriteSet, DeviceError> {
        self.watch_clock(now_ms);
        self.expire(now_ms)?;
        if self.devices.ended {
            self.ready.extend(self.staged.drain(..));
            return Ok(self.table.take_writes());
        }
        self.tell_profile(&mut *random, now_ms)?;
        self.tell_picture(&mut *random, now_ms)?;
        self.leave_again(&mut *random, now_ms)?;
        self.tell_about(&mut *random, now_ms)?;
        self.make_receipts(&mut *random, now_ms)?;
        self.pump_reseals(&mut *random, now_ms)?;
        self.refill_key_packages(now_ms)?;
        self.introduce_again(now_ms)?;
        self.pump_devices();
        self.pump_link(&mut *random);
        self.pump_leaves(now_ms)?;
        self.pump_lost(&mut *random, now_ms)?;
        self.pump_renewals(now_ms)?;
        self.pump_intents(&mut *random, now_ms)?;
        self.pump_files(now_ms);
        self.pump_outbox(now_ms)?;
        self.pump_inbox(now_ms)?;
        self.pump_archive(&mut *random, now_ms)?;
        self.pump_push(now_ms)?;
        self.pump_whispers(random, now_ms)?;
        self.pump_withheld(now_ms)?;
        self.pump_cross_check(now_ms)?;
        self.ready.extend(self.staged.drain(..));
        Ok(self.table.take_writes())
    }

    /// A clock that was set back by more than a pause must not make anything wait for the time to come round again.
    fn watch_clock(&mut self, now_ms: u64) {
        let set_back = now_ms.saturating_add(outbox::RETRY_DELAY_MS_MAX) < self.last_now_ms;
        if set_back && !roost_crypto::planted!(self.engine.sabotage, ClockBelieved) {
            self.outbox.due_at_once();
            self.inbox.name_no_longer();
            self.intents.due_at_once();
            self.lost.due_at_once();
            self.whispers.due_at_once(now_ms);
            self.push.due_at_once();
            self.reseals.due_at_once();
            self.files.due_at_once();
            self.withheld.due_at_once();
            self.cross_check.disconnected();
        }
        self.last_now_ms = now_ms;
    }

    /// The next thing to do, once the last [`Self::finish`] is durable.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }

    /// When to call with [`Input::Tick`], milliseconds since 1970.
    pub fn wake_at(&self) -> Option<u64> {
        if self.devices.ended {
            return self.history_wake_at();
        }
        let wakes = [
            self.outbox_wake_at(),
            self.files_wake_at(),
            self.inbox_wake_at(),
            self.link_wake_at(),
            self.leaves_wake_at(),
            self.renewals_wake_at(),
            self.intents_wake_at(),
            self.lost_wake_at(),
            self.history_wake_at(),
            self.archive_wake_at(),
            self.whispers_wake_at(),
            self.push_wake_at(),
            self.reseals_wake_at(),
            self.withheld_wake_at(),
            self.cross_check_wake_at(),
        ];
        wakes.into_iter().flatten().min()
    }

    /// What the device says of itself.
    pub fn status(&self) -> Status {
        Status {
            handle: self.me.row.handle.to_string(),
            account: self.me.account.to_string(),
            device: self.me.device.to_string(),
            connected: self.link.is_reachable(),
            homes: self.me.log.homes().iter().map(NodeId::to_string).collect(),
            outbox: self.outbox.texts(),
            conversations: self.groups.values().filter(|groups| groups.values().any(|standing| *standing)).count(),
        }
    }

    /// Base URL of the home.
    pub fn server(&self) -> &str {
        &self.me.row.server
    }

    /// Our account.
    pub fn account(&self) -> AccountId {
        self.me.account
    }

    /// Public half of our R.
    pub fn root(&self) -> &PublicKey {
        self.me.log.root()
    }
}
