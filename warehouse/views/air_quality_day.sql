-- The air quality index of each station and day. Rules of a valid day (GB 3095-2012, HJ 633): a mean of 24 hours needs at least 20
-- hours; ozone goes by its highest mean of eight hours, of windows that end at 8 to 24 o'clock and have at least 6 hours, and needs
-- at least 14 such windows or a highest one above 160; an index needs all six pollutants. Breakpoints and rounding as in air_quality_hour.
CREATE OR REPLACE VIEW air_quality_day
(
    station String COMMENT '站点编号 / Station',
    region String COMMENT '行政区划 / Region of the station',
    day Date32 COMMENT '日期 / Day',
    standard String COMMENT '标准 / Standard in force on the day: 2012 or 2026',
    so2 Nullable(Float64) COMMENT '二氧化硫日均值 / Mean of sulfur dioxide, µg/m³; empty when fewer than 20 hours are valid',
    no2 Nullable(Float64) COMMENT '二氧化氮日均值 / Mean of nitrogen dioxide, µg/m³',
    pm10 Nullable(Float64) COMMENT 'PM10日均值 / Mean of PM10, µg/m³',
    co Nullable(Float64) COMMENT '一氧化碳日均值 / Mean of carbon monoxide, mg/m³',
    o3_8h Nullable(Float64) COMMENT '臭氧日最大8小时均值 / Highest mean of ozone over eight hours, µg/m³',
    pm25 Nullable(Float64) COMMENT 'PM2.5日均值 / Mean of PM2.5, µg/m³',
    iaqi_so2 Nullable(Int64) COMMENT '二氧化硫分指数 / Sub-index of sulfur dioxide',
    iaqi_no2 Nullable(Int64) COMMENT '二氧化氮分指数 / Sub-index of nitrogen dioxide',
    iaqi_pm10 Nullable(Int64) COMMENT 'PM10分指数 / Sub-index of PM10 under the standard in force',
    iaqi_co Nullable(Int64) COMMENT '一氧化碳分指数 / Sub-index of carbon monoxide',
    iaqi_o3 Nullable(Int64) COMMENT '臭氧分指数 / Sub-index of ozone',
    iaqi_pm25 Nullable(Int64) COMMENT 'PM2.5分指数 / Sub-index of PM2.5 under the standard in force',
    valid UInt8 COMMENT '是否有效日 / 1 when all six pollutants are there',
    aqi Nullable(Int64) COMMENT '空气质量指数 / Index under the standard in force; on a day that is not valid only where it is above 100',
    aqi_2012 Nullable(Int64) COMMENT '按2012标准的指数 / Index under HJ 633-2012 throughout, for comparison; empty on a day that is not valid',
    aqi_2026 Nullable(Int64) COMMENT '按2026标准的指数 / Index under HJ 633-2026 throughout, for comparison; empty on a day that is not valid',
    primary_pollutants Array(String) COMMENT '首要污染物 / Pollutants with the highest sub-index, where the index is above 50',
    band String COMMENT '级别 / 优, 良, 轻度污染, 中度污染, 重度污染, 严重污染'
)
AS
WITH
    (c, b) -> if(isNull(c) OR c < 0, NULL, (arrayLastIndex(x -> x.1 <= c, b) AS k, if(k >= length(b), toNullable(b[k].2),
        b[k].2 + intDiv((b[k + 1].2 - b[k].2) * (c - b[k].1) + (b[k + 1].1 - b[k].1) - 1, greatest(b[k + 1].1 - b[k].1, 1)))).2) AS iaqi,
    hours AS
    (
        SELECT
            toString(station) AS station, toString(region) AS region, toDate32(at) AS day,
            if(count(so2) >= 20, avg(so2), NULL) AS so2,
            if(count(no2) >= 20, avg(no2), NULL) AS no2,
            if(count(pm10) >= 20, avg(pm10), NULL) AS pm10,
            if(count(co) >= 20, avg(co), NULL) AS co,
            if(count(pm25) >= 20, avg(pm25), NULL) AS pm25,
            -- The day's ozone by hour: sums and counts of the eight hours that end with each of the hours 7 to 23.
            groupArrayIf((toHour(at), assumeNotNull(o3)), isNotNull(o3)) AS ozone,
            arrayMap(e -> arrayFilter(x -> x.1 <= e AND x.1 > e - 8, ozone), range(7, 24)) AS eights,
            arrayMap(w -> arrayAvg(x -> x.2, w), arrayFilter(w -> length(w) >= 6, eights)) AS windows,
            if(length(windows) >= 14 OR arrayMax(arrayPushBack(windows, -1)) > 160, toNullable(arrayMax(windows)), NULL) AS o3_8h
        FROM air_reading FINAL
        WHERE _deleted = 0
        GROUP BY station, region, day
    ),
    indexed AS
    (
        SELECT
            *,
            if(day < toDate32('2026-03-01'), '2012', '2026') AS standard,
            toInt64(roundBankers(pm10)) AS c_pm10, toInt64(roundBankers(pm25)) AS c_pm25,
            iaqi(toInt64(roundBankers(so2)), [(0, 0), (50, 50), (150, 100), (475, 150), (800, 200), (1600, 300), (2100, 400), (2620, 500)]) AS iaqi_so2,
            iaqi(toInt64(roundBankers(no2)), [(0, 0), (40, 50), (80, 100), (180, 150), (280, 200), (565, 300), (750, 400), (940, 500)]) AS iaqi_no2,
            iaqi(toInt64(roundBankers(co * 10)), [(0, 0), (20, 50), (40, 100), (140, 150), (240, 200), (360, 300), (480, 400), (600, 500)]) AS iaqi_co,
            iaqi(toInt64(roundBankers(o3_8h)), [(0, 0), (100, 50), (160, 100), (215, 150), (265, 200), (800, 300)]) AS iaqi_o3,
            iaqi(c_pm10, [(0, 0), (50, 50), (150, 100), (250, 150), (350, 200), (420, 300), (500, 400), (600, 500)]) AS pm10_2012,
            iaqi(c_pm10, [(0, 0), (50, 50), (120, 100), (250, 150), (350, 200), (420, 300), (500, 400), (600, 500)]) AS pm10_2026,
            iaqi(c_pm25, [(0, 0), (35, 50), (75, 100), (115, 150), (150, 200), (250, 300), (350, 400), (500, 500)]) AS pm25_2012,
            iaqi(c_pm25, [(0, 0), (35, 50), (60, 100), (115, 150), (150, 200), (250, 300), (350, 400), (500, 500)]) AS pm25_2026,
            if(standard = '2012', pm10_2012, pm10_2026) AS iaqi_pm10,
            if(standard = '2012', pm25_2012, pm25_2026) AS iaqi_pm25,
            arrayFilter(x -> isNotNull(x.2), [('so2', iaqi_so2), ('no2', iaqi_no2), ('pm10', iaqi_pm10), ('co', iaqi_co), ('o3', iaqi_o3), ('pm25', iaqi_pm25)]) AS parts,
            length(parts) = 6 AS valid,
            if(empty(parts), NULL, arrayMax(x -> x.2, parts)) AS highest
        FROM hours
    )
SELECT
    station, region, day, standard, so2, no2, pm10, co, o3_8h, pm25, iaqi_so2, iaqi_no2, iaqi_pm10, iaqi_co, iaqi_o3, iaqi_pm25, valid,
    if(valid OR highest > 100, highest, NULL) AS aqi,
    if(valid, arrayMax([iaqi_so2, iaqi_no2, iaqi_co, iaqi_o3, pm10_2012, pm25_2012]), NULL) AS aqi_2012,
    if(valid, arrayMax([iaqi_so2, iaqi_no2, iaqi_co, iaqi_o3, pm10_2026, pm25_2026]), NULL) AS aqi_2026,
    if(aqi > 50, arrayMap(x -> x.1, arrayFilter(x -> x.2 = aqi, parts)), []) AS primary_pollutants,
    multiIf(isNull(aqi), '', aqi <= 50, '优', aqi <= 100, '良', aqi <= 150, '轻度污染', aqi <= 200, '中度污染', aqi <= 300, '重度污染', '严重污染') AS band
FROM indexed
COMMENT '空气质量日指数 / Daily air quality: index, sub-indices and means of each station and day'
