//! The spill's disk is full while the target hangs: on a small memory file system (needs root).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use twinring::spill::dirty::Windows;

use crate::support::cassandra::run_dir;
use crate::support::lab::{self, Pair, is_direct};
use crate::support::ledger::{self, Ledger, Writers};
use crate::support::proxy::Proxy;

/// What the spill can take is used up long before this.
const FULL_LIMIT: Duration = Duration::from_secs(120);
const CATCH_UP: Duration = Duration::from_secs(60);

/// A memory file system; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(name: &str, mib: u32) -> Mount {
        clear_stale();
        let path = run_dir().join(format!("{name}-disk"));
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={mib}m,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "twinring-test"]);
        let done = mount.arg(&path).status().expect("mount can be run");
        assert!(done.success(), "a tmpfs can be mounted (as root)");
        Mount(path)
    }

    /// Takes what is free, and what becomes free for a while: a file that is replaced gives its
    /// page back, which may be all that the last records need.
    fn fill(&self, time: Duration) {
        let began = Instant::now();
        let mut filler = std::fs::File::create(self.0.join("filler")).unwrap();
        while began.elapsed() < time {
            while filler.write_all(&[0; 4096]).is_ok() {}
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a test process that was killed has left mounted goes.
fn clear_stale() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let runs = run_dir().parent().unwrap().to_owned();
    for line in mounts
        .lines()
        .filter(|line| line.starts_with("twinring-test "))
    {
        let Some(path) = line.split(' ').nth(1).map(PathBuf::from) else {
            continue;
        };
        // …/run/it-PID/NAME-disk
        let owner = path.parent().filter(|run| run.starts_with(&runs));
        let pid =
            owner.and_then(|run| run.file_name()?.to_str()?.strip_prefix("it-")?.parse().ok());
        let is_dead = pid.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists());
        if is_dead {
            let _ = Command::new("umount").arg("-l").arg(&path).status();
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn start(name: &str, disk: &Path, flags: &[&str]) -> (Pair, Proxy, Writers) {
    let (source, target) = (lab::source_41(), lab::durable_41());
    let pair = Pair::without_proxy(name, source, target);
    pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
    let ends = [source.address, target.address];
    let address = lab::proxy_address();
    let data_dir = disk.join("data");
    let proxy = Proxy::start_with(&pair.keyspace, &data_dir, address, ends, flags, &[]);
    let writers = Writers::start(proxy.listen, &pair.keyspace, 32, 60);
    std::thread::sleep(Duration::from_secs(1));
    (pair, proxy, writers)
}

fn wait_for_words(proxy: &Proxy, words: &str) {
    let began = Instant::now();
    while !proxy.words().contains(words) {
        assert!(began.elapsed() < FULL_LIMIT, "no {words:?} in the log");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn assert_no_errors(ledger: &Ledger) {
    let shown = &ledger.errors[..ledger.errors.len().min(5)];
    assert!(ledger.errors.is_empty(), "{shown:#?}");
    assert!(ledger.acknowledged > 1_000, "{}", ledger.acknowledged);
}

/// Who writes waits, who reads does not, and in the end nothing is missing.
fn holds_writers(name: &str, mib: u32, reserve: &str, why: &str) {
    let _turn = lab::alone();
    if is_direct() {
        return; // nothing is spilled without a proxy
    }
    let disk = Mount::new(name, mib);
    let flags = ["--spill-reserve-bytes", reserve];
    let (pair, proxy, writers) = start(name, &disk.0, &flags);
    let outage = pair.target.pause();
    wait_for_words(&proxy, why);
    let mut reader = crate::support::cql::Cql::connect(proxy.listen).unwrap();
    let began = Instant::now();
    for _ in 0..20 {
        reader.query("SELECT key FROM system.local").unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let read_for = began.elapsed();
    outage.end();
    wait_for_words(&proxy, "backpressure ends");
    std::thread::sleep(Duration::from_secs(1));
    let ledger = writers.finish();
    assert_no_errors(&ledger);
    assert!(
        read_for < Duration::from_secs(10),
        "reads took {read_for:?}"
    );
    let report = pair.compare(&[], CATCH_UP);
    let (count, slowest) = (ledger.acknowledged, ledger.slowest);
    eprintln!("{name}: {count} writes, slowest {slowest:?}; {report}");
    assert!(report.is_equal() && report.cells > 0, "{report}");
    for node in [pair.source, pair.target] {
        let wrong = ledger.check(node, &pair.keyspace);
        assert_eq!(wrong, (0, vec![]), "at {}", node.address);
    }
    assert!(Windows::load(&proxy.data_dir).unwrap().is_empty());
    let (status, words) = proxy.terminate(CATCH_UP);
    assert!(status.success(), "{words}");
}

/// A stop does not wait for room. What the spill has no room for is in the journal, and the next
/// start settles it.
#[test]
fn a_stop_with_a_full_disk_ends_in_time_and_loses_nothing() {
    let _turn = lab::alone();
    if is_direct() {
        return; // nothing is spilled without a proxy
    }
    let disk = Mount::new("enospc_stop", 6);
    let flags = ["--spill-reserve-bytes", "0", "--drain-timeout", "2s"];
    let (source, target) = (lab::source_41(), lab::durable_41());
    let pair = Pair::without_proxy("enospc_stop", source, target);
    pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
    let (ends, address) = ([source.address, target.address], lab::proxy_address());
    let data_dir = disk.0.join("data");
    let start = |life: &str| {
        let name = format!("{}-{life}", pair.keyspace);
        Proxy::start_with(&name, &data_dir, address, ends, &flags, &[])
    };
    let proxy = start("1");
    let writers = Writers::start_stubborn(proxy.listen, &pair.keyspace, 32, 60);
    std::thread::sleep(Duration::from_secs(1));
    let outage = target.pause();
    wait_for_words(&proxy, "the spill cannot be written");
    disk.fill(Duration::from_millis(2_500)); // each shard tries every second
    let (status, words) = proxy.terminate(CATCH_UP);
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(words.contains("they are in the journal"), "{words}");
    assert!(data_dir.join("running").exists(), "it did not end in order");
    // the operator makes room
    let mut more = Command::new("mount");
    more.args(["-o", "remount,size=64m"]).arg(&disk.0);
    assert!(more.status().unwrap().success());
    outage.end();
    let proxy = start("2");
    std::thread::sleep(Duration::from_secs(2));
    let ledger = writers.finish();
    let report = pair.compare(&[], CATCH_UP);
    eprintln!("enospc_stop: {} writes; {report}", ledger.acknowledged);
    assert!(report.is_equal() && report.cells > 0, "{report}");
    for node in [source, target] {
        let wrong = ledger.check(node, &pair.keyspace);
        assert_eq!(wrong, (0, vec![]), "at {}", node.address);
    }
    assert!(Windows::load(&data_dir).unwrap().is_empty());
    let (status, words) = proxy.terminate(CATCH_UP);
    assert!(status.success(), "{words}");
}

#[test]
fn a_disk_that_is_really_full_holds_writers_and_loses_nothing() {
    holds_writers("enospc", 6, "0", "the spill cannot be written");
}

#[test]
fn a_disk_with_its_reserve_left_holds_writers_and_loses_nothing() {
    let why = "no more than --spill-reserve-bytes left";
    holds_writers("reserve", 24, "18MiB", why);
}

/// What is dropped is counted, its window is on the disk, and nothing else is missing.
#[test]
fn dropped_writes_are_counted_and_their_windows_known() {
    let _turn = lab::alone();
    if is_direct() {
        return; // nothing is spilled without a proxy
    }
    let disk = Mount::new("drop", 24);
    let policy = ["--on-spill-full", "drop-and-mark"];
    let flags = [&policy[..], &["--spill-reserve-bytes", "18MiB"]].concat();
    let (pair, proxy, writers) = start("drop", &disk.0, &flags);
    let outage = pair.target.pause();
    wait_for_words(&proxy, "a write was dropped");
    let during = Windows::load(&proxy.data_dir).unwrap();
    assert!(during.iter().any(|window| window.to_us == u64::MAX));
    std::thread::sleep(Duration::from_secs(2));
    outage.end();
    wait_for_words(&proxy, "backpressure ends");
    let ledger = writers.finish();
    assert_no_errors(&ledger);
    // until all that was not dropped is there
    let began = Instant::now();
    while !proxy.get("/status").1.contains("\"backlog_records\":0,") {
        assert!(began.elapsed() < CATCH_UP, "the backlog does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = proxy.get("/status").1;
    assert!(status.contains("writes are missing in"), "{status}");
    assert_eq!(ledger.check(pair.source, &pair.keyspace), (0, vec![]));
    let (missing, _) = ledger.check(pair.target, &pair.keyspace);
    let data_dir = proxy.data_dir.clone();
    let (ended, words) = proxy.terminate(CATCH_UP);
    assert!(ended.success(), "{words}");
    let windows = Windows::load(&data_dir).unwrap();
    eprintln!("{missing} keys are missing or differ;\n{windows}");
    let dropped: u64 = windows.iter().map(|window| window.count).sum();
    assert!(
        missing > 0 && missing as u64 <= dropped,
        "{missing} of {dropped}"
    );
    for window in windows.iter() {
        let table = (window.keyspace.as_deref(), window.table.as_deref());
        assert_eq!(table, (Some(&*pair.keyspace), Some("ledger")));
    }
}
