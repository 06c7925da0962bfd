-- Every value that an observation has had, with the time for which it was the one that was known. A figure as it was known at T is the
-- row with known_from <= T and known_until > T.
--
-- Of the versions that had been read by T the highest counts. So a version is known from when it was read until any higher one
-- was read, and one that was read after a higher one never was. A version that came twice, as a replay brings it, is one row.
CREATE OR REPLACE VIEW observation_history
(
    indicator String COMMENT '指标代码 / Indicator',
    region String COMMENT '行政区划 / Region that the value is about',
    member String COMMENT '非区划成员 / Part of the region that is itself no region',
    subject String COMMENT '对象 / What within the region the value is about',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period that the value is about',
    feed String COMMENT '采集方式 / How the value came in: manual, direct or source',
    value Nullable(Float64) COMMENT '数值 / Value; empty for the time after which the record was gone from its source',
    numerator Nullable(Float64) COMMENT '分子 / Of a ratio, what it counts',
    denominator Nullable(Float64) COMMENT '分母 / Of a ratio, what it is a part of',
    deleted UInt8 COMMENT '已删除 / 1 when the record was gone from its source',
    known_from DateTime64(6, 'UTC') COMMENT '获知时间 / When the value was read',
    known_until DateTime64(6, 'UTC') COMMENT '失效时间 / When another took its place; the end of 2299 for the newest',
    source String COMMENT '来源 / Source',
    place String COMMENT '位置 / Where the row stood: file and sheet, or table',
    row UInt64 COMMENT '行号 / Number of the row in its place',
    run String COMMENT '运行 / Run that read the row',
    version UInt64 COMMENT '版本 / Place of the record in its source''s own order'
)
AS
SELECT
    indicator, toString(region) AS region, member, subject, toString(grain) AS grain, period, toString(feed) AS feed,
    if(_deleted = 1, NULL, toNullable(value)) AS value,
    if(_deleted = 1, NULL, numerator) AS numerator,
    if(_deleted = 1, NULL, denominator) AS denominator,
    _deleted AS deleted,
    _extracted_at AS known_from,
    higher AS known_until,
    toString(_source) AS source, toString(_place) AS place, _row AS row, toString(_run) AS run, _version AS version
FROM
(
    SELECT
        *,
        ifNull(
            minOrNull(_extracted_at) OVER (PARTITION BY indicator, region, member, subject, grain, period, feed ORDER BY _version ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING),
            toDateTime64('2299-12-31 00:00:00', 6, 'UTC')) AS higher
    FROM
    (
        SELECT *
        FROM observation
        ORDER BY indicator, region, member, subject, grain, period, feed, _version, _offset DESC, _index DESC
        LIMIT 1 BY indicator, region, member, subject, grain, period, feed, _version
    )
)
WHERE known_from < known_until
COMMENT '观测值历史 / History of observations: every value and for how long it was the one known; as of T: known_from <= T AND known_until > T'
