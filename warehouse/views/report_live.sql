-- What each region reported itself, by each feed, and what the same feed has directly below it.
CREATE OR REPLACE VIEW report_live
(
    indicator String COMMENT '指标代码 / Indicator',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    region String COMMENT '行政区划 / Region that reported',
    feed String COMMENT '采集方式 / Feed by which its own figure came',
    last_day Date32 COMMENT '期间末日 / Last day of the period',
    value Float64 COMMENT '上报值 / What the region reported itself',
    source String COMMENT '来源 / Source of that figure',
    direct_below Nullable(Float64) COMMENT '直接下级合计 / What the same feed has directly below, parts included; empty when it has nothing there'
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
            indicator, grain, period, feed, region_of AS region, any(last_day) AS last_day,
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
SELECT indicator, grain, period, region, feed, last_day, value, source, direct_below
FROM reports
COMMENT '上报计算 / Reports put together from all current observations; figure_report keeps them'
