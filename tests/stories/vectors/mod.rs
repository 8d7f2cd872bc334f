//! The vectors of `docs/protocol.md`: a file for each thing that MUST be refused, named after its fault, and valid ones beside them.
//!
//! `make` builds every vector from fixed seeds, `run` puts the files on disk through the real code. `ROOST_RENEW_VECTORS=1` writes
//! the files anew. `tests/vectors/README.md` says how another implementation reads them.

pub mod cast;
mod commits;
mod live;
mod make;
mod relay;
mod run;

pub use make::pattern;

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where the files are.
pub const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector {
    /// Section of the specification.
    pub section: String,
    /// What it shows.
    pub what: String,
    /// Which function of an implementation it is for.
    pub kind: String,
    /// What that function is given, by part.
    pub given: Map<String, Value>,
    /// For a fault: the valid vector that differs from this one in exactly one part.
    pub honest: Option<String>,
    /// `{"accept": …}` or `{"refuse": cause}`, with `later` where a home answers.
    pub expect: Value,
}

/// What the real code says.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Taken, with what was read of it.
    Accept(Value),
    /// Refused, and why; `later` where the answer says so.
    Refuse { cause: String, later: Option<bool> },
}

impl Outcome {
    fn refuse(cause: impl Into<String>) -> Self {
        Self::Refuse { cause: cause.into(), later: None }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Accept(fields) => json!({ "accept": fields }),
            Self::Refuse { cause, later: None } => json!({ "refuse": cause }),
            Self::Refuse { cause, later: Some(later) } => json!({ "refuse": cause, "later": later }),
        }
    }
}

impl Vector {
    fn to_text(&self) -> String {
        let mut object = Map::new();
        object.insert("section".into(), json!(self.section));
        object.insert("what".into(), json!(self.what));
        object.insert("kind".into(), json!(self.kind));
        object.insert("given".into(), Value::Object(self.given.clone()));
        if let Some(honest) = &self.honest {
            object.insert("honest".into(), json!(honest));
        }
        object.insert("expect".into(), self.expect.clone());
        format!("{}\n", serde_json::to_string_pretty(&Value::Object(object)).unwrap())
    }

    fn of_text(text: &str) -> Self {
        let Value::Object(mut object) = serde_json::from_str(text).unwrap() else { panic!("a vector is an object") };
        let mut text_of = |name: &str| object.remove(name).map(|value| value.as_str().unwrap().to_owned());
        let (section, what, kind) = (text_of("section").unwrap(), text_of("what").unwrap(), text_of("kind").unwrap());
        let honest = text_of("honest");
        let Some(Value::Object(given)) = object.remove("given") else { panic!("given is an object") };
        let expect = object.remove("expect").unwrap();
        assert!(object.is_empty(), "a vector has no other fields: {object:?}");
        Self { section, what, kind, given, honest, expect }
    }
}

/// All files on disk, by their path without `.json`.
pub fn on_disk() -> BTreeMap<String, Vector> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for item in std::fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => walk(&path, found),
                Some("json") => found.push(path),
                // The reader's manual and a second reader.
                Some("md" | "py") => {}
                _ => panic!("{} is no vector", path.display()),
            }
        }
    }
    let mut files = Vec::new();
    walk(Path::new(DIR), &mut files);
    assert!(files.len() > 100, "the vectors were not read");
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(DIR).unwrap().with_extension("").to_str().unwrap().to_owned();
            (name, Vector::of_text(&std::fs::read_to_string(&path).unwrap()))
        })
        .collect()
}

#[test]
fn the_files_are_what_the_seeds_give_and_none_is_missing_or_unknown() {
    let made = make::all();
    if std::env::var("ROOST_RENEW_VECTORS").is_ok_and(|value| value == "1") {
        let keep: BTreeSet<_> = made.keys().cloned().collect();
        for (name, vector) in &made {
            let path = PathBuf::from(format!("{DIR}/{name}.json"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vector.to_text()).unwrap();
        }
        for name in on_disk().keys().filter(|name| !keep.contains(*name)) {
            std::fs::remove_file(format!("{DIR}/{name}.json")).unwrap();
        }
    }
    let on_disk = on_disk();
    let renew = "ROOST_RENEW_VECTORS=1 cargo nextest run -p roost-tests vectors writes them anew";
    for name in made.keys() {
        assert!(on_disk.contains_key(name), "tests/vectors/{name}.json is missing; {renew}");
    }
    for (name, vector) in &on_disk {
        let expected = made.get(name).unwrap_or_else(|| panic!("tests/vectors/{name}.json is unknown; {renew}"));
        assert_eq!(vector, expected, "tests/vectors/{name}.json is not what its seed gives; {renew}");
    }
}

#[test]
fn a_second_reader_written_from_the_specification_alone_agrees() {
    let run = std::process::Command::new("python3").arg(format!("{DIR}/check.py")).output();
    let required = std::env::var("ROOST_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "python"));
    match run {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the second reader disagrees: {said}");
            println!("{said}");
        }
        Err(error) => {
            assert!(!required, "python3 is required here: {error}");
            println!("skipped: there is no python3 ({error})");
        }
    }
}

#[test]
fn every_vector_has_the_outcome_that_it_names() {
    let mut wrong = Vec::new();
    for (name, vector) in on_disk() {
        let outcome = run::run(&vector).to_json();
        if outcome != vector.expect {
            wrong.push(format!("{name}: expected {}, got {outcome}", vector.expect));
        }
    }
    assert!(wrong.is_empty(), "{} vectors have another outcome:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_refused_vector_without_its_fault_is_accepted() {
    let on_disk = on_disk();
    for (name, vector) in on_disk.iter().filter(|(_, vector)| vector.expect.get("refuse").is_some()) {
        let honest = vector.honest.as_ref().unwrap_or_else(|| panic!("{name} names no valid vector"));
        let valid = on_disk.get(honest).unwrap_or_else(|| panic!("{name} names {honest}, which is no vector"));
        assert!(valid.expect.get("accept").is_some(), "{name}: {honest} is not accepted itself");
        assert_eq!(vector.kind, valid.kind, "{name} and {honest} are for two functions");
        let parts: BTreeSet<_> = vector.given.keys().chain(valid.given.keys()).collect();
        let differ: Vec<_> =
            parts.into_iter().filter(|part| vector.given.get(*part) != valid.given.get(*part)).collect();
        assert_eq!(differ.len(), 1, "{name}: the fault is in one part and nothing else differs, got {differ:?}");
        assert!(!name.starts_with("valid/"), "{name} is refused and stands among the valid ones");
    }
    for (name, vector) in on_disk.iter().filter(|(_, vector)| vector.expect.get("accept").is_some()) {
        assert!(name.starts_with("valid/") && vector.honest.is_none(), "{name} is accepted, so it belongs to valid/");
    }
}
