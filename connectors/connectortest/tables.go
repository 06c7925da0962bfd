package connectortest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// The columns of all tables of the kit.
var columns = []string{"id", "名称", "note"}

// hardTable holds values that have been lost somewhere.
func hardTable() Table {
	hard := []any{
		"杭州市", "㐀𠀀", "emoji 👩‍👩‍👧", "e\u0301", "comma, semicolon; tab\t and pipe|", `quote " and ""`, "apostrophe ' and ''", `back\slash \n \N`, "two\nlines", "CR LF\r\nin text",
		" spaces around ", "\u3000full-width\u3000", "\u00a0no-break", "\ufeffmark", "007", "330102199001011234", "3.30102E+17", "-0.0", "1e400", "1,234.50", "NULL", "null", "NaN", "NA", "-;", "—", "true",
		"=1+1", "@SUM(A1)", "<b>&amp;</b>", "]]>", "_x000D_", "{\"a\":[1]}", "#comment", "2021年3月5日", "1.498,9万", strings.Repeat("长", 10_000), "", nil,
	}
	t := Table{Columns: columns}
	for i, v := range hard {
		t.Rows = append(t.Rows, []any{fmt.Sprintf("%03d", i), v, "n"})
	}
	return t
}

// smallTable has n rows in one batch.
func smallTable(n int) func() Table {
	return func() Table {
		t := Table{Columns: columns}
		for i := range n {
			t.Rows = append(t.Rows, []any{fmt.Sprintf("id%06d", i), fmt.Sprintf("名称 %d", i%7), nil})
		}
		return t
	}
}

// fillers are texts of about 2 KiB that cannot be packed much, so that a zip of them is not taken for a bomb.
var fillers = func() []string {
	random := rand.New(rand.NewPCG(20260305, 1))
	texts := make([]string, 64)
	for i := range texts {
		b := make([]byte, 2000)
		for j := range b {
			b[j] = byte('0' + random.IntN(75))
			if strings.IndexByte(`\"&<>_=`, b[j]) >= 0 {
				b[j] = 'x'
			}
		}
		texts[i] = "测" + string(b)
	}
	return texts
}()

// bulkyRows make several batches without being many: about 2 KiB each.
const bulkyRows = 4500

// memoryRows are the rows of the smaller content where memory is measured.
const memoryRows = 2 * bulkyRows

func bulkyTable(n int) func() Table {
	return func() Table {
		t := Table{Columns: columns}
		for i := range n {
			t.Rows = append(t.Rows, []any{fmt.Sprintf("id%07d", i), fillers[i%len(fillers)], fmt.Sprint(i * 7919)})
		}
		return t
	}
}
