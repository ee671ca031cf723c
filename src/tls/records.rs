//! Where TLS records end in a stream of bytes, without looking into them (RFC 8446, 5.1).

/// Type, version, length.
const HEADER_BYTES: usize = 5;
/// Longest record that RFC 5246 (6.2.3) allows, the more generous of the two.
const RECORD_MAX_BYTES: usize = (1 << 14) + 2048;

/// Follows the stream; a record is worth a look only when its last byte is there, so a slow sender
/// costs nothing but the memory of one record.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header so far.
    have: usize,
    /// Bytes of the record's body that are still to come.
    missing: usize,
    /// What came is no record: everything is worth a look, which finds the error.
    nonsense: bool,
}

impl Records {
    /// Takes the bytes that follow. True if a record ends in them, or if they are no records.
    pub(super) fn end_in(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() && !self.nonsense {
            if self.missing > 0 {
                let step = self.missing.min(bytes.len());
                self.missing -= step;
                bytes = &bytes[step..];
                ended |= self.missing == 0;
                continue;
            }
            let step = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if self.have == HEADER_BYTES {
                self.have = 0;
                self.missing = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                let known = (20..=24).contains(&self.header[0]) && self.header[1] == 3;
                self.nonsense = !known || self.missing > RECORD_MAX_BYTES;
                ended |= self.missing == 0;
            }
        }
        ended || self.nonsense
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: [u8; 8] = [23, 3, 3, 0, 3, 1, 2, 3];

    #[test]
    fn only_the_last_byte_of_a_record_ends_it() {
        let stream = [&RECORD[..], &[20, 3, 3, 0, 0], &RECORD[..]].concat();
        let mut records = Records::default();
        let ends: Vec<_> = stream.iter().map(|b| records.end_in(&[*b])).collect();
        let ends: Vec<_> = (1..).zip(ends).filter(|(_, end)| *end).collect();
        assert_eq!(ends, [(8, true), (13, true), (21, true)]);
        assert!(Records::default().end_in(&stream));
        assert!(!Records::default().end_in(&stream[..7]));
    }

    #[test]
    fn what_is_no_record_is_worth_a_look_at_once() {
        let plain_options = [4, 0, 0, 0, 5, 0, 0, 0, 0];
        assert!(Records::default().end_in(&plain_options));
        let huge = [23, 3, 3, 0xff, 0xff];
        assert!(Records::default().end_in(&huge));
    }
}
