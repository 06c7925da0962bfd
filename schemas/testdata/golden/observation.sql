CREATE TABLE IF NOT EXISTS `headwater`.`observation`
(
    `indicator` String COMMENT '指标代码 / Indicator: Code of the indicator, as the project defines it.' CODEC(ZSTD(1)),
    `region` LowCardinality(String) COMMENT '行政区划 / Region: Region that the value is about, by the 6-digit code that held in the period.' CODEC(ZSTD(1)),
    `member` String DEFAULT '' COMMENT '非区划成员 / Member: Part of the region that is itself no region, such as a development zone or 境外输入; empty for the region as a whole.' CODEC(ZSTD(1)),
    `subject` String DEFAULT '' COMMENT '对象 / Subject: What within the region the value is about, such as a station, a project or a group; empty when it is the region.' CODEC(ZSTD(1)),
    `grain` LowCardinality(String) COMMENT '时间粒度 / Period length: Length of the period.' CODEC(ZSTD(1)),
    `period` DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Period: Start of the period that the value is about.' CODEC(Delta, ZSTD(1)),
    `feed` LowCardinality(String) COMMENT '采集方式 / Feed: How the value came in.' CODEC(ZSTD(1)),
    `value` Float64 COMMENT '数值 / Value: The value, in the indicator\'s unit.' CODEC(ZSTD(1)),
    `numerator` Nullable(Float64) COMMENT '分子 / Numerator: Of a ratio, what it counts. Ratios are rolled up by their parts.' CODEC(ZSTD(1)),
    `denominator` Nullable(Float64) COMMENT '分母 / Denominator: Of a ratio, what it is a part of; of a mean, how many values it stands for.' CODEC(ZSTD(1)),
    `unit` Nullable(String) COMMENT '计量单位 / Unit: Unit of the value as the source states it.' CODEC(ZSTD(1)),
    `level` LowCardinality(Nullable(String)) COMMENT '报送层级 / Reporting level: Level of the body that reports the value; a province\'s own figure for a city is a province\'s.' CODEC(ZSTD(1)),
    `note` Nullable(String) COMMENT '备注 / Note: What the source says beside the value.' CODEC(ZSTD(1)),
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
PARTITION BY toYear(`period`)
ORDER BY (`indicator`, `region`, `member`, `subject`, `grain`, `period`, `feed`, `_version`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '指标观测值 / Observation (v2): One value of one indicator for one region and period, as one feed reported it. Earlier values stay, so that any figure can be shown as it was known on a day.'
