package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
)

// counting is a gate on counts that are given.
func counting(path string, accept bool, leftOut []string, counts ...Count) *gate {
	return &gate{path: path, accept: accept, count: func(context.Context, io.Writer) ([]Count, []string, error) {
		return counts, leftOut, nil
	}}
}

func dialsOf(n int64) Count  { return Count{"tiny.dials", "connections", n, exact} }
func allocsOf(n int64) Count { return Count{"tiny.allocs", "allocations", n, allocs} }

// accepted is a baseline of 3 dials and 100 allocations, slack 5.
func accepted(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "baseline.json")
	var out bytes.Buffer
	require.NoError(t, counting(path, true, nil, dialsOf(3), allocsOf(100)).run(t.Context(), &out))
	require.Contains(t, out.String(), "2 counts accepted")
	return path
}

func TestGate(t *testing.T) {
	for name, c := range map[string]struct {
		counts  []Count
		leftOut []string
		fails   []string // what the error says; none: it passes
		says    string   // on standard output
	}{
		"equal":                   {counts: []Count{dialsOf(3), allocsOf(100)}, says: "grown=0 shrunk=0"},
		"within the slack":        {counts: []Count{dialsOf(3), allocsOf(105)}, says: "grown=0 shrunk=0"},
		"grown":                   {counts: []Count{dialsOf(4), allocsOf(100)}, fails: []string{"tiny.dials has grown from 3 to 4 (slack 0)"}, says: "grown=1"},
		"grown beyond the slack":  {counts: []Count{dialsOf(3), allocsOf(106)}, fails: []string{"tiny.allocs has grown from 100 to 106 (slack 5)"}},
		"both":                    {counts: []Count{dialsOf(9), allocsOf(900)}, fails: []string{"tiny.dials has grown from 3 to 9", "tiny.allocs has grown from 100 to 900"}},
		"shrunk":                  {counts: []Count{dialsOf(2), allocsOf(100)}, says: "tiny.dials has shrunk from 3 to 2"},
		"shrunk beside grown":     {counts: []Count{dialsOf(0), allocsOf(200)}, fails: []string{"tiny.allocs has grown"}, says: "tiny.dials has shrunk"},
		"not accepted yet":        {counts: []Count{dialsOf(3), allocsOf(100), {"tiny.tokens", "", 7, exact}}, fails: []string{"tiny.tokens is new: 7"}},
		"no longer counted":       {counts: []Count{dialsOf(3)}, fails: []string{"tiny.allocs is gone: 100"}},
		"its subject is not here": {leftOut: []string{"tiny"}, says: "left out"},
	} {
		t.Run(name, func(t *testing.T) {
			path := accepted(t)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			var out bytes.Buffer
			err = counting(path, false, c.leftOut, c.counts...).run(t.Context(), &out)
			require.Contains(t, out.String(), c.says)
			after, readErr := os.ReadFile(path)
			require.NoError(t, readErr)
			require.Equal(t, before, after, "only -accept writes")
			if c.fails == nil {
				require.NoError(t, err)
				return
			}
			require.Equal(t, fault.ExitVerify, fault.Code(err))
			require.Contains(t, fault.Hint(err), "make bench-gate ARGS=-accept")
			for _, text := range c.fails {
				require.ErrorContains(t, err, text)
			}
			require.Equal(t, len(c.fails), strings.Count(err.Error(), "\n"), "nothing else is blamed")
		})
	}
}

func TestAccept(t *testing.T) {
	path := accepted(t)
	other := Count{"smollm2.tokens", "tokens", 9, nearest}
	require.NoError(t, counting(path, true, nil, dialsOf(1), other).run(t.Context(), io.Discard))
	b, err := read(path)
	require.NoError(t, err)
	require.NotEmpty(t, b.Go)
	require.NotEmpty(t, b.System)
	require.NotEmpty(t, b.Kernel)
	require.Equal(t, []Entry{{"tiny.dials", "connections", 1, 0}, {"smollm2.tokens", "tokens", 9, 1}}, b.Counts)

	// What could not be counted keeps its place.
	require.NoError(t, counting(path, true, []string{"smollm2"}, dialsOf(2)).run(t.Context(), io.Discard))
	b, err = read(path)
	require.NoError(t, err)
	require.Equal(t, []Entry{{"tiny.dials", "connections", 2, 0}, {"smollm2.tokens", "tokens", 9, 1}}, b.Counts)

	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "written beside and renamed")
	require.Error(t, counting(filepath.Join(t.TempDir(), "none", "b.json"), true, nil, dialsOf(1)).run(t.Context(), io.Discard))
}

func TestUnreadableBaseline(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":        "{",
		"twice":          `{"counts":[{"name":"a","value":1},{"name":"a","value":2}]}`,
		"negative slack": `{"counts":[{"name":"a","slack":-1}]}`,
	} {
		path := filepath.Join(t.TempDir(), "b.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		err := counting(path, false, nil, dialsOf(1)).run(t.Context(), io.Discard)
		require.Equal(t, fault.ExitVerify, fault.Code(err), name)
		require.NoError(t, counting(path, true, nil, dialsOf(1)).run(t.Context(), io.Discard), name)
		require.NoError(t, counting(path, false, nil, dialsOf(1)).run(t.Context(), io.Discard), name)
	}
	failing := counting("", false, nil)
	failing.path, failing.count = filepath.Join(t.TempDir(), "b.json"), func(context.Context, io.Writer) ([]Count, []string, error) {
		return nil, nil, errors.New("broken")
	}
	require.ErrorContains(t, failing.run(t.Context(), io.Discard), "broken")
}

// The counts of the tiny model come out alike, run after run: without that the
// gate would cry wolf.
func TestTinyCountsRepeat(t *testing.T) {
	if testing.Short() {
		t.Skip("counts everything twice")
	}
	first, err := countTiny(t.Context(), t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "b.json")
	require.NoError(t, counting(path, true, nil, first...).run(t.Context(), io.Discard))
	second, err := countTiny(t.Context(), t.TempDir())
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, counting(path, false, nil, second...).run(t.Context(), &out), out.String())
	require.Contains(t, out.String(), "grown=0 shrunk=0")
	for _, c := range first {
		require.NotEmpty(t, c.What, c.Name)
		if !strings.HasSuffix(c.Name, "dials") && !strings.HasSuffix(c.Name, "calls") {
			require.Positive(t, c.Value, c.Name)
		}
	}
}

// More work shows: a count is of the work it names.
func TestMoreWorkShows(t *testing.T) {
	const size = 1 << 20
	small, err := least(func(_ int, begin func()) error {
		begin()
		return nil
	})
	require.NoError(t, err)
	big, err := least(func(_ int, begin func()) error {
		waste(size) // before begin: not counted
		begin()
		for range 10 {
			waste(size)
		}
		return nil
	})
	require.NoError(t, err)
	require.LessOrEqual(t, small.allocs, int64(1))
	require.InDelta(t, 10, big.allocs, 2)
	require.InDelta(t, 10*size, big.bytes, size/10)
	broken := errors.New("broken")
	_, err = least(func(int, func()) error { return broken })
	require.ErrorIs(t, err, broken)
}

var wasted []byte

func waste(n int) { wasted = make([]byte, n) }

// The committed baseline is one that the gate can read, of the subjects it knows.
func TestCommittedBaseline(t *testing.T) {
	path := filepath.Join("..", "..", "bench", "baseline.json")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, json.Valid(data))
	b, err := read(path)
	require.NoError(t, err)
	require.NotEmpty(t, b.Commit)
	for _, e := range b.Counts {
		require.True(t, isOf(e.Name, []string{tinySubject, realSubject, binarySubject}), e.Name)
	}
}
