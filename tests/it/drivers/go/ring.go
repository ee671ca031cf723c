// An application's ordinary life behind several proxies: see tests/it/drivers/python/ring.py.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

func ring() {
	c := cluster(env("CONTACT"), "")
	c.Consistency = gocql.Quorum
	c.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy())
	c.ReconnectInterval = time.Second
	c.RetryPolicy = &gocql.SimpleRetryPolicy{NumRetries: 5}
	s := create(c)
	fmt.Println("connected")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		order := strings.Fields(lines.Text())
		var answer any
		if order[0] == "hosts" {
			hosts := []string{}
			for _, host := range s.GetHosts() {
				hosts = append(hosts, net.JoinHostPort(host.ConnectAddress().String(), strconv.Itoa(host.Port())))
			}
			sort.Strings(hosts)
			answer = hosts
		} else {
			first, _ := strconv.Atoi(order[2])
			count, _ := strconv.Atoi(order[3])
			answer = writeRing(s, order[1], first, count)
		}
		line, err := json.Marshal(answer)
		must(err)
		fmt.Println(string(line))
	}
}

func writeRing(s *gocql.Session, keyspace string, first, count int) map[string]any {
	failed, by, steady := []string{}, map[string]int{}, 0
	for key := first; key < first+count; key++ {
		coordinators := map[string]bool{}
		for _, value := range []string{"first", "second"} {
			iter := s.Query("INSERT INTO "+keyspace+".rows (k, v) VALUES (?, ?)", key, value).Idempotent(true).Iter()
			if err := iter.Close(); err != nil {
				failed = append(failed, err.Error())
				continue
			}
			coordinator := iter.Host().ConnectAddress().String()
			coordinators[coordinator] = true
			by[coordinator]++
		}
		if len(coordinators) == 1 {
			steady++
		}
	}
	return map[string]any{"failed": failed, "by": by, "steady": steady}
}
