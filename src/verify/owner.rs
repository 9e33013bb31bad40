//! Whose a new row is: the tenant's value that was added, or, under the scope of a grant, the client's
//! value in a form that lets nothing but the scope's keys through.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::expression::reference;
use super::proof::{Checked, Proof, differs, is_plain_type, path, refuse};
use super::scope::{self, Found};
use super::silent;
use super::via::not_checked;
use crate::catalog::oid;
use crate::isolate::refusal::{BeyondGrant, Refusal};
use crate::isolate::template::{OUT_OF_SCOPE, SlotType};
use crate::tenant::{Ownership, Scoped, TenantType};

/// Where an INSERT says whose its rows are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner<'c> {
    /// In a value that was added at the end of each row.
    Added(TenantType),
    /// In the client's own value at this place of each row.
    Checked {
        /// The place, counted from 0.
        at: usize,
        /// The tenant column.
        scoped: &'c Scoped,
    },
}

impl<'c> Owner<'c> {
    /// The value that was added.
    pub(super) fn added(self) -> Option<TenantType> {
        match self {
            Self::Added(tenant_type) => Some(tenant_type),
            Self::Checked { .. } => None,
        }
    }

    /// The tenant column, if its value is at this place of the client's rows.
    pub(super) fn checked_at(self, place: usize) -> Option<&'c Scoped> {
        match self {
            Self::Checked { at, scoped } if at == place => Some(scoped),
            Self::Added(_) | Self::Checked { .. } => None,
        }
    }
}

impl Proof<'_> {
    /// Compares a value for the tenant column `v` with what is sent for it:
    /// `CASE WHEN v = ANY (slot) THEN v ELSE concat('..')::type END`. So the row has a key of the scope, or
    /// the statement fails: no text that begins with a word is a number or a uuid.
    pub(super) fn checked_owner(
        &mut self,
        original: &Node,
        rewritten: &Node,
        scoped: &Scoped,
    ) -> Checked {
        if let Some(via) = scoped.via() {
            return self.checked_reference(original, rewritten, (scoped, via));
        }
        if !self.is_single_valued(original) {
            let at = silent::location(original);
            return Err(refuse(not_named(scoped).reason, at));
        }
        let wrong = || differs("the value for the tenant column");
        let Some(NodeEnum::CaseExpr(case)) = &rewritten.node else {
            return Err(wrong());
        };
        let pg::CaseExpr {
            xpr: None,
            casetype: 0,
            casecollid: 0,
            arg: None,
            args,
            defresult: Some(otherwise),
            location: _,
        } = &**case
        else {
            return Err(wrong());
        };
        let [
            Node {
                node: Some(NodeEnum::CaseWhen(when)),
            },
        ] = args.as_slice()
        else {
            return Err(wrong());
        };
        let pg::CaseWhen {
            xpr: None,
            expr: Some(condition),
            result: Some(value),
            location: _,
        } = &**when
        else {
            return Err(wrong());
        };
        let wanted = scoped.column_type;
        if !self.is_assigned_plainly(original, wanted) {
            let at = silent::location(original);
            return Err(refuse(not_named(scoped).reason, at));
        }
        let tested = self.is_own(condition, SlotType::Any(wanted))?;
        for sent in [tested, value] {
            let sent = cast_to(sent, wanted.name()).ok_or_else(wrong)?;
            self.expression(original, sent)?;
        }
        if fails(otherwise, wanted) {
            Ok(())
        } else {
            Err(wrong())
        }
    }

    /// The same in a row of VALUES.
    pub(super) fn checked_owner_of_row(
        &mut self,
        original: &Node,
        rewritten: &Node,
        scoped: &Scoped,
    ) -> Checked {
        match scoped.via() {
            Some(via) => self.checked_reference_of_row(original, rewritten, (scoped, via)),
            None => self.checked_owner(original, rewritten, scoped),
        }
    }

    /// Whether a value is of a type that the server itself assigns to such a column: what is sent is cast, and a cast
    /// of the application's own, which an assignment would not make, runs a function that nobody has asked for.
    pub(super) fn is_assigned_plainly(&mut self, value: &Node, wanted: TenantType) -> bool {
        let found = match &value.node {
            Some(NodeEnum::ParamRef(parameter)) => {
                self.parameter(*parameter).ok().map(|value| value.oid)
            }
            Some(NodeEnum::TypeCast(cast)) => {
                let name = cast.type_name.as_ref();
                name.and_then(|name| self.cast_type(name))
            }
            Some(NodeEnum::FuncCall(call)) if is_of_sequence(call) => Some(oid::INT8),
            Some(_) | None => self.silent_value(value).ok().map(|value| value.oid),
        };
        let Some(found) = found else {
            // Of whatever type it is: the system's own casts are harmless.
            let cast_to = self.catalog().type_by_oid(wanted.oid());
            return cast_to.is_some_and(|cast_to| self.classified().trusts_type(cast_to));
        };
        found == oid::UNKNOWN
            || match wanted {
                TenantType::Int2 | TenantType::Int4 | TenantType::Int8 => {
                    matches!(found, oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC)
                }
                TenantType::Text => matches!(found, oid::TEXT | oid::VARCHAR),
                TenantType::Uuid => found == oid::UUID,
            }
    }

    /// Whether an expression has the same value each time that a row is computed.
    pub(super) fn is_single_valued(&self, node: &Node) -> bool {
        match &node.node {
            Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
            Some(NodeEnum::ColumnRef(column)) => reference(&column.fields).is_some_and(|named| {
                // What is wrong with the name is said where it is compared.
                !matches!(
                    scope::resolve(&self.levels, named),
                    Ok(Found::Row(_) | Found::Opaque)
                )
            }),
            Some(NodeEnum::TypeCast(cast)) => cast
                .arg
                .as_deref()
                .is_some_and(|arg| self.is_single_valued(arg)),
            Some(_) | None => false,
        }
    }
}

/// What a sequence gives is `bigint`.
fn is_of_sequence(call: &pg::FuncCall) -> bool {
    matches!(
        path(&call.funcname).as_deref(),
        Some(
            ["currval" | "lastval" | "nextval"] | ["pg_catalog", "currval" | "lastval" | "nextval"]
        )
    )
}

/// The rows do not say in a plain way whose they are.
pub(super) fn not_named(scoped: &Scoped) -> Refusal {
    match &scoped.ownership {
        Ownership::Column(column) => BeyondGrant::TenantNotNamed {
            column: column.clone(),
        }
        .into(),
        Ownership::Via(via) => not_checked(via),
    }
}

/// The argument of `(..)::pg_catalog.type`.
pub(super) fn cast_to<'n>(node: &'n Node, wanted: &str) -> Option<&'n Node> {
    let Some(NodeEnum::TypeCast(cast)) = &node.node else {
        return None;
    };
    let pg::TypeCast {
        arg,
        type_name,
        location: _,
    } = &**cast;
    let fits = is_plain_type(type_name.as_ref()?, wanted);
    arg.as_deref().filter(|_| fits)
}

/// Whether an expression is one that fails when it is computed, and is not computed before:
/// `pg_catalog.concat('the tenant ..')::pg_catalog.type`, for text by way of `int4`.
fn fails(node: &Node, wanted: TenantType) -> bool {
    let cast = cast_to(node, wanted.name());
    let cast = match wanted {
        TenantType::Int2 | TenantType::Int4 | TenantType::Int8 | TenantType::Uuid => cast,
        TenantType::Text => cast.and_then(|cast| cast_to(cast, TenantType::Int4.name())),
    };
    let Some(Some(NodeEnum::FuncCall(call))) = cast.map(|cast| &cast.node) else {
        return false;
    };
    let [
        Node {
            node:
                Some(NodeEnum::AConst(pg::AConst {
                    isnull: false,
                    location: _,
                    val: Some(pg::a_const::Val::Sval(pg::String { sval: text })),
                })),
        },
    ] = call.args.as_slice()
    else {
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
        && text == OUT_OF_SCOPE
        && rest == nothing
}
