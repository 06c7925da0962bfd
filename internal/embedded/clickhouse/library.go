package clickhouse

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is the engine's C interface. Every handle it gives out is a plain number: the engine owns what is behind it.
//
// A connection runs one statement at a time; the engine serialises calls on one connection, so a call may block for as long
// as the statement before it.
type library struct {
	setSignalHandlersEnabled func(enabled int32)
	connectArgs              func(argc int32, argv unsafe.Pointer) uintptr
	closeConnection          func(connection uintptr)
	queryWithParameters      func(connection uintptr, query unsafe.Pointer, queryBytes uintptr, format unsafe.Pointer, formatBytes uintptr,
		names, nameBytes, values, valueBytes unsafe.Pointer, count uintptr) uintptr
	streamWithParameters func(connection uintptr, query unsafe.Pointer, queryBytes uintptr, format unsafe.Pointer, formatBytes uintptr,
		names, nameBytes, values, valueBytes unsafe.Pointer, count uintptr) uintptr
	insertWithParameters func(connection uintptr, query unsafe.Pointer, queryBytes uintptr, format unsafe.Pointer, formatBytes uintptr,
		names, nameBytes, values, valueBytes unsafe.Pointer, count uintptr) uintptr
	streamFetch   func(connection, stream uintptr) uintptr
	streamCancel  func(connection, stream uintptr)
	destroyResult func(result uintptr)
	insertAppend  func(stream uintptr, data unsafe.Pointer, bytes uintptr) int32
	insertDone    func(stream uintptr) uintptr
	insertCancel  func(stream uintptr)
	insertError   func(stream uintptr) uintptr
	insertDestroy func(stream uintptr)

	resultBuffer       func(result uintptr) uintptr
	resultLength       func(result uintptr) uintptr
	resultError        func(result uintptr) uintptr
	resultRowsRead     func(result uintptr) uint64
	resultStorageRows  func(result uintptr) uint64
	resultStorageBytes func(result uintptr) uint64
	resultRowsWritten  func(result uintptr) uint64
	resultBytesWritten func(result uintptr) uint64

	classify func(connection uintptr, query unsafe.Pointer, queryBytes uintptr, database unsafe.Pointer, databaseBytes uintptr, analysis unsafe.Pointer) int32
}

// loaded keeps the one library of this process: it cannot be unloaded.
var loaded struct {
	sync.Mutex
	path    string
	library *library
}

// loadLibrary loads the engine's shared library once per process and turns its signal handlers off before anything else,
// since they would take the place of the Go runtime's.
func loadLibrary(path string) (*library, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.library != nil {
		if loaded.path != path {
			return nil, fmt.Errorf("load engine %s: this process has already loaded %s", path, loaded.path)
		}
		return loaded.library, nil
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load engine %s: %w", path, err)
	}
	l := &library{}
	for name, function := range map[string]any{
		"chdb_set_signal_handlers_enabled": &l.setSignalHandlersEnabled,
		"chdb_connect":                     &l.connectArgs,
		"chdb_close_conn":                  &l.closeConnection,
		"chdb_query_with_params_n":         &l.queryWithParameters,
		"chdb_stream_query_with_params_n":  &l.streamWithParameters,
		"chdb_stream_insert_with_params_n": &l.insertWithParameters,
		"chdb_stream_fetch_result":         &l.streamFetch,
		"chdb_stream_cancel_query":         &l.streamCancel,
		"chdb_destroy_query_result":        &l.destroyResult,
		"chdb_stream_append":               &l.insertAppend,
		"chdb_stream_done":                 &l.insertDone,
		"chdb_stream_cancel_insert":        &l.insertCancel,
		"chdb_stream_insert_error":         &l.insertError,
		"chdb_destroy_insert_stream":       &l.insertDestroy,
		"chdb_result_buffer":               &l.resultBuffer,
		"chdb_result_length":               &l.resultLength,
		"chdb_result_error":                &l.resultError,
		"chdb_result_rows_read":            &l.resultRowsRead,
		"chdb_result_storage_rows_read":    &l.resultStorageRows,
		"chdb_result_storage_bytes_read":   &l.resultStorageBytes,
		"chdb_result_rows_written":         &l.resultRowsWritten,
		"chdb_result_bytes_written":        &l.resultBytesWritten,
		"chdb_classify_query_n":            &l.classify,
	} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("load engine %s: %w", path, err)
		}
		purego.RegisterFunc(function, symbol)
	}
	l.setSignalHandlersEnabled(0)
	loaded.path, loaded.library = path, l
	return l, nil
}

// A text that C reads: its bytes and their number. An empty text still points somewhere, since the engine refuses null.
type text struct {
	bytes []byte
}

func newText(s string) text { return text{bytes: append([]byte(s), 0)} }

func (t text) pointer() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(t.bytes)) }
func (t text) length() uintptr         { return uintptr(len(t.bytes) - 1) }

// goText copies a C string; a null pointer is the empty text.
func goText(pointer uintptr) string {
	if pointer == 0 {
		return ""
	}
	start := foreign(pointer)
	length := 0
	for *(*byte)(unsafe.Add(start, length)) != 0 {
		length++
	}
	return string(unsafe.Slice((*byte)(start), length))
}

// foreign makes an address that the engine gave a pointer. It goes through memory because the address is not Go's: the
// garbage collector neither moves nor frees what is there.
func foreign(address uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}

// connection is one session of the engine: its settings, its current database, its temporary tables.
type connection struct {
	library *library
	handle  uintptr // chdb_connection *: what close wants
	inner   uintptr // chdb_connection: what every other call wants
}

// connect opens a connection; the first one of a process starts the engine on the path among args. Args that name settings
// apply to this connection only.
func (l *library) connect(args ...string) (*connection, error) {
	texts := make([]text, 0, len(args)+1)
	for _, arg := range append([]string{"headwater"}, args...) {
		texts = append(texts, newText(arg))
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	argv := make([]unsafe.Pointer, 0, len(texts)+1)
	for _, t := range texts {
		pin.Pin(t.pointer())
		argv = append(argv, t.pointer())
	}
	argv = append(argv, nil)
	handle := l.connectArgs(int32(len(texts)), unsafe.Pointer(unsafe.SliceData(argv)))
	runtime.KeepAlive(texts)
	runtime.KeepAlive(argv)
	if handle == 0 {
		return nil, errors.New("the engine refused to open a connection; its reason is on standard error")
	}
	return &connection{library: l, handle: handle, inner: *(*uintptr)(foreign(handle))}, nil
}

// close ends the session. Nothing else may be running on it. Closing twice is harmless.
func (c *connection) close() {
	if c.handle != 0 {
		c.library.closeConnection(c.handle)
		c.handle, c.inner = 0, 0
	}
}

// parameter is one {name:Type} placeholder's value, in the escaped text form that the engine reads.
type parameter struct{ name, value string }

type startFunction func(connection uintptr, query unsafe.Pointer, queryBytes uintptr, format unsafe.Pointer, formatBytes uintptr,
	names, nameBytes, values, valueBytes unsafe.Pointer, count uintptr) uintptr

func (c *connection) start(function startFunction, query, format string, parameters []parameter) uintptr {
	q, f := newText(query), newText(format)
	var pin runtime.Pinner
	defer pin.Unpin()
	var names, values []unsafe.Pointer
	var nameBytes, valueBytes []uintptr
	for _, p := range parameters {
		name, value := newText(p.name), newText(p.value)
		pin.Pin(name.pointer())
		pin.Pin(value.pointer())
		names, nameBytes = append(names, name.pointer()), append(nameBytes, name.length())
		values, valueBytes = append(values, value.pointer()), append(valueBytes, value.length())
	}
	result := function(c.inner, q.pointer(), q.length(), f.pointer(), f.length(),
		unsafe.Pointer(unsafe.SliceData(names)), unsafe.Pointer(unsafe.SliceData(nameBytes)),
		unsafe.Pointer(unsafe.SliceData(values)), unsafe.Pointer(unsafe.SliceData(valueBytes)), uintptr(len(parameters)))
	runtime.KeepAlive(q)
	runtime.KeepAlive(f)
	runtime.KeepAlive(names)
	runtime.KeepAlive(values)
	runtime.KeepAlive(nameBytes)
	runtime.KeepAlive(valueBytes)
	return result
}

// progress counts what a statement read and wrote.
type progress struct {
	ReadRows, ReadBytes, WrittenRows, WrittenBytes, ResultRows, ResultBytes uint64
}

// chunk is a piece of a result. Its bytes belong to the engine until release.
type chunk struct {
	library  *library
	handle   uintptr
	bytes    []byte
	progress progress
}

func (c *chunk) release() {
	if c.handle != 0 {
		c.library.destroyResult(c.handle)
		c.handle, c.bytes = 0, nil
	}
}

// take reads a result handle; a result that is an error is destroyed and returned as an error.
func (l *library) take(handle uintptr) (*chunk, error) {
	if handle == 0 {
		return nil, errors.New("the engine gave no result")
	}
	if message := goText(l.resultError(handle)); message != "" {
		l.destroyResult(handle)
		return nil, parseException(message)
	}
	c := &chunk{library: l, handle: handle, progress: progress{
		ReadRows: l.resultStorageRows(handle), ReadBytes: l.resultStorageBytes(handle),
		WrittenRows: l.resultRowsWritten(handle), WrittenBytes: l.resultBytesWritten(handle),
		ResultRows: l.resultRowsRead(handle),
	}}
	if length := l.resultLength(handle); length > 0 {
		c.bytes = unsafe.Slice((*byte)(foreign(l.resultBuffer(handle))), length)
		c.progress.ResultBytes = uint64(length)
	}
	return c, nil
}

// query runs a statement to its end and holds its whole result. For statements with small results only.
func (c *connection) query(query, format string, parameters ...parameter) (*chunk, error) {
	return c.library.take(c.start(c.library.queryWithParameters, query, format, parameters))
}

// exec runs a statement whose result does not matter.
func (c *connection) exec(query string) error {
	result, err := c.query(query, "TabSeparated")
	if err != nil {
		return err
	}
	result.release()
	return nil
}

// insertStream is a running INSERT whose data the caller feeds.
type insertStream struct {
	library *library
	handle  uintptr
}

// insert starts an INSERT. The statement stands without FORMAT clause and data. The caller closes the stream; one that is
// closed without done is cancelled.
func (c *connection) insert(query, format string, parameters ...parameter) (*insertStream, error) {
	handle := c.start(c.library.insertWithParameters, query, format, parameters)
	s := &insertStream{library: c.library, handle: handle}
	if err := s.failure(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *insertStream) failure() error {
	if message := goText(s.library.insertError(s.handle)); message != "" {
		return parseException(message)
	}
	return nil
}

// append feeds a piece of data, which may end anywhere; the engine copies it. It blocks while the engine is behind.
func (s *insertStream) append(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	state := s.library.insertAppend(s.handle, unsafe.Pointer(unsafe.SliceData(data)), uintptr(len(data)))
	runtime.KeepAlive(data)
	if state == 0 {
		return nil
	}
	if err := s.failure(); err != nil {
		return err
	}
	return errInsertEnded
}

// errInsertEnded says that the INSERT ended before its data did; done tells how.
var errInsertEnded = errors.New("the INSERT ended before its data")

// done ends the data and waits until the engine has stored it.
func (s *insertStream) done() (progress, error) {
	result, err := s.library.take(s.library.insertDone(s.handle))
	if err != nil {
		return progress{}, err
	}
	defer result.release()
	return result.progress, nil
}

func (s *insertStream) close() {
	if s.handle != 0 {
		s.library.insertDestroy(s.handle)
		s.handle = 0
	}
}

// queryClass says what a statement does, in the words of the engine's own parser.
type queryClass uint32

const (
	classReadOnly queryClass = iota
	classMutating
	classMutatingGlobal
	classControl
	classUnknown
)

// classification is what the engine's parser says about a text without running it.
type classification struct {
	Statements int
	Class      queryClass
}

func (c *connection) classify(query string) classification {
	var analysis struct{ size, statements, flags, class uint32 }
	analysis.size = uint32(unsafe.Sizeof(analysis))
	q := newText(query)
	state := c.library.classify(c.inner, q.pointer(), q.length(), nil, 0, unsafe.Pointer(&analysis))
	runtime.KeepAlive(q)
	if state != 0 {
		return classification{Class: classUnknown}
	}
	return classification{Statements: int(analysis.statements), Class: queryClass(analysis.class)}
}
