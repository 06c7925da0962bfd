package warehouse

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Whatever is marked, each period of it lies in a chunk of its indicator and grain, and no chunk has more observations than may stay in
// memory, but for what stands in one period.
func TestChunksHoldAllUnits(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	form := regexp.MustCompile(`^indicator IN \((.*)\) AND grain IN \((.*?)\) AND period >= fromUnixTimestamp64Milli\((-?\d+), 'Asia/Shanghai'\) AND period <= fromUnixTimestamp64Milli\((-?\d+), 'Asia/Shanghai'\)$`)
	for range 30 {
		var units []unit
		scale := []uint64{100, 400_000, 9 * chunkRows}[random.IntN(3)]
		for grain := range 1 + random.IntN(2) {
			for year := range int64(1 + random.IntN(3)) {
				for i := range 1 + random.IntN(40) {
					first := year*1_000_000 + random.Int64N(1000)
					units = append(units, unit{Indicator: fmt.Sprint("I", i), Grain: fmt.Sprint("g", grain), Year: year, First: first, Last: first + 1000 + random.Int64N(890_000), Rows: random.Uint64N(scale)})
				}
			}
		}
		type chunk struct {
			indicators, grains []string
			first, last        int64
		}
		var found []chunk
		all := uint64(0)
		for _, u := range units {
			all += u.Rows
		}
		for _, text := range chunks(slices.Clone(units), all) {
			m := form.FindStringSubmatch(text)
			if m == nil {
				t.Fatalf("not of the form expected: %s", text)
			}
			first, _ := strconv.ParseInt(m[3], 10, 64)
			last, _ := strconv.ParseInt(m[4], 10, 64)
			found = append(found, chunk{strings.Split(m[1], ", "), strings.Split(m[2], ", "), first, last})
		}
		for _, u := range units {
			// Chunks of a unit follow each other without a gap from its first period to its last.
			next := u.First
			for grew := true; grew && next <= u.Last; {
				grew = false
				for _, c := range found {
					if slices.Contains(c.indicators, quoteText(u.Indicator)) && slices.Contains(c.grains, quoteText(u.Grain)) && c.first <= next && c.last >= next {
						next, grew = c.last+1, true
					}
				}
			}
			if next <= u.Last {
				t.Fatalf("%+v is put together up to %d only, of %d chunks", u, next, len(found))
			}
		}
		for _, c := range found {
			rows := 0.0
			for _, u := range units {
				if slices.Contains(c.indicators, quoteText(u.Indicator)) && slices.Contains(c.grains, quoteText(u.Grain)) && c.first <= u.Last && c.last >= u.First && u.Last > u.First {
					rows += float64(u.Rows) * float64(min(c.last, u.Last)-max(c.first, u.First)+1) / float64(u.Last-u.First+1)
				}
			}
			if rows > 1.01*chunkRows {
				t.Errorf("a chunk of about %.0f observations", rows)
			}
		}
	}
}
