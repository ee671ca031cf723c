//! The spill log: writes that wait for the target, on disk, able to stand alone.
//!
//! A write that the target cannot take now goes to its shard's spill log. Each record holds all
//! that a replay needs on another machine and by a later version: statement text (never a prepared
//! id), keyspace, values, consistency, stamp, arrival time, kind. Nothing here is ever changed in
//! place: a segment is appended to, then read, then deleted as a whole once all of it is on the
//! target.
//!
//! ```text
//! append  records → bytes at an offset of a segment   pure: the shard writes through its own files
//! scan    bytes → records, damage, ending             pure: never changes the log
//! progress  what is done                              a small file, replaced whole
//! dirty   windows in which writes may be missing      a small file, replaced whole
//! dir     names, lock, writing through std::fs        start-up, offline tools and tests
//! seal    records that only the holder of a key can read   the same
//! read    reading through std::fs                     the same
//! stat    counts, bytes, oldest, per kind             for status and replay
//! ```
//!
//! # On disk
//! ```text
//! DIR/LOCK                                    flock: one process; its first line names the format
//! DIR/shard-0007/0000000000000012.spill       segment 12 of shard 7
//! DIR/shard-0007/rejected-0000000000000003.spill   refused by the target for good, or in doubt
//! DIR/dirty-windows                           see `dirty`
//! DIR/shard-0007/progress                     what is done; `rejected-progress` beside it
//! ```
//! Directories are 0700, files 0600, opened with `O_NOFOLLOW`. After a file is created its
//! directory is synced. A segment that a process did not finish is never appended to by another:
//! the next process starts a new one.
//!
//! # Segment, format version 1, and version 2 with records sealed by a key
//! All numbers are little-endian. `CRC32` is the IEEE polynomial.
//! ```text
//! header, 64 bytes
//!    0   8  magic "TWRSPILL"
//!    8   2  format version, 1 or 2
//!   10   2  what it holds: 0 backlog, 1 rejected
//!   12   4  shard
//!   16   8  proxy instance id, random per process start
//!   24   8  segment sequence, ever increasing in its shard
//!   32   8  creation time, µs since 1970
//!   40   8  version 2: id of the key; else zero
//!   48  12  zero
//!   60   4  CRC32 of bytes 0..60
//! record, repeated
//!    0   4  magic E7 77 52 1D
//!    4   4  n, length of the body
//!    8   4  CRC32 of header 0..60 and bytes 0..8
//!   12   4  CRC32 of header 0..60 and the body
//!   16   n  body; in version 2 sealed from its ninth byte on, a tag of 16 bytes at its end
//! body
//!    0   8  sequence: segment sequence × 2³² + index in the segment, from 0 without gaps
//!    8   8  arrival, µs since 1970
//!   16   8  stamp, µs (signed), meaningful when flag 1 is set
//!   24   1  kind: 1 write, 2 counter, 3 list, 4 DDL, 5 TRUNCATE
//!   25   1  flags: 1 stamped, 2 rejected by the target, 4 in doubt
//!   26   1  protocol version of the values: 3, 4 or 5
//!   27   1  shape: 1 query, 2 batch
//!   28   4  the target's error code (signed), 0 without
//!   32      [u16 n][n] each: session keyspace · keyspace · table · reason
//!           query: [u32 n][n] text · [u32 n][n] <query_parameters> of native protocol v4
//!           batch: [u8] batch type · [u16] children · each [u32 n][n] text, [u32 n][n] values
//!                  · [u32 n][n] tail of the BATCH body from <consistency> on
//! ```
//! Both checksums of a record go on from the segment's header, whose instance id nobody outside
//! knows: bytes inside of a client's value that look like a record are therefore not taken for one
//! when the scanner looks for the next good record behind a damaged one.

pub mod append;
pub mod dir;
pub mod dirty;
pub mod format;
pub mod progress;
pub mod read;
pub mod record;
pub mod repeated;
pub mod scan;
pub mod seal;
pub mod segment;
pub mod stat;

pub use append::{Batch, Position, SegmentWriter, WriterConfig};
pub use dir::{DirWriter, ShardDir, SpillDir};
pub use progress::{Ledger, Progress, Standing};
pub use read::SegmentReader;
pub use record::{Body, Children, ChildrenBuf, Kind, Record, Refusal, Repeat};
pub use repeated::{Encode, Head, Repeated, Sum, fold, sum};
pub use scan::{Scanner, Step};
pub use seal::Keys;
pub use segment::{Header, Holds};

#[cfg(test)]
pub(crate) mod samples;
