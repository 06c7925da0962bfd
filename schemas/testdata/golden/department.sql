CREATE TABLE IF NOT EXISTS `headwater`.`department`
(
    `code` String COMMENT '统一社会信用代码 / Code: Unified social credit code (GB 32100).' CODEC(ZSTD(1)),
    `name` String COMMENT '名称 / Name: Full name.' CODEC(ZSTD(1)),
    `short_name` Nullable(String) COMMENT '简称 / Short name: What it is called.' CODEC(ZSTD(1)),
    `region` LowCardinality(String) COMMENT '区划 / Region: Region that it serves.' CODEC(ZSTD(1)),
    `level` LowCardinality(Nullable(String)) COMMENT '层级 / Level: Level of the body.' CODEC(ZSTD(1)),
    `parent` String DEFAULT '' COMMENT '上级部门 / Parent: Code of the body above it; empty at the top.' CODEC(ZSTD(1)),
    `valid_from` Nullable(Date32) COMMENT '设立日期 / Valid from: First day on which it stood.' CODEC(Delta, ZSTD(1)),
    `valid_to` Nullable(Date32) COMMENT '撤销日期 / Valid to: First day on which it no longer did; empty while it does.' CODEC(Delta, ZSTD(1)),
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
ORDER BY (`code`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '部门 / Department (v1): One body of government, by its unified social credit code.'
