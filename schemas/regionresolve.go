package schemas

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// RegionQuery is what a row says about its region.
type RegionQuery struct {
	Code   string // in any usual writing: 330102, 330102000000, 330102.0, full-width; "" when the row has none
	Name   string // 上城区, 上城, 杭州市上城区, 浙江省杭州市上城区, 杭州市本级; "" when the row has none
	Within string // code of the region in which names are sought; "" is everywhere
	// On is the day that the row is about; the calendar day in its own location counts. Zero asks for what holds in the
	// newest reference.
	On time.Time
}

// Resolution is the region that a row means.
type Resolution struct {
	Code string
	// Exact reports that the row named the region by a code or name that held on the day.
	Exact bool
	// Note says, for a warning, how the row's words were read where that is not plain; "" otherwise.
	Note string
}

// The rules that a RegionError names.
const (
	RuleRegionUnknown   = "region.unknown"
	RuleRegionAmbiguous = "region.ambiguous"
	RuleRegionDamaged   = "region.damaged" // digits were lost before the row came here
)

// RegionError says why a row's region cannot be told.
type RegionError struct {
	Rule       string // region.unknown, region.ambiguous or region.damaged
	Message    string
	Candidates []string // codes among which the row does not decide; of region.ambiguous only
}

func (e *RegionError) Error() string { return e.Rule + ": " + e.Message }

func unknown(format string, args ...any) *RegionError {
	return &RegionError{Rule: RuleRegionUnknown, Message: fmt.Sprintf(format, args...)}
}

// maxNameRunes bounds names: the longest official one, with its province and city before it, has fewer than 40 characters.
const maxNameRunes = 64

// Resolve tells which region a row means on its day. A code decides alone; the name helps when the code is no region's or
// does not decide. A code or name that had ended by that day stands for its only successor, with a note; of several
// successors the row must name one. The error is a *RegionError.
func (r *Regions) Resolve(q RegionQuery) (Resolution, error) {
	code, name := fold(q.Code), foldName(q.Name)
	if q.Within != "" {
		if _, ok := r.byCode[q.Within]; !ok {
			return Resolution{}, unknown("%q, in which names are to be sought, is no region", clip(q.Within))
		}
	}
	if code == "" {
		if name == "" {
			return Resolution{}, unknown("the row names no region")
		}
		return result(r.byNameOn(name, q.Within, q.On))
	}
	found, fault := r.byCodeOn(code, q.On)
	if fault == nil || name == "" {
		return result(found, fault)
	}
	named, nameFault := r.byNameOn(name, q.Within, q.On)
	switch {
	case fault.Rule == RuleRegionAmbiguous:
		if nameFault == nil && slices.Contains(fault.Candidates, named.Code) {
			named.Exact, named.Note = false, fmt.Sprintf("%s decides between the successors of %s", name, code)
			return named, nil
		}
	case nameFault == nil:
		named.Exact = false
		named.Note = joinNotes(fmt.Sprintf("code %q is no region's; found by name", clip(code)), named.Note)
		return named, nil
	case fault.Rule == RuleRegionUnknown:
		return Resolution{}, nameFault
	}
	return Resolution{}, fault
}

// result keeps a nil *RegionError from becoming an error that is not nil.
func result(found Resolution, fault *RegionError) (Resolution, error) {
	if fault != nil {
		return Resolution{}, fault
	}
	return found, nil
}

func joinNotes(notes ...string) string {
	notes = slices.DeleteFunc(notes, func(n string) bool { return n == "" })
	return strings.Join(notes, "; ")
}

var (
	codeNumber     = regexp.MustCompile(`^([0-9]+)(?:\.(0*))?$`)
	scientificCode = regexp.MustCompile(`^[0-9](\.[0-9]+)?[eE]\+?[0-9]+$`)
	fractionCode   = regexp.MustCompile(`^[0-9]+\.[0-9]*$`)
)

// looksLikeCode reports whether a text in a name column is a code.
func looksLikeCode(text string) bool { return text != "" && text[0] >= '0' && text[0] <= '9' }

// byCodeOn resolves a code.
func (r *Regions) byCodeOn(text string, on time.Time) (Resolution, *RegionError) {
	code, note, fault := r.sixDigits(text)
	if fault != nil {
		return Resolution{}, fault
	}
	versions := r.byCode[code]
	if len(versions) == 0 {
		if strings.HasSuffix(code, "01") && r.byCode[code[:4]+"00"] != nil && !strings.HasSuffix(code[:4], "00") {
			return Resolution{}, unknown("%s stands for the districts of %s together (市辖区), which is no region", code, code[:4]+"00")
		}
		return Resolution{}, unknown("no region has ever had the code %s in the reference", code)
	}
	found, fault := r.codeOn(code, on)
	if fault != nil {
		return Resolution{}, fault
	}
	if note != "" {
		found.Exact = false
	}
	found.Note = joinNotes(note, found.Note)
	return found, nil
}

// sixDigits brings the ways of writing a code to its 6 digits.
func (r *Regions) sixDigits(text string) (code, note string, fault *RegionError) {
	if scientificCode.MatchString(text) {
		return "", "", &RegionError{Rule: RuleRegionDamaged, Message: fmt.Sprintf("%q is how a spreadsheet shows a number whose digits are lost", clip(text))}
	}
	m := codeNumber.FindStringSubmatch(text)
	if m == nil {
		if fractionCode.MatchString(text) {
			return "", "", &RegionError{Rule: RuleRegionDamaged, Message: fmt.Sprintf("%q is a number with a fraction, not a code", clip(text))}
		}
		return "", "", unknown("%q is no code", clip(text))
	}
	digits := m[1]
	switch len(digits) {
	case 2, 4: // lists that cut the zeros off
		return digits + strings.Repeat("0", 6-len(digits)), "", nil
	case 6:
		return digits, "", nil
	case 9, 12: // towns and villages, or a county with its zeros (statistical codes)
		code = digits[:6]
		if strings.Trim(digits[6:], "0") != "" {
			note = fmt.Sprintf("%s is a place in %s", digits, code)
		}
		return code, note, nil
	}
	return "", "", unknown("a code has 6 or 12 digits, and %q has %d", clip(digits), len(digits))
}

// codeOn resolves a code that the reference knows.
func (r *Regions) codeOn(code string, on time.Time) (Resolution, *RegionError) {
	versions := r.byCode[code]
	ended := -1
	for i, v := range versions {
		if v.Holds(on) {
			return Resolution{Code: code, Exact: true}, nil
		}
		if !v.To.IsZero() && (on.IsZero() || !calendarDay(on).Before(v.To)) {
			ended = i
		}
	}
	if ended >= 0 {
		return r.follow(versions[ended], on)
	}
	// The code is younger than the row. What it was called until then is plain only where it was one region, recoded.
	first := versions[0]
	if before := r.before[code]; len(before) == 1 {
		if old, ok := r.At(before[0], on); ok {
			return Resolution{Code: old.Code, Note: fmt.Sprintf("%s was %s until %s", first.label(), old.label(), first.From.Format(time.DateOnly))}, nil
		}
	}
	return Resolution{Code: code, Note: fmt.Sprintf("%s exists only since %s", first.label(), first.From.Format(time.DateOnly))}, nil
}

// follow goes from a version that had ended to what it became.
func (r *Regions) follow(v Region, on time.Time) (Resolution, *RegionError) {
	start := v
	note := ""
	for range 16 { // bounds a list whose successors go in a circle
		var to []Successor
		for _, s := range v.Successors {
			if s.Code != v.Code {
				to = append(to, s)
			}
		}
		when := ended(v)
		if len(to) == 0 {
			return Resolution{}, unknown("%s ended %s and the reference names no successor", v.label(), when)
		}
		if len(to) > 1 {
			fault := &RegionError{Rule: RuleRegionAmbiguous}
			var names []string
			for _, s := range to {
				fault.Candidates = append(fault.Candidates, s.Code)
				names = append(names, r.labelOf(s.Code))
			}
			fault.Message = fmt.Sprintf("%s was divided %s between %s", v.label(), when, strings.Join(names, " and "))
			return Resolution{}, fault
		}
		next, ok := r.successorVersion(to[0].Code, v.To, on)
		if !ok {
			return Resolution{}, unknown("%s became %s %s, which the reference does not know", v.label(), to[0].Code, when)
		}
		verb := "became"
		if !next.From.Equal(v.To) && !next.From.IsZero() && next.From.Before(v.To.AddDate(-1, 0, 0)) || next.From.IsZero() || next.Extent > 1 {
			verb = "was merged into"
		}
		if note == "" {
			note = fmt.Sprintf("%s %s %s %s", v.label(), verb, next.label(), when)
		} else {
			note += fmt.Sprintf(", then %s %s %s", verb, next.label(), when)
		}
		if current, ok := r.heldOn(next.Code, on); ok {
			return Resolution{Code: current.Code, Note: note}, nil
		}
		if next.Code == v.Code && next.From.Equal(v.From) || next.To.IsZero() {
			return Resolution{Code: next.Code, Note: note}, nil // begins only after the day: nearer than nothing
		}
		v = r.lastBefore(next.Code, on)
	}
	return Resolution{}, unknown("the successors of %s go in a circle", start.label())
}

// heldOn is At, but asks of the zero time for a version that still holds.
func (r *Regions) heldOn(code string, on time.Time) (Region, bool) {
	v, ok := r.At(code, on)
	return v, ok && v.Holds(on)
}

// successorVersion is the version of a successor that took over when another ended on that day.
func (r *Regions) successorVersion(code string, ended, on time.Time) (Region, bool) {
	versions := r.byCode[code]
	if len(versions) == 0 {
		return Region{}, false
	}
	for _, v := range versions {
		if v.To.IsZero() || v.To.After(ended) {
			return v, true
		}
	}
	return versions[len(versions)-1], true
}

// lastBefore is the newest version of the code that had ended by the day.
func (r *Regions) lastBefore(code string, on time.Time) Region {
	versions := r.byCode[code]
	for i := len(versions) - 1; i > 0; i-- {
		if v := versions[i]; !v.To.IsZero() && (on.IsZero() || !calendarDay(on).Before(v.To)) {
			return v
		}
	}
	return versions[0]
}

func (r *Regions) labelOf(code string) string {
	if v, ok := r.At(code, time.Time{}); ok {
		return v.label()
	}
	return code
}

// ended says when a version ended: a version that ends with a year is one of which only the year is known.
func ended(v Region) string {
	if v.To.Month() == time.January && v.To.Day() == 1 {
		return fmt.Sprintf("in %d", v.To.Year()-1)
	}
	return "on " + v.To.Format(time.DateOnly)
}

// byNameOn resolves a folded name.
func (r *Regions) byNameOn(name, within string, on time.Time) (Resolution, *RegionError) {
	if !utf8.ValidString(name) || runes(name) > maxNameRunes {
		return Resolution{}, unknown("%q is no name of a region", clip(strings.ToValidUTF8(name, "?")))
	}
	if looksLikeCode(name) {
		return r.byCodeOn(name, on)
	}
	if whole, ok := strings.CutSuffix(name, "本级"); ok {
		return r.ownLevel(name, whole, within, on)
	}
	return r.search(name, within, on)
}

// ownLevel resolves 杭州市本级 and 市本级: what a city does itself, beside its counties. It is no region of its own.
func (r *Regions) ownLevel(name, whole, within string, on time.Time) (Resolution, *RegionError) {
	note := fmt.Sprintf("%s is what the region's own level does; it counts for the region", name)
	switch whole {
	case "", "省", "市", "县", "区":
		if within == "" {
			return Resolution{}, unknown("%s of which region?", name)
		}
		found, fault := r.codeOn(within, on)
		found.Exact, found.Note = false, joinNotes(note, found.Note)
		return found, fault
	}
	found, fault := r.search(whole, within, on)
	if fault != nil && fault.Rule == RuleRegionUnknown {
		// 杭州市市本级 repeats the kind.
		letters := []rune(whole)
		found, fault = r.search(string(letters[:len(letters)-1]), within, on)
	}
	if fault != nil {
		if fault.Rule == RuleRegionUnknown {
			return Resolution{}, unknown("%q is no region in the reference", clip(name))
		}
		return Resolution{}, fault
	}
	found.Exact, found.Note = false, joinNotes(note, found.Note)
	return found, nil
}

// fillers stand in long forms where no region is: 北京市市辖区东城区, 湖北省省直辖县级行政区划仙桃市.
var fillers = []string{"市辖区", "省直辖县级行政区划", "自治区直辖县级行政区划", "省直辖行政单位"}

// search finds a name: as a whole, as a short name, or as a path from a larger region to a smaller one.
func (r *Regions) search(name, within string, on time.Time) (Resolution, *RegionError) {
	return r.searchBelow(name, within, on, 0)
}

// pathLevels are the levels that can begin a path. A path goes down at every step, which also bounds the search.
var pathLevels = []string{LevelNation, LevelProvince, LevelCity}

func (r *Regions) searchBelow(name, within string, on time.Time, depth int) (Resolution, *RegionError) {
	indexes := []map[string][]string{r.byName, r.byShort}
	var fault *RegionError
	for _, index := range indexes {
		found, why := r.choose(name, index, within, on)
		if why == nil || why.Rule == RuleRegionAmbiguous {
			return found, why
		}
		if fault == nil {
			fault = why // of a full name that ended without successor this says more than what the short names give
		}
	}
	// Longest beginning first: 吉林市 before 吉林.
	letters := []rune(name)
	for cut := len(letters) - 1; cut >= 2; cut-- {
		head, tail := string(letters[:cut]), withoutFiller(string(letters[cut:]))
		for i, index := range indexes {
			for _, code := range index[head] {
				if i > 0 && slices.Contains(r.byName[head], code) {
					continue // tried already
				}
				step := slices.Index(pathLevels, r.byCode[code][0].Level)
				if step < depth {
					continue
				}
				inner := code
				if within != "" {
					switch {
					case r.inside(r.byCode[code][0], within):
					case r.inside(r.byCode[within][0], code): // the path begins above what is known already
						inner = within
					default:
						continue
					}
				}
				found, why := r.searchBelow(tail, inner, on, step+1)
				if why == nil {
					return found, nil
				}
				if why.Rule == RuleRegionAmbiguous {
					fault = why
				}
			}
		}
	}
	return Resolution{}, fault
}

func withoutFiller(tail string) string {
	for _, filler := range fillers {
		if rest, ok := strings.CutPrefix(tail, filler); ok && rest != "" {
			return rest
		}
	}
	return tail
}

// choose picks among the codes that ever bore a name. Better than others are those that bore it on the day, then those that
// bore another name on the day, then those that had ended, then those that were yet to come.
func (r *Regions) choose(name string, index map[string][]string, within string, on time.Time) (Resolution, *RegionError) {
	const ranks = 4
	var ranked [ranks][]string
	for _, code := range index[name] {
		versions := r.byCode[code]
		if within != "" && !r.inside(versions[len(versions)-1], within) {
			continue
		}
		rank := ranks - 1
		for _, v := range versions {
			bore := v.bears(name)
			switch {
			case v.Holds(on) && bore:
				rank = 0
			case v.Holds(on):
				rank = min(rank, 1)
			case bore && !v.To.IsZero() && (on.IsZero() || !calendarDay(on).Before(v.To)):
				rank = min(rank, 2)
			}
		}
		ranked[rank] = append(ranked[rank], code)
	}
	for rank, codes := range ranked {
		codes = r.narrow(codes, within, on)
		switch len(codes) {
		case 0:
			continue
		case 1:
			found, fault := r.codeOn(codes[0], on)
			if rank == 1 && fault == nil {
				current, _ := r.heldOn(codes[0], on)
				found.Exact, found.Note = false, fmt.Sprintf("%s was called %s on that day", current.label(), current.Name)
				if last := r.lastCalled(codes[0], name); !last.To.IsZero() && (on.IsZero() || !calendarDay(on).Before(last.To)) {
					found.Note = fmt.Sprintf("%s has another name since %s: %s", name, last.To.Format(time.DateOnly), current.label())
				}
			}
			return found, fault
		}
		// Codes that ended may all have become the same one.
		var same *Resolution
		agree := true
		for _, code := range codes {
			found, fault := r.codeOn(code, on)
			if fault != nil || same != nil && same.Code != found.Code {
				agree = false
				break
			}
			same = &found
		}
		if agree {
			return *same, nil
		}
		return Resolution{}, r.ambiguous(name, within, codes)
	}
	if within != "" {
		return Resolution{}, unknown("%q is no region in %s", clip(name), r.labelOf(within))
	}
	return Resolution{}, unknown("%q is no region in the reference", clip(name))
}

func (r *Regions) ambiguous(name, within string, codes []string) *RegionError {
	const shown = 5
	var labels []string
	for i, code := range codes {
		if i == shown {
			labels = append(labels, fmt.Sprintf("%d more", len(codes)-shown))
			break
		}
		label := r.labelOf(code)
		if parent, ok := r.Parent(code, time.Time{}); ok && parent.Code != NationCode {
			label = fmt.Sprintf("%s (%s)", label, parent.Name)
		}
		labels = append(labels, label)
	}
	where := ""
	if within != "" {
		where = " in " + r.labelOf(within)
	}
	return &RegionError{Rule: RuleRegionAmbiguous, Candidates: slices.Clone(codes),
		Message: fmt.Sprintf("%q%s may be %s", clip(name), where, strings.Join(labels, " or "))}
}

// narrow leaves out codes that others of the same name stand for: in the year of a change the old and the new code both hold.
// Among several, what lies inside `within` is meant rather than itself, and everywhere a province rather than what bears
// its name.
func (r *Regions) narrow(codes []string, within string, on time.Time) []string {
	if len(codes) < 2 {
		return codes
	}
	out := slices.DeleteFunc(slices.Clone(codes), func(code string) bool {
		versions := r.byCode[code]
		s := versions[len(versions)-1].Successors
		return len(s) == 1 && s[0].Code != code && slices.Contains(codes, s[0].Code)
	})
	if len(out) > 1 && within != "" {
		if strict := slices.DeleteFunc(slices.Clone(out), func(code string) bool { return code == within }); len(strict) > 0 {
			out = strict
		}
	}
	if len(out) > 1 {
		provinces := slices.DeleteFunc(slices.Clone(out), func(code string) bool { return r.byCode[code][0].Level != LevelProvince })
		if len(provinces) == 1 {
			return provinces
		}
	}
	return out
}

// lastCalled is the newest version of the code that bore the name.
func (r *Regions) lastCalled(code, name string) Region {
	versions := r.byCode[code]
	for i := len(versions) - 1; i >= 0; i-- {
		if v := versions[i]; v.bears(name) {
			return v
		}
	}
	return versions[0]
}
