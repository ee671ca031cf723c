//! TRUNCATE, and changes of the schema between writes.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    case("TRUNCATE", &[
        Do("CREATE TABLE cut_@ (k int PRIMARY KEY, a int)"),
        Do("INSERT INTO cut_@ (k, a) VALUES (1, 1)"),
        With("INSERT INTO cut_@ (k, a) VALUES (?, ?)", &[Int(2), Int(2)]),
        Do("TRUNCATE cut_@"),
        With("INSERT INTO cut_@ (k, a) VALUES (?, ?)", &[Int(3), Int(3)]),
        Do("truncate table \"cut_@\";"),
        Do("INSERT INTO cut_@ (k, a) VALUES (4, 4)"),
        Do("UPDATE cut_@ USING TIMESTAMP 1000 SET a = 5 WHERE k = 5"),
    ]).schema(),
    case("a table with all its options", &[
        Do("CREATE TABLE IF NOT EXISTS made_@ (k int, c timeuuid, \"S s\" text STATIC, v \
            frozen<map<int, text>>, PRIMARY KEY ((k), c)) WITH CLUSTERING ORDER BY (c DESC) AND \
            gc_grace_seconds = 50000 AND comment = 'it''s; -- one' \
            AND compaction = {'class': 'LeveledCompactionStrategy'} AND bloom_filter_fp_chance = \
            0.2"),
        Do("CREATE TABLE IF NOT EXISTS made_@ (other int PRIMARY KEY)"),
        Do("INSERT INTO made_@ (k, c, \"S s\", v) VALUES (1, now(), 's', {1: 'x'}) USING TTL 8000"),
        Do("ALTER TABLE made_@ WITH default_time_to_live = 9000 AND comment = 'other'"),
        Do("INSERT INTO made_@ (k, c, v) VALUES (2, now(), {})"),
        With("INSERT INTO made_@ (k, c) VALUES (?, now())", &[Int(3)]),
    ]).schema(),
    case("ALTER TABLE under a prepared statement", &[
        Do("CREATE TABLE grown_@ (k int PRIMARY KEY, a int, b text)"),
        Prepare("INSERT INTO grown_@ (k, a) VALUES (?, ?)"),
        With("INSERT INTO grown_@ (k, a) VALUES (?, ?)", &[Int(1), Int(1)]),
        Do("ALTER TABLE grown_@ ADD extra list<int>"),
        With("INSERT INTO grown_@ (k, a) VALUES (?, ?)", &[Int(2), Int(1)]),
        With("INSERT INTO grown_@ (k, extra) VALUES (?, ?)", &[Int(3), Many(&[Int(1), Int(1)])]),
        Do("UPDATE grown_@ SET extra = extra + [5] WHERE k = 3"),
        Do("ALTER TABLE grown_@ ADD (d date, e set<int>)"),
        Do("UPDATE grown_@ SET d = currentDate(), e = {1} WHERE k = 3"),
        Do("ALTER TABLE grown_@ DROP b"),
        Do("ALTER TABLE grown_@ DROP (d, e)"),
        Refused("INSERT INTO grown_@ (k, b) VALUES (4, 'x')", &[]),
        Do("ALTER TABLE grown_@ RENAME k TO \"The K\""),
        Do("INSERT INTO grown_@ (\"The K\", a) VALUES (4, 4)"),
    ]).schema(),
    case("dropped and made anew", &[
        Do("CREATE TABLE short_@ (k int PRIMARY KEY, a int)"),
        With("INSERT INTO short_@ (k, a) VALUES (?, ?)", &[Int(1), Int(1)]),
        Do("DROP TABLE short_@"),
        Refused("INSERT INTO short_@ (k, a) VALUES (1, 1)", &[]),
        Do("DROP TABLE IF EXISTS short_@"),
        Do("CREATE TABLE short_@ (k int PRIMARY KEY, a list<int>)"),
            PauseMs(1_000), // until the schema is read, `a` counts as what it was

        With("INSERT INTO short_@ (k, a) VALUES (?, ?)", &[Int(2), Many(&[Int(1)])]),
        Do("UPDATE short_@ SET a = a + [2] WHERE k = 2"),
    ]).schema(),
    case("types", &[
        Do("CREATE TYPE colour_@ (r int, g int)"),
        Do("CREATE TABLE painted_@ (k int PRIMARY KEY, f frozen<colour_@>, u colour_@, \
            l list<frozen<colour_@>>)"),
        Do("INSERT INTO painted_@ (k, f, u, l) VALUES (1, {r: 1, g: 2}, {r: 3}, [{g: 5}])"),
        Do("ALTER TYPE colour_@ ADD b int"),
        Do("INSERT INTO painted_@ (k, f) VALUES (2, {r: 1, g: 2, b: 3})"),
        Do("UPDATE painted_@ SET u.b = 4, l = l + [{b: 1}] WHERE k = 1"),
        With("UPDATE painted_@ SET f = ? WHERE k = 3", &[Fields(&[Int(1), Null, Int(2)])]),
        Do("ALTER TYPE colour_@ RENAME r TO red"),
        Do("UPDATE painted_@ SET u.red = 9 WHERE k = 4"),
        Do("CREATE TYPE IF NOT EXISTS unused_@ (a frozen<colour_@>, b set<int>)"),
        Do("DROP TYPE unused_@"),
    ]).schema(),
    case("indexes", &[
        Do("CREATE TABLE found_@ (k int, c int, a int, m map<text, int>, st set<int>, \
            PRIMARY KEY (k, c))"),
        Do("CREATE INDEX ON found_@ (a)"),
        Do("CREATE INDEX found_keys_@ ON found_@ (KEYS(m))"),
        Do("CREATE INDEX IF NOT EXISTS found_values_@ ON found_@ (st)"),
        Do("INSERT INTO found_@ (k, c, a, m, st) VALUES (1, 1, 5, {'x': 1}, {1})"),
        Do("UPDATE found_@ SET a = 6 WHERE k = 1 AND c = 1"),
        Do("DROP INDEX found_keys_@"),
        Do("DROP INDEX IF EXISTS found_keys_@"),
    ]).schema(),
    case("a custom index", &[
        Do("CREATE TABLE sought_@ (k int PRIMARY KEY, a text)"),
        Do("CREATE CUSTOM INDEX sought_a_@ ON sought_@ (a) USING 'StorageAttachedIndex'"),
        Do("INSERT INTO sought_@ (k, a) VALUES (1, 'x')"),
    ]).since(50).schema(),
    case("a materialized view", &[
        Do("CREATE TABLE base_@ (k int, c int, a int, PRIMARY KEY (k, c))"),
        Do("INSERT INTO base_@ (k, c, a) VALUES (1, 1, 1) USING TIMESTAMP 1000"),
        Do("CREATE MATERIALIZED VIEW by_a_@ AS SELECT * FROM base_@ WHERE a IS NOT NULL AND \
            k IS NOT NULL AND c IS NOT NULL PRIMARY KEY (a, k, c)"),
        Do("INSERT INTO base_@ (k, c, a) VALUES (1, 2, 2)"),
        With("UPDATE base_@ SET a = ? WHERE k = ? AND c = ?", &[Int(3), Int(1), Int(2)]),
        Do("DELETE FROM base_@ WHERE k = 1 AND c = 1"),
        Do("ALTER MATERIALIZED VIEW by_a_@ WITH comment = 'view'"),
    ]).schema(),
    case("functions and aggregates", &[
        Do("CREATE OR REPLACE FUNCTION sum_@ (state int, v int) CALLED ON NULL INPUT RETURNS int \
            LANGUAGE java AS $$ return state == null ? v : state + v; /* now() */ $$"),
        Do("CREATE AGGREGATE total_@ (int) SFUNC sum_@ STYPE int INITCOND 0"),
        Do("CREATE FUNCTION gone_@ () CALLED ON NULL INPUT RETURNS int LANGUAGE java AS 'return \
            1;'"),
        Do("DROP FUNCTION gone_@()"),
    ]).schema(),
    case("long names", &[
        Do("CREATE TABLE table_with_a_name_of_forty_eight_letters_xx_@ (k int PRIMARY KEY, \
            a_column_whose_name_is_far_longer_than_that_of_any_table_could_be_in_cassandra int)"),
        Do("INSERT INTO table_with_a_name_of_forty_eight_letters_xx_@ (k, \
            a_column_whose_name_is_far_longer_than_that_of_any_table_could_be_in_cassandra) \
            VALUES (@, 1)"),
    ]).schema(),
    case("refused changes", &[
        Refused("CREATE TABLE t (k int PRIMARY KEY)", &[]),
        Refused("ALTER TABLE t ADD a int", &[]),
        Refused("DROP TABLE nowhere_@", &[]),
        Refused("TRUNCATE nowhere_@", &[]),
        Refused("CREATE INDEX ON t (nope)", &[]),
        Do("INSERT INTO t (k, c) VALUES (@, 1)"),
    ]).schema(),
];
