//! Who a client is, once it has proved which login it has.

use crate::config::{Login, LoginRole, TenantSet};
use crate::protocol::error_response::ErrorReport;
use crate::protocol::startup::Startup;
use crate::registry::{Served, Snapshot, Unavailable};
use crate::tenant::TenantId;

/// Whom a session acts for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Actor {
    /// An operator, on an upstream; without a grant nothing is allowed.
    Admin {
        /// The upstream's name.
        upstream: String,
    },
    /// A tenant.
    Tenant(TenantId),
}

/// Finds whom the login acts for. Every source that names a tenant must name the same one, and it must
/// be one that the login may be. Which of the reasons it is that nobody is found is not told.
pub(super) fn actor(
    snapshot: &Snapshot,
    login: &Login,
    startup: &Startup,
    named_in_options: Option<&str>,
) -> Result<Actor, ErrorReport> {
    let database = asked_database(startup, login);
    match &login.role {
        LoginRole::Admin => {
            if named_in_options.is_none() && snapshot.config().upstreams.contains_key(database) {
                Ok(Actor::Admin {
                    upstream: database.to_owned(),
                })
            } else {
                Err(nobody(login, database).with_hint(
                    "An admin login names an upstream as its database and takes a grant there.",
                ))
            }
        }
        LoginRole::Application { tenants } => {
            let hint = "The database name in the connection string names the tenant.";
            let named = named_tenant(login, tenants, database)
                .ok_or_else(|| nobody(login, database).with_hint(hint))?;
            if named_in_options.is_some_and(|other| other != named.as_str()) {
                return Err(nobody(login, database).with_hint(
                    "The database name and tenantry.tenant must name the same tenant.",
                ));
            }
            match snapshot.tenant(named.as_str()) {
                Ok(Served { .. }) => Ok(Actor::Tenant(named)),
                Err(Unavailable::NotServed { .. } | Unavailable::Suspended { .. }) => {
                    Err(nobody(login, database).with_hint(hint))
                }
                Err(error @ Unavailable::UpstreamDown { .. }) => {
                    Err(ErrorReport::fatal("57P03", error.to_string()))
                }
            }
        }
    }
}

/// The name of the database that a client asks for.
pub(super) fn asked_database<'a>(startup: &'a Startup, login: &'a Login) -> &'a str {
    match startup.parameter("database") {
        Some(database) if !database.is_empty() => database,
        // As PostgreSQL does.
        Some(_) | None => login.name.as_str(),
    }
}

/// The tenant that the database's name stands for: itself, or the login's only tenant if the name is
/// the login's own, which is what `libpq` sends where none was given.
fn named_tenant(login: &Login, tenants: &TenantSet, database: &str) -> Option<TenantId> {
    if let Ok(tenant) = TenantId::parse(database)
        && tenants.contains(&tenant)
    {
        return Some(tenant);
    }
    match tenants {
        TenantSet::Listed(listed) if database == login.name && listed.len() == 1 => {
            listed.first().cloned()
        }
        TenantSet::Listed(_) | TenantSet::All => None,
    }
}

fn nobody(login: &Login, database: &str) -> ErrorReport {
    ErrorReport::fatal(
        "28000",
        format!(
            "database \"{database}\" is not open to login \"{}\"",
            login.name
        ),
    )
}
