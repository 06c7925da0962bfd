package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/file"
	"github.com/headwater-data/headwater/internal/embedded"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline"
)

// loadWithPipeline runs a project of one source in this process, beside the embedded servers in theirs.
func loadWithPipeline(ctx context.Context, o order) (m measurement, err error) {
	p, err := writeProject(o)
	if err != nil {
		return m, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	session, err := pipeline.Open(ctx, p, pipeline.Options{Logger: log})
	if err != nil {
		return m, err
	}
	servers := []int{session.Warehouse().Endpoint.PID}
	// The next measurement must not meet servers that are still ending, nor its folder be removed under them.
	defer func() { err = errors.Join(err, session.Close(), awaitEnd(ctx, servers...)) }()
	brokerPID, err := serverPID(p.State, embedded.Broker)
	if err != nil {
		return m, err
	}
	servers = append(servers, brokerPID)
	clock, err := startClock(os.Getpid(), servers[1], servers[0])
	if err != nil {
		return m, err
	}
	stopProfile, err := startProfile(o.Profile)
	if err != nil {
		return m, err
	}
	report, err := session.Run(ctx, pipeline.RunOptions{Trigger: "bench"})
	if err != nil {
		return m, errors.Join(err, stopProfile())
	}
	var spent []float64
	m.Seconds, spent, err = clock.read()
	if err := errors.Join(err, stopProfile()); err != nil {
		return m, err
	}
	m.CPU, m.BrokerCPU, m.WarehouseCPU = spent[0], spent[1], spent[2]
	if m.PeakMB, err = peakMB(); err != nil {
		return m, err
	}
	if n := report.Sources[0].Account.Loaded; n != int64(o.Rows) {
		return m, fmt.Errorf("%d rows were loaded, want %d", n, o.Rows)
	}
	m.Landed, err = askLanded(ctx, session)
	return m, err
}

// askLanded reads what stands in the table in the words of the engine alone.
func askLanded(ctx context.Context, session *pipeline.Session) (string, error) {
	rows, err := session.Warehouse().Query(ctx, landed("observation"), nil)
	if err != nil {
		return "", err
	}
	var cells []string
	for row, err := range rows.All() {
		if err != nil {
			return "", errors.Join(err, rows.Close())
		}
		for _, v := range row {
			cells = append(cells, v.Text())
		}
	}
	return strings.Join(cells, "\t"), rows.Close()
}

const projectFile = `project: bench
title: Measurements
`

const sourceFile = `source: bench
title: Generated observations
owner: bench
connector: file
streams:
  - name: observations
    read:
      path: %s
    map:
      schema: observation
      fields:
        indicator: indicator
        region: region
        subject: subject
        grain: grain
        period: { from: period, parse: date }
        value: value
        unit: unit
        feed: { value: direct }
        level: { value: county }
`

const indicatorFile = `indicator: %s
title: { zh: %s, en: %s }
unit: "%s"
direction: down
aggregation: mean
grain: day
levels: [county, city, province]
description: Generated.
`

// writeProject makes the project in the order's folder and loads it, as it stands there for everybody.
func writeProject(o order) (*project.Project, error) {
	path, err := json.Marshal(o.File) // JSON's texts are YAML's, too
	if err != nil {
		return nil, err
	}
	files := map[string]string{project.File: projectFile, "sources/bench.yaml": fmt.Sprintf(sourceFile, path)}
	for _, i := range indicators {
		files["indicators/"+strings.ToLower(i.code)+".yaml"] = fmt.Sprintf(indicatorFile, i.code, i.code, i.code, i.unit)
	}
	dir := filepath.Join(o.Dir, "project")
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	var registry connectors.Registry
	registry.Register(file.Definition())
	p, problems := project.Load(dir, &registry)
	return p, problems.Err()
}

// serverPID is the process of an embedded server.
func serverPID(state string, kind embedded.Kind) (int, error) {
	raw, err := os.ReadFile(filepath.Join(state, string(kind), "endpoint.json"))
	if err != nil {
		return 0, err
	}
	var endpoint struct{ PID int }
	if err := json.Unmarshal(raw, &endpoint); err != nil {
		return 0, err
	}
	return endpoint.PID, nil
}

// awaitEnd waits until processes have ended.
func awaitEnd(ctx context.Context, pids ...int) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for _, pid := range pids {
		for alive(pid) {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("wait for the end of process %d: %w", pid, ctx.Err())
			}
		}
	}
	return nil
}

// clock takes the time, and the processor time of processes.
type clock struct {
	began time.Time
	pids  []int
	from  []float64
}

func startClock(pids ...int) (*clock, error) {
	c := &clock{began: time.Now(), pids: pids}
	for _, pid := range pids {
		n, err := used(pid)
		if err != nil {
			return nil, err
		}
		c.from = append(c.from, n)
	}
	return c, nil
}

func (c *clock) read() (seconds float64, spent []float64, err error) {
	seconds = time.Since(c.began).Seconds()
	for i, pid := range c.pids {
		n, err := used(pid)
		if err != nil {
			return 0, nil, err
		}
		spent = append(spent, n-c.from[i])
	}
	return seconds, spent, nil
}

// startProfile writes a processor profile until the returned function is called, and then one of what was allocated.
func startProfile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	out, err := os.Create(name + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		err := out.Close()
		runtime.GC() // so that the profile is of now
		allocated, ferr := os.Create(name + ".allocs")
		if ferr != nil {
			return errors.Join(err, ferr)
		}
		return errors.Join(err, pprof.Lookup("allocs").WriteTo(allocated, 0), allocated.Close())
	}, nil
}
