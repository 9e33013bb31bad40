//! `ErrorResponse` and `NoticeResponse`: made by Tenantry, or passed on without what tells of other tenants.

use bytes::{BufMut, BytesMut};

use super::Violation;
use super::backend::{message, put_string};
use super::reader::Reader;

/// How bad an error is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The statement, and the transaction block, have failed.
    Error,
    /// The connection ends.
    Fatal,
}

/// An error that Tenantry itself reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ErrorReport {
    /// How bad it is.
    pub severity: Severity,
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// The message.
    pub message: String,
    /// What it is about.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the client's text, in characters from 1.
    pub position: Option<usize>,
}

impl ErrorReport {
    /// An error that ends the statement.
    pub fn error(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// An error that ends the connection.
    pub fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fatal,
            ..Self::error(sqlstate, message)
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Writes the `ErrorResponse`.
    pub fn write(&self, buffer: &mut BytesMut) {
        let severity: &[u8] = match self.severity {
            Severity::Error => b"ERROR",
            Severity::Fatal => b"FATAL",
        };
        message(buffer, b'E', |body| {
            let mut field = |code: u8, value: &[u8]| {
                body.put_u8(code);
                // A NUL cannot be sent; nothing that is reported here should hold one.
                let end = value.iter().position(|byte| *byte == 0);
                put_string(body, value.split_at(end.unwrap_or(value.len())).0);
            };
            field(b'S', severity);
            field(b'V', severity);
            field(b'C', self.sqlstate.as_bytes());
            field(b'M', self.message.as_bytes());
            if let Some(detail) = &self.detail {
                field(b'D', detail.as_bytes());
            }
            if let Some(hint) = &self.hint {
                field(b'H', hint.as_bytes());
            }
            if let Some(position) = self.position {
                field(b'P', position.to_string().as_bytes());
            }
            body.put_u8(0);
        });
    }
}

/// The fields of an `ErrorResponse` or `NoticeResponse` that came from a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerReport<'a> {
    fields: Vec<(u8, &'a [u8])>,
}

impl<'a> ServerReport<'a> {
    /// Reads the body.
    pub fn read(body: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let mut fields = Vec::new();
        loop {
            match reader.u8()? {
                0 => break,
                code => fields.push((code, reader.string()?)),
            }
        }
        reader.finish()?;
        Ok(Self { fields })
    }

    /// A field, by its code.
    pub fn field(&self, code: u8) -> Option<&'a [u8]> {
        self.fields
            .iter()
            .find(|(candidate, _)| *candidate == code)
            .map(|(_, value)| *value)
    }

    /// The field as text; fields that are not UTF-8 count as absent.
    pub fn text(&self, code: u8) -> Option<&'a str> {
        self.field(code)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether the server ends the connection.
    pub fn is_fatal(&self) -> bool {
        // `V` is never translated; servers before 9.6 do not send it.
        !matches!(
            self.field(b'V').or_else(|| self.field(b'S')),
            Some(b"ERROR" | b"WARNING" | b"NOTICE" | b"DEBUG" | b"INFO" | b"LOG")
        )
    }

    /// Writes the message again, with only what the client may see: its severity, SQLSTATE, message
    /// and source, the names of schema, table, type and constraint, and what `detail`, `hint` and
    /// `column` let through. CONTEXT, the internal query and both positions, which point into the
    /// rewritten text, are left out, and so is every field that is not known.
    pub fn write(&self, tag: u8, visible: &Visible, buffer: &mut BytesMut) {
        message(buffer, tag, |body| {
            for (code, value) in &self.fields {
                let value = match code {
                    b'M' => Some(visible.message.as_deref().map_or(*value, str::as_bytes)),
                    b'W' if visible.context.is_some() => {
                        visible.context.as_deref().map(str::as_bytes)
                    }
                    b'S' | b'V' | b'C' | b's' | b't' | b'd' | b'n' | b'F' | b'L' | b'R' => {
                        Some(*value)
                    }
                    b'D' => visible.detail.as_deref().map(str::as_bytes),
                    code if visible.codes.contains(code) => Some(*value),
                    _ => None,
                };
                if let Some(value) = value {
                    body.put_u8(*code);
                    put_string(body, value);
                }
            }
            body.put_u8(0);
        });
    }
}

/// Which of the doubtful fields a client may see.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Visible {
    /// The DETAIL, as it may be seen.
    pub detail: Option<String>,
    /// The message, where it says something else than the server's.
    pub message: Option<String>,
    /// The CONTEXT, as it may be seen.
    pub context: Option<String>,
    /// The codes of the others that may be seen: HINT, the column's name, CONTEXT.
    pub codes: Vec<u8>,
}

/// A tenant column, and how the tenant's own value is printed in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnValue {
    /// The column, as PostgreSQL prints it in a key: quoted if need be.
    pub column: String,
    /// The tenant's value in the column's type.
    pub value: String,
}

/// What of a report the client may see, given every tenant column; without any, all of it but the
/// position, which points into a text that the client did not write.
pub fn visible(report: &ServerReport<'_>, own: Option<&[OwnValue]>) -> Visible {
    let Some(own) = own else {
        return Visible {
            detail: report.text(b'D').map(str::to_owned),
            codes: b"HcWqp".to_vec(),
            ..Visible::default()
        };
    };
    let detail = match report.text(b'C') {
        Some("23503" | "23505") => report
            .text(b'D')
            .and_then(|detail| own.iter().find_map(|own| key_detail(detail, own))),
        _ => None,
    };
    let names_column = |text: &str| own.iter().any(|own| text.contains(plain(&own.column)));
    let names_none = |code: u8| report.text(code).is_some_and(|text| !names_column(text));
    let codes = [b'H', b'c']
        .into_iter()
        .filter(|code| names_none(*code))
        .collect();
    Visible {
        detail,
        codes,
        ..Visible::default()
    }
}

fn plain(column: &str) -> &str {
    column.trim_matches('"')
}

/// `Key (a, b)=(x, y) ...` without the tenant's column and value. Only if the tenant column is the
/// first or the last of the key and what stands there is the tenant's own value: then the row is its
/// own. Everything else is kept from the client.
fn key_detail(detail: &str, own: &OwnValue) -> Option<String> {
    let (columns, rest) = detail.strip_prefix("Key (")?.split_once(")=(")?;
    if columns.contains('"') && !own.column.contains('"') {
        // A quoted name could hold anything, a closing parenthesis included.
        return None;
    }
    if let (Some(columns), Some(rest)) = (
        columns.strip_prefix(&format!("{}, ", own.column)),
        rest.strip_prefix(&format!("{}, ", own.value)),
    ) {
        return Some(format!("Key ({columns})=({rest}"));
    }
    let columns = columns.strip_suffix(&format!(", {}", own.column))?;
    let end = [
        ") already exists.",
        ") is not present in table \"",
        ") is still referenced from table \"",
    ]
    .iter()
    .find_map(|end| rest.rfind(end))?;
    let (values, end) = rest.split_at_checked(end)?;
    let values = values.strip_suffix(&format!(", {}", own.value))?;
    Some(format!("Key ({columns})=({values}{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<OwnValue> {
        vec![OwnValue {
            column: "tenant_id".into(),
            value: "1".into(),
        }]
    }

    fn body(fields: &[(u8, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (code, value) in fields {
            body.push(*code);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        body
    }

    #[test]
    fn a_key_is_shown_only_with_the_tenants_own_value() {
        for (detail, expected) in [
            (
                "Key (tenant_id, email)=(1, a@b) already exists.",
                Some("Key (email)=(a@b) already exists."),
            ),
            (
                "Key (email, tenant_id)=(a@b, 1) already exists.",
                Some("Key (email)=(a@b) already exists."),
            ),
            (
                "Key (customer_id, tenant_id)=(999, 1) is not present in table \"customers\".",
                Some("Key (customer_id)=(999) is not present in table \"customers\"."),
            ),
            ("Key (tenant_id, email)=(2, a@b) already exists.", None),
            ("Key (tenant_id, email)=(12, a@b) already exists.", None),
            ("Key (email, tenant_id)=(a@b, 21) already exists.", None),
            ("Key (email)=(1, a@b) already exists.", None),
            ("Key (tenant_id)=(1) already exists.", None),
            ("Key (a, tenant_id, b)=(x, 1, y) already exists.", None),
            ("Key (my_tenant_id, email)=(1, a@b) already exists.", None),
            ("Failing row contains (1, CANARY).", None),
        ] {
            let body = body(&[(b'S', "ERROR"), (b'C', "23505"), (b'D', detail)]);
            let report = ServerReport::read(&body).unwrap();
            assert_eq!(
                visible(&report, Some(&own())).detail.as_deref(),
                expected,
                "{detail}"
            );
        }
    }

    #[test]
    fn what_tells_of_the_inside_is_left_out() {
        let fields = [
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', "42703"),
            (b'M', "column \"x\" does not exist"),
            (b'D', "other row"),
            (b'H', "Perhaps you meant \"customers.tenant_id\"."),
            (b'P', "42"),
            (b'W', "PL/pgSQL function f()"),
            (b'q', "SELECT tenant_id"),
            (b'p', "1"),
            (b'c', "tenant_id"),
            (b'z', "unknown"),
        ];
        let body = body(&fields);
        let report = ServerReport::read(&body).unwrap();
        let mut seen = BytesMut::new();
        report.write(b'E', &visible(&report, Some(&own())), &mut seen);
        let seen = ServerReport::read(&seen[5..]).unwrap().fields;
        assert_eq!(seen.len(), 4);
        assert!(!report.is_fatal());
    }

    #[test]
    fn own_errors_are_complete() {
        let mut buffer = BytesMut::new();
        ErrorReport::fatal("28000", "no\0body")
            .with_hint("h")
            .write(&mut buffer);
        let report = ServerReport::read(&buffer[5..]).unwrap();
        assert!(report.is_fatal());
        assert_eq!(report.text(b'M'), Some("no"));
        assert_eq!(report.text(b'H'), Some("h"));
    }
}
