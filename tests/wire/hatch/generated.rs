//! Statements of an admin that are made up: none shows a row outside of the scope, and all of them are on
//! record, in order, in a log in which every change is found.

use libtest_mimic::Trial;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::Value;
use tenantry::audit::{Known, verify};

use super::log::records;
use super::{admin, proxy};
use crate::support::trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![trial(
        "wire::hatch::generated_statements_keep_to_the_scope_and_are_on_record",
        check,
    )]
}

const STATEMENTS: usize = 300;

/// What of a record is changed, of so many records.
const CHANGES: usize = 300;

/// Chooses.
struct Dice(TestRng);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.next_u32()).unwrap() % limit
    }

    fn one<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.below(choices.len())]
    }

    fn column(&mut self) -> &'static str {
        self.one(&["tenant_id", "id", "name"])
    }

    fn condition(&mut self, table: &str) -> String {
        let number = self.below(4);
        let form = self.one(&[
            "@id = #",
            "@tenant_id = #",
            "@tenant_id <> #",
            "@tenant_id + @id > #",
            "@name LIKE 'CANARY-T#%'",
            "NOT (@name = 'CANARY-T#' OR @id > #)",
            "@id IN (SELECT s.id FROM items s WHERE s.tenant_id >= #)",
            "EXISTS (SELECT FROM items s WHERE s.id = @id AND s.tenant_id > #)",
            "true",
        ]);
        form.replace('@', &format!("{table}."))
            .replace('#', &number.to_string())
    }

    fn statement(&mut self) -> String {
        let (first, second) = (self.condition("items"), self.condition("b"));
        let (one, other) = (self.column(), self.column());
        let limit = self.below(4);
        match self.below(9) {
            0 => format!(
                "SELECT {one}, {other} AS o FROM items WHERE {first} ORDER BY tenant_id, id"
            ),
            1 => format!("SELECT count(*), max({one}), min({other}) AS o FROM items WHERE {first}"),
            2 => format!(
                "SELECT items.{one}, b.{other} AS o FROM items LEFT JOIN items b ON b.id = items.id AND {second} \
                 ORDER BY items.tenant_id, items.id, b.tenant_id"
            ),
            3 => format!(
                "SELECT tenant_id, count(*) FROM items WHERE {first} GROUP BY tenant_id ORDER BY 1"
            ),
            4 => format!("SELECT * FROM items WHERE {first} ORDER BY 1, 2 LIMIT {limit}"),
            5 => format!(
                "SELECT {one}::text AS c FROM items WHERE {first} UNION SELECT b.{other}::text FROM items b \
                 WHERE {second} ORDER BY 1"
            ),
            6 => format!(
                "WITH w AS (SELECT * FROM items WHERE {first}) SELECT w.{one}, b.{other} AS o FROM w \
                 JOIN items b USING (id) WHERE {second} ORDER BY w.tenant_id, b.tenant_id, id"
            ),
            7 => format!(
                "SELECT (SELECT max({one}) FROM items WHERE {first}) AS c, b.id FROM items b WHERE {second} \
                 ORDER BY b.tenant_id, b.id"
            ),
            _ => format!(
                "SELECT row_number() OVER (ORDER BY tenant_id, id) AS n, {one} FROM items WHERE {first} ORDER BY 1"
            ),
        }
    }
}

fn check() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    raw.query("SET tenantry.bypass = 'read'");
    let mut dice = Dice(TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]));
    let mut sent = Vec::new();
    for _ in 0..STATEMENTS {
        let sql = dice.statement();
        let rows = format!("SELECT row_to_json(x)::text AS j FROM ({sql}) AS x");
        let found = raw.rows(&rows).join("\n");
        let wanted = proxy.shared.value(&format!(
            "WITH items AS (SELECT * FROM public.items WHERE tenant_id IN (1, 2)) \
             SELECT coalesce(string_agg(j, E'\\n'), '') FROM ({rows}) AS y"
        ));
        assert_eq!(found, wanted, "{sql}");
        sent.push(rows);
    }
    drop(raw);
    let records = records(&proxy, ("grant_ended", 1));
    let statements = records
        .iter()
        .filter(|record| record["event"] == "statement");
    let logged: Vec<&str> = statements
        .skip(1)
        .map(|record| record["statement"].as_str().unwrap())
        .collect();
    assert_eq!(logged, sent);
    for (statement, outcome) in records.iter().zip(records.iter().skip(1)) {
        if statement["event"] == "statement"
            && statement["statement"] != "SET tenantry.bypass = 'read'"
        {
            assert_eq!(outcome["event"], "outcome");
            assert_eq!(outcome["statement"], statement["seq"]);
        }
    }
    every_change_is_found(&proxy.directory().join("audit"), &records, &mut dice);
}

/// A flipped byte of any record, a record that is dropped, or in the place of another, and a cut file.
fn every_change_is_found(log: &std::path::Path, records: &[Value], dice: &mut Dice) {
    // The head follows the record.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    for name in ["audit.jsonl", "audit.jsonl.head"] {
        std::fs::copy(log.join(name), folder.path().join(name)).unwrap();
    }
    let is_found = || {
        let report = verify(&file, &Known::default());
        report.finding.is_some()
    };
    let whole = std::fs::read(&file).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(lines.len() >= records.len() && lines.len() > 2 * STATEMENTS);
    assert!(!is_found());
    for change in 0..CHANGES {
        let at = dice.below(lines.len() - 1);
        let mut changed: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
        match change % 4 {
            0 => {
                let byte = dice.below(lines[at].len());
                changed[at][byte] ^= 1 << dice.below(7);
            }
            1 => drop(changed.remove(at)),
            2 => changed.swap(at, at + 1),
            _ => {
                let cut = dice.below(lines[at].len());
                changed.truncate(at + 1);
                changed[at].truncate(cut);
            }
        }
        std::fs::write(&file, changed.concat()).unwrap();
        assert!(is_found(), "change {change} of record {}", at + 1);
    }
}
