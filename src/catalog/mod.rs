//! A snapshot of what a database looks like, as plain data.
//!
//! In: rows of PostgreSQL's system catalogs (read by `upstream`), or a file written by
//! `tenantry catalog`. Out: [`Catalog`], which resolves names as the server would.
//!
//! # Invariants
//! 1. A catalog is immutable and carries its [`CatalogVersion`]; a verdict made under one version is
//!    never used under another.
//! 2. [`Catalog::resolve`] knows every relation that the server role could name, whether it may be
//!    used or not; what it does not find does not exist.
//!
//! # Not here
//! What a relation is to a tenant: [`crate::tenant`]. How the snapshot is read: `upstream`.

mod relation;
mod text;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use relation::{
    Column, ForeignKey, ForeignKeyAction, Generated, Indexed, Relation, RelationKind, RelationName,
    SYSTEM_COLUMNS, Trigger, UniqueKey, View,
};
pub use text::{qualified_name, runs_text};
pub use types::{Oid, Type, TypeKind, oid};

/// Tells one snapshot from another: a hash of its content.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct CatalogVersion(pub u64);

/// A function, procedure or aggregate outside `pg_catalog`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// The schema it lives in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its input argument types as `pg_get_function_identity_arguments` without names prints them,
    /// each schema-qualified unless in `pg_catalog`: `numeric`, `public.customers`.
    pub arguments: Vec<String>,
    /// The beginning of the SHA-256 of its definition; none of an extension's function or an aggregate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The extension that owns it.
    pub extension: Option<String>,
}

impl Function {
    /// `schema.name(types)`
    pub fn signature(&self) -> String {
        format!(
            "{}.{}({})",
            self.schema,
            self.name,
            self.arguments.join(", ")
        )
    }
}

/// An operator outside `pg_catalog`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The schema it lives in.
    pub schema: String,
    /// Its name, such as `<->`.
    pub name: String,
    /// The left operand's type; 0 for a prefix operator.
    pub left: Oid,
    /// The right operand's type.
    pub right: Oid,
    /// The extension that owns it.
    pub extension: Option<String>,
}

/// What one database looks like.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The server's `server_version_num`, such as 150018.
    pub server_version: u32,
    /// The schemas that an unqualified name is looked up in, `pg_catalog` left out: it always comes
    /// first, as PostgreSQL does when the path does not name it.
    pub search_path: Vec<String>,
    /// Every relation outside the system schemas.
    pub relations: Vec<Relation>,
    /// Every type, those of `pg_catalog` included.
    pub types: Vec<Type>,
    /// Every function outside `pg_catalog`.
    pub functions: Vec<Function>,
    /// Every operator outside `pg_catalog`.
    pub operators: Vec<Operator>,
    /// The names of all functions in `pg_catalog` of this server.
    pub system_functions: BTreeSet<String>,
    /// The names of all relations in `pg_catalog` and `information_schema`, as `schema.name`.
    pub system_relations: BTreeSet<String>,
}

impl Catalog {
    /// A hash of the content.
    pub fn version(&self) -> CatalogVersion {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        // The debug form shows every field; the order of all lists is fixed by the reader.
        format!("{self:?}").hash(&mut hasher);
        CatalogVersion(hasher.finish())
    }

    /// The relation with exactly this name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations
            .iter()
            .find(|relation| relation.name.is(schema, name))
    }

    /// The relation that the server would find, as `RangeVarGetRelid` does: a qualified name is
    /// taken as it is, an unqualified one is searched in `pg_catalog` and then along the path.
    pub fn resolve(&self, schema: Option<&str>, name: &str) -> Resolved<'_> {
        if let Some(schema) = schema {
            return self.resolve_in(schema, name);
        }
        match self.resolve_in("pg_catalog", name) {
            Resolved::Nothing => {}
            found @ (Resolved::Relation(_) | Resolved::System(_)) => return found,
        }
        for schema in &self.search_path {
            match self.resolve_in(schema, name) {
                Resolved::Nothing => {}
                found @ (Resolved::Relation(_) | Resolved::System(_)) => return found,
            }
        }
        Resolved::Nothing
    }

    fn resolve_in(&self, schema: &str, name: &str) -> Resolved<'_> {
        if let Some(relation) = self.relation(schema, name) {
            return Resolved::Relation(relation);
        }
        match self.system_relations.get(&format!("{schema}.{name}")) {
            Some(found) => Resolved::System(found),
            None => Resolved::Nothing,
        }
    }

    /// The type with this object identifier.
    pub fn type_by_oid(&self, oid: Oid) -> Option<&Type> {
        self.types.iter().find(|candidate| candidate.oid == oid)
    }

    /// The type that the server would find, as `LookupTypeName` does.
    pub fn resolve_type(&self, schema: Option<&str>, name: &str) -> Option<&Type> {
        let find = |schema: &str| {
            self.types
                .iter()
                .find(|candidate| candidate.schema == schema && candidate.name == name)
        };
        match schema {
            Some(schema) => find(schema),
            None => find("pg_catalog").or_else(|| self.search_path.iter().find_map(|s| find(s))),
        }
    }

    /// The functions outside `pg_catalog` with this name, in any schema.
    pub fn functions_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Function> {
        self.functions
            .iter()
            .filter(move |function| function.name == name)
    }

    /// The operators outside `pg_catalog` with this name, in any schema.
    pub fn operators_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Operator> {
        self.operators
            .iter()
            .filter(move |operator| operator.name == name)
    }

    /// The direct partitions and inheritance children of a relation.
    pub fn children<'a>(&'a self, parent: &'a RelationName) -> impl Iterator<Item = &'a Relation> {
        self.relations
            .iter()
            .filter(move |relation| relation.parents.contains(parent))
    }

    /// The foreign keys that refer to a relation, with the relations that they are on.
    pub fn referring<'a>(
        &'a self,
        parent: &'a RelationName,
    ) -> impl Iterator<Item = (&'a Relation, &'a ForeignKey)> {
        self.relations.iter().flat_map(move |relation| {
            let keys = relation.foreign_keys.iter();
            keys.filter(move |key| key.references == *parent)
                .map(move |key| (relation, key))
        })
    }

    /// The relations by name, for quick look-ups.
    pub fn by_name(&self) -> BTreeMap<&RelationName, &Relation> {
        self.relations
            .iter()
            .map(|relation| (&relation.name, relation))
            .collect()
    }
}

/// What a relation's name stands for.
#[derive(Clone, Copy, Debug)]
pub enum Resolved<'a> {
    /// No such relation.
    Nothing,
    /// A relation of the application.
    Relation(&'a Relation),
    /// A relation of `pg_catalog` or `information_schema`, as `schema.name`.
    System(&'a str),
}
