package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"time"
)

// guard lets a request pass that calls this host by one of its names, comes
// from no foreign web page, and has the key.
func (s *Server) guard(hosts func(string) bool, next http.Handler) http.Handler {
	return s.reply(func(w http.ResponseWriter, r *http.Request) error {
		if !hosts(r.Host) {
			return &HTTPError{Status: http.StatusForbidden, Code: "host_not_allowed", Message: fmt.Sprintf("this server is not called %q", clip(r.Host))}
		}
		// Reads are held to the rule for writes: no foreign page has any
		// business here.
		asWrite := *r
		asWrite.Method = http.MethodPost
		if err := s.origins.Check(&asWrite); err != nil {
			return &HTTPError{Status: http.StatusForbidden, Code: "origin_not_allowed", Message: "web pages from elsewhere may not ask this server", Err: err}
		}
		if origin := r.Header.Get("Origin"); slices.Contains(s.opt.AllowedOrigins, origin) {
			h := w.Header()
			h.Set("Access-Control-Allow-Origin", origin)
			h.Add("Vary", "Origin")
			h.Set("Access-Control-Expose-Headers", "*")
			if r.Method == http.MethodOptions {
				h.Set("Access-Control-Allow-Methods", "GET, POST")
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Crayon-Route, X-Crayon-Private, X-Crayon-Conversation, X-Request-Id")
				w.WriteHeader(http.StatusNoContent)
				return nil
			}
		}
		// Whether the server lives may be asked without the key; what it holds not.
		name, ok := s.client(r)
		if !ok && r.URL.Path != healthPath {
			w.Header().Set("WWW-Authenticate", "Bearer")
			return &HTTPError{Status: http.StatusUnauthorized, Code: "invalid_api_key", Message: "the key is missing or wrong: send it as Authorization: Bearer KEY"}
		}
		noteOf(r.Context()).client = name
		next.ServeHTTP(w, r)
		return nil
	})
}

// note is what the log line of a request says beside its address.
type note struct {
	client string // name of the key that was sent
	status int
	gone   bool
	err    error
	attrs  []slog.Attr
}

type noteKey struct{}

func noteOf(ctx context.Context) *note {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		return n
	}
	return &note{}
}

var saneID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe gives each request an id, logs it when it has ended, and keeps a
// panic from taking the process along.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("X-Request-Id")
		if !saneID.MatchString(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		n := &note{}
		r = r.WithContext(context.WithValue(r.Context(), noteKey{}, n))
		rec := &recorder{ResponseWriter: w, note: n}
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				begun := n.status != 0
				s.fail(rec, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
				if begun {
					p = http.ErrAbortHandler // the client must see that it is not whole
				} else {
					p = nil
				}
			}
			s.logRequest(r, id, n, time.Since(start))
			if p != nil {
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

func (s *Server) logRequest(r *http.Request, id string, n *note, took time.Duration) {
	level, status := slog.LevelInfo, n.status
	switch {
	case n.gone || errors.Is(n.err, context.Canceled):
		status = statusGone
	case n.status >= 500:
		level = slog.LevelError
	case n.err != nil:
		level = slog.LevelWarn
	}
	attrs := append([]slog.Attr{slog.String("id", id), slog.String("method", clip(r.Method)), slog.String("path", clip(r.URL.Path)),
		slog.Int("status", status), slog.Duration("took", took.Round(time.Microsecond))}, n.attrs...)
	if n.err != nil {
		attrs = append(attrs, slog.String("error", n.err.Error()))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// recorder notes the status of a response.
type recorder struct {
	http.ResponseWriter
	note *note
}

func (w *recorder) WriteHeader(status int) {
	if w.note.status == 0 {
		w.note.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.note.status == 0 {
		w.note.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
