//! The stories are in `stories/`; this crate exports nothing.
