//! The messages of a server that Tenantry makes itself, or has to understand.

use bytes::{BufMut, Bytes, BytesMut};

use super::Violation;
use super::reader::Reader;

/// What `ReadyForQuery` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TransactionStatus {
    /// `E`: in a transaction block that has failed.
    Failed,
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
}

impl TransactionStatus {
    /// Reads the body of `ReadyForQuery`.
    pub fn read(body: &[u8]) -> Result<Self, Violation> {
        match body {
            b"E" => Ok(Self::Failed),
            b"I" => Ok(Self::Idle),
            b"T" => Ok(Self::InTransaction),
            _ => Err(Violation::BodyFormat),
        }
    }
}

/// Writes one message: the tag, the length, and what `body` writes. A body too long for its length
/// field cannot occur: everything that is written here is bounded by what was read.
pub fn message(buffer: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    buffer.put_u8(tag);
    let at = buffer.len();
    buffer.put_u32(0);
    body(buffer);
    let length = u32::try_from(buffer.len() - at).unwrap_or(u32::MAX);
    if let Some(field) = buffer.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Writes a string and its NUL.
pub fn put_string(buffer: &mut BytesMut, text: &[u8]) {
    buffer.extend_from_slice(text);
    buffer.put_u8(0);
}

/// `AuthenticationOk`
pub fn authentication_ok(buffer: &mut BytesMut) {
    message(buffer, b'R', |body| body.put_u32(0));
}

/// `AuthenticationSASL`, with the one mechanism that is offered.
pub fn authentication_sasl(buffer: &mut BytesMut, mechanism: &str) {
    message(buffer, b'R', |body| {
        body.put_u32(10);
        put_string(body, mechanism.as_bytes());
        body.put_u8(0);
    });
}

/// `AuthenticationSASLContinue`
pub fn authentication_sasl_continue(buffer: &mut BytesMut, data: &[u8]) {
    message(buffer, b'R', |body| {
        body.put_u32(11);
        body.extend_from_slice(data);
    });
}

/// `AuthenticationSASLFinal`
pub fn authentication_sasl_final(buffer: &mut BytesMut, data: &[u8]) {
    message(buffer, b'R', |body| {
        body.put_u32(12);
        body.extend_from_slice(data);
    });
}

/// `BackendKeyData`
pub fn backend_key_data(buffer: &mut BytesMut, process: u32, key: &[u8]) {
    message(buffer, b'K', |body| {
        body.put_u32(process);
        body.extend_from_slice(key);
    });
}

/// `NegotiateProtocolVersion`
pub fn negotiate_protocol_version(buffer: &mut BytesMut, minor: u16, options: &[String]) {
    message(buffer, b'v', |body| {
        body.put_u16(3);
        body.put_u16(minor);
        body.put_u32(u32::try_from(options.len()).unwrap_or(u32::MAX));
        for option in options {
            put_string(body, option.as_bytes());
        }
    });
}

/// `ParameterStatus`
pub fn parameter_status(buffer: &mut BytesMut, name: &str, value: &str) {
    message(buffer, b'S', |body| {
        put_string(body, name.as_bytes());
        put_string(body, value.as_bytes());
    });
}

/// Reads the body of `ParameterStatus`.
pub fn read_parameter_status(body: &[u8]) -> Result<(String, String), Violation> {
    let mut reader = Reader::new(body);
    let name = String::from_utf8_lossy(reader.string()?).into_owned();
    let value = String::from_utf8_lossy(reader.string()?).into_owned();
    reader.finish()?;
    Ok((name, value))
}

/// The encoding of a database whose names are read as PostgreSQL reads them.
pub const SERVER_ENCODING: &str = "UTF8";

/// Whether a parameter of the server lets it read texts as Tenantry has read them.
pub fn is_readable(name: &str, value: &str) -> bool {
    match name {
        "client_encoding" => value == "UTF8",
        "standard_conforming_strings" => value == "on",
        _ => true,
    }
}

/// `CommandComplete`
pub fn command_complete(buffer: &mut BytesMut, tag: &str) {
    message(buffer, b'C', |body| put_string(body, tag.as_bytes()));
}

/// `ReadyForQuery`
pub fn ready_for_query(buffer: &mut BytesMut, status: TransactionStatus) {
    message(buffer, b'Z', |body| {
        body.put_u8(match status {
            TransactionStatus::Failed => b'E',
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
        });
    });
}

/// A message without a body.
pub fn empty(buffer: &mut BytesMut, tag: u8) {
    message(buffer, tag, |_| {});
}

/// `ParameterDescription` as the client may see it: without the last `hidden` types, which are the
/// tenant's.
pub fn shorter_parameter_description(body: &[u8], hidden: usize) -> Result<Bytes, Violation> {
    let mut reader = Reader::new(body);
    let count = reader.count()?;
    let visible = count.checked_sub(hidden).ok_or(Violation::BodyFormat)?;
    let types = reader.bytes(visible * 4)?;
    reader.bytes(hidden * 4)?;
    reader.finish()?;
    let mut buffer = BytesMut::with_capacity(7 + types.len());
    message(&mut buffer, b't', |body| {
        body.put_u16(u16::try_from(visible).unwrap_or(u16::MAX));
        body.extend_from_slice(types);
    });
    Ok(buffer.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenants_parameters_are_not_described() {
        let body = b"\0\x03\0\0\0\x17\0\0\0\x19\0\0\0\x14";
        let seen = shorter_parameter_description(body, 1).unwrap();
        assert_eq!(&seen[..], b"t\0\0\0\x0e\0\x02\0\0\0\x17\0\0\0\x19");
        assert!(shorter_parameter_description(b"\0\0", 1).is_err());
        assert!(shorter_parameter_description(b"\0\x01\0\0", 0).is_err());
    }

    #[test]
    fn lengths_count_themselves() {
        let mut buffer = BytesMut::new();
        parameter_status(&mut buffer, "a", "b");
        empty(&mut buffer, b'1');
        assert_eq!(&buffer[..], b"S\0\0\0\x08a\0b\x001\0\0\0\x04");
    }
}
