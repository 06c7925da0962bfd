-- Where every task stands as of its newest report, by the rule of the roll-up: ahead = the target was reached before the due day;
-- on schedule = at or above what the plan expects on the day, less a tolerance of 5 % of the target; behind = below. Where the body
-- states no plan, even progress from the start to the due day is expected. A task that splits stands by its smallest parts: they are
-- counted by status, and their rates are never averaged, as their units differ.
CREATE OR REPLACE VIEW task_status
(
    task_id String COMMENT '任务编号 / Task',
    parent_id String COMMENT '上级任务 / Task that it is a part of',
    kind String COMMENT '任务类型 / Kind of task',
    title String COMMENT '任务名称 / Title',
    year Int64 COMMENT '年度 / Year',
    region String COMMENT '承担区划 / Region',
    lead String COMMENT '牵头单位 / Lead department',
    due_on Date32 COMMENT '完成时限 / Day by which it is due',
    target Nullable(Float64) COMMENT '量化指标 / Target',
    value Nullable(Float64) COMMENT '累计完成量 / What was reached, by the feed nearest to the source',
    as_of Nullable(Date32) COMMENT '截至日期 / Day that the newest report speaks of',
    completion_rate Nullable(Float64) COMMENT '完成率 / value by target; above 1 is real',
    elapsed_share Nullable(Float64) COMMENT '时间进度 / Share of the time from start to due day that had passed on as_of',
    planned Nullable(Float64) COMMENT '序时计划量 / What the plan expects on as_of',
    status String COMMENT '进度状态代码 / ahead, on_schedule or behind, computed; empty without target or report',
    status_zh String COMMENT '进度状态 / 提前完成、序时推进、滞后',
    reported_status String COMMENT '上报状态 / State as the body reports it',
    parts UInt64 COMMENT '最小项数 / Smallest parts below it that have a status; 0 for a smallest part',
    parts_ahead UInt64 COMMENT '其中提前完成 / Of those, ahead',
    parts_on_schedule UInt64 COMMENT '其中序时推进 / Of those, on schedule',
    parts_behind UInt64 COMMENT '其中滞后 / Of those, behind'
)
AS
WITH RECURSIVE
    tasks AS (SELECT * FROM task FINAL WHERE _deleted = 0),
    reports AS
    (
        -- Of each task, day and feed the newest report; of those the newest day, and of its feeds the one nearest to the source.
        SELECT task_id, as_of, value, planned, ifNull(toString(status), '') AS status
        FROM
        (
            SELECT * FROM (SELECT * FROM task_progress ORDER BY task_id, as_of, feed, _version DESC, _offset DESC, _index DESC LIMIT 1 BY task_id, as_of, feed)
            WHERE _deleted = 0
            ORDER BY task_id, as_of DESC, transform(toString(feed), ['source', 'direct', 'manual'], [1, 2, 3], 4)
            LIMIT 1 BY task_id
        )
    ),
    reached AS
    (
        SELECT p.task_id AS task_id, min(p.as_of) AS on
        FROM (SELECT * FROM task_progress ORDER BY task_id, as_of, feed, _version DESC, _offset DESC, _index DESC LIMIT 1 BY task_id, as_of, feed) AS p
        INNER JOIN tasks AS t ON t.task_id = p.task_id
        WHERE p._deleted = 0 AND p.value >= t.target
        GROUP BY task_id
    ),
    judged AS
    (
        SELECT
            t.task_id AS task_id, t.parent_id AS parent_id, toString(t.kind) AS kind, t.title AS title, t.year AS year, toString(t.region) AS region, t.lead AS lead,
            t.due_on AS due_on, t.target AS target, if(ifNull(r.task_id, '') = '', NULL, r.value) AS value, if(ifNull(r.task_id, '') = '', NULL, toNullable(r.as_of)) AS as_of,
            value / nullIf(target, 0) AS completion_rate,
            ifNull(t.started_on, makeDate32(t.year, 1, 1)) AS start,
            least(greatest(dateDiff('day', start, as_of), 0), dateDiff('day', start, due_on)) / nullIf(dateDiff('day', start, due_on), 0) AS elapsed_share,
            if(isNull(as_of), NULL, coalesce(r.planned, target * elapsed_share)) AS planned,
            multiIf(
                isNull(target) OR isNull(value), '',
                ifNull(d.task_id, '') != '' AND d.on < due_on AND value >= target, 'ahead',
                value >= planned - 0.05 * abs(target), 'on_schedule',
                'behind') AS status,
            ifNull(r.status, '') AS reported_status
        FROM tasks AS t
        LEFT JOIN reports AS r ON r.task_id = t.task_id
        LEFT JOIN reached AS d ON d.task_id = t.task_id
    ),
    leaves AS (SELECT task_id, parent_id, status FROM judged WHERE status != '' AND task_id NOT IN (SELECT parent_id FROM tasks)),
    above AS
    (
        SELECT task_id AS leaf, parent_id AS upper, status, 1 AS depth FROM leaves WHERE parent_id != ''
        UNION ALL
        SELECT a.leaf, t.parent_id, a.status, a.depth + 1 FROM above AS a INNER JOIN tasks AS t ON t.task_id = a.upper WHERE t.parent_id != '' AND a.depth < 10
    )
SELECT
    j.task_id AS task_id, j.parent_id AS parent_id, j.kind AS kind, j.title AS title, j.year AS year, j.region AS region, j.lead AS lead, j.due_on AS due_on,
    j.target AS target, j.value AS value, j.as_of AS as_of, j.completion_rate AS completion_rate, j.elapsed_share AS elapsed_share, j.planned AS planned,
    j.status AS status,
    transform(status, ['ahead', 'on_schedule', 'behind'], ['提前完成', '序时推进', '滞后'], '') AS status_zh,
    j.reported_status AS reported_status,
    ifNull(c.parts, 0) AS parts, ifNull(c.ahead, 0) AS parts_ahead, ifNull(c.on_schedule, 0) AS parts_on_schedule, ifNull(c.behind, 0) AS parts_behind
FROM judged AS j
LEFT JOIN
(
    SELECT upper, count() AS parts, countIf(status = 'ahead') AS ahead, countIf(status = 'on_schedule') AS on_schedule, countIf(status = 'behind') AS behind
    FROM above
    GROUP BY upper
) AS c ON c.upper = j.task_id
COMMENT '任务状态 / Task status: where every task stands, and how its smallest parts do'
