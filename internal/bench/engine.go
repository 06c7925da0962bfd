package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headwater-data/headwater/internal/embedded/clickhouse"
	"github.com/headwater-data/headwater/schemas"
)

// loadWithEngine loads the file with the engine's own INSERT … SELECT FROM file(…) on one thread.
func loadWithEngine(ctx context.Context, o order) (m measurement, err error) {
	engine, err := clickhouse.Fetch(ctx, nil)
	if err != nil {
		return m, err
	}
	alone, err := clickhouse.OpenAlone(filepath.Join(o.Dir, "engine"), engine)
	if err != nil {
		return m, err
	}
	defer alone.Close()
	schema, ok := schemas.Standard().Schema("observation")
	if !ok {
		return m, fmt.Errorf("there is no schema observation")
	}
	for _, sql := range []string{
		"CREATE DATABASE bench",
		schema.CreateTable("bench"),
		"SET max_threads = 1, max_insert_threads = 1, max_parsing_threads = 1",
		"SET optimize_on_insert = 0", // as the pipeline inserts
	} {
		if _, err := alone.Query(sql); err != nil {
			return m, err
		}
	}
	began, before := time.Now(), 0.0
	if before, err = used(os.Getpid()); err != nil {
		return m, err
	}
	if _, err := alone.Query(insertFromFile(schema, o)); err != nil {
		return m, err
	}
	m.Seconds = time.Since(began).Seconds()
	after, err := used(os.Getpid())
	if err != nil {
		return m, err
	}
	m.CPU = after - before
	if m.PeakMB, err = peakMB(); err != nil {
		return m, err
	}
	m.Landed, err = alone.Query(landed("bench." + schema.TableName()))
	return m, err
}

// insertFromFile fills the same columns as the pipeline: the observation's, constants of the mapping, and where each row came
// from.
func insertFromFile(schema *schemas.Schema, o order) string {
	const batchRows = "65536"
	columns := map[string]string{
		"indicator": "indicator", "region": "region", "subject": "subject", "grain": "grain", "value": "value", "unit": "unit",
		"period": "toDateTime64(period, 3, 'Asia/Shanghai')", "member": "''", "feed": "'direct'", "level": "'county'",
		"_version": "toUInt64(1790000000000000)", "_deleted": "0", "_source": "'bench'", "_stream": "'observations'", "_shard": quote(o.File),
		"_place": quote(o.File), "_row": "number + 1", "_topic": "'headwater.raw.bench'", "_partition": "0", "_incarnation": "'5a0c64ae8b5df4b3'",
		"_offset": "intDiv(number, " + batchRows + ")", "_index": "number % " + batchRows, "_run": "'01k5d2v7m9p0x8w6t4r2q1n3bc'", "_mapping": "'0c8b4c9a7f12'",
		"_extracted_at": "fromUnixTimestamp64Micro(1790000000000000, 'UTC')", "_flags": "[]",
	}
	format := "Parquet"
	if o.Format == formatCSV {
		format = "CSVWithNames"
		columns["_row"] = "number + 2" // the header is line 1
	}
	var names, values []string
	for _, c := range schema.Columns() {
		if value, ok := columns[c.Name]; ok {
			names, values = append(names, "`"+c.Name+"`"), append(values, value+" AS `to_"+c.Name+"`")
		}
	}
	structure := "indicator String, region String, subject String, grain String, period Date32, value Float64, unit String"
	return fmt.Sprintf("INSERT INTO bench.`%s` (%s) SELECT %s FROM (SELECT *, rowNumberInAllBlocks() AS number FROM file(%s, %s, %s))",
		schema.TableName(), strings.Join(names, ", "), strings.Join(values, ", "), quote(o.File), format, quote(structure))
}

func quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
