package bench

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/qa"
)

// toy is an engine whose skill is known: it prefers the choice named in the
// question by an amount that the mode sets, against noise from a hash.
type toy struct {
	modes []Mode
	skill map[Mode]float64
	bad   func(scores [][]float64) [][]float64 // breaks the result
	err   error
	stop  context.CancelFunc // called in the third call of Score
	calls []Request
}

func newToy() *toy {
	return &toy{modes: []Mode{ModeBase, ModeSingle, ModeUniform, ModeBlend},
		skill: map[Mode]float64{ModeBase: 0.1, ModeSingle: 0.4, ModeUniform: 0.3, ModeBlend: 0.8}}
}

// vocation is the toy's customisation: the data set it was made for.
type vocation struct {
	dataset string
	n       int
}

func (e *toy) Modes() []Mode { return e.modes }

func (e *toy) Customise(_ context.Context, examples []qa.Row, _ []string) (Customisation, error) {
	if len(examples) == 0 {
		return vocation{}, nil
	}
	return vocation{examples[0].Dataset, len(examples)}, nil
}

func (e *toy) Score(ctx context.Context, req Request, done func(int)) ([][]float64, error) {
	e.calls = append(e.calls, req)
	if e.stop != nil && len(e.calls) == 3 {
		e.stop()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if e.err != nil {
		return nil, e.err
	}
	out := make([][]float64, len(req.Rows))
	for i, row := range req.Rows {
		skill := e.skill[req.Mode]
		if v, ok := req.Custom.(vocation); ok && v.dataset != row.Dataset {
			skill = e.skill[ModeBase] // made for another task
		}
		for _, choice := range row.Choices {
			key := qa.Hash(0, string(req.Mode), row.ID, choice)
			score := -2 - float64(key[0])/256
			if strings.HasSuffix(row.Question, " "+choice) {
				score += skill
			}
			out[i] = append(out[i], score)
		}
		done(1)
	}
	if e.bad != nil {
		out = e.bad(out)
	}
	return out, nil
}

// place is a data folder: rows[i] of a split name data set, subject and count.
type place struct {
	dataset, subject string
	rows             int
	labels           bool // the same choices in every row
	constant         bool // the same question in every row
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
			question := fmt.Sprintf("number %d of %s: %s", i, p.subject, choices[answer])
			if p.constant {
				question = "which one?"
			}
			m := map[string]any{"dataset": p.dataset, "subject": nil, "id": fmt.Sprintf("%s%d", p.subject, i),
				"question": question, "context": nil, "choices": choices, "answer": answer}
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
