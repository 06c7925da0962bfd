package connectortest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/connectors"
)

// lostRows are more than what can be on its way when a system is lost after the first batch.
const lostRows = 3 * bulkyRows

// checkAltered changes the columns between two batches, where a source is resumed.
func checkAltered(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	var cursor connectors.Cursor
	for b, err := range w.source.Read(ctx, s, nil) {
		if err != nil {
			return err
		}
		cursor = slices.Clone(b.Cursor)
		break
	}
	if err := w.outside.Alter(); err != nil {
		return fmt.Errorf("alter the system: %w", err)
	}
	// What came before the change may come again only when all has been read once.
	with := map[string]bool{}
	for range 3 {
		begin := len(with)
		for b, err := range w.source.Read(ctx, s, cursor) {
			if err != nil {
				return err
			}
			cursor = slices.Clone(b.Cursor)
			at := b.Record.Schema().FieldIndices("added")
			for row, text := range texts(b.Record) {
				if len(at) == 1 && b.Record.Column(at[0]).ValueStr(row) == "new" {
					id, _, _ := strings.Cut(text[1:], "|")
					with[id] = true
				}
			}
		}
		if len(with) == len(w.outside.Table.Rows) || len(with) == begin {
			break
		}
	}
	if len(with) != len(w.outside.Table.Rows) {
		return fmt.Errorf("%d of %d rows came with the column that was added", len(with), len(w.outside.Table.Rows))
	}
	return nil
}

// transient tells what is wrong with an error that should say that another try may succeed.
func transient(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	if !connectors.IsTransient(err) {
		return fmt.Errorf("the error is not transient: %w", err)
	}
	return nil
}

func checkLostBefore(ctx context.Context, w *world) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	back, err := w.outside.Lose()
	if err != nil {
		return fmt.Errorf("lose the system: %w", err)
	}
	wrong := transient(w.read(ctx, s, nil).err)
	if err := back(); err != nil {
		return fmt.Errorf("bring the system back: %w", err)
	}
	if wrong != nil {
		return wrong
	}
	r := w.read(ctx, s, nil)
	return errors.Join(r.err, same("when it is back", r.rows, w.outside.Table.want(w.can)))
}

func checkLostWithin(ctx context.Context, w *world) error {
	return w.interrupted(ctx, w.outside.Lose, 0)
}

func checkSilent(ctx context.Context, w *world) error {
	return w.interrupted(ctx, w.outside.Hang, patience)
}

// interrupted reads, lets the system be away after the first batch, and reads on when it is back. Whoever is not done within
// the limit has not noticed; 0 is no limit. A source that fetches a whole content before its first batch has all of it by then: it is
// read again, without the system.
func (w *world) interrupted(ctx context.Context, interrupt func() (func() error, error), limit time.Duration) error {
	s, err := w.only(ctx)
	if err != nil {
		return err
	}
	var back func() error
	restore := func() error {
		if back == nil {
			return nil
		}
		f := back
		back = nil
		return f()
	}
	read := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		read, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	var rows []string
	var cursor connectors.Cursor
	var failed error
	for b, err := range w.source.Read(read, s, nil) {
		if err != nil {
			w.say(err.Error())
			failed = err
			break
		}
		rows, cursor = append(rows, texts(b.Record)...), slices.Clone(b.Cursor)
		if back != nil {
			continue
		}
		if back, err = interrupt(); err != nil {
			return fmt.Errorf("take the system away: %w", err)
		}
	}
	noticed, away := read.Err() == nil, back != nil
	if err := restore(); err != nil {
		return fmt.Errorf("bring the system back: %w", err)
	}
	if !noticed {
		return fmt.Errorf("still waiting for the system after %v", limit)
	}
	if failed == nil && away && w.can.Replaces && same("without the system", rows, w.outside.Table.want(w.can)) == nil {
		return w.missed(ctx, s, interrupt, limit) // all had been fetched before the first batch
	}
	if err := transient(failed); err != nil {
		return err
	}
	rest := w.read(ctx, s, cursor)
	return errors.Join(rest.err, same("before and after", append(rows, rest.rows...), w.outside.Table.want(w.can)))
}

// missed takes the system away before a source asks for all of its content.
func (w *world) missed(ctx context.Context, s connectors.Stream, interrupt func() (func() error, error), limit time.Duration) error {
	back, err := interrupt()
	if err != nil {
		return fmt.Errorf("take the system away: %w", err)
	}
	read := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		read, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	failed := w.read(read, s, nil).err
	noticed := read.Err() == nil
	if err := back(); err != nil {
		return fmt.Errorf("bring the system back: %w", err)
	}
	if !noticed {
		return fmt.Errorf("still waiting for the system after %v", limit)
	}
	if err := transient(failed); err != nil {
		return err
	}
	r := w.read(ctx, s, nil)
	return errors.Join(r.err, same("when it is back", r.rows, w.outside.Table.want(w.can)))
}
