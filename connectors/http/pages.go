package http

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/headwater-data/headwater/connectors"
)

// pages yields the records of one answer after another, until there are no more.
func (s *stream) pages(ctx context.Context) iter.Seq2[[]record, error] {
	return func(yield func([]record, error) bool) {
		fail := func(err error) { yield(nil, err) }
		p := s.o.Pages
		if p == nil {
			p = &Pages{}
		}
		u := s.begin()
		set := func(name, value string) {
			query := u.Query()
			query.Set(name, value)
			u.RawQuery = query.Encode()
		}
		number := p.firstNumber()
		var read, total int64 = 0, -1
		next := ""
		for {
			switch p.By {
			case byNumber:
				set(p.Param, strconv.Itoa(number))
			case byOffset:
				set(p.Param, strconv.FormatInt(read, 10))
			case byToken:
				if next != "" {
					set(p.Param, next)
				}
			}
			answer, header, err := s.client.get(ctx, u)
			if err != nil {
				fail(err)
				return
			}
			list, err := s.o.records(answer)
			if err != nil {
				fail(err)
				return
			}
			if s.o.Total != "" {
				if total, err = s.o.total(answer); err != nil {
					fail(err)
					return
				}
			}
			if len(list) > 0 && !yield(list, nil) {
				return
			}
			read += int64(len(list))
			number++

			more := false
			switch p.By {
			case byNumber, byOffset:
				// A server may send fewer records than a page was to have: only an empty page, or the total, is the end.
				more = len(list) > 0 && (total < 0 || read < total)
			case byToken, byLink:
				before := cmp.Or(next, u.String())
				if next, err = p.next(answer, header); err != nil {
					fail(err)
					return
				}
				if next != "" && next == before {
					fail(connectors.Permanent(errors.New("the next page is the same one: it would never end")))
					return
				}
				if more = next != ""; more && p.By == byLink {
					if u, err = s.follow(u, next); err != nil {
						fail(err)
						return
					}
				}
			}
			if more {
				continue
			}
			if total >= 0 && read != total {
				fail(connectors.Transient(fmt.Errorf("%d records came, but there are %d: they changed while they were read, or pages are not asked for as the server wants it", read, total)))
			}
			return
		}
	}
}

// firstNumber is the number of the first page.
func (p *Pages) firstNumber() int {
	if p.First != nil {
		return *p.First
	}
	return 1
}

// next returns the next page's token or address; "" is the end.
func (p *Pages) next(answer any, header http.Header) (string, error) {
	if p.Next == "" {
		return linked(header), nil
	}
	v, _ := at(answer, p.Next)
	text, err := textOf(v)
	if err != nil || text == nil {
		return "", err
	}
	switch v.(type) {
	case map[string]any, []any, bool:
		return "", connectors.Permanent(fmt.Errorf("at next (%s) the answer has %s, which leads nowhere", p.Next, kindOf(v)))
	}
	return *text, nil
}

// linked returns the address with rel=next of a header Link.
func linked(header http.Header) string {
	for _, line := range header.Values("Link") {
		for rest := line; ; {
			_, after, ok := strings.Cut(rest, "<")
			address, params, closed := strings.Cut(after, ">")
			if !ok || !closed {
				break
			}
			// Commas may stand in an address, but not between it and the next one's <.
			own, _, _ := strings.Cut(params, "<")
			for param := range strings.SplitSeq(own, ";") {
				name, value, _ := strings.Cut(strings.TrimRight(strings.TrimSpace(param), ", "), "=")
				if strings.EqualFold(strings.TrimSpace(name), "rel") && containsWord(strings.Trim(strings.TrimSpace(value), `"`), "next") {
					return address
				}
			}
			rest = params
		}
	}
	return ""
}

func containsWord(text, word string) bool {
	for one := range strings.FieldsSeq(text) {
		if strings.EqualFold(one, word) {
			return true
		}
	}
	return false
}

// follow returns the next page's address, which must be of the same server.
func (s *stream) follow(from *url.URL, to string) (*url.URL, error) {
	u, err := from.Parse(to)
	if err != nil {
		return nil, connectors.Permanent(errors.New("the next page's address is not understood"))
	}
	if !s.client.own(u) {
		return nil, connectors.Permanent(fmt.Errorf("the next page is on %s, which is another server: nothing is asked of it", u.Host))
	}
	return u, nil
}
