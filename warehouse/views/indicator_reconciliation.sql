-- What a region reported itself, against what lies below it: once as rolled up from the lowest level that reports, whatever
-- feed it came by, and once as the same feed has it directly below. Only figures with something below them are here.
CREATE OR REPLACE VIEW indicator_reconciliation
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
    rolled_up Nullable(Float64) COMMENT '汇总值 / What the lowest levels that report add up to, parts that are no region included',
    difference Nullable(Float64) COMMENT '差额 / reported less rolled_up',
    relative_difference Nullable(Float64) COMMENT '相对差额 / difference by rolled_up',
    agrees UInt8 COMMENT '是否一致 / 1 when both are the same, up to the precision of floating-point sums',
    direct_below Nullable(Float64) COMMENT '直接下级合计 / What the same feed has directly below, parts included; empty when it has nothing there',
    direct_difference Nullable(Float64) COMMENT '与直接下级差额 / reported less direct_below',
    figures UInt64 COMMENT '计入数 / Reported figures that went into rolled_up',
    children_reporting UInt64 COMMENT '已报下级数 / Regions directly below that have figures in it',
    children UInt64 COMMENT '下级总数 / Regions directly below that there were in the period'
)
AS
WITH
    reports AS
    (
        SELECT indicator, toString(grain) AS grain, period, toString(feed) AS feed, toString(region) AS region, value, toString(source) AS source
        FROM observation_current
        WHERE member = '' AND subject = ''
    ),
    -- Each figure belongs to the nearest region above it that reports by the same feed; parts begin with their own region.
    directly AS
    (
        SELECT
            indicator, grain, period, feed, value, numerator, denominator,
            arrayMap(x -> x.1, if(member = '' AND subject = '', arraySlice(steps, 2), steps)) AS uppers,
            multiIf(
                length(uppers) > 0 AND sipHash128(indicator, grain, period, feed, uppers[1]) IN (SELECT sipHash128(indicator, grain, period, feed, region) FROM reports), uppers[1],
                length(uppers) > 1 AND sipHash128(indicator, grain, period, feed, uppers[2]) IN (SELECT sipHash128(indicator, grain, period, feed, region) FROM reports), uppers[2],
                length(uppers) > 2 AND sipHash128(indicator, grain, period, feed, uppers[3]) IN (SELECT sipHash128(indicator, grain, period, feed, region) FROM reports), uppers[3],
                length(uppers) > 3 AND sipHash128(indicator, grain, period, feed, uppers[4]) IN (SELECT sipHash128(indicator, grain, period, feed, region) FROM reports), uppers[4],
                '') AS region
        FROM observation_placed
        -- A member's own figure stands aside when its subjects are reported.
        WHERE NOT (member != '' AND subject = '' AND sipHash128(indicator, grain, period, feed, region, member) IN
            (SELECT sipHash128(indicator, toString(grain), period, toString(feed), toString(region), member) FROM observation_current WHERE member != '' AND subject != ''))
    ),
    direct AS
    (
        SELECT
            b.indicator AS indicator, b.grain AS grain, b.period AS period, b.feed AS feed, b.region AS region,
            ifNull(toString(any(i.aggregation)), '') AS how,
            multiIf(
                how = 'ratio', if(countIf(b.numerator IS NULL OR b.denominator IS NULL) = 0, sum(b.numerator) / nullIf(sum(b.denominator), 0), NULL),
                how = 'mean', sum(b.value * ifNull(b.denominator, 1)) / nullIf(sum(ifNull(b.denominator, 1)), 0),
                how = 'max', max(b.value),
                how IN ('distinct', 'last', 'none'), NULL,
                sum(b.value)) AS value
        FROM directly AS b
        LEFT JOIN (SELECT code, aggregation FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = b.indicator
        WHERE b.region != ''
        GROUP BY indicator, grain, period, feed, region
    )
SELECT
    r.indicator AS indicator, u.title AS title, u.unit AS unit, r.region AS region, u.region_name AS region_name, u.level AS level,
    r.grain AS grain, r.period AS period, r.feed AS feed, r.source AS source,
    r.value AS reported,
    u.value AS rolled_up,
    reported - rolled_up AS difference,
    difference / nullIf(rolled_up, 0) AS relative_difference,
    ifNull(abs(difference) <= 1e-9 * greatest(abs(reported), abs(rolled_up), 1), 0) AS agrees,
    if(d.known = 1, d.value, NULL) AS direct_below,
    reported - direct_below AS direct_difference,
    u.figures AS figures, u.children_reporting AS children_reporting, u.children AS children
FROM reports AS r
INNER JOIN (SELECT * FROM indicator_rollup WHERE from_below = 1) AS u ON u.indicator = r.indicator AND u.grain = r.grain AND u.period = r.period AND u.region = r.region
LEFT JOIN (SELECT *, 1 AS known FROM direct) AS d ON d.indicator = r.indicator AND d.grain = r.grain AND d.period = r.period AND d.feed = r.feed AND d.region = r.region
COMMENT '指标核对 / Indicator reconciliation: what a region reported against what lies below it adds up to'
