-- What has been done to this database: migrations, the schemas as tables were made from them, views, and the content of the
-- tables that are filled from files. The newest row of a step counts.
CREATE TABLE IF NOT EXISTS migration
(
    step String COMMENT '步骤 / Step: migration, table, view or content, and its name',
    hash String COMMENT '哈希 / Hash: SHA-256 of what was applied',
    body String COMMENT '内容 / Body: what was applied; of a table its schema as JSON' CODEC(ZSTD(3)),
    applied_at DateTime64(6, 'UTC') COMMENT '应用时间 / Applied at'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY step
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '迁移记录 / Migration: what has been done to this database, and when'
