-- What figure_live says, kept: a view that answers many questions must not put all observations together each time. Refresh keeps it.
CREATE TABLE IF NOT EXISTS figure
(
    indicator String COMMENT '指标代码 / Indicator',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    region String COMMENT '行政区划 / Region',
    last_day Date32 COMMENT '期间末日 / Last day of the period',
    as_of Date32 COMMENT '截至日期 / Day that the figure speaks of',
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
    parent String COMMENT '上级区划 / Region above it at the time',
    _version UInt64 COMMENT '版本 / Version: the highest counts',
    _deleted UInt8 COMMENT '已删除 / 1 when there is no such figure any more'
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY (indicator, grain, period, region)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '汇总结果 / Figure: kept figures, each indicator by region and period'
