//! ERROR (§4.2.1, §9).

use crate::consistency::Consistency;
use crate::error::{DecodeError, Notation};
use crate::primitive::{Reader, StringList, Writer};
use crate::version::Version;

/// What went wrong, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum ErrorCode {
    Server,
    Protocol,
    BadCredentials,
    Unavailable,
    Overloaded,
    IsBootstrapping,
    Truncate,
    WriteTimeout,
    ReadTimeout,
    ReadFailure,
    FunctionFailure,
    WriteFailure,
    CdcWriteFailure,
    CasWriteUnknown,
    Syntax,
    Unauthorized,
    Invalid,
    Config,
    AlreadyExists,
    Unprepared,
    /// A number that is not in the specification.
    Other(i32),
}

/// Numbers and meanings.
const CODES: [(i32, ErrorCode); 20] = [
    (0x0000, ErrorCode::Server),
    (0x000A, ErrorCode::Protocol),
    (0x0100, ErrorCode::BadCredentials),
    (0x1000, ErrorCode::Unavailable),
    (0x1001, ErrorCode::Overloaded),
    (0x1002, ErrorCode::IsBootstrapping),
    (0x1003, ErrorCode::Truncate),
    (0x1100, ErrorCode::WriteTimeout),
    (0x1200, ErrorCode::ReadTimeout),
    (0x1300, ErrorCode::ReadFailure),
    (0x1400, ErrorCode::FunctionFailure),
    (0x1500, ErrorCode::WriteFailure),
    (0x1600, ErrorCode::CdcWriteFailure),
    (0x1700, ErrorCode::CasWriteUnknown),
    (0x2000, ErrorCode::Syntax),
    (0x2100, ErrorCode::Unauthorized),
    (0x2200, ErrorCode::Invalid),
    (0x2300, ErrorCode::Config),
    (0x2400, ErrorCode::AlreadyExists),
    (0x2500, ErrorCode::Unprepared),
];

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Other(number) => number,
            known => {
                let found = CODES.iter().find(|(_, code)| *code == known);
                found.map_or(0, |(number, _)| *number)
            }
        }
    }

    /// The code with this number.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        let found = CODES.iter().find(|(known, _)| *known == number);
        found.map_or(Self::Other(number), |(_, code)| *code)
    }
}

/// The kind of write that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum WriteType<'a> {
    Simple,
    Batch,
    UnloggedBatch,
    Counter,
    BatchLog,
    Cas,
    View,
    Cdc,
    /// A name that is not in the specification.
    Other(&'a str),
}

impl<'a> WriteType<'a> {
    /// The name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        match self {
            Self::Simple => "SIMPLE",
            Self::Batch => "BATCH",
            Self::UnloggedBatch => "UNLOGGED_BATCH",
            Self::Counter => "COUNTER",
            Self::BatchLog => "BATCH_LOG",
            Self::Cas => "CAS",
            Self::View => "VIEW",
            Self::Cdc => "CDC",
            Self::Other(name) => name,
        }
    }

    /// The write type with this name.
    #[must_use]
    pub fn from_name(name: &'a str) -> Self {
        match name {
            "SIMPLE" => Self::Simple,
            "BATCH" => Self::Batch,
            "UNLOGGED_BATCH" => Self::UnloggedBatch,
            "COUNTER" => Self::Counter,
            "BATCH_LOG" => Self::BatchLog,
            "CAS" => Self::Cas,
            "VIEW" => Self::View,
            "CDC" => Self::Cdc,
            other => Self::Other(other),
        }
    }
}

/// Which replicas failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures<'a> {
    /// How many.
    pub count: i32,
    /// v5: address and reason of each, as `<[inetaddr][short]>…`.
    pub reasons: Option<&'a [u8]>,
}

/// What an error says beside its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum ErrorDetail<'a> {
    /// Nothing, or bytes that the specification does not describe.
    None,
    Unavailable {
        consistency: Consistency,
        required: i32,
        alive: i32,
    },
    /// `contentions` from v5 on, for [`WriteType::Cas`].
    WriteTimeout {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        write_type: WriteType<'a>,
        contentions: Option<u16>,
    },
    ReadTimeout {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        data_present: bool,
    },
    ReadFailure {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        failures: Failures<'a>,
        data_present: bool,
    },
    FunctionFailure {
        keyspace: &'a str,
        function: &'a str,
        arg_types: StringList<'a>,
    },
    WriteFailure {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        failures: Failures<'a>,
        write_type: WriteType<'a>,
    },
    CasWriteUnknown {
        consistency: Consistency,
        received: i32,
        block_for: i32,
    },
    AlreadyExists {
        keyspace: &'a str,
        table: &'a str,
    },
    Unprepared {
        id: &'a [u8],
    },
}

/// ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// What went wrong.
    pub code: ErrorCode,
    /// The server's words.
    pub message: &'a str,
    /// More, depending on the code.
    pub detail: ErrorDetail<'a>,
}

/// The code of an ERROR, without a look at the rest.
///
/// # Errors
/// Cut short.
#[inline]
pub fn peek_error_code(message: &[u8]) -> Result<ErrorCode, DecodeError> {
    Reader::new(message).int().map(ErrorCode::from_number)
}

impl<'a> ErrorBody<'a> {
    /// An error with nothing beside its message.
    #[must_use]
    pub const fn new(code: ErrorCode, message: &'a str) -> Self {
        Self {
            code,
            message,
            detail: ErrorDetail::None,
        }
    }

    /// Reads the message. Bytes behind what the specification describes are left alone, because
    /// servers add to errors.
    ///
    /// # Errors
    /// Malformed.
    pub fn parse(message: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let code = ErrorCode::from_number(reader.int()?);
        let text = reader.string()?;
        let detail = read_detail(&mut reader, code, version)?;
        Ok(Self {
            code,
            message: text,
            detail,
        })
    }

    /// Appends the message: one longer than a `[string]` is cut. What only v5 says, the reasons of
    /// failures and the number of contentions, is written if it is there.
    pub fn encode(&self, w: &mut Writer<'_>) {
        w.int(self.code.number());
        w.string(cut(self.message, u16::MAX.into()));
        encode_detail(w, &self.detail);
    }
}

/// The longest beginning of `text` with at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn read_detail<'a>(
    r: &mut Reader<'a>,
    code: ErrorCode,
    version: Version,
) -> Result<ErrorDetail<'a>, DecodeError> {
    Ok(match code {
        ErrorCode::Unavailable
        | ErrorCode::WriteTimeout
        | ErrorCode::ReadTimeout
        | ErrorCode::ReadFailure
        | ErrorCode::WriteFailure
        | ErrorCode::CasWriteUnknown => return read_replicas(r, code, version),
        ErrorCode::FunctionFailure => {
            let (keyspace, function, arg_types) = (r.string()?, r.string()?, r.string_list()?);
            ErrorDetail::FunctionFailure {
                keyspace,
                function,
                arg_types,
            }
        }
        ErrorCode::AlreadyExists => {
            let (keyspace, table) = (r.string()?, r.string()?);
            ErrorDetail::AlreadyExists { keyspace, table }
        }
        ErrorCode::Unprepared => ErrorDetail::Unprepared {
            id: r.short_bytes()?,
        },
        _ => ErrorDetail::None,
    })
}

/// The details that begin with a consistency level and two numbers of replicas.
fn read_replicas<'a>(
    r: &mut Reader<'a>,
    code: ErrorCode,
    version: Version,
) -> Result<ErrorDetail<'a>, DecodeError> {
    let (consistency, received, block_for) = (r.consistency()?, r.int()?, r.int()?);
    Ok(match code {
        ErrorCode::WriteTimeout => {
            let write_type = WriteType::from_name(r.string()?);
            let contended = version >= Version::V5 && write_type == WriteType::Cas;
            let contentions = if contended { Some(r.short()?) } else { None };
            ErrorDetail::WriteTimeout {
                consistency,
                received,
                block_for,
                write_type,
                contentions,
            }
        }
        ErrorCode::ReadTimeout => {
            let data_present = r.byte()? != 0;
            ErrorDetail::ReadTimeout {
                consistency,
                received,
                block_for,
                data_present,
            }
        }
        ErrorCode::ReadFailure => {
            let failures = read_failures(r, version)?;
            let data_present = r.byte()? != 0;
            ErrorDetail::ReadFailure {
                consistency,
                received,
                block_for,
                failures,
                data_present,
            }
        }
        ErrorCode::WriteFailure => {
            let failures = read_failures(r, version)?;
            let write_type = WriteType::from_name(r.string()?);
            ErrorDetail::WriteFailure {
                consistency,
                received,
                block_for,
                failures,
                write_type,
            }
        }
        ErrorCode::CasWriteUnknown => ErrorDetail::CasWriteUnknown {
            consistency,
            received,
            block_for,
        },
        _ => ErrorDetail::Unavailable {
            consistency,
            required: received,
            alive: block_for,
        },
    })
}

/// A number of failures up to v4, a map of reasons from v5 on.
fn read_failures<'a>(r: &mut Reader<'a>, version: Version) -> Result<Failures<'a>, DecodeError> {
    if version < Version::V5 {
        return Ok(Failures {
            count: r.int()?,
            reasons: None,
        });
    }
    let count = r.count(Notation::Rows)?;
    let start = r.position();
    for _ in 0..count {
        r.inet_addr()?;
        r.short()?;
    }
    let reasons = Some(r.since(start));
    Ok(Failures {
        count: i32::try_from(count).unwrap_or(i32::MAX),
        reasons,
    })
}

fn encode_detail(w: &mut Writer<'_>, detail: &ErrorDetail<'_>) {
    encode_replicas(w, detail);
    match *detail {
        ErrorDetail::None
        | ErrorDetail::Unavailable { .. }
        | ErrorDetail::CasWriteUnknown { .. } => {}
        ErrorDetail::WriteTimeout {
            write_type,
            contentions,
            ..
        } => {
            w.string(write_type.name());
            if let Some(contentions) = contentions {
                w.short(contentions);
            }
        }
        ErrorDetail::ReadTimeout { data_present, .. } => w.byte(data_present.into()),
        ErrorDetail::ReadFailure {
            failures,
            data_present,
            ..
        } => {
            encode_failures(w, &failures);
            w.byte(data_present.into());
        }
        ErrorDetail::WriteFailure {
            failures,
            write_type,
            ..
        } => {
            encode_failures(w, &failures);
            w.string(write_type.name());
        }
        ErrorDetail::FunctionFailure {
            keyspace,
            function,
            arg_types,
        } => {
            w.string(keyspace);
            w.string(function);
            w.string_list(arg_types);
        }
        ErrorDetail::AlreadyExists { keyspace, table } => {
            w.string(keyspace);
            w.string(table);
        }
        ErrorDetail::Unprepared { id } => w.short_bytes(id),
    }
}

fn encode_failures(w: &mut Writer<'_>, failures: &Failures<'_>) {
    w.int(failures.count);
    w.raw(failures.reasons.unwrap_or_default());
}

/// The consistency level and two numbers of replicas that many details begin with.
fn encode_replicas(w: &mut Writer<'_>, detail: &ErrorDetail<'_>) {
    let (consistency, received, block_for) = match *detail {
        ErrorDetail::Unavailable {
            consistency,
            required,
            alive,
        } => (consistency, required, alive),
        ErrorDetail::WriteTimeout {
            consistency,
            received,
            block_for,
            ..
        }
        | ErrorDetail::ReadTimeout {
            consistency,
            received,
            block_for,
            ..
        }
        | ErrorDetail::ReadFailure {
            consistency,
            received,
            block_for,
            ..
        }
        | ErrorDetail::WriteFailure {
            consistency,
            received,
            block_for,
            ..
        }
        | ErrorDetail::CasWriteUnknown {
            consistency,
            received,
            block_for,
        } => (consistency, received, block_for),
        ErrorDetail::None
        | ErrorDetail::FunctionFailure { .. }
        | ErrorDetail::AlreadyExists { .. }
        | ErrorDetail::Unprepared { .. } => return,
    };
    w.consistency(consistency);
    w.int(received);
    w.int(block_for);
}
