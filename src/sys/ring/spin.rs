//! Whether a wait looks for completions before it goes to sleep.
//!
//! Going to sleep and being woken takes time from both: the processor's, and from whoever waits for
//! an answer. What looking costs instead is the wait itself, and how long that is depends on
//! looking: a peer that need not be woken answers sooner. So neither can be told from the other,
//! and [`Spin::Thrifty`] measures: waits come in blocks, a block either looks or sleeps, and what
//! counts is the thread's processor time for each piece of work done meanwhile. Now and then a
//! block is spent the other way; if it was cheaper, that is the way from then on.

use std::time::Duration;

/// How long [`Spin::Thrifty`] looks: what two sleeps of a virtual machine cost, so a wait that is
/// longer does not cost more than three.
pub const THRIFTY: Duration = Duration::from_micros(50);
/// Waits of a block: enough that one of them that was interrupted decides nothing.
const BLOCK: u32 = 64;
/// Blocks between two trials, and the most of them: the pause doubles while nothing changes.
const PAUSE: u32 = 4;
const PAUSE_MAX: u32 = 512;
/// Who looks answers sooner, which is worth a little: what looking may cost of the price of
/// sleeping to take its place, and the other way round.
const TAKE_UP: f64 = 1.05;
const GIVE_UP: f64 = 0.9;
/// Of the price of looking so far: a block that costs more has a trial follow.
const DEARER: f64 = 1.5;

/// Whether waits look for completions, without sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spin {
    /// They sleep at once.
    Never,
    /// For up to [`THRIFTY`], where that takes no more processor time.
    Thrifty,
    /// For up to so long.
    Always(Duration),
}

/// What is known of waits and their price; see the module.
#[derive(Debug, Clone)]
pub(super) struct Spinning {
    policy: Spin,
    /// This block looks.
    looks: bool,
    /// It is spent the other way for once.
    trial: bool,
    /// Waits that are left of it.
    left: u32,
    /// The thread's processor time at its start; `None`: it is not known yet.
    began: Option<Duration>,
    /// What was done in it.
    work: u64,
    /// Nanoseconds per piece of work in the usual way, of late.
    price: Option<f64>,
    /// Blocks until the next trial, and between the trials after it.
    until_trial: u32,
    pause: u32,
}

impl Spinning {
    pub(super) fn new(policy: Spin) -> Spinning {
        Spinning {
            policy,
            looks: false,
            trial: false,
            left: BLOCK,
            began: None,
            work: 0,
            price: None,
            until_trial: PAUSE,
            pause: PAUSE,
        }
    }

    /// So much was done since the last wait.
    pub(super) fn worked(&mut self, pieces: u64) {
        self.work += pieces;
    }

    /// A wait begins: how long it is to look. `clock` is the thread's processor time.
    pub(super) fn begin(&mut self, clock: impl FnOnce() -> Duration) -> Option<Duration> {
        match self.policy {
            Spin::Never => return None,
            Spin::Always(window) => return Some(window),
            Spin::Thrifty => {}
        }
        self.left -= 1;
        if self.left == 0 {
            self.end_block(clock());
        }
        self.looks.then_some(THRIFTY)
    }

    fn end_block(&mut self, now: Duration) {
        self.left = BLOCK;
        let work = std::mem::take(&mut self.work);
        let Some(began) = self.began.replace(now) else {
            return;
        };
        if work == 0 {
            // nothing to save, and nobody who waits
            (self.looks, self.trial) = (false, false);
            self.until_trial = self.pause;
            return;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a price needs no more than 52 bits"
        )]
        let price = now.saturating_sub(began).as_nanos() as f64 / work as f64;
        if self.trial {
            self.judge(price);
        } else {
            self.compare(price);
        }
    }

    /// A trial is over.
    fn judge(&mut self, price: f64) {
        self.trial = false;
        let enough = if self.looks { TAKE_UP } else { GIVE_UP };
        if self.price.is_some_and(|usual| price < usual * enough) {
            self.price = Some(price);
            self.pause = PAUSE;
        } else {
            self.looks = !self.looks;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        self.until_trial = self.pause;
    }

    /// A block in the usual way is over.
    fn compare(&mut self, price: f64) {
        let usual = *self.price.get_or_insert(price);
        if self.looks && price > usual * DEARER {
            // the load is another one
            self.price = Some(price);
            self.pause = PAUSE;
            self.until_trial = 1;
        } else {
            self.price = Some(usual + (price - usual) / 4.0);
        }
        self.until_trial -= 1;
        if self.until_trial == 0 {
            self.trial = true;
            self.looks = !self.looks;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread whose waits have a price.
    struct Thread {
        spinning: Spinning,
        clock: Duration,
        looked: u32,
    }

    impl Thread {
        fn new(policy: Spin) -> Thread {
            Thread {
                spinning: Spinning::new(policy),
                clock: Duration::ZERO,
                looked: 0,
            }
        }

        /// So many waits with a piece of work each; how many of them looked.
        fn wait(&mut self, waits: u32, looking_us: u64, sleeping_us: u64) -> u32 {
            let before = self.looked;
            for _ in 0..waits {
                let looks = self.spinning.begin(|| self.clock).is_some();
                self.looked += u32::from(looks);
                self.clock += Duration::from_micros(if looks { looking_us } else { sleeping_us });
                self.spinning.worked(1);
            }
            self.looked - before
        }
    }

    #[test]
    fn the_cheaper_way_is_found_and_kept() {
        let mut thread = Thread::new(Spin::Thrifty);
        thread.wait(BLOCK * 10, 23, 27);
        assert!(thread.wait(100_000, 23, 27) > 98_000);
        let mut thread = Thread::new(Spin::Thrifty);
        thread.wait(BLOCK * 10, 50, 20);
        let looked = thread.wait(1_000_000, 50, 20);
        assert!(looked < 4_000, "{looked}");
        assert!(looked > BLOCK, "it is tried again");
    }

    #[test]
    fn another_load_is_noticed() {
        let mut thread = Thread::new(Spin::Thrifty);
        thread.wait(1_000_000, 23, 27);
        assert_eq!(thread.wait(BLOCK, 23, 27), BLOCK);
        thread.wait(BLOCK * 12, 70, 27);
        let looked = thread.wait(100_000, 70, 27);
        assert!(looked < 2_000, "{looked}");
        thread.wait(2_000_000, 70, 27);
        // what becomes cheaper is found when it is tried next
        thread.wait(BLOCK * (PAUSE_MAX + 2), 20, 27);
        assert!(thread.wait(100_000, 20, 27) > 98_000);
    }

    #[test]
    fn who_has_nothing_to_do_sleeps() {
        let mut thread = Thread::new(Spin::Thrifty);
        thread.wait(100_000, 23, 27);
        let mut looked = 0;
        for _ in 0..100_000 {
            let looks = thread.spinning.begin(|| thread.clock).is_some();
            looked += u32::from(looks);
            thread.clock += Duration::from_micros(5);
        }
        assert!(looked <= 2 * BLOCK, "{looked}");
    }

    #[test]
    fn never_and_always_are_taken_by_their_word() {
        assert_eq!(Thread::new(Spin::Never).wait(1_000, 1, 100), 0);
        let always = Spin::Always(Duration::from_micros(7));
        assert_eq!(Thread::new(always).wait(1_000, 100, 1), 1_000);
        let window = Spinning::new(always).begin(|| Duration::ZERO);
        assert_eq!(window, Some(Duration::from_micros(7)));
    }
}
