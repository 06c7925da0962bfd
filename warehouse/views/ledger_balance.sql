-- The account of every row, by run, by source, and in total: extracted = loaded + duplicate + quarantined + filtered + held.
CREATE OR REPLACE VIEW ledger_balance
(
    scope LowCardinality(String) COMMENT '范围 / run, source or total',
    source String COMMENT '来源 / Source; empty for the total',
    run String COMMENT '运行 / Run; empty for a source and the total',
    extracted Int64 COMMENT '提取行数 / Rows extracted',
    loaded Int64 COMMENT '装载行数 / Rows that became at least one record',
    duplicate Int64 COMMENT '重复行数 / Rows of repeated or void messages',
    quarantined Int64 COMMENT '隔离行数 / Rows that broke a rule or could not be read',
    filtered Int64 COMMENT '过滤行数 / Rows left out by a stated rule',
    held Int64 COMMENT '暂存行数 / Rows that wait until their table takes them',
    difference Int64 COMMENT '差额 / Rows without an outcome; anything but 0 is a fault',
    balanced UInt8 COMMENT '是否平衡 / 1 when every row has an outcome',
    records Int64 COMMENT '记录数 / Records that the loaded rows became',
    deleted Int64 COMMENT '删除记录数 / Records that mark others as gone from the source',
    warnings Int64 COMMENT '警告记录数 / Records loaded with a flag',
    messages Int64 COMMENT '消息数 / Messages',
    bytes Int64 COMMENT '字节数 / Size of the messages as they travel',
    counted Nullable(Int64) COMMENT '来源计数 / Rows that the source itself counts, where it can',
    count_difference Nullable(Int64) COMMENT '与来源计数差额 / counted less the rows extracted and not repeated, of those shards that were counted',
    first_loaded_at DateTime64(3, 'Asia/Shanghai') COMMENT '首次装载 / When the first of it was complete',
    last_loaded_at DateTime64(3, 'Asia/Shanghai') COMMENT '最近装载 / When the last of it was complete'
)
AS
SELECT
    multiIf(grouping(source) = 1, 'total', grouping(run) = 1, 'source', 'run') AS scope,
    source,
    run,
    sum(s.extracted) AS extracted,
    sum(s.loaded) AS loaded,
    sum(s.duplicate) AS duplicate,
    sum(s.quarantined) AS quarantined,
    sum(s.filtered) AS filtered,
    sum(s.held) AS held,
    extracted - loaded - duplicate - quarantined - filtered - held AS difference,
    difference = 0 AS balanced,
    sum(s.records) AS records,
    sum(s.deleted) AS deleted,
    sum(s.warnings) AS warnings,
    sum(s.messages) AS messages,
    sum(s.bytes) AS bytes,
    sum(s.counted) AS counted,
    if(isNull(counted), NULL, counted - sumIf(s.extracted - s.duplicate, isNotNull(s.counted))) AS count_difference,
    min(s.first_loaded_at) AS first_loaded_at,
    max(s.last_loaded_at) AS last_loaded_at
FROM
(
    SELECT
        l.source AS source, l.run AS run, l.stream AS stream, l.shard AS shard,
        sum(l.extracted) AS extracted, sum(l.loaded) AS loaded, sum(l.duplicate) AS duplicate, sum(l.quarantined) AS quarantined,
        sum(l.filtered) AS filtered, sum(l.held) AS held, sum(l.records) AS records, sum(l.deleted) AS deleted,
        sum(l.warnings) AS warnings, sum(l.messages) AS messages, sum(l.bytes) AS bytes, max(l.counted) AS counted,
        min(l.loaded_at) AS first_loaded_at, max(l.loaded_at) AS last_loaded_at
    FROM ledger AS l FINAL
    WHERE l._deleted = 0 AND l.source != ''
    GROUP BY source, run, stream, shard
) AS s
GROUP BY GROUPING SETS ((source, run), (source), ())
COMMENT '账目平衡 / Ledger balance: what became of every row, by run, by source and in total'
