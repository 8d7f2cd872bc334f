//! Sign-up: a new account at a home, and its directory, which appears whole or not at all.

use super::socket::Socket;
use super::{Session, now_ms};
use crate::core::account::NewAccount;
use crate::core::people::Settings;
use crate::error::Error;
use crate::store::{Store, random};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::handle::Handle;
use roost_protocol::invite::InviteProof;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// How long the home may take for an answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A new account.
pub struct Created {
    /// The account.
    pub account: AccountId,
    /// Its handle.
    pub handle: Handle,
    /// Its first device.
    pub device: DeviceId,
    /// To be shown once and written down.
    pub recovery_code: Zeroizing<String>,
}

/// Signs up at `server` (`http://HOST:PORT`) as `handle`, which may leave out `@organisation`, and makes the directory.
///
/// # Errors
/// [`Error::Exists`], [`Error::ServerUrl`], [`Error::Unreachable`], [`Error::BadAnswer`], [`Error::Refused`],
/// [`Error::Handle`], [`Error::Store`]; none leaves a directory behind.
pub async fn create_account(
    server: &str,
    handle: &str,
    invite: &str,
    dir: &Path,
    passphrase_file: Option<&Path>,
    settings: Settings,
) -> Result<Created, Error> {
    is_taken(dir)?;
    let mut socket = Socket::connect(server).await?;
    let ServerFrame::Hello { node, org, name, versions, challenge, .. } = answer(&mut socket).await? else {
        return Err(Error::BadAnswer("expected Hello first".into()));
    };
    if !versions.contains(&roost_protocol::VERSION) {
        return Err(Error::BadAnswer("the home speaks no protocol version of ours".into()));
    }
    let local = handle.strip_suffix(&name).and_then(|local| local.strip_suffix('@')).unwrap_or(handle);
    let handle = Handle::new(local, &name)?;
    let (mut entropy, mut device_seed) = (Zeroizing::new([0; 16]), Zeroizing::new([0; 32]));
    random(&mut entropy[..])?;
    random(&mut device_seed[..])?;
    let mut account = NewAccount::found(*entropy, device_seed, node, org, handle.clone()).map_err(bad)?;
    account.settings = settings;

    let half = HalfDirectory::new(dir)?;
    let store = Store::create(&half.0, passphrase_file)?;
    let sign_up = ClientFrame::SignUp {
        id: 1,
        handle: local.to_owned(),
        invite: Some(InviteProof::new(invite, &node, challenge.as_slice(), &account.account())),
        log: account.log.log().clone(),
    };
    socket.send(vec![sign_up]).await?;
    let (handle_record, org) = match answer(&mut socket).await? {
        ServerFrame::SignedUp { handle_record, org, .. } => (handle_record, org),
        ServerFrame::Refused { error, .. } => return Err(Error::Refused(error)),
        _ => return Err(Error::BadAnswer("expected SignedUp".into())),
    };
    store.commit(&account.signed_up(server, handle_record, org, now_ms()).map_err(bad)?)?;
    drop(store);
    half.complete(dir)?;
    socket.close().await;
    // Without key packages nobody could begin a conversation with the new account. It exists already: where they do not get
    // through now, they do when the directory is next in use.
    let session = Session::open(dir, passphrase_file).await?;
    match session.connected(ANSWER_TIMEOUT).await {
        Ok(()) | Err(Error::TimedOut) => session.close().await?,
        Err(error) => return Err(error),
    }
    Ok(Created { account: account.account(), handle, device: account.device(), recovery_code: account.code.text() })
}

/// Refuses a path where something is.
pub(super) fn is_taken(dir: &Path) -> Result<(), Error> {
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        return Err(Error::Exists(dir.display().to_string()));
    }
    Ok(())
}

/// The next frame of the home.
pub(super) async fn answer(socket: &mut Socket) -> Result<ServerFrame, Error> {
    let frame = async {
        loop {
            if let Some(frame) = socket.next().await? {
                return Ok(frame);
            }
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, frame).await.unwrap_or(Err(Error::Unreachable("no answer in time".into())))
}

/// A home's answer that does not verify.
pub(super) fn bad(error: impl std::fmt::Display) -> Error {
    Error::BadAnswer(error.to_string())
}

fn failed(error: &std::io::Error) -> Error {
    Error::Store(error.to_string())
}

/// A directory beside the wanted one, gone unless it is completed.
pub(super) struct HalfDirectory(pub PathBuf);

impl HalfDirectory {
    pub fn new(dir: &Path) -> Result<Self, Error> {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let path = dir.with_file_name(name);
        fs::create_dir_all(&path).map_err(|error| failed(&error))?;
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .map_err(|error| failed(&error))?;
        Ok(Self(path))
    }

    pub fn complete(self, dir: &Path) -> Result<(), Error> {
        fs::rename(&self.0, dir).map_err(|error| failed(&error))?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| failed(&error))
    }
}

impl Drop for HalfDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
