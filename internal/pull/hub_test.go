package pull

import (
	"archive/zip"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crayon/internal/store"
	"crayon/internal/upstream"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary stand in for pip: it copies NAME-VERSION.whl
// from the folder in CRAYON_TEST_PIP.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CRAYON_TEST_PIP"); dir != "" && len(os.Args) > 1 && os.Args[1] == "download" {
		os.Exit(fakePip(dir, os.Args[2:]))
	}
	os.Exit(m.Run())
}

func fakePip(dir string, args []string) int {
	into, pkg := "", args[len(args)-1]
	noDeps := false
	for i, a := range args {
		if a == "-d" {
			into = args[i+1]
		}
		noDeps = noDeps || a == "--no-deps"
	}
	log, _ := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	fmt.Fprintln(log, pkg)
	log.Close()
	name := strings.Replace(pkg, "==", "-", 1) + ".whl"
	if strings.HasPrefix(pkg, "slow") {
		time.Sleep(time.Minute)
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || !noDeps {
		fmt.Println("ERROR: No matching distribution found for " + pkg)
		return 1
	}
	if err := os.WriteFile(filepath.Join(into, name), data, 0o600); err != nil {
		return 1
	}
	return 0
}

// hub is a fake hub: it redirects to a second host that serves the bytes, with
// faults for the first requests.
type hub struct {
	*httptest.Server
	cdn *httptest.Server

	mu       sync.Mutex
	body     []byte
	etag     string
	linked   string                                              // X-Linked-Etag
	faults   []func(w http.ResponseWriter, r *http.Request) bool // each for one request to the second host; true: answered
	front    []func(w http.ResponseWriter, r *http.Request) bool // the same for the hub itself
	ranges   []string                                            // Range of each request to the second host
	requests int

	set *hubSet
}

// hubSet is a data set on the fake hub.
type hubSet struct {
	repo, commit string
	files        map[string][]byte
	plain        map[string]bool // not in large file storage: no digest is told
	listings     int
}

// list is the hub's answer to which files there are.
func (s *hubSet) list() []byte {
	type entry map[string]any
	var siblings []entry
	for name, data := range s.files {
		e := entry{"rfilename": name, "size": len(data), "blobId": fmt.Sprintf("%x", sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...)))}
		if !s.plain[name] {
			e["lfs"] = entry{"size": len(data), "sha256": sum(data), "pointerSize": 130}
		}
		siblings = append(siblings, e)
	}
	out, _ := json.Marshal(entry{"id": s.repo, "sha": s.commit, "siblings": siblings})
	return out
}

func newHub(t *testing.T, body []byte) *hub {
	h := &hub{body: body, etag: `"v1"`}
	h.cdn = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.ranges = append(h.ranges, r.Header.Get("Range"))
		var f func(http.ResponseWriter, *http.Request) bool
		if len(h.faults) > 0 {
			f, h.faults = h.faults[0], h.faults[1:]
		}
		body, etag := h.body, h.etag
		if name, ok := strings.CutPrefix(r.URL.Path, "/set/"); ok {
			body, etag = h.set.files[name], `"`+name+`"`
			h.body, h.etag = body, etag // what a fault cuts
		}
		h.mu.Unlock()
		if f != nil && f(w, r) {
			return
		}
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests++
		linked := h.linked
		var f func(http.ResponseWriter, *http.Request) bool
		if len(h.front) > 0 {
			f, h.front = h.front[0], h.front[1:]
		}
		h.mu.Unlock()
		if f != nil && f(w, r) {
			return
		}
		if h.set != nil {
			if strings.HasPrefix(r.URL.Path, "/api/datasets/"+h.set.repo+"/revision/") && r.URL.RawQuery == "blobs=true" {
				h.mu.Lock()
				h.set.listings++
				h.mu.Unlock()
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(h.set.list())
				return
			}
			name, ok := strings.CutPrefix(r.URL.Path, "/datasets/"+h.set.repo+"/resolve/"+h.set.commit+"/")
			if _, has := h.set.files[name]; !ok || !has {
				http.NotFound(w, r)
				return
			}
			http.Redirect(w, r, h.cdn.URL+"/set/"+name, http.StatusFound)
			return
		}
		if !strings.Contains(r.URL.Path, "/resolve/") {
			http.NotFound(w, r)
			return
		}
		if linked != "" {
			w.Header().Set("X-Linked-Etag", `"`+linked+`"`)
		}
		http.Redirect(w, r, strings.Replace(h.cdn.URL, "127.0.0.1", "localhost", 1)+"/blob?sig=s3cret", http.StatusFound)
	}))
	t.Cleanup(func() { h.CloseClientConnections(); h.cdn.CloseClientConnections(); h.Close(); h.cdn.Close() })
	return h
}

// cutAfter sends the header of the whole (or the range) and n bytes of it.
func (h *hub) cutAfter(n int, then func(r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		if h.etag != "" {
			w.Header().Set("ETag", h.etag)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(h.body)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(h.body)-1, len(h.body)))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(h.body[from:min(from+n, len(h.body))])
		w.(http.Flusher).Flush()
		if then != nil {
			then(r)
		}
		panic(http.ErrAbortHandler)
	}
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, "<h1>no</h1>")
		return true
	}
}

func sum(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// model is made-up GGUF bytes.
func model(n int) []byte {
	b := make([]byte, n)
	copy(b, "GGUF")
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := 4; i < n; i++ {
		b[i] = byte(r.Uint32())
	}
	return b
}

type bench struct {
	*Puller
	paths  store.Paths
	ledger *upstream.Ledger
	wheels string
	events []Progress
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	home := t.TempDir()
	paths, err := store.Resolve(home)
	require.NoError(t, err)
	b := &bench{paths: paths, wheels: t.TempDir()}
	t.Setenv("CRAYON_TEST_PIP", b.wheels)
	if o.Gate == nil {
		b.ledger, err = upstream.OpenLedger(paths.Ledger())
		require.NoError(t, err)
		o.Gate = upstream.New(upstream.Options{Ledger: b.ledger})
		t.Cleanup(o.Gate.Close)
	}
	o.Paths, o.Pip = paths, []string{os.Args[0]}
	if o.Stall == 0 {
		o.Stall = 5 * time.Second
	}
	if o.Backoff == 0 {
		o.Backoff = time.Millisecond
	}
	o.Progress = func(p Progress) { b.events = append(b.events, p) }
	b.Puller = New(o)
	return b
}

// wheel puts a wheel with one member where the fake pip finds it.
func (b *bench) wheel(t *testing.T, pkg, member string, data []byte, method uint16) {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	w, err := z.CreateHeader(&zip.FileHeader{Name: member, Method: method})
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, os.WriteFile(filepath.Join(b.wheels, strings.Replace(pkg, "==", "-", 1)+".whl"), buf.Bytes(), 0o600))
}

func (b *bench) pipCalls(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.wheels, "log"))
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	return strings.Fields(string(data))
}

// alias adds a model to the table for one test.
func alias(t *testing.T, m Model) {
	t.Helper()
	aliases = append(aliases, m)
	t.Cleanup(func() { aliases = aliases[:len(aliases)-1] })
}

// tidy checks that a folder holds nothing but finished files and, for a later
// resume, .part files.
func (b *bench) tidy(t *testing.T, parts bool) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(b.paths.Models(), ".*"))
	require.NoError(t, err)
	for _, f := range left {
		ok := strings.HasSuffix(f, ".lock") || parts && strings.Contains(f, ".part")
		require.True(t, ok, "left behind: %s", f)
	}
	tmp, err := filepath.Glob(filepath.Join(b.paths.Cache, "*"))
	require.NoError(t, err)
	require.Empty(t, tmp)
}
