//! One message can be followed through a node by its spans, and they name nobody.

use crate::nodes::{Device, node};
use roost_protocol::socket::ServerFrame;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// A span: its number, its name, its fields as text.
type Step = (u64, &'static str, String);

/// What was seen.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Step>>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl<S: tracing::Subscriber> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().target() == roost_node::way::TARGET {
            let mut fields = String::new();
            attributes.record(&mut Fields(&mut fields));
            self.0.lock().unwrap().push((id.into_u64(), attributes.metadata().name(), fields));
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.lock().unwrap();
        if let Some((_, _, fields)) = spans.iter_mut().rev().find(|(number, _, _)| *number == id.into_u64()) {
            record.record(&mut Fields(fields));
        }
    }
}

impl Seen {
    /// The fields of the spans of a name that hold a text.
    fn named(&self, name: &str, holds: &str) -> Vec<String> {
        let spans = self.0.lock().unwrap();
        spans
            .iter()
            .filter(|(_, is, fields)| *is == name && fields.contains(holds))
            .map(|(_, _, text)| text.clone())
            .collect()
    }
}

fn number<'a>(fields: &'a str, before: &str) -> &'a str {
    fields.split_once(before).unwrap().1.split([']', ' ', ',']).next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_followed_from_the_bridge_to_custody_and_nobody_is_named() {
    let seen = Seen::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(seen.clone())).unwrap();
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 110, &[]).await;
    let birch = node(root.path(), "birch", 120, &[&acme]).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 130).await;
    let mut bob = Device::sign_up(&birch.handle(), "birch", "bob", 140).await;
    let (_, creation) = alice.start_conversation("bob@birch").await;
    bob.entry().await;
    let answer = alice.submit(creation.group, b"a text that nobody may see").await;
    assert!(matches!(answer, ServerFrame::Accepted { .. }), "accepted: {answer:?}");
    let entry = bob.entry().await;

    let bridge = seen.named("bridge", "ways=[").into_iter().next().expect("the bridge's step is there");
    let way = number(&bridge, "ways=[").to_owned();
    assert_eq!(way.len(), 16, "64 bits in hex: {way}");
    let start = Instant::now();
    while seen.named("custody", &way).is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "custody is told under {way}: {:#?}",
            seen.0.lock().unwrap()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let relay = seen.named("relay", &way);
    assert!(relay.len() >= 2, "the sender's relay and the receiver's: {relay:?}");
    // What is delivered once more writes nothing: its batch needs no commit.
    let durable = |step: &&String| {
        let batch = format!("batch={} ", number(step, "batch="));
        !seen.named("commit", &batch).is_empty()
    };
    assert!(relay.iter().filter(durable).count() >= 2, "each of the two batches is made durable: {relay:?}");
    let deliver = seen.named("deliver", &way);
    assert!(deliver.iter().any(|step| step.contains("custody")), "the delivery ended with custody: {deliver:?}");
    assert!(!seen.named("entry", &way).is_empty(), "it goes to bob's device");

    let (account, message) = (alice.account().to_string(), entry.header.message.to_string());
    let bob_account = bob.account().to_string();
    let (group, device) = (creation.group.to_string(), alice.device().to_string());
    let nodes = [acme.handle().node().to_string(), birch.handle().node().to_string()];
    let text = seen.0.lock().unwrap().iter().map(|(_, name, fields)| format!("{name} {fields}\n")).collect::<String>();
    let secrets = [&account, &bob_account, &message, &group, &device, &nodes[0], &nodes[1]];
    for secret in secrets.into_iter().map(String::as_str).chain(["alice", "bob", "acme", "birch", "text"]) {
        assert!(!text.contains(secret), "the spans name {secret}");
    }
    acme.stop().await;
    birch.stop().await;
}
