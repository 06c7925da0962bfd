CREATE TABLE IF NOT EXISTS `headwater`.`region_share`
(
    `code` LowCardinality(String) COMMENT '原区划代码 / Code: Region that was divided.' CODEC(ZSTD(1)),
    `divided_on` Date32 COMMENT '拆分日期 / Divided on: Day on which the version ended that was divided.' CODEC(Delta, ZSTD(1)),
    `successor` LowCardinality(String) COMMENT '去向 / Successor: Region that took over a part, the region itself included when its code lives on.' CODEC(ZSTD(1)),
    `indicator` String DEFAULT '' COMMENT '指标代码 / Indicator: Indicator that the share is for; empty for all that have no shares of their own.' CODEC(ZSTD(1)),
    `share` Float64 COMMENT '比例 / Share: From 0 to 1. The shares of one division add up to 1. [1]' CODEC(ZSTD(1)),
    `basis` String COMMENT '依据 / Basis: What the share rests on, such as a census or a document.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`code`, `divided_on`, `successor`, `indicator`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '区划拆分比例 / Share of a divided region (v1): How much of a divided region one of its successors took over, for figures on today\'s boundaries. Somebody states it; without it no figure of the region is divided.'
