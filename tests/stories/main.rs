//! Stories about the whole: what no single crate can show of itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod dependencies;
mod durable;
mod failure;
mod hostile;
mod nodes;
mod race;
mod refusals;
mod roost;
mod specification;
mod talk;
mod vectors;
