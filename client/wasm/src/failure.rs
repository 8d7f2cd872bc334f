//! What is thrown: `{code, message, hint}`, the same words as everywhere.

use roost_client::Error;
use serde::Serialize;
use wasm_bindgen::JsValue;

/// What went wrong, for a person and for a program.
#[derive(Serialize)]
pub struct Failure {
    code: String,
    message: String,
    hint: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: error.code(), message: error.to_string(), hint: error.hint() }
    }
}

impl From<roost_client::core::DeviceError> for Failure {
    fn from(error: roost_client::core::DeviceError) -> Self {
        Error::from(error).into()
    }
}

impl Failure {
    /// An argument that is none.
    pub fn argument(what: impl std::fmt::Display) -> Self {
        Self { code: "bad_argument".into(), message: what.to_string(), hint: "see the types of the package".into() }
    }

    /// The home said something that does not verify.
    pub fn answer(what: impl std::fmt::Display) -> Self {
        Error::BadAnswer(what.to_string()).into()
    }
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> Self {
        to_js(&failure)
    }
}

/// A value as a plain object.
pub fn to_js<T: Serialize + ?Sized>(value: &T) -> JsValue {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).unwrap_or(JsValue::UNDEFINED)
}
