//! Scripts: what the client and the server send, and what becomes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::{Admission, Identity, Numbers, Rules, ServerState, Session, Variables};
use crate::protocol::backend::{message, put_string};
use crate::protocol::frame::{header, take};
use crate::tenant::TenantKey;
use crate::verify::Reach;

/// A session of a tenant with a database of its own, and both its wires.
struct Script {
    session: Session,
    numbers: Numbers,
    /// What the client has sent and the session has not taken yet.
    input: BytesMut,
}

impl Script {
    fn new() -> Self {
        let numbers = Numbers::default();
        let admission = Admission::new(Rules::Own(Reach::OwnRole), numbers.clone());
        let identity = Identity {
            session: numbers.next(),
            key: TenantKey::Integer(1),
            name: Arc::default(),
        };
        let mut session = Session::new(identity, Variables::default(), BTreeMap::new());
        session.set_admission(Some(Arc::new(admission)));
        Self {
            session,
            numbers,
            input: BytesMut::new(),
        }
    }

    /// The client sends this; gives what it is answered at once.
    fn client(&mut self, text: &str) -> String {
        self.input.extend_from_slice(&client_bytes(text));
        self.session.on_client(&mut self.input);
        self.answers()
    }

    /// A server connection is there; gives what it is sent.
    fn attach(&mut self) -> String {
        assert!(self.session.wants_server());
        let state = ServerState {
            last_session: Some(self.numbers.next()),
            ..ServerState::default()
        };
        self.session.attach(state);
        self.session.on_client(&mut self.input);
        self.sent()
    }

    /// The server sends this; gives what the client gets.
    fn server(&mut self, text: &str) -> String {
        let mut input = server_bytes(text);
        self.session.on_server(&mut input);
        self.answers()
    }

    fn answers(&mut self) -> String {
        let mut slices = Vec::new();
        self.session.to_client().slices(&mut slices);
        let mut bytes = BytesMut::new();
        for slice in &slices {
            bytes.extend_from_slice(slice);
        }
        drop(slices);
        let length = bytes.len();
        self.session.to_client().advance(length);
        shown(bytes)
    }

    fn sent(&mut self) -> String {
        let out = self.session.to_server().unwrap();
        let bytes = BytesMut::from(out.waiting());
        let length = bytes.len();
        out.advance(length);
        shown(bytes)
    }
}

/// `Q:text`, `P:name:text`, `B:name` and so on, by white space; `_` is a space.
fn client_bytes(text: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    for word in text.split_whitespace() {
        let mut parts = word.split(':').map(|part| part.replace('_', " "));
        let tag = parts.next().unwrap().as_bytes()[0];
        let first = parts.next().unwrap_or_default();
        let second = parts.next().unwrap_or_default();
        message(&mut bytes, tag, |body| match tag {
            b'Q' | b'D' | b'C' => put_string(body, first.as_bytes()),
            b'P' => {
                put_string(body, first.as_bytes());
                put_string(body, second.as_bytes());
                body.put_u16(0);
            }
            b'B' => {
                put_string(body, b"");
                put_string(body, first.as_bytes());
                body.put_bytes(0, 6);
            }
            b'E' => {
                put_string(body, first.as_bytes());
                body.put_u32(0);
            }
            _ => {}
        });
    }
    bytes
}

/// `C:SELECT`, `Z:I`, `E:22012` and so on.
fn server_bytes(text: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    for word in text.split_whitespace() {
        let (tag, rest) = word.split_once(':').unwrap_or((word, ""));
        let tag = tag.as_bytes()[0];
        message(&mut bytes, tag, |body| match tag {
            b'C' => put_string(body, rest.as_bytes()),
            b'Z' => body.extend_from_slice(rest.as_bytes()),
            b'E' => {
                let severity = if rest == "57P01" { "VFATAL" } else { "VERROR" };
                put_string(body, severity.as_bytes());
                put_string(body, format!("C{rest}").as_bytes());
                body.put_u8(0);
            }
            b't' => body.put_u16(0),
            b'G' => body.put_bytes(0, 3),
            _ => {}
        });
    }
    bytes
}

/// The tags, with what tells most behind them.
fn shown(mut bytes: BytesMut) -> String {
    let mut words = Vec::new();
    while let Some(next) = header(&bytes).unwrap() {
        let frame = take(&mut bytes, next).unwrap();
        let text = String::from_utf8_lossy(&frame.body)
            .replace(&super::Housekeeping::Reset.text(), "RESET")
            .replace(' ', "_");
        let strings: Vec<&str> = text.split('\0').collect();
        let tag = char::from(frame.tag);
        let rest = match (tag, &strings[..]) {
            ('Z' | 'Q', [text, ..]) => format!(":{text}"),
            ('P', [name, sql, ..]) => format!(":{}:{sql}", known(name)),
            ('B', [_, name, ..]) => format!(":{}", known(name)),
            ('D', [name, ..]) if !name.is_empty() => format!(":{}", known(name)),
            ('E', fields) => match fields.iter().find_map(|field| field.strip_prefix('C')) {
                Some(sqlstate) => format!(":{sqlstate}"),
                None => String::new(),
            },
            _ => String::new(),
        };
        words.push(format!("{tag}{rest}"));
    }
    words.join(" ")
}

/// Names of our own vary from run to run.
fn known(name: &str) -> &str {
    if name.contains("tenantry_") {
        "own"
    } else {
        name
    }
}

#[test]
fn a_query_borrows_a_connection_and_gives_it_back() {
    let mut script = Script::new();
    assert_eq!(script.client("Q:SELECT_1"), "");
    // It worked for somebody else before.
    assert_eq!(script.attach(), "Q:RESET Q:SELECT_1");
    assert_eq!(script.server("C:DISCARD Z:I T"), "T");
    assert!(!script.session.is_finished_with_server());
    assert_eq!(script.server("D D C:SELECT Z:I"), "D D C Z:I");
    assert!(script.session.is_finished_with_server());
    let (state, condition) = script.session.detach().unwrap();
    assert_eq!(condition, super::Condition::Clean);
    assert_eq!(state.last_session, Some(script.session.identity.session));
}

#[test]
fn a_connection_forgets_sequences_unless_it_was_the_last_one() {
    let mut script = Script::new();
    let mut first = ServerState::default();
    for (borrowing, expected) in [
        (None, "Q:SELECT_1"),
        (Some(1), "Q:SELECT_1"),
        (Some(1), "Q:DISCARD_SEQUENCES Q:SELECT_1"),
    ] {
        script.client("Q:SELECT_1");
        first.last_borrowing = borrowing.unwrap_or(first.last_borrowing);
        script.session.attach(first);
        script.session.on_client(&mut script.input);
        assert_eq!(script.sent(), expected);
        if expected.contains("DISCARD") {
            script.server("C:DISCARD Z:I");
        }
        script.server("T D C:SELECT Z:I");
        (first, _) = script.session.detach().unwrap();
    }
}

#[test]
fn what_needs_no_server_gets_none() {
    let mut script = Script::new();
    assert_eq!(script.client("S"), "Z:I");
    assert_eq!(script.client("Q:"), "I Z:I");
    assert_eq!(script.client("Q:SELEC"), "E:42601 Z:I");
    assert_eq!(script.client("P:s:SELEC B:s E: S"), "E:42601 Z:I");
    assert_eq!(script.client("B:nothing E: S"), "E:26000 Z:I");
    assert_eq!(script.client("C:Snothing S"), "3 Z:I");
    assert_eq!(script.client("F"), "E:0A000 Z:I");
    assert!(!script.session.wants_server());
}

#[test]
fn a_refusal_waits_for_its_turn_and_fails_the_server() {
    let mut script = Script::new();
    script.client("Q:BEGIN Q:VACUUM_(");
    let sent = script.attach();
    assert_eq!(sent, "Q:RESET Q:BEGIN Q:refused_by_tenantry");
    assert_eq!(script.server("C:DISCARD Z:I C:BEGIN Z:T"), "C Z:T");
    // The server's error is not the client's.
    assert_eq!(script.server("E:99999 Z:E"), "E:42601 Z:E");
    assert!(!script.session.is_finished_with_server());
    script.client("P::VACUUM_( B: E: S");
    assert_eq!(script.sent(), "P::refused_by_tenantry S");
    assert_eq!(script.server("E:99999 Z:E"), "E:42601 Z:E");
}

#[test]
fn an_error_takes_back_what_was_not_confirmed() {
    let mut script = Script::new();
    script.client("P:a:SELECT_1 P:b:SELECT_2 S B:b S");
    // What follows the Sync waits: it names a statement that may turn out not to exist.
    let sent = script.attach();
    assert_eq!(sent, "Q:RESET P:own:SELECT_1 P:own:SELECT_2 S");
    assert_eq!(
        script.server("C:DISCARD Z:I 1 E:42P01 Z:I"),
        "1 E:42P01 Z:I"
    );
    assert!(script.session.is_finished_with_server());
    script.session.detach();
    assert_eq!(script.client(""), "E:26000 Z:I");
    // The first one is there.
    script.client("B:a E: S");
    assert_eq!(script.attach(), "Q:RESET P:own:SELECT_1 B:own E S");
    assert_eq!(
        script.server("C:DISCARD Z:I 1 2 D C:SELECT Z:I"),
        "2 D C Z:I"
    );
}

#[test]
fn a_statement_is_prepared_once_on_a_connection() {
    let mut script = Script::new();
    script.client("P:a:SELECT_1 D:Sa B:a E: S");
    assert_eq!(script.attach(), "Q:RESET P:own:SELECT_1 D:own B:own E S");
    let answer = script.server("C:DISCARD Z:I 1 t T 2 D C:SELECT Z:T");
    assert_eq!(answer, "1 t T 2 D C Z:T");
    assert_eq!(script.client("P:b:SELECT_1"), "1");
    assert_eq!(script.client("B:b E: S"), "");
    assert_eq!(script.sent(), "B:own E S");
    assert_eq!(script.server("2 D C:SELECT Z:T"), "2 D C Z:T");
    // Close is ours to answer, in its turn.
    assert_eq!(script.client("E: C:Sa S"), "");
    assert_eq!(script.sent(), "E S");
    assert_eq!(script.server("C:SELECT"), "C 3");
}

#[test]
fn what_was_not_asked_ends_the_connection() {
    for answer in [
        "D",
        "1",
        "Z:T",
        "G",
        "W",
        "K",
        "R",
        "V",
        "T T Z:I",
        "C:SELECT C:SELECT",
        "Z:X",
    ] {
        let mut script = Script::new();
        script.client("Q:SELECT_1");
        script.attach();
        script.server("C:DISCARD Z:I");
        let expected = match answer {
            "D" => "T D C Z:I",
            _ => "",
        };
        let answer = if answer == "D" {
            "T D C:SELECT Z:I D"
        } else {
            answer
        };
        let got = script.server(answer);
        if expected.is_empty() {
            assert!(got.ends_with("E:08P01"), "{answer}: {got}");
            assert!(script.session.ending().is_some(), "{answer}");
            assert_eq!(script.session.detach().unwrap().1, super::Condition::Broken);
        } else {
            assert_eq!(got, expected);
        }
    }
    let mut script = Script::new();
    script.client("Q:SELECT_1");
    script.attach();
    assert_eq!(script.server("C:DISCARD Z:I E:57P01"), "E:57P01");
    assert!(script.session.ending().is_some());
}

#[test]
fn a_failed_preparation_of_the_connection_ends_the_client() {
    let mut script = Script::new();
    script.client("Q:SELECT_1");
    script.attach();
    // What came back for the client is never written.
    assert_eq!(script.server("E:XX000 Z:I T D C:SELECT Z:I"), "E:22023");
    assert!(script.session.ending().is_some());
    assert_eq!(script.session.detach().unwrap().1, super::Condition::Broken);
}

#[test]
fn a_stream_of_any_length_takes_little_room() {
    const STREAM_BYTES: usize = 100 * 1024 * 1024;
    let mut script = Script::new();
    script.client("Q:COPY_t_FROM_STDIN");
    script.attach();
    assert_eq!(script.server("C:DISCARD Z:I G"), "G");
    // One message, longer than any that is read as a whole.
    let mut header = BytesMut::from(&b"d"[..]);
    header.put_u32(u32::try_from(STREAM_BYTES + 4).unwrap());
    script.input.extend_from_slice(&header);
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    for _ in 0..STREAM_BYTES / chunk.len() {
        assert!(script.session.missing(&script.input) <= super::HIGH_WATER_BYTES);
        script.input.extend_from_slice(&chunk);
        script.session.on_client(&mut script.input);
        assert!(script.input.is_empty());
        let out = script.session.to_server().unwrap();
        let waiting = out.len();
        assert!(waiting <= 2 * chunk.len());
        sent += waiting;
        out.advance(waiting);
    }
    assert!(sent > STREAM_BYTES);
    assert_eq!(script.client("c Q:SELECT_1"), "");
    assert_eq!(script.sent(), "c Q:SELECT_1");
}

#[test]
fn nothing_is_sent_behind_a_copy_that_has_not_begun() {
    let mut script = Script::new();
    script.client("P::COPY_t_FROM_STDIN B: E: d S");
    script.attach();
    script.server("C:DISCARD Z:I");
    assert!(!script.session.wants_client_bytes());
    assert_eq!(script.server("1 2 E:42501"), "1 2 E:42501");
    // The server never read rows: the client's are dropped, and Sync counts.
    assert_eq!(script.client("d c"), "");
    assert_eq!(script.sent(), "S");
    assert_eq!(script.server("Z:I"), "Z:I");
}
