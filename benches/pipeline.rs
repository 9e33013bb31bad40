//! What a statement costs before it is sent, step by step.
//!
//! `cargo bench` measures; `cargo bench --profile ci -- --test` only runs each once. On a busy
//! machine, instruction counts tell more: build with `--no-run`, then
//! `valgrind --tool=callgrind --toggle-collect=tenantry::isolate::isolate PROGRAM --bench --profile-time 3
//! point_select/first_pass`, and divide by the calls from `Bencher::iter`.
//!
//! The bars: a first pass, with every check, in 150 us for `point_select` and 1 ms for `join_of_five`; a
//! text that is known in 1 us. Last figures, on two busy cores, with the thousands of instructions of one (the walk over an
//! unchanged text's tree, added since, not counted):
//!
//! | | `point_select` | `join_of_five` |
//! |---|---|---|
//! | `first_pass` | 162 to 215 us, 759 | 0.99 to 1.9 ms, 6,671 |
//! | `same_text` | 0.13 to 0.43 us, 0.3 | 0.18 to 0.32 us, 0.7 |
//!
//! Where the machine was quieter and a first pass still took 1,282 and 9,162 thousand instructions, it took
//! 162 us and 1.05 ms. About half of it is `pg_query`'s two parses, most of that protobuf.

#![expect(clippy::expect_used, reason = "a bench may panic")]
#![expect(
    unreachable_pub,
    reason = "the fixture is the integration tests' module"
)]

#[path = "../tests/fixture.rs"]
mod fixture;

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tenantry::admitted::Admitted;
use tenantry::isolate::{isolate, prepare};
use tenantry::session::{Admission, Numbers, Rules};
use tenantry::sql;
use tenantry::tenant::TenantKey;
use tenantry::verify::{Claim, verify};

/// One statement of each class, as applications send them.
const STATEMENTS: [(&str, &str); 6] = [
    (
        "point_select",
        "SELECT id, name, email FROM customers WHERE id = $1",
    ),
    (
        "join_of_three",
        "SELECT c.name, o.id, sum(i.qty) AS pieces FROM customers c \
         JOIN orders o ON o.customer_id = c.id LEFT JOIN order_items i ON i.order_id = o.id \
         WHERE o.status IN ('new', 'paid') AND c.country = 'DE' \
         GROUP BY c.name, o.id ORDER BY o.id LIMIT 20",
    ),
    (
        "join_of_five",
        "SELECT c.id, c.name, c.email, o.id AS order_id, o.status, p.title, \
         sum(i.qty) AS pieces, max(i.unit_price) AS dearest, count(DISTINCT p.sku) AS products, \
         coalesce(min(d.title), 'none') AS document \
         FROM customers c \
         JOIN orders o ON o.customer_id = c.id \
         LEFT JOIN order_items i ON i.order_id = o.id AND i.qty > 0 \
         LEFT JOIN products p ON p.id = i.product_id \
         LEFT JOIN documents d ON d.owner_id = c.id \
         WHERE o.status IN ('new', 'paid') AND c.country = $1 AND o.total >= $2 \
         GROUP BY c.id, c.name, c.email, o.id, o.status, p.title \
         HAVING count(i.line_no) > 0 ORDER BY pieces DESC, o.id LIMIT 50",
    ),
    (
        "insert",
        "INSERT INTO settings (key, value) VALUES ($1, $2) RETURNING key",
    ),
    (
        "update",
        "UPDATE customers SET name = $1, notes = $2 WHERE id = $3 AND name <> $1",
    ),
    (
        "subqueries",
        "WITH recent AS (SELECT customer_id, total FROM orders WHERE id > 3) \
         SELECT id FROM customers WHERE id IN (SELECT customer_id FROM recent) \
         AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.owner_id = customers.id)",
    ),
];

fn steps(criterion: &mut Criterion) {
    let classified = fixture::classified();
    for (name, text) in STATEMENTS {
        let mut group = criterion.benchmark_group(name);
        group.bench_function("parse", |bencher| {
            bencher.iter(|| sql::parse(black_box(text.as_bytes())).expect("it is read"));
        });
        group.bench_function("parse_and_rewrite", |bencher| {
            bencher
                .iter(|| prepare(black_box(text.as_bytes()), &[], &classified).expect("rewritten"));
        });
        group.bench_function("first_pass", |bencher| {
            bencher
                .iter(|| isolate(black_box(text.as_bytes()), &[], &classified).expect("isolated"));
        });
        let prepared = prepare(text.as_bytes(), &[], &classified).expect("it is rewritten");
        let prepared = prepared.first().expect("one statement");
        let claim = Claim {
            original: &prepared.original,
            reading: &prepared.reading,
            template: &prepared.template,
            declared_types: &[],
            classified: &classified,
        };
        group.bench_function("verify", |bencher| {
            bencher.iter(|| verify(black_box(&claim)).expect("it is proved"));
        });
        group.finish();
    }
}

/// What is left to do for a shape that is known: the tenant's literal is put in.
fn known_shape(criterion: &mut Criterion) {
    let classified = fixture::classified();
    let key = TenantKey::Integer(1);
    let mut group = criterion.benchmark_group("known_shape");
    for (name, text) in STATEMENTS {
        let isolated = isolate(text.as_bytes(), &[], &classified).expect("it is isolated");
        let Some(Admitted::Isolated(verified)) = isolated.first().map(|one| &one.admitted) else {
            continue;
        };
        group.bench_with_input(
            BenchmarkId::new("with_tenant", name),
            verified,
            |bencher, verified| {
                bencher.iter(|| verified.with_tenant(black_box(&key)).expect("the key fits"));
            },
        );
    }
    group.finish();
}

/// The same text again: it is looked up.
fn same_text(criterion: &mut Criterion) {
    let rules = Rules::Shared(Arc::new(fixture::classified()));
    let admission = Admission::new(rules, Numbers::default());
    let mut group = criterion.benchmark_group("same_text");
    for (name, text) in STATEMENTS {
        let text = Bytes::from_static(text.as_bytes());
        admission.admit(&text, &[]).expect("it is admitted");
        group.bench_function(name, |bencher| {
            bencher.iter(|| admission.admit(black_box(&text), &[]).expect("it is known"));
        });
    }
    group.finish();
}

criterion_group!(benches, steps, known_shape, same_text);
criterion_main!(benches);
