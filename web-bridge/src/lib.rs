//! The crate's place in the layout; its parts follow.
