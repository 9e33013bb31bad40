//! The second way to rewrite a statement: on PostgreSQL's own tree, by edits of the client's words.
//!
//! In: a statement that the parser of [`crate::sql`] cannot read, or prints otherwise than it was
//! written. Out: a [`Template`], and the edits that it was made by.
//!
//! The tree tells by its positions which words are names of relations, functions and types; a table
//! gets a fence, a target a guard, and every other word of the client's stays as it is. Comments
//! vanish. What is put in is spelled as the first way spells it, which is what the verifier accepts.
//!
//! # Invariants
//! 1. The text to be sent is the client's words with edits, nothing else; the verifier counts them.
//! 2. This module imports nothing of [`crate::verify`], which imports nothing of it, though both
//!    name PostgreSQL's parser.
//!
//! # Not here
//! The predicate form of a table ([`super::rewrite`] knows when it is right): here every table that is
//! read gets a fence, but for some of a view's definition (`grouped`). SHOW.

mod change;
mod children;
mod command;
mod copy;
mod edits;
mod from;
mod grouped;
mod name;
mod prepare;
mod query;
mod row_type;
mod setting;
mod via;
mod view;
mod words;
mod written;

use std::collections::BTreeSet;
use std::ops::Range;

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{Node, NodeEnum};

use crate::isolate::kind::Kind;
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::remedy::{Mention, Remedy};
use crate::isolate::template::{Edit, Slot, SlotType, Template};
use crate::isolate::via::owner;
use crate::sql;
use crate::tenant::{Classified, Costs, Scoped, TenantColumn, TenantType};
use children::Children;
use edits::Edits;
use view::Views;
use words::Words;
use written::Renames;

type Rewritten<T> = Result<T, Refusal>;

/// What one level of nesting takes, over decoding, walking and dropping the tree, at most.
const STACK_PER_LEVEL: usize = 96 * 1024;

/// What is taken whatever the statement.
const STACK_BASE: usize = 1024 * 1024;

/// Bind counts parameters with 16 bits; some are left for the tenant.
const PARAMETERS_MAX: u16 = u16::MAX - 8;

/// The byte ranges of a message's statements, empty ones left out.
pub(super) fn statements(message: &str) -> Rewritten<Vec<Range<usize>>> {
    let words = Words::of(message)?;
    if words.len() > sql::WORDS_MAX {
        return Err(too_large("words", sql::WORDS_MAX));
    }
    let statements = words.statements();
    if statements.len() > sql::STATEMENTS_MAX {
        return Err(too_large("statements", sql::STATEMENTS_MAX));
    }
    Ok(statements)
}

fn too_large(what: &'static str, limit: usize) -> Refusal {
    Reason::TooLarge { what, limit }.into()
}

/// The words and the bytes of the query in `COPY (query) TO ..`.
pub(super) fn query_of_copy(statement: &str) -> Option<(Range<usize>, Range<usize>)> {
    copy::query_of_copy(statement)
}

/// A statement with another one, rewritten, in place of some of its words.
pub(super) fn enclose(
    statement: &str,
    place: Range<usize>,
    inner: &Template,
) -> Rewritten<(Template, Vec<Edit>)> {
    copy::enclose(statement, place, inner)
}

/// What stands before the statement that another one carries.
#[derive(Debug)]
pub(super) struct Carrier {
    /// How many words it has.
    pub(super) words: usize,
    /// Where the carried statement begins, in bytes.
    pub(super) bytes: usize,
    /// The words as they are written.
    pub(super) written: String,
    /// What is sent.
    pub(super) sent: String,
    /// What the session has to know of the whole.
    pub(super) kind: Kind,
}

/// How a statement is to be read.
#[derive(Debug)]
pub(super) enum Route {
    /// It carries another one.
    Carrier(Carrier),
    /// It is a command, which only PostgreSQL's own tree tells all about.
    Command,
    /// In either way.
    Data,
}

/// How a statement is to be read. `costs` says whether EXPLAIN may show estimates.
pub(super) fn route(statement: &str, costs: Costs) -> Rewritten<Route> {
    command::route(statement, costs)
}

/// Rewrites one statement.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parameters of all other statements are counted"
)]
pub(super) fn rewrite(
    statement: &str,
    declared_types: usize,
    classified: &Classified,
    remedies: &BTreeSet<Remedy>,
) -> Rewritten<(Template, Vec<Edit>, Kind)> {
    let words = Words::of(statement)?;
    let stack = STACK_BASE + words.nesting()? * STACK_PER_LEVEL;
    stacker::maybe_grow(stack, stack, || {
        let tree = parse(statement)?;
        let client_parameters = match &tree {
            // Its parameters are those of the statement that it names.
            NodeEnum::PrepareStmt(_) => client_parameters_declared(declared_types)?,
            _ => client_parameters(&words, declared_types)?,
        };
        let mut rewriter = Rewriter {
            classified,
            words: &words,
            edits: Edits::default(),
            client_parameters,
            tenant_parameters: Vec::new(),
            ctes: Vec::new(),
            remedies,
            on_cursor: false,
            views: Views::default(),
            within: None,
            plain: Vec::new(),
            renames: None,
        };
        let kind = rewriter.command(&tree)?;
        let tenant_parameters = rewriter.tenant_parameters;
        let edits = rewriter.edits.finish()?;
        let text = edits::splice(&words, &edits, 0..words.len())?;
        let slots = slots(&text, client_parameters, &tenant_parameters)?;
        let template = Template {
            text,
            client_parameters,
            tenant_parameters,
            slots,
        };
        Ok((template, edits, kind))
    })
}

/// Refuses a statement that holds a kind of node that is not known, before any name is looked at.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest stands inside of statements; there it is known, or refused"
)]
fn known(node: &NodeEnum) -> Rewritten<()> {
    match node {
        NodeEnum::SelectStmt(select) => known_select(select),
        NodeEnum::InsertStmt(insert) => {
            known_with(insert.with_clause.as_ref())?;
            known_one(insert.select_stmt.as_deref())?;
            Children(&mut |child| known_one(Some(child))).insert(insert)
        }
        NodeEnum::UpdateStmt(update) => {
            known_with(update.with_clause.as_ref())?;
            Children(&mut |child| known_one(Some(child))).update(update)
        }
        NodeEnum::DeleteStmt(delete) => {
            known_with(delete.with_clause.as_ref())?;
            Children(&mut |child| known_one(Some(child))).delete(delete)
        }
        NodeEnum::MergeStmt(merge) => {
            known_with(merge.with_clause.as_ref())?;
            Children(&mut |child| known_one(Some(child))).merge(merge)
        }
        NodeEnum::CopyStmt(copy) => {
            known_one(copy.query.as_deref())?;
            known_one(copy.where_clause.as_deref())
        }
        NodeEnum::CommonTableExpr(cte) => {
            if let Some(cycle) = &cte.cycle_clause {
                known_one(cycle.cycle_mark_value.as_deref())?;
                known_one(cycle.cycle_mark_default.as_deref())?;
            }
            known_one(cte.ctequery.as_deref())
        }
        NodeEnum::RangeTableSample(sample) => {
            sample
                .args
                .iter()
                .try_for_each(|arg| known_one(Some(arg)))?;
            known_one(sample.repeatable.as_deref())
        }
        NodeEnum::ColumnDef(_) | NodeEnum::ColumnRef(_) | NodeEnum::RangeVar(_) => Ok(()),
        other => Children(&mut |child| known_one(Some(child))).of(other),
    }
}

fn known_one(node: Option<&Node>) -> Rewritten<()> {
    let kind = node.and_then(|node| node.node.as_ref());
    kind.map_or(Ok(()), known)
}

fn known_with(with: Option<&pg::WithClause>) -> Rewritten<()> {
    let ctes = with.map(|with| with.ctes.as_slice()).unwrap_or_default();
    ctes.iter().try_for_each(|cte| known_one(Some(cte)))
}

fn known_select(select: &pg::SelectStmt) -> Rewritten<()> {
    known_with(select.with_clause.as_ref())?;
    for branch in [&select.larg, &select.rarg].into_iter().flatten() {
        known_select(branch)?;
    }
    Children(&mut |child| known_one(Some(child))).select(select)
}

fn parse(statement: &str) -> Rewritten<NodeEnum> {
    let tree = pg_query::parse(statement, pg_query::ParserOptions::DEFAULT).map_err(syntax)?;
    let mut statements = tree.protobuf.stmts.into_iter();
    let (Some(one), None) = (statements.next(), statements.next()) else {
        return Err(lost("one statement"));
    };
    let node = one.stmt.and_then(|node| node.node);
    node.ok_or_else(|| lost("a statement"))
}

/// PostgreSQL's own message, without the library's prefix.
fn syntax(error: pg_query::Error) -> Refusal {
    match error {
        // check_stack_depth(): ERRCODE_STATEMENT_TOO_COMPLEX.
        pg_query::Error::Parse(message) if message == "stack depth limit exceeded" => {
            too_large("nesting", words::NESTING_MAX)
        }
        pg_query::Error::Parse(message) | pg_query::Error::Scan(message) => {
            Reason::Syntax { message }.into()
        }
        pg_query::Error::Conversion(_) => Reason::WrongEncoding.into(),
        pg_query::Error::Decode(_)
        | pg_query::Error::InvalidJson(_)
        | pg_query::Error::InvalidPointer
        | pg_query::Error::IsUtility(_)
        | pg_query::Error::Split(_) => lost("the tree"),
    }
}

/// A fault of this module's: what should be there was not found.
fn lost(what: &str) -> Refusal {
    Reason::Unproved {
        what: what.to_owned(),
    }
    .into()
}

fn client_parameters_declared(declared_types: usize) -> Rewritten<u16> {
    u16::try_from(declared_types).map_err(|_error| Reason::ParameterNumber.into())
}

fn client_parameters(words: &Words<'_>, declared_types: usize) -> Rewritten<u16> {
    let mut count = u16::try_from(declared_types).unwrap_or(u16::MAX);
    for (index, word) in words.iter().enumerate() {
        if word.kind == Token::Param {
            let number = parameter_number(words.written(index))
                .filter(|number| (1..=PARAMETERS_MAX).contains(number))
                .ok_or_else(|| Refusal::at(Reason::ParameterNumber, word.bytes.start))?;
            count = count.max(number);
        }
    }
    if count > PARAMETERS_MAX {
        Err(Reason::ParameterNumber.into())
    } else {
        Ok(count)
    }
}

fn parameter_number(text: &str) -> Option<u16> {
    text.strip_prefix('$')?.parse().ok()
}

/// Finds the tenant's parameters in the text: the client's words hold none of their numbers.
fn slots(text: &str, client_parameters: u16, types: &[SlotType]) -> Rewritten<Vec<Slot>> {
    let words = Words::of(text)?;
    let slot = |(index, word): (usize, &words::Word)| {
        let number = parameter_number(words.written(index))?;
        let place = number.checked_sub(client_parameters)?.checked_sub(1)?;
        let slot_type = *types.get(usize::from(place))?;
        Some(Slot {
            offset: word.bytes.start,
            number,
            slot_type,
        })
    };
    let parameters = words.iter().enumerate();
    Ok(parameters
        .filter(|(_, word)| word.kind == Token::Param)
        .filter_map(slot)
        .collect())
}

/// A common table expression that can be seen, and how many columns it has where that is known.
#[derive(Debug)]
struct Cte {
    name: String,
    width: Option<usize>,
}

/// The state of one rewriting.
struct Rewriter<'a> {
    classified: &'a Classified,
    words: &'a Words<'a>,
    edits: Edits,
    client_parameters: u16,
    tenant_parameters: Vec<SlotType>,
    /// The common table expressions that can be seen; a later one hides an earlier one.
    ctes: Vec<Cte>,
    /// What to do about conditions that are not silent; here, which columns are masked.
    remedies: &'a BTreeSet<Remedy>,
    /// Whether the row that a cursor stands on is changed.
    on_cursor: bool,
    views: Views,
    /// Where the view is named in whose definition this is.
    within: Option<Mention>,
    /// Where the names of the tables stand that get no fence.
    plain: Vec<i32>,
    /// What the columns of the view are called in its table, where one is written.
    renames: Option<Renames>,
}

impl Rewriter<'_> {
    /// A statement about data.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a statement that is not about data is refused"
    )]
    fn statement(&mut self, statement: &NodeEnum) -> Rewritten<()> {
        let visible = self.ctes.len();
        match statement {
            NodeEnum::SelectStmt(select) => self.select(select)?,
            NodeEnum::InsertStmt(insert) => self.insert(insert)?,
            NodeEnum::UpdateStmt(update) => self.update(update)?,
            NodeEnum::DeleteStmt(delete) => self.delete(delete)?,
            NodeEnum::MergeStmt(merge) => self.merge(merge)?,
            NodeEnum::CopyStmt(copy) => self.copy(copy)?,
            _ => return Err(lost("a statement about data")),
        }
        self.ctes.truncate(visible);
        Ok(())
    }

    /// An expression, an item of FROM, or a list of such.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest has no names to rewrite, but what is inside may"
    )]
    fn node(&mut self, node: &Node) -> Rewritten<()> {
        let Some(kind) = &node.node else {
            return Ok(());
        };
        match kind {
            NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_) => return self.statement(kind),
            NodeEnum::RangeVar(table) => return self.table(table, None),
            NodeEnum::RangeTableSample(sample) => return self.sampled(sample),
            NodeEnum::ColumnRef(column) => return self.column_reference(column),
            NodeEnum::ColumnDef(column) => {
                let name = column.type_name.as_ref();
                return name.map_or(Ok(()), |name| self.type_name(name));
            }
            NodeEnum::ResTarget(target) if self.expanded_row_type(target)? => return Ok(()),
            NodeEnum::RangeFunction(function) => {
                if self.rows_in_from(function)? {
                    return Ok(());
                }
                self.asks_in_from(function)?;
            }
            NodeEnum::SqlvalueFunction(function) => return self.asks_by_keyword(function.location),
            NodeEnum::FuncCall(call) => {
                if self.asks_by_call(call)? {
                    return Ok(());
                }
                self.function_name(call)?;
                if self.sequence_name(call)? {
                    return Ok(());
                }
            }
            NodeEnum::TypeCast(cast) => {
                let name = cast.type_name.as_ref();
                name.map_or(Ok(()), |name| self.type_name(name))?;
            }
            NodeEnum::XmlSerialize(xml) => {
                let name = xml.type_name.as_ref();
                name.map_or(Ok(()), |name| self.type_name(name))?;
            }
            NodeEnum::CollateClause(collate) => self.collation(collate)?,
            _ => {}
        }
        Children(&mut |child| self.node(child)).of(kind)
    }

    fn nodes(&mut self, nodes: &[Node]) -> Rewritten<()> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn optional(&mut self, node: Option<&Node>) -> Rewritten<()> {
        node.map_or(Ok(()), |node| self.node(node))
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

    /// `alias.tenant_column OPERATOR(pg_catalog.=) slot`, the owner of the row referred to in place of the column, or `.. ANY (slot)` under a scope.
    fn predicate(&mut self, alias: &str, scoped: &Scoped) -> String {
        self.is_own(&owner(alias, &scoped.ownership), scoped)
    }

    /// Whether a value is the tenant's, or one of the scope's.
    fn is_own(&mut self, value: &str, scoped: &Scoped) -> String {
        let slot = self.slot(scoped.column_type);
        let own = match self.classified.tenant_column() {
            TenantColumn::Hidden => slot,
            TenantColumn::Visible => format!("ANY ({slot})"),
        };
        format!("{value} OPERATOR(pg_catalog.=) {own}")
    }
}

fn unsupported(construct: &str) -> Refusal {
    Reason::ConstructNotSupported {
        construct: construct.to_owned(),
    }
    .into()
}
