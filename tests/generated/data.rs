//! The rows: the tenant's own, the same in all databases, and those of others, of several sorts.

use std::fmt::Write as _;

use super::choices::Choices;
use super::schema::{Schema, Table};
use super::value::{Kind, quoted};

/// What rows of others look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Foreign {
    /// There are none.
    Gone,
    /// The same keys as one's own rows, and values that applications have.
    Alike,
    /// Values that break what is computed of them.
    Poisoned,
    /// The very constants that the statements compare with, and parts of them.
    Copied,
}

/// A value, or NULL.
type Value = Option<String>;

/// How many rows of one tenant each table has.
pub(super) type Sizes = Vec<usize>;

pub(super) fn sizes(schema: &Schema, choices: &mut Choices<'_>) -> Sizes {
    let tables = schema.tables.iter();
    tables
        .map(|_| [4, 1, 2, 6, 0, 9][choices.below(6)])
        .collect()
}

/// INSERTs of one's own rows, with the tenant column where the database is shared.
pub(super) fn own(schema: &Schema, sizes: &Sizes, bytes: &[u8], shared: bool) -> String {
    let mut choices = Choices::new(bytes);
    let mut out = String::new();
    for table in 0..schema.tables.len() {
        let rows = rows(schema, table, sizes, |kind| {
            choices.of(kind.values()).to_owned()
        });
        let key = shared.then(|| schema.tenants.keys()[0]);
        insert(&mut out, schema, &schema.tables[table], &rows, key);
    }
    out
}

/// INSERTs of others' rows.
pub(super) fn foreign(
    schema: &Schema,
    sizes: &Sizes,
    sort: Foreign,
    literals: &[(Kind, String)],
    bytes: &[u8],
) -> String {
    let mut choices = Choices::new(bytes);
    let mut out = String::new();
    let others = match sort {
        Foreign::Gone => &[][..],
        Foreign::Alike | Foreign::Poisoned | Foreign::Copied => &schema.tenants.keys()[1..],
    };
    for key in others {
        for table in 0..schema.tables.len() {
            let rows = rows(schema, table, sizes, |kind| match sort {
                Foreign::Gone | Foreign::Alike => choices.of(kind.values()).to_owned(),
                Foreign::Poisoned => choices.of(kind.poison()).to_owned(),
                Foreign::Copied => copied(kind, literals, &mut choices),
            });
            insert(&mut out, schema, &schema.tables[table], &rows, Some(key));
        }
    }
    out
}

/// One of the statements' constants, or the beginning of one.
fn copied(kind: Kind, literals: &[(Kind, String)], choices: &mut Choices<'_>) -> String {
    let of_kind: Vec<&String> = literals
        .iter()
        .filter(|(other, _)| *other == kind)
        .map(|(_, value)| value)
        .collect();
    if of_kind.is_empty() {
        return choices.of(kind.values()).to_owned();
    }
    let value = of_kind[choices.below(of_kind.len())];
    match kind {
        Kind::Text | Kind::Varchar => {
            let length = value.chars().count().min(20);
            let cut = if choices.chance(30) {
                choices.below(length + 1)
            } else {
                length
            };
            value.chars().take(cut).collect()
        }
        Kind::Int4
        | Kind::Int8
        | Kind::Numeric
        | Kind::Bool
        | Kind::Timestamptz
        | Kind::Date
        | Kind::Uuid
        | Kind::Jsonb
        | Kind::Ints
        | Kind::Texts
        | Kind::Enum
        | Kind::Domain => value.clone(),
    }
}

fn rows(
    schema: &Schema,
    table: usize,
    sizes: &Sizes,
    mut value: impl FnMut(Kind) -> String,
) -> Vec<Vec<Value>> {
    let of = &schema.tables[table];
    let writable = of.writable();
    let mut rows = Vec::new();
    for number in 1..=sizes[table] {
        let mut row = Vec::new();
        for at in &writable {
            let column = &of.columns[*at];
            let nullable = !column.not_null && (number + at).is_multiple_of(4);
            let reference = of.reference(*at);
            row.push(if *at < of.key && of.key == 2 {
                let number = if *at == 0 { number / 2 } else { number % 2 };
                Some((number + 1).to_string())
            } else if *at < of.key || of.unique == Some(*at) {
                column.kind.distinct(number)
            } else if nullable {
                None
            } else if let Some(reference) = reference {
                let parents = if reference.to == table {
                    number - 1
                } else {
                    sizes[reference.to]
                };
                match parents {
                    0 => None,
                    parents => column.kind.distinct((number * 7 + at) % parents + 1),
                }
            } else {
                Some(value(column.kind))
            });
        }
        // A row that must refer to something cannot be where there is nothing.
        let is_whole = writable
            .iter()
            .zip(&row)
            .all(|(at, value)| value.is_some() || !of.columns[*at].not_null);
        if is_whole {
            rows.push(row);
        }
    }
    rows
}

fn insert(
    out: &mut String,
    schema: &Schema,
    table: &Table,
    rows: &[Vec<Value>],
    tenant: Option<&str>,
) {
    if rows.is_empty() {
        return;
    }
    let mut names: Vec<&str> = table
        .writable()
        .iter()
        .map(|at| table.column(*at))
        .collect();
    if tenant.is_some() {
        names.push(schema.tenant_column);
    }
    let overriding = if table.always_identity() {
        " OVERRIDING SYSTEM VALUE"
    } else {
        ""
    };
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let values = row.iter().map(|value| match value {
                Some(value) => quoted(value),
                None => "NULL".to_owned(),
            });
            let all: Vec<String> = values.chain(tenant.map(quoted)).collect();
            format!("({})", all.join(", "))
        })
        .collect();
    writeln!(
        out,
        "INSERT INTO {} ({}){overriding} VALUES {};",
        table.name,
        names.join(", "),
        rows.join(", ")
    )
    .expect("a string");
}
