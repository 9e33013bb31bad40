//! Reads a [`Catalog`] from a running server.
//!
//! In: an [`Upstream`]. Out: a snapshot of its database, or why there is none. PostgreSQL 13 to 18.
//!
//! # Invariants
//! 1. Everything is read in one read-only transaction that sees one state of the database.
//! 2. After the effective `search_path` was read, it is emptied: no object of a user takes part in
//!    a query here, and `pg_get_viewdef` qualifies every name.
//! 3. All lists are sorted, so that an unchanged database gives an equal catalog.
//! 4. What the catalogs hold and this code does not know is an error, never left out.
//!
//! # Not here
//! What the relations are to tenants: [`crate::tenant::Classified`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, IsolationLevel, NoTls, Row, Transaction};

use super::unseen::{code, code_of_types, read_code};
use crate::catalog::{
    Catalog, Column, ForeignKey, ForeignKeyAction, Function, Generated, Indexed, Oid, Operator,
    Relation, RelationKind, RelationName, Trigger, Type, TypeKind, UniqueKey, View,
};
use crate::config::{Upstream, UpstreamAddress};
use crate::protocol::backend::SERVER_ENCODING;

/// Why a catalog could not be read.
#[derive(Debug, Error)]
pub enum IntrospectError {
    /// The server's `search_path` looks a name up in a schema before `pg_catalog`.
    #[error("the role's search_path puts \"{schema}\" before pg_catalog")]
    SearchPath {
        /// The schema.
        schema: String,
    },
    /// The server did not answer, or not as expected.
    #[error("{}", explain(.0))]
    Server(#[from] tokio_postgres::Error),
    /// A value that the system catalogs did not have when this was written.
    #[error("the catalogs hold an unknown {what}: {value}")]
    Unknown {
        /// What the value is of.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// It took too long: the server hangs, or a lock is held on one of its tables.
    #[error("the tables could not be looked at within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// Texts would be folded and cut there in another way than here.
    #[error("the database's encoding is {0}: names are read here as UTF8 only")]
    Encoding(String),
    /// The server was built to cut names elsewhere.
    #[error("the server cuts names at {0} bytes, and not at 63")]
    NameLength(String),
    /// A server that is too old.
    #[error("PostgreSQL 13 or newer is needed, this is {0}")]
    Version(u32),
}

/// The error and what caused it, because the library's own text says only "db error".
fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(from_server) => from_server.message().to_owned(),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to look at a database.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long taking leave of a server may last.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the database of an upstream.
pub async fn introspect(upstream: &Upstream) -> Result<Catalog, IntrospectError> {
    tokio::time::timeout(ANSWER_TIMEOUT, ask(upstream))
        .await
        .unwrap_or(Err(IntrospectError::Timeout))
}

async fn ask(upstream: &Upstream) -> Result<Catalog, IntrospectError> {
    let (mut client, driver) = connect(upstream).await?;
    let catalog = read(&mut client).await;
    take_leave(client, driver).await;
    catalog
}

/// A connection to the database of an upstream, for queries of our own.
pub(super) async fn connect(
    upstream: &Upstream,
) -> Result<(Client, JoinHandle<Option<()>>), IntrospectError> {
    let mut settings = tokio_postgres::Config::new();
    settings
        .user(&upstream.credentials.user)
        .password(upstream.credentials.password.expose())
        .dbname(&upstream.database)
        .application_name("tenantry catalog")
        .connect_timeout(CONNECT_TIMEOUT);
    match &upstream.address {
        UpstreamAddress::Tcp { host, port } => settings.host(host).port(*port),
        UpstreamAddress::Unix { directory } => settings.host_path(directory),
    };
    let (client, connection) = settings.connect(NoTls).await?;
    let driver = tokio::spawn(async move { connection.await.ok() });
    Ok((client, driver))
}

/// The connection takes its leave of the server; how is of no interest once everything is read.
pub(super) async fn take_leave(client: Client, driver: JoinHandle<Option<()>>) {
    drop(client);
    tokio::time::timeout(LEAVE_TIMEOUT, driver).await.ok();
}

/// Reads the database that a client is connected to.
async fn read(client: &mut Client) -> Result<Catalog, IntrospectError> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let path: Vec<String> = transaction
        .query_one("SELECT pg_catalog.current_schemas(false)::text[]", &[])
        .await?
        .try_get(0)?;
    transaction
        .batch_execute("SET LOCAL search_path TO ''; SET LOCAL statement_timeout TO '60s'")
        .await?;
    let version: i32 = transaction
        .query_one("SELECT current_setting('server_version_num')::int4", &[])
        .await?
        .try_get(0)?;
    let server_version = u32::try_from(version).unwrap_or(0);
    if server_version < 130_000 {
        return Err(IntrospectError::Version(server_version));
    }
    same_names(&transaction).await?;
    let mut catalog = Catalog {
        server_version,
        search_path: without_pg_catalog(path)?,
        relations: relations(&transaction).await?,
        types: types(&transaction).await?,
        functions: functions(&transaction).await?,
        operators: operators(&transaction).await?,
        system_functions: names(&transaction, SYSTEM_FUNCTIONS).await?,
        system_relations: names(&transaction, SYSTEM_RELATIONS).await?,
    };
    sort(&mut catalog);
    Ok(catalog)
}

/// A name must be the same here and there: a server folds letters of a single-byte encoding, and cuts a name
/// at a length of its own.
async fn same_names(transaction: &Transaction<'_>) -> Result<(), IntrospectError> {
    let row = transaction
        .query_one(
            "SELECT current_setting('server_encoding'), current_setting('max_identifier_length')",
            &[],
        )
        .await?;
    let (encoding, length): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    if encoding != SERVER_ENCODING {
        return Err(IntrospectError::Encoding(encoding));
    }
    if length != "63" {
        return Err(IntrospectError::NameLength(length));
    }
    Ok(())
}

/// A path that names `pg_catalog` anywhere but first would let a user's object take the place of a
/// system one.
fn without_pg_catalog(path: Vec<String>) -> Result<Vec<String>, IntrospectError> {
    let named = path.iter().position(|schema| schema == "pg_catalog");
    match (named, path.first()) {
        (Some(1..), Some(schema)) => Err(IntrospectError::SearchPath {
            schema: schema.clone(),
        }),
        (Some(0), _) => Ok(path.into_iter().skip(1).collect()),
        (Some(_) | None, _) => Ok(path),
    }
}

fn sort(catalog: &mut Catalog) {
    catalog.relations.sort_by(|a, b| a.name.cmp(&b.name));
    catalog
        .types
        .sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    catalog.functions.sort_by(|a, b| {
        (&a.schema, &a.name, &a.arguments).cmp(&(&b.schema, &b.name, &b.arguments))
    });
    catalog.operators.sort_by(|a, b| {
        (&a.schema, &a.name, a.left, a.right).cmp(&(&b.schema, &b.name, b.left, b.right))
    });
}

/// Schemas whose relations nobody can use by name but the server itself and other sessions.
const NOT_INTERNAL: &str = "n.nspname NOT IN ('pg_toast') AND n.nspname !~ '^pg_(toast_)?temp_'";

const NOT_SYSTEM: &str = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
                          AND n.nspname !~ '^pg_(toast_)?temp_'";

/// Also the name of the extension that owns a row of the catalog given in place of `{catalog}`.
pub(super) fn extension_of(catalog: &str) -> String {
    format!(
        "(SELECT e.extname::text FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid \
         WHERE d.classid = '{catalog}'::regclass AND d.objid = x.oid AND d.deptype = 'e' \
         AND d.refclassid = 'pg_extension'::regclass)"
    )
}

const SYSTEM_FUNCTIONS: &str = "SELECT DISTINCT p.proname::text FROM pg_proc p \
                                JOIN pg_namespace n ON n.oid = p.pronamespace \
                                WHERE n.nspname = 'pg_catalog'";

const SYSTEM_RELATIONS: &str = "SELECT n.nspname || '.' || c.relname FROM pg_class c \
                                JOIN pg_namespace n ON n.oid = c.relnamespace \
                                WHERE n.nspname IN ('pg_catalog', 'information_schema')";

async fn names(
    transaction: &Transaction<'_>,
    query: &str,
) -> Result<BTreeSet<String>, IntrospectError> {
    let rows = transaction.query(query, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn relations(transaction: &Transaction<'_>) -> Result<Vec<Relation>, IntrospectError> {
    let query = format!(
        "SELECT x.oid, n.nspname::text, x.relname::text, x.relkind::text, x.reltype, \
         CASE WHEN x.relkind IN ('v', 'm') THEN pg_get_viewdef(x.oid) END, \
         EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = x.oid AND r.rulename <> '_RETURN'), \
         {}, x.relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = x.oid), x.reloptions \
         FROM pg_class x JOIN pg_namespace n ON n.oid = x.relnamespace WHERE {NOT_SYSTEM}",
        extension_of("pg_class")
    );
    let mut columns = columns(transaction).await?;
    let mut keys = keys(transaction).await?;
    let mut foreign_keys = foreign_keys(transaction).await?;
    let mut triggers = triggers(transaction).await?;
    let mut parents = parents(transaction).await?;
    let mut code = code(transaction).await?;
    let mut read_code = read_code(transaction).await?;
    let mut indexed = indexed(transaction).await?;
    let mut owners = owners(transaction).await?;
    let rows = transaction.query(&query, &[]).await?;
    rows.iter()
        .map(|row| {
            let oid: Oid = row.try_get(0)?;
            let definition: Option<String> = row.try_get(5)?;
            let options: Option<Vec<String>> = row.try_get(9)?;
            Ok(Relation {
                oid,
                name: relation_name(row, 1)?,
                kind: relation_kind(row.try_get(3)?)?,
                columns: columns.remove(&oid).unwrap_or_default(),
                keys: keys.remove(&oid).unwrap_or_default(),
                foreign_keys: foreign_keys.remove(&oid).unwrap_or_default(),
                triggers: triggers.remove(&oid).unwrap_or_default(),
                code: code.remove(&oid).unwrap_or_default(),
                read_code: read_code.remove(&oid).unwrap_or_default(),
                indexed: indexed.remove(&oid).unwrap_or_default(),
                row_security: row.try_get(8)?,
                has_rules: row.try_get(6)?,
                parents: parents.remove(&oid).unwrap_or_default(),
                view: definition.map(|definition| View {
                    definition,
                    options: options.unwrap_or_default(),
                }),
                owned_by: owners.remove(&oid).and_then(|mut owners| owners.pop()),
                row_type: row.try_get(4)?,
                extension: row.try_get(7)?,
            })
        })
        .collect()
}

fn relation_name(row: &Row, at: usize) -> Result<RelationName, tokio_postgres::Error> {
    let schema: String = row.try_get(at)?;
    let name: String = row.try_get(at + 1)?;
    Ok(RelationName::new(schema, name))
}

fn relation_kind(relkind: &str) -> Result<RelationKind, IntrospectError> {
    Ok(match relkind {
        "c" => RelationKind::CompositeType,
        "f" => RelationKind::ForeignTable,
        "i" | "I" => RelationKind::Index,
        "m" => RelationKind::MaterializedView,
        "p" => RelationKind::PartitionedTable,
        "S" => RelationKind::Sequence,
        "r" => RelationKind::Table,
        "v" => RelationKind::View,
        _ => return Err(unknown("pg_class.relkind", relkind)),
    })
}

fn unknown(what: &'static str, value: &str) -> IntrospectError {
    IntrospectError::Unknown {
        what,
        value: value.to_owned(),
    }
}

/// What belongs to each relation.
pub(super) type PerRelation<T> = BTreeMap<Oid, Vec<T>>;

async fn columns(transaction: &Transaction<'_>) -> Result<PerRelation<Column>, IntrospectError> {
    let query = format!(
        "SELECT a.attrelid, a.attname::text, a.attnum, a.atttypid, a.atttypmod, a.attcollation, \
         a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid \
           AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated), \
         pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND {NOT_SYSTEM} ORDER BY 1, 3"
    );
    let mut columns = PerRelation::new();
    for row in transaction.query(&query, &[]).await? {
        let column = Column {
            name: row.try_get(1)?,
            number: row.try_get(2)?,
            type_oid: row.try_get(3)?,
            typmod: row.try_get(4)?,
            collation: row.try_get(5)?,
            not_null: row.try_get(6)?,
            default: row.try_get(7)?,
            generated: generated(row.try_get(8)?, row.try_get(9)?)?,
        };
        columns.entry(row.try_get(0)?).or_default().push(column);
    }
    Ok(columns)
}

fn generated(identity: &str, generated: &str) -> Result<Generated, IntrospectError> {
    match (identity, generated) {
        ("", "") => Ok(Generated::No),
        ("a", "") => Ok(Generated::IdentityAlways),
        ("d", "") => Ok(Generated::IdentityByDefault),
        ("", "s" | "v") => Ok(Generated::Expression),
        _ => Err(unknown(
            "pg_attribute.attgenerated",
            &format!("{identity}/{generated}"),
        )),
    }
}

/// Unique indexes enforce, with or without a constraint; so do those that are not valid yet. Of the types that
/// a tenant column may have (bigint, smallint, integer, text, varchar, uuid) a column counts for the key only
/// where equal means the same value: not under an operator like `<>`, an operator class of another type, or a
/// collation of a user's.
async fn keys(transaction: &Transaction<'_>) -> Result<PerRelation<UniqueKey>, IntrospectError> {
    let query = "SELECT i.indrelid, c.relname::text, \
                 ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, at) \
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
                   WHERE k.at <= i.indnkeyatts AND k.attnum <> 0 \
                   AND (a.atttypid NOT IN (20, 21, 23, 25, 1043, 2950) \
                     OR (i.indcollation[k.at - 1] < 16384 AND CASE WHEN e.conexclop IS NOT NULL THEN EXISTS ( \
                         SELECT FROM pg_operator o WHERE o.oid = e.conexclop[k.at] AND o.oprname = '=' \
                         AND o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft = o.oprright \
                         AND o.oprleft IN (20, 21, 23, 25, 2950)) \
                       ELSE EXISTS (SELECT FROM pg_opclass o WHERE o.oid = i.indclass[k.at - 1] \
                         AND o.opcnamespace = 'pg_catalog'::regnamespace \
                         AND o.opcintype IN (20, 21, 23, 25, 2950)) END)) ORDER BY k.at), \
                 i.indisprimary, i.indpred IS NOT NULL OR i.indexprs IS NOT NULL, i.indisexclusion \
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                 LEFT JOIN pg_constraint e ON e.conindid = i.indexrelid AND e.conexclop IS NOT NULL \
                 WHERE i.indisunique OR i.indisexclusion \
                 ORDER BY i.indrelid, NOT i.indisprimary, c.relname";
    let mut keys = PerRelation::new();
    for row in transaction.query(query, &[]).await? {
        let key = UniqueKey {
            name: row.try_get(1)?,
            columns: row.try_get(2)?,
            primary: row.try_get(3)?,
            partial_or_expression: row.try_get(4)?,
            exclusion: row.try_get(5)?,
        };
        keys.entry(row.try_get(0)?).or_default().push(key);
    }
    Ok(keys)
}

/// Whether one of a foreign key's own triggers, or of its parts for partitions, does not fire for everybody.
const UNCHECKED: &str = "EXISTS (WITH RECURSIVE part AS (SELECT f.oid \
     UNION ALL SELECT c.oid FROM pg_constraint c JOIN part ON c.conparentid = part.oid) \
     SELECT FROM part JOIN pg_trigger t ON t.tgconstraint = part.oid WHERE t.tgenabled NOT IN ('O', 'A'))";

async fn foreign_keys(
    transaction: &Transaction<'_>,
) -> Result<PerRelation<ForeignKey>, IntrospectError> {
    let columns = |relation: &str, key: &str| {
        format!(
            "ARRAY(SELECT a.attname::text FROM unnest({key}) WITH ORDINALITY AS k(attnum, at) \
             JOIN pg_attribute a ON a.attrelid = {relation} AND a.attnum = k.attnum ORDER BY k.at)"
        )
    };
    let query = format!(
        "SELECT f.conrelid, f.conname::text, {}, n.nspname::text, c.relname::text, {}, \
         f.confdeltype::text, f.confupdtype::text, f.condeferrable, NOT f.convalidated OR {UNCHECKED}, {} \
         FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE f.contype = 'f' ORDER BY 1, 2, 4, 5",
        columns("f.conrelid", "f.conkey"),
        columns("f.confrelid", "f.confkey"),
        // Before version 15 there is no such column.
        columns(
            "f.conrelid",
            "ARRAY(SELECT n.attnum::int2 FROM jsonb_array_elements_text(COALESCE(NULLIF(\
             to_jsonb(f) -> 'confdelsetcols', 'null'), '[]')) AS n(attnum))",
        ),
    );
    let mut foreign_keys = PerRelation::new();
    for row in transaction.query(&query, &[]).await? {
        let key = ForeignKey {
            name: row.try_get(1)?,
            columns: row.try_get(2)?,
            references: relation_name(&row, 3)?,
            referenced_columns: row.try_get(5)?,
            on_delete: foreign_key_action(row.try_get(6)?)?,
            on_delete_sets: row.try_get(10)?,
            on_update: foreign_key_action(row.try_get(7)?)?,
            deferrable: row.try_get(8)?,
            not_valid: row.try_get(9)?,
        };
        foreign_keys.entry(row.try_get(0)?).or_default().push(key);
    }
    Ok(foreign_keys)
}

fn foreign_key_action(action: &str) -> Result<ForeignKeyAction, IntrospectError> {
    Ok(match action {
        "a" => ForeignKeyAction::NoAction,
        "r" => ForeignKeyAction::Restrict,
        "c" => ForeignKeyAction::Cascade,
        "n" => ForeignKeyAction::SetNull,
        "d" => ForeignKeyAction::SetDefault,
        _ => return Err(unknown("pg_constraint.confdeltype", action)),
    })
}

/// Disabled triggers are listed, too: they can be enabled without the proxy's knowledge.
async fn triggers(transaction: &Transaction<'_>) -> Result<PerRelation<Trigger>, IntrospectError> {
    let query = "SELECT t.tgrelid, t.tgname::text, n.nspname || '.' || p.proname, \
                 CASE WHEN t.tgtype::int4 & 4 <> 0 THEN 'I' ELSE '' END \
                   || CASE WHEN t.tgtype::int4 & 16 <> 0 THEN 'U' ELSE '' END \
                   || CASE WHEN t.tgtype::int4 & 8 <> 0 THEN 'D' ELSE '' END \
                   || CASE WHEN t.tgtype::int4 & 32 <> 0 THEN 'T' ELSE '' END, \
                 CASE WHEN t.tgtype::int4 & 3 = 3 AND t.tgtype::int4 & 20 <> 0 THEN \
                   ARRAY(SELECT a.attname::text FROM pg_attribute a \
                     WHERE a.attrelid = t.tgrelid AND a.attnum > 0 AND NOT a.attisdropped \
                     AND (l.lanname <> 'plpgsql' \
                       OR regexp_replace(p.prosrc, '\\mreturn\\s+new\\M', '', 'gi') ~* '\\mnew\\M(?!\\s*\\.)|u&\"' \
                       OR strpos(lower(p.prosrc), lower(a.attname)) > 0) \
                     ORDER BY a.attnum) \
                   ELSE '{}' END \
                 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
                 JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
                 WHERE NOT t.tgisinternal ORDER BY 1, 2";
    let mut triggers = PerRelation::new();
    for row in transaction.query(query, &[]).await? {
        let trigger = Trigger {
            name: row.try_get(1)?,
            function: row.try_get(2)?,
            events: row.try_get(3)?,
            may_set: row.try_get(4)?,
        };
        triggers.entry(row.try_get(0)?).or_default().push(trigger);
    }
    Ok(triggers)
}

async fn parents(
    transaction: &Transaction<'_>,
) -> Result<PerRelation<RelationName>, IntrospectError> {
    let query = "SELECT i.inhrelid, n.nspname::text, c.relname::text FROM pg_inherits i \
                 JOIN pg_class c ON c.oid = i.inhparent \
                 JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY i.inhrelid, i.inhseqno";
    let mut parents = PerRelation::new();
    for row in transaction.query(query, &[]).await? {
        let name = relation_name(&row, 1)?;
        parents.entry(row.try_get(0)?).or_default().push(name);
    }
    Ok(parents)
}

/// The tables whose columns sequences give values to: serial ones (`a`) and identities (`i`).
async fn owners(
    transaction: &Transaction<'_>,
) -> Result<PerRelation<RelationName>, IntrospectError> {
    let query = "SELECT d.objid, n.nspname::text, c.relname::text FROM pg_depend d \
                 JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
                 JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
                 AND d.objsubid = 0 AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') ORDER BY 1, 2, 3";
    let mut owners = PerRelation::new();
    for row in transaction.query(query, &[]).await? {
        let name = relation_name(&row, 1)?;
        owners.entry(row.try_get(0)?).or_default().push(name);
    }
    Ok(owners)
}

/// An array is what another type names as its array type; `int2vector` and the like are none.
async fn types(transaction: &Transaction<'_>) -> Result<Vec<Type>, IntrospectError> {
    let query = format!(
        "SELECT x.oid, n.nspname::text, x.typname::text, x.typtype::text, x.typbasetype, e.oid, {}, \
         ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid = x.oid ORDER BY l.enumsortorder) \
         FROM pg_type x JOIN pg_namespace n ON n.oid = x.typnamespace \
         LEFT JOIN pg_type e ON e.typarray = x.oid WHERE {NOT_INTERNAL}",
        extension_of("pg_type")
    );
    let mut code = code_of_types(transaction).await?;
    let rows = transaction.query(&query, &[]).await?;
    rows.iter()
        .map(|row| {
            let oid: Oid = row.try_get(0)?;
            let base: Oid = row.try_get(4)?;
            let element: Option<Oid> = row.try_get(5)?;
            Ok(Type {
                oid,
                code: code.remove(&oid).unwrap_or_default(),
                schema: row.try_get(1)?,
                name: row.try_get(2)?,
                kind: match element {
                    Some(element) => TypeKind::Array(element),
                    None => type_kind(row.try_get(3)?, base)?,
                },
                labels: row.try_get(7)?,
                extension: row.try_get(6)?,
            })
        })
        .collect()
}

fn type_kind(typtype: &str, base: Oid) -> Result<TypeKind, IntrospectError> {
    Ok(match typtype {
        "b" => TypeKind::Base,
        "c" => TypeKind::Composite,
        "d" => TypeKind::Domain(base),
        "e" => TypeKind::Enum,
        "m" => TypeKind::Multirange,
        "p" => TypeKind::Pseudo,
        "r" => TypeKind::Range,
        _ => return Err(unknown("pg_type.typtype", typtype)),
    })
}

/// The expressions that valid indexes hold for every row. An index that was built over broken chains of
/// updates, one of a partitioned table with foreign partitions and one of a parent of others does not.
async fn indexed(transaction: &Transaction<'_>) -> Result<PerRelation<Indexed>, IntrospectError> {
    let query = "SELECT DISTINCT i.indrelid, pg_get_indexdef(i.indexrelid, k.at::integer, false), a.atttypid, a.attcollation \
         FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid \
         CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, at) \
         JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum = k.at \
         WHERE k.attnum = 0 AND i.indpred IS NULL AND NOT i.indcheckxmin \
           AND i.indisvalid AND i.indisready AND i.indislive \
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
             AND d.objid = i.indexrelid AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)) \
           AND CASE t.relkind \
             WHEN 'p' THEN NOT EXISTS (SELECT FROM pg_partition_tree(i.indrelid) p \
               JOIN pg_class c ON c.oid = p.relid WHERE c.relkind = 'f') \
             ELSE NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = i.indrelid) END \
         ORDER BY 1, 2";
    let mut indexed = PerRelation::new();
    for row in transaction.query(query, &[]).await? {
        let expression = Indexed {
            expression: row.try_get(1)?,
            type_oid: row.try_get(2)?,
            collation: row.try_get(3)?,
        };
        let of_table: &mut Vec<Indexed> = indexed.entry(row.try_get(0)?).or_default();
        of_table.push(expression);
    }
    Ok(indexed)
}

async fn functions(transaction: &Transaction<'_>) -> Result<Vec<Function>, IntrospectError> {
    let query = format!(
        "SELECT n.nspname::text, x.proname::text, \
         ARRAY(SELECT format_type(a.type, NULL) \
           FROM unnest(x.proargtypes::oid[]) WITH ORDINALITY AS a(type, at) ORDER BY a.at), {0}, \
         CASE WHEN x.prokind <> 'a' AND {NOT_SYSTEM} AND {0} IS NULL THEN \
           left(encode(sha256(convert_to(pg_get_functiondef(x.oid), 'UTF8')), 'hex'), 32) END \
         FROM pg_proc x JOIN pg_namespace n ON n.oid = x.pronamespace \
         WHERE n.nspname <> 'pg_catalog' AND {NOT_INTERNAL}",
        extension_of("pg_proc")
    );
    let rows = transaction.query(&query, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Function {
                schema: row.try_get(0)?,
                name: row.try_get(1)?,
                arguments: row.try_get(2)?,
                extension: row.try_get(3)?,
                fingerprint: row.try_get(4)?,
            })
        })
        .collect()
}

async fn operators(transaction: &Transaction<'_>) -> Result<Vec<Operator>, IntrospectError> {
    let query = format!(
        "SELECT n.nspname::text, x.oprname::text, x.oprleft, x.oprright, {} \
         FROM pg_operator x JOIN pg_namespace n ON n.oid = x.oprnamespace \
         WHERE n.nspname <> 'pg_catalog' AND {NOT_INTERNAL}",
        extension_of("pg_operator")
    );
    let rows = transaction.query(&query, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Operator {
                schema: row.try_get(0)?,
                name: row.try_get(1)?,
                left: row.try_get(2)?,
                right: row.try_get(3)?,
                extension: row.try_get(4)?,
            })
        })
        .collect()
}
