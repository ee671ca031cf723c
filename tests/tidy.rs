//! The house rules as a test.
#[test]
fn placeholder() {}
