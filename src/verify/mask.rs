//! Masks: columns that are NULL on rows of other tenants.
//!
//! In a fence, `CASE WHEN table.tenant OPERATOR(pg_catalog.=) slot THEN column ELSE NULL::type END AS column`
//! stands for the column. A strict function of it is never called on another tenant's row, nor, by the
//! planner, on a value in the statistics.
//!
//! # Invariants
//! 1. What is computed from a masked column is masked itself only through strict calls, whose other
//!    arguments are masked or constant.
//! 2. A call that is made thanks to masks may still fail on the tenant's own rows. Where the query is
//!    part of a condition that would tell when it was computed; so it counts as content.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{Checked, Proof, column_path, differs, path};
use super::scope::Test;
use super::types::{self, OPAQUE, Origin, Typed, Value, all_columns};
use crate::catalog::{self, Oid, oid};
use crate::isolate::remedy::Remedy;

/// How a fence shows a column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// As it is.
    Plainly,
    /// Behind a mask.
    Masked,
}

impl Proof<'_> {
    /// Recognises a column of a fence, masked or not.
    pub(super) fn shown(
        &mut self,
        target: &Node,
        column: &catalog::Column,
        test: &Test,
    ) -> Checked<Shown> {
        let wrong = || differs("a fence's columns");
        let Some(NodeEnum::ResTarget(target)) = &target.node else {
            return Err(wrong());
        };
        let pg::ResTarget {
            name,
            indirection,
            val: Some(value),
            location: _,
        } = &**target
        else {
            return Err(wrong());
        };
        if !indirection.is_empty() {
            return Err(wrong());
        }
        if name.is_empty() {
            return if column_path(value).as_deref() == Some(&[column.name.as_str()]) {
                Ok(Shown::Plainly)
            } else {
                Err(wrong())
            };
        }
        if *name != column.name {
            return Err(wrong());
        }
        self.mask(value, column, test)?;
        Ok(Shown::Masked)
    }

    fn mask(&mut self, value: &Node, column: &catalog::Column, test: &Test) -> Checked {
        let wrong = || differs("a mask");
        let Some(NodeEnum::CaseExpr(case)) = &value.node else {
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
            result: Some(result),
            location: _,
        } = &**when
        else {
            return Err(wrong());
        };
        if column_path(result).as_deref() != Some(&[column.name.as_str()])
            || !self.is_null_of(otherwise, types::base(self.catalog(), column.type_oid))
        {
            return Err(wrong());
        }
        self.test(condition, test)
    }

    /// Whether this is `NULL::type`, of exactly this type; a modifier changes nothing of NULL.
    fn is_null_of(&self, value: &Node, type_oid: Oid) -> bool {
        let Some(NodeEnum::TypeCast(cast)) = &value.node else {
            return false;
        };
        let (Some(argument), Some(name)) = (&cast.arg, &cast.type_name) else {
            return false;
        };
        let pg::TypeName {
            names,
            type_oid: 0,
            setof: false,
            pct_type: false,
            typmods,
            typemod: -1,
            array_bounds,
            location: _,
        } = name
        else {
            return false;
        };
        let is_null = matches!(
            &argument.node,
            Some(NodeEnum::AConst(pg::AConst {
                isnull: true,
                val: None,
                location: _,
            }))
        );
        let found = match path(names).as_deref() {
            Some([schema, name]) => self.catalog().resolve_type(Some(schema), name),
            Some(_) | None => None,
        };
        let are_numbers = typmods.iter().all(|modifier| {
            matches!(
                &modifier.node,
                Some(NodeEnum::AConst(pg::AConst {
                    val: Some(pg::a_const::Val::Ival(_)),
                    ..
                }))
            )
        });
        // A domain could forbid NULL, so what it is made from takes its place.
        let is_type = found.is_some_and(|found| {
            found.oid == type_oid && !matches!(found.kind, catalog::TypeKind::Domain(_))
        });
        is_null && is_type && are_numbers && array_bounds.is_empty()
    }

    /// A strict call that is not silent, of which `gives` is the type, if that is known: masks are enough
    /// if any row of another tenant makes an argument NULL.
    pub(super) fn strictly(&mut self, called: Typed, arguments: &[Value], gives: Oid) -> Typed {
        let Err(mut refusal) = called else {
            return called;
        };
        match Origin::of_strict(arguments.iter().map(|argument| argument.origin)) {
            Origin::Masked if !are_quiet(arguments) => Err(refusal),
            Origin::Masked => {
                self.level()?.loud_content.get_or_insert(refusal);
                Ok(Value {
                    origin: Origin::Masked,
                    columns: all_columns(arguments),
                    ..Value::varying(gives)
                })
            }
            Origin::Varying => {
                let mut varying = arguments
                    .iter()
                    .filter(|argument| argument.origin == Origin::Varying);
                if varying.all(|argument| !argument.columns.is_empty()) {
                    let columns = all_columns(arguments);
                    refusal.remedied_by(columns.iter().copied().map(Remedy::Mask));
                }
                Err(refusal)
            }
            Origin::Constant | Origin::Literal => Err(refusal),
        }
    }

    /// Whether every operator of this name is strict.
    pub(super) fn is_strict_operator(&self, operator: &str) -> bool {
        // Of the system's operators only those that append to arrays are not.
        operator != "||" && self.catalog().operators_named(operator).next().is_none()
    }

    /// Whether values of this type belong to the system, whose conversions are all strict.
    pub(super) fn is_system_type(&self, type_oid: Oid) -> bool {
        let found = self.catalog().type_by_oid(type_oid);
        type_oid == OPAQUE || found.is_some_and(|found| found.schema == "pg_catalog")
    }
}

/// Whether no constant among the arguments is converted in a way that could fail: it would be where rows
/// of any tenant are looked at. A literal is converted before.
fn are_quiet(arguments: &[Value]) -> bool {
    let known = |argument: &&Value| argument.origin == Origin::Constant;
    arguments.iter().filter(known).all(|constant| {
        arguments.iter().all(|other| match constant.oid {
            oid::DATE | oid::TIMESTAMP => other.oid == constant.oid,
            oid::INT8 => matches!(
                other.oid,
                oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC | oid::FLOAT4 | oid::FLOAT8
            ),
            oid::NUMERIC => matches!(other.oid, oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC),
            // A parameter without a type takes the one that is asked for.
            _ => true,
        })
    })
}
