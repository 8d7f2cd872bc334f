//! How the hub of a conversation changes, at devices on the symbolic twin: alice, bob, carol and dave, over three model nodes that
//! order whatever MLS allows. What real nodes refuse is theirs to prove; here the devices' own rules are told.

mod late;
mod lies;
mod lost;

use super::*;
use crate::core::{Cause, Engine, Extras, GroupChange};
use roost_crypto::group::{self, OpenMlsEngine, SymbolicEngine, symbolic};
use roost_crypto::sabotage::Sabotage;
use roost_protocol::conversation::{Commit, ConversationState, Role};
use roost_protocol::epoch;
use roost_protocol::equivocation::EquivocationProof;
use roost_protocol::feed::NextEpoch;

pub(super) const CAROL: usize = 2;
const DAVE: usize = 3;
/// What is wrong where nothing is.
const NOTHING: [Cause; 0] = [];
/// In whose home each of them lives.
const HOMES: [usize; 4] = [0, 1, 2, 2];

/// A person: a device, what is on its disk, and what it was sent and showed.
pub(super) struct Person {
    account: AccountId,
    device_id: DeviceId,
    log: IdentityLog,
    record: Signed,
    disk: Disk,
    pub(super) device: Device,
    arrived: VecDeque<ServerFrame>,
    pool: VecDeque<Bytes>,
    /// The newest head that its home has followed.
    head: Option<ConversationHead>,
    /// Of hubs that its home does not hear.
    deaf: BTreeSet<usize>,
    shown: Vec<String>,
    gaps: Vec<&'static str>,
    pub(super) ended: Vec<(u64, Option<Code>)>,
    accused: usize,
    /// How often it noticed that its state is an old one.
    lost: usize,
    /// How often it asked its home for what it lacks.
    resumed: usize,
}

/// By which engine devices and hubs do their mathematics.
#[derive(Clone, Copy)]
enum Kind {
    Twin,
    Mls,
}

pub(super) struct Town {
    kind: Kind,
    nodes: Vec<SecretKey>,
    dead: BTreeSet<usize>,
    org: SecretKey,
    pub(super) people: Vec<Person>,
    /// Public state of each epoch that was ordered.
    states: BTreeMap<u64, Bytes>,
    feeds: BTreeMap<usize, Vec<Entry>>,
    accusations: Vec<EquivocationProof>,
    /// Whose device asks for what it had acknowledged.
    restored: BTreeSet<usize>,
    /// An epoch whose commit is left out of the log.
    withheld: Option<u64>,
    /// Key packages that are given at once; one a second comes back. Without a bound if absent.
    allowance: Option<usize>,
    /// Those that were given.
    given: usize,
    pub(super) now_ms: u64,
    draws: u64,
}

/// The node at which a person lives.
fn home_of(person: usize) -> usize {
    HOMES.get(person).copied().unwrap_or(2)
}

impl Town {
    fn new(kind: Kind) -> Self {
        Self::of(kind, &["alice", "bob", "carol", "dave"])
    }

    fn of(kind: Kind, names: &[&str]) -> Self {
        let nodes: Vec<SecretKey> = (1..=3).map(|seed| SecretKey::from_seed(&[seed; 32])).collect();
        let org = SecretKey::from_seed(&[9; 32]);
        let mut people = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let number = if index < 4 { 10 * (index as u8 + 1) } else { 100 + 2 * (index as u8 - 4) };
            let handle: Handle = format!("{name}@acme").parse().unwrap();
            let home = &nodes[home_of(index)];
            let (node, org_id) = (NodeId::of(home.public_key()), OrgId::of(&org.public_key()));
            let seed = Zeroizing::new([number + 1; 32]);
            let mut new = NewAccount::found([number; 16], seed, node, org_id, handle.clone()).unwrap();
            new.settings.accept_strangers = true;
            let (root, expires) = (org.public_key(), NOW_MS / 1000 + 1000);
            let record = HandleRecord { root, handle, account: new.account(), seq: 1, expires }.sign(&org);
            let mut disk = Disk::new();
            let row = new.signed_up("http://home", record.clone(), org_record(&org, home), NOW_MS).unwrap();
            row.apply_to(&mut disk);
            people.push(Person {
                account: new.account(),
                device_id: new.device(),
                log: new.log.log().clone(),
                record,
                device: open(kind, &disk),
                disk,
                arrived: VecDeque::new(),
                pool: VecDeque::new(),
                head: None,
                deaf: BTreeSet::new(),
                shown: Vec::new(),
                gaps: Vec::new(),
                ended: Vec::new(),
                accused: 0,
                lost: 0,
                resumed: 0,
            });
        }
        let (states, feeds, draws) = (BTreeMap::new(), BTreeMap::new(), 0);
        let (dead, accusations, restored, withheld) = (BTreeSet::new(), Vec::new(), BTreeSet::new(), None);
        let mut town = Self {
            kind,
            nodes,
            dead,
            org,
            people,
            states,
            feeds,
            accusations,
            restored,
            withheld,
            allowance: None,
            given: 0,
            now_ms: NOW_MS,
            draws,
        };
        for person in 0..names.len() {
            town.greet(person);
        }
        town.settle();
        town
    }

    /// A person's device connects to its home.
    fn greet(&mut self, person: usize) {
        let home = self.nodes[home_of(person)].public_key();
        let hello = ServerFrame::Hello {
            versions: vec![1],
            features: vec![],
            node: NodeId::of(home),
            org: OrgId::of(&self.org.public_key()),
            name: "acme".into(),
            challenge: Bytes(vec![7; 32]),
            incarnation: Incarnation([1; 16]),
        };
        self.input(person, Input::Closed);
        self.input(person, Input::Connected);
        self.people[person].arrived.push_back(hello);
    }

    /// Alice's group with bob, an admin, and carol, of which alice's home is the hub.
    pub(super) fn with_group() -> (Self, ConversationId) {
        Self::with_group_of(Kind::Twin)
    }

    fn with_group_of(kind: Kind) -> (Self, ConversationId) {
        let mut town = Self::new(kind);
        let members = vec!["bob@acme".parse().unwrap(), "carol@acme".parse().unwrap()];
        let created = {
            let mut random = draw(&mut town.draws);
            town.people[ALICE].device.create_group(members, &mut random)
        };
        let (_, conversation) = created.unwrap();
        town.settle();
        let bob = town.people[BOB].account;
        town.change(ALICE, conversation, GroupChange::Role(bob, Role::Admin));
        town.settle();
        assert!(town.at(CAROL, conversation).2 == 2, "bob is an admin since epoch 2");
        (town, conversation)
    }

    fn node(&self, index: usize) -> NodeId {
        NodeId::of(self.nodes[index].public_key())
    }

    fn index_of(&self, node: &NodeId) -> usize {
        (0..self.nodes.len()).find(|index| self.node(*index) == *node).expect("a node of the town")
    }

    fn input(&mut self, person: usize, input: Input) {
        let mut random = draw(&mut self.draws);
        self.people[person].device.handle(input, &mut random, self.now_ms).expect("handled");
    }

    pub(super) fn change(&mut self, person: usize, conversation: ConversationId, change: GroupChange) -> u64 {
        self.people[person].device.change_group(conversation, change).expect("intended")
    }

    fn succeed(&mut self, person: usize, conversation: ConversationId, to: Option<usize>) -> u64 {
        let to = to.map(|index| self.node(index));
        self.change(person, conversation, GroupChange::Succeed { to, term: None })
    }

    fn say(&mut self, person: usize, conversation: ConversationId, text: &str) {
        self.write(person, conversation, text);
        self.settle();
    }

    fn write(&mut self, person: usize, conversation: ConversationId, text: &str) {
        let mut random = draw(&mut self.draws);
        self.people[person]
            .device
            .send_with(&conversation.into(), text, Extras::default(), &mut random, self.now_ms)
            .expect("written");
    }

    /// The hub that a person's device follows, its term and MLS epoch.
    pub(super) fn at(&self, person: usize, conversation: ConversationId) -> (String, u32, u64) {
        let reports = self.people[person].device.conversations().unwrap();
        let report = reports.into_iter().find(|report| report.conversation == conversation).expect("known");
        (report.hub, report.term, report.epoch)
    }

    /// The people as a person sees them.
    fn names(&self, person: usize, conversation: ConversationId) -> Vec<String> {
        let reports = self.people[person].device.conversations().unwrap();
        let report = reports.into_iter().find(|report| report.conversation == conversation).expect("known");
        let mut names: Vec<String> = report.participants.into_iter().map(|one| one.name).collect();
        names.sort();
        names
    }

    /// What a person is told to be wrong.
    fn warnings(&self, person: usize) -> Vec<Cause> {
        let warnings = self.people[person].device.warnings().unwrap();
        warnings.into_iter().map(|warning| warning.cause).collect()
    }

    /// Each tells the others something, and they read it.
    pub(super) fn talks(&mut self, conversation: ConversationId, people: &[usize]) {
        for writer in people {
            let text = format!("{writer} at {}", self.now_ms);
            self.say(*writer, conversation, &text);
            for reader in people.iter().filter(|reader| *reader != writer) {
                assert!(self.people[*reader].shown.contains(&text), "{reader} reads what {writer} writes");
            }
        }
        for person in people {
            assert_eq!(self.warnings(*person), NOTHING, "{person} is warned of nothing where nobody lies");
        }
    }

    /// Until nothing moves and every pause is over.
    pub(super) fn settle(&mut self) {
        for _ in 0..40 {
            self.flow();
            self.allowance = self.allowance.map(|left| left + 1);
        }
    }

    /// Until nothing moves; then a second is over.
    fn flow(&mut self) {
        for _ in 0..200 {
            let mut moved = false;
            for person in 0..self.people.len() {
                while let Some(frame) = self.people[person].arrived.pop_front() {
                    moved = true;
                    self.input(person, Input::Frame(Box::new(frame)));
                }
                {
                    let mut random = draw(&mut self.draws);
                    let one = &mut self.people[person];
                    one.device.finish(&mut random, self.now_ms).expect("finished").apply_to(&mut one.disk);
                }
                moved |= self.let_out(person);
            }
            if !moved {
                break;
            }
        }
        self.now_ms += 1_000;
    }

    fn let_out(&mut self, person: usize) -> bool {
        let mut moved = false;
        while let Some(output) = self.people[person].device.poll_output() {
            moved = true;
            match output {
                Output::Send(frame) => self.handle(person, *frame),
                Output::Message(message) => {
                    self.people[person].shown.push(message.text);
                    self.people[person].device.mark_shown(&message.id).unwrap();
                }
                Output::Gap { reason, .. } => self.people[person].gaps.push(reason),
                Output::Intent(report) => {
                    self.people[person].ended.push((report.intent, report.error.map(|error| error.code)));
                }
                Output::Equivocation(_) => self.people[person].accused += 1,
                Output::StateLost(_) => self.people[person].lost += 1,
                Output::Disconnect(reason) => panic!("disconnected: {reason}"),
                _ => {}
            }
        }
        moved
    }

    /// What a person's home does with a frame.
    fn handle(&mut self, person: usize, frame: ClientFrame) {
        let refused = |id, code, later| {
            let refusal = if later { Refusal::later(code, "no", "") } else { Refusal::never(code, "no", "") };
            ServerFrame::Refused { id: Some(id), error: refusal }
        };
        let answer = match frame {
            ClientFrame::SignIn { id, .. } => {
                ServerFrame::SignedIn { id, inbox: 0, key_packages: 0, last_resort: true }
            }
            ClientFrame::PutKeyPackages { id, packages, .. } => {
                self.people[person].pool.extend(packages);
                ServerFrame::Done { id }
            }
            ClientFrame::Resolve { id, handle } => {
                let named = |record: &Signed| HandleRecord::verify(record, NOW_MS / 1000).unwrap().handle == handle;
                let found = self.people.iter().find(|one| named(&one.record)).expect("somebody of the town");
                let lookup = LookupReport { source: LookupSource::Local, hops: 0, messages: 0, ms: 0 };
                ServerFrame::Resolved { id, handle_record: found.record.clone(), log: found.log.clone(), lookup }
            }
            ClientFrame::FetchKeyPackages { id, .. } if self.allowance == Some(0) => {
                let error = Refusal { retry_after_ms: Some(10_000), ..Refusal::later(Code::Busy, "too many", "later") };
                ServerFrame::Refused { id: Some(id), error }
            }
            ClientFrame::FetchKeyPackages { id, account } => {
                self.allowance = self.allowance.map(|left| left - 1);
                self.given += 1;
                let found = self.people.iter_mut().find(|one| one.account == account).expect("somebody of the town");
                let package = found.pool.pop_front().expect("key packages enough");
                ServerFrame::KeyPackages { id, log: found.log.clone(), packages: vec![(found.device_id, package)] }
            }
            ClientFrame::Create { id, creation } => {
                let head = self.create(&creation);
                ServerFrame::Created { id, head, creation }
            }
            ClientFrame::Commit { id, commit } => {
                let known = self.people[person].head.clone().expect("a conversation");
                let hub = self.index_of(&known.state.hub);
                if self.dead.contains(&hub) {
                    refused(id, Code::Unreachable, true)
                } else if commit.epoch != known.epoch + 1 {
                    refused(id, Code::WrongEpoch, false)
                } else {
                    ServerFrame::Committed { id, head: self.order(person, hub, known.epoch, commit, None) }
                }
            }
            ClientFrame::Succeed { id, successor } => {
                let from = ConversationHead::verify(&successor.from).unwrap();
                let hub = self.index_of(&successor.hub);
                assert!(from.state.successors.contains(&successor.hub), "a node that is named is asked");
                if self.dead.contains(&hub) {
                    refused(id, Code::Unreachable, true)
                } else {
                    let head = self.order(person, hub, from.epoch, successor.commit, Some(successor.from));
                    ServerFrame::Committed { id, head }
                }
            }
            ClientFrame::FetchTree { id, epoch, .. } => match self.states.get(&epoch) {
                Some(state) => {
                    let tree = self.kind.tree_of(state.as_slice());
                    ServerFrame::Tree { id, total: tree.len() as u64, part: tree }
                }
                None => refused(id, Code::NotFound, false),
            },
            ClientFrame::FetchParticipants { id, behind, .. } => {
                let left = self.people.iter().filter(|one| Some(one.account) > behind);
                let logs: BTreeMap<_, _> = left.map(|one| (one.account, one.log.clone())).collect();
                ServerFrame::Participants { id, logs: logs.into_values().collect() }
            }
            // An archive that is always empty.
            ClientFrame::FetchArchive { id, after } => {
                ServerFrame::Archive { id, chunks: Vec::new(), removed: 0, last: after }
            }
            ClientFrame::ArchivePut { id, .. } => ServerFrame::Archived { id, seq: 1, bytes: 1 },
            ClientFrame::TrimArchive { id, up_to } => ServerFrame::ArchiveTrimmed { id, removed: up_to },
            ClientFrame::Submit { id, group, epoch, message, attempt, payload, .. } => {
                let known = self.people[person].head.clone().expect("a conversation");
                if epoch != known.epoch {
                    refused(id, Code::WrongEpoch, false)
                } else {
                    let (account, device) = (self.people[person].account, self.people[person].device_id);
                    let author = (account, device, message, attempt);
                    let entry = self.append(home_of(person), group, EntryKind::Message, epoch, author, payload);
                    let (feed, seq) = (entry.header.feed, entry.header.seq);
                    self.deliver(home_of(person), &entry, &known.state, None);
                    self.people[person].arrived.push_back(ServerFrame::Accepted { id, feed, seq });
                    for other in known.state.participants.iter().filter(|one| one.account != account) {
                        let messages = vec![message];
                        let frame = ServerFrame::Custody { account: other.account, group, messages };
                        self.people[person].arrived.push_back(frame);
                    }
                    return;
                }
            }
            ClientFrame::Accuse { id, proof } => {
                self.accusations.push(proof);
                ServerFrame::Done { id }
            }
            ClientFrame::Resume { id, .. } => {
                self.people[person].resumed += 1;
                if self.restored.remove(&person) {
                    self.people[person].arrived.push_back(ServerFrame::Trimmed { inbox: 1_000 });
                }
                ServerFrame::Done { id }
            }
            ClientFrame::FetchCommits { id, behind, .. } => {
                let all = self.feeds.values().flatten().filter(|entry| entry.header.kind != EntryKind::Message);
                let wanted =
                    all.filter(|entry| entry.header.epoch > behind && Some(entry.header.epoch) != self.withheld);
                let by_epoch: BTreeMap<u64, Entry> = wanted.map(|entry| (entry.header.epoch, entry.clone())).collect();
                ServerFrame::Commits { id, entries: by_epoch.into_values().take(2).collect() }
            }
            ClientFrame::PutBlob { .. } | ClientFrame::FetchBlob { .. } => return,
            ClientFrame::Ack { .. } | ClientFrame::Whisper { .. } => return,
            other => panic!("unexpected {other:?}"),
        };
        self.people[person].arrived.push_back(answer);
    }

    fn create(&mut self, creation: &Creation) -> Signed {
        let state = self.kind.begin(creation);
        self.states.insert(1, state);
        let hub = self.index_of(&creation.state.hub);
        let (group, made_by) = (creation.group, creation.hash());
        let head = ConversationHead { group, state: creation.state.clone(), epoch: 1, made_by, ordered_by: None };
        let signed = head.sign(&self.nodes[hub]);
        let contact = FirstContact { head: signed.clone(), creation: creation.clone() };
        let author = (AccountId([0; 32]), DeviceId([0; 32]), MessageId([0; 16]), 0);
        let payload = Bytes(codec::encode(&contact));
        let entry = self.append(hub, group, EntryKind::Creation, 1, author, payload);
        self.deliver(hub, &entry, &creation.state, Some(&head));
        signed
    }

    /// A hub orders a commit on top of an epoch; what it makes of it goes to everybody before and after who hears it.
    fn order(&mut self, by: usize, hub: usize, base: u64, commit: Commit, from: Option<Signed>) -> Signed {
        let (view, after) = self.kind.judge(self.states[&base].as_slice(), &commit);
        let state: ConversationState = codec::decode_canonical(view.conv_state.as_slice(), 1 << 20).unwrap();
        self.states.insert(commit.epoch, after);
        let ordered_by = (state.hub != self.node(hub)).then(|| self.node(hub));
        let (group, epoch, made_by) = (commit.group, commit.epoch, commit.hash());
        let head = ConversationHead { group, state, epoch, made_by, ordered_by };
        let signed = head.sign(&self.nodes[hub]);
        let author =
            (self.people[by].account, self.people[by].device_id, MessageId::of(self.now_ms, made_by.as_bytes()), 0);
        let payload = Bytes(codec::encode(&NextEpoch { head: signed.clone(), commit, from }));
        let entry = self.append(hub, group, EntryKind::Commit, epoch, author, payload);
        let mut audience = head.state.clone();
        let before = self.people[by].head.as_ref().map(|head| head.state.participants.clone()).unwrap_or_default();
        audience.participants.extend(before.into_iter().filter(|one| !head.state.has(&one.account)));
        self.deliver(hub, &entry, &audience, Some(&head));
        signed
    }

    fn append(
        &mut self,
        node: usize,
        group: GroupId,
        kind: EntryKind,
        epoch: u64,
        (account, device, message, attempt): (AccountId, DeviceId, MessageId, u32),
        payload: Bytes,
    ) -> Entry {
        let feed = FeedId { group, node: self.node(node), incarnation: Incarnation([1; 16]) };
        let entries = self.feeds.entry(node).or_default();
        let prev = entries.last().map_or(Hash([0; 32]), |entry: &Entry| entry.header.hash());
        let (seq, payload_hash) = (entries.len() as u64 + 1, payload_hash(payload.as_slice()));
        let header = EntryHeader { feed, seq, prev, kind, epoch, account, device, message, attempt, payload_hash };
        let entry = Entry { header, payload, silent: false };
        entries.push(entry.clone());
        entry
    }

    fn deliver(&mut self, node: usize, entry: &Entry, state: &ConversationState, head: Option<&ConversationHead>) {
        for one in &mut self.people {
            if state.has(&one.account) && !one.deaf.contains(&node) {
                // A home goes to an epoch that is later, and to another branch of the same term only when it is told to.
                if let Some(head) = head
                    && one.head.as_ref().is_none_or(|known| known.epoch < head.epoch)
                {
                    one.head = Some(head.clone());
                }
                one.arrived.push_back(ServerFrame::Entry { inbox: Some(1), entry: entry.clone() });
            }
        }
    }
}

impl Kind {
    fn begin(self, creation: &Creation) -> Bytes {
        let (info, tree) = (creation.group_info.as_slice(), creation.tree.as_slice());
        let begun = match self {
            Self::Twin => symbolic::begin(info, tree),
            Self::Mls => group::begin(info, tree),
        };
        begun.expect("a group begins").1
    }

    fn judge(self, state: &[u8], commit: &Commit) -> (group::CommitView, Bytes) {
        let welcome = commit.welcome.as_ref().map(Bytes::as_slice);
        let (bytes, info) = (commit.commit.as_slice(), commit.group_info.as_slice());
        let judged = match self {
            Self::Twin => symbolic::judge(state, bytes, welcome, info),
            Self::Mls => group::judge(state, bytes, welcome, info),
        };
        judged.expect("MLS allows it")
    }

    fn tree_of(self, state: &[u8]) -> Bytes {
        match self {
            Self::Twin => symbolic::tree_of(state),
            Self::Mls => group::tree_of(state),
        }
        .expect("a state has a tree")
    }
}

fn open(kind: Kind, disk: &Disk) -> Device {
    Device::open_with(disk.clone(), |key, identity| match kind {
        Kind::Twin => Engine {
            groups: Box::new(SymbolicEngine::new(identity.credential, identity.key, 7)),
            inspect: symbolic::inspect_key_package,
            sabotage: Sabotage::NONE,
        },
        Kind::Mls => Engine {
            groups: Box::new(OpenMlsEngine::new(key, identity.credential)),
            inspect: group::inspect_key_package,
            sabotage: Sabotage::NONE,
        },
    })
    .expect("opens")
}

#[test]
fn an_admin_moves_the_hub_while_it_lives_and_all_go_on() {
    let (mut town, conversation) = Town::with_group();
    let report = town.people[CAROL].device.conversations().unwrap().remove(0);
    let named = [town.node(1), town.node(2)].map(|node| node.to_string());
    assert_eq!(report.successors, named, "the homes of the others may follow, an admin's first");
    let nowhere = town.change(ALICE, conversation, GroupChange::Move(Some(NodeId::of(town.org.public_key()))));
    town.settle();
    assert!(town.people[ALICE].ended.contains(&(nowhere, Some(Code::NotHub))), "nobody lives at that node");
    let to = town.node(2);
    let intent = town.change(ALICE, conversation, GroupChange::Move(Some(to)));
    town.settle();
    assert!(town.people[ALICE].ended.contains(&(intent, None)), "the move is done");
    for person in [ALICE, BOB, CAROL] {
        assert_eq!(town.at(person, conversation), (to.to_string(), 0, 3), "{person} follows within the term");
    }
    town.dead.insert(0);
    let dave = "dave@acme".parse().unwrap();
    town.change(ALICE, conversation, GroupChange::Add(vec![dave]));
    town.settle();
    assert_eq!(town.names(BOB, conversation).len(), 4, "the new hub orders the next commit");
    town.talks(conversation, &[ALICE, BOB, CAROL, DAVE]);
}

#[test]
fn the_commit_that_takes_the_last_person_from_the_hub_moves_it() {
    let (mut town, conversation) = Town::with_group();
    let alice = town.people[ALICE].account;
    town.change(BOB, conversation, GroupChange::Remove(vec![alice]));
    town.settle();
    let to = town.node(1).to_string();
    for person in [BOB, CAROL] {
        assert_eq!(
            town.at(person, conversation),
            (to.clone(), 0, 3),
            "the hub goes to bob's home with the same commit"
        );
    }
    town.talks(conversation, &[BOB, CAROL]);
}

#[test]
fn an_admin_lets_a_successor_follow_a_dead_hub() {
    let (mut town, conversation) = Town::with_group();
    town.dead.insert(0);
    let dave = "dave@acme".parse().unwrap();
    let waits = town.change(ALICE, conversation, GroupChange::Add(vec![dave]));
    town.settle();
    assert!(town.people[ALICE].device.intent_error(waits).is_some(), "nobody is added without a hub");
    let by_carol = town.succeed(CAROL, conversation, None);
    town.settle();
    assert!(town.people[CAROL].ended.contains(&(by_carol, Some(Code::NotMember))), "carol is no admin");
    let stranger = town.succeed(ALICE, conversation, Some(0));
    town.settle();
    assert!(town.people[ALICE].ended.contains(&(stranger, Some(Code::NotHub))), "the dead hub is none of them");

    let intent = town.succeed(ALICE, conversation, None);
    town.settle();
    assert!(town.people[ALICE].ended.contains(&(intent, None)), "alice says so, though her commit waits for the hub");
    assert!(town.people[ALICE].ended.contains(&(waits, None)), "which then goes to the new one");
    for person in [ALICE, BOB, CAROL, DAVE] {
        assert_eq!(town.at(person, conversation), (town.node(1).to_string(), 1, 4), "{person} follows it");
    }
    town.talks(conversation, &[ALICE, BOB, CAROL, DAVE]);
    assert!(town.people.iter().all(|one| one.gaps.is_empty()), "nothing is missed");
}

#[test]
fn who_had_gone_on_with_the_dead_hub_comes_over_and_what_it_did_is_done_again() {
    let (mut town, conversation) = Town::with_group();
    town.people[BOB].deaf.insert(0);
    let dave: Handle = "dave@acme".parse().unwrap();
    town.change(ALICE, conversation, GroupChange::Add(vec![dave]));
    town.settle();
    assert_eq!(town.names(CAROL, conversation).len(), 4, "dave is in, as all but bob know");
    town.dead.insert(0);
    town.say(CAROL, conversation, "on the lost branch");
    assert!(town.people[ALICE].shown.contains(&"on the lost branch".to_owned()), "they talk there");

    town.people[BOB].deaf.clear();
    town.succeed(BOB, conversation, None);
    town.settle();
    let to = town.node(1).to_string();
    for person in [ALICE, BOB, CAROL, DAVE] {
        let (hub, term, _) = town.at(person, conversation);
        assert_eq!((hub, term), (to.clone(), 1), "{person} is on the branch that stands");
        assert_eq!(town.names(person, conversation).len(), 4, "{person} sees dave, whom alice has added again");
    }
    let epochs: BTreeSet<u64> =
        [ALICE, BOB, CAROL, DAVE].iter().map(|person| town.at(*person, conversation).2).collect();
    assert_eq!(epochs.len(), 1, "all are at one epoch: {epochs:?}");
    town.talks(conversation, &[ALICE, BOB, CAROL, DAVE]);
    // What carol wrote there, and the mark of who had read it.
    assert!(town.people[BOB].gaps.len() <= 2, "bob is shown what he cannot open: {:?}", town.people[BOB].gaps);
}

#[test]
fn only_what_its_author_may_still_do_is_done_again() {
    let (mut town, conversation) = Town::with_group();
    town.people[BOB].deaf.insert(0);
    let carol = town.people[CAROL].account;
    town.change(ALICE, conversation, GroupChange::Role(carol, Role::Admin));
    town.settle();
    let dave: Handle = "dave@acme".parse().unwrap();
    town.change(CAROL, conversation, GroupChange::Add(vec![dave]));
    town.settle();
    assert_eq!(town.names(ALICE, conversation).len(), 4, "carol, an admin there, has added dave");
    town.dead.insert(0);
    town.people[BOB].deaf.clear();
    town.succeed(BOB, conversation, None);
    town.settle();
    assert_eq!(town.names(BOB, conversation).len(), 3, "where bob forked she is none: dave is not added again");
    let roles = town.people[BOB].device.conversations().unwrap().remove(0).participants;
    let role = roles.iter().find(|one| one.account == carol).unwrap().role;
    assert_eq!(role, Role::Admin, "what alice did is: she may");
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}

#[test]
fn whoever_left_on_the_lost_branch_is_released_again() {
    let (mut town, conversation) = Town::with_group();
    town.people[BOB].deaf.insert(0);
    {
        let mut random = draw(&mut town.draws);
        town.people[CAROL].device.leave_group(conversation, &mut random, town.now_ms).unwrap();
    }
    // Bob's home does not hear carol either.
    town.people[BOB].deaf.insert(2);
    town.settle();
    assert_eq!(town.names(ALICE, conversation).len(), 2, "alice takes her out");
    town.dead.insert(0);
    town.people[BOB].deaf.clear();
    town.succeed(BOB, conversation, Some(1));
    town.settle();
    assert_eq!(town.names(BOB, conversation).len(), 2, "and does so again where bob had not heard of it");
    town.talks(conversation, &[ALICE, BOB]);
}

#[test]
fn a_successor_that_a_demoted_admin_began_is_void_to_whoever_knows_it() {
    let (mut town, conversation) = Town::with_group();
    town.people[BOB].deaf.insert(0);
    let bob = town.people[BOB].account;
    town.change(ALICE, conversation, GroupChange::Role(bob, Role::Member));
    town.settle();
    let before = [ALICE, CAROL].map(|person| town.at(person, conversation));
    // The homes of the others follow nobody of his choice.
    let heads = [ALICE, CAROL].map(|person| town.people[person].head.clone());
    town.succeed(BOB, conversation, Some(1));
    town.settle();
    assert_eq!(town.at(BOB, conversation).1, 1, "bob, who has not heard of it, is alone with it");
    assert_eq!([ALICE, CAROL].map(|person| town.at(person, conversation)), before, "the others stay");
    assert!(town.people[CAROL].gaps.is_empty(), "without a word");
    for (person, head) in [ALICE, CAROL].into_iter().zip(heads) {
        town.people[person].head = head;
    }
    town.say(ALICE, conversation, "without him");
    assert!(town.people[CAROL].shown.contains(&"without him".to_owned()), "and talk on");
}

#[test]
fn a_hub_that_tells_two_stories_is_shown_to_people_and_to_the_home() {
    let (mut town, conversation) = Town::with_group();
    let known = town.people[CAROL].head.clone().unwrap();
    let held = town.feeds[&0].last().unwrap().next_epoch().unwrap();
    let other = Commit { operation: roost_protocol::ids::OperationId([77; 16]), ..held.commit.clone() };
    let head = ConversationHead { made_by: other.hash(), ..known };
    let signed = head.sign(&town.nodes[0]);
    let author = (town.people[ALICE].account, town.people[ALICE].device_id, MessageId([5; 16]), 0);
    let payload = Bytes(codec::encode(&NextEpoch { head: signed.clone(), commit: other, from: None }));
    let entry = town.append(0, head.group, EntryKind::Commit, head.epoch, author, payload);
    town.people[CAROL].arrived.push_back(ServerFrame::Entry { inbox: Some(9), entry: entry.clone() });
    town.people[CAROL].arrived.push_back(ServerFrame::Entry { inbox: Some(9), entry });
    town.settle();
    assert_eq!(town.people[CAROL].accused, 1, "carol is told once");
    let proof = EquivocationProof::of(&held.head, &signed).unwrap();
    assert_eq!(town.accusations, *std::slice::from_ref(&proof), "and her home has the proof");
    town.people[BOB].arrived.push_back(ServerFrame::Equivocation { proof });
    town.settle();
    assert_eq!((town.people[BOB].accused, town.accusations.len()), (1, 1), "bob is told by his home, and tells nobody");
    town.succeed(BOB, conversation, None);
    town.settle();
    assert_eq!(epoch::term(town.people[CAROL].head.as_ref().unwrap().epoch), 1, "a successor follows the liar");
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}

#[test]
fn of_two_successors_that_began_at_once_all_come_to_the_one_that_stands() {
    let (mut town, conversation) = Town::with_group();
    town.dead.insert(0);
    for (person, node) in [(ALICE, 1), (CAROL, 1), (BOB, 2)] {
        town.people[person].deaf.insert(node);
    }
    town.succeed(BOB, conversation, Some(1));
    town.succeed(ALICE, conversation, Some(2));
    town.settle();
    assert_eq!(town.at(BOB, conversation).0, town.node(1).to_string(), "bob is with the one");
    assert_eq!(town.at(CAROL, conversation).0, town.node(2).to_string(), "the others with the other");
    let stands = town.people[BOB].head.clone();
    for (person, node) in [(ALICE, 1), (CAROL, 1), (BOB, 2)] {
        town.people[person].deaf.remove(&node);
        town.people[person].head = stands.clone();
        for entry in town.feeds[&node].clone() {
            town.people[person].arrived.push_back(ServerFrame::Entry { inbox: Some(1), entry });
        }
    }
    town.settle();
    for person in [ALICE, BOB, CAROL] {
        let (hub, term, _) = town.at(person, conversation);
        assert_eq!((hub, term), (town.node(1).to_string(), 1), "{person} is with the lower index");
    }
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}

#[test]
fn sixty_people_come_by_several_commits_each_by_one_key_package_though_a_home_gives_few_at_once() {
    let names: Vec<String> = (0..62).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for allowance in [None, Some(20)] {
        let mut town = Town::of(Kind::Twin, &names);
        town.allowance = allowance;
        let members = names[1..].iter().map(|name| format!("{name}@acme").parse().unwrap()).collect();
        let (_, conversation) = {
            let mut random = draw(&mut town.draws);
            town.people[ALICE].device.create_group(members, &mut random).unwrap()
        };
        let mut joined = vec![1];
        for _ in 0..20 {
            town.settle();
            joined.push(town.names(ALICE, conversation).len());
            if joined.last() == Some(&62) {
                break;
            }
        }
        assert_eq!(joined.last(), Some(&62), "all of them are in: {joined:?}");
        assert_eq!(town.names(61, conversation).len(), 62, "the last knows all the others");
        assert_eq!(town.given, 61, "each by one key package: none is fetched twice");
        let (_, _, epoch) = town.at(ALICE, conversation);
        assert!(epoch >= 2, "of over fifty some came by a commit behind the creation: epoch {epoch}");
        if allowance.is_some() {
            assert!(joined[1] >= 20 && joined[1] < 62, "those who can be had do not wait for the rest: {joined:?}");
        }
        town.talks(conversation, &[ALICE, 61]);
    }
}

#[test]
fn who_joins_is_told_title_picture_and_timer_though_they_were_chosen_before() {
    let (mut town, conversation) = Town::with_group();
    let picture = Bytes([&b"\x89PNG\r\n\x1a\n"[..], &[7; 9_000]].concat());
    {
        let mut random = draw(&mut town.draws);
        let device = &mut town.people[ALICE].device;
        let now_ms = town.now_ms;
        let title = (Some("Friends".to_owned()), Some("of the house".to_owned()));
        device.set_about(conversation, title.0, title.1, &mut random, now_ms).unwrap();
        device.set_about_picture(conversation, Some(picture.clone()), &mut random, now_ms).unwrap();
        device.set_timer(&conversation.into(), Some(3_600), &mut random, now_ms).unwrap();
    }
    town.settle();
    town.change(BOB, conversation, GroupChange::Add(vec!["dave@acme".parse().unwrap()]));
    town.settle();
    for person in [ALICE, BOB, CAROL, DAVE] {
        let report = town.people[person].device.conversations().unwrap().remove(0);
        assert_eq!((report.title.as_str(), report.description.as_str()), ("Friends", "of the house"), "{person}");
        assert_eq!(report.picture.as_ref(), Some(&picture), "{person} sees the picture");
        assert_eq!(report.expires_after_s, Some(3_600), "{person} knows for how long things are seen");
    }
    town.say(DAVE, conversation, "hello");
    let items = town.people[CAROL].device.history(Some(&conversation.into()), None, 9).unwrap().items;
    assert!(items[0].expires_at.is_some(), "what dave says goes as all else does");
    let timers = items.iter().filter(|item| item.kind == "timer").count();
    assert_eq!(timers, 1, "what is told again to dave is no news to carol");
}

#[test]
fn what_somebody_wrote_in_a_conversation_of_many_is_evidence_too() {
    let (mut town, conversation) = Town::with_group();
    town.say(BOB, conversation, "nasty");
    town.say(CAROL, conversation, "nice");
    let bob = town.people[BOB].account;
    let evidence = town.people[ALICE].device.evidence(&bob).unwrap();
    let said: Vec<_> = evidence.messages.iter().map(|item| (item.text.as_str(), item.conversation)).collect();
    assert_eq!(said, [("nasty", conversation)], "his words, and nobody else's");
    assert!(evidence.messages[0].payload_hash.is_some(), "by the hash that the feed's chain holds");
}
