//! A home in memory: told what has happened before, then asked what a vector asks.

use super::cast::{ACME, Org, fixed, unhex};
use super::{Outcome, live};
use roost_node::relay::{Identity, Input, Output, Relay};
use roost_node::store::{MemoryStore, Overlay, Store as _};
use roost_protocol::ids::Incarnation;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{NodeId, PublicKey, SecretKey, codec, limits};
use serde_json::{Map, Value, json};

/// A home and its store.
pub struct Home {
    relay: Relay,
    store: MemoryStore,
    now_ms: u64,
}

pub fn refused(refusal: &Refusal) -> Outcome {
    assert!(!refusal.message.is_empty() && !refusal.hint.is_empty(), "a refusal explains itself: {refusal:?}");
    let cause = serde_json::to_value(refusal.code).unwrap().as_str().unwrap().to_owned();
    Outcome::Refuse { cause, later: Some(refusal.later) }
}

impl Home {
    /// As a vector describes it: keys, name, registration, life of the store, time.
    pub fn of(given: &Map<String, Value>) -> Self {
        let home = &given["home"];
        let node = SecretKey::from_seed(&fixed(&home["node_seed"]));
        let org = [ACME, super::cast::BIRCH, super::cast::EVIL]
            .into_iter()
            .find(|org| org.node() == NodeId::of(node.public_key()))
            .expect("a home of the cast");
        let identity = Identity {
            org_key: SecretKey::from_seed(&fixed(&home["org_seed"])),
            node_key: node,
            name: home["name"].as_str().unwrap().into(),
            open: home["open"].as_bool().unwrap(),
            incarnation: Incarnation(fixed(&home["incarnation"])),
            limits: roost_node::relay::Limits::TESTNET,
            push: None,
            inspector: roost_node::relay::Inspector::default(),
            sabotage: roost_crypto::sabotage::Sabotage::NONE,
        };
        Self::new(identity, &org, given["now_ms"].as_u64().unwrap())
    }

    fn new(identity: Identity, org: &Org, now_ms: u64) -> Self {
        let store = MemoryStore::new(*identity.incarnation.as_bytes());
        let relay = Relay::open(identity, &mut Overlay::new(&store)).unwrap();
        let mut home = Self { relay, store, now_ms };
        home.handle(Input::OwnRecord(org.signed(&org.record())));
        home
    }

    fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut rows = Overlay::new(&self.store);
        let mut outputs = self.relay.handle(input, &mut rows, self.now_ms).unwrap();
        outputs.extend(self.relay.settle(&mut rows, self.now_ms).unwrap());
        let batch = rows.into_batch();
        self.store.commit(batch).unwrap();
        outputs
    }

    /// A frame of a device, and the answer to it.
    pub fn frame(&mut self, connection: u64, frame: ClientFrame) -> Option<ServerFrame> {
        let wanted = frame.id();
        let outputs = self.handle(Input::Frame { connection, frame });
        outputs.into_iter().find_map(|output| match output {
            Output::Send(to, answer) if to == connection && id_of(&answer) == wanted => Some(answer),
            _ => None,
        })
    }

    /// A request of a node, and the answer to it.
    pub fn peer(&mut self, peer: NodeId, request: NodeRequest) -> NodeResponse {
        let outputs = self.handle(Input::Asked { token: 1, peer, request });
        let answer = outputs.into_iter().find_map(|output| match output {
            Output::Answer(1, answer) => Some(answer),
            _ => None,
        });
        answer.expect("every request is answered")
    }

    /// One step of a vector.
    pub fn step(&mut self, step: &Value) -> Outcome {
        let (name, step) = step.as_object().unwrap().iter().next().unwrap();
        match name.as_str() {
            "connect" => {
                let challenge = fixed(&step["challenge"]);
                self.handle(Input::Connected { connection: step["connection"].as_u64().unwrap(), challenge });
                Outcome::Accept(json!("hello"))
            }
            "frame" => {
                let frame: ClientFrame =
                    codec::decode(&unhex(&step["frame"]), limits::SOCKET_MESSAGE_BYTES_MAX).unwrap();
                framed(self.frame(step["connection"].as_u64().unwrap(), frame))
            }
            "request" => {
                let request: NodeRequest =
                    codec::decode(&unhex(&step["request"]), limits::NODE_MESSAGE_BYTES_MAX).unwrap();
                answered(&self.peer(NodeId::of(PublicKey(fixed(&step["peer"]))), request))
            }
            "invite" => {
                let key = PublicKey(fixed(&step["key"]));
                let uses = u32::try_from(step["uses"].as_u64().unwrap()).unwrap();
                self.handle(Input::Invite { key, uses, expires_ms: step["expires_ms"].as_u64().unwrap() });
                Outcome::Accept(json!("invite"))
            }
            "conversation" => live::make(self, step),
            "key_packages" => live::put_key_packages(self, step),
            other => panic!("{other} is no step"),
        }
    }
}

/// Runs a vector of kind `home`.
pub fn run(given: &Map<String, Value>) -> Outcome {
    let mut home = Home::of(given);
    for step in given["before"].as_array().unwrap() {
        let outcome = home.step(step);
        assert!(matches!(outcome, Outcome::Accept(_)), "what came before is accepted: {step}: {outcome:?}");
    }
    home.step(&given["asked"])
}

/// What a device is answered.
pub fn framed(answer: Option<ServerFrame>) -> Outcome {
    match answer {
        Some(ServerFrame::Refused { error, .. }) => refused(&error),
        Some(answer) => {
            let answer = serde_json::to_value(&answer).unwrap();
            let kind = answer["type"].as_str().unwrap().to_owned();
            match kind.as_str() {
                "accepted" | "signed_in" => Outcome::Accept(answer),
                _ => Outcome::Accept(json!(kind)),
            }
        }
        None => Outcome::Accept(Value::Null),
    }
}

/// What a node is answered.
pub fn answered(answer: &NodeResponse) -> Outcome {
    match answer {
        NodeResponse::Refused(refusal) => refused(refusal),
        NodeResponse::Custody(custody) => Outcome::Accept(json!({ "custody": custody })),
        NodeResponse::Entries(entries) => Outcome::Accept(json!({ "entries": entries.len() })),
        NodeResponse::Feeds(feeds) => Outcome::Accept(json!({ "feeds": feeds })),
        NodeResponse::Hello(_) => Outcome::Accept(json!("hello")),
        NodeResponse::Created { .. } => Outcome::Accept(json!("created")),
        NodeResponse::Committed(_) => Outcome::Accept(json!("committed")),
        NodeResponse::Tree(tree) => Outcome::Accept(json!({ "tree": tree.len() })),
        NodeResponse::Participants(logs) => Outcome::Accept(json!({ "participants": logs.len() })),
        NodeResponse::Done => Outcome::Accept(json!("done")),
        NodeResponse::KeyPackages { .. } => Outcome::Accept(json!("key_packages")),
        NodeResponse::PublicState { .. } => Outcome::Accept(json!("public_state")),
        NodeResponse::Log(log) => Outcome::Accept(json!({ "log": log.encoded().len() })),
        NodeResponse::Blob { total, .. } => Outcome::Accept(json!({ "blob": total })),
    }
}

fn id_of(frame: &ServerFrame) -> Option<u64> {
    serde_json::to_value(frame).unwrap()["id"].as_u64()
}
