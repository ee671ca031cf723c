//! Times to live: literal, bound, the table's default.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    case(
        "TTL",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x') USING TTL 9000"),
            Do("UPDATE t USING TTL 8000 SET b = 'y' WHERE k = @ AND c = 1"),
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 2, 1) USING TTL ?",
                &[K, Int(7_000)],
            ),
            With(
                "UPDATE t USING TTL ? SET b = 'y' WHERE k = ? AND c = 2",
                &[Int(600), K],
            ),
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 3, 1) USING TTL ?",
                &[K, Unset],
            ),
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 4, 1) USING TTL ?",
                &[K, Int(0)],
            ),
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 5, 1) USING TTL ?",
                &[K, Null],
            ),
            Do("INSERT INTO t (k, c, a) VALUES (@, 6, 1) USING TTL 0"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 7, 1) USING TTL 315360000"),
        ],
    ),
    case(
        "TTL over another, and none over one",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x') USING TTL 9000"),
            Do("UPDATE t SET a = 2 WHERE k = @ AND c = 1"),
            Do("INSERT INTO t (k, c, b) VALUES (@, 1, 'y') USING TTL 500"),
        ],
    ),
    case(
        "TTL by the table",
        &[
            Do("INSERT INTO ttl (k, c, a, b) VALUES (@, 1, 1, 'x')"),
            Do("UPDATE ttl SET b = 'y', st = {1} WHERE k = @ AND c = 2"),
            Do("INSERT INTO ttl (k, c, a) VALUES (@, 3, 1) USING TTL 0"),
            Do("INSERT INTO ttl (k, c, a) VALUES (@, 4, 1) USING TTL 900"),
            With(
                "UPDATE ttl USING TTL ? SET a = ? WHERE k = ? AND c = 5",
                &[Int(0), Int(1), K],
            ),
            With(
                "UPDATE ttl USING TTL ? SET a = ? WHERE k = ? AND c = 6",
                &[Int(700), Int(1), K],
            ),
            With(
                "UPDATE ttl USING TTL ? SET a = ? WHERE k = ? AND c = 7",
                &[Unset, Int(1), K],
            ),
            With(
                "UPDATE ttl USING TTL ? SET a = ? WHERE k = ? AND c = 8",
                &[Null, Int(1), K],
            ),
            With("INSERT INTO ttl (k, c, a) VALUES (?, 9, ?)", &[K, Null]),
            Do("INSERT INTO ttl (k, c, a) VALUES (@, 10, 1) USING TIMESTAMP 1000"),
            Do("INSERT INTO ttl JSON '{\"k\": @, \"c\": 11, \"a\": 1}'"),
            Batch(
                1,
                None,
                &[
                    ("INSERT INTO ttl (k, c, a) VALUES (?, 12, 1)", &[K]),
                    (
                        "INSERT INTO ttl (k, c, a) VALUES (?, 13, 1) USING TTL 0",
                        &[K],
                    ),
                ],
            ),
        ],
    ),
    case(
        "expired",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1)"),
            Do("UPDATE t USING TTL 1 SET a = 2, b = 'gone' WHERE k = @ AND c = 1"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 1) USING TTL 1"),
            PauseMs(2_100),
            Do("UPDATE t SET b = 'after' WHERE k = @ AND c = 2"),
        ],
    ),
    case(
        "TTL in collections",
        &[
            Do(
                "INSERT INTO coll (k, c, st, m, l, u) VALUES (@, 1, {1}, {'a': 1}, [1], {no: 1}) \
            USING TTL 9000",
            ),
            Do(
                "UPDATE coll USING TTL 800 SET st = st + {2}, m['b'] = 2, u.street = 'x' \
            WHERE k = @ AND c = 1",
            ),
            Do("UPDATE coll SET st = st + {1} WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "TTL in BEGIN BATCH",
        &[
            Do(
                "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (@, 1, 1) USING TTL 900; \
            UPDATE t USING TTL 800 SET b = 'x' WHERE k = @ AND c = 2; APPLY BATCH",
            ),
            With(
                "BEGIN BATCH USING TIMESTAMP ? INSERT INTO t (k, c, a) VALUES (?, 3, 1) USING TTL \
                    ?; \
              APPLY BATCH",
                &[Big(1_000), K, Int(700)],
            ),
            Refused(
                "BEGIN BATCH USING TTL 5 INSERT INTO t (k, c, a) VALUES (@, 4, 1) APPLY BATCH",
                &[],
            ),
        ],
    ),
    case(
        "TTL, refused",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1)"),
            Refused("UPDATE t USING TTL -1 SET a = 2 WHERE k = @ AND c = 1", &[]),
            Refused("DELETE FROM t USING TTL 5 WHERE k = @ AND c = 1", &[]),
            Refused(
                "UPDATE t USING TTL ? SET a = 2 WHERE k = ? AND c = 1",
                &[Int(630_720_001), K],
            ),
        ],
    ),
];
