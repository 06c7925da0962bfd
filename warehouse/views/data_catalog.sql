-- The data-sharing list with the stage that each dataset has reached. The list is that of the project's files, as of the last
-- run. A dataset is ingested when rows of it were read, and standardized when some of them are in a standard table; it is used when a
-- declared indicator has figures from it, which only observations are.
CREATE OR REPLACE VIEW data_catalog
(
    source String COMMENT '来源 / Source',
    stream String COMMENT '数据流 / Stream of the source',
    title String COMMENT '数据集名称 / What people call the source',
    owner String COMMENT '数据归口 / Department that owns the source, as its topic is named',
    connector String COMMENT '接入方式 / Kind of system that is read',
    schema String COMMENT '标准模型 / Standard schema that its rows become records of',
    stated UInt8 COMMENT '是否已列入清单 / 1 when the source states how it is shared',
    provider String COMMENT '提供方 / Department that provides the data',
    provider_code String COMMENT '提供方代码 / Its unified social credit code',
    content String COMMENT '共享内容 / What is shared',
    method String COMMENT '共享方式 / import, form, direct or source; empty when not stated',
    method_zh String COMMENT '共享方式名称 / The same in Chinese',
    collection_stage UInt8 COMMENT '采集阶段 / 1 files or forms, 2 a department''s system, 3 at the source; 0 when not stated',
    basis String COMMENT '共享依据 / Law, document or agreement',
    sharing_type String COMMENT '共享类型 / unconditional, conditional or none; empty when not stated',
    sharing_type_zh String COMMENT '共享类型名称 / The same in Chinese',
    condition String COMMENT '共享条件 / What conditional sharing depends on',
    frequency String COMMENT '更新周期 / realtime, hour, day, week, xun, month, quarter, half or year; empty when not stated',
    deadline_seconds Nullable(Int64) COMMENT '报送时限（秒） / Time after the end of a period within which its data is to be there; empty when none was agreed, or one in workdays',
    deadline_workdays Nullable(Int64) COMMENT '报送时限（工作日） / Workdays after the end of a period within which its data is to be there',
    indicators Array(String) COMMENT '涉及指标 / Indicators that the mapping names',
    stage String COMMENT '阶段 / planned, connected, ingested, standardized or used',
    stage_zh String COMMENT '阶段名称 / The same in Chinese',
    used_indicators Array(String) COMMENT '已用指标 / Declared indicators that have figures from it',
    loaded Int64 COMMENT '装载行数 / Rows that were loaded',
    last_loaded_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '最近装载 / When the newest of its rows was loaded',
    newest_period Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '最新期间 / Start of the newest period that its observations are about'
)
AS
SELECT
    d.source AS source, d.stream AS stream, d.title AS title, d.owner AS owner, d.connector AS connector, d.schema AS schema, d.stated AS stated,
    d.provider AS provider, d.provider_code AS provider_code, d.content AS content,
    ifNull(toString(d.method), '') AS method,
    transform(method, ['import', 'form', 'direct', 'source'], ['打包导入', '手工填报', '系统直连', '源头采集'], '') AS method_zh,
    toUInt8(transform(method, ['import', 'form', 'direct', 'source'], [1, 1, 2, 3], 0)) AS collection_stage,
    d.basis AS basis,
    ifNull(toString(d.sharing_type), '') AS sharing_type,
    transform(sharing_type, ['unconditional', 'conditional', 'none'], ['无条件共享', '有条件共享', '不予共享'], '') AS sharing_type_zh,
    d.condition AS condition,
    ifNull(toString(d.frequency), '') AS frequency,
    d.deadline_seconds AS deadline_seconds,
    d.deadline_workdays AS deadline_workdays,
    d.indicators AS indicators,
    multiIf(
        notEmpty(o.used), 'used',
        ifNull(l.loaded, 0) > 0, 'standardized',
        ifNull(l.extracted, 0) > 0, 'ingested',
        ifNull(l.known, 0) = 1 OR ifNull(r.reached, 0) > 0, 'connected',
        'planned') AS stage,
    transform(stage, ['planned', 'connected', 'ingested', 'standardized', 'used'], ['计划', '已接通', '已归集', '已标准化', '已用于指标'], '') AS stage_zh,
    o.used AS used_indicators,
    ifNull(l.loaded, 0) AS loaded,
    if(ifNull(l.known, 0) = 1, toNullable(l.at), NULL) AS last_loaded_at,
    if(ifNull(o.known, 0) = 1, toNullable(o.period), NULL) AS newest_period
FROM (SELECT * FROM data_sharing FINAL WHERE _deleted = 0) AS d
LEFT JOIN
(
    SELECT source, stream, sum(ledger.extracted) AS extracted, sum(ledger.loaded) AS loaded, max(ledger.loaded_at) AS at, 1 AS known
    FROM ledger FINAL
    WHERE _deleted = 0
    GROUP BY source, stream
) AS l ON l.source = d.source AND l.stream = d.stream
LEFT JOIN
(
    SELECT
        toString(_source) AS source, toString(_stream) AS stream, max(observation.period) AS period, 1 AS known,
        arraySort(groupUniqArrayIf(observation.indicator, observation.indicator IN (SELECT code FROM indicator FINAL WHERE _deleted = 0))) AS used
    FROM observation
    WHERE _deleted = 0
    GROUP BY source, stream
) AS o ON o.source = d.source AND o.stream = d.stream
LEFT JOIN (SELECT source, countIf(outcome = 'done') AS reached FROM run FINAL WHERE _deleted = 0 GROUP BY source) AS r ON r.source = d.source
COMMENT '数据共享目录 / Data catalogue: the data-sharing list with the stage that each dataset has reached'
