package screen

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Counts is how far a source is in a run, in rows since the run began.
type Counts struct {
	Read, InKafka, Loaded, Duplicate, Quarantined, Filtered, Held int64
	// Lag is how many of the rows that went into Kafka are not yet accounted for; negative when it is not known.
	Lag int64
}

// Progress is told how far a run is. Its methods may be called from any goroutine, often: a call costs little.
type Progress interface {
	// Source tells a source's newest counts.
	Source(name string, c Counts)
	// Stage tells how far something is that comes before the sources and takes time, such as a download, in bytes; a total of
	// 0 is unknown. A stage is over when another begins, when done reaches a total above 0, or when a source moves.
	Stage(name string, done, total int64)
	// Note tells something once that people should know now, such as a server that is waited for.
	Note(text string)
	// Done ends the display: what is shown last stays. Later calls do nothing.
	Done()
}

// NewProgress returns a live view when out is a terminal and a logging one otherwise. The live view's Write keeps lines that
// others write (log lines) apart from it; see LogWriter.
func NewProgress(out io.Writer, logger *slog.Logger) Progress {
	if IsTerminal(out) {
		return NewLive(out, func() int { return Width(out) })
	}
	return NewLogged(logger)
}

// How often the display changes.
const (
	liveInterval = 200 * time.Millisecond
	logInterval  = 5 * time.Second
	rateWindow   = 3 * time.Second // rows per second are of the last seconds
)

// Live draws progress in place on a terminal. It is also a Writer for lines that go above the display.
type Live struct {
	out   io.Writer
	width func() int

	mu      sync.Mutex
	sources []*liveSource
	stage   stage // zero when there is none
	drawn   int   // lines of the display that stand on the screen
	done    bool
	rest    []byte // an unfinished line
	stop    chan struct{}
	stopped chan struct{}
}

type liveSource struct {
	name    string
	counts  Counts
	samples []sample
}

type sample struct {
	at   time.Time
	rows int64
}

type stage struct {
	name        string
	done, total int64
}

// NewLive returns a live view that draws on out, which must understand ANSI. It draws from a goroutine of its own until Done.
func NewLive(out io.Writer, width func() int) *Live {
	l := &Live{out: out, width: width, stop: make(chan struct{}), stopped: make(chan struct{})}
	go l.run()
	return l
}

func (l *Live) run() {
	defer close(l.stopped)
	tick := time.NewTicker(liveInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.mu.Lock()
			if len(l.sources) > 0 || l.stage.name != "" { // rates change even when counts do not
				l.draw()
			}
			l.mu.Unlock()
		case <-l.stop:
			return
		}
	}
}

// Source implements Progress.
func (l *Live) Source(name string, c Counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	i := slices.IndexFunc(l.sources, func(s *liveSource) bool { return s.name == name })
	if i < 0 {
		l.sources = append(l.sources, &liveSource{name: name})
		i = len(l.sources) - 1
	}
	l.sources[i].add(c, time.Now())
	l.stage = stage{}
}

func (s *liveSource) add(c Counts, now time.Time) {
	s.counts = c
	rows := c.Read
	if n := len(s.samples); n > 1 && now.Sub(s.samples[n-2].at) < liveInterval {
		s.samples[n-1] = sample{now, rows} // a sample for each interval is enough
	} else {
		s.samples = append(s.samples, sample{now, rows})
	}
}

// rate is rows per second over the window.
func (s *liveSource) rate(now time.Time) int64 {
	for len(s.samples) > 1 && now.Sub(s.samples[1].at) > rateWindow {
		s.samples = s.samples[1:]
	}
	if len(s.samples) == 0 {
		return 0
	}
	first := s.samples[0]
	elapsed := now.Sub(first.at)
	if elapsed < liveInterval {
		return 0
	}
	return int64(float64(s.counts.Read-first.rows) / elapsed.Seconds())
}

// Stage implements Progress.
func (l *Live) Stage(name string, done, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	l.stage = stage{name, done, total}
	if total > 0 && done >= total {
		l.stage = stage{}
	}
}

// Note implements Progress.
func (l *Live) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done {
		l.above([]byte(Clean(text) + "\n"))
	}
}

// Write puts whole lines above the display, such as log lines. An unfinished line waits for its end.
func (l *Live) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return l.out.Write(p)
	}
	l.rest = append(l.rest, p...)
	if end := bytes.LastIndexByte(l.rest, '\n'); end >= 0 {
		l.above(l.rest[:end+1])
		l.rest = append(l.rest[:0], l.rest[end+1:]...)
	}
	return len(p), nil
}

// Done implements Progress.
func (l *Live) Done() {
	l.mu.Lock()
	if l.done {
		l.mu.Unlock()
		return
	}
	l.done = true
	l.stage = stage{}
	if len(l.rest) > 0 {
		l.above(append(l.rest, '\n'))
	} else {
		l.draw()
	}
	l.mu.Unlock()
	close(l.stop)
	<-l.stopped
}

// above writes lines where the display stood and the display again below them. A terminal that takes no more is nobody's
// loss: the run goes on.
func (l *Live) above(lines []byte) {
	var b bytes.Buffer
	l.erase(&b)
	b.Write(lines)
	l.display(&b)
	_, _ = l.out.Write(b.Bytes())
}

func (l *Live) draw() {
	var b bytes.Buffer
	l.erase(&b)
	l.display(&b)
	_, _ = l.out.Write(b.Bytes())
}

func (l *Live) erase(b *bytes.Buffer) {
	if l.drawn > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r\x1b[J", l.drawn)
	}
	l.drawn = 0
}

// display appends the display's lines. Each must fit the terminal, or going back up would miss its first line.
func (l *Live) display(b *bytes.Buffer) {
	width := l.width()
	if width <= 0 {
		width = 80
	}
	line := func(text string) {
		b.WriteString(chars.Truncate(text, width-1, "…") + "\n")
		l.drawn++
	}
	if l.stage.name != "" {
		line(l.stage.text())
	}
	if len(l.sources) == 0 {
		return
	}
	names := chars.StringWidth("source")
	for _, s := range l.sources {
		names = max(names, chars.StringWidth(s.name))
	}
	names = min(names, 32)
	now := time.Now()
	line(fmt.Sprintf("%s %10s %10s %10s %11s %8s %5s", pad("source", 6, names, false), "read", "in kafka", "loaded", "quarantined", "rows/s", "lag"))
	for _, s := range l.sources {
		c := s.counts
		lag := "?"
		if c.Lag >= 0 {
			lag = thousands(c.Lag)
		}
		rate := ""
		if !l.done {
			rate = thousands(s.rate(now))
		}
		line(fmt.Sprintf("%s %10s %10s %10s %11s %8s %5s", pad(s.name, chars.StringWidth(s.name), names, false),
			thousands(c.Read), thousands(c.InKafka), thousands(c.Loaded), thousands(c.Quarantined), rate, lag))
	}
}

func (s stage) text() string {
	switch {
	case s.total <= 0 && s.done <= 0:
		return s.name + " …"
	case s.total <= 0:
		return fmt.Sprintf("%s  %s", s.name, size(s.done))
	}
	const bar = 24
	full := int(bar * s.done / s.total)
	return fmt.Sprintf("%s  %s%s %3d %%  %s of %s", s.name, strings.Repeat("█", full), strings.Repeat("░", bar-full), 100*s.done/s.total, size(s.done), size(s.total))
}

func size(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// Logged writes progress as log lines: each source that has moved, every few seconds and at the end.
type Logged struct {
	logger *slog.Logger

	mu      sync.Mutex
	sources map[string]*loggedSource
	stages  map[string]*loggedStage
	order   []string
	done    bool
}

type loggedSource struct {
	counts, told Counts
	at           time.Time
}

type loggedStage struct {
	percent int64
	at      time.Time
}

// NewLogged returns a Progress that logs.
func NewLogged(logger *slog.Logger) *Logged {
	return &Logged{logger: logger, sources: map[string]*loggedSource{}, stages: map[string]*loggedStage{}}
}

// Source implements Progress.
func (l *Logged) Source(name string, c Counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	now := time.Now()
	s, ok := l.sources[name]
	if !ok {
		s = &loggedSource{at: now} // a short run is told once, at its end
		l.sources[name] = s
		l.order = append(l.order, name)
	}
	s.counts = c
	if now.Sub(s.at) >= logInterval {
		l.tell(name, s, now)
	}
}

func (l *Logged) tell(name string, s *loggedSource, now time.Time) {
	if s.counts == s.told {
		return
	}
	c := s.counts
	l.logger.Info("progress", "source", name, "read", c.Read, "in_kafka", c.InKafka, "loaded", c.Loaded, "duplicate", c.Duplicate,
		"quarantined", c.Quarantined, "filtered", c.Filtered, "held", c.Held, "lag", c.Lag)
	s.told, s.at = c, now
}

// Stage implements Progress.
func (l *Logged) Stage(name string, done, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	now := time.Now()
	s, ok := l.stages[name]
	percent := int64(-1)
	if total > 0 {
		percent = 100 * done / total
	}
	if ok && (percent == s.percent || percent < 100) && now.Sub(s.at) < logInterval {
		return
	}
	l.stages[name] = &loggedStage{percent: percent, at: now}
	if percent >= 0 {
		l.logger.Info(name, "percent", percent, "bytes", done)
	} else {
		l.logger.Info(name, "bytes", done)
	}
}

// Note implements Progress.
func (l *Logged) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done {
		l.logger.Info("note", "text", text)
	}
}

// Done implements Progress.
func (l *Logged) Done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	now := time.Now()
	for _, name := range l.order {
		l.tell(name, l.sources[name], now)
	}
	l.done = true
}
