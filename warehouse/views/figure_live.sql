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
CREATE OR REPLACE VIEW figure_live
(
    indicator String COMMENT '指标代码 / Indicator',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    region String COMMENT '行政区划 / Region',
    last_day Date32 COMMENT '期间末日 / Last day of the period',
    as_of Date32 COMMENT '截至日期 / Day that the figure speaks of: the last of the period, or the day on which it was read if that was earlier',
    year Int64 COMMENT '年度 / Year of the period',
    aggregation String COMMENT '跨区划汇总 / Aggregation over regions that made it',
    value Nullable(Float64) COMMENT '汇总值 / Figure of the period, rolled up; empty when it cannot be',
    numerator Nullable(Float64) COMMENT '分子合计 / Sum of numerators',
    denominator Nullable(Float64) COMMENT '分母合计 / Sum of denominators',
    from_below UInt8 COMMENT '来自下级 / 1 when the figure comes from lower levels or parts, 0 when it is the region''s own',
    reported Nullable(Float64) COMMENT '本级上报值 / What the region itself reported, if it did, by the feed nearest to the source',
    figures UInt64 COMMENT '计入数 / Reported figures that went into the value',
    children_reporting UInt64 COMMENT '已报下级数 / Regions directly below that have figures in it',
    children UInt64 COMMENT '下级总数 / Regions directly below that there were in the period',
    ranks UInt64 COMMENT '采集方式 / Bits of the feeds that the figures came by: see observation_cell',
    known_at DateTime64(6, 'UTC') COMMENT '获知时间 / When the newest of the figures was read',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region; empty when the code is not known',
    parent String COMMENT '上级区划 / Region above it at the time'
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
    )
SELECT
    r.indicator AS indicator, r.grain AS grain, r.period AS period, r.region AS region, r.last_day AS last_day, r.as_of AS as_of, r.year AS year,
    r.kind AS aggregation, r.value AS value, r.numerator AS numerator, r.denominator AS denominator, r.from_below AS from_below,
    r.reported AS reported, r.figures AS figures, r.children_reporting AS children_reporting,
    toUInt64(arrayCount(x -> x <= toInt32(r.last_day), k.begins) - arrayCount(x -> x <= toInt32(toDate32(r.period)), k.ends)) AS children,
    r.ranks AS ranks, r.known_at AS known_at, ifNull(l.name, '') AS region_name, ifNull(l.level, '') AS level, ifNull(l.parent, '') AS parent
FROM rolled AS r
ASOF LEFT JOIN (SELECT toString(code) AS code, since, name, toString(level) AS level, toString(parent) AS parent FROM region_path FINAL WHERE _deleted = 0) AS l ON l.code = r.region AND r.last_day >= l.since
LEFT JOIN kids AS k ON k.parent = r.region
COMMENT '汇总计算 / Figures put together from all current observations; figure keeps them'
