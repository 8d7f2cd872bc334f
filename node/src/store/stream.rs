//! Export and import: one JSON object a line, bytes as lower-case hex.
//!
//! ```text
//! {"roost_store_export":1}
//! {"k":"6162","v":"00ff"}
//! {"rows":1,"crc32":"89abcdef"}
//! ```
//! Rows ascend strictly by key; the last line counts them and carries the CRC-32 of all row lines, so a cut or changed export is refused.
//! Only this exact spelling is read. It never knows which engine it reads or fills.

use std::io::{self, BufRead};

use super::{Batch, KEY_BYTES_MAX, Read, StoreError, VALUE_BYTES_MAX};

const HEADER: &str = "{\"roost_store_export\":1}\n";
/// Rows read from the store at a time: at most 64 values in memory.
const PAGE_ROWS: usize = 64;
/// Bytes committed at a time while importing: what the storage sheet gives one group commit.
const IMPORT_BATCH_BYTES: usize = 1024 * 1024;
/// The longest line, in bytes: the largest row in hex and its punctuation.
const LINE_BYTES_MAX: u64 = 2 * (KEY_BYTES_MAX as u64 + VALUE_BYTES_MAX as u64) + 64;

/// Writes all rows of `store`; returns their number.
pub(super) fn export_rows(store: &dyn Read, out: &mut dyn io::Write) -> Result<u64, StoreError> {
    let stream = |source| StoreError::Stream { source };
    out.write_all(HEADER.as_bytes()).map_err(stream)?;
    let (mut rows, mut crc) = (0_u64, crc32fast::Hasher::new());
    // Greater than every legal key.
    let end = [0xFF_u8; KEY_BYTES_MAX + 1];
    let mut cursor = Vec::new();
    loop {
        let page = store.scan(&cursor, &end, PAGE_ROWS)?;
        let Some((last, _)) = page.last() else { break };
        cursor.clone_from(last);
        cursor.push(0);
        for (key, value) in &page {
            let line = format!("{{\"k\":\"{}\",\"v\":\"{}\"}}\n", to_hex(key), to_hex(value));
            crc.update(line.as_bytes());
            out.write_all(line.as_bytes()).map_err(stream)?;
            rows = rows.saturating_add(1);
        }
    }
    out.write_all(trailer(rows, crc).as_bytes()).map_err(stream)?;
    out.flush().map_err(stream)?;
    Ok(rows)
}

/// Reads rows and hands them to `commit` in batches; returns their number.
pub(super) fn import_rows(
    input: &mut dyn io::Read,
    commit: &mut dyn FnMut(Batch) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut input = io::BufReader::new(input);
    let mut line_number = 1_u64;
    if next_line(&mut input)? != HEADER.as_bytes() {
        return Err(StoreError::Format { line: line_number });
    }
    let (mut rows, mut crc) = (0_u64, crc32fast::Hasher::new());
    let (mut batch, mut batch_bytes) = (Batch::new(), 0_usize);
    let mut previous: Option<Vec<u8>> = None;
    loop {
        line_number = line_number.saturating_add(1);
        let malformed = || StoreError::Format { line: line_number };
        let line = next_line(&mut input)?;
        let Some((key, value)) = parse_row(&line) else {
            if line != trailer(rows, crc).as_bytes() || !next_line(&mut input)?.is_empty() {
                return Err(malformed());
            }
            break;
        };
        if previous.as_ref().is_some_and(|previous| *previous >= key) {
            return Err(malformed());
        }
        crc.update(&line);
        rows = rows.saturating_add(1);
        batch_bytes = batch_bytes.saturating_add(key.len()).saturating_add(value.len());
        previous = Some(key.clone());
        batch.put(key, value);
        if batch_bytes >= IMPORT_BATCH_BYTES {
            commit(std::mem::take(&mut batch))?;
            batch_bytes = 0;
        }
    }
    commit(batch)?;
    Ok(rows)
}

fn trailer(rows: u64, crc: crc32fast::Hasher) -> String {
    format!("{{\"rows\":{rows},\"crc32\":\"{:08x}\"}}\n", crc.finalize())
}

/// The next line with its newline; empty at the end of the stream.
fn next_line(input: &mut impl BufRead) -> Result<Vec<u8>, StoreError> {
    let mut line = Vec::new();
    io::Read::take(input, LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .map_err(|source| StoreError::Stream { source })?;
    Ok(line)
}

fn parse_row(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let fields = std::str::from_utf8(line).ok()?.strip_prefix("{\"k\":\"")?.strip_suffix("\"}\n")?;
    let (key, value) = fields.split_once("\",\"v\":\"")?;
    Some((from_hex(key)?, from_hex(value)?))
}

fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0F)]).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some((nibble(*high)? << 4) | nibble(*low)?)).collect()
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
