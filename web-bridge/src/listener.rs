//! TCP connections with a bounded number, a bounded life before they become WebSockets, and a last read behind a close.

use crate::limits::{HTTP_CONNECTION_LIFE, LINGER, LINGER_BYTES_MAX};
use crate::rate::{Place, Places};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Accepts at most so many connections; more are dropped at once, for a queue of them would hide the ones that matter.
pub(crate) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    addresses: Option<Places>,
}

/// One connection.
pub(crate) struct Connection {
    /// Taken only by drop.
    stream: Option<TcpStream>,
    deadline: Option<Pin<Box<Sleep>>>,
    marks: Arc<Marks>,
    place: Option<(OwnedSemaphorePermit, Option<Place>)>,
}

/// What the handlers tell the connection below them.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    upgraded: AtomicBool,
    linger: AtomicBool,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// As the socket has it.
    pub(crate) address: SocketAddr,
    /// Of its connection.
    pub(crate) marks: Arc<Marks>,
}

impl BoundedListener {
    /// Over a bound socket; `addresses` bounds the connections of each address.
    pub(crate) fn new(listener: TcpListener, connections_max: usize, addresses: Option<Places>) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))), addresses }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // axum's own accept waits a second where descriptors have run out.
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let of_address = match &self.addresses {
                None => None,
                Some(places) => match places.enter(address.ip()) {
                    None => continue,
                    some => some,
                },
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                tracing::warn!("all connections are taken; a new one is dropped");
                continue;
            };
            // Frames are small and wait for nothing; where the option fails, they are only later.
            let _ = stream.set_nodelay(true);
            let connection = Connection {
                stream: Some(stream),
                deadline: Some(Box::pin(tokio::time::sleep(HTTP_CONNECTION_LIFE))),
                marks: Arc::default(),
                place: Some((place, of_address)),
            };
            return (connection, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self { address: *stream.remote_addr(), marks: Arc::clone(&stream.io().marks) }
    }
}

impl Marks {
    /// It is a WebSocket now, with time limits of its own.
    pub(crate) fn upgraded(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// The other side still sends; read on for a moment before closing.
    pub(crate) fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }
}

impl Connection {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.marks.upgraded.load(Ordering::Relaxed) {
            self.deadline = None;
        } else if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (Some(mut stream), place) = (self.stream.take(), self.place.take()) else { return };
        if !self.marks.linger.load(Ordering::Relaxed) {
            return;
        }
        // Closing with unread bytes resets the connection, and a reset makes the other side forget what it had received.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = stream.shutdown().await;
                let mut rest = stream.take(LINGER_BYTES_MAX);
                let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
                drop(place);
            });
        }
    }
}
