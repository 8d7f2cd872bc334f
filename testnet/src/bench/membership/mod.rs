//! `bench membership`: what it costs to add and remove a member, to follow a commit, to join and to judge, by the number
//! of leaves; through our engine and through OpenMLS alone, in turn, in one run.
//!
//! No node takes part. Both sides do the same to groups of the same shape: every member has renewed its leaf once, so the
//! trees are full. It never measures one side warm and the other cold: rounds alternate, and which comes first as well.

mod bare;
mod ours;

use self::bare::Bare;
use self::ours::Ours;
use super::fsync::Probe;
use super::measure::{Durations, Spread, round};
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_crypto::group::{Credential, MEMBERS_MAX};
use roost_crypto::ids::DeviceId;
use roost_protocol::conversation::{ConversationState, Participant, Policy, Role};
use roost_protocol::ids::{ConversationId, GroupId};
use roost_protocol::{AccountId, NodeId, SecretKey, codec};
use serde::Serialize;

/// The group of the benchmark.
const GROUP: GroupId = GroupId([0x6d; 32]);
/// Sizes where none are asked for.
const LEAVES: [usize; 5] = [2, 10, 50, 100, 300];
/// Accounts of a conversation; more leaves are further devices of theirs.
const ACCOUNTS_MAX: usize = 100;
/// Rounds before the clock.
const WARM_UP: usize = 2;
/// Rounds at most.
const ROUNDS_MAX: usize = 10_000;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Membership {
    /// By size, the smallest first.
    pub sizes: Vec<Size>,
}

/// Operations at a size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Size {
    /// Leaves with the newcomer; at two the newcomer is the third, for a group begins with two.
    pub leaves: usize,
    /// A commit that adds one member is made, and merged by its author.
    pub add: Compared,
    /// A commit that removes one member is made, and merged by its author.
    pub remove: Compared,
    /// Another member reads such a commit, and merges it.
    pub follow: Compared,
    /// The newcomer enters by its Welcome and the tree.
    pub join: Compared,
    /// The hub judges such a commit, and keeps the state after it.
    pub judge: Compared,
    /// One write set of a commit that was followed, sealed and durable in a device's store; on no side of the comparison.
    pub stored_ms: Spread,
}

/// The same by our engine and by OpenMLS alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Compared {
    /// Ours, milliseconds.
    pub ours_ms: Spread,
    /// OpenMLS with its own store in memory, milliseconds.
    pub bare_ms: Spread,
    /// The quotient of the two medians.
    pub ratio: f64,
}

/// Who a device is.
pub(super) struct Person {
    pub(super) key: SecretKey,
    pub(super) credential: Credential,
}

impl Person {
    /// The `number`th device; after a hundred accounts each gets one device more.
    fn new(number: u32) -> Self {
        let key = SecretKey::from_seed(&super::device::seed(3, number));
        let account = AccountId(super::device::seed(4, number % u32::try_from(ACCOUNTS_MAX).unwrap_or(u32::MAX)));
        let device = DeviceId::of(&key.public_key());
        Self { key, credential: Credential { account, device, log_seq: 0 } }
    }
}

/// A commit as it goes to the hub.
pub(super) struct Made {
    pub(super) commit: Vec<u8>,
    pub(super) welcome: Option<Vec<u8>>,
    pub(super) group_info: Vec<u8>,
}

/// A new group.
pub(super) struct Begun {
    pub(super) welcome: Vec<u8>,
    pub(super) group_info: Vec<u8>,
    pub(super) tree: Vec<u8>,
}

/// What a commit is to change.
pub(super) enum What<'a> {
    Add(&'a [u8]),
    Remove(DeviceId),
    Renew,
}

/// A device by one of the two. Everything goes in and out as the bytes that travel.
pub(super) trait Side: Sized {
    /// Its hub.
    type Hub;

    fn new(person: Person) -> Self;
    fn device(&self) -> DeviceId;
    fn key_package(&mut self) -> Result<Vec<u8>, BenchError>;
    fn found(&mut self, state: &[u8], key_package: &[u8]) -> Result<Begun, BenchError>;
    /// Makes a commit and merges it.
    fn commit(&mut self, what: What<'_>, state: &[u8]) -> Result<Made, BenchError>;
    /// Reads another's commit and merges it.
    fn follow(&mut self, commit: &[u8]) -> Result<(), BenchError>;
    fn join(&mut self, welcome: &[u8], tree: &[u8]) -> Result<(), BenchError>;
    /// Equal for all who are in one state.
    fn authenticator(&self) -> Result<Vec<u8>, BenchError>;

    fn hub(begun: &Begun) -> Result<Self::Hub, BenchError>;
    fn judge(hub: &mut Self::Hub, made: &Made) -> Result<(), BenchError>;
    fn tree(hub: &Self::Hub) -> Result<Vec<u8>, BenchError>;
}

/// A group by one of the two: who commits, who follows, and the hub.
struct Party<S: Side> {
    owner: S,
    other: S,
    hub: S::Hub,
    /// Leaves.
    size: usize,
    /// The next device's number.
    next: u32,
}

/// Durations of one side at one size.
struct Times {
    add: Durations,
    remove: Durations,
    follow: Durations,
    join: Durations,
    judge: Durations,
}

impl<S: Side> Party<S> {
    /// A group of two.
    fn begin() -> Result<Self, BenchError> {
        let (mut owner, mut other) = (S::new(Person::new(0)), S::new(Person::new(1)));
        let package = other.key_package()?;
        let begun = owner.found(&state_of(2), &package)?;
        let hub = S::hub(&begun)?;
        other.join(&begun.welcome, &begun.tree)?;
        let mut party = Self { owner, other, hub, size: 2, next: 2 };
        // The one who founded it has never sent a path.
        let made = party.owner.commit(What::Renew, &state_of(2))?;
        party.take(&made, true)?;
        let made = party.other.commit(What::Renew, &state_of(2))?;
        party.owner.follow(&made.commit)?;
        S::judge(&mut party.hub, &made)?;
        Ok(party)
    }

    /// A commit of the owner's, or of one who has joined, goes to the hub and to those who follow.
    fn take(&mut self, made: &Made, of_owner: bool) -> Result<(), BenchError> {
        S::judge(&mut self.hub, made)?;
        if !of_owner {
            self.owner.follow(&made.commit)?;
        }
        self.other.follow(&made.commit)
    }

    /// Adds one member who stays: it joins and renews its leaf at once, which fills its path of the tree.
    fn grow(&mut self) -> Result<(), BenchError> {
        let mut newcomer = S::new(Person::new(self.next));
        self.next += 1;
        let state = state_of(self.size + 1);
        let package = newcomer.key_package()?;
        let made = self.owner.commit(What::Add(&package), &state)?;
        self.take(&made, true)?;
        newcomer.join(&made.welcome.unwrap_or_default(), &S::tree(&self.hub)?)?;
        let renewed = newcomer.commit(What::Renew, &state)?;
        self.take(&renewed, false)?;
        self.size += 1;
        Ok(())
    }

    /// One comes, and goes again; each step by the clock.
    fn round(&mut self, times: &mut Times) -> Result<(), BenchError> {
        let mut newcomer = S::new(Person::new(self.next));
        self.next += 1;
        let package = newcomer.key_package()?;
        let (with, without) = (state_of(self.size + 1), state_of(self.size));
        let made = timed(&mut times.add, || self.owner.commit(What::Add(&package), &with))?;
        timed(&mut times.judge, || S::judge(&mut self.hub, &made))?;
        timed(&mut times.follow, || self.other.follow(&made.commit))?;
        let (welcome, tree) = (made.welcome.unwrap_or_default(), S::tree(&self.hub)?);
        timed(&mut times.join, || newcomer.join(&welcome, &tree))?;
        let whom = newcomer.device();
        let made = timed(&mut times.remove, || self.owner.commit(What::Remove(whom), &without))?;
        timed(&mut times.judge, || S::judge(&mut self.hub, &made))?;
        timed(&mut times.follow, || self.other.follow(&made.commit))?;
        if self.owner.authenticator()? != self.other.authenticator()? {
            return Err(BenchError::wire("the members of a measured group are not in the same state"));
        }
        Ok(())
    }
}

impl Times {
    fn new() -> Result<Self, BenchError> {
        let new = Durations::new;
        Ok(Self { add: new()?, remove: new()?, follow: new()?, join: new()?, judge: new()? })
    }
}

impl Compared {
    fn new(ours: &Durations, bare: &Durations) -> Self {
        let (ours_ms, bare_ms) = (ours.spread(), bare.spread());
        Self { ours_ms, bare_ms, ratio: round(ours_ms.p50 / bare_ms.p50) }
    }
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let mut sizes = if config.leaves.is_empty() { LEAVES.to_vec() } else { config.leaves.clone() };
    let rounds = config.rounds.unwrap_or(50);
    sizes.sort_unstable();
    sizes.dedup();
    for leaves in &sizes {
        check("leaves", 2, MEMBERS_MAX, *leaves)?;
    }
    check("rounds", 1, ROUNDS_MAX, rounds)?;
    let dir = tempfile::Builder::new().prefix("roost-bench-").tempdir();
    let dir = dir.map_err(BenchError::io("making a directory"))?;
    let probe = Probe::start(dir.path()).await?;
    let measured = tokio::task::block_in_place(|| {
        let mut groups = (Party::<Ours>::begin()?, Party::<Bare>::begin()?);
        let mut store = ours::Stored::create(dir.path())?;
        sizes.iter().map(|leaves| measure(&mut groups, &mut store, *leaves, rounds)).collect::<Result<Vec<_>, _>>()
    })?;
    let probe = probe.again().await?;
    let params = serde_json::json!({ "leaves": sizes, "rounds": rounds, "warm_up": WARM_UP });
    let figures = Figures::Membership(Membership { sizes: measured });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures })
}

fn measure(
    (ours, bare): &mut (Party<Ours>, Party<Bare>),
    store: &mut ours::Stored,
    leaves: usize,
    rounds: usize,
) -> Result<Size, BenchError> {
    while ours.size + 1 < leaves {
        ours.grow()?;
        bare.grow()?;
    }
    let (mut of_ours, mut of_bare) = (Times::new()?, Times::new()?);
    let mut stored = Durations::new()?;
    for number in 0..WARM_UP + rounds {
        if number == WARM_UP {
            (of_ours, of_bare) = (Times::new()?, Times::new()?);
        }
        if number % 2 == 0 {
            ours.round(&mut of_ours)?;
            bare.round(&mut of_bare)?;
        } else {
            bare.round(&mut of_bare)?;
            ours.round(&mut of_ours)?;
        }
        let last = std::mem::take(&mut ours.other.last_writes);
        timed(&mut stored, || store.commit(&last))?;
    }
    Ok(Size {
        leaves,
        add: Compared::new(&of_ours.add, &of_bare.add),
        remove: Compared::new(&of_ours.remove, &of_bare.remove),
        follow: Compared::new(&of_ours.follow, &of_bare.follow),
        join: Compared::new(&of_ours.join, &of_bare.join),
        judge: Compared::new(&of_ours.judge, &of_bare.judge),
        stored_ms: stored.spread(),
    })
}

fn timed<T>(durations: &mut Durations, act: impl FnOnce() -> Result<T, BenchError>) -> Result<T, BenchError> {
    let start = machine::instant();
    let done = act()?;
    durations.record(start.elapsed());
    Ok(done)
}

/// `conv_state` of a group of so many leaves: as large as a real one.
fn state_of(leaves: usize) -> Vec<u8> {
    let accounts = u32::try_from(leaves.min(ACCOUNTS_MAX)).unwrap_or(u32::MAX);
    let participant = |number| Participant {
        account: Person::new(number).credential.account,
        role: if number == 0 { Role::Admin } else { Role::Member },
    };
    let mut participants: Vec<Participant> = (0..accounts).map(participant).collect();
    participants.sort_by_key(|participant| participant.account);
    let hub = NodeId::of(SecretKey::from_seed(&super::device::seed(5, 0)).public_key());
    codec::encode(&ConversationState {
        conversation: ConversationId::of_group(&GROUP),
        generation: 0,
        term: 0,
        hub,
        successors: Vec::new(),
        participants,
        policy: Policy::Admins,
    })
}

/// What has to be there.
fn present<T>(what: Option<T>, name: &str) -> Result<T, BenchError> {
    what.ok_or_else(|| BenchError::wire(format!("{name} is missing")))
}

/// Sizes in words, a line an operation.
pub(super) fn in_words(membership: &Membership, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    write!(formatter, "leaves  what       ours p50 ms   OpenMLS alone   ratio")?;
    for size in &membership.sizes {
        let all = [
            ("add", size.add),
            ("remove", size.remove),
            ("follow", size.follow),
            ("join", size.join),
            ("judge", size.judge),
        ];
        for (name, Compared { ours_ms, bare_ms, ratio }) in all {
            let (ours, bare) = (ours_ms.p50, bare_ms.p50);
            write!(formatter, "\n{:>6}  {name:<8} {ours:>13.3}   {bare:>13.3}   {ratio:>5.2}", size.leaves)?;
        }
        write!(formatter, "\n{:>6}  stored   {:>13.3}", size.leaves, size.stored_ms.p50)?;
    }
    Ok(())
}
