//! What a traced process read from and wrote to its sockets, joined to streams; frames of devices without their mask.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A trace of `strace -f -xx`.
#[derive(Default)]
pub struct Capture {
    /// Direction, whether it is a file or a socket, and descriptor → all its bytes, in order.
    pub streams: BTreeMap<String, Vec<u8>>,
    /// Payloads of WebSocket frames from devices (RFC 6455 section 5.3).
    pub unmasked: Vec<Vec<u8>>,
    /// Calls that moved more bytes than were read of them: a capture that has any shows nothing by what it lacks.
    pub lost: Vec<String>,
}

impl Capture {
    pub fn read(path: &Path) -> Self {
        Self::of(&std::fs::read_to_string(path).unwrap())
    }

    fn of(text: &str) -> Self {
        let mut capture = Self::default();
        let mut unfinished: HashMap<&str, &str> = HashMap::new();
        for line in text.lines() {
            let Some((process, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some(start) = call.strip_suffix("<unfinished ...>") {
                unfinished.insert(process, start);
                continue;
            }
            let start = if call.starts_with("<... ") { unfinished.remove(process).unwrap_or_default() } else { "" };
            capture.call(start, call);
        }
        capture.unmasked = capture.streams.values().flat_map(|stream| frames(stream)).collect();
        capture
    }

    /// A call that has returned, and how its line began where another thread's came in between.
    fn call(&mut self, start: &str, call: &str) {
        let Some(done) = returned(call) else { return };
        let Some((name, rest)) = (if start.is_empty() { call } else { start }).split_once('(') else {
            self.lost.extend((done > 0).then(|| call.chars().take(80).collect()));
            return;
        };
        let descriptor: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let mut bytes = quoted(start);
        if start.is_empty() || bytes.is_empty() {
            bytes.extend(quoted(call));
        }
        if bytes.len() < done {
            self.lost.push(format!("{name} of {done} bytes, {} read", bytes.len()));
        }
        bytes.truncate(done);
        let direction = if name.starts_with("re") { "read from" } else { "written to" };
        // Files, pipes and the log are read and written; sockets are sent to and received from.
        let what = if matches!(name, "read" | "write") { "file" } else { "socket" };
        self.streams.entry(format!("bytes {direction} {what} {descriptor}")).or_default().extend(bytes);
    }
}

/// What a call returned, unless that is an error. The tracer aligns short lines, and those that it resumes are: between the
/// parenthesis and the sign there may be more than one blank.
fn returned(call: &str) -> Option<usize> {
    let (arguments, done) = call.rsplit_once(" = ")?;
    let done = done.split_whitespace().next()?;
    if arguments.trim_end().ends_with(')') { done.parse().ok() } else { None }
}

/// The bytes of every `"\x61…"` of a line.
fn quoted(line: &str) -> Vec<u8> {
    let strings = line.split('"').skip(1).step_by(2);
    strings.flat_map(|text| text.split("\\x").skip(1)).filter_map(|hex| u8::from_str_radix(hex, 16).ok()).collect()
}

/// The unmasked frames behind each WebSocket handshake of a stream.
fn frames(stream: &[u8]) -> Vec<Vec<u8>> {
    const START: &[u8] = b"GET /v1/socket";
    let starts = (0..stream.len()).filter(|at| stream[*at..].starts_with(START));
    starts.flat_map(|start| frames_of(&stream[start..]).unwrap_or_default()).collect()
}

fn frames_of(connection: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut at = connection.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let mut frames = Vec::new();
    while let Some([first, second]) = connection.get(at..at + 2) {
        let (head, length) = match second & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes(connection.get(at + 2..at + 4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(connection.get(at + 2..at + 10)?.try_into().ok()?)).ok()?),
            short => (2, usize::from(short)),
        };
        // A client's frame is masked and has no reserved bit; anything else is the next connection on this descriptor.
        if second & 0x80 == 0 || first & 0x70 != 0 || length > 1 << 20 {
            break;
        }
        let Some(mask) = connection.get(at + head..at + head + 4) else { break };
        let Some(payload) = connection.get(at + head + 4..at + head + 4 + length) else { break };
        frames.push(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect());
        at += head + 4 + length;
    }
    Some(frames)
}

#[test]
fn no_call_is_lost_because_its_line_is_short_or_was_interrupted() {
    let capture = Capture::of(concat!(
        "101 sendto(7, \"\\x01\\x02\", 2)        = 2\n",
        "101 sendto(7, \"\\x03\\x04\\x05\", 3, MSG_NOSIGNAL, NULL, 0 <unfinished ...>\n",
        "102 recvfrom(8,  <unfinished ...>\n",
        "101 <... sendto resumed>)             = 2\n",
        "101 sendto(7, \"\\x05\", 1, MSG_NOSIGNAL, NULL, 0) = 1\n",
        "102 <... recvfrom resumed>\"\\x09\", 8192, 0, NULL, NULL) = 1\n",
        "102 recvfrom(8, 0x7f, 8192, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)\n",
        "102 --- SIGTERM {si_signo=SIGTERM} ---\n",
        "101 write(7, \"\\x08\", 1)               = 1\n",
        "102 writev(7, [{iov_base=\"\\x06\", iov_len=1}, {iov_base=\"\\x07\", iov_len=1}], 2) = 2\n",
        "102 +++ exited with 0 +++\n",
    ));
    let read = |name: &str| capture.streams.get(name).cloned().unwrap_or_default();
    assert_eq!(read("bytes written to socket 7"), [1, 2, 3, 4, 5, 6, 7], "what was sent, each byte once, in order");
    assert_eq!(read("bytes written to file 7"), [8], "and nothing of a file that had the number before");
    assert_eq!(read("bytes read from socket 8"), [9], "and what came");
    assert!(capture.lost.is_empty(), "nothing is missing: {:?}", capture.lost);
    let cut = Capture::of("101 write(7, \"\\x01\"..., 9) = 9\n");
    assert_eq!(cut.lost, ["write of 9 bytes, 1 read"], "what the tracer cut short is told");
}
