//! What a client logs in with, as far as it serves at the target too.
//!
//! A login is a talk of SASL between the client and the source, of any mechanism and any number of
//! rounds, and passes as it is. Only a token of PLAIN holds what the target can be told, and PLAIN
//! has one token of the client and no answer but yes or no. So a token is taken for one only where
//! PLAIN can have it, and what is answered with a challenge was something else.

use super::link::{Credentials, PLAIN_START};
use crate::cql::request::auth_response::AuthResponse;

/// See the module. Its debug form does not show the password.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The source waits for the next token of a mechanism that is not PLAIN.
    other: bool,
    /// The token without an answer: its stream, and what it says if it is PLAIN.
    said: Option<(i16, Option<Credentials>)>,
}

impl Login {
    /// The client says a token.
    pub fn say(&mut self, stream: i16, response: &AuthResponse<'_>) {
        // who does not wait for the answer to the one before leaves open which of them it is for
        let hasty = self.said.is_some();
        let plain = !self.other && !hasty;
        let credentials = plain.then(|| credentials(response)).flatten();
        self.said = Some((stream, credentials));
    }

    /// The source wants another token.
    pub fn challenge(&mut self, challenge: Option<&[u8]>) {
        self.other = challenge != Some(PLAIN_START);
        self.said = None;
    }

    /// The source lets the client in: what it logged in with, if the target can be told.
    pub fn accept(&mut self, stream: i16) -> Option<Credentials> {
        self.other = false;
        let (asked, credentials) = self.said.take()?;
        credentials.filter(|_| asked == stream)
    }

    /// The source has answered with an error: the client may begin again.
    pub fn refuse(&mut self, stream: i16) {
        if self.said.take_if(|(asked, _)| *asked == stream).is_some() {
            self.other = false;
        }
    }
}

/// What a token of PLAIN says. Nothing in it is empty, and all of it is text: tokens of other
/// mechanisms may have two zeros as well.
fn credentials(response: &AuthResponse<'_>) -> Option<Credentials> {
    let plain = response.plain()?;
    let is_text = |part: &[u8]| core::str::from_utf8(part).is_ok();
    let parts = [plain.authorization, plain.user, plain.password];
    let fits = parts.into_iter().all(is_text);
    let fits = fits && !plain.user.is_empty() && !plain.password.is_empty();
    fits.then(|| Credentials {
        user: plain.user.into(),
        password: plain.password.into(),
    })
}
