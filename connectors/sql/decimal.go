package sql

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/decimal256"
)

// decimalType is for up to 76 digits.
func decimalType(precision, scale int32) arrow.DataType {
	if precision <= 38 {
		return &arrow.Decimal128Type{Precision: precision, Scale: scale}
	}
	return &arrow.Decimal256Type{Precision: precision, Scale: scale}
}

func appendSmallDecimal(to array.Builder, n int64) error {
	if b, ok := to.(*array.Decimal128Builder); ok {
		b.Append(decimal128.FromI64(n))
	} else {
		to.(*array.Decimal256Builder).Append(decimal256.FromI64(n))
	}
	return nil
}

// appendDecimal appends a whole number of units of the column's scale. The database holds the column to its precision.
func appendDecimal(to array.Builder, n *big.Int) error {
	if b, ok := to.(*array.Decimal128Builder); ok {
		if n.BitLen() > 127 {
			return fmt.Errorf("the value has more digits than its column")
		}
		b.Append(decimal128.FromBigInt(n))
		return nil
	}
	if n.BitLen() > 255 {
		return fmt.Errorf("the value has more digits than its column")
	}
	to.(*array.Decimal256Builder).Append(decimal256.FromBigInt(n))
	return nil
}

// padFraction writes as many digits after the point as the scale has. There are never more that are not zeros.
func padFraction(text string, scale int) string {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > scale {
		fraction = fraction[:scale]
	}
	return whole + "." + fraction + strings.Repeat("0", scale-len(fraction))
}
