CREATE TABLE IF NOT EXISTS `headwater`.`hotline_case`
(
    `case_id` String COMMENT '工单编号 / Case number: Number of the case in the hotline\'s system.' CODEC(ZSTD(1)),
    `region` LowCardinality(String) COMMENT '所属区划 / Region: Region that the case is about.' CODEC(ZSTD(1)),
    `opened_at` DateTime64(3, 'Asia/Shanghai') COMMENT '受理时间 / Opened: When the hotline took the case.' CODEC(Delta, ZSTD(1)),
    `due_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '应办结时间 / Due: When the case is to be closed; the rate of cases closed in time counts those due in the period.' CODEC(Delta, ZSTD(1)),
    `closed_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '办结时间 / Closed: When the case was closed.' CODEC(Delta, ZSTD(1)),
    `category` Nullable(String) COMMENT '诉求分类 / Category: What the case is about, in the hotline\'s own classes.' CODEC(ZSTD(1)),
    `channel` LowCardinality(Nullable(String)) COMMENT '诉求渠道 / Channel: How the case reached the hotline.' CODEC(ZSTD(1)),
    `status` LowCardinality(Nullable(String)) COMMENT '工单状态 / Status: How far the case has come.' CODEC(ZSTD(1)),
    `satisfaction` LowCardinality(Nullable(String)) COMMENT '满意度 / Satisfaction: What the caller said of the answer; empty when nobody asked or nobody answered.' CODEC(ZSTD(1)),
    `phone` Nullable(String) COMMENT '来电号码 / Telephone number: Number of the caller, kept as a keyed hash so that repeated calls can be told.' CODEC(ZSTD(1)),
    `caller` Nullable(String) COMMENT '来电人 / Caller: Name of the caller, hashed or masked.' CODEC(ZSTD(1)),
    `caller_id` Nullable(String) COMMENT '证件号码 / Identity number: Identity number of the caller, kept as a keyed hash.' CODEC(ZSTD(1)),
    `handler` Nullable(String) COMMENT '承办单位 / Handler: Body that the case was given to.' CODEC(ZSTD(1)),
    `handler_code` Nullable(String) COMMENT '承办单位代码 / Handler\'s code: Unified social credit code of that body (GB 32100).' CODEC(ZSTD(1)),
    `content` Nullable(String) COMMENT '诉求内容 / Content: What the caller said. Free text may hold anything about anybody, so it is treated as personal.' CODEC(ZSTD(1)),
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
ORDER BY (`case_id`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '12345热线工单 / Hotline case (v1): One case of the 12345 hotline with its way from receipt to answer.'
