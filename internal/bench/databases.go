package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/internal/testdb"
	"github.com/headwater-data/headwater/internal/testkafka"
)

// The sides that are measured beside databases.
const (
	sideCopy      = "copy"      // the database's own way out, into nothing
	sideSelect    = "select"    // one plain SELECT, into nothing
	sideConnector = "connector" // the connector and the writer, into Kafka
	sideBacklog   = "backlog"   // changes that wait in the server's log, into Kafka
	sideLag       = "lag"       // changes at a steady rate: how long each takes into Kafka
)

// databaseOptions are the flags of the bench of databases.
type databaseOptions struct {
	rows    int
	times   int
	servers []string
	changes int
	rate    int
	steady  time.Duration
	kafka   bool
	// unchanged is the stream's option of that name: with skip, the default, a checksum is added up beside the rows.
	unchanged string
	profile   string
}

const (
	fullChanges  = 5_000_000
	steadyRate   = 10_000
	steadyLength = time.Minute
)

func parseDatabaseOptions(args []string, errs io.Writer) (databaseOptions, error) {
	o := databaseOptions{}
	f := flag.NewFlagSet("bench databases", flag.ContinueOnError)
	f.SetOutput(errs)
	f.IntVar(&o.rows, "rows", fullRows, "rows of the table")
	f.IntVar(&o.times, "times", 3, "how often each side reads the table")
	servers := f.String("servers", "postgres,mariadb", "servers to read from")
	f.IntVar(&o.changes, "changes", fullChanges, "changes that wait in the log; 0 leaves this out")
	f.IntVar(&o.rate, "rate", steadyRate, "changes a second while lag is measured")
	f.DurationVar(&o.steady, "steady", steadyLength, "how long lag is measured; 0 leaves this out")
	f.BoolVar(&o.kafka, "kafka", false, "write to Apache Kafka instead of the embedded broker")
	f.StringVar(&o.unchanged, "unchanged", "skip", "the stream's option unchanged: skip computes a checksum beside the rows, read does not")
	f.StringVar(&o.profile, "profile", "", "folder for processor and memory profiles of the processes that read")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.servers = strings.Split(*servers, ",")
	for _, name := range o.servers {
		if name != "postgres" && name != "mariadb" {
			return o, fmt.Errorf("-servers: there is no server %q; there are postgres and mariadb", name)
		}
	}
	if o.unchanged != "skip" && o.unchanged != "read" {
		return o, fmt.Errorf("-unchanged: there is no %q; there are skip and read", o.unchanged)
	}
	if o.rows < 1 || o.times < 1 || o.changes < 0 || o.rate < 1 || o.steady < 0 || f.NArg() > 0 {
		return o, errors.New("-rows, -times and -rate must be at least 1, -changes and -steady not negative, and nothing follows the flags")
	}
	return o, nil
}

// databaseResult is the RESULT line. What was not measured is null.
type databaseResult struct {
	Rows          int      `json:"rows"`
	PostgresRatio *float64 `json:"postgres_ratio"` // rate of the connector by that of COPY
	MySQLRatio    *float64 `json:"mysql_ratio"`    // rate of the connector by that of a plain SELECT
	RowsPerCPU    *float64 `json:"rows_per_cpu_s"` // of PostgreSQL
	PeakMB        *float64 `json:"peak_mb"`        // the highest of all readings, of tables and of changes
	ChangesPerS   *float64 `json:"cdc_changes_per_s"`
	LagP99        *float64 `json:"cdc_lag_p99_ms"`
	MySQLChanges  *float64 `json:"mysql_cdc_changes_per_s"`
	MySQLLagP99   *float64 `json:"mysql_cdc_lag_p99_ms"`
}

// databases measures how fast tables and changes come from databases into Kafka: the embedded broker or Apache Kafka, without a
// warehouse. Lag is from the moment in which the writer sends what it commits to the moment in which the broker has acknowledged the
// batch, with the source followed as the service follows one that is read continuously.
func databases(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	o, err := parseDatabaseOptions(args, errs)
	if err != nil {
		return err
	}
	note := func(format string, args ...any) { fmt.Fprintf(errs, format+"\n", args...) }
	var brokers []string
	if o.kafka {
		cluster, err := testkafka.New(ctx, testkafka.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cluster.Close()) }()
		brokers = cluster.Addresses()
	}
	sides := map[string]*side{}
	for _, name := range o.servers {
		if err := measureServer(ctx, o, name, brokers, sides, note); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	reportDatabases(out, o, sides)
	line, err := json.Marshal(summaryOfDatabases(o, sides))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "RESULT %s\n", line)
	return err
}

// measureServer starts a server, fills a table of it, and lets every side read it in turns.
func measureServer(ctx context.Context, o databaseOptions, name string, brokers []string, sides map[string]*side, note func(string, ...any)) (err error) {
	server, stop, err := testdb.Start(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	at := serverOrder{Kind: name, Host: server.Host, Port: server.Port, User: server.User, Password: server.Password, CA: server.CA, Database: "bench", Brokers: brokers, Rate: o.rate, PID: server.PID(), Unchanged: o.unchanged}
	note("filling a table of %s with %s rows", name, grouped(float64(o.rows)))
	if err := fill(ctx, at, o.rows); err != nil {
		return fmt.Errorf("fill the table: %w", err)
	}
	take := func(what string, rows, time int) error {
		m, err := measure(ctx, order{Side: what, Rows: rows, Server: &at, Profile: profileFor(o.profile, name, what, time)})
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		note("%-9s %-8s %9s rows %7.2f s, %6.2f s of processor, %6.2f s of the server's, %4.0f MB", what, name, grouped(float64(m.Rows)), m.Seconds, m.CPU, m.ServerCPU, m.PeakMB)
		if m.Rows != int64(rows) && what != sideLag {
			return fmt.Errorf("%s: %d rows came, want %d", what, m.Rows, rows)
		}
		key := what + " " + name
		if sides[key] == nil {
			sides[key] = &side{}
		}
		sides[key].add(m)
		return nil
	}
	readers := []string{sideSelect, sideConnector}
	if name == "postgres" {
		readers = []string{sideCopy, sideSelect, sideConnector}
	}
	for time := range o.times {
		// In turns, and the other way round every second time: what the machine does beside us meets all.
		turn := slices.Clone(readers)
		if time%2 == 1 {
			slices.Reverse(turn)
		}
		for _, what := range turn {
			if err := take(what, o.rows, time); err != nil {
				return err
			}
		}
	}
	if o.changes > 0 {
		if err := take(sideBacklog, o.changes, 0); err != nil {
			return err
		}
	}
	if o.steady > 0 {
		return take(sideLag, int(o.steady.Seconds()*float64(o.rate)), 0)
	}
	return nil
}

func rate(s *side) float64 { return float64(s.all[0].Rows) / s.median(seconds) }

func ratioOf(sides map[string]*side, server, base string) *float64 {
	c, b := sides[sideConnector+" "+server], sides[base+" "+server]
	if c == nil || b == nil {
		return nil
	}
	return rounded(rate(c)/rate(b), 3)
}

func summaryOfDatabases(o databaseOptions, sides map[string]*side) databaseResult {
	r := databaseResult{Rows: o.rows, PostgresRatio: ratioOf(sides, "postgres", sideCopy), MySQLRatio: ratioOf(sides, "mariadb", sideSelect)}
	if c := sides[sideConnector+" postgres"]; c != nil {
		r.RowsPerCPU = rounded(float64(o.rows)/max(c.median(cpu), 0.01), 0) // the clock of processes has hundredths of a second
	}
	worst := 0.0
	for _, what := range []string{sideConnector, sideBacklog, sideLag} {
		for _, name := range o.servers {
			if s := sides[what+" "+name]; s != nil {
				worst = max(worst, s.worst(peak))
			}
		}
	}
	r.PeakMB = rounded(worst, 1)
	changes := func(server string) (perSecond, lag *float64) {
		if s := sides[sideBacklog+" "+server]; s != nil {
			perSecond = rounded(rate(s), 0)
		}
		if s := sides[sideLag+" "+server]; s != nil {
			lag = rounded(s.worst(func(m measurement) float64 { return m.LagP99 }), 0)
		}
		return perSecond, lag
	}
	r.ChangesPerS, r.LagP99 = changes("postgres")
	r.MySQLChanges, r.MySQLLagP99 = changes("mariadb")
	return r
}

// reportDatabases prints the table for people.
func reportDatabases(out io.Writer, o databaseOptions, sides map[string]*side) {
	fmt.Fprintf(out, "%s rows of twelve columns; medians of %d\n\n", grouped(float64(o.rows)), o.times)
	fmt.Fprintf(out, "%-9s %-34s %9s %12s %9s %13s %9s %9s\n", "from", "by", "seconds", "rows/s", "cpu s", "rows/cpu s", "server", "peak MB")
	words := map[string]string{
		sideCopy: "COPY to nowhere", sideSelect: "one SELECT to nowhere", sideConnector: "the connector, into Kafka", sideBacklog: "changes that waited, into Kafka", sideLag: "changes as they come, into Kafka",
	}
	for _, name := range o.servers {
		for _, what := range []string{sideCopy, sideSelect, sideConnector, sideBacklog, sideLag} {
			s := sides[what+" "+name]
			if s == nil {
				continue
			}
			fmt.Fprintf(out, "%-9s %-34s %9.2f %12s %9.2f %13s %9.2f %9.0f\n", name, words[what], s.median(seconds), grouped(rate(s)), s.median(cpu),
				grouped(float64(s.all[0].Rows)/max(s.median(cpu), 0.01)), s.median(func(m measurement) float64 { return m.ServerCPU }), s.worst(peak))
		}
	}
	fmt.Fprintln(out)
	if r := ratioOf(sides, "postgres", sideCopy); r != nil {
		fmt.Fprintf(out, "from postgres the connector is %.2f times as fast as COPY\n", *r)
	}
	if r := ratioOf(sides, "mariadb", sideSelect); r != nil {
		fmt.Fprintf(out, "from mariadb the connector is %.2f times as fast as one SELECT\n", *r)
	}
	for _, name := range o.servers {
		if s := sides[sideLag+" "+name]; s != nil {
			m := s.all[0]
			fmt.Fprintf(out, "from the writer's COMMIT at %s to Kafka: half of the changes in %.0f ms, 99 %% in %.0f ms, the last in %.0f ms\n", name, m.LagP50, m.LagP99, m.LagMax)
		}
	}
}
