//! One PostgreSQL cluster per run, started when the first trial asks for it.

use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    owner: Option<Owner>,
    server: Mutex<Child>,
}

/// The account that the server runs under when the tests are run by root, whom it refuses.
#[derive(Clone, Copy, Debug)]
struct Owner {
    user: u32,
    group: u32,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// Stops the cluster when it is dropped.
#[derive(Debug)]
pub struct StopAtEnd;

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        if let Some(cluster) = CLUSTER.get() {
            cluster.stop();
        }
    }
}

impl Cluster {
    /// The run's cluster; the first call starts it.
    pub fn shared() -> &'static Self {
        CLUSTER.get_or_init(Self::start)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    pub fn socket_directory(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of this PostgreSQL version, such as `psql`.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    fn start() -> Self {
        let programs = newest_programs();
        let folder = tempfile::Builder::new()
            .prefix("tenantry-test-")
            .tempdir()
            .unwrap();
        let owner = Owner::needed(folder.path());
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        if let Some(owner) = owner {
            chown(folder.path(), Some(owner.user), Some(owner.group)).unwrap();
        }
        let data = folder.path().join("data");
        let mut initdb = command(&programs, "initdb", owner);
        initdb
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&data);
        let made = initdb.output().expect("initdb can be run");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let log = std::fs::File::create(folder.path().join("server.log")).unwrap();
        let mut server = command(&programs, "postgres", owner);
        server
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", "full_page_writes=off", "-c", "max_connections=200"])
            .stdout(Stdio::null())
            .stderr(log);
        let server = server.spawn().expect("the server can be run");
        let cluster = Self {
            programs,
            folder,
            port,
            owner,
            server: Mutex::new(server),
        };
        cluster.wait_until_ready();
        cluster
    }

    fn wait_until_ready(&self) {
        let began = Instant::now();
        loop {
            let mut ask = self.program("pg_isready");
            ask.args(["-q", "-h"])
                .arg(self.socket_directory())
                .args(["-p", &self.port.to_string()]);
            if ask.status().is_ok_and(|status| status.success()) {
                return;
            }
            let exited = self.server.lock().unwrap().try_wait().unwrap();
            if exited.is_some() || began.elapsed() > Duration::from_mins(1) {
                self.stop();
                let log = std::fs::read_to_string(self.folder.path().join("server.log"));
                panic!("the server does not start: {}", log.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// An immediate shutdown of exactly this server: nothing in it is worth keeping.
    fn stop(&self) {
        let mut stop = command(&self.programs, "pg_ctl", self.owner);
        stop.args(["-s", "-m", "immediate", "stop", "-D"])
            .arg(self.data_directory());
        let stopped = stop.status().is_ok_and(|status| status.success());
        if let Ok(mut server) = self.server.lock() {
            if !stopped {
                server.kill().ok();
            }
            server.wait().ok();
        }
        // The static that holds the folder is never dropped.
        std::fs::remove_dir_all(self.folder.path()).ok();
    }
}

impl Owner {
    /// PostgreSQL's own account, or nobody's; none is needed unless root runs the tests.
    fn needed(own_folder: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata(own_folder).unwrap().uid() != 0 {
            return None;
        }
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
        let find = |name: &str| {
            accounts.lines().find_map(|line| {
                let mut fields = line.split(':');
                if fields.next() != Some(name) {
                    return None;
                }
                let mut numbers = fields.skip(1).map_while(|field| field.parse().ok());
                Some(Self {
                    user: numbers.next()?,
                    group: numbers.next()?,
                })
            })
        };
        Some(
            find("postgres")
                .or_else(|| find("nobody"))
                .expect("root needs an account to run the server under"),
        )
    }
}

fn command(programs: &Path, name: &str, owner: Option<Owner>) -> Command {
    let mut command = Command::new(programs.join(name));
    command.current_dir("/").stdin(Stdio::null());
    if let Some(owner) = owner {
        command.uid(owner.user).gid(owner.group);
    }
    command
}

/// `$PGBIN`, or the newest version that a Debian package installed.
fn newest_programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("PGBIN") {
        return folder.into();
    }
    let version = |folder: &Path| -> Option<u32> {
        let version = folder.parent()?.file_name()?.to_str()?.parse().ok()?;
        folder.join("initdb").exists().then_some(version)
    };
    std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .max_by_key(|folder| version(folder))
        .filter(|folder| version(folder).is_some())
        .expect("PostgreSQL is not installed: run bin/setup, or set PGBIN")
}

/// A port that nobody listens on. Somebody could take it before the server does; then the start
/// fails loudly.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
