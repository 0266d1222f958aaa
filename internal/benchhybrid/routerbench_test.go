package benchhybrid

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var accept = flag.Bool("accept", false, "write the golden files anew")

// few are decisions on four rows: either side alone right, both, none; the texts
// hold what a table's cells have to carry.
func few() (*Decisions, map[string]string) {
	d := &Decisions{share: 0.5, asked: "letter5", settings: JudgeOptions{PriceIn: 0.5, PriceOut: 2}, sent: []bool{false, true, true, false}}
	prompts := map[string]string{}
	for i, picks := range [][2]int{{1, 0}, {0, 1}, {1, 1}, {0, unparsable}} {
		r := Row{User: "race/middle (seen)", Dataset: "race", ID: []string{"1", "2", "2", "3"}[i], Choices: 2, Answer: 1,
			Picks: map[string]int{Custom: picks[0], Base: 0}, Server: map[string]int{"letter5": picks[1]}, Costs: map[string]Cost{"5": {0.25, 1000, 2}, "0": {0.1, 100, 2}}}
		d.rows = append(d.rows, r)
		d.device, d.server = append(d.device, r.right(picks[0])), append(d.server, r.right(picks[1]))
		prompts[PromptKey(r.User, r.Dataset, r.ID)] = []string{"Who said \"no, <never>\"?\n\nA. she\nB. he", "多少, or 'how many'?\nA. 1\nB. 2", "", "[\"listed\"]\\\r\n"}[i]
	}
	prompts[PromptKey("race/middle (seen)", "race", "2")] = "多少, or 'how many'?\nA. 1\nB. 2"
	return d, prompts
}

func TestRouterBenchTable(t *testing.T) {
	d, prompts := few()
	for _, form := range []string{"csv", "jsonl"} {
		var got bytes.Buffer
		require.NoError(t, WriteRouterBench(&got, d, prompts, "small", "large, and dear", form == "jsonl"))
		path := filepath.Join("testdata", "routerbench."+form)
		if *accept {
			require.NoError(t, os.WriteFile(path, got.Bytes(), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), got.String())
	}
	var table bytes.Buffer
	require.NoError(t, WriteRouterBench(&table, d, prompts, "small", "large, and dear", false))
	rows, err := csv.NewReader(&table).ReadAll()
	require.NoError(t, err)
	require.Equal(t, strings.Split("sample_id|prompt|eval_name|small|large, and dear", "|"), rows[0][:5])
	require.Equal(t, "crayon|share_sent:0.5|total_cost", rows[0][11])
	ids := map[string]bool{}
	for i, row := range rows[1:] {
		require.False(t, ids[row[0]], "a sample_id is one row's")
		ids[row[0]] = true
		var prompt []string // a list of one text, as the published table has it
		require.NoError(t, json.Unmarshal([]byte(row[1]), &prompt))
		require.Equal(t, []string{prompts[PromptKey(d.rows[i].User, d.rows[i].Dataset, d.rows[i].ID)]}, prompt)
		require.Equal(t, "0.000504", row[8], "of the form that was asked")
	}
	require.Equal(t, []string{"small", "large, and dear", "small", "no_model_correct"}, []string{rows[1][9], rows[2][9], rows[3][9], rows[4][9]})
	require.Equal(t, []string{`["A"]`, `[""]`, "large, and dear", "0.000504"}, []string{rows[1][6], rows[4][6], rows[2][10], rows[2][11]})

	require.ErrorIs(t, WriteRouterBench(broken{}, d, prompts, "a", "b", false), errBroken)
	require.ErrorIs(t, WriteRouterBench(broken{}, d, prompts, "a", "b", true), errBroken)
	require.ErrorIs(t, WriteArena(broken{}, d, prompts, "a", "b"), errBroken)
}

// broken is a disk without room.
type broken struct{}

var errBroken = errors.New("no space left")

func (broken) Write([]byte) (int, error) { return 0, errBroken }
