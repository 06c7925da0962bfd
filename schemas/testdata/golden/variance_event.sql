CREATE TABLE IF NOT EXISTS `headwater`.`variance_event`
(
    `indicator` String COMMENT '指标代码 / Indicator: Code of the indicator.' CODEC(ZSTD(1)),
    `grain` LowCardinality(String) COMMENT '时间粒度 / Period length: Length of the period.' CODEC(ZSTD(1)),
    `period` DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Period: Start of the period.' CODEC(Delta, ZSTD(1)),
    `region` LowCardinality(String) COMMENT '行政区划 / Region: Region that reported.' CODEC(ZSTD(1)),
    `feed` LowCardinality(String) COMMENT '采集方式 / Feed: Feed by which its own figure came.' CODEC(ZSTD(1)),
    `act` String COMMENT '操作编号 / Act: Identifier of the act (ULID): later acts sort after earlier ones. The audit table has it.' CODEC(ZSTD(1)),
    `action` LowCardinality(String) COMMENT '操作 / Action: What was done.' CODEC(ZSTD(1)),
    `at` DateTime64(3, 'Asia/Shanghai') COMMENT '操作时间 / At: When it was done.' CODEC(Delta, ZSTD(1)),
    `who` String COMMENT '操作人 / Who: Who did it.' CODEC(ZSTD(1)),
    `why` String COMMENT '说明 / Why: What they said.' CODEC(ZSTD(1)),
    `reported` Float64 COMMENT '上报值 / Reported: What the region had reported then.' CODEC(ZSTD(1)),
    `rolled_up` Nullable(Float64) COMMENT '汇总值 / Rolled up: What lower levels added up to then; empty when they could not be added up.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`indicator`, `grain`, `period`, `region`, `feed`, `act`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '差异处理记录 / Variance event (v1): What somebody said of a disagreement between the figure that a region reported and what lower levels add up to. Of one disagreement the newest row counts; nothing here is ever changed.'
