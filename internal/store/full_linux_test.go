package store

import (
	"os"
	"path/filepath"
	"testing"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/testmodel/fulldisk"

	"github.com/stretchr/testify/require"
)

// A disk without room, by way of the limit on file sizes.
func TestFullDiskLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, WriteBytes(path, []byte("old")))
	var err error
	fulldisk.After(t, 1<<20, func() { err = WriteBytes(path, make([]byte, 2<<20)) })
	require.Error(t, err)
	require.True(t, atomicfile.IsFull(err), "%v", err)
	require.Contains(t, fault.Hint(err), "free some space")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(data))
	only(t, filepath.Dir(path), "f")
}
