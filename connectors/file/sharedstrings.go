package file

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// sharedStrings holds a workbook's texts in two temporary files, one with the texts and one with where each ends, and a few
// pages of both in memory. A workbook's texts can be most of it, so that they cannot all be held.
type sharedStrings struct {
	texts, ends pagedFile
	count       int64
}

// loadStrings copies the shared texts, if the workbook has any, to temporary files.
func (w *workbook) loadStrings(ctx context.Context) error {
	if w.stringPart == "" {
		return nil
	}
	r, err := w.open(ctx, w.stringPart)
	if err != nil {
		return err
	}
	texts, err := w.c.temp()
	if err != nil {
		return err
	}
	ends, err := w.c.temp()
	if err != nil {
		return err
	}
	s := &sharedStrings{texts: pagedFile{f: texts}, ends: pagedFile{f: ends}}
	textWriter, endWriter := bufio.NewWriterSize(texts, pageSize), bufio.NewWriterSize(ends, pageSize)
	x := newXMLScanner(r)
	var text []byte
	var end uint64
	for {
		kind, err := x.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return w.damaged(w.stringPart, err)
		}
		if kind != xmlStart || string(x.name) != "si" {
			continue
		}
		if text, err = x.richText(text[:0]); err != nil {
			return w.damaged(w.stringPart, err)
		}
		end += uint64(len(text))
		s.count++
		// Both writers keep their first error, and Flush returns it.
		_, _ = textWriter.Write(text)
		_, _ = endWriter.Write(binary.LittleEndian.AppendUint64(nil, end))
	}
	for _, b := range []*bufio.Writer{textWriter, endWriter} {
		if err := b.Flush(); err != nil {
			return fmt.Errorf("%s: hold the spreadsheet's texts in a temporary file: %w", w.c.place, err)
		}
	}
	w.strings = s
	return nil
}

// appendTo appends a text by its 0-based index.
func (s *sharedStrings) appendTo(dst []byte, index int64) ([]byte, error) {
	if index < 0 || index >= s.count {
		return dst, fmt.Errorf("a cell refers to shared text %d of %d", index, s.count)
	}
	var bounds [16]byte
	from, n := bounds[:8], bounds[8:]
	if index > 0 {
		if err := s.ends.readAt(bounds[:], (index-1)*8); err != nil {
			return dst, err
		}
	} else if err := s.ends.readAt(n, 0); err != nil {
		return dst, err
	}
	start, end := binary.LittleEndian.Uint64(from), binary.LittleEndian.Uint64(n)
	at := len(dst)
	dst = append(dst, make([]byte, end-start)...)
	return dst, s.texts.readAt(dst[at:], int64(start))
}

const (
	pageSize  = 64 << 10
	pageCount = 16
)

// pagedFile reads a file through a few pages of memory.
type pagedFile struct {
	f     io.ReaderAt
	pages [pageCount]page
}

type page struct {
	number int64 // 1-based; 0 is none
	buf    []byte
}

func (p *pagedFile) readAt(dst []byte, offset int64) error {
	for len(dst) > 0 {
		number := offset/pageSize + 1
		slot := &p.pages[number%pageCount]
		if slot.number != number {
			if slot.buf == nil {
				slot.buf = make([]byte, pageSize)
			}
			n, err := p.f.ReadAt(slot.buf[:pageSize], (number-1)*pageSize)
			if err != nil && err != io.EOF {
				return fmt.Errorf("read the spreadsheet's texts back: %w", err)
			}
			slot.number, slot.buf = number, slot.buf[:n]
		}
		within := int(offset % pageSize)
		if within >= len(slot.buf) {
			return fmt.Errorf("read the spreadsheet's texts back: %w", io.ErrUnexpectedEOF)
		}
		n := copy(dst, slot.buf[within:])
		dst, offset = dst[n:], offset+int64(n)
	}
	return nil
}
