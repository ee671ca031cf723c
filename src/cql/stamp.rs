//! Write timestamps of requests in v3 and v4: read, put in, replace.
//!
//! In both versions the default timestamp is the last field of `<query_parameters>` (§4.1.4) and
//! of BATCH (§4.1.7), so that a stamp costs one copy, one bit and eight bytes, however many values
//! there are. v5 has fields behind it and will need more.

use crate::error::{DecodeError, Notation};
use crate::request::batch::Batch;
use crate::request::params::{QueryFlags, QueryParams};

/// Length of a stamp, in bytes.
pub const STAMP_LEN: usize = 8;

/// Offset of the flags byte in `<query_parameters>`, behind the consistency.
const FLAGS_AT: usize = 2;

/// The default timestamp in `<query_parameters>`, in µs since 1970, without walking the values.
/// Right for parameters without trailing bytes, which [`QueryParams::parse`] checks.
///
/// # Errors
/// Cut short, or flags that v3 and v4 do not know.
#[inline]
pub fn read_timestamp(raw_params: &[u8]) -> Result<Option<i64>, DecodeError> {
    let (_, flags) = QueryParams::peek(raw_params)?;
    if !flags.contains(QueryFlags::TIMESTAMP) {
        return Ok(None);
    }
    match raw_params.get(FLAGS_AT + 1..).and_then(<[u8]>::last_chunk) {
        Some(last) => Ok(Some(i64::from_be_bytes(*last))),
        None => Err(DecodeError::Truncated {
            what: Notation::Long,
            at: 3,
        }),
    }
}

/// Appends `raw_params` to `out` with `stamp` (µs since 1970) as default timestamp; one that is
/// there is replaced. Grows `out` by at most `raw_params.len() + 8` bytes.
///
/// # Errors
/// As [`read_timestamp`]. `out` is then as before.
#[inline]
pub fn inject_params(out: &mut Vec<u8>, raw_params: &[u8], stamp: i64) -> Result<(), DecodeError> {
    let kept = match read_timestamp(raw_params)? {
        Some(_) => raw_params.len() - STAMP_LEN,
        None => raw_params.len(),
    };
    append_stamped(
        out,
        raw_params.get(..kept).unwrap_or(raw_params),
        FLAGS_AT,
        stamp,
    );
    Ok(())
}

/// Appends the message of BATCH to `out` with `stamp` (µs since 1970) as default timestamp; one
/// that is there is replaced.
#[inline]
pub fn inject_batch(out: &mut Vec<u8>, batch: &Batch<'_>, stamp: i64) {
    let kept = match batch.timestamp {
        Some(_) => batch.raw.len() - STAMP_LEN,
        None => batch.raw.len(),
    };
    let kept = batch.raw.get(..kept).unwrap_or(batch.raw);
    append_stamped(out, kept, batch.tail_at + FLAGS_AT, stamp);
}

#[inline]
fn append_stamped(out: &mut Vec<u8>, kept: &[u8], flags_at: usize, stamp: i64) {
    let start = out.len();
    out.reserve(kept.len() + STAMP_LEN);
    out.extend_from_slice(kept);
    if let Some(flags) = out.get_mut(start + flags_at) {
        *flags |= QueryFlags::TIMESTAMP.0;
    }
    out.extend_from_slice(&stamp.to_be_bytes());
}
