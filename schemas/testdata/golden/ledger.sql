CREATE TABLE IF NOT EXISTS `headwater`.`ledger`
(
    `topic` String COMMENT '主题 / Topic: Kafka topic.' CODEC(ZSTD(1)),
    `partition` Int64 COMMENT '分区 / Partition: Partition of the topic.' CODEC(Delta, ZSTD(1)),
    `incarnation` String COMMENT '日志标识 / Incarnation: Identity of the partition\'s log.' CODEC(ZSTD(1)),
    `from_offset` Int64 COMMENT '起始偏移量 / From offset: First offset of the flush.' CODEC(Delta, ZSTD(1)),
    `source` String COMMENT '来源 / Source: Source as configured in the project; empty for what belongs to none.' CODEC(ZSTD(1)),
    `stream` String COMMENT '数据流 / Stream: Stream of the source.' CODEC(ZSTD(1)),
    `shard` String COMMENT '分片 / Shard: Part of the stream; empty when it is not split.' CODEC(ZSTD(1)),
    `run` String COMMENT '运行 / Run: Run that extracted the rows.' CODEC(ZSTD(1)),
    `schema` String COMMENT '标准模式 / Schema: Standard schema that the rows became.' CODEC(ZSTD(1)),
    `to_offset` Int64 COMMENT '终止偏移量 / To offset: First offset after the flush.' CODEC(Delta, ZSTD(1)),
    `epoch` Int64 COMMENT '纪元 / Epoch: Offset of the claim that was valid at the end of the flush.' CODEC(Delta, ZSTD(1)),
    `next_sequence` Int64 COMMENT '下一序号 / Next sequence: Sequence number that the next valid batch carries.' CODEC(Delta, ZSTD(1)),
    `mapping` String DEFAULT '' COMMENT '映射版本 / Mapping: Version of the mapping that made the records.' CODEC(ZSTD(1)),
    `cursor` String DEFAULT '' COMMENT '游标 / Cursor: Newest cursor of the shard within the flush, in base64; opaque to all but its connector.' CODEC(ZSTD(1)),
    `cursor_offset` Int64 DEFAULT -1 COMMENT '游标偏移量 / Cursor offset: Offset of the message that carried the cursor; -1 when there was none.' CODEC(Delta, ZSTD(1)),
    `kind` LowCardinality(String) DEFAULT 'flush' COMMENT '账目类型 / Kind: What the entry is about.' CODEC(ZSTD(1)),
    `extracted` Int64 DEFAULT 0 COMMENT '提取行数 / Extracted: Rows that the messages of the range hold. [行]' CODEC(Delta, ZSTD(1)),
    `loaded` Int64 DEFAULT 0 COMMENT '装载行数 / Loaded: Rows that became at least one record in the table. [行]' CODEC(Delta, ZSTD(1)),
    `duplicate` Int64 DEFAULT 0 COMMENT '重复行数 / Duplicate: Rows of repeated or void messages, loaded by another one. [行]' CODEC(Delta, ZSTD(1)),
    `quarantined` Int64 DEFAULT 0 COMMENT '隔离行数 / Quarantined: Rows that broke a rule or could not be read. [行]' CODEC(Delta, ZSTD(1)),
    `filtered` Int64 DEFAULT 0 COMMENT '过滤行数 / Filtered: Rows that the mapping leaves out by a stated rule. [行]' CODEC(Delta, ZSTD(1)),
    `held` Int64 DEFAULT 0 COMMENT '暂存行数 / Held: Rows that wait in Kafka because their table cannot take them. [行]' CODEC(Delta, ZSTD(1)),
    `records` Int64 DEFAULT 0 COMMENT '记录数 / Records: Records that the loaded rows became. [条]' CODEC(Delta, ZSTD(1)),
    `deleted` Int64 DEFAULT 0 COMMENT '删除记录数 / Deleted: Records that mark others as gone from the source. [条]' CODEC(Delta, ZSTD(1)),
    `warnings` Int64 DEFAULT 0 COMMENT '警告记录数 / Warnings: Records that were loaded with a flag. [条]' CODEC(Delta, ZSTD(1)),
    `messages` Int64 DEFAULT 0 COMMENT '消息数 / Messages: Messages of the range that belong to this account. [条]' CODEC(Delta, ZSTD(1)),
    `void_messages` Int64 DEFAULT 0 COMMENT '无效消息数 / Void messages: Messages of writers that had lost the partition. [条]' CODEC(Delta, ZSTD(1)),
    `foreign_messages` Int64 DEFAULT 0 COMMENT '外来消息数 / Foreign messages: Messages that Headwater did not write. [条]' CODEC(Delta, ZSTD(1)),
    `bytes` Int64 DEFAULT 0 COMMENT '字节数 / Bytes: Size of the messages as they travel. [字节]' CODEC(Delta, ZSTD(1)),
    `shape` String DEFAULT '' COMMENT '形态哈希 / Shape: Hash of everything that shaped the rows.' CODEC(ZSTD(1)),
    `extracted_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '提取时间 / Extracted at: When the newest of the rows was read from the source.' CODEC(Delta, ZSTD(1)),
    `loaded_at` DateTime64(3, 'Asia/Shanghai') COMMENT '装载时间 / Loaded at: When the flush was complete.' CODEC(Delta, ZSTD(1)),
    `counted` Nullable(Int64) COMMENT '来源计数 / Counted: Rows that the source itself counts in the shard\'s content; empty when it cannot count. [行]' CODEC(Delta, ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`topic`, `partition`, `incarnation`, `from_offset`, `source`, `stream`, `shard`, `run`, `schema`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '账目 / Ledger (v1): One account of what became of the rows of one shard and run in one range of offsets. extracted = loaded + duplicate + quarantined + filtered + held.'
