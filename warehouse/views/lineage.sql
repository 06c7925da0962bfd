-- From a figure to its rows: for each figure of indicator_rollup the facts that it is made of, each with where it came from. A fact
-- is repeated for every region that it counts in. One that does not count stands with its own region only, and says why.
--
-- What counts is what counts in indicator_rollup: a region's own fact only while nothing below it and none of its parts reports the
-- same indicator and period, and of several feeds the one nearest to the source. Everything that decides is a window over one
-- indicator and period, so that a filter on these does not read the others.
CREATE OR REPLACE VIEW lineage
(
    indicator String COMMENT '指标代码 / Indicator',
    region String COMMENT '行政区划 / Region of the figure',
    region_name String COMMENT '区划名称 / Name of the region at the time; empty when the code is not known',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    counted UInt8 COMMENT '是否计入 / 1 when the fact is part of the figure',
    why_not String COMMENT '未计入原因 / Why it is not: lower level, when regions below or parts report; nearer feed, when a feed nearer to the source does; held in the region, when a part says that it is (其中)',
    fact_region String COMMENT '事实区划 / Region that the fact is about',
    fact_region_name String COMMENT '事实区划名称 / Name of that region at the time',
    member String COMMENT '非区划成员 / Part of the region that is itself no region',
    subject String COMMENT '对象 / What within the region the fact is about',
    feed String COMMENT '采集方式 / How the fact came in: manual, direct or source',
    value Float64 COMMENT '数值 / Value of the fact',
    numerator Nullable(Float64) COMMENT '分子 / Of a ratio, what it counts',
    denominator Nullable(Float64) COMMENT '分母 / Of a ratio, what it is a part of',
    known_at DateTime64(6, 'UTC') COMMENT '获知时间 / When the fact was read from its source',
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
    flags Array(String) COMMENT '警告 / Warning rules that the fact breaks'
)
AS
WITH
    placed AS
    (
        SELECT
            *,
            toUInt8(transform(feed, ['manual', 'direct', 'source'], [1, 2, 3], 0)) AS rank,
            arrayMap(x -> (x.1, ''), path) AS whole,
            -- Whose own facts do not count because of this one: by region and member.
            startsWith(member, '其中') AS held,
            multiIf(
                held, [],
                member = '' AND subject = '', arraySlice(whole, 2),
                member != '' AND subject != '', arrayPushFront(whole, (region, member)),
                whole) AS covers
        FROM observation_placed
    ),
    judged AS
    (
        SELECT
            *,
            rank < max(rank) OVER (PARTITION BY indicator, grain, period, region, member, subject = '') AS outdone,
            subject = '' AND has(groupUniqArrayArray(covers) OVER (PARTITION BY indicator, grain, period), (region, member)) AS covered,
            NOT outdone AND NOT covered AND NOT held AS counts
        FROM placed
    )
SELECT
    indicator, at.1 AS region, at.3 AS region_name, grain, period,
    counts AS counted,
    multiIf(held, 'held in the region', outdone, 'nearer feed', covered, 'lower level', '') AS why_not,
    judged.region AS fact_region, judged.region_name AS fact_region_name,
    member, subject, feed, value, numerator, denominator, known_at, source, stream, shard, place, row, topic, partition, incarnation, offset, position, run, mapping, version, flags
FROM judged
ARRAY JOIN if(counts, path, arraySlice(path, 1, 1)) AS at
COMMENT '数据溯源 / Lineage: for each figure the facts that it is made of, with source, file and row or offset, run and mapping of each'
