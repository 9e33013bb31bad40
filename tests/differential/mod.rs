//! The same statements on a private database and, isolated, on the shared one: the answers are
//! the same, and no other tenant's row changes.
//!
//! The private database holds tenant 1's rows as the legacy application knew them. Statements go
//! over plain connections here, so that what is tested is the rewriting alone.

mod cases;
mod generator;
mod random;
mod scopes;
pub mod via;
mod views;

use libtest_mimic::Trial;
use tenantry::admitted::Admitted;
use tenantry::isolate::refusal::Refusal;
use tenantry::isolate::{isolate, splice};
use tenantry::tenant::{Classified, TenantKey};
use tenantry::verify::{Claim, verify};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleColumn, SimpleQueryMessage};

use crate::support::{Cluster, Database, Fixture};

/// The shared database: tenants 1, 2 and 3.
pub const SHARED: Fixture = Fixture {
    name: "shared",
    files: &["tests/cases/fixture.sql"],
};
/// The private one: what tenant 1 would have alone.
pub const PRIVATE: Fixture = Fixture {
    name: "private",
    files: &["tests/cases/fixture_single.sql"],
};

/// All trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("differential::cases", || cases::check(isolated, &[])),
        Trial::test("differential::cases_spliced", || {
            // GROUP BY a primary key needs the table itself, which only the first way can leave there.
            cases::check(spliced, &["ok-select-46"])
        }),
        Trial::test("differential::random_statements", random::check),
        Trial::test(
            "differential::printing_is_a_fixed_point",
            random::check_printing,
        ),
        Trial::test(
            "differential::random_statements_under_scopes",
            scopes::check_random,
        ),
        Trial::test("differential::writes_under_scopes", scopes::check_writes),
        Trial::test("differential::scopes_of_every_type", scopes::check_types),
        Trial::test("differential::via", via::check),
        Trial::test("differential::views", views::check),
    ]
}

/// What a statement came to, as far as a client can tell.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Answer {
    /// Columns and rows in text form, and the number of rows of each command.
    Rows(Vec<String>),
    /// A server's error.
    Error(SqlState),
}

/// A connection as the application's role.
async fn connect(database: &Database) -> Client {
    let dsn = format!(
        "host=127.0.0.1 port={} user=iso_app dbname={}",
        Cluster::shared().port(),
        database.name()
    );
    let (client, connection) = tokio_postgres::connect(&dsn, NoTls)
        .await
        .expect("the server takes connections");
    tokio::spawn(connection);
    client
}

/// Sends a text and collects what comes back.
async fn ask(client: &Client, sql: &str) -> (Answer, String) {
    match client.simple_query(sql).await {
        Ok(messages) => {
            let mut lines: Vec<String> = messages.iter().map(line).collect();
            let shown = lines.join("\n");
            lines.sort();
            (Answer::Rows(lines), shown)
        }
        Err(error) => {
            let state = error.code().cloned().unwrap_or(SqlState::INTERNAL_ERROR);
            let shown = error.as_db_error().map_or_else(
                || error.to_string(),
                |db| {
                    format!(
                        "{} {} {:?} {:?}",
                        db.code().code(),
                        db.message(),
                        db.detail(),
                        db.where_()
                    )
                },
            );
            (Answer::Error(state), shown)
        }
    }
}

fn line(message: &SimpleQueryMessage) -> String {
    match message {
        SimpleQueryMessage::RowDescription(columns) => {
            let names: Vec<&str> = columns.iter().map(SimpleColumn::name).collect();
            format!("columns {}", names.join("|"))
        }
        SimpleQueryMessage::Row(row) => {
            let values: Vec<&str> = (0..row.len())
                .map(|at| row.get(at).unwrap_or("NULL"))
                .collect();
            format!("row {}", values.join("|"))
        }
        SimpleQueryMessage::CommandComplete(rows) => format!("rows {rows}"),
        other => format!("{other:?}"),
    }
}

/// The text that tenant 1's statement becomes in the simple protocol.
fn isolated(sql: &str, classified: &Classified) -> Result<String, Refusal> {
    let statements = isolate(sql.as_bytes(), &[], classified)?;
    let texts: Result<Vec<String>, Refusal> = statements
        .iter()
        .map(|isolated| match &isolated.admitted {
            Admitted::Isolated(verified) => verified.with_tenant(&TenantKey::Integer(1)),
            Admitted::Bypassed(bypassed) => bypassed.with_scope(),
        })
        .collect();
    texts.map(|texts| texts.join("; "))
}

/// The same, made on PostgreSQL's own tree, which is the second way for what the first cannot read.
fn spliced(sql: &str, classified: &Classified) -> Result<String, Refusal> {
    let prepared = splice(sql, &[], classified)?;
    let proved = verify(&Claim {
        original: &prepared.original,
        reading: &prepared.reading,
        template: &prepared.template,
        declared_types: &[],
        classified,
    })?;
    proved.with_tenant(&TenantKey::Integer(1))
}

/// The tables that tenants' rows are in.
const TABLES: [&str; 11] = [
    "customers",
    "products",
    "orders",
    "order_items",
    "events",
    "documents",
    "categories",
    "bookings",
    "settings",
    "invoices",
    "audit_log",
];

/// A digest of all rows that belong to others.
fn foreign_rows(database: &Database) -> String {
    let parts: Vec<String> = TABLES
        .iter()
        .map(|table| {
            format!(
                "(SELECT md5(coalesce(string_agg(x::text, '|' ORDER BY x::text), '')) \
                 FROM {table} x WHERE tenant_id <> 1)"
            )
        })
        .collect();
    database.value(&format!("SELECT concat({})", parts.join(", ")))
}

/// Whether a text holds a mark of another tenant's data.
fn shows_foreign_rows(text: &str) -> bool {
    let upper = text.to_uppercase();
    upper.contains("CANARY-T2") || upper.contains("CANARY-T3") || upper.contains("CANARY-OPS")
}
