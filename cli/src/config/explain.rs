//! Words for a config that does not read: what is wrong, where it comes from, and what was probably meant.

use super::KEYS;
use crate::output::Failure;
use figment::Figment;
use figment::error::Kind;
use figment::value::Dict;

/// Everything that is wrong: the first error, and the unknown keys and wrong types behind it, which the parser does not reach.
pub(super) fn all(figment: &Figment, first: &figment::Error) -> Vec<Failure> {
    let mut faults = vec![one(first)];
    let Ok(values) = figment.extract::<Dict>() else { return faults };
    let unknown = values.keys().filter(|key| !KEYS.contains(&key.as_str()));
    faults.extend(unknown.map(|key| unknown_key(key, KEYS, origin(figment.find_metadata(key)))));
    for (key, result) in [
        ("profile", figment.extract_inner::<super::Profile>("profile").map(drop)),
        ("listen", figment.extract_inner::<Vec<String>>("listen").map(drop)),
        ("web", figment.extract_inner::<String>("web").map(drop)),
        ("metrics", figment.extract_inner::<String>("metrics").map(drop)),
        ("public_url", figment.extract_inner::<String>("public_url").map(drop)),
        ("trusted_proxy", figment.extract_inner::<bool>("trusted_proxy").map(drop)),
        ("origins", figment.extract_inner::<Vec<String>>("origins").map(drop)),
        ("bootstrap", figment.extract_inner::<Vec<String>>("bootstrap").map(drop)),
        ("registration", figment.extract_inner::<super::Registration>("registration").map(drop)),
        ("region", figment.extract_inner::<String>("region").map(drop)),
        ("push", figment.extract_inner::<super::Push>("push").map(drop)),
        ("blobs", figment.extract_inner::<super::BlobsConfig>("blobs").map(drop)),
        ("name", figment.extract_inner::<String>("name").map(drop)),
    ] {
        if let Err(error) = result
            && values.contains_key(key)
        {
            faults.push(one(&error));
        }
    }
    let mut told = Vec::new();
    faults.retain(|fault| {
        let new = !told.contains(&fault.message);
        told.push(fault.message.clone());
        new
    });
    faults
}

fn one(error: &figment::Error) -> Failure {
    let origin = origin(error.metadata.as_ref());
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(key, known) => unknown_key(key, known, origin),
        Kind::UnknownVariant(value, known) => {
            let hint = match nearest(value, known) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("write one of {}", known.join(", ")),
            };
            let message = format_args!("{path}: {value:?} is none of {} ({origin})", known.join(", "));
            Failure::usage("unknown_value", message, hint)
        }
        Kind::InvalidType(actual, expected) => {
            let message = format_args!("{path}: expected {expected}, got {actual} ({origin})");
            Failure::usage("wrong_type", message, form(expected))
        }
        Kind::MissingField(key) => {
            let hint = if key == "name" { "add it: name = \"acme\"" } else { "add it" };
            Failure::usage("missing_key", format_args!("the key {key:?} is missing"), hint)
        }
        kind if path.is_empty() => {
            let hint = "the file is TOML: key = \"text\", key = [\"one\", \"two\"]";
            Failure::usage("syntax", format_args!("{kind} ({origin})"), hint)
        }
        kind => Failure::usage("config", format_args!("{path}: {kind} ({origin})"), "correct it there"),
    }
}

fn unknown_key(key: &str, known: &[&str], origin: &str) -> Failure {
    let hint = match nearest(key, known) {
        Some(name) => format!("did you mean {name:?}?"),
        None => format!("known are {}", known.join(", ")),
    };
    Failure::usage("unknown_key", format_args!("unknown key {key:?} in {origin}"), hint)
}

fn form(expected: &str) -> &'static str {
    if expected.contains("sequence") {
        "a list: [\"…\", \"…\"]"
    } else if expected.contains("bool") {
        "true or false, without quotes"
    } else if expected.contains("u64") {
        "a number, without quotes"
    } else if expected.contains("string") {
        "text in quotes"
    } else if expected.contains("map") {
        "a table: [pins] and lines like birch = \"…\""
    } else {
        "correct it there"
    }
}

fn origin(metadata: Option<&figment::Metadata>) -> &'static str {
    metadata.map_or("the config", |metadata| {
        if metadata.name.contains("TOML") {
            "config.toml"
        } else if metadata.name.contains("environment") {
            "the environment"
        } else {
            "the flags"
        }
    })
}

/// The known word that a wrong one most resembles, if it does.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|name| (strsim::jaro_winkler(word, name), *name));
    scored.filter(|(score, _)| *score > 0.75).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}
