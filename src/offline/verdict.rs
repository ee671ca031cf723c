//! What an error of the target means for a write that must neither be lost nor doubled.

use std::time::Duration;

use scylla::errors::{BadQuery, DbError, ExecutionError, PrepareError, RequestAttemptError};

/// What became of one try to send a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The target will never take it.
    Refused {
        /// Error code of the native protocol; 0 if the words are not the target's.
        code: i32,
        words: String,
    },
    /// The target has what it creates.
    AlreadyThere { words: String },
    /// Certainly not applied; may be sent again after this long.
    NotApplied {
        words: String,
        wait: Option<Duration>,
    },
    /// May be applied.
    Unknown {
        words: String,
        /// The target itself said so, which may be the fault of this one write.
        by_target: bool,
    },
    /// The prepared statement is not the same any more; prepare it again.
    Stale { words: String },
}

/// Judges an error.
pub(crate) fn of(error: &ExecutionError) -> Verdict {
    let words = || error.to_string();
    match error {
        ExecutionError::BadQuery(bad) => match bad {
            BadQuery::PartitionKeyExtraction => Verdict::Stale { words: words() },
            _ => Verdict::Refused {
                code: 0,
                words: words(),
            },
        },
        ExecutionError::LastAttemptError(attempt) => of_attempt(attempt),
        ExecutionError::PrepareError(error) => of_prepare(error),
        ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => Verdict::NotApplied {
            words: words(),
            wait: None,
        },
        _ => Verdict::Unknown {
            words: words(),
            by_target: false,
        },
    }
}

/// What the cluster itself answered, if it is that.
pub(crate) fn answered(error: &ExecutionError) -> Option<&DbError> {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => Some(error),
        _ => None,
    }
}

/// Too few replicas took part for the consistency that was asked for: with a lower one it might
/// have been done.
pub(crate) fn lacks_replicas(error: &ExecutionError) -> bool {
    use DbError::{ReadFailure, ReadTimeout, Unavailable, WriteFailure, WriteTimeout};
    let Some(error) = answered(error) else {
        return false;
    };
    match error {
        Unavailable { required, .. }
        | ReadTimeout { required, .. }
        | WriteTimeout { required, .. }
        | ReadFailure { required, .. }
        | WriteFailure { required, .. } => *required > 1,
        _ => false,
    }
}

/// Judges an error of PREPARE: whatever it is, nothing was applied.
pub(crate) fn of_prepare(error: &PrepareError) -> Verdict {
    let words = error.to_string();
    let PrepareError::AllAttemptsFailed { first_attempt } = error else {
        return Verdict::NotApplied { words, wait: None };
    };
    match of_attempt(first_attempt) {
        Verdict::Unknown { words, .. } => Verdict::NotApplied { words, wait: None },
        other => other,
    }
}

fn of_attempt(error: &RequestAttemptError) -> Verdict {
    let words = || error.to_string();
    match error {
        RequestAttemptError::DbError(error, said) => of_target(error, said),
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => Verdict::Refused {
            code: 0,
            words: words(),
        },
        RequestAttemptError::UnableToAllocStreamId => Verdict::NotApplied {
            words: words(),
            wait: None,
        },
        RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch => Verdict::Stale { words: words() },
        _ => Verdict::Unknown {
            words: words(),
            by_target: false,
        },
    }
}

/// Judges an ERROR message; `said` are its words.
fn of_target(error: &DbError, said: &str) -> Verdict {
    let refused = |code| Verdict::Refused {
        code,
        words: said.to_owned(),
    };
    let words = || format!("{error}: {said}");
    match error {
        DbError::SyntaxError => refused(0x2000),
        DbError::Unauthorized => refused(0x2100),
        DbError::Invalid => refused(0x2200),
        DbError::ConfigError => refused(0x2300),
        DbError::FunctionFailure { .. } => refused(0x1400),
        DbError::ProtocolError => refused(0x000A),
        DbError::AlreadyExists { .. } => Verdict::AlreadyThere {
            words: said.to_owned(),
        },
        DbError::Unavailable { .. }
        | DbError::IsBootstrapping
        | DbError::RateLimitReached { .. }
        | DbError::AuthenticationError => Verdict::NotApplied {
            words: words(),
            wait: None,
        },
        DbError::Overloaded => Verdict::NotApplied {
            words: words(),
            wait: retry_after(said),
        },
        DbError::Unprepared { .. } => Verdict::Stale { words: words() },
        _ => Verdict::Unknown {
            words: words(),
            by_target: true,
        },
    }
}

/// The `RetryAfterMs=` that some clusters add to an Overloaded error.
fn retry_after(said: &str) -> Option<Duration> {
    let (_, rest) = said.split_once("RetryAfterMs=")?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let ms: u64 = rest.get(..end)?.parse().ok()?;
    Some(Duration::from_millis(ms.min(60_000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::WriteType;
    use scylla::frame::types::Consistency;

    fn db(error: DbError) -> Verdict {
        let attempt = RequestAttemptError::DbError(error, "its words".to_owned());
        of(&ExecutionError::LastAttemptError(attempt))
    }

    #[test]
    fn what_is_wrong_for_good_keeps_the_targets_words() {
        let codes = [
            (DbError::SyntaxError, 0x2000),
            (DbError::Unauthorized, 0x2100),
            (DbError::Invalid, 0x2200),
            (DbError::ConfigError, 0x2300),
        ];
        for (error, code) in codes {
            assert_eq!(
                db(error),
                Verdict::Refused {
                    code,
                    words: "its words".to_owned()
                }
            );
        }
    }

    #[test]
    fn only_what_was_certainly_not_applied_may_repeat_a_counter() {
        let consistency = Consistency::One;
        let certain = [
            DbError::Unavailable {
                consistency,
                required: 1,
                alive: 0,
            },
            DbError::Overloaded,
            DbError::IsBootstrapping,
        ];
        for error in certain {
            assert!(matches!(db(error), Verdict::NotApplied { .. }));
        }
        let (received, required, write_type) = (0, 1, WriteType::Counter);
        let open = [
            DbError::WriteTimeout {
                consistency,
                received,
                required,
                write_type,
            },
            DbError::ServerError,
            DbError::TruncateError,
            DbError::Other(77),
        ];
        for error in open {
            assert!(matches!(
                db(error),
                Verdict::Unknown {
                    by_target: true,
                    ..
                }
            ));
        }
        let timeout = ExecutionError::RequestTimeout(Duration::from_secs(1));
        assert!(matches!(
            of(&timeout),
            Verdict::Unknown {
                by_target: false,
                ..
            }
        ));
    }

    #[test]
    fn a_lower_consistency_helps_where_more_than_one_replica_is_asked() {
        let consistency = Consistency::LocalQuorum;
        let lacks = |error| {
            let attempt = RequestAttemptError::DbError(error, String::new());
            lacks_replicas(&ExecutionError::LastAttemptError(attempt))
        };
        let unavailable = |required| DbError::Unavailable {
            consistency,
            required,
            alive: 0,
        };
        let timeout = |required| DbError::ReadTimeout {
            consistency,
            received: 0,
            required,
            data_present: false,
        };
        assert_eq!([1, 2].map(unavailable).map(lacks), [false, true]);
        assert_eq!([1, 2].map(timeout).map(lacks), [false, true]);
        assert!(!lacks(DbError::Overloaded) && !lacks_replicas(&ExecutionError::EmptyPlan));
    }

    #[test]
    fn an_overloaded_target_says_when_to_come_back() {
        assert_eq!(
            retry_after("busy. RetryAfterMs=120, x"),
            Some(Duration::from_millis(120))
        );
        assert_eq!(
            retry_after("RetryAfterMs=99999999"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(retry_after("RetryAfterMs="), None);
        assert_eq!(retry_after("busy"), None);
    }
}
