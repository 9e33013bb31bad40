//! A result of many tenants that the client takes in portions (Execute with a row limit): it is collected
//! whole, and given out portion by portion.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::Session;
use crate::protocol::backend::{empty, message, put_string};
use crate::protocol::error_response::ErrorReport;
use crate::protocol::frame::{HEADER_BYTES, header};

/// What one result may hold, in bytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is left of a result.
#[derive(Clone, Debug, Default)]
pub(super) struct Portions {
    /// The frames of its rows.
    rows: VecDeque<Bytes>,
    /// How large they were together.
    bytes: usize,
    /// How many there were.
    count: usize,
    /// The command tag of the whole.
    tag: String,
}

impl Portions {
    /// Takes the rows out of these frames; what is left is for the client at once.
    pub(super) fn take(&mut self, frames: &mut BytesMut) -> BytesMut {
        let mut rest = BytesMut::new();
        while let Ok(Some(next)) = header(frames) {
            let whole = (HEADER_BYTES + next.body_bytes).min(frames.len());
            let frame = frames.split_to(whole);
            if next.tag != b'D' {
                rest.extend_from_slice(&frame);
                continue;
            }
            self.count += 1;
            self.bytes += whole;
            if self.bytes <= BYTES_MAX {
                // The slice of a larger buffer would keep the whole of it.
                self.rows.push_back(Bytes::copy_from_slice(&frame));
            }
        }
        frames.advance(frames.len());
        rest
    }

    /// All rows have come.
    pub(super) fn complete(&mut self, tag: &str) -> Result<(), ErrorReport> {
        if self.bytes > BYTES_MAX {
            let message = "the result is too large to be given out in portions";
            return Err(ErrorReport::error("54000", message));
        }
        tag.clone_into(&mut self.tag);
        Ok(())
    }

    /// Writes the next rows, and whether more may follow.
    fn give(&mut self, rows_max: i32, out: &mut BytesMut) {
        let limit = usize::try_from(rows_max).ok().filter(|limit| *limit > 0);
        let given = limit.unwrap_or(usize::MAX).min(self.rows.len());
        for row in self.rows.drain(..given) {
            out.extend_from_slice(&row);
        }
        if limit == Some(given) {
            // `PortalSuspended`: as PostgreSQL says it, also behind the last row.
            empty(out, b's');
            return;
        }
        let tag = if self.count > 0 && self.tag.starts_with("SELECT ") {
            format!("SELECT {given}")
        } else {
            self.tag.clone()
        };
        message(out, b'C', |body| put_string(body, tag.as_bytes()));
    }
}

impl Session {
    /// Gives out the next portion of a portal's result; whether there is such a result.
    pub(super) fn give_portion(&mut self, portal: &Bytes, rows_max: i32) -> bool {
        let Some(hatch) = &mut self.hatch else {
            return false;
        };
        match hatch.portions.get_mut(portal) {
            Some(portions) => {
                portions.give(rows_max, self.to_client.buffer());
                true
            }
            None => false,
        }
    }
}
