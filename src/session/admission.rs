//! Statements that were admitted, kept for those who send them again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::admitted::Admitted;
use crate::catalog::Oid;
use crate::isolate::copying::Copying;
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::template::{Filling, SlotType};
use crate::isolate::{Isolated, Kind, isolate, pass};
use crate::protocol::error_response::OwnValue;
use crate::tenant::{Classified, TenantKey, TenantType, Verb};
use crate::verify::{Pattern, Reach, own_variable};

/// The bytes of text that one cache may hold.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// About how many texts that is.
const CACHE_ITEMS: usize = 16 * 1024;

/// A statement's name on server connections. Never used twice in the life of the process, so that two
/// texts cannot meet under one name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StatementId(u64);

impl StatementId {
    /// The name that server connections know it by.
    pub fn name(self) -> String {
        format!("tenantry_{}", self.0)
    }

    #[cfg(test)]
    pub(super) fn test(number: u64) -> Self {
        Self(number)
    }
}

/// A Query or Parse message that was admitted whole. It serves every tenant.
#[derive(Debug)]
pub struct Plan {
    /// Its name on server connections, where it is one statement.
    pub id: StatementId,
    /// What is sent; none for an empty text.
    pub statements: Vec<Isolated>,
    /// The types that the client declared.
    pub declared_types: Vec<Oid>,
    /// Which [`Admission`] it belongs to.
    pub admission: u64,
    /// What its constants are read under.
    pub constants: Constants,
    /// Whether what is sent begins as the client wrote it, so that a place in the one is one in the other.
    pub is_verbatim: bool,
    parsed: AtomicBool,
}

/// Whether Parse makes constants whose value depends on who parses, and when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Constants {
    /// It does not.
    Fixed,
    /// There are literals in quotes: `'01/02/2024'` as a date depends on `DateStyle`, `'now'` on the
    /// time. Or the tenant is written into the text, which takes no parameters. Such a statement, once
    /// prepared, is not for other sessions, nor for later.
    OfTheMoment,
}

impl Constants {
    fn of(text: &str, statements: &[Isolated]) -> Self {
        let tenant_is_written = statements
            .iter()
            .any(|statement| copying(&statement.admitted).is_some());
        let dollar_quoted = text
            .split('$')
            .skip(1)
            .any(|behind| behind.is_empty() || behind.starts_with(|c: char| !c.is_ascii_digit()));
        if text.contains('\'') || dollar_quoted || tenant_is_written {
            Self::OfTheMoment
        } else {
            Self::Fixed
        }
    }
}

impl Plan {
    /// A server has parsed it without complaint.
    pub fn note_parsed(&self) {
        self.parsed.store(true, Ordering::Relaxed);
    }

    /// Whether any server has parsed it without complaint.
    pub fn was_parsed(&self) -> bool {
        self.parsed.load(Ordering::Relaxed)
    }

    /// How many parameters the client has to bind.
    pub fn client_parameters(&self) -> u16 {
        match self.statements.first().map(|statement| &statement.admitted) {
            Some(Admitted::Bypassed(bypassed)) => bypassed.client_parameters(),
            Some(Admitted::Isolated(verified)) => verified.client_parameters(),
            None => 0,
        }
    }

    /// The client's parameters that are patterns of LIKE, to be looked at before they are bound.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let patterns = self
            .statements
            .iter()
            .map(|statement| match &statement.admitted {
                Admitted::Bypassed(bypassed) => bypassed.patterns(),
                Admitted::Isolated(verified) => verified.patterns(),
            });
        patterns.flatten()
    }

    /// The types of the tenant's parameters, which follow.
    pub fn tenant_parameters(&self) -> &[SlotType] {
        match self.statements.first().map(|statement| &statement.admitted) {
            Some(Admitted::Bypassed(bypassed)) => bypassed.tenant_parameters(),
            Some(Admitted::Isolated(verified)) => verified.tenant_parameters(),
            None => &[],
        }
    }

    /// What the tenant's parameters are bound to: what the session has, but an admin's statement
    /// brings the keys of its scope along.
    pub fn filling<'a>(&'a self, session: Filling<'a>) -> Filling<'a> {
        let scope = match self.statements.first().map(|statement| &statement.admitted) {
            Some(Admitted::Bypassed(bypassed)) => bypassed.value(),
            Some(Admitted::Isolated(_)) | None => None,
        };
        scope.map_or(session, Filling::from)
    }
}

/// Which way rows go, if the statement is a COPY.
pub(super) fn copying(admitted: &Admitted) -> Option<&Copying> {
    match admitted {
        Admitted::Bypassed(bypassed) => bypassed.copying(),
        Admitted::Isolated(verified) => verified.copying(),
    }
}

/// The text in which whose rows are meant is written out.
pub(super) fn text_for(admitted: &Admitted, filling: Filling<'_>) -> Result<String, Refusal> {
    match admitted {
        Admitted::Bypassed(bypassed) => bypassed.with_scope(),
        Admitted::Isolated(verified) => verified.with_tenant(filling),
    }
}

/// The text for a Parse message.
pub(super) fn parse_text(admitted: &Admitted) -> &str {
    match admitted {
        Admitted::Bypassed(bypassed) => bypassed.text(),
        Admitted::Isolated(verified) => verified.text(),
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Text {
    sql: Bytes,
    declared_types: Vec<Oid>,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Text, Arc<Plan>> for ByBytes {
    fn weight(&self, text: &Text, plan: &Arc<Plan>) -> u64 {
        let sent: usize = plan
            .statements
            .iter()
            .map(|statement| parse_text(&statement.admitted).len())
            .sum();
        // Trees and slots come to about as much again.
        u64::try_from(2 * (text.sql.len() + sent) + 256).unwrap_or(u64::MAX)
    }
}

/// Where the numbers of admissions and statements come from: one for the whole process.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// A number that nobody else has.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// What decides on a statement.
#[derive(Clone, Debug)]
pub enum Rules {
    /// An admin, under the scope of a grant: statements are rewritten and proved under that scope.
    Bypass(Arc<Classified>),
    /// An admin without a grant: there are no relations, and Tenantry's own variables are known.
    Closed(Arc<Classified>),
    /// The tenant has a database of its own: statements pass unrewritten, through the gate.
    Own(Reach),
    /// The tenant shares tables with others: statements are rewritten and proved.
    Shared(Arc<Classified>),
}

impl Rules {
    /// Whether these are the very same rules, not only equal ones.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(reach), Self::Own(other)) => reach == other,
            (Self::Bypass(classified), Self::Bypass(other))
            | (Self::Closed(classified), Self::Closed(other))
            | (Self::Shared(classified), Self::Shared(other)) => Arc::ptr_eq(classified, other),
            (Self::Bypass(_) | Self::Closed(_) | Self::Own(_) | Self::Shared(_), _) => false,
        }
    }
}

/// Rules, and what was admitted under them. A new catalog or policy has new ones, so that no verdict
/// outlives what it was made from.
#[derive(Debug)]
pub struct Admission {
    number: u64,
    numbers: Numbers,
    rules: Rules,
    plans: Cache<Text, Arc<Plan>, ByBytes>,
}

impl Admission {
    /// An empty cache under these rules.
    pub fn new(rules: Rules, numbers: Numbers) -> Self {
        Self {
            number: numbers.next(),
            numbers,
            rules,
            plans: Cache::with_weighter(CACHE_ITEMS, CACHE_BYTES, ByBytes),
        }
    }

    /// Tells this one from others.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What decides.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Admits a message whole, or refuses it.
    pub fn admit(&self, sql: &Bytes, declared_types: &[Oid]) -> Result<Arc<Plan>, Refusal> {
        let text = Text {
            sql: sql.clone(),
            declared_types: declared_types.to_vec(),
        };
        if let Some(plan) = self.plans.get(&text) {
            return Ok(plan);
        }
        let statements = self.statements(sql, declared_types)?;
        let plan = Arc::new(Plan {
            id: StatementId(self.numbers.next()),
            declared_types: declared_types.to_vec(),
            admission: self.number,
            constants: Constants::of(&String::from_utf8_lossy(sql), &statements),
            is_verbatim: match (&self.rules, statements.as_slice()) {
                (Rules::Own(_), [alone]) => sql.starts_with(parse_text(&alone.admitted).as_bytes()),
                (Rules::Own(_) | Rules::Bypass(_) | Rules::Closed(_) | Rules::Shared(_), _) => {
                    false
                }
            },
            statements,
            parsed: AtomicBool::new(false),
        });
        let text = Text {
            // The slice of a client's message would keep the whole of it.
            sql: Bytes::copy_from_slice(sql),
            ..text
        };
        self.plans.insert(text, Arc::clone(&plan));
        Ok(plan)
    }

    fn statements(&self, sql: &[u8], declared_types: &[Oid]) -> Result<Vec<Isolated>, Refusal> {
        match &self.rules {
            Rules::Bypass(classified) => {
                alone_if_need_be(isolate(sql, declared_types, classified)?)
            }
            Rules::Closed(classified) => match own_variable(sql)? {
                Some(_) if !declared_types.is_empty() => Err(unsupported("a parameter here")),
                Some((kind, statement)) => Ok(vec![Isolated {
                    kind,
                    admitted: Admitted::Isolated(statement),
                }]),
                None => alone_if_need_be(isolate(sql, declared_types, classified)?),
            },
            Rules::Own(reach) => pass(sql, declared_types, *reach),
            Rules::Shared(classified) => isolate(sql, declared_types, classified),
        }
    }

    /// Every tenant column with this tenant's value as PostgreSQL prints it; none if the tables are
    /// the tenant's own, and nothing in them is foreign.
    pub fn own_values(&self, key: &TenantKey) -> Option<Vec<OwnValue>> {
        let classified = match &self.rules {
            Rules::Own(_) => return None,
            Rules::Bypass(classified) | Rules::Closed(classified) | Rules::Shared(classified) => {
                classified
            }
        };
        let columns: BTreeSet<(&str, TenantType)> = classified
            .scoped()
            .filter_map(|(_, scoped)| Some((scoped.tenant_column()?, scoped.column_type)))
            .collect();
        let own = |(column, column_type): (&str, TenantType)| {
            Some(OwnValue {
                column: column.to_owned(),
                value: column_type.text(key).ok()?,
            })
        };
        Some(columns.into_iter().filter_map(own).collect())
    }
}

/// An admin's message of several statements is under one grant and one transaction as a whole: what
/// would change either, and what writes, comes alone.
fn alone_if_need_be(statements: Vec<Isolated>) -> Result<Vec<Isolated>, Refusal> {
    for statement in &statements {
        open_to_admins(&statement.kind)?;
    }
    let only_reads = |statement: &Isolated| match (&statement.kind, &statement.admitted) {
        (Kind::Data, Admitted::Bypassed(bypassed)) => {
            bypassed.verbs().iter().all(|verb| *verb == Verb::Select)
        }
        (Kind::Data | Kind::Show { .. }, _) => true,
        (
            Kind::Characteristics(_)
            | Kind::ClearsSession
            | Kind::CloseCursor(_)
            | Kind::Cursor
            | Kind::Deallocate(_)
            | Kind::Execute { .. }
            | Kind::Fetch
            | Kind::Hold(_)
            | Kind::Pins
            | Kind::Prepare(_)
            | Kind::Reset { .. }
            | Kind::ResetAll
            | Kind::Set { .. }
            | Kind::SetTransaction
            | Kind::Transaction(_)
            | Kind::Truncate,
            _,
        ) => false,
    };
    if statements.len() > 1 && !statements.iter().all(only_reads) {
        return Err(unsupported(
            "what an admin writes or sets beside other statements of one message",
        ));
    }
    Ok(statements)
}

/// What would go on after the grant that it began under, or undo what keeps an admin's transactions to
/// reading.
fn open_to_admins(kind: &Kind) -> Result<(), Refusal> {
    use crate::isolate::TransactionCommand::{CommitAndChain, RollbackAndChain};
    match kind {
        Kind::Characteristics(_) => Err(unsupported("SET SESSION CHARACTERISTICS for admins")),
        Kind::ClearsSession => Err(unsupported("DISCARD ALL for admins")),
        Kind::CloseCursor(_) | Kind::Cursor | Kind::Fetch | Kind::Hold(_) => {
            Err(unsupported("a cursor in SQL for admins"))
        }
        Kind::Deallocate(_) | Kind::Execute { .. } | Kind::Prepare(_) => {
            Err(unsupported("PREPARE in SQL for admins"))
        }
        Kind::ResetAll => Err(unsupported("RESET ALL for admins")),
        Kind::Transaction(CommitAndChain | RollbackAndChain) => {
            Err(unsupported("AND CHAIN for admins"))
        }
        Kind::Truncate => Err(unsupported("TRUNCATE for admins")),
        Kind::Data
        | Kind::Pins
        | Kind::Reset { .. }
        | Kind::Set { .. }
        | Kind::SetTransaction
        | Kind::Show { .. }
        | Kind::Transaction(_) => Ok(()),
    }
}

fn unsupported(construct: &str) -> Refusal {
    Reason::ConstructNotSupported {
        construct: construct.to_owned(),
    }
    .into()
}
