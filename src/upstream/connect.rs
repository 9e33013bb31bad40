//! Making a server connection: `postgres-protocol` speaks, the bounds are ours.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::server::{Server, ServerKey};
use crate::config::{Credentials, UpstreamAddress};
use crate::net::stream::Stream;
use crate::protocol::backend::{is_readable, read_parameter_status};
use crate::protocol::error_response::ServerReport;
use crate::protocol::frame::{HEADER_BYTES, header};
use crate::session::ServerState;

/// How long a connection may take to be ready.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The most that one message of the handshake may hold.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Settings that change what a text means, or what is sent without being asked for. The startup
/// message outranks what a role or a database has for them.
const PINNED: [(&str, &str); 6] = [
    ("array_nulls", "on"),
    ("backslash_quote", "safe_encoding"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
];

/// A database on a server, and who to be there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The upstream's name.
    pub upstream: String,
    /// Where it listens.
    pub address: UpstreamAddress,
    /// The database.
    pub database: String,
    /// The server role.
    pub credentials: Credentials,
}

/// Why there is no server connection. The text may be shown to clients: it names no role, no address.
#[derive(Clone, Debug, Error)]
pub enum ConnectError {
    /// The server did not answer in time.
    #[error("the database server does not answer")]
    Timeout,
    /// It could not be reached, or went away.
    #[error("the database server cannot be reached")]
    Io(#[source] Arc<io::Error>),
    /// Other pools hold all the connections that the upstream may have.
    #[error("all connections to the database server are taken")]
    NoneLeft,
    /// It asks for what is not supported, or answers what makes no sense.
    #[error("the database server and Tenantry do not understand each other")]
    Protocol(&'static str),
    /// It said no.
    #[error("the database server refuses connections")]
    Refused {
        /// Its SQLSTATE.
        sqlstate: String,
        /// Its message, for the log.
        message: String,
    },
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl ConnectError {
    /// All that is known, for the log.
    pub fn details(&self) -> String {
        match self {
            Self::Io(error) => error.to_string(),
            Self::Protocol(what) => (*what).to_owned(),
            Self::Refused { sqlstate, message } => format!("{sqlstate} {message}"),
            Self::NoneLeft | Self::Timeout => self.to_string(),
        }
    }
}

/// Opens a stream.
pub(super) async fn open(address: &UpstreamAddress) -> io::Result<Stream> {
    match address {
        UpstreamAddress::Tcp { host, port } => {
            Stream::tcp(TcpStream::connect((host.as_str(), *port)).await?)
        }
        UpstreamAddress::Unix { directory } => Ok(Stream::Unix(
            UnixStream::connect(directory.join(".s.PGSQL.5432")).await?,
        )),
    }
}

/// Makes a connection that is ready for a query.
pub(super) async fn connect(target: &Target) -> Result<Server, ConnectError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, log_in(target)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Timeout),
    }
}

async fn log_in(target: &Target) -> Result<Server, ConnectError> {
    let mut login = Login {
        stream: open(&target.address).await?,
        input: BytesMut::new(),
        output: BytesMut::new(),
    };
    // Built from the configuration alone: nothing of a client is in it.
    let parameters = [
        ("user", target.credentials.user.as_str()),
        ("database", target.database.as_str()),
        ("application_name", "tenantry"),
    ];
    frontend::startup_message(parameters.into_iter().chain(PINNED), &mut login.output)?;
    login.flush().await?;
    login.authenticate(&target.credentials).await?;
    let mut state = ServerState::default();
    let mut key = None;
    loop {
        match login.message().await? {
            Incoming::Parameter(name, value) => {
                state.parameters.insert(name, value);
            }
            Incoming::Other(Message::BackendKeyData(data)) => {
                key = Some((data.process_id(), data.secret_key()));
            }
            Incoming::Other(Message::NoticeResponse(_)) => {}
            Incoming::Other(Message::ReadyForQuery(ready)) if ready.status() == b'I' => break,
            Incoming::Other(_) => {
                return Err(ConnectError::Protocol("an unexpected message after login"));
            }
        }
    }
    if !state
        .parameters
        .iter()
        .all(|(name, value)| is_readable(name, value))
    {
        return Err(ConnectError::Protocol("the server reads texts differently"));
    }
    let key = key.map(|(process, secret)| ServerKey {
        address: target.address.clone(),
        process,
        secret,
    });
    Ok(Server::new(login.stream, login.input, state, key))
}

enum Incoming {
    Other(Message),
    Parameter(String, String),
}

struct Login {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
}

impl Login {
    async fn flush(&mut self) -> Result<(), ConnectError> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// The next message, once it is there whole; an error is given as such.
    async fn message(&mut self) -> Result<Incoming, ConnectError> {
        loop {
            let next = header(&self.input)
                .map_err(|_error| ConnectError::Protocol("a malformed message"))?;
            if let Some(next) = next {
                if next.body_bytes > HANDSHAKE_BYTES_MAX {
                    return Err(ConnectError::Protocol("a message that is too long"));
                }
                let whole = HEADER_BYTES + next.body_bytes;
                if let Some(message) = self.input.get(..whole) {
                    let body = message.get(HEADER_BYTES..).unwrap_or_default();
                    if next.tag == b'E' {
                        return Err(refused(body));
                    }
                    if next.tag == b'S' {
                        let (name, value) = read_parameter_status(body).map_err(|_error| {
                            ConnectError::Protocol("a malformed ParameterStatus")
                        })?;
                        bytes::Buf::advance(&mut self.input, whole);
                        return Ok(Incoming::Parameter(name, value));
                    }
                    let mut frame = self.input.split_to(whole);
                    return match Message::parse(&mut frame)? {
                        Some(message) => Ok(Incoming::Other(message)),
                        None => Err(ConnectError::Protocol("a malformed message")),
                    };
                }
            }
            self.input.reserve(4096);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), ConnectError> {
        let password = credentials.password.expose().as_bytes();
        loop {
            let Incoming::Other(message) = self.message().await? else {
                return Err(ConnectError::Protocol("a parameter before login"));
            };
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "what is not known is refused; the enum is non-exhaustive"
            )]
            match message {
                Message::AuthenticationOk => return Ok(()),
                Message::AuthenticationCleartextPassword => {
                    // Whoever listens in would have the role's password.
                    return Err(ConnectError::Protocol(
                        "the server asks for the password in clear",
                    ));
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(credentials.user.as_bytes(), password, body.salt());
                    frontend::password_message(hash.as_bytes(), &mut self.output)?;
                    self.flush().await?;
                }
                Message::AuthenticationSasl(body) => {
                    use tokio_postgres::fallible_iterator::FallibleIterator;
                    let offered = body.mechanisms().any(|name| Ok(name == SCRAM_SHA_256))?;
                    if !offered {
                        return Err(ConnectError::Protocol("no SASL mechanism in common"));
                    }
                    self.scram(password).await?;
                }
                Message::NoticeResponse(_) => {}
                _ => return Err(ConnectError::Protocol("an unsupported way to log in")),
            }
        }
    }

    async fn scram(&mut self, password: &[u8]) -> Result<(), ConnectError> {
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.output)?;
        self.flush().await?;
        let Incoming::Other(Message::AuthenticationSaslContinue(body)) = self.message().await?
        else {
            return Err(ConnectError::Protocol("no SASL challenge"));
        };
        scram.update(body.data())?;
        frontend::sasl_response(scram.message(), &mut self.output)?;
        self.flush().await?;
        let Incoming::Other(Message::AuthenticationSaslFinal(body)) = self.message().await? else {
            return Err(ConnectError::Protocol("no SASL signature"));
        };
        scram.finish(body.data())?;
        Ok(())
    }
}

fn refused(body: &[u8]) -> ConnectError {
    match ServerReport::read(body) {
        Ok(report) => ConnectError::Refused {
            sqlstate: report.text(b'C').unwrap_or_default().to_owned(),
            message: report.text(b'M').unwrap_or_default().to_owned(),
        },
        Err(_) => ConnectError::Protocol("a malformed error"),
    }
}
