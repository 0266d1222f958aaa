package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/gguf"
)

func TestDigestIsComputedOnce(t *testing.T) {
	dir := t.TempDir()
	p := Paths{Cache: filepath.Join(dir, "cache")}
	path := filepath.Join(dir, "model.gguf")
	write := func(text string, when time.Time) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, when, when))
	}
	want := func() string {
		d, err := gguf.Digest(path)
		require.NoError(t, err)
		return d
	}
	get := func() string {
		d, err := p.Digest(path)
		require.NoError(t, err)
		return d
	}
	then := time.Unix(1e9, 5)
	write("one", then)
	first := want()
	require.Equal(t, first, get())
	write("two", then) // same size, same time: taken from the cache
	require.Equal(t, first, get())
	write("two", then.Add(time.Nanosecond*100))
	require.Equal(t, want(), get())
	write("three", then)
	require.Equal(t, want(), get())

	notes, err := filepath.Glob(filepath.Join(p.Cache, "digests", "*"))
	require.NoError(t, err)
	require.Len(t, notes, 1)
	good, err := os.ReadFile(notes[0])
	require.NoError(t, err)
	for _, bad := range []string{"", "{", "[]", strings.Replace(string(good), want(), "short", 1), strings.Replace(string(good), "model", "other", 1)} {
		require.NoError(t, os.WriteFile(notes[0], []byte(bad), 0o600))
		require.Equal(t, want(), get(), fmt.Sprintf("after %q", bad))
	}

	p.Cache = filepath.Join(path, "no-folder") // cannot be made
	require.Equal(t, want(), get())
	_, err = p.Digest(path + "x")
	require.Error(t, err)
}
