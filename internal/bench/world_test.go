package bench

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/pool"
	"crayon/internal/qa"
	"crayon/internal/strategy"
)

// toy is an engine whose skill is known: it prefers the choice named in the
// question, more with a weight on the adapter of the question's own data set,
// against noise from a hash.
type toy struct {
	pool  *pool.Pool
	bad   func(scores [][]strategy.Score) [][]strategy.Score // breaks the result
	err   error
	stop  context.CancelFunc // called in the third call of Score
	calls [][]strategy.Ask
	said  int
	total int64
}

// Skills of the toy without the pool.
const (
	toyBase   = 0.1
	toySingle = 0.4
)

// towns are the data sets that the toy has an adapter for.
var towns = []string{"desk", "quiz", "odd"}

func newToy() *toy {
	p := &pool.Pool{Keep: 2, Feature: pool.Feature{Tau: 0.1, Mean: make([]float32, len(towns))}, Baseline: map[string]*adapter.Adapter{single: {Scale: 1}}}
	for i, name := range towns {
		axis := make([]float32, len(towns))
		axis[i] = 1
		p.Members = append(p.Members, pool.Member{Name: name, Rank: 1, Indicator: axis})
	}
	p.Members = append(p.Members, pool.Member{Name: "shared", Rank: 1, Shared: true})
	p.Made.Seed = 7
	return &toy{pool: p}
}

func (e *toy) Pool() *pool.Pool { return e.pool }
func (e *toy) Computed() int64  { return e.total }

// townOf is which adapter a text belongs to, or -1.
func townOf(text string) int {
	return slices.IndexFunc(towns, func(name string) bool { return strings.Contains(text, "@"+name) })
}

func (e *toy) Directions(_ context.Context, questions []string) ([][]float32, error) {
	out := make([][]float32, len(questions))
	for i, q := range questions {
		out[i] = make([]float32, len(towns))
		if at := townOf(q); at >= 0 {
			out[i][at] = 1
		}
	}
	return out, nil
}

func (e *toy) Score(ctx context.Context, asks []strategy.Ask) ([][]strategy.Score, error) {
	e.calls = append(e.calls, asks)
	if e.stop != nil && len(e.calls) == 3 {
		e.stop()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if e.err != nil {
		return nil, e.err
	}
	out := make([][]strategy.Score, len(asks))
	for i, a := range asks {
		e.total += int64(len(a.Text))
		question, _, _ := strings.Cut(a.Text, "\n")
		skill := toyBase
		switch at := townOf(question); {
		case a.Private != nil:
			skill = toySingle
		case a.Members != nil && at >= 0:
			skill += float64(a.Members[at])
		}
		for _, choice := range a.Candidates {
			key := qa.Hash(0, fmt.Sprint(a.Members, a.Private != nil), question, choice)
			score := -2 - float64(key[0])/256
			if strings.HasSuffix(question, " "+choice) {
				score += skill
			}
			out[i] = append(out[i], strategy.Score{Sum: score, Tokens: 1})
		}
	}
	if e.bad != nil {
		out = e.bad(out)
	}
	return out, nil
}

// Say repeats the last word of the question where an adapter is on, with
// decoration that exact match has to see through.
func (e *toy) Say(_ context.Context, asks []strategy.Ask, _ int) ([]string, error) {
	out := make([]string, len(asks))
	for i, a := range asks {
		e.said++
		question, _, _ := strings.Cut(a.Text, "\n")
		words := strings.Fields(question)
		if a.Members != nil {
			out[i] = "The " + strings.ToUpper(words[len(words)-1]) + "."
		}
	}
	return out, nil
}

// place is a data folder: rows[i] of a split name data set, subject and count.
type place struct {
	dataset, subject string
	rows             int
	labels           bool // the same choices in every row
	constant         bool // the same question in every row
	free             bool // no choices: the answer is a number
}

func folder(t testing.TB, places ...place) *qa.Data {
	t.Helper()
	dir := t.TempDir()
	lines := map[string][]string{}
	for _, p := range places {
		for i := range p.rows {
			var choices []string
			for c := range 3 {
				choice := fmt.Sprintf("c%d", c)
				if !p.labels {
					choice += fmt.Sprintf("-%d-%s", i, p.subject)
				}
				choices = append(choices, choice)
			}
			answer := (i * i) % 3 // 0 a third of the time, 1 two thirds, 2 never
			question := fmt.Sprintf("number %d of %s@%s: %s", i, p.subject, p.dataset, choices[answer])
			if p.constant {
				question = "which one of @" + p.dataset + "?"
			}
			m := map[string]any{"dataset": p.dataset, "subject": nil, "id": fmt.Sprintf("%s%d", p.subject, i),
				"question": question, "context": nil, "choices": choices, "answer": answer}
			if p.free {
				m["question"], m["choices"], m["answer"] = fmt.Sprintf("%d apples and 1,%03d", i, i), []string{}, fmt.Sprint(1000+i)
			}
			if p.subject != "" {
				m["subject"] = p.subject
			}
			b, err := json.Marshal(m)
			require.NoError(t, err)
			lines[p.dataset] = append(lines[p.dataset], string(b))
		}
	}
	for dataset, ls := range lines {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, dataset), 0o755))
		f, err := os.Create(filepath.Join(dir, dataset, "test.jsonl.gz"))
		require.NoError(t, err)
		zw := gzip.NewWriter(f)
		_, err = zw.Write([]byte(strings.Join(ls, "\n")))
		require.NoError(t, err)
		require.NoError(t, zw.Close())
		require.NoError(t, f.Close())
	}
	d, err := qa.Open(dir)
	require.NoError(t, err)
	return d
}

// town has every kind of user: by subject with a rest, whole, small, constant.
func town(t testing.TB) *qa.Data {
	return folder(t,
		place{dataset: "desk", subject: "bills", rows: 140, labels: true},
		place{dataset: "desk", subject: "trips", rows: 150, labels: true},
		place{dataset: "desk", subject: "cards", rows: 40, labels: true},
		place{dataset: "desk", subject: "loans", rows: 30, labels: true},
		place{dataset: "quiz", rows: 200},
		place{dataset: "odd", subject: "one", rows: 80, constant: true},
		place{dataset: "odd", subject: "two", rows: 10, constant: true},
		place{dataset: "tiny", rows: 59})
}

var errToy = errors.New("toy broke")
