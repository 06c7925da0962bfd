package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

func startCommand(a *app) *cobra.Command {
	var grace time.Duration
	c := &cobra.Command{
		Use:   "start",
		Short: "Serves the project: reads sources by their schedules, loads continuously",
		Long: `Keeps the project going until it is stopped. Each source is read when its schedule says (cron, every or continuous in
sources/*.yaml), in one run at a time; a run that was missed while nothing served is made up for once, and one that failed is
tried again with growing pauses. What comes into Kafka is loaded all the time. headwater run asks it to do a run at once.

A source that fails, or whose file has problems, stops no other, and a server that is away is waited for. Runs are in the log and in the run history.

SIGTERM or SIGINT (Ctrl-C) lets what is under way come to its end: runs stop at their next batch, and what is in Kafka is
loaded, for as long as --grace allows. A second one ends the service at once. Nothing is lost either way. The exit code is 0
when everything came to its end, and 128+n when it did not.`,
		Example: `  headwater start
  headwater start --grace 5m --log-format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if grace <= 0 {
				return fault.Usage(fmt.Errorf("--grace must be more than 0"))
			}
			ctx := cmd.Context()
			p, _, err := a.loadSound()
			if err != nil {
				return err
			}
			if pipeline.Served(p) {
				return fault.Environment(pipeline.ErrServed)
			}
			logger := a.logger(a.err, p)
			// No live view: a service speaks in log lines, on a terminal too.
			progress := screen.NewLogged(logger)
			session, err := pipeline.Open(ctx, p, pipeline.Options{Logger: logger, Stage: progress.Stage})
			progress.Done()
			if err != nil {
				return causeOf(ctx, err)
			}
			defer func() { err = errors.Join(err, session.Close()) }()
			err = session.Serve(ctx, pipeline.ServeOptions{Grace: grace})
			if errors.Is(err, pipeline.ErrServed) {
				return fault.Environment(err)
			}
			if errors.Is(err, pipeline.ErrCutShort) {
				logger.Warn(err.Error())
			}
			return causeOf(ctx, err)
		},
	}
	c.Flags().DurationVar(&grace, "grace", pipeline.DefaultGrace, "how long work under way may take to come to its end")
	return c
}
