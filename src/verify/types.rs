//! What is known of a value without asking the server.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::catalog::{Catalog, Oid, Type, TypeKind, oid};
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::remedy::MaskedColumn;

/// Whether a value depends on rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// A bound parameter, the clock, or what is computed from constants: known when rows are asked for.
    Constant,
    /// A literal, which is converted while the statement is planned, whatever the rows.
    Literal,
    /// It is NULL wherever a row of another tenant takes part.
    Masked,
    /// Anything else.
    Varying,
}

/// Whether a text is short enough for functions that need several times its bytes: PostgreSQL refuses
/// to ask for more than a gigabyte at once, and foreign texts may be that long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Size {
    /// It has a declared length, or came with the client's message.
    Bounded,
    /// It may be of any length.
    Unbounded,
}

impl Origin {
    /// Whether it depends on no row.
    pub(super) fn is_constant(self) -> bool {
        match self {
            Self::Constant | Self::Literal => true,
            Self::Masked | Self::Varying => false,
        }
    }

    /// Where a value comes from that is NULL if one of these is.
    pub(super) fn of_strict(origins: impl IntoIterator<Item = Self>) -> Self {
        let mut origin = Self::Constant;
        for one in origins {
            origin = match (origin, one) {
                (Self::Varying, _) | (_, Self::Varying) => Self::Varying,
                (Self::Masked, _) | (_, Self::Masked) => Self::Masked,
                (Self::Constant | Self::Literal, Self::Constant | Self::Literal) => Self::Constant,
            };
        }
        origin
    }
}

impl Size {
    /// The size of what may be one or the other.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bounded, Self::Bounded) => Self::Bounded,
            (Self::Unbounded, _) | (_, Self::Unbounded) => Self::Unbounded,
        }
    }
}

/// An untyped parameter of the client, at one place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Untyped {
    /// Its number.
    pub(super) number: u16,
    /// Where it stands in the client's text.
    pub(super) location: i32,
}

/// A value that can be computed without failing, warning or acting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Value {
    /// Its type, domains taken off; [`oid::UNKNOWN`] for a literal or parameter without a type.
    pub(super) oid: Oid,
    /// The collation of the column that it is, or 0.
    pub(super) collation: Oid,
    /// The modifier of the column that it is, such as a precision; or -1.
    pub(super) typmod: i32,
    /// Where it comes from.
    pub(super) origin: Origin,
    /// How long it may be, if it is a text.
    pub(super) size: Size,
    /// The parameter that it is, if the client left its type open.
    pub(super) untyped: Option<Untyped>,
    /// The columns that it is computed from, as far as masks could hide them.
    pub(super) columns: Columns,
}

/// Columns of tables with tenants' rows.
pub(super) type Columns = Rc<BTreeSet<MaskedColumn>>;

/// A value, or why computing it is not silent.
pub(super) type Typed = Result<Value, Refusal>;

/// A column of a range entry or of a query's result.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// What it holds.
    pub(super) value: Typed,
    /// Whether PostgreSQL can compute it only behind a grouping or a window.
    pub(super) behind: bool,
}

/// The database's own collation.
pub(super) const DEFAULT_COLLATION: Oid = 100;

/// The type of a value whose type nothing tells.
pub(super) const OPAQUE: Oid = 0;

/// Domains over domains: more than this are not followed.
const DOMAINS_MAX: usize = 16;

impl Value {
    /// A constant of this type.
    pub(super) fn constant(oid: Oid) -> Self {
        Self {
            oid,
            collation: 0,
            typmod: -1,
            origin: Origin::Constant,
            size: Size::Bounded,
            untyped: None,
            columns: Columns::default(),
        }
    }

    /// A literal of this type.
    pub(super) fn literal(oid: Oid) -> Self {
        Self {
            origin: Origin::Literal,
            ..Self::constant(oid)
        }
    }

    /// A computed value of this type.
    pub(super) fn varying(oid: Oid) -> Self {
        Self {
            origin: Origin::Varying,
            size: Size::Unbounded,
            ..Self::constant(oid)
        }
    }
}

/// The type under a domain.
pub(super) fn base(catalog: &Catalog, type_oid: Oid) -> Oid {
    let mut base = type_oid;
    for _ in 0..DOMAINS_MAX {
        match catalog.type_by_oid(base).map(|found| found.kind) {
            Some(TypeKind::Domain(under)) => base = under,
            Some(
                TypeKind::Array(_)
                | TypeKind::Base
                | TypeKind::Composite
                | TypeKind::Enum
                | TypeKind::Multirange
                | TypeKind::Pseudo
                | TypeKind::Range,
            ) => return base,
            None => return OPAQUE,
        }
    }
    OPAQUE
}

/// The elements' type, if this is an array.
pub(super) fn element(catalog: &Catalog, type_oid: Oid) -> Option<Oid> {
    match catalog.type_by_oid(type_oid)?.kind {
        TypeKind::Array(element) => Some(base(catalog, element)),
        TypeKind::Base
        | TypeKind::Composite
        | TypeKind::Domain(_)
        | TypeKind::Enum
        | TypeKind::Multirange
        | TypeKind::Pseudo
        | TypeKind::Range => None,
    }
}

/// The array type over an element type.
pub(super) fn array_of(catalog: &Catalog, element: Oid) -> Option<&Type> {
    catalog
        .types
        .iter()
        .find(|candidate| candidate.kind == TypeKind::Array(element))
}

/// The columns that values are computed from.
pub(super) fn all_columns<'v>(values: impl IntoIterator<Item = &'v Value>) -> Columns {
    let columns = values.into_iter().flat_map(|value| value.columns.iter());
    Columns::new(columns.copied().collect())
}

/// Whether values of this type are compared by a collation.
pub(super) fn is_text(type_oid: Oid) -> bool {
    matches!(type_oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME)
}

/// Types whose comparisons with one another are all silent.
pub(super) fn family(type_oid: Oid) -> Oid {
    match type_oid {
        oid::INT2 | oid::INT4 | oid::INT8 => oid::INT8,
        oid::TEXT | oid::VARCHAR | oid::BPCHAR => oid::TEXT,
        oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ => oid::TIMESTAMPTZ,
        other => other,
    }
}

/// The value of a column to which two queries, or two rows, contribute.
pub(super) fn united(one: &Typed, other: &Typed) -> Typed {
    match (one, other) {
        (Ok(one), Ok(other)) if one.oid == other.oid && one.collation == other.collation => {
            Ok(Value {
                origin: if one.origin == other.origin {
                    one.origin
                } else {
                    Origin::Varying
                },
                untyped: None,
                size: one.size.or(other.size),
                typmod: if one.typmod == other.typmod {
                    one.typmod
                } else {
                    -1
                },
                columns: all_columns([one, other]),
                ..one.clone()
            })
        }
        // The conversion of one of them could fail.
        (Ok(_), Ok(_)) => Err(Reason::not_silent("a column of two types").into()),
        (Err(refusal), _) | (_, Err(refusal)) => Err(refusal.clone()),
    }
}
