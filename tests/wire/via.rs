//! Tables that reach their tenant through another one, through a running proxy.

use libtest_mimic::Trial;
use tokio_postgres::Client;
use tokio_postgres::error::DbError;

use super::proxy::{PASSWORD, Proxy, Settings};
use crate::support::runtime;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "wire::a_reference_to_others_rows_is_one_to_nothing",
        || {
            let proxy = proxy();
            runtime().block_on(references(&proxy));
            // Nobody has locked the other's bill: not even for a moment that has been undone.
            let locked = "SELECT xmax::text FROM bills WHERE id = ";
            assert_eq!(proxy.shared.value(&format!("{locked}4")), "0");
            assert_ne!(proxy.shared.value(&format!("{locked}3")), "0");
            proxy
                .shared
                .execute("ALTER TABLE positions DROP CONSTRAINT positions_bill");
            proxy.reload_with("policy.toml", Some(POLICY));
            runtime().block_on(closed(&proxy));
            Ok(())
        },
    )]
}

const TABLES: &str = "
CREATE TABLE bills (id integer PRIMARY KEY, tenant_id integer NOT NULL);
CREATE TABLE positions (id integer, bill integer NOT NULL CONSTRAINT positions_bill REFERENCES bills, what text, PRIMARY KEY (bill, id));
INSERT INTO bills VALUES (1, 1), (2, 2), (3, 1), (4, 2);
INSERT INTO positions VALUES (1, 1, 'OWN'), (1, 2, 'CANARY-T2');";

const POLICY: &str = "[defaults]
tenant_column = \"tenant_id\"
unlisted = \"by-column\"
[tables.\"public.bills\"]
kind = \"scoped\"
existence_leak = true
[tables.\"public.positions\"]
kind = \"scoped\"
via = \"bill -> public.bills.id\"
";

fn proxy() -> Proxy {
    let proxy = Proxy::start(Settings::default());
    proxy.shared.execute(TABLES);
    proxy.reload_with("policy.toml", Some(POLICY));
    proxy
}

async fn whats(client: &Client) -> Vec<String> {
    let rows = client
        .query("SELECT what FROM positions ORDER BY what", &[])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn database_error(error: &tokio_postgres::Error) -> (&str, &str, Option<&str>) {
    let error: &DbError = error.as_db_error().unwrap();
    (error.code().code(), error.message(), error.detail())
}

async fn references(proxy: &Proxy) {
    let (mut a, b) = (
        proxy.try_connect("app", PASSWORD, "a").await.unwrap(),
        proxy.try_connect("app", PASSWORD, "b").await.unwrap(),
    );
    assert_eq!(whats(&a).await, ["OWN"]);
    assert_eq!(whats(&b).await, ["CANARY-T2"]);
    let insert = "INSERT INTO positions (id, bill, what) VALUES ($1, $2, $3)";
    let into = a.prepare(insert).await.unwrap();
    assert_eq!(a.execute(&into, &[&2, &3, &"NEW"]).await.unwrap(), 1);
    // Another tenant's bill, and none at all: told in the same words, which are PostgreSQL's.
    for bill in [4, 9] {
        let error = a.execute(&into, &[&2, &bill, &"x"]).await.unwrap_err();
        let (code, message, detail) = database_error(&error);
        assert_eq!(code, "23503");
        assert_eq!(
            message,
            "insert or update on table \"positions\" violates foreign key constraint \"positions_bill\""
        );
        let wanted = format!("Key (bill)=({bill}) is not present in table \"bills\".");
        assert_eq!(detail, Some(wanted.as_str()));
        let moved = format!("UPDATE positions SET bill = {bill} WHERE id = 1");
        let error = a.simple_query(&moved).await.unwrap_err();
        assert_eq!(database_error(&error).0, "23503");
    }
    let transaction = a.transaction().await.unwrap();
    transaction
        .execute(&into, &[&5, &2, &"x"])
        .await
        .unwrap_err();
    let error = transaction.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(database_error(&error).0, "25P02");
    transaction.rollback().await.unwrap();
    // The statement serves the other tenant with its own bills.
    let error = b.execute(insert, &[&2, &3, &"x"]).await.unwrap_err();
    assert_eq!(database_error(&error).0, "23503");
    assert_eq!(b.execute(insert, &[&2, &2, &"T2-2"]).await.unwrap(), 1);
    assert_eq!(whats(&a).await, ["NEW", "OWN"]);
    assert_eq!(whats(&b).await, ["CANARY-T2", "T2-2"]);
    a.batch_execute(
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM positions FOR UPDATE; FETCH 1 FROM c;
         UPDATE positions SET what = 'CHANGED' WHERE CURRENT OF c; COMMIT",
    )
    .await
    .unwrap();
    let changed = whats(&a).await;
    assert!(changed.contains(&"CHANGED".to_owned()), "{changed:?}");
    assert_eq!(a.execute("DELETE FROM positions", &[]).await.unwrap(), 2);
    assert_eq!(whats(&b).await, ["CANARY-T2", "T2-2"]);
}

/// Without the foreign key nothing says whose the rows are.
async fn closed(proxy: &Proxy) {
    let a = proxy.try_connect("app", PASSWORD, "a").await.unwrap();
    let error = a.query("SELECT * FROM positions", &[]).await.unwrap_err();
    assert_eq!(database_error(&error).0, "42501");
}
