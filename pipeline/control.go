package pipeline

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/project"
	"github.com/headwater-data/headwater/pipeline/transform"
)

// This file is how processes on one machine speak with a project's service: over a socket in the state folder that only the
// service's user can open. The one who asks sends one line, a controlRequest as JSON, and reads lines, each a controlAnswer, of
// which the first with a report or an error is the last. Leaving early stops what was asked for.

// controlProtocol is the version of the protocol; a service answers no other.
const controlProtocol = 1

// Bounds of the protocol.
const (
	maxRequestBytes  = 4 << 20  // a repair of many rows
	maxAnswerBytes   = 16 << 20 // a report of very many sources
	maxConversations = 16
	requestTimeout   = 5 * time.Second
	answerTimeout    = 10 * time.Second       // a reader that takes longer has left
	answerInterval   = 200 * time.Millisecond // between counts
)

type controlRequest struct {
	Protocol int            `json:"protocol"`
	Do       string         `json:"do"` // "run" or "replay"
	Sources  []string       `json:"sources,omitempty"`
	Trigger  string         `json:"trigger,omitempty"`
	Shape    string         `json:"shape,omitempty"` // hash of the project as the asking process sees it
	Replay   *ReplayOptions `json:"replay,omitempty"`
}

type controlAnswer struct {
	Note   string            `json:"note,omitempty"`
	Counts map[string]Counts `json:"counts,omitempty"` // of sources that changed
	Report *wireReport       `json:"report,omitempty"`
	Replay *wireReplay       `json:"replay,omitempty"` // with an error beside it, if there was one
	Error  *wireError        `json:"error,omitempty"`
}

// wireReplay is a ReplayReport that can travel.
type wireReplay struct {
	Report                 *wireReport
	Replayed, Unreplayable int64
	Rows                   []ReplayedRow
}

// wireReport is a Report whose errors can travel.
type wireReport struct {
	Report
	Sources  []wireSource // in place of Report's
	LoadErrs []*wireError
}

type wireSource struct {
	SourceReport
	Err *wireError // in place of SourceReport's
}

// wireError is an error with what callers ask of it.
type wireError struct {
	Text    string
	Kind    fault.Kind
	Stopped bool // it is a context.Canceled
}

func toWireError(err error) *wireError {
	if err == nil {
		return nil
	}
	return &wireError{Text: err.Error(), Kind: fault.KindOf(err), Stopped: errors.Is(err, context.Canceled)}
}

// remoteError is an error that happened in the service.
type remoteError struct {
	text  string
	cause error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.cause }

func (e *wireError) error() error {
	if e == nil {
		return nil
	}
	err := &remoteError{text: e.Text}
	if e.Stopped {
		err.cause = context.Canceled
	}
	switch e.Kind {
	case fault.KindTransient:
		return fault.Transient(err)
	case fault.KindEnvironment:
		return fault.Environment(err)
	case fault.KindUsage:
		return fault.Usage(err)
	}
	return err
}

func toWire(r *Report) *wireReport {
	w := &wireReport{Report: *r, Sources: []wireSource{}}
	for _, s := range r.Sources {
		w.Sources = append(w.Sources, wireSource{SourceReport: s, Err: toWireError(s.Err)})
	}
	for _, err := range r.LoadErrs {
		w.LoadErrs = append(w.LoadErrs, toWireError(err))
	}
	return w
}

func (w *wireReport) report() *Report {
	r := w.Report
	r.Sources, r.LoadErrs = nil, nil
	for _, s := range w.Sources {
		s.SourceReport.Err = s.Err.error()
		r.Sources = append(r.Sources, s.SourceReport)
	}
	for _, e := range w.LoadErrs {
		r.LoadErrs = append(r.LoadErrs, e.error())
	}
	return &r
}

// The files of the control socket, in the state folder.
const (
	controlFolder = "control"      // mode 0700: nobody else comes near the socket, whatever its mode
	controlSocket = "socket"       // in it, or in a temporary folder when its path would be too long
	controlFile   = "service.json" // in it, says where the socket is
	controlTemp   = "headwater-control-"
)

type controlPlace struct {
	Socket string `json:"socket"`
	PID    int    `json:"pid"`
}

// listenControl opens the project's control socket. The caller holds the run lock, so that whatever is there is of a process
// that has ended.
func listenControl(stateDir string) (listener net.Listener, remove func(), err error) {
	dir := filepath.Join(stateDir, controlFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // a copied project may have lost the mode
		return nil, nil, err
	}
	clearControl(dir)
	socket, err := controlPath(dir)
	if err != nil {
		return nil, nil, err
	}
	remove = func() { clearControl(dir) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	// Where it is comes first: should the process die in between, the next one finds what to remove.
	place, err := json.Marshal(controlPlace{Socket: socket, PID: os.Getpid()})
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, controlFile), place, 0o600); err != nil {
		return nil, nil, err
	}
	if listener, err = net.Listen("unix", socket); err != nil {
		return nil, nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return listener, remove, nil
}

// controlPath is where the socket goes: a socket's address has room for 104 bytes on some systems, with a zero at its end.
func controlPath(dir string) (string, error) {
	const maxPath = 103
	path := filepath.Join(dir, controlSocket)
	if len(path) <= maxPath {
		return path, nil
	}
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		if len(filepath.Join(parent, controlTemp+"0123456789", controlSocket)) > maxPath {
			continue
		}
		private, err := os.MkdirTemp(parent, controlTemp) // mode 0700
		if err != nil {
			return "", err
		}
		return filepath.Join(private, controlSocket), nil
	}
	return "", fmt.Errorf("the paths of %s and of the folder for temporary files are too long for a socket (%d bytes): set TMPDIR to a shorter one", dir, maxPath)
}

// clearControl removes what a service has left. What cannot be removed is in nobody's way.
func clearControl(dir string) {
	file := filepath.Join(dir, controlFile)
	_ = os.Remove(filepath.Join(dir, controlSocket))
	if place, err := readPlace(dir); err == nil && filepath.Base(place.Socket) == controlSocket {
		if folder := filepath.Dir(place.Socket); strings.HasPrefix(filepath.Base(folder), controlTemp) {
			_ = os.Remove(place.Socket)
			_ = os.Remove(folder) // only when it is empty
		}
	}
	_ = os.Remove(file)
}

func readPlace(dir string) (controlPlace, error) {
	var place controlPlace
	raw, err := os.ReadFile(filepath.Join(dir, controlFile))
	if err == nil {
		err = json.Unmarshal(raw, &place)
	}
	return place, err
}

// dialControl connects to the project's service. Every error means that there is none that can be spoken with.
func dialControl(ctx context.Context, stateDir string) (net.Conn, error) {
	dir := filepath.Join(stateDir, controlFolder)
	place, err := readPlace(dir)
	if err != nil {
		return nil, err
	}
	// In a folder for temporary files somebody else may have taken the place of a socket that is gone.
	if err := sameOwner(filepath.Join(dir, controlFile), place.Socket); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: requestTimeout}
	return dialer.DialContext(ctx, "unix", place.Socket)
}

func sameOwner(file, socket string) error {
	var owners [2]uint32
	for i, name := range []string{file, socket} {
		found, err := os.Lstat(name)
		if err != nil {
			return err
		}
		system, ok := found.Sys().(*syscall.Stat_t)
		if !ok {
			return &fs.PathError{Op: "find the owner of", Path: name, Err: errors.ErrUnsupported}
		}
		owners[i] = system.Uid
	}
	if owners[0] != owners[1] {
		return &fs.PathError{Op: "open", Path: socket, Err: errors.New("it belongs to somebody else")}
	}
	return nil
}

// served tells whether a service has the project.
func served(stateDir string) bool {
	conn, err := dialControl(context.Background(), stateDir)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was written
	return true
}

// Served tells whether a service has the project.
func Served(p *project.Project) bool { return served(p.State) }

// ErrNotServed says that no service has the project.
var ErrNotServed = errors.New("no service runs for this project")

// Ask has the project's service do a run, and returns when it has, with its report: as Session.Run does, but in the service's
// process, beside what it does anyway. ErrNotServed means that there is no service and nothing was done. When ctx ends, the
// service stops the run at its next batch.
func Ask(ctx context.Context, p *project.Project, opts RunOptions) (*Report, error) {
	answer, err := ask(ctx, p, controlRequest{Do: "run", Sources: opts.Sources, Trigger: opts.Trigger}, opts.Note, opts.Progress)
	switch {
	case err != nil:
		return nil, err
	case answer.Report != nil:
		report := answer.Report.report()
		return report, report.Err()
	}
	return nil, answer.Error.error()
}

// AskReplay has the project's service replay quarantined rows, as Session.Replay does, but in the service's process. ErrNotServed
// means that there is no service and nothing was done.
func AskReplay(ctx context.Context, p *project.Project, opts ReplayOptions) (*ReplayReport, error) {
	answer, err := ask(ctx, p, controlRequest{Do: "replay", Replay: &opts}, nil, opts.Progress)
	if err != nil {
		return nil, err
	}
	if r := answer.Replay; r != nil {
		return &ReplayReport{Report: r.Report.report(), Replayed: r.Replayed, Unreplayable: r.Unreplayable, Rows: r.Rows}, answer.Error.error()
	}
	return nil, answer.Error.error()
}

// ask has the service do something and returns its last answer.
func ask(ctx context.Context, p *project.Project, request controlRequest, note func(string), progress Progress) (last controlAnswer, err error) {
	conn, err := dialControl(ctx, p.State)
	if err != nil {
		return last, fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	defer func() { _ = conn.Close() }() // the service sees that we are gone in any case
	body, err := p.Shape().Marshal()
	if err != nil {
		return last, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // a failure leaves the service's own end to wait for
	request.Protocol, request.Shape = controlProtocol, transform.Hash(body)
	if err := writeLine(conn, request); err != nil {
		return last, lostService(ctx, err)
	}
	lines := bufio.NewReaderSize(conn, 64<<10)
	for {
		var answer controlAnswer
		if err := readLine(lines, maxAnswerBytes, &answer); err != nil {
			return last, lostService(ctx, err)
		}
		if answer.Note != "" && note != nil {
			note(answer.Note)
		}
		if progress != nil {
			for source, counts := range answer.Counts {
				progress(source, counts)
			}
		}
		if answer.Error != nil || answer.Report != nil || answer.Replay != nil {
			return answer, nil
		}
	}
}

func lostService(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fault.Environment(fmt.Errorf("the service was lost during the run; run again, it goes on from there: %w", err))
}

func writeLine(w io.Writer, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// errLongLine says that the other side does not keep to the protocol.
var errLongLine = errors.New("a line is longer than the protocol allows")

func readLine(r *bufio.Reader, limit int, into any) error {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		if len(line)+len(piece) > limit {
			return errLongLine
		}
		line = append(line, piece...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(bytes.TrimSuffix(line, []byte("\n")), into)
	}
}

// control serves conversations until the listener closes, and returns when all have ended.
func (v *service) control(listener net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, maxConversations)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			v.log.Warn("taking a connection to the control socket", "error", err)
			select {
			case <-v.soft.Done(): // the listener closes
			case <-time.After(time.Second): // out of descriptors: they come back
			}
			continue
		}
		select {
		case room <- struct{}{}:
		default:
			_ = conn.SetWriteDeadline(time.Now().Add(requestTimeout))
			refusal := fault.Environment(fmt.Errorf("the service is asked by %d processes already: try again later", maxConversations))
			if err := errors.Join(writeLine(conn, controlAnswer{Error: toWireError(refusal)}), conn.Close()); err != nil {
				v.log.Debug("refusing a connection", "error", err)
			}
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			defer func() { _ = conn.Close() }() // its end is the last answer
			if err := v.converse(conn); err != nil {
				v.log.Debug("a conversation on the control socket broke off", "error", err)
			}
		})
	}
}

// converse serves one connection.
func (v *service) converse(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	lines := bufio.NewReader(conn)
	var request controlRequest
	if err := readLine(lines, maxRequestBytes, &request); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // it only looked whether we are there
		}
		return v.answer(conn, controlAnswer{Error: toWireError(fault.Usage(fmt.Errorf("read the request: %w", err)))})
	}
	if request.Protocol != controlProtocol || request.Do != "run" && (request.Do != "replay" || request.Replay == nil) {
		return v.answer(conn, controlAnswer{Error: toWireError(fault.Environment(fmt.Errorf(
			"the service does not understand what is asked (%q, protocol %d): it is of another version of headwater; restart it", request.Do, request.Protocol)))})
	}
	sources, err := v.session.sources(request.Sources)
	if err != nil {
		return v.answer(conn, controlAnswer{Error: toWireError(fmt.Errorf("%w (the service has the project as it was when it started: restart it after changes)", err))})
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if request.Shape != "" && request.Shape != v.session.shaping.Hash {
		if request.Do == "replay" {
			return v.answer(conn, controlAnswer{Error: toWireError(fault.Usage(errors.New("the project was changed since headwater start read it, and the rows would be mapped as it was then: restart the service first")))})
		}
		if err := v.answer(conn, controlAnswer{Note: "the project was changed since headwater start read it: the run is done as it was then; restart the service"}); err != nil {
			return err
		}
	}

	// What was asked for is stopped when the one who asked is gone.
	asked, gone := context.WithCancel(v.soft)
	defer gone()
	var reading sync.WaitGroup
	defer reading.Wait()
	// Closing the connection ends the reading below; it comes before the waiting for it above.
	defer func() { _ = conn.Close() }()
	reading.Go(func() {
		_, _ = io.Copy(io.Discard, lines) // ends, with whatever error, when either side is gone
		gone()
	})

	news := &news{counts: map[string]Counts{}}
	done := make(chan controlAnswer, 1)
	go func() {
		if request.Do == "replay" {
			done <- v.replayAsked(asked, *request.Replay)
			return
		}
		done <- controlAnswer{Report: toWire(v.command(asked, sources, request.Trigger, news))}
	}()
	ticker := time.NewTicker(answerInterval)
	defer ticker.Stop()
	var broken error
	tell := func(a controlAnswer) {
		if broken == nil {
			if broken = v.answer(conn, a); broken != nil {
				gone()
			}
		}
	}
	for {
		select {
		case <-ticker.C:
			for _, a := range news.take() {
				tell(a)
			}
		case last := <-done:
			for _, a := range news.take() {
				tell(a)
			}
			tell(last)
			return broken
		}
	}
}

// replayAsked replays quarantined rows, one replay at a time: what one has closed the next does not send again.
func (v *service) replayAsked(asked context.Context, opts ReplayOptions) controlAnswer {
	select {
	case v.replaying <- struct{}{}:
		defer func() { <-v.replaying }()
	case <-asked.Done():
		return controlAnswer{Error: toWireError(asked.Err())}
	}
	v.log.Info("a replay was asked for", "command", opts.command(), "by", opts.By, "source", opts.Source, "rows", len(opts.named()))
	report, err := v.works.replay(asked, opts)
	answer := controlAnswer{Error: toWireError(err)}
	if report != nil {
		answer.Replay = &wireReplay{Report: toWire(report.Report), Replayed: report.Replayed, Unreplayable: report.Unreplayable, Rows: report.Rows}
	}
	return answer
}

func (v *service) answer(conn net.Conn, a controlAnswer) error {
	if err := conn.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	return writeLine(conn, a)
}

// news is what there is to tell since it was told last. Of counts only the newest are kept.
type news struct {
	mu     sync.Mutex
	notes  []string
	counts map[string]Counts
}

func (n *news) note(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, text)
}

func (n *news) progress(source string, c Counts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[source] = c
}

func (n *news) take() []controlAnswer {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []controlAnswer
	for _, text := range n.notes {
		out = append(out, controlAnswer{Note: text})
	}
	if len(n.counts) > 0 {
		out = append(out, controlAnswer{Counts: maps.Clone(n.counts)})
	}
	n.notes = nil
	clear(n.counts)
	return out
}
