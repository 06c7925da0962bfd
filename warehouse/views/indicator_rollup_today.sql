-- The figures of indicator_rollup on the boundaries of today: what was reported for the regions of its time, given to the regions that
-- its area lies in now. Which figures count is decided in the tree as it was, so that both views add up to the same.
--
-- A region that was taken over as a whole gives its figures to its successor. Of a divided one each part gets as much as its share
-- says (region_share). Where nobody has stated a share, or where none can help, the figure counts in every region that holds all
-- of the area, and the regions that hold a part of it have no value and say why: no share; not divisible, as the greatest of
-- several, different subjects, the value known last and what was reported for a part that is no region; other boundaries, of a bare
-- percentage whose region was not the same as now.
-- Today is after every change that the list of regions knows.
CREATE OR REPLACE VIEW indicator_rollup_today
(
    indicator String COMMENT '指标代码 / Indicator',
    title String COMMENT '指标名称 / Chinese title of the indicator',
    unit String COMMENT '计量单位 / Unit',
    region String COMMENT '行政区划 / Region of today',
    region_name String COMMENT '区划名称 / Name of the region today',
    level String COMMENT '层级 / Level of the region today',
    parent String COMMENT '上级区划 / Region above it today',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    value Nullable(Float64) COMMENT '汇总值 / Figure of the period on the boundaries of today; empty when it cannot be',
    numerator Nullable(Float64) COMMENT '分子合计 / Sum of numerators',
    denominator Nullable(Float64) COMMENT '分母合计 / Sum of denominators',
    basis LowCardinality(String) COMMENT '口径 / whole: put together from whole regions of the time; shares: some of it by declared shares; empty without a value for want of one',
    why LowCardinality(String) COMMENT '无值原因 / Why there is no value on these boundaries: no share, not divisible, other boundaries; empty otherwise',
    why_zh LowCardinality(String) COMMENT '无值原因中文 / 未定比例、不可拆分、区划不同',
    undivided Array(String) COMMENT '未能拆分的原区划 / Regions of the time with figures of which the region holds a part that cannot be told',
    from_below UInt8 COMMENT '来自下级 / 1 when the figure comes from other regions or parts, 0 when it is what the region itself reported on the same boundaries',
    reported Nullable(Float64) COMMENT '本级上报值 / What the region itself reported, if it did and had the same boundaries',
    figures UInt64 COMMENT '计入数 / Reported figures that went into the value, in whole or by a share',
    children_reporting UInt64 COMMENT '已报下级数 / Regions directly below today that have a figure on these boundaries',
    children UInt64 COMMENT '下级总数 / Regions directly below today',
    origins_reporting UInt64 COMMENT '已报原区划数 / Regions of the lowest level of the time that have figures in it',
    origins UInt64 COMMENT '原区划总数 / Regions of the lowest level of the time that lay in it, in whole or in part',
    feeds Array(String) COMMENT '采集方式 / Feeds that the figures came by',
    known_at DateTime64(6, 'UTC') COMMENT '获知时间 / When the newest of the figures was read',
    year Int64 COMMENT '年度 / Year of the period'
)
AS
WITH
    -- standing, counted: as in figure_live
    -- Each figure goes to the regions of today that it touches; one that does not count stays with the one that has the same area.
    moved AS
    (
        SELECT
            *, step, place.1 AS lowest,
            aggregation NOT IN ('max', 'distinct', 'last', 'none') AND member = '' AND NOT (aggregation = 'mean' AND step.3 = '*') AS divisible,
            counts AND multiIf(step.4 = 'unknown', 0, step.4 = 'share', divisible, NOT (aggregation = 'mean' AND step.3 = '*')) AS inside,
            step.5 AS share
        FROM
        (
            SELECT
                c.*,
                arrayFirst(x -> (x.1 = '' OR x.1 = c.indicator) AND x.2 <= c.last_day, m.versions).3 AS found,
                if(empty(found.2), (false, [(c.region, '', '', 'same', toFloat64(1))]), found) AS place
            FROM counted AS c
            LEFT JOIN
            (
                SELECT toString(code) AS code, arrayReverseSort(x -> (x.1 != '', x.2), groupArray((indicator, since, (lowest, steps)))) AS versions
                FROM region_today FINAL
                WHERE _deleted = 0
                GROUP BY code
            ) AS m ON m.code = c.region
        )
        ARRAY JOIN if(counts, place.2, arrayFilter(x -> x.4 = 'same', place.2)) AS step
    ),
    rolled AS
    (
        SELECT
            s.indicator AS indicator, s.grain AS grain, s.period AS period, s.step.1 AS region, any(s.step.2) AS parent,
            any(s.last_day) AS last_day, any(s.aggregation) AS kind,
            sumIf(s.figures, s.inside) AS figures,
            countIf(s.counts AND NOT s.inside) AS outside,
            countIf(s.inside AND s.step.4 = 'share') AS shared,
            sumIf(s.total * s.share, s.inside) AS total,
            sumIf(s.without_parts, s.inside) AS without_parts,
            sumIf(s.numerators * s.share, s.inside) AS numerators,
            sumIf(s.denominators * s.share, s.inside) AS denominators,
            sumMapIf([s.step.3], [s.weighted * s.share], [s.weight * s.share], s.inside AND s.aggregation = 'mean') AS sums, -- see figure_live
            uniqExactArrayIf(s.subjects, s.inside AND s.aggregation = 'distinct') AS subjects,
            if(countIf(s.own AND s.step.4 = 'same') > 0, toNullable(maxIf(s.greatest, s.own AND s.step.4 = 'same')), NULL) AS reported,
            multiIf(
                kind = 'none', if(isNull(reported) AND countIf(s.own AND s.counts AND s.step.4 != 'whole') > 0, 'other boundaries', ''),
                outside = 0, '',
                countIf(s.counts AND NOT s.inside AND s.divisible) > 0, 'no share',
                'not divisible') AS why,
            multiIf(
                kind = 'none', reported,
                why != '', NULL,
                kind = 'ratio', multiIf(without_parts = 0 AND denominators != 0, numerators / denominators, figures = 1 AND shared = 0, total, NULL),
                kind = 'mean', arrayAvg(arrayMap((x, y) -> x / y, sums.2, sums.3)),
                kind = 'max', maxIf(s.greatest, s.inside),
                kind = 'distinct', multiIf(subjects > 0, toFloat64(subjects), figures = 1, total, NULL),
                kind = 'last', argMaxIf(s.newest, s.known_at, s.inside),
                total) AS value,
            if(without_parts = 0 AND why = '', toNullable(numerators), NULL) AS numerator,
            if(without_parts = 0 AND why = '', toNullable(denominators), NULL) AS denominator,
            arraySort(groupUniqArrayIf(s.region, s.counts AND NOT s.inside)) AS undivided,
            countIf(s.own AND (s.counts OR s.aggregation = 'none') AND s.step.4 = 'same') = 0 AS from_below,
            uniqExactIf(toUInt32OrZero(s.region), s.inside AND s.lowest) AS origins_reporting,
            groupBitOr(if(s.counts, bitShiftLeft(1, s.rank), 0)) AS ranks,
            max(s.known_at) AS known_at
        FROM moved AS s
        GROUP BY indicator, grain, period, region
        HAVING figures > 0 OR outside > 0
    ),
    told AS
    (
        SELECT *
        FROM
        (
            SELECT *, own_place, countIf(NOT own_place AND why = '') OVER (PARTITION BY indicator, grain, period, place) AS children_reporting
            FROM rolled
            ARRAY JOIN [region, parent] AS place, [true, false] AS own_place
        )
        WHERE own_place
    )
SELECT
    r.indicator AS indicator, ifNull(i.title_zh, '') AS title, ifNull(i.unit, '') AS unit,
    r.region AS region, ifNull(l.name, '') AS region_name, ifNull(l.level, '') AS level, r.parent AS parent, r.grain AS grain, r.period AS period,
    r.value AS value, r.numerator AS numerator, r.denominator AS denominator,
    multiIf(r.why != '', '', r.shared > 0, 'shares', 'whole') AS basis,
    r.why AS why, transform(r.why, ['no share', 'not divisible', 'other boundaries'], ['未定比例', '不可拆分', '区划不同'], '') AS why_zh, r.undivided AS undivided,
    r.from_below AS from_below, r.reported AS reported, r.figures AS figures,
    r.children_reporting AS children_reporting, ifNull(k.children, 0) AS children,
    r.origins_reporting AS origins_reporting, arrayCount((x, y) -> x <= toInt32(r.last_day) AND y > toInt32(r.last_day), o.begins, o.ends) AS origins,
    arrayMap(x -> ['', 'manual', 'direct', 'source'][x + 1], arrayFilter(x -> bitTest(r.ranks, x), [0, 1, 2, 3])) AS feeds,
    r.known_at AS known_at, toInt64(toYear(r.period)) AS year
FROM told AS r
LEFT JOIN (SELECT toString(code) AS code, argMax(name, valid_from) AS name, argMax(toString(level), valid_from) AS level FROM region FINAL WHERE _deleted = 0 GROUP BY code) AS l ON l.code = r.region
LEFT JOIN (SELECT ifNull(toString(parent), '') AS parent, uniqExact(code) AS children FROM region FINAL WHERE _deleted = 0 AND valid_to IS NULL GROUP BY parent) AS k ON k.parent = r.region
LEFT JOIN
(
    SELECT step.1 AS region, groupArray(toInt32(since)) AS begins, groupArray(toInt32(until)) AS ends
    FROM region_today FINAL
    ARRAY JOIN steps AS step
    WHERE _deleted = 0 AND lowest AND indicator = ''
    GROUP BY region
) AS o ON o.region = r.region
LEFT JOIN (SELECT code, title_zh, unit FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = r.indicator
COMMENT '今日区划口径的指标汇总 / Indicator rollup today: figures of all periods on the boundaries of today, with what cannot be told left empty'
