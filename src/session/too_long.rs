//! The client's next message. One that is longer than is held at once is read to its end, so that the
//! conversation can go on, and refused in its turn.

use bytes::{Buf, BytesMut};

use super::Session;
use super::copying::Gate;
use crate::protocol::Violation;
use crate::protocol::error_response::ErrorReport;
use crate::protocol::frame::{HEADER_BYTES, Phase, client_frame, header, too_long};
use crate::protocol::frontend::FrontendMessage;

/// A message that is being dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropping {
    /// How much of it is still to come.
    pub(super) bytes: usize,
    tag: u8,
    limit: usize,
}

/// What the client's bytes begin with.
pub(super) enum Next {
    /// A message.
    Message(FrontendMessage),
    /// One that was passed on, or means nothing.
    Passed,
    /// It has not come whole.
    Waiting,
}

/// What was found of a message that is too long.
enum Dropped {
    /// The whole of such a message: this stands for it.
    All(FrontendMessage),
    /// No such message.
    Nothing,
    /// A part of one.
    Some,
}

impl Session {
    /// Takes the next message, if it has come.
    pub(super) fn take_message(&mut self, input: &mut BytesMut) -> Result<Next, Violation> {
        match self.drop_too_long(input)? {
            Dropped::All(message) => return Ok(Next::Message(message)),
            Dropped::Some => return Ok(Next::Waiting),
            Dropped::Nothing => {}
        }
        let Some(frame) = client_frame(input, Phase::Conversation)? else {
            return Ok(Next::Waiting);
        };
        match self.in_copy(frame) {
            Some(frame) => FrontendMessage::read(&frame).map(Next::Message),
            None => Ok(Next::Passed),
        }
    }

    /// Drops what has come of a message that is too long.
    fn drop_too_long(&mut self, input: &mut BytesMut) -> Result<Dropped, Violation> {
        if self.dropping.is_none() {
            let found = header(input)?.and_then(|header| Some((header, too_long(header)?)));
            let Some((header, limit)) = found else {
                return Ok(Dropped::Nothing);
            };
            if self.gate() == Gate::Rows {
                self.out_of_step(header.tag);
                return Ok(Dropped::Some);
            }
            input.advance(HEADER_BYTES);
            self.dropping = Some(Dropping {
                bytes: header.body_bytes,
                tag: header.tag,
                limit,
            });
        }
        let Some(mut dropping) = self.dropping.take() else {
            return Ok(Dropped::Nothing);
        };
        let step = dropping.bytes.min(input.len());
        input.advance(step);
        dropping.bytes -= step;
        if dropping.bytes > 0 {
            self.dropping = Some(dropping);
            return Ok(Dropped::Some);
        }
        Ok(Dropped::All(FrontendMessage::TooLong {
            simple: matches!(dropping.tag, b'Q' | b'F'),
            limit: dropping.limit,
        }))
    }
}

/// What the client is told of a message of more than this many bytes.
pub(super) fn more_than(limit: usize) -> ErrorReport {
    ErrorReport::error(
        "54000",
        format!("a message of more than {limit} bytes is not supported"),
    )
}
