//! The command line: one file for each subcommand.
//!
//! In: arguments. Out: text for a person or a script, and an exit code: 0 fine, 1 findings, 2 wrong
//! use, 3 cannot connect.
//!
//! # Not here
//! Anything that decides: the subcommands call the same functions as the running proxy.

mod audit;
mod catalog;
mod check;
mod corpus;
mod database;
mod rewrite;
mod serve;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Keeps each tenant of a PostgreSQL application inside its own data.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prove the audit log whole, or read it.
    Audit(audit::Audit),
    /// Report what is wrong with a configuration directory.
    Check(check::Check),
    /// Write what an upstream's database looks like, as JSON.
    Catalog(catalog::WriteCatalog),
    /// Say what would become of each statement of a log, or why it would be refused.
    Corpus(corpus::Corpus),
    /// Show what becomes of a statement, or why it is refused.
    Rewrite(rewrite::Rewrite),
    /// Serve clients.
    Serve(serve::Serve),
}

/// What every subcommand takes.
#[derive(Args, Debug)]
struct Environment {
    /// The configuration directory.
    #[arg(long, value_name = "DIR", default_value = ".")]
    config: PathBuf,
}

/// How a subcommand ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Fine,
    Findings,
    WrongUse,
    CannotConnect,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Fine => 0,
            Outcome::Findings => 1,
            Outcome::WrongUse => 2,
            Outcome::CannotConnect => 3,
        })
    }
}

/// Where a subcommand writes.
struct Terminal<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

/// Runs the command line, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are printed on stdout and end well. Nobody is left to be told if
            // printing fails.
            error.print().ok();
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return ExitCode::from(code);
        }
    };
    let mut terminal = Terminal {
        out: &mut io::stdout(),
        err: &mut io::stderr(),
    };
    let outcome = match &arguments.command {
        Command::Audit(command) => command.run(&mut terminal),
        Command::Check(command) => command.run(&mut terminal),
        Command::Catalog(command) => command.run(&mut terminal),
        Command::Corpus(command) => command.run(&mut terminal),
        Command::Rewrite(command) => command.run(&mut terminal),
        Command::Serve(command) => command.run(&mut terminal),
    };
    match outcome {
        Ok(outcome) => outcome.into(),
        // The reader of our output has gone away.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(terminal.err, "tenantry: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// A runtime for the few queries of a subcommand.
fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}
