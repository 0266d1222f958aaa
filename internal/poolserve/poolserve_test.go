package poolserve

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/upstream"
)

func tinyPool(t testing.TB) *pool.Pool {
	t.Helper()
	_, path := tiny.Tiny(t)
	p, err := pool.Open(path)
	require.NoError(t, err)
	return p
}

func start(t testing.TB, o Options) (*Server, *httptest.Server) {
	t.Helper()
	if o.Pool == nil {
		o.Pool = tinyPool(t)
	}
	s, err := New(o)
	require.NoError(t, err)
	ts := httptest.NewServer(s.Handler())
	t.Cleanup(ts.Close)
	return s, ts
}

func call(t testing.TB, method, url, body string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, data
}

func TestHeadAndBlend(t *testing.T) {
	p := tinyPool(t)
	_, ts := start(t, Options{Pool: p})
	resp, data := call(t, "GET", ts.URL+"/v1/pool/head", "")
	require.Equal(t, 200, resp.StatusCode)
	head, err := pool.ParseHead(data)
	require.NoError(t, err)
	require.Equal(t, p.Digest(), head.Digest())
	require.Equal(t, head.HeadDigest(), resp.Header.Get(upstream.PoolDigest))
	again, _ := call(t, "GET", ts.URL+"/v1/pool/head", "", "If-None-Match", resp.Header.Get("ETag"))
	require.Equal(t, http.StatusNotModified, again.StatusCode)

	ask := func(body string) *adapter.Adapter {
		resp, data := call(t, "POST", ts.URL+"/v1/pool/"+p.Digest()+"/blend", body)
		require.Equal(t, 200, resp.StatusCode, string(data))
		require.Equal(t, sum(data), resp.Header.Get(upstream.PoolDigest))
		path := filepath.Join(t.TempDir(), "blend.gguf")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		a, err := adapter.ReadGGUF(path, p.Base.Shape)
		require.NoError(t, err)
		require.Equal(t, p.Base.Name, a.Base)
		return a
	}
	a := ask(`{"weights":[0.750,0.000,0.250]}`)
	require.Equal(t, 6, a.Rank(), "two blended and the shared")
	stack, weights := p.Stack.Keep([]float32{0.75, 0, 0.25, 1})
	require.Less(t, adapter.Residual(stack.Merge(weights, "exact"), a), 1e-3)
	require.Equal(t, 2, ask(`{"weights":[0.000,0.000,0.000]}`).Rank(), "the shared alone")
	require.Equal(t, 8, ask(`{"weights":[1.000,1.000,1.000]}`).Rank())

	resp, data = call(t, "GET", ts.URL+"/v1/pool", "")
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, string(data), p.Digest())
	require.Contains(t, string(data), head.HeadDigest())
}

func TestRefusesWhatAreNoWeights(t *testing.T) {
	p := tinyPool(t)
	_, ts := start(t, Options{Pool: p})
	url := ts.URL + "/v1/pool/" + p.Digest() + "/blend"
	for body, want := range map[string]string{
		"":                                        "want",
		"[0.100,0.200,0.300]":                     "want",
		`{"weights":[0.100,0.200]}`:               "2 weights",
		`{"weights":[0.100,0.200,0.300,0.400]}`:   "4 weights",
		`{"weights":[0.1,0.200,0.300]}`:           "three decimals",
		`{"weights":[0.1000001,0.200,0.300]}`:     "three decimals",
		`{"weights":[-0.100,0.200,0.300]}`:        "three decimals",
		`{"weights":[1.100,0.200,0.300]}`:         "three decimals",
		`{"weights":["0.100",0.200,0.300]}`:       "three decimals",
		`{"weights":[1e-1,0.200,0.300]}`:          "three decimals",
		`{"weights":[null,0.200,0.300]}`:          "three decimals",
		`{"weights":[` + strings.Repeat("0", 999): "larger",
	} {
		resp, data := call(t, "POST", url, body)
		require.Equal(t, 400, resp.StatusCode, body)
		require.Contains(t, string(data), want, body)
	}
	resp, data := call(t, "POST", ts.URL+"/v1/pool/"+strings.Repeat("0", 64)+"/blend", `{"weights":[0.100,0.200,0.300]}`)
	require.Equal(t, http.StatusConflict, resp.StatusCode)
	require.Contains(t, string(data), "this server has the pool")
	resp, _ = call(t, "GET", url, "")
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	resp, data = call(t, "GET", ts.URL+"/v1/models", "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.Contains(t, string(data), "/v1/pool/head")
}

func TestDoor(t *testing.T) {
	var log bytes.Buffer
	s, ts := start(t, Options{Key: "sesame", Log: slog.New(slog.NewTextHandler(&log, nil))})
	resp, _ := call(t, "GET", ts.URL+"/v1/pool/head", "")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	resp, data := call(t, "GET", ts.URL+"/healthz", "")
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, string(data), `"status":"ok"`)
	resp, _ = call(t, "GET", ts.URL+"/v1/pool/head", "", "Authorization", "Bearer sesame", "Origin", "http://evil.example")
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	resp, _ = call(t, "POST", ts.URL+"/v1/pool/"+s.pool.Digest()+"/blend", `{"weights":[0.123,0.456,0.421]}`, "Authorization", "Bearer sesame")
	require.Equal(t, 200, resp.StatusCode)

	open, err := New(Options{Pool: s.pool})
	require.NoError(t, err)
	require.ErrorContains(t, open.ListenAndServe(t.Context(), "0.0.0.0:0", nil), "no key is set")
	require.ErrorContains(t, open.ListenAndServe(t.Context(), "nonsense", nil), "host:port")
	ts.Close() // its log is written
	require.Contains(t, log.String(), "/blend")
	require.NotContains(t, log.String(), "0.123", "weights are not logged")
	require.NotContains(t, log.String(), "sesame")
}

func TestBusyIsToldSo(t *testing.T) {
	s, ts := start(t, Options{})
	require.NoError(t, s.blends.Acquire(t.Context(), maxBlends))
	resp, _ := call(t, "POST", ts.URL+"/v1/pool/"+s.pool.Digest()+"/blend", `{"weights":[0.100,0.200,0.300]}`)
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	s.blends.Release(maxBlends)
	resp, _ = call(t, "POST", ts.URL+"/v1/pool/"+s.pool.Digest()+"/blend", `{"weights":[0.100,0.200,0.300]}`)
	require.Equal(t, 200, resp.StatusCode)
}

// Copies give the same bytes: any of them may answer.
func TestCopiesAgree(t *testing.T) {
	p := tinyPool(t)
	var got [2]string
	for i := range got {
		_, ts := start(t, Options{Pool: p})
		_, head := call(t, "GET", ts.URL+"/v1/pool/head", "")
		_, blend := call(t, "POST", ts.URL+"/v1/pool/"+p.Digest()+"/blend", `{"weights":[0.100,0.200,0.300]}`)
		got[i] = sum(head) + sum(blend)
	}
	require.Equal(t, got[0], got[1])
}

func TestEndsWhenToldTo(t *testing.T) {
	s, err := New(Options{Pool: tinyPool(t)})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lives := false
	err = s.ListenAndServe(ctx, "127.0.0.1:0", func(addr string) {
		resp, err := http.Get("http://" + addr + "/healthz")
		if lives = err == nil; lives {
			resp.Body.Close()
		}
		cancel()
	})
	require.NoError(t, err)
	require.True(t, lives)
}
