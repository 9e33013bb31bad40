//! Statements that carry another one, and commands that tenants may use, in lockstep.
//!
//! # Invariants
//! 1. What EXPLAIN shows without leave counts no rows: estimates are off, and nothing is run.
//! 2. TRUNCATE is only ever sent as DELETE with the tenant's predicate.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::execute::does_nothing;
use super::from::{Table, qualified};
use super::proof::{
    Checked, Pair, Proof, absent, both, differs, equal, position, refuse, unsupported,
};
use super::session::{constant, identical, not_allowed};
use crate::catalog::{Relation, RelationKind};
use crate::isolate::refusal::Reason;
use crate::tenant::{Class, Costs, TruncateHazard, Verb, WithChildren};

/// `AccessShareLock` of lockdefs.h.
const ACCESS_SHARE_LOCK: i32 = 1;

/// What EXPLAIN shows only with leave to show estimates: each counts the rows of all tenants, or runs
/// the statement, or tells of the server.
const COSTLY: [&str; 8] = [
    "analyze",
    "buffers",
    "memory",
    "serialize",
    "settings",
    "summary",
    "timing",
    "wal",
];

/// What EXPLAIN may always be asked.
const PLAIN: [&str; 4] = ["costs", "format", "generic_plan", "verbose"];

/// The formats of EXPLAIN.
const FORMATS: [&str; 4] = ["json", "text", "xml", "yaml"];

impl Proof<'_> {
    /// Compares two commands of the same kind, or the one that stands in for another.
    pub(super) fn command(&mut self, original: &NodeEnum, rewritten: &NodeEnum) -> Checked {
        match (original, rewritten) {
            (NodeEnum::ExplainStmt(o), NodeEnum::ExplainStmt(r)) => self.explain(o, r),
            (NodeEnum::DeclareCursorStmt(o), NodeEnum::DeclareCursorStmt(r)) => self.declare(o, r),
            (NodeEnum::FetchStmt(_) | NodeEnum::ClosePortalStmt(_), _) => {
                self.on_cursor()?;
                identical(original, rewritten)
            }
            (NodeEnum::ConstraintsSetStmt(_) | NodeEnum::DiscardStmt(_), _) => {
                identical(original, rewritten)
            }
            (NodeEnum::UnlistenStmt(o), NodeEnum::UnlistenStmt(r)) => {
                // Nobody listens: LISTEN is refused.
                both!(UnlistenStmt, o, r, { conditionname });
                equal(conditionname, "UNLISTEN")
            }
            (NodeEnum::LockStmt(o), NodeEnum::LockStmt(r)) => self.lock(o, r),
            (NodeEnum::ExecuteStmt(o), NodeEnum::ExecuteStmt(r)) => self.execute(o, r),
            (NodeEnum::DeallocateStmt(_) | NodeEnum::PrepareStmt(_), NodeEnum::UnlistenStmt(r)) => {
                does_nothing(r)
            }
            (NodeEnum::TruncateStmt(o), NodeEnum::DeleteStmt(r)) => self.truncate(o, r),
            _ => self.data_statement(original, rewritten).map(|_output| ()),
        }
    }

    fn explain(&mut self, original: &pg::ExplainStmt, rewritten: &pg::ExplainStmt) -> Checked {
        both!(ExplainStmt, original, rewritten, { query, options });
        let costs = self.classified().policy().costs();
        for option in options.0 {
            explained(option, costs)?;
        }
        let kept = match options.1.split_last() {
            _ if costs == Costs::Shown => options.1.as_slice(),
            Some((last, kept)) if is_costs_off(last) => kept,
            Some(_) | None => return Err(differs("EXPLAIN without COSTS OFF")),
        };
        if !super::bare::same_list(options.0, kept)? {
            return Err(differs("the options of EXPLAIN"));
        }
        let (original, rewritten) = nodes(query)?;
        match (original, rewritten) {
            (NodeEnum::DeclareCursorStmt(o), NodeEnum::DeclareCursorStmt(r)) => self.declare(o, r),
            (NodeEnum::ExecuteStmt(o), NodeEnum::ExecuteStmt(r)) => self.execute(o, r),
            (NodeEnum::CreateTableAsStmt(_) | NodeEnum::RefreshMatViewStmt(_), _) => {
                Err(not_allowed("EXPLAIN of a statement that makes a table"))
            }
            _ => self.data_statement(original, rewritten).map(|_output| ()),
        }
    }

    fn declare(
        &mut self,
        original: &pg::DeclareCursorStmt,
        rewritten: &pg::DeclareCursorStmt,
    ) -> Checked {
        both!(DeclareCursorStmt, original, rewritten, { portalname, options, query });
        self.on_cursor()?;
        equal(portalname, "a cursor's name")?;
        equal(options, "the options of DECLARE")?;
        let (NodeEnum::SelectStmt(o), NodeEnum::SelectStmt(r)) = nodes(query)? else {
            return Err(differs("a cursor's query"));
        };
        self.select(o, r, None).map(|_output| ())
    }

    /// Under a grant there are no cursors: a row would be fetched under another grant than the one that
    /// its cursor was declared under.
    pub(super) fn on_cursor(&self) -> Checked {
        match self.classified().scope() {
            Some(_) => Err(unsupported("a cursor in SQL under a grant")),
            None => Ok(()),
        }
    }

    /// Whether a condition is WHERE CURRENT OF. It needs no tenant's predicate: the row is one that a
    /// cursor of this session stands on, in a scan of this very table, and the cursor's own query was
    /// proved, so that each of its scans gives the tenant's rows only. A server connection comes without
    /// cursors of others, and PostgreSQL refuses cursors in which the row is not a scan's own (24000).
    pub(super) fn current_of(&self, pair: Pair<'_, Option<Box<Node>>>) -> Checked<bool> {
        let row = |node: &Option<Box<Node>>| match node.as_ref().map(|node| &node.node) {
            Some(Some(NodeEnum::CurrentOfExpr(row))) => Some(row.clone()),
            Some(_) | None => None,
        };
        let (Some(original), sent) = (row(pair.0), row(pair.1)) else {
            return Ok(false);
        };
        self.on_cursor()?;
        let sent = sent.ok_or_else(|| differs("WHERE CURRENT OF"))?;
        both!(CurrentOfExpr, &original, &sent, { xpr, cvarno, cursor_name, cursor_param });
        absent(xpr, "WHERE CURRENT OF")?;
        equal(cvarno, "WHERE CURRENT OF")?;
        equal(cursor_name, "a cursor's name")?;
        equal(cursor_param, "WHERE CURRENT OF")?;
        if *cursor_param.0 == 0 {
            Ok(true)
        } else {
            Err(unsupported("WHERE CURRENT OF a parameter"))
        }
    }

    fn lock(&mut self, original: &pg::LockStmt, rewritten: &pg::LockStmt) -> Checked {
        both!(LockStmt, original, rewritten, { relations, mode, nowait });
        equal(mode, "LOCK TABLE")?;
        equal(nowait, "NOWAIT")?;
        if *mode.0 != ACCESS_SHARE_LOCK {
            return Err(not_allowed("LOCK TABLE in a mode other than ACCESS SHARE"));
        }
        if relations.0.len() != relations.1.len() {
            return Err(differs("LOCK TABLE"));
        }
        for (original, rewritten) in relations.0.iter().zip(relations.1) {
            let (original, rewritten) = (table(original)?, table(rewritten)?);
            let Table { relation, class: _ } = self.table(original)?;
            let at = position((&original.location, &original.location));
            self.permitted(relation, Verb::Select, at)?;
            qualified(original, rewritten, relation)?;
        }
        Ok(())
    }

    /// TRUNCATE as one DELETE, with one more in a WITH query for each further table.
    fn truncate(&mut self, original: &pg::TruncateStmt, rewritten: &pg::DeleteStmt) -> Checked {
        let pg::TruncateStmt {
            relations,
            restart_seqs,
            behavior,
        } = original;
        if self.classified().scope().is_some() {
            return Err(unsupported("TRUNCATE under a grant"));
        }
        if *restart_seqs {
            return Err(unsupported("TRUNCATE .. RESTART IDENTITY"));
        }
        if *behavior != i32::from(pg::DropBehavior::DropRestrict) {
            return Err(unsupported("TRUNCATE .. CASCADE"));
        }
        let mut targets: Vec<(&pg::RangeVar, &Relation)> = Vec::new();
        for node in relations {
            let named = table(node)?;
            let at = position((&named.location, &named.location));
            let Table { relation, class } = self.table(named)?;
            match targets
                .iter()
                .find(|(_, known)| known.name == relation.name)
            {
                None => targets.push((named, relation)),
                Some((other, _)) if other.inh == named.inh => {}
                Some(_) => {
                    return Err(unsupported("TRUNCATE of a table with ONLY and without"));
                }
            }
            emptied(named, relation, class).map_err(|reason| refuse(reason, at))?;
        }
        self.keeps_to_itself(&targets)?;
        let mut main = rewritten.clone();
        let mut deletes = emptying(main.with_clause.take())?;
        deletes.push(main);
        if deletes.len() != targets.len() {
            return Err(differs("the tables of TRUNCATE"));
        }
        for ((named, _), delete) in targets.iter().zip(&deletes) {
            // As if the client had written DELETE.
            let written = pg::DeleteStmt {
                relation: Some((*named).clone()),
                using_clause: Vec::new(),
                where_clause: None,
                returning_clause: None,
                with_clause: None,
            };
            self.delete(&written, delete)?;
        }
        Ok(())
    }

    /// Refuses tables of which more would be emptied, or where more would run, than at a TRUNCATE.
    fn keeps_to_itself(&self, targets: &[(&pg::RangeVar, &Relation)]) -> Checked {
        let tables: Vec<(&Relation, WithChildren)> = targets
            .iter()
            .map(|(named, relation)| {
                let children = if named.inh {
                    WithChildren::Yes
                } else {
                    WithChildren::No
                };
                (*relation, children)
            })
            .collect();
        match self.classified().truncate_hazard(&tables) {
            None => Ok(()),
            Some(TruncateHazard::Referenced) => Err(Reason::AsPostgres {
                sqlstate: "0A000",
                message: "cannot truncate a table referenced in a foreign key constraint"
                    .to_owned(),
            }
            .into()),
            Some(TruncateHazard::Unseen(_)) => Err(unsupported(
                "TRUNCATE of a table with rules or with triggers on DELETE or TRUNCATE",
            )),
        }
    }
}

/// Whether a table may be emptied at all.
fn emptied(named: &pg::RangeVar, relation: &Relation, class: &Class) -> Result<(), Reason> {
    let (sqlstate, message) = match class {
        Class::Scoped(_) if named.inh || relation.kind != RelationKind::PartitionedTable => {
            return Ok(());
        }
        Class::Scoped(_) => (
            "42809",
            "cannot truncate only a partitioned table".to_owned(),
        ),
        Class::Shared { .. } | Class::Refused(_) => (
            "42501",
            format!("permission denied for table {}", relation.name.name),
        ),
    };
    Err(Reason::AsPostgres { sqlstate, message })
}

/// The DELETE statements in front of the last one.
fn emptying(with: Option<pg::WithClause>) -> Checked<Vec<pg::DeleteStmt>> {
    let Some(with) = with else {
        return Ok(Vec::new());
    };
    let pg::WithClause {
        ctes,
        recursive,
        location: _,
    } = with;
    if recursive {
        return Err(differs("WITH RECURSIVE"));
    }
    let mut deletes = Vec::new();
    for (index, node) in ctes.into_iter().enumerate() {
        let Some(NodeEnum::CommonTableExpr(cte)) = node.node else {
            return Err(differs("the tables of TRUNCATE"));
        };
        let pg::CommonTableExpr {
            ctename,
            aliascolnames,
            ctematerialized: _,
            ctequery,
            search_clause: None,
            cycle_clause: None,
            location: _,
            cterecursive: _,
            cterefcount: _,
            ctecolnames: _,
            ctecoltypes: _,
            ctecoltypmods: _,
            ctecolcollations: _,
        } = *cte
        else {
            return Err(differs("the tables of TRUNCATE"));
        };
        let query = ctequery.and_then(|query| query.node);
        match query {
            Some(NodeEnum::DeleteStmt(delete))
                if aliascolnames.is_empty() && ctename == format!("truncated_{}", index + 1) =>
            {
                deletes.push(*delete);
            }
            Some(_) | None => return Err(differs("the tables of TRUNCATE")),
        }
    }
    Ok(deletes)
}

/// Refuses an option of EXPLAIN that is not known, or needs leave.
fn explained(option: &Node, costs: Costs) -> Checked {
    let Some(NodeEnum::DefElem(option)) = &option.node else {
        return Err(unsupported("this option of EXPLAIN"));
    };
    let name = option.defname.as_str();
    let value = option.arg.as_deref().map(word);
    let is_off = matches!(value.as_ref(), Some(Some(value))
        if matches!(value.as_str(), "0" | "false" | "off" | "none"));
    if name == "format" {
        return match value {
            Some(Some(value)) if FORMATS.contains(&value.as_str()) => Ok(()),
            Some(_) | None => Err(unsupported("this format of EXPLAIN")),
        };
    }
    let is_plain = matches!(value, None | Some(Some(_)));
    let is_open =
        PLAIN.contains(&name) || (COSTLY.contains(&name) && (costs == Costs::Shown || is_off));
    if is_open && is_plain {
        Ok(())
    } else {
        let option = name.to_ascii_uppercase();
        Err(unsupported(&format!("EXPLAIN ({option})")))
    }
}

/// The value of an option, in lower case.
#[expect(clippy::wildcard_enum_match_arm, reason = "no value of an option")]
fn word(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::String(text) => Some(text.sval.to_ascii_lowercase()),
        NodeEnum::Integer(number) => Some(number.ival.to_string()),
        NodeEnum::Boolean(value) => Some(value.boolval.to_string()),
        NodeEnum::AConst(_) => constant(node),
        _ => None,
    }
}

fn is_costs_off(option: &Node) -> bool {
    let Some(NodeEnum::DefElem(option)) = &option.node else {
        return false;
    };
    let value = option.arg.as_deref().and_then(word);
    option.defname == "costs" && option.defnamespace.is_empty() && value.as_deref() == Some("off")
}

fn nodes(pair: Pair<'_, Option<Box<Node>>>) -> Checked<(&NodeEnum, &NodeEnum)> {
    let one = pair.0.as_ref().and_then(|node| node.node.as_ref());
    let other = pair.1.as_ref().and_then(|node| node.node.as_ref());
    one.zip(other).ok_or_else(|| differs("a carried statement"))
}

fn table(node: &Node) -> Checked<&pg::RangeVar> {
    match &node.node {
        Some(NodeEnum::RangeVar(table)) => Ok(table),
        Some(_) | None => Err(differs("a table")),
    }
}
