package livelihood

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// airRow is one hour of one station. NaN is a null.
type airRow struct {
	code, station, city string
	at                  time.Time
	values              [len(pollutants)]float64
}

// pollutants are the columns of the readings, and their indicators.
var pollutants = [...]struct{ column, indicator string }{
	{"pm2_5", "AIR-PM25"}, {"pm10", "AIR-PM10"}, {"no2", "AIR-NO2"}, {"o3", "AIR-O3"},
}

// The air of two months at two stations in each city.
const (
	airFirstMonth   = 9
	airLastMonth    = 10
	stationsPerCity = 2
	brokenReadings  = 7 // rows of which one reading is below zero
)

func (d *demo) makeAir() {
	a := d.account("air-stations", "hourly")
	start, end := Month(airFirstMonth), Month(airLastMonth+1)
	hours := int(end.Sub(start).Hours())
	for i, c := range cities {
		// The environment department writes the cities' short names.
		short := c.name[:len(c.name)-len("市")]
		for n := range stationsPerCity {
			draw := newSource(fmt.Sprintf("air/%s/%d", c.code, n))
			base := draw.between(18, 34)
			for h := range hours {
				at := start.Add(time.Duration(h) * time.Hour)
				// A day has two peaks of traffic and one of ozone, and the air gets worse towards winter.
				hour := float64(at.Hour())
				traffic := math.Exp(-sq(hour-8)/8) + math.Exp(-sq(hour-19)/10)
				sun := math.Max(0, math.Sin((hour-6)/12*math.Pi))
				season := 1 + 0.4*float64(h)/float64(hours)
				values := [len(pollutants)]float64{
					math.Round(base * season * (0.7 + 0.5*traffic) * draw.between(0.6, 1.5)),
					math.Round(base * season * (1.3 + 0.7*traffic) * draw.between(0.6, 1.5)),
					math.Round((12 + 25*traffic) * draw.between(0.7, 1.3)),
					math.Round((40 + 110*sun) * draw.between(0.7, 1.2)),
				}
				for p := range values {
					if draw.below(200) == 0 {
						values[p] = math.NaN()
					}
				}
				if draw.below(400) == 0 { // the station was being serviced
					for p := range values {
						values[p] = math.NaN()
					}
				}
				row := airRow{fmt.Sprintf("DEMO%02d%d", i+1, n+1), fmt.Sprintf("%s演示%d号站", short, n+1), short, at, values}
				if i < brokenReadings && n == 0 && h == 100+i {
					row.values = [len(pollutants)]float64{-1, 30, 20, 60} // an instrument that drifts below zero
				}
				d.airRows = append(d.airRows, row)
				records, negative := 0, false
				for _, v := range row.values {
					if !math.IsNaN(v) {
						records++
						negative = negative || v < 0
					}
				}
				switch {
				case negative:
					a.quarantine("air.range")
				case records == 0:
					a.filter(filterEmpty)
				default:
					a.load(records)
				}
			}
		}
	}
}

func sq(x float64) float64 { return x * x }

// airFile writes the readings of one month as Parquet. Times are in UTC, as the department's platform keeps them.
func airFile(rows []airRow, month int) ([]byte, error) {
	fields := []arrow.Field{
		{Name: "station_code", Type: arrow.BinaryTypes.String},
		{Name: "station", Type: arrow.BinaryTypes.String},
		{Name: "city", Type: arrow.BinaryTypes.String},
		{Name: "time", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}},
	}
	for _, p := range pollutants {
		fields = append(fields, arrow.Field{Name: p.column, Type: arrow.PrimitiveTypes.Float64, Nullable: true})
	}
	note := arrow.NewMetadata([]string{"note"}, []string{"演示数据 (synthetic: made by code from a fixed seed)"})
	schema := arrow.NewSchema(fields, &note)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	from, to := Month(month), Month(month+1)
	for _, r := range rows {
		if r.at.Before(from) || !r.at.Before(to) {
			continue
		}
		b.Field(0).(*array.StringBuilder).Append(r.code)
		b.Field(1).(*array.StringBuilder).Append(r.station)
		b.Field(2).(*array.StringBuilder).Append(r.city)
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(r.at.UnixMilli()))
		for p, v := range r.values {
			column := b.Field(4 + p).(*array.Float64Builder)
			if math.IsNaN(v) {
				column.AppendNull()
			} else {
				column.Append(v)
			}
		}
	}
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy)), pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fmt.Errorf("open the Parquet writer: %w", err)
	}
	if err := w.WriteBuffered(record); err != nil {
		return nil, fmt.Errorf("write the readings of month %d: %w", month, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("close the Parquet file of month %d: %w", month, err)
	}
	return out.Bytes(), nil
}
