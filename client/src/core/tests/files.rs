//! Files: their bytes go first, nothing waits behind them, and what is fetched goes on where it was.

use super::super::{Extras, FileDraft};
use super::*;
use roost_crypto::blobs::sealed_bytes;

const PART: u64 = limits::BLOB_PART_BYTES_MAX as u64;

fn draft(number: u8, size: u64) -> FileDraft {
    FileDraft {
        name: "plans.pdf".into(),
        media_type: "application/pdf".into(),
        size,
        blob: BlobId([number; 32]),
        key: Bytes(vec![3; 32]),
        thumbnail: None,
        dimensions: None,
        duration_ms: None,
        caption: "the plans".into(),
    }
}

impl World {
    fn send_file(&mut self, number: u8, size: u64) -> Result<MessageId, Error> {
        let mut random = draw(&mut self.draws);
        let to = "bob@acme".parse::<Handle>().expect("a handle").into();
        let device = &mut self.sides[ALICE].device;
        device.send_file(&to, draft(number, size), Extras::default(), &mut random, self.now_ms)
    }

    /// Time passes, and everybody notices.
    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for side in 0..self.sides.len() {
            self.input(side, Input::Tick);
        }
        self.settle();
    }

    fn parts(&self, side: usize) -> Vec<u64> {
        let parts = self.files.iter().filter(|(of, _)| *of == side);
        parts.filter_map(|(_, told)| if let Told::Part(at) = told { Some(*at) } else { None }).collect()
    }
}

#[test]
fn the_bytes_go_first_part_by_part_and_the_reader_fetches_them() {
    let mut world = both_online();
    let size = 1_200_000;
    let id = world.send_file(1, size).expect("written");
    world.settle();
    assert_eq!(world.parts(ALICE), [0, PART, 2 * PART], "part by part");
    assert_eq!(world.shown(BOB), [("alice@acme", "the plans")], "bob is told of it");
    assert_eq!(world.state(ALICE, &id), State::Delivered, "as of any message");
    let unstaged = (ALICE, Told::Unstage(BlobId([1; 32])));
    assert!(world.files.contains(&unstaged), "the sealed bytes need not be kept any more");
    assert_eq!(world.sides[ALICE].device.staged_blobs().expect("readable"), [], "nor are they asked for");

    let row = world.sides[BOB].device.file_of(&id).expect("a file");
    assert_eq!((row.file.name.as_str(), row.file.size), ("plans.pdf", size), "what was said of it");
    world.files.clear();
    let of = world.sides[BOB].device.fetch_file(id, PART).expect("wanted");
    assert_eq!(of.bytes, sealed_bytes(size), "so many bytes");
    world.settle();
    assert_eq!(world.parts(BOB), [PART, 2 * PART], "from where it was");
    assert_eq!(world.files.last(), Some(&(BOB, Told::Fetched(Ok(())))), "to the end");
    assert!(world.sides[BOB].device.transfers().is_empty(), "nothing is under way");
}

#[test]
fn a_text_does_not_wait_behind_a_file_and_a_restart_forgets_neither() {
    let mut world = both_online();
    world.cut = true;
    let file = world.send_file(1, 1_200_000).expect("written");
    world.send(ALICE, "bob@acme", "in the meantime").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "in the meantime")], "the text passes");
    assert_eq!(world.state(ALICE, &file), State::Queued, "the file waits");
    assert!(!world.sides[ALICE].device.nothing_queued(), "and is not forgotten");
    assert_eq!(world.parts(ALICE), [0], "after a failure comes a pause");
    world.pass(500);
    assert_eq!(world.parts(ALICE), [0, 0], "then it is tried again");

    world.crash(ALICE);
    assert_eq!(world.sides[ALICE].device.staged_blobs().expect("readable"), [BlobId([1; 32])], "its bytes are needed");
    world.cut = false;
    world.home.blobs.insert(BlobId([1; 32]), PART);
    world.connect(ALICE);
    world.settle();
    assert_eq!(world.parts(ALICE)[2..], [PART, 2 * PART], "another process goes on where the home is");
    assert_eq!(world.shown(BOB).len(), 2, "bob is told of the file, too");
}

#[test]
fn a_home_without_room_refuses_a_file_in_words_and_nothing_else() {
    let mut world = both_online();
    world.home.takes_no_blobs = true;
    let id = world.send_file(1, 1_000).expect("written");
    world.send(ALICE, "bob@acme", "in words, then").expect("written");
    world.settle();
    let report = world.sides[ALICE].device.report(&id).expect("readable").expect("known");
    assert_eq!(report.state, State::Refused, "it will never be sent");
    assert_eq!(report.error.map(|error| error.code), Some(Code::Quota), "for this reason");
    assert!(world.files.contains(&(ALICE, Told::Unstage(BlobId([1; 32])))), "its bytes need not be kept");
    assert_eq!(world.shown(BOB), [("alice@acme", "in words, then")], "the text goes");
}

#[test]
fn a_home_that_lost_its_store_is_brought_the_bytes_again() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "hello").expect("written");
    world.settle();
    world.cut = true;
    let id = world.send_file(1, 1_000).expect("written");
    world.settle();
    world.cut = false;
    // It says that it has them, and has lost them when the message comes.
    world.home.blobs.insert(BlobId([1; 32]), sealed_bytes(1_000));
    world.now_ms += 1_000;
    world.input(ALICE, Input::Tick);
    world.commit(ALICE);
    world.let_out(ALICE);
    world.home.blobs.clear();
    world.settle();
    world.pass(1_000);
    assert_eq!(world.state(ALICE, &id), State::Delivered, "the message comes after its bytes all the same");
}

#[test]
fn a_file_that_was_not_sent_can_be_taken_back_and_one_that_was_cannot() {
    let mut world = both_online();
    world.cut = true;
    let id = world.send_file(1, 1_000).expect("written");
    world.settle();
    world.sides[ALICE].device.cancel_file(&id).expect("taken back");
    world.cut = false;
    world.pass(20_000);
    assert_eq!(world.state(ALICE, &id), State::Refused, "it is not sent");
    assert_eq!(world.shown(BOB), [], "and bob hears nothing");
    let id = world.send_file(2, 1_000).expect("written");
    world.settle();
    let error = world.sides[ALICE].device.cancel_file(&id).expect_err("it is on its way");
    assert_eq!(error.code(), "not_possible", "what others have is not taken back so");
}

#[test]
fn what_the_home_has_not_fetched_yet_is_asked_for_until_it_has_or_never_will() {
    let mut world = both_online();
    let id = world.send_file(1, 1_000).expect("written");
    world.settle();
    world.home.blobs.insert(BlobId([1; 32]), 10);
    world.files.clear();
    world.sides[BOB].device.fetch_file(id, 0).expect("wanted");
    world.settle();
    assert_eq!(world.files, [], "there is nothing to be read yet");
    world.home.blobs.insert(BlobId([1; 32]), sealed_bytes(1_000));
    world.pass(500);
    assert_eq!(world.files, [(BOB, Told::Part(0)), (BOB, Told::Fetched(Ok(())))], "then there is");
    world.sides[BOB].device.fetch_file(id, 0).expect("wanted again");
    world.sides[BOB].device.stop_fetching(&id);
    world.files.clear();
    world.pass(60_000);
    assert_eq!(world.files, [], "what is not wanted any more is not read");
    let none = world.sides[BOB].device.fetch_file(MessageId([1; 16]), 0).expect_err("no such message");
    assert_eq!(none.code(), "unknown_message", "and what was never said has no file");
}
