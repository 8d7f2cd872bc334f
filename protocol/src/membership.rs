//! Who may change what in a conversation: one set of rules, checked by the hub and again by every member's device.
//!
//! Everything is decided from the state *before* the commit and from the bytes that travel with it, never by a clock: two who
//! see the same commit come to the same verdict. Implements `docs/protocol.md`, section "Commits".

use crate::conversation::{ConversationState, Leave, Participant, Policy, Role};
use crate::limits;
use crate::refusal::Code;
use crate::succession::changes_only_hub;
use roost_crypto::group::{CommitView, Member};
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::{AccountId, DeviceId};
use std::collections::{BTreeMap, BTreeSet};

/// Why a commit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// A field of the state that no commit changes.
    #[error("a commit changes participants, roles, hub and successors, nothing else of the conversation's state")]
    FixedField,
    /// More than [`limits::SUCCESSORS_MAX`], one twice, or the hub itself.
    #[error("the successors are not up to {max} distinct nodes besides the hub", max = limits::SUCCESSORS_MAX)]
    Successors,
    /// A hub moves to a node that already keeps the group's state.
    #[error("a hub moves to one of the successors, by a commit that adds nobody")]
    Move,
    /// A successor of a lost hub begins with the state of the epoch that it forks from.
    #[error("a successor is named by the state before, and its first commit changes nothing but the hub")]
    Succession,
    /// Not sorted, somebody twice, nobody, or more than [`limits::PARTICIPANTS_MAX`].
    #[error("the participants are not a sorted list of 1 to {max}", max = limits::PARTICIPANTS_MAX)]
    Participants,
    /// A 1:1 has its two for ever.
    #[error("a conversation of two has no other participants")]
    Direct,
    /// By a device of nobody who takes part.
    #[error("the committer's account takes no part")]
    NotParticipant,
    /// Needs an admin.
    #[error("only an admin adds or removes accounts and gives roles")]
    NotAdmin,
    /// Nobody could change anything any more.
    #[error("a conversation has an admin: the first participant becomes it when the last one leaves")]
    NoAdmin,
    /// A leaf of an account that takes no part, or a participant without a leaf.
    #[error("leaves and participants do not fit")]
    Leaves,
    /// More devices of an account, or leaves, than a group has.
    #[error("the group is full: at most {devices} devices an account, {leaves} leaves", devices = limits::DEVICES_MAX, leaves = limits::LEAVES_MAX)]
    Full,
    /// A device whose key or entry is not in the account's log.
    #[error("a device is not admitted by its account's identity log")]
    NotAdmitted,
    /// A device of somebody else is added that takes the place of no device that its account revoked.
    #[error("a device is added by another account, and not in the place of a revoked one")]
    NotOwn,
    /// A device of somebody else that its account has not revoked.
    #[error("a device is removed that its account did not revoke")]
    NotRevoked,
    /// An external commit brings back its own device and changes nothing else.
    #[error("who rejoins replaces its own leaf and changes nothing else")]
    Rejoin,
}

impl MembershipError {
    /// What a hub says.
    pub fn code(self) -> Code {
        match self {
            Self::Full => Code::GroupFull,
            _ => Code::Malformed,
        }
    }
}

/// Who judges a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// The hub, before it stands: whoever was revoked changes nothing any more.
    Hub,
    /// A member, once it stands: what its account revoked later does not undo it.
    Member,
}

impl Judge {
    fn admits(self, log: &VerifiedLog, member: &Member) -> bool {
        let Member { credential, key } = member;
        let fits = match self {
            Self::Hub => log.admits(&credential.device, key, credential.log_seq),
            Self::Member => log.has_admitted(&credential.device, key, credential.log_seq),
        };
        fits && log.account() == credential.account
    }
}

/// Checks a commit that leads from `before` to `after`. `log_of` gives the newest log known of an account;
/// `leaves` are verified.
///
/// # Errors
/// [`MembershipError`].
pub fn check<'a>(
    before: &ConversationState,
    after: &ConversationState,
    view: &CommitView,
    log_of: impl Fn(&AccountId) -> Option<&'a VerifiedLog>,
    leaves: &[Leave],
    judge: Judge,
) -> Result<(), MembershipError> {
    check_fixed(before, after)?;
    check_participants(after)?;
    check_successors(after)?;
    let committer = view.committer.credential.account;
    let role = before.role(&committer).ok_or(MembershipError::NotParticipant)?;
    if view.external && (before != after || !view.added.is_empty() || !replaces_itself(view)) {
        return Err(MembershipError::Rejoin);
    }
    check_hub(before, after, view, role)?;
    check_accounts(before, after, role, leaves)?;
    check_leaves(after, &view.members)?;
    check_admitted(view, &log_of, judge)?;
    let revoked = |member: &Member| log_of(&member.credential.account).is_some_and(|log| has_revoked(log, member));
    for Member { credential, .. } in &view.added {
        let account = credential.account;
        let of_account = |member: &&Member| member.credential.account == account;
        // Who lost all devices has nobody left to add the new one: it takes the place of an ended one, by whoever sees it first.
        let takes_place = || view.removed.iter().filter(of_account).any(revoked);
        if before.has(&account) && account != committer && !takes_place() {
            return Err(MembershipError::NotOwn);
        }
    }
    for member in &view.removed {
        let account = &member.credential.account;
        if after.has(account) && *account != committer && !revoked(member) {
            return Err(MembershipError::NotRevoked);
        }
    }
    Ok(())
}

/// Checks the first commit of a successor, which leads from `before`, the last state that it takes over, to `after`.
///
/// # Errors
/// [`MembershipError`].
pub fn check_succession<'a>(
    before: &ConversationState,
    after: &ConversationState,
    view: &CommitView,
    log_of: impl Fn(&AccountId) -> Option<&'a VerifiedLog>,
    judge: Judge,
) -> Result<(), MembershipError> {
    let role = before.role(&view.committer.credential.account).ok_or(MembershipError::NotParticipant)?;
    if before.policy == Policy::Direct {
        return Err(MembershipError::Direct);
    }
    if role != Role::Admin {
        return Err(MembershipError::NotAdmin);
    }
    let members_stay = view.added.is_empty() && view.removed.is_empty() && !view.external;
    if !changes_only_hub(before, after) || !before.successors.contains(&after.hub) || !members_stay {
        return Err(MembershipError::Succession);
    }
    check_successors(after)?;
    check_leaves(after, &view.members)?;
    check_admitted(view, &log_of, judge)
}

/// Every leaf that a commit makes or renews is a device of its account.
fn check_admitted<'a>(
    view: &CommitView,
    log_of: &impl Fn(&AccountId) -> Option<&'a VerifiedLog>,
    judge: Judge,
) -> Result<(), MembershipError> {
    let own = std::slice::from_ref(&view.committer);
    for member in view.added.iter().chain(&view.updated).chain(own) {
        let log = log_of(&member.credential.account).ok_or(MembershipError::NotAdmitted)?;
        if !judge.admits(log, member) {
            return Err(MembershipError::NotAdmitted);
        }
    }
    Ok(())
}

/// Checks the state that a group begins with, made by `creator`.
///
/// # Errors
/// [`MembershipError`].
pub fn check_first(state: &ConversationState, members: &[Member]) -> Result<(), MembershipError> {
    check_participants(state)?;
    check_successors(state)?;
    if state.policy == Policy::Admins && !state.participants.iter().any(|one| one.role == Role::Admin) {
        return Err(MembershipError::NoAdmin);
    }
    check_leaves(state, members)
}

/// Whether a leaf is a device that the log admits now.
pub fn admits(log: &VerifiedLog, member: &Member) -> bool {
    Judge::Hub.admits(log, member)
}

/// Whether a leaf is a device that the log admits or has ended since: who joins may meet one that is yet to be removed.
pub fn has_admitted(log: &VerifiedLog, member: &Member) -> bool {
    Judge::Member.admits(log, member)
}

/// Whether a leaf is a device that the log has ended: whoever takes part may remove it.
pub fn has_revoked(log: &VerifiedLog, member: &Member) -> bool {
    let Member { credential, .. } = member;
    log.account() == credential.account && log.has_revoked(&credential.device, credential.log_seq)
}

/// The participants after accounts went: if no admin is left, the first of them becomes one.
pub fn without(participants: &[Participant], gone: &BTreeSet<AccountId>) -> Vec<Participant> {
    let mut left: Vec<Participant> =
        participants.iter().filter(|participant| !gone.contains(&participant.account)).cloned().collect();
    if !left.iter().any(|participant| participant.role == Role::Admin)
        && let Some(first) = left.first_mut()
    {
        first.role = Role::Admin;
    }
    left
}

fn check_fixed(before: &ConversationState, after: &ConversationState) -> Result<(), MembershipError> {
    let expected = ConversationState {
        participants: after.participants.clone(),
        hub: after.hub,
        successors: after.successors.clone(),
        ..before.clone()
    };
    if expected == *after { Ok(()) } else { Err(MembershipError::FixedField) }
}

fn check_successors(state: &ConversationState) -> Result<(), MembershipError> {
    let distinct: BTreeSet<_> = state.successors.iter().chain([&state.hub]).collect();
    let fits = state.successors.len() <= limits::SUCCESSORS_MAX && distinct.len() == state.successors.len() + 1;
    if fits { Ok(()) } else { Err(MembershipError::Successors) }
}

/// Hub and successors are an admin's to change, or change with accounts that leave.
fn check_hub(
    before: &ConversationState,
    after: &ConversationState,
    view: &CommitView,
    role: Role,
) -> Result<(), MembershipError> {
    if (before.hub, &before.successors) == (after.hub, &after.successors) {
        return Ok(());
    }
    if before.policy == Policy::Direct {
        return Err(MembershipError::Direct);
    }
    if role != Role::Admin && before.participants == after.participants {
        return Err(MembershipError::NotAdmin);
    }
    let moves = before.hub != after.hub;
    if moves && !(before.successors.contains(&after.hub) && view.added.is_empty()) {
        return Err(MembershipError::Move);
    }
    Ok(())
}

fn check_participants(state: &ConversationState) -> Result<(), MembershipError> {
    let sorted = state.participants.is_sorted_by(|one, other| one.account < other.account);
    if sorted && (1..=limits::PARTICIPANTS_MAX).contains(&state.participants.len()) {
        Ok(())
    } else {
        Err(MembershipError::Participants)
    }
}

fn check_accounts(
    before: &ConversationState,
    after: &ConversationState,
    role: Role,
    leaves: &[Leave],
) -> Result<(), MembershipError> {
    if before.participants == after.participants {
        return Ok(());
    }
    if before.policy == Policy::Direct {
        return Err(MembershipError::Direct);
    }
    if !after.participants.iter().any(|participant| participant.role == Role::Admin) {
        return Err(MembershipError::NoAdmin);
    }
    if role == Role::Admin {
        return Ok(());
    }
    // Without being an admin: accounts go that wished to, and nothing else changes.
    let gone: BTreeSet<AccountId> = before
        .participants
        .iter()
        .map(|participant| participant.account)
        .filter(|account| !after.has(account))
        .collect();
    let wished = |account: &AccountId| {
        leaves.iter().any(|leave| {
            leave.account == *account
                && (leave.conversation, leave.generation) == (before.conversation, before.generation)
        })
    };
    if gone.iter().all(wished) && without(&before.participants, &gone) == after.participants {
        Ok(())
    } else {
        Err(MembershipError::NotAdmin)
    }
}

fn check_leaves(state: &ConversationState, members: &[Member]) -> Result<(), MembershipError> {
    let mut devices: BTreeMap<AccountId, BTreeSet<DeviceId>> = BTreeMap::new();
    for member in members {
        devices.entry(member.credential.account).or_default().insert(member.credential.device);
    }
    if !devices.keys().eq(state.participants.iter().map(|participant| &participant.account)) {
        return Err(MembershipError::Leaves);
    }
    if members.len() > limits::LEAVES_MAX || devices.values().any(|devices| devices.len() > limits::DEVICES_MAX) {
        return Err(MembershipError::Full);
    }
    Ok(())
}

fn replaces_itself(view: &CommitView) -> bool {
    let device = view.committer.credential.device;
    view.removed.iter().all(|member| member.credential.device == device)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ids::{ConversationId, GroupId};
    use roost_crypto::bytes::Bytes;
    use roost_crypto::group::Credential;
    use roost_crypto::identity_log::{Operation, Signer};
    use roost_crypto::ids::NodeId;
    use roost_crypto::keys::SecretKey;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    /// Somebody whose log admits one device.
    fn log(seed: u8) -> VerifiedLog {
        VerifiedLog::create(&key(seed), &key(seed + 1).public_key(), vec![NodeId::of(key(200).public_key())]).unwrap()
    }

    fn member(log: &VerifiedLog) -> Member {
        let (device, (key, log_seq)) = log.device_keys().first_key_value().unwrap();
        let credential = Credential { account: log.account(), device: *device, log_seq: *log_seq };
        Member { credential, key: *key }
    }

    fn state(people: &[(&VerifiedLog, Role)]) -> ConversationState {
        let participant = |(log, role): &(&VerifiedLog, Role)| Participant { account: log.account(), role: *role };
        let mut participants: Vec<Participant> = people.iter().map(participant).collect();
        participants.sort_by_key(|participant| participant.account);
        ConversationState {
            conversation: ConversationId::of_group(&GroupId([1; 32])),
            generation: 0,
            term: 0,
            hub: NodeId::of(key(200).public_key()),
            successors: vec![],
            participants,
            policy: Policy::Admins,
        }
    }

    fn view(
        committer: &VerifiedLog,
        added: &[&VerifiedLog],
        removed: &[&VerifiedLog],
        members: &[&VerifiedLog],
    ) -> CommitView {
        let leaves = |logs: &[&VerifiedLog]| logs.iter().map(|log| member(log)).collect();
        CommitView {
            epoch: 2,
            committer: member(committer),
            external: false,
            added: leaves(added),
            removed: leaves(removed),
            updated: vec![],
            conv_state: Bytes(vec![]),
            members: leaves(members),
        }
    }

    #[test]
    fn each_rule_of_membership_is_refused_when_it_is_broken() {
        let (alice, bob, carol, eve) = (log(10), log(20), log(30), log(40));
        let (admin, plain) = (Role::Admin, Role::Member);
        let logs = [&alice, &bob, &carol, &eve];
        let before = state(&[(&alice, admin), (&bob, plain)]);
        let with_carol = state(&[(&alice, admin), (&bob, plain), (&carol, plain)]);
        let judge = |before: &ConversationState, after: &ConversationState, view: &CommitView, leaves: &[Leave]| {
            let log_of = |account: &AccountId| logs.iter().copied().find(|log| log.account() == *account);
            check(before, after, view, log_of, leaves, Judge::Hub)
        };
        let adds = |who: &VerifiedLog| view(who, &[&carol], &[], &[&alice, &bob, &carol]);
        assert_eq!(judge(&before, &with_carol, &adds(&alice), &[]), Ok(()), "an admin adds");
        assert_eq!(judge(&before, &with_carol, &adds(&bob), &[]), Err(MembershipError::NotAdmin), "others do not");
        assert_eq!(
            judge(&before, &with_carol, &adds(&eve), &[]),
            Err(MembershipError::NotParticipant),
            "a stranger even less"
        );
        let renamed = ConversationState { conversation: ConversationId([7; 32]), ..with_carol.clone() };
        assert_eq!(judge(&before, &renamed, &adds(&alice), &[]), Err(MembershipError::FixedField), "it stays itself");
        let direct = ConversationState { policy: Policy::Direct, ..before.clone() };
        let direct_after = ConversationState { policy: Policy::Direct, ..with_carol.clone() };
        assert_eq!(judge(&direct, &direct_after, &adds(&alice), &[]), Err(MembershipError::Direct), "two stay two");
        let mut unsorted = with_carol.clone();
        unsorted.participants.reverse();
        assert_eq!(judge(&before, &unsorted, &adds(&alice), &[]), Err(MembershipError::Participants), "sorted");
        let without_leaf = view(&alice, &[], &[], &[&alice, &bob]);
        assert_eq!(judge(&before, &with_carol, &without_leaf, &[]), Err(MembershipError::Leaves), "each has a device");
        let leaderless = state(&[(&alice, plain), (&bob, plain)]);
        let nothing = view(&alice, &[], &[], &[&alice, &bob]);
        assert_eq!(judge(&before, &leaderless, &nothing, &[]), Err(MembershipError::NoAdmin), "somebody leads");
        let mut injected = adds(&alice);
        injected.added[0].key = key(99).public_key();
        assert_eq!(
            judge(&before, &with_carol, &injected, &[]),
            Err(MembershipError::NotAdmitted),
            "a device of no log"
        );
        let only_device = view(&alice, &[], &[&bob], &[&alice, &bob]);
        assert_eq!(
            judge(&before, &before, &only_device, &[]),
            Err(MembershipError::NotRevoked),
            "bob did not revoke it"
        );
        let rejoin = CommitView { external: true, ..view(&bob, &[], &[&bob], &[&alice, &bob]) };
        assert_eq!(judge(&before, &before, &rejoin, &[]), Ok(()), "who lost its state comes back");
        let pushes_out = CommitView { external: true, ..view(&bob, &[], &[&alice], &[&alice, &bob]) };
        assert_eq!(judge(&before, &before, &pushes_out, &[]), Err(MembershipError::Rejoin), "and pushes nobody out");
        let six: Vec<Member> = (0..6)
            .map(|seed| {
                let key = key(100 + seed).public_key();
                let credential = Credential { account: alice.account(), device: DeviceId::of(&key), log_seq: 0 };
                Member { credential, key }
            })
            .collect();
        let mut crowded = view(&alice, &[], &[], &[&bob]);
        crowded.members.extend(six);
        assert_eq!(judge(&before, &before, &crowded, &[]), Err(MembershipError::Full), "five devices an account");
    }

    #[test]
    fn each_rule_of_the_hub_is_refused_when_it_is_broken() {
        let (alice, bob, carol) = (log(10), log(20), log(30));
        let logs = [&alice, &bob, &carol];
        let log_of = |account: &AccountId| logs.iter().copied().find(|log| log.account() == *account);
        let [second, third, fourth, fifth] = [201, 202, 203, 204].map(|seed| NodeId::of(key(seed).public_key()));
        let people = [(&alice, Role::Admin), (&bob, Role::Member)];
        let before = ConversationState { successors: vec![second, third], ..state(&people) };
        let nothing = |who: &VerifiedLog| view(who, &[], &[], &[&alice, &bob]);
        let judge = |after: &ConversationState, view: &CommitView| check(&before, after, view, log_of, &[], Judge::Hub);

        let moved = ConversationState { hub: second, successors: vec![third], ..before.clone() };
        assert_eq!(judge(&moved, &nothing(&alice)), Ok(()), "an admin moves the hub to a successor");
        assert_eq!(judge(&moved, &nothing(&bob)), Err(MembershipError::NotAdmin), "others do not");
        let elsewhere = ConversationState { hub: fourth, ..before.clone() };
        assert_eq!(
            judge(&elsewhere, &nothing(&alice)),
            Err(MembershipError::Move),
            "nor to a node that lacks the state"
        );
        let with_carol = state(&[(&alice, Role::Admin), (&bob, Role::Member), (&carol, Role::Member)]);
        let both = ConversationState { hub: second, successors: vec![third], ..with_carol };
        let adds = view(&alice, &[&carol], &[], &[&alice, &bob, &carol]);
        assert_eq!(judge(&both, &adds), Err(MembershipError::Move), "who joins sees a hub that signs for itself");
        for successors in [vec![second, second], vec![before.hub], vec![second, third, fourth, fifth]] {
            let after = ConversationState { successors, ..before.clone() };
            assert_eq!(judge(&after, &nothing(&alice)), Err(MembershipError::Successors), "three at most, each once");
        }
        let later = ConversationState { term: 1, ..moved.clone() };
        assert_eq!(
            judge(&later, &nothing(&alice)),
            Err(MembershipError::FixedField),
            "a hub begins no term for another"
        );

        let succeed =
            |after: &ConversationState, view: &CommitView| check_succession(&before, after, view, log_of, Judge::Hub);
        assert_eq!(succeed(&later, &nothing(&alice)), Ok(()), "a successor does, when an admin says so");
        assert_eq!(succeed(&later, &nothing(&bob)), Err(MembershipError::NotAdmin), "nobody else");
        assert_eq!(succeed(&moved, &nothing(&alice)), Err(MembershipError::Succession), "in the next term");
        let stranger = ConversationState { hub: fourth, ..later.clone() };
        assert_eq!(succeed(&stranger, &nothing(&alice)), Err(MembershipError::Succession), "one that is named");
        let grown = ConversationState { participants: both.participants.clone(), ..later.clone() };
        assert_eq!(succeed(&grown, &adds), Err(MembershipError::Succession), "with exactly the members before");
        let external = CommitView { external: true, ..nothing(&alice) };
        assert_eq!(succeed(&later, &external), Err(MembershipError::Succession), "and by one of them");
    }

    #[test]
    fn whoever_wished_to_leave_is_taken_out_by_anybody_and_the_first_becomes_admin() {
        let (alice, bob, carol) = (log(10), log(20), log(30));
        let before = state(&[(&alice, Role::Admin), (&bob, Role::Member), (&carol, Role::Member)]);
        let gone = BTreeSet::from([alice.account()]);
        let after = ConversationState { participants: without(&before.participants, &gone), ..before.clone() };
        assert_eq!(after.participants[0].role, Role::Admin, "the first of those who stay leads");
        let view = view(&bob, &[], &[&alice], &[&bob, &carol]);
        let logs = [&alice, &bob, &carol];
        let log_of = |account: &AccountId| logs.iter().copied().find(|log| log.account() == *account);
        let device = *alice.device_keys().first_key_value().unwrap().0;
        let leave =
            Leave { conversation: before.conversation, generation: 0, account: alice.account(), epoch: 1, device };
        let signed = leave.sign(&key(11));
        let verified = Leave::verify(&signed, &alice).unwrap();
        assert_eq!(check(&before, &after, &view, log_of, &[verified], Judge::Hub), Ok(()), "she wished to go");
        assert_eq!(
            check(&before, &after, &view, log_of, &[], Judge::Hub),
            Err(MembershipError::NotAdmin),
            "else only an admin may"
        );
        let elsewhere = Leave { conversation: ConversationId([9; 32]), ..leave.clone() };
        let elsewhere = check(&before, &after, &view, log_of, &[elsewhere], Judge::Hub);
        assert!(elsewhere.is_err(), "a wish counts in its conversation");
        assert!(Leave::verify(&leave.sign(&key(21)), &alice).is_err(), "and must be signed by the device");
    }

    /// `log` with one device more, of key `seed`, added by its first.
    fn linked(log: &VerifiedLog, first: u8, seed: u8) -> VerifiedLog {
        let (device, _) = log.device_keys().iter().find(|(_, (key, _))| *key == self::key(first).public_key()).unwrap();
        let add = Operation::AddDevice { device: key(seed).public_key() };
        log.append(add, Signer::Device(*device), &key(first)).unwrap()
    }

    fn without_device(log: &VerifiedLog, root: u8, seed: u8) -> VerifiedLog {
        let revoke = Operation::RevokeDevice { device: DeviceId::of(&key(seed).public_key()) };
        log.append(revoke, Signer::Root, &key(root)).unwrap()
    }

    /// The leaf of a device of key `seed`.
    fn leaf(log: &VerifiedLog, seed: u8, log_seq: u64) -> Member {
        let key = key(seed).public_key();
        Member { credential: Credential { account: log.account(), device: DeviceId::of(&key), log_seq }, key }
    }

    #[test]
    fn each_person_adds_the_own_devices_and_anybody_removes_what_its_account_revoked() {
        let (alice, bob) = (log(10), log(20));
        let (bobs, bob_lost) = (linked(&bob, 21, 25), without_device(&linked(&bob, 21, 25), 20, 21));
        let (plain, admin) = (Role::Member, Role::Admin);
        for policy in [Policy::Admins, Policy::Direct] {
            let state = ConversationState { policy, ..state(&[(&alice, admin), (&bob, plain)]) };
            let phones = [leaf(&alice, 11, 0), leaf(&bob, 21, 0)];
            let laptop = leaf(&bob, 25, 1);
            let change = |by: &Member, added: &[&Member], removed: &[&Member]| {
                let own = |members: &[&Member]| members.iter().map(|member| (*member).clone()).collect::<Vec<_>>();
                let all = phones.iter().chain([&laptop]).chain(added.iter().copied());
                let mut members: Vec<Member> = Vec::new();
                for member in all.filter(|member| !removed.contains(member)) {
                    if !members.contains(member) {
                        members.push(member.clone());
                    }
                }
                let view = view(&alice, &[], &[], &[]);
                CommitView { committer: by.clone(), added: own(added), removed: own(removed), members, ..view }
            };
            let judge = |view: &CommitView, bob: &VerifiedLog, judge: Judge| {
                let logs = [&alice, bob];
                let log_of = |account: &AccountId| logs.iter().copied().find(|log| log.account() == *account);
                check(&state, &state, view, log_of, &[], judge)
            };
            let [alices, bobs_phone] = &phones;
            let adds = change(bobs_phone, &[&laptop], &[]);
            assert_eq!(judge(&adds, &bobs, Judge::Hub), Ok(()), "bob, who is no admin, adds his laptop");
            let by_alice = change(alices, &[&laptop], &[]);
            assert_eq!(
                judge(&by_alice, &bobs, Judge::Hub),
                Err(MembershipError::NotOwn),
                "nobody else does, no admin either"
            );
            let removes = change(alices, &[], &[bobs_phone]);
            assert_eq!(judge(&removes, &bobs, Judge::Hub), Err(MembershipError::NotRevoked), "it is bob's device");
            assert_eq!(judge(&removes, &bob_lost, Judge::Hub), Ok(()), "once he has revoked it anybody removes it");
            let swaps = change(alices, &[&laptop], &[bobs_phone]);
            assert_eq!(judge(&swaps, &bob_lost, Judge::Hub), Ok(()), "and puts his new device in its place");
            let by_lost = change(bobs_phone, &[], &[]);
            assert_eq!(
                judge(&by_lost, &bob_lost, Judge::Hub),
                Err(MembershipError::NotAdmitted),
                "the lost one changes nothing"
            );
            assert_eq!(judge(&by_lost, &bob_lost, Judge::Member), Ok(()), "but what it changed before stands");
            assert_eq!(MembershipError::Full.code(), Code::GroupFull, "six devices are told by their own code");

            let reset =
                bob.reset(&key(20), vec![key(25).public_key()], vec![NodeId::of(key(200).public_key())]).unwrap();
            assert_eq!(judge(&removes, &reset, Judge::Hub), Ok(()), "what a reset does not list has ended");
            let listed = change(&leaf(&bob, 25, 1), &[], &[bobs_phone]);
            let again = bobs.reset(&key(20), vec![key(25).public_key()], bob.homes().to_vec()).unwrap();
            assert_eq!(judge(&listed, &again, Judge::Hub), Ok(()), "and what it lists goes on as the device it was");
        }
    }
}
