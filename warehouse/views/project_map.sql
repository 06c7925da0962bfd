-- Each project with its position in the three systems, and a look whether it can be right.
--
-- A position is in the system that its source states. The shift of GCJ-02 is the published formula, the ways back go on until nothing
-- changes (see schemas/coordinates, which does the same). It is held against the box around the region in which the project is said to
-- lie, or, where that region has none, around the nearest one above that has: more than 0.1 degrees beyond it, some ten kilometres, is
-- no neighbourhood any more. A project whose position is doubtful stays here, with the reason: it is a project all the same, and
-- whoever draws a map takes those with on_map = 1.
CREATE OR REPLACE VIEW project_map
(
    project_id String COMMENT '项目编号 / Number of the project',
    task_id String COMMENT '所属任务 / Smallest task that it counts for',
    name String COMMENT '项目名称 / Name',
    level String COMMENT '项目层级 / Level of the body that runs it',
    region String COMMENT '所属区划 / Region in which it is said to lie',
    region_name String COMMENT '区划名称 / Name of the region at the time it is due',
    address String COMMENT '地址 / Where it lies, in words',
    lead String COMMENT '责任单位 / Body that is responsible',
    due_on Nullable(Date32) COMMENT '计划完成日期 / Day by which it is to be done',
    completed_on Nullable(Date32) COMMENT '实际完成日期 / Day on which it was done',
    result String COMMENT '验收结果 / What the acceptance found',
    longitude Nullable(Float64) COMMENT '经度 / As the source gives it, in the system crs',
    latitude Nullable(Float64) COMMENT '纬度 / As the source gives it, in the system crs',
    crs String COMMENT '坐标系 / System that the source states: wgs84, cgcs2000, gcj02, bd09',
    longitude_wgs84 Nullable(Float64) COMMENT 'WGS-84经度 / Longitude, WGS-84; CGCS2000 is the same within centimetres',
    latitude_wgs84 Nullable(Float64) COMMENT 'WGS-84纬度 / Latitude, WGS-84',
    longitude_gcj02 Nullable(Float64) COMMENT 'GCJ-02经度 / Longitude for Chinese map services',
    latitude_gcj02 Nullable(Float64) COMMENT 'GCJ-02纬度 / Latitude for Chinese map services',
    longitude_bd09 Nullable(Float64) COMMENT 'BD-09经度 / Longitude for the service that uses BD-09',
    latitude_bd09 Nullable(Float64) COMMENT 'BD-09纬度 / Latitude for the service that uses BD-09',
    on_map UInt8 COMMENT '是否可上图 / 1 when there is a position and nothing speaks against it',
    problem LowCardinality(String) COMMENT '位置问题 / Why not: no position; outside of its region; not checked, when neither the region nor any above has a box; empty otherwise',
    checked_against String COMMENT '核对区划 / Region whose box the position was held against; empty when there is none',
    kilometres_outside Nullable(Float64) COMMENT '超出距离（千米） / How far it lies outside of that box; 0 within'
)
AS
WITH
    -- How far GCJ-02 lies from WGS-84, in degrees.
    (v, amplitude) -> amplitude * sin(v * pi()) * 2 / 3 AS wave,
    (x, y) -> 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * sqrt(abs(x)) + wave(6 * x, 20) + wave(2 * x, 20) + wave(x, 20) + wave(x / 3, 40) + wave(x / 12, 150) + wave(x / 30, 300) AS metres_east,
    (x, y) -> -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * sqrt(abs(x)) + wave(6 * x, 20) + wave(2 * x, 20) + wave(y, 20) + wave(y / 3, 40) + wave(y / 12, 160) + wave(y / 30, 320) AS metres_north,
    y -> 1 - 0.00669342162296594323 * pow(sin(y * pi() / 180), 2) AS curve,
    (x, y) -> x >= 72.004 AND x <= 137.8347 AND y >= 0.8293 AND y <= 55.8271 AS shifted,
    (x, y) -> if(shifted(x, y), metres_east(x - 105, y - 35) * 180 / (6378245.0 / sqrt(curve(y)) * cos(y * pi() / 180) * pi()), 0) AS east,
    (x, y) -> if(shifted(x, y), metres_north(x - 105, y - 35) * 180 / (6378245.0 * (1 - 0.00669342162296594323) / (curve(y) * sqrt(curve(y))) * pi()), 0) AS north,
    -- How far BD-09 lies from GCJ-02.
    (x, y) -> sqrt(x * x + y * y) + 0.00002 * sin(y * pi() * 3000 / 180) AS radius,
    (x, y) -> atan2(y, x) + 0.000003 * cos(x * pi() * 3000 / 180) AS angle,
    (x, y) -> radius(x, y) * cos(angle(x, y)) + 0.0065 - x AS right,
    (x, y) -> radius(x, y) * sin(angle(x, y)) + 0.006 - y AS up,
    -- Each step of a way back leaves some thousandth of the error of the one before.
    stated AS
    (
        SELECT *, assumeNotNull(longitude) AS x, assumeNotNull(latitude) AS y, isNotNull(longitude) AND isNotNull(latitude) AND isNotNull(crs) AS there, ifNull(toString(crs), '') AS system
        FROM project FINAL
        WHERE _deleted = 0
    ),
    china AS
    (
        SELECT
            *,
            multiIf(
                system = 'gcj02', (x, y),
                system = 'bd09', arrayFold((p, i) -> (x - right(p.1, p.2), y - up(p.1, p.2)), range(4), (x, y)),
                (x + east(x, y), y + north(x, y))) AS gcj
        FROM stated
    ),
    world AS
    (
        SELECT
            *,
            if(system IN ('wgs84', 'cgcs2000'), (x, y), arrayFold((p, i) -> (gcj.1 - east(p.1, p.2), gcj.2 - north(p.1, p.2)), range(4), gcj)) AS wgs,
            if(system = 'bd09', (x, y), (gcj.1 + right(gcj.1, gcj.2), gcj.2 + up(gcj.1, gcj.2))) AS bd
        FROM china
    ),
    placed AS
    (
        SELECT w.*, toString(w.region) AS code, ifNull(p.name, '') AS region_name, if(empty(p.path), [(code, '', '')], p.path) AS path
        FROM (SELECT *, ifNull(due_on, toDate32(now64(3, 'Asia/Shanghai'))) AS day FROM world) AS w
        ASOF LEFT JOIN (SELECT toString(code) AS code, since, name, path FROM region_path FINAL WHERE _deleted = 0) AS p ON p.code = toString(w.region) AND w.day >= p.since
    ),
    boxes AS
    (
        SELECT n.project_id AS project_id, argMin(e.code, n.nth) AS code, argMin((e.west, e.south, e.east, e.north), n.nth) AS box, 1 AS known
        FROM (SELECT project_id, path.1 AS codes, nth, codes[nth] AS code FROM placed ARRAY JOIN arrayEnumerate(path) AS nth) AS n
        INNER JOIN (SELECT toString(code) AS code, west, south, east, north FROM region_extent FINAL WHERE _deleted = 0) AS e ON e.code = n.code
        GROUP BY project_id
    )
SELECT
    p.project_id AS project_id, p.task_id AS task_id, p.name AS name, ifNull(toString(p.level), '') AS level, p.code AS region, p.region_name AS region_name,
    ifNull(p.address, '') AS address, ifNull(p.lead, '') AS lead, p.due_on AS due_on, p.completed_on AS completed_on, ifNull(toString(p.result), '') AS result,
    p.longitude AS longitude, p.latitude AS latitude, p.system AS crs,
    if(p.there, toNullable(p.wgs.1), NULL) AS longitude_wgs84, if(p.there, toNullable(p.wgs.2), NULL) AS latitude_wgs84,
    if(p.there, toNullable(p.gcj.1), NULL) AS longitude_gcj02, if(p.there, toNullable(p.gcj.2), NULL) AS latitude_gcj02,
    if(p.there, toNullable(p.bd.1), NULL) AS longitude_bd09, if(p.there, toNullable(p.bd.2), NULL) AS latitude_bd09,
    problem = '' AS on_map,
    multiIf(
        NOT p.there, 'no position',
        ifNull(b.known, 0) = 0, 'not checked',
        p.wgs.1 < b.box.1 - 0.1 OR p.wgs.2 < b.box.2 - 0.1 OR p.wgs.1 > b.box.3 + 0.1 OR p.wgs.2 > b.box.4 + 0.1, 'outside of its region',
        '') AS problem,
    ifNull(b.code, '') AS checked_against,
    if(p.there AND ifNull(b.known, 0) = 1,
        toNullable(111.32 * sqrt(pow(greatest(b.box.1 - p.wgs.1, p.wgs.1 - b.box.3, 0) * cos(p.wgs.2 * pi() / 180), 2) + pow(greatest(b.box.2 - p.wgs.2, p.wgs.2 - b.box.4, 0), 2))),
        NULL) AS kilometres_outside
FROM placed AS p
LEFT JOIN boxes AS b ON b.project_id = p.project_id
COMMENT '项目地图 / Project map: every project with its position in three systems, and whether it lies in its region''s neighbourhood'
