package twinring.spark

import java.nio.ByteBuffer

/** Where a cell is in its row: its column, and of a column of many cells the key of a map's entry,
  * the element of a set, or the place in a list or user type.
  */
final case class Place(column: Int, element: Option[ByteBuffer])

/** A cell that differs. */
final case class CellDifference(
    place: Place,
    kind: Kind,
    source: Option[Side],
    target: Option[Side])

/** How two rows differ. */
sealed trait RowDifference

object RowDifference {
  case object Missing extends RowDifference
  case object Extra extends RowDifference
  final case class Cells(cells: Vector[CellDifference]) extends RowDifference
}

/** Two rows of one key, cell by cell: what differs, and in which way. */
object Diff {

  /** Compares two rows; a row that is not there is `None`. */
  def rows(
      source: Option[Row],
      target: Option[Row],
      columns: Vector[Column],
      tolerance: Tolerance): Option[RowDifference] = (source, target) match {
    case (None, None)    => None
    case (Some(_), None) => Some(RowDifference.Missing)
    case (None, Some(_)) => Some(RowDifference.Extra)
    case (Some(source), Some(target)) =>
      val found = cells(source, target, columns, tolerance)
      if (found.isEmpty) None else Some(RowDifference.Cells(found))
  }

  private def cells(
      source: Row,
      target: Row,
      columns: Vector[Column],
      tolerance: Tolerance): Vector[CellDifference] = {
    val (here, there) = (byPlace(source, columns), byPlace(target, columns))
    val others = there.toMap
    val known = here.iterator.map(_._1).toSet
    val atSource = here.flatMap { case (place, cell) =>
      val other = others.get(place)
      val kind = other match {
        case None        => Some(Kind.Missing)
        case Some(other) => kindOf(cell, other, columns(place.column), tolerance)
      }
      kind.map(CellDifference(place, _, Some(side(cell)), other.map(side)))
    }
    val atTarget = there.collect {
      case (place, cell) if !known.contains(place) =>
        CellDifference(place, Kind.Extra, None, Some(side(cell)))
    }
    atSource ++ atTarget
  }

  private def byPlace(row: Row, columns: Vector[Column]): Vector[(Place, Cell)] = {
    var (last, inList) = (-1, 0)
    row.cells.map { cell =>
      if (cell.column != last) inList = 0
      last = cell.column
      val element = cell.content match {
        case Content.Whole(_) => None
        case Content.Element(_) if columns(cell.column).shape == Shape.OfList =>
          inList += 1
          Some(Bytes.ofInt(inList - 1))
        case Content.Element(value) => Some(value)
        case Content.Entry(key, _)  => Some(key)
        case Content.Field(n, _)    => Some(Bytes.ofInt(n))
      }
      (Place(cell.column, element), cell)
    }
  }

  private def kindOf(
      source: Cell,
      target: Cell,
      column: Column,
      tolerance: Tolerance): Option[Kind] = {
    val same =
      (tolerance.looseFloat(source, column), tolerance.looseFloat(target, column)) match {
        case (Some(a), Some(b)) => tolerance.floatsMatch(a, b)
        case _                  => source.content == target.content
      }
    if (!same) return Some(Kind.Value)
    (source.stamp, target.stamp) match {
      case (Some(a), Some(b)) if tolerance.compareStamps =>
        val ofList = column.shape == Shape.OfList
        if (!tolerance.writetimesMatch(a.writetimeUs, b.writetimeUs, ofList)) Some(Kind.Stamp)
        else
          (a.expiresS, b.expiresS) match {
            case (None, None)                                         => None
            case (Some(a), Some(b)) if tolerance.expiriesMatch(a, b) => None
            case _                                                    => Some(Kind.Expiry)
          }
      case _ => None
    }
  }

  private def side(cell: Cell): Side = {
    val value = cell.content match {
      case Content.Whole(value)    => value
      case Content.Element(value)  => value
      case Content.Entry(_, value) => value
      case Content.Field(_, value) => value
    }
    Side(Bytes.hex(value), cell.stamp.map(_.writetimeUs), cell.stamp.flatMap(_.expiresS))
  }
}
