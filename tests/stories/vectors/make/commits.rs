//! Commits at their hub and at a home that follows it, and wishes to leave.

use super::Maker;
use super::homes::{at_home, connect, home, signed_up};
use crate::vectors::cast::{ACME, ALICE, BIRCH, BOB, CAROL, NOW_S, cbor, hex};
use crate::vectors::commits::leave;
use roost_crypto::labels;
use roost_protocol::conversation::Leave;
use roost_protocol::ids::ConversationId;
use roost_protocol::{SecretKey, Signed};
use serde_json::{Value, json};

const SECTION: &str = "Commits";

pub fn make(maker: &mut Maker) {
    at_the_hub(maker);
    at_a_home(maker);
    leaves(maker);
}

fn given(home: Value, before: &[Value], way: &str) -> Value {
    json!({ "home": home, "now_ms": NOW_S * 1000, "before": before, "way": way, "fault": "none" })
}

fn at_the_hub(maker: &mut Maker) {
    let before = [connect(1), signed_up(1, &ALICE)];
    let honest = given(home(&ACME, true), &before, "ask");
    maker.valid("commit", SECTION, "bob's home brings alice's commit, which adds carol", "commit", honest);
    let mut fault = |name: &str, what: &str, fault: &str, code: &'static str| {
        maker.refusal(&format!("commit/{name}"), what, "commit", ("fault", json!(fault)), (code, false));
    };
    fault("epoch-gap", "it makes an epoch behind the next one", "epoch_gap", "wrong_epoch");
    fault("epoch-past", "it makes the epoch that stands", "epoch_past", "wrong_epoch");
    fault("second-of-an-epoch", "another commit made the epoch", "second_of_an_epoch", "wrong_epoch");
    fault("commit-cut", "its last byte is missing", "commit_cut", "malformed");
    fault("commit-trailing-bytes", "a byte behind it", "commit_trailing", "malformed");
    fault("commit-changed", "a byte of it is another one", "commit_changed", "malformed");
    fault(
        "commit-of-another-group",
        "of a group with the same id and other keys",
        "commit_of_another_group",
        "malformed",
    );
    fault("an-old-commit-replayed", "the commit with which the group began", "the_creations_commit", "malformed");
    fault("group-info-of-before", "the GroupInfo of the epoch before", "group_info_of_before", "malformed");
    fault("group-info-cut", "the last byte of the GroupInfo is missing", "group_info_cut", "malformed");
    fault("welcome-without-adds", "a Welcome beside a commit that adds nobody", "welcome_without_adds", "malformed");
    fault("adds-without-welcome", "carol is added and cannot come in", "adds_without_welcome", "malformed");
    fault("log-of-nobody", "the log of somebody who takes no part", "log_of_nobody", "malformed");
    fault("log-missing", "no log admits carol's device", "log_missing", "malformed");
    fault("log-forged", "a log that does not verify", "log_forged", "bad_log");
    fault("log-branched", "a branch of bob's log", "log_branched", "bad_log");
    fault("adds-by-a-member", "bob, who is no admin, adds carol", "adds_by_a_member", "malformed");
    fault("role-by-a-member", "bob makes himself an admin", "role_by_a_member", "malformed");
    fault("removes-by-a-member", "bob removes alice, who did not wish to leave", "removes_by_a_member", "malformed");
    fault("leave-of-another", "bob removes alice and shows his own wish", "leave_of_another", "malformed");
    fault("leave-forged", "bob has signed alice's wish", "leave_forged", "malformed");
    fault("no-admin", "the last admin steps down", "no_admin", "malformed");
    fault("participant-without-a-leaf", "carol takes part without a device", "participant_without_a_leaf", "malformed");
    fault("leaf-of-no-participant", "carol's device without carol", "leaf_of_no_participant", "malformed");
    fault("leaf-left-behind", "bob takes no part and his device stays", "leaf_left_behind", "malformed");
    let not_revoked = "device_that_was_not_revoked";
    fault("device-that-was-not-revoked", "bob takes part and his device goes", not_revoked, "malformed");
    fault("generation", "another generation", "generation", "malformed");
    fault("another-conversation", "another conversation's id", "another_conversation", "malformed");
    fault(
        "hub-that-is-no-successor",
        "the hub goes to a node that is not named",
        "hub_that_is_no_successor",
        "malformed",
    );
    fault("moves-and-adds", "the hub moves while somebody comes", "moves_and_adds", "malformed");
    fault("hub-among-the-successors", "the hub is its own successor", "hub_among_the_successors", "malformed");
    fault("over-80-kib", "no room for the hub's head in an entry", "too_large", "too_large");
    maker.refusal(
        "commit/unknown-group",
        "a group that nobody introduced",
        "commit",
        ("fault", json!("another_group")),
        ("unknown_conversation", true),
    );

    let honest = given(home(&ACME, true), &at_home(&ALICE), "frame");
    maker.valid("commit-by-device", SECTION, "alice's device commits at her home", "commit", honest);
    maker.refusal(
        "commit/not-member",
        "brought by carol, who takes no part",
        "commit-by-device",
        ("before", json!(at_home(&CAROL))),
        ("not_member", false),
    );
}

fn at_a_home(maker: &mut Maker) {
    let before = [connect(1), signed_up(1, &BOB)];
    let honest = given(home(&BIRCH, true), &before, "deliver");
    maker.valid("commit-entry", SECTION, "the hub brings bob's home the next epoch", "commit", honest);
    let mut fault = |name: &str, what: &str, fault: &str, refusal: (&'static str, bool)| {
        maker.refusal(&format!("commit-entry/{name}"), what, "commit-entry", ("fault", json!(fault)), refusal);
    };
    let malformed = ("malformed", false);
    fault("head-forged", "signed by a node that is not the hub", "head_forged", malformed);
    fault("head-of-another-commit", "a head about another commit", "head_of_another_commit", malformed);
    fault("head-of-another-epoch", "a head of another epoch than the commit", "head_of_another_epoch", malformed);
    fault("entry-of-another-epoch", "an entry of another epoch than its commit", "entry_of_another_epoch", malformed);
    fault("trailing-bytes", "a byte behind it", "entry_trailing", malformed);
    let other = "delivered_as_another_conversation";
    fault("in-another-conversations-delivery", "delivered under another conversation's id", other, malformed);
    fault("from-another-node", "in the feed of a node that is not the hub", "from_another_node", ("not_hub", false));
    fault("epoch-gap", "an epoch behind the next one", "epoch_gap", ("wrong_epoch", true));
    fault("log-forged", "a log beside it does not verify", "log_forged", ("bad_log", false));
}

fn leaves(maker: &mut Maker) {
    let signed = |leave: &Leave, key: &SecretKey| cbor(&leave.sign(key));
    let (honest, key) = (leave(&BOB), BOB.device_key());
    let log = |person: &crate::vectors::cast::Person| hex(&person.log().encoded());
    let given = json!({ "leave": signed(&honest, &key), "log": log(&BOB) });
    maker.valid("leave", "Content", "bob wishes to leave", "leave", given);
    let mut fault = |name: &str, what: &str, part: (&str, Value), cause: &str| {
        maker.fault(&format!("leave/{name}"), what, "leave", part, cause);
    };
    fault("by-another", "signed by alice", ("leave", signed(&honest, &ALICE.device_key())), "signature");
    fault("of-another-account", "the log of alice", ("log", log(&ALICE)), "signature");
    let other = Leave { device: ALICE.device(), ..honest.clone() };
    fault("device-not-in-the-log", "a device that the log does not hold", ("leave", signed(&other, &key)), "signature");
    let wrong = Signed::new(labels::SIGN_CONVERSATION_HEAD, &honest, &key);
    fault("wrong-label", "signed as a conversation's head", ("leave", cbor(&wrong)), "signature");
    let mut changed = honest.clone().sign(&key);
    let elsewhere = Leave { conversation: ConversationId([7; 32]), ..honest };
    changed.bytes = elsewhere.sign(&key).bytes;
    fault("changed", "another conversation under the same signature", ("leave", cbor(&changed)), "signature");
    let mut trailing = elsewhere.sign(&key);
    trailing.bytes.0.push(0);
    trailing.signature = key.sign(labels::SIGN_LEAVE, trailing.bytes.as_slice());
    fault("trailing-bytes", "a byte behind it", ("leave", cbor(&trailing)), "trailing");
}
