//! `tenantry catalog`: what a database looks like, for `tenantry rewrite --catalog` and for tests.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value};

use super::{Environment, Outcome, Terminal, block_on};
use crate::config::{self, Config, MissingSecret, Upstream};
use crate::upstream::introspect;

#[derive(Args, Debug)]
pub(super) struct WriteCatalog {
    #[command(flatten)]
    environment: Environment,
    /// The upstream; not needed where there is only one.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
}

impl WriteCatalog {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let config = config::load(&self.environment.config, MissingSecret::Fault);
        let Some(upstream) = chosen(&config, self.upstream.as_deref()) else {
            for fault in &config.faults {
                writeln!(terminal.err, "{fault}")?;
            }
            let names: Vec<&str> = config.upstreams.keys().map(String::as_str).collect();
            writeln!(
                terminal.err,
                "tenantry: name one of the upstreams with --upstream: {}",
                names.join(", ")
            )?;
            return Ok(Outcome::WrongUse);
        };
        match block_on(introspect(upstream))? {
            Ok(catalog) => {
                write_lines(terminal.out, &serde_json::to_value(&catalog)?)?;
                Ok(Outcome::Fine)
            }
            Err(error) => {
                writeln!(
                    terminal.err,
                    "tenantry: upstream {}: {error}",
                    upstream.name
                )?;
                Ok(Outcome::CannotConnect)
            }
        }
    }
}

/// JSON with one relation, type or function on a line, so that two catalogs can be compared by line.
fn write_lines(out: &mut dyn Write, catalog: &Value) -> io::Result<()> {
    let empty = Map::new();
    let mut before = "{";
    for (key, value) in catalog.as_object().unwrap_or(&empty) {
        write!(out, "{before}\n\"{key}\": ")?;
        before = ",";
        match value.as_array() {
            Some(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(out, "[\n  {}\n]", items.join(",\n  "))?;
            }
            None => write!(out, "{value}")?,
        }
    }
    writeln!(out, "\n}}")
}

/// The named upstream, or the only one.
fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Option<&'a Upstream> {
    match name {
        Some(name) => config.upstreams.get(name),
        None => config
            .upstreams
            .values()
            .next()
            .filter(|_| config.upstreams.len() == 1),
    }
}
