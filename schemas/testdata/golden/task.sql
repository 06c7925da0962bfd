CREATE TABLE IF NOT EXISTS `headwater`.`task`
(
    `task_id` String COMMENT '任务编号 / Task number: Number of the task in the supervision system.' CODEC(ZSTD(1)),
    `parent_id` String DEFAULT '' COMMENT '上级任务 / Parent task: Task that this one is a part of; empty at the top.' CODEC(ZSTD(1)),
    `kind` LowCardinality(String) COMMENT '任务类型 / Kind: Which of the five systems the task belongs to.' CODEC(ZSTD(1)),
    `title` String COMMENT '任务名称 / Title: Name of the task or item.' CODEC(ZSTD(1)),
    `year` Int64 COMMENT '年度 / Year: Year in which the task is due.' CODEC(Delta, ZSTD(1)),
    `depth` Nullable(Int64) COMMENT '分解层级 / Depth: 0 for an item, 1 for its tasks, 2 for quantified targets, then what city and county have of them.' CODEC(Delta, ZSTD(1)),
    `region` LowCardinality(String) COMMENT '承担区划 / Region: Region that has to bring it.' CODEC(ZSTD(1)),
    `goal` Nullable(String) COMMENT '工作目标 / Goal: What is to be reached, in words.' CODEC(ZSTD(1)),
    `indicator` String DEFAULT '' COMMENT '指标代码 / Indicator: Indicator that counts its progress; empty where it cannot be counted.' CODEC(ZSTD(1)),
    `target` Nullable(Float64) COMMENT '量化指标 / Target: What is to be reached of the indicator.' CODEC(ZSTD(1)),
    `target_unit` Nullable(String) COMMENT '计量单位 / Unit of the target: Unit of the target.' CODEC(ZSTD(1)),
    `lead` String COMMENT '牵头单位 / Lead department: Body that leads: the first of the list in the document.' CODEC(ZSTD(1)),
    `lead_code` Nullable(String) COMMENT '牵头单位代码 / Lead department\'s code: Unified social credit code of that body (GB 32100).' CODEC(ZSTD(1)),
    `assisting` Array(String) COMMENT '协同单位 / Assisting departments: Bodies that assist, in the order of the document; the order has a meaning.' CODEC(ZSTD(1)),
    `started_on` Nullable(Date32) COMMENT '启动日期 / Started: Day on which the task began.' CODEC(Delta, ZSTD(1)),
    `due_on` Date32 COMMENT '完成时限 / Due: Day by which it is to be done.' CODEC(Delta, ZSTD(1)),
    `acceptance` Nullable(String) COMMENT '验收标准 / Acceptance standard: By what it is judged to be done, as fixed at the beginning of the year.' CODEC(ZSTD(1)),
    `document` Nullable(String) COMMENT '依据文件 / Document: Document that sets the task.' CODEC(ZSTD(1)),
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
ORDER BY (`task_id`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '督查任务 / Task (v1): One task as a body has it: from an item of the province down to the smallest part that a county has to bring. A task splits into the tasks that name it as their parent.'
