//! Views, copied unchanged to the shared database: they answer as on the private one, or are refused.

use libtest_mimic::Failed;

use super::{PRIVATE, SHARED, ask, connect, foreign_rows, isolated, shows_foreign_rows};
use crate::support::{Database, runtime};
use crate::{catalog, fixture};
use tenantry::tenant::Classified;

/// Views of an application that knows of no tenants, in an order in which they can be made.
const VIEWS: &str = "
CREATE VIEW w_plain AS SELECT * FROM customers;
CREATE VIEW w_renamed (number, label) AS SELECT id, name FROM customers WHERE country = 'DE';
CREATE VIEW w_join AS SELECT c.id, c.name, o.memo FROM customers c JOIN orders o ON o.customer_id = c.id;
CREATE VIEW w_left AS SELECT c.id, o.id AS order_id FROM customers c LEFT JOIN orders o ON o.customer_id = c.id AND o.total > 20;
CREATE VIEW w_rank AS SELECT id, total, rank() OVER (ORDER BY total DESC) AS place FROM orders;
CREATE VIEW w_max AS SELECT max(id) AS top, sum(total) AS total FROM orders;
CREATE VIEW w_union AS SELECT id, name AS text FROM customers UNION SELECT id, title FROM products;
CREATE VIEW w_except AS SELECT id FROM customers EXCEPT ALL SELECT customer_id FROM orders ORDER BY 1;
CREATE VIEW w_with AS WITH big AS (SELECT * FROM orders WHERE total > 20), orders AS (SELECT 7 AS n) SELECT big.id, orders.n FROM big, orders;
CREATE VIEW w_tree AS WITH RECURSIVE t AS (SELECT id, parent_id, 0 AS depth FROM categories WHERE parent_id IS NULL
  UNION ALL SELECT c.id, c.parent_id, t.depth + 1 FROM categories c JOIN t ON c.parent_id = t.id) SELECT * FROM t;
CREATE VIEW w_top AS SELECT id, name FROM customers ORDER BY credit DESC, id LIMIT 2;
CREATE VIEW w_distinct AS SELECT DISTINCT ON (customer_id) customer_id, id FROM orders ORDER BY customer_id, id DESC;
CREATE VIEW w_numbered AS SELECT c.id, t.tag, t.n FROM customers c CROSS JOIN LATERAL unnest(c.tags) WITH ORDINALITY AS t(tag, n);
CREATE VIEW w_barrier WITH (security_barrier) AS SELECT id, notes FROM customers WHERE credit > 110;
CREATE VIEW w_invoker WITH (security_invoker) AS SELECT key, value FROM settings;
CREATE VIEW w_using AS SELECT id, c.name, p.title FROM customers c JOIN products p USING (id);
CREATE VIEW w_exists AS SELECT p.id, p.sku FROM products p WHERE EXISTS (SELECT 1 FROM order_items i WHERE i.product_id = p.id AND i.qty > 2);
CREATE VIEW w_values (n, t) AS VALUES (1, 'a'), (2, 'b');
CREATE VIEW w_shared AS SELECT code, name FROM countries;
CREATE VIEW w_case AS SELECT id, CASE WHEN total > 20 THEN 'big' ELSE 'small' END AS size, placed_at::date AS day FROM orders;
CREATE VIEW w_sub AS SELECT id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) AS n FROM customers c;
CREATE VIEW w_events AS SELECT kind, count(*) FILTER (WHERE happened_on > '2024-01-01') AS n FROM events GROUP BY ROLLUP (kind);
CREATE VIEW w_only AS SELECT id, title FROM ONLY documents;
CREATE VIEW w_over AS SELECT w.number, j.memo FROM w_renamed w JOIN w_join j ON j.id = w.number;
CREATE VIEW w_over_twice AS SELECT a.number, b.memo FROM w_over a, w_over b WHERE a.number = b.number;
CREATE VIEW \"w Mixed\" AS SELECT id AS \"The Id\", name AS \"select\" FROM customers;
CREATE VIEW w_grouped AS SELECT date_trunc('month', placed_at) AS month, sum(total) AS total FROM orders GROUP BY 1 HAVING sum(total) > 0;
CREATE VIEW w_money AS SELECT id, fmt_money(total) AS total FROM orders;
CREATE VIEW w_nothing AS SELECT name FROM customers WHERE false;
CREATE VIEW w_pairs (k, v) AS SELECT key, value FROM settings WHERE value IS NOT NULL AND key <> 'hidden';
CREATE VIEW w_turned (v, k) AS SELECT w.v, w.k FROM w_pairs w WHERE w.k <> 'b' ORDER BY 1;
CREATE VIEW w_swapped (name, email) AS SELECT email, name FROM customers;
CREATE VIEW w_size (id, title, size) AS SELECT id, title, coalesce(char_length(body), 0) FROM documents d WHERE title <> 'x' OR id = 1;
CREATE VIEW w_local AS SELECT key, value FROM settings WHERE key <> 'z' WITH LOCAL CHECK OPTION;
CREATE VIEW w_default AS SELECT key, value FROM settings;
ALTER VIEW w_default ALTER COLUMN value SET DEFAULT 'd';
CREATE VIEW w_lower AS SELECT id, lower(name) AS name FROM customers WHERE lower(email) LIKE '%a%' AND 'x' !~ email;
CREATE VIEW w_lowest AS SELECT customer_id, count(*) AS n FROM orders WHERE 5 / (id - 1000) < 1 GROUP BY customer_id;
CREATE VIEW w_tags AS SELECT id, unnest(tags) AS tag FROM customers;
GRANT ALL ON ALL TABLES IN SCHEMA public TO iso_app;";

/// A view that selects more of a table than the key that it groups by, as each database can have it.
const GROUPED: [&str; 2] = [
    "CREATE VIEW w_key AS SELECT c.id, c.name, count(o.id) AS n FROM customers c LEFT JOIN orders o ON o.customer_id = c.id
       WHERE c.country IN ('DE', 'FR') GROUP BY c.tenant_id, c.id; GRANT SELECT, UPDATE ON w_key TO iso_app",
    "CREATE VIEW w_key AS SELECT c.id, c.name, count(o.id) AS n FROM customers c LEFT JOIN orders o ON o.customer_id = c.id
       WHERE c.country IN ('DE', 'FR') GROUP BY c.id; GRANT SELECT, UPDATE ON w_key TO iso_app",
];

/// What is asked of each view.
const OF_EACH: [&str; 7] = [
    "SELECT * FROM {v}",
    "SELECT count(*) FROM {v} a",
    "SELECT a.* FROM {v} AS a (first) ORDER BY first",
    "SELECT x FROM {v} x",
    "SELECT to_jsonb(x) FROM {v} AS x",
    "WITH orders AS (SELECT 1), customers AS (SELECT 2) SELECT a.* FROM {v} a, customers, orders",
    "SELECT c.id, (SELECT count(*) FROM {v}) FROM customers c LEFT JOIN {v} v ON true",
];

/// What is asked beyond that.
const OTHERS: &[&str] = &[
    "SELECT v.id, c.name FROM w_plain v JOIN customers c USING (id) WHERE v.country = 'DE'",
    "SELECT w_renamed.label FROM public.w_renamed WHERE public.w_renamed.number > 1",
    "SELECT label, count(*) FROM w_renamed GROUP BY label HAVING count(*) > 0",
    "SELECT number FROM w_renamed UNION SELECT place FROM w_rank",
    "SELECT * FROM w_join NATURAL JOIN w_left",
    "SELECT * FROM w_rank WHERE total = 25.75",
    "SELECT * FROM w_rank WHERE place < 3",
    "SELECT * FROM w_numbered WHERE n = 1",
    "SELECT * FROM w_max WHERE top = 10",
    "SELECT * FROM w_top FULL JOIN w_tree USING (id)",
    "SELECT id FROM w_barrier WHERE notes = 'note 5 o''neil' FOR UPDATE",
    "SELECT id FROM w_plain WHERE id = 2 FOR SHARE OF w_plain",
    "SELECT * FROM w_over_twice o JOIN LATERAL (SELECT * FROM w_join j WHERE j.id = o.number) l ON true",
    "SELECT * FROM ONLY w_union u (a, b) WHERE a = 1",
    "SELECT \"The Id\", \"select\" FROM \"w Mixed\" WHERE \"The Id\" IN (SELECT id FROM w_sub WHERE n > 1)",
    "SELECT month FROM w_grouped WHERE total > 30",
    "SELECT size FROM w_case WHERE size = 'big'",
    "UPDATE customers SET notes = 'seen' FROM w_left l WHERE l.id = customers.id RETURNING customers.id, l.order_id",
    "DELETE FROM settings USING w_invoker i WHERE i.key = settings.key RETURNING i.*",
    "INSERT INTO documents (title) SELECT name FROM w_top RETURNING title",
    "INSERT INTO settings (key, value) SELECT sku, sku FROM w_exists",
    "MERGE INTO settings s USING w_renamed r ON r.label = s.key WHEN NOT MATCHED THEN INSERT (key) VALUES (r.label)",
    "SELECT (SELECT label FROM w_renamed r WHERE r.number = c.id) FROM customers c",
    "SELECT id FROM w_barrier WHERE notes ~ '^n' OR 'a' ~ notes",
    "SELECT * FROM w_plain WHERE lower(name) = 'ada' AND prefs ->> 'lang' = 'de' AND name || 'x' > 'A'",
    "SELECT v.name, o.memo FROM w_plain v JOIN orders o ON o.customer_id = v.id AND upper(v.name) >= lower(o.memo)",
    "SELECT a.id, b.id FROM w_plain a JOIN w_plain b ON 1 / (a.id - 7) = 1 / (b.id - 8)",
    "SELECT * FROM w_lower",
    "SELECT * FROM w_lowest WHERE 10 / n > 1",
    "SELECT * FROM w_left l LEFT JOIN w_lower v ON 1 / (v.id - 9) IS NOT NULL AND v.id = l.id",
    "SELECT count(*) FROM (SELECT label || '!' AS label FROM w_renamed) x WHERE label ~ 'a'",
    "SELECT number FROM w_over WHERE memo ~ 'e'",
    "TABLE w_values",
    "SELECT 1, 'x' UNION TABLE w_renamed",
    "INSERT INTO settings TABLE w_exists",
    "INSERT INTO settings (key, value) WITH w AS (TABLE w_values) TABLE w_renamed",
    "SELECT * FROM w_plain WHERE EXISTS (SELECT FROM w_join j WHERE j.id = w_plain.id)",
    "UPDATE w_renamed SET label = 'x' WHERE number > 1 RETURNING *",
    "UPDATE w_renamed AS w SET label = w.label || number RETURNING w.number, label, w.*, w.number + 1 AS n",
    "UPDATE public.w_renamed SET label = public.w_renamed.label || '!' RETURNING public.w_renamed.number",
    "UPDATE w_renamed SET (label, number) = (SELECT title, 900 FROM products p WHERE p.id = w_renamed.number) RETURNING *",
    "UPDATE w_renamed SET label = (SELECT max(o.memo) FROM orders o WHERE o.customer_id = w_renamed.number) WHERE number = 1",
    "UPDATE w_renamed r SET label = o.memo FROM orders o WHERE o.customer_id = r.number AND o.memo IS NOT NULL",
    "UPDATE w_plain SET name = 'new' FROM orders o WHERE o.customer_id = w_plain.id RETURNING w_plain.id, o.id",
    "UPDATE w_swapped SET name = email, email = name RETURNING *",
    "UPDATE w_swapped w SET name = w.email WHERE name = 'ada@example.com' RETURNING name, email, w.name",
    "UPDATE w_barrier SET notes = 'b' WHERE id < 3 RETURNING notes",
    "UPDATE w_nothing SET name = 'x'",
    "UPDATE w_pairs SET v = v || k WHERE k = 'theme' OR v = 'x' RETURNING v, k",
    "UPDATE w_turned SET v = 'y' WHERE k > 'a' RETURNING *",
    "UPDATE w_turned t SET k = t.k || '2', v = t.k RETURNING t.v AS a, t.k",
    "UPDATE w_size SET title = 'x' WHERE id > 1 RETURNING id, title",
    "UPDATE \"w Mixed\" SET \"select\" = 'y' WHERE \"The Id\" = 1 RETURNING \"The Id\"",
    "WITH u AS (UPDATE w_pairs SET v = 'w' RETURNING k, v) SELECT u.*, s.value FROM u JOIN settings s ON s.key = u.k",
    "DELETE FROM w_pairs",
    "DELETE FROM w_turned RETURNING v",
    "DELETE FROM w_nothing",
    "DELETE FROM w_pairs p USING w_turned t WHERE t.k = p.k AND p.v > 'a' RETURNING p.*, t.*",
    "DELETE FROM w_invoker WHERE key IN (SELECT k FROM w_pairs)",
    "DELETE FROM w_size WHERE title = 'x' OR id > 1",
    "INSERT INTO w_pairs VALUES ('new', 'n') RETURNING *",
    "INSERT INTO w_pairs (v, k) VALUES ('n', 'new'), (NULL, 'null'), (DEFAULT, 'hidden') RETURNING k",
    "INSERT INTO w_turned SELECT title, sku FROM products RETURNING *",
    "INSERT INTO w_turned AS t (k) VALUES ('theme') ON CONFLICT (k) DO UPDATE SET v = t.v || excluded.k WHERE t.v <> 'q' RETURNING t.*",
    "INSERT INTO w_turned (k, v) SELECT k, v || '3' FROM w_pairs ON CONFLICT (k) DO NOTHING",
    "INSERT INTO w_swapped (name) VALUES ('x') RETURNING *",
    "INSERT INTO w_size (title, id) VALUES ('t', 990) RETURNING id",
    "INSERT INTO w_pairs DEFAULT VALUES",
    "INSERT INTO w_size DEFAULT VALUES RETURNING title",
];

/// What is read of the tables after a write.
const AFTER: [&str; 4] = [
    "SELECT id, name, email, country, credit, notes FROM customers",
    "SELECT * FROM settings",
    "SELECT id, owner_id, title, body FROM documents",
    "SELECT id, customer_id, memo FROM orders",
];

/// Statements that are refused.
const REFUSED: &[(&str, &str)] = &[
    (
        "SELECT tenant_id FROM w_plain",
        "column \"tenant_id\" does not exist",
    ),
    (
        "SELECT id FROM w_barrier WHERE num_nulls(notes) = 1",
        "num_nulls",
    ),
    (
        "SELECT * FROM w_renamed TABLESAMPLE system (50)",
        "TABLESAMPLE clause",
    ),
    ("DELETE FROM w_max", "computes such a column"),
    ("DELETE FROM w_only", "reads its table so"),
    ("DELETE FROM w_join", "cannot delete from view \"w_join\""),
    ("UPDATE w_rank SET id = 1", "computes such a column"),
    ("DELETE FROM w_tags", "computes such a column"),
    ("DELETE FROM w_sub", "computes such a column"),
    ("DELETE FROM w_exists", "such a condition"),
    (
        "INSERT INTO w_union VALUES (1, 'x')",
        "cannot insert into view \"w_union\"",
    ),
    (
        "INSERT INTO w_top VALUES (1, 'x')",
        "cannot insert into view \"w_top\"",
    ),
    (
        "UPDATE w_distinct SET id = 1",
        "cannot update view \"w_distinct\"",
    ),
    (
        "DELETE FROM w_values",
        "cannot delete from view \"w_values\"",
    ),
    (
        "UPDATE w_over SET memo = 'x'",
        "cannot update view \"w_over\"",
    ),
    (
        "UPDATE w_size SET size = 1",
        "cannot update column \"size\" of view \"w_size\"",
    ),
    (
        "INSERT INTO w_size VALUES (1, 'x', 3)",
        "cannot insert into column \"size\" of view \"w_size\"",
    ),
    (
        "UPDATE w_size SET title = 'x' WHERE size = 1",
        "computed column size",
    ),
    (
        "UPDATE w_size SET title = 'x' RETURNING *",
        "computed column size",
    ),
    ("UPDATE w_shared SET name = 'x'", "permission denied"),
    (
        "UPDATE w_pairs SET value = 'x'",
        "column \"value\" of relation \"w_pairs\" does not exist",
    ),
    (
        "UPDATE w_pairs SET v = value",
        "column \"value\" does not exist",
    ),
    (
        "UPDATE w_pairs SET v = w_pairs.value",
        "column w_pairs.value does not exist",
    ),
    (
        "UPDATE w_pairs SET v = to_jsonb(w_pairs)::text",
        "as a value",
    ),
    ("UPDATE w_pairs SET tenant_id = 2", "column \"tenant_id\""),
    (
        "UPDATE w_pairs SET v = tenant_id::text",
        "column \"tenant_id\" does not exist",
    ),
    (
        "INSERT INTO w_pairs (k, tenant_id) VALUES ('x', 2)",
        "column \"tenant_id\"",
    ),
    (
        "DELETE FROM w_pairs RETURNING tenant_id",
        "column \"tenant_id\" does not exist",
    ),
    ("INSERT INTO w_local VALUES ('z', '1')", "CHECK OPTION"),
    ("INSERT INTO w_default (key) VALUES ('z')", "defaults"),
    (
        "DELETE FROM w_pairs WHERE CURRENT OF c",
        "on a view is not implemented",
    ),
    (
        "MERGE INTO w_pairs p USING settings s ON s.key = p.k WHEN MATCHED THEN DELETE",
        "MERGE into a view",
    ),
    (
        "MERGE INTO w_pairs p USING settings s ON s.key = p.k WHEN MATCHED THEN DO NOTHING",
        "MERGE into a view",
    ),
    ("COPY w_pairs FROM STDIN", "not open to tenants"),
    ("TRUNCATE w_pairs", "not open to tenants"),
    ("DELETE FROM w_pairs WHERE v ~ 'x'", "operator ~"),
];

fn make(shared: &Database, private: &Database) {
    for (database, grouped) in [shared, private].into_iter().zip(GROUPED) {
        database.execute(VIEWS);
        database.execute(grouped);
    }
}

pub(super) fn check() -> Result<(), Failed> {
    let (mut shared, mut private) = (SHARED.database(), PRIVATE.database());
    make(&shared, &private);
    let classified = Classified::new(
        catalog::read(&shared).expect("a catalog"),
        fixture::policy(),
    );
    let views = VIEWS
        .lines()
        .filter_map(|line| line.strip_prefix("CREATE VIEW "));
    let views: Vec<&str> = views
        .map(
            |rest| match rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
                Some((name, _)) => &rest[..name.len() + 2],
                None => rest.split(' ').next().expect("a name"),
            },
        )
        .collect();
    let mut statements: Vec<String> = Vec::new();
    for view in views.into_iter().chain(["w_key"]) {
        statements.extend(OF_EACH.iter().map(|sql| sql.replace("{v}", view)));
    }
    statements.extend(OTHERS.iter().map(|sql| (*sql).to_owned()));
    let before = foreign_rows(&shared);
    let mut bad = Vec::new();
    for sql in statements {
        let text = match isolated(&sql, &classified) {
            Ok(text) => text,
            Err(refusal) => {
                bad.push(format!("REFUSED {sql}: {refusal}"));
                continue;
            }
        };
        let (found, wanted) = runtime().block_on(async {
            let (on_shared, on_private) = (connect(&shared).await, connect(&private).await);
            let mut answers = (ask(&on_shared, &text).await, ask(&on_private, &sql).await);
            if !sql.starts_with(['S', 'T']) && answers.0.0 == answers.1.0 {
                for read in AFTER {
                    let text = isolated(read, &classified).expect("a query");
                    let after = (ask(&on_shared, &text).await, ask(&on_private, read).await);
                    if after.0.0 != after.1.0 {
                        answers = after;
                    }
                }
            }
            answers
        });
        if found.0 != wanted.0 || shows_foreign_rows(&found.1) {
            bad.push(format!(
                "{sql}\nsent {text}\nfound {}\nwanted {}",
                found.1, wanted.1
            ));
        }
        if !sql.starts_with(['S', 'T']) {
            assert_eq!(before, foreign_rows(&shared), "{sql}");
            (shared, private) = (SHARED.database(), PRIVATE.database());
            make(&shared, &private);
        }
    }
    for (sql, why) in REFUSED {
        match isolated(sql, &classified) {
            Ok(text) => bad.push(format!("NOT REFUSED {sql}: {text}")),
            Err(refusal) if refusal.to_string().contains(why) => {}
            Err(refusal) => bad.push(format!("{sql}: {refusal}")),
        }
    }
    if bad.is_empty() {
        Ok(())
    } else {
        Err(bad.join("\n\n").into())
    }
}
