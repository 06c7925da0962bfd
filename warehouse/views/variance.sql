-- Each disagreement of indicator_reconciliation with what people have said of it. It is open until somebody explains it, and settled when
-- an explanation is signed off. What was said is about an amount: when either side changes, the variance is open again.
--
-- Its age counts from when the figures came to disagree as they do: from the newest change of the region's own figure or of any figure
-- below it. A value that is read again unchanged changes nothing.
CREATE OR REPLACE VIEW variance
(
    indicator String COMMENT '指标代码 / Indicator',
    title String COMMENT '指标名称 / Chinese title of the indicator',
    unit String COMMENT '计量单位 / Unit',
    region String COMMENT '行政区划 / Region that reported',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    feed String COMMENT '采集方式 / Feed by which the region''s own figure came',
    source String COMMENT '来源 / Source of the region''s own figure',
    reported Float64 COMMENT '上报值 / What the region reported itself',
    rolled_up Nullable(Float64) COMMENT '汇总值 / What the lowest levels that report add up to',
    difference Nullable(Float64) COMMENT '差额 / reported less rolled_up; empty when nothing can be added up',
    relative_difference Nullable(Float64) COMMENT '相对差额 / difference by rolled_up',
    children_reporting UInt64 COMMENT '已报下级数 / Regions directly below that have figures in it',
    children UInt64 COMMENT '下级总数 / Regions directly below that there were in the period',
    state String COMMENT '状态 / open, explained or signed off',
    state_zh String COMMENT '状态名称 / The same in Chinese',
    changed UInt8 COMMENT '说明后变动 / 1 when something was said of another amount than there is now',
    why String COMMENT '说明 / What was said last; empty when nothing was',
    who String COMMENT '说明人 / Who said it',
    at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '说明时间 / When',
    since Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '差异起始 / Since when the two have disagreed as they do',
    age_seconds Nullable(Int64) COMMENT '差异时长（秒） / Seconds since then'
)
AS
WITH
    -- When each region's own figures came or changed last.
    moved AS
    (
        SELECT
            x.code AS indicator, x.place AS region, x.length AS grain, x.begins AS period, max(x.at) AS at,
            toDate32(period) AS first_day,
            multiIf(
                grain = 'week', addDays(first_day, 6),
                grain = 'xun', if(toDayOfMonth(first_day) > 20, toDate32(toLastDayOfMonth(first_day)), addDays(first_day, 9)),
                grain = 'month', toDate32(toLastDayOfMonth(first_day)),
                grain = 'quarter', addDays(addMonths(first_day, 3), -1),
                grain = 'half', addDays(addMonths(first_day, 6), -1),
                grain = 'year', addDays(addYears(first_day, 1), -1),
                first_day) AS last_day
        FROM
        (
            -- The table's columns go by names of their own: an alias with a column's name and another type misleads the engine.
            SELECT o.indicator AS code, CAST(o.region AS String) AS place, CAST(o.grain AS String) AS length, o.period AS begins, min(o._extracted_at) AS at
            FROM observation AS o
            WHERE o._deleted = 0
            GROUP BY code, place, length, begins, o.member, o.subject, o.feed
            UNION ALL
            SELECT c.indicator, c.region, c.grain, c.period, c.corrected_at
            FROM correction AS c
        ) AS x
        GROUP BY indicator, region, grain, period
    ),
    begun AS
    (
        SELECT m.indicator AS indicator, upper AS region, m.grain AS grain, m.period AS period, max(m.at) AS at
        FROM moved AS m
        ASOF LEFT JOIN (SELECT toString(code) AS code, since, arrayMap(x -> x.1, path) AS uppers FROM region_path FINAL WHERE _deleted = 0) AS l ON l.code = m.region AND m.last_day >= l.since
        ARRAY JOIN if(empty(l.uppers), [m.region], l.uppers) AS upper
        GROUP BY indicator, region, grain, period
    ),
    said AS
    (
        SELECT
            v.code AS indicator, v.place AS region, v.length AS grain, v.begins AS period, v.way AS feed,
            argMax(v.action, v.act) AS action, argMax(v.why, v.act) AS why, argMax(v.who, v.act) AS who, argMax(v.at, v.act) AS at,
            argMax(v.reported, v.act) AS reported, argMax(tuple(v.rolled_up), v.act).1 AS rolled_up, 1 AS known
        FROM
        (
            SELECT
                e.indicator AS code, CAST(e.region AS String) AS place, CAST(e.grain AS String) AS length, e.period AS begins, CAST(e.feed AS String) AS way,
                toString(e.action) AS action, e.why AS why, e.who AS who, e.at AS at, e.reported AS reported, e.rolled_up AS rolled_up, e.act AS act
            FROM variance_event AS e FINAL
            WHERE e._deleted = 0
        ) AS v
        GROUP BY indicator, region, grain, period, feed
    )
SELECT
    r.indicator AS indicator, r.title AS title, r.unit AS unit, r.place AS region, r.region_name AS region_name, r.level AS level, r.length AS grain, r.period AS period,
    r.way AS feed, r.source AS source, r.reported AS reported, r.rolled_up AS rolled_up, r.difference AS difference, r.relative_difference AS relative_difference,
    r.children_reporting AS children_reporting, r.children AS children,
    multiIf(ifNull(s.known, 0) = 0 OR changed, 'open', s.action = 'sign_off', 'signed off', s.action = 'explain', 'explained', 'open') AS state,
    transform(state, ['open', 'explained', 'signed off'], ['待说明', '已说明', '已核签'], '') AS state_zh,
    ifNull(s.known = 1 AND (abs(s.reported - r.reported) > 1e-9 * greatest(abs(r.reported), 1) OR isNull(s.rolled_up) != isNull(r.rolled_up)
        OR ifNull(abs(s.rolled_up - r.rolled_up) > 1e-9 * greatest(abs(r.rolled_up), 1), 0)), 0) AS changed,
    ifNull(s.why, '') AS why, ifNull(s.who, '') AS who,
    if(ifNull(s.known, 0) = 1, toNullable(s.at), NULL) AS at,
    if(ifNull(b.region, '') != '', toNullable(toDateTime64(b.at, 3, 'Asia/Shanghai')), NULL) AS since,
    dateDiff('second', since, now64(3, 'Asia/Shanghai')) AS age_seconds
FROM
(
    -- Under names of their own: the engine takes a column of a view that it inlines for one of another type with the same name.
    SELECT
        indicator, title, unit, CAST(region AS String) AS place, region_name, level, CAST(grain AS String) AS length, period, CAST(feed AS String) AS way, source, reported, rolled_up, difference,
        relative_difference, children_reporting, children
    FROM indicator_reconciliation
    WHERE agrees = 0
) AS r
LEFT JOIN said AS s ON s.indicator = r.indicator AND s.region = r.place AND s.grain = r.length AND s.period = r.period AND s.feed = r.way
LEFT JOIN begun AS b ON b.indicator = r.indicator AND b.region = r.place AND b.grain = r.length AND b.period = r.period
COMMENT '差异台账 / Variances: what regions reported against what lies below, whether somebody has explained and signed it off, and its age'
