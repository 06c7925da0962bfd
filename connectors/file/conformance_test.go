package file_test

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/connectors/connectortest"
	"github.com/headwater-data/headwater/connectors/file"
)

type conformanceCase struct {
	name    string
	file    string
	write   func(io.Writer, connectortest.Table) error
	options file.Options
	can     connectortest.Capabilities
}

// TestConformance runs the connector through the kit for every format and packing.
func TestConformance(t *testing.T) {
	cases := []conformanceCase{
		{name: "CSV", file: "a.csv", write: writeCSV},
		{name: "CSV in GB18030", file: "a.csv", write: writeGB18030, options: file.Options{Encoding: "gbk"}},
		{name: "CSV in gzip", file: "a.csv.gz", write: inGzip(writeCSV)},
		{name: "CSV in a zip", file: "a.zip", write: inZip("数据/a.csv", writeCSV)},
		{name: "CSV that is merged", file: "a.csv", write: writeCSV, options: file.Options{OnChange: "merge"}},
		{name: "CSV that is appended to", file: "a.csv", write: writeCSV, options: file.Options{OnChange: "append"}},
		{name: "JSON Lines", file: "a.jsonl", write: writeJSONL},
		{name: "JSON", file: "a.json", write: writeJSON, options: file.Options{Records: "data.items"}},
		{name: "XLSX", file: "a.xlsx", write: writeXLSX},
		{name: "XLSX in a zip", file: "a.zip", write: inZip("a.xlsx", writeXLSX)},
		{name: "Parquet", file: "a.parquet", write: writeParquet, can: connectortest.Capabilities{Counts: true}},
		{name: "Parquet in gzip", file: "a.parquet.gz", write: inGzip(writeParquet), can: connectortest.Capabilities{Counts: true}},
	}
	if file.RaceDetector {
		cases = slices.DeleteFunc(cases, func(c conformanceCase) bool { return strings.Contains(c.name, " in ") || c.options.OnChange != "" })
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.can.Breaks = true
			// Changes and memory are looked at where the formats differ, not once more for each packing: that takes long.
			c.can.Changes = !strings.Contains(c.name, " in ")
			c.can.Replaces = c.can.Changes && c.options.OnChange == ""
			connectortest.Run(t, func(t *testing.T, outside *connectortest.Outside) connectors.Source {
				path := filepath.Join(outside.Dir, c.file)
				clock := time.Now()
				outside.Store = func(table connectortest.Table) error {
					clock = clock.Add(time.Second)
					return store(path, clock, table, c.write)
				}
				outside.Break = func() error { return os.Remove(path) }
				if err := outside.Store(outside.Table); err != nil {
					t.Fatal(err)
				}
				options := c.options
				options.Path = file.Strings{c.file}
				options.AllowEmpty = c.can.Replaces // the kit empties the system and means it
				streams := map[string]any{"s": &options}
				d := file.Definition()
				if faults := d.Check(d.Config(), streams); len(faults) > 0 {
					t.Fatal(faults)
				}
				src, err := d.Open(outside.Environment, d.Config(), streams)
				if err != nil {
					t.Fatal(err)
				}
				return src
			}, c.can)
		})
	}
}

// store writes a file under another name first, as a department's program should.
func store(path string, modified time.Time, table connectortest.Table, write func(io.Writer, connectortest.Table) error) (err error) {
	part := path + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(write(b, table), b.Flush(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Chtimes(part, modified, modified), os.Rename(part, path))
}

func inGzip(write func(io.Writer, connectortest.Table) error) func(io.Writer, connectortest.Table) error {
	return func(w io.Writer, t connectortest.Table) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		return errors.Join(write(z, t), z.Close())
	}
}

func inZip(name string, write func(io.Writer, connectortest.Table) error) func(io.Writer, connectortest.Table) error {
	return func(w io.Writer, t connectortest.Table) error {
		z := fastZip(w)
		m, err := z.Create(name)
		if err != nil {
			return err
		}
		return errors.Join(write(m, t), z.Close())
	}
}

// fastZip packs badly but quickly: most of the time of these tests would be packing.
func fastZip(w io.Writer) *zip.Writer {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	return z
}

func writeCSV(w io.Writer, t connectortest.Table) error {
	b := bufio.NewWriter(w)
	for i, name := range t.Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name)
	}
	b.WriteByte('\n')
	for _, row := range t.Rows {
		for i, v := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			if text, ok := v.(string); ok {
				b.WriteString(`"` + strings.ReplaceAll(text, `"`, `""`) + `"`)
			}
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}

func writeGB18030(w io.Writer, t connectortest.Table) error {
	e := simplifiedchinese.GB18030.NewEncoder().Writer(w)
	if err := writeCSV(e, t); err != nil {
		return err
	}
	if c, ok := e.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func records(w io.Writer, t connectortest.Table, between string) error {
	b := bufio.NewWriter(w)
	for i, row := range t.Rows {
		if i > 0 {
			b.WriteString(between)
		}
		record := map[string]any{}
		for j, v := range row {
			record[t.Columns[j]] = v
		}
		line, err := json.Marshal(record)
		if err != nil {
			return err
		}
		b.Write(line)
	}
	return b.Flush()
}

func writeJSONL(w io.Writer, t connectortest.Table) error {
	if err := records(w, t, "\n"); err != nil || len(t.Rows) == 0 {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func writeJSON(w io.Writer, t connectortest.Table) error {
	_, err1 := io.WriteString(w, `{"code":0,"data":{"items":[`)
	err2 := records(w, t, ",\n")
	_, err3 := io.WriteString(w, `]},"end":true}`)
	return errors.Join(err1, err2, err3)
}

// writeXLSX writes a workbook with shared texts. A missing cell is null.
func writeXLSX(w io.Writer, t connectortest.Table) error {
	z := fastZip(w)
	part := func(name string, write func(b *bufio.Writer) error) error {
		p, err := z.Create(name)
		if err != nil {
			return err
		}
		b := bufio.NewWriter(p)
		return errors.Join(write(b), b.Flush())
	}
	text := func(text string) func(*bufio.Writer) error {
		return func(b *bufio.Writer) error { _, err := b.WriteString(text); return err }
	}
	rows := append([][]any{{t.Columns[0], t.Columns[1], t.Columns[2]}}, t.Rows...)
	const kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
	err := errors.Join(
		part("xl/workbook.xml", text(`<workbook xmlns:r="x"><sheets><sheet name="表" sheetId="1" r:id="r1"/></sheets></workbook>`)),
		part("xl/_rels/workbook.xml.rels", text(`<Relationships><Relationship Id="r1" Type="`+kinds+`worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="`+kinds+`sharedStrings" Target="sharedStrings.xml"/></Relationships>`)),
		part("xl/worksheets/sheet1.xml", func(b *bufio.Writer) error {
			b.WriteString(`<worksheet><sheetData>`)
			n := 0
			for i, row := range rows {
				fmt.Fprintf(b, `<row r="%d">`, i+1)
				for j, v := range row {
					if v != nil {
						fmt.Fprintf(b, `<c r="%c%d" t="s"><v>%d</v></c>`, 'A'+j, i+1, n)
						n++
					}
				}
				b.WriteString(`</row>`)
			}
			_, err := b.WriteString(`</sheetData></worksheet>`)
			return err
		}),
		part("xl/sharedStrings.xml", func(b *bufio.Writer) error {
			b.WriteString(`<sst>`)
			for _, row := range rows {
				for _, v := range row {
					if v == nil {
						continue
					}
					// What looks like an escape is escaped itself, as Excel does.
					b.WriteString(`<si><t xml:space="preserve">`)
					if err := xml.EscapeText(b, []byte(strings.ReplaceAll(v.(string), "_x", "_x005F_x"))); err != nil {
						return err
					}
					b.WriteString(`</t></si>`)
				}
			}
			_, err := b.WriteString(`</sst>`)
			return err
		}),
	)
	return errors.Join(err, z.Close())
}

// writeParquet writes row groups of 1,000 rows, the second column with a dictionary.
func writeParquet(w io.Writer, t connectortest.Table) error {
	var fields []arrow.Field
	for _, name := range t.Columns {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	fields[2].Type = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	schema := arrow.NewSchema(fields, nil)
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(1000))
	pw, err := pqarrow.NewFileWriter(schema, onlyWriter{w}, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	flush := func() error {
		record := b.NewRecord()
		defer record.Release()
		return pw.Write(record)
	}
	for i, row := range t.Rows {
		for j, v := range row {
			text, ok := v.(string)
			switch f := b.Field(j).(type) {
			case *array.StringBuilder:
				if ok {
					f.Append(text)
				} else {
					f.AppendNull()
				}
			case *array.BinaryDictionaryBuilder:
				if !ok {
					f.AppendNull()
				} else if err := f.AppendString(text); err != nil {
					return err
				}
			}
		}
		if (i+1)%1000 == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(flush(), pw.Close())
}

// onlyWriter keeps the Parquet writer from closing what it writes to.
type onlyWriter struct{ io.Writer }
