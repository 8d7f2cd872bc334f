//! What is accepted is on the disk: seen from outside, in the system calls of the real binary.

use crate::roost::Node;
use std::process::Command;

#[test]
fn the_kernel_sees_fdatasync_between_submit_and_accepted() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing: `make setup` installs it");
        eprintln!("SKIPPED: strace is not installed; nothing was shown about fdatasync");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.fix_ports();
    let (alice, bob) = (acme.person("alice"), acme.person("bob"));
    alice.chat(&["send", &bob.handle, "first", "--wait", "custody", "--timeout", "20s"]).ok();
    acme.terminate();

    let trace = root.path().join("trace");
    let trace_path = trace.display().to_string();
    // -f: all threads; the socket's text shows which frame is read or written.
    let calls = "trace=fdatasync,fsync,read,write,readv,writev,recvfrom,sendto";
    acme.serve_under(&["strace", "-f", "-s", "4096", "-e", calls, "-o", &trace_path]);
    // JSON shows nothing here: the client speaks CBOR, whose text strings are plain in the trace.
    alice.chat(&["send", &bob.handle, "second", "--wait", "accepted", "--timeout", "20s"]).ok();
    acme.terminate();

    let trace = std::fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let accepted =
        lines.iter().position(|line| line.contains("haccepted")).expect("the frame Accepted was written to the socket");
    let before = &lines[..accepted];
    // The fsync that counts is the last one before Accepted: its batch holds the message. A submission is masked on the
    // wire (RFC 6455 section 5.3), so its arrival is not readable; the store is silent before it, apart from start-up.
    let synced = before.iter().rposition(|line| line.contains("fdatasync") && line.contains("= 0"));
    let challenge = before.iter().rposition(|line| line.contains("hchallenge") || line.contains("ichallenge"));
    assert!(challenge.is_some(), "the trace shows the socket's frames, or the next line would show nothing");
    assert!(synced.is_some(), "the database was synced before the message was called accepted");
    assert!(synced > challenge, "and after the device had connected");
}
