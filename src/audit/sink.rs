//! The handle through which the proxy writes its log, and the thread that does so.
//!
//! Many wait, one writes: all records that wait are written and synced at once.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};

use super::RECORD_BYTES_MAX;
use super::chain::{self, Anchor};
use super::log::{Disk, RealDisk};
use super::writer::{Job, Notes, Waiting, Writer};
use crate::bypass::{AuditRecord, Timestamp};

/// Bytes of records that may wait at once; more callers wait for room.
const WAITING_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// Notes that may wait at once; more are dropped.
const WAITING_NOTES_MAX: usize = 1024;
/// How a log is written.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// The file.
    pub file: PathBuf,
    /// From this length on, the next record begins a new file.
    pub rotate_bytes: u64,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// How long after a failure the log is tried again.
    pub retry_after: Duration,
}

/// The time of this machine.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that is handed in elsewhere"
)]
pub fn wall_clock() -> Timestamp {
    let since = |early: SystemTime, late: SystemTime| {
        let elapsed = late.duration_since(early).map(|it| it.as_micros());
        elapsed.ok().and_then(|it| i64::try_from(it).ok())
    };
    let (epoch, now) = (SystemTime::UNIX_EPOCH, SystemTime::now());
    let microseconds = since(epoch, now).or_else(|| since(now, epoch).map(i64::saturating_neg));
    Timestamp::from_microseconds(microseconds.unwrap_or(i64::MAX))
}

/// Why a record was not written. What it announces must not happen.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum AuditError {
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
    /// The record is longer than any may be.
    #[error("the audit record would have {bytes} bytes, and {RECORD_BYTES_MAX} at most")]
    TooLarge {
        /// How long it is.
        bytes: usize,
    },
    /// The log cannot be written; the operator is told why.
    #[error("the audit log cannot be written")]
    Unavailable {
        /// Why, for the operator: it names files.
        reason: String,
    },
}

impl AuditError {
    /// What a client is told.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Closed | Self::Unavailable { .. } => "58030",
            Self::TooLarge { .. } => "54000",
        }
    }
}

/// A log that is being written. Clones write to the same one.
#[derive(Clone, Debug)]
pub struct AuditSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    jobs: Sender<Job>,
    room: Arc<Semaphore>,
    notes: Arc<Notes>,
}

impl AuditSink {
    /// Begins to write a log. If that cannot be done, the first record is told so.
    pub fn open(settings: AuditSettings) -> io::Result<Self> {
        Self::open_on(settings, || Box::new(RealDisk))
    }

    pub(super) fn open_on(
        settings: AuditSettings,
        disk: fn() -> Box<dyn Disk>,
    ) -> io::Result<Self> {
        let (jobs, received) = mpsc::channel();
        let notes = Arc::new(Notes::default());
        let writer = Writer::new(settings, disk, Arc::clone(&notes));
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&received))?;
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        let shared = Arc::new(Shared { jobs, room, notes });
        Ok(Self { shared })
    }

    /// Writes a record; returns when it is on the disk. If the caller does not wait for the end, the
    /// record may be written nevertheless.
    pub async fn append(&self, record: &AuditRecord) -> Result<Anchor, AuditError> {
        let body = chain::body(record).map_err(|error| AuditError::Unavailable {
            reason: error.to_string(),
        })?;
        let bytes = body.len();
        let too_large = AuditError::TooLarge { bytes };
        let permits = u32::try_from(bytes)
            .ok()
            .filter(|_| bytes <= RECORD_BYTES_MAX);
        let room = Arc::clone(&self.shared.room);
        let room = room.acquire_many_owned(permits.ok_or(too_large)?).await;
        let room = room.map_err(|_closed| AuditError::Closed)?;
        let (reply, written) = oneshot::channel();
        let waiting = Waiting { body, reply, room };
        let sent = self.shared.jobs.send(Job::Append(waiting));
        sent.map_err(|_closed| AuditError::Closed)?;
        written.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Hands over a record for which nobody waits. It is written soon, or counted as dropped if there
    /// are too many.
    pub fn note(&self, record: &AuditRecord) {
        let notes = &self.shared.notes;
        if notes.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_NOTES_MAX {
            notes.waiting.fetch_sub(1, Ordering::AcqRel);
            notes.dropped.fetch_add(1, Ordering::AcqRel);
            return;
        }
        let tenant = if let AuditRecord::TenantRefused { tenant, .. } = record {
            Some(tenant.clone())
        } else {
            None
        };
        let body = chain::body(record).ok();
        let body = body.filter(|body| body.len() <= RECORD_BYTES_MAX);
        let handed = body.and_then(|body| self.shared.jobs.send(Job::Note { body, tenant }).ok());
        if handed.is_none() {
            notes.waiting.fetch_sub(1, Ordering::AcqRel);
            notes.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Writes what waits and gives the log back; then another process may open it.
    pub async fn close(self) {
        let (reply, closed) = oneshot::channel();
        if self.shared.jobs.send(Job::Close(reply)).is_ok() {
            // It has ended in any case.
            closed.await.ok();
        }
    }
}
