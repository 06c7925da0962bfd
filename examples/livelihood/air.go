package livelihood

import (
	"bytes"
	"fmt"
	"math"
	"slices"
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
	code, station, short string
	of                   city
	county               place
	at                   time.Time
	values               [len(pollutants)]float64
}

// negative reports whether an instrument has drifted below zero.
func (r airRow) negative() bool {
	return slices.ContainsFunc(r.values[:], func(v float64) bool { return v < 0 })
}

// pollutants are the columns of the readings.
var pollutants = [...]string{pm25: "pm2_5", pm10: "pm10", so2: "so2", no2: "no2", co: "co", ozone: "o3"}

const (
	pm25 = iota
	pm10
	so2
	no2
	co // in mg/m³, the others in µg/m³
	ozone
)

// The air of two months at two stations in each city, in two of its counties.
const (
	airFirstMonth   = 9
	airLastMonth    = 10
	stationsPerCity = 2
	brokenReadings  = 7 // rows of which one reading is below zero
)

func (d *demo) makeAir() {
	hourly, readings := d.account("air-stations", "hourly"), d.account("air-stations", "readings")
	start, end := Month(airFirstMonth), Month(airLastMonth+1)
	hours := int(end.Sub(start).Hours())
	for i, c := range cities {
		// The environment department writes the cities' short names.
		short := c.name[:len(c.name)-len("市")]
		for n := range stationsPerCity {
			draw := newSource(fmt.Sprintf("air/%s/%d", c.code, n))
			base, strong, clear := draw.between(18, 50), draw.between(110, 200), 1.0
			for h := range hours {
				at := start.Add(time.Duration(h) * time.Hour)
				if at.Hour() == 0 {
					clear = draw.between(0.5, 1) // the day's sky
				}
				// A day has two peaks of traffic and one of ozone, and the air gets worse towards winter.
				hour := float64(at.Hour())
				traffic := math.Exp(-sq(hour-8)/8) + math.Exp(-sq(hour-19)/10)
				sun := math.Max(0, math.Sin((hour-6)/12*math.Pi))
				season := 1 + 0.4*float64(h)/float64(hours)
				values := [len(pollutants)]float64{
					pm25:  math.Round(base * season * (0.7 + 0.5*traffic) * draw.between(0.6, 1.5)),
					pm10:  math.Round(base * season * (1.3 + 0.7*traffic) * draw.between(0.6, 1.5)),
					so2:   math.Round(7 * draw.between(0.6, 1.4)),
					no2:   math.Round((12 + 25*traffic) * draw.between(0.7, 1.3)),
					co:    math.Round((0.5+0.3*traffic)*draw.between(0.8, 1.2)*100) / 100,
					ozone: math.Round((40 + strong*clear*sun) * draw.between(0.7, 1.3)),
				}
				for p := range values {
					if draw.below(200) == 0 {
						values[p] = math.NaN()
					}
				}
				// The station was being serviced: now and then for an hour, on one day for most of it.
				if draw.below(400) == 0 || at.Day() == 3+i && at.Hour() < 9 {
					for p := range values {
						values[p] = math.NaN()
					}
				}
				row := airRow{code: fmt.Sprintf("DEMO%02d%d", i+1, n+1), station: fmt.Sprintf("%s演示%d号站", short, n+1), short: short, of: c, county: c.counties[n], at: at, values: values}
				if i < brokenReadings && n == 0 && h == 100+i {
					row.values = [len(pollutants)]float64{pm25: -1, pm10: 30, so2: 6, no2: 20, co: 0.5, ozone: 60} // an instrument that drifts below zero
				}
				d.airRows = append(d.airRows, row)
				if row.negative() {
					hourly.quarantine("air.range")
					readings.quarantine("pm25.range")
					continue
				}
				readings.load(1)
				if math.IsNaN(row.values[pm25]) { // the one that is an indicator
					hourly.filter(filterEmpty)
				} else {
					hourly.load(1)
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
		{Name: "county", Type: arrow.BinaryTypes.String},
		{Name: "time", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}},
	}
	for _, p := range pollutants {
		fields = append(fields, arrow.Field{Name: p, Type: arrow.PrimitiveTypes.Float64, Nullable: true})
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
		b.Field(2).(*array.StringBuilder).Append(r.short)
		b.Field(3).(*array.StringBuilder).Append(r.county.name)
		b.Field(4).(*array.TimestampBuilder).Append(arrow.Timestamp(r.at.UnixMilli()))
		for p, v := range r.values {
			column := b.Field(5 + p).(*array.Float64Builder)
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
