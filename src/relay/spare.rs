//! Memory of writes that are done, for those to come: in steady state a mirrored write takes none
//! (`benches/allocations.rs`).

#![allow(clippy::vec_box)] // the boxes are what is kept

use super::write::{Body, Write};
use crate::limits;

/// See the module. Never holds more than [`limits::SPARE_WRITES_PER_SHARD`] of each.
#[derive(Debug, Default)]
pub struct SpareWrites {
    writes: Vec<Box<Write>>,
    params: Vec<Vec<u8>>,
}

impl SpareWrites {
    /// An empty buffer.
    #[inline]
    pub(super) fn params(&mut self) -> Vec<u8> {
        self.params.pop().unwrap_or_default()
    }

    /// `write` in a box.
    #[inline(always)] // or the write is put together in one place and moved to another
    pub(super) fn boxed(&mut self, write: Write) -> Box<Write> {
        match self.writes.pop() {
            Some(mut old) => {
                *old = write;
                old
            }
            None => Box::new(write),
        }
    }

    /// Takes a write that is done with. Long parameters and batches are given back: who writes few
    /// of them would pay for many.
    pub fn recycle(&mut self, mut write: Box<Write>) {
        if self.writes.len() >= limits::SPARE_WRITES_PER_SHARD {
            return;
        }
        write.unaged = None;
        match &mut write.body {
            Body::Query { params, .. } | Body::Execute { params, .. }
                if params.capacity() <= limits::SPARE_PARAMS_MAX_BYTES =>
            {
                // a conditional write took a box and no parameters
                if self.params.len() < limits::SPARE_WRITES_PER_SHARD {
                    params.clear();
                    self.params.push(std::mem::take(params));
                }
            }
            _ => return,
        }
        self.writes.push(write);
    }
}
