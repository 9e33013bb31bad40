//! The text formats, line by line, as `CopyReadLineText()` reads them.

use bytes::{BufMut, BytesMut};

use super::spelling::{Unwritable, in_csv, in_text};
use crate::isolate::copying::{CopyFormat, ForceNull, Header};

/// The first server for which `\.` on a line of its own is a row like any other in CSV.
const CSV_WITHOUT_END_MARK_SINCE: u32 = 18;

/// The line's end that the first line had, which all others must have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LineEnd {
    Unknown,
    Cr,
    CrLf,
    Lf,
}

/// Quotes, if there are any.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Style {
    /// A backslash hides the byte behind it.
    Text,
    /// Line ends in quotes are data. `escape` is none where it is the quote itself. `ends` says whether
    /// `\.` alone on a line is the end.
    Csv {
        quote: u8,
        escape: Option<u8>,
        ends: bool,
    },
}

/// What the next line is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// The header, if there is one.
    Header,
    Row,
}

/// Where in a line of CSV the next byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Quotes {
    /// Behind the escape, within quotes.
    Escaped,
    Inside,
    Outside,
}

/// Where in the stream the next byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    /// Before the first byte of a line.
    Start,
    /// Behind `\`, `\.` or `\.` and a carriage return at the beginning of a line.
    Mark(Mark),
    /// Within a line of the text format.
    Text { escaped: bool },
    /// Within a line of CSV.
    Csv(Quotes),
    /// Behind a carriage return that may be half of a line's end.
    Cr,
    /// Behind `\.` of the text format: the server looks at so many more bytes, and then at none.
    End { left: u8 },
    /// Behind the end of the data, or where the server has reported an error.
    Dropped,
}

/// How much of an end mark has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mark {
    Backslash,
    Dot,
    DotCr,
}

impl Mark {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Backslash => b"\\",
            Self::Dot => b"\\.",
            Self::DotCr => b"\\.\r",
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Lines {
    style: Style,
    /// What stands in front of a row.
    row: Vec<u8>,
    /// What stands in front of the header, if there is one.
    header: Option<Vec<u8>>,
    next: Next,
    line_end: LineEnd,
    at: At,
}

impl Lines {
    pub(super) fn new(
        format: &CopyFormat,
        (column, value): (&str, &str),
        server: u32,
    ) -> Result<Self, Unwritable> {
        let (style, text) = match format {
            CopyFormat::Binary => return Err(Unwritable),
            CopyFormat::Text(text) => (Style::Text, text),
            CopyFormat::Csv {
                text,
                quote,
                escape,
                force_null: _,
            } => {
                let breaks_lines = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\0');
                if [quote, escape].into_iter().any(breaks_lines) || *quote == b'\\' {
                    return Err(Unwritable);
                }
                let escape = Some(*escape).filter(|escape| escape != quote);
                let style = Style::Csv {
                    quote: *quote,
                    escape,
                    ends: server < CSV_WITHOUT_END_MARK_SINCE,
                };
                (style, text)
            }
        };
        if matches!(text.delimiter, b'\r' | b'\n' | b'\0') {
            return Err(Unwritable);
        }
        let spelled = |value: &str, is_row: bool| match format {
            CopyFormat::Csv {
                text,
                quote,
                escape,
                force_null,
            } => {
                let force = if is_row {
                    *force_null
                } else {
                    ForceNull::Named
                };
                in_csv(value, text, (*quote, *escape), force)
            }
            CopyFormat::Binary | CopyFormat::Text(_) => in_text(value, text),
        };
        let row = spelled(value, true)?;
        let header = match text.header {
            Header::None => None,
            Header::Match => Some(spelled(column, false)?),
            Header::Skipped => Some(row.clone()),
        };
        Ok(Self {
            style,
            row,
            header,
            next: Next::Header,
            line_end: LineEnd::Unknown,
            at: At::Start,
        })
    }

    /// What may stand in front of a line.
    pub(super) fn fronts(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&self.row), self.header.as_ref()]
            .into_iter()
            .flatten()
            .map(Vec::as_slice)
    }

    pub(super) fn push(&mut self, mut input: &[u8], out: &mut BytesMut) {
        while !input.is_empty() && self.at != At::Dropped {
            let (run, rest) = self.run(input);
            out.extend_from_slice(run);
            input = rest;
            if let Some((byte, rest)) = input.split_first() {
                input = rest;
                self.byte(*byte, out);
            }
        }
    }

    /// The stream has ended. What looked like an end mark and is not one is data.
    pub(super) fn finish(&mut self, out: &mut BytesMut) {
        if let At::Mark(mark) = self.at {
            self.begin(out);
            out.extend_from_slice(mark.bytes());
        }
        self.at = At::Dropped;
    }

    /// The bytes to come that are passed whatever they are, and the others.
    fn run<'i>(&self, input: &'i [u8]) -> (&'i [u8], &'i [u8]) {
        let length = match (self.at, self.style) {
            (At::Text { escaped: false }, _) => input
                .iter()
                .position(|byte| matches!(byte, b'\\' | b'\r' | b'\n' | b'\0')),
            (At::Csv(Quotes::Inside | Quotes::Outside), Style::Csv { quote, escape, .. }) => {
                input.iter().position(|byte| {
                    matches!(byte, b'\r' | b'\n' | b'\0') || *byte == quote || Some(*byte) == escape
                })
            }
            (_, _) => Some(0),
        };
        let length = length.unwrap_or(input.len());
        input.split_at_checked(length).unwrap_or((input, &[]))
    }

    fn byte(&mut self, byte: u8, out: &mut BytesMut) {
        if byte == b'\0' {
            // No text may hold it: the server will say so, and read no further.
            if matches!(self.at, At::Start | At::Mark(_) | At::Cr) {
                self.begin(out);
            }
            out.put_u8(byte);
            self.at = At::Dropped;
            return;
        }
        match self.at {
            At::Start => self.first(byte, out),
            At::Mark(mark) => self.mark(mark, byte, out),
            At::Text { escaped } => {
                out.put_u8(byte);
                match byte {
                    _ if escaped => self.at = At::Text { escaped: false },
                    b'\\' => self.at = At::Text { escaped: true },
                    b'\r' | b'\n' => self.line_end(byte),
                    _ => {}
                }
            }
            At::Csv(quotes) => {
                out.put_u8(byte);
                self.csv(byte, quotes);
            }
            At::Cr => self.behind_cr(byte, out),
            At::End { left } => {
                out.put_u8(byte);
                self.at = match left.checked_sub(1) {
                    Some(left @ 1..) => At::End { left },
                    Some(0) | None => At::Dropped,
                };
            }
            At::Dropped => {}
        }
    }

    /// A line begins here: what stands in front of it is written.
    fn begin(&mut self, out: &mut BytesMut) {
        let front = match (self.next, &self.header) {
            (Next::Header, Some(header)) => header,
            (Next::Header | Next::Row, _) => &self.row,
        };
        out.extend_from_slice(front);
        self.next = Next::Row;
        self.at = match self.style {
            Style::Text => At::Text { escaped: false },
            Style::Csv { .. } => At::Csv(Quotes::Outside),
        };
    }

    fn first(&mut self, byte: u8, out: &mut BytesMut) {
        let may_be_mark = match self.style {
            Style::Text => true,
            Style::Csv { ends, .. } => ends,
        };
        if byte == b'\\' && may_be_mark {
            self.at = At::Mark(Mark::Backslash);
            return;
        }
        self.begin(out);
        self.byte(byte, out);
    }

    /// A line that begins with a backslash goes on.
    fn mark(&mut self, mark: Mark, byte: u8, out: &mut BytesMut) {
        let is_text = self.style == Style::Text;
        match (mark, byte) {
            // The server looks at the line's end behind it, or reports that there is none.
            (Mark::Backslash, b'.') if is_text => {
                out.extend_from_slice(b"\\.");
                self.at = At::End { left: 2 };
            }
            (Mark::Backslash, b'.') => self.at = At::Mark(Mark::Dot),
            (Mark::Dot, b'\r') if self.line_end == LineEnd::CrLf => {
                self.at = At::Mark(Mark::DotCr);
            }
            (Mark::Dot, b'\r' | b'\n') if self.line_end == LineEnd::Unknown => {
                self.at = At::Dropped;
            }
            (Mark::Dot, b'\r') if self.line_end == LineEnd::Cr => self.at = At::Dropped,
            (Mark::Dot, b'\n') if self.line_end == LineEnd::Lf => self.at = At::Dropped,
            (Mark::DotCr, b'\n') => self.at = At::Dropped,
            // "end-of-copy marker does not match previous newline style"
            (Mark::Dot, b'\r' | b'\n') if self.line_end != LineEnd::CrLf => {
                self.wrong(mark, byte, out);
            }
            (Mark::DotCr, b'\r') => self.wrong(mark, byte, out),
            (Mark::Backslash | Mark::Dot | Mark::DotCr, _) => {
                self.begin(out);
                for before in mark.bytes() {
                    self.byte(*before, out);
                }
                self.byte(byte, out);
            }
        }
    }

    /// What the server reports an error of, as it stands.
    fn wrong(&mut self, mark: Mark, byte: u8, out: &mut BytesMut) {
        out.extend_from_slice(mark.bytes());
        out.put_u8(byte);
        self.at = At::Dropped;
    }

    fn csv(&mut self, byte: u8, quotes: Quotes) {
        let Style::Csv { quote, escape, .. } = self.style else {
            return;
        };
        let quotes = match quotes {
            Quotes::Outside if byte == quote => Quotes::Inside,
            Quotes::Outside => Quotes::Outside,
            Quotes::Inside if Some(byte) == escape => Quotes::Escaped,
            Quotes::Inside if byte == quote => Quotes::Outside,
            Quotes::Inside | Quotes::Escaped => Quotes::Inside,
        };
        self.at = At::Csv(quotes);
        if matches!(byte, b'\r' | b'\n') && quotes == Quotes::Outside {
            self.line_end(byte);
        }
    }

    /// A carriage return or a line feed that is not data.
    fn line_end(&mut self, byte: u8) {
        self.at = match (byte, self.line_end) {
            (b'\r', LineEnd::Unknown | LineEnd::CrLf) => At::Cr,
            (b'\r', LineEnd::Cr) => At::Start,
            (b'\n', LineEnd::Unknown | LineEnd::Lf) => {
                self.line_end = LineEnd::Lf;
                At::Start
            }
            // "literal carriage return found in data", "literal newline found in data"
            (_, LineEnd::Cr | LineEnd::CrLf | LineEnd::Lf | LineEnd::Unknown) => At::Dropped,
        };
    }

    fn behind_cr(&mut self, byte: u8, out: &mut BytesMut) {
        match (byte, self.line_end) {
            (b'\n', _) => {
                out.put_u8(byte);
                self.line_end = LineEnd::CrLf;
                self.at = At::Start;
            }
            (_, LineEnd::Unknown) => {
                self.line_end = LineEnd::Cr;
                self.at = At::Start;
                self.byte(byte, out);
            }
            // "literal carriage return found in data"
            (_, LineEnd::Cr | LineEnd::CrLf | LineEnd::Lf) => {
                out.put_u8(byte);
                self.at = At::Dropped;
            }
        }
    }
}
