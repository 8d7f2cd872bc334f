//! Builds every vector from fixed seeds. A fault is its valid vector with one part replaced.

mod commits;
mod devices;
mod homes;
mod hubs;
mod kinds;
mod records;
mod wire;

pub use wire::pattern;

use super::{Vector, run};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// All vectors, by path.
pub fn all() -> BTreeMap<String, Vector> {
    let mut maker = Maker::default();
    wire::make(&mut maker);
    records::make(&mut maker);
    homes::make(&mut maker);
    hubs::make(&mut maker);
    commits::make(&mut maker);
    kinds::make(&mut maker);
    devices::make(&mut maker);
    maker.all
}

/// What was made so far.
#[derive(Default)]
pub struct Maker {
    all: BTreeMap<String, Vector>,
}

impl Maker {
    /// A valid vector; what it is read as is written down.
    pub fn valid(&mut self, name: &str, section: &str, what: &str, kind: &str, given: Value) {
        let Value::Object(given) = given else { panic!("given is an object") };
        let mut vector = Vector {
            section: section.into(),
            what: what.into(),
            kind: kind.into(),
            given,
            honest: None,
            expect: Value::Null,
        };
        vector.expect = run::run(&vector).to_json();
        assert!(vector.expect.get("accept").is_some(), "valid/{name} is refused: {}", vector.expect);
        self.add(format!("valid/{name}"), vector);
    }

    /// The valid vector `honest` with one part replaced: refused for `cause`.
    pub fn fault(&mut self, name: &str, what: &str, honest: &str, (part, value): (&str, Value), cause: &str) {
        self.refused(name, what, honest, (part, value), json!({ "refuse": cause }));
    }

    /// The same, where a home answers: the cause is the refusal's code.
    pub fn refusal(
        &mut self,
        name: &str,
        what: &str,
        honest: &str,
        (part, value): (&str, Value),
        (code, later): (&str, bool),
    ) {
        self.refused(name, what, honest, (part, value), json!({ "refuse": code, "later": later }));
    }

    fn refused(&mut self, name: &str, what: &str, honest: &str, (part, value): (&str, Value), expect: Value) {
        let honest = format!("valid/{honest}");
        let mut vector = self.all.get(&honest).unwrap_or_else(|| panic!("{name} names {honest}")).clone();
        vector.what = what.into();
        assert!(vector.given.insert(part.into(), value).is_some(), "{name}: {part} is a part of {honest}");
        vector.honest = Some(honest);
        vector.expect = expect;
        self.add(name.into(), vector);
    }

    fn add(&mut self, name: String, vector: Vector) {
        assert!(self.all.insert(name.clone(), vector).is_none(), "{name} is made twice");
    }
}
