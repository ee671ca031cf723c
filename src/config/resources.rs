//! Checks of cores, credentials, mirror, spill and bounds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::Glob;

use super::build::{Check, Surroundings};
use super::tls::secret_from;
use super::value::{Cores, Patterns};
use super::{
    Clients, Credentials, Durability, Journal, Mirror, MirrorDdl, OnSpillFull, Secret, Settings,
    Spill,
};
use crate::limits;

/// The consistency level of writes when nothing is said and the target is reached by a bundle:
/// Astra DB, which bundles come from, takes no writes at ANY, ONE and LOCAL_ONE.
pub const LEVEL_WITH_BUNDLE: &str = "local_quorum";

/// Consistency levels that a write can have, with their numbers in the protocol.
const LEVELS: [(&str, Option<u16>); 9] = [
    ("any", Some(0)),
    ("one", Some(1)),
    ("two", Some(2)),
    ("three", Some(3)),
    ("quorum", Some(4)),
    ("all", Some(5)),
    ("local_quorum", Some(6)),
    ("each_quorum", Some(7)),
    ("local_one", Some(10)),
];

impl Check {
    pub(super) fn cores(&mut self, s: &Settings, around: &Surroundings<'_>) -> Vec<usize> {
        let mut usable = around.cores.clone();
        usable.truncate(limits::SHARDS_MAX);
        if usable.is_empty() {
            self.wrong(
                "--cores",
                "the cores of this machine are not known",
                "name them: 0-3",
            );
            return vec![0];
        }
        let count = match &s.cores {
            Some(Cores::List(list)) => {
                if let Some(missing) = list.iter().find(|core| !around.cores.contains(core)) {
                    let what = format!("this process may not run on core {missing}");
                    self.wrong("--cores", what, format!("choose from {:?}", around.cores));
                }
                return list.clone();
            }
            Some(Cores::Count(count)) => {
                self.bounded_usize("--cores", Some(*count), 1, (1, usable.len()))
            }
            None => match s.threads {
                None => usable.len(),
                Some(threads) => {
                    if threads > usable.len() {
                        let most = usable.len();
                        self.notices.push(format!(
                            "--threads {threads}: one shard on each of {most} cores is the most"
                        ));
                    }
                    threads.clamp(1, usable.len())
                }
            },
        };
        usable.truncate(count);
        usable
    }

    pub(super) fn source_credentials(&mut self, s: &Settings) -> Option<Credentials> {
        let said = (
            &s.source_username,
            &s.source_password,
            &s.source_password_file,
        );
        self.credentials("source", said)
    }

    pub(super) fn target_credentials(&mut self, s: &Settings) -> Option<Credentials> {
        let said = (
            &s.target_username,
            &s.target_password,
            &s.target_password_file,
        );
        self.credentials("target", said)
    }

    fn credentials(
        &mut self,
        side: &str,
        (username, password, file): (&Option<String>, &Option<Secret>, &Option<PathBuf>),
    ) -> Option<Credentials> {
        let (user_flag, file_flag) = (
            format!("--{side}-username"),
            format!("--{side}-password-file"),
        );
        let variable = format!("TWINRING_{}_PASSWORD", side.to_uppercase());
        let password = match (password, file) {
            (Some(_), Some(_)) => {
                self.wrong(
                    &file_flag,
                    "the password is given twice, by value and by file",
                    format!("keep the file and remove --{side}-password or {variable}"),
                );
                return None;
            }
            (Some(password), None) => Some(password.clone()),
            (None, Some(file)) => Some(self.password_from(&file_flag, file)?),
            (None, None) => None,
        };
        // The seed takes empty values for "none", and so does a template that was left empty.
        let username = username.clone().filter(|name| !name.is_empty());
        let password = password.filter(|password| !password.reveal().is_empty());
        match (username, password) {
            (None, None) => None,
            (Some(username), Some(password)) => Some(Credentials { username, password }),
            (Some(_), None) => {
                let remedy = format!("name a file with {file_flag}, or set {variable}");
                self.wrong(&user_flag, "has no password", remedy);
                None
            }
            (None, Some(_)) => {
                let what = format!("there is a password for the {side} but no user");
                self.wrong(&user_flag, what, format!("name the user with {user_flag}"));
                None
            }
        }
    }

    fn password_from(&mut self, flag: &str, file: &Path) -> Option<Secret> {
        match secret_from(flag, file) {
            Ok(secret) => Some(secret),
            Err(problem) => {
                self.add(problem);
                None
            }
        }
    }

    pub(super) fn mirror(&mut self, s: &Settings) -> Mirror {
        let words = [
            ("tables", MirrorDdl::Tables),
            ("none", MirrorDdl::None),
            ("all", MirrorDdl::All),
        ];
        let ddl = self.one_of("--mirror-ddl", s.mirror_ddl.as_deref(), &words);
        let replication = s.target_replication.clone();
        if let Some(map) = &replication {
            let place = "--target-replication";
            if ddl != MirrorDdl::All {
                let what = "has no effect while keyspaces are not mirrored";
                self.wrong(place, what, "add --mirror-ddl all, or remove it");
            }
            if !(map.starts_with('{') && map.ends_with('}') && !map.contains(';')) {
                let what = format!("`{map}` is no replication map");
                let remedy = "write \"{'class': 'NetworkTopologyStrategy', 'dc1': 3}\"";
                self.wrong(place, what, remedy);
            }
        }
        // The seed's Pattern.matches() wants the whole text; so does ours.
        let filter = s.filter_tables.as_deref().and_then(|text| {
            regex::Regex::new(&format!("^(?:{text})$"))
                .map_err(|e| {
                    let remedy = "write a regular expression like: insert into test .*";
                    self.wrong("--filter-tables", e.to_string(), remedy);
                })
                .ok()
        });
        let linger_us = self.bounded(
            "--mirror-linger-us",
            s.mirror_linger_us,
            limits::MIRROR_LINGER_DEFAULT_US,
            (0, limits::MIRROR_LINGER_MAX_US),
        );
        let in_flight = self.bounded_usize(
            "--mirror-inflight",
            s.mirror_inflight,
            limits::MIRROR_IN_FLIGHT_DEFAULT,
            (1, limits::MIRROR_IN_FLIGHT_MAX),
        );
        let newest = self.bounded(
            "--target-protocol-version",
            s.target_protocol_version,
            5,
            (4, 5),
        );
        Mirror {
            ddl,
            replication,
            filter,
            include: self.tables("--include", s.include.as_ref()),
            exclude: self.tables("--exclude", s.exclude.as_ref()),
            linger: Duration::from_micros(linger_us),
            in_flight,
            v5: newest == 5,
            level: self.level(s),
        }
    }

    /// A number of the protocol's `[consistency]`.
    fn level(&mut self, s: &Settings) -> Option<u16> {
        let with_bundle = s.target_secure_connect_bundle.as_ref();
        let with_bundle = with_bundle.map(|_| LEVEL_WITH_BUNDLE);
        let said = s.target_consistency.as_deref().or(with_bundle)?;
        self.one_of("--target-consistency", Some(said), &LEVELS)
    }

    /// Patterns of tables. A comma within braces belongs to its pattern.
    fn tables(&mut self, place: &str, said: Option<&Patterns>) -> Vec<(Glob, Glob)> {
        let mut depth = 0;
        let text = said.map_or("", |said| &said.0);
        let patterns = text.split(|letter| {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            letter == ',' && depth == 0
        });
        let mut pairs = Vec::new();
        for pattern in patterns
            .map(str::trim)
            .filter(|pattern| !pattern.is_empty())
        {
            let remedy = "write KEYSPACE.TABLE with * ? [a-z] {a,b}, for example shop.*";
            let Some((keyspace, table)) = pattern.split_once('.') else {
                self.wrong(place, format!("`{pattern}` names no table"), remedy);
                continue;
            };
            match (Glob::new(keyspace), Glob::new(table)) {
                (Ok(keyspace), Ok(table)) => pairs.push((keyspace, table)),
                (Err(error), _) | (_, Err(error)) => self.wrong(place, error.to_string(), remedy),
            }
        }
        pairs
    }

    pub(super) fn spill(&mut self, s: &Settings, shards: usize) -> Spill {
        let shards = u64::try_from(shards).unwrap_or(u64::MAX);
        let least = limits::SPILL_MIN_PER_SHARD_BYTES.saturating_mul(shards);
        let said = s.spill_max_bytes.map(|size| size.0);
        let default = limits::SPILL_DEFAULT_BYTES.max(least);
        let max_bytes = self.bounded("--spill-max-bytes", said, default, (least, u64::MAX));
        let words = [
            ("backpressure", OnSpillFull::Backpressure),
            ("drop-and-mark", OnSpillFull::DropAndMark),
        ];
        let place = "--on-spill-full";
        let on_full = self.one_of(place, s.on_spill_full.as_deref(), &words);
        let grace_s = self.bounded(
            "--assume-gc-grace (s)",
            s.assume_gc_grace.map(|span| span.0.as_secs()),
            limits::GC_GRACE_DEFAULT_S,
            (1, limits::GC_GRACE_MAX_S),
        );
        let rate = self.bounded(
            "--drain-rate",
            s.drain_rate.map(u64::from),
            0,
            (0, u64::from(u32::MAX)),
        );
        let reserve = s.spill_reserve_bytes.map(|size| size.0);
        Spill {
            max_bytes,
            on_full,
            reserve_bytes: reserve.unwrap_or(limits::SPILL_RESERVE_DEFAULT_BYTES),
            segment_bytes: limits::SPILL_SEGMENT_BYTES,
            drain_rate: u32::try_from(rate).ok().filter(|rate| *rate > 0),
            assumed_gc_grace: Duration::from_secs(grace_s),
            force_old_deletes: s.force_old_deletes.unwrap_or(false),
        }
    }

    pub(super) fn journal(&mut self, s: &Settings) -> Journal {
        let words = [
            ("process", Durability::Process),
            ("machine", Durability::Machine),
            ("none", Durability::None),
        ];
        let durability = self.one_of("--durability", s.durability.as_deref(), &words);
        let narrow = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let envelope = s.max_envelope_bytes.map(|size| narrow(size.0));
        let envelope = envelope.unwrap_or(limits::ENVELOPE_BODY_DEFAULT_BYTES);
        let largest = envelope
            .min(limits::ENVELOPE_BODY_MAX_BYTES)
            .saturating_add(limits::SPILL_RECORD_EXTRA_BYTES);
        let least = (2 * largest).max(limits::JOURNAL_MIN_BYTES);
        let bytes = self.bounded_usize(
            "--journal-bytes (two of the largest requests must fit: --max-envelope-bytes)",
            s.journal_bytes.map(|size| narrow(size.0)),
            (3 * largest).max(limits::JOURNAL_DEFAULT_BYTES),
            (least, limits::JOURNAL_MAX_BYTES),
        );
        Journal {
            durability,
            dir: s.journal_dir.clone(),
            bytes,
        }
    }

    pub(super) fn clients(&mut self, s: &Settings) -> Clients {
        let total = self.bounded_usize(
            "--max-connections",
            s.max_connections,
            limits::CONNECTIONS_DEFAULT,
            (1, limits::CONNECTIONS_MAX),
        );
        let narrow = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let envelope = s.max_envelope_bytes.map(|size| narrow(size.0));
        let max_envelope_bytes = self.bounded_usize(
            "--max-envelope-bytes",
            envelope,
            limits::ENVELOPE_BODY_DEFAULT_BYTES,
            (
                limits::PRE_AUTH_BODY_MAX_BYTES,
                limits::ENVELOPE_BODY_MAX_BYTES,
            ),
        );
        let out_high_water_bytes =
            self.write_buffer(s.write_buffer_size.map(|size| narrow(size.0)));
        let idle_range = (0, limits::IDLE_TIMEOUT_MAX_S);
        let idle_s = self.bounded("--tcp-idle-time-out", s.tcp_idle_time_out, 0, idle_range);
        Clients {
            max_connections: total,
            max_envelope_bytes,
            out_high_water_bytes,
            out_low_water_bytes: out_high_water_bytes / limits::OUT_LOW_WATER_DIVISOR,
            idle_timeout: (idle_s > 0).then(|| Duration::from_secs(idle_s)),
        }
    }

    fn write_buffer(&mut self, said: Option<usize>) -> usize {
        let (least, most) = limits::OUT_HIGH_WATER_RANGE_BYTES;
        let Some(said) = said else {
            return limits::OUT_HIGH_WATER_DEFAULT_BYTES;
        };
        let used = said.clamp(least, most);
        if used != said {
            self.notices.push(format!(
                "--write-buffer-size {said}: {used} is used, the nearest of {least} to {most}"
            ));
        }
        used
    }
}
