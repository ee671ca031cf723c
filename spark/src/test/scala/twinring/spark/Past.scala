package twinring.spark

import java.util.SplittableRandom

/** Rows of every kind, as a cluster has them that was written to for years: each cell with a
  * writetime of its own, some with a TTL, some deleted, collections grown element by element. As
  * tests/it/support/history.rs makes them.
  */
final class Past(node: Node, keyspace: String, seed: Long) {
  import Past._

  private val random = new SplittableRandom(seed)
  private val nowUs = Now.us()
  private def below(n: Int) = random.nextInt(n)

  def createTables(): Unit = Schema.foreach { what =>
    val (kind, rest) = what.splitAt(what.indexOf(' '))
    node.run(s"CREATE $kind $keyspace.${rest.trim}")
  }

  /** Fills all tables; `rows` in the large one. */
  def write(rows: Int): Unit = {
    for (row <- 0 until rows; _ <- 0 until 1 + below(4)) node.run(change(at(row)))
    for (p <- 0 until rows / 4) {
      val set = Seq("s = 5", "ss = ss + {1, 2}")(below(2))
      val partition = s"""p = $p AND "P 2" = 'only static'"""
      node.run(s"UPDATE $keyspace.every $using SET $set WHERE $partition")
    }
    for (n <- 0 until 20) {
      node.run(s"""INSERT INTO $keyspace."CaseCounts" (k, v) VALUES ('$n', $n) $using""")
      node.run(s"INSERT INTO $keyspace.keys_only (k, c) VALUES ($n, $n)")
      node.run(s"UPDATE $keyspace.counted SET n = n + $n, m = m - 3 WHERE k = $n AND c = 1")
      node.run(s"UPDATE $keyspace.counted SET s = s + 2 WHERE k = $n")
    }
  }

  private def at(row: Int) =
    s"""p = ${row / 5} AND "P 2" = 'x' AND c = ${row % 3} """ +
      f"AND d = 00000000-0000-4000-8000-$row%012d"

  private def change(at: String): String = {
    val table = s"$keyspace.every"
    def update(set: String, where: String) = s"UPDATE $table $using SET $set WHERE $where"
    below(10) match {
      case n if n < 5 =>
        val first = below(Singles.size)
        val set = (0 until 1 + below(5)).map { n =>
          val (name, values) = Singles((first + n * 3) % Singles.size)
          s"$name = ${values(below(values.size))}"
        }
        update(set.distinct.groupBy(_.takeWhile(_ != '=')).map(_._2.head).mkString(", "), at)
      case 5 =>
        val parts = at.split(" AND ").map(_.split(" = "))
        val (names, values) = (parts.map(_(0)).mkString(", "), parts.map(_(1)).mkString(", "))
        s"INSERT INTO $table ($names) VALUES ($values) $using"
      case 6 =>
        val n = below(9)
        update(s"l = l + ['$n', 'x'], m['k$n'] = $n, st = st + {$n, ${n + 1}}", at)
      case 7 => update(Seq("u.street = 'way'", "u.\"No\" = 4")(below(2)), at)
      case 8 => update(s"s = ${below(9)}", at.split(" AND c").head)
      case _ =>
        val (name, _) = Singles(below(Singles.size))
        s"DELETE $name, m FROM $table ${using.split(" AND").head} WHERE $at"
    }
  }

  /** A stamp in the last twelve days; a TTL in one of three. */
  private def using: String = {
    val stamp = nowUs - random.nextLong(1000000L, 1000000000000L)
    s"USING TIMESTAMP $stamp AND TTL ${if (below(3) == 0) 50000 + below(450000) else 0}"
  }
}

object Past {

  val Schema: Seq[String] = Seq(
    "TYPE addr (street text, \"No\" int)",
    "TABLE every (p int, \"P 2\" text, c bigint, d uuid, s int STATIC, ss set<int> STATIC, " +
      "a ascii, b bigint, bl blob, bo boolean, da date, de decimal, dou double, f float, i inet, " +
      "si smallint, t text, ti time, ts timestamp, tu timeuuid, tiny tinyint, v varint, " +
      "du duration, tup tuple<int, text>, fl frozen<list<int>>, fm frozen<map<text, int>>, " +
      "fu frozen<addr>, \"Odd \"\"Name\" int, l list<text>, st set<int>, m map<text, int>, " +
      "u addr, PRIMARY KEY ((p, \"P 2\"), c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC)",
    "TABLE \"CaseCounts\" (k text PRIMARY KEY, v int) WITH default_time_to_live = 80000",
    "TABLE keys_only (k int, c int, PRIMARY KEY (k, c))",
    "TABLE counted (k int, c int, n counter, m counter, s counter STATIC, PRIMARY KEY (k, c))")

  /** Columns of one cell, each with a few values; extremes and empty ones among them. */
  private val Singles: Vector[(String, Seq[String])] = Vector(
    "a" -> Seq("'x'", "''", "'ascii text'"),
    "b" -> Seq("-9223372036854775808", "0", "77"),
    "bl" -> Seq("0x", "0x00ff", "0xdeadbeef"),
    "bo" -> Seq("true", "false"),
    "da" -> Seq("'1970-01-01'", "'2038-01-20'", "'-1000-01-01'"),
    "de" -> Seq("1.000", "-0.0000000001", "123456789012345678901234567890"),
    "dou" -> Seq("NaN", "-Infinity", "0.1"),
    "f" -> Seq("NaN", "-0.0", "1.5"),
    "i" -> Seq("'127.0.0.1'", "'::1'", "'10.1.2.3'"),
    "si" -> Seq("-32768", "0", "5"),
    "t" -> Seq("'grüße'", "''", "'it''s'"),
    "ti" -> Seq("'00:00:00'", "'23:59:59.999999999'", "'08:12:54.1'"),
    "ts" -> Seq("-62135596800000", "9223372036854775807", "0"),
    "tu" -> Seq("50554d6e-29bb-11e5-b345-feff819cdc9f"),
    "tiny" -> Seq("-128", "127", "0"),
    "v" -> Seq("0", "-1", "99999999999999999999999999"),
    "du" -> Seq("1y2mo", "3d4h", "-5m"),
    "tup" -> Seq("(1, 'a')", "(2, null)", "(null, '')"),
    "fl" -> Seq("[1, 2]", "[]", "[3]"),
    "fm" -> Seq("{'a': 1}", "{}", "{'b': 2, 'c': 3}"),
    "fu" -> Seq("{street: 'x', \"No\": 1}", "{street: 'y'}", "{\"No\": 2}"),
    "\"Odd \"\"Name\"" -> Seq("1", "2", "3"))
}
