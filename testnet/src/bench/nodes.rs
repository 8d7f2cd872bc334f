//! The nodes that are measured: processes of the one binary, as `testnet up` starts them, in a directory that goes with them.
//!
//! Whatever happens, they end: at the end orderly, else by their id when this is dropped.

use super::BenchError;
use super::device::Door;
use crate::{Manifest, Org, TestnetError, UpConfig, process};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Running nodes.
pub(super) struct Nodes {
    binary: PathBuf,
    dir: tempfile::TempDir,
}

#[derive(Deserialize)]
struct Invited {
    invite: String,
}

impl Nodes {
    /// Starts organisations without users.
    pub(super) async fn start(binary: &Path, orgs: usize) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("roost-bench-").tempdir();
        let dir = dir.map_err(BenchError::io("making a directory"))?;
        // Made before anything runs: from here on a drop ends what runs.
        let nodes = Self { binary: binary.to_owned(), dir };
        let up = UpConfig::numbered(nodes.binary.clone(), nodes.path().to_owned(), orgs, 0);
        crate::up(&up).await?;
        Ok(nodes)
    }

    /// Where all of it is: the disk that is measured.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Process ids and the rest, as of now.
    pub(super) fn orgs(&self) -> Result<Vec<Org>, BenchError> {
        Ok(Manifest::load(self.path())?.orgs)
    }

    /// One of them, counted from 0.
    pub(super) fn org(&self, number: usize) -> Result<Org, BenchError> {
        let orgs = self.orgs()?;
        let running = orgs.len();
        let missing = TestnetError::Size { what: "organisations", max: running, got: number + 1 };
        orgs.into_iter().nth(number).ok_or_else(|| missing.into())
    }

    /// A way in for so many accounts.
    pub(super) async fn door(&self, number: usize, accounts: usize) -> Result<Door, BenchError> {
        let org = self.org(number)?;
        let (dir, uses) = (org.dir.to_string_lossy().into_owned(), accounts.to_string());
        let invited: Invited = process::run(&self.binary, &["invite", "--dir", &dir, "--uses", &uses]).await?;
        Ok(Door { web: org.web, invite: invited.invite })
    }

    /// Ends one orderly.
    pub(super) async fn stop(&self, number: usize) -> Result<Org, BenchError> {
        Ok(crate::stop(self.path(), &self.org(number)?.name).await?)
    }

    /// Starts it again, on the same ports.
    pub(super) async fn start_again(&self, number: usize) -> Result<Org, BenchError> {
        Ok(crate::start(&self.binary, self.path(), &self.org(number)?.name).await?)
    }

    /// Ends all orderly; the directory goes.
    pub(super) async fn end(self) -> Result<(), BenchError> {
        crate::down(self.path()).await?;
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let Ok(manifest) = Manifest::load(self.dir.path()) else { return };
        for org in manifest.orgs.iter().filter(|org| process::runs(org)) {
            let mut kill = Command::new("kill");
            let _ = kill.args(["-KILL", &org.pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}
