//! Hostile peers and clients on the real wire: each breaks a rule at a time and is refused, or seen through; nobody else's talk
//! suffers.
//!
//! Here: eve, a node that answers by a script and says whatever a story tells her, and carol, whose home eve is.

mod client;
mod flood;
mod home;
mod killed;
mod liar;
mod lies;
mod member;
mod strangers;

use crate::nodes::Device;
use roost_crypto::group::{Credential, GroupEngine as _, OpenMlsEngine};
use roost_crypto::identity_log::{Operation, Signer};
use roost_node::Node;
use roost_node::network::{self, InboundRequest, Network, NetworkConfig};
use roost_protocol::conversation::{ConversationState, Creation, Participant, Policy, Role};
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, payload_hash};
use roost_protocol::ids::{ConversationId, FeedId, GroupId, Hash, Incarnation, MessageId, OperationId};
use roost_protocol::peer::{Deliver, NodeHello, NodeRequest, NodeResponse};
use roost_protocol::records::{
    HandleRecord, NameClaim, NameClaims, NodeAddress, OrgRecord, RecordKey, SignedOrgRecord,
};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::{AccountId, Bytes, DeviceId, NodeId, OrgId, SecretKey, VERSION, VerifiedLog, codec};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than anything here takes; a hang is a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

type Script = Box<dyn FnMut(&NodeRequest) -> Option<NodeResponse> + Send>;

/// A node that does what a story tells it to.
pub struct Eve {
    pub network: Network,
    pub node: NodeId,
    pub name: String,
    pub org_key: SecretKey,
    node_key: SecretKey,
    pub listen: Vec<roost_node::network::Multiaddr>,
    script: Arc<Mutex<Script>>,
    heard: Arc<Mutex<Vec<NodeRequest>>>,
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Eve {
    /// Joins the network of `target`, with a proper `Hello`; answers nothing until she is told what.
    pub async fn meet(target: &Node, name: &str, seed: u8) -> Self {
        Self::meet_with(target, name, seed, None).await
    }

    /// The same, with versions and a record of a story's choice.
    pub async fn meet_with(target: &Node, name: &str, seed: u8, greeting: Option<(Vec<u32>, SignedOrgRecord)>) -> Self {
        let eve = Self::meet_at(target.handle().node(), target.listen(), name, seed).await;
        match greeting {
            Some((versions, org)) => eve.greet(versions, org, Incarnation([9; 16])),
            None => eve.live(Incarnation([9; 16])),
        }
        eve
    }

    /// Knows where a node is, and says nothing yet.
    pub async fn meet_at(at: NodeId, addresses: &[roost_node::network::Multiaddr], name: &str, seed: u8) -> Self {
        let (org_key, node_key) = (SecretKey::from_seed(&[seed; 32]), SecretKey::from_seed(&[seed + 1; 32]));
        let (network, mut asked, listen) = network::start(NetworkConfig {
            key: [seed + 1; 32],
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            bootstrap: vec![format!("{}/p2p/{at}", addresses[0]).parse().unwrap()],
            records: None,
            pins: BTreeMap::new(),
            rates: network::Rates::TESTNET,
        })
        .await
        .unwrap();
        network.add_addresses(at, addresses.to_vec());
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|_| None)));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answers, log) = (Arc::clone(&script), Arc::clone(&heard));
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(InboundRequest { request, respond, .. }) = asked.recv().await {
                let answer = answers.lock().unwrap()(&request);
                log.lock().unwrap().push(request);
                match answer {
                    Some(answer) => {
                        let _ = respond.send(answer);
                    }
                    // Dropping it would be an answer.
                    None => unanswered.push(respond),
                }
            }
        });
        let node = NodeId::of(node_key.public_key());
        Self { network, node, name: name.into(), org_key, node_key, listen, script, heard }
    }

    /// What she says of herself from now on.
    pub fn live(&self, incarnation: Incarnation) {
        let org = self.org_record(now_s() + 3600);
        self.greet(vec![VERSION], org, incarnation);
    }

    pub fn greet(&self, versions: Vec<u32>, org: SignedOrgRecord, incarnation: Incarnation) {
        self.network.set_hello(NodeHello { versions, features: vec![], org, incarnation }).unwrap();
    }

    pub fn org_record(&self, expires: u64) -> SignedOrgRecord {
        let (addrs, web) = (self.listen.clone(), String::new());
        let address = NodeAddress { node: self.node, addrs, web, region: String::new(), weight: 1 };
        let (root, name) = (self.org_key.public_key(), self.name.clone());
        let record = OrgRecord { root, name, nodes: vec![address], seq: now_s(), expires };
        SignedOrgRecord::sign(&record, &self.org_key, &[&self.node_key])
    }

    /// Answers what she is asked; `None` is silence.
    pub fn answers(&self, script: impl FnMut(&NodeRequest) -> Option<NodeResponse> + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// What she was asked, apart from `Hello`.
    pub fn heard(&self) -> Vec<NodeRequest> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|request| !matches!(request, NodeRequest::Hello(_))).cloned().collect()
    }

    /// Waits until she was asked something.
    pub async fn hears(&self, what: &str, wanted: impl Fn(&NodeRequest) -> bool) {
        let start = tokio::time::Instant::now();
        while !self.heard().iter().any(&wanted) {
            assert!(start.elapsed() < PATIENCE, "eve must be asked: {what}; she heard {:?}", self.heard().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks; everybody answers eve, if only to refuse.
    pub async fn says(&self, target: &Node, request: NodeRequest) -> NodeResponse {
        self.network.request(target.handle().node(), request).await.expect("an answer")
    }

    /// Says something that must be refused, with a reason and a hint.
    pub async fn is_refused(&self, target: &Node, what: &str, request: NodeRequest) -> Refusal {
        match self.says(target, request).await {
            NodeResponse::Refused(refusal) => {
                let told = !refusal.message.is_empty() && !refusal.hint.is_empty();
                assert!(told, "{what}: a refusal explains itself: {refusal:?}");
                refusal
            }
            other => panic!("{what} must be refused, got {other:?}"),
        }
    }

    /// Publishes an account whose home she is.
    pub async fn publish(&self, carol: &Carol) {
        let (root, expires) = (self.org_key.public_key(), now_s() + 3600);
        let org = OrgId::of(&root);
        let handle = carol.handle.parse().unwrap();
        let claim = NameClaim { root, name: self.name.clone(), seq: now_s(), expires }.sign(&self.org_key);
        let record = HandleRecord { root, handle, account: carol.account(), seq: now_s(), expires };
        let key = RecordKey::Handle(record.handle.key(&org));
        for (key, value) in [
            (RecordKey::Org(org), codec::encode(&self.org_record(expires))),
            (RecordKey::of_name(&self.name), codec::encode(&NameClaims(vec![claim]))),
            (key, codec::encode(&record.sign(&self.org_key))),
            (RecordKey::Account(carol.account()), carol.log.encoded()),
        ] {
            self.network.publish(key, value).await.unwrap();
        }
    }

    pub fn feed(&self, group: GroupId) -> FeedId {
        FeedId { group, node: self.node, incarnation: Incarnation([9; 16]) }
    }
}

/// Somebody whose home eve is: an account, a device, and no connection.
pub struct Carol {
    pub handle: String,
    pub key: SecretKey,
    pub log: VerifiedLog,
    pub engine: OpenMlsEngine,
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Carol {
    /// Found by trying: her account id is higher than `below`'s, so that the hub of a conversation is `below`'s home.
    pub fn of(eve: &Eve, name: &str, below: AccountId) -> Self {
        let handle = format!("{name}@{}", eve.name);
        let seeds = (0..=u8::MAX).map(|number| {
            let mut seed = [number; 32];
            seed.iter_mut().zip(handle.bytes()).for_each(|(byte, letter)| *byte ^= letter);
            seed
        });
        let (seed, log) = seeds
            .map(|seed| {
                let key = SecretKey::from_seed(&seed.map(|byte| !byte));
                let root = SecretKey::from_seed(&seed);
                (seed, VerifiedLog::create(&root, &key.public_key(), vec![eve.node]).unwrap())
            })
            .find(|(_, log)| log.account() > below)
            .expect("one of 256 is higher");
        let key = SecretKey::from_seed(&seed.map(|byte| !byte));
        let device = DeviceId::of(&key.public_key());
        let org = OrgId::of(&eve.org_key.public_key());
        let claim = Operation::SetHandle { handle: handle.clone(), org };
        let log = log.append(claim, Signer::Device(device), &key).unwrap();
        let credential = Credential { account: log.account(), device, log_seq: 0 };
        let engine = OpenMlsEngine::new(SecretKey::from_seed(&seed.map(|byte| !byte)), credential);
        Self { handle, key, log, engine, rows: BTreeMap::new() }
    }

    pub fn account(&self) -> AccountId {
        self.log.account()
    }

    pub fn device(&self) -> DeviceId {
        DeviceId::of(&self.key.public_key())
    }

    pub fn key_package(&mut self) -> Bytes {
        let (packages, writes) = self.engine.key_packages(&self.rows, 1, false).unwrap();
        writes.apply_to(&mut self.rows);
        packages.into_iter().next().unwrap()
    }

    /// What eve answers to whoever wants to begin a conversation with her.
    pub fn package_answer(&mut self) -> NodeResponse {
        let package = self.key_package();
        NodeResponse::KeyPackages { log: self.log.log().clone(), packages: vec![(self.device(), package)] }
    }

    pub fn join(&mut self, creation: &Creation) {
        let (_, writes) =
            self.engine.join(&self.rows, creation.welcome.as_slice(), creation.tree.as_slice()).expect("carol joins");
        writes.apply_to(&mut self.rows);
    }

    pub fn seal(&mut self, group: GroupId, text: &[u8]) -> Bytes {
        let (sealed, writes) = self.engine.seal(&self.rows, group.as_bytes(), text).unwrap();
        writes.apply_to(&mut self.rows);
        sealed.ciphertext
    }

    /// A creation of a conversation with somebody whose key package she has.
    pub fn creation(&mut self, peer: &VerifiedLog, package: Bytes) -> Creation {
        let mut accounts = [self.account(), peer.account()];
        accounts.sort();
        let hub = if accounts[0] == self.account() { self.log.homes()[0] } else { peer.homes()[0] };
        let state = ConversationState {
            conversation: ConversationId::direct(&accounts[0], &accounts[1]),
            generation: 0,
            term: 0,
            hub,
            successors: vec![],
            participants: accounts.map(|account| Participant { account, role: Role::Admin }).to_vec(),
            policy: Policy::Direct,
        };
        let group = GroupId(self.account().0);
        let made = self.engine.create(&self.rows, group.as_bytes(), &codec::encode(&state), &[package]);
        let (made, writes) = made.unwrap();
        writes.apply_to(&mut self.rows);
        let mut operation = OperationId([0; 16]);
        operation.0.copy_from_slice(&self.account().0[..16]);
        let logs = vec![self.log.log().clone(), peer.log().clone()];
        let (commit, welcome, group_info, tree) = (made.commit, made.welcome, made.group_info, made.tree);
        Creation { operation, group, state, logs, commit, welcome, group_info, tree }
    }
}

/// An entry of eve's feed as she would write it honestly; stories then change what they want.
pub fn entry(feed: FeedId, seq: u64, prev: Hash, carol: &Carol, payload: Bytes) -> Entry {
    let header = EntryHeader {
        feed,
        seq,
        prev,
        kind: EntryKind::Message,
        epoch: 1,
        account: carol.account(),
        device: carol.device(),
        message: MessageId::of(1_795_000_000_000 + seq, payload.as_slice()),
        attempt: 0,
        payload_hash: payload_hash(payload.as_slice()),
    };
    Entry { header, payload, silent: false }
}

pub fn deliver(conversation: ConversationId, entries: Vec<Entry>, account: AccountId) -> NodeRequest {
    NodeRequest::Deliver(Deliver {
        conversation,
        entries,
        accounts: vec![account],
        begins: false,
        log: None,
        blobs: Vec::new(),
    })
}

/// Nothing of eve's reaches a talk between honest people: bob writes, alice reads.
pub async fn honest_talk_goes_on(alice: &mut Device, bob: &mut Device, creation: &Creation, text: &[u8]) {
    let start = tokio::time::Instant::now();
    let answer = bob.submit(creation.group, text).await;
    assert!(matches!(answer, roost_protocol::socket::ServerFrame::Accepted { .. }), "bob still writes: {answer:?}");
    loop {
        let entry = alice.entry().await;
        if entry.header.kind == EntryKind::Message && entry.header.feed.group == creation.group {
            let opened = alice.engine.open(&alice.rows, creation.group.as_bytes(), entry.payload.as_slice());
            let (opened, writes) = opened.expect("alice reads bob");
            writes.apply_to(&mut alice.rows);
            assert_eq!(opened.plaintext, text, "what she reads is what he wrote");
            break;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(4), "without waiting for eve, took {:?}", start.elapsed());
}

pub fn code_of(frame: &roost_protocol::socket::ServerFrame) -> Option<(Code, bool)> {
    match frame {
        roost_protocol::socket::ServerFrame::Refused { error, .. } => {
            assert!(!error.message.is_empty() && !error.hint.is_empty(), "a refusal explains itself: {error:?}");
            Some((error.code, error.later))
        }
        _ => None,
    }
}
