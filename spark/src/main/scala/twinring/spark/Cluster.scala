package twinring.spark

import java.nio.ByteBuffer
import java.util.concurrent.CompletionStage

import com.datastax.oss.driver.api.core.CqlSession
import com.datastax.oss.driver.api.core.cql._
import com.datastax.oss.driver.api.core.metadata.token.Token
import com.datastax.spark.connector.cql.CassandraConnector
import org.apache.spark.SparkConf

import scala.collection.JavaConverters._

/** A way to one cluster that Spark can bring to every task. */
final case class Way(endpoint: Endpoint, connector: CassandraConnector)

object Way {

  /** Of the connector's settings those with `spark.twinring.<side>.` in front are for this side
    * alone: `spark.twinring.target.connection.ssl.enabled` becomes
    * `spark.cassandra.connection.ssl.enabled`.
    */
  def apply(conf: SparkConf, endpoint: Endpoint, password: Option[String]): Way =
    Way(endpoint, CassandraConnector(settings(conf, endpoint, password)))

  private[spark] def settings(
      conf: SparkConf,
      endpoint: Endpoint,
      password: Option[String]): SparkConf = {
    val own = conf.clone()
    val prefix = s"spark.twinring.${endpoint.side}."
    for ((name, value) <- conf.getAllWithPrefix(prefix)) own.set(s"spark.cassandra.$name", value)
    if (endpoint.contacts != "-") {
      val contacts =
        endpoint.contacts.split(',').map(c => Failure.withPort(c.trim, endpoint.port))
      own.set("spark.cassandra.connection.host", contacts.mkString(","))
      own.set("spark.cassandra.connection.port", endpoint.port.toString)
    }
    for (user <- endpoint.username; password <- password) {
      own.set("spark.cassandra.auth.username", user)
      own.set("spark.cassandra.auth.password", password)
    }
    // Whether a request may be sent again is for us to decide.
    own.set("spark.cassandra.query.retry.count", "0")
  }
}

/** A connected cluster. */
final class Cluster private (val endpoint: Endpoint, val session: CqlSession)
    extends AutoCloseable {
  def side: String = endpoint.side

  private val about = session
    .execute("SELECT release_version, partitioner FROM system.local")
    .one()

  if (about.getString(1) != Cluster.Murmur3)
    throw new UsageError(
      s"the $side uses ${about.getString(1)}; only the Murmur3Partitioner is supported")
  if (session.getContext.getProtocolVersion.getCode < 4)
    throw new UsageError(s"the $side speaks no protocol above v3, which has no unset values")

  /** It tells writetime and TTL of each element of a collection. */
  val perElement: Boolean = about.getString(0).takeWhile(_ != '.') match {
    case digits if digits.nonEmpty && digits.forall(_.isDigit) && digits.length < 4 =>
      digits.toInt >= 5
    case _ => false
  }

  /** The tables of a keyspace, as they are now. */
  def tables(keyspace: String): Map[String, Table] = Schema.load(session, keyspace)

  /** The tokens of all nodes, ascending. */
  def nodeTokens: Vector[Long] = {
    val map = session.getMetadata.getTokenMap
    if (!map.isPresent) Vector.empty
    else {
      val nodes = session.getMetadata.getNodes.values.asScala.toVector
      nodes.flatMap(map.get.getTokens(_).asScala).map(map.get.format(_).toLong).sorted
    }
  }

  /** A token as the driver wants it, to choose a replica. */
  def tokenOf(token: Long): Option[Token] = {
    val map = session.getMetadata.getTokenMap
    if (map.isPresent) Some(map.get.parse(token.toString)) else None
  }

  /** Prepares a statement. */
  def prepare(text: String): PreparedStatement =
    try session.prepare(text)
    catch {
      case scala.util.control.NonFatal(e) =>
        val failure = Failure.of(side, e)
        throw new Failure(side, s"${failure.what}; it was: $text", failure.isFinal)
    }

  /** Binds values that are bytes already; null is "not set". */
  def bind(prepared: PreparedStatement, values: Seq[ByteBuffer]): BoundStatement = {
    val bound = prepared.boundStatementBuilder()
    for ((value, at) <- values.iterator.zipWithIndex if value != null)
      bound.setBytesUnsafe(at, value)
    bound.setConsistencyLevel(endpoint.level).setIdempotence(true).build()
  }

  def send(statement: Statement[_]): CompletionStage[AsyncResultSet] =
    session.executeAsync(statement)

  override def close(): Unit = session.close()
}

object Cluster {
  private val Murmur3 = "org.apache.cassandra.dht.Murmur3Partitioner"

  /** Connects; the connector keeps sessions for the tasks that follow. */
  def open(way: Way): Cluster = {
    val session =
      try way.connector.openSession()
      catch {
        case scala.util.control.NonFatal(e) => throw Failure.unreachable(way.endpoint, e)
      }
    try new Cluster(way.endpoint, session)
    catch {
      case scala.util.control.NonFatal(e) =>
        session.close()
        throw e
    }
  }
}

/** Present time. */
object Now {

  /** µs since 1970. */
  def us(): Long = {
    val now = java.time.Instant.now()
    now.getEpochSecond * 1000000 + now.getNano / 1000
  }

  /** Seconds since 1970, begun ones not counted. */
  def s(): Long = Math.floorDiv(us(), 1000000L)
}
