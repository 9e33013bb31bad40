//! PREPARE, EXECUTE and DEALLOCATE: SQL's way to the statements that Parse names.
//!
//! As on a server, both ways have one name space, which is the session's. What the server runs is its own
//! statement of the same text, under a name of Tenantry's; so these names never meet those of others.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::admission::{Constants, Plan, Rules, copying, parse_text};
use super::clearance::Clearance;
use super::client::{Failure, refusal_report, shown};
use super::effect::Effect;
use super::expected::{Asker, Reply, Undo};
use super::outgoing::executing;
use super::preparing::prepare;
use super::statements::ClientStatement;
use super::{Clearing, Session};
use crate::isolate::{Isolated, Kind, SqlPrepare};
use crate::protocol::error_response::ErrorReport;
use crate::protocol::frontend::FrontendMessage;

/// More statements than a server connection keeps cannot be named in one message.
const NAMED_MAX: usize = 100;

/// Whether the server has the statements that a message needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ahead {
    /// They are being prepared.
    Awaited,
    /// It has.
    Ready,
}

/// What a message has made of names so far; `None`: the name is gone.
#[derive(Default)]
struct Names<'p> {
    all_gone: bool,
    changed: HashMap<&'p str, Option<Arc<ClientStatement>>>,
}

impl Session {
    /// The prepared statements that a message makes or executes: one for each of its statements that
    /// does.
    pub(super) fn named(&self, plan: &Plan) -> Result<Vec<Option<Arc<ClientStatement>>>, Failure> {
        let names_some = |statement: &Isolated| {
            matches!(
                statement.kind,
                Kind::Deallocate(_) | Kind::Execute { .. } | Kind::Prepare(_)
            )
        };
        if !plan.statements.iter().any(names_some) {
            return Ok(Vec::new());
        }
        let mut names = Names::default();
        let each = plan.statements.iter();
        let found: Result<Vec<Option<Arc<ClientStatement>>>, Failure> = each
            .map(|statement| self.named_by(statement, &mut names))
            .collect();
        let found = found.map_err(|failure| self.in_this_block(plan, failure))?;
        if found.iter().flatten().count() > NAMED_MAX {
            return Err(ErrorReport::error(
                "54000",
                "too many prepared statements in one message",
            ));
        }
        Ok(found)
    }

    /// In a block that has failed nothing is looked for any more.
    fn in_this_block(&self, plan: &Plan, failure: Failure) -> Failure {
        let first = plan.statements.first().map(|statement| &statement.kind);
        if self.variables.has_failed() && !matches!(first, Some(Kind::Transaction(_))) {
            return in_failed_block();
        }
        failure
    }

    /// Whether what PREPARE makes is on the server, under the client's own name, and not among
    /// `statements`.
    pub(super) fn prepares_on_the_server(&self) -> bool {
        let rules = self.admission.as_ref().map(|admission| admission.rules());
        matches!(rules, Some(Rules::Own(_)))
    }

    fn named_by<'p>(
        &self,
        statement: &'p Isolated,
        names: &mut Names<'p>,
    ) -> Result<Option<Arc<ClientStatement>>, Failure> {
        match &statement.kind {
            Kind::Prepare(made) => {
                if self.find(&made.name, names).is_some() {
                    let message = format!("prepared statement \"{}\" already exists", made.name);
                    return Err(ErrorReport::error("42P05", message));
                }
                let made_now = Arc::new(self.made(made)?);
                names
                    .changed
                    .insert(&made.name, Some(Arc::clone(&made_now)));
                Ok(Some(made_now))
            }
            Kind::Execute { name, arguments } => {
                let found = self.find(name, names).ok_or_else(|| unknown(name))?;
                let found = self.as_admitted_now(&found)?;
                is_executable(&found.plan)?;
                if usize::from(found.plan.client_parameters()) != *arguments {
                    let message =
                        format!("wrong number of parameters for prepared statement \"{name}\"");
                    return Err(ErrorReport::error("42601", message));
                }
                Ok(Some(found))
            }
            Kind::Deallocate(None) => {
                names.all_gone = true;
                names.changed.clear();
                Ok(None)
            }
            Kind::Deallocate(Some(name)) => {
                let found = self.find(name, names);
                if found.is_none() && !self.prepares_on_the_server() {
                    return Err(unknown(name));
                }
                names.changed.insert(name, None);
                Ok(found)
            }
            Kind::Characteristics(_)
            | Kind::ClearsSession
            | Kind::CloseCursor(_)
            | Kind::Cursor
            | Kind::Data
            | Kind::Fetch
            | Kind::Hold(_)
            | Kind::Pins
            | Kind::Reset { .. }
            | Kind::ResetAll
            | Kind::Set { .. }
            | Kind::SetTransaction
            | Kind::Show { .. }
            | Kind::Transaction(_)
            | Kind::Truncate => Ok(None),
        }
    }

    fn find(&self, name: &str, names: &Names<'_>) -> Option<Arc<ClientStatement>> {
        match names.changed.get(name) {
            Some(changed) => changed.clone(),
            None if names.all_gone => None,
            None => self.statements.get(name.as_bytes()).cloned(),
        }
    }

    /// What PREPARE makes.
    fn made(&self, prepare: &SqlPrepare) -> Result<ClientStatement, Failure> {
        let sql = Bytes::copy_from_slice(prepare.sql.as_bytes());
        let plan = self
            .admit(&sql, &prepare.types)
            .map_err(|report| ErrorReport {
                position: None,
                ..report
            })?;
        is_executable(&plan)?;
        Ok(ClientStatement {
            sql,
            declared_types: prepare.types.clone(),
            plan,
        })
    }

    /// Whether the server has what the message needs, and the message is on record where it must be.
    pub(super) fn make_ready(&mut self, message: &FrontendMessage) -> Result<Clearance, Failure> {
        match self.prepare_ahead(message)? {
            Ahead::Awaited => Ok(Clearance::Awaited),
            Ahead::Ready => self.clear(message),
        }
    }

    /// Whether a DISCARD ALL has to be over first.
    pub(super) fn waits_for_clearing(&mut self, message: &FrontendMessage) -> bool {
        let Some(server) = &mut self.server else {
            return false;
        };
        if server.clearing == Clearing::Sent && *message != FrontendMessage::Flush {
            server.out.flush();
            server.clearing = Clearing::Flushed;
        }
        server.clearing != Clearing::No && *message != FrontendMessage::Flush
    }

    /// Prepares on the server what a Query needs there, and lets it wait for that: so an error is an error
    /// of the message's, and nothing else of it is run.
    fn prepare_ahead(&mut self, message: &FrontendMessage) -> Result<Ahead, Failure> {
        let FrontendMessage::Query(sql) = message else {
            return Ok(Ahead::Ready);
        };
        if self.hatch.is_some() {
            return Ok(Ahead::Ready);
        }
        let plan = self.admit(sql, &[])?;
        let needed = self.named(&plan)?;
        let Some(server) = &mut self.server else {
            return Ok(Ahead::Ready);
        };
        let mut missing = Vec::new();
        let each = plan.statements.iter().zip(needed);
        let each = each.filter(|(statement, _)| !matches!(statement.kind, Kind::Deallocate(_)));
        for named in each.filter_map(|(_, named)| named) {
            let plan = Arc::clone(&named.plan);
            let is_current = plan.constants == Constants::Fixed || server.fresh.contains(&plan.id);
            if !(server.state.prepared.touch(plan.id) && is_current) {
                missing.push(plan);
            }
        }
        if missing.is_empty() {
            return Ok(Ahead::Ready);
        }
        let texts = missing
            .iter()
            .map(|plan| Ok((plan, self.text_to_prepare(plan)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let Some(server) = &mut self.server else {
            return Ok(Ahead::Ready);
        };
        if server.expected.is_empty() {
            for (plan, text) in texts {
                prepare(server, (plan, &text), Asker::Proxy, None);
            }
            server.out.sync();
            server.expected.push(Reply::Prepared);
        } else if !server.expected.is_flushed() {
            // The client may have asked for no answer yet, and none would come.
            server.out.flush();
            server.expected.note_flushed();
        }
        Ok(Ahead::Awaited)
    }

    /// Where a statement is an EXECUTE or a FETCH, or forgets what only Tenantry knows, makes it the server's
    /// unnamed one.
    pub(super) fn parse_executing(&mut self, statement: &ClientStatement) -> Result<bool, Failure> {
        let [isolated] = statement.plan.statements.as_slice() else {
            return Ok(false);
        };
        if isolated.kind == Kind::Fetch {
            self.parse_unnamed(parse_text(&isolated.admitted), &statement.plan);
            return Ok(true);
        }
        let is_execute = matches!(isolated.kind, Kind::Execute { .. });
        if !is_execute && !matches!(isolated.kind, Kind::Deallocate(Some(_))) {
            return Ok(false);
        }
        let named = self.named(&statement.plan)?;
        let named = named.first().and_then(Option::as_ref);
        let identity = self.identity_for(&statement.plan);
        let text = executing(isolated, named.map(|named| &**named), identity.filling())
            .map_err(|refusal| refusal_report(&refusal, &statement.sql))?;
        let (Some(text), Some(named)) = (text, named) else {
            return Ok(false);
        };
        let prepared = self.text_to_prepare(&named.plan)?;
        let Some(server) = &mut self.server else {
            return Ok(false);
        };
        if is_execute {
            prepare(server, (&named.plan, &prepared), Asker::Proxy, None);
        }
        self.parse_unnamed(&text, &statement.plan);
        Ok(true)
    }

    fn parse_unnamed(&mut self, text: &str, plan: &Arc<Plan>) {
        if let Some(server) = &mut self.server {
            server.out.parse_unnamed(text);
            server.expected.push(Reply::Parse {
                asker: Asker::Proxy,
                plan: Some(Arc::clone(plan)),
                instead: None,
            });
        }
    }

    /// A server crashes when it describes a FETCH that it has known for longer than the cursor is gone
    /// (PostgreSQL's `FetchStatementTargetList`). So a FETCH is parsed anew wherever it is described, and its
    /// portal is described right behind Bind or not at all.
    pub(super) fn check_described(&self, portal: &[u8]) -> Result<(), Failure> {
        let plan = self.portals.get(portal);
        let statement = plan.and_then(|plan| plan.statements.first());
        if statement.is_none_or(|statement| statement.kind != Kind::Fetch)
            || self.bound.as_deref() == Some(portal)
        {
            return Ok(());
        }
        let message = "describing a FETCH is supported right behind its Bind only";
        Err(ErrorReport::error("0A000", message))
    }

    /// What an Execute message changes among the names, at once: what follows it in the same segment
    /// fails with it.
    pub(super) fn change_names(&mut self, plan: &Plan) -> Result<Vec<Undo>, Failure> {
        let [statement] = plan.statements.as_slice() else {
            return Ok(Vec::new());
        };
        let effect = Effect::of(statement);
        if !matches!(effect, Effect::Deallocate(_) | Effect::Prepare(_)) {
            return Ok(Vec::new());
        }
        let made = self.named(plan)?.into_iter().next().flatten();
        if let Some(made) = &made {
            let text = self.text_to_prepare(&made.plan)?;
            if let Some(server) = &mut self.server {
                prepare(server, (&made.plan, &text), Asker::Proxy, None);
            }
        }
        let before = self.statements.clone();
        self.note_names(&effect);
        let gone = before
            .iter()
            .filter(|(name, _)| !self.statements.contains_key(*name))
            .map(|(name, known)| Undo::ClientStatement(name.clone(), Some(Arc::clone(known))));
        let new = self
            .statements
            .keys()
            .filter(|name| !before.contains_key(*name))
            .map(|name| Undo::ClientStatement(name.clone(), None));
        Ok(gone.chain(new).collect())
    }

    /// A statement that changes names has been run.
    pub(super) fn note_names(&mut self, effect: &Effect) {
        match effect {
            Effect::Deallocate(None) => self.statements.clear(),
            Effect::Deallocate(Some(name)) => {
                self.statements.remove(name.as_bytes());
            }
            Effect::Prepare(prepare) => {
                // It was admitted before it was sent; a reload may have come between.
                if let Ok(made) = self.made(prepare) {
                    let name = Bytes::copy_from_slice(prepare.name.as_bytes());
                    self.statements.insert(name, Arc::new(made));
                }
            }
            Effect::Begin
            | Effect::Chain
            // It clears more than names.
            | Effect::Clear
            | Effect::CloseCursor(_)
            | Effect::Commit
            | Effect::CopyIn(_)
            | Effect::Custom(_)
            | Effect::Hold(_)
            | Effect::None
            | Effect::Pin
            | Effect::Release(_)
            | Effect::Reset(_)
            | Effect::ResetAll
            | Effect::Rollback
            | Effect::RollbackTo(_)
            | Effect::Savepoint(_)
            | Effect::Set(..)
            | Effect::SetAll(_)
            | Effect::SetLocal(..)
            | Effect::Truncate => {}
        }
    }
}

/// As PostgreSQL has it: what PREPARE does not take, EXECUTE does not either.
fn is_executable(plan: &Plan) -> Result<(), Failure> {
    match plan.statements.as_slice() {
        // A COPY has no parameters, in which the tenant could be given.
        [statement] if statement.kind == Kind::Data && copying(&statement.admitted).is_none() => {
            Ok(())
        }
        _ => Err(ErrorReport::error(
            "0A000",
            "EXECUTE of this kind of statement is not supported",
        )),
    }
}

fn unknown(name: &str) -> Failure {
    let name = shown(name.as_bytes());
    ErrorReport::error(
        "26000",
        format!("prepared statement \"{name}\" does not exist"),
    )
}

/// As PostgreSQL says it of everything that does not end the block.
pub(super) fn in_failed_block() -> ErrorReport {
    ErrorReport::error(
        "25P02",
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}
