//! In which order things leave that must not pass each other.
//!
//! ```text
//! table  blocks, one after the other: only the first is under way
//! block  a chain for each partition, side by side
//! chain  one after the other, but counter updates together
//! ```
//! What may be about any partition of its table shares no block with anything that it must not
//! pass. What waits is found again when what it waits for has left: a turn costs what it sends, and
//! not what waits.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::Table;
use crate::relay::link::Ticket;

/// Where something belongs, and what may pass it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its table.
    pub table: Table,
    /// Its partition there; none: it may be any of them, or several. Two partitions that share a
    /// number wait for each other.
    pub partition: Option<u64>,
    /// Those commute with each other, and with nothing else.
    pub is_counter: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    arrived_us: i64,
    sequence: u64,
    is_counter: bool,
    item: T,
}

/// What is about one partition, or about any.
#[derive(Debug)]
struct Chain<T> {
    waiting: VecDeque<Waiting<T>>,
    /// Those on their way.
    sent: usize,
    /// What is on its way are counter updates.
    sent_counters: bool,
    /// What follows was taken away while some were on their way.
    overtaken: bool,
}

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            sent: 0,
            sent_counters: false,
            overtaken: false,
        }
    }
}

impl<T> Chain<T> {
    /// Whether nothing is left.
    fn is_over(&self) -> bool {
        self.sent == 0 && self.waiting.is_empty()
    }

    /// Whether the next one may go, as far as its own chain is concerned.
    fn may_go(&self) -> bool {
        let together = |next: &Waiting<T>| next.is_counter && self.sent_counters;
        let next = self.waiting.front();
        next.is_some_and(|next| self.sent == 0 || together(next))
    }
}

/// Things that are under way side by side.
#[derive(Debug)]
struct Block<T> {
    chains: BTreeMap<Option<u64>, Chain<T>>,
    /// Those in them that are no counter updates, on their way or not.
    others: usize,
}

impl<T> Block<T> {
    fn new() -> Self {
        Self {
            chains: BTreeMap::new(),
            others: 0,
        }
    }

    /// Whether its chains are all that one more has to wait for.
    fn takes(&self, place: &Place) -> bool {
        let has_any = self.chains.contains_key(&None);
        let is_apart = match place.partition {
            Some(_) => !has_any,
            None => self.chains.len() == usize::from(has_any),
        };
        is_apart || (self.others == 0 && place.is_counter)
    }

    /// Its chains, in the order of what is next in them.
    fn in_order(&self) -> Vec<Option<u64>> {
        let next = |chain: &Chain<T>| chain.waiting.front().map(|next| next.sequence);
        let mut chains: Vec<_> = self.chains.iter().map(|(it, c)| (next(c), *it)).collect();
        chains.sort_unstable();
        chains.into_iter().map(|(_, chain)| chain).collect()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Queue<T> {
    /// In order, so that a simulation that runs again does the same.
    tables: BTreeMap<Table, VecDeque<Block<T>>>,
    /// Chains whose next one may go, each once.
    ready: VecDeque<(Table, Option<u64>)>,
    tickets: HashMap<Ticket, (Table, Option<u64>)>,
    /// Arrival (µs) and number of all that waits.
    arrivals: BTreeSet<(i64, u64)>,
    next_sequence: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            tables: BTreeMap::new(),
            ready: VecDeque::new(),
            tickets: HashMap::new(),
            arrivals: BTreeSet::new(),
            next_sequence: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Whether nothing waits and nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// How many are on their way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.tickets.len()
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.arrivals.len()
    }

    /// When the first of what waits arrived (µs).
    #[must_use]
    pub fn oldest_us(&self) -> Option<i64> {
        self.arrivals.first().map(|(arrived_us, _)| *arrived_us)
    }

    /// Puts something behind all that it must not pass.
    pub fn push(&mut self, place: Place, arrived_us: i64, item: T) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.arrivals.insert((arrived_us, sequence));
        let blocks = self.tables.entry(place.table.clone()).or_default();
        if !blocks.back().is_some_and(|last| last.takes(&place)) {
            blocks.push_back(Block::new());
        }
        let is_first = blocks.len() == 1;
        let Some(last) = blocks.back_mut() else {
            return;
        };
        last.others += usize::from(!place.is_counter);
        let chain = last.chains.entry(place.partition).or_default();
        let was_ready = chain.may_go();
        chain.waiting.push_back(Waiting {
            arrived_us,
            sequence,
            is_counter: place.is_counter,
            item,
        });
        if is_first && chain.may_go() && !was_ready {
            self.ready.push_back((place.table, place.partition));
        }
    }

    /// Sends one that may go, if there is one: `send` gives its name. Of chains that may, each has
    /// its turn.
    pub fn send_next(&mut self, send: impl FnOnce(T) -> Ticket) -> bool {
        let Some((table, partition)) = self.ready.pop_front() else {
            return false;
        };
        let block = self.tables.get_mut(&table).and_then(VecDeque::front_mut);
        let chain = block.and_then(|block| block.chains.get_mut(&partition));
        let Some((chain, next)) = chain.and_then(|chain| {
            let next = chain.waiting.pop_front()?;
            Some((chain, next))
        }) else {
            return false; // those that are ready have something
        };
        chain.sent += 1;
        chain.sent_counters = next.is_counter;
        self.arrivals.remove(&(next.arrived_us, next.sequence));
        if chain.may_go() {
            self.ready.push_back((table.clone(), partition));
        }
        self.tickets.insert(send(next.item), (table, partition));
        true
    }

    /// One that was sent is dealt with. None if it is not known, else whether some that had to wait
    /// for it were taken away before.
    pub fn left(&mut self, ticket: Ticket) -> Option<bool> {
        if self.tickets.is_empty() {
            return None; // the usual case: nothing is ordered
        }
        let (table, partition) = self.tickets.remove(&ticket)?;
        let blocks = self.tables.get_mut(&table)?;
        let block = blocks.front_mut()?;
        let chain = block.chains.get_mut(&partition)?;
        let overtaken = chain.overtaken;
        let was_ready = chain.may_go();
        chain.sent -= 1;
        block.others -= usize::from(!chain.sent_counters);
        if chain.may_go() && !was_ready {
            self.ready.push_back((table, partition));
        } else if chain.is_over() {
            block.chains.remove(&partition);
            if block.chains.is_empty() {
                blocks.pop_front();
                match blocks.front() {
                    None => drop(self.tables.remove(&table)),
                    Some(next) => {
                        let ready = next.in_order().into_iter();
                        self.ready.extend(ready.map(|chain| (table.clone(), chain)));
                    }
                }
            }
        }
        Some(overtaken)
    }

    /// Takes everything that waits, in the order of its arrival.
    pub fn take_waiting(&mut self) -> Vec<T> {
        let mut taken: Vec<Waiting<T>> = Vec::new();
        self.tables.retain(|_, blocks| {
            let others_follow = blocks.len() > 1;
            for block in blocks.iter_mut() {
                for chain in block.chains.values_mut() {
                    chain.overtaken |= others_follow || !chain.waiting.is_empty();
                    let others = chain.waiting.iter().filter(|one| !one.is_counter);
                    block.others -= others.count();
                    taken.extend(chain.waiting.drain(..));
                }
            }
            blocks.truncate(1);
            blocks.front_mut().is_some_and(|first| {
                first.chains.retain(|_, chain| chain.sent > 0);
                !first.chains.is_empty()
            })
        });
        self.ready.clear();
        self.arrivals.clear();
        taken.sort_by_key(|one| (one.arrived_us, one.sequence));
        taken.into_iter().map(|one| one.item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What happens to a queue.
    #[derive(Debug, Clone)]
    enum Step {
        Push(usize, Option<u64>, bool),
        Send(usize),
        Leave(usize),
        Take,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum State {
        Waits,
        Sent,
        Taken,
        Gone,
    }

    struct One {
        place: Place,
        arrived_us: i64,
        state: State,
        /// Something that had to wait for it was taken.
        overtaken: bool,
    }

    impl One {
        fn is_unfinished(&self) -> bool {
            matches!(self.state, State::Waits | State::Sent)
        }

        /// Whether the two must not be under way together.
        fn excludes(&self, other: &Self) -> bool {
            let (one, two) = (&self.place, &other.place);
            let apart = match (one.partition, two.partition) {
                (Some(one), Some(two)) => one != two,
                _ => false,
            };
            one.table == two.table && !apart && !(one.is_counter && two.is_counter)
        }
    }

    /// A queue and all that was ever put into it, in order: what is true is looked up there.
    #[derive(Default)]
    struct Checked {
        queue: Queue<usize>,
        all: Vec<One>,
        has_taken: bool,
    }

    impl Checked {
        fn push(&mut self, table: usize, partition: Option<u64>, is_counter: bool) {
            let place = Place {
                table: ("ks".into(), format!("t{table}").into()),
                partition,
                is_counter,
            };
            let number = self.all.len();
            // some arrive at their shard before others that come here first
            let arrived_us = i64::try_from(number ^ 1).unwrap();
            self.queue.push(place.clone(), arrived_us, number);
            self.all.push(One {
                place,
                arrived_us,
                state: State::Waits,
                overtaken: false,
            });
        }

        fn waited_for(&self, number: usize) -> impl Iterator<Item = &One> {
            let earlier = self.all[..number].iter();
            earlier.filter(move |one| one.is_unfinished() && one.excludes(&self.all[number]))
        }

        /// False if nothing may go.
        fn send(&mut self) -> bool {
            let mut sent = None;
            let more = self.queue.send_next(|number| {
                sent = Some(number);
                Ticket::try_from(number).unwrap()
            });
            assert_eq!(more, sent.is_some());
            let Some(number) = sent else {
                self.nothing_waits_in_vain();
                return false;
            };
            assert_eq!(self.all[number].state, State::Waits);
            assert_eq!(self.waited_for(number).count(), 0, "{number} passes others");
            self.all[number].state = State::Sent;
            true
        }

        /// Something of each table is on its way, and where all partitions are known, whatever
        /// waits has something to wait for.
        fn nothing_waits_in_vain(&self) {
            let all_known = self.all.iter().all(|one| one.place.partition.is_some());
            for (number, one) in self.all.iter().enumerate() {
                if one.state != State::Waits {
                    continue;
                }
                let of_table = |other: &&One| other.place.table == one.place.table;
                let mut others = self.all.iter().filter(of_table);
                assert!(others.any(|other| other.state == State::Sent), "{number}");
                let is_held = self.waited_for(number).next().is_some();
                assert!(is_held || !all_known, "{number} could go");
            }
        }

        fn leave(&mut self, which: usize) {
            let sent = |(number, one): (usize, &One)| (one.state == State::Sent).then_some(number);
            let sent: Vec<_> = self.all.iter().enumerate().filter_map(sent).collect();
            let Some(number) = sent.get(which % sent.len().max(1)).copied() else {
                return;
            };
            let ticket = Ticket::try_from(number).unwrap();
            let overtaken = self.queue.left(ticket).unwrap();
            assert!(overtaken || !self.all[number].overtaken, "{number}");
            assert!(!overtaken || self.has_taken, "{number}");
            assert_eq!(self.queue.left(ticket), None);
            self.all[number].state = State::Gone;
        }

        fn take(&mut self) {
            let taken = self.queue.take_waiting();
            let waits = |one: &One| one.state == State::Waits;
            let mut waiting: Vec<_> = (0..self.all.len()).collect();
            waiting.retain(|number| waits(&self.all[*number]));
            waiting.sort_by_key(|number| self.all[*number].arrived_us);
            assert_eq!(taken, waiting);
            for number in taken {
                self.all[number].state = State::Taken;
                let (earlier, later) = self.all.split_at_mut(number);
                let sent = earlier.iter_mut().filter(|one| one.state == State::Sent);
                for one in sent.filter(|one| one.excludes(&later[0])) {
                    one.overtaken = true;
                }
            }
            self.has_taken = true;
        }

        fn do_step(&mut self, step: &Step) {
            match *step {
                Step::Push(table, partition, is_counter) => {
                    self.push(table, partition, is_counter);
                }
                Step::Send(count) => {
                    let _ = (0..count).all(|_| self.send());
                }
                Step::Leave(which) => self.leave(which),
                Step::Take => self.take(),
            }
            let count = |state| self.all.iter().filter(|one| one.state == state).count();
            assert_eq!(self.queue.under_way(), count(State::Sent));
            let waiting = self.all.iter().filter(|one| one.state == State::Waits);
            let oldest_us = waiting.map(|one| one.arrived_us).min();
            assert_eq!(self.queue.oldest_us(), oldest_us);
            let is_empty = !self.all.iter().any(One::is_unfinished);
            assert_eq!(self.queue.is_empty(), is_empty);
        }

        /// Everything goes in the end.
        fn finish(&mut self) {
            while !self.queue.is_empty() {
                self.do_step(&Step::Send(usize::MAX));
                assert_ne!(self.queue.under_way(), 0, "it is stuck");
                self.do_step(&Step::Leave(7));
            }
        }
    }

    fn steps(known: u32, unknown: u32) -> impl Strategy<Value = Vec<Step>> {
        let partition = prop_oneof![known => (0..4u64).prop_map(Some), unknown => Just(None)];
        let push = (0..2usize, partition, any::<bool>());
        let step = prop_oneof![
            12 => push.prop_map(|(table, it, is_counter)| Step::Push(table, it, is_counter)),
            6 => (1..5usize).prop_map(Step::Send),
            8 => any::<usize>().prop_map(Step::Leave),
            1 => Just(Step::Take),
        ];
        prop::collection::vec(step, 0..120)
    }

    fn check(steps: &[Step]) {
        let mut checked = Checked::default();
        steps.iter().for_each(|step| checked.do_step(step));
        checked.finish();
    }

    proptest! {
        #[test]
        fn what_must_not_pass_never_does(steps in steps(4, 1)) {
            check(&steps);
        }

        #[test]
        fn nothing_waits_for_another_partition(steps in steps(1, 0)) {
            check(&steps);
        }
    }

    #[test]
    fn partitions_take_turns_and_a_long_one_holds_up_no_other() {
        let mut checked = Checked::default();
        for number in 0..1_000 {
            let partition = if number < 900 { 0 } else { number };
            checked.push(0, Some(partition), false);
        }
        let mut order = Vec::new();
        while checked.queue.send_next(|number| {
            order.push(number);
            Ticket::try_from(number).unwrap()
        }) {}
        let others = 900..1_000;
        assert!(order.into_iter().eq(std::iter::once(0).chain(others)));
    }
}
