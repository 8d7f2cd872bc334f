//! Who plays in the vectors, from fixed seeds, and how bytes are written: hex, with `(xx*n)` for a long run of one byte.

use roost_crypto::group::{Credential, OpenMlsEngine};
use roost_crypto::identity_log::{Operation, Signer, VerifiedLog};
use roost_crypto::recovery::RecoveryCode;
use roost_protocol::ids::{GroupId, Incarnation, OperationId};
use roost_protocol::records::{NodeAddress, OrgRecord, SignedOrgRecord};
use roost_protocol::{AccountId, DeviceId, NodeId, OrgId, SecretKey, codec};
use serde::Serialize;
use serde_json::{Value, json};

/// Seconds since 1970 at which everything happens.
pub const NOW_S: u64 = 1_795_000_000;
/// The group of alice and bob.
pub const GROUP: GroupId = GroupId([0x11; 32]);
/// The operation that makes it.
pub const OPERATION: OperationId = OperationId([0x22; 16]);
/// The life of every store.
pub const LIFE: Incarnation = Incarnation([0x33; 16]);
/// What a home says first.
pub const CHALLENGE: [u8; 32] = [0x55; 32];

/// An organisation of one node.
#[derive(Clone, Copy)]
pub struct Org {
    pub name: &'static str,
    pub root: u8,
    pub node: u8,
}

pub const ACME: Org = Org { name: "acme.example", root: 4, node: 3 };
pub const BIRCH: Org = Org { name: "birch.example", root: 6, node: 5 };
pub const EVIL: Org = Org { name: "evil.example", root: 0x0f, node: 0x0e };

impl Org {
    pub fn root_key(&self) -> SecretKey {
        SecretKey::from_seed(&[self.root; 32])
    }

    pub fn id(&self) -> OrgId {
        OrgId::of(&self.root_key().public_key())
    }

    pub fn node_key(&self) -> SecretKey {
        SecretKey::from_seed(&[self.node; 32])
    }

    pub fn node(&self) -> NodeId {
        NodeId::of(self.node_key().public_key())
    }

    pub fn record(&self) -> OrgRecord {
        OrgRecord {
            root: self.root_key().public_key(),
            name: self.name.into(),
            nodes: vec![self.address()],
            seq: NOW_S,
            expires: NOW_S + 1_000_000,
        }
    }

    pub fn address(&self) -> NodeAddress {
        NodeAddress {
            node: self.node(),
            addrs: vec!["/ip4/192.0.2.1/tcp/4001".parse().unwrap()],
            web: format!("https://{}", self.name),
            region: "eu".into(),
            weight: 1,
        }
    }

    pub fn signed(&self, record: &OrgRecord) -> SignedOrgRecord {
        let node = self.node_key();
        let nodes = vec![&node; record.nodes.len()];
        SignedOrgRecord::sign(record, &self.root_key(), &nodes)
    }
}

/// A person with one device.
#[derive(Clone, Copy)]
pub struct Person {
    pub name: &'static str,
    pub home: Org,
    root: Option<u8>,
    device: u8,
}

/// Her root key comes from the recovery code of "alice's 16 bytes".
pub const ALICE: Person = Person { name: "alice", home: ACME, root: None, device: 2 };
pub const BOB: Person = Person { name: "bob", home: BIRCH, root: Some(0x0c), device: 0x0d };
/// Lives at acme.example as alice does.
pub const CAROL: Person = Person { name: "carol", home: ACME, root: Some(0x12), device: 0x13 };
/// Lives at evil.example and takes part in nothing.
pub const STRANGER: Person = Person { name: "frank", home: EVIL, root: Some(0x15), device: 0x16 };

impl Person {
    pub fn root(&self) -> SecretKey {
        match self.root {
            Some(seed) => SecretKey::from_seed(&[seed; 32]),
            None => RecoveryCode::from_entropy(*b"alice's 16 bytes").account_key(),
        }
    }

    pub fn device_key(&self) -> SecretKey {
        SecretKey::from_seed(&[self.device; 32])
    }

    pub fn device(&self) -> DeviceId {
        DeviceId::of(&self.device_key().public_key())
    }

    pub fn account(&self) -> AccountId {
        AccountId::of(&self.root().public_key())
    }

    pub fn founded(&self) -> VerifiedLog {
        VerifiedLog::create(&self.root(), &self.device_key().public_key(), vec![self.home.node()]).unwrap()
    }

    pub fn log(&self) -> VerifiedLog {
        self.log_as(self.name)
    }

    /// A log that claims another handle: with the same genesis, a branch of [`Self::log`].
    pub fn log_as(&self, local: &str) -> VerifiedLog {
        let handle = format!("{local}@{}", self.home.name);
        let operation = Operation::SetHandle { handle, org: self.home.id() };
        self.founded().append(operation, Signer::Root, &self.root()).unwrap()
    }

    pub fn engine(&self) -> OpenMlsEngine {
        let credential = Credential { account: self.account(), device: self.device(), log_seq: 0 };
        OpenMlsEngine::new(self.device_key(), credential)
    }
}

/// Bytes as text: a run of 64 or more equal bytes is `(xx*n)`.
pub fn hex(bytes: &[u8]) -> Value {
    let mut text = String::new();
    let mut rest = bytes;
    while let [first, ..] = rest {
        let run = rest.iter().take_while(|byte| *byte == first).count();
        if run >= 64 {
            text.push_str(&format!("({first:02x}*{run})"));
        } else {
            (0..run).for_each(|_| text.push_str(&format!("{first:02x}")));
        }
        rest = &rest[run..];
    }
    json!(text)
}

/// A value's bytes as text.
pub fn cbor<T: Serialize>(value: &T) -> Value {
    hex(&codec::encode(value))
}

/// Reads what [`hex`] wrote.
pub fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("expected hex, got {value}"));
    let plain = |hex: &str| -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
            .collect()
    };
    let mut bytes = Vec::new();
    let mut pieces = text.split('(');
    bytes.extend(plain(pieces.next().unwrap()));
    for piece in pieces {
        let (run, tail) = piece.split_once(')').unwrap();
        let (byte, times) = run.split_once('*').unwrap();
        bytes.extend(plain(byte).repeat(times.parse().unwrap()));
        bytes.extend(plain(tail));
    }
    bytes
}

/// Reads bytes of a fixed length.
pub fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().unwrap_or_else(|_| panic!("expected {N} bytes, got {value}"))
}
