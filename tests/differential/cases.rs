//! The isolation cases in the simple protocol.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use tenantry::isolate::refusal::Refusal;

use tenantry::tenant::Classified;

use super::{Answer, PRIVATE, SHARED, ask, connect, foreign_rows, shows_foreign_rows};
use crate::fixture;
use crate::support::{Database, runtime};

/// Cases answered as the private database does; a change that lowers it is a regression.
const SAME_AT_LEAST: usize = 100;

/// A case, as far as it is played here.
struct Case {
    id: String,
    sql: Vec<String>,
    setup: Option<String>,
    /// The same for the private database.
    setup_private: Option<String>,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    /// A foreign row was shown or changed.
    Leak,
    /// Refused by the rewriter or the verifier.
    Refused,
    /// As on the private database.
    Same,
    /// Admitted, but with another answer.
    Wrong,
}

/// What becomes of a statement.
type Isolate = fn(&str, &Classified) -> Result<String, Refusal>;

/// Plays the cases, but for those of these names.
pub(super) fn check(isolate: Isolate, without: &[&str]) -> Result<(), Failed> {
    let mut tally: BTreeMap<Verdict, usize> = BTreeMap::new();
    let mut bad = Vec::new();
    let mut shared = SHARED.database();
    let mut private = PRIVATE.database();
    for case in cases()
        .into_iter()
        .filter(|case| !without.contains(&case.id.as_str()))
    {
        let (verdict, why) = play(&case, &shared, &private, isolate);
        *tally.entry(verdict).or_default() += 1;
        if matches!(verdict, Verdict::Leak | Verdict::Wrong) {
            bad.push(format!("{verdict:?} {}: {:?}\n{why}", case.id, case.sql));
        }
        let only_reads = case.setup.is_none()
            && case
                .sql
                .iter()
                .all(|sql| sql.to_uppercase().starts_with("SELECT"));
        if !only_reads {
            (shared, private) = (SHARED.database(), PRIVATE.database());
        }
    }
    println!("isolation cases: {tally:?}");
    if !bad.is_empty() {
        return Err(bad.join("\n\n").into());
    }
    let same = tally.get(&Verdict::Same).copied().unwrap_or_default();
    assert!(
        same >= SAME_AT_LEAST,
        "only {same} cases are answered as the private database does"
    );
    Ok(())
}

/// Those that one session plays in the simple protocol, and whose answer must be the private one.
fn cases() -> Vec<Case> {
    let file =
        std::fs::read_to_string(crate::support::case_file("isolation.jsonl")).expect("the cases");
    let parsed = file
        .lines()
        .map(|line| -> serde_json::Value { serde_json::from_str(line).expect("a case is JSON") });
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    parsed
        .filter(|case| {
            case["session"] == "simple"
                && case["expect"] == "same_as_single_tenant"
                && case["needs_pg"].as_u64() <= Some(15)
                && case["copy_data"].is_null()
                && !names_a_statement(&case["sql"])
        })
        .map(|case| Case {
            id: text(&case["id"]),
            sql: case["sql"]
                .as_array()
                .expect("steps")
                .iter()
                .map(text)
                .collect(),
            setup: case["setup"].as_str().map(str::to_owned),
            setup_private: case["setup_single"].as_str().map(str::to_owned),
        })
        .collect()
}

/// The session knows what EXECUTE means, and there is none here.
fn names_a_statement(sql: &serde_json::Value) -> bool {
    sql.to_string().contains("EXECUTE")
}

fn play(case: &Case, shared: &Database, private: &Database, isolate: Isolate) -> (Verdict, String) {
    if let Some(setup) = &case.setup {
        // What an operator adds to the shared schema; the policy does not know it.
        shared.execute(setup);
    }
    if let Some(setup) = &case.setup_private {
        private.execute(setup);
    }
    let classified = fixture::classified();
    let texts: Result<Vec<String>, Refusal> = case
        .sql
        .iter()
        .map(|sql| isolate(sql, &classified))
        .collect();
    let texts = match texts {
        Ok(texts) => texts,
        Err(refusal) => return (Verdict::Refused, refusal.to_string()),
    };
    let before = foreign_rows(shared);
    let (expected, found) = runtime().block_on(async {
        let (on_private, on_shared) = (connect(private).await, connect(shared).await);
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for (sql, text) in case.sql.iter().zip(&texts) {
            expected.push(ask(&on_private, sql).await);
            found.push(ask(&on_shared, text).await);
        }
        (expected, found)
    });
    let shown: Vec<&str> = found.iter().map(|(_, shown)| shown.as_str()).collect();
    let said = case.sql.iter().any(|sql| shows_foreign_rows(sql));
    if foreign_rows(shared) != before || (!said && shows_foreign_rows(&shown.join("\n"))) {
        return (Verdict::Leak, shown.join("\n"));
    }
    let answers = |of: &[(Answer, String)]| -> Vec<Answer> {
        of.iter().map(|(answer, _)| answer.clone()).collect()
    };
    if answers(&expected) == answers(&found) {
        (Verdict::Same, String::new())
    } else {
        let wanted: Vec<&str> = expected.iter().map(|(_, shown)| shown.as_str()).collect();
        let report = format!(
            "sent {}\nfound {}\nwanted {}",
            texts.join(" ;; "),
            shown.join("\n"),
            wanted.join("\n")
        );
        (Verdict::Wrong, report)
    }
}
