-- The newest version of every observation. The table keeps all versions, so its key holds the version and FINAL would not
-- help: of each key without the version the newest row counts, and it is left out when it says that the record is gone.
CREATE OR REPLACE VIEW observation_current
(
    indicator String COMMENT '指标代码 / Indicator',
    region LowCardinality(String) COMMENT '行政区划 / Region that the value is about',
    member String COMMENT '非区划成员 / Part of the region that is itself no region; empty for the region as a whole',
    subject String COMMENT '对象 / What within the region the value is about; empty when it is the region',
    grain LowCardinality(String) COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period that the value is about',
    feed LowCardinality(String) COMMENT '采集方式 / How the value came in: manual, direct or source',
    value Float64 COMMENT '数值 / Value',
    numerator Nullable(Float64) COMMENT '分子 / Of a ratio, what it counts',
    denominator Nullable(Float64) COMMENT '分母 / Of a ratio, what it is a part of; of a mean, how many values it stands for',
    unit Nullable(String) COMMENT '计量单位 / Unit as the source states it',
    level LowCardinality(Nullable(String)) COMMENT '报送层级 / Level of the body that reports the value',
    note Nullable(String) COMMENT '备注 / Note',
    known_at DateTime64(6, 'UTC') COMMENT '获知时间 / When the value was read from its source',
    source LowCardinality(String) COMMENT '来源 / Source',
    stream LowCardinality(String) COMMENT '数据流 / Stream of the source',
    shard LowCardinality(String) COMMENT '分片 / Part of the stream that was read by itself, such as a file',
    place LowCardinality(String) COMMENT '位置 / Where the row stood: file and sheet, or table',
    row UInt64 COMMENT '行号 / Number of the row in its place; 0 when rows have no number there',
    topic LowCardinality(String) COMMENT '主题 / Kafka topic through which the row came',
    partition Int32 COMMENT '分区 / Partition of the topic',
    incarnation LowCardinality(String) COMMENT '日志标识 / Identity of the partition''s log',
    offset Int64 COMMENT '偏移量 / Offset of the message that brought the row',
    position UInt32 COMMENT '批内行序 / Position of the record in its batch',
    run LowCardinality(String) COMMENT '运行 / Run that read the row',
    mapping LowCardinality(String) COMMENT '映射版本 / Version of the mapping that made the record',
    version UInt64 COMMENT '版本 / Place of the record in its source''s own order',
    flags Array(LowCardinality(String)) COMMENT '警告 / Warning rules that the record breaks'
)
AS
SELECT
    indicator, region, member, subject, grain, period, feed, value, numerator, denominator, unit, level, note,
    _extracted_at AS known_at, _source AS source, _stream AS stream, _shard AS shard, _place AS place, _row AS row,
    _topic AS topic, _partition AS partition, _incarnation AS incarnation, _offset AS offset, _index AS position, _run AS run, _mapping AS mapping, _version AS version, _flags AS flags
FROM
(
    SELECT *
    FROM observation
    ORDER BY indicator, region, member, subject, grain, period, feed, _version DESC, _offset DESC, _index DESC
    LIMIT 1 BY indicator, region, member, subject, grain, period, feed
)
WHERE _deleted = 0
COMMENT '当前观测值 / Current observations: the newest version of every value, without those that are gone from their source'
