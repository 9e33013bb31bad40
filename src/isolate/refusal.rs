//! Why a statement is refused, and what the client is told.

use std::fmt;

use thiserror::Error;

use super::remedy::Remedy;
use crate::tenant::{Broken, Closed, Verb, WriteHazard};

/// The exact reason of a refusal. Each has a code that never changes, a SQLSTATE and a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A column of this name does not exist for the client: it is the tenant column.
    ColumnDoesNotExist {
        /// The name as the client wrote it, possibly qualified.
        column: String,
    },
    /// A command that tenants may not use.
    CommandNotAllowed {
        /// The command's name, such as `CREATE TABLE`.
        command: String,
    },
    /// A condition that could fail, warn or act on another tenant's row.
    ConditionNotSilent {
        /// What in it is not silent, such as `function pg_catalog.lower`.
        what: String,
        /// What may help.
        remedies: Vec<Remedy>,
    },
    /// A construct that is understood by PostgreSQL but not by Tenantry.
    ConstructNotSupported {
        /// The construct's name, such as `TABLESAMPLE`.
        construct: String,
    },
    /// A function that is not on the allow-list and that the policy does not trust.
    FunctionNotAllowed {
        /// The function, such as `public.order_total`.
        function: String,
    },
    /// A function that may run SQL out of the gate's sight, with a role that others use, too.
    FunctionBeyondGate {
        /// The function, as the client wrote it.
        function: String,
    },
    /// Beyond what an admin's grant allows.
    Grant(BeyondGrant),
    /// The two parsers do not read the same words.
    LexersDisagree,
    /// An operator outside `pg_catalog` that could take the place of a listed one.
    OperatorNotAllowed {
        /// The operator's name.
        operator: String,
    },
    /// A parameter number beyond what Bind can carry.
    ParameterNumber,
    /// What is printed is not what the client wrote: a fault of ours, found in time.
    PrintedDifferently,
    /// A relation that does not exist.
    RelationDoesNotExist {
        /// The name as the client wrote it, possibly qualified.
        relation: String,
    },
    /// A relation that is closed to tenants.
    RelationNotAllowed {
        /// The relation, as `schema.name`.
        relation: String,
        /// Why.
        closed: Closed,
    },
    /// A relation of the system catalogs.
    SystemRelation {
        /// The relation, as `schema.name`.
        relation: String,
    },
    /// A statement that PostgreSQL itself could not parse.
    Syntax {
        /// PostgreSQL's own message.
        message: String,
    },
    /// Too long, too deep or too many.
    TooLarge {
        /// What, such as `nesting`.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A type that is not on the allow-list, or shows the tenant column.
    TypeNotAllowed {
        /// The type's name.
        type_name: String,
    },
    /// A configuration parameter that clients may not change or read.
    VariableNotAllowed {
        /// The parameter's name.
        variable: String,
    },
    /// The rewritten statement could not be proved: a fault of ours, found in time.
    Unproved {
        /// What the verifier did not find.
        what: String,
    },
    /// A write that could reach beyond the tenant.
    WriteNotAllowed {
        /// The relation, as `schema.name`.
        relation: String,
        /// Why.
        hazard: WriteHazard,
    },
    /// Bytes that are not UTF-8, or a NUL.
    WrongEncoding,
    /// A message of PostgreSQL's own that we can foresee and must give ourselves.
    AsPostgres {
        /// Its SQLSTATE.
        sqlstate: &'static str,
        /// Its message.
        message: String,
    },
}

/// What an admin's grant does not allow.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BeyondGrant {
    /// The tenant column of a row cannot be changed, nor by a grant.
    #[error("column \"{column}\" cannot be changed")]
    TenantColumnAssigned {
        /// The column's name.
        column: String,
    },
    /// Each new row says whose it is, in a form that can be checked.
    #[error("under a grant, INSERT must name the tenant: column \"{column}\"")]
    TenantNotNamed {
        /// The tenant column.
        column: String,
    },
    /// A new row would belong to a tenant that is not in its scope.
    #[error("tenant {value} is outside the grant")]
    TenantOutOfScope {
        /// The value for the tenant column, as the client wrote it.
        value: String,
    },
    /// It does not allow this on any table.
    #[error("the grant does not allow {verb} on {relation}")]
    Verb {
        /// The relation, as `schema.name`.
        relation: String,
        /// What was to be done to it.
        verb: Verb,
    },
}

impl BeyondGrant {
    fn code(&self) -> &'static str {
        match self {
            Self::Verb { .. } => "TN6003",
            Self::TenantNotNamed { .. } | Self::TenantOutOfScope { .. } => "TN6004",
            Self::TenantColumnAssigned { .. } => "TN6005",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::TenantColumnAssigned { .. } => {
                "A row stays with its tenant. Insert it for the other tenant, and delete it."
                    .to_owned()
            }
            Self::TenantNotNamed { column } => format!(
                "Name {column} in the column list, and give it a literal, a parameter or a column."
            ),
            Self::TenantOutOfScope { .. } | Self::Verb { .. } => OTHER_GRANT.to_owned(),
        }
    }
}

/// A refusal: the reason, and where in the client's text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The byte offset in the client's text, where one place can be named.
    pub position: Option<usize>,
}

impl Reason {
    /// Something in a condition is not silent, and nothing is known to help.
    pub fn not_silent(what: impl Into<String>) -> Self {
        Self::ConditionNotSilent {
            what: what.into(),
            remedies: Vec::new(),
        }
    }
}

impl From<BeyondGrant> for Reason {
    fn from(beyond: BeyondGrant) -> Self {
        Self::Grant(beyond)
    }
}

impl From<BeyondGrant> for Refusal {
    fn from(beyond: BeyondGrant) -> Self {
        Reason::from(beyond).into()
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            position: None,
        }
    }
}

impl Refusal {
    /// What may help.
    pub fn remedies(&self) -> &[Remedy] {
        if let Reason::ConditionNotSilent { remedies, .. } = &self.reason {
            remedies
        } else {
            &[]
        }
    }

    /// Names the one thing that is to be tried.
    pub fn remedied_only_by(&mut self, one: Remedy) {
        if let Reason::ConditionNotSilent { remedies, .. } = &mut self.reason {
            *remedies = vec![one];
        }
    }

    /// Adds what may help.
    pub fn remedied_by(&mut self, more: impl IntoIterator<Item = Remedy>) {
        if let Reason::ConditionNotSilent { remedies, .. } = &mut self.reason {
            remedies.extend(more);
        }
    }

    /// A refusal of something that stands at a byte offset of the client's text.
    pub fn at(reason: Reason, position: usize) -> Self {
        Self {
            reason,
            position: Some(position),
        }
    }

    /// The stable code, `TNnnnn`.
    pub fn code(&self) -> &'static str {
        match &self.reason {
            Reason::WrongEncoding => "TN1001",
            Reason::Syntax { .. } => "TN1002",
            Reason::LexersDisagree => "TN1003",
            Reason::ConstructNotSupported { .. } => "TN1004",
            Reason::PrintedDifferently => "TN1005",
            Reason::TooLarge { .. } => "TN1006",
            Reason::ParameterNumber => "TN1007",
            Reason::RelationDoesNotExist { .. } => "TN2001",
            Reason::RelationNotAllowed {
                closed: Closed::OutsideGrant,
                ..
            }
            | Reason::WriteNotAllowed {
                hazard: WriteHazard::OutsideGrant { .. },
                ..
            } => "TN6002",
            Reason::Grant(beyond) => beyond.code(),
            Reason::RelationNotAllowed { .. } => "TN2002",
            Reason::SystemRelation { .. } => "TN2003",
            Reason::ColumnDoesNotExist { .. } => "TN2004",
            Reason::WriteNotAllowed { .. } => "TN2005",
            Reason::AsPostgres { .. } => "TN2006",
            Reason::FunctionNotAllowed { .. } => "TN3001",
            Reason::OperatorNotAllowed { .. } => "TN3002",
            Reason::TypeNotAllowed { .. } => "TN3003",
            Reason::FunctionBeyondGate { .. } => "TN3004",
            Reason::CommandNotAllowed { .. } => "TN4001",
            Reason::VariableNotAllowed { .. } => "TN4002",
            Reason::ConditionNotSilent { .. } => "TN5001",
            Reason::Unproved { .. } => "TN9001",
        }
    }

    /// The SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        match &self.reason {
            Reason::WrongEncoding => "22021",
            Reason::Syntax { .. } => "42601",
            Reason::TooLarge { .. } => "54001",
            Reason::ParameterNumber => "08P01",
            Reason::RelationDoesNotExist { .. } => "42P01",
            Reason::ColumnDoesNotExist { .. } => "42703",
            Reason::AsPostgres { sqlstate, .. } => sqlstate,
            Reason::ConstructNotSupported { .. }
            | Reason::LexersDisagree
            | Reason::PrintedDifferently
            | Reason::ConditionNotSilent { .. }
            | Reason::Unproved { .. } => "0A000",
            Reason::RelationNotAllowed { .. }
            | Reason::SystemRelation { .. }
            | Reason::WriteNotAllowed { .. }
            | Reason::FunctionNotAllowed { .. }
            | Reason::FunctionBeyondGate { .. }
            | Reason::OperatorNotAllowed { .. }
            | Reason::Grant(_)
            | Reason::TypeNotAllowed { .. }
            | Reason::CommandNotAllowed { .. }
            | Reason::VariableNotAllowed { .. } => "42501",
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match &self.reason {
            Reason::RelationNotAllowed { relation, closed } => Some(closed_hint(relation, *closed)),
            Reason::WriteNotAllowed { hazard, .. } => Some(hazard_hint(hazard)),
            Reason::FunctionBeyondGate { .. } => Some(
                "Give the tenant a server role of its own: user and password in its file."
                    .to_owned(),
            ),
            // What the system offers is reviewed by us, not by the operator.
            Reason::FunctionNotAllowed { function } if !function.contains('.') => None,
            Reason::FunctionNotAllowed { function } if function.starts_with("pg_catalog.") => None,
            Reason::FunctionNotAllowed { function } => Some(format!(
                "After a review, name it in policy.toml: [functions] trusted = [\"{function}(..)\"]."
            )),
            Reason::CommandNotAllowed { .. } => Some(
                "Changes of the schema or the server are made on a direct connection; then run \
                 \"tenantry check\" and reload."
                    .to_owned(),
            ),
            Reason::ConditionNotSilent { .. } => Some(
                "PostgreSQL may evaluate this before the tenant's filter. Use a plain comparison, \
                 or move the expression to the select list."
                    .to_owned(),
            ),
            Reason::PrintedDifferently | Reason::Unproved { .. } => {
                Some("This is a fault of Tenantry: please report the statement.".to_owned())
            }
            Reason::Grant(beyond) => Some(beyond.hint()),
            Reason::AsPostgres { .. }
            | Reason::ColumnDoesNotExist { .. }
            | Reason::ConstructNotSupported { .. }
            | Reason::LexersDisagree
            | Reason::OperatorNotAllowed { .. }
            | Reason::ParameterNumber
            | Reason::RelationDoesNotExist { .. }
            | Reason::Syntax { .. }
            | Reason::SystemRelation { .. }
            | Reason::TooLarge { .. }
            | Reason::TypeNotAllowed { .. }
            | Reason::VariableNotAllowed { .. }
            | Reason::WrongEncoding => None,
        }
    }
}

const OTHER_GRANT: &str = "What a grant allows stands in its file, which is reviewed and reloaded.";

fn closed_hint(relation: &str, closed: Closed) -> String {
    match closed {
        Closed::Denied => "The policy denies this relation to tenants.".to_owned(),
        Closed::NoTenantColumn => {
            format!(
                "Name its tenant column in policy.toml: [tables.\"{relation}\"] column = \"..\"."
            )
        }
        Closed::NullableTenantColumn => format!(
            "Its tenant column may be NULL, or that of a partition or child: ALTER TABLE {relation} ALTER \
             COLUMN .. SET NOT NULL."
        ),
        Closed::Foreign => format!(
            "Another server tests whose its rows are, or those of a part of it: after a review, say so in \
             policy.toml for the foreign table: [tables.\"..\"] kind = \"scoped\", trusted = true ({relation})."
        ),
        Closed::OutsideGrant => OTHER_GRANT.to_owned(),
        Closed::RowSecurity => format!(
            "The conditions of its row security run on rows of all tenants: ALTER TABLE {relation} DISABLE ROW \
             LEVEL SECURITY."
        ),
        Closed::Sequence => "Use the column's default, or nextval().".to_owned(),
        Closed::SharedParent => {
            "It has a partition or child that is not shared: classify that one first.".to_owned()
        }
        Closed::Unclassified => format!(
            "Say what it is in policy.toml: [tables.\"{relation}\"] kind = \"scoped\", \"shared\" \
             or \"denied\"."
        ),
        Closed::UnfitTenantColumn => {
            "A tenant column has the type smallint, integer, bigint, uuid, text or varchar, and no collation of \
             the application's own."
                .to_owned()
        }
        Closed::UntrustedIndex => {
            "An index of it uses an operator class of the application's own: after a review, name the class's \
             functions in policy.toml: [functions] trusted = [\"..\"]."
                .to_owned()
        }
        Closed::Via(broken) => via_remedy(broken).to_owned(),
        Closed::View => {
            "Views can be read; query and change the tables where more is wanted.".to_owned()
        }
    }
}

/// What `via` needs.
fn via_remedy(broken: Broken) -> &'static str {
    match broken {
        Broken::Circle => {
            "The tables that via names lead in a circle: one of them needs a tenant column."
        }
        Broken::Deferrable => {
            "The foreign key that via follows must be checked at once: ALTER CONSTRAINT .. NOT DEFERRABLE."
        }
        Broken::NoForeignKey => {
            "via follows a foreign key of this column alone, of the table and of each of its partitions and \
             children: add it."
        }
        Broken::NotValid => {
            "The foreign key that via follows is NOT VALID, or triggers of its own are disabled: ALTER TABLE .. \
             ENABLE TRIGGER ALL of both tables, and VALIDATE CONSTRAINT .. of the key made anew."
        }
        Broken::Nullable => {
            "The column that via follows may be NULL: ALTER COLUMN .. SET NOT NULL."
        }
        Broken::OwnTenantColumn => "It has a tenant column of its own: leave out via.",
        Broken::ParentWithChildren => {
            "The table that via leads to has inheritance children, in which its keys may be found again."
        }
        Broken::UnscopedParent => {
            "The table that via leads to must be a scoped one itself, by a tenant column or by via."
        }
        Broken::UnfitKey => {
            "The column that via follows and the key that it leads to have one type: smallint, integer, bigint, \
             uuid, text or varchar, with no collation of the application's own, and nothing computes them."
        }
    }
}

fn hazard_message(relation: &str, hazard: &WriteHazard) -> String {
    match hazard {
        WriteHazard::OutsideGrant { .. } => {
            format!("a write to {relation} would reach outside the grant")
        }
        WriteHazard::ChangedReference(_)
        | WriteHazard::Code { .. }
        | WriteHazard::ForeignKeyAction { .. }
        | WriteHazard::ForeignKeyCheck(_)
        | WriteHazard::NoTable
        | WriteHazard::Rule { .. }
        | WriteHazard::Trigger { .. }
        | WriteHazard::UniqueKey { .. } => {
            format!("relation {relation} cannot be written by tenants")
        }
    }
}

fn hazard_hint(hazard: &WriteHazard) -> String {
    match hazard {
        WriteHazard::ChangedReference(changed) => format!(
            "The trigger {} on {} may give {column} another value than the one that was checked: its function \
             must be in PL/pgSQL, use NEW by its fields only, and not name {column}.",
            changed.trigger,
            changed.relation,
            column = changed.column,
        ),
        WriteHazard::Code { function, relation } => format!(
            "A write to {relation} runs it unseen. After a review, name it in policy.toml: \
             [functions] trusted = [\"{function}\"]."
        ),
        WriteHazard::ForeignKeyAction {
            constraint,
            relation,
        } => format!(
            "The foreign key {constraint} on {relation} acts on referring rows: it must pair the \
             tenant columns, and use NO ACTION, CASCADE, or ON DELETE SET NULL of other columns: \
             ON DELETE SET NULL (column)."
        ),
        WriteHazard::ForeignKeyCheck(check) => format!(
            "The foreign key {} on {relation} would tell of other tenants' rows: {} Or accept that in \
             policy.toml: [tables.\"{relation}\"] kind = \"scoped\", existence_leak = true.",
            check.constraint,
            check.remedy,
            relation = check.relation,
        ),
        WriteHazard::OutsideGrant {
            constraint,
            relation,
        } => format!(
            "The foreign key {constraint} acts on rows of {relation}, which the grant does not name."
        ),
        WriteHazard::NoTable => {
            "What a write to it sets off is not known: change the tables.".to_owned()
        }
        WriteHazard::Rule { relation } => {
            format!("{relation} has rewrite rules, which run unseen.")
        }
        WriteHazard::Trigger { trigger, relation } => format!(
            "After a review, name it in policy.toml: [triggers] trusted = [\"{trigger} on \
             {relation}\"]."
        ),
        WriteHazard::UniqueKey { key } => format!(
            "The unique key {key} lacks the tenant column: add it, or accept in policy.toml with \
             existence_leak = true."
        ),
    }
}

impl fmt::Display for Refusal {
    /// The message as the client sees it; the code stands at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::AsPostgres { message, .. } | Reason::Syntax { message } => {
                f.write_str(message)?;
            }
            Reason::ColumnDoesNotExist { column } => {
                // As PostgreSQL's errorMissingColumn() prints it.
                if column.contains('.') {
                    write!(f, "column {column} does not exist")?;
                } else {
                    write!(f, "column \"{column}\" does not exist")?;
                }
            }
            Reason::CommandNotAllowed { command } => {
                write!(f, "{command} is not allowed for tenants")?;
            }
            Reason::ConditionNotSilent { what, remedies: _ } => {
                write!(
                    f,
                    "{what} is not supported in a condition on a tenant's table"
                )?;
            }
            Reason::ConstructNotSupported { construct } => {
                write!(f, "{construct} is not supported")?;
            }
            Reason::FunctionBeyondGate { function } | Reason::FunctionNotAllowed { function } => {
                write!(f, "function {function} is not allowed for tenants")?;
            }
            Reason::LexersDisagree => {
                f.write_str(
                    "this way of writing operators, comments or literals is not supported",
                )?;
            }
            Reason::OperatorNotAllowed { operator } => {
                write!(f, "operator {operator} is not allowed for tenants")?;
            }
            Reason::ParameterNumber => f.write_str("parameter number out of range")?,
            Reason::PrintedDifferently => {
                f.write_str("this statement cannot be reproduced exactly")?;
            }
            Reason::RelationDoesNotExist { relation } => {
                write!(f, "relation \"{relation}\" does not exist")?;
            }
            Reason::Grant(beyond) => write!(f, "{beyond}")?,
            Reason::RelationNotAllowed {
                relation,
                closed: Closed::OutsideGrant,
            } => write!(f, "relation {relation} is outside the grant")?,
            Reason::RelationNotAllowed { relation, .. } | Reason::SystemRelation { relation } => {
                write!(f, "relation {relation} is not open to tenants")?;
            }
            Reason::TooLarge { what, limit } => {
                write!(f, "statement exceeds the limit of {limit} for {what}")?;
            }
            Reason::TypeNotAllowed { type_name } => {
                write!(f, "type {type_name} is not allowed for tenants")?;
            }
            Reason::Unproved { what } => write!(
                f,
                "the isolation of this statement could not be proved: {what}"
            )?,
            Reason::VariableNotAllowed { variable } => {
                write!(f, "parameter \"{variable}\" is not open to tenants")?;
            }
            Reason::WriteNotAllowed { relation, hazard } => {
                write!(f, "{}", hazard_message(relation, hazard))?;
            }
            Reason::WrongEncoding => f.write_str("invalid byte sequence for encoding \"UTF8\"")?,
        }
        write!(f, " [{}]", self.code())
    }
}

impl std::error::Error for Refusal {}
