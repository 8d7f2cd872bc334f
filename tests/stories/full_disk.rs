//! The disk is full: the node stops taking in before it is, comes back by itself when there is room, and where another program takes the
//! last byte it ends, starts again without repair, and has lost nothing that it accepted.

use crate::load::{Load, Reader, numbers, wait_for};
use crate::roost::Node;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
/// The file system of these stories; its floor is 64 MiB.
const DISK: u64 = 256 * MIB;

/// What sled makes its file of.
const SEGMENT: u64 = 512 * 1024;

/// A file system in memory over a directory, gone with the story.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, loudly, where this may not be done; a failure where `ROOST_REQUIRE` names `root`.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={DISK}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        let required = std::env::var("ROOST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|one| one == "root"),
            "root is required, but nothing can be mounted: {mounted:?}"
        );
        eprintln!("SKIPPED: no small disk can be mounted without root; nothing was shown about a full disk");
        None
    }

    /// Another program leaves just this much room.
    fn leave(&self, room: u64) {
        let ballast = self.0.join("ballast");
        let length = ballast.metadata().map_or(0, |found| found.len());
        let free = self.free();
        if free + length <= room {
            return;
        }
        let wanted = free + length - room;
        if wanted < length {
            std::fs::OpenOptions::new().write(true).open(&ballast).unwrap().set_len(wanted).unwrap();
        } else {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&ballast).unwrap();
            let mut file = std::io::BufWriter::with_capacity(MIB as usize, file);
            for _ in 0..(wanted - length).div_ceil(MIB) + u64::from(room == 0) {
                // The last write of a full disk fails, as it should.
                if std::io::Write::write_all(&mut file, &vec![1; MIB as usize]).is_err() {
                    break;
                }
            }
        }
    }

    fn free(&self) -> u64 {
        roost_node::store::Space::of(&self.0).unwrap().free
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_node_stops_taking_before_its_disk_is_full_and_loses_nothing_when_it_is() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.fix_ports();
    acme.terminate();
    let store = acme.dir.join("store");
    std::fs::remove_dir_all(&store).unwrap();
    let Some(disk) = SmallDisk::mount(&store) else { return };
    acme.serve();
    acme.new_invite();
    let (alice, bob, carol) = (acme.person("alice"), acme.person("bob"), acme.person("carol"));
    for (person, text) in [(&alice, "alice 0"), (&carol, "carol 0")] {
        person.chat(&["send", &bob.handle, text, "--wait", "custody", "--timeout", "30s"]).ok();
    }
    let reader = Reader::start(&bob);
    let load = Load::start(&alice, &bob.handle, "alice ");
    let flows = |what: &str| {
        let (accepted, shown) = (load.accepted(), reader.count());
        wait_for(what, || load.accepted() > accepted + 2 && reader.count() > shown + 2);
    };
    flows("messages flow");

    disk.leave(60 * MIB);
    let sent = carol.chat(&["send", &bob.handle, "carol 1", "--wait", "accepted", "--timeout", "3s"]);
    assert_eq!(sent.code, 3, "below the floor nothing is accepted: {sent:?}");
    assert!(sent.errors.contains("disk is nearly full"), "and the sender is told why: {}", sent.errors);
    assert!(acme.log().contains("free space on the store's disk"), "so is the operator: {}", acme.log());

    disk.leave(120 * MIB);
    flows("with room again messages flow again, by themselves");

    disk.leave(0);
    let log = || acme.log();
    wait_for("the node refuses or ends", || {
        log().matches("free space").count() >= 3 || log().contains("the store failed")
    });
    acme.kill();
    disk.leave(120 * MIB);
    let ready = acme.serve();
    assert!(ready < Duration::from_secs(5), "ready without repair, took {ready:?}");
    flows("after the restart messages flow");
    let sent = load.stop();
    let last = format!("alice {sent}");
    wait_for("the last message is shown", || reader.has(&last));
    carol.chat(&["send", &bob.handle, "carol 2", "--wait", "custody", "--timeout", "30s"]).ok();
    wait_for("carol's messages are shown", || reader.has("carol 2"));
    let texts = reader.stop();
    assert_eq!(numbers(&texts, "alice "), (0..=sent).collect::<Vec<_>>(), "each that was accepted, once, in order");
    assert_eq!(numbers(&texts, "carol "), [0, 1, 2], "what was refused waited, and came");
    acme.terminate();
    drop(disk);
}

#[test]
fn a_file_that_may_not_grow_stops_the_node_and_loses_nothing_accepted() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "prlimit is missing: it is part of util-linux");
        eprintln!("SKIPPED: prlimit is not installed; nothing was shown about files that may not grow");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.fix_ports();
    let (alice, bob) = (acme.person("alice"), acme.person("bob"));
    alice.chat(&["send", &bob.handle, "alice 0", "--wait", "custody", "--timeout", "30s"]).ok();
    acme.terminate();
    let length = acme.dir.join("store/db").metadata().unwrap().len();
    // Opening fills the segment of the log that is begun; the next one has no room.
    let limit = format!("--fsize={}", length.next_multiple_of(SEGMENT));
    // The signal would end the process by itself; ignored, the write fails as it does on a full disk.
    let wrapper = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", "prlimit", &limit];
    assert!(acme.try_serve_under(&wrapper), "there is room to start: {}", acme.log());
    let reader = Reader::start(&bob);
    let load = Load::start(&alice, &bob.handle, "alice ");
    let status = acme.ended("a file that may not grow", Duration::from_secs(60));
    assert!(!status.success(), "the node does not end as if all were well");
    assert!(acme.log().contains("the store failed"), "it says what happened: {}", acme.log());
    assert!(load.accepted() > 0, "it had accepted something before");
    acme.serve();
    let (accepted, shown) = (load.accepted(), reader.count());
    wait_for("messages flow", || load.accepted() > accepted + 2 && reader.count() > shown + 2);
    let sent = load.stop();
    let last = format!("alice {sent}");
    wait_for("the last message is shown", || reader.has(&last));
    assert_eq!(numbers(&reader.stop(), "alice "), (0..=sent).collect::<Vec<_>>(), "each, once, in order");
}
