package file

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"
)

// sheets makes a workbook of sheets given as the XML inside of worksheet.
func sheets(t testing.TB, head string, bodies ...string) []byte {
	t.Helper()
	parts := map[string]func(io.Writer) error{}
	for i, body := range bodies {
		parts[fmt.Sprintf("xl/worksheets/sheet%d.xml", i+1)] = fixed("<worksheet>" + body + "</worksheet>")
	}
	var b bytes.Buffer
	if err := workbookOf(&b, head, parts); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const oneSheet = `<sheets><sheet name="月报" r:id="rId1"/></sheets>`

// row makes a row of cells: texts as they are, "=…" as the XML of a whole cell.
func sheetRow(number int, cells ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<row r="%d">`, number)
	for i, c := range cells {
		ref := fmt.Sprintf("%s%d", columnLetters(i+1), number)
		if raw, ok := strings.CutPrefix(c, "="); ok {
			b.WriteString(strings.Replace(raw, "<c", `<c r="`+ref+`"`, 1))
		} else if c != "" {
			fmt.Fprintf(&b, `<c r="%s" t="inlineStr"><is><t xml:space="preserve">%s</t></is></c>`, ref, c)
		}
	}
	b.WriteString("</row>")
	return b.String()
}

func TestXLSXRows(t *testing.T) {
	data := func(rows ...string) string { return "<sheetData>" + strings.Join(rows, "") + "</sheetData>" }
	cases := []struct {
		name    string
		head    string
		bodies  []string
		options Options
		columns []string
		rows    []string
		rejects []string
		reason  string
		places  []string
		err     string
	}{
		{name: "numbers keep their digits, dates are ISO text", bodies: []string{data(
			sheetRow(1, "码", "值", "日", "时刻", "钟", "是"),
			sheetRow(2, "=<c><v>330102000000</v></c>", "=<c><v>3.3010219900101123E+17</v></c>", `=<c s="1"><v>44260</v></c>`, `=<c s="2"><v>44260.354166666664</v></c>`, `=<c s="3"><v>0.5</v></c>`, `=<c t="b"><v>1</v></c>`))},
			columns: []string{"码", "值", "日", "时刻", "钟", "是"}, rows: []string{"2: 330102000000|3.3010219900101123E+17|2021-03-05|2021-03-05T08:30:00|12:00:00|true"}, places: []string{"a.xlsx!月报"}},
		{name: "the 1904 system", head: `<workbookPr date1904="1"/>` + oneSheet, bodies: []string{data(sheetRow(1, "日"), sheetRow(2, `=<c s="1"><v>42798</v></c>`))},
			columns: []string{"日"}, rows: []string{"2: 2021-03-05"}},
		{name: "the 29 February 1900 that never was is rejected", bodies: []string{data(sheetRow(1, "日"), sheetRow(2, `=<c s="1"><v>60</v></c>`), sheetRow(3, `=<c s="1"><v>61</v></c>`))},
			columns: []string{"日"}, rows: []string{"3: 1900-03-01"}, rejects: []string{"2 xlsx.date"}, reason: "cell A2"},
		{name: "a formula gives its stored result, without one the row is rejected", bodies: []string{data(sheetRow(1, "a", "b"), sheetRow(2, `=<c><f>1+1</f><v>2</v></c>`, "x"), sheetRow(3, `=<c><f>1+1</f></c>`, "y"))},
			columns: []string{"a", "b"}, rows: []string{"2: 2|x"}, rejects: []string{"3 xlsx.formula"}, reason: "open the file in a spreadsheet program"},
		{name: "title rows, a header of two rows with merged cells", bodies: []string{data(
			sheetRow(1, "某市市场监管局月报"), sheetRow(2, "", "", "单位：万元"), sheetRow(3, "地区", "2020年", "", "备注"), sheetRow(4, "", "计划", "完成"), sheetRow(6, "杭州市", "=<c><v>1.5</v></c>", "=<c><v>2</v></c>")) +
			`<mergeCells><mergeCell ref="A1:D1"/><mergeCell ref="A3:A4"/><mergeCell ref="B3:C3"/><mergeCell ref="D3:D4"/></mergeCells>`},
			options: Options{Header: HeaderRows{3, 4}}, columns: []string{"地区", "2020年-计划", "2020年-完成", "备注"}, rows: []string{"6: 杭州市|1.5|2|∅"}},
		{name: "a second header row that only merged cells reach into", bodies: []string{data(sheetRow(1, "地区", "值"), sheetRow(2), sheetRow(3, "杭州", "1")) + `<mergeCells><mergeCell ref="A1:A2"/><mergeCell ref="B1:B2"/></mergeCells>`},
			options: Options{Header: HeaderRows{1, 2}}, columns: []string{"地区", "值"}, rows: []string{"3: 杭州|1"}},
		{name: "merged cells of the body are filled if that is wanted", bodies: []string{data(sheetRow(1, "市", "县"), sheetRow(2, "杭州", "a"), sheetRow(3, "", "b"), sheetRow(4, "宁波", "c")) + `<mergeCells><mergeCell ref="A2:A3"/></mergeCells>`},
			options: Options{FillMerged: true}, columns: []string{"市", "县"}, rows: []string{"2: 杭州|a", "3: 杭州|b", "4: 宁波|c"}},
		{name: "else they are null below the first", bodies: []string{data(sheetRow(1, "市", "县"), sheetRow(2, "杭州", "a"), sheetRow(3, "", "b")) + `<mergeCells><mergeCell ref="A2:A3"/></mergeCells>`},
			columns: []string{"市", "县"}, rows: []string{"2: 杭州|a", "3: ∅|b"}},
		{name: "a value beyond the header is rejected, not lost", bodies: []string{data(sheetRow(1, "a", "b"), sheetRow(2, "1", "2", "注"), sheetRow(3, "3", "4"))},
			columns: []string{"a", "b"}, rows: []string{"3: 3|4"}, rejects: []string{"2 xlsx.fields"}, reason: "cell C2 holds a value, but the header ends at column B"},
		{name: "subtotals and notes are rows", bodies: []string{data(sheetRow(1, "地区", "值"), sheetRow(2, "合计", "3"), sheetRow(3, "注：略"))},
			columns: []string{"地区", "值"}, rows: []string{"2: 合计|3", "3: 注：略|∅"}},
		{name: "wholly empty rows are not rows", bodies: []string{data(sheetRow(2, "a", "b"), sheetRow(3), sheetRow(4, `=<c s="1"/>`, ""), sheetRow(7, "1", "2"))},
			columns: []string{"a", "b"}, rows: []string{"7: 1|2"}},
		{name: "the first visible sheet is read", head: `<sheets><sheet name="x" state="hidden" r:id="rId1"/><sheet name="y" r:id="rId2"/></sheets>`,
			bodies: []string{data(sheetRow(1, "hidden")), data(sheetRow(1, "a"), sheetRow(2, "1"))}, columns: []string{"a"}, rows: []string{"2: 1"}, places: []string{"a.xlsx!y"}},
		{name: "sheets by glob, each with a header of its own", head: `<sheets><sheet name="1月" r:id="rId1"/><sheet name="2月" r:id="rId2"/><sheet name="说明" r:id="rId3"/></sheets>`,
			bodies:  []string{data(sheetRow(1, "a"), sheetRow(2, "1")), data(sheetRow(1, "标题"), sheetRow(2, "a"), sheetRow(3, "2")), data(sheetRow(1, "x"))},
			options: Options{Sheet: Strings{"*月"}}, columns: []string{"标题"}, rows: []string{"2: 1", "2: a", "3: 2"}, places: []string{"a.xlsx!1月", "a.xlsx!2月"}},
		{name: "a sheet by number", head: `<sheets><sheet name="x" r:id="rId1"/><sheet name="y" r:id="rId2"/></sheets>`,
			bodies: []string{data(sheetRow(1, "a")), data(sheetRow(1, "b"), sheetRow(2, "1"))}, options: Options{Sheet: Strings{"2"}}, columns: []string{"b"}, rows: []string{"2: 1"}},
		{name: "a sheet that is not there is told with those that are", head: oneSheet, bodies: []string{data()}, options: Options{Sheet: Strings{"年报"}}, err: `no sheet is named 年报; there are: "月报"`},
		{name: "prefixes, entities, escapes, runs and CDATA", bodies: []string{
			`<x:sheetData xmlns:x="u"><x:row r="1"><x:c r="A1" t="str"><x:v>a&amp;b</x:v></x:c></x:row><x:row r="2"><x:c r="A2" t="inlineStr"><x:is><x:r><x:t>甲_x000A_</x:t></x:r><x:rPh><x:t>no</x:t></x:rPh><x:r><x:t><![CDATA[<乙>]]>&#x4E19;</x:t></x:r></x:is></x:c></x:row></x:sheetData><x:mergeCells/>`},
			columns: []string{"a&b"}, rows: []string{"2: 甲\n<乙>丙"}},
		{name: "rows and cells without references count on", bodies: []string{`<sheetData><row><c t="str"><v>a</v></c><c t="str"><v>b</v></c></row><row><c><v>1</v></c><c><v>2</v></c></row></sheetData>`},
			columns: []string{"a", "b"}, rows: []string{"2: 1|2"}},
		{name: "columns stand in for a missing header", bodies: []string{data(sheetRow(1, "标题"), sheetRow(2, "1", "2"))}, options: Options{SkipRows: 1, Columns: []string{"a", "b"}},
			columns: []string{"a", "b"}, rows: []string{"2: 1|2"}},
		{name: "an empty sheet lacks its header", bodies: []string{"<sheetData/>"}, err: "a.xlsx!月报: there is no header row: the sheet is empty"},
		{name: "a sheet cut short is told", bodies: []string{"<sheetData>" + sheetRow(1, "a") + "<row r=\"2\"><c>"}, err: "</worksheet> closes <c>"},
		{name: "a document type is refused", bodies: []string{`<!DOCTYPE x [<!ENTITY a "b">]>` + data()}, err: "refused as unsafe"},
		{name: "a shared text that is not there is told", bodies: []string{data(sheetRow(1, "a"), sheetRow(2, `=<c t="s"><v>7</v></c>`))}, err: "the workbook has none"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			if c.head == "" {
				c.head = oneSheet
			}
			p.write("a.xlsx", sheets(t, c.head, c.bodies...))
			c.options.Path = Strings{"a.xlsx"}
			r := p.read(p.open(c.options), "a.xlsx", nil)
			if c.err != "" {
				if r.err == nil || !strings.Contains(r.err.Error(), c.err) {
					t.Errorf("got error %v, want one with %q", r.err, c.err)
				}
				return
			}
			if r.err != nil {
				t.Fatal(r.err)
			}
			diff(t, "columns", r.columns, c.columns)
			diff(t, "rows", r.rows, c.rows)
			diff(t, "rejects", r.rejects, c.rejects)
			if c.places != nil {
				diff(t, "places", r.places, c.places)
			}
			if c.reason != "" && !strings.Contains(strings.Join(r.reasons, "\n"), c.reason) {
				t.Errorf("reasons %q lack %q", r.reasons, c.reason)
			}
		})
	}
}

// TestXLSXWithASecondSheetThatCannotBeRead: what stands in the first one arrives.
func TestXLSXWithASecondSheetThatCannotBeRead(t *testing.T) {
	p := newProject(t)
	p.write("a.xlsx", sheets(t, `<sheets><sheet name="x" r:id="rId1"/><sheet name="y" r:id="rId2"/></sheets>`,
		"<sheetData>"+sheetRow(1, "a")+sheetRow(2, "1")+"</sheetData>", "<sheetData/>"))
	src := p.open(Options{Path: Strings{"a.xlsx"}, Sheet: Strings{"*"}})
	r := p.read(src, "a.xlsx", nil)
	diff(t, "rows", r.rows, []string{"2: 1"})
	diff(t, "replaces", r.replaces, []bool{false})
	if r.err == nil || !strings.Contains(r.err.Error(), "a.xlsx!y: there is no header row") {
		t.Errorf("got error %v", r.err)
	}
	if again := p.read(src, "a.xlsx", r.cursor()); again.err == nil || len(again.rows) > 0 {
		t.Errorf("trying again gave %d rows and error %v", len(again.rows), again.err)
	}
}

// TestXLSXByAnotherProgram reads what excelize writes: shared and streamed texts, real styles.
func TestXLSXByAnotherProgram(t *testing.T) {
	for _, streamed := range []bool{false, true} {
		f := excelize.NewFile()
		style, err := f.NewStyle(&excelize.Style{CustomNumFmt: new(`yyyy"年"m"月"d"日"`)})
		if err != nil {
			t.Fatal(err)
		}
		day := time.Date(2021, 3, 5, 0, 0, 0, 0, time.UTC)
		if streamed {
			w, err := f.NewStreamWriter("Sheet1")
			if err != nil {
				t.Fatal(err)
			}
			for row, values := range [][]any{{"名称", "值", "日"}, {"杭州 <市>", 0.1, excelize.Cell{StyleID: style, Value: 44260}}} {
				if err := w.SetRow(fmt.Sprintf("A%d", row+1), values); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		} else {
			for ref, value := range map[string]any{"A1": "名称", "B1": "值", "C1": "日", "A2": "杭州 <市>", "B2": 0.1, "C2": day} {
				if err := f.SetCellValue("Sheet1", ref, value); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.SetCellStyle("Sheet1", "C2", "C2", style); err != nil {
				t.Fatal(err)
			}
		}
		b, err := f.WriteToBuffer()
		if err != nil {
			t.Fatal(err)
		}
		p := newProject(t)
		p.write("a.xlsx", b.Bytes())
		r := p.read(p.open(Options{Path: Strings{"a.xlsx"}}), "a.xlsx", nil)
		if r.err != nil {
			t.Fatal(r.err)
		}
		diff(t, "rows", r.rows, []string{"2: 杭州 <市>|0.1|2021-03-05"})

		var encrypted bytes.Buffer
		if err := f.Write(&encrypted, excelize.Options{Password: "secret"}); err != nil {
			t.Fatal(err)
		}
		p.write("b.xlsx", encrypted.Bytes())
		if r := p.read(p.open(Options{Path: Strings{"b.xlsx"}}), "b.xlsx", nil); r.err == nil || !strings.Contains(r.err.Error(), "protected with a password") {
			t.Errorf("an encrypted workbook gave the error %v", r.err)
		}
	}
}

func TestDateFormats(t *testing.T) {
	cases := map[string]dateKind{
		"General": noDate, "0.00": noDate, "#,##0.00_);[Red](#,##0.00)": noDate, "0.00E+00": noDate, `"d"0`: noDate, "[h]:mm:ss": noDate, "[$¥-804]#,##0": noDate, "@": noDate, `0\d`: noDate, "# ?/?": noDate,
		"yyyy-mm-dd": dateOnly, `yyyy"年"m"月"d"日"`: dateOnly, `[$-804]yyyy"年"m"月";@`: dateOnly, "mmm-yy": dateOnly, `m"月"d"日"`: dateOnly, "aaaa": dateOnly, "[DBNum1][$-804]yyyy年m月d日": dateOnly, "mm": dateOnly,
		"h:mm": timeOnly, "上午/下午h:mm": timeOnly, "mm:ss.0": timeOnly, "h:mm AM/PM": timeOnly,
		"m/d/yy h:mm": dateAndTime, `yyyy"年"m"月"d"日" h"时"mm"分"`: dateAndTime,
	}
	for format, want := range cases {
		if got := formatDate(format); got != want {
			t.Errorf("%s shows %v, want %v", format, got, want)
		}
	}
}

func TestSerialNumbers(t *testing.T) {
	cases := []struct {
		number string
		kind   dateKind
		system bool
		want   string
	}{
		{"44260", dateOnly, false, "2021-03-05"}, {"44561", dateOnly, false, "2021-12-31"}, {"43890", dateOnly, false, "2020-02-29"}, {"61", dateOnly, false, "1900-03-01"},
		{"59", dateOnly, false, "1900-02-28"}, {"1", dateOnly, false, "1900-01-01"}, {"25569", dateOnly, false, "1970-01-01"}, {"42798", dateOnly, true, "2021-03-05"}, {"0", dateOnly, true, "1904-01-01"},
		{"2958465", dateOnly, false, "9999-12-31"}, {"44260", dateAndTime, false, "2021-03-05T00:00:00"}, {"44260.5", dateOnly, false, "2021-03-05T12:00:00"}, {"44260.000005787037", dateAndTime, false, "2021-03-05T00:00:00.500"},
		{"0.25", timeOnly, false, "06:00:00"}, {"1.25", timeOnly, false, "1900-01-01T06:00:00"}, {"44260.99999999999", dateOnly, false, "2021-03-06"},
		{"60", dateOnly, false, ""}, {"60.5", dateAndTime, false, ""}, {"0", dateOnly, false, ""}, {"-1", dateOnly, false, ""}, {"2958466", dateOnly, false, ""}, {"NaN", dateOnly, false, ""}, {"Inf", dateOnly, false, ""}, {"1e400", dateOnly, false, ""}, {"x", dateOnly, false, ""},
	}
	for _, c := range cases {
		got, err := serialText(c.number, c.kind, c.system)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s shown as %v is %q, %v; want %q", c.number, c.kind, got, err, c.want)
		}
	}
}

// FuzzSerialText: no panic; agreement with excelize's conversion on the day, and the order of serials is the order of texts.
func FuzzSerialText(f *testing.F) {
	f.Add(44260.5, false)
	f.Add(60.0, false)
	f.Add(0.1, true)
	f.Fuzz(func(t *testing.T, serial float64, system1904 bool) {
		text, err := serialText(fmt.Sprint(serial), dateAndTime, system1904)
		if err != nil {
			return
		}
		got, err := time.Parse("2006-01-02T15:04:05.999", text)
		if err != nil {
			t.Fatalf("%v is shown as %q: %v", serial, text, err)
		}
		want, err := excelize.ExcelDateToTime(serial, system1904)
		if err != nil {
			t.Fatal(err)
		}
		if d := got.Sub(want); d.Abs() > 2*time.Second {
			t.Errorf("%v is %v here and %v elsewhere", serial, got, want)
		}
	})
}

// FuzzXMLScanner: no panic, and what Go's own decoder takes for well-formed gives the same elements and texts here.
func FuzzXMLScanner(f *testing.F) {
	f.Add([]byte(`<a x="1"><b/>t&amp;<![CDATA[c]]><!-- n --></a>`))
	f.Add([]byte("<?xml version=\"1.0\"?><x:row r='2'><x:c t=\"s\"><v>1</v></x:c></x:row>"))
	f.Fuzz(func(t *testing.T, document []byte) {
		if len(document) > 4096 {
			return
		}
		ours, ourErr := scanXML(document)
		theirs, err := slowXML(document)
		if err == nil && ourErr == nil && ours != theirs {
			t.Errorf("got %q, want %q", ours, theirs)
		}
		if one, oneErr := scanXML(document, 1); one != ours || (oneErr == nil) != (ourErr == nil) {
			t.Errorf("byte by byte: %q, %v; at once: %q, %v", one, oneErr, ours, ourErr)
		}
	})
}

func scanXML(document []byte, step ...int) (string, error) {
	var src io.Reader = bytes.NewReader(document)
	if len(step) > 0 {
		src = oneByteReader{src}
	}
	x := newXMLScanner(src)
	var out strings.Builder
	text := ""
	for {
		kind, err := x.next()
		if err == io.EOF {
			return out.String(), nil
		}
		if err != nil {
			return out.String() + "!", err
		}
		switch kind {
		case xmlStart:
			out.WriteString(text + "<" + string(x.name) + ">")
			text = ""
		case xmlEnd:
			out.WriteString(text + "</" + string(x.name) + ">")
			text = ""
		case xmlText:
			if len(x.lengths) > 0 {
				text += string(x.text)
			}
		}
	}
}

type oneByteReader struct{ r io.Reader }

func (o oneByteReader) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

func slowXML(document []byte) (string, error) {
	if bytes.ContainsRune(document, '\r') || bytes.Contains(document, []byte("<!")) && !bytes.Contains(document, []byte("<![CDATA[")) {
		return "", io.ErrUnexpectedEOF // line ends are not made alike here, and document types are refused
	}
	d := xml.NewDecoder(bytes.NewReader(document))
	var out strings.Builder
	depth, text := 0, ""
	for {
		token, err := d.Token()
		if err == io.EOF {
			return out.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.StartElement:
			out.WriteString(text + "<" + token.Name.Local + ">")
			text, depth = "", depth+1
		case xml.EndElement:
			out.WriteString(text + "</" + token.Name.Local + ">")
			text, depth = "", depth-1
		case xml.CharData:
			if depth > 0 {
				text += string(token)
			}
		}
	}
}
