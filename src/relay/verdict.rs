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
    fn only_a_result_is_applied() {
        assert_eq!(of_answer(Opcode::Result, None), Verdict::Applied);
        assert_eq!(of_answer(Opcode::Error, Some(0x1100)), Verdict::Ambiguous);
        assert_eq!(of_answer(Opcode::Error, None), Verdict::Ambiguous);
        assert_eq!(of_answer(Opcode::Ready, None), Verdict::Ambiguous);
    }
}
