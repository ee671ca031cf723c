// The statement matrix with gocql, default discovery, one contact point. Reads its orders from
// TWINRING_* variables (tests/README.md), prints one JSON object per step, leaves with 1 when a
// step failed. Every value is fixed, so that two runs leave equal tables.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/apache/cassandra-gocql-driver/v2/lz4"
	"gopkg.in/inf.v0"
)

const stamp = int64(1_650_000_000_000_000)

func env(name string) string { return os.Getenv("TWINRING_" + name) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(ok bool, words ...any) {
	if !ok {
		panic(fmt.Sprintln(words...))
	}
}

func cluster(address, keyspace string) *gocql.ClusterConfig {
	host, port, err := net.SplitHostPort(address)
	must(err)
	c := gocql.NewCluster(host)
	c.Port, err = strconv.Atoi(port)
	must(err)
	c.Keyspace, c.Timeout, c.ConnectTimeout = keyspace, 60*time.Second, 30*time.Second
	c.Consistency = gocql.LocalOne
	c.RetryPolicy = nil
	if n, _ := strconv.Atoi(env("PROTOCOL")); n != 0 {
		c.ProtoVersion = n
	}
	if env("COMPRESSION") == "lz4" {
		c.Compressor = lz4.LZ4Compressor{}
	}
	if user := env("USER"); user != "" {
		c.Authenticator = gocql.PasswordAuthenticator{Username: user, Password: env("PASSWORD")}
	}
	if ca := env("TLS_CA"); ca != "" && address == env("CONTACT") {
		c.SslOpts = &gocql.SslOptions{CaPath: ca, EnableHostVerification: true}
	}
	c.DefaultTimestamp = env("STAMPS") != "server"
	return c
}

func open(address, keyspace string) *gocql.Session {
	return create(cluster(address, keyspace))
}

func create(c *gocql.ClusterConfig) *gocql.Session {
	s, err := c.CreateSession()
	must(err)
	return s
}

type run struct {
	s, direct *gocql.Session
	ks        string
	unset     bool // the protocol has unset values
}

func (r *run) exec(text string, args ...any) { must(r.s.Query(text, args...).Exec()) }

// rows is the answer as text: columns with a space between them, one row per element.
func (r *run) rows(text string, args ...any) []string {
	out := []string{}
	iter := r.s.Query(text, args...).Iter()
	for {
		row := map[string]any{}
		if !iter.MapScan(row) {
			break
		}
		cells := []string{}
		for _, column := range iter.Columns() {
			cells = append(cells, fmt.Sprint(row[column.Name]))
		}
		out = append(out, strings.Join(cells, " "))
	}
	must(iter.Close())
	return out
}

func (r *run) expect(text string, want ...string) {
	got := r.rows(text)
	check(fmt.Sprint(got) == fmt.Sprint(want), text, "got", got, "want", want)
}

func statements(name string) []string {
	raw, err := os.ReadFile(filepath.Join(env("DRIVERS"), name))
	must(err)
	kept := []string{}
	for _, line := range strings.Split(string(raw), "\n") {
		if !strings.HasPrefix(line, "--") {
			kept = append(kept, line)
		}
	}
	out := []string{}
	for _, text := range strings.Split(strings.Join(kept, "\n"), ";\n") {
		if text = strings.TrimSpace(text); text != "" {
			out = append(out, text)
		}
	}
	return out
}

func discovery(r *run) {
	contact := env("CONTACT")
	for _, host := range r.s.GetHosts() {
		check(host.ConnectAddressAndPort() == contact, "a way around the proxy:", host)
	}
	check(len(r.s.GetHosts()) == 1, r.s.GetHosts())
}

func schema(r *run) {
	if env("SCHEMA") != "present" {
		for _, text := range statements("schema.cql") {
			r.exec(text)
		}
		if env("VECTOR") == "1" {
			for _, text := range statements("schema-vector.cql") {
				r.exec(text)
			}
		}
	}
	meta, err := r.s.KeyspaceMetadata(r.ks)
	must(err)
	check(meta.Tables["QuotedTable"] != nil && meta.Tables["kinds"] != nil, meta.Tables)
}

func simple(r *run) {
	r.exec("INSERT INTO plain (id, v, w) VALUES (1, 'one', 1)")
	r.exec("insert into " + r.ks + ".PLAIN (ID, V) values (2, 'it''s') ;")
	r.exec("-- lead\nUPDATE plain SET v = $$dollar's$$ /* mid */ WHERE id = 3 // end\n")
	r.exec("UPDATE plain SET w = 6 WHERE id IN (4, 5)")
	must(r.s.Query("INSERT INTO plain (id, v) VALUES (6, 'quorum')").
		Consistency(gocql.LocalQuorum).Exec())
	r.expect("SELECT v FROM plain WHERE id IN (1, 2, 3)", "one", "it's", "dollar's")
}

func prepared(r *run) {
	for i := 100; i < 200; i++ {
		r.exec("INSERT INTO plain (id, v, w) VALUES (?, ?, ?)", i, fmt.Sprint("p", i), i)
	}
	var group sync.WaitGroup
	failures := make(chan error, 8)
	for worker := 0; worker < 8; worker++ {
		group.Add(1)
		go func(base int) {
			defer group.Done()
			for i := 0; i < 100; i++ {
				if err := r.s.Query("INSERT INTO plain (id, v, w) VALUES (?, ?, ?)", base+i, "g",
					base).Exec(); err != nil {
					failures <- err
					return
				}
			}
		}(10_000 + 100*worker)
	}
	group.Wait()
	close(failures)
	for err := range failures {
		panic(err)
	}
	r.exec("UPDATE plain SET v = :value, w = :w WHERE id = :id",
		gocql.NamedValue("value", "named"), gocql.NamedValue("w", 5), gocql.NamedValue("id", 200))
	r.expect("SELECT v, w FROM plain WHERE id = 200", "named 5")
	r.expect("SELECT count(*) FROM plain WHERE id >= 10000 AND id < 10800 ALLOW FILTERING", "800")
}

func nullAndUnset(r *run) {
	insert := "INSERT INTO plain (id, v, w) VALUES (?, ?, ?)"
	r.exec(insert, 300, "before", 1)
	r.exec(insert, 301, "before", 1)
	r.exec(insert, 300, nil, 2)
	if r.unset {
		r.exec(insert, 301, gocql.UnsetValue, 2)
	} else {
		r.exec("UPDATE plain SET w = 2 WHERE id = 301")
	}
	r.expect("SELECT v, w FROM plain WHERE id IN (300, 301)", " 2", "before 2")
}

func batches(r *run) {
	for n, kind := range []gocql.BatchType{gocql.LoggedBatch, gocql.UnloggedBatch} {
		base := 1000 + 100*n
		b := r.s.Batch(kind)
		for i := 0; i < 10; i++ {
			b.Query("INSERT INTO plain (id, v) VALUES (?, ?)", base+i, "prepared")
		}
		b.Query(fmt.Sprintf("UPDATE plain SET v = 'text' WHERE id = %d", base+20))
		b.Query("DELETE FROM plain WHERE id = ?", base)
		must(b.Exec())
		b = r.s.Batch(kind)
		b.Query("INSERT INTO plain (id, v) VALUES (?, ?) USING TIMESTAMP ?", base+30, "own", stamp)
		b.Query("UPDATE plain SET v = ? WHERE id = ?", "shared", base+31)
		must(b.Exec())
		b = r.s.Batch(kind).WithTimestamp(stamp + 1)
		b.Query("INSERT INTO plain (id, v) VALUES (?, ?)", base+32, "whole batch stamped")
		must(b.Exec())
	}
	r.exec("BEGIN BATCH INSERT INTO plain (id, v) VALUES (1300, 'a'); UPDATE plain SET w = 3 " +
		"WHERE id = 1301; APPLY BATCH")
	r.exec("BEGIN UNLOGGED BATCH INSERT INTO plain (id, v) VALUES (?, ?); DELETE v FROM plain "+
		"WHERE id = ?; APPLY BATCH", 1302, "prepared text", 1300)
	r.exec(fmt.Sprintf("BEGIN BATCH USING TIMESTAMP %d UPDATE plain SET v = 's' WHERE id = 1303 "+
		"APPLY BATCH", stamp))
	r.expect("SELECT writetime(v) FROM plain WHERE id IN (1030, 1032, 1303)", fmt.Sprint(stamp),
		fmt.Sprint(stamp+1), fmt.Sprint(stamp))
}

func stamps(r *run) {
	r.exec("INSERT INTO plain (id, v) VALUES (2000, 'x') USING TIMESTAMP " + fmt.Sprint(stamp))
	r.exec("UPDATE plain USING TTL 8000 AND TIMESTAMP ? SET v = ? WHERE id = 2001", stamp, "b")
	r.exec("DELETE FROM plain USING TIMESTAMP ? WHERE id = ?", stamp-1, 2000)
	must(r.s.Query("INSERT INTO plain (id, v) VALUES (2002, 'f')").WithTimestamp(stamp + 3).Exec())
	must(r.s.Query("INSERT INTO plain (id, v) VALUES (?, ?)", 2003, "none").
		DefaultTimestamp(false).Exec())
	must(r.s.Query("INSERT INTO plain (id, v) VALUES (?, ?)", 2004, "some").
		DefaultTimestamp(true).Exec())
	for i := 0; i < 100; i++ {
		r.exec("UPDATE plain SET w = ? WHERE id = 2005", i)
	}
	r.expect("SELECT writetime(v) FROM plain WHERE id IN (2000, 2002)", fmt.Sprint(stamp),
		fmt.Sprint(stamp+3))
	r.expect("SELECT w FROM plain WHERE id = 2005", "99")
}

func ttl(r *run) {
	r.exec("INSERT INTO expiring (id, v, w) VALUES (1, 'default', 1)")
	r.exec("INSERT INTO expiring (id, v) VALUES (?, ?)", 2, "default prepared")
	r.exec("INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL ?", 3, "bound", 7000)
	r.exec("UPDATE expiring USING TTL 0 SET v = 'none' WHERE id = 4")
	b := r.s.Batch(gocql.LoggedBatch)
	b.Query("INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL ?", 5, "batch", 6000)
	must(b.Exec())
	r.expect("SELECT v FROM expiring WHERE id = 4", "none")
}

func deletes(r *run) {
	for pk := 1; pk <= 4; pk++ {
		for ck := 0; ck < 10; ck++ {
			r.exec("INSERT INTO wide (pk, ck, cl, s, v, w) VALUES (?, ?, 'a', ?, 'v', 1)", pk, ck,
				fmt.Sprint("static ", pk))
		}
	}
	r.exec("DELETE v FROM wide WHERE pk = ? AND ck = ? AND cl = ?", 1, 1, "a")
	r.exec("DELETE FROM wide WHERE pk = 1 AND ck = 2 AND cl = 'a'")
	r.exec("DELETE FROM wide WHERE pk = ? AND ck > ? AND ck <= ?", 2, 3, 6)
	r.exec("DELETE FROM wide WHERE pk = 3")
	r.exec("DELETE s FROM wide WHERE pk = ?", 4)
	r.exec("UPDATE wide SET s = 'only static' WHERE pk = 5")
	r.expect("SELECT count(*) FROM wide", "27")
}

type address struct {
	Street string   `cql:"street"`
	Zip    int      `cql:"zip"`
	Tags   []string `cql:"tags"`
}

func kinds(r *run) {
	big200 := new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 200))
	id, err := gocql.ParseUUID("b3f2c1d0-0000-4000-8000-00000000abcd")
	must(err)
	timeID, err := gocql.ParseUUID("d2177dd0-eaa2-11de-a572-001b779c76e3")
	must(err)
	day := time.Date(2024, 2, 29, 12, 30, 15, 123_000_000, time.UTC)
	insert := "INSERT INTO kinds (id, a, b, bl, bo, d, de, dbl, du, f, i, n, si, t, ti, ts, tu, ty," +
		" u, vi, tup, fudt, fl, fs, fm) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?," +
		" ?, ?, ?, (?, ?, ?), ?, ?, ?, ?)"
	r.exec(insert, 1, "ascii", int64(-1<<63), []byte{0, 255, 1}, true, day.Truncate(24*time.Hour),
		inf.NewDec(-123, 30), 1e300, gocql.Duration{Months: 3, Days: 2, Nanoseconds: 5}, float32(1.5),
		net.ParseIP("192.168.1.254"), -1<<31, int16(-32768), "t漢字\U0001f600",
		24*time.Hour-time.Nanosecond, day, timeID, int8(-128), id, big200, 7, "seven", []int{1, 2},
		address{"Main 1", 12345, []string{"x", "y"}}, []int{3, 1, 2}, []string{"a", "b"},
		map[string]int{"k": 1})
	r.exec("INSERT INTO kinds (id, a, b, bl, bo, de, i, n, ts, fl, fs) VALUES (?, ?, ?, ?, ?, ?, ?, "+
		"?, ?, ?, ?)", 2, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)
	r.exec("INSERT INTO kinds (id, i, a, bl, vi, de) VALUES (3, 'fe80::1', '', 0x, -1, -0.000)")
	r.expect("SELECT a, b, bo, de, dbl, f, i, n, si, t, ty, u, vi, fl FROM kinds WHERE id = 1",
		"ascii -9223372036854775808 true "+inf.NewDec(-123, 30).String()+" 1e+300 1.5 192.168.1.254 "+
			"-2147483648 -32768 t漢字\U0001f600 -128 "+id.String()+" "+big200.String()+" [3 1 2]")
}

func collections(r *run) {
	r.exec("INSERT INTO gathered (id, s, m, l, v) VALUES (1, {'a', 'b'}, {'k': 1}, [1, 2, 3], 'x')")
	r.exec("INSERT INTO gathered (id, s, m, l, u, nested) VALUES (?, ?, ?, ?, ?, ?)", 2,
		[]string{"x"}, map[string]int{"p": 1}, []int{9, 8}, address{"S", 9, []string{"t"}},
		map[string][]int{"n": {1, 2}})
	for _, text := range []string{
		"UPDATE gathered SET s = s + {'c'}, m['q'] = 2 WHERE id = 1",
		"UPDATE gathered SET s = s - {'a'} WHERE id = 1", "UPDATE gathered SET l = l + [4] WHERE id = 1",
		"UPDATE gathered SET l = [0] + l WHERE id = 1", "UPDATE gathered SET l[1] = 11 WHERE id = 1",
		"UPDATE gathered SET l = l - [2] WHERE id = 1", "DELETE l[0], m['k'] FROM gathered WHERE id = 1",
		"UPDATE gathered SET u.zip = 5 WHERE id = 2",
	} {
		r.exec(text)
	}
	r.exec("UPDATE gathered SET s = s + ?, m = m + ? WHERE id = ?", []string{"y"},
		map[string]int{"new": 2}, 2)
	r.exec("UPDATE gathered SET l = l + ? WHERE id = ?", []int{7}, 2)
	r.exec("UPDATE gathered SET m[?] = ? WHERE id = ?", "idx", 3, 2)
	r.expect("SELECT s, m, l FROM gathered WHERE id = 1", "[b c] map[q:2] [11 3 4]")
}

func quoted(r *run) {
	r.exec(`INSERT INTO "QuotedTable" ("Id", "select", "a ""b"" c") VALUES (1, 'x', 'y')`)
	r.exec(`UPDATE `+r.ks+`."QuotedTable" SET "select" = ? WHERE "Id" = ?`, "z", 2)
	r.expect(`SELECT "select" FROM "QuotedTable" WHERE "Id" = 2`, "z")
}

func keyspaces(r *run) {
	s := open(env("CONTACT"), "")
	defer s.Close()
	must(s.Query("INSERT INTO "+r.ks+".plain (id, v) VALUES (?, ?)", 5000, "qualified").Exec())
	other := open(env("CONTACT"), "system")
	defer other.Close()
	must(other.Query("UPDATE " + r.ks + ".plain SET v = 'from system' WHERE id = 5001").Exec())
	r.expect("SELECT v FROM plain WHERE id IN (5000, 5001)", "qualified", "from system")
}

func jsonText(r *run) {
	r.exec(`INSERT INTO plain JSON '{"id": 4000, "v": "json"}'`)
	r.exec("INSERT INTO plain JSON ? DEFAULT UNSET", `{"id": 4001, "v": "bound"}`)
	r.expect("SELECT v FROM plain WHERE id = 4001", "bound")
}

func counters(r *run) {
	for i := 0; i < 10; i++ {
		r.exec("UPDATE counted SET n = n + ?, m = m - 1 WHERE id = ?", i, "a")
	}
	b := r.s.Batch(gocql.CounterBatch)
	b.Query("UPDATE counted SET n = n + 1 WHERE id = 'b'")
	b.Query("UPDATE counted SET n = n + ? WHERE id = ?", int64(4), "b")
	must(b.Exec())
	r.expect("SELECT n FROM counted WHERE id IN ('a', 'b')", "45", "5")
}

func lightweight(r *run) {
	cas := func(text string, args ...any) bool {
		applied, err := r.s.Query(text, args...).MapScanCAS(map[string]any{})
		must(err)
		return applied
	}
	check(cas("INSERT INTO lwt_plain (id, v) VALUES (1, 'a') IF NOT EXISTS"), "first")
	check(!cas("INSERT INTO lwt_plain (id, v) VALUES (?, ?) IF NOT EXISTS", 1, "b"), "second")
	check(cas("UPDATE lwt_plain SET v = ? WHERE id = ? IF v = ?", "c", 1, "a"), "update")
	check(!cas("DELETE FROM lwt_plain WHERE id = 1 IF v = 'a'"), "stale")
	b := r.s.Batch(gocql.LoggedBatch)
	b.Query("INSERT INTO lwt_plain (id, v) VALUES (?, ?) IF NOT EXISTS", 2, "batch")
	applied, _, err := b.MapExecCAS(map[string]any{})
	must(err)
	check(applied, "batch")
	var v string
	must(r.direct.Query("SELECT v FROM lwt_plain WHERE id = 1").Scan(&v))
	check(v == "c", v)
}

func paging(r *run) {
	for base := 0; base < 5200; base += 100 {
		b := r.s.Batch(gocql.UnloggedBatch)
		for i := base; i < base+100; i++ {
			b.Query("INSERT INTO paged (pk, ck, v) VALUES (?, ?, ?)", i%3, i, fmt.Sprint("row ", i))
		}
		must(b.Exec())
	}
	for _, size := range []int{37, 5000} {
		seen := map[int]bool{}
		iter := r.s.Query("SELECT ck FROM paged").PageSize(size).Iter()
		for ck := 0; iter.Scan(&ck); {
			seen[ck] = true
		}
		must(iter.Close())
		check(len(seen) == 5200, "page size", size, "rows", len(seen))
	}
}

func large(r *run) {
	for n, size := range []int{1 << 20, 3 << 20} {
		value := make([]byte, size)
		for i := range value {
			value[i] = byte(i*7 + i/251)
		}
		r.exec("INSERT INTO large (id, v) VALUES (?, ?)", n, value)
		var back []byte
		must(r.s.Query("SELECT v FROM large WHERE id = ?", n).Scan(&back))
		check(string(back) == string(value), "a large value changed")
	}
}

func truncate(r *run) {
	for i := 0; i < 30; i++ {
		r.exec("INSERT INTO truncated (id, v) VALUES (?, 'before')", i)
	}
	r.exec("TRUNCATE truncated")
	r.exec("INSERT INTO truncated (id, v) VALUES (?, 'after')", 1)
	r.expect("SELECT id FROM truncated", "1")
}

func vector(r *run) {
	if env("VECTOR") != "1" {
		return
	}
	r.exec("INSERT INTO vectors (id, e) VALUES (?, ?)", 1, []float32{1, 2.5, -3})
	r.expect("SELECT e FROM vectors WHERE id = 1", "[1 2.5 -3]")
}

func errors(r *run) {
	texts := []string{
		"SELECT * FROM nowhere", "SELEC 1", "INSERT INTO plain (id, v) VALUES (1, 2)",
		"INSERT INTO plain (v) VALUES ('no key')", "CREATE TABLE plain (id int PRIMARY KEY)",
		"INSERT INTO nowhere.plain (id) VALUES (1)", "UPDATE counted SET n = 5 WHERE id = 'x'",
		"INSERT INTO plain (id, v) VALUES (1, 'x') USING TTL -1", "DROP TABLE nowhere",
		"CREATE KEYSPACE " + r.ks + " WITH replication = {'class': 'SimpleStrategy', " +
			"'replication_factor': 1}",
	}
	acts := []func(*gocql.Session) error{}
	for _, text := range texts {
		text := text
		acts = append(acts, func(s *gocql.Session) error { return s.Query(text).Exec() })
	}
	acts = append(acts, func(s *gocql.Session) error {
		return s.Query("INSERT INTO plain (id, nope) VALUES (?, ?)", 1, 2).Exec()
	}, func(s *gocql.Session) error {
		return s.Query("INSERT INTO large (id, v) VALUES (?, ?)", 9, make([]byte, 5<<20)).Exec()
	}, func(s *gocql.Session) error {
		return s.Query("INSERT INTO plain (id, v) VALUES (1, 'x')").
			Consistency(gocql.Three).Exec()
	})
	for n, act := range acts {
		here, there := act(r.s), act(r.direct)
		check(there != nil, "case", n, "made no error")
		check(fmt.Sprintf("%T %v", here, here) == fmt.Sprintf("%T %v", there, there), "case", n,
			"differs:", here, "directly:", there)
	}
}

var steps = []struct {
	name string
	act  func(*run)
}{
	{"discovery", discovery}, {"schema", schema}, {"simple", simple}, {"prepared", prepared},
	{"null_and_unset", nullAndUnset}, {"batches", batches}, {"stamps", stamps}, {"ttl", ttl},
	{"deletes", deletes}, {"kinds", kinds}, {"collections", collections}, {"quoted", quoted},
	{"keyspaces", keyspaces}, {"json", jsonText}, {"counters", counters},
	{"lightweight", lightweight}, {"paging", paging}, {"large", large}, {"truncate", truncate},
	{"vector", vector}, {"errors", errors},
}

func attempt(act func(*run), r *run) (problem any) {
	defer func() {
		if caught := recover(); caught != nil {
			problem = fmt.Sprintf("%T: %v", caught, caught)
		}
	}()
	act(r)
	return nil
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "ring" {
		ring()
		return
	}
	protocol, _ := strconv.Atoi(env("PROTOCOL"))
	r := &run{ks: env("KEYSPACE"), unset: protocol != 3}
	r.s = open(env("CONTACT"), r.ks)
	direct := cluster(env("DIRECT"), r.ks)
	r.direct = create(direct)
	failed := []string{}
	for _, step := range steps {
		began := time.Now()
		problem := attempt(step.act, r)
		if problem != nil {
			failed = append(failed, step.name)
		}
		words, err := json.Marshal(problem)
		must(err)
		fmt.Printf("{\"step\": %q, \"ok\": %v, \"problem\": %s, \"ms\": %d}\n", step.name,
			problem == nil, words, time.Since(began).Milliseconds())
	}
	must(r.s.AwaitSchemaAgreement(context.Background()))
	words, err := json.Marshal(failed)
	must(err)
	fmt.Printf("{\"suite\": \"go\", \"steps\": %d, \"failed\": %s}\n", len(steps), words)
	r.s.Close()
	r.direct.Close()
	if len(failed) > 0 {
		os.Exit(1)
	}
}
