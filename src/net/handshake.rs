//! From the first byte of a connection to an authenticated login.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::scram::{self, ScramError};
use super::stream::Stream;
use crate::config::ScramVerifier;
use crate::protocol::Violation;
use crate::protocol::backend::{
    authentication_ok, authentication_sasl, authentication_sasl_continue,
    authentication_sasl_final, negotiate_protocol_version,
};
use crate::protocol::error_response::ErrorReport;
use crate::protocol::frame::{Phase, client_frame};
use crate::protocol::startup::{Opening, Startup, opening};

/// Why a handshake ends without a session.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The client was told why.
    #[error("{}", .0.message)]
    Reported(ErrorReport),
    /// Bytes that are not of this protocol: nothing is answered.
    #[error("{0}")]
    Silent(Violation),
}

/// A client's connection: the stream, and what was read of it but not yet used.
#[derive(Debug)]
pub struct ClientStream {
    /// The stream.
    pub stream: Stream,
    /// What was read.
    pub input: BytesMut,
}

/// What the client wants.
#[derive(Debug)]
pub enum Request {
    /// Ends what another connection runs.
    Cancel {
        /// The process that the other connection was given.
        process: u32,
        /// The key that the other connection was given.
        key: Bytes,
    },
    /// A session.
    Session(Startup),
}

impl ClientStream {
    /// A connection of which nothing was read.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
        }
    }

    /// Reads what the client wants, and settles encryption and the protocol's version.
    pub async fn request(&mut self) -> Result<Request, HandshakeError> {
        let (mut tls_refused, mut gss_refused) = (false, false);
        loop {
            let refused = match self.opening().await? {
                Opening::Cancel { process, key } => return Ok(Request::Cancel { process, key }),
                Opening::Startup(startup) => {
                    self.negotiate(&startup).await?;
                    return Ok(Request::Session(startup));
                }
                Opening::Tls => &mut tls_refused,
                Opening::GssEncryption => &mut gss_refused,
                Opening::UnsupportedVersion { major, minor } => {
                    let message = format!(
                        "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2"
                    );
                    return Err(self.refuse(ErrorReport::fatal("0A000", message)).await);
                }
            };
            // Each may be asked once, and what follows must wait for the answer: it would have been
            // sent in clear by somebody who believes that it is encrypted.
            if std::mem::replace(refused, true) || !self.input.is_empty() {
                let report = ErrorReport::fatal(
                    "08P01",
                    "received unencrypted data after an encryption request",
                );
                return Err(self.refuse(report).await);
            }
            self.stream.write_all(b"N").await?;
        }
    }

    async fn opening(&mut self) -> Result<Opening, HandshakeError> {
        loop {
            match opening(&mut self.input) {
                Ok(Some(opening)) => return Ok(opening),
                Ok(None) => self.read().await?,
                Err(violation) => return Err(HandshakeError::Silent(violation)),
            }
        }
    }

    async fn negotiate(&mut self, startup: &Startup) -> Result<(), HandshakeError> {
        if startup.needs_negotiation() {
            let mut answer = BytesMut::new();
            let minor = startup.agreed_minor_version();
            negotiate_protocol_version(&mut answer, minor, &startup.protocol_options);
            self.stream.write_all(&answer).await?;
        }
        if startup.parameter("replication").is_some_and(is_true) {
            let report = ErrorReport::fatal(
                "42501",
                "replication connections are not allowed for tenants",
            );
            return Err(self.refuse(report).await);
        }
        Ok(())
    }

    /// Authenticates the client. On success nothing but `AuthenticationOk` has been sent after the
    /// exchange.
    pub async fn authenticate(
        &mut self,
        user: &str,
        verifier: Arc<ScramVerifier>,
    ) -> Result<(), HandshakeError> {
        let mut answer = BytesMut::new();
        authentication_sasl(&mut answer, scram::MECHANISM);
        self.stream.write_all(&answer).await?;
        let first = self.password().await?;
        let (challenge, exchange) = match scram::begin(&first, &verifier) {
            Ok(begun) => begun,
            Err(error) => return Err(self.refuse_password(user, &error).await),
        };
        answer.clear();
        authentication_sasl_continue(&mut answer, challenge.as_bytes());
        self.stream.write_all(&answer).await?;
        let last = self.password().await?;
        match exchange.finish(&last) {
            Ok(signature) => {
                answer.clear();
                authentication_sasl_final(&mut answer, signature.as_bytes());
                authentication_ok(&mut answer);
                self.stream.write_all(&answer).await?;
                Ok(())
            }
            Err(error) => Err(self.refuse_password(user, &error).await),
        }
    }

    async fn password(&mut self) -> Result<Bytes, HandshakeError> {
        loop {
            match client_frame(&mut self.input, Phase::Authentication) {
                Ok(Some(frame)) => return Ok(frame.body),
                Ok(None) => self.read().await?,
                Err(violation) => {
                    let report = ErrorReport::fatal("08P01", violation.to_string());
                    return Err(self.refuse(report).await);
                }
            }
        }
    }

    async fn refuse_password(&mut self, user: &str, error: &ScramError) -> HandshakeError {
        let report = match error {
            ScramError::Malformed(_) => ErrorReport::fatal("08P01", "malformed SCRAM message"),
            ScramError::WrongPassword => ErrorReport::fatal(
                "28P01",
                format!("password authentication failed for user \"{user}\""),
            ),
        };
        self.refuse(report).await
    }

    /// Tells the client why there will be no session.
    pub async fn refuse(&mut self, report: ErrorReport) -> HandshakeError {
        let mut answer = BytesMut::new();
        report.write(&mut answer);
        match self.stream.write_all(&answer).await {
            Ok(()) => HandshakeError::Reported(report),
            Err(error) => HandshakeError::Io(error),
        }
    }

    async fn read(&mut self) -> Result<(), HandshakeError> {
        self.input.reserve(1024);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }
}

/// Anything but a word for no: `database` asks for logical replication.
fn is_true(value: &str) -> bool {
    !matches!(
        value.to_ascii_lowercase().as_str(),
        "" | "0" | "f" | "false" | "n" | "no" | "of" | "off"
    )
}
