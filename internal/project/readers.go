package project

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// readerName leaves room for the database's name: a server's names of users are not bounded, but people's patience is.
var readerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Readers returns who reads the warehouse and sees a part of it, by name, with defaults filled in.
func (p *Project) Readers() map[string]ReaderConfig {
	out := map[string]ReaderConfig{}
	for name, c := range p.config.Readers {
		fill(&c.Sensitivity, schemas.Internal)
		fill(&c.MaxTime, time.Minute)
		fill(&c.MaxMemory, 4096)
		fill(&c.MaxRows, 10_000_000)
		out[name] = c
	}
	return out
}

// readers checks what headwater.yaml says about readers, once regions and sources are known.
func (l *loader) readers() {
	known := map[string]bool{}
	for _, v := range l.p.set.Regions().All() {
		known[v.Code] = true
	}
	for name, c := range l.p.config.Readers {
		given := func(key string) bool { return l.doc.At("readers", name, key) != l.doc.At("readers", name) }
		if !readerName.MatchString(name) {
			l.add(l.doc.At("readers", name), "not a reader's name", "use lower-case letters, digits and dashes, at most 32")
		}
		if given("region") && !known[c.Region] {
			l.add(l.doc.At("readers", name, "region"), fmt.Sprintf("no region has had the code %q", c.Region), "give the 6 digits of one; headwater reference import brings the regions of other provinces")
		}
		for i, source := range c.Sources {
			if !slices.ContainsFunc(l.p.sources, func(s *Source) bool { return s.Name == source }) {
				l.add(l.doc.At("readers", name, "sources", i), fmt.Sprintf("no source %q in this project", source), "")
			}
		}
		if c.Region == "" && len(c.Sources) > 0 {
			l.add(l.doc.At("readers", name, "sources"), "a reader of all regions sees the account of all sources", "remove sources, or give a region")
		}
		// A zero that stands in the file must not silently become the default.
		for _, limit := range []struct {
			key        string
			value, max int64
			unit       string
		}{
			{"max_time", int64(c.MaxTime / time.Second), 86400, "s"}, {"max_memory_mib", int64(c.MaxMemory), 1 << 20, ""}, {"max_rows", int64(c.MaxRows), 1_000_000_000, ""},
			{"queries_per_hour", int64(c.Queries), 1_000_000, ""}, {"query_time_per_hour", int64(c.QueryTime / time.Second), 86400, "s"},
		} {
			if given(limit.key) && (limit.value < 1 || limit.value > limit.max) {
				l.add(l.doc.At("readers", name, limit.key), fmt.Sprintf("must be from 1%s to %d%s", limit.unit, limit.max, limit.unit), "")
			}
		}
	}
}
