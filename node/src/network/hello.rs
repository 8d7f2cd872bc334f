//! `Hello`: what a peer must show before its requests are heard.
//!
//! Pure: checks only; who sends it and when is the event loop's. Implements `docs/protocol.md`, section "Between nodes".

use roost_protocol::peer::NodeHello;
use roost_protocol::records::OrgRecord;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::{NodeId, VERSION};

/// Checks a peer's `Hello` at `now_s` (seconds since 1970): a common version, and a signed, counter-signed
/// organisation record that lists the peer.
///
/// # Errors
/// The refusal to answer with; [`Code::Version`] also ends the connection.
pub fn check(peer: &NodeId, hello: &NodeHello, now_s: u64) -> Result<OrgRecord, Refusal> {
    if !hello.versions.contains(&VERSION) {
        let message = format!("this node speaks version {VERSION}, the peer {:?}", hello.versions);
        return Err(Refusal::never(Code::Version, message, "update the older of the two nodes"));
    }
    let record = hello.org.verify(now_s).map_err(|error| {
        let message = format!("the organisation record does not verify: {error}");
        Refusal::later(Code::Malformed, message, "renew the organisation record and check the clock")
    })?;
    if record.nodes.iter().any(|node| node.node == *peer) {
        Ok(record)
    } else {
        let message = "the organisation record does not list this node";
        Err(Refusal::later(Code::Malformed, message, "publish an organisation record with this node in it"))
    }
}

/// The answer to whatever comes before `Hello`.
pub(super) fn first() -> Refusal {
    Refusal::later(Code::Version, "no Hello was exchanged on this connection", "send Hello first")
}
