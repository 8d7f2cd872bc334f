//! What one chunk of the archive holds once it is opened.

use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::ids::DeviceId;
use roost_protocol::limits;
use serde::{Deserialize, Serialize};

/// Sizes of chunks are multiples of this, bytes: a home does not see how much was said.
const PADDING_BYTES: usize = 1024;

/// A row as some device had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArchivedRow {
    pub key: Bytes,
    pub value: Bytes,
}

/// Rows, and whose they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub device: DeviceId,
    pub rows: Vec<ArchivedRow>,
}

/// As it is sealed.
#[derive(Serialize, Deserialize)]
struct Padded {
    chunk: Chunk,
    padding: Bytes,
}

impl Chunk {
    pub fn encode(self) -> Vec<u8> {
        let mut padded = Padded { chunk: self, padding: Bytes(Vec::new()) };
        let bare = codec::encode(&padded).len();
        // The length of the padding costs up to four bytes itself, so the last multiple may be missed by as much.
        padded.padding = Bytes(vec![0; PADDING_BYTES.saturating_sub(bare % PADDING_BYTES).saturating_sub(4)]);
        codec::encode(&padded)
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode::<Padded>(bytes, limits::ARCHIVE_CHUNK_BYTES_MAX).ok().map(|padded| padded.chunk)
    }
}
