package transform

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/headwater-data/headwater/internal/secret"
)

// DefaultKey is the name of the key for `mask: hash` without a name of its own.
const DefaultKey = "k1"

// maskedMetadata marks a column of a record as masked by Ingress, so that Apply takes it as it is.
const maskedMetadata = "headwater.masked"

var keyName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// parseMask reads a mask as declared: hash, hash:KEY, phone, name, id or drop.
func parseMask(text string) (kind, key, problem string) {
	kind, key, named := strings.Cut(text, ":")
	switch kind {
	case "hash":
		if !named {
			return kind, DefaultKey, ""
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

func newMasker(kind, key string, value secret.Value) *masker {
	m := &masker{kind: kind}
	if kind == "hash" {
		m.prefix = key + ":"
		m.mac = hmac.New(sha256.New, []byte(value.Reveal()))
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
		var sum [sha256.Size]byte
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
