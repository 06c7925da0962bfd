-- The newest version of every target; see observation_current.
CREATE OR REPLACE VIEW target_current
(
    indicator String COMMENT '指标代码 / Indicator',
    region LowCardinality(String) COMMENT '行政区划 / Region that the target is set for',
    year Int64 COMMENT '年度 / Year of the target',
    due Date32 COMMENT '完成时限 / Day by which the target is to be reached',
    value Float64 COMMENT '目标值 / Target, in the indicator''s unit',
    base Nullable(Float64) COMMENT '基数 / What the target is a part of, where all of something changing is to be covered',
    plan Nullable(String) COMMENT '序时计划 / Points of the plan within the year, as JSON',
    document Nullable(String) COMMENT '依据文件 / Document that sets the target',
    known_at DateTime64(6, 'UTC') COMMENT '获知时间 / When the target was read from its source',
    source LowCardinality(String) COMMENT '来源 / Source',
    place LowCardinality(String) COMMENT '位置 / Where the row stood',
    row UInt64 COMMENT '行号 / Number of the row in its place'
)
AS
SELECT indicator, region, year, due, value, base, plan, document, _extracted_at AS known_at, _source AS source, _place AS place, _row AS row
FROM
(
    SELECT *
    FROM target
    ORDER BY indicator, region, year, _version DESC, _offset DESC, _index DESC
    LIMIT 1 BY indicator, region, year
)
WHERE _deleted = 0
COMMENT '当前年度目标 / Current targets: the newest version of every target'
