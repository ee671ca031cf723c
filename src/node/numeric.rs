//! Big numbers between decimal digits and two's complement bytes, without a library.

/// Bytes above which a number is not converted: the work grows with the square of the length.
pub(crate) const BIG_NUMBER_BYTES_MAX: usize = 4096;

/// Shortest two's complement bytes, big end first, of a number in decimal digits.
pub(crate) fn twos_from_digits(negative: bool, digits: &str) -> Vec<u8> {
    let mut magnitude: Vec<u8> = vec![0]; // little end first
    for digit in digits.bytes().filter(u8::is_ascii_digit) {
        let mut carry = u16::from(digit - b'0');
        for byte in &mut magnitude {
            let value = u16::from(*byte) * 10 + carry;
            *byte = value.to_le_bytes()[0];
            carry = value >> 8;
        }
        if carry > 0 {
            magnitude.push(carry.to_le_bytes()[0]);
        }
    }
    magnitude.push(0);
    if negative {
        negate(&mut magnitude);
    }
    magnitude.reverse();
    shorten(&magnitude).to_vec()
}

/// Sign and decimal digits of two's complement bytes; `None` when empty or too long.
pub(crate) fn digits_from_twos(bytes: &[u8]) -> Option<(bool, String)> {
    let first = *bytes.first()?;
    if bytes.len() > BIG_NUMBER_BYTES_MAX {
        return None;
    }
    let negative = first & 0x80 != 0;
    let mut magnitude: Vec<u8> = bytes.iter().rev().copied().collect();
    if negative {
        magnitude.push(0xFF);
        negate(&mut magnitude);
    }
    let mut digits: Vec<u8> = Vec::new(); // base 10, little end first
    for byte in magnitude.iter().rev() {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = u8::try_from(value % 10).unwrap_or(0);
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or(0));
            carry /= 10;
        }
    }
    if digits.is_empty() {
        digits.push(0);
    }
    let text = digits
        .iter()
        .rev()
        .map(|digit| char::from(b'0' + digit))
        .collect();
    Some((negative, text))
}

/// Two's complement bytes without leading bytes that only repeat the sign.
pub(crate) fn shorten(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let extends = (*first == 0 && second & 0x80 == 0) || (*first == 0xFF && second & 0x80 != 0);
        if !extends {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

fn negate(little_end_first: &mut [u8]) {
    let mut carry = true;
    for byte in little_end_first {
        let (value, over) = (!*byte).overflowing_add(u8::from(carry));
        (*byte, carry) = (value, over);
    }
}

/// A decimal literal (`-12.50e3`) as Cassandra's `decimal`: scale, then the unscaled number.
pub(crate) fn decimal_from_text(text: &str) -> Option<Vec<u8>> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty()
        || digits.len() > BIG_NUMBER_BYTES_MAX
        || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let scale = i32::try_from(part.len()).ok()?.checked_sub(exponent)?;
    let mut out = scale.to_be_bytes().to_vec();
    out.extend_from_slice(&twos_from_digits(negative, &digits));
    Some(out)
}

/// A whole number as Cassandra's `varint`.
pub(crate) fn varint_from_text(text: &str) -> Option<Vec<u8>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let sound = !digits.is_empty()
        && digits.len() <= BIG_NUMBER_BYTES_MAX
        && digits.bytes().all(|b| b.is_ascii_digit());
    sound.then(|| twos_from_digits(negative, digits))
}

/// A `decimal` in plain digits, as JSON shows it; `None` when malformed or absurdly long.
pub(crate) fn decimal_to_text(bytes: &[u8]) -> Option<String> {
    let (scale, unscaled) = bytes.split_first_chunk::<4>()?;
    let scale = i32::from_be_bytes(*scale);
    let (negative, digits) = digits_from_twos(unscaled)?;
    let sign = if negative { "-" } else { "" };
    if scale <= 0 {
        return match scale {
            0 => Some(format!("{sign}{digits}")),
            _ => Some(format!("{sign}{digits}E+{}", scale.unsigned_abs())),
        };
    }
    let places = usize::try_from(scale).ok()?;
    if places > BIG_NUMBER_BYTES_MAX {
        return Some(format!("{sign}{digits}E-{places}"));
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, part) = padded.split_at(padded.len() - places);
    Some(format!("{sign}{whole}.{part}"))
}
