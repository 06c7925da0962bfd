package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/screen"
	"github.com/headwater-data/headwater/pipeline"
	"github.com/headwater-data/headwater/warehouse"
)

func quarantineUndecodableCommand(a *app) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "undecodable",
		Short: "Lists messages that could not be decoded and whose bytes are kept",
		Long: `Lists messages of Headwater's own that could not be decoded: those whose value is damaged, whose rows are one entry of the
quarantine under the same id, and those whose headers make no sense, so that nobody knows whose rows they hold. Their
bytes are kept in the warehouse whatever becomes of the topic; quarantine show ID --raw FILE writes them.`,
		Example: `  headwater quarantine undecodable
  headwater quarantine show hotline-0.3f9a2c@1234#0 --raw message.bin`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return fault.Usage(errors.New("--limit must be 0 (all) or more"))
			}
			p, err := a.load()
			if err != nil {
				return err
			}
			return a.withQuarantine(cmd.Context(), func(w *pipeline.Depot) error {
				messages, err := w.Undecodables(cmd.Context(), limit)
				if err != nil {
					return err
				}
				if a.json {
					return a.encode(undecodableLines(messages))
				}
				t := a.table(screen.Text, "id", "part", "source", "bytes", "reason", "written at")
				t.WhenEmpty("Every message could be decoded.")
				for _, m := range messages {
					if err := t.Row(screen.Name(m.ID()), m.Part, m.Source, screen.Count(m.Size), m.Reason, m.WrittenAt.In(p.Zone)); err != nil {
						return err
					}
				}
				return t.Close()
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 50, "how many messages to show; 0 for all")
	return c
}

// undecodable is a message for scripts.
type undecodable struct {
	ID        string    `json:"id"`
	Part      string    `json:"part"`
	Reason    string    `json:"reason"`
	Source    string    `json:"source,omitempty"`
	Stream    string    `json:"stream,omitempty"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256"`
	WrittenAt time.Time `json:"written_at"`
}

func undecodableLines(messages []warehouse.Undecodable) []undecodable {
	out := []undecodable{}
	for _, m := range messages {
		out = append(out, undecodable{m.ID(), m.Part, m.Reason, m.Source, m.Stream, m.Topic, m.Partition, m.Offset, m.Size, m.SHA256, m.WrittenAt})
	}
	return out
}

// writeRaw writes the bytes of one message that could not be decoded.
func (a *app) writeRaw(ctx context.Context, ids []string, name string) error {
	if len(ids) != 1 {
		return fault.Usage(errors.New("--raw writes one message: give one id"))
	}
	if _, err := warehouse.ParseQuarantineID(ids[0]); err != nil {
		return fault.Usage(err)
	}
	return a.withQuarantine(ctx, func(w *pipeline.Depot) (err error) {
		m, ok, err := w.UndecodableOf(ctx, ids[0])
		if err != nil {
			return err
		}
		if !ok {
			return fault.Usage(fmt.Errorf("no message is kept for %s: only those that could not be decoded are (headwater quarantine undecodable)", screen.Clean(ids[0])))
		}
		if name == "-" {
			_, err := a.out.Write(m.Value)
			return err
		}
		// What is there already stays; nobody but the owner may read the new file.
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fault.Usage(fmt.Errorf("write the message: %w", err))
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if _, err := f.Write(m.Value); err != nil {
			return fault.Environment(fmt.Errorf("write the message: %w", err))
		}
		_, err = fmt.Fprintf(a.err, "%d bytes, SHA-256 %s\n", m.Size, m.SHA256)
		return err
	})
}
