//! A device: inputs, the end of a batch, and what leaves after it.

use crate::draw;
use crate::failure::{Failure, to_js};
use crate::joining::{bytes_of, frame_of};
use crate::vault::{Rows, Vault};
use js_sys::Array;
use roost_client::core::{self, Input, Output};
use roost_protocol::refusal::Refusal;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// Gaps kept for a screen.
const GAPS_MAX: usize = 256;

/// One account's device in this page.
#[wasm_bindgen]
pub struct Device {
    pub(crate) core: core::Device,
    pub(crate) now_ms: u64,
    pub(crate) gaps: VecDeque<Gap>,
    /// Intents that ended since the device was opened, and why those that did not come true.
    pub(crate) ended: BTreeMap<u64, Option<Refusal>>,
    vault: Vault,
}

/// An entry that cannot be shown.
#[derive(Clone, Serialize)]
pub struct Gap {
    pub conversation: Option<String>,
    pub message: String,
    pub reason: &'static str,
}

/// What happened, for the page.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "most events are messages, and few wait at once")]
enum Event {
    /// Something that a screen shows is another than before.
    Changed,
    /// A message to be shown.
    Message { message: roost_client::core::message::ReceivedMessage },
    /// To a lookup.
    LookedUp { handle: String, account: Option<String>, error: Option<Refusal> },
    /// The home knows this device.
    SignedIn,
    /// The account has ended this device.
    Revoked,
    /// A part of a sealed file goes to the home, with this ticket; then `uploaded`.
    Upload { blob: String, bytes: u64, offset: u64, ticket: String },
    /// A part of a sealed file comes from the home, with this ticket; then `downloaded`.
    Download { message: String, blob: String, bytes: u64, offset: u64, ticket: String },
    /// How far a file came has changed: `transfers()` tells.
    Transferred { message: String },
    /// All sealed bytes that were wanted are here, or never will be.
    Fetched { message: String, error: Option<Refusal> },
    /// The sealed bytes of a file that was sent need not be kept any more.
    Unstage { blob: String },
}

/// What leaves once the rows are durable.
#[wasm_bindgen(getter_with_clone)]
pub struct Outputs {
    /// Frames to the home, in their order.
    pub frames: Array,
    /// What happened, for the page.
    pub events: Array,
    /// The connection is to be ended, for this reason.
    pub disconnect: Option<String>,
}

#[wasm_bindgen]
impl Device {
    /// Opens a device from its rows, `keys` and `values` by their place, sealed under `key`.
    ///
    /// # Errors
    /// `wrong_key`, `store`, `internal`.
    #[wasm_bindgen(constructor)]
    pub fn open(keys: &Array, values: &Array, key: &[u8], now_ms: f64) -> Result<Self, JsValue> {
        let vault = Vault::new(key)?;
        let core = core::Device::open(vault.open(keys, values)?).map_err(Failure::from)?;
        let mut device = Self { core, now_ms: 0, gaps: VecDeque::new(), ended: BTreeMap::new(), vault };
        device.time(now_ms);
        Ok(device)
    }

    /// What the clock shows, milliseconds since 1970: for all calls until the next one.
    pub fn time(&mut self, now_ms: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of Date.now()")]
        let now_ms = now_ms as u64;
        self.now_ms = now_ms;
    }

    /// A connection to the home stands.
    ///
    /// # Errors
    /// `internal`: open the device again.
    pub fn connected(&mut self) -> Result<(), JsValue> {
        self.input(Input::Connected)
    }

    /// The connection is gone.
    ///
    /// # Errors
    /// As [`Self::connected`].
    pub fn closed(&mut self) -> Result<(), JsValue> {
        self.input(Input::Closed)
    }

    /// A frame of the home.
    ///
    /// # Errors
    /// `bad_answer`: end the connection; and those of [`Self::connected`].
    pub fn frame(&mut self, bytes: &[u8]) -> Result<(), JsValue> {
        let frame = frame_of(bytes)?;
        self.input(Input::Frame(Box::new(frame)))
    }

    /// Time passed.
    ///
    /// # Errors
    /// As [`Self::connected`].
    pub fn tick(&mut self) -> Result<(), JsValue> {
        self.input(Input::Tick)
    }

    /// Ends the batch: what to store in one transaction before anything leaves.
    ///
    /// # Errors
    /// `internal`: open the device again.
    pub fn finish(&mut self) -> Result<Rows, JsValue> {
        let writes = self.core.finish(&mut draw, self.now_ms).map_err(Failure::from)?;
        Ok(self.vault.seal(&writes))
    }

    /// What leaves, once the rows of [`Self::finish`] are durable.
    pub fn outputs(&mut self) -> Outputs {
        let mut outputs = Outputs { frames: Array::new(), events: Array::new(), disconnect: None };
        while let Some(output) = self.core.poll_output() {
            let event = match output {
                Output::Send(frame) => {
                    outputs.frames.push(&bytes_of(&frame));
                    continue;
                }
                Output::Disconnect(why) => {
                    outputs.disconnect = Some(why);
                    continue;
                }
                Output::Message(message) => Event::Message { message },
                Output::LookedUp(handle, found) => {
                    let (account, error) = match found {
                        Ok(account) => (Some(account.to_string()), None),
                        Err(refusal) => (None, Some(refusal)),
                    };
                    Event::LookedUp { handle: handle.to_string(), account, error }
                }
                Output::Upload { of, offset, ticket } => {
                    Event::Upload { blob: of.blob.to_string(), bytes: of.bytes, offset, ticket: ticket.to_string() }
                }
                Output::Download { message, of, offset, ticket } => Event::Download {
                    message: message.to_string(),
                    blob: of.blob.to_string(),
                    bytes: of.bytes,
                    offset,
                    ticket: ticket.to_string(),
                },
                Output::Transferred(message) => Event::Transferred { message: message.to_string() },
                Output::Fetched(message, ended) => Event::Fetched { message: message.to_string(), error: ended.err() },
                Output::Unstage(blob) => Event::Unstage { blob: blob.to_string() },
                Output::SignedIn => Event::SignedIn,
                Output::Revoked => Event::Revoked,
                Output::Intent(report) => {
                    self.ended.insert(report.intent, report.error);
                    Event::Changed
                }
                Output::Gap { conversation, message, reason } => {
                    if self.gaps.len() >= GAPS_MAX {
                        self.gaps.pop_front();
                    }
                    let conversation = conversation.map(|id| id.to_string());
                    self.gaps.push_back(Gap { conversation, message: message.to_string(), reason });
                    Event::Changed
                }
                _ => Event::Changed,
            };
            outputs.events.push(&to_js(&event));
        }
        outputs
    }

    /// When to call [`Self::tick`], milliseconds since 1970.
    #[wasm_bindgen(js_name = wakeAt)]
    pub fn wake_at(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "times are below 2^53")]
        self.core.wake_at().map(|at| at as f64)
    }

    /// Base URL of the home.
    #[wasm_bindgen(getter)]
    pub fn server(&self) -> String {
        self.core.server().to_owned()
    }

    fn input(&mut self, input: Input) -> Result<(), JsValue> {
        self.core.handle(input, &mut draw, self.now_ms).map_err(|error| Failure::from(error).into())
    }
}
