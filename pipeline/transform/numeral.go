package transform

import (
	"bytes"
	"unicode/utf8"
)

// westernDate rewrites a date in Chinese numerals (二〇二一年三月五日, 二零二一年十二月三十一日) with Arabic ones, so that it is read
// as any other. It returns nil when the text has no such numeral or they stand for no number from 0 to 9999. Years are written
// digit by digit, months and days with 十.
func westernDate(b []byte) []byte {
	if !bytes.ContainsAny(b, "〇零○一二三四五六七八九十") {
		return nil
	}
	var out []byte
	for len(b) > 0 {
		n, size, ok := numeral(b)
		switch {
		case !ok:
			return nil
		case size > 0:
			out = append(out, n...)
			b = b[size:]
		default:
			_, size := utf8.DecodeRune(b)
			out = append(out, b[:size]...)
			b = b[size:]
		}
	}
	return out
}

// numeral reads one number in Chinese numerals at the start of b; size is 0 when none stands there.
func numeral(b []byte) (digits []byte, size int, ok bool) {
	tens := -1 // digits before 十, -1 without one
	for size < len(b) {
		r, n := utf8.DecodeRune(b[size:])
		d := digit(r)
		if d < 0 && r != '十' {
			break
		}
		size += n
		if r != '十' {
			digits = append(digits, byte('0'+d))
			continue
		}
		if tens >= 0 || len(digits) > 1 {
			return nil, size, false // 十十, or 二一十
		}
		tens = len(digits)
		if len(digits) == 0 {
			digits = append(digits, '1')
		}
	}
	if tens >= 0 {
		switch len(digits) {
		case 1: // 十, 二十
			digits = append(digits, '0')
		case 2: // 十五, 二十五
		default:
			return nil, size, false
		}
	}
	return digits, size, len(digits) <= 4
}

func digit(r rune) int {
	switch r {
	case '〇', '零', '○':
		return 0
	case '一':
		return 1
	case '二':
		return 2
	case '三':
		return 3
	case '四':
		return 4
	case '五':
		return 5
	case '六':
		return 6
	case '七':
		return 7
	case '八':
		return 8
	case '九':
		return 9
	}
	return -1
}
