package twinring.spark

import java.nio.ByteBuffer

import org.scalatest.funsuite.AnyFunSuite

/** From cells to statements; the same cases as src/history/write_tests.rs. */
final class WritesSuite extends AnyFunSuite {
  private val began = 1000000L
  private val rules = Rules(beganUs = began)

  private def column(name: String, shape: Shape) = Column(name, "", shape)

  private val table = Table(
    "ks",
    "T",
    Vector(column("p", Shape.Single)),
    Vector(column("c", Shape.Single)),
    Vector.empty,
    Vector(
      column("a", Shape.Single),
      column("b", Shape.Single),
      column("m", Shape.OfMap),
      column("u", Shape.Udt(Vector("x", "Y"))),
      column("l", Shape.OfList)),
    0,
    0)

  private def bytes(text: String): ByteBuffer = Bytes.ofText(text)

  private def whole(column: Int, text: String, us: Long, expires: Option[Long] = None) =
    Cell(column, Content.Whole(bytes(text)), Some(Stamp(us, expires)))

  private def entry(key: String, stamp: Option[Stamp]) =
    Cell(2, Content.Entry(bytes(key), bytes("v")), stamp)

  private def element(text: String, us: Long) =
    Cell(4, Content.Element(bytes(text)), Some(Stamp(us, None)))

  private def plan(table: Table) =
    new WritePlan(table, Select(table, Pass.Rows, perElement = true, None))

  private def made(cells: Seq[Cell], rules: Rules = rules, table: Table = table): Writes =
    plan(table).writes(Row(7, Vector(bytes("P"), bytes("C")), cells.toVector), rules, 500)

  private def stamps(cells: Seq[Cell], rules: Rules): Seq[Stamp] =
    made(cells, rules).plain.map(_.stamp)

  test("each stamp gets a statement, and no cell gets another's") {
    val (old, fresh, dying) = (Stamp(10, None), Stamp(20, None), Stamp(20, Some(99)))
    val writes = made(Seq(
      whole(0, "A", 20),
      whole(1, "B", 10),
      entry("k1", Some(old)),
      entry("k2", Some(dying)),
      entry("k3", Some(old)),
      Cell(3, Content.Field(1, bytes("y")), Some(fresh))))
    assert(writes.plain.map(_.stamp) == Seq(old, fresh, dying))
    val key = Vector(bytes("P"), bytes("C"))
    val map = Bytes.collection(2, Seq("k1", "v", "k3", "v").map(bytes))
    assert(writes.plain(0).values == Vector(null, bytes("B"), map, null, null) ++ key)
    assert(writes.plain(1).values == Vector(bytes("A"), null, null, null, bytes("y")) ++ key)
    assert(writes.plain(2).values.take(2) == Vector(null, null))
    assert(plan(table).texts(writes.plain(0).text) ==
      "UPDATE \"ks\".\"T\" USING TIMESTAMP ? AND TTL ? SET \"a\" = ?, \"b\" = ?, " +
      "\"m\" = \"m\" + ?, \"u\".\"x\" = ?, \"u\".\"Y\" = ? WHERE \"p\" = ? AND \"c\" = ?")
    assert(writes.cells == 6)
  }

  test("a row marker is written where the rule says so") {
    def markers(cells: Seq[Cell], marker: RowMarker, rules: Rules = rules, in: Table = table) =
      made(cells, rules.copy(marker = marker), in).plain
        .filter(write => plan(in).texts(write.text).startsWith("INSERT"))
        .map(_.stamp)
    val cells = Seq(whole(0, "A", 20), whole(1, "B", 10, Some(50)))
    val backdated = Seq(Stamp(began - 1, None))
    assert(markers(Nil, RowMarker.Infer) == backdated)
    assert(markers(Nil, RowMarker.Always) == backdated)
    assert(markers(Nil, RowMarker.Never) == Nil)
    assert(markers(cells, RowMarker.Infer) == Nil)
    assert(markers(cells, RowMarker.Never) == Nil)
    assert(markers(cells, RowMarker.Always) == Seq(Stamp(10, Some(50))))
    // Of one writetime, the longest life.
    val same = Seq(whole(0, "A", 10, Some(50)), whole(1, "B", 10))
    assert(markers(same, RowMarker.Always) == Seq(Stamp(10, None)))
    // What is filtered by writetime has no known marker.
    assert(markers(Nil, RowMarker.Infer, rules.copy(writtenAfterUs = Some(1))) == Nil)
    val dying = table.copy(defaultTtlS = 60)
    assert(markers(Nil, RowMarker.Infer, in = dying) == Seq(Stamp(began - 1, Some(560))))
  }

  test("cells without a known stamp are older than the copy") {
    import CollectionWritetime._
    def of(cells: Seq[Cell], how: CollectionWritetime) =
      stamps(cells, rules.copy(collections = how))
    assert(of(Seq(entry("k", None)), RowMin) == Seq(Stamp(began - 1, None)))
    val (old, fresh) = (Stamp(10, Some(50)), Stamp(20, Some(50)))
    val dying = Seq(whole(0, "A", 10, Some(50)), whole(1, "B", 20, Some(50)), entry("k", None))
    // All others expire in one second: so does this.
    assert(of(dying, Backdate) == Seq(old, fresh, Stamp(began - 1, Some(50))))
    assert(of(dying, RowMin) == Seq(old, fresh))
    assert(of(dying, RowMax) == Seq(old, fresh))
    val mixed = Seq(whole(0, "A", 10, Some(50)), whole(1, "B", 20), entry("k", None))
    assert(of(mixed, Backdate) == Seq(old, Stamp(20, None), Stamp(began - 1, None)))
  }

  test("backdated cells keep their expiry") {
    val cells = Seq(whole(0, "A", 10), whole(1, "B", 20, Some(9)))
    assert(stamps(cells, rules.copy(writetime = Writetime.Backdate)) ==
      Seq(Stamp(began - 1, None), Stamp(began - 1, Some(9))))
  }

  test("a list becomes runs, and leaves young elements to the proxy") {
    val cells = Seq(element("1", 10), element("2", 10), element("3", 30), element("4", 10))
    val writes = made(cells :+ element("5", began))
    assert(writes.youngElements == 1 && writes.plain.isEmpty)
    val Vector(list) = writes.lists
    assert(list.runs.map { case (stamp, run) => (stamp.writetimeUs, run.size) } ==
      Seq((10, 2), (30, 1), (10, 1)))
    assert(!list.atTheEnd, "before what the proxy appended")
    val behind = made(Seq(element("0", began), element("1", 10))).lists
    assert(behind.head.atTheEnd, "behind what the proxy prepended")
    assert(made(Seq(element("0", began))).lists.isEmpty)
    val texts = ListTexts(1, 2, 3)
    def of(writes: Seq[Write]) = writes.map(write => (write.text, write.stamp.writetimeUs))
    assert(of(Lists.written(texts, list)) == Seq((1, 10), (1, 30), (1, 10)))
    assert(of(Lists.written(texts, list.copy(atTheEnd = true))) == Seq((2, 10), (2, 30), (2, 10)))
    assert(of(Lists.replaced(texts, list, 31)) == Seq((3, 31), (2, 31), (2, 31)))
    def there(words: String*) = words.map(w => ListElement(bytes(w), None)).toVector
    assert(Lists.holds(there("0", "1", "2", "3", "4", "9"), list))
    assert(!Lists.holds(there("1", "2", "4", "3"), list))
    assert(!Lists.isSame(there("1", "2", "3", "4", "4"), list))
  }

  test("writetimes are filtered cell by cell") {
    val narrow = rules.copy(writtenAfterUs = Some(10), writtenBeforeUs = Some(30))
    assert(stamps(Seq(whole(0, "A", 10), whole(1, "B", 11), whole(1, "C", 30)), narrow) ==
      Seq(Stamp(11, None)))
  }

  test("what is left to live is never for ever, and never more than Cassandra takes") {
    assert(WritePlan.ttlLeftS(Stamp(1, None), 500) == 0)
    assert(WritePlan.ttlLeftS(Stamp(1, Some(510)), 500) == 10)
    assert(WritePlan.ttlLeftS(Stamp(1, Some(400)), 500) == 1)
    assert(WritePlan.ttlLeftS(Stamp(1, Some(Long.MaxValue)), 500) == Limits.TtlMaxS)
  }

  test("writes travel together as long as they are few, small and of one place") {
    def write(token: Long, size: Int) =
      Write(0, token, Stamp(1, None), Vector(ByteBuffer.allocate(size)), stampFirst = true)
    def sizes(writes: Seq[Write]) =
      Sender.batches(writes.toVector, token => if (token < 100) 0 else 1).map(_.size)
    assert(sizes(Nil) == Nil)
    assert(sizes((1 to 25).map(n => write(n.toLong, 4))) == Seq(10, 10, 5))
    assert(sizes(Seq.fill(30)(write(1, 4))) == Seq(30))
    assert(sizes(Seq.fill(3)(write(1, 2000))) == Seq(2, 1))
    assert(sizes(Seq(write(98, 4), write(99, 4), write(100, 4))) == Seq(2, 1))
  }

  test("counters: what is added makes the target the source") {
    val source = Vector(Some(5L), Some(0L), None, Some(-3L), Some(7L), None)
    val target = Vector(Some(2L), None, Some(4L), Some(-3L), None, None)
    assert(Counters.differences(source, target) ==
      Vector(Some(3L), Some(0L), Some(-4L), None, Some(7L), None))
  }
}
