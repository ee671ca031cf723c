//! Random operations against a model, a crash at any step, and damage to any byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::format::{HEADER_BYTES, HEADER_COPY_AT, PAGE_BYTES};
use super::memory::cut;
use super::*;
use crate::spill::record;
use crate::spill::samples::insert;
use crate::spill::{Kind, Repeat};

const FREE: Nature = Nature {
    kind: Kind::Write,
    repeat: Repeat::Free,
    conditional: false,
};
const COUNTER: Nature = Nature {
    kind: Kind::Counter,
    repeat: Repeat::Once,
    conditional: false,
};

fn header(blocks: u32) -> Header {
    Header {
        shard: 3,
        instance: 0x5EED_0000_CAFE,
        created_us: 1,
        boot: 0,
        geometry: Geometry {
            block_bytes: 4096,
            blocks,
        },
    }
}

fn journal(heap: &Heap, header: &Header) -> Journal {
    Journal::new(Arc::from([heap.words()]), 0, header, heap.lend())
}

fn body(number: u64, length: usize) -> Vec<u8> {
    let value = vec![number.to_le_bytes()[0]; length];
    let mut body = Vec::new();
    record::encode(&insert(number, &value), &mut body).unwrap();
    body
}

fn append(
    journal: &mut Journal,
    number: u64,
    length: usize,
    nature: Nature,
) -> Result<Place, Full> {
    let value = vec![number.to_le_bytes()[0]; length];
    let place = journal.append(&insert(number, &value), nature)?;
    Ok(place.expect("it has a file"))
}

/// Id → state, nature and body of all that is live.
type Lives = BTreeMap<u64, (Option<State>, Nature, Vec<u8>)>;

fn read(image: &[u8]) -> Result<(Lives, Scanned), format::HeaderError> {
    let (header, damaged) = Header::read(image)?;
    let (words, data) = cut(image, header.geometry);
    let mut scanned = scan(&header, &words, data);
    if damaged {
        scanned.damage.push(Damage::Header);
    }
    let lives = scanned.live.iter().map(|live| {
        let body = data[live.body.clone()].to_vec();
        (live.id, (live.state, live.nature, body))
    });
    Ok((lives.collect(), scanned))
}

/// The image after a process died while it wrote what differs between two images: a part of the
/// data is there, no state word is.
fn torn(before: &[u8], after: &[u8], part: usize) -> Vec<u8> {
    let data_at = Header::read(before).unwrap().0.geometry.data_at();
    let changed: Vec<_> = (data_at..before.len())
        .filter(|at| before[*at] != after[*at])
        .collect();
    let mut image = before.to_vec();
    for at in changed.iter().take(changed.len() * part / 100) {
        image[*at] = after[*at];
    }
    image
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        length: usize,
        counter: bool,
        torn: usize,
    },
    Mark {
        which: usize,
        state: State,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![8 => 0usize..200, 2 => 200usize..3_000, 1 => 3_000usize..9_000];
    let state = prop_oneof![
        2 => Just(State::Applied), 1 => Just(State::Sent), 4 => Just(State::Done)
    ];
    prop_oneof![
        (length, any::<bool>(), 0usize..=100).prop_map(|(length, counter, torn)| Step::Append {
            length,
            counter,
            torn
        }),
        (any::<usize>(), state).prop_map(|(which, state)| Step::Mark { which, state }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_crash_at_any_step_leaves_exactly_the_live_records(
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let header = header(5);
        let heap = Heap::new(header);
        let mut journal = journal(&heap, &header);
        let mut model = Lives::new();
        let mut places = BTreeMap::new();
        let mut number = 0;
        for step in steps {
            let before = image_of(&mut journal, &heap);
            match step {
                Step::Append { length, counter, torn: part } => {
                    number += 1;
                    let nature = if counter { COUNTER } else { FREE };
                    match append(&mut journal, number, length, nature) {
                        Ok(place) => {
                            let after = image_of(&mut journal, &heap);
                            let (lives, scanned) = read(&torn(&before, &after, part)).unwrap();
                            prop_assert_eq!(&lives, &model);
                            prop_assert_eq!(scanned.damage, []);
                            let live = (Some(State::Intent), nature, body(number, length));
                            model.insert(place.id.get(), live);
                            places.insert(place.id.get(), place);
                        }
                        Err(Full::Now) => prop_assert!(!model.is_empty()),
                        Err(Full::Never) => prop_assert!(length > 4 * 4096),
                    }
                }
                Step::Mark { which, state } => {
                    let Some((id, place)) = places
                        .iter()
                        .nth(which % places.len().max(1))
                        .map(|(id, place)| (*id, *place))
                    else {
                        continue;
                    };
                    journal.mark(place, state);
                    if state == State::Done {
                        model.remove(&id);
                        places.remove(&id);
                    } else {
                        model.get_mut(&id).unwrap().0 = Some(state);
                    }
                }
            }
            prop_assert_eq!(journal.live(), model.len() as u64);
            let (lives, scanned) = read(&image_of(&mut journal, &heap)).unwrap();
            prop_assert_eq!(&lives, &model);
            prop_assert_eq!(scanned.damage, []);
        }
    }
}

/// What a disk holds when the machine dies: each sector as it was at the last sync, or at any time
/// since. `images`: the file at the sync, and after each step since.
fn stale(images: &[Vec<u8>], seed: u64) -> Vec<u8> {
    const SECTOR: usize = 512;
    let mut random = seed;
    let mut disk = Vec::new();
    for at in (0..images[0].len()).step_by(SECTOR) {
        random = random
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        let image = &images[usize::try_from(random >> 33).unwrap() % images.len()];
        disk.extend_from_slice(&image[at..(at + SECTOR).min(image.len())]);
    }
    disk
}

/// What is known of a record: its body and nature, and the states it had since the last sync.
#[derive(Debug)]
struct Story {
    nature: Nature,
    body: Vec<u8>,
    states: Vec<State>,
    synced: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn when_the_machine_dies_what_was_synced_is_there(
        steps in proptest::collection::vec(any_step(), 1..60),
        sync_after in 0usize..40,
        seeds in proptest::collection::vec(any::<u64>(), 8),
    ) {
        let header = header(5);
        let heap = Heap::new(header);
        let mut journal = journal(&heap, &header);
        let mut stories = BTreeMap::<u64, Story>::new();
        let mut places = Vec::new();
        let mut images = vec![image_of(&mut journal, &heap)];
        for (number, step) in (1u64..).zip(&steps) {
            match *step {
                Step::Append { length, counter, .. } => {
                    let nature = if counter { COUNTER } else { FREE };
                    if let Ok(place) = append(&mut journal, number, length, nature) {
                        places.push(place);
                        let body = body(number, length);
                        let states = vec![State::Intent];
                        let story = Story { nature, body, states, synced: false };
                        stories.insert(place.id.get(), story);
                    }
                }
                Step::Mark { which, state } if !places.is_empty() => {
                    let place = places[which % places.len()];
                    journal.mark(place, state);
                    stories.get_mut(&place.id.get()).unwrap().states.push(state);
                    if state == State::Done {
                        places.retain(|other| *other != place);
                    }
                }
                Step::Mark { .. } => {}
            }
            images.push(image_of(&mut journal, &heap));
            if number == sync_after as u64 {
                images.drain(..images.len() - 1);
                stories.retain(|_, story| story.states.last() != Some(&State::Done));
                for story in stories.values_mut() {
                    story.states.drain(..story.states.len() - 1);
                    story.synced = true;
                }
            }
        }
        for seed in seeds {
            let disk = stale(&images, seed);
            let (header, _) = Header::read(&disk).unwrap();
            let (words, data) = cut(&disk, header.geometry);
            let mut scanned = scan_stale(&header, &words, data);
            for live in &scanned.live {
                let story = stories.get(&live.id).expect("no record out of nothing");
                prop_assert_eq!(&data[live.body.clone()], &story.body[..]);
                prop_assert_eq!(live.nature, story.nature);
                let state = live.state.expect("no word is damaged");
                prop_assert!(story.states.contains(&state), "{:?} {:?}", live, story);
            }
            scanned.live.retain(|live| stories[&live.id].synced);
            for (id, story) in stories.iter().filter(|(_, story)| story.synced) {
                let is_there = scanned.live.iter().any(|live| live.id == *id);
                prop_assert!(is_there || story.states.contains(&State::Done), "{} {:?}", id, story);
            }
        }
    }
}

/// What the file would hold while the journal still lives.
fn image_of(journal: &mut Journal, heap: &Heap) -> Vec<u8> {
    let mut image = heap.image();
    image.extend_from_slice(journal.data());
    image
}

/// A journal after some use: blocks used twice, records in all states, one that takes two blocks.
fn used() -> (Vec<u8>, Lives) {
    let header = header(5);
    let heap = Heap::new(header);
    let mut journal = journal(&heap, &header);
    let mut number = 0;
    let mut next = |journal: &mut Journal, length, nature| {
        number += 1;
        append(journal, number, length, nature).unwrap()
    };
    let first: Vec<_> = (0..40).map(|_| next(&mut journal, 100, FREE)).collect();
    first
        .iter()
        .for_each(|place| journal.mark(*place, State::Done));
    let large = next(&mut journal, 5_000, FREE);
    journal.mark(large, State::Applied);
    let places: Vec<_> = (0..30).map(|_| next(&mut journal, 150, COUNTER)).collect();
    for (at, place) in places.iter().enumerate() {
        match at % 4 {
            0 => journal.mark(*place, State::Applied),
            1 => journal.mark(*place, State::Done),
            2 => journal.mark(*place, State::Sent),
            _ => {}
        }
    }
    let image = image_of(&mut journal, &heap);
    let (lives, scanned) = read(&image).unwrap();
    assert_eq!(scanned.damage, []);
    assert_eq!(lives.len(), 23);
    (image, lives)
}

/// What is found in a damaged image is what was there; what is not found, or whose state is not
/// known, is reported.
fn holds(image: &[u8], wanted: &Lives, at_most_lost: usize, what: &str) {
    let (lives, scanned) = match read(image) {
        Ok(found) => found,
        Err(_) => return, // said as an error
    };
    let mut lost = wanted.len();
    for (id, (state, nature, body)) in &lives {
        let Some(original) = wanted.get(id) else {
            assert_eq!(*state, None, "{what}: record {id} was done");
            continue;
        };
        assert_eq!(
            (nature, body),
            (&original.1, &original.2),
            "{what}: record {id}"
        );
        if *state == original.0 {
            lost -= 1;
        } else {
            assert_eq!(*state, None, "{what}: record {id}");
        }
    }
    assert!(lost <= at_most_lost, "{what}: {lost} lost");
    assert!(
        lost == 0 || !scanned.damage.is_empty(),
        "{what}: not reported"
    );
}

#[test]
fn a_flipped_bit_costs_one_record_at_most_and_is_reported() {
    let (image, lives) = used();
    let copies = [0, HEADER_COPY_AT].map(|at| at..at + HEADER_BYTES);
    let mut damaged = image.clone();
    for at in 0..image.len() {
        let flips: &[u8] = if image[at] == 0 {
            &[1 << (at % 8)]
        } else {
            &[1 << (at % 8), 0xFF]
        };
        for flip in flips {
            damaged[at] = image[at] ^ flip;
            holds(&damaged, &lives, 1, &format!("byte {at} ^ {flip:02x}"));
            if copies.iter().any(|copy| copy.contains(&at)) {
                let (found, scanned) = read(&damaged).unwrap();
                assert_eq!(found, lives);
                assert_eq!(scanned.damage, [Damage::Header]);
            }
        }
        damaged[at] = image[at];
    }
}

#[test]
fn a_file_that_was_cut_short_gives_what_is_left() {
    let (image, lives) = used();
    for length in (0..image.len()).step_by(7).chain([image.len() - 1]) {
        holds(
            &image[..length],
            &lives,
            lives.len(),
            &format!("{length} bytes"),
        );
        if length >= PAGE_BYTES {
            let (_, scanned) = read(&image[..length]).unwrap();
            assert!(
                scanned
                    .damage
                    .iter()
                    .any(|d| matches!(d, Damage::Short { .. }))
            );
        }
    }
}

#[test]
fn both_copies_of_the_header_damaged_is_an_error() {
    let (mut image, _) = used();
    image[20] ^= 1;
    image[HEADER_COPY_AT + 20] ^= 1;
    assert_eq!(read(&image).unwrap_err(), format::HeaderError::Damaged);
    assert_eq!(
        read(b"hello").unwrap_err(),
        format::HeaderError::NotAJournal
    );
}

#[test]
fn one_stuck_record_pins_its_block_only() {
    let header = header(3);
    let heap = Heap::new(header);
    let mut journal = journal(&heap, &header);
    let stuck = append(&mut journal, 1, 100, FREE).unwrap();
    for number in 2..10_000 {
        let place = append(&mut journal, number, 100, FREE).unwrap();
        journal.mark(place, State::Done);
        assert!(journal.used_bytes() <= 2 * 4096);
    }
    journal.mark(stuck, State::Done);
    journal.mark(stuck, State::Done);
    assert_eq!((journal.live(), journal.oldest_us()), (0, None));
}

#[test]
fn what_is_full_has_room_again_when_something_is_done() {
    let header = header(2);
    let heap = Heap::new(header);
    let mut journal = journal(&heap, &header);
    assert_eq!(append(&mut journal, 1, 9_000, FREE), Err(Full::Never));
    let mut places = Vec::new();
    let full = loop {
        match append(&mut journal, 1, 500, FREE) {
            Ok(place) => places.push(place),
            Err(full) => break full,
        }
    };
    assert_eq!((full, places.len()), (Full::Now, 12));
    for place in &places[..6] {
        journal.mark(*place, State::Done);
    }
    append(&mut journal, 2, 500, FREE).unwrap();
    assert_eq!(append(&mut journal, 3, 4_500, FREE), Err(Full::Now));
}

#[test]
fn what_another_shard_has_taken_over_is_freed_when_it_is_done_there() {
    let header = header(2);
    let (one, two) = (Heap::new(header), Heap::new(header));
    let files: Arc<[_]> = Arc::from([one.words(), two.words()]);
    let mut home = Journal::new(files.clone(), 0, &header, one.lend());
    let mut other = Journal::new(files.clone(), 1, &header, two.lend());
    let place = append(&mut home, 1, 10, COUNTER).unwrap();
    home.mark(place, State::Applied);
    home.lend(place);
    other.mark(place, State::Sent);
    home.look_around();
    assert_eq!(home.live(), 1);
    other.mark(place, State::Done);
    home.look_around();
    assert_eq!(home.live(), 0);
    // an inherited record counts as unsettled until somebody has dealt with it
    let place = append(&mut other, 2, 10, FREE).unwrap();
    let mut next = Journal::none(files);
    next.inherit(place);
    next.look_around();
    assert_eq!(next.unsettled(), 1);
    next.mark(place, State::Done);
    next.look_around();
    assert_eq!(next.unsettled(), 0);
}
