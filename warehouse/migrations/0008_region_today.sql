-- Where the figures of a region of some time lie on the boundaries of today. Sync fills it from the project's regions and shares.
CREATE TABLE IF NOT EXISTS region_today
(
    code LowCardinality(String) COMMENT '区划代码 / Code of the region, as it was then',
    since Date32 COMMENT '起始日期 / First day on which it lay so. A region''s first row reaches back to 1900',
    indicator String COMMENT '指标代码 / Indicator that has shares of its own; empty for all others',
    until Date32 COMMENT '截止日期 / First day on which it lay so no longer; the end of 2299 for the last row',
    lowest Bool COMMENT '最低层级 / Whether the region was there and nothing lay below it',
    steps Array(Tuple(code String, parent String, unit String, how String, share Float64)) COMMENT '归属 / Regions of today that its figures touch, with the region above each and the city whose mean counts once there (* when there are several). how: same = has the same area; merged = took it over as a whole; whole = all of it lies within; share = as much of it as share says; unknown = a part of it that nobody has said the size of',
    _version UInt64 COMMENT '版本 / Version: the highest counts',
    _deleted UInt8 COMMENT '已删除 / 1 when the row is gone'
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY (code, since, indicator)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '今日区划归属 / Region today: where the figures of each region of some time lie on the boundaries of today'
