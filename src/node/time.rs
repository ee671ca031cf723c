//! Dates, times, durations and time UUIDs.

/// Days from 1970-01-01 of a day of the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day counted from 1970-01-01.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn civil_days(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut parts = rest.splitn(3, '-');
    let mut next = |max_len: usize| {
        let part = parts.next()?;
        let sound =
            !part.is_empty() && part.len() <= max_len && part.bytes().all(|b| b.is_ascii_digit());
        if sound {
            part.parse::<i64>().ok()
        } else {
            None
        }
    };
    let (year, month, day) = (sign * next(7)?, next(2)?, next(2)?);
    let days = days_from_civil(year, month, day);
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

/// `yyyy-mm-dd` to the `date` type: days, with 1970-01-01 at 2^31.
pub(crate) fn date_from_text(text: &str) -> Option<u32> {
    u32::try_from(civil_days(text)?.checked_add(1 << 31)?).ok()
}

/// `hh:mm:ss[.nnnnnnnnn]` to nanoseconds of the day.
pub(crate) fn time_from_text(text: &str) -> Option<i64> {
    let (clock, part) = text.split_once('.').unwrap_or((text, ""));
    let mut fields = clock.split(':');
    let mut next = |limit: i64| {
        let field = fields.next()?;
        let value = field.parse::<i64>().ok()?;
        (field.len() <= 2 && (0..limit).contains(&value)).then_some(value)
    };
    let (hour, minute, second) = (next(24)?, next(60)?, next(60).unwrap_or(0));
    if fields.next().is_some() || part.len() > 9 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{part:0<9}").parse::<i64>().ok()?;
    Some((hour * 3600 + minute * 60 + second) * 1_000_000_000 + nanos)
}

/// `yyyy-mm-dd[ T]hh:mm[:ss[.fff]][zone]` to milliseconds since 1970, UTC where no zone is given.
pub(crate) fn timestamp_from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let split = text.char_indices().position(|(_, c)| c == ' ' || c == 'T');
    let Some(split) = split else {
        return match text
            .char_indices()
            .rev()
            .find(|(_, c)| *c == '+' || *c == 'Z')
        {
            Some((at, _)) => {
                let offset = zone_ms(text.get(at..)?)?;
                Some(civil_days(text.get(..at)?)? * 86_400_000 - offset)
            }
            None => civil_days(text)?.checked_mul(86_400_000),
        };
    };
    let days = civil_days(text.get(..split)?)?;
    let rest = text.get(split + 1..)?;
    let zone_at = rest.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.'));
    let (clock, zone) = rest.split_at(zone_at.unwrap_or(rest.len()));
    let millis = time_from_text(clock)? / 1_000_000;
    Some(days * 86_400_000 + millis - zone_ms(zone.trim())?)
}

fn zone_ms(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z" | "UTC" | "GMT") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits = rest.replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i64>().ok()?, 0),
        4 => (
            digits.get(..2)?.parse::<i64>().ok()?,
            digits.get(2..)?.parse::<i64>().ok()?,
        ),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes) * 60_000)
}

/// `1y2mo3d4h5m6s7ms8us9ns` or ISO 8601 (`P1Y2M3DT4H5M6S`) to the `duration` type.
pub(crate) fn duration_from_text(text: &str) -> Option<Vec<u8>> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (months, days, nanos) = match rest.strip_prefix('P') {
        Some(iso) => iso_parts(iso)?,
        None => unit_parts(rest)?,
    };
    let sign = if negative { -1 } else { 1 };
    let mut out = Vec::new();
    for part in [
        i64::from(months) * sign,
        i64::from(days) * sign,
        nanos.checked_mul(sign)?,
    ] {
        push_vint(part, &mut out);
    }
    Some(out)
}

type DurationParts = (i32, i32, i64);

fn unit_parts(text: &str) -> Option<DurationParts> {
    let mut sum: DurationParts = (0, 0, 0);
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (count, after) = leading_number(rest)?;
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        add_unit(&mut sum, count, &unit.to_lowercase())?;
        rest = after;
    }
    Some(sum)
}

fn iso_parts(text: &str) -> Option<DurationParts> {
    let mut sum: DurationParts = (0, 0, 0);
    let (date, clock) = text.split_once('T').unwrap_or((text, ""));
    for (part, units) in [(date, "YMWD"), (clock, "HMS")] {
        let mut rest = part;
        while !rest.is_empty() {
            let (count, after) = leading_number(rest)?;
            let unit = after.chars().next().filter(|unit| units.contains(*unit))?;
            let name = match (unit, units) {
                ('M', "YMWD") => "mo".to_owned(),
                (other, _) => other.to_lowercase().to_string(),
            };
            add_unit(&mut sum, count, &name)?;
            rest = after.get(1..)?;
        }
    }
    Some(sum)
}

fn leading_number(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, after) = text.split_at(end);
    Some((digits.parse::<i64>().ok()?, after))
}

fn add_unit(sum: &mut DurationParts, count: i64, unit: &str) -> Option<()> {
    let mut small = |place: usize, factor: i64| {
        let add = i32::try_from(count.checked_mul(factor)?).ok()?;
        let target = if place == 0 { &mut sum.0 } else { &mut sum.1 };
        *target = target.checked_add(add)?;
        Some(())
    };
    match unit {
        "y" => return small(0, 12),
        "mo" => return small(0, 1),
        "w" => return small(1, 7),
        "d" => return small(1, 1),
        _ => {}
    }
    let factor = match unit {
        "h" => 3_600_000_000_000,
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" | "µs" => 1000,
        "ns" => 1,
        _ => return None,
    };
    sum.2 = sum.2.checked_add(count.checked_mul(factor)?)?;
    Some(())
}

/// A zigzag `vint` as section 3 of the protocol has it: leading ones count the bytes to come.
fn push_vint(value: i64, out: &mut Vec<u8>) {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let bits = 64 - zigzag.leading_zeros().min(63);
    let extra = usize::try_from((bits - 1) / 7).unwrap_or(8).min(8);
    let bytes = zigzag.to_be_bytes();
    if extra == 8 {
        out.push(0xFF);
        out.extend_from_slice(&bytes);
        return;
    }
    let start = out.len();
    out.extend_from_slice(&bytes[7 - extra..]);
    if extra > 0 {
        out[start] |= !(0xFFu8 >> extra);
    }
}

/// Milliseconds since 1970 as `2020-01-02 03:04:05.000Z`.
pub(crate) fn timestamp_to_text(millis: i64) -> String {
    let (year, month, day) = civil_from_days(millis.div_euclid(86_400_000));
    let clock = time_to_text(millis.rem_euclid(86_400_000) * 1_000_000);
    let clock = clock.get(..12).unwrap_or(&clock);
    format!("{year:04}-{month:02}-{day:02} {clock}Z")
}

/// Nanoseconds of a day as `03:04:05.000000000`.
pub(crate) fn time_to_text(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    format!(
        "{:02}:{:02}:{:02}.{:09}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        nanos % 1_000_000_000
    )
}

/// 100 ns steps between 1582-10-15 and 1970-01-01.
const UUID_EPOCH: i64 = 0x01B2_1DD2_1381_4000;

/// A version 1 UUID at `steps` of 100 ns since 1970, with these last eight bytes.
pub(crate) fn timeuuid(steps: i64, tail: [u8; 8]) -> [u8; 16] {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = steps.wrapping_add(UUID_EPOCH).to_be_bytes();
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tail;
    [
        b4,
        b5,
        b6,
        b7,
        b2,
        b3,
        (b0 & 0x0F) | 0x10,
        b1,
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        t6,
        t7,
    ]
}

/// Milliseconds since 1970 of a version 1 UUID.
pub(crate) fn timeuuid_millis(uuid: &[u8]) -> Option<i64> {
    let [b4, b5, b6, b7, b2, b3, b0, b1] = *uuid.first_chunk::<8>()?;
    let steps = i64::from_be_bytes([b0 & 0x0F, b1, b2, b3, b4, b5, b6, b7]);
    Some(steps.wrapping_sub(UUID_EPOCH).div_euclid(10_000))
}
