//! The command line of the seed proxy (Azure-Samples/cassandra-proxy, `Proxy.java`): every option
//! that its users' runbooks may hold, and what becomes of it here. Nothing is silently ignored.

use super::network::COMPRESSIONS;
use super::settings::Settings;

/// What becomes of an option of the seed proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does here what it did there.
    Works,
    /// It is accepted; one line in the log says what takes its place.
    Replaced {
        /// The line, completing "--name VALUE: ".
        by: &'static str,
    },
}

/// One option of the seed proxy.
#[derive(Clone, Copy, Debug)]
pub struct SeedFlag {
    /// Long name, without the dashes.
    pub name: &'static str,
    /// The seed's short name, with its dash.
    pub short: Option<&'static str>,
    /// A value as a runbook holds it.
    pub example: &'static str,
    /// What becomes of it.
    pub effect: Effect,
}

const fn works(name: &'static str, short: Option<&'static str>, example: &'static str) -> SeedFlag {
    SeedFlag {
        name,
        short,
        example,
        effect: Effect::Works,
    }
}

const fn replaced(
    name: &'static str,
    short: Option<&'static str>,
    example: &'static str,
    by: &'static str,
) -> SeedFlag {
    SeedFlag {
        name,
        short,
        example,
        effect: Effect::Replaced { by },
    }
}

/// Every option of the seed proxy but `--help`.
pub const SEED_FLAGS: &[SeedFlag] = &[
    works("source-port", None, "9042"),
    works("target-port", None, "9042"),
    works("proxy-port", Some("-p"), "29042"),
    works("source-identifier", None, "source node"),
    works("target-identifier", None, "target node"),
    works("disable-source-tls", None, "true"),
    works("disable-target-tls", None, "true"),
    works("target-username", None, "cassandra"),
    works("target-password", None, "cassandra"),
    works("protocol-version", None, "4"),
    works("cql-version", None, "3.4.4"),
    works("compression", None, "lz4"),
    works("compression-enabled", None, "false"),
    works("threads", Some("-t"), "1"),
    works("metrics", None, "true"),
    works("metrics-port", Some("-mp"), "28000"),
    works("write-buffer-size", None, "65536"),
    works("tcp-idle-time-out", None, "0"),
    works("filter-tables", None, "insert into test .*"),
    works("debug", None, "false"),
    works("ghostIps", None, "{\"10.0.0.1\":\"10.0.0.2\"}"),
    replaced(
        "wait",
        Some("-W"),
        "true",
        "the client gets the source's answer at once; the write reaches the target from memory or \
         from the spill, so waiting for the target is not needed to lose nothing",
    ),
    replaced(
        "uuid",
        None,
        "true",
        "not needed: each statement is analysed by its tokens, and no text is searched for uuid() \
         or now()",
    ),
    replaced(
        "only-message",
        None,
        "true",
        "answers of the two clusters are not compared one by one; the counts of rejected and \
         in-doubt writes show where they may differ",
    ),
    replaced(
        "dest-close",
        None,
        "false",
        "a client's connection never depends on the target; what the target misses goes to the \
         spill",
    ),
    works("proxy-jks-file", None, "/etc/proxy/keys.jks"),
    works("proxy-jks-password", None, "changeit"),
    works("proxy-pem-certfile", None, "/etc/proxy/server.crt"),
    works("proxy-pem-keyfile", None, "/etc/proxy/server.pem"),
];

/// Looks an option of the seed proxy up.
#[must_use]
pub fn seed_flag(name: &str) -> Option<&'static SeedFlag> {
    SEED_FLAGS.iter().find(|flag| flag.name == name)
}

/// What no usual parser reads, put right before the arguments are parsed: the seed's `-mp`, two
/// letters behind one dash, becomes `--metrics-port`, a `--debug` without a value is `true`, and an
/// option that is a list takes all that follows and can be in it (`--protocol-version 3 4`).
pub fn normalise_args<I, T>(args: I) -> Vec<std::ffi::OsString>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString>,
{
    let mut args = args.into_iter().map(Into::into).peekable();
    let mut normal = Vec::new();
    while let Some(arg) = args.next() {
        let arg: std::ffi::OsString = arg;
        let alone = |next: Option<&std::ffi::OsString>| {
            !next.is_some_and(|next| next == "true" || next == "false")
        };
        normal.push(if arg == "-mp" {
            "--metrics-port".into()
        } else if arg == "--debug" && alone(args.peek()) {
            "--debug=true".into()
        } else {
            arg
        });
        let flag = normal.last().and_then(|arg| arg.to_str());
        if let Some(fits) = flag.and_then(in_list)
            && let Some(first) = args.next_if(|next| !next.as_encoded_bytes().starts_with(b"-"))
        {
            normal.push(first);
            while let Some(more) = args.next_if(|next| next.to_str().is_some_and(fits)) {
                if let Some(list) = normal.last_mut() {
                    list.push(",");
                    list.push(more);
                }
            }
        }
    }
    normal
}

/// For an option that is a list in the seed: whether a word can be in it, and is no host.
fn in_list(flag: &str) -> Option<fn(&str) -> bool> {
    match flag {
        "--protocol-version" => Some(|word| matches!(word, "1" | "2" | "3" | "4" | "5")),
        "--cql-version" => Some(|word| {
            let numbers: Result<Vec<u32>, _> = word.split('.').map(str::parse).collect();
            numbers.is_ok_and(|numbers| numbers.len() == 3)
        }),
        "--compression" => Some(|word| COMPRESSIONS.contains(&word)),
        _ => None,
    }
}

/// The log lines for options that are accepted and replaced.
pub(super) fn notices(settings: &Settings) -> Vec<String> {
    SEED_FLAGS
        .iter()
        .filter_map(|flag| match flag.effect {
            Effect::Replaced { by } => {
                given(settings, flag.name).map(|value| format!("--{} {value}: {by}", flag.name))
            }
            _ => None,
        })
        .collect()
}

/// The value of an option that is replaced, when it was given.
fn given(settings: &Settings, name: &str) -> Option<String> {
    let value = match name {
        "wait" => settings.wait,
        "uuid" => settings.uuid,
        "only-message" => settings.only_message,
        "dest-close" => settings.dest_close,
        _ => None,
    };
    value.map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debug_without_a_value_is_true() {
        let normal = |args: &[&str]| normalise_args(args.iter().copied());
        assert_eq!(normal(&["--debug", "a", "b"]), ["--debug=true", "a", "b"]);
        assert_eq!(normal(&["a", "--debug"]), ["a", "--debug=true"]);
        assert_eq!(
            normal(&["--debug", "false", "a"]),
            ["--debug", "false", "a"]
        );
    }

    #[test]
    fn a_list_takes_what_can_be_in_it() {
        let normal = |line: &str| normalise_args(line.split(' '));
        let cases = [
            ("a b --protocol-version 3 4", "a b --protocol-version 3,4"),
            (
                "--protocol-version 4 10.0.0.5 4",
                "--protocol-version 4 10.0.0.5 4",
            ),
            (
                "--cql-version 3.4.4 3.4.5 10.0.0.5 b",
                "--cql-version 3.4.4,3.4.5 10.0.0.5 b",
            ),
            (
                "--compression lz4 snappy a b",
                "--compression lz4,snappy a b",
            ),
            (
                "--compression --compression lz4",
                "--compression --compression lz4",
            ),
            ("a --protocol-version", "a --protocol-version"),
        ];
        for (given, meant) in cases {
            assert_eq!(
                normal(given),
                meant.split(' ').collect::<Vec<_>>(),
                "{given}"
            );
        }
    }
}
