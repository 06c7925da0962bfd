CREATE TABLE IF NOT EXISTS `headwater`.`run`
(
    `run` String COMMENT '运行 / Run: Identifier of the run; later runs sort after earlier ones.' CODEC(ZSTD(1)),
    `source` String COMMENT '来源 / Source: Source as configured in the project.' CODEC(ZSTD(1)),
    `trigger` LowCardinality(String) COMMENT '触发方式 / Trigger: What started the run.' CODEC(ZSTD(1)),
    `instance` String DEFAULT '' COMMENT '实例 / Instance: Process that ran it: host and process identifier.' CODEC(ZSTD(1)),
    `started_at` DateTime64(3, 'Asia/Shanghai') COMMENT '开始时间 / Started at: When it began.' CODEC(Delta, ZSTD(1)),
    `finished_at` Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '结束时间 / Finished at: When it ended; empty while it runs.' CODEC(Delta, ZSTD(1)),
    `outcome` LowCardinality(String) COMMENT '结果 / Outcome: How it ended.' CODEC(ZSTD(1)),
    `error` String DEFAULT '' COMMENT '错误 / Error: What stopped it, for people; empty when nothing did.' CODEC(ZSTD(1)),
    `attempt` Int64 DEFAULT 1 COMMENT '尝试次数 / Attempt: Which attempt it was, from 1.' CODEC(Delta, ZSTD(1)),
    `shards` Int64 DEFAULT 0 COMMENT '分片数 / Shards: Shards that were read.' CODEC(Delta, ZSTD(1)),
    `extracted` Int64 DEFAULT 0 COMMENT '提取行数 / Extracted: Rows that were read and written to Kafka. [行]' CODEC(Delta, ZSTD(1)),
    `rejected` Int64 DEFAULT 0 COMMENT '拒绝行数 / Rejected: Rows among them that could not be read or broke a rule on a personal field. [行]' CODEC(Delta, ZSTD(1)),
    `messages` Int64 DEFAULT 0 COMMENT '消息数 / Messages: Batches that were written. [条]' CODEC(Delta, ZSTD(1)),
    `bytes` Int64 DEFAULT 0 COMMENT '字节数 / Bytes: Size of the batches as they travel. [字节]' CODEC(Delta, ZSTD(1)),
    `changes` String DEFAULT '' COMMENT '列变化 / Changes: How the source\'s columns had changed since they were last read, one stream a line; empty when they had not.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`run`, `source`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '运行历史 / Run (v2): One run of one source.'
