//! The rows of many tenants on their way into a temporary table of the admin's own server connection.
//!
//! In: the frames that an admin's client would get. Out: the table, or nothing at all.
//!
//! # Invariants
//! 1. The table and its rows are there together, or neither.
//! 2. What is sent is [`Housekeeping`] and COPY data; a value cannot end its field.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::catalog::{Catalog, Oid};
use crate::protocol::Violation;
use crate::protocol::backend::message;
use crate::protocol::error_response::{ErrorReport, ServerReport};
use crate::protocol::frame::{HEADER_BYTES, SERVER_BYTES_MAX, header, take};
use crate::protocol::reader::Reader;
use crate::session::{FanError, Housekeeping, ToServer};
use crate::upstream::Server;

/// How much waits before it is written, in bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// Why nothing was collected.
#[derive(Debug)]
pub(super) enum CollectError {
    /// The server connection is in no known state.
    Lost,
    /// The server, or the result, does not allow it.
    Failed(FanError),
}

impl From<std::io::Error> for CollectError {
    fn from(_error: std::io::Error) -> Self {
        Self::Lost
    }
}

impl From<Violation> for CollectError {
    fn from(_violation: Violation) -> Self {
        Self::Lost
    }
}

/// A table that is being filled.
pub(super) struct Collector<'a> {
    server: &'a mut Server,
    catalog: &'a Catalog,
    table: &'a str,
    columns: Vec<(String, Oid)>,
    state: State,
    out: BytesMut,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing was sent yet.
    New,
    /// The server takes rows.
    Open,
    /// Nobody knows.
    Lost,
}

impl<'a> Collector<'a> {
    /// A table of this name, on this connection, which must be idle.
    pub(super) fn new(server: &'a mut Server, catalog: &'a Catalog, table: &'a str) -> Self {
        Self {
            server,
            catalog,
            table,
            columns: Vec::new(),
            state: State::New,
            out: BytesMut::new(),
        }
    }

    /// Takes frames; gives back what is for the client.
    pub(super) async fn take(&mut self, frames: BytesMut) -> Result<BytesMut, CollectError> {
        let taken = self.take_all(frames).await;
        if matches!(taken, Err(CollectError::Lost)) {
            self.state = State::Lost;
        }
        taken
    }

    async fn take_all(&mut self, mut frames: BytesMut) -> Result<BytesMut, CollectError> {
        let mut for_client = BytesMut::new();
        while let Some(next) = header(&frames)? {
            let tag = next.tag;
            if matches!(tag, b'T' | b'D') {
                let Some(frame) = take(&mut frames, next) else {
                    break;
                };
                if tag == b'T' {
                    self.open(&frame.body).await?;
                } else {
                    self.row(&frame.body)?;
                }
            } else {
                let whole = HEADER_BYTES + next.body_bytes;
                for_client.extend_from_slice(&frames.split_to(whole.min(frames.len())));
            }
        }
        if self.out.len() >= WRITE_BYTES {
            self.write().await?;
        }
        Ok(for_client)
    }

    /// All rows have come; gives the columns.
    pub(super) async fn finish(mut self) -> Result<Vec<(String, Oid)>, CollectError> {
        match self.state {
            State::Open => {}
            State::Lost => return Err(CollectError::Lost),
            State::New => {
                let report = ErrorReport::error("42601", "there are no columns to be collected");
                return Err(CollectError::Failed(report.into()));
            }
        }
        message(&mut self.out, b'c', |_| {});
        self.write().await?;
        if let Some(error) = self.answer(b'Z').await? {
            self.roll_back().await?;
            return Err(CollectError::Failed(error));
        }
        self.send(&Housekeeping::Commit).await?;
        match self.answer(b'Z').await? {
            None => Ok(self.columns),
            Some(error) => Err(CollectError::Failed(error)),
        }
    }

    /// The rows are not complete.
    pub(super) async fn abandon(mut self) -> Result<(), CollectError> {
        match self.state {
            State::New => Ok(()),
            State::Lost => Err(CollectError::Lost),
            State::Open => {
                self.out.clear();
                message(&mut self.out, b'f', |body| body.put_u8(0));
                self.write().await?;
                self.answer(b'Z').await?;
                self.roll_back().await
            }
        }
    }

    /// Makes the table.
    async fn open(&mut self, body: &[u8]) -> Result<(), CollectError> {
        let mut reader = Reader::new(body);
        let count = reader.count()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let name = String::from_utf8_lossy(reader.string()?).into_owned();
            reader.bytes(6)?;
            let type_oid = reader.u32()?;
            reader.bytes(8)?;
            let known = self
                .catalog
                .type_by_oid(type_oid)
                .ok_or(CollectError::Lost)?;
            columns.push((name.clone(), known.name.clone()));
            self.columns.push((name, type_oid));
        }
        reader.finish()?;
        let table = self.table.to_owned();
        self.send(&Housekeeping::Collect { table, columns }).await?;
        match self.answer(b'G').await? {
            None => {
                self.state = State::Open;
                Ok(())
            }
            Some(error) => {
                self.roll_back().await?;
                Err(CollectError::Failed(error))
            }
        }
    }

    /// One row, as COPY's text format has it.
    fn row(&mut self, body: &[u8]) -> Result<(), CollectError> {
        let mut reader = Reader::new(body);
        let count = reader.count()?;
        let mut line = BytesMut::new();
        for number in 0..count {
            if number > 0 {
                line.put_u8(b'\t');
            }
            match usize::try_from(reader.i32()?) {
                Ok(length) => put_value(&mut line, reader.bytes(length)?),
                Err(_null) => line.extend_from_slice(b"\\N"),
            }
        }
        reader.finish()?;
        line.put_u8(b'\n');
        message(&mut self.out, b'd', |body| body.extend_from_slice(&line));
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), CollectError> {
        self.send(&Housekeeping::Rollback).await?;
        match self.answer(b'Z').await? {
            None => Ok(()),
            Some(_error) => Err(CollectError::Lost),
        }
    }

    async fn send(&mut self, task: &Housekeeping) -> Result<(), CollectError> {
        let mut out = ToServer::default();
        out.housekeeping(std::slice::from_ref(task));
        self.out.extend_from_slice(out.waiting());
        self.write().await
    }

    async fn write(&mut self) -> Result<(), CollectError> {
        self.server.stream.write_all(&self.out).await?;
        self.server.stream.flush().await?;
        self.out.clear();
        Ok(())
    }

    /// Reads up to a frame with this tag; gives the first error on the way. After an error the server comes
    /// to `ReadyForQuery` whatever was due.
    async fn answer(&mut self, until: u8) -> Result<Option<FanError>, CollectError> {
        let mut error = None;
        loop {
            while let Some(next) = header(&self.server.input)? {
                if next.body_bytes > SERVER_BYTES_MAX {
                    return Err(CollectError::Lost);
                }
                let Some(frame) = take(&mut self.server.input, next) else {
                    break;
                };
                match frame.tag {
                    b'E' => {
                        let report = ServerReport::read(&frame.body)?;
                        if report.is_fatal() {
                            return Err(CollectError::Lost);
                        }
                        error.get_or_insert(FanError::from(&report));
                    }
                    tag if tag == until || tag == b'Z' => return Ok(error),
                    b'C' | b'G' | b'N' | b'S' => {}
                    _ => return Err(CollectError::Lost),
                }
            }
            if self.server.stream.read_buf(&mut self.server.input).await? == 0 {
                return Err(CollectError::Lost);
            }
        }
    }
}

/// A value in which nothing ends a field or a line.
fn put_value(line: &mut BytesMut, value: &[u8]) {
    for byte in value {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            other => line.put_u8(*other),
        }
    }
}
