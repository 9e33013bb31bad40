//! Looking at a log, and the command line.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use tenantry::audit::{Anchor, Filter, Line, NO_FILTER, show};
use tenantry::bypass::SentText;

use super::{Log, SMALL, append, records};
use crate::support::trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("audit::records_can_be_found", records_can_be_found),
        trial("audit::the_command_line", the_command_line),
    ]
}

fn records_can_be_found() {
    let log = Log::of_each_kind(SMALL);
    let events = |filter: Filter| {
        let mut events = Vec::new();
        show(&log.file(), &filter, &mut |line| {
            let Line::Record { text } = line else {
                panic!("{line:?}")
            };
            let record: serde_json::Value = serde_json::from_str(text).unwrap();
            events.push(record["event"].as_str().unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        events.retain(|event| event != "rotated");
        events.join(" ")
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(
        events(Filter {
            who: named("ops_anna"),
            ..NO_FILTER
        }),
        "admin_login grant_taken statement outcome refused grant_ended"
    );
    assert_eq!(
        events(Filter {
            who: named("ops_eve"),
            ..NO_FILTER
        }),
        "admin_login_refused"
    );
    assert_eq!(
        events(Filter {
            tenant: named("acme"),
            ..NO_FILTER
        }),
        "grant_taken statement outcome tenant_refused"
    );
    assert_eq!(
        events(Filter {
            tenant: named("globex"),
            ..NO_FILTER
        }),
        "grant_taken statement outcome dropped"
    );
    assert_eq!(
        events(Filter {
            grant: named("inc-123"),
            ..NO_FILTER
        }),
        "grant_taken statement outcome refused grant_ended"
    );
    let future = "2999-01-01".parse().unwrap();
    assert_eq!(
        events(Filter {
            since: Some(future),
            ..NO_FILTER
        }),
        ""
    );
    // An outcome belongs to its statement.
    let statement = log.verify().last.unwrap().seq + 1;
    append(&log, &records::statement(2, SentText::from("SELECT 2")));
    append(&log, &records::outcome(statement));
    let filter = Filter {
        tenant: named("globex"),
        ..NO_FILTER
    };
    assert!(events(filter).ends_with("dropped statement outcome"));
}

fn the_command_line() {
    let log = Log::of_each_kind(SMALL);
    let file = log.file();
    let file = file.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, _) = run(&["audit", "verify", "--file", file]);
    let last = log.verify().last.unwrap();
    assert_eq!(code, 0, "{out}");
    assert!(
        out.ends_with(&format!("; the last one is {last}\n")),
        "{out}"
    );
    let anchor = last.to_string();
    let expected = ["audit", "verify", "--file", file, "--expect-at-least"];
    assert_eq!(run(&[&expected[..], &[&anchor]].concat()).0, 0);
    let more = Anchor { seq: 999, ..last }.to_string();
    assert_eq!(run(&[&expected[..], &[&more]].concat()).0, 1);
    assert_eq!(run(&[&expected[..], &["5"]].concat()).0, 2);
    let config = log.folder.path().to_str().unwrap();
    assert_eq!(run(&["audit", "verify", "--config", config]).0, 2);
    assert_eq!(
        run(&["audit", "verify", "--config", config, "--file", file]).0,
        2
    );
    fs::write(
        log.folder.path().join("tenantry.toml"),
        "[listen]\naddress = [\"127.0.0.1:1\"]\n[audit]\nfile = \"audit.jsonl\"\n",
    )
    .unwrap();
    assert_eq!(run(&["audit", "verify", "--config", config]).0, 0);
    let (code, out, err) = run(&["audit", "show", "--config", config, "--who", "ops_anna"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let words: Vec<&str> = out
        .lines()
        .nth(1)
        .unwrap()
        .split(' ')
        .skip(2)
        .take(3)
        .collect();
    assert_eq!(
        words,
        ["grant_taken", "who=ops_anna", "login=ops_anna"],
        "{out}"
    );
    assert!(!out.contains('\u{1b}'));
    let (_, json, _) = run(&["audit", "show", "--file", file, "--json"]);
    let written: Vec<String> = log
        .files()
        .iter()
        .map(|it| fs::read_to_string(it).unwrap())
        .collect();
    assert_eq!(json, written.concat());
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replacen("\"seq\"", "\"sec\"", 1)).unwrap();
    let (code, out, _) = run(&["audit", "verify", "--file", file]);
    assert_eq!(code, 1);
    assert!(out.contains("audit.jsonl:1: record "), "{out}");
    assert_eq!(run(&["audit", "show", "--file", file]).0, 1);
}
