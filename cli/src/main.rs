//! The one binary of Roost; its commands follow.

fn main() {}
