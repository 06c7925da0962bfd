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
SELECT
    r.indicator AS indicator, ifNull(i.title_zh, '') AS title, ifNull(i.unit, '') AS unit, r.region AS region, u.region_name AS region_name, u.level AS level,
    r.grain AS grain, r.period AS period, r.feed AS feed, r.source AS source,
    r.value AS reported,
    u.value AS rolled_up,
    reported - rolled_up AS difference,
    difference / nullIf(rolled_up, 0) AS relative_difference,
    ifNull(abs(difference) <= 1e-9 * greatest(abs(reported), abs(rolled_up), 1), 0) AS agrees,
    r.direct_below AS direct_below,
    reported - direct_below AS direct_difference,
    u.figures AS figures, u.children_reporting AS children_reporting, u.children AS children
FROM (SELECT * FROM figure_report FINAL WHERE _deleted = 0) AS r
INNER JOIN (SELECT * FROM figure FINAL WHERE _deleted = 0 AND from_below = 1) AS u ON u.indicator = r.indicator AND u.grain = r.grain AND u.period = r.period AND u.region = r.region
LEFT JOIN (SELECT code, title_zh, unit FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = r.indicator
COMMENT '指标核对 / Indicator reconciliation: what a region reported against what lies below it adds up to'
