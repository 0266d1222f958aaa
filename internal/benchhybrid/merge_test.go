package benchhybrid

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// kept writes rows as a report of their own, with a raw file.
func kept(t *testing.T, dir, name string, rows []Row, model, device string) (report, raw string) {
	t.Helper()
	report, raw = filepath.Join(dir, name+".json"), filepath.Join(dir, name+".jsonl.gz")
	r := &Report{Benchmark: Kind, Model: model, Digests: map[string]string{"model": device, "pool " + name: name}, Run: map[string]any{"shots": 16}, Notes: []string{"a note"}}
	require.NoError(t, r.Keep(raw, report, rows))
	data, err := json.Marshal(r)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(report, data, 0o644))
	return report, raw
}

// Each fold's users are asked of a server of their own, which left out the fold's
// families: rows of several servers are one judgement.
func TestSeveralServersAreJudgedTogether(t *testing.T) {
	all := known(10, 40)
	first, second := slices.Clone(all[:160]), slices.Clone(all[160:])
	for i := range first {
		first[i].Model = "large-without-1"
	}
	for i := range second { // asked in one form, with other costs; its report names it
		second[i].Server = map[string]int{"letter0": second[i].Server["letter0"]}
		second[i].Costs = map[string]Cost{"0": {3, 200, 1}}
	}
	dir := t.TempDir()
	a, rawA := kept(t, dir, "a", first, "large-without-1", "d")
	b, rawB := kept(t, dir, "b", second, "large-without-2", "d")
	rows, r, err := ReadInputs([]string{a, b}, "")
	require.NoError(t, err)
	require.Len(t, rows, 400)
	require.Equal(t, "large-without-1 + large-without-2", r.Model)
	require.Equal(t, map[string]string{"model": "d", "pool a": "a", "pool b": "b"}, r.Digests)
	require.Equal(t, []string{"a note"}, r.Notes)
	inputs := r.Run["from"].([]Input)
	require.Equal(t, []string{"large-without-2"}, inputs[1].Servers)
	require.Equal(t, 240, inputs[1].Rows)

	f, err := Judge(t.Context(), rows, JudgeOptions{Seed: 1, Resamples: 20})
	require.NoError(t, err)
	require.Equal(t, 400, f.Rows, "a form that only one server was asked in costs no rows")
	require.Zero(t, f.LeftOut)
	require.Contains(t, f.Missing, "form letter5: not asked of large-without-2")
	require.Equal(t, "letter0", f.Asked)
	require.Len(t, f.Models, 2)
	one, two := f.Models["large-without-1"], f.Models["large-without-2"]
	require.Equal(t, []int{4, 160, 6, 240}, []int{one.Users, one.Rows, two.Users, two.Rows})
	require.InDelta(t, f.Server, 0.4*one.Server+0.6*two.Server, 1e-5)
	require.InDelta(t, 3, two.Seconds, 1e-9)
	require.InDelta(t, 0.4*1+0.6*3, f.Latency.Server, 1e-5)

	// What is written of it is verified from its own rows.
	r.Figures = *f
	out, raw := filepath.Join(dir, "both.json"), filepath.Join(dir, "both.jsonl.gz")
	require.NoError(t, r.Keep(raw, out, rows))
	data, err := json.Marshal(r)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(out, data, 0o644))
	read, again, err := ReadReport(out)
	require.NoError(t, err)
	require.NoError(t, read.Verify(t.Context(), again))
	var text, sides, page bytes.Buffer
	require.NoError(t, read.WriteText(&text))
	require.NoError(t, read.WriteSides(&sides))
	require.NoError(t, read.WriteHTML(&page))
	require.Contains(t, text.String(), "not asked of large-without-2")
	require.Contains(t, sides.String(), "| large-without-2 | 6 | 240 |")
	require.Contains(t, page.String(), "large-without-2")

	// Judged again, a merged report is what it was; with the files alone, a server
	// is named by its rows, by --server-model, or by its file.
	_, twice, err := ReadInputs([]string{out}, "")
	require.NoError(t, err)
	require.Equal(t, r.Model, twice.Model)
	_, files, err := ReadInputs([]string{rawA, rawB}, "")
	require.NoError(t, err)
	require.Equal(t, "b + large-without-1", files.Model)
	_, files, err = ReadInputs([]string{rawB}, "named")
	require.NoError(t, err)
	require.Equal(t, "named", files.Model)

	_, _, err = ReadInputs([]string{a, rawA}, "")
	require.ErrorContains(t, err, "is answered in a.json too")
	// Of one folder, each run has the other's rows without an answer.
	halves := [2][]Row{slices.Clone(all), slices.Clone(all)}
	for i := range all {
		halves[i%2][i].Server = nil
	}
	h1, _ := kept(t, dir, "h1", halves[0], "one", "d")
	h2, _ := kept(t, dir, "h2", halves[1], "two", "d")
	whole, parts, err := ReadInputs([]string{h1, h2}, "")
	require.NoError(t, err)
	require.Equal(t, "one + two", parts.Model)
	require.Len(t, whole, 400)
	for i := range whole {
		require.NotEmpty(t, whole[i].Server)
		require.Equal(t, []string{"two", "one"}[i%2], whole[i].Model)
	}
	from := parts.Run["from"].([]Input)
	require.Equal(t, []int{200, 200}, []int{from[0].Rows, from[1].Rows})
	c, _ := kept(t, dir, "c", second, "x", "another device")
	_, _, err = ReadInputs([]string{a, c}, "")
	require.ErrorContains(t, err, "the device is another model")
	_, _, err = ReadInputs([]string{filepath.Join(dir, "none")}, "")
	require.ErrorIs(t, err, os.ErrNotExist)

	for i := range rows {
		if rows[i].Model == "large-without-2" {
			rows[i].Server = map[string]int{"logprob0": 0}
		}
	}
	_, err = Judge(t.Context(), rows, JudgeOptions{Seed: 1, Resamples: 20})
	require.ErrorContains(t, err, "no form that all were asked in")
}
