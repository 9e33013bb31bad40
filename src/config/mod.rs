//! The configuration directory: files in, [`Config`] out, with everything that is wrong in them.
//!
//! In: the files of one environment (`tenantry.toml`, `policy.toml`, `tenants/*.toml`,
//! `grants/*.toml`). Out: [`Config`], which holds what is usable, and its faults.
//!
//! # Invariants
//! 1. This module alone reads the environment and secrets' files.
//! 2. Every fault is collected, with its file, line and remedy; reading does not stop at the first.
//! 3. What a fault stops is not in the [`Config`]: nobody can use it by not looking at the faults.
//! 4. A key whose function does not exist yet is never ignored in silence: it stops what it belongs
//!    to if neglecting it could let more through, and warns otherwise.
//!
//! # Not here
//! What the policy makes of a database: [`crate::tenant::Classified`]. When files are read again:
//! `registry`.

mod environment;
mod fault;
mod file;
mod grants;
mod policy;
mod read;
mod revision;
mod secret;
mod server;
mod table;
mod tenants;
mod types;
mod values;

use std::path::Path;

pub use environment::MissingSecret;
pub use fault::{Effect, Fault, Object, Place};
pub use read::GRANTS;
pub use revision::Revision;
pub use secret::{ScramVerifier, Secret};
pub use types::{
    Audit, Config, Credentials, Isolation, Limits, Listen, Login, LoginRole, LoginSecret, Pool,
    PoolMode, Tenant, TenantState, Upstream, UpstreamAddress,
};

pub use crate::tenant::TenantSet;

use environment::Environment;

/// Reads a directory, with secrets from this process's environment.
pub fn load(directory: &Path, missing: MissingSecret) -> Config {
    load_with(directory, missing, &environment::process_variable)
}

/// Reads a directory, with environment variables from a function.
pub fn load_with(
    directory: &Path,
    missing: MissingSecret,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Config {
    let environment = Environment::new(directory.to_owned(), variable, missing);
    read::read(directory, &environment)
}
