//! What must hold of any stream of rows: where PostgreSQL sees a row in what is sent, it begins with the
//! tenant's value, and behind it stands a row that PostgreSQL sees in what the client sent.
//!
//! PostgreSQL's part is a port of its own: over the whole of the bytes at once, in the order of
//! `CopyReadLineText()`, and shares nothing with the stream that it judges.

use bytes::BytesMut;
use tenantry::isolate::copying::{CopyFormat, CopyIn, ForceNull, Header, OwnerColumn, TextFormat};
use tenantry::protocol::copy::CopyStream;
use tenantry::tenant::{TenantKey, TenantType};

/// How a stream is read.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// Quote and escape.
    csv: Option<(u8, u8)>,
    /// The server's major version.
    server: u32,
}

/// What comes behind the last row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Error,
    Well,
}

/// The first byte chooses the options, the second the size of the chunks.
pub fn rows_begin_with_the_tenant(input: &[u8]) {
    let [options, chunk, stream @ ..] = input else {
        return;
    };
    if options & 0x80 != 0 {
        return tuples_begin_with_the_tenant(usize::from(*chunk).max(1), stream);
    }
    let style = Style {
        csv: (options & 1 != 0).then(|| {
            let escape = if options & 4 != 0 { b'\\' } else { b'"' };
            (if options & 2 != 0 { b'\'' } else { b'"' }, escape)
        }),
        server: if options & 8 != 0 { 18 } else { 15 },
    };
    let text = TextFormat {
        delimiter: if options & 16 != 0 { b'|' } else { b',' },
        null: if options & 32 != 0 { "7" } else { "\\N" }.to_owned(),
        default: None,
        header: if options & 64 != 0 {
            Header::Match
        } else {
            Header::None
        },
    };
    let copy = |format: CopyFormat| copy_in(format, TenantType::Int4);
    let copy = copy(match style.csv {
        None => CopyFormat::Text(text.clone()),
        Some((quote, escape)) => CopyFormat::Csv {
            text: text.clone(),
            quote,
            escape,
            force_null: ForceNull::Named,
        },
    });
    let key = TenantKey::Integer(7);
    let sent = in_chunks(
        &copy,
        &key,
        style.server,
        (usize::from(*chunk).max(1), stream),
    );
    let at_once = in_chunks(&copy, &key, style.server, (stream.len().max(1), stream));
    assert_eq!(sent, at_once, "chunks change nothing");
    let fronts = fronts(style, (&text.null, text.delimiter));
    let header = usize::from(options & 64 != 0);
    let (sent_rows, sent_end) = lines(&sent, style);
    let mut behind = Vec::new();
    for (index, sent_row) in sent_rows.iter().enumerate() {
        let front = if index < header { &fronts.0 } else { &fronts.1 };
        let row = sent_row.strip_prefix(front.as_slice());
        behind.push(row.unwrap_or_else(|| panic!("{style:?} {sent:?}")).to_vec());
    }
    // How much comes before the error that a NUL is depends on the server's buffers.
    if !stream.contains(&0) {
        assert_eq!(
            (behind, sent_end),
            lines(stream, style),
            "{style:?} {sent:?}"
        );
    }
}

/// What stands in front of the header and of a row, spelled out.
fn fronts(style: Style, (null, delimiter): (&str, u8)) -> (Vec<u8>, Vec<u8>) {
    let spelled = match style.csv {
        Some((quote, _)) => {
            let quote = char::from(quote);
            (format!("{quote}owner{quote}"), format!("{quote}7{quote}"))
        }
        // The digit itself would be NULL.
        None if null == "7" => ("owner".to_owned(), "\\067".to_owned()),
        None => ("owner".to_owned(), "7".to_owned()),
    };
    let behind = |text: String| [text.as_bytes(), &[delimiter]].concat();
    (behind(spelled.0), behind(spelled.1))
}

fn copy_in(format: CopyFormat, column_type: TenantType) -> CopyIn {
    CopyIn {
        relation: "t".to_owned(),
        owner: Some(OwnerColumn {
            name: "owner".to_owned(),
            column_type,
            columns: 2,
            format,
        }),
    }
}

fn in_chunks(
    copy: &CopyIn,
    key: &TenantKey,
    server: u32,
    (chunk, stream): (usize, &[u8]),
) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut rows = CopyStream::new(copy, key, server).expect("a number can be written");
    for chunk in stream.chunks(chunk) {
        rows.push(chunk, &mut out);
    }
    rows.finish(&mut out);
    out.to_vec()
}

/// The rows that PostgreSQL sees, without their line ends; a NUL is an error of another place.
fn lines(data: &[u8], style: Style) -> (Vec<Vec<u8>>, End) {
    let mut rows = Vec::new();
    let mut line_end = None;
    let mut at = 0;
    while at < data.len() {
        match line(data, &mut at, &mut line_end, style) {
            Line::Row(row) => rows.push(row),
            Line::Last(row) => {
                rows.extend(Some(row).filter(|row| !row.is_empty()));
                return (rows, End::Well);
            }
            Line::Error => return (rows, End::Error),
        }
    }
    (rows, End::Well)
}

enum Line {
    Row(Vec<u8>),
    /// The end of the data was marked; what stands before the mark on its line is a row.
    Last(Vec<u8>),
    Error,
}

fn line(data: &[u8], at: &mut usize, line_end: &mut Option<&'static [u8]>, style: Style) -> Line {
    let start = *at;
    let (mut quoted, mut escaped, mut first) = (false, false, true);
    loop {
        let here = *at;
        let Some(byte) = data.get(here).copied() else {
            return Line::Row(data[start..].to_vec());
        };
        *at += 1;
        let next = data.get(here + 1).copied();
        if let Some((quote, escape)) = style.csv {
            let escape = if escape == quote { 0 } else { escape };
            if quoted && byte == escape {
                escaped = !escaped;
            }
            if byte == quote && !escaped {
                quoted = !quoted;
            }
            if byte != escape {
                escaped = false;
            }
        }
        if byte == b'\r' && !quoted {
            match *line_end {
                None if next == Some(b'\n') => *line_end = Some(b"\r\n"),
                None => *line_end = Some(b"\r"),
                Some(b"\r\n") if next == Some(b'\n') => {}
                Some(b"\r") => {}
                Some(_) => return Line::Error,
            }
            if *line_end == Some(b"\r\n") {
                *at += 1;
            }
            return Line::Row(data[start..here].to_vec());
        }
        if byte == b'\n' && !quoted {
            if line_end.is_some_and(|line_end| line_end != b"\n") {
                return Line::Error;
            }
            *line_end = Some(b"\n");
            return Line::Row(data[start..here].to_vec());
        }
        let marks = match style.csv {
            None => true,
            Some(_) => first && style.server < 18,
        };
        first = false;
        if byte != b'\\' || !marks {
            continue;
        }
        let is_csv = style.csv.is_some();
        if next != Some(b'.') {
            *at += usize::from(!is_csv && next.is_some());
            continue;
        }
        let rest = &data[here + 2..];
        let behind = match (*line_end, rest) {
            (Some(b"\r\n"), [b'\r', rest @ ..]) => rest.first(),
            (Some(b"\r\n"), _) => None,
            (_, rest) => rest.first(),
        };
        match (behind, *line_end) {
            (Some(b'\r'), None | Some(b"\r")) | (Some(b'\n'), None | Some(b"\n" | b"\r\n")) => {
                return Line::Last(data[start..here].to_vec());
            }
            (Some(b'\r' | b'\n'), _) => return Line::Error,
            (_, _) if !is_csv => return Line::Error,
            (_, _) => {}
        }
    }
}

/// The same of the binary format, of rows of two columns.
fn tuples_begin_with_the_tenant(chunk: usize, stream: &[u8]) {
    let copy = copy_in(CopyFormat::Binary, TenantType::Int2);
    let key = TenantKey::Integer(7);
    let sent = in_chunks(&copy, &key, 15, (chunk, stream));
    let at_once = in_chunks(&copy, &key, 15, (stream.len().max(1), stream));
    assert_eq!(sent, at_once, "chunks change nothing");
    let (rows, end) = tuples(stream, 2);
    let (sent_rows, sent_end) = tuples(&sent, 3);
    assert_eq!((sent_rows.len(), sent_end), (rows.len(), end), "{sent:?}");
    for (row, sent) in rows.iter().zip(&sent_rows) {
        assert_eq!(sent[0].as_deref(), Some(&[0, 7][..]), "{sent:?}");
        assert_eq!(&sent[1..], row.as_slice());
    }
}

type Tuple = Vec<Option<Vec<u8>>>;

/// The tuples that PostgreSQL reads. It reports an error where they end without a trailer.
fn tuples(data: &[u8], columns: usize) -> (Vec<Tuple>, End) {
    let mut rows = Vec::new();
    let mut rest = data;
    let mut take = |length: usize| -> Option<&[u8]> {
        let (taken, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(taken)
    };
    let header = take(19)
        .filter(|header| header.starts_with(b"PGCOPY\n\xff\r\n\0") && header[11..13] == [0, 0]);
    let Some(header) = header else {
        return (rows, End::Error);
    };
    let extension = i32::from_be_bytes(header[15..19].try_into().unwrap());
    let extension = usize::try_from(extension).ok().and_then(&mut take);
    if extension.is_none() {
        return (rows, End::Error);
    }
    loop {
        // A missing count is the end, as a trailer is.
        let Some(count) = take(2) else {
            return (rows, End::Well);
        };
        match i16::from_be_bytes([count[0], count[1]]) {
            -1 if take(1).is_none() => return (rows, End::Well),
            count if usize::try_from(count) == Ok(columns) => {}
            _ => return (rows, End::Error),
        }
        let mut row = Vec::new();
        for _ in 0..columns {
            let Some(length) = take(4) else {
                return (rows, End::Error);
            };
            let length = i32::from_be_bytes(length.try_into().unwrap());
            let value = match usize::try_from(length) {
                Ok(length) => take(length).map(|value| Some(value.to_vec())),
                Err(_) if length == -1 => Some(None),
                Err(_) => None,
            };
            let Some(value) = value else {
                return (rows, End::Error);
            };
            row.push(value);
        }
        rows.push(row);
    }
}
