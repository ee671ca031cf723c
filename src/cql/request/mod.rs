//! Requests, one file per opcode (§4.1). Each `parse` takes the message of
//! [`request_message`](crate::envelope::request_message), checks it to its last byte and borrows
//! from it; each `encode` appends the message. The layouts are those of v3 and v4; `parse_as` and
//! `encode_as`, where an opcode has them, know v5 too.

pub mod auth_response;
pub mod batch;
pub mod execute;
pub mod options;
pub mod params;
pub mod prepare;
pub mod query;
pub mod register;
pub mod startup;

pub use auth_response::AuthResponse;
pub use batch::{Batch, BatchEntry, BatchType};
pub use execute::Execute;
pub use options::Options;
pub use params::{QueryFlags, QueryParams};
pub use prepare::Prepare;
pub use query::Query;
pub use register::Register;
pub use startup::Startup;

use crate::error::DecodeError;
use crate::opcode::Opcode;
use crate::version::Version;

/// Any request.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the opcodes")]
pub enum Request<'a> {
    Startup(Startup<'a>),
    Options(Options),
    Query(Query<'a>),
    Prepare(Prepare<'a>),
    Execute(Execute<'a>),
    Register(Register<'a>),
    Batch(Batch<'a>),
    AuthResponse(AuthResponse<'a>),
}

impl<'a> Request<'a> {
    /// Reads the message of a request; `None` when the opcode is a response's.
    ///
    /// # Errors
    /// Those of the opcode's own `parse`.
    pub fn parse(
        opcode: Opcode,
        message: &'a [u8],
        version: Version,
    ) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match opcode {
            Opcode::Startup => Self::Startup(Startup::parse(message)?),
            Opcode::Options => Self::Options(Options::parse(message)?),
            Opcode::Query => Self::Query(Query::parse_as(message, version)?),
            Opcode::Prepare => Self::Prepare(Prepare::parse_as(message, version)?),
            Opcode::Execute => Self::Execute(Execute::parse_as(message, version)?),
            Opcode::Register => Self::Register(Register::parse(message)?),
            Opcode::Batch => Self::Batch(Batch::parse_as(message, version)?),
            Opcode::AuthResponse => Self::AuthResponse(AuthResponse::parse(message)?),
            _ => return Ok(None),
        }))
    }
}
