//! What the verifier calls silent, on the worst values that there are: without a tenant's filter, with
//! costs that let everything run first, under indexes, and in the planner's statistics.
//!
//! In: `src/verify/silent.tsv`, and the values of `poison.tsv`. Out: each error, warning and notice that
//! PostgreSQL gives: none.

mod runs;

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::Trial;

use crate::support::{Cluster, Database, Fixture, trial};

const EMPTY: Fixture = Fixture {
    name: "empty",
    files: &[],
};

/// Fewer expressions than this, and the table was not read.
const EXPRESSIONS_AT_LEAST: usize = 500;

/// Arrays of these elements stand for all arrays.
const ARRAYS: [&str; 8] = [
    "text[]",
    "int4[]",
    "float8[]",
    "numeric[]",
    "date[]",
    "uuid[]",
    "jsonb[]",
    "timestamptz[]",
];

/// Zones that move a moment over the edge of what can be told, if anything does.
const ZONES: [&str; 4] = ["UTC", "America/Los_Angeles", "Pacific/Kiritimati", "-167"];

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("silent::on_every_value", on_every_value),
        trial("silent::in_any_order", in_any_order),
        trial("silent::in_the_statistics", in_the_statistics),
        trial("silent::on_texts_of_300_mb", on_long_texts),
        trial("silent::is_strict", is_strict),
        trial(
            "silent::foreign_rows_interfere_with_nobody",
            runs::interfere_with_nobody,
        ),
    ]
}

/// One way to write an entry of the table.
struct Expression {
    /// With `$1`, `$2` for its arguments.
    text: String,
    /// The types of its arguments that are no constants, by their place.
    arguments: Vec<(usize, String)>,
    /// How long an argument may be.
    length: Length,
    gives: Gives,
}

/// How long a text may be.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Length {
    Any,
    Short,
}

/// What an expression gives.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Gives {
    Condition,
    Value,
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).expect("a file of this repository")
}

fn line(script: &mut String, text: &str) {
    script.push_str(text);
    script.push('\n');
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    lines.map(|line| line.split('\t').collect())
}

/// The values of each type.
fn poison() -> BTreeMap<String, Vec<String>> {
    let mut poison: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for fields in lines(&file("tests/silent/poison.tsv")) {
        let [name, value] = fields.as_slice() else {
            panic!("poison.tsv: {fields:?}");
        };
        let values = poison.entry((*name).to_owned()).or_default();
        values.push((*value).to_owned());
    }
    poison
}

/// The types that a word of the table stands for, or the constant that it asks for.
enum Word {
    Constants(Vec<String>),
    Types { names: Vec<String>, length: Length },
}

fn word(word: &str, poison: &BTreeMap<String, Vec<String>>) -> Word {
    if word.starts_with('\'') {
        return Word::Constants(vec![word.to_owned()]);
    }
    if word == "count" {
        let counts = ["0", "3", "2147483647"].map(str::to_owned);
        return Word::Constants(counts.to_vec());
    }
    if word == "regular" {
        let patterns = [r"'^a.*b+$'", r"'|x?y||\.'", r"'^$|.|a^b$c'"].map(str::to_owned);
        return Word::Constants(patterns.to_vec());
    }
    let names = |name: &str| match name {
        "array" | "anyarray" => ARRAYS.map(str::to_owned).to_vec(),
        name => {
            assert!(poison.contains_key(name), "no values of type {name}");
            vec![name.to_owned()]
        }
    };
    match word.split_once(':') {
        Some(("const" | "literal", name)) => Word::Constants(
            poison[name]
                .iter()
                .take(3)
                .map(|value| format!("({value})::{}", column_type(name)))
                .collect(),
        ),
        Some((_, name)) => Word::Types {
            names: names(name),
            length: Length::Short,
        },
        None => Word::Types {
            names: names(word),
            length: match word {
                "text" | "varchar" | "bytea" => Length::Any,
                _ => Length::Short,
            },
        },
    }
}

/// Every entry with every choice of its arguments' types.
fn expressions() -> Vec<Expression> {
    let poison = poison();
    let mut expressions = Vec::new();
    for fields in lines(&file("src/verify/silent.tsv")) {
        let [names, arguments @ .., result, _reason] = fields.as_slice() else {
            panic!("silent.tsv: {fields:?}");
        };
        let mut choices: Vec<Vec<(Choice, Length)>> = vec![Vec::new()];
        for words in arguments {
            let mut longer = Vec::new();
            for choice in &choices {
                for one in words.split_whitespace() {
                    for next in alternatives(one, choice, &poison) {
                        let mut choice = choice.clone();
                        choice.push(next);
                        longer.push(choice);
                    }
                }
            }
            choices = longer;
        }
        for name in names.split_whitespace() {
            let gives = match *result {
                "bool" => Gives::Condition,
                _ => Gives::Value,
            };
            expressions.extend(choices.iter().map(|choice| expression(name, choice, gives)));
        }
    }
    assert!(expressions.len() >= EXPRESSIONS_AT_LEAST);
    expressions
}

#[derive(Clone)]
enum Choice {
    Constant(String),
    Column(String),
}

fn alternatives(
    text: &str,
    before: &[(Choice, Length)],
    poison: &BTreeMap<String, Vec<String>>,
) -> Vec<(Choice, Length)> {
    if text == "same" {
        return vec![before[0].clone()];
    }
    match word(text, poison) {
        Word::Constants(values) => values
            .into_iter()
            .map(|value| (Choice::Constant(value), Length::Short))
            .collect(),
        Word::Types { names, length } => names
            .into_iter()
            .map(|name| (Choice::Column(name), length))
            .collect(),
    }
}

fn expression(name: &str, choice: &[(Choice, Length)], gives: Gives) -> Expression {
    let mut arguments = Vec::new();
    let mut written = Vec::new();
    for (index, (choice, _)) in choice.iter().enumerate() {
        match choice {
            Choice::Constant(value) => written.push(value.clone()),
            Choice::Column(type_name) => {
                arguments.push((index + 1, type_name.clone()));
                written.push(format!("${}", index + 1));
            }
        }
    }
    let text = if let Some(function) = name.strip_suffix("()") {
        format!("pg_catalog.{function}({})", written.join(", "))
    } else if let Some(wanted) = name.strip_prefix("::") {
        format!("{}::pg_catalog.{wanted}", written.join(""))
    } else {
        written.join(&format!(" OPERATOR(pg_catalog.{name}) "))
    };
    Expression {
        text,
        arguments,
        length: if choice.iter().any(|(_, length)| *length == Length::Any) {
            Length::Any
        } else {
            Length::Short
        },
        gives,
    }
}

impl Expression {
    /// The expression with columns of the tables `t1`, `t2` for its arguments.
    fn over_columns(&self) -> (String, String) {
        let mut text = self.text.clone();
        let mut tables = Vec::new();
        for (place, type_name) in &self.arguments {
            text = text.replace(&format!("${place}"), &format!("t{place}.v"));
            tables.push(format!("{} t{place}", table(type_name)));
        }
        (text, tables.join(", "))
    }

    /// The expression, written one way or the other, as a condition.
    fn condition(&self, text: String) -> String {
        if self.gives == Gives::Condition {
            text
        } else {
            format!("({text}) IS NOT NULL")
        }
    }

    /// The expression with a column for one argument, and a constant for the other.
    fn over_constants(&self, poison: &BTreeMap<String, Vec<String>>) -> Vec<(String, String)> {
        let [(one, first), (other, second)] = self.arguments.as_slice() else {
            let (text, tables) = self.over_columns();
            return vec![(text, tables)];
        };
        let mut all = Vec::new();
        for (column, of, constant, values) in
            [(one, first, other, second), (other, second, one, first)]
        {
            for value in &poison[values] {
                let value = format!("({value})::{}", column_type(values));
                let text = self
                    .text
                    .replace(&format!("${column}"), "t.v")
                    .replace(&format!("${constant}"), &value);
                all.push((text, format!("{} t", table(of))));
            }
        }
        all
    }
}

fn table(type_name: &str) -> String {
    format!("p_{}", type_name.replace("[]", "_array"))
}

fn column_type(type_name: &str) -> &str {
    match type_name {
        "enum" => "an_enum",
        // Under these names they are of any length.
        "bit" => "pg_catalog.\"bit\"",
        "bpchar" => "pg_catalog.bpchar",
        name => name,
    }
}

/// The kinds of index whose operators are tried on a type.
fn indexes(type_name: &str) -> &'static [&'static str] {
    match type_name {
        "jsonb" => &["USING gin (v)", "USING gin (v jsonb_path_ops)"],
        "int4range" | "int8range" | "tsrange" | "tstzrange" | "daterange" => {
            &["USING btree (v)", "USING gist (v)", "USING spgist (v)"]
        }
        "inet" | "cidr" => &["USING btree (v)", "USING gist (v inet_ops)"],
        "text" => &["USING spgist (v)"],
        "varchar" | "bpchar" | "bytea" | "numeric" | "numeric[]" | "xid" => &["USING hash (v)"],
        array if array.ends_with("[]") => &["USING btree (v)", "USING gin (v)"],
        _ => &["USING btree (v)"],
    }
}

/// Tables with each value several times, so that statistics hold them.
fn poisoned() -> Database {
    let database = EMPTY.database();
    let mut sql = "CREATE TYPE an_enum AS ENUM ('new', 'old', 'odd');\n".to_owned();
    for (name, values) in poison() {
        let name = name.as_str();
        let (table, column) = (table(name), column_type(name));
        line(&mut sql, &format!("CREATE TABLE {table} (v {column});"));
        for value in values.iter().map(String::as_str).chain(["NULL"]) {
            let copies = format!(
                "INSERT INTO {table} SELECT ({value})::{column} FROM generate_series(1, 2);"
            );
            line(&mut sql, &copies);
        }
    }
    database.execute(&sql);
    database
}

/// What PostgreSQL says, but for the rows.
fn told(database: &Database, script: &str) -> String {
    let run = run(database, script, &["-o", "/dev/null"]);
    String::from_utf8_lossy(&run.stderr).into_owned()
}

/// Everything that PostgreSQL says: the rows, then what goes wrong.
fn output(database: &Database, script: &str) -> String {
    let run = run(database, script, &[]);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Lines of the statement that failed hold no row.
    let errors = said(&run.stderr);
    let errors = errors
        .lines()
        .map(|line| line.split_once(": ").map_or(line, |(_, rest)| rest));
    format!(
        "{}{}",
        said(&run.stdout),
        errors.collect::<Vec<_>>().join("\n")
    )
}

fn run(database: &Database, script: &str, more: &[&str]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.sql");
    std::fs::write(&path, script).unwrap();
    let cluster = Cluster::shared();
    cluster
        .program("psql")
        .args(["-q", "-X", "-v", "ECHO=errors", "-U", "postgres"])
        .args(more)
        .arg("-h")
        .arg(cluster.socket_directory())
        .args([
            "-p",
            &cluster.port().to_string(),
            "-d",
            database.name(),
            "-f",
        ])
        .arg(&path)
        .output()
        .expect("psql can be run")
}

fn nothing_is_told(database: &Database, script: &str) {
    let told = told(database, script);
    let shown: Vec<&str> = told
        .lines()
        .filter(|line| line.len() < 2_000)
        .take(200)
        .collect();
    assert!(told.is_empty(), "{}", shown.join("\n"));
}

fn on_every_value() {
    let database = poisoned();
    let mut script = String::new();
    for zone in ZONES {
        line(&mut script, &format!("SET TimeZone TO '{zone}';"));
        let depends =
            |one: &Expression| one.arguments.iter().any(|(_, name)| name == "timestamptz");
        for expression in expressions() {
            if zone == "UTC" || depends(&expression) {
                let (text, tables) = expression.over_columns();
                line(&mut script, &format!("SELECT count({text}) FROM {tables};"));
            }
        }
    }
    nothing_is_told(&database, &script);
}

fn in_any_order() {
    let database = poisoned();
    let poison = poison();
    let mut script = "SET cpu_operator_cost TO 0;\n".to_owned();
    for settings in [
        "SET enable_indexscan TO off; SET enable_bitmapscan TO off; SET enable_indexonlyscan TO off;",
        "SET enable_indexscan TO on; SET enable_bitmapscan TO on; SET enable_seqscan TO off;",
    ] {
        line(&mut script, settings);
        if settings.ends_with("seqscan TO off;") {
            for name in poison.keys() {
                for index in indexes(name) {
                    line(
                        &mut script,
                        &format!("CREATE INDEX ON {} {index};", table(name)),
                    );
                }
            }
        }
        for expression in expressions() {
            for (text, tables) in expression.over_constants(&poison) {
                let condition = expression.condition(text);
                line(
                    &mut script,
                    &format!("SELECT count(*) FROM {tables} WHERE {condition};"),
                );
            }
        }
    }
    nothing_is_told(&database, &script);
}

fn in_the_statistics() {
    let database = poisoned();
    let poison = poison();
    let mut script = "ANALYZE;\n".to_owned();
    for expression in expressions() {
        let (text, tables) = expression.over_columns();
        let condition = expression.condition(text);
        line(
            &mut script,
            &format!("EXPLAIN SELECT 1 FROM {tables} WHERE {condition};"),
        );
        for (text, tables) in expression.over_constants(&poison) {
            let condition = expression.condition(text);
            line(
                &mut script,
                &format!("EXPLAIN SELECT 1 FROM {tables} WHERE {condition};"),
            );
        }
    }
    nothing_is_told(&database, &script);
}

fn on_long_texts() {
    let database = poisoned();
    let mut script = "CREATE TABLE long (v text);\n\
        INSERT INTO long VALUES (repeat('x', 300000000));\n\
        CREATE TABLE long_bytes (v bytea);\n\
        INSERT INTO long_bytes SELECT convert_to(v, 'UTF8') FROM long;\n"
        .to_owned();
    let mut tried = 0;
    for expression in expressions().iter().filter(|one| one.length == Length::Any) {
        let mut text = expression.text.clone();
        let mut table = "long";
        for (place, type_name) in &expression.arguments {
            let (of, value) = match type_name.as_str() {
                "bytea" => ("long_bytes", "v".to_owned()),
                "text" => ("long", "v".to_owned()),
                "varchar" => ("long", "v::varchar".to_owned()),
                "int2" | "int4" => ("", format!("3::{type_name}")),
                _ => ("", "NULL".to_owned()),
            };
            if !of.is_empty() {
                table = of;
            }
            text = text.replace(&format!("${place}"), &value);
        }
        if !text.contains("NULL") {
            line(
                &mut script,
                &format!("SELECT ({text}) IS NULL FROM {table};"),
            );
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried}");
    nothing_is_told(&database, &script);
}

/// What is silent or called on masked columns is not called on NULL; and the flags of the functions that
/// tenants may call say what the server says.
fn is_strict() {
    let database = EMPTY.database();
    let named = |flag: &str| {
        let file = file("src/verify/functions.tsv");
        let mut names: Vec<String> = lines(&file)
            .filter(|fields| {
                let flags: Vec<&str> = fields.last().unwrap().split(' ').collect();
                !flags.contains(&"aggregate") && !flags.contains(&"window") && flags.contains(&flag)
            })
            .map(|fields| fields[0].to_owned())
            .collect();
        names.sort();
        names
    };
    let list = |names: &[String]| format!("'{{{}}}'", names.join(","));
    let listed: Vec<String> = lines(&file("src/verify/functions.tsv"))
        .map(|fields| fields[0].to_owned())
        .collect();
    let missing = |condition: &str, known: &[String]| {
        database.value(&format!(
            "SELECT coalesce(string_agg(DISTINCT proname::text, ' '), '') FROM pg_proc \
             WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND {condition} \
             AND proname = ANY ({}) AND proname <> ALL ({})",
            list(&listed),
            list(known)
        ))
    };
    assert_eq!(missing("NOT proisstrict", &named("on-null")), "");
    let changing = [named("stable"), named("volatile")].concat();
    assert_eq!(missing("provolatile <> 'i'", &changing), "");
    let silent: Vec<String> = lines(&file("src/verify/silent.tsv"))
        .flat_map(|fields| fields[0].split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let functions: Vec<String> = silent
        .iter()
        .filter_map(|name| name.strip_suffix("()").map(str::to_owned))
        .collect();
    assert_eq!(
        database.value(&format!(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace \
             AND proname = ANY ({}) AND NOT proisstrict",
            list(&functions)
        )),
        "0"
    );
    assert_eq!(
        database.value(
            "SELECT coalesce(string_agg(DISTINCT oprname::text, ' '), '') FROM pg_operator o \
             JOIN pg_proc p ON p.oid = oprcode WHERE NOT proisstrict"
        ),
        "||"
    );
    assert_eq!(
        database.value("SELECT count(*) FROM pg_cast c JOIN pg_proc p ON p.oid = castfunc WHERE NOT proisstrict"),
        "0"
    );
}
