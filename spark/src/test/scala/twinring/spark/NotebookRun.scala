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
object NotebookRun {

  /** Gives what was shown, and the words of the cell that failed if one did. */
  def apply(spark: SparkSession, utilities: Utilities): (Shown, Option[String]) = {
    val path = Lab.root.resolve("spark/notebook/migrate.scala")
    val cells = new String(Files.readAllBytes(path), "UTF-8").split("// COMMAND ----------")
    val settings = new Settings
    settings.usejavacp.value = true
    val words = new StringWriter
    val shown = new Shown
    val interpreter = new IMain(settings, new PrintWriter(words))
    try {
      interpreter.bind("spark", "org.apache.spark.sql.SparkSession", spark)
      interpreter.bind("dbutils", "twinring.spark.Utilities", utilities)
      interpreter.bind("display", "twinring.spark.Shown", shown)
      val failed = cells.find { cell =>
        words.getBuffer.setLength(0)
        cell.linesIterator.exists(!_.trim.isEmpty) && interpreter.interpret(cell) == IR.Error
      }
      (shown, failed.map(_ => words.toString))
    } finally interpreter.close()
  }
}
