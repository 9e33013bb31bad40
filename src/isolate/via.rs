//! Whose a row is, in the words that both ways to rewrite use.
//!
//! A sub-select that gives one value stays where it is written: PostgreSQL makes no join of it, as it does of
//! EXISTS and IN. So the test of a table that reaches its tenant through another one is a filter of its scan, as
//! the test of a tenant column is, and what runs before and behind it is the same.

use super::template::{NOT_PRESENT, PARENT, REFERENCE};
use crate::catalog::RelationName;
use crate::sql::quote;
use crate::tenant::{Ownership, TenantType, Via};

/// `alias.tenant_column`, or the sub-select of it in the row referred to.
pub(super) fn owner(alias: &str, ownership: &Ownership) -> String {
    owner_at(alias, ownership, 1)
}

fn owner_at(alias: &str, ownership: &Ownership, depth: usize) -> String {
    match ownership {
        Ownership::Column(column) => format!("{}.{}", quote(alias), quote(column)),
        Ownership::Via(via) => {
            let referring = format!("{}.{}", quote(alias), quote(&via.column));
            format!("({})", of_parent(&referring, via, depth))
        }
    }
}

/// `SELECT parent.tenant_column FROM schema.parent AS parent WHERE parent.key OPERATOR(pg_catalog.=) referring`
fn of_parent(referring: &str, via: &Via, depth: usize) -> String {
    let parent = alias_at(depth);
    format!(
        "SELECT {} FROM {} AS {parent} WHERE {parent}.{} OPERATOR(pg_catalog.=) {referring}",
        owner_at(&parent, &via.ownership, depth + 1),
        full_name(&via.parent),
        quote(&via.key),
    )
}

fn alias_at(depth: usize) -> String {
    if depth == 1 {
        PARENT.to_owned()
    } else {
        format!("{PARENT}_{depth}")
    }
}

/// Whose the row is that a new value refers to.
pub(super) fn owner_of_reference(via: &Via) -> String {
    let referring = format!("{REFERENCE}.{}", quote(&via.key));
    format!("({})", of_parent(&referring, via, 1))
}

/// The same of a row that is locked as the foreign key's own check locks it, so that it stays the one that was
/// looked at.
pub(super) fn owner_of_locked(via: &Via) -> String {
    let referring = format!("{REFERENCE}.{}", quote(&via.key));
    format!("({} FOR KEY SHARE)", of_parent(&referring, via, 1))
}

/// What is sent for a value of the referring column: the value, if the row that it refers to is the tenant's, also
/// once it is locked, or an error that says what PostgreSQL says of a row that is not there. No row of another is
/// locked.
pub(super) fn checked(
    value: &str,
    (own, own_locked): (&str, &str),
    via: &Via,
    table: &RelationName,
) -> String {
    let type_name = via.column_type.name();
    let key = format!("{REFERENCE}.{}", quote(&via.key));
    // Text can be made of everything; a number cannot.
    let failing = match via.column_type {
        TenantType::Int2 | TenantType::Int4 | TenantType::Int8 | TenantType::Uuid => "",
        TenantType::Text => "::pg_catalog.int4",
    };
    let literal = |text: String| format!("'{}'", text.replace('\'', "''"));
    let before = literal(format!(
        "{NOT_PRESENT}{}\" violates foreign key constraint \"{}\" Key ({})=(",
        table.name, via.constraint, via.column
    ));
    let behind = literal(format!(
        ") is not present in table \"{}\".",
        via.parent.name
    ));
    format!(
        "(SELECT CASE WHEN CASE WHEN {own} THEN {own_locked} END THEN {key} WHEN {key} IS NOT NULL THEN \
         pg_catalog.concat({before}, {key}, {behind}){failing}::pg_catalog.{type_name} END \
         FROM (SELECT ({value})::pg_catalog.{type_name} OFFSET 0) AS {REFERENCE} ({}))",
        quote(&via.key)
    )
}

fn full_name(name: &RelationName) -> String {
    format!("{}.{}", quote(&name.schema), quote(&name.name))
}
