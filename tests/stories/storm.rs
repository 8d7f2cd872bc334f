//! Many changes at once: admins at five homes want them all in the same moment, while the hub that puts them in order is killed again
//! and again. Each comes true once, chat goes on meanwhile, and all end in one epoch. `ROOST_CHANGES` says how many.

use crate::device::Device;
use crate::roost::Node;
use roost_client::core::GroupChange;
use roost_client::core::message::State;
use roost_protocol::AccountId;
use roost_protocol::conversation::Role;
use roost_protocol::ids::{ConversationId, MessageId};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const HOMES: usize = 5;
/// How long a message may take to its author's home, whose node is up.
const ACCEPTED: Duration = Duration::from_secs(30);

struct Person {
    device: Device,
    account: AccountId,
}

fn person(root: &std::path::Path, node: &Node, name: &str) -> Person {
    let handle = format!("{name}@{}", node.name);
    let (device, account) = Device::sign_up(root, None, (node.url().as_str(), node.invite.as_str()), &handle);
    Person { device, account }
}

/// An admin at each home, the first at the hub's; a member who says something all the time; somebody for each admin to add.
struct Town {
    nodes: Vec<Node>,
    admins: Vec<Person>,
    talker: Person,
    newcomers: Vec<Person>,
    conversation: ConversationId,
}

impl Town {
    fn new(root: &std::path::Path) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for number in 0..HOMES {
            let node = Node::start(root, &format!("org{number}"), &nodes.iter().take(2).collect::<Vec<_>>());
            node.fix_ports();
            nodes.push(node);
        }
        let of = |name: &str| -> Vec<Person> {
            (0..HOMES).map(|number| person(root, &nodes[number], &format!("{name}{number}"))).collect()
        };
        let (admins, newcomers, talker) = (of("admin"), of("new"), person(root, &nodes[2], "carol"));
        let mut members: Vec<String> = admins.iter().skip(1).map(|one| one.device.handle.clone()).collect();
        members.push(talker.device.handle.clone());
        let (intent, conversation) = admins[0]
            .device
            .ask(async |session| session.create_group(&members.iter().map(String::as_str).collect::<Vec<_>>()).await)
            .unwrap();
        admins[0].device.ended(intent, ACCEPTED).expect("it begins");
        for admin in &admins[1..] {
            let change = GroupChange::Role(admin.account, Role::Admin);
            let intent = admins[0].device.change(conversation, change).unwrap();
            admins[0].device.ended(intent, ACCEPTED).expect("they are admins");
        }
        Self { nodes, admins, talker, newcomers, conversation }
    }

    fn everybody(&self) -> impl Iterator<Item = &Person> {
        self.admins.iter().chain(&self.newcomers).chain([&self.talker])
    }

    fn epoch(&self, person: &Person) -> Option<u64> {
        let report = person.device.report(self.conversation)?;
        (report.standing && !report.over).then_some(report.epoch)
    }

    /// The admins' wishes, all at once: each adds somebody, and makes the keys of its own leaf anew as often as is left.
    fn wish(&self, changes: usize) -> Vec<Vec<u64>> {
        let of_admin = |number: usize| -> Vec<u64> {
            let device = &self.admins[number].device;
            let share = changes / HOMES + usize::from(number < changes % HOMES);
            let added = device.add(self.conversation, &[&self.newcomers[number].device.handle]).unwrap();
            let renewals = (1..share.max(1)).map(|_| device.change(self.conversation, GroupChange::Renew).unwrap());
            std::iter::once(added).chain(renewals).collect()
        };
        (0..HOMES).map(of_admin).collect()
    }

    /// Carol says something; it is accepted whatever happens to the hub.
    fn say(&self, said: &mut Vec<MessageId>) {
        let text = format!("message {}", said.len());
        let id = self.talker.device.send(self.conversation, &text).unwrap();
        let reached = self.talker.device.reached(id, State::Accepted, ACCEPTED);
        reached.unwrap_or_else(|error| panic!("{text:?} is not accepted while the hub comes and goes: {error}"));
        said.push(id);
    }
}

#[test]
fn a_hundred_changes_at_once_come_true_once_while_their_hub_is_killed() {
    let changes: usize = std::env::var("ROOST_CHANGES").map_or(25, |count| count.parse().unwrap()).max(HOMES);
    let root = tempfile::tempdir().unwrap();
    let mut town = Town::new(root.path());
    let until = |what: &str, is_true: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !is_true() {
            assert!(start.elapsed() < Duration::from_secs(90), "it never becomes true: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let begun = town.epoch(&town.admins[0]).unwrap();
    until("all see who is an admin", &|| {
        town.admins.iter().chain([&town.talker]).all(|one| town.epoch(one) == Some(begun))
    });

    let start = Instant::now();
    let wishes = town.wish(changes);
    let (mut said, mut kills) = (Vec::new(), 0);
    loop {
        let left: usize =
            town.admins.iter().map(|one| one.device.ask(async |session| session.unsettled().await).unwrap()).sum();
        if left == 0 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60 + 6 * changes as u64), "{left} are left and never end");
        for _ in 0..3 {
            town.say(&mut said);
        }
        town.nodes[0].kill();
        kills += 1;
        town.say(&mut said);
        town.nodes[0].serve();
        // Long enough for something to be put in order, and shorter each time by another part of a second.
        let until = Instant::now() + Duration::from_millis(1_500 + 370 * (kills % 5));
        while Instant::now() < until {
            town.say(&mut said);
        }
    }
    for (admin, wishes) in town.admins.iter().zip(&wishes) {
        for wish in wishes {
            admin
                .device
                .ended(*wish, ACCEPTED)
                .unwrap_or_else(|error| panic!("a wish of {}: {error}", admin.device.handle));
        }
    }
    let wished: usize = wishes.iter().map(Vec::len).sum();
    eprintln!("{wished} changes at once, {kills} kills of the hub, {} messages, {:?}", said.len(), start.elapsed());

    let last = begun + wished as u64;
    until("everybody comes to the last epoch", &|| town.everybody().all(|one| town.epoch(one) >= Some(last)));
    let accounts: BTreeSet<AccountId> = town.everybody().map(|one| one.account).collect();
    let state = |one: &Person| one.device.ask(async |session| session.authenticator(town.conversation).await).unwrap();
    for one in town.everybody() {
        let report = one.device.report(town.conversation).unwrap();
        assert_eq!(report.epoch, last, "each change is one epoch: none is lost, none is made twice");
        let seen: BTreeSet<AccountId> = report.participants.iter().map(|one| one.account).collect();
        assert_eq!(seen, accounts, "{} sees everybody", one.device.handle);
        assert_eq!(state(one), state(&town.talker), "{} is in no fork", one.device.handle);
    }
    for admin in &town.admins {
        until("the admins read all that was said", &|| {
            said.iter().all(|id| admin.device.screen.lock().unwrap().marked.contains(id))
        });
        let screen = admin.device.screen.lock().unwrap();
        assert!(screen.again.is_empty(), "and nothing twice: {:?}", screen.again);
        assert!(screen.handed.values().all(|times| *times == 1), "{} was shown each once", admin.device.handle);
    }
}
