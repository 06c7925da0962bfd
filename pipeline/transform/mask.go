package transform

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/headwater-data/headwater/internal/secret"
)

// DefaultKey is the name of the key for `mask: hash` without a name of its own, where Hashing names no other.
const DefaultKey = "k1"

// Hashing says how personal values are hashed. Which key and algorithm a hash was made with is told by the key's name, which
// stands before it, so a key keeps its algorithm for ever.
type Hashing struct {
	// Newest is the name of the key that hashes where a mapping names none. Defaults to DefaultKey.
	Newest string
	// SM3 names the keys of which hashes are HMAC-SM3. Those of all others are HMAC-SHA-256.
	SM3 []string
}

// algorithm returns the hash function under a key of that name.
func (h Hashing) algorithm(key string) func() hash.Hash {
	if slices.Contains(h.SM3, key) {
		return newSM3
	}
	return sha256.New
}

// Fingerprint tells whether a key and its algorithm are what they were, and nothing else about the key that the hashes
// themselves do not tell.
func (h Hashing) Fingerprint(name string, value secret.Value) string {
	mac := hmac.New(h.algorithm(name), []byte(value.Reveal()))
	mac.Write([]byte("headwater: fingerprint of the key " + name))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// maskedMetadata marks a column of a record as masked by Ingress, so that Apply takes it as it is.
const maskedMetadata = "headwater.masked"

var keyName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// parseMask reads a mask as declared: hash, hash:KEY, phone, name, id or drop. The key is "" where none is named.
func parseMask(text string) (kind, key, problem string) {
	kind, key, named := strings.Cut(text, ":")
	switch kind {
	case "hash":
		if !named {
			return kind, "", ""
		}
		if !keyName.MatchString(key) {
			return "", "", fmt.Sprintf("%q is no name of a key", bounded(key, 40))
		}
		return kind, key, ""
	case "phone", "name", "id", "drop":
		if !named {
			return kind, "", ""
		}
	}
	return "", "", fmt.Sprintf("%q is no mask", bounded(text, 40))
}

// masker hides values. It is not safe for use from several goroutines.
type masker struct {
	kind   string
	prefix string
	mac    hash.Hash
}

func newMasker(kind, key string, value secret.Value, algorithm func() hash.Hash) *masker {
	m := &masker{kind: kind}
	if kind == "hash" {
		m.prefix = key + ":"
		m.mac = hmac.New(algorithm, []byte(value.Reveal()))
	}
	return m
}

// append writes the masked form of value. The key's name stands before a hash, so that hashes of different keys are never
// taken for the same.
func (m *masker) append(b, value []byte) []byte {
	switch m.kind {
	case "hash":
		m.mac.Reset()
		m.mac.Write(value)
		var sum [sha256.Size]byte // SM3's are as long
		return hex.AppendEncode(append(b, m.prefix...), m.mac.Sum(sum[:0]))
	case "phone":
		if len(value) >= 11 && utf8.RuneCount(value) == len(value) {
			return stars(b, value, 3, 4)
		}
		return stars(b, value, 0, 0)
	case "id":
		if utf8.RuneCount(value) >= 15 {
			return stars(b, value, 6, 0)
		}
		return stars(b, value, 0, 0)
	}
	return stars(b, value, 1, 0) // name
}

// stars keeps the first and last characters and hides how long the rest is beyond 12.
func stars(b, value []byte, first, last int) []byte {
	runes := []rune(string(value))
	if first+last >= len(runes) {
		first, last = 0, 0
	}
	b = append(b, string(runes[:first])...)
	b = append(b, strings.Repeat("*", min(len(runes)-first-last, 12))...)
	return append(b, string(runes[len(runes)-last:])...)
}
