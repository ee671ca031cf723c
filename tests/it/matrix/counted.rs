//! Counters.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    case(
        "counter",
        &[
            Do("UPDATE counters SET n = n + 1 WHERE k = @ AND c = 1"),
            Do("UPDATE counters SET n = n - 3, m = m + 4 WHERE k = @ AND c = 1"),
            With(
                "UPDATE counters SET n = n + ? WHERE k = ? AND c = ?",
                &[Big(1 << 40), K, Int(1)],
            ),
            With(
                "UPDATE counters SET n = n - ? WHERE k = ? AND c = ?",
                &[Big(5), K, Int(1)],
            ),
            Do("UPDATE counters SET n += 2 WHERE k = @ AND c = 1"),
            Do("UPDATE counters SET m -= 2 WHERE k = @ AND c = 2"),
            Do("UPDATE counters SET n = n + 0 WHERE k = @ AND c = 3"),
            Do("UPDATE counters SET n = n + -7 WHERE k = @ AND c = 1"),
            Do("update Counters set N=n -1 where K=@ and c = 1"),
        ],
    ),
    case(
        "counter of several rows",
        &[
            Do("UPDATE counters SET n = n + 1 WHERE k = @ AND c IN (1, 2, 3)"),
            With(
                "UPDATE counters SET m = m + ? WHERE k = ? AND c IN ?",
                &[Big(2), K, Many(&[Int(1), Int(5)])],
            ),
        ],
    ),
    case(
        "counter, static",
        &[
            Do("UPDATE counters_static SET s = s + 1 WHERE k = @"),
            With(
                "UPDATE counters_static SET s = s + ?, n = n + ? WHERE k = ? AND c = 1",
                &[Big(2), Big(3), K],
            ),
        ],
    ),
    case(
        "counter, deleted",
        &[
            Do("UPDATE counters SET n = n + 1, m = m + 1 WHERE k = @ AND c = 1"),
            Do("UPDATE counters SET n = n + 1 WHERE k = @ AND c = 2"),
            Do("UPDATE counters SET n = n + 1 WHERE k = @ AND c = 3"),
            Do("DELETE n FROM counters WHERE k = @ AND c = 1"),
            With("DELETE FROM counters WHERE k = ? AND c = ?", &[K, Int(2)]),
        ],
    ),
    case(
        "counter BEGIN BATCH",
        &[
            Do(
                "BEGIN COUNTER BATCH UPDATE counters SET n = n + 1 WHERE k = @ AND c = 1; \
            UPDATE counters SET m = m - 1 WHERE k = @ AND c = 2; APPLY BATCH",
            ),
            With(
                "BEGIN COUNTER BATCH UPDATE counters SET n = n + ? WHERE k = ? AND c = 1 \
              UPDATE counters SET n = n + 1 WHERE k = ? AND c = ? APPLY BATCH",
                &[Big(10), K, K, Int(3)],
            ),
            Do(
                "BEGIN UNLOGGED BATCH UPDATE counters SET n = n + 1 WHERE k = @ AND c = 4 APPLY \
                    BATCH",
            ),
        ],
    ),
    case(
        "counter BATCH message",
        &[
            Batch(
                2,
                None,
                &[
                    ("UPDATE counters SET n = n + 1 WHERE k = ? AND c = 1", &[K]),
                    (
                        "UPDATE counters SET n = n + ?, m = m - ? WHERE k = ? AND c = 1",
                        &[Big(5), Big(1), K],
                    ),
                    ("UPDATE counters_static SET s = s + 1 WHERE k = ?", &[K]),
                ],
            ),
            Batch(
                1,
                None,
                &[("UPDATE counters SET n = n + 1 WHERE k = ? AND c = 2", &[K])],
            ),
            Batch(
                2,
                Some(5),
                &[("UPDATE counters SET n = n + 1 WHERE k = ? AND c = 3", &[K])],
            ),
        ],
    ),
    case(
        "counter, with a default stamp",
        &[
            At(
                1_700_000_000_000_000,
                "UPDATE counters SET n = n + 1 WHERE k = ? AND c = 1",
                &[K],
            ),
            At(
                1_600_000_000_000_000,
                "UPDATE counters SET n = n + 1 WHERE k = ? AND c = 1",
                &[K],
            ),
        ],
    ),
    case(
        "counter, refused",
        &[
            Do("UPDATE counters SET n = n + 1 WHERE k = @ AND c = 1"),
            Refused("UPDATE counters SET n = 5 WHERE k = @ AND c = 1", &[]),
            Refused("INSERT INTO counters (k, c, n) VALUES (@, 1, 1)", &[]),
            Refused(
                "UPDATE counters USING TTL 5 SET n = n + 1 WHERE k = @ AND c = 1",
                &[],
            ),
            Refused(
                "UPDATE counters USING TIMESTAMP 5 SET n = n + 1 WHERE k = @ AND c = 1",
                &[],
            ),
            Refused(
                "UPDATE counters SET n = n + 1 WHERE k = @ AND c = 1 IF EXISTS",
                &[],
            ),
            Refused(
                "BEGIN BATCH UPDATE counters SET n = n + 1 WHERE k = @ AND c = 1 \
            UPDATE t SET a = 1 WHERE k = @ AND c = 1 APPLY BATCH",
                &[],
            ),
        ],
    ),
];
