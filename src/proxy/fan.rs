//! One statement for many tenants: each is asked by itself, and one result is made of their answers.
//!
//! In: a [`FanOut`] of an admin's session. Out: rows with the tenant's name in front, and one command tag.
//!
//! # Invariants
//! 1. Each part is admitted under the scope of its own tenant, and no server sees a statement before all
//!    parts are admitted, and all results have the same columns.
//! 2. A part is a transaction of its own. What of a write was done where is told, whatever happens.
//! 3. What is cancelled, and what nobody waits for any more, is cancelled on every server until it has ended.
//!
//! # Not here
//! What a part is sent and answers: `part`. Whether it may be run at all: [`crate::session`].

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::context::Context;
use super::converse::main_database;
use super::part::{Answer, Part, PartError, Whose, too_many};
use super::stop::{Stop, until_ended};
use crate::admitted::Admitted;
use crate::config::{Isolation, Upstream};
use crate::isolate::{Isolated, Kind};
use crate::protocol::backend::{TransactionStatus, empty, message, put_string};
use crate::protocol::error_response::ErrorReport;
use crate::registry::Snapshot;
use crate::session::{Admission, Ask, FanError, FanOut, OnError, Rules};
use crate::tenant::{Rows, Scope, TenantId, Verb};
use crate::upstream::Registration;

/// How many tenants are asked at the same time.
const AT_ONCE: usize = 4;

/// Takes frames for the client while the parts run.
pub(super) type Frames = mpsc::Sender<BytesMut>;

/// All parts of one statement.
pub(super) struct Fan {
    request: FanOut,
    parts: Vec<Part>,
    is_write: bool,
    stop: Stop,
    /// When servers that do not answer are left, once the parts must end.
    give_up: Option<Instant>,
}

impl Fan {
    /// Finds the parts, and admits the statement for each.
    pub(super) async fn prepare(
        context: &Arc<Context>,
        upstream: &str,
        request: &FanOut,
    ) -> Result<(Self, BytesMut), FanError> {
        let snapshot = context.registry.snapshot();
        let mut parts = Vec::new();
        let mut skipped = BytesMut::new();
        let mut is_write = false;
        let stop = Stop::new();
        for (tenant, place) in places(&snapshot, upstream, request) {
            match part(context, (request, &stop), (&tenant, place)).await {
                Ok((part, verbs)) => {
                    is_write |= verbs.iter().any(|verb| *verb != Verb::Select);
                    parts.push(part);
                }
                Err(PartError::Unreachable(report)) if request.on_error == OnError::Skip => {
                    // It is said once, with the result.
                    if matches!(request.ask, Ask::Run(_)) {
                        notice(&mut skipped, &report.message);
                    }
                }
                Err(PartError::Failed(report) | PartError::Unreachable(report)) => {
                    return Err(report);
                }
            }
        }
        if is_write && request.into.is_some() {
            let message = "what a statement changes cannot be collected";
            return Err(ErrorReport::error("0A000", message).into());
        }
        if is_write && request.status != TransactionStatus::Idle {
            let message = "each tenant is written in a transaction of its own: this cannot be part of \
                           a transaction block";
            return Err(ErrorReport::error("25001", message).into());
        }
        let fan = Self {
            request: request.clone(),
            parts,
            is_write,
            stop,
            give_up: None,
        };
        Ok((fan, skipped))
    }

    /// What ends the parts before their time.
    pub(super) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs all parts.
    pub(super) async fn run(mut self, frames_out: Frames) -> Result<String, FanError> {
        let mut rows = 0;
        self.answer(&frames_out, &mut rows).await
    }

    async fn answer(&mut self, frames_out: &Frames, rows: &mut u64) -> Result<String, FanError> {
        self.describe(frames_out).await?;
        if !self.is_run() {
            Ok(String::new())
        } else if self.is_write {
            self.write(frames_out, rows).await
        } else {
            self.read(frames_out, rows).await
        }
    }

    /// Asks each part what its columns are: they must be the same.
    async fn describe(&mut self, frames_out: &Frames) -> Result<(), FanError> {
        let mut frames = BytesMut::new();
        let skips = self.request.on_error == OnError::Skip;
        let registrations = self.registrations();
        let asked = stream::iter(self.parts.drain(..).map(|mut part| async move {
            let described = part.describe().await;
            (part, described)
        }));
        let asked = asked.buffered(AT_ONCE).collect();
        let ending = (&self.stop, registrations.as_slice());
        let described: Vec<_> = until_ended(asked, ending, &mut self.give_up)
            .await
            .ok_or_else(cut_off)?;
        let mut columns: Vec<(TenantId, Answer)> = Vec::new();
        for (part, described) in described {
            match described {
                Ok(answer) => {
                    columns.push((part.tenant().clone(), answer));
                    self.parts.push(part);
                }
                Err(PartError::Unreachable(report)) if skips => {
                    notice(&mut frames, &report.message);
                }
                Err(PartError::Failed(report) | PartError::Unreachable(report)) => {
                    return Err(report);
                }
            }
        }
        let Some((first, answer)) = columns.first() else {
            let report = ErrorReport::error("08006", "no tenant of the grant can be reached");
            return Err(report.into());
        };
        if let Some((other, _)) = columns
            .iter()
            .find(|(_, other)| other.columns != answer.columns)
        {
            let message = format!(
                "tenants \"{first}\" and \"{other}\" do not have the same columns for this statement"
            );
            return Err(ErrorReport::error("42804", message).into());
        }
        self.announce(answer, &mut frames);
        tell(frames_out, frames).await;
        Ok(())
    }

    fn announce(&self, answer: &Answer, frames: &mut BytesMut) {
        match (&self.request.ask, &self.request.into) {
            // Who collects sees no rows; what makes the table has to know the columns.
            (Ask::Describe(None), Some(_)) => {
                frames.extend_from_slice(&answer.parameters);
                empty(frames, b'n');
            }
            (Ask::Describe(Some(_)), Some(_)) => empty(frames, b'n'),
            (Ask::Run(_), Some(_)) => {
                if answer.columns.is_some() {
                    self.row_description(answer, frames);
                }
            }
            (ask, None) => self.announce_result(ask, answer, frames),
        }
        if self.is_run() && !self.is_write && self.names_tenants() {
            notice(
                frames,
                "each tenant's rows are a result of its own: aggregates, ORDER BY and LIMIT hold per \
                 tenant",
            );
        }
    }

    fn announce_result(&self, ask: &Ask, answer: &Answer, frames: &mut BytesMut) {
        match ask {
            Ask::Describe(None) => {
                frames.extend_from_slice(&answer.parameters);
                self.row_description(answer, frames);
            }
            Ask::Describe(Some(_)) => self.row_description(answer, frames),
            Ask::Run(None) => {
                if answer.columns.is_some() {
                    self.row_description(answer, frames);
                }
            }
            Ask::Run(Some(_)) => {}
        }
    }

    fn registrations(&self) -> Vec<Arc<Registration>> {
        self.parts.iter().map(Part::registration).collect()
    }

    fn is_run(&self) -> bool {
        match self.request.ask {
            Ask::Describe(_) => false,
            Ask::Run(_) => true,
        }
    }

    /// Who is bound to one tenant sees what that tenant sees.
    fn names_tenants(&self) -> bool {
        self.request.tenant.is_none()
    }

    fn row_description(&self, answer: &Answer, frames: &mut BytesMut) {
        let Some(columns) = &answer.columns else {
            empty(frames, b'n');
            return;
        };
        let count = columns.len() + usize::from(self.names_tenants());
        message(frames, b'T', |body| {
            body.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
            if self.names_tenants() {
                put_string(body, b"tenant");
                // No table; text, of any length, in text format.
                body.put_u32(0);
                body.put_u16(0);
                body.put_u32(crate::catalog::oid::TEXT);
                body.put_i16(-1);
                body.put_i32(-1);
                body.put_u16(0);
            }
            for column in columns {
                column.write(body);
            }
        });
    }

    async fn read(&mut self, frames_out: &Frames, rows: &mut u64) -> Result<String, FanError> {
        let registrations = self.registrations();
        let mut running = stream::iter(self.parts.drain(..).map(|mut part| async move {
            let answer = part.run().await;
            (part, answer)
        }))
        .buffered(AT_ONCE);
        let mut failed = None;
        loop {
            let ending = (&self.stop, registrations.as_slice());
            let next = until_ended(running.next(), ending, &mut self.give_up).await;
            let Some((part, answer)) = next.ok_or_else(cut_off)? else {
                break;
            };
            if failed.is_none()
                && let Err(error) =
                    pass_on(&self.request, (part.tenant(), answer), (frames_out, rows)).await
            {
                // The rest of the parts have nobody to answer.
                failed = Some(error);
                self.stop.stop();
            }
        }
        failed.map_or_else(|| Ok(format!("SELECT {rows}")), Err)
    }

    /// One tenant after the other; what was done is told at once.
    async fn write(&mut self, frames_out: &Frames, rows: &mut u64) -> Result<String, FanError> {
        let names = self.names_tenants();
        let skips = self.request.on_error == OnError::Skip;
        let rows_max = self.request.leave.grant.max_rows;
        let mut command = String::new();
        let registrations = self.registrations();
        let mut parts = self.parts.drain(..);
        while let Some(mut part) = parts.next() {
            let mut frames = BytesMut::new();
            let tenant = part.tenant().clone();
            let left = rows_max.map(|max| max.saturating_sub(*rows));
            let ending = (&self.stop, registrations.as_slice());
            let changed = until_ended(part.change(left), ending, &mut self.give_up).await;
            let unanswered = || Err(PartError::Failed(cut_off().of(&tenant)));
            match changed.unwrap_or_else(unanswered) {
                Ok(answer) => {
                    for row in &answer.rows {
                        data_row(&mut frames, names.then_some(&tenant), row);
                    }
                    let (words, _count) = answer.tag.rsplit_once(' ').unwrap_or((&answer.tag, "0"));
                    words.clone_into(&mut command);
                    *rows += answer.changed();
                    self.request.progress.note(|progress| {
                        progress.rows = *rows;
                        progress.changed.insert(tenant.clone(), answer.changed());
                    });
                    notice(&mut frames, &format!("tenant \"{tenant}\": {}", answer.tag));
                }
                Err(PartError::Unreachable(report)) if skips => {
                    notice(&mut frames, &report.message);
                }
                Err(PartError::Failed(report) | PartError::Unreachable(report)) => {
                    let rest: Vec<String> = parts.map(|part| part.tenant().to_string()).collect();
                    let hint = if rest.is_empty() {
                        "What was done before stays done.".to_owned()
                    } else {
                        format!(
                            "What was done before stays done; nothing was done for {}.",
                            rest.join(", ")
                        )
                    };
                    return Err(FanError {
                        hint: Some(hint),
                        ..report
                    });
                }
            }
            tell(frames_out, frames).await;
        }
        Ok(format!("{command} {rows}"))
    }
}

/// Passes on the rows of one tenant.
async fn pass_on(
    request: &FanOut,
    (tenant, answer): (&TenantId, Result<Answer, PartError>),
    (frames_out, rows): (&Frames, &mut u64),
) -> Result<(), FanError> {
    let names = request.tenant.is_none();
    let rows_max = request.leave.grant.max_rows;
    let mut frames = BytesMut::new();
    match answer {
        Ok(answer) => {
            for row in &answer.rows {
                if let Some(max) = rows_max.filter(|max| *rows >= *max) {
                    request.progress.note(|progress| progress.rows = *rows);
                    tell(frames_out, frames).await;
                    return Err(too_many(max));
                }
                data_row(&mut frames, names.then_some(tenant), row);
                *rows += 1;
            }
            request.progress.note(|progress| progress.rows = *rows);
        }
        Err(PartError::Unreachable(report)) if request.on_error == OnError::Skip => {
            notice(&mut frames, &report.message);
        }
        Err(PartError::Failed(report) | PartError::Unreachable(report)) => return Err(report),
    }
    tell(frames_out, frames).await;
    Ok(())
}

/// Where a tenant's rows are.
enum Place {
    Database(Upstream),
    Shared(Scope),
}

/// The tenants that are asked, by name.
fn places(
    snapshot: &Snapshot,
    upstream: &str,
    request: &FanOut,
) -> Vec<(TenantId, (Upstream, Place))> {
    let leave = &request.leave;
    let config = snapshot.config();
    let is_asked = |tenant: &TenantId| request.tenant.as_ref().is_none_or(|only| only == tenant);
    let mut places = Vec::new();
    for (tenant, key) in leave.shared_tenants() {
        if let (true, Some(main)) = (is_asked(tenant), config.upstreams.get(upstream)) {
            let scope = Scope {
                grant: leave.grant.name.clone(),
                rows: Rows::AsTenant(key.clone()),
                tables: leave.grant.tables.clone(),
                verbs: leave.grant.verbs.clone(),
                counted: leave.grant.counted(),
            };
            places.push((tenant.clone(), (main.clone(), Place::Shared(scope))));
        }
    }
    for tenant in leave.databases().iter().filter(|tenant| is_asked(tenant)) {
        let Some(found) = config.tenants.get(tenant) else {
            continue;
        };
        let Isolation::Database {
            upstream,
            database,
            credentials,
        } = &found.isolation
        else {
            continue;
        };
        let Some(main) = config.upstreams.get(upstream) else {
            continue;
        };
        let own = Upstream {
            database: database.clone(),
            credentials: credentials
                .clone()
                .unwrap_or_else(|| main.credentials.clone()),
            ..main.clone()
        };
        places.push((tenant.clone(), (main.clone(), Place::Database(own))));
    }
    places.sort_by(|(one, _), (other, _)| one.cmp(other));
    places
}

async fn part(
    context: &Arc<Context>,
    (request, stop): (&FanOut, &Stop),
    (tenant, (main, place)): (&TenantId, (Upstream, Place)),
) -> Result<(Part, BTreeSet<Verb>), PartError> {
    let (target, classified) = match place {
        Place::Shared(scope) => {
            let known = request.leave.classified();
            let under = known.map(|classified| classified.under(scope));
            (main_database(&main), under)
        }
        Place::Database(own) => {
            let scope = request.leave.grant.scope_of_database(tenant);
            let classified = context.classified_of(&own).await.map_err(|error| {
                tracing::warn!(%tenant, %error, "a tenant's database cannot be looked at");
                unreachable(tenant)
            })?;
            let under = scope.map(|scope| classified.under(scope));
            (main_database(&own), under)
        }
    };
    let classified = classified.ok_or_else(|| unreachable(tenant))?;
    let rules = Rules::Bypass(Arc::new(classified));
    let admission = Arc::new(Admission::new(rules, request.leave.numbers().clone()));
    let plan = admission
        .admit(&request.sql, &request.declared_types)
        .map_err(|refusal| {
            let report = ErrorReport {
                hint: refusal.hint(),
                ..ErrorReport::error(refusal.sqlstate(), refusal.to_string())
            };
            PartError::Failed(FanError::from(report).of(tenant))
        })?;
    if plan.statements.iter().any(is_copy) {
        let message = "COPY of several databases is not supported [TN1004]";
        return Err(PartError::Failed(
            ErrorReport::error("0A000", message).into(),
        ));
    }
    let verbs = match plan.statements.as_slice() {
        [
            Isolated {
                kind: Kind::Data,
                admitted: Admitted::Bypassed(bypassed),
            },
        ] => bypassed.verbs(),
        _ => return Err(PartError::Failed(several())),
    };
    let whose = Whose {
        tenant: tenant.clone(),
        target,
        connections_max: main.connections_max,
    };
    let part = Part::new(context, whose, admission, (request, stop.clone()));
    Ok((part, verbs))
}

fn several() -> FanError {
    let message = "several statements in one message are not supported where tenants have databases of \
                   their own";
    ErrorReport::error("0A000", message).into()
}

/// What is said of a server that had not answered when it was given up.
pub(super) fn cut_off() -> FanError {
    ErrorReport::error("57014", "canceling statement due to user request").into()
}

/// What the client is told of a database that cannot be reached.
pub(super) fn unreachable(tenant: &TenantId) -> PartError {
    PartError::Unreachable(
        ErrorReport::error(
            "08006",
            format!("the database of tenant \"{tenant}\" cannot be reached"),
        )
        .with_hint("To leave it out: SET tenantry.on_error = 'skip'.")
        .into(),
    )
}

/// Who listens no longer has gone, or has cancelled.
async fn tell(frames_out: &Frames, frames: BytesMut) {
    if !frames.is_empty() {
        frames_out.send(frames).await.ok();
    }
}

fn number(count: &[u8]) -> u16 {
    count
        .first_chunk::<2>()
        .map_or(0, |count| u16::from_be_bytes(*count))
}

/// A row, with the tenant's name in front where there is one.
fn data_row(frames: &mut BytesMut, tenant: Option<&TenantId>, row: &[u8]) {
    let (count, values) = row.split_at_checked(2).unwrap_or((&[], &[]));
    message(frames, b'D', |body| {
        if let Some(tenant) = tenant {
            let name = tenant.as_str();
            body.put_u16(number(count) + 1);
            body.put_u32(u32::try_from(name.len()).unwrap_or_default());
            body.extend_from_slice(name.as_bytes());
        } else {
            body.extend_from_slice(count);
        }
        body.extend_from_slice(values);
    });
}

/// `NoticeResponse`
pub(super) fn notice(frames: &mut BytesMut, text: &str) {
    message(frames, b'N', |body| {
        for (code, value) in [
            (b'S', "NOTICE"),
            (b'V', "NOTICE"),
            (b'C', "00000"),
            (b'M', text),
        ] {
            body.put_u8(code);
            put_string(body, value.as_bytes());
        }
        body.put_u8(0);
    });
}

/// Rows of COPY are no rows of a result, of which one could be made of many.
fn is_copy(statement: &Isolated) -> bool {
    match &statement.admitted {
        Admitted::Bypassed(bypassed) => bypassed.copying().is_some(),
        Admitted::Isolated(verified) => verified.copying().is_some(),
    }
}
