//! `tenantry rewrite`: what becomes of a statement, by the very function that the proxy calls.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use clap::Args;
use serde_json::{Value, json};

use super::{Environment, Outcome, Terminal, block_on};
use crate::admitted::Admitted;
use crate::catalog::Catalog;
use crate::config::{self, Config, Effect, Isolation, MissingSecret, Object, Tenant, Upstream};
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::{isolate, prepare};
use crate::tenant::{Classified, Scope, TenantId, TenantKey};
use crate::upstream::introspect;

#[derive(Args, Debug)]
pub(super) struct Rewrite {
    #[command(flatten)]
    environment: Environment,
    /// The tenant whose session it is.
    #[arg(long, value_name = "NAME", required_unless_present = "grant")]
    tenant: Option<String>,
    /// The grant that an admin has taken; with --tenant where it shows what one tenant sees.
    #[arg(long, value_name = "NAME")]
    grant: Option<String>,
    /// The upstream that the admin is connected to, where the grant reaches several.
    #[arg(long, value_name = "NAME", requires = "grant")]
    upstream: Option<String>,
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
pub(super) struct Stopped {
    message: String,
    outcome: Outcome,
}

impl Stopped {
    pub(super) fn tell(self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        writeln!(terminal.err, "tenantry: {}", self.message)?;
        Ok(self.outcome)
    }
}

impl Rewrite {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let session = match self.prepare()? {
            Ok(prepared) => prepared,
            Err(stopped) => return stopped.tell(terminal),
        };
        match session.rewritten(&self.sql) {
            Ok(statements) if self.json => {
                let statements: Vec<Value> = statements.iter().map(Rewritten::json).collect();
                writeln!(terminal.out, "{}", json!({ "statements": statements }))?;
                Ok(Outcome::Fine)
            }
            Ok(statements) => {
                for statement in statements {
                    writeln!(terminal.out, "-- original\n{}", statement.original)?;
                    writeln!(terminal.out, "-- {}\n{}", session.title, statement.literal)?;
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

    /// What decides on the statements, and whose they are.
    fn prepare(&self) -> io::Result<Result<Session, Stopped>> {
        let config = load(&self.environment.config, self.catalog.as_deref());
        let (upstream, actor) = match self.actor(&config) {
            Ok(found) => found,
            Err(stopped) => return Ok(Err(stopped)),
        };
        let classified = match classified(&config, upstream, self.catalog.as_deref())? {
            Ok(classified) => classified,
            Err(stopped) => return Ok(Err(stopped)),
        };
        Ok(Ok(match actor {
            Actor::Admin(scope) => Session {
                title: format!("grant {}", scope.grant),
                classified: classified.under(scope),
                key: None,
            },
            Actor::Tenant { name, key } => Session {
                title: format!("tenant {name}"),
                classified,
                key: Some(key),
            },
        }))
    }

    /// Whose session it is, and on which upstream.
    fn actor<'a>(&self, config: &'a Config) -> Result<(&'a Upstream, Actor), Stopped> {
        match (&self.grant, &self.tenant) {
            (None, Some(tenant)) => {
                let (upstream, _, key) = shared_tenant(config, tenant)?;
                let (name, key) = (tenant.clone(), key.clone());
                Ok((upstream, Actor::Tenant { name, key }))
            }
            (Some(grant), tenant) => self.admin(config, grant, tenant.as_deref()),
            (None, None) => Err(wrong_use("a tenant or a grant must be named".to_owned())),
        }
    }

    fn admin<'a>(
        &self,
        config: &'a Config,
        name: &str,
        tenant: Option<&str>,
    ) -> Result<(&'a Upstream, Actor), Stopped> {
        let its_own = Object::Grant(name.to_owned());
        let grant = config
            .grants
            .get(name)
            .ok_or_else(|| not_usable(config, &format!("there is no grant {name}"), &its_own))?;
        if let Some(tenant) = tenant {
            let (upstream, id, key) = shared_tenant(config, tenant)?;
            let scope = grant.scope_as(id, key).ok_or_else(|| {
                wrong_use(format!("grant {name} is not for what tenant {tenant} sees"))
            })?;
            return Ok((upstream, Actor::Admin(scope)));
        }
        let reached = config.upstreams.values().filter(|upstream| {
            let wanted = self.upstream.as_ref().is_none_or(|it| *it == upstream.name);
            let mut tenants = shared_tenants(config, upstream).into_iter();
            wanted && tenants.any(|(tenant, _)| grant.tenants.contains(tenant))
        });
        match reached.collect::<Vec<_>>().as_slice() {
            [upstream] => {
                let scope = grant
                    .scope(shared_tenants(config, upstream))
                    .ok_or_else(|| {
                        wrong_use(format!(
                            "grant {name} shows what one tenant sees: --tenant NAME"
                        ))
                    })?;
                Ok((*upstream, Actor::Admin(scope)))
            }
            [] => Err(wrong_use(format!(
                "grant {name} reaches no shared tables there"
            ))),
            [..] => Err(wrong_use(format!(
                "grant {name} reaches several upstreams: --upstream NAME"
            ))),
        }
    }
}

fn load(directory: &Path, catalog: Option<&Path>) -> Config {
    let missing = match catalog {
        Some(_) => MissingSecret::Warning,
        None => MissingSecret::Fault,
    };
    config::load(directory, missing)
}

/// What is known of an upstream's database: from a file, or by asking it.
fn classified(
    config: &Config,
    upstream: &Upstream,
    file: Option<&Path>,
) -> io::Result<Result<Classified, Stopped>> {
    let catalog: Catalog = match file {
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
    Ok(Ok(Classified::new(catalog, config.policy.clone())))
}

/// Decides on the statements of a shared tenant; nothing is sent.
pub(super) struct Judge(Classified);

impl Judge {
    /// Whether a message would be sent.
    pub(super) fn admits(&self, sql: &str) -> Result<(), Refusal> {
        isolate(sql.as_bytes(), &[], &self.0).map(drop)
    }
}

/// What decides on a tenant's statements; without a name, on those of the first tenant in shared tables.
pub(super) fn judge(
    directory: &Path,
    tenant: Option<&str>,
    catalog: Option<&Path>,
) -> io::Result<Result<Judge, Stopped>> {
    let config = load(directory, catalog);
    let is_shared = |tenant: &&Tenant| matches!(tenant.isolation, Isolation::Shared { .. });
    let first = config.tenants.values().find(is_shared);
    let Some(name) = tenant.or(first.map(|tenant| tenant.id.as_str())) else {
        return Ok(Err(wrong_use("no tenant has shared tables".to_owned())));
    };
    let upstream = match shared_tenant(&config, name) {
        Ok((upstream, _, _)) => upstream,
        Err(stopped) => return Ok(Err(stopped)),
    };
    Ok(classified(&config, upstream, catalog)?.map(Judge))
}

/// Whose a session is.
enum Actor {
    /// An admin's, under a grant.
    Admin(Scope),
    /// A tenant's.
    Tenant { name: String, key: TenantKey },
}

/// What decides on statements.
struct Session {
    title: String,
    classified: Classified,
    key: Option<TenantKey>,
}

fn wrong_use(message: String) -> Stopped {
    Stopped {
        message,
        outcome: Outcome::WrongUse,
    }
}

/// Says which faults are to blame for an object that is not there.
fn not_usable(config: &Config, message: &str, object: &Object) -> Stopped {
    let of_all = |effect: &Effect| match effect {
        Effect::StopsEverything | Effect::Stops(Object::Upstream(_)) => true,
        Effect::NotSupportedYet(other) | Effect::Stops(other) => other == object,
        Effect::Nothing => false,
    };
    let faults = config.faults.iter().filter(|fault| of_all(&fault.effect));
    let faults: Vec<String> = faults.map(ToString::to_string).collect();
    let message = format!("{message}\n{}", faults.join("\n"));
    wrong_use(message.trim_end().to_owned())
}

/// The tenants of an upstream's shared tables.
fn shared_tenants<'a>(
    config: &'a Config,
    upstream: &Upstream,
) -> Vec<(&'a TenantId, &'a TenantKey)> {
    let of = |tenant: &'a Tenant| match &tenant.isolation {
        Isolation::Shared { upstream: own, key } if *own == upstream.name => {
            Some((&tenant.id, key))
        }
        Isolation::Shared { .. } | Isolation::Database { .. } => None,
    };
    config.tenants.values().filter_map(of).collect()
}

/// The upstream and the key of a tenant whose statements are rewritten.
fn shared_tenant<'a>(
    config: &'a Config,
    name: &str,
) -> Result<(&'a Upstream, &'a TenantId, &'a TenantKey), Stopped> {
    let object = Object::Tenant(name.to_owned());
    let tenant = TenantId::parse(name)
        .ok()
        .and_then(|id| config.tenants.get(&id))
        .ok_or_else(|| not_usable(config, &format!("tenant {name} is not served"), &object))?;
    let upstream = tenant.isolation.upstream();
    match (&tenant.isolation, config.upstreams.get(upstream)) {
        (Isolation::Shared { key, .. }, Some(upstream)) => Ok((upstream, &tenant.id, key)),
        (Isolation::Shared { .. }, None) => {
            Err(wrong_use(format!("upstream {upstream} is not served")))
        }
        (Isolation::Database { database, .. }, _) => Err(wrong_use(format!(
            "tenant {name} has the database {database} of its own: nothing is rewritten"
        ))),
    }
}

impl Session {
    fn rewritten(&self, sql: &str) -> Result<Vec<Rewritten>, Refusal> {
        let isolated = isolate(sql.as_bytes(), &[], &self.classified)?;
        let prepared = prepare(sql.as_bytes(), &[], &self.classified)?;
        let pairs = prepared.into_iter().zip(isolated);
        pairs
            .map(|(prepared, isolated)| {
                let (literal, parameter) = match (&isolated.admitted, &self.key) {
                    (Admitted::Isolated(statement), Some(key)) => {
                        (statement.with_tenant(key)?, statement.text())
                    }
                    (Admitted::Isolated(_), None) => {
                        let what = "a scope".to_owned();
                        return Err(Reason::Unproved { what }.into());
                    }
                    (Admitted::Bypassed(statement), _) => {
                        (statement.with_scope()?, statement.text())
                    }
                };
                Ok(Rewritten {
                    original: prepared.original,
                    literal,
                    parameter: parameter.to_owned(),
                })
            })
            .collect()
    }
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
