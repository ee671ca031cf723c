package twinring.spark

import java.io.OutputStream
import java.nio.charset.StandardCharsets.UTF_8

import org.apache.hadoop.fs.Path
import org.apache.spark.util.SerializableConfiguration

/** The folder of differences: a file for each token range that has some, written by its task. */
private[spark] final class Report(dir: String, conf: SerializableConfiguration)
    extends Serializable {

  /** Makes the folder, and takes an earlier report away. */
  def empty(): Unit = {
    val path = new Path(dir)
    val fs = path.getFileSystem(conf.value)
    fs.mkdirs(path)
    val (ours, others) = fs.listStatus(path).map(_.getPath).partition { file =>
      val name = file.getName
      name.startsWith("part-") && name.endsWith(".jsonl")
    }
    others.headOption.foreach { other =>
      throw new UsageError(s"--report $dir holds $other, which is no report of ours")
    }
    ours.foreach(fs.delete(_, false))
  }

  def file(step: Step, range: TokenRange): ReportFile = {
    val Step(table, pass) = step
    val name = s"part-${table.name}-${pass.name}-${range.after}-${range.upTo}.jsonl"
    new ReportFile(new Path(dir, name), conf)
  }
}

/** A file that is there once it has a line. */
private[spark] final class ReportFile(path: Path, conf: SerializableConfiguration) {
  private lazy val fs = path.getFileSystem(conf.value)
  private var out: Option[OutputStream] = None

  def add(line: String): Unit = {
    if (out.isEmpty) out = Some(fs.create(path, true))
    out.foreach(_.write((line + "\n").getBytes(UTF_8)))
  }

  def close(): Unit = out.foreach(_.close())

  /** Takes back what was written. */
  def delete(): Unit = if (out.isDefined) {
    close()
    fs.delete(path, false)
    ()
  }
}

/** Counts the differences of one token range, writes each down and keeps the first ones. */
private[spark] final class Differences(toShow: Int, file: Option[ReportFile]) {
  private var counts = Map.empty[Kind, Long]
  private var repaired = 0L
  private var shown = Vector.empty[Difference]

  def add(difference: Difference): Unit = {
    counts = counts.updated(difference.kind, counts.getOrElse(difference.kind, 0L) + 1)
    if (difference.repaired) repaired += 1
    if (shown.size < toShow) shown :+= difference
    file.foreach(_.add(difference.toJson))
  }

  /** The range as a whole: what was found before it failed is found again by its halves. */
  def whole(compare: => Found): RangeFound =
    try {
      val rows = compare
      file.foreach(_.close())
      RangeFound(rows, counts, repaired, shown)
    } catch {
      case e: Throwable =>
        file.foreach(_.delete())
        throw e
    }
}
