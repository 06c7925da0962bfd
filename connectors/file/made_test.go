package file

import (
	"archive/zip"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// The formats of made files, written row by row so that large ones need no memory.
var made = map[string]func(w io.Writer, rows int) error{
	"a.csv": func(w io.Writer, rows int) error {
		return madeText(w, rows, "名称,值,注\n", "", "杭州市%d,%d.5,\"注,%0250d\"\n")
	},
	"a.jsonl": func(w io.Writer, rows int) error {
		return madeText(w, rows, "", "", `{"名称":"杭州市%d","值":%d.5,"注":{"x":"注,%0250d"}}`+"\n")
	},
	"a.json": func(w io.Writer, rows int) error {
		return madeText(w, rows, `[{"名称":"first"}`, "]", `,{"名称":"杭州市%d","值":%d.5,"注":{"x":"注,%0250d"}}`+"\n")
	},
	"a.xlsx":    madeXLSX,
	"a.parquet": madeParquet,
}

func madeText(w io.Writer, rows int, head, tail, format string) error {
	b := bufio.NewWriterSize(w, 1<<20)
	if _, err := b.WriteString(head); err != nil {
		return err
	}
	if tail != "" {
		rows-- // the first one is the head
	}
	for i := range rows {
		if _, err := fmt.Fprintf(b, format, i, i, i); err != nil {
			return err
		}
	}
	if _, err := b.WriteString(tail); err != nil {
		return err
	}
	return b.Flush()
}

// madeXLSX writes a workbook by hand, with one shared text for each row.
func madeXLSX(w io.Writer, rows int) error {
	sheet := func(w io.Writer) error {
		b := bufio.NewWriter(w)
		fmt.Fprint(b, `<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>名称</t></is></c><c r="B1" t="inlineStr"><is><t>值</t></is></c><c r="C1" t="inlineStr"><is><t>日</t></is></c></row>`)
		for i := range rows {
			fmt.Fprintf(b, `<row r="%d"><c r="A%d" t="s"><v>%d</v></c><c r="B%d"><v>%d.5</v></c><c r="C%d" s="1"><v>%d</v></c></row>`, i+2, i+2, i, i+2, i, i+2, 44260+i%365)
		}
		fmt.Fprint(b, `</sheetData></worksheet>`)
		return b.Flush()
	}
	texts := func(w io.Writer) error {
		b := bufio.NewWriter(w)
		fmt.Fprintf(b, `<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" uniqueCount="%d">`, rows)
		for i := range rows {
			fmt.Fprintf(b, `<si><t>杭州市 %d &amp; 余杭区 %0250d</t></si>`, i, i*7919)
		}
		fmt.Fprint(b, `</sst>`)
		return b.Flush()
	}
	return workbookOf(w, `<sheets><sheet name="表1" sheetId="1" r:id="rId1"/></sheets>`, map[string]func(io.Writer) error{"xl/worksheets/sheet1.xml": sheet, "xl/sharedStrings.xml": texts})
}

func fixed(text string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

// workbookOf writes a workbook whose sheets are sheet1.xml, sheet2.xml …; style 1 is a date, 2 a date with time, 3 a time.
func workbookOf(w io.Writer, sheets string, parts map[string]func(io.Writer) error) error {
	const schemas = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
	parts["_rels/.rels"] = fixed(`<?xml version="1.0"?><Relationships><Relationship Id="rId1" Type="` + schemas + `officeDocument" Target="xl/workbook.xml"/></Relationships>`)
	parts["xl/workbook.xml"] = fixed(`<?xml version="1.0" encoding="UTF-8"?><workbook xmlns:r="x">` + sheets + `</workbook>`)
	parts["xl/styles.xml"] = fixed(`<styleSheet><numFmts><numFmt numFmtId="164" formatCode="yyyy&quot;年&quot;m&quot;月&quot;d&quot;日&quot;"/></numFmts><cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="22"/><xf numFmtId="20"/></cellXfs></styleSheet>`)
	relations := `<Relationships><Relationship Id="st" Type="` + schemas + `styles" Target="styles.xml"/>`
	for i := 1; parts[fmt.Sprintf("xl/worksheets/sheet%d.xml", i)] != nil; i++ {
		relations += fmt.Sprintf(`<Relationship Id="rId%d" Type="%sworksheet" Target="worksheets/sheet%d.xml"/>`, i, schemas, i)
	}
	if parts["xl/sharedStrings.xml"] != nil {
		relations += `<Relationship Id="ss" Type="` + schemas + `sharedStrings" Target="/xl/sharedStrings.xml"/>`
	}
	parts["xl/_rels/workbook.xml.rels"] = fixed(relations + `</Relationships>`)
	z := zip.NewWriter(w)
	for name, write := range parts {
		part, err := z.Create(name)
		if err != nil {
			return err
		}
		if err := write(part); err != nil {
			return err
		}
	}
	return z.Close()
}

func madeParquet(w io.Writer, rows int) error {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "名称", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "值", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "日", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
	}, nil)
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(20_000))
	pw, err := pqarrow.NewFileWriter(schema, w, props, pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("杭州市 %d %d %0300d", i, i*7919, i))
		b.Field(1).(*array.Float64Builder).Append(float64(i) + 0.5)
		b.Field(2).(*array.Date32Builder).Append(arrow.Date32(18000 + i%365))
		if (i+1)%10_000 == 0 || i+1 == rows {
			record := b.NewRecord()
			err := pw.WriteBuffered(record)
			record.Release()
			if err != nil {
				return err
			}
		}
	}
	return pw.Close()
}

// bigFiles returns files of n rows in every format and packing.
func bigFiles(t testing.TB, n int) map[string][]byte {
	files := map[string][]byte{}
	for name, write := range made {
		var b bytes.Buffer
		if err := write(&b, n); err != nil {
			t.Fatal(err)
		}
		files[name] = b.Bytes()
	}
	files["gb.csv"] = gb18030(string(files["a.csv"]))
	files["b.csv.gz"] = gzipped(files["a.csv"])
	files["b.jsonl.gz"] = gzipped(files["a.jsonl"])
	files["b.parquet.gz"] = gzipped(files["a.parquet"])
	files["csv.zip"] = zipped(member{name: "地区.csv", content: files["gb.csv"]})
	files["json.zip"] = zipped(member{name: "x.json", content: files["a.json"]})
	files["xlsx.zip"] = zipped(member{name: "x.xlsx", content: files["a.xlsx"]})
	return files
}
