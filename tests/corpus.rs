//! `tenantry corpus`: a log in each of its forms, with and without a configuration.

use libtest_mimic::Trial;
use serde_json::Value;

use crate::cli::{FINDINGS, FINE, WRONG_USE, directory, path, tenantry};
use crate::support::{case_file, free_port, trial};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("corpus::a_log_is_read_in_each_form", each_form),
        trial(
            "corpus::what_cannot_be_read_is_refused",
            without_configuration,
        ),
        trial(
            "corpus::a_tenant_decides_with_a_configuration",
            with_configuration,
        ),
        trial("corpus::a_line_without_a_statement_is_told", odd_lines),
    ]
}

/// As a server with `log_destination = csvlog` writes it.
const CSVLOG: &str = r#"2026-11-28 02:40:01.123 UTC,,,77,,65f0.1,1,,2026-11-28 02:40:00 UTC,,0,LOG,00000,"database system is ready to accept connections",,,,,,,,,"","postmaster",,0
2026-11-28 02:40:02.123 UTC,"app","shop",78,"127.0.0.1:5000",65f0.2,1,"SELECT",2026-11-28 02:40:01 UTC,3/2,0,LOG,00000,"statement: SELECT id
FROM orders WHERE note = 'a ""word""'",,,,,,,,,"app","client backend",,0
2026-11-28 02:40:03.123 UTC,"app","shop",78,"127.0.0.1:5000",65f0.2,2,"SELECT",2026-11-28 02:40:01 UTC,3/3,0,LOG,00000,"duration: 0.120 ms  execute <unnamed>: SELECT $1::int",,,,,,,,,"app","client backend",,0
2026-11-28 02:40:03.124 UTC,"app","shop",78,"127.0.0.1:5000",65f0.2,3,"SELECT",2026-11-28 02:40:01 UTC,3/3,0,LOG,00000,"execute fetch from s1/p1: SELECT $1::int",,,,,,,,,"app","client backend",,0
2026-11-28 02:40:04.123 UTC,"app","shop",78,"127.0.0.1:5000",65f0.2,4,"PARSE",2026-11-28 02:40:01 UTC,3/4,0,LOG,00000,"duration: 0.010 ms  parse s1: SELECT 2",,,,,,,,,"app","client backend",,0
2026-11-28 02:40:05.123 UTC,"app","shop",78,"127.0.0.1:5000",65f0.2,5,"SELECT",2026-11-28 02:40:01 UTC,3/5,0,ERROR,42601,"syntax error at or near ""FORM""",,,,,,"SELECT 1 FORM x",10,,"app","client backend",,0
2026-11-28 02:40:06.123 UTC,"app","shop",78,"127.0.0.1:5000",65f0.2,6,"BEGIN",2026-11-28 02:40:01 UTC,3/6,0,LOG,00000,"execute s2/p1: BEGIN",,,,,,,,,"app","client backend",,0
"#;

/// The records of a run, and the totals.
fn ran(options: &[&str], log: &str) -> (i32, Vec<Value>, Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    std::fs::write(&file, log).unwrap();
    let ran = tenantry(&[&["corpus"], options, &[path(&file)]].concat());
    let mut lines: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let totals = lines
        .pop()
        .map_or(Value::Null, |last| last["totals"].clone());
    (ran.code, lines, totals, ran.err)
}

/// A few words of each record.
fn told(lines: &[Value]) -> Vec<String> {
    let word = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    lines
        .iter()
        .map(|line| {
            let words = ["line", "verdict", "code", "sql"].map(|key| word(&line[key]));
            words.join(" ").replace(" null ", " ")
        })
        .collect()
}

fn each_form() {
    let lines = "SELECT 1\n\nSELECT 2; SELECT 3\n";
    let json = "{\"sql\": \"SELECT 1\", \"n\": 3}\n{\"sql\": \"SELECT\\n2\"}\n";
    for (log, expected) in [
        (lines, &["1 read SELECT 1", "3 read SELECT 2; SELECT 3"][..]),
        (json, &["1 read SELECT 1", "2 read SELECT\n2"]),
        (
            CSVLOG,
            &[
                "2 read SELECT id\nFROM orders WHERE note = 'a \"word\"'",
                "4 read SELECT $1::int",
                "8 read BEGIN",
            ],
        ),
    ] {
        let (code, lines, totals, err) = ran(&[], log);
        assert_eq!(told(&lines), expected, "{err}");
        assert_eq!(totals["read"], expected.len());
        assert_eq!(totals["refused"], 0);
        assert_eq!(code, FINE);
    }
}

fn without_configuration() {
    let log = "SELECT count(*) FROM anything WHERE x LIKE 'a%'\n\
               CREATE TABLE t (id int PRIMARY KEY, n varchar(20) DEFAULT 'x')\n\
               SELECT FROM WHERE\n\
               DELETE FROM t WHERE CURRENT OF c\n\
               CHECKPOINT\n\
               SELECT 1; CHECKPOINT\n";
    let (code, lines, totals, _) = ran(&[], log);
    let verdicts: Vec<String> = told(&lines)
        .iter()
        .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        verdicts,
        [
            "1 read SELECT",
            "2 read CREATE",
            "3 refused TN1002",
            "4 read DELETE",
            "5 refused TN4001",
            "6 refused TN4001",
        ]
    );
    assert_eq!(
        lines[2]["reason"],
        "syntax error at or near \"WHERE\" [TN1002]"
    );
    assert_eq!(totals["read"], 3);
    assert_eq!(totals["by_reason"][0]["statements"], 2);
    assert_eq!(totals["by_reason"][0]["code"], "TN4001");
    assert_eq!(code, FINDINGS);
}

fn with_configuration() {
    let folder = directory("shared", free_port());
    let catalog = case_file("catalog.json");
    let config = ["--config", path(folder.path()), "--catalog", path(&catalog)];
    let log = "SELECT id FROM orders\nSELECT * FROM ops_secrets\nSELECT id FROM nowhere\n";
    for tenant in [&[][..], &["--tenant", "acme"]] {
        let (code, lines, totals, err) = ran(&[&config, tenant].concat(), log);
        assert_eq!(
            told(&lines),
            [
                "1 admitted SELECT id FROM orders",
                "2 refused TN2002 SELECT * FROM ops_secrets",
                "3 refused TN2001 SELECT id FROM nowhere",
            ],
            "{err}"
        );
        assert_eq!(totals["admitted"], 1);
        assert_eq!(totals["refused"], 2);
        assert_eq!(code, FINDINGS);
    }
    let (code, _, _, err) = ran(&[&config[..], &["--tenant", "nobody"]].concat(), log);
    assert_eq!(code, WRONG_USE);
    assert!(err.contains("tenant nobody is not served"), "{err}");
}

fn odd_lines() {
    let (code, lines, totals, err) = ran(&[], "{\"sql\": \"SELECT 1\"}\n{\"sq\": 1}\n{\n");
    assert_eq!(told(&lines), ["1 read SELECT 1"]);
    assert_eq!(totals["lines_without_statement"], 2);
    assert!(err.contains("no statement on line 2"), "{err}");
    assert_eq!(code, FINDINGS);
}
