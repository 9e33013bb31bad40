//! One tenant's part of a statement for many: a session of its own, driven over a server connection of its
//! own.
//!
//! In: an admission for this tenant alone, and what the client bound. Out: the columns, or the rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::context::Context;
use super::fan::{cut_off, unreachable};
use super::route::unavailable;
use super::stop::Stop;
use crate::catalog::{Catalog, Oid, oid};
use crate::protocol::Violation;
use crate::protocol::backend::{message, put_string};
use crate::protocol::error_response::{ErrorReport, ServerReport};
use crate::protocol::frame::{Frame, header, take};
use crate::protocol::frontend::Bind;
use crate::protocol::reader::Reader;
use crate::session::{
    Admission, Ask, Condition, FanError, FanOut, Identity, Rules, Session, Variables,
};
use crate::tenant::{TenantId, TenantKey};
use crate::upstream::{Borrowed, Registration, Server, Target, Users};

/// How often an unfit server connection is exchanged for another.
const EXCHANGES_MAX: usize = 32;

/// What one part's answer may hold, in bytes: it is kept until its turn comes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is counted for a frame besides its bytes: what it costs to keep it, in bytes.
const FRAME_BYTES: usize = 128;

/// Why a part has no answer.
#[derive(Debug)]
pub(super) enum PartError {
    /// The statement has failed.
    Failed(FanError),
    /// The server cannot be reached.
    Unreachable(FanError),
}

/// What a part answers.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The frame of its `ParameterDescription`.
    pub(super) parameters: BytesMut,
    /// Its columns; none if there are no rows.
    pub(super) columns: Option<Vec<Column>>,
    /// The bodies of its rows.
    pub(super) rows: Vec<Bytes>,
    /// Its command tag.
    pub(super) tag: String,
}

/// A column of a result, as far as it can be compared between databases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Column {
    name: Vec<u8>,
    /// Types of the application have another number in each database.
    type_name: String,
    type_oid: Option<Oid>,
    modifier: i32,
    format: i16,
}

/// The first number of what is not PostgreSQL's own: `FirstNormalObjectId`.
const FIRST_OID: Oid = 16_384;

impl Column {
    /// Writes its part of a `RowDescription`. What the client cannot look up comes as text.
    pub(super) fn write(&self, body: &mut BytesMut) {
        put_string(body, &self.name);
        body.put_u32(0);
        body.put_u16(0);
        body.put_u32(self.type_oid.unwrap_or(oid::TEXT));
        body.put_i16(-1);
        body.put_i32(self.modifier);
        body.put_i16(self.format);
    }

    fn read_all(body: &[u8], catalog: &Catalog) -> Result<Vec<Self>, Violation> {
        let mut reader = Reader::new(body);
        let count = reader.count()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let name = reader.string()?.to_vec();
            reader.bytes(6)?;
            let type_oid = reader.u32()?;
            reader.bytes(2)?;
            let known = catalog.type_by_oid(type_oid);
            columns.push(Self {
                name,
                type_name: known.map_or_else(
                    || type_oid.to_string(),
                    |known| format!("{}.{}", known.schema, known.name),
                ),
                type_oid: (type_oid < FIRST_OID).then_some(type_oid),
                modifier: reader.i32()?,
                format: reader.i16()?,
            });
        }
        reader.finish()?;
        Ok(columns)
    }
}

/// Where a part is run.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) tenant: TenantId,
    pub(super) target: Target,
    pub(super) connections_max: u32,
}

/// One tenant's part.
pub(super) struct Part {
    context: Arc<Context>,
    whose: Whose,
    admission: Arc<Admission>,
    request: FanOut,
    stop: Stop,
    registration: Arc<Registration>,
}

/// What a part is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Describe,
    Run,
    /// To change no more rows than this; else nothing is changed.
    Change(u64),
}

impl Part {
    /// A part that is not run yet.
    pub(super) fn new(
        context: &Arc<Context>,
        whose: Whose,
        admission: Arc<Admission>,
        (request, stop): (&FanOut, Stop),
    ) -> Self {
        Self {
            registration: Arc::new(context.cancels.register(0)),
            context: Arc::clone(context),
            whose,
            admission,
            request: request.clone(),
            stop,
        }
    }

    /// Whose part it is.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.whose.tenant
    }

    /// What cancels it.
    pub(super) fn registration(&self) -> Arc<Registration> {
        Arc::clone(&self.registration)
    }

    /// Asks for the columns. Nothing is run.
    pub(super) async fn describe(&mut self) -> Result<Answer, PartError> {
        self.ask(Step::Describe).await
    }

    /// Runs it, in a transaction of its own.
    pub(super) async fn run(&mut self) -> Result<Answer, PartError> {
        self.ask(Step::Run).await
    }

    /// Runs a statement that changes rows, in a transaction of its own. None is changed if that would change
    /// more than so many.
    pub(super) async fn change(&mut self, most: Option<u64>) -> Result<Answer, PartError> {
        self.ask(most.map_or(Step::Run, Step::Change)).await
    }

    async fn ask(&self, step: Step) -> Result<Answer, PartError> {
        let mut session = Session::new(
            Identity {
                session: self.context.numbers.next(),
                key: TenantKey::Text(String::new()),
                name: Arc::default(),
            },
            Variables::new(self.request.variables.clone()),
            BTreeMap::new(),
        );
        session.set_admission(Some(Arc::clone(&self.admission)));
        let stopped = || PartError::Failed(cut_off().of(&self.whose.tenant));
        let mut borrowed = tokio::select! {
            biased;
            () = self.stop.stopped() => return Err(stopped()),
            borrowed = self.borrow(&session) => borrowed?,
        };
        let server = borrowed.server();
        self.registration.works(server);
        if self.stop.is_stopping() {
            // Whoever stops it later finds it at work.
            self.registration.rests();
            borrowed.give_back(Condition::Clean).await;
            return Err(stopped());
        }
        session.attach(std::mem::take(&mut server.state));
        self.note_sent(step);
        let answer = self.exchange(&mut session, server, step).await;
        self.registration.rests();
        let detached = session.detach();
        match (&answer, detached) {
            (Ok(_) | Err(PartError::Failed(_)), Some((state, condition))) => {
                borrowed.server().state = state;
                borrowed.give_back(condition).await;
            }
            (_, _) => borrowed.give_back(Condition::Broken).await,
        }
        answer
    }

    /// The log is to say whose servers were asked.
    fn note_sent(&self, step: Step) {
        match (step, &self.request.ask) {
            // Its columns are looked at before the whole may run.
            (Step::Describe, Ask::Run(_)) => {}
            (Step::Describe | Step::Run | Step::Change(_), _) => {
                let tenant = self.whose.tenant.clone();
                self.request.progress.note(|progress| {
                    progress.sent_for.insert(tenant);
                });
            }
        }
    }

    async fn borrow(&self, session: &Session) -> Result<Borrowed, PartError> {
        let snapshot = self.context.registry.snapshot();
        let settings = &snapshot.config().pool;
        let Whose {
            target,
            connections_max,
            ..
        } = &self.whose;
        let pool = self
            .context
            .pools
            .pool(target, Users::Admins, settings, *connections_max);
        for _ in 0..EXCHANGES_MAX {
            match pool.acquire().await {
                Ok(mut borrowed) => {
                    if session.fits(&borrowed.server().state) {
                        return Ok(borrowed);
                    }
                }
                Err(error) => {
                    tracing::warn!(tenant = %self.whose.tenant, %error, "a tenant is out of reach");
                    let report = unavailable(&error, ErrorReport::error);
                    if report.sqlstate == "53300" {
                        // It is there, and only we are busy: it is not to be left out.
                        let report = FanError::from(report).of(&self.whose.tenant);
                        return Err(PartError::Failed(report));
                    }
                    break;
                }
            }
        }
        Err(unreachable(&self.whose.tenant))
    }

    /// Sends what is asked, and reads all of the answer.
    async fn exchange(
        &self,
        session: &mut Session,
        server: &mut Server,
        step: Step,
    ) -> Result<Answer, PartError> {
        let lost = |_error| unreachable(&self.whose.tenant);
        let mut input = self.messages(step);
        let mut waits = matches!(step, Step::Change(_));
        let mut answer = Answer::default();
        let mut frames = BytesMut::new();
        let mut failed = None;
        let mut bytes = 0;
        session.on_client(&mut input);
        loop {
            while let Some(out) = session.to_server()
                && !out.is_empty()
            {
                let written = server.stream.write(out.waiting()).await.map_err(lost)?;
                out.advance(written);
            }
            collect(session, &mut frames);
            while let Ok(Some(next)) = header(&frames) {
                let Some(frame) = take(&mut frames, next) else {
                    break;
                };
                bytes += frame.body.len() + FRAME_BYTES;
                if bytes > ANSWER_BYTES_MAX {
                    return Err(PartError::Failed(too_large(&self.whose.tenant)));
                }
                self.check_rows(&answer)?;
                if frame.tag == b'T' {
                    let columns = Column::read_all(&frame.body, self.catalog()?);
                    let columns = columns.map_err(|_odd| unreachable(&self.whose.tenant))?;
                    answer.columns = Some(columns);
                } else if let Some(error) = answer.take(&frame) {
                    failed.get_or_insert(error.of(&self.whose.tenant));
                }
            }
            if session.ending().is_some() {
                return Err(unreachable(&self.whose.tenant));
            }
            if let Step::Change(most) = step
                && waits
                && (failed.is_some() || !answer.tag.is_empty())
            {
                if failed.is_none() && answer.changed() > most {
                    // The connection is closed before the change is committed.
                    let max = self.request.leave.grant.max_rows.unwrap_or(most);
                    return Err(PartError::Failed(too_many(max).of(&self.whose.tenant)));
                }
                waits = false;
                message(&mut input, b'S', |_| {});
                session.on_client(&mut input);
                continue;
            }
            if session.is_finished_with_server() {
                break;
            }
            if server
                .stream
                .read_buf(&mut server.input)
                .await
                .map_err(lost)?
                == 0
            {
                return Err(unreachable(&self.whose.tenant));
            }
            session.on_server(&mut server.input);
            session.on_client(&mut input);
        }
        failed.map_or(Ok(answer), |error| Err(PartError::Failed(error)))
    }

    /// Rows that the grant does not allow of all tenants are not waited for of one.
    fn check_rows(&self, answer: &Answer) -> Result<(), PartError> {
        match self.request.leave.grant.max_rows {
            Some(max) if u64::try_from(answer.rows.len()).is_ok_and(|rows| rows <= max) => Ok(()),
            Some(max) => Err(PartError::Failed(too_many(max))),
            None => Ok(()),
        }
    }

    fn catalog(&self) -> Result<&Catalog, PartError> {
        match self.admission.rules() {
            Rules::Bypass(classified) => Ok(classified.catalog()),
            Rules::Closed(_) | Rules::Own(_) | Rules::Shared(_) => {
                Err(unreachable(&self.whose.tenant))
            }
        }
    }

    /// The messages of a client that asks this one thing.
    fn messages(&self, step: Step) -> BytesMut {
        let mut bytes = BytesMut::new();
        let FanOut {
            sql,
            declared_types,
            ask,
            tenant,
            ..
        } = &self.request;
        message(&mut bytes, b'P', |body| {
            put_string(body, b"");
            put_string(body, sql);
            body.put_u16(u16::try_from(declared_types.len()).unwrap_or(u16::MAX));
            for oid in declared_types {
                body.put_u32(*oid);
            }
        });
        let bind = match ask {
            Ask::Describe(bind) | Ask::Run(bind) => bind.as_ref(),
        };
        let first = match tenant {
            None => FirstColumn::Tenant,
            Some(_) => FirstColumn::Own,
        };
        if step != Step::Describe || bind.is_some() {
            message(&mut bytes, b'B', |body| put_bind(body, bind, first));
        }
        match step {
            Step::Describe => message(&mut bytes, b'D', |body| {
                body.put_u8(if bind.is_some() { b'P' } else { b'S' });
                put_string(body, b"");
            }),
            Step::Change(_) | Step::Run => message(&mut bytes, b'E', |body| {
                put_string(body, b"");
                body.put_u32(0);
            }),
        }
        // What is to be counted is committed once it has been.
        let end = match step {
            Step::Change(_) => b'H',
            Step::Describe | Step::Run => b'S',
        };
        message(&mut bytes, end, |_| {});
        bytes
    }
}

/// What the client sees first of a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FirstColumn {
    /// The statement's own first column.
    Own,
    /// The tenant's name.
    Tenant,
}

/// The body of a Bind of the unnamed statement. Where the client sees one column more than there is, the
/// first format is that column's.
fn put_bind(body: &mut BytesMut, bind: Option<&Bind>, first: FirstColumn) {
    put_string(body, b"");
    put_string(body, b"");
    let Some(bind) = bind else {
        body.put_bytes(0, 6);
        return;
    };
    let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    body.put_u16(count(bind.parameter_formats.len()));
    for format in &bind.parameter_formats {
        body.put_i16(*format);
    }
    body.put_u16(count(bind.parameters));
    body.extend_from_slice(&bind.values);
    let formats: Vec<&[u8]> = bind.result_formats.chunks(2).skip(1).collect();
    match formats.as_slice() {
        [_tenant, rest @ ..] if first == FirstColumn::Tenant && !rest.is_empty() => {
            body.put_u16(count(rest.len()));
            for format in rest {
                body.extend_from_slice(format);
            }
        }
        _ => body.extend_from_slice(&bind.result_formats),
    }
}

fn collect(session: &mut Session, frames: &mut BytesMut) {
    let out = session.to_client();
    while !out.is_empty() {
        let mut slices = Vec::new();
        out.slices(&mut slices);
        let mut length = 0;
        for slice in &slices {
            frames.extend_from_slice(slice);
            length += slice.len();
        }
        drop(slices);
        out.advance(length);
    }
}

impl Answer {
    /// How many rows the command tag counts.
    pub(super) fn changed(&self) -> u64 {
        let (_, count) = self.tag.rsplit_once(' ').unwrap_or_default();
        count.parse().unwrap_or_default()
    }

    /// Takes a frame; gives the error if it is one.
    fn take(&mut self, frame: &Frame) -> Option<FanError> {
        match frame.tag {
            b't' => {
                message(&mut self.parameters, b't', |body| {
                    body.extend_from_slice(&frame.body);
                });
            }
            b'D' => self.rows.push(frame.body.clone()),
            b'C' => {
                let tag = frame.body.strip_suffix(b"\0").unwrap_or(&frame.body);
                self.tag = String::from_utf8_lossy(tag).into_owned();
            }
            b'E' => {
                let report = ServerReport::read(&frame.body).ok()?;
                return Some(FanError::from(&report));
            }
            // What was confirmed, parameters of the connection, notices of one part.
            _ => {}
        }
        None
    }
}

/// What is said of more rows than the grant allows.
pub(super) fn too_many(rows_max: u64) -> FanError {
    let message = format!("the grant allows {rows_max} rows at most [TN6008]");
    ErrorReport::error("54000", message).into()
}

fn too_large(tenant: &TenantId) -> FanError {
    ErrorReport::error(
        "54000",
        format!("the result of tenant \"{tenant}\" is too large to be collected"),
    )
    .into()
}
