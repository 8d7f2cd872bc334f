//! Many accounts with several devices each, on nodes of many organisations, in one conversation that changes all the time: people
//! are added, removed and leave, roles and leaves change, devices and nodes are killed and come back, devices are linked, and
//! everybody talks. In the end each message is on each device that may have it, once, and all see one conversation.
//!
//! `ROOST_CROWD=accounts,nodes,devices,changes,seed` says how large, and repeats one; the order of what happens at once is the
//! machine's.

mod ledger;

use crate::device::Device;
use crate::roost::Node;
use ledger::{Held, Ledger, Said};
use roost_client::core::message::State;
use roost_client::core::{ConversationReport, GroupChange};
use roost_client::{Error, Session};
use roost_protocol::AccountId;
use roost_protocol::conversation::Role;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_tests::chronicle::Seeded;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Changes that are under way at once.
const WINDOW: usize = 5;
/// How long one may take: a node may be down meanwhile, and others come first.
const CHANGE: Duration = Duration::from_secs(100);
/// Devices that look at every epoch.
const WATCHERS: usize = 6;
/// Fewer people than this are never left.
const PEOPLE_MIN: usize = 4;

#[derive(Clone, Copy)]
struct Size {
    accounts: usize,
    nodes: usize,
    devices: usize,
    changes: usize,
    seed: u64,
}

impl Size {
    fn wanted() -> Self {
        let text = std::env::var("ROOST_CROWD").unwrap_or_else(|_| "20,5,40,60,1".into());
        let numbers: Vec<u64> = text.split(',').map(|part| part.trim().parse().expect("numbers")).collect();
        let [accounts, nodes, devices, changes, seed] = numbers[..] else {
            panic!("ROOST_CROWD is accounts,nodes,devices,changes,seed, not {text:?}")
        };
        let size = |number| usize::try_from(number).unwrap();
        let (accounts, nodes) = (size(accounts), size(nodes));
        let size = Self { accounts, nodes, devices: size(devices), changes: size(changes), seed };
        assert!(size.accounts > PEOPLE_MIN && size.nodes > 0 && size.devices >= size.accounts, "{text:?} is too small");
        assert!(size.devices <= 3 * size.accounts, "{text:?}: at most three devices an account");
        size
    }

    /// How long everything may take to come to rest.
    fn deadline(self) -> Duration {
        Duration::from_secs(60 + (self.devices * self.changes / 20) as u64)
    }
}

/// A wish that is under way.
struct Wish {
    device: usize,
    life: u64,
    intent: u64,
    what: String,
}

struct Crowd {
    size: Size,
    dice: Seeded,
    nodes: Vec<Node>,
    accounts: Vec<AccountId>,
    handles: Vec<String>,
    devices: Vec<(AccountId, Device)>,
    conversation: ConversationId,
    ledger: Arc<Mutex<Ledger>>,
    wishes: VecDeque<Wish>,
    done: BTreeMap<&'static str, usize>,
    refused: Vec<String>,
    _root: tempfile::TempDir,
}

impl Crowd {
    fn gather(size: Size) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut nodes: Vec<Node> = Vec::new();
        for number in 0..size.nodes {
            let known: Vec<&Node> = nodes.iter().take(2).collect();
            let node = Node::start(root.path(), &format!("org{number}"), &known);
            node.fix_ports();
            nodes.push(node);
        }
        let mut people = Vec::new();
        for number in 0..size.accounts {
            let node = &mut nodes[number % size.nodes];
            if number / size.nodes > 0 && (number / size.nodes).is_multiple_of(9) {
                node.new_invite();
            }
            let (url, invite) = (node.url(), node.invite.clone());
            let path = root.path().to_owned();
            let handle = format!("p{number}@{}", node.name);
            people.push(std::thread::spawn(move || {
                Device::sign_up(&path, None, (url.as_str(), invite.as_str()), &handle)
            }));
            if people.len() % 8 == 0 {
                while people.iter().any(|one| !one.is_finished()) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
        let people: Vec<(Device, AccountId)> = people.into_iter().map(|one| one.join().unwrap()).collect();
        let accounts: Vec<AccountId> = people.iter().map(|(_, account)| *account).collect();
        let handles = people.iter().map(|(device, _)| device.handle.clone()).collect();
        let devices = people.into_iter().map(|(device, account)| (account, device)).collect();
        let conversation = ConversationId([0; 32]);
        let dice = Seeded(size.seed);
        let (ledger, done) = (Arc::default(), BTreeMap::new());
        let (wishes, refused) = (VecDeque::new(), Vec::new());
        Self { size, dice, nodes, accounts, handles, devices, conversation, ledger, wishes, done, refused, _root: root }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.dice.below(bound as u64)).unwrap()
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    /// Half of the second devices are there from the beginning, the others come while the conversation lives.
    fn begin(&mut self) {
        let early = (self.size.devices - self.size.accounts) / 2;
        for number in 0..early {
            self.link(number % self.size.accounts);
        }
        let members: Vec<String> = self.handles.iter().skip(1).step_by(2).cloned().collect();
        let founder = &self.devices[0].1;
        let (intent, conversation) = founder
            .ask(async |session| {
                let members: Vec<&str> = members.iter().map(String::as_str).collect();
                session.create_group(&members).await
            })
            .unwrap();
        founder.ended(intent, CHANGE).expect("the conversation begins");
        self.conversation = conversation;
        for number in 0..self.devices.len() {
            self.attend(number);
        }
        for number in (0..self.size.accounts).filter(|number| number % 2 == 1) {
            self.wait_for(&format!("device {number} is in"), |crowd| crowd.reads(number).is_some());
        }
    }

    /// What a device does by itself, each time it is opened: it looks at epochs, and waits for its messages.
    fn attend(&self, number: usize) {
        let (_, device) = &self.devices[number];
        let conversation = self.conversation;
        if number < WATCHERS {
            let (ledger, name) = (Arc::clone(&self.ledger), device.handle.clone());
            device.spawn(move |session| async move {
                let mut alterations = session.alterations();
                while let Some(report) = report(&session, conversation).await {
                    if let Some(report) = report {
                        ledger.lock().unwrap().saw(&name, &report);
                    }
                    if alterations.next().await.is_err() {
                        break;
                    }
                }
            });
        }
        let open: Vec<MessageId> = {
            let ledger = self.ledger.lock().unwrap();
            let own = ledger.said.iter().filter(|said| said.device == number);
            own.filter(|said| said.to.is_none() && said.refused.is_none()).map(|said| said.id).collect()
        };
        for id in open {
            self.follow(number, id);
        }
    }

    /// Notes in which epoch a message was accepted at the latest, or that it was refused.
    fn follow(&self, number: usize, id: MessageId) {
        let (ledger, conversation) = (Arc::clone(&self.ledger), self.conversation);
        self.devices[number].1.spawn(move |session| async move {
            let reached = session.wait(id, State::Accepted, Duration::from_secs(24 * 3600)).await;
            let epoch = report(&session, conversation).await.flatten().map(|report| report.epoch);
            let mut ledger = ledger.lock().unwrap();
            if let Some(said) = ledger.said.iter_mut().find(|said| said.id == id) {
                match reached {
                    Ok(_) => said.to = epoch,
                    Err(Error::Refused(refusal)) => said.refused = Some(refusal.message),
                    Err(_) => {}
                }
            }
        });
    }

    /// What a device says of the conversation, if it takes part.
    fn reads(&self, number: usize) -> Option<ConversationReport> {
        let (_, device) = &self.devices[number];
        let report = device.report(self.conversation)?;
        self.ledger.lock().unwrap().saw(&device.handle, &report);
        (report.standing && !report.over).then_some(report)
    }

    /// A device of somebody who takes part, and an admin if that is wanted; the founder's always is.
    fn somebody(&mut self, admin: bool) -> (usize, ConversationReport) {
        for _ in 0..50 {
            let number = self.below(self.devices.len());
            let account = self.devices[number].0;
            if let Some(report) = self.reads(number) {
                let role = report.participants.iter().find(|one| one.account == account).map(|one| one.role);
                if role == Some(Role::Admin) || (!admin && role.is_some()) {
                    return (number, report);
                }
            }
        }
        (0, self.reads(0).expect("the founder stays"))
    }

    /// Somebody who takes part, other than the founder and whoever asks.
    fn other(&mut self, report: &ConversationReport, me: usize) -> Option<AccountId> {
        let (founder, me) = (self.accounts[0], self.devices[me].0);
        let others: Vec<AccountId> = report.participants.iter().map(|one| one.account).collect();
        let others: Vec<AccountId> = others.into_iter().filter(|one| *one != founder && *one != me).collect();
        if others.len() < PEOPLE_MIN { None } else { Some(others[self.below(others.len())]) }
    }

    fn wish(&mut self, number: usize, change: GroupChange, what: &'static str) {
        let (_, device) = &self.devices[number];
        let said = format!("{what} by device {number}: {change:?}");
        match device.change(self.conversation, change) {
            Ok(intent) => {
                let life = device.life;
                self.wishes.push_back(Wish { device: number, life, intent, what: said });
                self.count(what);
            }
            // It was removed this moment.
            Err(Error::UnknownConversation) => {}
            Err(error) => panic!("{said}: {error}"),
        }
        while self.wishes.len() > WINDOW {
            self.end_first_wish();
        }
    }

    fn end_first_wish(&mut self) {
        let Some(wish) = self.wishes.pop_front() else { return };
        let (_, device) = &self.devices[wish.device];
        if device.life != wish.life {
            // It goes on in the next session, which tells nothing of wishes before it.
            return;
        }
        match device.ended(wish.intent, CHANGE) {
            Ok(()) => {}
            Err(Error::Refused(refusal)) => self.refused.push(format!("{}: {}", wish.what, refusal.message)),
            Err(error) => {
                let waits = device.ask(async |session| session.intent_error(wish.intent).await);
                panic!("{} never ends: {error}, {waits:?}; repeat: {}", wish.what, self.repeat());
            }
        }
    }

    /// Somebody who takes part says something.
    fn say(&mut self) {
        let (number, report) = self.somebody(false);
        let (account, device) = &self.devices[number];
        let text = format!("message {} of {}", self.ledger.lock().unwrap().said.len(), device.handle);
        // Whoever was removed this moment says nothing.
        let Ok(id) = device.send(self.conversation, &text) else { return };
        let said = Said { id, text, account: *account, device: number, from: report.epoch, to: None, refused: None };
        self.ledger.lock().unwrap().said.push(said);
        self.follow(number, id);
    }

    fn link(&mut self, account: usize) {
        let devices = self.devices.len();
        let linked = self.devices[account].1.link(&format!("device{devices}"));
        self.devices.push((self.accounts[account], linked));
        if self.conversation != ConversationId([0; 32]) {
            self.attend(devices);
        }
        self.count("devices linked");
    }

    fn restart_device(&mut self) {
        let number = self.below(self.devices.len());
        self.devices[number].1.crash();
        self.devices[number].1.open();
        self.attend(number);
        self.count("devices killed");
    }

    fn restart_node(&mut self) {
        let node = self.below(self.nodes.len());
        self.nodes[node].kill();
        for _ in 0..3 {
            self.say();
        }
        self.nodes[node].serve();
        self.count("nodes killed");
    }

    fn change(&mut self) {
        match self.below(100) {
            0..22 => {
                let (number, report) = self.somebody(true);
                let out: Vec<String> = self
                    .accounts
                    .iter()
                    .zip(&self.handles)
                    .filter(|(account, _)| report.participants.iter().all(|one| one.account != **account))
                    .map(|(_, handle)| handle.clone())
                    .collect();
                if !out.is_empty() {
                    let (first, count) = (self.below(out.len()), 1 + self.below(2));
                    let handles = out.iter().cycle().skip(first).take(count.min(out.len()));
                    let handles = handles.map(|handle| handle.parse().unwrap()).collect();
                    self.wish(number, GroupChange::Add(handles), "adds");
                }
            }
            22..36 => {
                let (number, report) = self.somebody(true);
                if let Some(whom) = self.other(&report, number) {
                    self.wish(number, GroupChange::Remove(vec![whom]), "removes");
                }
            }
            36..46 => {
                let (number, report) = self.somebody(false);
                let account = self.devices[number].0;
                if account != self.accounts[0] && report.participants.len() > PEOPLE_MIN {
                    let conversation = self.conversation;
                    let left = self.devices[number].1.ask(async |session| session.leave_group(conversation).await);
                    if left.is_ok() {
                        self.ledger.lock().unwrap().leaving.push((account, report.epoch));
                        self.count("leaves");
                    }
                }
            }
            46..58 => {
                let (number, report) = self.somebody(true);
                if let Some(whom) = self.other(&report, number) {
                    let role = report.participants.iter().find(|one| one.account == whom).map(|one| one.role);
                    let role = if role == Some(Role::Admin) { Role::Member } else { Role::Admin };
                    self.wish(number, GroupChange::Role(whom, role), "roles");
                }
            }
            58..76 => {
                let (number, _) = self.somebody(false);
                self.wish(number, GroupChange::Renew, "renewals");
            }
            76..90 => self.restart_device(),
            _ => self.restart_node(),
        }
    }

    fn live(&mut self) {
        let missing = self.size.devices - self.devices.len();
        for number in 0..self.size.changes {
            self.change();
            self.say();
            // The missing devices come evenly over the time.
            let linked = self.devices.len() + missing - self.size.devices;
            if linked < missing * (number + 1) / self.size.changes {
                self.link(self.devices.len() % self.size.accounts);
            }
        }
        while !self.wishes.is_empty() {
            self.end_first_wish();
        }
    }

    /// What is not as it will be, or as others see it.
    fn unrest(&self) -> Vec<String> {
        let mut found = Vec::new();
        let conversation = self.conversation;
        let state = |device: &Device| device.ask(async |session| session.authenticator(conversation).await).unwrap();
        let founder = &self.devices[0].1;
        let (Some(last), reference) = (self.reads(0), state(founder)) else {
            return vec!["the founder takes no part".into()];
        };
        for (number, (account, device)) in self.devices.iter().enumerate() {
            let name = format!("device {number} of {}", device.handle);
            let (status, unsettled) =
                device.ask(async |session| (session.status().await.unwrap(), session.unsettled().await.unwrap()));
            if !status.connected || status.outbox > 0 || unsettled > 0 {
                let outbox = status.outbox;
                found.push(format!("{name}: connected {}, {outbox} unsent, {unsettled} unsettled", status.connected));
            }
            let member = last.participants.iter().any(|one| one.account == *account);
            match device.report(conversation) {
                Some(told) if member && told.over => found.push(format!("{name} takes it for over")),
                Some(told) if member && (told.epoch, &told.hub) != (last.epoch, &last.hub) => {
                    found.push(format!("{name} is in epoch {}, the founder in {}", told.epoch, last.epoch));
                }
                Some(told) if member && told.participants.iter().map(key).ne(last.participants.iter().map(key)) => {
                    found.push(format!("{name} sees other people"));
                }
                Some(_) if member && state(device) != reference => found.push(format!("{name} is in a fork")),
                Some(told) if !member && !told.over => found.push(format!("{name} does not know that it is out")),
                None if member => found.push(format!("{name} does not know that it is in")),
                _ => {}
            }
        }
        for one in &last.participants {
            let devices = self.devices.iter().filter(|(account, _)| *account == one.account).count();
            if one.devices != devices {
                found.push(format!("{} has {} of {devices} devices there", one.name, one.devices));
            }
        }
        found
    }

    /// Looks again and again.
    fn wait_for(&self, what: &str, is_true: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_true(self) {
            assert!(start.elapsed() < self.size.deadline(), "{what}: never; repeat: {}", self.repeat());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Until everything is as it must be; the story fails with what is not.
    fn rest(&self) {
        let start = Instant::now();
        loop {
            let mut wrong = self.unrest();
            if wrong.is_empty() {
                // The devices write into the ledger: it is not held while they are asked.
                let held = self.held();
                wrong = self.ledger.lock().unwrap().complaints(&held);
            }
            if wrong.is_empty() {
                return;
            }
            let fatal = !self.ledger.lock().unwrap().faults.is_empty();
            if fatal || start.elapsed() > self.size.deadline() {
                let shown: Vec<&String> = wrong.iter().take(40).collect();
                panic!("{} things are wrong in the end: {shown:#?}\nrepeat: {}", wrong.len(), self.repeat());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn held(&self) -> Vec<Held> {
        let sent: Vec<(usize, MessageId)> =
            self.ledger.lock().unwrap().said.iter().map(|said| (said.device, said.id)).collect();
        let mut held = Vec::new();
        for (number, (account, device)) in self.devices.iter().enumerate() {
            let own: Vec<MessageId> = sent.iter().filter(|(by, _)| *by == number).map(|(_, id)| *id).collect();
            held.push(Held::of(number, *account, device, self.conversation, &own));
        }
        held
    }

    fn repeat(&self) -> String {
        let Size { accounts, nodes, devices, changes, seed } = self.size;
        format!("ROOST_CROWD={accounts},{nodes},{devices},{changes},{seed} cargo nextest run -p roost-tests crowd::")
    }
}

/// What must be the same for all of a participant.
fn key(one: &roost_client::core::ParticipantReport) -> (AccountId, Role, usize) {
    (one.account, one.role, one.devices)
}

/// What a session says of the conversation; `None` once it has ended.
async fn report(session: &Session, conversation: ConversationId) -> Option<Option<ConversationReport>> {
    let reports = session.conversations().await.ok()?;
    Some(reports.into_iter().find(|report| report.conversation == conversation))
}

#[test]
fn a_crowd_comes_to_one_epoch_and_reads_everything_once() {
    let size = Size::wanted();
    let mut crowd = Crowd::gather(size);
    eprintln!("seed {}; repeat: {}", size.seed, crowd.repeat());
    let start = Instant::now();
    crowd.begin();
    let begun = start.elapsed();
    crowd.live();
    let lived = start.elapsed();
    crowd.rest();
    let ledger = crowd.ledger.lock().unwrap();
    let refused = ledger.said.iter().filter(|said| said.refused.is_some()).count();
    eprintln!(
        "{} accounts, {} devices, {} nodes: {:?}, {} messages of which {refused} refused to who was out, {} epochs of which {} unseen, \
         {} wishes refused; begun after {begun:?}, lived until {lived:?}, at rest after {:?}",
        crowd.accounts.len(),
        crowd.devices.len(),
        crowd.nodes.len(),
        crowd.done,
        ledger.said.len(),
        ledger.last_epoch(),
        ledger.unseen().len(),
        crowd.refused.len(),
        start.elapsed(),
    );
    assert!(refused * 3 < ledger.said.len(), "most of what was written is for somebody");
    assert!(ledger.unseen().len() * 5 < ledger.last_epoch() as usize, "most epochs were looked at");
}
