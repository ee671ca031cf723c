//! Every type, as literal and bound; JSON; casts, arithmetic and functions without surprise.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    case("every type, literal", &[
        Do("INSERT INTO types (k, a, bi, bl, bo, d, de, dou, du, f, i, si, te, ti, ts, tu, ty, u, \
            vi) \
            VALUES (@, 'ascii', -9223372036854775808, 0x00ff, true, '2024-02-29', -1.23E-30, \
            1e300, \
            1mo2d3h4ns, 1.5, '192.168.1.254', -32768, 'text', '23:59:59.999999999', \
            '2024-02-29T12:30:15.123+0000', d2177dd0-eaa2-11de-a572-001b779c76e3, -128, \
            b3f2c1d0-0000-4000-8000-00000000abcd, \
            -1606938044258990275541962092341162602522202993782792835301376)"),
        Do("UPDATE types SET d = 4294967295, dou = -0.0, f = NaN, du = P1Y2M3DT4H5M6S, i = '::1' \
            WHERE k = @"),
    ]),
    case("edges of types", &[
        Do("INSERT INTO types (k, dou, f, ts, d, ti, vi, de, bl, te, a) VALUES (@, Infinity, \
            -Infinity, 0, 0, 0, 0, 0, 0x, '', '')"),
        Do("UPDATE types SET dou = NaN, ts = -62135596800000, du = -1y, i = 'fe80::1:2:3:4' \
            WHERE k = @"),
    ]),
    case("every type, bound", &[
        With("INSERT INTO types (k, a, bi, bl, bo, d, de, dou, du, f, i, si, te, ti, ts, tu, ty, \
            u, vi) \
              VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            &[K, Text("ascii"), Big(i64::MIN), Bytes(&[0, 255]), Bytes(&[1]),
              Bytes(&[0x80, 0, 0x4d, 0x46]), Bytes(&[0, 0, 0, 32, 0x85]), Double(1e300),
              Bytes(&[2, 4, 6]), Bytes(&[0x3f, 0xc0, 0, 0]), Bytes(&[192, 168, 1, 254]),
              Small(-5), Text("tëxt"), Big(86_399_999_999_999), Big(-1),
              Bytes(&[0xd2, 0x17, 0x7d, 0xd0, 0xea, 0xa2, 0x11, 0xde, 0xa5, 0x72, 0, 0x1b, 0x77,
                      0x9c, 0x76, 0xe3]), Tiny(-128),
              Bytes(&[0xb3, 0xf2, 0xc1, 0xd0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0xab, 0xcd]),
              Bytes(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]),
    ]),
    case("empty values", &[
        With("INSERT INTO types (k, te, bl, a) VALUES (?, ?, ?, ?)", &[K, Text(""), Bytes(&[]),
            Text("")]),
        With("UPDATE types SET bi = ?, u = ?, dou = ?, i = ?, vi = ? WHERE k = ?",
            &[Bytes(&[]), Bytes(&[]), Bytes(&[]), Bytes(&[]), Bytes(&[]), K]),
    ]),
    case("keys of all types", &[
        Do("INSERT INTO keys (k, a, b, c, d, e, f, g, v) VALUES (@, 'x', 0x, 1.50, '2024-01-01', \
            '10.0.0.1', d2177dd0-eaa2-11de-a572-001b779c76e3, (1, 'y'), 1)"),
        Do("INSERT INTO keys (k, a, b, c, d, e, f, g, v) VALUES (@, '', 0xff, -0.5, '1969-01-01', \
            '::1', d2177dd0-eaa2-11de-a572-001b779c76e3, (null, 'y'), 1)"),
        Do("DELETE FROM keys WHERE k = @ AND a = 'x' AND b = 0x AND c = 1.50"),
        Do("UPDATE keys SET v = 2 WHERE k = @ AND a = 'y' AND b = 0x01 AND c = 1 AND d = \
            '2024-01-01' AND e = '10.0.0.1' AND f = d2177dd0-eaa2-11de-a572-001b779c76e3 \
            AND g = (2, '')"),
    ]),
    case("JSON", &[
        Do("INSERT INTO t JSON '{\"k\": @, \"c\": 1, \"a\": 5, \"b\": \"it''s\"}'"),
        With("INSERT INTO t JSON ?", &[Text("{\"k\": 0, \"c\": 1, \"a\": 5}")]),
        Do("INSERT INTO coll JSON '{\"k\": @, \"c\": 1, \"st\": [1, 2], \"m\": {\"a\": 1}, \
            \"l\": [3, 3], \"u\": {\"street\": \"x\", \"no\": 1}, \"fl\": [1], \
            \"tup\": [1, \"x\"]}'"),
        Do("INSERT INTO \"QuotedT\" JSON '{\"k\": \"@\", \"\\\"C d\\\"\": 1, \"\\\"select\\\"\": \
            \"y\"}'"),
    ]).gone(),
    case("JSON over a row, with and without DEFAULT UNSET", &[
        Do("INSERT INTO t (k, c, a, b) VALUES (@, 1, 1, 'x')"),
        Do("INSERT INTO t (k, c, a, b) VALUES (@, 2, 1, 'x')"),
        Do("INSERT INTO t (k, c, a, b) VALUES (@, 3, 1, 'x')"),
        Do("INSERT INTO t JSON '{\"k\": @, \"c\": 1, \"a\": 2}' DEFAULT UNSET"),
        Do("INSERT INTO t JSON '{\"k\": @, \"c\": 2, \"a\": 2}' DEFAULT NULL"),
        Do("INSERT INTO t JSON '{\"k\": @, \"c\": 3, \"a\": 2}'"),
        Do("INSERT INTO t JSON '{\"k\": @, \"c\": 4, \"b\": \"now() USING TIMESTAMP 1\"}' \
            USING TTL 9000 AND TIMESTAMP 1700000000000000"),
        Do("INSERT INTO t JSON $${\"k\": @, \"c\": 5, \"b\": \"it's\"}$$ DEFAULT UNSET USING TTL \
            900"),
    ]),
    case("fromJson", &[
        Do("INSERT INTO coll (k, c, st, u) VALUES (@, 1, fromJson('[1, 2]'), \
            fromJson('{\"street\": \"s\"}'))"),
        Do("UPDATE coll SET m = fromJson('{\"a\": 1}') WHERE k = @ AND c = 2"),
        With("UPDATE t SET a = fromJson(?) WHERE k = ? AND c = 1", &[Text("7"), K]),
    ]),
    case("arithmetic", &[
        Do("INSERT INTO t (k, c, a) VALUES (@, 1 + 1, 2 * 3 - 1)"),
        With("UPDATE t SET a = 5 + (int) ? WHERE k = ? AND c = 1", &[Int(2), K]),
        Do("UPDATE t SET a = -3, b = 'x' + 'y' WHERE k = @ AND c = 1 + 2"),
    ]).since(41),
    case("numbers with signs", &[
        Do("INSERT INTO t (k, c, a) VALUES (@, -1, -2147483648)"),
        Do("UPDATE types SET de = -0.00, vi = -1, dou = -1.5e-3, si = -1, du = -2h WHERE k = @"),
    ]),
    case("casts", &[
        With("INSERT INTO t (k, c, a, b) VALUES (@, (int) 1, (int) ?, (text) 'x')", &[Int(4)]),
        Do("INSERT INTO coll (k, c, st, l) VALUES (@, 1, (set<int>) {1, 2}, (list<int>) [1, 2])"),
    ]),
    case("pure functions", &[
        Do("UPDATE types SET bl = textAsBlob('x'), bi = blobAsBigint(0x0000000000000001) \
            WHERE k = @"),
        Do("INSERT INTO types (k, ts, d, tu) VALUES (@, toTimestamp('2024-01-01'), \
            toDate(d2177dd0-eaa2-11de-a572-001b779c76e3), minTimeuuid('2024-01-01'))"),
        With("UPDATE types SET bl = intAsBlob(?) WHERE k = ?", &[Int(5), K]),
    ]),
    case("token in a delete is refused", &[
        Do("INSERT INTO t (k, c) VALUES (@, 1)"),
        Refused("DELETE FROM t WHERE token(k) = token(@)", &[]),
    ]),
    case("large value", &[
        With("INSERT INTO types (k, bl) VALUES (?, ?)", &[K, Bytes(&[7; 300_000])]),
    ]),
    case("vector", &[
        Do("CREATE TABLE vectors_@ (k int PRIMARY KEY, v vector<float, 3>)"),
        Do("INSERT INTO vectors_@ (k, v) VALUES (@, [1.0, 2.5, -3])"),
        With("INSERT INTO vectors_@ (k, v) VALUES (?, ?)",
            &[Int(2), Bytes(&[0x3f, 0x80, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0])]),
        Do("UPDATE vectors_@ SET v = [4, 5, 6] WHERE k = 3"),
        Do("DELETE v FROM vectors_@ WHERE k = 2"),
    ]).since(50).schema(),
];
