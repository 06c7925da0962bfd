-- Composite indexes: one row an index, region and period. How a score comes about is told with index_component, which has its parts.
CREATE OR REPLACE VIEW index_score
(
    `index` String COMMENT '指数代码 / Index',
    title String COMMENT '指数名称 / Chinese title of the index',
    version String COMMENT '版本号 / Version of the definition, in force on the period''s first day',
    demonstration UInt8 COMMENT '是否演示 / 1 when components and weights are nobody''s official ones',
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    parent String COMMENT '上级区划 / Region above it at the time',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    score Nullable(Float64) COMMENT '得分 / Score; empty when too much is missing',
    band String COMMENT '等级 / green, blue, yellow, orange or red; empty without a score or thresholds',
    band_zh String COMMENT '等级名称 / 绿、蓝、黄、橙、红',
    components UInt64 COMMENT '构成数 / Components of the version',
    components_present UInt64 COMMENT '在场构成数 / Components that have a score',
    covered Float64 COMMENT '权重覆盖 / Share of the weight that has a score',
    missing_rule String COMMENT '缺项规则 / reweight, none or zero',
    missing Array(String) COMMENT '缺项 / Components without a score',
    rank Nullable(UInt64) COMMENT '名次 / Place among the regions with the same parent that have a score, 1 the best; equal scores share a place',
    previous Nullable(Float64) COMMENT '上期得分 / Score of the period just before under the same version; empty when the definition changed or there is none',
    change Nullable(Float64) COMMENT '环比增量 / score less previous'
)
AS
WITH
    whole AS
    (
        SELECT
            index, version, region, grain, period, any(title) AS title, any(demonstration) AS demonstration, any(region_name) AS region_name, any(level) AS level,
            any(parent) AS parent, anyOrNull(score) AS score, any(direction) AS way, any(band) AS band, count() AS components,
            countIf(present = 1) AS components_present, any(covered) AS covered, any(missing_rule) AS missing_rule,
            arrayMap(x -> x.2, arraySort(x -> x.1, groupArrayIf((position, component), present = 0))) AS missing
        FROM index_component
        GROUP BY index, version, region, grain, period
    ),
    numbered AS
    (
        SELECT
            *,
            toDate32(period) AS first_day,
            -- Number of the period without a break from year to year; of hours, of the hour.
            toInt64(multiIf(
                grain = 'hour', toInt64(toInt32(first_day)) * 24 + toHour(period),
                grain = 'day', toInt32(first_day),
                grain = 'week', intDiv(toInt32(first_day) + 719165, 7),
                grain = 'xun', (toYear(first_day) * 12 + toMonth(first_day)) * 3 + multiIf(toDayOfMonth(first_day) > 20, 2, toDayOfMonth(first_day) > 10, 1, 0),
                grain = 'month', toYear(first_day) * 12 + toMonth(first_day),
                grain = 'quarter', toYear(first_day) * 4 + toQuarter(first_day),
                grain = 'half', toYear(first_day) * 2 + if(toMonth(first_day) > 6, 2, 1),
                toYear(first_day))) AS n,
            if(way = 'down', score, -score) AS worse
        FROM whole
    )
SELECT
    index, title, version, demonstration, region, region_name, level, parent, grain, period, score, band,
    transform(band, ['green', 'blue', 'yellow', 'orange', 'red'], ['绿', '蓝', '黄', '橙', '红'], '') AS band_zh,
    components, components_present, covered, missing_rule, missing,
    if(isNull(score) OR parent = '', NULL, toNullable(rank() OVER (PARTITION BY index, grain, period, parent ORDER BY worse ASC NULLS LAST))) AS rank,
    any(score) OVER (PARTITION BY index, version, region, grain ORDER BY n RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING) AS previous,
    score - previous AS change
FROM numbered
COMMENT '综合指数 / Composite indexes: score, band and coverage of every index by region and period'
