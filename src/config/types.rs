//! What the files say, once they are understood.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::Fault;
use super::secret::{ScramVerifier, Secret};
use crate::bypass::Grant;
use crate::tenant::{Policy, TenantId, TenantKey, TenantSet};

/// One environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory that it was read from.
    pub directory: PathBuf,
    /// Where clients connect.
    pub listen: Listen,
    /// How server connections are pooled.
    pub pool: Pool,
    /// The PostgreSQL clusters, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Who may log in, by name.
    pub logins: BTreeMap<String, Login>,
    /// What each relation of the shared tables is.
    pub policy: Policy,
    /// The tenants; suspended ones are among them, stopped ones are not.
    pub tenants: BTreeMap<TenantId, Tenant>,
    /// Leave to use the escape hatch, by name; those that are not yet or no longer valid, too.
    pub grants: BTreeMap<String, Grant>,
    /// What is wrong, and what it stops.
    pub faults: Vec<Fault>,
    /// What is not as it may seem, but stops nothing.
    pub warnings: Vec<Fault>,
}

/// Where clients connect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    /// `address`: TCP, without TLS.
    pub addresses: Vec<SocketAddr>,
}

/// How long a server connection stays with a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PoolMode {
    /// As long as the client is connected.
    Session,
    /// For one transaction.
    Transaction,
}

/// How server connections are pooled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pool {
    /// `mode`
    pub mode: PoolMode,
    /// `size`: server connections for one (upstream, database, user).
    pub size: u32,
    /// `wait_timeout`: how long a client waits for one.
    pub wait_timeout: Duration,
    /// `idle_timeout`: after it an idle server connection is closed.
    pub idle_timeout: Duration,
    /// `max_lifetime`: after it a server connection is closed when it is next idle.
    pub max_lifetime: Duration,
}

/// Where a cluster listens.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum UpstreamAddress {
    /// `host:port`
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// The directory of a Unix socket, whose port is 5432.
    Unix {
        /// The directory.
        directory: PathBuf,
    },
}

/// A server role.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// A PostgreSQL cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upstream {
    /// `name`
    pub name: String,
    /// `address`
    pub address: UpstreamAddress,
    /// `database`: the one that holds the shared tables.
    pub database: String,
    /// `user` and `password`
    pub credentials: Credentials,
    /// `max_connections`, over all pools.
    pub connections_max: u32,
}

/// How a login proves who it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoginSecret {
    /// `password`
    Password(Secret),
    /// `scram`: a stored verifier.
    Scram(ScramVerifier),
}

/// What a login is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoginRole {
    /// It has no tenant and may read nothing without a grant.
    Admin,
    /// It acts for one of its tenants.
    Application {
        /// `tenants`
        tenants: TenantSet,
    },
}

/// Who may log in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// `name`
    pub name: String,
    /// `password` or `scram`
    pub secret: LoginSecret,
    /// `role` and `tenants`
    pub role: LoginRole,
}

/// Where a tenant's data are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Isolation {
    /// In a database of its own.
    Database {
        /// The upstream's name; it exists.
        upstream: String,
        /// The database.
        database: String,
        /// The tenant's own server role; without one the upstream's is borrowed.
        credentials: Option<Credentials>,
    },
    /// In tables that all shared tenants of the upstream use.
    Shared {
        /// The upstream's name; it exists.
        upstream: String,
        /// The value in the tenant column.
        key: TenantKey,
    },
}

impl Isolation {
    /// The upstream's name.
    pub fn upstream(&self) -> &str {
        match self {
            Self::Database { upstream, .. } | Self::Shared { upstream, .. } => upstream,
        }
    }
}

/// Whether a tenant is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TenantState {
    /// It is.
    Active,
    /// Its sessions are refused.
    Suspended,
}

/// What one tenant may use. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Client connections at once.
    pub client_connections: Option<u32>,
    /// Server connections at once.
    pub active_transactions: Option<u32>,
    /// Pinned server connections at once.
    pub pinned_connections: Option<u32>,
    /// The upper bound of `statement_timeout`.
    pub statement_timeout: Option<Duration>,
    /// The upper bound of `idle_in_transaction_session_timeout`.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Rows of one result.
    pub result_rows: Option<u64>,
}

/// One tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// The stem of its file.
    pub id: TenantId,
    /// Where its data are.
    pub isolation: Isolation,
    /// Whether it is served.
    pub state: TenantState,
    /// `settings`: session variables of each of its sessions, as PostgreSQL spells them.
    pub settings: BTreeMap<String, String>,
    /// `limits`
    pub limits: Limits,
}
