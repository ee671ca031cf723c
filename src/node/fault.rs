//! Faults on purpose: conditions on requests, and what the node does to those that match.
//!
//! A rule is written as conditions, an arrow, a reaction:
//!
//! ```text
//! RULE       = [CONDITION *("," CONDITION)] "->" REACTION ["," "apply"]
//! CONDITION  = "opcode=" NAME          QUERY, EXECUTE, BATCH, PREPARE, OPTIONS, STARTUP …
//!            | "kind=" KIND            read, write, batch, lwt, counter, schema, other
//!            | "table=" [KEYSPACE "."] TABLE
//!            | "text=" SUBSTRING       of the statement, in any case, without a comma
//!            | "chance=" FRACTION      0 to 1
//!            | "every=" N              only each Nth request that meets what stands before it
//!            | "after=" N              not the first N of them
//!            | "times=" N              at most N times
//! REACTION   = "error=" NAME           write_timeout, read_timeout, unavailable, overloaded,
//!                                      write_failure, read_failure, server, bootstrapping,
//!                                      truncate, invalid, syntax, unauthorized, unprepared
//!            | "absent"                the table does not exist here
//!            | "drop"                  the connection is closed
//!            | "silence"               no answer
//!            | "stall"                 nothing more is read from this connection
//!            | "delay=" MILLISECONDS
//! ```
//!
//! `apply`: the statement is executed before the error, the drop or the silence; without it, it is
//! not. The first rule that matches decides. No conditions: every request.

use std::cell::Cell;
use std::str::FromStr;
use std::time::Duration;

use super::error::{CqlError, code, push_string};

/// What the node does to requests besides answering them.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// Every answer waits this long.
    pub latency: Duration,
    /// And up to this much longer, at random.
    pub jitter: Duration,
    /// The first that matches decides.
    pub rules: Vec<FaultRule>,
    /// Nothing is read from any connection: requests wait in the kernel.
    pub stall: bool,
}

/// One rule; the module's text has the grammar.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    conditions: Vec<Condition>,
    pub(crate) reaction: Reaction,
    /// Whether the statement is executed before an error, drop or silence.
    pub(crate) apply: bool,
    times: u64,
}

/// A rule that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault rule `{rule}`: {reason}")]
pub struct FaultRuleError {
    rule: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Opcode(String),
    Kind(String),
    Table(String),
    Text(String),
    Chance(f64),
    Every(u64),
    After(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// An error code of the protocol.
    Error(i32),
    Absent,
    Drop,
    Silence,
    Stall,
    Delay(Duration),
}

const ERRORS: [(&str, i32); 13] = [
    ("write_timeout", code::WRITE_TIMEOUT),
    ("read_timeout", code::READ_TIMEOUT),
    ("unavailable", code::UNAVAILABLE),
    ("overloaded", code::OVERLOADED),
    ("write_failure", code::WRITE_FAILURE),
    ("read_failure", code::READ_FAILURE),
    ("server", code::SERVER),
    ("bootstrapping", code::BOOTSTRAPPING),
    ("truncate", code::TRUNCATE),
    ("invalid", code::INVALID),
    ("syntax", code::SYNTAX),
    ("unauthorized", code::UNAUTHORIZED),
    ("unprepared", code::UNPREPARED),
];

impl FromStr for FaultRule {
    type Err = FaultRuleError;

    fn from_str(rule: &str) -> Result<FaultRule, FaultRuleError> {
        parse_rule(rule).map_err(|reason| FaultRuleError {
            rule: rule.to_owned(),
            reason,
        })
    }
}

fn parse_rule(rule: &str) -> Result<FaultRule, String> {
    let (conditions, reaction) = rule.split_once("->").ok_or("no `->` in it")?;
    let mut parsed = FaultRule {
        conditions: Vec::new(),
        reaction: Reaction::Drop,
        apply: false,
        times: u64::MAX,
    };
    for part in conditions
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (name, value) = part.split_once('=').ok_or(format!("`{part}` has no `=`"))?;
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("`{part}` wants a number"))
        };
        parsed.conditions.push(match name {
            "opcode" => Condition::Opcode(value.to_ascii_uppercase()),
            "kind" => Condition::Kind(value.to_ascii_lowercase()),
            "table" => Condition::Table(value.to_owned()),
            "text" => Condition::Text(value.to_lowercase()),
            "chance" => {
                let chance = value
                    .parse()
                    .ok()
                    .filter(|chance| (0.0..=1.0).contains(chance));
                Condition::Chance(chance.ok_or(format!("`{part}` wants a number from 0 to 1"))?)
            }
            "every" => Condition::Every(number()?.max(1)),
            "after" => Condition::After(number()?),
            "times" => {
                parsed.times = number()?;
                continue;
            }
            _ => return Err(format!("`{name}` is no condition")),
        });
    }
    let (reaction, apply) = match reaction.split_once(',') {
        Some((reaction, option)) if option.trim() == "apply" => (reaction, true),
        Some((_, option)) => return Err(format!("`{option}` is no option")),
        None => (reaction, false),
    };
    parsed.apply = apply;
    parsed.reaction = parse_reaction(reaction.trim())?;
    Ok(parsed)
}

fn parse_reaction(text: &str) -> Result<Reaction, String> {
    match text.split_once('=') {
        None => match text {
            "absent" => Ok(Reaction::Absent),
            "drop" => Ok(Reaction::Drop),
            "silence" => Ok(Reaction::Silence),
            "stall" => Ok(Reaction::Stall),
            _ => Err(format!("`{text}` is no reaction")),
        },
        Some(("error", name)) => {
            let known = ERRORS.iter().find(|(known, _)| *known == name);
            known
                .map(|(_, code)| Reaction::Error(*code))
                .ok_or(format!("`{name}` is no error"))
        }
        Some(("delay", ms)) => {
            let ms = ms
                .parse()
                .map_err(|_| format!("`{text}` wants milliseconds"))?;
            Ok(Reaction::Delay(Duration::from_millis(ms)))
        }
        Some(_) => Err(format!("`{text}` is no reaction")),
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'s> {
    pub(crate) opcode: &'s str,
    pub(crate) kind: &'s str,
    pub(crate) keyspace: &'s str,
    pub(crate) table: &'s str,
    pub(crate) text: &'s str,
}

/// Rules with their counters, inside the node's thread.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) plan: FaultPlan,
    /// Per rule: requests that met what stands before `every` and `after`, and reactions so far.
    counts: Vec<(Cell<u64>, Cell<u64>)>,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan) -> Faults {
        let counts = plan.rules.iter().map(|_| Default::default()).collect();
        Faults { plan, counts }
    }

    /// The first rule that matches. `random` gives 64 random bits.
    pub(crate) fn decide(
        &self,
        subject: &Subject<'_>,
        mut random: impl FnMut() -> u64,
    ) -> Option<&FaultRule> {
        let mut rules = self.plan.rules.iter().zip(&self.counts);
        let (rule, (_, done)) = rules.find(|(rule, (met, done))| {
            done.get() < rule.times && rule.matches(subject, met, &mut random)
        })?;
        done.set(done.get() + 1);
        Some(rule)
    }
}

impl FaultRule {
    fn matches(
        &self,
        subject: &Subject<'_>,
        met: &Cell<u64>,
        random: &mut impl FnMut() -> u64,
    ) -> bool {
        let mut counted = false;
        let mut nth = || {
            if !counted {
                met.set(met.get() + 1);
                counted = true;
            }
            met.get()
        };
        self.conditions.iter().all(|condition| match condition {
            Condition::Opcode(name) => name == subject.opcode,
            Condition::Kind(kind) => kind == subject.kind,
            Condition::Table(name) => match name.split_once('.') {
                Some((keyspace, table)) => keyspace == subject.keyspace && table == subject.table,
                None => name == subject.table,
            },
            Condition::Text(part) => subject.text.to_lowercase().contains(part),
            Condition::Chance(chance) => {
                let share = u32::try_from(random() >> 32).unwrap_or(0);
                f64::from(share) < chance * f64::from(u32::MAX) || *chance >= 1.0
            }
            Condition::Every(every) => nth().is_multiple_of(*every),
            Condition::After(after) => nth() > *after,
        })
    }
}

/// The ERROR answer of a rule, with the fields that its code has in protocol v3 and v4.
pub(crate) fn error_of(error_code: i32, subject: &Subject<'_>, id: &[u8]) -> CqlError {
    const CONSISTENCY_ONE: [u8; 2] = [0, 1];
    let one = 1i32.to_be_bytes();
    let none = 0i32.to_be_bytes();
    if error_code == code::UNPREPARED {
        return CqlError::unprepared(id);
    }
    let name = ERRORS
        .iter()
        .find(|(_, known)| *known == error_code)
        .map_or("", |(name, _)| name);
    let mut error = CqlError::new(error_code, format!("{name}, as a fault rule asked"));
    let write_type = match subject.kind {
        "batch" => "BATCH",
        "lwt" => "CAS",
        "counter" => "COUNTER",
        _ => "SIMPLE",
    };
    let tail = &mut error.tail;
    if matches!(
        error_code,
        code::UNAVAILABLE
            | code::WRITE_TIMEOUT
            | code::READ_TIMEOUT
            | code::WRITE_FAILURE
            | code::READ_FAILURE
    ) {
        tail.extend_from_slice(&CONSISTENCY_ONE);
    }
    match error_code {
        code::UNAVAILABLE => tail.extend([one, none].concat()),
        code::WRITE_TIMEOUT => {
            tail.extend([none, one].concat());
            push_string(tail, write_type);
        }
        code::READ_TIMEOUT => {
            tail.extend([none, one].concat());
            tail.push(0);
        }
        code::WRITE_FAILURE => {
            tail.extend([none, one, one].concat());
            push_string(tail, write_type);
        }
        code::READ_FAILURE => {
            tail.extend([none, one, one].concat());
            tail.push(0);
        }
        _ => {}
    }
    error
}
