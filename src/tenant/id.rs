//! A tenant's name, and its value in the tenant column.

use std::fmt;

use thiserror::Error;

use crate::catalog::{Oid, oid};

/// A tenant's name: the stem of its file, and the database name in its application's DSN.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TenantId(String);

/// Why a name cannot be a tenant's.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "a tenant's name has 1 to 63 of the characters a-z, 0-9, '-' and '_', a letter or digit first"
)]
pub struct InvalidTenantId;

impl TenantId {
    /// Checks a name.
    pub fn parse(name: &str) -> Result<Self, InvalidTenantId> {
        let lead = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if lead && rest && name.len() <= 63 {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidTenantId)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tenant's value in the tenant column, in PostgreSQL's text form once checked.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TenantKey {
    /// `key = 1`
    Integer(i64),
    /// `key = "acme"`
    Text(String),
}

/// A type that a tenant column may have: equality on it is exact, leakproof and bound to no
/// collation's whims.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TenantType {
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `text` and `character varying`
    Text,
    /// `uuid`
    Uuid,
}

/// A tenant's key that a column's type cannot hold.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{key} is no value of type {type_name}")]
pub struct KeyMismatch {
    /// The key.
    pub key: String,
    /// The type's name in `pg_catalog`.
    pub type_name: &'static str,
}

impl TenantType {
    /// The type for a column of this type, if such a column may be a tenant column. `char(n)`,
    /// `citext`, floats and numerics may not: two different keys can be equal in them.
    pub fn of_column(type_oid: Oid) -> Option<Self> {
        match type_oid {
            oid::INT2 => Some(Self::Int2),
            oid::INT4 => Some(Self::Int4),
            oid::INT8 => Some(Self::Int8),
            oid::TEXT | oid::VARCHAR => Some(Self::Text),
            oid::UUID => Some(Self::Uuid),
            _ => None,
        }
    }

    /// The type's name in `pg_catalog`, which a slot is printed with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Text => "text",
            Self::Uuid => "uuid",
        }
    }

    /// The type's object identifier, which a parameter is declared with.
    pub fn oid(self) -> Oid {
        match self {
            Self::Int2 => oid::INT2,
            Self::Int4 => oid::INT4,
            Self::Int8 => oid::INT8,
            Self::Text => oid::TEXT,
            Self::Uuid => oid::UUID,
        }
    }

    /// The key in this type's text form, the one that PostgreSQL itself would print.
    pub fn text(self, key: &TenantKey) -> Result<String, KeyMismatch> {
        let fits = match (self, key) {
            (Self::Int2, TenantKey::Integer(value)) => i16::try_from(*value).is_ok(),
            (Self::Int4, TenantKey::Integer(value)) => i32::try_from(*value).is_ok(),
            (Self::Int8, TenantKey::Integer(_)) => true,
            (Self::Text, TenantKey::Text(value)) => !value.contains('\0'),
            (Self::Uuid, TenantKey::Text(value)) => is_canonical_uuid(value),
            (Self::Int2 | Self::Int4 | Self::Int8, TenantKey::Text(_))
            | (Self::Text | Self::Uuid, TenantKey::Integer(_)) => false,
        };
        if fits {
            Ok(key.to_string())
        } else {
            Err(KeyMismatch {
                key: key.to_string(),
                type_name: self.name(),
            })
        }
    }

    /// The key in this type's binary form, as its `send` function would make it.
    pub fn binary(self, key: &TenantKey) -> Result<Vec<u8>, KeyMismatch> {
        let text = self.text(key)?;
        let mismatch = || KeyMismatch {
            key: text.clone(),
            type_name: self.name(),
        };
        match self {
            Self::Int2 => text
                .parse::<i16>()
                .map(|v| v.to_be_bytes().to_vec())
                .map_err(|_unfit| mismatch()),
            Self::Int4 => text
                .parse::<i32>()
                .map(|v| v.to_be_bytes().to_vec())
                .map_err(|_unfit| mismatch()),
            Self::Int8 => text
                .parse::<i64>()
                .map(|v| v.to_be_bytes().to_vec())
                .map_err(|_unfit| mismatch()),
            Self::Text => Ok(text.into_bytes()),
            Self::Uuid => {
                let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
                digits
                    .chunks(2)
                    .map(|pair| {
                        let pair = std::str::from_utf8(pair).map_err(|_unfit| mismatch())?;
                        u8::from_str_radix(pair, 16).map_err(|_unfit| mismatch())
                    })
                    .collect()
            }
        }
    }
}

/// `uuid_out` prints lower case hexadecimal digits in groups of 8-4-4-4-12.
fn is_canonical_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

impl fmt::Display for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_must_fit_its_column() {
        let one = TenantKey::Integer(1);
        let big = TenantKey::Integer(i64::from(i32::MAX) + 1);
        assert_eq!(TenantType::Int4.text(&one).unwrap(), "1");
        assert!(TenantType::Int4.text(&big).is_err());
        assert_eq!(TenantType::Int8.text(&big).unwrap(), "2147483648");
        assert!(TenantType::Text.text(&one).is_err());
        assert!(
            TenantType::Uuid
                .text(&TenantKey::Text("ACME".into()))
                .is_err()
        );
        let uuid = TenantKey::Text("0123abcd-0000-4000-8000-00000000ffff".into());
        assert_eq!(TenantType::Uuid.binary(&uuid).unwrap().len(), 16);
    }

    #[test]
    fn a_tenants_name_is_plain() {
        assert!(TenantId::parse("acme-2").is_ok());
        for bad in ["", "Acme", "a b", "../x", "_common", "ä", &"a".repeat(64)] {
            assert_eq!(TenantId::parse(bad), Err(InvalidTenantId), "{bad}");
        }
    }
}
