CREATE TABLE IF NOT EXISTS `headwater`.`data_sharing`
(
    `source` String COMMENT '来源 / Source: Source as configured in the project.' CODEC(ZSTD(1)),
    `stream` String COMMENT '数据流 / Stream: Stream of the source.' CODEC(ZSTD(1)),
    `title` String COMMENT '数据集名称 / Title: What people call the source.' CODEC(ZSTD(1)),
    `owner` String COMMENT '数据归口 / Owner: Department that owns the source, as its topic is named.' CODEC(ZSTD(1)),
    `connector` String COMMENT '接入方式 / Connector: Kind of system that is read.' CODEC(ZSTD(1)),
    `schema` String COMMENT '标准模型 / Schema: Standard schema that its rows become records of.' CODEC(ZSTD(1)),
    `stated` Bool COMMENT '是否已列入清单 / Stated: Whether the source states how it is shared; where it does not, the fields from provider on are empty.' CODEC(ZSTD(1)),
    `provider` String DEFAULT '' COMMENT '提供方 / Provider: Department that provides the data, by its full name.' CODEC(ZSTD(1)),
    `provider_code` String DEFAULT '' COMMENT '提供方代码 / Code of the provider: Its unified social credit code.' CODEC(ZSTD(1)),
    `content` String DEFAULT '' COMMENT '共享内容 / Content: What is shared.' CODEC(ZSTD(1)),
    `method` LowCardinality(Nullable(String)) COMMENT '共享方式 / Method: How it comes in.' CODEC(ZSTD(1)),
    `basis` String DEFAULT '' COMMENT '共享依据 / Basis: Law, document or agreement on the ground of which it is shared or is not.' CODEC(ZSTD(1)),
    `sharing_type` LowCardinality(Nullable(String)) COMMENT '共享类型 / Sharing type: On what terms it is shared.' CODEC(ZSTD(1)),
    `condition` String DEFAULT '' COMMENT '共享条件 / Condition: Of conditional sharing, what it depends on.' CODEC(ZSTD(1)),
    `frequency` LowCardinality(Nullable(String)) COMMENT '更新周期 / Update frequency: How often it is brought up to date.' CODEC(ZSTD(1)),
    `deadline_seconds` Nullable(Int64) COMMENT '报送时限 / Deadline: Time after the end of a period within which the data of the period is to be there; empty when none was agreed, or one in workdays. [s]' CODEC(Delta, ZSTD(1)),
    `deadline_workdays` Nullable(Int64) COMMENT '报送时限（工作日） / Deadline in workdays: Workdays after the end of a period within which the data of the period is to be there, by the calendar in calendar_day; empty when the deadline counts none.' CODEC(Delta, ZSTD(1)),
    `indicators` Array(String) COMMENT '涉及指标 / Indicators: Indicators that its rows are about, as far as the mapping names them.' CODEC(ZSTD(1)),
    `due_indicators` Array(String) COMMENT '应报指标 / Due indicators: Indicators whose figures are due by the deadline; empty when no figures are.' CODEC(ZSTD(1)),
    `due_levels` Array(LowCardinality(String)) COMMENT '应报层级 / Due levels: Levels of the regions that owe them; empty for those of each indicator.' CODEC(ZSTD(1)),
    `due_within` String DEFAULT '' COMMENT '应报范围 / Due within: Region at or below which the regions that owe them lie.' CODEC(ZSTD(1)),
    `due_since` Nullable(Date32) COMMENT '应报起始 / Due since: Day from which figures are due; the first period is the one that it lies in.' CODEC(Delta, ZSTD(1)),
    `due_until` Nullable(Date32) COMMENT '应报截止 / Due until: Day up to which figures are due; empty for no end.' CODEC(Delta, ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`source`, `stream`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '数据共享需求清单 / Data-sharing list (v2): One dataset as its source states it in the project: who owns it, what is shared, how, on what ground and by when.'
