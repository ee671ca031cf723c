//! The classifier's memory.

use crate::statement::{CacheLimits, Classifier, classify};
use std::rc::Rc;

fn text(number: usize) -> String {
    format!("INSERT INTO ks.t{number} (a) VALUES (?)")
}

#[test]
fn a_known_text_is_not_read_again() {
    let mut classifier = Classifier::new(
        CacheLimits {
            entries: 8,
            bytes: 10_000,
        },
        1,
    );
    let first = classifier.classify(&text(1));
    assert_eq!(*first, classify(&text(1)));
    let second = classifier.classify(&text(1));
    assert!(Rc::ptr_eq(&first, &second));
    assert_eq!((classifier.hits(), classifier.misses()), (1, 1));
    assert_eq!(*classifier.classify(&text(2)), classify(&text(2)));
}

#[test]
fn entries_are_bounded_and_what_is_used_stays() {
    let mut classifier = Classifier::new(
        CacheLimits {
            entries: 8,
            bytes: 10_000,
        },
        1,
    );
    for number in 0..100 {
        classifier.classify(&text(number));
        classifier.classify(&text(0));
        assert!(classifier.entries() <= 8);
    }
    assert_eq!(
        classifier.misses(),
        100,
        "text 0 was read once, the others once each"
    );
}

#[test]
fn bytes_are_bounded_and_counted() {
    let mut classifier = Classifier::new(
        CacheLimits {
            entries: 1_000,
            bytes: 400,
        },
        1,
    );
    for number in 0..100 {
        classifier.classify(&text(number % 30));
        assert!(classifier.bytes() <= 400);
    }
    let long = format!("SELECT '{}' FROM t", "x".repeat(400 / 8));
    let before = classifier.bytes();
    classifier.classify(&long);
    classifier.classify(&long);
    assert_eq!(classifier.bytes(), before, "too long to keep");
}

#[test]
fn no_room_at_all_still_classifies() {
    for limits in [
        CacheLimits {
            entries: 0,
            bytes: 0,
        },
        CacheLimits {
            entries: 1,
            bytes: 1,
        },
    ] {
        let mut classifier = Classifier::new(limits, 1);
        for number in 0..5 {
            assert_eq!(*classifier.classify(&text(number)), classify(&text(number)));
        }
        assert_eq!(classifier.entries(), 0);
    }
}

#[test]
fn texts_that_differ_little_are_told_apart() {
    let mut classifier = Classifier::new(
        CacheLimits {
            entries: 100_000,
            bytes: 1 << 24,
        },
        7,
    );
    let texts: Vec<String> = (0..20_000).map(|n| format!("TRUNCATE t{n}")).collect();
    for text in &texts {
        classifier.classify(text);
    }
    assert_eq!(classifier.entries(), texts.len(), "no two hashes are equal");
    for text in &texts {
        assert_eq!(*classifier.classify(text), classify(text));
    }
    assert_eq!(classifier.hits(), 20_000);
}
