//! What a server's role could do past the proxy, and which indexes there are: for a check of the database.

use tokio_postgres::Transaction;

use super::introspect::{IntrospectError, connect, take_leave};
use crate::catalog::RelationName;
use crate::config::Upstream;

/// What a role may do that the proxy's role should not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Survey {
    /// The role.
    pub role: String,
    /// Its attributes, as `ALTER ROLE` calls them: SUPERUSER, BYPASSRLS, CREATEROLE, CREATEDB, REPLICATION.
    pub attributes: Vec<String>,
    /// The powerful roles that it is a member of, such as `pg_read_server_files`.
    pub memberships: Vec<String>,
    /// The relations that it owns, or whose owner it may become.
    pub owned: Vec<RelationName>,
    /// The schemas in which it may create objects.
    pub creates_in: Vec<String>,
    /// What it may do in the database: CREATE schemas, make TEMPORARY tables.
    pub privileges: Vec<String>,
    /// The database.
    pub database: String,
    /// The indexes that enforce nothing.
    pub indexes: Vec<PlainIndex>,
}

/// An index that is there for speed only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlainIndex {
    /// The table.
    pub table: RelationName,
    /// Its name.
    pub name: String,
    /// Its columns; expressions are left out.
    pub columns: Vec<String>,
}

/// Asks the server of an upstream.
pub async fn survey(upstream: &Upstream) -> Result<Survey, IntrospectError> {
    let (mut client, driver) = connect(upstream).await?;
    let transaction = client.build_transaction().read_only(true).start().await?;
    let found = ask(&transaction).await;
    drop(transaction);
    take_leave(client, driver).await;
    found
}

const ROLE: &str = "SELECT current_user::text, current_database()::text, \
     array_remove(ARRAY[CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, \
       CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END, \
       CASE WHEN rolreplication THEN 'REPLICATION' END], NULL), \
     ARRAY(SELECT m.rolname::text FROM pg_roles m WHERE m.rolname ~ '^pg_' AND NOT r.rolsuper \
       AND pg_has_role(r.oid, m.oid, 'MEMBER') ORDER BY 1), \
     ARRAY(SELECT n.nspname::text FROM pg_namespace n WHERE n.nspname !~ '^pg_' \
       AND n.nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'CREATE') ORDER BY 1), \
     array_remove(ARRAY[ \
       CASE WHEN has_database_privilege(current_database(), 'CREATE') THEN 'CREATE' END, \
       CASE WHEN has_database_privilege(current_database(), 'TEMPORARY') THEN 'TEMPORARY' END], NULL) \
     FROM pg_roles r WHERE r.rolname = current_user";

const OWNED: &str = "SELECT n.nspname::text, c.relname::text FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.rolname = current_user \
     WHERE NOT r.rolsuper AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' \
     AND n.nspname <> 'information_schema' AND pg_has_role(r.oid, c.relowner, 'MEMBER') ORDER BY 1, 2";

const INDEXES: &str = "SELECT n.nspname::text, t.relname::text, c.relname::text, \
     ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, at) \
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
       WHERE k.at <= i.indnkeyatts AND k.attnum <> 0 ORDER BY k.at) \
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam \
     JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
     WHERE NOT i.indisunique AND NOT i.indisexclusion AND m.amname = 'btree' AND NOT t.relispartition \
     AND i.indpred IS NULL AND i.indexprs IS NULL AND n.nspname !~ '^pg_' ORDER BY 1, 2, 3";

async fn ask(transaction: &Transaction<'_>) -> Result<Survey, IntrospectError> {
    transaction
        .batch_execute("SET LOCAL search_path TO ''; SET LOCAL statement_timeout TO '60s'")
        .await?;
    let role = transaction.query_one(ROLE, &[]).await?;
    let mut survey = Survey {
        role: role.try_get(0)?,
        database: role.try_get(1)?,
        attributes: role.try_get(2)?,
        memberships: role.try_get(3)?,
        creates_in: role.try_get(4)?,
        privileges: role.try_get(5)?,
        ..Survey::default()
    };
    for row in transaction.query(OWNED, &[]).await? {
        let (schema, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        survey.owned.push(RelationName::new(schema, name));
    }
    for row in transaction.query(INDEXES, &[]).await? {
        let (schema, table): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        survey.indexes.push(PlainIndex {
            table: RelationName::new(schema, table),
            name: row.try_get(2)?,
            columns: row.try_get(3)?,
        });
    }
    Ok(survey)
}
