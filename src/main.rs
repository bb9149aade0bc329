//! The `verkada2mqtt` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    verkada2mqtt::cli::main()
}
