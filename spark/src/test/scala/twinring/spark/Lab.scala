package twinring.spark

import java.io.{BufferedReader, File, InputStreamReader}
import java.lang.management.ManagementFactory
import java.net.{InetAddress, InetSocketAddress, ServerSocket}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path, Paths}
import java.util.concurrent.TimeUnit

import com.datastax.oss.driver.api.core.CqlSession
import com.datastax.oss.driver.api.core.config.DriverConfigLoader
import org.apache.spark.sql.SparkSession

import scala.collection.JavaConverters._
import scala.util.{Random, Try}

/** A real Cassandra node, which ends with this process. */
final class Node(val name: String, version: String, withPassword: Boolean) {
  val address: String = Iterator.continually(Node.randomAddress()).find(Node.isFree).get

  private val process = {
    val script = Lab.root.resolve("tests/cassandra/node.py").toString
    val words = Seq(
      script,
      "run",
      "--name",
      s"$name-${Lab.pid}",
      "--version",
      version,
      "--address",
      address,
      "--heap",
      "384M") ++ (if (withPassword) Seq("--auth") else Nil)
    new ProcessBuilder(words.asJava).redirectError(ProcessBuilder.Redirect.INHERIT).start()
  }

  lazy val session: CqlSession = {
    val line = new BufferedReader(new InputStreamReader(process.getInputStream)).readLine()
    require(line != null && line.startsWith("ready "), s"$name: $line")
    val builder = CqlSession.builder
      .addContactPoint(new InetSocketAddress(address, 9042))
      .withLocalDatacenter("datacenter1")
      .withConfigLoader(Node.patient)
    if (withPassword) builder.withAuthCredentials("cassandra", "cassandra")
    builder.build()
  }

  def run(text: String): Unit = {
    session.execute(text)
    ()
  }

  /** Words that tell either tool the user of this node, as the side that it is. */
  def user(side: String): Seq[String] =
    if (withPassword) Seq(s"--$side-username", "cassandra", s"--$side-password-file", Lab.password)
    else Nil

  def stop(): Unit = {
    Try(session.close())
    process.getOutputStream.close()
    if (!process.waitFor(30, TimeUnit.SECONDS)) process.destroyForcibly()
    ()
  }
}

object Node {

  /** A busy machine must not look like a broken node. */
  private val patient = {
    import com.datastax.oss.driver.api.core.config.DefaultDriverOption._
    val minute = java.time.Duration.ofSeconds(60)
    Seq(
      REQUEST_TIMEOUT,
      CONNECTION_INIT_QUERY_TIMEOUT,
      CONTROL_CONNECTION_TIMEOUT,
      METADATA_SCHEMA_REQUEST_TIMEOUT)
      .foldLeft(DriverConfigLoader.programmaticBuilder())(_.withDuration(_, minute))
      .build()
  }

  private def randomAddress() = {
    val part = () => 1 + Random.nextInt(250)
    s"127.${130 + Random.nextInt(60)}.${part()}.${part()}"
  }

  private def isFree(address: String) = Seq(9042, 7000).forall { port =>
    Try(new ServerSocket(port, 1, InetAddress.getByName(address)).close()).isSuccess
  }
}

/** Nodes, Spark in this process, and the other tool. */
object Lab {
  val root: Path = Paths.get("..").toAbsolutePath.normalize
  val dir: Path = Files.createTempDirectory("twinring-spark-")

  /** A file with the password of nodes that have one. */
  lazy val password: String =
    Files.write(dir.resolve("password"), "cassandra\n".getBytes(UTF_8)).toString

  /** This process. */
  val pid: String = ManagementFactory.getRuntimeMXBean.getName.takeWhile(_ != '@')

  private lazy val nodes = Seq(
    new Node("spark-source", "5.0.9", withPassword = false),
    new Node("spark-older", "4.1.10", withPassword = false),
    new Node("spark-target", "5.0.9", withPassword = true),
    new Node("spark-other", "5.0.9", withPassword = false))
  def source: Node = nodes(0)
  def older: Node = nodes(1)
  def target: Node = nodes(2)
  def other: Node = nodes(3)

  def spark: SparkSession = SparkSession.builder
    .master("local[2]")
    .appName("twinring tests")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .getOrCreate()

  def stop(): Unit = {
    spark.stop()
    nodes.foreach(_.stop())
  }

  def createKeyspace(node: Node, keyspace: String): Unit = node.run(
    s"CREATE KEYSPACE $keyspace WITH replication = " +
      "{'class': 'SimpleStrategy', 'replication_factor': 1}")

  /** Runs a program; gives its exit code and what it printed. */
  def program(words: Seq[String]): (Int, String) = {
    val out = File.createTempFile("out", "", dir.toFile)
    val process = spawn(words, out)
    require(process.waitFor(300, TimeUnit.SECONDS), s"does not end: ${words.mkString(" ")}")
    (process.exitValue, new String(Files.readAllBytes(out.toPath), UTF_8))
  }

  def spawn(words: Seq[String], out: File): Process =
    new ProcessBuilder(words.asJava).redirectErrorStream(true).redirectOutput(out).start()

  /** The Rust tool. */
  def twinring(words: Seq[String]): (Int, String) = {
    val default = root.resolve("target/debug/twinring").toString
    program(sys.env.getOrElse("TWINRING", default) +: words)
  }

  /** The words that start one of the jobs with spark-submit, as a process of its own. */
  def submit(job: String, words: Seq[String]): Seq[String] = {
    val options = ManagementFactory.getRuntimeMXBean.getInputArguments.asScala
    Seq(Paths.get(sys.props("java.home"), "bin", "java").toString) ++
      options.filter(_.startsWith("--add-opens")) ++
      Seq("-Xmx512m", "-cp", sys.props("java.class.path")) ++
      Seq("org.apache.spark.deploy.SparkSubmit", "--master", "local[2]") ++
      Seq("spark.ui.enabled=false", "spark.driver.host=127.0.0.1").flatMap(Seq("--conf", _)) ++
      Seq("--class", s"twinring.spark.$job", "spark-internal") ++ words
  }
}
