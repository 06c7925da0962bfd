CREATE TABLE IF NOT EXISTS `headwater`.`index_weight`
(
    `index` String COMMENT '指数代码 / Index: Code of the index.' CODEC(ZSTD(1)),
    `version` String COMMENT '版本号 / Version: Version of the index.' CODEC(ZSTD(1)),
    `component` String COMMENT '构成代码 / Component: Code of the indicator or index that is a component.' CODEC(ZSTD(1)),
    `position` Int64 COMMENT '次序 / Position: Place of the component in the definition, from 1.' CODEC(Delta, ZSTD(1)),
    `title` String DEFAULT '' COMMENT '构成名称 / Title: Chinese title of the component.' CODEC(ZSTD(1)),
    `weight` Float64 COMMENT '权重 / Weight: Share of the index; those of a version add up to 1.' CODEC(ZSTD(1)),
    `method` LowCardinality(String) COMMENT '标准化方法 / Normalisation: How the figure becomes a score.' CODEC(ZSTD(1)),
    `zero` Nullable(Float64) COMMENT '零分值 / Zero: Figure that scores 0.' CODEC(ZSTD(1)),
    `full` Nullable(Float64) COMMENT '满分值 / Full: Figure that scores 100.' CODEC(ZSTD(1)),
    `points` String DEFAULT '' COMMENT '分段点 / Points: Of piecewise, the points as JSON: [[figure, score], …] by rising figure.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`index`, `version`, `component`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '综合指数构成 / Component of an index (v1): One component of a version of a composite index, with its weight and how its figure becomes a score from 0 to 100.'
