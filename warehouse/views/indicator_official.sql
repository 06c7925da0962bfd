-- What is to be quoted: of a frozen or published period the figures that stood when somebody froze it, of all others the live ones of
-- indicator_rollup. A later figure is loaded as ever and changes the live value; it is held aside here, in sight, until somebody
-- restates the period and says why.
--
-- Both sides are put together by a union and not by a join, so that a filter on indicator, region and period reaches each of them.
CREATE OR REPLACE VIEW indicator_official
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
    state String COMMENT '状态 / live, frozen or published',
    state_zh String COMMENT '状态名称 / The same in Chinese',
    value Nullable(Float64) COMMENT '定稿值 / The figure to be quoted; empty when there is none, or there was none when the period was frozen',
    numerator Nullable(Float64) COMMENT '分子合计 / Sum of numerators',
    denominator Nullable(Float64) COMMENT '分母合计 / Sum of denominators',
    children_reporting Int64 COMMENT '已报下级数 / Regions directly below that have figures in it',
    children Int64 COMMENT '下级总数 / Regions directly below that there were in the period',
    live_value Nullable(Float64) COMMENT '实时值 / The figure as its sources have it now',
    held_aside UInt8 COMMENT '待重述 / 1 when a later figure is held aside: the live value is not the frozen one',
    frozen_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '定稿时间 / When the value was frozen or restated',
    frozen_by String COMMENT '定稿人 / Who did that',
    why String COMMENT '理由 / Why, in their words',
    restatements UInt64 COMMENT '重述次数 / How often the figure was restated'
)
AS
SELECT
    indicator, title, unit, region, region_name, level, parent, grain, period,
    ['live', 'frozen', 'published'][held + 1] AS state,
    ['实时', '已冻结', '已发布'][held + 1] AS state_zh,
    if(held > 0, frozen_value, live_value) AS value,
    if(held > 0, frozen_numerator, live_numerator) AS numerator,
    if(held > 0, frozen_denominator, live_denominator) AS denominator,
    if(held > 0, frozen_reporting, live_reporting) AS children_reporting,
    if(held > 0, frozen_children, live_children) AS children,
    live_value,
    -- Sums of the same figures may differ in their last bits.
    held > 0 AND (isNull(frozen_value) != isNull(live_value) OR ifNull(abs(frozen_value - live_value) > 1e-9 * greatest(abs(frozen_value), abs(live_value), 1), 0)) AS held_aside,
    if(held > 0, toNullable(at), NULL) AS frozen_at,
    if(held > 0, who, '') AS frozen_by,
    if(held > 0, frozen_why, '') AS why,
    restatements
FROM
(
SELECT
    indicator, region, grain, period,
    countIf(s.live = 1) AS living,
    maxIf(s.held, s.live = 0) AS held,
    max(s.title) AS title, max(s.unit) AS unit,
    -- The live side's words where it has any; the two differ only when the tree was corrected after the period was frozen.
    if(living > 0, maxIf(s.region_name, s.live = 1), max(s.region_name)) AS region_name,
    if(living > 0, maxIf(s.level, s.live = 1), max(s.level)) AS level,
    if(living > 0, maxIf(s.parent, s.live = 1), max(s.parent)) AS parent,
    maxIf(s.value, s.live = 0) AS frozen_value, maxIf(s.value, s.live = 1) AS live_value,
    maxIf(s.numerator, s.live = 0) AS frozen_numerator, maxIf(s.numerator, s.live = 1) AS live_numerator,
    maxIf(s.denominator, s.live = 0) AS frozen_denominator, maxIf(s.denominator, s.live = 1) AS live_denominator,
    maxIf(s.children_reporting, s.live = 0) AS frozen_reporting, maxIf(s.children_reporting, s.live = 1) AS live_reporting,
    maxIf(s.children, s.live = 0) AS frozen_children, maxIf(s.children, s.live = 1) AS live_children,
    max(s.at) AS at, max(s.who) AS who, max(s.why) AS frozen_why, sum(s.restatements) AS restatements
FROM
(
    SELECT
        indicator, title, unit, region, region_name, level, parent, grain, period, 1 AS live, value, numerator, denominator,
        toInt64(children_reporting) AS children_reporting, toInt64(children) AS children,
        toUInt8(0) AS held, toDateTime64(0, 3, 'Asia/Shanghai') AS at, '' AS who, '' AS why, toUInt64(0) AS restatements
    FROM indicator_rollup
    UNION ALL
    -- One row for each figure: the newest act counts, and an act that is a publication keeps who froze it.
    SELECT
        f.indicator AS indicator, '' AS title, '' AS unit, CAST(f.region AS String) AS region, argMax(f.region_name, f.act) AS region_name, argMax(f.level, f.act) AS level,
        argMax(f.parent, f.act) AS parent, CAST(f.grain AS String) AS grain, f.period AS period, 0 AS live,
        argMax(tuple(f.value), f.act).1 AS value, argMax(tuple(f.numerator), f.act).1 AS numerator, argMax(tuple(f.denominator), f.act).1 AS denominator,
        argMax(f.children_reporting, f.act) AS children_reporting, argMax(f.children, f.act) AS children,
        toUInt8(argMax(multiIf(f.action = 'reopen', 0, f.published, 2, 1), f.act)) AS held,
        argMaxIf(f.at, f.act, f.action IN ('freeze', 'restate')) AS at, argMaxIf(f.who, f.act, f.action IN ('freeze', 'restate')) AS who,
        argMaxIf(f.why, f.act, f.action IN ('freeze', 'restate')) AS why, countIf(f.action = 'restate') AS restatements
    FROM (SELECT * FROM period_figure FINAL WHERE _deleted = 0) AS f
    GROUP BY indicator, region, grain, period
) AS s
GROUP BY indicator, region, grain, period
HAVING held > 0 OR living > 0
)
COMMENT '指标定稿值 / Official figures: frozen or published ones as they stood then, all others live, with what is held aside'
