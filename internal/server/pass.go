package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/upstream"
)

// beyond is a chat request that only the server LLM can answer.
func (s *Server) beyond(r *http.Request, req *chatRequest, data []byte, force route.Side, mode route.Mode) (b hybrid.Beyond, err error) {
	var q hybrid.Query
	if err := mark(&q, r, req); err != nil {
		return b, err
	}
	b = hybrid.Beyond{Needs: req.needs, Stream: req.Stream, Turns: len(req.Messages) - 1, Force: force, Mode: mode,
		Key: q.Key, Conversation: q.Conversation, Private: q.Private}
	// A slip in the name of a customisation whose queries never leave must not
	// let one out.
	if b.Custom, err = s.shelf.named(req.Model); err != nil {
		return b, err
	}
	if b.Body, err = upstream.Without(data, own...); err != nil {
		return b, &HTTPError{Status: http.StatusBadRequest, Message: "the request can't be passed on: " + err.Error(), Err: err}
	}
	if last := req.Messages[b.Turns]; said(last.Content) {
		b.Question, err = content(last.Content, "messages")
	}
	return b, err
}

// pass answers a chat that only the server LLM can, in its own words.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, req *chatRequest, data []byte, force route.Side, mode route.Mode) error {
	b, err := s.beyond(r, req, data, force, mode)
	if err != nil {
		return err
	}
	c := &passed{w: w}
	if b.Stream {
		c.events = newEvents(w)
	}
	a, err := s.opt.Hybrid.Pass(r.Context(), b, c)
	note := noteOf(r.Context())
	note.attrs = append(note.attrs, slog.String("model", req.Model), slog.Bool("stream", req.Stream))
	if d := a.Decision; d.Route != "" {
		note.attrs = append(note.attrs, slog.String("route", string(d.Route)), slog.String("reason", string(d.Reason)),
			slog.Int("prompt_tokens", a.PromptTokens), slog.Int("completion_tokens", a.CompletionTokens))
	}
	switch {
	case err != nil && c.events != nil:
		return c.events.fail(asClients(err))
	case err != nil:
		return asClients(err)
	case c.events != nil:
		return c.events.done()
	}
	return nil
}

// asClients makes the client's error of what a server has against the client's
// own request, so that it is not sent again and again.
func asClients(err error) error {
	var f *upstream.Failure
	if !errors.As(err, &f) {
		return err
	}
	code := string(f.Kind)
	switch {
	case f.Kind == upstream.TooLong:
		code = "context_length_exceeded"
	case f.Kind == upstream.Rejected && (f.Status == http.StatusBadRequest || f.Status == http.StatusRequestEntityTooLarge || f.Status == http.StatusUnprocessableEntity):
	default:
		return err
	}
	return &HTTPError{Status: http.StatusBadRequest, Code: code, Message: f.Error(), Err: err}
}

// passed is an answer of the server LLM on its way to one client, as it is.
type passed struct {
	w      http.ResponseWriter
	events *events // nil when not a stream
}

// Decided puts the decision into the response's headers.
func (p *passed) Decided(d route.Decision) error {
	setDecision(p.w, d)
	return nil
}

// Raw sends a chunk on, or the whole answer.
func (p *passed) Raw(data json.RawMessage) error {
	if p.events != nil {
		return p.events.write(oneLine(data))
	}
	p.w.Header().Set("Content-Type", "application/json")
	p.w.WriteHeader(http.StatusOK)
	_, err := p.w.Write(data)
	return left(err)
}

// oneLine is JSON on one line, as an event needs it; within a string there are
// no line ends.
func oneLine(data []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r"), []byte(" ")), []byte("\n"), []byte(" "))
}
