//! Stories about the whole: what no single crate can show of itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod bench;
mod canary;
mod dependencies;
mod devices;
mod disk_faults;
mod durable;
mod failure;
mod files;
mod full_disk;
mod groups;
mod hostile;
mod hubs;
mod interactive;
mod kills;
mod load;
mod nodes;
mod observe;
mod people;
mod power;
mod presence;
mod production;
mod push;
mod race;
mod refusals;
mod roost;
mod sealed;
mod specification;
mod talk;
mod vectors;
mod way;
mod wide;
