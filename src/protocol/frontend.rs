//! What clients send once they are authenticated.

use bytes::Bytes;

use super::Violation;
use super::frame::Frame;
use super::reader::Reader;
use crate::catalog::Oid;

/// A prepared statement or a portal, in Describe and Close.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// `P`
    Portal,
    /// `S`
    Statement,
}

/// A Bind message, of which only the parameters' frame is understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bind {
    /// The portal's name.
    pub portal: Bytes,
    /// The statement's name.
    pub statement: Bytes,
    /// The formats of the parameters: none, one for all, or one for each.
    pub parameter_formats: Vec<i16>,
    /// How many values there are.
    pub parameters: usize,
    /// The values, each with its length in front.
    pub values: Bytes,
    /// The result formats, with their count in front.
    pub result_formats: Bytes,
}

impl Bind {
    /// The values in order; none for NULL. Where the message ends too early, there are fewer.
    pub fn each_value(&self) -> Vec<Option<&[u8]>> {
        let mut rest: &[u8] = &self.values;
        let mut values = Vec::with_capacity(self.parameters);
        for _ in 0..self.parameters {
            let Some((length, behind)) = rest.split_first_chunk::<4>() else {
                break;
            };
            rest = behind;
            let value = match usize::try_from(i32::from_be_bytes(*length)) {
                Ok(length) => {
                    let (value, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    rest = behind;
                    Some(value)
                }
                Err(_null) => None,
            };
            values.push(value);
        }
        values
    }
}

/// A message of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FrontendMessage {
    /// `B`
    Bind(Bind),
    /// `C`
    Close(Target, Bytes),
    /// `d`, `c` or `f`: PostgreSQL ignores them outside COPY.
    Copy,
    /// `D`
    Describe(Target, Bytes),
    /// `E`
    Execute {
        /// The portal's name.
        portal: Bytes,
        /// 0: all of them.
        rows_max: i32,
    },
    /// `H`
    Flush,
    /// `F`
    FunctionCall,
    /// `P`
    Parse {
        /// The statement's name.
        statement: Bytes,
        /// The text.
        sql: Bytes,
        /// The types of the first parameters.
        declared_types: Vec<Oid>,
    },
    /// `Q`
    Query(Bytes),
    /// `S`
    Sync,
    /// `X`
    Terminate,
    /// A message that was longer than it may be, and was dropped.
    TooLong {
        /// Whether it was one of the simple protocol, which answers each with `ReadyForQuery`.
        simple: bool,
        /// How many bytes it might have held.
        limit: usize,
    },
}

impl FrontendMessage {
    /// Understands a frame.
    pub fn read(frame: &Frame) -> Result<Self, Violation> {
        let body = &frame.body;
        let mut reader = Reader::new(body);
        let message = match frame.tag {
            b'B' => Self::Bind(bind(body, &mut reader)?),
            b'C' => Self::Close(target(&mut reader)?, body.slice_ref(reader.string()?)),
            b'D' => Self::Describe(target(&mut reader)?, body.slice_ref(reader.string()?)),
            b'E' => Self::Execute {
                portal: body.slice_ref(reader.string()?),
                rows_max: reader.i32()?,
            },
            b'F' => return Ok(Self::FunctionCall),
            b'H' => Self::Flush,
            b'P' => Self::Parse {
                statement: body.slice_ref(reader.string()?),
                sql: body.slice_ref(reader.string()?),
                declared_types: {
                    let count = reader.count()?;
                    (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?
                },
            },
            b'Q' => Self::Query(body.slice_ref(reader.string()?)),
            b'S' => Self::Sync,
            b'X' => Self::Terminate,
            b'c' | b'd' | b'f' => return Ok(Self::Copy),
            tag => return Err(Violation::FrontendTag(tag)),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn target(reader: &mut Reader<'_>) -> Result<Target, Violation> {
    match reader.u8()? {
        b'P' => Ok(Target::Portal),
        b'S' => Ok(Target::Statement),
        _ => Err(Violation::BodyFormat),
    }
}

fn bind(body: &Bytes, reader: &mut Reader<'_>) -> Result<Bind, Violation> {
    let portal = body.slice_ref(reader.string()?);
    let statement = body.slice_ref(reader.string()?);
    let formats = reader.count()?;
    let parameter_formats = (0..formats)
        .map(|_| reader.i16())
        .collect::<Result<Vec<_>, _>>()?;
    let parameters = reader.count()?;
    let from = reader.remaining();
    for _ in 0..parameters {
        match reader.i32()? {
            -1 => {}
            length => {
                let length = usize::try_from(length).map_err(|_error| Violation::BodyFormat)?;
                reader.bytes(length)?;
            }
        }
    }
    let (values, rest) = from
        .split_at_checked(from.len() - reader.remaining().len())
        .ok_or(Violation::BodyFormat)?;
    let results = reader.count()?;
    reader.bytes(results.saturating_mul(2))?;
    Ok(Bind {
        portal,
        statement,
        parameter_formats,
        parameters,
        values: body.slice_ref(values),
        result_formats: body.slice_ref(rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: u8, body: &'static [u8]) -> Result<FrontendMessage, Violation> {
        FrontendMessage::read(&Frame {
            tag,
            body: Bytes::from_static(body),
        })
    }

    #[test]
    fn every_truncation_is_a_violation() {
        for (tag, body) in [
            (b'Q', &b"SELECT 1\0"[..]),
            (b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17"),
            (
                b'B',
                b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\0",
            ),
            (b'D', b"Ss\0"),
            (b'C', b"Pp\0"),
            (b'E', b"p\0\0\0\0\0"),
        ] {
            assert!(read(tag, body).is_ok(), "{}", char::from(tag));
            for end in 0..body.len() {
                assert!(
                    read(tag, &body[..end]).is_err(),
                    "{} cut at {end}",
                    char::from(tag)
                );
            }
            let longer = Box::leak([body, b"\0"].concat().into_boxed_slice());
            assert!(
                read(tag, longer).is_err(),
                "{} with one more",
                char::from(tag)
            );
        }
        assert!(read(b'S', b"\0").is_err());
    }

    #[test]
    fn a_bind_is_cut_into_its_parts() {
        let body = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\x01";
        let Ok(FrontendMessage::Bind(bind)) = read(b'B', body) else {
            panic!("no Bind");
        };
        assert_eq!(bind.parameter_formats, [1]);
        assert_eq!(bind.parameters, 2);
        assert_eq!(&bind.values[..], b"\0\0\0\x02ab\xff\xff\xff\xff");
        assert_eq!(&bind.result_formats[..], b"\0\x01\0\x01");
    }

    #[test]
    fn hostile_bodies_are_violations() {
        for (tag, body) in [
            (b'Q', &b"SELECT 1 -- \0 DELETE\0"[..]),
            (b'B', b"\0\0\0\0\xff\xff\0\0"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
            (b'B', b"\0\0\0\0\0\x01\0\0\x03\xe8x\0\0"),
            (b'P', b"\0SELECT 1\0\xff\xff"),
            (b'D', b"Xs\0"),
        ] {
            assert!(read(tag, body).is_err(), "{body:?}");
        }
    }
}
