package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/bench"
)

// The README and docs say what the program and the committed results say.
func TestDocumentsAreCurrent(t *testing.T) {
	stale, err := update(filepath.Join("..", ".."), true)
	require.NoError(t, err)
	require.Empty(t, stale, "stale: go run ./bench/figures")
}

func TestFill(t *testing.T) {
	root := t.TempDir()
	for name, c := range map[string]struct{ doc, fault string }{
		"unclosed": {"<!-- figures: demo -->\ntext\n", "not closed"},
		"unopened": {"text\n<!-- /figures -->\n", "without its opening"},
		"unknown":  {"<!-- figures: nothing -->\n<!-- /figures -->\n", `"nothing"`},
		"two ends": {"<!-- figures: demo -->\n<!-- /figures -->\n<!-- /figures -->\n", "without its opening"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fill(root, []byte(c.doc))
			require.ErrorContains(t, err, c.fault)
		})
	}
	got, err := fill(root, []byte("before\n<!-- figures: bench left-out -->\nold\n<!-- /figures -->\nafter\n"))
	require.NoError(t, err)
	require.Contains(t, string(got), "before\n<!-- figures: bench left-out -->\nNo result is committed yet.")
	require.Contains(t, string(got), "bench/results/left-out.json")
	require.NotContains(t, string(got), "old")
	require.Contains(t, string(got), "\n<!-- /figures -->\nafter\n")
	again, err := fill(root, got)
	require.NoError(t, err)
	require.Equal(t, string(got), string(again))
}

func TestUpdate(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "docs"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "bench", "results"), 0o755))
	readme, page := filepath.Join(root, "README.md"), filepath.Join(root, "docs", "bench.md")
	require.NoError(t, os.WriteFile(readme, []byte("# plain\n"), 0o644))
	require.NoError(t, os.WriteFile(page, []byte("<!-- figures: bench tiny -->\n<!-- /figures -->\n"), 0o644))
	report := bench.Report{Settings: bench.Settings{Strategies: []string{"base", "blend"}},
		Digests: map[string]string{"pool": "0123456789abcdef"}, Environment: bench.Environment{Machine: "a machine", Date: "2026-01-02T03:04:05Z"}}
	section := bench.Section{Users: 3, Rows: 90, Macro: map[string]*bench.Figure{"base": {Accuracy: 0.25, Low: 0.2, High: 0.3}, "blend": {Accuracy: 0.5, Low: 0.4, High: 0.6}},
		Differences: map[string]*bench.Difference{"blend-base": {Difference: 0.25, Low: 0.1, High: 0.4}}}
	report.Headline, report.Section, report.Groups = 16, section, map[bench.Group]*bench.Section{bench.NewDataset: &section}
	data, err := json.Marshal(report)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "bench", "results", "tiny.json"), data, 0o644))

	stale, err := update(root, true)
	require.NoError(t, err)
	require.Equal(t, []string{page}, stale)
	unchanged, err := os.ReadFile(page)
	require.NoError(t, err)
	require.NotContains(t, string(unchanged), "0.500", "check changes nothing")

	stale, err = update(root, false)
	require.NoError(t, err)
	require.Equal(t, []string{page}, stale)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(text), "new data sets (3 users, 90 rows)")
	require.Contains(t, string(text), "| blend | 0.500 [0.400, 0.600] |")
	require.Contains(t, string(text), "| blend minus base | +0.250 [+0.100, +0.400] |")
	require.Contains(t, string(text), "a machine; 2026-01-02")
	stale, err = update(root, true)
	require.NoError(t, err)
	require.Empty(t, stale)
}

// Tables of `crayon bench hybrid`, as they stand in a document of a small report.
func TestHybridTables(t *testing.T) {
	root := "testdata"
	stale, err := update(root, true)
	require.NoError(t, err)
	require.Empty(t, stale, "look at the change: go run ./bench/figures -root bench/figures/testdata")
	data, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	columns := -1
	for line := range strings.Lines(string(data)) { // every table is rectangular
		if !strings.HasPrefix(line, "|") {
			columns = -1
		} else if n := strings.Count(line, "|"); columns == -1 {
			columns = n
		} else {
			require.Equal(t, columns, n, line)
		}
	}
	require.Contains(t, string(data), "| SIMULATED server, 0.9 |")
	require.Contains(t, string(data), "`bench/results/absent.json`")
	_, err = hybridTable(t.TempDir(), "gone")
	require.NoError(t, err)
	bad := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(bad, "bench", "results"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bad, "bench", "results", "bad.json"), []byte(`{"rows":"many"}`), 0o644))
	_, err = hybridTable(bad, "bad")
	require.Error(t, err)
}

// A race of few rows, however new, does not push out a whole one.
func TestPeerTable(t *testing.T) {
	root := t.TempDir()
	text, err := peerTable(root, "")
	require.NoError(t, err)
	require.Contains(t, text, "make peer")
	dir := filepath.Join(root, "bench", "results")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	write := func(name, date, rest string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(`{"date":"`+date+`","threads":2,"engines":["crayon (avx512)"],`+rest+`}`), 0o644))
	}
	rows := func(ratio string) string {
		return `"rows":[{"name":"blend_cost","ratio":0.875,"cost":true,"unit":"tokens/s","crayon_tps":175,"peer_tps":200,"contender":{"engine":"crayon"}},
			{"name":"prefill_best","ratio":` + ratio + `,"spread":0.05,"unit":"tokens/s","crayon_tps":1500,"peer_tps":1000,"contender":{"file":"q4_0"},"share":0.4}]`
	}
	write("peer-1.json", "2026-01-02T00:00:00Z", rows("1.25"))
	write("peer-3.json", "2026-03-02T00:00:00Z", `"rows":[{"name":"score","ratio":9}]`)
	text, err = peerTable(root, "")
	require.NoError(t, err)
	require.Contains(t, text, "| `prefill_best` prefill, llama.cpp's fastest file | 1.5 | 1.25 | 5.0 % | 1500 tokens/s | 1000 tokens/s (Q4_0 file) |\n| `blend_cost`")
	require.Contains(t, text, "| at most 20 % | 12.5 % | 0.0 % | 175 tokens/s | 200 tokens/s (Crayon) |")
	require.NotContains(t, text, "before")
	require.NotContains(t, text, "resident")

	write("peer-2.json", "2026-02-02T00:00:00Z", rows("1.75")+`,"footprint":{"memory":{"resident":150000000},"allowed":190000000,"tokens":512,"open_seconds":0.25}`)
	text, err = peerTable(root, "")
	require.NoError(t, err)
	require.Contains(t, text, "(Q4_0 file) | 1.25 |")
	require.Contains(t, text, "| resident memory after 512 tokens | at most 190 MB: weights 0, cache 0, and 80 | 150 MB |")
	require.Contains(t, text, "| 0.250 s |")
	require.Contains(t, text, "`bench/results/peer-2.json`, before that `peer-1.json`")
	write("peer-4.json", "2026-04-02T00:00:00Z", `"rows":7`)
	_, err = peerTable(root, "")
	require.ErrorContains(t, err, "peer-4.json")
}
