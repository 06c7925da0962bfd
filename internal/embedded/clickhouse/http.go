package clickhouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// bodyPause and answerPause bound how long a client may stay silent while it sends, or not read while it is answered.
	bodyPause   = time.Minute
	answerPause = 10 * time.Minute

	// insertHeadBytes is how far into a text the rows of an INSERT must begin.
	insertHeadBytes = 1 << 20
	// statementBytes bounds the text of every other statement.
	statementBytes = 8 << 20
)

// ServeHTTP answers as ClickHouse's HTTP interface does.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-ClickHouse-Server-Display-Name", s.displayName)
	if err := refuseForeign(r); err != nil {
		s.refuse(w, err)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "The embedded warehouse understands GET, HEAD and POST.", http.StatusMethodNotAllowed)
		return
	}
	switch r.URL.Path {
	case "/ping", "/replicas_status":
		s.alive(w)
	case "/", "", "/query":
		if r.Method != http.MethodPost && r.URL.RawQuery == "" {
			s.alive(w)
			return
		}
		s.answer(w, r)
	default:
		http.Error(w, "There is no such page. Queries go to / by POST, or by GET in the parameter query.", http.StatusNotFound)
	}
}

func (s *server) alive(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	_, _ = io.WriteString(w, "Ok.\n") // the client is gone when this fails
}

// refuse answers an error before anything else was answered.
func (s *server) refuse(w http.ResponseWriter, err error) {
	e := asException(err)
	w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.Code))
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.WriteHeader(e.status())
	_, _ = io.WriteString(w, s.wording(e)) // the client is gone when this fails
}

// wording ends an error's text as a server does.
func (s *server) wording(e *Exception) string {
	message := strings.TrimSpace(e.Message)
	if strings.HasSuffix(message, "(version "+s.version+")") {
		return message + "\n"
	}
	return fmt.Sprintf("%s (version %s)\n", message, s.version)
}

// request is one statement on its way.
type request struct {
	server     *server
	web        *http.Request
	to         *reply
	parameters url.Values
	user       user
	queryID    string
	tag        string // names the statement to KILL QUERY
	body       *spool
	started    time.Time
	// restore is what brings a session's settings back after the statement.
	restore []string
}

// notSettings are the URL parameters that mean something to the interface itself; every other one is a setting.
var notSettings = []string{
	"query", "database", "default_format", "user", "password", "quota_key", "query_id", "session_id", "session_timeout", "session_check",
	"close_session", "compress", "decompress", "stacktrace", "client_protocol_version", "wait_end_of_query", "buffer_size", "log_comment",
	"readonly", "profile", "network_compression_method",
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	if s.waiting.Add(1) > maxWaiting {
		s.waiting.Add(-1)
		s.refuse(w, exception(codeTooManyQueries, "Too many simultaneous queries"))
		return
	}
	defer s.waiting.Add(-1)
	parameters, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.refuse(w, exception(codeBadArguments, "The parameters of the address cannot be read"))
		return
	}
	u, err := s.authenticate(r, parameters)
	if err != nil {
		s.refuse(w, err)
		return
	}
	q := &request{server: s, web: r, parameters: parameters, user: u, started: time.Now(), body: &spool{folder: s.spools}}
	defer q.body.close()
	q.queryID = parameters.Get("query_id")
	if q.queryID == "" {
		q.queryID = newQueryID()
	}
	q.tag = fmt.Sprintf("headwater-%d", s.ids.Add(1))
	q.to = &reply{server: s, request: q, w: w, control: http.NewResponseController(w)}
	w.Header().Set("X-ClickHouse-Query-Id", headerText(q.queryID))
	w.Header().Set("X-ClickHouse-Timezone", s.timezone)
	if err := q.run(); err != nil {
		q.to.fail(err)
	}
}

// headerText keeps what a header may hold.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}

func newQueryID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	x := hex.EncodeToString(b[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// run receives the body, waits for a place and runs the statement.
func (q *request) run() error {
	if media, _, _ := strings.Cut(q.web.Header.Get("Content-Type"), ";"); strings.EqualFold(strings.TrimSpace(media), "multipart/form-data") {
		return exception(codeNotImplemented, "External tables in multipart bodies are not available in the embedded warehouse; use a temporary table in a session")
	}
	if err := q.receive(); err != nil {
		return err
	}
	ctx, ended := q.server.asked.enter(q)
	defer ended()
	select {
	case q.server.running <- struct{}{}:
		defer func() { <-q.server.running }()
	case <-ctx.Done():
		return exception(codeQueryWasCancelled, "Query was cancelled")
	}
	c, release, err := q.connect()
	if err != nil {
		return err
	}
	defer release()
	return q.execute(ctx, c)
}

// receive takes in the whole body, decompressed, before anything runs: a client that dies half-way has asked for nothing.
func (q *request) receive() error {
	if q.web.Body == nil || q.web.Body == http.NoBody {
		return nil
	}
	control := http.NewResponseController(q.to.w)
	decoded, err := decodeBody(pausing{q.web.Body, control}, q.web.Header.Get("Content-Encoding"), q.parameters.Get("decompress") == "1")
	if err == nil {
		_, err = io.Copy(q.body, decoded)
		err = errors.Join(err, decoded.Close())
	}
	if err != nil {
		if e, ok := errors.AsType[*Exception](err); ok {
			return e
		}
		if errors.Is(err, io.ErrUnexpectedEOF) || q.web.Context().Err() != nil {
			return exception(codeCannotReadAllData, "The body ended before its end")
		}
		return undecodable(err)
	}
	// Without a deadline the web server notices when the client leaves.
	if err := control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// pausing reads a body whose sender may pause, but not for long.
type pausing struct {
	from    io.Reader
	control *http.ResponseController
}

func (p pausing) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(bodyPause)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.from.Read(b)
}

// mustNotWrite reports whether the statement may only read: GET changes nothing, and so does the reader.
func (q *request) mustNotWrite() bool { return q.user.readonly || q.web.Method != http.MethodPost }

// connect gives the statement an engine session: its own, or the one that session_id names.
func (q *request) connect() (*connection, func(), error) {
	open := func() (*connection, error) { return q.server.library.connect(q.server.args...) }
	id := q.parameters.Get("session_id")
	if id == "" {
		c, err := open()
		if err != nil {
			return nil, nil, err
		}
		if err := q.prepare(c, false); err != nil {
			c.close()
			return nil, nil, err
		}
		return c, c.close, nil
	}
	taken, err := q.server.sessions.take(q.user, id, q.parameters, func() (*connection, error) {
		c, err := open()
		if err == nil && q.user.readonly {
			if err = c.exec("SET readonly = 2"); err != nil {
				c.close()
			}
		}
		return c, err
	})
	if err != nil {
		return nil, nil, err
	}
	put := func() {
		q.server.sessions.put(q.user, id, taken, q.parameters.Get("close_session") == "1")
	}
	release := func() {
		if err := taken.connection.settle(q.restore); err != nil {
			// A session whose settings are unknown must not serve anybody.
			q.server.config.Logger.Warn("session is given up", slog.Any("error", err))
			q.parameters.Set("close_session", "1")
		}
		put()
	}
	if err := q.prepare(taken.connection, true); err != nil {
		release()
		return nil, nil, err
	}
	return taken.connection, release, nil
}

// settle brings a session's connection back after a statement. A statement that failed while it wrote may leave bytes in the
// connection's output; a first statement takes them away.
func (c *connection) settle(restore []string) error {
	rest, err := c.query("SELECT 1", "Null")
	if err != nil {
		return err
	}
	rest.release()
	for _, sql := range restore {
		if err := c.exec(sql); err != nil {
			return err
		}
	}
	return nil
}

// prepare applies database, settings and rights. In a session they hold for this statement only.
func (q *request) prepare(c *connection, inSession bool) error {
	database := q.parameters.Get("database")
	if database == "" {
		database = q.web.Header.Get("X-ClickHouse-Database")
	}
	if database != "" {
		if inSession {
			current, err := c.query("SELECT currentDatabase()", "TSVRaw")
			if err != nil {
				return err
			}
			q.restore = append(q.restore, "USE "+quoteName(strings.TrimSuffix(string(current.bytes), "\n")))
			current.release()
		}
		if err := c.exec("USE " + quoteName(database)); err != nil {
			return err
		}
	}
	changes := []string{"log_comment = " + quoteText(q.tag+" "+q.parameters.Get("log_comment"))}
	var names []string
	for name, values := range q.parameters {
		if slices.Contains(notSettings, name) || strings.HasPrefix(name, "param_") {
			continue
		}
		if !settingName.MatchString(name) {
			return &Exception{Code: 115, Message: fmt.Sprintf("Code: 115. DB::Exception: Setting %q is neither a builtin setting nor started with the prefix of a custom one. (UNKNOWN_SETTING)", name)}
		}
		names = append(names, name)
		changes = append(changes, name+" = "+quoteText(values[0]))
	}
	if inSession && len(names) > 0 {
		former, err := formerSettings(c, names)
		if err != nil {
			return err
		}
		q.restore = append(q.restore, former...)
	}
	if err := c.exec("SET " + strings.Join(changes, ", ")); err != nil {
		return err
	}
	return q.prepareRights(c, inSession)
}

func (q *request) prepareRights(c *connection, inSession bool) error {
	asked := q.parameters.Get("readonly")
	switch {
	case q.mustNotWrite() && asked != "" && asked != "1" && asked != "2":
		return exception(codeReadonly, "Cannot modify 'readonly' setting in readonly mode")
	case inSession && asked != "" && asked != "0":
		// readonly can be set and never taken back, so in a session only classes of statements keep it.
		return exception(codeReadonly, "readonly cannot be set for one statement of a session")
	case inSession:
		return nil
	case asked != "":
		return c.exec("SET readonly = " + quoteText(asked))
	case q.mustNotWrite():
		return c.exec("SET readonly = 2")
	}
	return nil
}

// formerSettings words the statement that brings settings back to what they are now; none when the engine knows none of them.
func formerSettings(c *connection, names []string) ([]string, error) {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quoteText(name)
	}
	result, err := c.query("SELECT name, value, changed FROM system.settings WHERE name IN ("+strings.Join(quoted, ", ")+")", "JSONCompactEachRow")
	if err != nil {
		return nil, err
	}
	defer result.release()
	var former []string
	for line := range bytes.Lines(result.bytes) {
		var row [3]any
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, fmt.Errorf("read the session's settings: %w", err)
		}
		if changed, ok := row[2].(float64); ok && changed == 0 {
			former = append(former, fmt.Sprintf("%v = DEFAULT", row[0]))
			continue
		}
		former = append(former, fmt.Sprintf("%v = %s", row[0], quoteText(fmt.Sprint(row[1]))))
	}
	if len(former) == 0 {
		return nil, nil
	}
	return []string{"SET " + strings.Join(former, ", ")}, nil
}

// bindings are the values of the statement's {name:Type} placeholders.
func (q *request) bindings() []parameter {
	var out []parameter
	for name, values := range q.parameters {
		if bare, ok := strings.CutPrefix(name, "param_"); ok && bare != "" {
			out = append(out, parameter{name: bare, value: values[0]})
		}
	}
	return out
}

// defaultFormat is the format when the statement names none.
func (q *request) defaultFormat(otherwise string) (string, error) {
	format := q.parameters.Get("default_format")
	if format == "" {
		format = q.web.Header.Get("X-ClickHouse-Format")
	}
	if format == "" {
		format = otherwise
	}
	if !settingName.MatchString(format) {
		return "", &Exception{Code: 73, Message: "Code: 73. DB::Exception: Unknown format " + quoteText(format) + ". (UNKNOWN_FORMAT)"}
	}
	return format, nil
}

// text is everything that the client sent as its query: the parameter, then the body. Each call begins anew.
func (q *request) text() (io.Reader, error) {
	body, err := q.body.reader()
	if err != nil {
		return nil, err
	}
	if query := q.parameters.Get("query"); query != "" {
		return io.MultiReader(strings.NewReader(query+"\n"), body), nil
	}
	return body, nil
}

// execute decides what kind of statement it is.
func (q *request) execute(ctx context.Context, c *connection) error {
	full, err := q.text()
	if err != nil {
		return err
	}
	prefix, err := io.ReadAll(io.LimitReader(full, insertHeadBytes))
	if err != nil {
		return err
	}
	if head, ok := splitInsert(string(prefix)); ok {
		return q.insert(c, head)
	}
	rest, err := io.ReadAll(io.LimitReader(full, statementBytes-insertHeadBytes+1))
	if err != nil {
		return err
	}
	if len(prefix)+len(rest) > statementBytes {
		return exception(codeTooLarge, "The statement is longer than %d bytes", statementBytes)
	}
	return q.statement(ctx, c, string(prefix)+string(rest))
}

// statement runs anything but an INSERT with rows of its own.
func (q *request) statement(ctx context.Context, c *connection, sql string) error {
	clause := splitOutput(sql)
	if clause.body == "" {
		return exception(codeSyntaxError, "Empty query")
	}
	found := c.classify(sql)
	if found.Statements > 1 {
		return exception(codeSyntaxError, "Syntax error (Multi-statements are not allowed): the text holds %d statements", found.Statements)
	}
	if id, wait, ok := killsQuery(sql); ok && q.web.Method == http.MethodPost {
		return q.killQuery(ctx, id, wait)
	}
	if q.mustNotWrite() && found.Class != classReadOnly && found.Class != classUnknown && !isSessionStatement(sql) {
		return exception(codeReadonly, "%s: Cannot execute query in readonly mode", q.user.name)
	}
	// A text that the engine cannot parse goes on to it for its words about that; it runs nothing of it.
	if found.Class != classUnknown {
		if err := guard(c, clause.body, found, q.bindings()...); err != nil {
			return err
		}
	} else if clientFiles.MatchString(sql) {
		return exception(codeAccessDenied, "INTO OUTFILE and FROM INFILE are not available in the embedded warehouse")
	}
	format := clause.format
	if format == "" {
		var err error
		if format, err = q.defaultFormat("TabSeparated"); err != nil {
			return err
		}
	}
	if found.Class == classReadOnly && found.Statements == 1 {
		return q.streamed(ctx, c, clause, format)
	}
	return q.whole(ctx, c, sql, format)
}

// isSessionStatement reports whether a statement only changes the session that it runs in.
func isSessionStatement(sql string) bool {
	l := &lexer{sql: sql}
	first, ok := l.next()
	return ok && (first.isWord(sql, "SET") || first.isWord(sql, "USE"))
}

// insert feeds rows to an INSERT. All of them are here already.
func (q *request) insert(c *connection, head insertHead) error {
	if q.mustNotWrite() {
		return exception(codeReadonly, "%s: Cannot execute query in readonly mode", q.user.name)
	}
	if clientFiles.MatchString(head.statement) {
		return exception(codeAccessDenied, "INTO OUTFILE and FROM INFILE are not available in the embedded warehouse")
	}
	format := head.format
	if format == "" {
		var err error
		if format, err = q.defaultFormat("Values"); err != nil {
			return err
		}
	}
	if strings.EqualFold(format, "Values") {
		if err := q.guardValues(c, head); err != nil {
			return err
		}
	}
	rows, err := q.rows(head)
	if err != nil {
		return err
	}
	stream, err := c.insert(head.statement, format, q.bindings()...)
	if err != nil {
		return err
	}
	defer stream.close()
	piece := make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(rows, piece)
		if n > 0 {
			if err := stream.append(piece[:n]); err != nil && !errors.Is(err, errInsertEnded) {
				return err
			} else if err != nil {
				break // done says why
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	written, err := stream.done()
	if err != nil {
		return err
	}
	return q.to.finish(format, written)
}

// rows are what follows the head of an INSERT.
func (q *request) rows(head insertHead) (io.Reader, error) {
	text, err := q.text()
	if err != nil {
		return nil, err
	}
	_, err = io.CopyN(io.Discard, text, int64(head.rows))
	return text, err
}

// guardValues takes expressions away from rows that might read a file with one; their literals are read as ever.
func (q *request) guardValues(c *connection, head insertHead) error {
	rows, err := q.rows(head)
	if err != nil {
		return err
	}
	if risky, err := evaluatesValues(rows); err != nil || !risky {
		return err
	}
	if strings.Contains(strings.ToLower(head.statement), "input_format_values") {
		return exception(codeAccessDenied, "Settings of format Values are not available beside rows that may call functions by hidden names")
	}
	names := []string{"input_format_values_interpret_expressions", "input_format_values_deduce_templates_of_expressions"}
	former, err := formerSettings(c, names)
	if err != nil {
		return err
	}
	q.restore = append(q.restore, former...)
	return c.exec("SET " + strings.Join(names, " = 0, ") + " = 0")
}
