//! Linking: a code that one device shows and another is given holds a secret that no home knows. Under it the new device tells
//! its key, and the old one, once the person has compared six digits on both, what the account is.
//!
//! Implements `docs/protocol.md`, section "Devices of an account".

use super::account::{SignUpError, check_records, joining_rows};
use super::devices::{LogChange, NAME_BYTES_MAX};
use super::link::Pending;
use super::rows::{self, AccountRow, DeviceNameRow};
use super::{Device, Output, Random};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_crypto::code::{self, CodeError};
use roost_crypto::codec;
use roost_crypto::group::WriteSet;
use roost_crypto::identity_log::{IdentityLog, LogError, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::keys::{PublicKey, SecretKey};
use roost_crypto::labels;
use roost_crypto::sealing::{NONCE_BYTES, StoreKey, derive_key};
use roost_crypto::signed::Signed;
use roost_protocol::handle::Handle;
use roost_protocol::ids::LinkSession;
use roost_protocol::limits;
use roost_protocol::records::SignedOrgRecord;
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::ClientFrame;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What a code begins with, so that a person sees what it is.
const CODE_PREFIX: &str = "ROOST-LINK-";
/// Of the code.
const CODE_VERSION: u8 = 1;
/// Bytes of a code's secret: nobody tries 128 bits out.
const SECRET_BYTES: usize = 16;
/// Longest address of a home in a code, bytes.
const SERVER_BYTES_MAX: usize = 255;
/// Longest code, characters behind its beginning.
const CODE_CHARACTERS_MAX: usize = ((1 + 32 + SECRET_BYTES + SERVER_BYTES_MAX + 4) * 8).div_ceil(5);

/// What one device shows and another is given.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkCode {
    /// Whose device the other is to be.
    pub account: AccountId,
    /// Base URL of the home.
    pub server: String,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

/// Why a text is no link code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no link code: {0}; copy the whole of what `roost chat link` shows on the other device")]
pub struct BadLinkCode(#[from] CodeError);

/// What a new device asks.
#[derive(Serialize, Deserialize)]
struct Request {
    key: PublicKey,
    name: String,
}

/// What it is answered: the account, as the other device has it.
#[derive(Serialize, Deserialize)]
struct Answer {
    log: IdentityLog,
    handle: Handle,
    handle_record: Signed,
    org: SignedOrgRecord,
    archive_key: Option<Bytes>,
}

/// What this device has offered to link.
pub(super) struct Offer {
    code: LinkCode,
    /// The first that asked with the code's secret.
    asked: Option<(LinkSession, Request)>,
    /// The person said yes.
    accepted: bool,
    /// The answer was sent on this connection.
    sent: bool,
    ended: Option<Result<(), Refusal>>,
}

/// A new device that asks, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    /// Its id.
    pub device: DeviceId,
    /// What it wants to be called.
    pub name: String,
    /// What the other device shows, too, if nobody stands between.
    pub digits: String,
}

impl LinkCode {
    /// The six digits of a key that came under the secret.
    fn digits(&self, key: &PublicKey) -> String {
        let hash = labels::hash(labels::LINK_DIGITS, &[&self.secret[..], key.as_bytes()]);
        let number = hash.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        format!("{:06}", number % 1_000_000)
    }

    fn key(&self) -> StoreKey {
        StoreKey::from_bytes(&derive_key(&self.secret[..], labels::DERIVE_LINK_KEY, &[]))
    }

    fn seal<T: Serialize>(&self, label: &str, value: &T, nonce: [u8; NONCE_BYTES]) -> Bytes {
        let context = [label.as_bytes(), self.account.as_bytes()].concat();
        Bytes(self.key().seal(&context, &codec::encode(value), nonce))
    }

    fn open<T: serde::de::DeserializeOwned>(&self, label: &str, sealed: &Bytes, max: usize) -> Option<T> {
        let context = [label.as_bytes(), self.account.as_bytes()].concat();
        let plain = self.key().open(&context, sealed.as_slice()).ok()?;
        codec::decode(&plain, max).ok()
    }
}

impl fmt::Display for LinkCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.as_bytes();
        let bytes = [&[CODE_VERSION][..], self.account.as_bytes(), &self.secret[..], server].concat();
        formatter.write_str(&code::write(CODE_PREFIX, &Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for LinkCode {
    /// The secret lets whoever reads it stand between two devices.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LinkCode(…)")
    }
}

impl FromStr for LinkCode {
    type Err = BadLinkCode;

    fn from_str(text: &str) -> Result<Self, BadLinkCode> {
        let bytes = code::read(CODE_PREFIX, text, CODE_CHARACTERS_MAX)?;
        let read = || {
            let (version, rest) = bytes.split_first()?;
            let (account, rest) = rest.split_at_checked(32)?;
            let (secret, server) = rest.split_at_checked(SECRET_BYTES)?;
            let code = Self {
                account: AccountId::from_slice(account)?,
                server: std::str::from_utf8(server).ok()?.to_owned(),
                secret: Zeroizing::new(secret.try_into().ok()?),
            };
            (*version == CODE_VERSION && !server.is_empty()).then_some(code)
        };
        read().ok_or(BadLinkCode(CodeError::Version))
    }
}

/// Why an answer makes no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It was not sealed under the code's secret.
    #[error("the answer does not open")]
    Sealed,
    /// The log breaks a rule.
    #[error("the account's log: {0}")]
    Log(#[from] LogError),
    /// The log is another account's, or does not have this device, or not this home.
    #[error("the account's log does not admit this device at this home")]
    NotAdmitted,
    /// What it says of the account does not verify.
    #[error(transparent)]
    Records(#[from] SignUpError),
}

/// A device that wants to be linked.
pub struct NewDevice {
    code: LinkCode,
    key: SecretKey,
    name: String,
    /// Names this try.
    pub session: LinkSession,
}

impl NewDevice {
    /// With a fresh key, called `name`.
    ///
    /// # Errors
    /// [`Error::TextTooLong`].
    pub fn new(code: LinkCode, name: &str, random: Random<'_>) -> Result<Self, Error> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Error::TextTooLong { max: NAME_BYTES_MAX, got: name.len() });
        }
        let (mut seed, mut session) = (Zeroizing::new([0; 32]), LinkSession([0; 16]));
        random(&mut seed[..]);
        random(&mut session.0);
        Ok(Self { code, key: SecretKey::from_seed(&seed), name: name.to_owned(), session })
    }

    /// Its id.
    pub fn device(&self) -> DeviceId {
        DeviceId::of(&self.key.public_key())
    }

    /// To be compared with those of the other device.
    pub fn digits(&self) -> String {
        self.code.digits(&self.key.public_key())
    }

    /// What it asks.
    pub fn request(&self, id: u64, random: Random<'_>) -> ClientFrame {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce);
        let request = Request { key: self.key.public_key(), name: self.name.clone() };
        let sealed = self.code.seal(labels::LINK_REQUEST, &request, nonce);
        ClientFrame::LinkRequest { id, account: self.code.account, session: self.session, sealed }
    }

    /// Checks the answer that came through `home` and gives the rows of the device, and the handle of its account.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn linked(&self, sealed: &Bytes, home: &NodeId, now_ms: u64) -> Result<(WriteSet, Handle), LinkError> {
        let answer: Answer =
            self.code.open(labels::LINK_ANSWER, sealed, limits::LINK_ANSWER_BYTES_MAX).ok_or(LinkError::Sealed)?;
        let log = VerifiedLog::verify(&answer.log)?;
        let held = log.device_keys().get(&self.device()).is_some_and(|(key, _)| *key == self.key.public_key());
        let claimed = log.handle().filter(|(handle, _)| *handle == answer.handle.to_string());
        let (Some((_, org)), true) =
            (claimed, held && log.account() == self.code.account && log.homes().contains(home))
        else {
            return Err(LinkError::NotAdmitted);
        };
        check_records(&log, (&answer.handle, org), &answer.handle_record, &answer.org, now_ms)?;
        let mut writes = joining_rows(&AccountRow {
            server: self.code.server.clone(),
            device_seed: self.key.seed().to_vec().into(),
            log: answer.log,
            handle: answer.handle.clone(),
            handle_record: answer.handle_record,
            org: answer.org,
            archive_key: answer.archive_key,
        });
        let name = DeviceNameRow { name: self.name.clone(), changed_at: now_ms };
        writes.0.insert(rows::device_name(&self.device()), Some(codec::encode(&name)));
        Ok((writes, answer.handle))
    }
}

impl Device {
    /// Offers to link a device; an offer of before is given up.
    pub fn offer_link(&mut self, random: Random<'_>) -> LinkCode {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        random(&mut secret[..]);
        let code = LinkCode { account: self.me.account, server: self.me.row.server.clone(), secret };
        self.offer = Some(Offer { code: code.clone(), asked: None, accepted: false, sent: false, ended: None });
        code
    }

    /// Who asks with the code that was offered.
    pub fn link_asked(&self) -> Option<LinkReport> {
        let offer = self.offer.as_ref()?;
        let (_, request) = offer.asked.as_ref()?;
        Some(LinkReport {
            device: DeviceId::of(&request.key),
            name: request.name.clone(),
            digits: offer.code.digits(&request.key),
        })
    }

    /// The person has compared the digits: the device that asks becomes one of the account's.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`]: nobody asks; and those of [`Device::change_log`].
    pub fn accept_link(&mut self) -> Result<(), Error> {
        let key = self.offer.as_ref().and_then(|offer| offer.asked.as_ref()).map(|(_, request)| request.key);
        self.change_log(LogChange::Add(key.ok_or(Error::UnknownDevice)?))?;
        if let Some(offer) = &mut self.offer {
            offer.accepted = true;
        }
        Ok(())
    }

    /// Nobody is linked by the code that was offered any more.
    pub fn end_link(&mut self) {
        self.offer = None;
    }

    /// Whether the new device was admitted and answered; `None` while that is under way.
    ///
    /// # Errors
    /// [`Error::Refused`]: it will not be.
    pub fn link_done(&self) -> Result<Option<()>, Error> {
        let Some(offer) = &self.offer else { return Ok(None) };
        match (&offer.ended, &offer.asked) {
            (Some(Ok(())), _) => Ok(Some(())),
            (Some(Err(error)), _) => Err(Error::Refused(error.clone())),
            (None, Some((_, request))) if offer.accepted => self.log_change(&LogChange::Add(request.key)).map(|_| None),
            (None, _) => Ok(None),
        }
    }

    /// A new device asks. Whoever has not the secret of the code is not heard, nor whoever comes second.
    pub(super) fn link_requested(&mut self, session: LinkSession, sealed: &Bytes) {
        let Some(offer) = self.offer.as_mut().filter(|offer| offer.asked.is_none()) else { return };
        let request: Option<Request> = offer.code.open(labels::LINK_REQUEST, sealed, limits::LINK_REQUEST_BYTES_MAX);
        if let Some(request) = request.filter(|request| request.name.len() <= NAME_BYTES_MAX) {
            offer.asked = Some((session, request));
            self.staged.push(Output::LinkRequested);
        }
    }

    /// Answers once the log has the new device.
    pub(super) fn pump_link(&mut self, random: Random<'_>) {
        let Some(offer) = &mut self.offer else { return };
        let Some((session, request)) = &offer.asked else { return };
        let admitted = self.me.log.device_keys().contains_key(&DeviceId::of(&request.key));
        if !self.link.is_ready() || !admitted || !offer.accepted || offer.sent || offer.ended.is_some() {
            return;
        }
        let AccountRow { handle, handle_record, org, archive_key, .. } = self.me.row.clone();
        let answer = Answer { log: self.me.log.log().clone(), handle, handle_record, org, archive_key };
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce);
        let sealed = offer.code.seal(labels::LINK_ANSWER, &answer, nonce);
        let session = *session;
        offer.sent = true;
        self.request(Pending::LinkAnswer, |id| ClientFrame::LinkAnswer { id, session, sealed });
    }

    /// The home has passed the answer on, or has not.
    pub(super) fn link_answered(&mut self, passed: Result<(), Refusal>, now_ms: u64) {
        if let Some(offer) = &mut self.offer {
            if let (Ok(()), Some((_, request))) = (&passed, &offer.asked) {
                let row = DeviceNameRow { name: request.name.clone(), changed_at: now_ms };
                self.table.put(rows::device_name(&DeviceId::of(&request.key)), &row);
            }
            offer.ended = Some(passed);
            self.staged.push(Output::DevicesChanged);
        }
    }

    /// Nothing that was sent on the connection is known to have arrived.
    pub(super) fn link_disconnected(&mut self) {
        if let Some(offer) = &mut self.offer {
            offer.sent = false;
        }
    }
}
