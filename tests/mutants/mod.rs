//! The verifier against wrong rewrites: in turn, each thing that protects a statement is dropped or
//! altered, and each thing that the client wrote is changed; the verifier must refuse what comes out.
//!
//! In: the core of the isolation cases, rewritten. Out: how many mutants there were, and those that
//! the verifier let pass: none.

#![expect(
    clippy::ref_option,
    clippy::too_many_lines,
    clippy::unnecessary_wraps,
    clippy::wildcard_enum_match_arm,
    reason = "most of this is a list of what can be done to a tree, in the tree's own types"
)]

mod copies;
mod shields;
mod tree;
mod variants;

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use pg_query::NodeEnum;
use pg_query::protobuf::{ParseResult, ScanToken, Token};
use tenantry::bypass::BypassedStatement;
use tenantry::isolate::refusal::Refusal;
use tenantry::isolate::template::{Edit, Reading, Slot, SlotType, Template};
use tenantry::isolate::{Prepared, prepare, proved, splice};
use tenantry::tenant::{Classified, Rows, TenantKey, TenantType};
use tenantry::verify::{Claim, VerifiedStatement, verify};

use crate::differential::via::{READS, WRITES};
use crate::differential::{PRIVATE, SHARED};
use crate::{fixture, grants, via};
use variants::Context;

/// Fewer mutants than this, and the test tests nothing.
const MUTANTS_AT_LEAST: usize = 10_000;

/// Fewer statements than this, and the rewriter and the verifier have lost each other.
const PROVED_AT_LEAST: usize = 150;

/// The groups of the isolation cases that are the core.
const CORE: [&str; 10] = [
    "select",
    "join",
    "cte",
    "setop",
    "position",
    "placement",
    "tenant-column",
    "dml",
    "txn",
    "types",
];

/// What the cases do not show.
const MORE: &[&str] = &[
    "SELECT key FROM settings WHERE key = $1 LIMIT $2",
    "SELECT c.name, o.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.id = $1",
    "SELECT c.id, c.name, count(*) FROM customers c JOIN orders o ON o.customer_id = c.id \
     WHERE c.name LIKE 'A%' AND o.total > 10 GROUP BY c.id ORDER BY 3 DESC",
    "SELECT o.id FROM orders o WHERE EXISTS (SELECT 1 FROM order_items i WHERE i.order_id = o.id) \
     AND o.customer_id IN (SELECT id FROM customers WHERE country = 'DE')",
    "SELECT d.title FROM ONLY documents d JOIN customers c ON c.id = d.owner_id, countries k \
     WHERE k.code = c.country",
    "WITH t AS (SELECT id, total FROM orders WHERE total > 10) SELECT t.id FROM t JOIN orders USING (id)",
    "SELECT x.n, s.value FROM (SELECT c.name AS n, c.id FROM customers c) x, \
     LATERAL (SELECT value FROM settings WHERE key = x.n) s",
    "INSERT INTO documents (title, body) SELECT name, email FROM customers WHERE id = $1 \
     UNION ALL SELECT sku, title FROM products",
    "INSERT INTO settings (key, value) VALUES ($1, $2), ('b', 'c') \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE settings.value <> 'x' RETURNING *",
    "INSERT INTO settings SELECT * FROM settings ON CONFLICT DO NOTHING",
    "UPDATE orders o SET memo = $1, total = total + 1 FROM customers c \
     WHERE c.id = o.customer_id AND c.name = $2 RETURNING o.*, c.name",
    "MERGE INTO settings s USING (SELECT sku, title FROM products) p ON s.key = p.sku \
     WHEN MATCHED AND s.value <> p.title THEN UPDATE SET value = p.title \
     WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (key, value) VALUES (p.sku, p.title)",
    "MERGE INTO documents USING customers c ON documents.owner_id = c.id \
     WHEN NOT MATCHED BY SOURCE AND documents.title = 'x' THEN UPDATE SET body = 'gone' \
     WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN NOT MATCHED AND c.id > 7 THEN INSERT VALUES (c.id, 'a')",
    "SELECT o.id FROM ONLY orders o TABLESAMPLE bernoulli (50) REPEATABLE (1) WHERE o.total > 1",
    "WITH RECURSIVE t AS (SELECT id, parent_id FROM categories UNION ALL SELECT c.id, c.parent_id \
     FROM categories c JOIN t ON c.parent_id = t.id) SEARCH DEPTH FIRST BY id SET o \
     CYCLE id SET m USING p SELECT id, m FROM t ORDER BY o",
    "SELECT j.id FROM customers JOIN documents USING (id) AS j WHERE j.id > 1 FOR NO KEY UPDATE",
    "SELECT xmlelement(name a, xmlattributes(c.id AS i), c.name) FROM customers c ORDER BY c.id USING <",
    "INSERT INTO settings AS s (key, value) VALUES ('a', 'b') ON CONFLICT (key COLLATE \"C\") WHERE key <> 'z' \
     DO UPDATE SET value = excluded.value WHERE s.key <> 'q' RETURNING s.*",
    "DECLARE c CURSOR FOR SELECT id, name FROM customers WHERE id > $1",
    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT o.id FROM ONLY orders o WHERE o.total > 1 FOR UPDATE",
    "EXPLAIN SELECT c.id, count(*) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id",
    "EXPLAIN (VERBOSE, FORMAT JSON) UPDATE orders SET memo = 'x' WHERE id = 1",
    "EXPLAIN (ANALYZE OFF) DECLARE c CURSOR FOR SELECT key FROM settings",
    "TRUNCATE audit_log",
    "TRUNCATE settings, ONLY bookings, order_items",
    "UPDATE orders SET memo = 'x' WHERE CURRENT OF c RETURNING *",
    "DELETE FROM orders o USING customers c WHERE CURRENT OF c",
    "LOCK TABLE orders, ONLY customers IN ACCESS SHARE MODE",
    "FETCH FORWARD 2 FROM c",
    "MOVE ABSOLUTE 2 IN c",
    "EXECUTE q (1, lower('A'), '2024-01-01'::date)",
    "PREPARE q AS SELECT 1",
    "DEALLOCATE q",
    "CLOSE c",
    "COMMIT AND CHAIN",
    "SET CONSTRAINTS ALL DEFERRED",
    "UPDATE customers SET tags[1] = 'x' WHERE id = 1 RETURNING *",
    "COPY settings TO STDOUT",
    "COPY order_items (qty, order_id) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE (qty))",
    "COPY (SELECT key, value FROM settings WHERE key > 'a' ORDER BY value) TO STDOUT (FORMAT binary)",
    "COPY (UPDATE settings SET value = 'x' WHERE key = 'a' RETURNING *) TO STDOUT",
    "COPY settings FROM STDIN",
    "COPY settings (value, key) FROM STDIN WITH (FORMAT csv, NULL 'x', HEADER match)",
    "COPY documents FROM STDIN WITH (DELIMITER '|') WHERE length(title) > 1 AND owner_id = 7",
    "SELECT * FROM v_open_orders v WHERE v.total > 10",
    "SELECT * FROM v_open_orders v JOIN customers c ON lower(c.name) = upper(v.memo) WHERE lower(v.memo) LIKE 'a%'",
    "SELECT c.id, c.name, count(*) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY 1",
    "SELECT id, c.name FROM customers c LEFT JOIN orders o USING (id) GROUP BY id",
    "SELECT t.name, v_open_orders.memo FROM v_customer_totals AS t (number) JOIN v_open_orders \
     ON v_open_orders.customer_id = t.number WHERE t.n_orders = $1 FOR UPDATE OF v_open_orders",
    "SELECT o.id FROM orders o LEFT JOIN customers c ON c.id = o.customer_id AND c.name ~ o.memo \
     WHERE o.id > 3 AND lower(o.memo) = 'x' AND (o.total / 2 > 1 OR o.id = 1)",
    "SELECT id FROM customers c WHERE name LIKE $1 AND EXISTS (SELECT 1 FROM orders o \
     WHERE o.customer_id = c.id AND o.memo ~ 'x')",
    "UPDATE orders o SET memo = 'x' FROM customers c WHERE c.id = o.customer_id AND c.name ~ o.memo",
    "SELECT s.n FROM (SELECT lower(name) AS n, id FROM customers) s WHERE s.n = 'x' AND s.id > 1",
    "SELECT o.id FROM orders o NATURAL JOIN customers WHERE o.memo ~ 'x' AND total / 2 > 1",
    "SELECT country FROM customers GROUP BY country HAVING lower(country) = 'de' AND count(*) > 1",
    "DELETE FROM order_items i USING orders o WHERE o.id = i.order_id AND o.status = 'new' RETURNING *",
    "UPDATE v_open_orders SET memo = $1, total = v_open_orders.total + 1 FROM customers c \
     WHERE c.id = customer_id AND c.name = $2 RETURNING *",
    "DELETE FROM v_open_orders AS v RETURNING v.memo, v.*",
    "INSERT INTO v_open_orders (id, customer_id, memo) VALUES ($1, 1, 'x'), ($2, 2, 'y') \
     ON CONFLICT (id) DO UPDATE SET memo = excluded.memo WHERE v_open_orders.total > 1 RETURNING memo",
    "INSERT INTO v_open_orders SELECT id, id FROM customers",
];

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("mutants::every_one_is_refused", every_one_is_refused),
        Trial::test("mutants::of_a_scope_are_refused", of_a_scope_are_refused),
        Trial::test("mutants::via_are_refused", via_are_refused),
        Trial::test(
            "mutants::a_proof_holds_under_its_own_grant",
            a_proof_holds_under_its_own_grant,
        ),
    ]
}

fn every_one_is_refused() -> Result<(), Failed> {
    let tally = refused_under(&fixture::classified(), &statements())?;
    assert!(tally.mutants >= MUTANTS_AT_LEAST, "only {tally:?}");
    assert!(tally.proved >= PROVED_AT_LEAST, "only {tally:?}");
    assert!(tally.spliced >= PROVED_AT_LEAST, "only {tally:?}");
    Ok(())
}

/// What an admin writes under a grant over tenants 1 and 2.
const SCOPED: &[&str] = &[
    "COPY settings TO STDOUT",
    "COPY (SELECT o.id, o.tenant_id FROM orders o WHERE o.total > 10) TO STDOUT",
    "SELECT * FROM settings",
    "SELECT o.tenant_id, count(*) FROM orders o WHERE o.total > 10 GROUP BY o.tenant_id",
    "SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer_id \
     AND c.tenant_id = o.tenant_id WHERE o.id = $1",
    "SELECT id FROM orders NATURAL JOIN customers",
    "SELECT tenant_id FROM orders WHERE customer_id IN (SELECT id FROM customers) \
     UNION SELECT tenant_id FROM settings",
    "WITH t AS (SELECT tenant_id, id FROM orders) SELECT t.id FROM t JOIN order_items i \
     ON i.order_id = t.id AND i.tenant_id = t.tenant_id",
    "UPDATE orders o SET memo = $1 FROM customers c WHERE c.id = o.customer_id RETURNING o.id",
    "DELETE FROM order_items WHERE tenant_id = 1 OR qty = 2",
    "INSERT INTO settings (tenant_id, key, value) VALUES (1, 'a', 'b'), ($1, $2, 'c')",
    "INSERT INTO settings (key, tenant_id, value) SELECT name, c.tenant_id, email FROM customers c \
     UNION ALL SELECT key, 2, value FROM settings",
    "INSERT INTO settings (tenant_id, key, value) VALUES (1, 'a', 'b') \
     ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value WHERE settings.value <> 'x' \
     RETURNING *",
];

/// Fewer statements under a scope that are rewritten in the second way, which adds no rows there.
const SPLICED_OF_SCOPE_AT_LEAST: usize = 8;

/// Fewer mutants of a scope than this, and the test tests nothing.
const OF_SCOPE_AT_LEAST: usize = 1_000;

fn of_a_scope_are_refused() -> Result<(), Failed> {
    let rows = Rows::Of([1, 2].map(TenantKey::Integer).into_iter().collect());
    let under = fixture::classified().under(grants::scope(rows, None, None));
    let statements: Vec<(String, String)> = SCOPED
        .iter()
        .map(|sql| ("scope".to_owned(), (*sql).to_owned()))
        .collect();
    let tally = refused_under(&under, &statements)?;
    let first = tally.proved - tally.spliced;
    let copies = SCOPED.iter().filter(|sql| sql.starts_with("COPY")).count();
    assert_eq!(first, SCOPED.len() - copies, "all are proved: {tally:?}");
    assert!(tally.spliced >= SPLICED_OF_SCOPE_AT_LEAST, "only {tally:?}");
    assert!(tally.mutants >= OF_SCOPE_AT_LEAST, "only {tally:?}");
    for kind in [
        "scope dropped",
        "scope widened",
        "check dropped",
        "ELSE the value",
    ] {
        assert!(tally.by_kind.contains_key(kind), "no mutant: {kind}");
    }
    Ok(())
}

/// Fewer mutants of tables that reach their tenant through another one than this, and the test tests nothing.
const VIA_AT_LEAST: usize = 20_000;

fn via_are_refused() -> Result<(), Failed> {
    let (shared, private) = (SHARED.database(), PRIVATE.database());
    via::make(&shared, &private);
    let classified = via::classified(&shared);
    let statements = [READS, WRITES].concat();
    let statements: Vec<(String, String)> = statements
        .into_iter()
        .map(|sql| ("via".to_owned(), sql.to_owned()))
        .collect();
    let tally = refused_under(&classified, &statements)?;
    assert!(tally.mutants >= VIA_AT_LEAST, "only {tally:?}");
    let rows = Rows::Of([1, 2].map(TenantKey::Integer).into_iter().collect());
    let under = classified.under(grants::scope(rows, None, None));
    refused_under(&under, &statements).map(|_tally| ())
}

/// What was made under one grant, or under none, is not proved under another; and what is proved bears
/// the keys of the grant that it was proved under.
fn a_proof_holds_under_its_own_grant() -> Result<(), Failed> {
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };
    let over = |keys: &[i64]| Rows::Of(keys.iter().copied().map(TenantKey::Integer).collect());
    let tenant = || Rows::AsTenant(TenantKey::Integer(1));
    let all = fixture::classified();
    let own = all.under(grants::scope(over(&[1, 2]), None, None));
    let (customers, select) = (names(&["customers"]), names(&["select"]));
    let others = [
        ("no grant", all.clone()),
        (
            "other tables",
            all.under(grants::scope(over(&[1, 2]), Some(&customers), None)),
        ),
        (
            "as a tenant",
            all.under(grants::scope(tenant(), None, None)),
        ),
        (
            "a tenant's own database",
            all.under(grants::scope(Rows::All, None, None)),
        ),
    ];
    for sql in [
        "SELECT memo FROM orders",
        "UPDATE orders SET memo = 'x'",
        "DELETE FROM order_items",
        "INSERT INTO settings (tenant_id, key) VALUES (1, 'a')",
    ] {
        let made =
            |under: &Classified| prepare(sql.as_bytes(), &[], under).map(|mut all| all.remove(0));
        let prepared = made(&own)?;
        for (kind, other) in &others {
            assert!(
                claimed(&prepared, &prepared.template, other).is_err(),
                "{kind}: {sql}"
            );
            if let Ok(theirs) = made(other) {
                assert!(
                    claimed(&theirs, &theirs.template, &own).is_err(),
                    "{kind}: {sql}"
                );
            }
        }
        let reading = all.under(grants::scope(over(&[1, 2]), None, Some(&select)));
        let read = claimed(&prepared, &prepared.template, &reading);
        assert_eq!(read.is_ok(), sql.starts_with("SELECT"), "{sql}");
        let wider = all.under(grants::scope(over(&[1, 2, 3]), None, None));
        for (under, keys) in [(&own, "'{1,2}'"), (&wider, "'{1,2,3}'")] {
            let verified = claimed(&prepared, &prepared.template, under)?;
            assert!(
                verified.with_tenant(&TenantKey::Integer(1)).is_err(),
                "{sql}"
            );
            let bypassed = BypassedStatement::new(verified).expect("it was proved under a scope");
            assert_eq!(Some(bypassed.scope()), under.scope());
            assert!(bypassed.with_scope()?.contains(keys), "{sql}");
        }
    }
    let prepared = prepare(b"SELECT memo FROM orders", &[], &all)?.remove(0);
    let verified = claimed(&prepared, &prepared.template, &all)?;
    assert!(verified.with_scope().is_err());
    assert!(
        BypassedStatement::new(verified).is_err(),
        "a tenant's statement is no admin's"
    );
    Ok(())
}

/// What the mutants came to.
#[derive(Debug)]
struct Tally {
    mutants: usize,
    proved: usize,
    spliced: usize,
    by_kind: BTreeMap<String, usize>,
}

/// Makes every mutant of the statements; one that the verifier lets pass fails the trial.
fn refused_under(
    classified: &Classified,
    statements: &[(String, String)],
) -> Result<Tally, Failed> {
    let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
    let mut survivors = Vec::new();
    let mut proofs = 0;
    let mut spliced = 0;
    for (id, sql) in statements {
        // In the first way where it can, and in the second.
        let first = prepare(sql.as_bytes(), &[], classified).unwrap_or_default();
        let second = splice(sql, &[], classified).ok();
        let is_second = |prepared: &Prepared| matches!(prepared.reading, Reading::Spliced { .. });
        let first = first.into_iter().filter(|first| !is_second(first));
        for prepared in first.chain(second) {
            let Ok((_, prepared)) = proved(prepared, &[], classified) else {
                continue;
            };
            proofs += 1;
            spliced += usize::from(is_second(&prepared));
            for (kind, text) in mutants(&prepared.template) {
                *by_kind.entry(kind.clone()).or_default() += 1;
                let template = honest(&prepared.template, text);
                // One edit of the whole text is as true as any other.
                let whole = is_second(&prepared).then(|| whole(&prepared, &template));
                let prepared = whole.as_ref().unwrap_or(&prepared);
                if claimed(prepared, &template, classified).is_ok() {
                    let before = &prepared.template.text;
                    survivors.push(format!("{kind} {id}\n  {before}\n  {}", template.text));
                }
            }
        }
    }
    let all: usize = by_kind.values().sum();
    println!("{all} mutants of {proofs} statements, {spliced} of them spliced: {by_kind:?}");
    if !survivors.is_empty() {
        return Err(format!("{} survivors\n{}", survivors.len(), survivors.join("\n")).into());
    }
    Ok(Tally {
        mutants: all,
        proved: proofs,
        spliced,
        by_kind,
    })
}

/// The core cases' statements, by the case.
fn statements() -> Vec<(String, String)> {
    let file =
        std::fs::read_to_string(crate::support::case_file("isolation.jsonl")).expect("the cases");
    let mut statements: Vec<(String, String)> = MORE
        .iter()
        .map(|sql| ("more".to_owned(), (*sql).to_owned()))
        .collect();
    for line in file.lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("a case is JSON");
        let id = case["id"].as_str().expect("an id");
        let group = id.get(3..).unwrap_or_default();
        if CORE.iter().any(|core| group.starts_with(core)) {
            for sql in case["sql"].as_array().expect("steps") {
                let sql = sql.as_str().expect("a text");
                let sql = sql.trim_start_matches("A: ").trim_start_matches("B: ");
                statements.push((id.to_owned(), sql.to_owned()));
            }
        }
    }
    statements
}

/// Every mutant of a rewritten text, by what was done to it.
fn mutants(template: &Template) -> Vec<(String, String)> {
    let parsed = pg_query::parse(&template.text, 0)
        .expect("a proved text")
        .protobuf;
    let before = printed(&parsed).expect("a proved text");
    let context = Context::of(&parsed, template);
    let mut found = Vec::new();
    for index in 0..tree::count(&parsed) {
        for (kind, node) in variants::of(&tree::at(&parsed, index), &context) {
            let mutant = tree::with(&parsed, index, node);
            if let Some(text) = printed(&mutant)
                && text != before
            {
                found.push((kind.to_owned(), text));
            }
        }
    }
    found
}

/// The tree as text, if it can be printed and read again.
fn printed(tree: &ParseResult) -> Option<String> {
    let text = pg_query::deparse(tree, pg_query::DeparseOptions::default()).ok()?;
    pg_query::parse(&text, 0).ok()?;
    Some(text)
}

/// The mutant as a rewriter would hand it in that tells truly where its slots are.
fn honest(template: &Template, text: String) -> Template {
    let parsed = pg_query::parse(&text, 0)
        .expect("it was read before")
        .protobuf;
    let mut slots = Vec::new();
    for index in 0..tree::count(&parsed) {
        if let NodeEnum::ParamRef(parameter) = tree::at(&parsed, index) {
            let number = u16::try_from(parameter.number).expect("a number");
            let of_tenant = number.checked_sub(template.client_parameters + 1);
            if let Some(index) = of_tenant {
                let types = &template.tenant_parameters;
                let slot_type = types.get(usize::from(index)).copied();
                slots.push(Slot {
                    offset: usize::try_from(parameter.location).expect("a position"),
                    number,
                    slot_type: slot_type.unwrap_or(SlotType::One(TenantType::Int4)),
                });
            }
        }
    }
    slots.sort_by_key(|slot| slot.offset);
    Template {
        text,
        slots,
        ..template.clone()
    }
}

/// A spliced statement whose words are all replaced by those of a text.
fn whole(prepared: &Prepared, template: &Template) -> Prepared {
    let tokens = pg_query::scan_tokens(&prepared.original).expect("it was read before");
    let is_word =
        |token: &&ScanToken| !matches!(token.token(), Token::SqlComment | Token::CComment);
    let edit = Edit {
        words: 0..tokens.iter().filter(is_word).count(),
        text: template.text.clone(),
    };
    Prepared {
        reading: Reading::Spliced { edits: vec![edit] },
        ..prepared.clone()
    }
}

fn claimed(
    prepared: &Prepared,
    template: &Template,
    classified: &Classified,
) -> Result<VerifiedStatement, Refusal> {
    verify(&Claim {
        original: &prepared.original,
        reading: &prepared.reading,
        template,
        declared_types: &[],
        classified,
    })
}
