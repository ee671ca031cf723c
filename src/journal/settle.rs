//! What becomes of a record after a crash: a table without a gap.

use super::format::{Nature, State};
use crate::spill::{Kind, Repeat};

/// What settling does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing: it is done.
    Nothing,
    /// It is sent to the source again with its own stamp until the source answers, then mirrored or
    /// forgotten: to the client its outcome was unknown, so a late apply is a legal one.
    Ask,
    /// It is mirrored. What must not be repeated is marked as sent first, as always.
    Mirror,
    /// A schema change or TRUNCATE goes to the target behind a barrier.
    Schema,
    /// A stop has put it into the spill: it goes to the target behind a barrier if the drain finds
    /// it there; else somebody has sent it since.
    FromSpill,
    /// What it changed is read from the source, and what the source shows goes to the target: only
    /// its rows tell whether a condition held, and what a list holds now. A list that may be there
    /// already must not come with its stamp again, or each element is there twice
    /// (CASSANDRA-11368); and the next stamp can be that of a process that has died since.
    ReadBack,
    /// It is put aside among the writes in doubt: nothing that could be done is certainly right.
    InDoubt,
}

/// The action for a record in this state; `None` if its state word is damaged.
#[must_use]
pub fn action(state: Option<State>, nature: Nature) -> Action {
    let Nature {
        kind,
        repeat,
        conditional,
    } = nature;
    match (state, conditional, kind, repeat) {
        (Some(State::Done), ..) => Action::Nothing,
        (None, ..) => Action::InDoubt,
        // there is no conditional form of these
        (Some(_), true, Kind::Counter | Kind::Ddl | Kind::Truncate, _) => Action::InDoubt,
        (Some(_), true, Kind::Write | Kind::List, _) => Action::ReadBack,
        (Some(State::Sent), false, Kind::Ddl | Kind::Truncate, _) => Action::FromSpill,
        // the same change twice does no harm that the source has not seen as well, and an error
        // of the target is reported
        (Some(_), false, Kind::Ddl, _) => Action::Schema,
        // a table is never emptied on a guess
        (Some(State::Intent), false, Kind::Truncate, _) => Action::InDoubt,
        (Some(State::Applied), false, Kind::Truncate, _) => Action::Schema,
        (Some(State::Intent), false, kind, repeat) => match (repeat, kind) {
            (Repeat::Free, _) => Action::Ask,
            (_, Kind::Counter) => Action::InDoubt,
            (Repeat::Bump | Repeat::Once, _) => Action::ReadBack,
        },
        (Some(State::Applied), false, ..) => Action::Mirror,
        (Some(State::Sent), false, kind, repeat) => match (repeat, kind) {
            (Repeat::Free, _) => Action::Mirror,
            (_, Kind::Counter) => Action::InDoubt,
            (Repeat::Bump | Repeat::Once, _) => Action::ReadBack,
        },
    }
}

/// What is certain of a state that was read after the death of the machine, when later ones may not
/// have reached the disk; `None`: nothing is, so the record is in doubt.
///
/// A write that may be repeated is where it was: to ask once more, or to mirror it once more, does
/// no harm. What must not be repeated may have been sent since it was applied. A change of the
/// schema, or a TRUNCATE, may have been done, with other writes behind it that the same change
/// would undo; not if it was in the spill, whose progress tells.
#[must_use]
pub fn certain(state: Option<State>, nature: Nature) -> Option<State> {
    match (state?, nature.kind, nature.repeat) {
        (State::Done, ..) => Some(State::Done),
        (State::Sent, Kind::Ddl | Kind::Truncate, _) => Some(State::Sent),
        (_, Kind::Ddl | Kind::Truncate, _) => None,
        (State::Applied, _, Repeat::Bump | Repeat::Once) => Some(State::Sent),
        (state, ..) => Some(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for each of INTENT, APPLIED, SENT, DONE and a damaged word: `a`sk, `m`irror,
    /// `r`ead back, `s`chema, `f`rom the spill, in `d`oubt, `n`othing.
    const TABLE: &[(&str, Kind, Repeat, bool)] = &[
        ("ammnd", Kind::Write, Repeat::Free, false),
        ("rmrnd", Kind::Write, Repeat::Bump, false),
        ("rmrnd", Kind::Write, Repeat::Once, false),
        ("ammnd", Kind::Counter, Repeat::Free, false),
        ("dmdnd", Kind::Counter, Repeat::Bump, false),
        ("dmdnd", Kind::Counter, Repeat::Once, false),
        ("ammnd", Kind::List, Repeat::Free, false),
        ("rmrnd", Kind::List, Repeat::Bump, false),
        ("rmrnd", Kind::List, Repeat::Once, false),
        ("ssfnd", Kind::Ddl, Repeat::Free, false),
        ("ssfnd", Kind::Ddl, Repeat::Bump, false),
        ("ssfnd", Kind::Ddl, Repeat::Once, false),
        ("dsfnd", Kind::Truncate, Repeat::Free, false),
        ("dsfnd", Kind::Truncate, Repeat::Bump, false),
        ("dsfnd", Kind::Truncate, Repeat::Once, false),
        ("rrrnd", Kind::Write, Repeat::Free, true),
        ("rrrnd", Kind::Write, Repeat::Bump, true),
        ("rrrnd", Kind::Write, Repeat::Once, true),
        ("dddnd", Kind::Counter, Repeat::Free, true),
        ("dddnd", Kind::Counter, Repeat::Bump, true),
        ("dddnd", Kind::Counter, Repeat::Once, true),
        ("rrrnd", Kind::List, Repeat::Free, true),
        ("rrrnd", Kind::List, Repeat::Bump, true),
        ("rrrnd", Kind::List, Repeat::Once, true),
        ("dddnd", Kind::Ddl, Repeat::Free, true),
        ("dddnd", Kind::Ddl, Repeat::Bump, true),
        ("dddnd", Kind::Ddl, Repeat::Once, true),
        ("dddnd", Kind::Truncate, Repeat::Free, true),
        ("dddnd", Kind::Truncate, Repeat::Bump, true),
        ("dddnd", Kind::Truncate, Repeat::Once, true),
    ];

    /// What settling must not do once the machine has died, whatever reached the disk: a state is
    /// at most as old as the truth.
    #[test]
    fn an_old_state_leads_to_nothing_that_the_true_one_forbids() {
        for kind in Kind::ALL {
            for repeat in [Repeat::Free, Repeat::Bump, Repeat::Once] {
                for conditional in [false, true] {
                    let nature = Nature {
                        kind,
                        repeat,
                        conditional,
                    };
                    let states = [State::Intent, State::Applied, State::Sent, State::Done];
                    for (n, read) in states.into_iter().enumerate() {
                        let taken = certain(Some(read), nature);
                        let done = action(taken, nature);
                        if read == State::Done {
                            assert_eq!(done, Action::Nothing);
                            continue;
                        }
                        assert_ne!(done, Action::Schema, "{read:?} {nature:?}");
                        let may_be_sent = states[n..].contains(&State::Sent);
                        let repeats = matches!(done, Action::Ask | Action::Mirror);
                        if may_be_sent && repeat != Repeat::Free {
                            assert!(!repeats, "{read:?} {nature:?}");
                        }
                    }
                    assert_eq!(certain(None, nature), None);
                }
            }
        }
    }

    #[test]
    fn every_combination_has_its_row() {
        let repeats = [Repeat::Free, Repeat::Bump, Repeat::Once];
        let mut rows = TABLE.iter();
        for conditional in [false, true] {
            for kind in Kind::ALL {
                for repeat in repeats {
                    let (letters, ..) = rows
                        .next()
                        .filter(|row| (row.1, row.2, row.3) == (kind, repeat, conditional))
                        .expect("the table is in order and complete");
                    let nature = Nature {
                        kind,
                        repeat,
                        conditional,
                    };
                    let states = State::ALL.into_iter().map(Some).chain([None]);
                    for (state, letter) in states.zip(letters.chars()) {
                        let wanted = match letter {
                            'a' => Action::Ask,
                            'm' => Action::Mirror,
                            'r' => Action::ReadBack,
                            's' => Action::Schema,
                            'f' => Action::FromSpill,
                            'd' => Action::InDoubt,
                            'n' => Action::Nothing,
                            other => panic!("{other}"),
                        };
                        assert_eq!(action(state, nature), wanted, "{state:?} {nature:?}");
                    }
                }
            }
        }
        assert!(rows.next().is_none());
    }
}
