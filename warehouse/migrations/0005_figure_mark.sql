-- What must be put together anew. A mark follows the rows that it is about and comes before their offsets are committed, so that no row is
-- without one, however often its insert is repeated. Refresh removes the marks that were there before it began to read.
CREATE TABLE IF NOT EXISTS figure_mark
(
    batch String DEFAULT queryID() COMMENT '批次 / Insert that made the mark',
    indicator LowCardinality(String) COMMENT '指标代码 / Indicator; empty for all',
    grain LowCardinality(String) COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period'
)
ENGINE = ReplacingMergeTree
ORDER BY (batch, indicator, grain, period)
COMMENT '待汇总标记 / Figure mark: periods of indicators whose figures are to be put together anew'
