//! Three databases and a proxy: a private one, and two shared ones that differ in the rows of others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tenantry::proxy::serve;
use tenantry::registry::Registry;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::play::Session;
use super::schema::Schema;
use crate::support::{Cluster, Database, Fixture, free_port};
use crate::wire::raw::Raw;

const EMPTY: Fixture = Fixture {
    name: "empty",
    files: &[],
};

const PASSWORD: &str = "a password";

/// Small tables are not worth a compiler or a second process.
const USUAL: &str = "jit = off; max_parallel_workers_per_gather = 0";

/// The same with other plans, so that conditions are computed in another order.
const OTHER_PLANS: &str = "jit = off; max_parallel_workers_per_gather = 0; \
     enable_seqscan = off; enable_hashjoin = off; cpu_operator_cost = 0";

/// What the databases hold before the statements.
pub(super) struct Contents<'a> {
    pub(super) schema: &'a Schema,
    pub(super) private: String,
    pub(super) shared: [String; 2],
}

pub(super) struct Ground {
    /// The private one first.
    databases: [Database; 3],
    port: u16,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    registry: Arc<Registry>,
    directory: TempDir,
}

impl Ground {
    pub(super) fn new() -> Self {
        let databases = [EMPTY.database(), EMPTY.database(), EMPTY.database()];
        databases[0].execute(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'generated_app') THEN
             CREATE ROLE generated_app LOGIN; END IF; END $$",
        );
        for (database, settings) in databases.iter().zip([USUAL, USUAL, OTHER_PLANS]) {
            for setting in settings.split("; ") {
                database.execute(&format!("ALTER DATABASE {} SET {setting}", database.name()));
            }
        }
        let port = free_port();
        let directory = tempfile::tempdir().unwrap();
        configure(directory.path(), &databases, port);
        tenants(directory.path(), "tenant_id", "1");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let registry = runtime.block_on(Registry::open(directory.path()));
        let registry = Arc::new(registry.unwrap_or_else(|rejected| panic!("{rejected:?}")));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&registry);
        runtime.spawn(async move {
            let stop = async {
                stopped.await.ok();
            };
            serve(served, stop).await.unwrap();
        });
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Self {
            databases,
            port,
            runtime: Some(runtime),
            stop: Some(stop),
            registry,
            directory,
        }
    }

    /// Fills the databases anew, and connects: to the private one, and twice as a tenant. Nothing, if the
    /// private one cannot be filled: a query that was made for a view may be wrong.
    pub(super) fn set_up(&self, contents: &Contents<'_>) -> Option<(Vec<Session>, Vec<Session>)> {
        let mut supervisors = Vec::new();
        let texts = [&contents.private, &contents.shared[0], &contents.shared[1]];
        for (database, text) in self.databases.iter().zip(texts) {
            let mut raw = Raw::log_in(Cluster::shared().port(), "postgres", "", database.name())
                .expect("a superuser");
            for part in [
                "DROP SCHEMA public CASCADE; CREATE SCHEMA public; \
                 GRANT USAGE ON SCHEMA public TO generated_app; \
                 SET session_replication_role = replica",
                text.as_str(),
                "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public \
                 TO generated_app; \
                 GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO generated_app",
            ] {
                let messages = raw.query(part);
                match messages.iter().find(|message| message.tag == 'E') {
                    None => {}
                    Some(_) if supervisors.is_empty() => return None,
                    Some(error) => panic!("{error:?} in {part}"),
                }
            }
            supervisors.push(raw);
        }
        let own = contents.schema.tenants.declared();
        let column = contents.schema.tenant_column.replace('"', "");
        tenants(self.directory.path(), &column, &own);
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.registry.reload()).unwrap();
        let faults = self.registry.snapshot();
        let faults = &faults.config().faults;
        assert!(faults.is_empty(), "{faults:?}");
        let types: Vec<BTreeMap<u32, String>> = supervisors.iter_mut().map(types).collect();
        let server = Cluster::shared().port();
        let clients = [
            Raw::log_in(server, "generated_app", "", self.databases[0].name()),
            Raw::log_in(self.port, "app", PASSWORD, "one"),
            Raw::log_in(self.port, "app", PASSWORD, "two"),
        ];
        let clients = clients
            .into_iter()
            .zip(types)
            .map(|(raw, types)| Session::new(raw.expect("a client"), types))
            .collect();
        let supervisors = supervisors
            .into_iter()
            .map(|raw| Session::new(raw, BTreeMap::new()))
            .collect();
        Some((clients, supervisors))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn types(raw: &mut Raw) -> BTreeMap<u32, String> {
    raw.rows("SELECT oid::text || ' ' || typname FROM pg_type WHERE oid >= 16384")
        .iter()
        .map(|line| {
            let (number, name) = line.split_once(' ').expect("two words");
            (number.parse().expect("a number"), name.to_owned())
        })
        .collect()
}

fn configure(folder: &Path, databases: &[Database; 3], port: u16) {
    let server = Cluster::shared().port();
    let mut main = format!(
        "[listen]\naddress = [\"127.0.0.1:{port}\"]\n\
         [pool]\nsize = 1\nwait_timeout = \"5s\"\n\
         [[login]]\nname = \"app\"\npassword = {{ file = \"secret\" }}\ntenants = \"*\"\n"
    );
    for (name, database) in ["one", "two"].iter().zip(&databases[1..]) {
        write!(
            main,
            "[[upstream]]\nname = \"at_{name}\"\naddress = \"127.0.0.1:{server}\"\n\
             database = \"{}\"\nuser = \"generated_app\"\npassword = {{ file = \"secret\" }}\n\
             tls = \"off\"\nmax_connections = 5\n",
            database.name()
        )
        .unwrap();
    }
    std::fs::create_dir(folder.join("tenants")).unwrap();
    std::fs::write(folder.join("secret"), PASSWORD).unwrap();
    std::fs::write(folder.join("tenantry.toml"), main).unwrap();
}

fn tenants(folder: &Path, column: &str, key: &str) {
    let policy = format!(
        "[defaults]\ntenant_column = \"{column}\"\nunlisted = \"by-column\"\n\
         [tables.\"public.kinds\"]\nkind = \"shared\"\n"
    );
    std::fs::write(folder.join("policy.toml"), policy).unwrap();
    for name in ["one", "two"] {
        let tenant = format!("isolation = \"shared\"\nupstream = \"at_{name}\"\nkey = {key}\n");
        std::fs::write(folder.join(format!("tenants/{name}.toml")), tenant).unwrap();
    }
}
