package schemas

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/headwater-data/headwater/internal/problem"
)

// readReference reads a list of reference data: CSV in UTF-8 with exactly these columns, and lines of comment that begin with #. Each
// row is given with its line; what the function returns is what is wrong with it, and what to do. The name is used in problems only.
func readReference(r io.Reader, name string, header []string, each func(line int, fields []string) (bad, fix string)) problem.List {
	var problems problem.List
	report := func(line int, message, fix string) {
		problems = append(problems, problem.Problem{File: name, Line: line, Column: 1, Message: message, Fix: fix})
	}
	data, err := io.ReadAll(io.LimitReader(r, maxRegionBytes+1))
	switch {
	case err != nil:
		report(1, "reading stopped: "+err.Error(), "")
	case len(data) > maxRegionBytes:
		report(1, fmt.Sprintf("the file is larger than %d MiB", maxRegionBytes>>20), "")
	case !utf8.Valid(data):
		report(1, "the file is not UTF-8", "save it as UTF-8")
	}
	if len(problems) > 0 {
		return problems
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	reader.Comment = '#'
	first, err := reader.Read()
	if err != nil || !slices.Equal(first, header) {
		report(1, "the header is not "+strings.Join(header, ","), fmt.Sprintf("give these %d columns in this order", len(header)))
		return problems
	}
	for len(problems) < maxRegionProblems {
		fields, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			report(parse.Line, parse.Err.Error(), "")
			if errors.Is(err, csv.ErrFieldCount) {
				continue
			}
			break
		}
		line, _ := reader.FieldPos(0)
		if bad, fix := each(line, fields); bad != "" {
			report(line, bad, fix)
		}
	}
	return problems
}
