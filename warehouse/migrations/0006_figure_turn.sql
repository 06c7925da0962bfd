-- Who puts figures together. One at a time does: of two that read at different moments, the one that read earlier could write later.
CREATE TABLE IF NOT EXISTS figure_turn
(
    holder String COMMENT '执行者 / Who took the turn',
    at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT '时间 / When they took it, or gave it back',
    ended UInt8 COMMENT '已结束 / 1 when they gave it back'
)
ENGINE = ReplacingMergeTree
ORDER BY (at, holder, ended)
TTL toDateTime(at) + INTERVAL 1 DAY
COMMENT '汇总轮次 / Figure turn: who puts figures together'
