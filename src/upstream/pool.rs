//! Pools of server connections: bb8, with what it lacks around it.
//!
//! bb8 wakes whoever comes first and keeps connect errors to itself. So a fair queue stands in front, and
//! whoever waits for a connection that cannot be made is told at once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bb8::{ManageConnection, PooledConnection, QueueStrategy, RunError};
use futures_util::FutureExt;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::connect::{ConnectError, Target, connect};
use super::server::{Server, ServerFault};
use crate::config::Pool as PoolSettings;
use crate::session::Condition;

/// For so long nobody tries again what has just failed: a server that is away is not stormed, and one
/// that is back is noticed.
const FAILURE_HOLDS: Duration = Duration::from_millis(50);

/// How long to wait between looks for idle connections that could be closed for others.
const EVICTION_PAUSE: Duration = Duration::from_millis(10);

/// Why no server connection could be had.
#[derive(Clone, Debug, Error)]
pub enum AcquireError {
    /// The server cannot be reached, or says no.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// All were busy for too long.
    #[error("no server connection became free in time")]
    WaitTimeout,
    /// Those that the tenant may use at once were.
    #[error("the tenant uses as many server connections as it may, and none became free in time")]
    TenantBusy,
}

#[derive(Clone, Debug)]
struct Failure {
    at: Instant,
    error: ConnectError,
}

impl Failure {
    fn is_for_want_of_room(&self) -> bool {
        matches!(self.error, ConnectError::NoneLeft)
    }
}

type Failures = watch::Sender<Option<Failure>>;

#[derive(Debug)]
struct Manager {
    target: Target,
    failures: Arc<Failures>,
    upstream: Arc<Share>,
    wait_timeout: Duration,
}

/// What all pools of an upstream share: the number of connections that it may have.
#[derive(Debug)]
struct Share {
    connections_max: u32,
    permits: Arc<Semaphore>,
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Share {
    fn new(connections_max: u32) -> Self {
        let permits = usize::try_from(connections_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            connections_max,
            permits: Arc::new(Semaphore::new(permits)),
            pools: Mutex::default(),
        }
    }

    /// Leave to make one more connection. While there is none, idle connections of whatever pool are
    /// closed: they would keep others waiting for nothing.
    async fn permit(&self, wait_timeout: Duration) -> Result<OwnedSemaphorePermit, ConnectError> {
        let began = Instant::now();
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return Ok(permit);
            }
            self.evict();
            // One that is busy becomes idle without a sign to us.
            let freed = Arc::clone(&self.permits).acquire_owned();
            match tokio::time::timeout(EVICTION_PAUSE, freed).await {
                Ok(Ok(permit)) => return Ok(permit),
                Ok(Err(_)) | Err(_) if began.elapsed() < wait_timeout => {}
                Ok(Err(_)) | Err(_) => return Err(ConnectError::NoneLeft),
            }
        }
    }

    /// Closes an idle connection of some pool, if there is any.
    fn evict(&self) {
        let pools: Vec<Arc<Pool>> = {
            let mut pools = self.pools.lock();
            pools.retain(|pool| pool.strong_count() > 0);
            pools.iter().filter_map(Weak::upgrade).collect()
        };
        for pool in pools {
            if pool.servers.state().idle_connections == 0 {
                continue;
            }
            if let Some(Ok(mut server)) = pool.servers.get_owned().now_or_never() {
                server.is_clean = false;
                return;
            }
        }
    }
}

impl Manager {
    async fn make(&self) -> Result<Server, ConnectError> {
        let permit = self.upstream.permit(self.wait_timeout).await?;
        let mut server = connect(&self.target).await?;
        server.permit = Some(permit);
        Ok(server)
    }
}

/// What bb8 is told; the details are logged where they occur.
#[derive(Debug)]
struct Unfit;

impl ManageConnection for Manager {
    type Connection = Server;
    type Error = Unfit;

    async fn connect(&self) -> Result<Server, Unfit> {
        match self.make().await {
            Ok(server) => Ok(server),
            Err(error) => {
                tracing::warn!(
                    upstream = self.target.upstream,
                    database = self.target.database,
                    error = error.details(),
                    "no connection to the server"
                );
                self.failures.send_replace(Some(Failure {
                    at: Instant::now(),
                    error,
                }));
                Err(Unfit)
            }
        }
    }

    async fn is_valid(&self, server: &mut Server) -> Result<(), Unfit> {
        server.check().map_err(|error| {
            tracing::debug!(upstream = self.target.upstream, %error, "an idle connection is closed");
            Unfit
        })
    }

    fn has_broken(&self, server: &mut Server) -> bool {
        !server.is_clean
    }
}

/// The server connections of one (upstream, database, user), for tenants or for admins.
#[derive(Debug)]
pub struct Pool {
    servers: bb8::Pool<Manager>,
    queue: Arc<Semaphore>,
    failures: Arc<Failures>,
    wait_timeout: Duration,
}

impl Pool {
    fn new(target: Target, settings: &PoolSettings, upstream: Arc<Share>) -> Self {
        let failures = Arc::new(watch::Sender::new(None));
        // bb8 refuses zeros by a panic.
        let some = |duration: Duration| (!duration.is_zero()).then_some(duration);
        let size = settings.size.max(1);
        let servers = bb8::Pool::builder()
            .max_size(size)
            .queue_strategy(QueueStrategy::Lifo)
            .retry_connection(false)
            .test_on_check_out(true)
            .connection_timeout(some(settings.wait_timeout).unwrap_or(Duration::from_secs(10)))
            .idle_timeout(some(settings.idle_timeout))
            .max_lifetime(some(settings.max_lifetime))
            .build_unchecked(Manager {
                target,
                failures: Arc::clone(&failures),
                upstream,
                wait_timeout: settings.wait_timeout,
            });
        Self {
            servers,
            queue: Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(1))),
            failures,
            wait_timeout: settings.wait_timeout,
        }
    }

    /// Borrows a server connection, in turn: first among those of its tenant where it has a limit, then
    /// among all.
    pub async fn acquire_within(
        &self,
        turns: Option<Arc<Semaphore>>,
    ) -> Result<Borrowed, AcquireError> {
        let Some(turns) = turns else {
            return self.acquire().await;
        };
        let queued = tokio::time::timeout(self.wait_timeout, turns.acquire_owned());
        let Ok(Ok(turn)) = queued.await else {
            return Err(AcquireError::TenantBusy);
        };
        let mut borrowed = self.acquire().await?;
        borrowed.tenants_turn = Some(turn);
        Ok(borrowed)
    }

    /// Borrows a server connection, in turn.
    pub async fn acquire(&self) -> Result<Borrowed, AcquireError> {
        let queued = Arc::clone(&self.queue).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(self.wait_timeout, queued).await else {
            return Err(AcquireError::WaitTimeout);
        };
        let began = Instant::now();
        let mut failures = self.failures.subscribe();
        let recent = failures.borrow_and_update().clone();
        if let Some(failure) = recent
            && !failure.is_for_want_of_room()
            && failure.at.elapsed() < FAILURE_HOLDS
            && self.servers.state().idle_connections == 0
        {
            return Err(failure.error.into());
        }
        loop {
            let got = tokio::select! {
                biased;
                server = self.servers.get_owned() => server,
                _ = failures.changed() => {
                    let failure = failures.borrow_and_update().clone();
                    match failure {
                        // It may be the attempt of somebody who came earlier and has given up; ours
                        // was counted with it, and has to be made anew.
                        Some(failure)
                            if failure.is_for_want_of_room()
                                && began.elapsed() < self.wait_timeout => continue,
                        Some(failure) => return Err(failure.error.into()),
                        None => return Err(AcquireError::WaitTimeout),
                    }
                }
            };
            return match got {
                Ok(mut server) => {
                    server.is_clean = false;
                    Ok(Borrowed {
                        server,
                        _turn: turn,
                        tenants_turn: None,
                    })
                }
                Err(RunError::TimedOut | RunError::User(Unfit)) => Err(AcquireError::WaitTimeout),
            };
        }
    }
}

/// A server connection that was lent. Dropped without [`Borrowed::give_back`], it is closed.
#[derive(Debug)]
pub struct Borrowed {
    // Declared first: it goes back before the next in the queue is called.
    server: PooledConnection<'static, Manager>,
    _turn: OwnedSemaphorePermit,
    tenants_turn: Option<OwnedSemaphorePermit>,
}

impl Borrowed {
    /// The connection.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Gives the connection back, once nothing of its last user is left in it. The caller has put its
    /// state back, and nobody can send cancel requests to it any more.
    pub async fn give_back(mut self, condition: Condition) {
        let server = &mut *self.server;
        server.leave_shelter();
        let cancelled = server.cancels.settle().await;
        let result = match condition {
            Condition::Broken => return,
            Condition::Clean if cancelled => server.reset().await,
            Condition::Clean => Ok(()),
            Condition::Used => server.reset().await,
        };
        match result {
            Ok(()) if server.input.is_empty() => server.is_clean = true,
            Ok(()) => {}
            Err(error @ ServerFault::Io(_)) => {
                tracing::debug!(%error, "a server connection is closed");
            }
            Err(error) => tracing::warn!(%error, "a server connection is closed"),
        }
    }
}

/// On whose behalf server connections are used. Tenants and admins never share one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Users {
    /// Admins, under grants.
    Admins,
    /// Tenants.
    Tenants,
}

/// A pool, and what it was made from.
#[derive(Debug)]
struct Known {
    target: Target,
    settings: PoolSettings,
    pool: Arc<Pool>,
}

/// All pools of the process.
#[derive(Debug, Default)]
pub struct Pools {
    inner: Mutex<PoolsInner>,
}

#[derive(Debug, Default)]
struct PoolsInner {
    /// By upstream, database and user, and by who uses them.
    pools: HashMap<([String; 3], Users), Known>,
    upstreams: HashMap<String, Arc<Share>>,
}

impl Pools {
    /// The pool for a target, made when it is first asked for. When its settings have changed a new one
    /// takes its place, and the old one ends with its last borrower.
    pub fn pool(
        &self,
        target: &Target,
        users: Users,
        settings: &PoolSettings,
        connections_max: u32,
    ) -> Arc<Pool> {
        let mut inner = self.inner.lock();
        let place = [
            target.upstream.clone(),
            target.database.clone(),
            target.credentials.user.clone(),
        ];
        let key = (place, users);
        if let Some(known) = inner.pools.get(&key)
            && known.target == *target
            && known.settings == *settings
        {
            return Arc::clone(&known.pool);
        }
        let upstream = match inner.upstreams.get(&target.upstream) {
            Some(share) if share.connections_max == connections_max => Arc::clone(share),
            Some(_) | None => {
                let share = Arc::new(Share::new(connections_max));
                inner
                    .upstreams
                    .insert(target.upstream.clone(), Arc::clone(&share));
                share
            }
        };
        let pool = Arc::new(Pool::new(target.clone(), settings, Arc::clone(&upstream)));
        upstream.pools.lock().push(Arc::downgrade(&pool));
        let known = Known {
            target: target.clone(),
            settings: *settings,
            pool: Arc::clone(&pool),
        };
        inner.pools.insert(key, known);
        pool
    }
}
