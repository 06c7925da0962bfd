package message

import (
	"encoding/binary"
	"errors"
)

// Arrow's reader makes slices as long as the counts in a stream's metadata say, and follows fields within fields wherever
// they point, before anything of it meets an allocator. Who may write to a topic could so take a loader down with a few bytes
// under a good checksum. verify walks the metadata first, by Arrow's own layout (FlatBuffers; Schema.fbs and Message.fbs), and
// refuses what is longer than itself or describes more than a batch can have.

// maxFields bounds the fields of a stream's schema, nested ones counted each time that they are pointed to; maxKeys the
// entries of their metadata. The widest file that a connector reads has 16,384 columns.
const (
	maxFields = 64 << 10
	maxKeys   = 64 << 10
	maxNested = 32
)

var errMetadata = errors.New("the stream's metadata contradicts itself")

// verify checks the metadata of all messages of a stream.
func verify(stream []byte) error {
	left := metadataBudget{fields: maxFields, keys: maxKeys}
	for len(stream) > 0 {
		if len(stream) < 4 {
			return errMetadata
		}
		length := binary.LittleEndian.Uint32(stream)
		stream = stream[4:]
		if length == 0xffffffff { // the continuation mark, which older writers do not set
			if len(stream) < 4 {
				return errMetadata
			}
			length = binary.LittleEndian.Uint32(stream)
			stream = stream[4:]
		}
		if length == 0 {
			return nil // the end of the stream
		}
		if uint64(length) > uint64(len(stream)) {
			return errMetadata
		}
		body, err := left.message(&flat{b: stream[:length]})
		if err != nil {
			return err
		}
		stream = stream[length:]
		if body < 0 || body > int64(len(stream)) {
			return errMetadata
		}
		stream = stream[body:]
	}
	return nil
}

type metadataBudget struct{ fields, keys int }

// Kinds of a message's header.
const (
	headerSchema      = 1
	headerDictionary  = 2
	headerRecordBatch = 3
)

// message checks one message's metadata and returns the length of the body that follows it.
func (m *metadataBudget) message(f *flat) (body int64, err error) {
	root, ok := f.pointer(0)
	if !ok {
		return 0, errMetadata
	}
	kind, _ := f.field(root, 1, 1)
	header, there := f.field(root, 2, 4)
	length, hasLength := f.field(root, 3, 8)
	if hasLength {
		body = int64(binary.LittleEndian.Uint64(f.b[length:]))
	}
	if err := m.keyValues(f, root, 4); err != nil {
		return 0, err
	}
	if f.bad || !there || kind == 0 {
		return 0, errMetadata
	}
	if header, there = f.pointer(header); !there {
		return 0, errMetadata
	}
	switch f.b[kind] {
	case headerSchema:
		if err := m.fieldsOf(f, header, 1, 0); err != nil {
			return 0, err
		}
		return body, m.keyValues(f, header, 2)
	case headerDictionary:
		data, ok := f.field(header, 1, 4)
		if !ok {
			return 0, errMetadata
		}
		if data, ok = f.pointer(data); !ok {
			return 0, errMetadata
		}
		return body, f.batch(data)
	case headerRecordBatch:
		return body, f.batch(header)
	}
	return 0, errMetadata // a batch of ours has no other
}

// fieldsOf checks the vector of fields in a slot of a table.
func (m *metadataBudget) fieldsOf(f *flat, table, slot, depth int) error {
	first, n, err := f.vector(table, slot, 4)
	if err != nil {
		return err
	}
	if n > m.fields || depth > maxNested {
		return errors.New("the stream has more fields, or deeper ones, than a batch can have")
	}
	m.fields -= n
	for i := range n {
		field, ok := f.pointer(first + 4*i)
		if !ok {
			return errMetadata
		}
		if err := m.fieldsOf(f, field, 5, depth+1); err != nil {
			return err
		}
		if err := m.keyValues(f, field, 6); err != nil {
			return err
		}
		if err := f.typeOf(field); err != nil {
			return err
		}
	}
	return nil
}

// typeOf checks the one type that has a list of its own: a union's numbers.
func (f *flat) typeOf(field int) error {
	const union = 14
	kind, ok := f.field(field, 2, 1)
	if f.bad {
		return errMetadata
	}
	if !ok || f.b[kind] != union {
		return nil
	}
	table, ok := f.field(field, 3, 4)
	if !ok {
		return errMetadata
	}
	if table, ok = f.pointer(table); !ok {
		return errMetadata
	}
	_, _, err := f.vector(table, 1, 4)
	return err
}

// keyValues checks the metadata in a slot of a table.
func (m *metadataBudget) keyValues(f *flat, table, slot int) error {
	first, n, err := f.vector(table, slot, 4)
	if err != nil {
		return err
	}
	if n > m.keys {
		return errors.New("the stream has more metadata than a batch can have")
	}
	m.keys -= n
	for i := range n {
		pair, ok := f.pointer(first + 4*i)
		if !ok {
			return errMetadata
		}
		for slot := range 2 {
			if _, _, err := f.vector(pair, slot, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// batch checks the lists of a record batch: nodes and buffers, 16 bytes each, and numbers of variadic buffers.
func (f *flat) batch(table int) error {
	for slot, size := range map[int]int{1: 16, 2: 16, 4: 8} {
		if _, _, err := f.vector(table, slot, size); err != nil {
			return err
		}
	}
	return nil
}

// flat is a FlatBuffers buffer. Its methods never look outside of it; where they would have to, they note that it is bad.
type flat struct {
	b   []byte
	bad bool
}

func (f *flat) refuse() (int, bool) {
	f.bad = true
	return 0, false
}

// pointer follows the offset that stands at a place.
func (f *flat) pointer(at int) (int, bool) {
	if at < 0 || at > len(f.b)-4 {
		return f.refuse()
	}
	to := int64(at) + int64(binary.LittleEndian.Uint32(f.b[at:]))
	if to > int64(len(f.b)-4) {
		return f.refuse()
	}
	return int(to), true
}

// field returns where a table's field of that many bytes stands, if the table has it.
func (f *flat) field(table, slot, size int) (int, bool) {
	if table < 0 || table > len(f.b)-4 {
		return f.refuse()
	}
	layout := int64(table) - int64(int32(binary.LittleEndian.Uint32(f.b[table:])))
	if layout < 0 || layout > int64(len(f.b)-4) {
		return f.refuse()
	}
	if 4+2*slot >= int(binary.LittleEndian.Uint16(f.b[layout:])) {
		return 0, false
	}
	entry := layout + 4 + 2*int64(slot)
	if entry+2 > int64(len(f.b)) {
		return f.refuse()
	}
	offset := int(binary.LittleEndian.Uint16(f.b[entry:]))
	if offset == 0 {
		return 0, false
	}
	if table+offset+size > len(f.b) {
		return f.refuse()
	}
	return table + offset, true
}

// vector returns where the elements of a vector begin and how many there are, none when the table does not have it.
func (f *flat) vector(table, slot, size int) (first, n int, err error) {
	at, ok := f.field(table, slot, 4)
	if ok {
		at, ok = f.pointer(at)
	}
	if f.bad {
		return 0, 0, errMetadata
	}
	if !ok {
		return 0, 0, nil
	}
	count := int64(binary.LittleEndian.Uint32(f.b[at:]))
	if count*int64(size) > int64(len(f.b)-at-4) {
		return 0, 0, errMetadata
	}
	return at + 4, int(count), nil
}
