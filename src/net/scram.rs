//! SCRAM-SHA-256 for clients: `pgwire`'s mechanism, with keys that are derived once for each secret.

use std::collections::HashMap;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use pgwire::api::auth::sasl::scram::{
    ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use sha2::Sha256;
use thiserror::Error;

use crate::config::{Login, LoginSecret, ScramVerifier, Secret};
use crate::protocol::Violation;
use crate::protocol::reader::Reader;

/// The only mechanism that is offered.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// As PostgreSQL's own default.
const ITERATIONS: u32 = 4096;

/// Why a client is not let in.
#[derive(Debug, Error)]
pub enum ScramError {
    /// The messages make no sense.
    #[error(transparent)]
    Malformed(#[from] Violation),
    /// A wrong password, or no such login.
    #[error("wrong password")]
    WrongPassword,
}

/// The verifiers of this process.
#[derive(Debug)]
pub struct Verifiers {
    /// Makes the salts: a login has the same one each time, whether it exists or not.
    key: [u8; 32],
    derived: Mutex<HashMap<String, (Secret, Arc<ScramVerifier>)>>,
}

impl Verifiers {
    /// Verifiers with a key of their own.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            derived: Mutex::default(),
        }
    }

    /// The verifier for a login; for an unknown one a verifier that no password fits.
    pub fn verifier(&self, name: &str, login: Option<&Login>) -> Arc<ScramVerifier> {
        match login.map(|login| &login.secret) {
            Some(LoginSecret::Scram(verifier)) => Arc::new(verifier.clone()),
            Some(LoginSecret::Password(password)) => self.derive(name, password),
            None => Arc::new(ScramVerifier {
                iterations: ITERATIONS,
                salt: self.salt(name),
                stored_key: self.digest("stored key", name),
                server_key: self.digest("server key", name),
            }),
        }
    }

    fn derive(&self, name: &str, password: &Secret) -> Arc<ScramVerifier> {
        if let Some((known, verifier)) = self.derived.lock().get(name)
            && known == password
        {
            return Arc::clone(verifier);
        }
        let salt = self.salt(name);
        let iterations = usize::try_from(ITERATIONS).unwrap_or_default();
        let salted = gen_salted_password(password.expose(), &salt, iterations);
        let secret = ScramSecret::verifier_from_salted_password(salt, salted, iterations);
        let verifier = Arc::new(self.of_secret(name, secret));
        self.derived
            .lock()
            .insert(name.to_owned(), (password.clone(), Arc::clone(&verifier)));
        verifier
    }

    fn of_secret(&self, name: &str, secret: ScramSecret) -> ScramVerifier {
        let (salt, stored_key, server_key) = match secret {
            ScramSecret::Verifier {
                salt,
                stored_key,
                server_key,
                ..
            } => (salt, stored_key, server_key),
            ScramSecret::SaltedPassword { salt, .. } => (salt, Vec::new(), Vec::new()),
        };
        // A key of another length cannot come; if it did, no password would fit.
        ScramVerifier {
            iterations: ITERATIONS,
            salt,
            stored_key: stored_key
                .try_into()
                .unwrap_or_else(|_| self.digest("stored key", name)),
            server_key: server_key
                .try_into()
                .unwrap_or_else(|_| self.digest("server key", name)),
        }
    }

    fn salt(&self, name: &str) -> Vec<u8> {
        self.digest("salt", name).into_iter().take(16).collect()
    }

    fn digest(&self, purpose: &str, name: &str) -> [u8; 32] {
        // A key of any length is accepted.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return self.key;
        };
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(name.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// The exchange after the client's first message.
#[derive(Debug)]
pub struct Exchange {
    waiting: ScramServerAuthWaitingForClientFinal,
}

/// Reads `SASLInitialResponse`, and gives what the server says to it.
pub fn begin(body: &[u8], verifier: &ScramVerifier) -> Result<(String, Exchange), ScramError> {
    let mut reader = Reader::new(body);
    let mechanism = reader.string()?;
    let length = usize::try_from(reader.i32()?).map_err(|_error| Violation::BodyFormat)?;
    let first = reader.bytes(length)?;
    reader.finish()?;
    if mechanism != MECHANISM.as_bytes() {
        return Err(Violation::BodyFormat.into());
    }
    let secret = ScramSecret::Verifier {
        salt: verifier.salt.clone(),
        iterations: usize::try_from(verifier.iterations).map_err(|_error| Violation::BodyFormat)?,
        stored_key: verifier.stored_key.to_vec(),
        server_key: verifier.server_key.to_vec(),
    };
    let (answer, waiting) = ScramServerAuth::new()
        .on_client_first_message_with_secret(first, secret)
        .map_err(|_error| Violation::BodyFormat)?;
    Ok((answer, Exchange { waiting }))
}

impl Exchange {
    /// Reads `SASLResponse`, and gives the server's last word, if the proof holds.
    pub fn finish(self, body: &[u8]) -> Result<String, ScramError> {
        self.waiting
            .on_client_final_message(body)
            .map_err(|_error| ScramError::WrongPassword)
    }
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    use super::*;
    use crate::config::{LoginRole, TenantSet};

    fn login(password: &str) -> Login {
        Login {
            name: "app".into(),
            secret: LoginSecret::Password(Secret::new(password.into())),
            role: LoginRole::Application {
                tenants: TenantSet::All,
            },
        }
    }

    fn initial(scram: &ScramSha256) -> Vec<u8> {
        let mut body = b"SCRAM-SHA-256\0".to_vec();
        let message = scram.message();
        body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend_from_slice(message);
        body
    }

    fn log_in(verifier: &ScramVerifier, password: &str) -> Result<(), ScramError> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let (answer, exchange) = begin(&initial(&scram), verifier)?;
        scram.update(answer.as_bytes()).unwrap();
        let last = exchange.finish(scram.message())?;
        scram.finish(last.as_bytes()).unwrap();
        Ok(())
    }

    #[test]
    fn only_the_right_password_is_let_in() {
        let verifiers = Verifiers::new([1; 32]);
        let known = verifiers.verifier("app", Some(&login("right")));
        assert!(log_in(&known, "right").is_ok());
        for (verifier, password) in [(known, "wrong"), (verifiers.verifier("nobody", None), "")] {
            let refused = log_in(&verifier, password);
            assert!(
                matches!(refused, Err(ScramError::WrongPassword)),
                "{password}"
            );
        }
        let changed = verifiers.verifier("app", Some(&login("changed")));
        assert!(log_in(&changed, "changed").is_ok());
        assert!(log_in(&changed, "right").is_err());
    }

    #[test]
    fn an_unknown_login_looks_like_a_known_one() {
        let verifiers = Verifiers::new([1; 32]);
        let known = verifiers.verifier("app", Some(&login("x")));
        let unknown = verifiers.verifier("app", None);
        assert_eq!(known.salt, unknown.salt);
        assert_eq!(known.iterations, unknown.iterations);
        assert_eq!(unknown, verifiers.verifier("app", None));
    }

    #[test]
    fn malformed_messages_are_violations() {
        let verifier = Verifiers::new([1; 32]).verifier("app", None);
        let scram = ScramSha256::new(b"x", ChannelBinding::unsupported());
        let good = initial(&scram);
        for end in 0..good.len() {
            assert!(begin(&good[..end], &verifier).is_err(), "{end}");
        }
        let plus = [&b"SCRAM-SHA-256-PLUS\0\0\0\0\x01n"[..]].concat();
        assert!(begin(&plus, &verifier).is_err());
    }
}
