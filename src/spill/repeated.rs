//! Records of a statement that comes again and again: what is the same each time is encoded once.
//!
//! The [sum] that a journal keeps of a body is made so that this holds for it too: it takes the
//! bytes from where they come from, not from where they were just written to.
//!
//! A record in nine short pieces costs 17 ns more than the same bytes in three, and as much again
//! when they are read right after (`benches/README.md`, "What the journal costs").

use std::num::NonZeroU16;

use rapidhash::v3::rapidhash_v3;

use super::record::{self, Body, FIXED_BYTES, Fixed, Kind, Record, TooLarge};

/// What can be written as the body of a record.
pub trait Encode {
    /// When the client's request arrived, µs since 1970.
    fn arrival_us(&self) -> u64;

    /// Length of the body (bytes).
    fn encoded_len(&self) -> usize;

    /// Writes the body to `out`, which is as long as [`Self::encoded_len`] says, and gives its sum.
    ///
    /// # Errors
    /// A field does not fit its length, or `out` is too short.
    fn encode_into(&self, out: &mut [u8]) -> Result<Sum, TooLarge>;
}

/// What a journal keeps to see whether a body is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// How many bytes behind the fixed fields are summed alone (names and text); 0: none, the body
    /// is summed as one piece.
    pub names: u16,
    /// The sum.
    pub value: u64,
}

/// The sum of a body, of which `names` bytes are summed alone; `None` if there are not so many.
#[must_use]
pub fn sum(body: &[u8], names: u16) -> Option<Sum> {
    if names == 0 {
        return Some(Sum::whole(body));
    }
    let (fixed, rest) = body.split_first_chunk()?;
    let (head, rest) = rest.split_at_checked(names.into())?;
    let (length, params) = rest.split_first_chunk()?;
    let value = joined(fixed, rapidhash_v3(head), *length, rapidhash_v3(params));
    Some(Sum { names, value })
}

impl Sum {
    fn whole(body: &[u8]) -> Self {
        let value = rapidhash_v3(body);
        Self { names: 0, value }
    }
}

/// Sums and short fields → one sum.
#[inline]
fn joined(fixed: &[u8; FIXED_BYTES], head: u64, length: [u8; 4], params: u64) -> u64 {
    let mut words = [0; FIXED_BYTES / 8];
    for (word, bytes) in words.iter_mut().zip(fixed.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let [first, second, third, fourth] = words;
    let length = u64::from(u32::from_le_bytes(length));
    let fixed = fold(first, second) ^ third;
    fold(fold(fixed, fourth ^ head), params ^ length)
}

/// Two into one: the halves of their product, XORed, each with a secret of rapidhash before.
#[inline]
#[must_use]
pub fn fold(one: u64, other: u64) -> u64 {
    let one = u128::from(one ^ 0x2d35_8dcc_aa6c_78a5);
    let other = u128::from(other ^ 0x8bb8_4b93_962e_acc9);
    let product = one * other;
    let [low, high] = [product & u128::from(u64::MAX), product >> 64];
    u64::try_from(low ^ high).unwrap_or_default() // it always fits
}

impl Encode for Record<'_> {
    fn arrival_us(&self) -> u64 {
        self.arrival_us
    }

    fn encoded_len(&self) -> usize {
        record::encoded_len(self)
    }

    fn encode_into(&self, out: &mut [u8]) -> Result<Sum, TooLarge> {
        record::encode_into(self, out)?;
        Ok(Sum::whole(out))
    }
}

/// Names and text of a statement, as they stand between the fixed fields and the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    bytes: Box<[u8]>,
    sum: u64,
    /// Their number, if the sum can be used; see [`Sum::names`].
    names: Option<NonZeroU16>,
}

impl Head {
    /// That of records with these names and this text.
    ///
    /// # Errors
    /// One of them does not fit its length.
    pub fn new(keyspace: &str, table: &str, text: &str) -> Result<Self, TooLarge> {
        let mut encoded = Vec::new();
        let record = Record {
            sequence: 0,
            arrival_us: 0,
            stamp_us: None,
            kind: Kind::Write,
            version: 4,
            session_keyspace: "",
            keyspace,
            table,
            refusal: None,
            body: Body::Query { text, params: &[] },
        };
        record::encode(&record, &mut encoded)?;
        let end = encoded.len() - size_of::<u32>(); // the length of the parameters
        let bytes: Box<[u8]> = encoded[FIXED_BYTES..end].into();
        Ok(Self {
            sum: rapidhash_v3(&bytes),
            names: u16::try_from(bytes.len()).ok().and_then(NonZeroU16::new),
            bytes,
        })
    }

    /// Memory that it holds (bytes).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// One write of a statement whose [`Head`] is at hand: the fields of the [`Record`] that it is.
#[derive(Debug, Clone, Copy)]
pub struct Repeated<'a> {
    /// When the client's request arrived, µs since 1970.
    pub arrival_us: u64,
    /// The write timestamp in µs, if the request carries one beside its text.
    pub stamp_us: Option<i64>,
    /// What sort of write it is.
    pub kind: Kind,
    /// Protocol version by whose rules the values are encoded.
    pub version: u8,
    /// Names and text.
    pub head: &'a Head,
    /// `<query_parameters>`, timestamp included.
    pub params: &'a [u8],
}

impl Encode for Repeated<'_> {
    #[inline]
    fn arrival_us(&self) -> u64 {
        self.arrival_us
    }

    #[inline]
    fn encoded_len(&self) -> usize {
        FIXED_BYTES + self.head.bytes.len() + size_of::<u32>() + self.params.len()
    }

    #[inline]
    fn encode_into(&self, out: &mut [u8]) -> Result<Sum, TooLarge> {
        let length = u32::try_from(self.params.len()).map_err(|_| TooLarge)?;
        let length = length.to_le_bytes();
        let head = &*self.head.bytes;
        let mut fixed = [0; FIXED_BYTES];
        Fixed {
            arrival_us: self.arrival_us,
            stamp_us: self.stamp_us,
            kind: self.kind,
            version: self.version,
            ..Fixed::QUERY
        }
        .put(&mut fixed);
        let whole = out;
        let (front, rest) = whole.split_first_chunk_mut().ok_or(TooLarge)?;
        let (names, rest) = rest.split_at_mut_checked(head.len()).ok_or(TooLarge)?;
        let (before, params) = rest.split_first_chunk_mut().ok_or(TooLarge)?;
        if params.len() != self.params.len() {
            return Err(TooLarge);
        }
        *front = fixed;
        names.copy_from_slice(head);
        *before = length;
        params.copy_from_slice(self.params);
        Ok(match self.head.names {
            None => Sum::whole(whole),
            Some(names) => Sum {
                names: names.get(),
                value: joined(&fixed, self.head.sum, length, rapidhash_v3(self.params)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_record_that_it_stands_for(
            keyspace in "[a-zé]{0,20}",
            table in "\\PC{0,30}",
            text in "\\PC{0,300}",
            params in proptest::collection::vec(any::<u8>(), 0..300),
            arrival_us: u64,
            stamp_us: Option<i64>,
            counter: bool,
            at: u16,
        ) {
            let at = usize::from(at);
            let kind = if counter { Kind::Counter } else { Kind::Write };
            let record = Record {
                sequence: 0,
                arrival_us,
                stamp_us,
                kind,
                version: 4,
                session_keyspace: "",
                keyspace: &keyspace,
                table: &table,
                refusal: None,
                body: Body::Query { text: &text, params: &params },
            };
            let head = Head::new(&keyspace, &table, &text).unwrap();
            let repeated = Repeated {
                arrival_us,
                stamp_us,
                kind,
                version: 4,
                head: &head,
                params: &params,
            };
            prop_assert_eq!(repeated.encoded_len(), record.encoded_len());
            let length = record.encoded_len();
            let (mut one, mut other) = (vec![1; length], vec![2; length]);
            let whole = record.encode_into(&mut one).unwrap();
            let joined = repeated.encode_into(&mut other).unwrap();
            prop_assert_eq!(&one, &other);
            prop_assert_eq!(sum(&one, 0), Some(whole));
            prop_assert_eq!(sum(&one, joined.names), Some(joined));
            for (damaged, bit) in [at, at + 1, length - 1].into_iter().zip([1_u8, 16, 128]) {
                other[damaged % length] ^= bit;
                prop_assert_ne!(sum(&other, joined.names), Some(joined));
                other[damaged % length] ^= bit;
            }
            let mut short = vec![0; length - 1];
            prop_assert!(repeated.encode_into(&mut short).is_err());
        }
    }

    #[test]
    fn a_text_too_long_for_a_sum_of_its_own_is_summed_with_the_rest() {
        let text = "t".repeat(usize::from(u16::MAX));
        let head = Head::new("k", "t", &text).unwrap();
        let repeated = Repeated {
            arrival_us: 1,
            stamp_us: None,
            kind: Kind::Write,
            version: 4,
            head: &head,
            params: &[7; 9],
        };
        let mut body = vec![0; repeated.encoded_len()];
        let found = repeated.encode_into(&mut body).unwrap();
        assert_eq!((found.names, sum(&body, 0)), (0, Some(found)));
        assert_eq!(sum(&body[..40], 9), None, "it is shorter than that");
    }

    #[test]
    fn a_name_that_does_not_fit_has_no_head() {
        let long = "n".repeat(usize::from(u16::MAX) + 1);
        assert_eq!(Head::new(&long, "t", ""), Err(TooLarge));
    }
}
