//! What tenants would meet in a database before any of them has sent a statement: what is closed to them, and
//! what a write could reach.
//!
//! In: the classified catalog. Out: [`Finding`]s, each with what to do about it.

use std::collections::BTreeSet;

use super::isolate;
use super::refusal::{Reason, Refusal};
use crate::catalog::{Operator, Relation, RelationKind, RelationName};
use crate::sql;
use crate::tenant::{Class, Classified, Closed, Scoped, TablePolicy, Verb, WriteHazard};

/// Something that the administrator should look at.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Finding {
    /// What it is about, such as `public.orders`.
    pub subject: String,
    /// What is found.
    pub message: String,
    /// What to do, as commands where there are some.
    pub remedy: String,
}

/// Looks at everything that the catalog and the policy name, in order.
pub fn findings(classified: &Classified) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    for relation in &classified.catalog().relations {
        if relation.extension.is_none() {
            found.extend(of_relation(classified, relation));
        }
    }
    found.extend(of_nullable_columns(classified));
    found.extend(of_functions(classified));
    found.extend(of_names(classified));
    found.extend(of_policy(classified));
    found.into_iter().collect()
}

fn of_relation(classified: &Classified, relation: &Relation) -> Vec<Finding> {
    let class = classified.class(relation);
    match (class, relation.kind) {
        (
            Class::Refused(Closed::Denied | Closed::NullableTenantColumn)
            | Class::Shared { writable: false },
            _,
        )
        | (
            Class::Refused(_),
            RelationKind::CompositeType | RelationKind::Index | RelationKind::Sequence,
        ) => Vec::new(),
        (Class::Refused(_), RelationKind::View) => unreadable_view(classified, relation),
        (Class::Refused(closed), _) => {
            // A partition is what its parent is.
            if relation.parents.is_empty() {
                vec![of_closed(relation, *closed)]
            } else {
                Vec::new()
            }
        }
        (Class::Scoped(scoped), _) => {
            let mut found = of_tenant_column(relation, scoped);
            match filled_by(relation.kind) {
                Some(what) => found.extend(of_filled(classified, relation, (scoped, what))),
                None => found.extend(of_writes(classified, relation)),
            }
            found
        }
        (Class::Shared { writable: true }, _) => of_writes(classified, relation),
    }
}

fn of_closed(relation: &Relation, closed: Closed) -> Finding {
    let subject = relation.name.to_string();
    let refusal = Refusal::from(Reason::RelationNotAllowed {
        relation: subject.clone(),
        closed,
    });
    let message = match closed {
        Closed::NoTenantColumn => "it does not have the tenant column that the policy names",
        Closed::NullableTenantColumn => "its tenant column may be NULL",
        Closed::Foreign => {
            "another server tests whose its rows are, and the policy does not trust it"
        }
        Closed::RowSecurity => "it has row security, whose conditions run on rows of all tenants",
        Closed::SharedParent => "it is shared, but has a part that is not",
        Closed::Unclassified => "it is not classified, so it is closed to tenants",
        Closed::UnfitTenantColumn => {
            "its tenant column has a type or collation that cannot tell tenants apart"
        }
        Closed::UntrustedIndex => {
            "an index of it runs functions that are not trusted on rows of all tenants"
        }
        Closed::Via(_) => "what its via names does not say whose each of its rows is",
        Closed::Denied | Closed::OutsideGrant | Closed::Sequence | Closed::View => {
            "it is closed to tenants"
        }
    };
    Finding {
        subject,
        message: message.to_owned(),
        remedy: refusal.hint().unwrap_or_default(),
    }
}

fn unreadable_view(classified: &Classified, view: &Relation) -> Vec<Finding> {
    let sql = format!("SELECT * FROM {}", full_name(&view.name));
    let Err(refusal) = isolate(sql.as_bytes(), &[], classified) else {
        return Vec::new();
    };
    vec![Finding {
        subject: view.name.to_string(),
        message: format!("its definition cannot be read for a tenant: {refusal}"),
        remedy: refusal.hint().unwrap_or_else(|| {
            format!(
                "Deny it in policy.toml: [tables.\"{}\"] kind = \"denied\".",
                view.name
            )
        }),
    }]
}

fn of_tenant_column(relation: &Relation, scoped: &Scoped) -> Vec<Finding> {
    let mut found = Vec::new();
    let column = scoped.deciding_column();
    let default = relation
        .column(column)
        .and_then(|column| column.default.as_deref());
    let (table, column) = (full_name(&relation.name), sql::quote(column));
    if let Some(default) = default {
        found.push(Finding {
            subject: relation.name.to_string(),
            message: format!(
                "its tenant column {column} has the default {default}: a row without a tenant becomes \
                 somebody's"
            ),
            remedy: format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT;"),
        });
    }
    found
}

/// What fills a relation that tenants do not write.
fn filled_by(kind: RelationKind) -> Option<&'static str> {
    match kind {
        RelationKind::ForeignTable => Some("what its server mixes"),
        RelationKind::MaterializedView => Some("what its own query mixes"),
        RelationKind::CompositeType
        | RelationKind::Index
        | RelationKind::PartitionedTable
        | RelationKind::Sequence
        | RelationKind::Table
        | RelationKind::View => None,
    }
}

/// What is told apart by its column only, whoever put the rows there.
fn of_filled(
    classified: &Classified,
    relation: &Relation,
    (scoped, what): (&Scoped, &str),
) -> Option<Finding> {
    let is_reviewed = matches!(
        classified.policy().tables.get(&relation.name),
        Some(TablePolicy::Scoped { trusted: true, .. })
    );
    (!is_reviewed).then(|| Finding {
        subject: relation.name.to_string(),
        message: format!(
            "only its column {} tells tenants apart: {what}, it shows",
            sql::quote(scoped.deciding_column())
        ),
        remedy: format!(
            "After a review, say so in policy.toml: [tables.\"{name}\"] kind = \"scoped\", trusted = true. \
             Or deny it: kind = \"denied\".",
            name = relation.name
        ),
    })
}

/// Tables that are closed since a row may be there that belongs to nobody.
fn of_nullable_columns(classified: &Classified) -> Vec<Finding> {
    let found = classified.nullable_tenant_columns().into_iter();
    found
        .map(|(table, column)| Finding {
            subject: table.to_string(),
            message: format!(
                "it is closed: its tenant column {} may be NULL, and such a row belongs to nobody",
                sql::quote(column)
            ),
            remedy: format!(
                "ALTER TABLE {} ALTER COLUMN {} SET NOT NULL;",
                full_name(table),
                sql::quote(column)
            ),
        })
        .collect()
}

/// What stands in the way of a write. A partition's own are told with it.
fn of_writes(classified: &Classified, relation: &Relation) -> Vec<Finding> {
    let mut found = Vec::new();
    for verb in [Verb::Insert, Verb::Update, Verb::Delete] {
        for hazard in classified.write_hazards(relation, verb) {
            found.extend(of_hazard(classified, relation, hazard));
        }
    }
    found
}

fn of_hazard(classified: &Classified, written: &Relation, hazard: WriteHazard) -> Option<Finding> {
    let (subject, message) = match &hazard {
        WriteHazard::ChangedReference(changed) => (
            changed.relation.clone(),
            format!(
                "the trigger {} may give {} another value than the one checked",
                changed.trigger, changed.column
            ),
        ),
        WriteHazard::Code { function, relation } => (
            relation.clone(),
            format!("a write runs {function} unseen, which nobody has reviewed"),
        ),
        WriteHazard::ForeignKeyAction {
            constraint,
            relation,
        } => (
            relation.clone(),
            format!("the action of the foreign key {constraint} may reach another tenant's row"),
        ),
        WriteHazard::ForeignKeyCheck(check) => (
            check.relation.clone(),
            format!(
                "the check of the foreign key {} tells of other tenants' rows",
                check.constraint
            ),
        ),
        WriteHazard::Rule { relation } => (
            relation.clone(),
            "it has rewrite rules, which run unseen".to_owned(),
        ),
        WriteHazard::Trigger { trigger, relation } => (
            relation.clone(),
            format!("the trigger {trigger} runs unseen, and nobody has reviewed it"),
        ),
        WriteHazard::UniqueKey { key } => {
            return Some(of_key(classified, written, key));
        }
        // Such are not written by tenants, which is as it should be.
        WriteHazard::NoTable | WriteHazard::OutsideGrant { .. } => return None,
    };
    let relation = written.name.to_string();
    let refusal = Refusal::from(Reason::WriteNotAllowed { relation, hazard });
    Some(Finding {
        subject: subject.to_string(),
        message,
        remedy: refusal.hint().unwrap_or_default(),
    })
}

/// A unique key without the tenant column: of the relation, or of a part of it.
fn of_key(classified: &Classified, written: &Relation, key: &str) -> Finding {
    let known = written.keys.iter().find(|known| known.name == key);
    let commands = match (known, classified.class(written)) {
        (Some(known), Class::Scoped(scoped))
            if !known.partial_or_expression && !known.exclusion =>
        {
            let columns: Vec<String> = std::iter::once(scoped.deciding_column())
                .chain(known.columns.iter().map(String::as_str))
                .map(sql::quote)
                .collect();
            let kind = if known.primary {
                "PRIMARY KEY"
            } else {
                "UNIQUE"
            };
            let name = sql::quote(key);
            format!(
                "ALTER TABLE {} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {kind} ({});",
                full_name(&written.name),
                columns.join(", ")
            )
        }
        (Some(_) | None, _) => "Add the tenant column to it.".to_owned(),
    };
    Finding {
        subject: written.name.to_string(),
        message: format!(
            "the unique key {key} lacks the tenant column, and tells of other tenants' values"
        ),
        remedy: format!(
            "{commands} Or accept that in policy.toml: [tables.\"{}\"] kind = \"scoped\", \
             existence_leak = true.",
            written.name
        ),
    }
}

/// Functions that nobody has reviewed, those of triggers aside.
fn of_functions(classified: &Classified) -> Vec<Finding> {
    let relations = &classified.catalog().relations;
    let of_triggers: BTreeSet<&str> = relations
        .iter()
        .flat_map(|relation| &relation.triggers)
        .map(|trigger| trigger.function.as_str())
        .collect();
    let functions = classified.catalog().functions.iter();
    functions
        .filter(|function| function.extension.is_none())
        .filter(|function| function.schema != "information_schema")
        .filter(|function| {
            let name = format!("{}.{}", function.schema, function.name);
            !of_triggers.contains(name.as_str())
                && !classified.trusts_function(&function.schema, &function.name)
        })
        .map(|function| {
            let signature = function.signature();
            let message = if classified.has_changed(&signature) {
                "tenants cannot call it any more: its definition is not the one that was reviewed"
            } else {
                "tenants cannot call it: nobody has reviewed what it reads"
            };
            let fingerprint = function.fingerprint.as_ref();
            let line = fingerprint.map_or_else(
                || signature.clone(),
                |fingerprint| format!("{signature} = {fingerprint}"),
            );
            Finding {
                message: message.to_owned(),
                remedy: format!(
                    "If it reads no tenant's table, name it in policy.toml: [functions] trusted = \
                     [\"{line}\"]. If not, leave it so."
                ),
                subject: signature,
            }
        })
        .collect()
}

/// Functions and operators of the application's own that take a name of the system's: what a statement means
/// by it depends on types.
fn of_names(classified: &Classified) -> Vec<Finding> {
    let catalog = classified.catalog();
    let functions = catalog.functions.iter().filter(|function| {
        function.extension.is_none()
            && catalog.search_path.contains(&function.schema)
            && catalog.system_functions.contains(&function.name)
    });
    let functions = functions.map(|function| Finding {
        subject: function.signature(),
        message: "it has the name of a function of the system: a call without a schema is refused"
            .to_owned(),
        remedy: format!(
            "Rename it, or write pg_catalog.{0} or {1}.{0} in the application.",
            function.name, function.schema
        ),
    });
    let own = |operator: &&Operator| operator.extension.is_none();
    let operators = catalog
        .operators
        .iter()
        .filter(own)
        .map(|operator| Finding {
            subject: format!("operator {}.{}", operator.schema, operator.name),
            message: "a statement with an operator of this name is refused: it could call this one"
                .to_owned(),
            remedy: "Rename it, or drop it if nothing uses it.".to_owned(),
        });
    functions.chain(operators).collect()
}

/// What the policy names and the database does not have.
fn of_policy(classified: &Classified) -> Vec<Finding> {
    let mut found = Vec::new();
    let policy = classified.policy();
    let exists = |name: &RelationName| {
        classified
            .catalog()
            .relation(&name.schema, &name.name)
            .is_some()
    };
    let missing = |subject: String| Finding {
        subject,
        message: "policy.toml names it, but the database does not have it".to_owned(),
        remedy: "Correct the name, or take it out of policy.toml.".to_owned(),
    };
    for (name, table) in &policy.tables {
        if !exists(name) {
            found.push(missing(name.to_string()));
        } else if let TablePolicy::Via { parent, .. } = table
            && !exists(parent)
        {
            found.push(missing(parent.to_string()));
        }
    }
    for trigger in &policy.trusted_triggers {
        let table = classified
            .catalog()
            .relation(&trigger.table.schema, &trigger.table.name);
        let has = table.is_some_and(|table| table.triggers.iter().any(|t| t.name == trigger.name));
        if !has {
            found.push(missing(format!("{} on {}", trigger.name, trigger.table)));
        }
    }
    found
}

fn full_name(name: &RelationName) -> String {
    format!("{}.{}", sql::quote(&name.schema), sql::quote(&name.name))
}
