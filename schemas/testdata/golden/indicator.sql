CREATE TABLE IF NOT EXISTS `headwater`.`indicator`
(
    `code` String COMMENT '指标代码 / Code: Code of the indicator.' CODEC(ZSTD(1)),
    `title_zh` String COMMENT '中文名称 / Chinese title: What people call it in Chinese.' CODEC(ZSTD(1)),
    `title_en` String COMMENT '英文名称 / English title: What people call it in English.' CODEC(ZSTD(1)),
    `unit` String DEFAULT '' COMMENT '计量单位 / Unit: Unit of its values.' CODEC(ZSTD(1)),
    `direction` LowCardinality(String) COMMENT '方向 / Direction: Which way it is better.' CODEC(ZSTD(1)),
    `aggregation` LowCardinality(String) COMMENT '跨区划汇总 / Aggregation over regions: How values of lower regions make the upper region\'s.' CODEC(ZSTD(1)),
    `time_aggregation` LowCardinality(String) COMMENT '跨期汇总 / Aggregation over time: How values of finer periods make a longer period\'s.' CODEC(ZSTD(1)),
    `grain` LowCardinality(String) COMMENT '时间粒度 / Period length: Period that a value is about.' CODEC(ZSTD(1)),
    `levels` Array(LowCardinality(String)) COMMENT '报送层级 / Levels: Levels of regions that report it.' CODEC(ZSTD(1)),
    `description` String DEFAULT '' COMMENT '说明 / Description: What is counted, and by which rule.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`code`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '指标 / Indicator (v1): Definition of one indicator of the project.'
