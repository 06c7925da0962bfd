package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/pipeline/verify"
)

// errDiffers is why verify ends with exit code 1; the command has said so in its own form.
var errDiffers = errors.New("source and warehouse differ")

func verifyCommand(a *app) *cobra.Command {
	var opts pipeline.VerifyOptions
	var day, from, to, by string
	c := &cobra.Command{
		Use:   "verify SOURCE",
		Short: "Compares a source with the warehouse, key by key, and mends what differs",
		Long: `Reads the source again from its beginning, maps it as in earnest, and holds it against the rows that whoever reads the
warehouse sees. It believes neither ledger nor cursors. Both sides add up checksums by day (or by range of keys, where rows
have no day) and by bucket of the key; buckets that differ are read closely, until the differing keys are known.

Rows that break a rule or are filtered are not expected in the warehouse, and keys of which another source has the newest row
are named as superseded. Rows of files that are no longer there, and of those read with on_change: merge, are kept, not extra.
What was not ingested yet is missing: run the source first, and verify while nothing is loading.

With --repair rows that are missing or different are read from the source again and written as a new batch, keys that the
source does not have are marked as gone, and those keys are compared again.

Exit codes: 0 both agree, or do after the repair; 1 they differ; 2 the command line or the configuration is wrong; 3 the
environment is.`,
		Example: `  headwater verify hotline-12345
  headwater verify hotline-12345 --day 2024-03-01 --repair
  headwater verify census --rate 5000 --limit 0 --json > differences.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Source, opts.By, opts.Why = args[0], operator(by), strings.TrimSpace(opts.Why)
			if opts.Limit < 0 || opts.Rate < 0 {
				return fault.Usage(errors.New("--limit and --rate must be 0 (no limit) or more"))
			}
			var err error
			if opts.From, opts.To, err = days(day, from, to); err != nil {
				return err
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			if _, err := p.Source(opts.Source); err != nil {
				return err
			}
			report, err := a.verify(cmd.Context(), p, opts)
			if err != nil {
				return causeOf(cmd.Context(), err)
			}
			v := newVerified(report)
			if a.json {
				err = a.encode(v)
			} else {
				err = v.show(a, opts.Limit)
			}
			if err == nil && !v.Equal {
				err = &reportedError{errDiffers}
			}
			return err
		},
		ValidArgsFunction: a.completeSources,
	}
	c.Flags().StringSliceVar(&opts.Streams, "stream", nil, "only the tables that these streams fill")
	c.Flags().StringVar(&day, "day", "", "only this day, YYYY-MM-DD")
	c.Flags().StringVar(&from, "from", "", "only from this day on")
	c.Flags().StringVar(&to, "to", "", "only up to this day, inclusive")
	c.Flags().Int64Var(&opts.Rate, "rate", 0, "rows that are read from the source in a second at most; 0 for no limit")
	c.Flags().IntVar(&opts.Limit, "limit", 50, "how many differing keys and days to show; 0 for all")
	c.Flags().BoolVar(&opts.Repair, "repair", false, "mend what differs; nothing else may load meanwhile")
	c.Flags().StringVar(&opts.Why, "why", "", "of a repair: the reason, for the record")
	byFlag(c, &by)
	return c
}

// days reads the bounds of days.
func days(day, from, to string) (first, last time.Time, err error) {
	if day != "" {
		if from != "" || to != "" {
			return first, last, fault.Usage(errors.New("give --day, or --from and --to"))
		}
		from, to = day, day
	}
	for _, b := range []struct {
		flag, text string
		into       *time.Time
	}{{"--from", from, &first}, {"--to", to, &last}} {
		if b.text == "" {
			continue
		}
		if *b.into, err = time.Parse(time.DateOnly, b.text); err != nil {
			if day != "" {
				b.flag = "--day"
			}
			return first, last, fault.Usage(fmt.Errorf("%s %q is no day; write it as 2024-03-01", b.flag, b.text))
		}
	}
	if !first.IsZero() && !last.IsZero() && last.Before(first) {
		return first, last, fault.Usage(errors.New("--to is before --from"))
	}
	return first, last, nil
}

func (a *app) verify(ctx context.Context, p *project.Project, opts pipeline.VerifyOptions) (report *pipeline.VerifyReport, err error) {
	progress := screen.NewProgress(a.err, a.logger(a.err, p))
	defer progress.Done()
	options := pipeline.Options{Logger: a.logger(a.beside(progress), p), Stage: progress.Stage}
	opts.Progress = func(source string, c pipeline.Counts) {
		progress.Source(source, screen.Counts{Read: c.Read, InKafka: c.InKafka, Loaded: c.Loaded, Quarantined: c.Quarantined})
	}
	if !opts.Repair {
		w, err := pipeline.OpenWarehouse(ctx, p, options)
		if err != nil {
			return nil, err
		}
		report, err := pipeline.Verify(ctx, p, w.Warehouse, opts, options)
		return report, errors.Join(err, w.Close())
	}
	session, err := pipeline.Open(ctx, p, options)
	if err != nil {
		return nil, err
	}
	report, err = session.Verify(ctx, opts)
	return report, errors.Join(err, session.Close())
}

// verified is what the command shows.
type verified struct {
	Source string          `json:"source"`
	Equal  bool            `json:"equal"`
	Tables []verifiedTable `json:"tables"`
	Keys   []verifiedKey   `json:"keys"`             // that differ; no more than the limit
	Repair *verifiedRepair `json:"repair,omitempty"` // with --repair
	Read   int64           `json:"rows_read"`        // from the source, all passes together
	names  map[string][]string
}

type verifiedTable struct {
	Table       string        `json:"table"`
	Streams     []string      `json:"streams"`
	By          string        `json:"by"` // day or range
	Compared    int           `json:"compared"`
	Source      int64         `json:"source"`
	Warehouse   int64         `json:"warehouse"`
	Missing     int64         `json:"missing"`
	Extra       int64         `json:"extra"`
	Different   int64         `json:"different"`
	Quarantined int64         `json:"quarantined"`
	Unaccounted int64         `json:"not_in_quarantine"`
	Filtered    int64         `json:"filtered"`
	Repeated    int64         `json:"repeated"`
	Superseded  int64         `json:"superseded"`
	Kept        int64         `json:"kept"`
	Repaired    int64         `json:"repaired_in_quarantine"`
	Unresolved  int64         `json:"unresolved"`
	Passes      int           `json:"passes"`
	Differing   []verifiedDay `json:"differing"`
}

type verifiedDay struct {
	Name      string `json:"name"`
	Source    uint64 `json:"source"`
	Warehouse uint64 `json:"warehouse"`
}

type verifiedKey struct {
	Kind   verify.Kind       `json:"kind"`
	Table  string            `json:"table"`
	Stream string            `json:"stream"`
	When   string            `json:"when"` // day or range
	Key    map[string]string `json:"key"`
	Place  string            `json:"place,omitempty"` // in the source
	Row    uint64            `json:"row,omitempty"`
	texts  []string
}

type verifiedRepair struct {
	Run      string        `json:"run"`
	Written  int64         `json:"written"` // rows and keys
	Mended   int           `json:"mended"`  // keys that agree now
	Left     int           `json:"left"`    // too many for one repair
	Still    []verifiedKey `json:"still_different"`
	Loaded   int64         `json:"loaded"`
	Deleted  int64         `json:"deleted"`
	Balanced bool          `json:"balanced"`
}

func newVerified(r *pipeline.VerifyReport) *verified {
	v := &verified{Source: r.Source, Equal: r.Equal(), Read: r.ReadAll, Tables: []verifiedTable{}, Keys: []verifiedKey{}, names: map[string][]string{}}
	tables := map[string]*verify.Table{}
	for _, t := range r.Tables {
		tables[t.Schema.Name] = t
		v.names[t.Schema.Name] = t.Schema.Key()
		line := verifiedTable{
			Table: t.Schema.Name, Streams: t.Streams, By: "range", Compared: t.Segments, Source: t.Source, Warehouse: t.Warehouse,
			Missing: t.Missing, Extra: t.Extra, Different: t.Different, Quarantined: t.Quarantined, Unaccounted: t.Unaccounted, Filtered: t.Filtered,
			Repeated: t.Repeated, Superseded: t.Superseded, Kept: t.Kept, Repaired: t.Repaired, Unresolved: t.Unresolved, Passes: t.Passes, Differing: []verifiedDay{},
		}
		if t.ByDay {
			line.By = "day"
		}
		for _, s := range t.Differing {
			line.Differing = append(line.Differing, verifiedDay{Name: t.Describe(s.Number), Source: s.Source, Warehouse: s.Warehouse})
		}
		v.Tables = append(v.Tables, line)
	}
	keys := func(found []verify.Difference) []verifiedKey {
		out := []verifiedKey{}
		for _, d := range found {
			t := tables[d.Table]
			k := verifiedKey{Kind: d.Kind, Table: d.Table, Stream: d.Stream, When: t.Describe(d.Segment), Key: map[string]string{}, Place: d.Place, Row: d.Row}
			texts, err := t.Schema.KeyTexts(d.Key)
			if err != nil {
				texts = []string{d.Key} // whatever it is, it is shown
			}
			k.texts = texts
			for i, text := range texts {
				k.Key[v.names[d.Table][i]] = text
			}
			out = append(out, k)
		}
		return out
	}
	v.Keys = keys(r.Keys)
	if r.Repair != nil {
		v.Repair = &verifiedRepair{Run: r.Repair.Run, Mended: r.Mended, Left: r.Left, Still: keys(r.Still), Balanced: true}
		for _, s := range r.Repair.Sources {
			v.Repair.Written += s.Written
			v.Repair.Loaded += s.Account.Loaded
			v.Repair.Deleted += s.Account.Deleted
			v.Repair.Balanced = v.Repair.Balanced && s.Account.Difference == 0
		}
	}
	return v
}

func (v *verified) show(a *app, limit int) error {
	t := a.table(screen.Text, "table", "streams", "compared", "source", "warehouse", "missing", "extra", "different", "quarantined", "filtered", "superseded", "repeated", "kept", "passes")
	for _, x := range v.Tables {
		if err := t.Row(x.Table, strings.Join(x.Streams, ", "), plural(x.Compared, x.By), screen.Count(x.Source), screen.Count(x.Warehouse), screen.Count(x.Missing), screen.Count(x.Extra),
			screen.Count(x.Different), screen.Count(x.Quarantined), screen.Count(x.Filtered), screen.Count(x.Superseded), screen.Count(x.Repeated), screen.Count(x.Kept+x.Repaired), screen.Count(x.Passes)); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if err := v.showDays(a, limit); err != nil {
		return err
	}
	if err := v.showKeys(a, v.Keys); err != nil {
		return err
	}
	return v.verdict(a)
}

func (v *verified) showDays(a *app, limit int) error {
	differing := 0
	for _, x := range v.Tables {
		differing += len(x.Differing)
	}
	if differing == 0 || v.total() == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	t := a.table(screen.Text, "table", "differs on", "source", "warehouse")
	shown := 0
	for _, x := range v.Tables {
		for _, d := range x.Differing {
			if shown++; limit > 0 && shown > limit {
				continue
			}
			if err := t.Row(x.Table, d.Name, screen.Count(int64(d.Source)), screen.Count(int64(d.Warehouse))); err != nil {
				return err
			}
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if limit > 0 && shown > limit {
		fmt.Fprintf(a.out, "… and %d more: --limit 0 shows all.\n", shown-limit)
	}
	return nil
}

func (v *verified) showKeys(a *app, keys []verifiedKey) error {
	if len(keys) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	t := a.table(screen.Text, "what", "table", "stream", "when", "key", "place", "row")
	for _, k := range keys {
		place, row := any("–"), any("–")
		if k.Place != "" {
			place = k.Place
		}
		if k.Row > 0 {
			row = screen.Count(int64(k.Row))
		}
		if err := t.Row(string(k.Kind), k.Table, k.Stream, k.When, strings.Join(k.texts, " | "), place, row); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if more := v.total() - int64(len(keys)); more > 0 {
		fmt.Fprintf(a.out, "… and %d more: --limit 0 shows all.\n", more)
	}
	return nil
}

// total is how many keys differ.
func (v *verified) total() int64 {
	n := int64(0)
	for _, t := range v.Tables {
		n += t.Missing + t.Extra + t.Different
	}
	return n
}

// verdict is the last lines.
func (v *verified) verdict(a *app) error {
	fmt.Fprintln(a.out)
	for _, t := range v.Tables {
		if t.Unaccounted > 0 {
			fmt.Fprintf(a.out, "%s: %s of the source would be quarantined under the present mapping and are not in quarantine: run the source again.\n", t.Table, plural(int(t.Unaccounted), "row"))
		}
		if t.Unresolved > 0 {
			fmt.Fprintf(a.out, "%s: %s lie in parts that differ and were not compared one by one, as too many differ: repair, or compare fewer days, and verify again.\n", t.Table, plural(int(t.Unresolved), "row"))
		}
	}
	if r := v.Repair; r != nil && v.total() > 0 {
		fmt.Fprintf(a.out, "Repaired: %s written as run %s; %s agree now.\n", plural(int(r.Written), "row"), r.Run, plural(r.Mended, "key"))
		if len(r.Still) > 0 {
			fmt.Fprintf(a.out, "%s differ still:\n", plural(len(r.Still), "key"))
			if err := v.showKeys(a, r.Still); err != nil {
				return err
			}
		}
		if r.Left > 0 {
			fmt.Fprintf(a.out, "%s were too many for one repair: repair again.\n", plural(r.Left, "key"))
		}
	}
	if v.Equal {
		_, err := fmt.Fprintln(a.out, "Equal: the warehouse shows what the source has.")
		return err
	}
	_, err := fmt.Fprintf(a.out, "DIFFERENT: %s.\n", plural(int(v.total()), "key"))
	return err
}
