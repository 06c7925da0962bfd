-- What became of the issues of the list, by region and source, rolled up along the tree of regions as it was when they were found.
-- 整改完成率 is issues closed by issues assigned: a ratio of sums.
CREATE OR REPLACE VIEW issue_closure
(
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    source String COMMENT '问题来源 / Source of the issues: inspection, complaint, monitoring',
    year UInt16 COMMENT '年度 / Year in which they were found',
    issues UInt64 COMMENT '交办数 / Issues that were found or assigned',
    closed UInt64 COMMENT '销号数 / Of those, closed',
    closing_rate Nullable(Float64) COMMENT '整改完成率 / closed by issues',
    closed_in_time UInt64 COMMENT '按时销号数 / Closed by the day they were due',
    open UInt64 COMMENT '未销号数 / Not closed yet',
    overdue UInt64 COMMENT '超期未销号数 / Of the open ones, past the day they were due',
    lasting UInt64 COMMENT '长期整改数 / Of the open ones, without a day by which they are due',
    repeated UInt64 COMMENT '重复投诉数 / Issues that were complained of again',
    verified UInt64 COMMENT '已核查数 / Closed ones that were verified on the spot',
    days_to_close Nullable(Float64) COMMENT '平均整改天数 / Mean days from found to closed',
    oldest_open_days Nullable(Int64) COMMENT '最长未销号天数 / Age in days of the oldest open one'
)
AS
WITH
    facts AS
    (
        SELECT
            toString(region) AS region, toString(source) AS source, found_on, due_on, closed_on, verified_on, repeated,
            status = 'closed' AS done
        FROM issue FINAL
        WHERE _deleted = 0
    ),
    placed AS
    (
        SELECT f.*, arrayJoin(if(empty(p.path), [(f.region, '', '')], p.path)) AS step
        FROM facts AS f
        ASOF LEFT JOIN (SELECT toString(code) AS code, since, path FROM region_path FINAL WHERE _deleted = 0) AS p ON p.code = f.region AND f.found_on >= p.since
    )
SELECT
    s.step.1 AS region, any(s.step.3) AS region_name, any(s.step.2) AS level, s.source AS source, toYear(s.found_on) AS year,
    count() AS issues,
    countIf(s.done) AS closed,
    closed / nullIf(issues, 0) AS closing_rate,
    countIf(s.done AND s.closed_on <= s.due_on) AS closed_in_time,
    countIf(NOT s.done) AS open,
    countIf(NOT s.done AND s.due_on < toDate32(now64(3, 'Asia/Shanghai'))) AS overdue,
    countIf(NOT s.done AND isNull(s.due_on)) AS lasting,
    countIf(s.repeated > 0) AS repeated,
    countIf(s.done AND isNotNull(s.verified_on)) AS verified,
    avgIf(dateDiff('day', s.found_on, s.closed_on), s.done) AS days_to_close,
    if(open > 0, toNullable(dateDiff('day', minIf(s.found_on, NOT s.done), toDate32(now64(3, 'Asia/Shanghai')))), NULL) AS oldest_open_days
FROM placed AS s
GROUP BY region, source, year
COMMENT '问题整改 / Issue closure: what became of the issues by region, source and year'
