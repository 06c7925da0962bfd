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
    -- Each figure belongs to the nearest region above it that reports by the same feed; parts begin with their own region. Each
    -- stands at its own place and at all that it could belong to, so that each place tells whether a report of its own is there.
    standing AS
    (
        SELECT
            *,
            member = '' AND NOT of_subjects AS own,
            arrayMap(x -> x.1, if(own, arraySlice(steps, 2), steps)) AS uppers
        FROM
        (
            -- A member's own figure stands aside when its subjects are reported.
            SELECT *, max(of_subjects) OVER (PARTITION BY indicator, grain, period, feed, region, member) AS has_subjects
            FROM observation_cell
        )
        WHERE (member = '' OR of_subjects OR NOT has_subjects) AND NOT startsWith(member, '其中')
    ),
    looked_for AS
    (
        SELECT *, region_of, place, max(own AND place = 0) OVER (PARTITION BY indicator, grain, period, feed, region_of) AS reports
        FROM standing
        ARRAY JOIN arrayPushFront(uppers, region) AS region_of, range(length(uppers) + 1) AS place
    ),
    belonging AS
    (
        SELECT *, min(if(reports AND place > 0, place, 255)) OVER (PARTITION BY indicator, grain, period, feed, region, member, of_subjects) AS nearest
        FROM looked_for
    ),
    reports AS
    (
        SELECT
            indicator, grain, period, feed, region_of AS region,
            anyIf(total, own AND place = 0) AS value, anyIf(source, own AND place = 0) AS source,
            countIf(place = nearest) AS below, any(aggregation) AS how,
            multiIf(
                below = 0, NULL,
                how = 'ratio', if(sumIf(without_parts, place = nearest) = 0, sumIf(numerators, place = nearest) / nullIf(sumIf(denominators, place = nearest), 0), NULL),
                how = 'mean', sumIf(weighted, place = nearest) / nullIf(sumIf(weight, place = nearest), 0),
                how = 'max', maxIf(greatest, place = nearest),
                how IN ('distinct', 'last', 'none'), NULL,
                sumIf(total, place = nearest)) AS direct_below
        FROM belonging
        GROUP BY indicator, grain, period, feed, region
        HAVING max(own AND place = 0)
    )
SELECT
    r.indicator AS indicator, u.title AS title, u.unit AS unit, r.region AS region, u.region_name AS region_name, u.level AS level,
    r.grain AS grain, r.period AS period, r.feed AS feed, r.source AS source,
    r.value AS reported,
    u.value AS rolled_up,
    reported - rolled_up AS difference,
    difference / nullIf(rolled_up, 0) AS relative_difference,
    ifNull(abs(difference) <= 1e-9 * greatest(abs(reported), abs(rolled_up), 1), 0) AS agrees,
    r.direct_below AS direct_below,
    reported - direct_below AS direct_difference,
    u.figures AS figures, u.children_reporting AS children_reporting, u.children AS children
FROM reports AS r
INNER JOIN (SELECT * FROM indicator_rollup WHERE from_below = 1) AS u ON u.indicator = r.indicator AND u.grain = r.grain AND u.period = r.period AND u.region = r.region
COMMENT '指标核对 / Indicator reconciliation: what a region reported against what lies below it adds up to'
