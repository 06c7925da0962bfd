-- What changed: each value that took the place of another one of the same observation. The same value read again is none.
CREATE OR REPLACE VIEW correction
(
    indicator String COMMENT '指标代码 / Indicator',
    region String COMMENT '行政区划 / Region that the value is about',
    member String COMMENT '非区划成员 / Part of the region that is itself no region',
    subject String COMMENT '对象 / What within the region the value is about',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period that the value is about',
    feed String COMMENT '采集方式 / How the value came in: manual, direct or source',
    corrected_at DateTime64(6, 'UTC') COMMENT '更正时间 / When the new value was read',
    kind LowCardinality(String) COMMENT '类别 / changed, deleted (gone from its source) or restored (there again)',
    old_value Nullable(Float64) COMMENT '原值 / Value before; empty when the record was gone',
    new_value Nullable(Float64) COMMENT '新值 / Value since; empty when the record is gone',
    old_numerator Nullable(Float64) COMMENT '原分子 / Numerator before',
    new_numerator Nullable(Float64) COMMENT '新分子 / Numerator since',
    old_denominator Nullable(Float64) COMMENT '原分母 / Denominator before',
    new_denominator Nullable(Float64) COMMENT '新分母 / Denominator since',
    old_known_at DateTime64(6, 'UTC') COMMENT '原值获知时间 / When the value before was read',
    source String COMMENT '来源 / Source of the new value',
    place String COMMENT '位置 / Where the new row stood',
    row UInt64 COMMENT '行号 / Number of the new row in its place',
    run String COMMENT '运行 / Run that read the new row',
    old_run String COMMENT '原运行 / Run that read the row before'
)
AS
SELECT
    indicator, region, member, subject, grain, period, feed,
    known_from AS corrected_at,
    multiIf(deleted = 1, 'deleted', old.4 = 1, 'restored', 'changed') AS kind,
    old.1 AS old_value, value AS new_value, old.2 AS old_numerator, numerator AS new_numerator, old.3 AS old_denominator, denominator AS new_denominator,
    old.5 AS old_known_at, source, place, row, run, old.6 AS old_run
FROM
(
    SELECT
        *,
        row_number() OVER w AS nth,
        lagInFrame((value, numerator, denominator, deleted, known_from, run)) OVER w AS old
    FROM observation_history
    WINDOW w AS (PARTITION BY indicator, region, member, subject, grain, period, feed ORDER BY version ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE nth > 1 AND (value IS DISTINCT FROM old.1 OR numerator IS DISTINCT FROM old.2 OR denominator IS DISTINCT FROM old.3 OR deleted != old.4)
COMMENT '更正记录 / Corrections: every value that took the place of another, with both, when, and the run and row that brought it'
