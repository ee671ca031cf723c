//! What a session waits for from the source, by stream id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::ring::RingRead;
use super::write::Write;
use crate::statement::SystemTable;
use crate::statement::rewrite::AddedMarker;

/// A request whose answer matters to us. All other answers pass through unseen.
///
/// A tag and one word, which fit into registers: each write moves it four times.
#[derive(Debug)]
pub enum Pending {
    /// A write: mirrored when the source says that it is applied.
    Write(Box<Write>),
    /// A PREPARE: its answer teaches us an id.
    Prepare(Box<Preparing>),
    /// A USE: its answer names the new keyspace.
    Use,
    /// A schema change or TRUNCATE: goes to the target behind a barrier.
    Schema(Box<Write>),
    /// A conditional write: only the source decides.
    Lwt(Box<Write>),
    /// A read of a table that tells drivers where to connect.
    System(Box<SystemTable>),
    /// The same, where several proxies are shown as the ring.
    Ring(Box<RingRead>),
    /// A statement that cannot be read here: if the source takes it, that is counted.
    Opaque,
    /// The client had several requests in flight on one stream: nobody can tell whose answers the
    /// next so many are.
    Unclear(usize),
}

/// What the answer to a PREPARE will be about.
#[derive(Debug)]
pub struct Preparing {
    /// What was prepared: the client's text, or one with added markers.
    pub text: Rc<str>,
    /// The added markers.
    pub added: Box<[AddedMarker]>,
    /// The session's keyspace at that time.
    pub keyspace: Option<Rc<str>>,
}

/// Stream ids are small integers that clients choose; one multiplication spreads them.
#[derive(Default)]
struct StreamHasher(u64);

impl Hasher for StreamHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u16(u16::from(*byte));
        }
    }
    fn write_u16(&mut self, value: u16) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write_i16(&mut self, value: i16) {
        self.write_u16(value.cast_unsigned());
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The tracked requests of one session.
#[derive(Debug, Default)]
pub struct Inflight {
    by_stream: HashMap<i16, Pending, BuildHasherDefault<StreamHasher>>,
}

impl Inflight {
    /// Tracks a request. If the client has another in flight on the same stream, which a correct
    /// client never has, both come back: no answer will tell what became of them.
    #[inline]
    pub fn insert(&mut self, stream: i16, pending: Pending) -> [Option<Pending>; 2] {
        match self.by_stream.insert(stream, pending) {
            None => [None, None],
            Some(earlier) => self.confuse(stream, earlier),
        }
    }

    /// Two requests are in flight on one stream: the one that was just put there and `earlier`.
    #[cold]
    fn confuse(&mut self, stream: i16, earlier: Pending) -> [Option<Pending>; 2] {
        let (answers, earlier) = match earlier {
            Pending::Unclear(answers) => (answers.saturating_add(1), None),
            earlier => (2, Some(earlier)),
        };
        let pending = self.by_stream.insert(stream, Pending::Unclear(answers));
        [earlier, pending]
    }

    /// The request that an answer on `stream` belongs to.
    #[inline]
    pub fn take(&mut self, stream: i16) -> Option<Pending> {
        if self.by_stream.is_empty() {
            return None;
        }
        let mut pending = self.by_stream.remove(&stream);
        if let Some(Pending::Unclear(answers)) = pending {
            pending = None;
            if answers > 1 {
                self.by_stream.insert(stream, Pending::Unclear(answers - 1));
            }
        }
        if self.by_stream.is_empty() && self.by_stream.capacity() > 1_024 {
            self.by_stream.shrink_to(64); // a burst must not cost an idle connection its memory
        }
        pending
    }

    /// Whether an answer on `stream` has to be looked into.
    #[must_use]
    pub fn has(&self, stream: i16) -> bool {
        !self.by_stream.is_empty() && self.by_stream.contains_key(&stream)
    }

    /// When the oldest write arrived that is tracked (µs).
    #[must_use]
    pub fn oldest_write_us(&self) -> Option<i64> {
        let arrived_us = |pending: &Pending| match pending {
            Pending::Write(write) => Some(write.arrived_us),
            _ => None,
        };
        self.by_stream.values().filter_map(arrived_us).min()
    }

    /// How many requests are tracked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_stream.len()
    }

    /// Whether nothing is tracked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_stream.is_empty()
    }

    /// Takes everything, when the connection to the source is lost.
    pub fn drain(&mut self) -> impl Iterator<Item = Pending> + '_ {
        self.by_stream.drain().map(|(_, pending)| pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_request_once() {
        let mut inflight = Inflight::default();
        assert!(inflight.insert(7, Pending::Use)[1].is_none());
        assert!(inflight.insert(-3, Pending::Use)[1].is_none());
        assert!(inflight.has(7) && !inflight.has(8));
        assert!(inflight.take(7).is_some());
        assert!(inflight.take(7).is_none());
        assert_eq!(inflight.len(), 1);
    }

    #[test]
    fn several_requests_on_one_stream_cannot_be_told_apart_until_all_are_answered() {
        let mut inflight = Inflight::default();
        assert!(matches!(inflight.insert(3, Pending::Use), [None, None]));
        let both = inflight.insert(3, Pending::Opaque);
        assert!(matches!(both, [Some(Pending::Use), Some(Pending::Opaque)]));
        let third = inflight.insert(3, Pending::Use);
        assert!(matches!(third, [None, Some(Pending::Use)]));
        for _ in 0..3 {
            assert!(inflight.has(3));
            assert!(inflight.take(3).is_none());
        }
        assert!(inflight.is_empty());
        assert!(matches!(inflight.insert(3, Pending::Use), [None, None]));
        assert!(matches!(inflight.take(3), Some(Pending::Use)));
    }

    #[test]
    fn an_idle_session_keeps_little_memory() {
        let mut inflight = Inflight::default();
        for stream in 0..20_000 {
            inflight.insert(stream, Pending::Use);
        }
        for stream in 0..20_000 {
            inflight.take(stream);
        }
        assert!(inflight.by_stream.capacity() < 256);
    }
}
