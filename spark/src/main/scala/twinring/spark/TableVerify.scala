package twinring.spark

import java.nio.ByteBuffer

import Stages._

/** How many rows of a token range are equal at once, equal when looked at again, different. */
private[spark] final case class Found(
    equal: Long = 0,
    settled: Long = 0,
    rowsDiffering: Long = 0) {

  def +(other: Found): Found =
    Found(equal + other.equal, settled + other.settled, rowsDiffering + other.rowsDiffering)
}

/** What both sides have of a row now. */
private final case class Look(
    key: Vector[ByteBuffer],
    source: Option[Row],
    difference: Option[RowDifference],
    prints: Seq[Option[Fingerprint]],
    isChanging: Boolean)

/** Compares token ranges of one pass over one table: both streams through the join, then a second
  * look at what is doubtful, up to three times. Only what differs each time, and does not change
  * meanwhile, is a difference: it is given to `enter`.
  */
private[spark] final class TableVerify(
    table: Table,
    source: Scanner,
    target: Scanner,
    tolerance: Tolerance,
    settleMs: Long,
    repair: Repair,
    looks: Throttle,
    enter: Difference => Unit) {
  private val select = source.select
  private val columns = select.columns

  def range(tokens: TokenRange): Found = {
    val join = new Join(tolerance)
    val (here, there) = (source.pages(tokens), target.pages(tokens))
    var found = Found()
    def feed(from: Join.From): Unit = {
      val pages = if (from == Join.FromSource) here else there
      pages.next() match {
        case None       => join.ended(from)
        case Some(page) =>
          // A partition without static cells is no difference to one that is not there.
          page.rows
            .filter(row => select.pass == Pass.Rows || row.cells.nonEmpty)
            .foreach(row => join.row(from, print(row)))
      }
    }
    while (join.wants.isDefined) {
      join.wants.foreach(feed)
      if (join.doubtfulCount >= Limits.RecheckRows) found += lookAgain(join.takeDoubtful())
    }
    found + lookAgain(join.takeDoubtful()) + Found(equal = join.equal)
  }

  private def print(row: Row) = Fingerprint.of(row, columns, tolerance)

  private def lookAgain(keys: Vector[Vector[ByteBuffer]]): Found =
    keys.distinct.grouped(Limits.RecheckRows).map(lookAt).foldLeft(Found())(_ + _)

  private def lookAt(keys: Vector[Vector[ByteBuffer]]): Found = {
    var (open, settled, read) = (keys.map(key => (key, Option.empty[Look])), 0, 0)
    while (open.nonEmpty && read < Limits.RecheckReads) {
      if (read > 0) Thread.sleep(settleMs)
      val looked = looks.all("a cluster", open) { case ((key, before), _) => look(key, before) }
      val differing = looked.filter(_.difference.isDefined)
      settled += looked.size - differing.size
      open = differing.map(look => (look.key, Option(look)))
      read += 1
    }
    val left = open.flatMap(_._2)
    left.foreach(look => settle(look).foreach(enter))
    Found(0, settled.toLong, left.size.toLong)
  }

  /** Reads a row at both sides and compares it; `before` is what was there the last time. */
  private def look(key: Vector[ByteBuffer], before: Option[Look]) =
    source.one(key).zip(target.one(key)).map { case (here, there) =>
      val prints = Seq(here.map(print), there.map(print))
      val isChanging = before.exists(!_.prints.zip(prints).forall {
        case (Some(was), Some(now)) => was.matches(now, tolerance)
        case (was, now)             => was.isEmpty && now.isEmpty
      })
      Look(key, here, Diff.rows(here, there, columns, tolerance), prints, isChanging)
    }

  private def lookNow(key: Vector[ByteBuffer]): Look =
    looks.all("a cluster", Seq(key))((key, _) => look(key, None)).head

  /** Repairs a row if that is asked for, and says what was found. */
  private def settle(look: Look): Vector[Difference] = look.difference match {
    case None                       => Vector.empty
    case Some(_) if look.isChanging => Vector(entry(look.key, Kind.InFlight, None, false))
    case Some(difference) =>
      val tried = repair.row(look.key, look.source, difference)
      if (tried == Tried()) entries(look, difference)(kind => (kind, false))
      else repaired(look, difference, tried, lookNow(look.key))
  }

  private def repaired(
      look: Look,
      difference: RowDifference,
      tried: Tried,
      after: Look): Vector[Difference] = {
    def isLeft(cell: Option[CellDifference]) = after.difference match {
      case None                            => false
      case Some(RowDifference.Cells(left)) => cell.exists(c => left.exists(_.place == c.place))
      case Some(_)                         => true
    }
    val found = entriesOf(look, difference) { (kind, cell) =>
      val attempted = if (kind == Kind.Extra) tried.deleted else tried.wrote
      (isLeft(cell), attempted) match {
        case (false, _)    => (kind, true)
        case (true, true)  => (Kind.Shadowed, false)
        case (true, false) => (kind, false)
      }
    }
    // A row that was missing may be there now, but for cells that something newer hides.
    (difference, after.difference) match {
      case (RowDifference.Missing, Some(left @ RowDifference.Cells(_))) =>
        found ++ entries(after, left)(_ => (Kind.Shadowed, false))
      case _ => found
    }
  }

  private def entries(look: Look, difference: RowDifference)(
      fate: Kind => (Kind, Boolean)): Vector[Difference] =
    entriesOf(look, difference)((kind, _) => fate(kind))

  /** An entry for each cell that differs, or for the row; `fate` says its class, and whether it is
    * repaired.
    */
  private def entriesOf(look: Look, difference: RowDifference)(
      fate: (Kind, Option[CellDifference]) => (Kind, Boolean)): Vector[Difference] = {
    def ofRow(kind: Kind) = {
      val (shown, repaired) = fate(kind, None)
      Vector(entry(look.key, shown, None, repaired))
    }
    difference match {
      case RowDifference.Missing => ofRow(Kind.Missing)
      case RowDifference.Extra   => ofRow(Kind.Extra)
      case RowDifference.Cells(cells) =>
        cells.map { cell =>
          val (shown, repaired) = fate(cell.kind, Some(cell))
          entry(look.key, shown, Some(cell), repaired)
        }
    }
  }

  private def entry(
      key: Vector[ByteBuffer],
      kind: Kind,
      cell: Option[CellDifference],
      repaired: Boolean): Difference = Difference(
    table.name,
    select.pass.name,
    select.key.map(_.name).zip(key.map(Bytes.hex)),
    kind,
    cell.map(cell => columns(cell.place.column).name),
    cell.flatMap(_.place.element).map(Bytes.hex),
    cell.flatMap(_.source),
    cell.flatMap(_.target),
    repaired)
}
