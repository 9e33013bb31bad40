//! What GROUP BY groups by, where a key says so by the place or the name of a column of the result, or by a
//! name that USING has made one of two columns.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::constants;
use super::proof::{Proof, column_path};
use super::scope::{self, Found, Reference};
use crate::isolate::refusal::Reason;

/// The client's query around its GROUP BY.
#[derive(Clone, Copy)]
pub(super) struct Grouped<'n> {
    /// The target list.
    pub(super) targets: &'n [Node],
    /// FROM.
    pub(super) from: &'n [Node],
}

impl Proof<'_> {
    /// The keys, each as the expression that it stands for, as far as that is told by the text alone.
    pub(super) fn grouped_by(&self, keys: &[Node], query: Grouped<'_>) -> Vec<Node> {
        let stands_for = |key: &Node| {
            let found = by_place(key, query.targets);
            let found = found.or_else(|| self.by_name(key, query.targets));
            found.or_else(|| self.merged_by_using(key, query.from))
        };
        keys.iter()
            .map(|key| stands_for(key).unwrap_or_else(|| key.clone()))
            .collect()
    }

    /// A name that no column of FROM has is that of a column of the result.
    fn by_name(&self, key: &Node, targets: &[Node]) -> Option<Node> {
        let path = column_path(key)?;
        let [name] = path.as_slice() else {
            return None;
        };
        let innermost = self.levels.len().checked_sub(1)?;
        match scope::resolve(self.levels.get(innermost..)?, unqualified(name)) {
            Err(Reason::ColumnDoesNotExist { .. }) => {}
            // Nor is what fails for another reason known to be one of the result.
            Ok(Found::Column(_) | Found::Opaque | Found::Row(_)) | Err(_) => return None,
        }
        let mut named = targets.iter().filter(|target| label(target) == Some(name));
        match (named.next(), named.next()) {
            (Some(target), None) => value(target).cloned(),
            (None | Some(_), _) => None,
        }
    }

    /// A column that USING has merged is that of the left side, if it is of the same type, and the join leaves
    /// no row of that side out of a row of the result.
    fn merged_by_using(&self, key: &Node, from: &[Node]) -> Option<Node> {
        let path = column_path(key)?;
        let ([name], [item]) = (path.as_slice(), from) else {
            return None;
        };
        let table = merged_of(item, name)?;
        let of_table = Reference {
            table: Some(&table),
            ..unqualified(name)
        };
        let innermost = self.levels.len().checked_sub(1)?;
        let here = self.levels.get(innermost..)?;
        let Ok(Found::Column(merged)) = scope::resolve(here, unqualified(name)) else {
            return None;
        };
        let Ok(Found::Column(own)) = scope::resolve(here, of_table) else {
            return None;
        };
        let (merged, own) = (merged.value.as_ref().ok()?, own.value.as_ref().ok()?);
        if merged.oid != own.oid || merged.columns != own.columns {
            return None;
        }
        let part = |name: &str| Node {
            node: Some(NodeEnum::String(pg::String {
                sval: name.to_owned(),
            })),
        };
        Some(Node {
            node: Some(NodeEnum::ColumnRef(pg::ColumnRef {
                fields: vec![part(&table), part(name)],
                location: -1,
            })),
        })
    }
}

/// A number is the place of a column of the result; behind a `*` it is not known which.
fn by_place(key: &Node, targets: &[Node]) -> Option<Node> {
    let number = usize::try_from(constants::whole_number(key)?).ok()?;
    let before = targets.get(..number)?;
    let values: Option<Vec<&Node>> = before.iter().map(value).collect();
    values?.pop().cloned()
}

fn unqualified(name: &str) -> Reference<'_> {
    Reference {
        schema: None,
        table: None,
        column: Some(name),
    }
}

/// The value of a target that is one column.
fn value(target: &Node) -> Option<&Node> {
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return None;
    };
    let value = target.val.as_deref()?;
    let is_star = match &value.node {
        Some(NodeEnum::ColumnRef(column)) => column.fields.iter().any(is_star),
        Some(NodeEnum::AIndirection(selected)) => selected.indirection.iter().any(is_star),
        Some(_) | None => false,
    };
    (!is_star).then_some(value)
}

fn is_star(node: &Node) -> bool {
    matches!(&node.node, Some(NodeEnum::AStar(_)))
}

/// The name that AS gives a target.
fn label(target: &Node) -> Option<&str> {
    match &target.node {
        Some(NodeEnum::ResTarget(target)) => Some(target.name.as_str()),
        Some(_) | None => None,
    }
}

/// The table whose column a merged name is.
fn merged_of(item: &Node, name: &str) -> Option<String> {
    match &item.node {
        Some(NodeEnum::RangeVar(table)) => {
            let alias = table.alias.as_ref().map(|alias| alias.aliasname.clone());
            Some(alias.unwrap_or_else(|| table.relname.clone()))
        }
        Some(NodeEnum::JoinExpr(join)) => {
            let kinds = [pg::JoinType::JoinInner, pg::JoinType::JoinLeft];
            let keeps_left = kinds
                .into_iter()
                .any(|kind| join.jointype == i32::from(kind));
            let merges = super::from::strings(&join.using_clause)
                .iter()
                .any(|merged| merged == name);
            let is_seen = join.alias.is_none();
            match &join.larg {
                Some(left) if keeps_left && merges && is_seen => merged_of(left, name),
                Some(_) | None => None,
            }
        }
        Some(_) | None => None,
    }
}
