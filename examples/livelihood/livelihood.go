// Package livelihood is Headwater's demo project: three stories of Zhejiang's supervision, as its departments would send them, each in files
// with another disease: the livelihood items of 2021 for food and medicine, the control index of an epidemic, and the air.
//
// Write puts the project into a folder; Expected says what a warehouse must hold after it has been run, computed from what
// the generator knows of its own rows and with nothing of Headwater, so that a test can hold the two against each other.
//
// The provincial targets, the shares of 缙云县 and 余杭区, the changes of districts and the cases of February 2020 are real (README.md names
// their sources). All figures of progress, of the control index's days, the air readings and the hotline's cases are synthetic (演示数据), from a
// fixed seed.
package livelihood

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

//go:embed headwater.yaml README.md sources indicators indexes lookups real
var configuration embed.FS

// Write writes the whole project, configuration and data, into a folder, which it makes if it is not there. A file that is
// there and differs is replaced, one that is the same is left alone; other files stay. Each file appears complete or not at
// all. The same bytes are written every time.
func Write(dir string) error {
	files, err := contents()
	if err != nil {
		return fmt.Errorf("make the demo project: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(name)), files[name]); err != nil {
			return fmt.Errorf("write the demo project: %w", err)
		}
	}
	return nil
}

// contents returns all files of the project by their slash-separated names.
func contents() (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(configuration, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[name], err = configuration.ReadFile(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	d := newDemo()
	for month := firstMonth; month <= lastMonth; month++ {
		name := fmt.Sprintf("data/market-supervision/进展表-2021-%02d.xlsx", month)
		if files[name], err = marketBook(month, d.marketTables[month]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for month := airFirstMonth; month <= airLastMonth; month++ {
		name := fmt.Sprintf("data/air-stations/2021-%02d.parquet", month)
		if files[name], err = airFile(d.airRows, month); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for day, list := range d.transportLists {
		name := fmt.Sprintf("data/transport/%s.csv", ControlDay(day).Format("20060102"))
		if files[name], err = transportFile(list); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, f := range []struct {
		name string
		make func() ([]byte, error)
	}{
		{"data/jinyun/缙云县进展.csv", func() ([]byte, error) { return jinyunFile(d.jinyunRows) }},
		{"data/hotline/12345-2021-q2.zip", func() ([]byte, error) { return hotlineZip(d.cases) }},
		{"data/hangzhou/农贸市场检查.csv", func() ([]byte, error) { return inspectionsFile(d.inspections), nil }},
		{"data/province/汇总表.json", func() ([]byte, error) { return provinceFile(d.province) }},
		{"data/health/疫情防控日报-第1周.xlsx", func() ([]byte, error) { return healthBook(d.healthSheets[:secondWeek], 0) }},
		{"data/health/疫情防控日报-第2周.xlsx", func() ([]byte, error) { return healthBook(d.healthSheets[secondWeek:], secondWeek) }},
		{"data/targets/2021-目标分解.csv", func() ([]byte, error) { return targetsFile(d.targetRows) }},
	} {
		if files[f.name], err = f.make(); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return files, nil
}

// writeFile puts a file in its place by renaming, so that a connector never sees half of it.
func writeFile(path string, content []byte) (err error) {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".writing-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary.Name()))
		}
	}()
	if _, err := temporary.Write(content); err != nil {
		return errors.Join(err, temporary.Close())
	}
	if err := errors.Join(temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
