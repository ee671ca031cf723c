package twinring.spark

import java.nio.ByteBuffer

/** Which rows get a row marker, as INSERT writes one. CQL does not tell whether a row has one. */
sealed trait RowMarker extends Serializable

object RowMarker {

  /** A row without any other cell gets one: nothing else can hold it. Others do not. */
  case object Infer extends RowMarker

  /** Every row gets one, with the writetime and expiry of its oldest cells. */
  case object Always extends RowMarker

  /** No row gets one: rows of nothing but a key are not written. */
  case object Never extends RowMarker
}

/** Which writetime cells get. */
sealed trait Writetime extends Serializable

object Writetime {

  /** That of the source, cell by cell. */
  case object Preserve extends Writetime

  /** 1 µs before the copy began: older than everything that the proxy mirrors since. */
  case object Backdate extends Writetime
}

/** Which writetime the cells of collections and user types get where the source does not tell it
  * (before Cassandra 5.0).
  */
sealed trait CollectionWritetime extends Serializable

object CollectionWritetime {

  /** 1 µs before the copy began: every later write and delete wins. */
  case object Backdate extends CollectionWritetime

  /** That of the row's oldest cell; without one, as backdate. */
  case object RowMin extends CollectionWritetime

  /** That of the row's youngest cell; without one, as backdate. */
  case object RowMax extends CollectionWritetime
}

/** How cells become writes. `beganUs` is when the copy first began; cells written at or before
  * `writtenAfterUs`, or at or after `writtenBeforeUs`, are left out.
  */
final case class Rules(
    marker: RowMarker = RowMarker.Infer,
    writetime: Writetime = Writetime.Preserve,
    collections: CollectionWritetime = CollectionWritetime.Backdate,
    beganUs: Long,
    writtenAfterUs: Option[Long] = None,
    writtenBeforeUs: Option[Long] = None) {

  def backdatedUs: Long = beganUs - 1

  def takes(cell: Cell): Boolean = cell.stamp.forall { stamp =>
    writtenAfterUs.forall(stamp.writetimeUs > _) && writtenBeforeUs.forall(stamp.writetimeUs < _)
  }

  def filters: Boolean = writtenAfterUs.isDefined || writtenBeforeUs.isDefined

  /** The stamp of cells whose stamp the source does not tell. Where all others of the row expire in
    * the same second, these do too: they were most likely written together.
    */
  def fallback(cells: Seq[Cell]): Stamp = {
    val stamps = cells.flatMap(_.stamp)
    val writetimes = stamps.map(_.writetimeUs)
    val chosen = collections match {
      case CollectionWritetime.Backdate => None
      case CollectionWritetime.RowMin   => writetimes.reduceOption(_ min _)
      case CollectionWritetime.RowMax   => writetimes.reduceOption(_ max _)
    }
    val expiry = stamps.map(_.expiresS).distinct match {
      case Seq(one) => one
      case _        => None
    }
    Stamp(chosen.getOrElse(backdatedUs), expiry)
  }

  def stampOf(cell: Cell, fallback: => Stamp): Stamp = {
    val stamp = cell.stamp.getOrElse(fallback)
    if (writetime == Writetime.Backdate) stamp.copy(writetimeUs = backdatedUs) else stamp
  }
}

/** A statement with its values, all but the stamp: what is left to live is computed when it is
  * sent.
  *
  * `text` is the place of its text in [[WritePlan.texts]]. The values follow (UPDATE) or precede
  * (INSERT) timestamp and TTL; null is "not set".
  */
final case class Write(
    text: Int,
    token: Long,
    stamp: Stamp,
    values: Vector[ByteBuffer],
    stampFirst: Boolean) {

  /** Bytes of the values as they travel. */
  def bytes: Int = values.iterator.map(v => 4 + (if (v == null) 0 else v.remaining)).sum
}

/** The elements of one list of one row. Each write of an element makes a new one, whatever its
  * stamp, so it must be known whether an earlier try reached the target.
  *
  * A run is neighbours with one stamp, in the list's order. `atTheEnd` says where the elements go
  * beside those that the proxy has mirrored.
  */
final case class ListWrite(
    column: Int,
    token: Long,
    key: Vector[ByteBuffer],
    runs: Vector[(Stamp, Vector[ByteBuffer])],
    atTheEnd: Boolean)

/** What a row became. Young elements are left to the proxy: written after the copy began. */
final case class Writes(
    plain: Vector[Write] = Vector.empty,
    lists: Vector[ListWrite] = Vector.empty,
    cells: Long = 0,
    youngElements: Long = 0)

/** The texts that write to one list. */
final case class ListTexts(prepend: Int, append: Int, replace: Int)

/** How one pass over a table is written: one statement for each writetime and expiry that occurs in
  * a row, never one for all.
  *
  * One UPDATE text serves a table: what a group of cells does not touch is bound as "not set".
  * Elements of sets and maps are added (`c = c + ?`), fields of user types set one by one, so a
  * column of many cells needs no text of its own either. Only lists do.
  */
final class WritePlan(table: Table, select: Select) {
  import WritePlan.Using

  private val name = table.quoted
  private val at = Select.conditions(select.key)
  private val columns = select.columns
  private def update(set: String) = s"UPDATE $name $Using SET $set WHERE $at"

  private val listColumns = columns.indices.filter(i => columns(i).shape == Shape.OfList)
  private val listSets = listColumns.flatMap { i =>
    val column = columns(i).quoted
    Seq(s"$column = ? + $column", s"$column = $column + ?", s"$column = ?")
  }

  /** The texts for the list in this column. */
  val listTexts: Map[Int, ListTexts] = listColumns.zipWithIndex.map { case (column, n) =>
    column -> ListTexts(3 * n, 3 * n + 1, 3 * n + 2)
  }.toMap

  private val assignments = columns.map(WritePlan.assignments)
  private val slots = assignments.scanLeft(0)(_ + _.size)
  private val slotCount = slots.last
  private val hasUpdate = slotCount > 0

  /** All texts. */
  val texts: Vector[String] = {
    val marks = select.key.map(_ => "?").mkString(", ")
    val marker = s"INSERT INTO $name (${Select.list(select.key)}) VALUES ($marks) $Using"
    listSets.map(update).toVector ++
      (if (hasUpdate) Seq(update(assignments.flatten.mkString(", "))) else Nil) ++
      (if (select.pass == Pass.Rows) Seq(marker) else Nil)
  }
  private val updateText = listSets.size
  private val markerText = texts.size - 1

  /** Makes the writes of a row; `nowS` is the present second. */
  def writes(row: Row, rules: Rules, nowS: Long): Writes = {
    val taken = row.cells.filter(rules.takes)
    lazy val fallback = rules.fallback(row.cells)
    val (lists, plain) = taken.partition(cell => columns(cell.column).shape == Shape.OfList)
    val marker = markerStamp(row, rules, nowS)
      .map(stamp => Write(markerText, row.token, stamp, row.key, stampFirst = false))
    val groups = plain.groupBy(rules.stampOf(_, fallback)).toVector.sortBy(_._1)
    val updates = groups.map { case (stamp, cells) => group(row, stamp, cells) }
    val young = lists.count(isYoung(_, rules))
    val listWrites = lists.groupBy(_.column).toVector.sortBy(_._1).flatMap { case (column, cells) =>
      list(row, rules, column, cells, fallback)
    }
    Writes(marker.toVector ++ updates, listWrites, taken.size.toLong, young.toLong)
  }

  private def isYoung(cell: Cell, rules: Rules) =
    cell.stamp.exists(_.writetimeUs >= rules.beganUs)

  private def markerStamp(row: Row, rules: Rules, nowS: Long): Option[Stamp] =
    if (select.pass != Pass.Rows || rules.marker == RowMarker.Never) None
    else if (row.cells.isEmpty) {
      // Of a marker nothing can be read. In a table with a default TTL it was written with that, at
      // the latest now.
      val expiresS = if (table.defaultTtlS > 0) Some(nowS + table.defaultTtlS) else None
      if (rules.filters) None else Some(Stamp(rules.backdatedUs, expiresS))
    } else if (rules.marker == RowMarker.Infer) None
    else {
      // Of one writetime the cell that never expires, else the one that expires last.
      val stamps = row.cells.flatMap(_.stamp)
      val oldest =
        if (stamps.isEmpty) rules.fallback(row.cells)
        else stamps.minBy(s => (s.writetimeUs, -s.expiresS.getOrElse(Long.MaxValue)))
      val isBackdated = rules.writetime == Writetime.Backdate
      Some(if (isBackdated) oldest.copy(writetimeUs = rules.backdatedUs) else oldest)
    }

  /** One UPDATE for the cells that share a stamp. */
  private def group(row: Row, stamp: Stamp, cells: Vector[Cell]): Write = {
    val values = Array.fill[ByteBuffer](slotCount)(null)
    for ((column, cells) <- cells.groupBy(_.column)) {
      val first = slots(column)
      cells.head.content match {
        case Content.Whole(value) => values(first) = value
        case Content.Field(_, _) =>
          cells.foreach(_.content match {
            case Content.Field(place, value) => values(first + place) = value
            case _                           =>
          })
        case Content.Element(_) | Content.Entry(_, _) =>
          val elements = cells.flatMap(_.content match {
            case Content.Element(value)    => Vector(value)
            case Content.Entry(key, value) => Vector(key, value)
            case _                         => Vector.empty
          })
          values(first) = Bytes.collection(cells.size, elements)
      }
    }
    Write(updateText, row.token, stamp, values.toVector ++ row.key, stampFirst = true)
  }

  private def list(
      row: Row,
      rules: Rules,
      column: Int,
      cells: Vector[Cell],
      fallback: => Stamp): Option[ListWrite] = {
    val old = cells.filterNot(isYoung(_, rules))
    val runs = old.foldLeft(Vector.empty[(Stamp, Vector[ByteBuffer])]) { (runs, cell) =>
      val stamp = rules.stampOf(cell, fallback)
      (cell.content, runs.lastOption) match {
        case (Content.Element(value), Some((`stamp`, run))) =>
          runs.init :+ ((stamp, run :+ value))
        case (Content.Element(value), _) => runs :+ ((stamp, Vector(value)))
        case _                           => runs
      }
    }
    if (runs.isEmpty) return None
    val firstOld = cells.indexWhere(!isYoung(_, rules))
    val (before, after) = cells.splitAt(firstOld)
    val atTheEnd = before.nonEmpty && !after.exists(isYoung(_, rules))
    Some(ListWrite(column, row.token, row.key, runs, atTheEnd))
  }
}

object WritePlan {
  private val Using = "USING TIMESTAMP ? AND TTL ?"

  private def assignments(column: Column): Vector[String] = {
    val name = column.quoted
    column.shape match {
      case Shape.Single                => Vector(s"$name = ?")
      case Shape.OfSet | Shape.OfMap   => Vector(s"$name = $name + ?")
      case Shape.Udt(fields)           => fields.map(f => s"$name.${Schema.quote(f)} = ?")
      case Shape.OfList | Shape.Counter => Vector.empty
    }
  }

  /** What is left to live of a cell, in s; 0 is for ever, and what has expired still hides what is
    * older, so it gets 1.
    */
  def ttlLeftS(stamp: Stamp, nowS: Long): Int = stamp.expiresS match {
    case Some(expiresS) => (expiresS - nowS).max(1L).min(Limits.TtlMaxS).toInt
    case None           => 0
  }
}
