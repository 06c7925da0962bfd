CREATE TABLE IF NOT EXISTS `headwater`.`shape`
(
    `hash` String COMMENT '哈希 / Hash: First 16 hexadecimal digits of the SHA-256 of the body.' CODEC(ZSTD(1)),
    `body` String COMMENT '内容 / Body: Schemas, code lists, regions and mappings as canonical JSON.' CODEC(ZSTD(1)),
    `stored_at` DateTime64(3, 'Asia/Shanghai') COMMENT '存储时间 / Stored at: When it was stored.' CODEC(Delta, ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`hash`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '形态 / Shape (v1): Everything that shaped rows at one time, stored before it is used, so that a flush can be repeated exactly.'
