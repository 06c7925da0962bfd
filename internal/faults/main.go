// Command faults is the fault campaign: one workload of three sources, seven shards, four partitions and two tables, with
// corrections, deletions, rows for the quarantine and filtered rows, under every fault that the campaign can make, at random
// moments and at named points. The end state is compared with one that is computed from the input files alone.
//
// The seed that it prints gives the same faults in the same order again, with the same draws; what moment of the program they
// hit is the machine's. When something is lost, doubled
// or unbalanced it says what, keeps its folder and ends with code 1. Its last line is RESULT {…}.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headwater-data/headwater/internal/embedded"
)

func main() {
	embedded.MaybeServe() // does not return in a process that is an embedded server
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// options are the command's flags.
type options struct {
	kills    int
	kafka    int // of these, on Apache Kafka when both brokers take part
	seed     uint64
	broker   string
	duration time.Duration
	kinds    []string
	recovery int
	scale    int
	every    int
	parallel int
	dir      string
	old      string
	verbose  bool
	json     bool
}

func parse(args []string, errs io.Writer) (options, error) {
	var o options
	var kinds string
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	f.SetOutput(errs)
	f.IntVar(&o.kills, "kills", 1000, "go on until so many processes were killed with SIGKILL")
	f.IntVar(&o.kafka, "kafka-kills", 200, "how many of them on Apache Kafka, with -broker both")
	f.Uint64Var(&o.seed, "seed", 0, "seed of everything that is random (default: a new one, which is printed)")
	f.StringVar(&o.broker, "broker", "embedded", "embedded, kafka, kafka3 (three brokers) or both (embedded and kafka3)")
	f.DurationVar(&o.duration, "duration", 0, "go on for so long, instead of for a number of kills")
	f.StringVar(&kinds, "kinds", "", "only these kinds of faults, separated by commas (default: all)")
	f.IntVar(&o.recovery, "recovery", 0, "measure so many recoveries from a kill with default settings")
	f.IntVar(&o.scale, "rows", 3000, "rows of a file, about")
	f.IntVar(&o.every, "every", 20, "compare the end state after so many faults")
	f.IntVar(&o.parallel, "parallel", 1, "so many campaigns on the embedded broker beside each other, with a share of the kills each; -broker both runs the brokers' beside each other too")
	f.StringVar(&o.dir, "dir", "", "folder to work in, which is kept (default: a temporary one, kept when something is wrong)")
	f.StringVar(&o.old, "old", "", "revision of the program that program-upgraded begins with (default: without that kind)")
	f.BoolVar(&o.verbose, "v", false, "say each fault")
	f.BoolVar(&o.json, "json", false, "write the RESULT line alone")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("arguments are not expected: %s", strings.Join(f.Args(), " "))
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	for _, k := range strings.FieldsFunc(kinds, func(r rune) bool { return r == ',' }) {
		if find(k) == nil {
			return o, fmt.Errorf("there is no kind of fault %q; there are %s", k, strings.Join(names(), ", "))
		}
		o.kinds = append(o.kinds, k)
	}
	if o.scale < 100 || o.every < 1 || o.parallel < 1 {
		return o, errors.New("-rows must be at least 100, -every and -parallel at least 1")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	o, err := parse(args, errs)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(errs, &slog.HandlerOptions{Level: level}))
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "headwater-faults-"); err != nil {
			return err
		}
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	log.Info("the fault campaign begins", "seed", o.seed, "broker", o.broker, "dir", dir)
	binary, err := build(ctx, ".", filepath.Join(dir, "headwater"))
	if err != nil {
		return err
	}
	old := ""
	if o.old != "" {
		if old, err = buildOld(ctx, dir, o.old); err != nil {
			return err
		}
	}
	total, err := campaigns(ctx, o, dir, binary, old, log)
	if err == nil && o.dir == "" {
		err = os.RemoveAll(dir)
	}
	if !o.json {
		total.table(out, o)
	}
	line, jerr := json.Marshal(total.result())
	if jerr != nil {
		return errors.Join(err, jerr)
	}
	fmt.Fprintf(out, "RESULT %s\n", line)
	if err != nil {
		return fmt.Errorf("seed %d, folder %s: %w", o.seed, dir, err)
	}
	return nil
}

// build builds the program with the fault points in it.
func build(ctx context.Context, source, binary string) (string, error) {
	c := exec.CommandContext(ctx, "go", "build", "-tags", "faults", "-o", binary, "github.com/headwater-data/headwater/cmd/headwater")
	c.Dir = source
	if text, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w: %s", err, text)
	}
	return binary, nil
}

// buildOld builds the program as it was at a revision.
func buildOld(ctx context.Context, dir, revision string) (string, error) {
	source := filepath.Join(dir, "old")
	if err := os.MkdirAll(source, 0o755); err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "old.tar")
	top, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for _, args := range [][]string{
		{"git", "-C", strings.TrimSpace(string(top)), "archive", "-o", archive, revision},
		{"tar", "-xf", archive, "-C", source},
	} {
		if text, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("take the program as it was at %s: %w: %s", revision, err, text)
		}
	}
	return build(ctx, source, filepath.Join(dir, "headwater-old"))
}

// campaigns runs a campaign for each broker, and for the embedded one several beside each other, each in a world of its own.
func campaigns(ctx context.Context, o options, dir, binary, old string, log *slog.Logger) (*report, error) {
	brokers := map[string][]options{}
	whole := func(broker string, kills, recovery int) {
		n := o.parallel
		if broker != "embedded" {
			n = 1 // three brokers are enough for two cores
		}
		for i := range n {
			part := o
			part.broker = broker
			part.kills, part.recovery = kills*(i+1)/n-kills*i/n, recovery*(i+1)/n-recovery*i/n
			brokers[broker] = append(brokers[broker], part)
		}
	}
	if o.broker == "both" {
		whole("embedded", o.kills-o.kafka, o.recovery/2)
		whole("kafka3", o.kafka, o.recovery-o.recovery/2)
	} else {
		whole(o.broker, o.kills, o.recovery)
	}
	total := newReport()
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	n := uint64(0)
	for _, broker := range slices.Sorted(maps.Keys(brokers)) {
		for i, part := range brokers[broker] {
			rng := rand.New(rand.NewPCG(o.seed, n))
			n++
			name := broker
			if i > 0 {
				name = fmt.Sprintf("%s-%d", broker, i+1)
			}
			g.Go(func() error {
				own := newReport()
				c, err := newCampaign(ctx, part, filepath.Join(dir, name), binary, old, own, log.With("world", name), rng)
				if err == nil {
					err = errors.Join(c.campaign(ctx), c.world.close())
				}
				mu.Lock()
				defer mu.Unlock()
				total.add(own)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				return nil
			})
		}
	}
	return total, g.Wait()
}
