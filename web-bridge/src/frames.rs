//! The two spellings of a frame: CBOR in binary messages, JSON in text messages.
//!
//! Never looks at what a frame means.

use axum::extract::ws::Message;
use axum::http::HeaderMap;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use roost_protocol::codec::{self, CodecError};
use roost_protocol::limits::SOCKET_MESSAGE_BYTES_MAX;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{SOCKET_CBOR, SOCKET_JSON};

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubProtocol {
    /// [`SOCKET_CBOR`].
    Cbor,
    /// [`SOCKET_JSON`].
    Json,
}

/// Why a message is no frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Text on a CBOR connection or bytes on a JSON one.
    #[error("expected a {expected} message, this connection speaks {name}")]
    Kind {
        /// `binary` or `text`.
        expected: &'static str,
        /// The sub-protocol.
        name: &'static str,
    },
    /// Bytes that are no frame.
    #[error("{0}")]
    Cbor(#[from] CodecError),
    /// Text that is no frame.
    #[error("malformed: {0}")]
    Json(#[from] serde_json::Error),
}

impl SubProtocol {
    /// The first of ours in the client's order of preference (RFC 6455 section 1.9); `None` where there is none.
    pub(crate) fn choose(headers: &HeaderMap) -> Option<Self> {
        headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|name| match name.trim() {
                SOCKET_CBOR => Some(Self::Cbor),
                SOCKET_JSON => Some(Self::Json),
                _ => None,
            })
    }

    /// Its name in the handshake.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cbor => SOCKET_CBOR,
            Self::Json => SOCKET_JSON,
        }
    }

    /// Reads a text or binary message.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(crate) fn decode(self, message: &Message) -> Result<ClientFrame, Unreadable> {
        match (self, message) {
            (Self::Cbor, Message::Binary(bytes)) => Ok(codec::decode(bytes, SOCKET_MESSAGE_BYTES_MAX)?),
            (Self::Json, Message::Text(text)) => Ok(serde_json::from_str(text.as_str())?),
            (Self::Cbor, _) => Err(Unreadable::Kind { expected: "binary", name: SOCKET_CBOR }),
            (Self::Json, _) => Err(Unreadable::Kind { expected: "text", name: SOCKET_JSON }),
        }
    }

    /// Writes a frame; `None` would be a bug in a `Serialize`.
    pub(crate) fn encode(self, frame: &ServerFrame) -> Option<Message> {
        match self {
            Self::Cbor => Some(codec::encode(frame)).filter(|bytes| !bytes.is_empty()).map(Message::from),
            Self::Json => serde_json::to_string(frame).ok().map(Message::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_clients_first_known_sub_protocol_wins() {
        let choose = |offer: &'static str| {
            SubProtocol::choose(&HeaderMap::from_iter([(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offer))]))
        };
        assert_eq!(choose("roost.v1.json, roost.v1.cbor"), Some(SubProtocol::Json), "the client's order counts");
        assert_eq!(choose("roost.v9.cbor,roost.v1.cbor"), Some(SubProtocol::Cbor), "unknown ones are passed over");
        assert_eq!(choose("chat"), None, "nothing in common");
    }

    #[test]
    fn deep_or_trailing_text_is_unreadable() {
        let deep = "[".repeat(100_000);
        for text in [deep.as_str(), r#"{"type":"ack","inbox":1} x"#, r#"{"type":"dance","id":1}"#, ""] {
            assert!(SubProtocol::Json.decode(&Message::from(text)).is_err(), "{:.30} is no frame", text);
        }
        let bytes = vec![0x9f; 100_000];
        assert!(SubProtocol::Cbor.decode(&Message::from(bytes)).is_err(), "endless nesting is no frame");
    }
}
