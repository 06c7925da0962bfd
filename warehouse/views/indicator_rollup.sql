-- One row for each indicator, region and period: the figure from the lowest level that reports it.
--
-- What counts. A region's own figure counts only while nothing below it, and none of its parts (members, subjects), reports
-- the same indicator and period; else what lies below counts instead. Of several feeds of one figure the one nearest to the
-- source counts: source before direct before manual. A part whose name begins with 其中 (of which) is held in its region's own
-- figure, and never counts beside it or in its place.
-- How it adds up. By the indicator's aggregation over regions: sum; ratio = sum of numerators by sum of denominators, and no
-- value where parts are missing; mean = mean of what lies in a city (weighted by the number of values where the denominator
-- gives one), above that the mean of the cities, a municipality being one; max; distinct = different subjects; last = the
-- value that became known last; none = the region's own figure, whatever lies below, and no value where it has none.
-- Against the target. year_to_date follows the indicator's aggregation over time. plan_value is what the plan expects on the
-- day as_of: between two points of the plan, and from nothing at the year's beginning to the target on the due day, in a
-- straight line; without a plan a sum is expected to grow evenly and any other figure to hold its target all year.
-- status: ahead = the target was reached before the due day and still is; on schedule = at or above plan_value less the
-- tolerance; behind = below. Where less is better, a target is a limit: on schedule = at most plan_value plus the tolerance.
CREATE OR REPLACE VIEW indicator_rollup
(
    indicator String COMMENT '指标代码 / Indicator',
    title String COMMENT '指标名称 / Chinese title of the indicator',
    unit String COMMENT '计量单位 / Unit',
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region: nation, province, city, county; empty when the code is not known',
    parent String COMMENT '上级区划 / Region above it at the time',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    as_of Date32 COMMENT '截至日期 / Day that the figure and its status speak of: the last of the period, or the day on which it was read if that was earlier',
    value Nullable(Float64) COMMENT '汇总值 / Figure of the period, rolled up; empty when it cannot be',
    numerator Nullable(Float64) COMMENT '分子合计 / Sum of numerators',
    denominator Nullable(Float64) COMMENT '分母合计 / Sum of denominators',
    from_below UInt8 COMMENT '来自下级 / 1 when the figure comes from lower levels or parts, 0 when it is the region''s own',
    reported Nullable(Float64) COMMENT '本级上报值 / What the region itself reported, if it did, by the feed nearest to the source',
    figures UInt64 COMMENT '计入数 / Reported figures that went into the value',
    children_reporting UInt64 COMMENT '已报下级数 / Regions directly below that have figures in it',
    children UInt64 COMMENT '下级总数 / Regions directly below that there were in the period',
    feeds Array(String) COMMENT '采集方式 / Feeds that the figures came by',
    known_at DateTime64(6, 'UTC') COMMENT '获知时间 / When the newest of the figures was read',
    year Int64 COMMENT '年度 / Year of the period',
    year_to_date Nullable(Float64) COMMENT '本年累计 / Figure of the year up to the period, where there is a target for it',
    target Nullable(Float64) COMMENT '年度目标 / Target of the year',
    due Nullable(Date32) COMMENT '完成时限 / Day by which the target is due',
    completion_rate Nullable(Float64) COMMENT '完成率 / year_to_date by target; above 1 is real',
    elapsed_share Nullable(Float64) COMMENT '时间进度 / Share of the time to the due day that has passed on as_of',
    plan_value Nullable(Float64) COMMENT '序时计划值 / What the plan expects on as_of',
    tolerance Float64 COMMENT '容差 / How far below the plan is still on schedule, as a share of the target',
    status LowCardinality(String) COMMENT '进度状态代码 / ahead, on schedule or behind; empty without a target or a value',
    status_zh LowCardinality(String) COMMENT '进度状态 / 提前完成、序时推进、滞后'
)
AS
WITH
    -- The figures that came by the feed nearest to the source. Each stands at its own place and at those where no figure counts
    -- because of it: at the regions above, and of a member's subjects at the member.
    standing AS
    (
        SELECT
            *,
            member = '' AND NOT of_subjects AS own,
            arrayMap(x -> (x.1, ''), steps) AS uppers,
            multiIf(own, arraySlice(uppers, 2), member != '' AND of_subjects, arrayPushFront(uppers, (region, member)), uppers) AS covers
        FROM (SELECT *, max(rank) OVER (PARTITION BY indicator, grain, period, region, member, of_subjects) AS best FROM observation_cell)
        WHERE rank = best AND NOT startsWith(member, '其中') -- what is held in its region's own figure
    ),
    counted AS
    (
        SELECT *, own_place AND (of_subjects OR NOT covered) AS counts
        FROM
        (
            SELECT *, place, own_place, max(NOT own_place) OVER (PARTITION BY indicator, grain, period, place) AS covered
            FROM standing
            ARRAY JOIN arrayPushFront(covers, (region, member)) AS place, arrayMap(x -> x = 1, arrayEnumerate(arrayPushFront(covers, (region, member)))) AS own_place
        )
        WHERE own_place
    ),
    rolled AS
    (
        -- Each figure goes to its region and all above it; one that does not count stays with its region, as what was reported.
        SELECT
            s.indicator AS indicator, s.grain AS grain, s.period AS period, s.step.1 AS region,
            any(s.last_day) AS last_day, any(s.aggregation) AS kind,
            sumIf(s.figures, s.counts) AS figures,
            sumIf(s.total, s.counts) AS total,
            sumIf(s.without_parts, s.counts) AS without_parts,
            sumIf(s.numerators, s.counts) AS numerators,
            sumIf(s.denominators, s.counts) AS denominators,
            -- Means above the cities are means of cities: a sum and a weight for each, in one map, because sumMap drops a key
            -- all of whose sums are 0.
            sumMapIf([s.step.3], [s.weighted], [s.weight], s.counts AND s.aggregation = 'mean') AS sums,
            uniqExactArrayIf(s.subjects, s.counts AND s.aggregation = 'distinct') AS subjects,
            multiIf(
                kind = 'ratio', multiIf(without_parts = 0 AND denominators != 0, numerators / denominators, figures = 1, total, NULL),
                kind = 'mean', arrayAvg(arrayMap((x, y) -> x / y, sums.2, sums.3)),
                kind = 'max', maxIf(s.greatest, s.counts),
                kind = 'distinct', multiIf(subjects > 0, toFloat64(subjects), figures = 1, total, NULL),
                kind = 'none', reported,
                kind = 'last', argMaxIf(s.newest, s.known_at, s.counts),
                total) AS value,
            if(without_parts = 0, toNullable(numerators), NULL) AS numerator,
            if(without_parts = 0, toNullable(denominators), NULL) AS denominator,
            countIf(s.own AND (s.counts OR s.aggregation = 'none') AND s.region = s.step.1) = 0 AS from_below,
            if(countIf(s.own AND s.region = s.step.1) > 0, toNullable(maxIf(s.greatest, s.own AND s.region = s.step.1)), NULL) AS reported,
            uniqExactIf(toUInt32OrZero(s.step.2), s.step.2 != '') AS children_reporting,
            groupBitOr(if(s.counts, bitShiftLeft(1, s.rank), 0)) AS ranks,
            max(s.known_at) AS known_at,
            toDate32(max(s.known_at), 'Asia/Shanghai') AS known_on,
            if(known_on >= last_day OR known_on < toDate32(period), last_day, known_on) AS as_of,
            toInt64(toYear(period)) AS year
        FROM (SELECT *, step FROM counted ARRAY JOIN if(counts, steps, arraySlice(steps, 1, 1)) AS step) AS s
        GROUP BY indicator, grain, period, region
        HAVING figures > 0
    ),
    -- When regions directly below each began and ended, as days since 1970. A code counts once, however often it changed.
    kids AS
    (
        SELECT parent, groupArray(began) AS begins, groupArray(ended) AS ends
        FROM
        (
            SELECT ifNull(toString(parent), '') AS parent, code, min(toInt32(valid_from)) AS began, max(toInt32(ifNull(valid_to, toDate32('2299-12-31')))) AS ended
            FROM region FINAL
            WHERE _deleted = 0
            GROUP BY parent, code
        )
        GROUP BY parent
    ),
    targets AS
    (
        SELECT
            c.indicator AS indicator, toString(c.region) AS region, c.year AS year, c.due AS due, c.value AS value, ifNull(c.plan, '') != '' AS has_plan,
            toInt32(makeDate32(c.year, 1, 1)) - 1 AS start,
            toInt32(c.due) - start AS days,
            -- Points of the plan as (days since the year began, value), with the beginning and the due day.
            arrayConcat(
                [(toInt32(0), toFloat64(0))],
                arraySort(x -> x.1, arrayFilter(x -> x.1 > 0 AND x.1 < days, arrayMap(
                    x -> (toInt32(toInt32(makeDate32(c.year, toUInt8OrZero(substring(x.1, 1, 2)), toUInt8OrZero(substring(x.1, 4, 2)))) - start), x.2),
                    JSONExtract(ifNull(c.plan, ''), 'Array(Tuple(String, Float64))')))),
                [(toInt32(days), c.value)]) AS curve
        FROM target_current AS c
    ),
    -- How the year went so far, only where there is a target to hold it against.
    so_far AS
    (
        SELECT
            r.indicator AS indicator, r.grain AS grain, r.period AS period, r.region AS region, r.as_of AS as_of, r.year AS year, r.kind AS kind,
            t.value AS target, t.due AS due, t.start AS start, t.days AS days, t.has_plan AS has_plan, t.curve AS curve,
            multiIf(
                i.time_aggregation = 'sum', sum(r.value) OVER w,
                i.time_aggregation = 'mean', avg(r.value) OVER w,
                i.time_aggregation = 'max', max(r.value) OVER w,
                i.time_aggregation = 'ratio', ifNull(sum(r.numerator) OVER w / nullIf(sum(r.denominator) OVER w, 0), r.value),
                r.value) AS year_to_date
        FROM (SELECT * FROM rolled WHERE indicator IN (SELECT indicator FROM target_current)) AS r
        INNER JOIN targets AS t ON t.indicator = r.indicator AND t.region = r.region AND t.year = r.year
        LEFT JOIN (SELECT code, toString(time_aggregation) AS time_aggregation FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = r.indicator
        WINDOW w AS (PARTITION BY r.indicator, r.region, r.grain, r.year ORDER BY r.period ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    progress AS
    (
        SELECT
            f.indicator AS indicator, f.grain AS grain, f.period AS period, f.region AS region, f.target AS target, f.due AS due,
            f.year_to_date AS year_to_date,
            minIf(f.as_of, f.year_to_date >= f.target) OVER w AS reached_on,
            least(greatest(toInt32(f.as_of) - f.start, 0), f.days) AS day,
            if(f.days > 0, day / f.days, NULL) AS elapsed_share,
            -- The last point of the plan on or before the day.
            arrayLastIndex(x -> x.1 <= day, f.curve) AS leg,
            multiIf(
                NOT f.has_plan AND f.kind != 'sum', f.target,
                leg >= length(f.curve), f.target,
                f.curve[leg].2 + (f.curve[leg + 1].2 - f.curve[leg].2) * (day - f.curve[leg].1) / greatest(f.curve[leg + 1].1 - f.curve[leg].1, 1)) AS plan_value,
            1 AS has_target
        FROM so_far AS f
        WINDOW w AS (PARTITION BY f.indicator, f.region, f.grain, f.year ORDER BY f.period ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    named AS
    (
        SELECT
            r.indicator AS indicator, r.grain AS grain, r.period AS period, r.region AS region, r.as_of AS as_of, r.value AS value,
            r.numerator AS numerator, r.denominator AS denominator, r.from_below AS from_below, r.reported AS reported, r.figures AS figures,
            r.children_reporting AS children_reporting, r.ranks AS ranks, r.known_at AS known_at, r.year AS year,
            ifNull(l.name, '') AS region_name, ifNull(l.level, '') AS level, ifNull(l.parent, '') AS parent,
            toUInt64(arrayCount(x -> x <= toInt32(r.last_day), k.begins) - arrayCount(x -> x <= toInt32(toDate32(r.period)), k.ends)) AS children
        FROM rolled AS r
        ASOF LEFT JOIN (SELECT toString(code) AS code, since, name, toString(level) AS level, toString(parent) AS parent FROM region_path FINAL WHERE _deleted = 0) AS l ON l.code = r.region AND r.last_day >= l.since
        LEFT JOIN kids AS k ON k.parent = r.region
    )
SELECT
    r.indicator AS indicator, ifNull(i.title_zh, '') AS title, ifNull(i.unit, '') AS unit,
    r.region AS region, r.region_name AS region_name, r.level AS level, r.parent AS parent, r.grain AS grain, r.period AS period, r.as_of AS as_of,
    r.value AS value, r.numerator AS numerator, r.denominator AS denominator, r.from_below AS from_below, r.reported AS reported,
    r.figures AS figures, r.children_reporting AS children_reporting, r.children AS children,
    arrayMap(x -> ['', 'manual', 'direct', 'source'][x + 1], arrayFilter(x -> bitTest(r.ranks, x), [0, 1, 2, 3])) AS feeds,
    r.known_at AS known_at, r.year AS year,
    if(g.has_target = 1, toNullable(g.year_to_date), NULL) AS year_to_date,
    if(g.has_target = 1, toNullable(g.target), NULL) AS target,
    if(g.has_target = 1, toNullable(g.due), NULL) AS due,
    if(target != 0, year_to_date / target, NULL) AS completion_rate,
    if(g.has_target = 1, g.elapsed_share, NULL) AS elapsed_share,
    if(g.has_target = 1, toNullable(g.plan_value), NULL) AS plan_value,
    0.05 AS tolerance,
    multiIf(
        isNull(target) OR isNull(year_to_date), '',
        i.direction = 'down', if(year_to_date <= plan_value + tolerance * abs(target), 'on schedule', 'behind'),
        year_to_date >= target AND g.reached_on < due, 'ahead',
        year_to_date >= plan_value - tolerance * abs(target), 'on schedule',
        'behind') AS status,
    transform(status, ['ahead', 'on schedule', 'behind'], ['提前完成', '序时推进', '滞后'], '') AS status_zh
FROM named AS r
LEFT JOIN progress AS g ON g.indicator = r.indicator AND g.grain = r.grain AND g.period = r.period AND g.region = r.region
LEFT JOIN (SELECT code, title_zh, unit, toString(direction) AS direction FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = r.indicator
COMMENT '指标汇总 / Indicator rollup: each indicator by region and period from the lowest level that reports it, against its target'
