//! The journal: any bytes as a file, and a good file with any damage. What is found lies inside the
//! data, no record twice, and a known state is one that was stored.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../../src/journal/mod.rs"]
mod journal;
#[allow(dead_code)]
#[path = "../../../src/limits.rs"]
mod limits;
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../../src/spill/mod.rs"]
mod spill;

use std::sync::Arc;

use journal::memory::cut;
use journal::{Geometry, Header, Heap, Journal, Nature, State, scan};
use spill::{Body, Kind, Record, Repeat};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    look(data);
    // pairs of a place and a byte to put there
    let (mut image, states) = good();
    for damage in data.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) * 2 % image.len();
        image[at] ^= damage[2];
        image[(at + usize::from(damage[3])) % 4096 + 4096] ^= damage[2];
    }
    for (id, state) in look(&image) {
        // several bits of one word may make another state of the same record
        assert!(usize::try_from(id).is_ok_and(|id| id <= states), "{id} {state:?}");
    }
});

fn look(file: &[u8]) -> Vec<(u64, Option<State>)> {
    let Ok((header, _)) = Header::read(file) else {
        return Vec::new();
    };
    if header.geometry.file_bytes() > 1 << 24 {
        return Vec::new();
    }
    let (words, data) = cut(file, header.geometry);
    let scanned = scan(&header, &words, data);
    let mut last = 0;
    for live in &scanned.live {
        assert!(live.body.end <= data.len() && live.id > last);
        last = live.id;
        let _ = spill::record::decode(&data[live.body.clone()]);
    }
    scanned.live.iter().map(|live| (live.id, live.state)).collect()
}

/// A file with some records in all states, and how many there are.
fn good() -> (Vec<u8>, usize) {
    let geometry = Geometry {
        block_bytes: 4096,
        blocks: 3,
    };
    let header = Header {
        shard: 1,
        instance: 2,
        created_us: 3,
        boot: 0,
        geometry,
    };
    let heap = Heap::new(header);
    let mut journal = Journal::new(Arc::from([heap.words()]), 0, &header, heap.lend());
    let count = 40;
    for number in 0..count {
        let record = Record {
            sequence: 0,
            arrival_us: number,
            stamp_us: Some(5),
            kind: Kind::Write,
            version: 4,
            session_keyspace: "",
            keyspace: "ks",
            table: "t",
            refusal: None,
            body: Body::Query {
                text: "INSERT INTO ks.t (k) VALUES (?)",
                params: &[1; 50],
            },
        };
        let nature = Nature {
            kind: Kind::Write,
            repeat: Repeat::Free,
            conditional: false,
        };
        let place = journal.append(&record, nature).expect("there is room");
        let state = State::ALL[usize::try_from(number % 4).expect("small")];
        if let Some(place) = place.filter(|_| state != State::Intent) {
            journal.mark(place, state);
        }
    }
    drop(journal);
    (heap.image(), 40)
}
