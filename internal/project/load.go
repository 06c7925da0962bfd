package project

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/problem"
	"github.com/headwater-data/headwater/internal/yamlfile"
	"github.com/headwater-data/headwater/pipeline/transform"
	"github.com/headwater-data/headwater/schemas"
)

// The bounds of a project's files.
const (
	maxFileBytes   = 4<<20 + 1 // one byte more than yamlfile takes, so that it says so itself
	maxRegionBytes = 64 << 20
	maxTableBytes  = 17 << 20 // more than transform.ReadTable takes, for the same reason
	maxFiles       = 5000     // in one folder
)

// Load reads and checks the project in dir with the connectors of the registry. It touches no server and fetches no secret.
// The list holds every problem, in the order of files and lines; when it is not empty the Project must only be looked at, not
// run, but for what Sound leaves of it. The Project is nil only when there is no headwater.yaml to read.
func Load(dir string, registry *connectors.Registry) (*Project, problem.List) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, problem.List{{File: dir, Message: "the folder's name cannot be made absolute"}}
	}
	l := &loader{p: &Project{Dir: abs}, registry: registry, files: map[string]*sourceFile{}}
	if !l.main() {
		l.problems.Sort()
		return nil, l.problems
	}
	l.schemas()
	l.measures()
	l.sources()
	l.readers()
	l.mappings()
	l.taskLinks()
	l.problems = slices.Compact(l.sorted())
	l.p.faulty = map[string]bool{}
	for _, p := range l.problems {
		if strings.HasPrefix(p.File, sourcesFolder+"/") {
			l.p.faulty[p.File] = true
		} else {
			l.p.unsound = true
		}
	}
	return l.p, l.problems
}

type loader struct {
	p        *Project
	registry *connectors.Registry
	problems problem.List
	doc      *yamlfile.Document     // headwater.yaml
	files    map[string]*sourceFile // sources' files by source name
}

// sourceFile is a source's file while it is being checked.
type sourceFile struct {
	name   string
	doc    *yamlfile.Document
	source *Source
	config SourceConfig
}

func (l *loader) sorted() problem.List {
	l.problems.Sort()
	return l.problems
}

func (l *loader) add(p problem.Problem, message, fix string) {
	p.Message, p.Fix = message, fix
	l.problems = append(l.problems, p)
}

// read returns a file of the project, named relative to it.
func (l *loader) read(name string, limit int64) ([]byte, bool) {
	data, err := readBounded(filepath.Join(l.p.Dir, filepath.FromSlash(name)), limit)
	if err != nil {
		fix := ""
		if errors.Is(err, fs.ErrPermission) {
			fix = "let the user of this program read it"
		}
		l.add(problem.Problem{File: name}, "the file cannot be read: "+reason(err).Error(), fix)
		return nil, false
	}
	return data, true
}

// list returns the files in a folder of the project whose names end so, relative to the project. A folder that is not there
// is empty.
func (l *loader) list(folder string, extensions ...string) []string {
	entries, err := os.ReadDir(filepath.Join(l.p.Dir, folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.add(problem.Problem{File: folder}, "the folder cannot be read: "+reason(err).Error(), "")
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains(extensions, filepath.Ext(e.Name())) {
			continue
		}
		names = append(names, folder+"/"+e.Name())
	}
	if len(names) > maxFiles {
		l.add(problem.Problem{File: folder}, fmt.Sprintf("the folder has more than %d files", maxFiles), "split the project")
		names = names[:maxFiles]
	}
	return names
}

var slug = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
var streamName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$`)
var keyName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`) // as in mask: hash:NAME
var topicName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,180}$`)
var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
var hostPort = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$`)

const slugFix = "use lower-case letters, digits and dashes, at most 63"

// main reads headwater.yaml. It reports whether there is one.
func (l *loader) main() bool {
	p := l.p
	data, err := readBounded(filepath.Join(p.Dir, File), maxFileBytes)
	if err != nil {
		fix := ""
		if errors.Is(err, fs.ErrNotExist) {
			fix = "make a project with headwater init"
		}
		l.add(problem.Problem{File: File}, "the file cannot be read: "+reason(err).Error(), fix)
		return false
	}
	doc, problems := yamlfile.Decode(File, data, &p.node)
	l.doc = doc
	l.problems = append(l.problems, problems...)
	if len(problems) > 0 {
		p.config = Config{}.withDefaults()
	} else {
		var c Config
		l.problems = append(l.problems, p.node.With(p.references(false)).Decode(&c)...)
		p.config = c.withDefaults()
		if c.Project != "" && !slug.MatchString(c.Project) {
			l.add(doc.At("project"), "not a project's name", slugFix)
		}
		l.servers(doc, c, p.config)
	}
	c := p.config
	p.Name, p.Title, p.Log, p.Limits = c.Project, cmp.Or(c.Title, c.Project), c.Log, c.Limits
	p.State = p.path(c.State)
	if p.Zone, err = time.LoadLocation(c.TimeZone); err != nil {
		l.add(doc.At("time_zone"), "unknown time zone", "use a name such as Asia/Shanghai")
		p.Zone = time.UTC
	}
	return true
}

// servers checks what headwater.yaml says about broker, warehouse, keys and limits: as written, and with defaults.
func (l *loader) servers(doc *yamlfile.Document, written, c Config) {
	given := func(section, key string) (problem.Problem, bool) {
		at := doc.At(section, key)
		return at, at != doc.At(section)
	}
	for i, a := range c.Broker.Addresses {
		if !hostPort.MatchString(a) {
			l.add(doc.At("broker", "addresses", i), "not an address", "write host:port, such as kafka.example.org:9092")
		}
	}
	if len(c.Broker.Addresses) == 0 {
		for _, key := range []string{"user", "password", "mechanism", "tls", "replication"} {
			if at, ok := given("broker", key); ok {
				l.add(at, "the embedded broker takes no "+key, "give addresses, or remove it")
			}
		}
	} else if c.Broker.User != "" && !c.Broker.Password.IsSet() {
		l.add(doc.At("broker", "user"), "a user without a password", "add password: ${env:NAME}")
	}
	if c.Broker.Session < time.Second || c.Broker.Session > 5*time.Minute {
		l.add(doc.At("broker", "session"), "session must lie between 1s and 5m", "6s is the least that Kafka allows by default")
	}
	if *c.Broker.Retention < 0 || *c.Broker.Retention > 0 && *c.Broker.Retention < time.Hour {
		l.add(doc.At("broker", "retention"), "must be 1h at least", "0 keeps batches for ever")
	}
	if !topicName.MatchString(c.Broker.TopicPrefix) {
		l.add(doc.At("broker", "topic_prefix"), "not the beginning of a topic's name", "use letters, digits, dots, dashes and underscores")
	}
	if c.Warehouse.Address == "" {
		for _, key := range []string{"user", "password", "tls"} {
			if at, ok := given("warehouse", key); ok {
				l.add(at, "the embedded warehouse takes no "+key, "give an address, or remove it")
			}
		}
	} else if !hostPort.MatchString(c.Warehouse.Address) {
		l.add(doc.At("warehouse", "address"), "not an address", "write host:port of the HTTP interface, such as clickhouse.example.org:8123")
	}
	if !databaseName.MatchString(c.Warehouse.Database) {
		l.add(doc.At("warehouse", "database"), "not a database's name", "use letters, digits and underscores")
	}
	for name := range c.Keys {
		if !keyName.MatchString(name) {
			l.add(doc.At("keys", name), "not a key's name", "use lower-case letters, digits, dashes and underscores, at most 32")
		}
	}
	if at, ok := given("hashing", "key"); ok && !c.hasKey(c.Hashing.Key) {
		l.add(at, fmt.Sprintf("no key %q under keys:", c.Hashing.Key), "add it there, or name one that is there")
	}
	for i, name := range c.Hashing.SM3 {
		if !c.hasKey(name) {
			l.add(doc.At("hashing", "sm3", i), fmt.Sprintf("no key %q under keys:", name), "add it there, or name one that is there")
		}
	}
	for _, t := range []struct {
		section string
		tls     *TLSConfig
	}{{"broker", c.Broker.TLS}, {"warehouse", c.Warehouse.TLS}} {
		if t.tls != nil && (t.tls.Cert == "") != (t.tls.Key == "") {
			l.add(doc.At(t.section, "tls"), "cert and key belong together", "give both or none")
		}
	}
	// A zero that stands in the file must not silently become the default.
	for _, limit := range []struct {
		section, key string
		value, max   int
	}{
		{"broker", "partitions", written.Broker.Partitions, 1000}, {"broker", "replication", written.Broker.Replication, 16},
		{"limits", "readers", written.Limits.Readers, 256}, {"limits", "in_flight_mib", written.Limits.InFlightMiB, 65536},
		{"limits", "flush_rows", written.Limits.FlushRows, 1_000_000},
	} {
		if at, ok := given(limit.section, limit.key); ok && (limit.value < 1 || limit.value > limit.max) {
			l.add(at, fmt.Sprintf("must be from 1 to %d", limit.max), "")
		}
	}
	if c.Limits.FlushWait < 0 || c.Limits.FlushWait > time.Hour {
		l.add(doc.At("limits", "flush_wait"), "must be from 0s to 1h", "")
	}
}

// schemas reads the project's schemas, code lists and regions on top of the standard ones.
func (l *loader) schemas() {
	var files []schemas.File
	for _, name := range append(l.list("schemas", ".yaml", ".yml"), l.list("reference", ".yaml", ".yml")...) {
		if data, ok := l.read(name, maxFileBytes); ok {
			files = append(files, schemas.File{Name: name, Data: data})
		}
	}
	set, problems := schemas.Load(schemas.Standard(), files...)
	l.problems = append(l.problems, problems...)
	if set == nil {
		set = schemas.Standard()
	}
	for _, name := range l.list("reference", ".csv") {
		if name != ownRegions && name != ownExtents && name != ownShares && name != ownCalendar {
			l.add(problem.Problem{File: name}, "only regions.csv, extents.csv, shares.csv and calendar.csv are known here", "regions go into "+ownRegions+", boxes around them into "+ownExtents+", shares of divided ones into "+ownShares+", workdays and holidays into "+ownCalendar+", code lists into reference/NAME.yaml (headwater reference import makes both), lookup tables into another folder")
		}
	}
	if regions := l.regions(); regions != nil {
		set = set.WithRegions(regions)
	}
	shares := func(r io.Reader, name string) ([]schemas.Share, problem.List) {
		return schemas.ReadShares(r, name, set.Regions())
	}
	l.p.set = set.WithExtents(l.extents(set.Regions())).WithShares(ownList(l, ownShares, shares)).WithCalendar(ownList(l, ownCalendar, schemas.ReadCalendar))
}

// The lists that a project may have in reference beside its regions, each beside what is built in.
const (
	ownShares   = "reference/shares.csv"   // how much of a divided region each of its successors took over
	ownExtents  = "reference/extents.csv"  // boxes around regions
	ownCalendar = "reference/calendar.csv" // workdays and holidays
)

// ownList reads one of these, nil when the project has none.
func ownList[T any](l *loader, name string, read func(r io.Reader, name string) ([]T, problem.List)) []T {
	if _, err := os.Stat(filepath.Join(l.p.Dir, filepath.FromSlash(name))); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	data, ok := l.read(name, maxRegionBytes)
	if !ok {
		return nil
	}
	list, problems := read(bytes.NewReader(data), name)
	l.problems = append(l.problems, problems...)
	return list
}

// extents reads the project's boxes.
func (l *loader) extents(regions *schemas.Regions) []schemas.Extent {
	extents := ownList(l, ownExtents, schemas.ReadExtents)
	known := map[string]bool{}
	for _, r := range regions.All() {
		known[r.Code] = true
	}
	for _, e := range extents {
		if !known[e.Code] {
			l.add(problem.Problem{File: ownExtents}, fmt.Sprintf("no region has had the code %q", e.Code), "headwater reference import brings the regions of other provinces")
		}
	}
	return extents
}

// ownRegions is where a project keeps its list of regions.
const ownRegions = "reference/regions.csv"

// regions reads the project's list of regions, nil when it has none: the one in reference, or that which headwater.yaml
// names.
func (l *loader) regions() *schemas.Regions {
	own := filepath.Join(l.p.Dir, filepath.FromSlash(ownRegions))
	_, err := os.Stat(own)
	name, file := ownRegions, own
	at := problem.Problem{File: ownRegions}
	if named := l.p.config.Reference.Regions; named != "" {
		at = l.doc.At("reference", "regions")
		if err == nil {
			l.add(at, "there is also "+ownRegions, "keep one of the two")
			return nil
		}
		name, file = named, l.p.path(named)
	} else if err != nil {
		return nil
	}
	data, err := readBounded(file, maxRegionBytes)
	if err != nil {
		fix := "name it relative to the project's folder"
		l.add(at, fmt.Sprintf("the list of regions %s cannot be read: %v", name, reason(err)), fix)
		return nil
	}
	regions, problems := schemas.ImportRegions(bytes.NewReader(data), name)
	l.problems = append(l.problems, problems...)
	return regions
}

// measures reads the project's indicators and indexes.
func (l *loader) measures() {
	files := map[string][]schemas.File{}
	for _, folder := range []string{"indicators", "indexes"} {
		for _, name := range l.list(folder, ".yaml", ".yml") {
			if data, ok := l.read(name, maxFileBytes); ok {
				files[folder] = append(files[folder], schemas.File{Name: name, Data: data})
			}
		}
	}
	measures, problems := schemas.LoadMeasures(l.p.set, files["indicators"], files["indexes"])
	l.problems = append(l.problems, problems...)
	l.p.measures = measures
	for _, share := range l.p.set.Shares() {
		if share.Indicator != "" && !slices.ContainsFunc(measures.Indicators, func(i schemas.Indicator) bool { return i.Code == share.Indicator }) {
			l.add(problem.Problem{File: ownShares}, fmt.Sprintf("no indicator %q in this project", clipped(share.Indicator)), "leave the column empty for shares that are for all indicators")
			return
		}
	}
}

// taskLinks checks that there is a source of tasks where indicators count the targets of some. Which tasks there are stands in the
// warehouse: its view missing_link tells those that are not.
func (l *loader) taskLinks() {
	if l.p.shape == nil || slices.ContainsFunc(l.p.shape.Streams, func(s transform.StreamShape) bool { return s.Map.Schema == "task" }) {
		return
	}
	for _, name := range l.list("indicators", ".yaml", ".yml") {
		data, ok := l.read(name, maxFileBytes)
		if !ok {
			continue
		}
		var one schemas.Indicator
		if doc, problems := yamlfile.Decode(name, data, &one); len(problems) == 0 && len(one.Tasks) > 0 {
			l.add(doc.At("tasks"), fmt.Sprintf("indicator %s counts targets of tasks, and no source of this project brings tasks", one.Code),
				"map a source to the schema task, or remove tasks")
		}
	}
}

// sourcesFolder holds one file for each source.
const sourcesFolder = "sources"

func (l *loader) sources() {
	names := l.list(sourcesFolder, ".yaml", ".yml")
	if len(names) == 0 {
		l.add(problem.Problem{File: sourcesFolder}, "the project has no source", "put one file for each source into the folder sources")
	}
	for _, name := range names {
		if data, ok := l.read(name, maxFileBytes); ok {
			l.source(name, data)
		}
	}
	slices.SortFunc(l.p.sources, func(a, b *Source) int { return cmp.Compare(a.Name, b.Name) })
}

// source reads one file of sources/.
func (l *loader) source(name string, data []byte) {
	f := &sourceFile{name: name}
	doc, problems := yamlfile.Decode(name, data, &f.config)
	l.problems = append(l.problems, problems...)
	f.doc = doc
	c := f.config
	if c.Source == "" {
		return
	}
	s := &Source{
		Name: c.Source, Title: cmp.Or(c.Title, c.Source), Owner: c.Owner, Connector: c.Connector, ContinueOnGap: c.OnGap == "continue",
		Topic: cmp.Or(c.Topic, l.p.config.Broker.TopicPrefix+"raw."+c.Owner), File: name, config: c.Config,
	}
	f.source = s
	if !slug.MatchString(c.Source) {
		l.add(doc.At("source"), "not a source's name", slugFix)
	}
	if c.Owner != "" && !slug.MatchString(c.Owner) {
		l.add(doc.At("owner"), "not a department's code", slugFix)
	}
	if c.Topic != "" && !topicName.MatchString(c.Topic) {
		l.add(doc.At("topic"), "not a topic's name", "use letters, digits, dots, dashes and underscores")
	}
	if other, taken := l.files[c.Source]; taken {
		l.add(doc.At("source"), fmt.Sprintf("there is already a source %q", c.Source), "it is in "+other.name+"; rename one of them")
		return
	}
	l.files[c.Source] = f
	l.p.sources = append(l.p.sources, s)
	l.schedule(doc, c.Schedule, s)
	l.streams(f)
	l.sharing(f)
	l.connector(f, problems)
}

func (l *loader) schedule(doc *yamlfile.Document, c ScheduleConfig, s *Source) {
	s.Schedule = Schedule{Cron: c.Cron, Every: c.Every, Continuous: c.Continuous, Zone: l.p.Zone, CatchUp: true, Retries: 3}
	kinds := 0
	for _, given := range []bool{c.Cron != "", c.Every != 0, c.Continuous} {
		if given {
			kinds++
		}
	}
	if kinds > 1 {
		l.add(doc.At("schedule"), "cron, every and continuous exclude each other", "keep one of them")
	}
	if kinds == 0 && (c.Zone != "" || c.CatchUp != nil || c.Retries != nil) {
		l.add(doc.At("schedule"), "the schedule does not say when", "add cron, every or continuous")
	}
	if c.Cron != "" {
		zoned := strings.HasPrefix(c.Cron, "TZ=") || strings.HasPrefix(c.Cron, "CRON_TZ=")
		valid := false
		if !zoned { // ParseStandard panics on a zone without fields behind it
			_, err := cron.ParseStandard(c.Cron)
			valid = err == nil
		}
		if !valid {
			at := doc.At("schedule", "cron")
			l.add(at, "not a cron expression", `five fields: minute, hour, day, month, weekday, such as "30 6 * * *"; the zone goes into zone`)
		}
	}
	if c.Every != 0 && c.Every < time.Second {
		l.add(doc.At("schedule", "every"), "must be 1s at least", "use continuous to read without a pause")
	}
	if c.Zone != "" {
		zone, err := time.LoadLocation(c.Zone)
		if err != nil {
			l.add(doc.At("schedule", "zone"), "unknown time zone", "use a name such as Asia/Shanghai")
		} else {
			s.Schedule.Zone = zone
		}
	}
	if c.CatchUp != nil {
		s.Schedule.CatchUp = *c.CatchUp
	}
	if c.Retries != nil {
		if *c.Retries < 0 || *c.Retries > 100 {
			l.add(doc.At("schedule", "retries"), "must be from 0 to 100", "")
		}
		s.Schedule.Retries = *c.Retries
	}
}

func (l *loader) streams(f *sourceFile) {
	first := map[string]int{}
	for i, c := range f.config.Streams {
		f.source.Streams = append(f.source.Streams, Stream{Name: c.Name, Schema: c.Map.Schema, read: c.Read})
		if c.Name == "" {
			continue // said already
		}
		if !streamName.MatchString(c.Name) {
			l.add(f.doc.At("streams", i, "name"), "not a stream's name", "use lower-case letters, digits, dashes and underscores, at most 63")
		}
		if j, taken := first[c.Name]; taken {
			l.add(f.doc.At("streams", i, "name"), fmt.Sprintf("there is already a stream %q in this source", c.Name), fmt.Sprintf("it is on line %d; rename one of them", f.doc.At("streams", j, "name").Line))
		}
		first[c.Name] = i
	}
}

// options decodes the connector's options; with references to secrets resolved if the references say so.
func (s *Source) options(r *yamlfile.References) (config any, streams map[string]any, problems problem.List) {
	if s.definition.Config != nil {
		config = s.definition.Config()
		problems = append(problems, s.config.With(r).Decode(config)...)
	} else if !s.config.IsZero() {
		p := s.config.At()
		p.Message, p.Fix = fmt.Sprintf("the connector %s takes no options for the source as a whole", s.Connector), "remove config; options of a stream go under its read"
		problems = append(problems, p)
	}
	streams = map[string]any{}
	for _, stream := range s.Streams {
		if s.definition.Stream == nil || stream.read.At().File == "" { // the stream itself could not be read
			continue
		}
		options := s.definition.Stream()
		found := stream.read.With(r).Decode(options)
		problems = append(problems, found...)
		streams[stream.Name] = options
	}
	return config, streams, problems
}

// Replacer is an optional ability of a connector's stream options: it tells whether a new content of the stream takes the
// place of an earlier one. The order between two contents is then the connector's, so that a mapping must not set versions.
type Replacer interface{ ReplacesContent() bool }

// connector checks the options with the connector's own knowledge; broken is what is known to be wrong with the file.
func (l *loader) connector(f *sourceFile, broken problem.List) {
	s, doc := f.source, f.doc
	if s.Connector == "" {
		return
	}
	definition, err := l.registry.Lookup(s.Connector)
	if err != nil {
		fix := "known: " + strings.Join(l.registry.Names(), ", ")
		if near := yamlfile.Suggest(s.Connector, l.registry.Names()); near != "" {
			fix = fmt.Sprintf("did you mean %q? headwater connectors lists all", near)
		}
		l.add(doc.At("connector"), fmt.Sprintf("unknown connector %q", s.Connector), fix)
		return
	}
	s.definition = definition
	config, streams, problems := s.options(l.p.references(false))
	l.problems = append(l.problems, problems...)
	index := map[string]int{}
	for i, c := range f.config.Streams {
		index[c.Name] = i
		options, ok := streams[c.Name].(Replacer)
		if ok && options.ReplacesContent() && c.Map.Version != nil {
			fix := "remove version"
			if s.Connector == "file" { // no other one has the option
				fix += ", or set on_change: merge"
			}
			l.add(doc.At("streams", i, "map", "version"), "a stream whose new content replaces the old one takes its order from that", fix)
		}
	}
	if definition.Check == nil {
		return
	}
	said := map[int]bool{} // lines: what could not be decoded needs no second word
	for _, p := range append(broken, problems...) {
		said[p.Line] = true
	}
	for _, fault := range definition.Check(config, streams) {
		path := []any{"config"}
		if i, ok := index[fault.Stream]; ok && fault.Stream != "" {
			path = []any{"streams", i, "read"}
		}
		for _, key := range fault.Path {
			path = append(path, key)
		}
		if at := doc.At(path...); !said[at.Line] {
			l.add(at, fault.Message, fault.Fix)
		}
	}
}

// mappings reads the lookup tables and checks all mappings against schemas and regions.
func (l *loader) mappings() {
	shape := &transform.Shape{Set: l.p.set}
	for _, i := range l.p.measures.Indicators {
		shape.Indicators = append(shape.Indicators, i.Code)
	}
	slices.Sort(shape.Indicators)
	tables := map[string]transform.Table{}
	for _, s := range l.p.sources {
		f := l.files[s.Name]
		for i, c := range f.config.Streams {
			if c.Map.Schema == "" {
				continue // said already
			}
			stream := transform.StreamShape{
				Source: s.Name, Stream: c.Name, Owner: s.Owner, Map: c.Map, Filter: c.Filter, Keep: c.Keep,
				Lookups: l.lookups(f, i, c.Map, tables),
			}
			l.keys(f, i, c.Map)
			l.constants(f, i, stream, shape.Indicators)
			s.Streams[i].Indicators = indicatorsOf(l.p.set, stream)
			shape.Streams = append(shape.Streams, stream)
		}
	}
	l.p.shape = shape
	said := map[problem.Problem]bool{} // positions: what is wrong there has been said in better words
	for _, p := range l.problems {
		said[problem.Problem{File: p.File, Line: p.Line, Column: p.Column}] = true
	}
	for _, fault := range transform.Check(shape, nil) {
		f, ok := l.files[fault.Source]
		if !ok {
			l.add(problem.Problem{File: "sources"}, fault.Message, fault.Fix)
			continue
		}
		path := []any{"streams", slices.IndexFunc(f.config.Streams, func(c StreamConfig) bool { return c.Name == fault.Stream })}
		if at := f.doc.At(append(path, fault.Path...)...); !said[at] {
			l.add(at, fault.Message, fault.Fix)
		}
	}
}

// keys checks that the keys which the mappings hash with are there: all when headwater.yaml names any, else the one that is
// made by itself.
func (l *loader) keys(f *sourceFile, stream int, spec transform.Spec) {
	schema, ok := l.p.set.Schema(spec.Schema)
	if !ok {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Fields)) {
		field := spec.Fields[name]
		kind, key, named := strings.Cut(field.Mask, ":")
		if declared, ok := schema.Field(name); kind == "" && ok && declared.IsPersonal() {
			kind = "hash"
		}
		if kind != "hash" {
			continue
		}
		if !named {
			key = l.p.config.Hashing.Key
		}
		if l.p.config.hasKey(key) {
			continue
		}
		l.add(f.doc.At("streams", stream, "map", "fields", name, "mask"), fmt.Sprintf("no key %q to hash %s with", key, name), fmt.Sprintf("add it under keys: in %s, or write mask: hash:NAME with one that is there", File))
	}
}

// constants checks that the indicators which a mapping names itself are defined. What stands in the rows is checked row by
// row.
func (l *loader) constants(f *sourceFile, stream int, shape transform.StreamShape, codes []string) {
	schema, ok := l.p.set.Schema(shape.Map.Schema)
	if !ok || len(codes) == 0 || schema.FieldIndex("indicator") < 0 || schema.Name == "indicator" {
		return
	}
	check := func(value any, path ...any) {
		code, ok := value.(string)
		if !ok || slices.Contains(codes, code) {
			return
		}
		fix := "define it in indicators/" + strings.ToLower(code) + ".yaml"
		if s := yamlfile.Suggest(code, codes); s != "" {
			fix = fmt.Sprintf("did you mean %q? indicators are defined in the folder indicators", s)
		}
		l.add(f.doc.At(append([]any{"streams", stream, "map"}, path...)...), fmt.Sprintf("no indicator %q in this project", code), fix)
	}
	if field, ok := shape.Map.Fields["indicator"]; ok {
		check(field.Value, "fields", "indicator", "value")
		check(field.Default, "fields", "indicator", "default")
		for from, to := range field.Codes {
			check(to, "fields", "indicator", "codes", from)
		}
		if field.Lookup != nil {
			l.looked(f, stream, field.Lookup, shape.Lookups[field.Lookup.File], codes)
		}
	}
	if u := shape.Map.Unpivot; u != nil {
		for column, value := range u.Columns {
			if constants, ok := value.(map[string]any); ok {
				check(constants["indicator"], "unpivot", "columns", column, "indicator")
			} else if u.By == "" || u.By == "indicator" {
				check(value, "unpivot", "columns", column)
			}
		}
	}
}

// looked checks the indicators in a lookup table.
func (l *loader) looked(f *sourceFile, stream int, spec *transform.LookupSpec, table transform.Table, codes []string) {
	column := slices.Index(table.Columns, spec.Value)
	if column < 0 {
		return // the check of mappings says so
	}
	var unknown []string
	for _, row := range table.Rows {
		if code := strings.TrimSpace(row[column]); code != "" && !slices.Contains(codes, code) && !slices.Contains(unknown, code) {
			unknown = append(unknown, code)
		}
	}
	if len(unknown) == 0 {
		return
	}
	more := ""
	if len(unknown) > 5 {
		unknown, more = unknown[:5], " and others"
	}
	l.add(f.doc.At("streams", stream, "map", "fields", "indicator", "lookup", "file"),
		fmt.Sprintf("the table %s names indicators that this project does not have: %s%s", spec.File, strings.Join(unknown, ", "), more), "define them in the folder indicators, or correct the table")
}

// lookups reads the tables that a mapping looks values up in. Tables are shared between streams.
func (l *loader) lookups(f *sourceFile, stream int, spec transform.Spec, tables map[string]transform.Table) map[string]transform.Table {
	found := map[string]transform.Table{}
	var visit func(spec *transform.FieldSpec, path ...any)
	visit = func(spec *transform.FieldSpec, path ...any) {
		if spec == nil {
			return
		}
		visit(spec.Year, append(slices.Clone(path), "year")...)
		if spec.Lookup == nil || spec.Lookup.File == "" {
			return
		}
		name := spec.Lookup.File
		at := f.doc.At(append(append([]any{"streams", stream, "map"}, path...), "lookup", "file")...)
		table, known := tables[name]
		if !known {
			var ok bool
			if table, ok = l.table(name, at); !ok {
				return
			}
			tables[name] = table
		}
		found[name] = table
	}
	visit(spec.Version, "version")
	visit(spec.Deleted, "deleted")
	for _, name := range slices.Sorted(maps.Keys(spec.Fields)) {
		field := spec.Fields[name]
		visit(&field, "fields", name)
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

func (l *loader) table(name string, at problem.Problem) (transform.Table, bool) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		l.add(at, "the table lies outside the project", "put it into the project and name it relative to the project's folder")
		return transform.Table{}, false
	}
	data, err := readBounded(filepath.Join(l.p.Dir, filepath.FromSlash(name)), maxTableBytes)
	if err != nil {
		l.add(at, fmt.Sprintf("the table %s cannot be read: %v", name, reason(err)), "name it relative to the project's folder")
		return transform.Table{}, false
	}
	table, err := transform.ReadTable(bytes.NewReader(data))
	if err != nil {
		l.add(at, fmt.Sprintf("the table %s cannot be used: %v", name, err), "")
		return transform.Table{}, false
	}
	return table, true
}
