//! A device by our engine: rows in memory, as the device core has them, and every write set applied to them.

use super::{Begun, GROUP, Made, Person, Side, What, present};
use crate::bench::{BenchError, machine};
use roost_client::store::Store;
use roost_crypto::group::{Change, GroupEngine as _, OpenMlsEngine, WriteSet, begin, judge, tree_of};
use roost_crypto::ids::DeviceId;
use roost_protocol::Bytes;
use std::collections::BTreeMap;
use std::path::Path;

/// A device.
pub(super) struct Ours {
    engine: OpenMlsEngine,
    device: DeviceId,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the last commit that was followed has changed.
    pub(super) last_writes: WriteSet,
}

impl Ours {
    /// As the device core goes about a commit whose entry comes, our own as well: read, judged by the rules of the
    /// conversation, which are not measured here, and merged.
    fn take(&mut self, commit: &[u8]) -> Result<WriteSet, BenchError> {
        self.engine.inspect_commit(&self.rows, GROUP.as_bytes(), commit)?;
        let (_, writes) = self.engine.merge(&self.rows, GROUP.as_bytes(), commit, machine::now_ms())?;
        writes.apply_to(&mut self.rows);
        Ok(writes)
    }
}

impl Side for Ours {
    type Hub = Bytes;

    fn new(Person { key, credential }: Person) -> Self {
        let device = credential.device;
        let engine = OpenMlsEngine::new(key, credential);
        Self { engine, device, rows: BTreeMap::new(), last_writes: WriteSet::default() }
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn key_package(&mut self) -> Result<Vec<u8>, BenchError> {
        let (packages, writes) = self.engine.key_packages(&self.rows, 1, false)?;
        writes.apply_to(&mut self.rows);
        Ok(present(packages.into_iter().next(), "a key package")?.0)
    }

    fn found(&mut self, state: &[u8], key_package: &[u8]) -> Result<Begun, BenchError> {
        let packages = [Bytes(key_package.to_vec())];
        let (created, writes) = self.engine.create(&self.rows, GROUP.as_bytes(), state, &packages)?;
        writes.apply_to(&mut self.rows);
        Ok(Begun { welcome: created.welcome.0, group_info: created.group_info.0, tree: created.tree.0 })
    }

    fn commit(&mut self, what: What<'_>, state: &[u8]) -> Result<Made, BenchError> {
        let change = match what {
            What::Add(package) => Change { add: vec![Bytes(package.to_vec())], ..Change::default() },
            What::Remove(device) => Change { remove: vec![device], ..Change::default() },
            What::Renew => Change::default(),
        };
        let change = Change { conv_state: Some(Bytes(state.to_vec())), ..change };
        let (made, writes) = self.engine.commit(&self.rows, GROUP.as_bytes(), &change)?;
        writes.apply_to(&mut self.rows);
        self.take(made.commit.as_slice())?;
        let welcome = made.welcome.map(|welcome| welcome.0);
        Ok(Made { commit: made.commit.0, welcome, group_info: made.group_info.0 })
    }

    fn follow(&mut self, commit: &[u8]) -> Result<(), BenchError> {
        self.last_writes = self.take(commit)?;
        Ok(())
    }

    fn join(&mut self, welcome: &[u8], tree: &[u8]) -> Result<(), BenchError> {
        let (_, writes) = self.engine.join(&self.rows, welcome, tree)?;
        writes.apply_to(&mut self.rows);
        Ok(())
    }

    fn authenticator(&self) -> Result<Vec<u8>, BenchError> {
        Ok(self.engine.authenticator(&self.rows, GROUP.as_bytes())?.0)
    }

    fn hub(begun: &Begun) -> Result<Bytes, BenchError> {
        Ok(begin(&begun.group_info, &begun.tree)?.1)
    }

    fn judge(hub: &mut Bytes, made: &Made) -> Result<(), BenchError> {
        let (_, state) = judge(hub.as_slice(), &made.commit, made.welcome.as_deref(), &made.group_info)?;
        *hub = state;
        Ok(())
    }

    fn tree(hub: &Bytes) -> Result<Vec<u8>, BenchError> {
        Ok(tree_of(hub.as_slice())?.0)
    }
}

/// A device's store on disk.
pub(super) struct Stored(Store);

impl Stored {
    /// In a directory of its own.
    pub(super) fn create(dir: &Path) -> Result<Self, BenchError> {
        let dir = dir.join("device");
        std::fs::create_dir(&dir).map_err(BenchError::io("making a directory"))?;
        Ok(Self(Store::create(&dir, None).map_err(BenchError::wire)?))
    }

    /// Seals a write set and makes it durable.
    pub(super) fn commit(&mut self, writes: &WriteSet) -> Result<(), BenchError> {
        self.0.commit(writes).map_err(BenchError::wire)
    }
}
