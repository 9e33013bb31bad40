//! Type names: qualified, unless they are words of PostgreSQL's grammar.

use super::{Rewriter, Rewritten, names};
use crate::isolate::refusal::Reason;
use crate::sql;
use crate::sql::ast::{ArrayElemTypeDef, DataType, ObjectName, TimezoneInfo};

impl Rewriter<'_> {
    /// Qualifies a type's name. What the grammar itself spells (`integer`, `varchar(10)`,
    /// `timestamp with time zone`) is in `pg_catalog` already (`SystemTypeName` in gram.y).
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no type of PostgreSQL's: refused"
    )]
    pub(super) fn data_type(&mut self, data_type: &mut DataType) -> Rewritten<()> {
        if is_spelled_by_grammar(data_type) {
            return Ok(());
        }
        if let Some((name, modifiers)) = system_type(data_type) {
            let name = ObjectName::from(vec![sql::ident("pg_catalog"), sql::ident(name)]);
            *data_type = DataType::Custom(name, modifiers);
            return Ok(());
        }
        match data_type {
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => self.data_type(element),
            DataType::Custom(name, _) => {
                *name = self.type_name(name)?;
                Ok(())
            }
            other => Err(Reason::TypeNotAllowed {
                type_name: other.to_string().to_ascii_lowercase(),
            }
            .into()),
        }
    }

    fn type_name(&self, name: &ObjectName) -> Rewritten<ObjectName> {
        let (schema, type_name) = names::relation(name)?;
        let catalog = self.classified.catalog();
        if let Some(found) = catalog.resolve_type(schema.as_deref(), &type_name) {
            return Ok(ObjectName::from(vec![
                sql::ident(&found.schema),
                sql::ident(&found.name),
            ]));
        }
        let message = format!("type \"{type_name}\" does not exist");
        Err(self.refuse_at(
            name,
            Reason::AsPostgres {
                sqlstate: "42704",
                message,
            },
        ))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "anything else is looked at, or refused, later"
)]
fn is_spelled_by_grammar(data_type: &DataType) -> bool {
    let has_zone_words = |zone: &TimezoneInfo| match zone {
        TimezoneInfo::None | TimezoneInfo::WithTimeZone | TimezoneInfo::WithoutTimeZone => true,
        TimezoneInfo::Tz => false,
    };
    match data_type {
        DataType::Character(_)
        | DataType::Char(_)
        | DataType::CharacterVarying(_)
        | DataType::CharVarying(_)
        | DataType::Varchar(_)
        | DataType::Numeric(_)
        | DataType::Decimal(_)
        | DataType::Dec(_)
        | DataType::Float(_)
        | DataType::SmallInt(None)
        | DataType::Int(None)
        | DataType::Integer(None)
        | DataType::BigInt(None)
        | DataType::Real
        | DataType::DoublePrecision
        | DataType::Boolean
        | DataType::Interval { .. }
        | DataType::Bit(_)
        | DataType::BitVarying(_) => true,
        DataType::Time(_, zone) | DataType::Timestamp(_, zone) => has_zone_words(zone),
        _ => false,
    }
}

/// The name and modifiers of a type that the parser knows but PostgreSQL's grammar does not.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "anything else is looked at, or refused, later"
)]
fn system_type(data_type: &DataType) -> Option<(&'static str, Vec<String>)> {
    let name = match data_type {
        DataType::Bool => "bool",
        DataType::Bytea => "bytea",
        DataType::Date => "date",
        DataType::Float4 => "float4",
        DataType::Float8 => "float8",
        DataType::Int2(None) => "int2",
        DataType::Int4(None) => "int4",
        DataType::Int8(None) => "int8",
        DataType::JSON => "json",
        DataType::JSONB => "jsonb",
        DataType::Regclass => "regclass",
        DataType::Text => "text",
        DataType::TsQuery => "tsquery",
        DataType::TsVector => "tsvector",
        DataType::Uuid => "uuid",
        DataType::Time(precision, TimezoneInfo::Tz) => {
            return Some(("timetz", modifier(*precision)));
        }
        DataType::Timestamp(precision, TimezoneInfo::Tz) => {
            return Some(("timestamptz", modifier(*precision)));
        }
        _ => return None,
    };
    Some((name, Vec::new()))
}

fn modifier(precision: Option<u64>) -> Vec<String> {
    precision
        .map(|precision| precision.to_string())
        .into_iter()
        .collect()
}
