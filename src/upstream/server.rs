//! One connection to a server.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;

use super::cancel::{InFlight, Shelter};
use crate::config::UpstreamAddress;
use crate::net::stream::Stream;
use crate::protocol::Violation;
use crate::protocol::backend::read_parameter_status;
use crate::protocol::error_response::ServerReport;
use crate::protocol::frame::{SERVER_BYTES_MAX, header, take};
use crate::session::{Housekeeping, ServerState, ToServer, Variables};

/// How long a reset may take.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server asks for before it cancels what a connection runs.
#[derive(Clone, Debug)]
pub(super) struct ServerKey {
    pub(super) address: UpstreamAddress,
    pub(super) process: i32,
    pub(super) secret: i32,
}

/// Why a server connection is not what it should be.
#[derive(Debug, Error)]
pub(super) enum ServerFault {
    #[error("the connection is lost: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] Violation),
    #[error("it cannot be brought into a known state: {0}")]
    Failed(String),
    #[error("to bring it into a known state took too long")]
    Timeout,
    #[error("it sent message type {0} unasked")]
    Unasked(u8),
}

/// A connection to a server. Dropped, it is closed.
#[derive(Debug)]
pub struct Server {
    /// The stream.
    pub stream: Stream,
    /// What was read but not yet used.
    pub input: BytesMut,
    /// What is known of it, while nobody uses it.
    pub state: ServerState,
    pub(super) key: Option<ServerKey>,
    pub(super) cancels: InFlight,
    pub(super) shelter: Shelter,
    /// Set only while its state is known.
    pub(super) is_clean: bool,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Server {
    pub(super) fn new(
        stream: Stream,
        input: BytesMut,
        state: ServerState,
        key: Option<ServerKey>,
    ) -> Self {
        Self {
            stream,
            is_clean: input.is_empty(),
            input,
            state,
            key,
            cancels: InFlight::default(),
            shelter: Shelter::default(),
            permit: None,
        }
    }

    /// Keeps cancel requests waiting; ready when none can hit what is sent next.
    pub fn poll_shelter(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.shelter.poll(context, &self.cancels)
    }

    /// Lets cancel requests pass.
    pub fn leave_shelter(&mut self) {
        self.shelter = Shelter::Open;
    }

    /// Whether it is alive, without a round trip: nothing is to be read, or only what a server may
    /// send at any time.
    pub(super) fn check(&mut self) -> Result<(), ServerFault> {
        loop {
            let mut buffer = [0; 4096];
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(length) => self
                    .input
                    .extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            if self.input.len() > SERVER_BYTES_MAX {
                return Err(Violation::Length.into());
            }
        }
        while let Some(next) = header(&self.input)? {
            let Some(frame) = take(&mut self.input, next) else {
                break;
            };
            match frame.tag {
                b'N' => {}
                b'S' => {
                    let (name, value) = read_parameter_status(&frame.body)?;
                    self.state.parameters.insert(name, value);
                }
                tag => return Err(ServerFault::Unasked(tag)),
            }
        }
        if self.input.is_empty() {
            Ok(())
        } else {
            Err(Violation::BodyFormat.into())
        }
    }

    /// Takes back all that a session can leave behind, and waits until it is done.
    pub(super) async fn reset(&mut self) -> Result<(), ServerFault> {
        match tokio::time::timeout(RESET_TIMEOUT, self.reset_now()).await {
            Ok(result) => result,
            Err(_) => Err(ServerFault::Timeout),
        }
    }

    async fn reset_now(&mut self) -> Result<(), ServerFault> {
        self.keep_house(&[Housekeeping::Reset]).await?;
        self.state.variables.clear();
        self.state.last_session = None;
        Ok(())
    }

    /// Gives the connection these variables, and waits until it has them. An inner error is the
    /// server's own message: one of the values is wrong.
    pub async fn align(&mut self, variables: &Variables) -> Result<Result<(), String>, String> {
        let Some(task) = variables.task(&self.state.variables) else {
            return Ok(Ok(()));
        };
        let aligned = tokio::time::timeout(RESET_TIMEOUT, self.keep_house(&[task])).await;
        match aligned {
            Ok(Ok(())) => {
                self.state.variables.clone_from(variables.current());
                Ok(Ok(()))
            }
            Ok(Err(ServerFault::Failed(message))) => Ok(Err(message)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(ServerFault::Timeout.to_string()),
        }
    }

    async fn keep_house(&mut self, tasks: &[Housekeeping]) -> Result<(), ServerFault> {
        let mut out = ToServer::default();
        out.housekeeping(tasks);
        self.stream.write_all(out.waiting()).await?;
        loop {
            while let Some(next) = header(&self.input)? {
                if next.body_bytes > SERVER_BYTES_MAX {
                    return Err(Violation::Length.into());
                }
                let Some(frame) = take(&mut self.input, next) else {
                    break;
                };
                match (frame.tag, &frame.body[..]) {
                    (b'C' | b'T' | b'D' | b'N', _) => {}
                    (b'S', body) => {
                        let (name, value) = read_parameter_status(body)?;
                        self.state.parameters.insert(name, value);
                    }
                    (b'Z', b"I") if self.input.is_empty() => return Ok(()),
                    (b'E', body) => {
                        let report = ServerReport::read(body)?;
                        let message = report.text(b'M').unwrap_or_default().to_owned();
                        return Err(ServerFault::Failed(message));
                    }
                    (tag, _) => return Err(ServerFault::Unasked(tag)),
                }
            }
            self.input.reserve(1024);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Terminate, if there is room for it: the server would notice anyway.
        drop(self.stream.try_write(b"X\0\0\0\x04"));
    }
}
