//! Non-interference: what one tenant gets does not change with the rows of others.
//!
//! The same statements of tenant 1 run on copies of one database that differ in foreign rows only: as
//! they are, gone, doubled, and made of what breaks conditions, the statements' own constants among it.
//! Answers, errors, notices, sequences and `random()` must be the same.

use tenantry::admitted::Admitted;
use tenantry::isolate::isolate;
use tenantry::tenant::TenantKey;

use super::output;
use crate::fixture;
use crate::support::Fixture;

const SHARED: Fixture = Fixture {
    name: "shared",
    files: &["tests/cases/fixture.sql"],
};

/// What tenant 1 sends. A refusal fails the test, unless it stands in `REFUSED`.
const STATEMENTS: &[&str] = &[
    "SELECT id FROM customers WHERE name ~ '^A' ORDER BY id",
    "SELECT id FROM customers WHERE 'ab' ~ notes ORDER BY id",
    "SELECT id FROM customers WHERE 'ab' LIKE notes ORDER BY id",
    "SELECT id FROM customers WHERE notes LIKE 'note 2%' AND lower(name) = 'bob' ORDER BY id",
    "SELECT id FROM customers WHERE notes LIKE 'CANARY-T2-n\\' ORDER BY id",
    "SELECT count(*) FROM customers WHERE name LIKE 'CANARY%' AND 1 / (id - id) = 1",
    "SELECT count(*) FROM customers WHERE name = 'Ada' AND id = (SELECT id FROM products LIMIT 1)",
    "SELECT count(*) FROM customers c WHERE name LIKE 'CANARY%' AND EXISTS \
     (SELECT 1 FROM orders o WHERE 1 / (o.id - o.id) = 1)",
    "SELECT count(*) FROM customers c WHERE name LIKE 'CANARY%' AND EXISTS \
     (SELECT 1 FROM orders o JOIN documents d USING (id) WHERE 1 / (o.id - o.id) = 1)",
    "SELECT id FROM customers WHERE prefs ->> 'lang' = 'de' ORDER BY id",
    "SELECT id FROM customers WHERE (prefs ->> 'n')::int > 1 ORDER BY id",
    "SELECT id FROM customers WHERE notes::int > 1 ORDER BY id",
    "SELECT id FROM customers WHERE country = 'DE' AND notes::int > 1 ORDER BY id",
    "SELECT id FROM customers WHERE num_nulls(notes) = 1 ORDER BY id",
    "SELECT id FROM customers WHERE now() - created_at > interval '7 days' ORDER BY id",
    "SELECT id FROM customers WHERE to_char(created_at, 'YYYY') = '2024' ORDER BY id",
    "SELECT id FROM customers WHERE date_trunc('month', created_at) = '2024-01-01' ORDER BY id",
    "SELECT id FROM customers WHERE created_at + interval '1 year' > '2024-06-01' ORDER BY id",
    "SELECT id FROM products WHERE search @@ to_tsquery('simple', 'lamp | desk') ORDER BY id",
    "SELECT id FROM products WHERE to_tsvector('simple', title) @@ to_tsquery('simple', 'lamp') ORDER BY id",
    "SELECT id FROM products WHERE price * 1000000 > 100 ORDER BY id",
    "SELECT id FROM products WHERE 100 / price > 1 ORDER BY id",
    "SELECT id FROM products WHERE lower(valid) > '2020-01-01' ORDER BY id",
    "SELECT id FROM products WHERE (attrs -> 'a' ->> 0)::numeric > 1 ORDER BY id",
    "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id AND c.name ~ o.memo ORDER BY 1",
    "SELECT o.id FROM orders o LEFT JOIN customers c ON c.id = o.customer_id AND 'a' ~ c.notes ORDER BY 1",
    "SELECT c.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE num_nulls(o.memo) = 1 \
     ORDER BY 1",
    "SELECT count(*) FROM orders o NATURAL JOIN customers WHERE 'a' ~ o.memo",
    "SELECT count(*) FROM orders FULL JOIN customers USING (id) WHERE 'a' ~ notes",
    "SELECT n FROM (SELECT upper(notes) AS n, id FROM customers) s WHERE n ~ '^NOTE' ORDER BY id",
    "SELECT notes FROM (SELECT DISTINCT notes FROM customers) s WHERE 'a' ~ notes ORDER BY 1",
    "SELECT notes FROM customers GROUP BY notes HAVING 'a' ~ notes ORDER BY 1",
    "SELECT notes, count(*) FROM customers GROUP BY notes HAVING 6 / count(*) > 1 ORDER BY 1",
    "SELECT * FROM (SELECT notes FROM customers UNION SELECT memo FROM orders) s WHERE 'a' ~ notes ORDER BY 1",
    "WITH c AS (SELECT notes FROM customers) SELECT * FROM c WHERE 'a' ~ notes ORDER BY 1",
    "SELECT * FROM (SELECT notes, count(*) OVER (PARTITION BY notes) FROM customers) s WHERE 'a' ~ notes \
     ORDER BY 1",
    "SELECT id FROM customers WHERE id IN (SELECT customer_id FROM orders WHERE 'a' ~ memo) ORDER BY 1",
    "SELECT id FROM customers WHERE name LIKE 'A%' OR tags[1] = 'vip' OR 'x' = ANY (tags) ORDER BY 1",
    "SELECT id FROM customers WHERE cardinality(tags) = 2 AND extract(year FROM created_at) = 2024 ORDER BY 1",
    "SELECT id FROM bookings WHERE during && '[2024-01-01,2025-01-01)' AND upper(during) < '2030-01-01' ORDER BY 1",
    "UPDATE customers SET notes = 'seen' WHERE 'note 2' ~ notes",
    "UPDATE orders o SET memo = 'seen' FROM customers c WHERE c.id = o.customer_id AND c.name ~ 'A'",
    "DELETE FROM audit_log WHERE detail ~ 'x'",
    "SELECT id, notes FROM customers ORDER BY id",
    "SELECT id, memo FROM orders ORDER BY id",
];

/// What must be refused: no mask and no shield is enough.
const REFUSED: &[&str] = &[
    "SELECT count(*) FROM customers WHERE random() IS NOT NULL",
    "SELECT count(*) FROM orders FULL JOIN customers USING (id) WHERE num_nulls(notes) = 1",
];

/// What is done to the rows of others.
const WORLDS: [(&str, &str); 4] = [
    ("as they are", ""),
    (
        "gone",
        "DELETE FROM audit_log WHERE tenant_id <> 1; DELETE FROM bookings WHERE tenant_id <> 1;
         DELETE FROM order_items WHERE tenant_id <> 1; DELETE FROM orders WHERE tenant_id <> 1;
         DELETE FROM customers WHERE tenant_id <> 1; DELETE FROM products WHERE tenant_id <> 1;",
    ),
    (
        "doubled",
        "CREATE TEMP TABLE more AS SELECT * FROM customers WHERE tenant_id = 2;
         UPDATE more SET tenant_id = 7; INSERT INTO customers SELECT * FROM more;
         CREATE TEMP TABLE orders_more AS SELECT * FROM orders WHERE tenant_id = 2;
         UPDATE orders_more SET tenant_id = 7; INSERT INTO orders SELECT * FROM orders_more;",
    ),
    (
        "poisoned",
        "UPDATE customers SET name = CASE id % 4 WHEN 0 THEN 'Ada' WHEN 1 THEN 'CANARY(' WHEN 2 THEN 'bob' ELSE 'A\\' END,
           notes = CASE id % 5 WHEN 0 THEN '(' WHEN 1 THEN 'note 2\\' WHEN 2 THEN 'CANARY-T2-n' WHEN 3 THEN '*' ELSE '99999999999' END,
           country = 'DE', tags = '{{vip,x}}', prefs = '{\"lang\": \"de\", \"n\": \"(\"}',
           created_at = CASE id % 3 WHEN 0 THEN 'infinity'::timestamptz WHEN 1 THEN '294276-12-31' ELSE '4714-11-24 00:00:00+00 BC' END
         WHERE tenant_id <> 1;
         UPDATE orders SET memo = CASE id % 3 WHEN 0 THEN '(' WHEN 1 THEN 'a\\' ELSE '[' END WHERE tenant_id <> 1;
         UPDATE products SET price = CASE id % 2 WHEN 0 THEN 0 ELSE 99999999 END, title = 'lamp ' || repeat('x ', 1000),
           attrs = '{\"a\": [\"(\"]}', valid = '(,)' WHERE tenant_id <> 1;
         UPDATE bookings SET during = '(,)' WHERE tenant_id = 2 AND id = (SELECT min(id) FROM bookings WHERE tenant_id = 2);
         INSERT INTO audit_log (tbl, detail, tenant_id) VALUES ('x', repeat('x', 3000), 2);",
    ),
];

/// Settings that change the order in which conditions are computed.
const SETTINGS: [&str; 3] = [
    "",
    "SET cpu_operator_cost TO 0;",
    "SET cpu_operator_cost TO 0; SET enable_seqscan TO off; SET enable_hashjoin TO off;",
];

/// Plays the statements in every world.
pub fn interfere_with_nobody() {
    let classified = fixture::classified();
    let isolated = |sql: &str| {
        let mut statements = isolate(sql.as_bytes(), &[], &classified)?;
        match statements.remove(0).admitted {
            Admitted::Isolated(verified) => verified.with_tenant(&TenantKey::Integer(1)),
            Admitted::Bypassed(bypassed) => bypassed.with_scope(),
        }
    };
    for sql in REFUSED {
        assert!(isolated(sql).is_err(), "{sql}");
    }
    let mut texts = Vec::new();
    for sql in STATEMENTS.iter().filter(|sql| !REFUSED.contains(sql)) {
        match isolated(sql) {
            Ok(text) => texts.push(text),
            Err(refusal) => panic!("{refusal}: {sql}"),
        }
    }
    for settings in SETTINGS {
        let mut first: Option<String> = None;
        for (name, change) in WORLDS {
            let database = SHARED.database();
            database.execute(&format!(
                "SET session_replication_role TO replica; {change} RESET session_replication_role; ANALYZE"
            ));
            let script = format!(
                "{settings}\nSELECT setseed(0.5);\n{};\nSELECT random();\n\
                 SELECT last_value FROM orders_id_seq; SELECT last_value FROM customers_id_seq;\n",
                texts.join(";\n")
            );
            let found = output(&database, &script);
            assert!(
                found.contains("(6 rows)") && !found.contains("CANARY-T"),
                "{name}: {found}"
            );
            match &first {
                None => first = Some(found),
                Some(first) => {
                    let pairs = first.lines().zip(found.lines());
                    let differs = pairs.enumerate().find(|(_, (one, other))| one != other);
                    assert!(first == &found, "{name}, {settings}: {differs:?}");
                }
            }
        }
    }
}
