package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/qa"
)

func TestRawRoundTrip(t *testing.T) {
	o := options()
	o.Scores, o.Draws = true, 2
	rep, sheets, err := Run(context.Background(), town(t), newToy(), o)
	require.NoError(t, err)
	dir := t.TempDir()
	out, raw := filepath.Join(dir, "r.json"), filepath.Join(dir, "raw", "r.jsonl.gz")
	require.NoError(t, rep.Keep(raw, out, sheets))
	require.Equal(t, "raw/r.jsonl.gz", rep.Raw)
	text, err := json.Marshal(rep)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(out, text, 0o644))
	read, back, err := ReadReport(out)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(sheets, back))
	require.NoError(t, read.Verify(back), "the published report follows from the published rows")
	for _, key := range []string{`"macro"`, `"by_dataset"`, `"by_user"`, `"by_shots"`, `"differences"`, `"groups"`, `"settings"`, `"digests"`, `"worse_users"`, `"chosen_by_user"`} {
		require.Contains(t, string(text), key)
	}

	// An altered figure, wherever it is, an altered row and an altered file are all found.
	high := &read.Groups[Seen].Macro["blend"].High
	was := *high
	*high -= 1e-6
	err = read.Verify(back)
	require.ErrorContains(t, err, "groups.seen.macro.blend.high")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	*high = was
	read.WorseUsers["blend"].Below = append(read.WorseUsers["blend"].Below, "nobody")
	require.ErrorContains(t, read.Verify(back), "worse_users.blend.below")
	read, back, err = ReadReport(out)
	require.NoError(t, err)
	back[0].Answers[0] = (back[0].Answers[0] + 1) % back[0].Choices[0]
	require.Error(t, read.Verify(back))
	require.Error(t, read.Verify(nil))
	data, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(raw, data[:len(data)-1], 0o644))
	_, _, err = ReadReport(out)
	require.ErrorContains(t, err, "sha256")
	_, err = ReadRaw("raw", bytes.NewReader(data[:len(data)/2]))
	require.Error(t, err)
}

// reported runs the benchmark and keeps its report in the folder, with its raw
// rows; it returns the report's path.
func reported(t *testing.T, dir, name string, d *qa.Data, e Engine, o Options) string {
	t.Helper()
	rep, sheets, err := Run(context.Background(), d, e, o)
	require.NoError(t, err)
	out := filepath.Join(dir, name+".json")
	require.NoError(t, rep.Keep(filepath.Join(dir, "raw", name+".gz"), out, sheets))
	text, err := json.Marshal(rep)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(out, text, 0o644))
	return out
}

// Each data set comes from the run that left it out; runs of other seeds are
// repeats; what does not belong together is refused.
func TestMerge(t *testing.T) {
	dir := t.TempDir()
	d := folder(t, place{dataset: "boolq", rows: 140}, place{dataset: "winogrande", rows: 150})
	run := func(name string, seed uint64, trained string, change func(*Options)) string {
		e, o := newToy(), options()
		e.pool.Made.Seed = seed
		o.Provenance = Provenance{trained: {""}}
		o.Digests = map[string]string{"model": "m", "pool": name}
		o.Strategies = []string{"base", "single", "blend"}
		change(&o)
		return reported(t, dir, name, d, e, o)
	}
	same := func(*Options) {}
	a, b := run("a", 1, "winogrande", same), run("b", 1, "boolq", same)
	rep, sheets, err := Merge([]string{a, b}, NewDataset)
	require.NoError(t, err)
	require.Equal(t, 2, rep.Users)
	require.Equal(t, []Input{{File: "a.json", Digests: rep.Inputs[0].Digests, Datasets: []string{"boolq"}}, {File: "b.json", Digests: rep.Inputs[1].Digests, Datasets: []string{"winogrande"}}}, rep.Inputs)
	require.Equal(t, "b", rep.Inputs[1].Digests["pool"])
	require.Equal(t, 1, rep.Groups[Tuning].Users, "boolq's fold")
	require.Equal(t, 1, rep.Groups[Reported].Users)
	require.NoError(t, rep.Verify(sheets))
	require.Positive(t, rep.Timing["blend"].Queries)

	again, _, err := Merge([]string{b, a}, NewDataset)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(rep.Figures, again.Figures), "the order of the reports does not matter")
	more, _, err := Merge([]string{a, b, run("a2", 2, "winogrande", same)}, NewDataset)
	require.NoError(t, err)
	require.Equal(t, 2, more.Users)
	fewer, _, err := Merge([]string{a, run("b1", 1, "boolq", func(o *Options) { o.Strategies = []string{"base", "blend"} })}, NewDataset)
	require.NoError(t, err)
	require.Equal(t, []string{"base", "blend"}, fewer.Settings.Strategies)
	require.Contains(t, strings.Join(fewer.Notes, "\n"), "single")

	for name, c := range map[string]struct {
		paths []string
		want  string
	}{
		"twice":        {[]string{a, a}, "twice"},
		"other shots":  {[]string{a, run("k", 1, "boolq", func(o *Options) { o.Shots = []int{4} })}, "shots differ"},
		"other model":  {[]string{a, run("m", 1, "boolq", func(o *Options) { o.Digests["model"] = "n" })}, "another model"},
		"nobody left":  {[]string{a, run("s", 1, "winogrande", func(o *Options) { o.Datasets = []string{"winogrande"} })}, "no user of the group"},
		"nothing":      {nil, "no report"},
		"no such file": {[]string{filepath.Join(dir, "none.json")}, "none.json"},
		"no raw in it": {[]string{func() string { p := filepath.Join(dir, "x.json"); os.WriteFile(p, []byte("{}"), 0o644); return p }()}, "no raw file"},
		"not a report": {[]string{filepath.Join(dir, "raw", "a.gz")}, "a.gz"},
	} {
		_, _, err := Merge(c.paths, NewDataset)
		require.ErrorContains(t, err, c.want, name)
	}
}

// What is measured later stands beside what was there; nothing but the same
// rows of the same pool is joined.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	d := folder(t, place{dataset: "boolq", rows: 140}, place{dataset: "winogrande", rows: 150})
	run := func(name string, change func(*Options)) string {
		e, o := newToy(), options()
		e.pool.Made.Seed = 1
		o.Digests = map[string]string{"model": "m", "pool": "p"}
		o.Strategies = []string{"base", "single", "blend"}
		change(&o)
		return reported(t, dir, name, d, e, o)
	}
	whole := run("whole", func(o *Options) { o.Strategies = []string{"base", "single", "blend", "stack"} })
	old := run("old", func(*Options) {})
	late := run("late", func(o *Options) { o.Strategies = []string{"base", "stack"} })
	want, wantSheets, err := ReadReport(whole)
	require.NoError(t, err)
	for _, paths := range [][]string{{old, late}, {late, old}} {
		rep, sheets, err := Join(paths)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want.Figures, rep.Figures, cmpopts.EquateEmpty()), "as if they had run at once")
		require.Empty(t, cmp.Diff(wantSheets, sheets, cmpopts.EquateEmpty()))
		require.NoError(t, rep.Verify(sheets))
		require.Equal(t, want.Settings.Strategies, rep.Settings.Strategies)
		require.Positive(t, rep.Timing["stack"].Queries)
		require.Positive(t, rep.Timing["single"].Queries)
		require.Len(t, rep.Inputs, 2)
	}
	part, sheets, err := Join([]string{old, run("some", func(o *Options) { o.Strategies, o.Datasets = []string{"stack"}, []string{"boolq"} })})
	require.NoError(t, err)
	require.Equal(t, 1, part.Users, "winogrande has no stack")
	require.NoError(t, part.Verify(sheets))

	for name, c := range map[string]struct {
		paths []string
		want  string
	}{
		"one":         {[]string{old}, "nothing to join"},
		"nothing new": {[]string{whole, late}, "in those before it"},
		"other pool":  {[]string{old, run("pool", func(o *Options) { o.Strategies, o.Digests["pool"] = []string{"stack"}, "q" })}, "another pool"},
		"other rows":  {[]string{old, run("rows", func(o *Options) { o.Strategies, o.Rows = []string{"stack"}, 3 })}, "rows differ"},
		"nobody": {[]string{run("b", func(o *Options) { o.Datasets = []string{"boolq"} }),
			run("w", func(o *Options) { o.Strategies, o.Datasets = []string{"stack"}, []string{"winogrande"} })}, "no user is in all"},
	} {
		_, _, err := Join(c.paths)
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestOutputs(t *testing.T) {
	rep, _, err := Run(context.Background(), town(t), newToy(), options())
	require.NoError(t, err)
	var text, md, pic, svg bytes.Buffer
	require.NoError(t, rep.WriteText(&text))
	require.NoError(t, rep.WriteMarkdown(&md))
	for _, s := range append(slices.Clone(short), "blend - swapped", "left out", "all, varied", "desk", "note: ", "s to customise", "what was chosen") {
		require.Contains(t, text.String(), s)
	}
	for _, block := range strings.Split(md.String(), "\n\n") { // every table is rectangular
		columns := -1
		for _, line := range strings.Split(block, "\n") {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			if n := strings.Count(line, "|"); columns == -1 {
				columns = n
			} else {
				require.Equal(t, columns, n, block)
			}
		}
	}
	require.NoError(t, rep.WritePlot(&pic, "png"))
	img, err := png.Decode(&pic)
	require.NoError(t, err)
	require.Greater(t, img.Bounds().Dx(), 500)
	require.NoError(t, rep.WritePlot(&svg, "svg"))
	require.Contains(t, svg.String(), "<svg")
	require.ErrorContains(t, rep.WritePlot(&svg, "gif"), "gif")
	require.ErrorIs(t, rep.WriteText(full{}), errFull)
	require.ErrorIs(t, rep.WriteMarkdown(full{}), errFull)
	require.ErrorIs(t, rep.WritePlot(full{}, "png"), errFull)
	require.ErrorIs(t, rep.WriteHTML(full{}), errFull)
	require.ErrorIs(t, WriteRaw(full{}, []Sheet{{}}), errFull)
}

// full is a disk without room.
type full struct{}

var errFull = fmt.Errorf("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func FuzzReadRaw(f *testing.F) {
	f.Add([]byte(`{"dataset":"d","user":"d","group":"seen","shots":16,"draw":0,"ids":["1","2"],"choices":[2,3],"answers":[1,0],"picks":{"base":[1,2],"chance":[-1,-1]}}`))
	f.Add([]byte(`{"dataset":"d","user":"d","shots":4,"ids":["1"],"choices":[2],"answers":[1],"picks":{"base":[7]}}`))
	f.Add([]byte(`{"dataset":"d","user":"d","ids":["1"],"choices":[0],"answers":[-1],"said":{"base":[1]},"chat":{"base":2.5}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw bytes.Buffer
		zw := gzip.NewWriter(&raw)
		_, _ = zw.Write(text)
		_ = zw.Close()
		if sheets, err := ReadRaw("raw", &raw); err == nil {
			Summarise(sheets, 1, 100)
		}
	})
}
