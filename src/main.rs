//! The command line of Tenantry.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenantry::cli::run(std::env::args_os())
}
