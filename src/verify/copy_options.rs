//! The options of COPY: a closed list, unchanged on the way.
//!
//! In: the options of both trees. Out: how PostgreSQL will read the stream, as `ProcessCopyOptions()`
//! finds it. What it refuses itself, before any row, is left to it.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::copy::as_postgres;
use super::proof::{Checked, Pair, path, unchanged, unsupported};
use crate::isolate::copying::{CopyFormat, ForceNull, Header, TextFormat};

/// Columns that an option is about.
#[derive(Debug)]
pub(super) enum Columns {
    /// `*`
    All,
    /// A list.
    Named(Vec<String>),
}

/// What the options say.
#[derive(Debug, Default)]
pub(super) struct Options {
    kind: Kind,
    delimiter: Option<String>,
    null: Option<String>,
    default: Option<String>,
    header: Option<Header>,
    quote: Option<String>,
    escape: Option<String>,
    force_null: Option<ForceNull>,
    /// `FORCE_QUOTE`, `FORCE_NULL`, `FORCE_NOT_NULL`
    pub(super) columns: Vec<Columns>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    Binary,
    Csv,
    #[default]
    Text,
}

/// Reads the options, which must be the same in both trees.
pub(super) fn copy_options(pair: Pair<'_, Vec<Node>>) -> Checked<Options> {
    let mut options = Options::default();
    let mut seen: Vec<&str> = Vec::new();
    for option in pair.0 {
        let Some(NodeEnum::DefElem(option)) = &option.node else {
            return Err(unsupported("this option of COPY"));
        };
        let pg::DefElem {
            defnamespace: _,
            defname,
            arg,
            defaction: _,
            location: _,
            arg_location: _,
        } = &**option;
        if seen.contains(&defname.as_str()) {
            return Err(as_postgres(
                "42601",
                "conflicting or redundant options".to_owned(),
            ));
        }
        seen.push(defname);
        options.take(defname, arg.as_deref())?;
    }
    unchanged(pair, "the options of COPY")?;
    Ok(options)
}

impl Options {
    fn take(&mut self, name: &str, value: Option<&Node>) -> Checked {
        let text = || text(value).ok_or_else(|| no_value(name));
        match name {
            "format" => {
                self.kind = match text()? {
                    "binary" => Kind::Binary,
                    "csv" => Kind::Csv,
                    "text" => Kind::Text,
                    other => {
                        let message = format!("COPY format \"{other}\" not recognized");
                        return Err(as_postgres("22023", message));
                    }
                };
            }
            "delimiter" => self.delimiter = Some(text()?.to_owned()),
            "null" => self.null = Some(text()?.to_owned()),
            "default" => self.default = Some(text()?.to_owned()),
            "quote" => self.quote = Some(text()?.to_owned()),
            "escape" => self.escape = Some(text()?.to_owned()),
            "header" => self.header = Some(header(value).ok_or_else(|| no_value(name))?),
            "encoding" if is_utf8(text()?) => {}
            "force_null" => {
                let columns = columns(value).ok_or_else(|| no_value(name))?;
                self.force_null = Some(match columns {
                    Columns::All => ForceNull::All,
                    Columns::Named(_) => ForceNull::Named,
                });
                self.columns.push(columns);
            }
            "force_quote" | "force_not_null" => {
                self.columns
                    .push(columns(value).ok_or_else(|| no_value(name))?);
            }
            // What they do to a row that cannot be read concerns no other row.
            "on_error" | "log_verbosity"
                if matches!(
                    text()?,
                    "default" | "ignore" | "stop" | "verbose" | "silent"
                ) => {}
            other => {
                let name = other.to_ascii_uppercase();
                return Err(unsupported(&format!("COPY with this {name}")));
            }
        }
        Ok(())
    }

    /// How the stream is read.
    pub(super) fn format(&self) -> Checked<CopyFormat> {
        if matches!(self.kind, Kind::Binary) {
            return Ok(CopyFormat::Binary);
        }
        let is_csv = matches!(self.kind, Kind::Csv);
        let byte = |value: &Option<String>, default: u8, what: &str| match value.as_deref() {
            None => Ok(default),
            Some(value) => {
                if let [byte] = value.as_bytes() {
                    return Ok(*byte);
                }
                let message = format!("COPY {what} must be a single one-byte character");
                Err(as_postgres("0A000", message))
            }
        };
        let text = TextFormat {
            delimiter: byte(
                &self.delimiter,
                if is_csv { b',' } else { b'\t' },
                "delimiter",
            )?,
            null: match &self.null {
                Some(null) => null.clone(),
                None if is_csv => String::new(),
                None => "\\N".to_owned(),
            },
            default: self.default.clone(),
            header: self.header.unwrap_or(Header::None),
        };
        let delimiter = char::from(text.delimiter);
        if matches!(delimiter, '\r' | '\n') {
            let message = "COPY delimiter cannot be newline or carriage return".to_owned();
            return Err(as_postgres("22023", message));
        }
        if !is_csv {
            if matches!(delimiter, '\\' | '.' | 'a'..='z' | '0'..='9') {
                let message = format!("COPY delimiter cannot be \"{delimiter}\"");
                return Err(as_postgres("22023", message));
            }
            return Ok(CopyFormat::Text(text));
        }
        let quote = byte(&self.quote, b'"', "quote")?;
        let escape = byte(&self.escape, quote, "escape")?;
        // With a backslash, how the server reads it depends on where its buffer ends; a line's end would
        // end lines.
        let breaks_lines = |byte: u8| matches!(byte, b'\r' | b'\n');
        if quote == b'\\' || breaks_lines(quote) || breaks_lines(escape) {
            return Err(unsupported("COPY with this QUOTE"));
        }
        Ok(CopyFormat::Csv {
            text,
            quote,
            escape,
            force_null: self.force_null.unwrap_or(ForceNull::Named),
        })
    }
}

fn no_value(name: &str) -> crate::isolate::refusal::Refusal {
    unsupported(&format!("COPY with this {}", name.to_ascii_uppercase()))
}

fn text(value: Option<&Node>) -> Option<&str> {
    if let NodeEnum::String(pg::String { sval }) = value?.node.as_ref()? {
        Some(sval)
    } else {
        None
    }
}

/// As `defGetCopyHeaderChoice()` reads it.
fn header(value: Option<&Node>) -> Option<Header> {
    let Some(value) = value else {
        return Some(Header::Skipped);
    };
    let word = match value.node.as_ref() {
        Some(
            NodeEnum::Integer(pg::Integer { ival: 0 })
            | NodeEnum::Boolean(pg::Boolean { boolval: false }),
        ) => "off",
        Some(
            NodeEnum::Integer(pg::Integer { ival: 1 })
            | NodeEnum::Boolean(pg::Boolean { boolval: true }),
        ) => "on",
        Some(_) | None => text(Some(value))?,
    };
    match word.to_ascii_lowercase().as_str() {
        "true" | "on" => Some(Header::Skipped),
        "false" | "off" => Some(Header::None),
        "match" => Some(Header::Match),
        _ => None,
    }
}

fn columns(value: Option<&Node>) -> Option<Columns> {
    match value?.node.as_ref() {
        Some(NodeEnum::AStar(_)) => Some(Columns::All),
        Some(NodeEnum::List(list)) => Some(Columns::Named(
            path(&list.items)?.into_iter().map(str::to_owned).collect(),
        )),
        Some(_) | None => None,
    }
}

/// As `pg_char_to_encoding()` finds it.
fn is_utf8(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    matches!(plain.as_str(), "utf8" | "unicode")
}
