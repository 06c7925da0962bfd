CREATE TABLE IF NOT EXISTS `headwater`.`indicator_version`
(
    `code` String COMMENT '指标代码 / Code: Code of the indicator.' CODEC(ZSTD(1)),
    `version` String COMMENT '版本号 / Version: What people call the version.' CODEC(ZSTD(1)),
    `valid_from` Date32 COMMENT '启用日期 / Valid from: First day of the version; 1900-01-01 where it always held.' CODEC(Delta, ZSTD(1)),
    `valid_to` Nullable(Date32) COMMENT '停用日期 / Valid to: First day after the version; empty while it holds.' CODEC(Delta, ZSTD(1)),
    `owner` String DEFAULT '' COMMENT '责任部门 / Owner: Department that answers for the definition.' CODEC(ZSTD(1)),
    `description` String DEFAULT '' COMMENT '说明 / Description: What is counted, and by which rule.' CODEC(ZSTD(1)),
    `facts_schema` String DEFAULT '' COMMENT '事实模式 / Source schema: Standard schema from whose records the figure is counted; empty for figures that are reported.' CODEC(ZSTD(1)),
    `facts_fields` Array(String) COMMENT '事实字段 / Source fields: Fields of that schema that the figure depends on.' CODEC(ZSTD(1)),
    `tasks` Array(String) COMMENT '关联任务 / Tasks: Tasks whose targets the indicator counts.' CODEC(ZSTD(1)),
    `green` Nullable(Float64) COMMENT '绿色界限 / Green: A figure at least as good is green.' CODEC(ZSTD(1)),
    `blue` Nullable(Float64) COMMENT '蓝色界限 / Blue: A figure at least as good, and not green, is blue.' CODEC(ZSTD(1)),
    `yellow` Nullable(Float64) COMMENT '黄色界限 / Yellow: A figure at least as good, and not blue, is yellow.' CODEC(ZSTD(1)),
    `orange` Nullable(Float64) COMMENT '橙色界限 / Orange: A figure at least as good, and not yellow, is orange; worse ones are red.' CODEC(ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`code`, `version`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '指标版本 / Version of an indicator (v1): One version of an indicator\'s definition with the time in which it holds. A period is judged by the version in force on its first day.'
