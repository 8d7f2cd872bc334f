//! Two people start a conversation with each other at the same moment.

use crate::roost::Node;

#[test]
fn two_people_who_start_at_once_end_in_one_conversation() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let invite = |node: &Node| {
        let dir = node.dir.display().to_string();
        crate::roost::roost(&["invite", "--dir", &dir, "--uses", "60"]).ok()["invite"].as_str().unwrap().to_owned()
    };
    let (mut acme, mut birch) = (acme, birch);
    acme.invite = invite(&acme);
    birch.invite = invite(&birch);
    for pair in 0..50 {
        let alice = acme.person(&format!("alice{pair}"));
        let bob = birch.person(&format!("bob{pair}"));
        let send = |from: &crate::roost::Person, to: &str, text: &str| {
            from.chat(&["send", to, text, "--wait", "custody", "--timeout", "60s"]).ok()
        };
        let (left, right) = std::thread::scope(|scope| {
            let left = scope.spawn(|| send(&alice, &bob.handle, "from alice"));
            let right = scope.spawn(|| send(&bob, &alice.handle, "from bob"));
            (left.join().unwrap(), right.join().unwrap())
        });
        assert_eq!(left["conversation"], right["conversation"], "pair {pair}: one conversation");
        assert_eq!(bob.receive(1, "30s"), ["from alice"], "pair {pair}: bob reads alice");
        assert_eq!(alice.receive(1, "30s"), ["from bob"], "pair {pair}: alice reads bob");
    }
}
