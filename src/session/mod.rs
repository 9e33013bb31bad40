//! One client's conversation, as a state machine without I/O.
//!
//! In: bytes of the client and of the server connection that works for it, and the current
//! [`Admission`]. Out: bytes for both, and whether a server connection is wanted or may be released.
//!
//! # Invariants
//! 1. SQL reaches [`ToServer`] only as [`crate::admitted::Admitted`] or as [`Housekeeping`], a closed
//!    list of texts of Tenantry's own.
//! 2. Replies come in the order of what was asked: each message that was sent has an entry in the
//!    queue of expected replies, and what Tenantry answers itself waits there for its turn.
//! 3. A refusal makes the server fail as well: inside a transaction block the client's view and the
//!    server's never part.
//! 4. What a statement changes in the session (its name, a variable) counts only once the server has
//!    confirmed it.
//! 5. Whatever is odd ends the connection: nothing is guessed.
//!
//! # Not here
//! Sockets and waiting: `proxy`. What a statement becomes: [`crate::isolate`].

mod admission;
mod clearance;
mod client;
mod collected;
mod copying;
mod counting;
mod cursors;
mod effect;
mod expected;
mod fan;
mod hatch;
mod housekeeping;
mod leave;
mod named;
mod outgoing;
mod pins;
mod portion;
mod preparing;
mod record;
mod reference;
mod row_limit;
mod running;
mod server;
mod server_state;
mod statements;
#[cfg(test)]
mod tests;
mod too_long;
mod variables;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

pub use admission::{Admission, Numbers, Plan, Rules, StatementId};
pub use effect::Effect;
pub use fan::{Ask, FanError, FanOut, OnError};
pub use hatch::AdminRules;
pub use housekeeping::Housekeeping;
pub use leave::{Leave, Tenants};
pub use outgoing::{ToClient, ToServer};
pub use pins::Pins;
pub use record::{HatchEvent, Intent, Progress, Refused, Touches};
pub use server_state::ServerState;
pub use variables::Variables;

use crate::isolate::template::{Filling, SessionName, SlotValue};
use crate::protocol::Violation;
use crate::protocol::backend::{SERVER_ENCODING, parameter_status};
use crate::protocol::error_response::{ErrorReport, OwnValue};
use crate::protocol::frontend::FrontendMessage;
use crate::tenant::{Rows, TenantKey};
use copying::{Copying, Gate};
use cursors::HeldCursors;
use expected::{ExpectedReplies, Reply};
use hatch::{Hatch, READ_ONLY};
use pins::Pin;
use row_limit::RowLimit;
use statements::ClientStatement;
use too_long::Dropping;

/// How much may wait to be written before nothing more is read for it.
const HIGH_WATER_BYTES: usize = 128 * 1024;

/// Who talks.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Tells sessions apart; never used twice.
    pub session: u64,
    /// The tenant's value in the tenant column.
    pub key: TenantKey,
    /// What the session is called.
    pub name: Arc<SessionName>,
}

impl Identity {
    /// What is put in the places of templates.
    fn filling(&self) -> Filling<'_> {
        Filling {
            rows: SlotValue::One(&self.key),
            session: Some(&self.name),
        }
    }
}

/// In which state a server connection comes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Condition {
    /// It must be closed.
    Broken,
    /// As it was lent, but for the variables that its [`ServerState`] knows.
    Clean,
    /// It must be reset.
    Used,
}

/// The server connection that works for the client at the moment.
#[derive(Debug)]
struct Attached {
    state: ServerState,
    expected: ExpectedReplies,
    out: ToServer,
    /// What is still to come of a message that is passed on while it arrives.
    passing_bytes: usize,
    /// The same of one that is dropped.
    dropping_bytes: usize,
    condition: Condition,
    stage: Stage,
    /// The stream that the server reads.
    copying: Option<Box<Copying>>,
    /// The statements that were prepared for this client in its present transaction, under settings
    /// that have not changed since.
    fresh: HashSet<StatementId>,
    /// The cursors WITH HOLD that there may be: as long as there are any it stays with this client.
    held: HeldCursors,
    /// Counts it while it is kept.
    pin: Option<Pin>,
    /// Whether everything that the session had on it is about to go.
    clearing: Clearing,
    /// A RESET has given it the values of the server's own login in place of the client's.
    was_reset: bool,
}

/// How far a DISCARD ALL is, or a RESET. What follows it is sent when it is over: to a connection on which nothing
/// is prepared, and none of the client's variables set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Clearing {
    /// There is none, or it is over.
    No,
    /// It was sent.
    Sent,
    /// It was sent, and the answer is called for.
    Flushed,
}

/// How far the work of a server connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// `ReadyForQuery` came in the idle state, and nothing else is expected.
    Finished,
    /// It holds something of this client's and stays with it to the end.
    Pinned,
    /// It is not done yet.
    Working,
}

/// For how long a server connection is lent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lending {
    /// From the first statement to the end of the session; then it is closed.
    Session,
    /// For a transaction.
    Transaction,
}

/// Why the conversation ends. What is left for the client is still written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The client said goodbye.
    ClientLeft,
    /// An error was reported that ends the connection.
    Fatal,
}

/// The conversation of one client after its authentication.
#[derive(Debug)]
pub struct Session {
    identity: Identity,
    admission: Option<Arc<Admission>>,
    /// What is let through of the server's errors; `None`: all of it.
    own_values: Option<Arc<Vec<OwnValue>>>,
    variables: Variables,
    /// What the client was told by `ParameterStatus`.
    reported: BTreeMap<String, String>,
    /// How often a server connection was borrowed.
    borrowings: u64,
    statements: HashMap<Bytes, Arc<ClientStatement>>,
    pins: Option<Arc<Pins>>,
    row_limit: RowLimit,
    lending: Lending,
    portals: HashMap<Bytes, Arc<Plan>>,
    /// The portal of the client's last message, if that was a Bind.
    bound: Option<Bytes>,
    server: Option<Attached>,
    /// What is still to come of a `CopyData` message.
    copy_data_bytes: usize,
    /// The message that is being dropped.
    dropping: Option<Dropping>,
    /// A message that waits: for a server connection, or for replies to earlier ones.
    held: Option<FrontendMessage>,
    /// After an error in the extended protocol everything up to Sync is dropped.
    skipping: bool,
    to_client: ToClient,
    ending: Option<Ending>,
    refusals: Vec<Refused>,
    /// What an admin's session has beyond a tenant's.
    hatch: Option<Box<Hatch>>,
    /// What every statement is answered while there is no [`Admission`].
    denial: ErrorReport,
}

impl Session {
    /// A conversation that begins, with the parameters that the client was told.
    pub fn new(
        identity: Identity,
        variables: Variables,
        reported: BTreeMap<String, String>,
    ) -> Self {
        Self {
            identity,
            admission: None,
            own_values: Some(Arc::default()),
            variables,
            reported,
            borrowings: 0,
            statements: HashMap::new(),
            pins: None,
            row_limit: RowLimit::default(),
            lending: Lending::Transaction,
            portals: HashMap::new(),
            bound: None,
            server: None,
            copy_data_bytes: 0,
            dropping: None,
            held: None,
            skipping: false,
            to_client: ToClient::default(),
            ending: None,
            refusals: Vec::new(),
            hatch: None,
            denial: ErrorReport::error(
                "57P03",
                "what the tables of the upstream look like is not known yet",
            ),
        }
    }

    /// A server connection stays with this client from its first statement on.
    pub fn keep_its_server(&mut self) {
        self.lending = Lending::Session;
    }

    /// What the client was told by `ParameterStatus`.
    pub fn reported(&self) -> &BTreeMap<String, String> {
        &self.reported
    }

    /// The catalog and policy that statements are admitted under from now on; `None` while the
    /// upstream's catalog is not known.
    pub fn set_admission(&mut self, admission: Option<Arc<Admission>>) {
        let same = match (&self.admission, &admission) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !same {
            self.own_values = match &admission {
                Some(admission) => admission.own_values(&self.identity.key).map(Arc::new),
                None => Some(Arc::default()),
            };
            self.admission = admission;
        }
    }

    /// What waits to be written to the client.
    pub fn to_client(&mut self) -> &mut ToClient {
        &mut self.to_client
    }

    /// What waits to be written to the server connection.
    pub fn to_server(&mut self) -> Option<&mut ToServer> {
        self.server.as_mut().map(|server| &mut server.out)
    }

    /// Whether a message waits for a server connection.
    pub fn wants_server(&self) -> bool {
        self.server.is_none()
            && self.held.is_some()
            && self.ending.is_none()
            && !self.is_fanning_out()
    }

    /// Whether the server works, or is about to, on Tenantry's own account.
    pub fn keeps_house(&self) -> bool {
        self.server
            .as_ref()
            .is_some_and(|server| matches!(server.expected.next(), Some(Reply::Housekeeping)))
    }

    /// Whether the server connection has done its work and should be given back.
    pub fn is_finished_with_server(&self) -> bool {
        self.server
            .as_ref()
            .is_some_and(|server| server.stage == Stage::Finished)
    }

    /// Whether there is a message that may hold a statement so long that others should not wait for what is
    /// made of it.
    pub fn takes_a_while(&self, input: &[u8]) -> bool {
        let is_held = match &self.held {
            Some(FrontendMessage::Parse { sql, .. } | FrontendMessage::Query(sql)) => {
                sql.len() > LONG_BYTES
            }
            Some(
                FrontendMessage::Bind(_)
                | FrontendMessage::Close(..)
                | FrontendMessage::Copy
                | FrontendMessage::Describe(..)
                | FrontendMessage::Execute { .. }
                | FrontendMessage::Flush
                | FrontendMessage::FunctionCall
                | FrontendMessage::Sync
                | FrontendMessage::Terminate
                | FrontendMessage::TooLong { .. },
            )
            | None => false,
        };
        is_held || holds_a_long_statement(input)
    }

    /// The whole conversation, in whose place an empty one stays.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.identity.clone(), Variables::default(), BTreeMap::new());
        std::mem::replace(self, empty)
    }

    /// Whether bytes of the client are wanted: nothing is held back, and there is room.
    pub fn wants_client_bytes(&self) -> bool {
        let is_open = self.gate() != Gate::Closed;
        self.ending.is_none() && self.held.is_none() && is_open && self.has_room()
    }

    /// Whether bytes of the server are wanted: there is room for what they become.
    pub fn wants_server_bytes(&self) -> bool {
        self.to_client.len() < HIGH_WATER_BYTES
    }

    /// Whether the client waits for nothing and no transaction block is open.
    pub fn is_idle(&self) -> bool {
        let rests = |server: &Attached| {
            self.lending == Lending::Session
                && server.expected.is_empty()
                && server.out.is_empty()
                && !self.variables.in_block()
        };
        self.server.as_ref().is_none_or(rests) && self.held.is_none()
    }

    /// Why the conversation ends, if it does.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Whether there are refusals for the log.
    pub fn has_refusals(&self) -> bool {
        !self.refusals.is_empty()
    }

    /// The refusals since the last call, for the log.
    pub fn take_refusals(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refusals)
    }

    fn has_room(&self) -> bool {
        let waiting = self.server.as_ref().map_or(0, |server| server.out.len());
        self.to_client.len() < HIGH_WATER_BYTES && waiting < HIGH_WATER_BYTES
    }

    /// Whether this server connection can work for this client: a setting of an application's own
    /// (`app.user`) leaves its name behind, which only those see who use it themselves.
    pub fn fits(&self, state: &ServerState) -> bool {
        let encoding = state.parameters.get("server_encoding");
        let passes_unread = self.own_values.is_none() && self.hatch.is_none();
        state.custom_variables.is_subset(self.variables.custom())
            && (passes_unread || encoding.is_some_and(|encoding| encoding == SERVER_ENCODING))
    }

    /// What a server connection's variables must be: the client's, but a grant that only reads makes
    /// every transaction do so.
    fn server_variables(&self) -> Cow<'_, Variables> {
        match &self.hatch {
            Some(hatch) if hatch.is_read_only() => {
                Cow::Owned(self.variables.with(READ_ONLY.0, READ_ONLY.1))
            }
            Some(_) | None => Cow::Borrowed(&self.variables),
        }
    }

    /// Whether a statement may leave something in the server's session that nobody has seen: what a
    /// tenant's own functions and triggers do in its own database, also when an admin sets them off.
    fn runs_code_unseen(&self) -> bool {
        match self.admission.as_ref().map(|admission| admission.rules()) {
            Some(Rules::Own(_)) => true,
            Some(Rules::Bypass(classified)) => classified
                .scope()
                .is_some_and(|scope| scope.rows == Rows::All),
            Some(Rules::Closed(_) | Rules::Shared(_)) | None => false,
        }
    }

    /// A server connection begins to work for the client.
    pub fn attach(&mut self, state: ServerState) {
        let mut server = Attached {
            state,
            expected: ExpectedReplies::default(),
            out: ToServer::default(),
            passing_bytes: 0,
            dropping_bytes: 0,
            condition: match self.lending {
                Lending::Session => Condition::Broken,
                Lending::Transaction => Condition::Clean,
            },
            stage: self.first_stage(),
            copying: None,
            fresh: HashSet::new(),
            held: HeldCursors::default(),
            pin: None,
            clearing: Clearing::No,
            was_reset: false,
        };
        let mut tasks = Vec::new();
        let last = server.state.last_session;
        let was_others = last.is_some_and(|last| last != self.identity.session);
        if was_others && self.runs_code_unseen() {
            server.state.variables.clear();
            tasks.push(Housekeeping::Reset);
        } else if last.is_some() && (was_others || server.state.last_borrowing != self.borrowings) {
            // currval() and lastval() read what the last nextval() of the connection left: it was another
            // client's, or this one has taken values elsewhere since.
            tasks.push(Housekeeping::DiscardSequences);
        }
        self.borrowings += 1;
        server.state.last_borrowing = self.borrowings;
        let variables = self.server_variables();
        if let Some(task) = variables.task(&server.state.variables) {
            tasks.push(task);
        }
        if !tasks.is_empty() {
            server.out.housekeeping(&tasks);
            server.expected.push_housekeeping();
        }
        server.state.variables = variables.current().clone();
        server.state.last_session = Some(self.identity.session);
        server
            .state
            .custom_variables
            .extend(self.variables.custom().iter().cloned());
        let ready = tasks.is_empty();
        self.server = Some(server);
        if ready {
            self.report_parameters();
        }
    }

    /// How far a server connection is that holds nothing of this client's.
    fn first_stage(&self) -> Stage {
        match self.lending {
            Lending::Session => Stage::Pinned,
            Lending::Transaction => Stage::Working,
        }
    }

    /// No server connection could be had for what waits.
    pub fn no_server(&mut self, report: &ErrorReport) {
        if let Some(held) = self.held.take() {
            self.fail(&held, report);
        }
    }

    /// The server connection is gone, or must go.
    pub fn lose_server(&mut self, report: &ErrorReport) {
        if self.server.take().is_some() {
            if let Some(hatch) = &mut self.hatch {
                hatch.abandon(&report.message);
                hatch.undone(crate::bypass::Ending::Lost(report.message.clone()));
            }
            if self.ending.is_none() {
                self.end(report);
            }
        }
    }

    /// Takes the server connection's state back.
    pub fn detach(&mut self) -> Option<(ServerState, Condition)> {
        let mut server = self.server.take()?;
        self.portals.clear();
        server
            .state
            .custom_variables
            .extend(self.variables.custom().iter().cloned());
        let is_done = server.stage == Stage::Finished && server.out.is_empty();
        let condition = if is_done {
            server.condition
        } else {
            Condition::Broken
        };
        Some((server.state, condition))
    }

    /// Reports an error that ends the connection.
    pub fn end(&mut self, report: &ErrorReport) {
        if self.ending.is_none() {
            report.write(self.to_client.buffer());
            self.ending = Some(Ending::Fatal);
        }
    }

    /// Reports a violation of the protocol, which ends the connection.
    pub fn violated(&mut self, violation: &Violation) {
        if let Some(server) = &mut self.server {
            server.condition = Condition::Broken;
        }
        let report = ErrorReport::fatal("08P01", violation.to_string());
        if self.hatch.is_some() && self.ending.is_none() {
            // Whatever an admin tried is on record.
            self.refusals.push(Refused {
                sqlstate: report.sqlstate.into(),
                message: report.message.clone(),
                statement: Bytes::new(),
            });
        }
        self.end(&report);
    }

    /// Takes what the client sent, as far as possible.
    pub fn on_client(&mut self, input: &mut BytesMut) {
        if let Err(violation) = self.read_client(input) {
            self.violated(&violation);
        }
    }

    /// Takes what the server sent, as far as there is room.
    pub fn on_server(&mut self, input: &mut BytesMut) {
        if let Err(violation) = self.read_server(input) {
            self.violated(&violation);
        }
    }

    /// Tells the client of parameters whose values it does not know yet.
    fn report_parameters(&mut self) {
        let Some(server) = &self.server else {
            return;
        };
        for (name, value) in &server.state.parameters {
            // The server's own login is not the client's.
            if name == "session_authorization" || name == "is_superuser" {
                continue;
            }
            if self.reported.get(name) != Some(value) {
                parameter_status(self.to_client.buffer(), name, value);
                self.reported.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A statement of up to this many bytes is looked at in a few milliseconds.
const LONG_BYTES: usize = 16 * 1024;

/// Whether one of these messages is a long Query or Parse that has come whole.
fn holds_a_long_statement(mut input: &[u8]) -> bool {
    while input.len() > LONG_BYTES
        && let Ok(Some(header)) = crate::protocol::frame::header(input)
    {
        let whole = crate::protocol::frame::HEADER_BYTES + header.body_bytes;
        let Some(rest) = input.get(whole..) else {
            return false;
        };
        if matches!(header.tag, b'P' | b'Q') && header.body_bytes > LONG_BYTES {
            return true;
        }
        input = rest;
    }
    false
}
