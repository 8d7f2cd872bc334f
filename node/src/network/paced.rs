//! A behaviour whose connections are heard at a bounded rate.
//!
//! Kademlia tells of a request only after it was served, and not by whom, so nobody outside it can refuse one. This wraps
//! it: what a connection hands to the behaviour beyond our own questions takes from the connection's allowance, and while
//! that is empty the handler is not polled. Then its streams fill (32 at most) and the peer waits; no other connection
//! notices. Never looks into an event. Implements `docs/protocol.md`, section "Directory records".

use super::rates::Rate;
use governor::DefaultDirectRateLimiter;
use governor::clock::{Clock as _, DefaultClock};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::handler::{ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use std::future::Future as _;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// The behaviour and the rate of each of its connections.
pub(super) struct Paced<B> {
    inner: B,
    rate: Rate,
}

impl<B> Paced<B> {
    pub(super) fn new(inner: B, rate: Rate) -> Self {
        Self { inner, rate }
    }
}

impl<B> Deref for Paced<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for Paced<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Paced<B> {
    type ConnectionHandler = PacedHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(PacedHandler::new(inner, self.rate))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_outbound_connection(connection, peer, address, role, port)?;
        Ok(PacedHandler::new(inner, self.rate))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(context)
    }
}

/// One connection's part.
pub(super) struct PacedHandler<H> {
    inner: H,
    limiter: DefaultDirectRateLimiter,
    /// Our own questions on this connection whose end is still to come: it is not counted.
    own: u32,
    /// An event over the allowance waits for this moment, and everything behind it too.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<H> PacedHandler<H> {
    fn new(inner: H, rate: Rate) -> Self {
        Self { inner, limiter: DefaultDirectRateLimiter::direct(rate.quota()), own: 0, pause: None }
    }
}

impl<H: ConnectionHandler> ConnectionHandler for PacedHandler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let polled = self.inner.poll(context);
        match &polled {
            Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { .. }) => {
                self.own = self.own.saturating_add(1);
            }
            Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(_)) if self.own > 0 => self.own -= 1,
            Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(_)) => {
                // This one is out of the handler already, so it passes; what comes next waits for its cell.
                if let Err(until) = self.limiter.check() {
                    let wait = until.wait_time_from(DefaultClock::default().now());
                    self.pause = Some(Box::pin(tokio::time::sleep(wait)));
                }
            }
            _ => {}
        }
        polled
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(context)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        self.inner.on_connection_event(event);
    }
}
