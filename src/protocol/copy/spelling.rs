//! The tenant's value, spelled for the server to read.

use thiserror::Error;

use crate::isolate::copying::{ForceNull, TextFormat};

/// A value that cannot be spelled in a stream with these options.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("COPY with these options is not supported for this tenant")]
pub struct Unwritable;

/// The value as a field of the text format, with the delimiter behind it.
pub(super) fn in_text(value: &str, format: &TextFormat) -> Result<Vec<u8>, Unwritable> {
    speakable(value, format)?;
    let octal = |byte: u8| format!("\\{byte:03o}").into_bytes();
    let plain: Vec<u8> = value
        .bytes()
        .flat_map(|byte| match byte {
            b'\\' => octal(byte),
            byte if byte == format.delimiter => octal(byte),
            byte => vec![byte],
        })
        .collect();
    // NULL and DEFAULT are compared with what is written, not with what is meant.
    let is_taken = |field: &[u8]| {
        field == format.null.as_bytes()
            || format
                .default
                .as_ref()
                .is_some_and(|default| field == default.as_bytes())
    };
    let field = if !is_taken(&plain) {
        plain
    } else if value.is_ascii() && !value.is_empty() {
        value.bytes().flat_map(octal).collect()
    } else {
        return Err(Unwritable);
    };
    // A digit would go on with the number of an escape; the server refuses such a delimiter, too.
    if is_taken(&field) || format.delimiter.is_ascii_digit() || format.delimiter == b'\\' {
        return Err(Unwritable);
    }
    Ok([field, vec![format.delimiter]].concat())
}

/// The value as a quoted field of CSV, with the delimiter behind it.
pub(super) fn in_csv(
    value: &str,
    format: &TextFormat,
    (quote, escape): (u8, u8),
    force_null: ForceNull,
) -> Result<Vec<u8>, Unwritable> {
    speakable(value, format)?;
    if force_null == ForceNull::All && value == format.null {
        return Err(Unwritable);
    }
    let mut field = vec![quote];
    for byte in value.bytes() {
        if byte == quote || byte == escape {
            field.push(escape);
        }
        field.push(byte);
    }
    field.extend([quote, format.delimiter]);
    Ok(field)
}

/// What would move the numbers of lines is not written, nor what could be DEFAULT.
fn speakable(value: &str, format: &TextFormat) -> Result<(), Unwritable> {
    let is_default = format.default.as_deref() == Some(value);
    if is_default || value.chars().any(char::is_control) {
        Err(Unwritable)
    } else {
        Ok(())
    }
}
