CREATE TABLE IF NOT EXISTS `headwater`.`audit`
(
    `id` String COMMENT '操作编号 / Id: Identifier of the change (ULID); later changes sort after earlier ones.' CODEC(ZSTD(1)),
    `outcome` LowCardinality(String) COMMENT '阶段 / Outcome: asked before the change, done or failed after it; a change that has only asked was cut short.' CODEC(ZSTD(1)),
    `at` DateTime64(3, 'Asia/Shanghai') COMMENT '时间 / At: When it was asked for, or when it had ended.' CODEC(Delta, ZSTD(1)),
    `who` String COMMENT '操作人 / Who: Operating-system user who asked for it, and who it was for if they said so.' CODEC(ZSTD(1)),
    `host` String DEFAULT '' COMMENT '主机 / Host: Machine on which it was asked for.' CODEC(ZSTD(1)),
    `command` String COMMENT '命令 / Command: Command that made the change, without its arguments.' CODEC(ZSTD(1)),
    `target_kind` String COMMENT '对象类型 / Target kind: What was changed: quarantine, source, cursor, grants, reference, period, variance.' CODEC(ZSTD(1)),
    `target` String DEFAULT '' COMMENT '对象 / Target: Which one: an identifier, or how many and of what.' CODEC(ZSTD(1)),
    `why` String DEFAULT '' COMMENT '理由 / Why: Why, in their words.' CODEC(ZSTD(1)),
    `details` String DEFAULT '{}' COMMENT '详情 / Details: What else there is to know, as JSON; neither secrets nor values of personal fields.' CODEC(ZSTD(1)),
    `error` String DEFAULT '' COMMENT '错误 / Error: What made it fail; empty when nothing did.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`id`, `outcome`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '操作审计 / Audit (v1): Every change that a person made: one line before it (asked) and one after it (done or failed). Nothing here is ever changed.'
