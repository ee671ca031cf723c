package twinring.spark

/** Which part of a table is read. */
sealed abstract class Pass(val name: String) extends Serializable

object Pass {

  /** The rows: keys and regular columns. */
  case object Rows extends Pass("rows")

  /** The partitions: partition keys and static columns, also where there are no rows. */
  case object Statics extends Pass("statics")

  /** The passes that a table needs. */
  def of(table: Table): Seq[Pass] = if (table.statics.isEmpty) Seq(Rows) else Seq(Rows, Statics)
}

/** A column that is read; if `isStamped` its writetime and TTL follow it in the row. */
final case class Wanted(column: Column, isStamped: Boolean)

/** How one pass over a table is read. A row is: token, key, then each wanted column.
  *
  * `rangeText` binds the token before a range and the last one in it, `oneText` the key.
  */
final case class Select(
    pass: Pass,
    key: Vector[Column],
    wanted: Vector[Wanted],
    rangeText: String,
    oneText: String) {

  def columns: Vector[Column] = wanted.map(_.column)
}

object Select {

  /** `perElement`: the cluster tells writetime and TTL of each element of a collection
    * (Cassandra 5.0).
    */
  def apply(table: Table, pass: Pass, perElement: Boolean, condition: Option[String]): Select = {
    val (key, columns) = pass match {
      case Pass.Rows    => (table.partitionKey ++ table.clustering, table.regulars)
      case Pass.Statics => (table.partitionKey, table.statics)
    }
    val wanted = columns.map { column =>
      val isStamped = column.shape != Shape.Counter && (perElement || !column.isMultiCell)
      Wanted(column, isStamped)
    }
    val partition = list(table.partitionKey)
    val selected = Seq(s"token($partition)", list(key)) ++ wanted.map { one =>
      val name = one.column.quoted
      if (one.isStamped) s"$name, writetime($name), ttl($name)" else name
    }
    val distinct = if (pass == Pass.Statics) "DISTINCT " else ""
    val from = s"SELECT $distinct${selected.mkString(", ")} FROM ${table.quoted} WHERE"
    val filter =
      condition.filter(_ => pass == Pass.Rows).fold("")(c => s" AND $c ALLOW FILTERING")
    Select(
      pass,
      key,
      wanted,
      s"$from token($partition) > ? AND token($partition) <= ?$filter",
      s"$from ${conditions(key)}")
  }

  /** Column names, comma separated. */
  def list(columns: Seq[Column]): String = columns.map(_.quoted).mkString(", ")

  /** `a = ? AND b = ?`. */
  def conditions(key: Seq[Column]): String = key.map(c => s"${c.quoted} = ?").mkString(" AND ")
}
