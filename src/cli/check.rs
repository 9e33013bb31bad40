//! `tenantry check`: what is wrong with a configuration directory, without any server.

use std::io;

use clap::Args;

use super::{Environment, Outcome, Terminal};
use crate::config::{self, MissingSecret};

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    environment: Environment,
}

impl Check {
    /// Secrets are wanted where the proxy runs, not where its files are checked.
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let config = config::load(&self.environment.config, MissingSecret::Warning);
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
        Ok(if config.faults.is_empty() {
            Outcome::Fine
        } else {
            Outcome::Findings
        })
    }
}
