//! `tenantry check`: what is wrong with a configuration directory; with `--database`, and with the databases.

use std::io;

use clap::Args;

use super::{Environment, Outcome, Terminal, database};
use crate::config::{self, MissingSecret};

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    environment: Environment,
    /// Look at the databases as well: what is closed to tenants and why, and what the server's role could do.
    #[arg(long)]
    database: bool,
}

impl Check {
    /// Secrets are wanted where the proxy runs, not where its files are checked.
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let missing = if self.database {
            MissingSecret::Fault
        } else {
            MissingSecret::Warning
        };
        let config = config::load(&self.environment.config, missing);
        for fault in &config.faults {
            writeln!(terminal.out, "{fault}")?;
        }
        for warning in &config.warnings {
            writeln!(terminal.out, "warning: {warning}")?;
        }
        writeln!(
            terminal.out,
            "{}: {} faults, {} warnings; {} tenants, {} logins, {} upstreams",
            self.environment.config.display(),
            config.faults.len(),
            config.warnings.len(),
            config.tenants.len(),
            config.logins.len(),
            config.upstreams.len(),
        )?;
        let databases = if self.database {
            database::check(&config, terminal)?
        } else {
            Outcome::Fine
        };
        Ok(match databases {
            Outcome::Fine if !config.faults.is_empty() => Outcome::Findings,
            Outcome::Fine | Outcome::Findings | Outcome::WrongUse | Outcome::CannotConnect => {
                databases
            }
        })
    }
}
