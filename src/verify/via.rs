//! Whose a row is that reaches its tenant through another table, and what may be put into its referring column.
//!
//! In place of the tenant column stands
//! `(SELECT parent.tenant FROM schema.parent AS parent WHERE parent.key OPERATOR(pg_catalog.=) alias.column)`,
//! and again the same in place of `parent.tenant` if that one's rows reach their tenant so.
//!
//! # Invariants
//! 1. PostgreSQL makes no join of a sub-select that gives one value, so the test is a filter of the table's scan: it
//!    stands where the test of a tenant column stands, and what is known of conditions beside that one holds. EXISTS,
//!    IN and a join would be none of it: conditions and results would be computed below them, on rows of others.
//! 2. The names of its own range entries are no names of the client's there.
//! 3. A value for the referring column is that of a row of the tenant's, which is locked, or the statement fails, or it
//!    is NULL, which the column does not take.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::from::nothing_else;
use super::owner::{Owner, cast_to};
use super::proof::{Checked, Proof, column_path, differs, path, refuse, unsupported};
use super::silent;
use super::write::named_owner;
use crate::catalog::{Generated, Relation};
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::template::{NOT_PRESENT, PARENT, REFERENCE, SlotType};
use crate::tenant::{Class, Ownership, Scoped, TenantColumn, TenantType, Via};

/// Whether the row that is looked at stays as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Locked {
    /// `FOR KEY SHARE`
    Yes,
    /// It is only read.
    No,
}

/// Whether an expression says whose the row is that this range entry shows.
pub(super) fn is_owner(value: &Node, alias: &str, ownership: &Ownership) -> bool {
    match ownership {
        Ownership::Column(column) => column_path(value).as_deref() == Some(&[alias, column]),
        Ownership::Via(via) => {
            // Under such a name it could be one of the entries within.
            !alias.starts_with(PARENT)
                && is_owner_of_parent(value, (alias, &via.column), via, (1, Locked::No))
        }
    }
}

fn is_owner_of_parent(
    value: &Node,
    referring: (&str, &str),
    via: &Via,
    (depth, locked): (usize, Locked),
) -> bool {
    let Some(select) = scalar(value) else {
        return false;
    };
    let mut rest = select.clone();
    let targets = std::mem::take(&mut rest.target_list);
    let from = std::mem::take(&mut rest.from_clause);
    let locks = std::mem::take(&mut rest.locking_clause);
    let condition = rest.where_clause.take();
    let name = if depth == 1 {
        PARENT.to_owned()
    } else {
        format!("{PARENT}_{depth}")
    };
    let [target] = targets.as_slice() else {
        return false;
    };
    let owner = target_value(target).is_some_and(|owner| match &via.ownership {
        Ownership::Column(column) => column_path(owner).as_deref() == Some(&[&*name, &**column]),
        Ownership::Via(further) => {
            let referring = (&*name, &*further.column);
            is_owner_of_parent(owner, referring, further, (depth + 1, Locked::No))
        }
    });
    owner
        && rest == nothing_else()
        && is_parent(&from, via, &name)
        && are_locks(&locks, locked)
        && condition.is_some_and(|condition| refers(&condition, referring, (&name, &via.key)))
}

/// The range entry whose rows' owner this could be; what it is nobody says yet.
pub(super) fn referring_alias(value: &Node) -> Option<&str> {
    let condition = scalar(value)?.where_clause.as_deref()?;
    let Some(NodeEnum::AExpr(operation)) = &condition.node else {
        return None;
    };
    match column_path(operation.rexpr.as_deref()?).as_deref() {
        Some([alias, _]) => Some(alias),
        Some(_) | None => None,
    }
}

/// The query of a sub-select that gives one value.
fn scalar(value: &Node) -> Option<&pg::SelectStmt> {
    let Some(NodeEnum::SubLink(link)) = &value.node else {
        return None;
    };
    let pg::SubLink {
        xpr: None,
        sub_link_type,
        sub_link_id: 0,
        testexpr: None,
        oper_name,
        subselect: Some(query),
        location: _,
    } = &**link
    else {
        return None;
    };
    let is_scalar =
        *sub_link_type == i32::from(pg::SubLinkType::ExprSublink) && oper_name.is_empty();
    match &query.node {
        Some(NodeEnum::SelectStmt(select)) if is_scalar => Some(select),
        Some(_) | None => None,
    }
}

/// The value of a target that has no name.
fn target_value(target: &Node) -> Option<&Node> {
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return None;
    };
    let pg::ResTarget {
        name,
        indirection,
        val,
        location: _,
    } = &**target;
    val.as_deref()
        .filter(|_| name.is_empty() && indirection.is_empty())
}

/// Whether FROM is the parent under this name.
fn is_parent(from: &[Node], via: &Via, name: &str) -> bool {
    let [
        Node {
            node: Some(NodeEnum::RangeVar(parent)),
        },
    ] = from
    else {
        return false;
    };
    let pg::RangeVar {
        catalogname,
        schemaname,
        relname,
        inh: true,
        relpersistence,
        alias: Some(alias),
        location: _,
    } = parent
    else {
        return false;
    };
    let wanted = pg::Alias {
        aliasname: name.to_owned(),
        colnames: Vec::new(),
    };
    catalogname.is_empty()
        && *schemaname == via.parent.schema
        && *relname == via.parent.name
        && relpersistence == "p"
        && *alias == wanted
}

fn are_locks(locks: &[Node], wanted: Locked) -> bool {
    match (locks, wanted) {
        ([], Locked::No) => true,
        (
            [
                Node {
                    node: Some(NodeEnum::LockingClause(lock)),
                },
            ],
            Locked::Yes,
        ) => {
            let pg::LockingClause {
                locked_rels,
                strength,
                wait_policy,
            } = lock;
            locked_rels.is_empty()
                && *strength == i32::from(pg::LockClauseStrength::LcsForkeyshare)
                && *wait_policy == i32::from(pg::LockWaitPolicy::LockWaitBlock)
        }
        (_, Locked::Yes | Locked::No) => false,
    }
}

/// Whether a condition is `parent.key OPERATOR(pg_catalog.=) alias.column`.
fn refers(condition: &Node, referring: (&str, &str), key: (&str, &str)) -> bool {
    let Some(NodeEnum::AExpr(operation)) = &condition.node else {
        return false;
    };
    let pg::AExpr {
        kind,
        name,
        lexpr: Some(left),
        rexpr: Some(right),
        rexpr_list_start: _,
        rexpr_list_end: _,
        location: _,
    } = &**operation
    else {
        return false;
    };
    *kind == i32::from(pg::AExprKind::AexprOp)
        && path(name).as_deref() == Some(&["pg_catalog", "="])
        && column_path(left).as_deref() == Some(&[key.0, key.1])
        && column_path(right).as_deref() == Some(&[referring.0, referring.1])
}

impl Proof<'_> {
    /// Where the rows of an INSERT say which row they refer to; none if they do not, and the server refuses them.
    pub(super) fn referring<'c>(
        &self,
        columns: &[Node],
        relation: &Relation,
        (scoped, via): (&'c Scoped, &Via),
    ) -> Checked<Option<Owner<'c>>> {
        let named = |node: &Node| match &node.node {
            Some(NodeEnum::ResTarget(target)) => target.name == via.column,
            Some(_) | None => true,
        };
        let mut places: Vec<usize> = if columns.is_empty() {
            let visible = self.classified().visible_columns(relation);
            let place = visible.iter().position(|column| column.name == via.column);
            place.into_iter().collect()
        } else {
            let all = columns.iter().enumerate();
            all.filter(|(_, node)| named(node))
                .map(|(at, _)| at)
                .collect()
        };
        match (places.pop(), places.pop()) {
            (Some(at), None) => Ok(Some(Owner::Checked { at, scoped })),
            (None, _) => never_filled(relation, via).map(|()| None),
            (Some(_), Some(_)) => Err(not_checked(via)),
        }
    }

    /// Compares a value for the referring column `v` with what is sent for it, which has it once:
    /// `(SELECT CASE WHEN CASE WHEN (owner of the row with the key) = slot THEN (the same, locked) = slot END THEN key
    /// WHEN key IS NOT NULL THEN concat(..)::type END FROM (SELECT (v)::type OFFSET 0) AS reference (key))`. So only a
    /// row of the tenant's is locked.
    pub(super) fn checked_reference(
        &mut self,
        original: &Node,
        rewritten: &Node,
        (scoped, via): (&Scoped, &Via),
    ) -> Checked {
        let is_scalar = scalar(original).is_some();
        if !is_scalar && !self.is_single_valued(original) {
            return Err(refuse(not_checked(via).reason, silent::location(original)));
        }
        self.checked_reference_of_row(original, rewritten, (scoped, via))
    }

    /// The same in a row of VALUES, which is computed once whatever its values are.
    pub(super) fn checked_reference_of_row(
        &mut self,
        original: &Node,
        rewritten: &Node,
        (scoped, via): (&Scoped, &Via),
    ) -> Checked {
        if matches!(original.node, Some(NodeEnum::SetToDefault(_))) {
            return Err(not_checked(via));
        }
        if !self.is_assigned_plainly(original, via.column_type) {
            return Err(refuse(not_checked(via).reason, silent::location(original)));
        }
        let wrong = || differs("the value for a referring column");
        let select = scalar(rewritten).ok_or_else(wrong)?;
        let [condition, value, is_there, failing] = cases(select).ok_or_else(wrong)?;
        let wanted = match self.classified().tenant_column() {
            TenantColumn::Hidden => SlotType::One(scoped.column_type),
            TenantColumn::Visible => SlotType::Any(scoped.column_type),
        };
        let (read, locked) = first_then(condition).ok_or_else(wrong)?;
        let (read, locked) = (self.is_own(read, wanted)?, self.is_own(locked, wanted)?);
        let key = [REFERENCE, via.key.as_str()];
        let referring = (REFERENCE, via.key.as_str());
        if !is_owner_of_parent(read, referring, via, (1, Locked::No))
            || !is_owner_of_parent(locked, referring, via, (1, Locked::Yes))
            || column_path(value).as_deref() != Some(&key)
            || !is_not_null(is_there, &key)
            || !fails(failing, via, &key)
        {
            return Err(wrong());
        }
        let sent = referenced(&select.from_clause, via).ok_or_else(wrong)?;
        self.expression(original, sent)?;
        if let Some(NodeEnum::ParamRef(parameter)) = &original.node {
            let untyped = self.parameter(*parameter)?.untyped;
            self.use_as(untyped, via.column_type.oid());
        }
        Ok(())
    }

    /// Where the rows of an INSERT say whose they are.
    pub(super) fn owner_of_rows<'c>(
        &self,
        columns: &[Node],
        relation: &Relation,
        scoped: &'c Scoped,
    ) -> Checked<Option<Owner<'c>>> {
        match (&scoped.ownership, self.classified().tenant_column()) {
            (Ownership::Via(via), _) => self.referring(columns, relation, (scoped, via)),
            (Ownership::Column(_), TenantColumn::Hidden) => {
                Ok(Some(Owner::Added(scoped.column_type)))
            }
            (Ownership::Column(own), TenantColumn::Visible) => {
                named_owner(columns, scoped, own).map(Some)
            }
        }
    }
}

/// Refuses an INSERT through a view where the rows say which row they refer to.
pub(super) fn through_view(class: &Class) -> Checked {
    match class {
        Class::Scoped(scoped) if scoped.via().is_some() => Err(unsupported(
            "an INSERT into a view of a table that reaches its tenant through another one",
        )),
        Class::Scoped(_) | Class::Shared { .. } | Class::Refused(_) => Ok(()),
    }
}

/// The branches of a CASE that has nothing else.
fn branches(node: &Node) -> Option<&[Node]> {
    let Some(NodeEnum::CaseExpr(case)) = &node.node else {
        return None;
    };
    let pg::CaseExpr {
        xpr: None,
        casetype: 0,
        casecollid: 0,
        arg: None,
        args,
        defresult: None,
        location: _,
    } = &**case
    else {
        return None;
    };
    Some(args)
}

/// `CASE WHEN one THEN other END`: the second is computed where the first holds.
fn first_then(node: &Node) -> Option<(&Node, &Node)> {
    let [only] = branches(node)? else {
        return None;
    };
    branch(only)
}

/// The conditions and results of the two branches of the only value of a query.
fn cases(select: &pg::SelectStmt) -> Option<[&Node; 4]> {
    let mut rest = select.clone();
    rest.target_list.clear();
    rest.from_clause.clear();
    let [target] = select.target_list.as_slice() else {
        return None;
    };
    let [own, failing] = branches(target_value(target)?)? else {
        return None;
    };
    let ((own, value), (is_there, failing)) = (branch(own)?, branch(failing)?);
    (rest == nothing_else()).then_some([own, value, is_there, failing])
}

fn branch(node: &Node) -> Option<(&Node, &Node)> {
    let Some(NodeEnum::CaseWhen(when)) = &node.node else {
        return None;
    };
    let pg::CaseWhen {
        xpr: None,
        expr: Some(condition),
        result: Some(result),
        location: _,
    } = &**when
    else {
        return None;
    };
    Some((condition, result))
}

fn is_not_null(node: &Node, key: &[&str]) -> bool {
    let Some(NodeEnum::NullTest(test)) = &node.node else {
        return false;
    };
    let pg::NullTest {
        xpr: None,
        arg: Some(arg),
        nulltesttype,
        argisrow: false,
        location: _,
    } = &**test
    else {
        return false;
    };
    *nulltesttype == i32::from(pg::NullTestType::IsNotNull)
        && column_path(arg).as_deref() == Some(key)
}

/// Whether an expression fails when it is computed, and is not computed before: a text that begins with a word is
/// no number and no uuid.
fn fails(node: &Node, via: &Via, key: &[&str]) -> bool {
    let cast = cast_to(node, via.column_type.name());
    let cast = match via.column_type {
        TenantType::Int2 | TenantType::Int4 | TenantType::Int8 | TenantType::Uuid => cast,
        TenantType::Text => cast.and_then(|cast| cast_to(cast, TenantType::Int4.name())),
    };
    let Some(Some(NodeEnum::FuncCall(call))) = cast.map(|cast| &cast.node) else {
        return false;
    };
    let [before, value, behind] = call.args.as_slice() else {
        return false;
    };
    let mut rest = (**call).clone();
    rest.args.clear();
    rest.funcname.clear();
    rest.location = 0;
    let nothing = pg::FuncCall {
        funcformat: pg::CoercionForm::CoerceExplicitCall.into(),
        ..pg::FuncCall::default()
    };
    path(&call.funcname).as_deref() == Some(&["pg_catalog", "concat"])
        && text(before).is_some_and(|text| text.starts_with(NOT_PRESENT))
        && column_path(value).as_deref() == Some(key)
        && text(behind).is_some()
        && rest == nothing
}

fn text(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::AConst(pg::AConst {
            isnull: false,
            location: _,
            val: Some(pg::a_const::Val::Sval(pg::String { sval })),
        })) => Some(sval),
        Some(_) | None => None,
    }
}

/// The value in `(SELECT (v)::type OFFSET 0) AS reference (key)`, which is computed once and by itself.
fn referenced<'n>(from: &'n [Node], via: &Via) -> Option<&'n Node> {
    let [
        Node {
            node: Some(NodeEnum::RangeSubselect(derived)),
        },
    ] = from
    else {
        return None;
    };
    let pg::RangeSubselect {
        lateral: false,
        subquery: Some(query),
        alias: Some(alias),
    } = &**derived
    else {
        return None;
    };
    let wanted = pg::Alias {
        aliasname: REFERENCE.to_owned(),
        colnames: vec![Node {
            node: Some(NodeEnum::String(pg::String {
                sval: via.key.clone(),
            })),
        }],
    };
    let Some(NodeEnum::SelectStmt(select)) = &query.node else {
        return None;
    };
    let mut rest = (**select).clone();
    rest.target_list.clear();
    let offset = rest.limit_offset.take()?;
    let option = std::mem::replace(&mut rest.limit_option, pg::LimitOption::Default.into());
    let is_zero = matches!(
        &offset.node,
        Some(NodeEnum::AConst(pg::AConst {
            isnull: false,
            location: _,
            val: Some(pg::a_const::Val::Ival(pg::Integer { ival: 0 })),
        }))
    );
    let counts = [pg::LimitOption::Count, pg::LimitOption::Default];
    let [target] = select.target_list.as_slice() else {
        return None;
    };
    let value = cast_to(target_value(target)?, via.column_type.name());
    value.filter(|_| {
        *alias == wanted
            && is_zero
            && counts.into_iter().any(|known| option == i32::from(known))
            && rest == nothing_else()
    })
}

/// Refuses a row that says nothing of the referring column, unless that has NULL in it then, which it does not
/// take.
pub(super) fn never_filled(relation: &Relation, via: &Via) -> Checked {
    let stays_null = relation.column(&via.column).is_some_and(|column| {
        column.not_null && column.default.is_none() && column.generated == Generated::No
    });
    if stays_null {
        Ok(())
    } else {
        Err(not_checked(via))
    }
}

/// A new row, or a changed one, must say in a plain way which row it refers to.
pub(super) fn not_checked(via: &Via) -> Refusal {
    Reason::ConstructNotSupported {
        construct: format!("this way of giving a value to {}", via.column),
    }
    .into()
}
