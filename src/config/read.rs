//! A directory's files, one after the other, and what must hold between them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::fault::{Effect, Fault, Object, Place};
use super::server::{self, Server};
use super::table::{Context, Findings, Placed, Source, Table};
use super::tenants::Draft;
use super::types::{Config, Login, LoginRole, Tenant, Upstream, UpstreamAddress};
use super::{grants, policy, tenants};
use crate::tenant::{Policy, TenantId, TenantKey};

/// The console's name; no tenant and no upstream may bear it.
const CONSOLE: &str = "tenantry";

/// The folder of the grants.
pub const GRANTS: &str = "grants";

/// Reads a directory.
pub(super) fn read(directory: &Path, environment: &Environment<'_>) -> Config {
    let findings = Findings::default();
    let files = Files {
        directory,
        findings: &findings,
    };
    let main = Path::new("tenantry.toml");
    let server = files.one(main, &Effect::StopsEverything, |table| {
        server::read(table, environment)
    });
    let policy = files.policy();
    let tenants = files.tenants(environment);
    let grants = files.grants();
    if let Some(server) = &server {
        check_names(server, &tenants, &findings);
        check_grants(server, &tenants, &grants, &findings);
        check_upstreams(server, &tenants, &findings);
        check_databases(server, &tenants, &findings);
        check_keys(server, &tenants, &findings);
    }
    let mut faults = findings.into_inner();
    faults.sort();
    faults.dedup();
    let (warnings, faults): (Vec<_>, Vec<_>) = faults
        .into_iter()
        .partition(|fault| fault.effect == Effect::Nothing);
    let stops_everything = |fault: &Fault| fault.effect == Effect::StopsEverything;
    let server = server.filter(|_| !faults.iter().any(stops_everything));
    let server = server.unwrap_or_else(server::nothing);
    let stopped = stopped(&faults);
    let upstreams = usable(server.upstreams, &stopped, Object::Upstream, |it| {
        it.upstream
    });
    Config {
        directory: directory.to_owned(),
        listen: if stopped.contains(&Object::Listeners) {
            server::nothing().listen
        } else {
            server.listen
        },
        pool: server.pool,
        audit: server.audit,
        tenants: usable_tenants(tenants, &stopped, &upstreams),
        upstreams,
        logins: usable(server.logins, &stopped, Object::Login, |it| it.login),
        policy,
        grants: usable(grants, &stopped, Object::Grant, |it| it.grant),
        faults,
        warnings,
    }
}

/// What a fault stops is not in the configuration.
fn usable<D, T>(
    declared: BTreeMap<String, D>,
    stopped: &BTreeSet<Object>,
    object: fn(String) -> Object,
    value: fn(D) -> Option<T>,
) -> BTreeMap<String, T> {
    declared
        .into_iter()
        .filter(|(name, _)| !stopped.contains(&object(name.clone())))
        .filter_map(|(name, declared)| Some((name, value(declared)?)))
        .collect()
}

fn stopped(faults: &[Fault]) -> BTreeSet<Object> {
    let objects = faults.iter().filter_map(|fault| match &fault.effect {
        Effect::NotSupportedYet(object) | Effect::Stops(object) => Some(object.clone()),
        Effect::Nothing | Effect::StopsEverything => None,
    });
    objects.collect()
}

/// The tenants go with their upstream.
fn usable_tenants(
    declared: Vec<Declared>,
    stopped: &BTreeSet<Object>,
    upstreams: &BTreeMap<String, Upstream>,
) -> BTreeMap<TenantId, Tenant> {
    let understood = declared.into_iter().filter_map(|declared| declared.tenant);
    understood
        .filter(|tenant| !stopped.contains(&Object::Tenant(tenant.id.to_string())))
        .filter(|tenant| upstreams.contains_key(tenant.isolation.upstream()))
        .map(|tenant| (tenant.id.clone(), tenant))
        .collect()
}

/// A tenant as far as it is understood, after it has inherited.
struct Declared {
    name: String,
    file: Place,
    draft: Draft,
    tenant: Option<Tenant>,
}

impl Declared {
    fn fault(&self, place: &Place, message: String, remedy: &str) -> Fault {
        Fault {
            place: place.clone(),
            message,
            remedy: remedy.to_owned(),
            effect: Effect::Stops(Object::Tenant(self.name.clone())),
        }
    }
}

struct Files<'a> {
    directory: &'a Path,
    findings: &'a Findings,
}

impl Files<'_> {
    /// A file that must be there.
    fn one<T>(&self, file: &Path, effect: &Effect, read: impl FnOnce(Table<'_>) -> T) -> Option<T> {
        let text = match super::file::text(&self.directory.join(file)) {
            Ok(text) => text,
            Err(error) => {
                self.fault(file, error.to_string(), "The file must be there.", effect);
                return None;
            }
        };
        let source = Source::new(file, text);
        let entries = source.parse(self.findings, effect)?;
        let context = Context {
            source: &source,
            findings: self.findings,
            effect: effect.clone(),
        };
        Some(read(Table::file(context, &entries)))
    }

    /// A file that need not be there.
    fn optional<T>(
        &self,
        file: &Path,
        effect: &Effect,
        read: impl FnOnce(Table<'_>) -> T,
    ) -> Option<T> {
        match self.directory.join(file).try_exists() {
            Ok(false) => None,
            Ok(true) | Err(_) => self.one(file, effect, read),
        }
    }

    /// Without the file every table is refused; that is safe, but nobody's wish.
    fn policy(&self) -> Policy {
        let file = Path::new("policy.toml");
        if self
            .directory
            .join(file)
            .try_exists()
            .is_ok_and(|exists| !exists)
        {
            self.findings.add(Fault {
                place: whole(file),
                message: "there is no policy: every table is refused".to_owned(),
                remedy: "For example: [defaults] unlisted = \"by-column\"".to_owned(),
                effect: Effect::Nothing,
            });
            return policy::nothing();
        }
        let read = self.one(file, &Effect::StopsEverything, policy::read);
        read.unwrap_or_else(policy::nothing)
    }

    fn tenants(&self, environment: &Environment<'_>) -> Vec<Declared> {
        let folder = Path::new("tenants");
        let common = folder.join("_common.toml");
        let common = self.optional(&common, &Effect::StopsEverything, |table| {
            tenants::read(table, environment, None)
        });
        let common = common.unwrap_or_default();
        for place in common.not_to_be_inherited() {
            self.findings.add(Fault {
                place,
                message: "this belongs to one tenant".to_owned(),
                remedy: "Move it to the tenant's own file.".to_owned(),
                effect: Effect::StopsEverything,
            });
        }
        let mut declared = Vec::new();
        for (name, file) in self.listed(folder) {
            if name == "_common" {
                continue;
            }
            let effect = Effect::Stops(Object::Tenant(name.clone()));
            let id = TenantId::parse(&name);
            if let Err(error) = &id {
                self.fault(&file, error.to_string(), "Rename the file.", &effect);
            }
            let own = self.one(&file, &effect, |table| {
                let place = table.place();
                let context = table.context.clone();
                let draft = tenants::read(table, environment, Some(&name)).inherit(&common);
                let tenant = id.ok().and_then(|id| draft.clone().build(&id, &context));
                (place, draft, tenant)
            });
            // A file that cannot be read still names a tenant.
            let (place, draft, tenant) =
                own.unwrap_or_else(|| (whole(&file), Draft::default(), None));
            declared.push(Declared {
                name,
                file: place,
                draft,
                tenant,
            });
        }
        declared
    }

    fn grants(&self) -> BTreeMap<String, grants::Declared> {
        let mut grants = BTreeMap::new();
        for (name, file) in self.listed(Path::new(GRANTS)) {
            let effect = Effect::Stops(Object::Grant(name.clone()));
            let declared = self.one(&file, &effect, |table| grants::read(table, &name));
            grants.insert(name, declared.unwrap_or_default());
        }
        grants
    }

    /// The TOML files of a folder, by the stem of their names. Other files are somebody's notes.
    fn listed(&self, folder: &Path) -> BTreeMap<String, PathBuf> {
        let entries = match std::fs::read_dir(self.directory.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => {
                let effect = Effect::StopsEverything;
                self.fault(
                    folder,
                    error.to_string(),
                    "The folder must be readable.",
                    &effect,
                );
                return BTreeMap::new();
            }
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    let effect = Effect::StopsEverything;
                    self.fault(
                        folder,
                        error.to_string(),
                        "The folder must be readable.",
                        &effect,
                    );
                    continue;
                }
            };
            let Some(file_name) = path.file_name() else {
                continue;
            };
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let stem = path.file_stem().unwrap_or(file_name);
                let name = stem.to_string_lossy().into_owned();
                files.insert(name, folder.join(file_name));
            }
        }
        files
    }

    fn fault(&self, file: &Path, message: String, remedy: &str, effect: &Effect) {
        self.findings.add(Fault {
            place: whole(file),
            message,
            remedy: remedy.to_owned(),
            effect: effect.clone(),
        });
    }
}

fn whole(file: &Path) -> Place {
    Place {
        file: file.to_owned(),
        line: None,
    }
}

/// A database name in a DSN must mean one thing.
fn check_names(server: &Server, tenants: &[Declared], findings: &Findings) {
    for tenant in tenants {
        if tenant.name == CONSOLE || server.upstreams.contains_key(&tenant.name) {
            let message = format!("no tenant may be called \"{}\"", tenant.name);
            let remedy = "The names of upstreams and \"tenantry\" are kept for admins.";
            findings.add(tenant.fault(&tenant.file, message, remedy));
        }
    }
    let names: BTreeSet<&str> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    for (login, declared) in &server.logins {
        for listed in &declared.listed {
            if !names.contains(listed.value.as_str()) {
                findings.add(Fault {
                    place: listed.place.clone(),
                    message: format!(
                        "login {login} names the tenant {}, which does not exist",
                        listed.value
                    ),
                    remedy: format!("Add tenants/{}.toml, or leave it out.", listed.value),
                    effect: Effect::Stops(Object::Login(login.clone())),
                });
            }
        }
    }
    let mut hosts: BTreeMap<String, &str> = BTreeMap::new();
    for tenant in tenants {
        for host in &tenant.draft.hosts {
            let other = hosts.insert(host.value.to_ascii_lowercase(), &tenant.name);
            if let Some(other) = other {
                let message = format!("\"{}\" is a host name of {other}, too", host.value);
                let remedy = "A host name stands for one tenant.";
                findings.add(tenant.fault(&host.place, message, remedy));
            }
        }
    }
}

/// A grant is for admins, and over tenants that are there: a name that is misspelt allows something else.
fn check_grants(
    server: &Server,
    tenants: &[Declared],
    grants: &BTreeMap<String, grants::Declared>,
    findings: &Findings,
) {
    let names: BTreeSet<&str> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    for (grant, declared) in grants {
        let fault = |place: &Place, message: String, remedy: String| {
            findings.add(Fault {
                place: place.clone(),
                message,
                remedy,
                effect: Effect::Stops(Object::Grant(grant.clone())),
            });
        };
        for login in &declared.who {
            let name = &login.value;
            match server.logins.get(name).map(|known| &known.login) {
                None => fault(
                    &login.place,
                    format!("there is no login \"{name}\""),
                    format!(
                        "Add it to tenantry.toml: [[login]] name = \"{name}\", role = \"admin\"."
                    ),
                ),
                Some(Some(Login {
                    role: LoginRole::Application { .. },
                    ..
                })) => fault(
                    &login.place,
                    format!("login \"{name}\" is no admin"),
                    "Only a login with role = \"admin\" can take a grant.".to_owned(),
                ),
                // A login with a fault of its own is not there to take it.
                Some(Some(_) | None) => {}
            }
        }
        for tenant in &declared.tenants {
            if !names.contains(tenant.value.as_str()) {
                fault(
                    &tenant.place,
                    format!("there is no tenant \"{}\"", tenant.value),
                    match TenantId::parse(&tenant.value) {
                        Ok(id) => format!("Add tenants/{id}.toml, or leave it out."),
                        Err(error) => format!("It cannot be one: {error}."),
                    },
                );
            }
        }
    }
}

fn check_upstreams(server: &Server, tenants: &[Declared], findings: &Findings) {
    for tenant in tenants {
        let Some(upstream) = &tenant.draft.upstream else {
            continue;
        };
        if !server.upstreams.contains_key(&upstream.value) {
            let message = format!("there is no upstream \"{}\"", upstream.value);
            let known: Vec<&str> = server.upstreams.keys().map(String::as_str).collect();
            let remedy = format!("tenantry.toml declares: {}.", known.join(", "));
            // A name in the common file is everybody's, but each tenant is stopped by its own fault.
            findings.add(tenant.fault(&upstream.place, message, &remedy));
        }
    }
}

/// Two tenants in one database would see each other, and one in the database of the shared tables
/// would see everybody. Clusters are told apart by address: two names may mean one.
fn check_databases(server: &Server, tenants: &[Declared], findings: &Findings) {
    type Owner<'a> = (&'a Declared, &'a Placed<String>);
    let mut shared: BTreeMap<(&UpstreamAddress, &str), &str> = BTreeMap::new();
    for (name, upstream) in &server.upstreams {
        if let (Some(address), Some(database)) = (&upstream.address, &upstream.database) {
            shared.insert((address, database), name);
        }
    }
    let mut owners: BTreeMap<(&UpstreamAddress, &str), Vec<Owner<'_>>> = BTreeMap::new();
    for tenant in tenants.iter().filter(|tenant| tenant.draft.has_database()) {
        let upstream = tenant.draft.upstream.as_ref();
        let upstream = upstream.and_then(|name| server.upstreams.get(&name.value));
        let address = upstream.and_then(|upstream| upstream.address.as_ref());
        let (Some(address), Some(database)) = (address, &tenant.draft.database) else {
            continue;
        };
        let place = (address, database.value.as_str());
        if let Some(upstream) = shared.get(&place) {
            let message = format!(
                "\"{}\" is the database of upstream {upstream}",
                database.value
            );
            let remedy = "A database tenant has a database that nobody else uses.";
            findings.add(tenant.fault(&database.place, message, remedy));
        }
        owners.entry(place).or_default().push((tenant, database));
    }
    for sharers in owners.values().filter(|sharers| sharers.len() > 1) {
        for (tenant, database) in sharers {
            let others = sharers.iter().map(|(other, _)| other.name.as_str());
            let others: Vec<&str> = others.filter(|other| *other != tenant.name).collect();
            let message = format!(
                "\"{}\" is the database of {}, too",
                database.value,
                others.join(", ")
            );
            let remedy = "A database tenant has a database that nobody else uses.";
            findings.add(tenant.fault(&database.place, message, remedy));
        }
    }
}

/// Two tenants with one key would be one tenant.
fn check_keys(server: &Server, tenants: &[Declared], findings: &Findings) {
    type Home<'a> = (Option<&'a UpstreamAddress>, Option<&'a str>, String);
    let mut owners: BTreeMap<Home<'_>, Vec<(&Declared, &Placed<TenantKey>)>> = BTreeMap::new();
    for tenant in tenants {
        let Some(key) = tenant.draft.shared_key() else {
            continue;
        };
        let upstream = tenant.draft.upstream.as_ref();
        let upstream = upstream.and_then(|name| server.upstreams.get(&name.value));
        let address = upstream.and_then(|upstream| upstream.address.as_ref());
        let database = upstream.and_then(|upstream| upstream.database.as_deref());
        let home = (address, database, key.value.to_string());
        owners.entry(home).or_default().push((tenant, key));
    }
    for sharers in owners.values().filter(|sharers| sharers.len() > 1) {
        for (tenant, key) in sharers {
            let others = sharers.iter().map(|(other, _)| other.name.as_str());
            let others: Vec<&str> = others.filter(|other| *other != tenant.name).collect();
            let message = format!(
                "the key {} is that of {}, too",
                key.value,
                others.join(", ")
            );
            let remedy = "Each tenant of a database has a key of its own.";
            findings.add(tenant.fault(&key.place, message, remedy));
        }
    }
}
