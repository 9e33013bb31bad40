//! Databases that are copied from a template, one for each trial that asks.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::cluster::Cluster;

/// What a template database is made of.
#[derive(Clone, Copy, Debug)]
pub struct Fixture {
    /// The template's name; one name always stands for the same files.
    pub name: &'static str,
    /// SQL files, relative to the repository, that `psql` runs as a superuser.
    pub files: &'static [&'static str],
}

/// A database of the run's cluster. It goes with the cluster.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
}

/// The templates that exist.
static TEMPLATES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
static NEXT: AtomicU32 = AtomicU32::new(1);

impl Fixture {
    /// A fresh copy. The template is made when it is first asked for.
    pub fn database(&self) -> Database {
        let maintenance = Database {
            name: "postgres".to_owned(),
        };
        let template = format!("template_{}", self.name);
        // Held while copying, too: PostgreSQL refuses to copy a template that somebody uses. A
        // trial that failed in here must not fail the others.
        let mut made = TEMPLATES
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !made.contains(self.name) {
            maintenance.execute(&format!("DROP DATABASE IF EXISTS {template}"));
            maintenance.execute(&format!("CREATE DATABASE {template}"));
            for file in self.files {
                load(&template, file);
            }
            made.insert(self.name);
        }
        let name = format!("trial_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let version: u32 = maintenance
            .value("SHOW server_version_num")
            .parse()
            .unwrap();
        // Copying files is quicker than logging them, which is all that older versions can do.
        let strategy = if version >= 150_000 {
            "STRATEGY file_copy"
        } else {
            ""
        };
        maintenance.execute(&format!(
            "CREATE DATABASE {name} TEMPLATE {template} {strategy}"
        ));
        Database { name }
    }
}

impl Database {
    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How a superuser connects over TCP.
    pub fn dsn(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={}",
            Cluster::shared().port(),
            self.name
        )
    }

    /// A superuser's connection, driven by the runtime until the client is dropped.
    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.dsn(), NoTls)
            .await
            .expect("the server takes connections");
        tokio::spawn(connection);
        client
    }

    /// Runs SQL as a superuser.
    pub fn execute(&self, sql: &str) {
        runtime().block_on(async {
            let client = self.connect().await;
            if let Err(error) = client.batch_execute(sql).await {
                panic!("{error:?} in: {sql}");
            }
        });
    }

    /// The single value of a superuser's query, in text form; `NULL` for a null.
    pub fn value(&self, sql: &str) -> String {
        runtime().block_on(async {
            let client = self.connect().await;
            let rows = match client.simple_query(sql).await {
                Ok(rows) => rows,
                Err(error) => panic!("{error:?} in: {sql}"),
            };
            let row = rows.iter().find_map(|message| {
                if let SimpleQueryMessage::Row(row) = message {
                    Some(row)
                } else {
                    None
                }
            });
            let row = row.unwrap_or_else(|| panic!("no row from: {sql}"));
            row.get(0).unwrap_or("NULL").to_owned()
        })
    }
}

/// A runtime for one trial.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn load(database: &str, file: &str) {
    let cluster = Cluster::shared();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let loaded = cluster
        .program("psql")
        .args(["-q", "-X", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
        .arg(cluster.socket_directory())
        .args(["-p", &cluster.port().to_string(), "-d", database, "-f"])
        .arg(path)
        .output()
        .expect("psql can be run");
    assert!(
        loaded.status.success(),
        "{file}: {}",
        String::from_utf8_lossy(&loaded.stderr)
    );
}
