//! Leave to look across tenants, as an operator wrote it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::tenant::{Rows, Scope, TableSet, TenantId, TenantKey, TenantSet, Verb};

/// What an admin sees under a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sight {
    /// The rows of all its tenants, with the tenant column.
    Across,
    /// `as_tenant = true`: one tenant at a time, and what that tenant sees.
    AsTenant,
}

/// Whether a grant is good at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validity {
    /// Its end has passed.
    Expired,
    /// It begins later.
    NotYet,
    /// It is good.
    Valid,
}

/// Leave to use the escape hatch. Moments are counted from 1970-01-01 00:00 UTC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The stem of its file.
    pub name: String,
    /// `who`: the admin logins that may take it.
    pub who: BTreeSet<String>,
    /// `reason`
    pub reason: String,
    /// `approved_by`: none of `who`.
    pub approved_by: String,
    /// `tenants`
    pub tenants: TenantSet,
    /// `tables`
    pub tables: TableSet,
    /// `verbs`
    pub verbs: BTreeSet<Verb>,
    /// `not_before`
    pub not_before: Option<Duration>,
    /// `expires`: the first moment at which it is no longer good.
    pub expires: Duration,
    /// `max_rows`: of one result.
    pub max_rows: Option<u64>,
    /// `as_tenant`
    pub sight: Sight,
}

impl Grant {
    /// Whether it is good now.
    pub fn validity(&self, now: Duration) -> Validity {
        if now >= self.expires {
            Validity::Expired
        } else if self.not_before.is_some_and(|begin| now < begin) {
            Validity::NotYet
        } else {
            Validity::Valid
        }
    }

    /// Whether it allows the same as the other one: only its time and its reasons differ.
    pub fn continues(&self, other: &Self) -> bool {
        let Self {
            name,
            who,
            reason: _,
            approved_by: _,
            tenants,
            tables,
            verbs,
            not_before: _,
            expires: _,
            max_rows,
            sight,
        } = self;
        *name == other.name
            && *who == other.who
            && *tenants == other.tenants
            && *tables == other.tables
            && *verbs == other.verbs
            && *max_rows == other.max_rows
            && *sight == other.sight
    }

    /// Whether this login may take it.
    pub fn is_for(&self, login: &str) -> bool {
        self.who.contains(login)
    }

    /// The scope over those of these tenants, of one database's shared tables, that it names; none if
    /// it lets nobody look across.
    pub fn scope<'a>(
        &self,
        tenants: impl IntoIterator<Item = (&'a TenantId, &'a TenantKey)>,
    ) -> Option<Scope> {
        let named = tenants
            .into_iter()
            .filter(|(tenant, _)| self.tenants.contains(tenant));
        let keys = named.map(|(_, key)| key.clone()).collect();
        (self.sight == Sight::Across).then(|| self.over(Rows::Of(keys)))
    }

    /// The scope of one tenant of shared tables as that tenant sees them; none if it is not for that.
    pub fn scope_as(&self, tenant: &TenantId, key: &TenantKey) -> Option<Scope> {
        let fits = self.sight == Sight::AsTenant && self.tenants.contains(tenant);
        fits.then(|| self.over(Rows::AsTenant(key.clone())))
    }

    /// The scope over the database that is this tenant's own; none if it does not name the tenant.
    pub fn scope_of_database(&self, tenant: &TenantId) -> Option<Scope> {
        let fits = self.tenants.contains(tenant);
        fits.then(|| self.over(Rows::All))
    }

    fn over(&self, rows: Rows) -> Scope {
        Scope {
            grant: self.name.clone(),
            rows,
            tables: self.tables.clone(),
            verbs: self.verbs.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        let tenants = ["acme", "globex"].map(|name| TenantId::parse(name).unwrap());
        Grant {
            name: "inc-1".to_owned(),
            who: BTreeSet::from(["anna".to_owned()]),
            reason: "INC-1".to_owned(),
            approved_by: "head".to_owned(),
            tenants: TenantSet::Listed(BTreeSet::from(tenants)),
            tables: TableSet::All,
            verbs: BTreeSet::from([Verb::Select]),
            not_before: Some(Duration::from_secs(10)),
            expires: Duration::from_secs(20),
            max_rows: None,
            sight: Sight::Across,
        }
    }

    #[test]
    fn it_begins_and_ends() {
        for (second, expected) in [
            (9, Validity::NotYet),
            (10, Validity::Valid),
            (19, Validity::Valid),
            (20, Validity::Expired),
        ] {
            assert_eq!(
                grant().validity(Duration::from_secs(second)),
                expected,
                "{second}"
            );
        }
    }

    #[test]
    fn a_scope_holds_the_tenants_that_the_grant_names() {
        let ids = ["acme", "globex", "initech"].map(|name| TenantId::parse(name).unwrap());
        let keys = [1, 2, 3].map(TenantKey::Integer);
        let all = || ids.iter().zip(&keys);
        let scope = grant().scope(all()).unwrap();
        assert_eq!(
            scope.rows,
            Rows::Of([1, 2].map(TenantKey::Integer).into_iter().collect())
        );
        assert!(scope.is_read_only());
        assert_eq!(
            grant().scope_as(&ids[0], &keys[0]),
            None,
            "it is not a support view"
        );
        let view = Grant {
            sight: Sight::AsTenant,
            ..grant()
        };
        assert_eq!(view.scope(all()), None);
        assert_eq!(view.scope_as(&ids[2], &keys[2]), None);
        let scope = view.scope_as(&ids[1], &keys[1]).unwrap();
        assert_eq!(scope.rows, Rows::AsTenant(TenantKey::Integer(2)));
        assert_eq!(view.scope_of_database(&ids[2]), None);
    }
}
