//! `tenantry rewrite`: what becomes of a statement, by the very function that the proxy calls.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use clap::Args;
use serde_json::{Value, json};

use super::{Environment, Outcome, Terminal, block_on};
use crate::admitted::Admitted;
use crate::catalog::Catalog;
use crate::config::{self, Config, Effect, Isolation, MissingSecret, Object, Upstream};
use crate::isolate::refusal::Refusal;
use crate::isolate::{isolate, prepare};
use crate::tenant::{Classified, TenantId, TenantKey};
use crate::upstream::introspect;

#[derive(Args, Debug)]
pub(super) struct Rewrite {
    #[command(flatten)]
    environment: Environment,
    /// The tenant whose session it is.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// A file that `tenantry catalog` wrote; without it, the tenant's upstream is asked.
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// One or several statements.
    sql: String,
}

/// One statement before and after.
struct Rewritten {
    original: String,
    /// With the tenant as a literal, as a Query message carries it.
    literal: String,
    /// With the tenant as a parameter, as a Parse message carries it.
    parameter: String,
}

/// Why nothing can be shown.
struct Stopped {
    message: String,
    outcome: Outcome,
}

impl Rewrite {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let (classified, key) = match self.prepare()? {
            Ok(prepared) => prepared,
            Err(stopped) => {
                writeln!(terminal.err, "tenantry: {}", stopped.message)?;
                return Ok(stopped.outcome);
            }
        };
        match rewritten(&self.sql, &classified, &key) {
            Ok(statements) if self.json => {
                let statements: Vec<Value> = statements.iter().map(Rewritten::json).collect();
                writeln!(terminal.out, "{}", json!({ "statements": statements }))?;
                Ok(Outcome::Fine)
            }
            Ok(statements) => {
                for statement in statements {
                    writeln!(terminal.out, "-- original\n{}", statement.original)?;
                    writeln!(
                        terminal.out,
                        "-- tenant {}\n{}",
                        self.tenant, statement.literal
                    )?;
                }
                Ok(Outcome::Fine)
            }
            Err(refusal) if self.json => {
                writeln!(terminal.out, "{}", refusal_json(&refusal))?;
                Ok(Outcome::Findings)
            }
            Err(refusal) => {
                writeln!(terminal.err, "{}", refusal_text(&refusal, &self.sql))?;
                Ok(Outcome::Findings)
            }
        }
    }

    /// The classified tables and the tenant's key.
    fn prepare(&self) -> io::Result<Result<(Classified, TenantKey), Stopped>> {
        let missing = match &self.catalog {
            Some(_) => MissingSecret::Warning,
            None => MissingSecret::Fault,
        };
        let config = config::load(&self.environment.config, missing);
        let (upstream, key) = match shared_tenant(&config, &self.tenant) {
            Ok(found) => found,
            Err(stopped) => return Ok(Err(stopped)),
        };
        let catalog: Catalog = match &self.catalog {
            Some(file) => serde_json::from_reader(BufReader::new(File::open(file)?))?,
            None => match block_on(introspect(upstream))? {
                Ok(catalog) => catalog,
                Err(error) => {
                    return Ok(Err(Stopped {
                        message: format!("upstream {}: {error}", upstream.name),
                        outcome: Outcome::CannotConnect,
                    }));
                }
            },
        };
        let key = key.clone();
        Ok(Ok((Classified::new(catalog, config.policy), key)))
    }
}

/// The upstream and the key of a tenant whose statements are rewritten.
fn shared_tenant<'a>(
    config: &'a Config,
    name: &str,
) -> Result<(&'a Upstream, &'a TenantKey), Stopped> {
    let wrong_use = |message| Stopped {
        message,
        outcome: Outcome::WrongUse,
    };
    let tenant = TenantId::parse(name)
        .ok()
        .and_then(|id| config.tenants.get(&id))
        .ok_or_else(|| {
            let its_own = Effect::Stops(Object::Tenant(name.to_owned()));
            let of_all = |effect: &Effect| match effect {
                Effect::StopsEverything | Effect::Stops(Object::Upstream(_)) => true,
                Effect::NotSupportedYet(object) => *object == Object::Tenant(name.to_owned()),
                Effect::Nothing | Effect::Stops(_) => *effect == its_own,
            };
            let faults = config.faults.iter().filter(|fault| of_all(&fault.effect));
            let faults: Vec<String> = faults.map(ToString::to_string).collect();
            let faults = faults.join("\n");
            wrong_use(
                format!("tenant {name} is not served\n{faults}")
                    .trim_end()
                    .to_owned(),
            )
        })?;
    let upstream = tenant.isolation.upstream();
    match (&tenant.isolation, config.upstreams.get(upstream)) {
        (Isolation::Shared { key, .. }, Some(upstream)) => Ok((upstream, key)),
        (Isolation::Shared { .. }, None) => {
            Err(wrong_use(format!("upstream {upstream} is not served")))
        }
        (Isolation::Database { database, .. }, _) => Err(wrong_use(format!(
            "tenant {name} has the database {database} of its own: nothing is rewritten"
        ))),
    }
}

fn rewritten(
    sql: &str,
    classified: &Classified,
    key: &TenantKey,
) -> Result<Vec<Rewritten>, Refusal> {
    let isolated = isolate(sql.as_bytes(), &[], classified)?;
    let prepared = prepare(sql.as_bytes(), &[], classified)?;
    let pairs = prepared.into_iter().zip(isolated);
    pairs
        .map(|(prepared, isolated)| {
            let (literal, parameter) = match &isolated.admitted {
                Admitted::Isolated(statement) => {
                    (statement.with_tenant(key)?, statement.text().to_owned())
                }
                Admitted::Bypassed(statement) => {
                    (statement.with_scope()?, statement.text().to_owned())
                }
            };
            Ok(Rewritten {
                original: prepared.original,
                literal,
                parameter,
            })
        })
        .collect()
}

impl Rewritten {
    fn json(&self) -> Value {
        json!({
            "original": self.original,
            "rewritten": self.literal,
            "prepared": self.parameter,
        })
    }
}

fn refusal_json(refusal: &Refusal) -> Value {
    json!({
        "refused": {
            "code": refusal.code(),
            "sqlstate": refusal.sqlstate(),
            "message": refusal.to_string(),
            "hint": refusal.hint(),
            "position": refusal.position,
        }
    })
}

/// The message as a client would see it, under the statement with a caret where a place is known.
fn refusal_text(refusal: &Refusal, sql: &str) -> String {
    let message = refusal.to_string();
    let title = Level::ERROR
        .primary_title(message.as_str())
        .id(refusal.sqlstate());
    let place = refusal.position.and_then(|at| word_at(sql, at));
    let mut group = match place {
        Some(place) => {
            let snippet = Snippet::source(sql);
            title.element(snippet.annotation(AnnotationKind::Primary.span(place)))
        }
        None => Group::with_title(title),
    };
    let hint = refusal.hint();
    if let Some(hint) = &hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    Renderer::plain().render(&[group])
}

/// The bytes of the word that begins at an offset.
fn word_at(sql: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let (_, rest) = sql.split_at_checked(at)?;
    let first = rest.chars().next()?;
    let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let length = rest
        .find(|c| !in_word(c))
        .unwrap_or(rest.len())
        .max(first.len_utf8());
    Some(at..at + length)
}
