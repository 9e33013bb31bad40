//! Cancel requests: from the key that a client was given to what works for it at that moment.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use postgres_protocol::message::frontend;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, OwnedRwLockWriteGuard, RwLock};

use super::connect::open;
use super::server::{Server, ServerKey};

/// How long a cancel request may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client is given to cancel with.
#[derive(Clone, Debug)]
pub struct CancelKey {
    /// Stands in for a process.
    pub process: u32,
    /// 4 bytes in protocol 3.0, 32 in 3.2.
    pub secret: Vec<u8>,
}

/// Cancel requests on their way to one server connection.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    inner: Arc<Counter>,
}

#[derive(Debug, Default)]
struct Counter {
    /// On their way at the moment.
    flying: AtomicUsize,
    /// Ever sent since the connection was borrowed.
    sent: AtomicUsize,
    landed: Notify,
    /// Read by each request while it is sent, written while nothing may be cancelled.
    gate: Arc<RwLock<()>>,
}

/// Keeps cancel requests off a server connection while it works on Tenantry's own account: they are for what
/// the client asked, which comes behind.
#[derive(Default)]
pub(super) enum Shelter {
    /// Requests are passed on.
    #[default]
    Open,
    /// One is being sent.
    Closing(Pin<Box<dyn Future<Output = OwnedRwLockWriteGuard<()>> + Send>>),
    /// They wait.
    Closed { _gate: OwnedRwLockWriteGuard<()> },
}

impl std::fmt::Debug for Shelter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Open => "Open",
            Self::Closing(_) => "Closing",
            Self::Closed { .. } => "Closed",
        })
    }
}

impl Shelter {
    /// Closes; ready when requests that were being sent have landed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, cancels: &InFlight) -> Poll<()> {
        if matches!(self, Self::Open) {
            *self = Self::Closing(Box::pin(Arc::clone(&cancels.inner.gate).write_owned()));
        }
        if let Self::Closing(gate) = self {
            let gate = ready!(gate.as_mut().poll(context));
            *self = Self::Closed { _gate: gate };
        }
        Poll::Ready(())
    }
}

impl InFlight {
    fn take_off(&self) {
        self.inner.flying.fetch_add(1, Ordering::SeqCst);
        self.inner.sent.fetch_add(1, Ordering::SeqCst);
    }

    fn land(&self) {
        self.inner.flying.fetch_sub(1, Ordering::SeqCst);
        self.inner.landed.notify_waiters();
    }

    /// Waits until none is on its way; says whether there was any since the last call.
    pub(super) async fn settle(&self) -> bool {
        loop {
            let landed = self.inner.landed.notified();
            if self.inner.flying.load(Ordering::SeqCst) == 0 {
                break;
            }
            landed.await;
        }
        self.inner.sent.swap(0, Ordering::SeqCst) > 0
    }
}

#[derive(Debug)]
struct Working {
    key: ServerKey,
    cancels: InFlight,
}

#[derive(Debug)]
struct Slot {
    secret: Vec<u8>,
    working: Mutex<Option<Working>>,
    /// Requests that came while nothing worked for the client, and what wakes it then.
    idle_requests: AtomicU64,
    asked: Notify,
}

impl Slot {
    /// Passes a request on to what works for the client, or wakes the client.
    async fn cancel(&self) {
        let (key, cancels) = {
            let working = self.working.lock();
            let Some(working) = &*working else {
                self.idle_requests.fetch_add(1, Ordering::SeqCst);
                self.asked.notify_waiters();
                return;
            };
            // Counted while the client still holds the connection: it is not lent to another before
            // this request has landed.
            working.cancels.take_off();
            (working.key.clone(), working.cancels.clone())
        };
        let landing = Landing(cancels.clone());
        let sending = async {
            let _gate = cancels.inner.gate.read().await;
            send(&key).await
        };
        let sent = tokio::time::timeout(CANCEL_TIMEOUT, sending).await;
        drop(landing);
        if let Ok(Err(error)) = sent {
            tracing::warn!(%error, "a cancel request could not be passed on");
        }
    }
}

/// Every client that may cancel.
#[derive(Clone, Debug, Default)]
pub struct Cancels {
    slots: Arc<Mutex<HashMap<u32, Arc<Slot>>>>,
}

/// A client's entry, for as long as it is connected.
#[derive(Debug)]
pub struct Registration {
    /// What the client is told.
    pub key: CancelKey,
    slot: Arc<Slot>,
    cancels: Cancels,
}

impl Cancels {
    /// Enters a client under a random key.
    pub fn register(&self, minor_version: u16) -> Registration {
        let secret: Vec<u8> = if minor_version >= 2 {
            rand::random::<[u8; 32]>().to_vec()
        } else {
            rand::random::<[u8; 4]>().to_vec()
        };
        let slot = Arc::new(Slot {
            secret: secret.clone(),
            working: Mutex::new(None),
            idle_requests: AtomicU64::new(0),
            asked: Notify::new(),
        });
        let mut slots = self.slots.lock();
        let process = loop {
            // Clients read it as a signed number.
            let process = rand::random::<u32>() >> 1;
            if process != 0 && !slots.contains_key(&process) {
                break process;
            }
        };
        slots.insert(process, Arc::clone(&slot));
        Registration {
            key: CancelKey { process, secret },
            slot,
            cancels: self.clone(),
        }
    }

    /// Passes a cancel request on, if its key is right and a server connection works for the client.
    pub async fn cancel(&self, process: u32, secret: &[u8]) {
        let slot = self.slots.lock().get(&process).cloned();
        let Some(slot) = slot else {
            return;
        };
        if bool::from(slot.secret.ct_eq(secret)) {
            slot.cancel().await;
        }
    }
}

struct Landing(InFlight);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.land();
    }
}

/// Sends the request and waits until the server has acted: it closes the connection then.
async fn send(key: &ServerKey) -> std::io::Result<()> {
    let mut stream = open(&key.address).await?;
    let mut request = BytesMut::new();
    frontend::cancel_request(key.process, key.secret, &mut request);
    stream.write_all(&request).await?;
    let mut end = [0; 1];
    while stream.read(&mut end).await? > 0 {}
    Ok(())
}

impl Registration {
    /// This server connection works for the client from now on.
    pub fn works(&self, server: &Server) {
        *self.slot.working.lock() = server.key.clone().map(|key| Working {
            key,
            cancels: server.cancels.clone(),
        });
    }

    /// No server connection works for the client.
    pub fn rests(&self) {
        *self.slot.working.lock() = None;
    }

    /// Cancels what works for the client at the moment, if anything does.
    pub async fn cancel(&self) {
        self.slot.cancel().await;
    }

    /// How often the client has asked to cancel while no server connection worked for it.
    pub fn idle_requests(&self) -> u64 {
        self.slot.idle_requests.load(Ordering::SeqCst)
    }

    /// Waits until it has asked so more often than this.
    pub async fn is_cancelled_since(&self, known: u64) {
        loop {
            let mut asked = std::pin::pin!(self.slot.asked.notified());
            asked.as_mut().enable();
            if self.idle_requests() != known {
                return;
            }
            asked.await;
        }
    }

    /// Cancels what a server connection runs that is going to be closed.
    pub async fn cancel_and_rest(&self) {
        let working = self.slot.working.lock().take();
        if let Some(working) = working {
            let sent = tokio::time::timeout(CANCEL_TIMEOUT, send(&working.key)).await;
            if let Ok(Err(error)) = sent {
                tracing::debug!(%error, "what a client left behind could not be cancelled");
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.cancels.slots.lock().remove(&self.key.process);
    }
}
