//! The walk over both trees: what it carries, and the comparisons that every part of it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::pattern::Pattern;
use super::scope::{Extent, Level, Output, Tenancy, Test};
use super::types::{self, Untyped, Value};
use super::via::is_owner;
use super::{Claim, bare, words};
use crate::catalog::{Catalog, Oid, Relation, RelationName, oid};
use crate::isolate::copying::Copying;
use crate::isolate::refusal::{BeyondGrant, Reason, Refusal};
use crate::isolate::remedy::Mention;
use crate::isolate::template::{Reading, SlotType};
use crate::tenant::{Classified, TenantColumn, Verb};

/// The outcome of a comparison.
pub(super) type Checked<T = ()> = Result<T, Refusal>;

/// A part of the client's tree, and the same part of the rewritten one.
pub(super) type Pair<'p, T> = (&'p T, &'p T);

/// Takes a node of each tree apart: each field becomes a pair. A field that is not named breaks the
/// build, and one that is not used is warned of.
macro_rules! both {
    ($kind:ident, $original:expr, $rewritten:expr, { $($field:ident),* $(,)? }) => {
        let original: &pg_query::protobuf::$kind = $original;
        let rewritten: &pg_query::protobuf::$kind = $rewritten;
        let pg_query::protobuf::$kind { $($field),* } = original;
        $( let $field = ($field, &rewritten.$field); )*
    };
}
pub(super) use both;

/// A common table expression that can be seen.
#[derive(Debug)]
pub(super) struct VisibleCte {
    /// Its name.
    pub(super) name: String,
    /// The names of its columns, where it lists them.
    pub(super) names: Vec<String>,
    /// Whether a recursive reference to it sees no other columns than those of its query.
    pub(super) inside: Extent,
    /// What it gives; none where that is not known yet.
    pub(super) output: Option<Output>,
}

/// The state of the walk.
pub(super) struct Proof<'a> {
    claim: &'a Claim<'a>,
    /// The query levels, from the outside in.
    pub(super) levels: Vec<Level>,
    /// The common table expressions that can be seen; a later one hides an earlier one.
    pub(super) ctes: Vec<VisibleCte>,
    /// What each sub-select of an expression gives, by its node in the client's tree.
    pub(super) sublinks: BTreeMap<*const pg::SubLink, Output>,
    /// Whether a sub-select that PostgreSQL may join with the query around it was met.
    pub(super) joined: Tenancy,
    /// Whether the next query level is LATERAL to tenants' rows.
    pub(super) lateral: Tenancy,
    /// Where the slots that were recognised stand in the rewritten text.
    slots: BTreeSet<(usize, u16)>,
    /// The types that the places of each untyped parameter give it.
    uses: BTreeMap<u16, BTreeMap<i32, Oid>>,
    /// The first operator by which an index could order rows.
    pub(super) ordering: Option<Refusal>,
    /// Whether any table of tenants is read or written.
    pub(super) touched: Tenancy,
    /// The recursive query whose first part comes next, by its place in `ctes`.
    pub(super) recursive: Option<usize>,
    /// How often numbers of transactions are named.
    pub(super) xids: usize,
    /// A call of `age` that may be of one.
    pub(super) age: Option<Refusal>,
    /// The first volatile function of the expression that is compared.
    pub(super) volatile: Option<Refusal>,
    /// Whether the client's parameters come by Bind.
    pub(super) binds: bool,
    /// The parameters that are patterns of LIKE.
    pub(super) patterns: BTreeSet<Pattern>,
    /// How many EXECUTE this point is an argument of; they take no sub-select.
    pub(super) executes: usize,
    /// How many conditions are around this point.
    pub(super) judging: usize,
    /// The untyped parameters of conditions.
    pub(super) relied: BTreeSet<u16>,
    /// What is done to which table, under a scope.
    pub(super) done: BTreeSet<(RelationName, Verb)>,
    /// Which way rows go, if the statement is a COPY.
    pub(super) copying: Option<Copying>,
    /// How many definitions of views are around this point.
    pub(super) views: usize,
    /// Where the view is named in whose definition this point is.
    pub(super) within: Option<Mention>,
    /// The definitions that took the place of views.
    pub(super) definitions: Vec<Rc<NodeEnum>>,
}

impl<'a> Proof<'a> {
    /// A proof at its beginning.
    pub(super) fn new(claim: &'a Claim<'a>) -> Self {
        Self {
            claim,
            levels: Vec::new(),
            ctes: Vec::new(),
            sublinks: BTreeMap::new(),
            joined: Tenancy::Free,
            lateral: Tenancy::Free,
            slots: BTreeSet::new(),
            uses: BTreeMap::new(),
            ordering: None,
            touched: Tenancy::Free,
            recursive: None,
            xids: usize::from(claim.declared_types.contains(&oid::XID)),
            age: None,
            volatile: None,
            binds: false,
            patterns: BTreeSet::new(),
            executes: 0,
            judging: 0,
            relied: BTreeSet::new(),
            done: BTreeSet::new(),
            copying: None,
            views: 0,
            within: None,
            definitions: Vec::new(),
        }
    }

    /// The client's text.
    pub(super) fn original_text(&self) -> &'a str {
        self.claim.original
    }

    /// How the rewriter read it.
    pub(super) fn reading(&self) -> &'a Reading {
        self.claim.reading
    }

    /// The catalog and the policy.
    pub(super) fn classified(&self) -> &'a Classified {
        self.claim.classified
    }

    /// The catalog.
    pub(super) fn catalog(&self) -> &'a Catalog {
        self.claim.classified.catalog()
    }

    /// Refuses what the grant does not allow, and takes note of what it does.
    pub(super) fn permitted(
        &mut self,
        relation: &Relation,
        verb: Verb,
        at: Option<usize>,
    ) -> Checked {
        if self.classified().scope().is_none() {
            return Ok(());
        }
        if !self.classified().permits(verb) {
            let relation = relation.name.to_string();
            return Err(refuse(BeyondGrant::Verb { relation, verb }.into(), at));
        }
        self.done.insert((relation.name.clone(), verb));
        Ok(())
    }

    /// The innermost query level.
    pub(super) fn level(&mut self) -> Checked<&mut Level> {
        self.levels
            .last_mut()
            .ok_or_else(|| differs("a clause outside of a query"))
    }

    /// What must hold once both trees were walked.
    pub(super) fn finish(&self) -> Checked {
        if let (1.., Some(refusal)) = (self.xids, &self.age) {
            return Err(refusal.clone());
        }
        let claimed: BTreeSet<(usize, u16)> = self
            .claim
            .template
            .slots
            .iter()
            .map(|slot| (slot.offset, slot.number))
            .collect();
        let in_order = self
            .claim
            .template
            .slots
            .windows(2)
            .all(|pair| matches!(pair, [one, next] if one.offset < next.offset));
        if !in_order || claimed != self.slots {
            return Err(differs("the places of the tenant's parameters"));
        }
        for slot in &self.claim.template.slots {
            if self.slot_type(slot.number) != Some(slot.slot_type) {
                return Err(differs("the type of a tenant's parameter"));
            }
        }
        if let (Tenancy::Scoped, Some(refusal)) = (self.touched, &self.ordering) {
            return Err(refusal.clone());
        }
        self.parameters_have_one_type()
    }

    /// An untyped parameter has the type that PostgreSQL finds first. What was proved of it holds only
    /// if all its places say the same.
    fn parameters_have_one_type(&self) -> Checked {
        if self.touched == Tenancy::Free || self.relied.is_empty() {
            return Ok(());
        }
        let tokens = words::scan(self.claim.original)?;
        let counts = words::parameters(self.claim.original, &tokens)?;
        let relied = |(number, _): &(&u16, _)| self.relied.contains(number);
        for (number, places) in self.uses.iter().filter(relied) {
            // `$1 IS NULL` says nothing.
            let said = places
                .values()
                .filter(|type_oid| **type_oid != types::OPAQUE);
            let mut families = said.map(|type_oid| types::family(*type_oid));
            let first = families.next();
            let agree = families.all(|family| Some(family) == first);
            if !agree || counts.get(number) != Some(&places.len()) {
                let what = format!("parameter ${number} without a declared type");
                return Err(Reason::not_silent(what).into());
            }
        }
        Ok(())
    }

    /// Takes note that a place gives an untyped parameter this type.
    pub(super) fn use_as(&mut self, untyped: Option<Untyped>, type_oid: Oid) {
        if let Some(Untyped { number, location }) = untyped {
            let places = self.uses.entry(number).or_default();
            places.insert(location, type_oid);
            if self.judging > 0 {
                self.relied.insert(number);
            }
        }
    }

    /// A parameter of the client, as a value.
    pub(super) fn parameter(&self, parameter: pg::ParamRef) -> Checked<Value> {
        let pg::ParamRef { number, location } = parameter;
        let number = u16::try_from(number).map_err(|_error| Reason::ParameterNumber)?;
        let declared = usize::from(number)
            .checked_sub(1)
            .and_then(|index| self.claim.declared_types.get(index))
            .copied()
            .filter(|declared| *declared != 0 && *declared != oid::UNKNOWN);
        Ok(match declared {
            Some(declared) => Value::constant(types::base(self.catalog(), declared)),
            None => Value {
                untyped: Some(Untyped { number, location }),
                ..Value::constant(oid::UNKNOWN)
            },
        })
    }

    /// Whether a number is one of the client's parameters.
    pub(super) fn is_clients(&self, number: i32) -> bool {
        number >= 1 && number <= i32::from(self.claim.template.client_parameters)
    }

    fn slot_type(&self, number: u16) -> Option<SlotType> {
        let index = number.checked_sub(self.claim.template.client_parameters)?;
        let index = usize::from(index).checked_sub(1)?;
        let types = &self.claim.template.tenant_parameters;
        types.get(index).copied()
    }

    /// Recognises a slot, `$k::pg_catalog.type`, and takes note of it.
    pub(super) fn slot(&mut self, rewritten: &Node, wanted: SlotType) -> Checked {
        let wrong = || differs("a place of the tenant's value");
        let Some(NodeEnum::TypeCast(cast)) = &rewritten.node else {
            return Err(wrong());
        };
        let pg::TypeCast {
            arg,
            type_name,
            location: _,
        } = &**cast;
        let Some(NodeEnum::ParamRef(parameter)) = arg.as_ref().and_then(|arg| arg.node.as_ref())
        else {
            return Err(wrong());
        };
        let number = u16::try_from(parameter.number).map_err(|_error| wrong())?;
        let offset = usize::try_from(parameter.location).map_err(|_error| wrong())?;
        let is_type = type_name.as_ref().is_some_and(|name| match wanted {
            SlotType::Any(element) => is_array_type(name, element.name()),
            SlotType::Database | SlotType::Login | SlotType::One(_) => {
                is_plain_type(name, wanted.name())
            }
        });
        if !is_type
            || self.slot_type(number) != Some(wanted)
            || !self.slots.insert((offset, number))
        {
            return Err(wrong());
        }
        Ok(())
    }

    /// Recognises a tenant test, `alias.column OPERATOR(pg_catalog.=) slot`, the owner of the row referred to in place of the column, or `.. = ANY (slot)` where
    /// the rows of several tenants are seen.
    pub(super) fn test(&mut self, rewritten: &Node, test: &Test) -> Checked {
        let wanted = match self.classified().tenant_column() {
            TenantColumn::Hidden => SlotType::One(test.column_type),
            TenantColumn::Visible => SlotType::Any(test.column_type),
        };
        if is_owner(
            self.is_own(rewritten, wanted)?,
            &test.alias,
            &test.ownership,
        ) {
            Ok(())
        } else {
            Err(differs("a tenant's predicate"))
        }
    }

    /// Recognises the comparison of a value with a slot, and gives the value.
    pub(super) fn is_own<'n>(
        &mut self,
        rewritten: &'n Node,
        wanted: SlotType,
    ) -> Checked<&'n Node> {
        let wrong = || differs("a tenant's predicate");
        let Some(NodeEnum::AExpr(operation)) = &rewritten.node else {
            return Err(wrong());
        };
        let pg::AExpr {
            kind,
            name,
            lexpr: Some(value),
            rexpr: Some(slot),
            rexpr_list_start: _,
            rexpr_list_end: _,
            location: _,
        } = &**operation
        else {
            return Err(wrong());
        };
        let wanted_kind = match wanted {
            SlotType::Any(_) => pg::AExprKind::AexprOpAny,
            SlotType::Database | SlotType::Login | SlotType::One(_) => pg::AExprKind::AexprOp,
        };
        if *kind != i32::from(wanted_kind) || path(name).as_deref() != Some(&["pg_catalog", "="]) {
            return Err(wrong());
        }
        self.slot(slot, wanted)?;
        Ok(value)
    }

    /// Compares two lists of expressions, element by element.
    pub(super) fn expressions(&mut self, pair: Pair<'_, Vec<Node>>, what: &str) -> Checked {
        let (original, rewritten) = pair;
        if original.len() != rewritten.len() {
            return Err(differs(what));
        }
        for (original, rewritten) in original.iter().zip(rewritten) {
            self.expression(original, rewritten)?;
        }
        Ok(())
    }

    /// Compares two expressions that may be absent.
    pub(super) fn optional(&mut self, pair: Pair<'_, Option<Box<Node>>>, what: &str) -> Checked {
        match pair {
            (Some(original), Some(rewritten)) => self.expression(original, rewritten),
            (None, None) => Ok(()),
            (Some(_), None) | (None, Some(_)) => Err(differs(what)),
        }
    }
}

/// Whether a type's name is `pg_catalog.name[]`, without anything else.
fn is_array_type(name: &pg::TypeName, element: &str) -> bool {
    let mut plain = name.clone();
    let bounds = std::mem::take(&mut plain.array_bounds);
    let open = NodeEnum::Integer(pg::Integer { ival: -1 });
    let one = matches!(bounds.as_slice(), [bound] if bound.node.as_ref() == Some(&open));
    one && is_plain_type(&plain, element)
}

/// Whether a type's name is `pg_catalog.name`, without anything else.
pub(super) fn is_plain_type(name: &pg::TypeName, wanted: &str) -> bool {
    let pg::TypeName {
        names,
        type_oid: 0,
        setof: false,
        pct_type: false,
        typmods,
        typemod: -1,
        array_bounds,
        location: _,
    } = name
    else {
        return false;
    };
    typmods.is_empty()
        && array_bounds.is_empty()
        && path(names).as_deref() == Some(&["pg_catalog", wanted])
}

/// A list of names, if it is nothing else.
pub(super) fn path(names: &[Node]) -> Option<Vec<&str>> {
    names
        .iter()
        .map(|name| match &name.node {
            Some(NodeEnum::String(pg::String { sval })) => Some(sval.as_str()),
            Some(_) | None => None,
        })
        .collect()
}

/// The names of a column reference, if it is one without `*`.
pub(super) fn column_path(node: &Node) -> Option<Vec<&str>> {
    match &node.node {
        Some(NodeEnum::ColumnRef(pg::ColumnRef {
            fields,
            location: _,
        })) => path(fields),
        Some(_) | None => None,
    }
}

/// Compares what has no positions in it.
pub(super) fn equal<T: PartialEq>(pair: Pair<'_, T>, what: &str) -> Checked {
    if pair.0 == pair.1 {
        Ok(())
    } else {
        Err(differs(what))
    }
}

/// Compares lists that must not change, positions aside.
pub(super) fn unchanged(pair: Pair<'_, Vec<Node>>, what: &str) -> Checked {
    if bare::same_list(pair.0, pair.1)? {
        Ok(())
    } else {
        Err(differs(what))
    }
}

/// Refuses a clause that is not supported, on either side.
pub(super) fn absent<T>(pair: Pair<'_, Option<T>>, construct: &str) -> Checked {
    match pair {
        (None, None) => Ok(()),
        (Some(_), _) => Err(unsupported(construct)),
        (None, Some(_)) => Err(differs(construct)),
    }
}

/// Refuses a list that is not supported, on either side.
pub(super) fn empty<T>(pair: Pair<'_, Vec<T>>, construct: &str) -> Checked {
    match (pair.0.is_empty(), pair.1.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => Err(unsupported(construct)),
        (true, false) => Err(differs(construct)),
    }
}

/// Positions differ; the client's is used for refusals.
pub(super) fn position(pair: Pair<'_, i32>) -> Option<usize> {
    usize::try_from(*pair.0).ok()
}

/// Positions differ, and nobody asks.
pub(super) fn anywhere(_pair: Pair<'_, i32>) {}

/// A refusal of something that the client wrote.
pub(super) fn refuse(reason: Reason, position: Option<usize>) -> Refusal {
    Refusal { reason, position }
}

/// A construct that is not supported.
pub(super) fn unsupported(construct: &str) -> Refusal {
    Reason::ConstructNotSupported {
        construct: construct.to_owned(),
    }
    .into()
}

/// The rewritten statement is not what it must be.
pub(super) fn differs(what: &str) -> Refusal {
    Reason::Unproved {
        what: what.to_owned(),
    }
    .into()
}
