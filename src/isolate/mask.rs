//! NULL of a column's type, as both ways to rewrite write it in a mask.

use crate::catalog::{Catalog, Column, TypeKind, oid};
use crate::sql;

/// The bytes that PostgreSQL adds to a length in a type modifier (`VARHDRSZ`).
const HEADER: i32 = 4;

/// What stands for no precision in the modifier of an interval (`INTERVAL_FULL_PRECISION`).
const INTERVAL_FULL_PRECISION: i32 = 0xffff;

/// Domains over domains: more than this are not followed.
const DOMAINS_MAX: usize = 16;

/// `NULL::schema.type(modifier)`; a modifier that is not known here is left out, which loses it in the
/// description of the result, and nothing else. None where the type is not known.
pub(super) fn null_of(catalog: &Catalog, column: &Column) -> Option<String> {
    let mut found = catalog.type_by_oid(column.type_oid)?;
    // A domain could forbid NULL; what it is made from is described in the same way.
    for _ in 0..DOMAINS_MAX {
        if let TypeKind::Domain(under) = found.kind {
            found = catalog.type_by_oid(under)?;
        }
    }
    let modifier = match column.type_oid {
        _ if column.typmod < 0 => String::new(),
        oid::BPCHAR | oid::VARCHAR => format!("({})", column.typmod - HEADER),
        oid::NUMERIC => {
            let packed = column.typmod - HEADER;
            let (precision, scale) = ((packed >> 16) & 0xffff, packed & 0x7ff);
            // Scales may be negative; the sign is the highest of eleven bits.
            format!("({precision}, {})", (scale ^ 1024) - 1024)
        }
        oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ => format!("({})", column.typmod),
        oid::INTERVAL => {
            let (fields, precision) = ((column.typmod >> 16) & 0x7fff, column.typmod & 0xffff);
            if precision == INTERVAL_FULL_PRECISION {
                format!("({fields})")
            } else {
                format!("({fields}, {precision})")
            }
        }
        _ => String::new(),
    };
    let (schema, name) = (sql::quote(&found.schema), sql::quote(&found.name));
    Some(format!("NULL::{schema}.{name}{modifier}"))
}
