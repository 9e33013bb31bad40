//! The command line as a script meets it: what is written where, and the exit code.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::catalog::SHARED;
use crate::support::{free_port, port, trial};

pub const FINE: i32 = 0;
pub const FINDINGS: i32 = 1;
pub const WRONG_USE: i32 = 2;
const CANNOT_CONNECT: i32 = 3;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("cli::wrong_use_is_told_apart", wrong_use_is_told_apart),
        trial(
            "cli::check_reports_each_fault_with_its_place",
            check_reports_each_fault_with_its_place,
        ),
        trial(
            "cli::check_looks_at_the_database",
            check_looks_at_the_database,
        ),
        trial(
            "cli::a_catalog_can_be_read_back",
            a_catalog_can_be_read_back,
        ),
        trial(
            "cli::a_server_that_is_down_is_told_apart",
            a_server_that_is_down_is_told_apart,
        ),
        trial(
            "cli::rewrite_shows_both_statements",
            rewrite_shows_both_statements,
        ),
        trial(
            "cli::rewrite_shows_an_admins_statement",
            rewrite_shows_an_admins_statement,
        ),
        trial(
            "cli::the_picture_in_the_readme_is_true",
            the_picture_in_the_readme_is_true,
        ),
        trial(
            "cli::rewrite_points_at_what_it_refuses",
            rewrite_points_at_what_it_refuses,
        ),
        trial(
            "cli::a_changed_audit_log_is_told_and_not_begun",
            a_changed_audit_log_is_told_and_not_begun,
        ),
    ]
}

fn wrong_use_is_told_apart() {
    assert_eq!(tenantry(&[]).code, WRONG_USE);
    assert_eq!(tenantry(&["chekc"]).code, WRONG_USE);
    assert_eq!(tenantry(&["--help"]).code, FINE);
    let nobody = ["rewrite", "--tenant", "nobody", "SELECT 1", "--config"];
    let ran = tenantry(&[&nobody[..], &[path(&example())]].concat());
    assert_eq!(ran.code, WRONG_USE);
    assert!(
        ran.err.starts_with("tenantry: tenant nobody is not served"),
        "{}",
        ran.err
    );
}

fn check_reports_each_fault_with_its_place() {
    let ran = tenantry(&["check", "--config", path(&example())]);
    assert_eq!(ran.code, FINDINGS);
    let place = "tenantry.toml:42: not supported yet: tls = \"verify-full\"";
    assert!(ran.out.contains(place), "{}", ran.out);
    let folder = directory("postgres", port());
    assert_eq!(
        tenantry(&["check", "--config", path(folder.path())]).code,
        FINE
    );
}

/// What `check --database` finds, by what it is about and what to do.
const FOUND: &[(&str, &str)] = &[
    (
        "public.lower(integer): it has the name of a function of the system",
        "Rename it, or write pg_catalog.lower or public.lower",
    ),
    (
        "operator public.~~~: a statement with an operator of this name is refused",
        "Rename it",
    ),
    (
        "public.loose: it is not classified",
        "kind = \"scoped\", \"shared\" or \"denied\"",
    ),
    (
        "public.nullable: it is closed: its tenant column tenant_id may be NULL",
        "ALTER TABLE public.nullable ALTER COLUMN tenant_id SET NOT NULL;",
    ),
    (
        "public.part: it is closed: its tenant column tenant_id may be NULL",
        "ALTER TABLE public.part ALTER COLUMN tenant_id SET NOT NULL;",
    ),
    (
        "public.t: its tenant column tenant_id has the default 1",
        "ALTER TABLE public.t ALTER COLUMN tenant_id DROP DEFAULT;",
    ),
    (
        "public.t: the unique key t_pkey lacks the tenant column",
        "ALTER TABLE public.t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY (tenant_id, id);",
    ),
    (
        "public.t: the index by_note lacks the tenant column",
        "CREATE INDEX ON public.t (tenant_id, note);",
    ),
    (
        "public.t: the trigger noisy runs unseen",
        "[triggers] trusted = [\"noisy on public.t\"]",
    ),
    (
        "public.child: the check of the foreign key child_parent_fkey tells",
        "FOREIGN KEY (tenant_id, parent) REFERENCES public.t (tenant_id, id)",
    ),
    (
        "public.child: the action of the foreign key child_parent_fkey may reach",
        "it must pair the tenant columns",
    ),
    (
        "public.reads(integer): tenants cannot call it",
        "[functions] trusted",
    ),
    (
        "public.v: its definition cannot be read for a tenant",
        "loose",
    ),
    (
        "public.m: only its column tenant_id tells tenants apart: what its own query mixes, it shows",
        "trusted = true",
    ),
    (
        "role postgres: it has SUPERUSER",
        "ALTER ROLE postgres NOSUPERUSER;",
    ),
    (
        "role postgres: it has TEMPORARY on the database",
        "REVOKE TEMPORARY ON DATABASE",
    ),
    (
        "role postgres: it may create objects in the schema public",
        "REVOKE CREATE ON SCHEMA public",
    ),
];

fn check_looks_at_the_database() {
    let database = SHARED.database();
    database.execute(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public;
         CREATE TABLE loose (id integer);
         CREATE TABLE t (id integer PRIMARY KEY, note text, tenant_id integer NOT NULL DEFAULT 1);
         CREATE TABLE nullable (id integer, tenant_id integer);
         CREATE TABLE whole (id integer, tenant_id integer NOT NULL);
         CREATE TABLE part () INHERITS (whole);
         ALTER TABLE part ALTER COLUMN tenant_id DROP NOT NULL;
         CREATE INDEX by_note ON t (note);
         CREATE FUNCTION noise() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER noisy BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION noise();
         CREATE FUNCTION reads(integer) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t';
         CREATE FUNCTION lower(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';
         CREATE FUNCTION near(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR ~~~ (FUNCTION = near, LEFTARG = integer, RIGHTARG = integer);
         CREATE TABLE child (parent integer REFERENCES t ON DELETE CASCADE, tenant_id integer NOT NULL);
         CREATE VIEW v AS SELECT id FROM loose;
         CREATE VIEW fine AS SELECT id FROM t;
         CREATE MATERIALIZED VIEW m AS SELECT tenant_id, count(*) FROM t GROUP BY 1;",
    );
    let folder = directory(database.name(), port());
    let check = ["check", "--database", "--config", path(folder.path())];
    let ran = tenantry(&check);
    assert_eq!(ran.code, FINDINGS);
    for (finding, remedy) in FOUND {
        let lines: Vec<&str> = ran.out.lines().collect();
        let at = lines.iter().position(|line| line.contains(finding));
        let at = at.unwrap_or_else(|| panic!("not found: {finding} in\n{}", ran.out));
        assert!(
            lines[at..=at + 1].iter().any(|line| line.contains(remedy)),
            "{finding}: {}",
            lines[at + 1]
        );
    }
    assert!(!ran.out.contains("public.fine"), "{}", ran.out);
    database.execute(&format!(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public;
         CREATE TABLE t (id integer, tenant_id integer NOT NULL, PRIMARY KEY (tenant_id, id));
         CREATE ROLE quiet LOGIN; GRANT SELECT, INSERT ON t TO quiet; GRANT USAGE ON SCHEMA public TO quiet;
         REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC;",
        database.name()
    ));
    let file = folder.path().join("tenantry.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"postgres\"", "\"quiet\"")).unwrap();
    let ran = tenantry(&check);
    assert_eq!(
        (ran.code, ran.out.matches("0 findings").count()),
        (FINE, 1),
        "{}{}",
        ran.out,
        ran.err
    );
    let nowhere = directory(database.name(), free_port());
    let ran = tenantry(&["check", "--database", "--config", path(nowhere.path())]);
    assert_eq!(ran.code, CANNOT_CONNECT);
}

fn a_server_that_is_down_is_told_apart() {
    let folder = directory("postgres", free_port());
    let ran = tenantry(&["catalog", "--config", path(folder.path())]);
    assert_eq!(ran.code, CANNOT_CONNECT, "{}", ran.err);
}

fn rewrite_shows_both_statements() {
    let ran = rewrite(&[], "SELECT id FROM orders");
    assert_eq!(ran.code, FINE, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines[..3],
        ["-- original", "SELECT id FROM orders", "-- tenant acme"]
    );
    assert!(
        lines[3].contains("OPERATOR(pg_catalog.=) '7'::pg_catalog.int4"),
        "{lines:?}"
    );
    let ran = rewrite(&["--json"], "SELECT id FROM orders; SELECT 1");
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown["statements"][0]["original"], "SELECT id FROM orders");
    assert_eq!(shown["statements"][0]["rewritten"], lines[3]);
    assert_eq!(shown["statements"].as_array().unwrap().len(), 2);
}

fn rewrite_shows_an_admins_statement() {
    let catalog = crate::support::case_file("catalog.json");
    let ask = |options: &[&str], sql: &str| {
        let folder = directory("shared", free_port());
        let fixed = [
            "rewrite",
            "--catalog",
            path(&catalog),
            "--config",
            path(folder.path()),
        ];
        tenantry(&[&fixed[..], options, &[sql]].concat())
    };
    let ran = ask(&["--grant", "inc-1"], "SELECT * FROM settings");
    assert_eq!(ran.code, FINE, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[2], "-- grant inc-1");
    let test = "settings.tenant_id OPERATOR(pg_catalog.=) ANY('{7}'::pg_catalog.int4[])";
    assert!(lines[3].ends_with(test), "{lines:?}");
    let refused = ask(&["--grant", "inc-1"], "SELECT id FROM orders");
    assert_eq!(refused.code, FINDINGS);
    assert!(refused.err.contains("[TN6002]"), "{}", refused.err);
    let view = ask(
        &["--grant", "inc-2", "--tenant", "acme"],
        "SELECT * FROM settings",
    );
    let test = "settings.tenant_id OPERATOR(pg_catalog.=) '7'::pg_catalog.int4";
    assert!(view.out.contains(test), "{} {}", view.out, view.err);
    for wrong in [
        &["--grant", "inc-1", "--tenant", "acme"][..],
        &["--grant", "inc-2"],
        &["--grant", "inc-3"],
        &["--grant", "inc-1", "--upstream", "other"],
        &[],
    ] {
        assert_eq!(ask(wrong, "SELECT 1").code, WRONG_USE, "{wrong:?}");
    }
}

fn the_picture_in_the_readme_is_true() {
    let blocks: Vec<String> = include_str!("../README.md")
        .split("```sql\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .map(|block| block.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let ran = rewrite(&["--json"], &blocks[0]);
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    let rewritten = shown["statements"][0]["rewritten"].as_str().unwrap();
    assert_eq!(rewritten.replace("'7'", "'1'"), blocks[1]);
}

fn rewrite_points_at_what_it_refuses() {
    let ran = rewrite(&[], "SELECT *\nFROM ops_secrets");
    assert_eq!(ran.code, FINDINGS);
    assert_eq!(ran.out, "");
    assert!(
        ran.err
            .contains("error[42501]: relation public.ops_secrets"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("^^^^^^^^^^^"), "{}", ran.err);
    let ran = rewrite(&["--json"], "SELECT * FROM ops_secrets");
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown["refused"]["sqlstate"], "42501");
    assert_eq!(shown["refused"]["position"], 14);
}

fn a_catalog_can_be_read_back() {
    let database = SHARED.database();
    let folder = directory(database.name(), port());
    let ran = tenantry(&["catalog", "--config", path(folder.path())]);
    assert_eq!(ran.code, FINE, "{}", ran.err);
    let catalog: tenantry::catalog::Catalog = serde_json::from_str(&ran.out).unwrap();
    assert!(catalog.relation("public", "orders").is_some());
    // One relation on a line: a change shows as one.
    let lines = ran
        .out
        .lines()
        .filter(|line| line.contains("\"kind\":\"Table\""));
    let tables = catalog.relations.iter();
    let tables = tables.filter(|it| it.kind == tenantry::catalog::RelationKind::Table);
    assert_eq!(lines.count(), tables.count());
}

/// What the tenant `acme` with the key 7 would send, without a server.
/// The proxy's own process, ended with the trial.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn a_changed_audit_log_is_told_and_not_begun() {
    let folder = directory("postgres", port());
    let main = folder.path().join("tenantry.toml");
    let listen = format!("127.0.0.1:{}", free_port());
    let text = std::fs::read_to_string(&main)
        .unwrap()
        .replace("127.0.0.1:1\"", &format!("{listen}\""));
    let with_log = |file: &str| {
        std::fs::write(&main, format!("{text}[audit]\nfile = \"{file}\"\n")).unwrap();
    };
    with_log("audit/old.jsonl");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .args(["serve", "--config", path(folder.path())])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let serving = Serving(child);
    let hang_up = || {
        let id = serving.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-HUP", &id])
                .status()
                .unwrap()
                .success()
        );
    };
    let mut told = |of: &str| {
        lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains(of))
            .unwrap()
    };
    told(&listen);
    with_log("audit/new.jsonl");
    hang_up();
    let warned = told("[audit]");
    assert!(warned.contains(" WARN "), "{warned}");
    assert!(warned.contains("until the next start"), "{warned}");
    // What comes next is still written in the old one.
    std::fs::remove_file(folder.path().join("grants/inc-2.toml")).unwrap();
    hang_up();
    let old = folder.path().join("audit/old.jsonl");
    let is_told = || {
        std::fs::read_to_string(&old)
            .unwrap()
            .contains("inc-2.toml")
    };
    for _ in 0..200 {
        if is_told() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_told());
    assert!(!folder.path().join("audit/new.jsonl").exists());
}

fn rewrite(options: &[&str], sql: &str) -> Ran {
    let folder = directory("shared", free_port());
    let catalog = crate::support::case_file("catalog.json");
    let fixed = ["rewrite", "--tenant", "acme", "--catalog", path(&catalog)];
    let config = ["--config", path(folder.path()), sql];
    tenantry(&[&fixed[..], options, &config[..]].concat())
}

pub fn directory(database: &str, server: u16) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("password", "unused\n");
    write("policy.toml", "[defaults]\nunlisted = \"by-column\"\n");
    write(
        "tenants/acme.toml",
        "isolation = \"shared\"\nupstream = \"main\"\nkey = 7\n",
    );
    for (name, more) in [("inc-1", ""), ("inc-2", "as_tenant = true\n")] {
        write(
            &format!("grants/{name}.toml"),
            &format!(
                "who = [\"anna\"]\nreason = \"x\"\napproved_by = \"y\"\ntenants = \"*\"\n\
                 tables = [\"public.settings\"]\nverbs = [\"select\"]\n\
                 expires = 2099-01-01T00:00:00Z\n{more}"
            ),
        );
    }
    write(
        "tenantry.toml",
        &format!(
            "[listen]\naddress = [\"127.0.0.1:1\"]\n[[upstream]]\nname = \"main\"\n\
             address = \"127.0.0.1:{server}\"\ndatabase = \"{database}\"\nuser = \"postgres\"\n\
             password = {{ file = \"password\" }}\n\
             [[login]]\nname = \"anna\"\npassword = {{ file = \"password\" }}\nrole = \"admin\"\n"
        ),
    );
    folder
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/example")
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn tenantry(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .args(arguments)
        .env_remove("TENANTRY_MAIN_PASSWORD")
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
