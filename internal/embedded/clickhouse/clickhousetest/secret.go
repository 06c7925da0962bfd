package clickhousetest

import "crypto/rand"

// randomText is a password nobody knows beforehand.
func randomText() string { return rand.Text() }
