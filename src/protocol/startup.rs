//! The packets without a tag that open a connection.

use bytes::{Buf, Bytes, BytesMut};

use super::Violation;
use super::reader::Reader;

/// The most that a startup packet may hold, as PostgreSQL has it (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// The newest minor version of protocol 3 that is spoken.
pub const MINOR_VERSION_MAX: u16 = 2;

const CANCEL_CODE: u32 = 80_877_102;
const SSL_CODE: u32 = 80_877_103;
const GSS_CODE: u32 = 80_877_104;

/// What a client asks for first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Opening {
    /// `CancelRequest`
    Cancel {
        /// The process that the client was given.
        process: u32,
        /// The key that the client was given.
        key: Bytes,
    },
    /// `GSSENCRequest`
    GssEncryption,
    /// `StartupMessage`
    Startup(Startup),
    /// `SSLRequest`
    Tls,
    /// Another major version.
    UnsupportedVersion {
        /// The major version.
        major: u16,
        /// The minor version.
        minor: u16,
    },
}

/// A `StartupMessage`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Startup {
    /// The minor version that the client asks for.
    pub minor_version: u16,
    /// Its parameters in order, those that begin with `_pq_.` left out.
    pub parameters: Vec<(String, String)>,
    /// The names of its `_pq_.` parameters, which are options of the protocol.
    pub protocol_options: Vec<String>,
}

impl Startup {
    /// The value of a parameter, the last one as PostgreSQL takes it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether `NegotiateProtocolVersion` must be sent: the client asks for more than is spoken.
    pub fn needs_negotiation(&self) -> bool {
        self.minor_version > MINOR_VERSION_MAX || !self.protocol_options.is_empty()
    }

    /// The minor version that both speak. There is no version 3.1.
    pub fn agreed_minor_version(&self) -> u16 {
        match self.minor_version {
            0 | 1 => 0,
            minor => minor.min(MINOR_VERSION_MAX),
        }
    }
}

/// Takes the packet at the beginning of the buffer, if it is there completely.
pub fn opening(buffer: &mut BytesMut) -> Result<Option<Opening>, Violation> {
    let Some((length, _)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length =
        usize::try_from(u32::from_be_bytes(*length)).map_err(|_error| Violation::StartupLayout)?;
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(Violation::StartupLayout);
    }
    if buffer.len() < length {
        return Ok(None);
    }
    let mut packet = buffer.split_to(length).freeze();
    packet.advance(4);
    read(&packet).map(Some)
}

fn read(packet: &Bytes) -> Result<Opening, Violation> {
    let mut reader = Reader::new(packet);
    match reader.u32()? {
        CANCEL_CODE => {
            let process = reader.u32()?;
            let key = packet.slice_ref(reader.remaining());
            if (4..=256).contains(&key.len()) {
                Ok(Opening::Cancel { process, key })
            } else {
                Err(Violation::StartupLayout)
            }
        }
        SSL_CODE => reader.finish().map(|()| Opening::Tls),
        GSS_CODE => reader.finish().map(|()| Opening::GssEncryption),
        version => {
            let [major_high, major_low, minor_high, minor_low] = version.to_be_bytes();
            let major = u16::from_be_bytes([major_high, major_low]);
            let minor = u16::from_be_bytes([minor_high, minor_low]);
            if major == 3 {
                startup(minor, reader).map(Opening::Startup)
            } else {
                Ok(Opening::UnsupportedVersion { major, minor })
            }
        }
    }
}

fn startup(minor_version: u16, mut reader: Reader<'_>) -> Result<Startup, Violation> {
    let mut startup = Startup {
        minor_version,
        ..Startup::default()
    };
    loop {
        let name = text(&mut reader)?;
        if name.is_empty() {
            break;
        }
        let value = text(&mut reader)?;
        if name.starts_with("_pq_.") {
            startup.protocol_options.push(name);
        } else {
            startup.parameters.push((name, value));
        }
    }
    reader.finish().map_err(|_error| Violation::StartupLayout)?;
    Ok(startup)
}

fn text(reader: &mut Reader<'_>) -> Result<String, Violation> {
    let bytes = reader.string().map_err(|_error| Violation::StartupLayout)?;
    String::from_utf8(bytes.to_vec()).map_err(|_error| Violation::StartupLayout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&u32::try_from(rest.len() + 8).unwrap().to_be_bytes());
        bytes.extend_from_slice(&code.to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes
    }

    fn started(code: u32, rest: &[u8]) -> Startup {
        match opening(&mut packet(code, rest)).unwrap().unwrap() {
            Opening::Startup(startup) => startup,
            other @ (Opening::Cancel { .. }
            | Opening::GssEncryption
            | Opening::Tls
            | Opening::UnsupportedVersion { .. }) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_startup_is_read_exactly() {
        let startup = started(0x0003_0000, b"user\0u\0database\0d\0\0");
        assert_eq!(startup.parameter("database"), Some("d"));
        assert!(!startup.needs_negotiation());
        for rest in [
            &b"user\0"[..],
            b"user\0u\0",
            b"user\0u\0\0x",
            b"",
            b"us\xffr\0u\0\0",
        ] {
            let result = opening(&mut packet(0x0003_0000, rest));
            assert_eq!(result, Err(Violation::StartupLayout), "{rest:?}");
        }
    }

    #[test]
    fn every_truncation_waits_for_more() {
        let whole = packet(0x0003_0000, b"user\0u\0\0");
        for end in 0..whole.len() {
            let mut cut = BytesMut::from(&whole[..end]);
            assert_eq!(opening(&mut cut), Ok(None), "{end}");
            assert_eq!(cut.len(), end);
        }
    }

    #[test]
    fn lengths_are_bounded() {
        for bytes in [
            &b"\0\0\0\0"[..],
            b"\0\0\x27\x11",
            b"\xff\xff\xff\xff",
            b"GET ",
        ] {
            let result = opening(&mut BytesMut::from(bytes));
            assert_eq!(result, Err(Violation::StartupLayout), "{bytes:?}");
        }
        let mut short_key = packet(CANCEL_CODE, b"\0\0\0\x01");
        assert_eq!(opening(&mut short_key), Err(Violation::StartupLayout));
    }

    #[test]
    fn versions_are_negotiated_downwards() {
        for (minor, options, agreed, negotiate) in [
            (0, &b"user\0u\0\0"[..], 0, false),
            (1, b"user\0u\0\0", 0, false),
            (2, b"user\0u\0\0", 2, false),
            (9999, b"user\0u\0\0", 2, true),
            (0, b"_pq_.foo\0x\0\0", 0, true),
        ] {
            let startup = started(0x0003_0000 + minor, options);
            assert_eq!(startup.agreed_minor_version(), agreed);
            assert_eq!(startup.needs_negotiation(), negotiate);
        }
        let other = opening(&mut packet(0x0002_0000, b"")).unwrap();
        assert_eq!(
            other,
            Some(Opening::UnsupportedVersion { major: 2, minor: 0 })
        );
    }
}
