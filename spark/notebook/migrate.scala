// Databricks notebook source
// MAGIC %md
// MAGIC # The historical load between two Cassandra clusters, and its proof
// MAGIC Start the proxy first: what is written from then on it mirrors, what was written before
// MAGIC this notebook copies. Each cell keeps its writetime and the second when it expires. Then
// MAGIC both clusters are compared cell by cell, and what differs is shown. The cluster needs Spark
// MAGIC 3.5 with Scala 2.12, the access mode "dedicated", and two libraries:
// MAGIC `com.datastax.spark:spark-cassandra-connector_2.12:3.5.1` and `twinring-spark.jar`.

// COMMAND ----------

// All that is yours to choose.
dbutils.widgets.text("source", "10.0.0.4,10.0.0.5", "Source: contact points")
dbutils.widgets.text("target", "10.1.0.4,10.1.0.5", "Target: contact points")
dbutils.widgets.text("keyspace", "shop", "Keyspace")
dbutils.widgets.text("tables", "", "Tables, comma separated; none: all")
dbutils.widgets.text("source_user", "", "User at the source; none: no password")
dbutils.widgets.text("target_user", "", "User at the target; none: no password")
dbutils.widgets.text("secret_scope", "twinring", "Scope of source-password and target-password")
dbutils.widgets.text("folder", "dbfs:/twinring", "Folder for checkpoint and report")
dbutils.widgets.text("options", "--write-rate 20000", "Options of both jobs")
dbutils.widgets.text("copy_options", "--create-schema", "Options of the copy")
dbutils.widgets.text("verify_options", "", "Options of the comparison, such as --repair")

// COMMAND ----------

import twinring.spark.{Copy, Options, Secrets, Verify}

def parameter(name: String): String = dbutils.widgets.get(name).trim
def words(name: String): Seq[String] = parameter(name).split("\\s+").toSeq.filter(_.nonEmpty)
def user(side: String): Seq[String] =
  if (parameter(s"${side}_user").isEmpty) Nil
  else Seq(s"--$side-username", parameter(s"${side}_user"))
def secret(side: String): Option[String] =
  if (parameter(s"${side}_user").isEmpty) None
  else Some(dbutils.secrets.get(parameter("secret_scope"), s"$side-password"))

val secrets = Secrets(secret("source"), secret("target"))
val tables = parameter("tables").split(",").toSeq.map(_.trim).filter(_.nonEmpty)
val common = Seq(parameter("source"), parameter("target"), "--keyspace", parameter("keyspace")) ++
  user("source") ++ user("target") ++ tables.flatMap(Seq("--table", _)) ++ words("options")
val report = s"${parameter("folder")}/report-${parameter("keyspace")}"
val checkpoint = s"${parameter("folder")}/copy-${parameter("keyspace")}.checkpoint"

// COMMAND ----------

// MAGIC %md ## Copy: run this cell again after an interruption, and it goes on where it was

// COMMAND ----------

val copied = Copy.run(
  spark.sparkContext,
  Options.copy(common ++ Seq("--checkpoint", checkpoint) ++ words("copy_options")),
  secrets)
println(copied)
require(copied.isComplete, "not everything was copied: run this cell again")

// COMMAND ----------

// MAGIC %md ## Verify: every cell's value, writetime and expiry

// COMMAND ----------

val verified = Verify.run(
  spark.sparkContext,
  Options.verify(common ++ Seq("--report", report) ++ words("verify_options")),
  secrets)
println(verified)

// COMMAND ----------

// MAGIC %md ## The differences, if there are any

// COMMAND ----------

if (verified.found > 0) {
  val differences = spark.read.json(report)
  display(differences.groupBy("table", "class", "repaired").count())
  display(differences)
}

// COMMAND ----------

require(verified.isEqual && verified.failed.isEmpty, "the clusters are not equal")
