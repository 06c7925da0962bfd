CREATE TABLE IF NOT EXISTS `headwater`.`index_version`
(
    `index` String COMMENT '指数代码 / Index: Code of the index.' CODEC(ZSTD(1)),
    `version` String COMMENT '版本号 / Version: What people call the version.' CODEC(ZSTD(1)),
    `title_zh` String COMMENT '中文名称 / Chinese title: What people call the index in Chinese.' CODEC(ZSTD(1)),
    `title_en` String COMMENT '英文名称 / English title: What people call the index in English.' CODEC(ZSTD(1)),
    `unit` String DEFAULT '' COMMENT '计量单位 / Unit: Unit of its scores.' CODEC(ZSTD(1)),
    `direction` LowCardinality(String) COMMENT '方向 / Direction: Which way it is better.' CODEC(ZSTD(1)),
    `grain` LowCardinality(String) COMMENT '时间粒度 / Period length: Period that a score is about, and its components\' figures too.' CODEC(ZSTD(1)),
    `owner` String DEFAULT '' COMMENT '责任部门 / Owner: Department that answers for the definition.' CODEC(ZSTD(1)),
    `demonstration` Bool COMMENT '是否演示 / Demonstration: True when components and weights are nobody\'s official ones.' CODEC(ZSTD(1)),
    `valid_from` Date32 COMMENT '启用日期 / Valid from: First day of the version.' CODEC(Delta, ZSTD(1)),
    `valid_to` Nullable(Date32) COMMENT '停用日期 / Valid to: First day after the version; empty while it holds.' CODEC(Delta, ZSTD(1)),
    `missing` LowCardinality(String) COMMENT '缺项规则 / Rule for what is missing: What becomes of the index when a component has no figure.' CODEC(ZSTD(1)),
    `min_coverage` Float64 COMMENT '最低权重覆盖 / Least coverage: Share of the weight that must be there for a score under reweight.' CODEC(ZSTD(1)),
    `sequence` Int64 COMMENT '计算次序 / Sequence: Indexes are computed in this order, so that one that others are made of comes first.' CODEC(Delta, ZSTD(1)),
    `note` String DEFAULT '' COMMENT '版本说明 / Note: What the version changed, or the document that sets it.' CODEC(ZSTD(1)),
    `green` Nullable(Float64) COMMENT '绿色界限 / Green: A score at least as good is green.' CODEC(ZSTD(1)),
    `blue` Nullable(Float64) COMMENT '蓝色界限 / Blue: A score at least as good, and not green, is blue.' CODEC(ZSTD(1)),
    `yellow` Nullable(Float64) COMMENT '黄色界限 / Yellow: A score at least as good, and not blue, is yellow.' CODEC(ZSTD(1)),
    `orange` Nullable(Float64) COMMENT '橙色界限 / Orange: A score at least as good, and not yellow, is orange; worse ones are red.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`index`, `version`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '综合指数版本 / Version of an index (v1): One version of a composite index\'s definition with the time in which it holds. A period is scored by the version in force on its first day.'
