package twinring.spark

import java.util.concurrent.CompletionException

import com.datastax.oss.driver.api.core.AllNodesFailedException
import com.datastax.oss.driver.api.core.connection.BusyConnectionException
import com.datastax.oss.driver.api.core.servererrors._

import scala.collection.JavaConverters._

/** Why something could not be read or written; `isFinal`: trying again will not help;
  * `lacksReplicas`: too few took part, a lower consistency might help. `side` is empty where it is
  * not known.
  */
final class Failure(
    val side: String,
    val what: String,
    val isFinal: Boolean,
    val waitMs: Option[Long] = None,
    val lacksReplicas: Boolean = false)
    extends RuntimeException(if (side.isEmpty) what else s"$side: $what") {
  def words: String = getMessage
}

object Failure {

  /** What an error of a cluster means for a request. */
  def of(side: String, error: Throwable): Failure = error match {
    case failure: Failure                             => failure
    case e: CompletionException if e.getCause != null => of(side, e.getCause)
    case e: QueryValidationException                  => refused(side, code(e), e)
    case e: FunctionFailureException                  => refused(side, 0x1400, e)
    case e: ProtocolError                             => refused(side, 0x000a, e)
    case e: OverloadedException =>
      new Failure(side, said(e), false, retryAfterMs(said(e)))
    case e: AllNodesFailedException =>
      val each = e.getAllErrors.asScala.toSeq.flatMap { case (node, errors) =>
        errors.asScala.map(error => s"${node.getEndPoint}: ${said(error)}")
      }
      val lacks = e.getAllErrors.values.asScala.exists(_.asScala.exists(lacksReplicas))
      val what = if (each.isEmpty) said(e) else each.mkString("; ")
      new Failure(side, what, false, lacksReplicas = lacks)
    case e: IllegalArgumentException =>
      new Failure(side, s"an answer that makes no sense: ${said(e)}", true)
    case e =>
      val what = s"${e.getClass.getSimpleName}: ${said(e)}"
      new Failure(side, what, false, lacksReplicas = lacksReplicas(e))
  }

  /** What went wrong with a whole token range. */
  def ofRange(error: Throwable): Failure = error match {
    case failure: Failure => failure
    case e                => new Failure("", said(e), false)
  }

  /** Whether more replicas than one had to take part, and did not. */
  private def lacksReplicas(error: Throwable): Boolean = error match {
    case e: UnavailableException      => e.getRequired > 1
    case e: QueryConsistencyException => e.getBlockFor > 1
    case _                            => false
  }

  /** Whether the cluster certainly did not do it. */
  def isNotApplied(error: Throwable): Boolean = error match {
    case e: CompletionException if e.getCause != null => isNotApplied(e.getCause)
    case _: UnavailableException | _: BootstrappingException | _: OverloadedException |
        _: BusyConnectionException =>
      true
    case _ => false
  }

  /** Whether the cluster calls it invalid: a batch that is too large is. */
  def isInvalid(error: Throwable): Boolean = error match {
    case e: CompletionException if e.getCause != null => isInvalid(e.getCause)
    case _: InvalidQueryException                     => true
    case _                                            => false
  }

  private def refused(side: String, code: Int, error: Throwable) =
    new Failure(side, f"refused (0x$code%04x): ${said(error)}", true)

  private def code(error: QueryValidationException): Int = error match {
    case _: SyntaxError                         => 0x2000
    case _: UnauthorizedException               => 0x2100
    case _: InvalidConfigurationInQueryException => 0x2300
    case _: AlreadyExistsException              => 0x2400
    case _                                      => 0x2200
  }

  private def said(error: Throwable): String = Option(error.getMessage).getOrElse(error.toString)

  /** The `RetryAfterMs=` that some clusters add to an Overloaded error. */
  private[spark] def retryAfterMs(said: String): Option[Long] =
    "RetryAfterMs=(\\d{1,9})".r.findFirstMatchIn(said).map(_.group(1).toLong.min(60000))

  /** Doubles with each try. */
  def backoffMs(tries: Int): Long = (50L << tries.min(10)).min(5000)

  /** What to say when no session could be opened. */
  def unreachable(endpoint: Endpoint, error: Throwable): UsageError = {
    val side = endpoint.side
    new UsageError(
      s"cannot reach the $side at ${endpoint.contacts}; is it up, and are --$side-port, " +
        s"--$side-username and the password right? ${said(error)}")
  }

  private[spark] def withPort(contact: String, port: Int): String =
    if (contact.startsWith("[") && contact.endsWith("]")) s"$contact:$port"
    else if (contact.count(_ == ':') == 1 || contact.contains("]:")) contact
    else if (contact.contains(':')) s"[$contact]:$port"
    else s"$contact:$port"
}
