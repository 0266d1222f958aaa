package benchhybrid

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/bench"
	"crayon/internal/benchengine"
	"crayon/internal/fault"
	"crayon/internal/qa"
	"crayon/internal/testmodel/tinydevice"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

// folder is data of three families, a fifth of whose questions the fake server
// answers wrongly.
func folder(t *testing.T) *qa.Data {
	t.Helper()
	dir := t.TempDir()
	for _, set := range []string{"boolq", "figqa", "qasc"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, set), 0o755))
		f, err := os.Create(filepath.Join(dir, set, "dev.jsonl.gz"))
		require.NoError(t, err)
		zw := gzip.NewWriter(f)
		for i := range 80 {
			choices := []string{"yes", "no"}
			if set != "boolq" {
				choices = []string{fmt.Sprint("one ", i), "two", "three"}
			}
			right := "sure"
			if i%5 == 0 {
				right = "unsure"
			}
			require.NoError(t, json.NewEncoder(zw).Encode(map[string]any{"dataset": set, "id": fmt.Sprintf("%s-%d", set, i),
				"question": fmt.Sprintf("%s %d %s%d", set, i, right, i%2), "choices": choices, "answer": i % 2}))
		}
		require.NoError(t, zw.Close())
		require.NoError(t, f.Close())
	}
	d, err := qa.Open(dir)
	require.NoError(t, err)
	return d
}

// knows answers with the letter that the question's last digit says, but where
// it is unsure.
func knows(w http.ResponseWriter, r *http.Request, c fake.Call, done <-chan struct{}) {
	question, _, _ := strings.Cut(c.Body.Messages[len(c.Body.Messages)-1].Content, "\n")
	right := question[len(question)-1] - '0'
	if strings.Contains(question, " unsure") {
		right = 1 - right
	}
	fake.Answer(string("AB"[right])+".")(w, r, c, done)
}

func TestCollected(t *testing.T) {
	d := folder(t)
	device := tinydevice.Open(t)
	dev := benchengine.New(device).Learning()
	o := DefaultObserve()
	o.Queries, o.Shots, o.Strategy, o.Draft, o.Folder = 10, 6, "stack", true, t.TempDir()
	o.Digests = map[string]string{"model": strings.Repeat("a", 64), "pool": device.Pool.Digest()}
	fresh, _, err := Observe(t.Context(), d, dev, o)
	require.NoError(t, err)
	require.Equal(t, 3, fresh)
	fresh, _, err = Observe(t.Context(), d, dev, o)
	require.NoError(t, err)
	require.Zero(t, fresh, "what is known is not observed again")
	run, err := o.Run()
	require.NoError(t, err)
	parts, err := Parts(t.Context(), o.Folder, run)
	require.NoError(t, err)
	require.Len(t, parts, 3)
	for _, p := range parts {
		require.Len(t, p.Queries, 10)
		own := 0
		for _, q := range p.Queries {
			if q.Own {
				own++
				require.Equal(t, p.Dataset, q.Dataset)
			} else {
				require.NotEqual(t, p.Family, q.Family)
			}
			require.True(t, q.Drafted)
			require.Len(t, q.Scores, 4)
			require.Contains(t, q.Others, "base")
			require.NotEmpty(t, q.Table)
		}
		require.Equal(t, 7, own)
		require.Len(t, p.Blend, len(device.Pool.Blended()))
	}

	server := fake.New(knows)
	defer server.Close()
	ledger := filepath.Join(t.TempDir(), "ledger.jsonl")
	client := func(calls int64) (*upstream.Server, func()) {
		var budget *upstream.Budget
		if calls >= 0 {
			budget = upstream.OpenBudget(upstream.BudgetOptions{Dir: t.TempDir(), All: upstream.Limits{Calls: &calls}})
		}
		g := upstream.New(upstream.Options{Ledger: upstream.LedgerAt(ledger), Budget: budget})
		s, err := upstream.NewServer(g, upstream.ServerOptions{URL: server.URL})
		require.NoError(t, err)
		return s, g.Close
	}
	few, done := client(20)
	_, err = Ask(t.Context(), few, parts, AskOptions{Folder: o.Folder, Parallel: 3})
	done()
	var over *upstream.OverBudget
	require.ErrorAs(t, err, &over)
	require.Len(t, server.Calls(), 20, "the budget is not overspent")
	all, done := client(-1)
	defer done()
	asked, err := Ask(t.Context(), all, parts, AskOptions{Folder: o.Folder, Parallel: 8})
	require.NoError(t, err)
	n := len(asked.answers)
	require.Less(t, n, 90, "a row that two users ask without examples is one request")
	require.Equal(t, n-20, asked.Fresh, "what was answered stays known")
	require.Len(t, server.Calls(), n)
	entries, _, err := upstream.ReadLedger(ledger, time.Time{})
	require.NoError(t, err)
	chats, refused := 0, 0
	for _, e := range entries {
		if strings.HasSuffix(e.Path, "/chat/completions") {
			if e.Error != "" {
				refused++
			} else {
				chats++
			}
		}
	}
	require.Equal(t, n, chats, "every call is in the ledger")
	require.Positive(t, refused)
	require.LessOrEqual(t, refused, 3, "what was under way, and nothing after it")
	server.Close() // from here on nothing is dialled
	asked, err = Ask(t.Context(), all, parts, AskOptions{Folder: o.Folder})
	require.NoError(t, err)
	require.Zero(t, asked.Fresh)

	rows := Rows(parts, asked)
	require.Len(t, rows, 30)
	for i := range rows {
		r := &rows[i]
		q := parts[i/10].Queries[i%10]
		require.Equal(t, !strings.Contains(q.Question, " unsure"), r.right(r.Server["letter5"]) == 1, q.Question)
		require.False(t, math.IsNaN(r.Signals.Get("scope")))
		require.NotNil(t, r.Draft)
		require.Len(t, r.Server, 3, "the fake tells no log-probabilities")
	}
	require.Len(t, Prompts(parts), 30)
	f, err := Judge(t.Context(), rows, JudgeOptions{Seed: 1, Resamples: 20})
	require.NoError(t, err)
	require.NotNil(t, f.Area[maxProbability])
}

func TestAnswersSurviveACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	a, err := openAnswers(path)
	require.NoError(t, err)
	key := answerKey([]byte("{}"), "m")
	require.NotEqual(t, key, answerKey([]byte("{}"), "n"))
	require.NoError(t, a.add(&Answer{Key: key, Text: "A"}))
	_, err = openAnswers(path)
	require.Error(t, err, "one process at a time")
	require.NoError(t, a.close())
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"key":"`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	a, err = openAnswers(path)
	require.NoError(t, err)
	require.Len(t, a.known, 1)
	require.NoError(t, a.add(&Answer{Key: answerKey(nil, ""), Text: "B"}))
	require.NoError(t, a.close())
	a, err = openAnswers(path)
	require.NoError(t, err)
	require.Len(t, a.known, 2)
	require.NoError(t, a.close())
	require.NoError(t, os.WriteFile(path, []byte("{}\n"), 0o600))
	_, err = openAnswers(path)
	require.ErrorContains(t, err, "no answer")
}

// refuses is a server that refuses what its errors say.
type refuses struct {
	err   []error
	calls int
}

func (s *refuses) URL() string                              { return "http://x/v1" }
func (s *refuses) Models(context.Context) ([]string, error) { return []string{"m"}, nil }
func (s *refuses) Complete(_ context.Context, r upstream.Request) (upstream.Reply, error) {
	s.calls++
	if s.calls <= len(s.err) && s.err[s.calls-1] != nil {
		return upstream.Reply{}, s.err[s.calls-1]
	}
	raw := `{"choices":[{"logprobs":{"content":[{"token":"B","top_logprobs":[{"token":"A","logprob":-0.1},{"token":"B","logprob":-2}]}]}}]}`
	if !strings.Contains(string(r.Body), "logprobs") {
		raw = `{}`
	}
	return upstream.Reply{Text: "B", Raw: []byte(raw)}, nil
}

func TestWhatDoesNotLeave(t *testing.T) {
	part := &Part{Key: strings.Repeat("k", 64), Run: "r", User: "u", Dataset: "d", Group: bench.Seen,
		Examples: []Example{{Question: "e", Choices: []string{"x", "y"}, Answer: 1}},
		Queries: []Observed{{ID: "1", Question: "q", Choices: []string{"x", "y"}, Scores: map[string][]float64{Base: {1, 2}, Custom: {2, 1}}},
			{ID: "2", Question: "many", Choices: make([]string, 27), Scores: map[string][]float64{Base: make([]float64, 27), Custom: make([]float64, 27)}}}}
	s := &refuses{err: []error{&upstream.Private{Kinds: []string{"card"}}, &fault.Error{Err: &upstream.Failure{Kind: upstream.TooLong}}}}
	asked, err := Ask(t.Context(), s, []*Part{part}, AskOptions{Folder: t.TempDir()})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"private": 1, "too long": 1, "too many choices": 3}, asked.Held)
	require.Equal(t, 1, asked.Fresh)
	rows := Rows([]*Part{part}, asked)
	require.Equal(t, map[string]int{"letter5": 1, "logprob5": 0, "letter16": 1, "logprob16": 0}, rows[0].Server, "of one example, 5 are as many as 16")

	// A server that does not know log-probabilities is asked without.
	s = &refuses{err: []error{&upstream.Failure{Kind: upstream.Rejected}}}
	asked, err = Ask(t.Context(), s, []*Part{part}, AskOptions{Folder: t.TempDir()})
	require.NoError(t, err)
	require.False(t, asked.LogProbs)
	require.Equal(t, 3, s.calls)
	require.Equal(t, map[string]int{"letter0": 1, "letter5": 1, "letter16": 1}, Rows([]*Part{part}, asked)[0].Server)

	broken := errors.New("dead")
	_, err = Ask(t.Context(), &refuses{err: []error{broken}}, []*Part{part}, AskOptions{Folder: t.TempDir()})
	require.ErrorIs(t, err, broken)
	_, err = Ask(t.Context(), s, []*Part{part}, AskOptions{Folder: t.TempDir(), Known: true})
	require.ErrorContains(t, err, "has not been asked")

	_, err = Ask(t.Context(), s, []*Part{part}, AskOptions{Folder: t.TempDir(), Shots: []int{3}})
	require.ErrorContains(t, err, "3 examples")
	asked, err = Ask(t.Context(), &refuses{}, []*Part{part}, AskOptions{Folder: t.TempDir(), Shots: []int{5}})
	require.NoError(t, err)
	require.Equal(t, 1, asked.Fresh)

	// A part is another's, or none.
	dir := t.TempDir()
	require.NoError(t, part.write(dir))
	require.NoError(t, os.Rename(partPath(dir, part.Key), filepath.Join(dir, strings.Repeat("x", 24)+partSuffix)))
	_, err = Parts(t.Context(), dir, "r")
	require.ErrorContains(t, err, "another's")
}
