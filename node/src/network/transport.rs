//! The transport: TCP, Noise, yamux, a new local port for each connection that this node opens, and a count of what passes.
//!
//! libp2p would dial from the port that it listens on, which helps only peers behind a NAT. For a server it costs: two nodes that
//! dial each other at once make one TCP connection of which both believe that they opened it, and it fails; and while another
//! process holds that port on any local address every dial fails. Implements `docs/protocol.md`, section "Node network".

use super::NetworkError;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::{Multiaddr, PeerId, Transport, identity, noise, tcp, yamux};
use prometheus_client::metrics::counter::Counter;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Streams of one connection; more than the layers above open together.
const YAMUX_STREAMS_MAX: usize = 128;

/// Connections that are encrypted and carry many streams.
///
/// # Errors
/// [`NetworkError::Transport`].
pub(super) fn encrypted(
    keypair: &identity::Keypair,
    traffic: Traffic,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetworkError> {
    let noise = noise::Config::new(keypair).map_err(|error| NetworkError::Transport(error.to_string()))?;
    let mut muxer = yamux::Config::default();
    muxer.set_max_num_streams(YAMUX_STREAMS_MAX);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    Ok(FreshPort(tcp)
        .map(move |stream, _| Counted { stream, traffic })
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(muxer)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed())
}

/// Dials from a port that the system chooses.
struct FreshPort<T>(T);

impl<T: Transport + Unpin> Transport for FreshPort<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<T::Dial, TransportError<T::Error>> {
        self.0.dial(address, DialOpts { port_use: PortUse::New, ..options })
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TransportEvent<T::ListenerUpgrade, T::Error>> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// Bytes that pass the TCP connections between nodes, as they are on the wire without TCP's own.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    pub(crate) inbound: Counter,
    pub(crate) outbound: Counter,
}

/// A connection whose bytes are counted.
struct Counted<S> {
    stream: S,
    traffic: Traffic,
}

fn count(counter: &Counter, passed: &Poll<io::Result<usize>>) {
    if let Poll::Ready(Ok(bytes)) = passed {
        counter.inc_by(u64::try_from(*bytes).unwrap_or(0));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        count(&self.traffic.inbound, &read);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        count(&self.traffic.outbound, &written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        count(&self.traffic.outbound, &written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
