//! The bytes of one exchange between nodes: a length (4 bytes, big-endian), then that many bytes of CBOR.
//!
//! Never allocates by a length that somebody claims: the bound is checked first, and the buffer grows with what arrives.
//! Implements `docs/protocol.md`, section "Between nodes".

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response;
use roost_protocol::codec;
use roost_protocol::limits::NODE_MESSAGE_BYTES_MAX;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// A request, and what it took on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The request.
    pub(super) request: NodeRequest,
    /// Bytes read, without the length; 0 for one of ours.
    pub(super) bytes: usize,
}

impl From<NodeRequest> for Asked {
    fn from(request: NodeRequest) -> Self {
        Self { request, bytes: 0 }
    }
}

/// Length-prefixed CBOR of [`NodeRequest`] and [`NodeResponse`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeCodec;

impl request_response::Codec for NodeCodec {
    type Protocol = StreamProtocol;
    type Request = Asked;
    type Response = NodeResponse;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Asked>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (request, bytes) = read(io).await?;
        Ok(Asked { request, bytes })
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<NodeResponse>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(read(io).await?.0)
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, asked: Asked) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &asked.request).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: NodeResponse) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response).await
    }
}

/// Reads one message of an exchange: the value, and the bytes it took.
///
/// # Errors
/// `InvalidData` for a length over the bound and for bytes that are not this value ([`codec::CodecError`] inside),
/// `UnexpectedEof` for fewer bytes than announced.
pub async fn read<V: DeserializeOwned, T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<(V, usize)> {
    let mut prefix = [0; 4];
    io.read_exact(&mut prefix).await?;
    let length = u32::from_be_bytes(prefix);
    if usize::try_from(length).map_or(true, |length| length > NODE_MESSAGE_BYTES_MAX) {
        let text = format!("expected at most {NODE_MESSAGE_BYTES_MAX} bytes, got {length}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = Vec::new();
    io.take(u64::from(length)).read_to_end(&mut bytes).await?;
    if u32::try_from(bytes.len()) != Ok(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    codec::decode(&bytes, NODE_MESSAGE_BYTES_MAX)
        .map(|value| (value, bytes.len()))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

async fn write<V: Serialize, T: AsyncWrite + Unpin + Send>(io: &mut T, value: &V) -> io::Result<()> {
    let bytes = codec::encode(value);
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= NODE_MESSAGE_BYTES_MAX);
    let Some(length) = length else {
        let text = format!("expected at most {NODE_MESSAGE_BYTES_MAX} bytes, got {}", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    // In one write: each is a frame of its own, sealed and sent.
    let framed = [&length.to_be_bytes()[..], &bytes].concat();
    io.write_all(&framed).await?;
    io.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;
    use roost_protocol::AccountId;

    #[test]
    fn a_request_survives_the_wire_and_its_first_bytes_are_its_length() {
        let request = NodeRequest::Log { account: AccountId([7; 32]) };
        let mut wire = Vec::new();
        block_on(write(&mut wire, &request)).unwrap();
        assert_eq!(
            u32::from_be_bytes(wire[..4].try_into().unwrap()) as usize,
            wire.len() - 4,
            "the prefix counts what follows"
        );
        let length = wire.len() - 4;
        let (read, bytes): (NodeRequest, _) = block_on(read(&mut Cursor::new(wire))).unwrap();
        assert_eq!(read, request, "what is read is what was written");
        assert_eq!(bytes, length, "and its bytes are counted");
    }

    #[test]
    fn a_claimed_length_over_the_bound_a_short_body_and_trailing_bytes_are_refused() {
        let outcome =
            |wire: Vec<u8>| block_on(read::<NodeRequest, _>(&mut Cursor::new(wire))).map_err(|error| error.kind());
        assert_eq!(outcome(vec![0xff; 64]), Err(io::ErrorKind::InvalidData), "4 GiB are refused by their length alone");
        assert_eq!(outcome(vec![0, 0, 0, 9, 1]), Err(io::ErrorKind::UnexpectedEof), "a short body is refused");
        let mut body = codec::encode(&NodeRequest::Log { account: AccountId([7; 32]) });
        body.push(0);
        let mut wire = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        wire.extend(body);
        assert_eq!(outcome(wire), Err(io::ErrorKind::InvalidData), "bytes behind the value are refused");
    }
}
