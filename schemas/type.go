package schemas

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones must load on machines without zoneinfo: a table's type names one

	"github.com/apache/arrow/go/v17/arrow"
)

// Kind is the family of a type.
type Kind string

// The kinds that a schema file may use.
const (
	KindString    Kind = "string"
	KindInt64     Kind = "int64"
	KindFloat64   Kind = "float64"
	KindDecimal   Kind = "decimal"
	KindBool      Kind = "bool"
	KindDate      Kind = "date"
	KindTimestamp Kind = "timestamp"
	KindCode      Kind = "code"   // a code of the list that Type.List names
	KindRegion    Kind = "region" // a 6-digit region code
	KindArray     Kind = "array"
)

// The kinds of system columns (Lineage); a schema file cannot use them.
const (
	KindUint8  Kind = "uint8"
	KindUint32 Kind = "uint32"
	KindUint64 Kind = "uint64"
	KindInt32  Kind = "int32"
	KindLabel  Kind = "label" // text with few distinct values
)

// DefaultZone is the zone of timestamps that name none. China has had no daylight saving time since 1991.
const DefaultZone = "Asia/Shanghai"

// Type is the type of a field. In files it is text: string, int64, float64, decimal(18,4), bool, date, timestamp,
// timestamp(UTC), code(grain), region, array(string). The zero Type is invalid.
type Type struct {
	Kind      Kind
	Precision int    // decimal: total digits, 1 to 38; timestamp: digits of the second, 0 means 3
	Scale     int    // decimal: digits after the point
	Zone      string // timestamp: IANA name; "" means DefaultZone
	List      string // code: name of the code list
	Elem      *Type  // array: type of the elements, never an array
}

var typeText = regexp.MustCompile(`^([a-z0-9]+)(?:\((.*)\))?$`)

// ParseType reads the text form of a type.
func ParseType(text string) (Type, error) {
	m := typeText.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return Type{}, fmt.Errorf("%q is no type; write one of %s", clip(text), typeForms)
	}
	kind, argument := Kind(m[1]), strings.TrimSpace(m[2])
	hasArgument := strings.Contains(text, "(")
	switch kind {
	case KindString, KindInt64, KindFloat64, KindBool, KindDate, KindRegion:
		if hasArgument {
			return Type{}, fmt.Errorf("type %s takes nothing in brackets", kind)
		}
		return Type{Kind: kind}, nil
	case KindDecimal:
		p, s, ok := strings.Cut(argument, ",")
		precision, err1 := strconv.Atoi(strings.TrimSpace(p))
		scale, err2 := strconv.Atoi(strings.TrimSpace(s))
		if !ok || err1 != nil || err2 != nil || precision < 1 || precision > 38 || scale < 0 || scale > precision {
			return Type{}, fmt.Errorf("decimal needs its total digits (1 to 38) and digits after the point, as in decimal(18,4)")
		}
		return Type{Kind: kind, Precision: precision, Scale: scale}, nil
	case KindTimestamp:
		zone := DefaultZone
		if hasArgument {
			zone = argument
		}
		// LoadLocation takes "" for UTC and "Local" for whatever the machine is set to: neither may name a column's zone.
		if _, err := time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
			return Type{}, fmt.Errorf("%q is no time zone; write one such as timestamp(Asia/Shanghai)", clip(zone))
		}
		return Type{Kind: kind, Zone: zone}, nil
	case KindCode:
		if !namePattern.MatchString(argument) {
			return Type{}, fmt.Errorf("code needs the name of its code list, as in code(grain)")
		}
		return Type{Kind: kind, List: argument}, nil
	case KindArray:
		elem, err := ParseType(argument)
		if err != nil {
			return Type{}, fmt.Errorf("elements of the array: %w", err)
		}
		if elem.Kind == KindArray {
			return Type{}, fmt.Errorf("an array cannot hold arrays")
		}
		return Type{Kind: kind, Elem: &elem}, nil
	}
	return Type{}, fmt.Errorf("%q is no type; write one of %s", clip(text), typeForms)
}

const typeForms = "string, int64, float64, decimal(18,4), bool, date, timestamp, code(LIST), region, array(TYPE)"

// clip bounds a text of unknown origin for messages.
func clip(text string) string {
	const limit = 40
	if r := []rune(text); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return text
}

// String returns the text form, which ParseType reads back.
func (t Type) String() string {
	switch t.Kind {
	case KindDecimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case KindTimestamp:
		return "timestamp(" + t.zone() + ")"
	case KindCode:
		return "code(" + t.List + ")"
	case KindArray:
		return "array(" + t.Elem.String() + ")"
	}
	return string(t.Kind)
}

// MarshalText writes the text form.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the text form.
func (t *Type) UnmarshalText(text []byte) error {
	parsed, err := ParseType(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

func (t Type) zone() string {
	if t.Zone == "" {
		return DefaultZone
	}
	return t.Zone
}

func (t Type) fraction() int {
	if t.Precision == 0 {
		return 3
	}
	return t.Precision
}

// Equal reports whether both types are the same.
func (t Type) Equal(o Type) bool {
	return t.Kind == o.Kind && t.String() == o.String() && t.fractionIfTime() == o.fractionIfTime()
}

func (t Type) fractionIfTime() int {
	if t.Kind != KindTimestamp {
		return 0
	}
	return t.fraction()
}

// Arrow returns the Arrow type: utf8, int64, float64, decimal128, bool, date32, timestamp[ms, zone], list; code and region
// are dictionary<int32, utf8>.
func (t Type) Arrow() arrow.DataType {
	switch t.Kind {
	case KindString:
		return arrow.BinaryTypes.String
	case KindInt64:
		return arrow.PrimitiveTypes.Int64
	case KindFloat64:
		return arrow.PrimitiveTypes.Float64
	case KindDecimal:
		return &arrow.Decimal128Type{Precision: int32(t.Precision), Scale: int32(t.Scale)}
	case KindBool:
		return arrow.FixedWidthTypes.Boolean
	case KindDate:
		return arrow.FixedWidthTypes.Date32
	case KindTimestamp:
		unit := arrow.Millisecond
		if t.fraction() == 6 {
			unit = arrow.Microsecond
		}
		return &arrow.TimestampType{Unit: unit, TimeZone: t.zone()}
	case KindCode, KindRegion, KindLabel:
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	case KindArray:
		return arrow.ListOfNonNullable(t.Elem.elementArrow())
	case KindUint8:
		return arrow.PrimitiveTypes.Uint8
	case KindUint32:
		return arrow.PrimitiveTypes.Uint32
	case KindUint64:
		return arrow.PrimitiveTypes.Uint64
	case KindInt32:
		return arrow.PrimitiveTypes.Int32
	}
	panic(fmt.Sprintf("schemas: type %q was not validated", t.Kind))
}

// elementArrow is the type inside a list. Codes are plain text there: a dictionary inside a list saves nothing on the wire
// that compression does not, and many readers lack it.
func (t Type) elementArrow() arrow.DataType {
	switch t.Kind {
	case KindCode, KindRegion, KindLabel:
		return arrow.BinaryTypes.String
	}
	return t.Arrow()
}

// ClickHouse returns the ClickHouse type of a column that is never null, or of one that may be.
func (t Type) ClickHouse(nullable bool) string {
	var name string
	switch t.Kind {
	case KindString:
		name = "String"
	case KindInt64:
		name = "Int64"
	case KindFloat64:
		name = "Float64"
	case KindDecimal:
		name = fmt.Sprintf("Decimal(%d, %d)", t.Precision, t.Scale)
	case KindBool:
		name = "Bool"
	case KindDate:
		name = "Date32"
	case KindTimestamp:
		name = fmt.Sprintf("DateTime64(%d, '%s')", t.fraction(), t.zone())
	case KindCode, KindRegion, KindLabel:
		if nullable {
			return "LowCardinality(Nullable(String))"
		}
		return "LowCardinality(String)"
	case KindArray:
		// ClickHouse has no nullable arrays: one that is not given is empty.
		return "Array(" + t.Elem.ClickHouse(false) + ")"
	case KindUint8:
		name = "UInt8"
	case KindUint32:
		name = "UInt32"
	case KindUint64:
		name = "UInt64"
	case KindInt32:
		name = "Int32"
	default:
		panic(fmt.Sprintf("schemas: type %q was not validated", t.Kind))
	}
	if nullable {
		return "Nullable(" + name + ")"
	}
	return name
}

// codec returns the column's compression: neighbouring whole numbers and times differ little in a sorted table, so their
// differences compress best.
func (t Type) codec() string {
	switch t.Kind {
	case KindInt64, KindDate, KindTimestamp, KindUint64, KindUint32, KindInt32:
		return "CODEC(Delta, ZSTD(1))"
	}
	return "CODEC(ZSTD(1))"
}
