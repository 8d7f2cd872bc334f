//! `roost chat` without a subcommand: the interactive client in a terminal.
//!
//! The loop here joins the terminal and the session to the model, and decides nothing: `keys` are what the terminal says,
//! `model` what they do, `work` what the session is asked, `snapshot` what it answers, `view` what is drawn.

#[cfg(test)]
mod desk;
mod editor;
mod help;
mod keys;
mod layout;
mod model;
mod snapshot;
mod stamp;
mod style;
mod terminal;
mod text;
mod transcript;
mod view;
mod work;

use crate::output::{Failure, now_ms};
use crossterm::event::EventStream;
use futures::StreamExt as _;
use jiff::tz::TimeZone;
use model::{Input, Model};
use roost_client::Session;
use std::io::IsTerminal as _;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;
use terminal::Screen;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, Sleep, interval, sleep};
use work::Work;

/// What alters within this is one look at the session.
const REFRESH_WAIT: Duration = Duration::from_millis(30);
/// After this long what is written is on disk.
const PAUSE: Duration = Duration::from_secs(1);
/// What was read or written just before the end gets this long to leave.
const LEAVE_WAIT: Duration = Duration::from_secs(1);

/// Runs it until the person goes.
///
/// # Errors
/// [`Failure`]: exit 2 where there is no terminal, or JSON was asked for.
pub async fn run(dir: &Path, passphrase_file: Option<&Path>, json: bool) -> Result<(), Failure> {
    check(json, std::io::stdin().is_terminal() && std::io::stdout().is_terminal())?;
    let session = Session::open(dir, passphrase_file).await?;
    let done = talk(&session).await;
    if done.is_ok() && session.status().await.is_ok_and(|status| status.connected) {
        // What does not leave in time goes when the directory is next in use.
        let _ = session.settled(LEAVE_WAIT).await;
    }
    let closed = session.close().await;
    match done {
        // What ended the session says more than that it ended.
        Err(failure) if failure.code == "closed" => Err(closed.err().map_or(failure, Failure::from)),
        Err(failure) => Err(failure),
        Ok(()) => Ok(closed?),
    }
}

/// Whether there is somebody to show it to.
fn check(json: bool, is_terminal: bool) -> Result<(), Failure> {
    let hint = "for scripts there are `roost chat --dir C send TO TEXT`, `recv` and `history`; see `roost chat --help`";
    if json {
        return Err(Failure::usage("json_interactive", "the interactive client prints no JSON", hint));
    }
    if !is_terminal {
        return Err(Failure::usage("not_a_terminal", "the interactive client needs a terminal", hint));
    }
    Ok(())
}

async fn talk(session: &Session) -> Result<(), Failure> {
    let mut ends = Ends::new()?;
    let mut screen = Screen::open().map_err(Failure::io("taking the terminal over"))?;
    let size = screen.size().map_err(Failure::io("asking the terminal for its size"))?;
    let mut model = Model::new(size, TimeZone::system(), now_ms());
    let mut work = Work::new(session);
    let mut events = EventStream::new();
    let mut alterations = session.alterations();
    let mut refresh: Option<Pin<Box<Sleep>>> = None;
    let mut pause = interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while let Some(effect) = model.poll_effect() {
            if let Some(notice) = work.begin(effect) {
                model.handle(Input::Notice(notice), now_ms());
            }
        }
        if model.is_over() {
            return Ok(work.finish().await?);
        }
        let (width, height) = screen.size().map_err(Failure::io("asking the terminal for its size"))?;
        if model.size() != (width, height) {
            model.handle(Input::Size(width, height), now_ms());
        }
        screen.draw(&model).map_err(Failure::io("drawing"))?;
        let due = async {
            match &mut refresh {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    if let Some(key) = keys::key(event) {
                        model.handle(Input::Key(key), now_ms());
                    }
                }
                Some(Err(error)) => return Err(Failure::io("reading the terminal")(error)),
                None => model.handle(Input::Key(keys::Key::Ctrl('q')), now_ms()),
            },
            done = work.next() => {
                for input in done? {
                    model.handle(input, now_ms());
                }
            }
            message = session.recv() => {
                let message = message?;
                work.received(message.conversation, message.id);
                model.handle(Input::Received(message.conversation), now_ms());
            }
            () = due => {
                refresh = None;
                model.handle(Input::Altered, now_ms());
            }
            altered = alterations.next() => {
                altered?;
                refresh.get_or_insert_with(|| Box::pin(sleep(REFRESH_WAIT)));
            }
            _ = pause.tick() => model.handle(Input::Pause, now_ms()),
            () = ends.next() => model.handle(Input::Key(keys::Key::Ctrl('q')), now_ms()),
        }
    }
}

/// What ends the client from outside, as cleanly as a key.
struct Ends {
    terminated: Signal,
    hung_up: Signal,
}

impl Ends {
    fn new() -> Result<Self, Failure> {
        let of = |kind| signal(kind).map_err(Failure::io("listening for signals"));
        Ok(Self { terminated: of(SignalKind::terminate())?, hung_up: of(SignalKind::hangup())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminated.recv() => {}
            _ = self.hung_up.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_it_says_what_scripts_use() {
        assert_eq!(check(false, true), Ok(()), "with one it begins");
        let no_terminal = check(false, false).unwrap_err();
        assert_eq!((no_terminal.exit.code(), no_terminal.code.as_str()), (2, "not_a_terminal"), "a usage error");
        for command in ["send TO TEXT", "recv", "history"] {
            assert!(no_terminal.hint.contains(command), "the hint names {command}: {}", no_terminal.hint);
        }
        let json = check(true, true).unwrap_err();
        assert_eq!((json.exit.code(), json.code.as_str()), (2, "json_interactive"), "JSON is for programs");
    }
}
