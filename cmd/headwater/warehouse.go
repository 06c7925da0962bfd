package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

// withWarehouse opens the project's warehouse, calls fn and closes it.
func (a *app) withWarehouse(ctx context.Context, fn func(w *pipeline.Depot) error) (err error) {
	p, _, err := a.loadSound()
	if err != nil {
		return err
	}
	progress := screen.NewProgress(a.err, a.logger(a.err, p))
	w, err := pipeline.OpenWarehouse(ctx, p, pipeline.Options{Logger: a.logger(a.beside(progress), p), Stage: progress.Stage})
	progress.Done()
	if err != nil {
		return causeOf(ctx, err)
	}
	defer func() { err = causeOf(ctx, errors.Join(err, w.Close())) }()
	return fn(w)
}

func warehouseCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "warehouse",
		Short:   "Looks after the warehouse",
		Example: "  headwater warehouse serve",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(&cobra.Command{
		Use:   "serve",
		Short: "Keeps the embedded warehouse up for BI tools and curl",
		Long: `Starts the project's embedded warehouse, prints how to reach it over ClickHouse's HTTP interface, and keeps it up until
interrupted. The user reader can only read: give that one to BI tools.`,
		Example: `  headwater warehouse serve
  curl 'http://127.0.0.1:PORT/?query=SELECT+1' -H 'X-ClickHouse-User: reader' -H 'X-ClickHouse-Key: PASSWORD'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) error {
				if w.Endpoint.Addr == "" {
					_, err := fmt.Fprintln(a.out, "This project's warehouse is a server of its own: connect to the address in headwater.yaml.")
					return err
				}
				t := a.table(screen.Text, "what", "value")
				for _, r := range [][2]any{
					{"address", "http://" + w.Endpoint.Addr},
					{"database", w.Database()},
					{"user for reading", clickhouse.Reader},
					{"its password", w.Endpoint.ReaderPassword.Reveal()},
					{"user for everything", w.Endpoint.User},
					{"password of that", w.Endpoint.Password.Reveal()},
				} {
					if err := t.Row(r[0], r[1]); err != nil {
						return err
					}
				}
				if err := t.Close(); err != nil {
					return err
				}
				fmt.Fprintln(a.err, "Serving until interrupted (Ctrl-C).")
				<-cmd.Context().Done()
				return nil
			})
		},
	}, warehouseFiguresCommand(a), warehouseGrantsCommand(a))
	return c
}

func warehouseFiguresCommand(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "figures",
		Short: "Puts figures together that are not up to date",
		Long: `The views over indicators answer from figures that are kept. Every run brings them up to what it has loaded, and a service does
so every few seconds; this command does it now, for what an interrupted run has left. With --all it puts every figure together anew,
as after somebody has changed the table of observations by hand.`,
		Example: `  headwater warehouse figures
  headwater warehouse figures --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) error {
				refresh := w.Refresh
				if all {
					refresh = w.RefreshAll
				}
				n, err := refresh(cmd.Context())
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "figures of %d periods of indicators were put together\n", n)
				return err
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every figure, not only those that are marked")
	return c
}

func warehouseGrantsCommand(a *app) *cobra.Command {
	var certificate, apply bool
	var why, by string
	c := &cobra.Command{
		Use:   "grants",
		Short: "Prints or applies the SQL that gives Headwater's users on a ClickHouse server the rights they need",
		Long: `Prints statements for an administrator of the server to read and run. There are four users: the loader makes and changes the
tables and loads; the operator loads once they are there, and cannot make or change any; the rebuilder may replay, for which
tables are dropped; the reader is for BI and does not see rows in quarantine. They can log in only after the administrator has
given them a password, or with --certificate by a client certificate with the user's name as its common name. Print or apply
them again after schemas were added.

Each reader under readers: in headwater.yaml is a user of its own, limited to the rows of a region and what lies below it and to
fields up to a sensitivity, by row policies, rights on columns, a settings profile and a quota. What lies below a region, and when,
stands in the policies: print or apply them again after the regions have changed.

With --apply they are run on the project's warehouse, as the user that headwater.yaml names for it, who must be allowed to make
users and to grant: give the administrator's name and password in the environment for that one command. It may be repeated;
nothing that is there is taken away, but for rights that a reader of headwater.yaml has no longer. headwater audit tells who did
it.`,
		Example: `  headwater warehouse grants > grants.sql
  headwater warehouse grants --certificate
  HEADWATER_CH_PASSWORD=… headwater warehouse grants --apply --why "the schemas have changed"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			why = strings.TrimSpace(why)
			if apply && why == "" {
				return fault.Usage(errors.New("say why, for those who ask later: --why TEXT"))
			}
			if !apply && (why != "" || by != "") {
				return fault.Usage(errors.New("--why and --by are for the record of what --apply changes: nothing is changed without it"))
			}
			p, _, err := a.loadSound()
			if err != nil {
				return err
			}
			settings, err := p.Warehouse()
			if err != nil {
				return err
			}
			readers, err := warehouse.ReaderRoles(settings.Database, p.Set(), readersOf(p))
			if err != nil {
				return fault.Usage(err)
			}
			roles := append(warehouse.Roles(settings.Database, p.Set()), readers...)
			if apply {
				return a.withWarehouse(cmd.Context(), func(w *pipeline.Depot) error {
					return a.applyGrants(cmd.Context(), w, roles, certificate, operator(by), why)
				})
			}
			if a.json {
				type role struct {
					Role       string   `json:"role"`
					User       string   `json:"user"`
					For        string   `json:"for"`
					Statements []string `json:"statements"`
				}
				var out []role
				for _, r := range roles {
					out = append(out, role{r.Name, r.User, r.For, r.Statements(certificate)})
				}
				return a.encode(out)
			}
			_, err = fmt.Fprint(a.out, warehouse.Script(roles, certificate))
			return err
		},
	}
	c.Flags().BoolVar(&certificate, "certificate", false, "users log in with client certificates instead of passwords")
	c.Flags().BoolVar(&apply, "apply", false, "run the statements on the project's warehouse")
	c.Flags().StringVar(&why, "why", "", "the reason, for the record (required with --apply)")
	byFlag(c, &by)
	return c
}

// readersOf are the readers that headwater.yaml names, in the order of their names.
func readersOf(p *project.Project) []warehouse.Reader {
	configured := p.Readers()
	var readers []warehouse.Reader
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		c := configured[name]
		readers = append(readers, warehouse.Reader{
			Name: name, Title: c.Title, Region: c.Region, Sensitivity: c.Sensitivity, Sources: c.Sources,
			MaxTime: c.MaxTime, MaxMemoryBytes: int64(c.MaxMemory) << 20, MaxRows: int64(c.MaxRows),
			QueriesPerHour: int64(c.Queries), QueryTimePerHour: c.QueryTime,
		})
	}
	return readers
}

func (a *app) applyGrants(ctx context.Context, w *pipeline.Depot, roles []warehouse.Role, certificate bool, by, why string) error {
	if w.Endpoint.Addr != "" {
		return fault.Usage(errors.New("the embedded warehouse has one user for everything and one for reading, and can have no others: headwater warehouse serve tells them"))
	}
	var names []string
	for _, r := range roles {
		names = append(names, r.User)
	}
	entry := warehouse.AuditEntry{Who: by, Command: "warehouse grants --apply", TargetKind: "grants", Target: strings.Join(names, " "), Why: why}
	n := 0
	err := w.Audited(ctx, entry, func(e *warehouse.AuditEntry) (err error) {
		n, err = w.Apply(ctx, roles, certificate)
		e.Details = warehouse.AuditDetails(map[string]any{"statements": n, "certificate": certificate})
		return err
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.encode(map[string]any{"users": names, "statements": n})
	}
	_, err = fmt.Fprintf(a.err, "The server has taken %s for %s.\n", plural(n, "statement"), strings.Join(names, ", "))
	return err
}
