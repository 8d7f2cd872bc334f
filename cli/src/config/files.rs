//! Files of a node's directory: for their owner only, on disk when a function returns.

use crate::output::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file for the owner only, on disk when this returns. It must not exist.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Failure::io(format_args!("writing {}", path.display())))
}

/// Makes a directory for the owner only.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn make_private_dir(path: &Path) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(Failure::io(format_args!("making {}", path.display()))),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn sync_dir(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Failure::io(format_args!("syncing {}", path.display())))
}
