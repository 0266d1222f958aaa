package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"first", "second, longer", ""} {
		require.NoError(t, Write(path, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
}

func TestFailureLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	full := errors.New("disk full")
	err := Write(path, func(w io.Writer) error {
		w.Write(make([]byte, 3<<20))
		return full
	})
	require.ErrorIs(t, err, full)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "the temporary file stayed")
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes here")
	}
	path := filepath.Join(t.TempDir(), "f")
	empty := func(io.Writer) error { return nil }
	for _, step := range []struct {
		write func(string, func(io.Writer) error) error
		mode  os.FileMode
	}{{WritePrivate, 0o600}, {Write, 0o640}, {WritePrivate, 0o600}} {
		if step.mode != 0o600 {
			require.NoError(t, os.Chmod(path, step.mode))
		}
		require.NoError(t, step.write(path, empty))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, step.mode, info.Mode().Perm())
	}
}

func TestMove(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	require.ErrorIs(t, Move(from, to), os.ErrNotExist)
	require.NoError(t, os.WriteFile(to, []byte("old"), 0o600))
	require.NoError(t, os.WriteFile(from, []byte("new"), 0o600))
	require.NoError(t, Move(from, to))
	require.NoFileExists(t, from)
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, "new", string(got))
}

func TestHint(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOSPC: "free some space in d",
		&os.PathError{Op: "write", Err: syscall.EFBIG}: "free some space in d",
		os.ErrPermission:    "make d writable, or name another folder",
		os.ErrNotExist:      "make the folder d",
		io.ErrUnexpectedEOF: "",
	} {
		require.Equal(t, want, Hint(err, filepath.Join("d", "f")), err)
	}
}

func TestNoFolder(t *testing.T) {
	err := Write(filepath.Join(t.TempDir(), "none", "f"), func(io.Writer) error { return nil })
	require.ErrorIs(t, err, os.ErrNotExist)
}
