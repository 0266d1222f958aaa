// Package fake is an OpenAI-compatible server in this process that answers, or
// fails, as a test tells it to.
package fake

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Model is the model that /v1/models lists.
const Model = "fake-large"

// Call is a request as the server sees it, with its decoded body.
type Call struct {
	Path   string
	Header http.Header
	Raw    string // the body
	Body   struct {
		Model     string
		Stream    bool
		MaxTokens int `json:"max_tokens"`
		Messages  []Message
	}

	server *Server
}

// Message is one of a chat; of content that is no text it has the JSON.
type Message struct{ Role, Content string }

// UnmarshalJSON takes content of every kind.
func (t *Message) UnmarshalJSON(data []byte) error {
	var m struct {
		Role    string
		Content json.RawMessage
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	t.Role = m.Role
	if json.Unmarshal(m.Content, &t.Content) != nil {
		t.Content = string(m.Content)
	}
	return nil
}

// Step is what the server does with one chat request. done is closed when the
// server closes.
type Step func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{})

// Server is the running fake.
type Server struct {
	URL string // base, with /v1

	http  *httptest.Server
	done  chan struct{}
	once  sync.Once
	mu    sync.Mutex
	steps []Step
	calls []Call

	billed int64
}

// New starts a server that does the steps in order, one a chat request, and
// then the last one for ever. Without steps it answers "ok". Close it.
func New(steps ...Step) *Server {
	s := &Server{steps: steps, done: make(chan struct{})}
	if len(s.steps) == 0 {
		s.steps = []Step{Answer("ok")}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, map[string]any{"object": "list", "data": []any{map[string]any{"id": Model, "object": "model"}}})
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(io.LimitReader(r.Body, 8<<20))
		c := Call{Path: r.URL.Path, Header: r.Header.Clone(), Raw: string(raw), server: s}
		if err := json.Unmarshal(raw, &c.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.calls = append(s.calls, c)
		step := s.steps[min(len(s.calls), len(s.steps))-1]
		s.mu.Unlock()
		step(w, r, c, s.done)
	})
	s.http = httptest.NewServer(mux)
	s.URL = s.http.URL + "/v1"
	return s
}

// Close ends the server and every answer under way.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.done)
		s.http.CloseClientConnections()
		s.http.Close()
	})
}

// Calls are the chat requests so far.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Billed is the tokens that the server would charge for: the prompt and what it
// said, of every answer that it began.
func (s *Server) Billed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.billed
}

// charge adds tokens to the bill of the server that a call came to.
func (c Call) charge(n int64) {
	if c.server != nil {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.server.billed += n
	}
}

// Answer gives text, whole or in a stream of words, as asked.
func Answer(text string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		words := pieces(text)
		c.charge(promptTokens + int64(len(words)))
		if !c.Body.Stream {
			writeJSON(w, completion(c, text))
			return
		}
		startStream(w)
		for _, p := range words {
			chunk(w, c, p, "")
		}
		chunk(w, c, "", "stop")
		usage(w, c, len(words))
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
}

// Fail answers with a status and an OpenAI error object of the message;
// retryAfter seconds are told when positive.
func Fail(status int, retryAfter float64, message string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.FormatFloat(retryAfter, 'f', -1, 64))
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": "fake"}})
	}
}

// Raw answers with any status, content type and body.
func Raw(status int, contentType, body string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// HTML answers 200 with a page, as a captive portal does.
func HTML() Step {
	return Raw(http.StatusOK, "text/html; charset=utf-8", "<!doctype html><title>Sign in</title>")
}

// HalfJSON answers 200 with a JSON text that ends in the middle.
func HalfJSON() Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		if c.Body.Stream {
			startStream(w)
			fmt.Fprint(w, "data: {\"id\":\"x\",\"choices\":[{\"ind\n\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"id":"x","choices":[{"index":0,"mess`)
	}
}

// Redirect answers 307 to another address.
func Redirect(to string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	}
}

// Slow waits before it does next, until the client or the server goes away.
func Slow(d time.Duration, next Step) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		if wait(r, done, d) {
			next(w, r, c, done)
		}
	}
}

// Drop breaks the connection before any response.
func Drop() Step {
	return func(http.ResponseWriter, *http.Request, Call, <-chan struct{}) { panic(http.ErrAbortHandler) }
}

// Cut streams the first n pieces of text and breaks the connection.
func Cut(text string, n int) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		begin(w, c, text, n)
		panic(http.ErrAbortHandler)
	}
}

// End streams the first n pieces and ends in good order, without a finish
// reason.
func End(text string, n int) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		begin(w, c, text, n)
	}
}

// Stall streams the first n pieces and then says nothing.
func Stall(text string, n int) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		begin(w, c, text, n)
		wait(r, done, time.Hour)
	}
}

// StreamError streams the first n pieces and then an error event.
func StreamError(text string, n int, message string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		begin(w, c, text, n)
		data, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message}})
		fmt.Fprintf(w, "data: %s\n\n", data)
	}
}

// Endless answers without an end.
func Endless() Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		if c.Body.Stream {
			startStream(w)
		} else {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"id":"`)
		}
		for r.Context().Err() == nil {
			select {
			case <-done:
				return
			default:
			}
			if !c.Body.Stream {
				if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
					return
				}
				continue
			}
			if chunk(w, c, strings.Repeat("word ", 100), "") != nil {
				return
			}
			if c.Body.MaxTokens == 0 {
				c.charge(100) // what it sends over what was asked for, nobody pays
			}
		}
	}
}

// Pieces streams pieces of text as they are given; whole, it is their sum.
func Pieces(all ...string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		c.charge(promptTokens + int64(len(all)))
		if !c.Body.Stream {
			writeJSON(w, completion(c, strings.Join(all, "")))
			return
		}
		startStream(w)
		for _, p := range all {
			chunk(w, c, p, "")
		}
		chunk(w, c, "", "stop")
		usage(w, c, len(all))
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
}

// WrongIDs answers text under ids and a model that change and are none that
// were asked for.
func WrongIDs(text string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		words := pieces(text)
		c.charge(promptTokens + int64(len(words)))
		c.Body.Model = "another-model"
		if !c.Body.Stream {
			answer := completion(c, text).(map[string]any)
			answer["id"], answer["object"] = 7, "text_completion"
			delete(answer, "id")
			writeJSON(w, answer)
			return
		}
		startStream(w)
		for i, p := range append(words, "") {
			finish := any(nil)
			if i == len(words) {
				finish = "stop"
			}
			data, _ := json.Marshal(map[string]any{"id": fmt.Sprint("id-", i), "object": "nothing", "model": c.Body.Model,
				"choices": []any{map[string]any{"index": 0, "delta": map[string]any{"content": p}, "finish_reason": finish}}})
			fmt.Fprintf(w, "data: %s\n\n", data)
			flush(w)
		}
		usage(w, c, len(words))
	}
}

// NoUsage answers without a word about tokens.
func NoUsage(text string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		words := pieces(text)
		c.charge(promptTokens + int64(len(words)))
		if !c.Body.Stream {
			answer := completion(c, text).(map[string]any)
			delete(answer, "usage")
			writeJSON(w, answer)
			return
		}
		startStream(w)
		for _, p := range words {
			chunk(w, c, p, "")
		}
		chunk(w, c, "", "stop")
	}
}

// ToolCall answers with tool calls, a JSON array.
func ToolCall(calls string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		c.charge(promptTokens + 5)
		message := map[string]any{"role": "assistant", "content": nil, "tool_calls": json.RawMessage(calls)}
		if !c.Body.Stream {
			answer := completion(c, "").(map[string]any)
			answer["choices"] = []any{map[string]any{"index": 0, "finish_reason": "tool_calls", "message": message}}
			writeJSON(w, answer)
			return
		}
		startStream(w)
		event(w, c, []any{map[string]any{"index": 0, "delta": message, "finish_reason": nil}}, nil)
		chunk(w, c, "", "tool_calls")
		usage(w, c, 5)
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
}

// Events streams data as they are given, an event each, and ends; with cut the
// connection breaks after them.
func Events(cut bool, data ...string) Step {
	return func(w http.ResponseWriter, r *http.Request, c Call, done <-chan struct{}) {
		startStream(w)
		for _, d := range data {
			fmt.Fprintf(w, "data: %s\n\n", d)
			flush(w)
		}
		if cut {
			panic(http.ErrAbortHandler)
		}
	}
}

func begin(w http.ResponseWriter, c Call, text string, n int) {
	if !c.Body.Stream {
		c.charge(promptTokens + int64(len(pieces(text))))
		data, _ := json.Marshal(completion(c, text))
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data[:len(data)/2])
		flush(w)
		return
	}
	startStream(w)
	all := pieces(text)
	c.charge(promptTokens + int64(min(n, len(all))))
	for _, p := range all[:min(n, len(all))] {
		chunk(w, c, p, "")
	}
}

func startStream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	flush(w)
}

func chunk(w http.ResponseWriter, c Call, text, finish string) error {
	delta := map[string]any{}
	if text != "" {
		delta["content"] = text
	}
	choice := map[string]any{"index": 0, "delta": delta, "finish_reason": nil}
	if finish != "" {
		choice["finish_reason"] = finish
	}
	return event(w, c, []any{choice}, nil)
}

func usage(w http.ResponseWriter, c Call, n int) {
	event(w, c, []any{}, counts(n))
}

func event(w http.ResponseWriter, c Call, choices []any, usage any) error {
	data, _ := json.Marshal(map[string]any{"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": c.Body.Model, "choices": choices, "usage": usage})
	_, err := fmt.Fprintf(w, "data: %s\n\n", data)
	flush(w)
	return err
}

func completion(c Call, text string) any {
	return map[string]any{"id": "chatcmpl-fake", "object": "chat.completion", "created": 1, "model": c.Body.Model, "usage": counts(len(pieces(text))),
		"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": text}}}}
}

// promptTokens is what every prompt comes to.
const promptTokens = 7

func counts(n int) any {
	return map[string]any{"prompt_tokens": promptTokens, "completion_tokens": n, "total_tokens": promptTokens + n}
}

// pieces are a text's words with the space before each.
func pieces(text string) []string {
	var out []string
	for i, w := range strings.Split(text, " ") {
		if i > 0 {
			w = " " + w
		}
		out = append(out, w)
	}
	return out
}

func wait(r *http.Request, done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
	case <-done:
	}
	return false
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
