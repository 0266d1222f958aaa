package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"crayon/internal/fault"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPaths(t *testing.T) {
	home := func() (string, error) { return "/u", nil }
	none := func() (string, error) { return "", errors.New("none") }
	env := func(kv ...string) func(string) string {
		return func(k string) string {
			for i := 0; i < len(kv); i += 2 {
				if kv[i] == k {
					return kv[i+1]
				}
			}
			return ""
		}
	}
	for _, c := range []struct {
		name, home, goos string
		env              func(string) string
		want             Paths
	}{
		{"CRAYON_HOME", "/c", "linux", env("XDG_DATA_HOME", "/x"), Paths{"/c", "/c", "/c/cache"}},
		{"linux", "", "linux", env(), Paths{"/u/.local/share/crayon", "/u/.config/crayon", "/u/.cache/crayon"}},
		{"XDG", "", "linux", env("XDG_DATA_HOME", "/d", "XDG_CONFIG_HOME", "/k", "XDG_CACHE_HOME", "rel"), Paths{"/d/crayon", "/k/crayon", "/u/.cache/crayon"}},
		{"mac", "", "darwin", env(), Paths{"/u/Library/Application Support/crayon", "/u/Library/Application Support/crayon", "/u/Library/Caches/crayon"}},
		{"windows", "", "windows", env("LOCALAPPDATA", "/l", "APPDATA", "/r"), Paths{"/l/crayon", "/r/crayon", "/l/crayon/cache"}},
	} {
		got, err := resolve(c.home, c.goos, c.env, home)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, got, c.name)
	}
	_, err := resolve("", "linux", env(), none)
	require.Contains(t, fault.Hint(err), "CRAYON_HOME")
	_, err = resolve("", "linux", env("XDG_DATA_HOME", "/d", "XDG_CONFIG_HOME", "/d", "XDG_CACHE_HOME", "/d"), none)
	require.NoError(t, err)
}

func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	require.ElementsMatch(t, names, got)
}

func TestWriteFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "f")
	require.NoError(t, WriteBytes(path, []byte("one")))
	only(t, dir, "f")
	if runtime.GOOS != "windows" {
		for p, mode := range map[string]os.FileMode{path: 0o600, dir: 0o700, filepath.Dir(dir): 0o700} {
			info, err := os.Stat(p)
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode().Perm(), p)
		}
	}
	// A failure in the middle leaves the old content and nothing else.
	boom := errors.New("boom")
	err := WriteFile(path, func(w io.Writer) error {
		w.Write(make([]byte, 1<<20))
		return boom
	})
	require.ErrorIs(t, err, boom)
	require.Panics(t, func() { WriteFile(path, func(io.Writer) error { panic("x") }) })
	only(t, dir, "f")
	data, err := ReadFile(path, 3)
	require.NoError(t, err)
	require.Equal(t, "one", string(data))
	_, err = ReadFile(path, 2)
	require.ErrorContains(t, err, "larger")

	told := &fault.Error{Op: "x", Err: boom, Hint: "h", Exit: 3}
	require.Equal(t, 3, fault.Code(WriteFile(path, func(io.Writer) error { return told })))
	require.Error(t, WriteBytes(dir+string(filepath.Separator), nil))
	require.Error(t, WriteBytes(filepath.Join(path, "under a file"), nil))
	require.Error(t, WriteBytes(dir, nil), "a folder is not replaced")
	only(t, filepath.Dir(dir), "b")
}

func TestStaleTempIsSwept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	old, young, other := filepath.Join(dir, ".f.tmp-1"), filepath.Join(dir, ".f.tmp-2"), filepath.Join(dir, ".g.tmp-1")
	for _, p := range []string{old, young, other} {
		require.NoError(t, os.WriteFile(p, nil, 0o600))
	}
	past := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(old, past, past))
	require.NoError(t, os.Chtimes(other, past, past))
	require.NoError(t, WriteBytes(path, nil))
	only(t, dir, "f", ".f.tmp-2", ".g.tmp-1")
}

func TestConcurrentWritesAreWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := WriteBytes(path, bytes.Repeat([]byte{byte('a' + i)}, 100_000)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, data, 100_000)
	require.Equal(t, strings.Repeat(string(data[:1]), 100_000), string(data))
	only(t, filepath.Dir(path), "f")
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "lock")
	h, err := TryLock(path)
	require.NoError(t, err)
	_, err = TryLock(path)
	require.ErrorIs(t, err, ErrLocked)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	_, err = Lock(ctx, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotEmpty(t, fault.Hint(err))
	got := make(chan error)
	go func() {
		h, err := Lock(context.Background(), path)
		if err == nil {
			err = h.Unlock()
		}
		got <- err
	}()
	require.NoError(t, h.Unlock())
	require.NoError(t, <-got)
	require.NoError(t, h.Unlock())
}

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"a", "Mine", "bike-desk_2.1", "0", "basement", "con-tent", strings.Repeat("x", 64)} {
		require.NoError(t, CheckName(ok), ok)
	}
	for _, bad := range []string{"", ".", "..", ".x", "-f", "_x", "a/b", `a\b`, "a b", "é", "a\x00", "a\n", "x.", "base", "Base", "NUL", "con.txt", "a+b", "a:b", strings.Repeat("x", 65), strings.Repeat("é", 99)} {
		err := CheckName(bad)
		require.Error(t, err, "%q", bad)
		require.Equal(t, fault.ExitUsage, fault.Code(err))
		require.NotContains(t, err.Error(), "\n")
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		if err := CheckName(name); err == nil {
			require.Equal(t, name, filepath.Base(name))
			require.NotContains(t, name, "..x/")
		} else if s := suggestName(name); s != "" {
			require.NoError(t, CheckName(s), "a suggested name is good: %q", s)
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"bike-desk", "vet", "school"}
	for in, want := range map[string]string{"bikedesk": "bike-desk", "BIKE-DESK": "bike-desk", "vets": "vet", "scool": "school", "zebra": "", "": ""} {
		require.Equal(t, want, Nearest(in, names), in)
	}
	require.Empty(t, Nearest("x", nil))
}

func newStore(t *testing.T) *Customisations {
	return OpenCustomisations(filepath.Join(t.TempDir(), "customisations"))
}

func TestCustomisations(t *testing.T) {
	c := newStore(t)
	list, err := c.List()
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = c.Get("mine")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Contains(t, fault.Hint(err), "crayon customize mine")

	require.NoError(t, c.Put("mine", []byte("1")))
	require.NoError(t, c.Put("mine", []byte("2")))
	require.NoError(t, c.Put("yours", []byte("y")))
	got, err := c.Get("mine")
	require.NoError(t, err)
	require.Equal(t, "2", string(got))
	_, err = c.Get("mien")
	require.Equal(t, "did you mean mine?", fault.Hint(err))
	_, err = c.Get("../mine")
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	require.Error(t, c.Put("Mine", nil), "differs only in case")
	names, err := c.Names()
	require.NoError(t, err)
	require.Equal(t, []string{"mine", "yours"}, names)

	require.Error(t, c.Rename("mine", "yours"), "taken")
	require.Error(t, c.Rename("none", "x"))
	require.Error(t, c.Rename("mine", "base"))
	require.NoError(t, c.Rename("mine", "Mine"))
	require.NoError(t, c.Rename("Mine", "ours"))
	v, err := c.Versions("ours")
	require.NoError(t, err)
	require.Len(t, v, 1, "the history goes along")
	old, err := c.GetVersion("ours", v[0].ID)
	require.NoError(t, err)
	require.Equal(t, "1", string(old))
	_, err = c.GetVersion("ours", "../../yours.crayon")
	require.Error(t, err)

	require.NoError(t, c.Remove("ours"))
	_, err = c.Get("ours")
	require.Error(t, err)
	require.Error(t, c.Remove("ours"))
	require.NoError(t, c.Undo("ours"))
	got, err = c.Get("ours")
	require.NoError(t, err)
	require.Equal(t, "2", string(got))
	require.NoError(t, c.Undo("ours"))
	got, _ = c.Get("ours")
	require.Equal(t, "1", string(got))
	require.NoError(t, c.Undo("ours"))
	got, _ = c.Get("ours")
	require.Equal(t, "2", string(got), "undo is undone")
	require.Error(t, c.Undo("yours"))

	// A removed name taken again keeps its history; a rename onto a name
	// with an old history loses neither.
	require.NoError(t, c.Remove("yours"))
	require.NoError(t, c.Rename("ours", "yours"))
	v, err = c.Versions("yours")
	require.NoError(t, err)
	require.NotEmpty(t, v)
	require.NoError(t, c.Undo("yours"))
}

func TestVersionsAreBounded(t *testing.T) {
	c := newStore(t)
	for i := range keptVersions + 10 {
		require.NoError(t, c.Put("mine", []byte(fmt.Sprint(i))))
	}
	v, err := c.Versions("mine")
	require.NoError(t, err)
	require.Len(t, v, keptVersions)
	newest, err := c.GetVersion("mine", v[0].ID)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(keptVersions+8), string(newest))
	oldest := v[len(v)-1]
	want, err := c.GetVersion("mine", oldest.ID)
	require.NoError(t, err)
	require.NoError(t, c.Restore("mine", oldest.ID))
	got, err := c.Get("mine")
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// The store behaves like a map with an undo of one step.
func TestCustomisationsModel(t *testing.T) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		c := OpenCustomisations(filepath.Join(root, fmt.Sprint(n)))
		now := map[string]string{}
		for i := range rapid.IntRange(1, 12).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
			_, have := now[name]
			switch rapid.SampledFrom([]string{"put", "remove", "rename", "undo twice"}).Draw(t, "op") {
			case "put":
				require.NoError(t, c.Put(name, []byte(fmt.Sprint(i))))
				now[name] = fmt.Sprint(i)
			case "remove":
				require.Equal(t, have, c.Remove(name) == nil)
				delete(now, name)
			case "rename":
				to := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "to")
				_, taken := now[to]
				ok := have && (!taken || to == name)
				require.Equal(t, ok, c.Rename(name, to) == nil)
				if ok && to != name {
					now[to] = now[name]
					delete(now, name)
				}
			case "undo twice":
				if have && c.Undo(name) == nil {
					require.NoError(t, c.Undo(name))
				}
			}
			names, err := c.Names()
			require.NoError(t, err)
			require.Len(t, names, len(now))
			for name, want := range now {
				got, err := c.Get(name)
				require.NoError(t, err)
				require.Equal(t, want, string(got))
			}
		}
	})
}

func TestConcurrentPuts(t *testing.T) {
	c := newStore(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := OpenCustomisations(c.dir).Put("mine", []byte{byte(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	v, err := c.Versions("mine")
	require.NoError(t, err)
	require.Len(t, v, 7, "none was lost")
}
