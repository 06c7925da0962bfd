package transform

import (
	"crypto/hmac"
	"encoding/hex"
	"strings"
	"testing"
)

func TestSM3IsTheStandards(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"GB/T 32905-2016, A.1": {"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"},
		"GB/T 32905-2016, A.2": {strings.Repeat("abcd", 16), "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"},
		// From OpenSSL 3.0, at the lengths where the padding changes.
		"nothing":    {"", "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b"},
		"55 bytes":   {strings.Repeat("a", 55), "288337eef51eec62e7544d7270424c8dbe656254c99852870a73b2453a6a7fb1"},
		"56 bytes":   {strings.Repeat("a", 56), "ba00ebedaab54065a5fd4f9f56326016203166bcee3eed44ea868d59d67aa3c8"},
		"63 bytes":   {strings.Repeat("a", 63), "587308543551881ebd70d27ad358ff5dcdf24ac54822e2f7b7c3edce0985d21b"},
		"64 bytes":   {strings.Repeat("a", 64), "616ec433c359e7c2b19f360e2b8f2a1b6e9ed76b8dc1a7d207b31a5341c611e9"},
		"65 bytes":   {strings.Repeat("a", 65), "3d1d94afa238ec3e2bbc20ad504702b24c16f2889c94973f2f8da3526c44e4bc"},
		"119 bytes":  {strings.Repeat("a", 119), "53282a90724e9eb79b18d06b5b8f7f02d046e18b29247dcdb064a136d5c4459a"},
		"120 bytes":  {strings.Repeat("a", 120), "4c9f0fe9f36ffe0191af73560c4afb1b671be02ba2d0e0c161b1e03488c2a45c"},
		"128 bytes":  {strings.Repeat("a", 128), "5fd947effbe82a5925faaee9123d43cea200cc257b28ed797505694b4bb020f6"},
		"1000 bytes": {strings.Repeat("a", 1000), "f4bedca973227d45c5b822551d2e762d4cfb0e9af70b241452545727b5fb046f"},
	} {
		for _, piece := range []int{1, 7, 64, 1001} {
			h := newSM3()
			for rest := c.text; rest != ""; {
				n := min(piece, len(rest))
				_, _ = h.Write([]byte(rest[:n])) // never fails
				_ = h.Sum(nil)                   // changes nothing
				rest = rest[n:]
			}
			if got := hex.EncodeToString(h.Sum(nil)); got != c.want {
				t.Errorf("%s in pieces of %d: got %s, want %s", name, piece, got, c.want)
			}
		}
	}
	for key, want := range map[string]string{ // from OpenSSL 3.0: openssl dgst -sm3 -hmac KEY
		"0123456789abcdef":       "291046a289b1f1ce0e16556db7e1a8726248f71996665406b9f65d422a5fdb48",
		strings.Repeat("k", 100): "78fcbe66d42bbc4bb6b16d4d1f8ab12c8b9ff5b628b7e128ac23296fd168f209",
	} {
		mac := hmac.New(newSM3, []byte(key))
		mac.Write([]byte("13800138000"))
		if got := hex.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("HMAC under a key of %d bytes: got %s, want %s", len(key), got, want)
		}
	}
}
