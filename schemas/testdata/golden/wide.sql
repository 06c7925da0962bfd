CREATE TABLE IF NOT EXISTS `it's \`mine\``.`wide`
(
    `id` String COMMENT '号 / Id: d' CODEC(ZSTD(1)),
    `day` Date32 COMMENT '日 / Day: d' CODEC(Delta, ZSTD(1)),
    `amount` Decimal(18, 4) COMMENT '额 / Amount: d [元]' CODEC(ZSTD(1)),
    `many` Decimal(38, 0) DEFAULT toDecimal128('7', 0) COMMENT '多 / Many: d' CODEC(ZSTD(1)),
    `share` Float64 DEFAULT 1 COMMENT '比 / Share: d' CODEC(ZSTD(1)),
    `count` Nullable(Int64) COMMENT '数 / Count: d' CODEC(Delta, ZSTD(1)),
    `done` Bool DEFAULT false COMMENT '毕 / Done: d' CODEC(ZSTD(1)),
    `at` DateTime64(3, 'UTC') DEFAULT toDateTime64('2021-01-01 00:00:00', 3, 'UTC') COMMENT '时 / At: d' CODEC(Delta, ZSTD(1)),
    `since` Date32 DEFAULT toDate32('2021-01-01') COMMENT '始 / Since: d' CODEC(Delta, ZSTD(1)),
    `grain` LowCardinality(Nullable(String)) COMMENT '粒 / Grain: d' CODEC(ZSTD(1)),
    `place` LowCardinality(String) DEFAULT '330000' COMMENT '地 / Place: d' CODEC(ZSTD(1)),
    `level` LowCardinality(String) DEFAULT 'city' COMMENT '级 / Level: d' CODEC(ZSTD(1)),
    `word` Nullable(String) COMMENT '词 / Word: it\'s a \\ word' CODEC(ZSTD(1)),
    `form` Nullable(String) COMMENT '式 / Form: d' CODEC(ZSTD(1)),
    `company` Nullable(String) COMMENT '企 / Company: d' CODEC(ZSTD(1)),
    `tags` Array(String) COMMENT '签 / Tags: d' CODEC(ZSTD(1)),
    `grains` Array(LowCardinality(String)) COMMENT '粒 / Grains: d' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1)),
    `_source` LowCardinality(String) COMMENT '来源 / Source: Source as configured in the project.' CODEC(ZSTD(1)),
    `_stream` LowCardinality(String) COMMENT '数据流 / Stream: Table, sheet, endpoint or file set of the source.' CODEC(ZSTD(1)),
    `_shard` LowCardinality(String) COMMENT '分片 / Shard: Part of the stream that was read by itself; empty when the stream is not split.' CODEC(ZSTD(1)),
    `_place` LowCardinality(String) COMMENT '位置 / Place: Where the row stood: file and sheet, or table.' CODEC(ZSTD(1)),
    `_row` UInt64 COMMENT '行号 / Row: Number of the row in its place, counted from 1; 0 when rows have no number there.' CODEC(Delta, ZSTD(1)),
    `_topic` LowCardinality(String) COMMENT '主题 / Topic: Kafka topic through which the row came.' CODEC(ZSTD(1)),
    `_partition` Int32 COMMENT '分区 / Partition: Partition of the topic.' CODEC(Delta, ZSTD(1)),
    `_incarnation` LowCardinality(String) COMMENT '日志标识 / Incarnation: Identity of the partition\'s log; another one after a topic was deleted and created again.' CODEC(ZSTD(1)),
    `_offset` Int64 COMMENT '偏移量 / Offset: Offset of the message that brought the row.' CODEC(Delta, ZSTD(1)),
    `_index` UInt32 COMMENT '批内行序 / Index: Position of the row in its batch, counted from 0.' CODEC(Delta, ZSTD(1)),
    `_run` LowCardinality(String) COMMENT '运行 / Run: Run that read the row.' CODEC(ZSTD(1)),
    `_mapping` LowCardinality(String) COMMENT '映射版本 / Mapping: Version of the mapping that made the record.' CODEC(ZSTD(1)),
    `_extracted_at` DateTime64(6, 'UTC') COMMENT '提取时间 / Extracted at: When the content that holds the row was read from the source.' CODEC(Delta, ZSTD(1)),
    `_flags` Array(LowCardinality(String)) COMMENT '警告 / Flags: Names of the warning rules that the record breaks.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`day`, `id`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '宽表 / Wide (v1): Every type there is.'
