//! The binary format: a header, tuples with a count of fields, each field with its length, a trailer.

use bytes::{BufMut, BytesMut};

use super::spelling::Unwritable;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// The signature, the flags and the length of the extension.
const HEADER_BYTES: usize = SIGNATURE.len() + 8;
/// Flags above these are critical: the server refuses what it does not know.
const FLAGS_MAX: u32 = 0xFFFF;

/// Where in the stream the next byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    /// In the header, or its extension.
    Header,
    /// In the count of a tuple's fields.
    Count,
    /// In the length of a field; so many fields are left with it.
    Length { fields: u16 },
    /// In something that is passed as it is; so many fields are left behind it.
    Bytes { left: u32, fields: u16 },
    /// Behind the trailer, where one byte is enough for the server to complain.
    Trailer,
    /// Where the server has reported an error.
    Dropped,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct BinaryRows {
    /// The tenant's field: its length and its value.
    field: Vec<u8>,
    columns: usize,
    at: At,
    /// What has come of the number at this place.
    held: Vec<u8>,
    /// The count of fields that the server complains of, as the client sent it and as the server got it.
    miscounted: Option<(i16, i16)>,
}

impl BinaryRows {
    pub(super) fn new(value: &[u8], columns: usize) -> Result<Self, Unwritable> {
        let length = u32::try_from(value.len()).map_err(|_long| Unwritable)?;
        Ok(Self {
            field: [&length.to_be_bytes(), value].concat(),
            columns,
            at: At::Header,
            held: Vec::new(),
            miscounted: None,
        })
    }

    /// The count of fields that the server complains of, as the client sent it and as the server got it.
    pub(super) fn miscounted(&self) -> Option<(i16, i16)> {
        self.miscounted
    }

    pub(super) fn push(&mut self, mut input: &[u8], out: &mut BytesMut) {
        while let Some((first, rest)) = input.split_first() {
            match self.at {
                At::Bytes { left, fields } => {
                    let step = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let (passed, rest) = input.split_at_checked(step).unwrap_or((input, &[]));
                    out.extend_from_slice(passed);
                    input = rest;
                    let left = left - u32::try_from(step).unwrap_or(left);
                    self.at = if left > 0 {
                        At::Bytes { left, fields }
                    } else {
                        next_field(fields)
                    };
                }
                At::Trailer => {
                    out.put_u8(*first);
                    self.at = At::Dropped;
                }
                At::Dropped => return,
                At::Header | At::Count | At::Length { .. } => {
                    self.held.push(*first);
                    input = rest;
                    self.number(out);
                }
            }
        }
    }

    /// Looks whether the number at this place has come as a whole.
    fn number(&mut self, out: &mut BytesMut) {
        match self.at {
            At::Header if self.held.len() == HEADER_BYTES => {
                out.extend_from_slice(&self.held);
                self.at = behind_header(&self.held);
            }
            At::Count => {
                if let Ok(count) = self.held.as_slice().try_into() {
                    self.at = self.tuple(i16::from_be_bytes(count), out);
                } else {
                    return;
                }
            }
            At::Length { fields } => {
                let Ok(length) = self.held.as_slice().try_into() else {
                    return;
                };
                out.extend_from_slice(&self.held);
                let length = i32::from_be_bytes(length);
                self.at = match u32::try_from(length) {
                    Ok(0) => next_field(fields),
                    Ok(left) => At::Bytes { left, fields },
                    Err(_) if length == -1 => next_field(fields),
                    Err(_) => At::Dropped,
                };
            }
            At::Header | At::Bytes { .. } | At::Trailer | At::Dropped => return,
        }
        self.held.clear();
    }

    /// A tuple begins: it has one field more. The server refuses every count but its own.
    fn tuple(&mut self, count: i16, out: &mut BytesMut) -> At {
        let more = count.checked_add(1).filter(|_| count >= 0);
        let Some(more) = more else {
            out.put_i16(count);
            if count == -1 {
                return At::Trailer;
            }
            self.miscounted = Some((count, count));
            return At::Dropped;
        };
        out.put_i16(more);
        let fields = count.unsigned_abs();
        if usize::from(fields) != self.columns {
            self.miscounted = Some((count, more));
            return At::Dropped;
        }
        out.extend_from_slice(&self.field);
        next_field(fields)
    }
}

fn next_field(left: u16) -> At {
    match left.checked_sub(1) {
        Some(fields) => At::Length { fields },
        None => At::Count,
    }
}

/// As `ReceiveCopyBinaryHeader()` reads it.
fn behind_header(header: &[u8]) -> At {
    let number = |from: usize| {
        let bytes = header.get(from..from + 4)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    };
    let flags = number(SIGNATURE.len());
    let extension = number(SIGNATURE.len() + 4).filter(|bytes| i32::try_from(*bytes).is_ok());
    match (flags, extension) {
        (Some(..=FLAGS_MAX), Some(0)) if header.starts_with(SIGNATURE) => At::Count,
        (Some(..=FLAGS_MAX), Some(left)) if header.starts_with(SIGNATURE) => {
            At::Bytes { left, fields: 0 }
        }
        (_, _) => At::Dropped,
    }
}
