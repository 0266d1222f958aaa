package hybrid

import (
	"context"
	"errors"
	"slices"

	"crayon/internal/route"
	"crayon/internal/upstream"
)

// What happens to a query that should leave when the budget has no room.
const (
	OverBudgetDevice = "device" // the device answers, marked degraded
	OverBudgetRefuse = "refuse" // an error: exit status 4, HTTP 429
)

// count notes a query for the share that may leave. A budget that can't be
// written lets nothing leave, so what it misses harms no limit.
func (h *Hybrid) count(key string) { _ = upstream.Servers(h.Servers).Count(key) }

// private says whether the queries of a customisation never leave.
func (h *Hybrid) private(custom string) bool { return slices.Contains(h.Policy.Private, custom) }

// screen asks the gate whether the query may leave, also one that will stay:
// the rest of its conversation is then known to be private. What it says stands
// in the way of the decision.
func (w *work) screen() {
	if w.h.LocalOnly || len(w.h.Servers) == 0 {
		return
	}
	err := upstream.Servers(w.h.Servers).Screen(w.request(""))
	if reason := barrierOf(err); reason != "" {
		w.setting.Barrier, w.barrier = reason, err
	}
}

// barrierOf is what keeps a query here by an error of the gate; "" for the
// server's own failures.
func barrierOf(err error) route.Reason {
	var private *upstream.Private
	var over *upstream.OverBudget
	switch {
	case errors.As(err, &private):
		return route.Private
	case errors.As(err, &over):
		return route.OverBudget
	}
	return ""
}

// barred completes a decision that a barrier turned, or refuses it.
func (w *work) barred(d route.Decision) (route.Decision, error) {
	if w.barrier == nil || d.Reason != w.setting.Barrier {
		return d, nil
	}
	d.Cause = w.barrier.Error()
	upstream.Servers(w.h.Servers).Refused(w.request(string(d.Reason)), w.barrier)
	if d.Reason == route.OverBudget && w.h.Policy.OverBudget == OverBudgetRefuse {
		return d, w.barrier
	}
	return d, nil
}

// fallback is the decision after no server gave a first byte, or the gate let
// nothing out.
func (w *work) fallback(d route.Decision, err error) (route.Decision, error) {
	d = d.Fallback()
	if reason := barrierOf(err); reason != "" {
		d.Reason = reason
		if reason == route.OverBudget && w.h.Policy.OverBudget == OverBudgetRefuse {
			return d, err
		}
	}
	d.Cause = err.Error()
	return d, nil
}

// stream asks the servers in turn until one says its first byte. Each try is in
// the ledger.
func (w *work) stream(ctx context.Context, req upstream.Request) (*upstream.Stream, error) {
	return upstream.Servers(w.h.Servers).Stream(ctx, req)
}
