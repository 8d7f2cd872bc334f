//! The one binary of Roost. It parses, calls the crates, prints and exits; it decides nothing that is worth a test elsewhere.

mod commands;
mod config;
mod control;
mod interactive;
mod outgoing;
mod output;
mod picture;
mod qr;

use clap::{Parser, Subcommand};
use commands::{account, bench, chat, check, init, invite, lookup, serve, testnet};
use output::{Exit, Failure, Printer};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Tasks that still run when a command is done get this long.
const RUNTIME_WAIT: Duration = Duration::from_millis(500);

/// Chat between organisations without a centre, sealed from end to end.
#[derive(Debug, Parser)]
#[command(name = "roost", version, arg_required_else_help = true)]
struct Cli {
    /// One JSON object a line on stdout, errors as JSON on stderr
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a node's directory: keys, config, a first invite
    Init(init::Args),
    /// Run the node of a directory
    Serve(serve::Args),
    /// Tell what is wrong with a node's directory (exit 0 ok, 1 warnings, 2 failures)
    Check(check::Args),
    /// Make an invite to sign up with
    Invite(invite::Args),
    /// Find an account by its handle, as a node does
    Lookup(lookup::Args),
    /// A user's account
    Account(account::Args),
    /// Send and receive messages
    Chat(chat::Args),
    /// Many organisations on this machine
    Testnet(testnet::Args),
    /// What Roost costs on this machine
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.json;
    // On the screen of the interactive client a line of the log would be a stain.
    let drawn = matches!(&cli.command, Command::Chat(args) if args.is_interactive()) && std::io::stderr().is_terminal();
    if !drawn {
        log_to_stderr(json);
    }
    let code = run(cli).unwrap_or_else(|failure| {
        eprintln!("{}", failure.render(json));
        failure.exit.code()
    });
    ExitCode::from(code)
}

fn run(cli: Cli) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::io("starting the runtime"))?;
    let out = Printer { json: cli.json };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Init(args) => init::run(args, out).map(|()| 0),
            Command::Serve(args) => serve::run(args, out).await.map(|()| 0),
            Command::Check(args) => check::run(args, out).await,
            Command::Invite(args) => invite::run(args, out).await.map(|()| 0),
            Command::Lookup(args) => lookup::run(args, out).await.map(|()| 0),
            Command::Account(args) => account::run(args, out).await.map(|()| 0),
            Command::Chat(args) => chat::run(args, out).await.map(|()| 0),
            Command::Testnet(args) => testnet::run(args, out).await,
            Command::Bench(args) => bench::run(args, out).await,
        }
    });
    runtime.shutdown_timeout(RUNTIME_WAIT);
    done
}

/// Help and version are no failures; anything else clap objects to is exit 2, as JSON where that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::from(Exit::Done.code());
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
        let message = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        eprintln!("{}", Failure::usage("usage", message, "see `roost --help`").render(true));
    } else {
        let _ = error.print();
    }
    ExitCode::from(Exit::Usage.code())
}

fn log_to_stderr(json: bool) {
    // Gossipsub warns of what peers send, so a peer could fill the log.
    let filter = EnvFilter::try_from_env("ROOST_LOG").unwrap_or_else(|_| EnvFilter::new("warn,libp2p_gossipsub=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { log.json().init() } else { log.init() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
