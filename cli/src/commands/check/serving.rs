//! What a node that runs says of itself, and whether its listeners answer.

use super::Check;
use crate::control::{Answer, Request, ask};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The listeners are on this machine.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// A difference of clocks that people should know of; at five minutes nodes refuse each other.
const SKEW_S_WARNED: u64 = 60;

/// The node, its peers, its record and name in the directory, the clocks of others.
pub(super) async fn node(dir: &Path, ready: bool) -> Vec<Check> {
    if !ready {
        return vec![Check::warning("node", "starts or stops", "wait, then check again")];
    }
    let mut checks = vec![Check::ok("node", "serves")];
    match ask(dir, &Request::Health).await {
        Ok(Some(Answer::Health { org_id, peers, own_record, claimants, peer_clock_ahead_s, listen })) => {
            checks.push(match peers {
                0 => Check::warning("peers", "no other node is connected", "is a bootstrap node up and reachable?"),
                some => Check::ok("peers", format_args!("{some} connected; listens on {}", listen.join(", "))),
            });
            checks.push(match own_record {
                Some(0) if peers > 0 => {
                    Check::warning("record", "only this node was asked for our own record", "check again in a minute")
                }
                Some(asked) => Check::ok("record", format_args!("found in the directory, {asked} requests")),
                None => {
                    let hint = "it is published at start and every six hours; look at the log for why it was not";
                    Check::failed("record", "the organisation's own record is not in the directory", hint)
                }
            });
            checks.push(name(&org_id, &claimants));
            checks.push(if peer_clock_ahead_s > SKEW_S_WARNED {
                let detail = format!("a peer's clock was {peer_clock_ahead_s} s ahead of this machine's");
                Check::warning(
                    "skew",
                    detail,
                    "compare this machine's clock with NTP; at 300 s nodes refuse each other",
                )
            } else {
                Check::ok("skew", "no peer's clock is far ahead of this machine's")
            });
        }
        Ok(_) => checks.push(Check::failed("peers", "the node answered something else", "are the two of one version?")),
        Err(failure) => checks.push(Check::failed("peers", failure.message, failure.hint)),
    }
    checks
}

fn name(own: &str, claimants: &[String]) -> Check {
    let others: Vec<&str> = claimants.iter().map(String::as_str).filter(|claimant| *claimant != own).collect();
    if others.is_empty() {
        return Check::ok("name", "no other organisation claims it");
    }
    let detail = format!("ours is {own}; also claimed by {}", others.join(", "));
    Check::failed("name", detail, "whoever means us pins our id: [pins] in their config; or take another name")
}

pub(super) async fn bridge(web: Option<String>) -> Check {
    let Some(web) = web else {
        return Check::warning("bridge", "does not listen yet", "wait, then check again");
    };
    answers("bridge", &web, "/readyz").await
}

pub(super) async fn metrics(metrics: Option<String>) -> Check {
    match metrics {
        Some(at) => answers("metrics", &at, "/metrics").await,
        None => Check::skipped("metrics", "off", "set metrics = \"127.0.0.1:9090\" to show them"),
    }
}

async fn answers(name: &'static str, at: &str, path: &str) -> Check {
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(at).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&start).into_owned())
    };
    let hint = "look at the node's log";
    match tokio::time::timeout(ANSWER_WAIT, exchange).await {
        Ok(Ok(start)) if start == "HTTP/1.1 200" => Check::ok(name, format_args!("answers at {at}")),
        Ok(Ok(start)) => Check::failed(name, format_args!("{path} answers {start:?}"), hint),
        Ok(Err(error)) => Check::failed(name, error, hint),
        Err(_) => Check::failed(name, "does not answer within 3 s", hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::Status;

    #[test]
    fn another_claim_to_the_own_name_is_told_with_both_ids() {
        let alone = name("aa", &["aa".into()]);
        assert_eq!(alone.status, Status::Ok, "our own claim is no conflict");
        let contested = name("aa", &["aa".into(), "bb".into()]);
        assert_eq!(contested.status, Status::Failed, "two claims are a failure");
        assert!(contested.detail.contains("aa") && contested.detail.contains("bb"), "{}", contested.detail);
        assert!(contested.hint.contains("pin"), "and the way out is a pin: {}", contested.hint);
    }
}
