//! `twinring`: parse, dispatch, exit code.
fn main() {}
