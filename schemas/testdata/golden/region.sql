CREATE TABLE IF NOT EXISTS `headwater`.`region`
(
    `code` LowCardinality(String) COMMENT '区划代码 / Code: 6-digit code (GB/T 2260).' CODEC(ZSTD(1)),
    `valid_from` Date32 DEFAULT toDate32('1900-01-01') COMMENT '启用日期 / Valid from: First day of the version; 1900-01-01 where it is not known.' CODEC(Delta, ZSTD(1)),
    `valid_to` Nullable(Date32) COMMENT '停用日期 / Valid to: First day after the version; empty while it holds.' CODEC(Delta, ZSTD(1)),
    `name` String COMMENT '名称 / Name: Full name.' CODEC(ZSTD(1)),
    `short_name` String COMMENT '简称 / Short name: Name without 省, 市, 区, 县 and the like.' CODEC(ZSTD(1)),
    `level` LowCardinality(String) COMMENT '层级 / Level: Level of the region.' CODEC(ZSTD(1)),
    `parent` LowCardinality(Nullable(String)) COMMENT '上级区划 / Parent: Region directly above; empty for the nation.' CODEC(ZSTD(1)),
    `province` LowCardinality(Nullable(String)) COMMENT '所属省份 / Province: Province of the region, itself included; empty for the nation.' CODEC(ZSTD(1)),
    `city` LowCardinality(Nullable(String)) COMMENT '所属地市 / City: City of the region, itself included; empty above and where a county lies directly under its province.' CODEC(ZSTD(1)),
    `extent` Int64 COMMENT '辖区版本 / Extent: Counts the areas that the code has stood for, from 1. Figures of different extents do not compare.' CODEC(Delta, ZSTD(1)),
    `predecessors` Array(LowCardinality(String)) COMMENT '来源区划 / Predecessors: Codes whose area, or a part of it, the version took over, itself included when the code lived on. region_share says how much of a divided one, where somebody has stated it.' CODEC(ZSTD(1)),
    `successors` Array(LowCardinality(String)) COMMENT '去向 / Successors: Codes that took over the area when the version ended, itself included when the code lives on.' CODEC(ZSTD(1)),
    `divided` Bool DEFAULT false COMMENT '是否拆分 / Divided: True when no successor took over the whole area.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`code`, `valid_from`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '行政区划 / Region (v1): One version of a region, from the day on which its code stood for this name and area to the day before it did no longer.'
