-- Each region among its siblings, the regions with the same parent in the same period.
--
-- A rank is made anew at each level from the figures there; ranks are never rolled up. Regions without a figure have no row
-- and no place: siblings less ranked are missing.
-- contribution of a sum is the region's own change; of a ratio it is numerator / D - previous numerator / previous D, D being
-- the parent's denominator. Over all siblings and members they add up to parent_change when the same of them reported both
-- times. A region without a figure in the period before has no contribution, because its change is not known.
CREATE OR REPLACE VIEW indicator_ranking
(
    indicator String COMMENT '指标代码 / Indicator',
    title String COMMENT '指标名称 / Chinese title of the indicator',
    unit String COMMENT '计量单位 / Unit',
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    parent String COMMENT '上级区划 / Region above it at the time',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    value Nullable(Float64) COMMENT '汇总值 / Figure of the period, as in indicator_rollup',
    coverage Nullable(Float64) COMMENT '覆盖率 / Share of the regions directly below that have figures in it',
    rank Nullable(UInt64) COMMENT '名次 / Place among the siblings that have a figure, 1 the best by the indicator''s direction; equal figures share a place',
    ranked UInt64 COMMENT '参与排名数 / Siblings that have a figure, itself included',
    siblings Nullable(UInt64) COMMENT '同级总数 / Regions directly below the parent that there were in the period; those beyond ranked did not report',
    mean Nullable(Float64) COMMENT '同级均值 / Plain mean over the siblings that have a figure: a measure of their spread, not the parent''s figure',
    z_score Nullable(Float64) COMMENT '标准分 / Distance from that mean in standard deviations of these siblings; empty when all are equal',
    change Nullable(Float64) COMMENT '环比增量 / value less the figure of the period just before',
    parent_change Nullable(Float64) COMMENT '上级环比增量 / The same of the parent',
    contribution Nullable(Float64) COMMENT '对上级变化的贡献 / How much of parent_change comes from this region, in the indicator''s unit; of sums and ratios only',
    contribution_share Nullable(Float64) COMMENT '贡献率 / contribution by parent_change'
)
AS
WITH
    -- Each figure stands once as a child, among its siblings, and once as the parent of its own children.
    families AS
    (
        SELECT
            *,
            max(NOT as_child) OVER f AS parent_known,
            anyIf(children, NOT as_child) OVER f AS of_parent,
            anyIf(change, NOT as_child) OVER f AS change_of_parent,
            anyIf(denominator, NOT as_child) OVER f AS whole,
            anyIf(previous_denominator, NOT as_child) OVER f AS previous_whole
        FROM (SELECT *, family, as_child FROM indicator_trend ARRAY JOIN [parent, region] AS family, [1, 0] AS as_child)
        WINDOW f AS (PARTITION BY indicator, grain, period, family)
    ),
    among AS
    (
        SELECT
            c.*, ifNull(i.aggregation, '') AS how,
            if(i.direction = 'down', c.value, -c.value) AS worse,
            if(isNull(c.value), NULL, toNullable(rank() OVER (PARTITION BY c.indicator, c.grain, c.period, c.parent ORDER BY worse ASC NULLS LAST))) AS place,
            count(c.value) OVER s AS having_figure,
            avg(c.value) OVER s AS average,
            stddevPopStable(c.value) OVER s AS deviation
        FROM (SELECT * FROM families WHERE as_child AND parent != '') AS c
        LEFT JOIN (SELECT code, toString(aggregation) AS aggregation, toString(direction) AS direction FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = c.indicator
        WINDOW s AS (PARTITION BY c.indicator, c.grain, c.period, c.parent)
    )
SELECT
    indicator, title, unit, region, region_name, level, parent, grain, period, value, coverage,
    place AS rank, having_figure AS ranked, if(parent_known, toNullable(of_parent), NULL) AS siblings,
    average AS mean, (value - average) / nullIf(deviation, 0) AS z_score,
    change, if(parent_known, change_of_parent, NULL) AS parent_change,
    multiIf(
        NOT parent_known OR isNull(change), NULL,
        how = 'sum', change,
        how = 'ratio', numerator / nullIf(whole, 0) - previous_numerator / nullIf(previous_whole, 0),
        NULL) AS contribution,
    contribution / nullIf(parent_change, 0) AS contribution_share
FROM among
COMMENT '指标排名 / Indicator ranking: each region among its siblings, and its part in its parent''s change'
