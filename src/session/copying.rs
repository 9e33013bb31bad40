//! COPY FROM STDIN: the client's stream on its way to the server.
//!
//! # Invariants
//! 1. Behind a COPY FROM nothing is sent before it is known whether the server reads rows now: the
//!    client's bytes would be messages in the one case and be ignored in the other.
//! 2. While the server reads rows it gets rows, and nothing else.
//!
//! # Not here
//! What is put in front of each row: [`crate::protocol::copy`].

use bytes::{Buf, BufMut, BytesMut};

use super::admission::Plan;
use super::client::Failure;
use super::effect::Effect;
use super::expected::Reply;
use super::{Condition, Session};
use crate::protocol::Violation;
use crate::protocol::backend::message;
use crate::protocol::copy::CopyStream;
use crate::protocol::error_response::ErrorReport;
use crate::protocol::frame::{COPY_DATA_BYTES_MAX, Frame, HEADER_BYTES, header, missing};
use crate::protocol::reader::Reader;
use crate::tenant::TenantKey;

/// A stream, from the server's `CopyInResponse` to the end of the statement.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) stream: CopyStream,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The client may send rows.
    Open,
    /// It has ended the stream.
    Closed,
}

/// What may be read of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gate {
    /// Nothing, until the server has answered.
    Closed,
    /// Any message.
    Messages,
    /// A stream of rows.
    Rows,
}

/// What became of the client's next bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// They are no COPY data.
    Nothing,
    /// They were COPY data; there may be more.
    Some,
    /// More bytes are needed to tell.
    Waiting,
}

impl Session {
    /// What may be read of the client now.
    pub(super) fn gate(&self) -> Gate {
        let Some(server) = &self.server else {
            return Gate::Messages;
        };
        let due = server.expected.copies_due();
        match &server.copying {
            Some(copying) if copying.phase == Phase::Open => Gate::Rows,
            // The one that is closed is among those that are due, until the server has said so.
            Some(_) if due > 1 => Gate::Closed,
            None if due > 0 => Gate::Closed,
            Some(_) | None => Gate::Messages,
        }
    }

    /// How many bytes must be read of the client before something can become of them.
    pub fn missing(&self, input: &[u8]) -> usize {
        let passing = match self.dropping {
            Some(dropping) => dropping.bytes,
            None => self.copy_data_bytes,
        };
        let missing = missing(input);
        match input.first() {
            _ if passing > 0 => passing.min(super::HIGH_WATER_BYTES),
            // It is taken as it comes.
            Some(b'd') => missing.min(HEADER_BYTES),
            Some(_) | None => missing,
        }
    }

    /// Takes `CopyData`, of any length and as it comes: outside of COPY it is dropped, as PostgreSQL does.
    pub(super) fn take_copy_data(&mut self, input: &mut BytesMut) -> Result<Taken, Violation> {
        if self.copy_data_bytes > 0 {
            if input.is_empty() {
                return Ok(Taken::Waiting);
            }
            let step = self
                .copy_data_bytes
                .min(input.len())
                .min(super::HIGH_WATER_BYTES);
            let bytes = input.split_to(step);
            self.copy_data_bytes -= step;
            self.push_rows(&bytes);
            return Ok(Taken::Some);
        }
        match header(input)? {
            Some(header) if header.tag == b'd' => {
                if header.body_bytes > COPY_DATA_BYTES_MAX {
                    return Err(Violation::Length);
                }
                input.advance(HEADER_BYTES);
                self.copy_data_bytes = header.body_bytes;
                Ok(Taken::Some)
            }
            None if input.first() == Some(&b'd') => Ok(Taken::Waiting),
            Some(_) | None => Ok(Taken::Nothing),
        }
    }

    fn push_rows(&mut self, bytes: &[u8]) {
        if self.gate() != Gate::Rows {
            return;
        }
        let Some(server) = &mut self.server else {
            return;
        };
        if let Some(copying) = &mut server.copying {
            server.out.copy_data(|out| copying.stream.push(bytes, out));
        }
    }

    /// A message while the server reads rows; gives it back if it has another meaning then.
    pub(super) fn in_copy(&mut self, frame: Frame) -> Option<Frame> {
        if self.gate() != Gate::Rows {
            return Some(frame);
        }
        match frame.tag {
            b'X' => return Some(frame),
            // As CopyGetData() does.
            b'H' | b'S' => return None,
            b'c' | b'f' => {}
            tag => {
                self.out_of_step(tag);
                return None;
            }
        }
        let server = self.server.as_mut()?;
        let copying = server.copying.as_mut()?;
        copying.phase = Phase::Closed;
        if frame.tag == b'c' {
            server.out.copy_data(|out| copying.stream.finish(out));
            server.out.copy_done();
        } else {
            let why = frame.body.split(|byte| *byte == 0).next();
            server.out.copy_fail(why.unwrap_or_default());
        }
        None
    }

    /// As PostgreSQL says it, and ends the connection.
    pub(super) fn out_of_step(&mut self, tag: u8) {
        if let Some(server) = &mut self.server {
            server.condition = Condition::Broken;
        }
        let message = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
        ErrorReport::error("08P01", message).write(self.to_client.buffer());
        self.end(&ErrorReport::fatal(
            "08P01",
            "terminating connection because protocol synchronization was lost",
        ));
    }

    /// `CopyInResponse`: rows may come. The client is told of its own columns only.
    pub(super) fn on_copy_in(&mut self, body: &[u8]) -> Result<(), Violation> {
        let wrong = || Violation::ServerTag(b'G');
        let key = self.identity.key.clone();
        let server = self.server.as_mut().ok_or_else(wrong)?;
        let copy = match server.expected.front() {
            Some(Reply::Execute(Effect::CopyIn(copy))) => copy,
            Some(Reply::Query { effects, .. }) => match effects.front() {
                Some(Effect::CopyIn(copy)) => copy,
                Some(_) | None => return Err(wrong()),
            },
            Some(_) | None => return Err(wrong()),
        };
        let version = major_version(server.state.parameters.get("server_version"));
        let stream = CopyStream::new(copy, &key, version).map_err(|_unwritable| wrong())?;
        if server.copying.is_some() {
            return Err(wrong());
        }
        let mut reader = Reader::new(body);
        let format = reader.u8()?;
        let columns = reader.count()?;
        let formats = reader.bytes(2 * columns)?;
        reader.finish()?;
        let hidden = stream.hidden_columns();
        let formats = formats.get(2 * hidden..).ok_or_else(wrong)?;
        message(self.to_client.buffer(), b'G', |body| {
            body.put_u8(format);
            body.put_u16(u16::try_from(formats.len() / 2).unwrap_or(u16::MAX));
            body.extend_from_slice(formats);
        });
        server.copying = Some(Box::new(Copying {
            stream,
            phase: Phase::Open,
        }));
        Ok(())
    }

    /// Whether the tenant's value can be written into the streams of a plan.
    pub(super) fn check_streams(&self, plan: &Plan, key: &TenantKey) -> Result<(), Failure> {
        let version = self.server.as_ref().map_or(0, |server| {
            major_version(server.state.parameters.get("server_version"))
        });
        let effects = plan.statements.iter().map(Effect::of);
        for copy in effects.filter_map(Effect::copy_in) {
            CopyStream::new(&copy, key, version)
                .map_err(|unwritable| ErrorReport::error("0A000", unwritable.to_string()))?;
        }
        Ok(())
    }
}

/// What stands before the first dot; 0 if that is no number.
fn major_version(version: Option<&String>) -> u32 {
    let digits: String = version
        .into_iter()
        .flat_map(|version| version.chars())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(0)
}
