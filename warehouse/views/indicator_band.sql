-- The colour of each figure of indicator_rollup, by the thresholds of the version in force on the period's first day. Only indicators
-- whose version has thresholds are here.
CREATE OR REPLACE VIEW indicator_band
(
    indicator String COMMENT '指标代码 / Indicator',
    title String COMMENT '指标名称 / Chinese title of the indicator',
    unit String COMMENT '计量单位 / Unit',
    version String COMMENT '版本号 / Version of the definition, in force on the period''s first day',
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    parent String COMMENT '上级区划 / Region above it at the time',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    value Nullable(Float64) COMMENT '汇总值 / Figure of the period, as in indicator_rollup',
    band String COMMENT '等级 / green, blue, yellow, orange or red; empty without a figure',
    band_zh String COMMENT '等级名称 / 绿、蓝、黄、橙、红',
    green Nullable(Float64) COMMENT '绿色界限 / Threshold of green',
    blue Nullable(Float64) COMMENT '蓝色界限 / Threshold of blue',
    yellow Nullable(Float64) COMMENT '黄色界限 / Threshold of yellow',
    orange Nullable(Float64) COMMENT '橙色界限 / Threshold of orange'
)
AS
SELECT
    r.indicator AS indicator, r.title AS title, r.unit AS unit, v.version AS version, r.region AS region, r.region_name AS region_name, r.level AS level,
    r.parent AS parent, r.grain AS grain, r.period AS period, r.value AS value,
    multiIf(isNull(r.value), '', v.sign * r.value >= v.sign * v.green, 'green', v.sign * r.value >= v.sign * v.blue, 'blue',
        v.sign * r.value >= v.sign * v.yellow, 'yellow', v.sign * r.value >= v.sign * v.orange, 'orange', 'red') AS band,
    transform(band, ['green', 'blue', 'yellow', 'orange', 'red'], ['绿', '蓝', '黄', '橙', '红'], '') AS band_zh,
    v.green AS green, v.blue AS blue, v.yellow AS yellow, v.orange AS orange
FROM (SELECT *, toDate32(period) AS first_day FROM indicator_rollup WHERE indicator IN (SELECT code FROM indicator_version FINAL WHERE _deleted = 0 AND (isNotNull(green) OR isNotNull(blue) OR isNotNull(yellow) OR isNotNull(orange)))) AS r
ASOF INNER JOIN
(
    SELECT v.code AS code, v.version AS version, v.valid_from AS valid_from, ifNull(v.valid_to, toDate32('2299-12-31')) AS ends, if(i.direction = 'down', -1, 1) AS sign, v.green AS green, v.blue AS blue, v.yellow AS yellow, v.orange AS orange
    FROM indicator_version AS v FINAL
    INNER JOIN indicator AS i FINAL ON i.code = v.code
    WHERE v._deleted = 0 AND i._deleted = 0
) AS v ON v.code = r.indicator AND r.first_day >= v.valid_from
WHERE v.ends > r.first_day AND (isNotNull(v.green) OR isNotNull(v.blue) OR isNotNull(v.yellow) OR isNotNull(v.orange))
COMMENT '指标等级 / Bands of indicators: the colour of every figure by the thresholds in force'
