//! Lists, sets, maps, user types, tuples, frozen ones, statics.

use super::case::{Case, Step::*, V::*, case};

pub const CASES: &[Case] = &[
    // ---- lists
    case(
        "list, whole",
        &[
            Do("INSERT INTO coll (k, c, l) VALUES (@, 1, [1, 2, 2])"),
            Do("INSERT INTO coll (k, c, l) VALUES (@, 1, [3, 4])"),
            With(
                "UPDATE coll SET l = ? WHERE k = ? AND c = ?",
                &[Many(&[Int(5), Int(5)]), K, Int(2)],
            ),
            With(
                "UPDATE coll SET l = ? + l WHERE k = @ AND c = 3",
                &[Many(&[Int(5), Int(6)])],
            ),
            Do("UPDATE coll SET l = [] WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "list, append and prepend",
        &[
            Do("UPDATE coll SET l = l + [1, 2] WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET l = l + ? WHERE k = ? AND c = 1",
                &[Many(&[Int(3)]), K],
            ),
            Do("UPDATE coll SET l = [9, 8] + l WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET l = ? + l WHERE k = ? AND c = 1",
                &[Many(&[Int(7), Int(6)]), K],
            ),
            Do("UPDATE coll SET l += [4] WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "list, by index",
        &[
            Do("INSERT INTO coll (k, c, l) VALUES (@, 1, [1, 2, 3, 4])"),
            Do("UPDATE coll SET l[0] = 9 WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET l[?] = ? WHERE k = ? AND c = 1",
                &[Int(1), Int(8), K],
            ),
            With("UPDATE coll SET l[2] = ? WHERE k = ? AND c = 1", &[Null, K]),
            Do("DELETE l[0] FROM coll WHERE k = @ AND c = 1"),
            With("DELETE l[?] FROM coll WHERE k = ? AND c = 1", &[Int(1), K]),
            Refused("UPDATE coll SET l[9] = 1 WHERE k = @ AND c = 1", &[]),
            Refused("DELETE l[?] FROM coll WHERE k = ? AND c = 1", &[Int(5), K]),
        ],
    ),
    case(
        "list, removal",
        &[
            Do("INSERT INTO coll (k, c, l) VALUES (@, 1, [1, 2, 1, 3])"),
            Do("UPDATE coll SET l = l - [1] WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET l = l - ? WHERE k = ? AND c = 1",
                &[Many(&[Int(2), Int(9)]), K],
            ),
            Do("UPDATE coll SET l -= [9] WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "list, deleted and null",
        &[
            Do("INSERT INTO coll (k, c, l, st) VALUES (@, 1, [1, 2], {1})"),
            Do("DELETE l FROM coll WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET l = l + [7] WHERE k = @ AND c = 1"),
            With("INSERT INTO coll (k, c, l) VALUES (?, 2, ?)", &[K, Null]),
            With("INSERT INTO coll (k, c, l) VALUES (?, 3, ?)", &[K, Unset]),
            With(
                "UPDATE coll SET l = l + ? WHERE k = ? AND c = 4",
                &[Null, K],
            ),
        ],
    ),
    case(
        "list, with stamps and TTLs",
        &[
            Do(
                "INSERT INTO coll (k, c, l) VALUES (@, 1, [1, 2]) USING TIMESTAMP 1000 AND TTL \
                    9000",
            ),
            Do("UPDATE coll USING TIMESTAMP 2000 SET l = l + [3] WHERE k = @ AND c = 1"),
            Do("UPDATE coll USING TTL 8000 SET l = l + [4] WHERE k = @ AND c = 2"),
            At(
                1_700_000_000_000_000,
                "UPDATE coll SET l = l + ? WHERE k = ? AND c = 3",
                &[Many(&[Int(1), Int(2)]), K],
            ),
        ],
    ),
    case(
        "list beside other columns",
        &[
            With(
                "UPDATE coll SET l = l + ?, st = st + ?, m[?] = ?, u.no = ? WHERE k = ? AND c = 1",
                &[
                    Many(&[Int(1)]),
                    Many(&[Int(2)]),
                    Text("x"),
                    Int(3),
                    Int(4),
                    K,
                ],
            ),
            Do("UPDATE coll SET l = [5] + l, fl = [1] WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "list, quick changes keep their order",
        &[
            Do("UPDATE coll SET l = l + [1] WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET l = l + [2] WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET l = [0] + l WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET l[1] = 9 WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET l = l - [2] WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET l = l + [3] WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "list of frozen and of text",
        &[
            Do("UPDATE coll SET lt = lt + ['a', 'it''s'], lf = [[1, 2], []] WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET lt = ? + lt, lf = lf + ? WHERE k = ? AND c = 1",
                &[Many(&[Text("b"), Text("")]), Many(&[Many(&[Int(1)])]), K],
            ),
        ],
    ),
    // ---- sets
    case(
        "set",
        &[
            Do("INSERT INTO coll (k, c, st) VALUES (@, 1, {3, 1, 2})"),
            Do("UPDATE coll SET st = st + {4}, st2 = {'a'} WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET st = st - ? WHERE k = ? AND c = 1",
                &[Many(&[Int(1)]), K],
            ),
            Do("DELETE st[2] FROM coll WHERE k = @ AND c = 1"),
            With("DELETE st[?] FROM coll WHERE k = ? AND c = 1", &[Int(9), K]),
            Do("UPDATE coll SET st += {7} WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET st -= {3} WHERE k = @ AND c = 1"),
            Do("INSERT INTO coll (k, c, st) VALUES (@, 2, {})"),
            With(
                "UPDATE coll SET st = ? WHERE k = ? AND c = 1",
                &[Many(&[Int(5), Int(6)]), K],
            ),
        ],
    ),
    case(
        "set under TTLs and stamps",
        &[
            Do("UPDATE coll USING TTL 9000 SET st = {1} WHERE k = @ AND c = 1"),
            Do("UPDATE coll USING TIMESTAMP 1000 SET st = st + {2} WHERE k = @ AND c = 2"),
            Do("UPDATE coll USING TIMESTAMP 999 SET st = {3} WHERE k = @ AND c = 2"),
        ],
    ),
    // ---- maps
    case(
        "map",
        &[
            Do("INSERT INTO coll (k, c, m) VALUES (@, 1, {'a': 1, 'b': 2})"),
            Do("UPDATE coll SET m['c'] = 3 WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET m[?] = ? WHERE k = ? AND c = 1",
                &[Text("d"), Int(4), K],
            ),
            With(
                "UPDATE coll SET m[?] = ? WHERE k = ? AND c = 1",
                &[Text("a"), Null, K],
            ),
            Do("UPDATE coll SET m = m + {'e': 5} WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET m = m - {'e'} WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET m = m - ? WHERE k = ? AND c = 1",
                &[Many(&[Text("b")]), K],
            ),
            Do("UPDATE coll SET m += {'f': 6}, m2[1] = {'x': 1} WHERE k = @ AND c = 1"),
            Do("UPDATE coll SET m -= {'z'} WHERE k = @ AND c = 1"),
            Do("DELETE m['c'] FROM coll WHERE k = @ AND c = 1"),
            With(
                "DELETE m[?], m2[?] FROM coll WHERE k = ? AND c = 1",
                &[Text("d"), Int(2), K],
            ),
            With(
                "UPDATE coll SET m = ? WHERE k = ? AND c = 2",
                &[Map(&[(Text("k"), Int(1)), (Text(""), Int(2))]), K],
            ),
            With(
                "UPDATE coll SET m['x'] = ?, m[?] = 2 WHERE k = @ AND c = 3",
                &[Int(1), Text("y")],
            ),
        ],
    ),
    // ---- user types and tuples
    case(
        "user type",
        &[
            Do("INSERT INTO coll (k, c, u) VALUES (@, 1, {street: 'x', no: 1})"),
            Do("UPDATE coll SET u.street = 'y' WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET u.no = ? WHERE k = ? AND c = 1",
                &[Int(9), K],
            ),
            With("UPDATE coll SET u.no = ? WHERE k = ? AND c = 1", &[Null, K]),
            Do("DELETE u.street FROM coll WHERE k = @ AND c = 1"),
            With(
                "UPDATE coll SET u = ? WHERE k = ? AND c = 2",
                &[Fields(&[Text("s"), Null]), K],
            ),
            Do("UPDATE coll SET u = {no: 4} WHERE k = @ AND c = 3"),
            Do("UPDATE coll SET u = null WHERE k = @ AND c = 3"),
            With(
                "INSERT INTO coll (k, c, u) VALUES (?, 4, {street: ?, no: ?})",
                &[K, Text("bound"), Int(1)],
            ),
            Do("UPDATE coll SET uu = {a: {street: 'in', no: 2}, b: [1, 2]} WHERE k = @ AND c = 5"),
            Do("UPDATE coll SET uu.b = [3] WHERE k = @ AND c = 5"),
        ],
    ),
    case(
        "frozen",
        &[
            Do(
                "INSERT INTO coll (k, c, fl, fs, fm, fu, tup) VALUES (@, 1, [1, 1], {2, 1}, {'a': \
                    1}, \
            {street: 'x', no: 2}, (1, 'x'))",
            ),
            Do("UPDATE coll SET fl = [2], tup = (null, 'y') WHERE k = @ AND c = 1"),
            With(
                "INSERT INTO coll (k, c, fl, fs, fm, fu, tup) VALUES (?, 2, ?, ?, ?, ?, ?)",
                &[
                    K,
                    Many(&[Int(1), Int(1)]),
                    Many(&[Int(1)]),
                    Map(&[(Text("k"), Int(1))]),
                    Fields(&[Null, Int(1)]),
                    Fields(&[Int(1), Null]),
                ],
            ),
            Do("INSERT INTO coll (k, c, fl, fs, fm) VALUES (@, 3, [], {}, {})"),
            With(
                "INSERT INTO coll (k, c, fl, tup) VALUES (?, 4, [1], (?, 'x'))",
                &[K, Int(2)],
            ),
        ],
    ),
    // ---- statics
    case(
        "static",
        &[
            Do("INSERT INTO stat (k, s) VALUES (@, 1)"),
            Do("INSERT INTO stat (k, c, s, a) VALUES (@, 1, 2, 3)"),
            With("UPDATE stat SET s = ? WHERE k = ?", &[Int(5), K]),
            With(
                "UPDATE stat SET s = ?, a = ? WHERE k = ? AND c = ?",
                &[Int(6), Int(7), K, Int(2)],
            ),
            Do("DELETE FROM stat WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "static, only that",
        &[Do("UPDATE stat SET s = 1 WHERE k = @")],
    ),
    case(
        "static, deleted",
        &[
            Do("INSERT INTO stat (k, c, s, a) VALUES (@, 1, 2, 3)"),
            Do("DELETE s FROM stat WHERE k = @"),
            With("DELETE s, sm FROM stat WHERE k = ?", &[K]),
        ],
    ),
    case(
        "static collections",
        &[
            Do("UPDATE stat SET sl = sl + [1, 2], sm['x'] = 1, su.no = 4, ss = {1} WHERE k = @"),
            With(
                "UPDATE stat SET sl = ? + sl, sm = sm + ?, ss = ss - ? WHERE k = ?",
                &[
                    Many(&[Int(0)]),
                    Map(&[(Text("y"), Int(2))]),
                    Many(&[Int(1)]),
                    K,
                ],
            ),
            Do("UPDATE stat SET sl[0] = 7 WHERE k = @"),
            Do("DELETE sl[1], sm['x'], su.no FROM stat WHERE k = @"),
            Do("UPDATE stat SET sl = sl - [9], a = 1 WHERE k = @ AND c = 1"),
        ],
    ),
    case(
        "static under a TTL",
        &[
            Do("INSERT INTO stat (k, s) VALUES (@, 1) USING TTL 9000"),
            Do(
                "INSERT INTO stat (k, c, s, a) VALUES (@, 1, 2, 3) USING TTL 8000 AND TIMESTAMP \
                    1000",
            ),
        ],
    ),
    case(
        "static of a deleted partition",
        &[
            Do("INSERT INTO stat (k, c, s, a) VALUES (@, 1, 2, 3)"),
            Do("DELETE FROM stat WHERE k = @"),
            Do("INSERT INTO stat (k, s) VALUES (@, 9)"),
        ],
    ),
];
