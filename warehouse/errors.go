package warehouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/headwater-data/headwater/internal/fault"
)

// ErrAway says that the server could not be reached or went away: it is worth waiting for. Later calls mark it as
// transient, Open as environmental.
var ErrAway = errors.New("the warehouse is away")

// ErrMissingDatabase says that the database or one of Headwater's tables is not there: Migrate makes them.
var ErrMissingDatabase = errors.New("the warehouse is not set up: run the project once, which creates its tables")

// Outcome is what a failed statement means for the rows in it.
type Outcome int

// The outcomes. They are decided here and nowhere else.
const (
	// Unknown errors are treated as structural: the table's rows are held.
	Unknown Outcome = iota
	// Retry: trying again unchanged, under the same token, may succeed.
	Retry
	// Row: a value does not fit its column; the row belongs in the quarantine.
	Row
	// Structural: the table or the rights on it are not what they should be; its rows are held until somebody has repaired
	// it.
	Structural
)

func (o Outcome) String() string {
	return [...]string{"unknown", "retry", "row", "structural"}[o]
}

// outcomes sorts ClickHouse's error codes; those not listed are Unknown.
var outcomes = map[int32]Outcome{
	3:    Retry, // UNEXPECTED_END_OF_FILE: the body broke off on its way
	23:   Retry, // CANNOT_READ_FROM_ISTREAM
	24:   Retry, // CANNOT_WRITE_TO_OSTREAM
	32:   Retry, // ATTEMPT_TO_READ_AFTER_EOF
	33:   Retry, // CANNOT_READ_ALL_DATA
	74:   Retry, // CANNOT_READ_FROM_FILE_DESCRIPTOR
	75:   Retry, // CANNOT_WRITE_TO_FILE_DESCRIPTOR
	76:   Retry, // CANNOT_OPEN_FILE: out of descriptors
	159:  Retry, // TIMEOUT_EXCEEDED
	160:  Retry, // TOO_SLOW
	201:  Retry, // QUOTA_EXCEEDED: it fills again
	202:  Retry, // TOO_MANY_SIMULTANEOUS_QUERIES
	203:  Retry, // NO_FREE_CONNECTION
	209:  Retry, // SOCKET_TIMEOUT
	210:  Retry, // NETWORK_ERROR
	225:  Retry, // NO_ZOOKEEPER
	236:  Retry, // ABORTED: shutting down
	241:  Retry, // MEMORY_LIMIT_EXCEEDED
	242:  Retry, // TABLE_IS_READ_ONLY: a replica without its keeper
	243:  Retry, // NOT_ENOUGH_SPACE
	244:  Retry, // UNEXPECTED_ZOOKEEPER_ERROR
	252:  Retry, // TOO_MANY_PARTS; but see Classify
	279:  Retry, // ALL_CONNECTION_TRIES_FAILED
	285:  Retry, // TOO_FEW_LIVE_REPLICAS
	286:  Retry, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
	319:  Retry, // UNKNOWN_STATUS_OF_INSERT
	341:  Retry, // UNFINISHED
	373:  Retry, // SESSION_IS_LOCKED
	394:  Retry, // QUERY_WAS_CANCELLED
	439:  Retry, // CANNOT_SCHEDULE_TASK
	473:  Retry, // DEADLOCK_AVOIDED
	517:  Retry, // CANNOT_ASSIGN_ALTER: another one is running
	574:  Retry, // DISTRIBUTED_TOO_MANY_PENDING_BYTES
	700:  Retry, // USER_SESSION_LIMIT_EXCEEDED
	733:  Retry, // TABLE_IS_BEING_RESTARTED
	745:  Retry, // SERVER_OVERLOADED
	999:  Retry, // KEEPER_EXCEPTION
	1000: Retry, // POCO_EXCEPTION

	6:   Row, // CANNOT_PARSE_TEXT
	25:  Row, // CANNOT_PARSE_ESCAPE_SEQUENCE
	26:  Row, // CANNOT_PARSE_QUOTED_STRING
	27:  Row, // CANNOT_PARSE_INPUT_ASSERTION_FAILED
	38:  Row, // CANNOT_PARSE_DATE
	41:  Row, // CANNOT_PARSE_DATETIME
	69:  Row, // ARGUMENT_OUT_OF_BOUND
	72:  Row, // CANNOT_PARSE_NUMBER
	131: Row, // TOO_LARGE_STRING_SIZE
	321: Row, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
	349: Row, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
	407: Row, // DECIMAL_OVERFLOW
	469: Row, // VIOLATED_CONSTRAINT
	691: Row, // UNKNOWN_ELEMENT_OF_ENUM

	10:  Structural, // NOT_FOUND_COLUMN_IN_BLOCK
	16:  Structural, // NO_SUCH_COLUMN_IN_TABLE
	20:  Structural, // NUMBER_OF_COLUMNS_DOESNT_MATCH
	36:  Structural, // BAD_ARGUMENTS
	43:  Structural, // ILLEGAL_TYPE_OF_ARGUMENT
	44:  Structural, // ILLEGAL_COLUMN
	46:  Structural, // UNKNOWN_FUNCTION
	47:  Structural, // UNKNOWN_IDENTIFIER
	48:  Structural, // NOT_IMPLEMENTED
	50:  Structural, // UNKNOWN_TYPE
	53:  Structural, // TYPE_MISMATCH
	57:  Structural, // TABLE_ALREADY_EXISTS
	60:  Structural, // UNKNOWN_TABLE
	62:  Structural, // SYNTAX_ERROR
	70:  Structural, // CANNOT_CONVERT_TYPE: a column's type, not a value
	73:  Structural, // UNKNOWN_FORMAT
	80:  Structural, // INCORRECT_QUERY
	81:  Structural, // UNKNOWN_DATABASE
	115: Structural, // UNKNOWN_SETTING
	117: Structural, // INCORRECT_DATA: the body is not what its format says
	164: Structural, // READONLY
	192: Structural, // UNKNOWN_USER
	193: Structural, // WRONG_PASSWORD
	194: Structural, // REQUIRED_PASSWORD
	195: Structural, // IP_ADDRESS_NOT_ALLOWED
	218: Structural, // TABLE_IS_DROPPED
	291: Structural, // DATABASE_ACCESS_DENIED
	344: Structural, // SUPPORT_IS_DISABLED
	452: Structural, // SETTING_CONSTRAINT_VIOLATION
	497: Structural, // ACCESS_DENIED
	516: Structural, // AUTHENTICATION_FAILED
	524: Structural, // ALTER_OF_COLUMN_IS_FORBIDDEN
}

// Classify says what an error of this package, or of the driver, means for the rows that were on their way. A nil error has
// no outcome; do not ask. A cancelled context is Retry: nothing is known against the rows.
func Classify(err error) Outcome {
	if exception, ok := errors.AsType[*clickhouse.Exception](err); ok {
		// 252 means two things: too many parts (merges are behind: wait) and too many partitions in one insert (it will never
		// fit).
		if exception.Code == 252 && strings.Contains(strings.ToLower(exception.Message), "partitions for") {
			return Structural
		}
		return outcomes[exception.Code]
	}
	if isAway(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, clickhouse.ErrAcquireConnTimeout) {
		return Retry
	}
	return Unknown
}

// isAway reports whether the error is the network's or a proxy's, not ClickHouse's own.
func isAway(err error) bool {
	if errors.Is(err, ErrAway) {
		return true
	}
	if _, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return false
	}
	if response, ok := errors.AsType[*clickhouse.HTTPError](err); ok {
		switch response.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, target) {
			return true
		}
	}
	// The transport wraps these in errors of its own without types.
	text := err.Error()
	return strings.Contains(text, "server closed idle connection") || strings.Contains(text, "transport connection broken")
}

// wrap says what was being done and marks the error by what the caller should do.
func (w *Warehouse) wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	if exception, ok := errors.AsType[*clickhouse.Exception](err); ok {
		err = shorten(err, exception)
		switch exception.Code {
		case 497: // the message names the right
			return fault.Environment(fmt.Errorf("%s at %s as user %q: %w; headwater warehouse grants prints the rights that are needed", what, w.config.Addr, w.config.User, err))
		case 192, 193, 194, 195, 516: // who may enter
			return fault.Environment(fmt.Errorf("%s at %s as user %q: %w", what, w.config.Addr, w.config.User, err))
		case 60, 81: // UNKNOWN_TABLE, UNKNOWN_DATABASE
			return fault.Environment(fmt.Errorf("%s at %s, database %q: %w: %w", what, w.config.Addr, w.config.Database, ErrMissingDatabase, err))
		}
		err = fmt.Errorf("%s: %w", what, err)
		if Classify(err) == Retry {
			return fault.Transient(err)
		}
		return err
	}
	if hint := handshakeHint(err); hint != "" {
		if request, ok := errors.AsType[*url.Error](err); ok {
			err = request.Err
		}
		return fault.Transient(fmt.Errorf("%s at %s: %w: %w; %s", what, w.config.Addr, ErrAway, err, hint))
	}
	if isAway(err) {
		if request, ok := errors.AsType[*url.Error](err); ok {
			err = request.Err // without the request's long list of settings
		}
		return fault.Transient(fmt.Errorf("%s at %s: %w: %w", what, w.config.Addr, ErrAway, err))
	}
	err = fmt.Errorf("%s: %w", what, err)
	if Classify(err) == Retry && !errors.Is(err, context.Canceled) {
		return fault.Transient(err)
	}
	return err
}

// handshakeHint says what to check when an encrypted connection does not come about, "" when that is not it. It says nothing
// against the rows, so such errors stay worth another try: certificates are renewed while a service runs.
func handshakeHint(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the server's certificate is not trusted: check warehouse.address (its name must be in the certificate) and warehouse.tls.ca"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // an alert of the server's
		return "the server refuses the encrypted connection: check warehouse.tls.cert and key, and whether the server trusts who issued the certificate"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return "the server does not speak TLS there: check the port in warehouse.address (8443 on a stock server), or remove warehouse.tls"
	}
	return ""
}

// maxMessage bounds how much of the server's message an error shows: it quotes whole statements and expressions.
const maxMessage = 600

func shorten(err error, exception *clickhouse.Exception) error {
	if len(exception.Message) <= maxMessage {
		return err
	}
	short := *exception
	short.Message = strings.ToValidUTF8(exception.Message[:maxMessage], "") + "…"
	return &short
}
