package main

import (
	"encoding/json"
	"os"
	"path/filepath"
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
	report := bench.Report{Settings: bench.Settings{Shots: 16, Strategies: []string{"base", "blend"}},
		Digests: map[string]string{"pool": "0123456789abcdef"}, Environment: bench.Environment{Machine: "a machine", Date: "2026-01-02T03:04:05Z"}}
	section := bench.Section{Users: 3, Rows: 90, Macro: map[string]*bench.Figure{"base": {Accuracy: 0.25, Low: 0.2, High: 0.3}, "blend": {Accuracy: 0.5, Low: 0.4, High: 0.6}},
		Differences: map[string]*bench.Difference{"blend-base": {Difference: 0.25, Low: 0.1, High: 0.4}}}
	report.Section, report.Groups = section, map[bench.Group]*bench.Section{bench.NewDataset: &section}
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
