package schemas

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Set holds all schemas, code lists and regions of a project. It is immutable: the With methods return another one. It
// serialises canonically with json.Marshal, so that equal sets give equal bytes.
type Set struct {
	schemas  map[string]*Schema
	lists    map[string]*CodeList
	regions  *Regions
	extents  []Extent      // beside those that are built in
	calendar []CalendarDay // likewise
	shares   []Share
}

// Schema returns the schema of that name.
func (s *Set) Schema(name string) (*Schema, bool) {
	schema, ok := s.schemas[name]
	return schema, ok
}

// Names returns the names of all schemas, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.schemas)) }

// CodeList returns the code list of that name.
func (s *Set) CodeList(name string) (*CodeList, bool) {
	list, ok := s.lists[name]
	return list, ok
}

// CodeLists returns the names of all code lists, sorted.
func (s *Set) CodeLists() []string { return slices.Sorted(maps.Keys(s.lists)) }

// Regions returns the regions; a set without regions has an empty tree.
func (s *Set) Regions() *Regions {
	if s.regions == nil {
		return newRegions(nil)
	}
	return s.regions
}

// WithRegions returns the set with other regions.
func (s *Set) WithRegions(r *Regions) *Set {
	return &Set{schemas: s.schemas, lists: s.lists, regions: r, extents: s.extents, calendar: s.calendar, shares: s.shares}
}

// WithCodeList returns the set with one more code list, or with another one in place of that of the same name.
func (s *Set) WithCodeList(list *CodeList) *Set {
	lists := maps.Clone(s.lists)
	if lists == nil {
		lists = map[string]*CodeList{}
	}
	lists[list.Name] = list
	return newSet(slices.Collect(maps.Values(s.schemas)), slices.Collect(maps.Values(lists)), s.regions).WithExtents(s.extents).WithCalendar(s.calendar).WithShares(s.shares)
}

// WithSchema returns the set with one more schema, or with another one in place of that of the same name. The schema is
// normalised and checked; the error names everything that is wrong with it.
func (s *Set) WithSchema(schema *Schema) (*Set, error) {
	normal := *schema
	normal.Fields = slices.Clone(schema.Fields)
	for i := range normal.Fields {
		normal.Fields[i].Rules = slices.Clone(normal.Fields[i].Rules)
	}
	normal.Rules = slices.Clone(schema.Rules)
	normal.Normalize()
	if faults := normal.check(s.lists); len(faults) > 0 {
		return nil, fmt.Errorf("schema %q: %w", schema.Name, faults)
	}
	schemas := maps.Clone(s.schemas)
	if schemas == nil {
		schemas = map[string]*Schema{}
	}
	schemas[normal.Name] = &normal
	return newSet(slices.Collect(maps.Values(schemas)), slices.Collect(maps.Values(s.lists)), s.regions).WithExtents(s.extents).WithCalendar(s.calendar).WithShares(s.shares), nil
}

func newSet(schemas []*Schema, lists []*CodeList, regions *Regions) *Set {
	set := &Set{schemas: map[string]*Schema{}, lists: map[string]*CodeList{}, regions: regions}
	for _, l := range lists {
		set.lists[l.Name] = l
	}
	for _, s := range schemas {
		own := *s
		own.lists = set.lists
		set.schemas[s.Name] = &own
	}
	return set
}

type setJSON struct {
	Schemas []*Schema   `json:"schemas"`
	Lists   []*CodeList `json:"lists"`
	Regions []Region    `json:"regions"`
}

// MarshalJSON writes the set in its canonical form.
func (s *Set) MarshalJSON() ([]byte, error) {
	out := setJSON{Schemas: []*Schema{}, Lists: []*CodeList{}, Regions: []Region{}}
	for _, name := range s.Names() {
		out.Schemas = append(out.Schemas, s.schemas[name])
	}
	for _, name := range s.CodeLists() {
		out.Lists = append(out.Lists, s.lists[name])
	}
	if s.regions != nil {
		out.Regions = append(out.Regions, s.regions.all...)
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote, in this or an earlier version. It checks the schemas as Load does.
func (s *Set) UnmarshalJSON(data []byte) error {
	var in setJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("read schema set: %w", err)
	}
	set := newSet(in.Schemas, in.Lists, newRegions(in.Regions))
	for _, name := range set.CodeLists() {
		if faults := set.lists[name].check(); len(faults) > 0 {
			return fmt.Errorf("read schema set: code list %q: %w", name, faults)
		}
	}
	for _, name := range set.Names() {
		schema := set.schemas[name]
		schema.Normalize()
		if faults := schema.check(set.lists); len(faults) > 0 {
			return fmt.Errorf("read schema set: schema %q: %w", name, faults)
		}
	}
	*s = *set
	return nil
}
