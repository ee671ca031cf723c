#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::super::samples::{any_record, insert};
use super::*;

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(owned in any_record()) {
        let children = owned.children();
        let record = owned.record(&children);
        let mut bytes = b"before".to_vec();
        encode(&record, &mut bytes).unwrap();
        let body = &bytes[6..];
        prop_assert_eq!(body.len(), encoded_len(&record));
        let mut front = vec![0xAA; body.len()];
        prop_assert_eq!(encode_into(&record, &mut front), Ok(body.len()));
        prop_assert_eq!(&front[..], body);
        let short = front.len() - 1;
        prop_assert_eq!(encode_into(&record, &mut front[..short]), Err(TooLarge));
        prop_assert_eq!(decode(body), Ok(record));
        if let (Body::Batch { children, .. }, Some((_, wanted))) = (record.body, &owned.batch) {
            let seen: Vec<_> = children.iter().map(|(t, v)| (t.to_owned(), v.to_vec())).collect();
            prop_assert_eq!(&seen, wanted);
            prop_assert_eq!(children.len(), wanted.len());
        }
    }

    #[test]
    fn a_shortened_or_lengthened_body_is_refused(owned in any_record(), at in any::<usize>()) {
        let mut bytes = Vec::new();
        encode(&owned.record(&owned.children()), &mut bytes).unwrap();
        prop_assert!(decode(&bytes[..at % bytes.len()]).is_err());
        bytes.push(0);
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_damage_is_survived(owned in any_record(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = Vec::new();
        encode(&owned.record(&owned.children()), &mut bytes).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(record) = decode(&bytes) {
            // Whatever is accepted has one encoding only.
            let mut again = Vec::new();
            encode(&record, &mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }
}

#[test]
fn lengths_that_claim_more_than_there_is_take_no_memory() {
    let mut bytes = Vec::new();
    encode(&insert(1, b"v"), &mut bytes).unwrap();
    let params_at = bytes.len() - 5;
    bytes[params_at..params_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        decode(&bytes),
        Err(DecodeError {
            field: "parameters"
        })
    );
}

#[test]
fn long_words_are_cut_between_characters() {
    let words = "é".repeat(40_000);
    let refusal = Refusal {
        code: 0x2200,
        words: &words,
        in_doubt: false,
    };
    let record = Record {
        refusal: Some(refusal),
        ..insert(1, b"v")
    };
    let mut bytes = Vec::new();
    encode(&record, &mut bytes).unwrap();
    let read = decode(&bytes).unwrap().refusal.unwrap();
    assert_eq!(read.words.len(), 65_534);
    assert!(words.starts_with(read.words));
}

#[test]
fn names_that_are_too_long_leave_nothing_behind() {
    let name = "k".repeat(65_536);
    let mut bytes = vec![1, 2, 3];
    assert_eq!(
        encode(
            &Record {
                keyspace: &name,
                ..insert(1, b"v")
            },
            &mut bytes
        ),
        Err(TooLarge)
    );
    assert_eq!(bytes, [1, 2, 3]);
}

#[test]
fn only_counters_and_lists_must_not_be_repeated() {
    let fixed: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| !kind.is_repeatable())
        .collect();
    assert_eq!(fixed, [Kind::Counter, Kind::List]);
    let barriers: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| kind.is_barrier())
        .collect();
    assert_eq!(barriers, [Kind::Ddl, Kind::Truncate]);
}
