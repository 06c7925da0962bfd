package load

import "time"

// LookEvery makes a service look at the log more often than it does.
func (s *Service) LookEvery(d time.Duration) { s.lookEvery = d }
