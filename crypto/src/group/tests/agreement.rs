//! The same random life on both engines: one outcome.

use super::hub::Die;
use super::*;
use std::collections::BTreeSet;

const DEVICES: usize = 6;
const STEPS: usize = 320;

/// One step, as data: who does what, with which earlier thing.
#[derive(Debug, Clone, Copy)]
enum Step {
    Commit { who: usize, whom: usize, what: usize },
    Take { who: usize },
    Merge { who: usize },
    Enter { who: usize },
    Seal { who: usize },
    Open { who: usize, which: usize },
    Drop { who: usize },
    Rejoin { who: usize },
    Lose { who: usize },
}

/// What a step led to, without any byte that an engine chooses.
#[derive(Debug, PartialEq)]
enum Outcome {
    Nothing,
    Epoch(u64),
    Read(CommitView),
    Merged(Merged),
    Opened(Opened),
    Refused(GroupError),
}

/// Epoch, members, and whether something is pending.
type Holding = (Result<u64, GroupError>, Result<Vec<Member>, GroupError>, Result<bool, GroupError>);

/// A group's life on one engine.
struct World {
    devices: Vec<Device>,
    hub: Hub,
    /// By author, what waits for the hub.
    offered: Vec<Option<Committed>>,
    /// What stands; the commit to epoch 2 first.
    feed: Vec<Committed>,
    /// The tree after the last commit that added somebody, with its Welcome.
    welcome: Option<(Bytes, Bytes)>,
    sealed: Vec<Bytes>,
}

impl World {
    fn new(kind: Kind) -> Self {
        let bounds = Bounds { copies: 5, ..Bounds::PRODUCT };
        let seed = |n: usize| [u8::try_from(n).unwrap() + 1; 32];
        let mut devices: Vec<Device> = (0..DEVICES).map(|n| Device::with(kind, seed(n), 1, bounds)).collect();
        let package = devices[1].key_package(false);
        let created = devices[0].create(b"group", &[package]);
        devices[1].join(&created);
        let offered = vec![None; DEVICES];
        let hub = Hub::new(kind, &created);
        Self { devices, hub, offered, feed: Vec::new(), welcome: None, sealed: Vec::new() }
    }

    fn step(&mut self, step: Step) -> Outcome {
        self.try_step(step).unwrap_or_else(Outcome::Refused)
    }

    fn try_step(&mut self, step: Step) -> Result<Outcome, GroupError> {
        Ok(match step {
            Step::Commit { who, whom, what } => {
                // Whoever can, from `who` on; where nobody can, `who` is told why.
                let free = |at: &usize| self.devices[*at].engine.has_pending(&self.devices[*at].rows, b"group");
                let who = from(who).find(|at| free(at) == Ok(false)).unwrap_or(who);
                let device = self.devices[whom].id();
                let members = self.devices[who].members().unwrap_or_default();
                let outside = |at: &usize| !members.contains(&self.devices[*at].member);
                let change = match what {
                    0..=2 => {
                        let whom = from(whom).find(outside).unwrap_or(whom);
                        adding(&[self.devices[whom].key_package(false)])
                    }
                    3 => removing(&[device]),
                    4 => Change { conv_state: Some(Bytes(vec![u8::try_from(whom).unwrap()])), ..Change::default() },
                    _ => Change::default(),
                };
                let committed = self.devices[who].try_commit(&change)?;
                let epoch = committed.epoch;
                self.offered[who] = Some(committed);
                Outcome::Epoch(epoch)
            }
            Step::Take { who } => {
                let next = from(who).find(|at| self.offered[*at].is_some());
                let Some(committed) = next.and_then(|at| self.offered[at].take()) else {
                    return Ok(Outcome::Nothing);
                };
                let view = self.hub.take(&committed)?;
                if let Some(welcome) = &committed.welcome {
                    self.welcome = Some((welcome.clone(), self.hub.tree()));
                }
                self.feed.push(committed);
                Outcome::Read(view)
            }
            Step::Merge { who } => {
                let epoch = self.devices[who].epoch().unwrap_or(0);
                let mine = self.feed.iter().find(|committed| committed.epoch == epoch + 1);
                let Some(committed) = mine.or(self.feed.last()).map(|committed| committed.commit.clone()) else {
                    return Ok(Outcome::Nothing);
                };
                Outcome::Merged(self.devices[who].merge(&committed)?)
            }
            Step::Enter { who } => {
                let Some((welcome, tree)) = self.welcome.clone() else { return Ok(Outcome::Nothing) };
                let mut outcome = Outcome::Nothing;
                for at in from(who) {
                    match self.devices[at].enter(&welcome, &tree) {
                        Ok(joined) => return Ok(Outcome::Epoch(joined.epoch)),
                        Err(error) => outcome = Outcome::Refused(error),
                    }
                }
                outcome
            }
            Step::Seal { who } => {
                let device = &mut self.devices[who];
                let text = [u8::try_from(who).unwrap(), u8::try_from(self.sealed.len() % 251).unwrap()];
                let (sealed, writes) = device.engine.seal(&device.rows, b"group", &text)?;
                writes.apply_to(&mut device.rows);
                self.sealed.push(sealed.ciphertext);
                Outcome::Epoch(sealed.epoch)
            }
            Step::Open { who, which } => {
                if self.sealed.is_empty() {
                    return Ok(Outcome::Nothing);
                }
                // Mostly the newest: older ones are tried, too.
                let back = (which % 12).min(self.sealed.len() - 1);
                let message = self.sealed[self.sealed.len() - 1 - back].clone();
                Outcome::Opened(self.devices[who].open(b"group", &message)?)
            }
            Step::Drop { who } => {
                let device = &mut self.devices[who];
                device.engine.drop_pending(&device.rows, b"group")?.apply_to(&mut device.rows);
                Outcome::Nothing
            }
            Step::Rejoin { who } => {
                let (group_info, tree) = (self.hub.group_info.clone(), self.hub.tree());
                let committed = self.devices[who].rejoin(&group_info, &tree)?;
                let epoch = committed.epoch;
                self.offered[who] = Some(committed);
                Outcome::Epoch(epoch)
            }
            Step::Lose { who } => {
                let device = &mut self.devices[who];
                device.engine.forget(&device.rows, b"group")?.apply_to(&mut device.rows);
                Outcome::Nothing
            }
        })
    }

    /// What each device holds of the group.
    fn holds(&self) -> Vec<Holding> {
        let holds = |device: &Device| {
            let pending = device.engine.has_pending(&device.rows, b"group");
            (device.epoch(), device.members(), pending)
        };
        self.devices.iter().map(holds).collect()
    }
}

/// All devices, beginning with one.
fn from(who: usize) -> impl Iterator<Item = usize> {
    (0..DEVICES).map(move |n| (who + n) % DEVICES)
}

fn choose(die: &mut Die) -> Step {
    let who = die.roll(DEVICES);
    match die.roll(120) {
        0..=15 => Step::Commit { who, whom: die.roll(DEVICES), what: die.roll(7) },
        16..=29 => Step::Take { who },
        30..=63 => Step::Merge { who },
        64..=73 => Step::Enter { who },
        74..=91 => Step::Seal { who },
        92..=112 => Step::Open { who, which: die.roll(64) },
        113..=115 => Step::Drop { who },
        116..=118 => Step::Rejoin { who },
        _ => Step::Lose { who },
    }
}

/// Lives one life on both; returns how many commits stood, how many messages were opened, and what was refused.
fn live(seed: u64, refusals: &mut BTreeSet<String>) -> (usize, usize) {
    let (mut real, mut twin) = (World::new(Kind::OpenMls), World::new(Kind::Symbolic));
    let mut die = Die(seed);
    let mut opened = 0;
    for at in 0..STEPS {
        let step = choose(&mut die);
        let outcome = real.step(step);
        assert_eq!(outcome, twin.step(step), "seed {seed}, step {at}, {step:?}: one outcome");
        assert_eq!(real.holds(), twin.holds(), "seed {seed}, step {at}, {step:?}: all devices hold the same");
        opened += usize::from(matches!(outcome, Outcome::Opened(_)));
        if let Outcome::Refused(error) = outcome {
            refusals.insert(format!("{error:?}").split(' ').next().unwrap().to_owned());
        }
    }
    (real.feed.len(), opened)
}

#[test]
fn twin_and_openmls_lead_one_life() {
    let (mut commits, mut messages, mut refusals) = (0, 0, BTreeSet::new());
    for seed in 1..=8 {
        let (stood, opened) = live(seed, &mut refusals);
        commits += stood;
        messages += opened;
    }
    assert!(commits > 60 && messages > 60, "much has happened: {commits} commits, {messages} messages opened");
    for refusal in
        ["AlreadyOpened", "EpochGone", "OwnMessage", "PendingCommit", "RejoinNeeded", "Removed", "WrongEpoch"]
    {
        assert!(refusals.contains(refusal), "{refusal} has happened, too; only {refusals:?} did");
    }
}
