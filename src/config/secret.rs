//! Secrets, which are never printed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// A password.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What a server keeps instead of a password: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`, as
/// `pg_authid` holds it.
#[derive(Clone, Eq, PartialEq)]
pub struct ScramVerifier {
    /// The iteration count.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// `StoredKey`
    pub stored_key: [u8; 32],
    /// `ServerKey`
    pub server_key: [u8; 32],
}

/// A text that is no verifier. It does not show the text.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("this is no SCRAM-SHA-256 verifier")]
pub struct InvalidVerifier;

impl ScramVerifier {
    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, InvalidVerifier> {
        Self::read(text).ok_or(InvalidVerifier)
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix("SCRAM-SHA-256$")?;
        let (salted, keys) = text.split_once('$')?;
        let (iterations, salt) = salted.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| -> Option<[u8; 32]> { STANDARD.decode(text).ok()?.try_into().ok() };
        let iterations = iterations.parse().ok().filter(|count| *count > 0)?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self {
            iterations,
            salt,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "<redacted>");
    }

    #[test]
    fn a_verifier_is_read_as_pg_authid_prints_it() {
        let key = STANDARD.encode([7_u8; 32]);
        let good = format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}");
        let verifier = ScramVerifier::parse(&good).unwrap();
        assert_eq!(verifier.iterations, 4096);
        assert_eq!(verifier.salt, b"salt");
        assert_eq!(format!("{verifier:?}"), "<redacted>");
        for bad in [
            "",
            "md5abc",
            "SCRAM-SHA-256$0:c2FsdA==$x:y",
            &good.replace("4096", "0"),
            &good.replace("c2FsdA==", ""),
            good.trim_end_matches('='),
        ] {
            assert_eq!(ScramVerifier::parse(bad), Err(InvalidVerifier), "{bad}");
        }
    }
}
