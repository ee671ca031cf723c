#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::{Settings, Surroundings};

/// Nobody listens here: port 1 (tcpmux) of the loopback.
const NOBODY: &str = "127.0.0.1:1";

fn config(source: &str, target: &str, more: &str, dir: &Path) -> ProxyConfig {
    let toml = format!(
        "source = '{source}'\ntarget = '{target}'\ndata-dir = {dir:?}\nmetrics = false\n\
         cores = 1\nlisten = '127.0.0.1:0'\ndisable-source-tls = true\n\
         disable-target-tls = true\n{more}"
    );
    let settings: Settings = toml::from_str(&toml).unwrap();
    ProxyConfig::new(settings, &Surroundings::of_this_machine()).unwrap()
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn an_unreachable_target_only_warns() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, source) = listener();
    let warnings = run(&config(&source, NOBODY, "", dir.path())).unwrap();
    let about: Vec<_> = warnings
        .iter()
        .filter(|w| w.what.contains("target"))
        .collect();
    assert_eq!(about.len(), 1, "{warnings:?}");
    assert!(about[0].what.contains("writes go to the spill"));
    assert!(about[0].mend.contains("nc -vz 127.0.0.1 1"));
}

#[test]
fn an_unreachable_source_and_a_taken_port_are_both_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_holder, taken) = listener();
    let mut config = config(NOBODY, &taken, "", dir.path());
    config.listen = taken.parse().unwrap();
    let error = run(&config).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.findings.len(), 2, "{text}");
    assert!(
        text.contains(&format!("cannot listen for clients at {taken}")),
        "{text}"
    );
    assert!(text.contains("ss -ltnp 'sport = :"), "{text}");
    assert!(
        text.contains("without the source no client can be answered"),
        "{text}"
    );
}

#[test]
fn the_second_contact_point_will_do() {
    let (_listener, address) = listener();
    let points = [(NOBODY, "nobody"), (&address, "somebody")];
    let points = points.map(|(at, name)| (at.parse().unwrap(), name.to_owned()));
    assert_eq!(reachable("source", &points, None), Ok(()));
}

#[test]
fn a_bundle_that_is_none_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, source) = listener();
    let bundle = dir.path().join("bundle.zip");
    fs::write(&bundle, "unpacked").unwrap();
    let toml = format!(
        "source = '{source}'\ntarget-secure-connect-bundle = {bundle:?}\ndata-dir = {:?}\n\
         metrics = false\ncores = 1\nlisten = '127.0.0.1:0'\ndisable-source-tls = true\n\
         durability = 'none'",
        dir.path().join("data")
    );
    let settings: Settings = toml::from_str(&toml).unwrap();
    let config = ProxyConfig::new(settings, &Surroundings::of_this_machine()).unwrap();
    let error = run(&config).unwrap_err();
    assert_eq!(error.findings.len(), 1, "{error}");
    let Finding { what, mend } = &error.findings[0];
    assert!(what.contains("bundle.zip: is no zip file"), "{what}");
    assert!(mend.contains("do not unpack it"), "{mend}");
}

#[test]
fn an_address_of_another_machine_cannot_be_listened_at() {
    let found = port_free("clients", "192.0.2.1:29042".parse().unwrap()).unwrap_err();
    assert!(found.mend.contains("ip address"), "{found}");
}

#[test]
fn the_data_directory_is_made_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    assert_eq!(data_dir(&deep), Ok(None));
    assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0, "the probe is gone");
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o755)).unwrap();
    let warning = data_dir(&deep).unwrap().unwrap();
    assert!(warning.what.contains("mode 755"), "{warning}");
    assert!(warning.mend.contains("chmod 700"), "{warning}");
}

#[test]
fn a_file_in_the_way_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [&file, &file.join("below")] {
        let found = data_dir(path).unwrap_err();
        assert!(found.what.contains("cannot be made"), "{found}");
        assert!(found.mend.contains("install -d -m 700"), "{found}");
    }
}

#[test]
fn a_spill_larger_than_the_disk_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let found = disk(dir.path(), u64::MAX);
    assert!(
        found.iter().any(|f| f.mend.contains("--spill-max-bytes")),
        "{found:?}"
    );
}

#[test]
fn the_longest_and_last_mount_counts() {
    let mounts = "1 0 8:1 / / rw - ext4 /dev/sda rw\n\
                  2 1 0:5 / /run rw shared:1 - tmpfs tmpfs rw\n\
                  3 2 0:6 / /run/my\\040disk rw - xfs /dev/sdb rw\n\
                  4 2 0:7 / /run/my\\040disk rw - btrfs /dev/sdc rw\n";
    let kind = |path: &str| longest_mount(mounts, Path::new(path));
    assert_eq!(kind("/home/x").as_deref(), Some("ext4"));
    assert_eq!(kind("/runner").as_deref(), Some("ext4"));
    assert_eq!(kind("/run/x").as_deref(), Some("tmpfs"));
    assert_eq!(kind("/run/my disk/x").as_deref(), Some("btrfs"));
    assert!(file_system(Path::new("/")).is_some());
}

#[test]
fn more_connections_than_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("127.0.0.1:2", NOBODY, "", dir.path());
    config.clients.max_connections = usize::MAX / 4;
    assert!(open_files(&config).unwrap().mend.contains("LimitNOFILE="));
    config.clients.max_connections = 1;
    assert_eq!(open_files(&config), None);
}

#[test]
fn a_journal_that_would_go_with_the_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, source) = listener();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let journal = memory.path().join("not/made/yet");
    let more = format!("durability = 'machine'\njournal-dir = {journal:?}");
    let text = run(&config(&source, NOBODY, &more, dir.path()))
        .unwrap_err()
        .to_string();
    assert!(text.contains("is in memory (tmpfs)"), "{text}");
    assert!(
        text.contains("name a --journal-dir or --data-dir on a disk"),
        "{text}"
    );
    assert!(!journal.exists(), "a check changes nothing");
    let more = "durability = 'machine'";
    run(&config(&source, NOBODY, more, dir.path())).unwrap();
    assert!(!dir.path().join("journal").exists());
}

#[test]
fn a_journal_directory_that_others_may_look_into_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, source) = listener();
    let journal = dir.path().join("j");
    fs::create_dir(&journal).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o755)).unwrap();
    let more = format!("journal-dir = {journal:?}");
    let text = run(&config(&source, NOBODY, &more, &dir.path().join("data")))
        .unwrap_err()
        .to_string();
    assert!(text.contains("is not ours alone (mode 755"), "{text}");
    assert!(text.contains("chmod 700"), "{text}");
}
