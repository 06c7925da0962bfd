package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

const (
	formatParquet = "parquet"
	formatCSV     = "csv"

	// seed and version name what is generated: change version with anything that changes a byte of it.
	seed    = 20260918
	version = 1
)

// observation is a row of the generated files: a day's value of one indicator at one station of a county.
type observation struct {
	indicator, region, subject, grain string
	day                               int32 // days since 1970
	value                             float64
	unit                              string
}

var columns = []string{"indicator", "region", "subject", "grain", "period", "value", "unit"}

type indicator struct {
	code, unit string
	top        float64 // values lie below it
	digits     int
}

var indicators = []indicator{
	{"AIR-PM25", "µg/m³", 180, 0}, {"AIR-PM10", "µg/m³", 320, 0}, {"AIR-SO2", "µg/m³", 60, 1}, {"AIR-NO2", "µg/m³", 120, 1},
	{"AIR-O3", "µg/m³", 240, 0}, {"AIR-CO", "mg/m³", 4, 2}, {"WATER-PH", "1", 14, 2}, {"WATER-COD", "mg/L", 40, 1},
	{"WATER-NH3N", "mg/L", 2, 3}, {"NOISE-DAY", "dB", 80, 1}, {"NOISE-NIGHT", "dB", 70, 1}, {"WASTE", "t", 2500, 2},
}

// regions are codes of counties of Zhejiang that hold on every generated day.
var regions = []string{
	"330102", "330105", "330106", "330108", "330109", "330110", "330111", "330112", "330113", "330114", "330122", "330127", "330182",
	"330203", "330205", "330206", "330211", "330212", "330213", "330225", "330226", "330281", "330282",
	"330302", "330303", "330304", "330305", "330324", "330326", "330327", "330328", "330329", "330381", "330382", "330383",
	"330402", "330411", "330421", "330424", "330481", "330482", "330483", "330502", "330503", "330521", "330522", "330523",
	"330602", "330603", "330604", "330624", "330681", "330683", "330702", "330703", "330723", "330726", "330727", "330781", "330782", "330783", "330784",
	"330802", "330803", "330822", "330824", "330825", "330881", "330902", "330903", "330921", "330922",
	"331002", "331003", "331004", "331022", "331023", "331024", "331081", "331082", "331083",
	"331102", "331121", "331122", "331123", "331124", "331125", "331126", "331127", "331181",
}

const stations = 13 // of each county

// observations generates n rows, day by day as systems export them, the same ones every time.
func observations(n int) iter.Seq[observation] {
	return func(yield func(observation) bool) {
		random := rand.New(rand.NewPCG(seed, version))
		first := int32(time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / 86400)
		subjects := make([]string, stations*len(regions))
		for i := range subjects {
			subjects[i] = fmt.Sprintf("%s监测站%02d", regions[i/stations][2:], i%stations+1)
		}
		for left, day := n, first; ; day++ {
			for i, subject := range subjects {
				for _, k := range indicators {
					if left == 0 {
						return
					}
					left--
					scale := [...]float64{1, 10, 100, 1000}[k.digits]
					value := float64(random.IntN(int(k.top*scale))) / scale
					if !yield(observation{indicator: k.code, region: regions[i/stations], subject: subject, grain: "day", day: day, value: value, unit: k.unit}) {
						return
					}
				}
			}
		}
	}
}

// ensureFile returns the file of so many rows and generates it when it is not there.
func ensureFile(ctx context.Context, dir, format string, rows int, note func(string, ...any)) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf("observations-v%d-%d-%d.%s", version, seed, rows, format))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	note("generating %s", path)
	out, err := os.CreateTemp(dir, "generating-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(out.Name()) }() // gone already when all went well
	write := writeCSV
	if format == formatParquet {
		write = writeParquet
	}
	if err := errors.Join(write(ctx, out, rows), out.Close()); err != nil {
		return "", fmt.Errorf("generate %s: %w", path, err)
	}
	return path, os.Rename(out.Name(), path)
}

func writeCSV(ctx context.Context, out *os.File, rows int) error {
	w := bufio.NewWriterSize(out, 1<<20)
	for i, name := range columns {
		if i > 0 {
			_ = w.WriteByte(',') // Flush tells
		}
		_, _ = w.WriteString(name)
	}
	_ = w.WriteByte('\n')
	var line []byte
	for o := range observations(rows) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		line = line[:0]
		for _, text := range []string{o.indicator, o.region, o.subject, o.grain} {
			line = append(append(line, text...), ',')
		}
		line = time.Unix(int64(o.day)*86400, 0).UTC().AppendFormat(line, time.DateOnly)
		line = append(line, ',')
		line = strconv.AppendFloat(line, o.value, 'f', -1, 64)
		line = append(append(append(line, ','), o.unit...), '\n')
		_, _ = w.Write(line)
	}
	return w.Flush()
}

// groupRows is how many rows a row group has: what pyarrow writes.
const groupRows = 1 << 20

func writeParquet(ctx context.Context, out *os.File, rows int) error {
	text := arrow.BinaryTypes.String
	schema := arrow.NewSchema([]arrow.Field{{Name: columns[0], Type: text}, {Name: columns[1], Type: text}, {Name: columns[2], Type: text}, {Name: columns[3], Type: text},
		{Name: columns[4], Type: arrow.FixedWidthTypes.Date32}, {Name: columns[5], Type: arrow.PrimitiveTypes.Float64}, {Name: columns[6], Type: text}}, nil)
	w, err := pqarrow.NewFileWriter(schema, struct{ io.Writer }{out}, // the caller closes the file
		parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(groupRows)), pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	flush := func() error {
		record := b.NewRecord()
		defer record.Release()
		return w.WriteBuffered(record)
	}
	n := 0
	for o := range observations(rows) {
		for i, value := range []string{o.indicator, o.region, o.subject, o.grain} {
			b.Field(i).(*array.StringBuilder).Append(value)
		}
		b.Field(4).(*array.Date32Builder).Append(arrow.Date32(o.day))
		b.Field(5).(*array.Float64Builder).Append(o.value)
		b.Field(6).(*array.StringBuilder).Append(o.unit)
		if n++; n%(64<<10) == 0 {
			if err := errors.Join(ctx.Err(), flush()); err != nil {
				return err
			}
		}
	}
	return errors.Join(flush(), w.Close())
}
