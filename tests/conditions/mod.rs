//! The conditions that applications really write: they are silent as they stand, and PostgreSQL reads the
//! tables by the same indexes as for a statement in which a hand wrote the tenant's tests.
//!
//! In: `clients.txt`, what ORMs send, and `usual.txt`, the usual conditions over the demo's shop. Out: how many
//! conjuncts of WHERE, ON and HAVING need neither mask nor shield, the others by reason, and each plan
//! that is not the hand's. `TENANTRY_CPU=n` also measures the server's time, n times each.

mod cpu;

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use tenantry::admitted::Admitted;
use tenantry::catalog::RelationName;
use tenantry::isolate::isolate;
use tenantry::isolate::refusal::{Reason, Refusal};
use tenantry::isolate::{Prepared, prepare};
use tenantry::tenant::{Classified, Policy, TablePolicy, TenantKey, TrustedTrigger, Unlisted};
use tenantry::verify::{Claim, verify};

use crate::catalog::read;
use crate::support::{Database, Fixture};

const CLIENTS: Fixture = Fixture {
    name: "clients",
    files: &["tests/conditions/clients_schema.sql"],
};

const SHOP: Fixture = Fixture {
    name: "shop",
    files: &[
        "demo/legacy.sql",
        "demo/add_tenant_id.sql",
        "tests/conditions/shop.sql",
    ],
};

/// Of ten thousand conjuncts so many are silent.
const SILENT_AT_LEAST: usize = 9_800;

/// The tables of one tenant's hand-written statement.
const ALIASES: [&str; 8] = ["o", "c", "p", "l", "r", "s", "j", "a"];

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("conditions::are_silent", are_silent),
        Trial::test("conditions::use_the_same_index", use_the_same_index),
        Trial::test("conditions::cost_the_same", cpu::cost_the_same),
    ]
}

fn classified(database: &Database) -> Classified {
    let policy = Policy {
        tenant_column: "tenant_id".to_owned(),
        unlisted: Unlisted::ByColumn,
        tables: BTreeMap::from([(
            RelationName::new("public", "countries"),
            TablePolicy::Shared { writable: false },
        )]),
        trusted_functions: Vec::new(),
        trusted_triggers: vec![TrustedTrigger {
            name: "orders_touch".to_owned(),
            table: RelationName::new("public", "orders"),
        }],
        explain_costs: false,
    };
    Classified::new(read(database).expect("a catalog"), policy)
}

fn lines(file: &str) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conditions");
    let text = std::fs::read_to_string(path.join(file)).expect("a file of this folder");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The usual statements, as an application writes them and as a hand would.
fn usual() -> Vec<(String, String)> {
    let pairs = lines("usual.txt").into_iter().map(|line| {
        let (mut plain, mut by_hand) = (line.clone(), line);
        for alias in ALIASES {
            let place = format!("{{{alias}}}");
            plain = plain.replace(&place, "");
            by_hand = by_hand.replace(&place, &format!(" AND {alias}.tenant_id = 1"));
        }
        (plain, by_hand)
    });
    pairs.collect()
}

/// What the demo's tour runs on PostgreSQL, its attacks and its admin aside.
fn of_the_tour() -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/tour.txt");
    let text = std::fs::read_to_string(path).expect("the tour");
    let steps = text
        .split("\n\n")
        .filter(|step| step.starts_with("check same") || step.starts_with("check rewrite"));
    let run = steps.filter_map(|step| step.lines().find_map(|line| line.strip_prefix("run ")));
    run.map(str::to_owned).collect()
}

/// How many conjuncts there are, and why some are not silent.
#[derive(Default)]
struct Tally {
    conjuncts: usize,
    loud: usize,
    reasons: BTreeMap<String, Vec<String>>,
    refused: Vec<String>,
}

fn are_silent() -> Result<(), Failed> {
    let clients = classified(&CLIENTS.database());
    let shop = classified(&SHOP.database());
    let mut tally = Tally::default();
    for sql in lines("clients.txt") {
        tally.count(&sql, &clients);
    }
    for sql in usual().into_iter().map(|(sql, _)| sql).chain(of_the_tour()) {
        tally.count(&sql, &shop);
    }
    let silent = tally.conjuncts - tally.loud;
    let hundredths = silent * 10_000 / tally.conjuncts;
    let share = format!("{}.{:02} %", hundredths / 100, hundredths % 100);
    println!(
        "{silent} of {} conditions are silent: {share}",
        tally.conjuncts
    );
    for (reason, statements) in &tally.reasons {
        println!("{:>3} {reason}", statements.len());
        for sql in statements {
            println!("      {}", sql.chars().take(160).collect::<String>());
        }
    }
    println!("{} statements are refused", tally.refused.len());
    for refusal in &tally.refused {
        println!("      {refusal}");
    }
    if hundredths < SILENT_AT_LEAST {
        return Err(format!("only {share} of the conditions are silent").into());
    }
    Ok(())
}

impl Tally {
    fn count(&mut self, sql: &str, classified: &Classified) {
        let parsed = pg_query::parse(sql, 0).expect("a statement that PostgreSQL reads");
        let tree = serde_json::to_value(&parsed.protobuf).expect("a tree");
        let conjuncts = conditions(&tree);
        let plainly = without_remedies(sql, classified);
        let loud = match (isolate(sql.as_bytes(), &[], classified), plainly) {
            (_, Ok(())) => return self.conjuncts += conjuncts,
            (Ok(isolated), Err(refusal)) => {
                let text = isolated.iter().map(|one| match &one.admitted {
                    Admitted::Isolated(verified) => verified.text(),
                    Admitted::Bypassed(_) => unreachable!("no grant"),
                });
                // Masks of several columns serve one conjunct, or several; they count as one.
                let remedied = text.map(|text| {
                    let masks = usize::from(text.contains("ELSE NULL::"));
                    text.matches("IS NOT FALSE THEN").count().max(masks)
                });
                (remedied.sum::<usize>(), refusal)
            }
            (Err(_), Err(refusal))
                if matches!(refusal.reason, Reason::ConditionNotSilent { .. }) =>
            {
                (1, refusal)
            }
            (Err(refusal), Err(_)) => {
                return self.refused.push(format!("{refusal}: {sql}"));
            }
        };
        self.conjuncts += conjuncts;
        self.loud += loud.0;
        let reasons = self.reasons.entry(loud.1.to_string()).or_default();
        reasons.push(sql.to_owned());
    }
}

/// Whether a statement is proved as it stands, with the tenants' tests and nothing else.
fn without_remedies(sql: &str, classified: &Classified) -> Result<(), Refusal> {
    for Prepared {
        original,
        reading,
        template,
        ..
    } in prepare(sql.as_bytes(), &[], classified)?
    {
        verify(&Claim {
            original: &original,
            reading: &reading,
            template: &template,
            declared_types: &[],
            classified,
        })?;
    }
    Ok(())
}

/// The conjuncts of all conditions in a tree.
fn conditions(tree: &Value) -> usize {
    match tree {
        Value::Array(all) => all.iter().map(conditions).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let here = match name.as_str() {
                    "where_clause" | "quals" | "having_clause" if !value.is_null() => {
                        conjuncts(value)
                    }
                    _ => 0,
                };
                here + conditions(value)
            })
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn conjuncts(condition: &Value) -> usize {
    let and = serde_json::json!(i32::from(pg_query::protobuf::BoolExprType::AndExpr));
    let operation = &condition["node"]["BoolExpr"];
    match operation["args"].as_array() {
        Some(all) if operation["boolop"] == and => all.iter().map(conjuncts).sum(),
        Some(_) | None => 1,
    }
}

/// The text that is sent for the tenant 1.
fn sent(sql: &str, classified: &Classified) -> Result<String, Refusal> {
    let isolated = isolate(sql.as_bytes(), &[], classified)?;
    let texts: Result<Vec<String>, Refusal> = isolated
        .iter()
        .map(|one| match &one.admitted {
            Admitted::Isolated(verified) => verified.with_tenant(&TenantKey::Integer(1)),
            Admitted::Bypassed(bypassed) => bypassed.with_scope(),
        })
        .collect();
    texts.map(|texts| texts.join("; "))
}

fn use_the_same_index() -> Result<(), Failed> {
    let database = SHOP.database();
    // A copy of a database has the statistics, but not what VACUUM knows.
    database.execute("VACUUM ANALYZE");
    let classified = classified(&database);
    let mut other = Vec::new();
    let mut same = 0;
    for (plain, by_hand) in usual() {
        let sent = match sent(&plain, &classified) {
            Ok(sent) => sent,
            Err(refusal) => {
                other.push(format!("{plain}\n  {refusal}"));
                continue;
            }
        };
        let (found, wanted) = (plan(&database, &sent), plan(&database, &by_hand));
        if found == wanted {
            same += 1;
        } else {
            other.push(format!(
                "{plain}\n  sent    {sent}\n  found   {found:?}\n  by hand {wanted:?}"
            ));
        }
    }
    println!("{same} usual statements have the hand's plan");
    if other.is_empty() {
        Ok(())
    } else {
        Err(other.join("\n").into())
    }
}

/// How each table is read: the node, the table and the index.
fn plan(database: &Database, sql: &str) -> Vec<String> {
    let text = database.value(&format!("EXPLAIN (FORMAT JSON, COSTS OFF) {sql}"));
    let plan: Value = serde_json::from_str(&text).expect("a plan");
    let mut nodes = Vec::new();
    collect(&plan[0]["Plan"], &mut nodes);
    nodes
}

fn collect(node: &Value, nodes: &mut Vec<String>) {
    let part = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
    let (table, index) = (part("Relation Name"), part("Index Name"));
    if !table.is_empty() || !index.is_empty() {
        nodes.push(format!("{} {table} {index}", part("Node Type")));
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        collect(below, nodes);
    }
}
