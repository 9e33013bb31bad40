//! INSERT, UPDATE, DELETE and MERGE: the target keeps its place and is guarded, or gets the tenant's
//! value.

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{Node, NodeEnum};

use super::children::Children;
use super::name::{as_postgres, parts};
use super::written::Written;
use super::{Rewriter, Rewritten, lost, unsupported};
use crate::catalog::Relation;
use crate::sql;
use crate::tenant::{Class, Scoped, TenantColumn};

/// The table that a statement writes.
pub(super) struct Target<'a> {
    pub(super) relation: &'a Relation,
    /// How it belongs to tenants, if it does.
    pub(super) scoped: Option<&'a Scoped>,
    pub(super) alias: String,
    /// Behind its name and alias.
    pub(super) behind: usize,
    /// The view that the statement names in its place.
    pub(super) view: Option<Written<'a>>,
}

impl<'a> Rewriter<'a> {
    /// `UPDATE target SET .. FROM .. WHERE (condition) AND guard RETURNING ..`
    pub(super) fn update(&mut self, update: &pg::UpdateStmt) -> Rewritten<()> {
        self.with(update.with_clause.as_ref())?;
        let target = self.target(update.relation.as_ref(), "update")?;
        self.rename(&target, &update.target_list)?;
        Children(&mut |child| self.node(child)).update(update)?;
        self.check_assigned(&update.target_list, &target)?;
        self.guard_row(&target, update.where_clause.as_deref());
        self.returning(
            update.returning_clause.as_ref(),
            &target,
            &update.from_clause,
        )?;
        self.renames = None;
        Ok(())
    }

    /// `DELETE FROM target USING .. WHERE (condition) AND guard RETURNING ..`
    pub(super) fn delete(&mut self, delete: &pg::DeleteStmt) -> Rewritten<()> {
        self.with(delete.with_clause.as_ref())?;
        let target = self.target(delete.relation.as_ref(), "delete from")?;
        self.rename(&target, &[])?;
        Children(&mut |child| self.node(child)).delete(delete)?;
        self.guard_row(&target, delete.where_clause.as_deref());
        self.returning(
            delete.returning_clause.as_ref(),
            &target,
            &delete.using_clause,
        )?;
        self.renames = None;
        Ok(())
    }

    /// `INSERT INTO target (columns, tenant_column) ..`, with the tenant's value in every row.
    pub(super) fn insert(&mut self, insert: &pg::InsertStmt) -> Rewritten<()> {
        self.with(insert.with_clause.as_ref())?;
        self.only_added_owner()?;
        let target = self.target(insert.relation.as_ref(), "insert into")?;
        let source = match insert.select_stmt.as_ref().map(|source| &source.node) {
            Some(Some(NodeEnum::SelectStmt(select))) => Some(&**select),
            Some(_) => return Err(lost("the source of an INSERT")),
            None => None,
        };
        if let Some(source) = source {
            self.select(source)?;
        }
        self.rename(&target, &insert.cols)?;
        Children(&mut |child| self.node(child)).insert(insert)?;
        let width = source.map_or(Some(0), |source| self.width(source));
        let behind = self.insert_columns(&insert.cols, &target, target.behind, width)?;
        match (source, target.scoped.map(|scoped| (scoped, scoped.via()))) {
            (Some(_), Some((_, Some(via)))) => {
                self.check_references(&insert.cols, behind, (&target, via))?;
            }
            (Some(_), Some((scoped, None))) => self.add_values(behind, scoped)?,
            (None, Some((scoped, None))) => self.default_values(behind, scoped),
            (None, Some((_, Some(_)))) | (_, None) => {}
        }
        if let Some(conflict) = &insert.on_conflict_clause {
            self.on_conflict(conflict, &target)?;
        }
        self.returning(insert.returning_clause.as_ref(), &target, &[])?;
        self.renames = None;
        Ok(())
    }

    /// `MERGE INTO target USING .. ON (condition) AND guard WHEN ..`
    pub(super) fn merge(&mut self, merge: &pg::MergeStmt) -> Rewritten<()> {
        self.with(merge.with_clause.as_ref())?;
        self.only_added_owner()?;
        let target = self.target(merge.relation.as_ref(), "merge into")?;
        if target.view.is_some() {
            return Err(unsupported("MERGE into a view"));
        }
        Children(&mut |child| self.node(child)).merge(merge)?;
        let mut when = self.words.next_of(target.behind, &[Token::When]);
        // A join as the source has an ON of its own.
        let mut on = self.words.next_of(target.behind, &[Token::On]);
        let mut next = on;
        while next < when {
            on = next;
            next = self.words.next_of(on + 1, &[Token::On]);
        }
        self.guard_between(&target, on, when);
        for clause in &merge.merge_when_clauses {
            let Some(NodeEnum::MergeWhenClause(clause)) = &clause.node else {
                return Err(lost("WHEN"));
            };
            self.merge_when(clause, &target, when)?;
            let then = self.words.next_of(when, &[Token::Then]);
            when = self.words.next_of(then, &[Token::When, Token::Returning]);
        }
        if merge.returning_clause.is_some() {
            return Err(unsupported("MERGE .. RETURNING"));
        }
        Ok(())
    }

    fn merge_when(
        &mut self,
        clause: &pg::MergeWhenClause,
        target: &Target<'a>,
        when: usize,
    ) -> Rewritten<()> {
        let then = self.words.next_of(when, &[Token::Then]);
        let without_source = pg::MergeMatchKind::MergeWhenNotMatchedBySource;
        if clause.match_kind == i32::from(without_source) {
            // WHEN NOT MATCHED BY SOURCE AND condition
            if clause.condition.is_some() {
                self.guard_first(target, when + 5, then);
            } else if let Some(scoped) = target.scoped {
                let guard = self.predicate(&target.alias, scoped);
                self.edits.insert(then, format!("AND {guard}"));
            }
        }
        if self.words.is(then + 1, Token::Update) {
            self.check_assigned(&clause.target_list, target)?;
        }
        let (Some(scoped), true) = (target.scoped, self.words.is(then + 1, Token::Insert)) else {
            return Ok(());
        };
        let width = Some(clause.values.len());
        let columns = &clause.target_list;
        let behind = self.insert_columns(columns, target, then + 2, width)?;
        if let Some(via) = scoped.via() {
            return self.check_references(columns, behind, (target, via));
        }
        if self.words.is(behind, Token::Default) {
            self.default_values(behind, scoped);
            return Ok(());
        }
        let values = self.words.next_of(behind, &[Token::Values]);
        self.add_to_rows(values, scoped).map(|_behind| ())
    }

    /// Under a scope a new row says itself whose it is, which the first way checks in its place.
    fn only_added_owner(&self) -> Rewritten<()> {
        match self.classified.tenant_column() {
            TenantColumn::Hidden => Ok(()),
            TenantColumn::Visible => Err(unsupported("this way of adding rows under a grant")),
        }
    }

    fn target(&mut self, table: Option<&pg::RangeVar>, command: &str) -> Rewritten<Target<'a>> {
        let table = table.ok_or_else(|| lost("a target"))?;
        if let Some(view) = self.view(table) {
            return self.view_target(table, view, command);
        }
        let (relation, class) = self.relation(table)?;
        let behind = self.name_target(table, &relation.name)?;
        let alias = table.alias.as_ref().map(|alias| alias.aliasname.clone());
        Ok(Target {
            relation,
            scoped: match class {
                Class::Scoped(scoped) => Some(scoped),
                Class::Shared { .. } | Class::Refused(_) => None,
            },
            alias: alias.unwrap_or_else(|| table.relname.clone()),
            behind,
            view: None,
        })
    }

    /// Guards the target of an UPDATE or DELETE. WHERE CURRENT OF can hold nothing else, and needs
    /// nothing: the cursor reads the tenant's rows.
    fn guard_row(&mut self, target: &Target<'a>, condition: Option<&Node>) {
        if let Some(NodeEnum::CurrentOfExpr(_)) = condition.and_then(|node| node.node.as_ref()) {
            self.on_cursor = true;
        } else {
            let conditions = target.view.iter().flat_map(|view| &view.conditions);
            self.guard(target, target.behind, conditions.cloned().collect());
        }
    }

    /// Guards the WHERE that follows, or makes one; with further conditions.
    fn guard(&mut self, target: &Target<'a>, from: usize, mut terms: Vec<String>) {
        if let Some(scoped) = target.scoped {
            terms.push(self.predicate(&target.alias, scoped));
        }
        if terms.is_empty() {
            return;
        }
        let terms = terms.join(" AND ");
        let place = self.words.next_of(from, &[Token::Where, Token::Returning]);
        if self.words.is(place, Token::Where) {
            let end = self.words.next_of(place + 1, &[Token::Returning]);
            self.edits.insert(place + 1, "(");
            self.edits.insert(end, format!(") AND {terms}"));
        } else {
            self.edits.insert(place, format!("WHERE {terms}"));
        }
    }

    /// `keyword condition` becomes `keyword (condition) AND guard`.
    fn guard_between(&mut self, target: &Target<'a>, keyword: usize, end: usize) {
        if let Some(scoped) = target.scoped {
            let guard = self.predicate(&target.alias, scoped);
            self.edits.insert(keyword + 1, "(");
            self.edits.insert(end, format!(") AND {guard}"));
        }
    }

    /// The same, before the condition: PostgreSQL computes the conditions of MERGE's actions as they are written.
    fn guard_first(&mut self, target: &Target<'a>, keyword: usize, end: usize) {
        if let Some(scoped) = target.scoped {
            let guard = self.predicate(&target.alias, scoped);
            self.edits.insert(keyword + 1, format!("{guard} AND ("));
            self.edits.insert(end, ")");
        }
    }

    /// The column list that may begin here ends with the tenant column; where there is none, one is
    /// made of the first visible columns, as many as the source is wide. Returns what is behind it.
    fn insert_columns(
        &mut self,
        columns: &[Node],
        target: &Target<'a>,
        at: usize,
        width: Option<usize>,
    ) -> Rewritten<usize> {
        let behind = if columns.is_empty() {
            at
        } else {
            self.words.behind_group(at)?
        };
        let tenant = target.scoped.and_then(Scoped::tenant_column);
        let tenant = tenant.map(sql::quote);
        if !columns.is_empty() {
            if let Some(tenant) = tenant {
                self.edits.insert(behind - 1, format!(", {tenant}"));
            }
            return Ok(behind);
        }
        if tenant.is_none() && target.view.is_none() {
            return Ok(behind);
        }
        let Some(width) = width else {
            let construct = "INSERT without a column list from a query of unknown width";
            return Err(unsupported(construct));
        };
        let visible = self.visible_names(target);
        let Some((used, _)) = visible.split_at_checked(width) else {
            let message = "INSERT has more expressions than target columns".to_owned();
            return Err(as_postgres("42601", message).into());
        };
        let mut names: Vec<String> = used.iter().map(|(_, sent)| sql::quote(sent)).collect();
        names.extend(tenant);
        if !names.is_empty() {
            self.edits.insert(at, format!("({})", names.join(", ")));
        }
        Ok(behind)
    }

    /// `DEFAULT VALUES` becomes `VALUES (slot)`.
    fn default_values(&mut self, at: usize, scoped: &Scoped) {
        let slot = self.slot(scoped.column_type);
        self.edits.replace(at..at + 2, format!("VALUES ({slot})"));
    }

    /// Adds the tenant's value as the last column of every row and branch of the query that begins
    /// here, or behind OVERRIDING.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a word within a branch; what is missed the verifier refuses"
    )]
    fn add_values(&mut self, from: usize, scoped: &Scoped) -> Rewritten<()> {
        let mut at = from;
        let mut begins = true;
        while at < self.words.len() {
            let Some(kind) = self.words.kind(at) else {
                break;
            };
            at = match kind {
                // INSERT ... OVERRIDING SYSTEM VALUE
                Token::Overriding if at == from => at + 3,
                Token::Ascii40 if begins => at + 1,
                Token::Ascii40 => self.words.behind_group(at)?,
                Token::With if begins => self.behind_with(at)?,
                Token::Select if begins => {
                    begins = false;
                    self.add_to_targets(at, scoped)
                }
                Token::Values if begins => {
                    begins = false;
                    self.add_to_rows(at, scoped)?
                }
                Token::Table if begins => {
                    begins = false;
                    let slot = self.slot(scoped.column_type);
                    self.edits
                        .replace_again(at..at + 1, format!("SELECT *, {slot} FROM"));
                    at + 1
                }
                Token::Union | Token::Intersect | Token::Except => {
                    let is_name = self.words.next_of(at, &[kind]) != at;
                    begins |= !is_name;
                    let quantified =
                        matches!(self.words.kind(at + 1), Some(Token::All | Token::Distinct));
                    if quantified { at + 2 } else { at + 1 }
                }
                _ => at + 1,
            };
        }
        Ok(())
    }

    /// Behind the WITH clause that begins here: its queries stand behind AS, in parentheses.
    fn behind_with(&self, with: usize) -> Rewritten<usize> {
        let mut at = with + 1;
        loop {
            match self.words.kind(at) {
                Some(Token::Select | Token::Values | Token::Table) => return Ok(at),
                Some(Token::Ascii40) => {
                    let begins_query = matches!(
                        self.words.kind(at + 1),
                        Some(Token::Select | Token::Values | Token::Table | Token::Ascii40)
                    );
                    let is_body = matches!(
                        self.words.kind(at - 1),
                        Some(Token::As | Token::Materialized)
                    );
                    if begins_query && !is_body {
                        return Ok(at);
                    }
                    at = self.words.behind_group(at)?;
                }
                Some(_) => at += 1,
                None => return Err(lost("a query")),
            }
        }
    }

    /// `SELECT targets, slot FROM ..`
    fn add_to_targets(&mut self, select: usize, scoped: &Scoped) -> usize {
        const ENDS: [Token; 15] = [
            Token::Except,
            Token::Fetch,
            Token::For,
            Token::From,
            Token::GroupP,
            Token::Having,
            Token::Intersect,
            Token::Limit,
            Token::Offset,
            Token::On,
            Token::Order,
            Token::Returning,
            Token::Union,
            Token::Where,
            Token::Window,
        ];
        let mut end = self.words.next_of(select + 1, &ENDS);
        // a IS DISTINCT FROM b, f(..) WITHIN GROUP (..)
        while end < self.words.len()
            && matches!(
                self.words.kind(end - 1),
                Some(Token::Distinct | Token::Within)
            )
        {
            end = self.words.next_of(end + 1, &ENDS);
        }
        let slot = self.slot(scoped.column_type);
        let comma = if end == select + 1 { "" } else { ", " };
        self.edits.insert(end, format!("{comma}{slot}"));
        end
    }

    /// `VALUES (.., slot), (.., slot)`
    fn add_to_rows(&mut self, values: usize, scoped: &Scoped) -> Rewritten<usize> {
        let mut at = values;
        loop {
            let behind = self.words.behind_group(at + 1)?;
            let slot = self.slot(scoped.column_type);
            self.edits.insert(behind - 1, format!(", {slot}"));
            if !self.words.is(behind, Token::Ascii44) {
                return Ok(behind);
            }
            at = behind;
        }
    }

    /// The tenant column joins the inference target, and DO UPDATE is guarded.
    fn on_conflict(
        &mut self,
        conflict: &pg::OnConflictClause,
        target: &Target<'a>,
    ) -> Rewritten<()> {
        self.rename_conflict(conflict)?;
        let Some(scoped) = target.scoped else {
            return Ok(());
        };
        // ON CONFLICT (..)
        let at = self.words.at(conflict.location)? + 2;
        if self.words.is(at, Token::Ascii40) {
            let behind = self.words.behind_group(at)?;
            if let Some(column) = scoped.tenant_column() {
                let column = sql::quote(column);
                self.edits.insert(behind - 1, format!(", {column}"));
            }
        }
        self.check_assigned(&conflict.target_list, target)?;
        let action = self.words.next_of(at, &[Token::Do]);
        if self.words.is(action + 1, Token::Update) {
            self.guard(target, action, Vec::new());
        }
        Ok(())
    }

    /// RETURNING: `*` is the target's columns, and those of the other tables.
    fn returning(
        &mut self,
        returning: Option<&pg::ReturningClause>,
        target: &Target<'a>,
        others: &[Node],
    ) -> Rewritten<()> {
        let Some(returning) = returning else {
            return Ok(());
        };
        let is_visible = self.classified.tenant_column() == TenantColumn::Visible;
        let hides = target.scoped.is_some_and(|scoped| scoped.via().is_none());
        if target.view.is_none() && (!hides || is_visible) {
            return Ok(());
        }
        for item in &returning.exprs {
            let Some(NodeEnum::ResTarget(item)) = &item.node else {
                return Err(lost("RETURNING"));
            };
            let Some(Some(NodeEnum::ColumnRef(column))) = item.val.as_ref().map(|val| &val.node)
            else {
                continue;
            };
            let Some((last, qualifiers)) = column.fields.split_last() else {
                continue;
            };
            if !matches!(last.node, Some(NodeEnum::AStar(_))) {
                if item.name.is_empty() {
                    self.label(column)?;
                }
                continue;
            }
            let mut columns = self.visible(target);
            match parts(qualifiers)?.as_slice() {
                [] => {
                    let aliases = others.iter().map(aliases).collect::<Rewritten<Vec<_>>>()?;
                    let stars = aliases.into_iter().flatten();
                    columns.extend(stars.map(|alias| format!("{}.*", sql::quote(&alias))));
                }
                [alias] if *alias == target.alias => {}
                [_] => continue,
                _ => return Err(unsupported("* of a table with its schema")),
            }
            let start = self.words.at(column.location)?;
            let end = start + 2 * column.fields.len() - 1;
            self.edits.replace(start..end, columns.join(", "));
        }
        Ok(())
    }

    fn visible(&self, target: &Target<'a>) -> Vec<String> {
        let alias = sql::quote(&target.alias);
        let full = |(name, sent): &(&str, &str)| {
            let label = if name == sent {
                String::new()
            } else {
                format!(" AS {}", sql::quote(name))
            };
            format!("{alias}.{}{label}", sql::quote(sent))
        };
        self.visible_names(target).iter().map(full).collect()
    }
}

/// What the items of a FROM list are called.
fn aliases(item: &Node) -> Rewritten<Vec<String>> {
    let nameless = || unsupported("* over a FROM item without a name");
    let alias = match &item.node {
        Some(NodeEnum::JoinExpr(join)) if join.alias.is_none() => {
            if join.is_natural || !join.using_clause.is_empty() {
                return Err(nameless());
            }
            let mut both = Vec::new();
            for side in [&join.larg, &join.rarg].into_iter().flatten() {
                both.extend(aliases(side)?);
            }
            return Ok(both);
        }
        Some(NodeEnum::JoinExpr(join)) => join.alias.as_ref(),
        Some(NodeEnum::RangeVar(table)) => match &table.alias {
            Some(alias) => Some(alias),
            None => return Ok(vec![table.relname.clone()]),
        },
        Some(NodeEnum::RangeSubselect(derived)) => derived.alias.as_ref(),
        Some(NodeEnum::RangeFunction(function)) => function.alias.as_ref(),
        Some(_) | None => None,
    };
    let alias = alias.ok_or_else(nameless)?;
    Ok(vec![alias.aliasname.clone()])
}
