//! The people and organisations of the stories.

use roost_crypto::identity_log::{Operation, Signer};
use roost_protocol::handle::Handle;
use roost_protocol::peer::NodeHello;
use roost_protocol::records::{HandleRecord, NameClaim, NodeAddress, OrgRecord, RecordKey, SignedOrgRecord};
use roost_protocol::{AccountId, FEATURES, NodeId, OrgId, SecretKey, Signed, VERSION, VerifiedLog};

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// The node with a seed, as `NetworkConfig::key` takes it.
pub(crate) fn node(seed: u8) -> NodeId {
    NodeId::of(key(seed).public_key())
}

pub(crate) fn account(seed: u8) -> AccountId {
    AccountId([seed; 32])
}

/// A founded account: root key `seed + 100`, device key `seed + 150`.
pub(crate) fn log_of(seed: u8, home: NodeId) -> VerifiedLog {
    VerifiedLog::create(&key(seed + 100), &key(seed + 150).public_key(), vec![home]).unwrap()
}

pub(crate) fn with_handle(log: &VerifiedLog, seed: u8, handle: &str) -> VerifiedLog {
    let operation = Operation::SetHandle { handle: handle.into(), org: OrgId([9; 32]) };
    log.append(operation, Signer::Root, &key(seed + 100)).unwrap()
}

/// The account of [`log_of`] after its next reset, with a device of key `seed + 50`.
pub(crate) fn reset_of(log: &VerifiedLog, seed: u8) -> VerifiedLog {
    log.reset(&key(seed + 100), vec![key(seed + 50).public_key()], log.homes().to_vec()).unwrap()
}

/// An organisation with one node: root key `seed + 200`, node key `seed`.
pub(crate) struct Org {
    pub(crate) root: SecretKey,
    seed: u8,
    name: String,
}

impl Org {
    pub(crate) fn new(seed: u8, name: &str) -> Self {
        Self { root: key(seed.wrapping_add(200)), seed, name: name.into() }
    }

    pub(crate) fn id(&self) -> OrgId {
        OrgId::of(&self.root.public_key())
    }

    pub(crate) fn handle_key(&self, local: &str) -> RecordKey {
        RecordKey::Handle(Handle::new(local, &self.name).unwrap().key(&self.id()))
    }

    pub(crate) fn handle(&self, local: &str, account: AccountId, seq: u64, expires: u64) -> Signed {
        let handle = Handle::new(local, &self.name).unwrap();
        HandleRecord { root: self.root.public_key(), handle, account, seq, expires }.sign(&self.root)
    }

    pub(crate) fn claim(&self, seq: u64, expires: u64) -> Signed {
        NameClaim { root: self.root.public_key(), name: self.name.clone(), seq, expires }.sign(&self.root)
    }

    pub(crate) fn record(&self, addresses: &[String], expires: u64) -> SignedOrgRecord {
        self.record_at(1, addresses, expires)
    }

    pub(crate) fn record_at(&self, seq: u64, addresses: &[String], expires: u64) -> SignedOrgRecord {
        let addrs = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let own = NodeAddress { node: node(self.seed), addrs, web: String::new(), region: String::new(), weight: 1 };
        let record =
            OrgRecord { root: self.root.public_key(), name: self.name.clone(), nodes: vec![own], seq, expires };
        SignedOrgRecord::sign(&record, &self.root, &[&key(self.seed)])
    }

    pub(crate) fn hello(&self, addresses: &[String], expires: u64) -> NodeHello {
        NodeHello {
            versions: vec![VERSION],
            features: FEATURES.iter().map(|feature| (*feature).into()).collect(),
            org: self.record(addresses, expires),
            incarnation: roost_protocol::ids::Incarnation([self.seed; 16]),
        }
    }
}
