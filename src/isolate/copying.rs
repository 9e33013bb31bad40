//! COPY: which way its rows go, and how a stream of them is read.

use std::sync::Arc;

use crate::tenant::TenantType;

/// Which way the rows of a COPY go. Its text takes no parameters: the tenant's value is written into it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Copying {
    /// `COPY .. FROM STDIN`
    In(Arc<CopyIn>),
    /// `COPY .. TO STDOUT`
    Out,
}

/// What a stream of rows goes to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CopyIn {
    /// The relation's own name, as PostgreSQL names it in CONTEXT.
    pub relation: String,
    /// The tenant column, whose value stands in front of each row; none if the rows have none, and
    /// the stream goes through as it is.
    pub owner: Option<OwnerColumn>,
}

/// The tenant column, and the stream that its value is put into.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct OwnerColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: TenantType,
    /// How many columns the client sends.
    pub columns: usize,
    /// How rows and fields are told apart.
    pub format: CopyFormat,
}

/// `FORMAT`, with what belongs to it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CopyFormat {
    /// `binary`
    Binary,
    /// `csv`
    Csv {
        /// What both text formats have.
        text: TextFormat,
        /// `QUOTE`
        quote: u8,
        /// `ESCAPE`
        escape: u8,
        /// Whether a quoted NULL string is NULL in every column: `FORCE_NULL *`.
        force_null: ForceNull,
    },
    /// `text`
    Text(TextFormat),
}

/// What both text formats have.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TextFormat {
    /// `DELIMITER`
    pub delimiter: u8,
    /// `NULL`
    pub null: String,
    /// `DEFAULT`
    pub default: Option<String>,
    /// `HEADER`
    pub header: Header,
}

/// Whether the first line is a row.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Header {
    /// It is.
    None,
    /// It is not, and its fields must be the columns' names.
    Match,
    /// It is not, and nobody reads it.
    Skipped,
}

/// Which quoted values may be NULL.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ForceNull {
    /// Those of every column.
    All,
    /// Those of columns that are named, which the tenant column is not.
    Named,
}
