-- Current observations with the place of their region in the tree. The tree is that of the period's last day: a region that
-- began within the period is found, and one that ended within it keeps its last place.
CREATE OR REPLACE VIEW observation_placed
(
    indicator String COMMENT '指标代码 / Indicator',
    region String COMMENT '行政区划 / Region that the value is about',
    region_name String COMMENT '区划名称 / Name of the region at the time; empty when the code is not known',
    region_level String COMMENT '区划层级 / Level of the region at the time',
    member String COMMENT '非区划成员 / Part of the region that is itself no region',
    subject String COMMENT '对象 / What within the region the value is about',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    last_day Date32 COMMENT '期间末日 / Last day of the period',
    feed String COMMENT '采集方式 / How the value came in: manual, direct or source',
    value Float64 COMMENT '数值 / Value',
    numerator Nullable(Float64) COMMENT '分子 / Of a ratio, what it counts',
    denominator Nullable(Float64) COMMENT '分母 / Of a ratio, what it is a part of; of a mean, how many values it stands for',
    known_at DateTime64(6, 'UTC') COMMENT '获知时间 / When the value was read from its source',
    source String COMMENT '来源 / Source',
    stream String COMMENT '数据流 / Stream of the source',
    shard String COMMENT '分片 / Part of the stream that was read by itself, such as a file',
    place String COMMENT '位置 / Where the row stood: file and sheet, or table',
    row UInt64 COMMENT '行号 / Number of the row in its place; 0 when rows have no number there',
    topic String COMMENT '主题 / Kafka topic through which the row came',
    partition Int32 COMMENT '分区 / Partition of the topic',
    incarnation String COMMENT '日志标识 / Identity of the partition''s log',
    offset Int64 COMMENT '偏移量 / Offset of the message that brought the row',
    position UInt32 COMMENT '批内行序 / Position of the record in its batch',
    run String COMMENT '运行 / Run that read the row',
    mapping String COMMENT '映射版本 / Version of the mapping that made the record',
    version UInt64 COMMENT '版本 / Place of the record in its source''s own order',
    flags Array(String) COMMENT '警告 / Warning rules that the record breaks',
    path Array(Tuple(code String, level String, name String)) COMMENT '上级路径 / The region and those above it, from the bottom: code, level, name',
    steps Array(Tuple(code String, below String, unit String)) COMMENT '汇总路径 / See region_path'
)
AS
SELECT
    o.indicator AS indicator,
    o.code AS region,
    ifNull(p.name, '') AS region_name,
    ifNull(p.level, '') AS region_level,
    o.member AS member,
    o.subject AS subject,
    toString(o.grain) AS grain,
    o.period AS period,
    o.last_day AS last_day,
    toString(o.feed) AS feed,
    o.value AS value,
    o.numerator AS numerator,
    o.denominator AS denominator,
    o.known_at AS known_at,
    toString(o.source) AS source,
    toString(o.stream) AS stream,
    toString(o.shard) AS shard,
    toString(o.place) AS place,
    o.row AS row,
    toString(o.topic) AS topic,
    o.partition AS partition,
    toString(o.incarnation) AS incarnation,
    o.offset AS offset,
    o.position AS position,
    toString(o.run) AS run,
    toString(o.mapping) AS mapping,
    o.version AS version,
    arrayMap(x -> toString(x), o.flags) AS flags,
    if(empty(p.path), [(o.code, '', '')], p.path) AS path,
    if(empty(p.steps), [(o.code, '', '')], p.steps) AS steps
FROM
(
    SELECT
        *,
        toString(region) AS code,
        toDate32(period) AS first_day,
        multiIf(
            grain = 'week', addDays(first_day, 6),
            grain = 'xun', if(toDayOfMonth(first_day) > 20, toLastDayOfMonth(first_day), addDays(first_day, 9)),
            grain = 'month', toLastDayOfMonth(first_day),
            grain = 'quarter', addDays(addMonths(first_day, 3), -1),
            grain = 'half', addDays(addMonths(first_day, 6), -1),
            grain = 'year', addDays(addYears(first_day, 1), -1),
            first_day) AS last_day
    FROM observation_current
) AS o
ASOF LEFT JOIN (SELECT toString(code) AS code, since, name, toString(level) AS level, path, steps FROM region_path FINAL WHERE _deleted = 0) AS p ON p.code = o.code AND o.last_day >= p.since
COMMENT '带区划的观测值 / Placed observations: current values with their region''s place in the tree as it was then'
