//! Answers that must not reach the client before their writes are on the disk.

use std::collections::VecDeque;

/// Answers in order, each with the commit that it waits for.
/// An answer does not overtake one that came before it, so the order stays the source's.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    /// Commit and length (bytes) of each answer; no commit is below the one before.
    answers: VecDeque<(u64, usize)>,
}

impl Held {
    /// Keeps an answer until the commit has ended.
    pub fn keep(&mut self, commit: u64, answer: &[u8]) {
        let last = self.answers.back().map_or(0, |(last, _)| *last);
        self.answers.push_back((commit.max(last), answer.len()));
        self.bytes.extend_from_slice(answer);
    }

    /// Moves the answers that wait for `committed` or an earlier commit behind what is in `out`.
    pub fn release(&mut self, committed: u64, out: &mut Vec<u8>) {
        let mut length = 0;
        while let Some((_, bytes)) = self
            .answers
            .pop_front_if(|(commit, _)| *commit <= committed)
        {
            length += bytes;
        }
        out.extend_from_slice(self.bytes.get(..length).unwrap_or_default());
        self.bytes.drain(..length.min(self.bytes.len()));
        if self.answers.is_empty() && self.bytes.capacity() > crate::limits::BUFFER_KEEP_BYTES {
            *self = Self::default();
        }
    }

    /// Length of all answers (bytes).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_order_when_their_commit_has_ended() {
        let mut held = Held::default();
        held.keep(3, b"three");
        held.keep(2, b"two"); // behind the one before it
        held.keep(4, b"four");
        let mut out = b"zero".to_vec();
        held.release(2, &mut out);
        assert_eq!((&out[..], held.bytes()), (&b"zero"[..], 12));
        held.release(3, &mut out);
        assert_eq!((&out[..], held.is_empty()), (&b"zerothreetwo"[..], false));
        held.release(9, &mut out);
        assert_eq!((&out[8..], held.is_empty()), (&b"etwofour"[..], true));
    }
}
