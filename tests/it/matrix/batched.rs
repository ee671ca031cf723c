//! BATCH messages and `BEGIN BATCH` texts.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    case(
        "BEGIN BATCH",
        &[
            Do(
                "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (@, 1, 1); UPDATE t SET b = 'x' WHERE \
                    k = @ \
            AND c = 1; DELETE FROM t WHERE k = @ AND c = 2; APPLY BATCH;",
            ),
            Do("begin unlogged batch insert into t (k, c, a) values (@, 3, 1) apply batch"),
            Do("BEGIN BATCH INSERT INTO t (k, c) VALUES (@, 4) APPLY BATCH"),
            Do(
                "BEGIN/**/BATCH -- x\n INSERT INTO t (k, c, b) VALUES (@, 5, 'APPLY BATCH') APPLY \
                    BATCH",
            ),
            Do("BEGIN BATCH APPLY BATCH"),
        ],
    ),
    case(
        "BEGIN BATCH over tables",
        &[Do(
            "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (@, 1, 1) INSERT INTO stat (k, s) \
            VALUES (@, 1) UPDATE coll SET st = {1} WHERE k = @ AND c = 1 \
            INSERT INTO ttl (k, c, a) VALUES (@, 1, 1) APPLY BATCH",
        )],
    ),
    case(
        "BEGIN BATCH with values",
        &[
            With(
                "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (?, 1, ?); UPDATE t SET b = ? WHERE k \
                    = ? \
              AND c = ?; APPLY BATCH",
                &[K, Int(1), Text("x"), K, Int(2)],
            ),
            With(
                "BEGIN BATCH INSERT INTO t (k, c, a, b) VALUES (?, 3, ?, ?); APPLY BATCH",
                &[K, Unset, Null],
            ),
        ],
    ),
    case(
        "BEGIN BATCH with stamps",
        &[
            Do(
                "BEGIN BATCH USING TIMESTAMP 1700000000000000 INSERT INTO t (k, c, a) VALUES (@, \
                    1, 1) \
            UPDATE t SET b = 'x' WHERE k = @ AND c = 2 APPLY BATCH",
            ),
            With(
                "BEGIN UNLOGGED BATCH USING TIMESTAMP ? INSERT INTO t (k, c, a) VALUES (?, 3, 1) \
              APPLY BATCH",
                &[Big(1_000), K],
            ),
            Do(
                "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (@, 4, 1) USING TIMESTAMP 5; \
            INSERT INTO t (k, c, a) VALUES (@, 5, 1); \
            UPDATE t USING TIMESTAMP 7 SET b = 'x' WHERE k = @ AND c = 5; \
            DELETE b FROM t USING TIMESTAMP 9 WHERE k = @ AND c = 4; APPLY BATCH",
            ),
            At(
                1_600_000_000_000_000,
                "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (?, 6, 1) APPLY BATCH",
                &[K],
            ),
            Refused(
                "BEGIN BATCH USING TIMESTAMP 5 INSERT INTO t (k, c, a) VALUES (@, 7, 1) \
            USING TIMESTAMP 6 APPLY BATCH",
                &[],
            ),
        ],
    ),
    case(
        "BATCH message",
        &[
            Batch(
                0,
                None,
                &[
                    ("INSERT INTO t (k, c, a) VALUES (?, 1, ?)", &[K, Int(1)]),
                    ("UPDATE t SET b = ? WHERE k = ? AND c = 2", &[Text("x"), K]),
                    ("INSERT INTO stat (k, s) VALUES (?, ?)", &[K, Int(9)]),
                ],
            ),
            Batch(
                1,
                None,
                &[
                    ("INSERT INTO t (k, c, a) VALUES (?, 3, 1)", &[K]),
                    ("DELETE a FROM t WHERE k = ? AND c = ?", &[K, Int(1)]),
                    (
                        "UPDATE coll SET l = l + ?, st = st + ? WHERE k = ? AND c = 1",
                        &[Many(&[Int(1)]), Many(&[Int(2)]), K],
                    ),
                ],
            ),
            Batch(0, None, &[]),
        ],
    ),
    case(
        "BATCH message with a default stamp",
        &[Batch(
            0,
            Some(1_700_000_000_000_000),
            &[
                ("INSERT INTO t (k, c, a) VALUES (?, 1, ?)", &[K, Int(1)]),
                ("UPDATE t SET b = ? WHERE k = ? AND c = 2", &[Text("x"), K]),
            ],
        )],
    ),
    case(
        "BATCH message with mixed stamps and TTLs",
        &[
            Batch(
                0,
                None,
                &[
                    (
                        "INSERT INTO t (k, c, a) VALUES (?, 1, ?) USING TIMESTAMP 1000",
                        &[K, Int(1)],
                    ),
                    (
                        "UPDATE t USING TIMESTAMP ? SET b = ? WHERE k = ? AND c = 1",
                        &[Big(1_001), Text("x"), K],
                    ),
                    (
                        "UPDATE t USING TTL ? SET b = ? WHERE k = ? AND c = 2",
                        &[Int(9_000), Text("x"), K],
                    ),
                    ("INSERT INTO ttl (k, c, a) VALUES (?, 1, 1)", &[K]),
                ],
            ),
            Batch(
                1,
                Some(1_600_000_000_000_000),
                &[
                    (
                        "UPDATE t USING TIMESTAMP ? SET a = 1 WHERE k = ? AND c = 3",
                        &[Unset, K],
                    ),
                    (
                        "UPDATE t USING TIMESTAMP ? SET a = 1 WHERE k = ? AND c = 4",
                        &[Big(5), K],
                    ),
                ],
            ),
        ],
    ),
    case(
        "BATCH message: insert and delete of one row",
        &[Batch(
            0,
            None,
            &[
                ("INSERT INTO t (k, c, a) VALUES (?, 1, 1)", &[K]),
                ("DELETE FROM t WHERE k = ? AND c = 1", &[K]),
                ("INSERT INTO t (k, c, a) VALUES (?, 2, 1)", &[K]),
                ("UPDATE t SET a = 3 WHERE k = ? AND c = 2", &[K]),
                ("UPDATE t SET a = 2 WHERE k = ? AND c = 2", &[K]),
            ],
        )],
    ),
    case(
        "BATCH message: same text twice, null and unset",
        &[Batch(
            1,
            None,
            &[
                (
                    "INSERT INTO t (k, c, a, b) VALUES (?, ?, ?, ?)",
                    &[K, Int(1), Null, Text("x")],
                ),
                (
                    "INSERT INTO t (k, c, a, b) VALUES (?, ?, ?, ?)",
                    &[K, Int(2), Unset, Text("y")],
                ),
                (
                    "INSERT INTO t (k, c, a, b) VALUES (?, ?, ?, ?)",
                    &[K, Int(1), Int(3), Unset],
                ),
            ],
        )],
    ),
    case(
        "BATCH message of lists",
        &[
            Batch(
                0,
                None,
                &[
                    (
                        "INSERT INTO coll (k, c, l) VALUES (?, 1, ?)",
                        &[K, Many(&[Int(1), Int(2)])],
                    ),
                    (
                        "UPDATE coll SET l = l + ? WHERE k = ? AND c = 2",
                        &[Many(&[Int(3)]), K],
                    ),
                ],
            ),
            Batch(
                0,
                None,
                &[
                    ("UPDATE coll SET l[0] = 7 WHERE k = ? AND c = 1", &[K]),
                    (
                        "UPDATE coll SET l = l + ? WHERE k = ? AND c = 1",
                        &[Many(&[Int(4)]), K],
                    ),
                    ("UPDATE coll SET l = l - [3] WHERE k = ? AND c = 2", &[K]),
                ],
            ),
        ],
    ),
    case(
        "BATCH message, refused",
        &[
            Batch(
                0,
                None,
                &[("INSERT INTO t (k, c, a) VALUES (?, 1, 1)", &[K])],
            ),
            Refused(
                "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (@, 2, 1) INSERT INTO nowhere (k) \
            VALUES (1) APPLY BATCH",
                &[],
            ),
            Refused("BEGIN BATCH SELECT * FROM t APPLY BATCH", &[]),
        ],
    ),
    case(
        "BATCH message of a hundred",
        &[Batch(
            1,
            None,
            &[("INSERT INTO t (k, c, a) VALUES (?, 1, 1)", &[K] as &[_]); 100],
        )],
    ),
];
