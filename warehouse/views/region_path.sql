-- Where each region stood in the tree, and since when. A region's first version reaches back to 1900, so that figures from
-- before it was listed are placed too. The path begins with the region itself.
CREATE OR REPLACE VIEW region_path
(
    code String COMMENT '区划代码 / Code of the region',
    since Date32 COMMENT '起始日期 / First day on which the path held; it holds until the next row of the code',
    name String COMMENT '名称 / Name of the region',
    level String COMMENT '层级 / Level: nation, province, city or county',
    path Array(Tuple(code String, level String, name String)) COMMENT '上级路径 / The region and those above it, from the bottom: code, level, name'
)
AS
WITH
    versions AS
    (
        SELECT
            toString(region.code) AS code,
            region.name AS name,
            toString(region.level) AS level,
            ifNull(toString(region.parent), '') AS parent,
            ifNull(region.valid_to, toDate32('2299-12-31')) AS until,
            if(region.valid_from = min(region.valid_from) OVER (PARTITION BY region.code), toDate32('1900-01-01'), region.valid_from) AS since
        FROM region FINAL
        WHERE region._deleted = 0
    ),
    -- A path changes when the region does, or one above it while the region stays.
    changes AS
    (
        SELECT code, since FROM versions
        UNION DISTINCT
        SELECT own.code AS code, upper.since AS since
        FROM versions AS own
        INNER JOIN versions AS upper ON upper.code = own.parent
        WHERE upper.since > own.since AND upper.since < own.until
        UNION DISTINCT
        SELECT own.code AS code, top.since AS since
        FROM versions AS own
        INNER JOIN versions AS upper ON upper.code = own.parent
        INNER JOIN versions AS top ON top.code = upper.parent
        WHERE top.since > own.since AND top.since < own.until AND top.since > upper.since AND top.since < upper.until
    )
SELECT
    changes.code AS code,
    changes.since AS since,
    own.name AS name,
    own.level AS level,
    arrayFilter(x -> x.1 != '', [
        (own.code, own.level, own.name),
        (ifNull(upper.code, ''), ifNull(upper.level, ''), ifNull(upper.name, '')),
        (ifNull(top.code, ''), ifNull(top.level, ''), ifNull(top.name, '')),
        (ifNull(crown.code, ''), ifNull(crown.level, ''), ifNull(crown.name, ''))
    ]) AS path
FROM changes
ASOF INNER JOIN versions AS own ON own.code = changes.code AND changes.since >= own.since
ASOF LEFT JOIN versions AS upper ON upper.code = own.parent AND changes.since >= upper.since
ASOF LEFT JOIN versions AS top ON top.code = ifNull(upper.parent, '') AND changes.since >= top.since
ASOF LEFT JOIN versions AS crown ON crown.code = ifNull(top.parent, '') AND changes.since >= crown.since
COMMENT '区划路径 / Region path: the regions above each region, as the tree was on each day'
