//! What the code must look like, held by tests: who may import whom, what the core never names,
//! which libraries stay in one place.
//!
//! In: the files under `src/`, and `Cargo.lock`. Out: a failure that shows the offending line.
//! Every rule is also shown to fire on a made-up offence.
//!
//! # Not here
//! What clippy can hold (`Cargo.toml`, `clippy.toml`), and licences (`deny.toml`).

mod names;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use names::Name;

/// The modules from the bottom up. A module imports itself and what stands above its own line here,
/// never what stands below. A part of a module that stands lower than the rest has its own line.
const BOTTOM_UP: &[&str] = &[
    "catalog",
    "tenant",
    "sql",
    "isolate::copying",
    "isolate::kind",
    "isolate::remedy",
    "isolate::refusal",
    "isolate::setting",
    "isolate::template",
    "isolate::identity",
    "isolate::mask",
    "isolate::via",
    "isolate::dependent",
    "isolate::gram",
    "verify",
    "bypass",
    "admitted",
    "isolate",
    "protocol",
    "session",
    "config",
    "net",
    "telemetry",
    "audit",
    "upstream",
    "registry",
    "admin",
    "proxy",
    "cli",
];

/// The modules that decide and do nothing else: no sockets, no clock, no environment, no globals.
const CORE: &[&str] = &[
    "catalog", "tenant", "sql", "isolate", "verify", "bypass", "admitted", "protocol", "session",
];

/// Names that no module of the core says.
const NOT_IN_CORE: &[&[&str]] = &[
    &["tokio"],
    &["std", "net"],
    &["std", "fs"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
];

/// Libraries and functions that are named in these modules only.
const ONLY_IN: &[(&[&str], &[&str])] = &[
    (&["sqlparser"], &["sql", "isolate"]),
    (&["pg_query"], &["verify", "isolate::gram"]),
    (&["std", "env"], &["config"]),
    (&["bb8"], &["upstream"]),
    (&["tokio_postgres"], &["upstream"]),
    (&["clap"], &["cli"]),
    (&["pgwire"], &["net"]),
    (&["toml"], &["config"]),
    (&["arc_swap"], &["registry"]),
];

/// Imports that the order would allow and that must not be, nevertheless.
const NEVER: &[(&str, &str)] = &[
    // Two paths that prove each other share no logic.
    ("verify", "sql"),
    ("verify", "isolate::gram"),
    ("verify", "isolate::dependent"),
    ("verify", "isolate::via"),
];

/// Types that make a `static` a hidden channel between two sessions. A `LazyLock` is a constant that
/// is computed when it is first read.
const INTERIOR_MUTABILITY: &[&str] = &[
    "Atomic", "Cell", "Mutex", "OnceLock", "RwLock", "ArcSwap", "mut",
];

const LINES_MAX: usize = 700;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("architecture::the_sources_keep_the_rules", || {
            let offences: Vec<String> = sources()
                .iter()
                .flat_map(|(path, text)| offences(path, text))
                .collect();
            assert!(offences.is_empty(), "\n{}", offences.join("\n"));
            Ok(())
        }),
        Trial::test("architecture::one_implementation_of_tls", || {
            let lock = include_str!("../../Cargo.lock");
            assert_eq!(unwanted_packages(lock), Vec::<String>::new());
            Ok(())
        }),
        Trial::test("architecture::every_rule_fires", || {
            for (path, text, expected) in OFFENCES {
                let found = offences(path, text);
                assert!(
                    found.iter().any(|offence| offence.contains(expected)),
                    "{path}: {text:?} should give {expected:?}, but gives {found:?}"
                );
            }
            Ok(())
        }),
        Trial::test("architecture::what_is_no_offence_passes", || {
            for (path, text) in NO_OFFENCES {
                assert_eq!(offences(path, text), Vec::<String>::new(), "{text:?}");
            }
            Ok(())
        }),
        Trial::test("architecture::a_second_tls_fires", || {
            let lock = "[[package]]\nname = \"rustls\"\nversion = \"0.23.1\"\n\
                        [[package]]\nname = \"rustls\"\nversion = \"0.24.0\"\n\
                        [[package]]\nname = \"openssl-sys\"\n";
            assert_eq!(unwanted_packages(lock), ["openssl-sys", "rustls twice"]);
            Ok(())
        }),
    ]
}

/// Each rule of the threat model names tests that there are.
pub fn the_threat_model(trials: &[Trial]) -> Trial {
    let name = "architecture::the_threat_model_names_tests";
    let mut there: Vec<String> = trials.iter().map(|trial| trial.name().to_owned()).collect();
    there.push(name.to_owned());
    Trial::test(name, move || {
        let model = include_str!("../../THREAT-MODEL.md");
        let named: Vec<&str> = model
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.contains("::"))
            .collect();
        assert!(named.len() > 30, "{named:?}");
        let is_there = |name: &&str| there.iter().any(|trial| trial == name);
        let missing: Vec<&str> = named.into_iter().filter(|name| !is_there(name)).collect();
        assert_eq!(missing, Vec::<&str>::new());
        Ok(())
    })
}

/// Made-up offences: where, what, and a part of what must be said about it.
const OFFENCES: &[(&str, &str, &str)] = &[
    (
        "src/tenant/id.rs",
        "use crate::config::Config;",
        "1: tenant must not import config",
    ),
    (
        "src/sql/mod.rs",
        "\nuse crate::{tenant, isolate::prepare};",
        "2: sql must not import isolate",
    ),
    (
        "src/catalog/mod.rs",
        "fn f() { crate::verify::verify() }",
        "must not import verify",
    ),
    (
        "src/verify/mod.rs",
        "use crate::sql::parse;",
        "verify must not import sql",
    ),
    (
        "src/verify/walk.rs",
        "use crate::isolate::prepare;",
        "must not import isolate",
    ),
    (
        "src/verify/walk.rs",
        "use super::super::isolate::prepare;",
        "`super` leaves the module",
    ),
    (
        "src/bypass/mod.rs",
        "use super::isolate;",
        "`super` leaves the module",
    ),
    (
        "src/isolate/refusal.rs",
        "use super::Kind;",
        "isolate::refusal must not import isolate",
    ),
    ("src/mystery/mod.rs", "", "is not in the table"),
    (
        "src/catalog/mod.rs",
        "use crate::util::x;",
        "crate::util::x is not in the table",
    ),
    (
        "src/session/mod.rs",
        "use tokio::sync::mpsc;",
        "must not name tokio",
    ),
    (
        "src/protocol/mod.rs",
        "use std::{fmt, net::TcpStream};",
        "must not name std::net",
    ),
    (
        "src/session/mod.rs",
        "use std::time::{Duration, Instant};",
        "must not name std::time::Instant",
    ),
    (
        "src/isolate/mod.rs",
        "fn f() { std::env::var(\"x\"); }",
        "std::env is named in config only",
    ),
    (
        "src/upstream/mod.rs",
        "use std::env;",
        "std::env is named in config only",
    ),
    (
        "src/tenant/mod.rs",
        "static SEEN: Mutex<u8> = x;",
        "a static with interior mutability",
    ),
    (
        "src/sql/mod.rs",
        "static N: std::sync::atomic::AtomicU64 = x;",
        "interior mutability",
    ),
    (
        "src/sql/mod.rs",
        "static mut N: u8 = 0;",
        "interior mutability",
    ),
    (
        "src/sql/mod.rs",
        "thread_local! { static X: u8 = 0; }",
        "a static with interior mutability",
    ),
    (
        "src/verify/mod.rs",
        "use sqlparser::ast::Query;",
        "sqlparser is named in sql, isolate only",
    ),
    (
        "src/session/mod.rs",
        "use pgwire::api::auth;",
        "pgwire is named in net only",
    ),
    (
        "src/isolate/rewrite.rs",
        "use pg_query::parse;",
        "pg_query is named in verify, isolate::gram only",
    ),
    (
        "src/isolate/grammar.rs",
        "use pg_query::parse;",
        "pg_query is named in verify, isolate::gram only",
    ),
    (
        "src/isolate/gram/from.rs",
        "use crate::verify::verify;",
        "isolate::gram must not import verify",
    ),
    (
        "src/verify/mod.rs",
        "use crate::isolate::gram::rewrite;",
        "verify must not import isolate::gram",
    ),
];

/// What looks like an offence and is none.
const NO_OFFENCES: &[(&str, &str)] = &[
    (
        "src/tenant/id.rs",
        "//! See [`crate::config`].\nuse crate::catalog::{Oid, oid};",
    ),
    (
        "src/sql/mod.rs",
        "const S: &str = \"crate::isolate\"; /* tokio::spawn */",
    ),
    (
        "src/sql/mod.rs",
        "const S: &str = r#\"\"use tokio::x;\"#; const C: char = '\"';",
    ),
    (
        "src/sql/mod.rs",
        "fn f<'a>(x: &'a str) -> &'static str { x }",
    ),
    (
        "src/sql/mod.rs",
        "static T: LazyLock<BTreeMap<u8, u8>> = LazyLock::new(make);",
    ),
    ("src/verify/mod.rs", "mod tests {\n    use super::*;\n}"),
    (
        "src/verify/mod.rs",
        "use crate::isolate::{refusal::Refusal, template::Template};",
    ),
    ("src/verify/deep/leaf.rs", "use super::super::walk;"),
    ("src/session/mod.rs", "use std::time::Duration;"),
    ("src/isolate/gram/from.rs", "use pg_query::parse;"),
    ("src/isolate/gram/mod.rs", "pub(super) fn f() {}"),
    (
        "src/net/mod.rs",
        "use tokio::net::TcpStream; static COUNT: AtomicU64 = x;",
    ),
];

/// Everything that is wrong with one file.
fn offences(path: &str, text: &str) -> Vec<String> {
    let Some(file) = SourceFile::new(path) else {
        return Vec::new();
    };
    let names = names::of(text);
    let mut found = Vec::new();
    let mut report = |line: usize, what: String| {
        let shown = text
            .lines()
            .nth(line.saturating_sub(1))
            .unwrap_or("")
            .trim();
        found.push(format!("{path}:{line}: {what}\n    {shown}"));
    };
    if file.level().is_none() {
        report(
            1,
            format!("{} is not in the table of modules", file.module.join("::")),
        );
    }
    for name in &names {
        for what in file.name_offences(name) {
            report(name.line, what);
        }
    }
    if file.is_core() {
        for line in names::statics(text, INTERIOR_MUTABILITY) {
            report(
                line,
                "a static with interior mutability in the core".to_owned(),
            );
        }
    }
    let lines = text
        .lines()
        .take_while(|line| *line != "mod tests {")
        .count();
    if lines > LINES_MAX {
        report(lines, format!("a file has at most {LINES_MAX} lines"));
    }
    found
}

/// A file under `src/` and the module that it is.
struct SourceFile {
    module: Vec<String>,
}

impl SourceFile {
    /// `lib.rs` lists the modules, and `main.rs` only calls `cli`: neither is part of one.
    fn new(path: &str) -> Option<Self> {
        let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let inner = inner.strip_suffix("/mod").unwrap_or(inner);
        let module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        (!matches!(inner, "lib" | "main")).then_some(Self { module })
    }

    fn level(&self) -> Option<usize> {
        level(&self.module)
    }

    fn is_core(&self) -> bool {
        self.module
            .first()
            .is_some_and(|top| CORE.contains(&top.as_str()))
    }

    fn name_offences(&self, name: &Name) -> Vec<String> {
        let mut found = Vec::new();
        match self.imported(name) {
            Err(what) => found.push(what),
            Ok(Some(target)) => found.extend(self.import_offence(&target)),
            Ok(None) => {}
        }
        for banned in NOT_IN_CORE {
            if self.is_core() && name.begins_with(banned) {
                found.push(format!("the core must not name {}", banned.join("::")));
            }
        }
        for (library, homes) in ONLY_IN {
            let module = self.module.join("::");
            let at_home = homes.iter().any(|home| {
                let inside = module.strip_prefix(home);
                inside.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            });
            if !at_home && name.begins_with(library) {
                let library = library.join("::");
                found.push(format!("{library} is named in {} only", homes.join(", ")));
            }
        }
        found
    }

    /// The path within the crate that a name stands for, if it is one.
    fn imported(&self, name: &Name) -> Result<Option<Vec<String>>, String> {
        let supers = name.path.iter().take_while(|part| *part == "super").count();
        match name.path.first().map(String::as_str) {
            Some("crate") => Ok(Some(name.path.iter().skip(1).cloned().collect())),
            Some("super") => {
                // Inside a nested `mod tests`, the first `super` is this file.
                let up = supers.saturating_sub(name.nested);
                let kept = self.module.len().saturating_sub(up);
                if kept == 0 {
                    return Err("`super` leaves the module: write crate::".to_owned());
                }
                let rest = name.path.iter().skip(supers);
                let stem = self.module.iter().take(kept);
                Ok(Some(stem.chain(rest).cloned().collect()))
            }
            Some(_) | None => Ok(None),
        }
    }

    fn import_offence(&self, target: &[String]) -> Option<String> {
        // `crate::*` would be everything.
        let Some(to) = level(target) else {
            return Some(format!(
                "crate::{} is not in the table of modules",
                target.join("::")
            ));
        };
        let from = self.level()?;
        let (from_name, to_name) = (BOTTOM_UP[from], BOTTOM_UP[to]);
        let never = NEVER.contains(&(from_name, to_name));
        // A part may not reach up into the rest of its own module either.
        (to > from || never).then(|| format!("{from_name} must not import {to_name}"))
    }
}

/// The line of the table that a path belongs to: the longest one that fits.
fn level(path: &[String]) -> Option<usize> {
    let fits = |entry: &str| {
        let entry: Vec<&str> = entry.split("::").collect();
        path.len() >= entry.len() && entry.iter().zip(path).all(|(a, b)| *a == b)
    };
    (0..BOTTOM_UP.len())
        .filter(|at| fits(BOTTOM_UP[*at]))
        .max_by_key(|at| BOTTOM_UP[*at].len())
}

/// Packages in a lock file that would be a second implementation of TLS.
fn unwanted_packages(lock: &str) -> Vec<String> {
    let packages: Vec<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    let mut unwanted: Vec<String> = packages
        .iter()
        .filter(|name| ["aws-lc-sys", "aws-lc-rs", "openssl-sys", "native-tls"].contains(name))
        .map(ToString::to_string)
        .collect();
    if packages.iter().filter(|name| **name == "rustls").count() > 1 {
        unwanted.push("rustls twice".to_owned());
    }
    unwanted
}

/// Every file under `src/`, by its path in the repository.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut shown = String::new();
            write!(shown, "{}", path.strip_prefix(root).unwrap().display()).unwrap();
            (shown, text)
        })
        .collect()
}
