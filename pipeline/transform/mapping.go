package transform

import (
	"context"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/schemas"
)

// Columns that Headwater adds to batches. They pass through Ingress and the mapping does not see them.
const (
	// ColumnPlace is an optional utf8 column: where the row stood, for batches of rows from several places.
	ColumnPlace = "_place"
	// ColumnQuarantine is an optional utf8 column: which quarantined row is replayed. Its presence says that personal columns
	// were masked before.
	ColumnQuarantine = "_quarantine"
)

var reserved = []string{connectors.ColumnRow, connectors.ColumnVersion, connectors.ColumnDeleted, ColumnPlace, ColumnQuarantine}

// Mapping turns one stream's batches into records of a standard schema. It is immutable and safe for use from several
// goroutines.
type Mapping struct {
	source, stream string
	version        string
	mem            memory.Allocator
	schema         *schemas.Schema
	arrow          *arrow.Schema

	fields    []*fieldPlan // by field; nil for the field that unpivot fills
	order     []int        // fields evaluated for each row, dependencies first
	unpivot   *unpivotPlan
	versions  *fieldPlan
	tombstone *fieldPlan
	filters   []filter
	rules     []recordRule
	masked    []*maskedColumn
	needs     []string        // columns that the mapping reads
	kept      map[string]bool // columns that leave the process

	pool scratchPool
}

type filter struct {
	name string
	when *expression
}

type recordRule struct {
	name    string
	warning bool
	message string
	when    *expression
}

// maskedColumn is a column that Ingress makes of a personal field.
type maskedColumn struct {
	plan   *fieldPlan
	column string
	kind   string
	key    string // name of the key, of hashes
	secret secret.Value
	// algorithm is the hash function under that key.
	algorithm func() hash.Hash
}

// need notes a column that the mapping reads.
func (m *Mapping) need(column string) {
	if !slices.Contains(m.needs, column) {
		m.needs = append(m.needs, column)
	}
	m.kept[column] = true
}

// maybe notes a column that the mapping reads if it is there.
func (m *Mapping) maybe(column string) { m.kept[column] = true }

// Version names what shapes the stream's records, in 12 hex digits: mapping, schema, code lists and lookups.
func (m *Mapping) Version() string { return m.version }

// Schema returns the standard schema that the stream is mapped to.
func (m *Mapping) Schema() *schemas.Schema { return m.schema }

// Missing returns the columns that the mapping reads and that the input lacks, sorted. Rows of such a batch are quarantined.
func (m *Mapping) Missing(schema *arrow.Schema) []string {
	var missing []string
	for _, name := range m.needs {
		if schema.HasField(name) {
			continue
		}
		// After Ingress the columns of a personal field stand for it under another name, or are gone.
		masked := slices.ContainsFunc(m.masked, func(c *maskedColumn) bool {
			return slices.Contains(c.plan.source.columns, name) && (c.kind == "drop" || c.column != name && schema.HasField(c.column))
		})
		if !masked {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

// Columns returns the schema of the records that Ingress gives for a schema of records.
func (m *Mapping) Columns(schema *arrow.Schema) *arrow.Schema {
	fields, _ := m.project(schema)
	return arrow.NewSchema(fields, nil)
}

// project lists the columns that leave the process and where they come from: an index in the record, or -1 - k for
// masked[k].
func (m *Mapping) project(schema *arrow.Schema) (fields []arrow.Field, from []int) {
	done := map[int]bool{}
	personal := func(k int) {
		if done[k] || m.masked[k].kind == "drop" {
			return
		}
		done[k] = true
		fields = append(fields, m.masked[k].field())
		from = append(from, -1-k)
	}
	for i, f := range schema.Fields() {
		k := slices.IndexFunc(m.masked, func(c *maskedColumn) bool { return c.column == f.Name })
		switch {
		case k >= 0 && isMasked(f):
			fields, from = append(fields, f), append(from, i)
			done[k] = true
		case k >= 0:
			if m.masked[k].readable(schema) {
				personal(k)
			}
		case m.kept[f.Name] || slices.Contains(reserved, f.Name):
			if slices.IndexFunc(fields, func(other arrow.Field) bool { return other.Name == f.Name }) < 0 {
				fields, from = append(fields, f), append(from, i)
			}
		}
	}
	for k, c := range m.masked {
		// A masked column with a name of its own stands at the end, if the columns that it is made of are there.
		if c.column != c.sourceName() && !done[k] && c.readable(schema) {
			personal(k)
		}
	}
	return fields, from
}

// readable reports whether the columns that the field is made of are there. If not, there is nothing to hide, no masked
// column is made, and Apply finds that it is missing.
func (c *maskedColumn) readable(schema *arrow.Schema) bool {
	for _, name := range c.plan.source.columns {
		f, ok := schema.FieldsByName(name)
		if !ok || !hasText(f[0].Type) {
			return false
		}
	}
	return true
}

func (c *maskedColumn) sourceName() string {
	if c.plan.source.kind == sourceColumn {
		return c.plan.source.columns[0]
	}
	return ""
}

func (c *maskedColumn) field() arrow.Field {
	how := c.kind
	if c.key != "" {
		how += ":" + c.key
	}
	return arrow.Field{Name: c.column, Type: arrow.BinaryTypes.String, Nullable: true, Metadata: arrow.NewMetadata([]string{maskedMetadata}, []string{how})}
}

func isMasked(f arrow.Field) bool {
	_, ok := f.Metadata.GetValue(maskedMetadata)
	return ok
}

// arrives reports whether a personal field's values are masked in the record already.
func (c *maskedColumn) arrives(rec arrow.Record) bool {
	if c.kind == "drop" && !slices.ContainsFunc(c.plan.source.columns, rec.Schema().HasField) {
		return true
	}
	for _, i := range rec.Schema().FieldIndices(c.column) {
		if isMasked(rec.Schema().Field(i)) || rec.Schema().HasField(ColumnQuarantine) {
			return true
		}
	}
	return rec.Schema().HasField(ColumnQuarantine)
}

// Ingress makes a batch fit to leave the department's process. It keeps only the columns that mapping, filters or keep name
// and Headwater's own, applies the rules on personal fields, and masks or hashes those. Rows that break such a rule are
// taken out and come back as rejects: Rule holds the names of all broken rules separated by commas, Reason all messages, Raw
// the row's kept columns as JSON with masked values, cut to 4 KiB; Row is the row's `_row`. A column that the source no
// longer has is no reject: Apply says so. The caller releases kept.
func (m *Mapping) Ingress(ctx context.Context, rec arrow.Record) (kept arrow.Record, rejects []connectors.Reject, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	masked, rejected, err := m.ingress(rec)
	if err != nil {
		return nil, nil, err
	}
	if len(rejected) == 0 {
		return masked, nil, nil
	}
	defer masked.Release()
	numbers := newRowNumbers(rec)
	out := make([]bool, rec.NumRows())
	for _, r := range rejected {
		out[r.Row] = true
		reject := connectors.Reject{Row: numbers.at(int(r.Row)), Raw: r.Columns}
		const rawLimit = 4 << 10
		if len(reject.Raw) > rawLimit {
			cut := rawLimit
			for cut > 0 && !utf8.RuneStart(reject.Raw[cut]) {
				cut--
			}
			reject.Raw = reject.Raw[:cut]
		}
		var rules, reasons []string
		for _, b := range r.Breaks {
			rules = append(rules, b.Rule)
			reasons = append(reasons, fmt.Sprintf("%s: %s", b.Field, b.Message))
		}
		reject.Rule, reject.Reason = strings.Join(rules, ","), strings.Join(reasons, "; ")
		rejects = append(rejects, reject)
	}
	return dropRows(m.mem, masked, out), rejects, nil
}

// rowNumbers reads `_row`.
type rowNumbers struct {
	cells texts
	ok    bool
}

func newRowNumbers(rec arrow.Record) rowNumbers {
	column := columnOf(rec, connectors.ColumnRow)
	if column == nil {
		return rowNumbers{}
	}
	t, ok := newTexts(column)
	return rowNumbers{t, ok}
}

func (r *rowNumbers) at(i int) int64 {
	if !r.ok {
		return 0
	}
	text, ok := r.cells.at(i)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0 // no number: the row has none
	}
	return n
}

// ingress projects and masks all rows and says which break rules on personal fields.
func (m *Mapping) ingress(rec arrow.Record) (masked arrow.Record, rejected []Rejected, err error) {
	fields, from := m.project(rec.Schema())
	b := &batch{m: m, mem: m.mem, rec: rec, n: int(rec.NumRows()), s: m.pool.get()}
	defer func() { m.pool.put(b.s) }()
	b.readDeleted()
	b.breaks = nil // whether the deletion mark can be read is Apply's to say
	columns := make([]arrow.Array, len(fields))
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, source := range from {
		if source >= 0 {
			columns[i] = rec.Column(source)
			columns[i].Retain()
			continue
		}
		c := m.masked[-1-source]
		if columns[i], err = b.mask(c); err != nil {
			return nil, nil, err
		}
	}
	for k, c := range m.masked {
		// Rules hold for values that are dropped too.
		if c.kind == "drop" && !slices.Contains(from, -1-k) && c.readable(rec.Schema()) {
			arr, err := b.mask(c)
			if err != nil {
				return nil, nil, err
			}
			arr.Release()
		}
	}
	masked = array.NewRecord(arrow.NewSchema(fields, nil), columns, rec.NumRows())
	if len(b.breaks) > 0 && len(m.filters) > 0 {
		found := b.breaks
		b.filter(&Result{})
		b.breaks = slices.DeleteFunc(found, func(k rowBreak) bool { return b.skip != nil && b.skip[k.row] })
	}
	if len(b.breaks) > 0 {
		rejected = b.rejected(masked)
	}
	return masked, rejected, nil
}

// mask evaluates a personal field and hides its values. The caller releases the array.
func (b *batch) mask(c *maskedColumn) (arrow.Array, error) {
	if c.kind == "hash" && !c.secret.IsSet() {
		return nil, fault.Usage(fmt.Errorf("field %s of %s/%s is hashed, but the key %q is not configured", c.plan.field.Name, b.m.source, b.m.stream, c.key))
	}
	v := c.plan.evaluate(b)
	defer v.arr.Release()
	c.plan.judge(b, v.arr)
	values := v.arr.(*array.String)
	hide := newMasker(c.kind, c.key, c.secret, c.algorithm)
	upper := slices.ContainsFunc(c.plan.rules, func(r fieldRule) bool { return r.check != "" })
	out := array.NewStringBuilder(b.mem)
	defer out.Release()
	out.Reserve(b.n)
	var buf []byte
	for i := range b.n {
		if values.IsNull(i) || c.kind == "drop" {
			out.AppendNull()
			continue
		}
		value := values.Value(i)
		if upper {
			value = strings.ToUpper(value) // 33019919900101002x and …X are one person
		}
		buf = hide.append(buf[:0], []byte(value))
		out.Append(string(buf))
	}
	return out.NewArray(), nil
}

// dropRows returns the record without some rows. The caller releases it.
func dropRows(mem memory.Allocator, rec arrow.Record, drop []bool) arrow.Record {
	var parts []arrow.Record
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	columns := make([]arrow.Array, rec.NumCols())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	start := 0
	for i := 0; i <= len(drop); i++ {
		if i == len(drop) || drop[i] {
			if i > start {
				parts = append(parts, rec.NewSlice(int64(start), int64(i)))
			}
			start = i + 1
		}
	}
	if len(parts) == 0 {
		return rec.NewSlice(0, 0)
	}
	rows := int64(0)
	for _, p := range parts {
		rows += p.NumRows()
	}
	for c := range columns {
		pieces := make([]arrow.Array, len(parts))
		for k, p := range parts {
			pieces[k] = p.Column(c)
		}
		joined, err := array.Concatenate(pieces, mem)
		if err != nil {
			panic(fmt.Sprintf("transform: slices of one column do not join: %v", err))
		}
		columns[c] = joined
	}
	return array.NewRecord(rec.Schema(), columns, rows)
}

// readDeleted finds the rows that are gone from the source.
func (b *batch) readDeleted() {
	set := func(i int) {
		if b.deleted == nil {
			b.deleted = make([]bool, b.n)
		}
		b.deleted[i] = true
	}
	if column := columnOf(b.rec, connectors.ColumnDeleted); column != nil {
		if flags, ok := column.(*array.Boolean); ok {
			for i := range b.n {
				if flags.IsValid(i) && flags.Value(i) {
					set(i)
				}
			}
		} else if cells, ok := newTexts(column); ok {
			for i := range b.n {
				if text, ok := cells.at(i); ok {
					if gone, ok := parseBool(text, true); ok && gone {
						set(i)
					}
				}
			}
		}
	}
	if p := b.m.tombstone; p != nil {
		gone := b.deleted
		b.deleted = nil
		v := p.evaluate(b)
		defer v.arr.Release()
		flags := v.arr.(*array.Boolean)
		b.deleted = gone
		for i := range b.n {
			if flags.IsValid(i) && flags.Value(i) {
				set(i)
			}
		}
	}
}

// rejected groups the breaks by row. masked is the record whose columns are shown.
func (b *batch) rejected(masked arrow.Record) []Rejected {
	slices.SortStableFunc(b.breaks, func(x, y rowBreak) int {
		if x.row != y.row {
			return int(x.row) - int(y.row)
		}
		return fieldOrder(x.field) - fieldOrder(y.field)
	})
	writer := newRowWriter(masked, b.m.kept)
	var out []Rejected
	for _, broken := range b.breaks {
		if len(out) == 0 || out[len(out)-1].Row != broken.row {
			out = append(out, Rejected{Row: broken.row, Columns: writer.row(int(broken.row))})
		}
		r := &out[len(out)-1]
		if len(r.Breaks) < maxBreaks {
			r.Breaks = append(r.Breaks, broken.Break)
		}
	}
	return out
}

// maxBreaks bounds what is told of one row; only a row that unpivot makes many records of can have more.
const maxBreaks = 100

// fieldOrder puts rules over records, which have no field, last.
func fieldOrder(field int) int {
	if field < 0 {
		return 1 << 30
	}
	return field
}

// rowWriter writes rows as JSON: the columns in order, values as text in canonical form or null. Headwater's own columns are
// left out but for what a replay needs: `_version`, and `_deleted` when it is true. Columns that are not kept never leave
// the process, so they are not written either; nil keeps all.
type rowWriter struct {
	names []string
	cells []texts
}

func newRowWriter(rec arrow.Record, kept map[string]bool) *rowWriter {
	w := &rowWriter{}
	for i, f := range rec.Schema().Fields() {
		switch f.Name {
		case connectors.ColumnRow, ColumnPlace, ColumnQuarantine:
			continue
		case connectors.ColumnVersion, connectors.ColumnDeleted:
		default:
			if kept != nil && !kept[f.Name] {
				continue
			}
		}
		t, ok := newTexts(rec.Column(i))
		if !ok {
			arr := rec.Column(i)
			t = texts{n: arr.Len(), slow: func(i int, buf []byte) ([]byte, bool) {
				if arr.IsNull(i) {
					return nil, false
				}
				return append(buf, arr.ValueStr(i)...), true
			}}
		}
		w.names = append(w.names, f.Name)
		w.cells = append(w.cells, t)
	}
	return w
}

func (w *rowWriter) row(i int) []byte {
	b := []byte{'{'}
	for c, name := range w.names {
		text, ok := w.cells[c].at(i)
		if name == connectors.ColumnDeleted && (!ok || string(text) == "false") || name == connectors.ColumnVersion && !ok {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = appendQuoted(b, name)
		b = append(b, ':')
		if ok {
			b = appendQuoted(b, string(text))
		} else {
			b = append(b, "null"...)
		}
	}
	return append(b, '}')
}

func appendQuoted(b []byte, text string) []byte {
	// The only error is invalid UTF-8, which is then replaced in what was appended.
	out, err := jsontext.AppendQuote(b, text)
	if err != nil {
		out, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(text, "\ufffd"))
	}
	return out
}

// versionsOf reads the rows' places in the source's own order; nil when neither mapping nor connector says.
func (b *batch) versionsOf() []uint64 {
	p := b.m.versions
	if p == nil {
		column := columnOf(b.rec, connectors.ColumnVersion)
		if column == nil {
			return nil
		}
		out := make([]uint64, b.n)
		own := &fieldPlan{field: schemas.Field{Name: "version", Key: true}, index: -1, column: connectors.ColumnVersion}
		if a, ok := column.(*array.Uint64); ok && a.NullN() == 0 {
			copy(out, a.Uint64Values())
			return out
		}
		cells, ok := newTexts(column)
		for i := range out {
			text, present := []byte(nil), false
			if ok {
				text, present = cells.at(i)
			}
			v, err := strconv.ParseUint(string(text), 10, 64)
			if !present || err != nil {
				b.failValue(own, i, "version.invalid", text, "is no version")
			}
			out[i] = v
		}
		return out
	}
	out := make([]uint64, b.n)
	b.settled = nil
	if p.source.kind == sourceConstant || p.source.kind == sourceNone {
		b.failAll(p, "version.invalid", "a constant is no version")
		return out
	}
	arr, ok := b.source(p)
	if !ok {
		return out
	}
	defer arr.Release()
	if p.year != nil {
		years := p.year.evaluate(b)
		defer years.arr.Release()
		b.years = years.arr
		defer func() { b.years = nil }()
	}
	_, isTimestamp := arr.(*array.Timestamp)
	_, isDate := arr.(*array.Date32)
	if isTimestamp || isDate || p.purpose != purposeCanonical || len(p.layouts) > 0 {
		before := len(b.breaks)
		times := p.cast(b, arr)
		defer times.Release()
		broken := map[uint32]bool{}
		for _, k := range b.breaks[before:] {
			broken[k.row] = true
		}
		for i, v := range times.(*array.Timestamp).TimestampValues() {
			switch {
			case times.IsValid(i) && v >= 0:
				out[i] = uint64(v)
			case times.IsValid(i):
				b.failValue(p, i, "version.invalid", appendTimestamp(nil, int64(v), &arrow.TimestampType{Unit: arrow.Microsecond}, time.UTC), "is before 1970")
			case !broken[uint32(i)]:
				b.fail(p, i, "version.invalid", "the row has no version")
			}
		}
		return out
	}
	// Whole numbers are versions as they are; other texts must be times.
	cells := cellsOf(arr)
	clock := b.s.clock(p.zone)
	for i := range out {
		text, present, settled := p.cell(b, &cells, i)
		if settled {
			continue
		}
		if !present {
			b.fail(p, i, "version.invalid", "the row has no version")
			continue
		}
		if v, err := strconv.ParseUint(view(text), 10, 64); err == nil {
			out[i] = v
			continue
		}
		m, problem := p.purpose.read(text, nil)
		if problem != "" {
			b.failValue(p, i, "version.invalid", text, "is neither a whole number nor a time")
			continue
		}
		seconds := m.seconds()
		if m.hasOffset {
			seconds -= int64(m.offset)
		} else {
			seconds = clock.utc(seconds)
		}
		if seconds < 0 {
			b.failValue(p, i, "version.invalid", text, "is before 1970")
			continue
		}
		out[i] = uint64(seconds*1e6 + int64(m.nanos)/1e3)
	}
	return out
}
