-- The air quality index of each station and hour with its sub-indices: HJ 633-2012 until 2026-02-28, HJ 633—2026 from 2026-03-01.
--
-- Concentrations are rounded to whole numbers first, CO to one decimal (here in tenths), half to even (GB/T 8170). A sub-index lies
-- on the line between two breakpoints and is rounded up; whole numbers keep that exact. Above the last breakpoint it stays at that
-- one's index. Hourly values go by the one-hour columns; PM2.5 and PM10 by the 24-hour ones, which are the only ones there are.
CREATE OR REPLACE VIEW air_quality_hour
(
    station String COMMENT '站点编号 / Station',
    region String COMMENT '行政区划 / Region of the station',
    at DateTime64(3, 'Asia/Shanghai') COMMENT '时间 / Beginning of the hour',
    standard String COMMENT '标准 / Standard in force at the hour: 2012 or 2026',
    iaqi_so2 Nullable(Int64) COMMENT '二氧化硫分指数 / Sub-index of sulfur dioxide',
    iaqi_no2 Nullable(Int64) COMMENT '二氧化氮分指数 / Sub-index of nitrogen dioxide',
    iaqi_pm10 Nullable(Int64) COMMENT 'PM10分指数 / Sub-index of PM10 under the standard in force',
    iaqi_co Nullable(Int64) COMMENT '一氧化碳分指数 / Sub-index of carbon monoxide',
    iaqi_o3 Nullable(Int64) COMMENT '臭氧分指数 / Sub-index of ozone',
    iaqi_pm25 Nullable(Int64) COMMENT 'PM2.5分指数 / Sub-index of PM2.5 under the standard in force',
    aqi Nullable(Int64) COMMENT '空气质量指数 / Index under the standard in force: the highest sub-index',
    aqi_2012 Nullable(Int64) COMMENT '按2012标准的指数 / Index under HJ 633-2012 throughout, for comparison',
    aqi_2026 Nullable(Int64) COMMENT '按2026标准的指数 / Index under HJ 633-2026 throughout, for comparison',
    primary_pollutants Array(String) COMMENT '首要污染物 / Pollutants with the highest sub-index, where the index is above 50',
    band String COMMENT '级别 / 优, 良, 轻度污染, 中度污染, 重度污染, 严重污染',
    published_aqi Nullable(Int64) COMMENT '公布指数 / Index as the operator published it'
)
AS
WITH
    (c, b) -> if(isNull(c) OR c < 0, NULL, (arrayLastIndex(x -> x.1 <= c, b) AS k, if(k >= length(b), toNullable(b[k].2),
        b[k].2 + intDiv((b[k + 1].2 - b[k].2) * (c - b[k].1) + (b[k + 1].1 - b[k].1) - 1, greatest(b[k + 1].1 - b[k].1, 1)))).2) AS iaqi,
    toInt64(roundBankers(so2)) AS c_so2, toInt64(roundBankers(no2)) AS c_no2, toInt64(roundBankers(pm10)) AS c_pm10,
    toInt64(roundBankers(co * 10)) AS c_co, toInt64(roundBankers(o3)) AS c_o3, toInt64(roundBankers(pm25)) AS c_pm25,
    iaqi(c_pm10, [(0, 0), (50, 50), (150, 100), (250, 150), (350, 200), (420, 300), (500, 400), (600, 500)]) AS pm10_2012,
    iaqi(c_pm10, [(0, 0), (50, 50), (120, 100), (250, 150), (350, 200), (420, 300), (500, 400), (600, 500)]) AS pm10_2026,
    iaqi(c_pm25, [(0, 0), (35, 50), (75, 100), (115, 150), (150, 200), (250, 300), (350, 400), (500, 500)]) AS pm25_2012,
    iaqi(c_pm25, [(0, 0), (35, 50), (60, 100), (115, 150), (150, 200), (250, 300), (350, 400), (500, 500)]) AS pm25_2026,
    arrayFilter(x -> isNotNull(x.2), [('so2', iaqi_so2), ('no2', iaqi_no2), ('pm10', iaqi_pm10), ('co', iaqi_co), ('o3', iaqi_o3), ('pm25', iaqi_pm25)]) AS parts,
    (own, fine, coarse) -> (arrayFilter(x -> isNotNull(x), arrayConcat(own, [fine, coarse])) AS there, if(empty(there), NULL, arrayMax(there))).2 AS highest
SELECT
    toString(station) AS station,
    toString(region) AS region,
    at,
    if(toDate32(at) < toDate32('2026-03-01'), '2012', '2026') AS standard,
    iaqi(c_so2, [(0, 0), (150, 50), (500, 100), (650, 150), (800, 200)]) AS iaqi_so2,
    iaqi(c_no2, [(0, 0), (100, 50), (200, 100), (700, 150), (1200, 200), (2340, 300), (3090, 400), (3840, 500)]) AS iaqi_no2,
    if(standard = '2012', pm10_2012, pm10_2026) AS iaqi_pm10,
    iaqi(c_co, [(0, 0), (50, 50), (100, 100), (350, 150), (600, 200), (900, 300), (1200, 400), (1500, 500)]) AS iaqi_co,
    iaqi(c_o3, [(0, 0), (160, 50), (200, 100), (300, 150), (400, 200), (800, 300), (1000, 400), (1200, 500)]) AS iaqi_o3,
    if(standard = '2012', pm25_2012, pm25_2026) AS iaqi_pm25,
    if(standard = '2012', aqi_2012, aqi_2026) AS aqi,
    highest([iaqi_so2, iaqi_no2, iaqi_co, iaqi_o3], pm25_2012, pm10_2012) AS aqi_2012,
    highest([iaqi_so2, iaqi_no2, iaqi_co, iaqi_o3], pm25_2026, pm10_2026) AS aqi_2026,
    if(aqi > 50, arrayMap(x -> x.1, arrayFilter(x -> x.2 = aqi, parts)), []) AS primary_pollutants,
    multiIf(isNull(aqi), '', aqi <= 50, '优', aqi <= 100, '良', aqi <= 150, '轻度污染', aqi <= 200, '中度污染', aqi <= 300, '重度污染', '严重污染') AS band,
    published_aqi
FROM air_reading FINAL
WHERE _deleted = 0
COMMENT '空气质量小时指数 / Hourly air quality: index and sub-indices of each station and hour'
