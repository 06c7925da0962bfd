-- How long each step of the closed loop took, and whether it is overdue: one row for each task, project or issue, step and round.
-- A step begins with its first event and ends with the last that says so; the deadline in force is the one stated last.
CREATE OR REPLACE VIEW loop_step
(
    object String COMMENT '对象类型 / task, project or issue',
    object_id String COMMENT '对象编号 / Number of the task, project or issue',
    step String COMMENT '环节 / Step: initiation, monitoring, investigation, rectification, evaluation',
    step_zh String COMMENT '环节名称 / 立项、监测、调查、整改、考评',
    round Int64 COMMENT '轮次 / Times that it was gone through',
    region String COMMENT '区划 / Region of the body that acts',
    body String COMMENT '办理单位 / Body that acted last',
    begun_at DateTime64(3, 'Asia/Shanghai') COMMENT '开始时间 / First event of the step',
    due_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '时限 / Deadline in force',
    ended_at Nullable(DateTime64(3, 'Asia/Shanghai')) COMMENT '结束时间 / When it ended; empty while it lasts',
    days Float64 COMMENT '历时（天） / Days that it took, or has taken so far',
    returned UInt64 COMMENT '退回次数 / Times that it was sent back',
    extended UInt64 COMMENT '延期次数 / Times that the deadline was changed',
    overdue UInt8 COMMENT '是否超期 / 1 when it ended after its deadline, or lasts and is past it'
)
AS
SELECT
    toString(e.object) AS object, e.object_id AS object_id, toString(e.step) AS step,
    transform(step, ['initiation', 'monitoring', 'investigation', 'rectification', 'evaluation'], ['立项', '监测', '调查', '整改', '考评'], step) AS step_zh,
    e.round AS round,
    argMax(ifNull(toString(e.region), ''), e.at) AS region,
    argMax(ifNull(e.body, ''), e.at) AS body,
    min(e.at) AS begun_at,
    argMaxIf(e.due_at, e.at, isNotNull(e.due_at)) AS due_at,
    if(countIf(e.event = 'ended') > 0, toNullable(maxIf(e.at, e.event = 'ended')), NULL) AS ended_at,
    dateDiff('second', begun_at, ifNull(ended_at, now64(3, 'Asia/Shanghai'))) / 86400 AS days,
    countIf(e.event = 'returned') AS returned,
    countIf(e.event = 'due_changed') AS extended,
    isNotNull(due_at) AND ifNull(ended_at, now64(3, 'Asia/Shanghai')) > due_at AS overdue
FROM (SELECT * FROM loop_event FINAL WHERE _deleted = 0) AS e
GROUP BY object, object_id, step, round
COMMENT '闭环环节 / Steps of the closed loop: how long each took and whether it is overdue'
