-- What speaks of something that is not there: a target of a task that nobody has brought, progress of such a task, a part of one, a
-- project for one, an indicator declared for one. Rows come in any order and from several sources, so that this is no reason to
-- hold one back; a row here that stays is a number that is wrong, or a source that is late.
CREATE OR REPLACE VIEW missing_link
(
    schema String COMMENT '模式 / Schema of the record that speaks',
    record String COMMENT '记录 / Its key',
    field String COMMENT '字段 / Field that speaks',
    refers_to String COMMENT '所指模式 / Schema of what it speaks of',
    value String COMMENT '所指编号 / Number that is not there',
    why String COMMENT '说明 / The same in words',
    source String COMMENT '来源 / Source of the record; empty for a declaration of the project',
    place String COMMENT '位置 / Where the record stood: file and sheet, or table',
    row UInt64 COMMENT '行号 / Number of the row in its place'
)
AS
WITH
    links AS
    (
        SELECT 'target' AS schema, concat(indicator, '/', toString(region), '/', toString(year)) AS record, 'task_id' AS field, 'task' AS refers_to, task_id AS value,
            toString(_source) AS source, toString(_place) AS place, _row AS row
        FROM (SELECT * FROM target ORDER BY indicator, region, year, _version DESC, _offset DESC, _index DESC LIMIT 1 BY indicator, region, year)
        WHERE _deleted = 0
        UNION ALL
        SELECT 'task', task_id, 'parent_id', 'task', parent_id, toString(_source), toString(_place), _row FROM task FINAL WHERE _deleted = 0
        UNION ALL
        SELECT 'project', project_id, 'task_id', 'task', task_id, toString(_source), toString(_place), _row FROM project FINAL WHERE _deleted = 0
        UNION ALL
        -- Progress is told once a task: that of its newest day.
        SELECT 'task_progress', concat(task_id, '/', toString(as_of), '/', toString(feed)), 'task_id', 'task', task_id, toString(_source), toString(_place), _row
        FROM (SELECT * FROM task_progress ORDER BY task_id, as_of DESC, feed, _version DESC, _offset DESC, _index DESC LIMIT 1 BY task_id)
        WHERE _deleted = 0
        UNION ALL
        SELECT 'indicator', code, 'tasks', 'task', arrayJoin(tasks), '', '', toUInt64(0) FROM (SELECT code, any(tasks) AS tasks FROM indicator_version FINAL WHERE _deleted = 0 GROUP BY code)
    )
SELECT schema, record, field, refers_to, value, concat('there is no ', refers_to, ' ', value, ', of which ', schema, ' ', record, ' speaks') AS why, source, place, row
FROM links
WHERE value != '' AND value NOT IN (SELECT task_id FROM task FINAL WHERE _deleted = 0)
COMMENT '缺失关联 / Missing links: what speaks of a task that is not there'
