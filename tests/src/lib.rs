//! The stories are in `stories/`. What a story and a process that it starts must both know is here; nothing else is exported.

pub mod chronicle;
