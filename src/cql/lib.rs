//! The Cassandra native protocol (CQL binary protocol), versions 3 to 5, as pure views and
//! encoders: bytes in, bytes out; no I/O, no clock, no runtime.
//!
//! Read in this order: [`decoder`] cuts a receive buffer into [`envelope::Envelope`]s without
//! copying; [`envelope`] gives the header and the body behind tracing id, warnings and payload;
//! [`request`] and [`response`] have one file per opcode, each with a view (`parse`) and an
//! encoder (`encode`); [`stamp`] puts a write timestamp into a request and [`values`] rewrites
//! bound values; [`compression`] is LZ4 and Snappy under a size limit; [`frame`] is what v5 puts
//! around envelopes.
//!
//! Three rules hold everywhere. A length from the wire is checked against the bytes at hand, or
//! against a limit of the caller, before memory is taken. "More bytes needed" is no error.
//! Views borrow the receive buffer and tell the offsets at which they found things, so that a
//! caller can rewrite one place and copy the rest.
//!
//! Section numbers (§) are those of `doc/native_protocol_v4.spec` in the Apache Cassandra
//! sources, where nothing else is said. Requests have one layout in v3 and v4, which `parse`
//! reads; `parse_as` reads that of v5 too. Where a response differs by version, its `parse` takes
//! a [`Version`].

pub mod column_type;
pub mod compression;
pub mod consistency;
pub mod decoder;
pub mod encode;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod opcode;
pub mod primitive;
pub mod request;
pub mod response;
pub mod stamp;
pub mod values;
pub mod version;

pub use column_type::{ColumnType, TypeView};
pub use compression::Compression;
pub use consistency::Consistency;
pub use envelope::{Envelope, Flags, HEADER_LEN, Header};
pub use error::{DecodeError, EncodeError, EnvelopeError, Notation};
pub use opcode::Opcode;
pub use primitive::{Reader, Value, Writer};
pub use request::QueryFlags;
pub use values::Values;
pub use version::Version;
