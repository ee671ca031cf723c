//! Records for the tests of this module.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::append::{SegmentWriter, WriterConfig};
use super::record::{Body, ChildrenBuf, Kind, Record, Refusal};
use super::segment::Holds;

/// A stamped INSERT; the number makes it tell-tale.
pub(crate) fn insert(number: u64, value: &[u8]) -> Record<'_> {
    Record {
        sequence: 0,
        arrival_us: 1_700_000_000_000_000 + number,
        stamp_us: Some(1_700_000_000_000_000 + i64::try_from(number).unwrap()),
        kind: Kind::Write,
        version: 4,
        session_keyspace: "",
        keyspace: "ks",
        table: "t",
        refusal: None,
        body: Body::Query {
            text: "INSERT INTO ks.t (k, v) VALUES (?, ?)",
            params: value,
        },
    }
}

/// All bytes of one segment with these records.
pub(crate) fn one_segment(records: &[Record<'_>]) -> Vec<u8> {
    segment_by(0x5EED_CAFE_F00D_0001, records)
}

/// All bytes of one segment with these records, as the process with this id writes it.
pub(crate) fn segment_by(instance: u64, records: &[Record<'_>]) -> Vec<u8> {
    let config = WriterConfig::new(Holds::Backlog, 3, instance, 12);
    let mut writer = SegmentWriter::new(WriterConfig {
        limit_bytes: u64::MAX,
        ..config
    });
    for record in records {
        writer.append(record, 1_700_000_000_000_000).unwrap();
    }
    writer.take().map(|batch| batch.bytes).unwrap_or_default()
}

/// Text and values of each statement of a batch.
pub(crate) type Statements = Vec<(String, Vec<u8>)>;

/// A record that owns what it shows, for generated input.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    pub arrival_us: u64,
    pub stamp_us: Option<i64>,
    pub kind: Kind,
    pub version: u8,
    pub names: [String; 3],
    pub refusal: Option<(i32, String, bool)>,
    pub text: String,
    pub params: Vec<u8>,
    pub batch: Option<(u8, Statements)>,
}

impl Owned {
    /// Collects the batch's statements, which [`Owned::record`] then borrows.
    pub(crate) fn children(&self) -> ChildrenBuf {
        let mut children = ChildrenBuf::default();
        for (text, values) in self.batch.iter().flat_map(|(_, children)| children) {
            children.push(text, values).unwrap();
        }
        children
    }

    pub(crate) fn record<'a>(&'a self, children: &'a ChildrenBuf) -> Record<'a> {
        let refusal = self
            .refusal
            .as_ref()
            .map(|(code, words, in_doubt)| Refusal {
                code: *code,
                words,
                in_doubt: *in_doubt,
            });
        let body = match self.batch {
            None => Body::Query {
                text: &self.text,
                params: &self.params,
            },
            Some((batch_type, _)) => Body::Batch {
                batch_type,
                children: children.children(),
                tail: &self.params,
            },
        };
        Record {
            sequence: 0,
            arrival_us: self.arrival_us,
            stamp_us: self.stamp_us,
            kind: self.kind,
            version: self.version,
            session_keyspace: &self.names[0],
            keyspace: &self.names[1],
            table: &self.names[2],
            refusal,
            body,
        }
    }
}

/// Any record.
pub(crate) fn any_record() -> impl Strategy<Value = Owned> {
    let text = || prop_oneof![Just(String::new()), ".{0,40}", Just("é\u{1F600}".repeat(9))];
    let bytes = || proptest::collection::vec(any::<u8>(), 0..60);
    let batch = (0u8..=2, proptest::collection::vec((text(), bytes()), 0..5));
    let statement = (text(), bytes(), proptest::option::of(batch));
    let refusal = proptest::option::of((any::<i32>(), text(), any::<bool>()));
    let kind = (0..Kind::ALL.len()).prop_map(|at| Kind::ALL[at]);
    let head = (
        any::<u64>(),
        any::<Option<i64>>(),
        kind,
        3u8..=5,
        [text(), text(), text()],
    );
    (head, refusal, statement).prop_map(|(head, refusal, (text, params, batch))| Owned {
        arrival_us: head.0,
        stamp_us: head.1,
        kind: head.2,
        version: head.3,
        names: head.4,
        refusal,
        text,
        params,
        batch,
    })
}
