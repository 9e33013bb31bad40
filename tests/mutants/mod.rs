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

mod tree;
mod variants;

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use pg_query::NodeEnum;
use pg_query::protobuf::{ParseResult, ScanToken, Token};
use tenantry::isolate::refusal::Refusal;
use tenantry::isolate::template::{Edit, Reading, Slot, Template};
use tenantry::isolate::{Prepared, prepare, splice};
use tenantry::tenant::{Classified, TenantType};
use tenantry::verify::{Claim, VerifiedStatement, verify};

use crate::fixture;
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
    "UPDATE customers SET tags[1] = 'x' WHERE id = 1 RETURNING *",
    "DELETE FROM order_items i USING orders o WHERE o.id = i.order_id AND o.status = 'new' RETURNING *",
];

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "mutants::every_one_is_refused",
        every_one_is_refused,
    )]
}

fn every_one_is_refused() -> Result<(), Failed> {
    let classified = fixture::classified();
    let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
    let mut survivors = Vec::new();
    let mut proved = 0;
    let mut spliced = 0;
    for (id, sql) in statements() {
        // In the first way where it can, and in the second.
        let first = prepare(sql.as_bytes(), &[], &classified).unwrap_or_default();
        let second = splice(&sql, &[], &classified).ok();
        let is_second = |prepared: &Prepared| matches!(prepared.reading, Reading::Spliced { .. });
        let first = first.into_iter().filter(|first| !is_second(first));
        for prepared in first.chain(second) {
            if claimed(&prepared, &prepared.template, &classified).is_err() {
                continue;
            }
            proved += 1;
            spliced += usize::from(is_second(&prepared));
            for (kind, text) in mutants(&prepared.template) {
                *by_kind.entry(kind.clone()).or_default() += 1;
                let template = honest(&prepared.template, text);
                // One edit of the whole text is as true as any other.
                let whole = is_second(&prepared).then(|| whole(&prepared, &template));
                let prepared = whole.as_ref().unwrap_or(&prepared);
                if claimed(prepared, &template, &classified).is_ok() {
                    let before = &prepared.template.text;
                    survivors.push(format!("{kind} {id}\n  {before}\n  {}", template.text));
                }
            }
        }
    }
    let all: usize = by_kind.values().sum();
    println!("{all} mutants of {proved} statements, {spliced} of them spliced: {by_kind:?}");
    if !survivors.is_empty() {
        return Err(format!("{} survivors\n{}", survivors.len(), survivors.join("\n")).into());
    }
    assert!(all >= MUTANTS_AT_LEAST, "only {all} mutants");
    assert!(proved >= PROVED_AT_LEAST, "only {proved} statements");
    assert!(spliced >= PROVED_AT_LEAST, "only {spliced} spliced");
    Ok(())
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
                    slot_type: slot_type.unwrap_or(TenantType::Int4),
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
