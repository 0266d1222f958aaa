package upstream

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crayon/internal/fault"
	"crayon/internal/upstream/fake"

	"github.com/stretchr/testify/require"
)

const testKey = "sk-test-5f0c2a77"

func testServer(t *testing.T, o ServerOptions, steps ...fake.Step) (*fake.Server, *Server, *Ledger) {
	t.Helper()
	f := fake.New(steps...)
	t.Cleanup(f.Close)
	l, err := OpenLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	require.NoError(t, err)
	g := New(Options{Ledger: l})
	t.Cleanup(g.Close)
	o.URL, o.Key = f.URL, testKey
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	s, err := NewServer(g, o)
	require.NoError(t, err)
	return f, s, l
}

var ask = Request{Messages: []Message{{"system", "be brief"}, {"user", "why is the sky blue?"}}, MaxTokens: 16, Why: "out-of-scope"}

func TestCompleteAndStreamAnswer(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-environment")
	t.Setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
	t.Setenv("OPENAI_ORG_ID", "org-environment")
	f, s, l := testServer(t, ServerOptions{}, fake.Answer("light scatters in the air"))
	r, err := s.Complete(context.Background(), ask)
	require.NoError(t, err)
	require.Equal(t, "light scatters in the air", r.Text)
	require.Equal(t, "stop", r.FinishReason)
	require.Equal(t, Usage{7, 5, 12}, r.Usage)
	require.Equal(t, 1, r.Attempts)

	st, err := s.Stream(context.Background(), ask)
	require.NoError(t, err)
	defer st.Close()
	var got []string
	for st.Next() {
		got = append(got, st.Delta())
	}
	require.NoError(t, st.Err())
	require.Equal(t, []string{"light", " scatters", " in", " the", " air"}, got)
	require.Equal(t, "light scatters in the air", st.Reply().Text)
	require.Equal(t, Usage{7, 5, 12}, st.Reply().Usage)
	require.Equal(t, "stop", st.Reply().FinishReason)

	for _, c := range f.Calls() {
		require.Equal(t, "Bearer "+testKey, c.Header.Get("Authorization"))
		require.Equal(t, fake.Model, c.Body.Model, "no model set: the server's first")
		require.Equal(t, 16, c.Body.MaxTokens)
		require.Len(t, c.Body.Messages, 2)
		require.NotContains(t, c.Raw, "environment")
		for name, v := range c.Header {
			require.False(t, strings.HasPrefix(name, "X-Stainless"), name)
			require.NotContains(t, strings.Join(v, " "), "environment")
		}
	}
	entries, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Len(t, entries, 3, "models, complete, stream")
	for i, e := range entries[1:] {
		require.Equal(t, StateEnded, e.State)
		require.Equal(t, "out-of-scope", e.Why)
		require.Equal(t, "chat", e.Purpose)
		require.Equal(t, 200, e.Status)
		require.Equal(t, int64(len(f.Calls()[i].Raw)), e.Out)
		require.Greater(t, e.In, int64(20))
		require.Len(t, e.OutSHA256, 64)
		require.Len(t, e.InSHA256, 64)
	}
}

// Each fault has one kind, whole and streamed, and no error shows the key.
func TestFaults(t *testing.T) {
	leak := "Incorrect API key provided: " + testKey + "\x1b[31m\nplease"
	for _, c := range []struct {
		name          string
		step          fake.Step
		whole, stream FailureKind
		calls         int // to the server; retries included
	}{
		{"html", fake.HTML(), Nonsense, Nonsense, 1},
		{"half json", fake.HalfJSON(), Nonsense, Nonsense, 1},
		{"plain json array", fake.Raw(200, "application/json", "[1,2]"), Nonsense, Nonsense, 1},
		{"no choices", fake.Raw(200, "application/json", `{"choices":[]}`), Nonsense, Nonsense, 1},
		{"wrong key", fake.Fail(401, 0, leak), Unauthorized, Unauthorized, 1},
		{"bad request", fake.Fail(400, 0, leak), Rejected, Rejected, 1},
		{"html 404", fake.Raw(404, "text/html", "<h1>no "+testKey+"</h1>"), Rejected, Rejected, 1},
		{"redirect", fake.Redirect("http://127.0.0.1:1/x?k=" + testKey), Rejected, Rejected, 1},
		{"500", fake.Fail(500, 0, leak), Overloaded, Overloaded, 2},
		{"503 html", fake.Raw(503, "text/html", "<h1>down</h1>"), Overloaded, Overloaded, 2},
		{"429", fake.Fail(429, 0.01, leak), RateLimited, RateLimited, 2},
		{"429 for an hour", fake.Fail(429, 3600, leak), RateLimited, RateLimited, 1},
		{"drop", fake.Drop(), Dead, Dead, 2},
		{"cut before text", fake.Cut("a b c", 0), Cut, Cut, 1},
		{"slow", fake.Slow(time.Hour, fake.HTML()), Slow, Slow, 1},
		{"stall before text", fake.Stall("a b c", 0), Slow, Slow, 1},
		{"error event", fake.StreamError("a", 0, leak), Cut, Overloaded, -1},
		{"endless", fake.Endless(), TooLarge, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opt := ServerOptions{Model: "m", Retries: 1, Timeout: 500 * time.Millisecond, MaxBody: 256 << 10, MaxWait: 50 * time.Millisecond}
			check := func(f *fake.Server, want FailureKind, err error) {
				t.Helper()
				require.Error(t, err)
				require.Equal(t, want, KindOf(err), "%v", err)
				require.NotContains(t, err.Error(), testKey)
				require.NotContains(t, err.Error(), "\x1b")
				require.NotContains(t, err.Error(), "\n")
				require.Equal(t, fault.ExitFailed, fault.Code(err))
				if c.calls >= 0 {
					require.Len(t, f.Calls(), c.calls)
				}
			}
			f, s, l := testServer(t, opt, c.step)
			_, err := s.Complete(context.Background(), ask)
			check(f, c.whole, err)
			entries, err := l.Entries(time.Time{})
			require.NoError(t, err)
			require.Len(t, entries, len(f.Calls()), "every attempt is listed")
			for _, e := range entries {
				require.Equal(t, StateEnded, e.State)
			}

			if c.stream == "" {
				return
			}
			f, s, _ = testServer(t, opt, c.step)
			_, err = s.Stream(context.Background(), ask)
			check(f, c.stream, err)
		})
	}
}

func TestStreamThatBreaksIsCut(t *testing.T) {
	for name, step := range map[string]fake.Step{
		"connection":  fake.Cut("one two three four", 2),
		"good order":  fake.End("one two three four", 2),
		"stall":       fake.Stall("one two three four", 2),
		"half json":   func() fake.Step { return cutJSON }(),
		"endless":     fake.Endless(),
		"error event": fake.StreamError("one two three", 2, "the "+testKey+" broke"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, s, l := testServer(t, ServerOptions{Model: "m", Idle: 200 * time.Millisecond, MaxBody: 64 << 10}, step)
			st, err := s.Stream(context.Background(), ask)
			require.NoError(t, err)
			defer st.Close()
			n := 0
			for st.Next() {
				n++
			}
			require.GreaterOrEqual(t, n, 2)
			require.Error(t, st.Err())
			want := map[string]FailureKind{"endless": TooLarge, "error event": Overloaded}[name]
			if want == "" {
				want = Cut
			}
			require.Equal(t, want, KindOf(st.Err()), "%v", st.Err())
			require.NotContains(t, st.Err().Error(), testKey)
			require.False(t, st.Next())
			require.Contains(t, st.Reply().Text, map[bool]string{true: "word", false: "one two"}[name == "endless"])
			st.Close()
			entries, err := l.Entries(time.Time{})
			require.NoError(t, err)
			require.Equal(t, StateEnded, entries[0].State)
		})
	}
}

func TestRetryThenAnswer(t *testing.T) {
	f, s, _ := testServer(t, ServerOptions{Model: "m", MaxWait: time.Second}, fake.Fail(429, 0.2, "wait"), fake.Drop(), fake.Answer("at last"))
	start := time.Now()
	st, err := s.Stream(context.Background(), ask)
	require.NoError(t, err)
	defer st.Close()
	require.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond, "Retry-After is waited for")
	for st.Next() {
	}
	require.NoError(t, st.Err())
	require.Equal(t, "at last", st.Reply().Text)
	require.Equal(t, 3, st.Reply().Attempts)
	require.Len(t, f.Calls(), 3)
}

func TestEmptyAnswerIsAnAnswer(t *testing.T) {
	_, s, _ := testServer(t, ServerOptions{Model: "m"}, fake.Answer(""))
	st, err := s.Stream(context.Background(), ask)
	require.NoError(t, err)
	defer st.Close()
	require.False(t, st.Next())
	require.NoError(t, st.Err())
	require.Equal(t, "stop", st.Reply().FinishReason)
}

func TestCancelIsTheCallers(t *testing.T) {
	_, s, l := testServer(t, ServerOptions{Model: "m"}, fake.Stall("a b c", 1))
	ctx, cancel := context.WithCancel(context.Background())
	st, err := s.Stream(ctx, ask)
	require.NoError(t, err)
	require.True(t, st.Next())
	cancel()
	require.False(t, st.Next())
	require.ErrorIs(t, st.Err(), context.Canceled)
	require.Empty(t, KindOf(st.Err()))
	st.Close()
	entries, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Equal(t, StateEnded, entries[0].State)
}

func TestClosedEarlyEndsTheCall(t *testing.T) {
	_, s, l := testServer(t, ServerOptions{Model: "m"}, fake.Stall("a b c", 2))
	st, err := s.Stream(context.Background(), ask)
	require.NoError(t, err)
	require.NoError(t, st.Close())
	require.False(t, st.Next())
	entries, err := l.Entries(time.Time{})
	require.NoError(t, err)
	require.Equal(t, StateEnded, entries[0].State)
	require.NotEmpty(t, entries[0].In)
}

func TestDeadServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	ln.Close()
	g := New(Options{})
	s, err := NewServer(g, ServerOptions{URL: "http://" + addr, Model: "m", Retries: -1})
	require.NoError(t, err)
	_, err = s.Complete(context.Background(), ask)
	require.Equal(t, Dead, KindOf(err))
	require.Contains(t, err.Error(), "connection refused")
	require.Contains(t, fault.Hint(err), "CRAYON_SERVER_URL")
}

func TestServerAddresses(t *testing.T) {
	g := New(Options{})
	for in, want := range map[string]string{
		"http://h:1":                         "http://h:1/v1",
		"https://h/":                         "https://h/v1",
		"https://h/api/v3":                   "https://h/api/v3",
		"https://h/v1/chat/completions":      "https://h/v1",
		"ftp://h":                            "",
		"":                                   "",
		"h:80":                               "",
		"http://":                            "",
		"http://u:" + testKey + "@h/v1":      "",
		"http://h/v1?api_key=" + testKey:     "",
		"http://h/\x7f" + testKey + "%zz/v1": "",
	} {
		s, err := NewServer(g, ServerOptions{URL: in})
		if want != "" {
			require.NoError(t, err, in)
			require.Equal(t, want, s.URL())
			continue
		}
		require.Error(t, err, in)
		require.NotContains(t, err.Error(), testKey)
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
	_, err := NewServer(g, ServerOptions{URL: "http://h", Key: testKey + "\n"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), testKey)
}

func TestBadRequestsNeverLeave(t *testing.T) {
	f, s, _ := testServer(t, ServerOptions{Model: "m"})
	for _, r := range []Request{{}, {Messages: []Message{{"tool", "x"}}}} {
		_, err := s.Complete(context.Background(), r)
		require.Equal(t, fault.ExitUsage, fault.Code(err))
		_, err = s.Stream(context.Background(), r)
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
	require.Empty(t, f.Calls())
}

func TestClean(t *testing.T) {
	require.Equal(t, "a b c", clean(" a\r\n\tb\x1b\x00 c ", 10))
	require.Equal(t, "abc...", clean("abcdef", 3))
	require.Equal(t, "", clean("\x1b\n", 3))
}

func TestErrorsUnwrap(t *testing.T) {
	_, s, _ := testServer(t, ServerOptions{Model: "m", Retries: -1}, fake.Fail(429, 7, "later"))
	_, err := s.Complete(context.Background(), ask)
	var f *Failure
	require.True(t, errors.As(err, &f))
	require.Equal(t, 7*time.Second, f.RetryAfter)
	require.Equal(t, 429, f.Status)
}

// TestKeyOfSeveralHosts: a key goes to the places that name it and to no other.
func TestKeyOfSeveralHosts(t *testing.T) {
	const key = "sk-of-one-operator"
	gate := New(Options{})
	defer gate.Close()
	var all []*fake.Server
	var options []ServerOptions
	for _, k := range []string{key, "", key} {
		f := fake.New()
		defer f.Close()
		all = append(all, f)
		options = append(options, ServerOptions{URL: f.URL, Key: k, Model: "m"})
	}
	servers, err := NewServers(gate, options)
	require.NoError(t, err)
	for i, want := range []string{"Bearer " + key, "", "Bearer " + key} {
		_, err := servers[i].Complete(context.Background(), ask)
		require.NoError(t, err)
		require.Equal(t, want, all[i].Calls()[0].Header.Get("Authorization"))
	}
}
