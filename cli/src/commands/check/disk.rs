//! What lies in the directory, and what the machine gives the node.

use super::{Check, Status};
use crate::config::{Config, Invite, Profile, read_key, read_vapid_key};
use crate::output::{now_ms, rfc3339};
use roost_node::store::{SledStore, Store as _, StoreError};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// No machine that runs this has an earlier clock: 1 January 2026.
const CLOCK_MS_MIN: u64 = 1_767_225_600_000;
/// Records are signed with times; 1 January 2100 is a broken clock.
const CLOCK_MS_MAX: u64 = 4_102_444_800_000;
/// Descriptors beside the bridge's connections: peers, the store, listeners.
const DESCRIPTORS_BESIDE: u64 = 1_200;
/// Bytes of blobs that are read and compared with their names: a second or two.
const SAMPLE_BYTES: u64 = 256 * 1024 * 1024;
/// Enough for a testnet's node.
const DESCRIPTORS_TESTNET: u64 = 256;

/// The directory and what in it must be its owner's alone.
pub(super) fn directory(dir: &Path) -> Check {
    let name = "directory";
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o077);
    match mode(dir) {
        Err(error) => return Check::failed(name, error, "make it with `roost init`"),
        Ok(0) => {}
        Ok(_) => return Check::warning(name, "others can look into it", format_args!("chmod 700 {}", dir.display())),
    }
    for (inside, wanted) in
        [("keys", "700"), ("invites", "700"), ("store", "700"), ("blobs", "700"), ("config.toml", "600")]
    {
        let path = dir.join(inside);
        if mode(&path).is_ok_and(|others| others != 0) {
            let hint = format!("chmod {wanted} {}", path.display());
            return Check::warning(name, format_args!("{inside} can be read by others"), hint);
        }
    }
    Check::ok(name, dir.display())
}

pub(super) fn keys(dir: &Path) -> [Check; 2] {
    let keys = dir.join("keys");
    let fine = |_| "readable by its owner only".to_owned();
    [
        Check::of("org_key", read_key(&keys.join("org.key")), fine),
        Check::of("node_key", read_key(&keys.join("node.key")), fine),
    ]
}

/// Whether and with what devices that are away are woken.
pub(super) fn push(dir: &Path, config: &Config) -> Check {
    let (name, path) = ("push", dir.join("keys").join("vapid.key"));
    if !config.push.on {
        return Check::ok(name, "off");
    }
    if !path.exists() {
        return Check::skipped(name, "its key is made when the node first serves", "");
    }
    let certificates = &config.push.certificates;
    if !certificates.as_os_str().is_empty() && !certificates.is_file() {
        let detail = format_args!("{} is no file", certificates.display()).to_string();
        return Check::failed(name, detail, "correct push.certificates, or leave it out");
    }
    match (read_vapid_key(&path), config.push.contact(config)) {
        (Err(failure), _) => Check::failed(name, failure.message, failure.hint),
        (Ok(_), None) if config.profile == Profile::Production => {
            let hint = "set push.contact to mailto:… or https://…: some push services take nothing without";
            Check::warning(name, "push services cannot tell whose node this is", hint)
        }
        (Ok(_), contact) => Check::ok(name, format_args!("on, contact {}", contact.unwrap_or("none"))),
    }
}

pub(super) fn invites(dir: &Path) -> Check {
    let name = "invites";
    match Invite::waiting(dir) {
        Err(failure) => Check::failed(name, failure.message, failure.hint),
        Ok(waiting) => {
            let expired = waiting.iter().filter(|(_, invite)| invite.expires_ms <= now_ms()).count();
            if expired > 0 {
                let detail = format!("{expired} of {} that wait for the node have expired", waiting.len());
                Check::warning(name, detail, "make new ones with `roost invite`")
            } else {
                Check::ok(name, format_args!("{} wait for the node", waiting.len()))
            }
        }
    }
}

/// Whether the clock can be right at all; `peers` compares it with others.
pub(super) fn clock() -> Check {
    let now = now_ms();
    if (CLOCK_MS_MIN..CLOCK_MS_MAX).contains(&now) {
        Check::ok("clock", rfc3339(now))
    } else {
        let hint = "set the clock, best by NTP: records are signed with times";
        Check::failed("clock", format_args!("the clock says {}", rfc3339(now)), hint)
    }
}

/// Each connection of a device is a descriptor.
pub(super) fn descriptors(profile: Profile) -> Check {
    let name = "descriptors";
    let bridge = u64::try_from(roost_web_bridge::CONNECTIONS_MAX).unwrap_or(u64::MAX);
    let wanted = match profile {
        Profile::Production => bridge + DESCRIPTORS_BESIDE,
        Profile::Testnet => DESCRIPTORS_TESTNET,
    };
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum {
        Some(most) if most < wanted => {
            let detail = format!("{most} files may be open, {wanted} are needed for {bridge} connections");
            Check::warning(name, detail, format_args!("raise the limit: LimitNOFILE={wanted}, or ulimit -Hn {wanted}"))
        }
        Some(most) => Check::ok(name, format_args!("{most} files may be open, {wanted} are needed")),
        None => Check::ok(name, "as many files may be open as are needed"),
    }
}

/// A full disk ends the node: it acknowledges nothing that it cannot write.
pub(super) fn space(dir: &Path) -> Check {
    let name = "disk";
    let found = match rustix::fs::statvfs(dir) {
        Ok(found) => found,
        Err(error) => return Check::failed(name, error, "does the directory exist?"),
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let percent = found.f_bavail.saturating_mul(100).checked_div(found.f_blocks).unwrap_or(100);
    let (status, hint) = judge_space(percent);
    Check::new(name, status, format_args!("{percent} % free, {}", megabytes(free)), hint)
}

fn judge_space(percent: u64) -> (Status, &'static str) {
    match percent {
        0..5 => (Status::Failed, "free space now: a node that cannot write stops"),
        5..10 => (Status::Warning, "free space or move the directory to a larger disk"),
        _ => (Status::Ok, ""),
    }
}

/// Opens the store of a node that is down: the guard's checks run.
pub(super) async fn store(path: &Path) -> Check {
    let name = "store";
    if !path.exists() {
        return Check::skipped(name, "the node has never served", "");
    }
    let at = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        SledStore::open(&at, Duration::from_millis(500)).map(|store| hex::encode(store.incarnation()))
    })
    .await;
    match opened {
        Ok(Ok(incarnation)) => Check::ok(name, format_args!("opens; {}, incarnation {incarnation}", facts(path))),
        Ok(Err(StoreError::Locked)) => {
            Check::warning(name, "in use by a process that does not answer", "is a node starting or stopping?")
        }
        Ok(Err(error @ StoreError::Newer { .. })) => Check::failed(name, error, "run the newer version of the program"),
        Ok(Err(error @ StoreError::ImportUnfinished)) => {
            Check::failed(name, error, "delete the store directory and import again")
        }
        Ok(Err(error)) => Check::failed(name, error, "restore the last export into a new directory"),
        Err(error) => Check::failed(name, error, "look at the node's log"),
    }
}

pub(super) fn store_in_use(path: &Path, pid: u32) -> Check {
    Check::ok("store", format_args!("in use by the node, process {pid}; {}", facts(path)))
}

fn facts(path: &Path) -> String {
    let version = fs::read_to_string(path.join("version")).unwrap_or_default();
    let version = if version.trim().is_empty() { "unknown" } else { version.trim() };
    format!("format {version}, {}", megabytes(size(path)))
}

/// What is kept of files. The names say what their bytes must be; a sample of them is compared.
pub(super) async fn blobs(dir: &Path) -> Check {
    let name = "blobs";
    let path = dir.join("blobs");
    if !path.exists() {
        return Check::skipped(name, "no file was ever kept", "");
    }
    let looked = tokio::task::spawn_blocking(move || roost_node::blobs::look(&path, SAMPLE_BYTES)).await;
    match looked.map_err(std::io::Error::other).and_then(|looked| looked) {
        Err(error) => Check::failed(name, error, "can the directory be read?"),
        Ok(seen) if seen.damaged > 0 => {
            let detail = format!("{} of {} blobs that were looked at are damaged", seen.damaged, seen.compared);
            Check::failed(name, detail, "the disk has lost data; devices refuse such files, look at its health")
        }
        Ok(seen) => {
            let words = format!("{} whole, {}; {} coming", seen.whole, megabytes(seen.bytes), seen.coming);
            Check::ok(name, format_args!("{words}; {} compared with their names", seen.compared))
        }
    }
}

/// What a crash or a kill leaves behind.
pub(super) fn leftovers(dir: &Path) -> Check {
    let name = "leftovers";
    let mut found = Vec::new();
    for place in [dir.to_owned(), dir.join("store"), dir.join("invites")] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let half = [".half", ".tmp", ".generating"].iter().any(|end| file.ends_with(end));
            if half || file == "control.sock" {
                found.push(file);
            }
        }
    }
    if found.is_empty() {
        Check::ok(name, "none")
    } else {
        found.sort();
        found.truncate(5);
        let hint =
            "harmless; the next start clears control.sock and half snapshots, remove the others while the node is down";
        Check::warning(name, found.join(", "), hint)
    }
}

/// The page that this build holds, under one hash: that of what `sha256sum` prints for its files in the order of their names.
pub(super) fn page() -> Check {
    let files = roost_web_bridge::page_files();
    if files.is_empty() {
        return Check::skipped("page", "this build has none", "make web, then build again");
    }
    let mut all = Sha256::new();
    for (name, hash) in &files {
        all.update(format!("{}  ./{name}\n", hex::encode(hash)));
    }
    Check::ok("page", format_args!("{} files, sha256 {}", files.len(), hex::encode(all.finalize())))
}

fn size(path: &Path) -> u64 {
    let mut bytes: u64 = 0;
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => directories.push(entry.path()),
                Ok(found) => bytes = bytes.saturating_add(found.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_space_warns_and_almost_none_fails() {
        let judged = [0, 4, 5, 9, 10, 100].map(|percent| judge_space(percent).0);
        let expected = [Status::Failed, Status::Failed, Status::Warning, Status::Warning, Status::Ok, Status::Ok];
        assert_eq!(judged, expected, "below 10 % warns, below 5 % fails");
        for percent in 0..10 {
            assert!(!judge_space(percent).1.is_empty(), "{percent} %: what is not ok has a hint");
        }
    }

    #[test]
    fn sizes_are_shown_in_megabytes() {
        assert_eq!(megabytes(12_345_678), "12.3 MB", "rounded down");
    }
}
