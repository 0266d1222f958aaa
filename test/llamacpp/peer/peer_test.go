package peer

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test binary stands in for the child processes.
func TestMain(m *testing.M) {
	mode := os.Getenv("PEER_TEST_CHILD")
	switch {
	case mode == "":
		os.Exit(m.Run())
	case len(os.Args) > 1 && os.Args[1] == "customize":
		program(os.Args[1:])
	case mode == "counter":
		counter()
	case mode == "child":
		Child(os.Stdin, os.Stdout)
	}
}

// counter answers every work with the milliseconds of its own running time
// since the last answer, which a stopped process does not gain.
func counter() {
	from, to := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var s Setup
	if from.Decode(&s) != nil {
		return
	}
	if s.Model == "missing" {
		to.Encode(ready{Error: "no such model"})
		return
	}
	ticks := make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case ticks <- n:
				n = 0
			case <-time.After(time.Millisecond):
			}
		}
	}()
	to.Encode(ready{Engine: "counter"})
	for {
		var w Work
		if from.Decode(&w) != nil {
			return
		}
		if w.Tokens < 0 {
			to.Encode(result{Error: "refused"})
			continue
		}
		to.Encode(result{Seconds: float64(<-ticks)/1000 + 1e-9})
	}
}

func child(t *testing.T, kind, model string) (*process, error) {
	t.Helper()
	runtime.LockOSThread() // for the rest of the test's goroutine
	t.Setenv("PEER_TEST_CHILD", kind)
	p, err := start(t.Context(), []string{os.Args[0]}, Setup{Engine: "fake", Model: model}, os.Stderr)
	if err == nil {
		t.Cleanup(p.close)
	}
	return p, err
}

func TestChildIsStoppedWhileIdle(t *testing.T) {
	p, err := child(t, "counter", "m")
	require.NoError(t, err)
	require.Equal(t, "counter", p.ready.Engine)
	_, err = p.do(Work{Kind: Prefill, Tokens: 1})
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	r, err := p.do(Work{Kind: Prefill, Tokens: 1})
	require.NoError(t, err)
	require.Less(t, r.Seconds, 0.1, "the child went on running while it should have been stopped")
	_, err = p.do(Work{Kind: Prefill, Tokens: -1})
	require.ErrorContains(t, err, "refused")
}

func TestChildFaults(t *testing.T) {
	_, err := child(t, "counter", "missing")
	require.ErrorContains(t, err, "no such model")
	_, err = child(t, "silent", "m") // it ends at once
	require.ErrorContains(t, err, "no answer")
	_, err = start(t.Context(), []string{filepath.Join(t.TempDir(), "none")}, Setup{}, os.Stderr)
	require.Error(t, err)
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		x       []float64
		q, want float64
	}{
		{[]float64{3}, 0.5, 3}, {[]float64{2, 1}, 0.5, 1.5}, {[]float64{5, 1, 4, 2, 3}, 0.25, 2},
		{[]float64{5, 1, 4, 2, 3}, 0.75, 4}, {[]float64{1, 2, 3, 4}, 0.25, 1.75}, {[]float64{1, 2}, 1, 2},
	} {
		require.Equal(t, c.want, quantile(c.x, c.q))
	}
}

func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rows {
		require.False(t, seen[r.Name], r.Name)
		seen[r.Name] = true
		require.NotEmpty(t, r.Contenders, r.Name)
		require.LessOrEqual(t, r.Work.Tokens+promptTokens, maxTokens, r.Name)
		require.True(t, !r.Merged || r.Adapters != nil, r.Name)
		require.True(t, r.Adapters == nil || r.Blends == 0, r.Name)
		require.True(t, r.Blends == 0 || r.Blends >= r.Work.Sequences, r.Name)
	}
	rows, footprint, err := pick(nil)
	require.NoError(t, err)
	require.Equal(t, Rows, rows)
	require.True(t, footprint)
	rows, footprint, err = pick([]string{"score", "decode"})
	require.NoError(t, err)
	require.Equal(t, []string{"score", "decode"}, []string{rows[0].Name, rows[1].Name})
	require.False(t, footprint)
	rows, footprint, err = pick([]string{FootprintName})
	require.NoError(t, err)
	require.Empty(t, rows)
	require.True(t, footprint)
	_, _, err = pick([]string{"nosuch"})
	require.ErrorContains(t, err, "nosuch")
}

func TestReport(t *testing.T) {
	r := newReport(Options{Threads: 2})
	r.Rows = []Measurement{
		{Name: "prefill", Ratio: 1.25, Steady: true, Ceiling: Int8, Share: 0.31, Loop: 9e11},
		{Name: "decode", Ratio: 0.7, Ceiling: Read, Share: 0.62, Loop: 4e10},
		{Name: "blend_cost", Ratio: 0.875, Cost: true, Steady: true, Contender: Contender{Engine: Crayon, Base: true}},
	}
	require.Equal(t, "peer: prefill=1.250 decode=0.700 blend_cost=0.125", r.Line())
	require.Equal(t, r.Rows[1:2], r.Unsteady())
	require.Equal(t, "prefill: 0.31 of the int8 peak, 900 GOP/s\ndecode: 0.62 of the read loop, 40.0 GB/s\n", r.Shares())
	r.Footprint = &Footprint{Memory: memory{Resident: 150e6}, Allowed: 200e6, Open: 0.2, Customize: 0.4, CustomizeOpen: 0.1, Examples: "a.csv"}
	require.Contains(t, r.Shares(), "150.0 MB resident")
	require.Contains(t, r.Shares(), "allowed 200.0")
	require.Contains(t, r.Shares(), "(a.csv): 0.400 s as a process, 0.100 s with the model open")
	r.engine("one")
	r.engine("one")
	require.Equal(t, []string{"one"}, r.Engines)
	path, err := r.Write(filepath.Join(t.TempDir(), "new"))
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var back Report
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, *r, back)
}

func TestChildProtocol(t *testing.T) {
	var out bytes.Buffer
	require.Error(t, Child(strings.NewReader(`{"engine":"abacus"}`), &out))
	var r ready
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	require.Contains(t, r.Error, "abacus")
	require.Error(t, Child(strings.NewReader("nonsense"), &out))

	for _, c := range []struct {
		work Work
		want string
	}{
		{Work{Kind: "dance", Tokens: 1}, "dance"},
		{Work{Kind: Prefill, Tokens: maxTokens}, "2048 tokens"},
		{Work{Kind: Decode, Tokens: 1, Sequences: 99}, "99 sequences"},
		{Work{Kind: Score}, "still does no work"},
		{Work{Kind: Open}, "still does no work"},
		{Work{Kind: Customize}, "still does no work"},
	} {
		_, err := c.work.run(&still{})
		require.ErrorContains(t, err, c.want)
	}
	for _, c := range []struct {
		work  Work
		added int
	}{{Work{Kind: Prefill, Tokens: 3}, 3}, {Work{Kind: Decode, Tokens: 3}, promptTokens + 3}, {Work{Kind: Decode, Tokens: 3, Sequences: 4}, 4 * (promptTokens + 3)}} {
		e := &still{}
		r, err := c.work.run(e)
		require.NoError(t, err)
		require.Positive(t, r.Seconds)
		require.Equal(t, c.added, e.added)
	}
}

// still is an engine that computes nothing.
type still struct{ added int }

func (*still) name() string { return "still" }
func (*still) vocab() int   { return 4 }
func (*still) size() Size   { return Size{} }
func (*still) clear() error { return nil }
func (*still) close()       {}
func (s *still) next(tokens [][]int32, out []int32) error {
	for i := range tokens {
		s.added += len(tokens[i])
		out[i] = 1
	}
	return nil
}
