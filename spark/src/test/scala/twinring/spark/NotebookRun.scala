package twinring.spark

import java.io.{PrintWriter, StringWriter}
import java.nio.file.Files

import org.apache.spark.sql.{DataFrame, SparkSession}

import scala.collection.mutable
import scala.tools.nsc.Settings
import scala.tools.nsc.interpreter.{IMain, IR}

/** What Databricks gives a notebook, as far as ours asks for it. */
final class Widgets(given: Map[String, String]) {
  private val values = mutable.Map.empty[String, String]

  def text(name: String, default: String, label: String): Unit = {
    require(label.nonEmpty)
    values(name) = given.getOrElse(name, default)
  }

  def get(name: String): String = values(name)
}

final class SecretScopes(known: Map[(String, String), String]) {
  def get(scope: String, key: String): String = known((scope, key))
}

final case class Utilities(widgets: Widgets, secrets: SecretScopes)

/** What the notebook shows. */
final class Shown {
  val frames = mutable.Buffer.empty[DataFrame]
  def apply(frame: DataFrame): Unit = frames += frame
}

/** Runs the cells of the notebook one by one, as its users do. */
final class NotebookRun(spark: SparkSession, utilities: Utilities) {
  private val words = new StringWriter
  private val interpreter = {
    val settings = new Settings
    settings.usejavacp.value = true
    new IMain(settings, new PrintWriter(words))
  }

  /** What was shown. */
  val shown = new Shown

  interpreter.bind("spark", "org.apache.spark.sql.SparkSession", spark)
  interpreter.bind("dbutils", "twinring.spark.Utilities", utilities)
  interpreter.bind("display", "twinring.spark.Shown", shown)

  /** Runs all cells; gives the words of the first that failed. */
  def run(): Option[String] = {
    val path = Lab.root.resolve("spark/notebook/migrate.scala")
    val cells = new String(Files.readAllBytes(path), "UTF-8").split("// COMMAND ----------")
    val failed = cells.find { cell =>
      words.getBuffer.setLength(0)
      interpreter.interpret(cell) == IR.Error
    }
    failed.map(_ => words.toString)
  }

  def close(): Unit = interpreter.close()
}
