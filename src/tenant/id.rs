//! A tenant's name, and its value in the tenant column.

use std::collections::BTreeSet;
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

/// A set of tenants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TenantSet {
    /// `"*"`: every tenant that is configured.
    All,
    /// These.
    Listed(BTreeSet<TenantId>),
}

impl TenantSet {
    /// Whether the tenant is one of them.
    pub fn contains(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Listed(tenants) => tenants.contains(tenant),
        }
    }
}

/// A tenant's value in the tenant column, in PostgreSQL's text form once checked.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
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

    /// The name of the type of arrays of it, in `pg_catalog`.
    pub fn array_name(self) -> &'static str {
        match self {
            Self::Int2 => "int2[]",
            Self::Int4 => "int4[]",
            Self::Int8 => "int8[]",
            Self::Text => "text[]",
            Self::Uuid => "uuid[]",
        }
    }

    /// The object identifier of the type of arrays of it.
    pub fn array_oid(self) -> Oid {
        match self {
            Self::Int2 => oid::INT2_ARRAY,
            Self::Int4 => oid::INT4_ARRAY,
            Self::Int8 => oid::INT8_ARRAY,
            Self::Text => oid::TEXT_ARRAY,
            Self::Uuid => oid::UUID_ARRAY,
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

    /// The keys as an array in text form, as `array_out` would print it, but for quotes where it sees
    /// no need: every text is quoted, so that none is taken for NULL or for two.
    pub fn array_text(self, keys: &BTreeSet<TenantKey>) -> Result<String, KeyMismatch> {
        let mut elements = Vec::with_capacity(keys.len());
        for key in keys {
            let element = self.text(key)?;
            elements.push(match self {
                Self::Int2 | Self::Int4 | Self::Int8 | Self::Uuid => element,
                Self::Text => {
                    let escaped = element.replace('\\', "\\\\").replace('"', "\\\"");
                    format!("\"{escaped}\"")
                }
            });
        }
        Ok(format!("{{{}}}", elements.join(",")))
    }

    /// The keys as an array in binary form, as `array_send` would make it.
    pub fn array_binary(self, keys: &BTreeSet<TenantKey>) -> Result<Vec<u8>, KeyMismatch> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
        let mut array = Vec::new();
        // The number of dimensions, no NULLs, the type; then length and lower bound of the only one.
        array.extend(u32::from(!keys.is_empty()).to_be_bytes());
        array.extend(0_u32.to_be_bytes());
        array.extend(self.oid().to_be_bytes());
        if !keys.is_empty() {
            array.extend(count(keys.len()));
            array.extend(1_u32.to_be_bytes());
        }
        for key in keys {
            let element = self.binary(key)?;
            array.extend(count(element.len()));
            array.extend(element);
        }
        Ok(array)
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
    fn an_array_of_keys_holds_nothing_else() {
        let texts = |texts: &[&str]| -> BTreeSet<TenantKey> {
            texts
                .iter()
                .map(|text| TenantKey::Text((*text).into()))
                .collect()
        };
        let numbers = |numbers: &[i64]| -> BTreeSet<TenantKey> {
            numbers
                .iter()
                .map(|number| TenantKey::Integer(*number))
                .collect()
        };
        assert_eq!(
            TenantType::Int4.array_text(&numbers(&[2, -1])).unwrap(),
            "{-1,2}"
        );
        assert_eq!(TenantType::Int4.array_text(&numbers(&[])).unwrap(), "{}");
        for (key, element) in [
            ("acme", r#"{"acme"}"#),
            ("a,b", r#"{"a,b"}"#),
            (r#"a"b"#, r#"{"a\"b"}"#),
            (r"a\b", r#"{"a\\b"}"#),
            (r#"\""#, r#"{"\\\""}"#),
            ("NULL", r#"{"NULL"}"#),
            ("", r#"{""}"#),
            ("{}", r#"{"{}"}"#),
            (" a ", r#"{" a "}"#),
            ("it's", r#"{"it's"}"#),
        ] {
            assert_eq!(
                TenantType::Text.array_text(&texts(&[key])).unwrap(),
                element,
                "{key}"
            );
        }
        assert!(TenantType::Text.array_text(&numbers(&[1])).is_err());
        assert!(TenantType::Text.array_text(&texts(&["\0"])).is_err());
        assert!(TenantType::Int2.array_text(&numbers(&[1, 40_000])).is_err());
        let binary = TenantType::Int2.array_binary(&numbers(&[1, 2])).unwrap();
        let expected = [
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0,
            2, 0, 2,
        ];
        assert_eq!(binary, expected);
        let empty = TenantType::Int2.array_binary(&numbers(&[])).unwrap();
        assert_eq!(empty, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 21]);
    }

    #[test]
    fn a_tenants_name_is_plain() {
        assert!(TenantId::parse("acme-2").is_ok());
        for bad in ["", "Acme", "a b", "../x", "_common", "ä", &"a".repeat(64)] {
            assert_eq!(TenantId::parse(bad), Err(InvalidTenantId), "{bad}");
        }
    }
}
