//! Random values of each type, in the three forms in which a statement can hold them.

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::support::cql::uuid_text;

/// The types of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    Big,
    Text,
    Blob,
    Bool,
    Double,
    Decimal,
    Varint,
    Uuid,
    TimeUuid,
    Stamp,
    Tuple,
    FrozenList,
    FrozenUser,
    Set,
    Map,
    User,
    List,
}

/// One value.
#[derive(Debug, Clone)]
pub struct Value {
    pub cql: String,
    pub json: String,
    pub bytes: Vec<u8>,
}

impl Value {
    fn new(cql: impl ToString, json: impl ToString, bytes: Vec<u8>) -> Value {
        Value {
            cql: cql.to_string(),
            json: json.to_string(),
            bytes,
        }
    }

    pub fn int(value: i32) -> Value {
        Value::new(value, value, value.to_be_bytes().to_vec())
    }

    pub fn big(value: i64) -> Value {
        Value::new(value, value, value.to_be_bytes().to_vec())
    }

    pub fn text(text: &str) -> Value {
        let quoted = format!("'{}'", text.replace('\'', "''"));
        Value::new(quoted, format!("\"{text}\""), text.as_bytes().to_vec())
    }

    /// Of elements in their order: `open` and `close` are the brackets of CQL.
    pub fn sequence(values: &[Value], open: char, close: char) -> Value {
        let mut bytes = count(values.len());
        values.iter().for_each(|v| push(&mut bytes, &v.bytes));
        let join = |form: fn(&Value) -> &str| {
            let forms: Vec<_> = values.iter().map(form).collect();
            forms.join(", ")
        };
        let (cql, json) = (join(|v| &v.cql), join(|v| &v.json));
        Value::new(format!("{open}{cql}{close}"), format!("[{json}]"), bytes)
    }

    fn uuid(bytes: [u8; 16]) -> Value {
        let text = uuid_text(&bytes);
        Value::new(&text, format!("\"{text}\""), bytes.to_vec())
    }

    fn user(street: Value, number: Option<Value>) -> Value {
        let mut bytes = Vec::new();
        push(&mut bytes, &street.bytes);
        match &number {
            Some(number) => push(&mut bytes, &number.bytes),
            None => bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
        let (cql, json) = match number {
            Some(n) => (format!(", no: {}", n.cql), format!(", \"no\": {}", n.json)),
            None => Default::default(),
        };
        Value::new(
            format!("{{street: {}{cql}}}", street.cql),
            format!("{{\"street\": {}{json}}}", street.json),
            bytes,
        )
    }

    fn map(key: &Value, value: &Value) -> Value {
        let mut bytes = count(1);
        push(&mut bytes, &key.bytes);
        push(&mut bytes, &value.bytes);
        let pair = |key: &str, value: &str| format!("{{{key}: {value}}}");
        Value::new(
            pair(&key.cql, &value.cql),
            pair(&key.json, &value.json),
            bytes,
        )
    }
}

fn count(length: usize) -> Vec<u8> {
    i32::try_from(length).unwrap().to_be_bytes().to_vec()
}

fn push(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend_from_slice(&count(value.len()));
    bytes.extend_from_slice(value);
}

/// A small int: few values, so that conditions are sometimes met and elements hit again.
pub fn small(random: &mut SmallRng) -> Value {
    Value::int(random.random_range(0..5))
}

/// The key of a map.
pub fn key(random: &mut SmallRng) -> Value {
    Value::text(["a", "b", "it's"][random.random_range(0..3)])
}

/// Ascending ints without doubles, as a set is sent.
pub fn set(random: &mut SmallRng) -> Value {
    let first = random.random_range(0..4);
    let count = random.random_range(1..3);
    let values: Vec<_> = (first..first + count).map(Value::int).collect();
    Value::sequence(&values, '{', '}')
}

/// Ints, a value twice among them now and then.
pub fn list(random: &mut SmallRng) -> Value {
    let count = random.random_range(1..4);
    let values: Vec<_> = (0..count).map(|_| small(random)).collect();
    Value::sequence(&values, '[', ']')
}

pub fn value(random: &mut SmallRng, kind: Kind) -> Value {
    match kind {
        Kind::Int => small(random),
        Kind::Big => Value::big(random.random_range(i64::MIN..i64::MAX)),
        Kind::Text => Value::text(["x", "it's", "grüße", "-- no", ""][random.random_range(0..5)]),
        Kind::Blob => {
            let bytes: Vec<u8> = (0..random.random_range(0..5))
                .map(|_| random.random_range(0..=255))
                .collect();
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            Value::new(format!("0x{hex}"), format!("\"0x{hex}\""), bytes)
        }
        Kind::Bool => {
            let value = random.random_range(0..2) == 1;
            Value::new(value, value, vec![u8::from(value)])
        }
        Kind::Double => {
            let value = f64::from(random.random_range(-8..8)) / 4.0;
            let text = format!("{value:?}");
            Value::new(&text, &text, value.to_be_bytes().to_vec())
        }
        Kind::Decimal => {
            let unscaled: i8 = random.random_range(10..99);
            let text = format!("{}.{}", unscaled / 10, unscaled % 10);
            let bytes = [&1_i32.to_be_bytes()[..], &unscaled.to_be_bytes()].concat();
            Value::new(&text, &text, bytes)
        }
        Kind::Varint => {
            let value: i8 = random.random_range(-100..100);
            Value::new(value, value, value.to_be_bytes().to_vec())
        }
        Kind::Uuid => {
            let mut bytes: [u8; 16] = random.random();
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            Value::uuid(bytes)
        }
        Kind::TimeUuid => {
            let mut bytes: [u8; 16] = random.random();
            bytes[6] = bytes[6] & 0x0f | 0x10;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            Value::uuid(bytes)
        }
        // as JSON Cassandra refuses those that fit into 32 bits
        Kind::Stamp => Value::big(random.random_range(1 << 31..2_000_000_000_000)),
        Kind::Tuple => {
            let (a, b) = (small(random), key(random));
            let mut bytes = Vec::new();
            push(&mut bytes, &a.bytes);
            push(&mut bytes, &b.bytes);
            let cql = format!("({}, {})", a.cql, b.cql);
            Value::new(cql, format!("[{}, {}]", a.json, b.json), bytes)
        }
        Kind::FrozenList | Kind::List => list(random),
        Kind::FrozenUser | Kind::User => {
            let number = (random.random_range(0..2) == 1).then(|| small(random));
            Value::user(key(random), number)
        }
        Kind::Set => set(random),
        Kind::Map => Value::map(&key(random), &small(random)),
    }
}
