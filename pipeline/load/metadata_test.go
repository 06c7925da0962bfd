package load

import "testing"

// FuzzParseMetadata: no metadata of a commit makes ParseMetadata panic, and what it accepts is written as it was read.
func FuzzParseMetadata(f *testing.F) {
	f.Add(Metadata{To: 5, Shape: "abc"}.Encode())
	f.Add(`{"s":{"incarnation":"x","epoch":-1},"b":9223372036854775807}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMetadata(text)
		if err != nil {
			return
		}
		again, err := ParseMetadata(m.Encode())
		if err != nil || again != m {
			t.Errorf("%q is read as %+v, then as %+v, %v", text, m, again, err)
		}
	})
}
