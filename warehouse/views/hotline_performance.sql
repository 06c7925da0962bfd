-- How the hotline's cases were handled, by region and month, rolled up along the tree of regions as it was then. All rates are
-- ratios of sums. Received cases count in the month in which they were opened; cases due, in the month of their deadline
-- (按时办结率 is cases closed in time by cases due, not by cases received); satisfaction, in the month in which they were closed, and only
-- among cases of which the caller said something.
CREATE OR REPLACE VIEW hotline_performance
(
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    month Date32 COMMENT '月份 / First day of the month',
    received UInt64 COMMENT '受理件 / Cases opened in the month',
    closed_of_received UInt64 COMMENT '其中已办结 / Of those, cases that have been closed by now',
    closing_rate Nullable(Float64) COMMENT '办结率 / closed_of_received by received',
    due UInt64 COMMENT '应办结件 / Cases whose deadline lies in the month',
    closed_in_time UInt64 COMMENT '按时办结件 / Of those, cases closed by their deadline',
    in_time_rate Nullable(Float64) COMMENT '按时办结率 / closed_in_time by due',
    overdue_open UInt64 COMMENT '超期未办结件 / Of those due, cases that are past their deadline and still open',
    rated UInt64 COMMENT '有效评价 / Cases closed in the month of which the caller said something',
    satisfied UInt64 COMMENT '满意件 / Of those, very, quite or fairly satisfied',
    satisfaction_rate Nullable(Float64) COMMENT '满意率 / satisfied by rated',
    repeated UInt64 COMMENT '重复来电件 / Cases opened in the month by somebody who had called before within 30 days, told by the hash of the number'
)
AS
WITH
    cases AS
    (
        SELECT
            toString(region) AS region, opened_at, due_at, closed_at, ifNull(toString(satisfaction), '') AS said,
            ifNull(phone, '') != '' AND ifNull(dateDiff('day', lagInFrame(toNullable(opened_at)) OVER (PARTITION BY phone ORDER BY opened_at, case_id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), opened_at) <= 30, 0) AS again
        FROM hotline_case FINAL
        WHERE _deleted = 0 AND ifNull(toString(status), '') != 'cancelled'
    ),
    -- again alone is made from a personal field: a column of its own, so that the others can be read without the right to that one.
    facts AS
    (
        SELECT region, toDate32(toStartOfMonth(opened_at)) AS month, 'received' AS what, isNotNull(closed_at) AS good, 0 AS late, again FROM cases
        UNION ALL
        SELECT region, toDate32(toStartOfMonth(assumeNotNull(due_at))), 'due', isNotNull(closed_at) AND closed_at <= due_at, isNull(closed_at) AND due_at < now64(3), 0 FROM cases WHERE isNotNull(due_at)
        UNION ALL
        SELECT region, toDate32(toStartOfMonth(assumeNotNull(closed_at))), 'rated', said IN ('very-satisfied', 'satisfied', 'fairly-satisfied'), 0, 0 FROM cases WHERE isNotNull(closed_at) AND said != ''
    ),
    placed AS
    (
        SELECT f.*, arrayJoin(if(empty(p.path), [(f.region, '', '')], p.path)) AS step
        FROM (SELECT *, toLastDayOfMonth(month) AS last_day FROM facts) AS f
        ASOF LEFT JOIN (SELECT toString(code) AS code, since, path FROM region_path FINAL WHERE _deleted = 0) AS p ON p.code = f.region AND f.last_day >= p.since
    )
SELECT
    s.step.1 AS region, any(s.step.3) AS region_name, any(s.step.2) AS level, s.month AS month,
    countIf(s.what = 'received') AS received, countIf(s.what = 'received' AND s.good) AS closed_of_received, closed_of_received / nullIf(received, 0) AS closing_rate,
    countIf(s.what = 'due') AS due, countIf(s.what = 'due' AND s.good) AS closed_in_time, closed_in_time / nullIf(due, 0) AS in_time_rate,
    countIf(s.what = 'due' AND s.late) AS overdue_open,
    countIf(s.what = 'rated') AS rated, countIf(s.what = 'rated' AND s.good) AS satisfied, satisfied / nullIf(rated, 0) AS satisfaction_rate,
    countIf(s.what = 'received' AND s.again) AS repeated
FROM placed AS s
GROUP BY region, month
COMMENT '热线办理 / Hotline performance: cases received, closed in time and rated, by region and month'
