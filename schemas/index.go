package schemas

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/headwater-data/headwater/internal/yamlfile"
)

// Index defines a composite index: a weighted mean of scores from 0 to 100, each made of one indicator or of another index. It is
// made anew at each level from the figures there; indexes of lower regions are never averaged.
type Index struct {
	Code          string         `yaml:"index" json:"index" required:"true" desc:"Code of the index."`
	Title         Title          `yaml:"title" json:"title" required:"true" desc:"Name for people."`
	Unit          string         `yaml:"unit,omitempty" json:"unit,omitempty" desc:"Unit of its scores (default 分)."`
	Direction     string         `yaml:"direction,omitempty" json:"direction,omitempty" enum:"up,down" desc:"up (default: more is better) or down."`
	Grain         string         `yaml:"grain,omitempty" json:"grain,omitempty" enum:"hour,day,week,xun,month,quarter,half,year" desc:"Period that a score is about, and its components' figures too: hour, day, week, xun, month, quarter, half or year (default month)."`
	Owner         string         `yaml:"owner,omitempty" json:"owner,omitempty" desc:"Department that answers for the definition."`
	Demonstration bool           `yaml:"demonstration,omitempty" json:"demonstration,omitempty" desc:"Components and weights are nobody's official ones."`
	Description   string         `yaml:"description,omitempty" json:"description,omitempty" desc:"What the index tells."`
	Versions      []IndexVersion `yaml:"versions" json:"versions" required:"true" desc:"Versions of the definition by time. A period is scored by the version in force on its first day."`
}

// IndexVersion is one version of an index's definition.
type IndexVersion struct {
	Span        `yaml:",inline"`
	Note        string      `yaml:"note,omitempty" json:"note,omitempty" desc:"What the version changed, or the document that sets it."`
	Missing     string      `yaml:"missing,omitempty" json:"missing,omitempty" enum:"reweight,none,zero" desc:"When a component has no figure: reweight (default: the others share the whole weight), none (no score) or zero (it scores 0)."`
	MinCoverage float64     `yaml:"min_coverage,omitempty" json:"min_coverage,omitempty" desc:"Share of the weight that must be there for a score under reweight, from 0 to 1 (default 0: any)."`
	Bands       *Bands      `yaml:"bands,omitempty" json:"bands,omitempty" desc:"Thresholds of the five colours, in points."`
	Components  []Component `yaml:"components" json:"components" required:"true" desc:"What the index is made of; the weights add up to 1."`
}

// Component is one part of an index.
type Component struct {
	Of     string      `yaml:"of" json:"of" required:"true" desc:"Code of an indicator, or of another index."`
	Weight float64     `yaml:"weight" json:"weight" required:"true" desc:"Its share, above 0 and at most 1."`
	Score  string      `yaml:"score,omitempty" json:"score,omitempty" enum:"as_is,min_max,target,piecewise" desc:"How the figure becomes a score: as_is (default: it is one), min_max (0 at zero, 100 at full), target (0 at zero, 100 at the year's target) or piecewise (straight lines between points)."`
	Unit   string      `yaml:"unit,omitempty" json:"unit,omitempty" desc:"Unit of zero, full and points: the indicator's. Required beside them, because 0.9 and 90 % look alike."`
	Zero   *float64    `yaml:"zero,omitempty" json:"zero,omitempty" desc:"Figure that scores 0. Of target, 0 by default."`
	Full   *float64    `yaml:"full,omitempty" json:"full,omitempty" desc:"Figure that scores 100."`
	Points [][]float64 `yaml:"points,omitempty" json:"points,omitempty" desc:"Of piecewise: [[figure, score], …] by rising figure; level outside them."`
}

// weightTolerance is how far the weights of an index may be from 1: thirds cannot be written exactly.
const weightTolerance = 1e-6

// indexes reads the indexes and returns those that are right, each after those that it is made of.
func (l *measureLoader) indexes(files []File) []Index {
	type read struct {
		index    Index
		document *yamlfile.Document
		faulty   bool
	}
	all := map[string]*read{} // by code
	for _, f := range files {
		var one Index
		document, list := yamlfile.Decode(f.Name, f.Data, &one)
		if len(list) > 0 {
			l.problems = append(l.problems, list...)
			continue
		}
		var out faults
		l.named(&out, "index", one.Code, f.Name, one.Title)
		one.Unit = cmp.Or(one.Unit, "分")
		one.Direction = cmp.Or(one.Direction, "up")
		one.Grain = cmp.Or(one.Grain, "month")
		var spans []*Span
		for i := range one.Versions {
			spans = append(spans, &one.Versions[i].Span)
		}
		checkSpans(&out, spans)
		if l.report(document, out) {
			continue
		}
		l.where[one.Code] = f.Name
		all[one.Code] = &read{index: one, document: document}
	}
	for _, code := range slices.Sorted(maps.Keys(all)) {
		r := all[code]
		var out faults
		for i := range r.index.Versions {
			v := &r.index.Versions[i]
			v.check(&out, []any{"versions", i}, r.index)
			for j := range v.Components {
				c := &v.Components[j]
				c.Score = cmp.Or(c.Score, "as_is")
				part := measure{direction: "up"}
				if indicator, ok := l.indicators[c.Of]; ok {
					part = measure{indicator.Direction, indicator.Grain, indicator.Unit, "indicator"}
				} else if other, ok := all[c.Of]; ok {
					part = measure{other.index.Direction, other.index.Grain, other.index.Unit, "index"}
				} else if _, there := l.where[c.Of]; there {
					continue // it is defined and faulty, which is told where it stands
				}
				c.check(&out, []any{"versions", i, "components", j}, r.index, part, slices.Concat(slices.Sorted(maps.Keys(l.indicators)), slices.Sorted(maps.Keys(all))))
			}
		}
		r.faulty = l.report(r.document, out)
	}
	// Each index after its parts; whoever comes back to itself is made of itself.
	var sorted []Index
	const (
		inside = 1
		done   = 2
	)
	state := map[string]int{}
	var visit func(code string, way []string) bool
	visit = func(code string, way []string) bool {
		r := all[code]
		if r == nil {
			return true
		}
		if state[code] == done {
			return !r.faulty
		}
		if state[code] == inside {
			circle := append(slices.Clone(way[slices.Index(way, code):]), code)
			l.report(r.document, faults{{[]any{"index"}, "the index is made of itself: " + strings.Join(circle, " ← "), "take one of them out"}})
			r.faulty = true
			return false
		}
		state[code] = inside
		sound := !r.faulty
		for _, v := range r.index.Versions {
			for _, c := range v.Components {
				sound = visit(c.Of, append(way, code)) && sound
			}
		}
		state[code] = done
		r.faulty = r.faulty || !sound
		if !r.faulty {
			sorted = append(sorted, r.index)
		}
		return !r.faulty
	}
	for _, code := range slices.Sorted(maps.Keys(all)) {
		visit(code, nil)
	}
	return sorted
}

// measure is what a component must know of what it is made of; kind is "" when there is no such thing.
type measure struct{ direction, grain, unit, kind string }

func (v *IndexVersion) check(out *faults, path []any, index Index) {
	v.Missing = cmp.Or(v.Missing, "reweight")
	if v.MinCoverage < 0 || v.MinCoverage > 1 {
		out.add(at(path, "min_coverage"), fmt.Sprintf("%g is no share", v.MinCoverage), "write it from 0 to 1")
	} else if v.MinCoverage > 0 && v.Missing != "reweight" {
		out.add(at(path, "min_coverage"), "min_coverage belongs to missing: reweight", "remove one of them")
	}
	v.Bands.check(out, at(path, "bands"), index.Direction)
	sum, weighed := 0.0, true
	seen := map[string]bool{}
	for i, c := range v.Components {
		if seen[c.Of] {
			out.add(at(path, "components", i, "of"), fmt.Sprintf("%s is a component twice", c.Of), "put the weights together")
		}
		seen[c.Of] = true
		if !(c.Weight > 0 && c.Weight <= 1) {
			out.add(at(path, "components", i, "weight"), fmt.Sprintf("a weight of %g", c.Weight), "weights are above 0 and at most 1")
			weighed = false
		}
		sum += c.Weight
	}
	if weighed && math.Abs(sum-1) > weightTolerance {
		out.add(at(path, "components"), fmt.Sprintf("the weights of version %s add up to %.6g, not to 1", v.Version, sum), "")
	}
}

func (c *Component) check(out *faults, path []any, index Index, part measure, codes []string) {
	if part.kind == "" {
		fix := "define it in the folder indicators or indexes"
		if s := yamlfile.Suggest(c.Of, codes); s != "" {
			fix = fmt.Sprintf("did you mean %q?", s)
		}
		out.add(at(path, "of"), fmt.Sprintf("no indicator or index %q in this project", clip(c.Of)), fix)
		return
	}
	if part.grain != index.Grain {
		out.add(at(path, "of"), fmt.Sprintf("%s is about a %s and the index about a %s", c.Of, part.grain, index.Grain), "an index is made of figures of the same period")
	}
	given := map[string]bool{"zero": c.Zero != nil, "full": c.Full != nil, "points": len(c.Points) > 0}
	needs := map[string][]string{"as_is": {}, "min_max": {"zero", "full"}, "target": {"zero"}, "piecewise": {"points"}}[c.Score]
	for _, key := range []string{"zero", "full", "points"} {
		if given[key] && !slices.Contains(needs, key) {
			out.add(at(path, key), fmt.Sprintf("score: %s takes no %s", c.Score, key), "remove it, or choose another score")
		}
		if !given[key] && slices.Contains(needs, key) && (c.Score != "target" || part.direction == "down") {
			out.add(path, fmt.Sprintf("score: %s needs %s", c.Score, key), "")
		}
	}
	bounded := given["zero"] || given["full"] || given["points"]
	switch {
	case c.Score == "as_is" && part.unit != index.Unit:
		out.add(at(path, "of"), fmt.Sprintf("%s is in %q and the index in %q: it is no score as it is", c.Of, part.unit, index.Unit), "choose score: min_max, target or piecewise")
	case c.Score == "as_is" && part.direction != index.Direction:
		out.add(at(path, "of"), fmt.Sprintf("%s is better the other way round than the index", c.Of), "choose score: min_max or piecewise")
	case c.Score == "target" && part.kind == "index":
		out.add(at(path, "score"), "an index has no target", "choose another score")
	case bounded && c.Unit == "":
		out.add(path, "the unit of zero, full and points is missing", fmt.Sprintf("add unit: %q if that is what they are in", part.unit))
	case (bounded || c.Unit != "") && c.Unit != part.unit:
		out.add(at(path, "unit"), fmt.Sprintf("the unit is %q and that of %s is %q", c.Unit, c.Of, part.unit), "bounds are in the component's own unit")
	}
	if c.Score == "min_max" && c.Zero != nil && c.Full != nil {
		better := map[string]string{"up": "more", "down": "less"}
		if *c.Zero == *c.Full {
			out.add(at(path, "full"), fmt.Sprintf("zero and full are both %g", *c.Full), "")
		} else if (*c.Full > *c.Zero) != (part.direction == index.Direction) {
			out.add(at(path, "full"), fmt.Sprintf("0 at %g and 100 at %g turn %s round: of it %s is better, of the index %s", *c.Zero, *c.Full, c.Of, better[part.direction], better[index.Direction]),
				"exchange zero and full")
		}
	}
	last := math.Inf(-1)
	for i, p := range c.Points {
		if len(p) != 2 {
			out.add(at(path, "points", i), "a point is a figure and a score", "write [figure, score]")
			return
		}
		if !(p[0] > last) {
			out.add(at(path, "points", i), fmt.Sprintf("the figure %g does not rise", p[0]), "order the points by rising figure")
		}
		if p[1] < 0 || p[1] > 100 {
			out.add(at(path, "points", i), fmt.Sprintf("a score of %g", p[1]), "scores are from 0 to 100")
		}
		last = p[0]
	}
	if len(c.Points) == 1 {
		out.add(at(path, "points"), "one point makes no line", "give two or more")
	}
}
