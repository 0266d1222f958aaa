package reference

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"testing"

	"crayon/internal/arch"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/testmodel"
)

// vector is a recorded float32 pass of PyTorch over the same weights.
type vector struct {
	IDs      []int32      `json:"ids"`
	Top      [][2]float64 `json:"last_top"`              // id, logit
	Stride   []float64    `json:"last_logits_stride997"` // every 997th logit after the last token
	LogProbs []float64    `json:"token_logprobs"`
	Query    []float64    `json:"layer0_q_mean"`
	Hidden10 []float64    `json:"hidden10_mean"`
	Greedy   []int32      `json:"greedy24"`
}

func vectors(t *testing.T) []vector {
	t.Helper()
	f, err := os.Open("testdata/smollm2.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []vector
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	if len(list) == 0 {
		t.Fatal("no vectors")
	}
	return list
}

func realModel(t *testing.T) *Weights {
	t.Helper()
	f, err := gguf.Open(testmodel.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := arch.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Load(f, c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: %v, recorded %v", what, got, want)
	}
}

func TestAgainstRecordedVectors(t *testing.T) {
	w := realModel(t)
	team := kernel.NewTeam(0)
	defer team.Close()
	c := w.Config
	for _, v := range vectors(t) {
		n := len(v.IDs)
		positions := make([]int, n)
		for i := range positions {
			positions[i] = i
		}
		logits := make([]float32, n*c.Vocab)
		if err := w.Logits(team, v.IDs, nil, positions, logits); err != nil {
			t.Fatal(err)
		}
		last := logits[(n-1)*c.Vocab:]
		for _, top := range v.Top {
			near(t, "logit", float64(last[int(top[0])]), top[1], 1e-2)
		}
		for i, want := range v.Stride {
			near(t, "logit", float64(last[i*997]), want, 1e-2)
		}
		for i, want := range v.LogProbs {
			row := logits[i*c.Vocab : (i+1)*c.Vocab]
			near(t, "log-probability", float64(row[v.IDs[i+1]]-kernel.LogSumExp(row)), want, 1e-2)
		}
		if got := int32(kernel.MaxIndex(last)); got != v.Greedy[0] {
			t.Errorf("next token %d, recorded %d", got, v.Greedy[0])
		}
		query, hidden := make([]float32, n*c.Heads*c.HeadDim), make([]float32, n*c.Dim)
		if err := w.FirstQuery(team, v.IDs, query); err != nil {
			t.Fatal(err)
		}
		if err := w.Hidden(team, v.IDs, nil, 10, hidden); err != nil {
			t.Fatal(err)
		}
		for i := range v.Query {
			near(t, "first query", mean(query, n, i), v.Query[i], 1e-3)
			near(t, "hidden state 10", mean(hidden, n, i), v.Hidden10[i], 1e-2)
		}
	}
}

func mean(x []float32, rows, column int) float64 {
	var s float64
	for i := range rows {
		s += float64(x[i*len(x)/rows+column])
	}
	return s / float64(rows)
}
