// Package permits is the connector for permits.
package permits

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/rowwise"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return rowwise.Define(connectors.Definition{
		Name:  "permits",
		Title: "Permits: tables of a permits office's HTTP interface, by the number of their changes",
		Modes: []string{"by position"},
	}, open)
}

// Config says where the system is and how to log in (`config:` in the source's YAML).
type Config struct {
	Address string        `yaml:"address" json:"address" required:"true" desc:"Where the office answers, such as https://permits.example."`
	Token   secret.Value  `yaml:"token,omitempty" json:"token,omitempty" desc:"What lets us in: ${env:NAME} or ${file:PATH}."`
	Timeout time.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty" desc:"How long one answer may take. Defaults to 1m."`
}

// Check finds what is wrong with the options, without asking the system.
func (c *Config) Check() (faults []connectors.OptionFault) {
	if u, err := url.Parse(c.Address); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		faults = append(faults, connectors.OptionFault{Path: []string{"address"}, Message: "this is not the address of an HTTP server", Fix: "write it as https://permits.example; the token has an option of its own"})
	}
	if c.Timeout < 0 {
		faults = append(faults, connectors.OptionFault{Path: []string{"timeout"}, Message: "the time is negative"})
	}
	return faults
}

// Options say what a stream is (`read:`).
type Options struct {
	Table string `yaml:"table" json:"table" required:"true" desc:"What the system calls it."`
}

// open makes the streams. Nothing is asked of the system yet.
func open(_ connectors.Environment, c *Config, streams map[string]*Options) (map[string]rowwise.Stream, func() error, error) {
	client := &http.Client{Timeout: cmp.Or(c.Timeout, time.Minute), Transport: http.DefaultTransport.(*http.Transport).Clone()}
	made := map[string]rowwise.Stream{}
	for name, o := range streams {
		made[name] = &stream{config: c, options: o, client: client}
	}
	return made, func() error { client.CloseIdleConnections(); return nil }, nil
}

// stream is one table of the system.
type stream struct {
	config  *Config
	options *Options
	client  *http.Client
}

// Place names the table for people.
func (s *stream) Place() string { return s.config.Address + " " + s.options.Table }

// Columns lists the table's columns.
func (s *stream) Columns(ctx context.Context) ([]rowwise.Column, error) {
	var answer struct {
		Columns []struct{ Name, Type string }
	}
	if err := s.get(ctx, "columns", nil, &answer); err != nil {
		return nil, err
	}
	var columns []rowwise.Column
	for _, c := range answer.Columns {
		typ, ok := types[c.Type]
		if !ok {
			return nil, connectors.Permanent(fmt.Errorf("column %q has the type %q, which this connector does not know", c.Name, c.Type))
		}
		columns = append(columns, rowwise.Column{Name: c.Name, Type: typ})
	}
	return columns, nil
}

// types are the office's, as its manual lists them.
var types = map[string]arrow.DataType{
	"text": arrow.BinaryTypes.String, "integer": arrow.PrimitiveTypes.Int64, "date": arrow.FixedWidthTypes.Date32,
	"money": &arrow.Decimal128Type{Precision: 18, Scale: 2},
}

const (
	pageRows       = 500
	maxAnswerBytes = 16 << 20
)

// get asks for something of the table and decodes the answer. Its errors say who can mend them.
func (s *stream) get(ctx context.Context, what string, query url.Values, answer any) error {
	address, err := url.JoinPath(s.config.Address, "tables", s.options.Table, what)
	if err != nil {
		return fault.Usage(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"?"+query.Encode(), nil)
	if err != nil {
		return fault.Usage(err)
	}
	if s.config.Token.IsSet() {
		request.Header.Set("Authorization", "Bearer "+s.config.Token.Reveal())
	}
	response, err := s.client.Do(request)
	if err != nil {
		return connectors.Transient(err) // nobody answered: a network mends itself, or people mend it
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fault.Environment(fmt.Errorf("the office answers %s: see to config.token", response.Status))
	case code == http.StatusTooManyRequests, code >= 500:
		return connectors.Transient(fmt.Errorf("the office answers %s", response.Status))
	default:
		return connectors.Permanent(fmt.Errorf("the office answers %s", response.Status))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return connectors.Transient(fmt.Errorf("the answer broke off: %w", err))
	case len(body) > maxAnswerBytes:
		return connectors.Permanent(fmt.Errorf("an answer of more than %d bytes", maxAnswerBytes))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // a float64 would lose digits
	if err := d.Decode(answer); err != nil {
		return connectors.Permanent(fmt.Errorf("the answer is not what the office's manual says: %w", err))
	}
	return nil
}

// Rows yields the rows that follow a position, which is the number of a row's last change. A row that changes again gets a new number,
// and so moves behind all others.
func (s *stream) Rows(ctx context.Context, after string) iter.Seq2[rowwise.Row, error] {
	return func(yield func(rowwise.Row, error) bool) {
		for {
			var page struct {
				Rows []struct {
					Change int64
					Values []any
				}
				More bool
			}
			if err := s.get(ctx, "rows", url.Values{"after": {cmp.Or(after, "0")}, "limit": {strconv.Itoa(pageRows)}}, &page); err != nil {
				yield(rowwise.Row{}, err)
				return
			}
			for _, row := range page.Rows {
				for i, v := range row.Values {
					if n, ok := v.(json.Number); ok {
						row.Values[i] = n.String()
					}
				}
				after = strconv.FormatInt(row.Change, 10)
				if !yield(rowwise.Row{Values: row.Values, Position: after}, nil) {
					return
				}
			}
			if !page.More {
				return
			}
			if len(page.Rows) == 0 { // asked again it would say so for ever
				yield(rowwise.Row{}, connectors.Permanent(errors.New("the office says that there are more rows, and sends none")))
				return
			}
		}
	}
}
