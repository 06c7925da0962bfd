package transform

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/decimal128"
)

func unitFor(t testing.TB, text string) unit {
	t.Helper()
	u, ok := parseUnit(text)
	if !ok {
		t.Fatalf("%q is no unit", text)
	}
	return u
}

// readerFor reads a column in one unit for a field in another, with a scale.
func readerFor(t testing.TB, column, field string, scale float64) numberReader {
	r := numberReader{liberal: true, column: unitFor(t, column), target: unitFor(t, field)}
	f, ok := convert(r.column, r.target)
	if !ok {
		t.Fatalf("%s does not convert to %s", column, field)
	}
	if scale != 0 {
		s, _ := factorOf(scale)
		f, _ = f.by(s)
		r.scaled = true
	}
	r.bare = f
	return r
}

func TestNumbersAsDepartmentsWriteThem(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name          string
		text          string
		column, field string
		scale         float64
		want          string // "" when refused
	}{
		{name: "a plain number", text: "12.50", want: "12.5"},
		{name: "a negative number", text: "-3", want: "-3"},
		{name: "thousands separators", text: "962,151", want: "962151"},
		{name: "thousands separators and a fraction", text: "1,498.9", want: "1498.9"},
		{name: "a separator out of place is refused", text: "14,98.9"},
		{name: "a separator at the end is refused", text: "1,498,"},
		{name: "four digits before a separator are refused", text: "1498,900"},
		{name: "full-width digits, comma and point", text: "１，４９８．９", want: "1498.9"},
		{name: "a full-width minus", text: "－5", want: "-5"},
		{name: "the mathematical minus", text: "−5", want: "-5"},
		{name: "a dash is no minus", text: "—5"},
		{name: "ten thousands are exact", text: "6.08万", want: "60800"},
		{name: "ten thousands with the field's word", text: "6.08万个", field: "个", want: "60800"},
		{name: "the field's word alone", text: "38个", field: "个", want: "38"},
		{name: "another word than the field's is refused", text: "38家", field: "个"},
		{name: "ten thousands and separators", text: "1,498.9万", want: "14989000"},
		{name: "hundreds of millions", text: "73.21亿元", field: "元", want: "7321000000"},
		{name: "a column in 万元 for a field in 元", text: "3.5", column: "万元", field: "元", want: "35000"},
		{name: "a cell that says its own unit in that column", text: "3.5亿元", column: "万元", field: "元", want: "350000000"},
		{name: "a bare magnitude in a column in 万元 could mean either", text: "3.5万", column: "万元", field: "元"},
		{name: "percent becomes a ratio", text: "48.3%", want: "0.483"},
		{name: "full-width percent", text: "48.3％", want: "0.483"},
		{name: "percent stays for a field in percent", text: "48.3%", field: "%", want: "48.3"},
		{name: "a column in percent for a ratio", text: "48.3", column: "%", field: "", want: "0.483"},
		{name: "a percent sign in a column in percent counts once", text: "48.3%", column: "%", field: "", want: "0.483"},
		{name: "per mille", text: "7‰", want: "0.007"},
		{name: "mg in a field of µg", text: "1.2", column: "mg/m³", field: "µg/m³", want: "1200"},
		{name: "µg in a field of mg", text: "300", column: "ug/m3", field: "mg/m³", want: "0.3"},
		{name: "acres of China in square metres", text: "3", column: "亩", field: "㎡", want: "2000"},
		{name: "ten thousands of square metres", text: "60万㎡", field: "㎡", want: "600000"},
		{name: "kilometres as 公里", text: "105公里", field: "km", want: "105"},
		{name: "a declared scale", text: "6.08", scale: 10000, want: "60800"},
		{name: "a declared scale below one is exact", text: "300", scale: 0.001, want: "0.3"},
		{name: "a magnitude beside a declared scale is refused", text: "6.08万", scale: 10000},
		{name: "the field's word beside a declared scale", text: "6.08个", column: "个", field: "个", scale: 10000, want: "60800"},
		{name: "a sum is refused", text: "169+37"},
		{name: "above is refused", text: "100人以上", field: "人"},
		{name: "about is refused", text: "约100"},
		{name: "at least is refused", text: "≥100"},
		{name: "at the end or more is refused", text: "100+"},
		{name: "a range is refused", text: "100-200"},
		{name: "several percentages are refused", text: "66%,75%,75%"},
		{name: "a word is refused", text: "暂无"},
		{name: "not a number is refused", text: "NaN"},
		{name: "infinity is refused", text: "Inf"},
		{name: "hexadecimal is refused", text: "0x10"},
		{name: "a point without digits is refused", text: "5."},
		{name: "a point before digits is refused", text: ".5"},
		{name: "39 digits are refused", text: strings.Repeat("9", 39)},
		{name: "38 digits pass", text: strings.Repeat("9", 38), want: "1e+38"},
		{name: "an exponent", text: "1.5e3", want: "1500"},
		{name: "an exponent without end is refused", text: "1e99999999999"},
		{name: "leading zeros do not count as digits", text: strings.Repeat("0", 60) + "7", want: "7"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.column == "" {
				c.column = c.field
			}
			r := readerFor(t, c.column, c.field, c.scale)
			n, problem := r.read(trim([]byte(c.text)))
			if c.want == "" {
				if problem == "" {
					t.Fatalf("%q was read as %v", c.text, n)
				}
				return
			}
			if problem != "" {
				t.Fatalf("%q %s", c.text, problem)
			}
			want, err := strconv.ParseFloat(c.want, 64)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := n.float64(); !ok || got != want {
				t.Errorf("%q: got %v, want %v", c.text, got, want)
			}
		})
	}
}

func TestCanonicalNumbersAreStrict(t *testing.T) {
	t.Parallel()
	r := numberReader{column: bareUnit, target: bareUnit, bare: one}
	for _, text := range []string{"1,498", "48.3%", "6万", "１２"} {
		if _, problem := r.read([]byte(text)); !strings.Contains(problem, "parse: number") {
			t.Errorf("%q: problem %q does not say what to declare", text, problem)
		}
	}
	for _, text := range []string{"0", "-0", "12", "1.50", "1e-7", "2.5e+20"} {
		if _, problem := r.read([]byte(text)); problem != "" {
			t.Errorf("%q %s", text, problem)
		}
	}
}

func TestUnitsConvertOnlyWithinTheirKind(t *testing.T) {
	t.Parallel()
	cases := []struct {
		from, to string
		want     string // "" when refused
	}{
		{"万元", "元", "10000"}, {"亿元", "万元", "10000"}, {"元", "亿元", "0.00000001"}, {"万个", "个", "10000"}, {"百万人次", "人次", "1000000"},
		{"%", "", "0.01"}, {"‰", "%", "0.1"}, {"km²", "公顷", "100"}, {"吨", "kg", "1000"}, {"千米", "m", "1000"}, {"mg/L", "mg/m³", "1000"},
		{"个", "家", ""}, {"元", "个", ""}, {"mg/m³", "µg", ""}, {"%", "百分点", ""},
	}
	for _, c := range cases {
		f, ok := convert(unitFor(t, c.from), unitFor(t, c.to))
		if ok != (c.want != "") {
			t.Errorf("%s to %s: possible is %v", c.from, c.to, ok)
			continue
		}
		if !ok {
			continue
		}
		want, _ := new(big.Rat).SetString(c.want)
		n, _ := numberOf(1).times(f)
		if n.rat().Cmp(want) != 0 {
			t.Errorf("%s to %s: got %v, want %v", c.from, c.to, n.rat(), want)
		}
	}
	for _, text := range []string{"", " ", "人以上", "左右", "12", "+"} {
		if u, ok := parseUnit(text); ok && strings.TrimSpace(text) != "" {
			t.Errorf("%q was taken for the unit %v", text, u)
		}
	}
}

func TestNumbersFitTheirTypes(t *testing.T) {
	t.Parallel()
	read := func(text string) number {
		n, rest, ok := scanNumber([]byte(text), false)
		if !ok || len(rest) > 0 {
			t.Fatalf("%q is no number", text)
		}
		return n
	}
	ints := []struct {
		text  string
		want  int64
		fault castFault
	}{
		{"12.0", 12, castFits}, {"1.2e1", 12, castFits}, {"9223372036854775807", math.MaxInt64, castFits}, {"-9223372036854775808", math.MinInt64, castFits},
		{"9223372036854775808", 0, castOutOfRange}, {"1e19", 0, castOutOfRange}, {"12.5", 0, castNotWhole}, {"0.0", 0, castFits}, {"1e-30", 0, castNotWhole},
	}
	for _, c := range ints {
		if got, fault := read(c.text).int64(); got != c.want || fault != c.fault {
			t.Errorf("%s as int64: got %d, %d, want %d, %d", c.text, got, fault, c.want, c.fault)
		}
	}
	decimals := []struct {
		text      string
		precision int32
		scale     int32
		want      string
	}{
		{"12.345", 18, 4, "12.3450"}, {"12.34565", 18, 4, "12.3457"}, {"-12.34565", 18, 4, "-12.3457"}, {"12.34564999", 18, 4, "12.3456"},
		{"99.995", 4, 2, ""}, {"99.994", 4, 2, "99.99"}, {"1e17", 18, 4, ""}, {"0.00004", 18, 4, "0.0000"}, {"0.00005", 18, 4, "0.0001"},
		{"99999999999999999999999999999999999999", 38, 0, "99999999999999999999999999999999999999"}, {"1e38", 38, 0, ""}, {"5e-60", 18, 4, "0.0000"},
	}
	for _, c := range decimals {
		got, fault := read(c.text).decimal(c.precision, c.scale)
		if (fault == castFits) != (c.want != "") {
			t.Errorf("%s as decimal(%d,%d): fault %d", c.text, c.precision, c.scale, fault)
			continue
		}
		if fault == castFits {
			if text := string(appendDecimal(nil, got.BigInt(), c.scale)); text != c.want {
				t.Errorf("%s as decimal(%d,%d): got %s, want %s", c.text, c.precision, c.scale, text, c.want)
			}
		}
	}
	if _, ok := read("1e400").float64(); ok {
		t.Error("1e400 fits a float64")
	}
	if f, ok := read("1e-400").float64(); !ok || f != 0 {
		t.Errorf("1e-400 is %v, %v", f, ok)
	}
}

func TestSerialNumbersOfDecimalsAreExact(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		f := math.Float64frombits(random.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		text := appendFloat(nil, f, 64)
		n, rest, ok := scanNumber(text, false)
		if !ok || len(rest) != 0 {
			t.Fatalf("%s is not read", text)
		}
		if got, ok := n.float64(); !ok || got != f {
			t.Fatalf("%s: got %v, want %v", text, got, f)
		}
	}
}

// FuzzNumber checks that no text makes the reader panic, that what it accepts as a plain number is exactly what big.Rat reads,
// and that decimals round as arithmetic says.
func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0", "-12.50", "1,498.9", "6.08万个", "48.3%", "1e-7", "99999999999999999999", "1,2,3", "５％", "3万亿元", "-", "1e5000", "-0", "123456789012345", "0.00000000000001", "0.000000000000000000000000000000000000001"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		liberal := readerFor(t, "个", "个", 0)
		n, problem := liberal.read(trim([]byte(text)))
		if problem == "" {
			_, _ = n.float64()
			_, _ = n.int64()
			_, _ = n.decimal(38, 10)
		}
		if len(text) > 200 {
			return
		}
		strict := numberReader{column: bareUnit, target: bareUnit, bare: one}
		n, problem = strict.read([]byte(text))
		if short, ok := shortFloat([]byte(text)); ok {
			if long, fits := n.float64(); problem != "" || !fits || math.Float64bits(long) != math.Float64bits(short) {
				t.Fatalf("%q: the short way gives %v, the long one %v (%s)", text, short, long, problem)
			}
		}
		if problem != "" {
			return
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is read as %v and is no number", text, n)
		}
		if n.exp > -1000 && n.exp < 1000 && n.rat().Cmp(want) != 0 {
			t.Fatalf("%q: got %v, want %v", text, n.rat(), want)
		}
		wantFloat, err := strconv.ParseFloat(text, 64)
		if got, ok := n.float64(); ok != (err == nil) || ok && got != wantFloat {
			t.Fatalf("%q: got %v, %v, want %v, %v", text, got, ok, wantFloat, err)
		}
		if d, fault := n.decimal(38, 4); fault == castFits && n.exp > -1000 {
			// |d - want·10^4| must be at most a half.
			scaled := new(big.Rat).Mul(want, big.NewRat(10_000, 1))
			diff := new(big.Rat).Sub(scaled, new(big.Rat).SetInt(d.BigInt()))
			if diff.Abs(diff).Cmp(big.NewRat(1, 2)) > 0 {
				t.Fatalf("%q: decimal %v is not the nearest", text, d.ToString(4))
			}
		}
	})
}

func TestDecimalTextIsExact(t *testing.T) {
	t.Parallel()
	d, err := decimal128.FromString("-12345678901234567890123456789012345.678", 38, 3)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(appendDecimal(nil, d.BigInt(), 3)); got != "-12345678901234567890123456789012345.678" {
		t.Error(got)
	}
	if got := string(appendDecimal(nil, big.NewInt(-5), 3)); got != "-0.005" {
		t.Error(got)
	}
	if got := string(appendDecimal(nil, big.NewInt(5), -3)); got != "5000" {
		t.Error(got)
	}
}
