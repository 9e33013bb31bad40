//! Rewrites one statement so that it touches one tenant's rows only.
//!
//! In: a [`ParsedStatement`] and the classified catalog. Out: a [`Template`] with places for the
//! tenant. What is rewritten how: `fence` and `level` (tables in FROM), `update`, `insert` and `owner`
//! (targets), `expression`, `function` and `data_type` (names inside expressions).
//!
//! # Invariants
//! 1. Every struct of the tree is taken apart completely, every variant is named or refused: a new
//!    field or variant of the parser breaks the build or is refused.
//! 2. The result is printed from the tree, never copied from the client's text.
//!
//! # Not here
//! The proof that the result is right: [`crate::verify`], which knows nothing of this module.

mod data_type;
mod expression;
mod fence;
mod function;
mod grouped;
mod insert;
mod level;
mod name;
mod owner;
mod query;
mod remedy;
mod session;
mod update;
mod via;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Relation, RelationName, Resolved};
use crate::isolate::refusal::{BeyondGrant, Reason, Refusal};
use crate::isolate::remedy::Remedy;
use crate::isolate::template::{Reading, Slot, SlotType, Template};
use crate::isolate::via::owner;
use crate::isolate::{Kind, Prepared};
use crate::sql::ast::{BinaryOperator, Expr, Ident, ObjectName, Spanned, Statement};
use crate::sql::{self, Lexemes, ParsedStatement, Token};
use crate::tenant::{Class, Classified, Scoped, TenantColumn, TenantType, Verb};

use name::{Scope, names};
use words::Words;

type Rewritten<T> = Result<T, Refusal>;

/// Rewrites one statement of a message.
pub(super) fn rewrite(
    parsed: ParsedStatement,
    message: &str,
    declared_types: usize,
    classified: &Classified,
    remedies: &BTreeSet<Remedy>,
) -> Rewritten<Prepared> {
    let ParsedStatement { mut tree, lexemes } = parsed;
    let (start, end) = lexemes.range();
    let reprinted = tree.to_string();
    let client_parameters = client_parameters(&lexemes, declared_types)?;
    let mut rewriter = Rewriter {
        classified,
        words: Words::of(&lexemes),
        lexemes: &lexemes,
        client_parameters,
        tenant_parameters: Vec::new(),
        remedies,
        rows: BTreeMap::new(),
    };
    let kind = rewriter.statement(&mut tree)?;
    let tenant_parameters = rewriter.tenant_parameters;
    let template = template(tree.to_string(), client_parameters, tenant_parameters)?;
    Ok(Prepared {
        original: message.get(start..end).unwrap_or_default().to_owned(),
        offset: start,
        reading: Reading::Parsed {
            tokens: lexemes
                .iter()
                .map(|lexeme| (lexeme.start - start, lexeme.end - start))
                .collect(),
            reprinted,
        },
        kind,
        template,
    })
}

/// Bind counts parameters with 16 bits; some are left for the tenant.
const PARAMETERS_MAX: u16 = u16::MAX - 8;

fn client_parameters(lexemes: &Lexemes, declared_types: usize) -> Rewritten<u16> {
    let mut count = u16::try_from(declared_types).unwrap_or(u16::MAX);
    for lexeme in lexemes {
        let Token::Placeholder(text) = &lexeme.token else {
            continue;
        };
        let number = parameter_number(text)
            .filter(|number| (1..=PARAMETERS_MAX).contains(number))
            .ok_or_else(|| Refusal::at(Reason::ParameterNumber, lexeme.start))?;
        count = count.max(number);
    }
    if count > PARAMETERS_MAX {
        Err(Reason::ParameterNumber.into())
    } else {
        Ok(count)
    }
}

/// The number of `$n`, written without leading zeros or a sign.
fn parameter_number(text: &str) -> Option<u16> {
    let digits = text.strip_prefix('$')?;
    let number: u16 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Finds the tenant's parameters in the printed text: the client's text holds none of their numbers.
fn template(
    text: String,
    client_parameters: u16,
    tenant_parameters: Vec<SlotType>,
) -> Rewritten<Template> {
    let lexemes =
        sql::lexemes(&text).map_err(|_unread| Refusal::from(Reason::PrintedDifferently))?;
    let slots = lexemes
        .iter()
        .filter_map(|lexeme| {
            let Token::Placeholder(placeholder) = &lexeme.token else {
                return None;
            };
            let number = parameter_number(placeholder)?;
            let place = number.checked_sub(client_parameters)?.checked_sub(1)?;
            let slot_type = *tenant_parameters.get(usize::from(place))?;
            Some(Slot {
                offset: lexeme.start,
                number,
                slot_type,
            })
        })
        .collect();
    Ok(Template {
        text,
        client_parameters,
        tenant_parameters,
        slots,
    })
}

/// The state of one rewriting.
struct Rewriter<'a> {
    classified: &'a Classified,
    words: Words,
    lexemes: &'a Lexemes,
    client_parameters: u16,
    tenant_parameters: Vec<SlotType>,
    /// What to do about conditions that are not silent.
    remedies: &'a BTreeSet<Remedy>,
    /// The tables in predicate form, by the names that their rows go by.
    rows: BTreeMap<String, &'a Relation>,
}

impl<'a> Rewriter<'a> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every command that is not named above is refused"
    )]
    fn statement(&mut self, statement: &mut Statement) -> Rewritten<Kind> {
        let scope = Scope::default();
        match statement {
            Statement::Query(query) => self.query(query, &scope).map(|()| Kind::Data),
            Statement::Insert(insert) => self.insert(insert, &scope).map(|()| Kind::Data),
            Statement::Update(update) => self.update(update, &scope).map(|()| Kind::Data),
            Statement::Delete(delete) => self.delete(delete, &scope).map(|()| Kind::Data),
            Statement::Set(_) | Statement::Reset(_) => session::variable(statement),
            Statement::Merge(_) => Err(self.construct("MERGE")),
            Statement::Copy { .. } => Err(self.construct("COPY")),
            _ => Err(Reason::CommandNotAllowed {
                command: self.words.command(),
            }
            .into()),
        }
    }

    /// A refusal of a construct, by its name.
    fn construct(&self, construct: &str) -> Refusal {
        Refusal {
            reason: Reason::ConstructNotSupported {
                construct: construct.to_owned(),
            },
            position: self.lexemes.get(0).map(|lexeme| lexeme.start),
        }
    }

    /// A refusal of something in the tree.
    fn refuse_at(&self, node: &impl Spanned, reason: Reason) -> Refusal {
        Refusal {
            reason,
            position: self.lexemes.position(node.span().start),
        }
    }

    /// Refuses a construct unless it is absent.
    fn absent(&self, is_absent: Presence, construct: &str) -> Rewritten<()> {
        match is_absent {
            Presence::Absent => Ok(()),
            Presence::Present => Err(self.construct(construct)),
        }
    }

    /// The relation that a name stands for, where it must be one that tenants may use.
    fn relation(&self, name: &ObjectName) -> Rewritten<(&'a Relation, &'a Class)> {
        let (schema, relation) =
            names::relation(name).map_err(|reason| self.refuse_at(name, reason))?;
        match self
            .classified
            .catalog()
            .resolve(schema.as_deref(), &relation)
        {
            Resolved::Nothing if schema.is_none() && relation == "only" => Err(self.refuse_at(
                name,
                Reason::ConstructNotSupported {
                    construct: "ONLY".to_owned(),
                },
            )),
            Resolved::Nothing => {
                let relation = schema.map_or(relation.clone(), |s| format!("{s}.{relation}"));
                Err(self.refuse_at(name, Reason::RelationDoesNotExist { relation }))
            }
            Resolved::System(relation) => {
                let relation = relation.to_owned();
                Err(self.refuse_at(name, Reason::SystemRelation { relation }))
            }
            Resolved::Relation(relation) => {
                let class = self.classified.class(relation);
                if let Class::Refused(closed) = class {
                    let reason = Reason::RelationNotAllowed {
                        relation: relation.name.to_string(),
                        closed: *closed,
                    };
                    return Err(self.refuse_at(name, reason));
                }
                Ok((relation, class))
            }
        }
    }

    /// Refuses what the grant does not allow.
    fn permitted(&self, name: &ObjectName, relation: &Relation, verb: Verb) -> Rewritten<()> {
        if self.classified.permits(verb) {
            return Ok(());
        }
        let relation = relation.name.to_string();
        Err(self.refuse_at(name, BeyondGrant::Verb { relation, verb }.into()))
    }

    /// The place for the tenant, or for those of the scope: `$n::pg_catalog.type`.
    fn slot(&mut self, tenant_type: TenantType) -> String {
        let slot_type = match self.classified.tenant_column() {
            TenantColumn::Hidden => SlotType::One(tenant_type),
            TenantColumn::Visible => SlotType::Any(tenant_type),
        };
        self.slot_of(slot_type)
    }

    fn slot_of(&mut self, slot_type: SlotType) -> String {
        let known = self
            .tenant_parameters
            .iter()
            .position(|known| *known == slot_type);
        let place = known.unwrap_or_else(|| {
            self.tenant_parameters.push(slot_type);
            self.tenant_parameters.len() - 1
        });
        let number = usize::from(self.client_parameters) + place + 1;
        format!("${number}::pg_catalog.{}", slot_type.name())
    }

    /// `alias.tenant_column OPERATOR(pg_catalog.=) slot`, or `.. ANY (slot)` under a scope.
    fn predicate(&mut self, alias: &str, scoped: &Scoped) -> Rewritten<Expr> {
        self.is_own(&owner(alias, &scoped.ownership), scoped.column_type)
    }

    /// Whether a value is the tenant's, or one of the scope's. Nothing in the database can take the place
    /// of this operator.
    fn is_own(&mut self, value: &str, tenant_type: TenantType) -> Rewritten<Expr> {
        let slot = self.slot(tenant_type);
        let test = sql::expression(&format!("{value} OPERATOR(pg_catalog.=) {slot}"));
        match (composed(test)?, self.classified.tenant_column()) {
            (test, TenantColumn::Hidden) => Ok(test),
            // The parser knows ANY behind the short names of operators only; the printer knows all.
            (
                Expr::BinaryOp {
                    left,
                    op: compare_op @ BinaryOperator::PGCustomBinaryOperator(_),
                    right,
                },
                TenantColumn::Visible,
            ) => Ok(Expr::AnyOp {
                left,
                compare_op,
                right,
                is_some: false,
            }),
            (_, TenantColumn::Visible) => Err(Reason::PrintedDifferently.into()),
        }
    }
}

/// Whether the tree holds something that must not be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    Absent,
    Present,
}

impl Presence {
    fn of<T>(value: Option<&T>) -> Self {
        if value.is_some() {
            Self::Present
        } else {
            Self::Absent
        }
    }

    fn of_all<T>(values: &[T]) -> Self {
        if values.is_empty() {
            Self::Absent
        } else {
            Self::Present
        }
    }
}

/// A relation's name as it is printed.
fn qualified(name: &RelationName) -> ObjectName {
    ObjectName::from(vec![sql::ident(&name.schema), sql::ident(&name.name)])
}

/// A composed text that does not parse is a fault of the rewriter's.
fn composed<T>(result: Result<T, sql::ReadError>) -> Rewritten<T> {
    result.map_err(|_unread| Reason::PrintedDifferently.into())
}

/// The alias that a FROM item without one has.
fn implicit_alias(name: &ObjectName) -> Rewritten<String> {
    names::last(name).map_err(Refusal::from)
}

fn identifier(ident: &Ident) -> Rewritten<String> {
    sql::fold(ident).map_err(|_foreign| {
        Reason::ConstructNotSupported {
            construct: "this way of quoting a name".to_owned(),
        }
        .into()
    })
}
