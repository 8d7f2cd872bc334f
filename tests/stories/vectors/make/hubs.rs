//! How the hub of a conversation changes: successions, lineages, proofs of equivocation.

use super::Maker;
use crate::vectors::cast::{ACME, ALICE, BIRCH, BOB, EVIL, GROUP, Org, cbor, hex};
use crate::vectors::live;
use roost_protocol::conversation::{ConversationHead, ConversationState, Policy};
use roost_protocol::epoch;
use roost_protocol::equivocation::EquivocationProof;
use roost_protocol::ids::{ConversationId, GroupId, Hash};
use roost_protocol::{NodeId, Signed};
use serde_json::{Value, json};

pub fn make(maker: &mut Maker) {
    successions(maker);
    lineages(maker);
    equivocations(maker);
}

/// What `hub` says of the group: the two others may follow it.
fn head(hub: &Org, term: u32, mls_epoch: u64) -> ConversationHead {
    let others = [ACME, BIRCH, EVIL].into_iter().filter(|org| org.node != hub.node);
    let state = ConversationState {
        conversation: ConversationId::of_group(&GROUP),
        term,
        successors: others.map(|org| org.node()).collect::<Vec<NodeId>>(),
        policy: Policy::Admins,
        ..live::state(&ALICE, &BOB, hub.node())
    };
    ConversationHead {
        group: GROUP,
        state,
        epoch: epoch::of(term, mls_epoch),
        made_by: Hash([0x66; 32]),
        ordered_by: None,
    }
}

/// As the hub `from` orders its move to `to`.
fn moves(from: &Org, to: &Org, term: u32, mls_epoch: u64) -> Signed {
    ConversationHead { ordered_by: Some(from.node()), ..head(to, term, mls_epoch) }.sign(&from.node_key())
}

fn successions(maker: &mut Maker) {
    let (from, honest) = (head(&ACME, 0, 7), head(&BIRCH, 1, 8));
    let given = json!({ "from": cbor(&from.sign(&ACME.node_key())), "head": cbor(&honest.sign(&BIRCH.node_key())) });
    maker.valid("succession", "Successors", "birch follows acme from epoch 7", "succession", given);
    let mut fault = |name: &str, what: &str, part: &str, head: Signed, cause: &str| {
        maker.fault(&format!("succession/{name}"), what, "succession", (part, cbor(&head)), cause);
    };
    let by_birch = |change: &dyn Fn(&mut ConversationHead)| {
        let mut changed = honest.clone();
        change(&mut changed);
        changed.sign(&BIRCH.node_key())
    };
    let other = by_birch(&|head| head.group = GroupId([0x12; 32]));
    fault("another-group", "the two heads are of two groups", "head", other, "other_group");
    let late = by_birch(&|head| head.epoch += 1);
    fault("a-gap", "an epoch between the fork and the successor's first", "head", late, "epoch");
    let same_term = by_birch(&|head| head.epoch = epoch::of(0, 8));
    fault("epoch-of-another-term", "the epoch says another term than the state", "head", same_term, "signature");
    let moved = ConversationHead { ordered_by: Some(ACME.node()), ..honest.clone() }.sign(&ACME.node_key());
    fault("a-move", "ordered by the hub that is lost", "head", moved, "epoch");
    let fewer = by_birch(&|head| head.state.participants.truncate(1));
    fault("another-member", "the successor removes somebody at once", "head", fewer, "state");
    let same_term = by_birch(&|head| (head.state.term, head.epoch) = (0, epoch::of(0, 8)));
    fault("the-same-term", "the term of the hub before goes on", "head", same_term, "epoch");
    let spelled = by_birch(&|head| head.ordered_by = Some(BIRCH.node()));
    fault("hub-named-twice", "the hub is named as who has ordered it besides", "head", spelled, "signature");
    let forged = honest.sign(&EVIL.node_key());
    fault("signed-by-another", "signed by a node that is not the successor", "head", forged, "signature");
    let forged = from.sign(&BIRCH.node_key());
    fault("fork-signed-by-another", "the successor has made up where it forks from", "from", forged, "signature");
    let mut alone = from.clone();
    alone.state.successors = vec![EVIL.node()];
    fault("not-named", "the hub names another successor", "from", alone.sign(&ACME.node_key()), "not_named");
}

fn lineages(maker: &mut Maker) {
    let steps = [
        moves(&ACME, &BIRCH, 0, 3),
        head(&BIRCH, 0, 9).sign(&BIRCH.node_key()),
        head(&EVIL, 1, 10).sign(&EVIL.node_key()),
        moves(&EVIL, &ACME, 1, 12),
    ];
    let told = |steps: &[Signed]| -> Value { steps.iter().map(cbor).collect() };
    let given = json!({ "group": hex(GROUP.as_bytes()), "first": hex(ACME.node().public_key().as_bytes()), "heads": told(&steps) });
    let what = "acme moves to birch, which evil follows and moves back";
    maker.valid("lineage", "Successors", what, "lineage", given);
    let mut fault = |name: &str, what: &str, (part, value): (&str, Value), cause: &str| {
        maker.fault(&format!("lineage/{name}"), what, "lineage", (part, value), cause);
    };
    let [first, fork, succession, last] = steps.clone();
    fault("no-first-move", "it begins with a hub that nobody made one", ("heads", told(&steps[1..])), "lineage");
    let unproven = [first.clone(), succession.clone(), last.clone()];
    fault("no-fork", "the head that a successor forks from is missing", ("heads", told(&unproven)), "epoch");
    let stranger = hex(EVIL.node().public_key().as_bytes());
    fault("another-beginning", "the creation names another hub", ("first", stranger), "lineage");
    fault("another-group", "the heads are of another group", ("group", hex(&[0x12; 32])), "other_group");
    let turned = [fork, first, succession, last];
    fault("out-of-order", "a later head stands before an earlier one", ("heads", told(&turned)), "lineage");
}

fn equivocations(maker: &mut Maker) {
    let one = head(&ACME, 0, 7);
    let other = ConversationHead { made_by: Hash([0x67; 32]), ..one.clone() };
    let (one_signed, other_signed) = (one.sign(&ACME.node_key()), other.sign(&ACME.node_key()));
    let proof = EquivocationProof::of(&one_signed, &other_signed).expect("two stories");
    let given = json!({ "head_a": cbor(&proof.head_a), "head_b": cbor(&proof.head_b) });
    maker.valid("equivocation", "Successors", "acme has signed two heads of one epoch", "equivocation", given);
    let mut fault = |name: &str, what: &str, head: &Signed, cause: &str| {
        maker.fault(&format!("equivocation/{name}"), what, "equivocation", ("head_b", cbor(head)), cause);
    };
    fault("the-same", "one head twice", &proof.head_a, "same");
    let later = ConversationHead { epoch: 8, ..other.clone() }.sign(&ACME.node_key());
    fault("two-epochs", "heads of two epochs", &later, "unrelated");
    let elsewhere = ConversationHead { group: GroupId([0x12; 32]), ..other.clone() }.sign(&ACME.node_key());
    fault("two-groups", "heads of two groups", &elsewhere, "unrelated");
    let of_another = head(&BIRCH, 0, 7).sign(&BIRCH.node_key());
    fault("two-hubs", "heads of two hubs", &of_another, "unrelated");
    fault("signed-by-another", "the hub has signed one of them only", &other.sign(&EVIL.node_key()), "signature");
}
