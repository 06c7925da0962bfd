CREATE TABLE IF NOT EXISTS `headwater`.`issue`
(
    `issue_id` String COMMENT '问题编号 / Issue: Number of the issue; where two levels number it, that of the list that is sent.' CODEC(ZSTD(1)),
    `upper_id` String DEFAULT '' COMMENT '上级序号 / Number of the upper level: Number that the level above gives it.' CODEC(ZSTD(1)),
    `source` LowCardinality(String) COMMENT '问题来源 / Source: Where it came from.' CODEC(ZSTD(1)),
    `region` LowCardinality(String) COMMENT '所属区划 / Region: Region in which it has to be put right.' CODEC(ZSTD(1)),
    `found_on` Date32 COMMENT '发现日期 / Found: Day on which it was found or assigned.' CODEC(Delta, ZSTD(1)),
    `title` String COMMENT '问题内容 / Content: What is wrong.' CODEC(ZSTD(1)),
    `task_id` String DEFAULT '' COMMENT '关联任务 / Task: Task that it is about.' CODEC(ZSTD(1)),
    `project_id` String DEFAULT '' COMMENT '关联项目 / Project: Project that it is about.' CODEC(ZSTD(1)),
    `goal` Nullable(String) COMMENT '整改目标 / Goal: What is to be reached.' CODEC(ZSTD(1)),
    `measures` Nullable(String) COMMENT '整改措施 / Measures: What is to be done.' CODEC(ZSTD(1)),
    `responsible` String COMMENT '责任单位 / Responsible body: Body that has to put it right.' CODEC(ZSTD(1)),
    `responsible_code` Nullable(String) COMMENT '责任单位代码 / Responsible body\'s code: Unified social credit code of that body (GB 32100).' CODEC(ZSTD(1)),
    `due_on` Nullable(Date32) COMMENT '完成时限 / Due: Day by which it is to be put right; empty for a lasting one.' CODEC(Delta, ZSTD(1)),
    `status` LowCardinality(String) COMMENT '整改状态 / Status: Where it stands.' CODEC(ZSTD(1)),
    `progress` Nullable(String) COMMENT '完成情况 / Progress: What has been done.' CODEC(ZSTD(1)),
    `closed_on` Nullable(Date32) COMMENT '销号日期 / Closed: Day on which it was closed.' CODEC(Delta, ZSTD(1)),
    `verified_on` Nullable(Date32) COMMENT '核查日期 / Verified: Day on which the closing was verified on the spot.' CODEC(Delta, ZSTD(1)),
    `verified_by` Nullable(String) COMMENT '核查单位 / Verified by: Body that verified it.' CODEC(ZSTD(1)),
    `repeated` Int64 DEFAULT 0 COMMENT '重复次数 / Repeated: How often it was complained of again.' CODEC(Delta, ZSTD(1)),
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
ORDER BY (`issue_id`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '问题清单 / Issue (v1): One issue of the list, with who has to put it right and by when.'
