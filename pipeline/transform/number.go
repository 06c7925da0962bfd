package transform

import (
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/decimal128"
)

// number is an exact decimal as people write it: ±(hi·2^64+lo)·10^exp/den. Units and magnitudes such as 万 move exp and never
// go through binary floating point, so that 6.08万 is exactly 60800.
type number struct {
	hi, lo uint64
	den    uint64 // 0 and 1 mean 1; other values come from units that are no decimal fraction of each other (亩, km/h)
	exp    int32
	neg    bool
}

// maxExponent bounds exponents so that arithmetic on them cannot overflow; float64 ends at 308.
const maxExponent = 5000

// scanNumber reads a decimal at the start of b: sign, digits, point, digits, exponent. With grouped, the digits before the
// point may have thousands separators (1,498.9), which must then all be in place. It returns what follows the number; ok is
// false when there is no number or it has more significant digits than the 38 of the widest decimal.
func scanNumber(b []byte, grouped bool) (n number, rest []byte, ok bool) {
	i := 0
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		n.neg = b[i] == '-'
		i++
	}
	start := i
	digits, significant := 0, 0
	// The first 19 digits fit in 64 bits; more are rare and take the slow branch.
	for i < len(b) {
		c := b[i] - '0'
		if c > 9 {
			break
		}
		if significant < 19 {
			n.lo = n.lo*10 + uint64(c)
		} else if !n.push(c) {
			return n, b, false
		}
		if n.lo != 0 || n.hi != 0 {
			significant++
		}
		digits++
		i++
	}
	if grouped && i < len(b) && b[i] == ',' {
		if digits == 0 || digits > 3 {
			return n, b, false
		}
		for i < len(b) && b[i] == ',' {
			if i+3 >= len(b) {
				return n, b, false
			}
			for j := 1; j <= 3; j++ {
				c := b[i+j] - '0'
				if c > 9 || !n.push(c) {
					return n, b, false
				}
				if n.lo != 0 || n.hi != 0 {
					significant++
				}
			}
			digits += 3
			i += 4
			if i < len(b) && b[i]-'0' <= 9 {
				return n, b, false
			}
		}
	}
	if i < len(b) && b[i] == '.' {
		i++
		fraction := 0
		for i < len(b) {
			c := b[i] - '0'
			if c > 9 {
				break
			}
			if significant < 19 {
				n.lo = n.lo*10 + uint64(c)
			} else if !n.push(c) {
				return n, b, false
			}
			if n.lo != 0 || n.hi != 0 {
				significant++
			}
			fraction++
			i++
		}
		if fraction == 0 || digits == 0 {
			return n, b, false
		}
		if fraction > maxExponent {
			return n, b, false
		}
		digits += fraction
		n.exp = -int32(fraction)
	}
	if digits == 0 || i == start {
		return n, b, false
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		j := i + 1
		negative := false
		if j < len(b) && (b[j] == '-' || b[j] == '+') {
			negative = b[j] == '-'
			j++
		}
		exponent, seen := int32(0), false
		for j < len(b) && b[j]-'0' <= 9 {
			seen = true
			if exponent < maxExponent {
				exponent = exponent*10 + int32(b[j]-'0')
			}
			j++
		}
		if !seen || exponent >= maxExponent {
			return n, b, false
		}
		if negative {
			exponent = -exponent
		}
		n.exp += exponent
		i = j
	}
	return n, b[i:], true
}

// push appends a decimal digit to the mantissa; false when it then has more than maxDigits digits.
func (n *number) push(c byte) bool {
	h1, l1 := bits.Mul64(n.lo, 10)
	h2, h3 := bits.Mul64(n.hi, 10)
	hi, carry1 := bits.Add64(h1, h3, 0)
	lo, carry2 := bits.Add64(l1, uint64(c), 0)
	hi, carry3 := bits.Add64(hi, 0, carry2)
	if h2 != 0 || carry1 != 0 || carry3 != 0 || hi > maxHi || hi == maxHi && lo > maxLo {
		return false
	}
	n.hi, n.lo = hi, lo
	return true
}

// 10^38 - 1
const (
	maxHi = 0x4B3B4CA85A86C47A
	maxLo = 0x098A223FFFFFFFFF
)

func (n number) isZero() bool { return n.hi == 0 && n.lo == 0 }

// times multiplies by an exact factor; false when the mantissa becomes longer than maxDigits digits.
func (n number) times(f factor) (number, bool) {
	if f.mant != 1 {
		h1, l1 := bits.Mul64(n.lo, f.mant)
		h2, h3 := bits.Mul64(n.hi, f.mant)
		hi, carry := bits.Add64(h1, h3, 0)
		if h2 != 0 || carry != 0 || hi > maxHi || hi == maxHi && l1 > maxLo {
			return n, false
		}
		n.hi, n.lo = hi, l1
	}
	n.exp += f.exp
	if f.den > 1 {
		if n.den > 1 {
			return n, false
		}
		n.den = f.den
	}
	return n, true
}

var exactPowers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// float64 is the nearest float64; ok is false when it would be infinite.
func (n number) float64() (f float64, ok bool) {
	// Mantissa and power of ten are both exact in a float64, so one rounding gives the nearest.
	if n.hi == 0 && n.lo < 1<<53 && n.exp >= -22 && n.exp <= 22 && n.den <= 1 {
		f = float64(n.lo)
		if n.exp < 0 {
			f /= exactPowers[-n.exp]
		} else {
			f *= exactPowers[n.exp]
		}
		if n.neg {
			f = -f
		}
		return f, true
	}
	return n.slowFloat64()
}

// shortFloat reads what most cells hold, at most 15 digits with or without a point, as scanNumber and float64 would; ok is
// false for everything else.
func shortFloat(b []byte) (f float64, ok bool) {
	i, negative := 0, false
	if len(b) > 0 && b[0] == '-' {
		i, negative = 1, true
	}
	mant, digits, fraction, point := uint64(0), 0, 0, false
	for ; i < len(b); i++ {
		c := b[i] - '0'
		if c > 9 {
			if b[i] != '.' || point || digits == 0 {
				return 0, false
			}
			point = true
			continue
		}
		mant = mant*10 + uint64(c)
		digits++
		if point {
			fraction++
		}
	}
	if digits == 0 || digits > 15 || point && fraction == 0 {
		return 0, false
	}
	f = float64(mant) / exactPowers[fraction]
	if negative {
		f = -f
	}
	return f, true
}

func (n number) slowFloat64() (float64, bool) {
	if n.den > 1 && !n.isZero() {
		if n.exp > 400 {
			return 0, false
		}
		if n.exp < -maxExponent {
			return 0, true
		}
		f, _ := n.rat().Float64()
		return f, !math.IsInf(f, 0)
	}
	var buf [64]byte
	text := n.appendMantissa(buf[:0])
	text = append(text, 'e')
	text = strconv.AppendInt(text, int64(n.exp), 10)
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), 64)
	return f, err == nil
}

// appendMantissa writes sign and mantissa.
func (n number) appendMantissa(b []byte) []byte {
	if n.neg {
		b = append(b, '-')
	}
	if n.hi == 0 {
		return strconv.AppendUint(b, n.lo, 10)
	}
	const split = 1e19
	q, r := bits.Div64(n.hi, n.lo, split) // hi < 10^19, as the mantissa is below 10^38
	b = strconv.AppendUint(b, q, 10)
	digits := strconv.FormatUint(r, 10)
	for i := len(digits); i < 19; i++ {
		b = append(b, '0')
	}
	return append(b, digits...)
}

func (n number) bigInt() *big.Int {
	v := new(big.Int).SetUint64(n.hi)
	v.Lsh(v, 64)
	v.Or(v, new(big.Int).SetUint64(n.lo))
	if n.neg {
		v.Neg(v)
	}
	return v
}

func (n number) rat() *big.Rat {
	r := new(big.Rat).SetInt(n.bigInt())
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(n.exp, -n.exp))), nil)
	if n.exp >= 0 {
		r.Mul(r, new(big.Rat).SetInt(power))
	} else {
		r.Quo(r, new(big.Rat).SetInt(power))
	}
	if n.den > 1 {
		r.Quo(r, new(big.Rat).SetInt(new(big.Int).SetUint64(n.den)))
	}
	return r
}

// castFault says why a number does not fit a type.
type castFault uint8

const (
	castFits       castFault = iota
	castNotWhole             // digits after the point where a whole number is needed
	castOutOfRange           // larger than the type holds
)

// int64 is the number as a whole number.
func (n number) int64() (int64, castFault) {
	if n.isZero() {
		return 0, castFits
	}
	if n.den > 1 {
		if n.exp > 400 {
			return 0, castOutOfRange
		}
		if n.exp < -400 {
			return 0, castNotWhole
		}
		r := n.rat()
		if !r.IsInt() {
			return 0, castNotWhole
		}
		if !r.Num().IsInt64() {
			return 0, castOutOfRange
		}
		return r.Num().Int64(), castFits
	}
	for n.exp < 0 {
		q, r := n.divTen()
		if r != 0 {
			return 0, castNotWhole
		}
		n = q
	}
	for n.exp > 0 {
		if n.hi != 0 || !n.push(0) {
			return 0, castOutOfRange
		}
		n.exp--
	}
	if n.hi != 0 {
		return 0, castOutOfRange
	}
	if n.neg {
		if n.lo > 1<<63 {
			return 0, castOutOfRange
		}
		return -int64(n.lo), castFits
	}
	if n.lo > math.MaxInt64 {
		return 0, castOutOfRange
	}
	return int64(n.lo), castFits
}

// divTen divides the mantissa by ten and raises the exponent.
func (n number) divTen() (number, uint64) {
	q1, r1 := n.hi/10, n.hi%10
	q2, r2 := bits.Div64(r1, n.lo, 10)
	n.hi, n.lo = q1, q2
	n.exp++
	return n, r2
}

// decimal is the number with scale digits after the point, rounded half away from zero as Chinese reports do (DOMAIN §4.1),
// if it has at most precision digits.
func (n number) decimal(precision, scale int32) (decimal128.Num, castFault) {
	if n.isZero() {
		return decimal128.Num{}, castFits
	}
	if n.den > 1 {
		if n.exp > 400 {
			return decimal128.Num{}, castOutOfRange
		}
		if n.exp < -400 {
			return decimal128.Num{}, castFits
		}
		r := n.rat()
		r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		// ⌊(2·|num| + den) / (2·den)⌋ is half away from zero.
		num := new(big.Int).Abs(r.Num())
		num.Lsh(num, 1).Add(num, r.Denom())
		num.Quo(num, new(big.Int).Lsh(r.Denom(), 1))
		if len(num.String()) > int(precision) {
			return decimal128.Num{}, castOutOfRange
		}
		if n.neg {
			num.Neg(num)
		}
		return decimal128.FromBigInt(num), castFits
	}
	n.exp += scale
	var last uint64
	for n.exp < 0 {
		if n.isZero() {
			return decimal128.Num{}, castFits
		}
		n, last = n.divTen()
	}
	if last >= 5 {
		lo, carry := bits.Add64(n.lo, 1, 0)
		n.lo, n.hi = lo, n.hi+carry
	}
	for n.exp > 0 {
		if !n.push(0) {
			return decimal128.Num{}, castOutOfRange
		}
		n.exp--
	}
	d := decimal128.New(int64(n.hi), n.lo)
	if !d.FitsInPrecision(precision) {
		return decimal128.Num{}, castOutOfRange
	}
	if n.neg {
		d = d.Negate()
	}
	return d, castFits
}

// appendFloat writes the canonical text of f: the shortest that reads back as f, plain from 1e-6 to below 1e15, where every
// whole number is still exact, and with an exponent outside. A long number that went through a float64 (an identity number
// out of Excel) is thereby recognisable by its exponent.
func appendFloat(b []byte, f float64, bitSize int) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e15) {
		return strconv.AppendFloat(b, f, 'e', -1, bitSize)
	}
	return strconv.AppendFloat(b, f, 'f', -1, bitSize)
}

// factor is an exact multiplier mant·10^exp/den.
type factor struct {
	mant uint64
	den  uint64
	exp  int32
}

var one = factor{mant: 1, den: 1}

func (f factor) isOne() bool { return f.mant == 1 && f.exp == 0 && f.den == 1 }

// over divides two factors; false when the result does not fit.
func (f factor) over(g factor) (factor, bool) {
	hi1, mant := bits.Mul64(f.mant, g.den)
	hi2, den := bits.Mul64(f.den, g.mant)
	if hi1 != 0 || hi2 != 0 {
		return one, false
	}
	return factor{mant: mant, den: den, exp: f.exp - g.exp}.reduce(), true
}

// by multiplies two factors; false when the result does not fit.
func (f factor) by(g factor) (factor, bool) {
	hi1, mant := bits.Mul64(f.mant, g.mant)
	hi2, den := bits.Mul64(f.den, g.den)
	if hi1 != 0 || hi2 != 0 {
		return one, false
	}
	return factor{mant: mant, den: den, exp: f.exp + g.exp}.reduce(), true
}

// reduce turns the fraction into lowest terms and what is left of the denominator's twos and fives into a decimal exponent.
func (f factor) reduce() factor {
	a, b := f.mant, f.den
	for b != 0 {
		a, b = b, a%b
	}
	if a > 1 {
		f.mant, f.den = f.mant/a, f.den/a
	}
	for f.den > 1 && (f.den%2 == 0 || f.den%5 == 0) && f.mant <= math.MaxUint64/10 {
		switch {
		case f.den%10 == 0:
			f.den /= 10
		case f.den%5 == 0:
			f.den, f.mant = f.den/5, f.mant*2
		default:
			f.den, f.mant = f.den/2, f.mant*5
		}
		f.exp--
	}
	for f.mant > 1 && f.mant%10 == 0 {
		f.mant, f.exp = f.mant/10, f.exp+1
	}
	return f
}

// factorOf is f as an exact decimal: the shortest text that reads back as f, which is what its author wrote. It must be positive.
func factorOf(f float64) (factor, bool) {
	if !(f > 0) || math.IsInf(f, 0) {
		return one, false
	}
	var buf [32]byte
	n, rest, ok := scanNumber(strconv.AppendFloat(buf[:0], f, 'e', -1, 64), false)
	if !ok || len(rest) != 0 || n.hi != 0 {
		return one, false
	}
	return factor{mant: n.lo, den: 1, exp: n.exp}.reduce(), true
}
