//! The device core for JavaScript: rows, frames and what a person does, as bytes and plain objects.
//!
//! The same contract as the core: `handle` and what a person does, any number of times; then `finish`, whose rows are committed
//! in one transaction; only then `outputs`. After any error whose code is `internal` drop the device and open it again. Seals
//! every row to the key it is given, so that whoever stores them reads nothing. Never touches a socket, a store or a clock.

mod acts;
mod device;
mod failure;
mod files;
mod joining;
mod push;
mod vault;
mod view;

pub use device::Device;
pub use files::{FileOpener, FileSealer};
pub use joining::{Link, Restore, SignUp};
pub use vault::Rows;

/// Randomness of the system for the core. Without it nothing may be sealed.
#[expect(clippy::disallowed_methods, reason = "the edge: the core takes its randomness from here")]
#[expect(clippy::expect_used, reason = "a device that goes on without randomness would reuse keys and nonces")]
fn draw(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system has randomness");
}
