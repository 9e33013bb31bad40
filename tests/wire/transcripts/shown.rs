//! The messages of a server, as transcripts write them. What no two servers have in common is left out: process,
//! key, and the source code's place of an error.

use std::fmt::Write;

use super::super::raw::Message;

/// One message in a line.
pub fn shown(message: &Message) -> String {
    let body = &message.body;
    match message.tag {
        '1' => "ParseComplete".to_owned(),
        '2' => "BindComplete".to_owned(),
        '3' => "CloseComplete".to_owned(),
        'A' => {
            let texts: Vec<String> = body[4..].split(|byte| *byte == 0).map(text).collect();
            format!("Notification {} {}", texts[0], texts[1])
        }
        'C' => format!("Complete {}", text(body)),
        'D' => format!("Row {}", row(body)),
        'E' => format!("Error {}", report(body)),
        'G' => format!("CopyIn {}", formats(body)),
        'H' => format!("CopyOut {}", formats(body)),
        'I' => "Empty".to_owned(),
        'K' => format!("Key {}", body.len()),
        'N' => format!("Notice {}", report(body)),
        'R' => format!("Authentication {}", number(body, 0)),
        'S' => {
            let texts: Vec<String> = body.split(|byte| *byte == 0).map(text).collect();
            format!("Parameter {}={}", texts[0], texts[1])
        }
        'T' => format!("Columns{}", columns(body)),
        'V' => format!("FunctionResult {}", text(body)),
        'Z' => format!("Ready {}", text(body)),
        'c' => "CopyDone".to_owned(),
        'd' => format!("CopyData {}", body.escape_ascii()),
        'n' => "NoData".to_owned(),
        's' => "Suspended".to_owned(),
        't' => {
            let oids = body[2..].chunks(4).map(|oid| number(oid, 0).to_string());
            format!("Parameters {}", folded(&oids.collect::<Vec<_>>()))
        }
        'v' => format!(
            "Negotiate {}.{} {}",
            number(body, 0) >> 16,
            number(body, 0) & 0xffff,
            text(&body[8..])
        ),
        tag => format!("{tag} {}", body.escape_ascii()),
    }
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        Ok(_) | Err(_) => bytes.escape_ascii().to_string(),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// Many that are alike are counted.
fn folded(words: &[String]) -> String {
    match words {
        [first, .., last] if words.len() > 100 => format!("{first} .. {last} ({})", words.len()),
        _ => words.join(" "),
    }
}

fn row(body: &[u8]) -> String {
    let mut values = Vec::new();
    let mut rest = &body[2..];
    while !rest.is_empty() {
        let length = number(rest, 0);
        rest = &rest[4..];
        if length == u32::MAX {
            values.push("NULL".to_owned());
            continue;
        }
        let (value, behind) = rest.split_at(usize::try_from(length).unwrap());
        rest = behind;
        values.push(match value {
            b"" => "''".to_owned(),
            long if long.len() > 200 => format!("({} bytes)", long.len()),
            value => text(value),
        });
    }
    values.join(" | ")
}

/// Name, type, modifier where there is one, format where it is binary, column of its table.
fn columns(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut columns = String::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let name = text(&rest[..end]);
        let fields = &rest[end + 1..];
        let (column, oid) = (short(fields, 4), number(fields, 6));
        let (modifier, format) = (number(fields, 12), short(fields, 16));
        write!(columns, " {name}:{oid}").unwrap();
        if modifier != u32::MAX {
            write!(columns, "({modifier})").unwrap();
        }
        if format != 0 {
            columns += "/binary";
        }
        if column != 0 {
            columns += "@table";
        }
        rest = &fields[18..];
    }
    columns
}

fn formats(body: &[u8]) -> String {
    let columns = body[3..].chunks(2).map(|code| short(code, 0).to_string());
    format!("{} {}", body[0], columns.collect::<Vec<_>>().join(","))
}

/// All fields but those of the server's source code.
fn report(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter(|field| {
        field
            .first()
            .is_some_and(|code| !matches!(code, b'F' | b'L' | b'R' | b'V'))
    });
    let fields: Vec<String> = fields
        .map(|field| {
            let (code, value) = field.split_at(1);
            match code {
                b"S" | b"C" | b"M" => text(value),
                code => format!("{}={}", char::from(code[0]), text(value)),
            }
        })
        .collect();
    fields.join(" | ")
}
