//! Statements that are long, deep or wide: admitted or refused by name, never a crash.
//!
//! In: a table of makers, each with a size that is admitted and one that is not. Out: the code of
//! the refusal. A stack that is too small would end the whole test binary.

use libtest_mimic::Trial;
use tenantry::isolate::isolate;
use tenantry::tenant::Classified;

use crate::fixture;

/// What grows, how a statement of a size is made, and what becomes of it at which sizes.
struct Shape {
    name: &'static str,
    make: fn(usize) -> String,
    expected: &'static [(usize, Outcome)],
}

enum Outcome {
    Admitted,
    Refused(&'static str),
}

use Outcome::{Admitted, Refused};

const SHAPES: &[Shape] = &[
    Shape {
        name: "columns doubled by derived tables",
        make: |n| {
            (0..n).fold("SELECT * FROM customers".to_owned(), |query, _| {
                format!("SELECT a.*, a.* FROM ({query}) a")
            })
        },
        expected: &[
            (7, Admitted),
            (12, Refused("TN2006")),
            (100, Refused("TN2006")),
        ],
    },
    Shape {
        name: "columns doubled by WITH",
        make: |n| {
            let queries: Vec<String> = (1..=n)
                .map(|i| format!("c{i} AS (SELECT a.*, a.* FROM c{} a)", i - 1))
                .collect();
            let queries = queries.join(", ");
            format!("WITH c0 AS (SELECT * FROM customers), {queries} SELECT count(*) FROM c{n}")
        },
        expected: &[
            (7, Admitted),
            (12, Refused("TN2006")),
            (100, Refused("TN2006")),
        ],
    },
    Shape {
        name: "WITH within WITH",
        make: |n| {
            (0..n).fold("SELECT id FROM customers".to_owned(), |query, i| {
                format!("WITH RECURSIVE c{i} AS ({query}) SELECT id FROM c{i}")
            })
        },
        expected: &[(40, Admitted), (1_000, Refused("TN1006"))],
    },
    Shape {
        name: "tables joined with themselves by WITH",
        make: |n| {
            let queries: Vec<String> = (1..=n)
                .map(|i| {
                    format!(
                        "c{i} AS (SELECT a.id FROM c{0} a JOIN c{0} b ON a.id = b.id)",
                        i - 1
                    )
                })
                .collect();
            let queries = queries.join(", ");
            format!("WITH c0 AS (SELECT id FROM customers), {queries} SELECT count(*) FROM c{n}")
        },
        expected: &[(200, Admitted)],
    },
    Shape {
        name: "expressions doubled by derived tables",
        make: |n| {
            let inner = (0..n).fold("SELECT id AS x FROM customers".to_owned(), |query, _| {
                format!("SELECT coalesce(x, x) AS x FROM ({query}) a")
            });
            format!("SELECT x FROM ({inner}) z WHERE x = 1")
        },
        expected: &[(100, Admitted)],
    },
    Shape {
        name: "parentheses",
        make: |n| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
        expected: &[
            (100, Admitted),
            (500, Admitted),
            (50_000, Refused("TN1006")),
        ],
    },
    Shape {
        name: "derived tables",
        make: |n| {
            format!(
                "{}SELECT id FROM customers{}",
                "SELECT id FROM (".repeat(n),
                ") t".repeat(n)
            )
        },
        expected: &[(100, Admitted), (5_000, Refused("TN1006"))],
    },
    Shape {
        name: "joins",
        make: |n| {
            let tables: Vec<String> = (1..=n)
                .map(|i| format!("customers t{i} ON t{i}.id = t0.id"))
                .collect();
            format!(
                "SELECT t0.id FROM customers t0 JOIN {}",
                tables.join(" JOIN ")
            )
        },
        expected: &[
            (10, Admitted),
            (200, Admitted),
            (500, Admitted),
            (5_000, Refused("TN1006")),
        ],
    },
    Shape {
        name: "items of IN",
        make: |n| {
            let items: Vec<String> = (0..n).map(|i| i.to_string()).collect();
            format!(
                "SELECT id FROM customers WHERE id IN ({})",
                items.join(", ")
            )
        },
        expected: &[(10_000, Admitted), (100_000, Refused("TN1006"))],
    },
    Shape {
        name: "parameters",
        make: |n| {
            let items: Vec<String> = (1..=n).map(|i| format!("${i}")).collect();
            format!(
                "SELECT id FROM customers WHERE id IN ({})",
                items.join(", ")
            )
        },
        expected: &[(10_000, Admitted), (65_535, Refused("TN1006"))],
    },
    Shape {
        name: "set operations",
        make: |n| vec!["SELECT id FROM customers"; n].join(" UNION ALL "),
        expected: &[(100, Admitted), (1_000, Refused("TN1006"))],
    },
    Shape {
        name: "UNION",
        make: |n| vec!["SELECT id FROM customers"; n].join(" UNION "),
        expected: &[(100, Admitted), (1_000, Refused("TN1006"))],
    },
    Shape {
        name: "sub-selects of IN",
        make: |n| {
            format!(
                "{}SELECT id FROM customers{}",
                "SELECT id FROM customers WHERE id IN (".repeat(n),
                ")".repeat(n)
            )
        },
        expected: &[(40, Admitted), (500, Refused("TN1006"))],
    },
    Shape {
        name: "calls",
        make: |n| {
            format!(
                "SELECT {}name{} FROM customers",
                "lower(".repeat(n),
                ")".repeat(n)
            )
        },
        expected: &[(40, Admitted), (500, Admitted), (20_000, Refused("TN1006"))],
    },
    Shape {
        name: "joins in parentheses",
        make: |n| {
            let joins: Vec<String> = (1..=n)
                .map(|i| format!(" JOIN customers t{i} ON t{i}.id = t0.id)"))
                .collect();
            format!(
                "SELECT t0.id FROM {}customers t0{}",
                "(".repeat(n),
                joins.concat()
            )
        },
        expected: &[(40, Admitted), (200, Admitted), (5_000, Refused("TN1006"))],
    },
    Shape {
        name: "casts",
        make: |n| format!("SELECT 1{}", "::integer".repeat(n)),
        expected: &[(40, Admitted), (500, Refused("TN1006"))],
    },
    Shape {
        name: "arrays",
        make: |n| format!("SELECT {}1{}", "ARRAY[".repeat(n), "]".repeat(n)),
        expected: &[(40, Admitted), (500, Refused("TN1006"))],
    },
    Shape {
        name: "comments",
        make: |n| format!("SELECT 1 {}{}", "/*".repeat(n), "*/".repeat(n)),
        expected: &[(500, Admitted), (1_000_000, Refused("TN1006"))],
    },
    Shape {
        name: "signs",
        make: |n| format!("SELECT {}1", "- ".repeat(n)),
        expected: &[(100, Admitted), (50_000, Refused("TN1006"))],
    },
    Shape {
        name: "spaces",
        make: |n| format!("SELECT {}1", " ".repeat(n)),
        expected: &[(15_000_000, Admitted), (17_000_000, Refused("TN1006"))],
    },
    Shape {
        name: "words of 16 MB",
        make: |n| format!("SELECT {}1", "1+".repeat(n)),
        expected: &[(8_000_000, Refused("TN1006"))],
    },
    Shape {
        name: "rows of VALUES",
        make: |n| {
            let rows: Vec<String> = (0..n).map(|i| format!("({i}, 'n{i}')")).collect();
            format!(
                "INSERT INTO customers (id, name) VALUES {}",
                rows.join(", ")
            )
        },
        expected: &[(5_000, Admitted), (50_000, Refused("TN1006"))],
    },
    Shape {
        name: "conjuncts",
        make: |n| {
            format!(
                "SELECT id FROM customers WHERE id = 1{}",
                " AND id > 0".repeat(n)
            )
        },
        expected: &[(1_000, Admitted), (100_000, Refused("TN1006"))],
    },
    Shape {
        name: "concatenations",
        make: |n| format!("SELECT 'a'{}", " || 'a'".repeat(n)),
        expected: &[
            (100, Admitted),
            (500, Admitted),
            (10_000, Refused("TN1006")),
        ],
    },
    Shape {
        name: "NOT",
        make: |n| format!("SELECT {}true", "NOT ".repeat(n)),
        expected: &[
            (100, Admitted),
            (1_200, Refused("TN1006")),
            (20_000, Refused("TN1006")),
        ],
    },
    Shape {
        name: "CASE",
        make: |n| {
            format!(
                "SELECT {}1{}",
                "CASE WHEN true THEN ".repeat(n),
                " END".repeat(n)
            )
        },
        expected: &[(100, Admitted), (2_000, Refused("TN1006"))],
    },
    Shape {
        name: "bytes of a literal",
        make: |n| format!("SELECT '{}'", "x".repeat(n)),
        expected: &[(15_000_000, Admitted), (17_000_000, Refused("TN1006"))],
    },
    Shape {
        name: "statements",
        make: |n| "SELECT 1;".repeat(n),
        expected: &[(1_000, Admitted), (50_000, Refused("TN1006"))],
    },
];

/// One trial for each shape.
pub fn trials() -> Vec<Trial> {
    SHAPES
        .iter()
        .map(|shape| {
            Trial::test(format!("isolate::size of {}", shape.name), move || {
                let classified = fixture::classified();
                for (size, expected) in shape.expected {
                    check(shape, *size, expected, &classified);
                }
                Ok(())
            })
        })
        .collect()
}

fn check(shape: &Shape, size: usize, expected: &Outcome, classified: &Classified) {
    let found = isolate((shape.make)(size).as_bytes(), &[], classified)
        .map(|statements| statements.len())
        .map_err(|refusal| refusal.code());
    match expected {
        Admitted => assert!(found.is_ok(), "{size} {}: {found:?}", shape.name),
        Refused(code) => assert_eq!(found, Err(*code), "{size} {}", shape.name),
    }
}
