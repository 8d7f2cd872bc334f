#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Stories of two devices at one home that exists in memory only.

mod archive;
mod devices;
mod files;
mod hostile;
mod hubs;
mod key_packages;
mod kinds;
mod many;
mod people;
mod refusals;
mod renewal;
mod sealed;
mod search;
mod whispers;

use super::account::NewAccount;
use super::message::State;
use super::{Device, Input, Output};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, DeviceId, NodeId, OrgId};
use roost_crypto::keys::SecretKey;
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{ConversationHead, Creation};
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, FirstContact, payload_hash};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{BlobId, BlobTicket, ConversationId, FeedId, GroupId, Hash, Incarnation, MessageId};
use roost_protocol::limits;
use roost_protocol::records::{HandleRecord, NodeAddress, OrgRecord, SignedOrgRecord};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ArchiveChunk, ClientFrame, LookupReport, LookupSource, ServerFrame, verify_sign_in};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use zeroize::Zeroizing;

type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

struct Home {
    node: SecretKey,
    org: SecretKey,
    incarnation: Incarnation,
    accounts: BTreeMap<AccountId, (IdentityLog, Signed, DeviceId)>,
    pools: BTreeMap<AccountId, VecDeque<Bytes>>,
    /// Key packages of last resort that were put, in their order.
    last_resorts: BTreeMap<AccountId, Vec<Bytes>>,
    /// It gives those out and none of the pools.
    gives_last_resort: bool,
    takes_no_key_packages: bool,
    /// Whose key packages it did not take.
    key_packages_refused: Vec<AccountId>,
    standing: BTreeMap<ConversationId, (Signed, Creation)>,
    heads: BTreeMap<GroupId, (u64, Hash)>,
    submitted: BTreeMap<(DeviceId, MessageId, u32), u64>,
    inboxes: BTreeMap<AccountId, Vec<Entry>>,
    /// Accounts whose home is away: no custody is given for them.
    away: BTreeSet<AccountId>,
    /// Entries are pushed before they are durable, and placed afterwards.
    pushes_early: bool,
    /// What devices acknowledged.
    acks: Vec<(AccountId, u64)>,
    /// New messages that are accepted before the home says `busy`.
    allowance: usize,
    /// Submissions, whatever came of them.
    submissions: usize,
    /// It has no room for conversations that it does not know.
    takes_no_introduction: bool,
    /// How much of each blob it has.
    blobs: BTreeMap<BlobId, u64>,
    /// It has no room for another.
    takes_no_blobs: bool,
    /// Hands out the asker's own key package in the name of the one who was asked for.
    swaps: bool,
    archives: BTreeMap<AccountId, Vec<ArchiveChunk>>,
    /// Chunks that were put, also those that are gone.
    archived: u64,
    /// What it says that it can.
    features: Vec<String>,
    /// What was said in passing: by whom, and how many bytes.
    whispers: Vec<(AccountId, usize)>,
    /// Nothing of that is passed on.
    loses_whispers: bool,
    /// What was sealed to new devices.
    link_answers: Vec<Bytes>,
}

/// One side: a device, what is on its disk, and what it was sent and showed.
struct Side {
    account: AccountId,
    disk: Disk,
    device: Device,
    arrived: VecDeque<ServerFrame>,
    online: bool,
    shown: Vec<(String, String)>,
}

struct World {
    home: Home,
    sides: Vec<Side>,
    now_ms: u64,
    draws: u64,
    /// Gaps that were told; a story that expects none fails at the first.
    gaps: Vec<&'static str>,
    gaps_are_fine: bool,
    /// Who was told that somebody types, or stopped.
    typing: Vec<(usize, bool)>,
    /// What was told of who is there.
    presences: Vec<super::Seen>,
    /// Nothing is carried over HTTP.
    cut: bool,
    /// What is told of files.
    files: Vec<(usize, Told)>,
}

/// What a device says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Part(u64),
    Fetched(Result<(), Code>),
    Unstage(BlobId),
}

const ALICE: usize = 0;
const BOB: usize = 1;

fn draw(count: &mut u64) -> impl FnMut(&mut [u8]) + '_ {
    move |bytes| {
        *count += 1;
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = (*count >> ((index % 4) * 8)) as u8 ^ (index as u8).wrapping_mul(31);
        }
    }
}

impl Home {
    fn handle(&mut self, from: AccountId, frame: ClientFrame, out: &mut Vec<(AccountId, ServerFrame)>) {
        let mut tell = |frame| out.push((from, frame));
        let refuse = |id, code| ServerFrame::Refused { id: Some(id), error: Refusal::later(code, "no", "later") };
        match frame {
            ClientFrame::SignIn { id, account, device, signature } => {
                let Some((log, ..)) = self.accounts.get(&account) else {
                    let error = Refusal::never(Code::NotHome, "unknown here", "restore");
                    return tell(ServerFrame::Refused { id: Some(id), error });
                };
                let log = roost_crypto::identity_log::VerifiedLog::verify(log).expect("a log");
                let node = NodeId::of(self.node.public_key());
                let key = log.device_keys()[&device].0;
                assert!(verify_sign_in(&key, &node, &[7; 32], &account, &device, &signature), "the sign-in verifies");
                let key_packages = self.pools.get(&account).map_or(0, VecDeque::len) as u32;
                tell(ServerFrame::SignedIn { id, inbox: 0, key_packages, last_resort: false });
            }
            ClientFrame::Restore { id, handle_record, log } => {
                let verified = roost_crypto::identity_log::VerifiedLog::verify(&log).expect("a log");
                let device = *verified.device_keys().keys().next().expect("a device");
                self.accounts.insert(from, (log, handle_record.clone(), device));
                let org = org_record(&self.org, &self.node);
                tell(ServerFrame::SignedUp { id, handle_record, org });
            }
            ClientFrame::PutKeyPackages { id, .. } if self.takes_no_key_packages => {
                self.key_packages_refused.push(from);
                tell(refuse(id, Code::Busy));
            }
            ClientFrame::PutKeyPackages { id, packages, last_resort } => {
                self.last_resorts.entry(from).or_default().extend(last_resort);
                self.pools.entry(from).or_default().extend(packages);
                tell(ServerFrame::Done { id });
            }
            ClientFrame::Resolve { id, handle } => {
                let found = self
                    .accounts
                    .values()
                    .find(|(_, record, _)| named(record).is_some_and(|record| record.handle == handle));
                match found.cloned() {
                    Some((log, handle_record, _)) => {
                        let lookup = LookupReport { source: LookupSource::Local, hops: 0, messages: 0, ms: 0 };
                        tell(ServerFrame::Resolved { id, handle_record, log, lookup });
                    }
                    None => {
                        let error = Refusal::never(Code::NotFound, "nobody", "check the spelling");
                        tell(ServerFrame::Refused { id: Some(id), error });
                    }
                }
            }
            ClientFrame::FetchKeyPackages { id, account } => {
                let pool = if self.swaps { from } else { account };
                let newest = self.last_resorts.get(&pool).and_then(|packages| packages.last().cloned());
                let package = match self.gives_last_resort {
                    true => newest,
                    false => self.pools.get_mut(&pool).and_then(VecDeque::pop_front),
                };
                match package {
                    Some(package) => {
                        let (log, _, device) = self.accounts[&account].clone();
                        tell(ServerFrame::KeyPackages { id, log, packages: vec![(device, package)] });
                    }
                    None => tell(refuse(id, Code::NoKeyPackage)),
                }
            }
            ClientFrame::Create { id, creation } => {
                if !self.standing.contains_key(&creation.state.conversation) {
                    let head = self.head(&creation);
                    self.append_creation(head, creation.clone());
                }
                let (head, creation) = self.standing[&creation.state.conversation].clone();
                tell(ServerFrame::Created { id, head, creation });
            }
            ClientFrame::Introduce { id, head, creation, .. } => {
                if !self.heads.contains_key(&creation.group) {
                    if self.takes_no_introduction {
                        return tell(refuse(id, Code::Busy));
                    }
                    self.append_creation(head, creation);
                }
                tell(ServerFrame::Done { id });
            }
            ClientFrame::PutBlob { id, .. } if self.takes_no_blobs => {
                let error = Refusal::never(Code::Quota, "no room", "send a smaller file");
                tell(ServerFrame::Refused { id: Some(id), error });
            }
            ClientFrame::PutBlob { id, blob, bytes } => {
                let have = *self.blobs.entry(blob).or_default();
                tell(ServerFrame::Blob { id, have, ticket: (have < bytes).then_some(BlobTicket([9; 32])) });
            }
            ClientFrame::FetchBlob { id, blob, bytes, .. } => {
                let have = self.blobs.get(&blob).copied().unwrap_or(0);
                tell(ServerFrame::Blob { id, have, ticket: (have == bytes).then_some(BlobTicket([8; 32])) });
            }
            ClientFrame::Submit { id, blobs, .. }
                if blobs.iter().any(|of| self.blobs.get(&of.blob) != Some(&of.bytes)) =>
            {
                let error = Refusal::never(Code::NotFound, "a blob is not here", "put it first");
                tell(ServerFrame::Refused { id: Some(id), error });
            }
            ClientFrame::Submit { id, group, epoch, message, attempt, payload, .. } => {
                if !self.heads.contains_key(&group) {
                    return tell(refuse(id, Code::UnknownConversation));
                }
                let device = self.accounts[&from].2;
                let state = self
                    .standing
                    .values()
                    .find(|(_, creation)| creation.group == group)
                    .expect("known")
                    .1
                    .state
                    .clone();
                let peer = state.participants.iter().find(|one| one.account != from).expect("two").account;
                let known = self.submitted.get(&(device, message, attempt)).copied();
                self.submissions += 1;
                if known.is_none() {
                    if self.allowance == 0 {
                        let mut error = Refusal::later(Code::Busy, "too many", "later");
                        error.retry_after_ms = Some(3_000);
                        return tell(ServerFrame::Refused { id: Some(id), error });
                    }
                    self.allowance -= 1;
                }
                let seq = known.unwrap_or_else(|| {
                    let entry =
                        self.append(group, EntryKind::Message, epoch, (from, device, message, attempt), payload);
                    self.submitted.insert((device, message, attempt), entry.header.seq);
                    let seq = entry.header.seq;
                    self.inboxes.entry(peer).or_default().push(entry);
                    seq
                });
                tell(ServerFrame::Accepted { id, feed: self.feed(group), seq });
                if !self.away.contains(&peer) {
                    tell(ServerFrame::Custody { account: peer, group, messages: vec![message] });
                }
            }
            ClientFrame::FetchParticipants { id, group, behind: None, .. } => {
                let standing = self.standing.values().find(|(_, creation)| creation.group == group);
                let people = standing.map(|(_, creation)| creation.state.participants.clone()).unwrap_or_default();
                let logs = people.iter().filter_map(|one| self.accounts.get(&one.account)).map(|(log, ..)| log.clone());
                tell(ServerFrame::Participants { id, logs: logs.collect() });
            }
            ClientFrame::AppendLog { id, log } => {
                let verify = |log: &IdentityLog| roost_crypto::identity_log::VerifiedLog::verify(log).expect("a log");
                let held = &mut self.accounts.get_mut(&from).expect("at home").0;
                if verify(held).relation(&verify(&log)).replaces() {
                    *held = log;
                    return tell(ServerFrame::Done { id });
                }
                tell(ServerFrame::LogChanged { log: held.clone() });
                let error = Refusal::never(Code::BadLog, "another stands", "append to it");
                tell(ServerFrame::Refused { id: Some(id), error });
            }
            ClientFrame::LinkAnswer { id, sealed, .. } => {
                self.link_answers.push(sealed);
                tell(ServerFrame::Done { id });
            }
            ClientFrame::Resume { id, .. } => tell(ServerFrame::Done { id }),
            ClientFrame::ArchivePut { id, chunk, .. } => {
                self.archived += 1;
                let seq = self.archived;
                let archive = self.archives.entry(from).or_default();
                archive.push(ArchiveChunk { seq, chunk });
                let bytes = archive.iter().map(|chunk| chunk.chunk.len() as u64).sum();
                tell(ServerFrame::Archived { id, seq, bytes });
            }
            ClientFrame::FetchArchive { id, after } => {
                let archive = self.archives.entry(from).or_default();
                let chunks: Vec<_> = archive.iter().filter(|chunk| chunk.seq > after).take(2).cloned().collect();
                let last = archive.last().map_or(self.archived, |chunk| chunk.seq);
                tell(ServerFrame::Archive { id, chunks, removed: 0, last });
            }
            ClientFrame::TrimArchive { id, up_to } => {
                self.archives.entry(from).or_default().retain(|chunk| chunk.seq > up_to);
                tell(ServerFrame::ArchiveTrimmed { id, removed: up_to });
            }
            ClientFrame::Whisper { group, epoch, payload } => {
                self.whispers.push((from, payload.len()));
                let standing = self.standing.values().find(|(_, creation)| creation.group == group);
                let others = standing.iter().flat_map(|(_, creation)| &creation.state.participants);
                for one in others.filter(|one| one.account != from && !self.loses_whispers) {
                    let payload = payload.clone();
                    out.push((one.account, ServerFrame::Whisper { group, epoch, account: from, payload }));
                }
            }
            ClientFrame::Ack { inbox } => self.acks.push((from, inbox)),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn head(&self, creation: &Creation) -> Signed {
        let (group, state, made_by) = (creation.group, creation.state.clone(), creation.hash());
        ConversationHead { group, state, epoch: 1, made_by, ordered_by: None }.sign(&self.node)
    }

    fn append_creation(&mut self, head: Signed, creation: Creation) {
        let payload = Bytes(codec::encode(&FirstContact { head: head.clone(), creation: creation.clone() }));
        let author = (AccountId([0; 32]), DeviceId([0; 32]), MessageId([0; 16]), 0);
        let entry = self.append(creation.group, EntryKind::Creation, 1, author, payload);
        for one in &creation.state.participants {
            self.inboxes.entry(one.account).or_default().push(entry.clone());
        }
        self.standing.insert(creation.state.conversation, (head, creation));
    }

    fn feed(&self, group: GroupId) -> FeedId {
        FeedId { group, node: NodeId::of(self.node.public_key()), incarnation: self.incarnation }
    }

    fn append(
        &mut self,
        group: GroupId,
        kind: EntryKind,
        epoch: u64,
        (account, device, message, attempt): (AccountId, DeviceId, MessageId, u32),
        payload: Bytes,
    ) -> Entry {
        let (seq, prev) = self.heads.get(&group).copied().unwrap_or((0, Hash([0; 32])));
        let (feed, seq, payload_hash) = (self.feed(group), seq + 1, payload_hash(payload.as_slice()));
        let header = EntryHeader { feed, seq, prev, kind, epoch, account, device, message, attempt, payload_hash };
        self.heads.insert(group, (seq, header.hash()));
        Entry { header, payload, silent: false }
    }
}

const NOW_MS: u64 = 1_795_000_000_000;

/// What a handle record says, whether its time is over or not.
fn named(record: &Signed) -> Option<HandleRecord> {
    codec::decode_canonical(record.bytes.as_slice(), limits::DHT_VALUE_BYTES_MAX).ok()
}

fn org_record(org: &SecretKey, node: &SecretKey) -> SignedOrgRecord {
    let id = NodeId::of(node.public_key());
    let node_address = NodeAddress { node: id, addrs: vec![], web: String::new(), region: String::new(), weight: 1 };
    let expires = NOW_MS / 1000 + 1000;
    let record = OrgRecord { root: org.public_key(), name: "acme".into(), nodes: vec![node_address], seq: 1, expires };
    SignedOrgRecord::sign(&record, org, &[node])
}

impl World {
    /// Nobody is a stranger to anybody.
    fn new() -> Self {
        Self::with(true)
    }

    fn with(accept_strangers: bool) -> Self {
        let (node, org) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let mut home = Home {
            node,
            org,
            incarnation: Incarnation([1; 16]),
            accounts: BTreeMap::new(),
            pools: BTreeMap::new(),
            last_resorts: BTreeMap::new(),
            gives_last_resort: false,
            takes_no_key_packages: false,
            key_packages_refused: Vec::new(),
            standing: BTreeMap::new(),
            heads: BTreeMap::new(),
            submitted: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            away: BTreeSet::new(),
            pushes_early: false,
            acks: Vec::new(),
            allowance: usize::MAX,
            submissions: 0,
            takes_no_introduction: false,
            blobs: BTreeMap::new(),
            takes_no_blobs: false,
            swaps: false,
            archives: BTreeMap::new(),
            archived: 0,
            features: roost_protocol::FEATURES.iter().map(|name| (*name).to_owned()).collect(),
            whispers: Vec::new(),
            loses_whispers: false,
            link_answers: Vec::new(),
        };
        let mut sides = Vec::new();
        for (number, name) in [(10, "alice"), (20, "bob")] {
            let handle: Handle = format!("{name}@acme").parse().expect("a handle");
            let id = NodeId::of(home.node.public_key());
            let org = OrgId::of(&home.org.public_key());
            let seed = Zeroizing::new([number + 1; 32]);
            let mut new = NewAccount::found([number; 16], seed, id, org, handle.clone()).expect("an account");
            new.settings.accept_strangers = accept_strangers;
            let (root, expires) = (home.org.public_key(), NOW_MS / 1000 + 1000);
            let record = HandleRecord { root, handle, account: new.account(), seq: 1, expires }.sign(&home.org);
            home.accounts.insert(new.account(), (new.log.log().clone(), record.clone(), new.device()));
            let org = org_record(&home.org, &home.node);
            let mut disk = Disk::new();
            new.signed_up("http://home", record, org, NOW_MS).expect("signed up").apply_to(&mut disk);
            let device = Device::open(disk.clone()).expect("opens");
            let (arrived, shown) = (VecDeque::new(), Vec::new());
            sides.push(Side { account: new.account(), disk, device, arrived, online: false, shown });
        }
        Self {
            home,
            sides,
            now_ms: NOW_MS,
            draws: 0,
            gaps: Vec::new(),
            gaps_are_fine: false,
            typing: Vec::new(),
            presences: Vec::new(),
            cut: false,
            files: Vec::new(),
        }
    }

    fn connect(&mut self, side: usize) {
        let hello = ServerFrame::Hello {
            versions: vec![1],
            features: self.home.features.clone(),
            node: NodeId::of(self.home.node.public_key()),
            org: OrgId::of(&self.home.org.public_key()),
            name: "acme".into(),
            challenge: Bytes(vec![7; 32]),
            incarnation: self.home.incarnation,
        };
        self.sides[side].online = true;
        self.input(side, Input::Connected);
        self.sides[side].arrived.push_back(hello);
    }

    /// The process dies: what is not on disk is gone.
    fn crash(&mut self, side: usize) {
        let side = &mut self.sides[side];
        side.device = Device::open(side.disk.clone()).expect("opens again");
        side.arrived.clear();
        side.online = false;
    }

    /// The home loses its store; both come back to it.
    fn empty_home(&mut self) {
        self.home.incarnation = Incarnation([2; 16]);
        self.home.accounts.clear();
        self.home.pools.clear();
        self.home.standing.clear();
        self.home.heads.clear();
        self.home.submitted.clear();
        self.home.blobs.clear();
        self.home.inboxes.clear();
        for side in [ALICE, BOB] {
            self.input(side, Input::Closed);
            self.connect(side);
        }
    }

    fn input(&mut self, side: usize, input: Input) {
        let mut random = draw(&mut self.draws);
        self.sides[side].device.handle(input, &mut random, self.now_ms).expect("handled");
    }

    fn send(&mut self, side: usize, to: &str, text: &str) -> Result<MessageId, Error> {
        let mut random = draw(&mut self.draws);
        self.sides[side].device.send(&to.parse().expect("a handle"), text, &mut random, self.now_ms)
    }

    /// Commits; the outputs stay inside.
    fn commit(&mut self, side: usize) {
        let mut random = draw(&mut self.draws);
        let side = &mut self.sides[side];
        side.device.finish(&mut random, self.now_ms).expect("finished").apply_to(&mut side.disk);
    }

    /// Until nothing moves. Each entry is delivered twice: homes may.
    fn settle(&mut self) {
        for _ in 0..200 {
            let mut moved = false;
            for number in 0..self.sides.len() {
                while let Some(frame) = self.sides[number].arrived.pop_front() {
                    moved = true;
                    self.input(number, Input::Frame(Box::new(frame)));
                }
                self.commit(number);
                moved |= self.let_out(number);
                for (position, entry) in (1..)
                    .zip(self.home.inboxes.get_mut(&self.sides[number].account).map(std::mem::take).unwrap_or_default())
                {
                    if self.sides[number].online {
                        let inbox = (!self.home.pushes_early).then_some(position);
                        let frame = ServerFrame::Entry { inbox, entry };
                        self.sides[number].arrived.extend([frame.clone(), frame]);
                        moved = true;
                    } else {
                        self.home.inboxes.entry(self.sides[number].account).or_default().push(entry);
                    }
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn let_out(&mut self, number: usize) -> bool {
        let (mut out, mut moved) = (Vec::new(), false);
        let account = self.sides[number].account;
        while let Some(output) = self.sides[number].device.poll_output() {
            moved = true;
            match output {
                Output::Send(frame) if self.sides[number].online => self.home.handle(account, *frame, &mut out),
                Output::Message(message) => {
                    self.sides[number].shown.push((message.from, message.text));
                    self.sides[number].device.mark_shown(&message.id).expect("marked");
                }
                Output::Upload { of, offset, .. } => {
                    self.files.push((number, Told::Part(offset)));
                    let carried = if self.cut {
                        super::Carried::NotNow
                    } else {
                        let have = (offset + limits::BLOB_PART_BYTES_MAX as u64).min(of.bytes);
                        self.home.blobs.insert(of.blob, have);
                        super::Carried::Have(have)
                    };
                    self.input(number, Input::Uploaded(of.blob, carried));
                }
                Output::Download { message, of, offset, .. } => {
                    self.files.push((number, Told::Part(offset)));
                    let have = (offset + limits::BLOB_PART_BYTES_MAX as u64).min(of.bytes);
                    let carried = if self.cut { super::Carried::NotNow } else { super::Carried::Have(have) };
                    self.input(number, Input::Downloaded(message, carried));
                }
                Output::Fetched(_, ended) => {
                    self.files.push((number, Told::Fetched(ended.map_err(|error| error.code))));
                }
                Output::Unstage(blob) => self.files.push((number, Told::Unstage(blob))),
                Output::Typing { on, .. } => self.typing.push((number, on)),
                Output::Presence(report) => self.presences.push(report.state),
                Output::Disconnect(reason) => panic!("disconnected: {reason}"),
                Output::Gap { reason, .. } if self.gaps_are_fine => self.gaps.push(reason),
                Output::Gap { reason, .. } => panic!("a gap: {reason}"),
                _ => {}
            }
        }
        for (account, frame) in out {
            if let Some(side) = self.sides.iter_mut().find(|side| side.account == account && side.online) {
                side.arrived.push_back(frame);
            }
        }
        moved
    }

    fn state(&self, side: usize, id: &MessageId) -> State {
        self.sides[side].device.report(id).expect("readable").expect("known").state
    }

    fn shown(&self, side: usize) -> Vec<(&str, &str)> {
        self.sides[side].shown.iter().map(|(from, text)| (from.as_str(), text.as_str())).collect()
    }
}

fn both_online() -> World {
    let mut world = World::new();
    world.connect(ALICE);
    world.connect(BOB);
    world.settle();
    world
}

#[test]
fn alice_writes_and_bob_sees_it_once_though_it_arrives_twice() {
    let mut world = both_online();
    let id = world.send(ALICE, "bob@acme", "hello bob").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "hello bob")], "bob sees it once, from her verified handle");
    assert_eq!(world.state(ALICE, &id), State::Delivered, "alice hears of it");
    let report = world.sides[ALICE].device.report(&id).expect("readable").expect("known");
    assert!(report.accepted_at.is_some() && report.custody_at.is_some(), "each step has its time");
    world.send(BOB, "alice@acme", "hello alice").expect("written");
    world.settle();
    assert_eq!(world.shown(ALICE), [("bob@acme", "hello alice")], "the answer uses the same group");
    assert_eq!(world.home.heads.len(), 1, "one group");
    world.crash(BOB);
    world.connect(BOB);
    world.settle();
    assert_eq!(world.shown(BOB).len(), 1, "what was shown is not shown again");
}

#[test]
fn a_message_committed_before_a_crash_is_sent_once_after_it() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "first").expect("written");
    world.settle();
    let id = world.send(ALICE, "bob@acme", "second").expect("written");
    world.commit(ALICE);
    world.crash(ALICE);
    assert_eq!(world.state(ALICE, &id), State::Queued, "the intent is on disk");
    world.connect(ALICE);
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "first"), ("alice@acme", "second")], "it is sent after all, once");
    assert_eq!(world.state(ALICE, &id), State::Delivered, "and delivered");
}

#[test]
fn two_who_begin_at_once_end_in_one_group() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "from alice").expect("written");
    world.send(BOB, "alice@acme", "from bob").expect("written");
    world.settle();
    assert_eq!(world.home.heads.len(), 1, "the hub let one group stand");
    assert_eq!(world.shown(BOB), [("alice@acme", "from alice")], "bob reads alice");
    assert_eq!(world.shown(ALICE), [("bob@acme", "from bob")], "alice reads bob");
}

#[test]
fn an_emptied_home_gets_its_accounts_and_conversations_back() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "before").expect("written");
    world.settle();
    world.empty_home();
    world.settle();
    let id = world.send(ALICE, "bob@acme", "after").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "before"), ("alice@acme", "after")], "the talk goes on");
    assert_eq!(world.state(ALICE, &id), State::Delivered, "with receipts");
    assert!(world.home.pools.values().all(|pool| pool.len() >= 10), "key packages are there again");
}

#[test]
fn a_message_to_somebody_who_does_not_exist_is_refused_and_to_oneself_is_not_written() {
    let mut world = both_online();
    let id = world.send(ALICE, "nobody@acme", "hello?").expect("written");
    world.settle();
    assert_eq!(world.state(ALICE, &id), State::Refused, "the home knows no such handle");
    assert_eq!(world.send(ALICE, "alice@acme", "me").err(), Some(Error::ToSelf), "nobody talks to themselves");
}

#[test]
fn without_key_packages_a_message_waits_and_goes_when_bob_was_there() {
    let mut world = World::new();
    world.connect(ALICE);
    world.settle();
    let id = world.send(ALICE, "bob@acme", "are you there?").expect("written");
    world.settle();
    assert_eq!(world.state(ALICE, &id), State::Queued, "bob's device was never online");
    world.connect(BOB);
    world.settle();
    let wake_at = world.sides[ALICE].device.wake_at().expect("alice tries again");
    assert!(wake_at > world.now_ms && wake_at < world.now_ms + 1_000, "soon, but not at once");
    world.now_ms = wake_at;
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "are you there?")], "it arrives");
}

#[test]
fn an_entry_pushed_early_is_shown_at_once_and_acknowledged_only_when_it_is_placed() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "first").expect("written");
    world.settle();
    world.home.pushes_early = true;
    world.home.acks.clear();
    world.send(ALICE, "bob@acme", "early").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB).last(), Some(&("alice@acme", "early")), "bob sees it before the home is durable");
    let bob = world.sides[BOB].account;
    let acks =
        |world: &World| world.home.acks.iter().filter(|(who, _)| *who == bob).map(|(_, at)| *at).collect::<Vec<_>>();
    assert_eq!(acks(&world), [0_u64; 0], "but acknowledges nothing: the home might forget it");
    let (group, (seq, _)) = world.home.heads.first_key_value().map(|(group, head)| (*group, *head)).expect("a group");
    let feed = world.home.feed(group);
    // Alice's message, then bob's receipt, which went into the same feed.
    world.input(BOB, Input::Frame(Box::new(ServerFrame::Placed { feed, seq: seq - 1, inbox: 77, count: 1 })));
    world.commit(BOB);
    world.let_out(BOB);
    assert_eq!(acks(&world), [77], "then it is acknowledged");

    world.input(BOB, Input::Frame(Box::new(ServerFrame::Placed { feed, seq: seq - 1, inbox: 78, count: u64::MAX })));
    world.commit(BOB);
    let output = world.sides[BOB].device.poll_output();
    assert!(matches!(output, Some(Output::Disconnect(_))), "what was not pushed cannot be placed: {output:?}");
}

#[test]
fn a_feed_position_at_the_end_of_the_numbers_is_no_end_of_the_device() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "first").expect("written");
    world.settle();
    let group = *world.home.heads.keys().next().expect("a group");
    let feed = FeedId {
        group,
        node: NodeId::of(SecretKey::from_seed(&[66; 32]).public_key()),
        incarnation: Incarnation([6; 16]),
    };
    for seq in [u64::MAX - 1, u64::MAX, 1, u64::MAX] {
        let payload = Bytes(b"not sealed".to_vec());
        let header = EntryHeader {
            feed,
            seq,
            prev: Hash([1; 32]),
            kind: EntryKind::Message,
            epoch: u64::MAX,
            account: world.sides[ALICE].account,
            device: DeviceId([9; 32]),
            message: MessageId([seq as u8; 16]),
            attempt: u32::MAX,
            payload_hash: payload_hash(payload.as_slice()),
        };
        let entry = ServerFrame::Entry { inbox: None, entry: Entry { header, payload, silent: false } };
        world.input(BOB, Input::Frame(Box::new(entry)));
        world.commit(BOB);
        let mut gaps = 0;
        while let Some(output) = world.sides[BOB].device.poll_output() {
            gaps += usize::from(matches!(output, Output::Gap { .. }));
        }
        assert!(gaps >= 1, "position {seq}: what cannot be opened is told");
    }
    world.send(ALICE, "bob@acme", "second").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "first"), ("alice@acme", "second")], "the talk goes on");
}

#[test]
fn a_swapped_key_package_makes_no_group_and_the_message_waits_with_the_reason() {
    let mut world = both_online();
    world.home.swaps = true;
    let id = world.send(ALICE, "bob@acme", "for bob only").expect("written");
    world.settle();
    let report = world.sides[ALICE].device.report(&id).expect("readable").expect("known");
    assert_eq!(report.state, State::Queued, "nothing is sealed for a key that bob's log does not admit");
    assert_eq!(report.error.map(|error| error.code), Some(Code::NoKeyPackage), "and alice is told why it waits");
    assert!(world.home.heads.is_empty() && world.home.submissions == 0, "no group was made, nothing was sent");
    world.home.swaps = false;
    world.now_ms = world.sides[ALICE].device.wake_at().expect("alice tries again");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "for bob only")], "an honest answer lets it go");
}

#[test]
fn an_entry_under_another_name_or_a_new_id_is_a_gap_or_nothing_but_never_a_message() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "first").expect("written");
    world.settle();
    world.sides[BOB].online = false;
    world.input(BOB, Input::Closed);
    world.send(ALICE, "bob@acme", "second").expect("written");
    world.settle();
    let bob = world.sides[BOB].account;
    let honest = world.home.inboxes.get_mut(&bob).expect("it waits").remove(0);
    let changed = |change: &dyn Fn(&mut EntryHeader)| {
        let mut entry = honest.clone();
        change(&mut entry.header);
        entry
    };
    world.connect(BOB);
    world.settle();
    // What eve's copies show to bob: gaps, and messages.
    let mut shows = |entry: Entry| {
        world.input(BOB, Input::Frame(Box::new(ServerFrame::Entry { inbox: None, entry })));
        world.commit(BOB);
        let (mut gaps, mut texts) = (0, Vec::new());
        while let Some(output) = world.sides[BOB].device.poll_output() {
            match output {
                Output::Gap { .. } => gaps += 1,
                Output::Message(message) => texts.push(message.text),
                _ => {}
            }
        }
        (gaps, texts)
    };
    let nobody = Vec::<String>::new();
    let by_bob = changed(&|header| header.account = bob);
    assert_eq!(shows(by_bob), (1, nobody.clone()), "another account on it: a gap");
    let other_device = changed(&|header| header.device = DeviceId([7; 32]));
    let (_, texts) = shows(other_device);
    assert_eq!(texts, nobody, "another device on it: nothing to read");
    let other_id = changed(&|header| header.message = MessageId([7; 16]));
    let (_, texts) = shows(other_id);
    assert_eq!(texts, nobody, "another id on it: nothing to read");
    let broken = {
        let mut entry = honest.clone();
        entry.payload.0[40] ^= 1;
        entry
    };
    assert_eq!(shows(broken).1, nobody, "a changed payload: nothing to read");
}
