package clickhouse

import (
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	defaultSessionTime = time.Minute
	maxSessionTime     = time.Hour
)

// session is a connection that outlives a request: its temporary tables and settings stay.
type session struct {
	connection *connection
	busy       bool
	expires    time.Time
	timeout    time.Duration
}

type sessions struct {
	sync.Mutex
	open map[string]*session
}

// take finds or opens the session of one user by its id and keeps it to the caller until put.
func (s *sessions) take(u user, id string, parameters url.Values, connect func() (*connection, error)) (*session, error) {
	timeout := defaultSessionTime
	if given := parameters.Get("session_timeout"); given != "" {
		seconds, err := strconv.ParseUint(given, 10, 32)
		if err != nil || time.Duration(seconds)*time.Second > maxSessionTime {
			return nil, exception(codeInvalidSessionTime, "Invalid session timeout: '%s', the largest is %d", given, int(maxSessionTime.Seconds()))
		}
		timeout = time.Duration(seconds) * time.Second
	}
	key := u.name + "\x00" + id
	s.Lock()
	defer s.Unlock()
	if found, ok := s.open[key]; ok {
		if found.busy {
			return nil, exception(codeSessionIsLocked, "Session %s is locked by a concurrent client", id)
		}
		found.busy, found.timeout = true, timeout
		return found, nil
	}
	if parameters.Get("session_check") == "1" {
		return nil, exception(codeSessionNotFound, "Session %s not found", id)
	}
	if len(s.open) >= maxSessions {
		return nil, exception(codeTooManyQueries, "Too many sessions: %d are open; end one with close_session=1 or use a shorter session_timeout", len(s.open))
	}
	c, err := connect()
	if err != nil {
		return nil, err
	}
	opened := &session{connection: c, busy: true, timeout: timeout}
	s.open[key] = opened
	return opened, nil
}

// put gives a session back, or ends it.
func (s *sessions) put(u user, id string, taken *session, end bool) {
	s.Lock()
	defer s.Unlock()
	taken.busy = false
	taken.expires = time.Now().Add(taken.timeout)
	if end {
		delete(s.open, u.name+"\x00"+id)
		taken.connection.close()
	}
}

func (s *sessions) closeIdle(now time.Time) {
	s.Lock()
	defer s.Unlock()
	for key, candidate := range s.open {
		if !candidate.busy && now.After(candidate.expires) {
			delete(s.open, key)
			candidate.connection.close()
		}
	}
}

func (s *sessions) closeAll() {
	s.Lock()
	defer s.Unlock()
	for key, candidate := range s.open {
		delete(s.open, key)
		candidate.connection.close()
	}
}
