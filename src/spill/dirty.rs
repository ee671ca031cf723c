//! Windows of time in which writes may be missing at the target: the part of the dirty set for
//! which no write was kept. `verify` looks there first, and no cut-over is safe until then.
//!
//! One small file, [`FILE_NAME`] in the data directory, replaced as a whole. A line per window:
//! ```text
//! from_us to_us keyspace table reason count
//! 1764080400000000 1764080412000000 shop orders spill-full 5512
//! 1764080400000000 open * * spill-full 0
//! ```
//! Times are arrivals at the proxy in µs since 1970, both inclusive. `open`: it has not ended yet,
//! or the process died in it; the next start closes it. `*` stands for every keyspace or table.
//! Bytes of names that are no letters, digits or `_` are written as `%` and two hex digits, an
//! empty name as `-`. Count: writes that are missing, 0 when not known. Lines that begin with `#`
//! are for people.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::dir::{DirError, io_error, open_file, replace_file};

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "dirty-windows";
/// End of a window that has not ended (µs).
pub const OPEN: u64 = u64::MAX;
/// More windows than this are put together, the nearest ones first.
pub const WINDOWS_MAX: usize = 1024;
/// Two windows of one table and reason with less than this between them become one (µs).
const NEAR_US: u64 = 1_000_000;
/// A longer file is not ours.
const FILE_MAX_BYTES: u64 = 16 << 20;
const HEAD: &str = "# Writes that arrived in these windows may be missing at the target.\n\
                    # from_us to_us keyspace table reason count\n";

/// Why writes may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The spill was full, and the operator chose `--on-spill-full drop-and-mark`.
    SpillFull,
    /// The machine or its journal's memory was lost with writes in flight.
    MachineCrash,
}

impl Reason {
    const ALL: [Reason; 2] = [Reason::SpillFull, Reason::MachineCrash];

    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Reason::SpillFull => "spill-full",
            Reason::MachineCrash => "machine-crash",
        }
    }
}

/// A window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Arrival of the first write that may be missing, µs since 1970.
    pub from_us: u64,
    /// Arrival of the last one, inclusive; [`OPEN`] if the window has not ended.
    pub to_us: u64,
    /// The keyspace; `None`: any.
    pub keyspace: Option<String>,
    /// The table; `None`: any.
    pub table: Option<String>,
    /// Why.
    pub reason: Reason,
    /// How many writes are missing, 0 when not known.
    pub count: u64,
}

impl Window {
    /// A window over everything.
    pub fn of_all(from_us: u64, to_us: u64, reason: Reason) -> Window {
        Window {
            from_us,
            to_us,
            keyspace: None,
            table: None,
            reason,
            count: 0,
        }
    }

    fn is_alike(&self, other: &Window) -> bool {
        self.reason == other.reason
            && self.keyspace == other.keyspace
            && self.table == other.table
            && (self.to_us == OPEN) == (other.to_us == OPEN)
    }

    /// Time between two windows (µs); 0 if they touch.
    fn gap_us(&self, other: &Window) -> u64 {
        let later = self.from_us.max(other.from_us);
        later.saturating_sub(self.to_us.min(other.to_us))
    }

    fn widen(&mut self, other: &Window) {
        self.from_us = self.from_us.min(other.from_us);
        self.to_us = self.to_us.max(other.to_us);
        self.count = match (self.count, other.count) {
            (0, _) | (_, 0) => 0, // one of them is not known
            (a, b) => a.saturating_add(b),
        };
    }

    fn parse(line: &str) -> Option<Window> {
        let mut words = line.split_ascii_whitespace();
        let from_us = words.next()?.parse().ok()?;
        let to_us = match words.next()? {
            "open" => OPEN,
            digits => digits.parse().ok()?,
        };
        let keyspace = name_of(words.next()?)?;
        let table = name_of(words.next()?)?;
        let word = words.next()?;
        let reason = Reason::ALL.into_iter().find(|r| r.word() == word)?;
        let count = words.next()?.parse().ok()?;
        let complete = words.next().is_none() && from_us <= to_us;
        complete.then_some(Window {
            from_us,
            to_us,
            keyspace,
            table,
            reason,
            count,
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.from_us)?;
        match self.to_us {
            OPEN => f.write_str("open")?,
            to_us => write!(f, "{to_us}")?,
        }
        let (keyspace, table) = (word_of(&self.keyspace), word_of(&self.table));
        let (reason, count) = (self.reason.word(), self.count);
        write!(f, " {keyspace} {table} {reason} {count}")
    }
}

fn word_of(name: &Option<String>) -> String {
    let Some(name) = name else {
        return "*".to_owned();
    };
    if name.is_empty() {
        return "-".to_owned();
    }
    let mut word = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            word.push(char::from(byte));
        } else {
            word.push_str(&format!("%{byte:02X}"));
        }
    }
    word
}

/// `None` if the word is no name; `Some(None)` for any name.
fn name_of(word: &str) -> Option<Option<String>> {
    match word {
        "*" => return Some(None),
        "-" => return Some(Some(String::new())),
        _ => {}
    }
    let mut name = Vec::with_capacity(word.len());
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        name.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(name).ok().map(Some)
}

/// Why the windows are not known.
#[derive(Debug, thiserror::Error)]
pub enum DirtyError {
    /// The file system says no.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// A line that this program does not understand.
    #[error(
        "{path}, line {line}: not a window; mend the line, or use the version of twinring that \
         wrote it"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
    },
}

/// All windows of a data directory. One owner at a time: who holds the directory's lock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows {
    list: Vec<Window>,
}

impl Windows {
    /// Reads the file of a data directory; none is no window.
    ///
    /// # Errors
    /// It cannot be read or understood: then nobody knows what is missing.
    pub fn load(data_dir: &Path) -> Result<Windows, DirtyError> {
        let path = data_dir.join(FILE_NAME);
        let mut text = String::new();
        match open_file(&path) {
            Err(DirError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Windows::default());
            }
            file => file?
                .take(FILE_MAX_BYTES)
                .read_to_string(&mut text)
                .map_err(io_error("read", &path))?,
        };
        Windows::parse(&text).map_err(|line| DirtyError::Line { path, line })
    }

    /// Replaces the file of a data directory.
    ///
    /// # Errors
    /// It cannot be written; the old one is still there.
    pub fn store(&self, data_dir: &Path) -> Result<(), DirError> {
        replace_file(&data_dir.join(FILE_NAME), self.to_string().as_bytes())
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// The number of the first line that is no window, from 1.
    pub fn parse(text: &str) -> Result<Windows, usize> {
        let mut list = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                list.push(Window::parse(line).ok_or(index + 1)?);
            }
        }
        Ok(Windows { list })
    }

    /// Adds a window; one of the same table and reason close to it is widened instead.
    pub fn add(&mut self, window: Window) {
        let near = |known: &&mut Window| known.is_alike(&window) && known.gap_us(&window) < NEAR_US;
        match self.list.iter_mut().find(near) {
            Some(known) => known.widen(&window),
            None => self.list.push(window),
        }
        while self.list.len() > WINDOWS_MAX && self.join_nearest() {}
    }

    /// Takes the open windows over everything away: their exact parts are known now.
    pub fn take_open(&mut self, reason: Reason) {
        self.list
            .retain(|window| window.to_us != OPEN || window.reason != reason);
    }

    /// Ends every open window at `now_us`: the process that was in it is gone.
    pub fn close_open(&mut self, now_us: u64) {
        for window in &mut self.list {
            if window.to_us == OPEN {
                window.to_us = now_us.max(window.from_us);
            }
        }
    }

    /// Puts the two closest windows of one reason together. False if there are no two.
    fn join_nearest(&mut self) -> bool {
        self.list.sort_by_key(|window| window.from_us);
        let pairs = self.list.iter().zip(self.list.iter().skip(1)).enumerate();
        let nearest = pairs
            .filter(|(_, (a, b))| a.reason == b.reason)
            .min_by_key(|(_, (a, b))| (!a.is_alike(b), a.gap_us(b)))
            .map(|(index, _)| index);
        let Some(index) = nearest else {
            return false;
        };
        let joined = self.list.remove(index + 1);
        if let Some(window) = self.list.get_mut(index) {
            if window.table != joined.table || window.keyspace != joined.keyspace {
                window.table = None;
            }
            if window.keyspace != joined.keyspace {
                window.keyspace = None;
            }
            window.widen(&joined);
        }
        true
    }

    /// The windows, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        self.list
            .iter()
            .try_for_each(|window| writeln!(f, "{window}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn window(from_us: u64, to_us: u64, table: &str, count: u64) -> Window {
        Window {
            keyspace: Some("shop".to_owned()),
            table: Some(table.to_owned()),
            count,
            ..Window::of_all(from_us, to_us, Reason::SpillFull)
        }
    }

    #[test]
    fn the_file_goes_there_and_back() {
        let temp = tempfile::tempdir().unwrap();
        assert!(Windows::load(temp.path()).unwrap().is_empty());
        let mut windows = Windows::default();
        windows.add(window(5, 9, "Odd name%*", 3));
        windows.add(window(5, 9, "", 0));
        windows.add(Window::of_all(7, OPEN, Reason::MachineCrash));
        windows.store(temp.path()).unwrap();
        assert_eq!(Windows::load(temp.path()).unwrap(), windows);
    }

    #[test]
    fn a_line_that_is_no_window_is_named() {
        for bad in [
            "1 2 a b spill-full",
            "2 1 a b spill-full 0",
            "1 2 a b elsewhere 0",
            "1 2 a b spill-full 0 0",
            "1 2 a%2 b spill-full 0",
            "1 2 a%FF b spill-full 0",
        ] {
            let text = format!("{HEAD}1 2 a b spill-full 0\n\n{bad}\n");
            assert_eq!(Windows::parse(&text), Err(5), "{bad}");
        }
    }

    #[test]
    fn near_windows_of_one_table_become_one() {
        let mut windows = Windows::default();
        windows.add(window(10, 20, "a", 2));
        windows.add(window(15, 30, "a", 3));
        windows.add(window(40, 40, "b", 1));
        windows.add(window(9_000_000, 9_000_001, "a", 1));
        let found: Vec<_> = windows
            .iter()
            .map(|w| (w.from_us, w.to_us, w.count))
            .collect();
        assert_eq!(found, [(10, 30, 5), (40, 40, 1), (9_000_000, 9_000_001, 1)]);
    }

    #[test]
    fn an_open_window_ends_or_goes() {
        let mut windows = Windows::default();
        windows.add(Window::of_all(7, OPEN, Reason::SpillFull));
        windows.add(window(8, 9, "a", 1));
        let mut after_crash = windows.clone();
        after_crash.close_open(50);
        assert_eq!(after_crash.iter().next().unwrap().to_us, 50);
        windows.take_open(Reason::SpillFull);
        assert_eq!(windows.len(), 1);
    }

    #[test]
    fn many_windows_are_put_together_and_none_is_lost() {
        let mut windows = Windows::default();
        let count = 3 * u64::try_from(WINDOWS_MAX).unwrap();
        for n in 0..count {
            windows.add(window(
                n * 10_000_000,
                n * 10_000_000 + 1,
                &n.to_string(),
                1,
            ));
        }
        assert_eq!(windows.len(), WINDOWS_MAX);
        assert_eq!(windows.iter().map(|w| w.count).sum::<u64>(), count);
        let covered = |n| {
            windows
                .iter()
                .any(|w| w.from_us <= n * 10_000_000 && n * 10_000_000 < w.to_us)
        };
        assert!((0..count).all(covered));
    }
}
