package warehouse

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// factView is the view of indicators that are counted from records. Its text follows from a project's declarations: Sync makes it,
// and Migrate does not know it.
const factView = "indicator_fact"

const factHead = `CREATE OR REPLACE VIEW indicator_fact
(
    indicator String COMMENT '指标代码 / Indicator that declares facts',
    title String COMMENT '指标名称 / Chinese title of the indicator',
    unit String COMMENT '计量单位 / Unit',
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    parent String COMMENT '上级区划 / Region above it at the time',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    value Nullable(Float64) COMMENT '数值 / Figure counted from the records of the region and those below it; of a ratio, empty when there are none that it is a part of',
    numerator Nullable(Float64) COMMENT '分子 / Of a ratio, what counts',
    denominator Nullable(Float64) COMMENT '分母 / Of a ratio, what it is a part of',
    records UInt64 COMMENT '记录数 / Records that went into it'
)
SQL SECURITY INVOKER
AS
`

// syncFacts makes the view anew when the declarations have changed, or when it is not there.
func (w *Warehouse) syncFacts(ctx context.Context, steps map[string]applied, set *schemas.Set, indicators []schemas.Indicator) error {
	text, err := factStatement(set, indicators)
	if err != nil {
		return err
	}
	step := applied{Step: "view " + factView, Hash: hashOf([]byte(text)), Body: text}
	if steps[step.Step].Hash == step.Hash {
		var there uint64
		if err := w.data.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = '"+factView+"'").Scan(&there); err != nil {
			return w.wrap(err, "look for the view "+factView)
		}
		if there > 0 {
			return nil
		}
	}
	// Two processes that synchronise at once replace it both; the statement is harmless when repeated.
	const attempts = 6
	for attempt := 1; ; attempt++ {
		err := w.exec(ctx, "make the view "+factView, text)
		if err == nil {
			return w.record(ctx, step)
		}
		if attempt == attempts || !metAnother(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Duration(attempt) * 100 * time.Millisecond):
		}
	}
}

// factStatement compiles what the indicators declare.
func factStatement(set *schemas.Set, indicators []schemas.Indicator) (string, error) {
	var parts []string
	for _, i := range indicators {
		if i.Facts == nil {
			continue
		}
		schema, ok := set.Schema(i.Facts.Schema)
		if !ok {
			return "", fmt.Errorf("indicator %s is counted from the schema %s, which is not in the set", i.Code, i.Facts.Schema)
		}
		parts = append(parts, factSelect(schema, i))
	}
	if len(parts) == 0 {
		parts = []string{"SELECT '' AS indicator, '' AS how, '' AS grain, '' AS code, toDate32('1970-01-01') AS day, toDate32('1970-01-01') AS last_day, 0. AS n, 0. AS d, 0. AS largest, [''] AS several, toUInt64(0) AS records WHERE 0"}
	}
	return factHead + `WITH
    counted AS
    (
        ` + strings.Join(parts, "\n        UNION ALL\n        ") + `
    ),
    -- Each count goes to its region and all above it, in the tree of the period's last day.
    spread AS
    (
        SELECT c.*, arrayJoin(if(empty(p.steps), [c.code], p.steps.code)) AS region
        FROM counted AS c
        ASOF LEFT JOIN (SELECT toString(code) AS code, since, steps FROM region_path FINAL WHERE _deleted = 0) AS p ON p.code = c.code AND c.last_day >= p.since
    ),
    rolled AS
    (
        SELECT
            indicator, region, grain, day, any(how) AS kind, any(last_day) AS ends, sum(n) AS count, sum(d) AS whole, max(largest) AS highest,
            length(groupUniqArrayArray(several)) AS different, sum(records) AS used
        FROM spread
        GROUP BY indicator, region, grain, day
    )
SELECT
    r.indicator AS indicator, ifNull(i.title_zh, '') AS title, ifNull(i.unit, '') AS unit, r.region AS region, ifNull(l.name, '') AS region_name,
    ifNull(l.level, '') AS level, ifNull(l.parent, '') AS parent, r.grain AS grain, toDateTime64(r.day, 3, 'Asia/Shanghai') AS period,
    multiIf(r.kind = 'ratio', r.count / nullIf(r.whole, 0), r.kind = 'max', toNullable(r.highest), r.kind = 'distinct', toNullable(toFloat64(r.different)), toNullable(r.count)) AS value,
    if(r.kind = 'ratio', toNullable(r.count), NULL) AS numerator, if(r.kind = 'ratio', toNullable(r.whole), NULL) AS denominator, r.used AS records
FROM rolled AS r
ASOF LEFT JOIN (SELECT toString(code) AS code, since, name, toString(level) AS level, toString(parent) AS parent FROM region_path FINAL WHERE _deleted = 0) AS l ON l.code = r.region AND r.ends >= l.since
LEFT JOIN (SELECT code, title_zh, unit FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = r.indicator
COMMENT '事实指标 / Indicators from facts: what the records of standard schemas come to, by region and period, as indicators declare it'`, nil
}

// factSelect counts one indicator by region and period. The condition of the denominator holds for the numerator, too.
func factSelect(schema *schemas.Schema, i schemas.Indicator) string {
	where, of := i.Facts.Conditions()
	all, counted := conditionsSQL(of), conditionsSQL(append(append([]schemas.Condition{}, of...), where...))
	from := quoteName(schema.TableName()) + " FINAL"
	if schema.History {
		// The version is part of the key: the newest one counts.
		key := quoteNames(schema.Key())
		from = "(SELECT * FROM " + quoteName(schema.TableName()) + " ORDER BY " + key + ", _version DESC, _offset DESC, _index DESC LIMIT 1 BY " + key + ")"
	}
	n, d, largest, several := "0.", "0.", "-inf", "CAST([], 'Array(String)')"
	field := quoteName(i.Facts.Field)
	switch i.Facts.Measure {
	case "sum":
		n, d = "toFloat64(sumIf(ifNull("+field+", 0), "+counted+"))", "toFloat64(sumIf(ifNull("+field+", 0), "+all+"))"
	case "max":
		largest = "ifNull(toFloat64(maxIf(" + field + ", " + counted + ")), -inf)"
	case "distinct":
		several = "groupUniqArrayIf(toString(assumeNotNull(" + field + ")), " + counted + " AND isNotNull(" + field + "))"
	default:
		n, d = "toFloat64(countIf("+counted+"))", "toFloat64(countIf("+all+"))"
	}
	present := "1"
	if i.Facts.Measure == "max" || i.Facts.Measure == "distinct" {
		present = "isNotNull(" + field + ")"
	}
	used := "countIf(" + counted + " AND " + present + ")"
	if i.Aggregation == "ratio" {
		used = "countIf(" + all + ")"
	}
	day := "assumeNotNull(toDate32(" + quoteName(i.Facts.Time) + "))"
	first, last := periodSQL(i.Grain, day)
	return fmt.Sprintf("SELECT %s AS indicator, %s AS how, %s AS grain, ifNull(toString(%s), '') AS code, %s AS day, %s AS last_day, %s AS n, %s AS d, %s AS largest, %s AS several, toUInt64(%s) AS records FROM %s WHERE _deleted = 0 AND isNotNull(%s) AND isNotNull(%s) GROUP BY code, day HAVING records > 0",
		quoteText(i.Code), quoteText(i.Aggregation), quoteText(i.Grain), quoteName(i.Facts.Region), first, last, n, d, largest, several, used, from, quoteName(i.Facts.Time), quoteName(i.Facts.Region))
}

// periodSQL gives the first and the last day of the period that a day lies in; the last one in terms of the column day, the first.
func periodSQL(grain, day string) (first, last string) {
	year, month := "toYear("+day+")", "toMonth("+day+")"
	switch grain {
	case "week":
		return "addDays(" + day + ", 1 - toDayOfWeek(" + day + "))", "addDays(day, 6)"
	case "xun":
		return "makeDate32(" + year + ", " + month + ", multiIf(toDayOfMonth(" + day + ") > 20, 21, toDayOfMonth(" + day + ") > 10, 11, 1))",
			"if(toDayOfMonth(day) > 20, toLastDayOfMonth(day), addDays(day, 9))"
	case "month":
		return "makeDate32(" + year + ", " + month + ", 1)", "addDays(addMonths(day, 1), -1)"
	case "quarter":
		return "makeDate32(" + year + ", toQuarter(" + day + ") * 3 - 2, 1)", "addDays(addMonths(day, 3), -1)"
	case "half":
		return "makeDate32(" + year + ", if(" + month + " > 6, 7, 1), 1)", "addDays(addMonths(day, 6), -1)"
	case "year":
		return "makeDate32(" + year + ", 1, 1)", "addDays(addYears(day, 1), -1)"
	}
	return day, "day"
}

// conditionsSQL is true for the records that meet all of them.
func conditionsSQL(conditions []schemas.Condition) string {
	parts := []string{}
	for _, c := range conditions {
		field := quoteName(c.Field.Name)
		unknown := "0" // what has no value meets no comparison, but that it is another one
		if c.Op == "!=" {
			unknown = "1"
		}
		switch {
		case c.Op == "present":
			parts = append(parts, "isNotNull("+field+")")
		case c.Op == "absent":
			parts = append(parts, "isNull("+field+")")
		case c.Other != nil:
			parts = append(parts, "ifNull("+field+" "+c.Op+" "+quoteName(c.Other.Name)+", "+unknown+")")
		default:
			parts = append(parts, "ifNull("+field+" "+c.Op+" "+literalSQL(c)+", "+unknown+")")
		}
	}
	if len(parts) == 0 {
		return "1"
	}
	return "(" + strings.Join(parts, " AND ") + ")"
}

// literalSQL writes a condition's value as the field's type needs it. Every value is quoted, whatever it was checked to be.
func literalSQL(c schemas.Condition) string {
	value := quoteText(c.Value)
	switch c.Field.Type.Kind {
	case schemas.KindInt64, schemas.KindFloat64, schemas.KindDecimal:
		return "toFloat64(" + value + ")"
	case schemas.KindDate:
		return "toDate32(" + value + ")"
	case schemas.KindTimestamp:
		return "toDateTime64(" + value + ", 3, 'Asia/Shanghai')"
	case schemas.KindBool:
		return "toBool(" + value + ")"
	}
	return value
}
