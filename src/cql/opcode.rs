//! Opcodes (§2.4).

use core::fmt;

/// What an envelope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Response: an error.
    Error = 0x00,
    /// Request: the first one of a connection.
    Startup = 0x01,
    /// Response: the connection may be used.
    Ready = 0x02,
    /// Response: credentials are wanted.
    Authenticate = 0x03,
    /// Request: what may STARTUP say?
    Options = 0x05,
    /// Response to OPTIONS.
    Supported = 0x06,
    /// Request: a statement as text.
    Query = 0x07,
    /// Response to QUERY, PREPARE, EXECUTE, BATCH.
    Result = 0x08,
    /// Request: prepare a statement.
    Prepare = 0x09,
    /// Request: run a prepared statement.
    Execute = 0x0A,
    /// Request: ask for events.
    Register = 0x0B,
    /// Response without a request: something happened in the cluster.
    Event = 0x0C,
    /// Request: several statements at once.
    Batch = 0x0D,
    /// Response: authentication goes on.
    AuthChallenge = 0x0E,
    /// Request: an authentication token.
    AuthResponse = 0x0F,
    /// Response: authentication is over.
    AuthSuccess = 0x10,
}

impl Opcode {
    /// All opcodes, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Error,
        Self::Startup,
        Self::Ready,
        Self::Authenticate,
        Self::Options,
        Self::Supported,
        Self::Query,
        Self::Result,
        Self::Prepare,
        Self::Execute,
        Self::Register,
        Self::Event,
        Self::Batch,
        Self::AuthChallenge,
        Self::AuthResponse,
        Self::AuthSuccess,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether a server sends it.
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(
            self,
            Self::Error
                | Self::Ready
                | Self::Authenticate
                | Self::Supported
                | Self::Result
                | Self::Event
                | Self::AuthChallenge
                | Self::AuthSuccess
        )
    }

    /// The name as the specification writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Startup => "STARTUP",
            Self::Ready => "READY",
            Self::Authenticate => "AUTHENTICATE",
            Self::Options => "OPTIONS",
            Self::Supported => "SUPPORTED",
            Self::Query => "QUERY",
            Self::Result => "RESULT",
            Self::Prepare => "PREPARE",
            Self::Execute => "EXECUTE",
            Self::Register => "REGISTER",
            Self::Event => "EVENT",
            Self::Batch => "BATCH",
            Self::AuthChallenge => "AUTH_CHALLENGE",
            Self::AuthResponse => "AUTH_RESPONSE",
            Self::AuthSuccess => "AUTH_SUCCESS",
        }
    }
}

/// The number is no opcode of v3, v4 or v5 (0x04 was CREDENTIALS in v1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown opcode 0x{0:02X}")]
pub struct UnknownOpcode(pub u8);

impl TryFrom<u8> for Opcode {
    type Error = UnknownOpcode;

    #[inline]
    fn try_from(number: u8) -> Result<Self, UnknownOpcode> {
        Ok(match number {
            0x00 => Self::Error,
            0x01 => Self::Startup,
            0x02 => Self::Ready,
            0x03 => Self::Authenticate,
            0x05 => Self::Options,
            0x06 => Self::Supported,
            0x07 => Self::Query,
            0x08 => Self::Result,
            0x09 => Self::Prepare,
            0x0A => Self::Execute,
            0x0B => Self::Register,
            0x0C => Self::Event,
            0x0D => Self::Batch,
            0x0E => Self::AuthChallenge,
            0x0F => Self::AuthResponse,
            0x10 => Self::AuthSuccess,
            other => return Err(UnknownOpcode(other)),
        })
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
