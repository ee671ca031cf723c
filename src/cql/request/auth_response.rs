//! AUTH_RESPONSE (§4.1.2): a token of SASL.

use core::fmt;

use crate::error::DecodeError;
use crate::primitive::{Reader, Writer};

/// AUTH_RESPONSE. Its debug form does not show the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthResponse<'a> {
    /// What the authenticator's client side says.
    pub token: Option<&'a [u8]>,
}

/// A token of SASL PLAIN (RFC 4616). Its debug form does not show the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Whom to act as; mostly empty.
    pub authorization: &'a [u8],
    /// Who it is.
    pub user: &'a [u8],
    /// The password.
    pub password: &'a [u8],
}

impl<'a> AuthResponse<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let token = reader.bytes()?;
        reader.finish()?;
        Ok(Self { token })
    }

    /// User and password, if the token has the form of SASL PLAIN:
    /// `[authorization] NUL user NUL password`.
    #[must_use]
    pub fn plain(&self) -> Option<Plain<'a>> {
        let mut parts = self.token?.split(|byte| *byte == 0);
        let (authorization, user, password) = (parts.next()?, parts.next()?, parts.next()?);
        match parts.next() {
            None => Some(Plain {
                authorization,
                user,
                password,
            }),
            Some(_) => None,
        }
    }
}

impl fmt::Debug for AuthResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthResponse").finish_non_exhaustive()
    }
}

impl fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = String::from_utf8_lossy(self.user);
        f.debug_struct("Plain")
            .field("user", &user)
            .finish_non_exhaustive()
    }
}

/// Appends the message.
pub fn encode(w: &mut Writer<'_>, token: Option<&[u8]>) {
    w.bytes(token);
}

/// Appends the message with a token of SASL PLAIN.
pub fn encode_plain(w: &mut Writer<'_>, user: &str, password: &str) {
    let token = [b"\0", user.as_bytes(), b"\0", password.as_bytes()].concat();
    w.bytes(Some(&token));
}
