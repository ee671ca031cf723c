package twinring.spark

import java.nio.ByteBuffer
import java.nio.charset.StandardCharsets.UTF_8

/** Values as the bytes that the cluster sent: no codec of ours can change one.
  *
  * A buffer is never moved: whoever reads one reads a duplicate.
  */
object Bytes {

  /** A value of eight bytes as a number. */
  def long(bytes: ByteBuffer): Long = {
    require(bytes.remaining == 8, "not a bigint")
    bytes.getLong(bytes.position())
  }

  /** A value of four bytes as a number. */
  def int(bytes: ByteBuffer): Int = {
    require(bytes.remaining == 4, "not an int")
    bytes.getInt(bytes.position())
  }

  def ofLong(number: Long): ByteBuffer = ByteBuffer.allocate(8).putLong(0, number)

  def ofInt(number: Int): ByteBuffer = ByteBuffer.allocate(4).putInt(0, number)

  def ofText(text: String): ByteBuffer = ByteBuffer.wrap(text.getBytes(UTF_8))

  /** Hexadecimal digits. */
  def hex(bytes: ByteBuffer): String = {
    val text = new StringBuilder(bytes.remaining * 2)
    var at = bytes.position()
    while (at < bytes.limit()) {
      val byte = bytes.get(at)
      text.append(Character.forDigit((byte >> 4) & 15, 16))
      text.append(Character.forDigit(byte & 15, 16))
      at += 1
    }
    text.toString
  }

  /** Puts a list, set or map together; of a map keys and values in turns. */
  def collection(count: Int, elements: Seq[ByteBuffer]): ByteBuffer = {
    val out = ByteBuffer.allocate(4 + elements.iterator.map(_.remaining + 4).sum)
    out.putInt(count)
    elements.foreach(element => out.putInt(element.remaining).put(element.duplicate()))
    out.flip()
    out
  }
}

/** Reads `[bytes]` after `[bytes]`: the elements of a collection, or the fields of a user type. */
final class Elements private (left: ByteBuffer) {

  def isEmpty: Boolean = !left.hasRemaining

  /** The next element; null is none. */
  def next(): Option[ByteBuffer] = {
    require(left.remaining >= 4, "an element without length")
    val length = left.getInt()
    if (length < 0) return None
    require(length <= left.remaining, "an element is longer than its collection")
    val element = left.slice()
    element.limit(length)
    left.position(left.position() + length)
    Some(element.slice())
  }

  /** The next element, which must not be null. */
  def nextPresent(): ByteBuffer =
    next().getOrElse(throw new IllegalArgumentException("a null element"))
}

object Elements {

  /** Of a list or set, or the keys and values of a map in turns; and how many elements (entries) it
    * says it has.
    */
  def ofCollection(bytes: ByteBuffer): (Int, Elements) = {
    val left = bytes.slice()
    require(left.remaining >= 4, "a collection without length")
    val count = left.getInt()
    require(count >= 0, "a negative count")
    (count, new Elements(left))
  }

  /** Of a user type or tuple: the fields, as far as there are any. */
  def ofFields(bytes: ByteBuffer): Elements = new Elements(bytes.slice())
}
