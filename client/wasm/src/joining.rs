//! How a page becomes a device: by an invite, by a code of another device, or by the recovery code.
//!
//! Each is a small machine: the home's frames in, frames to it and the first rows out. The caller has the socket; nothing is
//! stored before the rows, so a try that fails leaves nothing behind.

use crate::draw;
use crate::failure::{Failure, to_js};
use crate::vault::{Rows, Vault};
use js_sys::Uint8Array;
use roost_client::Error;
use roost_client::core::account::NewAccount;
use roost_client::core::linking::{LinkCode, NewDevice};
use roost_client::core::restore::RestoredAccount;
use roost_crypto::codec;
use roost_crypto::ids::{NodeId, OrgId};
use roost_crypto::recovery::RecoveryCode;
use roost_protocol::handle::Handle;
use roost_protocol::invite::InviteProof;
use roost_protocol::limits::SOCKET_MESSAGE_BYTES_MAX;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

/// Who one has become.
#[derive(Serialize)]
struct Joined {
    account: String,
    device: String,
    handle: String,
}

/// The home, as it greets.
struct Greeting {
    node: NodeId,
    org: OrgId,
    name: String,
    challenge: Vec<u8>,
}

pub(crate) fn frame_of(bytes: &[u8]) -> Result<ServerFrame, Failure> {
    codec::decode(bytes, SOCKET_MESSAGE_BYTES_MAX).map_err(Failure::answer)
}

pub(crate) fn bytes_of(frame: &ClientFrame) -> Uint8Array {
    Uint8Array::from(codec::encode(frame).as_slice())
}

fn greeting(hello: &[u8]) -> Result<Greeting, Failure> {
    let ServerFrame::Hello { node, org, name, versions, challenge, .. } = frame_of(hello)? else {
        return Err(Failure::answer("expected Hello first"));
    };
    if !versions.contains(&roost_protocol::VERSION) {
        return Err(Failure::answer("the home speaks no protocol version of ours"));
    }
    Ok(Greeting { node, org, name, challenge: challenge.as_slice().to_vec() })
}

fn seed() -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    draw(&mut seed[..]);
    seed
}

fn now(ms: f64) -> u64 {
    // JavaScript's times are whole, positive and below 2^53.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of Date.now()")]
    let ms = ms as u64;
    ms
}

/// A new account, on its way.
#[wasm_bindgen]
pub struct SignUp {
    account: NewAccount,
    server: String,
    frame: ClientFrame,
}

#[wasm_bindgen]
impl SignUp {
    /// Founds an account at the home that greeted with `hello`, whose base URL is `server`. `handle` may leave out the
    /// organisation.
    ///
    /// # Errors
    /// `bad_answer`, `bad_handle`.
    #[wasm_bindgen(constructor)]
    pub fn new(hello: &[u8], server: &str, handle: &str, invite: Option<String>) -> Result<Self, JsValue> {
        let home = greeting(hello)?;
        let handle = handle.trim();
        let local = handle.strip_suffix(&home.name).and_then(|local| local.strip_suffix('@')).unwrap_or(handle);
        let full = Handle::new(local, &home.name).map_err(|error| Failure::from(Error::from(error)))?;
        let mut entropy = Zeroizing::new([0; 16]);
        draw(&mut entropy[..]);
        let account = NewAccount::found(*entropy, seed(), home.node, home.org, full).map_err(Failure::answer)?;
        let proof = |token: &String| InviteProof::new(token.trim(), &home.node, &home.challenge, &account.account());
        let frame = ClientFrame::SignUp {
            id: 1,
            handle: local.to_owned(),
            invite: invite.as_ref().map(proof),
            log: account.log.log().clone(),
        };
        Ok(Self { account, server: server.to_owned(), frame })
    }

    /// What to send.
    pub fn frame(&self) -> Uint8Array {
        bytes_of(&self.frame)
    }

    /// To be shown once and written down.
    #[wasm_bindgen(getter, js_name = recoveryCode)]
    pub fn recovery_code(&self) -> String {
        self.account.code.text().to_string()
    }

    /// Who one is then.
    pub fn joined(&self) -> JsValue {
        to_js(&Joined {
            account: self.account.account().to_string(),
            device: self.account.device().to_string(),
            handle: self.account.handle.to_string(),
        })
    }

    /// Takes the answer; the first rows of the device, sealed under `key`.
    ///
    /// # Errors
    /// What the home refused; `bad_answer`.
    pub fn answered(&self, frame: &[u8], key: &[u8], now_ms: f64) -> Result<Rows, JsValue> {
        let vault = Vault::new(key)?;
        match frame_of(frame)? {
            ServerFrame::SignedUp { handle_record, org, .. } => {
                let rows = self.account.signed_up(&self.server, handle_record, org, now(now_ms));
                Ok(vault.seal(&rows.map_err(Failure::answer)?))
            }
            ServerFrame::Refused { error, .. } => Err(Failure::from(Error::Refused(error)).into()),
            _ => Err(Failure::answer("expected SignedUp").into()),
        }
    }
}

/// A device that asks to become one of an account's.
#[wasm_bindgen]
pub struct Link {
    device: NewDevice,
    home: NodeId,
    frame: ClientFrame,
    handle: String,
}

#[wasm_bindgen]
impl Link {
    /// The base URL of the home that a code leads to.
    ///
    /// # Errors
    /// `bad_argument`: no link code.
    #[wasm_bindgen(js_name = serverOf)]
    pub fn server_of(code: &str) -> Result<String, JsValue> {
        Ok(code.parse::<LinkCode>().map_err(Failure::argument)?.server)
    }

    /// With a code that another device shows, at the home that greeted with `hello`; called `name`.
    ///
    /// # Errors
    /// `bad_argument`, `bad_answer`, `too_large`.
    #[wasm_bindgen(constructor)]
    pub fn new(hello: &[u8], code: &str, name: &str) -> Result<Self, JsValue> {
        let code: LinkCode = code.parse().map_err(Failure::argument)?;
        let home = greeting(hello)?.node;
        let device = NewDevice::new(code, name, &mut draw).map_err(Failure::from)?;
        let frame = device.request(1, &mut draw);
        Ok(Self { device, home, frame, handle: String::new() })
    }

    /// What to send.
    pub fn frame(&self) -> Uint8Array {
        bytes_of(&self.frame)
    }

    /// To be compared with those of the other device.
    #[wasm_bindgen(getter)]
    pub fn digits(&self) -> String {
        self.device.digits()
    }

    /// Takes a frame of the home; the first rows once the other device has said yes.
    ///
    /// # Errors
    /// What the home refused; `bad_answer`.
    pub fn answered(&mut self, frame: &[u8], key: &[u8], now_ms: f64) -> Result<Option<Rows>, JsValue> {
        let vault = Vault::new(key)?;
        match frame_of(frame)? {
            ServerFrame::LinkAnswered { session, sealed } if session == self.device.session => {
                let (rows, handle) = self.device.linked(&sealed, &self.home, now(now_ms)).map_err(Failure::answer)?;
                self.handle = handle.to_string();
                Ok(Some(vault.seal(&rows)))
            }
            ServerFrame::Refused { error, .. } => Err(Failure::from(Error::Refused(error)).into()),
            _ => Ok(None),
        }
    }
}

/// An account that comes back by its recovery code.
#[wasm_bindgen]
pub struct Restore {
    code: RecoveryCode,
    home: NodeId,
    server: String,
    revoke_others: bool,
    restored: Option<RestoredAccount>,
}

#[wasm_bindgen]
impl Restore {
    /// At the home that greeted with `hello`, whose base URL is `server`.
    ///
    /// # Errors
    /// `bad_argument`: no recovery code; `bad_answer`.
    #[wasm_bindgen(constructor)]
    pub fn new(hello: &[u8], server: &str, code: &str, revoke_others: bool) -> Result<Self, JsValue> {
        let code = RecoveryCode::parse(code).map_err(Failure::argument)?;
        Ok(Self { code, home: greeting(hello)?.node, server: server.to_owned(), revoke_others, restored: None })
    }

    /// What to send first.
    pub fn frame(&self) -> Uint8Array {
        bytes_of(&ClientFrame::FetchAccount { id: 1, account: RestoredAccount::account_of(&self.code) })
    }

    /// Takes what the home knows of the account; what to send next.
    ///
    /// # Errors
    /// What the home refused; `not_possible`, `bad_answer`.
    pub fn fetched(&mut self, frame: &[u8]) -> Result<Uint8Array, JsValue> {
        let (log, handle_record) = match frame_of(frame)? {
            ServerFrame::Account { log, handle_record, .. } => (log, handle_record),
            ServerFrame::Refused { error, .. } => return Err(Failure::from(Error::Refused(error)).into()),
            _ => return Err(Failure::answer("expected Account").into()),
        };
        let restored = RestoredAccount::new(&self.code, &seed(), &log, &self.home, self.revoke_others)
            .map_err(|error| Failure::from(Error::NotPossible(error.to_string())))?;
        let next = ClientFrame::Restore { id: 2, handle_record, log: restored.log.log().clone() };
        self.restored = Some(restored);
        Ok(bytes_of(&next))
    }

    /// Takes the answer; the first rows of the device, sealed under `key`.
    ///
    /// # Errors
    /// What the home refused; `bad_answer`.
    pub fn answered(&self, frame: &[u8], key: &[u8], now_ms: f64) -> Result<Rows, JsValue> {
        let vault = Vault::new(key)?;
        let restored = self.restored.as_ref().ok_or_else(|| Failure::argument("expected `fetched` first"))?;
        match frame_of(frame)? {
            ServerFrame::SignedUp { handle_record, org, .. } => {
                let rows = restored.rows(&self.server, handle_record, org, now(now_ms)).map_err(Failure::answer)?;
                Ok(vault.seal(&rows))
            }
            ServerFrame::Refused { error, .. } => Err(Failure::from(Error::Refused(error)).into()),
            _ => Err(Failure::answer("expected SignedUp").into()),
        }
    }
}
