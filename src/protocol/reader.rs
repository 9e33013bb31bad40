//! A reader that cannot leave its frame.

use super::Violation;

/// Reads the fields of one message's body.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of exactly this body.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Violation::BodyFormat)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Violation::BodyFormat)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, Violation> {
        self.array().map(i16::from_be_bytes)
    }

    /// A 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, Violation> {
        self.array().map(i32::from_be_bytes)
    }

    /// An object identifier, or another unsigned 32-bit integer.
    pub fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_be_bytes)
    }

    /// A count of items that follow. PostgreSQL reads it as unsigned: a Bind may carry 65,535 values.
    pub fn count(&mut self) -> Result<usize, Violation> {
        self.array().map(u16::from_be_bytes).map(usize::from)
    }

    /// A string without its terminating NUL.
    pub fn string(&mut self) -> Result<&'a [u8], Violation> {
        let length = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(Violation::UnterminatedString)?;
        let text = self.bytes(length)?;
        self.bytes(1)?;
        Ok(text)
    }

    /// All that is left.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading; bytes that are left are a violation.
    pub fn finish(self) -> Result<(), Violation> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Violation::BodyFormat)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_consumed_exactly() {
        let mut reader = Reader::new(b"ab\0\x00\x01z");
        assert_eq!(reader.string(), Ok(&b"ab"[..]));
        assert_eq!(reader.i16(), Ok(1));
        assert_eq!(reader.finish(), Err(Violation::BodyFormat));
        assert_eq!(reader.i32(), Err(Violation::BodyFormat));
        assert_eq!(reader.u8(), Ok(b'z'));
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(reader.string(), Err(Violation::UnterminatedString));
    }
}
