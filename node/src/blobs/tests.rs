#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
//! Parts become blobs, and what is not what its name says never does.

use super::*;
use roost_crypto::blobs::BlobId;

fn blobs(dir: &tempfile::TempDir) -> Blobs {
    Blobs::open(&dir.path().join("blobs"), Metrics::detached()).unwrap()
}

fn bytes(length: usize) -> (BlobRef, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
    (BlobRef { blob: BlobId::of(&bytes), bytes: length as u64 }, bytes)
}

#[tokio::test]
async fn a_blob_comes_in_parts_that_survive_a_restart_and_is_read_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (of, all) = bytes(BLOB_PART_BYTES_MAX + 1_000);
    let first = blobs(&dir);
    assert_eq!(first.have(of).await.unwrap(), 0, "nothing is here");
    assert_eq!(first.append(of, 0, all[..1_000].to_vec()).await.unwrap(), 1_000, "a part");
    let second = blobs(&dir);
    assert_eq!(second.have(of).await.unwrap(), 1_000, "another process goes on where the first was");
    assert!(
        matches!(second.append(of, 0, all[..10].to_vec()).await, Err(PartError::Offset { have: 1_000 })),
        "not again"
    );
    assert!(matches!(second.read(of, 0).await, Err(PartError::Gone)), "half a blob is given to nobody");
    assert_eq!(second.append(of, 1_000, all[1_000..].to_vec()).await.unwrap(), of.bytes, "the last part");
    let part = second.read(of, 0).await.unwrap();
    assert_eq!((part.total, part.bytes.len()), (of.bytes, BLOB_PART_BYTES_MAX), "no more than a part at once");
    assert_eq!(second.read(of, part.bytes.len() as u64).await.unwrap().bytes, all[BLOB_PART_BYTES_MAX..], "the rest");
    second.finish(of).await.unwrap();
    second.delete(of.blob).await.unwrap();
    assert!(matches!(second.read(of, 0).await, Err(PartError::Gone)), "it is gone");
    second.delete(of.blob).await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_not_what_the_name_says_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (of, mut all) = bytes(5_000);
    all[17] ^= 1;
    let blobs = blobs(&dir);
    assert!(matches!(blobs.append(of, 0, all.clone()).await, Err(PartError::Name)), "one bit is another");
    assert_eq!(blobs.have(of).await.unwrap(), 0, "it begins anew");
    all[17] ^= 1;
    assert_eq!(blobs.append(of, 0, all).await.unwrap(), of.bytes, "and may be right then");
}

#[tokio::test]
async fn a_part_keeps_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let (of, all) = bytes(5_000);
    let blobs = blobs(&dir);
    let more = [&all[..], &[1]].concat();
    assert!(matches!(blobs.append(of, 0, more).await, Err(PartError::Length { max: 5_000, got: 5_001 })), "too much");
    assert!(matches!(blobs.append(of, 0, Vec::new()).await, Err(PartError::Length { .. })), "nothing");
    let (of, all) = bytes(BLOB_PART_BYTES_MAX + 1);
    assert!(matches!(blobs.append(of, 0, all).await, Err(PartError::Length { .. })), "more than a part");
}

#[tokio::test]
async fn a_ticket_carries_one_part() {
    let dir = tempfile::tempdir().unwrap();
    let (of, all) = bytes(5_000);
    let blobs = blobs(&dir);
    let ticket = blobs.ticket(of, Way::Put { offset: 0 }).unwrap();
    assert!(matches!(blobs.get(&of.blob, &ticket, 0).await, Err(PartError::Ticket)), "a ticket to put reads nothing");
    assert!(matches!(blobs.put(&of.blob, &ticket, all.clone()).await, Err(PartError::Ticket)), "and is used up");
    let ticket = blobs.ticket(of, Way::Put { offset: 0 }).unwrap();
    assert_eq!(blobs.put(&of.blob, &ticket, all.clone()).await.unwrap(), (of, of.bytes), "the blob");
    let ticket = blobs.ticket(of, Way::Get).unwrap();
    assert_eq!(blobs.get(&of.blob, &ticket, 4_990).await.unwrap().bytes, all[4_990..], "the end of it");
}
