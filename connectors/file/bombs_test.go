package file

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/parquet/compress"
)

// bombVariable names a file that TestReadABomb reads in a process of its own.
const bombVariable = "HEADWATER_FILE_BOMB"

// bombMemory is what a process may take at its peak while it refuses a bomb: a reader's buffers, the rows
// that were too many, a batch, the program itself, and what the collector has not collected yet.
const bombMemory = 384 << 20

// zeros writes that many equal bytes.
func zeros(w io.Writer, b byte, n int) error {
	piece := bytes.Repeat([]byte{b}, 1<<20)
	for ; n > 0; n -= len(piece) {
		if _, err := w.Write(piece[:min(n, len(piece))]); err != nil {
			return err
		}
	}
	return nil
}

func packed(write func(w io.Writer) error) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := write(z); err != nil {
		panic(err) // a Buffer does not fail
	}
	_ = z.Close()
	return b.Bytes()
}

func packedIn(name string, write func(w io.Writer) error, others ...member) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range others {
		w, err := z.Create(m.name)
		if err == nil {
			_, err = w.Write(m.content)
		}
		if err != nil {
			panic(err) // a Buffer does not fail
		}
	}
	w, err := z.Create(name)
	if err == nil {
		err = write(w)
	}
	if err != nil {
		panic(err) // a Buffer does not fail
	}
	_ = z.Close()
	return b.Bytes()
}

// workbookAround gives the parts of a workbook that stand around the one that is the bomb.
func workbookAround(sheet, texts string) []member {
	const kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
	parts := []member{
		{name: "_rels/.rels", content: []byte(`<Relationships><Relationship Id="r1" Type="` + kinds + `officeDocument" Target="xl/workbook.xml"/></Relationships>`)},
		{name: "xl/workbook.xml", content: []byte(`<workbook xmlns:r="x"><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>`)},
		{name: "xl/_rels/workbook.xml.rels", content: []byte(`<Relationships><Relationship Id="r1" Type="` + kinds + `worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="` + kinds + `sharedStrings" Target="sharedStrings.xml"/></Relationships>`)},
	}
	if sheet != "" {
		parts = append(parts, member{name: "xl/worksheets/sheet1.xml", content: []byte(sheet)})
	}
	if texts != "" {
		parts = append(parts, member{name: "xl/sharedStrings.xml", content: []byte(texts)})
	}
	return parts
}

// inflated is more than what any reader holds, and than what is unpacked before its ratio is looked at.
const inflated = 384 << 20

// Bombs are refused, and their refusal takes bounded memory: each is read in a process of its own, whose peak is measured.
func TestBombsAreRefusedWithinBoundedMemory(t *testing.T) {
	if raceDetector {
		return // the detector keeps memory of its own; the plain pass measures
	}
	text := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}}, nil)
	fill := func(values ...string) func(*array.RecordBuilder) {
		return func(b *array.RecordBuilder) { b.Field(0).(*array.StringBuilder).AppendValues(values, nil) }
	}
	manyRows := make([]string, 20_000)
	for i := range manyRows {
		manyRows[i] = strings.Repeat("y", 1<<10)
	}
	large := strings.Repeat("x", 8<<20)
	footer := parquetOf(t, compress.Codecs.Snappy, text, fill("a", "b"))
	lying := bytes.Clone(footer)
	copy(lying[len(lying)-8:], []byte{0xf0, 0xff, 0xff, 0x7f}) // a footer of 2 GiB
	sheet := `<worksheet><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row></sheetData></worksheet>`
	for name, c := range map[string]struct {
		content []byte
		want    string // in the error or the reasons
	}{
		"line.csv.gz":  {packed(func(w io.Writer) error { return zeros(w, 'a', inflated) }), "bomb"},
		"lines.csv.gz": {packed(func(w io.Writer) error { return zeros(w, '\n', inflated) }), "bomb"},
		"csv.zip":      {packedIn("a.csv", func(w io.Writer) error { return zeros(w, 'a', inflated) }), "bomb"},
		"deep.json.gz": {packed(func(w io.Writer) error { return zeros(w, '[', inflated) }), "bomb"},
		"deep.json":    {bytes.Repeat([]byte("["), 4<<20), "deep"},
		"deep.jsonl":   {bytes.Repeat([]byte("["), 32<<20), "json.size"},
		"texts.xlsx": {packedIn("xl/sharedStrings.xml", func(w io.Writer) error {
			if _, err := io.WriteString(w, "<sst><si><t>"); err != nil {
				return err
			}
			return zeros(w, 'a', inflated)
		}, workbookAround(sheet, "")...), ""},
		"sheet.xlsx": {packedIn("xl/worksheets/sheet1.xml", func(w io.Writer) error {
			if _, err := io.WriteString(w, `<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>`); err != nil {
				return err
			}
			return zeros(w, 'a', inflated)
		}, workbookAround("", "<sst/>")...), ""},
		"deep.xlsx": {packedIn("xl/worksheets/sheet1.xml", func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("<a>", 10<<20))
			return err
		}, workbookAround("", "<sst/>")...), "nested deeper"},
		"page.parquet": {parquetOf(t, compress.Codecs.Zstd, text, fill(strings.Repeat("x", 200<<20))), "bomb"},
		"rows.parquet": {parquetOf(t, compress.Codecs.Zstd, text, fill(append(append([]string(nil), manyRows...), large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large)...)), "row.size"},
		"row.parquet": {parquetOf(t, compress.Codecs.Zstd, arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.ListOf(arrow.BinaryTypes.String)}}, nil), func(b *array.RecordBuilder) {
			list := b.Field(0).(*array.ListBuilder)
			list.Append(true)
			for range 200 { // of one long text, which stands once in the dictionary
				list.ValueBuilder().(*array.StringBuilder).Append(large)
			}
		}), "bomb"},
		"footer.parquet": {lying, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Logf("%d bytes", len(c.content))
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			child := exec.Command(self, "-test.run", "^TestReadABomb$", "-test.v")
			child.Env = append(os.Environ(), bombVariable+"="+path)
			out, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			said := string(out)
			_, peak, ok := strings.Cut(said, "PEAK ")
			if !ok {
				t.Fatalf("the child does not say its peak:\n%s", out)
			}
			peak, _, _ = strings.Cut(peak, "\n")
			n, err := strconv.Atoi(peak)
			if err != nil {
				t.Fatal(err)
			}
			if n > bombMemory {
				t.Errorf("reading it took %d MiB", n>>20)
			}
			_, refusal, _ := strings.Cut(said, "REFUSED ")
			refusal, _, _ = strings.Cut(refusal, "\n")
			if refusal == "" || !strings.Contains(refusal, c.want) {
				t.Errorf("got %q, want a refusal that says %q\n%s", refusal, c.want, said)
			}
			t.Logf("%d MiB: %s", n>>20, refusal)
		})
	}
}

// TestReadABomb is the process that reads one.
func TestReadABomb(t *testing.T) {
	path := os.Getenv(bombVariable)
	if path == "" {
		return // nothing to do but in a child
	}
	env := benchEnvironment(filepath.Dir(path))
	src, err := open(env, map[string]any{"s": &Options{Path: Strings{filepath.Base(path)}}})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(text string) { fmt.Println("REFUSED " + strings.ReplaceAll(text, "\n", " ")) }
	shards, err := src.Shards(context.Background(), "s")
	if err != nil {
		t.Fatal(err)
	}
	for _, shard := range shards {
		for b, err := range src.Read(context.Background(), stream(shard.Shard), nil) {
			if err != nil {
				refused(err.Error())
				break
			}
			for _, r := range b.Rejects {
				refused(r.Rule + ": " + r.Reason)
			}
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(peak)[0])
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("PEAK %d\n", kib<<10)
}
