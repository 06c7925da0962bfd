-- How each figure of indicator_rollup goes on over time.
--
-- The period before is the one next to it in the calendar, not the last that has a figure: over a gap there is no change. The
-- same period a year before is the same month, quarter, day of the month and so on; of weeks, the same number of the ISO
-- year, and 29 February has none. Codes are compared: a region whose boundaries changed under its code is held against what
-- the code meant before.
-- cumulative and moving_average follow the indicator's declaration. What periods cannot make (distinct counts, bare
-- percentages) stays empty rather than being averaged, and so does the moving average of a worst class.
CREATE OR REPLACE VIEW indicator_trend
(
    indicator String COMMENT '指标代码 / Indicator',
    title String COMMENT '指标名称 / Chinese title of the indicator',
    unit String COMMENT '计量单位 / Unit',
    region String COMMENT '行政区划 / Region',
    region_name String COMMENT '区划名称 / Name of the region at the time',
    level String COMMENT '层级 / Level of the region',
    parent String COMMENT '上级区划 / Region above it at the time',
    grain String COMMENT '时间粒度 / Length of the period',
    period DateTime64(3, 'Asia/Shanghai') COMMENT '期间起始 / Start of the period',
    value Nullable(Float64) COMMENT '汇总值 / Figure of the period, as in indicator_rollup',
    numerator Nullable(Float64) COMMENT '分子合计 / Sum of numerators',
    denominator Nullable(Float64) COMMENT '分母合计 / Sum of denominators',
    from_below UInt8 COMMENT '来自下级 / 1 when the figure comes from lower levels or parts',
    children_reporting UInt64 COMMENT '已报下级数 / Regions directly below that have figures in it',
    children UInt64 COMMENT '下级总数 / Regions directly below that there were in the period',
    coverage Nullable(Float64) COMMENT '覆盖率 / children_reporting by children, for figures from below; empty otherwise',
    cumulative Nullable(Float64) COMMENT '本年累计 / Figure of the year up to the period, by the aggregation over time; empty where periods cannot be put together',
    periods UInt64 COMMENT '已有期数 / Periods of the year up to this one that have a figure',
    periods_due UInt64 COMMENT '应有期数 / Periods of the year up to this one that there are',
    previous Nullable(Float64) COMMENT '上期值 / Figure of the period just before; empty when that one has none',
    change Nullable(Float64) COMMENT '环比增量 / value less previous',
    change_rate Nullable(Float64) COMMENT '环比增长率 / change by previous',
    previous_numerator Nullable(Float64) COMMENT '上期分子 / Sum of numerators of the period just before',
    previous_denominator Nullable(Float64) COMMENT '上期分母 / Sum of denominators of the period just before',
    year_ago Nullable(Float64) COMMENT '上年同期值 / Figure of the same period a year before; empty when that one has none',
    year_change Nullable(Float64) COMMENT '同比增量 / value less year_ago',
    year_change_rate Nullable(Float64) COMMENT '同比增长率 / year_change by year_ago',
    moving_average Nullable(Float64) COMMENT '三期移动平均 / Mean of this period and the two before; of a ratio, the ratio of their sums; empty unless all three have a figure',
    target Nullable(Float64) COMMENT '年度目标 / Target of the year',
    distance_to_target Nullable(Float64) COMMENT '距目标 / target less what the year has reached so far; negative when it is past',
    distance_to_time Nullable(Float64) COMMENT '距时间进度 / completion_rate less elapsed_share of indicator_rollup; negative when behind time'
)
AS
WITH
    placed AS
    (
        SELECT
            r.*, ifNull(i.aggregation, '') AS how, ifNull(i.over_time, '') AS over_time,
            toDate32(r.period) AS first_day,
            if(r.grain = 'week', toInt64(toISOYear(r.period)), r.year) AS of_year,
            toInt64(multiIf(toDayOfMonth(first_day) > 20, 2, toDayOfMonth(first_day) > 10, 1, 0)) AS third,
            -- Number of the period within its year, from 1.
            toInt64(multiIf(
                r.grain = 'hour', (toDayOfYear(first_day) - 1) * 24 + toHour(r.period) + 1,
                r.grain = 'day', toDayOfYear(first_day),
                r.grain = 'week', toISOWeek(r.period),
                r.grain = 'xun', (toMonth(first_day) - 1) * 3 + third + 1,
                r.grain = 'month', toMonth(first_day),
                r.grain = 'quarter', toQuarter(first_day),
                r.grain = 'half', if(toMonth(first_day) > 6, 2, 1),
                1)) AS number,
            -- Number of the period without a break from year to year.
            toInt64(multiIf(
                r.grain = 'hour', toInt64(toInt32(first_day)) * 24 + toHour(r.period),
                r.grain = 'day', toInt32(first_day),
                r.grain = 'week', intDiv(toInt32(first_day) + 719165, 7),
                r.grain = 'xun', r.year * 36 + number,
                r.grain = 'month', r.year * 12 + number,
                r.grain = 'quarter', r.year * 4 + number,
                r.grain = 'half', r.year * 2 + number,
                r.year)) AS n,
            -- Same period of any year: days and hours by month and day, because a leap day shifts their numbers.
            multiIf(
                r.grain = 'hour', (toInt64(toMonth(first_day)) * 100 + toDayOfMonth(first_day)) * 100 + toHour(r.period),
                r.grain = 'day', toInt64(toMonth(first_day)) * 100 + toDayOfMonth(first_day),
                number) AS season
        FROM indicator_rollup AS r
        LEFT JOIN (SELECT code, toString(aggregation) AS aggregation, toString(time_aggregation) AS over_time FROM indicator FINAL WHERE _deleted = 0) AS i ON i.code = r.indicator
    ),
    compared AS
    (
        SELECT
            *,
            count(value) OVER so_far AS periods,
            multiIf(
                over_time = 'sum', sum(value) OVER so_far,
                over_time = 'mean', avg(value) OVER so_far,
                over_time = 'max', max(value) OVER so_far,
                over_time = 'ratio', if(countIf(isNotNull(value) AND (isNull(numerator) OR isNull(denominator))) OVER so_far = 0,
                    sum(numerator) OVER so_far / nullIf(sum(denominator) OVER so_far, 0), NULL),
                over_time = 'last', value,
                NULL) AS cumulative,
            any(value) OVER before AS previous,
            any(numerator) OVER before AS previous_numerator,
            any(denominator) OVER before AS previous_denominator,
            any(value) OVER year_before AS year_ago,
            multiIf(
                count(value) OVER three < 3, NULL,
                how IN ('sum', 'mean', 'last'), avg(value) OVER three,
                how = 'ratio' AND count(numerator) OVER three = 3 AND count(denominator) OVER three = 3,
                    sum(numerator) OVER three / nullIf(sum(denominator) OVER three, 0),
                NULL) AS moving_average
        FROM placed
        WINDOW
            so_far AS (PARTITION BY indicator, region, grain, of_year ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
            before AS (PARTITION BY indicator, region, grain ORDER BY n RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
            three AS (PARTITION BY indicator, region, grain ORDER BY n RANGE BETWEEN 2 PRECEDING AND CURRENT ROW),
            year_before AS (PARTITION BY indicator, region, grain, season ORDER BY of_year RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING)
    )
SELECT
    indicator, title, unit, region, region_name, level, parent, grain, period, value, numerator, denominator, from_below,
    children_reporting, children,
    if(from_below = 1 AND children > 0, children_reporting / children, NULL) AS coverage,
    cumulative, periods, toUInt64(number) AS periods_due,
    previous, value - previous AS change, change / nullIf(previous, 0) AS change_rate, previous_numerator, previous_denominator,
    year_ago, value - year_ago AS year_change, year_change / nullIf(year_ago, 0) AS year_change_rate,
    moving_average, target, target - year_to_date AS distance_to_target, completion_rate - elapsed_share AS distance_to_time
FROM compared
COMMENT '指标趋势 / Indicator trend: each figure against the period before, the year before, the year so far and its target'
