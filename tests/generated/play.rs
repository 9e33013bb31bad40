//! Plays a step on a connection, and compares two answers message by message.

use std::collections::BTreeMap;

use super::expression::Parameter;
use super::program::{Statement, Step};
use crate::wire::raw::{self, Message, Raw};

/// `integer[]` in `pg_type`.
const INTEGERS: u32 = 1007;

/// A connection as the application has it.
pub(super) struct Session {
    raw: Raw,
    /// The names of types that the database has of its own: their numbers differ.
    types: BTreeMap<u32, String>,
}

/// What is told of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    Line(String),
    Error(Told),
}

/// An error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Told {
    code: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<String>,
}

impl Told {
    /// Whether rows still refer to what was to go.
    fn is_of_referring_rows(&self) -> bool {
        self.code == "23503" && self.message.starts_with("update or delete on table ")
    }
}

/// Everything that came back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) parts: Vec<Part>,
    /// Of the transaction: I, T or E.
    pub(super) status: char,
}

impl Answer {
    /// The proxy's code, if it has refused.
    pub(super) fn refusal(&self) -> Option<String> {
        self.parts.iter().find_map(|part| match part {
            Part::Error(told) => {
                let (_, code) = told.message.rsplit_once(" [TN")?;
                Some(format!("TN{}", code.strip_suffix(']')?))
            }
            Part::Line(_) => None,
        })
    }

    pub(super) fn refusal_text(&self) -> String {
        self.parts
            .iter()
            .find_map(|part| match part {
                Part::Error(told) => Some(match &told.hint {
                    Some(hint) => format!("{} ({hint})", told.message),
                    None => told.message.clone(),
                }),
                Part::Line(_) => None,
            })
            .unwrap_or_default()
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Error(told) => Some(told.code.as_str()),
            Part::Line(_) => None,
        })
    }

    /// Whether this is what the private database says. An error may tell less: where its detail, hint
    /// or position would have told of the statement that was really run.
    pub(super) fn is_as(&self, private: &Self) -> bool {
        let less =
            |found: &Option<String>, wanted: &Option<String>| found.is_none() || found == wanted;
        let same = |(found, wanted): (&Part, &Part)| match (found, wanted) {
            (Part::Line(found), Part::Line(wanted)) => found == wanted,
            // Which of several foreign keys is looked at first is a matter of object identifiers; the action
            // of one may set a column to NULL that does not take it.
            (Part::Error(found), Part::Error(wanted))
                if wanted.code == "23503" || found.is_of_referring_rows() =>
            {
                found.code == wanted.code
                    || found.code == "23502" && wanted.is_of_referring_rows()
                    || wanted.code == "23502" && found.is_of_referring_rows()
            }
            (Part::Error(found), Part::Error(wanted)) => {
                found.code == wanted.code
                    && found.message == wanted.message
                    && less(&found.detail, &wanted.detail)
                    && less(&found.hint, &wanted.hint)
                    && less(&found.position, &wanted.position)
            }
            (Part::Line(_), Part::Error(_)) | (Part::Error(_), Part::Line(_)) => false,
        };
        self.status == private.status
            && self.parts.len() == private.parts.len()
            && self.parts.iter().zip(&private.parts).all(same)
    }
}

impl Session {
    pub(super) fn new(raw: Raw, types: BTreeMap<u32, String>) -> Self {
        Self { raw, types }
    }

    pub(super) fn play(&mut self, statement: &Statement) -> Answer {
        let (sent, data) = match &statement.step {
            Step::Query(sql) => (raw::query(sql), None),
            Step::CopyIn { sql, data } => (raw::query(sql), Some(data)),
            Step::Extended {
                sql,
                values,
                binary,
            } => (extended(sql, values, *binary), None),
        };
        self.raw.send(&sent);
        let mut messages = Vec::new();
        loop {
            let message = self.raw.message().unwrap_or_else(|| {
                panic!("the connection has ended: {}", statement.step.sql());
            });
            let tag = message.tag;
            messages.push(message);
            if tag == 'G' {
                let lines = data.map_or(&[][..], |data| data.as_slice());
                self.raw.send(&raw::message('d', lines));
                self.raw.send(&raw::message('c', b""));
            }
            if tag == 'Z' {
                break;
            }
        }
        // Of a UNION ALL whose other parts the plan finds empty, it tells the modifiers of the part that is left.
        let of_plan = match &statement.step {
            Step::Query(sql) => sql.contains("UNION ALL"),
            Step::Extended { .. } | Step::CopyIn { .. } => false,
        };
        self.answer(&messages, statement.ordered, of_plan)
    }

    /// Ends what is left of a transaction.
    pub(super) fn roll_back(&mut self) {
        self.raw.query("ROLLBACK");
    }

    pub(super) fn query(&mut self, sql: &str) -> Answer {
        let messages = self.raw.query(sql);
        // Parts of a UNION ALL may come in any order.
        self.answer(&messages, false, true)
    }

    fn answer(&self, messages: &[Message], ordered: bool, of_plan: bool) -> Answer {
        let mut parts: Vec<Part> = Vec::new();
        let mut rows: Vec<String> = Vec::new();
        let mut status = '?';
        let mut is_binary_array = Vec::new();
        let mut copies_binary = false;
        for message in messages {
            let row = match message.tag {
                'D' => Some(format!(
                    "row {}",
                    bytes(&portable(&message.body, &is_binary_array))
                )),
                'd' if copies_binary => {
                    Some(format!("copied {}", bytes(&portable_copy(&message.body))))
                }
                'd' => Some(format!("copied {}", bytes(&message.body))),
                _ => None,
            };
            if let Some(row) = row {
                rows.push(row);
                continue;
            }
            if !ordered {
                rows.sort();
            }
            parts.extend(rows.drain(..).map(Part::Line));
            match message.tag {
                'S' => {}
                'Z' => status = char::from(message.body[0]),
                'E' => parts.push(Part::Error(told(message))),
                'N' => {
                    let told = told(message);
                    parts.push(Part::Line(format!("notice {} {}", told.code, told.message)));
                }
                'T' => {
                    is_binary_array = self.binary_arrays(&message.body);
                    parts.push(Part::Line(self.columns(&message.body, of_plan)));
                }
                'H' => {
                    copies_binary = message.body.first() == Some(&1);
                    parts.push(Part::Line(format!("H {}", bytes(&message.body))));
                }
                't' => parts.push(Part::Line(self.parameters(&message.body))),
                tag => parts.push(Part::Line(format!("{tag} {}", bytes(&message.body)))),
            }
        }
        Answer { parts, status }
    }

    fn type_name(&self, bytes: &[u8]) -> String {
        let number = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        self.types
            .get(&number)
            .cloned()
            .unwrap_or_else(|| number.to_string())
    }

    /// `RowDescription` but for the table: a column's name, type, size, modifier, if it is not that of a plan,
    /// and format.
    fn columns(&self, body: &[u8], of_plan: bool) -> String {
        let mut rest = &body[2..];
        let mut out = "columns".to_owned();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == 0).expect("an end");
            let name = String::from_utf8_lossy(&rest[..end]);
            let mut fields = rest[end + 1..end + 19].to_vec();
            if of_plan {
                fields[12..16].fill(0);
            }
            let type_name = match self.type_name(&fields[6..10]) {
                // A masked column of a domain has the base type.
                domain if domain == "_points" => INTEGERS.to_string(),
                other => other,
            };
            out = format!("{out} {name}:{type_name}:{:?}", &fields[10..]);
            rest = &rest[end + 19..];
        }
        out
    }

    /// Which columns come as binary arrays of a type that the database has of its own, or of the one that a
    /// domain of its own is made from.
    fn binary_arrays(&self, body: &[u8]) -> Vec<bool> {
        let mut rest = &body[2..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == 0).expect("an end");
            let fields = &rest[end + 1..end + 19];
            let is_binary = fields[16..18] == [0, 1];
            let type_name = self.type_name(&fields[6..10]);
            let may_be_own = type_name.starts_with('_') || type_name == INTEGERS.to_string();
            found.push(is_binary && may_be_own);
            rest = &rest[end + 19..];
        }
        found
    }

    fn parameters(&self, body: &[u8]) -> String {
        let names: Vec<String> = body[2..]
            .chunks(4)
            .map(|number| self.type_name(number))
            .collect();
        format!("parameters {}", names.join(" "))
    }
}

fn extended(sql: &str, values: &[Parameter], binary: bool) -> Vec<u8> {
    let mut body = b"\0\0".to_vec();
    let count = u16::try_from(values.len()).expect("few parameters");
    let encoded: Vec<(u16, Vec<u8>)> = values
        .iter()
        .map(|parameter| match parameter.kind.binary(&parameter.value) {
            Some(bytes) if binary => (1, bytes),
            _ => (0, parameter.value.clone().into_bytes()),
        })
        .collect();
    body.extend_from_slice(&count.to_be_bytes());
    for (format, _) in &encoded {
        body.extend_from_slice(&format.to_be_bytes());
    }
    body.extend_from_slice(&count.to_be_bytes());
    for (_, value) in &encoded {
        let length = u32::try_from(value.len()).expect("a short value");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(value);
    }
    body.extend_from_slice(&1_u16.to_be_bytes());
    body.extend_from_slice(&u16::from(binary).to_be_bytes());
    [
        raw::parse("", sql),
        raw::describe_statement(""),
        raw::message('B', &body),
        raw::message('D', b"P\0"),
        raw::execute(),
        raw::sync(),
    ]
    .concat()
}

fn told(message: &Message) -> Told {
    Told {
        code: message.field('C').unwrap_or_default(),
        message: as_private(&message.field('M').unwrap_or_default()),
        detail: message.field('D'),
        hint: message.field('H'),
        position: message.field('P'),
    }
}

/// What the shared schema's own names bring into messages: a table may have partitions for tenants, and
/// PostgreSQL names the foreign keys between partitions after their columns. A TRUNCATE is a DELETE, which
/// shows in a transaction that is read-only.
fn as_private(message: &str) -> String {
    let names = [
        "_p0",
        "_p1",
        "_tenant_id",
        "_org",
        "_Owner",
        "_fkey1",
        "_fkey2",
        "_fkey",
    ];
    let message = names.iter().fold(message.to_owned(), |message, name| {
        message.replace(name, "")
    });
    message.replace("execute TRUNCATE TABLE in", "execute DELETE in")
}

/// A row of a stream in binary, without the stream's head, which the first row has in front of it, and without
/// the numbers that each database has given to its own types: an array names its elements' type.
fn portable_copy(data: &[u8]) -> Vec<u8> {
    let row = if data.starts_with(b"PGCOPY\n") {
        &data[19..]
    } else {
        data
    };
    let columns = match row.first_chunk() {
        // Behind the last row.
        None | Some([0xff, 0xff]) => 0,
        Some(count) => usize::from(u16::from_be_bytes(*count)),
    };
    let mut row = row.to_vec();
    let mut at = 2;
    for _ in 0..columns {
        let length: [u8; 4] = row[at..at + 4].try_into().expect("a length");
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or_default();
        at += 4;
        // The number of dimensions, whether there are NULLs, and a type that is not the system's.
        let is_array = length >= 12
            && matches!(row[at..at + 8], [0, 0, 0, 0..=6, 0, 0, 0, 0 | 1])
            && row[at + 8..at + 12] >= [0, 0, 0x40, 0][..];
        if is_array {
            row[at + 8..at + 12].fill(0);
        }
        at += length;
    }
    row
}

/// A row without the numbers that each database has given to its own types: an array names its elements' type.
fn portable(row: &[u8], is_binary_array: &[bool]) -> Vec<u8> {
    let mut row = row.to_vec();
    let mut at = 2;
    for is_binary_array in is_binary_array {
        let length: [u8; 4] = row[at..at + 4].try_into().expect("a length");
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or_default();
        at += 4;
        if *is_binary_array && length >= 12 {
            row[at + 8..at + 12].fill(0);
        }
        at += length;
    }
    row
}

fn bytes(body: &[u8]) -> String {
    body.escape_ascii().to_string()
}
