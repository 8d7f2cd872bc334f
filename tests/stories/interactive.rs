//! Two people at their terminals, through the real binary in pseudo-terminals.

use crate::roost::{Node, Person, binary};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read as _, Write};
use std::num::NonZeroU16;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is expected on a screen is there within this.
const DEADLINE: Duration = Duration::from_secs(60);

/// `roost chat --dir C` on a screen.
struct Screen {
    parser: Arc<Mutex<vt100::Parser>>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
}

impl Screen {
    fn open(person: &Person, columns: u16, rows: u16) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(binary());
        command.args(["chat", "--dir", &person.dir.display().to_string()]);
        command.env("TERM", "xterm-256color");
        command.env("TZ", "UTC");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let [height, width] = [rows, columns].map(|size| NonZeroU16::new(size).unwrap());
        let parser = Arc::new(Mutex::new(vt100::Parser::new(height, width, 0)));
        let mut output = pair.master.try_clone_reader().unwrap();
        let keyboard = pair.master.take_writer().unwrap();
        let drawn = Arc::clone(&parser);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = output.read(&mut bytes)
                && count > 0
            {
                drawn.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self { parser, keyboard, child, _master: pair.master }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    fn contents(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until a row of the screen holds all of these.
    fn shows(&self, what: &str, wanted: &[&str]) {
        let start = Instant::now();
        loop {
            let contents = self.contents();
            if contents.lines().any(|row| wanted.iter().all(|text| row.contains(text))) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{what}: {wanted:?} is never in one row of\n{contents}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end; the terminal must be as it was before.
    fn ends(mut self, how: &str) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < DEADLINE, "{how}: it does not end:\n{}", self.contents());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.exit_code(), 0, "{how}: the end is clean:\n{}", self.contents());
        while self.parser.lock().unwrap().screen().alternate_screen() {
            assert!(start.elapsed() < DEADLINE, "{how}: the screen is given back");
            std::thread::sleep(Duration::from_millis(20));
        }
        let parser = self.parser.lock().unwrap();
        assert!(!parser.screen().hide_cursor(), "{how}: the cursor is there");
        assert!(!parser.screen().bracketed_paste(), "{how}: pasting is as before");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whoever has just signed up is published in the background.
fn knows(person: &Person, other: &Person) {
    let start = Instant::now();
    while person.chat(&["safety-number", &other.handle]).code != 0 {
        assert!(start.elapsed() < DEADLINE, "{} is never found", other.handle);
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn alice_and_bob_talk_at_their_terminals() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    // What is read says so instead of that it was delivered.
    bob.chat(&["settings", "--read-receipts", "off"]).ok();
    knows(&alice, &bob);

    let mut at_alice = Screen::open(&alice, 80, 24);
    let mut at_bob = Screen::open(&bob, 80, 24);
    at_alice.shows("the client is up", &["alice@acme", "connected"]);
    at_bob.shows("so is the other", &["bob@birch", "connected"]);
    at_alice.press("/to bob@birch\r");
    at_alice.shows("bob is found", &["bob@birch", "not verified"]);
    at_alice.press("hello bob\r");
    at_alice.shows("what she wrote is shown", &["hello bob"]);
    at_bob.shows("bob is told that something came", &["alice@acme", "(1)"]);
    at_bob.press("\r");
    at_bob.shows("he opens and reads it", &["hello bob"]);
    at_alice.shows("alice sees that it is at his device", &["hello bob", "delivered"]);

    at_bob.press("hello alice\r");
    at_alice.shows("his answer appears by itself", &["hello alice"]);
    at_alice.press("\u{12}");
    at_alice.shows("Ctrl-R answers it", &["Answer to bob@birch: hello alice"]);
    at_alice.press("fine, thanks\r");
    at_bob.shows("the answer quotes what it answers", &["↳ you: hello alice"]);
    at_alice.shows("it is delivered too", &["fine, thanks", "delivered"]);
    at_bob.press("\u{b}1");
    at_alice.shows("a reaction appears with its author", &["👍 bob@birch"]);
    at_alice.press("\u{5}!\r");
    at_bob.shows("a correction appears", &["fine, thanks!", "edited"]);

    at_alice.press("not yet");
    at_alice.shows("a draft", &["not yet"]);
    at_alice.press("\u{11}");
    at_alice.ends("Ctrl-Q");
    let pid = at_bob.child.process_id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success(), "the signal was sent");
    at_bob.ends("SIGTERM");

    // A terminal of half the width shows one thing at a time.
    let mut again = Screen::open(&alice, 40, 12);
    again.shows("the list", &["bob@birch"]);
    again.press("\r");
    again.shows("the draft was kept", &["not yet"]);
    again.press("\u{3}");
    again.ends("Ctrl-C");
    let unread = bob.chat(&["status"]).ok()["unread"].clone();
    assert_eq!(unread, 0, "what was on the screen is read");
    assert_eq!(bob.receive(1, "1s"), [""; 0], "and is shown by no other command again");
}

#[test]
fn without_a_terminal_the_script_commands_are_named() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let alice = acme.person("alice");
    let json = alice.chat(&[]);
    assert_eq!((json.code, json.error_code().as_str()), (2, "json_interactive"), "programs get an error they can read");
    let output = Command::new(binary())
        .args(["chat", "--dir", &alice.dir.display().to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "a usage error: {errors}");
    assert!(errors.contains("chat --dir C send TO TEXT") && errors.contains("recv"), "with what to use: {errors}");
    assert!(output.stdout.is_empty(), "and nothing is drawn");
}
