//! Namespaces: which range entries and columns a name can mean, as PostgreSQL looks them up.
//!
//! In: the range entries of each query level, from the outside in. Out: what a column reference means,
//! or that the server would not find it, or that it cannot be told.
//!
//! # Invariants
//! 1. The tenant column of a table that is not fenced is never found: naming it is refused.

use super::types::{Column, Value};
use crate::catalog::{Oid, RelationName, SYSTEM_COLUMNS, oid};
use crate::isolate::refusal::{BeyondGrant, Reason, Refusal};
use crate::tenant::{Ownership, TenantType, Verb};

/// Whether rows of tenants' tables are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tenancy {
    /// They are not.
    Free,
    /// They are.
    Scoped,
}

/// Whether FOR UPDATE would lock rows that all tenants share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Locks {
    /// It would lock the tenant's own rows only.
    Own,
    /// It would lock rows of a shared table that tenants may not write.
    Shared,
}

/// Whether all columns are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Extent {
    /// All are known.
    Complete,
    /// There may be others.
    Open,
}

/// A tenant test that must stand in a condition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Test {
    /// The range entry.
    pub(super) alias: String,
    /// The table.
    pub(super) relation: RelationName,
    /// What says whose a row is.
    pub(super) ownership: Ownership,
    /// The type of the tenant column.
    pub(super) column_type: TenantType,
    /// The other columns of the primary key, if there is one.
    pub(super) key: Option<Vec<String>>,
    /// Whether each row has an owner.
    pub(super) not_null: bool,
    /// Where the table's name stands in the client's text.
    pub(super) at: Option<usize>,
}

impl Test {
    /// The tenant column, if the table has one.
    pub(super) fn tenant_column(&self) -> Option<&str> {
        match &self.ownership {
            Ownership::Column(column) => Some(column),
            Ownership::Via(_) => None,
        }
    }
}

/// A range entry.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The name that references use.
    pub(super) name: Option<String>,
    /// The relation, if it can be referred to as `schema.relation.column`.
    pub(super) relation: Option<RelationName>,
    /// Its columns, the tenant column left out.
    pub(super) columns: Vec<Column>,
    /// Whether these are all.
    pub(super) extent: Extent,
    /// Columns that an unqualified name does not reach, since a join has merged them.
    pub(super) merged: Vec<String>,
    /// The tenant column, if the table stands without a fence.
    pub(super) hidden: Option<String>,
    /// Whether it reads tenants' rows.
    pub(super) tenancy: Tenancy,
    /// What locking it would lock.
    pub(super) locks: Locks,
    /// What its columns are sent as, if it is a view that is written.
    pub(super) sent: Option<Sent>,
    /// The columns that it has beside its own.
    pub(super) system: SystemColumns,
    /// The columns that tell its rows apart, if it is a table in a fence with a primary key.
    pub(super) key: Option<Vec<String>>,
}

/// The system columns of a range entry.
#[derive(Clone, Debug)]
pub(super) enum SystemColumns {
    /// It is no table.
    Absent,
    /// It may have some that are not shown.
    Unknown,
    /// Those that may be named.
    Of(Vec<Column>),
}

/// What the columns of a view that is written are sent as: its table's, which has another name.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// The table's alias.
    pub(super) alias: String,
    /// The table's column for each column of the view; none for one that is computed.
    pub(super) columns: Vec<Option<String>>,
}

/// The target of a write whose columns may not be read.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    /// The range entry.
    pub(super) alias: String,
    /// The relation, for the refusal.
    pub(super) relation: RelationName,
}

/// A query level.
#[derive(Debug)]
pub(super) struct Level {
    /// The range entries that can be seen at this point.
    pub(super) items: Vec<Item>,
    /// The names of all range entries of this level, seen or not.
    pub(super) aliases: Vec<String>,
    /// The tables without a fence, in order.
    pub(super) direct: Vec<Test>,
    /// The tests that the WHERE clause must hold.
    pub(super) tests: Vec<Test>,
    /// Whether columns are merged by USING or NATURAL.
    pub(super) merges: bool,
    /// Whether conditions of this level run on tenants' rows.
    pub(super) tenancy: Tenancy,
    /// Whether the level sees tenants' rows that stand to its left in FROM.
    pub(super) lateral: Tenancy,
    /// What locking all range entries would lock.
    pub(super) locks: Locks,
    /// The first thing in a condition of this level that is not silent.
    pub(super) loud_condition: Option<Refusal>,
    /// The first thing elsewhere that is not silent.
    pub(super) loud_content: Option<Refusal>,
    /// The names of the result's columns, once known.
    pub(super) outputs: Vec<Column>,
    /// What `*` stands for.
    pub(super) star: Exposed,
    /// The target, if the grant does not allow to read it.
    pub(super) sealed: Option<Sealed>,
}

/// The columns that a range entry or a join shows.
#[derive(Clone, Debug)]
pub(super) struct Exposed {
    /// The columns.
    pub(super) columns: Vec<Column>,
    /// Whether these are all.
    pub(super) extent: Extent,
}

/// How many rows a query gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rows {
    /// Any number.
    Any,
    /// One at most, by its form.
    AtMostOne,
}

/// What a query gives.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// Its columns.
    pub(super) columns: Vec<Column>,
    /// Whether these are all.
    pub(super) extent: Extent,
    /// Whether it reads tenants' rows.
    pub(super) tenancy: Tenancy,
    /// What locking it would lock.
    pub(super) locks: Locks,
    /// How many rows it gives.
    pub(super) rows: Rows,
    /// The first thing in it that is not silent, its columns aside.
    pub(super) loud: Option<Refusal>,
}

impl Exposed {
    /// No columns.
    pub(super) fn none() -> Self {
        Self {
            columns: Vec::new(),
            extent: Extent::Complete,
        }
    }

    /// Adds the columns of what stands to the right.
    pub(super) fn append(&mut self, right: Self) {
        self.columns.extend(right.columns);
        if right.extent == Extent::Open {
            self.extent = Extent::Open;
        }
    }

    /// The column of this name.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl Output {
    /// The first thing in it that is not silent, wherever.
    pub(super) fn any_loud(&self) -> Option<Refusal> {
        let in_columns = || self.columns.iter().find_map(|c| c.value.clone().err());
        self.loud.clone().or_else(in_columns)
    }
}

impl Level {
    /// A level without range entries.
    pub(super) fn new(tenancy: Tenancy) -> Self {
        Self {
            items: Vec::new(),
            aliases: Vec::new(),
            direct: Vec::new(),
            tests: Vec::new(),
            merges: false,
            tenancy,
            lateral: tenancy,
            locks: Locks::Own,
            loud_condition: None,
            loud_content: None,
            outputs: Vec::new(),
            star: Exposed::none(),
            sealed: None,
        }
    }

    /// Takes note of a condition that is not silent.
    pub(super) fn loud(&mut self, refusal: Refusal) {
        match &mut self.loud_condition {
            Some(first) => first.remedied_by(refusal.remedies().iter().cloned()),
            None => self.loud_condition = Some(refusal),
        }
    }

    /// Refuses to read the target where the grant does not allow it.
    pub(super) fn readable(&self) -> Result<(), Reason> {
        match &self.sealed {
            None => Ok(()),
            Some(sealed) => Err(BeyondGrant::Verb {
                relation: sealed.relation.to_string(),
                verb: Verb::Select,
            }
            .into()),
        }
    }

    /// The same, if this range entry is the target.
    fn readable_item(&self, item: &Item) -> Result<(), Reason> {
        let alias = self.sealed.as_ref().map(|sealed| &sealed.alias);
        if alias.is_some() && item.name.as_ref() == alias {
            self.readable()
        } else {
            Ok(())
        }
    }

    /// Adds a range entry, and tells what it shows.
    pub(super) fn add(&mut self, item: Item) -> Exposed {
        self.note(item.tenancy, item.locks);
        let exposed = Exposed {
            columns: item.columns.clone(),
            extent: item.extent,
        };
        if let Some(name) = &item.name {
            self.aliases.push(name.clone());
        }
        self.items.push(item);
        exposed
    }

    /// Takes note of what a part of the level reads.
    pub(super) fn note(&mut self, tenancy: Tenancy, locks: Locks) {
        if tenancy == Tenancy::Scoped {
            self.tenancy = Tenancy::Scoped;
        }
        if locks == Locks::Shared {
            self.locks = Locks::Shared;
        }
    }
}

/// A column reference, taken apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Reference<'n> {
    /// The schema.
    pub(super) schema: Option<&'n str>,
    /// The range entry.
    pub(super) table: Option<&'n str>,
    /// The column; none for `*`.
    pub(super) column: Option<&'n str>,
}

/// What a reference means.
#[derive(Debug)]
pub(super) enum Found<'s> {
    /// A column.
    Column(&'s Column),
    /// A column of a range entry whose columns are not all known.
    Opaque,
    /// A whole row.
    Row(&'s Item),
}

/// The system columns that may be read, with their types. `ctid` may not: the places of a tenant's rows in
/// the file tell how many rows others have.
const TYPES: [(&str, Oid); 5] = [
    ("cmax", oid::CID),
    ("cmin", oid::CID),
    ("tableoid", oid::OID),
    ("xmax", oid::XID),
    ("xmin", oid::XID),
];

/// Columns that tell who has locked or changed a row that is everybody's.
const OF_LOCKS: [&str; 3] = ["cmax", "cmin", "xmax"];

impl SystemColumns {
    /// Those of a table in its own place, whose rows are the tenant's, or everybody's.
    pub(super) fn of_table(tenancy: Tenancy) -> Self {
        let shown = TYPES.iter().filter(|(name, _)| match tenancy {
            Tenancy::Scoped => true,
            Tenancy::Free => !OF_LOCKS.contains(name),
        });
        let columns = shown.map(|(name, oid)| silent_column(name, Value::varying(*oid)));
        Self::Of(columns.collect())
    }

    /// The column of this name; none if there is no such column.
    fn find(&self, column: &str) -> Result<Option<&Column>, Reason> {
        if !SYSTEM_COLUMNS.contains(&column) {
            return Ok(None);
        }
        let refused = || unsupported(&format!("the system column {column} here"));
        match self {
            Self::Absent => Ok(None),
            Self::Unknown => Err(refused()),
            Self::Of(columns) => {
                let found = columns.iter().find(|known| known.name == column);
                found.map(Some).ok_or_else(refused)
            }
        }
    }
}

/// Finds what a reference means; `levels` from the outside in.
pub(super) fn resolve<'s>(
    levels: &'s [Level],
    reference: Reference<'_>,
) -> Result<Found<'s>, Reason> {
    let Some(table) = reference.table else {
        return match reference.column {
            Some(column) => unqualified(levels, column),
            None => Err(unsupported("* in this place")),
        };
    };
    let item = range_entry(levels, reference.schema, table)?;
    let Some(column) = reference.column else {
        return Ok(Found::Row(item));
    };
    let written = format!("{table}.{column}");
    if item.hidden.as_deref() == Some(column) {
        return Err(Reason::ColumnDoesNotExist { column: written });
    }
    let mut named = item.columns.iter().filter(|known| known.name == column);
    match (named.next(), named.next()) {
        (Some(found), None) => Ok(Found::Column(found)),
        (Some(_), Some(_)) => Err(ambiguous(column)),
        // What is not a column can be a function, called on the row.
        (None, _) if SYSTEM_COLUMNS.contains(&column) => match item.system.find(column)? {
            Some(found) => Ok(Found::Column(found)),
            None => Err(unsupported(&format!("the system column {column}"))),
        },
        (None, _) if item.extent == Extent::Open => {
            Err(unsupported(&format!("the reference {written}")))
        }
        (None, _) => Err(Reason::ColumnDoesNotExist { column: written }),
    }
}

/// The range entry of a view that is written, with the place of a column of it, if this is one.
pub(super) fn written<'s>(
    levels: &'s [Level],
    column: &Column,
) -> Option<(&'s Item, &'s Sent, usize)> {
    let mut items = levels.iter().flat_map(|level| &level.items);
    items.find_map(|item| {
        let sent = item.sent.as_ref()?;
        let mut columns = item.columns.iter();
        let at = columns.position(|known| std::ptr::eq(known, column))?;
        Some((item, sent, at))
    })
}

/// Whether a view that is written can be seen.
pub(super) fn sees_written(levels: &[Level]) -> bool {
    let mut items = levels.iter().flat_map(|level| &level.items);
    items.any(|item| item.sent.is_some())
}

/// The range entry that a qualifier means: the innermost level that knows it decides.
pub(super) fn range_entry<'s>(
    levels: &'s [Level],
    schema: Option<&str>,
    table: &str,
) -> Result<&'s Item, Reason> {
    let by_alias = innermost(levels, |item| item.name.as_deref() == Some(table))?;
    let Some(schema) = schema else {
        return by_alias.ok_or_else(|| missing(table));
    };
    // `schema.table.column` is sent as `table.column`, which must mean the same.
    let wanted = |item: &Item| {
        item.relation
            .as_ref()
            .is_some_and(|relation| relation.is(schema, table))
    };
    let by_relation = innermost(levels, wanted)?.ok_or_else(|| missing(table))?;
    match by_alias {
        Some(item) if std::ptr::eq(item, by_relation) => Ok(item),
        Some(_) | None => Err(unsupported("two range entries of one name")),
    }
}

fn innermost(levels: &[Level], wanted: impl Fn(&Item) -> bool) -> Result<Option<&Item>, Reason> {
    for level in levels.iter().rev() {
        let mut found = level.items.iter().filter(|item| wanted(item));
        match (found.next(), found.next()) {
            (None, _) => {}
            (Some(item), None) => {
                level.readable_item(item)?;
                return Ok(Some(item));
            }
            (Some(_), Some(_)) => return Err(unsupported("two range entries of one name")),
        }
    }
    Ok(None)
}

fn unqualified<'s>(levels: &'s [Level], column: &str) -> Result<Found<'s>, Reason> {
    let mut open = false;
    for level in levels.iter().rev() {
        if level
            .items
            .iter()
            .any(|i| i.hidden.as_deref() == Some(column))
        {
            return Err(Reason::ColumnDoesNotExist {
                column: column.to_owned(),
            });
        }
        let mut system = Vec::new();
        for item in &level.items {
            system.extend(item.system.find(column)?.map(|found| (item, found)));
        }
        let mut named = level
            .items
            .iter()
            .filter(|item| !item.merged.iter().any(|merged| merged == column))
            .flat_map(|item| item.columns.iter().map(move |known| (item, known)))
            .filter(|(_, known)| known.name == column)
            .chain(system);
        match (named.next(), named.next()) {
            (Some(_), Some(_)) => return Err(ambiguous(column)),
            (Some((item, found)), None) => {
                level.readable_item(item)?;
                if !open {
                    return Ok(Found::Column(found));
                }
            }
            (None, _) => {}
        }
        open |= level.items.iter().any(|item| item.extent == Extent::Open);
    }
    match innermost(levels, |item| item.name.as_deref() == Some(column))? {
        Some(item) if item.hidden.is_some() => {
            Err(unsupported(&format!("the row {column} as a value")))
        }
        Some(_) if open => Ok(Found::Opaque),
        Some(item) => Ok(Found::Row(item)),
        None if SYSTEM_COLUMNS.contains(&column) => {
            Err(unsupported(&format!("the system column {column}")))
        }
        None if open => Ok(Found::Opaque),
        None => Err(Reason::ColumnDoesNotExist {
            column: column.to_owned(),
        }),
    }
}

/// The value of a column that nothing is known of.
pub(super) fn opaque_column(name: &str, what: &str) -> Column {
    Column {
        name: name.to_owned(),
        value: Err(Reason::not_silent(what).into()),
        behind: false,
    }
}

/// A column whose value is known.
pub(super) fn silent_column(name: &str, value: Value) -> Column {
    Column {
        name: name.to_owned(),
        value: Ok(value),
        behind: false,
    }
}

fn missing(table: &str) -> Reason {
    Reason::AsPostgres {
        sqlstate: "42P01",
        message: format!("missing FROM-clause entry for table \"{table}\""),
    }
}

fn ambiguous(column: &str) -> Reason {
    Reason::AsPostgres {
        sqlstate: "42702",
        message: format!("column reference \"{column}\" is ambiguous"),
    }
}

fn unsupported(construct: &str) -> Reason {
    Reason::ConstructNotSupported {
        construct: construct.to_owned(),
    }
}
