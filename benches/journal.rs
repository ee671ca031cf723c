//! What a write costs in the journal: append, states, and the same through a mapped file.
//!
//! `cargo bench --bench journal`
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use twinring::journal::{
    Geometry, Header, Heap, Journal, Memory, Nature, Place, State, Words, memory, scan,
};
use twinring::limits;
use twinring::spill::{Body, Kind, Record, Repeat};
use twinring::sys::mapped::{Layout, MappedFile, MappedWords};

const NATURE: Nature = Nature {
    kind: Kind::Write,
    repeat: Repeat::Free,
    conditional: false,
};

#[derive(Debug)]
struct Mapped(MappedFile, Geometry);

impl Memory for Mapped {
    fn bytes(&mut self) -> &mut [u8] {
        self.0.data_mut()
    }
    fn prepare(&mut self, block: usize) -> Result<(), String> {
        let (bytes, slots) = (self.1.block(), self.1.slots());
        let data = block * bytes..(block + 1) * bytes;
        let words = block * slots..(block + 1) * slots;
        self.0
            .prepare(data, words)
            .map_err(|error| error.to_string())
    }
}

#[derive(Debug)]
struct Shared(MappedWords);

impl Words for Shared {
    fn words(&self) -> &[AtomicU64] {
        self.0.get()
    }
}

fn header() -> Header {
    Header {
        shard: 0,
        instance: 1,
        created_us: 1,
        boot: 0,
        geometry: Geometry::of_bytes(limits::JOURNAL_DEFAULT_BYTES),
    }
}

/// A prepared INSERT with a value of so many bytes.
fn record(params: &[u8]) -> Record<'_> {
    Record {
        sequence: 0,
        arrival_us: 1_700_000_000_000_000,
        stamp_us: Some(1_700_000_000_000_000),
        kind: Kind::Write,
        version: 4,
        session_keyspace: "",
        keyspace: "shop",
        table: "orders",
        refusal: None,
        body: Body::Query {
            text: "INSERT INTO shop.orders (id, at, name, total) VALUES (?, ?, ?, ?)",
            params,
        },
    }
}

fn mapped(folder: &std::path::Path) -> Journal {
    let header = header();
    let geometry = header.geometry;
    let layout = Layout {
        words_at: 4096,
        words: geometry.words(),
        data_at: geometry.data_at(),
        data_bytes: geometry.data_bytes(),
    };
    let path = folder.join(format!("bench-{}", std::process::id()));
    let file = MappedFile::create(&path, &header.page(), layout).unwrap();
    std::fs::remove_file(&path).unwrap();
    let words: Arc<dyn Words> = Arc::new(Shared(file.words()));
    let memory = Box::new(Mapped(file, geometry));
    let mut journal = Journal::new(Arc::from([words]), 0, &header, memory);
    journal.warm(limits::JOURNAL_WARM_BLOCKS).unwrap();
    journal
}

/// A write's whole way, with `in_flight` others between its start and its end.
fn way(journal: &mut Journal, record: &Record<'_>, ring: &mut [Option<Place>], at: &mut usize) {
    let place = journal.append(black_box(record), NATURE).unwrap();
    *at = (*at + 1) % ring.len();
    if let Some(earlier) = std::mem::replace(&mut ring[*at], place) {
        journal.mark(earlier, State::Applied);
        journal.mark(earlier, State::Done);
    }
}

fn journals(c: &mut Criterion) {
    let heap = Heap::new(header());
    let shm = std::path::Path::new("/dev/shm");
    let folder = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("journal");
    for bytes in [100, 1_000, 10_000] {
        let params = vec![7; bytes];
        let record = record(&params);
        let length = twinring::spill::record::encoded_len(&record);
        group.throughput(Throughput::Bytes(length as u64));
        for in_flight in [1, 1_000] {
            let (mut ring, mut at) = (vec![None; in_flight], 0);
            let mut journal = Journal::new(Arc::from([heap.words()]), 0, &header(), heap.lend());
            group.bench_function(format!("heap/{bytes}/{in_flight}"), |b| {
                b.iter(|| way(&mut journal, &record, &mut ring, &mut at));
            });
            let (mut ring, mut at) = (vec![None; in_flight], 0);
            let shm = if shm.is_dir() { shm } else { folder.path() };
            let mut journal = mapped(shm);
            group.bench_function(format!("file/{bytes}/{in_flight}"), |b| {
                b.iter(|| way(&mut journal, &record, &mut ring, &mut at));
            });
        }
    }
    group.finish();
    c.bench_function("journal/prepare a block", |b| {
        b.iter_batched_ref(
            || mapped(shm),
            |journal| journal.warm(limits::JOURNAL_WARM_BLOCKS + 1).unwrap(),
            BatchSize::PerIteration,
        );
    });
    let mut journal = Journal::new(Arc::from([heap.words()]), 0, &header(), heap.lend());
    let params = vec![7; 1_000];
    while journal.append(&record(&params), NATURE).is_ok() {}
    drop(journal);
    let image = heap.image();
    c.bench_function("journal/scan 64 MiB of live records", |b| {
        b.iter(|| {
            let (words, data) = memory::cut(&image, header().geometry);
            scan(&header(), &words, data).live.len()
        });
    });
}

criterion_group!(benches, journals);
criterion_main!(benches);
