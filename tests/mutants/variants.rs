//! What can be done to a node of a rewritten statement. Each variant changes what the statement means.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};
use tenantry::isolate::template::Template;

use super::{shields, tree};

/// What is known of the whole statement.
pub struct Context {
    client_parameters: i32,
    aliases: Vec<String>,
    tables: Vec<String>,
}

pub type Variants = Vec<(&'static str, NodeEnum)>;

impl Context {
    /// Looks a statement through.
    pub fn of(parsed: &pg::ParseResult, template: &Template) -> Self {
        let mut context = Self {
            client_parameters: i32::from(template.client_parameters),
            aliases: Vec::new(),
            tables: vec!["settings".to_owned(), "orders".to_owned()],
        };
        for index in 0..tree::count(parsed) {
            match tree::at(parsed, index) {
                NodeEnum::RangeVar(table) => {
                    let alias = table.alias.as_ref().map(|alias| alias.aliasname.clone());
                    context.aliases.push(alias.unwrap_or(table.relname));
                }
                NodeEnum::RangeSubselect(derived) => {
                    context
                        .aliases
                        .extend(derived.alias.map(|alias| alias.aliasname));
                }
                _ => {}
            }
        }
        context.aliases.push("nowhere".to_owned());
        context.aliases.sort();
        context.aliases.dedup();
        context
    }
}

/// Every variant of a node.
pub fn of(node: &NodeEnum, context: &Context) -> Variants {
    let mut found = Vec::new();
    match node {
        NodeEnum::SelectStmt(select) => selects(select, context, &mut found),
        NodeEnum::UpdateStmt(update) => {
            conditions(&update.where_clause, context, &mut |kind, condition| {
                let mut update = update.clone();
                update.where_clause = condition;
                found.push((kind, NodeEnum::UpdateStmt(update)));
            });
            let mut bare = update.clone();
            if let Some(relation) = &mut bare.relation {
                relation.schemaname = String::new();
            }
            found.push(("target unqualified", NodeEnum::UpdateStmt(bare)));
            let mut moved = update.clone();
            moved
                .target_list
                .extend(moved.target_list.first().cloned().map(assigned));
            found.push(("tenant assigned", NodeEnum::UpdateStmt(moved)));
        }
        NodeEnum::DeleteStmt(delete) => {
            conditions(&delete.where_clause, context, &mut |kind, condition| {
                let mut delete = delete.clone();
                delete.where_clause = condition;
                found.push((kind, NodeEnum::DeleteStmt(delete)));
            });
            let mut other = delete.clone();
            if let Some(relation) = &mut other.relation {
                relation.inh = !relation.inh;
            }
            found.push(("target ONLY", NodeEnum::DeleteStmt(other)));
        }
        NodeEnum::InsertStmt(insert) => inserts(insert, context, &mut found),
        NodeEnum::MergeStmt(merge) => merges(merge, context, &mut found),
        NodeEnum::CopyStmt(copy) => {
            let copies = super::copies::of(copy).into_iter();
            found.extend(copies.map(|(kind, copy)| (kind, NodeEnum::CopyStmt(Box::new(copy)))));
        }
        NodeEnum::DeclareCursorStmt(_)
        | NodeEnum::ExplainStmt(_)
        | NodeEnum::ExecuteStmt(_)
        | NodeEnum::LockStmt(_)
        | NodeEnum::FetchStmt(_)
        | NodeEnum::UnlistenStmt(_)
        | NodeEnum::ClosePortalStmt(_)
        | NodeEnum::ConstraintsSetStmt(_)
        | NodeEnum::CurrentOfExpr(_)
        | NodeEnum::TransactionStmt(_) => commands(node, &mut found),
        NodeEnum::MergeWhenClause(clause) => whens(clause, context, &mut found),
        NodeEnum::RangeTableSample(sample) => samples(sample, &mut found),
        NodeEnum::CommonTableExpr(cte) => {
            let mut bare = cte.clone();
            bare.search_clause = None;
            bare.cycle_clause = None;
            found.push(("SEARCH and CYCLE dropped", NodeEnum::CommonTableExpr(bare)));
            expressions(node, context, &mut found);
        }
        NodeEnum::JoinExpr(join) => joins(join, context, &mut found),
        NodeEnum::RangeSubselect(derived) => fences(derived, context, &mut found),
        NodeEnum::RangeVar(table) => tables(table, context, &mut found),
        NodeEnum::ResTarget(target) => {
            shields::masks(target, &mut found);
            expressions(node, context, &mut found);
        }
        other => expressions(other, context, &mut found),
    }
    found
}

/// What can be done to a command.
fn commands(node: &NodeEnum, found: &mut Variants) {
    let mut changed = |kind: &'static str, change: &dyn Fn(&mut NodeEnum)| {
        let mut node = node.clone();
        change(&mut node);
        found.push((kind, node));
    };
    changed("a command changed", &|node| match node {
        NodeEnum::DeclareCursorStmt(declare) => declare.portalname.push('x'),
        NodeEnum::ExplainStmt(explain) => {
            explain.options.pop();
        }
        NodeEnum::LockStmt(lock) => lock.mode += 1,
        NodeEnum::FetchStmt(fetch) => fetch.how_many ^= 1,
        NodeEnum::ClosePortalStmt(close) => close.portalname.push('x'),
        NodeEnum::ConstraintsSetStmt(set) => set.deferred = !set.deferred,
        NodeEnum::ExecuteStmt(execute) => execute.name.push('x'),
        NodeEnum::UnlistenStmt(nothing) => nothing.conditionname.push('x'),
        NodeEnum::CurrentOfExpr(row) => row.cursor_name.push('x'),
        NodeEnum::TransactionStmt(transaction) => transaction.chain = !transaction.chain,
        _ => {}
    });
    changed("a command changed further", &|node| match node {
        // CURSOR_OPT_HOLD
        NodeEnum::DeclareCursorStmt(declare) => declare.options ^= 0x20,
        NodeEnum::ExplainStmt(explain) => {
            if let Some(NodeEnum::DefElem(option)) = explain
                .options
                .last_mut()
                .and_then(|node| node.node.as_mut())
            {
                "analyze".clone_into(&mut option.defname);
                option.arg = None;
            }
        }
        NodeEnum::LockStmt(lock) => {
            lock.relations.pop();
        }
        NodeEnum::FetchStmt(fetch) => fetch.portalname.push('x'),
        NodeEnum::ExecuteStmt(execute) => {
            execute.params.pop();
        }
        _ => {}
    });
}

fn assigned(target: Node) -> Node {
    match target.node {
        Some(NodeEnum::ResTarget(mut target)) => {
            "tenant_id".clone_into(&mut target.name);
            target.val = some(number(2));
            wrap(NodeEnum::ResTarget(target))
        }
        other => Node { node: other },
    }
}

fn selects(select: &pg::SelectStmt, context: &Context, found: &mut Variants) {
    let mut add = |kind: &'static str, select: pg::SelectStmt| {
        found.push((kind, NodeEnum::SelectStmt(Box::new(select))));
    };
    conditions(&select.where_clause, context, &mut |kind, condition| {
        add(
            kind,
            pg::SelectStmt {
                where_clause: condition,
                ..select.clone()
            },
        );
    });
    for (inner, test) in taken_out(select) {
        let condition = and(&inner.where_clause, test.clone());
        add(
            "moved one level out",
            pg::SelectStmt {
                where_clause: condition,
                ..inner
            },
        );
    }
    // Without an added tenant column the statement means the same, or fails.
    let added = column(&[&context.aliases[0], "tenant_id"]);
    if !select.group_clause.is_empty() {
        let mut more = select.clone();
        more.group_clause.push(wrap(added));
        add("grouping added", more);
        let mut fewer = select.clone();
        fewer.group_clause.remove(0);
        add("grouping dropped", fewer);
    }
    let mut clauses = vec![
        (
            "ORDER BY dropped",
            pg::SelectStmt {
                sort_clause: Vec::new(),
                ..select.clone()
            },
        ),
        (
            "LIMIT dropped",
            pg::SelectStmt {
                limit_count: None,
                ..select.clone()
            },
        ),
        (
            "HAVING dropped",
            pg::SelectStmt {
                having_clause: None,
                ..select.clone()
            },
        ),
        (
            "DISTINCT",
            pg::SelectStmt {
                distinct_clause: vec![Node { node: None }],
                ..select.clone()
            },
        ),
        (
            "ALL",
            pg::SelectStmt {
                all: !select.all,
                ..select.clone()
            },
        ),
        (
            "locks dropped",
            pg::SelectStmt {
                locking_clause: Vec::new(),
                ..select.clone()
            },
        ),
    ];
    if select.larg.is_some() {
        let except = i32::from(pg::SetOperation::SetopExcept);
        clauses.push((
            "EXCEPT",
            pg::SelectStmt {
                op: except,
                ..select.clone()
            },
        ));
    }
    if !select.from_clause.is_empty() {
        let mut shown = select.clone();
        let column = column(&[&context.aliases[0], "tenant_id"]);
        shown.target_list.push(target(column));
        clauses.push(("tenant column shown", shown));
        let mut fewer = select.clone();
        fewer.target_list.pop();
        clauses.push(("column dropped", fewer));
        let mut joined = select.clone();
        joined
            .from_clause
            .push(wrap(NodeEnum::RangeVar(pg::RangeVar {
                schemaname: "public".to_owned(),
                relname: "orders".to_owned(),
                inh: true,
                relpersistence: "p".to_owned(),
                alias: Some(pg::Alias {
                    aliasname: "extra".to_owned(),
                    colnames: Vec::new(),
                }),
                ..pg::RangeVar::default()
            })));
        clauses.push(("table added", joined));
    }
    for (kind, select) in clauses {
        add(kind, select);
    }
}

/// A query with a test taken out of one of its derived tables, and the test as it reads outside.
fn taken_out(select: &pg::SelectStmt) -> Vec<(pg::SelectStmt, Node)> {
    let mut found = Vec::new();
    for (index, item) in select.from_clause.iter().enumerate() {
        for (item, test) in loosened(item) {
            let mut select = select.clone();
            select.from_clause[index] = item;
            found.push((select, test));
        }
    }
    found
}

fn loosened(item: &Node) -> Vec<(Node, Node)> {
    let mut found = Vec::new();
    match &item.node {
        Some(NodeEnum::RangeSubselect(derived)) => {
            let Some(Some(NodeEnum::SelectStmt(inner))) =
                derived.subquery.as_ref().map(|query| &query.node)
            else {
                return found;
            };
            let alias = derived.alias.as_ref().map(|alias| alias.aliasname.clone());
            let all = conjuncts(&inner.where_clause);
            for (index, test) in all.iter().enumerate().filter(|(_, test)| is_test(test)) {
                let mut rest = all.clone();
                rest.remove(index);
                let mut inner = inner.clone();
                inner.where_clause = joined(rest);
                let mut derived = derived.clone();
                derived.subquery = some(NodeEnum::SelectStmt(inner));
                let outside = with_alias(test, alias.as_deref().unwrap_or("x"));
                found.push((wrap(NodeEnum::RangeSubselect(derived)), outside));
            }
        }
        Some(NodeEnum::JoinExpr(join)) => {
            for (side, test) in join.larg.iter().flat_map(|side| loosened(side)) {
                let mut join = join.clone();
                join.larg = Some(Box::new(side));
                found.push((wrap(NodeEnum::JoinExpr(join)), test));
            }
            for (side, test) in join.rarg.iter().flat_map(|side| loosened(side)) {
                let mut join = join.clone();
                join.rarg = Some(Box::new(side));
                found.push((wrap(NodeEnum::JoinExpr(join)), test));
            }
        }
        _ => {}
    }
    found
}

/// What can be done to a condition, and to each conjunct of it.
fn conditions(
    condition: &Option<Box<Node>>,
    context: &Context,
    add: &mut dyn FnMut(&'static str, Option<Box<Node>>),
) {
    let all = conjuncts(condition);
    for (index, conjunct) in all.iter().enumerate() {
        let test = is_test(conjunct);
        let mut without = all.clone();
        without.remove(index);
        add(
            if test {
                "test dropped"
            } else {
                "conjunct dropped"
            },
            joined(without.clone()),
        );
        let mut replace = |kind: &'static str, node: Node| {
            let mut changed = all.clone();
            changed[index] = node;
            add(kind, joined(changed));
        };
        let tautology = wrap(truth());
        replace(
            if test {
                "test negated"
            } else {
                "conjunct negated"
            },
            not(conjunct.clone()),
        );
        replace("OR TRUE", or(vec![conjunct.clone(), tautology.clone()]));
        replace("TRUE", tautology);
        if test {
            for (kind, variant) in tests(conjunct, context) {
                replace(kind, variant);
            }
        }
        if test && all.len() > 1 {
            // Tests may change places among themselves: that means the same.
            if without.iter().any(|other| !is_test(other)) && index > 0 {
                let mut first = without.clone();
                first.insert(0, conjunct.clone());
                add("test not at the end", joined(first));
            }
            let rest = joined(without).map(|rest| *rest);
            if let Some(rest) = rest {
                add(
                    "test OR the rest",
                    Some(Box::new(or(vec![rest, conjunct.clone()]))),
                );
            }
        }
    }
}

/// What can be done to a tenant test.
pub fn tests(test: &Node, context: &Context) -> Vec<(&'static str, Node)> {
    let Some(NodeEnum::AExpr(operation)) = &test.node else {
        return Vec::new();
    };
    let changed = |change: &dyn Fn(&mut pg::AExpr)| {
        let mut operation = (**operation).clone();
        change(&mut operation);
        wrap(NodeEnum::AExpr(Box::new(operation)))
    };
    let mut found = vec![
        (
            "<>",
            changed(&|test| test.name = names(&["pg_catalog", "<>"])),
        ),
        (
            ">=",
            changed(&|test| test.name = names(&["pg_catalog", ">="])),
        ),
        (
            "= of any schema",
            changed(&|test| test.name = names(&["="])),
        ),
        (
            "= of public",
            changed(&|test| test.name = names(&["public", "="])),
        ),
        (
            "operands swapped",
            changed(&|test| std::mem::swap(&mut test.lexpr, &mut test.rexpr)),
        ),
        (
            "IS DISTINCT FROM",
            changed(&|test| {
                test.kind = pg::AExprKind::AexprDistinct.into();
                test.name = names(&["="]);
            }),
        ),
        (
            "slot is a number",
            changed(&|test| test.rexpr = some(cast(number(2), "int4"))),
        ),
        (
            "slot is the column",
            changed(&|test| test.rexpr.clone_from(&test.lexpr)),
        ),
        ("slot is NULL", changed(&|test| test.rexpr = some(null()))),
        (
            "slot of another type",
            changed(&|test| test.rexpr = retyped(&test.rexpr, "int8")),
        ),
        (
            "slot of a type of any schema",
            changed(&|test| test.rexpr = unqualified(&test.rexpr)),
        ),
        (
            "slot without a type",
            changed(&|test| test.rexpr = uncast(&test.rexpr)),
        ),
        ("IS NOT NULL", null_test(operation.lexpr.clone())),
    ];
    if is_of_scope(test) {
        let of_scope = scopes(operation, context).into_iter();
        found.extend(of_scope.map(|(kind, node)| (kind, wrap(node))));
    }
    for number in [1, context.client_parameters, context.client_parameters + 2] {
        if number > 0 && number != context.client_parameters + 1 {
            let parameter = NodeEnum::ParamRef(pg::ParamRef {
                number,
                location: 0,
            });
            let node = changed(&|test| test.rexpr = some(cast(parameter.clone(), "int4")));
            found.push(("slot is another parameter", node));
        }
    }
    for alias in &context.aliases {
        found.push(("test of another alias", with_alias(test, alias)));
    }
    found.push(("test unqualified", {
        changed(&|test| test.lexpr = some(column(&["tenant_id"])))
    }));
    found.push(("test of another column", {
        let alias = alias_of(test).unwrap_or_default();
        changed(&|test| test.lexpr = some(column(&[&alias, "id"])))
    }));
    found
}

fn merges(merge: &pg::MergeStmt, context: &Context, found: &mut Variants) {
    conditions(&merge.join_condition, context, &mut |kind, condition| {
        let mut merge = (*merge).clone();
        merge.join_condition = condition.or_else(|| some(truth()));
        found.push((kind, NodeEnum::MergeStmt(Box::new(merge))));
    });
    let mut bare = merge.clone();
    let mut other = merge.clone();
    if let (Some(relation), Some(same)) = (&mut bare.relation, &mut other.relation) {
        relation.schemaname = String::new();
        same.inh = !same.inh;
    }
    found.push(("target unqualified", NodeEnum::MergeStmt(Box::new(bare))));
    found.push(("target ONLY", NodeEnum::MergeStmt(Box::new(other))));
    let mut fewer = merge.clone();
    fewer.merge_when_clauses.pop();
    found.push(("WHEN dropped", NodeEnum::MergeStmt(Box::new(fewer))));
}

fn whens(clause: &pg::MergeWhenClause, context: &Context, found: &mut Variants) {
    let mut add = |kind: &'static str, clause: pg::MergeWhenClause| {
        found.push((kind, NodeEnum::MergeWhenClause(Box::new(clause))));
    };
    conditions(&clause.condition, context, &mut |kind, condition| {
        let mut clause = clause.clone();
        clause.condition = condition;
        add(kind, clause);
    });
    let mut deleted = clause.clone();
    if clause.command_type == i32::from(pg::CmdType::CmdUpdate) {
        deleted.command_type = pg::CmdType::CmdDelete.into();
        deleted.target_list = Vec::new();
        add("DELETE for UPDATE", deleted);
        let mut moved = clause.clone();
        let first = moved.target_list.first().cloned();
        moved.target_list.extend(first.map(assigned));
        add("tenant assigned", moved);
    }
    if clause.command_type == i32::from(pg::CmdType::CmdInsert) {
        let mut without = clause.clone();
        without.target_list.pop();
        without.values.pop();
        add("tenant column dropped", without);
        let mut foreign = clause.clone();
        foreign.values.pop();
        foreign.values.push(wrap(cast(number(2), "int4")));
        add("foreign tenant inserted", foreign);
        let mut first = clause.clone();
        first.values.rotate_right(1);
        add("values moved", first);
        let mut defaults = clause.clone();
        defaults.target_list = Vec::new();
        defaults.values = Vec::new();
        add("DEFAULT VALUES", defaults);
    }
}

fn samples(sample: &pg::RangeTableSample, found: &mut Variants) {
    if let Some(table) = sample
        .relation
        .as_ref()
        .and_then(|table| table.node.clone())
    {
        found.push(("sample dropped", table));
    }
    for (kind, method) in [("another method", "system_rows"), ("SYSTEM", "system")] {
        let mut other = sample.clone();
        other.method = names(&[method]);
        found.push((kind, NodeEnum::RangeTableSample(Box::new(other))));
    }
    let mut other = sample.clone();
    other.args = vec![wrap(number(100))];
    found.push((
        "another percentage",
        NodeEnum::RangeTableSample(Box::new(other)),
    ));
    let mut other = sample.clone();
    other.repeatable = some(number(7));
    found.push(("another seed", NodeEnum::RangeTableSample(Box::new(other))));
}

/// What can be done to the test of a scope, `column = ANY (slot)`.
fn scopes(operation: &pg::AExpr, context: &Context) -> Variants {
    let changed = |change: &dyn Fn(&mut pg::AExpr)| {
        let mut operation = operation.clone();
        change(&mut operation);
        NodeEnum::AExpr(Box::new(operation))
    };
    let text = |text: &str| {
        let sval = text.to_owned();
        NodeEnum::AConst(pg::AConst {
            val: Some(pg::a_const::Val::Sval(pg::String { sval })),
            ..pg::AConst::default()
        })
    };
    let slot = uncast(&operation.rexpr)
        .and_then(|slot| slot.node)
        .expect("a slot");
    let with = |value: NodeEnum| changed(&|test| test.rexpr = some(value.clone()));
    let elements = [1, 2, 3].map(|key| wrap(number(key))).to_vec();
    let array = NodeEnum::AArrayExpr(pg::AArrayExpr {
        elements,
        ..pg::AArrayExpr::default()
    });
    let mut found = vec![
        ("scope dropped", with(column(&["tenant_id"]))),
        ("scope widened", with(array_cast(text("{1,2,3}"), &[-1]))),
        ("scope written out", with(array_cast(text("{1,2}"), &[-1]))),
        ("scope as an array", with(array)),
        (
            "scope of a fixed size",
            with(array_cast(slot.clone(), &[2])),
        ),
        (
            "scope of two dimensions",
            with(array_cast(slot.clone(), &[-1, -1])),
        ),
        ("scope of one", with(cast(slot, "int4"))),
        (
            "= ALL",
            changed(&|test| test.kind = pg::AExprKind::AexprOpAll.into()),
        ),
        (
            "= without ANY",
            changed(&|test| test.kind = pg::AExprKind::AexprOp.into()),
        ),
        (
            "<> ANY",
            changed(&|test| test.name = names(&["pg_catalog", "<>"])),
        ),
    ];
    for number in 1..=context.client_parameters {
        let parameter = NodeEnum::ParamRef(pg::ParamRef {
            number,
            location: 0,
        });
        found.push(("scope of the client's", with(array_cast(parameter, &[-1]))));
    }
    found
}

/// What can be done to the value for the tenant column under a scope.
fn owners(case: &pg::CaseExpr, context: &Context, found: &mut Variants) {
    let Some(Some(NodeEnum::CaseWhen(when))) = case.args.first().map(|when| &when.node) else {
        return;
    };
    let Some(condition) = when.expr.as_deref().filter(|condition| is_test(condition)) else {
        return;
    };
    let value = when.result.clone().expect("a value");
    found.push(("check dropped", value.node.clone().expect("a value")));
    let mut add = |kind: &'static str, change: &dyn Fn(&mut pg::CaseExpr, &mut pg::CaseWhen)| {
        let (mut case, mut when) = (case.clone(), (**when).clone());
        change(&mut case, &mut when);
        if !case.args.is_empty() {
            case.args[0] = wrap(NodeEnum::CaseWhen(Box::new(when)));
        }
        found.push((kind, NodeEnum::CaseExpr(Box::new(case))));
    };
    add("check is TRUE", &|_, when| when.expr = some(truth()));
    add("check negated", &|_, when| {
        when.expr = Some(Box::new(not(condition.clone())));
    });
    add("check OR TRUE", &|_, when| {
        when.expr = Some(Box::new(or(vec![condition.clone(), wrap(truth())])));
    });
    for (_, variant) in scopes(
        match &condition.node {
            Some(NodeEnum::AExpr(operation)) => operation,
            _ => return,
        },
        context,
    ) {
        add("check of another scope", &|_, when| {
            when.expr = some(variant.clone());
        });
    }
    add("another value than checked", &|_, when| {
        when.result = some(cast(number(3), "int4"));
    });
    add("another check than the value", &|_, when| {
        if let Some(Some(NodeEnum::AExpr(test))) = when.expr.as_mut().map(|e| &mut e.node) {
            test.lexpr = some(cast(number(1), "int4"));
        }
    });
    add("value of another type", &|_, when| {
        when.result = retyped(&when.result, "int8");
    });
    add("ELSE the value", &|case, _| {
        case.defresult.clone_from(&Some(value.clone()));
    });
    add("ELSE NULL", &|case, _| case.defresult = some(null()));
    add("ELSE dropped", &|case, _| case.defresult = None);
    add("ELSE a number", &|case, _| {
        case.defresult = some(cast(number(3), "int4"));
    });
    add("ELSE without the call", &|case, _| {
        case.defresult = some(cast(number(3), "text"));
    });
    add("a second WHEN", &|case, _| {
        let first = case.args[0].clone();
        case.args.push(first);
    });
    add("CASE of a value", &|case, _| case.arg = some(truth()));
}

fn inserts(insert: &pg::InsertStmt, context: &Context, found: &mut Variants) {
    let mut add = |kind: &'static str, insert: pg::InsertStmt| {
        found.push((kind, NodeEnum::InsertStmt(Box::new(insert))));
    };
    let changed = |change: &dyn Fn(&mut pg::InsertStmt)| {
        let mut insert = insert.clone();
        change(&mut insert);
        insert
    };
    add(
        "column list dropped",
        changed(&|insert| insert.cols.clear()),
    );
    add(
        "added column dropped",
        changed(&|insert| {
            insert.cols.pop();
        }),
    );
    add(
        "columns swapped",
        changed(&|insert| {
            let last = insert.cols.len();
            if last > 1 {
                insert.cols.swap(last - 2, last - 1);
            }
        }),
    );
    add(
        "added column and values dropped",
        changed(&|insert| {
            insert.cols.pop();
            in_source(insert, &|values| {
                values.pop();
            });
        }),
    );
    add(
        "added values dropped",
        changed(&|insert| {
            in_source(insert, &|values| {
                values.pop();
            });
        }),
    );
    for (kind, value) in [
        ("added value is a number", cast(number(2), "int4")),
        ("added value is NULL", null()),
        (
            "added value is DEFAULT",
            NodeEnum::SetToDefault(Box::default()),
        ),
        ("added value is a column", column(&["id"])),
        (
            "added value is $1",
            cast(
                NodeEnum::ParamRef(pg::ParamRef {
                    number: 1,
                    location: 0,
                }),
                "int4",
            ),
        ),
    ] {
        if kind == "added value is $1" && context.client_parameters == 0 {
            continue;
        }
        let mut insert = insert.clone();
        in_source(&mut insert, &|values| {
            if let Some(last) = values.last_mut() {
                set_value(last, value.clone());
            }
        });
        add(kind, insert);
    }
    if let Some(conflict) = &insert.on_conflict_clause {
        conditions(&conflict.where_clause, context, &mut |kind, condition| {
            add(
                kind,
                changed(&|insert| {
                    if let Some(conflict) = &mut insert.on_conflict_clause {
                        conflict.where_clause.clone_from(&condition);
                    }
                }),
            );
        });
        add(
            "conflict column dropped",
            changed(&|insert| {
                if let Some(infer) = insert
                    .on_conflict_clause
                    .as_mut()
                    .and_then(|c| c.infer.as_mut())
                {
                    infer.index_elems.pop();
                }
            }),
        );
        add(
            "conflict clause dropped",
            changed(&|insert| insert.on_conflict_clause = None),
        );
        let nothing = pg::OnConflictAction::OnconflictNothing.into();
        add(
            "DO NOTHING",
            changed(&|insert| {
                if let Some(conflict) = &mut insert.on_conflict_clause {
                    conflict.action = nothing;
                    conflict.target_list.clear();
                    conflict.where_clause = None;
                }
            }),
        );
    }
    add(
        "RETURNING dropped",
        changed(&|insert| insert.returning_clause = None),
    );
    add(
        "OVERRIDING",
        changed(&|insert| {
            insert.r#override = pg::OverridingKind::OverridingUserValue.into();
        }),
    );
}

/// Changes the rows of VALUES, or the target list of the first branch.
fn in_source(insert: &mut pg::InsertStmt, change: &dyn Fn(&mut Vec<Node>)) {
    if let Some(NodeEnum::SelectStmt(select)) = insert
        .select_stmt
        .as_mut()
        .and_then(|source| source.node.as_mut())
    {
        in_select(select, change);
    }
}

fn in_select(select: &mut pg::SelectStmt, change: &dyn Fn(&mut Vec<Node>)) {
    if let Some(right) = &mut select.rarg {
        in_select(right, change);
    } else if let Some(Node {
        node: Some(NodeEnum::List(row)),
    }) = select.values_lists.last_mut()
    {
        change(&mut row.items);
    } else {
        change(&mut select.target_list);
    }
}

fn set_value(node: &mut Node, value: NodeEnum) {
    match &mut node.node {
        Some(NodeEnum::ResTarget(target)) => target.val = some(value),
        other => *other = Some(value),
    }
}

fn joins(join: &pg::JoinExpr, context: &Context, found: &mut Variants) {
    let mut add = |kind: &'static str, join: pg::JoinExpr| {
        found.push((kind, NodeEnum::JoinExpr(Box::new(join))));
    };
    conditions(&join.quals, context, &mut |kind, condition| {
        if condition.is_some() {
            add(
                kind,
                pg::JoinExpr {
                    quals: condition,
                    ..join.clone()
                },
            );
        }
    });
    for kind in [
        pg::JoinType::JoinInner,
        pg::JoinType::JoinLeft,
        pg::JoinType::JoinFull,
    ] {
        if join.quals.is_some() || !join.using_clause.is_empty() {
            add(
                "another join",
                pg::JoinExpr {
                    jointype: kind.into(),
                    ..join.clone()
                },
            );
        }
    }
    if join.quals.is_some() {
        let mut swapped = join.clone();
        std::mem::swap(&mut swapped.larg, &mut swapped.rarg);
        add("sides swapped", swapped);
    }
}

fn fences(derived: &pg::RangeSubselect, context: &Context, found: &mut Variants) {
    let Some(Some(NodeEnum::SelectStmt(inner))) =
        derived.subquery.as_ref().map(|query| &query.node)
    else {
        return;
    };
    let is_fence = conjuncts(&inner.where_clause).iter().any(is_test);
    let lateral = pg::RangeSubselect {
        lateral: !derived.lateral,
        ..derived.clone()
    };
    found.push(("LATERAL", NodeEnum::RangeSubselect(Box::new(lateral))));
    for alias in &context.aliases {
        let mut renamed = derived.clone();
        if let Some(named) = &mut renamed.alias {
            named.aliasname.clone_from(alias);
        }
        found.push(("another alias", NodeEnum::RangeSubselect(Box::new(renamed))));
    }
    let Some(Some(NodeEnum::RangeVar(table))) = inner.from_clause.first().map(|item| &item.node)
    else {
        return;
    };
    if !is_fence {
        return;
    }
    let bare = pg::RangeVar {
        alias: derived.alias.clone(),
        ..table.clone()
    };
    found.push(("fence replaced by the table", NodeEnum::RangeVar(bare)));
    let mut refence = |kind: &'static str, inner: pg::SelectStmt| {
        let subquery = some(NodeEnum::SelectStmt(Box::new(inner)));
        let derived = pg::RangeSubselect {
            subquery,
            ..derived.clone()
        };
        found.push((kind, NodeEnum::RangeSubselect(Box::new(derived))));
    };
    let mut shown = (**inner).clone();
    shown.target_list.push(target(column(&["tenant_id"])));
    refence("fence shows the tenant column", shown);
    let mut swapped = (**inner).clone();
    swapped.target_list.reverse();
    refence("fence with swapped columns", swapped);
    let everything = pg::SelectStmt {
        where_clause: None,
        ..(**inner).clone()
    };
    refence(
        "fence UNION the table",
        pg::SelectStmt {
            op: pg::SetOperation::SetopUnion.into(),
            all: true,
            limit_option: inner.limit_option,
            larg: Some(inner.clone()),
            rarg: Some(Box::new(everything)),
            ..pg::SelectStmt::default()
        },
    );
    let mut lateral = (**inner).clone();
    lateral.limit_count = some(number(1));
    lateral.limit_option = pg::LimitOption::Count.into();
    refence("fence with LIMIT", lateral);
}

fn tables(table: &pg::RangeVar, context: &Context, found: &mut Variants) {
    let mut add = |kind: &'static str, table: pg::RangeVar| {
        found.push((kind, NodeEnum::RangeVar(table)));
    };
    for name in &context.tables {
        add(
            "another table",
            pg::RangeVar {
                relname: name.clone(),
                ..table.clone()
            },
        );
    }
    add(
        "ONLY",
        pg::RangeVar {
            inh: !table.inh,
            ..table.clone()
        },
    );
    let elsewhere = if table.schemaname.is_empty() {
        "public"
    } else {
        ""
    };
    add(
        "another schema",
        pg::RangeVar {
            schemaname: elsewhere.to_owned(),
            ..table.clone()
        },
    );
    let hidden = pg::Alias {
        aliasname: "hidden".to_owned(),
        colnames: names(&["tenant_id"]),
    };
    add(
        "alias with columns",
        pg::RangeVar {
            alias: Some(hidden),
            ..table.clone()
        },
    );
}

fn expressions(node: &NodeEnum, context: &Context, found: &mut Variants) {
    match node {
        NodeEnum::AConst(constant) if !constant.isnull => {
            let other = match &constant.val {
                Some(pg::a_const::Val::Ival(pg::Integer { ival })) => number(ival + 1),
                _ => number(77),
            };
            found.push(("another constant", other));
        }
        NodeEnum::ParamRef(parameter) => {
            let number = parameter.number + 1;
            found.push((
                "another parameter",
                NodeEnum::ParamRef(pg::ParamRef {
                    number,
                    location: 0,
                }),
            ));
            if parameter.number > 1 {
                let number = parameter.number - 1;
                found.push((
                    "another parameter",
                    NodeEnum::ParamRef(pg::ParamRef {
                        number,
                        location: 0,
                    }),
                ));
            }
        }
        NodeEnum::ColumnRef(reference) => {
            let mut hidden = reference.clone();
            hidden.fields.pop();
            hidden.fields.extend(names(&["tenant_id"]));
            found.push(("the tenant column", NodeEnum::ColumnRef(hidden)));
            for alias in &context.aliases {
                let last = reference.fields.last().cloned();
                let mut fields = names(&[alias]);
                fields.extend(last);
                let moved = pg::ColumnRef {
                    fields,
                    location: 0,
                };
                if moved.fields != reference.fields {
                    found.push(("another alias", NodeEnum::ColumnRef(moved)));
                }
            }
        }
        NodeEnum::FuncCall(call) => {
            let mut bare = call.clone();
            bare.funcname = bare.funcname.split_off(bare.funcname.len() - 1);
            if bare.funcname != call.funcname
                && call.funcformat == i32::from(pg::CoercionForm::CoerceExplicitCall)
            {
                found.push(("function unqualified", NodeEnum::FuncCall(bare)));
            }
            let mut other = call.clone();
            other.funcname = names(&["public", "exec_sql"]);
            found.push(("another function", NodeEnum::FuncCall(other)));
        }
        NodeEnum::TypeCast(typed) => {
            let mut bare = typed.clone();
            if let Some(name) = &mut bare.type_name {
                name.names = name.names.split_off(name.names.len() - 1);
            }
            found.push(("type unqualified", NodeEnum::TypeCast(bare)));
        }
        NodeEnum::AExpr(operation) if operation.kind == i32::from(pg::AExprKind::AexprOp) => {
            let mut other = operation.clone();
            other.name = names(&[if is_named(operation, "=") { "<>" } else { "=" }]);
            found.push(("another operator", NodeEnum::AExpr(other)));
        }
        NodeEnum::BoolExpr(operation) => {
            let and = i32::from(pg::BoolExprType::AndExpr);
            let or = i32::from(pg::BoolExprType::OrExpr);
            let mut other = operation.clone();
            other.boolop = if operation.boolop == and { or } else { and };
            if operation.args.len() > 1 {
                found.push(("AND for OR", NodeEnum::BoolExpr(other)));
            }
        }
        NodeEnum::SubLink(link) => {
            let mut other = link.clone();
            other.sub_link_type = pg::SubLinkType::ArraySublink.into();
            other.testexpr = None;
            found.push(("another sub-select", NodeEnum::SubLink(other)));
        }
        NodeEnum::CaseExpr(case) => {
            owners(case, context, found);
            shields::of(case, context, found);
        }
        NodeEnum::CommonTableExpr(cte) => {
            let mut other = cte.clone();
            "orders".clone_into(&mut other.ctename);
            found.push(("another CTE", NodeEnum::CommonTableExpr(other)));
        }
        _ => {}
    }
}

fn is_named(operation: &pg::AExpr, wanted: &str) -> bool {
    operation.name == names(&[wanted])
}

/// Whether a node is a tenant test: nothing else is written with this operator.
pub fn is_test(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AExpr(operation)) => operation.name == names(&["pg_catalog", "="]),
        _ => false,
    }
}

/// Whether a test is that of a scope.
fn is_of_scope(test: &Node) -> bool {
    match &test.node {
        Some(NodeEnum::AExpr(operation)) => operation.kind == i32::from(pg::AExprKind::AexprOpAny),
        _ => false,
    }
}

fn alias_of(test: &Node) -> Option<String> {
    let Some(NodeEnum::AExpr(operation)) = &test.node else {
        return None;
    };
    let Some(NodeEnum::ColumnRef(reference)) = &operation.lexpr.as_ref()?.node else {
        return None;
    };
    match &reference.fields.first()?.node {
        Some(NodeEnum::String(name)) => Some(name.sval.clone()),
        _ => None,
    }
}

fn with_alias(test: &Node, alias: &str) -> Node {
    let mut test = test.clone();
    if let Some(NodeEnum::AExpr(operation)) = &mut test.node {
        operation.lexpr = some(column(&[alias, "tenant_id"]));
    }
    test
}

pub fn conjuncts(condition: &Option<Box<Node>>) -> Vec<Node> {
    match condition.as_ref().map(|condition| &condition.node) {
        Some(Some(NodeEnum::BoolExpr(operation)))
            if operation.boolop == i32::from(pg::BoolExprType::AndExpr) =>
        {
            operation.args.clone()
        }
        Some(Some(other)) => vec![wrap(other.clone())],
        _ => Vec::new(),
    }
}

pub fn joined(mut conjuncts: Vec<Node>) -> Option<Box<Node>> {
    match conjuncts.len() {
        0 => None,
        1 => conjuncts.pop().map(Box::new),
        _ => some(connected(pg::BoolExprType::AndExpr, conjuncts)),
    }
}

fn and(condition: &Option<Box<Node>>, test: Node) -> Option<Box<Node>> {
    let mut all = conjuncts(condition);
    all.push(test);
    joined(all)
}

pub fn or(args: Vec<Node>) -> Node {
    wrap(connected(pg::BoolExprType::OrExpr, args))
}

pub fn not(node: Node) -> Node {
    wrap(connected(pg::BoolExprType::NotExpr, vec![node]))
}

fn connected(kind: pg::BoolExprType, args: Vec<Node>) -> NodeEnum {
    NodeEnum::BoolExpr(Box::new(pg::BoolExpr {
        boolop: kind.into(),
        args,
        ..pg::BoolExpr::default()
    }))
}

fn null_test(arg: Option<Box<Node>>) -> Node {
    wrap(NodeEnum::NullTest(Box::new(pg::NullTest {
        arg,
        nulltesttype: pg::NullTestType::IsNotNull.into(),
        ..pg::NullTest::default()
    })))
}

fn retyped(value: &Option<Box<Node>>, name: &str) -> Option<Box<Node>> {
    uncast(value)
        .and_then(|value| value.node)
        .and_then(|value| some(cast(value, name)))
}

fn unqualified(value: &Option<Box<Node>>) -> Option<Box<Node>> {
    let mut value = value.clone();
    if let Some(NodeEnum::TypeCast(cast)) = value.as_mut().and_then(|value| value.node.as_mut())
        && let Some(name) = &mut cast.type_name
    {
        name.names = names(&["int2"]);
    }
    value
}

fn uncast(value: &Option<Box<Node>>) -> Option<Box<Node>> {
    match value.as_ref().map(|value| &value.node) {
        Some(Some(NodeEnum::TypeCast(cast))) => cast.arg.clone(),
        _ => value.clone(),
    }
}

pub fn cast(value: NodeEnum, name: &str) -> NodeEnum {
    NodeEnum::TypeCast(Box::new(pg::TypeCast {
        arg: some(value),
        type_name: Some(pg::TypeName {
            names: names(&["pg_catalog", name]),
            typemod: -1,
            ..pg::TypeName::default()
        }),
        location: 0,
    }))
}

/// A cast to an array of `int4` with these bounds.
fn array_cast(value: NodeEnum, bounds: &[i32]) -> NodeEnum {
    let mut node = cast(value, "int4");
    if let NodeEnum::TypeCast(cast) = &mut node
        && let Some(name) = &mut cast.type_name
    {
        name.array_bounds = bounds
            .iter()
            .map(|ival| wrap(NodeEnum::Integer(pg::Integer { ival: *ival })))
            .collect();
    }
    node
}

fn number(ival: i32) -> NodeEnum {
    NodeEnum::AConst(pg::AConst {
        val: Some(pg::a_const::Val::Ival(pg::Integer { ival })),
        ..pg::AConst::default()
    })
}

pub fn truth() -> NodeEnum {
    NodeEnum::AConst(pg::AConst {
        val: Some(pg::a_const::Val::Boolval(pg::Boolean { boolval: true })),
        ..pg::AConst::default()
    })
}

pub fn null() -> NodeEnum {
    NodeEnum::AConst(pg::AConst {
        isnull: true,
        ..pg::AConst::default()
    })
}

pub fn column(parts: &[&str]) -> NodeEnum {
    NodeEnum::ColumnRef(pg::ColumnRef {
        fields: names(parts),
        location: 0,
    })
}

fn target(value: NodeEnum) -> Node {
    wrap(NodeEnum::ResTarget(Box::new(pg::ResTarget {
        val: some(value),
        ..pg::ResTarget::default()
    })))
}

fn names(parts: &[&str]) -> Vec<Node> {
    let name = |part: &&str| {
        let sval = (*part).to_owned();
        wrap(NodeEnum::String(pg::String { sval }))
    };
    parts.iter().map(name).collect()
}

pub fn wrap(node: NodeEnum) -> Node {
    Node { node: Some(node) }
}

pub fn some(node: NodeEnum) -> Option<Box<Node>> {
    Some(Box::new(wrap(node)))
}
