CREATE TABLE IF NOT EXISTS `headwater`.`region_extent`
(
    `code` LowCardinality(String) COMMENT '区划代码 / Code: Region in the box.' CODEC(ZSTD(1)),
    `west` Float64 COMMENT '西界 / West: Least longitude, WGS-84. [°]' CODEC(ZSTD(1)),
    `south` Float64 COMMENT '南界 / South: Least latitude, WGS-84. [°]' CODEC(ZSTD(1)),
    `east` Float64 COMMENT '东界 / East: Greatest longitude, WGS-84. [°]' CODEC(ZSTD(1)),
    `north` Float64 COMMENT '北界 / North: Greatest latitude, WGS-84. [°]' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`code`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '区划范围 / Extent of a region (v1): A box around a region, for a look whether a position lies in its neighbourhood. It is no boundary: places of other regions lie in it too.'
