CREATE TABLE IF NOT EXISTS `headwater`.`period_figure`
(
    `indicator` String COMMENT '指标代码 / Indicator: Code of the indicator.' CODEC(ZSTD(1)),
    `grain` LowCardinality(String) COMMENT '时间粒度 / Period length: Length of the period.' CODEC(ZSTD(1)),
    `period` DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Period: Start of the period.' CODEC(Delta, ZSTD(1)),
    `region` LowCardinality(String) COMMENT '行政区划 / Region: Region of the figure.' CODEC(ZSTD(1)),
    `act` String COMMENT '操作编号 / Act: Identifier of the act (ULID): later acts sort after earlier ones. All rows of one act have it, and the audit table.' CODEC(ZSTD(1)),
    `action` LowCardinality(String) COMMENT '操作 / Action: What was done.' CODEC(ZSTD(1)),
    `published` Bool COMMENT '是否已发布 / Published: Whether the figure is published since.' CODEC(ZSTD(1)),
    `root` LowCardinality(String) COMMENT '操作区划 / Root: Region that the act was about, with all regions below it.' CODEC(ZSTD(1)),
    `at` DateTime64(3, 'Asia/Shanghai') COMMENT '操作时间 / At: When it was done.' CODEC(Delta, ZSTD(1)),
    `who` String COMMENT '操作人 / Who: Who did it.' CODEC(ZSTD(1)),
    `why` String COMMENT '理由 / Why: Why, in their words.' CODEC(ZSTD(1)),
    `region_name` String DEFAULT '' COMMENT '区划名称 / Region name: Name of the region at the time.' CODEC(ZSTD(1)),
    `level` String DEFAULT '' COMMENT '层级 / Level: Level of the region at the time.' CODEC(ZSTD(1)),
    `parent` String DEFAULT '' COMMENT '上级区划 / Parent: Region above it at the time.' CODEC(ZSTD(1)),
    `value` Nullable(Float64) COMMENT '定稿值 / Value: Figure at that moment; empty when there was none.' CODEC(ZSTD(1)),
    `numerator` Nullable(Float64) COMMENT '分子合计 / Numerator: Sum of numerators.' CODEC(ZSTD(1)),
    `denominator` Nullable(Float64) COMMENT '分母合计 / Denominator: Sum of denominators.' CODEC(ZSTD(1)),
    `children_reporting` Int64 DEFAULT 0 COMMENT '已报下级数 / Children reporting: Regions directly below that had figures in it.' CODEC(Delta, ZSTD(1)),
    `children` Int64 DEFAULT 0 COMMENT '下级总数 / Children: Regions directly below that there were in the period.' CODEC(Delta, ZSTD(1)),
    `_version` UInt64 COMMENT '版本 / Version: Place of the record in its source\'s own order; of records with the same key the highest counts.' CODEC(Delta, ZSTD(1)),
    `_deleted` UInt8 DEFAULT 0 COMMENT '已删除 / Deleted: 1 when the record is gone from its source.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`_version`, `_deleted`)
ORDER BY (`indicator`, `grain`, `period`, `region`, `act`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '期间定稿值 / Figures of a period (v1): One figure as it stood when somebody froze, restated, published or reopened its period. Of an indicator, region and period the newest row counts; earlier ones stay. Nothing here is ever changed.'
