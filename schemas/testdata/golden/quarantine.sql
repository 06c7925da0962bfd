CREATE TABLE IF NOT EXISTS `headwater`.`quarantine`
(
    `topic` String COMMENT '主题 / Topic: Kafka topic.' CODEC(ZSTD(1)),
    `partition` Int64 COMMENT '分区 / Partition: Partition of the topic.' CODEC(Delta, ZSTD(1)),
    `incarnation` String COMMENT '日志标识 / Incarnation: Identity of the partition\'s log.' CODEC(ZSTD(1)),
    `offset` Int64 COMMENT '偏移量 / Offset: Offset of the message that brought the row.' CODEC(Delta, ZSTD(1)),
    `index` Int64 COMMENT '批内行序 / Index: Position of the row in its batch, counted from 0; rows that could not be read follow the others.' CODEC(Delta, ZSTD(1)),
    `source` String COMMENT '来源 / Source: Source as configured in the project.' CODEC(ZSTD(1)),
    `stream` String COMMENT '数据流 / Stream: Stream of the source.' CODEC(ZSTD(1)),
    `shard` String DEFAULT '' COMMENT '分片 / Shard: Part of the stream; empty when it is not split.' CODEC(ZSTD(1)),
    `place` String DEFAULT '' COMMENT '位置 / Place: Where the row stood: file and sheet, or table.' CODEC(ZSTD(1)),
    `row` Int64 DEFAULT 0 COMMENT '行号 / Row: Number of the row in its place, counted from 1; 0 when rows have no number there.' CODEC(Delta, ZSTD(1)),
    `run` String COMMENT '运行 / Run: Run that extracted the row.' CODEC(ZSTD(1)),
    `schema` String DEFAULT '' COMMENT '标准模式 / Schema: Standard schema that the row was to become.' CODEC(ZSTD(1)),
    `mapping` String DEFAULT '' COMMENT '映射版本 / Mapping: Version of the mapping that refused the row.' CODEC(ZSTD(1)),
    `rules` Array(String) COMMENT '违反的规则 / Rules: Names of the broken rules.' CODEC(ZSTD(1)),
    `reasons` Array(String) COMMENT '原因 / Reasons: For people, one reason a broken rule, in the same order.' CODEC(ZSTD(1)),
    `fields` Array(String) COMMENT '字段 / Fields: Fields or columns at fault, one a broken rule, in the same order; empty where it is the row.' CODEC(ZSTD(1)),
    `columns` String DEFAULT '' COMMENT '原始列 / Columns: Original columns that the mapping or keep names, as JSON of texts, personal ones masked.' CODEC(ZSTD(1)),
    `raw` String DEFAULT '' COMMENT '原始内容 / Raw: What could not be read, as found, cut short and masked.' CODEC(ZSTD(1)),
    `version` Int64 DEFAULT 0 COMMENT '来源版本 / Source version: Place of the row in its source\'s own order.' CODEC(Delta, ZSTD(1)),
    `extracted_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '提取时间 / Extracted at: When the row was read from the source.' CODEC(Delta, ZSTD(1)),
    `status` LowCardinality(String) DEFAULT 'open' COMMENT '状态 / Status: What has become of the row.' CODEC(ZSTD(1)),
    `status_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '状态时间 / Status at: When the status changed.' CODEC(Delta, ZSTD(1)),
    `status_by` String DEFAULT '' COMMENT '处理人 / Status by: Who changed it.' CODEC(ZSTD(1)),
    `status_why` String DEFAULT '' COMMENT '处理理由 / Status why: Why, in their words.' CODEC(ZSTD(1)),
    `replayed_to` String DEFAULT '' COMMENT '重放位置 / Replayed to: Where the replayed row stands: topic/partition/offset/index.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`topic`, `partition`, `incarnation`, `offset`, `index`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '隔离区 / Quarantine (v1): One row that broke a rule or could not be read, with every reason and its original columns, personal ones masked.'
