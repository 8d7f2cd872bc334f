//! Two nodes in one process, their devices played by hand, frame by frame: what the wire really says.

use roost_crypto::group::{Credential, GroupEngine, GroupError, OpenMlsEngine};
use roost_crypto::identity_log::{Operation, Signer, VerifiedLog};
use roost_node::relay::Limits;
use roost_node::{Node, NodeConfig, NodeHandle, ToDevice};
use roost_protocol::conversation::{ConversationState, Creation, Participant, Policy, Role};
use roost_protocol::feed::{Entry, EntryKind};
use roost_protocol::ids::{ConversationId, GroupId, Incarnation, MessageId, OperationId};
use roost_protocol::invite::{InviteProof, invite_key};
use roost_protocol::refusal::Code;
use roost_protocol::socket::{ClientFrame, LookupSource, ServerFrame, sign_in_signature};
use roost_protocol::{AccountId, Bytes, DeviceId, IdentityLog, NodeId, SecretKey, Signed, codec};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;

/// A device that says exactly what a story tells it to.
pub struct Device {
    home: NodeHandle,
    connection: u64,
    frames: mpsc::Receiver<ToDevice>,
    key: [u8; 32],
    log: VerifiedLog,
    pub engine: OpenMlsEngine,
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub handle_record: Option<Signed>,
    /// Who sealed the message that was opened last.
    pub last_sender: Option<DeviceId>,
    /// Marks the group and the operation of the next conversation.
    number: u8,
    /// Requests so far, and what came while an answer was waited for.
    requests: u64,
    entries: VecDeque<(Option<u64>, Entry)>,
    custodies: VecDeque<(AccountId, Vec<MessageId>)>,
    in_custody: BTreeSet<MessageId>,
}

impl Device {
    pub async fn sign_up(home: &NodeHandle, org: &str, name: &str, seed: u8) -> Self {
        let (root, key) = (SecretKey::from_seed(&[seed; 32]), [seed + 1; 32]);
        let device_key = SecretKey::from_seed(&key);
        let log = VerifiedLog::create(&root, &device_key.public_key(), vec![home.node()]).unwrap();
        let operation = Operation::SetHandle { handle: format!("{name}@{org}"), org: home.org() };
        let log = log.append(operation, Signer::Device(DeviceId::of(&device_key.public_key())), &device_key).unwrap();
        let credential =
            Credential { account: log.account(), device: DeviceId::of(&device_key.public_key()), log_seq: 0 };
        let engine = OpenMlsEngine::new(device_key, credential);
        let (connection, frames) = home.connect([seed; 32]).await.unwrap();
        let mut device = Self {
            home: home.clone(),
            connection,
            frames,
            key,
            log,
            engine,
            rows: BTreeMap::new(),
            handle_record: None,
            last_sender: None,
            number: seed + 1,
            requests: 1_000,
            entries: VecDeque::new(),
            custodies: VecDeque::new(),
            in_custody: BTreeSet::new(),
        };
        let challenge = device.challenge().await;
        let log = device.log.log().clone();
        let invite = Some(InviteProof::new("invite", &home.node(), challenge.as_slice(), &device.account()));
        let answer = device.ask(ClientFrame::SignUp { id: 1, handle: name.into(), invite, log }).await;
        let ServerFrame::SignedUp { handle_record, .. } = answer else { panic!("sign-up was refused: {answer:?}") };
        device.handle_record = Some(handle_record);
        device.sign_in(&challenge).await;
        device.put_key_packages(5, false).await;
        device.resume().await;
        device
    }

    pub fn account(&self) -> AccountId {
        self.log.account()
    }

    pub fn device(&self) -> DeviceId {
        DeviceId::of(&SecretKey::from_seed(&self.key).public_key())
    }

    /// Keeps key packages at the home, and one of last resort.
    pub async fn put_key_packages(&mut self, count: usize, last_resort: bool) {
        let (packages, writes) = self.engine.key_packages(&self.rows, count, false).unwrap();
        writes.apply_to(&mut self.rows);
        let last_resort = last_resort.then(|| {
            let (mut packages, writes) = self.engine.key_packages(&self.rows, 1, true).unwrap();
            writes.apply_to(&mut self.rows);
            packages.remove(0)
        });
        let put = ClientFrame::PutKeyPackages { id: 3, packages, last_resort };
        assert!(matches!(self.ask(put).await, ServerFrame::Done { id: 3 }), "honest key packages are taken");
    }

    /// A new connection of the same device; gives the key packages that its home still holds.
    pub async fn reconnect(&mut self, challenge: [u8; 32]) -> u32 {
        let (connection, frames) = self.home.connect(challenge).await.unwrap();
        (self.connection, self.frames) = (connection, frames);
        let challenge = self.challenge().await;
        let answer = self.signed_in(&challenge).await;
        let ServerFrame::SignedIn { key_packages, .. } = answer else { panic!("the device signs in: {answer:?}") };
        self.resume().await;
        key_packages
    }

    pub fn log(&self) -> &VerifiedLog {
        &self.log
    }

    pub fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.key)
    }

    pub fn join(&mut self, creation: &Creation) {
        let (_, writes) = self
            .engine
            .join(&self.rows, creation.welcome.as_slice(), creation.tree.as_slice())
            .expect("the Welcome fits");
        writes.apply_to(&mut self.rows);
    }

    /// The next conversation is another one.
    pub fn next_group(&mut self) {
        self.number = self.number.wrapping_add(101);
    }

    pub fn open(&mut self, group: GroupId, entry: &Entry) -> Result<Vec<u8>, GroupError> {
        let (opened, writes) = self.engine.open(&self.rows, group.as_bytes(), entry.payload.as_slice())?;
        writes.apply_to(&mut self.rows);
        self.last_sender = Some(opened.sender.device);
        Ok(opened.plaintext.to_vec())
    }

    /// The next word of custody.
    pub async fn custody(&mut self) -> (AccountId, Vec<MessageId>) {
        loop {
            if let Some(custody) = self.custodies.pop_front() {
                return custody;
            }
            let frame = self.next().await;
            self.keep(&frame);
        }
    }

    pub fn has_no_custody_for(&mut self, message: &MessageId) -> bool {
        while let Ok(ToDevice::Frame(frame)) = self.frames.try_recv() {
            self.keep(&frame);
        }
        !self.in_custody.contains(message)
    }

    fn keep(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Entry { inbox, entry } => self.entries.push_back((*inbox, entry.clone())),
            ServerFrame::Custody { account, messages, .. } => {
                self.in_custody.extend(messages);
                self.custodies.push_back((*account, messages.clone()));
            }
            _ => {}
        }
    }

    async fn challenge(&mut self) -> Bytes {
        let ServerFrame::Hello { challenge, .. } = self.next().await else { panic!("Hello comes first") };
        challenge
    }

    async fn sign_in(&mut self, challenge: &Bytes) {
        let answer = self.signed_in(challenge).await;
        assert!(matches!(answer, ServerFrame::SignedIn { id: 2, .. }), "the device signs in: {answer:?}");
    }

    async fn signed_in(&mut self, challenge: &Bytes) -> ServerFrame {
        let key = SecretKey::from_seed(&self.key);
        let (account, device) = (self.account(), self.device());
        let signature = sign_in_signature(&key, &self.home.node(), challenge.as_slice(), &account, &device);
        self.ask(ClientFrame::SignIn { id: 2, account, device, signature }).await
    }

    async fn resume(&mut self) {
        let resume = ClientFrame::Resume { id: 4, incarnation: Incarnation([0; 16]), after: 0 };
        assert!(matches!(self.ask(resume).await, ServerFrame::Done { id: 4 }), "resume is answered");
    }

    pub async fn say(&self, frame: ClientFrame) {
        self.home.frame(self.connection, frame).await.unwrap();
    }

    async fn next(&mut self) -> ServerFrame {
        loop {
            match tokio::time::timeout(Duration::from_secs(20), self.frames.recv()).await {
                Ok(Some(ToDevice::Frame(frame))) => match *frame {
                    ServerFrame::Placed { inbox, count, .. } => {
                        self.say(ClientFrame::Ack { inbox: inbox + count - 1 }).await;
                    }
                    frame => return frame,
                },
                other => panic!("expected a frame, got {other:?}"),
            }
        }
    }

    /// Another connection, not signed in.
    pub async fn fresh_connection(&mut self, challenge: [u8; 32]) {
        (self.connection, self.frames) = self.home.connect(challenge).await.unwrap();
        self.challenge().await;
    }

    pub fn sealed(&mut self, group: GroupId, text: &[u8]) -> Bytes {
        let (sealed, writes) = self.engine.seal(&self.rows, group.as_bytes(), text).unwrap();
        writes.apply_to(&mut self.rows);
        sealed.ciphertext
    }

    /// The answer to a request; events on the way are kept.
    pub async fn ask(&mut self, frame: ClientFrame) -> ServerFrame {
        let wanted = frame.id();
        self.say(frame).await;
        self.answer(wanted.unwrap()).await
    }

    /// The answer to a request that was sent.
    pub async fn answer(&mut self, wanted: u64) -> ServerFrame {
        loop {
            let frame = self.next().await;
            let id = serde_json::to_value(&frame).unwrap()["id"].as_u64();
            if id == Some(wanted) {
                return frame;
            }
            self.keep(&frame);
        }
    }

    pub async fn entry(&mut self) -> Entry {
        loop {
            if let Some((inbox, entry)) = self.entries.pop_front() {
                // Without a position it is acknowledged when it is placed.
                if let Some(inbox) = inbox {
                    self.say(ClientFrame::Ack { inbox }).await;
                }
                return entry;
            }
            let frame = self.next().await;
            self.keep(&frame);
        }
    }

    /// Resolves, fetches a key package, creates.
    pub async fn start_conversation(&mut self, with: &str) -> (Signed, Creation) {
        // A new account is published in the background; *not found* is believed for five seconds.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let (log, lookup) = loop {
            match self.ask(ClientFrame::Resolve { id: 10, handle: with.parse().unwrap() }).await {
                ServerFrame::Resolved { log, lookup, .. } => break (log, lookup),
                ServerFrame::Refused { error, .. }
                    if error.code == Code::NotFound && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                other => panic!("not resolved: {other:?}"),
            }
        };
        let asked = lookup.messages > 0 || lookup.source == LookupSource::Cache;
        assert!(asked, "the first lookup asks the directory");
        let peer = VerifiedLog::verify(&log).unwrap();
        let creation = self.creation(&peer).await;
        let answer = self.ask(ClientFrame::Create { id: 12, creation }).await;
        let ServerFrame::Created { head, creation, .. } = answer else { panic!("not created: {answer:?}") };
        (head, creation)
    }

    pub async fn creation(&mut self, peer: &VerifiedLog) -> Creation {
        let answer = self.ask(ClientFrame::FetchKeyPackages { id: 11, account: peer.account() }).await;
        let ServerFrame::KeyPackages { packages, .. } = answer else { panic!("no key package: {answer:?}") };
        let packages: Vec<Bytes> = packages.into_iter().map(|(_, package)| package).collect();
        let mut accounts = [self.account(), peer.account()];
        accounts.sort();
        let hub: NodeId = if accounts[0] == self.account() { self.log.homes()[0] } else { peer.homes()[0] };
        let state = ConversationState {
            conversation: ConversationId::direct(&accounts[0], &accounts[1]),
            generation: 0,
            term: 0,
            hub,
            successors: vec![],
            participants: accounts.map(|account| Participant { account, role: Role::Admin }).to_vec(),
            policy: Policy::Direct,
        };
        let group = GroupId([self.number; 32]);
        let (created, writes) =
            self.engine.create(&self.rows, group.as_bytes(), &codec::encode(&state), &packages).unwrap();
        writes.apply_to(&mut self.rows);
        let logs: Vec<IdentityLog> = vec![self.log.log().clone(), peer.log().clone()];
        Creation {
            operation: OperationId([self.number; 16]),
            group,
            state,
            logs,
            commit: created.commit,
            welcome: created.welcome,
            group_info: created.group_info,
            tree: created.tree,
        }
    }

    pub async fn submit(&mut self, group: GroupId, text: &[u8]) -> ServerFrame {
        let (sealed, writes) = self.engine.seal(&self.rows, group.as_bytes(), text).unwrap();
        writes.apply_to(&mut self.rows);
        let message = MessageId::of(1_795_000_000_000, text);
        let submit = ClientFrame::Submit {
            id: self.requests,
            group,
            epoch: sealed.epoch,
            message,
            attempt: 0,
            payload: sealed.ciphertext,
            silent: false,
            blobs: Vec::new(),
        };
        self.requests += 1;
        let answer = self.ask(submit.clone()).await;
        if let (ServerFrame::Accepted { .. }, ClientFrame::Submit { id, .. }) = (&answer, &submit) {
            let again = self.ask(submit.clone()).await;
            assert_eq!(again, answer, "submission {id} again is the same submission");
        }
        answer
    }
}

pub async fn node(root: &std::path::Path, name: &str, seed: u8, bootstrap: &[&Node]) -> Node {
    node_with(root, name, seed, bootstrap, Limits::PRODUCTION).await
}

pub async fn node_with(root: &std::path::Path, name: &str, seed: u8, bootstrap: &[&Node], limits: Limits) -> Node {
    let peer = |node: &&Node| format!("{}/p2p/{}", node.listen()[0], node.handle().node()).parse().unwrap();
    let node = Node::start(NodeConfig {
        org_key: SecretKey::from_seed(&[seed; 32]),
        node_key: SecretKey::from_seed(&[seed + 1; 32]),
        name: name.into(),
        open_registration: false,
        store: root.join(name),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        bootstrap: bootstrap.iter().map(peer).collect(),
        pins: BTreeMap::new(),
        region: String::new(),
        peer_rates: Default::default(),
        limits,
        push: None,
        blobs: root.join(format!("{name}-blobs")),
    })
    .await
    .unwrap();
    node.handle().announce("http://127.0.0.1:1").await.unwrap();
    node.handle().invite(invite_key("invite"), 10, u64::MAX).await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_message_goes_from_device_to_device_over_two_nodes() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 10, &[]).await;
    let birch = node(root.path(), "birch", 20, &[&acme]).await;
    for (alice_seed, bob_seed, names) in [(30, 40, ["alice", "bob"]), (60, 50, ["carol", "dave"])] {
        let mut alice = Device::sign_up(&acme.handle(), "acme", names[0], alice_seed).await;
        let mut bob = Device::sign_up(&birch.handle(), "birch", names[1], bob_seed).await;
        let (_, creation) = alice.start_conversation(&format!("{}@birch", names[1])).await;
        let contact = bob.entry().await;
        assert_eq!(contact.header.kind, EntryKind::Creation, "keys come before messages");
        let contact = contact.first_contact().unwrap();
        assert_eq!(contact.creation, creation, "the first contact is what stands at the hub");
        let (joined, writes) =
            bob.engine.join(&bob.rows, creation.welcome.as_slice(), creation.tree.as_slice()).unwrap();
        writes.apply_to(&mut bob.rows);
        assert_eq!(joined.conv_state.as_slice(), codec::encode(&creation.state), "bob agrees on the state");

        let answer = alice.submit(creation.group, b"hello bob").await;
        assert!(matches!(answer, ServerFrame::Accepted { .. }), "accepted: {answer:?}");
        let entry = bob.entry().await;
        let (opened, writes) = bob.engine.open(&bob.rows, creation.group.as_bytes(), entry.payload.as_slice()).unwrap();
        writes.apply_to(&mut bob.rows);
        assert_eq!(opened.plaintext, b"hello bob", "bob reads it");
        assert_eq!(opened.sender.account, alice.account(), "and knows that alice wrote it");

        let answer = bob.submit(creation.group, b"hello alice").await;
        assert!(matches!(answer, ServerFrame::Accepted { .. }), "accepted: {answer:?}");
        let entry = loop {
            let entry = alice.entry().await;
            if entry.header.kind == EntryKind::Message {
                break entry;
            }
        };
        let (opened, _) = alice.engine.open(&alice.rows, creation.group.as_bytes(), entry.payload.as_slice()).unwrap();
        assert_eq!(opened.plaintext, b"hello alice", "the answer arrives");
    }
    acme.stop().await;
    birch.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_lies_is_refused_with_a_code_and_a_hint() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 70, &[]).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 80).await;
    let refused = |frame: ServerFrame| match frame {
        ServerFrame::Refused { error, .. } => {
            assert!(!error.message.is_empty() && !error.hint.is_empty(), "a refusal explains itself");
            error.code
        }
        other => panic!("this must be refused: {other:?}"),
    };

    let (connection, frames) = acme.handle().connect([9; 32]).await.unwrap();
    let (old_connection, old_frames) = (alice.connection, std::mem::replace(&mut alice.frames, frames));
    alice.connection = connection;
    let challenge = alice.challenge().await;
    let group = GroupId([1; 32]);
    let message = MessageId::of(1, b"x");
    let submit = ClientFrame::Submit {
        id: 5,
        group,
        epoch: 1,
        message,
        attempt: 0,
        payload: Bytes(vec![1]),
        silent: false,
        blobs: Vec::new(),
    };
    assert_eq!(refused(alice.ask(submit.clone()).await), Code::NotSignedIn, "no message before sign-in");
    let (account, device) = (alice.account(), alice.device());
    let eve = SecretKey::from_seed(&[99; 32]);
    let forged = sign_in_signature(&eve, &acme.handle().node(), challenge.as_slice(), &account, &device);
    let answer = alice.ask(ClientFrame::SignIn { id: 6, account, device, signature: forged }).await;
    assert_eq!(refused(answer), Code::BadSignIn, "another key does not sign in");
    let key = SecretKey::from_seed(&alice.key);
    let replayed = sign_in_signature(&key, &acme.handle().node(), &[80; 32], &account, &device);
    let answer = alice.ask(ClientFrame::SignIn { id: 7, account, device, signature: replayed }).await;
    assert_eq!(refused(answer), Code::BadSignIn, "an answer to another connection's challenge does not sign in");
    alice.sign_in(&challenge).await;
    assert_eq!(refused(alice.ask(submit).await), Code::UnknownConversation, "a group that nobody made");
    let put = ClientFrame::PutKeyPackages { id: 8, packages: vec![Bytes(vec![0; 10])], last_resort: None };
    assert_eq!(refused(alice.ask(put).await), Code::Malformed, "bytes that are no key package");
    let resolve = ClientFrame::Resolve { id: 9, handle: "nobody@acme".parse().unwrap() };
    assert_eq!(refused(alice.ask(resolve).await), Code::NotFound, "nobody of this name");
    drop((old_connection, old_frames));
    acme.stop().await;
}
