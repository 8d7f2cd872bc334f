//! `roost lookup`: finds an account the way the node's own devices would.

use crate::control::{Answer, Request, ask};
use crate::output::{Failure, Printer};
use roost_protocol::handle::Handle;
use std::path::PathBuf;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Like alice@acme
    #[arg(value_name = "HANDLE")]
    handle: Handle,
    /// The node's directory
    #[arg(long)]
    dir: PathBuf,
}

/// Runs it.
///
/// # Errors
/// [`Failure`]: no node runs, or nobody was found.
pub async fn run(args: Args, out: Printer) -> Result<(), Failure> {
    match ask(&args.dir, &Request::Lookup { handle: args.handle }).await? {
        Some(Answer::Found { account, org_id, peer_id, homes, seq, lookup }) => {
            let value = serde_json::json!({
                "account": account, "org_id": org_id, "peer_id": peer_id, "homes": homes, "seq": seq,
                "source": lookup.source, "hops": lookup.hops, "messages": lookup.messages, "ms": lookup.ms,
            });
            let words = format!(
                "account  {account}\nhome     {}\nfound    {:?}, {} hops, {} messages, {} ms",
                homes.join(", "),
                lookup.source,
                lookup.hops,
                lookup.messages,
                lookup.ms
            );
            out.print(&value, words)
        }
        Some(_) => Err(Failure::failed("internal", "the node answered something else", "are the two of one version?")),
        None => Err(Failure::failed(
            "not_serving",
            "no node serves this directory",
            format_args!("start it: roost serve --dir {}", args.dir.display()),
        )),
    }
}
