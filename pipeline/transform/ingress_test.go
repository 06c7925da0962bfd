package transform

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/headwater-data/headwater/internal/fault"
	"github.com/headwater-data/headwater/internal/secret"
)

const hotline = `
map:
  schema: hotline_case
  fields:
    case_id: 工单编号
    region: { from: 区县, region: { within: "330000" } }
    opened_at: { from: 受理时间, parse: datetime }
    phone: { from: 电话, mask: hash, 'null': [无] }
    caller: { from: 姓名, mask: name }
    caller_id: 证件号码
    content: { concat: { columns: [标题, 正文], separator: "：" }, mask: drop }
keep: [备注]
`

func hashOf(key, value string) string {
	mac := hmac.New(sha256.New, []byte("key-"+key))
	mac.Write([]byte(value))
	return key + ":" + hex.EncodeToString(mac.Sum(nil))
}

func ingress(t *testing.T, m *Mapping, rec arrow.Record) (arrow.Record, []string) {
	t.Helper()
	kept, rejects, err := m.Ingress(context.Background(), rec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kept.Release)
	if kept.NumRows()+int64(len(rejects)) != rec.NumRows() {
		t.Errorf("%d rows became %d and %d rejects", rec.NumRows(), kept.NumRows(), len(rejects))
	}
	var out []string
	for _, r := range rejects {
		out = append(out, strings.Join([]string{r.Rule, r.Reason, string(r.Raw)}, "|"))
	}
	return kept, out
}

const hotlineHeader = "工单编号|区县|受理时间|电话|姓名|证件号码|标题|正文|备注|民族|_row"

func TestIngressLeavesNothingPersonal(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, hotline))
	rec := table(t, mem, hotlineHeader,
		"1|西湖区|2021-03-05 08:00|13800000001|张三丰|33019919900101002x|噪音|夜里|备|汉|2",
		"2|西湖区|x|无|李|330199199001010011|||x|汉|3",
		"3|西湖区|2021-03-05 08:00|13800000002|王五|330199199001010012|a|b|c|汉|4",
		"4|西湖区|2021-03-05 08:00|13800000002|"+null+"|3.30199E+17|a|b|c|汉|5")
	kept, rejects := ingress(t, m, rec)
	var names []string
	for _, f := range kept.Schema().Fields() {
		names = append(names, f.Name)
	}
	if want := []string{"工单编号", "区县", "受理时间", "电话", "姓名", "证件号码", "备注", "_row"}; !slices.Equal(names, want) {
		t.Errorf("columns: got %q, want %q", names, want)
	}
	if !kept.Schema().Equal(m.Columns(rec.Schema())) {
		t.Errorf("Columns says %s, Ingress gives %s", m.Columns(rec.Schema()), kept.Schema())
	}
	want := []string{
		"1|" + hashOf("k1", "13800000001") + "|张**|" + hashOf("k1", "33019919900101002X") + "|备|2",
		"2|␀|*|" + hashOf("k1", "330199199001010011") + "|x|3",
	}
	if got := lines(kept, "工单编号", "电话", "姓名", "证件号码", "备注", "_row"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(rejects) != 2 || !strings.HasPrefix(rejects[0], "caller_id.check|caller_id: the value ") || !strings.HasPrefix(rejects[1], "text.damaged|caller_id: the value ") {
		t.Errorf("rejects: %q", rejects)
	}
	all := strings.Join(append(rejects, lines(kept, names...)...), "\n")
	for _, personal := range []string{"13800000001", "13800000002", "张三丰", "王五", "330199", "3.30199E+17", "噪音", "夜里"} {
		if strings.Contains(all, personal) {
			t.Errorf("%s leaves the process", personal)
		}
	}

	// What Ingress masked is taken as it is, also after the way through Kafka.
	kept = throughIPC(t, mem, kept)
	r := apply(t, m, kept)
	if got, want := lines(r.Records, "case_id", "phone", "caller", "caller_id", "content"), []string{"1|" + hashOf("k1", "13800000001") + "|张**|" + hashOf("k1", "33019919900101002X") + "|␀"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := broken(r), []string{"1: parse.datetime opened_at"}; !slices.Equal(got, want) {
		t.Errorf("broken: got %q, want %q", got, want)
	}
	if columns := string(r.Quarantined[0].Columns); !strings.Contains(columns, hashOf("k1", "330199199001010011")) || strings.Contains(columns, `"330199199001010011"`) {
		t.Errorf("quarantined columns: %s", columns)
	}

	// A replay delivers the masked values as text columns, marked by _quarantine.
	replayed := withColumn(t, mem, asText(t, mem, kept), ColumnQuarantine, textColumn(mem, "q1", "q2"))
	again := apply(t, m, replayed)
	if got, want := lines(again.Records, "case_id", "phone", "caller", "caller_id"), lines(r.Records, "case_id", "phone", "caller", "caller_id"); !slices.Equal(got, want) {
		t.Errorf("replayed: got %q, want %q", got, want)
	}
}

func textColumn(mem memory.Allocator, values ...string) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.AppendValues(values, nil)
	return b.NewArray()
}

func throughIPC(t *testing.T, mem memory.Allocator, rec arrow.Record) arrow.Record {
	t.Helper()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(rec.Schema()), ipc.WithAllocator(mem))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := ipc.NewReader(&buf, ipc.WithAllocator(mem))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if !r.Next() {
		t.Fatal("no record")
	}
	out := r.Record()
	out.Retain()
	t.Cleanup(out.Release)
	return out
}

func TestApplyMasksWhatIngressHasNot(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, hotline))
	rec := table(t, mem, strings.TrimSuffix(hotlineHeader, "|_row"),
		"1|西湖区|2021-03-05 08:00|13800000001|张三|330199199001010011|噪音|夜里|备|汉",
		"2|不知道|x|13800000002|李四|330199199001010012|噪音|夜里|备|汉")
	r := apply(t, m, rec)
	if got, want := lines(r.Records, "phone"), []string{hashOf("k1", "13800000001")}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := broken(r), []string{"1: caller_id.check caller_id, region.unknown region, parse.datetime opened_at"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if s := string(r.Quarantined[0].Columns); strings.Contains(s, "13800000002") || strings.Contains(s, "李四") || strings.Contains(s, "夜里") {
		t.Errorf("quarantined in clear: %s", s)
	}
}

func TestMissingPersonalColumns(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, hotline))
	rec := table(t, mem, "工单编号|区县|受理时间|姓名|证件号码|标题", "1|西湖区|2021-03-05 08:00|张三||噪音")
	if got, want := m.Missing(rec.Schema()), []string{"电话"}; !slices.Equal(got, want) {
		t.Errorf("missing: got %q, want %q", got, want)
	}
	kept, rejects := ingress(t, m, rec)
	if len(rejects) > 0 {
		t.Errorf("rejects: %q", rejects)
	}
	if got, want := m.Missing(kept.Schema()), []string{"电话"}; !slices.Equal(got, want) {
		t.Errorf("missing after Ingress: got %q, want %q", got, want)
	}
	if got, want := broken(apply(t, m, kept)), []string{"0: schema.column-missing phone"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPersonalFieldsOfSeveralColumns(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, strings.Replace(hotline, "mask: drop", "mask: hash:k2", 1)))
	rec := table(t, mem, hotlineHeader, "1|西湖区|2021-03-05 08:00|13800000001|张三|330199199001010011|噪音|夜里|备|汉|2")
	kept, _ := ingress(t, m, rec)
	for _, f := range kept.Schema().Fields() {
		if f.Name == "标题" || f.Name == "正文" {
			t.Errorf("%s leaves the process", f.Name)
		}
	}
	if got, want := lines(apply(t, m, kept).Records, "content"), []string{hashOf("k2", "噪音：夜里")}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := m.Missing(kept.Schema()); len(got) > 0 {
		t.Errorf("missing: %q", got)
	}
}

func TestKeysAreNeededOnlyToHash(t *testing.T) {
	t.Parallel()
	shape := shapeOf(t, hotline)
	p, err := Compile(shape, Options{Allocator: checked(t)})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := p.Stream("s", "t")
	mem := checked(t)
	rec := table(t, mem, hotlineHeader, "1|西湖区|2021-03-05 08:00|13800000001|张三|330199199001010011|噪音|夜里|备|汉|2")
	if _, _, err := m.Ingress(context.Background(), rec); err == nil || fault.KindOf(err) != fault.KindUsage || !strings.Contains(err.Error(), `"k1"`) {
		t.Errorf("Ingress without keys: %v", err)
	}
	masked, _ := ingress(t, mappingOf(t, mem, shape), rec)
	if r := apply(t, m, masked); r.Records.NumRows() != 1 {
		t.Errorf("a loader without keys cannot load: %v", r.Quarantined)
	}
	missing := func(string) (secret.Value, error) { return secret.Value{}, errors.New("not set") }
	if _, err := Compile(shape, Options{Keys: missing}); err == nil || fault.KindOf(err) != fault.KindUsage {
		t.Errorf("Compile with a missing key: %v", err)
	}
	empty := func(string) (secret.Value, error) { return secret.Value{}, nil }
	if _, err := Compile(shape, Options{Keys: empty}); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("Compile with an empty key: %v", err)
	}
}

func TestTheNewestKeyHashesAndOldHashesStayKnown(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	shape := shapeOf(t, hotline)
	rec := table(t, mem, hotlineHeader, "1|西湖区|2021-03-05 08:00|13800000001|张三|330199199001010011|噪音|夜里|备|汉|2")
	phone := func(hashing Hashing) string {
		p, err := Compile(shape, Options{Allocator: mem, Keys: testKeys, Hashing: hashing})
		if err != nil {
			t.Fatal(err)
		}
		m, _ := p.Stream("s", "t")
		kept, _ := ingress(t, m, rec)
		return lines(kept, "电话")[0]
	}
	if got, want := phone(Hashing{}), hashOf("k1", "13800000001"); got != want {
		t.Errorf("without a newest key: got %s, want %s", got, want)
	}
	if got, want := phone(Hashing{Newest: "k2"}), hashOf("k2", "13800000001"); got != want {
		t.Errorf("with a newer key: got %s, want %s", got, want)
	}
	key, err := testKeys("k2")
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(newSM3, []byte(key.Reveal()))
	mac.Write([]byte("13800000001"))
	if got, want := phone(Hashing{Newest: "k2", SM3: []string{"k2"}}), "k2:"+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("by SM3: got %s, want %s", got, want)
	}
	if got, want := phone(Hashing{SM3: []string{"k2"}}), hashOf("k1", "13800000001"); got != want {
		t.Errorf("SM3 is another key's: got %s, want %s", got, want)
	}
	same, other := Hashing{}.Fingerprint("k2", key), Hashing{SM3: []string{"k2"}}.Fingerprint("k2", key)
	if same == other || same == (Hashing{}).Fingerprint("k1", key) || strings.Contains(same+other, key.Reveal()) {
		t.Errorf("fingerprints %s and %s do not tell algorithm or name", same, other)
	}
}

func TestMasks(t *testing.T) {
	t.Parallel()
	cases := []struct{ kind, value, want string }{
		{"phone", "13812345678", "138****5678"},
		{"phone", "1234567", "*******"},
		{"phone", "电话13812345678", "************"},
		{"name", "张三丰", "张**"},
		{"name", "李", "*"},
		{"name", "Ana María", "A********"},
		{"id", "330199199001010011", "330199************"},
		{"id", "12345", "*****"},
	}
	for _, c := range cases {
		if got := string(newMasker(c.kind, "", secret.Value{}, nil).append(nil, []byte(c.value))); got != c.want {
			t.Errorf("%s of %s: got %s, want %s", c.kind, c.value, got, c.want)
		}
	}
	for _, bad := range []string{"hash:", "hash:K 1", "blur", "name:k1"} {
		if _, _, problem := parseMask(bad); problem == "" {
			t.Errorf("mask %q is accepted", bad)
		}
	}
}

func TestIngressJudgesNoFilteredRow(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, hotline+"filter: [{ name: total, when: 'col[\"区县\"] == \"合计\"' }]\n"))
	kept, rejects := ingress(t, m, table(t, mem, hotlineHeader, "1|合计|x||| 1|||||1"))
	if len(rejects) > 0 || kept.NumRows() != 1 {
		t.Errorf("rejects: %q", rejects)
	}
	if r := apply(t, m, kept); len(r.Filtered) != 1 {
		t.Errorf("filtered: %v", r.Filtered)
	}
}

func TestRejectsAreBounded(t *testing.T) {
	t.Parallel()
	mem := checked(t)
	m := mappingOf(t, mem, shapeOf(t, hotline))
	rec := table(t, mem, strings.TrimSuffix(hotlineHeader, "|_row"), "1|"+strings.Repeat("长", 5000)+"|x|||1||||")
	kept, rejects, err := m.Ingress(context.Background(), rec)
	if err != nil {
		t.Fatal(err)
	}
	kept.Release()
	if len(rejects) != 1 || len(rejects[0].Raw) > 4<<10 || rejects[0].Row != 0 {
		t.Errorf("%d rejects of %d bytes, row %d", len(rejects), len(rejects[0].Raw), rejects[0].Row)
	}
}
