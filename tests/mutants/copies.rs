//! What can be done to a rewritten COPY.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

/// Every variant of a COPY, by what was done.
pub fn of(copy: &pg::CopyStmt) -> Vec<(&'static str, pg::CopyStmt)> {
    let mut found = Vec::new();
    let mut add = |kind: &'static str, change: &dyn Fn(&mut pg::CopyStmt)| {
        let mut copy = copy.clone();
        change(&mut copy);
        found.push((kind, copy));
    };
    add("COPY of the table", &|copy| {
        let table = copy.query.take().and_then(|query| table_of(&query));
        copy.relation = copy.relation.take().or(table);
    });
    add("COPY column dropped", &|copy| {
        copy.attlist.pop();
    });
    add("COPY tenant column dropped", &|copy| {
        if !copy.attlist.is_empty() {
            copy.attlist.remove(0);
        }
    });
    add("COPY columns dropped", &|copy| copy.attlist.clear());
    add("COPY columns swapped", &|copy| copy.attlist.reverse());
    add("COPY column added", &|copy| {
        copy.attlist.push(name("value"));
    });
    add("COPY tenant column added", &|copy| {
        copy.attlist.push(name("tenant_id"));
    });
    for other in ["settings", "orders", "documents"] {
        add("COPY another table", &|copy| {
            if let Some(table) = &mut copy.relation {
                other.clone_into(&mut table.relname);
            }
        });
    }
    add("COPY without a schema", &|copy| {
        if let Some(table) = &mut copy.relation {
            table.schemaname.clear();
        }
    });
    add("COPY the other way", &|copy| copy.is_from = !copy.is_from);
    add("COPY with a file", &|copy| {
        "/tmp/x".clone_into(&mut copy.filename);
    });
    add("COPY with a program", &|copy| {
        "cat".clone_into(&mut copy.filename);
        copy.is_program = true;
    });
    add("COPY options dropped", &|copy| copy.options.clear());
    for (option, value, other) in [
        ("format", "csv", "binary"),
        ("null", "1", "x"),
        ("delimiter", "1", "|"),
        ("header", "true", "false"),
    ] {
        add("COPY option added", &|copy| {
            copy.options.push(element(option, value));
        });
        add("COPY option altered", &|copy| {
            for node in &mut copy.options {
                if let Some(NodeEnum::DefElem(known)) = &node.node
                    && known.defname == option
                {
                    *node = element(option, other);
                }
            }
        });
    }
    add("COPY condition dropped", &|copy| copy.where_clause = None);
    found
}

fn table_of(query: &Node) -> Option<pg::RangeVar> {
    let Some(NodeEnum::SelectStmt(select)) = &query.node else {
        return None;
    };
    match &select.from_clause.first()?.node {
        Some(NodeEnum::RangeVar(table)) => Some(pg::RangeVar {
            inh: true,
            ..table.clone()
        }),
        _ => None,
    }
}

fn name(sval: &str) -> Node {
    Node {
        node: Some(NodeEnum::String(pg::String {
            sval: sval.to_owned(),
        })),
    }
}

fn element(option: &str, value: &str) -> Node {
    Node {
        node: Some(NodeEnum::DefElem(Box::new(pg::DefElem {
            defname: option.to_owned(),
            arg: Some(Box::new(name(value))),
            defaction: pg::DefElemAction::DefelemUnspec.into(),
            ..pg::DefElem::default()
        }))),
    }
}
