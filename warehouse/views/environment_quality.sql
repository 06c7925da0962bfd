-- Air and water by region and month, rolled up along the tree of regions as it was then. A share of good days is good days by valid
-- days of all stations below (a ratio of sums, never a mean of shares); a share of water sections is sections of class III or better by
-- assessed ones.
CREATE OR REPLACE VIEW environment_quality
(
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    month Date32 COMMENT '月份 / First day of the month',
    stations UInt64 COMMENT '站点数 / Air stations that reported',
    station_days UInt64 COMMENT '站点日数 / Days of stations with any reading',
    valid_days UInt64 COMMENT '有效日数 / Valid days of stations: the denominator',
    good_days UInt64 COMMENT '优良日数 / Valid days with an index of at most 100 under the standard in force',
    good_share Nullable(Float64) COMMENT '优良天数比例 / good_days by valid_days',
    good_days_2012 UInt64 COMMENT '按2012标准优良日数 / Good days under HJ 633-2012 throughout',
    good_days_2026 UInt64 COMMENT '按2026标准优良日数 / Good days under HJ 633-2026 throughout',
    pm25 Nullable(Float64) COMMENT 'PM2.5均值 / Mean of PM2.5 over the stations'' daily means, µg/m³',
    sections UInt64 COMMENT '断面数 / Water sections that were assessed',
    good_sections UInt64 COMMENT 'Ⅲ类及以上断面数 / Sections of class III or better',
    good_section_share Nullable(Float64) COMMENT 'Ⅰ–Ⅲ类断面比例 / good_sections by sections',
    bad_sections UInt64 COMMENT '劣Ⅴ类断面数 / Sections worse than class V'
)
AS
WITH
    facts AS
    (
        SELECT
            region, toDate32(toStartOfMonth(day)) AS month, station AS air, '' AS section, valid, aqi AS now, aqi_2012 AS first, aqi_2026 AS second,
            pm25 AS fine, 0 AS class
        FROM air_quality_day
        UNION ALL
        SELECT toString(region), toDate32(toStartOfMonth(month)), '', toString(section), 0, NULL, NULL, NULL, NULL, toInt64OrZero(ifNull(toString(class), ''))
        FROM water_reading FINAL
        WHERE _deleted = 0 AND class IS NOT NULL
    ),
    placed AS
    (
        SELECT f.*, arrayJoin(if(empty(p.path), [(f.region, '', '')], p.path)) AS step
        FROM (SELECT *, toLastDayOfMonth(month) AS last_day FROM facts) AS f
        ASOF LEFT JOIN (SELECT toString(code) AS code, since, path FROM region_path FINAL WHERE _deleted = 0) AS p ON p.code = f.region AND f.last_day >= p.since
    )
SELECT
    s.step.1 AS region, any(s.step.3) AS region_name, any(s.step.2) AS level, s.month AS month,
    uniqExactIf(s.air, s.air != '') AS stations,
    countIf(s.air != '') AS station_days,
    countIf(s.valid) AS valid_days,
    countIf(s.valid AND s.now <= 100) AS good_days,
    good_days / nullIf(valid_days, 0) AS good_share,
    countIf(s.valid AND s.first <= 100) AS good_days_2012,
    countIf(s.valid AND s.second <= 100) AS good_days_2026,
    avg(s.fine) AS pm25,
    uniqExactIf(s.section, s.section != '') AS sections,
    uniqExactIf(s.section, s.section != '' AND s.class <= 3) AS good_sections,
    good_sections / nullIf(sections, 0) AS good_section_share,
    uniqExactIf(s.section, s.class = 6) AS bad_sections
FROM placed AS s
GROUP BY region, month
COMMENT '环境质量 / Environment quality: good days and good water sections by region and month'
