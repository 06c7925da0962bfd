package schemas

import (
	"fmt"
	"reflect"
	"slices"
)

// Change is one difference between two versions of a schema that a table can follow by itself.
type Change struct {
	Kind   ChangeKind
	Field  string // "" for ChangeTable
	Column Column // the column as it shall be; zero for ChangeTable
	Text   string // for people
}

// ChangeKind says what a migration has to do.
type ChangeKind string

// The kinds of compatible changes.
const (
	ChangeAdd     ChangeKind = "add"     // ALTER TABLE … ADD COLUMN
	ChangeType    ChangeKind = "type"    // ALTER TABLE … MODIFY COLUMN: the type is wider, or null is allowed now
	ChangeDefault ChangeKind = "default" // ALTER TABLE … MODIFY COLUMN: another default
	ChangeComment ChangeKind = "comment" // ALTER TABLE … COMMENT COLUMN
	ChangeTable   ChangeKind = "table"   // ALTER TABLE … MODIFY COMMENT
	ChangeRules   ChangeKind = "rules"   // nothing to do in the table: other rules hold from now on
)

// Compare tells what differs between two versions of one schema. Changes can be followed by ALTER TABLE without touching
// rows; breaking says, one sentence each, what would make the rows that are there wrong or unreadable.
func Compare(old, new *Schema) (changes []Change, breaking []string) {
	broken := func(format string, args ...any) { breaking = append(breaking, fmt.Sprintf(format, args...)) }

	if old.Name != new.Name {
		broken("%s and %s are different schemas", old.Name, new.Name)
		return nil, breaking
	}
	if new.Version < old.Version {
		broken("version %d is older than version %d", new.Version, old.Version)
	}
	if !slices.Equal(old.Key(), new.Key()) {
		broken("the key was (%s) and would be (%s)", join(old.Key()), join(new.Key()))
	}
	if old.History != new.History {
		broken("history was %t and would be %t: it is part of the table's key", old.History, new.History)
	}
	if old.Lineage != new.Lineage {
		broken("lineage was %t and would be %t", old.Lineage, new.Lineage)
	}
	if old.PartitionBy != new.PartitionBy || old.PartitionBy != "" && old.Time != new.Time {
		broken("the table was split by %q of %q and would be split by %q of %q", old.PartitionBy, old.Time, new.PartitionBy, new.Time)
	}
	for _, was := range old.Fields {
		is, ok := new.Field(was.Name)
		if !ok {
			broken("field %s (%s) would be gone", was.Name, was.Title.Zh)
			continue
		}
		changed, why := compareField(was, is)
		changes = append(changes, changed...)
		breaking = append(breaking, why...)
	}
	for _, is := range new.Fields {
		if _, ok := old.Field(is.Name); ok {
			continue
		}
		switch {
		case is.Key:
			// said already by the comparison of keys
		case !is.Nullable() && is.Default == nil && is.Type.Kind != KindArray:
			broken("field %s is new and required, and the rows that are there have no value", is.Name)
		default:
			changes = append(changes, Change{ChangeAdd, is.Name, is.Column(), fmt.Sprintf("field %s %s is new", is.Name, is.Type)})
		}
	}
	if !reflect.DeepEqual(old.Rules, new.Rules) {
		changes = append(changes, Change{Kind: ChangeRules, Text: "rules of the record changed"})
	}
	if old.Title != new.Title || old.Description != new.Description || old.Version != new.Version {
		changes = append(changes, Change{Kind: ChangeTable, Text: "title, description or version changed"})
	}
	structural := slices.ContainsFunc(changes, func(c Change) bool {
		return c.Kind == ChangeAdd || c.Kind == ChangeType || c.Kind == ChangeDefault
	})
	if structural && new.Version == old.Version {
		broken("fields changed but the version is still %d: raise it", old.Version)
	}
	return changes, breaking
}

func compareField(was, is Field) (changes []Change, breaking []string) {
	broken := func(format string, args ...any) { breaking = append(breaking, fmt.Sprintf(format, args...)) }
	add := func(kind ChangeKind, format string, args ...any) {
		changes = append(changes, Change{kind, is.Name, is.Column(), fmt.Sprintf(format, args...)})
	}
	typeChanged := !was.Type.Equal(is.Type)
	switch {
	case typeChanged && !widens(was.Type, is.Type):
		broken("field %s was %s and would be %s, which does not hold every value", is.Name, was.Type, is.Type)
	case typeChanged && (was.Key || is.Key):
		broken("field %s was %s and would be %s: ClickHouse cannot retype a key", is.Name, was.Type, is.Type)
	case was.Nullable() && !is.Nullable():
		broken("field %s could be empty and would be required", is.Name)
	case typeChanged:
		add(ChangeType, "field %s is %s, was %s", is.Name, is.Type, was.Type)
	case !was.Nullable() && is.Nullable():
		add(ChangeType, "field %s may be empty", is.Name)
	case !reflect.DeepEqual(was.Default, is.Default):
		add(ChangeDefault, "field %s has another default", is.Name)
	}
	if was.Unit != is.Unit {
		broken("field %s was in %q and would be in %q: the values that are there would mean something else", is.Name, was.Unit, is.Unit)
	}
	if was.IsPersonal() != is.IsPersonal() {
		broken("field %s was %s and would be %s: values that are there are hashed and new ones are not, or the other way round", is.Name, was.Sensitivity, is.Sensitivity)
	}
	if was.comment() != is.comment() && was.Unit == is.Unit {
		add(ChangeComment, "title or description of field %s changed", is.Name)
	}
	if !reflect.DeepEqual(was.Rules, is.Rules) || was.Required && !is.Required && !is.Nullable() {
		add(ChangeRules, "rules of field %s changed", is.Name)
	}
	return changes, breaking
}

// widens reports whether every value of was is one of is, meaning the same.
func widens(was, is Type) bool {
	switch was.Kind {
	case KindInt64:
		// Every int64 has at most 19 digits. float64 is no wider: it loses whole numbers above 2^53.
		return is.Kind == KindDecimal && is.Precision-is.Scale >= 19
	case KindDecimal:
		return is.Kind == KindDecimal && is.Scale >= was.Scale && is.Precision-is.Scale >= was.Precision-was.Scale
	case KindCode, KindRegion:
		return is.Kind == KindString
	case KindArray:
		// Lists hold codes as text already; any other change of elements rewrites the column.
		return is.Kind == KindArray && (is.Elem.Equal(*was.Elem) || widens(*was.Elem, *is.Elem))
	}
	return false
}

func join(names []string) string {
	out := ""
	for i, n := range names {
		if i > 0 {
			out += ", "
		}
		out += n
	}
	return out
}
