//! A device played by hand over a real socket: signs up, signs in, makes one real OpenMLS conversation, seals ahead.
//!
//! It keeps nothing on disk, because what is measured is the nodes. It never skips a step that a node could notice.

use super::BenchError;
use super::machine::{instant, now_ms};
use super::wire::{READ_TALKING, Socket};
use roost_crypto::group::{Credential, GroupEngine as _, OpenMlsEngine};
use roost_crypto::identity_log::{IdentityLog, Operation, Signer};
use roost_protocol::content::{Body, Content};
use roost_protocol::conversation::{ConversationState, Creation, Participant, Policy, Role};
use roost_protocol::feed::{Entry, EntryKind};
use roost_protocol::ids::{ConversationId, GroupId, Incarnation, MessageId, OperationId};
use roost_protocol::invite::InviteProof;
use roost_protocol::refusal::Code;
use roost_protocol::socket::{ClientFrame, ServerFrame, sign_in_signature};
use roost_protocol::{AccountId, Bytes, DeviceId, NodeId, OrgId, SecretKey, VerifiedLog, codec};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// A new account is published in the background; that it is not found is believed for five seconds.
const FOUND_WAIT: Duration = Duration::from_secs(30);
/// Between two questions for it.
const FOUND_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a text: a sentence or two.
const TEXT_BYTES: usize = 100;

/// Where a device connects.
#[derive(Debug, Clone)]
pub(super) struct Door {
    /// Base URL of the bridge.
    pub(super) web: String,
    /// Admits accounts.
    pub(super) invite: String,
}

/// What a node says first.
pub(super) struct Greeting {
    node: NodeId,
    org: OrgId,
    name: String,
    challenge: Bytes,
    pub(super) incarnation: Incarnation,
}

/// An account with its only device.
pub(super) struct Identity {
    log: VerifiedLog,
    key: [u8; 32],
}

impl Identity {
    /// Founds the account `number` of this benchmark as `local` at the node that greets. The keys are not secret: they live
    /// as long as the benchmark's directory.
    pub(super) fn found(number: u32, local: &str, greeting: &Greeting) -> Result<Self, BenchError> {
        let (root, key) = (seed(1, number), seed(2, number));
        let (root_key, device_key) = (SecretKey::from_seed(&root), SecretKey::from_seed(&key));
        let log = VerifiedLog::create(&root_key, &device_key.public_key(), vec![greeting.node]);
        let handle = Operation::SetHandle { handle: format!("{local}@{}", greeting.name), org: greeting.org };
        let signer = Signer::Device(DeviceId::of(&device_key.public_key()));
        let log = log.and_then(|log| log.append(handle, signer, &device_key)).map_err(BenchError::wire)?;
        Ok(Self { log, key })
    }

    /// Its log.
    pub(super) fn log(&self) -> &IdentityLog {
        self.log.log()
    }

    /// Its handle.
    pub(super) fn handle(&self) -> Result<String, BenchError> {
        let (handle, _) = self.log.handle().ok_or_else(|| BenchError::wire("no handle"))?;
        Ok(handle.to_owned())
    }

    /// Its home.
    pub(super) fn home(&self) -> Result<NodeId, BenchError> {
        self.log.homes().first().copied().ok_or_else(|| BenchError::wire("an account without a home"))
    }

    /// Its account.
    pub(super) fn account(&self) -> AccountId {
        self.log.account()
    }

    /// Its device.
    pub(super) fn device(&self) -> DeviceId {
        DeviceId::of(&SecretKey::from_seed(&self.key).public_key())
    }

    /// The frame that makes the account known, with the proof that the invite is.
    pub(super) fn sign_up(&self, local: &str, invite: &str, greeting: &Greeting) -> ClientFrame {
        let proof = InviteProof::new(invite, &greeting.node, greeting.challenge.as_slice(), &self.account());
        let log = self.log.log().clone();
        ClientFrame::SignUp { id: 1, handle: local.to_owned(), invite: Some(proof), log }
    }

    /// The frame that answers a challenge.
    pub(super) fn sign_in(&self, node: &NodeId, challenge: &[u8]) -> ClientFrame {
        let (account, device) = (self.account(), self.device());
        let signature = sign_in_signature(&SecretKey::from_seed(&self.key), node, challenge, &account, &device);
        ClientFrame::SignIn { id: 2, account, device, signature }
    }

    /// Connects and signs in.
    pub(super) async fn enter(
        &self,
        web: &str,
        from: Option<Ipv4Addr>,
        read_bytes: usize,
    ) -> Result<(Socket, Greeting), BenchError> {
        let (mut socket, greeting) = greet(web, from, read_bytes).await?;
        match ask(&mut socket, &self.sign_in(&greeting.node, greeting.challenge.as_slice())).await? {
            ServerFrame::SignedIn { .. } => Ok((socket, greeting)),
            other => Err(unexpected("signed_in", &other)),
        }
    }
}

/// Connects and reads the greeting.
pub(super) async fn greet(
    web: &str,
    from: Option<Ipv4Addr>,
    read_bytes: usize,
) -> Result<(Socket, Greeting), BenchError> {
    let mut socket = Socket::connect(web, from, read_bytes).await?;
    match socket.frame().await? {
        ServerFrame::Hello { node, org, name, challenge, incarnation, .. } => {
            Ok((socket, Greeting { node, org, name, challenge, incarnation }))
        }
        other => Err(unexpected("hello", &other)),
    }
}

/// A request's answer; events on the way are passed over.
pub(super) async fn ask(socket: &mut Socket, request: &ClientFrame) -> Result<ServerFrame, BenchError> {
    socket.say(request).await?;
    loop {
        match socket.frame().await? {
            ServerFrame::Refused { error, .. } => return Err(BenchError::Refused(error)),
            ServerFrame::Entry { .. }
            | ServerFrame::Placed { .. }
            | ServerFrame::Equivocation { .. }
            | ServerFrame::Custody { .. }
            | ServerFrame::Blob { .. }
            | ServerFrame::Whisper { .. } => {}
            answer => return Ok(answer),
        }
    }
}

/// A frame that was not expected.
pub(super) fn unexpected(expected: &str, got: &ServerFrame) -> BenchError {
    let kind = serde_json::to_value(got).ok().and_then(|value| Some(value.get("type")?.as_str()?.to_owned()));
    BenchError::wire(format!("expected the frame {expected}, got {}", kind.unwrap_or_default()))
}

/// A device that talks.
pub(super) struct Device {
    pub(super) socket: Socket,
    pub(super) identity: Identity,
    /// The inbox position that it holds, and the life of the store that it belongs to.
    pub(super) held: (Incarnation, u64),
    web: String,
    pub(super) engine: OpenMlsEngine,
    pub(super) rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Device {
    /// Signs the account `number` up, signs in, resumes.
    pub(super) async fn sign_up(number: u32, local: &str, door: &Door) -> Result<Self, BenchError> {
        let (mut socket, greeting) = greet(&door.web, None, READ_TALKING).await?;
        let identity = Identity::found(number, local, &greeting)?;
        match ask(&mut socket, &identity.sign_up(local, &door.invite, &greeting)).await? {
            ServerFrame::SignedUp { .. } => {}
            other => return Err(unexpected("signed_up", &other)),
        }
        match ask(&mut socket, &identity.sign_in(&greeting.node, greeting.challenge.as_slice())).await? {
            ServerFrame::SignedIn { .. } => {}
            other => return Err(unexpected("signed_in", &other)),
        }
        let credential = Credential { account: identity.account(), device: identity.device(), log_seq: 0 };
        let engine = OpenMlsEngine::new(SecretKey::from_seed(&identity.key), credential);
        let held = (greeting.incarnation, 0);
        let mut device = Self { socket, identity, held, web: door.web.clone(), engine, rows: BTreeMap::new() };
        let (packages, writes) = device.engine.key_packages(&device.rows, 1, false)?;
        writes.apply_to(&mut device.rows);
        device.done(&ClientFrame::PutKeyPackages { id: 3, packages, last_resort: None }).await?;
        device.done(&device.resume()).await?;
        Ok(device)
    }

    /// Connects anew and signs in; the inbox is not asked for yet.
    pub(super) async fn enter_again(&mut self) -> Result<(), BenchError> {
        let (socket, greeting) = self.identity.enter(&self.web, None, READ_TALKING).await?;
        self.socket = socket;
        if greeting.incarnation == self.held.0 { Ok(()) } else { Err(BenchError::wire("the node lost its store")) }
    }

    /// Goes away; returns when the node has noticed.
    pub(super) async fn leave(&mut self) -> Result<(), BenchError> {
        // A newer connection ends the older one at once, and itself has nothing to get before it resumes.
        self.enter_again().await
    }

    /// Connects anew, signs in, resumes.
    pub(super) async fn come_back(&mut self) -> Result<(), BenchError> {
        self.enter_again().await?;
        self.done(&self.resume()).await
    }

    /// The frame that asks for the inbox behind what it holds.
    pub(super) fn resume(&self) -> ClientFrame {
        ClientFrame::Resume { id: 4, incarnation: self.held.0, after: self.held.1 }
    }

    /// Says that it holds the inbox up to a position.
    pub(super) async fn acknowledge(&mut self, inbox: u64) -> Result<(), BenchError> {
        self.held.1 = self.held.1.max(inbox);
        self.socket.say(&ClientFrame::Ack { inbox }).await
    }

    async fn done(&mut self, request: &ClientFrame) -> Result<(), BenchError> {
        match ask(&mut self.socket, request).await? {
            ServerFrame::Done { .. } => Ok(()),
            other => Err(unexpected("done", &other)),
        }
    }

    /// The next entry, once it is acknowledged: one that comes before it has a position waits for it.
    async fn entry(&mut self) -> Result<Entry, BenchError> {
        let mut early = None;
        loop {
            match self.socket.frame().await? {
                ServerFrame::Entry { inbox: Some(inbox), entry } => {
                    self.acknowledge(inbox).await?;
                    return Ok(entry);
                }
                ServerFrame::Entry { inbox: None, entry } => early = Some(entry),
                ServerFrame::Placed { inbox, count, .. } => {
                    self.acknowledge(inbox + count.saturating_sub(1)).await?;
                    return early.ok_or_else(|| BenchError::wire("an entry was placed that did not come"));
                }
                ServerFrame::Refused { error, .. } => return Err(BenchError::Refused(error)),
                _ => {}
            }
        }
    }

    pub(super) async fn find(&mut self, handle: &str) -> Result<VerifiedLog, BenchError> {
        let handle: roost_protocol::handle::Handle = handle.parse().map_err(BenchError::wire)?;
        let start = instant();
        loop {
            match ask(&mut self.socket, &ClientFrame::Resolve { id: 5, handle: handle.clone() }).await {
                Ok(ServerFrame::Resolved { log, .. }) => return VerifiedLog::verify(&log).map_err(BenchError::wire),
                Ok(other) => return Err(unexpected("resolved", &other)),
                Err(BenchError::Refused(refusal)) if refusal.code == Code::NotFound && start.elapsed() < FOUND_WAIT => {
                    tokio::time::sleep(FOUND_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a key package of each device of an account that was found.
    pub(super) async fn packages_of(&mut self, account: AccountId) -> Result<Vec<Bytes>, BenchError> {
        match ask(&mut self.socket, &ClientFrame::FetchKeyPackages { id: 6, account }).await? {
            ServerFrame::KeyPackages { packages, .. } => Ok(packages.into_iter().map(|(_, package)| package).collect()),
            other => Err(unexpected("key_packages", &other)),
        }
    }

    /// Seals a text and encodes the frame that submits it as the request `number`.
    pub(super) fn seal_text(&mut self, group: GroupId, number: u64, text: &str) -> Result<Submission, BenchError> {
        let text = format!("{text:>TEXT_BYTES$}");
        let (sealed, writes) = self.engine.seal(&self.rows, group.as_bytes(), text.as_bytes())?;
        writes.apply_to(&mut self.rows);
        let message = MessageId::of(now_ms(), text.as_bytes());
        let (epoch, payload) = (sealed.epoch, sealed.ciphertext);
        let frame = ClientFrame::Submit {
            id: 1000 + number,
            group,
            epoch,
            message,
            attempt: 0,
            payload,
            silent: false,
            blobs: Vec::new(),
        };
        Ok(Submission { message, frame: codec::encode(&frame) })
    }

    /// As [`Self::seal_text`], with what a real device expects inside the encryption.
    pub(super) fn seal_content(&mut self, group: GroupId, number: u64, text: &str) -> Result<Submission, BenchError> {
        let text = format!("{text:>TEXT_BYTES$}");
        let salt = Bytes(seed(6, u32::try_from(number).unwrap_or(u32::MAX)).iter().take(16).copied().collect());
        let body = Body::Text(text);
        let content = Content { salt, body, seen: Vec::new(), log: self.identity.log.head() }.encode();
        let (sealed, writes) = self.engine.seal(&self.rows, group.as_bytes(), &content)?;
        writes.apply_to(&mut self.rows);
        let message = MessageId::of(now_ms(), &content);
        let (epoch, payload) = (sealed.epoch, sealed.ciphertext);
        let frame = ClientFrame::Submit {
            id: 1000 + number,
            group,
            epoch,
            message,
            attempt: 0,
            payload,
            silent: false,
            blobs: Vec::new(),
        };
        Ok(Submission { message, frame: codec::encode(&frame) })
    }

    /// Leaves a key package that serves any number of conversations.
    pub(super) async fn be_found_by_many(&mut self) -> Result<(), BenchError> {
        let (last_resort, writes) = self.engine.key_packages(&self.rows, 1, true)?;
        writes.apply_to(&mut self.rows);
        let last_resort = last_resort.into_iter().next();
        self.done(&ClientFrame::PutKeyPackages { id: 3, packages: Vec::new(), last_resort }).await
    }

    /// Finds `handle`, takes a key package, creates the conversation at its hub.
    pub(super) async fn create(&mut self, handle: &str) -> Result<GroupId, BenchError> {
        let peer = self.find(handle).await?;
        let packages = self.packages_of(peer.account()).await?;
        let mut sides = [(self.identity.account(), &self.identity.log), (peer.account(), &peer)];
        sides.sort_by_key(|(account, _)| *account);
        let [(low, hub), (high, _)] = sides;
        let hub = *hub.homes().first().ok_or_else(|| BenchError::wire("an account without a home"))?;
        let state = ConversationState {
            conversation: ConversationId::direct(&low, &high),
            generation: 0,
            term: 0,
            hub,
            successors: Vec::new(),
            participants: [low, high].map(|account| Participant { account, role: Role::Admin }).to_vec(),
            policy: Policy::Direct,
        };
        // Of both accounts: whoever writes to two has two groups.
        let mut group = GroupId(*self.identity.account().as_bytes());
        for (to, from) in group.0.iter_mut().step_by(2).zip(peer.account().as_bytes()) {
            *to = *from;
        }
        let (created, writes) = self.engine.create(&self.rows, group.as_bytes(), &codec::encode(&state), &packages)?;
        writes.apply_to(&mut self.rows);
        let creation = Creation {
            operation: operation_of(&group),
            group,
            state,
            logs: vec![self.identity.log.log().clone(), peer.log().clone()],
            commit: created.commit,
            welcome: created.welcome,
            group_info: created.group_info,
            tree: created.tree,
        };
        match ask(&mut self.socket, &ClientFrame::Create { id: 7, creation }).await? {
            ServerFrame::Created { creation, .. } if creation.group == group => Ok(group),
            other => Err(unexpected("created", &other)),
        }
    }
}

/// Two devices with a conversation.
pub(super) struct Pair {
    pub(super) sender: Device,
    pub(super) recipient: Device,
    pub(super) group: GroupId,
    number: u32,
    sealed: u64,
}

/// A sealed message, encoded as the frame that submits it.
pub(super) struct Submission {
    pub(super) message: MessageId,
    pub(super) frame: Vec<u8>,
}

impl Pair {
    /// Signs both up, makes the conversation, and sends one message through it that the recipient opens.
    pub(super) async fn meet(number: u32, from: &Door, to: &Door) -> Result<Self, BenchError> {
        let sender = Device::sign_up(2 * number, &format!("sender{number}"), from).await?;
        let recipient = Device::sign_up(2 * number + 1, &format!("recipient{number}"), to).await?;
        Self::begin(number, sender, recipient).await
    }

    /// As [`Self::meet`], of two that are there.
    pub(super) async fn begin(number: u32, mut sender: Device, mut recipient: Device) -> Result<Self, BenchError> {
        let handle = recipient.identity.handle()?;
        let group = sender.create(&handle).await?;
        let contact = recipient.entry().await?.first_contact().map_err(BenchError::wire)?;
        let (welcome, tree) = (contact.creation.welcome.as_slice(), contact.creation.tree.as_slice());
        let (_, writes) = recipient.engine.join(&recipient.rows, welcome, tree)?;
        writes.apply_to(&mut recipient.rows);
        let mut pair = Self { sender, recipient, group, number, sealed: 0 };
        pair.prove().await?;
        Ok(pair)
    }

    /// One message the whole way: what is measured behind it is a conversation that works.
    async fn prove(&mut self) -> Result<(), BenchError> {
        let submission = self.seal()?;
        self.sender.socket.write(submission.frame).await?;
        let entry = loop {
            let entry = self.recipient.entry().await?;
            if entry.header.kind == EntryKind::Message {
                break entry;
            }
        };
        let (opened, writes) =
            self.recipient.engine.open(&self.recipient.rows, self.group.as_bytes(), entry.payload.as_slice())?;
        writes.apply_to(&mut self.recipient.rows);
        if opened.sender.account != self.sender.identity.account() || opened.plaintext.len() != TEXT_BYTES {
            return Err(BenchError::wire("the recipient opened another message than was sent"));
        }
        // Both answers are awaited, so that none of them is met by a measurement.
        let (mut accepted, mut custody) = (false, false);
        while !(accepted && custody) {
            match self.sender.socket.frame().await? {
                ServerFrame::Accepted { .. } => accepted = true,
                ServerFrame::Custody { messages, .. } => custody |= messages.contains(&submission.message),
                ServerFrame::Refused { error, .. } => return Err(BenchError::Refused(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Seals the next message and encodes its frame.
    pub(super) fn seal(&mut self) -> Result<Submission, BenchError> {
        let text = format!("message {} of pair {}", self.sealed, self.number);
        let submission = self.sender.seal_text(self.group, self.sealed, &text)?;
        self.sealed += 1;
        Ok(submission)
    }

    /// Seals many.
    pub(super) fn seal_many(&mut self, count: usize) -> Result<Vec<Submission>, BenchError> {
        (0..count).map(|_| self.seal()).collect()
    }

    /// Ends both connections.
    pub(super) async fn part(self) {
        self.sender.socket.close().await;
        self.recipient.socket.close().await;
    }
}

/// An operation of its own for each group.
fn operation_of(group: &GroupId) -> OperationId {
    let (half, _) = group.as_bytes().split_at(OperationId::LENGTH);
    OperationId::from_slice(half).unwrap_or(OperationId([0; 16]))
}

/// A seed of this benchmark: 32 bytes that no other number has.
pub(super) fn seed(tag: u8, number: u32) -> [u8; 32] {
    let mut seed = [tag; 32];
    for (to, from) in seed.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    seed
}
