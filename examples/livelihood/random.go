package livelihood

// seed makes all the figures; another seed would tell another story.
const seed = 20210409

// source is SplitMix64 (Steele, Lea, Flood 2014). It is written out here so that the figures stay the same whatever a later
// release of Go does to its own generators. Each subject draws from a source of its own, so that adding one leaves the others
// as they are.
type source struct{ state uint64 }

func newSource(subject string) *source {
	state := uint64(seed)
	for _, b := range []byte(subject) {
		state = (state ^ uint64(b)) * 0x100000001b3 // FNV-1a
	}
	return &source{state}
}

func (s *source) next() uint64 {
	s.state += 0x9e3779b97f4a7c15
	z := s.state
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// below returns a number in [0, n).
func (s *source) below(n int) int { return int(s.next() % uint64(n)) }

// between returns a number in [low, high).
func (s *source) between(low, high float64) float64 {
	return low + (high-low)*float64(s.next()>>11)/(1<<53)
}

// pick returns one of the choices.
func pick[T any](s *source, choices []T) T { return choices[s.below(len(choices))] }
