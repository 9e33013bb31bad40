//! `SELECT .. INTO TEMP name` and `CREATE TEMP TABLE name AS SELECT ..` of an admin: the query alone, and
//! the name under which its rows are collected.
//!
//! In: the bytes of a message. Out: [`Collect`], whose query is run for each tenant like any other.
//!
//! # Invariants
//! 1. The query is the client's own text without some of its words. That it is the same query is proved on
//!    PostgreSQL's trees, whatever words were left out.

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{NodeEnum, ParserOptions};

use super::{bare, reading, words};
use crate::isolate::refusal::{Reason, Refusal};

/// The schema in which PostgreSQL makes temporary tables.
pub const TEMPORARY: &str = "pg_temp";

/// The stack for reading, in bytes; only what is used of it is ever touched.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// The most words that name a table behind INTO: `LOCAL TEMPORARY TABLE pg_temp . name`.
const INTO_WORDS: usize = 7;

/// A query whose rows are to be collected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Collect {
    /// The name of the temporary table, folded.
    pub table: String,
    /// The query.
    pub query: String,
}

/// The message's one statement, if it makes a temporary table of a query's rows. What else the message is,
/// or what is wrong with it, is not found out here.
pub fn collect(sql: &[u8]) -> Result<Option<Collect>, Refusal> {
    let Ok(text) = std::str::from_utf8(sql) else {
        return Ok(None);
    };
    let lower = text.to_ascii_lowercase();
    if text.contains('\0') || !(lower.contains("temp") || lower.contains("u&")) {
        return Ok(None);
    }
    stacker::grow(STACK_BYTES, || read(text))
}

fn read(text: &str) -> Result<Option<Collect>, Refusal> {
    let Ok(tree) = pg_query::parse(text, ParserOptions::DEFAULT) else {
        return Ok(None);
    };
    let mut statements = tree.protobuf.stmts.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Ok(None);
    };
    match statement.stmt.and_then(|node| node.node) {
        Some(NodeEnum::SelectStmt(mut select)) => match select.into_clause.take() {
            Some(into) if is_temporary(&into) => {
                select_into(text, &into, &NodeEnum::SelectStmt(select))
            }
            Some(_) | None => Ok(None),
        },
        Some(NodeEnum::CreateTableAsStmt(create)) => create_as(text, *create),
        Some(_) | None => Ok(None),
    }
}

/// `CREATE TEMP TABLE name AS query`
fn create_as(text: &str, create: pg::CreateTableAsStmt) -> Result<Option<Collect>, Refusal> {
    let pg::CreateTableAsStmt {
        query,
        into,
        objtype,
        is_select_into: _,
        if_not_exists,
    } = create;
    let (Some(into), Some(query)) = (into, query.and_then(|query| query.node)) else {
        return Ok(None);
    };
    if !is_temporary(&into) || objtype != i32::from(pg::ObjectType::ObjectTable) {
        return Ok(None);
    }
    let makes_one_table =
        matches!(&query, NodeEnum::SelectStmt(select) if select.into_clause.is_none());
    if if_not_exists || !makes_one_table {
        return Err(unsupported());
    }
    let table = plain(&into)?;
    let tokens = words::scan(text)?;
    let starts = tokens
        .iter()
        .filter(|token| token.token() == Token::As)
        .take(1);
    for token in starts {
        let rest = usize::try_from(token.end)
            .ok()
            .and_then(|at| text.get(at..));
        if let Some(found) = same_query(rest.unwrap_or_default(), &query)? {
            return Ok(Some(Collect {
                table,
                query: found,
            }));
        }
    }
    Err(unsupported())
}

/// `SELECT .. INTO TEMP name ..`
fn select_into(
    text: &str,
    into: &pg::IntoClause,
    query: &NodeEnum,
) -> Result<Option<Collect>, Refusal> {
    let table = plain(into)?;
    let tokens = words::scan(text)?;
    let offset = |at: i32| usize::try_from(at).unwrap_or(usize::MAX);
    for (index, token) in tokens.iter().enumerate() {
        if token.token() != Token::Into {
            continue;
        }
        let before = text.get(..offset(token.start)).unwrap_or_default();
        for last in tokens.iter().skip(index + 1).take(INTO_WORDS) {
            let behind = text.get(offset(last.end)..).unwrap_or_default();
            if let Some(found) = same_query(&format!("{before} {behind}"), query)? {
                return Ok(Some(Collect {
                    table,
                    query: found,
                }));
            }
        }
    }
    Err(unsupported())
}

/// The text, if it is this query.
fn same_query(text: &str, query: &NodeEnum) -> Result<Option<String>, Refusal> {
    match reading::parse_one(text) {
        Ok(found) if bare::same(&found, query)? => Ok(Some(text.trim().to_owned())),
        Ok(_) | Err(_) => Ok(None),
    }
}

fn is_temporary(into: &pg::IntoClause) -> bool {
    into.rel.as_ref().is_some_and(|table| {
        table.relpersistence == "t" || table.schemaname.eq_ignore_ascii_case(TEMPORARY)
    })
}

/// The table's name, if nothing else is said of it.
fn plain(into: &pg::IntoClause) -> Result<String, Refusal> {
    let pg::IntoClause {
        rel,
        col_names,
        access_method,
        options,
        on_commit,
        table_space_name,
        view_query,
        skip_data,
    } = into;
    let kept = [
        i32::from(pg::OnCommitAction::Undefined),
        i32::from(pg::OnCommitAction::OncommitNoop),
    ];
    let is_plain = col_names.is_empty()
        && access_method.is_empty()
        && options.is_empty()
        && kept.contains(on_commit)
        && table_space_name.is_empty()
        && view_query.is_none()
        && !skip_data;
    match rel {
        Some(table)
            if is_plain
                && table.catalogname.is_empty()
                && (table.schemaname.is_empty() || table.schemaname == TEMPORARY) =>
        {
            Ok(table.relname.clone())
        }
        Some(_) | None => Err(unsupported()),
    }
}

fn unsupported() -> Refusal {
    Reason::ConstructNotSupported {
        construct: "more than CREATE TEMP TABLE name AS query, or SELECT .. INTO TEMP name,"
            .to_owned(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table and the query, `-` if it is no such statement, or the code of the refusal.
    fn shown(sql: &str) -> String {
        match collect(sql.as_bytes()) {
            Ok(Some(Collect { table, query })) => format!("{table}: {query}"),
            Ok(None) => "-".to_owned(),
            Err(refusal) => refusal.code().to_owned(),
        }
    }

    #[test]
    fn the_query_is_found_however_it_is_written() {
        for (sql, expected) in [
            ("SELECT a INTO TEMP x FROM t", "x: SELECT a   FROM t"),
            (
                "select /* into */ 'into temp', \"INTO\" into local temporary table pg_temp.\"X y\" from t;",
                "X y: select /* into */ 'into temp', \"INTO\"   from t;",
            ),
            ("SELECT a INTO pg_temp.x FROM t", "x: SELECT a   FROM t"),
            (
                "WITH w AS (SELECT 1) SELECT * INTO TEMP x FROM w",
                "x: WITH w AS (SELECT 1) SELECT *   FROM w",
            ),
            ("CREATE TEMP TABLE x AS SELECT 1 AS a", "x: SELECT 1 AS a"),
            (
                "create temporary table \"AS\" as (select a as b from t)",
                "AS: (select a as b from t)",
            ),
            ("CREATE TEMP TABLE x AS TABLE t", "x: TABLE t"),
            ("CREATE TEMP TABLE x (a) AS SELECT 1", "TN1004"),
            ("CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1", "TN1004"),
            ("CREATE TEMP TABLE x AS SELECT 1 WITH NO DATA", "TN1004"),
            ("CREATE TEMP TABLE IF NOT EXISTS x AS SELECT 1", "TN1004"),
            ("CREATE TEMP TABLE x AS EXECUTE p", "TN1004"),
            (
                "CREATE TEMP TABLE x AS SELECT a INTO TEMP y FROM t",
                "TN1004",
            ),
            ("CREATE TABLE x AS SELECT 'temp'", "-"),
            ("CREATE TEMP TABLE x (a int)", "-"),
            ("SELECT a INTO x FROM temp", "-"),
            ("SELECT a INTO TEMP x FROM t; SELECT 1", "-"),
            ("SELECT a FROM temp", "-"),
        ] {
            assert_eq!(shown(sql), expected, "{sql}");
        }
    }
}
