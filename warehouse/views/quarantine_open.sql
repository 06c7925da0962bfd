-- The rows in quarantine that nobody has dealt with.
CREATE OR REPLACE VIEW quarantine_open
(
    id String COMMENT '编号 / Id, as the quarantine commands take it',
    source String COMMENT '来源 / Source',
    stream String COMMENT '数据流 / Stream of the source',
    place String COMMENT '位置 / Where the row stood: file and sheet, or table',
    row Int64 COMMENT '行号 / Number of the row in its place; 0 when rows have no number there',
    rules Array(String) COMMENT '违反的规则 / Names of the broken rules',
    reasons Array(String) COMMENT '原因 / One reason a broken rule',
    fields Array(String) COMMENT '字段 / Field at fault, one a broken rule',
    columns String COMMENT '原始列 / Kept original columns as JSON, personal ones masked',
    raw String COMMENT '原始内容 / What could not be read',
    schema String COMMENT '标准模式 / Standard schema that the row was to become',
    run String COMMENT '运行 / Run that extracted the row',
    extracted_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '提取时间 / When the row was read from the source',
    age_seconds Nullable(Int64) COMMENT '滞留时间（秒） / Seconds since then'
)
AS
SELECT
    concat(if(startsWith(topic, 'headwater.raw.'), substring(topic, 15), concat(':', topic)), '-', toString(partition), '.', substring(incarnation, 1, 6), '@', toString(offset), '#', toString(index)) AS id,
    source, stream, place, row, rules, reasons, fields, columns, raw, schema, run, extracted_at,
    dateDiff('second', extracted_at, now64(3, 'Asia/Shanghai')) AS age_seconds
FROM quarantine FINAL
WHERE _deleted = 0 AND status = 'open'
COMMENT '待处理隔离行 / Open quarantine: rows that broke a rule and that nobody has dealt with'
