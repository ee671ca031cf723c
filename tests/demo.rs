//! `twinring demo` as a person runs it: the verdict, and that nothing stays behind.
//!
//! `cargo test --test demo`. Needs nothing but the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn demo(args: &[&str], temporary: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command
        .arg("demo")
        .args(args)
        .env("TMPDIR", temporary)
        .env("TWINRING_PROXY_PORT", "1") // meant for another proxy
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// Nobody works for a demo that used this directory any more, and the directory is empty.
fn nothing_is_left(temporary: &Path) {
    let name = temporary.to_str().unwrap();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(!line.contains(name), "left running: {line}");
    }
    let files: Vec<_> = std::fs::read_dir(temporary).unwrap().flatten().collect();
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn an_outage_costs_no_client_an_error_and_no_cluster_a_write() {
    let temporary = tempfile::tempdir().unwrap();
    let args = ["--rate", "400", "--outage", "2", "--rounds", "1"];
    let output = demo(&args, temporary.path()).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(
        said.contains("0 client errors, 0 missing, 0 differing cells"),
        "{said}"
    );
    assert!(said.contains("gone") && said.contains("p99"), "{said}");
    nothing_is_left(temporary.path());
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(&[], temporary.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The proxy is there and the load runs.
    assert!(lines.any(|line| line.unwrap().contains("acknowledged")));
    let id = child.id().to_string();
    let asked = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(asked.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("interrupted"), "{errors}");
    nothing_is_left(temporary.path());
}
