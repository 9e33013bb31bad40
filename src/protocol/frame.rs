//! Where one message ends and the next begins.

use bytes::{Buf, Bytes, BytesMut};

use super::Violation;

/// The bytes of a tag and a length.
pub const HEADER_BYTES: usize = 5;

/// The most that Query and Parse may hold.
pub const STATEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most that Bind may hold: its values are only passed on.
pub const BIND_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The most that any other message of a client may hold, as PostgreSQL has it.
pub const SMALL_BYTES_MAX: usize = 10_000;

/// The most that a message may hold which is never held as a whole: PostgreSQL's `MaxAllocSize`.
pub const COPY_DATA_BYTES_MAX: usize = 0x3FFF_FFFF;

/// The most that a server message may hold which has to be understood whole.
pub const SERVER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One message with a tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// What it is.
    pub tag: u8,
    /// Its body, without tag and length.
    pub body: Bytes,
}

/// A tag and the length of the body that follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// What it is.
    pub tag: u8,
    /// How many bytes follow the header.
    pub body_bytes: usize,
}

/// Reads the header at the beginning of a buffer, if it is there.
pub fn header(buffer: &[u8]) -> Result<Option<Header>, Violation> {
    let Some(([tag, length @ ..], _)) = buffer.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let body_bytes = i32::from_be_bytes(*length)
        .checked_sub(4)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or(Violation::Length)?;
    Ok(Some(Header {
        tag: *tag,
        body_bytes,
    }))
}

/// When a client's message arrives, which tags and lengths are allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Only passwords, and small ones.
    Authentication,
    /// Everything but passwords.
    Conversation,
}

/// Takes the next message of a client out of the buffer, if it is there completely.
pub fn client_frame(buffer: &mut BytesMut, phase: Phase) -> Result<Option<Frame>, Violation> {
    let Some(header) = header(buffer)? else {
        // A tag is refused at once, not when its length has come.
        if let Some(tag) = buffer.first() {
            client_limit(*tag, phase)?;
        }
        return Ok(None);
    };
    if header.body_bytes > client_limit(header.tag, phase)? {
        return Err(Violation::Length);
    }
    Ok(take(buffer, header))
}

/// The most that a message with this header might hold, if it holds more, but no more than PostgreSQL would
/// read: it can be read to its end and refused by name.
pub fn too_long(header: Header) -> Option<usize> {
    let limit = match header.tag {
        b'Q' | b'P' | b'F' => STATEMENT_BYTES_MAX,
        b'B' => BIND_BYTES_MAX,
        _ => return None,
    };
    let bytes = header.body_bytes;
    // The length counts itself, and is less than `MaxAllocSize` (`PQ_LARGE_MESSAGE_LIMIT`).
    (bytes > limit && bytes + 4 < COPY_DATA_BYTES_MAX).then_some(limit)
}

/// How many bytes must be read before [`client_frame`] can give the next message: what is still
/// missing of it, if its header is there.
pub fn missing(buffer: &[u8]) -> usize {
    match header(buffer) {
        Ok(Some(header)) => (HEADER_BYTES + header.body_bytes).saturating_sub(buffer.len()),
        Ok(None) | Err(_) => HEADER_BYTES.saturating_sub(buffer.len()),
    }
}

/// Takes the message with this header, if it is there completely.
pub fn take(buffer: &mut BytesMut, header: Header) -> Option<Frame> {
    if buffer.len() < HEADER_BYTES + header.body_bytes {
        return None;
    }
    buffer.advance(HEADER_BYTES);
    Some(Frame {
        tag: header.tag,
        body: buffer.split_to(header.body_bytes).freeze(),
    })
}

fn client_limit(tag: u8, phase: Phase) -> Result<usize, Violation> {
    match (phase, tag) {
        (Phase::Authentication, b'p') => Ok(SMALL_BYTES_MAX),
        (Phase::Conversation, b'Q' | b'P' | b'd' | b'F') => Ok(STATEMENT_BYTES_MAX),
        (Phase::Conversation, b'B') => Ok(BIND_BYTES_MAX),
        (Phase::Conversation, b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f') => {
            Ok(SMALL_BYTES_MAX)
        }
        (Phase::Authentication | Phase::Conversation, _) => Err(Violation::FrontendTag(tag)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(chunks: &[&[u8]]) -> Result<Vec<Frame>, Violation> {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(frame) = client_frame(&mut buffer, Phase::Conversation)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn lengths_are_bounded() {
        for (bytes, expected) in [
            (&b"Q\0\0\0\x03"[..], Violation::Length),
            (b"Q\0\0\0\0xxxx", Violation::Length),
            (b"Q\xff\xff\xff\xff", Violation::Length),
            (b"Q\x40\0\0\0x", Violation::Length),
            (b"S\0\0\x27\x20", Violation::Length),
            (b"p\0\0\0\x04", Violation::FrontendTag(b'p')),
            (b"T", Violation::FrontendTag(b'T')),
        ] {
            assert_eq!(all(&[bytes]), Err(expected), "{bytes:?}");
        }
        assert_eq!(all(&[b"S\0\0\0\x04S\0\0"]).unwrap().len(), 1);
    }

    #[test]
    fn before_authentication_only_a_password_is_read() {
        let mut buffer = BytesMut::from(&b"Q\0\0\0\x06x\0"[..]);
        let early = client_frame(&mut buffer, Phase::Authentication);
        assert_eq!(early, Err(Violation::FrontendTag(b'Q')));
    }

    #[test]
    fn what_is_missing_is_known_from_the_header_on() {
        assert_eq!(missing(b""), 5);
        assert_eq!(missing(b"Q\0\0\0\x08ab"), 2);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            cuts in prop::collection::vec(0_usize..400, 0..20),
        ) {
            let mut bytes = Vec::new();
            for (at, body) in bodies.iter().enumerate() {
                bytes.push(b"QPBS"[at % 4]);
                bytes.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
                bytes.extend_from_slice(body);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let frames = all(&chunks).unwrap();
            prop_assert_eq!(&frames, &all(&[&bytes]).unwrap());
            let found: Vec<Vec<u8>> = frames.iter().map(|frame| frame.body.to_vec()).collect();
            prop_assert_eq!(found, bodies);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(frames) = all(&[&bytes]) {
                let length: usize = frames.iter().map(|frame| frame.body.len() + 5).sum();
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
