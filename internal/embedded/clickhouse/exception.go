package clickhouse

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Exception is an error in ClickHouse's words.
type Exception struct {
	Code    int    // ClickHouse's number of the error, never 0
	Message string // the whole text, for example "Code: 62. DB::Exception: … (SYNTAX_ERROR)"
}

func (e *Exception) Error() string { return e.Message }

// Codes that this package answers with itself.
const (
	codeCannotReadAllData    = 33
	codeBadArguments         = 36
	codeNotImplemented       = 48
	codeSyntaxError          = 62
	codeReadonly             = 164
	codeTooLarge             = 307
	codeTooManyQueries       = 202
	codeCannotDecompress     = 271
	codeQueryWasCancelled    = 394
	codeSessionNotFound      = 372
	codeSessionIsLocked      = 373
	codeInvalidSessionTime   = 374
	codeAccessDenied         = 497
	codeAuthenticationFailed = 516
	codeUnknownException     = 1002
)

var codeNames = map[int]string{
	codeCannotReadAllData: "CANNOT_READ_ALL_DATA", codeBadArguments: "BAD_ARGUMENTS", codeNotImplemented: "NOT_IMPLEMENTED",
	codeSyntaxError: "SYNTAX_ERROR", codeReadonly: "READONLY", codeTooLarge: "TOO_MANY_BYTES",
	codeTooManyQueries: "TOO_MANY_SIMULTANEOUS_QUERIES", codeCannotDecompress: "CANNOT_DECOMPRESS",
	codeQueryWasCancelled: "QUERY_WAS_CANCELLED", codeSessionNotFound: "SESSION_NOT_FOUND", codeSessionIsLocked: "SESSION_IS_LOCKED",
	codeInvalidSessionTime: "INVALID_SESSION_TIMEOUT", codeAccessDenied: "ACCESS_DENIED",
	codeAuthenticationFailed: "AUTHENTICATION_FAILED", codeUnknownException: "UNKNOWN_EXCEPTION",
}

// exception words an error of this package as the engine would.
func exception(code int, format string, args ...any) *Exception {
	return &Exception{Code: code, Message: fmt.Sprintf("Code: %d. DB::Exception: %s. (%s)", code, fmt.Sprintf(format, args...), codeNames[code])}
}

// asException gives any error the form that clients parse.
func asException(err error) *Exception {
	if e, ok := errors.AsType[*Exception](err); ok {
		return e
	}
	return exception(codeUnknownException, "%s", strings.TrimSuffix(err.Error(), "."))
}

var exceptionStart = regexp.MustCompile(`Code: (\d+)\. DB::`)

// parseException reads what the engine says when it fails.
func parseException(message string) *Exception {
	message = strings.TrimPrefix(strings.TrimSpace(message), "Error: ")
	at := exceptionStart.FindStringSubmatch(message)
	if at == nil {
		return exception(codeUnknownException, "%s", strings.TrimSuffix(message, "."))
	}
	code, err := strconv.Atoi(at[1])
	if err != nil || code == 0 {
		code = codeUnknownException
	}
	return &Exception{Code: code, Message: message}
}

// status is the HTTP status that ClickHouse answers the error with.
func (e *Exception) status() int {
	switch e.Code {
	case 194: // REQUIRED_PASSWORD
		return http.StatusUnauthorized
	case 192, 193, codeAuthenticationFailed, 512, codeAccessDenied, 291:
		return http.StatusForbidden
	case 6, 26, 27, codeBadArguments, 38, 41, 53, codeSyntaxError, 70, 72, 117, 130, 131, 167, 168, 130002, 427, 457,
		codeCannotReadAllData, codeCannotDecompress, codeInvalidSessionTime:
		return http.StatusBadRequest
	case 46, 47, 50, 56, 60, 63, 73, 81, 115, 392, 393, codeSessionNotFound:
		return http.StatusNotFound
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusRequestTimeout
	case codeTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeNotImplemented:
		return http.StatusNotImplemented
	case codeTooManyQueries, 209:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
