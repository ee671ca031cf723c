//! Noise at the port: random bytes, damaged messages, broken frames, connections that are cut, half
//! closed or left open. The proxy lives, keeps its size, and other clients see nothing of it.
//!
//! `TWINRING_NOISE_SECONDS=600` makes a long run of it; `--nocapture` shows its size on the way.

use std::time::{Duration, Instant};

use crate::support::lab::{self, Pair};
use crate::support::ledger::{self, Writers};
use crate::support::noise::{self, Noise};
use crate::support::proxy::Proxy;

const USUAL: Duration = Duration::from_secs(20);
const TALKERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(2);
/// What a process may take, without its code and beside its connections.
const MEMORY_KIB: u64 = 64 << 10;
/// For each connection, of which a talker has a few that end and some that it leaves open.
const CONNECTION_KIB: u64 = 16;
/// How much the second half of a long run may add.
const GROWTH_KIB: u64 = 2 << 10;
/// A run of this length has a second half in which nothing is new any more.
const LONG: Duration = Duration::from_secs(300);
/// Until nothing is left of the noise: the source is asked about writes without an answer, and
/// conditional ones of unknown tables wait for 30 s.
const CALM_LIMIT: Duration = Duration::from_secs(90);

fn duration() -> Duration {
    let seconds = std::env::var("TWINRING_NOISE_SECONDS");
    seconds.map_or(USUAL, |s| Duration::from_secs(s.parse().unwrap()))
}

/// The largest sizes of memory of the first, middle and last part, and of descriptors.
fn watch(proxy: &Proxy, length: Duration) -> Vec<u64> {
    let began = Instant::now();
    let mut sizes = Vec::new();
    while began.elapsed() < length {
        std::thread::sleep(Duration::from_secs(1));
        let (kib, descriptors) = (proxy.own_kib(), proxy.descriptors());
        sizes.push(kib);
        if sizes.len() % 10 == 0 {
            eprintln!(
                "noise: {} s, {kib} KiB, {} KiB with its code, {descriptors} descriptors, journal \
                 {} KiB",
                sizes.len(),
                proxy.rss_kib(),
                proxy.gauge("twinring_journal_bytes") / 1024,
            );
        }
    }
    sizes
}

#[test]
fn noise_at_the_port_hurts_nobody() {
    let _turn = lab::alone();
    let mut pair = Pair::new("noise", lab::source_41(), lab::target_50());
    pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
    pair.run_at_both(
        "CREATE KEYSPACE IF NOT EXISTS gold WITH replication = \
         {'class': 'SimpleStrategy', 'replication_factor': 1}",
    );
    let contact = pair.contact();
    let _ = noise::say_it_once(contact);
    let Some(proxy) = pair.proxy.as_mut() else {
        return;
    };
    let (length, began) = (duration(), Instant::now());
    let descriptors_before = proxy.descriptors();
    let writers = Writers::start(contact, &pair.keyspace, 4, 50);
    let talkers: Vec<_> = (0..TALKERS)
        .map(|n| {
            std::thread::spawn(move || {
                let mut noise = Noise::new(0x5eed_0001 + n * 7_919);
                let mut rounds = 0;
                while began.elapsed() < length {
                    let _ = noise.talk(contact, rounds);
                    rounds += 1;
                    std::thread::sleep(PAUSE);
                }
                rounds
            })
        })
        .collect();
    let sizes = watch(proxy, length);
    let rounds: usize = talkers.into_iter().map(|one| one.join().unwrap()).sum();
    let ledger = writers.finish();
    let at = |part: usize| sizes[(sizes.len() - 1) * part / 4];
    eprintln!(
        "noise: {rounds} conversations, {} writes beside them, the slowest {:?}; KiB at the \
         quarters {} {} {} {} {}",
        ledger.acknowledged,
        ledger.slowest,
        at(0),
        at(1),
        at(2),
        at(3),
        at(4)
    );
    assert!(proxy.is_running(), "{}", proxy.words());
    assert!(!proxy.words().contains("panicked"), "{}", proxy.words());
    assert!(rounds > 1_000, "only {rounds} conversations");
    assert!(ledger.errors.is_empty(), "{:?}", ledger.errors);
    assert!(ledger.acknowledged > 1_000, "{}", ledger.acknowledged);
    let limit_kib = MEMORY_KIB + CONNECTION_KIB * TALKERS * 32;
    let largest_kib = sizes.iter().max().copied().unwrap_or_default();
    assert!(largest_kib <= limit_kib, "{largest_kib} KiB");
    if length >= LONG {
        let (half, end) = sizes.split_at(sizes.len() / 2);
        let (half, end) = (half.iter().max().unwrap(), end.iter().max().unwrap());
        assert!(*end <= half + GROWTH_KIB, "{half} KiB, then {end} KiB");
    }
    become_calm(proxy, descriptors_before);
    pair.assert_equal(&[]);
    assert_eq!(ledger.check(pair.target, &pair.keyspace), (0, Vec::new()));
}

/// Waits until the proxy has nothing left of what came and went.
fn become_calm(proxy: &Proxy, descriptors_before: usize) {
    let began = Instant::now();
    loop {
        let left = [
            ("clients", proxy.gauge("twinring_connections{client}")),
            ("journal", proxy.gauge("twinring_journal_records")),
            ("pending", proxy.gauge("twinring_pending_writes")),
        ];
        let descriptors = proxy.descriptors();
        // its own link to the source is opened when it is first needed, one for each shard
        let calm = left.iter().all(|(_, n)| *n == 0) && descriptors <= descriptors_before + 4;
        if calm {
            return;
        }
        assert!(
            began.elapsed() < CALM_LIMIT,
            "{left:?}, {descriptors} descriptors, {descriptors_before} before"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}
