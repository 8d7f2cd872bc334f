//! `testnet.json`: which organisations a testnet directory holds, where they listen and which processes they are.

use crate::TestnetError;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// A testnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its organisations, the first ones being those that the others meet first.
    pub orgs: Vec<Org>,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Org {
    /// The part of handles behind the `@`.
    pub name: String,
    /// The node's directory.
    pub dir: PathBuf,
    /// The process that serves it, or that did last.
    pub pid: u32,
    /// The node.
    pub peer_id: String,
    /// Base URL of the bridge.
    pub web: String,
    /// libp2p addresses, without the peer.
    pub listen: Vec<String>,
    /// Its users.
    pub users: Vec<User>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Like `user1@org1`.
    pub handle: String,
    /// The client's directory.
    pub dir: PathBuf,
    /// The account's id.
    pub account: String,
}

impl Manifest {
    /// Reads it.
    ///
    /// # Errors
    /// [`TestnetError`] when the directory is no testnet.
    pub fn load(dir: &Path) -> Result<Self, TestnetError> {
        let path = path(dir);
        let bytes = fs::read(&path).map_err(TestnetError::io(format!("reading {}", path.display())))?;
        serde_json::from_slice(&bytes).map_err(|error| TestnetError::File { path, what: error.to_string() })
    }

    /// Replaces it, whole or not at all.
    ///
    /// # Errors
    /// [`TestnetError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), TestnetError> {
        let (path, half) = (path(dir), dir.join("testnet.json.half"));
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| TestnetError::File { path: path.clone(), what: error.to_string() })?;
        let write = || fs::write(&half, text).and_then(|()| fs::rename(&half, &path));
        write().map_err(TestnetError::io(format!("writing {}", path.display())))
    }

    /// An organisation by its name.
    ///
    /// # Errors
    /// [`TestnetError::NoOrg`].
    pub fn org_mut(&mut self, name: &str) -> Result<&mut Org, TestnetError> {
        let known = self.orgs.iter().map(|org| org.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = self.orgs.iter_mut().find(|org| org.name == name);
        found.ok_or_else(|| TestnetError::NoOrg { got: name.into(), known })
    }
}

impl Org {
    /// Where others meet it first.
    pub fn bootstrap(&self) -> Option<String> {
        self.listen.first().map(|address| format!("{address}/p2p/{}", self.peer_id))
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("testnet.json")
}
