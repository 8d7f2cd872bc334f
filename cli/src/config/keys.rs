//! The keys of a node's directory. What a key file holds is in no message.

use super::files::write_private;
use crate::output::{Failure, random};
use roost_crypto::keys::SecretKey;
use roost_node::push::VapidKey;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Draws a key and writes its seed in hex.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn create_key(path: &Path) -> Result<SecretKey, Failure> {
    let seed = Zeroizing::new(random::<32>()?);
    let text = Zeroizing::new(hex::encode(seed.as_slice()));
    write_private(path, text.as_bytes())?;
    Ok(SecretKey::from_seed(&seed))
}

/// Draws the key that a node proves itself with to push services, and writes its seed in hex.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn create_vapid_key(path: &Path) -> Result<VapidKey, Failure> {
    loop {
        let seed = Zeroizing::new(random::<32>()?);
        // One of some four billion is no key.
        if let Ok(key) = VapidKey::from_seed(&seed) {
            let text = Zeroizing::new(hex::encode(seed.as_slice()));
            write_private(path, text.as_bytes())?;
            return Ok(key);
        }
    }
}

/// Reads it.
///
/// # Errors
/// As [`read_key`].
pub fn read_vapid_key(path: &Path) -> Result<VapidKey, Failure> {
    VapidKey::from_seed(&*read_seed(path)?).map_err(|_| no_key(path))
}

/// Reads a key that only the owner can read.
///
/// # Errors
/// [`Failure`]: absent, readable by others, or no seed. It never holds what the file holds.
pub fn read_key(path: &Path) -> Result<SecretKey, Failure> {
    Ok(SecretKey::from_seed(&*read_seed(path)?))
}

fn no_key(path: &Path) -> Failure {
    let message = format_args!("{} holds no key", path.display());
    Failure::failed("key", message, "expected 64 hex digits; restore it from a backup")
}

fn read_seed(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let file = path.display();
    let metadata = fs::metadata(path).map_err(Failure::io(format_args!("reading {file}")))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let hint = format!("chmod 600 {file}");
        return Err(Failure::failed("key_mode", format_args!("{file} can be read by others"), hint));
    }
    let bad = || no_key(path);
    if metadata.len() > 128 {
        return Err(bad());
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|_| bad())?);
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut_slice()).map_err(|_| bad())?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_refused_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let made = create_key(&path).unwrap();
        assert_eq!(read_key(&path).unwrap().public_key(), made.public_key(), "the key comes back");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let failure = read_key(&path).unwrap_err();
        assert_eq!(failure.code, "key_mode", "the mode is the fault");
        let secret = fs::read_to_string(&path).unwrap();
        assert!(!failure.render(true).contains(&secret), "no message holds the key");
    }
}
