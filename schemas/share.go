package schemas

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater-data/headwater/internal/problem"
)

// Share says how much of a divided region one of its successors took over, for figures that are read on later boundaries. Somebody
// states it, and on what ground: nothing of it follows from a list of regions.
type Share struct {
	Code      string
	On        time.Time // when the version ended that was divided: its To
	Successor string
	Indicator string  // that it is for; "" for all that have no shares of their own
	Share     float64 // from 0 to 1; those of one division add up to 1
	Basis     string  // what it rests on, such as the census of 2020
}

var shareHeader = []string{"code", "on", "successor", "indicator", "share", "basis"}

// ReadShares reads a list of shares: CSV in UTF-8 with the columns code, on, successor, indicator, share, basis, and lines of comment
// that begin with #. on is the day of the division, or its year where the code was divided once in it. Of each division that is named
// all successors must be there, with shares that add up to 1. With problems the result is nil. The name is used in problems only.
func ReadShares(r io.Reader, name string, regions *Regions) ([]Share, problem.List) {
	type key struct {
		code      string
		on        time.Time
		indicator string
	}
	var shares []Share
	lines := map[Share]int{} // by what a share is of
	first := map[key]int{}   // line on which a division begins
	problems := readReference(r, name, shareHeader, func(line int, fields []string) (bad, fix string) {
		s, fix, err := regions.share(fields)
		if err != nil {
			return err.Error(), fix
		}
		of := Share{Code: s.Code, On: s.On, Successor: s.Successor, Indicator: s.Indicator}
		if lines[of] > 0 {
			return fmt.Sprintf("the share of %s stands in line %d already", s.Successor, lines[of]), ""
		}
		lines[of] = line
		if k := (key{s.Code, s.On, s.Indicator}); first[k] == 0 {
			first[k] = line
		}
		shares = append(shares, s)
		return "", ""
	})
	if len(problems) > 0 {
		return nil, problems
	}
	report := func(line int, message, fix string) {
		problems = append(problems, problem.Problem{File: name, Line: line, Column: 1, Message: message, Fix: fix})
	}
	for _, k := range slices.SortedFunc(maps.Keys(first), func(a, b key) int { return cmp.Compare(first[a], first[b]) }) {
		sum, missing := 0.0, []string{}
		for _, to := range regions.divided(k.code, k.on) {
			of := Share{Code: k.code, On: k.on, Successor: to, Indicator: k.indicator}
			if lines[of] == 0 {
				missing = append(missing, to)
			}
		}
		for _, s := range shares {
			if (key{s.Code, s.On, s.Indicator}) == k {
				sum += s.Share
			}
		}
		switch {
		case len(missing) > 0:
			report(first[k], fmt.Sprintf("%s was divided on %s, and the share of %s is not given", k.code, dayText(k.on), strings.Join(missing, ", ")), "give each successor its share, 0 where it took over nothing that counts")
		case math.Abs(sum-1) > 1e-9:
			report(first[k], fmt.Sprintf("the shares of %s on %s add up to %s, not to 1", k.code, dayText(k.on), strconv.FormatFloat(sum, 'g', 10, 64)), "")
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return shares, nil
}

// share reads one line.
func (r *Regions) share(fields []string) (s Share, fix string, err error) {
	s = Share{Code: fields[0], Successor: fields[2], Indicator: fields[3], Basis: strings.TrimSpace(fields[5])}
	if len(r.byCode[s.Code]) == 0 {
		return s, "headwater reference import brings the regions of other provinces", fmt.Errorf("no region has had the code %q", clip(s.Code))
	}
	on, err := parseBound(fields[1])
	if err != nil || on.isZero() {
		return s, "write the day on which the region was divided, or the year", fmt.Errorf("%q is no year or day between 1900 and 2200", clip(fields[1]))
	}
	var days, divided []string
	for _, v := range r.byCode[s.Code] {
		if len(r.divided(s.Code, v.To)) == 0 {
			continue
		}
		divided = append(divided, dayText(v.To))
		// Where lists know only the year of an end, the code holds through it.
		if v.To.Equal(on.day) || on.day.IsZero() && (v.To.Year() == on.year || v.To.Equal(on.end())) {
			s.On = v.To
			days = append(days, dayText(v.To))
		}
	}
	switch {
	case len(divided) == 0:
		return s, "shares are for regions whose area went to several", fmt.Errorf("%s was never divided", s.Code)
	case len(days) == 0:
		return s, "it was divided on " + strings.Join(divided, ", "), fmt.Errorf("%s was not divided on %s", s.Code, fields[1])
	case len(days) > 1:
		return s, "write the day: " + strings.Join(days, " or "), fmt.Errorf("%s was divided more than once about %s", s.Code, fields[1])
	}
	if to := r.divided(s.Code, s.On); !slices.Contains(to, s.Successor) {
		return s, "it went to " + strings.Join(to, ", "), fmt.Errorf("%q took over nothing of %s on %s", clip(s.Successor), s.Code, dayText(s.On))
	}
	if s.Share, err = strconv.ParseFloat(fields[4], 64); err != nil || !(s.Share >= 0 && s.Share <= 1) {
		return s, "", fmt.Errorf("%q is no share from 0 to 1", clip(fields[4]))
	}
	if s.Basis == "" {
		return s, "name the census, the document or the person", errors.New("it is not said what the share rests on")
	}
	return s, "", nil
}

// divided lists the successors of the version of a code that ended on that day and whose area went to several; none if there is no such.
func (r *Regions) divided(code string, on time.Time) []string {
	if on.IsZero() {
		return nil
	}
	for _, v := range r.byCode[code] {
		if v.To.Equal(on) && len(v.Successors) > 1 {
			var out []string
			for _, s := range v.Successors {
				out = append(out, s.Code)
			}
			return out
		}
	}
	return nil
}

// Shares returns the shares of divided regions, in the order of their codes. Like Extents they are no part of the set's JSON.
func (s *Set) Shares() []Share {
	out := slices.Clone(s.shares)
	slices.SortFunc(out, func(a, b Share) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), a.On.Compare(b.On), cmp.Compare(a.Indicator, b.Indicator), cmp.Compare(a.Successor, b.Successor))
	})
	return out
}

// WithShares returns the set with these shares.
func (s *Set) WithShares(shares []Share) *Set {
	out := *s
	out.shares = shares
	return &out
}
