//! The stream of COPY FROM STDIN, with the tenant's value put in front of each row.
//!
//! In: the bytes of a client's `CopyData` messages, cut anywhere, and how the server will read them
//! ([`CopyIn`]). Out: the bytes for the server.
//!
//! A row begins where the server will say that it begins: `CopyReadLineText()` and
//! `CopyReadBinaryTuple()` are mirrored, with all that they remember from one line to the next.
//!
//! # Invariants
//! 1. No row of the client's reaches the server without the tenant's value in front of it. Where the
//!    server will report an error, or has seen the end, the rest of the stream is dropped: so two
//!    opinions of where a row begins can lose rows, but never make one.
//! 2. The tenant's value is spelled so that it is that value and nothing else: neither NULL nor DEFAULT,
//!    without a delimiter, a quote or a line's end. What cannot be spelled so is refused.
//! 3. However the bytes are cut into pieces, the outcome is the same, and no more than a few of them are
//!    held back.

mod binary;
mod context;
mod lines;
mod spelling;

use bytes::BytesMut;

use crate::isolate::copying::{CopyFormat, CopyIn};
use crate::tenant::{KeyMismatch, TenantKey};
use binary::BinaryRows;
use lines::Lines;
pub use spelling::Unwritable;

/// A stream on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopyStream {
    relation: String,
    rows: Rows,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Rows {
    /// Nothing is put in front of them.
    AsTheyAre,
    /// The tenant's value is.
    Owned {
        /// The tenant column's name.
        owner: String,
        /// How many columns the client sends.
        columns: usize,
        format: Format,
    },
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Format {
    Binary(BinaryRows),
    Lines(Lines),
}

impl CopyStream {
    /// A stream of which nothing has come yet, for a server of this major version.
    pub fn new(copy: &CopyIn, key: &TenantKey, server: u32) -> Result<Self, Unwritable> {
        let relation = copy.relation.clone();
        let Some(owner) = &copy.owner else {
            return Ok(Self {
                relation,
                rows: Rows::AsTheyAre,
            });
        };
        let unfit = |_unfit: KeyMismatch| Unwritable;
        let format = match &owner.format {
            CopyFormat::Binary => {
                let value = owner.column_type.binary(key).map_err(unfit)?;
                Format::Binary(BinaryRows::new(&value, owner.columns)?)
            }
            format @ (CopyFormat::Csv { .. } | CopyFormat::Text(_)) => {
                let value = owner.column_type.text(key).map_err(unfit)?;
                Format::Lines(Lines::new(format, (&owner.name, &value), server)?)
            }
        };
        Ok(Self {
            relation,
            rows: Rows::Owned {
                owner: owner.name.clone(),
                columns: owner.columns,
                format,
            },
        })
    }

    /// How many columns more than the client's the server reads.
    pub fn hidden_columns(&self) -> usize {
        match self.rows {
            Rows::AsTheyAre => 0,
            Rows::Owned { .. } => 1,
        }
    }

    /// Takes the next bytes, and appends what the server gets for them.
    pub fn push(&mut self, input: &[u8], out: &mut BytesMut) {
        match &mut self.rows {
            Rows::AsTheyAre => out.extend_from_slice(input),
            Rows::Owned { format, .. } => match format {
                Format::Binary(rows) => rows.push(input, out),
                Format::Lines(lines) => lines.push(input, out),
            },
        }
    }

    /// The stream has ended: appends what was held back.
    pub fn finish(&mut self, out: &mut BytesMut) {
        if let Rows::Owned {
            format: Format::Lines(lines),
            ..
        } = &mut self.rows
        {
            lines.finish(out);
        }
    }
}
