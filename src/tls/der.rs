//! As much DER (X.690) as key files need.

/// The object identifier of elliptic curve keys, 1.2.840.10045.2.1 (RFC 5480, 2.1.1).
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// The second optional field of a structure.
const FIELD_1: u8 = 0xa1;

/// The content of the element at the beginning of `bytes`, and what follows it.
pub(super) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, short], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = digits.iter().fold(0, |n, d| n << 8 | usize::from(*d));
            (length, rest)
        }
        _ => return None,
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

/// An element.
fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let digits = content.len().to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = &digits[zeros..];
    let mut out = vec![tag];
    match (content.len(), u8::try_from(digits.len())) {
        (0..=0x7f, _) => out.push(digits.first().copied().unwrap_or(0)),
        (_, count) => {
            out.push(0x80 | count.unwrap_or(0));
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

/// The PKCS#8 key with the public key in it, if it is on an elliptic curve and has none: the JDK
/// leaves it out (RFC 5915, 3 allows that), and ring wants it to check the key.
pub(super) fn with_public_key(pkcs8: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    let (info, _) = element(pkcs8, SEQUENCE)?;
    let (version, rest) = element(info, INTEGER)?;
    let (algorithm, rest) = element(rest, SEQUENCE)?;
    if element(algorithm, OBJECT)?.0 != EC_PUBLIC_KEY {
        return None;
    }
    let (octets, _) = element(rest, OCTETS)?;
    let (key, _) = element(octets, SEQUENCE)?;
    let (key_version, rest) = element(key, INTEGER)?;
    let (private, rest) = element(rest, OCTETS)?;
    if rest.contains(&FIELD_1) {
        return None; // it may be there: leave the key as it is
    }
    let bits = [&[0], public].concat();
    let key = [
        wrap(INTEGER, key_version),
        wrap(OCTETS, private),
        wrap(FIELD_1, &wrap(BIT_STRING, &bits)),
    ];
    let info = [
        wrap(INTEGER, version),
        wrap(SEQUENCE, algorithm),
        wrap(OCTETS, &wrap(SEQUENCE, &key.concat())),
    ];
    Some(wrap(SEQUENCE, &info.concat()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_length_come_back() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let mut bytes = wrap(OCTETS, &content);
            bytes.push(9);
            let found = element(&bytes, OCTETS).unwrap();
            assert_eq!(found, (&content[..], &[9][..]), "{length}");
            assert_eq!(element(&bytes, SEQUENCE), None);
            assert_eq!(element(&bytes[..bytes.len() - 2], OCTETS), None);
        }
    }
}
