//! The two checksums of frames: CRC-24 over the header, CRC-32 over the payload.

/// First value of the CRC-24, and its polynomial without the highest bit (v5 specification, 2).
const CRC24_INIT: u32 = 0x0087_5060;
const CRC24_POLYNOMIAL: u32 = 0x0197_4F0B;
/// What the CRC-32 runs over before the payload, so that no run of zeros has the checksum zero.
const CRC32_PREFIX: [u8; 4] = [0xFA, 0x2D, 0x55, 0xCA];

const CRC24_TABLE: [u32; 256] = crc24_table();

const fn crc24_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256_u32 {
        let mut crc = byte << 16;
        let mut bit = 0;
        while bit < 8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= CRC24_POLYNOMIAL;
            }
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

/// CRC-24 of the header's bytes in the order of the wire; 24 bits.
#[inline]
pub(super) fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(CRC24_INIT, |crc, byte| {
        let [_, high, middle, low] = crc.to_be_bytes();
        let index = usize::from(high ^ byte);
        let rest = u32::from_be_bytes([0, middle, low, 0]);
        rest ^ CRC24_TABLE.get(index).copied().unwrap_or_default()
    })
}

/// CRC-32 of a payload as it stands on the wire.
#[inline]
pub(super) fn crc32(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&CRC32_PREFIX);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the specification says it.
    fn slow(bytes: &[u8]) -> u32 {
        bytes.iter().fold(CRC24_INIT, |mut crc, byte| {
            crc ^= u32::from(*byte) << 16;
            for _ in 0..8 {
                crc <<= 1;
                if crc & 0x0100_0000 != 0 {
                    crc ^= CRC24_POLYNOMIAL;
                }
            }
            crc
        })
    }

    #[test]
    fn the_table_says_what_the_bits_say() {
        for number in 0..10_000_u32 {
            let bytes = number.wrapping_mul(2_654_435_761).to_le_bytes();
            assert_eq!(crc24(&bytes[..3]), slow(&bytes[..3]));
            assert_eq!(crc24(&bytes), slow(&bytes));
        }
        assert_eq!(crc24(&[]), CRC24_INIT);
    }
}
