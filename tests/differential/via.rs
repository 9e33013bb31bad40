//! Tables that reach their tenant through another one answer as on the private database, whatever rows others have.

use libtest_mimic::Failed;
use tenantry::isolate::refusal::Refusal;
use tenantry::tenant::Classified;
use tokio_postgres::error::SqlState;

use super::{Answer, PRIVATE, SHARED, ask, connect, isolated, shows_foreign_rows, spliced};
use crate::support::{Database, runtime};
use crate::via;

/// What is read.
pub const READS: &[&str] = &[
    "SELECT * FROM l",
    "SELECT l.* FROM l, nn WHERE nn.line_id = l.id",
    "SELECT id, 1 / (number - 5) FROM l ORDER BY 1 / (number - 5)",
    "SELECT count(*) FROM l WHERE 1 / (number - 5) < 0",
    "SELECT id FROM l WHERE text LIKE 'A%'",
    "SELECT id FROM l WHERE 'CANARY-T2-n' LIKE text || '\\'",
    "SELECT id FROM nn WHERE note::integer > 1",
    "SELECT id FROM nn WHERE note::integer > 1 AND id < 3 ORDER BY note::integer DESC LIMIT 1",
    "SELECT o.id, l.number FROM o LEFT JOIN l ON l.order_id = o.id AND 10 / (l.number - 5) < 0",
    "SELECT o.id, l.number FROM o LEFT JOIN l ON l.order_id = o.id WHERE 10 / (l.number - 5) < 0 OR l.number IS NULL",
    "SELECT o.id, s.y FROM o LEFT JOIN (SELECT order_id, 1 / (number - 5) AS y FROM l) s ON s.order_id = o.id",
    "SELECT o.id, s.y FROM o, LATERAL (SELECT 1 / (number - 5) AS y FROM l WHERE order_id = o.id) s",
    "SELECT * FROM o FULL JOIN l ON l.order_id = o.id AND o.n > 1",
    "SELECT * FROM l RIGHT JOIN o ON order_id = o.id",
    "SELECT l.number, nn.note FROM nn JOIN l ON l.id = nn.line_id JOIN o ON o.id = l.order_id WHERE o.n = 1",
    "SELECT * FROM l NATURAL JOIN p",
    "SELECT * FROM l JOIN p USING (order_id) WHERE 3 / (number - 5) IS NOT NULL",
    "SELECT order_id, sum(price), max(1 / (number - 5)) FROM l GROUP BY order_id HAVING sum(price) > 1",
    "SELECT order_id, number, text FROM l GROUP BY order_id, number",
    "SELECT id, line_id, note FROM nn GROUP BY id",
    "SELECT DISTINCT 1 / (number - 5) FROM l",
    "SELECT text, rank() OVER (ORDER BY 1 / (number - 5)) FROM l",
    "SELECT x FROM l x",
    "SELECT to_jsonb(x) FROM nn x",
    "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM l WHERE l.order_id = o.id AND l.price > 90)",
    "SELECT id FROM o WHERE id IN (SELECT order_id FROM l)",
    "SELECT id, (SELECT count(*) FROM l WHERE l.order_id = o.id) FROM o",
    "SELECT id FROM l UNION SELECT id FROM nn ORDER BY 1",
    "SELECT id FROM l EXCEPT SELECT line_id FROM nn",
    "WITH x AS (SELECT * FROM l WHERE price > 0) SELECT x.id, nn.note FROM x JOIN nn ON nn.line_id = x.id",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT l.number + 1 FROM l JOIN t ON t.n = l.number WHERE l.order_id = 1) SELECT * FROM t",
    "SELECT * FROM ONLY l WHERE id = 11",
    "SELECT l.id FROM l WHERE l.id = 11 FOR UPDATE",
    "SELECT l.id FROM l WHERE l.id IN (11, 1005) FOR NO KEY UPDATE OF l SKIP LOCKED",
    "SELECT * FROM m WHERE 6 / n > 1",
    "SELECT m.id, c.label FROM m JOIN c USING (code)",
    "SELECT * FROM p WHERE day > '2024-01-01' ORDER BY id",
    "SELECT * FROM p_high",
    "SELECT * FROM big WHERE num = 2",
    "SELECT * FROM l AS first (a, b) WHERE a = 1",
    "SELECT tenantry_parent.number FROM l tenantry_parent JOIN o tenantry_parent_2 ON tenantry_parent_2.id = order_id",
    "TABLE nn",
    "SELECT id FROM l WHERE id = 1005",
    "SELECT max(id), min(order_id), count(*) FROM l",
    "SELECT max(id) FROM m",
    "COPY l TO STDOUT",
    "COPY (SELECT note FROM nn WHERE note::integer > 1) TO STDOUT",
    "EXPLAIN (COSTS OFF) SELECT 1",
];

/// What is written; the two ways of rewriting may each know less of it than the other.
pub const WRITES: &[&str] = &[
    "INSERT INTO l VALUES (1, 3, 13, 1, 'new') RETURNING *",
    "INSERT INTO l (number, order_id, id) VALUES (7, 1, 70), (8, 2, 80)",
    "INSERT INTO l (order_id, number) VALUES (100, 1)",
    "INSERT INTO l (order_id, number) VALUES (4, 1)",
    "INSERT INTO l (order_id, number) VALUES (1, 7), (140, 2)",
    "INSERT INTO l (order_id, number) VALUES (NULL, 1)",
    "INSERT INTO l (number) VALUES (1)",
    "INSERT INTO l DEFAULT VALUES",
    "INSERT INTO l (order_id, number) VALUES (1, 1)",
    "INSERT INTO l (order_id, number) SELECT id, 9 FROM o",
    "INSERT INTO l (order_id, number) SELECT q.id, 9 FROM (SELECT id + 97 AS id FROM o) q",
    "INSERT INTO l (order_id, number) SELECT (SELECT 100), id FROM o",
    "INSERT INTO l (order_id, number) SELECT id, 9 FROM o UNION SELECT order_id, 10 FROM p",
    "INSERT INTO l (order_id, number) VALUES ((SELECT max(id) FROM o), 4) RETURNING order_id",
    "INSERT INTO l (order_id, number) VALUES ((SELECT 100), 4)",
    "INSERT INTO l (order_id, number) VALUES ('2', 4)",
    "INSERT INTO l (order_id, number) VALUES (1 + 1, 4), (length('a'), 5)",
    "INSERT INTO l (order_id, number) VALUES (1 + 99, 4)",
    "INSERT INTO l (order_id, number) VALUES (nextval('s'), 4), (nextval('s'), 4)",
    "INSERT INTO l (order_id, number, price) VALUES (1, 1, 5) ON CONFLICT (order_id, number) DO UPDATE SET price = excluded.price RETURNING price",
    "INSERT INTO l (order_id, number) VALUES (1, 1) ON CONFLICT DO NOTHING",
    "INSERT INTO l (order_id, number) VALUES (1, 1) ON CONFLICT (order_id, number) DO UPDATE SET order_id = 2, number = 5",
    "INSERT INTO l (order_id, number) VALUES (1, 1) ON CONFLICT (order_id, number) DO UPDATE SET order_id = 100",
    "INSERT INTO nn (id, line_id, note) VALUES (9, 12, 'x'), (10, 21, 'y')",
    "INSERT INTO nn (id, line_id, note) VALUES (9, 1005, 'x')",
    "INSERT INTO nn VALUES (9, 12, 'a text that is longer than thirty characters')",
    "INSERT INTO m (id, code) VALUES (9, 'a')",
    "INSERT INTO m (id, code) VALUES (9, 'z')",
    "INSERT INTO m (id, code) VALUES (9, 'it''s')",
    "INSERT INTO m (id, code) OVERRIDING USER VALUE VALUES (9, 'a'), (10, 'b')",
    "INSERT INTO p (id, order_id) VALUES (4, 3), (5, 1)",
    "INSERT INTO p_low (id, order_id) VALUES (4, 2)",
    "UPDATE l SET price = price + 1, text = text || '!' RETURNING *",
    "UPDATE l SET price = 1 / (number - 5) WHERE 1 / (number - 5) < 0 RETURNING id",
    "UPDATE l SET order_id = 3 WHERE id = 11 RETURNING *",
    "UPDATE l SET order_id = 100 WHERE id = 12",
    "UPDATE l SET order_id = 99 WHERE id = 12",
    "UPDATE l SET order_id = 100 WHERE id = 1005",
    "UPDATE l SET order_id = order_id, number = number + 10",
    "UPDATE l SET order_id = o.id FROM o WHERE o.id = 3 AND l.number = 2 AND l.order_id = 1",
    "UPDATE l SET text = 'CANARY' WHERE order_id = 100",
    "UPDATE nn SET line_id = 12 WHERE note::integer = 1",
    "UPDATE nn n SET note = l.text FROM l WHERE l.id = n.line_id RETURNING n.id, l.number, n.*",
    "UPDATE m SET code = 'b' WHERE code = 'a'",
    "UPDATE m SET code = 'z'",
    "UPDATE p SET order_id = 3, day = NULL WHERE id = 1 RETURNING *",
    "UPDATE big SET price = 7, o = 3 WHERE num = 2 RETURNING *",
    "UPDATE big SET o = 100 WHERE num = 2 AND o = 2",
    "UPDATE o SET id = 7 WHERE id = 1",
    "DELETE FROM nn",
    "DELETE FROM nn WHERE note::integer = 1 RETURNING *",
    "DELETE FROM nn USING l WHERE l.id = nn.line_id AND 1 / (l.number - 5) < 0",
    "DELETE FROM l WHERE id = 1005",
    "DELETE FROM l WHERE id IN (12, 21)",
    "DELETE FROM l",
    "DELETE FROM o WHERE id = 1",
    "DELETE FROM o WHERE id = 3",
    "DELETE FROM p RETURNING order_id",
    "DELETE FROM big",
    "TRUNCATE nn",
    "TRUNCATE p",
    "MERGE INTO nn USING (VALUES (1, 12), (8, 21)) v (id, line) ON v.id = nn.id WHEN MATCHED THEN UPDATE SET line_id = v.line \
     WHEN NOT MATCHED THEN INSERT (id, line_id, note) VALUES (v.id, v.line, 'm')",
    "MERGE INTO nn USING (VALUES (1, 1005)) v (id, line) ON v.id = nn.id WHEN MATCHED THEN UPDATE SET line_id = v.line",
    "MERGE INTO nn USING (VALUES (8, 1005)) v (id, line) ON v.id = nn.id WHEN NOT MATCHED THEN INSERT (id, line_id) VALUES (v.id, v.line)",
    "MERGE INTO l USING o ON o.id = l.order_id AND o.n = 1 WHEN MATCHED THEN DELETE",
    "WITH d AS (DELETE FROM nn RETURNING line_id) SELECT l.number FROM d JOIN l ON l.id = d.line_id",
    "WITH x AS (SELECT id FROM o) INSERT INTO l (order_id, number) SELECT x.id, 30 FROM x",
];

/// So that conditions are computed in another order.
const OTHER_PLANS: &str =
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET cpu_operator_cost = 0";

/// What is looked at behind a write.
const AFTER: [&str; 5] = ["TABLE l", "TABLE nn", "TABLE m", "TABLE p", "TABLE o"];

/// What is refused, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "INSERT INTO l (order_id, number) VALUES (DEFAULT, 1)",
        "a value to order_id",
    ),
    ("INSERT INTO l SELECT * FROM l", "a value to order_id"),
    (
        "UPDATE l SET (order_id, number) = (100, 1)",
        "a value to order_id",
    ),
    (
        "UPDATE l SET order_id = order_id + 99",
        "a value to order_id",
    ),
    (
        "INSERT INTO big (o, num) VALUES (1, 2)",
        "INSERT into a view",
    ),
    ("COPY l FROM STDIN", "COPY FROM"),
    ("SELECT tenant_id FROM l", "does not exist"),
    ("SELECT id FROM nn WHERE setseed(0.1) IS NULL", "setseed"),
];

type Rewrite = fn(&str, &Classified) -> Result<String, Refusal>;

/// Both ways to rewrite.
const WAYS: [(&str, Rewrite); 2] = [("first", isolated), ("second", spliced)];

/// Rows of all others.
fn foreign_rows(database: &Database) -> String {
    database.value(
        "SELECT concat((SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM o WHERE tenant_id <> 1),
           (SELECT md5(string_agg(l::text, '|' ORDER BY id)) FROM l WHERE order_id >= 100),
           (SELECT md5(string_agg(nn::text, '|' ORDER BY id)) FROM nn WHERE line_id >= 1000),
           (SELECT md5(string_agg(m::text, '|' ORDER BY id)) FROM m WHERE code = 'z'),
           (SELECT md5(string_agg(p::text, '|' ORDER BY id)) FROM p WHERE order_id >= 100))",
    )
}

/// What the session makes of an answer: no value can be made of a reference to a row that is not there.
fn told((answer, text): (Answer, String)) -> (Answer, String) {
    let missing = text.contains("\"insert or update on table \"");
    match answer {
        Answer::Error(state) if state == SqlState::INVALID_TEXT_REPRESENTATION && missing => {
            (Answer::Error(SqlState::FOREIGN_KEY_VIOLATION), text)
        }
        Answer::Error(_) | Answer::Rows(_) => (answer, text),
    }
}

pub fn check() -> Result<(), Failed> {
    let (shared, private) = (SHARED.database(), PRIVATE.database());
    via::make(&shared, &private);
    let classified = via::classified(&shared);
    let before = foreign_rows(&shared);
    let mut bad = Vec::new();
    let all = READS.iter().chain(WRITES);
    for (sql, (way, rewrite)) in all.flat_map(|sql| WAYS.map(|way| (*sql, way))) {
        let text = match rewrite(sql, &classified) {
            Ok(text) => text,
            Err(refusal) => {
                // The second way knows no remedies here.
                if way == "first" {
                    bad.push(format!("REFUSED {way} {sql}: {refusal}"));
                }
                continue;
            }
        };
        // GROUP BY a key needs the table itself, which only the first way can leave there.
        if sql.starts_with("COPY") || way == "second" && sql.contains(" GROUP BY ") {
            continue;
        }
        let (found, wanted) = runtime().block_on(async {
            let (on_shared, on_private) = (connect(&shared).await, connect(&private).await);
            if way == "second" {
                ask(&on_shared, OTHER_PLANS).await;
            }
            ask(&on_shared, "BEGIN").await;
            ask(&on_private, "BEGIN").await;
            let mut found = told(ask(&on_shared, &text).await);
            let wanted = ask(&on_private, sql).await;
            if sql.starts_with("TRUNCATE") && matches!(found.0, Answer::Rows(_)) {
                // The session gives it TRUNCATE's tag.
                found.0 = Answer::Rows(vec!["rows 0".to_owned()]);
            }
            let mut answers = (found, wanted);
            if matches!(answers.0.0, Answer::Rows(_)) && answers.0.0 == answers.1.0 {
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
                "{way} {sql}\nsent {text}\nfound {}\nwanted {}",
                found.1, wanted.1
            ));
        }
    }
    if before != foreign_rows(&shared) {
        bad.push("a row of another tenant has changed".to_owned());
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
        Err(format!("{} differ\n{}", bad.len(), bad.join("\n\n")).into())
    }
}
