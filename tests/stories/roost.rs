//! The harness: the real binary, its nodes and its people, each ended by its pid when the story ends.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time a command of a story may take.
const DEADLINE: Duration = Duration::from_secs(90);

/// Where `make test` built the binary.
pub fn binary() -> PathBuf {
    let path = match std::env::var_os("ROOST_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("roost"),
    };
    assert!(path.exists(), "{} is missing: build the workspace first", path.display());
    path
}

/// What a command left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub lines: Vec<Value>,
    pub errors: String,
}

impl Outcome {
    /// The first line; the command must have succeeded.
    pub fn ok(self) -> Value {
        assert_eq!(self.code, 0, "the command failed: {}", self.errors);
        self.lines.into_iter().next().expect("the command printed nothing")
    }

    /// The error's code.
    pub fn error_code(&self) -> String {
        let line = self.errors.lines().rev().find(|line| line.starts_with("{\"error\"")).unwrap_or_default();
        let error: Value = serde_json::from_str(line).unwrap_or_default();
        for field in ["code", "message", "hint"] {
            let text = error["error"][field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "an error has a {field}: {}", self.errors);
        }
        error["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// Runs `roost --json …` to its end.
pub fn roost<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Outcome {
    roost_with_input(arguments, "")
}

/// Runs `roost --json …` with text on stdin.
pub fn roost_with_input<S: AsRef<std::ffi::OsStr>>(arguments: &[S], input: &str) -> Outcome {
    let mut child = Command::new(binary())
        .arg("--json")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("a command took longer than {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let _ = writer.join().unwrap();
    let text = reader.join().unwrap().unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    Outcome { code: status.code().unwrap_or(-1), lines, errors: errors.join().unwrap().unwrap() }
}

/// An organisation's node.
pub struct Node {
    pub dir: PathBuf,
    pub name: String,
    pub ready: Value,
    pub invite: String,
    /// The command that each process is run by.
    wrapper: Vec<String>,
    child: Option<Child>,
}

impl Node {
    /// `init` and `serve`.
    pub fn start(root: &Path, name: &str, bootstrap: &[&Node]) -> Self {
        Self::start_as(root, name, bootstrap, &["--profile", "testnet"])
    }

    /// `init` with flags of a story's choice, and `serve`.
    pub fn start_as(root: &Path, name: &str, bootstrap: &[&Node], flags: &[&str]) -> Self {
        Self::start_in(root, name, bootstrap, flags, &[])
    }

    /// The same, with each of its processes run by another command that becomes it.
    pub fn start_in(root: &Path, name: &str, bootstrap: &[&Node], flags: &[&str], wrapper: &[&str]) -> Self {
        let dir = root.join(name);
        let mut arguments =
            vec!["init".to_owned(), "--dir".into(), dir.display().to_string(), "--name".into(), name.into()];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        for node in bootstrap {
            arguments.extend(["--bootstrap".into(), node.address()]);
        }
        let made = roost(&arguments).ok();
        let invite = made["invite"].as_str().unwrap().to_owned();
        let wrapper = wrapper.iter().map(|part| (*part).to_owned()).collect();
        let mut node = Self { dir, name: name.into(), ready: Value::Null, invite, wrapper, child: None };
        node.serve();
        node
    }

    /// `serve`, until the ready line; gives how long that took.
    pub fn serve(&mut self) -> Duration {
        let wrapper = self.wrapper.clone();
        self.serve_under(&wrapper.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// `serve` as the child of another command, such as a tracer.
    pub fn serve_under(&mut self, wrapper: &[&str]) -> Duration {
        let start = Instant::now();
        assert!(self.try_serve_under(wrapper), "no ready line: {}", self.log());
        start.elapsed()
    }

    /// As [`Node::serve_under`]; `false` if the process ends before it is ready.
    pub fn try_serve_under(&mut self, wrapper: &[&str]) -> bool {
        assert!(self.child.is_none(), "the node runs already");
        if let Some(ready) = self.ready.as_object_mut() {
            // Another process's, and perhaps a stranger's by now.
            ready.remove("pid");
        }
        let mut command = match wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        let mut child = command
            .args(["--json", "serve", "--dir"])
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.dir.with_extension("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        self.child = Some(child);
        let Ok(ready) = serde_json::from_str(&line) else { return false };
        self.ready = ready;
        assert_eq!(self.ready["event"], "ready", "serve says that it is ready");
        true
    }

    /// What the last process wrote on stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.with_extension("log")).unwrap()
    }

    /// The end of a process that ends by itself.
    pub fn ended(&mut self, what: &str, within: Duration) -> std::process::ExitStatus {
        let start = Instant::now();
        loop {
            let status = self.child.as_mut().expect("a process was started").try_wait().unwrap();
            if let Some(status) = status {
                self.child = None;
                return status;
            }
            if start.elapsed() > within {
                self.kill();
                panic!("{what}: the node did not end within {within:?}: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A start that does not survive.
    pub fn serve_and_kill(&mut self, after: Duration) {
        let mut child = Command::new(binary())
            .args(["--json", "serve", "--dir"])
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(after);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Ports of the ready line become fixed, so that peers and clients find the node again after a restart.
    pub fn fix_ports(&self) {
        let path = self.dir.join("config.toml");
        let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let strip = |text: &str| text.split("/p2p/").next().unwrap().to_owned();
        let listen: Vec<toml::Value> =
            self.ready["listen"].as_array().unwrap().iter().map(|at| strip(at.as_str().unwrap()).into()).collect();
        let web = self.ready["web"].as_str().unwrap().trim_start_matches("http://").to_owned();
        config.insert("listen".into(), listen.into());
        config.insert("web".into(), web.into());
        std::fs::write(&path, config.to_string()).unwrap();
    }

    pub fn address(&self) -> String {
        let address = self.ready["listen"][0].as_str().unwrap().to_owned();
        let peer = self.ready["peer_id"].as_str().unwrap();
        if address.contains("/p2p/") { address } else { format!("{address}/p2p/{peer}") }
    }

    pub fn url(&self) -> String {
        let web = self.ready["web"].as_str().unwrap();
        if web.starts_with("http") { web.to_owned() } else { format!("http://{web}") }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Under a tracer the node is a grandchild, which the tracer's death would leave behind.
            let node = self.ready["pid"].as_u64().filter(|pid| *pid != u64::from(child.id()));
            if let Some(pid) = node {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; the node must end by itself.
    pub fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = self.ready["pid"].as_u64().expect("the ready line names the pid");
            let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
            assert!(sent.success(), "the signal was sent");
            let start = Instant::now();
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    assert_eq!(status.code(), Some(0), "a drained node exits with 0");
                    break;
                }
                if start.elapsed() > Duration::from_secs(10) {
                    let _ = child.kill();
                    panic!("the node did not drain within 10 s");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Another invite: those that were made before are gone with the store.
    pub fn new_invite(&mut self) {
        let made = roost(&["invite", "--dir", &self.dir.display().to_string(), "--uses", "10"]).ok();
        self.invite = made["invite"].as_str().unwrap().to_owned();
    }

    pub fn person(&self, handle: &str) -> Person {
        let dir = self.dir.with_file_name(format!("{handle}-{}", self.name));
        let made = roost(&[
            "account",
            "create",
            "--server",
            &self.url(),
            "--handle",
            handle,
            "--invite",
            &self.invite,
            "--dir",
            &dir.display().to_string(),
            "--accept-strangers",
        ])
        .ok();
        assert!(made["recovery_code"].as_str().is_some_and(|code| code.len() >= 26), "the code is shown once");
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        Person { dir, handle: text("handle"), recovery_code: text("recovery_code") }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An account's only device.
pub struct Person {
    pub dir: PathBuf,
    pub handle: String,
    pub recovery_code: String,
}

impl Person {
    pub fn chat(&self, arguments: &[&str]) -> Outcome {
        self.chat_with_input(arguments, "")
    }

    pub fn chat_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        let dir = self.dir.display().to_string();
        let mut all = vec!["chat", "--dir", &dir];
        all.extend(arguments);
        roost_with_input(&all, input)
    }

    /// The texts that `recv` shows.
    pub fn receive(&self, count: usize, wait: &str) -> Vec<String> {
        let outcome = self.chat(&["recv", "--count", &count.to_string(), "--wait", wait]);
        outcome.lines.iter().map(|line| line["text"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
