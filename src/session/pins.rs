//! How many server connections a tenant's sessions may keep beyond a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::client::Failure;
use super::effect::Effect;
use super::variables::Values;
use super::{Condition, Session, Stage};
use crate::protocol::error_response::ErrorReport;

/// What all sessions of one tenant share.
#[derive(Debug)]
pub struct Pins {
    limit: u32,
    kept: AtomicU32,
}

/// A connection that is kept, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Pin(Arc<Pins>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pins {
    /// So many connections may be kept at once.
    pub fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            limit,
            kept: AtomicU32::new(0),
        })
    }

    /// How many may be.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn take(self: &Arc<Self>) -> Option<Pin> {
        let one_more = |kept: u32| (kept < self.limit).then_some(kept + 1);
        self.kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Pin(Arc::clone(self)))
    }
}

impl Session {
    /// What counts the connections that this session keeps; none where there is no limit.
    pub fn set_pins(&mut self, pins: Option<Arc<Pins>>) {
        self.pins = pins;
    }

    /// Leave for statements that make the server connection stay with the client.
    pub(super) fn may_keep<'a>(
        &mut self,
        effects: impl IntoIterator<Item = &'a Effect>,
    ) -> Result<(), Failure> {
        let (Some(pins), Some(server)) = (&self.pins, &mut self.server) else {
            return Ok(());
        };
        let keeps = |effect: &Effect| matches!(effect, Effect::Hold(_) | Effect::Pin);
        if server.pin.is_some() || !effects.into_iter().any(keeps) {
            return Ok(());
        }
        let Some(pin) = pins.take() else {
            let message = "the tenant keeps as many server connections as it may";
            return Err(ErrorReport::error("53400", message).with_hint(
                "Temporary tables, listeners, session locks and cursors WITH HOLD keep one.",
            ));
        };
        server.pin = Some(pin);
        Ok(())
    }

    /// A connection that stays with the client after a RESET gets the client's values: what RESET gives a client
    /// is what it said itself when it came.
    pub(super) fn align_again(&mut self) {
        let Some(server) = &mut self.server else {
            return;
        };
        let can_now = server.expected.is_empty() && server.out.is_empty();
        if !server.was_reset || server.stage == Stage::Finished || !can_now {
            return;
        }
        server.was_reset = false;
        if let Some(task) = self.variables.task(&Values::new()) {
            server.out.housekeeping(&[task]);
            server.expected.push_housekeeping();
        }
        server.state.variables.clone_from(self.variables.current());
    }

    /// Whether a notification is for this client: only a connection that stays with a tenant of its own database
    /// listens. Any other one is not what it should be.
    pub(super) fn hears(&mut self) -> bool {
        let is_own = self.own_values.is_none() && self.hatch.is_none();
        let Some(server) = &mut self.server else {
            return false;
        };
        let hears = is_own && server.stage == Stage::Pinned;
        if !hears {
            server.condition = Condition::Broken;
        }
        hears
    }
}
