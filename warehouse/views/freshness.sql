-- How current each stream is.
CREATE OR REPLACE VIEW freshness
(
    source String COMMENT '来源 / Source',
    stream String COMMENT '数据流 / Stream of the source',
    last_extracted_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '最近提取 / When the newest of its rows was read from the source',
    last_loaded_at DateTime64(3, 'Asia/Shanghai') COMMENT '最近装载 / When the newest of its rows was loaded',
    age_seconds Nullable(Int64) COMMENT '数据时龄（秒） / Seconds since last_extracted_at',
    newest_period Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '最新期间 / Start of the newest period that its observations are about',
    last_run String COMMENT '最近运行 / Run that brought the newest rows',
    last_run_outcome String COMMENT '最近运行结果 / How the source''s newest run stands; empty when none is on record',
    last_run_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '最近运行时间 / When the source''s newest run began',
    held Int64 COMMENT '暂存行数 / Rows that wait until their table takes them',
    quarantined UInt64 COMMENT '待处理隔离行数 / Rows in quarantine that nobody has dealt with'
)
AS
SELECT
    l.source AS source,
    l.stream AS stream,
    l.extracted_at AS last_extracted_at,
    l.loaded_at AS last_loaded_at,
    dateDiff('second', l.extracted_at, now64(3, 'Asia/Shanghai')) AS age_seconds,
    if(ifNull(o.known, 0) = 1, toNullable(o.period), NULL) AS newest_period,
    l.run AS last_run,
    ifNull(r.outcome, '') AS last_run_outcome,
    if(ifNull(r.known, 0) = 1, toNullable(r.started_at), NULL) AS last_run_at,
    l.held AS held,
    ifNull(q.open, 0) AS quarantined
FROM
(
    SELECT source, stream, max(ledger.extracted_at) AS extracted_at, max(ledger.loaded_at) AS loaded_at, argMax(ledger.run, ledger.loaded_at) AS run, sum(ledger.held) AS held
    FROM ledger FINAL
    WHERE _deleted = 0 AND source != ''
    GROUP BY source, stream
) AS l
LEFT JOIN (SELECT toString(_source) AS source, toString(_stream) AS stream, max(observation.period) AS period, 1 AS known FROM observation GROUP BY source, stream) AS o
    ON o.source = l.source AND o.stream = l.stream
LEFT JOIN (SELECT source, argMax(toString(run.outcome), (run.started_at, run.run)) AS outcome, max(run.started_at) AS started_at, 1 AS known FROM run FINAL WHERE _deleted = 0 GROUP BY source) AS r
    ON r.source = l.source
LEFT JOIN (SELECT source, stream, count() AS open FROM quarantine FINAL WHERE _deleted = 0 AND status = 'open' GROUP BY source, stream) AS q
    ON q.source = l.source AND q.stream = l.stream
COMMENT '数据时效 / Freshness: when each stream was last read and loaded, and what waits'
