-- Quality by source and month on the six characteristics of GB/T 36344-2018, each as the standard has them: X = A / B, of B elements that
-- were looked at A are as they should be; nothing was looked at, no score. There is no total: the standard has none.
--
-- 0101 data standard   A = rows that break no rule about type, format or length; B = rows judged.
-- 0105 reference data  A = rows whose codes, regions and looked-up words are in the lists; B = rows judged.
-- 0201 data elements   A = rows that have every value they must; B = rows judged.
-- 0202 data records    A = rows read of those that the source itself counts; B = what it counts, where it can.
-- 0301 content         A = rows that break no other rule of their schema (ranges, check digits, rules between fields); B = rows judged.
-- 0401 same data       A = figures that agree with what other feeds say of the same; B = figures that came by several feeds.
-- 0402 related data    A = figures that agree with what the levels below add up to; B = figures that have something below them.
-- 0502 in time         A = figures first read before the end of the period after their own; B = figures.
-- 0601 accessible      A = runs that read the source to its end; B = runs that ended so or failed.
--
-- Rows judged are those read, without repeated messages, rows left out by a filter, rows that wait for their table, and rows sent again by
-- a replay or repair: each counts once, as it came. A row that breaks rules of several kinds counts against each.
-- The month is that of the run's first reading; of 0401, 0402 and 0502 that of the last day of the period that the figure is about; of 0601
-- that in which the run began.
CREATE OR REPLACE VIEW data_quality_scorecard
(
    source String COMMENT '来源 / Source',
    month Date32 COMMENT '月份 / First day of the month',
    characteristic LowCardinality(String) COMMENT '质量特性代码 / normative, complete, accurate, consistent, timely, accessible',
    characteristic_zh LowCardinality(String) COMMENT '质量特性 / 规范性、完整性、准确性、一致性、时效性、可访问性',
    code LowCardinality(String) COMMENT '指标编号 / Number of the measure in GB/T 36344',
    measure LowCardinality(String) COMMENT '评价指标 / Name of the measure',
    satisfied Float64 COMMENT '符合数 / A: elements that are as they should be',
    evaluated Float64 COMMENT '评价数 / B: elements that were looked at',
    score Nullable(Float64) COMMENT '得分 / A by B; empty when B is 0',
    formula LowCardinality(String) COMMENT '计算公式 / What A and B are'
)
AS
WITH
    months AS
    (
        SELECT l.source AS source, l.run AS run, toDate32(toStartOfMonth(min(ifNull(l.extracted_at, l.loaded_at)))) AS month
        FROM ledger AS l FINAL
        WHERE l._deleted = 0 AND l.source != '' AND (l.source, l.run) NOT IN (SELECT source, run FROM run FINAL WHERE _deleted = 0 AND trigger IN ('replay', 'repair'))
        GROUP BY source, run
    ),
    judged AS
    (
        SELECT m.source AS source, m.month AS month, sum(l.extracted - l.duplicate - l.filtered - l.held) AS rows
        FROM (SELECT source, run, extracted, duplicate, filtered, held FROM ledger FINAL WHERE _deleted = 0) AS l
        INNER JOIN months AS m ON m.source = l.source AND m.run = l.run
        GROUP BY source, month
    ),
    -- Kinds of rules by their names. Those that a schema names are about content, but for patterns and lists.
    x -> x IN ('cast.range', 'cast.whole', 'value.large', 'text.damaged', 'expr.failed', 'filter.failed', 'version.invalid', 'unpivot.empty', 'row.size', 'row.parquet')
        OR match(x, '^(parse|csv|json|xlsx|xml|sql|table)\\.') OR endsWith(x, '.pattern') AS is_form,
    x -> x IN ('code.unknown', 'code.expired', 'lookup.unknown', 'region.unknown', 'region.ambiguous', 'region.damaged', 'region.inexact') OR endsWith(x, '.one_of') AS is_list,
    broken AS
    (
        SELECT
            m.source AS source, m.month AS month,
            countIf(arrayExists(x -> is_form(x), q.rules)) AS form,
            countIf(arrayExists(x -> is_list(x), q.rules)) AS lists,
            countIf(has(q.rules, 'required')) AS missing,
            countIf(arrayExists(x -> NOT (x = 'required' OR is_form(x) OR is_list(x)), q.rules)) AS content
        FROM (SELECT source, run, rules FROM quarantine FINAL WHERE _deleted = 0) AS q
        INNER JOIN months AS m ON m.source = q.source AND m.run = q.run
        GROUP BY source, month
    ),
    by_rule AS
    (
        SELECT source, month, code, toFloat64(greatest(rows - bad, 0)) AS a, toFloat64(rows) AS b
        FROM
        (
            SELECT j.source AS source, j.month AS month, j.rows AS rows, [('0101', toInt64(k.form)), ('0105', toInt64(k.lists)), ('0201', toInt64(k.missing)), ('0301', toInt64(k.content))] AS each
            FROM judged AS j
            LEFT JOIN broken AS k ON k.source = j.source AND k.month = j.month
        )
        ARRAY JOIN each.1 AS code, each.2 AS bad
    ),
    counted AS
    (
        SELECT source, month, '0202' AS code, toFloat64(sum(least(got, there))) AS a, toFloat64(sum(there)) AS b
        FROM
        (
            SELECT m.source AS source, m.month AS month, l.stream AS stream, l.shard AS shard, m.run AS run, sum(l.extracted - l.duplicate) AS got, assumeNotNull(max(l.counted)) AS there, max(l.counted) IS NOT NULL AS known
            FROM (SELECT source, run, stream, shard, extracted, duplicate, counted FROM ledger FINAL WHERE _deleted = 0) AS l
            INNER JOIN months AS m ON m.source = l.source AND m.run = l.run
            GROUP BY source, month, stream, shard, run
        )
        WHERE known
        GROUP BY source, month
    ),
    figures AS
    (
        SELECT
            source, value, period, grain, indicator, region, member, subject,
            toDate32(toStartOfMonth(last_day)) AS month
        FROM observation_placed
    ),
    feeds AS
    (
        SELECT source, month, '0401' AS code, toFloat64(countIf(highest - lowest <= 1e-9 * greatest(abs(highest), abs(lowest), 1))) AS a, toFloat64(count()) AS b
        FROM
        (
            SELECT source, month, max(value) OVER w AS highest, min(value) OVER w AS lowest, count() OVER w AS n
            FROM figures
            WINDOW w AS (PARTITION BY indicator, region, member, subject, grain, period)
        )
        WHERE n > 1
        GROUP BY source, month
    ),
    levels AS
    (
        SELECT
            r.source AS source,
            toDate32(toStartOfMonth(multiIf(
                r.grain = 'week', addDays(toDate32(r.period), 6),
                r.grain = 'quarter', addMonths(toDate32(r.period), 2),
                r.grain = 'half', addMonths(toDate32(r.period), 5),
                r.grain = 'year', addMonths(toDate32(r.period), 11),
                toDate32(r.period)))) AS month,
            '0402' AS code, toFloat64(countIf(r.agrees = 1)) AS a, toFloat64(count()) AS b
        FROM indicator_reconciliation AS r
        WHERE r.rolled_up IS NOT NULL
        GROUP BY source, month
    ),
    arrivals AS
    (
        SELECT source, month, '0502' AS code, toFloat64(countIf(first_read < until)) AS a, toFloat64(count()) AS b
        FROM
        (
            SELECT
                argMin(toString(o._source), (o._extracted_at, o._version)) AS source, min(o._extracted_at) AS first_read,
                toDate32(o.period) AS first_day,
                multiIf(
                    o.grain = 'week', addDays(first_day, 6),
                    o.grain = 'xun', if(toDayOfMonth(first_day) > 20, toLastDayOfMonth(first_day), addDays(first_day, 9)),
                    o.grain = 'month', toLastDayOfMonth(first_day),
                    o.grain = 'quarter', addDays(addMonths(first_day, 3), -1),
                    o.grain = 'half', addDays(addMonths(first_day, 6), -1),
                    o.grain = 'year', addDays(addYears(first_day, 1), -1),
                    first_day) AS last_day,
                toDate32(toStartOfMonth(last_day)) AS month,
                multiIf(
                    o.grain = 'hour', addHours(o.period, 2),
                    toDateTime64(toString(multiIf(
                        o.grain = 'week', addDays(last_day, 8),
                        o.grain = 'xun', if(toDayOfMonth(first_day) BETWEEN 11 AND 20, addDays(toLastDayOfMonth(last_day), 1), addDays(last_day, 11)),
                        o.grain = 'month', addMonths(addDays(last_day, 1), 1),
                        o.grain = 'quarter', addMonths(addDays(last_day, 1), 3),
                        o.grain = 'half', addMonths(addDays(last_day, 1), 6),
                        o.grain = 'year', addYears(addDays(last_day, 1), 1),
                        addDays(last_day, 2))), 3, 'Asia/Shanghai')) AS until
            FROM observation AS o
            WHERE o._deleted = 0
            GROUP BY o.indicator, o.region, o.member, o.subject, o.grain, o.period, o.feed
        )
        GROUP BY source, month
    ),
    reads AS
    (
        SELECT source, toDate32(toStartOfMonth(started_at)) AS month, '0601' AS code, toFloat64(countIf(outcome = 'done')) AS a, toFloat64(count()) AS b
        FROM run FINAL
        WHERE _deleted = 0 AND outcome IN ('done', 'failed')
        GROUP BY source, month
    )
SELECT
    toString(u.source) AS source, u.month AS month,
    transform(substring(u.code, 1, 2), ['01', '02', '03', '04', '05', '06'], ['normative', 'complete', 'accurate', 'consistent', 'timely', 'accessible'], '') AS characteristic,
    transform(substring(u.code, 1, 2), ['01', '02', '03', '04', '05', '06'], ['规范性', '完整性', '准确性', '一致性', '时效性', '可访问性'], '') AS characteristic_zh,
    u.code AS code,
    transform(u.code, ['0101', '0105', '0201', '0202', '0301', '0401', '0402', '0502', '0601'],
        ['数据标准 / Data standard', '权威参考数据 / Reference data', '数据元素完整性 / Data elements', '数据记录完整性 / Data records', '数据内容正确性 / Content', '相同数据一致性 / Same data', '关联数据一致性 / Related data', '基于时间点的及时性 / In time', '可访问 / Accessible'], '') AS measure,
    u.a AS satisfied, u.b AS evaluated, u.a / nullIf(u.b, 0) AS score,
    transform(u.code, ['0101', '0105', '0201', '0202', '0301', '0401', '0402', '0502', '0601'],
        ['rows that break no rule about type, format or length / rows judged',
         'rows whose codes, regions and words are in the lists / rows judged',
         'rows that have every value they must / rows judged',
         'rows read of those that the source counts / rows that it counts',
         'rows that break no other rule of their schema / rows judged',
         'figures that agree with other feeds / figures that came by several feeds',
         'figures that agree with the levels below / figures with something below',
         'figures read before the end of the period after their own / figures',
         'runs that read the source to its end / runs that did or failed'], '') AS formula
FROM
(
    SELECT source, month, code, a, b FROM by_rule
    UNION ALL SELECT source, month, code, a, b FROM counted
    UNION ALL SELECT source, month, code, a, b FROM feeds
    UNION ALL SELECT source, month, code, a, b FROM levels
    UNION ALL SELECT source, month, code, a, b FROM arrivals
    UNION ALL SELECT source, month, code, a, b FROM reads
) AS u
COMMENT '数据质量评分 / Data quality: each source and month on the characteristics of GB/T 36344, A of B for each measure'
