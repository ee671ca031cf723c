//! Which tables are mirrored (`--include`, `--exclude`).

use globset::{Glob, GlobMatcher};

/// Patterns for keyspace and table; see [`Wanted::new`].
#[derive(Debug, Clone)]
struct Pattern {
    keyspace: GlobMatcher,
    table: GlobMatcher,
}

impl Pattern {
    fn matches(&self, keyspace: &str, table: &str) -> bool {
        self.keyspace.is_match(keyspace) && self.table.is_match(table)
    }

    fn is_whole_keyspace(&self) -> bool {
        self.table.glob().glob() == "*"
    }
}

/// Which tables are mirrored. Without patterns, all.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Wanted {
    /// Tables that a pattern of `include` matches, or all if there is none, without those that one
    /// of `exclude` matches. A pattern is a pair: keyspace and table, by their names as the
    /// server keeps them (unquoted names in lower case).
    #[must_use]
    pub fn new(include: &[(Glob, Glob)], exclude: &[(Glob, Glob)]) -> Self {
        let compile = |pairs: &[(Glob, Glob)]| {
            let pattern = |(keyspace, table): &(Glob, Glob)| Pattern {
                keyspace: keyspace.compile_matcher(),
                table: table.compile_matcher(),
            };
            pairs.iter().map(pattern).collect()
        };
        Self {
            include: compile(include),
            exclude: compile(exclude),
        }
    }

    /// Whether what a statement says about `table` goes to the target. An empty `table`: it is
    /// about the keyspace, a type or a function, which is wanted if any table of the keyspace may
    /// be.
    #[must_use]
    pub fn has(&self, keyspace: &str, table: &str) -> bool {
        let (included, excluded): (bool, bool) = if table.is_empty() {
            let of = |pattern: &Pattern| pattern.keyspace.is_match(keyspace);
            let whole = |pattern: &Pattern| pattern.is_whole_keyspace() && of(pattern);
            (self.include.iter().any(of), self.exclude.iter().any(whole))
        } else {
            let of = |pattern: &Pattern| pattern.matches(keyspace, table);
            (self.include.iter().any(of), self.exclude.iter().any(of))
        };
        (self.include.is_empty() || included) && !excluded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::plan::{PlanCache, Reason, Rules, Treatment};

    fn pairs(patterns: &[&str]) -> Vec<(Glob, Glob)> {
        let pair = |pattern: &&str| {
            let (keyspace, table) = pattern.split_once('.').unwrap();
            (Glob::new(keyspace).unwrap(), Glob::new(table).unwrap())
        };
        patterns.iter().map(pair).collect()
    }

    fn wanted(include: &[&str], exclude: &[&str], names: &[&str]) -> Vec<bool> {
        let wanted = Wanted::new(&pairs(include), &pairs(exclude));
        let has = |name: &&str| {
            let (keyspace, table) = name.split_once('.').unwrap();
            wanted.has(keyspace, table)
        };
        names.iter().map(has).collect()
    }

    #[test]
    fn without_patterns_all_is_wanted() {
        assert_eq!(wanted(&[], &[], &["shop.orders", "shop."]), [true, true]);
    }

    #[test]
    fn what_is_excluded_is_out_even_if_it_is_included() {
        let names = ["shop.orders", "shop.tmp_1", "other.orders"];
        let found = wanted(&["shop.*"], &["*.tmp_*"], &names);
        assert_eq!(found, [true, false, false]);
        let found = wanted(&[], &["shop.tmp_?", "other.{orders,items}"], &names);
        assert_eq!(found, [true, false, false]);
    }

    #[test]
    fn types_and_keyspaces_follow_their_tables() {
        let names = ["shop.", "other.", "logs."];
        let found = wanted(&["shop.orders", "logs.*"], &["logs.*"], &names);
        assert_eq!(found, [true, false, false]);
        assert_eq!(wanted(&[], &["shop.tmp_*"], &names), [true, true, true]);
    }

    #[test]
    fn statements_follow_their_tables() {
        let rules = Rules {
            wanted: Wanted::new(&pairs(&["shop.*"]), &pairs(&["shop.tmp_*"])),
            ..Rules::default()
        };
        let mut plans = PlanCache::new(rules, 1 << 20);
        let mut treatment = |text: &str| plans.plan(text, Some(&"shop".into())).treatment;
        let left_out = Treatment::SourceOnly(Reason::Filter);
        assert_eq!(
            treatment("INSERT INTO orders (k) VALUES (1)"),
            Treatment::Mirror
        );
        assert_eq!(treatment("INSERT INTO tmp_1 (k) VALUES (1)"), left_out);
        assert_eq!(
            treatment("UPDATE other.orders SET v = 1 WHERE k = 1"),
            left_out
        );
        assert_eq!(
            treatment("INSERT INTO tmp_1 (k) VALUES (1) IF NOT EXISTS"),
            left_out
        );
        assert_eq!(
            treatment("CREATE TABLE tmp_2 (k int PRIMARY KEY)"),
            left_out
        );
        assert_eq!(treatment("TRUNCATE tmp_2"), left_out);
        assert_eq!(
            treatment("CREATE TYPE address (street text)"),
            Treatment::Schema
        );
        let both = "BEGIN BATCH INSERT INTO tmp_1 (k) VALUES (1); \
                    INSERT INTO orders (k) VALUES (1); APPLY BATCH";
        assert_eq!(treatment(both), Treatment::Mirror);
    }

    #[test]
    fn names_keep_their_case() {
        let names = ["shop.Orders", "shop.orders"];
        assert_eq!(wanted(&["shop.Orders"], &[], &names), [true, false]);
    }
}
