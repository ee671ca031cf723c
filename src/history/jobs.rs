//! Works through token ranges, several at once; a range that fails is split and tried again.

use std::collections::VecDeque;
use std::future::Future;

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use super::send::Failure;
use super::tokens::TokenRange;
use crate::limits;
use crate::offline::stop::Stop;

/// A token range of one pass over one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Place of the pass among those that there are.
    pub pass: usize,
    pub range: TokenRange,
    /// 0: the first.
    pub attempt: u32,
}

/// A range that could not be done.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub job: Job,
    pub words: String,
}

/// Runs `work` on all jobs, at most `at_once` at a time, and `finished` on each result.
///
/// Fails when it is told to stop, when nothing succeeds any more, or when `finished` fails.
pub(crate) async fn run<T, F>(
    jobs: Vec<Job>,
    at_once: usize,
    stop: &mut Stop,
    work: impl Fn(Job) -> F,
    mut finished: impl FnMut(Job, T) -> Result<()>,
) -> Result<Vec<Failed>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let mut waiting: VecDeque<Job> = jobs.into();
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    let mut failures_in_a_row = 0;
    loop {
        while running.len() < at_once
            && let Some(job) = waiting.pop_front()
        {
            let result = work(job);
            running.spawn(async move { (job, result.await) });
        }
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = stop.wait() => bail!("stopped; starting it again goes on from here"),
        };
        let Some(ended) = ended else {
            return Ok(failed);
        };
        let (job, result) = ended.context("a token range ended with a panic")?;
        match result {
            Ok(done) => {
                failures_in_a_row = 0;
                finished(job, done)?;
            }
            Err(failure) => {
                failures_in_a_row += 1;
                if failures_in_a_row > at_once * limits::RANGE_ATTEMPTS_MAX {
                    bail!("nothing succeeds any more; the last failure: {failure}");
                }
                match again(job) {
                    Some(jobs) => waiting.extend(jobs),
                    None => failed.push(Failed {
                        job,
                        words: failure.words,
                    }),
                }
            }
        }
    }
}

/// What to try in place of a range that failed: its halves, so that what is wrong is narrowed
/// down; none after enough tries.
fn again(job: Job) -> Option<Vec<Job>> {
    let attempt = job.attempt + 1;
    if usize::try_from(attempt).unwrap_or(usize::MAX) >= limits::RANGE_ATTEMPTS_MAX {
        return None;
    }
    let ranges = match job.range.halves() {
        Some(halves) => halves.to_vec(),
        None => vec![job.range],
    };
    let jobs = ranges.into_iter().map(|range| Job {
        range,
        attempt,
        ..job
    });
    Some(jobs.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::history::tokens;

    #[tokio::test]
    async fn a_poisoned_token_is_narrowed_down_and_everything_else_is_done() {
        const POISON: i64 = 12_345;
        let jobs = tokens::cut(&[], 4).into_iter().map(|range| Job {
            pass: 0,
            range,
            attempt: 0,
        });
        let mut stop = Stop::new().unwrap();
        let mut done = Vec::new();
        let work = |job: Job| async move {
            if job.range.after < POISON && POISON <= job.range.up_to {
                return Err(Failure::odd("poison".to_owned()));
            }
            Ok(job.range)
        };
        let failed = run(jobs.collect(), 3, &mut stop, work, |_, range| {
            done.push(range);
            Ok(())
        })
        .await
        .unwrap();
        let [failed] = failed.as_slice() else {
            unreachable!("{failed:?}")
        };
        assert!(failed.job.range.share() < 0.02, "{failed:?}");
        let left = tokens::subtract(&[TokenRange::ALL], &done);
        assert_eq!(left, [failed.job.range]);
    }
}
