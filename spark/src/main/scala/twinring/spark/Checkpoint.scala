package twinring.spark

import java.io.{FileNotFoundException, IOException}
import java.nio.charset.StandardCharsets.UTF_8

import com.fasterxml.jackson.databind.node.ObjectNode
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileSystem, Path}

import scala.io.Source

/** What must be the same for a copy to go on. */
final case class Identity(source: String, target: String, keyspace: String, rules: String)

/** A token range that is done. */
final case class Done(table: String, pass: String, range: TokenRange, tally: Tally) {

  def toJson: String = {
    val json = Json.obj().put("table", table).put("pass", pass)
    json.put("after", range.after).put("up_to", range.upTo)
    Tally.Names.foreach(name => json.put(name, tally(name)))
    json.toString
  }
}

object Done {

  def read(line: String): Done = {
    val json = Json.read(line)
    val counts = Tally.Names.map(name => name -> json.path(name).asLong).filter(_._2 != 0)
    Done(
      json.get("table").asText,
      json.get("pass").asText,
      TokenRange(json.get("after").asLong, json.get("up_to").asLong),
      Tally(counts.toMap))
  }
}

/** What of a copy is done, in a folder that survives the process: on any file system that Hadoop
  * knows, also those whose files cannot be appended to. Each write is a file of its own, brought in
  * by a rename.
  */
final class Checkpoint private (
    fs: FileSystem,
    dir: Path,
    val beganUs: Long,
    val done: Vector[Done],
    val wasThere: Boolean,
    private var nextFile: Int) {

  /** Writes down that ranges are done, and waits until that is stored. */
  def add(lines: Seq[Done]): Unit = if (lines.nonEmpty) {
    Checkpoint.write(fs, dir, f"done-$nextFile%08d.jsonl", lines.map(_.toJson + "\n").mkString)
    nextFile += 1
  }
}

object Checkpoint {
  private val Format = 1
  private val DoneFile = "done-(\\d{8})\\.jsonl".r

  /** Opens the folder, or creates it; `restart` empties it. Throws a [[UsageError]] when it is of
    * another copy.
    */
  def open(
      path: String,
      conf: Configuration,
      identity: Identity,
      nowUs: Long,
      restart: Boolean): Checkpoint = {
    val dir = new Path(path)
    val fs = dir.getFileSystem(conf)
    val header = new Path(dir, "header.json")
    val files =
      try fs.listStatus(dir).toVector.filter(_.isFile)
      catch { case _: FileNotFoundException => Vector.empty }
    val ours = files.filter(_.getPath.getName match {
      case DoneFile(_) | "header.json" => true
      case name                        => name.endsWith(".new")
    })
    if (restart) ours.foreach(file => fs.delete(file.getPath, false))
    if (restart || !fs.exists(header)) {
      if (!restart && ours.exists(file => isDone(file.getPath)))
        throw new UsageError(s"checkpoint $path has no header.json; --restart begins anew")
      fs.mkdirs(dir)
      val json = Json.obj().put("format", Format).put("began_us", nowUs)
      json.set[ObjectNode]("copy", asJson(identity))
      write(fs, dir, "header.json", json.toString + "\n")
      return new Checkpoint(fs, dir, nowUs, Vector.empty, false, 0)
    }
    def broken(file: String, e: Throwable) =
      throw new UsageError(s"checkpoint $path: $file makes no sense ($e); --restart begins anew")
    val known =
      try Json.read(read(fs, header))
      catch { case e: Exception => broken("header.json", e) }
    val wanted = asJson(identity)
    if (known.path("format").asInt != Format || known.path("copy") != wanted)
      throw new UsageError(
        s"checkpoint $path is of another copy (${known.path("copy")}, now $wanted); give another " +
          "--checkpoint, or --restart to forget it")
    val lines = ours.map(_.getPath).filter(isDone)
    val done = lines.sortBy(_.getName).flatMap { path =>
      try read(fs, path).linesIterator.map(Done.read).toVector
      catch { case e: Exception => broken(path.getName, e) }
    }
    val next = lines.map(_.getName).collect { case DoneFile(n) => n.toInt + 1 }
    new Checkpoint(fs, dir, known.path("began_us").asLong, done, true, (0 +: next).max)
  }

  private def isDone(path: Path) = DoneFile.pattern.matcher(path.getName).matches

  private def asJson(identity: Identity): ObjectNode =
    Json
      .obj()
      .put("source", identity.source)
      .put("target", identity.target)
      .put("keyspace", identity.keyspace)
      .put("rules", identity.rules)

  private def read(fs: FileSystem, path: Path): String = {
    val in = fs.open(path)
    try Source.fromInputStream(in, "UTF-8").mkString
    finally in.close()
  }

  private def write(fs: FileSystem, dir: Path, name: String, text: String): Unit = {
    val (path, fresh) = (new Path(dir, name), new Path(dir, name + ".new"))
    val out = fs.create(fresh, true)
    try out.write(text.getBytes(UTF_8))
    finally out.close()
    if (!fs.rename(fresh, path))
      throw new IOException(s"cannot write $path: there is one already, of another run perhaps")
  }
}
