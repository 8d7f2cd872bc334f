//! Being woken while the page is closed: what the page's session asks of the device.

use crate::device::Device;
use crate::failure::{Failure, to_js};
use roost_client::Error;
use roost_client::core::Recipient;
use roost_client::core::push::PushSubscription;
use roost_protocol::Bytes;
use roost_protocol::ids::PushTag;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

fn failed(error: impl Into<Failure>) -> JsValue {
    error.into().into()
}

#[wasm_bindgen]
impl Device {
    /// Be woken here: what a browser's `PushSubscription` holds. The home is told as soon as it can be.
    ///
    /// # Errors
    /// `not_possible`.
    #[wasm_bindgen(js_name = subscribePush)]
    pub fn subscribe_push(&mut self, endpoint: &str, p256dh: &[u8], auth: &[u8]) -> Result<(), JsValue> {
        let subscription = PushSubscription {
            endpoint: endpoint.to_owned(),
            p256dh: Bytes(p256dh.to_vec()),
            auth: Bytes(auth.to_vec()),
        };
        self.core.set_push(Some(subscription)).map_err(failed)
    }

    /// Be woken no more.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = unsubscribePush)]
    pub fn unsubscribe_push(&mut self) -> Result<(), JsValue> {
        self.core.set_push(None).map_err(failed)
    }

    /// Not to be woken for a conversation, or to be again.
    ///
    /// # Errors
    /// `unknown_person`, `unknown_conversation`, `not_possible`.
    #[wasm_bindgen(js_name = setPushMuted)]
    pub fn set_push_muted(&mut self, of: &str, muted: bool) -> Result<(), JsValue> {
        let of: Recipient = of.trim().parse().map_err(failed)?;
        self.core.set_push_muted(&of, muted).map_err(failed)
    }

    /// How it stands: `{endpoint, known, offered, muted, error}`.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = pushReport)]
    pub fn push_report(&self) -> Result<JsValue, JsValue> {
        Ok(to_js(&self.core.push_report().map_err(failed)?))
    }

    /// Asks for the key that the home proves itself with to push services; `pushKey` is the answer.
    #[wasm_bindgen(js_name = wantPushKey)]
    pub fn want_push_key(&mut self) {
        self.core.want_push_key();
    }

    /// The answer, once; `undefined` until it is there.
    ///
    /// # Errors
    /// What the home refused with.
    #[wasm_bindgen(js_name = pushKey)]
    pub fn push_key(&mut self) -> Result<Option<Vec<u8>>, JsValue> {
        match self.core.push_key() {
            None => Ok(None),
            Some(answer) => Ok(Some(answer.map_err(|error| failed(Error::Refused(error)))?.0)),
        }
    }

    /// Has the home push once; `pushTested` is the answer.
    #[wasm_bindgen(js_name = testPush)]
    pub fn test_push(&mut self) {
        self.core.test_push();
    }

    /// The answer, once: `{leg, status, message}`; `undefined` until it is there.
    ///
    /// # Errors
    /// What the home refused with.
    #[wasm_bindgen(js_name = pushTested)]
    pub fn push_tested(&mut self) -> Result<JsValue, JsValue> {
        match self.core.push_tested() {
            None => Ok(JsValue::UNDEFINED),
            Some(answer) => Ok(to_js(&answer.map_err(|error| failed(Error::Refused(error)))?)),
        }
    }

    /// The conversation of a tag in a push; `undefined` if it is none of ours.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = conversationOfPush)]
    pub fn conversation_of_push(&self, tag: &str) -> Result<Option<String>, JsValue> {
        let Ok(tag) = tag.parse::<PushTag>() else { return Ok(None) };
        Ok(self.core.conversation_of_push(&tag).map_err(failed)?.map(|id| id.to_string()))
    }
}
