package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/privacy"
)

// Servers are several servers behind one gate, the first choice first.
type Servers []*Server

// NewServers checks the options of several servers, in order of preference. A
// key goes to the address in its own place alone; several places may name the
// same one.
func NewServers(g *Gate, all []ServerOptions) (Servers, error) {
	var servers Servers
	for _, o := range all {
		s, err := NewServer(g, o)
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// Count notes a query, whoever answers it: the share of queries that leave is
// held to these. Call it once a query, before Stream or Complete.
func (ss Servers) Count(key string) error {
	if len(ss) == 0 {
		return nil
	}
	return ss[0].gate.budget.Count(key)
}

// Screen says why a request could not leave now, by the error that Stream would
// fail with: *Private, *OverBudget, or a *Failure of kind Rests or TooLong.
// Nothing leaves and nothing is reserved; a conversation found private stays so
// from here on. It is to be asked of every query, also of those that the device
// will answer, so that the conversation's later turns are known to be private.
func (ss Servers) Screen(r Request) error {
	var last error
	for i, s := range ss {
		if i == 0 {
			if _, _, err := s.clear(r); err != nil {
				return err
			}
		}
		if last = s.able(r, true); last == nil {
			return nil
		}
	}
	return last
}

// Refused lists a request that should have left, and stayed for what Screen
// said.
func (ss Servers) Refused(r Request, why error) {
	if len(ss) > 0 {
		// Nothing leaves, so a ledger that can't be written holds nothing up.
		_ = ss[0].gate.refuse(ss[0].entry(r), why)
	}
}

// Stream asks the servers in turn until one says its first piece. What is
// private, or no server can be asked for, is refused before anything leaves.
func (ss Servers) Stream(ctx context.Context, r Request) (*Stream, error) {
	return inTurn(ctx, ss, func(ctx context.Context, s *Server) (*Stream, error) { return s.Stream(ctx, r) })
}

// Complete asks the servers in turn until one answers.
func (ss Servers) Complete(ctx context.Context, r Request) (Reply, error) {
	return inTurn(ctx, ss, func(ctx context.Context, s *Server) (Reply, error) { return s.Complete(ctx, r) })
}

func inTurn[T any](ctx context.Context, ss Servers, ask func(context.Context, *Server) (T, error)) (T, error) {
	var none T
	var tried []string
	ctx = withSent(ctx)
	for i, s := range ss {
		got, err := ask(ctx, s)
		var p *Private
		switch {
		case err == nil:
			return got, nil
		case len(ss) == 1, ctx.Err() != nil, errors.As(err, &p), errors.Is(err, ErrLocalOnly):
			return none, err
		}
		tried = append(tried, s.URL()+" ("+kindName(err)+")")
		if i+1 == len(ss) {
			return none, &fault.Error{Op: "ask servers", Path: strings.Join(tried, ", then "), Err: err}
		}
	}
	return none, &fault.Error{Op: "ask servers", Err: errors.New("none is set"), Exit: fault.ExitRefused}
}

func kindName(err error) string {
	var o *OverBudget
	switch k := KindOf(err); {
	case k != "":
		return string(k)
	case errors.As(err, &o):
		return "over-budget"
	}
	return "refused"
}

// ServerHealth is how a server has done of late.
type ServerHealth struct {
	URL    string `json:"url"`
	Health Health `json:"health"`
	Last   string `json:"last,omitempty"` // its last failure, if it failed since it last answered
}

// Health of each server, as this process knows it.
func (ss Servers) Health() []ServerHealth {
	var out []ServerHealth
	for _, s := range ss {
		h, last := s.breaker.health()
		out = append(out, ServerHealth{s.URL(), h, last})
	}
	return out
}

type sentKey struct{}

// withSent marks the calls under ctx as those of one query.
func withSent(ctx context.Context) context.Context {
	if _, ok := ctx.Value(sentKey{}).(*sent); ok {
		return ctx
	}
	return context.WithValue(ctx, sentKey{}, &sent{})
}

// first says whether nothing left for the query of ctx yet.
func first(ctx context.Context) bool {
	x, ok := ctx.Value(sentKey{}).(*sent)
	if !ok {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.done
}

// caller is what the gate is told of a request's calls.
func (s *Server) caller(ctx context.Context, r Request) context.Context {
	ctx = withSent(ctx)
	c := &caller{key: r.Key, conversation: r.Conversation, private: r.Private, sent: ctx.Value(sentKey{}).(*sent)}
	if s.opt.Price != nil {
		c.price = *s.opt.Price
	}
	return withCaller(ctx, c)
}

// clear is the request as it may leave: as it is, with placeholders for what is
// private if the settings say so, or not at all.
func (s *Server) clear(r Request) (Request, *privacy.Undo, error) {
	g := s.gate
	c := &caller{conversation: r.Conversation, private: r.Private}
	// A body with tools is never redacted: a call's arguments must be true.
	if g.privacy.Redacts() && !r.Private && r.Body == nil {
		parts, undo, err := g.privacy.Redact(r.parts())
		tainted, terr := g.taint.has(r.Conversation)
		if err == nil && terr == nil && !tainted {
			if undo != nil {
				r.Messages = append([]Message(nil), r.Messages...)
				for i := range r.Messages {
					r.Messages[i].Content = parts[i].Text
				}
				r.Stop = nil
				for _, p := range parts[len(r.Messages):] {
					r.Stop = append(r.Stop, p.Text)
				}
			}
			return r, undo, nil
		}
	}
	return r, nil, g.screen(c, r.parts())
}

// parts are the request's texts: its messages, in order, and the rest.
func (r Request) parts() []privacy.Part {
	if r.Body != nil {
		return partsOf(r.Body)
	}
	var parts []privacy.Part
	for _, m := range r.Messages {
		parts = append(parts, privacy.Part{Role: m.Role, Text: m.Content})
	}
	for _, stop := range r.Stop {
		parts = append(parts, privacy.Part{Text: stop})
	}
	return parts
}

// able says why this server can't be asked now: the request is too long for
// it, it rests, or its price does not fit the budget. first says whether
// nothing left for the query yet.
func (s *Server) able(r Request, first bool) error {
	most := s.most(r)
	if s.opt.Context > 0 {
		longest := int64(r.MaxTokens)
		if r.Body != nil {
			o, _ := outlineOf(r.Body)
			longest = o.longest // several answers are each in a context of their own
		}
		// About what the prompt is; the bound would turn away three of four
		// that fit.
		if need := most.in/4 + longest; need > int64(s.opt.Context) {
			return s.fault(&Failure{Kind: TooLong, Detail: fmt.Sprintf("about %d tokens with the answer, of %d", need, s.opt.Context)}, "")
		}
	}
	if err := s.breaker.peek(); err != nil {
		return s.fault(err, "")
	}
	var price Price
	if s.opt.Price != nil {
		price = *s.opt.Price
	}
	return s.gate.budget.room(demand{key: r.Key, tokens: most.total(), money: price.cost(most), sent: first})
}

// most is about what a request reserves; the gate counts its very bytes.
func (s *Server) most(r Request) tokens {
	if r.Body != nil {
		_, most := outlineOf(r.Body)
		return most
	}
	t := tokens{in: promptExtra, out: int64(s.longest(r))}
	for _, m := range r.Messages {
		t.in += int64(len(m.Content)) + 32
	}
	if t.out == 0 {
		t.out = defaultAnswer
	}
	return t
}

// longest is the answer's longest length as the server is told it, in tokens;
// 0 leaves it to the server, where no budget needs to know.
func (s *Server) longest(r Request) int {
	if r.MaxTokens <= 0 && s.gate.budget.bounded(r.Key) {
		return defaultAnswer
	}
	return max(0, r.MaxTokens)
}
