-- Scores of an evaluation by region, department and period: the weighted mean of what has a score, over the weights of the items that
-- have one (Σ w·s / Σ w), plus bonuses, less deductions. covered says how much of the weight has a score, so that a missing item
-- shows and is not taken for a zero. The rank is among regions of the same level and parent as they were in the period, by the total.
CREATE OR REPLACE VIEW evaluation_score
(
    scheme String COMMENT '考评方案 / Scheme',
    period Date32 COMMENT '考评期 / First day of the period',
    region String COMMENT '行政区划 / Region that is evaluated',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    department String COMMENT '部门 / Department; empty for the region as a whole',
    items UInt64 COMMENT '计分项数 / Items that have a score',
    covered Float64 COMMENT '权重覆盖 / Share of the scheme''s weight that has a score',
    base Nullable(Float64) COMMENT '基础分 / Weighted mean of the items'' scores',
    bonus Float64 COMMENT '加分 / Sum of bonuses',
    deduction Float64 COMMENT '扣分 / Sum of deductions',
    total Nullable(Float64) COMMENT '总分 / base plus bonus less deduction',
    rank Nullable(UInt64) COMMENT '排名 / Rank among the regions with the same parent, or among the departments of the region; equal totals share a rank'
)
AS
WITH
    entries AS
    (
        SELECT scheme, item, toString(region) AS region, department, period, toString(kind) AS kind, score
        FROM
        (
            SELECT * FROM evaluation_entry
            ORDER BY scheme, item, region, department, period, kind, entry, _version DESC, _offset DESC, _index DESC
            LIMIT 1 BY scheme, item, region, department, period, kind, entry
        )
        WHERE _deleted = 0
    ),
    items AS (SELECT scheme, item, weight, valid_from, valid_to FROM evaluation_item FINAL WHERE _deleted = 0 AND item NOT IN (SELECT parent FROM evaluation_item FINAL WHERE _deleted = 0)),
    scored AS
    (
        SELECT
            e.scheme AS scheme, e.period AS period, e.region AS region, e.department AS department,
            countIf(e.kind = 'base') AS items,
            sumIf(i.weight, e.kind = 'base') AS weights,
            sumIf(i.weight * e.score, e.kind = 'base') / nullIf(weights, 0) AS base,
            sumIf(e.score, e.kind = 'bonus') AS bonus,
            sumIf(e.score, e.kind = 'deduction') AS deduction
        FROM entries AS e
        LEFT JOIN items AS i ON i.scheme = e.scheme AND i.item = e.item
        WHERE e.kind != 'base' OR (ifNull(i.item, '') != '' AND i.valid_from <= e.period AND (isNull(i.valid_to) OR i.valid_to > e.period))
        GROUP BY scheme, period, region, department
    ),
    placed AS
    (
        SELECT s.*, ifNull(p.name, '') AS region_name, ifNull(p.level, '') AS level, ifNull(p.parent, '') AS parent
        FROM scored AS s
        ASOF LEFT JOIN (SELECT toString(code) AS code, since, name, toString(level) AS level, toString(parent) AS parent FROM region_path FINAL WHERE _deleted = 0) AS p ON p.code = s.region AND s.period >= p.since
    ),
    whole AS
    (
        SELECT d.scheme AS scheme, d.period AS period, sum(i.weight) AS weights
        FROM (SELECT DISTINCT scheme, period FROM entries) AS d
        INNER JOIN items AS i ON i.scheme = d.scheme
        WHERE i.valid_from <= d.period AND (isNull(i.valid_to) OR i.valid_to > d.period)
        GROUP BY scheme, period
    )
SELECT
    p.scheme AS scheme, p.period AS period, p.region AS region, p.region_name AS region_name, p.level AS level, p.department AS department,
    p.items AS items, ifNull(p.weights / nullIf(w.weights, 0), 0) AS covered, p.base AS base, p.bonus AS bonus, p.deduction AS deduction,
    p.base + p.bonus - p.deduction AS total,
    if(isNull(total), NULL, toNullable(rank() OVER (PARTITION BY p.scheme, p.period, if(p.department = '', p.parent, p.region), p.department = '' ORDER BY total DESC NULLS LAST))) AS rank
FROM placed AS p
LEFT JOIN whole AS w ON w.scheme = p.scheme AND w.period = p.period
COMMENT '考评得分 / Evaluation scores by region, department and period'
