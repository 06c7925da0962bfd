CREATE TABLE IF NOT EXISTS `headwater`.`target`
(
    `indicator` String COMMENT '指标代码 / Indicator: Code of the indicator, as the project defines it.' CODEC(ZSTD(1)),
    `region` LowCardinality(String) COMMENT '行政区划 / Region: Region that the target is set for.' CODEC(ZSTD(1)),
    `year` Int64 COMMENT '年度 / Year: Year of the target.' CODEC(Delta, ZSTD(1)),
    `due` Date32 COMMENT '完成时限 / Due: Day by which the target is to be reached.' CODEC(Delta, ZSTD(1)),
    `value` Float64 COMMENT '目标值 / Target value: What is to be reached, in the indicator\'s unit.' CODEC(ZSTD(1)),
    `base` Nullable(Float64) COMMENT '基数 / Base: What the target is a part of, where it says that all of something changing is to be covered.' CODEC(ZSTD(1)),
    `plan` Nullable(String) COMMENT '序时计划 / Plan: Points of the plan within the year as JSON: [["06-30", 80], ["12-31", 160]]. Without it progress is expected evenly.' CODEC(ZSTD(1)),
    `document` Nullable(String) COMMENT '依据文件 / Document: Document that sets the target.' CODEC(ZSTD(1)),
    `task_id` String DEFAULT '' COMMENT '所属任务 / Task: Task that sets the target, as the schema task has it; empty when none does.' CODEC(ZSTD(1)),
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
ORDER BY (`indicator`, `region`, `year`, `_version`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '年度目标 / Target (v2): What a region is to reach of an indicator in a year, with the plan for getting there. Earlier targets stay.'
