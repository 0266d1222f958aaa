package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"crayon/internal/fault"
	"crayon/internal/privacy"
)

// purposeChat is the purpose of requests that a server LLM answers, which are
// those that a budget counts.
const purposeChat = "chat"

// caller is what a request brings along beside its bytes.
type caller struct {
	key          string // name of the key that the budget counts it under
	conversation string // id; "" for none
	private      bool   // tagged so
	price        Price
	sent         *sent // of the query
}

// sent says whether a query has been counted as one that left.
type sent struct {
	mu   sync.Mutex
	done bool
}

type callerKey struct{}

func withCaller(ctx context.Context, c *caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func callerOf(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return &caller{sent: &sent{}}
}

// maxRequest bounds the body of a request, which is read whole before it leaves.
const maxRequest = 8 << 20

func bodyOf(req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	defer req.Body.Close()
	data, err := io.ReadAll(io.LimitReader(req.Body, maxRequest+1))
	if err == nil && len(data) > maxRequest {
		err = fmt.Errorf("the request has more than %d bytes", maxRequest)
	}
	return data, err
}

// screen refuses what is private: tagged, found by the scanner, part of a
// conversation that was, or unreadable.
func (g *Gate) screen(c *caller, parts []privacy.Part) error {
	found, p := []privacy.Match(nil), (*Private)(nil)
	tainted, err := g.taint.has(c.conversation)
	if err == nil && !tainted && !c.private {
		found, err = g.scan(parts)
	}
	switch {
	case c.private:
		p = &Private{Tag: tagRequest}
	case tainted:
		return private(&Private{Tag: tagConversation})
	case err != nil:
		p = &Private{Tag: tagUnread}
	case len(found) > 0:
		p = &Private{Kinds: privacy.KindsOf(found)}
	default:
		return nil
	}
	// Held in memory also where it can't be written; this request stays anyway.
	return errors.Join(private(p), g.taint.add(c.conversation))
}

// refuse lists a call that does not leave.
func (g *Gate) refuse(e Entry, err error) error {
	why := err.Error()
	var p *Private
	var o *OverBudget
	switch {
	case errors.As(err, &p):
		why = p.Error()
	case errors.As(err, &o):
		why = o.Error()
	case errors.Is(err, ErrLocalOnly):
		why = ErrLocalOnly.Error()
	}
	if lerr := g.ledger.refused(e, why); lerr != nil {
		return errors.Join(err, lerr)
	}
	return err
}

// scan finds what is private in the parts as they are, and as they read once
// the escapes of JSON that stands within them are undone.
func (g *Gate) scan(parts []privacy.Part) ([]privacy.Match, error) {
	found, err := g.privacy.Scan(parts)
	if err != nil || len(found) > 0 {
		return found, err
	}
	plain, err := unescaped(parts)
	if err != nil || plain == nil {
		return nil, err
	}
	return g.privacy.Scan(plain)
}

type roundTripper struct {
	g       *Gate
	purpose string
}

// RoundTrip lets a request out, or refuses it: local-only, private, over
// budget, or not to be listed. What leaves is what was looked at, byte for
// byte.
func (t *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	g, who := t.g, callerOf(req.Context())
	e := Entry{Purpose: t.purpose, Kind: KindHTTP, Host: req.URL.Host, Method: req.Method, Path: bare(req.URL), Why: whyOf(req.Context()), Key: who.key}
	if g.localOnly {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, g.refuse(e, refusal("dial", req.URL.Host))
	}
	body, err := bodyOf(req)
	if err != nil {
		return nil, &fault.Error{Op: "ask server", Path: req.URL.Host, Err: err}
	}
	if len(body) > 0 {
		if err := g.screen(who, partsOf(body)); err != nil {
			return nil, g.refuse(e, err)
		}
	}
	var h *hold
	var m *meter
	if t.purpose == purposeChat && req.Method == http.MethodPost {
		m = newMeter(body)
		if h, err = g.reserve(who, m.most); err != nil {
			return nil, g.refuse(e, err)
		}
	}
	// What can't be listed does not leave.
	e.Out = int64(len(body))
	if len(body) > 0 {
		e.OutSHA256 = digestOf(body)
	}
	call, err := g.ledger.begin(e)
	if err == nil && g.bodies {
		err = call.keep("request", body)
	}
	if err != nil {
		return nil, errors.Join(err, h.settle(0, 0))
	}
	out := &tally{sum: sha256.New()}
	clone := req.Clone(req.Context())
	clone.Body, clone.GetBody, clone.ContentLength = nil, nil, int64(len(body))
	if len(body) > 0 {
		clone.Body = &countedBody{ReadCloser: io.NopCloser(bytes.NewReader(body)), tally: out}
		if m == nil {
			// The transport may send it again on another connection. Not a
			// chat: each sending is a call of its own.
			clone.GetBody = func() (io.ReadCloser, error) {
				out.restart()
				return &countedBody{ReadCloser: io.NopCloser(bytes.NewReader(body)), tally: out}, nil
			}
		}
	}
	end := func(status int, in *tally, cause error) error {
		end := Entry{Status: status, Out: out.bytes(), OutSHA256: out.digest()}
		if in != nil {
			end.In, end.InSHA256 = in.bytes(), in.digest()
		}
		if cause != nil {
			end.Error = reason(cause)
		}
		var serr error
		if m != nil {
			t, how := m.spent(status, cause)
			cost := who.price.cost(t)
			end.PromptTokens, end.CompletionTokens, end.Cost, end.Counted = t.in, t.out, cost, how
			serr = h.settle(t.total(), cost)
		}
		return errors.Join(serr, call.end(end))
	}
	resp, err := g.base.RoundTrip(clone)
	if err != nil {
		return nil, errors.Join(err, end(0, nil, err))
	}
	in := &tally{sum: sha256.New()}
	if g.bodies {
		in.kept = &bytes.Buffer{}
	}
	resp.Body = &countedBody{ReadCloser: resp.Body, tally: in, meter: m, done: func(cause error) error {
		err := end(resp.StatusCode, in, cause)
		if g.bodies {
			err = errors.Join(err, call.keep("response", in.kept.Bytes()))
		}
		return err
	}}
	return resp, nil
}

// reserve counts a call with the most it can cost; a query that left before
// (another server, a retry) counts no further to the share.
func (g *Gate) reserve(c *caller, most tokens) (*hold, error) {
	c.sent.mu.Lock()
	defer c.sent.mu.Unlock()
	h, err := g.budget.reserve(demand{key: c.key, tokens: most.total(), money: c.price.cost(most), sent: !c.sent.done})
	if err == nil {
		c.sent.done = true
	}
	return h, err
}
