package schemas

import (
	"fmt"
	"strings"
)

// Column is one column of a table in ClickHouse's terms.
type Column struct {
	Name    string
	Type    string // such as LowCardinality(String)
	Default string // SQL expression; "" when there is none
	Codec   string // such as CODEC(ZSTD(1))
	Comment string // Chinese and English title, description, unit
}

// Definition is the column as CREATE TABLE and ALTER TABLE … ADD COLUMN write it.
func (c Column) Definition() string {
	var b strings.Builder
	b.WriteString(quoteName(c.Name) + " " + c.Type)
	if c.Default != "" {
		b.WriteString(" DEFAULT " + c.Default)
	}
	if c.Comment != "" {
		b.WriteString(" COMMENT " + quoteText(c.Comment))
	}
	if c.Codec != "" {
		b.WriteString(" " + c.Codec)
	}
	return b.String()
}

func quoteName(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

func quoteText(text string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'", "\n", "\\n").Replace(text) + "'"
}

// lineage lists the system columns. The order and types are frozen: loaders of different versions write the same tables.
var lineage = always([]Field{
	{Name: "_version", Type: Type{Kind: KindUint64}, Title: Title{"版本", "Version"},
		Description: "Place of the record in its source's own order; of records with the same key the highest counts."},
	{Name: "_deleted", Type: Type{Kind: KindUint8}, Title: Title{"已删除", "Deleted"}, Default: int64(0),
		Description: "1 when the record is gone from its source."},
	{Name: "_source", Type: Type{Kind: KindLabel}, Title: Title{"来源", "Source"},
		Description: "Source as configured in the project."},
	{Name: "_stream", Type: Type{Kind: KindLabel}, Title: Title{"数据流", "Stream"},
		Description: "Table, sheet, endpoint or file set of the source."},
	{Name: "_shard", Type: Type{Kind: KindLabel}, Title: Title{"分片", "Shard"},
		Description: "Part of the stream that was read by itself; empty when the stream is not split."},
	{Name: "_place", Type: Type{Kind: KindLabel}, Title: Title{"位置", "Place"},
		Description: "Where the row stood: file and sheet, or table."},
	{Name: "_row", Type: Type{Kind: KindUint64}, Title: Title{"行号", "Row"},
		Description: "Number of the row in its place, counted from 1; 0 when rows have no number there."},
	{Name: "_topic", Type: Type{Kind: KindLabel}, Title: Title{"主题", "Topic"},
		Description: "Kafka topic through which the row came."},
	{Name: "_partition", Type: Type{Kind: KindInt32}, Title: Title{"分区", "Partition"},
		Description: "Partition of the topic."},
	{Name: "_incarnation", Type: Type{Kind: KindLabel}, Title: Title{"日志标识", "Incarnation"},
		Description: "Identity of the partition's log; another one after a topic was deleted and created again."},
	{Name: "_offset", Type: Type{Kind: KindInt64}, Title: Title{"偏移量", "Offset"},
		Description: "Offset of the message that brought the row."},
	{Name: "_index", Type: Type{Kind: KindUint32}, Title: Title{"批内行序", "Index"},
		Description: "Position of the row in its batch, counted from 0."},
	{Name: "_run", Type: Type{Kind: KindLabel}, Title: Title{"运行", "Run"},
		Description: "Run that read the row."},
	{Name: "_mapping", Type: Type{Kind: KindLabel}, Title: Title{"映射版本", "Mapping"},
		Description: "Version of the mapping that made the record."},
	{Name: "_extracted_at", Type: Type{Kind: KindTimestamp, Zone: "UTC", Precision: 6}, Title: Title{"提取时间", "Extracted at"},
		Description: "When the content that holds the row was read from the source."},
	{Name: "_flags", Type: Type{Kind: KindArray, Elem: &Type{Kind: KindLabel}}, Title: Title{"警告", "Flags"},
		Description: "Names of the warning rules that the record breaks."},
})

// always marks system columns: every row has a value.
func always(fields []Field) []Field {
	for i := range fields {
		fields[i].Required, fields[i].Sensitivity = true, Internal
	}
	return fields
}

// Lineage returns the system columns that every table of a schema with Lineage carries after its own fields: version,
// deletion mark, and where the row came from. Names, order and types are frozen.
func Lineage() []Field { return append([]Field(nil), lineage...) }

// System returns the columns that the table has beside the schema's fields: Lineage, or for Headwater's own tables
// only _version and _deleted.
func (s *Schema) System() []Field {
	if s.Lineage {
		return Lineage()
	}
	return Lineage()[:2]
}

// Columns returns all columns of the table, the schema's fields first.
func (s *Schema) Columns() []Column {
	fields := append(append([]Field(nil), s.Fields...), s.System()...)
	columns := make([]Column, len(fields))
	for i, f := range fields {
		columns[i] = f.Column()
	}
	return columns
}

// Column returns the field's column.
func (f Field) Column() Column {
	return Column{
		Name:    f.Name,
		Type:    f.Type.ClickHouse(f.Nullable()),
		Default: f.defaultSQL(),
		Codec:   f.Type.codec(),
		Comment: f.comment(),
	}
}

func (f Field) comment() string {
	text := f.Title.Zh + " / " + f.Title.En
	if f.Description != "" {
		text += ": " + f.Description
	}
	if f.Unit != "" {
		text += " [" + f.Unit + "]"
	}
	return text
}

func (f Field) defaultSQL() string {
	switch v := f.Default.(type) {
	case nil:
		return ""
	case string:
		switch f.Type.Kind {
		case KindDecimal:
			return fmt.Sprintf("toDecimal%d(%s, %d)", decimalWidth(f.Type.Precision), quoteText(v), f.Type.Scale)
		case KindDate:
			return "toDate32(" + quoteText(v) + ")"
		case KindTimestamp:
			return fmt.Sprintf("toDateTime64(%s, %d, %s)", quoteText(v), f.Type.fraction(), quoteText(f.Type.zone()))
		}
		return quoteText(v)
	default:
		return fmt.Sprint(v)
	}
}

// decimalWidth is the size of ClickHouse's decimal with that many digits, in bits.
func decimalWidth(precision int) int {
	switch {
	case precision <= 9:
		return 32
	case precision <= 18:
		return 64
	}
	return 128
}

// dedupWindow is how many inserted blocks a table remembers by token (PROTOCOL: the default is 0, off).
const dedupWindow = 10000

// CreateTable returns the statement that creates the schema's table in the database if it is not there.
func (s *Schema) CreateTable(database string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s.%s\n(\n", quoteName(database), quoteName(s.TableName()))
	for i, c := range s.Columns() {
		if i > 0 {
			b.WriteString(",\n")
		}
		b.WriteString("    " + c.Definition())
	}
	b.WriteString("\n)\nENGINE = ReplacingMergeTree(`_version`, `_deleted`)\n")
	if s.PartitionBy == "year" {
		fmt.Fprintf(&b, "PARTITION BY toYear(%s)\n", quoteName(s.Time))
	}
	fmt.Fprintf(&b, "ORDER BY (%s)\n", strings.Join(s.OrderBy(), ", "))
	fmt.Fprintf(&b, "SETTINGS non_replicated_deduplication_window = %d\n", dedupWindow)
	fmt.Fprintf(&b, "COMMENT %s", quoteText(fmt.Sprintf("%s / %s (v%d): %s", s.Title.Zh, s.Title.En, s.Version, s.Description)))
	return b.String()
}

// OrderBy returns the quoted columns of the table's sorting key: the key fields and, where history is kept, the version.
func (s *Schema) OrderBy() []string {
	var out []string
	for _, name := range s.Key() {
		out = append(out, quoteName(name))
	}
	if s.History {
		out = append(out, quoteName("_version"))
	}
	return out
}
