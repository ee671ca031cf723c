//! An answer of kind ERROR: code, words, and the extra fields that some codes carry.

/// Error codes of the native protocol, section 9 of `native_protocol_v4.spec`.
pub(crate) mod code {
    pub(crate) const SERVER: i32 = 0x0000;
    pub(crate) const PROTOCOL: i32 = 0x000A;
    pub(crate) const BAD_CREDENTIALS: i32 = 0x0100;
    pub(crate) const UNAVAILABLE: i32 = 0x1000;
    pub(crate) const OVERLOADED: i32 = 0x1001;
    pub(crate) const BOOTSTRAPPING: i32 = 0x1002;
    pub(crate) const TRUNCATE: i32 = 0x1003;
    pub(crate) const WRITE_TIMEOUT: i32 = 0x1100;
    pub(crate) const READ_TIMEOUT: i32 = 0x1200;
    pub(crate) const READ_FAILURE: i32 = 0x1300;
    pub(crate) const WRITE_FAILURE: i32 = 0x1500;
    pub(crate) const SYNTAX: i32 = 0x2000;
    pub(crate) const UNAUTHORIZED: i32 = 0x2100;
    pub(crate) const INVALID: i32 = 0x2200;
    pub(crate) const CONFIG: i32 = 0x2300;
    pub(crate) const ALREADY_EXISTS: i32 = 0x2400;
    pub(crate) const UNPREPARED: i32 = 0x2500;
}

/// One ERROR answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CqlError {
    /// One of [`code`].
    pub(crate) code: i32,
    /// What the client reads.
    pub(crate) message: String,
    /// The bytes that follow the message for this code, encoded.
    pub(crate) tail: Vec<u8>,
}

/// What every step of a statement returns.
pub(crate) type CqlResult<T> = Result<T, CqlError>;

impl CqlError {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> CqlError {
        CqlError {
            code,
            message: message.into(),
            tail: Vec::new(),
        }
    }

    pub(crate) fn syntax(message: impl Into<String>) -> CqlError {
        CqlError::new(code::SYNTAX, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> CqlError {
        CqlError::new(code::INVALID, message)
    }

    pub(crate) fn no_table(name: &str) -> CqlError {
        CqlError::invalid(format!("table {name} does not exist"))
    }

    pub(crate) fn config(message: impl Into<String>) -> CqlError {
        CqlError::new(code::CONFIG, message)
    }

    pub(crate) fn protocol(message: impl Into<String>) -> CqlError {
        CqlError::new(code::PROTOCOL, message)
    }

    /// `table` is empty when a keyspace is meant, as the specification asks.
    pub(crate) fn already_exists(keyspace: &str, table: &str) -> CqlError {
        let message = if table.is_empty() {
            format!("Cannot add existing keyspace \"{keyspace}\"")
        } else {
            format!("Cannot add already existing table \"{table}\" to keyspace \"{keyspace}\"")
        };
        let mut error = CqlError::new(code::ALREADY_EXISTS, message);
        push_string(&mut error.tail, keyspace);
        push_string(&mut error.tail, table);
        error
    }

    pub(crate) fn unprepared(id: &[u8]) -> CqlError {
        let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
        let mut error = CqlError::new(
            code::UNPREPARED,
            format!(
                "Prepared query with ID {hex} not found (either the query was not prepared on \
                 this host (maybe the host has been restarted?) or you have prepared too many \
                 queries and it has been evicted from the internal cache)"
            ),
        );
        let len = u16::try_from(id.len()).unwrap_or(u16::MAX);
        error.tail.extend_from_slice(&len.to_be_bytes());
        error.tail.extend_from_slice(&id[..usize::from(len)]);
        error
    }
}

/// A `[string]`, cut at 65,535 bytes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
}
