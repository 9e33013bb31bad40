//! The catalog and the policy together: what each relation is to a tenant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::column::{by_column, is_table};
use super::references::{TellingCheck, pairs};
use super::reviewed::{has_changed, trusts};
use super::via::{ChangedReference, by_parent, owned_so};
use super::view::of_view;
use super::{
    Broken, Ownership, Policy, Rows, Scope, TablePolicy, TableSet, TenantType, Unlisted, Verb,
};
use crate::catalog::{
    Catalog, CatalogVersion, ForeignKeyAction, Relation, RelationKind, RelationName, Type,
    runs_text,
};

/// A relation whose rows belong to tenants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scoped {
    /// What says whose a row is.
    pub ownership: Ownership,
    /// The tenant column's type.
    pub column_type: TenantType,
    /// Whether the server keeps it NOT NULL, as it does in tables only. A row in which it is NULL belongs to
    /// nobody: no test finds it.
    pub not_null: bool,
}

/// Why a relation is closed to tenants.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Closed {
    /// The policy denies it.
    Denied,
    /// The policy names a tenant column that the table does not have.
    NoTenantColumn,
    /// The tenant column may be NULL, here or in a partition or child: such a row belongs to nobody.
    NullableTenantColumn,
    /// A foreign table, or a part of it is one, that the policy does not trust: another server compares there.
    Foreign,
    /// The grant does not name it.
    OutsideGrant,
    /// Conditions of row security run on its rows, those of other tenants among them.
    RowSecurity,
    /// Sequences are reached through their column only.
    Sequence,
    /// It is said to be shared, but has a partition or child that is not.
    SharedParent,
    /// Neither the policy nor a tenant column says what it is.
    Unclassified,
    /// The tenant column's type cannot tell tenants apart safely.
    UnfitTenantColumn,
    /// Reading it runs functions that the policy does not trust, through an index's operator class.
    UntrustedIndex,
    /// The policy names the row that its rows belong to, but nothing makes sure of that row.
    Via(Broken),
    /// A view has no rows of its own: where it is read, its definition takes its place.
    View,
}

/// What a relation is to a tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Class {
    /// It is closed.
    Refused(Closed),
    /// Its rows belong to tenants.
    Scoped(Scoped),
    /// Its rows are common to all.
    Shared {
        /// Whether tenants may write it.
        writable: bool,
    },
}

/// Whether the tenant column is part of what a session sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TenantColumn {
    /// It is not: each row is the session's own.
    Hidden,
    /// It is: rows of several tenants are told apart by it.
    Visible,
}

/// Why tenants must not write a scoped relation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WriteHazard {
    /// A default, a constraint, a domain or an index would run an untrusted function unseen.
    Code {
        /// The function, as `schema.name(types)`.
        function: String,
        /// The relation that it is on.
        relation: RelationName,
    },
    /// A trigger may change the column that says whose a row is, behind the check of its value.
    ChangedReference(Box<ChangedReference>),
    /// A foreign key action would leave or change the tenant.
    ForeignKeyAction {
        /// The constraint.
        constraint: String,
        /// The relation that it is on.
        relation: RelationName,
    },
    /// A foreign key's check would tell of other tenants' rows.
    ForeignKeyCheck(Box<TellingCheck>),
    /// It is no table: what a write sets off is not known here.
    NoTable,
    /// A foreign key action would reach a relation that the grant does not name.
    OutsideGrant {
        /// The constraint.
        constraint: String,
        /// The relation that it is on.
        relation: RelationName,
    },
    /// A rewrite rule would run unseen.
    Rule {
        /// The relation that it is on.
        relation: RelationName,
    },
    /// An untrusted trigger would run unseen.
    Trigger {
        /// The trigger.
        trigger: String,
        /// The relation that it is on.
        relation: RelationName,
    },
    /// A unique key without the tenant column would tell of other tenants' values.
    UniqueKey {
        /// The key.
        key: String,
    },
}

/// A catalog in which every relation is classified, as a tenant sees it, or under the scope of a grant.
#[derive(Clone, Debug)]
pub struct Classified {
    catalog: Arc<Catalog>,
    policy: Arc<Policy>,
    version: CatalogVersion,
    classes: Arc<BTreeMap<RelationName, Class>>,
    scope: Option<Arc<Scope>>,
    temporary: BTreeSet<RelationName>,
}

impl Classified {
    /// Classifies every relation of the catalog by the policy.
    pub fn new(catalog: Catalog, policy: Policy) -> Self {
        let classes = catalog
            .relations
            .iter()
            .map(|relation| {
                let class = match unseen(&catalog, &policy, relation, 0) {
                    Some(closed) => Class::Refused(closed),
                    None => classify(&catalog, &policy, relation, 0),
                };
                (relation.name.clone(), class)
            })
            .collect();
        let version = catalog.version();
        let mut classified = Self {
            catalog: Arc::new(catalog),
            policy: Arc::new(policy),
            version,
            classes: Arc::new(classes),
            scope: None,
            temporary: BTreeSet::new(),
        };
        classified.close_shared_parents();
        classified
    }

    /// The same relations under the scope of a grant.
    #[must_use]
    pub fn under(&self, scope: Scope) -> Self {
        Self {
            scope: Some(Arc::new(scope)),
            ..self.clone()
        }
    }

    /// The same relations and an admin's own temporary tables, which hold what the admin has seen already.
    /// They lie in `pg_temp`, and every scope may read them.
    #[must_use]
    pub fn with_temporary(&self, tables: &[Relation]) -> Self {
        let mut catalog = Catalog::clone(&self.catalog);
        let mut classes = BTreeMap::clone(&self.classes);
        for table in tables {
            classes.insert(table.name.clone(), Class::Shared { writable: false });
        }
        let schema = tables.first().map(|table| table.name.schema.clone());
        catalog.search_path.splice(0..0, schema);
        catalog.relations.extend(tables.iter().cloned());
        Self {
            version: catalog.version(),
            catalog: Arc::new(catalog),
            classes: Arc::new(classes),
            temporary: tables.iter().map(|table| table.name.clone()).collect(),
            ..self.clone()
        }
    }

    /// What statements are confined to beyond the classes; none for a tenant's.
    pub fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// Whether sessions see the tenant column.
    pub fn tenant_column(&self) -> TenantColumn {
        match self.scope.as_ref().map(|scope| &scope.rows) {
            Some(Rows::Of(_)) => TenantColumn::Visible,
            Some(Rows::All | Rows::AsTenant(_)) | None => TenantColumn::Hidden,
        }
    }

    /// Whether anything of this kind may be done.
    pub fn permits(&self, verb: Verb) -> bool {
        self.scope
            .as_ref()
            .is_none_or(|scope| scope.verbs.contains(&verb))
    }

    /// Reading a parent reads its children: a shared relation with a descendant that is not shared
    /// would show that one's rows to everybody.
    fn close_shared_parents(&mut self) {
        let is_shared = |class: Option<&Class>| matches!(class, Some(Class::Shared { .. }));
        let mut open = true;
        while open {
            let closed: Vec<RelationName> = self
                .classes
                .iter()
                .filter(|(name, class)| {
                    is_shared(Some(class))
                        && self
                            .catalog
                            .children(name)
                            .any(|c| !is_shared(self.classes.get(&c.name)))
                })
                .map(|(name, _)| name.clone())
                .collect();
            open = !closed.is_empty();
            for name in closed {
                Arc::make_mut(&mut self.classes).insert(name, Class::Refused(Closed::SharedParent));
            }
        }
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The catalog's version.
    pub fn version(&self) -> CatalogVersion {
        self.version
    }

    /// What this relation is. Under a scope nothing is open that is closed to tenants; but where the
    /// database is one tenant's own, its tables need no tenant column.
    pub fn class(&self, relation: &Relation) -> &Class {
        let class = self.class_of_tables(relation);
        let Some(scope) = &self.scope else {
            return class;
        };
        if self.temporary.contains(&relation.name) {
            return class;
        }
        let is_denied = *class == Class::Refused(Closed::Denied);
        let class = match &scope.rows {
            Rows::All if !is_denied => in_own_database(relation.kind).unwrap_or(class),
            Rows::All | Rows::AsTenant(_) | Rows::Of(_) => class,
        };
        match class {
            Class::Refused(_) => class,
            Class::Scoped(_) | Class::Shared { .. } if scope.tables.contains(&relation.name) => {
                class
            }
            Class::Scoped(_) | Class::Shared { .. } => &Class::Refused(Closed::OutsideGrant),
        }
    }

    pub(super) fn class_of_tables(&self, relation: &Relation) -> &Class {
        self.classes
            .get(&relation.name)
            .unwrap_or(&Class::Refused(Closed::Unclassified))
    }

    /// The scoped relations with their tenant columns, by name.
    pub fn scoped(&self) -> impl Iterator<Item = (&RelationName, &Scoped)> {
        self.classes.iter().filter_map(|(name, class)| match class {
            Class::Scoped(scoped) => Some((name, scoped)),
            Class::Refused(_) | Class::Shared { .. } => None,
        })
    }

    /// The columns of a relation that a session sees: all but the tenant column, where it is hidden.
    pub fn visible_columns<'a>(
        &'a self,
        relation: &'a Relation,
    ) -> Vec<&'a crate::catalog::Column> {
        let hidden = match (self.class(relation), self.tenant_column()) {
            (Class::Scoped(scoped), TenantColumn::Hidden) => scoped.tenant_column(),
            (Class::Refused(Closed::View), TenantColumn::Hidden) => {
                Some(self.tenant_column_of_view(relation))
            }
            (Class::Scoped(_) | Class::Refused(Closed::View), TenantColumn::Visible)
            | (Class::Refused(_) | Class::Shared { .. }, _) => None,
        };
        relation
            .columns
            .iter()
            .filter(|column| Some(column.name.as_str()) != hidden)
            .collect()
    }

    /// Whether a function outside `pg_catalog` was reviewed: `schema.name(types)` is in the policy
    /// for each of its overloads.
    pub fn trusts_function(&self, schema: &str, name: &str) -> bool {
        let mut overloads = self
            .catalog
            .functions_named(name)
            .filter(|function| function.schema == schema)
            .map(|function| format!("{schema}.{name}({})", function.arguments.join(", ")))
            .peekable();
        overloads.peek().is_some() && overloads.all(|signature| self.trusts_signature(&signature))
    }

    /// Whether the policy names each function that making a value of this type runs unseen.
    pub fn trusts_type(&self, found: &Type) -> bool {
        found
            .code
            .iter()
            .all(|signature| self.trusts_signature(signature))
    }

    /// Whether the policy names this `schema.name(types)` with the fingerprint of another definition.
    pub fn has_changed(&self, signature: &str) -> bool {
        has_changed(&self.catalog, &self.policy, signature)
    }

    /// Whether the policy names exactly this `schema.name(types)`, as it is now.
    fn trusts_signature(&self, signature: &str) -> bool {
        trusts(&self.catalog, &self.policy, signature)
    }

    /// Why a write to this relation could reach beyond the tenant, or beyond the scope of a grant; the
    /// closure over foreign key actions, partitions and children. An UPDATE may set any column.
    pub fn write_hazards(&self, relation: &Relation, verb: Verb) -> Vec<WriteHazard> {
        let every = relation.columns.iter().map(|column| column.name.as_str());
        self.hazards_of(relation, verb, &every.collect())
    }

    /// The same of an UPDATE that sets these columns only.
    pub fn update_hazards(
        &self,
        relation: &Relation,
        columns: &BTreeSet<&str>,
    ) -> Vec<WriteHazard> {
        self.hazards_of(relation, Verb::Update, columns)
    }

    fn hazards_of(
        &self,
        relation: &Relation,
        verb: Verb,
        columns: &BTreeSet<&str>,
    ) -> Vec<WriteHazard> {
        let mut hazards = Vec::new();
        match relation.kind {
            RelationKind::PartitionedTable | RelationKind::Table => {}
            RelationKind::CompositeType
            | RelationKind::ForeignTable
            | RelationKind::Index
            | RelationKind::MaterializedView
            | RelationKind::Sequence
            | RelationKind::View => hazards.push(WriteHazard::NoTable),
        }
        self.collect_hazards((relation, verb), &mut BTreeSet::new(), &mut hazards);
        hazards.extend(self.telling_checks(relation, verb, columns));
        if let Some(scope) = &self.scope {
            self.collect_outside_grant(relation, verb, (&scope.tables, &mut hazards));
        }
        hazards
    }

    /// What foreign key actions reach beyond the tables that a grant names. A relation's partitions and
    /// children go with it.
    fn collect_outside_grant(
        &self,
        relation: &Relation,
        verb: Verb,
        (tables, hazards): (&TableSet, &mut Vec<WriteHazard>),
    ) {
        let mut waiting = vec![(relation, verb)];
        let mut seen = BTreeSet::new();
        while let Some((relation, verb)) = waiting.pop() {
            if !seen.insert((&relation.name, verb)) {
                continue;
            }
            let children = self.catalog.children(&relation.name);
            waiting.extend(children.map(|child| (child, verb)));
            for (referring, key) in self.catalog.referring(&relation.name) {
                let action = match verb {
                    Verb::Delete => key.on_delete,
                    Verb::Update => key.on_update,
                    Verb::Insert | Verb::Select => ForeignKeyAction::NoAction,
                };
                let verb = match action {
                    ForeignKeyAction::NoAction | ForeignKeyAction::Restrict => continue,
                    ForeignKeyAction::Cascade => verb,
                    ForeignKeyAction::SetDefault | ForeignKeyAction::SetNull => Verb::Update,
                };
                if !tables.contains(&referring.name) {
                    hazards.push(WriteHazard::OutsideGrant {
                        constraint: key.name.clone(),
                        relation: referring.name.clone(),
                    });
                }
                waiting.push((referring, verb));
            }
        }
    }

    fn collect_hazards(
        &self,
        (relation, verb): (&Relation, Verb),
        seen: &mut BTreeSet<RelationName>,
        hazards: &mut Vec<WriteHazard>,
    ) {
        if !seen.insert(relation.name.clone()) {
            return;
        }
        self.collect_own_hazards(relation, hazards);
        for child in self.catalog.children(&relation.name) {
            self.collect_hazards((child, verb), seen, hazards);
        }
        // Nothing refers to a row that is new.
        if verb == Verb::Insert {
            return;
        }
        for (referring, key) in self.catalog.referring(&relation.name) {
            let acts = |action| match action {
                ForeignKeyAction::Cascade
                | ForeignKeyAction::SetDefault
                | ForeignKeyAction::SetNull => true,
                ForeignKeyAction::NoAction | ForeignKeyAction::Restrict => false,
            };
            if !acts(key.on_delete) && !acts(key.on_update) {
                continue;
            }
            if !self.owns_all_rows() && !self.keeps_tenant(referring, key) {
                hazards.push(WriteHazard::ForeignKeyAction {
                    constraint: key.name.clone(),
                    relation: referring.name.clone(),
                });
            }
            self.collect_hazards((referring, Verb::Update), seen, hazards);
        }
    }

    fn collect_own_hazards(&self, relation: &Relation, hazards: &mut Vec<WriteHazard>) {
        for trigger in &relation.triggers {
            let trusted = self.policy.trusted_triggers.iter().any(|entry| {
                entry.name == trigger.name
                    && (entry.table == relation.name || relation.parents.contains(&entry.table))
            });
            if !trusted {
                hazards.push(WriteHazard::Trigger {
                    trigger: trigger.name.clone(),
                    relation: relation.name.clone(),
                });
            }
        }
        for function in &relation.code {
            if !self.trusts_signature(function) {
                hazards.push(WriteHazard::Code {
                    function: function.clone(),
                    relation: relation.name.clone(),
                });
            }
        }
        for column in &relation.columns {
            let text = column.default.as_deref().unwrap_or_default();
            if let Some(function) = runs_text(text) {
                hazards.push(WriteHazard::Code {
                    function: format!("pg_catalog.{function}"),
                    relation: relation.name.clone(),
                });
            }
        }
        if relation.has_rules {
            hazards.push(WriteHazard::Rule {
                relation: relation.name.clone(),
            });
        }
        if self.owns_all_rows() {
            return;
        }
        let Class::Scoped(scoped) = self.class_of_tables(relation) else {
            return;
        };
        let via = scoped.via().map(|via| &via.column);
        for trigger in &relation.triggers {
            if let Some(column) = via.filter(|column| trigger.may_set.contains(column)) {
                hazards.push(WriteHazard::ChangedReference(Box::new(ChangedReference {
                    trigger: trigger.name.clone(),
                    relation: relation.name.clone(),
                    column: column.clone(),
                })));
            }
        }
        if self.accepts_existence_leak(relation) {
            return;
        }
        for key in &relation.keys {
            let decides = |column: &String| column == scoped.deciding_column();
            if !key.columns.iter().any(decides) {
                hazards.push(WriteHazard::UniqueKey {
                    key: key.name.clone(),
                });
            }
        }
    }

    /// Whether there is no row of another tenant.
    pub(super) fn owns_all_rows(&self) -> bool {
        match self.scope.as_ref().map(|scope| &scope.rows) {
            Some(Rows::All) => true,
            Some(Rows::AsTenant(_) | Rows::Of(_)) | None => false,
        }
    }

    /// Whether a foreign key pairs the tenant columns of both sides, and its actions leave the
    /// referring one alone: SET NULL and SET DEFAULT do, where they are limited to other columns.
    fn keeps_tenant(&self, referring: &Relation, key: &crate::catalog::ForeignKey) -> bool {
        let Class::Scoped(own) = self.class_of_tables(referring) else {
            return false;
        };
        let Some(parent) = self
            .catalog
            .relation(&key.references.schema, &key.references.name)
        else {
            return false;
        };
        let Class::Scoped(theirs) = self.class_of_tables(parent) else {
            return false;
        };
        let sets = |action| {
            matches!(
                action,
                ForeignKeyAction::SetDefault | ForeignKeyAction::SetNull
            )
        };
        // A row that has no tenant column would lose what it refers to its owner by.
        let spares_tenant = |tenant: &str| {
            let set = &key.on_delete_sets;
            !set.is_empty() && set.iter().all(|column| column != tenant)
        };
        let keeps_on_delete =
            !sets(key.on_delete) || own.tenant_column().is_some_and(spares_tenant);
        let keeps = pairs(key, own, theirs) || own.is_owned_by(&self.catalog, key);
        keeps && keeps_on_delete && !sets(key.on_update)
    }
}

/// What a relation is where every row is the tenant's own; none for those that hold no rows, or other
/// relations' rows.
fn in_own_database(kind: RelationKind) -> Option<&'static Class> {
    match kind {
        RelationKind::PartitionedTable | RelationKind::Table => {
            Some(&Class::Shared { writable: true })
        }
        RelationKind::MaterializedView => Some(&Class::Shared { writable: false }),
        RelationKind::CompositeType
        | RelationKind::ForeignTable
        | RelationKind::Index
        | RelationKind::Sequence
        | RelationKind::View => None,
    }
}

/// What of a relation would run on rows of all tenants while it is read. Its partitions and children are read
/// with it; the policies of row security are those of the relation that is named.
pub(super) fn unseen(
    catalog: &Catalog,
    policy: &Policy,
    relation: &Relation,
    depth: usize,
) -> Option<Closed> {
    if depth == 0 && relation.row_security {
        return Some(Closed::RowSecurity);
    }
    let trusted = policy
        .tables
        .get(&relation.name)
        .is_some_and(|table| match table {
            TablePolicy::Scoped { trusted, .. } => *trusted,
            // Its rows are common to all, or nobody gets them.
            TablePolicy::Denied | TablePolicy::Shared { .. } => true,
            TablePolicy::Via { .. } => false,
        });
    if relation.kind == RelationKind::ForeignTable && !trusted {
        return Some(Closed::Foreign);
    }
    let is_trusted = |function: &String| trusts(catalog, policy, function);
    if depth > PARENTS_MAX || !relation.read_code.iter().all(is_trusted) {
        return Some(Closed::UntrustedIndex);
    }
    catalog
        .children(&relation.name)
        .find_map(|child| unseen(catalog, policy, child, depth + 1))
}

/// A partition of a partition of ...: more levels than this are refused.
pub(super) const PARENTS_MAX: usize = 16;

pub(super) fn classify(
    catalog: &Catalog,
    policy: &Policy,
    relation: &Relation,
    depth: usize,
) -> Class {
    match relation.kind {
        RelationKind::ForeignTable
        | RelationKind::MaterializedView
        | RelationKind::PartitionedTable
        | RelationKind::Table => {}
        RelationKind::Sequence => return Class::Refused(Closed::Sequence),
        RelationKind::View => return of_view(catalog, policy, relation),
        RelationKind::CompositeType | RelationKind::Index => {
            return Class::Refused(Closed::Unclassified);
        }
    }
    match policy.tables.get(&relation.name) {
        Some(TablePolicy::Denied) => Class::Refused(Closed::Denied),
        Some(TablePolicy::Shared { writable }) => Class::Shared {
            writable: *writable && is_table(relation.kind),
        },
        Some(TablePolicy::Via {
            column,
            parent,
            parent_column: key,
            ..
        }) => by_parent((catalog, policy), relation, (column, parent, key), depth),
        Some(TablePolicy::Scoped { column, .. }) => by_column(
            catalog,
            relation,
            column.as_ref().unwrap_or(&policy.tenant_column),
        ),
        None => unlisted(catalog, policy, relation, depth),
    }
}

/// A partition or child is what its parent is; two parents must agree.
fn unlisted(catalog: &Catalog, policy: &Policy, relation: &Relation, depth: usize) -> Class {
    if depth > PARENTS_MAX {
        return Class::Refused(Closed::Unclassified);
    }
    let mut inherited: Option<Class> = None;
    for parent in &relation.parents {
        let Some(parent) = catalog.relation(&parent.schema, &parent.name) else {
            return Class::Refused(Closed::Unclassified);
        };
        let class = match classify(catalog, policy, parent, depth + 1) {
            Class::Scoped(scoped) => {
                owned_so((catalog, policy), relation, &scoped.ownership, depth + 1)
            }
            class @ (Class::Refused(_) | Class::Shared { .. }) => class,
        };
        match &inherited {
            Some(other) if *other != class => return Class::Refused(Closed::Unclassified),
            Some(_) => {}
            None => inherited = Some(class),
        }
    }
    if let Some(class) = inherited {
        return class;
    }
    match policy.unlisted {
        Unlisted::ByColumn if relation.column(&policy.tenant_column).is_some() => {
            by_column(catalog, relation, &policy.tenant_column)
        }
        Unlisted::ByColumn | Unlisted::Refuse => Class::Refused(Closed::Unclassified),
    }
}
