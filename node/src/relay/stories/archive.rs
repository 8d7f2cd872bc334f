//! The archive of an account: order, repetition, bounds, and who hears of it.

use super::*;
use roost_protocol::socket::ArchiveChunk;

fn ask(world: &mut World, frame: ClientFrame) -> ServerFrame {
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    let answer = outputs.into_iter().find_map(|output| match output {
        Output::Send(1, frame) => Some(frame),
        _ => None,
    });
    answer.expect("every request is answered")
}

/// Puts a chunk; gives its position, or why it is refused.
fn put(world: &mut World, name: u16, bytes: usize) -> Result<u64, Refusal> {
    let [high, low] = name.to_be_bytes();
    let mut id = [high; 16];
    id[15] = low;
    match ask(world, ClientFrame::ArchivePut { id: 1, name: OperationId(id), chunk: Bytes(vec![low; bytes]) }) {
        ServerFrame::Archived { seq, .. } => Ok(seq),
        ServerFrame::Refused { error, .. } => Err(error),
        other => panic!("expected Archived, got {other:?}"),
    }
}

fn page(world: &mut World, after: u64) -> (Vec<ArchiveChunk>, u64, u64) {
    match ask(world, ClientFrame::FetchArchive { id: 2, after }) {
        ServerFrame::Archive { chunks, removed, last, .. } => (chunks, removed, last),
        other => panic!("expected a page, got {other:?}"),
    }
}

#[test]
fn an_archive_keeps_its_order_repeats_nothing_and_is_trimmed_from_the_beginning() {
    let mut world = World::new();
    world.alice();
    for name in 1..=5 {
        assert_eq!(put(&mut world, name, 30_000), Ok(u64::from(name)), "each at the next place");
    }
    assert_eq!(put(&mut world, 2, 30_000), Ok(2), "put again, it has the place that it had");
    let (chunks, _, last) = page(&mut world, 0);
    assert_eq!((chunks.len(), last), (2, 5), "a page is bounded");
    assert_eq!(chunks[1].chunk.as_slice()[0], 2, "in order, as they were put");
    let trimmed = ask(&mut world, ClientFrame::TrimArchive { id: 3, up_to: 3 });
    assert_eq!(trimmed, ServerFrame::ArchiveTrimmed { id: 3, removed: 3 }, "the beginning goes");
    let (chunks, removed, last) = page(&mut world, 0);
    assert_eq!((chunks[0].seq, removed, last), (4, 3, 5), "what is behind it stays");
    assert_eq!(put(&mut world, 2, 100), Ok(6), "a name that went is new again");
    let (chunks, ..) = page(&mut world, 6);
    assert!(chunks.is_empty(), "nothing is behind the end");
}

#[test]
fn an_archive_keeps_its_bounds() {
    let mut world = World::new();
    let account = world.alice();
    for bytes in [0, limits::ARCHIVE_CHUNK_BYTES_MAX + 1] {
        let refused = put(&mut world, 1, bytes).unwrap_err();
        assert_eq!((refused.code, refused.later), (Code::TooLarge, false), "{bytes} bytes are no chunk");
    }
    let full = (0_u64, limits::ARCHIVE_CHUNKS_MAX, 5_u64);
    for (removed, last, bytes) in [full, (0, 1, limits::ARCHIVE_BYTES_MAX)] {
        let head = std::collections::BTreeMap::from([("removed", removed), ("last", last), ("bytes", bytes)]);
        world.write(|rows| rows::put(rows, rows::archive_head(&account), &head));
        let refused = put(&mut world, 2, 10).unwrap_err();
        assert_eq!((refused.code, refused.later), (Code::Busy, true), "full until it is trimmed");
    }
    ask(&mut world, ClientFrame::TrimArchive { id: 3, up_to: u64::MAX });
    let emptied: std::collections::BTreeMap<String, u64> = world.row(&rows::archive_head(&account)).unwrap();
    assert_eq!(emptied["removed"], emptied["last"], "a trim never goes beyond the end");
}

#[test]
fn the_other_devices_of_the_account_hear_that_the_archive_grew() {
    let mut world = World::new();
    let account = world.alice();
    world.batch(vec![Input::Connected { connection: 2, challenge: [7; 32] }]);
    world.relay.connections.get_mut(&2).unwrap().device = Some((account, DeviceId([77; 32])));
    world.relay.present.entry(account).or_default().extend([1, 2]);
    let chunk = Bytes(vec![1; 10]);
    let frame = ClientFrame::ArchivePut { id: 1, name: OperationId([1; 16]), chunk };
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    let heard = outputs.iter().any(|output| matches!(output, Output::Send(2, ServerFrame::ArchiveGrew { last: 1 })));
    assert!(heard, "the other device is told at once");
}
