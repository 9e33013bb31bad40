//! What is served: snapshots that are replaced whole or not at all.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use tempfile::TempDir;
use tenantry::config::Effect;
use tenantry::registry::{Registry, ReloadError, Snapshot, Unavailable};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Database, Fixture, free_port, port, runtime, trial};

const SMALL: Fixture = Fixture {
    name: "small",
    files: &["tests/registry/small.sql"],
};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "registry::a_shared_tenant_has_tables",
            a_shared_tenant_has_tables,
        ),
        trial(
            "registry::nobody_can_be_another_tenant",
            nobody_can_be_another_tenant,
        ),
        trial("registry::a_key_fits_every_table", a_key_fits_every_table),
        trial(
            "registry::a_reload_takes_effect_whole",
            a_reload_takes_effect_whole,
        ),
        trial(
            "registry::a_wrong_file_disturbs_nothing",
            a_wrong_file_disturbs_nothing,
        ),
        trial(
            "registry::what_is_not_supported_does_not_hinder_a_reload",
            what_is_not_supported_does_not_hinder_a_reload,
        ),
        trial(
            "registry::a_start_fails_on_a_wrong_common_file",
            a_start_fails_on_a_wrong_common_file,
        ),
        trial(
            "registry::a_server_is_asked_until_it_answers",
            a_server_is_asked_until_it_answers,
        ),
        trial(
            "registry::a_server_that_is_down_comes_back",
            a_server_that_is_down_comes_back,
        ),
    ]
}

fn a_shared_tenant_has_tables() {
    let world = World::new(port());
    let registry = world.open();
    let snapshot = registry.snapshot();
    let served = snapshot.tenant("acme").unwrap();
    assert_eq!(served.upstream.name, "main");
    let scoped: Vec<String> = served
        .tables
        .unwrap()
        .scoped()
        .map(|(name, scoped)| {
            format!(
                "{name} {} {:?}",
                scoped.deciding_column(),
                scoped.column_type
            )
        })
        .collect();
    assert_eq!(
        scoped,
        [
            "public.notes tenant_id Int4",
            "public.ratings tenant_id Int2"
        ]
    );
    assert!(snapshot.tenant("initech").unwrap().tables.is_none());
}

fn nobody_can_be_another_tenant() {
    let world = World::new(port());
    world.write("tenants/off.toml", "key = 9\nstate = \"suspended\"\n");
    let snapshot = world.open().snapshot();
    for name in ["nobody", "", "ACME", "../acme", "_common"] {
        let expected = Unavailable::NotServed {
            tenant: name.to_owned(),
        };
        assert_eq!(snapshot.tenant(name).unwrap_err(), expected);
    }
    let tenant = "off".to_owned();
    assert_eq!(
        snapshot.tenant("off").unwrap_err(),
        Unavailable::Suspended { tenant }
    );
}

fn a_key_fits_every_table() {
    let world = World::new(port());
    world.write("tenants/big.toml", "key = 40000\n");
    world.write("tenants/word.toml", "key = \"word\"\n");
    let snapshot = world.open().snapshot();
    let faults: Vec<String> = faults(&snapshot);
    assert_eq!(
        faults,
        [
            "tenants/big.toml: the key does not fit public.ratings.tenant_id: \
                     40000 is no value of type int2 (stops tenant big)",
            "tenants/word.toml: the key does not fit public.notes.tenant_id: \
                     word is no value of type int4 (stops tenant word)",
        ]
    );
    assert!(snapshot.tenant("big").is_err());
    assert!(snapshot.tenant("acme").is_ok());
}

fn a_reload_takes_effect_whole() {
    let world = World::new(port());
    let registry = world.open();
    let before = registry.snapshot();
    world.write("tenants/globex.toml", "key = 2\n");
    world
        .database
        .execute("CREATE TABLE late (tenant_id integer NOT NULL)");
    let after = reload(&registry).expect("nothing is wrong");
    assert!(
        before.tenant("globex").is_err(),
        "an old snapshot never changes"
    );
    let tables = after.tenant("globex").unwrap().tables.unwrap();
    assert!(tables.catalog().relation("public", "late").is_some());
    assert_eq!(registry.snapshot().version(), before.version() + 1);
}

fn what_is_not_supported_does_not_hinder_a_reload() {
    let world = World::new(port());
    let registry = world.open();
    world.write("tenants/globex.toml", "key = 2\n");
    world.write("tenants/acme.toml", "key = 1\nstate = \"read-only\"\n");
    let after = reload(&registry).expect("nothing is wrong");
    assert!(after.tenant("globex").is_ok());
    assert!(after.tenant("acme").is_err());
}

fn a_start_fails_on_a_wrong_common_file() {
    let world = World::new(port());
    world.write("policy.toml", "[defaults]\nunlisted = \"allow\"\n");
    let rejected = runtime()
        .block_on(Registry::open(world.path()))
        .unwrap_err();
    assert!(
        rejected
            .faults
            .iter()
            .all(|fault| fault.effect == Effect::StopsEverything)
    );
}

fn a_server_that_is_down_comes_back() {
    let world = World::new(free_port());
    let registry = world.open();
    let snapshot = registry.snapshot();
    let tenant = "acme".to_owned();
    let down = Unavailable::UpstreamDown { tenant };
    assert_eq!(snapshot.tenant("acme").unwrap_err(), down);
    assert!(reload(&registry).is_ok(), "it was down before");
    // The server "comes back" at the address that the files then name.
    world.point_to(port());
    reload(&registry).expect("nothing is wrong");
    assert!(registry.snapshot().tenant("acme").is_ok());
    world.point_to(free_port());
    let refused = reload(&registry).unwrap_err();
    assert!(matches!(refused, ReloadError::Upstream { .. }), "{refused}");
    assert!(
        registry.snapshot().tenant("acme").is_ok(),
        "the old state stays"
    );
}

fn a_wrong_file_disturbs_nothing() {
    let wrong = [
        ("tenantry.toml", "[listen\n"),
        (
            "policy.toml",
            "[tables.\"public.notes\"]\nkind = \"open\"\n",
        ),
        ("tenants/_common.toml", "isolation = \"shared\"\n"),
        ("tenants/acme.toml", "key = \n"),
        ("tenants/globex.toml", "key = 1\n"),
        ("tenants/globex.toml", "key = 40000\n"),
        ("grants/x.toml", "who = 5\n"),
    ];
    for (file, text) in wrong {
        let world = World::new(port());
        let registry = world.open();
        let before = registry.snapshot();
        world.write(file, text);
        let refused = reload(&registry).expect_err(file);
        assert!(
            matches!(refused, ReloadError::Rejected(_)),
            "{file}: {refused}"
        );
        let after = registry.snapshot();
        assert_eq!(after.version(), before.version(), "{file}");
        assert!(after.tenant("acme").is_ok(), "{file}");
    }
}

fn a_server_is_asked_until_it_answers() {
    let late = free_port();
    let world = World::new(late);
    let registry = world.open();
    assert!(registry.snapshot().tenant("acme").is_err());
    let healed = async {
        while registry.snapshot().tenant("acme").is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    runtime().block_on(async {
        let server = TcpListener::bind(("127.0.0.1", late)).await.unwrap();
        let relay = async {
            let (mut client, _) = server.accept().await.unwrap();
            let mut cluster = TcpStream::connect(("127.0.0.1", port())).await.unwrap();
            // It ends when the catalog has been read.
            tokio::io::copy_bidirectional(&mut client, &mut cluster)
                .await
                .ok();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = healed => {}
            () = relay => {}
            () = registry.heal() => {}
            () = tokio::time::sleep(Duration::from_secs(20)) => panic!("it is not asked again"),
        }
    });
}

fn reload(registry: &Registry) -> Result<std::sync::Arc<Snapshot>, ReloadError> {
    runtime().block_on(registry.reload())
}

fn faults(snapshot: &Snapshot) -> Vec<String> {
    let faults = snapshot.config().faults.iter();
    faults
        .map(|fault| fault.to_string().lines().next().unwrap().to_owned())
        .collect()
}

/// A database and a directory that names it.
struct World {
    folder: TempDir,
    database: Database,
}

impl World {
    fn new(server: u16) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            database: SMALL.database(),
        };
        world.point_to(server);
        world.write("policy.toml", "[defaults]\nunlisted = \"by-column\"\n");
        world.write(
            "tenants/_common.toml",
            "isolation = \"shared\"\nupstream = \"main\"\n",
        );
        world.write("tenants/acme.toml", "key = 1\n");
        world.write(
            "tenants/initech.toml",
            "isolation = \"database\"\ndatabase = \"other\"\n",
        );
        world
    }

    /// Declares the upstream at a port.
    fn point_to(&self, server: u16) {
        let database = self.database.name();
        self.write("secrets/password", "unused\n");
        self.write(
            "tenantry.toml",
            &format!(
                "[listen]\naddress = [\"127.0.0.1:1\"]\n[[upstream]]\nname = \"main\"\n\
                 address = \"127.0.0.1:{server}\"\ndatabase = \"{database}\"\nuser = \"postgres\"\n\
                 password = {{ file = \"secrets/password\" }}\n"
            ),
        );
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> Registry {
        runtime()
            .block_on(Registry::open(self.path()))
            .expect("nothing stops everything")
    }
}
