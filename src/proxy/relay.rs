//! Both directions of one client, polled in one future.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::net::handshake::ClientStream;
use crate::net::stream::Stream;
use crate::protocol::error_response::ErrorReport;
use crate::session::Session;
use crate::upstream::Server;

/// What one read takes at most, unless a message is known to be longer.
const CLIENT_READ_BYTES: usize = 8 * 1024;
const SERVER_READ_BYTES: usize = 32 * 1024;

/// Why the relay pauses.
#[derive(Debug)]
pub(super) enum Event {
    /// The client's connection is gone.
    ClientGone,
    /// The session has ended, and all that was left for the client is written.
    Ended,
    /// The server connection can be given back.
    Finished,
    /// Something is to be written down, or to be cancelled.
    Notable,
    /// The server's connection is gone.
    ServerGone(io::Error),
    /// What the client sent is to be looked at where no other client waits for it.
    TakesAWhile,
    /// A server connection is needed.
    WantsServer,
}

/// Whether what the client sent was looked at elsewhere just now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Looked {
    AtLast,
    NotYet,
}

/// Moves bytes until something else has to be done. `refresh` is called before messages of the client
/// are understood.
pub(super) fn poll_relay(
    context: &mut Context<'_>,
    client: &mut ClientStream,
    session: &mut Session,
    mut server: Option<&mut Server>,
    refresh: &mut dyn FnMut(&mut Session),
    looked: &mut Looked,
) -> Poll<Event> {
    loop {
        let mut progress = false;
        if let Some(server) = server.as_deref_mut() {
            let before = server.input.len();
            if before > 0 {
                session.on_server(&mut server.input);
                progress |= server.input.len() != before;
            }
        }
        let was_looked_at = std::mem::replace(looked, Looked::NotYet) == Looked::AtLast;
        if session.ending().is_none() && !was_looked_at {
            let before = (client.input.len(), session.wants_client_bytes());
            refresh(session);
            if session.takes_a_while(&client.input) {
                return Poll::Ready(Event::TakesAWhile);
            }
            session.on_client(&mut client.input);
            progress |= (client.input.len(), session.wants_client_bytes()) != before;
        }
        if session.wants_the_hatch() || session.has_refusals() {
            return Poll::Ready(Event::Notable);
        }
        match poll_write_client(context, client, session) {
            Poll::Ready(Ok(wrote)) => progress |= wrote,
            Poll::Ready(Err(_)) => return Poll::Ready(Event::ClientGone),
            Poll::Pending => {}
        }
        if session.ending().is_some() {
            if session.to_client().is_empty() {
                return Poll::Ready(Event::Ended);
            }
            if !progress {
                return Poll::Pending;
            }
            continue;
        }
        if session.is_finished_with_server() {
            return Poll::Ready(Event::Finished);
        }
        if session.wants_server() {
            return Poll::Ready(Event::WantsServer);
        }
        if let Some(server) = server.as_deref_mut()
            && poll_shelter(context, session, server).is_ready()
        {
            match poll_server(context, session, server) {
                Poll::Ready(Ok(())) => progress = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Event::ServerGone(error)),
                Poll::Pending => {}
            }
        }
        if session.wants_client_bytes() {
            let wanted = session.missing(&client.input).max(CLIENT_READ_BYTES);
            match poll_read(context, &mut client.stream, &mut client.input, wanted) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Event::ClientGone),
                Poll::Ready(Ok(_)) => progress = true,
                Poll::Pending => {}
            }
        }
        if !progress {
            return Poll::Pending;
        }
    }
}

/// Looks at what the client sent on a thread of its own.
pub(super) async fn look_aside(client: &mut ClientStream, session: &mut Session) {
    let mut input = std::mem::take(&mut client.input);
    let mut apart = session.take();
    let looked = tokio::task::spawn_blocking(move || {
        apart.on_client(&mut input);
        (apart, input)
    });
    match looked.await {
        Ok((apart, input)) => {
            *session = apart;
            client.input = input;
        }
        Err(error) => {
            tracing::error!(%error, "a message could not be looked at");
            session.end(&ErrorReport::fatal("XX000", "internal error"));
        }
    }
}

/// Keeps cancel requests off what the client did not ask.
fn poll_shelter(context: &mut Context<'_>, session: &Session, server: &mut Server) -> Poll<()> {
    if session.keeps_house() {
        return server.poll_shelter(context);
    }
    server.leave_shelter();
    Poll::Ready(())
}

/// Writes to the server and reads from it.
fn poll_server(
    context: &mut Context<'_>,
    session: &mut Session,
    server: &mut Server,
) -> Poll<io::Result<()>> {
    let mut progress = false;
    while let Some(out) = session.to_server()
        && !out.is_empty()
    {
        match Pin::new(&mut server.stream).poll_write(context, out.waiting()) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                out.advance(written);
                progress = true;
            }
            // What the server had to say before it went away is still to be read.
            Poll::Ready(Err(_)) | Poll::Pending => break,
        }
    }
    if session.wants_server_bytes() {
        let read = poll_read(
            context,
            &mut server.stream,
            &mut server.input,
            SERVER_READ_BYTES,
        );
        match read {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(_)) => progress = true,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
    }
    if progress {
        Poll::Ready(Ok(()))
    } else {
        Poll::Pending
    }
}

/// Writes as much as there is room for; says whether anything was written.
fn poll_write_client(
    context: &mut Context<'_>,
    client: &mut ClientStream,
    session: &mut Session,
) -> Poll<io::Result<bool>> {
    let out = session.to_client();
    let mut wrote = false;
    while !out.is_empty() {
        let written = {
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(4);
            out.slices(&mut slices);
            Pin::new(&mut client.stream).poll_write_vectored(context, &slices)
        };
        match written {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                out.advance(written);
                wrote = true;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(wrote))
}

/// Writes all that waits for the client.
pub(super) async fn flush(client: &mut ClientStream, session: &mut Session) -> io::Result<()> {
    std::future::poll_fn(
        |context| match poll_write_client(context, client, session) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(_)) | Poll::Pending if session.to_client().is_empty() => {
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        },
    )
    .await
}

fn poll_read(
    context: &mut Context<'_>,
    stream: &mut Stream,
    input: &mut BytesMut,
    wanted: usize,
) -> Poll<io::Result<usize>> {
    input.reserve(wanted);
    let result = {
        // Nothing is lost if this future is dropped while it is pending.
        let mut limited = bytes::BufMut::limit(&mut *input, wanted);
        let reading = pin!(stream.read_buf(&mut limited));
        reading.poll(context)
    };
    if result.is_pending() && input.is_empty() {
        // Who waits holds no buffer.
        *input = BytesMut::new();
    }
    Poll::Ready(ready!(result))
}
