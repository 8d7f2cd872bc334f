//! Who takes part in the stories: devices on either engine, and the hub of their group.

use super::super::past_epochs::Bounds;
use super::super::*;
use crate::keys::SecretKey;

pub(super) type Store = BTreeMap<Vec<u8>, Vec<u8>>;

/// Which engine a story runs on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    OpenMls,
    Symbolic,
}

impl Kind {
    pub(super) fn inspect_key_package(self, bytes: &[u8]) -> Result<KeyPackageInfo, GroupError> {
        match self {
            Kind::OpenMls => inspect_key_package(bytes),
            Kind::Symbolic => symbolic::inspect_key_package(bytes),
        }
    }

    pub(super) fn inspect_creation(self, group_info: &[u8], tree: &[u8]) -> Result<PublicView, GroupError> {
        match self {
            Kind::OpenMls => inspect_creation(group_info, tree),
            Kind::Symbolic => symbolic::inspect_creation(group_info, tree),
        }
    }

    pub(super) fn begin(self, group_info: &[u8], tree: &[u8]) -> Result<(PublicView, Bytes), GroupError> {
        match self {
            Kind::OpenMls => begin(group_info, tree),
            Kind::Symbolic => symbolic::begin(group_info, tree),
        }
    }

    pub(super) fn judge(
        self,
        state: &Bytes,
        commit: &[u8],
        welcome: Option<&Bytes>,
        group_info: &[u8],
    ) -> Result<(CommitView, Bytes), GroupError> {
        let welcome = welcome.map(Bytes::as_slice);
        match self {
            Kind::OpenMls => judge(state.as_slice(), commit, welcome, group_info),
            Kind::Symbolic => symbolic::judge(state.as_slice(), commit, welcome, group_info),
        }
    }

    pub(super) fn tree_of(self, state: &Bytes) -> Bytes {
        match self {
            Kind::OpenMls => tree_of(state.as_slice()).unwrap(),
            Kind::Symbolic => symbolic::tree_of(state.as_slice()).unwrap(),
        }
    }
}

/// A device with its engine and its rows.
pub(super) struct Device {
    pub(super) engine: Box<dyn GroupEngine>,
    pub(super) rows: Store,
    pub(super) member: Member,
}

impl Device {
    pub(super) fn new(kind: Kind, seed: u8) -> Self {
        Self::with(kind, [seed; 32], 1, Bounds::PRODUCT)
    }

    /// The device of a seed, admitted by the log entry `log_seq`, without rows.
    pub(super) fn with(kind: Kind, seed: [u8; 32], log_seq: u64, bounds: Bounds) -> Self {
        let key = SecretKey::from_seed(&seed);
        let public = key.public_key();
        let credential = Credential { account: AccountId(seed), device: DeviceId::of(&public), log_seq };
        let member = Member { credential: credential.clone(), key: public };
        let engine: Box<dyn GroupEngine> = match kind {
            Kind::OpenMls => Box::new(OpenMlsEngine::new(key, credential).with_past_epochs(bounds)),
            Kind::Symbolic => {
                let twin = SymbolicEngine::new(credential, public, u64::from(seed[0]));
                Box::new(twin.with_past_epochs(bounds))
            }
        };
        Self { engine, rows: Store::new(), member }
    }

    pub(super) fn id(&self) -> DeviceId {
        self.member.credential.device
    }

    pub(super) fn commit(&mut self, change: &Change) -> Committed {
        self.try_commit(change).unwrap()
    }

    pub(super) fn try_commit(&mut self, change: &Change) -> Result<Committed, GroupError> {
        let (committed, writes) = self.engine.commit(&self.rows, b"group", change)?;
        writes.apply_to(&mut self.rows);
        Ok(committed)
    }

    pub(super) fn merge(&mut self, commit: &Bytes) -> Result<Merged, GroupError> {
        self.merge_at(commit, 0)
    }

    pub(super) fn merge_at(&mut self, commit: &Bytes, now_ms: u64) -> Result<Merged, GroupError> {
        let (merged, writes) = self.engine.merge(&self.rows, b"group", commit.as_slice(), now_ms)?;
        writes.apply_to(&mut self.rows);
        Ok(merged)
    }

    pub(super) fn drop_pending(&mut self) {
        self.engine.drop_pending(&self.rows, b"group").unwrap().apply_to(&mut self.rows);
    }

    pub(super) fn rejoin(&mut self, group_info: &Bytes, tree: &Bytes) -> Result<Committed, GroupError> {
        let (committed, writes) = self.engine.rejoin(&self.rows, group_info.as_slice(), tree.as_slice())?;
        writes.apply_to(&mut self.rows);
        Ok(committed)
    }

    pub(super) fn enter(&mut self, welcome: &Bytes, tree: &Bytes) -> Result<Joined, GroupError> {
        let (joined, writes) = self.engine.join(&self.rows, welcome.as_slice(), tree.as_slice())?;
        writes.apply_to(&mut self.rows);
        Ok(joined)
    }

    pub(super) fn epoch(&self) -> Result<u64, GroupError> {
        self.engine.epoch(&self.rows, b"group")
    }

    pub(super) fn members(&self) -> Result<Vec<Member>, GroupError> {
        self.engine.members(&self.rows, b"group")
    }

    pub(super) fn inspect(&self, commit: &Bytes) -> Result<CommitView, GroupError> {
        self.engine.inspect_commit(&self.rows, b"group", commit.as_slice())
    }

    pub(super) fn has_pending(&self) -> bool {
        self.engine.has_pending(&self.rows, b"group").unwrap()
    }

    pub(super) fn key_package(&mut self, last_resort: bool) -> Bytes {
        let (mut packages, writes) = self.engine.key_packages(&self.rows, 1, last_resort).unwrap();
        writes.apply_to(&mut self.rows);
        packages.remove(0)
    }

    pub(super) fn create(&mut self, group_id: &[u8], packages: &[Bytes]) -> Created {
        let (created, writes) = self.engine.create(&self.rows, group_id, b"conv state", packages).unwrap();
        writes.apply_to(&mut self.rows);
        created
    }

    pub(super) fn join(&mut self, created: &Created) -> Joined {
        let (joined, writes) =
            self.engine.join(&self.rows, created.welcome.as_slice(), created.tree.as_slice()).unwrap();
        writes.apply_to(&mut self.rows);
        joined
    }

    pub(super) fn seal(&mut self, group_id: &[u8], plaintext: &[u8]) -> Bytes {
        let (sealed, writes) = self.engine.seal(&self.rows, group_id, plaintext).unwrap();
        writes.apply_to(&mut self.rows);
        sealed.ciphertext
    }

    pub(super) fn open(&mut self, group_id: &[u8], ciphertext: &Bytes) -> Result<Opened, GroupError> {
        let (opened, writes) = self.engine.open(&self.rows, group_id, ciphertext.as_slice())?;
        writes.apply_to(&mut self.rows);
        Ok(opened)
    }
}

/// A change that adds.
pub(super) fn adding(packages: &[Bytes]) -> Change {
    Change { add: packages.to_vec(), ..Change::default() }
}

/// A change that removes.
pub(super) fn removing(devices: &[DeviceId]) -> Change {
    Change { remove: devices.to_vec(), ..Change::default() }
}

/// The hub of one group.
pub(super) struct Hub {
    pub(super) kind: Kind,
    pub(super) state: Bytes,
    pub(super) group_info: Bytes,
}

impl Hub {
    pub(super) fn new(kind: Kind, created: &Created) -> Self {
        let (view, state) = kind.begin(created.group_info.as_slice(), created.tree.as_slice()).unwrap();
        assert_eq!(view.epoch, created.epoch, "the hub begins where the group does");
        Self { kind, state, group_info: created.group_info.clone() }
    }

    pub(super) fn judge(&self, committed: &Committed) -> Result<(CommitView, Bytes), GroupError> {
        let Committed { commit, welcome, group_info, .. } = committed;
        self.kind.judge(&self.state, commit.as_slice(), welcome.as_ref(), group_info.as_slice())
    }

    /// Lets a commit stand.
    pub(super) fn take(&mut self, committed: &Committed) -> Result<CommitView, GroupError> {
        let (view, state) = self.judge(committed)?;
        self.state = state;
        self.group_info = committed.group_info.clone();
        Ok(view)
    }

    pub(super) fn tree(&self) -> Bytes {
        self.kind.tree_of(&self.state)
    }
}

/// Alice and bob in one group.
pub(super) fn pair(kind: Kind, group_id: &[u8]) -> (Device, Device, Created, Joined) {
    let (mut alice, mut bob) = (Device::new(kind, 1), Device::new(kind, 2));
    let package = bob.key_package(false);
    let created = alice.create(group_id, &[package]);
    let joined = bob.join(&created);
    (alice, bob, created, joined)
}
