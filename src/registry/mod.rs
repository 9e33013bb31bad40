//! What is served at this moment: the files and the databases, together and immutable.
//!
//! In: a configuration directory, and the servers that it names. Out: [`Snapshot`]s.
//!
//! # Invariants
//! 1. A snapshot never changes. A session keeps the one that it took; whoever asks later gets a newer one.
//! 2. A wrong file never takes effect: on any fault a reload leaves the old state in place. Only the grants
//!    that were taken back end even then.
//! 3. A tenant whose server could not be asked what its tables look like is refused.
//!
//! # Not here
//! What the files mean: [`crate::config`]. What the relations are: [`crate::tenant`].

mod snapshot;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{Mutex, watch};

pub use snapshot::{Served, SharedTables, Snapshot, Unavailable};

use crate::bypass::Grant;
use crate::catalog::Catalog;
use crate::config::{self, Config, Effect, Fault, Isolation, LoginRole, MissingSecret, Revision};
use crate::tenant::Classified;
use crate::upstream::{IntrospectError, introspect};

/// Why a directory does not take effect. The faults are complete.
#[derive(Debug, Error)]
#[error("the configuration has {} faults", .faults.len())]
pub struct Rejected {
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Why a reload did not take effect.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The files are wrong.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// A server that was known can no longer be asked.
    #[error("upstream {upstream}: {error}")]
    Upstream {
        /// Its name.
        upstream: String,
        /// Why.
        error: IntrospectError,
    },
}

/// The current state, and how it is replaced.
#[derive(Debug)]
pub struct Registry {
    directory: PathBuf,
    current: ArcSwap<Snapshot>,
    /// Tells the newest version.
    changes: watch::Sender<u64>,
    /// Held while a new state is made, so that two do not overtake each other.
    changing: Mutex<()>,
    /// Held while a state is put in place of the one before: never for long.
    publishing: parking_lot::Mutex<()>,
}

impl Registry {
    /// Reads a directory for the first time. Faults that stop one object leave it out; a server
    /// that does not answer leaves out its shared tenants until [`Registry::heal`] reaches it.
    pub async fn open(directory: &Path) -> Result<Self, Rejected> {
        let revision = Revision::of(directory);
        let config = config::load(directory, MissingSecret::Fault);
        if config
            .faults
            .iter()
            .any(|fault| fault.effect == Effect::StopsEverything)
        {
            return Err(Rejected {
                faults: config.faults,
            });
        }
        let mut shared = BTreeMap::new();
        for (upstream, catalog) in catalogs(&config).await {
            let tables = match catalog {
                Ok(catalog) => classified(catalog, &config),
                Err(error) => down(&upstream, &error),
            };
            shared.insert(upstream, tables);
        }
        let snapshot = Snapshot::new(config, shared, revision, 1);
        snapshot.log();
        Ok(Self {
            directory: directory.to_owned(),
            current: ArcSwap::from_pointee(snapshot),
            changes: watch::Sender::new(1),
            changing: Mutex::new(()),
            publishing: parking_lot::Mutex::default(),
        })
    }

    /// The current state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Tells whenever a new state is there.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts a state in place of the present one, which `make` is told.
    fn publish(&self, make: impl FnOnce(&Snapshot) -> Option<Snapshot>) -> Arc<Snapshot> {
        let _alone = self.publishing.lock();
        let present = self.current.load_full();
        let Some(new) = make(&present) else {
            return present;
        };
        let new = Arc::new(new);
        self.current.store(Arc::clone(&new));
        self.changes.send_replace(new.version());
        new
    }

    /// Reads the directory and the databases again, and puts the new state in place of the old one
    /// if nothing is wrong with it.
    pub async fn reload(&self) -> Result<Arc<Snapshot>, ReloadError> {
        let result = self.try_reload().await;
        match &result {
            Ok(snapshot) => {
                snapshot.log();
                tracing::info!(version = snapshot.version(), "reloaded");
            }
            Err(error) => {
                if let ReloadError::Rejected(rejected) = error {
                    for fault in &rejected.faults {
                        tracing::error!("{fault}");
                    }
                }
                tracing::error!("reload refused, the old state stays: {error}");
            }
        }
        result
    }

    async fn try_reload(&self) -> Result<Arc<Snapshot>, ReloadError> {
        // What lets less through waits neither for another file to be mended nor for a server to answer.
        self.end_grants();
        let _alone = self.changing.lock().await;
        let revision = Revision::of(&self.directory);
        let config = config::load(&self.directory, MissingSecret::Fault);
        let old = self.current.load_full();
        let new = self.make(&old, config, revision).await?;
        Ok(self.publish(|present| {
            // While the databases were looked at, more grants may have been taken back.
            let written = self.written();
            let mut config = new.config().clone();
            config.grants.retain(|_, grant| !written.takes_back(grant));
            Some(new.with(config, present.version() + 1))
        }))
    }

    /// The grants as the files have them now.
    fn written(&self) -> Written {
        Written::of(&config::load(&self.directory, MissingSecret::Fault))
    }

    /// Puts the files and the databases together, if nothing is wrong with them.
    async fn make(
        &self,
        old: &Snapshot,
        config: Config,
        revision: Revision,
    ) -> Result<Snapshot, ReloadError> {
        if has_wrong(&config.faults) {
            return Err(ReloadError::Rejected(Rejected {
                faults: config.faults,
            }));
        }
        let mut shared = BTreeMap::new();
        for (upstream, catalog) in catalogs(&config).await {
            let tables = match catalog {
                Ok(catalog) => classified(catalog, &config),
                // Nothing is lost where it was down before.
                Err(error) if old.is_down(&upstream) || !has_shared_tenants(&config, &upstream) => {
                    down(&upstream, &error)
                }
                Err(error) => return Err(ReloadError::Upstream { upstream, error }),
            };
            shared.insert(upstream, tables);
        }
        let new = Snapshot::new(config, shared, revision, old.version() + 1);
        if has_wrong(&new.config().faults) {
            return Err(ReloadError::Rejected(Rejected {
                faults: new.config().faults.clone(),
            }));
        }
        Ok(new)
    }

    /// Leaves everything as it is, but for the grants that the files take back. It waits for no server, and
    /// for no reload that does.
    pub fn end_grants(&self) {
        self.publish(|present| {
            let written = self.written();
            let mut config = present.config().clone();
            config.grants.retain(|_, grant| !written.takes_back(grant));
            let is_ended = |name: &&String| !config.grants.contains_key(*name);
            let ended = present.config().grants.keys().filter(is_ended);
            let ended: Vec<&str> = ended.map(String::as_str).collect();
            if ended.is_empty() {
                return None;
            }
            tracing::warn!("grants taken back: {}", ended.join(", "));
            Some(present.with(config, present.version() + 1))
        });
    }

    /// Asks the servers that were down, again and again, until the future is dropped.
    pub async fn heal(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            tokio::time::sleep(pause).await;
            pause = if self.heal_once().await {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
        }
    }

    /// Asks each server that is down once; whether all of them are up.
    async fn heal_once(&self) -> bool {
        let _alone = self.changing.lock().await;
        let old = self.current.load_full();
        let mut shared = BTreeMap::new();
        let mut all_up = true;
        let mut changed = false;
        for (name, tables) in old.shared() {
            let SharedTables::Down { .. } = tables else {
                shared.insert(name.clone(), tables.clone());
                continue;
            };
            let asked = match old.config().upstreams.get(name) {
                Some(upstream) => introspect(upstream).await,
                None => continue,
            };
            let tables = match asked {
                Ok(catalog) => {
                    tracing::info!(upstream = name, "the server answers");
                    changed = true;
                    classified(catalog, old.config())
                }
                Err(error) => {
                    all_up = false;
                    down(name, &error)
                }
            };
            shared.insert(name.clone(), tables);
        }
        if changed {
            let new = self.publish(|present| {
                Some(Snapshot::new(
                    present.config().clone(),
                    shared,
                    present.revision().clone(),
                    present.version() + 1,
                ))
            });
            new.log();
        }
        all_up
    }
}

/// The grants as the files have them, whatever is wrong elsewhere.
struct Written {
    grants: BTreeMap<String, Grant>,
    folder: Folder,
}

/// Whether it is known which files there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Folder {
    Read,
    Unread,
}

impl Written {
    fn of(config: &Config) -> Self {
        let is_folder = |fault: &Fault| fault.place.file == Path::new(config::GRANTS);
        Self {
            grants: config.grants.clone(),
            folder: if config.faults.iter().any(is_folder) {
                Folder::Unread
            } else {
                Folder::Read
            },
        }
    }

    /// Whether this grant is taken back: its file is gone, or wrong, or allows something else, or ends sooner.
    /// What a wrong file was to say nobody knows; it is not what was approved.
    fn takes_back(&self, grant: &Grant) -> bool {
        if self.folder == Folder::Unread {
            return false;
        }
        let new = self.grants.get(&grant.name);
        new.is_none_or(|new| !new.continues(grant) || new.expires < grant.expires)
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Whether a fault is more than something that does not exist yet.
fn has_wrong(faults: &[Fault]) -> bool {
    faults.iter().any(|fault| match fault.effect {
        Effect::Stops(_) | Effect::StopsEverything => true,
        Effect::Nothing | Effect::NotSupportedYet(_) => false,
    })
}

fn has_shared_tenants(config: &Config, name: &str) -> bool {
    config
        .tenants
        .values()
        .any(|tenant| match &tenant.isolation {
            Isolation::Shared { upstream, .. } => upstream == name,
            Isolation::Database { .. } => false,
        })
}

/// The catalogs of the upstreams that shared tenants use; of all, if there are admins.
async fn catalogs(config: &Config) -> Vec<(String, Result<Catalog, IntrospectError>)> {
    let mut catalogs = Vec::new();
    let has_admins = config
        .logins
        .values()
        .any(|login| login.role == LoginRole::Admin);
    for (name, upstream) in &config.upstreams {
        if has_admins || has_shared_tenants(config, name) {
            catalogs.push((name.clone(), introspect(upstream).await));
        }
    }
    catalogs
}

fn classified(catalog: Catalog, config: &Config) -> SharedTables {
    SharedTables::Ready(Arc::new(Classified::new(catalog, config.policy.clone())))
}

fn down(upstream: &str, error: &IntrospectError) -> SharedTables {
    tracing::error!(upstream, "its shared tenants are refused: {error}");
    SharedTables::Down {
        reason: error.to_string(),
    }
}
