//! Tables without a tenant column, whose rows belong to the tenant of the row that they refer to: in the shared
//! database, where others have rows that break every condition, and in the private one.

use tenantry::catalog::RelationName;
use tenantry::tenant::{Classified, TablePolicy};

use crate::support::Database;
use crate::{catalog, fixture};

/// The tables, as both databases have them but for the tenant column.
const TABLES: &str = "
CREATE TABLE o (id integer PRIMARY KEY, memo text, n integer{tenant});
CREATE TABLE l (order_id integer NOT NULL CONSTRAINT l_order REFERENCES o ON DELETE CASCADE ON UPDATE CASCADE, number integer NOT NULL,
  id integer UNIQUE, price numeric, text text, PRIMARY KEY (order_id, number));
CREATE INDEX l_text ON l (text text_pattern_ops);
CREATE TABLE nn (id integer PRIMARY KEY, line_id integer NOT NULL CONSTRAINT \"nn's line\" REFERENCES l (id), note varchar(30));
CREATE TABLE c (code varchar(8) PRIMARY KEY, label text{tenant});
CREATE TABLE m (id integer PRIMARY KEY, code varchar(8) NOT NULL REFERENCES c, n integer DEFAULT 3);
CREATE TABLE p (id integer, order_id integer NOT NULL REFERENCES o, day date, PRIMARY KEY (id, order_id)) PARTITION BY RANGE (order_id);
CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (0) TO (3);
CREATE TABLE p_high PARTITION OF p DEFAULT;
CREATE SEQUENCE s;
GRANT USAGE ON s TO iso_app;
CREATE VIEW big AS SELECT id, number AS num, order_id AS o, price FROM l WHERE price > 1;
GRANT ALL ON ALL TABLES IN SCHEMA public TO iso_app;";

/// Tenant 1's rows; the tenant's key stands in braces.
const OWN: &str = "
INSERT INTO o VALUES (1, 'first', 1{1}), (2, 'second', 2{1}), (3, NULL, 3{1});
INSERT INTO l VALUES (1, 1, 11, 1.5, 'Ab'), (1, 2, 12, 2.5, 'Ac'), (2, 1, 21, 0, 'x'), (2, 2, 22, 99, NULL);
INSERT INTO nn VALUES (1, 11, '1'), (2, 11, '2'), (3, 22, '3');
INSERT INTO c VALUES ('a', 'A'{1}), ('b', 'B'{1});
INSERT INTO m VALUES (1, 'a', 1), (2, 'b', 2), (3, 'b', NULL);
INSERT INTO p VALUES (1, 1, '2024-01-01'), (2, 2, '2024-02-02'), (3, 3, NULL);
ANALYZE o, l, nn, c, m, p;";

/// Rows of others: zeros to divide by, patterns and texts that cannot be read.
const FOREIGN: &str = "
INSERT INTO o SELECT i, 'CANARY-T2-\\', 0, 2 FROM generate_series(100, 140) i;
INSERT INTO l SELECT i, j, i * 10 + j, 0, 'CANARY-T2-n' FROM generate_series(100, 140) i, generate_series(5, 9) j;
INSERT INTO nn SELECT i, i, 'CANARY-T2' FROM generate_series(1005, 1009) i;
INSERT INTO c VALUES ('z', 'CANARY-T3', 3);
INSERT INTO m SELECT i, 'z', 0 FROM generate_series(100, 300) i;
INSERT INTO p SELECT i, i, '2024-05-05' FROM generate_series(100, 140) i;
ANALYZE o, l, nn, c, m, p;";

/// Makes the tables and the rows in both databases.
pub fn make(shared: &Database, private: &Database) {
    for text in [TABLES, OWN] {
        let with = |column: &str, key: &str| text.replace("{tenant}", column).replace("{1}", key);
        shared.execute(&with(", tenant_id integer NOT NULL", ", 1"));
        private.execute(&with("", ""));
    }
    shared.execute(FOREIGN);
}

/// The shared database's catalog under a policy that names the tables.
pub fn classified(shared: &Database) -> Classified {
    let mut policy = fixture::policy();
    let name = |name: &str| RelationName::new("public", name);
    for table in ["o", "c"] {
        let accepted = TablePolicy::Scoped {
            column: None,
            existence_leak: true,
            trusted: false,
        };
        policy.tables.insert(name(table), accepted);
    }
    for (table, column, parent, key) in [
        ("l", "order_id", "o", "id"),
        ("nn", "line_id", "l", "id"),
        ("m", "code", "c", "code"),
        ("p", "order_id", "o", "id"),
    ] {
        let via = TablePolicy::Via {
            column: column.to_owned(),
            parent: name(parent),
            parent_column: key.to_owned(),
            existence_leak: table != "p",
        };
        policy.tables.insert(name(table), via);
    }
    Classified::new(catalog::read(shared).expect("a catalog"), policy)
}
