//! The running proxy: accepts clients, drives their sessions, relays.
//!
//! In: a [`Registry`] that is open. Out: clients that are served, until told to stop.
//!
//! # Invariants
//! 1. One future drives one client and its server connection, in both directions at once: a loop that
//!    waits for one direction stalls for ever under pipelining.
//! 2. What cannot be written is not read: a slow reader slows its own server connection, and no more
//!    than a fixed number of bytes waits for it.
//! 3. A client's tenant is found after its authentication, from what its login may be, and every
//!    failure to find one looks the same.
//! 4. A server connection whose future was dropped is closed.
//! 5. A statement of an admin is released to its server only after its record is on disk; without a log
//!    there is no escape hatch, and tenants go on.
//!
//! # Not here
//! What a message means: [`crate::session`]. What a statement becomes: [`crate::isolate`].

mod client;
mod collect;
mod context;
mod converse;
mod fan;
mod fan_watch;
mod hatch;
mod identity;
mod parameters;
mod part;
mod relay;
mod route;
mod stop;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bypass::AuditRecord;
use crate::net::stream::Stream;
use crate::registry::Registry;
use context::Context;

/// Why nothing can be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The configuration has no address to listen on.
    #[error("there is no address to listen on")]
    NoAddress,
}

/// How long clients may finish what they are doing when the proxy stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves clients until `stop` is there; then those that are in a transaction may end it.
pub async fn serve(
    registry: Arc<Registry>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let addresses = registry.snapshot().config().listen.addresses.clone();
    let mut listeners = Vec::new();
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => return Err(ServeError::Listen { address, error }),
        }
    }
    if listeners.is_empty() {
        return Err(ServeError::NoAddress);
    }
    let opened = registry.snapshot().config().audit.clone();
    let context = Arc::new(Context::new(Arc::clone(&registry)));
    let watching = tokio::spawn(hatch::watch_settings(Arc::clone(&registry), opened));
    let (stopping, stopped) = watch::channel(false);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&context), stopped.clone()));
    }
    drop(stopped);
    let recording = context
        .audit
        .clone()
        .map(|sink| tokio::spawn(hatch::record_changes(Arc::clone(&registry), sink)));
    let healing = tokio::spawn(async move { registry.heal().await });
    stop.await;
    tracing::info!("stopping");
    healing.abort();
    watching.abort();
    // Nobody listens any more, so nobody is counted after this.
    accepting.shutdown().await;
    stopping.send_replace(true);
    // Each client holds a receiver.
    if tokio::time::timeout(DRAIN_TIMEOUT, stopping.closed())
        .await
        .is_err()
    {
        tracing::warn!("clients were still busy when the time to stop was over");
    }
    if let Some(recording) = recording {
        recording.abort();
    }
    if let Some(sink) = context.audit.clone() {
        if let Err(error) = sink.append(&AuditRecord::ProxyStopped).await {
            tracing::error!(%error, "the end is not in the audit log");
        }
        sink.close().await;
    }
    Ok(())
}

async fn accept(listener: TcpListener, context: Arc<Context>, stopped: watch::Receiver<bool>) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
    loop {
        match listener.accept().await {
            Ok((stream, address)) => welcome(stream, address, &context, &stopped),
            Err(error) => {
                // Out of descriptors, most likely: others must close theirs first.
                tracing::error!(%error, "a client could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn welcome(
    stream: TcpStream,
    address: SocketAddr,
    context: &Arc<Context>,
    stopped: &watch::Receiver<bool>,
) {
    let context = Arc::clone(context);
    let stopped = stopped.clone();
    match Stream::tcp(stream) {
        Ok(stream) => {
            tokio::spawn(client::serve_client(stream, address, context, stopped));
        }
        Err(error) => tracing::debug!(%address, %error, "a client went away"),
    }
}
