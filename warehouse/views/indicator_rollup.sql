-- One row for each indicator, region and period: the figure from the lowest level that reports it.
--
-- What counts. A region's own figure counts only while nothing below it, and none of its parts (members, subjects), reports
-- the same indicator and period; else what lies below counts instead. Of several feeds of one figure the one nearest to the
-- source counts: source before direct before manual.
-- How it adds up. By the indicator's aggregation over regions: sum; ratio = sum of numerators by sum of denominators, and no
-- value where parts are missing; mean = mean of what lies in a city (weighted by the number of values where the denominator
-- gives one), above that the mean of the cities, a municipality being one; max; distinct = different subjects; last = the
-- value that became known last.
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
    year_to_date Nullable(Float64) COMMENT '本年累计 / Figure of the year up to the period',
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
    -- Figures that do not count, because something below them does: by region, and by member for its subjects.
    covered AS
    (
        SELECT DISTINCT indicator, grain, period, upper.1 AS region, upper.2 AS member
        FROM
        (
            SELECT
                indicator, grain, period,
                arrayJoin(multiIf(
                    member = '' AND subject = '', arrayMap(x -> (x.1, ''), arraySlice(path, 2)),
                    member != '' AND subject != '', arrayPushFront(arrayMap(x -> (x.1, ''), path), (region, member)),
                    arrayMap(x -> (x.1, ''), path))) AS upper
            FROM observation_placed
        )
    ),
    -- The feed that counts for each figure of a region, of a member, of their subjects together.
    nearest AS
    (
        SELECT indicator, grain, period, region, member, subject = '' AS whole,
            max(transform(toString(feed), ['manual', 'direct', 'source'], [1, 2, 3], 0)) AS rank
        FROM observation_placed
        GROUP BY indicator, grain, period, region, member, whole
    ),
    counted AS
    (
        SELECT
            o.indicator AS indicator, o.grain AS grain, o.period AS period, o.last_day AS last_day, toString(o.feed) AS feed,
            o.region AS region, o.subject AS subject, o.value AS value, o.numerator AS numerator, o.denominator AS denominator,
            o.known_at AS known_at, o.path AS path,
            ifNull(toString(i.aggregation), '') AS how,
            o.member = '' AND o.subject = '' AS own,
            o.subject != '' OR (o.indicator, o.grain, o.period, o.region, o.member) NOT IN (SELECT indicator, grain, period, region, member FROM covered) AS counts
        FROM observation_placed AS o
        LEFT JOIN (SELECT code, aggregation FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = o.indicator
        WHERE (o.indicator, o.grain, o.period, o.region, o.member, o.subject = '', transform(toString(o.feed), ['manual', 'direct', 'source'], [1, 2, 3], 0))
            IN (SELECT indicator, grain, period, region, member, whole, rank FROM nearest)
    ),
    -- Each figure goes to its region and all above it; one that does not count stays with its region, as what was reported.
    spread AS
    (
        SELECT
            indicator, grain, period, last_day, feed, region, subject, value, numerator, denominator, known_at, how, own, counts,
            arrayJoin(if(counts, arrayEnumerate(path), [1])) AS step,
            path[step].1 AS at, path[step].2 AS at_level, path[step].3 AS at_name,
            if(step < length(path), path[step + 1].1, '') AS above,
            if(step > 1, path[step - 1].1, '') AS below,
            arrayFirst(x -> x.2 = 'city', path).1 AS city,
            arrayFirst(x -> x.2 = 'province', path).1 AS province,
            -- Above the cities a mean is one of cities; see the head.
            multiIf(
                how != 'mean' OR at_level NOT IN ('province', 'nation'), '',
                city != '', city,
                province IN ('110000', '120000', '310000', '500000'), province,
                region) AS part
        FROM counted
    ),
    parts AS
    (
        SELECT
            indicator, grain, period, at, part,
            any(last_day) AS last_day, any(at_level) AS level, any(at_name) AS name, any(above) AS parent, any(how) AS how,
            countIf(counts) AS n,
            sumIf(value, counts) AS total,
            maxIf(value, counts) AS largest,
            argMaxIf(value, known_at, counts) AS latest,
            max(known_at) AS latest_at,
            sumIf(value * ifNull(denominator, 1), counts AND how = 'mean') AS weighted,
            sumIf(ifNull(denominator, 1), counts AND how = 'mean') AS weight,
            sumIf(ifNull(numerator, 0), counts) AS numerators,
            sumIf(ifNull(denominator, 0), counts) AS denominators,
            countIf(counts AND (numerator IS NULL OR denominator IS NULL)) AS without_parts,
            groupUniqArrayIf(subject, counts AND how = 'distinct' AND subject != '') AS subjects,
            groupUniqArrayIf(below, below != '') AS belows,
            groupUniqArrayIf(feed, counts) AS feeds,
            countIf(own AND counts AND region = at) AS own_counts,
            maxIf(value, own AND region = at) AS own_value,
            countIf(own AND region = at) AS own_reports
        FROM spread
        GROUP BY indicator, grain, period, at, part
    ),
    rolled AS
    (
        SELECT
            indicator, grain, period, at AS region,
            any(p.last_day) AS last_day, any(p.level) AS level, any(p.name) AS name, any(p.parent) AS parent, any(p.how) AS how,
            sum(p.n) AS figures,
            sum(p.without_parts) AS missing_parts,
            multiIf(
                how = 'ratio', multiIf(missing_parts = 0 AND sum(p.denominators) != 0, sum(p.numerators) / sum(p.denominators), figures = 1, sum(p.total), NULL),
                how = 'mean', avgIf(p.weighted / p.weight, p.n > 0 AND p.weight != 0),
                how = 'max', maxIf(p.largest, p.n > 0),
                how = 'distinct', multiIf(notEmpty(groupUniqArrayArray(p.subjects)), toFloat64(length(groupUniqArrayArray(p.subjects))), figures = 1, sum(p.total), NULL),
                how = 'last', argMaxIf(p.latest, p.latest_at, p.n > 0),
                sum(p.total)) AS value,
            if(missing_parts = 0, sum(p.numerators), NULL) AS numerator,
            if(missing_parts = 0, sum(p.denominators), NULL) AS denominator,
            sum(p.own_counts) = 0 AS from_below,
            if(sum(p.own_reports) > 0, maxIf(p.own_value, p.own_reports > 0), NULL) AS reported,
            length(groupUniqArrayArray(p.belows)) AS children_reporting,
            arraySort(groupUniqArrayArray(p.feeds)) AS feeds,
            max(p.latest_at) AS known_at
        FROM parts AS p
        GROUP BY indicator, grain, period, at
        HAVING figures > 0
    ),
    kids AS
    (
        SELECT ifNull(toString(parent), '') AS parent,
            groupArray((toString(code), valid_from, ifNull(valid_to, toDate32('2299-12-31')))) AS list
        FROM region FINAL
        WHERE _deleted = 0
        GROUP BY parent
    ),
    measured AS
    (
        SELECT
            r.indicator AS indicator, r.grain AS grain, r.period AS period, r.region AS region, r.last_day AS last_day, r.level AS level,
            r.name AS name, r.parent AS parent, r.how AS how, r.figures AS figures, r.value AS value, r.numerator AS numerator,
            r.denominator AS denominator, r.from_below AS from_below, r.reported AS reported,
            r.children_reporting AS children_reporting, r.feeds AS feeds, r.known_at AS known_at,
            ifNull(i.title_zh, '') AS title, ifNull(i.unit, '') AS unit, ifNull(toString(i.direction), 'up') AS direction,
            length(arrayDistinct(arrayMap(k -> k.1, arrayFilter(k -> k.2 <= r.last_day AND k.3 > toDate32(r.period), k.list)))) AS children,
            toInt64(toYear(r.period)) AS year,
            multiIf(
                toDate32(r.known_at, 'Asia/Shanghai') >= r.last_day OR toDate32(r.known_at, 'Asia/Shanghai') < toDate32(r.period), r.last_day,
                toDate32(r.known_at, 'Asia/Shanghai')) AS as_of,
            multiIf(
                ifNull(toString(i.time_aggregation), 'last') = 'sum', sum(r.value) OVER so_far,
                toString(i.time_aggregation) = 'mean', avg(r.value) OVER so_far,
                toString(i.time_aggregation) = 'max', max(r.value) OVER so_far,
                toString(i.time_aggregation) = 'ratio', ifNull(sum(r.numerator) OVER so_far / nullIf(sum(r.denominator) OVER so_far, 0), r.value),
                r.value) AS year_to_date
        FROM rolled AS r
        LEFT JOIN (SELECT code, title_zh, unit, direction, time_aggregation FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = r.indicator
        LEFT JOIN kids AS k ON k.parent = r.region
        WINDOW so_far AS (PARTITION BY r.indicator, r.region, r.grain, toYear(r.period) ORDER BY r.period ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    planned AS
    (
        SELECT
            m.*,
            t.has_target AS has_target,
            if(has_target, toNullable(t.value), NULL) AS target,
            if(has_target, toNullable(t.due), NULL) AS due,
            makeDate32(m.year, 1, 1) - 1 AS start,
            toInt64(t.due - start) AS days,
            least(greatest(toInt64(m.as_of - start), 0), days) AS day,
            if(has_target AND days > 0, day / days, NULL) AS elapsed_share,
            -- Points of the plan as (days since the year began, value), with the beginning and the due day where they lack.
            arraySort(x -> x.1, arrayFilter(x -> x.1 > 0 AND x.1 < days, arrayMap(
                p -> (toInt64(makeDate32(m.year, toUInt8OrZero(substring(p.1, 1, 2)), toUInt8OrZero(substring(p.1, 4, 2))) - start), p.2),
                JSONExtract(ifNull(t.plan, ''), 'Array(Tuple(String, Float64))')))) AS points,
            arrayPushBack(arrayPushFront(points, (toInt64(0), toFloat64(0))), (days, ifNull(target, 0))) AS curve,
            arrayLastIndex(x -> x.1 <= day, curve) AS leg,
            multiIf(
                NOT has_target, NULL,
                ifNull(t.plan, '') = '' AND m.how != 'sum', target,
                leg >= length(curve) OR leg = 0, target,
                curve[leg].2 + (curve[leg + 1].2 - curve[leg].2) * (day - curve[leg].1) / greatest(curve[leg + 1].1 - curve[leg].1, 1)) AS plan_value,
            minIf(m.as_of, m.year_to_date >= t.value) OVER (PARTITION BY m.indicator, m.region, m.grain, m.year ORDER BY m.period ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS reached_on,
            0.05 AS tolerance
        FROM measured AS m
        LEFT JOIN (SELECT indicator, toString(region) AS region, year, due, value, plan, 1 AS has_target FROM target_current) AS t
            ON t.indicator = m.indicator AND t.region = m.region AND t.year = m.year
    )
SELECT
    indicator, title, unit, region, name AS region_name, level, parent, grain, period, as_of, value, numerator, denominator, from_below, reported,
    figures, children_reporting, children, feeds, known_at, year, year_to_date, target, due,
    if(target != 0, year_to_date / target, NULL) AS completion_rate,
    elapsed_share, plan_value, tolerance,
    multiIf(
        isNull(target) OR isNull(year_to_date), '',
        direction = 'down', if(year_to_date <= plan_value + tolerance * abs(target), 'on schedule', 'behind'),
        year_to_date >= target AND reached_on < due, 'ahead',
        year_to_date >= plan_value - tolerance * abs(target), 'on schedule',
        'behind') AS status,
    transform(status, ['ahead', 'on schedule', 'behind'], ['提前完成', '序时推进', '滞后'], '') AS status_zh
FROM planned
COMMENT '指标汇总 / Indicator rollup: each indicator by region and period from the lowest level that reports it, against its target'
