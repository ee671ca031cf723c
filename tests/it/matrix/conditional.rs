//! Light-weight transactions: the source decides.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    case(
        "IF NOT EXISTS",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x') IF NOT EXISTS"),
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 2, 'y') IF NOT EXISTS"),
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 2, ?) IF NOT EXISTS",
                &[K, Int(3)],
            ),
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 2, ?) IF NOT EXISTS",
                &[K, Int(4)],
            ),
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 3, 1, null) IF NOT EXISTS"),
            With(
                "INSERT INTO t (k, c, a, b) VALUES (?, 4, ?, ?) IF NOT EXISTS",
                &[K, Unset, Null],
            ),
            Do("INSERT INTO only_key (k, c) VALUES (@, 1) IF NOT EXISTS"),
            Do("INSERT INTO only_key (k, c) VALUES (@, 1) IF NOT EXISTS USING TTL 9000"),
            Do("insert into T (K,C,A) values (@,5,1) if/**/not -- x\n exists;"),
        ],
    ),
    case(
        "IF NOT EXISTS with a TTL",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1) IF NOT EXISTS USING TTL 9000"),
            With(
                "INSERT INTO t (k, c, a) VALUES (?, 2, 1) IF NOT EXISTS USING TTL ?",
                &[K, Int(8_000)],
            ),
            Do("INSERT INTO ttl (k, c, a) VALUES (@, 1, 1) IF NOT EXISTS"),
            Do("INSERT INTO ttl (k, c, a, st) VALUES (@, 2, 1, {1}) IF NOT EXISTS USING TTL 0"),
            Do("INSERT INTO t JSON '{\"k\": @, \"c\": 3, \"b\": \"x\"}' IF NOT EXISTS"),
        ],
    ),
    case(
        "IF EXISTS",
        &[
            Do("UPDATE t SET a = 1 WHERE k = @ AND c = 1 IF EXISTS"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 2, 1)"),
            Do("UPDATE t SET a = 2, b = null WHERE k = @ AND c = 2 IF EXISTS"),
            With(
                "UPDATE t USING TTL ? SET b = ? WHERE k = ? AND c = ? IF EXISTS",
                &[Int(9_000), Text("z"), K, Int(2)],
            ),
            Do("DELETE FROM t WHERE k = @ AND c = 1 IF EXISTS"),
            Do("INSERT INTO t (k, c, a) VALUES (@, 3, 1)"),
            With(
                "DELETE FROM t WHERE k = ? AND c = ? IF EXISTS",
                &[K, Int(3)],
            ),
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 4, 1, 'x')"),
            Do("DELETE b FROM t WHERE k = @ AND c = 4 IF EXISTS"),
        ],
    ),
    case(
        "IF a value",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x')"),
            Do("UPDATE t SET a = 2 WHERE k = @ AND c = 1 IF a = 1"),
            Do("UPDATE t SET a = 3 WHERE k = @ AND c = 1 IF a = 1"),
            Do("UPDATE t SET a = 4 WHERE k = @ AND c = 1 IF a IN (2, 3)"),
            With(
                "UPDATE t SET a = ? WHERE k = ? AND c = 1 IF a IN ?",
                &[Int(5), K, Many(&[Int(4), Int(9)])],
            ),
            With(
                "UPDATE t SET a = ? WHERE k = ? AND c = 1 IF a IN (?, ?) AND b = ?",
                &[Int(6), K, Int(5), Int(1), Text("x")],
            ),
            Do("UPDATE t SET b = 'y' WHERE k = @ AND c = 1 IF a >= 6 AND b != 'y'"),
            Do("UPDATE t SET b = null WHERE k = @ AND c = 1 IF a > 100"),
            Do("DELETE FROM t WHERE k = @ AND c = 1 IF b = 'nothing'"),
            Do("UPDATE t SET a = 1 WHERE k = @ AND c = 2 IF a = null"),
            Named(
                "UPDATE t SET a = :new WHERE k = :k AND c = 2 IF a = :old",
                &[("new", Int(7)), ("k", K), ("old", Int(1))],
            ),
        ],
    ),
    case(
        "deleted by a condition, and back",
        &[
            Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x')"),
            Do("DELETE FROM t WHERE k = @ AND c = 1 IF a = 1 AND b = 'x'"),
            Do("INSERT INTO t (k, c, b) VALUES (@, 1, 'back') IF NOT EXISTS"),
            Do("DELETE FROM t WHERE k = @ AND c = 1 IF EXISTS"),
            Do("UPDATE t SET a = 3 WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "condition on statics",
        &[
            Do("INSERT INTO stat (k, s) VALUES (@, 1) IF NOT EXISTS"),
            Do("UPDATE stat SET s = 2 WHERE k = @ IF s = 1"),
            Do("UPDATE stat SET a = 3 WHERE k = @ AND c = 1 IF s = 2"),
            With(
                "UPDATE stat SET s = ?, a = ? WHERE k = ? AND c = 1 IF s = ? AND a = ?",
                &[Int(4), Int(5), K, Int(2), Int(3)],
            ),
            Do("DELETE s FROM stat WHERE k = @ IF s = 9"),
            Do("DELETE s FROM stat WHERE k = @ IF s = 4"),
            Do("DELETE s FROM stat WHERE k = @ IF EXISTS"),
            Do("UPDATE stat SET sm['x'] = 1 WHERE k = @ IF s = null"),
            Do("INSERT INTO stat (k, c, a) VALUES (@, 2, 1) IF NOT EXISTS"),
        ],
    ),
    case(
        "static that is not there, IF EXISTS",
        &[
            Do("UPDATE stat SET s = 1 WHERE k = @ IF EXISTS"),
            Do("DELETE s FROM stat WHERE k = @ IF EXISTS"),
        ],
    )
    .gone(),
    case(
        "conditions on collections",
        &[
            Do(
                "INSERT INTO coll (k, c, st, m, u, fl, tup) VALUES (@, 1, {1}, {'a': 1}, \
            {street: 'x', no: 1}, [1], (1, 'x'))",
            ),
            Do("UPDATE coll SET st = st + {2} WHERE k = @ AND c = 1 IF m['a'] = 1"),
            Do("UPDATE coll SET m['b'] = 2 WHERE k = @ AND c = 1 IF u.street = 'x'"),
            Do("UPDATE coll SET u.no = 2 WHERE k = @ AND c = 1 IF st = {1, 2}"),
            Do("UPDATE coll SET fl = [2] WHERE k = @ AND c = 1 IF fl = [1] AND tup = (1, 'x')"),
            With(
                "UPDATE coll SET m[?] = ? WHERE k = ? AND c = 1 IF m[?] = ?",
                &[Text("c"), Int(3), K, Text("b"), Int(2)],
            ),
            Do("DELETE m['a'] FROM coll WHERE k = @ AND c = 1 IF m['a'] = 7"),
        ],
    )
    .values_only(),
    case(
        "lists under a condition",
        &[
            Do("INSERT INTO coll (k, c, l) VALUES (@, 1, [1, 2]) IF NOT EXISTS"),
            Do("UPDATE coll SET l = l + [3] WHERE k = @ AND c = 1 IF l[0] = 1"),
            Do("UPDATE coll SET l = l + [4] WHERE k = @ AND c = 1 IF l[0] = 9"),
            Do("UPDATE coll SET l[0] = 7 WHERE k = @ AND c = 1 IF l = [1, 2, 3]"),
            With(
                "UPDATE coll SET l = l - ? WHERE k = ? AND c = 1 IF EXISTS",
                &[Many(&[Int(2)]), K],
            ),
            Do("DELETE l[0] FROM coll WHERE k = @ AND c = 1 IF EXISTS"),
        ],
    )
    .values_only(),
    case(
        "conditional BEGIN BATCH",
        &[
            Do(
                "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (@, 1, 1) IF NOT EXISTS \
            UPDATE t SET b = 'beside' WHERE k = @ AND c = 2 APPLY BATCH",
            ),
            Do(
                "BEGIN BATCH UPDATE t SET a = 2 WHERE k = @ AND c = 1 IF a = 9; \
            UPDATE t SET b = 'never' WHERE k = @ AND c = 3; APPLY BATCH",
            ),
            With(
                "BEGIN BATCH UPDATE t SET a = ? WHERE k = ? AND c = 1 IF a = ?; \
              DELETE FROM t WHERE k = ? AND c = ?; APPLY BATCH",
                &[Int(3), K, Int(1), K, Int(2)],
            ),
            Do(
                "BEGIN UNLOGGED BATCH INSERT INTO stat (k, c, a) VALUES (@, 1, 1) IF NOT EXISTS \
            UPDATE stat SET s = 5 WHERE k = @ IF s = null APPLY BATCH",
            ),
        ],
    ),
    case(
        "conditional BATCH message",
        &[
            Batch(
                0,
                None,
                &[
                    (
                        "INSERT INTO t (k, c, a) VALUES (?, 1, 1) IF NOT EXISTS",
                        &[K],
                    ),
                    (
                        "UPDATE t SET b = ? WHERE k = ? AND c = 2",
                        &[Text("beside"), K],
                    ),
                ],
            ),
            Batch(
                0,
                None,
                &[
                    (
                        "UPDATE t SET a = 3 WHERE k = ? AND c = 1 IF a = ?",
                        &[K, Int(8)],
                    ),
                    (
                        "UPDATE t SET b = ? WHERE k = ? AND c = 3",
                        &[Text("never"), K],
                    ),
                ],
            ),
            Batch(
                1,
                None,
                &[
                    (
                        "UPDATE t SET a = 4 WHERE k = ? AND c = 1 IF a = ?",
                        &[K, Int(1)],
                    ),
                    ("DELETE FROM t WHERE k = ? AND c = 2 IF EXISTS", &[K]),
                    (
                        "INSERT INTO t (k, c, a) VALUES (?, 7, 1) IF NOT EXISTS",
                        &[K],
                    ),
                ],
            ),
        ],
    ),
    case(
        "range delete beside a condition",
        &[
            Do("UPDATE stat SET a = 1, s = 1 WHERE k = @ AND c = 1"),
            Do("UPDATE stat SET a = 1 WHERE k = @ AND c IN (2, 3)"),
            Do("BEGIN BATCH UPDATE stat SET s = 2 WHERE k = @ IF s = 1 \
            DELETE FROM stat WHERE k = @ AND c > 1 APPLY BATCH"),
        ],
    ),
    case(
        "conditions and plain writes mixed",
        &[
            Do("UPDATE t SET a = 1, b = 'plain' WHERE k = @ AND c = 1"),
            Do("UPDATE t SET a = 2 WHERE k = @ AND c = 1 IF b = 'plain'"),
            Do("UPDATE t SET b = 'late' WHERE k = @ AND c = 1"),
            Do("UPDATE t SET a = 3 WHERE k = @ AND c = 1 IF b = 'late'"),
            Do("DELETE a FROM t WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "generated values under a condition",
        &[
            Do(
                "INSERT INTO gen (k, c, u, ts) VALUES (@, now(), uuid(), toTimestamp(now())) IF \
                    NOT EXISTS",
            ),
            With(
                "INSERT INTO gen (k, c, u) VALUES (?, d2177dd0-eaa2-11de-a572-001b779c76e3, \
                    uuid()) \
              IF NOT EXISTS",
                &[K],
            ),
            Do("UPDATE gen SET ts = currentTimestamp() WHERE k = @ AND \
            c = d2177dd0-eaa2-11de-a572-001b779c76e3 IF EXISTS"),
        ],
    ),
    case(
        "quoted names under a condition",
        &[
            Do("INSERT INTO \"QuotedT\" (k, \"C d\", \"select\") VALUES (@, 1, 'x') IF NOT EXISTS"),
            Do(
                "UPDATE \"QuotedT\" SET \"a\"\"b\" = 1 WHERE k = @ AND \"C d\" = 1 IF \"select\" \
                    = 'x'",
            ),
        ],
    ),
    case(
        "composite keys under a condition",
        &[
            Do("INSERT INTO wide (k, p, c1, c2, a) VALUES (@, 'p', 1, 'x', 1) IF NOT EXISTS"),
            With(
                "UPDATE wide SET a = ? WHERE k = ? AND p = ? AND c1 = ? AND c2 = ? IF a = ?",
                &[Int(2), K, Text("p"), Int(1), Text("x"), Int(1)],
            ),
            With(
                "DELETE FROM wide WHERE k = ? AND p = 'p' AND (c1, c2) = (?, ?) IF a = 3",
                &[K, Int(1), Text("x")],
            ),
        ],
    ),
    case(
        "refused under a condition",
        &[
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, 1) IF NOT EXISTS"),
            Refused("UPDATE t SET a = 2 WHERE k = @ AND c = 1 IF nope = 1", &[]),
            Refused(
                "UPDATE t USING TIMESTAMP 5 SET a = 2 WHERE k = @ AND c = 1 IF a = 1",
                &[],
            ),
            Refused("DELETE FROM t WHERE k = @ IF EXISTS", &[]),
            Refused(
                "UPDATE t SET a = 2 WHERE k = @ AND c = 1 IF a = 'text'",
                &[],
            ),
        ],
    ),
];
