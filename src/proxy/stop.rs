//! How the parts of a statement for many tenants are ended before their time.
//!
//! A cancel request may come before the server has begun, and is lost then. So it is repeated until the part
//! has ended; a connection is closed only when its server does not answer at all.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::converse::CANCELLED_WITHIN;
use crate::upstream::Registration;

/// How long a cancelled part has to end before it is asked again.
const CANCEL_PAUSE: Duration = Duration::from_millis(50);

/// Whether all parts must end.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    stopping: Arc<watch::Sender<bool>>,
}

impl Stop {
    pub(super) fn new() -> Self {
        Self {
            stopping: Arc::new(watch::Sender::new(false)),
        }
    }

    /// They must.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether they must.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Returns when they must.
    pub(super) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // It cannot be dropped as long as this holds it.
        stopping.wait_for(|stopping| *stopping).await.ok();
    }
}

/// Gives what `work` gives. From when it must end, what the parts do is cancelled; none if they do not answer
/// until `give_up`, which is set then.
pub(super) async fn until_ended<T>(
    work: impl Future<Output = T>,
    (stop, parts): (&Stop, &[Arc<Registration>]),
    give_up: &mut Option<Instant>,
) -> Option<T> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        () = stop.stopped() => {}
    }
    let give_up = *give_up.get_or_insert_with(|| Instant::now() + CANCELLED_WITHIN);
    loop {
        let cancelling = async {
            join_all(parts.iter().map(|part| part.cancel())).await;
            tokio::time::sleep(CANCEL_PAUSE).await;
        };
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = tokio::time::sleep_until(give_up) => return None,
            () = cancelling => {}
        }
    }
}
