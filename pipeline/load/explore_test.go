package load

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"os"
	"strings"
	"testing"
	"time"
)

// This file is an explicit-state search: from a scenario's first world it follows every step that any process or any fault can
// take, breadth first, and looks at every world that it has not seen. What a world is stands in explore_world_test.go; the steps
// of writers and loaders, which are those of the production step functions, in explore_writer_test.go and
// explore_loader_test.go.

// explored is what a search found.
type explored struct {
	states, transitions, depth, ends int
	violation                        string
	trace                            []string // the shortest way to it, step by step
}

// digest names a world. Two hashes of 64 bits, seeded anew in each process: a collision would hide a state, and at ten million
// states two of 128 bits agree with a probability of 10^-25.
type digest [2]uint64

type seeds [2]maphash.Seed

func (s seeds) of(b []byte) digest { return digest{maphash.Bytes(s[0], b), maphash.Bytes(s[1], b)} }

// explore searches all worlds of a scenario, or as many as it takes to find one that must not be.
func explore(sc *scenario) explored {
	seed := seeds{maphash.MakeSeed(), maphash.MakeSeed()}
	var out explored
	type arc struct {
		from int32
		nth  uint16
	}
	first := newWorld(sc)
	buf := first.encode(nil)
	seen := map[digest]struct{}{seed.of(buf): {}}
	arcs := []arc{{from: -1}}
	layer, ids := []*world{first}, []int32{0}
	fail := func(id int32, what string, last ...taken) {
		var path []uint16
		for at := id; arcs[at].from >= 0; at = arcs[at].from {
			path = append(path, arcs[at].nth)
		}
		w := newWorld(sc)
		for i := len(path) - 1; i >= 0; i-- {
			next, l := w.nth(int(path[i]))
			out.trace = append(out.trace, l.String())
			w = next
		}
		for _, l := range last {
			out.trace = append(out.trace, l.String())
		}
		out.violation = what
	}
	for len(layer) > 0 {
		var next []*world
		var nextIDs []int32
		for i, w := range layer {
			n := 0
			var wrong string
			var wrongAfter taken
			w.steps(func(l taken, to *world) {
				nth := n
				n++
				if wrong != "" {
					return
				}
				out.transitions++
				buf = to.encode(buf[:0])
				d := seed.of(buf)
				if to.broken != "" {
					wrong, wrongAfter = to.broken, l
					return
				}
				if _, ok := seen[d]; ok {
					return
				}
				seen[d] = struct{}{}
				nextIDs = append(nextIDs, int32(len(arcs)))
				arcs = append(arcs, arc{from: ids[i], nth: uint16(nth)})
				next = append(next, to)
			})
			if wrong == "" && n == 0 {
				out.ends++
				if wrong = w.atRest(); wrong != "" {
					fail(ids[i], wrong)
				}
			} else if wrong != "" {
				fail(ids[i], wrong, wrongAfter)
			}
			if wrong != "" {
				out.states = len(seen)
				return out
			}
			layer[i] = nil
		}
		if len(next) > 0 {
			out.depth++
		}
		layer, ids = next, nextIDs
	}
	out.states = len(seen)
	return out
}

// taken says in words what a step was.
type taken struct {
	format string
	args   [4]any
}

func (l taken) String() string {
	n := strings.Count(l.format, "%")
	return fmt.Sprintf(l.format, l.args[:n]...)
}

func say(format string, args ...any) taken {
	l := taken{format: format}
	copy(l.args[:], args)
	return l
}

func number(b []byte, n ...int64) []byte {
	for _, v := range n {
		b = binary.AppendVarint(b, v)
	}
	return b
}

// TestExplore searches every scenario to its end. With HEADWATER_EXPLORE=deep it searches the deeper ones too; with
// HEADWATER_EXPLORE_ONLY those whose name contains the text.
func TestExplore(t *testing.T) {
	list := scenarios
	if os.Getenv("HEADWATER_EXPLORE") == "deep" {
		list = append(list[:len(list):len(list)], deeper...)
	}
	only := os.Getenv("HEADWATER_EXPLORE_ONLY")
	var states, transitions, violations, searched int
	for i := range list {
		sc := &list[i]
		if !strings.Contains(sc.name, only) || raceDetector && !sc.brief {
			continue
		}
		began := time.Now()
		got := explore(sc)
		states, transitions, searched = states+got.states, transitions+got.transitions, searched+1
		t.Logf("%-34s %9d states %10d transitions %4d deep %7d ends %s", sc.name, got.states, got.transitions, got.depth, got.ends, time.Since(began).Round(time.Millisecond))
		if got.violation != "" {
			violations++
			t.Errorf("%s: %s\n  %s", sc.name, got.violation, strings.Join(got.trace, "\n  "))
		} else if got.ends == 0 {
			t.Errorf("%s: nothing ever comes to rest", sc.name)
		}
	}
	fmt.Printf("RESULT {\"states\": %d, \"transitions\": %d, \"scenarios\": %d, \"violations\": %d}\n", states, transitions, searched, violations)
}
