package checkdigit_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/schemas/checkdigit"
)

// Real codes of published business registrations, and synthetic ones with every check character in charset order.
const validCredit = `
91350200MA2YJ1XR9G 91350200776049653A 91350500798359476R 91350503MA31DKY80A 91350200MA31E12PXF 91440101MA5CJQ4N59
913502000728319549 123502001549897397 913502115628130384 9135021359498494XQ
11330100000000019E 12330000470000005L 11330102MB0000019G 52330000500000007K
91330100MA0000015W 913301061234567887 92330110MA2ABCDEXW 11330000ABCDEFGH55
113301000000001660 113301000000002111 113301000000003342 113301000000004573
113301000000000354 1133010000000014X5 113301000000002036 113301000000000947
113301000000004498 113301000000000279 11330100000000385A 11330100000000430B
11330100000000086C 11330100000000131D 11330100000000019E 11330100000000377F
11330100000000190G 1133010000000006XH 11330100000000123J 11330100000000246K
11330100000000369L 11330100000000182M 11330100000000537N 11330100000000115P
1133010000000022XQ 11330100000000051R 11330100000000174T 11330100000000297U
11330100000000107W 11330100000000465X 11330100000000043Y 91330100799655058B`

func TestCreditCode(t *testing.T) {
	t.Parallel()
	for _, code := range strings.Fields(validCredit) {
		if err := checkdigit.CreditCode(code); err != nil {
			t.Errorf("valid code %s: got %v", code, err)
		}
	}
	for name, c := range map[string]struct {
		code string
		want error
	}{
		"a real code whose registry computed another check character": {"91350203M0001QAY9B", checkdigit.ErrCheck},
		"too short":                               {"9133010079965505", checkdigit.ErrLength},
		"the letter O for a zero":                 {"9133O100799655058B", checkdigit.ErrCharacter},
		"a letter among the region's digits":      {"91A30100799655058B", checkdigit.ErrCharacter},
		"lower case":                              {"91330100799655058b", checkdigit.ErrCharacter},
		"a wrong organization code, right mod 31": {withCheck("1133010000000018"), checkdigit.ErrInner},
		"the display form of a number cell":       {"9.13301E+17", checkdigit.ErrDamaged},
		"empty":                                   {"", checkdigit.ErrLength},
	} {
		if err := checkdigit.CreditCode(c.code); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// withCheck appends an organization check character that is wrong and then the credit code's own right one.
func withCheck(body string) string {
	const charset = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	for _, inner := range "0123456789X" {
		for _, last := range charset {
			code := body + string(inner) + string(last)
			if errors.Is(checkdigit.CreditCode(code), checkdigit.ErrInner) {
				return code
			}
		}
	}
	return ""
}

func TestCreditCodeCatchesTypingErrors(t *testing.T) {
	t.Parallel()
	const charset = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	const code = "91330100799655058B"
	single, swaps := 0, 0
	for i := range len(code) {
		for j := range len(charset) {
			wrong := code[:i] + string(charset[j]) + code[i+1:]
			if wrong == code {
				continue
			}
			if checkdigit.CreditCode(wrong) == nil {
				t.Errorf("one wrong character at %d passed", i)
			}
			if i < 17 {
				single++
			}
		}
	}
	for i := range len(code) - 1 {
		if code[i] == code[i+1] {
			continue
		}
		swaps++
		if checkdigit.CreditCode(code[:i]+string(code[i+1])+string(code[i])+code[i+2:]) == nil {
			t.Errorf("swapped characters at %d passed", i)
		}
	}
	if single != 510 || swaps < 12 {
		t.Errorf("got %d single errors and %d swaps, want 510 and at least 12", single, swaps)
	}
}

func TestOrganizationCode(t *testing.T) {
	t.Parallel()
	for _, code := range strings.Fields(`00000019-0 00000005-1 00000018-2 00000004-3 00000009-4 00000003-5 00000008-6 00000002-7
		00000007-8 00000001-9 00000006-X D2143569-X MA2ABCDE-X ABCDEFGH-5 000000190 D2143569X`) {
		if err := checkdigit.OrganizationCode(code); err != nil {
			t.Errorf("valid code %s: got %v", code, err)
		}
	}
	for code, want := range map[string]error{
		"D2143569-1":  checkdigit.ErrCheck,
		"00000019-1":  checkdigit.ErrCheck,
		"D2143569":    checkdigit.ErrLength,
		"D2143569--X": checkdigit.ErrLength,
		"d2143569-X":  checkdigit.ErrCharacter,
		"D2143569-Y":  checkdigit.ErrCharacter,
		"":            checkdigit.ErrLength,
	} {
		if err := checkdigit.OrganizationCode(code); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", code, err, want)
		}
	}
}

func TestResidentID(t *testing.T) {
	t.Parallel()
	// The first two are the standard's own examples; 330199 is no region, so the rest are nobody's.
	for _, id := range strings.Fields(`11010519491231002X 440524188001010014 330199199001010011 33019919900101002X 33019919900101010X
		330199200002290030 330199194912310020 330199198006151230 330199199907041279 330199197112304566 33019919900101002x 330199900101001`) {
		if err := checkdigit.ResidentID(id); err != nil {
			t.Errorf("valid number %s: got %v", id, err)
		}
	}
	for name, c := range map[string]struct {
		id   string
		want error
	}{
		"30 February":                        {"330199199002300010", checkdigit.ErrDate},
		"29 February of a common year":       {"330199190002290010", checkdigit.ErrDate},
		"seventeen digits":                   {"33019919900101001", checkdigit.ErrLength},
		"wrong check digit":                  {"330199199001010012", checkdigit.ErrCheck},
		"display form of a number cell":      {"3.30102E+17", checkdigit.ErrDamaged},
		"last three digits rounded to zeros": {"330199199001010000", checkdigit.ErrDamaged},
		"printed from a float":               {"330199199001010048", checkdigit.ErrCheck},
		"a letter in the middle":             {"33019919900101O011", checkdigit.ErrCharacter},
		"a wrong last letter":                {"33019919900101002Y", checkdigit.ErrCharacter},
		"old form with a bad date":           {"330199900230001", checkdigit.ErrDate},
		"full-width digits":                  {"３３０１９９", checkdigit.ErrCharacter},
	} {
		if err := checkdigit.ResidentID(c.id); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestLongResidentID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"330199900101001":    "330199199001010011",
		"33019919900101002x": "33019919900101002X",
	} {
		if got, err := checkdigit.LongResidentID(id); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if _, err := checkdigit.LongResidentID("330199199001010012"); !errors.Is(err, checkdigit.ErrCheck) {
		t.Errorf("got %v, want %v", err, checkdigit.ErrCheck)
	}
}

func TestVerifyKnowsEveryName(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		checkdigit.NameCreditCode:       "91330100799655058B",
		checkdigit.NameOrganizationCode: "D2143569-X",
		checkdigit.NameResidentID:       "11010519491231002X",
	} {
		if err := checkdigit.Verify(name, value); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := checkdigit.Verify("luhn", "79927398713"); err == nil {
		t.Error("an unknown check passed")
	}
}

// No input makes a check panic, and no error holds the value.
func FuzzVerify(f *testing.F) {
	for _, seed := range []string{"91330100799655058B", "D2143569-X", "11010519491231002X", "3.3E+17", "", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, name := range checkdigit.Names() {
			if err := checkdigit.Verify(name, value); err != nil && len(value) >= 15 && strings.Contains(err.Error(), value) {
				t.Errorf("the error of %s holds the value", name)
			}
		}
		if long, err := checkdigit.LongResidentID(value); err == nil && checkdigit.ResidentID(long) != nil {
			t.Error("the long form of a valid number is not valid")
		}
	})
}
