package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/hybrid"
	"crayon/internal/server"
	"crayon/internal/store"
)

// The requests that are counted.
const (
	chatPath   = "/v1/chat/completions"
	chatTokens = 16
)

// chat counts what requests to the server take, without the network: their
// handler is called.
func (s *subject) chat(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "crayon-gate-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	shelf := store.OpenCustomisations(filepath.Join(dir, "customisations"))
	c, err := s.make(ctx, 0)
	if err != nil {
		return err
	}
	c.Labels = nil // so that the answers are free
	data, err := c.Marshal()
	if err != nil {
		return err
	}
	if err := shelf.Put(c.Name, data); err != nil {
		return err
	}
	srv, err := server.New(server.Options{
		Hybrid:         &hybrid.Hybrid{Device: s.device, LocalOnly: true, Policy: quiet},
		Customisations: shelf, ModelName: "tiny",
	})
	if err != nil {
		return err
	}
	handler := srv.Handler()
	for _, way := range []struct {
		name, what, model string
		stream            bool
	}{
		{"chat.base", "of a chat request of 16 tokens", "tiny", false},
		{"chat.blend", "of a chat request of 16 tokens to a customisation", "tiny+mine", false},
		{"chat.stream", "of a streamed chat request of 16 tokens", "tiny", true},
	} {
		u, err := least(func(_ int, begin func()) error {
			r := request{Model: way.model, Stream: way.stream, MaxTokens: chatTokens, Messages: []turn{{"user", s.question()}}}
			return r.send(ctx, handler, begin)
		})
		if err != nil {
			return err
		}
		s.addUsage(way.name, way.what, u, 1)
	}
	return s.second(ctx, handler)
}

// second counts the tokens that two turns of a conversation compute.
func (s *subject) second(ctx context.Context, handler http.Handler) error {
	first := []turn{{"user", strings.Repeat("the hat is on the hen and ", 12)}}
	all := append(first, turn{"assistant", "where is it?"}, turn{"user", "the hen is in the coop"})
	for _, way := range []struct{ name, what, model string }{
		{"chat.base", "", "tiny"},
		{"chat.blend", ", of a customisation", "tiny+mine"},
	} {
		start := s.device.Model.Computed()
		r := request{Model: way.model, MaxTokens: 1, Messages: first}
		if err := r.send(ctx, handler, func() {}); err != nil {
			return err
		}
		middle := s.device.Model.Computed()
		r.Messages = all
		if err := r.send(ctx, handler, func() {}); err != nil {
			return err
		}
		s.add(way.name+".first.tokens", "tokens computed for a chat request with an answer of one token"+way.what, middle-start, exact)
		s.add(way.name+".second.tokens", "tokens computed for the next turn of that conversation"+way.what, s.device.Model.Computed()-middle, exact)
	}
	return nil
}

// request is a chat request.
type request struct {
	Model     string `json:"model"`
	Stream    bool   `json:"stream"`
	MaxTokens int    `json:"max_tokens"`
	Messages  []turn `json:"messages"`
}

type turn struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// send lets the handler answer; begin is called before it.
func (r request) send(ctx context.Context, handler http.Handler, begin func()) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	req := httptest.NewRequestWithContext(ctx, "POST", "http://127.0.0.1"+chatPath, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	w.Body.Grow(64 << 10) // its growth is not the server's
	begin()
	handler.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		return &fault.Error{Op: "ask the server", Path: chatPath, Err: fmt.Errorf("status %d: %.200s", w.Code, w.Body)}
	}
	return nil
}
