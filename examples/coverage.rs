//! How much of a corpus of statements is read, and why the rest is not.
//!
//! `coverage FILE [KIND ...]`: a file of JSON lines with the fields `kind`, PostgreSQL's name of the
//! statement's node, and `sql`; of these kinds only, if there are any. A statement counts as read unless it
//! is refused for what it is rather than for what it names: the names are not those of the catalog
//! that is at hand. A statement that PostgreSQL cannot read either does not count.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a tool for developers, with the integration tests' fixture"
)]

#[path = "../tests/fixture.rs"]
mod fixture;

use std::collections::BTreeMap;

use tenantry::isolate::isolate;

/// What says that a statement was not understood, or not printed as it was written.
const UNREAD: [&str; 5] = ["TN1001", "TN1003", "TN1004", "TN1005", "TN1006"];
/// PostgreSQL cannot read it.
const SYNTAX: &str = "TN1002";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("a file of JSON lines");
    let kinds: Vec<String> = arguments.collect();
    let classified = fixture::classified();
    let text = std::fs::read_to_string(file).expect("a file");
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut reasons: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let field = |name: &str| record.get(name).and_then(serde_json::Value::as_str);
        let (kind, sql) = (field("kind").unwrap_or("?"), field("sql").expect("a text"));
        // `SelectStmt+WITH` is one, too.
        let node = kind.split('+').next().unwrap_or(kind);
        if !kinds.is_empty() && !kinds.iter().any(|wanted| wanted == node) {
            continue;
        }
        let refusal = isolate(sql.as_bytes(), &[], &classified).err();
        let code = refusal.as_ref().map_or("", |refusal| refusal.code());
        if code == SYNTAX {
            continue;
        }
        let (read, all) = counts.entry(kind.to_owned()).or_default();
        *all += 1;
        match refusal {
            Some(refusal) if UNREAD.contains(&code) => {
                let (count, example) = reasons.entry(refusal.to_string()).or_default();
                *count += 1;
                *example = sql.chars().take(90).collect::<String>().replace('\n', " ");
            }
            Some(_) | None => *read += 1,
        }
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (reason, (count, example)) in reasons.iter().take(40) {
        println!("{count:>6} {reason}: {example}");
    }
    let total = counts
        .values()
        .fold((0, 0), |(read, all), count| (read + count.0, all + count.1));
    for (kind, (read, all)) in counts.iter().chain([(&"all".to_owned(), &total)]) {
        let hundredths = read * 10_000 / all.max(&1);
        println!(
            "{kind:<28} {read:>6} of {all:>6} read: {}.{:02} %",
            hundredths / 100,
            hundredths % 100
        );
    }
}
