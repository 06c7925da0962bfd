// Package fault sorts errors once, in one place, by what the caller should do about them.
//
// An error is transient (try again with backoff), environmental (a server is away or a right is missing: tell the operator),
// usage (the configuration or the command line is wrong) or, when nothing says otherwise, permanent. Row faults are not
// errors: they are data and travel with the batch.
package fault

import (
	"context"
	"errors"
)

// Kind says what a caller should do about an error.
type Kind int

// The kinds of errors, by what the caller should do.
const (
	// KindPermanent will fail again in the same way; it is the kind of every error that nobody marked.
	KindPermanent Kind = iota
	// KindTransient may succeed when tried again unchanged.
	KindTransient
	// KindEnvironment needs somebody to start a server, grant a right or free a disk.
	KindEnvironment
	// KindUsage needs somebody to change the configuration or the command line.
	KindUsage
)

type marked struct {
	kind Kind
	err  error
}

func (m *marked) Error() string { return m.err.Error() }
func (m *marked) Unwrap() error { return m.err }

func mark(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &marked{kind: kind, err: err}
}

// Transient marks err as one that may succeed when tried again unchanged. A nil error stays nil.
func Transient(err error) error { return mark(KindTransient, err) }

// Permanent marks err as one that will fail again in the same way, even if what it wraps is transient. A nil error stays nil.
func Permanent(err error) error { return mark(KindPermanent, err) }

// Environment marks err as one that an operator must mend outside Headwater. A nil error stays nil.
func Environment(err error) error { return mark(KindEnvironment, err) }

// Usage marks err as a fault of the configuration or the command line. A nil error stays nil.
func Usage(err error) error { return mark(KindUsage, err) }

// KindOf returns the outermost mark of err; an unmarked error is permanent. An expired deadline is transient, a cancelled
// context is not (whoever cancelled does not want another try).
func KindOf(err error) Kind {
	if m, ok := errors.AsType[*marked](err); ok {
		return m.kind
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return KindTransient
	}
	return KindPermanent
}

// IsTransient reports whether trying again unchanged may succeed.
func IsTransient(err error) bool { return err != nil && KindOf(err) == KindTransient }

// IsPermanent reports whether err will fail again in the same way.
func IsPermanent(err error) bool { return err != nil && KindOf(err) == KindPermanent }
