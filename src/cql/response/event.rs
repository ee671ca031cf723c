//! EVENT (§4.2.6).

use core::net::SocketAddr;

use super::schema_change::SchemaChange;
use crate::error::{DecodeError, Notation, offset};
use crate::primitive::{Reader, Writer};

/// EVENT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A node joined, left or moved.
    Topology(TopologyChange, SocketAddr),
    /// A node went up or down.
    Status(StatusChange, SocketAddr),
    /// The schema changed.
    Schema(SchemaChange<'a>),
}

/// What happened to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum TopologyChange {
    NewNode,
    RemovedNode,
    MovedNode,
}

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum StatusChange {
    Up,
    Down,
}

impl<'a> Event<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, an unknown event, or bytes left over (but behind schema changes).
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let event = match reader.string()? {
            "TOPOLOGY_CHANGE" => {
                let change = match reader.string()? {
                    "NEW_NODE" => TopologyChange::NewNode,
                    "REMOVED_NODE" => TopologyChange::RemovedNode,
                    "MOVED_NODE" => TopologyChange::MovedNode,
                    _ => return Err(unknown(&reader)),
                };
                Self::Topology(change, reader.inet()?)
            }
            "STATUS_CHANGE" => {
                let change = match reader.string()? {
                    "UP" => StatusChange::Up,
                    "DOWN" => StatusChange::Down,
                    _ => return Err(unknown(&reader)),
                };
                Self::Status(change, reader.inet()?)
            }
            "SCHEMA_CHANGE" => return SchemaChange::read(&mut reader).map(Self::Schema),
            _ => return Err(unknown(&reader)),
        };
        reader.finish()?;
        Ok(event)
    }

    /// Name of the event's type, as REGISTER uses it.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Topology(..) => "TOPOLOGY_CHANGE",
            Self::Status(..) => "STATUS_CHANGE",
            Self::Schema(..) => "SCHEMA_CHANGE",
        }
    }

    /// Appends the message.
    pub fn encode(&self, w: &mut Writer<'_>) {
        w.string(self.type_name());
        match self {
            Self::Topology(change, address) => {
                w.string(match change {
                    TopologyChange::NewNode => "NEW_NODE",
                    TopologyChange::RemovedNode => "REMOVED_NODE",
                    TopologyChange::MovedNode => "MOVED_NODE",
                });
                w.inet(*address);
            }
            Self::Status(change, address) => {
                w.string(match change {
                    StatusChange::Up => "UP",
                    StatusChange::Down => "DOWN",
                });
                w.inet(*address);
            }
            Self::Schema(change) => change.encode(w),
        }
    }
}

/// A name that ends where the reader is has no meaning.
fn unknown(reader: &Reader<'_>) -> DecodeError {
    DecodeError::Unknown {
        what: Notation::EventType,
        at: offset(reader.position()),
        found: 0,
    }
}
