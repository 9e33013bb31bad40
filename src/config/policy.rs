//! `policy.toml`: what each relation is, and what was reviewed.

use std::collections::BTreeMap;

use super::table::{Placed, Table};
use super::values::{relation_name, trusted_function, trusted_trigger, via};
use crate::catalog::RelationName;
use crate::tenant::{Policy, TablePolicy, TrustedTrigger, Unlisted};

/// What holds where the file does not exist: every table is refused.
pub(super) fn nothing() -> Policy {
    Policy {
        tenant_column: "tenant_id".to_owned(),
        unlisted: Unlisted::Refuse,
        tables: BTreeMap::new(),
        trusted_functions: Vec::new(),
        trusted_triggers: Vec::new(),
        explain_costs: false,
    }
}

/// Reads the file.
pub(super) fn read(mut file: Table<'_>) -> Policy {
    let mut policy = nothing();
    if let Some(mut defaults) = file.table("defaults") {
        if let Some(column) = defaults.string("tenant_column") {
            policy.tenant_column = column.value;
        }
        let choices = [
            ("by-column", Unlisted::ByColumn),
            ("refuse", Unlisted::Refuse),
        ];
        if let Some(unlisted) = defaults.choice("unlisted", &choices) {
            policy.unlisted = unlisted.value;
        }
        defaults.finish();
    }
    if let Some(tables) = file.table("tables") {
        policy.tables = self::tables(tables);
    }
    if let Some(functions) = file.table("functions") {
        let form = "schema.function(type, type): \"public.order_total(integer)\"";
        policy.trusted_functions = trusted(functions, form, trusted_function);
    }
    if let Some(triggers) = file.table("triggers") {
        let form = "trigger on schema.table: \"orders_audit on public.orders\"";
        policy.trusted_triggers = trusted::<TrustedTrigger>(triggers, form, trusted_trigger);
    }
    if let Some(mut explain) = file.table("explain") {
        policy.explain_costs = explain.flag("costs").is_some_and(|costs| costs.value);
        explain.finish();
    }
    file.finish();
    policy
}

/// `trusted = [..]`
fn trusted<T>(mut table: Table<'_>, form: &str, parse: fn(&str) -> Option<T>) -> Vec<T> {
    let mut items = Vec::new();
    for text in table.strings("trusted").unwrap_or_default() {
        match parse(&text.value) {
            Some(item) => items.push(item),
            None => table.fault(
                text.place,
                format!("\"{}\" cannot be trusted: it is not understood", text.value),
                format!("It must be {form}."),
            ),
        }
    }
    table.finish();
    items
}

fn tables(tables: Table<'_>) -> BTreeMap<RelationName, TablePolicy> {
    let mut policies = BTreeMap::new();
    for (name, table) in tables.named_tables() {
        let Some(table) = table else { continue };
        let Some(relation) = relation_name(&name.value) else {
            table.fault(
                name.place,
                format!("\"{}\" names no table", name.value),
                "It must be schema.table: [tables.\"public.orders\"].",
            );
            continue;
        };
        if let Some(policy) = table_policy(table) {
            policies.insert(relation, policy);
        }
    }
    policies
}

#[derive(Clone, Copy)]
enum Kind {
    Denied,
    Scoped,
    Shared,
}

fn table_policy(mut table: Table<'_>) -> Option<TablePolicy> {
    let kinds = [
        ("denied", Kind::Denied),
        ("scoped", Kind::Scoped),
        ("shared", Kind::Shared),
    ];
    table.demand("kind", "kind = \"scoped\", \"shared\" or \"denied\"");
    let kind = table.choice("kind", &kinds);
    let policy = match kind.map(|kind| kind.value) {
        Some(Kind::Denied) => Some(TablePolicy::Denied),
        Some(Kind::Shared) => Some(TablePolicy::Shared {
            writable: table.flag("writable").is_some_and(|flag| flag.value),
        }),
        Some(Kind::Scoped) => scoped(&mut table),
        None => {
            // Which keys belong here depends on the kind; one fault is enough.
            return None;
        }
    };
    table.finish();
    policy
}

fn scoped(table: &mut Table<'_>) -> Option<TablePolicy> {
    let column = table.string("column");
    let wanted = "the parent's row: \"order_id -> public.orders.id\"";
    let parent: Option<Placed<TablePolicy>> = table.parsed("via", wanted, via);
    let existence_leak = table.flag("existence_leak").is_some_and(|flag| flag.value);
    let trusted = table.flag("trusted").is_some_and(|flag| flag.value);
    match (column, parent) {
        (Some(column), Some(_)) => {
            table.fault(
                column.place,
                "a table has a tenant column or belongs to a parent's row, not both",
                "Leave out either column or via.",
            );
            None
        }
        (None, Some(mut parent)) => {
            if let TablePolicy::Via {
                existence_leak: leak,
                ..
            } = &mut parent.value
            {
                *leak = existence_leak;
            }
            Some(parent.value)
        }
        (column, None) => Some(TablePolicy::Scoped {
            column: column.map(|column| column.value),
            existence_leak,
            trusted,
        }),
    }
}
