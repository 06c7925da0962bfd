package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

func runCommand(a *app) *cobra.Command {
	var strict bool
	c := &cobra.Command{
		Use:   "run [SOURCE…]",
		Short: "Does one complete pass: reads what is new, maps it, loads it",
		Long: `Reads what the named sources (all, without a name) have that was not read before, sends it through Kafka, maps it and
loads it into the warehouse, until everything is there. Run again, it reads only what is new.

It can be stopped or killed at any moment: the next run goes on where the last one was, and nothing is lost or doubled.
Where a server is away it waits and says so. A source whose file has problems is left out (exit code 2), the others are run. When headwater start serves the project, it is asked to do the run.`,
		Example: `  headwater run                    all sources
  headwater run hotline air        two of them
  headwater run --strict --json    for scripts: exit code 4 when rows were quarantined`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, apart, err := a.loadSound()
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, err := p.Source(name); err != nil {
					return errors.Join(err, apart)
				}
			}
			report, err := a.run(cmd.Context(), p, args, "command")
			if report != nil {
				if err := a.showReport(report); err != nil {
					return err
				}
			}
			if len(args) == 0 { // else nobody asked for what was left out
				err = errors.Join(err, apart)
			}
			if err != nil {
				return err
			}
			if n := report.Quarantined(); strict && n > 0 {
				return &strictError{rows: n}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "exit with code 4 when rows of this run were quarantined")
	return c
}

// loadSound loads what can be run of the project of the command line: a source whose file has problems is left out, and the
// problems are told. apart is an error of the usage kind that names the files that were left out, nil if there are none.
func (a *app) loadSound() (p *project.Project, apart, err error) {
	p, problems, err := a.inspect()
	if err != nil || len(problems) == 0 {
		return p, nil, err
	}
	var sound *project.Project
	ok := false
	if p != nil {
		sound, ok = p.Sound()
	}
	if !ok {
		return nil, nil, fault.Usage(fmt.Errorf("%w: %w", errProject, problems))
	}
	for _, problem := range problems {
		fmt.Fprintln(a.err, problem)
	}
	apart = fault.Usage(fmt.Errorf("left out for %s in the configuration (headwater check): %s", plural(len(problems), "problem"), strings.Join(p.Faulty(), ", ")))
	return sound, apart, nil
}

// run does one pass over a project with progress on stderr.
func (a *app) run(ctx context.Context, p *project.Project, sources []string, trigger string) (report *pipeline.Report, err error) {
	progress := screen.NewProgress(a.err, a.logger(a.err, p))
	defer progress.Done()
	logger := a.logger(a.beside(progress), p)
	options := pipeline.RunOptions{Sources: sources, Trigger: trigger, Note: progress.Note, Progress: func(source string, c pipeline.Counts) {
		progress.Source(source, screen.Counts{
			Read: c.Read, InKafka: c.InKafka, Loaded: c.Loaded, Duplicate: c.Duplicate,
			Quarantined: c.Quarantined, Filtered: c.Filtered, Held: c.Held,
			// Rows that earlier runs left in Kafka are loaded too and would make it negative.
			Lag: max(0, c.InKafka-c.Loaded-c.Duplicate-c.Quarantined-c.Filtered-c.Held),
		})
	}}
	// A service that has the project does the run; two that write would be rivals.
	if report, err = pipeline.Ask(ctx, p, options); !errors.Is(err, pipeline.ErrNotServed) {
		return report, causeOf(ctx, err)
	}
	session, err := pipeline.Open(ctx, p, pipeline.Options{Logger: logger, Stage: progress.Stage})
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	report, err = session.Run(ctx, options)
	return report, causeOf(ctx, err)
}

// beside is where log lines go while progress is shown: above the live view, or to stderr.
func (a *app) beside(p screen.Progress) io.Writer {
	if w, ok := p.(io.Writer); ok {
		return w
	}
	return a.err
}

// causeOf gives a signal as the reason of an error when there was one, so that the exit code says so.
func causeOf(ctx context.Context, err error) error {
	if s, ok := errors.AsType[*signalError](context.Cause(ctx)); ok && err != nil {
		return s
	}
	return err
}

// showReport writes a run's summary: one line a source, and what needs attention below it.
func (a *app) showReport(r *pipeline.Report) error {
	t := a.table(screen.Text, "source", "title", "outcome", "read", "extracted", "loaded", "duplicate", "quarantined", "filtered", "held", "records", "deleted", "balanced", "seconds")
	for _, s := range r.Sources {
		balanced := "yes"
		if s.Account.Difference != 0 || s.Account.Extracted < s.Written || s.Account.Extracted-s.Account.Duplicate > s.Written { // void batches are duplicates only
			balanced = "no"
		}
		outcome := "done"
		switch {
		case errors.Is(s.Err, context.Canceled):
			outcome = "stopped"
		case s.Err != nil:
			outcome = "failed"
		}
		if err := t.Row(s.Source, s.Title, outcome, screen.Count(s.Read), screen.Count(s.Account.Extracted), screen.Count(s.Account.Loaded), screen.Count(s.Account.Duplicate),
			screen.Count(s.Account.Quarantined), screen.Count(s.Account.Filtered), screen.Count(s.Account.Held), screen.Count(s.Account.Records),
			screen.Count(s.Account.Deleted), balanced, float64(s.Took.Round(10*time.Millisecond).Milliseconds())/1000); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	for _, s := range r.Sources {
		for _, missing := range s.Missing {
			fmt.Fprintf(a.err, "%s: rows were quarantined for lack of columns that the mapping reads: %s\n", s.Source, missing)
		}
		for _, change := range s.Changes {
			fmt.Fprintf(a.err, "%s: columns changed since the last run: %s\n", s.Source, change)
		}
		if s.Elsewhere > 0 {
			fmt.Fprintf(a.err, "%s: %s are read by another process\n", s.Source, plural(s.Elsewhere, "shard"))
		}
	}
	if n := r.Quarantined(); n > 0 && !a.json {
		fmt.Fprintf(a.err, "%s in quarantine: headwater quarantine list\n", plural(int(n), "row"))
	}
	return nil
}
