package twinring.spark

import java.nio.ByteBuffer
import java.nio.file.Files

import com.datastax.oss.driver.api.core.servererrors.UnavailableException
import org.apache.hadoop.conf.Configuration
import org.apache.spark.SparkConf
import org.scalatest.funsuite.AnyFunSuite

import scala.collection.JavaConverters._
import scala.util.Random

/** Bytes, tokens, options, checkpoint, limits. */
final class PartsSuite extends AnyFunSuite {

  test("what is taken apart can be put together") {
    val parts = Seq("a", "1", "", "22").map(Bytes.ofText)
    val (count, elements) = Elements.ofCollection(Bytes.collection(2, parts))
    assert(count == 2)
    assert(Seq.fill(4)(elements.nextPresent()) == parts && elements.isEmpty)
    val short = Array(-1, -1, -1, -1, 0, 0, 0, 9, 1).map(_.toByte)
    val fields = Elements.ofFields(ByteBuffer.wrap(short))
    assert(fields.next().isEmpty)
    intercept[IllegalArgumentException](fields.next())
    intercept[IllegalArgumentException](Elements.ofCollection(Bytes.ofText("ab")))
    assert(Bytes.hex(ByteBuffer.wrap(Array[Byte](0, -1, 16))) == "00ff10")
  }

  test("cells get their own stamps") {
    val table = Table(
      "ks",
      "t",
      Vector(Column("k", "int", Shape.Single)),
      Vector.empty,
      Vector.empty,
      Vector(
        Column("m", "map<int, int>", Shape.OfMap),
        Column("u", "a", Shape.Udt(Vector("x", "y")))),
      0,
      0)
    val select = Select(table, Pass.Rows, perElement = true, None)
    val ints = Seq(1, 2, 3, 4).map(Bytes.ofInt)
    val longs = Bytes.collection(2, Seq(7L, 8L).map(Bytes.ofLong))
    val ttls = ByteBuffer.allocate(16).putInt(2).putInt(-1).putInt(4).putInt(60)
    ttls.flip()
    val udt = ByteBuffer.allocate(12).putInt(-1).putInt(4).putInt(9)
    udt.flip()
    val written = ByteBuffer.allocate(20).putInt(2).putInt(-1).putInt(8).putLong(5)
    written.flip()
    val map = Bytes.collection(2, ints)
    val raw = Array(Bytes.ofLong(3), Bytes.ofInt(1), map, longs, ttls, udt, written, null)
    val Some(row) = Row.decode(select, raw, 100)
    assert(row.token == 3)
    assert(row.cells == Vector(
      Cell(0, Content.Entry(ints(0), ints(1)), Some(Stamp(7, None))),
      Cell(0, Content.Entry(ints(2), ints(3)), Some(Stamp(8, Some(160)))),
      Cell(1, Content.Field(1, Bytes.ofInt(9)), Some(Stamp(5, None)))))
    raw(1) = null
    assert(Row.decode(select, raw, 100).isEmpty, "a partition of static cells alone")
  }

  test("only what is not frozen is stored cell by cell") {
    val types = Map("addr" -> Vector("a"), "Odd \"Name" -> Vector("a"))
    val single =
      Seq("int", "frozen<list<int>>", "frozen<addr>", "tuple<int, text>", "vector<float, 3>")
    single.foreach(text => assert(Shape.of(text, types) == Shape.Single, text))
    assert(Shape.of("list<int>", types) == Shape.OfList)
    assert(Shape.of("set<frozen<addr>>", types) == Shape.OfSet)
    assert(Shape.of("map<text, int>", types) == Shape.OfMap)
    assert(Shape.of("counter", types) == Shape.Counter)
    assert(Shape.of("addr", types) == Shape.Udt(Vector("a")))
    assert(Shape.of("\"Odd \"\"Name\"", types) == Shape.Udt(Vector("a")))
  }

  test("the ring is cut without a gap, also where it wraps") {
    val borders =
      Seq(Nil, Seq(0L), Seq(Long.MaxValue), Seq(Long.MinValue), Seq(-5L, -4L, -3L))
    for (tokens <- borders; pieces <- Seq(1, 2, 7, 256)) {
      val ranges = Tokens.cut(tokens, pieces)
      assert(ranges.head.after == Long.MinValue && ranges.last.upTo == Long.MaxValue)
      assert(ranges.zip(ranges.drop(1)).forall { case (a, b) => a.upTo == b.after })
      assert(ranges.forall(range => range.after < range.upTo))
      assert(ranges.size >= pieces.min(2) - 1 && ranges.size <= pieces + tokens.size + 1)
      assert(!tokens.exists(t => ranges.exists(r => r.after < t && t < r.upTo)), s"$tokens $pieces")
    }
    assert(TokenRange(4, 5).halves.isEmpty)
    assert(TokenRange.All.halves.get.map(_.upTo) == Seq(-1, Long.MaxValue))
    assert(math.abs(TokenRange.All.share - 1) < 1e-9)
    val text = "-9223372036854775808:9223372036854775807"
    assert(TokenRange.parse(text) == Right(TokenRange.All) && TokenRange.All.toString == text)
    for (wrong <- Seq("", "1", "2:1", "1:1", "a:b"))
      assert(TokenRange.parse(wrong).isLeft, wrong)
  }

  test("what is left and what is done are the whole") {
    for (seed <- 0 until 300) {
      val random = new Random(seed)
      val done = Seq.fill(random.nextInt(8))((random.nextLong(), random.nextLong())).collect {
        case (a, b) if a < b => TokenRange(a, b)
      }
      val left = Tokens.subtract(Tokens.cut(Seq(random.nextLong()), 1 + random.nextInt(20)), done)
      val probe = random.nextLong()
      def holds(ranges: Seq[TokenRange]) = ranges.count(r => r.after < probe && probe <= r.upTo)
      assert(holds(left) == (if (holds(done) == 0) 1 else 0), s"seed $seed")
    }
  }

  test("a range that fails is narrowed down, and given up after enough tries") {
    var jobs = Seq(Job(0, TokenRange(0, 1024), 0))
    for (_ <- 1 until Limits.RangeAttemptsMax) jobs = jobs.flatMap(_.again.get)
    assert(jobs.size == 32 && jobs.forall(_.again.isEmpty))
    assert(Job(0, TokenRange(0, 1), 0).again.get == Seq(Job(0, TokenRange(0, 1), 1)))
  }

  private val ends = Seq("old:9999,other", "new", "--keyspace", "ks")

  test("options are those of the command line, and others are refused with a reason") {
    val copy = Options.copy(
      ends ++ Seq("--table", "a", "--table=B", "--writetime", "backdate", "--restart") ++
        Seq("--token-range", "-5:7", "--source-consistency", "one", "--written-after", "-1"))
    assert(copy.ends.tables == Vector("a", "B") && copy.restart && !copy.dryRun)
    assert(copy.rules.writetime == Writetime.Backdate && copy.rules.writtenAfterUs.contains(-1))
    assert(copy.ends.window == TokenRange(-5, 7))
    assert(copy.ends.source.level.name == "ONE" && copy.ends.target.level.name == "LOCAL_QUORUM")
    val verify = Options.verify(ends ++ Seq("--writetime-tolerance-millis", "3"))
    assert(verify.tolerance == Tolerance(writetimeUs = 3000) && verify.failuresToFetch == 100)
    def refused(words: String*) =
      intercept[UsageError](Options.verify(ends ++ words)).getMessage
    assert(refused("--nonsense").contains("unknown option --nonsense"))
    assert(refused("--read-concurrency", "5").contains("as many ranges"))
    assert(refused("--data-dir", "x").contains("twinring verify"))
    assert(refused("--splits", "0").contains("not a number from 1"))
    assert(refused("--splits").contains("needs a value"))
    assert(refused("--repair=yes").contains("takes no value"))
    assert(refused("--compare-timestamps", "maybe").contains("one of true, false"))
    assert(refused("third").contains("not 3 names"))
    val help = intercept[Options.Help](Options.copy(Seq("--help"))).getMessage
    assert(help.contains("--row-marker infer|always|never"), help)
  }

  test("passwords come from a file, the caller or the environment, and settings from their side") {
    val file = Files.write(Files.createTempFile("password", ""), "s3cret\n".getBytes)
    val words = ends ++ Seq("--target-username", "u", "--target-password-file", file.toString)
    val target = Options.verify(words).ends.target
    assert(target.password(None).contains("s3cret") && target.password(Some("x")).contains("x"))
    val without = Options.verify(ends ++ Seq("--source-username", "u")).ends.source
    assert(intercept[UsageError](without.password(None)).getMessage.contains("PASSWORD"))
    val conf = new SparkConf(false)
      .set("spark.twinring.target.connection.ssl.enabled", "true")
      .set("spark.cassandra.connection.ssl.enabled", "false")
    val settings = Way.settings(conf, target, Some("s3cret"))
    assert(settings.get("spark.cassandra.connection.ssl.enabled") == "true")
    assert(settings.get("spark.cassandra.auth.password") == "s3cret")
    assert(settings.get("spark.cassandra.query.retry.count") == "0")
    val source = Way.settings(conf, Options.verify(ends).ends.source, None)
    assert(source.get("spark.cassandra.connection.host") == "old:9999,other:9042")
    assert(source.get("spark.cassandra.connection.ssl.enabled") == "false")
    assert(!source.contains("spark.cassandra.auth.password"))
    assert(Failure.withPort("::1", 9) == "[::1]:9" && Failure.withPort("[::1]:5", 9) == "[::1]:5")
  }

  test("what was done is known after any cut, and another copy's folder is refused") {
    val dir = Files.createTempDirectory("checkpoint")
    val conf = new Configuration
    def identity(rules: String) = Identity("old", "new", "ks", rules)
    def open(rules: String = "a", restart: Boolean = false) =
      Checkpoint.open(dir.toString, conf, identity(rules), 7, restart)
    def done(after: Long) =
      Done("t", "rows", TokenRange(after, after + 10), Tally().plus("rows", 3))
    val first = open()
    assert(!first.wasThere && first.beganUs == 7)
    first.add(Seq(done(0), done(10)))
    first.add(Nil)
    first.add(Seq(done(20)))
    // What a dying process left half written has another name.
    Files.write(dir.resolve("done-00000002.jsonl.new"), "{\"tab".getBytes)
    val second = open()
    assert(second.wasThere && second.done == Seq(done(0), done(10), done(20)))
    second.add(Seq(done(30)))
    assert(open().done.last == done(30))
    val other = intercept[UsageError](open("b"))
    assert(other.getMessage.contains("is of another copy"), other)
    val anew = open("b", restart = true)
    assert(anew.done.isEmpty && !anew.wasThere)
    val names = Files.list(dir).iterator.asScala.map(_.getFileName.toString)
    assert(names.filterNot(_.startsWith(".")).toSeq == Seq("header.json"))
    Files.write(dir.resolve("header.json"), "nonsense".getBytes)
    Files.delete(dir.resolve(".header.json.crc"))
    assert(intercept[UsageError](open("b")).getMessage.contains("makes no sense"))
  }

  test("half after a failure, and one more after as many successes") {
    var now = 0L
    val throttle = new Throttle(8, None, (_, _) => (), () => now)
    throttle.pushedBack()
    throttle.pushedBack() // the same overload
    assert(throttle.limitNow == 4)
    (0 until 4).foreach(_ => throttle.succeeded())
    assert(throttle.limitNow == 5)
    (0 until 1000).foreach(_ => throttle.succeeded())
    assert(throttle.limitNow == 8)
    for (n <- 1 until 10) {
      now = n * Limits.CutEveryMs * 1000000
      throttle.pushedBack()
    }
    assert(throttle.limitNow == 1, "never none")
  }

  test("requests are sent again until they are answered, and a final failure ends it") {
    var told = Vector.empty[(String, Int)]
    val throttle = new Throttle(2, None, (failure, tries) => told :+= ((failure.words, tries)))
    val answers = throttle.all("target", Seq(1, 2, 3, 4, 5)) { (n, tries) =>
      if (n % 2 == 0 && tries < 2) throw new Failure("target", "busy", false)
      Stages.done(n * 10)
    }
    assert(answers == Seq(10, 20, 30, 40, 50))
    assert(told == Seq(("target: busy", 1), ("target: busy", 2)))
    val failure = intercept[Failure](throttle.all[Int, Int]("target", Seq(1)) { (_, _) =>
      throw new Failure("target", "no", true)
    })
    assert(failure.words == "target: no" && told.size == 2)
    assert(Failure.retryAfterMs("x RetryAfterMs=250, y").contains(250))
  }

  test("what is tried again is said once for each table and side, with what helps") {
    val level = com.datastax.oss.driver.api.core.DefaultConsistencyLevel.LOCAL_QUORUM
    def lacks(side: String, required: Int) =
      Failure.of(side, new UnavailableException(null, level, required, 1))
    val (one, other) = (table("one"), table("other"))
    val out = new java.io.ByteArrayOutputStream
    Console.withErr(out) {
      for (_ <- 1 to 2; complaints = Complaints()) {
        (1 to 9).foreach(complaints.request(one, lacks("target", 2), _))
        complaints.range(one, lacks("target", 2))
        complaints.request(one, lacks("source", 1), Limits.ComplaintTries - 1)
        complaints.range(one, new Failure("source", "refused", true))
        complaints.range(other, Failure.ofRange(new UsageError("cannot reach the target")))
      }
    }
    val Array(first, second, again @ _*) = out.toString.split('\n')
    assert(first.startsWith("ks.one: target: UnavailableException: "), first)
    assert(first.contains("; trying again; if these replicas stay away"), first)
    assert(first.contains("--target-consistency that needs fewer"), first)
    assert(second == "ks.other: cannot reach the target; trying again")
    assert(again == Seq(first, second), "by the next run")
    assert(Complaints.line(one, lacks("source", 1)).endsWith("; trying again"))
  }

  private def table(name: String) =
    Table("ks", name, Vector.empty, Vector.empty, Vector.empty, Vector.empty, 0, 0)
}
