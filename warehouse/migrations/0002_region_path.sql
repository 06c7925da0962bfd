-- The region tree as it was on each day, laid out for roll-ups. Sync fills it from the project's regions.
CREATE TABLE IF NOT EXISTS region_path
(
    code LowCardinality(String) COMMENT '区划代码 / Code of the region',
    since Date32 COMMENT '起始日期 / First day on which the path held; it holds until the next row of the code. A region''s first row reaches back to 1900, so that figures from before it was listed are placed too',
    name String COMMENT '名称 / Name of the region',
    level LowCardinality(String) COMMENT '层级 / Level: nation, province, city or county',
    parent LowCardinality(String) COMMENT '上级区划 / Region directly above; empty for the nation',
    path Array(Tuple(code String, level String, name String)) COMMENT '上级路径 / The region and those above it, from the bottom: code, level, name',
    steps Array(Tuple(code String, below String, unit String)) COMMENT '汇总路径 / For roll-ups: the region and those above it, with the region of the path directly below each, and with the city whose mean counts once there (a municipality is one; empty below the province)',
    _version UInt64 COMMENT '版本 / Version: the highest counts',
    _deleted UInt8 COMMENT '已删除 / 1 when the row is gone'
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY (code, since)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '区划路径 / Region path: the regions above each region, as the tree was on each day'
