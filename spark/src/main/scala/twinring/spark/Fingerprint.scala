package twinring.spark

import java.nio.ByteBuffer
import java.security.MessageDigest

/** How far apart two cells may be. */
final case class Tolerance(
    compareStamps: Boolean = true,
    expiryMs: Long = 2000,
    writetimeUs: Long = 0,
    float: Double = 0.0) {

  /** Whether two cells expire at about the same time. */
  def expiriesMatch(a: Long, b: Long): Boolean = math.abs(a - b) <= expiryMs / 1000

  /** Whether two writetimes are close enough. A list that had to be written anew is a little
    * younger than at the source.
    */
  def writetimesMatch(a: Long, b: Long, ofList: Boolean): Boolean = {
    val slack = if (ofList) Limits.ListStampSlackUs else 0L
    math.abs(a - b) <= writetimeUs.max(slack)
  }

  /** Whether two numbers are close enough; NaN is like NaN. */
  def floatsMatch(a: Double, b: Double): Boolean =
    java.lang.Double.doubleToRawLongBits(a) == java.lang.Double.doubleToRawLongBits(b) ||
      (a.isNaN && b.isNaN) || math.abs(a - b) <= float

  /** The cell's value, if it is a float that only has to be close. */
  def looseFloat(cell: Cell, column: Column): Option[Double] = cell.content match {
    case Content.Whole(bytes) if float > 0 =>
      (column.cqlType, bytes.remaining) match {
        case ("double", 8) => Some(bytes.getDouble(bytes.position()))
        case ("float", 4)  => Some(bytes.getFloat(bytes.position()).toDouble)
        case _             => None
      }
    case _ => None
  }
}

/** A number that must be close to the other side's. */
sealed trait Loose

object Loose {
  final case class Expiry(s: Long) extends Loose
  final case class Written(us: Long, ofList: Boolean) extends Loose
  final case class Number(x: Double) extends Loose
}

/** A row in few bytes: a digest of all that must be the same, and the numbers that only have to be
  * close.
  */
final class Fingerprint(
    val token: Long,
    val key: Vector[ByteBuffer],
    private val high: Long,
    private val low: Long,
    private val loose: Vector[Loose]) {

  /** Whether two rows of one key hold the same. */
  def matches(other: Fingerprint, tolerance: Tolerance): Boolean =
    high == other.high && low == other.low && loose.size == other.loose.size &&
      loose.iterator.zip(other.loose.iterator).forall {
        case (Loose.Expiry(a), Loose.Expiry(b)) => tolerance.expiriesMatch(a, b)
        case (Loose.Written(a, ofList), Loose.Written(b, _)) =>
          tolerance.writetimesMatch(a, b, ofList)
        case (Loose.Number(a), Loose.Number(b)) => tolerance.floatsMatch(a, b)
        case _                                  => false
      }

  /** About how much memory it takes. */
  def bytes: Int = 120 + key.iterator.map(_.remaining + 64).sum + loose.size * 32
}

object Fingerprint {

  def of(row: Row, columns: Vector[Column], tolerance: Tolerance): Fingerprint = {
    val digest = MessageDigest.getInstance("SHA-256")
    val number = ByteBuffer.allocate(8)
    def put(value: Long): Unit = {
      number.putLong(0, value)
      digest.update(number.duplicate())
    }
    def putBytes(bytes: ByteBuffer): Unit = {
      put(bytes.remaining.toLong)
      digest.update(bytes.duplicate())
    }
    val loose = Vector.newBuilder[Loose]
    for (cell <- row.cells) {
      val column = columns(cell.column)
      put(cell.column.toLong)
      tolerance.looseFloat(cell, column) match {
        case Some(float) => loose += Loose.Number(float)
        case None =>
          cell.content match {
            case Content.Whole(value)      => put(0); putBytes(value)
            case Content.Element(value)    => put(1); putBytes(value)
            case Content.Entry(key, value) => put(2); putBytes(key); putBytes(value)
            case Content.Field(place, v)   => put(3); put(place.toLong); putBytes(v)
          }
      }
      for (stamp <- cell.stamp if tolerance.compareStamps) {
        val ofList = column.shape == Shape.OfList
        if (ofList || tolerance.writetimeUs > 0) loose += Loose.Written(stamp.writetimeUs, ofList)
        else put(stamp.writetimeUs)
        put(if (stamp.expiresS.isDefined) 1 else 0)
        stamp.expiresS.foreach(s => loose += Loose.Expiry(s))
      }
    }
    val bytes = ByteBuffer.wrap(digest.digest())
    new Fingerprint(row.token, row.key, bytes.getLong(0), bytes.getLong(8), loose.result())
  }
}
