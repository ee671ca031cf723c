//! The house rules as a test: which module may use which, what stays pure, how large files get.
//!
//! `cargo test --test tidy`. A rule that must bend is bent here, with the reason beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → modules of ours that it may name. The picture is in `src/lib.rs`.
const ARROWS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("side", &[]),
    ("sys", &[]),
    ("metrics", &["limits", "side"]),
    ("journal", &["spill", "limits", "side"]), // a journal's record is a spill record
    ("spill", &["limits", "side"]),
    ("config", &["limits", "side"]),
    (
        "cli",
        &[
            "limits", "side", "config", "node", "copy", "verify", "replay", "status", "demo",
            "inspect", "rejects",
        ],
    ),
    (
        "preflight",
        &[
            "limits", "side", "config", "metrics", "spill", "sys", "tls", "cloud",
        ],
    ),
    ("cloud", &["tls", "config", "limits"]),
    ("tls", &["config", "metrics", "limits", "side"]),
    ("statement", &["cql", "limits"]),
    ("topology", &["cql", "statement", "limits"]),
    ("tables", &["cql", "limits"]),
    (
        "watch",
        &["cloud", "tables", "cql", "config", "tls", "limits", "side"],
    ),
    (
        "relay",
        &[
            "cql",
            "statement",
            "journal",
            "spill",
            "tables",
            "topology",
            "limits",
            "side",
        ],
    ),
    (
        "shard",
        &[
            "relay",
            "cql",
            "statement",
            "journal",
            "spill",
            "tables",
            "topology",
            "metrics",
            "sys",
            "config",
            "tls",
            "limits",
            "side",
        ],
    ),
    (
        "proxy",
        &[
            "shard",
            "tls",
            "admin",
            "metrics",
            "config",
            "journal",
            "spill",
            "sys",
            "preflight",
            "tables",
            "watch",
            "limits",
            "side",
        ],
    ),
    ("inspect", &["journal", "spill", "limits", "side"]),
    ("rejects", &["replay", "spill"]),
    ("node", &["cql", "statement", "limits"]),
    (
        "offline",
        &["cloud", "config", "tls", "sys", "limits", "side"],
    ),
    ("history", &["offline", "limits", "side"]),
    ("copy", &["history", "offline", "limits", "side"]),
    (
        "verify",
        &["copy", "history", "offline", "spill", "limits", "side"],
    ),
    (
        "replay",
        &[
            "offline",
            "spill",
            "journal",
            "metrics",
            "config",
            "statement",
            "tables",
            "cql",
            "limits",
            "side",
        ],
    ),
    (
        "admin",
        &["spill", "journal", "metrics", "config", "limits", "side"],
    ),
    (
        "status",
        &[
            "spill", "journal", "metrics", "config", "admin", "limits", "side",
        ],
    ),
    (
        "demo",
        &["node", "metrics", "status", "sys", "limits", "side"],
    ),
];

/// No I/O, clock, runtime or lock in these; paths below `src/`.
const PURE: &[&str] = &[
    "cql",
    "statement",
    "topology",
    "tables",
    "relay",
    "journal",
    "tls/der.rs",
    "tls/jks.rs",
    "tls/records.rs",
    "tls/secure.rs",
    "spill/format.rs",
    "spill/record.rs",
];

const IMPURE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::io::",
    "std::thread",
    "tokio",
    "glommio",
    "async fn",
    "async move",
    ".await",
    "Instant::now",
    "SystemTime::now",
    "Mutex",
    "RwLock",
];

/// The shards' own modules: no locks, no sleeping.
const DATA_PLANE: &[&str] = &["relay", "shard", "journal", "spill/append.rs", "sys/ring"];

const MAX_FILE_LINES: usize = 700;
const MAX_MEDIAN_LINES: usize = 180;
const MAX_COLUMNS: usize = 100;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    files_ending(dir, "rs")
}

fn files_ending(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut stack = vec![dir.to_path_buf()];
    while let Some(next) = stack.pop() {
        for entry in fs::read_dir(&next).expect("a source folder is readable") {
            let path = entry.expect("a folder entry is readable").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|n| n != "target") {
                    stack.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("below the root")
        .to_string_lossy()
        .into_owned()
}

/// The code of a file without its test module, comments and doc comments.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file is UTF-8");
    let mut code = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let line = line.split("//").next().unwrap_or_default();
        code.push_str(line);
        code.push('\n');
    }
    code
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == "tests.rs"
        || name.ends_with("_tests.rs")
        || path.components().any(|c| c.as_os_str() == "tests")
}

fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).expect("below src");
    let first = relative
        .components()
        .next()
        .expect("a name")
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn names_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            return None;
        }
        let rest = &code[at + prefix.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        (end > 0).then(|| rest[..end].to_owned())
    })
}

/// `use crate::{a, b::c}` names modules too.
fn names_in_braces(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::{") {
        let mut depth = 0;
        let mut word = String::new();
        for c in code[at + "crate::".len()..].chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && (c.is_alphanumeric() || c == '_') {
                word.push(c);
            } else if !word.is_empty() {
                names.push(std::mem::take(&mut word));
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && c == ':' {
                // what follows the module's name up to the next comma is inside it
                word.clear();
            }
        }
    }
    names
}

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let modules: Vec<&str> = ARROWS
        .iter()
        .map(|(name, _)| *name)
        .chain(["cql"])
        .collect();
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let module = module_of(&path);
        if is_test_file(&path) || matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let code = code_of(&path);
        if module == "cql" {
            for word in ["twinring::", "twinring_loadgen"] {
                if code.contains(word) {
                    wrong.push(format!("{}: names {word}", relative(&path)));
                }
            }
            continue;
        }
        let Some(may) = allowed.get(module.as_str()) else {
            wrong.push(format!(
                "{}: module {module} has no row in ARROWS",
                relative(&path)
            ));
            continue;
        };
        let mut used: Vec<String> = names_after(&code, "crate::").collect();
        used.extend(names_in_braces(&code));
        if code.contains("twinring_cql") {
            used.push("cql".to_owned());
        }
        for name in used {
            let ours = modules.contains(&name.as_str());
            if ours && name != module && !may.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} -> {name}", relative(&path)));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that the house does not allow:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_gauge_does_not_share_the_proxys_code() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("loadgen/src")) {
        if names_after(&code_of(&path), "twinring::").next().is_some() {
            wrong.push(relative(&path));
        }
    }
    assert!(wrong.is_empty(), "loadgen may use cql alone: {wrong:?}");
}

#[test]
fn pure_modules_stay_pure() {
    let mut wrong = Vec::new();
    for place in PURE {
        let path = root().join("src").join(place);
        let files = if path.is_dir() {
            rust_files(&path)
        } else {
            vec![path]
        };
        for file in files.iter().filter(|f| f.exists() && !is_test_file(f)) {
            let code = code_of(file);
            for word in IMPURE.iter().filter(|w| code.contains(**w)) {
                wrong.push(format!("{}: {word}", relative(file)));
            }
        }
    }
    assert!(wrong.is_empty(), "not pure:\n{}", wrong.join("\n"));
}

#[test]
fn the_data_plane_takes_no_lock() {
    let mut wrong = Vec::new();
    for place in DATA_PLANE {
        let path = root().join("src").join(place);
        let files = if path.is_dir() {
            rust_files(&path)
        } else {
            vec![path]
        };
        for file in files.iter().filter(|f| f.exists() && !is_test_file(f)) {
            let code = code_of(file);
            for word in [
                "Mutex",
                "RwLock",
                "thread::sleep",
                "block_on",
                "fetch_add",
                "fetch_sub",
            ] {
                if code.contains(word) {
                    wrong.push(format!("{}: {word}", relative(file)));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the data plane never waits:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_lives_in_sys() {
    let mut wrong = Vec::new();
    for folder in ["src", "loadgen/src"] {
        for path in rust_files(&root().join(folder)) {
            let name = relative(&path);
            let code = code_of(&path);
            let has = names_after(&code, "unsafe ").next().is_some() || code.contains("unsafe {");
            if has && !name.starts_with("src/sys/") && !name.starts_with("loadgen/src/sys") {
                wrong.push(name);
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe outside sys: {wrong:?}");
}

#[test]
fn files_stay_small() {
    let mut sizes = Vec::new();
    let mut wrong = Vec::new();
    for folder in ["src", "loadgen/src"] {
        for path in rust_files(&root().join(folder)) {
            if is_test_file(&path) {
                continue;
            }
            let lines = code_of(&path).lines().count();
            if lines > MAX_FILE_LINES {
                wrong.push(format!("{}: {lines} lines", relative(&path)));
            }
            sizes.push(lines);
        }
    }
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2];
    assert!(
        wrong.is_empty(),
        "over {MAX_FILE_LINES} lines without tests:\n{}",
        wrong.join("\n")
    );
    assert!(
        median <= MAX_MEDIAN_LINES,
        "the median file has {median} lines"
    );
}

#[test]
fn lines_fit_the_page() {
    let mut wrong = Vec::new();
    let mut files = files_ending(&root().join("spark"), "scala");
    for folder in ["src", "loadgen/src", "tests", "benches"] {
        files.extend(rust_files(&root().join(folder)));
    }
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        for (number, line) in text.lines().enumerate() {
            // rows of a table cannot be broken
            let table = line.trim_start().starts_with("//! |");
            if !table && line.chars().count() > MAX_COLUMNS {
                wrong.push(format!("{}:{}", relative(&path), number + 1));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "over {MAX_COLUMNS} columns:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_readmes_links_lead_somewhere() {
    for file in [
        "README.md",
        "benches/README.md",
        "tests/README.md",
        "tuning/README.md",
        "spark/README.md",
    ] {
        let path = root().join(file);
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (at, _) in text.match_indices("](") {
            let rest = &text[at + 2..];
            let link = rest.split([')', '#']).next().unwrap_or_default();
            if link.is_empty() || link.starts_with("http") {
                continue;
            }
            let there = path.parent().expect("a folder").join(link);
            assert!(there.exists(), "{file}: {link} leads nowhere");
        }
    }
}
