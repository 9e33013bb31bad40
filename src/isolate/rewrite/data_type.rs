//! Type names: qualified, unless they are words of PostgreSQL's grammar.

use super::{Rewriter, Rewritten, names};
use crate::isolate::refusal::Reason;
use crate::sql;
use crate::sql::ast::{ArrayElemTypeDef, DataType, ObjectName, TimezoneInfo};

impl Rewriter<'_> {
    /// Qualifies a type's name. What the grammar itself spells (`integer`, `varchar(10)`,
    /// `timestamp with time zone`) is in `pg_catalog` already (`SystemTypeName` in gram.y).
    pub(super) fn data_type(&mut self, data_type: &mut DataType) -> Rewritten<()> {
        let system = |name: &str, modifiers: Vec<String>| {
            DataType::Custom(
                ObjectName::from(vec![sql::ident("pg_catalog"), sql::ident(name)]),
                modifiers,
            )
        };
        let new = match data_type {
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
            | DataType::Time(
                _,
                TimezoneInfo::None | TimezoneInfo::WithTimeZone | TimezoneInfo::WithoutTimeZone,
            )
            | DataType::Timestamp(
                _,
                TimezoneInfo::None | TimezoneInfo::WithTimeZone | TimezoneInfo::WithoutTimeZone,
            )
            | DataType::Interval { .. }
            | DataType::Bit(_)
            | DataType::BitVarying(_) => return Ok(()),
            DataType::Uuid => system("uuid", Vec::new()),
            DataType::Text => system("text", Vec::new()),
            DataType::Bool => system("bool", Vec::new()),
            DataType::Bytea => system("bytea", Vec::new()),
            DataType::Date => system("date", Vec::new()),
            DataType::JSON => system("json", Vec::new()),
            DataType::JSONB => system("jsonb", Vec::new()),
            DataType::Int2(None) => system("int2", Vec::new()),
            DataType::Int4(None) => system("int4", Vec::new()),
            DataType::Int8(None) => system("int8", Vec::new()),
            DataType::Float4 => system("float4", Vec::new()),
            DataType::Float8 => system("float8", Vec::new()),
            DataType::TsVector => system("tsvector", Vec::new()),
            DataType::TsQuery => system("tsquery", Vec::new()),
            DataType::Regclass => {
                return Err(Reason::TypeNotAllowed {
                    type_name: "regclass".to_owned(),
                }
                .into());
            }
            DataType::Time(precision, TimezoneInfo::Tz) => system("timetz", modifier(*precision)),
            DataType::Timestamp(precision, TimezoneInfo::Tz) => {
                system("timestamptz", modifier(*precision))
            }
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
                return self.data_type(element);
            }
            DataType::Custom(name, modifiers) => {
                let modifiers = std::mem::take(modifiers);
                DataType::Custom(self.type_name(name)?, modifiers)
            }
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "no type of PostgreSQL's: refused"
            )]
            other => {
                return Err(Reason::TypeNotAllowed {
                    type_name: other.to_string(),
                }
                .into());
            }
        };
        *data_type = new;
        Ok(())
    }

    fn type_name(&self, name: &ObjectName) -> Rewritten<ObjectName> {
        let (schema, type_name) = names::relation(name)?;
        match self
            .classified
            .catalog()
            .resolve_type(schema.as_deref(), &type_name)
        {
            Some(found) => Ok(ObjectName::from(vec![
                sql::ident(&found.schema),
                sql::ident(&found.name),
            ])),
            None => {
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
    }
}

fn modifier(precision: Option<u64>) -> Vec<String> {
    precision
        .map(|precision| precision.to_string())
        .into_iter()
        .collect()
}
