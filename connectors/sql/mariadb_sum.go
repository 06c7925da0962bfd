package sql

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// sumForm is how a column's value stands in what the checksum of a row is one of (rowHash).
type sumForm byte

const (
	noForm   sumForm = iota // only the server knows it
	plain                   // as it is; - for null
	quoted                  // in quotes; NULL for null
	orSummed                // in quotes while it is short, else its own checksum; - for null
)

// shortText is below how many bytes a text is put in quotes.
const shortText = 4096

// form is that of a table's column. It is known where the server writes the same text into a result as into the checksum: a text of another
// character set comes in UTF-8, and not so there.
func (c mariadbColumn) form() sumForm {
	if strings.Contains(c.declared, "zerofill") {
		return noForm
	}
	base := c.base()
	switch base {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "date", "datetime", "timestamp", "time":
		return plain
	case "year", "binary", "varbinary":
		return quoted
	case "tinyblob", "blob", "mediumblob", "longblob", "char", "varchar", "enum", "set", "tinytext", "text", "mediumtext", "longtext":
	default:
		return noForm
	}
	switch {
	case strings.HasSuffix(base, "blob"), c.charset == "utf8mb4", c.charset == "utf8mb3", c.charset == "utf8", c.charset == "ascii":
	default:
		return noForm
	}
	switch {
	case !strings.HasSuffix(base, "blob") && !strings.HasSuffix(base, "text"):
		return quoted
	case c.declared == base:
		return orSummed
	}
	return noForm
}

// sums: only of MariaDB is it known that both are the same.
func (s *mariadbSession) sums(fields []field) bool {
	for _, f := range fields {
		if c, ok := s.known[f.name]; !ok || c.form() == noForm {
			return false
		}
	}
	return s.mariadb
}

// sum is what rowSum gives for the row, computed here: the first half of an MD5 over all values.
func (r *mariadbRows) sum() uint64 {
	if r.forms == nil {
		for _, c := range r.columns {
			r.forms = append(r.forms, c.form())
		}
	}
	to := r.summed[:0]
	for i, text := range r.values {
		if i > 0 {
			to = append(to, ',')
		}
		switch form := r.forms[i]; {
		case text == nil && form == quoted:
			to = append(to, "NULL"...)
		case text == nil:
			to = append(to, '-')
		case form == plain:
			to = append(to, text...)
		case form == orSummed && len(text) >= shortText:
			digest := md5.Sum(text)
			to = hex.AppendEncode(to, digest[:])
		default:
			to = appendQuoted(to, text)
		}
	}
	r.summed = to
	digest := md5.Sum(to)
	return binary.BigEndian.Uint64(digest[:])
}

// appendQuoted quotes bytes as the server's QUOTE does.
func appendQuoted(to, text []byte) []byte {
	to = append(to, '\'')
	from := 0
	for i, b := range text {
		if b > '\'' && b != '\\' {
			continue
		}
		switch b {
		case '\'', '\\':
		case 0:
			b = '0'
		case 0x1a:
			b = 'Z'
		default:
			continue
		}
		to = append(append(to, text[from:i]...), '\\', b)
		from = i + 1
	}
	return append(append(to, text[from:]...), '\'')
}
