package twinring.spark

import com.fasterxml.jackson.databind.ObjectMapper
import com.fasterxml.jackson.databind.node.ObjectNode

/** How something differs. */
sealed abstract class Kind(val word: String) extends Serializable

object Kind {

  /** Only the source has it. */
  case object Missing extends Kind("missing")

  /** Only the target has it. */
  case object Extra extends Kind("extra")

  /** Another value. */
  case object Value extends Kind("value")

  /** Another writetime. */
  case object Stamp extends Kind("stamp")

  /** Another expiry, or one of them never expires. */
  case object Expiry extends Kind("expiry")

  /** The row kept changing while it was looked at. */
  case object InFlight extends Kind("in-flight")

  /** A repair did not help: the target has a newer delete, a newer value, or a greater one of the
    * same writetime.
    */
  case object Shadowed extends Kind("shadowed")

  /** All of them, in the order of the summary. */
  val All: Seq[Kind] = Seq(Missing, Extra, Value, Stamp, Expiry, InFlight, Shadowed)
}

/** One side's cell: hexadecimal digits, µs since 1970 where the cluster tells it, seconds since
  * 1970 (none: never, or not told).
  */
final case class Side(value: String, writetimeUs: Option[Long], expiresS: Option[Long]) {

  private[spark] def toJson: ObjectNode = {
    val json = Json.obj().put("value", value)
    writetimeUs.fold(json.putNull("writetime_us"))(json.put("writetime_us", _))
    expiresS.fold(json.putNull("expires_s"))(json.put("expires_s", _))
  }

  private[spark] def shown(word: String): String = {
    val short = if (value.length > 32) value.take(32) + "…" else value
    s", $word 0x$short" + writetimeUs.fold("")(us => s" written $us") +
      expiresS.fold("")(s => s" expires $s")
  }
}

/** A difference, as `twinring verify --report` writes it; `column` none: the whole row. */
final case class Difference(
    table: String,
    pass: String,
    key: Vector[(String, String)],
    kind: Kind,
    column: Option[String],
    element: Option[String],
    source: Option[Side],
    target: Option[Side],
    repaired: Boolean) {

  /** A line of the report, without its end. */
  def toJson: String = {
    val json = Json.obj().put("table", table).put("pass", pass)
    val parts = json.putArray("key")
    key.foreach { case (name, hex) => parts.addArray().add(name).add(hex) }
    json.put("class", kind.word)
    column.foreach(json.put("column", _))
    element.foreach(json.put("element", _))
    source.foreach(side => json.set[ObjectNode]("source", side.toJson))
    target.foreach(side => json.set[ObjectNode]("target", side.toJson))
    json.put("repaired", repaired).put("dirty", false).toString
  }

  override def toString: String = {
    val shownKey = key.map { case (name, hex) => s"$name=0x$hex" }.mkString(" ")
    s"$table $shownKey: ${kind.word}" + column.fold("")(" " + _) +
      element.fold("")(hex => s"[0x$hex]") + source.fold("")(_.shown("source")) +
      target.fold("")(_.shown("target")) + (if (repaired) " (repaired)" else "")
  }
}

/** A token range that could not be copied or compared; `range` is as `--token-range` takes it. */
final case class FailedRange(table: String, pass: String, range: String, words: String) {

  private[spark] def toJson: ObjectNode =
    Json.obj().put("table", table).put("pass", pass).put("range", range).put("words", words)

  private[spark] def shown(what: String): String =
    s"\n$what: $table ($pass) --token-range $range: $words"
}

/** Counts of one token range, or of a whole copy; their names are those of [[Tally.Names]]. */
final case class Tally(counts: Map[String, Long] = Map.empty) {

  def apply(name: String): Long = counts.getOrElse(name, 0L)

  def plus(name: String, count: Long): Tally =
    if (count == 0) this else Tally(counts.updated(name, apply(name) + count))

  def +(other: Tally): Tally =
    other.counts.foldLeft(this) { case (sum, (name, count)) => sum.plus(name, count) }
}

object Tally {

  /** As in the checkpoint and the JSON of `twinring copy`. */
  val Names: Seq[String] = Seq(
    "rows",
    "bytes",
    "cells",
    "statements",
    "lists",
    "lists_there",
    "lists_replaced",
    "young_elements",
    "counters_added",
    "counters_busy")
}

/** The result of a copy, earlier runs of it included. */
final case class CopySummary(
    tally: Tally = Tally(),
    rowsThisRun: Long = 0,
    elapsedMs: Long = 0,
    rangesResumed: Long = 0,
    rangesDone: Long = 0,
    failed: Vector[FailedRange] = Vector.empty) {

  /** Whether everything was copied. */
  def isComplete: Boolean = failed.isEmpty && tally("counters_busy") == 0

  /** Rows a second of this run. */
  def rowsPerSecond: Long = if (elapsedMs == 0) 0 else rowsThisRun * 1000 / elapsedMs

  def toJson: String = {
    val json = Json.obj()
    Tally.Names.foreach(name => json.put(name, tally(name)))
    json.put("rows_this_run", rowsThisRun).put("elapsed_ms", elapsedMs)
    json.put("ranges_resumed", rangesResumed).put("ranges_done", rangesDone)
    val ranges = json.putArray("failed")
    failed.foreach(range => ranges.add(range.toJson))
    json.put("complete", isComplete).put("rows_per_second", rowsPerSecond).toString
  }

  override def toString: String = {
    val also = Seq(
      "lists" -> "lists written",
      "lists_there" -> "lists were at the target already",
      "lists_replaced" ->
        "lists differed at the target and were written anew, 1 µs younger",
      "young_elements" -> "list elements left to the proxy: younger than this copy",
      "counters_added" -> "counters got the difference",
      "counters_busy" -> "counters would not keep still: copy again when they do")
    s"copied ${tally("rows")} rows: ${tally("cells")} cells in ${tally("statements")} " +
      s"statements, ${tally("bytes")} bytes; this run $rowsThisRun rows in " +
      s"${elapsedMs / 1000}.${elapsedMs % 1000 / 100} s, $rowsPerSecond rows/s\n" +
      s"${rangesDone + rangesResumed} token ranges done, $rangesResumed by earlier runs" +
      also
        .collect { case (name, words) if tally(name) > 0 => f"\n${tally(name)}%12d  $words" }
        .mkString +
      failed.map(_.shown("NOT COPIED")).mkString
  }
}

/** The result of a comparison. */
final case class VerifySummary(
    tables: Long = 0,
    equal: Long = 0,
    settled: Long = 0,
    rowsDiffering: Long = 0,
    differences: Map[Kind, Long] = Map.empty,
    repaired: Long = 0,
    failed: Vector[FailedRange] = Vector.empty,
    shown: Vector[Difference] = Vector.empty,
    elapsedMs: Long = 0) {

  /** Differences that were found, repaired ones included. */
  def found: Long = differences.values.sum

  /** How many differences of a kind were found. */
  def of(kind: Kind): Long = differences.getOrElse(kind, 0L)

  /** Whether both clusters are equal now, as far as they were compared. */
  def isEqual: Boolean = found == repaired

  def toJson: String = {
    val json = Json.obj().put("tables", tables).put("equal", equal).put("settled", settled)
    json.put("rows_differing", rowsDiffering)
    val kinds = json.putObject("differences")
    Kind.All.filter(of(_) > 0).foreach(kind => kinds.put(kind.word, of(kind)))
    json.put("repaired", repaired).put("dirty", 0)
    val ranges = json.putArray("failed")
    failed.foreach(range => ranges.add(range.toJson))
    val lines = json.putArray("shown")
    shown.foreach(difference => lines.add(Json.read(difference.toJson)))
    json.put("elapsed_ms", elapsedMs).put("is_equal", isEqual && failed.isEmpty).toString
  }

  override def toString: String = {
    val rate = (equal + rowsDiffering) * 1000 / elapsedMs.max(1)
    val present = Kind.All.filter(of(_) > 0)
    val kinds = present.map(kind => f"${of(kind)}%12d  ${kind.word}%s\n").mkString
    val repairs = if (found > 0) f"$repaired%12d  of these are repaired\n" else ""
    shown.map(_.toString + "\n").mkString +
      s"$tables tables in ${elapsedMs / 1000} s, $rate rows/s: ${equal + settled} rows equal, " +
      s"$settled of them only when looked at again; $rowsDiffering differ\n" + kinds + repairs +
      failed.map(_.shown("NOT COMPARED").drop(1) + "\n").mkString +
      ((isEqual, failed.isEmpty) match {
        case (true, true)  => "equal"
        case (true, false) => "equal as far as compared"
        case (false, _)    => "NOT EQUAL"
      })
  }
}

private[spark] object Json {
  private val mapper = new ObjectMapper

  def obj(): ObjectNode = mapper.createObjectNode()

  def read(text: String): ObjectNode = mapper.readTree(text) match {
    case json: ObjectNode => json
    case _                => throw new IllegalArgumentException("not a JSON object")
  }
}
