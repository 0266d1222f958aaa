package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
)

func pack(t *testing.T, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, name := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 3}))
		_, err := w.Write([]byte("lib"))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return out.Bytes()
}

func TestUnpackTakesOnlyTheLibraries(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "libs")
	data := pack(t, inside+"/libggml-base.so", "package/package.json", inside+"/../../../evil.so", inside+"/deep/x.so", inside+"/notes.txt", "evil.so")
	require.NoError(t, unpack(data, dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "libggml-base.so", entries[0].Name())
	require.NoFileExists(t, filepath.Join(filepath.Dir(dir), "evil.so"))

	require.Error(t, unpack([]byte("not a tarball"), dir))
	require.Error(t, unpack(data[:len(data)/2], dir))
}

func TestWrongLibrariesAreRefused(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CRAYON_LLAMACPP", dir)
	require.ErrorIs(t, verify(dir), os.ErrNotExist)
	for name := range libraries {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("something else"), 0o644))
	}
	_, ok := Present()
	require.False(t, ok)
	_, err := Libraries(t.Context())
	require.ErrorContains(t, err, "sha256")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
}

func TestDirOfAnUnpackedPackage(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CRAYON_LLAMACPP", dir)
	got, err := Dir()
	require.NoError(t, err)
	require.Equal(t, dir, got)
	libs := filepath.Join(dir, filepath.FromSlash(inside))
	require.NoError(t, os.MkdirAll(libs, 0o755))
	got, err = Dir()
	require.NoError(t, err)
	require.Equal(t, libs, got)
}

// A machine without npm must be told what to do, and have nothing left behind.
func TestNoNpm(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "llamacpp")
	t.Setenv("CRAYON_LLAMACPP", dir)
	t.Setenv("PATH", t.TempDir())
	_, err := Libraries(t.Context())
	require.ErrorContains(t, err, "npm")
	require.Contains(t, fault.Hint(err), "CRAYON_LLAMACPP")
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Empty(t, left)
}
