//! Responses, one file per opcode (§4.2). Each `parse` takes the message of
//! [`response_message`](crate::envelope::response_message) and borrows from it; each `encode`
//! appends the message. READY has no message.

pub mod auth;
pub mod authenticate;
pub mod error;
pub mod event;
pub mod metadata;
pub mod prepared;
pub mod result;
pub mod rows;
pub mod schema_change;
pub mod supported;

pub use auth::AuthToken;
pub use authenticate::Authenticate;
pub use error::{ErrorBody, ErrorCode, ErrorDetail, WriteType, peek_error_code};
pub use event::Event;
pub use metadata::{ColumnDef, ColumnSpec, Metadata, MetadataHead};
pub use prepared::{Prepared, PreparedDef};
pub use result::{ResultBody, ResultKind, peek_result_kind};
pub use rows::Rows;
pub use schema_change::SchemaChange;
pub use supported::Supported;

use crate::error::DecodeError;
use crate::opcode::Opcode;
use crate::version::Version;

/// Any response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the opcodes")]
#[expect(
    clippy::large_enum_variant,
    reason = "a view on the stack; boxing would take memory"
)]
pub enum Response<'a> {
    Error(ErrorBody<'a>),
    Ready,
    Authenticate(Authenticate<'a>),
    Supported(Supported<'a>),
    Result(ResultBody<'a>),
    Event(Event<'a>),
    AuthChallenge(AuthToken<'a>),
    AuthSuccess(AuthToken<'a>),
}

impl<'a> Response<'a> {
    /// Reads the message of a response; `None` when the opcode is a request's.
    ///
    /// # Errors
    /// Those of the opcode's own `parse`.
    pub fn parse(
        opcode: Opcode,
        message: &'a [u8],
        version: Version,
    ) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match opcode {
            Opcode::Error => Self::Error(ErrorBody::parse(message, version)?),
            Opcode::Ready => Self::Ready,
            Opcode::Authenticate => Self::Authenticate(Authenticate::parse(message)?),
            Opcode::Supported => Self::Supported(Supported::parse(message)?),
            Opcode::Result => Self::Result(ResultBody::parse(message, version)?),
            Opcode::Event => Self::Event(Event::parse(message)?),
            Opcode::AuthChallenge => Self::AuthChallenge(AuthToken::parse(message)?),
            Opcode::AuthSuccess => Self::AuthSuccess(AuthToken::parse(message)?),
            _ => return Ok(None),
        }))
    }
}
