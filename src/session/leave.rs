//! A grant on one upstream: what it says, and the rules that follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::admission::{Admission, Numbers, Rules};
use crate::bypass::{Grant, Sight, Validity};
use crate::catalog::Relation;
use crate::protocol::error_response::ErrorReport;
use crate::tenant::{Classified, Rows, Scope, TableSet, TenantId, TenantKey, TenantSet, Verb};

/// A grant on one upstream.
#[derive(Debug)]
pub struct Leave {
    /// What its file says.
    pub grant: Arc<Grant>,
    /// The upstream's shared tables, and what they are to tenants; none if they are not known.
    classified: Option<Arc<Classified>>,
    /// The tenants of these tables that the grant names.
    tenants: BTreeMap<TenantId, TenantKey>,
    /// The tenants that the grant names and that have a database of their own.
    databases: BTreeSet<TenantId>,
    /// What decides on statements that touch no relation.
    closed: Arc<Admission>,
    across: Option<Arc<Admission>>,
    numbers: Numbers,
}

/// Whom a grant is about.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    /// Those of the upstream's shared tables, with their keys.
    pub shared: BTreeMap<TenantId, TenantKey>,
    /// Those with a database of their own, wherever.
    pub databases: BTreeSet<TenantId>,
}

/// Where the rows are that a grant reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// In databases of tenants, too: each tenant is asked by itself.
    Databases,
    /// In the shared tables.
    SharedTables,
}

/// What a statement under a grant is admitted by.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) admission: Arc<Admission>,
    /// The one tenant that the admin is bound to.
    pub(super) tenant: Option<TenantId>,
    pub(super) reach: Reach,
}

impl Leave {
    /// A grant over these tables and tenants. Tenants that it does not name are left out.
    pub fn new(
        grant: Arc<Grant>,
        classified: Option<Arc<Classified>>,
        tenants: &Tenants,
        (closed, numbers): (Arc<Admission>, Numbers),
    ) -> Self {
        let Tenants { shared, databases } = tenants;
        let scope = grant.scope(shared);
        let across = classified.as_ref().zip(scope).map(|(classified, scope)| {
            let under = Arc::new(classified.under(scope));
            Arc::new(Admission::new(Rules::Bypass(under), numbers.clone()))
        });
        Self {
            tenants: shared
                .iter()
                .filter(|(tenant, _)| grant.tenants.contains(tenant))
                .map(|(tenant, key)| (tenant.clone(), key.clone()))
                .collect(),
            databases: databases
                .iter()
                .filter(|tenant| grant.tenants.contains(tenant))
                .cloned()
                .collect(),
            closed,
            grant,
            classified,
            across,
            numbers,
        }
    }

    /// The tables that it is over.
    pub fn classified(&self) -> Option<&Arc<Classified>> {
        self.classified.as_ref()
    }

    /// Whether nothing can be written under it.
    pub fn is_read_only(&self) -> bool {
        self.grant.verbs.iter().all(|verb| *verb == Verb::Select)
    }

    /// Whether who took the other one goes on with this one: only its time and its reasons differ.
    pub fn continues(&self, other: &Self) -> bool {
        self.grant.continues(&other.grant)
    }

    /// The tenants of the shared tables that it names.
    pub fn shared_tenants(&self) -> &BTreeMap<TenantId, TenantKey> {
        &self.tenants
    }

    /// The tenants that it names and that have a database of their own.
    pub fn databases(&self) -> &BTreeSet<TenantId> {
        &self.databases
    }

    /// Where the numbers of admissions come from.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// What decides, with the tenant that `tenantry.tenant` names.
    pub(super) fn bind(&self, tenant: Option<&str>) -> Result<Bound, ErrorReport> {
        if self.grant.sight == Sight::Across && tenant.is_some_and(|tenant| !tenant.is_empty()) {
            return Err(ErrorReport::error(
                "42501",
                "this grant shows all its tenants, not the one that tenantry.tenant names [TN6012]",
            )
            .with_hint("RESET tenantry.tenant, and name the tenant in the statement."));
        }
        if self.grant.sight == Sight::Across && !self.databases.is_empty() {
            return Ok(self.bound_to_databases(None));
        }
        match (&self.across, self.grant.sight) {
            (Some(admission), Sight::Across) => Ok(Bound {
                admission: Arc::clone(admission),
                tenant: None,
                reach: Reach::SharedTables,
            }),
            (None, Sight::Across) => Err(ErrorReport::error(
                "57P03",
                "what the tables of the upstream look like is not known yet",
            )),
            (_, Sight::AsTenant) => self.bind_to(tenant.unwrap_or_default()),
        }
    }

    fn bind_to(&self, tenant: &str) -> Result<Bound, ErrorReport> {
        let unbound = || {
            ErrorReport::error("42501", "this grant shows one tenant at a time [TN6009]")
                .with_hint("Choose one of its tenants: SET tenantry.tenant = '..'.")
        };
        let known = |tenant: &TenantId| self.tenants.get(tenant);
        let tenant = TenantId::parse(tenant).map_err(|_invalid| unbound())?;
        if self.databases.contains(&tenant) {
            return Ok(self.bound_to_databases(Some(tenant)));
        }
        let scope = known(&tenant).and_then(|key| self.grant.scope_as(&tenant, key));
        let (Some(classified), Some(scope)) = (&self.classified, scope) else {
            return Err(unbound());
        };
        let rules = Rules::Bypass(Arc::new(classified.under(scope)));
        Ok(Bound {
            admission: Arc::new(Admission::new(rules, self.numbers.clone())),
            tenant: Some(tenant),
            reach: Reach::SharedTables,
        })
    }

    fn bound_to_databases(&self, tenant: Option<TenantId>) -> Bound {
        Bound {
            admission: Arc::clone(&self.closed),
            tenant,
            reach: Reach::Databases,
        }
    }

    /// What decides on statements about these temporary tables of an admin's. Beside them, the shared tables
    /// are open, unless each tenant has to be asked by itself.
    pub(super) fn over(&self, temporary: &[Relation]) -> Option<Arc<Admission>> {
        let scope = if self.databases.is_empty() {
            self.grant.scope(&self.tenants)?
        } else {
            Scope {
                grant: self.grant.name.clone(),
                rows: Rows::Of(BTreeSet::new()),
                tables: TableSet::Listed(BTreeSet::new()),
                verbs: self.grant.verbs.clone(),
                counted: self.grant.counted(),
            }
        };
        let tables = self.classified.as_ref()?.with_temporary(temporary);
        let rules = Rules::Bypass(Arc::new(tables.under(scope)));
        Some(Arc::new(Admission::new(rules, self.numbers.clone())))
    }

    /// Whether it can be taken by this login now.
    pub(super) fn permits(&self, login: &str, now: Duration) -> Result<(), ErrorReport> {
        let refused = |what: &str| {
            let name = &self.grant.name;
            ErrorReport::error("42501", format!("grant \"{name}\" {what} [TN6006]"))
        };
        if !self.grant.is_for(login) {
            return Err(unknown(&self.grant.name));
        }
        match self.grant.validity(now) {
            Validity::Valid => Ok(()),
            Validity::Expired => Err(refused("has expired")),
            Validity::NotYet => Err(refused("is not valid yet")),
        }
    }

    /// What SHOW tells of it.
    pub(super) fn describe(&self, now: Duration) -> String {
        let grant = &self.grant;
        let verbs: Vec<String> = grant.verbs.iter().map(ToString::to_string).collect();
        let tables = match &grant.tables {
            TableSet::All => "all tables".to_owned(),
            TableSet::Listed(tables) => {
                let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
                names.join(", ")
            }
        };
        let tenants = match &grant.tenants {
            TenantSet::All => "all tenants".to_owned(),
            TenantSet::Listed(tenants) => {
                let names: Vec<String> = tenants.iter().map(ToString::to_string).collect();
                names.join(", ")
            }
        };
        let sight = match grant.sight {
            Sight::Across => "",
            Sight::AsTenant => ", as one tenant at a time",
        };
        let rows = grant
            .max_rows
            .map(|rows| format!(", at most {rows} rows"))
            .unwrap_or_default();
        let left = grant.expires.saturating_sub(now);
        format!(
            "{}: {} on {tables} of {tenants}{sight}{rows}; {} left",
            grant.name,
            verbs.join(", "),
            spoken(left)
        )
    }
}

/// What is said of a grant that does not exist, and of one that is for others.
pub(super) fn unknown(name: &str) -> ErrorReport {
    ErrorReport::error(
        "42501",
        format!("grant \"{name}\" is not open to this login [TN6006]"),
    )
    .with_hint("A grant is a file in the directory grants/, which names who may take it.")
}

fn spoken(left: Duration) -> String {
    let seconds = left.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_words() {
        for (seconds, expected) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3_660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), expected);
        }
    }
}
