package upstream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
)

// poolServer is a client of a fake that answers with h.
func poolServer(t *testing.T, h http.HandlerFunc) (*PoolServer, *Ledger) {
	t.Helper()
	ts := httptest.NewServer(h)
	t.Cleanup(ts.Close)
	l, err := OpenLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	require.NoError(t, err)
	g := New(Options{Ledger: l})
	t.Cleanup(g.Close)
	s, err := NewPoolServer(g, PoolOptions{URL: ts.URL, Key: testKey, Timeout: 2 * time.Second, Wait: 20 * time.Millisecond})
	require.NoError(t, err)
	return s, l
}

func giveFile(w http.ResponseWriter, data string) {
	w.Header().Set("Content-Type", PoolMedia)
	w.Header().Set(PoolDigest, fmt.Sprintf("%x", sha256.Sum256([]byte(data))))
	w.Write([]byte(data))
}

var someWeights = []float32{0.25, 0.5, 0, 0.25}

func TestPoolServerGives(t *testing.T) {
	var paths []string
	s, l := poolServer(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.Method+" "+r.URL.Path)
		require.Equal(t, "Bearer "+testKey, r.Header.Get("Authorization"))
		require.Equal(t, "crayon", r.Header.Get("User-Agent"))
		if r.Header.Get("If-None-Match") == `"same"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		giveFile(w, "the file")
	})
	data, digest, err := s.Head(t.Context(), "", 100)
	require.NoError(t, err)
	require.Equal(t, "the file", string(data))
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data)), digest)
	data, digest, err = s.Head(t.Context(), "same", 100)
	require.NoError(t, err)
	require.Nil(t, data)
	require.Equal(t, "same", digest)
	_, _, err = s.Blend(t.Context(), "abc", someWeights, 100)
	require.NoError(t, err)
	require.Equal(t, []string{"GET /v1/pool/head", "GET /v1/pool/head", "POST /v1/pool/abc/blend"}, paths)
	e, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Len(t, e, 3)
	require.Equal(t, "4 weights: 0.250 0.500 0.000 0.250", e[2].Why)
	require.EqualValues(t, len(`{"weights":[0.250,0.500,0.000,0.250]}`), e[2].Out)
	require.Zero(t, e[2].PromptTokens)
}

// Each way a server can fail is told, with what mends it and without the key.
func TestPoolServerFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		kind   FailureKind
		want   string
		tries  int
	}{
		"lies about its digest": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", PoolMedia)
			w.Header().Set(PoolDigest, strings.Repeat("0", 64))
			w.Write([]byte("the file"))
		}, Nonsense, "and it says 000000000000", 1},
		"says no digest": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", PoolMedia)
			w.Write([]byte("the file"))
		}, Nonsense, "does not say the sha256", 1},
		"half a body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", PoolMedia)
			w.Header().Set("Content-Length", "1000")
			w.Write([]byte("half"))
		}, Cut, "cut", 1},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", PoolMedia)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, TooLarge, "too large", 1},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte("<html>sign in " + testKey + "</html>"))
		}, Nonsense, `content type "text/html"`, 1},
		"429": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, RateLimited, "limits the rate", poolTries},
		"429 for long": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		}, RateLimited, "limits the rate", 1},
		"500":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, Overloaded, "the server failed", poolTries},
		"wrong key": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no "+testKey, http.StatusUnauthorized) }, Unauthorized, "no [key]", 1},
		"another pool": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(409)
			w.Write([]byte(`{"error":{"message":"this server has the pool x"}}`))
		}, Rejected, "this server has the pool x", 1},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, Rejected, "307", 1},
		"slow": {func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() }, Slow, "too slow", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int64 // a slow answer's handler may still run
			s, _ := poolServer(t, func(w http.ResponseWriter, r *http.Request) { tries.Add(1); c.answer(w, r) })
			s.opt.Timeout = time.Minute
			if c.kind == Slow {
				s.opt.Timeout = 300 * time.Millisecond
			}
			data, _, err := s.Blend(context.Background(), "abc", someWeights, 1<<20)
			require.Nil(t, data)
			require.Equal(t, c.kind, KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.want)
			require.NotEmpty(t, fault.Hint(err))
			require.NotContains(t, err.Error()+fault.Hint(err), testKey)
			require.EqualValues(t, c.tries, tries.Load())
		})
	}
}

func TestPoolServerComesBack(t *testing.T) {
	n := 0
	s, l := poolServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n < poolTries {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		giveFile(w, "the file")
	})
	_, _, err := s.Head(t.Context(), "", 100)
	require.NoError(t, err)
	e, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Len(t, e, poolTries, "each sending is listed")
}

func TestPoolServerDeadOrRefused(t *testing.T) {
	g := New(Options{})
	s, err := NewPoolServer(g, PoolOptions{URL: "http://127.0.0.1:1", Wait: time.Millisecond})
	require.NoError(t, err)
	_, _, err = s.Head(t.Context(), "", 100)
	require.Equal(t, Dead, KindOf(err))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = s.Head(ctx, "", 100)
	require.ErrorIs(t, err, context.Canceled)
	s, err = NewPoolServer(New(Options{LocalOnly: true}), PoolOptions{URL: "http://127.0.0.1:1"})
	require.NoError(t, err)
	_, _, err = s.Head(t.Context(), "", 100)
	require.ErrorIs(t, err, ErrLocalOnly)
	for _, bad := range []string{"", "ftp://x", "http://u:p@x", "http://x?key=1", "x"} {
		_, err := NewPoolServer(g, PoolOptions{URL: bad})
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "u:p")
	}
	_, err = NewPoolServer(g, PoolOptions{URL: "http://x", Key: "a b"})
	require.ErrorContains(t, err, "characters")
}

// A request is as long for one set of weights as for another, says them to
// three decimals, and nothing else.
func TestPoolRequestSaysWeightsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 64).Draw(t, "members")
		draw := rapid.SliceOfN(rapid.Float32Range(0, 1), n, n)
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		x, _, err := poolRequest(a)
		require.NoError(t, err)
		y, _, err := poolRequest(b)
		require.NoError(t, err)
		require.Len(t, y, len(x))
		inNumbers := func(i int) bool { return i >= len(`{"weights":[`) && i < len(x)-len(`]}`) }
		for i := range x {
			if x[i] != y[i] {
				require.True(t, inNumbers(i))
			}
		}
		near := make([]float32, n)
		for i, w := range a { // anything that rounds alike
			near[i] = min(1, float32(int(float64(w)*1000+0.5))/1000)
		}
		z, _, err := poolRequest(near)
		require.NoError(t, err)
		for i := range z {
			if z[i] != x[i] { // a tie of rounding at most
				require.InDelta(t, float64(a[(i-len(`{"weights":[`))/6]*1000), float64(int(a[(i-len(`{"weights":[`))/6]*1000))+0.5, 1e-2)
			}
		}
	})
	for _, w := range []float32{-0.001, 1.001, float32(nan())} {
		_, _, err := poolRequest([]float32{w})
		require.Error(t, err)
	}
	var f *fault.Error
	_, _, err := poolRequest([]float32{2})
	require.True(t, errors.As(err, &f))
}

func nan() float64 { var z float64; return z / z }
