package twinring.spark

import org.scalatest.funsuite.AnyFunSuite

import scala.util.Random

/** Rows in few bytes, two streams brought together, and what differs. */
final class CompareSuite extends AnyFunSuite {
  private val strict = Tolerance()
  private val columns = Vector(
    Column("x", "blob", Shape.Single),
    Column("m", "map<blob, blob>", Shape.OfMap),
    Column("l", "list<blob>", Shape.OfList),
    Column("d", "double", Shape.Single))

  private def cell(column: Int, content: Content, us: Long, expires: Option[Long] = None) =
    Cell(column, content, Some(Stamp(us, expires)))

  private def whole(text: String, us: Long, expires: Option[Long] = None) =
    cell(0, Content.Whole(Bytes.ofText(text)), us, expires)

  private def row(cells: Cell*) = Row(1, Vector(Bytes.ofText("k")), cells.toVector)

  private def same(a: Cell, b: Cell, tolerance: Tolerance = strict): Boolean = {
    val byPrint = Fingerprint.of(row(a), columns, tolerance)
      .matches(Fingerprint.of(row(b), columns, tolerance), tolerance)
    val byCell = Diff.rows(Some(row(a)), Some(row(b)), columns, tolerance).isEmpty
    assert(byPrint == byCell, s"the digest and the cells disagree: $a $b")
    byPrint
  }

  private def found(source: Seq[Cell], target: Seq[Cell]): Seq[(Int, Kind)] =
    Diff.rows(Some(row(source: _*)), Some(row(target: _*)), columns, strict) match {
      case None                             => Nil
      case Some(RowDifference.Cells(cells)) => cells.map(c => (c.place.column, c.kind))
      case Some(other)                      => fail(other.toString)
    }

  test("everything that is told is compared") {
    val base = whole("a", 5, Some(100))
    assert(same(base, whole("a", 5, Some(102))), "2 s later")
    assert(!same(base, whole("a", 5, Some(103))))
    assert(!same(base, whole("a", 5, Some(97))))
    assert(!same(base, whole("a", 5)), "for ever")
    assert(!same(base, whole("a", 6, Some(100))))
    assert(!same(base, whole("b", 5, Some(100))))
  }

  test("tolerances are what they say") {
    val wide = Tolerance(writetimeUs = 10)
    assert(same(whole("a", 5), whole("a", 15), wide))
    assert(!same(whole("a", 5), whole("a", 16), wide))
    val blind = Tolerance(compareStamps = false)
    assert(same(whole("a", 1), whole("a", 9, Some(5)), blind))
    def double(x: Double) =
      cell(3, Content.Whole(Bytes.ofLong(java.lang.Double.doubleToRawLongBits(x))), 5)
    val near = Tolerance(float = 0.01)
    assert(same(double(1.0), double(1.005), near))
    assert(!same(double(1.0), double(1.05), near))
    assert(!same(double(1.0), double(1.005)))
    assert(same(double(Double.NaN), double(Double.NaN), near))
    assert(!same(double(Double.NaN), double(0.0), near))
    def element(us: Long) = cell(2, Content.Element(Bytes.ofText("a")), us)
    assert(same(element(5), element(6)), "written anew")
    assert(!same(element(5), element(500)))
  }

  test("each class is told from the others") {
    val base = Seq(whole("a", 5, Some(100)))
    assert(found(base, base) == Nil)
    assert(found(base, Seq(whole("b", 5, Some(100)))) == Seq((0, Kind.Value)))
    assert(found(base, Seq(whole("a", 6, Some(100)))) == Seq((0, Kind.Stamp)))
    assert(found(base, Seq(whole("a", 5))) == Seq((0, Kind.Expiry)))
    assert(found(base, Nil) == Seq((0, Kind.Missing)))
    assert(found(Nil, base) == Seq((0, Kind.Extra)))
    def alone(source: Option[Row], target: Option[Row]) =
      Diff.rows(source, target, columns, strict)
    assert(alone(Some(row()), None).contains(RowDifference.Missing))
    assert(alone(None, Some(row())).contains(RowDifference.Extra))
  }

  test("entries are found by key, and list elements by place") {
    def entry(key: String, value: String) =
      cell(1, Content.Entry(Bytes.ofText(key), Bytes.ofText(value)), 5)
    def element(value: String) = cell(2, Content.Element(Bytes.ofText(value)), 5)
    assert(found(Seq(entry("a", "1"), entry("b", "2")), Seq(entry("b", "3"), entry("c", "1"))) ==
      Seq((1, Kind.Missing), (1, Kind.Value), (1, Kind.Extra)))
    val turned = Seq("b", "a", "c").map(element)
    assert(found(Seq("a", "b").map(element), turned) ==
      Seq((2, Kind.Value), (2, Kind.Value), (2, Kind.Extra)))
  }

  test("the join finds all differences and no others, in any order of rows of a partition") {
    def print(token: Int, key: Int, value: Int) = {
      val content = Content.Whole(Bytes.ofInt(value))
      val row = Row(token.toLong, Vector(Bytes.ofInt(key)), Vector(Cell(0, content, None)))
      Fingerprint.of(row, columns, strict)
    }
    for (seed <- 0 until 300) {
      val random = new Random(seed)
      val fates = random.shuffle((0 until 60).toList).take(random.nextInt(60)).map { key =>
        key -> random.nextInt(4)
      }
      // Four rows to a partition; within one in an order that nobody knows.
      val rows = random.shuffle(fates).sortBy(_._1 / 4)
      val source = rows.filter(_._2 != 1).map { case (key, _) => print(key / 4, key, key) }
      val target = rows.filter(_._2 != 2).map { case (key, fate) =>
        print(key / 4, key, if (fate == 3) key + 100 else key)
      }
      val join = new Join(strict)
      val (here, there) = (source.iterator, target.iterator)
      val page = 1 + random.nextInt(6)
      while (join.wants.isDefined) {
        val from = join.wants.get
        val some = (if (from == Join.FromSource) here else there).take(page).toVector
        if (some.isEmpty) join.ended(from) else some.foreach(join.row(from, _))
      }
      val expected = rows.filter(_._2 != 0).map(_._1).toSet
      assert(join.takeDoubtful().map(key => Bytes.int(key.head)).toSet == expected, s"seed $seed")
      assert(join.equal == rows.count(_._2 == 0), s"seed $seed")
    }
  }

  test("what waits is bounded") {
    val join = new Join(strict, maxWaitingBytes = 10000)
    for (n <- 0 until 1000)
      join.row(
        Join.FromSource,
        Fingerprint.of(Row(5, Vector(Bytes.ofInt(n)), Vector.empty), columns, strict))
    assert(join.doubtfulCount > 900)
  }

  test("a line of the report is what twinring writes") {
    val difference = Difference(
      "t",
      "rows",
      Vector("k" -> "00000001", "Odd \"c" -> ""),
      Kind.InFlight,
      Some("v"),
      None,
      Some(Side("00ff", Some(5), None)),
      None,
      repaired = false)
    assert(difference.toJson ==
      """{"table":"t","pass":"rows","key":[["k","00000001"],["Odd \"c",""]],""" +
      """"class":"in-flight","column":"v","source":{"value":"00ff","writetime_us":5,""" +
      """"expires_s":null},"repaired":false,"dirty":false}""")
    assert(difference.toString ==
      "t k=0x00000001 Odd \"c=0x: in-flight v, source 0x00ff written 5")
  }
}
