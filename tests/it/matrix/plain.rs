//! INSERT, UPDATE, DELETE: forms, stamps, what a text can hide, null and unset.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    case(
        "insert",
        &[Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 2, 'three')")],
    ),
    case(
        "insert, bound",
        &[
            With(
                "INSERT INTO t (k, c, a, b) VALUES (?, ?, ?, ?)",
                &[K, Int(1), Int(2), Text("3")],
            ),
            With(
                "INSERT INTO t (k, c, a, b) VALUES (?, ?, ?, ?)",
                &[K, Int(2), Int(5), Text("")],
            ),
        ],
    ),
    case(
        "insert, half bound",
        &[With(
            "INSERT INTO t (k, c, a, b) VALUES (@, ?, 7, ?)",
            &[Int(1), Text("x")],
        )],
    ),
    case(
        "insert of a key alone",
        &[
            Do("INSERT INTO t (k, c) VALUES (@, 1)"),
            Do("INSERT INTO only_key (k, c) VALUES (@, 1)"),
            With("INSERT INTO only_key (k, c) VALUES (?, ?)", &[K, Int(2)]),
        ],
    ),
    case(
        "columns in another order",
        &[With(
            "INSERT INTO t (b, a, c, k) VALUES (?, ?, ?, ?)",
            &[Text("b"), Int(1), Int(2), K],
        )],
    ),
    case(
        "update",
        &[Do("UPDATE t SET a = 1, b = 'x' WHERE k = @ AND c = 1")],
    ),
    case(
        "update, bound",
        &[With(
            "UPDATE t SET a = ?, b = ? WHERE k = ? AND c = ?",
            &[Int(1), Text("x"), K, Int(1)],
        )],
    ),
    case(
        "update of several rows by IN",
        &[
            Do("UPDATE t SET a = 4 WHERE k = @ AND c IN (1, 2, 3)"),
            With(
                "UPDATE t SET a = 5 WHERE k = ? AND c IN ?",
                &[K, Many(&[Int(3), Int(4)])],
            ),
            With(
                "UPDATE t SET b = ? WHERE k IN (?) AND c IN (?, ?)",
                &[Text("i"), K, Int(4), Int(9)],
            ),
        ],
    ),
    case(
        "update in composite keys",
        &[
            Do("UPDATE wide SET a = 1 WHERE k = @ AND p = 'it''s' AND c1 = 1 AND c2 = 'x'"),
            With(
                "UPDATE wide SET a = ? WHERE k = ? AND p = ? AND (c1, c2) = (?, ?)",
                &[Int(3), K, Text("é"), Int(7), Text("")],
            ),
            With(
                "UPDATE wide SET a = ? WHERE k = ? AND p = ? AND (c1, c2) IN ((1, 'a'), (2, 'b'))",
                &[Int(9), K, Text("in")],
            ),
        ],
    ),
    case(
        "overwritten",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'a')"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 2)"),
            Do("UPDATE t SET b = 'b' WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "delete of a row",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1)"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 1)"),
            Do("DELETE FROM t WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "delete of columns",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x')"),
            With("DELETE a, b FROM t WHERE k = ? AND c = ?", &[K, Int(1)]),
            Do("UPDATE t SET a = 1, b = 'x' WHERE k = @ AND c = 2"),
            Do("DELETE b FROM t WHERE k = @ AND c = 2"),
        ],
    ),
    case(
        "delete of all columns of an updated row",
        &[
            Do("UPDATE t SET a = 1, b = 'x' WHERE k = @ AND c = 2"),
            Do("DELETE a, b FROM t WHERE k = @ AND c = 2"),
        ],
    )
    .gone(),
    case(
        "delete of a partition",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1)"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 1)"),
            With("DELETE FROM t WHERE k = ?", &[K]),
        ],
    )
    .gone(),
    case(
        "delete of what is not there, then a write",
        &[
            Do("DELETE FROM t WHERE k = @ AND c = 1"),
            Do("DELETE a FROM t WHERE k = @ AND c = 2"),
            Do("UPDATE t SET a = 1 WHERE k = @ AND c = 2"),
        ],
    ),
    case(
        "delete of rows by IN",
        &[
            Do("UPDATE t SET a = 4 WHERE k = @ AND c IN (1, 2, 3, 4, 5)"),
            Do("DELETE FROM t WHERE k = @ AND c IN (1, 2)"),
            With(
                "DELETE FROM t WHERE k = ? AND c IN ?",
                &[K, Many(&[Int(3)])],
            ),
            With(
                "DELETE FROM t WHERE k IN ? AND c = ?",
                &[Many(&[K]), Int(4)],
            ),
            Do("UPDATE wide SET a = 4 WHERE k = @ AND p IN ('a', 'b') AND c1 = 1 AND c2 = 'x'"),
            Do("DELETE FROM wide WHERE k = @ AND p IN ('a', 'c') AND c1 = 1"),
        ],
    ),
    case(
        "delete of a range",
        &[
            Do("UPDATE t SET a = 4 WHERE k = @ AND c IN (1, 2, 3, 4, 5, 6, 7, 8)"),
            Do("DELETE FROM t WHERE k = @ AND c > 7"),
            With(
                "DELETE FROM t WHERE k = ? AND c >= ? AND c < ?",
                &[K, Int(2), Int(4)],
            ),
            With("DELETE FROM t WHERE k = ? AND c <= ?", &[K, Int(1)]),
        ],
    ),
    case(
        "delete of a slice of several columns",
        &[
            Do(
                "UPDATE wide SET a = 4 WHERE k = @ AND p = 'p' AND c1 IN (1, 2, 3) \
            AND c2 IN ('a', 'b', 'c')",
            ),
            Do("DELETE FROM wide WHERE k = @ AND p = 'p' AND (c1, c2) > (1, 'b') AND (c1) < (3)"),
            With(
                "DELETE FROM wide WHERE k = ? AND p = ? AND c1 = ? AND c2 >= ?",
                &[K, Text("p"), Int(3), Text("c")],
            ),
            With(
                "DELETE FROM wide WHERE k = ? AND p = ? AND (c1, c2) <= (?, ?)",
                &[K, Text("p"), Int(1), Text("a")],
            ),
        ],
    ),
    case(
        "null",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x')"),
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, NULL, null)"),
            With(
                "UPDATE t SET a = ?, b = ? WHERE k = ? AND c = ?",
                &[Null, Text("y"), K, Int(1)],
            ),
        ],
    ),
    case(
        "unset in the middle",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x')"),
            With(
                "INSERT INTO t (k, c, a, b) VALUES (?, ?, ?, ?)",
                &[K, Int(1), Unset, Text("y")],
            ),
            With(
                "INSERT INTO t (k, c, a, b) VALUES (?, ?, ?, ?)",
                &[K, Int(2), Unset, Unset],
            ),
            With(
                "UPDATE t SET a = ?, b = ? WHERE k = ? AND c = ?",
                &[Int(3), Unset, K, Int(3)],
            ),
            With(
                "UPDATE t USING TTL ? AND TIMESTAMP ? SET a = ? WHERE k = ? AND c = ?",
                &[Unset, Unset, Int(3), K, Int(4)],
            ),
        ],
    ),
    case(
        "names instead of marks",
        &[
            Named(
                "INSERT INTO t (k, c, a, b) VALUES (:k, :c, :a, :b)",
                &[("k", K), ("c", Int(1)), ("a", Int(2)), ("b", Text("named"))],
            ),
            Named(
                "UPDATE t SET a = :value, b = :b WHERE k = :k AND c = :c",
                &[("value", Int(4)), ("b", Unset), ("k", K), ("c", Int(1))],
            ),
            Named(
                "UPDATE t USING TTL :ttl AND TIMESTAMP :stamp SET a = :a WHERE k = @ AND c = 2",
                &[
                    ("ttl", Int(9_000)),
                    ("stamp", Big(1_700_000_000_000_000)),
                    ("a", Int(1)),
                ],
            ),
        ],
    ),
    case(
        "names with capitals",
        &[Named(
            "INSERT INTO t (k, c, a) VALUES (:\"The K\", :\"The C\", :\"A\")",
            &[("The K", K), ("The C", Int(1)), ("A", Int(2))],
        )],
    ),
    // ---- stamps
    case(
        "stamp, literal",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1) USING TIMESTAMP 1700000000000000"),
            Do("UPDATE t USING TIMESTAMP 1700000000000001 SET b = 'x' WHERE k = @ AND c = 1"),
            Do("UPDATE t USING TIMESTAMP 1600000000000001 SET b = 'old' WHERE k = @ AND c = 1"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 1)"),
            Do("DELETE FROM t USING TIMESTAMP 1700000000000001 WHERE k = @ AND c = 2"),
        ],
    ),
    case(
        "stamp, bound",
        &[
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 1, 1) USING TIMESTAMP ?",
                &[K, Big(1_000)],
            ),
            With(
                "UPDATE t USING TIMESTAMP ? SET b = ? WHERE k = ? AND c = 1",
                &[Big(1_001), Text("x"), K],
            ),
            With(
                "DELETE a FROM t USING TIMESTAMP ? WHERE k = ? AND c = 1",
                &[Big(999), K],
            ),
        ],
    ),
    case(
        "stamp beside a TTL, either way round",
        &[
            Do(
                "INSERT INTO t (k, c, a) VALUES (@, 1, 1) USING TIMESTAMP 1700000000000000 AND \
                    TTL 9000",
            ),
            Do(
                "INSERT INTO t (k, c, a) VALUES (@, 2, 1) USING TTL 9000 AND TIMESTAMP \
                    1700000000000000",
            ),
            With(
                "UPDATE t USING TTL ? AND TIMESTAMP ? SET a = 1 WHERE k = ? AND c = 3",
                &[Int(9_000), Big(1_700_000_000_000_000), K],
            ),
        ],
    ),
    case(
        "default stamp",
        &[
            At(
                1_700_000_000_000_000,
                "INSERT INTO t (k, c, a) VALUES (?, 1, 1)",
                &[K],
            ),
            At(
                1_700_000_000_000_009,
                "UPDATE t SET b = 'x' WHERE k = ? AND c = 1",
                &[K],
            ),
            At(1, "INSERT INTO t (k, c, a) VALUES (?, 2, 1)", &[K]),
        ],
    ),
    case(
        "default stamp beside one in the text",
        &[
            At(
                1_700_000_000_000_000,
                "UPDATE t USING TIMESTAMP 5 SET a = 1 WHERE k = ? AND c = 1",
                &[K],
            ),
            At(
                1_700_000_000_000_000,
                "UPDATE t USING TIMESTAMP ? SET a = 1 WHERE k = ? AND c = 2",
                &[Big(5), K],
            ),
            At(
                1_700_000_000_000_000,
                "UPDATE t USING TIMESTAMP ? SET a = 1 WHERE k = ? AND c = 3",
                &[Unset, K],
            ),
        ],
    ),
    case(
        "very old and negative stamps",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1) USING TIMESTAMP 1"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 1) USING TIMESTAMP -1"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 3, 1) USING TIMESTAMP 0"),
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 4, 1) USING TIMESTAMP ?",
                &[K, Big(-9_000_000_000)],
            ),
            Do("INSERT INTO t (k, c, a) VALUES (@, 5, 1) USING TIMESTAMP -9223372036854775807"),
        ],
    ),
    case(
        "stamps of the far future",
        &[
            Do(
                "INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x') USING TIMESTAMP \
                    9223372036854775806",
            ),
            Do("UPDATE t SET a = 2 WHERE k = @ AND c = 1"),
            Do("DELETE FROM t WHERE k = @ AND c = 1"),
            At(
                4_000_000_000_000_000,
                "INSERT INTO t (k, c, a) VALUES (?, 2, 2)",
                &[K],
            ),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 3)"),
            Do("UPDATE t SET b = 'now' WHERE k = @ AND c = 2"),
        ],
    ),
    case(
        "equal stamps: the greater value wins",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 5) USING TIMESTAMP 77"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 3) USING TIMESTAMP 77"),
            Do("INSERT INTO t (k, c, b) VALUES (@, 1, 'a') USING TIMESTAMP 77"),
            Do("INSERT INTO t (k, c, b) VALUES (@, 1, 'b') USING TIMESTAMP 77"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 5) USING TIMESTAMP 77"),
            Do("DELETE a FROM t USING TIMESTAMP 77 WHERE k = @ AND c = 2"),
        ],
    ),
    case(
        "delete with a stamp, and one of the future",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x')"),
            Do("DELETE FROM t USING TIMESTAMP 4000000000000000 WHERE k = @ AND c = 1"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 2)"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 2)"),
            With(
                "DELETE FROM t USING TIMESTAMP ? WHERE k = ? AND c > ?",
                &[Big(1_000), K, Int(1)],
            ),
        ],
    ),
    // ---- what a text can hide
    case(
        "comments",
        &[
            Do(
                "/* USING TIMESTAMP 1 */ INSERT INTO t (k, c, b) VALUES (@, 1, 'x') -- IF NOT \
                    EXISTS\n",
            ),
            Do(
                "-- first\n// second\nUPDATE t /* now() */ SET b = /* 'y' */ 'z' WHERE k = @ AND \
                    c = 2",
            ),
            Do("INSERT/**/INTO/**/t(k,c,b)VALUES(@,3,'x')USING/**/TIMESTAMP/**/9;"),
        ],
    ),
    case(
        "words in strings",
        &[
            Do("INSERT INTO t (k, c, b) VALUES (@, 1, 'it''s USING TIMESTAMP 1 -- now()')"),
            Do("INSERT INTO t (k, c, b) VALUES (@, 2, $$it's 'now()' /* ? */ :x$$)"),
            Do("INSERT INTO t (k, c, b) VALUES (@, 3, '''')"),
            Do("INSERT INTO t (k, c, b) VALUES (@, 4, 'IF NOT EXISTS; DELETE FROM t')"),
            Do("UPDATE t SET b = 'uuid() WHERE k = 1' WHERE k = @ AND c = 5"),
            With(
                "UPDATE t SET b = ? WHERE k = ? AND c = 6",
                &[Text("now() ? $$ '"), K],
            ),
        ],
    ),
    case(
        "case and space",
        &[
            Do("insert into T (K, C, A) values (@, 1, 1) using timestamp 5"),
            Do("InSeRt InTo t(k,c,a)VaLuEs(@,2,1);"),
            Do("\t\r\n  UPDATE\n t\n SET a\n=\n1 WHERE\tk=@ and C=3 \n ; "),
        ],
    ),
    case(
        "quoted identifiers",
        &[
            Do(
                "INSERT INTO \"QuotedT\" (k, \"C d\", \"select\", \"a\"\"b\") VALUES (@, 1, 'x', \
                    2)",
            ),
            With(
                "UPDATE \"QuotedT\" SET \"select\" = ?, \"a\"\"b\" = ? WHERE \"k\" = ? AND \"C \
                    d\" = ?",
                &[Text("y"), Int(1), K, Int(2)],
            ),
            Do("DELETE \"select\" FROM \"QuotedT\" WHERE k = @ AND \"C d\" = 1"),
            Do("INSERT INTO \"t\" (\"k\", \"c\", \"a\") VALUES (@, 1, 1)"),
            Do("INSERT INTO \"QuotedT\" (k, \"C d\", \"USING TIMESTAMP 5\") VALUES (@, 3, 1)"),
        ],
    ),
    case(
        "unicode",
        &[
            Do("INSERT INTO t (k, c, b) VALUES (@, 1, 'ü 漢字 \u{1f600} \u{2028}')"),
            With(
                "INSERT INTO t (k, c, b) VALUES (?, 2, ?)",
                &[K, Text("\u{0}\u{1f468}\u{200d}é")],
            ),
            Do("INSERT INTO \"QuotedT\" (k, \"C d\", \"ü 漢\") VALUES (@, 1, 'x')"),
        ],
    ),
    case(
        "words that are no keywords",
        &[
            Do(
                "INSERT INTO words (k, c, ttl, timestamp, key, type, list, json, values) \
            VALUES (@, 1, 1, 2, 3, 4, 5, 6, 7)",
            ),
            Do("UPDATE words USING TTL 9000 SET ttl = 1, timestamp = 2 WHERE k = @ AND c = 2"),
            With(
                "UPDATE words SET ttl = ?, json = ? WHERE k = ? AND c = 3",
                &[Int(1), Int(2), K],
            ),
            Do("DELETE ttl, timestamp FROM words USING TIMESTAMP 9 WHERE k = @ AND c = 3"),
        ],
    ),
    case(
        "refused",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1)"),
            Refused("INSERT INTO t (k, c, a) VALUES (@, 1, 'two')", &[]),
            Refused("INSERT INTO t (k, c, nope) VALUES (@, 1, 2)", &[]),
            Refused("INSERT INTO nowhere (k, c, a) VALUES (@, 1, 2)", &[]),
            Refused("UPDATE t SET a = 2 WHERE k = @", &[]),
            Refused("UPDATE t SET a = 2 WHERE c = 1", &[]),
            Refused("UPDATE t SET k = 2 WHERE k = @ AND c = 1", &[]),
            Refused("DELETE FROM t WHERE k = @ AND a = 1", &[]),
            Refused("INSERT INTO t (k, c, a) VALUES (@, 1, 2) USING TTL -1", &[]),
            Refused(
                "INSERT INTO t (k, c, a) VALUES (@, 1, 2) USING TTL 999999999",
                &[],
            ),
            Refused(
                "INSERT INTO t (k, c, a) VALUES (?, 1, 2) USING TTL ?",
                &[K, Int(-5)],
            ),
            Refused("INSERT INTO t (k, c, a) VALUES (?, ?, 2)", &[K, Null]),
            Refused("INSERT INTO t (k, c, a) VALUES (?, ?, 2)", &[K, Unset]),
            Refused("UPDATE t SET a = a + 1 WHERE k = @ AND c = 1", &[]),
            Refused("INSERT INTO t (k, c, a) VALUES (@, 1, 2", &[]),
            Refused("UPDATE t SET a = 2 WHERE k = @ AND c > 1", &[]),
            Refused(
                "INSERT INTO t (k, c, a) VALUES (@, 1, 2) IF NOT EXISTS USING TIMESTAMP 5",
                &[],
            ),
        ],
    ),
    case(
        "two keyspaces",
        &[
            In(
                super::case::Where::Twin,
                "INSERT INTO t (k, c, a) VALUES (?, 1, 1)",
                &[K],
            ),
            In(
                super::case::Where::Home,
                "INSERT INTO t (k, c, a) VALUES (?, 2, 2)",
                &[K],
            ),
            Prepare("INSERT INTO t (k, c, b) VALUES (?, 3, 'home')"),
            Use(super::case::Where::Twin),
            With("INSERT INTO t (k, c, b) VALUES (?, 3, 'home')", &[K]),
            Do("INSERT INTO t (k, c, b) VALUES (@, 4, 'twin')"),
            Do("BEGIN BATCH INSERT INTO t (k, c, b) VALUES (@, 5, 'twin') APPLY BATCH"),
            Batch(
                0,
                None,
                &[("INSERT INTO t (k, c, b) VALUES (?, 6, 'twin')", &[K])],
            ),
            Use(super::case::Where::Home),
            Do("INSERT INTO t (k, c, b) VALUES (@, 7, 'home')"),
        ],
    ),
];
