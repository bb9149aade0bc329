//! The demo: simulated organisation, embedded broker and gateway in one process.

pub mod broker;
