//! Brings one write to the target: tries, judges, waits, tries again, or gives up.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use crate::offline::verdict::Verdict;
use crate::spill::{Kind, Standing, record};

use super::log::Entry;
use super::statement::{self, Request};
use super::target::Target;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The target has it.
    Applied {
        /// It was older than its table's `gc_grace_seconds`.
        late: bool,
    },
    /// The target had what it creates.
    AlreadyThere { words: String },
    /// The target will never take it.
    Refused { code: i32, words: String },
    /// It may be applied and must not be sent again.
    InDoubt { words: String },
    /// A delete that comes too late.
    TooOld,
    /// In doubt since an earlier run.
    StillInDoubt,
    /// The target does not take writes; this one was certainly not applied, or may be repeated.
    GaveUp { words: String },
}

/// What all deliveries share.
pub(super) struct Courier {
    pub target: Target,
    /// Deletes are sent however old they are.
    pub force: bool,
    /// For how long a write is tried.
    pub give_up: Duration,
    /// When the target last took a write.
    pub last_success: Cell<Instant>,
    pub retries: Cell<u64>,
    /// No new try is begun.
    pub stopping: Cell<bool>,
}

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Error codes with which a target refuses a schema change that it has already.
const INVALID: i32 = 0x2200;
const CONFIG_ERROR: i32 = 0x2300;
/// A write that fails so often while others succeed is itself the reason.
const POISON_TRIES: u32 = 12;

impl Courier {
    /// Delivers the record of an entry.
    pub(super) async fn deliver(&self, entry: &Entry) -> Outcome {
        let record = match record::decode(&entry.body) {
            Ok(record) => record,
            Err(error) => {
                return Outcome::Refused {
                    code: 0,
                    words: error.to_string(),
                };
            }
        };
        let first_try = Instant::now();
        let mut tries = 0;
        loop {
            // Made anew for each try: what is left of a time to live gets less.
            let elapsed = now_us().saturating_sub(record.arrival_us) / 1_000_000;
            let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
            let made = statement::request(&record, &self.target.tables(), elapsed);
            let (request, age) = match made {
                Ok(made) => made,
                Err(error) => {
                    return Outcome::Refused {
                        code: 0,
                        words: format!("{error:#}"),
                    };
                }
            };
            if age.deletes && age.beyond_grace && !self.force {
                return Outcome::TooOld;
            }
            let verdict = match self.target.send(&request).await {
                Ok(()) => {
                    self.last_success.set(Instant::now());
                    return Outcome::Applied {
                        late: age.beyond_grace,
                    };
                }
                Err(verdict) => verdict,
            };
            tries += 1;
            let (words, wait, by_target) = match self.judge(entry, &request, verdict) {
                Next::Done(outcome) => return outcome,
                Next::Again {
                    words,
                    wait,
                    by_target,
                } => (words, wait, by_target),
            };
            if by_target && tries >= POISON_TRIES && self.last_success.get() > first_try {
                let words = format!("failed {tries} times, the last time: {words}");
                return Outcome::Refused { code: 0, words };
            }
            if first_try.elapsed() >= self.give_up || self.stopping.get() {
                return Outcome::GaveUp { words };
            }
            self.retries.set(self.retries.get() + 1);
            sleep(wait.unwrap_or_else(|| backoff(tries))).await;
        }
    }

    fn judge(&self, entry: &Entry, request: &Request, verdict: Verdict) -> Next {
        match verdict {
            // An earlier process was sending it when it died: the target says that it succeeded.
            Verdict::Refused {
                code: INVALID | CONFIG_ERROR,
                words,
            } if entry.kind == Kind::Ddl && entry.standing == Standing::InDoubt => {
                Next::Done(Outcome::AlreadyThere { words })
            }
            Verdict::Refused { code, words } => Next::Done(Outcome::Refused { code, words }),
            Verdict::AlreadyThere { words } => Next::Done(Outcome::AlreadyThere { words }),
            Verdict::NotApplied { words, wait } => Next::Again {
                words,
                wait,
                by_target: false,
            },
            Verdict::Stale { words } => {
                self.target.forget(request);
                Next::Again {
                    words,
                    wait: None,
                    by_target: true,
                }
            }
            Verdict::Unknown { words, .. } if !entry.kind.is_repeatable() => {
                Next::Done(Outcome::InDoubt { words })
            }
            Verdict::Unknown { words, by_target } => Next::Again {
                words,
                wait: None,
                by_target,
            },
        }
    }
}

enum Next {
    Done(Outcome),
    Again {
        words: String,
        wait: Option<Duration>,
        by_target: bool,
    },
}

/// Doubles with each try, and differs a little between writes.
fn backoff(tries: u32) -> Duration {
    let doubled = FIRST_WAIT
        .saturating_mul(1 << tries.min(10))
        .min(LONGEST_WAIT);
    let jitter = u32::try_from(now_us() % 256).unwrap_or(0);
    doubled * 3 / 4 + doubled / 1024 * jitter
}

/// µs since 1970.
pub(super) fn now_us() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}
