//! Where the statements of a client go, and how many at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::context::{Context, Counted};
use super::identity::Actor;
use crate::config::Limits;
use crate::protocol::error_response::ErrorReport;
use crate::session::{Condition, Variables};
use crate::tenant::TenantKey;
use crate::upstream::{AcquireError, ConnectError, Pool, Target, Users};

/// Where a client's statements go, and on whose behalf.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) target: Target,
    pub(super) connections_max: u32,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) limits: Limits,
    pub(super) key: TenantKey,
    /// Held for as long as the client is connected.
    pub(super) _counted: Option<Counted>,
    pub(super) login: String,
    pub(super) actor: Actor,
}

impl Route {
    /// The tenant's name, for the log.
    pub(super) fn tenant_name(&self) -> String {
        match &self.actor {
            Actor::Admin { .. } => String::new(),
            Actor::Tenant(tenant) => tenant.to_string(),
        }
    }

    pub(super) fn pool(&self, context: &Context) -> Arc<Pool> {
        let snapshot = context.registry.snapshot();
        let users = match &self.actor {
            Actor::Admin { .. } => Users::Admins,
            Actor::Tenant(_) => Users::Tenants,
        };
        let settings = &snapshot.config().pool;
        context
            .pools
            .pool(&self.target, users, settings, self.connections_max)
    }

    /// The tenant's own queue for server connections, if it may not use all there are.
    pub(super) fn turns(&self, context: &Context) -> Option<Arc<Semaphore>> {
        let Actor::Tenant(tenant) = &self.actor else {
            return None;
        };
        let snapshot = context.registry.snapshot();
        let limits = snapshot.config().tenants.get(tenant)?.limits;
        let limit = limits.active_transactions?;
        Some(context.turns(tenant, limit))
    }

    /// What a client that begins with these variables is told by `ParameterStatus`: what a server says
    /// that has them. Asked once for each combination.
    pub(super) async fn greeting(
        &self,
        context: &Context,
        variables: &Variables,
    ) -> Result<Arc<BTreeMap<String, String>>, ErrorReport> {
        let mut values = variables.current().clone();
        values.remove("application_name");
        let place = format!("{}/{}", self.target.upstream, self.target.database);
        let key = (place, values);
        if let Some(known) = context.greetings.get(&key) {
            return Ok(known);
        }
        let mut borrowed = self
            .pool(context)
            .acquire()
            .await
            .map_err(|error| unavailable(&error, ErrorReport::fatal))?;
        let server = borrowed.server();
        match server.align(variables).await {
            Ok(Ok(())) => {}
            Ok(Err(message)) => return Err(ErrorReport::fatal("22023", message)),
            Err(error) => {
                tracing::warn!(error, "a server connection failed");
                return Err(ErrorReport::fatal("08006", "the database server went away"));
            }
        }
        let parameters = Arc::new(server.state.parameters.clone());
        borrowed.give_back(Condition::Clean).await;
        context.greetings.insert(key, Arc::clone(&parameters));
        Ok(parameters)
    }
}

/// What a client is told when there is no server connection for it.
pub(super) fn unavailable(
    error: &AcquireError,
    report: impl Fn(&'static str, String) -> ErrorReport,
) -> ErrorReport {
    let sqlstate = match error {
        AcquireError::Connect(ConnectError::NoneLeft)
        | AcquireError::TenantBusy
        | AcquireError::WaitTimeout => "53300",
        AcquireError::Connect(ConnectError::Refused { sqlstate, .. }) if sqlstate == "57P03" => {
            "57P03"
        }
        AcquireError::Connect(_) => "08006",
    };
    report(sqlstate, error.to_string())
}
