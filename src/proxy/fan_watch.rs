//! A statement for many tenants while it runs: its rows are passed on, and its end is watched for.

use std::pin::{Pin, pin};

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::collect::{CollectError, Collector};
use super::converse::{Conversation, follow, grant_may_end, leaves};
use super::fan::Fan;
use super::relay::flush;
use crate::catalog::Oid;
use crate::protocol::error_response::ErrorReport;
use crate::protocol::frame::{HEADER_BYTES, header};
use crate::session::{FanError, FanOut, Session};

/// What became of a statement for many tenants.
pub(super) enum Verdict {
    /// The tag, or the error.
    Finished(Result<String, FanError>),
    /// The client has left.
    Gone,
    /// It must end.
    Stopped(FanError),
}

/// Where the rows of many tenants go.
pub(super) enum Sink<'a> {
    Client,
    Table(Collector<'a>),
}

impl Sink<'_> {
    /// Takes frames; gives back what the client gets.
    async fn take(&mut self, frames: BytesMut) -> Result<BytesMut, CollectError> {
        match self {
            Self::Client => Ok(frames),
            Self::Table(collector) => collector.take(frames).await,
        }
    }
}

/// What the client is told when its server connection is gone.
pub(super) const SERVER_LOST: &str = "the connection to the database server was lost";

/// What became of getting a statement for many tenants ready.
pub(super) enum Preparation {
    /// The client has left.
    Gone,
    /// It can be run; and what is to be said of those who are left out.
    Ready(Box<Fan>, BytesMut),
    /// It cannot be run.
    Stopped(FanError),
}

/// Gets the parts ready, which asks each tenant's database, unless it must end before.
pub(super) async fn prepare_fan(
    conversation: &mut Conversation,
    version: &mut Option<u64>,
    (upstream, (request, asked)): (&str, (&FanOut, u64)),
) -> Preparation {
    let Conversation {
        client,
        session,
        route,
        context,
        registration,
        ..
    } = conversation;
    let mut preparing = pin!(Fan::prepare(context, upstream, request));
    let mut cancelled = pin!(registration.is_cancelled_since(asked));
    loop {
        // Whatever changes from here on is told.
        let may_end = grant_may_end(session.grant_ends_at(), context.registry.changes());
        follow(context, route, version, session);
        if let Some(error) = ended(session, request) {
            return Preparation::Stopped(error);
        }
        tokio::select! {
            biased;
            prepared = &mut preparing => return match prepared {
                Ok((fan, skipped)) => Preparation::Ready(Box::new(fan), skipped),
                Err(error) => Preparation::Stopped(error),
            },
            () = leaves(client) => return Preparation::Gone,
            () = &mut cancelled => return Preparation::Stopped(stopped(CANCELLED)),
            () = may_end => {}
        }
    }
}

/// What the client is told whose statement was cancelled, as by PostgreSQL.
const CANCELLED: &str = "canceling statement due to user request";

fn stopped(message: &str) -> FanError {
    ErrorReport::error("57014", message.to_owned()).into()
}

/// Why a statement must end whose grant is no longer in force.
fn ended(session: &Session, request: &FanOut) -> Option<FanError> {
    let grant = request.leave.grant.name.as_str();
    (session.grant() != Some(grant))
        .then(|| stopped(&format!("grant \"{grant}\" has ended [TN6007]")))
}

/// Passes on what the parts answer, until they have ended. If they must, what they do is cancelled first.
pub(super) async fn watch_fan(
    conversation: &mut Conversation,
    version: &mut Option<u64>,
    fan: Fan,
    watched: (&FanOut, u64, &mut Sink<'_>),
) -> Verdict {
    let (frames_out, mut frames_in) = mpsc::channel::<BytesMut>(1);
    let stop = fan.stop();
    let mut running = pin!(fan.run(frames_out));
    let parts = (running.as_mut(), &mut frames_in);
    let verdict = pass_on(conversation, version, parts, watched).await;
    if matches!(verdict, Verdict::Finished(_)) {
        return verdict;
    }
    stop.stop();
    let ended = end(running, frames_in, &mut conversation.session).await;
    match (verdict, ended) {
        // What was done where is told, however it ends.
        (Verdict::Stopped(error), Err(of_parts)) => Verdict::Stopped(FanError {
            hint: of_parts.hint.or(error.hint),
            ..error
        }),
        (verdict, _) => verdict,
    }
}

/// Waits until all parts have ended. Of what they still send only notices reach the client.
async fn end(
    mut running: Pin<&mut impl Future<Output = Result<String, FanError>>>,
    mut frames_in: mpsc::Receiver<BytesMut>,
    session: &mut Session,
) -> Result<String, FanError> {
    loop {
        tokio::select! {
            biased;
            Some(frames) = frames_in.recv() => session.pass_fanned(&mut notices(frames)),
            finished = &mut running => {
                while let Ok(frames) = frames_in.try_recv() {
                    session.pass_fanned(&mut notices(frames));
                }
                return finished;
            }
        }
    }
}

/// The notices among frames.
fn notices(mut frames: BytesMut) -> BytesMut {
    let mut kept = BytesMut::new();
    while let Ok(Some(next)) = header(&frames) {
        let whole = HEADER_BYTES + next.body_bytes;
        if frames.len() < whole {
            break;
        }
        let frame = frames.split_to(whole);
        if next.tag == b'N' {
            kept.unsplit(frame);
        }
    }
    kept
}

async fn pass_on(
    conversation: &mut Conversation,
    version: &mut Option<u64>,
    (mut running, frames_in): (
        Pin<&mut impl Future<Output = Result<String, FanError>>>,
        &mut mpsc::Receiver<BytesMut>,
    ),
    (request, asked, sink): (&FanOut, u64, &mut Sink<'_>),
) -> Verdict {
    let Conversation {
        client,
        session,
        route,
        context,
        registration,
        ..
    } = conversation;
    let mut cancelled = pin!(registration.is_cancelled_since(asked));
    loop {
        // Whatever changes from here on is told.
        let may_end = grant_may_end(session.grant_ends_at(), context.registry.changes());
        follow(context, route, version, session);
        if let Some(error) = ended(session, request) {
            return Verdict::Stopped(error);
        }
        let (frames, finished) = tokio::select! {
            biased;
            Some(frames) = frames_in.recv() => (frames, None),
            finished = &mut running => {
                let mut frames = BytesMut::new();
                while let Ok(more) = frames_in.try_recv() {
                    frames.unsplit(more);
                }
                (frames, Some(finished))
            }
            () = leaves(client) => return Verdict::Gone,
            () = &mut cancelled => return Verdict::Stopped(stopped(CANCELLED)),
            () = may_end => continue,
        };
        match sink.take(frames).await {
            Ok(mut frames) => session.pass_fanned(&mut frames),
            Err(CollectError::Failed(error)) => return Verdict::Stopped(error),
            Err(CollectError::Lost) => {
                return Verdict::Stopped(ErrorReport::fatal("08006", SERVER_LOST).into());
            }
        }
        if let Some(finished) = finished {
            return Verdict::Finished(finished);
        }
        if flush(client, session).await.is_err() {
            return Verdict::Gone;
        }
    }
}

/// Ends the filling of a table as the parts have ended; gives its columns if it is there.
pub(super) async fn settle(
    collector: Collector<'_>,
    verdict: Verdict,
) -> Result<(Option<Vec<(String, Oid)>>, Verdict), CollectError> {
    let is_whole = matches!(&verdict, Verdict::Finished(Ok(_tag)));
    if is_whole {
        Ok((Some(collector.finish().await?), verdict))
    } else {
        collector.abandon().await?;
        Ok((None, verdict))
    }
}
