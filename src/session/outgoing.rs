//! Bytes that wait to be written.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::iter::repeat;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::admission::{Plan, StatementId, copying, parse_text, text_for};
use super::housekeeping::Housekeeping;
use super::statements::ClientStatement;
use crate::admitted::Admitted;
use crate::isolate::kind::NOTHING;
use crate::isolate::refusal::Refusal;
use crate::isolate::template::Filling;
use crate::isolate::{Isolated, Kind};
use crate::protocol::backend::{empty, message, put_string};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::frontend::{Bind, Target};
use crate::tenant::KeyMismatch;

/// Spans shorter than this are copied: a system call for each would cost more.
const SPAN_BYTES_MIN: usize = 1024;

/// What waits for the client: spans of the server's bytes as they are, and messages of our own.
#[derive(Debug, Default)]
pub struct ToClient {
    spans: VecDeque<Bytes>,
    tail: BytesMut,
    spans_bytes: usize,
}

impl ToClient {
    /// How much waits.
    pub fn len(&self) -> usize {
        self.spans_bytes + self.tail.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where messages of our own are written.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds a span without copying it.
    pub fn push(&mut self, span: Bytes) {
        if span.len() < SPAN_BYTES_MIN {
            self.tail.extend_from_slice(&span);
            return;
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.spans_bytes += tail.len();
            self.spans.push_back(tail);
        }
        self.spans_bytes += span.len();
        self.spans.push_back(span);
    }

    /// The first spans, to be written at once.
    pub fn slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>) {
        slices.extend(
            self.spans
                .iter()
                .map(|span| &span[..])
                .chain([&self.tail[..]])
                .filter(|span| !span.is_empty())
                .take(16)
                .map(IoSlice::new),
        );
    }

    /// So much was written.
    pub fn advance(&mut self, mut written: usize) {
        while let Some(span) = self.spans.front_mut() {
            let step = written.min(span.len());
            span.advance(step);
            self.spans_bytes -= step;
            written -= step;
            if !span.is_empty() {
                return;
            }
            self.spans.pop_front();
        }
        self.tail.advance(written.min(self.tail.len()));
        if self.tail.is_empty() {
            // An idle client holds no buffer.
            self.tail = BytesMut::new();
        }
    }
}

/// What waits for a server connection. Nothing but these messages can be written to it, and the only
/// ones that hold SQL take it as [`crate::admitted::Admitted`] or [`Housekeeping`].
#[derive(Debug, Default)]
pub struct ToServer {
    bytes: BytesMut,
}

impl ToServer {
    /// How much waits.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What waits.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes
    }

    /// So much was written.
    pub fn advance(&mut self, written: usize) {
        self.bytes.advance(written.min(self.bytes.len()));
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Query, with texts of our own.
    pub fn housekeeping(&mut self, tasks: &[Housekeeping]) {
        let texts: Vec<String> = tasks.iter().map(Housekeeping::text).collect();
        message(&mut self.bytes, b'Q', |body| {
            put_string(body, texts.join("; ").as_bytes());
        });
    }

    /// Query, with each statement for this tenant.
    pub(super) fn query(
        &mut self,
        plan: &Plan,
        named: &[Option<Arc<ClientStatement>>],
        filling: Filling<'_>,
    ) -> Result<(), Refusal> {
        let mut texts = Vec::with_capacity(plan.statements.len());
        let named = named.iter().map(Option::as_deref).chain(repeat(None));
        for (statement, named) in plan.statements.iter().zip(named) {
            texts.push(match executing(statement, named, filling)? {
                Some(text) => text,
                None => text_for(&statement.admitted, filling)?,
            });
        }
        // The line break ends a comment, should a text end in one.
        message(&mut self.bytes, b'Q', |body| {
            put_string(body, texts.join(";\n").as_bytes());
        });
        Ok(())
    }

    /// Parse, under the statement's own name; the parameters that the client left open stay open, and
    /// the tenant's follow.
    pub(super) fn parse(&mut self, plan: &Plan, text: &ParseText<'_>) {
        let open = usize::from(plan.client_parameters()).saturating_sub(plan.declared_types.len());
        let types: Vec<u32> = plan
            .declared_types
            .iter()
            .copied()
            .chain(std::iter::repeat_n(0, open))
            .chain(plan.tenant_parameters().iter().map(|slot| slot.oid()))
            .collect();
        message(&mut self.bytes, b'P', |body| {
            put_string(body, plan.id.name().as_bytes());
            put_string(body, text.0.as_bytes());
            put_count(body, types.len());
            for oid in types {
                body.put_u32(oid);
            }
        });
    }

    /// Parse of an EXECUTE, as the unnamed statement: what it executes may be another one next time.
    pub(super) fn parse_unnamed(&mut self, text: &str) {
        message(&mut self.bytes, b'P', |body| {
            put_string(body, b"");
            put_string(body, text.as_bytes());
            put_count(body, 0);
        });
    }

    /// Bind of the unnamed statement, which has no parameters.
    pub(super) fn bind_unnamed(&mut self, bind: &Bind) {
        message(&mut self.bytes, b'B', |body| {
            put_string(body, &bind.portal);
            put_string(body, b"");
            put_count(body, 0);
            put_count(body, 0);
            body.extend_from_slice(&bind.result_formats);
        });
    }

    /// Describe of the unnamed statement.
    pub(super) fn describe_unnamed(&mut self) {
        message(&mut self.bytes, b'D', |body| {
            body.put_u8(b'S');
            put_string(body, b"");
        });
    }

    /// A Parse that fails.
    pub(super) fn failing_parse(&mut self) {
        message(&mut self.bytes, b'P', |body| {
            put_string(body, b"");
            put_string(body, Housekeeping::Fail.text().as_bytes());
            put_count(body, 0);
        });
    }

    /// Bind, with the tenant's values after the client's. The caller has checked the counts.
    pub(super) fn bind(
        &mut self,
        bind: &Bind,
        plan: &Arc<Plan>,
        filling: Filling<'_>,
    ) -> Result<(), KeyMismatch> {
        let slots = plan.tenant_parameters();
        // One code stands for all parameters, the tenant's included.
        let binary = bind.parameter_formats == [1];
        let filling = plan.filling(filling);
        let mut tenant = Vec::with_capacity(slots.len());
        for slot in slots {
            tenant.push(if binary {
                slot.binary(filling)?
            } else {
                slot.text(filling)?.into_bytes()
            });
        }
        message(&mut self.bytes, b'B', |body| {
            put_string(body, &bind.portal);
            put_string(body, plan.id.name().as_bytes());
            let formats = &bind.parameter_formats;
            let added = if formats.len() > 1 { tenant.len() } else { 0 };
            put_count(body, formats.len() + added);
            for format in formats {
                body.put_i16(*format);
            }
            for _ in 0..added {
                body.put_i16(0);
            }
            put_count(body, bind.parameters + tenant.len());
            body.extend_from_slice(&bind.values);
            for value in &tenant {
                body.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
                body.extend_from_slice(value);
            }
            body.extend_from_slice(&bind.result_formats);
        });
        Ok(())
    }

    /// Describe of a statement.
    pub(super) fn describe_statement(&mut self, id: StatementId) {
        message(&mut self.bytes, b'D', |body| {
            body.put_u8(b'S');
            put_string(body, id.name().as_bytes());
        });
    }

    /// Describe of a portal.
    pub(super) fn describe_portal(&mut self, portal: &[u8]) {
        message(&mut self.bytes, b'D', |body| {
            body.put_u8(b'P');
            put_string(body, portal);
        });
    }

    /// Execute
    pub(super) fn execute(&mut self, portal: &[u8], rows_max: i32) {
        message(&mut self.bytes, b'E', |body| {
            put_string(body, portal);
            body.put_i32(rows_max);
        });
    }

    /// Close, of a portal by the client's name, or of a statement by ours.
    pub(super) fn close(&mut self, target: Target, name: &[u8]) {
        message(&mut self.bytes, b'C', |body| {
            body.put_u8(match target {
                Target::Portal => b'P',
                Target::Statement => b'S',
            });
            put_string(body, name);
        });
    }

    /// `CopyData`, with what `rows` writes, if it writes anything.
    pub(super) fn copy_data(&mut self, rows: impl FnOnce(&mut BytesMut)) {
        let before = self.bytes.len();
        message(&mut self.bytes, b'd', rows);
        if self.bytes.len() == before + HEADER_BYTES {
            self.bytes.truncate(before);
        }
    }

    /// `CopyDone`
    pub(super) fn copy_done(&mut self) {
        empty(&mut self.bytes, b'c');
    }

    /// `CopyFail`, with the client's reason.
    pub(super) fn copy_fail(&mut self, why: &[u8]) {
        message(&mut self.bytes, b'f', |body| put_string(body, why));
    }

    /// Flush
    pub(super) fn flush(&mut self) {
        empty(&mut self.bytes, b'H');
    }

    /// Sync
    pub(super) fn sync(&mut self) {
        empty(&mut self.bytes, b'S');
    }
}

/// The text for a Parse message. Only [`text_to_prepare`] makes one, of what was admitted.
pub(super) struct ParseText<'p>(Cow<'p, str>);

/// The text for a Parse message: the tenant is a parameter of it, or, where it takes none, written out.
pub(super) fn text_to_prepare<'p>(
    plan: &'p Plan,
    filling: Filling<'_>,
) -> Result<ParseText<'p>, Refusal> {
    let Some(statement) = plan.statements.first() else {
        return Ok(ParseText(Cow::Borrowed("")));
    };
    Ok(ParseText(match copying(&statement.admitted) {
        Some(_) => Cow::Owned(text_for(&statement.admitted, filling)?),
        None => Cow::Borrowed(parse_text(&statement.admitted)),
    }))
}

/// The text of a statement that executes a prepared one, or nothing in place of one that forgets it; none for any
/// other.
pub(super) fn executing(
    statement: &Isolated,
    named: Option<&ClientStatement>,
    filling: Filling<'_>,
) -> Result<Option<String>, Refusal> {
    // The text of one that is not known names a statement that no server has.
    let Some(named) = named else {
        return Ok(None);
    };
    match (&statement.kind, &statement.admitted) {
        (Kind::Execute { .. }, Admitted::Isolated(verified)) => {
            let plan = &named.plan;
            verified.can_execute(plan.patterns())?;
            verified
                .executing(&plan.id.name(), plan.tenant_parameters(), filling)
                .map(Some)
        }
        (Kind::Deallocate(Some(_)), _) => Ok(Some(NOTHING.to_owned())),
        (Kind::Execute { .. }, Admitted::Bypassed(_))
        | (
            Kind::Characteristics(_)
            | Kind::ClearsSession
            | Kind::CloseCursor(_)
            | Kind::Cursor
            | Kind::Data
            | Kind::Deallocate(None)
            | Kind::Fetch
            | Kind::Hold(_)
            | Kind::Pins
            | Kind::Prepare(_)
            | Kind::Reset { .. }
            | Kind::ResetAll
            | Kind::Set { .. }
            | Kind::SetTransaction
            | Kind::Show { .. }
            | Kind::Transaction(_)
            | Kind::Truncate,
            _,
        ) => Ok(None),
    }
}

fn put_count(body: &mut BytesMut, count: usize) {
    body.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_keep_their_order() {
        let mut out = ToClient::default();
        out.buffer().extend_from_slice(b"a");
        out.push(Bytes::from(vec![b'b'; SPAN_BYTES_MIN]));
        out.push(Bytes::from_static(b"c"));
        assert_eq!(out.len(), SPAN_BYTES_MIN + 2);
        let mut slices = Vec::new();
        out.slices(&mut slices);
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!((all[0], all[1], all[all.len() - 1]), (b'a', b'b', b'c'));
        drop(slices);
        out.advance(1 + SPAN_BYTES_MIN / 2);
        out.advance(SPAN_BYTES_MIN / 2);
        assert_eq!(out.len(), 1);
        out.advance(1);
        assert!(out.is_empty());
    }
}
