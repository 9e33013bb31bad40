//! The integration tests: one binary, and one throw-away PostgreSQL cluster for all that need one.
//!
//! A test is data plus one function that checks it. Each module offers `trials()`; a new one is
//! added to the list below. Where a new test goes:
//!
//! - what the code must look like: `architecture`
//! - what a configuration means, and what is wrong with it: a case file of `config`
//! - what is read from a server's system catalogs: `catalog`
//! - what becomes of a statement: a case file of `isolate`
//! - whether its answer is the private database's: `differential`
//! - the same over schemas, data and statements made at random: `generated`
//! - the audit log, and what an attacker or a crash makes of it: `audit`
//! - what is served, and how a change of it takes effect: `registry`
//! - the command line as a script meets it: `cli`, `corpus`
//! - an input that a fuzz target found: `fuzz/corpus`, played by `replay`
//! - bytes, sessions and faults, through a running proxy: `wire`
//! - the conditions that applications write: silent, and as quick as by hand: `conditions`
//! - what may run on rows of other tenants, on the worst values: `silent`
//! - a wrong rewrite that the verifier must refuse: `mutants`
//! - the cluster itself and what starts it: `support`

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking, a table of cases is long, and modules offer their trials here"
)]

mod architecture;
mod audit;
mod catalog;
mod cli;
mod conditions;
mod config;
mod corpus;
mod differential;
mod fixture;
mod generated;
mod grants;
mod isolate;
mod mutants;
mod registry;
mod replay;
mod silent;
mod support;
mod via;
mod wire;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial, run};

fn main() -> ExitCode {
    if let Some(code) = audit::run_as_child() {
        return code;
    }
    let arguments = Arguments::from_args();
    let _stopped_at_the_end = support::StopAtEnd;
    let trials = [
        architecture::trials(),
        audit::trials(),
        catalog::trials(),
        cli::trials(),
        corpus::trials(),
        conditions::trials(),
        config::trials(),
        differential::trials(),
        generated::trials(),
        isolate::trials(),
        mutants::trials(),
        registry::trials(),
        replay::trials(),
        silent::trials(),
        support::trials(),
        wire::trials(),
    ];
    let mut trials: Vec<Trial> = trials.into_iter().flatten().collect();
    trials.push(architecture::the_threat_model(&trials));
    run(&arguments, trials).exit_code()
}
