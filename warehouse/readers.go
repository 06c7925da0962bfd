package warehouse

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

// Reader is somebody who reads the warehouse for BI and sees a part of it: the rows of one region and what lies below it, and the
// columns up to a sensitivity.
type Reader struct {
	Name  string // lower-case letters, digits, dashes; part of the names of role and user
	Title string // for people
	// Region is the code of the region at the top of what the reader sees; "" for all rows.
	Region string
	// Sensitivity is the highest that the reader may see, one of the schemas' words. Fields that say nothing are internal.
	Sensitivity string
	// Sources are those whose account (ledger, runs, freshness, what waits in quarantine) a reader of one region may see. A
	// source belongs to no region, so without any the reader sees none of it.
	Sources []string

	MaxTime          time.Duration // of one query
	MaxMemoryBytes   int64         // of one query
	MaxRows          int64         // of one result
	QueriesPerHour   int64         // 0 for no bound
	QueryTimePerHour time.Duration // of all queries together; 0 for no bound
}

// Sensitivities in their order.
var sensitivities = []string{schemas.Public, schemas.Internal, schemas.Personal, schemas.SensitivePersonal}

func (r Reader) mayRead(sensitivity string) bool {
	if sensitivity == "" {
		sensitivity = schemas.Internal
	}
	return slices.Index(sensitivities, sensitivity) <= slices.Index(sensitivities, r.Sensitivity)
}

// periodEnd is the last day of an observation's period, on which observation_placed looks for its region in the tree.
const periodEnd = "multiIf(grain = 'week', addDays(toDate32(period), 6), " +
	"grain = 'xun', if(toDayOfMonth(toDate32(period)) > 20, toLastDayOfMonth(toDate32(period)), addDays(toDate32(period), 9)), " +
	"grain = 'month', toLastDayOfMonth(toDate32(period)), grain = 'quarter', addDays(addMonths(toDate32(period), 3), -1), " +
	"grain = 'half', addDays(addMonths(toDate32(period), 6), -1), grain = 'year', addDays(addYears(toDate32(period), 1), -1), toDate32(period))"

// placing says which rows of a table or view a reader of one region sees: those whose region lay in the reader's on one of the days.
// The days are those on which the views place the rows, so that a figure of the reader's region is made of all of its rows.
type placing struct {
	region string   // column; "" when the rows are of no region
	days   []string // Date32 expressions, each may be NULL; none stands for today
	span   [2]string
	// settled leaves out the periods that ended before the reader's region had the bounds that it has today.
	settled bool
	except  string // condition of rows that are left out although their region is right, with {region} for the reader's own
	// parents places rows without a region of their own by the rows that they belong to, in the order in which they are tried.
	parents []parent
	source  string // column with the source, for rows that belong to a source
	total   bool   // rows with an empty source are the total of what the reader sees
	open    bool   // reference data that everybody may see
}

// parent says that column, of the rows for which condition holds, names a row of table by its key.
type parent struct{ column, condition, table, key string }

// tablePlacings holds the tables that the rule does not fit: a field region, and the schema's time as the day.
var tablePlacings = map[string]placing{
	"observation":   {region: "region", days: []string{periodEnd}},
	"air_reading":   {region: "region", days: []string{"toLastDayOfMonth(toDate32(at))"}},
	"hotline_case":  {region: "region", days: []string{"toLastDayOfMonth(toDate32(opened_at))", "toLastDayOfMonth(toDate32(due_at))", "toLastDayOfMonth(toDate32(closed_at))"}},
	"water_reading": {region: "region", days: []string{"toLastDayOfMonth(month)"}},

	"project_media":    {parents: []parent{{"project_id", "", "project", "project_id"}}},
	"project_progress": {parents: []parent{{"project_id", "", "project", "project_id"}}},
	"task_progress":    {parents: []parent{{"task_id", "", "task", "task_id"}}},
	// An event carries the region of the body that acts. It belongs to what it is about: how long a step took is a figure of all of
	// its events.
	"loop_event": {parents: []parent{
		{"object_id", "object = 'task'", "task", "task_id"}, {"object_id", "object = 'project'", "project", "project_id"}, {"object_id", "object = 'issue'", "issue", "issue_id"}}},

	"period_figure":  {region: "region", days: []string{periodEnd}},
	"variance_event": {region: "region", days: []string{periodEnd}},

	// Definitions and lists that say nothing of any region's figures.
	"data_sharing": {open: true}, "index_version": {open: true}, "index_weight": {open: true}, "indicator_version": {open: true},
	"calendar_day": {open: true}, "indicator": {open: true}, "evaluation_item": {open: true}, "region": {open: true}, "region_extent": {open: true}, "region_share": {open: true},

	"ledger": {source: "source"}, "run": {source: "source"}, "quarantine": {source: "source"},
}

// viewPlacings says it of each view. What is missing here no reader of one region may read, and a test fails.
//
// A view that spreads rows to the regions above them has figures for those that are made of the reader's rows only: they are no
// figures of theirs, and the condition on the view takes them away.
var viewPlacings = map[string]placing{
	"observation_current":    {region: "region", days: []string{periodEnd}},
	"observation_placed":     {region: "region", days: []string{periodEnd}},
	"observation_cell":       {region: "region", days: []string{periodEnd}},
	"observation_history":    {region: "region", days: []string{periodEnd}},
	"correction":             {region: "region", days: []string{periodEnd}},
	"lineage":                {region: "region", days: []string{periodEnd}},
	"indicator_rollup":       {region: "region", days: []string{periodEnd}},
	"indicator_rollup_as_of": {region: "region", days: []string{periodEnd}},
	// What a region of today had while it lay elsewhere is out of the reader's sight, and its figure would lack that.
	"indicator_rollup_today":   {region: "region", settled: true},
	"lineage_as_of":            {region: "region", days: []string{periodEnd}},
	"indicator_reconciliation": {region: "region", days: []string{periodEnd}},
	"indicator_trend":          {region: "region", days: []string{periodEnd}},
	"indicator_band":           {region: "region", days: []string{periodEnd}},
	"indicator_official":       {region: "region", days: []string{periodEnd}},
	"index_component":          {region: "region", days: []string{periodEnd}},
	"reporting_status":         {region: "region", days: []string{periodEnd}},
	"variance":                 {region: "region", days: []string{periodEnd}},
	// The siblings of the reader's own region are out of its sight, and a rank among what is left would be a wrong one.
	"indicator_ranking":   {region: "region", days: []string{periodEnd}, except: "region = {region}"},
	"index_score":         {region: "region", days: []string{periodEnd}, except: "region = {region}"},
	"evaluation_score":    {region: "region", days: []string{"period"}, except: "region = {region} AND department = ''"},
	"target_current":      {region: "region", days: []string{"due"}},
	"air_quality_hour":    {region: "region", days: []string{"toLastDayOfMonth(toDate32(at))"}},
	"air_quality_day":     {region: "region", days: []string{"toLastDayOfMonth(day)"}},
	"environment_quality": {region: "region", days: []string{"toLastDayOfMonth(month)"}},
	"hotline_performance": {region: "region", days: []string{"toLastDayOfMonth(month)"}},
	"issue_closure":       {region: "region", span: [2]string{"makeDate32(year, 1, 1)", "makeDate32(year, 12, 31)"}},
	"task_status":         {region: "region", days: []string{"due_on"}},
	"project_map":         {region: "region", days: []string{"due_on"}},
	// Their rows follow from rows that the reader sees, and are of no other region than these.
	"loop_step":      {parents: tablePlacings["loop_event"].parents},
	"ledger_balance": {source: "source", total: true},
	"freshness":      {source: "source"},
	"data_catalog":   {source: "source"},
	// Figures are those that the reader sees, so its scores of 0401, 0402 and 0502 are of its own region's.
	"data_quality_scorecard": {source: "source"},
}

// closedViews and closedTables no reader sees: rows that broke a rule, who changed what, raw bytes, configurations.
var (
	closedViews  = []string{"quarantine_open"}
	closedTables = []string{"audit", "undecodable", "shape"}
	// wholeViews are for readers of all regions only: what is out of a reader's sight would be told as missing, or not be counted.
	wholeViews = []string{"missing_link", "figure_live", "report_live"}
)

// narrowTables are those of which readers see a few columns, because a view tells them.
var narrowTables = map[string][]string{
	"run":        {"source", "trigger", "outcome", "started_at", "run", "_deleted"},
	"quarantine": {"source", "stream", "run", "rules", "status", "_deleted"},
}

// sensitiveViewColumns are columns of views that are made from fields above internal. Views have no others: a test reads all of
// them with the rights of a reader who may see what is internal.
var sensitiveViewColumns = map[string]map[string]string{
	"hotline_performance": {"repeated": schemas.Personal},
}

// placingOf says it of a table.
func placingOf(schema *schemas.Schema) placing {
	name := schema.TableName()
	if p, ok := tablePlacings[name]; ok {
		return p
	}
	field, ok := schema.Field("region")
	if !ok || field.Type.Kind != schemas.KindRegion {
		i := slices.IndexFunc(schema.Fields, func(f schemas.Field) bool { return f.Type.Kind == schemas.KindRegion })
		if i < 0 {
			return placing{}
		}
		field = schema.Fields[i]
	}
	p := placing{region: field.Name}
	if day, ok := schema.Field(schema.Time); ok {
		p.days = []string{quoteName(day.Name)}
		if day.Type.Kind == schemas.KindTimestamp {
			p.days[0] = "toDate32(" + p.days[0] + ")"
		}
	}
	return p
}

// within says on which days each region lay in a region or was it.
type within struct {
	root  string
	spans map[string][]span // by code, in order
	since time.Time         // when it got the bounds that it has today; zero for always
}

// span is a time [from, to); zero is open.
type span struct{ from, to time.Time }

func newWithin(regions []schemas.Region, root string) within {
	t := newTree(regions)
	w := within{root: root, spans: map[string][]span{}}
	for code := range t {
		changes := map[time.Time]bool{}
		t.changes(code, unknownFrom, farAway, 0, changes)
		inside := false
		for _, day := range slices.SortedFunc(maps.Keys(changes), time.Time.Compare) {
			now := slices.ContainsFunc(t.row(code, day).Path, func(i pathItem) bool { return i.Code == root })
			switch {
			case now && !inside:
				from := day
				if from.Equal(unknownFrom) {
					from = time.Time{}
				}
				w.spans[code] = append(w.spans[code], span{from: from})
			case !now && inside:
				w.spans[code][len(w.spans[code])-1].to = day
			}
			inside = now
		}
	}
	return w
}

// settledSince is the day since when area has neither come into the region nor left it: what lay within then lies within today, as a
// whole, and nothing else does. Zero is always.
func (w within) settledSince(rows []todayRow) time.Time {
	since := time.Time{}
	unsettled := func(from, to time.Time) {
		if from.Before(to) && to.After(since) {
			since = to
		}
	}
	earlier := func(a, b time.Time) time.Time {
		if b.IsZero() || a.Before(b) {
			return a
		}
		return b
	}
	for _, row := range rows {
		if !row.Lowest {
			continue
		}
		i := slices.IndexFunc(row.Steps, func(s todayStep) bool { return s.Code == w.root })
		switch {
		case i >= 0 && row.Steps[i].How == touchUnknown:
			unsettled(row.Since, row.Until)
		case i >= 0: // within today: the times when it was not
			outside := row.Since
			for _, s := range w.spans[row.Code] {
				if s.from.Before(row.Until) {
					unsettled(outside, s.from)
					outside = earlier(row.Until, s.to)
				}
			}
			unsettled(outside, row.Until)
		default:
			for _, s := range w.spans[row.Code] {
				from := s.from
				if from.Before(row.Since) {
					from = row.Since
				}
				unsettled(from, earlier(row.Until, s.to))
			}
		}
	}
	return since
}

// condition is true for rows whose region lay within on one of the days, or, with a span of days, on any of those. For rows without
// a region it is NULL, which hides them as 0 does.
func (w within) condition(p placing) string {
	region := quoteName(p.region)
	var always, sometimes []string
	for _, code := range slices.Sorted(maps.Keys(w.spans)) {
		spans := w.spans[code]
		last := spans[len(spans)-1]
		switch {
		case len(spans) == 1 && last == span{}:
			always = append(always, quoteText(code))
		case len(p.days) == 0 && p.span[0] == "":
			if last.to.IsZero() {
				always = append(always, quoteText(code))
			}
		default:
			for _, s := range spans {
				days := p.days
				if p.span[0] != "" {
					days = []string{""}
				}
				var anyDay []string
				for i, day := range days {
					begin, end := day, day
					if p.span[0] != "" {
						begin, end = p.span[0], p.span[1]
					} else if i == 0 {
						// A row without a day is where its region is now.
						begin = "ifNull(" + day + ", toDate32('2299-12-31'))"
						end = begin
					}
					var held []string
					if !s.from.IsZero() {
						held = append(held, end+" >= toDate32('"+s.from.Format(time.DateOnly)+"')")
					}
					if !s.to.IsZero() {
						held = append(held, begin+" < toDate32('"+s.to.Format(time.DateOnly)+"')")
					}
					anyDay = append(anyDay, strings.Join(held, " AND "))
				}
				sometimes = append(sometimes, region+" = "+quoteText(code)+" AND ("+strings.Join(anyDay, " OR ")+")")
			}
		}
	}
	conditions := sometimes
	if len(always) > 0 {
		conditions = append([]string{region + " IN (" + strings.Join(always, ", ") + ")"}, sometimes...)
	}
	if len(conditions) == 0 {
		return "0"
	}
	condition := strings.Join(conditions, " OR ")
	if len(conditions) > 1 {
		condition = "(" + condition + ")"
	}
	if p.except != "" {
		condition += " AND NOT (" + strings.ReplaceAll(p.except, "{region}", quoteText(w.root)) + ")"
	}
	return condition
}

// rows is the condition of the rows that a reader of one region sees; ok is false when it sees none.
func (r Reader) rows(p placing, w within, database string, set *schemas.Set) (condition string, ok bool) {
	switch {
	case p.open:
		return "", true
	case p.source != "" && len(r.Sources) > 0:
		var names []string
		for _, s := range r.Sources {
			names = append(names, quoteText(s))
		}
		if p.total {
			names = append(names, "''")
		}
		return p.source + " IN (" + strings.Join(names, ", ") + ")", true
	case p.region != "" && p.settled && !w.since.IsZero():
		return "(" + w.condition(p) + ") AND " + periodEnd + " >= toDate32(" + quoteText(w.since.Format(time.DateOnly)) + ")", true
	case p.region != "":
		return w.condition(p), true
	case len(p.parents) > 0:
		var each []string
		for _, up := range p.parents {
			schema, _ := set.Schema(up.table)
			if schema == nil {
				continue
			}
			c := up.column + " IN (SELECT " + up.key + " FROM " + quoteName(database) + "." + quoteName(up.table) + " FINAL WHERE _deleted = 0 AND " + w.condition(placingOf(schema)) + ")"
			if up.condition != "" {
				c = up.condition + " AND " + c
			}
			each = append(each, "("+c+")")
		}
		return strings.Join(each, " OR "), len(each) > 0
	}
	return "", false
}

// grant is a right to read a table or view, with the condition of its rows.
type grant struct {
	object  string
	columns []string // nil for all
	rows    string   // "" for all
}

// grants are what the reader may read.
func (r Reader) grants(database string, set *schemas.Set, today []todayRow) ([]grant, error) {
	w := within{}
	if r.Region != "" {
		if set.Regions() == nil || len(set.Regions().All()) == 0 {
			return nil, fmt.Errorf("reader %s: there are no regions", r.Name)
		}
		w = newWithin(set.Regions().All(), r.Region)
		if len(w.spans) == 0 {
			return nil, fmt.Errorf("reader %s: region %s is not known", r.Name, r.Region)
		}
		w.since = w.settledSince(today)
	}
	var out []grant
	add := func(g grant, p placing) {
		ok := true
		if r.Region != "" {
			g.rows, ok = r.rows(p, w, database, set)
		}
		if ok {
			out = append(out, g)
		}
	}
	for _, name := range set.Names() {
		schema, _ := set.Schema(name)
		name = schema.TableName()
		if slices.Contains(closedTables, name) {
			continue
		}
		g := grant{object: name}
		all := true
		for _, f := range append(slices.Clone(schema.Fields), schema.System()...) {
			narrow, isNarrow := narrowTables[name]
			if r.mayRead(f.Sensitivity) && (!isNarrow || slices.Contains(narrow, f.Name)) {
				g.columns = append(g.columns, f.Name)
			} else {
				all = false
			}
		}
		if len(g.columns) == 0 {
			continue
		}
		if all {
			g.columns = nil
		}
		add(g, placingOf(schema))
	}
	if !r.mayRead(schemas.Internal) {
		return out, nil // no view is made from public fields alone
	}
	add(grant{object: "region_path"}, placing{open: true})
	add(grant{object: "region_today"}, placing{open: true})
	for _, kept := range keptFigures {
		add(grant{object: kept.table}, placing{region: "region", days: []string{"last_day"}})
	}
	for _, view := range slices.Concat(Views, DatedViews) {
		if slices.Contains(closedViews, view) || r.Region != "" && slices.Contains(wholeViews, view) {
			continue
		}
		g := grant{object: view}
		sensitive := sensitiveViewColumns[view]
		if slices.ContainsFunc(slices.Collect(maps.Values(sensitive)), func(s string) bool { return !r.mayRead(s) }) {
			columns, err := viewColumns(view)
			if err != nil {
				return nil, err
			}
			for _, c := range columns {
				if s, ok := sensitive[c]; !ok || r.mayRead(s) {
					g.columns = append(g.columns, c)
				}
			}
		}
		add(g, viewPlacings[view])
	}
	return out, nil
}

var viewColumn = regexp.MustCompile(`(?m)^    ([a-z_0-9]+) \S.* COMMENT '`)

// viewColumns lists the columns that a view declares.
func viewColumns(view string) ([]string, error) {
	head, _, err := viewParts(view)
	if err != nil {
		return nil, err
	}
	var columns []string
	for _, m := range viewColumn.FindAllStringSubmatch(head, -1) {
		columns = append(columns, m[1])
	}
	return columns, nil
}

// ReaderRoles are the roles of readers who see a part of the warehouse. The regions are those of the set: what a region was on which
// day stands in the statements as it is now, so they are made again when the regions or the schemas have changed.
//
// A view runs with the rights of whoever asks (SQL SECURITY INVOKER, the default that the views keep), so a reader needs the tables'
// rights too and meets the tables' policies under every view. Views have policies of their own beside them.
func ReaderRoles(database string, set *schemas.Set, readers []Reader) ([]Role, error) {
	var roles []Role
	var today []todayRow
	if slices.ContainsFunc(readers, func(r Reader) bool { return r.Region != "" }) {
		today = todayRows(set.Regions().All(), nil)
	}
	for _, r := range readers {
		grants, err := r.grants(database, set, today)
		if err != nil {
			return nil, err
		}
		name := database + "_reader_" + strings.ReplaceAll(r.Name, "-", "_")
		role := Role{Name: name + "_role", User: name, For: r.describe(), Exact: true}
		on := func(object string) string { return quoteName(database) + "." + quoteName(object) }
		var objects []string
		for _, g := range grants {
			what := "SELECT"
			if g.columns != nil {
				what += "(" + strings.Join(g.columns, ", ") + ")"
			}
			role.Grants = append(role.Grants, what+" ON "+on(g.object))
			objects = append(objects, on(g.object))
		}
		if r.Region == "" {
			// The reader may have been one of a region before.
			role.Limits = append(role.Limits, "DROP ROW POLICY IF EXISTS "+quoteName(name)+" ON "+strings.Join(objects, ", "))
		}
		for _, g := range grants {
			if g.rows == "" {
				continue
			}
			// A table with any policy shows nothing to users without one, on servers that are set up so: this one is for all the
			// others. The reader's own is restrictive, so it holds whatever other policies and roles there are.
			role.Limits = append(role.Limits,
				"CREATE ROW POLICY IF NOT EXISTS "+quoteName(database+"_rows")+" ON "+on(g.object)+" USING 1 AS PERMISSIVE TO ALL",
				"CREATE ROW POLICY OR REPLACE "+quoteName(name)+" ON "+on(g.object)+" USING "+g.rows+" AS RESTRICTIVE TO "+quoteName(role.Name))
		}
		role.Limits = append(role.Limits, r.profile(name, role.Name), r.quota(name, role.Name))
		roles = append(roles, role)
	}
	return roles, nil
}

func (r Reader) describe() string {
	what := "reads what is " + r.Sensitivity
	if r.Sensitivity != schemas.Public {
		what += " or less sensitive"
	}
	if r.Region != "" {
		what += ", of the region " + r.Region + " and what lies below it"
	}
	if r.Title != "" {
		what += ": " + strings.Join(strings.Fields(r.Title), " ")
	}
	return what
}

// profile bounds one query. A setting that is CONST cannot be changed by the reader. Policies are applied after FINAL: before it, a
// record that has moved to another region would show its last version in the reader's own, because the newer one is filtered out.
func (r Reader) profile(name, role string) string {
	bound := func(setting string, value int64) string { return fmt.Sprintf("%s = %d MAX %d", setting, value, value) }
	return "CREATE SETTINGS PROFILE OR REPLACE " + quoteName(name+"_profile") + " SETTINGS readonly = 2 CONST, apply_row_policy_after_final = 1 CONST, " +
		bound("max_execution_time", int64(r.MaxTime/time.Second)) + ", " + bound("max_memory_usage", r.MaxMemoryBytes) + ", " +
		bound("max_result_rows", r.MaxRows) + " TO " + quoteName(role)
}

// quota bounds what the reader asks in an hour.
func (r Reader) quota(name, role string) string {
	var bounds []string
	if r.QueriesPerHour > 0 {
		bounds = append(bounds, fmt.Sprintf("queries = %d", r.QueriesPerHour))
	}
	if r.QueryTimePerHour > 0 {
		bounds = append(bounds, fmt.Sprintf("execution_time = %d", r.QueryTimePerHour/time.Second))
	}
	limits := "TRACKING ONLY"
	if len(bounds) > 0 {
		limits = "MAX " + strings.Join(bounds, ", ")
	}
	return "CREATE QUOTA OR REPLACE " + quoteName(name+"_quota") + " KEYED BY user_name FOR INTERVAL 1 hour " + limits + " TO " + quoteName(role)
}
