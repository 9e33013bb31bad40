//! `tenantry.toml`: listeners, pools, upstreams and logins.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::environment::Environment;
use super::fault::Object;
use super::secret::ScramVerifier;
use super::table::{Placed, Table};
use super::types::{
    Audit, Credentials, Listen, Login, LoginRole, LoginSecret, Pool, PoolMode, Upstream,
    UpstreamAddress,
};
use super::values::{DURATION, duration, upstream_address};
use crate::tenant::{TenantId, TenantSet};

/// What the file says. Objects with a fault are among the declared names, but have no value.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) listen: Listen,
    pub(super) pool: Pool,
    pub(super) audit: Option<Audit>,
    pub(super) upstreams: BTreeMap<String, DeclaredUpstream>,
    pub(super) logins: BTreeMap<String, DeclaredLogin>,
}

/// An upstream as far as it is understood.
#[derive(Debug)]
pub(super) struct DeclaredUpstream {
    pub(super) address: Option<UpstreamAddress>,
    pub(super) database: Option<String>,
    pub(super) upstream: Option<Upstream>,
}

/// A login as far as it is understood.
#[derive(Debug)]
pub(super) struct DeclaredLogin {
    pub(super) listed: Vec<Placed<TenantId>>,
    pub(super) login: Option<Login>,
}

const DEFAULT_POOL: Pool = Pool {
    mode: PoolMode::Transaction,
    size: 20,
    wait_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_mins(10),
    max_lifetime: Duration::from_hours(1),
};

const CONNECTIONS_MAX: u64 = 100_000;
const ROTATE_BYTES: RangeInclusive<u64> = 64 * 1024..=1024 * 1024 * 1024 * 1024;
const ROTATE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// What holds where the file cannot be read.
pub(super) fn nothing() -> Server {
    Server {
        listen: Listen {
            addresses: Vec::new(),
        },
        pool: DEFAULT_POOL,
        audit: None,
        upstreams: BTreeMap::new(),
        logins: BTreeMap::new(),
    }
}

/// Reads the file.
pub(super) fn read(mut file: Table<'_>, environment: &Environment<'_>) -> Server {
    file.demand("listen", "[listen] address = [\"127.0.0.1:6432\"]");
    let listen = file.table("listen").map(listen);
    let pool = file.table("pool").map(pool);
    let audit = file
        .table("audit")
        .and_then(|table| audit(table, environment));
    no_effect_yet(&mut file);
    let mut upstreams = BTreeMap::new();
    for mut table in file.tables("upstream") {
        let object = Object::Upstream;
        let Some(name) = object_name(&mut table, object, &upstreams) else {
            continue;
        };
        let declared = upstream(table, &name.value, environment);
        upstreams.insert(name.value, declared);
    }
    let mut logins = BTreeMap::new();
    for mut table in file.tables("login") {
        let Some(name) = object_name(&mut table, Object::Login, &logins) else {
            continue;
        };
        let declared = login(table, &name.value, environment);
        logins.insert(name.value, declared);
    }
    file.finish();
    let nothing = nothing();
    Server {
        listen: listen.unwrap_or(nothing.listen),
        pool: pool.unwrap_or(DEFAULT_POOL),
        audit,
        upstreams,
        logins,
    }
}

/// The name of an upstream or login, and from there on its faults stop it alone.
fn object_name<T>(
    table: &mut Table<'_>,
    object: fn(String) -> Object,
    declared: &BTreeMap<String, T>,
) -> Option<Placed<String>> {
    let name = table.required("name", "name = \"main\"")?;
    table.stops(object(name.value.clone()));
    if declared.contains_key(&name.value) {
        let message = format!("{} is declared twice", object(name.value.clone()));
        table.fault(
            name.place.clone(),
            message,
            "Each name stands for one thing.",
        );
    }
    Some(name)
}

fn listen(mut table: Table<'_>) -> Listen {
    table.demand("address", "address = [\"127.0.0.1:6432\"]");
    let mut addresses = Vec::new();
    for text in table.strings("address").unwrap_or_default() {
        match text.value.parse::<SocketAddr>() {
            Ok(address) => addresses.push(address),
            Err(_not_an_address) => table.fault(
                text.place,
                format!("\"{}\" is no address to listen on", text.value),
                "It must be an IP address and a port: \"127.0.0.1:6432\", \"[::]:6432\".",
            ),
        }
    }
    table.no_effect("unix_socket_dir", "listening on a Unix socket");
    if let Some(tls) = table.table("tls") {
        listen_tls(tls);
    }
    table.finish();
    Listen { addresses }
}

/// Without TLS, a client that insists on it goes away by itself; a listener that insists must not
/// take clients in the clear.
fn listen_tls(mut table: Table<'_>) {
    #[derive(Clone, Copy)]
    enum Mode {
        Off,
        Prefer,
        Require,
    }
    let choices = [
        ("off", Mode::Off),
        ("prefer", Mode::Prefer),
        ("require", Mode::Require),
    ];
    let mode = table.choice("mode", &choices);
    for key in ["certificate", "key"] {
        table.any(key);
    }
    if let Some(certificates) = table.any("client_ca") {
        let what = "clients' certificates";
        table.not_supported(certificates.place, what, Object::Listeners);
    }
    match mode.map(|mode| (mode.value, mode.place)) {
        Some((Mode::Require, place)) => {
            table.not_supported(place, "TLS towards clients", Object::Listeners);
        }
        Some((Mode::Prefer, _)) => table.no_effect("mode", "TLS towards clients"),
        Some((Mode::Off, _)) | None => {}
    }
    table.finish();
}

fn pool(mut table: Table<'_>) -> Pool {
    let modes = [
        ("transaction", PoolMode::Transaction),
        ("session", PoolMode::Session),
    ];
    let mode = table.choice("mode", &modes);
    let size = table.number("size", 1..=CONNECTIONS_MAX);
    let mut time = |key, default: Duration| {
        let parse = |text: &str| duration(text).filter(|time| !time.is_zero());
        let found = table.parsed(key, DURATION, parse);
        found.map_or(default, |found| found.value)
    };
    let pool = Pool {
        mode: mode.map_or(DEFAULT_POOL.mode, |mode| mode.value),
        size: size.map_or(DEFAULT_POOL.size, |size| narrow(size.value)),
        wait_timeout: time("wait_timeout", DEFAULT_POOL.wait_timeout),
        idle_timeout: time("idle_timeout", DEFAULT_POOL.idle_timeout),
        max_lifetime: time("max_lifetime", DEFAULT_POOL.max_lifetime),
    };
    table.finish();
    pool
}

fn no_effect_yet(file: &mut Table<'_>) {
    if let Some(mut admin) = file.table("admin") {
        admin.no_effect("http", "metrics, health and the web page");
        admin.finish();
    }
}

/// The file is relative to the configuration directory; an absolute one stays where it is.
fn audit(mut table: Table<'_>, environment: &Environment<'_>) -> Option<Audit> {
    let file = table.required("file", "file = \"audit/audit.jsonl\"");
    let rotate_bytes = table.number("rotate_bytes", ROTATE_BYTES);
    table.finish();
    Some(Audit {
        file: environment.path(&file?.value),
        rotate_bytes: rotate_bytes.map_or(ROTATE_BYTES_DEFAULT, |number| number.value),
    })
}

fn upstream(mut table: Table<'_>, name: &str, environment: &Environment<'_>) -> DeclaredUpstream {
    table.demand("address", "address = \"127.0.0.1:5432\"");
    let wanted = "\"host:port\", or the directory of a Unix socket";
    let address = table.parsed("address", wanted, upstream_address);
    let database = table.required("database", "database = \"app\"");
    let user = table.required("user", "user = \"app_rw\"");
    table.demand("password", "password = { env = \"TENANTRY_PASSWORD\" }");
    let password = environment.server_secret(&mut table, "password");
    let connections_max = table.number("max_connections", 1..=CONNECTIONS_MAX);
    upstream_tls(&mut table, name);
    table.finish();
    let address = address.map(|address| address.value);
    let database = database.map(|database| database.value);
    let build = || {
        Some(Upstream {
            name: name.to_owned(),
            address: address.clone()?,
            database: database.clone()?,
            credentials: Credentials {
                user: user?.value,
                password: password?,
            },
            connections_max: connections_max.map_or(60, |number| narrow(number.value)),
        })
    };
    let upstream = build();
    DeclaredUpstream {
        address,
        database,
        upstream,
    }
}

/// No key means no TLS, as PostgreSQL's own `sslmode` must be asked for what protects.
fn upstream_tls(table: &mut Table<'_>, name: &str) {
    let choices = [
        ("off", None),
        ("prefer", Some("prefer")),
        ("require", Some("require")),
        ("verify-full", Some("verify-full")),
    ];
    let Some(tls) = table.choice("tls", &choices) else {
        return;
    };
    if let Some(mode) = tls.value {
        let what = format!("tls = \"{mode}\" towards a server");
        table.not_supported(tls.place, &what, Object::Upstream(name.to_owned()));
    }
}

fn login(mut table: Table<'_>, name: &str, environment: &Environment<'_>) -> DeclaredLogin {
    let secret = login_secret(&mut table, environment);
    let admin = table.choice("role", &[("admin", ())]);
    let tenants = table.any("tenants");
    let listed = match &tenants {
        Some(tenants) => listed_tenants(&table, tenants),
        None => Some(Listed::Some(Vec::new())),
    };
    match (&admin, &tenants) {
        (Some(_), None) | (None, Some(_)) => {}
        (Some(admin), Some(_)) => table.fault(
            admin.place.clone(),
            "an admin has no tenants",
            "Leave out either role or tenants.",
        ),
        (None, None) => table.demand("tenants", "tenants = \"*\" or tenants = [\"acme\"]"),
    }
    if table.flag("may_switch").is_some_and(|may| may.value) {
        table.no_effect(
            "may_switch",
            "SET tenantry.tenant; the database name names the tenant",
        );
    }
    table.finish();
    let tenants = match &listed {
        Some(Listed::All) => Some(TenantSet::All),
        Some(Listed::Some(tenants)) => Some(TenantSet::Listed(
            tenants
                .iter()
                .map(|tenant| tenant.value.clone())
                .collect::<BTreeSet<_>>(),
        )),
        None => None,
    };
    let build = || {
        Some(Login {
            name: name.to_owned(),
            secret: secret?,
            role: match admin {
                Some(_) => LoginRole::Admin,
                None => LoginRole::Application { tenants: tenants? },
            },
        })
    };
    DeclaredLogin {
        login: build(),
        listed: match listed {
            Some(Listed::Some(tenants)) => tenants,
            Some(Listed::All) | None => Vec::new(),
        },
    }
}

fn login_secret(table: &mut Table<'_>, environment: &Environment<'_>) -> Option<LoginSecret> {
    let wanted = "a verifier as pg_authid holds it: \"SCRAM-SHA-256$4096:..\"";
    let scram = table.any("scram").map(|scram| scram.place);
    let password = table.any("password").map(|password| password.place);
    match (scram, password) {
        (Some(_), None) => {
            // The fault must not repeat the text: a verifier is as good as a secret to some.
            let text = table.string("scram")?;
            let verifier = ScramVerifier::parse(&text.value).ok();
            if verifier.is_none() {
                table.fault(
                    text.place,
                    "\"scram\" is no verifier",
                    format!("It must be {wanted}."),
                );
            }
            verifier.map(LoginSecret::Scram)
        }
        (None, Some(_)) => environment
            .secret(table, "password")
            .map(LoginSecret::Password),
        (Some(place), Some(_)) => {
            table.fault(
                place,
                "a login has one secret",
                "Leave out either password or scram.",
            );
            None
        }
        (None, None) => {
            table.demand("password", "password = { env = \"TENANTRY_APP_PASSWORD\" }");
            None
        }
    }
}

enum Listed {
    All,
    Some(Vec<Placed<TenantId>>),
}

fn listed_tenants(table: &Table<'_>, tenants: &Placed<&DeValue<'_>>) -> Option<Listed> {
    let names = match tenants.value {
        DeValue::String(text) if text == "*" => return Some(Listed::All),
        DeValue::Array(names) => names.iter().map(|name| name.get_ref().as_str()).collect(),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => None,
    };
    let ids = names.and_then(|names: Vec<&str>| {
        let ids = names.iter().map(|name| TenantId::parse(name).ok());
        ids.collect::<Option<Vec<_>>>()
    });
    let Some(ids) = ids else {
        let remedy = "It must be \"*\" or a list of tenants' names.";
        table.fault(
            tenants.place.clone(),
            "\"tenants\" names no tenants",
            remedy,
        );
        return None;
    };
    let placed = ids.into_iter().map(|value| Placed {
        value,
        place: tenants.place.clone(),
    });
    Some(Listed::Some(placed.collect()))
}

/// A number whose bounds were checked.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
