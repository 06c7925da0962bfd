CREATE TABLE IF NOT EXISTS `headwater`.`undecodable`
(
    `topic` String COMMENT '主题 / Topic: Kafka topic.' CODEC(ZSTD(1)),
    `partition` Int64 COMMENT '分区 / Partition: Partition of the topic.' CODEC(Delta, ZSTD(1)),
    `incarnation` String COMMENT '日志标识 / Incarnation: Identity of the partition\'s log; zeros where no record before the message told it.' CODEC(ZSTD(1)),
    `offset` Int64 COMMENT '偏移量 / Offset: Offset of the message.' CODEC(Delta, ZSTD(1)),
    `part` String COMMENT '损坏部分 / Part: What is damaged: value, whose rows are one entry of the quarantine, or headers, without which nobody knows whose rows they are.' CODEC(ZSTD(1)),
    `reason` String COMMENT '原因 / Reason: For people: why it cannot be decoded.' CODEC(ZSTD(1)),
    `source` String DEFAULT '' COMMENT '来源 / Source: Source of its rows; empty where the headers do not tell.' CODEC(ZSTD(1)),
    `stream` String DEFAULT '' COMMENT '数据流 / Stream: Stream of its rows; empty likewise.' CODEC(ZSTD(1)),
    `headers` String DEFAULT '[]' COMMENT '消息头 / Headers: The record headers in their order, as JSON: key, and value in base64.' CODEC(ZSTD(1)),
    `size` Int64 COMMENT '字节数 / Size: Size of the value. [字节]' CODEC(Delta, ZSTD(1)),
    `sha256` String COMMENT '校验值 / SHA-256: SHA-256 of the value, in hexadecimal digits.' CODEC(ZSTD(1)),
    `value` String DEFAULT '' COMMENT '消息体 / Value: The value whole, in base64. Personal fields in it were masked before Kafka.' CODEC(ZSTD(1)),
    `written_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '写入时间 / Written at: When the message was written to the topic, by the broker\'s clock or its writer\'s.' CODEC(Delta, ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`topic`, `partition`, `incarnation`, `offset`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '无法解码的消息 / Undecodable message (v1): A message of Headwater\'s own that cannot be decoded, whole, so that it outlives its topic\'s retention and can be examined.'
