package warehouse

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/headwater-data/headwater/schemas"
)

type indicatorVersionRow struct {
	Code        string    `ch:"code"`
	Version     string    `ch:"version"`
	ValidFrom   time.Time `ch:"valid_from"`
	ValidTo     time.Time `ch:"valid_to"`
	Owner       string    `ch:"owner"`
	Description string    `ch:"description"`
	FactsSchema string    `ch:"facts_schema"`
	FactsFields []string  `ch:"facts_fields"`
	Tasks       []string  `ch:"tasks"`
	bandColumns
	Deleted bool `json:"-"`
}

type indexVersionRow struct {
	Index         string    `ch:"index"`
	Version       string    `ch:"version"`
	TitleZh       string    `ch:"title_zh"`
	TitleEn       string    `ch:"title_en"`
	Unit          string    `ch:"unit"`
	Direction     string    `ch:"direction"`
	Grain         string    `ch:"grain"`
	Owner         string    `ch:"owner"`
	Demonstration bool      `ch:"demonstration"`
	ValidFrom     time.Time `ch:"valid_from"`
	ValidTo       time.Time `ch:"valid_to"`
	Missing       string    `ch:"missing"`
	MinCoverage   float64   `ch:"min_coverage"`
	Sequence      int64     `ch:"sequence"`
	Note          string    `ch:"note"`
	bandColumns
	Deleted bool `json:"-"`
}

type indexWeightRow struct {
	Index     string   `ch:"index"`
	Version   string   `ch:"version"`
	Component string   `ch:"component"`
	Position  int64    `ch:"position"`
	Title     string   `ch:"title"`
	Weight    float64  `ch:"weight"`
	Method    string   `ch:"method"`
	Zero      *float64 `ch:"zero"`
	Full      *float64 `ch:"full"`
	Points    string   `ch:"points"`
	Deleted   bool     `json:"-"`
}

// bandColumns are the thresholds; nil where a colour has none. 0 is a threshold.
type bandColumns struct {
	Green  *float64 `ch:"green"`
	Blue   *float64 `ch:"blue"`
	Yellow *float64 `ch:"yellow"`
	Orange *float64 `ch:"orange"`
}

func bandsOf(b *schemas.Bands) bandColumns {
	if b == nil {
		return bandColumns{}
	}
	return bandColumns{b.Green, b.Blue, b.Yellow, b.Orange}
}

// syncDefinitions fills the tables that say how indicators are judged and indexes are made, version by version.
func (w *Warehouse) syncDefinitions(ctx context.Context, steps map[string]applied, indicators []schemas.Indicator, indexes []schemas.Index) error {
	titles := map[string]string{}
	versions, scored, weights := []indicatorVersionRow{}, []indexVersionRow{}, []indexWeightRow{}
	for _, i := range indicators {
		titles[i.Code] = i.Title.Zh
		for _, v := range i.History() {
			row := indicatorVersionRow{Code: i.Code, Version: v.Version, ValidFrom: cmp.Or(v.Begins(), unknownFrom), ValidTo: v.Ends(),
				Owner: v.Owner, Description: v.Description, Tasks: i.Tasks, bandColumns: bandsOf(v.Bands)}
			if i.Facts != nil {
				row.FactsSchema, row.FactsFields = i.Facts.Schema, i.Facts.Used()
			}
			versions = append(versions, row)
		}
	}
	for n, i := range indexes {
		titles[i.Code] = i.Title.Zh
		for _, v := range i.Versions {
			scored = append(scored, indexVersionRow{Index: i.Code, Version: v.Version, TitleZh: i.Title.Zh, TitleEn: i.Title.En, Unit: i.Unit,
				Direction: i.Direction, Grain: i.Grain, Owner: i.Owner, Demonstration: i.Demonstration, ValidFrom: v.Begins(), ValidTo: v.Ends(),
				Missing: v.Missing, MinCoverage: v.MinCoverage, Sequence: int64(n + 1), Note: v.Note, bandColumns: bandsOf(v.Bands)})
			for position, c := range v.Components {
				row := indexWeightRow{Index: i.Code, Version: v.Version, Component: c.Of, Position: int64(position + 1), Title: titles[c.Of],
					Weight: c.Weight, Method: c.Score, Zero: c.Zero, Full: c.Full}
				if len(c.Points) > 0 {
					points, err := json.Marshal(c.Points)
					if err != nil {
						return err
					}
					row.Points = string(points)
				}
				weights = append(weights, row)
			}
		}
	}
	if err := syncTable(ctx, w, steps, content[indicatorVersionRow]{
		table: "indicator_version", columns: ownSchema("indicator_version").Arrow().Fields(), keyColumns: "code, version, valid_from", rows: versions,
		key:     func(r indicatorVersionRow) string { return r.Code + "/" + r.Version },
		gone:    func(r *indicatorVersionRow) { r.Deleted = true },
		deleted: func(r indicatorVersionRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	if err := syncTable(ctx, w, steps, content[indexVersionRow]{
		table: "index_version", columns: ownSchema("index_version").Arrow().Fields(), keyColumns: "index, version, valid_from", rows: scored,
		key:     func(r indexVersionRow) string { return r.Index + "/" + r.Version },
		gone:    func(r *indexVersionRow) { r.Deleted = true },
		deleted: func(r indexVersionRow) bool { return r.Deleted },
	}); err != nil {
		return err
	}
	return syncTable(ctx, w, steps, content[indexWeightRow]{
		table: "index_weight", columns: ownSchema("index_weight").Arrow().Fields(), keyColumns: "index, version, component", rows: weights,
		key:     func(r indexWeightRow) string { return r.Index + "/" + r.Version + "/" + r.Component },
		gone:    func(r *indexWeightRow) { r.Deleted = true },
		deleted: func(r indexWeightRow) bool { return r.Deleted },
	})
}
