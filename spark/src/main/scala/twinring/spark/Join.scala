package twinring.spark

import java.nio.ByteBuffer

import scala.collection.mutable

/** Two streams of rows in one unknown order, brought together: each row is paired with the other
  * side's of the same key.
  *
  * Both clusters order partitions by token and rows by clustering key, and no comparator of ours
  * has to know how: when a row of one side meets its twin among the waiting rows of the other, all
  * rows that wait before the twin, and all that wait on the own side, have none: the streams have
  * gone past them. Between partitions the tokens tell as much. What waits is bounded; the oldest
  * beyond that is called doubtful, which costs a second look and is never wrong.
  */
final class Join(tolerance: Tolerance, maxWaitingBytes: Long = Limits.JoinWaitingBytes) {
  import Join._

  private val source = new Waiting
  private val target = new Waiting
  private val doubtfulKeys = mutable.ArrayBuffer.empty[Vector[ByteBuffer]]

  /** Rows that were the same at both sides. */
  var equal = 0L

  def doubtfulCount: Int = doubtfulKeys.size

  /** Keys of rows to look at again; they are handed out once. */
  def takeDoubtful(): Vector[Vector[ByteBuffer]] = {
    val taken = doubtfulKeys.toVector
    doubtfulKeys.clear()
    taken
  }

  /** Which stream to read on; none when both have ended. */
  def wants: Option[From] =
    if (source.isEnded && target.isEnded) None
    else if (source.isEnded) Some(FromTarget)
    else if (target.isEnded) Some(FromSource)
    else if (source.token.forall(s => target.token.exists(s <= _))) Some(FromSource)
    else Some(FromTarget)

  /** A row came. */
  def row(from: From, row: Fingerprint): Unit = {
    val (own, other) = if (from == FromSource) (source, target) else (target, source)
    own.token = Some(row.token)
    other.places.get(row.key) match {
      case Some(place) =>
        own.popAll(doubtfulKeys += _.key)
        while (other.first < place) other.pop().foreach(doubtfulKeys += _.key)
        other.pop().foreach { twin =>
          if (row.matches(twin, tolerance)) equal += 1 else doubtfulKeys += row.key
        }
      case None =>
        own.push(row)
        release()
    }
  }

  /** A stream has ended. */
  def ended(from: From): Unit = {
    (if (from == FromSource) source else target).isEnded = true
    release()
  }

  /** Lets go of rows whose twin cannot come any more, and of those beyond the bound. */
  private def release(): Unit = {
    val sides = Seq((source, target.token, target.isEnded), (target, source.token, source.isEnded))
    for ((own, otherToken, otherEnded) <- sides) {
      def isPast(row: Fingerprint) = otherEnded || otherToken.exists(_ > row.token)
      while (own.rows.headOption.exists(row => isPast(row) || own.bytes > maxWaitingBytes))
        own.pop().foreach(doubtfulKeys += _.key)
    }
  }
}

object Join {

  /** Which stream. */
  sealed trait From
  case object FromSource extends From
  case object FromTarget extends From

  private final class Waiting {
    val rows = mutable.Queue.empty[Fingerprint]

    /** Key → place, counted from the first row that ever waited. */
    val places = mutable.HashMap.empty[Vector[ByteBuffer], Long]

    /** Place of the first row that waits. */
    var first = 0L
    var bytes = 0L

    /** Token of the last row that came. */
    var token: Option[Long] = None
    var isEnded = false

    def push(row: Fingerprint): Unit = {
      places(row.key) = first + rows.size
      bytes += row.bytes
      rows.enqueue(row)
    }

    def pop(): Option[Fingerprint] =
      if (rows.isEmpty) None
      else {
        val row = rows.dequeue()
        places.remove(row.key)
        first += 1
        bytes -= row.bytes
        Some(row)
      }

    def popAll(each: Fingerprint => Unit): Unit = while (rows.nonEmpty) pop().foreach(each)
  }
}
