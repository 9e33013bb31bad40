//! Types, by object identifier.

use serde::{Deserialize, Serialize};

/// An object identifier.
pub type Oid = u32;

/// `pg_type.typtype`, with arrays told apart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum TypeKind {
    /// An array of the element type.
    Array(Oid),
    /// `b`
    Base,
    /// `c`: the row type of a relation, or a free-standing composite type.
    Composite,
    /// `d`: a domain over the base type.
    Domain(Oid),
    /// `e`
    Enum,
    /// `m`
    Multirange,
    /// `p`
    Pseudo,
    /// `r`
    Range,
}

/// One type.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Type {
    /// `pg_type.oid`
    pub oid: Oid,
    /// Its schema.
    pub schema: String,
    /// `typname`, such as `int4`.
    pub name: String,
    /// What it is.
    pub kind: TypeKind,
    /// The labels of an enum, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The extension that owns it.
    pub extension: Option<String>,
    /// The functions outside `pg_catalog` that making a value of it runs unseen, as
    /// `schema.name(type, type)`: those of a domain's constraints, and those of casts to it; those of
    /// extensions left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<String>,
}

/// Object identifiers that PostgreSQL fixes in `pg_type.dat`.
pub mod oid {
    use super::Oid;

    /// `bool`
    pub const BOOL: Oid = 16;
    /// `bytea`
    pub const BYTEA: Oid = 17;
    /// `name`
    pub const NAME: Oid = 19;
    /// `int8`
    pub const INT8: Oid = 20;
    /// `int2`
    pub const INT2: Oid = 21;
    /// `int4`
    pub const INT4: Oid = 23;
    /// `text`
    pub const TEXT: Oid = 25;
    /// `oid`
    pub const OID: Oid = 26;
    /// `xid`
    pub const XID: Oid = 28;
    /// `cid`
    pub const CID: Oid = 29;
    /// `float4`
    pub const FLOAT4: Oid = 700;
    /// `float8`
    pub const FLOAT8: Oid = 701;
    /// `unknown`: the type of an untyped literal.
    pub const UNKNOWN: Oid = 705;
    /// `_int2`: arrays of `int2`.
    pub const INT2_ARRAY: Oid = 1005;
    /// `_int4`
    pub const INT4_ARRAY: Oid = 1007;
    /// `_text`
    pub const TEXT_ARRAY: Oid = 1009;
    /// `_int8`
    pub const INT8_ARRAY: Oid = 1016;
    /// `bpchar`, which SQL calls `character(n)`.
    pub const BPCHAR: Oid = 1042;
    /// `varchar`
    pub const VARCHAR: Oid = 1043;
    /// `date`
    pub const DATE: Oid = 1082;
    /// `time`
    pub const TIME: Oid = 1083;
    /// `timestamp`
    pub const TIMESTAMP: Oid = 1114;
    /// `timestamptz`
    pub const TIMESTAMPTZ: Oid = 1184;
    /// `interval`
    pub const INTERVAL: Oid = 1186;
    /// `numeric`
    pub const NUMERIC: Oid = 1700;
    /// `uuid`
    pub const UUID: Oid = 2950;
    /// `_uuid`
    pub const UUID_ARRAY: Oid = 2951;
    /// `jsonb`
    pub const JSONB: Oid = 3802;
    /// `int4range`
    pub const INT4RANGE: Oid = 3904;
    /// `numrange`
    pub const NUMRANGE: Oid = 3906;
    /// `tsrange`
    pub const TSRANGE: Oid = 3908;
    /// `tstzrange`
    pub const TSTZRANGE: Oid = 3910;
    /// `daterange`
    pub const DATERANGE: Oid = 3912;
    /// `int8range`
    pub const INT8RANGE: Oid = 3926;
}
