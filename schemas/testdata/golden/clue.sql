CREATE TABLE IF NOT EXISTS `headwater`.`clue`
(
    `clue_id` String COMMENT '线索编号 / Number: Number of the clue.' CODEC(ZSTD(1)),
    `channel` LowCardinality(String) COMMENT '线索渠道 / Channel: How it came in.' CODEC(ZSTD(1)),
    `region` LowCardinality(String) COMMENT '所属区划 / Region: Region that it is about.' CODEC(ZSTD(1)),
    `received_at` DateTime64(3, 'Asia/Shanghai') COMMENT '受理时间 / Received: When it was received.' CODEC(Delta, ZSTD(1)),
    `due_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '应办结时间 / Due: When it is to be closed.' CODEC(Delta, ZSTD(1)),
    `closed_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '办结时间 / Closed: When it was closed.' CODEC(Delta, ZSTD(1)),
    `category` Nullable(String) COMMENT '线索分类 / Category: What it is about.' CODEC(ZSTD(1)),
    `task_id` String DEFAULT '' COMMENT '关联任务 / Task: Task that it is about, where one is known.' CODEC(ZSTD(1)),
    `repeats` String DEFAULT '' COMMENT '重复线索 / Repeats: Earlier clue that this one repeats; repeated ones are counted apart.' CODEC(ZSTD(1)),
    `status` LowCardinality(Nullable(String)) COMMENT '线索状态 / Status: How far it has come.' CODEC(ZSTD(1)),
    `handler` Nullable(String) COMMENT '承办单位 / Handler: Body that it was given to.' CODEC(ZSTD(1)),
    `issue_id` String DEFAULT '' COMMENT '转问题编号 / Issue: Issue that it became.' CODEC(ZSTD(1)),
    `satisfaction` LowCardinality(Nullable(String)) COMMENT '评价 / Satisfaction: What the person said of the answer; empty when nobody asked or nobody answered.' CODEC(ZSTD(1)),
    `person` Nullable(String) COMMENT '反映人 / Person: Name of the person, hashed or masked.' CODEC(ZSTD(1)),
    `phone` Nullable(String) COMMENT '联系电话 / Telephone number: Number of the person, kept as a keyed hash.' CODEC(ZSTD(1)),
    `content` Nullable(String) COMMENT '反映内容 / Content: What the person wrote. Free text may hold anything about anybody, so it is treated as personal.' CODEC(ZSTD(1)),
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
ORDER BY (`clue_id`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '线索投诉 / Clue (v1): One clue or complaint of the public, whatever way it came; the hotline\'s own cases are in hotline_case.'
