-- What was reported for each region, or for a part of it, by one feed: the current observations, with subjects put together. What
-- analysts ask reads this and not the single subjects.
CREATE OR REPLACE VIEW observation_cell
(
    indicator String COMMENT '指标代码 / Indicator',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    last_day Date32 COMMENT '期间末日 / Last day of the period',
    region String COMMENT '行政区划 / Region that the figures are about',
    member String COMMENT '非区划成员 / Part of the region that is itself no region; empty for the region as a whole',
    of_subjects UInt8 COMMENT '按对象 / 1 when the figures are of subjects within the region, 0 when there is one of the region or part as a whole',
    feed String COMMENT '采集方式 / Feed by which they came',
    rank UInt8 COMMENT '采集优先级 / How near the feed is to the source: 3 source, 2 direct, 1 manual, 0 other',
    figures UInt64 COMMENT '数值个数 / How many figures there are',
    total Float64 COMMENT '合计 / Sum of the values',
    greatest Float64 COMMENT '最大值 / Largest value',
    newest Float64 COMMENT '最新值 / Value that became known last',
    without_parts UInt64 COMMENT '缺分子分母个数 / Figures without numerator or denominator',
    numerators Float64 COMMENT '分子合计 / Sum of numerators',
    denominators Float64 COMMENT '分母合计 / Sum of denominators',
    weighted Float64 COMMENT '加权合计 / Sum of values times weights, for means',
    weight Float64 COMMENT '权重合计 / Sum of weights: the denominator, or 1',
    steps Array(Tuple(code String, below String, unit String)) COMMENT '汇总路径 / See region_path',
    aggregation String COMMENT '跨区划汇总 / How values of lower regions make the upper region''s, by the indicator''s definition',
    subjects Array(UInt64) COMMENT '对象 / Hashes of the subjects, of indicators that count different ones',
    source String COMMENT '来源 / Source of the figure that became known last',
    known_at DateTime64(6, 'UTC') COMMENT '获知时间 / When the newest of the figures was read'
)
AS
SELECT
    f.indicator AS indicator, toString(f.grain) AS grain, f.period AS period, f.last_day AS last_day,
    f.code AS region, f.member AS member, f.of_subjects AS of_subjects, toString(f.feed) AS feed,
    toUInt8(transform(toString(f.feed), ['manual', 'direct', 'source'], [1, 2, 3], 0)) AS rank,
    f.figures AS figures, f.total AS total, f.greatest AS greatest, f.newest AS newest, f.without_parts AS without_parts,
    f.numerators AS numerators, f.denominators AS denominators, f.weighted AS weighted, f.weight AS weight,
    if(empty(p.versions), [(f.code, '', '')], arrayFirst(x -> x.1 <= f.last_day, p.versions).2) AS steps,
    ifNull(i.aggregation, '') AS aggregation,
    f.subjects AS subjects, toString(f.source) AS source, f.known_at AS known_at
FROM
(
    SELECT
        indicator, grain, period, toString(region) AS code, member, subject != '' AS of_subjects, feed,
        multiIf(
            grain = 'week', addDays(toDate32(period), 6),
            grain = 'xun', if(toDayOfMonth(period) > 20, toLastDayOfMonth(toDate32(period)), addDays(toDate32(period), 9)),
            grain = 'month', toLastDayOfMonth(toDate32(period)),
            grain = 'quarter', addDays(addMonths(toDate32(period), 3), -1),
            grain = 'half', addDays(addMonths(toDate32(period), 6), -1),
            grain = 'year', addDays(addYears(toDate32(period), 1), -1),
            toDate32(period)) AS last_day,
        count() AS figures, sum(value) AS total, max(value) AS greatest, argMax(value, _extracted_at) AS newest,
        countIf(numerator IS NULL OR denominator IS NULL) AS without_parts,
        sum(ifNull(numerator, 0)) AS numerators, sum(ifNull(denominator, 0)) AS denominators,
        sum(value * ifNull(denominator, 1)) AS weighted, sum(ifNull(denominator, 1)) AS weight,
        groupUniqArrayIf(sipHash64(subject), subject != '' AND indicator IN (SELECT code FROM indicator FINAL WHERE _deleted = 0 AND aggregation = 'distinct')) AS subjects,
        argMax(_source, _extracted_at) AS source, max(_extracted_at) AS known_at
    FROM
    (
        SELECT *, row_number() OVER (PARTITION BY indicator, region, member, subject, grain, period, feed ORDER BY _version DESC, _offset DESC, _index DESC) AS age
        FROM observation
    )
    WHERE age = 1 AND _deleted = 0
    GROUP BY indicator, grain, period, region, member, of_subjects, feed
) AS f
LEFT JOIN
(
    SELECT toString(code) AS code, arrayReverseSort(x -> x.1, groupArray((since, steps))) AS versions
    FROM region_path FINAL
    WHERE _deleted = 0
    GROUP BY code
) AS p ON p.code = f.code
LEFT JOIN (SELECT code, toString(aggregation) AS aggregation FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = f.indicator
COMMENT '报送单元 / Observation cells: current observations by region, part and feed, subjects put together'
