//! The thread that writes a log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::chain::{self, Anchor};
use super::log::{Disk, Log};
use super::sink::{AuditError, AuditSettings};
use super::{RECORD_BYTES_MAX, fault::LogFault};
use crate::bypass::AuditRecord;

/// Notes of one tenant within [`NOTES_WINDOW`], and those of no tenant together; more are dropped:
/// neither a tenant nor a stranger who tries to log in must fill the disk.
const NOTES_OF_ONE_MAX: u64 = 100;
const NOTES_WINDOW: Duration = Duration::from_mins(1);
/// How long a note waits for company.
const NOTES_LINGER: Duration = Duration::from_millis(200);
/// Records and bytes of one write.
const GROUP_RECORDS_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = RECORD_BYTES_MAX;

#[derive(Debug)]
pub(super) enum Job {
    Append(Waiting),
    Close(oneshot::Sender<()>),
    Note {
        body: Vec<u8>,
        tenant: Option<String>,
    },
}

/// A record whose writer waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) body: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<Anchor, AuditError>>,
    /// Given back when the record is written, also if its writer has gone away.
    pub(super) room: OwnedSemaphorePermit,
}

/// What is known of notes on both sides.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) waiting: AtomicUsize,
    pub(super) dropped: AtomicU64,
}

/// The thread's state.
pub(super) struct Writer {
    settings: AuditSettings,
    disk: fn() -> Box<dyn Disk>,
    /// None as long as it could not be opened for the first time.
    log: Option<Log>,
    failure: Option<Failure>,
    notes: Arc<Notes>,
    lingering: Vec<Vec<u8>>,
    lingering_since: Option<Instant>,
    flood: Flood,
}

/// Why the log cannot be written.
#[derive(Debug)]
struct Failure {
    reason: String,
    at: Instant,
    /// Records that were refused since.
    refused: u64,
}

/// Jobs that are done at once.
#[derive(Debug, Default)]
struct Group {
    appends: Vec<Waiting>,
    bytes: usize,
    /// Nothing comes after it.
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Asked(oneshot::Sender<()>),
    Abandoned,
}

/// What comes after a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rest {
    Nothing,
    ToCome,
}

impl Writer {
    pub(super) fn new(
        settings: AuditSettings,
        disk: fn() -> Box<dyn Disk>,
        notes: Arc<Notes>,
    ) -> Self {
        Self {
            settings,
            disk,
            log: None,
            failure: None,
            notes,
            lingering: Vec::new(),
            lingering_since: None,
            flood: Flood::default(),
        }
    }

    /// Writes until nobody is left to hand in records, or somebody says that it is the end.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        // What is wrong is logged there, and told to whoever appends.
        self.ensure_open().ok();
        loop {
            let group = self.gather(jobs);
            let now = Instant::now();
            let is_due = self.deadline().is_some_and(|deadline| deadline <= now);
            if is_due || !group.appends.is_empty() || group.end.is_some() {
                let rest = match group.end {
                    Some(_) => Rest::Nothing,
                    None => Rest::ToCome,
                };
                self.write(group.appends, rest);
            }
            match group.end {
                None => {}
                Some(End::Abandoned) => return,
                Some(End::Asked(reply)) => {
                    // The lock is given back before anybody is told.
                    drop(self.log.take());
                    // Nobody need be left to be told.
                    reply.send(()).ok();
                    return;
                }
            }
        }
    }

    /// What waits, or what comes before notes are due.
    fn gather(&mut self, jobs: &Receiver<Job>) -> Group {
        let mut group = Group::default();
        let first = match self.deadline() {
            Some(deadline) => jobs.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => jobs
                .recv()
                .map_err(|_closed| RecvTimeoutError::Disconnected),
        };
        match first {
            Ok(job) => self.take(job, &mut group),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => group.end = Some(End::Abandoned),
        }
        while group.end.is_none()
            && group.appends.len() + self.lingering.len() < GROUP_RECORDS_MAX
            && group.bytes < GROUP_BYTES_MAX
            && let Ok(job) = jobs.try_recv()
        {
            self.take(job, &mut group);
        }
        self.flood
            .drop_more(self.notes.dropped.swap(0, Ordering::AcqRel));
        group
    }

    fn take(&mut self, job: Job, group: &mut Group) {
        match job {
            Job::Append(waiting) => {
                group.bytes += waiting.body.len();
                group.appends.push(waiting);
            }
            Job::Close(reply) => group.end = Some(End::Asked(reply)),
            Job::Note { body, tenant } => {
                self.notes.waiting.fetch_sub(1, Ordering::AcqRel);
                if self.flood.admits(tenant.as_deref()) {
                    self.lingering.push(body);
                    self.lingering_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// When something must be written of which nobody waits.
    fn deadline(&self) -> Option<Instant> {
        let notes = self.lingering_since.map(|since| since + NOTES_LINGER);
        let dropped = self.flood.due();
        match (notes, dropped) {
            (Some(notes), Some(dropped)) => Some(notes.min(dropped)),
            (notes, dropped) => notes.or(dropped),
        }
    }

    /// Writes a group, and tells those who wait.
    fn write(&mut self, appends: Vec<Waiting>, rest: Rest) {
        let notes = std::mem::take(&mut self.lingering);
        self.lingering_since = None;
        let dropped = self.flood.report(rest);
        let mut ours = Vec::new();
        if let Some(failure) = &self.failure {
            ours.push(AuditRecord::Recovered {
                error: failure.reason.clone(),
                refused: failure.refused,
            });
        }
        ours.extend(dropped.as_ref().map(Dropped::record));
        let ours: Vec<Vec<u8>> = ours.iter().filter_map(|it| chain::body(it).ok()).collect();
        let waiting = appends.iter().map(|waiting| &waiting.body);
        let bodies: Vec<&[u8]> = ours
            .iter()
            .chain(&notes)
            .chain(waiting)
            .map(Vec::as_slice)
            .collect();
        if bodies.is_empty() {
            return;
        }
        match self.commit(&bodies) {
            Ok(anchors) => {
                let theirs = anchors.len().saturating_sub(appends.len());
                for (waiting, anchor) in appends.into_iter().zip(anchors.into_iter().skip(theirs)) {
                    waiting.tell(Ok(anchor));
                }
                self.sync_head();
            }
            Err(reason) => {
                let refused = count(appends.len());
                if let Some(failure) = &mut self.failure {
                    failure.refused += refused;
                }
                self.flood.put_back(dropped);
                self.flood.drop_more(count(notes.len()));
                for waiting in appends {
                    let reason = reason.clone();
                    waiting.tell(Err(AuditError::Unavailable { reason }));
                }
            }
        }
    }

    fn commit(&mut self, bodies: &[&[u8]]) -> Result<Vec<Anchor>, String> {
        let log = self.ensure_open()?;
        match log.commit(bodies) {
            Ok(anchors) => {
                if let Some(failure) = self.failure.take() {
                    tracing::info!("audit: the log is written again, after: {}", failure.reason);
                }
                Ok(anchors)
            }
            Err(fault) => Err(self.failed(&fault)),
        }
    }

    /// The log, opened (again) if that is due.
    fn ensure_open(&mut self) -> Result<&mut Log, String> {
        if !self.log.as_ref().is_some_and(Log::is_open) {
            if let Some(failure) = &self.failure
                && failure.at.elapsed() < self.settings.retry_after
            {
                return Err(failure.reason.clone());
            }
            if let Err(fault) = self.open() {
                return Err(self.failed(&fault));
            }
        }
        self.log
            .as_mut()
            .ok_or_else(|| LogFault::NotOpen.to_string())
    }

    fn open(&mut self) -> Result<(), LogFault> {
        if let Some(log) = &mut self.log {
            return log.reopen();
        }
        let AuditSettings {
            file,
            rotate_bytes,
            clock,
            ..
        } = &self.settings;
        self.log = Some(Log::open(file, *rotate_bytes, *clock, (self.disk)())?);
        Ok(())
    }

    fn sync_head(&mut self) {
        if let Some(log) = &mut self.log
            && let Err(fault) = log.sync_head()
        {
            self.failed(&fault);
        }
    }

    /// Remembers a failure, and tells the operator once.
    fn failed(&mut self, fault: &LogFault) -> String {
        let reason = fault.to_string();
        let at = Instant::now();
        match &mut self.failure {
            Some(failure) if failure.reason == reason => failure.at = at,
            failure => {
                tracing::error!("audit: no statement of an admin is sent: {reason}");
                let refused = failure.as_ref().map_or(0, |failure| failure.refused);
                *failure = Some(Failure {
                    reason: reason.clone(),
                    at,
                    refused,
                });
            }
        }
        reason
    }
}

impl Waiting {
    fn tell(self, result: Result<Anchor, AuditError>) {
        drop(self.room);
        // Who asked may have gone away.
        self.reply.send(result).ok();
    }
}

/// Counts notes of tenants, and those that are dropped.
#[derive(Debug, Default)]
struct Flood {
    began: Option<Instant>,
    admitted: BTreeMap<Option<String>, u64>,
    dropped: Dropped,
    dropped_since: Option<Instant>,
}

/// How many notes were dropped.
#[derive(Clone, Debug, Default)]
struct Dropped {
    records: u64,
    tenants: BTreeMap<String, u64>,
}

impl Dropped {
    fn record(&self) -> AuditRecord {
        AuditRecord::Dropped {
            records: self.records,
            tenants: self.tenants.clone(),
        }
    }
}

impl Flood {
    /// Whether a note may still be written within this minute.
    fn admits(&mut self, tenant: Option<&str>) -> bool {
        if self
            .began
            .is_none_or(|began| began.elapsed() >= NOTES_WINDOW)
        {
            self.began = Some(Instant::now());
            self.admitted.clear();
        }
        let admitted = self.admitted.entry(tenant.map(str::to_owned)).or_default();
        *admitted += 1;
        if *admitted <= NOTES_OF_ONE_MAX {
            return true;
        }
        if let Some(tenant) = tenant {
            *self.dropped.tenants.entry(tenant.to_owned()).or_default() += 1;
        }
        self.drop_more(1);
        false
    }

    fn drop_more(&mut self, records: u64) {
        if records > 0 {
            self.dropped.records += records;
            self.dropped_since.get_or_insert_with(Instant::now);
        }
    }

    /// When the count must be on record.
    fn due(&self) -> Option<Instant> {
        self.dropped_since.map(|since| since + NOTES_WINDOW)
    }

    /// The count, if it is due, or if there is no later.
    fn report(&mut self, rest: Rest) -> Option<Dropped> {
        let is_due = self
            .due()
            .is_some_and(|due| rest == Rest::Nothing || due <= Instant::now());
        is_due.then(|| {
            self.dropped_since = None;
            std::mem::take(&mut self.dropped)
        })
    }

    /// The count could not be written.
    fn put_back(&mut self, dropped: Option<Dropped>) {
        let Some(Dropped { records, tenants }) = dropped else {
            return;
        };
        for (tenant, count) in tenants {
            *self.dropped.tenants.entry(tenant).or_default() += count;
        }
        self.drop_more(records);
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
