package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
)

// lagTimeout bounds how long status waits for a broker: what the warehouse knows is worth showing without it.
const lagTimeout = 5 * time.Second

func statusCommand(a *app) *cobra.Command {
	var shards bool
	c := &cobra.Command{
		Use:   "status [SOURCE…]",
		Short: "Shows where each source stands: cursors, lag, last run, freshness",
		Long: `Shows for each stream how far it has been read (shards and their cursors), how many messages wait in Kafka, how the last
run ended, how old the newest rows are, and what waits: rows that are held because their table does not take them, and rows in
quarantine. It says when a source's columns have changed.

The lag is that of the topic, which the sources of one owner share. It is known only while the broker runs: an embedded one is
not started for it.`,
		Example: `  headwater status
  headwater status hotline --shards     with the cursor of every file or partition
  headwater status --json | jq '.streams[] | select(.quarantined > 0)'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.load()
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, err := p.Source(name); err != nil {
					return err
				}
			}
			return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) error {
				s, err := readStatus(cmd.Context(), a, p, w)
				if err != nil {
					return err
				}
				s.only(args)
				if !shards {
					s.Shards = nil
				}
				if a.json {
					return a.encode(s)
				}
				return s.show(a)
			})
		},
	}
	c.Flags().BoolVar(&shards, "shards", false, "show every shard with its cursor")
	return c
}

// projectStatus is what status shows.
type projectStatus struct {
	Project  string         `json:"project"`
	Served   bool           `json:"served"`    // by headwater start
	LagKnown bool           `json:"lag_known"` // false while the broker cannot be asked
	Streams  []streamStatus `json:"streams"`
	Shards   []shardStatus  `json:"shards,omitempty"`

	lagWhy string // why the lag is not known
}

type streamStatus struct {
	Source  string `json:"source"`
	Stream  string `json:"stream"`
	Title   string `json:"title"`
	Owner   string `json:"owner"`
	Topic   string `json:"topic"`
	Retired bool   `json:"retired,omitempty"` // the project has it no more

	LastRun        string     `json:"last_run,omitempty"` // of the source
	LastRunAt      *time.Time `json:"last_run_at"`
	LastRunOutcome string     `json:"last_run_outcome,omitempty"`
	LastRunError   string     `json:"last_run_error,omitempty"`
	ColumnsChanged []string   `json:"columns_changed,omitempty"` // as the last run found them
	Misfits        uint64     `json:"misfits,omitempty"`         // rows in quarantine since columns are gone or of another type
	misfit         string

	LastExtractedAt *time.Time `json:"last_extracted_at"`
	LastLoadedAt    *time.Time `json:"last_loaded_at"`
	AgeSeconds      *int64     `json:"age_seconds"`
	NewestPeriod    *time.Time `json:"newest_period"`

	Shards      int    `json:"shards"`
	Lag         *int64 `json:"lag"` // messages of the topic that wait
	Held        int64  `json:"held"`
	Quarantined uint64 `json:"quarantined"` // open ones
}

type shardStatus struct {
	Source       string          `json:"source"`
	Stream       string          `json:"stream"`
	Shard        string          `json:"shard"`
	Topic        string          `json:"topic"`
	Partition    int32           `json:"partition"`
	Offset       int64           `json:"offset"`
	Extracted    int64           `json:"extracted"`
	LastLoadedAt time.Time       `json:"last_loaded_at"`
	Cursor       json.RawMessage `json:"cursor"`
}

// readStatus asks warehouse and broker.
func readStatus(ctx context.Context, a *app, p *project.Project, w *pipeline.Depot) (*projectStatus, error) {
	s := &projectStatus{Project: p.Name, Served: pipeline.Served(p), Streams: []streamStatus{}}
	at := map[[2]string]int{}
	for _, source := range p.Sources() {
		for _, stream := range source.Streams {
			at[[2]string{source.Name, stream.Name}] = len(s.Streams)
			s.Streams = append(s.Streams, streamStatus{Source: source.Name, Stream: stream.Name, Title: source.Title, Owner: source.Owner, Topic: source.Topic})
		}
	}
	if err := s.readWarehouse(ctx, p, w, at); err != nil {
		return nil, err
	}
	s.readLag(ctx, a, p)
	return s, nil
}

func (s *projectStatus) readWarehouse(ctx context.Context, p *project.Project, w *pipeline.Depot, at map[[2]string]int) error {
	if ready, err := w.Ready(ctx); err != nil || !ready {
		return err
	}
	fresh, err := w.Freshness(ctx)
	if err != nil {
		return err
	}
	runs, err := w.LastRuns(ctx)
	if err != nil {
		return err
	}
	shards, err := w.Shards(ctx, "")
	if err != nil {
		return err
	}
	misfits, err := w.Misfits(ctx)
	if err != nil {
		return err
	}
	for _, f := range fresh {
		i, ok := at[[2]string{f.Source, f.Stream}]
		if !ok {
			i = len(s.Streams)
			at[[2]string{f.Source, f.Stream}] = i
			s.Streams = append(s.Streams, streamStatus{Source: f.Source, Stream: f.Stream, Retired: true})
		}
		t := &s.Streams[i]
		t.LastExtractedAt, t.LastLoadedAt, t.AgeSeconds, t.NewestPeriod = in(f.LastExtractedAt, p.Zone), in(&f.LastLoadedAt, p.Zone), f.AgeSeconds, in(f.NewestPeriod, p.Zone)
		t.Held, t.Quarantined = f.Held, f.Quarantined
	}
	for i := range s.Streams {
		t := &s.Streams[i]
		r, ok := runs[t.Source]
		if !ok {
			continue
		}
		t.LastRun, t.LastRunAt, t.LastRunOutcome, t.LastRunError = r.Run, in(&r.StartedAt, p.Zone), r.Outcome, r.Error
		if r.Changes != "" {
			t.ColumnsChanged = strings.Split(r.Changes, "\n")
		}
	}
	for _, shard := range shards {
		i, ok := at[[2]string{shard.Source, shard.Stream}]
		if !ok {
			continue // of no stream that the ledger knows: a gap
		}
		s.Streams[i].Shards++
		s.Shards = append(s.Shards, shardStatus{
			Source: shard.Source, Stream: shard.Stream, Shard: shard.Shard, Topic: shard.Topic, Partition: shard.Partition, Offset: shard.CursorOffset,
			Extracted: shard.Extracted, LastLoadedAt: shard.LastLoadedAt.In(p.Zone), Cursor: cursorJSON(shard.Cursor),
		})
	}
	for _, m := range misfits {
		if i, ok := at[[2]string{m.Source, m.Stream}]; ok {
			s.Streams[i].Misfits, s.Streams[i].misfit = m.Rows, m.Reason
		}
	}
	return nil
}

// readLag asks the broker, if it runs, and otherwise notes why the lag is not known.
func (s *projectStatus) readLag(ctx context.Context, a *app, p *project.Project) {
	ctx, cancel := context.WithTimeout(ctx, lagTimeout)
	defer cancel()
	lag, err := pipeline.Lag(ctx, p, pipeline.Options{Logger: a.logger(a.err, p)})
	if errors.Is(err, pipeline.ErrBrokerStopped) {
		s.lagWhy = "the embedded broker does not run now; it does while headwater run or headwater start do"
		return
	}
	if err != nil {
		s.lagWhy = "the broker did not answer: " + err.Error()
		return
	}
	s.LagKnown = true
	for i := range s.Streams {
		if n := lag[s.Streams[i].Topic]; !s.Streams[i].Retired {
			s.Streams[i].Lag = &n
		}
	}
}

// only drops what is not of the named sources; no name keeps all.
func (s *projectStatus) only(sources []string) {
	if len(sources) == 0 {
		return
	}
	s.Streams = slices.DeleteFunc(s.Streams, func(t streamStatus) bool { return !slices.Contains(sources, t.Source) })
	s.Shards = slices.DeleteFunc(s.Shards, func(t shardStatus) bool { return !slices.Contains(sources, t.Source) })
}

func (s *projectStatus) show(a *app) error {
	t := a.table(screen.Text, "source", "stream", "title", "owner", "last run", "outcome", "age", "newest period", "shards", "lag", "held", "quarantined")
	for _, x := range s.Streams {
		title := x.Title
		if x.Retired {
			title = "(not in the project any more)"
		}
		if err := t.Row(x.Source, x.Stream, title, x.Owner, when(x.LastRunAt, "never"), orDash(x.LastRunOutcome), age(x.AgeSeconds), when(x.NewestPeriod, "–"),
			screen.Count(x.Shards), lagText(x.Lag), screen.Count(x.Held), screen.Count(x.Quarantined)); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if len(s.Shards) > 0 {
		fmt.Fprintln(a.out)
		t := a.table(screen.Text, "source", "stream", "shard", "partition", "offset", "rows", "loaded", "cursor")
		for _, x := range s.Shards {
			if err := t.Row(x.Source, x.Stream, x.Shard, fmt.Sprintf("%s/%d", x.Topic, x.Partition), x.Offset, screen.Count(x.Extracted), x.LastLoadedAt, x.Cursor); err != nil {
				return err
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
	}
	return s.notes(a)
}

// notes says below the table what wants attention.
func (s *projectStatus) notes(a *app) error {
	var lines []string
	told := map[string]bool{} // what is known of sources, and so of each of their streams
	once := func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); !told[line] {
			told[line] = true
			lines = append(lines, line)
		}
	}
	var quarantined, held int64
	never := false
	for _, x := range s.Streams {
		if x.LastRunError != "" {
			once("%s: the last run %s: %s", x.Source, x.LastRunOutcome, x.LastRunError)
		}
		for _, change := range x.ColumnsChanged {
			once("%s: columns had changed when it was last read: %s", x.Source, change)
		}
		if x.Misfits > 0 {
			once("%s/%s: %s in quarantine because its columns are not those of the mapping: %s", x.Source, x.Stream, plural(int(x.Misfits), "row"), x.misfit)
		}
		quarantined += int64(x.Quarantined)
		held += x.Held
		never = never || x.LastRunAt == nil && !x.Retired
	}
	if quarantined > 0 {
		once("%s in quarantine: headwater quarantine list", plural(int(quarantined), "row"))
	}
	if held > 0 {
		once("%s held until their table takes them: the log of headwater run or start says why", plural(int(held), "row"))
	}
	if s.Served {
		once("headwater start serves this project.")
	} else if never {
		once("What was never read is read by headwater run.")
	}
	if !s.LagKnown {
		once("The lag is not known: %s.", s.lagWhy)
	}
	for i, line := range lines {
		if i == 0 {
			fmt.Fprintln(a.out)
		}
		if _, err := fmt.Fprintln(a.out, screen.Clean(line)); err != nil {
			return err
		}
	}
	return nil
}

// cursorJSON gives a cursor as what it is to people: connectors write JSON, as a rule; others are shown as text.
func cursorJSON(cursor []byte) json.RawMessage {
	if len(cursor) == 0 {
		return json.RawMessage("null")
	}
	if json.Valid(cursor) {
		return cursor
	}
	text, err := json.Marshal(strings.ToValidUTF8(string(cursor), "�"))
	if err != nil {
		return json.RawMessage("null")
	}
	return text
}

func in(t *time.Time, zone *time.Location) *time.Time {
	if t == nil {
		return nil
	}
	local := t.In(zone)
	return &local
}

// when shows a moment by the minute, and a period by its day.
func when(t *time.Time, none string) string {
	switch {
	case t == nil:
		return none
	case t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0:
		return t.Format(time.DateOnly)
	}
	return t.Format("2006-01-02 15:04")
}

// age shows seconds in the largest unit of which there are at least two.
func age(seconds *int64) string {
	if seconds == nil {
		return "–"
	}
	for _, unit := range []struct {
		seconds int64
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}} {
		if *seconds >= 2*unit.seconds {
			return fmt.Sprintf("%d %s", *seconds/unit.seconds, unit.name)
		}
	}
	return fmt.Sprintf("%d s", max(0, *seconds))
}

func lagText(lag *int64) any {
	if lag == nil {
		return "–"
	}
	return screen.Count(*lag)
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}
