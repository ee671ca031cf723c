//! What an answer says about the fate of a write.

use crate::cql::Opcode;
use crate::cql::response::ErrorCode;

/// The fate of a write at the cluster that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Applied,
    /// It is not there and never will be: the statement was turned down before it ran.
    Refused,
    /// It may be there, or may still arrive: timeouts, failures of replicas, lost connections, and
    /// every code that we do not know.
    Ambiguous,
}

/// The verdict of an ERROR body's code.
///
/// Overloaded (0x1001) is ambiguous: Cassandra also raises it half-way, when hints pile up after
/// some replicas were already sent to (`StorageProxy.checkHintOverload`).
#[must_use]
pub fn of_error(code: i32) -> Verdict {
    use ErrorCode as E;
    match ErrorCode::from_number(code) {
        E::Protocol
        | E::BadCredentials
        | E::Unavailable
        | E::IsBootstrapping
        | E::FunctionFailure
        | E::Syntax
        | E::Unauthorized
        | E::Invalid
        | E::Config
        | E::AlreadyExists
        | E::Unprepared => Verdict::Refused,
        _ => Verdict::Ambiguous,
    }
}

/// What an error of the target means for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtTarget {
    /// The fate of this try.
    pub verdict: Verdict,
    /// The same write may be taken later.
    pub passes: bool,
}

/// Judges an ERROR of the target.
#[must_use]
pub fn at_target(code: i32, message: &str) -> AtTarget {
    use ErrorCode as E;
    let code_of = ErrorCode::from_number(code);
    if code_of == E::Config && message.starts_with(RATE_LIMIT) {
        // replicas count for themselves: one may have taken what another did not
        let verdict = match message.ends_with("by coordinator") {
            true => Verdict::Refused,
            false => Verdict::Ambiguous,
        };
        let passes = true;
        return AtTarget { verdict, passes };
    }
    AtTarget {
        verdict: of_error(code),
        passes: matches!(
            code_of,
            E::Unavailable | E::IsBootstrapping | E::BadCredentials
        ),
    }
}

/// How ScyllaDB begins when a partition gets more requests than `per_partition_rate_limit` says.
/// The error has a code of its own for those who ask for it in STARTUP, which a link does not.
const RATE_LIMIT: &str = "Per-partition rate limit reached";

/// A name that a node does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown<'m> {
    /// Of a keyspace.
    Keyspace(&'m str),
    /// Of a table, without its keyspace.
    Table(&'m str),
}

/// What a node does not know, if that is why it refuses a statement: in the words of Cassandra
/// (`table t does not exist`; before 4.0, and in ScyllaDB, `unconfigured table t`).
#[must_use]
pub fn unknown(code: i32, message: &str) -> Option<Unknown<'_>> {
    if code != ErrorCode::Invalid.number() {
        return None;
    }
    if let Some(name) = message.strip_prefix("unconfigured table ") {
        return Some(Unknown::Table(name));
    }
    let (what, name) = message.strip_suffix(" does not exist")?.split_once(' ')?;
    let name = name.trim_matches('\'');
    match what {
        "table" => Some(Unknown::Table(name)),
        "keyspace" | "Keyspace" => Some(Unknown::Keyspace(name)),
        _ => None,
    }
}

/// The verdict of a whole answer: `error_code` is what an ERROR body begins with, if it is one.
#[must_use]
pub fn of_answer(opcode: Opcode, error_code: Option<i32>) -> Verdict {
    match (opcode, error_code) {
        (Opcode::Result, _) => Verdict::Applied,
        (Opcode::Error, Some(code)) => of_error(code),
        _ => Verdict::Ambiguous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definite_refusals_are_exactly_these() {
        let refused = [
            0x000A, 0x0100, 0x1000, 0x1002, 0x1400, 0x2000, 0x2100, 0x2200, 0x2300, 0x2400, 0x2500,
        ];
        for code in 0..0x3000 {
            let expected = if refused.contains(&code) {
                Verdict::Refused
            } else {
                Verdict::Ambiguous
            };
            assert_eq!(of_error(code), expected, "{code:#06x}");
        }
    }

    #[test]
    fn unknown_names_are_told_from_other_mistakes() {
        let cases = [
            ("table t does not exist", Some(Unknown::Table("t"))),
            ("unconfigured table t", Some(Unknown::Table("t"))),
            ("keyspace k does not exist", Some(Unknown::Keyspace("k"))),
            ("Keyspace 'k' does not exist", Some(Unknown::Keyspace("k"))),
            ("Undefined column name x in table k.t", None),
            ("Type k.u does not exist", None),
            ("does not exist", None),
        ];
        for (words, expected) in cases {
            assert_eq!(unknown(0x2200, words), expected, "{words}");
            assert_eq!(unknown(0x2000, words), None);
        }
    }

    #[test]
    fn a_rate_limit_passes() {
        let judged = |by| {
            let limit = "Per-partition rate limit reached for write in table k.t, rejected by";
            at_target(0x2300, &format!("{limit} {by}"))
        };
        let expect = |verdict, passes| AtTarget { verdict, passes };
        assert_eq!(judged("coordinator"), expect(Verdict::Refused, true));
        assert_eq!(judged("replicas"), expect(Verdict::Ambiguous, true));
        let other = at_target(0x2300, "Unknown compaction strategy");
        assert_eq!(other, expect(Verdict::Refused, false));
        assert_eq!(at_target(0x1000, ""), expect(Verdict::Refused, true));
        assert_eq!(at_target(0x1100, ""), expect(Verdict::Ambiguous, false));
    }

    #[test]
    fn only_a_result_is_applied() {
        assert_eq!(of_answer(Opcode::Result, None), Verdict::Applied);
        assert_eq!(of_answer(Opcode::Error, Some(0x1100)), Verdict::Ambiguous);
        assert_eq!(of_answer(Opcode::Error, None), Verdict::Ambiguous);
        assert_eq!(of_answer(Opcode::Ready, None), Verdict::Ambiguous);
    }
}
