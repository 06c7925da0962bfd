package warehouse_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
	"github.com/headwater-data/headwater/warehouse"
)

func secretOf(b *bench) secret.Value { return secret.New(b.server.Password) }

func TestQueryStreamsTypedRows(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	rows, err := b.Query(b.ctx, `SELECT toUInt64(18446744073709551615) AS big, 'a"b
c' AS text, NULL AS nothing, [1, 2] AS list, toDecimal64('1.10', 2) AS price, toDate('2021-03-05') AS day, {who:String} AS who, nan AS no_number;`, map[string]string{"who": "李"})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	want := []warehouse.Column{{"big", "UInt64"}, {"text", "String"}, {"nothing", "Nullable(Nothing)"}, {"list", "Array(UInt8)"}, {"price", "Decimal(18, 2)"}, {"day", "Date"}, {"who", "String"}, {"no_number", "Float64"}}
	if !slices.Equal(rows.Columns(), want) {
		t.Errorf("columns: got %v, want %v", rows.Columns(), want)
	}
	n := 0
	for row, err := range rows.All() {
		if err != nil {
			t.Fatal(err)
		}
		n++
		var text []string
		for _, v := range row {
			text = append(text, v.Text())
		}
		if want := []string{"18446744073709551615", "a\"b\nc", "", "[1,2]", "1.1", "2021-03-05", "李", "nan"}; !slices.Equal(text, want) {
			t.Errorf("text: got %q, want %q", text, want)
		}
		if !row[2].IsNull() || row[1].IsNull() {
			t.Error("null is not where it should be")
		}
		whole, err := json.Marshal(row)
		if want := `[18446744073709551615,"a\"b\nc",null,[1,2],1.1,"2021-03-05","李","nan"]`; err != nil || string(whole) != want {
			t.Errorf("JSON: got %s, %v, want %s", whole, err, want)
		}
	}
	if n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestQuerySeesTheTablesWithoutTheirDatabase(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	rows, err := b.Query(b.ctx, "SELECT count() FROM observation", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for row, err := range rows.All() {
		if err != nil || row[0].Text() != "0" {
			t.Errorf("got %v, %v", row, err)
		}
	}
}

func TestQueryReadsAndNothingElse(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	for _, statement := range []string{
		"INSERT INTO shape (hash) VALUES ('x')", "DROP TABLE shape", "CREATE TABLE x (a UInt8) ENGINE = Memory", "ALTER TABLE shape DELETE WHERE 1",
		"SELECT 1 SETTINGS readonly = 0", "TRUNCATE TABLE shape",
	} {
		rows, err := b.Query(b.ctx, statement, nil)
		if err == nil {
			for _, err = range rows.All() {
				if err != nil {
					break
				}
			}
			_ = rows.Close() // the error is what matters
		}
		if fault.KindOf(err) != fault.KindUsage {
			t.Errorf("%s: got %v, want a usage error", statement, err)
		}
	}
	if got := b.sql("SELECT count() FROM system.tables WHERE database = '$db' AND name = 'shape'"); got[0] != "1" {
		t.Error("a table was dropped")
	}
}

func TestAWrongStatementIsAUsageError(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	for statement, word := range map[string]string{
		"": "empty", " ; ": "empty", "SELEC 1": "SELEC", "SELECT nothing": "nothing", "SELECT * FROM nowhere": "nowhere", "SELECT 1 FORMAT CSV": "FORMAT", "SELECT 1; SELECT 2": "Multi",
	} {
		_, err := b.Query(b.ctx, statement, nil)
		if fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: got %v, want a usage error that speaks of %q", statement, err, word)
		}
	}
}

func TestAnErrorInTheMiddleOfAResultIsReported(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	rows, err := b.Query(b.ctx, "SELECT throwIf(number = 500000, 'half way') FROM numbers(1000000)", nil)
	if err == nil {
		defer rows.Close()
		for _, err = range rows.All() {
			if err != nil {
				break
			}
		}
	}
	if err == nil || !strings.Contains(err.Error(), "half way") {
		t.Errorf("got %v, want the error of the middle", err)
	}
}

func TestAQueryMayBeLeftInTheMiddle(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	rows, err := b.Query(ctx, "SELECT number, repeat('x', 100) FROM numbers(100000000)", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range rows.All() {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	cancel()
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
}

// The limit itself is 10 million rows; a smaller one stands in for it.
func TestAQueryWithTooManyRowsSaysSo(t *testing.T) {
	t.Parallel()
	b := migrated(t)
	rows, err := b.Query(b.ctx, "SELECT number FROM numbers(2000000) SETTINGS max_result_rows = 100000", nil)
	if err == nil {
		defer rows.Close()
		for _, err = range rows.All() {
			if err != nil {
				break
			}
		}
	}
	if err == nil || !strings.Contains(err.Error(), "Limit for result exceeded") {
		t.Errorf("got %v, want the limit named", err)
	}
}
