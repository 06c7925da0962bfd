-- What report_live says, kept, as figure is.
CREATE TABLE IF NOT EXISTS figure_report
(
    indicator String COMMENT '指标代码 / Indicator',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    region String COMMENT '行政区划 / Region that reported',
    feed String COMMENT '采集方式 / Feed by which its own figure came',
    last_day Date32 COMMENT '期间末日 / Last day of the period',
    value Float64 COMMENT '上报值 / What the region reported itself',
    source String COMMENT '来源 / Source of that figure',
    direct_below Nullable(Float64) COMMENT '直接下级合计 / What the same feed has directly below, parts included; empty when it has nothing there',
    _version UInt64 COMMENT '版本 / Version: the highest counts',
    _deleted UInt8 COMMENT '已删除 / 1 when there is no such report any more'
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY (indicator, grain, period, region, feed)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '上报结果 / Figure report: kept figures that regions reported themselves'
