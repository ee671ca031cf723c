package twinring.spark

import com.datastax.oss.driver.api.core.CqlSession

import scala.collection.JavaConverters._

/** How a column is stored, and so how many writetimes it has. */
sealed trait Shape extends Serializable

object Shape {

  /** One cell: native types, and everything frozen. */
  case object Single extends Shape

  /** A cell for each element. */
  case object OfList extends Shape
  case object OfSet extends Shape

  /** A cell for each entry. */
  case object OfMap extends Shape

  /** A cell for each of these fields. */
  final case class Udt(fields: Vector[String]) extends Shape

  /** A number without writetime. */
  case object Counter extends Shape

  /** How a column of this type is stored; `types` are the keyspace's user types. */
  def of(cqlType: String, types: Map[String, Vector[String]]): Shape =
    cqlType.takeWhile(_ != '<') match {
      case "list"    => OfList
      case "set"     => OfSet
      case "map"     => OfMap
      case "counter" => Counter
      case _ =>
        val isQuoted = cqlType.length > 1 && cqlType.startsWith("\"") && cqlType.endsWith("\"")
        val name =
          if (isQuoted) cqlType.substring(1, cqlType.length - 1).replace("\"\"", "\"") else cqlType
        types.get(name).fold[Shape](Single)(Udt)
    }
}

/** A column; `cqlType` is its type in CQL. */
final case class Column(name: String, cqlType: String, shape: Shape) {

  /** The name as it must stand in CQL. */
  def quoted: String = Schema.quote(name)

  /** Whether it is stored cell by cell. */
  def isMultiCell: Boolean = shape != Shape.Single && shape != Shape.Counter
}

/** A table. A default TTL of 0 is none. */
final case class Table(
    keyspace: String,
    name: String,
    partitionKey: Vector[Column],
    clustering: Vector[Column],
    statics: Vector[Column],
    regulars: Vector[Column],
    defaultTtlS: Long,
    gcGraceS: Long) {

  def quoted: String = Schema.quote(keyspace) + "." + Schema.quote(name)

  /** `keyspace.table`, for people. */
  def shown: String = s"$keyspace.$name"

  def isCounter: Boolean = (regulars ++ statics).exists(_.shape == Shape.Counter)

  def hasLists: Boolean = (regulars ++ statics).exists(_.shape == Shape.OfList)

  /** What keeps cells of this table from being written to `other`; none if nothing does. */
  def differsFrom(other: Table): Option[String] = {
    def list(columns: Seq[Column]) = columns.map(c => s"${c.name} ${c.cqlType}").mkString(", ")
    Seq(
      ("partition key", partitionKey, other.partitionKey),
      ("clustering key", clustering, other.clustering),
      ("static columns", statics, other.statics),
      ("regular columns", regulars, other.regulars)).collectFirst {
      case (kind, here, there) if here != there =>
        s"$kind: (${list(here)}) at the source, (${list(there)}) at the target"
    }
  }
}

object Schema {

  /** A name as it must stand in CQL. */
  def quote(name: String): String = "\"" + name.replace("\"", "\"\"") + "\""

  /** The tables of a keyspace, by name; materialized views are none. */
  def load(session: CqlSession, keyspace: String): Map[String, Table] = {
    def rows(text: String) = session.execute(text, keyspace).asScala.toVector
    val types = rows(
      "SELECT type_name, field_names FROM system_schema.types WHERE keyspace_name = ?").map { row =>
      row.getString(0) -> row.getList(1, classOf[String]).asScala.toVector
    }.toMap
    val columns = rows(
      "SELECT table_name, column_name, kind, position, type FROM system_schema.columns " +
        "WHERE keyspace_name = ?").map { row =>
      val cqlType = row.getString(4)
      val column = Column(row.getString(1), cqlType, Shape.of(cqlType, types))
      (row.getString(0), row.getString(2), row.getInt(3), column)
    }
    val tables = rows(
      "SELECT table_name, default_time_to_live, gc_grace_seconds FROM system_schema.tables " +
        "WHERE keyspace_name = ?")
    tables.map { row =>
      val name = row.getString(0)
      def of(kind: String) = columns
        .collect { case (`name`, `kind`, position, column) => (position, column) }
        .sortBy { case (position, column) => (position, column.name) }
        .map(_._2)
      name -> Table(
        keyspace,
        name,
        of("partition_key"),
        of("clustering"),
        of("static"),
        of("regular"),
        row.getInt(1).toLong,
        row.getInt(2).toLong)
    }.toMap
  }
}
