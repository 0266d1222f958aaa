package server

import (
	"net/http"
	"strconv"
	"time"

	"crayon/internal/upstream"
)

const ledgerPath = "/api/ledger"

// The most entries that one answer lists, and how many without a word about it.
const (
	maxEntries     = 1000
	defaultEntries = 100
)

// ledger lists what left, the newest last: ?since=TIME (RFC 3339), ?server=HOST,
// ?last=N.
func (s *Server) ledger(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	var since time.Time
	var err error
	if v := query.Get("since"); v != "" {
		if since, err = time.Parse(time.RFC3339, v); err != nil {
			return badField("since", "since is %q; want a time as 2026-11-22T10:00:00Z", clip(v))
		}
	}
	last := defaultEntries
	if v := query.Get("last"); v != "" {
		if last, err = strconv.Atoi(v); err != nil || last < 1 || last > maxEntries {
			return badField("last", "last is %q; want a number from 1 to %d", clip(v), maxEntries)
		}
	}
	all, err := s.opt.Ledger.Entries(since)
	if err != nil {
		return err
	}
	entries := []upstream.Entry{}
	for _, e := range all {
		if host := query.Get("server"); host == "" || host == e.Host {
			entries = append(entries, e)
		}
	}
	total := len(entries)
	if total > last {
		entries = entries[total-last:]
	}
	budget, err := s.opt.Budget.Status()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": entries, "total": total, "budget": budget, "servers": upstream.Servers(s.opt.Hybrid.Servers).Health()})
}
