//! Devices of an account: what a session offers of them, and how a directory is made for one more, whole or not at all.

use super::sign_up::{ANSWER_TIMEOUT, HalfDirectory, answer, bad, is_taken};
use super::socket::Socket;
use super::{Session, now_ms};
use crate::core::Device;
use crate::core::devices::{DeviceReport, LogChange};
use crate::core::linking::{LinkCode, LinkReport, NewDevice};
use crate::core::restore::RestoredAccount;
use crate::error::Error;
use crate::store::{Store, random};
use roost_crypto::group::WriteSet;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::recovery::RecoveryCode;
use roost_protocol::handle::Handle;
use roost_protocol::limits;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// An account that has one device more.
pub struct Joined {
    /// The account.
    pub account: AccountId,
    /// Its handle.
    pub handle: Handle,
    /// The new device.
    pub device: DeviceId,
}

/// Where the new directory is, and what seals it.
pub struct NewDirectory<'a> {
    /// A path where nothing is.
    pub dir: &'a Path,
    /// Instead of a key file beside it.
    pub passphrase_file: Option<&'a Path>,
}

/// Brings an account back by its recovery code: a new device at `server`, with all others revoked if they are lost.
///
/// # Errors
/// [`Error::Exists`], [`Error::ServerUrl`], [`Error::Unreachable`], [`Error::BadAnswer`], [`Error::Refused`],
/// [`Error::NotPossible`], [`Error::Store`]; none leaves a directory behind.
pub async fn restore_account(
    server: &str,
    code: &RecoveryCode,
    at: NewDirectory<'_>,
    revoke_others: bool,
    name: &str,
) -> Result<Joined, Error> {
    is_taken(at.dir)?;
    let (mut socket, home) = greeted(server).await?;
    let fetch = ClientFrame::FetchAccount { id: 1, account: RestoredAccount::account_of(code) };
    socket.send(vec![fetch]).await?;
    let (log, handle_record) = match answer(&mut socket).await? {
        ServerFrame::Account { log, handle_record, .. } => (log, handle_record),
        ServerFrame::Refused { error, .. } => return Err(Error::Refused(error)),
        _ => return Err(Error::BadAnswer("expected Account".into())),
    };
    let mut seed = Zeroizing::new([0; 32]);
    random(&mut seed[..])?;
    let restored = RestoredAccount::new(code, &seed, &log, &home, revoke_others)
        .map_err(|error| Error::NotPossible(error.to_string()))?;
    let half = HalfDirectory::new(at.dir)?;
    let store = Store::create(&half.0, at.passphrase_file)?;
    socket.send(vec![ClientFrame::Restore { id: 2, handle_record, log: restored.log.log().clone() }]).await?;
    let (handle_record, org) = match answer(&mut socket).await? {
        ServerFrame::SignedUp { handle_record, org, .. } => (handle_record, org),
        ServerFrame::Refused { error, .. } => return Err(Error::Refused(error)),
        _ => return Err(Error::BadAnswer("expected SignedUp".into())),
    };
    let rows = restored.rows(server, handle_record, org, now_ms()).map_err(bad)?;
    complete(socket, (store, half), &at, &rows).await?;
    begin(&at, name).await?;
    Ok(Joined { account: restored.log.account(), handle: restored.handle.clone(), device: restored.device() })
}

/// Becomes a device of the account that a code is of. `compare` is given the digits that the other device shows, too.
///
/// # Errors
/// As [`restore_account`], and [`Error::TimedOut`] where nobody said yes on the other device in time.
pub async fn link_account(
    code: LinkCode,
    at: NewDirectory<'_>,
    name: &str,
    compare: impl FnOnce(&str),
) -> Result<Joined, Error> {
    is_taken(at.dir)?;
    let (account, server) = (code.account, code.server.clone());
    let (mut socket, home) = greeted(&server).await?;
    // The randomness is drawn here, where its absence is an error; the core only lays it out.
    let mut drawn = Drawn::new()?;
    let device = NewDevice::new(code, name, &mut |bytes| drawn.fill(bytes))?;
    let half = HalfDirectory::new(at.dir)?;
    let store = Store::create(&half.0, at.passphrase_file)?;
    let request = device.request(1, &mut |bytes| drawn.fill(bytes));
    socket.send(vec![request]).await?;
    match answer(&mut socket).await? {
        ServerFrame::Done { .. } => {}
        ServerFrame::Refused { error, .. } => return Err(Error::Refused(error)),
        _ => return Err(Error::BadAnswer("expected Done".into())),
    }
    compare(&device.digits());
    let answered = async {
        loop {
            match socket.next().await? {
                Some(ServerFrame::LinkAnswered { session, sealed }) if session == device.session => return Ok(sealed),
                Some(ServerFrame::Refused { error, .. }) => return Err(Error::Refused(error)),
                _ => {}
            }
        }
    };
    let sealed = tokio::time::timeout(Duration::from_millis(limits::LINK_MS), answered).await;
    let sealed = sealed.unwrap_or(Err(Error::TimedOut))?;
    let (rows, handle) = device.linked(&sealed, &home, now_ms()).map_err(bad)?;
    complete(socket, (store, half), &at, &rows).await?;
    begin(&at, name).await?;
    Ok(Joined { account, handle, device: device.device() })
}

impl Session {
    /// The active devices of the account.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn devices(&self) -> Result<Vec<DeviceReport>, Error> {
        self.with(|device, _, _| Ok(device.devices()?)).await
    }

    /// Calls this device otherwise.
    ///
    /// # Errors
    /// [`Error::TextTooLong`], [`Error::Closed`].
    pub async fn name_device(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.with(move |device, _, now_ms| device.name_device(&name, now_ms)).await
    }

    /// Ends another device of the account; returns once the home has taken the log that says so.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`], [`Error::NotPossible`], [`Error::Refused`], [`Error::TimedOut`], [`Error::Closed`].
    pub async fn revoke(&self, whom: DeviceId, timeout: Duration) -> Result<(), Error> {
        let change = LogChange::Revoke(whom);
        self.with(move |device, _, _| device.change_log(change)).await?;
        self.until(timeout, move |device| device.log_change(&change)).await
    }

    /// Offers to link a device with the code that this gives.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn offer_link(&self) -> Result<LinkCode, Error> {
        self.with(|device, random, _| Ok(device.offer_link(random))).await
    }

    /// Waits until a device asks with the code that was offered.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Closed`].
    pub async fn link_asked(&self, timeout: Duration) -> Result<LinkReport, Error> {
        self.until(timeout, |device| Ok(device.link_asked())).await
    }

    /// Nobody is linked by the code that was offered any more.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn end_link(&self) -> Result<(), Error> {
        self.with(|device, _, _| {
            device.end_link();
            Ok(())
        })
        .await
    }

    /// The person has compared the digits: makes the device that asks one of the account's; returns once it was told.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`], [`Error::NotPossible`], [`Error::Refused`], [`Error::TimedOut`], [`Error::Closed`].
    pub async fn accept_link(&self, timeout: Duration) -> Result<(), Error> {
        self.with(|device, _, _| device.accept_link()).await?;
        self.until(timeout, |device| device.link_done()).await
    }

    /// Waits until the home has told all that the account's other devices left in the archive.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Closed`].
    pub async fn caught_up(&self, timeout: Duration) -> Result<(), Error> {
        self.until(timeout, |device| Ok(device.has_caught_up().then_some(()))).await
    }

    /// Looks again and again, now and then and with every change, until there is something to tell.
    async fn until<T: Send + 'static>(
        &self,
        timeout: Duration,
        look: impl Fn(&Device) -> Result<Option<T>, Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let found = async {
            loop {
                let look = look.clone();
                if let Some(found) = self.with(move |device, _, _| look(device)).await? {
                    return Ok(found);
                }
                // Not everything that is waited for is told as a change.
                let _ = tokio::time::timeout(LOOK, self.changed()).await;
            }
        };
        tokio::time::timeout(timeout, found).await.unwrap_or(Err(Error::TimedOut))
    }
}

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(100);
/// How long the archive is waited for when a directory is new; what is missing then comes with the next command.
const ARCHIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection, and which node it leads to.
async fn greeted(server: &str) -> Result<(Socket, NodeId), Error> {
    let mut socket = Socket::connect(server).await?;
    let ServerFrame::Hello { node, versions, .. } = answer(&mut socket).await? else {
        return Err(Error::BadAnswer("expected Hello first".into()));
    };
    if !versions.contains(&roost_protocol::VERSION) {
        return Err(Error::BadAnswer("the home speaks no protocol version of ours".into()));
    }
    Ok((socket, node))
}

/// The directory appears, and the connection that was for nothing else ends.
async fn complete(
    socket: Socket,
    (store, half): (Store, HalfDirectory),
    at: &NewDirectory<'_>,
    rows: &WriteSet,
) -> Result<(), Error> {
    store.commit(rows)?;
    drop(store);
    half.complete(at.dir)?;
    socket.close().await;
    Ok(())
}

/// The new device signs in, leaves its key packages and reads the archive. It exists already: where it does not get through
/// now, it does when the directory is next in use.
async fn begin(at: &NewDirectory<'_>, name: &str) -> Result<(), Error> {
    let session = Session::open(at.dir, at.passphrase_file).await?;
    if !name.is_empty() {
        session.name_device(name).await?;
    }
    let begun = async {
        session.connected(ANSWER_TIMEOUT).await?;
        session.caught_up(ARCHIVE_TIMEOUT).await
    };
    match begun.await {
        Ok(()) | Err(Error::TimedOut) => session.close().await,
        Err(error) => Err(error),
    }
}

/// Randomness that was drawn in advance.
struct Drawn(Zeroizing<Vec<u8>>);

impl Drawn {
    /// As much as a link needs: a seed, a session, a nonce.
    fn new() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new(vec![0; 128]);
        random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Gives each byte once.
    fn fill(&mut self, into: &mut [u8]) {
        let left = self.0.len().saturating_sub(into.len());
        let tail = Zeroizing::new(self.0.split_off(left));
        into.copy_from_slice(&tail);
    }
}
