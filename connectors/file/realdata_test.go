//go:build realdata

package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// realData is the folder with the real files: HEADWATER_REALDATA, by default shared/data beside the checkout.
func realData(t *testing.T) string {
	dir := os.Getenv("HEADWATER_REALDATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	full, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.Stat(full)
	}
	if err != nil {
		t.Fatalf("%v: set HEADWATER_REALDATA to the folder with the real data", err)
	}
	return full
}

// TestRealData reads each of the real files whole and counts.
func TestRealData(t *testing.T) {
	cases := []struct {
		file    string
		shards  int
		rows    int
		columns int
		first   string // what the first row begins with
	}{
		{"regions-1981-2024.csv", 1, 6823, 9, "2: 110000|北京市|∅|北京市|省级|在用|1981|∅|∅"},
		{"epidemic-china-daily.csv.gz", 1, 170477, 11, "2: 2019-12-01|中国|CN|∅|∅|∅|∅|1|0|0|0"},
		{"beijing-air-stations-2013-2017.zip", 12, 420768, 18, "2: 1|2013|3|1|0|4|4|4|7|300|77|-0.7|1023|-18.8|0|NNW|4.4|Aotizhongxin"},
		{"air-stations-2018-02-20T07.geojson.gz", 1, 1495, 31, "1: 116.366|39.8673|Point|54|北京市"},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			p := newProject(t)
			src := p.open(Options{Path: Strings{filepath.Join(realData(t), c.file)}})
			shards := p.shards(src)
			if len(shards) != c.shards {
				t.Errorf("%d shards, want %d", len(shards), c.shards)
			}
			rows := 0
			for i, shard := range shards {
				r := p.read(src, shard, nil)
				if r.err != nil || len(r.rejects) > 0 {
					t.Fatalf("%d rejects, error %v", len(r.rejects), r.err)
				}
				rows += len(r.rows)
				if len(r.columns) != c.columns {
					t.Errorf("%d columns, want %d: %q", len(r.columns), c.columns, r.columns)
				}
				if i == 0 && !strings.HasPrefix(r.rows[0], c.first) {
					t.Errorf("the first row is %q", r.rows[0])
				}
			}
			if rows != c.rows {
				t.Errorf("%d rows, want %d", rows, c.rows)
			}
		})
	}
}
