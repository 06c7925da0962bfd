package clickhouse_test

import (
	"math/big"
	"net"
	"reflect"
	"time"

	"github.com/shopspring/decimal"
)

func newOf(kind reflect.Type) any { return reflect.New(kind).Interface() }

func valueOf(pointer any) any { return reflect.ValueOf(pointer).Elem().Interface() }

func sameTime(a, b time.Time) bool { return a.Equal(b) }

func sameBig(a, b *big.Int) bool { return a.Cmp(b) == 0 }

func sameDecimal(a, b decimal.Decimal) bool { return a.Equal(b) }

func sameIP(a, b net.IP) bool { return a.Equal(b) }
