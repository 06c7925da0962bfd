package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// planted are the secrets of a project, and what they would look like if somebody had encoded them on the way.
type planted map[string]string // what it is → its text

func (s planted) in(data []byte) (what string) {
	for what, text := range s {
		for _, form := range []string{text, base64.StdEncoding.EncodeToString([]byte(text)), hex.EncodeToString([]byte(text))} {
			if bytes.Contains(data, []byte(form)) {
				return what
			}
		}
	}
	return ""
}

// watch looks at the command lines of all processes until stop is called, and returns what was found there.
func (s planted) watch() (stop func() (looked int, found string)) {
	ended := make(chan struct{})
	type result struct {
		looked int
		found  string
	}
	done := make(chan result)
	go func() {
		var r result
		for {
			lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // only a bad pattern fails
			for _, name := range lines {
				data, err := os.ReadFile(name)
				if err != nil {
					continue // it has ended
				}
				if bytes.HasPrefix(data, []byte(binary)) {
					r.looked++
				}
				if what := s.in(data); what != "" {
					r.found = what + " in " + strings.ReplaceAll(string(data), "\x00", " ")
				}
			}
			select {
			case <-ended:
				done <- r
				return
			case <-time.After(20 * time.Millisecond): // a command lives longer than that
			}
		}
	}()
	return func() (int, string) {
		close(ended)
		r := <-done
		return r.looked, r.found
	}
}

const hotlineSource = `source: calls
title: Calls
owner: test
connector: file
streams:
  - name: calls
    read: {path: "data/*.csv", on_change: merge}
    keep: [note]
    map:
      schema: hotline_case
      fields:
        case_id: id
        region: {from: region, region: {within: "330000"}}
        opened_at: {from: opened, parse: datetime}
        channel: {value: phone}
        status: {value: open}
        phone: {from: phone, mask: hash}
        caller: {from: caller, mask: name}
        caller_id: {from: person}
        content: {from: content}
`

const hotlineTitle = "id,region,opened,phone,caller,person,content,note\n"

// personalRows are rows of which every kind of fate is somebody's: loaded, broken by a rule on a personal field, by a rule on another,
// unreadable, and too large for a message.
func personalRows() (text string, personal []string) {
	personal = []string{"13900000001", "13900000002", "13900000003", "13900000004", "13900000005", "欧阳甲", "欧阳乙", "欧阳丙", "欧阳丁", "欧阳戊",
		"330199199001010010", "330199199013459999", "330199199001017777", "330199199001018888", "家里漏水", "楼上吵闹"}
	rows := []string{
		"1,上城区,2024-01-02 08:00,13900000001,欧阳甲,,家里漏水,n",
		"2,上城区,2024-01-02 08:00,13900000002,欧阳乙,330199199013459999,楼上吵闹,n",                                    // the check digit is wrong: a reject of Ingress
		"3,无此区,not a time,13900000003,欧阳丙,,家里漏水,n",                                                            // quarantined by the mapping
		"4,上城区,2024-01-02 08:00,13900000004,欧阳丁,330199199001018888,楼上吵闹,n,x,y,z",                              // too many fields
		"5,上城区,2024-01-02 08:00,13900000005,欧阳戊,330199199001017777," + strings.Repeat("楼上吵闹", 300_000) + ",n", // longer than max_row_bytes
	}
	return hotlineTitle + strings.Join(rows, "\n") + "\n", personal
}

// Secrets and personal data are planted and then looked for in everything that a run leaves or says: output in text and in JSON, logs
// of every level and form, panics, command lines, the files of Kafka and of the state folder, decompressed, and the warehouse.
func TestNothingPlantedComesOut(t *testing.T) {
	t.Parallel()
	text, personal := personalRows()
	secrets := planted{
		"the key k1":           "planted-key-one-0123456789",
		"the key k2":           "planted-key-two-0123456789",
		"a password in a file": "planted-password-in-a-file", "the changed key": "planted-key-one-changed-later",
		"the warehouse's password": "planted-warehouse-password", "the broker's password": "planted-broker-password",
	}
	const project = `project: planted
broker: {partitions: 1, session: 1s}
keys: {k1: "${env:PLANTED_ONE}", k2: "${file:secrets/two}"}
hashing: {key: %s, sm3: [k2]}
`
	p := newProject(t, map[string]string{
		"headwater.yaml": fmt.Sprintf(project, "k1"), "secrets/two": secrets["the key k2"] + "\n", "sources/calls.yaml": hotlineSource, "data/a.csv": text,
	})
	p.env = []string{"PLANTED_ONE=" + secrets["the key k1"]}
	stop := secrets.watch()
	var said bytes.Buffer
	say := func(env []string, args ...string) result {
		r := p.run(t, env, args...)
		fmt.Fprintf(&said, "%s\n%s\n%s\n", args, r.out, r.err)
		return r
	}
	for _, args := range [][]string{
		{"check", "--json"}, {"run", "--log-level", "debug", "--log-format", "json"}, {"quarantine", "list", "--json"}, {"preview", "calls"}, {"preview", "calls", "--json"},
		{"query", "SELECT * FROM quarantine"},
	} {
		before := said.Len()
		r := say(nil, args...)
		if r.code != 0 && args[0] != "run" && args[0] != "preview" {
			t.Errorf("%s: exit code %d\n%s", args, r.code, said.Bytes()[before:])
		}
	}
	// The newest key hashes by SM3 from now on; what was hashed before stays under its own name.
	p.write(t, "headwater.yaml", fmt.Sprintf(project, "k2"))
	p.write(t, "data/b.csv", hotlineTitle+"6,上城区,2024-01-02 08:00,13900000001,欧阳甲,,家里漏水,n\n")
	if r := say(nil, "run", "--log-level", "debug", "--log-format", "text"); r.code != 0 {
		t.Errorf("run: exit code %d\n%s", r.code, r.err)
	}
	for id, key := range map[string]string{"1": "k1:", "6": "k2:"} {
		if got := p.one(t, "SELECT any(phone) FROM hotline_case FINAL WHERE case_id = '"+id+"'"); !strings.HasPrefix(got, key) || len(got) != len(key)+64 {
			t.Errorf("case %s: the telephone number is %q, want a hash under %s", id, got, key)
		}
	}
	if n := p.one(t, "SELECT count() FROM quarantine FINAL"); n != "4" {
		t.Errorf("%s rows in quarantine, want 4: what was planted took another way than it should\n%s", n, said.String())
	}
	p.balanced(t)
	// Another secret under a name that has hashes is refused, and not shown.
	changed := []string{"PLANTED_ONE=" + secrets["the changed key"]}
	p.write(t, "headwater.yaml", fmt.Sprintf(project, "k1"))
	if r := say(changed, "run"); r.code != 2 || !strings.Contains(r.err, "not what it was") {
		t.Errorf("a changed key: exit code %d\n%s", r.code, r.err)
	}
	// A real broker and warehouse that are not there: their errors hold addresses, never passwords.
	p.write(t, "secrets/broker", secrets["the broker's password"])
	other := newProject(t, map[string]string{
		"headwater.yaml": `project: planted
broker: {addresses: ["127.0.0.1:1"], user: u, password: "${file:secrets/broker}", mechanism: scram-sha-512}
warehouse: {address: "127.0.0.1:1", user: u, password: "${env:PLANTED_WAREHOUSE}"}
keys: {k1: "${env:PLANTED_ONE}"}
`, "secrets/broker": secrets["the broker's password"], "sources/calls.yaml": hotlineSource, "data/a.csv": text,
	})
	other.env = append(slices.Clone(p.env), "PLANTED_WAREHOUSE="+secrets["the warehouse's password"])
	for _, args := range [][]string{{"check"}, {"status"}, {"ledger", "--json"}, {"warehouse", "grants"}, {"query", "SELECT 1", "--log-level", "debug", "--log-format", "json"}} {
		r := other.run(t, nil, args...)
		fmt.Fprintf(&said, "%s\n%s\n%s\n", args, r.out, r.err)
	}
	looked, found := stop()
	if looked == 0 {
		t.Error("no command line of the program was looked at")
	}
	if found != "" {
		t.Errorf("a command line holds %s", found)
	}

	if what := secrets.in(said.Bytes()); what != "" {
		t.Errorf("the output holds %s", what)
	}
	for _, text := range personal {
		if i := strings.Index(said.String(), text); i >= 0 {
			t.Errorf("the output holds %s: %.300s", text, said.String()[max(0, i-150):])
		}
	}
	for _, r := range p.query(t, "SELECT name FROM system.tables WHERE database = 'headwater' AND engine LIKE '%MergeTree%'") {
		rows, err := json.Marshal(p.query(t, fmt.Sprintf("SELECT * FROM `%s`", r["name"])))
		if err != nil {
			t.Fatal(err)
		}
		if what := secrets.in(rows); what != "" {
			t.Errorf("table %s holds %s", r["name"], what)
		}
		for _, text := range personal {
			if bytes.Contains(rows, []byte(text)) {
				t.Errorf("table %s holds %s", r["name"], text)
			}
		}
	}
	searchFiles(t, p, secrets, personal)
}

// searchFiles looks into every file of the state folder, and into the compressed frames in it.
func searchFiles(t *testing.T, p *project, secrets planted, personal []string) {
	t.Helper()
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	s := scanner{zstd: decoder, seen: map[string]bool{}}
	look := func(path string, data []byte) {
		if what := secrets.in(data); what != "" {
			t.Errorf("%s holds %s", path, what)
		}
		for _, text := range personal {
			if bytes.Contains(data, []byte(text)) {
				t.Errorf("%s holds %s", path, text)
			}
		}
		if bytes.Contains(data, []byte("k2:")) {
			s.seen["a hash"] = true
		}
	}
	if err := filepath.WalkDir(filepath.Join(p.dir, ".headwater"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.Type().IsRegular() {
			return nil // the warehouse puts parts together while we look
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		look(path, data)
		for _, magic := range [][]byte{zstdFrame, lz4Frame} {
			for at := 0; ; {
				i := bytes.Index(data[at:], magic)
				if i < 0 {
					break
				}
				at += i
				look(path+" (compressed)", s.frame(data[at:], magic))
				at += len(magic)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !s.seen["a hash"] {
		t.Error("no hash was found in any batch: the search did not look into them")
	}
}
