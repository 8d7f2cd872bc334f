//! The JSON Schema of the socket's frames, made from the types: `docs/socket.schema.json` is the same, and what the
//! specification shows fits it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use jsonschema::Validator;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{SOCKET_JSON, VERSION};
use schemars::SchemaGenerator;
use serde_json::{Value, json};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

fn schema() -> Value {
    let mut generator = SchemaGenerator::default();
    generator.subschema_for::<ClientFrame>();
    generator.subschema_for::<ServerFrame>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("{SOCKET_JSON}: one frame, one text message"),
        "description": "Made from the code. A device sends ClientFrame, its home ServerFrame. New fields and types may come: \
                        ignore fields you do not know, skip events you do not know. docs/protocol.md says what they mean.",
        "version": VERSION,
        "anyOf": [{ "$ref": "#/$defs/ClientFrame" }, { "$ref": "#/$defs/ServerFrame" }],
        "$defs": generator.take_definitions(true),
    })
}

/// For the frames of one side.
fn validator(of: &str) -> Validator {
    let mut schema = schema();
    schema["anyOf"] = json!([{ "$ref": format!("#/$defs/{of}") }]);
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn the_committed_schema_is_what_the_types_say() {
    let path = format!("{DOCS}/socket.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/socket.schema.json is old; renew it: RENEW=1 cargo nextest run -p roost-protocol the_committed_schema"
    );
}

#[test]
fn the_transcript_of_the_specification_fits_the_schema_and_the_types() {
    let frames = transcript();
    let types: Vec<&str> = frames.iter().map(|(_, frame)| frame["type"].as_str().unwrap()).collect();
    for expected in ["hello", "sign_in", "signed_in", "resume", "done", "submit", "accepted"] {
        assert!(types.contains(&expected), "the transcript shows {expected}: {types:?}");
    }
    let (device, home) = (validator("ClientFrame"), validator("ServerFrame"));
    for (by_device, frame) in frames {
        let side = if by_device { &device } else { &home };
        let errors: Vec<String> = side.iter_errors(&frame).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{frame} does not fit: {errors:?}");
        let read = if by_device {
            serde_json::from_value::<ClientFrame>(frame.clone()).map(|read| serde_json::to_value(read).unwrap())
        } else {
            serde_json::from_value::<ServerFrame>(frame.clone()).map(|read| serde_json::to_value(read).unwrap())
        };
        assert_eq!(read.expect("a frame reads"), frame, "and comes back as it was");
    }
}

#[test]
fn a_refusal_fits_and_frames_with_one_fault_do_not() {
    let home = validator("ServerFrame");
    for code in Code::ALL {
        let error = Refusal { retry_after_ms: Some(5), ..Refusal::later(*code, "no", "wait") };
        let frame = serde_json::to_value(ServerFrame::Refused { id: None, error }).unwrap();
        assert!(home.is_valid(&frame), "{frame} fits");
    }
    let device = validator("ClientFrame");
    let submit = json!({
        "type": "submit", "id": 3, "group": "11".repeat(32), "epoch": 1, "message": "01".repeat(16), "attempt": 0,
        "payload": "c2VhbGVk", "a_field_of_a_later_version": true,
    });
    assert!(device.is_valid(&submit), "unknown fields are allowed: {submit}");
    let faults = [
        ("type", json!("dance")),
        ("id", json!(-1)),
        ("id", json!("3")),
        ("group", json!("AA".repeat(32))),
        ("group", json!("11".repeat(31))),
        ("payload", json!("c2VhbGVk==")),
        ("epoch", json!(null)),
        ("attempt", json!(1.5)),
    ];
    for (field, value) in faults {
        let mut faulty = submit.clone();
        faulty[field] = value;
        assert!(!device.is_valid(&faulty), "{field} is wrong, yet it fits: {faulty}");
        assert!(serde_json::from_value::<ClientFrame>(faulty.clone()).is_err(), "and it reads: {faulty}");
    }
    for field in ["id", "group", "epoch", "message", "attempt", "payload"] {
        let mut faulty = submit.clone();
        faulty.as_object_mut().unwrap().remove(field);
        assert!(!device.is_valid(&faulty), "{field} is missing, yet it fits");
    }
    assert!(!home.is_valid(&submit), "a device's frame is none of the home's");
}

/// The frames of the sign-in transcript, each with whether the device sends it; `…` is filled from the full text elsewhere.
fn transcript() -> Vec<(bool, Value)> {
    let text = std::fs::read_to_string(format!("{DOCS}/protocol.md")).unwrap();
    let behind = text.split_once("**Sign-in.**").expect("the section is there").1;
    let block = behind.split_once("```\n").unwrap().1.split_once("```").unwrap().0;
    let mut frames: Vec<(bool, String)> = Vec::new();
    let mut in_frame = false;
    for line in block.lines() {
        let begins =
            [("> ", true), ("< ", false)].into_iter().find_map(|(mark, by)| Some((by, line.strip_prefix(mark)?)));
        if let Some((by_device, rest)) = begins {
            frames.push((by_device, rest.to_owned()));
            in_frame = true;
        } else if line.trim_start().starts_with("signed:") {
            in_frame = false;
        } else if let Some((_, frame)) = frames.last_mut().filter(|_| in_frame) {
            frame.push_str(line.trim());
        }
    }
    let full: Vec<String> =
        block.split('"').filter(|part| !part.contains('…') && part.len() >= 32).map(str::to_owned).collect();
    let frames: Vec<(bool, Value)> = frames
        .into_iter()
        .map(|(by_device, text)| {
            let filled: Vec<String> = text.split('"').map(|part| fill(part, &full)).collect();
            let text = filled.join("\"");
            (by_device, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
        })
        .collect();
    assert!(frames.len() >= 7, "the transcript was found: {}", frames.len());
    frames
}

fn fill(part: &str, full: &[String]) -> String {
    let Some((start, end)) = part.split_once('…') else { return part.to_owned() };
    let found = full.iter().find(|text| text.starts_with(start) && text.ends_with(end));
    found.unwrap_or_else(|| panic!("{part} is printed in full nowhere in the transcript")).clone()
}
