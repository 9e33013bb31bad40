//! `tenants/*.toml`: one file, one tenant; `_common.toml` is what all inherit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::environment::Environment;
use super::fault::{Object, Place};
use super::secret::Secret;
use super::table::{Context, Placed, Table, nearest, whole_number};
use super::types::{Credentials, Isolation, Limits, Tenant, TenantState};
use super::values::{DURATION, duration};
use crate::tenant::{TenantId, TenantKey};

/// What one file says. A file of a tenant is completed from the common one.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    isolation: Option<Placed<Kind>>,
    pub(super) upstream: Option<Placed<String>>,
    state: Option<TenantState>,
    key: Option<Placed<TenantKey>>,
    pub(super) database: Option<Placed<String>>,
    user: Option<Placed<String>>,
    password: Option<Secret>,
    /// Set where a password is written, even if it cannot be read.
    password_place: Option<Place>,
    pub(super) hosts: Vec<Placed<String>>,
    settings: BTreeMap<String, String>,
    limits: LimitsDraft,
    /// The keys that are there, even if they are not understood.
    present: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, Default)]
struct LimitsDraft {
    client_connections: Option<u64>,
    active_transactions: Option<u64>,
    pinned_connections: Option<u64>,
    statement_timeout: Option<Duration>,
    idle_in_transaction_timeout: Option<Duration>,
    result_rows: Option<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Database,
    Schema,
    Shared,
}

/// Reads one file. For that of a tenant, `tenant` is what a fault stops.
pub(super) fn read(
    mut file: Table<'_>,
    environment: &Environment<'_>,
    tenant: Option<&str>,
) -> Draft {
    let kinds = [
        ("database", Kind::Database),
        ("schema", Kind::Schema),
        ("shared", Kind::Shared),
    ];
    let password_place = file.any("password").map(|password| password.place);
    let mut draft = Draft {
        isolation: file.choice("isolation", &kinds),
        upstream: file.string("upstream"),
        state: state(&mut file, tenant),
        key: key(&mut file),
        database: file.string("database"),
        user: file.string("user"),
        password: environment.server_secret(&mut file, "password"),
        password_place,
        hosts: file.strings("hosts").unwrap_or_default(),
        settings: BTreeMap::new(),
        limits: LimitsDraft::default(),
        present: ["isolation", "upstream", "key", "database"]
            .into_iter()
            .filter(|key| file.any(key).is_some())
            .collect(),
    };
    file.string("schema");
    file.no_effect("hosts", "choosing a tenant by the host name of TLS");
    if let Some(settings) = file.table("settings") {
        draft.settings = self::settings(settings);
    }
    if let Some(limits) = file.table("limits") {
        draft.limits = self::limits(limits);
    }
    file.finish();
    draft
}

fn state(file: &mut Table<'_>, tenant: Option<&str>) -> Option<TenantState> {
    let states = [
        ("active", Some(TenantState::Active)),
        ("read-only", None),
        ("suspended", Some(TenantState::Suspended)),
    ];
    let state = file.choice("state", &states)?;
    if state.value.is_some() {
        return state.value;
    }
    match tenant {
        Some(tenant) => file.not_supported(
            state.place,
            "state = \"read-only\"",
            Object::Tenant(tenant.to_owned()),
        ),
        // In the common file it would stop nobody whose own file says otherwise.
        None => file.fault(
            state.place,
            "not supported yet: state = \"read-only\" for all tenants",
            "Nothing is served, because leaving this out could let more through.",
        ),
    }
    None
}

fn key(file: &mut Table<'_>) -> Option<Placed<TenantKey>> {
    let found = file.any("key")?;
    // The server cuts blanks at the end that are too many for the column, without a word.
    if found.value.as_str().is_some_and(|text| text.ends_with(' ')) {
        let remedy = "Two keys that differ in these alone could be one tenant to the server.";
        file.fault(found.place, "\"key\" ends with a blank", remedy);
        return None;
    }
    let key = match whole_number(found.value) {
        Some(number) => Some(TenantKey::Integer(number)),
        None => match found.value.as_str() {
            Some(text) if !text.is_empty() && !text.contains('\0') => {
                Some(TenantKey::Text(text.to_owned()))
            }
            Some(_) | None => None,
        },
    };
    let Some(value) = key else {
        let remedy = "It must be the tenant's value in the tenant column: key = 1, key = \"acme\".";
        file.fault(
            found.place,
            "\"key\" is neither a whole number nor a text",
            remedy,
        );
        return None;
    };
    Some(Placed {
        value,
        place: found.place,
    })
}

/// The session variables that an operator may set for a tenant. Others could change how a statement
/// is read, what a name resolves to, or what is printed to a client.
const SETTINGS: &[&str] = &[
    "bytea_output",
    "DateStyle",
    "default_text_search_config",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "IntervalStyle",
    "jit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "maintenance_work_mem",
    "max_parallel_workers_per_gather",
    "statement_timeout",
    "TimeZone",
    "work_mem",
];

fn settings(table: Table<'_>) -> BTreeMap<String, String> {
    let context = table.context.clone();
    let mut settings = BTreeMap::new();
    for (name, value) in table.named_texts() {
        let known = SETTINGS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(&name.value));
        if let Some(known) = known {
            settings.insert((*known).to_owned(), value);
            continue;
        }
        let remedy = nearest(&name.value, SETTINGS).map_or_else(
            || format!("A tenant may have: {}.", SETTINGS.join(", ")),
            |near| format!("Did you mean \"{near}\"?"),
        );
        let message = format!("\"{}\" is no setting that a tenant may have", name.value);
        context.fault(name.place, message, remedy);
    }
    settings
}

fn limits(mut table: Table<'_>) -> LimitsDraft {
    let many = 0..=u64::from(u32::MAX);
    let mut count = |key| table.number(key, many.clone()).map(|number| number.value);
    let client_connections = count("client_connections");
    let active_transactions = count("active_transactions");
    let pinned_connections = count("pinned_connections");
    let result_rows = count("result_rows");
    let mut time = |key| table.parsed(key, DURATION, duration).map(|time| time.value);
    let limits = LimitsDraft {
        client_connections,
        active_transactions,
        pinned_connections,
        statement_timeout: time("statement_timeout"),
        idle_in_transaction_timeout: time("idle_in_transaction_timeout"),
        result_rows,
    };
    table.finish();
    limits
}

impl Draft {
    /// What the tenant's own file says, and for the rest the common one. The isolation's own keys go
    /// together: a tenant that names its isolation inherits no key, database or role.
    pub(super) fn inherit(self, common: &Self) -> Self {
        let own_place = self.isolation.is_some();
        let inherited = |from: Option<Placed<String>>| from.filter(|_| !own_place);
        Self {
            isolation: self.isolation.or_else(|| common.isolation.clone()),
            upstream: self.upstream.or_else(|| common.upstream.clone()),
            state: self.state.or(common.state),
            key: self.key,
            database: self.database.or_else(|| inherited(common.database.clone())),
            user: self.user.or_else(|| inherited(common.user.clone())),
            password: self
                .password
                .or_else(|| common.password.clone().filter(|_| !own_place)),
            password_place: self
                .password_place
                .or_else(|| common.password_place.clone().filter(|_| !own_place)),
            hosts: self.hosts,
            settings: {
                let mut settings = common.settings.clone();
                settings.extend(self.settings);
                settings
            },
            limits: self.limits.inherit(common.limits),
            present: self.present,
        }
    }

    /// Whether the tenant has a database of its own, as far as the files are understood.
    pub(super) fn has_database(&self) -> bool {
        self.isolation
            .as_ref()
            .is_some_and(|kind| kind.value == Kind::Database)
    }

    /// Whether the tenant lives in shared tables, as far as the files are understood.
    pub(super) fn shared_key(&self) -> Option<&Placed<TenantKey>> {
        let kind = self.isolation.as_ref()?;
        self.key.as_ref().filter(|_| kind.value == Kind::Shared)
    }

    /// What the common file must not say, because it makes a tenant this one.
    pub(super) fn not_to_be_inherited(&self) -> Vec<Place> {
        let key = self.key.iter().map(|key| key.place.clone());
        let hosts = self.hosts.iter().map(|host| host.place.clone());
        key.chain(hosts).collect()
    }

    /// The tenant, if nothing is missing. What is missing is noted at the tenant's own file.
    pub(super) fn build(self, id: &TenantId, file: &Context<'_>) -> Option<Tenant> {
        let present = self.present.clone();
        let missing = |key: &str, example: &str| {
            if present.contains(&key) {
                return;
            }
            let message = format!("\"{key}\" is missing");
            file.fault(
                file.source.whole(),
                message,
                format!("For example: {example}"),
            );
        };
        let Some(kind) = self.isolation.clone() else {
            missing(
                "isolation",
                "isolation = \"shared\", here or in _common.toml",
            );
            return None;
        };
        let Some(upstream) = self.upstream.clone() else {
            missing("upstream", "upstream = \"main\", here or in _common.toml");
            return None;
        };
        let upstream = upstream.value;
        let isolation = match kind.value {
            Kind::Schema => {
                let what = "isolation = \"schema\"";
                file.not_supported(kind.place, what, Object::Tenant(id.to_string()));
                return None;
            }
            Kind::Shared => {
                let Some(key) = self.key else {
                    missing("key", "key = 1, its value in the tenant column");
                    return None;
                };
                let key = key.value;
                Isolation::Shared { upstream, key }
            }
            Kind::Database => {
                let Some(database) = self.database.clone() else {
                    missing("database", "database = \"acme\"");
                    return None;
                };
                Isolation::Database {
                    upstream,
                    database: database.value,
                    credentials: self.credentials(file).ok()?,
                }
            }
        };
        Some(Tenant {
            id: id.clone(),
            isolation,
            state: self.state.unwrap_or(TenantState::Active),
            settings: self.settings,
            limits: self.limits.build(),
        })
    }

    /// Both of `user` and `password`, or neither. The fault is noted.
    fn credentials(&self, file: &Context<'_>) -> Result<Option<Credentials>, NotUsable> {
        match (&self.user, &self.password, &self.password_place) {
            (None, _, None) => Ok(None),
            (Some(user), Some(password), _) => Ok(Some(Credentials {
                user: user.value.clone(),
                password: password.clone(),
            })),
            // The secret's own fault is noted already.
            (Some(_), None, Some(_)) => Err(NotUsable),
            (Some(user), None, None) => {
                let remedy = "Add password = { env = \"..\" }, or leave out user.";
                file.fault(user.place.clone(), "\"user\" has no password", remedy);
                Err(NotUsable)
            }
            (None, _, Some(place)) => {
                let remedy = "Add user = \"..\", or leave out password.";
                file.fault(place.clone(), "\"password\" belongs to no user", remedy);
                Err(NotUsable)
            }
        }
    }
}

/// Something whose fault is noted already.
struct NotUsable;

impl LimitsDraft {
    fn inherit(self, common: Self) -> Self {
        Self {
            client_connections: self.client_connections.or(common.client_connections),
            active_transactions: self.active_transactions.or(common.active_transactions),
            pinned_connections: self.pinned_connections.or(common.pinned_connections),
            statement_timeout: self.statement_timeout.or(common.statement_timeout),
            idle_in_transaction_timeout: self
                .idle_in_transaction_timeout
                .or(common.idle_in_transaction_timeout),
            result_rows: self.result_rows.or(common.result_rows),
        }
    }

    /// 0 means that there is no limit.
    fn build(self) -> Limits {
        let count = |number: Option<u64>| {
            let number = number.and_then(|number| u32::try_from(number).ok());
            number.filter(|number| *number > 0)
        };
        let time = |time: Option<Duration>| time.filter(|time| !time.is_zero());
        Limits {
            client_connections: count(self.client_connections),
            active_transactions: count(self.active_transactions),
            pinned_connections: count(self.pinned_connections),
            statement_timeout: time(self.statement_timeout),
            idle_in_transaction_timeout: time(self.idle_in_transaction_timeout),
            result_rows: self.result_rows.filter(|rows| *rows > 0),
        }
    }
}
