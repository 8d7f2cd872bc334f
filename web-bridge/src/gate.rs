//! What an address may try before anybody has signed in: accounts made, devices linked, and guesses that fail.
//!
//! Watches the frames of one connection in both directions; never decides whether a sign-in is right. Implements the
//! section "Rates" of `docs/protocol.md`.

use crate::rate::Rates;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Sign-ups of one connection without an answer: a person makes one.
const SIGN_UPS_MAX: usize = 4;

/// One connection's share in its address's allowance.
#[derive(Debug)]
pub(crate) struct Gate {
    address: IpAddr,
    sign_ups: Rates,
    failures: Rates,
    links: Rates,
    /// Ids of sign-ups that were not answered yet.
    asked: Mutex<BTreeSet<u64>>,
}

impl Gate {
    /// For a connection of `address`.
    pub(crate) fn new(address: IpAddr, sign_ups: Rates, failures: Rates, links: Rates) -> Self {
        Self { address, sign_ups, failures, links, asked: Mutex::default() }
    }

    /// A frame of the device, before the home sees it.
    ///
    /// # Errors
    /// `busy`, with the pause.
    pub(crate) fn pass(&self, frame: &ClientFrame, now: Instant) -> Result<(), Refusal> {
        if let ClientFrame::LinkRequest { .. } = frame {
            let taken = self.links.take(self.address, now);
            return taken.map_err(|wait| busy("too many requests of this address to link a device", wait));
        }
        if !matches!(frame, ClientFrame::SignUp { .. } | ClientFrame::Restore { .. } | ClientFrame::SignIn { .. }) {
            return Ok(());
        }
        self.failures
            .check(self.address, now)
            .map_err(|wait| busy("too many failed sign-ins from this address", wait))?;
        if let ClientFrame::SignUp { id, .. } = frame {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.len() >= SIGN_UPS_MAX || asked.contains(id) {
                return Err(busy("sign-ups of this connection are not answered yet", 1_000));
            }
            self.sign_ups
                .take(self.address, now)
                .map_err(|wait| busy("too many new accounts from this address", wait))?;
            asked.insert(*id);
        }
        Ok(())
    }

    /// A frame of the home, on its way to the device.
    pub(crate) fn answered(&self, frame: &ServerFrame, now: Instant) {
        let mut sign_up = |id: &u64| self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        match frame {
            ServerFrame::SignedUp { id, .. } => {
                sign_up(id);
            }
            ServerFrame::Refused { id, error } => {
                if id.as_ref().is_some_and(&mut sign_up) {
                    self.sign_ups.give_back(self.address, now);
                }
                if matches!(error.code, Code::BadSignIn | Code::BadInvite) {
                    // An error means that it is used up already, by another connection's guess.
                    let _ = self.failures.take(self.address, now);
                }
            }
            _ => {}
        }
    }
}

fn busy(message: &str, retry_after_ms: u64) -> Refusal {
    let mut refusal = Refusal::later(Code::Busy, message, "send the same frame after the pause");
    refusal.retry_after_ms = Some(retry_after_ms);
    refusal
}
