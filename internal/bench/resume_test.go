package bench

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// A run that was stopped goes on with the users it had not finished, and says
// what a whole one says; what another run left is not taken.
func TestResume(t *testing.T) {
	d, dir := town(t), t.TempDir()
	var dump bytes.Buffer
	set := func() Options {
		o := options()
		dump.Reset()
		o.Resume, o.Draws, o.Elsewhere, o.Dump = dir, 2, must(Chat()), &dump
		return o
	}
	whole := set()
	whole.Resume = ""
	want, wantSheets, err := Run(context.Background(), d, newToy(), whole)
	require.NoError(t, err)
	wantDump := dump.String()

	ctx, cancel := context.WithCancel(context.Background())
	o := set()
	o.Progress = func(p Progress) {
		if p.User == "odd" {
			cancel()
		}
	}
	_, _, err = Run(ctx, d, newToy(), o)
	require.ErrorIs(t, err, context.Canceled)
	kept, err := filepath.Glob(filepath.Join(dir, "*.json.gz"))
	require.NoError(t, err)
	require.Len(t, kept, 3, "desk/bills, desk/rest, desk/trips")

	e := newToy()
	got, sheets, err := Run(context.Background(), d, e, set())
	require.NoError(t, err)
	for _, call := range e.calls {
		for _, a := range call {
			require.NotContains(t, a.Text, "@desk", "its users were done")
		}
	}
	require.Empty(t, cmp.Diff(wantSheets, sheets))
	require.Empty(t, cmp.Diff(want.Figures, got.Figures))
	require.Equal(t, want.Swaps, got.Swaps)
	require.Equal(t, want.Notes, got.Notes)
	require.Equal(t, want.Chats, got.Chats)
	require.Equal(t, want.Samples, got.Samples)
	require.Equal(t, wantDump, dump.String())
	require.Equal(t, want.Timing["blend"].Queries, got.Timing["blend"].Queries)

	other := set()
	other.Strategies = []string{"base"}
	e = newToy()
	_, _, err = Run(context.Background(), d, e, other)
	require.NoError(t, err)
	require.NotEmpty(t, e.calls)

	require.NoError(t, os.WriteFile(kept[0], []byte("no gzip"), 0o600))
	_, _, err = Run(context.Background(), d, newToy(), set())
	require.ErrorContains(t, err, "go on with benchmark")
}
