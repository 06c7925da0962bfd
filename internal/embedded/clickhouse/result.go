package clickhouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"
)

// heldBytes is how much of a result waits before the answer begins: an error that comes within it is answered with its own
// HTTP status, and a result that fits has its summary in the headers.
const heldBytes = 256 << 10

// outcome is how a statement ended.
type outcome struct {
	progress progress
	err      error
}

// streamed runs a reading statement. The engine writes the result into a pipe, as one document whatever the format and size,
// no faster than the client reads.
//
// (The library's own streaming interface gives every block as a document with a head and a foot of its own, so that JSON,
// Arrow or CSV with names could not be put together again; and it knows SELECT only.)
func (q *request) streamed(ctx context.Context, c *connection, clause outputClause, format string) error {
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	defer from.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", to.Fd())
	sql := fmt.Sprintf("%s\nINTO OUTFILE /* %s */ %s APPEND FORMAT %s %s", clause.body, q.tag, quoteText(path), format, clause.settings)
	if check := c.classify(sql); check.Statements != 1 || check.Class != classControl {
		// The statement does not take the clause where this package puts it.
		return errors.Join(to.Close(), q.whole(ctx, c, clause.body+"\nFORMAT "+format+" "+clause.settings, format))
	}
	ended := make(chan outcome, 1)
	go func() {
		result, err := c.query(sql, format, q.bindings()...)
		o := outcome{err: err}
		if err == nil {
			o.progress = result.progress
			result.release()
		}
		if closed := to.Close(); o.err == nil {
			o.err = closed
		}
		ended <- o
	}()
	// The connection is the statement's until it has ended: whatever happens below, wait for it.
	o, writeErr := q.relay(ctx, from, ended, format)
	if writeErr != nil {
		return writeErr
	}
	return o.err
}

// relay sends what comes out of the pipe to the client and waits for the statement's end. An error of the statement before
// the answer began is in the outcome; later it has been told to the client.
func (q *request) relay(ctx context.Context, from *os.File, ended <-chan outcome, format string) (outcome, error) {
	finished := make(chan struct{})
	stopped := make(chan struct{})
	ctx, giveUp := context.WithCancel(ctx)
	go func() {
		defer close(stopped)
		select {
		case <-finished:
		case <-ctx.Done():
			_ = from.Close() // nobody reads on; the engine sees a broken pipe at its next write
			q.kill(finished)
		}
	}()
	defer func() { giveUp(); <-stopped }()
	wait := func() outcome {
		o := <-ended
		close(finished)
		return o
	}
	held := &spool{folder: q.server.spools}
	defer held.close()
	most := int64(heldBytes)
	if q.parameters.Get("wait_end_of_query") == "1" {
		most = spoolMaxBytes
	}
	_, err := io.CopyN(held, from, most)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			giveUp()
		}
		o := wait()
		if o.err != nil {
			return o, nil
		}
		if !errors.Is(err, io.EOF) {
			return o, err
		}
		o.progress.ResultBytes = uint64(held.size)
		rest, err := held.reader()
		if err != nil {
			return o, err
		}
		q.to.start(format, o.progress)
		if err := q.to.copy(rest, format); err != nil {
			return o, err
		}
		return o, q.to.end()
	}
	beginning, err := held.reader()
	if err != nil {
		giveUp()
		wait()
		return outcome{}, err
	}
	q.to.start(format, progress{})
	err = q.to.copy(io.MultiReader(beginning, from), format)
	if err != nil {
		giveUp()
		return wait(), err
	}
	o := wait()
	if o.err != nil {
		return o, nil
	}
	return o, q.to.end()
}

// whole runs a statement that writes, whose result is small: a few rows about what was done.
func (q *request) whole(ctx context.Context, c *connection, sql, format string) error {
	finished, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-finished:
		case <-ctx.Done():
			q.kill(finished)
		}
	}()
	result, err := c.query(sql, format, q.bindings()...)
	close(finished)
	<-stopped
	if err != nil {
		return err
	}
	defer result.release()
	if len(result.bytes) == 0 {
		return q.to.finish(format, result.progress)
	}
	q.to.start(format, result.progress)
	if err := q.to.copy(bytes.NewReader(result.bytes), format); err != nil {
		return err
	}
	return q.to.end()
}

// kill stops the statement, and asks again until it has ended: it may not have begun yet. It goes by the statement's own tag
// alone: a file descriptor's number, say, may be another statement's by the time that KILL QUERY is read.
func (q *request) kill(finished <-chan struct{}) {
	// A statement may set its own log_comment, so the tag stands in its text, too. Here it is put together, so that this
	// text does not match itself.
	condition := "startsWith(Settings['log_comment'], " + quoteText(q.tag+" ") + ") OR position(query, concat('INTO OUTFILE /* ', " + quoteText(q.tag+" */") + ")) > 0"
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		if err := q.server.controlled("KILL QUERY WHERE " + condition + " ASYNC"); err != nil {
			q.server.config.Logger.Warn("statement of a client that left cannot be stopped", slog.Any("error", err))
		}
		select {
		case <-finished:
			return
		case <-again.C:
		}
	}
}

func (s *server) controlled(sql string) error {
	s.control.Lock()
	defer s.control.Unlock()
	return s.control.connection.exec(sql)
}

// reply is the answer to one request.
type reply struct {
	server  *server
	request *request
	w       http.ResponseWriter
	control *http.ResponseController

	started bool
	tag     string      // marks an error in the middle of the answer
	to      io.Writer   // where the result goes
	frames  flushWriter // ClickHouse's own compression, when asked for
	encoder flushWriter // Content-Encoding, when agreed
}

// start sends the headers of a good answer.
func (p *reply) start(format string, done progress) {
	p.started = true
	header := p.w.Header()
	header.Set("Content-Type", contentType(format))
	p.describe(format, done)
	var tag [8]byte
	_, _ = rand.Read(tag[:]) // crypto/rand never fails
	p.tag = hex.EncodeToString(tag[:])
	header.Set("X-ClickHouse-Exception-Tag", p.tag)
	parameters := p.request.parameters
	enabled := p.server.defaultEnableCompression
	if parameters.Has("enable_http_compression") {
		enabled = parameters.Get("enable_http_compression")
	}
	p.to = patient{p.w, p.control}
	if encoding := acceptsEncoding(p.request.web, enabled); encoding != "" {
		if encoder, err := newEncoder(p.to, encoding); err == nil {
			header.Set("Content-Encoding", encoding)
			header.Add("Vary", "Accept-Encoding")
			p.encoder, p.to = encoder, encoder
		}
	}
	if parameters.Get("compress") == "1" {
		p.frames = newNativeFrames(p.to, parameters.Get("network_compression_method"))
		p.to = p.frames
	}
}

func (p *reply) describe(format string, done progress) {
	header := p.w.Header()
	header.Set("X-ClickHouse-Format", format)
	header.Set("X-ClickHouse-Summary", fmt.Sprintf(
		`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d","total_rows_to_read":"0","result_rows":"%d","result_bytes":"%d","elapsed_ns":"%d"}`,
		done.ReadRows, done.ReadBytes, done.WrittenRows, done.WrittenBytes, done.ResultRows, done.ResultBytes, time.Since(p.request.started).Nanoseconds()))
}

// patient writes to a client that may pause, but not for ever: its statement holds a place.
type patient struct {
	to      io.Writer
	control *http.ResponseController
}

func (w patient) Write(b []byte) (int, error) {
	if err := w.control.SetWriteDeadline(time.Now().Add(answerPause)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.to.Write(b)
}

// copy sends a result, in the revision of Native that the client asked for.
func (p *reply) copy(from io.Reader, format string) error {
	if revision, err := strconv.ParseUint(p.request.parameters.Get("client_protocol_version"), 10, 32); err == nil && revision > 0 && format == "Native" {
		zone, err := time.LoadLocation(p.server.timezone)
		if err != nil {
			zone = time.UTC
		}
		return reencodeNative(p.to, from, revision, zone)
	}
	_, err := io.Copy(p.to, from)
	return err
}

// end closes a good answer.
func (p *reply) end() error {
	for _, stage := range []flushWriter{p.frames, p.encoder} {
		if stage != nil {
			if err := stage.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish answers a statement that has no result.
func (p *reply) finish(format string, done progress) error {
	p.started = true
	p.w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	p.describe(format, done)
	p.w.WriteHeader(http.StatusOK)
	return nil
}

// fail tells the client of an error: as the answer, or, when that has begun, in ClickHouse's frame at its end, and then cuts
// the connection so that nobody takes a part for the whole.
func (p *reply) fail(err error) {
	if !p.started {
		p.server.refuse(p.w, err)
		return
	}
	message := p.server.wording(asException(err))
	frame := fmt.Sprintf("\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n", p.tag, message, len(message), p.tag)
	// Errors from here on mean that the client has left; there is nobody to tell.
	if p.frames != nil {
		_ = p.frames.Flush()
	}
	if p.encoder != nil {
		_, _ = io.WriteString(p.encoder, frame)
		_ = p.encoder.Flush()
	} else {
		_, _ = io.WriteString(p.w, frame)
	}
	_ = p.control.Flush()
	panic(http.ErrAbortHandler)
}
