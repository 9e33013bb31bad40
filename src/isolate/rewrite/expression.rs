//! Expressions: every sub-query is found, every name of a function or type qualified.

use super::name::Scope;
use super::{Presence, Rewriter, Rewritten, identifier, names};
use crate::catalog::Resolved;
use crate::isolate::identity as session;
use crate::isolate::refusal::{Reason, Refusal};
use crate::sql;
use crate::sql::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, Expr, ExtractSyntax,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    Interval, ObjectName, Subscript, TypedString, UnaryOperator, Value,
};

impl Rewriter<'_> {
    /// Rewrites an expression and everything in it.
    pub(super) fn expression(&mut self, expression: &mut Expr, scope: &Scope) -> Rewritten<()> {
        // Deep trees are met with a stack that grows.
        stacker::maybe_grow(64 * 1024, 1024 * 1024, || {
            self.any_expression(expression, scope)
        })
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest is looked at by the next function; the last one refuses"
    )]
    fn any_expression(&mut self, expression: &mut Expr, scope: &Scope) -> Rewritten<()> {
        match expression {
            Expr::Identifier(name) => {
                // A quoted word is no keyword.
                let asked = match name.quote_style {
                    None => session::by_keyword(&identifier(name)?),
                    Some(_) => None,
                };
                let name = identifier(name)?;
                if let Some(named) = self.session_name_of(asked, &name)? {
                    *expression = named;
                }
                Ok(())
            }
            Expr::CompoundIdentifier(parts) => {
                if let Some(call) = self.column_notation(parts)? {
                    *expression = call;
                    return Ok(());
                }
                self.column_reference(parts)
            }
            Expr::Value(value) => self.value(&value.value),
            Expr::Nested(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner) => self.expression(inner, scope),
            Expr::UnaryOp { op, expr } => {
                self.unary_operator(*op)?;
                self.expression(expr, scope)
            }
            Expr::BinaryOp { left, op, right } => {
                self.binary_operator(op)?;
                self.all([left, right], scope)
            }
            _ => self.comparison(expression, scope),
        }
    }

    /// Comparisons.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest is looked at by the next function; the last one refuses"
    )]
    fn comparison(&mut self, expression: &mut Expr, scope: &Scope) -> Rewritten<()> {
        match expression {
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.all([left, right], scope)
            }
            Expr::InList {
                expr,
                list,
                negated: _,
            } => {
                self.expression(expr, scope)?;
                list.iter_mut()
                    .try_for_each(|item| self.expression(item, scope))
            }
            Expr::Between {
                expr,
                negated: _,
                low,
                high,
            } => self.all([expr, low, high], scope),
            Expr::Like {
                any,
                expr,
                pattern,
                escape_char,
                negated: _,
            }
            | Expr::ILike {
                any,
                expr,
                pattern,
                escape_char,
                negated: _,
            } => {
                if *any {
                    return Err(self.construct("LIKE ANY"));
                }
                self.all([expr, pattern], scope)?;
                self.optional(escape_char.as_mut(), scope)
            }
            Expr::SimilarTo {
                expr,
                pattern,
                escape_char,
                negated: _,
            } => {
                self.all([expr, pattern], scope)?;
                self.optional(escape_char.as_mut(), scope)
            }
            Expr::AnyOp {
                left,
                compare_op,
                right,
                is_some: _,
            }
            | Expr::AllOp {
                left,
                compare_op,
                right,
            } => {
                self.binary_operator(compare_op)?;
                self.all([left, right], scope)
            }
            _ => self.constructor(expression, scope),
        }
    }

    /// Sub-queries, rows, arrays, CASE and casts.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest is looked at by the next function; the last one refuses"
    )]
    fn constructor(&mut self, expression: &mut Expr, scope: &Scope) -> Rewritten<()> {
        match expression {
            Expr::InSubquery {
                expr,
                subquery,
                negated: _,
            } => {
                self.expression(expr, scope)?;
                self.query(subquery, scope)
            }
            Expr::Exists {
                subquery,
                negated: _,
            }
            | Expr::Subquery(subquery) => self.query(subquery, scope),
            Expr::Tuple(items)
            | Expr::Array(Array {
                elem: items,
                named: _,
            }) => items
                .iter_mut()
                .try_for_each(|item| self.expression(item, scope)),
            Expr::Case {
                case_token: _,
                end_token: _,
                operand,
                conditions,
                else_result,
            } => {
                self.optional(operand.as_mut(), scope)?;
                for CaseWhen { condition, result } in conditions {
                    self.expression(condition, scope)?;
                    self.expression(result, scope)?;
                }
                self.optional(else_result.as_mut(), scope)
            }
            Expr::Cast { .. } | Expr::TypedString(_) | Expr::Interval(_) => {
                self.typed(expression, scope)
            }
            _ => self.call(expression, scope),
        }
    }

    /// What is a function call in PostgreSQL's tree, whatever it looks like.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not named here or above is no PostgreSQL and is refused"
    )]
    fn call(&mut self, expression: &mut Expr, scope: &Scope) -> Rewritten<()> {
        match expression {
            Expr::Function(function) => {
                if let Some(named) = self.session_name(function)? {
                    *expression = named;
                    return Ok(());
                }
                self.function(function, scope)
            }
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => self.all([timestamp, time_zone], scope),
            Expr::Extract {
                field: _,
                syntax,
                expr,
            } => match syntax {
                ExtractSyntax::From => self.expression(expr, scope),
                ExtractSyntax::Comma => Err(self.construct("EXTRACT with a comma")),
            },
            Expr::Position { expr, r#in } => self.all([expr, r#in], scope),
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                self.all([expr, overlay_what, overlay_from], scope)?;
                self.optional(overlay_for.as_mut(), scope)
            }
            Expr::Trim {
                trim_where: _,
                trim_what,
                expr,
                trim_characters,
            } => {
                self.expression(expr, scope)?;
                self.optional(trim_what.as_mut(), scope)?;
                let characters = trim_characters.iter_mut().flatten();
                characters
                    .into_iter()
                    .try_for_each(|item| self.expression(item, scope))
            }
            Expr::Substring { .. } | Expr::Ceil { .. } | Expr::Floor { .. } => {
                self.plain_call(expression, scope)
            }
            Expr::Collate { expr, collation } => {
                self.expression(expr, scope)?;
                let (schema, name) = names::relation(collation)?;
                if schema.is_some_and(|schema| schema != "pg_catalog") {
                    return Err(self.construct("a collation outside pg_catalog"));
                }
                *collation = ObjectName::from(vec![sql::ident("pg_catalog"), sql::ident(&name)]);
                Ok(())
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.expression(root, scope)?;
                access_chain
                    .iter_mut()
                    .try_for_each(|access| self.access(access, scope))
            }
            _ => Err(self.construct("this form of expression")),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "made above")]
    fn plain_call(&mut self, expression: &mut Expr, scope: &Scope) -> Rewritten<()> {
        plain_call(expression).ok_or_else(|| self.construct("this form of call"))?;
        match expression {
            Expr::Function(function) => self.function(function, scope),
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                special: _,
                shorthand: _,
            } => {
                self.expression(expr, scope)?;
                self.optional(substring_from.as_mut(), scope)?;
                self.optional(substring_for.as_mut(), scope)
            }
            _ => Err(self.construct("this form of call")),
        }
    }

    fn all<const N: usize>(&mut self, parts: [&mut Box<Expr>; N], scope: &Scope) -> Rewritten<()> {
        parts
            .into_iter()
            .try_for_each(|part| self.expression(part, scope))
    }

    fn optional(&mut self, part: Option<&mut Box<Expr>>, scope: &Scope) -> Rewritten<()> {
        part.map_or(Ok(()), |part| self.expression(part, scope))
    }

    /// Casts and typed literals.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only called for the above")]
    fn typed(&mut self, expression: &mut Expr, scope: &Scope) -> Rewritten<()> {
        match expression {
            Expr::Cast {
                kind,
                expr,
                data_type,
                format,
            } => {
                self.absent(Presence::of(format.as_ref()), "FORMAT in a cast")?;
                match kind {
                    CastKind::Cast | CastKind::DoubleColon => {}
                    CastKind::TryCast | CastKind::SafeCast => {
                        return Err(self.construct("TRY_CAST"));
                    }
                }
                self.expression(expr, scope)?;
                self.data_type(data_type)
            }
            Expr::TypedString(TypedString {
                data_type,
                value,
                uses_odbc_syntax,
            }) => {
                if *uses_odbc_syntax {
                    return Err(self.construct("an ODBC literal"));
                }
                self.value(&value.value)?;
                let mut data_type = data_type.clone();
                self.data_type(&mut data_type)?;
                // PostgreSQL reads `date '..'` as `'..'::date`.
                *expression = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(Expr::Value(value.clone())),
                    data_type,
                    format: None,
                };
                Ok(())
            }
            Expr::Interval(Interval { value, .. }) => self.expression(value, scope),
            _ => Err(self.construct("this form of cast")),
        }
    }

    fn access(&mut self, access: &mut AccessExpr, scope: &Scope) -> Rewritten<()> {
        match access {
            AccessExpr::Dot(Expr::Identifier(field)) => identifier(field).map(|_| ()),
            AccessExpr::Dot(_) => Err(self.construct("this form of field access")),
            AccessExpr::Subscript(Subscript::Index { index }) => self.expression(index, scope),
            AccessExpr::Subscript(Subscript::Slice {
                lower_bound,
                upper_bound,
                stride,
            }) => {
                self.absent(Presence::of(stride.as_ref()), "a stride")?;
                for bound in [lower_bound, upper_bound].into_iter().flatten() {
                    self.expression(bound, scope)?;
                }
                Ok(())
            }
        }
    }

    /// `schema.table.column` becomes `table.column`, since a fence has no schema.
    fn column_reference(&self, parts: &mut Vec<Ident>) -> Rewritten<()> {
        for part in parts.iter() {
            identifier(part)?;
        }
        match parts.as_slice() {
            [_, _] => Ok(()),
            [schema, table, column] => {
                let (schema, name) = (identifier(schema)?, identifier(table)?);
                match self.classified.catalog().resolve(Some(&schema), &name) {
                    Resolved::Relation(_) => {
                        *parts = vec![table.clone(), column.clone()];
                        Ok(())
                    }
                    Resolved::Nothing | Resolved::System(_) => {
                        let message = format!("missing FROM-clause entry for table \"{name}\"");
                        let reason = Reason::AsPostgres {
                            sqlstate: "42P01",
                            message,
                        };
                        let position = self.lexemes.position(table.span.start);
                        Err(Refusal { reason, position })
                    }
                }
            }
            [] | [_] | [_, _, _, _, ..] => Err(self.construct("a name of this length")),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no literal of PostgreSQL's: refused"
    )]
    fn value(&self, value: &Value) -> Rewritten<()> {
        match value {
            Value::Number(_, false)
            | Value::SingleQuotedString(_)
            | Value::DollarQuotedString(_)
            | Value::EscapedStringLiteral(_)
            | Value::SingleQuotedByteStringLiteral(_)
            | Value::HexStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Placeholder(_) => Ok(()),
            _ => Err(self.construct("this form of literal")),
        }
    }

    fn unary_operator(&self, operator: UnaryOperator) -> Rewritten<()> {
        match operator {
            UnaryOperator::Plus
            | UnaryOperator::Minus
            | UnaryOperator::Not
            | UnaryOperator::BitwiseNot
            | UnaryOperator::PGAbs
            | UnaryOperator::PGSquareRoot
            | UnaryOperator::PGCubeRoot
            | UnaryOperator::Hash
            | UnaryOperator::AtDashAt
            | UnaryOperator::DoubleAt
            | UnaryOperator::QuestionDash
            | UnaryOperator::QuestionPipe => Ok(()),
            UnaryOperator::BangNot
            | UnaryOperator::PGPostfixFactorial
            | UnaryOperator::PGPrefixFactorial => Err(self.construct("this operator")),
        }
    }

    /// Operators are names; which of these may be used where, the verifier knows.
    #[expect(clippy::too_many_lines, reason = "a list of names")]
    fn binary_operator(&self, operator: &BinaryOperator) -> Rewritten<()> {
        match operator {
            BinaryOperator::Xor
            | BinaryOperator::Spaceship
            | BinaryOperator::DuckIntegerDivide
            | BinaryOperator::MyIntegerDivide
            | BinaryOperator::Match
            | BinaryOperator::Regexp
            | BinaryOperator::Glob
            | BinaryOperator::Overlaps
            | BinaryOperator::Assignment => Err(self.construct("this operator")),
            BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::StringConcat
            | BinaryOperator::Gt
            | BinaryOperator::Lt
            | BinaryOperator::GtEq
            | BinaryOperator::LtEq
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::And
            | BinaryOperator::Or
            | BinaryOperator::BitwiseOr
            | BinaryOperator::BitwiseAnd
            | BinaryOperator::BitwiseXor
            | BinaryOperator::Custom(_)
            | BinaryOperator::PGBitwiseXor
            | BinaryOperator::PGBitwiseShiftLeft
            | BinaryOperator::PGBitwiseShiftRight
            | BinaryOperator::PGExp
            | BinaryOperator::PGOverlap
            | BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
            | BinaryOperator::PGLikeMatch
            | BinaryOperator::PGILikeMatch
            | BinaryOperator::PGNotLikeMatch
            | BinaryOperator::PGNotILikeMatch
            | BinaryOperator::PGStartsWith
            | BinaryOperator::Arrow
            | BinaryOperator::LongArrow
            | BinaryOperator::HashArrow
            | BinaryOperator::HashLongArrow
            | BinaryOperator::AtAt
            | BinaryOperator::AtArrow
            | BinaryOperator::ArrowAt
            | BinaryOperator::HashMinus
            | BinaryOperator::AtQuestion
            | BinaryOperator::Question
            | BinaryOperator::QuestionAnd
            | BinaryOperator::QuestionPipe
            | BinaryOperator::PGCustomBinaryOperator(_)
            | BinaryOperator::DoubleHash
            | BinaryOperator::LtDashGt
            | BinaryOperator::AndLt
            | BinaryOperator::AndGt
            | BinaryOperator::LtLtPipe
            | BinaryOperator::PipeGtGt
            | BinaryOperator::AndLtPipe
            | BinaryOperator::PipeAndGt
            | BinaryOperator::LtCaret
            | BinaryOperator::GtCaret
            | BinaryOperator::QuestionHash
            | BinaryOperator::QuestionDash
            | BinaryOperator::QuestionDashPipe
            | BinaryOperator::QuestionDoublePipe
            | BinaryOperator::At
            | BinaryOperator::TildeEq => Ok(()),
        }
    }
}

/// `substring(a, 1, 2)`, `substr(..)`, `ceil(x)` and `floor(x)` have forms of their own in the tree; as
/// plain calls their names can be qualified. `substring(a FROM 1 FOR 2)` is left as it is.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "not one of these calls: refused"
)]
fn plain_call(expression: &mut Expr) -> Option<()> {
    let (name, arguments) = match expression {
        Expr::Substring { special: false, .. } => return Some(()),
        Expr::Substring {
            expr,
            substring_from,
            substring_for,
            special: true,
            shorthand,
        } => {
            let name = if *shorthand { "substr" } else { "substring" };
            let arguments = [
                Some(expr.clone()),
                substring_from.clone(),
                substring_for.clone(),
            ];
            (
                name,
                arguments
                    .into_iter()
                    .flatten()
                    .map(|boxed| *boxed)
                    .collect(),
            )
        }
        Expr::Ceil { expr, field } => ("ceil", unscaled(expr, field)?),
        Expr::Floor { expr, field } => ("floor", unscaled(expr, field)?),
        _ => return None,
    };
    let args = arguments
        .into_iter()
        .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
        .collect();
    *expression = Expr::Function(Function {
        name: ObjectName::from(vec![sql::ident(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        within_group: Vec::new(),
        filter: None,
        null_treatment: None,
        over: None,
    });
    Some(())
}

fn unscaled(expr: &Expr, field: &CeilFloorKind) -> Option<Vec<Expr>> {
    let plain = matches!(
        field,
        CeilFloorKind::DateTimeField(sql::ast::DateTimeField::NoDateTime)
    );
    plain.then(|| vec![expr.clone()])
}
