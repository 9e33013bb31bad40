//! A session and its server connections, from the greeting to the end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::collect::{CollectError, Collector};
use super::context::Context;
use super::fan::Fan;
use super::fan_watch::{Preparation, SERVER_LOST, Sink, Verdict, prepare_fan, settle, watch_fan};
use super::hatch::{Witness, note_refused_tenant, now};
use super::identity::Actor;
use super::relay::{Event, Looked, look_aside, poll_relay};
use super::route::{Route, unavailable};
use crate::bypass::{AdminSession, GrantEnd};
use crate::config::{Isolation, LoginRole, Upstream};
use crate::net::handshake::ClientStream;
use crate::protocol::backend::{
    TransactionStatus, backend_key_data, parameter_status, ready_for_query,
};
use crate::protocol::error_response::ErrorReport;
use crate::registry::{Served, Snapshot};
use crate::session::{Ask, FanOut, Rules, Session};
use crate::tenant::TenantId;
use crate::upstream::{Borrowed, Registration, Target};
use crate::verify::Reach;

/// How often an unfit server connection is exchanged for another.
const EXCHANGES_MAX: usize = 32;

/// A client whose session begins.
pub(super) struct Conversation {
    pub(super) client: ClientStream,
    pub(super) session: Session,
    pub(super) route: Route,
    pub(super) registration: Registration,
    pub(super) address: SocketAddr,
    pub(super) context: Arc<Context>,
    pub(super) stopped: watch::Receiver<bool>,
}

/// Greets the client and serves it to its end. Gives the number of its refusals.
pub(super) async fn converse(mut conversation: Conversation) -> u64 {
    let mut greeting = BytesMut::new();
    for (name, value) in conversation.session.reported() {
        parameter_status(&mut greeting, name, value);
    }
    let key = &conversation.registration.key;
    backend_key_data(&mut greeting, key.process, &key.secret);
    ready_for_query(&mut greeting, TransactionStatus::Idle);
    if conversation
        .client
        .stream
        .write_all(&greeting)
        .await
        .is_err()
    {
        return 0;
    }
    let mut running = Running {
        version: None,
        borrowed: None,
        refused: 0,
        overdue: None,
        looked: Looked::NotYet,
        asked: None,
        witness: witness(&conversation),
        conversation,
    };
    if let (Some(witness), Actor::Admin { upstream }) =
        (&running.witness, &running.conversation.route.actor)
    {
        witness.logged_in(upstream).await;
    }
    running.run().await;
    running.refused
}

fn witness(conversation: &Conversation) -> Option<Witness> {
    let login = &conversation.route.login;
    match &conversation.route.actor {
        Actor::Admin { .. } => Some(Witness::new(
            conversation.context.audit.clone(),
            AdminSession {
                who: login.clone(),
                login: login.clone(),
                client: conversation.address.to_string(),
                session: conversation.registration.key.process,
            },
        )),
        Actor::Tenant(_) => None,
    }
}

/// Returns when the grant in force ends, or the files are read anew.
pub(super) async fn grant_may_end(ends_at: Option<Duration>, mut changes: watch::Receiver<u64>) {
    let time_is_over = async {
        match ends_at {
            // A little later, so that it has ended by then.
            Some(end) => {
                let left = end.saturating_sub(now()) + Duration::from_millis(1);
                tokio::time::sleep(left).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_over => {}
        told = changes.changed() => {
            if told.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Whether somebody still waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Client {
    Gone,
    There,
}

/// How much is read of a client that waits for a server connection, to notice that it leaves.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

/// Returns when the client leaves. What it sends meanwhile is kept, within bounds.
pub(super) async fn leaves(client: &mut ClientStream) {
    while client.input.len() < READ_AHEAD_BYTES_MAX {
        client.input.reserve(1024);
        match client.stream.read_buf(&mut client.input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending::<()>().await;
}

struct Running {
    conversation: Conversation,
    /// Of the snapshot that the session follows.
    version: Option<u64>,
    borrowed: Option<Borrowed>,
    refused: u64,
    /// An admin's session is written down.
    witness: Option<Witness>,
    /// When a server must have answered that was asked to cancel.
    overdue: Option<Instant>,
    looked: Looked,
    /// How many cancel requests came before the statement that is being served.
    asked: Option<u64>,
}

/// A server that has not answered this long after it was asked to cancel is given up.
pub(super) const CANCELLED_WITHIN: Duration = Duration::from_secs(5);

/// Returns at this moment, if there is one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Running {
    async fn run(&mut self) {
        let mut stopped = self.conversation.stopped.clone();
        let mut stopping = *stopped.borrow_and_update();
        loop {
            if stopping && self.conversation.session.is_idle() {
                self.conversation.session.end(&ErrorReport::fatal(
                    "57P01",
                    "terminating connection due to administrator command",
                ));
            }
            let may_end = self.grant_may_end();
            let cut = self.conversation.session.cut();
            self.overdue = self.overdue.filter(|_| cut.is_some());
            let overdue = self.overdue;
            let event = tokio::select! {
                biased;
                event = self.relay() => event,
                () = at(overdue) => {
                    self.give_up(&cut.unwrap_or_else(|| ErrorReport::fatal("08006", SERVER_LOST)));
                    continue;
                }
                _ = stopped.changed(), if !stopping => {
                    stopping = true;
                    continue;
                }
                () = may_end => continue,
            };
            self.log_refusals().await;
            match event {
                Event::Notable => {
                    if self.serve_hatch().await == Client::Gone {
                        break;
                    }
                }
                Event::Finished => self.give_back().await,
                Event::TakesAWhile => {
                    let Conversation {
                        client, session, ..
                    } = &mut self.conversation;
                    look_aside(client, session).await;
                    self.looked = Looked::AtLast;
                }
                Event::WantsServer => {
                    if self.borrow().await == Client::Gone {
                        break;
                    }
                }
                Event::ServerGone(error) => {
                    tracing::warn!(%error, "a server connection was lost at work");
                    self.give_up(&ErrorReport::fatal("08006", SERVER_LOST));
                }
                Event::Ended | Event::ClientGone => break,
            }
        }
        if let Some(witness) = &mut self.witness {
            let why = if stopping {
                GrantEnd::ProxyStopped
            } else {
                GrantEnd::Disconnect
            };
            witness.leaves(&mut self.conversation.session, why).await;
        }
        if self.borrowed.is_some() {
            // What still runs would hold its locks until it notices.
            self.conversation.registration.cancel_and_rest().await;
        }
    }

    /// The server connection is lost, or of no use any more.
    fn give_up(&mut self, report: &ErrorReport) {
        self.conversation.registration.rests();
        self.borrowed = None;
        self.conversation.session.lose_server(report);
    }

    /// Nothing is waited for where no grant can end.
    fn grant_may_end(&self) -> impl Future<Output = ()> + use<> {
        let watched = self.witness.as_ref().map(|_witness| {
            let ends_at = self.conversation.session.grant_ends_at();
            (ends_at, self.conversation.context.registry.changes())
        });
        async {
            match watched {
                Some((ends_at, changes)) => grant_may_end(ends_at, changes).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Cancels what must not go on, and writes down what happened and what is about to.
    async fn serve_hatch(&mut self) -> Client {
        let Conversation {
            session,
            registration,
            context,
            ..
        } = &mut self.conversation;
        if session.take_row_cancel() {
            self.overdue = Some(Instant::now() + CANCELLED_WITHIN);
            // What the client asks next must not be hit.
            registration.cancel().await;
        }
        if session.take_cancel() {
            self.overdue = Some(Instant::now() + CANCELLED_WITHIN);
            // It may have to wait for what the session itself has begun.
            let (context, key) = (Arc::clone(context), registration.key.clone());
            tokio::spawn(async move { context.cancels.cancel(key.process, &key.secret).await });
        }
        let Some(witness) = &mut self.witness else {
            return Client::There;
        };
        let requests = registration.idle_requests();
        witness.tell(session).await;
        if let Some(intent) = session.intent() {
            self.asked = Some(requests);
            let recorded = witness.record(intent).await;
            session.recorded(recorded);
        }
        self.fan_out().await
    }

    /// Runs a statement for each tenant by itself, if the session asks for it.
    async fn fan_out(&mut self) -> Client {
        let Some(request) = self.conversation.session.fan_out().cloned() else {
            return Client::There;
        };
        let Actor::Admin { upstream } = self.conversation.route.actor.clone() else {
            return Client::There;
        };
        // What the session's own server connection does is nothing that could be cancelled.
        let registration = &self.conversation.registration;
        registration.rests();
        let asked = self.asked.take();
        let asked = asked.unwrap_or_else(|| registration.idle_requests());
        let client = Box::pin(self.ask_each(&upstream, (&request, asked))).await;
        if let Some(borrowed) = &mut self.borrowed {
            self.conversation.registration.works(borrowed.server());
        }
        client
    }

    async fn ask_each(&mut self, upstream: &str, (request, asked): (&FanOut, u64)) -> Client {
        let conversation = &mut self.conversation;
        let wanted = (request, asked);
        let prepared = prepare_fan(conversation, &mut self.version, (upstream, wanted)).await;
        let session = &mut conversation.session;
        let fan = match prepared {
            Preparation::Ready(fan, mut skipped) => {
                session.pass_fanned(&mut skipped);
                *fan
            }
            Preparation::Gone => return Client::Gone,
            Preparation::Stopped(error) => {
                session.fanned_out(Err(error));
                return Client::There;
            }
        };
        let verdict = Box::pin(self.run_fan(fan, wanted)).await;
        match verdict {
            Verdict::Finished(finished) => {
                self.conversation.session.fanned_out(finished);
                Client::There
            }
            Verdict::Stopped(report) => {
                self.conversation.session.fanned_out(Err(report));
                Client::There
            }
            Verdict::Gone => Client::Gone,
        }
    }

    /// Runs the parts; the rows go to the client, or into a table of the session's own server connection.
    async fn run_fan(&mut self, fan: Fan, (request, asked): (&FanOut, u64)) -> Verdict {
        let into = match request.ask {
            Ask::Describe(_) => None,
            Ask::Run(_) => request.into.as_deref(),
        };
        let mut sink = match (into, &mut self.borrowed, request.leave.classified()) {
            (Some(table), Some(borrowed), Some(classified)) => {
                let catalog = classified.catalog();
                Sink::Table(Collector::new(borrowed.server(), catalog, table))
            }
            (_, _, _) => Sink::Client,
        };
        let conversation = &mut self.conversation;
        let watched = (request, asked, &mut sink);
        let verdict = watch_fan(conversation, &mut self.version, fan, watched).await;
        let Sink::Table(collector) = sink else {
            return verdict;
        };
        let table = into.unwrap_or_default();
        match settle(collector, verdict).await {
            Ok((columns, verdict)) => {
                if let Some(columns) = columns {
                    self.conversation.session.collected(table, &columns);
                }
                verdict
            }
            Err(CollectError::Failed(error)) => Verdict::Stopped(error),
            Err(CollectError::Lost) => {
                self.borrowed = None;
                let report = ErrorReport::fatal("08006", SERVER_LOST);
                self.conversation.session.lose_server(&report);
                Verdict::Stopped(report.into())
            }
        }
    }

    async fn relay(&mut self) -> Event {
        let Self {
            conversation,
            version,
            borrowed,
            looked,
            ..
        } = self;
        let Conversation {
            client,
            session,
            route,
            context,
            ..
        } = conversation;
        let mut server = borrowed.as_mut().map(Borrowed::server);
        let mut refresh = |session: &mut Session| follow(context, route, version, session);
        poll_fn(|polling| {
            poll_relay(
                polling,
                client,
                session,
                server.as_deref_mut(),
                &mut refresh,
                looked,
            )
        })
        .await
    }

    async fn borrow(&mut self) -> Client {
        let conversation = &mut self.conversation;
        let pool = conversation.route.pool(&conversation.context);
        let turns = conversation.route.turns(&conversation.context);
        let asked = self.asked.take();
        let asked = asked.unwrap_or_else(|| conversation.registration.idle_requests());
        for _ in 0..EXCHANGES_MAX {
            let acquired = tokio::select! {
                biased;
                acquired = pool.acquire_within(turns.clone()) => acquired,
                () = leaves(&mut conversation.client) => return Client::Gone,
                () = conversation.registration.is_cancelled_since(asked) => {
                    conversation.session.no_server(&ErrorReport::error(
                        "57014",
                        "canceling statement due to user request",
                    ));
                    return Client::There;
                }
            };
            match acquired {
                Ok(mut borrowed) => {
                    let server = borrowed.server();
                    if !conversation.session.fits(&server.state) {
                        continue;
                    }
                    conversation.registration.works(server);
                    let state = std::mem::take(&mut server.state);
                    conversation.session.attach(state);
                    self.borrowed = Some(borrowed);
                    return Client::There;
                }
                Err(error) => {
                    let report = unavailable(&error, ErrorReport::error);
                    conversation.session.no_server(&report);
                    return Client::There;
                }
            }
        }
        let report = ErrorReport::error("53300", "no fitting server connection was found");
        conversation.session.no_server(&report);
        Client::There
    }

    async fn give_back(&mut self) {
        self.conversation.registration.rests();
        let detached = self.conversation.session.detach();
        if let (Some(mut borrowed), Some((state, condition))) = (self.borrowed.take(), detached) {
            borrowed.server().state = state;
            borrowed.give_back(condition).await;
        }
    }

    async fn log_refusals(&mut self) {
        let grant = self.conversation.session.grant().map(str::to_owned);
        for refusal in self.conversation.session.take_refusals() {
            self.refused += 1;
            let Conversation {
                route,
                context,
                address,
                ..
            } = &self.conversation;
            let tenant = route.tenant_name();
            tracing::info!(
                tenant,
                login = route.login,
                "refused: {} {}",
                refusal.sqlstate,
                refusal.message
            );
            match (&self.witness, &context.audit) {
                (Some(witness), _) => witness.refused(&refusal, grant.clone()).await,
                (None, Some(sink)) => {
                    let address = address.to_string();
                    let whose = (tenant.as_str(), route.login.as_str(), address.as_str());
                    note_refused_tenant(sink, whose, &refusal);
                }
                (None, None) => {}
            }
        }
    }
}

/// What decides on this client's statements; nothing if the tenant is not served any more, or
/// elsewhere than when the session began.
fn rules(snapshot: &Snapshot, tenant: &TenantId, route: &Route) -> Option<Rules> {
    let served = snapshot.tenant(tenant.as_str()).ok()?;
    let (target, rules) = destination(&served)?;
    let still_open = match &snapshot.config().logins.get(&route.login)?.role {
        LoginRole::Admin => false,
        LoginRole::Application { tenants } => tenants.contains(tenant),
    };
    let same_key = match &served.tenant.isolation {
        Isolation::Database { .. } => true,
        Isolation::Shared { key, .. } => *key == route.key,
    };
    (still_open && same_key && target == route.target).then_some(rules)
}

/// Where a tenant's statements go, and what decides on them.
pub(super) fn destination(served: &Served<'_>) -> Option<(Target, Rules)> {
    let upstream = served.upstream;
    let (database, credentials, rules) = match &served.tenant.isolation {
        Isolation::Shared { .. } => (
            &upstream.database,
            &upstream.credentials,
            Rules::Shared(Arc::clone(served.tables?)),
        ),
        Isolation::Database {
            database,
            credentials: Some(own),
            ..
        } => (database, own, Rules::Own(Reach::OwnRole)),
        Isolation::Database {
            database,
            credentials: None,
            ..
        } => (
            database,
            &upstream.credentials,
            Rules::Own(Reach::BorrowedRole),
        ),
    };
    let target = Target {
        upstream: upstream.name.clone(),
        address: upstream.address.clone(),
        database: database.clone(),
        credentials: credentials.clone(),
    };
    Some((target, rules))
}

/// Puts the session under the newest catalog and policy; ends it if it may not go on.
pub(super) fn follow(
    context: &Context,
    route: &mut Route,
    version: &mut Option<u64>,
    session: &mut Session,
) {
    let snapshot = context.registry.snapshot();
    if matches!(route.actor, Actor::Admin { .. }) {
        session.set_time(now());
    }
    if *version == Some(snapshot.version()) {
        return;
    }
    let first = version.replace(snapshot.version()).is_none();
    let tenant = match &route.actor {
        Actor::Admin { upstream } => {
            let upstream = upstream.clone();
            follow_admin(context, (&snapshot, &upstream), route, session);
            return;
        }
        Actor::Tenant(tenant) => tenant,
    };
    let limits = snapshot
        .config()
        .tenants
        .get(tenant)
        .map(|found| found.limits);
    let kept_max = limits.and_then(|limits| limits.pinned_connections);
    session.set_pins(kept_max.map(|limit| context.pins(tenant, limit)));
    session.set_row_limit(limits.and_then(|limits| limits.result_rows));
    match rules(&snapshot, tenant, route) {
        Some(rules) => {
            let admission = context.admission(&route.target.upstream, &rules);
            session.set_admission(Some(admission));
        }
        None if first => session.set_admission(None),
        None => session.end(&ErrorReport::fatal(
            "57P01",
            "terminating connection: the tenant is no longer served",
        )),
    }
}

/// Puts an admin's session under the newest grants; ends it if the login is no admin's any more, or the
/// upstream is elsewhere.
fn follow_admin(
    context: &Context,
    (snapshot, name): (&Snapshot, &str),
    route: &Route,
    session: &mut Session,
) {
    let config = snapshot.config();
    let is_admin = config
        .logins
        .get(&route.login)
        .is_some_and(|login| login.role == LoginRole::Admin);
    let same = config
        .upstreams
        .get(name)
        .is_some_and(|upstream| main_database(upstream) == route.target);
    if is_admin && same {
        session.set_admin_rules(context.admin_rules(snapshot, name));
    } else {
        session.end(&ErrorReport::fatal(
            "57P01",
            "terminating connection: the login is no longer open here",
        ));
    }
}

/// The database of the shared tables.
pub(super) fn main_database(upstream: &Upstream) -> Target {
    Target {
        upstream: upstream.name.clone(),
        address: upstream.address.clone(),
        database: upstream.database.clone(),
        credentials: upstream.credentials.clone(),
    }
}
