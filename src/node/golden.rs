//! The node against what a real Cassandra 4.1 answered to the same statements (`golden.txt`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::time::Duration;

use super::testing::{Client, node};
use crate::cql::primitive::Reader;

#[derive(Default)]
struct Case<'g> {
    line: usize,
    text: &'g str,
    values: Option<Vec<Option<Vec<u8>>>>,
    unset: Vec<usize>,
    stamp: Option<i64>,
    code_only: bool,
    wait: Option<Duration>,
    answer: Vec<&'g str>,
}

fn cases(golden: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (line, text) in golden.lines().enumerate() {
        let (mark, rest) = text.split_at(text.len().min(2));
        match mark.trim_end() {
            ">" => cases.push(Case {
                line: line + 1,
                text: rest,
                ..Case::default()
            }),
            "~" => {
                let wait = Some(Duration::from_millis(rest.parse().unwrap()));
                cases.push(Case {
                    line: line + 1,
                    wait,
                    ..Case::default()
                });
            }
            "#" | "" => {}
            mark => {
                let case = cases.last_mut().unwrap();
                match mark {
                    "?" => values(case, rest),
                    "@" => case.stamp = Some(rest.parse().unwrap()),
                    "%" => case.code_only = true,
                    "=" | "|" => case.answer.push(text),
                    _ if text.starts_with('#') => {}
                    other => panic!("line {}: {other}", line + 1),
                }
            }
        }
    }
    cases
}

fn values(case: &mut Case<'_>, text: &str) {
    let mut all = Vec::new();
    for (at, word) in text.split_whitespace().enumerate() {
        all.push(match word {
            "-" => None,
            "!" => {
                case.unset.push(at);
                None
            }
            "." => Some(Vec::new()),
            hex => Some(super::literal::hex_bytes(hex).unwrap()),
        });
    }
    case.values = Some(all);
}

fn query(client: &mut Client, case: &Case<'_>) -> (u8, Vec<u8>) {
    let mut body = i32::try_from(case.text.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    body.extend_from_slice(case.text.as_bytes());
    body.extend_from_slice(&[0, 1]);
    let flags = u8::from(case.values.is_some()) | (u8::from(case.stamp.is_some()) << 5);
    body.push(flags);
    if let Some(values) = &case.values {
        body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
        for (at, value) in values.iter().enumerate() {
            match value {
                None if case.unset.contains(&at) => {
                    body.extend_from_slice(&(-2i32).to_be_bytes());
                }
                value => super::value::push_bytes(&mut body, value.as_deref()),
            }
        }
    }
    if let Some(stamp) = case.stamp {
        body.extend_from_slice(&stamp.to_be_bytes());
    }
    client.call(0x07, &body)
}

fn type_name(reader: &mut Reader<'_>) -> String {
    let many = |reader: &mut Reader<'_>, fields: bool| {
        let count = reader.short().unwrap();
        let all: Vec<String> = (0..count)
            .map(|_| {
                let name = if fields {
                    format!("{} ", reader.string().unwrap())
                } else {
                    "".into()
                };
                format!("{name}{}", type_name(reader))
            })
            .collect();
        all.join(",")
    };
    match reader.short().unwrap() {
        0x00 => format!("custom({})", reader.string().unwrap()),
        0x20 => format!("list<{}>", type_name(reader)),
        0x21 => {
            let key = type_name(reader);
            format!("map<{key},{}>", type_name(reader))
        }
        0x22 => format!("set<{}>", type_name(reader)),
        0x30 => {
            reader.string().unwrap();
            let name = reader.string().unwrap().to_owned();
            format!("udt {name}<{}>", many(reader, true))
        }
        0x31 => format!("tuple<{}>", many(reader, false)),
        id => {
            let names = [
                "",
                "ascii",
                "bigint",
                "blob",
                "boolean",
                "counter",
                "decimal",
                "double",
                "float",
                "int",
                "",
                "timestamp",
                "uuid",
                "text",
                "varint",
                "timeuuid",
                "inet",
                "date",
                "time",
                "smallint",
                "tinyint",
            ];
            names[usize::from(id)].to_owned()
        }
    }
}

/// An answer in the notation of the golden file.
fn show(opcode: u8, body: &[u8], code_only: bool) -> Vec<String> {
    let mut reader = Reader::new(body);
    if opcode == 0 {
        let code = reader.int().unwrap();
        let only = code_only || code == 0x2000;
        let message = if only {
            String::new()
        } else {
            format!(" {}", reader.string().unwrap())
        };
        return vec![format!("= error 0x{code:04x}{message}")];
    }
    match reader.int().unwrap() {
        1 => vec!["= void".to_owned()],
        2 => show_rows(&mut reader),
        3 => vec![format!("= use {}", reader.string().unwrap())],
        5 => {
            let mut line = "= schema".to_owned();
            while reader.remaining() > 0 {
                write!(line, " {}", reader.string().unwrap()).unwrap();
            }
            vec![line]
        }
        kind => panic!("result of kind {kind}"),
    }
}

fn show_rows(reader: &mut Reader<'_>) -> Vec<String> {
    let flags = reader.int().unwrap();
    assert_eq!(flags & 2, 0, "no page was asked for");
    let columns = reader.int().unwrap();
    reader.string().unwrap();
    reader.string().unwrap();
    let shown: Vec<String> = (0..columns)
        .map(|_| {
            format!(
                "{} {}",
                reader.string().unwrap().to_owned(),
                type_name(reader)
            )
        })
        .collect();
    let mut lines = vec![format!("= rows {}", shown.join(" | "))];
    for _ in 0..reader.int().unwrap() {
        let row: Vec<String> = (0..columns)
            .map(|_| match reader.bytes().unwrap() {
                None => "-".to_owned(),
                Some([]) => ".".to_owned(),
                Some(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            })
            .collect();
        lines.push(format!("| {}", row.join(" ")));
    }
    lines
}

#[test]
fn answers_as_cassandra_does() {
    let node = node();
    let mut client = Client::connect(&node);
    let cases = cases(include_str!("golden.txt"));
    assert!(cases.len() > 550, "the golden file is cut short");
    for case in cases {
        if let Some(wait) = case.wait {
            std::thread::park_timeout(wait);
            continue;
        }
        let (opcode, body) = query(&mut client, &case);
        let shown = show(opcode, &body, case.code_only);
        assert_eq!(shown, case.answer, "line {}: {}", case.line, case.text);
    }
}
