//! The `verkada2mqtt` program.

fn main() {}
