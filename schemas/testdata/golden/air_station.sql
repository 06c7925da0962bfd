CREATE TABLE IF NOT EXISTS `headwater`.`air_station`
(
    `station` String COMMENT '站点编号 / Station: Number of the station.' CODEC(ZSTD(1)),
    `name` String COMMENT '站点名称 / Name: Name of the station.' CODEC(ZSTD(1)),
    `region` LowCardinality(String) COMMENT '区划 / Region: Region in which it lies.' CODEC(ZSTD(1)),
    `control` Bool DEFAULT false COMMENT '是否对照点 / Control: A clean control point does not count in its city\'s mean.' CODEC(ZSTD(1)),
    `national` Bool DEFAULT false COMMENT '是否国控点 / National: Whether the station is one of the state\'s.' CODEC(ZSTD(1)),
    `longitude` Nullable(Float64) COMMENT '经度 / Longitude: In the system that crs names. [°]' CODEC(ZSTD(1)),
    `latitude` Nullable(Float64) COMMENT '纬度 / Latitude: In the system that crs names. [°]' CODEC(ZSTD(1)),
    `crs` LowCardinality(Nullable(String)) COMMENT '坐标系 / Coordinate system: System of the coordinates: stated, never guessed.' CODEC(ZSTD(1)),
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
ORDER BY (`station`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '空气质量站点 / Air quality station (v1): One station of ambient air.'
