package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/headwater-data/headwater/warehouse"
)

// discrepancies gives what is wrong, and how many rows were superseded and of how many nobody can tell.
func (o *office) discrepancies() (faults []string, superseded, unknown int64) {
	o.t.Helper()
	found, err := o.session.Discrepancies(o.t.Context(), warehouse.BalanceFilter{})
	if err != nil {
		o.t.Fatal(err)
	}
	for _, f := range found {
		superseded += f.Superseded
		unknown += f.Unknown
		if f.Fault() {
			faults = append(faults, fmt.Sprintf("%s %s %s [%d, %d) %d/%d lost %d", f.Kind, f.Source, f.Table, f.Range.From, f.Range.To, f.Expected, f.There, f.Lost))
		}
	}
	slices.Sort(faults)
	return faults, superseded, unknown
}

func (o *office) wantDiscrepancies(superseded, unknown int64, want ...string) {
	o.t.Helper()
	got, n, m := o.discrepancies()
	if !slices.Equal(got, want) {
		o.t.Errorf("the check finds %q, want %q", got, want)
	}
	if n != superseded || m != unknown {
		o.t.Errorf("%d rows were superseded and %d are unknown, want %d and %d", n, m, superseded, unknown)
	}
}

func TestTheLedgerIsHeldAgainstTheWarehouse(t *testing.T) {
	t.Parallel()
	cases := func(status string, n int) string {
		var b strings.Builder
		b.WriteString("id,region,opened,status,phone,content\n")
		for i := range n {
			fmt.Fprintf(&b, "c%04d,上城区,2024-03-01 08:30:00,%s,13800000000,a hole\n", i, status)
		}
		return b.String()
	}
	o := openOffice(t, map[string]string{
		"data/figures/a.csv": figuresOf("2024-03-01", 100) + "上城区,bad,2024-03-01,many\n上城区,total,2024-03-01,1\n",
		"data/cases/a.csv":   cases("open", 60),
	})
	o.run("figures")
	o.run("cases")
	o.wantDiscrepancies(0, 0)
	o.bench.write(t, "data/cases/a.csv", cases("closed", 50))
	o.run("cases")
	o.bench.write(t, "data/figures/b.csv", figuresOf("2024-03-02", 30))
	o.run("figures")
	o.wantDiscrepancies(0, 0)
	// Of the first content all 60 rows were replaced: 50 by newer ones, 10 by tombstones.
	o.sql("OPTIMIZE TABLE hotline_case FINAL")
	o.wantDiscrepancies(60, 0)

	ranges := map[string]string{} // of the flushes, by table and number of rows
	for _, row := range strings.Fields(o.one("SELECT arrayStringConcat(groupArray(concat(source, '/', toString(extracted), '=[', toString(from_offset), ',_', toString(to_offset), ')')), ' ') FROM ledger FINAL WHERE source != ''")) {
		name, flush, _ := strings.Cut(row, "=")
		ranges[name] = strings.ReplaceAll(flush, "_", " ")
	}
	first, second, third, fourth := ranges["figures/102"], ranges["cases/60"], ranges["cases/50"], ranges["figures/30"]
	if first == "" || second == "" || third == "" || fourth == "" {
		t.Fatalf("the flushes are %v", ranges)
	}

	// Rows of a flush are deleted by hand, of a table that keeps history and of one that does not.
	o.sql("ALTER TABLE observation DELETE WHERE subject IN ('s00001', 's00002') AND toDate(period) = '2024-03-01'",
		"ALTER TABLE hotline_case DELETE WHERE case_id IN ('c0001', 'c0055')")
	// A row that stands twice hides none that is gone.
	o.sql("INSERT INTO observation SELECT * REPLACE(_version + 1 AS _version) FROM observation WHERE subject IN ('s00003', 's00004') AND toDate(period) = '2024-03-01'")
	o.wantDiscrepancies(58, 1, // what was superseded by a row that is gone is represented by nothing either; the 1 is a tombstone
		fmt.Sprintf("rows cases hotline_case %s 60/0 lost 2", second),
		fmt.Sprintf("rows cases hotline_case %s 60/58 lost 1", third),
		fmt.Sprintf("rows figures observation %s 100/98 lost 2", first))

	// What is repaired from the source stands for the rows that were lost, but for versions of which a table keeps the history, and
	// for keys that the source no longer has.
	for _, source := range []string{"figures", "cases"} {
		o.verify(VerifyOptions{Source: source, Repair: true})
	}
	o.wantDiscrepancies(60, 1,
		fmt.Sprintf("rows cases hotline_case %s 60/0 lost 1", second),
		fmt.Sprintf("rows figures observation %s 100/98 lost 2", first))

	// Lines of the ledger and rows of the quarantine are deleted by hand.
	o.sql("ALTER TABLE ledger DELETE WHERE source = 'figures' AND extracted = 30", "ALTER TABLE quarantine DELETE WHERE 1")
	faults, _, _ := o.discrepancies()
	for _, want := range []string{
		fmt.Sprintf("account figures observation %s 0/30 lost 0", fourth), "run figures  [0, 0) 30/0 lost 0",
		fmt.Sprintf("quarantine figures quarantine %s 1/0 lost 0", first),
	} {
		if !slices.Contains(faults, want) {
			t.Errorf("the check finds %q, want %q among it", faults, want)
		}
	}
	from := strings.TrimPrefix(strings.Split(third, ",")[0], "[")
	o.sql("ALTER TABLE ledger DELETE WHERE from_offset = " + from)
	faults, _, _ = o.discrepancies()
	if want := fmt.Sprintf("gap   %s 0/0 lost 0", third); !slices.Contains(faults, want) {
		t.Errorf("the check finds %q, want %q among it", faults, want)
	}
}
