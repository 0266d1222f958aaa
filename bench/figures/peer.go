package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// race is as much of a result of `make peer` as is shown.
type race struct {
	Date    time.Time
	Machine struct{ CPU string }
	Threads int
	Engines []string
	Rows    []raceRow
	// Footprint is nil when it was not measured.
	Footprint *struct {
		Memory                  struct{ Resident int64 }
		Allowed, Weights, Cache int64
		Tokens                  int
		Open                    float64 `json:"open_seconds"`
		Customize               float64 `json:"customize_seconds"`
		CustomizeOpen           float64 `json:"customize_open_seconds"`
	}
	file string
}

type raceRow struct {
	Name                 string
	Ratio, Spread, Share float64
	Cost                 bool
	Unit                 string
	Crayon               float64 `json:"crayon_tps"`
	Peer                 float64 `json:"peer_tps"`
	Contender            struct {
		Engine, File string
		AdapterType  string `json:"adapter_type"`
		Joint        bool
	}
}

func (r raceRow) figure() string {
	if r.Cost {
		return fmt.Sprintf("%.1f %%", 100*(1-r.Ratio))
	}
	return fmt.Sprintf("%.2f", r.Ratio)
}

// against is what the row was held against.
func (r raceRow) against() string {
	switch c := r.Contender; {
	case c.Engine != "":
		return "Crayon"
	case c.File != "":
		return strings.ToUpper(c.File) + " file"
	case c.AdapterType != "":
		return c.AdapterType + " adapters"
	case c.Joint:
		return "one batch"
	}
	return ""
}

func (r *race) row(name string) (raceRow, bool) {
	i := slices.IndexFunc(r.Rows, func(x raceRow) bool { return x.Name == name })
	if i < 0 {
		return raceRow{}, false
	}
	return r.Rows[i], true
}

// asked is the table that the engine was built to, in the order of make peer.
var asked = []struct{ name, what, least string }{
	{"prefill", "prefill of 512 tokens, the same file", "7.0"},
	{"decode", "decode of 128 tokens, the same file", "2.0"},
	{"prefill_best", "prefill, llama.cpp's fastest file", "1.5"},
	{"decode_best", "decode, llama.cpp's fastest file", "1.5"},
	{"prefill_blend", "prefill with 4 adapters of rank 16", "7.0"},
	{"decode_blend", "decode with 4 adapters of rank 16", "4.0"},
	{"decode_concat", "decode, llama.cpp with one adapter of rank 64", "3.0"},
	{"score", "scoring 4 choices of a question", "4.0"},
	{"batch4", "4 decodes with 4 customisations, against one", "2.5"},
	{"qwen05_prefill", "qwen2.5-coder-0.5b, prefill", "3.0"},
	{"qwen05_decode", "qwen2.5-coder-0.5b, decode", "1.3"},
	{"qwen15_prefill", "qwen2.5-coder-1.5b, prefill", "3.0"},
	{"qwen15_decode", "qwen2.5-coder-1.5b, decode", "1.3, or 80 % of the read loop"},
	{"blend_cost", "decoding speed that a customisation costs", "at most 20 %"},
}

const peerCommand = "make peer"

// peerTable is the newest of the races with the most rows, with the ratios of
// the one before it that has as many.
func peerTable(root, _ string) (string, error) {
	all, err := races(root)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return missing("peer-DATE", peerCommand), nil
	}
	most := 0
	for _, r := range all {
		most = max(most, len(r.Rows))
	}
	all = slices.DeleteFunc(all, func(r *race) bool { return len(r.Rows) < most })
	r := all[len(all)-1]
	var before *race
	if len(all) > 1 {
		before = all[len(all)-2]
	}
	t := &table{}
	head := []string{"work", "asked", "reached", "spread", "Crayon", "llama.cpp"}
	if before != nil {
		head = append(head, "reached before")
	}
	t.head(head...)
	for _, a := range asked {
		x, ok := r.row(a.name)
		if !ok {
			continue
		}
		speed := func(v float64) string {
			if x.Unit == "questions/s" {
				return fmt.Sprintf("%.1f %s", v, x.Unit)
			}
			return fmt.Sprintf("%.0f tokens/s", v)
		}
		peer := speed(x.Peer)
		if s := x.against(); s != "" {
			peer += " (" + s + ")"
		}
		cells := []string{"`" + a.name + "` " + a.what, a.least, x.figure(), fmt.Sprintf("%.1f %%", 100*x.Spread), speed(x.Crayon), peer}
		if before != nil {
			y, _ := before.row(a.name)
			cells = append(cells, y.figure())
		}
		t.row(cells...)
	}
	t.WriteString("\n")
	r.shares(t)
	var engines []string
	for _, e := range r.Engines {
		name, _, _ := strings.Cut(e, " (CPU") // llama.cpp goes on with a long line of flags
		engines = append(engines, name)
	}
	fmt.Fprintf(t, "%s; %s; %d threads; %s; `bench/results/%s`", strings.Join(engines, ", "), r.Machine.CPU, r.Threads, r.Date.Format(time.DateTime), r.file)
	if before != nil {
		fmt.Fprintf(t, ", before that `%s`", before.file)
	}
	t.WriteString(". Spread: interquartile range of the ratios over their median.\n")
	return t.String(), nil
}

// shares is the second table: of the machine, of memory, of time.
func (r *race) shares(t *table) {
	rows := [][3]string{}
	for _, c := range []struct{ name, what, least string }{
		{"prefill", "prefill, of the int8 peak", "30 %"}, {"decode", "decode, of the read loop", "60 %"}, {"qwen05_decode", "qwen2.5-coder-0.5b, decode, of the read loop", ""}, {"qwen15_decode", "qwen2.5-coder-1.5b, decode, of the read loop", "80 % if the ratio is less than 1.3"},
	} {
		if x, ok := r.row(c.name); ok && x.Share > 0 {
			rows = append(rows, [3]string{c.what, c.least, fmt.Sprintf("%.0f %%", 100*x.Share)})
		}
	}
	if f := r.Footprint; f != nil {
		const mb = 1e6
		rows = append(rows,
			[3]string{fmt.Sprintf("resident memory after %d tokens", f.Tokens), fmt.Sprintf("at most %.0f MB: weights %.0f, cache %.0f, and 80", float64(f.Allowed)/mb, float64(f.Weights)/mb, float64(f.Cache)/mb), fmt.Sprintf("%.0f MB", float64(f.Memory.Resident)/mb)},
			[3]string{"opening the model, warm", "0.3 s", fmt.Sprintf("%.3f s", f.Open)},
			[3]string{"`customize --no-proof` of 16 examples, as a process", "0.5 s", fmt.Sprintf("%.3f s", f.Customize)},
			[3]string{"the same with the model open", "0.15 s", fmt.Sprintf("%.3f s", f.CustomizeOpen)})
	}
	if len(rows) == 0 {
		return
	}
	t.head("share", "asked", "reached")
	for _, x := range rows {
		t.row(x[:]...)
	}
	t.WriteString("\n")
}

// races are the results of make peer, oldest first.
func races(root string) ([]*race, error) {
	paths, err := filepath.Glob(filepath.Join(root, "bench", "results", "peer-*.json"))
	if err != nil {
		return nil, err
	}
	var all []*race
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r := &race{file: filepath.Base(path)}
		if err := json.Unmarshal(data, r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *race) int { return a.Date.Compare(b.Date) })
	return all, nil
}
