//! One client from its first byte to its session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::context::Context;
use super::converse::{converse, destination, main_database};
use super::hatch::note_refused_login;
use super::identity::{Actor, actor, asked_database};
use super::parameters::{Requested, initial_variables, requested};
use super::route::Route;
use crate::config::{Isolation, Limits, Login, LoginRole, PoolMode};
use crate::isolate::template::SessionName;
use crate::net::handshake::{ClientStream, HandshakeError, Request};
use crate::net::stream::Stream;
use crate::protocol::error_response::ErrorReport;
use crate::protocol::startup::Startup;
use crate::registry::Snapshot;
use crate::session::{Identity, Session, Variables};
use crate::tenant::TenantKey;

/// As PostgreSQL's `authentication_timeout`.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_mins(1);

/// Serves one client to its end.
pub(super) async fn serve_client(
    stream: Stream,
    address: SocketAddr,
    context: Arc<Context>,
    stopped: watch::Receiver<bool>,
) {
    let client = ClientStream::new(stream);
    let beginning = begin(client, address, &context);
    let begun = tokio::time::timeout(AUTHENTICATION_TIMEOUT, beginning).await;
    match begun {
        Ok(Ok(Some(begun))) => {
            let Begun {
                client,
                login,
                startup,
                requested,
            } = *begun;
            let mut newcomer = Newcomer {
                client,
                login,
                startup,
                requested,
                context,
                stopped,
            };
            match newcomer.admit().await {
                Ok(welcome) => Box::pin(newcomer.converse(*welcome, address)).await,
                Err(report) => {
                    tracing::info!(
                        %address,
                        login = newcomer.login.name,
                        sqlstate = report.sqlstate,
                        "refused: {}",
                        report.message
                    );
                    let (login, startup) = (&newcomer.login, &newcomer.startup);
                    note_refused_admin(&newcomer.context, login, (address, startup), &report);
                    drop(newcomer.client.refuse(report).await);
                }
            }
        }
        Ok(Ok(None)) => {}
        Ok(Err(HandshakeError::Reported(report))) => {
            tracing::info!(%address, sqlstate = report.sqlstate, "refused: {}", report.message);
        }
        Ok(Err(error @ (HandshakeError::Io(_) | HandshakeError::Silent(_)))) => {
            tracing::debug!(%address, %error, "no handshake");
        }
        Err(_) => tracing::info!(%address, "the handshake took too long"),
    }
}

fn note_refused_admin(
    context: &Context,
    login: &Login,
    (address, startup): (SocketAddr, &Startup),
    report: &ErrorReport,
) {
    if let (LoginRole::Admin, Some(sink)) = (&login.role, &context.audit) {
        let database = startup.parameter("database").unwrap_or_default();
        let whose = (login.name.as_str(), address.to_string());
        note_refused_login(sink, (whose.0, &whose.1, database), report.sqlstate);
    }
}

/// A client that has proved its login.
struct Begun {
    client: ClientStream,
    login: Login,
    startup: Startup,
    requested: Requested,
}

async fn begin(
    mut client: ClientStream,
    address: SocketAddr,
    context: &Context,
) -> Result<Option<Box<Begun>>, HandshakeError> {
    let startup = match client.request().await? {
        Request::Cancel { process, key } => {
            context.cancels.cancel(process, &key).await;
            return Ok(None);
        }
        Request::Session(startup) => startup,
    };
    let Some(user) = startup.parameter("user").filter(|user| !user.is_empty()) else {
        let report = ErrorReport::fatal(
            "28000",
            "no PostgreSQL user name specified in startup packet",
        );
        return Err(client.refuse(report).await);
    };
    let requested = match requested(&startup) {
        Ok(requested) => requested,
        Err(report) => return Err(client.refuse(report).await),
    };
    let login = context
        .registry
        .snapshot()
        .config()
        .logins
        .get(user)
        .cloned();
    let verifier = context.verifiers.verifier(user, login.as_ref());
    if let Err(error) = client.authenticate(user, verifier).await {
        if let (Some(login), HandshakeError::Reported(report)) = (&login, &error) {
            note_refused_admin(context, login, (address, &startup), report);
        }
        return Err(error);
    }
    let Some(login) = login else {
        // No password fits an unknown login; this cannot be reached, and must not be passed.
        let report = ErrorReport::fatal("28P01", "password authentication failed");
        return Err(client.refuse(report).await);
    };
    Ok(Some(Box::new(Begun {
        client,
        login,
        startup,
        requested,
    })))
}

/// An authenticated client that has no session yet.
struct Newcomer {
    client: ClientStream,
    login: Login,
    startup: Startup,
    requested: Requested,
    context: Arc<Context>,
    stopped: watch::Receiver<bool>,
}

/// All that a session needs.
struct Welcome {
    session: Session,
    route: Route,
}

impl Newcomer {
    async fn admit(&self) -> Result<Box<Welcome>, ErrorReport> {
        let snapshot = self.context.registry.snapshot();
        let actor = actor(
            &snapshot,
            &self.login,
            &self.startup,
            self.requested.tenant.as_deref(),
        )?;
        let route = self.route(&snapshot, actor)?;
        let variables = Variables::new(initial_variables(
            &route.settings,
            &self.requested,
            &route.limits,
        ));
        let reported = route.greeting(&self.context, &variables).await?;
        let mut reported = (*reported).clone();
        // What the server was told is the pool's; the client's name for itself is its own.
        if let Some(name) = variables.current().get("application_name") {
            reported.insert("application_name".to_owned(), name.clone());
        }
        reported.insert("session_authorization".to_owned(), self.login.name.clone());
        let identity = Identity {
            session: self.context.numbers.next(),
            key: route.key.clone(),
            name: Arc::new(self.session_name()),
        };
        let mut session = Session::new(identity, variables, reported);
        if snapshot.config().pool.mode == PoolMode::Session
            && matches!(route.actor, Actor::Tenant(_))
        {
            session.keep_its_server();
        }
        if let Actor::Admin { upstream } = &route.actor {
            let rules = self.context.admin_rules(&snapshot, upstream);
            session.open_hatch(self.login.name.clone(), rules);
        }
        Ok(Box::new(Welcome { session, route }))
    }

    /// What the client called itself, and the database that it asked for.
    fn session_name(&self) -> SessionName {
        SessionName {
            database: asked_database(&self.startup, &self.login).to_owned(),
            login: self.login.name.clone(),
        }
    }

    /// Where the actor's statements go, and with what bounds.
    fn route(&self, snapshot: &Snapshot, actor: Actor) -> Result<Route, ErrorReport> {
        let unknown = || ErrorReport::fatal("28000", "the tenant is no longer served");
        match &actor {
            Actor::Admin { upstream } => {
                let upstream = snapshot
                    .config()
                    .upstreams
                    .get(upstream)
                    .ok_or_else(unknown)?;
                Ok(Route {
                    target: main_database(upstream),
                    connections_max: upstream.connections_max,
                    settings: std::collections::BTreeMap::new(),
                    limits: Limits::default(),
                    key: TenantKey::Text(String::new()),
                    _counted: None,
                    login: self.login.name.clone(),
                    actor,
                })
            }
            Actor::Tenant(id) => {
                let served = snapshot.tenant(id.as_str()).map_err(|_error| unknown())?;
                let key = match &served.tenant.isolation {
                    // Nothing asks for it: no statement has a place for the tenant.
                    Isolation::Database { .. } => TenantKey::Text(String::new()),
                    Isolation::Shared { key, .. } => key.clone(),
                };
                let (target, _rules) = destination(&served).ok_or_else(unknown)?;
                let limits = served.tenant.limits;
                let counted = self
                    .context
                    .count(id, limits.client_connections)
                    .ok_or_else(|| {
                        ErrorReport::fatal("53300", "too many connections for this tenant")
                    })?;
                let upstream = served.upstream;
                Ok(Route {
                    target,
                    connections_max: upstream.connections_max,
                    settings: served.tenant.settings.clone(),
                    limits,
                    key,
                    _counted: Some(counted),
                    login: self.login.name.clone(),
                    actor,
                })
            }
        }
    }

    async fn converse(self, welcome: Welcome, address: SocketAddr) {
        let minor_version = self.startup.agreed_minor_version();
        let registration = self.context.cancels.register(minor_version);
        let Welcome { session, route } = welcome;
        let tenant = route.tenant_name();
        tracing::info!(%address, tenant, login = route.login, "connected");
        let login = route.login.clone();
        let refused = converse(super::converse::Conversation {
            client: self.client,
            session,
            route,
            registration,
            address,
            context: self.context,
            stopped: self.stopped,
        })
        .await;
        tracing::info!(%address, tenant, login, refused, "disconnected");
    }
}
