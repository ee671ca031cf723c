package twinring.spark

import java.nio.file.{Files, Path}

import org.scalatest.BeforeAndAfterAll
import org.scalatest.funsuite.AnyFunSuite

import scala.collection.JavaConverters._

/** Both jobs in `local[2]` between real Cassandra nodes, beside `twinring copy` and `verify`. */
final class ClustersSuite extends AnyFunSuite with BeforeAndAfterAll {

  override def afterAll(): Unit = Lab.stop()

  /** A keyspace, and the words that name it and two nodes to either tool. */
  private case class Case(name: String, from: Node, to: Node, splits: Int = 6) {
    def words(more: String*): Seq[String] =
      Seq(from.address, to.address, "--keyspace", name, "--splits", splits.toString) ++
        from.user("source") ++ to.user("target") ++ more

    private def checkpoint = Seq("--checkpoint", Lab.dir.resolve(s"$name-${to.name}").toString)

    def copyWords(more: String*): Seq[String] =
      words(checkpoint ++ Seq("--counter-quiet-ms", "300") ++ more: _*)

    def copy(more: String*): CopySummary =
      Copy.run(Lab.spark.sparkContext, Options.copy(copyWords(more: _*)))

    def verify(more: String*): VerifySummary = {
      val options = Options.verify(words(Seq("--settle-ms", "300") ++ more: _*))
      Verify.run(Lab.spark.sparkContext, options)
    }

    def rustCopy(more: String*): String = rust("copy", copyWords("--json" +: more: _*), 0)

    def rustVerify(code: Int, more: String*): String =
      rust("verify", words(Seq("--settle-ms", "300") ++ more: _*), code)

    private def rust(job: String, words: Seq[String], code: Int): String = {
      val (left, out) = Lab.twinring(job +: words)
      assert(left == code, s"twinring $job ${words.mkString(" ")}: $out")
      out
    }

    def folder: Path = Lab.dir.resolve(s"$name-report")

    /** Lines of the report's files. */
    def lines: Seq[String] =
      Files.list(folder).iterator.asScala.toSeq
        .filter(_.getFileName.toString.startsWith("part-"))
        .flatMap(Files.readAllLines(_).asScala)
  }

  private def everything(
      name: String,
      from: Node,
      to: Node,
      seed: Long,
      rows: Int = 200): Case = {
    Lab.createKeyspace(from, name)
    val past = new Past(from, name, seed)
    past.createTables()
    past.write(rows)
    Case(name, from, to)
  }

  /** The counts of a summary in JSON that do not depend on time or on how the ring was cut. */
  private def counts(json: String): Map[String, Long] = {
    val tree = Json.read(json.linesIterator.toSeq.last)
    Tally.Names.map(name => name -> tree.get(name).asLong).toMap
  }

  test("the target and the report are those of twinring itself") {
    val ours = everything("spark_every", Lab.source, Lab.target, 1)
    val theirs = Case(ours.name, ours.from, Lab.other)
    val copied = ours.copy("--create-schema")
    assert(copied.isComplete, copied)
    assert(copied.tally("counters_added") == 40)
    assert(counts(copied.toJson) == counts(theirs.rustCopy("--create-schema")))
    ours.rustVerify(0)
    Case(ours.name, Lab.target, Lab.other).rustVerify(0)
    for (one <- Seq(ours, theirs)) {
      val verified = one.verify("--report", one.folder.toString)
      assert(verified.isEqual && verified.failed.isEmpty && verified.equal > 200, verified)
      assert(one.lines.isEmpty)
    }
    // Again, as if nothing were known: nothing is doubled, no list and no counter.
    val again = ours.copy("--restart")
    assert(again.tally("lists") == 0 && again.tally("lists_replaced") == 0, again)
    assert(again.tally("lists_there") > 0 && again.tally("counters_added") == 0, again)
    // What is done is done.
    assert(ours.copy().rangesDone == 0)
    ours.rustVerify(0)
  }

  test("from an older source everything but the stamps of elements") {
    val ours = everything("spark_older", Lab.older, Lab.target, 2)
    assert(ours.copy("--create-schema", "--row-marker", "always").isComplete)
    ours.rustVerify(0)
    assert(ours.verify().isEqual)
  }

  test("planted differences are found in the same classes, and repaired") {
    val ours = everything("spark_planted", Lab.source, Lab.target, 3)
    assert(ours.copy("--create-schema").isComplete)
    Planted.ground(ours.name, ours.from, ours.to)
    val table = s"${ours.name}.every"
    for ((text, row) <- Planted.differences.map(_._1).zipWithIndex)
      ours.to.run(Planted.spelled(text, row, table))
    val theirFile = Lab.dir.resolve("theirs").toString
    ours.rustVerify(4, "--report", theirFile)
    val found = ours.verify("--report", ours.folder.toString)
    assert(!found.isEqual && ours.lines.size == found.found)
    val theirs = Files.readAllLines(java.nio.file.Paths.get(theirFile)).asScala
    // The second of expiry depends on when a row was read.
    def lasting(line: String) = line.replaceAll("\"expires_s\":\\d+", "\"expires_s\":S")
    assert(ours.lines.map(lasting).sorted == theirs.map(lasting).sorted)
    for (((text, kind, column), row) <- Planted.differences.zipWithIndex) {
      val here = ours.lines.map(Json.read).filter { line =>
        line.get("key").get(0).get(1).asText == f"${900 + row}%08x"
      }
      val named = here.exists { line =>
        line.get("class").asText == kind.word &&
        Option(line.get("column")).map(_.asText) == column
      }
      assert(named, s"$text: $here")
    }
    assert(found.rowsDiffering == Planted.differences.size)
    val frame = Lab.spark.read.json(ours.folder.toString)
    assert(frame.where("class = 'missing'").count() == found.of(Kind.Missing))
    val repaired = ours.verify("--repair")
    assert(repaired.repaired > 0 && !repaired.isEqual)
    // What only the target has deleted, or has a younger value of, is not overruled.
    val left = ours.verify("--repair", "--delete-extra")
    assert(left.found - left.repaired == left.of(Kind.Shadowed), left)
    val last = ours.verify()
    assert(last.rowsDiffering <= 2 && !last.isEqual, last)
    ours.rustVerify(4)
  }

  test("the notebook copies, compares and shows what differs") {
    val ours = everything("spark_notebook", Lab.source, Lab.target, 4, 20)
    val secrets = new SecretScopes(Map(("twinring", "target-password") -> "cassandra"))
    val widgets = new Widgets(
      Map(
        "source" -> ours.from.address,
        "target" -> ours.to.address,
        "keyspace" -> ours.name,
        "target_user" -> "cassandra",
        "folder" -> Lab.dir.toUri.toString,
        "options" -> "--splits 4",
        "verify_options" -> "--settle-ms 100"))
    val notebook = new NotebookRun(Lab.spark, Utilities(widgets, secrets))
    try {
      assert(notebook.run().isEmpty && notebook.shown.frames.isEmpty)
      ours.rustVerify(0)
      ours.to.run("DELETE FROM spark_notebook.keys_only WHERE k = 5 AND c = 5")
      val wrong = notebook.run()
      assert(wrong.exists(_.contains("the clusters are not equal")), wrong)
      assert(notebook.shown.frames.map(_.count()) == Seq(1, 1))
    } finally notebook.close()
  }

  test("counters are repaired by difference") {
    val ours = Case("spark_planted", Lab.source, Lab.target)
    ours.to.run("UPDATE spark_planted.counted SET n = n + 5 WHERE k = 3 AND c = 1")
    ours.from.run("UPDATE spark_planted.counted SET s = s + 5 WHERE k = 4")
    val found = ours.verify("--table", "counted", "--repair")
    assert(found.of(Kind.Value) == 2 && found.repaired == 0, found)
    val repaired = ours.verify("--table", "counted", "--repair-counters")
    assert(repaired.isEqual && repaired.repaired == 2, repaired)
    ours.rustVerify(0, "--table", "counted")
  }

  test("killed twice it goes on, as spark-submit runs it") {
    val ours = Case("spark_killed", Lab.source, Lab.target, splits = 16)
    Lab.createKeyspace(ours.from, ours.name)
    ours.from.run(
      "CREATE TABLE spark_killed.t (k int, c int, v text, l list<int>, PRIMARY KEY (k, c))")
    val insert = ours.from.session.prepare(
      "INSERT INTO spark_killed.t (k, c, v, l) VALUES (?, ?, ?, [1, 2, 3]) USING TIMESTAMP 5000")
    for (n <- 0 until 3000)
      ours.from.session.execute(insert.bind(Int.box(n), Int.box(n % 7), s"value $n"))
    def finished = {
      val folder = new java.io.File(ours.copyWords().sliding(2).collectFirst {
        case Seq("--checkpoint", path) => path
      }.get)
      val files = Option(folder.listFiles).toSeq.flatten
      files.filter(_.getName.matches("done-\\d+.jsonl"))
        .map(file => Files.readAllLines(file.toPath).size).sum
    }
    val slow = ours.copyWords("--create-schema", "--write-rate", "600")
    for (killAt <- Seq(3, 6)) {
      val out = Lab.dir.resolve(s"killed-$killAt").toFile
      val process = Lab.spawn(Lab.submit("Copy", slow), out)
      waitUntil(process, out)(finished >= killAt)
      process.destroyForcibly().waitFor() // SIGKILL
    }
    assert(finished < 16)
    val summary = ours.copy()
    assert(summary.isComplete && summary.rangesResumed >= 6, summary)
    assert(summary.tally("rows") == 3000, summary)
    ours.rustVerify(0)
  }

  test("both jobs say what they wait for, and go on when it is there") {
    val ours = Case("spark_waits", Lab.source, Lab.target, splits = 4)
    for (node <- Seq(ours.from, ours.to)) {
      Lab.createKeyspace(node, ours.name)
      node.run("CREATE TABLE spark_waits.t (k int PRIMARY KEY, v int)")
    }
    (1 to 100).foreach(k => ours.from.run(s"INSERT INTO spark_waits.t (k, v) VALUES ($k, $k)"))
    val verify = ours.words("--settle-ms", "10")
    val cases = Seq(("Copy", ours.copyWords(), ours.to), ("Verify", verify, ours.from))
    for ((job, words, node) <- cases) {
      replicas(node, ours.name, 2) // of one node
      val out = Lab.dir.resolve(s"waits-$job").toFile
      val process = Lab.spawn(Lab.submit(job, words), out)
      def said = Files.readAllLines(out.toPath).asScala.filter(_.contains("trying again"))
      waitUntil(process, out)(said.nonEmpty)
      replicas(node, ours.name, 1)
      assert(process.waitFor() == 0, Files.readAllLines(out.toPath))
      val Seq(line) = said
      val side = if (node == ours.to) "target" else "source"
      assert(line.startsWith(s"spark_waits.t: $side: UnavailableException: "), line)
      assert(line.contains(s"choose a --$side-consistency"), line)
    }
  }

  private def replicas(node: Node, keyspace: String, count: Int): Unit = node.run(
    s"ALTER KEYSPACE $keyspace WITH replication = " +
      s"{'class': 'SimpleStrategy', 'replication_factor': $count}")

  /** Waits for something that a running program does. */
  private def waitUntil(process: Process, out: java.io.File)(isSo: => Boolean): Unit = {
    val beganNs = System.nanoTime()
    while (!isSo) {
      assert(process.isAlive, Files.readAllLines(out.toPath))
      assert(System.nanoTime() - beganNs < 120000000000L, "no progress")
      Thread.sleep(20)
    }
  }

  test("exit codes and words say what is wrong") {
    val ours = Case("spark_killed", Lab.source, Lab.target)
    ours.to.run("DELETE v FROM spark_killed.t WHERE k = 5 AND c = 5")
    val (notEqual, words) = Lab.program(Lab.submit("Verify", ours.words("--settle-ms", "10")))
    assert(notEqual == 4 && words.contains("NOT EQUAL") && words.contains("missing v"), words)
    val missing = intercept[UsageError](Case("no_such", Lab.source, Lab.target).copy())
    assert(missing.getMessage.contains("no tables at the source"), missing)
    ours.from.run("CREATE TABLE spark_killed.u (k int PRIMARY KEY, v blob)")
    val absent = intercept[UsageError](ours.copy("--restart"))
    assert(absent.getMessage.contains("u is not at the target"), absent)
    ours.to.run("CREATE TABLE spark_killed.u (k int PRIMARY KEY, v text)")
    val differs = intercept[UsageError](ours.copy("--restart"))
    assert(differs.getMessage.contains("v blob") && differs.getMessage.contains("v text"))
    val nobody = Options.verify(Seq("127.71.255.253", "127.71.255.253", "--keyspace", "k"))
    val unreachable = intercept[UsageError](Verify.run(Lab.spark.sparkContext, nobody))
    assert(unreachable.getMessage.contains("cannot reach the source"), unreachable)
    val wrong = ours.words().map(word => if (word == Lab.password) "/nowhere" else word)
    val noFile = intercept[UsageError](
      Verify.run(Lab.spark.sparkContext, Options.verify(wrong)))
    assert(noFile.getMessage.contains("cannot read the password"), noFile)
  }
}

/** Differences made on purpose at the target: statement, and the class and column that must be
  * named; as tests/it/verify.rs has them. The rows are `p = 900…`, written alike at both sides.
  */
private object Planted {

  private def at(stamp: Int, set: String) = s"UPDATE T USING TIMESTAMP $stamp SET $set WHERE R"

  val differences: Seq[(String, Kind, Option[String])] = Seq(
    ("DELETE FROM T USING TIMESTAMP 999 WHERE R", Kind.Missing, None),
    (at(900, "t = 'other'"), Kind.Value, Some("t")),
    (at(900, "t = 'text'"), Kind.Stamp, Some("t")),
    ("UPDATE T USING TIMESTAMP 900 AND TTL 5000 SET t = 'text' WHERE R", Kind.Stamp, Some("t")),
    ("INSERT INTO T (V) VALUES (W)", Kind.Extra, None),
    (at(1000, "v = 5"), Kind.Extra, Some("v")),
    (at(900, "m['a'] = 7"), Kind.Value, Some("m")),
    (at(900, "st = {8}"), Kind.Extra, Some("st")),
    (at(900, "l = ['a', 'x']"), Kind.Value, Some("l")),
    (at(900, "u.street = 'z'"), Kind.Value, Some("u")),
    ("UPDATE T USING TIMESTAMP 900 SET s = 6 WHERE P", Kind.Value, Some("s")),
    ("UPDATE T USING TIMESTAMP 1000 AND TTL 5000 SET b = 1 WHERE R", Kind.Expiry, Some("b")),
    (at(2000, "b = 4"), Kind.Value, Some("b")))

  /** The short words, written out. */
  def spelled(text: String, row: Int, table: String): String = {
    val partition = s"""p = ${900 + row} AND "P 2" = 'planted'"""
    val rest = "c = 1 AND d = 00000000-0000-4000-8000-000000000001"
    val values = s"${900 + row}, 'planted', 1, 00000000-0000-4000-8000-000000000001"
    text.replace(" T ", s" $table ")
      .replaceAll(" R$", s" $partition AND $rest")
      .replaceAll(" P$", s" $partition")
      .replace("(W)", s"($values)")
      .replace("(V)", "(p, \"P 2\", c, d)")
  }

  /** Writes the rows that differences are planted in; the extra row is at the target alone. */
  def ground(keyspace: String, source: Node, target: Node): Unit =
    for (node <- Seq(source, target); row <- differences.indices if row != 4) {
      def has(rows: Int*) = node == source || !rows.contains(row)
      val set = Seq(
        "t = 'text'" -> has(1, 2, 3),
        "b = 1" -> has(11, 12),
        "m = m + {'a': 1}" -> has(6),
        "st = st + {5}" -> true,
        "l = l + ['a', 'b']" -> has(8),
        "u.street = 'x'" -> has(9)).collect { case (set, true) => set }.mkString(", ")
      val ttl = if (row == 11) 90000 else 0
      val table = s"$keyspace.every"
      if (has(0))
        node.run(
          spelled(s"UPDATE T USING TIMESTAMP 1000 AND TTL $ttl SET $set WHERE R", row, table))
      if (has(10)) node.run(spelled("UPDATE T USING TIMESTAMP 1000 SET s = 5 WHERE P", row, table))
    }
}
