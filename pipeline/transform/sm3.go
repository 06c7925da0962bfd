package transform

import (
	"encoding/binary"
	"hash"
	"math/bits"
)

// sm3 is the hash of GB/T 32905-2016. It is written out here because the libraries that the module proxy has are several years
// old; the tests hold it against the standard's vectors and OpenSSL's.
type sm3 struct {
	state  [8]uint32
	block  [sm3Block]byte
	filled int    // bytes of block
	length uint64 // bytes in all
}

const (
	sm3Size  = 32
	sm3Block = 64
)

func newSM3() hash.Hash {
	d := &sm3{}
	d.Reset()
	return d
}

func (d *sm3) Size() int      { return sm3Size }
func (d *sm3) BlockSize() int { return sm3Block }

func (d *sm3) Reset() {
	d.state = [8]uint32{0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e}
	d.filled, d.length = 0, 0
}

func (d *sm3) Write(p []byte) (int, error) {
	n := len(p)
	d.length += uint64(n)
	for len(p) > 0 {
		taken := copy(d.block[d.filled:], p)
		p, d.filled = p[taken:], d.filled+taken
		if d.filled == sm3Block {
			d.compress()
			d.filled = 0
		}
	}
	return n, nil
}

func (d *sm3) Sum(b []byte) []byte {
	end := *d // so that writing can go on
	length := end.length * 8
	_, _ = end.Write([]byte{0x80}) // never fails
	for end.filled != sm3Block-8 {
		_, _ = end.Write([]byte{0})
	}
	_, _ = end.Write(binary.BigEndian.AppendUint64(nil, length))
	for _, word := range end.state {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	return b
}

// compress takes one whole block in, in the standard's own names (5.3).
func (d *sm3) compress() {
	var w [68]uint32
	for j := range 16 {
		w[j] = binary.BigEndian.Uint32(d.block[4*j:])
	}
	for j := 16; j < 68; j++ {
		x := w[j-16] ^ w[j-9] ^ bits.RotateLeft32(w[j-3], 15)
		w[j] = x ^ bits.RotateLeft32(x, 15) ^ bits.RotateLeft32(x, 23) ^ bits.RotateLeft32(w[j-13], 7) ^ w[j-6]
	}
	a, b, c, e := d.state[0], d.state[1], d.state[2], d.state[4]
	dd, f, g, h := d.state[3], d.state[5], d.state[6], d.state[7]
	for j := range 64 {
		t, ff, gg := uint32(0x79cc4519), a^b^c, e^f^g
		if j >= 16 {
			t, ff, gg = 0x7a879d8a, a&b|a&c|b&c, e&f|^e&g
		}
		ss1 := bits.RotateLeft32(bits.RotateLeft32(a, 12)+e+bits.RotateLeft32(t, j%32), 7)
		ss2 := ss1 ^ bits.RotateLeft32(a, 12)
		tt1 := ff + dd + ss2 + (w[j] ^ w[j+4])
		tt2 := gg + h + ss1 + w[j]
		dd, c, b, a = c, bits.RotateLeft32(b, 9), a, tt1
		h, g, f = g, bits.RotateLeft32(f, 19), e
		e = tt2 ^ bits.RotateLeft32(tt2, 9) ^ bits.RotateLeft32(tt2, 17)
	}
	for i, v := range [8]uint32{a, b, c, dd, e, f, g, h} {
		d.state[i] ^= v
	}
}
