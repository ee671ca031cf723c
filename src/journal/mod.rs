//! The journal: every write is in it before its first byte leaves for the source, so that
//! `kill -9` at any instruction loses none that the source may have applied.
//!
//! A shard appends a record to memory that outlives the process (a mapped file, on a memory file
//! system by default), and stores the record's *state* beside it as the write goes its way:
//!
//! ```text
//! INTENT ──source: applied──▶ APPLIED ──────target has it, or it is in the spill──────▶ DONE
//!    │                           └─only what must not be repeated: about to be sent─▶ SENT ─▶ DONE
//!    └──────source: refused──▶ DONE
//! ```
//!
//! A state is one aligned 64-bit store, no locked instruction. After a crash the next process
//! [scans](scan) the file, and [`settle`] says what becomes of each record that is not DONE.
//!
//! ```text
//! format  bytes of header, record, state word     memory  what holds them: a file, a heap
//! append  blocks, records, states                 scan    bytes → live records, damage
//! settle  what becomes of a record after a crash, as a table
//! commit  which records are on the disk, where a write must survive the machine
//! ```
//!
//! # When the machine dies
//! With `--durability machine` the file is on a disk, and a client is told of its write after a
//! [commit], so no write that was acknowledged is lost. What was stored after the last commit may
//! be on the disk or not, each sector for itself. So the next start, which knows by the kernel's
//! boot id, takes every state for one that may be older than it was: what must not be repeated and
//! was APPLIED may have been sent, and what changes a schema or empties a table may have been done,
//! with other writes behind it ([`certain`]). One of these that is SENT was put into the spill by a
//! stop, and is looked for there. A write that nobody was told of may be at the
//! source and not in the journal: the time in which that can be is in the dirty windows.
//!
//! # Blocks
//! The data is cut into blocks. Records are appended to the current one; a block is free again when
//! all its records are DONE, and the lowest free block is taken next. So under steady load the same
//! blocks are used over and over and stay in the cache, only as much memory is taken as is needed,
//! and one stuck record pins its own block and no other. A record that is larger than a block takes
//! several in a row.
//!
//! # File, format version 4
//! All numbers are little-endian. `CRC32` is the IEEE polynomial; `rapidhash` is version 3 of that
//! hash (N. De Carli, 2025) with its default seed and secrets. `fold(a, b)`: the lower half,
//! XOR the upper half, of the 128 bits of (a XOR 2D358DCCAA6C78A5) × (b XOR 8BB84B93962EACC9).
//! ```text
//! header, 64 bytes at 0, and once more at 2048
//!    0   8  magic "TWRJRNAL"
//!    8   2  format version, 4
//!   10   2  zero
//!   12   4  shard
//!   16   8  proxy instance id, random per process start
//!   24   8  creation time, µs since 1970
//!   32   4  b, bytes of a block: a multiple of 4096
//!   36   4  n, blocks
//!   40   8  names the machine's boot, 0 if not known
//!   48  12  zero
//!   60   4  CRC32 of bytes 0..60
//! state words, from 4096: n × b/128 words of 8 bytes, then zeros up to a multiple of 4096
//!    a word is 0, or   id of the record × 2¹⁶ + check × 2⁸ + state
//!    check: XOR of the id's six bytes, the state and A5
//!    state: 0F INTENT · 33 APPLIED · 55 SENT · 69 DONE
//! data, n × b bytes: records from the front of each block, each at a multiple of 8
//!    0   4  magic 4A D7 1B E3
//!    4   4  lower 32 bits of fold(u64 at 8, u64 at 16 XOR sum of the body), XOR the CRC32 of
//!           header 0..60
//!    8   4  length of the body
//!   12   6  id, ever increasing in the file, from 1
//!   18   2  h, bytes of names and text in the body that are summed alone; 0: none are
//!   20   2  slot: the record's number in its block, from 0; its word is the block's first + slot
//!   22   1  after a try of unknown outcome: 0 again, 1 again one µs later, 2 not again
//!   23   1  kind, as in a spill record (1 to 5), + 128 for a conditional write
//!   24      body: that of a spill record, its sequence 0 (`crate::spill`)
//! sum of a body; u64 are those at its bytes 0, 8, 16 and 24, `params` all behind byte 36 + h
//!    h = 0   rapidhash of the body
//!    h > 0   fold(fold(fold(u64₀, u64₁) XOR u64₂, u64₃ XOR rapidhash of the h bytes from 32),
//!            rapidhash of params XOR the u32 before them)
//! ```
//! The words are a table of their own so that only they are ever shared between threads. A word
//! belongs to the record whose id it holds: after a block is used anew, words that were not written
//! yet hold older ids, all of them DONE. Ids in a block have no gaps, so id − slot, the block's
//! *base*, tells the records of its present use from older ones. One flipped bit in a word makes it
//! invalid: two states differ in four bits, and every bit of the id is in the check. A record's
//! checksum has the header's in it, whose instance id nobody outside knows: bytes inside of a
//! client's value are not taken for a record.

pub mod append;
mod commit;
pub mod format;
pub mod memory;
pub mod scan;
pub mod settle;

pub use append::{Full, Journal, Place};
pub use format::{Geometry, Header, Nature, State};
pub use memory::{Heap, Memory, Words};
pub use scan::{Damage, Live, Scanned, scan, scan_stale};
pub use settle::{Action, action, certain};

#[cfg(test)]
mod tests;
