-- The life of each figure that a region owes or has reported: open while its period runs, due when that has ended, late after the
-- deadline, then reported, restated, frozen, published.
--
-- What is owed comes from the data-sharing list: every region of the levels that exists on the period's last day, at or below the region
-- that the list names. The deadline begins when both the period and the list's own cycle have ended: daily figures that come once a month are due
-- after the month. Where several sources owe a figure the earliest deadline counts. Hours are not expected one by one.
--
-- A deadline in workdays is over at the end of the last of them. What a day is says calendar_day; what that does not list of a year goes by
-- the weekday, and so does all of a year whose 1 January it does not list, which due_assumed tells.
--
-- A figure is reported when its region, or a part of it, has a current value by any feed; when it became known is when the first value was
-- read. A restatement is a correction: a value read again unchanged is none.
CREATE OR REPLACE VIEW reporting_status
(
    indicator String COMMENT '指标代码 / Indicator',
    region String COMMENT '行政区划 / Region that owes or reported the figure',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    state String COMMENT '状态 / open, due, late, reported, restated, frozen or published',
    state_zh String COMMENT '状态名称 / The same in Chinese',
    expected UInt8 COMMENT '是否应报 / 1 when the data-sharing list says that it is owed',
    sources Array(String) COMMENT '应报来源 / Sources that owe it by that list',
    due Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '报送时限 / When it is to be there; empty when no deadline was agreed',
    due_assumed UInt8 COMMENT '时限推定 / 1 when due counts workdays of a year that the calendar lacks: weekends count as off, and holidays are not known',
    reported_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '首报时间 / When its first value was read; empty when there is none',
    on_time Nullable(UInt8) COMMENT '是否按时 / 1 when the first value was read by the deadline, 0 when later; empty while that is not known',
    restated UInt64 COMMENT '更正次数 / Corrections of its values by their sources',
    last_change_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '最近变动 / When a value came or changed last',
    changed_after_freeze UInt8 COMMENT '冻结后变动 / 1 when a value of the region itself was read after the period was frozen; indicator_official tells whether the figure differs',
    frozen_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '定稿时间 / When the period was frozen or restated',
    frozen_by String COMMENT '定稿人 / Who did that',
    why String COMMENT '理由 / Why, in their words',
    since Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '状态起始 / Since when it has been in the state',
    age_seconds Nullable(Int64) COMMENT '状态时长（秒） / Seconds since then'
)
AS
WITH
    toDate32(now('Asia/Shanghai')) AS today,
    lists AS
    (
        SELECT
            d.source AS source, arrayJoin(d.due_indicators) AS indicator, arrayMap(x -> toString(x), d.due_levels) AS levels, d.due_within AS within,
            assumeNotNull(d.due_since) AS first, least(ifNull(d.due_until, today), today) AS last,
            ifNull(toString(d.frequency), '') AS frequency, ifNull(d.deadline_seconds, 0) AS deadline, ifNull(d.deadline_workdays, 0) AS workdays
        FROM data_sharing AS d FINAL
        WHERE d._deleted = 0 AND d.due_since IS NOT NULL AND (d.deadline_seconds IS NOT NULL OR d.deadline_workdays IS NOT NULL)
    ),
    -- Every period that has begun, by its first day. A month, quarter, half or year is expected when it touches the list's time. One step
    -- after the other: an alias of an alias is worked out again wherever it is named.
    asked AS
    (
        SELECT
            l.source AS source, l.indicator AS indicator, l.within AS within, l.last AS last, l.first AS first, l.frequency AS frequency, l.deadline AS deadline, l.workdays AS workdays,
            i.grain AS grain, arrayJoin(if(empty(l.levels), i.levels, l.levels)) AS level,
            makeDate32(toYear(l.first), toMonth(l.first), 1) AS month,
            makeDate32(toYear(l.first), toQuarter(l.first) * 3 - 2, 1) AS quarter,
            makeDate32(toYear(l.first), if(toMonth(l.first) > 6, 7, 1), 1) AS half,
            toInt32(l.last) - toInt32(l.first) AS days
        FROM lists AS l
        INNER JOIN (SELECT code, toString(grain) AS grain, arrayMap(x -> toString(x), levels) AS levels FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = l.indicator
    ),
    counted AS
    (
        SELECT
            *,
            range(toUInt32(greatest(0, multiIf(
                grain = 'day', days + 1,
                grain = 'week', intDiv(days + toDayOfWeek(first) - 1, 7) + 1,
                grain IN ('xun', 'month'), dateDiff('month', month, last) + 1,
                grain = 'quarter', dateDiff('quarter', quarter, last) + 1,
                grain = 'half', intDiv(dateDiff('month', half, last), 6) + 1,
                grain = 'year', toYear(last) - toYear(first) + 1,
                0)))) AS numbers
        FROM asked
    ),
    begun AS
    (
        SELECT
            *,
            arrayJoin(multiIf(
                grain = 'day', arrayMap(n -> addDays(first, n), numbers),
                grain = 'week', arrayMap(n -> addDays(first, 7 * n - toDayOfWeek(first) + 1), numbers),
                grain = 'xun', arrayFlatten(arrayMap(n -> [addMonths(month, n), addDays(addMonths(month, n), 10), addDays(addMonths(month, n), 20)], numbers)),
                grain = 'month', arrayMap(n -> addMonths(month, n), numbers),
                grain = 'quarter', arrayMap(n -> addMonths(quarter, 3 * n), numbers),
                grain = 'half', arrayMap(n -> addMonths(half, 6 * n), numbers),
                arrayMap(n -> makeDate32(toYear(first) + n, 1, 1), numbers))) AS first_day
        FROM counted
    ),
    ended AS
    (
        SELECT
            *,
            multiIf(
                grain = 'week', addDays(first_day, 6),
                grain = 'xun', if(toDayOfMonth(first_day) > 20, addDays(addMonths(addDays(first_day, 1 - toDayOfMonth(first_day)), 1), -1), addDays(first_day, 9)),
                grain = 'month', addDays(addMonths(first_day, 1), -1),
                grain = 'quarter', addDays(addMonths(first_day, 3), -1),
                grain = 'half', addDays(addMonths(first_day, 6), -1),
                grain = 'year', addDays(addYears(first_day, 1), -1),
                first_day) AS last_day
        FROM begun
    ),
    -- The last day of the list's own cycle that the period's last day lies in.
    periods AS
    (
        SELECT
            *,
            multiIf(
                frequency = 'week', addDays(last_day, 7 - toDayOfWeek(last_day)),
                frequency = 'xun' AND toDayOfMonth(last_day) <= 20, addDays(last_day, if(toDayOfMonth(last_day) <= 10, 10, 20) - toDayOfMonth(last_day)),
                frequency IN ('xun', 'month'), addDays(addMonths(makeDate32(toYear(last_day), toMonth(last_day), 1), 1), -1),
                frequency = 'quarter', addDays(addMonths(makeDate32(toYear(last_day), toQuarter(last_day) * 3 - 2, 1), 3), -1),
                frequency = 'half', makeDate32(toYear(last_day), if(toMonth(last_day) > 6, 12, 6), if(toMonth(last_day) > 6, 31, 30)),
                frequency = 'year', makeDate32(toYear(last_day), 12, 31),
                last_day) AS cycle_end
        FROM ended
        WHERE last_day >= first AND first_day <= last
    ),
    -- Every day from the first cycle's end to after the last deadline, of lists that count workdays: a cycle ends at most a year after a period
    -- that ends at most a year after it began, and in two days for each workday and a month lie enough of them.
    days AS
    (
        SELECT addDays(a, arrayJoin(range(toUInt32(toInt32(b) - toInt32(a) + 2 * 366 + 2 * n + 31)))) AS day
        FROM (SELECT min(first) AS a, max(last) AS b, max(workdays) AS n FROM lists WHERE workdays > 0 HAVING count() > 0)
    ),
    -- How many workdays, and how many days of years that the calendar lacks, there are up to each day.
    numbered AS
    (
        SELECT
            d.day AS day,
            if(ifNull(c.kind, '') = '', toDayOfWeek(d.day) < 6, c.kind = 'workday') AS works,
            sum(toInt64(works)) OVER (ORDER BY d.day) AS ordinal,
            sum(toYear(d.day) NOT IN (SELECT toYear(day) FROM calendar_day FINAL WHERE _deleted = 0 AND toMonth(day) = 1 AND toDayOfMonth(day) = 1)) OVER (ORDER BY d.day) AS unlisted
        FROM days AS d
        LEFT JOIN (SELECT day, toString(kind) AS kind FROM calendar_day FINAL WHERE _deleted = 0) AS c ON c.day = d.day
    ),
    -- The day with which so many workdays after a day are over.
    counts AS
    (
        SELECT e.day AS counted_from, e.n AS n, w.day AS last_workday, w.unlisted > e.unlisted AS assumed
        FROM (SELECT day, unlisted, n, ordinal + n AS wanted FROM numbered CROSS JOIN (SELECT DISTINCT workdays AS n FROM lists WHERE workdays > 0) AS l) AS e
        INNER JOIN (SELECT day, ordinal, unlisted FROM numbered WHERE works) AS w ON w.ordinal = e.wanted
    ),
    timed AS
    (
        SELECT
            p.source AS source, p.indicator AS indicator, p.grain AS grain, p.level AS level, p.within AS within, p.first_day AS first_day, p.last_day AS last_day,
            if(p.workdays > 0, toDateTime64(addDays(assumeNotNull(c.last_workday), 1), 3, 'Asia/Shanghai'),
                addSeconds(toDateTime64(addDays(p.cycle_end, 1), 3, 'Asia/Shanghai'), p.deadline)) AS due,
            toUInt8(ifNull(c.assumed, 0)) AS assumed
        FROM periods AS p
        LEFT JOIN counts AS c ON c.counted_from = p.cycle_end AND c.n = p.workdays
    ),
    owed AS
    (
        SELECT
            p.source AS source, p.indicator AS indicator, r.code AS region, p.grain AS grain, p.within AS within, p.last_day AS last_day,
            toDateTime64(p.first_day, 3, 'Asia/Shanghai') AS period,
            toDateTime64(addDays(p.last_day, 1), 3, 'Asia/Shanghai') AS ended,
            p.due AS due, p.assumed AS assumed
        FROM timed AS p
        INNER JOIN
        (
            SELECT DISTINCT toString(code) AS code, toString(level) AS level, valid_from, ifNull(valid_to, toDate32('2299-12-31')) AS valid_to
            FROM region FINAL
            WHERE _deleted = 0
        ) AS r ON r.level = p.level
        WHERE r.valid_from <= p.last_day AND r.valid_to > p.last_day
    ),
    expected AS
    (
        SELECT o.source AS source, o.indicator AS indicator, o.region AS region, o.grain AS grain, o.period AS period, o.ended AS ended, o.due AS due, o.assumed AS assumed
        FROM owed AS o
        ASOF INNER JOIN (SELECT toString(code) AS code, since, arrayMap(x -> x.1, path) AS uppers FROM region_path FINAL WHERE _deleted = 0) AS l ON l.code = o.region AND o.last_day >= l.since
        WHERE has(l.uppers, o.within)
    )
SELECT
    indicator, region, grain, period,
    multiIf(
        held = 2, 'published',
        held = 1, 'frozen',
        here > 0 AND restated > 0, 'restated',
        here > 0, 'reported',
        ifNull(now64(3, 'Asia/Shanghai') > due, 0), 'late',
        ifNull(now64(3, 'Asia/Shanghai') >= ended, 0), 'due',
        'open') AS state,
    transform(state, ['open', 'due', 'late', 'reported', 'restated', 'frozen', 'published'], ['未到期', '待报', '逾期', '已报', '已更正', '已冻结', '已发布'], '') AS state_zh,
    isNotNull(due) AS expected,
    sources, due, due_assumed,
    if(here > 0, known, NULL) AS reported_at,
    reported_at <= due AS on_time,
    restated, last_change_at,
    held > 0 AND ifNull(last_change_at > frozen_at, 0) AS changed_after_freeze,
    frozen_at, frozen_by, why,
    multiIf(held > 0, frozen_at, state = 'restated', last_change_at, state = 'reported', reported_at, state = 'late', due, state = 'due', ended, toNullable(period)) AS since,
    dateDiff('second', since, now64(3, 'Asia/Shanghai')) AS age_seconds
FROM
(
SELECT
    indicator, region, grain, period,
    arraySort(arrayDistinct(groupArrayIf(s.source, s.source != ''))) AS sources,
    min(s.due) AS due,
    ifNull(argMin(s.assumed, s.due), 0) AS due_assumed,
    max(s.ended) AS ended,
    sum(s.here) AS here,
    min(s.known) AS known,
    sum(s.corrections) AS restated,
    max(s.changed) AS last_change_at,
    max(s.held) AS held,
    if(held > 0, max(s.at), NULL) AS frozen_at,
    if(held > 0, max(s.who), '') AS frozen_by,
    if(held > 0, max(s.why), '') AS why
FROM
(
    SELECT
        indicator, region, grain, period, source, toNullable(due) AS due, toNullable(ended) AS ended, assumed, CAST(NULL AS Nullable(DateTime64(3, 'Asia/Shanghai'))) AS known,
        toUInt64(0) AS here, toUInt64(0) AS corrections, CAST(NULL AS Nullable(DateTime64(3, 'Asia/Shanghai'))) AS changed, toUInt8(0) AS held,
        CAST(NULL AS Nullable(DateTime64(3, 'Asia/Shanghai'))) AS at, '' AS who, '' AS why, 1 AS asked
    FROM expected
    UNION ALL
    -- When the first value of each part became known; the newest of the parts is when the figure changed last.
    SELECT code, place, length, begins, '', NULL, NULL, 0, min(first), 0, 0, max(first), 0, NULL, '', '', 1
    FROM
    (
        SELECT o.indicator AS code, CAST(o.region AS String) AS place, CAST(o.grain AS String) AS length, o.period AS begins, toDateTime64(min(o._extracted_at), 3, 'Asia/Shanghai') AS first
        FROM observation AS o
        WHERE o._deleted = 0
        GROUP BY code, place, length, begins, o.member, o.subject, o.feed
    )
    GROUP BY code, place, length, begins
    UNION ALL
    SELECT c.indicator AS code, CAST(c.region AS String) AS place, CAST(c.grain AS String) AS length, c.period AS begins, '', NULL, NULL, 0, NULL, count(), 0, NULL, 0, NULL, '', '', 1
    FROM observation_current AS c
    GROUP BY code, place, length, begins
    UNION ALL
    SELECT indicator, region, grain, period, '', NULL, NULL, 0, NULL, 0, count(), toDateTime64(max(corrected_at), 3, 'Asia/Shanghai'), 0, NULL, '', '', 1
    FROM correction
    GROUP BY indicator, region, grain, period
    UNION ALL
    SELECT
        f.indicator, CAST(f.region AS String), CAST(f.grain AS String), f.period, '', NULL, NULL, 0, NULL, 0, 0, NULL,
        toUInt8(argMax(multiIf(f.action = 'reopen', 0, f.published, 2, 1), f.act)),
        argMaxIf(f.at, f.act, f.action IN ('freeze', 'restate')), argMaxIf(f.who, f.act, f.action IN ('freeze', 'restate')), argMaxIf(f.why, f.act, f.action IN ('freeze', 'restate')), 0
    FROM (SELECT * FROM period_figure FINAL WHERE _deleted = 0) AS f
    GROUP BY f.indicator, f.region, f.grain, f.period
) AS s
GROUP BY indicator, region, grain, period
HAVING max(s.asked) = 1
)
COMMENT '报送状态 / Reporting status: every figure that is owed or was reported, whether it is open, due, late, reported, restated, frozen or published'
