-- What a composite index is made of, for each index, region and period: one row a component, those without a figure too.
--
-- An index is made anew at each level, from the figures that indicator_rollup has there: indexes of lower regions are never
-- averaged. The version in force on the period's first day holds. A figure becomes a score from 0 to 100 by the component's
-- method: as_is, the figure itself; min_max, 0 at zero and 100 at full, in a straight line between and no further; target, 0 at
-- zero and 100 at the year's target, by what the year has reached; piecewise, straight lines between the points and level outside.
-- The index is the sum of weight and score. Where components have no figure: reweight divides by the weight that is there, if that
-- is min_coverage at least; none gives no index; zero counts them as 0. A region without any component's figure has no index.
-- An index that is a component of another one is computed before it, so that any depth comes out in one pass over the figures.
CREATE OR REPLACE VIEW index_component
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
    component String COMMENT '构成代码 / Indicator or index that is a component',
    component_title String COMMENT '构成名称 / Chinese title of the component',
    position Int64 COMMENT '次序 / Place of the component in the definition',
    weight Float64 COMMENT '权重 / Weight as defined',
    method String COMMENT '标准化方法 / How the figure becomes a score: as_is, min_max, target or piecewise',
    value Nullable(Float64) COMMENT '数值 / Figure that was scored; of target, what the year has reached; empty when there is none',
    component_score Nullable(Float64) COMMENT '构成得分 / Score of the component, 0 to 100; empty when it has none',
    share Float64 COMMENT '折算权重 / Weight that the component has in this score: what is missing has none under reweight',
    contribution Nullable(Float64) COMMENT '贡献 / Points that the component brings; all of an index add up to its score',
    present UInt8 COMMENT '是否在场 / 1 when the component has a score',
    covered Float64 COMMENT '权重覆盖 / Share of the weight that has a score',
    missing_rule String COMMENT '缺项规则 / reweight, none or zero',
    score Nullable(Float64) COMMENT '指数得分 / Score of the index; empty when too much is missing',
    direction String COMMENT '方向 / up or down: which way the index is better',
    band String COMMENT '等级 / green, blue, yellow, orange or red; empty without a score or thresholds'
)
AS
WITH
    -- The points of the line to a score: (figure, score).
    (x, line) -> (arrayLastIndex(p -> p.1 <= x, line) AS leg, multiIf(leg = 0, line[1].2, leg = length(line), line[leg].2,
        line[leg].2 + (line[leg + 1].2 - line[leg].2) * (x - line[leg].1) / (line[leg + 1].1 - line[leg].1))).2 AS between,
    figures AS
    (
        SELECT
            grain, period, region, any(region_name) AS name, any(level) AS region_level, any(parent) AS above,
            mapFromArrays(groupArrayIf(indicator, isNotNull(value)), groupArrayIf(assumeNotNull(value), isNotNull(value))) AS values,
            mapFromArrays(groupArrayIf(indicator, isNotNull(target) AND isNotNull(year_to_date)),
                groupArrayIf((assumeNotNull(year_to_date), assumeNotNull(target)), isNotNull(target) AND isNotNull(year_to_date))) AS goals
        FROM indicator_rollup
        WHERE indicator IN (SELECT component FROM index_weight FINAL WHERE _deleted = 0)
        GROUP BY grain, period, region
    ),
    -- (component, title, position, weight, method, zero, full, line) of each version.
    parts AS
    (
        SELECT index, version, arraySort(x -> x.3, groupArray((component, title, position, weight, toString(method), ifNull(zero, 0), ifNull(full, 0),
            JSONExtract(points, 'Array(Tuple(Float64, Float64))')))) AS components
        FROM index_weight FINAL
        WHERE _deleted = 0
        GROUP BY index, version
    ),
    definitions AS
    (
        SELECT toString(v.grain) AS grain, arraySort(x -> x.1, groupArray((v.sequence, v.index, v.title_zh, v.version, toUInt8(v.demonstration),
            v.valid_from, ifNull(v.valid_to, toDate32('2299-12-31')), toString(v.missing), v.min_coverage, p.components,
            toString(v.direction), [v.green, v.blue, v.yellow, v.orange]))) AS all
        FROM index_version AS v FINAL
        INNER JOIN parts AS p ON p.index = v.index AND p.version = v.version
        WHERE v._deleted = 0
        GROUP BY grain
    ),
    -- The components' figures among those at hand, and their scores; nothing where there is none.
    (d, at_hand, goals) -> arrayMap(c -> multiIf(
        c.5 = 'target', if(mapContains(goals, c.1), toNullable(goals[c.1].1), NULL),
        mapContains(at_hand, c.1), toNullable(at_hand[c.1]), NULL), d.10) AS figures_of,
    (d, at_hand, goals) -> arrayMap((c, x) -> multiIf(
        isNull(x), NULL,
        c.5 IN ('min_max', 'target'), 100 * least(greatest((x - c.6) / nullIf(if(c.5 = 'target', goals[c.1].2, c.7) - c.6, 0), 0), 1),
        c.5 = 'piecewise', between(assumeNotNull(x), c.8),
        x), d.10, figures_of(d, at_hand, goals)) AS scores_of,
    (d, scores) -> arraySum((c, s) -> if(isNull(s), 0, c.4), d.10, scores) AS weight_there,
    (d, scores) -> if(weight_there(d, scores) <= 0 OR d.8 = 'none' AND arrayExists(s -> isNull(s), scores)
            OR d.8 = 'reweight' AND weight_there(d, scores) < d.9 - 1e-9, NULL,
        arraySum((c, s) -> c.4 * ifNull(s, 0), d.10, scores) / if(d.8 = 'reweight', weight_there(d, scores), 1)) AS index_of,
    computed AS
    (
        SELECT
            f.*,
            arrayFilter(d -> d.6 <= toDate32(f.period) AND d.7 > toDate32(f.period), s.all) AS in_force,
            -- Lists of one give a value a name: what is written twice is analysed twice.
            arrayFold((known, d) -> arrayMap(r -> if(isNull(r), known, mapUpdate(known, map(d.2, assumeNotNull(r)))),
                arrayMap(scores -> index_of(d, scores), [scores_of(d, known, f.goals)]))[1], in_force, f.values) AS known
        FROM figures AS f
        INNER JOIN definitions AS s ON s.grain = f.grain
    ),
    one AS
    (
        SELECT
            *,
            weight_there(d, scores) AS there,
            index_of(d, scores) AS result,
            if(d.11 = 'down', -1, 1) AS sign
        FROM
        (
            SELECT grain, period, region, name, region_level, above, d, figures_of(d, known, goals) AS inputs, scores_of(d, known, goals) AS scores
            FROM computed
            ARRAY JOIN in_force AS d
        )
    )
SELECT
    d.2 AS index, d.3 AS title, d.4 AS version, d.5 AS demonstration, region, name AS region_name, region_level AS level, above AS parent, grain, period,
    c.1 AS component, c.2 AS component_title, c.3 AS position, c.4 AS weight, c.5 AS method,
    x AS value,
    s AS component_score,
    if(isNull(s) AND d.8 = 'reweight', 0, c.4 / if(d.8 = 'reweight', there, 1)) AS share,
    if(isNull(result), NULL, share * ifNull(s, 0)) AS contribution,
    isNotNull(s) AS present,
    there AS covered,
    d.8 AS missing_rule,
    result AS score,
    d.11 AS direction,
    multiIf(isNull(result) OR arrayAll(t -> isNull(t), d.12), '', sign * result >= sign * d.12[1], 'green', sign * result >= sign * d.12[2], 'blue',
        sign * result >= sign * d.12[3], 'yellow', sign * result >= sign * d.12[4], 'orange', 'red') AS band
FROM one
ARRAY JOIN d.10 AS c, inputs AS x, scores AS s
WHERE there > 0
COMMENT '综合指数构成 / Components of composite indexes: the figure, score, weight and contribution of each, for every index, region and period'
