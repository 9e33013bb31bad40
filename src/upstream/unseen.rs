//! What reading and writing relations, and making values, runs without being named in a statement.
//!
//! In: a transaction of [`super::introspect()`]. Out: signatures, by the number of the relation or the type.

use tokio_postgres::Transaction;

use super::introspect::{IntrospectError, PerRelation, extension_of};
use crate::catalog::runs_text;

/// What making a value of each type runs by itself. A domain's functions stand in `pg_depend` only.
pub(super) async fn code_of_types(
    transaction: &Transaction<'_>,
) -> Result<PerRelation<String>, IntrospectError> {
    let query = format!(
        "WITH used(relation, function) AS ( \
           SELECT k.contypid, d.refobjid FROM pg_constraint k JOIN pg_depend d \
             ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid \
             AND d.refclassid = 'pg_proc'::regclass WHERE k.contypid <> 0 \
           UNION SELECT k.contypid, o.oprcode FROM pg_constraint k JOIN pg_depend d \
             ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid \
             AND d.refclassid = 'pg_operator'::regclass JOIN pg_operator o ON o.oid = d.refobjid \
             WHERE k.contypid <> 0 \
           UNION SELECT casttarget, castfunc FROM pg_cast WHERE castfunc <> 0) {}",
        signatures()
    );
    let mut code = per_relation(transaction, &query).await?;
    let checks =
        "SELECT contypid, pg_get_constraintdef(oid) FROM pg_constraint WHERE contypid <> 0";
    add_checks(transaction, checks, &mut code).await?;
    Ok(code)
}

/// Adds the functions that run text in these conditions.
async fn add_checks(
    transaction: &Transaction<'_>,
    query: &str,
    code: &mut PerRelation<String>,
) -> Result<(), IntrospectError> {
    for row in transaction.query(query, &[]).await? {
        let text: String = row.try_get(1)?;
        if let Some(function) = runs_text(&text) {
            let found = code.entry(row.try_get(0)?).or_default();
            found.push(format!("pg_catalog.{function}"));
        }
    }
    Ok(())
}

/// What a write to each relation runs by itself. `pg_depend` does not know functions of `pg_catalog`.
pub(super) async fn code(
    transaction: &Transaction<'_>,
) -> Result<PerRelation<String>, IntrospectError> {
    let query = format!(
        "WITH RECURSIVE {DOMAINS}, {RANGES}, parted(relation, root) AS ( \
           SELECT partrelid, partrelid FROM pg_partitioned_table \
           UNION SELECT i.inhrelid, p.root FROM parted p JOIN pg_inherits i ON i.inhparent = p.relation), \
         unseen(relation, classid, objid) AS ( \
           SELECT relation, 'pg_class'::regclass, root FROM parted \
           UNION ALL SELECT adrelid, 'pg_attrdef'::regclass, oid FROM pg_attrdef \
           UNION ALL SELECT conrelid, 'pg_constraint'::regclass, oid FROM pg_constraint \
             WHERE conrelid <> 0 \
           UNION ALL SELECT indrelid, 'pg_class'::regclass, indexrelid FROM pg_index \
           UNION ALL SELECT d.relation, 'pg_constraint'::regclass, k.oid FROM pg_constraint k \
             JOIN domains d ON d.type = k.contypid \
           UNION ALL SELECT relation, 'pg_type'::regclass, type FROM domains), \
         used(relation, function) AS ( \
           SELECT u.relation, d.refobjid FROM unseen u JOIN pg_depend d \
             ON d.classid = u.classid AND d.objid = u.objid AND d.refclassid = 'pg_proc'::regclass \
           UNION SELECT u.relation, o.oprcode FROM unseen u JOIN pg_depend d \
             ON d.classid = u.classid AND d.objid = u.objid \
             AND d.refclassid = 'pg_operator'::regclass JOIN pg_operator o ON o.oid = d.refobjid \
           UNION SELECT a.attrelid, c.castfunc FROM pg_cast c JOIN pg_attribute a \
             ON a.atttypid = c.casttarget WHERE c.castfunc <> 0 AND c.castcontext <> 'e' \
           UNION SELECT t.relation, p.amproc::oid FROM parted t \
             JOIN pg_partitioned_table r ON r.partrelid = t.root \
             CROSS JOIN unnest(r.partclass::oid[]) AS k(class) JOIN pg_opclass o ON o.oid = k.class \
             JOIN pg_amproc p ON p.amprocfamily = o.opcfamily \
           UNION {RANGE_FUNCTIONS}) \
         {} UNION {LOUD_INDEXES} UNION {LOUD_RANGES} ORDER BY 1, 2",
        signatures()
    );
    let mut code = per_relation(transaction, &query).await?;
    let checks = format!("WITH RECURSIVE {DOMAINS} {CHECKS}");
    add_checks(transaction, &checks, &mut code).await?;
    Ok(code)
}

/// The domains that columns of each relation have, and those that they are made of.
const DOMAINS: &str = "domains(relation, type) AS ( \
     SELECT a.attrelid, a.atttypid FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'd' \
     UNION SELECT d.relation, t.typbasetype FROM domains d JOIN pg_type t ON t.oid = d.type \
       JOIN pg_type b ON b.oid = t.typbasetype AND b.typtype = 'd')";

/// The conditions that a write evaluates, as text: of the relation, and of its columns' domains.
const CHECKS: &str = "SELECT conrelid, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0 \
   UNION ALL SELECT d.relation, pg_get_constraintdef(k.oid) FROM domains d \
     JOIN pg_constraint k ON k.contypid = d.type \
   UNION ALL SELECT d.relation, t.typdefault FROM domains d JOIN pg_type t ON t.oid = d.type \
     WHERE t.typdefault IS NOT NULL";

/// Range types of indexed columns that are not the system's: an index calls the functions that they name
/// on entries of all rows.
const RANGES: &str = "columns(relation, method, type) AS ( \
     SELECT i.indrelid, m.amname, a.atttypid FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid \
       JOIN pg_am m ON m.oid = x.relam JOIN pg_attribute a ON a.attrelid = i.indexrelid \
     UNION SELECT c.relation, c.method, t.typbasetype FROM columns c JOIN pg_type t ON t.oid = c.type \
       WHERE t.typtype = 'd'), \
   ranges(relation, method, subdiff, canonical, family) AS ( \
     SELECT c.relation, c.method, r.rngsubdiff::oid, r.rngcanonical::oid, o.opcfamily FROM columns c \
       JOIN pg_range r ON c.type = r.rngtypid OR c.type::text = to_jsonb(r) ->> 'rngmultitypid' \
       JOIN pg_opclass o ON o.oid = r.rngsubopc WHERE r.rngtypid >= 16384)";

const RANGE_FUNCTIONS: &str = "SELECT relation, subdiff FROM ranges UNION SELECT relation, canonical FROM ranges \
   UNION SELECT r.relation, p.amproc::oid FROM ranges r JOIN pg_amproc p ON p.amprocfamily = r.family";

/// A function of the system's that tells how far apart two bounds are was made for something else, and
/// may fail.
const LOUD_RANGES: &str = "SELECT r.relation, 'pg_catalog.' || p.oid::regprocedure::text FROM ranges r \
   JOIN pg_proc p ON p.oid = r.subdiff JOIN pg_namespace n ON n.oid = p.pronamespace \
   WHERE r.method = 'gist' AND n.nspname = 'pg_catalog' AND p.proname NOT IN ('int4range_subdiff', \
     'int8range_subdiff', 'daterange_subdiff', 'tsrange_subdiff', 'tstzrange_subdiff')";

/// Functions of the system and of intarray that an index calls on entries of all rows when one is added, and
/// that fail on some: they make double precision of numeric, find arrays too far apart, or areas too large.
const LOUD_INDEXES: &str = "SELECT i.indrelid, CASE \
     WHEN o.opcname IN ('box_ops', 'circle_ops', 'point_ops', 'poly_ops') \
       THEN 'pg_catalog.gist_box_penalty(internal, internal, internal)' \
     WHEN m.amname = 'brin' THEN 'pg_catalog.brin_minmax_multi_distance_numeric(internal, internal)' \
     WHEN o.opcname = 'gist__int_ops' THEN s.nspname || '.g_int_compress(internal)' \
     ELSE 'pg_catalog.numrange_subdiff(numeric, numeric)' END \
   FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam \
   CROSS JOIN unnest(i.indclass::oid[]) WITH ORDINALITY AS k(class, at) \
   JOIN pg_opclass o ON o.oid = k.class JOIN pg_namespace s ON s.oid = o.opcnamespace \
   JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum = k.at \
   LEFT JOIN pg_type d ON d.oid = a.atttypid AND d.typtype = 'd' \
   LEFT JOIN pg_type e ON e.oid = d.typbasetype AND e.typtype = 'd' \
   WHERE (m.amname = 'gist' AND (o.opcname IN ('box_ops', 'circle_ops', 'gist__int_ops', 'point_ops', 'poly_ops') \
       OR COALESCE(e.typbasetype, d.typbasetype, a.atttypid) IN (3906, 4532) OR e.typtype = 'd')) \
     OR (m.amname = 'brin' AND o.opcname = 'numeric_minmax_multi_ops')";

/// What reading each relation by an index may run on any row.
pub(super) async fn read_code(
    transaction: &Transaction<'_>,
) -> Result<PerRelation<String>, IntrospectError> {
    let query = format!(
        "WITH RECURSIVE {RANGES}, classes(relation, family) AS ( \
           SELECT i.indrelid, o.opcfamily FROM pg_index i \
             CROSS JOIN unnest(i.indclass::oid[]) AS k(class) JOIN pg_opclass o ON o.oid = k.class), \
         used(relation, function) AS ( \
           SELECT c.relation, p.amproc::oid FROM classes c JOIN pg_amproc p ON p.amprocfamily = c.family \
           UNION SELECT c.relation, o.oprcode::oid FROM classes c \
             JOIN pg_amop a ON a.amopfamily = c.family JOIN pg_operator o ON o.oid = a.amopopr \
           UNION {RANGE_FUNCTIONS}) {} \
         UNION SELECT attrelid, 'the virtual column ' || quote_ident(attname) FROM pg_attribute \
           WHERE attgenerated = 'v' AND NOT attisdropped",
        signatures()
    );
    per_relation(transaction, &query).await
}

/// The functions of `used(relation, function)` that are neither the system's nor an extension's.
fn signatures() -> String {
    format!(
        "SELECT DISTINCT u.relation, n.nspname || '.' || x.proname || '(' || array_to_string( \
           ARRAY(SELECT format_type(a.type, NULL) FROM unnest(x.proargtypes::oid[]) \
             WITH ORDINALITY AS a(type, at) ORDER BY a.at), ', ') || ')' AS signature \
         FROM used u JOIN pg_proc x ON x.oid = u.function \
         JOIN pg_namespace n ON n.oid = x.pronamespace \
         WHERE n.nspname <> 'pg_catalog' AND {} IS NULL",
        extension_of("pg_proc")
    )
}

async fn per_relation(
    transaction: &Transaction<'_>,
    query: &str,
) -> Result<PerRelation<String>, IntrospectError> {
    let mut code = PerRelation::new();
    for row in transaction.query(query, &[]).await? {
        code.entry(row.try_get(0)?)
            .or_default()
            .push(row.try_get(1)?);
    }
    Ok(code)
}
