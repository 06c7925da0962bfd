package transform

// FanOut returns how many records one row makes at most: 1, or the number of columns that are unpivoted.
func (m *Mapping) FanOut() int {
	if m.unpivot == nil {
		return 1
	}
	return len(m.unpivot.columns)
}

// Personal reports whether the stream has personal fields: rows of it that cannot be read cannot be masked either.
func (m *Mapping) Personal() bool { return len(m.masked) > 0 }
