//! What a traced process read from and wrote to its sockets, joined to streams; frames of devices without their mask.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A trace of `strace -f -xx`.
pub struct Capture {
    /// Descriptor and direction → all its bytes, in order.
    pub streams: BTreeMap<String, Vec<u8>>,
    /// Payloads of WebSocket frames from devices (RFC 6455 section 5.3).
    pub unmasked: Vec<Vec<u8>>,
}

impl Capture {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut streams: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut unfinished: HashMap<&str, &str> = HashMap::new();
        for line in text.lines() {
            let Some((process, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some(start) = call.strip_suffix("<unfinished ...>") {
                unfinished.insert(process, start);
                continue;
            }
            let start = if call.starts_with("<... ") { unfinished.remove(process).unwrap_or_default() } else { "" };
            let Some((name, rest)) = (if start.is_empty() { call } else { start }).split_once('(') else { continue };
            let descriptor: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let Some(done) = call
                .rsplit_once(") = ")
                .and_then(|(_, done)| done.split_whitespace().next().and_then(|count| count.parse::<usize>().ok()))
            else {
                continue;
            };
            let mut bytes = quoted(start);
            if start.is_empty() || bytes.is_empty() {
                bytes.extend(quoted(call));
            }
            bytes.truncate(done);
            let direction = if name.starts_with("re") { "read from" } else { "written to" };
            streams.entry(format!("bytes {direction} descriptor {descriptor}")).or_default().extend(bytes);
        }
        let unmasked = streams.values().flat_map(|stream| frames(stream)).collect();
        Self { streams, unmasked }
    }
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
