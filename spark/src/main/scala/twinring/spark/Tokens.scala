package twinring.spark

/** Tokens above `after` up to and including `upTo`; never empty. The ring wraps, ranges do not. */
final case class TokenRange(after: Long, upTo: Long) {

  /** As fraction of the ring. */
  def share: Double = (upTo.toDouble - after.toDouble) / TokenRange.RingWidth

  /** Two halves; none if it holds a single token. */
  def halves: Option[Seq[TokenRange]] = {
    val half = java.lang.Long.divideUnsigned(upTo - after, 2)
    if (half == 0) None
    else Some(Seq(TokenRange(after, after + half), TokenRange(after + half, upTo)))
  }

  /** What both hold. */
  def intersection(other: TokenRange): Option[TokenRange] = {
    val both = TokenRange(after.max(other.after), upTo.min(other.upTo))
    if (both.after < both.upTo) Some(both) else None
  }

  override def toString: String = s"$after:$upTo"
}

object TokenRange {
  private val RingWidth = 18446744073709551615.0

  /** The whole ring. */
  val All: TokenRange = TokenRange(Long.MinValue, Long.MaxValue)

  /** Reads `AFTER:UP_TO`. */
  def parse(text: String): Either[String, TokenRange] = {
    val wrong = s"$text: not AFTER:UP_TO, two tokens with AFTER < UP_TO"
    text.split(":", -1) match {
      case Array(after, upTo) =>
        try {
          val range = TokenRange(after.toLong, upTo.toLong)
          if (range.after < range.upTo) Right(range) else Left(wrong)
        } catch { case _: NumberFormatException => Left(wrong) }
      case _ => Left(wrong)
    }
  }
}

/** Token ranges of the ring: cut and subtracted. */
object Tokens {

  /** The ring in about `pieces` ranges of which none crosses a token of a node: each range then has
    * the same replicas throughout.
    */
  def cut(nodeTokens: Seq[Long], pieces: Int): Vector[TokenRange] = {
    val borders = (nodeTokens :+ Long.MinValue :+ Long.MaxValue).distinct.sorted
    val step = java.lang.Long.divideUnsigned(-1L, pieces.max(1).toLong)
    val most = step + java.lang.Long.divideUnsigned(step, 2)
    val bound = if (java.lang.Long.compareUnsigned(most, step) < 0) -1L else most
    val ranges = Vector.newBuilder[TokenRange]
    for ((low, upTo) <- borders.zip(borders.drop(1))) {
      var after = low
      while (java.lang.Long.compareUnsigned(upTo - after, bound) > 0) {
        ranges += TokenRange(after, after + step)
        after += step
      }
      ranges += TokenRange(after, upTo)
    }
    ranges.result()
  }

  /** What of `ranges` is in none of `done`. */
  def subtract(ranges: Seq[TokenRange], done: Seq[TokenRange]): Vector[TokenRange] = {
    val sorted = done.sortBy(_.after)
    val left = Vector.newBuilder[TokenRange]
    for (range <- ranges) {
      var after = range.after
      for (d <- sorted if d.after < range.upTo && d.upTo > after && after < range.upTo) {
        if (d.after > after) left += TokenRange(after, d.after)
        after = d.upTo
      }
      if (after < range.upTo) left += TokenRange(after, range.upTo)
    }
    left.result()
  }
}
