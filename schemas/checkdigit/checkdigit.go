// Package checkdigit verifies the check digits of identifiers that Chinese administration uses: the unified social credit
// code (GB 32100-2015), the organization code (GB 11714-1997) and the resident identity number (GB 11643-1999).
//
// A wrong check digit is a reason to look, not proof: codes that a registry really issued are known to fail. Errors never
// hold the value, so they may be logged.
package checkdigit

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// What can be wrong with an identifier.
var (
	ErrLength    = errors.New("has the wrong length")
	ErrCharacter = errors.New("holds a character that does not belong there")
	ErrCheck     = errors.New("has a wrong check digit")
	// ErrInner is about the organization code inside a unified social credit code.
	ErrInner = errors.New("holds an organization code with a wrong check digit")
	ErrDate  = errors.New("holds a date of birth that does not exist")
	// ErrDamaged is about digits that a spreadsheet has rounded away: they cannot be had back, only asked for again.
	ErrDamaged = errors.New("was damaged by a spreadsheet: digits are lost")
)

// The names of the checks, as rules write them.
const (
	NameCreditCode       = "uscc"
	NameOrganizationCode = "org-code"
	NameResidentID       = "resident-id"
)

// Names lists the checks.
func Names() []string { return []string{NameCreditCode, NameOrganizationCode, NameResidentID} }

// Verify applies the check of that name; an unknown name is an error of the caller.
func Verify(name, value string) error {
	switch name {
	case NameCreditCode:
		return CreditCode(value)
	case NameOrganizationCode:
		return OrganizationCode(value)
	case NameResidentID:
		return ResidentID(value)
	}
	return fmt.Errorf("no check is called %q", name)
}

// creditCharset gives the characters of GB 32100 their values 0 to 30: I, O, S, V and Z are left out.
const creditCharset = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// CreditCode verifies an 18-character unified social credit code: its own check character (mod 31) and that of the
// organization code inside it (mod 11).
func CreditCode(code string) error {
	if damaged(code) {
		return ErrDamaged
	}
	if len(code) != 18 {
		return ErrLength
	}
	sum, weight := 0, 1
	for i := range 17 {
		v := strings.IndexByte(creditCharset, code[i])
		if v < 0 || i >= 2 && i < 8 && v > 9 { // characters 3 to 8 are the registering region's digits
			return ErrCharacter
		}
		sum += v * weight
		weight = weight * 3 % 31 // the standard's weights are the powers of 3 modulo 31
	}
	if strings.IndexByte(creditCharset, code[17]) < 0 {
		return ErrCharacter
	}
	if creditCharset[(31-sum%31)%31] != code[17] {
		return ErrCheck
	}
	if err := OrganizationCode(code[8:17]); err != nil {
		return ErrInner
	}
	return nil
}

var organizationWeights = [8]int{3, 7, 9, 10, 5, 8, 4, 2}

// OrganizationCode verifies a code of 8 characters and a check character, with or without a hyphen before it.
func OrganizationCode(code string) error {
	if len(code) == 10 && code[8] == '-' {
		code = code[:8] + code[9:]
	}
	if len(code) != 9 {
		return ErrLength
	}
	sum := 0
	for i, w := range organizationWeights {
		var v int
		switch c := code[i]; {
		case c >= '0' && c <= '9':
			v = int(c - '0')
		case c >= 'A' && c <= 'Z':
			v = int(c-'A') + 10
		default:
			return ErrCharacter
		}
		sum += v * w
	}
	want := byte('0')
	switch c := 11 - sum%11; {
	case c == 10:
		want = 'X'
	case c < 10:
		want = '0' + byte(c)
	}
	switch {
	case code[8] == want:
		return nil
	case (code[8] < '0' || code[8] > '9') && code[8] != 'X':
		return ErrCharacter
	}
	return ErrCheck
}

var residentWeights = [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

// ResidentID verifies a resident identity number of 18 characters (a lower-case x is accepted) or one of the older form of
// 15 digits, which has no check digit. That its region exists is not verified: numbers carry regions that are long gone.
func ResidentID(id string) error {
	if damaged(id) {
		return ErrDamaged
	}
	switch len(id) {
	case 15:
		if !digits(id) {
			return ErrCharacter
		}
		return birthday("19" + id[6:12])
	case 18:
	default:
		return ErrLength
	}
	if !digits(id[:17]) {
		return ErrCharacter
	}
	last := id[17]
	if last == 'x' {
		last = 'X'
	}
	if last != 'X' && (last < '0' || last > '9') {
		return ErrCharacter
	}
	if err := birthday(id[6:14]); err != nil {
		return err
	}
	sum := 0
	for i, w := range residentWeights {
		sum += int(id[i]-'0') * w
	}
	if "10X98765432"[sum%11] == last {
		return nil
	}
	if strings.HasSuffix(id, "000") {
		return ErrDamaged // a number cell keeps 15 digits: the last three became zeros
	}
	return ErrCheck
}

// LongResidentID turns a valid number of the older 15-digit form into one of 18 characters, and any other valid number into
// its upper-case form.
func LongResidentID(id string) (string, error) {
	if err := ResidentID(id); err != nil {
		return "", err
	}
	if len(id) == 18 {
		return strings.ToUpper(id), nil
	}
	id = id[:6] + "19" + id[6:]
	sum := 0
	for i, w := range residentWeights {
		sum += int(id[i]-'0') * w
	}
	return id + "10X98765432"[sum%11:sum%11+1], nil
}

var scientific = regexp.MustCompile(`^[0-9](\.[0-9]+)?[eE]\+?[0-9]{1,2}$`)

func damaged(value string) bool { return scientific.MatchString(value) }

func digits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

func birthday(yyyymmdd string) error {
	// time.Parse refuses days that the month does not have. No living person was born before 1800.
	if day, err := time.Parse("20060102", yyyymmdd); err != nil || day.Year() < 1800 {
		return ErrDate
	}
	return nil
}
