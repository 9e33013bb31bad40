//! A proxy that runs in this process, in front of a database of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tenantry::proxy::serve;
use tenantry::registry::Registry;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_postgres::{Client, NoTls};

use super::raw::Raw;
use crate::support::{Cluster, Database, Fixture};

/// The password of every login.
pub const PASSWORD: &str = "a password";

const OWN: Fixture = Fixture {
    name: "wire",
    files: &["tests/wire/fixture.sql"],
};

const SHARED: Fixture = Fixture {
    name: "wire_shared",
    files: &["tests/wire/shared.sql"],
};

/// What differs from the usual.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub pool_size: usize,
    pub connections_max: usize,
    pub wait_timeout: &'static str,
    pub pool_mode: &'static str,
    /// Where the server is, if not at the cluster's own port.
    pub server_port: Option<u16>,
    /// Lines of the tenant's file.
    pub tenant: &'static str,
    /// More of the main file.
    pub main: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool_size: 4,
            connections_max: 50,
            wait_timeout: "5s",
            pool_mode: "transaction",
            server_port: None,
            tenant: "",
            main: "",
        }
    }
}

/// A running proxy: tenant `own` has a database of its own, `a`, `b` and `c` share tables, and login `app` may
/// be every tenant.
pub struct Proxy {
    pub database: Database,
    /// Where the shared tables are.
    pub shared: Database,
    pub port: u16,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    registry: Arc<Registry>,
    directory: TempDir,
}

impl Proxy {
    pub fn start(settings: Settings) -> Self {
        Self::start_with(settings, &[])
    }

    /// With more files than the usual.
    pub fn start_with(settings: Settings, files: &[(&str, String)]) -> Self {
        let database = OWN.database();
        let port = crate::support::free_port();
        let directory = tempfile::tempdir().unwrap();
        let shared = SHARED.database();
        let names = (database.name(), shared.name());
        write(&directory, &settings, names, port);
        for (name, content) in files {
            write_file(directory.path(), name, content);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let registry = runtime.block_on(Registry::open(directory.path()));
        let registry = Arc::new(registry.unwrap_or_else(|rejected| panic!("{rejected:?}")));
        let snapshot = registry.snapshot();
        let faults = &snapshot.config().faults;
        assert!(faults.is_empty(), "{faults:?}");
        let served = Arc::clone(&registry);
        runtime.spawn(async move {
            let stop = async {
                stopped.await.ok();
            };
            serve(served, stop).await.unwrap();
        });
        let proxy = Self {
            database,
            shared,
            port,
            runtime: Some(runtime),
            stop: Some(stop),
            registry,
            directory,
        };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return proxy;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the proxy does not listen");
    }

    /// The configuration directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Has the proxy read all files again.
    pub fn reload(&self) {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.registry.reload()).unwrap();
    }

    /// Takes a file away, and has the proxy do what it does at once when it is told to read them again.
    pub fn take_back(&self, name: &str) {
        std::fs::remove_file(self.directory.path().join(name)).unwrap();
        self.end_grants();
    }

    /// Has the proxy do what it does at once when it is told to read its files again.
    pub fn end_grants(&self) {
        self.registry.end_grants();
    }

    /// Writes a file, or takes it away, and has the proxy read all of them again.
    pub fn reload_with(&self, name: &str, content: Option<&str>) {
        match content {
            Some(content) => write_file(self.directory.path(), name, content),
            None => std::fs::remove_file(self.directory.path().join(name)).unwrap(),
        }
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.registry.reload()).unwrap();
    }

    /// The same with another file that cannot be read: the proxy must refuse to take over the new state.
    pub fn reload_beside(&self, spoilt: &str, name: &str, content: Option<&str>) {
        let file = self.directory.path().join(spoilt);
        let before = std::fs::read(&file).unwrap();
        write_file(self.directory.path(), spoilt, "nonsense = [");
        match content {
            Some(content) => write_file(self.directory.path(), name, content),
            None => std::fs::remove_file(self.directory.path().join(name)).unwrap(),
        }
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.registry.reload()).unwrap_err();
        std::fs::write(file, before).unwrap();
    }

    /// A client that `tokio-postgres` drives.
    pub async fn connect(&self) -> Client {
        self.try_connect("app", PASSWORD, "own").await.unwrap()
    }

    pub async fn try_connect(
        &self,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::Config::new()
            .host("127.0.0.1")
            .port(self.port)
            .user(user)
            .password(password)
            .dbname(database)
            .connect(NoTls)
            .await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A client that sends bytes.
    pub fn raw(&self) -> Raw {
        Raw::log_in(self.port, "app", PASSWORD, "own").unwrap()
    }

    /// The next client is served.
    pub fn check_alive(&self, after: &str) {
        let mut raw = self.raw();
        assert_eq!(raw.rows("SELECT 42"), ["42"], "after {after}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn write_file(folder: &Path, name: &str, content: &str) {
    let file = folder.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
}

fn write(directory: &TempDir, settings: &Settings, names: (&str, &str), port: u16) {
    let (database, shared) = names;
    let folder = directory.path();
    std::fs::create_dir(folder.join("tenants")).unwrap();
    std::fs::write(folder.join("secret"), PASSWORD).unwrap();
    let server_port = settings
        .server_port
        .unwrap_or_else(|| Cluster::shared().port());
    let Settings {
        pool_size,
        connections_max,
        wait_timeout,
        pool_mode,
        tenant,
        main: more,
        ..
    } = settings;
    let main = format!(
        "[listen]\naddress = [\"127.0.0.1:{port}\"]\n\
         [pool]\nmode = \"{pool_mode}\"\nsize = {pool_size}\nwait_timeout = \"{wait_timeout}\"\n\
         [[upstream]]\nname = \"main\"\naddress = \"127.0.0.1:{server_port}\"\n\
         database = \"{shared}\"\nuser = \"postgres\"\npassword = {{ file = \"secret\" }}\n\
         tls = \"off\"\nmax_connections = {connections_max}\n\
         [[login]]\nname = \"app\"\npassword = {{ file = \"secret\" }}\ntenants = \"*\"\n\
         [[login]]\nname = \"own\"\npassword = {{ file = \"secret\" }}\ntenants = [\"own\"]\n\
         [[login]]\nname = \"other\"\npassword = {{ file = \"secret\" }}\ntenants = [\"gone\"]\n{more}"
    );
    std::fs::write(folder.join("tenantry.toml"), main).unwrap();
    let policy = "[defaults]\ntenant_column = \"tenant_id\"\nunlisted = \"by-column\"\n";
    std::fs::write(folder.join("policy.toml"), policy).unwrap();
    for (name, key) in [("a", 1), ("b", 2), ("c", 3)] {
        let tenant = format!("isolation = \"shared\"\nupstream = \"main\"\nkey = {key}\n");
        std::fs::write(folder.join(format!("tenants/{name}.toml")), tenant).unwrap();
    }
    let tenant = format!(
        "isolation = \"database\"\nupstream = \"main\"\ndatabase = \"{database}\"\n{tenant}\n"
    );
    std::fs::write(folder.join("tenants/own.toml"), &tenant).unwrap();
    let gone = format!("state = \"suspended\"\n{tenant}").replace(database, "gone");
    std::fs::write(folder.join("tenants/gone.toml"), gone).unwrap();
}
