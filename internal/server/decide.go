package server

import (
	"net/http"

	"crayon/internal/hybrid"
	"crayon/internal/route"
)

// decided is the answer of /api/route/decide.
type decided struct {
	Decision route.Decision `json:"decision"`
	Final    bool           `json:"final"` // false: told before the draft, which could change it
}

// decide says who would answer a chat request and why, with every number; nothing
// is sent and nothing is logged. With ?draft=0 no token is drafted.
func (s *Server) decide(w http.ResponseWriter, r *http.Request) error {
	force, mode, err := sideOf(r)
	if err != nil {
		return err
	}
	draft := true
	switch v := r.URL.Query().Get("draft"); v {
	case "", "1", "true":
	case "0", "false":
		draft = false
	default:
		return badField("draft", "draft is %q; want 0 or 1", clip(v))
	}
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	req, msgs, err := parseChat(data)
	if err != nil {
		return err
	}
	ctx := r.Context()
	if req.needs != nil {
		b, err := s.beyond(r, req, data, force, mode)
		if err != nil {
			return err
		}
		d, err := s.opt.Hybrid.ExplainBeyond(b)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, decided{Decision: d, Final: true})
	}
	if err := s.answers.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.answers.Release(1)
	q := hybrid.Query{Messages: msgs, Choices: req.choices, Force: force, Mode: mode, Stop: req.Stop}
	if q.Custom, err = s.shelf.find(ctx, req.Model); err != nil {
		return err
	}
	if err := mark(&q, r, req); err != nil {
		return err
	}
	if q.Sampling, err = req.sampling(); err != nil {
		return err
	}
	out := decided{Final: true}
	if draft {
		out.Decision, err = s.opt.Hybrid.Explain(ctx, q)
	} else {
		out.Decision, out.Final, err = s.opt.Hybrid.ExplainEarly(ctx, q)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

// sideOf reads the request header x-crayon-route: a side, or a mode.
func sideOf(r *http.Request) (route.Side, route.Mode, error) {
	side, mode, err := route.ParseRequest(r.Header.Get(route.HeaderRoute))
	if err != nil {
		return "", "", &HTTPError{Status: http.StatusBadRequest, Param: route.HeaderRoute, Message: clip(err.Error())}
	}
	return side, mode, nil
}

// metrics are those of routing, in the text format of Prometheus.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	return s.opt.Hybrid.WriteMetrics(w)
}
