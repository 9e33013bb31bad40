//! The catalog that is read from a server, against the one that the other tests use as data.
//!
//! To make `tests/cases/catalog.json` anew: load `tests/cases/fixture.sql` into an empty database of
//! PostgreSQL 15 and run `tenantry catalog` with an upstream that names it.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use serde_json::Value;
use tenantry::catalog::Catalog;
use tenantry::config::{Credentials, Secret, Upstream, UpstreamAddress};
use tenantry::upstream::{IntrospectError, introspect};

use crate::support::{Database, Fixture, port, runtime, trial};

/// The shared database of the isolation cases.
pub const SHARED: Fixture = Fixture {
    name: "shared",
    files: &["tests/cases/fixture.sql"],
};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("catalog::the_file_is_what_the_server_says", || {
            let read = read(&SHARED.database()).expect("a catalog");
            let file = std::fs::read_to_string(crate::support::case_file("catalog.json")).unwrap();
            let file: Catalog = serde_json::from_str(&file).unwrap();
            same(&comparable(&file), &comparable(&read));
        }),
        trial("catalog::reading_twice_gives_the_same_version", || {
            let database = SHARED.database();
            let (first, second) = (read(&database).unwrap(), read(&database).unwrap());
            assert_eq!(first.version(), second.version());
            database.execute("ALTER TABLE orders ADD COLUMN extra integer");
            assert_ne!(first.version(), read(&database).unwrap().version());
        }),
        trial(
            "catalog::every_kind_of_key_is_read",
            every_kind_of_key_is_read,
        ),
        trial(
            "catalog::a_key_holds_what_it_compares_as_the_type_does",
            a_key_holds_what_it_compares_as_the_type_does,
        ),
        trial("catalog::a_user_cannot_take_part", a_user_cannot_take_part),
        trial(
            "catalog::code_that_runs_unseen_is_read",
            code_that_runs_unseen_is_read,
        ),
        trial("catalog::names_are_resolved_along_the_path", || {
            let database = EMPTY.database();
            database.execute(
                "CREATE SCHEMA app; ALTER DATABASE :db SET search_path TO nowhere, app, public"
                    .replace(":db", database.name())
                    .as_str(),
            );
            assert_eq!(read(&database).unwrap().search_path, ["app", "public"]);
            let path = "ALTER DATABASE :db SET search_path TO app, pg_catalog";
            database.execute(&path.replace(":db", database.name()));
            let error = read(&database).unwrap_err();
            assert!(
                matches!(error, IntrospectError::SearchPath { .. }),
                "{error}"
            );
        }),
    ]
}

const EMPTY: Fixture = Fixture {
    name: "empty",
    files: &[],
};

fn every_kind_of_key_is_read() {
    let database = EMPTY.database();
    database.execute(
        "CREATE TABLE parent (id integer PRIMARY KEY);
         CREATE TABLE pair (a integer, b integer, PRIMARY KEY (a, b));
         CREATE TABLE t (
           tenant_id integer NOT NULL, a integer, b text, during int4range,
           parent integer REFERENCES parent ON DELETE SET NULL ON UPDATE CASCADE,
           owner integer, part integer, CONSTRAINT owned FOREIGN KEY (owner, part) REFERENCES pair
             ON DELETE SET NULL (part),
           CONSTRAINT z_pkey PRIMARY KEY (tenant_id, a), CONSTRAINT by_b UNIQUE (b),
           CONSTRAINT apart EXCLUDE USING gist (during WITH &&));
         CREATE UNIQUE INDEX by_a ON t (a) INCLUDE (b) WHERE a > 0;
         CREATE UNIQUE INDEX by_lower ON t (tenant_id, lower(b));",
    );
    let catalog = read(&database).unwrap();
    let table = catalog.relation("public", "t").unwrap();
    let keys: Vec<_> = table
        .keys
        .iter()
        .map(|key| {
            let kinds = (key.primary, key.partial_or_expression, key.exclusion);
            (key.name.as_str(), key.columns.join(","), kinds)
        })
        .collect();
    assert_eq!(
        keys,
        [
            ("z_pkey", "tenant_id,a".to_owned(), (true, false, false)),
            ("apart", "during".to_owned(), (false, false, true)),
            ("by_a", "a".to_owned(), (false, true, false)),
            ("by_b", "b".to_owned(), (false, false, false)),
            ("by_lower", "tenant_id".to_owned(), (false, true, false)),
        ]
    );
    let limited = &table.foreign_keys[0];
    assert_eq!(limited.name, "owned");
    assert_eq!(limited.on_delete_sets, ["part"]);
    let foreign_key = &table.foreign_keys[1];
    assert!(foreign_key.on_delete_sets.is_empty());
    assert_eq!(foreign_key.columns, ["parent"]);
    assert_eq!(foreign_key.referenced_columns, ["id"]);
    let actions = format!("{:?} {:?}", foreign_key.on_delete, foreign_key.on_update);
    assert_eq!(actions, "SetNull Cascade");
}

/// What a user may create must not change what is read: here an operator, a function and a table
/// with the names of the system's own.
fn a_user_cannot_take_part() {
    let database = EMPTY.database();
    let before = read(&database).unwrap();
    database.execute(
        "CREATE TABLE public.pg_class (oid oid, relname name);
         CREATE FUNCTION public.never(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT false';
         CREATE OPERATOR public.<> (LEFTARG = name, RIGHTARG = name, FUNCTION = public.never);
         CREATE FUNCTION public.format_type(oid, integer) RETURNS text LANGUAGE sql AS $$SELECT 'x'$$;",
    );
    let after = read(&database).unwrap();
    let names = |catalog: &Catalog| -> Vec<String> {
        let relations = catalog.relations.iter();
        relations
            .map(|relation| relation.name.to_string())
            .collect()
    };
    assert_eq!(names(&before), Vec::<String>::new());
    assert_eq!(names(&after), ["public.pg_class"]);
    assert_eq!(
        after.functions_named("never").next().unwrap().arguments,
        ["name", "name"]
    );
}

/// Reads a database's catalog as the superuser.
pub fn read(database: &Database) -> Result<Catalog, IntrospectError> {
    let upstream = Upstream {
        name: "main".to_owned(),
        address: UpstreamAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: port(),
        },
        database: database.name().to_owned(),
        credentials: Credentials {
            user: "postgres".to_owned(),
            password: Secret::new("unused".to_owned()),
        },
        connections_max: 1,
    };
    runtime().block_on(introspect(&upstream))
}

/// The catalog without what differs between two servers: object identifiers that are not fixed in
/// PostgreSQL's sources become names, and what belongs to PostgreSQL is left out.
fn comparable(catalog: &Catalog) -> Value {
    let mut names = BTreeMap::new();
    for found in &catalog.types {
        names.insert(found.oid, format!("{}.{}", found.schema, found.name));
    }
    for relation in &catalog.relations {
        names.insert(relation.oid, relation.name.to_string());
    }
    let mut catalog = catalog.clone();
    catalog
        .types
        .retain(|found| found.schema != "pg_catalog" && found.schema != "information_schema");
    catalog
        .functions
        .retain(|found| found.schema != "information_schema");
    // The text of a definition is the server version's own.
    for function in &mut catalog.functions {
        function.fingerprint = None;
    }
    catalog.server_version = 0;
    catalog.system_functions.clear();
    catalog.system_relations.clear();
    let mut value = serde_json::to_value(&catalog).unwrap();
    name_identifiers(&mut value, &names);
    value
}

const FIRST_UNPINNED: u64 = 10_000;

fn name_identifiers(value: &mut Value, names: &BTreeMap<u32, String>) {
    if let Value::Array(items) = value {
        for item in items {
            name_identifiers(item, names);
        }
    } else if let Value::Object(fields) = value {
        for (key, field) in fields {
            let holds_oid = [
                "oid", "type_oid", "row_type", "left", "right", "Array", "Domain",
            ]
            .contains(&key.as_str());
            match field
                .as_u64()
                .filter(|oid| holds_oid && *oid >= FIRST_UNPINNED)
            {
                Some(oid) => *field = names[&u32::try_from(oid).unwrap()].clone().into(),
                None => name_identifiers(field, names),
            }
        }
    }
}

/// A difference is shown where it is, not as two long lines.
fn same(file: &Value, server: &Value) {
    for (key, expected) in file.as_object().unwrap() {
        let (Some(expected), Some(found)) = (expected.as_array(), server[key].as_array()) else {
            assert_eq!(expected, &server[key], "{key}");
            continue;
        };
        for item in expected {
            assert!(found.contains(item), "{key}: only in the file: {item}");
        }
        for item in found {
            assert!(expected.contains(item), "{key}: only on the server: {item}");
        }
        assert_eq!(expected, found, "{key}: the order differs");
    }
}

/// Every place from which a write runs a function that nobody sees in the statement.
fn code_that_runs_unseen_is_read() {
    let database = EMPTY.database();
    database.execute(
        "CREATE FUNCTION f(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
         CREATE FUNCTION g(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
         CREATE OPERATOR ### (procedure = g, leftarg = integer, rightarg = integer); \
         CREATE DOMAIN d AS text CHECK (f(VALUE)); \
         CREATE TABLE with_default (id integer, a boolean DEFAULT f('x')); \
         CREATE TABLE with_check (id integer CHECK (id ### 1)); \
         CREATE TABLE with_index (a text); CREATE INDEX ON with_index (f(a)); \
         CREATE TABLE with_domain (a d); \
         CREATE TABLE with_generated (a text, b boolean GENERATED ALWAYS AS (f(a)) STORED); \
         CREATE TABLE plain (id serial, at timestamptz DEFAULT now(), CHECK (id > 0))",
    );
    let catalog = read(&database).expect("a catalog");
    let code = |name: &str| catalog.relation("public", name).unwrap().code.clone();
    let (f, g) = (
        "public.f(text)".to_owned(),
        "public.g(integer, integer)".to_owned(),
    );
    for name in [
        "with_default",
        "with_index",
        "with_domain",
        "with_generated",
    ] {
        assert_eq!(code(name), std::slice::from_ref(&f), "{name}");
    }
    assert_eq!(code("with_check"), [g]);
    assert_eq!(code("plain"), Vec::<String>::new());
}

/// A key whose comparison takes two tenants for one, or finds another's rows, is none of the tenant column.
fn a_key_holds_what_it_compares_as_the_type_does() {
    let database = EMPTY.database();
    database.execute(
        "CREATE EXTENSION btree_gist;
         CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t (
           number integer NOT NULL, word text NOT NULL, room text, during int4range,
           CONSTRAINT a_same EXCLUDE USING gist (number WITH =, word WITH =, during WITH &&),
           CONSTRAINT b_others EXCLUDE USING gist (number WITH <>, room WITH =));
         CREATE UNIQUE INDEX d_plain ON t (number, word text_pattern_ops);
         CREATE UNIQUE INDEX e_c ON t (word COLLATE \"C\", room);
         CREATE UNIQUE INDEX f_folded ON t (word COLLATE folded, room);
         CREATE UNIQUE INDEX g_blanks ON t (word bpchar_ops, room);",
    );
    let catalog = read(&database).unwrap();
    let table = catalog.relation("public", "t").unwrap();
    let keys = table.keys.iter();
    let keys: Vec<_> = keys
        .map(|key| format!("{}: {}", key.name, key.columns.join(",")))
        .collect();
    assert_eq!(
        keys,
        [
            "a_same: number,word,during",
            "b_others: room",
            "d_plain: number,word",
            "e_c: word,room",
            "f_folded: room",
            "g_blanks: room",
        ]
    );
}
