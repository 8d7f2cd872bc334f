//! `docs/protocol.md`, the code and the vectors say the same: sections, limits, codes, labels, names, fields, proofs and examples.

mod examples;

use crate::vectors;
use roost_crypto::labels;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Crates whose sources are the product.
const CRATES: [&str; 7] = ["crypto", "protocol", "client", "node", "web-bridge", "testnet", "cli"];

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn specification() -> String {
    read("docs/protocol.md")
}

/// Every source file of the crates and of the stories.
fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for item in std::fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    for name in CRATES {
        walk(Path::new(&format!("{ROOT}/{name}/src")), &mut found);
    }
    walk(Path::new(&format!("{ROOT}/tests/stories")), &mut found);
    assert!(found.len() > 80, "the sources were not read");
    found
}

/// The text of a section, without its heading.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    let heading = format!("\n## {name}\n");
    let start = text.find(&heading).unwrap_or_else(|| panic!("there is no section {name}")) + heading.len();
    text[start..].split("\n## ").next().unwrap()
}

/// The cells of every table row of a text.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('|').trim().to_owned()).collect()
    };
    text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|--")).map(cells).collect()
}

/// The content of a cell that is one code word.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|word| !word.contains('`'))
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

#[test]
fn every_section_that_a_module_header_names_exists() {
    let text = specification();
    let headings: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut named = 0;
    for (path, source) in sources() {
        let header: Vec<_> = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
        let header = header.join(" ");
        for mention in header.split("`docs/protocol.md`, section").skip(1) {
            for name in quoted(mention.split(". ").next().unwrap()) {
                assert!(headings.contains(name), "{}: docs/protocol.md has no section {name:?}", path.display());
                named += 1;
            }
        }
    }
    assert!(named >= 25, "module headers name their sections, found {named}");
}

#[test]
fn every_limit_stands_in_the_specification_with_its_value() {
    let source = read("protocol/src/limits.rs");
    let mut limits = BTreeMap::new();
    for line in source.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, rest) = line.split_once(':').unwrap();
        let expression = rest.split_once('=').unwrap().1.trim().trim_end_matches(';');
        let number = |factor: &str| match factor.trim().replace('_', "").parse::<u64>() {
            Ok(number) => number,
            Err(_) => limits[&factor.trim().to_lowercase()],
        };
        let terms = expression.split(" - ").map(|term| term.split('*').map(number).product::<u64>());
        let value = terms.reduce(|minuend, subtrahend| minuend - subtrahend).unwrap();
        limits.insert(name.to_lowercase(), value);
    }
    let text = specification();
    let mut told = BTreeMap::new();
    for row in rows(section(&text, "Limits")) {
        if let (Some(name), Ok(value)) = (code(&row[0]), row[1].replace(',', "").parse::<u64>()) {
            assert!(row[2].len() > 10, "{name} says what it is and why");
            told.insert(name.to_owned(), value);
        }
    }
    assert_eq!(told, limits, "docs/protocol.md, section Limits, and protocol/src/limits.rs");
}

#[test]
fn every_refusal_code_stands_in_the_specification_with_its_meaning() {
    let source = read("protocol/src/refusal.rs");
    let body = source.split("pub enum Code {").nth(1).unwrap().split("\n}").next().unwrap();
    let mut codes = BTreeMap::new();
    let mut doc = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            doc = text.to_owned();
        } else if let Some(variant) = line.strip_suffix(',') {
            codes.insert(snake(variant), std::mem::take(&mut doc));
        }
    }
    let text = specification();
    let told: BTreeMap<_, _> = rows(section(&text, "Refusals"))
        .into_iter()
        .filter_map(|row| Some((code(&row[0])?.to_owned(), row[1].clone())))
        .collect();
    assert_eq!(told, codes, "docs/protocol.md, section Refusals, and protocol/src/refusal.rs");
}

#[test]
fn every_label_stands_in_the_specification_and_in_one_table_of_the_code() {
    let text = specification();
    let told: BTreeSet<_> =
        rows(section(&text, "Labels")).iter().filter_map(|row| Some(code(&row[0])?.to_owned())).collect();
    let known: BTreeSet<_> = labels::ALL.iter().map(|label| (*label).to_owned()).collect();
    assert_eq!(told, known, "docs/protocol.md, section Labels, and crypto/src/labels.rs");
    for (path, source) in sources() {
        // The symbolic twin has a label of its own: nothing of it ever meets a key or the wire.
        if path.ends_with("labels.rs")
            || path.ends_with("symbolic.rs")
            || path.to_string_lossy().contains("/tests/stories/")
        {
            continue;
        }
        let product = source.split("#[cfg(test)]").next().unwrap();
        assert!(!product.contains("\"roost/1/"), "{}: a label outside crypto/src/labels.rs", path.display());
    }
}

#[test]
fn the_names_on_the_wire_are_those_of_the_specification() {
    let text = specification();
    let told: BTreeMap<_, _> =
        rows(section(&text, "Versions and names")).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let name = |what: &str| told.get(what).unwrap_or_else(|| panic!("the row {what:?}")).trim_matches('`').to_owned();
    assert_eq!(name("major version"), roost_protocol::VERSION.to_string(), "the major version");
    assert_eq!(name("between nodes"), roost_protocol::NODE_PROTOCOL, "requests between nodes");
    assert_eq!(name("directory"), roost_protocol::KADEMLIA_PROTOCOL, "Kademlia");
    assert_eq!(name("gossip of entries"), roost_protocol::ENTRIES_PROTOCOL, "the prefix of gossipsub for entries");
    assert_eq!(name("device, CBOR"), roost_protocol::SOCKET_CBOR, "the CBOR sub-protocol");
    assert_eq!(name("device, JSON"), roost_protocol::SOCKET_JSON, "the JSON sub-protocol");
    assert_eq!(name("features"), serde_json::to_string(roost_protocol::FEATURES).unwrap(), "features");
    let behaviour = read("node/src/network/behaviour.rs");
    assert!(behaviour.contains(&format!("{:?}.into(), keypair.public()", name("identify"))), "the identify protocol");
}

#[test]
fn every_frame_and_request_has_the_fields_of_the_specification_in_order() {
    let text = specification();
    let socket = read("protocol/src/socket.rs");
    let (to_home, from_home) = (variants(&socket, "ClientFrame"), variants(&socket, "ServerFrame"));
    let table = section(&text, "Between device and home");
    let (mut told_to, mut told_from) = (BTreeMap::new(), BTreeMap::new());
    let mut coming = false;
    for row in rows(table) {
        match row[0].as_str() {
            "to the home" => coming = false,
            "from the home" => coming = true,
            _ if coming => drop(told_from.insert(first_code(&row[0]), words(&row[1]))),
            _ => {
                told_to.insert(first_code(&row[0]), words(&row[1]));
                if let Some((name, fields)) = braced(&row[2]).into_iter().next() {
                    told_from.insert(name, fields);
                }
            }
        }
    }
    told_from.insert("done".into(), vec![]);
    assert_eq!(told_to, without_id(to_home), "frames to the home");
    assert_eq!(told_from, without_id(from_home), "frames from the home");

    let peer = read("protocol/src/peer.rs");
    let mut requests = variants(&peer, "NodeRequest");
    requests.insert("hello".into(), fields(&peer, "NodeHello").unwrap());
    requests.insert("deliver".into(), fields(&peer, "Deliver").unwrap());
    requests.insert("held".into(), fields(&peer, "Held").unwrap());
    // These are one object each, which their sections describe.
    for name in ["create", "commit", "succeed", "equivocation"] {
        requests.remove(name);
    }
    let told: BTreeMap<_, _> = rows(section(&text, "Between nodes"))
        .into_iter()
        .filter_map(|row| Some((code(&row[0])?.to_owned(), list(code(&row[1])?.strip_prefix('{')?.strip_suffix('}')?))))
        .collect();
    assert_eq!(told, requests, "requests between nodes");
}

#[test]
fn every_struct_that_the_specification_spells_out_has_these_fields() {
    let sources: String = sources()
        .into_iter()
        .filter(|(path, _)| {
            path.to_string_lossy().contains("protocol/src") || path.to_string_lossy().contains("crypto/src")
        })
        .map(|(_, source)| source)
        .collect();
    let text = specification();
    let mut seen = BTreeSet::new();
    for (name, told) in braced(&text) {
        if name.starts_with(char::is_uppercase)
            && let Some(fields) = fields(&sources, &name)
        {
            assert_eq!(told, fields, "the fields of {name}");
            seen.insert(name);
        }
    }
    for name in [
        "Signed",
        "LogEntry",
        "HandleRecord",
        "OrgRecord",
        "NameClaim",
        "Creation",
        "ConversationHead",
        "NextEpoch",
        "Successor",
        "EquivocationProof",
        "Entry",
        "Content",
        "Refusal",
    ] {
        assert!(seen.contains(name), "the specification spells out {name}: {seen:?}");
    }
}

#[test]
fn every_rule_names_its_proof_and_every_vector_is_named() {
    let text = specification();
    let on_disk = vectors::on_disk();
    let sources = sources();
    let bridge: String = sources.values().cloned().collect();
    let mut named = BTreeSet::new();
    for part in text.split('[').skip(1) {
        let Some(inside) = part.split(']').next() else { continue };
        if let Some(test) = inside.strip_prefix("test: ").filter(|test| !test.contains(' ') && *test != "name") {
            assert!(bridge.contains(&format!("fn {test}(")), "there is no test {test}");
        }
        for name in inside.split(", ") {
            let is_name = name.split_once('/').is_some_and(|(directory, file)| is_slug(directory) && is_slug(file));
            if is_name {
                assert!(on_disk.contains_key(name), "docs/protocol.md names {name}, which is no vector");
                named.insert(name.to_owned());
            }
        }
    }
    for (name, vector) in &on_disk {
        assert!(text.contains(&format!("\n## {}\n", vector.section)), "{name}: no section {:?}", vector.section);
        assert!(name.starts_with("valid/") || named.contains(name), "docs/protocol.md does not name {name}");
    }
    let mut rules = 0;
    let mut refusing = false;
    for line in text.lines() {
        refusing = line.starts_with("MUST be refused")
            || line.starts_with("The door refuses")
            || (refusing && line.starts_with("- "));
        if refusing && line.starts_with("- ") {
            let proven = line.ends_with(']') || line.ends_with("\" refuses");
            assert!(proven, "a rule names its vector or test, or says [no test]: {line}");
            rules += 1;
        }
    }
    assert!(rules > 80, "the rules were not read: {rules}");
}

#[test]
fn what_the_threat_model_says_is_enforced_by_files_tests_vectors_and_sections_that_exist() {
    let text = read("docs/threat-model.md");
    let specification = specification();
    let (on_disk, sources) = (vectors::on_disk(), sources());
    let source: String = sources.values().cloned().collect();
    let bridge = |path: &str| Path::new(&format!("{ROOT}/{path}")).exists();
    let (mut proofs, mut files) = (0, 0);
    for part in text.split('[').skip(1) {
        for proof in part.split(']').next().unwrap().split(", ") {
            if let Some(test) = proof.strip_prefix("test: ") {
                assert!(source.contains(&format!("fn {test}(")), "the threat model names a test {test}");
                proofs += 1;
            } else if proof.split_once('/').is_some_and(|(directory, file)| is_slug(directory) && is_slug(file)) {
                assert!(on_disk.contains_key(proof), "the threat model names a vector {proof}");
                proofs += 1;
            }
        }
    }
    for word in text.split('`').skip(1).step_by(2).filter(|word| word.contains("/src/")) {
        assert!(bridge(word), "the threat model names a file {word}");
        files += 1;
    }
    for name in text.split("section \"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(specification.contains(&format!("\n## {name}\n")), "the threat model names a section {name}");
    }
    let mut denying = false;
    for line in text.lines() {
        denying = line.starts_with("*cannot*") || (denying && (line.starts_with("- ") || line.starts_with("  ")));
        if denying && line.starts_with("- ") && !line.contains("forced") {
            let enforced = line.contains('[') || line.contains('`') || line.contains("kept") || line.contains("paper");
            assert!(enforced, "a cannot says how it is enforced: {line}");
        }
    }
    assert!(proofs > 50 && files > 10, "the threat model was not read: {proofs} proofs, {files} files");
}

fn is_slug(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Names of a list such as `a, b?, c: {…}`.
fn list(text: &str) -> Vec<String> {
    let mut depth = 0;
    let flat: String = text
        .chars()
        .filter(|letter| {
            depth += i32::from(*letter == '{');
            let keep = depth == 0;
            depth -= i32::from(*letter == '}');
            keep
        })
        .collect();
    flat.split(',')
        .map(|name| name.split(':').next().unwrap().trim().trim_end_matches('?').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Every `Name {a, b}` in code of a text.
fn braced(text: &str) -> Vec<(String, Vec<String>)> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| {
            let (name, rest) = code.split_once(" {")?;
            let inside = rest.strip_suffix('}')?;
            name.chars()
                .all(|letter| letter.is_alphanumeric() || letter == '_')
                .then(|| (name.to_owned(), list(inside)))
        })
        .collect()
}

/// The lower-case code words of a cell, outside parentheses and up to a colon.
fn words(cell: &str) -> Vec<String> {
    let mut depth = 0;
    let flat: String = cell
        .chars()
        .filter(|letter| {
            depth += i32::from(*letter == '(');
            let keep = depth == 0;
            depth -= i32::from(*letter == ')');
            keep
        })
        .collect();
    let words = flat.split('`').skip(1).step_by(2);
    words
        .filter(|word| word.chars().all(|letter| letter.is_lowercase() || letter.is_ascii_digit() || letter == '_'))
        .filter(|word| *word != "id" && word.starts_with(char::is_lowercase))
        .map(str::to_owned)
        .collect()
}

fn first_code(cell: &str) -> String {
    cell.split('`').nth(1).unwrap().to_owned()
}

fn without_id(frames: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    frames
        .into_iter()
        .map(|(name, fields)| (name, fields.into_iter().filter(|field| field != "id").collect()))
        .collect()
}

/// The fields of a struct, from its source.
fn fields(source: &str, name: &str) -> Option<Vec<String>> {
    let body = source.split(&format!("pub struct {name} {{")).nth(1)?.split("\n}").next()?;
    Some(
        body.lines()
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next().map(str::to_owned))
            .collect(),
    )
}

/// The variants of an enum and their fields, from its source.
fn variants(source: &str, name: &str) -> BTreeMap<String, Vec<String>> {
    let body = source.split(&format!("pub enum {name} {{")).nth(1).unwrap().split("\n}").next().unwrap();
    let mut variants = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines().filter(|line| !line.trim().starts_with("//") && !line.trim().starts_with('#')) {
        let depth = line.len() - line.trim_start().len();
        let word: String =
            line.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        match depth {
            4 if !word.is_empty() => {
                current = snake(&word);
                variants.insert(current.clone(), vec![]);
            }
            8 if !word.is_empty() => variants.get_mut(&current).unwrap().push(word),
            _ => {}
        }
    }
    variants
}
