package pull

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/upstream"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

func newSetHub(t *testing.T) *hub {
	h := newHub(t, nil)
	h.set = &hubSet{repo: "garden/beds", commit: commit, plain: map[string]bool{"test.jsonl": true},
		files: map[string][]byte{"data/train-0.parquet": model(300000), "data/train-1.parquet": model(1000), "test.jsonl": []byte("{}\n"), "README.md": []byte("# beds")}}
	return h
}

func just(names ...string) func([]string) ([]string, error) {
	return func(all []string) ([]string, error) { return names, nil }
}

func TestDataset(t *testing.T) {
	h := newSetHub(t)
	b := newBench(t, Options{Hub: h.URL})
	want := []string{"data/train-0.parquet", "test.jsonl"}
	var seen []string
	d, err := b.Dataset(t.Context(), "hf://garden/beds", func(names []string) ([]string, error) {
		seen = names
		return want, nil
	})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"data/train-0.parquet", "data/train-1.parquet", "test.jsonl", "README.md"}, seen)
	require.Equal(t, "hf://datasets/garden/beds@"+commit, d.Address)
	require.Len(t, d.Files, 2)
	for _, name := range want {
		got, err := os.ReadFile(d.Files[name])
		require.NoError(t, err)
		require.Equal(t, h.set.files[name], got)
		require.True(t, strings.HasPrefix(d.Files[name], filepath.Join(b.paths.Sets(), "garden", "beds", commit)))
	}
	require.Equal(t, Pinned, d.Fetched[0].Check, "the list tells the digest of a large file")
	require.Equal(t, Announced, d.Fetched[1].Check, "of a small one it tells git's name")
	for _, e := range b.events {
		require.NotContains(t, e.Source, "train-1")
	}

	// The ledger lists the list, and each file with its hops.
	entries, err := os.ReadFile(b.paths.Ledger())
	require.NoError(t, err)
	require.Contains(t, string(entries), "/api/datasets/garden/beds/revision/main")
	require.Contains(t, string(entries), "/datasets/garden/beds/resolve/"+commit+"/test.jsonl")

	// Again: only the list is asked for, as main may have moved; for a commit
	// nothing is.
	before := len(h.ranges)
	again, err := b.Dataset(t.Context(), "hf://datasets/garden/beds@main", just(want...))
	require.NoError(t, err)
	require.Equal(t, d.Files, again.Files)
	require.True(t, again.Fetched[0].Cached)
	require.Equal(t, before, len(h.ranges))
	require.Equal(t, 2, h.set.listings)
	for range 2 {
		_, err = b.Dataset(t.Context(), "hf://garden/beds@"+commit, just(want...))
		require.NoError(t, err)
	}
	require.Equal(t, 3, h.set.listings)

	// Under local-only what is here is used, and what is not is refused.
	shut := New(Options{Paths: b.paths, Hub: h.URL, Gate: upstream.New(upstream.Options{LocalOnly: true})})
	for _, address := range []string{"hf://garden/beds", "hf://garden/beds@" + commit} {
		d, err := shut.Dataset(t.Context(), address, just(want...))
		require.NoError(t, err)
		require.Len(t, d.Files, 2)
	}
	_, err = shut.Dataset(t.Context(), "hf://garden/beds", just("data/train-1.parquet"))
	require.ErrorIs(t, err, upstream.ErrLocalOnly)
	require.Equal(t, fault.ExitRefused, fault.Code(err))
	_, err = shut.Dataset(t.Context(), "hf://garden/other", just())
	require.ErrorIs(t, err, upstream.ErrLocalOnly)

	// A damaged file is moved aside and fetched anew.
	require.NoError(t, os.WriteFile(d.Files["data/train-0.parquet"], []byte("rot"), 0o600))
	d, err = b.Dataset(t.Context(), "hf://garden/beds@"+commit, just(want...))
	require.NoError(t, err)
	got, err := os.ReadFile(d.Files["data/train-0.parquet"])
	require.NoError(t, err)
	require.Equal(t, h.set.files["data/train-0.parquet"], got)
}

func TestDatasetResumes(t *testing.T) {
	h := newSetHub(t)
	b := newBench(t, Options{Hub: h.URL})
	h.faults = append(h.faults, h.cutAfter(100000, nil), status(http.StatusGone))
	_, err := b.Dataset(t.Context(), "hf://garden/beds", just("data/train-0.parquet"))
	require.ErrorContains(t, err, "410")
	d, err := b.Dataset(t.Context(), "hf://garden/beds", just("data/train-0.parquet"))
	require.NoError(t, err)
	require.Equal(t, "bytes=100000-", h.ranges[len(h.ranges)-1])
	got, err := os.ReadFile(d.Files["data/train-0.parquet"])
	require.NoError(t, err)
	require.Equal(t, h.set.files["data/train-0.parquet"], got)
}

func TestDatasetRefuses(t *testing.T) {
	h := newSetHub(t)
	b := newBench(t, Options{Hub: h.URL, Tries: 1})
	for _, address := range []string{"hf://beds", "hf://a/b/c", "hf://../beds", "hf://garden/beds@../../x", "https://x/y", "hf://garden/beds@a/b"} {
		_, err := b.Dataset(t.Context(), address, just())
		require.Equal(t, fault.ExitUsage, fault.Code(err), address)
	}
	_, err := b.Dataset(t.Context(), "hf://garden/none", just())
	require.ErrorContains(t, err, "404")
	_, err = b.Dataset(t.Context(), "hf://garden/beds", just("nothing.csv"))
	require.ErrorContains(t, err, `no file "nothing.csv"`)
	_, err = b.Dataset(t.Context(), "hf://garden/beds", func([]string) ([]string, error) { return nil, errors.New("none fits") })
	require.ErrorContains(t, err, "none fits")
	_, err = b.Pull(t.Context(), "hf://datasets/garden/beds/test.jsonl")
	require.ErrorContains(t, err, "fetched when it is used")

	// Names that would leave the folder are not offered.
	h.set.files["../../up.jsonl"], h.set.files["a/../b.jsonl"], h.set.files["a\\b.jsonl"] = []byte("x"), []byte("x"), []byte("x")
	_, err = b.Dataset(t.Context(), "hf://garden/beds", func(names []string) ([]string, error) {
		for _, n := range names {
			require.NotContains(t, n, "..")
			require.NotContains(t, n, "\\")
		}
		return nil, nil
	})
	require.NoError(t, err)

	// Bytes that are not what the list says.
	lying := newSetHub(t)
	lying.faults = append(lying.faults, func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write(model(999))
		return true
	})
	_, err = newBench(t, Options{Hub: lying.URL, Tries: 1}).Dataset(t.Context(), "hf://garden/beds", just("data/train-1.parquet"))
	require.Equal(t, fault.ExitVerify, fault.Code(err))

	small := newSetHub(t)
	small.faults = append(small.faults, func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("[]\n")) // as many bytes as there should be
		return true
	})
	s := newBench(t, Options{Hub: small.URL, Tries: 1})
	_, err = s.Dataset(t.Context(), "hf://garden/beds", just("test.jsonl"))
	require.ErrorContains(t, err, "git would name it")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	_, err = s.Dataset(t.Context(), "hf://garden/beds", just("test.jsonl"))
	require.NoError(t, err, "it is not kept")

	// A list of no commit is not kept.
	h.set.commit = "main"
	_, err = b.Dataset(t.Context(), "hf://garden/beds", just())
	require.ErrorContains(t, err, "no commit")
	h.set.commit = commit
	_, err = b.Dataset(t.Context(), "hf://garden/beds", just())
	require.NoError(t, err)
}

func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"sha":"0123456789abcdef0123456789abcdef01234567","siblings":[{"rfilename":"a","size":1,"lfs":{"sha256":"x"}}]}`))
	f.Add([]byte(`{"siblings":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if l, err := parseListing(data); err == nil && !commitID.MatchString(l.SHA) {
			t.Fatal("a list without a commit")
		}
	})
}
