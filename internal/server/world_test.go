package server

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/stretchr/testify/require"

	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/store"
	"crayon/internal/testmodel/tinydevice"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

const (
	base   = "tiny"
	never  = float32(-1)
	always = float32(2) // a threshold that nothing reaches
)

// world is a server over the tiny model, with customisations "mine" (free
// answers) and "desk" (labels), and a fake server LLM behind it.
type world struct {
	t      *testing.T
	hybrid *hybrid.Hybrid
	shelf  *store.Customisations
	fake   *fake.Server
	server *Server
	http   *httptest.Server
	log    *safeBuffer
	client openai.Client
}

// safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newWorld(t *testing.T, change func(*Options), steps ...fake.Step) *world {
	t.Helper()
	w := &world{t: t, fake: fake.New(steps...), log: &safeBuffer{}}
	t.Cleanup(w.fake.Close)
	d := tinydevice.Open(t)
	ledger, err := upstream.OpenLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	require.NoError(t, err)
	gate := upstream.New(upstream.Options{Ledger: ledger})
	t.Cleanup(gate.Close)
	large, err := upstream.NewServer(gate, upstream.ServerOptions{URL: w.fake.URL, Retries: -1, Timeout: 5 * time.Second, Idle: time.Second})
	require.NoError(t, err)
	w.hybrid = &hybrid.Hybrid{Device: d, Servers: []*upstream.Server{large}, Policy: hybrid.Policy{ScopeUser: never, ScopePool: never, Confidence: never}}
	w.shelf = store.OpenCustomisations(filepath.Join(t.TempDir(), "customisations"))
	w.put("mine")
	w.put("desk", "brakes", "gears", "wheels")

	o := Options{Hybrid: w.hybrid, Customisations: w.shelf, ModelName: base, Log: slog.New(slog.NewJSONHandler(w.log, nil))}
	if change != nil {
		change(&o)
	}
	w.server, err = New(o)
	require.NoError(t, err)
	w.http = httptest.NewServer(w.server.Handler())
	t.Cleanup(w.http.Close)
	key := o.Key
	if key == "" {
		key = "none"
	}
	w.client = openai.NewClient(option.WithBaseURL(w.http.URL+"/v1/"), option.WithAPIKey(key), option.WithMaxRetries(0))
	return w
}

// put makes and stores a customisation; the number of its examples tells it
// from another of the name.
func (w *world) put(name string, labels ...string) *customize.Customisation {
	w.t.Helper()
	return w.putOf(name, 5, labels...)
}

func (w *world) putOf(name string, n int, labels ...string) *customize.Customisation {
	w.t.Helper()
	questions := []string{"my brake squeals", "the chain skips", "a spoke broke", "the bell is quiet", "the lamp is dim", "9 x 7 is what?"}
	set := &examples.Set{Labels: labels, Source: "test"}
	for i, q := range questions[:n] {
		e := examples.Example{Question: q, Answer: "bring it in", Labelled: true}
		if labels != nil {
			e.Answer = labels[i%len(labels)]
		}
		set.Examples = append(set.Examples, e)
	}
	c, err := customize.Make(w.t.Context(), w.hybrid.Device, name, set, customize.Options{})
	require.NoError(w.t, err)
	data, err := c.Marshal()
	require.NoError(w.t, err)
	require.NoError(w.t, w.shelf.Put(name, data))
	return c
}

// policy sends what is below the thresholds to the server.
func (w *world) policy(scope, confidence float32) {
	w.hybrid.Policy.ScopeUser, w.hybrid.Policy.Confidence = scope, confidence
}

type response struct {
	status int
	header http.Header
	body   string
}

// error is the OpenAI error object of a response.
func (r response) error(t *testing.T) (message, kind, param, code string) {
	t.Helper()
	var e struct {
		Error struct{ Message, Type, Param, Code string }
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &e), r.body)
	require.NotEmpty(t, e.Error.Message, r.body)
	return e.Error.Message, e.Error.Type, e.Error.Param, e.Error.Code
}

// send asks with headers given as name, value, ...
func (w *world) send(method, path, body string, headers ...string) response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.http.URL+path, strings.NewReader(body))
	require.NoError(w.t, err)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(w.t, err)
	return response{res.StatusCode, res.Header, string(data)}
}

func (w *world) post(path, body string, headers ...string) response {
	w.t.Helper()
	return w.send("POST", path, body, headers...)
}

const chatPath = "/v1/chat/completions"

func ask(model, text string, more string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"` + text + `"}],"max_tokens":40` + more + `}`
}

// alone is the device's own greedy answer to one question.
func (w *world) alone(c *customize.Customisation, text string, most int) device.Result {
	w.t.Helper()
	q := hybrid.Query{Custom: c, MaxTokens: most, Force: route.Device}
	q.Messages = append(q.Messages, chatMessageOf(text))
	a, err := w.hybrid.Answer(w.t.Context(), q, quiet{})
	require.NoError(w.t, err)
	return device.Result{Text: a.Text, Tokens: a.CompletionTokens, PromptTokens: a.PromptTokens, Finish: a.Finish}
}

type quiet struct{}

func (quiet) Decided(route.Decision) error { return nil }
func (quiet) Text(string) error            { return nil }
