package clickhouse

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/headwater-data/headwater/internal/fault"
)

// Alone is the engine without a server in front of it and with all rights, those on files among them: what measurements
// compare the pipeline with. Nothing that listens can reach it. It takes the place of Serve in its process: one engine a
// process, on one folder.
type Alone struct {
	server     *server
	connection *connection
}

// OpenAlone opens the engine on a folder of its own with the settings that Serve uses, grants apart. The caller closes it.
func OpenAlone(dir string, engine Engine) (*Alone, error) {
	s := &server{config: Config{Dir: dir, Engine: engine, MaxMemoryBytes: defaultMemoryBytes}}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		s.files = allRights
		err = s.open()
	}
	if err != nil {
		return nil, fault.Environment(fmt.Errorf("open the engine on %s: %w", dir, err))
	}
	c, err := s.library.connect(s.args...)
	if err != nil {
		s.close()
		return nil, fault.Environment(fmt.Errorf("open the engine on %s: %w", dir, err))
	}
	return &Alone{server: s, connection: c}, nil
}

// Query runs a statement to its end and returns its result as tab-separated text. Settings last until Close.
func (a *Alone) Query(sql string) (string, error) {
	result, err := a.connection.query(sql, "TabSeparated")
	if err != nil {
		return "", fmt.Errorf("%s: %w", firstWords(sql), err)
	}
	defer result.release()
	return strings.TrimSuffix(string(result.bytes), "\n"), nil
}

func firstWords(sql string) string {
	if len(sql) <= 60 {
		return sql
	}
	cut := 60
	for !utf8.RuneStart(sql[cut]) {
		cut--
	}
	return sql[:cut] + "…"
}

// Close ends the engine.
func (a *Alone) Close() {
	a.connection.close()
	a.server.close()
}

// allRights makes the settings of an engine that only its own process can ask.
func allRights(folder string, memoryBytes int64) map[string]string {
	users := engineUsers(memoryBytes, []string{ownRights})
	from, to := strings.Index(users, "<grants>"), strings.Index(users, "</grants>")+len("</grants>")
	return map[string]string{
		"config.xml": engineConfig(filepath.Join(folder, "users.xml"), memoryBytes),
		"users.xml":  users[:from] + users[to:],
	}
}
