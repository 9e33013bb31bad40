//! A client that sends exactly the bytes that it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

/// One message of the server.
#[derive(Clone, Eq, PartialEq)]
pub struct Message {
    pub tag: char,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.tag, String::from_utf8_lossy(&self.body))
    }
}

impl Message {
    /// A field of ErrorResponse or NoticeResponse.
    pub fn field(&self, code: char) -> Option<String> {
        self.body
            .split(|byte| *byte == 0)
            .find(|field| {
                field
                    .first()
                    .is_some_and(|first| char::from(*first) == code)
            })
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
    }

    /// The values of a DataRow in text format.
    pub fn values(&self) -> Vec<String> {
        let count = u16::from_be_bytes(self.body[..2].try_into().unwrap());
        let mut rest = &self.body[2..];
        let mut values = Vec::new();
        for _ in 0..count {
            let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
            rest = &rest[4..];
            match usize::try_from(length) {
                Ok(length) => {
                    values.push(String::from_utf8_lossy(&rest[..length]).into_owned());
                    rest = &rest[length..];
                }
                Err(_null) => values.push("NULL".to_owned()),
            }
        }
        values
    }

    fn first_value(&self) -> String {
        let length = i32::from_be_bytes(self.body[2..6].try_into().unwrap());
        if length < 0 {
            return "NULL".to_owned();
        }
        String::from_utf8_lossy(&self.body[6..6 + usize::try_from(length).unwrap()]).into_owned()
    }
}

/// A connection.
pub struct Raw {
    pub stream: TcpStream,
    input: Vec<u8>,
    /// Process and key of BackendKeyData.
    pub key: Vec<u8>,
    /// What ParameterStatus said.
    pub parameters: Vec<(String, String)>,
}

impl Raw {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            input: Vec::new(),
            key: Vec::new(),
            parameters: Vec::new(),
        }
    }

    /// Logs in, or gives the error.
    pub fn log_in(port: u16, user: &str, password: &str, database: &str) -> Result<Self, Message> {
        Self::log_in_with(port, password, &[("user", user), ("database", database)])
    }

    pub fn log_in_with(
        port: u16,
        password: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Message> {
        let mut raw = Self::connect(port);
        let mut out = BytesMut::new();
        frontend::startup_message(parameters.iter().copied(), &mut out).unwrap();
        raw.send(&out);
        let mut error = None;
        let is_in = raw.greet(password, |message| match message.tag {
            'R' | 'S' | 'K' | 'Z' => {}
            'E' => error = Some(message.clone()),
            other => panic!("{other} while logging in"),
        });
        match (is_in, error) {
            (true, None) => Ok(raw),
            (_, Some(error)) => Err(error),
            (false, None) => panic!("the end while logging in"),
        }
    }

    /// Answers what is asked of a client that logs in, and shows each message, up to ReadyForQuery or to the end;
    /// whether it is the former.
    pub fn greet(&mut self, password: &str, mut show: impl FnMut(&Message)) -> bool {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let mut out = BytesMut::new();
        while let Some(message) = self.message() {
            out.clear();
            show(&message);
            match message.tag {
                'R' => match message.body[..4] {
                    [0, 0, 0, 0] => {}
                    [0, 0, 0, 10] => {
                        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)
                            .unwrap();
                    }
                    [0, 0, 0, 11] => {
                        scram.update(&message.body[4..]).unwrap();
                        frontend::sasl_response(scram.message(), &mut out).unwrap();
                    }
                    [0, 0, 0, 12] => scram.finish(&message.body[4..]).unwrap(),
                    ref other => panic!("authentication {other:?}"),
                },
                'S' => self.parameters.push(status(&message)),
                'K' => self.key = message.body,
                'Z' => return true,
                _ => {}
            }
            self.send(&out);
        }
        false
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // The other side may have closed already: what it said is still to be read.
        self.stream.write_all(bytes).ok();
    }

    /// The next message; nothing at the end of the connection.
    pub fn message(&mut self) -> Option<Message> {
        loop {
            if let Some(header) = self.input.first_chunk::<5>() {
                let length = u32::from_be_bytes(header[1..].try_into().unwrap());
                let whole = usize::try_from(length).unwrap() + 1;
                if self.input.len() >= whole {
                    let message = Message {
                        tag: char::from(header[0]),
                        body: self.input[5..whole].to_vec(),
                    };
                    self.input.drain(..whole);
                    return Some(message);
                }
            }
            let mut buffer = vec![0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no message: {error}"),
            }
        }
    }

    /// All messages up to ReadyForQuery, or to the end.
    pub fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.message() {
            let is_ready = message.tag == 'Z';
            messages.push(message);
            if is_ready {
                break;
            }
        }
        messages
    }

    /// The tags of what is answered, with the SQLSTATE behind `E` and the status behind `Z`.
    /// ParameterStatus is left out.
    pub fn answer(&mut self) -> String {
        shape(&self.until_ready())
    }

    pub fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send(&query(sql));
        self.until_ready()
    }

    /// The first column of the rows of one query.
    pub fn rows(&mut self, sql: &str) -> Vec<String> {
        let messages = self.query(sql);
        if let Some(error) = messages.iter().find(|message| message.tag == 'E') {
            panic!("{sql}: {:?} {:?}", error.field('C'), error.field('M'));
        }
        messages
            .iter()
            .filter(|message| message.tag == 'D')
            .map(Message::first_value)
            .collect()
    }

    /// The next byte, as encryption is answered.
    pub fn byte(&mut self) -> Option<char> {
        let mut byte = [0; 1];
        self.stream.read_exact(&mut byte).ok()?;
        Some(char::from(byte[0]))
    }

    /// Nothing has come, and nothing comes for a while.
    pub fn is_quiet(&mut self, duration: Duration) -> bool {
        self.input.is_empty() && self.is_silent(duration)
    }

    /// Nothing comes for a while.
    pub fn is_silent(&mut self, duration: Duration) -> bool {
        self.stream.set_read_timeout(Some(duration)).unwrap();
        let mut buffer = [0; 1];
        let began = Instant::now();
        let silent = self.stream.peek(&mut buffer).is_err();
        self.stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        silent && began.elapsed() >= duration / 2
    }
}

fn status(message: &Message) -> (String, String) {
    let mut strings = message
        .body
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned());
    (strings.next().unwrap(), strings.next().unwrap())
}

/// The tags of messages in one line.
pub fn shape(messages: &[Message]) -> String {
    let words: Vec<String> = messages
        .iter()
        .filter(|message| message.tag != 'S')
        .map(|message| match message.tag {
            'E' => format!("E:{}", message.field('C').unwrap_or_default()),
            'Z' => format!("Z:{}", String::from_utf8_lossy(&message.body)),
            tag => tag.to_string(),
        })
        .collect();
    words.join(" ")
}

pub fn query(sql: &str) -> Vec<u8> {
    message('Q', &[sql.as_bytes(), b"\0"].concat())
}

pub fn message(tag: char, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(tag).unwrap()];
    bytes.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(
        'P',
        &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat(),
    )
}

/// Bind of text values to the unnamed portal, with text results.
pub fn bind(statement: &str, values: &[&str]) -> Vec<u8> {
    let mut body = [b"\0", statement.as_bytes(), b"\0\0\0"].concat();
    body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(b"\0\0");
    message('B', &body)
}

pub fn describe_statement(name: &str) -> Vec<u8> {
    message('D', &[b"S", name.as_bytes(), b"\0"].concat())
}

pub fn close_statement(name: &str) -> Vec<u8> {
    message('C', &[b"S", name.as_bytes(), b"\0"].concat())
}

pub fn execute() -> Vec<u8> {
    message('E', b"\0\0\0\0\0")
}

pub fn sync() -> Vec<u8> {
    message('S', b"")
}

pub fn flush() -> Vec<u8> {
    message('H', b"")
}
