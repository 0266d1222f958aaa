package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crayon/internal/fault"
	"crayon/internal/upstream/fake"

	"github.com/stretchr/testify/require"
)

func cutJSON(w http.ResponseWriter, r *http.Request, c fake.Call, done <-chan struct{}) {
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" two\"}}]}\n\ndata: {\"choi\n\n")
}

func TestLocalOnlyNothingLeaves(t *testing.T) {
	var hits atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer web.Close()
	dir := t.TempDir()
	l, err := OpenLedger(filepath.Join(dir, "ledger.jsonl"))
	require.NoError(t, err)
	g := New(Options{LocalOnly: true, Ledger: l})

	// Through the client, also one whose settings were changed.
	c := g.Client("pull")
	c.CheckRedirect = nil
	_, err = c.Get(web.URL)
	require.ErrorIs(t, err, ErrLocalOnly)
	require.Equal(t, fault.ExitRefused, fault.Code(err))
	_, err = c.Post(web.URL, "text/plain", strings.NewReader("secret"))
	require.ErrorIs(t, err, ErrLocalOnly)

	// Past the round tripper, straight at the transport and its dialer.
	g.base.Proxy = nil
	_, err = (&http.Client{Transport: g.base}).Get(web.URL)
	require.ErrorIs(t, err, ErrLocalOnly)
	_, err = g.base.DialContext(context.Background(), "tcp", web.Listener.Addr().String())
	require.ErrorIs(t, err, ErrLocalOnly)

	// A chat server, which is not retried either.
	s, err := NewServer(g, ServerOptions{URL: web.URL})
	require.NoError(t, err)
	_, err = s.Complete(context.Background(), ask)
	require.ErrorIs(t, err, ErrLocalOnly)
	require.Equal(t, fault.ExitRefused, fault.Code(err))
	_, err = s.Stream(context.Background(), Request{Model: "m", Messages: ask.Messages})
	require.ErrorIs(t, err, ErrLocalOnly)
	require.Empty(t, KindOf(err))

	// A child process.
	mark := filepath.Join(dir, "mark")
	_, err = g.Command(context.Background(), "pull", os.Args[0], "-test.run=^$", mark).Run()
	require.ErrorIs(t, err, ErrLocalOnly)
	require.Equal(t, fault.ExitRefused, fault.Code(err))

	require.Zero(t, hits.Load())
	entries, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Len(t, entries, 5)
	for _, e := range entries {
		require.Equal(t, StateRefused, e.State)
		require.Zero(t, e.Out)
	}
}

func TestWhatCannotBeListedDoesNotLeave(t *testing.T) {
	var hits atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer web.Close()
	dir := filepath.Join(t.TempDir(), "d")
	l, err := OpenLedger(filepath.Join(dir, "ledger.jsonl"))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	g := New(Options{Ledger: l})
	_, err = g.Client("pull").Get(web.URL)
	require.Error(t, err)
	require.Contains(t, fault.Hint(err), "does not leave")
	_, err = g.Command(context.Background(), "pull", os.Args[0], "-test.run=^$").Run()
	require.Error(t, err)
	require.Zero(t, hits.Load())
}

func TestLedgerListsEveryHop(t *testing.T) {
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Empty(t, r.Header.Get("Authorization"))
		io.WriteString(w, "model bytes")
	}))
	defer cdn.Close()
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(cdn.URL, "127.0.0.1", "localhost", 1)+"/blob?Signature=s3cret&Expires=1", http.StatusFound)
	}))
	defer hub.Close()
	l, err := OpenLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	require.NoError(t, err)
	g := New(Options{Ledger: l})
	defer g.Close()
	req, err := http.NewRequestWithContext(WithWhy(context.Background(), "crayon pull"), http.MethodGet, hub.URL+"/x", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+testKey)
	resp, err := g.Client("pull").Do(req)
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	entries, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Equal(t, "/x", entries[0].Path)
	require.Equal(t, 302, entries[0].Status)
	require.Equal(t, "/blob?Expires=*&Signature=*", entries[1].Path)
	require.Equal(t, int64(11), entries[1].In)
	require.Equal(t, "crayon pull", entries[1].Why)
	raw, err := os.ReadFile(l.Path())
	require.NoError(t, err)
	require.NotContains(t, string(raw), "s3cret")
	require.NotContains(t, string(raw), testKey)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(l.Path())
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestRedirectNeverFallsToHTTP(t *testing.T) {
	from, _ := http.NewRequest(http.MethodGet, "https://a/", nil)
	to, _ := http.NewRequest(http.MethodGet, "http://b/", nil)
	require.Error(t, checkRedirect(to, []*http.Request{from}))
	require.NoError(t, checkRedirect(from, []*http.Request{to}))
	require.Error(t, checkRedirect(from, make([]*http.Request, 10)))
}

func TestLedgerSurvivesHalfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l, err := OpenLedger(path)
	require.NoError(t, err)
	c, err := l.begin(Entry{Purpose: "chat", Kind: KindHTTP})
	require.NoError(t, err)
	require.NoError(t, c.end(Entry{Status: 200}))
	lost, err := l.begin(Entry{Purpose: "chat"})
	require.NoError(t, err)
	_ = lost // the process died before the end
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("garbage\n{\"id\":\"x\",\"state\":\"what\"}\n" + strings.Repeat("y", 3*maxLine) + "\n\n{\"id\":\"half")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	c, err = l.begin(Entry{Purpose: "pull"})
	require.NoError(t, err)
	require.NoError(t, c.end(Entry{Status: 404, Error: "cut"}))
	entries, skipped, err := ReadLedger(path, time.Time{})
	require.NoError(t, err)
	require.Equal(t, 4, skipped)
	require.Len(t, entries, 3)
	require.Equal(t, []string{StateEnded, StateBegun, StateEnded}, []string{entries[0].State, entries[1].State, entries[2].State})
	require.Equal(t, 404, entries[2].Status)
	entries, _, err = ReadLedger(path, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Empty(t, entries)
	entries, skipped, err = ReadLedger(path+"none", time.Time{})
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Zero(t, skipped)
}

// A home that is not there yet is made by the first call that leaves.
func TestLedgerMakesItsFolder(t *testing.T) {
	l := LedgerAt(filepath.Join(t.TempDir(), "new", "home", "ledger.jsonl"))
	c, err := l.begin(Entry{Purpose: "chat"})
	require.NoError(t, err)
	require.NoError(t, c.end(Entry{Status: 200}))
	entries, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// Several writers, each with its own Ledger as processes have, lose no line.
func TestLedgerManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	var wg sync.WaitGroup
	errs := make(chan error, 400)
	for w := range 8 {
		wg.Go(func() {
			l, err := OpenLedger(path)
			if err != nil {
				errs <- err
				return
			}
			for i := range 20 {
				c, err := l.begin(Entry{Purpose: fmt.Sprint(w, i)})
				if err == nil {
					err = c.end(Entry{Status: 200})
				}
				if err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	entries, skipped, err := ReadLedger(path, time.Time{})
	require.NoError(t, err)
	require.Zero(t, skipped)
	require.Len(t, entries, 160)
	for _, e := range entries {
		require.Equal(t, StateEnded, e.State)
	}
}

func FuzzLedger(f *testing.F) {
	f.Add([]byte("{\"id\":\"a\",\"state\":\"begun\"}\n{\"id\":\"a\",\"state\":\"ended\",\"status\":200}\n"))
	f.Add([]byte("{\"id\":\"a\",\"state\":\"ended\"}\nxx"))
	f.Add([]byte("\n\n{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, skipped, err := parseLedger(bytes.NewReader(data), time.Time{})
		require.NoError(t, err)
		require.LessOrEqual(t, len(entries)+skipped, bytes.Count(data, []byte("\n"))+1)
		for _, e := range entries {
			require.NotEmpty(t, e.ID)
			_, err := json.Marshal(e)
			require.NoError(t, err)
		}
	})
}

func TestCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs sh")
	}
	l, err := OpenLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	require.NoError(t, err)
	g := New(Options{Ledger: l})
	out, err := g.Command(context.Background(), "pull", "sh", "-c", "echo hello; echo there >&2").Run()
	require.NoError(t, err)
	require.Equal(t, "hello\nthere\n", out)

	_, err = g.Command(context.Background(), "pull", "sh", "-c", "echo 'ERROR: No matching thing'; echo tip; exit 3").Run()
	require.Error(t, err)
	require.Contains(t, err.Error(), "ERROR: No matching thing")
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit))

	_, err = g.Command(context.Background(), "pull", "no-such-program-here").Run()
	require.ErrorIs(t, err, exec.ErrNotFound)

	// A cancelled process is killed with its children.
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = g.Command(ctx, "pull", "sh", "-c", "sleep 30 & sleep 30; wait").Run()
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 3*time.Second)

	entries, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Len(t, entries, 3)
	require.Equal(t, KindProcess, entries[0].Kind)
	require.Equal(t, 3, entries[1].Status)
	require.Equal(t, "cancelled", entries[2].Error)
}
