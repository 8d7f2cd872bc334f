//! The lock file: advisories that no tool knows of are held off by minimum versions.

use std::collections::BTreeMap;

/// Crate, first version without its known faults, the fault.
const MINIMUMS: &[(&str, &str, &str)] = &[
    ("yamux", "0.13.10", "CVE-2026-32314: a peer panics the muxer with data over credit"),
    ("libp2p", "0.57.0", "an older one is picked silently when wasm-bindgen pins collide"),
    ("libp2p-gossipsub", "0.50.1", "CVE-2026-33040, -34219: a PRUNE's backoff panics; GHSA-vrx6-jcp8-vm7m"),
    ("snow", "0.9.5", "RUSTSEC-2024-0011: nonce increment on a failed handshake"),
    ("hickory-proto", "0.26.1", "RUSTSEC-2026-0118: a name that loops"),
    ("bytes", "1.11.1", "RUSTSEC-2026-0007"),
    ("h2", "0.4.16", "RUSTSEC-2026-0258: flood of empty frames"),
    ("tungstenite", "0.20.1", "CVE-2023-43669: a long handshake header"),
    ("openmls", "0.9.0", "GHSA-rrmv-c79f-cf5r: a decoder panics"),
    ("crossbeam-epoch", "0.9.20", "RUSTSEC-2026-0204"),
    ("rustls-webpki", "0.103.13", "RUSTSEC-2026-0104"),
    ("quinn-proto", "0.11.15", "RUSTSEC-2026-0185: memory exhaustion"),
];

/// Crates that must not be in the tree at all.
const FORBIDDEN: &[(&str, &str)] = &[
    ("openmls_basic_credential", "it would hold the device's key outside our key type"),
    ("openssl-sys", "a C library that operators would have to patch"),
];

#[test]
fn the_lock_file_holds_no_version_with_a_known_fault() {
    let locked = locked_versions();
    for (name, minimum, fault) in MINIMUMS {
        for version in locked.get(*name).into_iter().flatten() {
            assert!(
                numbers(version) >= numbers(minimum),
                "{name} {version} is locked, at least {minimum} is needed: {fault}"
            );
        }
    }
    assert_eq!(
        locked.get("sled").map(Vec::as_slice),
        Some(&["0.34.7".to_owned()][..]),
        "the guards fit sled 0.34.7 alone"
    );
}

#[test]
fn no_forbidden_crate_is_locked() {
    let locked = locked_versions();
    for (name, why) in FORBIDDEN {
        assert!(!locked.contains_key(*name), "{name} must not be in the tree: {why}");
    }
}

fn locked_versions() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    let lock: toml::Table = text.parse().unwrap();
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for package in lock["package"].as_array().unwrap() {
        let field = |name: &str| package[name].as_str().unwrap().to_owned();
        versions.entry(field("name")).or_default().push(field("version"));
    }
    assert!(versions.len() > 100, "the lock file was not read");
    versions
}

fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap();
    release.split('.').map(|part| part.parse().unwrap()).collect()
}
