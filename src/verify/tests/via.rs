//! Two tables that the cases' database does not have: one reaches its tenant through the other.

use crate::catalog::{
    Column, ForeignKey, ForeignKeyAction, Generated, Oid, Relation, RelationKind, RelationName,
    UniqueKey, oid,
};
use crate::tenant::TablePolicy;

fn column(name: &str, number: i16, type_oid: Oid) -> Column {
    Column {
        name: name.to_owned(),
        number,
        type_oid,
        typmod: -1,
        collation: if type_oid == oid::TEXT { 100 } else { 0 },
        not_null: type_oid != oid::TEXT,
        default: None,
        generated: Generated::No,
    }
}

fn table(name: &str, number: Oid, columns: Vec<Column>) -> Relation {
    let key = columns.first().map(|column| column.name.clone());
    Relation {
        oid: number,
        name: RelationName::new("public", name),
        kind: RelationKind::Table,
        columns,
        keys: vec![UniqueKey {
            name: format!("{name}_pkey"),
            columns: key.into_iter().collect(),
            primary: true,
            partial_or_expression: false,
            exclusion: false,
        }],
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        code: Vec::new(),
        read_code: Vec::new(),
        indexed: Vec::new(),
        row_security: false,
        has_rules: false,
        parents: Vec::new(),
        view: None,
        owned_by: None,
        row_type: 0,
        extension: None,
    }
}

/// `bills (id, tenant_id)` and `lines (bill REFERENCES bills, n, text)`, whose key begins with the bill.
pub(super) fn relations() -> [Relation; 2] {
    let bills = vec![
        column("id", 1, oid::INT4),
        column("tenant_id", 2, oid::INT4),
    ];
    let lines = vec![
        column("bill", 1, oid::INT4),
        column("n", 2, oid::INT4),
        column("text", 3, oid::TEXT),
    ];
    let key = ForeignKey {
        name: "lines_bill".to_owned(),
        columns: vec!["bill".to_owned()],
        references: RelationName::new("public", "bills"),
        referenced_columns: vec!["id".to_owned()],
        on_delete: ForeignKeyAction::Cascade,
        on_delete_sets: Vec::new(),
        on_update: ForeignKeyAction::NoAction,
        deferrable: false,
        not_valid: false,
    };
    [
        table("bills", 900_001, bills),
        Relation {
            foreign_keys: vec![key],
            ..table("lines", 900_002, lines)
        },
    ]
}

/// What the policy says of the second one.
pub(super) fn policy() -> (RelationName, TablePolicy) {
    let via = TablePolicy::Via {
        column: "bill".to_owned(),
        parent: RelationName::new("public", "bills"),
        parent_column: "id".to_owned(),
        existence_leak: false,
    };
    (RelationName::new("public", "lines"), via)
}
