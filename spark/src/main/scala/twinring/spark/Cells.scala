package twinring.spark

import java.nio.ByteBuffer

/** When a cell was written, in µs since 1970, and the second when it expires; none: never. */
final case class Stamp(writetimeUs: Long, expiresS: Option[Long])

object Stamp {
  implicit val ordering: Ordering[Stamp] = Ordering.by(s => (s.writetimeUs, s.expiresS))
}

/** What a cell holds. */
sealed trait Content

object Content {

  /** A column of a single cell. */
  final case class Whole(value: ByteBuffer) extends Content

  /** An element of a list or set. */
  final case class Element(value: ByteBuffer) extends Content

  /** An entry of a map. */
  final case class Entry(key: ByteBuffer, value: ByteBuffer) extends Content

  /** A field of a user type, by its place. */
  final case class Field(place: Int, value: ByteBuffer) extends Content
}

/** A cell; `column` is the place of its column among those that are read. It has no stamp where the
  * cluster does not tell, and for counters.
  */
final case class Cell(column: Int, content: Content, stamp: Option[Stamp])

/** A row that was read: partition key, then clustering key, and its cells. */
final case class Row(token: Long, key: Vector[ByteBuffer], cells: Vector[Cell])

object Row {

  /** Takes the columns of `select` apart; `readS` is the second when the row was read.
    *
    * None when this is no row: with rows are read, a partition of which only static cells are left
    * shows as one without a clustering key.
    */
  def decode(select: Select, columns: Array[ByteBuffer], readS: Long): Option[Row] = {
    var at = 0
    def next(): Option[ByteBuffer] = {
      require(at < columns.length, "a row with too few columns")
      at += 1
      Option(columns(at - 1))
    }
    val token = Bytes.long(next().getOrElse(sys.error("a row without token")))
    val key = select.key.map(_ => next())
    if (key.contains(None)) return None
    val cells = Vector.newBuilder[Cell]
    for ((wanted, index) <- select.wanted.iterator.zipWithIndex) {
      val bytes = next()
      val stamps = if (wanted.isStamped) Some((next(), next())) else None
      for (bytes <- bytes)
        try new ColumnReader(index, readS).read(wanted.column.shape, bytes, stamps, cells += _)
        catch {
          case e: IllegalArgumentException =>
            throw new IllegalArgumentException(s"column ${wanted.column.name}: ${e.getMessage}")
        }
    }
    Some(Row(token, key.flatten, cells.result()))
  }
}

private final class ColumnReader(column: Int, readS: Long) {
  type Stamps = Option[(Option[ByteBuffer], Option[ByteBuffer])]

  def read(shape: Shape, bytes: ByteBuffer, stamps: Stamps, add: Cell => Unit): Unit =
    shape match {
      case Shape.Single | Shape.Counter =>
        val stamp = stamps.collect { case (Some(writetime), ttl) => stampOf(writetime, ttl) }
        add(Cell(column, Content.Whole(bytes), stamp))
      case Shape.OfList | Shape.OfSet =>
        val (count, elements) = Elements.ofCollection(bytes)
        val stampOf = elementStamps(stamps, count)
        for (_ <- 0 until count)
          add(Cell(column, Content.Element(elements.nextPresent()), stampOf()))
      case Shape.OfMap =>
        val (count, elements) = Elements.ofCollection(bytes)
        val stampOf = elementStamps(stamps, count)
        for (_ <- 0 until count) {
          val (key, value) = (elements.nextPresent(), elements.nextPresent())
          add(Cell(column, Content.Entry(key, value), stampOf()))
        }
      case Shape.Udt(fields) =>
        val elements = Elements.ofFields(bytes)
        val stampOf = elementStamps(stamps, fields.length)
        for (field <- fields.indices if !elements.isEmpty) {
          val stamp = stampOf()
          elements.next().foreach(value => add(Cell(column, Content.Field(field, value), stamp)))
        }
    }

  private def stampOf(writetime: ByteBuffer, ttl: Option[ByteBuffer]): Stamp =
    Stamp(Bytes.long(writetime), ttl.map(ttl => readS + Bytes.int(ttl)))

  /** The stamps of the elements of one collection, in their order. */
  private def elementStamps(stamps: Stamps, count: Int): () => Option[Stamp] = stamps match {
    case Some((Some(writetimes), ttls)) =>
      val (told, ofWritetimes) = Elements.ofCollection(writetimes)
      require(told == count, s"$told writetimes for $count elements")
      val ofTtls = ttls.map(Elements.ofCollection(_)._2)
      () => {
        val writetime = ofWritetimes.next()
        val ttl = ofTtls.flatMap(_.next())
        writetime.map(stampOf(_, ttl))
      }
    case _ => () => None
  }
}
