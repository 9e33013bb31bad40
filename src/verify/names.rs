//! Names of functions, types, operators and collations: resolved by the catalog, allowed by lists.
//!
//! In: a name of the client's, and the same name in the rewritten text. Out: what it means, or why
//! tenants may not use it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{
    Checked, Pair, Proof, both, differs, equal, path, position, refuse, unchanged, unsupported,
};
use super::types;
use crate::catalog::{Oid, Type, TypeKind, oid};
use crate::isolate::refusal::Reason;

/// `name, reason, flags`, see the head of the file.
const FUNCTIONS: &str = include_str!("functions.tsv");

static LISTED: LazyLock<BTreeMap<&'static str, Listed>> = LazyLock::new(|| {
    FUNCTIONS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let name = fields.next()?;
            let _reason = fields.next()?;
            let flags = fields.next()?.split(' ').collect();
            Some((name, Listed { name, flags }))
        })
        .collect()
});

/// A function of `pg_catalog` that tenants may call.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Its name.
    pub(super) name: &'static str,
    flags: Vec<&'static str>,
}

impl Listed {
    /// A function with these flags.
    pub(super) fn new(name: &'static str, flags: Vec<&'static str>) -> Self {
        Self { name, flags }
    }

    /// Whether the file says this of it.
    pub(super) fn is(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// The names of its columns in FROM, where they do not depend on the call.
    pub(super) fn columns(&self) -> Option<Vec<&'static str>> {
        let named = |flag: &&'static str| flag.strip_prefix("columns=");
        self.flags
            .iter()
            .find_map(named)
            .map(|names| names.split('/').collect())
    }
}

/// Operators by which an index gives rows in order, reading entries of all tenants.
const ORDERING: [&str; 16] = [
    "<#>", "<%>", "<+>", "<->", "<->>", "<->>>", "<<#>>", "<<->", "<<->>", "<<<->", "<=>", "<=|",
    "<~>", "|=>", "|=|", "~>",
];

/// The listed function of this name.
pub(super) fn listed(name: &str) -> Option<&'static Listed> {
    LISTED.get(name)
}

impl Proof<'_> {
    /// Compares the names of a function, and refuses it if tenants may not call it.
    pub(super) fn function(
        &self,
        names: Pair<'_, Vec<Node>>,
        at: Option<usize>,
    ) -> Checked<Option<&'static Listed>> {
        let (Some(original), Some(rewritten)) = (path(names.0), path(names.1)) else {
            return Err(differs("a function's name"));
        };
        let forbidden = |function: String| refuse(Reason::FunctionNotAllowed { function }, at);
        let (schema, name) = match original.as_slice() {
            ["pg_catalog", name] => ("pg_catalog", *name),
            [schema, name] => (*schema, *name),
            [name] => match self.schema_of_function(name) {
                Some(schema) => (schema, *name),
                None => return Err(forbidden((*name).to_owned())),
            },
            _ => return Err(forbidden(original.join("."))),
        };
        if rewritten != [schema, name] {
            return Err(differs("a function's name"));
        }
        let full = format!("{schema}.{name}");
        if schema == "pg_catalog" {
            let known = self.catalog().system_functions.contains(name);
            let listed = listed(name).filter(|_| known);
            return listed.map(Some).ok_or_else(|| forbidden(full));
        }
        if self.classified().trusts_function(schema, name) {
            return Ok(None);
        }
        let listed = self.of_extension(schema, name);
        listed.map(Some).ok_or_else(|| forbidden(full))
    }

    /// Where the server would find a function of this name: none if there are several places, since
    /// the arguments' types decide then.
    fn schema_of_function(&self, name: &str) -> Option<&str> {
        let catalog = self.catalog();
        let mut schemas: Vec<&str> = catalog
            .search_path
            .iter()
            .filter(|schema| {
                catalog
                    .functions
                    .iter()
                    .any(|f| f.name == name && f.schema == **schema && f.extension.is_none())
            })
            .map(String::as_str)
            .collect();
        if catalog.system_functions.contains(name) {
            schemas.insert(0, "pg_catalog");
        }
        match schemas.as_slice() {
            [schema] => Some(schema),
            [] => self.schema_of_extension_function(name),
            _ => None,
        }
    }

    fn schema_of_extension_function(&self, name: &str) -> Option<&str> {
        let catalog = self.catalog();
        let path = &catalog.search_path;
        let mut schemas: Vec<&str> = catalog
            .functions
            .iter()
            .filter(|function| function.name == name && path.contains(&function.schema))
            .map(|function| function.schema.as_str())
            .collect();
        schemas.dedup();
        match schemas.as_slice() {
            [schema] => Some(schema),
            _ => None,
        }
    }

    /// Compares the names of an operator, and refuses one that the application has defined.
    pub(super) fn operator(&mut self, names: Pair<'_, Vec<Node>>, at: Option<usize>) -> Checked {
        unchanged(names, "an operator's name")?;
        let parts = path(names.0).unwrap_or_default();
        let (Some(name), 1..=2) = (parts.last(), parts.len()) else {
            return Err(unsupported("an operator's name of several parts"));
        };
        let own = |operator: &crate::catalog::Operator| operator.extension.is_none();
        if self.catalog().operators_named(name).any(own) {
            let operator = (*name).to_owned();
            return Err(refuse(Reason::OperatorNotAllowed { operator }, at));
        }
        if ORDERING.contains(name) && self.ordering.is_none() {
            let what = format!("operator {name}");
            self.ordering = Some(refuse(Reason::not_silent(what), at));
        }
        Ok(())
    }

    /// Compares the names of a type, and refuses one that tenants may not use. Returns the type.
    pub(super) fn type_name(
        &self,
        original: &pg::TypeName,
        rewritten: &pg::TypeName,
    ) -> Checked<Oid> {
        both!(TypeName, original, rewritten, {
            names, type_oid, setof, pct_type, typmods, typemod, array_bounds, location
        });
        let at = position(location);
        equal(type_oid, "a type")?;
        equal(typemod, "a type's modifier")?;
        equal(setof, "SETOF")?;
        equal(pct_type, "%TYPE")?;
        if *setof.0 || *pct_type.0 || *type_oid.0 != 0 {
            return Err(unsupported("SETOF or %TYPE"));
        }
        for modifier in typmods.0 {
            if !matches!(&modifier.node, Some(NodeEnum::AConst(_))) {
                return Err(unsupported("a type modifier that is no constant"));
            }
        }
        unchanged(typmods, "a type's modifiers")?;
        unchanged(array_bounds, "an array's bounds")?;
        let parts = path(names.0).unwrap_or_default();
        let found = match parts.as_slice() {
            [name] => self.catalog().resolve_type(None, name),
            [schema, name] => self.catalog().resolve_type(Some(schema), name),
            _ => None,
        };
        let Some(found) = found else {
            let reason = Reason::AsPostgres {
                sqlstate: "42704",
                message: format!("type \"{}\" does not exist", parts.join(".")),
            };
            return Err(refuse(reason, at));
        };
        if path(names.1).as_deref() != Some(&[found.schema.as_str(), found.name.as_str()]) {
            return Err(differs("a type's name"));
        }
        if !self.is_allowed(found, 0) {
            let type_name = parts.join(".");
            return Err(refuse(Reason::TypeNotAllowed { type_name }, at));
        }
        if array_bounds.0.is_empty() {
            Ok(found.oid)
        } else {
            let array = types::array_of(self.catalog(), found.oid);
            Ok(array.map_or(types::OPAQUE, |array| array.oid))
        }
    }

    /// The types that the client's Parse declares are made from text as well, by Bind.
    pub(super) fn declared_types(&self, declared: &[Oid]) -> Checked {
        for declared in declared {
            // An `xid` is compared with `xmin`: what age() may do with it, `finish` says.
            if matches!(*declared, 0 | oid::UNKNOWN | oid::XID) {
                continue;
            }
            let found = self.catalog().type_by_oid(*declared);
            if !found.is_some_and(|found| self.is_allowed(found, 0)) {
                let type_name =
                    found.map_or_else(|| declared.to_string(), |found| found.name.clone());
                return Err(Reason::TypeNotAllowed { type_name }.into());
            }
        }
        Ok(())
    }

    /// Whether values of a type may be made from text: its input reads no catalog, and it shows no
    /// hidden column.
    pub(super) fn is_allowed(&self, found: &Type, depth: usize) -> bool {
        let of = |oid: Oid| {
            let inner = self.catalog().type_by_oid(oid);
            depth < 8 && inner.is_some_and(|inner| self.is_allowed(inner, depth + 1))
        };
        let is_system = found.schema == "pg_catalog";
        let reads_catalog = found.name.starts_with("reg")
            || found.name.starts_with("pg_")
            || matches!(found.name.as_str(), "aclitem" | "gtsvector" | "refcursor")
            // age() would count everybody's transactions.
            || matches!(found.name.as_str(), "cid" | "txid_snapshot" | "xid" | "xid8");
        if !self.classified().trusts_type(found) {
            return false;
        }
        match found.kind {
            TypeKind::Array(element) => of(element),
            TypeKind::Domain(under) => of(under),
            TypeKind::Base => {
                if is_system {
                    !reads_catalog || found.name == "pg_lsn"
                } else {
                    found.extension.is_some()
                }
            }
            TypeKind::Range | TypeKind::Multirange => is_system || found.extension.is_some(),
            TypeKind::Enum => true,
            TypeKind::Composite | TypeKind::Pseudo => false,
        }
    }
}

/// Compares the names of a collation.
pub(super) fn collation(names: Pair<'_, Vec<Node>>) -> Checked {
    match (path(names.0).as_deref(), path(names.1).as_deref()) {
        (Some([name] | ["pg_catalog", name]), Some(["pg_catalog", rewritten]))
            if name == rewritten =>
        {
            Ok(())
        }
        (Some([_] | ["pg_catalog", _]) | None, _) => Err(differs("a collation's name")),
        (Some(_), _) => Err(unsupported("a collation outside of pg_catalog")),
    }
}
