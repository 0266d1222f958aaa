package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	switch os.Getenv("PEER_TEST_CHILD") {
	case "":
		os.Exit(m.Run())
	case "silent":
		return
	case "counter":
		counter()
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
	_, err = p.do(Work{Prefill, 1})
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	s, err := p.do(Work{Prefill, 1})
	require.NoError(t, err)
	require.Less(t, s, 0.1, "the child went on running while it should have been stopped")
	_, err = p.do(Work{Prefill, -1})
	require.ErrorContains(t, err, "refused")
}

func TestChildFaults(t *testing.T) {
	_, err := child(t, "counter", "missing")
	require.ErrorContains(t, err, "no such model")
	_, err = child(t, "silent", "m")
	require.ErrorContains(t, err, "no answer")
	_, err = start(t.Context(), []string{filepath.Join(t.TempDir(), "none")}, Setup{}, os.Stderr)
	require.Error(t, err)
}

// fake gives its seconds one after another, the last for ever, and notes the order.
type fake struct {
	name    string
	seconds []float64
	log     *[]string
}

func (f *fake) do(Work) (float64, error) {
	if f.log != nil {
		*f.log = append(*f.log, f.name)
	}
	s := f.seconds[0]
	if len(f.seconds) > 1 {
		f.seconds = f.seconds[1:]
	}
	if s < 0 {
		return 0, errors.New("broken")
	}
	return s, nil
}

var row = Row{Name: "r", Work: Work{Prefill, 512}, Contenders: []Contender{{}, {File: Q4_0File}}}

func TestMeasureTakesTheFastestOfEachRepeat(t *testing.T) {
	var log []string
	crayon := &fake{"c", []float64{9, 1}, &log}
	a := &fake{"a", []float64{9, 2, 2, 2, 3, 2.1}, &log}
	b := &fake{"b", []float64{9, 4, 4, 4, 2.1, 4}, &log}
	m, err := measure(t.Context(), row, 5, crayon, []timer{a, b})
	require.NoError(t, err)
	require.Equal(t, []float64{2, 2, 2, 2.1, 2.1}, m.Ratios)
	require.Equal(t, 2.0, m.Ratio)
	require.InDelta(t, 0.05, m.Spread, 1e-12)
	require.True(t, m.Steady)
	require.Equal(t, 1, m.Attempts)
	require.Equal(t, Contender{}, m.Contender)
	require.Equal(t, 512.0, m.CrayonTPS)
	require.Equal(t, 256.0, m.PeerTPS)
	require.Equal(t, "cab cab bac cab bac cab", strings.Join([]string{
		strings.Join(log[0:3], ""), strings.Join(log[3:6], ""), strings.Join(log[6:9], ""),
		strings.Join(log[9:12], ""), strings.Join(log[12:15], ""), strings.Join(log[15:18], ""),
	}, " "), "one warm-up, then the order alternates")
}

func TestMeasureRetriesWhatSpreads(t *testing.T) {
	wild := []float64{1, 1, 2, 3, 4, 5}
	one := row
	one.Contenders = one.Contenders[:1]
	m, err := measure(t.Context(), one, 5, &fake{"c", []float64{1}, nil}, []timer{&fake{"a", append(wild, 2), nil}})
	require.NoError(t, err)
	require.True(t, m.Steady)
	require.Equal(t, 2, m.Attempts)
	require.Equal(t, 2.0, m.Ratio)

	for range 10 {
		wild = append(wild, 1, 2, 3, 4, 5)
	}
	m, err = measure(t.Context(), one, 5, &fake{"c", []float64{1}, nil}, []timer{&fake{"a", wild, nil}})
	require.NoError(t, err)
	require.False(t, m.Steady)
	require.Equal(t, 1+retries, m.Attempts)
	require.Equal(t, 3.0, m.Ratio)
}

func TestMeasureFaults(t *testing.T) {
	good, broken := &fake{"a", []float64{1}, nil}, &fake{"b", []float64{1, 1, -1}, nil}
	_, err := measure(t.Context(), row, 5, good, []timer{good, broken})
	require.ErrorContains(t, err, "broken")
	_, err = measure(t.Context(), row, 4, good, []timer{good, good})
	require.Error(t, err)
	_, err = measure(t.Context(), row, 5, good, []timer{good})
	require.Error(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = measure(ctx, row, 5, good, []timer{good, good})
	require.ErrorIs(t, err, context.Canceled)
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

func TestRowsAndReport(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rows {
		require.False(t, seen[r.Name], r.Name)
		seen[r.Name] = true
		require.NotEmpty(t, r.Contenders, r.Name)
		require.LessOrEqual(t, r.Work.Tokens+promptTokens, maxTokens, r.Name)
		require.True(t, !r.Merged || r.Adapters != nil, r.Name)
	}
	rows, err := pick(nil)
	require.NoError(t, err)
	require.Equal(t, []string{"prefill", "decode"}, []string{rows[0].Name, rows[1].Name})
	_, err = pick([]string{"nosuch"})
	require.ErrorContains(t, err, "nosuch")

	r := newReport(Options{Threads: 2})
	r.Rows = []Measurement{{Name: "prefill", Ratio: 1.25, Steady: true}, {Name: "decode", Ratio: 0.7}}
	require.Equal(t, "peer: prefill=1.250 decode=0.700", r.Line())
	require.False(t, r.Steady())
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

	_, err := (Work{Kind: "dance", Tokens: 1}).run(still{})
	require.ErrorContains(t, err, "dance")
	_, err = (Work{Prefill, maxTokens}).run(still{})
	require.Error(t, err)
	for _, k := range []Kind{Prefill, Decode} {
		d, err := (Work{k, 3}).run(still{})
		require.NoError(t, err)
		require.Positive(t, d)
	}
}

// still is an engine that computes nothing.
type still struct{}

func (still) name() string                      { return "still" }
func (still) vocab() int                        { return 4 }
func (still) size() Size                        { return Size{} }
func (still) clear() error                      { return nil }
func (still) decode([]int32) ([]float32, error) { return []float32{0, 2, 1, 0}, nil }
func (still) close()                            {}
