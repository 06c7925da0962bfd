// Package http is the connector for HTTP interfaces that answer in JSON.
//
// A stream is one path. It is read whole, page by page, into a temporary file first: the content's version is a checksum over all of
// it, and what was read replaces what was read before only when every page has come. Or it is read by a column that grows with every
// change, from the value after which the last reading stopped; then nothing that is gone is noticed.
//
// Values are texts: numbers keep the digits that stand in the answer, true and false are those words, objects and lists are JSON.
// Memory depends on the longest answer, not on the number of pages.
package http

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/rowwise"
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return rowwise.Define(connectors.Definition{
		Name:   "http",
		Title:  "HTTP: JSON from an interface, in pages; whole or by a column that grows",
		Modes:  []string{"whole", "by position"},
		Tested: []string{"servers of Go 1.26 made for its tests, with and without TLS"}, TestedOn: "2026-11-27",
		Page: "http.md",
	}, open)
}

func open(env connectors.Environment, c *Config, streams map[string]*Options) (map[string]rowwise.Stream, func() error, error) {
	client, err := newClient(env, c)
	if err != nil {
		return nil, nil, err
	}
	made := map[string]rowwise.Stream{}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		s := stream{client: client, o: streams[name], place: client.place(streams[name])}
		if s.o.After != nil {
			made[name] = &growing{s}
		} else {
			made[name] = &whole{s}
		}
	}
	return made, func() error { client.http.CloseIdleConnections(); return nil }, nil
}

// stream is what both ways of reading have.
type stream struct {
	client *client
	o      *Options
	place  string
}

// Place is the address without its query.
func (s *stream) Place() string { return s.place }

// Columns are the configured ones.
func (s *stream) Columns(context.Context) ([]rowwise.Column, error) {
	var columns []rowwise.Column
	for _, name := range s.o.Columns {
		columns = append(columns, rowwise.Column{Name: name, Type: arrow.BinaryTypes.String})
	}
	return columns, nil
}

// Examine asks for the first answer alone.
func (s *stream) Examine(ctx context.Context) (found []connectors.Finding) {
	say := func(what string, level connectors.Level, text, fix string) {
		found = append(found, connectors.Finding{What: what, Level: level, Text: text, Fix: fix})
	}
	if s.client.address.Scheme == "http" {
		say("encryption", connectors.LevelNote, "the connection is not encrypted: records and the login can be read on the way", "write https, if the server has it")
	}
	answer, _, err := s.client.get(ctx, s.begin())
	if err != nil {
		say("read", connectors.LevelFault, err.Error(), "")
		return found
	}
	list, err := s.o.records(answer)
	if err != nil {
		say("read", connectors.LevelFault, err.Error(), "")
		return found
	}
	text := fmt.Sprintf("the first answer has %d records", len(list))
	if s.o.Total != "" {
		total, err := s.o.total(answer)
		if err != nil {
			say("total", connectors.LevelFault, err.Error(), "")
			return found
		}
		text += fmt.Sprintf(" of %d", total)
	}
	if len(list) == 0 {
		say("read", connectors.LevelNote, text, "nothing, if none are there; else correct path, query and records")
		return found
	}
	say("read", connectors.LevelOK, text, "")
	return found
}

// begin is the address of the first request.
func (s *stream) begin() *url.URL {
	u := s.client.first(s.o)
	query := u.Query()
	if p := s.o.Pages; p != nil {
		if p.Size > 0 {
			query.Set(p.SizeParam, strconv.Itoa(p.Size))
		}
		switch p.By {
		case byNumber:
			query.Set(p.Param, strconv.Itoa(p.firstNumber()))
		case byOffset:
			query.Set(p.Param, "0")
		}
	}
	if a := s.o.After; a != nil {
		if a.Size > 0 {
			query.Set(a.SizeParam, strconv.Itoa(a.Size))
		}
		if a.Begin != "" {
			query.Set(a.Param, a.Begin)
		}
	}
	u.RawQuery = query.Encode()
	return u
}
