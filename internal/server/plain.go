package server

import (
	"errors"
	"net/http"
	"strings"

	"crayon/internal/fault"
)

// Route is one path of a server of NewPlain. Answer's error becomes the
// response, if none was begun: an *HTTPError as it is, another as a plain 500.
type Route struct {
	Method, Path string // Path as http.ServeMux reads it
	Answer       func(w http.ResponseWriter, r *http.Request) error
}

// NewPlain is a server that answers routes and no model, behind the same door:
// names of this host, web pages, keys, the log, limits of time. /healthz needs no
// key. Of the options it takes the key, keys, hosts, origins and log; command is
// what its hints name.
func NewPlain(command string, o Options, routes ...Route) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	s.command, s.plain = command, routes
	return s, nil
}

// hinted is an error with hints about the command that runs.
func (s *Server) hinted(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		f.Hint = strings.ReplaceAll(f.Hint, "crayon serve", s.command)
	}
	return err
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) error { return writeJSON(w, status, v) }
