//! `now()`, `uuid()` and kin: the same value at both clusters.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    case(
        "now and uuid in a text",
        &[
            Do("INSERT INTO gen (k, c, u, tu) VALUES (@, now(), uuid(), now())"),
            Do("insert into GEN (k, C, U) values (@, NOW(), Uuid ( ))"),
            Do("INSERT INTO gen (k, c, u) VALUES (@, now/* x */(), -- y\n uuid())"),
        ],
    ),
    case(
        "camel case",
        &[Do(
            "INSERT INTO gen (k, c, ts, d, ti, tu) VALUES (@, currentTimeUUID(), \
                currentTimestamp(), \
            currentDate(), currentTime(), currentTimeUUID())",
        )],
    ),
    case(
        "snake case",
        &[
            Do(
                "INSERT INTO gen (k, c, ts, d, ti, tu) VALUES (@, current_timeuuid(), \
            current_timestamp(), current_date(), current_time(), now())",
            ),
            Do(
                "INSERT INTO gen (k, c, ts, d, b) VALUES (@, now(), to_timestamp(now()), \
            to_date(current_timeuuid()), to_unix_timestamp(now()))",
            ),
            With(
                "INSERT INTO gen (k, c, ts) VALUES (?, now(), to_timestamp(current_date()))",
                &[K],
            ),
        ],
    )
    .since(50),
    case(
        "nested",
        &[
            Do(
                "INSERT INTO gen (k, c, ts, d, b) VALUES (@, now(), toTimestamp(now()), \
                    toDate(now()), \
            toUnixTimestamp(now()))",
            ),
            Do(
                "INSERT INTO gen (k, c, ts, d) VALUES (@, now(), toTimestamp(now()), \
            toDate(toTimestamp(now())))",
            ),
            Do(
                "UPDATE gen SET bl = timeuuidAsBlob(now()), x = blobAsText(textAsBlob('y')) \
            WHERE k = @ AND c = 00000000-0000-1000-8080-808080808080",
            ),
        ],
    ),
    case(
        "in keys",
        &[
            Do("INSERT INTO gen_key (k, u, d) VALUES (@, uuid(), currentDate())"),
            With(
                "INSERT INTO gen_key (k, u, d) VALUES (?, uuid(), currentDate())",
                &[K],
            ),
            Do("UPDATE gen SET x = 'key' WHERE k = @ AND c = now()"),
            Do("DELETE FROM gen WHERE k = @ AND c > maxTimeuuid(currentTimestamp())"),
            Do("DELETE FROM gen_key WHERE k = @ AND u = uuid()"),
        ],
    ),
    case(
        "in collections",
        &[
            Do(
                "INSERT INTO gen (k, c, su, m, l, fl, tup) VALUES (@, now(), {uuid(), uuid()}, \
            {uuid(): currentTimestamp()}, [now(), now()], [uuid()], (uuid(), toTimestamp(now())))",
            ),
            Do(
                "UPDATE gen SET su = su + {uuid()}, m[uuid()] = toTimestamp(now()), l = l + \
                    [now()] \
            WHERE k = @ AND c = 00000000-0000-1000-8080-808080808080",
            ),
            Do("UPDATE gen SET ug.id = uuid() WHERE k = @ AND \
            c = 00000000-0000-1000-8080-808080808080"),
            Do(
                "UPDATE gen SET ug = {id: uuid(), at: currentTimestamp()} WHERE k = @ AND \
            c = 00000000-0000-1000-8080-808080808081",
            ),
            With(
                "INSERT INTO gen (k, c, su, fl) VALUES (?, now(), {uuid()}, ?)",
                &[K, Many(&[Bytes(&[2; 16])])],
            ),
        ],
    ),
    case(
        "prepared between marks",
        &[
            With(
                "INSERT INTO gen (k, c, u, x, ts) VALUES (?, now(), uuid(), ?, toTimestamp(now()))",
                &[K, Text("bound")],
            ),
            With(
                "INSERT INTO gen (k, c, u, x, ts) VALUES (?, now(), uuid(), ?, toTimestamp(now()))",
                &[K, Text("again")],
            ),
            With(
                "UPDATE gen USING TTL ? SET u = uuid(), x = ? WHERE k = ? AND c = now()",
                &[Int(9_000), Text("x"), K],
            ),
            Named(
                "INSERT INTO gen (k, c, x, u, a, ts) VALUES (:k, now(), :n, uuid(), :n, \
                 toTimestamp(now()))",
                &[("k", K), ("n", Text("one name twice"))],
            ),
            With(
                "INSERT INTO gen (k, c, x, u) VALUES (:k, now(), :x, uuid())",
                &[K, Text("names, values by place")],
            ),
            Named(
                "UPDATE gen SET u = uuid(), x = :x WHERE k = :k AND c = now()",
                &[("x", Text("named")), ("k", K)],
            ),
        ],
    ),
    case(
        "in batches",
        &[
            Do(
                "BEGIN BATCH INSERT INTO gen (k, c, u) VALUES (@, now(), uuid()); \
            INSERT INTO gen (k, c, u) VALUES (@, now(), uuid()); APPLY BATCH",
            ),
            With(
                "BEGIN BATCH INSERT INTO gen (k, c, x) VALUES (?, now(), ?) \
              INSERT INTO gen (k, c, u) VALUES (?, now(), uuid()) APPLY BATCH",
                &[K, Text("x"), K],
            ),
            Batch(
                0,
                None,
                &[
                    (
                        "INSERT INTO gen (k, c, u, x) VALUES (?, now(), uuid(), ?)",
                        &[K, Text("message")],
                    ),
                    (
                        "INSERT INTO gen (k, c, u, x) VALUES (?, now(), uuid(), ?)",
                        &[K, Text("message")],
                    ),
                    ("INSERT INTO t (k, c, a) VALUES (?, 1, ?)", &[K, Int(1)]),
                ],
            ),
        ],
    ),
    case(
        "beside stamps and TTLs",
        &[
            Do(
                "INSERT INTO gen (k, c, u) VALUES (@, now(), uuid()) USING TTL 900 AND TIMESTAMP \
                    1000",
            ),
            At(
                1_700_000_000_000_000,
                "INSERT INTO gen (k, c, x) VALUES (?, now(), ?)",
                &[K, Text("x")],
            ),
        ],
    ),
    case(
        "dates and durations",
        &[Do(
            "INSERT INTO gen (k, c, d, ts) VALUES (@, now(), currentDate() - 1d, \
            currentTimestamp() + 2h)",
        )],
    )
    .since(40),
    case(
        "JSON beside a generated key",
        &[
            Do(
                "INSERT INTO gen JSON '{\"k\": @, \"c\": \"00000000-0000-1000-8080-808080808080\", \
            \"x\": \"now()\"}'",
            ),
            Do("UPDATE gen SET u = uuid(), x = fromJson('\"uuid()\"') WHERE k = @ AND c = now()"),
        ],
    ),
    case(
        "functions of one's own",
        &[
            Do(
                "CREATE FUNCTION IF NOT EXISTS plus_@ (a int, b int) RETURNS NULL ON NULL INPUT \
            RETURNS int LANGUAGE java AS 'return a + b;'",
            ),
            Do("INSERT INTO t (k, c, a) VALUES (@, 1, plus_@(1, 2))"),
            With(
                "UPDATE t SET a = plus_@(?, 3) WHERE k = ? AND c = 2",
                &[Int(4), K],
            ),
            Do("DROP FUNCTION plus_@"),
        ],
    )
    .schema(),
];
