package hybrid

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"crayon/internal/fault"
	"crayon/internal/route"
	"crayon/internal/upstream"
)

// Beyond is a chat request that only the server LLM can answer: with tools, a form
// that the answer must have, several answers. It leaves as its client made it.
type Beyond struct {
	Body     json.RawMessage // the request, without the fields that are Crayon's own
	Needs    []string        // what of it the device LLM can't do, by name; at least one
	Stream   bool
	Custom   string // name of the customisation that was asked; "" the bare base model
	Question string // its last turn, for a log of texts
	Turns    int    // messages before that

	Force        route.Side
	Mode         route.Mode
	Key          string
	Conversation string
	Private      bool
}

// RawSink hears an answer as the server gives it: the decision once, before
// anything is asked, then the chunks of a stream one by one, or the whole answer.
type RawSink interface {
	Decided(route.Decision) error
	Raw(json.RawMessage) error
}

// Pass hands a request that is beyond the device on to the servers, through the
// gate as any query. There is no falling back: who can't ask a server is refused,
// and what the server does wrong is the answer's error.
func (h *Hybrid) Pass(ctx context.Context, b Beyond, sink RawSink) (Answer, error) {
	start := time.Now()
	h.count(b.Key)
	d, err := h.decideBeyond(b, true)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Decision: d}
	if err = sink.Decided(d); err == nil {
		err = h.pass(ctx, b, sink, &a)
	}
	a.Took = time.Since(start)
	h.keepBeyond(b, &a, start, err)
	return a, err
}

// ExplainBeyond decides without asking anyone.
func (h *Hybrid) ExplainBeyond(b Beyond) (route.Decision, error) { return h.decideBeyond(b, false) }

func (h *Hybrid) pass(ctx context.Context, b Beyond, sink RawSink, a *Answer) error {
	servers, req := upstream.Servers(h.Servers), h.beyond(b, string(route.BeyondDevice))
	note := func(r upstream.Reply) {
		a.Text, a.Finish, a.Model, a.FirstByte = r.Text, r.FinishReason, r.Model, r.FirstByte
		a.PromptTokens, a.CompletionTokens = int(r.Usage.Prompt), int(r.Usage.Completion)
	}
	if !b.Stream {
		r, err := servers.Complete(ctx, req)
		if err != nil {
			return err
		}
		note(r)
		return sink.Raw(r.Raw)
	}
	st, err := servers.Stream(ctx, req)
	if err != nil {
		return err
	}
	defer st.Close()
	defer func() { note(st.Reply()) }()
	for st.Next() {
		if err := sink.Raw(st.Raw()); err != nil {
			return err
		}
	}
	return st.Err()
}

// beyond is the request as the gate gets it, with the reason for the ledger.
func (h *Hybrid) beyond(b Beyond, why string) upstream.Request {
	return upstream.Request{Body: b.Body, Why: why, Key: b.Key, Conversation: b.Conversation, Private: b.Private || h.private(b.Custom)}
}

// decideBeyond decides by the settings and by what the gate says alone; list puts
// what stays for the gate's sake into the ledger.
func (h *Hybrid) decideBeyond(b Beyond, list bool) (route.Decision, error) {
	set := h.setting(b.Key, b.Mode, b.Force)
	var held error
	if !h.LocalOnly && len(h.Servers) > 0 {
		// Asked also where the mode keeps it here: what comes after it in a
		// conversation is then known to follow something private.
		held = upstream.Servers(h.Servers).Screen(h.beyond(b, ""))
		set.Barrier = barrierOf(held)
	}
	d, err := route.DecideBeyond(b.Needs, set)
	var u *route.UnreachableError
	if !errors.As(err, &u) {
		return d, err
	}
	switch u.Reason {
	case route.Forced:
		return d, &fault.Error{Op: "route", Err: err, Hint: h.unforce(b), Exit: fault.ExitRefused}
	case route.Private, route.OverBudget:
		u.Cause = plainly(held)
		if list {
			upstream.Servers(h.Servers).Refused(h.beyond(b, string(u.Reason)), held)
		}
	}
	return d, unreachable(err)
}

// unforce is what lets a request leave that is for the device alone.
func (h *Hybrid) unforce(b Beyond) string {
	switch {
	case b.Force == route.Device, b.Mode == route.DeviceOnly:
		return "leave out " + route.HeaderRoute
	case h.Policy.KeyModes[b.Key] != "":
		return "set route.key_modes: " + b.Key + "=auto"
	}
	return "export CRAYON_ROUTE_MODE=auto"
}

// plainly is a barrier in its own words.
func plainly(err error) string {
	var private *upstream.Private
	var over *upstream.OverBudget
	switch {
	case errors.As(err, &private):
		return private.Error()
	case errors.As(err, &over):
		return over.Error()
	}
	return ""
}

// keepBeyond logs and counts a request that was decided. Of the answer nothing is
// kept: it is no example of what the device could learn.
func (h *Hybrid) keepBeyond(b Beyond, a *Answer, start time.Time, err error) {
	e := logged(a, start, err)
	e.Name, e.Digest, e.Turns, e.Undrafted = b.Custom, key(sha256.Sum256(b.Body)).String(), b.Turns, true
	if h.Policy.Log == LogText && barrierOf(err) == "" {
		e.Query = b.Question
	}
	h.counts.decided(e)
	if h.Records != nil {
		h.list(e)
	}
}
