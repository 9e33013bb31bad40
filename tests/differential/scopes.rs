//! Statements of admins under the scope of a grant: answered as by a database that holds the rows of the
//! scope's tenants and nobody else's, tenant columns and all.

use std::collections::BTreeSet;
use std::error::Error;

use bytes::BytesMut;
use libtest_mimic::Failed;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tenantry::admitted::Admitted;
use tenantry::bypass::BypassedStatement;
use tenantry::isolate::isolate;
use tenantry::isolate::refusal::Refusal;
use tenantry::tenant::{Classified, Policy, Rows, TenantKey, Unlisted};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::{Answer, SHARED, TABLES, ask, connect, generator};
use crate::support::{Database, Fixture, runtime};
use crate::{catalog, fixture, grants};

/// Whose rows each grant is over; there are tenants 1, 2 and 3.
const SCOPES: [&[i64]; 5] = [&[], &[2], &[1, 2], &[1, 3], &[1, 2, 3]];

/// How many random statements are asked under each.
const STATEMENTS: usize = 160;

/// How many in a hundred must be admitted, else the test tells little.
const ADMITTED_PERCENT: usize = 60;

/// Columns of the generator's that only tenants' tables have.
const REPLACED: [&str; 4] = [".customer_id", ".line_no", ".parent_id", ".email"];

pub(super) fn check_random() -> Result<(), Failed> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = generator::query();
    let shared = SHARED.database();
    let (mut admitted, mut bad) = (0, Vec::new());
    for keys in SCOPES {
        let (under, only) = (under(keys), only(keys));
        for at in 0..STATEMENTS {
            let tree = strategy.new_tree(&mut runner).expect("a statement");
            let mut sql = tree.current();
            // The tenant column is a column like others.
            if let Some(replaced) = REPLACED.get(at % (2 * REPLACED.len())) {
                sql = sql.replace(replaced, ".tenant_id");
            }
            let Ok(text) = bypassed(&sql, &under) else {
                continue;
            };
            admitted += 1;
            let (found, shown) = play(&shared, &text);
            let (wanted, expected) = play(&only, &sql);
            if found != wanted {
                bad.push(format!(
                    "{keys:?}: {sql}\nsent {text}\nfound {shown}\nwanted {expected}"
                ));
            }
        }
    }
    let all = STATEMENTS * SCOPES.len();
    println!("random statements under scopes: {admitted} of {all} admitted");
    if !bad.is_empty() {
        return Err(bad.join("\n\n").into());
    }
    assert!(
        admitted * 100 >= all * ADMITTED_PERCENT,
        "too few are admitted"
    );
    Ok(())
}

/// Writes, each in a transaction that is rolled back.
const WRITES: &[&str] = &[
    "UPDATE orders SET memo = 'seen' RETURNING *",
    "UPDATE orders o SET memo = c.name FROM customers c \
     WHERE c.id = o.customer_id AND c.tenant_id = o.tenant_id RETURNING o.tenant_id, o.id, o.memo",
    "UPDATE settings s SET value = t.value FROM settings t WHERE t.key = s.key AND t.tenant_id = 2 \
     RETURNING s.*",
    "DELETE FROM order_items WHERE tenant_id = 1 OR qty > 1 RETURNING tenant_id, order_id, line_no",
    "DELETE FROM orders WHERE id = 1",
    "DELETE FROM settings USING orders RETURNING settings.*",
    "INSERT INTO settings (key, tenant_id, value) \
     SELECT s.key || '-copy', s.tenant_id, s.value FROM settings s RETURNING *",
    "INSERT INTO settings (tenant_id, key) SELECT tenant_id, 'c' || id FROM customers \
     UNION SELECT o.tenant_id, 'o' || o.id FROM orders o RETURNING *",
    "INSERT INTO settings (tenant_id, key, value) \
     SELECT tenant_id, key, 'again' FROM settings \
     ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value RETURNING *",
    "WITH gone AS (DELETE FROM settings RETURNING tenant_id, key) SELECT * FROM gone",
    "WITH new AS (SELECT s.tenant_id, s.key FROM settings s ORDER BY 1, 2 LIMIT 1) \
     INSERT INTO categories (tenant_id, id, name) SELECT tenant_id, 77, key FROM new RETURNING *",
];

/// Rows for these tenants, by every way that an INSERT has; some are outside of each scope.
const NEW_ROWS: &[&str] = &[
    "INSERT INTO settings (tenant_id, key) VALUES (:t, 'new') RETURNING *",
    "INSERT INTO settings (key, tenant_id) VALUES ('new', ':t') RETURNING *",
    "INSERT INTO settings (key, tenant_id) VALUES ('new', ':t'::bigint) RETURNING *",
    "INSERT INTO settings (tenant_id, key) SELECT x.t, 'new' FROM (SELECT :t AS t) x RETURNING *",
    "INSERT INTO settings (tenant_id, key) SELECT g.t, 'new' \
     FROM generate_series(:t, :t) AS g(t) RETURNING *",
    "INSERT INTO settings (tenant_id, key) SELECT s.t, 'new' FROM \
     (VALUES (:t), (NULL)) AS s(t) WHERE s.t IS NOT NULL RETURNING *",
    "WITH s AS (SELECT :t AS t UNION ALL SELECT :t) \
     INSERT INTO settings (tenant_id, key) SELECT t, 'new' FROM s ON CONFLICT DO NOTHING",
    "INSERT INTO settings (tenant_id, key) SELECT :t, 'a' UNION ALL SELECT :t, 'b' RETURNING *",
    "INSERT INTO settings (tenant_id, key, value) VALUES (:t, 'theme', 'new') \
     ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value RETURNING *",
];

pub(super) fn check_writes() -> Result<(), Failed> {
    let shared = SHARED.database();
    let mut bad = Vec::new();
    for keys in SCOPES {
        let (under, only) = (under(keys), only(keys));
        let foreign = digest(keys, "<> ALL");
        let own = digest(keys, "= ANY");
        let before = shared.value(&foreign);
        for sql in WRITES {
            let text = bypassed(sql, &under).map_err(|refusal| format!("{refusal}: {sql}"))?;
            let found = in_transaction(&shared, &text, &own, &foreign);
            let wanted = in_transaction(&only, sql, &own, &foreign);
            assert!(
                !wanted.0.starts_with(|c: char| c.is_ascii_digit()),
                "{wanted:?}: {sql}"
            );
            if found.0 != wanted.0 || found.1 != wanted.1 {
                bad.push(format!(
                    "{keys:?}: {sql}\nfound {found:?}\nwanted {wanted:?}"
                ));
            }
            if found.2 != before {
                bad.push(format!("{keys:?}: {sql}\nforeign rows changed"));
            }
        }
        for tenant in [1, 2, 3, 4] {
            for sql in NEW_ROWS {
                let sql = sql.replace(":t", &tenant.to_string());
                let inside = keys.contains(&tenant);
                let text = match bypassed(&sql, &under) {
                    Ok(text) => text,
                    Err(refusal) if !inside && refusal.code() == "TN6004" => continue,
                    Err(refusal) => return Err(format!("{refusal}: {sql}").into()),
                };
                let found = in_transaction(&shared, &text, &own, &foreign);
                if found.2 != before {
                    bad.push(format!("{keys:?}: {sql}\na row for another tenant"));
                }
                let is_said = |shown: &str| shown.contains("outside the grant [TN6004]");
                let fits = if inside {
                    let wanted = in_transaction(&only, &sql, &own, &foreign);
                    found.0 == wanted.0 && found.1 == wanted.1
                } else {
                    is_said(&found.0)
                };
                if !fits {
                    bad.push(format!("{keys:?}: {sql}\nfound {found:?}"));
                }
            }
        }
    }
    if bad.is_empty() {
        Ok(())
    } else {
        Err(bad.join("\n\n").into())
    }
}

const EMPTY: Fixture = Fixture {
    name: "empty",
    files: &[],
};

/// Keys that a slip in quoting would turn into other ones, or into several.
const KEYS: [&str; 9] = [
    "acme",
    "a,b",
    "a\"b",
    "a\\b",
    "NULL",
    "",
    " a ",
    "{x}",
    "it's \\' \"",
];

/// A uuid but for its last digit.
const UUID: &str = "00000000-0000-4000-8000-00000000000";

/// Every type that a tenant column may have: the scope as a literal, and as a parameter in both formats.
pub(super) fn check_types() -> Result<(), Failed> {
    let database = EMPTY.database();
    let texts = || KEYS.iter().map(|key| TenantKey::Text((*key).to_owned()));
    let numbers = || (1..=9).map(TenantKey::Integer);
    let uuids = || (1..=9).map(|digit| TenantKey::Text(format!("{UUID}{digit}")));
    let types: [(&str, Vec<TenantKey>); 6] = [
        ("smallint", numbers().collect()),
        ("integer", numbers().collect()),
        ("bigint", numbers().collect()),
        ("text", texts().collect()),
        ("varchar(40)", texts().collect()),
        ("uuid", uuids().collect()),
    ];
    for (at, (type_name, keys)) in types.iter().enumerate() {
        let quoted = keys.iter().map(|key| format!("('{}')", escaped(key)));
        database.execute(&format!(
            "CREATE TABLE t{at} (tenant_id {type_name} NOT NULL, n integer);
             INSERT INTO t{at} (tenant_id) VALUES {};
             GRANT SELECT, INSERT ON t{at} TO PUBLIC",
            quoted.collect::<Vec<_>>().join(", "),
        ));
    }
    let policy = Policy {
        tenant_column: "tenant_id".to_owned(),
        unlisted: Unlisted::ByColumn,
        ..fixture::policy()
    };
    let classified = Classified::new(catalog::read(&database)?, policy);
    for (at, (type_name, keys)) in types.iter().enumerate() {
        for size in [0, 1, 4, 9] {
            let scope: BTreeSet<TenantKey> = keys.iter().take(size).cloned().collect();
            let rows = Rows::Of(scope.clone());
            let under = classified.under(grants::scope(rows, None, None));
            let sql = format!("SELECT tenant_id FROM t{at}");
            let text = bypassed(&sql, &under)?;
            let (Answer::Rows(found), shown) = play(&database, &text) else {
                return Err(format!("{type_name}: {text}").into());
            };
            assert_eq!(
                rows_of(&found),
                expected(&scope),
                "{type_name} {size}: {shown}"
            );
            let prepared = statement(&sql, &under)?;
            for format in [Format::Text, Format::Binary] {
                let found = bound(&database, &prepared, format);
                assert_eq!(found, expected(&scope), "{type_name} {size} {format:?}");
            }
            new_rows(&database, (at, type_name), keys, &under)?;
        }
    }
    Ok(())
}

/// One prepared INSERT for keys inside of the scope and outside: often enough that the server makes a
/// plan that serves all.
fn new_rows(
    database: &Database,
    (at, type_name): (usize, &str),
    keys: &[TenantKey],
    under: &Classified,
) -> Result<(), Failed> {
    let statement = statement(
        &format!("INSERT INTO t{at} (n, tenant_id) SELECT 1, v.k FROM (SELECT $1::text AS k) AS v"),
        under,
    );
    // A text is no number; so those are given as what they are.
    let statement = match statement {
        Ok(statement) if !type_name.contains("int") => statement,
        _ => self::statement(
            &format!("INSERT INTO t{at} (n, tenant_id) VALUES (1, $1)"),
            under,
        )?,
    };
    let Some(Rows::Of(scope)) = under.scope().map(|scope| &scope.rows) else {
        return Err("a scope over tenants".into());
    };
    runtime().block_on(async {
        let client = connect(database).await;
        client.batch_execute("BEGIN").await?;
        let prepared = client.prepare(statement.text()).await?;
        for key in keys.iter().cycle().take(3 * keys.len()) {
            client.batch_execute("SAVEPOINT s").await?;
            let value = Raw(Format::Text, key.to_string().into_bytes());
            let of_scope = value_of(&statement, Format::Text);
            let mut bound: Vec<&(dyn ToSql + Sync)> = vec![&value];
            for value in &of_scope {
                bound.push(value);
            }
            match client.execute(&prepared, &bound).await {
                Ok(_) => assert!(scope.contains(key), "{type_name}: {key} was inserted"),
                Err(error) => {
                    let message = error.as_db_error().map(ToString::to_string);
                    let said = message.unwrap_or_default().contains("[TN6004]");
                    assert!(
                        said && !scope.contains(key),
                        "{type_name}: {key}: {error:?}"
                    );
                }
            }
            client.batch_execute("ROLLBACK TO s").await?;
        }
        Ok(())
    })
}

/// The rows of a prepared query with the scope bound in one format.
fn bound(database: &Database, statement: &BypassedStatement, format: Format) -> Vec<String> {
    runtime().block_on(async {
        let client = connect(database).await;
        let prepared = client.prepare(statement.text()).await.expect("a statement");
        let values = value_of(statement, format);
        let mut bound: Vec<&(dyn ToSql + Sync)> = Vec::new();
        for value in &values {
            bound.push(value);
        }
        let rows = client.query(&prepared, &bound).await.expect("rows");
        let mut found: Vec<String> = rows.iter().map(shown).collect();
        found.sort();
        found
    })
}

fn shown(row: &tokio_postgres::Row) -> String {
    match *row.columns()[0].type_() {
        Type::INT2 => row.get::<_, i16>(0).to_string(),
        Type::INT4 => row.get::<_, i32>(0).to_string(),
        Type::INT8 => row.get::<_, i64>(0).to_string(),
        // The keys differ in the last digit only.
        Type::UUID => format!("{UUID}{}", row.get::<_, LastByte>(0).0),
        _ => row.get::<_, String>(0),
    }
}

/// What a parameter for the scope is bound to.
fn value_of(statement: &BypassedStatement, format: Format) -> Vec<Raw> {
    let value = statement.value().expect("the keys of a scope");
    let slots = statement.tenant_parameters().iter();
    slots
        .map(|slot| {
            let bytes = match format {
                Format::Text => slot.text(value.into()).expect("a text").into_bytes(),
                Format::Binary => slot.binary(value.into()).expect("a value"),
            };
            Raw(format, bytes)
        })
        .collect()
}

/// A value as it is.
#[derive(Debug)]
struct Raw(Format, Vec<u8>);

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.1);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        self.0
    }

    to_sql_checked!();
}

/// The last byte of a value.
struct LastByte(u8);

impl<'a> tokio_postgres::types::FromSql<'a> for LastByte {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        raw.last()
            .copied()
            .map(Self)
            .ok_or_else(|| "an empty value".into())
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn expected(scope: &BTreeSet<TenantKey>) -> Vec<String> {
    let mut keys: Vec<String> = scope.iter().map(ToString::to_string).collect();
    keys.sort();
    keys
}

/// The rows of an answer with one column.
fn rows_of(lines: &[String]) -> Vec<String> {
    let mut rows: Vec<String> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("row ").map(str::to_owned))
        .collect();
    rows.sort();
    rows
}

fn escaped(key: &TenantKey) -> String {
    key.to_string().replace('\'', "''")
}

/// The fixture's tables under a grant over these tenants.
fn under(keys: &[i64]) -> Classified {
    let keys = keys.iter().copied().map(TenantKey::Integer).collect();
    fixture::classified().under(grants::scope(Rows::Of(keys), None, None))
}

/// A database that holds the rows of these tenants only.
fn only(keys: &[i64]) -> Database {
    let database = SHARED.database();
    let deletes: Vec<String> = TABLES
        .iter()
        .map(|table| {
            format!(
                "DELETE FROM {table} WHERE tenant_id <> ALL ('{}')",
                array(keys)
            )
        })
        .collect();
    database.execute(&format!(
        "SET session_replication_role = replica; {}",
        deletes.join("; ")
    ));
    database
}

fn array(keys: &[i64]) -> String {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    format!("{{{}}}", keys.join(","))
}

/// A query for a digest of the rows whose tenant is, or is not, one of these. What a trigger writes down
/// has a number and a time of its own, and counts where nothing may change.
fn digest(keys: &[i64], test: &str) -> String {
    let counted = |table: &&&str| **table != "audit_log" || test == "<> ALL";
    let parts: Vec<String> = TABLES
        .iter()
        .filter(counted)
        .map(|table| {
            format!(
                "(SELECT md5(coalesce(string_agg(x::text, '|' ORDER BY x::text), '')) \
                 FROM {table} x WHERE tenant_id {test} ('{}'))",
                array(keys)
            )
        })
        .collect();
    format!("SELECT concat({})", parts.join(", "))
}

fn statement(sql: &str, under: &Classified) -> Result<BypassedStatement, Refusal> {
    let mut statements = isolate(sql.as_bytes(), &[], under)?;
    assert_eq!(statements.len(), 1, "{sql}");
    match statements.remove(0).admitted {
        Admitted::Bypassed(bypassed) => Ok(bypassed),
        Admitted::Isolated(_) => panic!("a tenant's statement: {sql}"),
    }
}

/// The text that an admin's statement becomes in the simple protocol.
fn bypassed(sql: &str, under: &Classified) -> Result<String, Refusal> {
    statement(sql, under)?.with_scope()
}

fn play(database: &Database, text: &str) -> (Answer, String) {
    runtime().block_on(async { ask(&connect(database).await, text).await })
}

/// The answer, then the digests of own and foreign rows before it is rolled back; after an error, of
/// what was there before.
fn in_transaction(
    database: &Database,
    text: &str,
    own: &str,
    foreign: &str,
) -> (String, String, String) {
    runtime().block_on(async {
        let client = connect(database).await;
        client
            .batch_execute("BEGIN; SAVEPOINT s")
            .await
            .expect("a transaction");
        let (answer, shown) = ask(&client, text).await;
        let answer = match answer {
            Answer::Rows(lines) => lines.join("\n"),
            Answer::Error(_) => {
                client
                    .batch_execute("ROLLBACK TO s")
                    .await
                    .expect("a savepoint");
                shown
            }
        };
        let own = ask(&client, own).await.1;
        let foreign = client
            .query_one(foreign, &[])
            .await
            .expect("a digest")
            .get(0);
        client.batch_execute("ROLLBACK").await.expect("a rollback");
        (answer, own, foreign)
    })
}
