//! One state of the files and the databases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::config::{
    Config, Effect, Fault, Isolation, Object, Place, Revision, Tenant, TenantState, Upstream,
};
use crate::tenant::{Classified, TenantId, TenantKey};

/// The tables that the shared tenants of an upstream use.
#[derive(Clone, Debug)]
pub enum SharedTables {
    /// They could not be looked at.
    Down {
        /// Why, for the log; it may name the server.
        reason: String,
    },
    /// They are known.
    Ready(Arc<Classified>),
}

/// Why nobody can be this tenant now. It does not tell a client which tenants exist.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Unavailable {
    /// No such tenant, or one that a fault stops.
    #[error("tenant \"{tenant}\" is not served here")]
    NotServed {
        /// The name as the client gave it.
        tenant: String,
    },
    /// The operator has suspended it.
    #[error("tenant \"{tenant}\" is suspended")]
    Suspended {
        /// Its name.
        tenant: String,
    },
    /// Its server did not answer when its tables were to be looked at.
    #[error("the database of tenant \"{tenant}\" cannot be reached")]
    UpstreamDown {
        /// The tenant's name.
        tenant: String,
    },
}

/// A tenant that can be served, with all that is needed to do so.
#[derive(Clone, Debug)]
pub struct Served<'a> {
    /// What its file says.
    pub tenant: &'a Tenant,
    /// The cluster that its data are in.
    pub upstream: &'a Upstream,
    /// The tables, if it is a shared tenant; a database tenant has its own.
    pub tables: Option<&'a Arc<Classified>>,
}

/// One state.
#[derive(Debug)]
pub struct Snapshot {
    config: Config,
    shared: BTreeMap<String, SharedTables>,
    revision: Revision,
    version: u64,
}

impl Snapshot {
    /// Puts the files and the databases together. A tenant whose key a table cannot hold is stopped,
    /// and the fault is added.
    pub(super) fn new(
        mut config: Config,
        shared: BTreeMap<String, SharedTables>,
        revision: Revision,
        version: u64,
    ) -> Self {
        for (upstream, tables) in &shared {
            let SharedTables::Ready(classified) = tables else {
                continue;
            };
            for fault in unfit_keys(&config, upstream, classified) {
                if let Effect::Stops(Object::Tenant(name)) = &fault.effect {
                    config.tenants.retain(|id, _| id.as_str() != name);
                }
                config.faults.push(fault);
            }
        }
        Self {
            config,
            shared,
            revision,
            version,
        }
    }

    /// The same with other files, which have been checked.
    pub(super) fn with(&self, config: Config, version: u64) -> Self {
        Self::new(config, self.shared.clone(), self.revision.clone(), version)
    }

    /// What the files held.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The files.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Counts the states since the start.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The shared tables, by upstream.
    pub fn shared(&self) -> &BTreeMap<String, SharedTables> {
        &self.shared
    }

    /// The tenant with this name, if it can be served now.
    pub fn tenant(&self, name: &str) -> Result<Served<'_>, Unavailable> {
        let not_served = || Unavailable::NotServed {
            tenant: name.to_owned(),
        };
        let id = TenantId::parse(name).map_err(|_invalid| not_served())?;
        let tenant = self.config.tenants.get(&id).ok_or_else(not_served)?;
        match tenant.state {
            TenantState::Active => {}
            TenantState::Suspended => {
                return Err(Unavailable::Suspended {
                    tenant: name.to_owned(),
                });
            }
        }
        let upstream = tenant.isolation.upstream();
        let tables = match &tenant.isolation {
            Isolation::Database { .. } => None,
            Isolation::Shared { .. } => match self.shared.get(upstream) {
                Some(SharedTables::Ready(tables)) => Some(tables),
                Some(SharedTables::Down { .. }) | None => {
                    return Err(Unavailable::UpstreamDown {
                        tenant: name.to_owned(),
                    });
                }
            },
        };
        Ok(Served {
            tenant,
            upstream: self.config.upstreams.get(upstream).ok_or_else(not_served)?,
            tables,
        })
    }

    pub(super) fn is_down(&self, upstream: &str) -> bool {
        matches!(self.shared.get(upstream), Some(SharedTables::Down { .. }))
    }

    /// Says what is wrong, and what is not as it may seem.
    pub(super) fn log(&self) {
        for fault in &self.config.faults {
            tracing::error!("{fault}");
        }
        for warning in &self.config.warnings {
            tracing::warn!("{warning}");
        }
        for (upstream, tables) in &self.shared {
            if let SharedTables::Ready(classified) = tables {
                warn_of_rows_of_nobody(upstream, classified);
            }
        }
    }
}

/// Names the tables that are closed since a row may be there that belongs to nobody.
fn warn_of_rows_of_nobody(upstream: &str, classified: &Classified) {
    for (table, column) in classified.nullable_tenant_columns() {
        tracing::warn!(
            upstream,
            "{table} is closed: its tenant column may be NULL. ALTER TABLE {table} ALTER COLUMN {column} SET \
             NOT NULL",
        );
    }
}

/// Tenants whose key some table's tenant column cannot hold.
fn unfit_keys(config: &Config, upstream: &str, classified: &Classified) -> Vec<Fault> {
    let mut faults = Vec::new();
    for tenant in config.tenants.values() {
        let Isolation::Shared { upstream: own, key } = &tenant.isolation else {
            continue;
        };
        if own == upstream {
            faults.extend(unfit_key(&tenant.id, key, classified));
        }
    }
    faults
}

fn unfit_key(tenant: &TenantId, key: &TenantKey, classified: &Classified) -> Option<Fault> {
    let (table, mismatch) = classified.scoped().find_map(|(table, scoped)| {
        let mismatch = scoped.column_type.text(key).err()?;
        Some((format!("{table}.{}", scoped.deciding_column()), mismatch))
    })?;
    Some(Fault {
        place: Place {
            file: PathBuf::from(format!("tenants/{tenant}.toml")),
            line: None,
        },
        message: format!("the key does not fit {table}: {mismatch}"),
        remedy: "Give the tenant a key that every tenant column can hold.".to_owned(),
        effect: Effect::Stops(Object::Tenant(tenant.to_string())),
    })
}
